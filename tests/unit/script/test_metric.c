// SPDX-License-Identifier: MIT
// Metrics in Lua.
#include "tests/unit/script/fixture.h"

static Value scores_of(const double *values, size_t n)
{
    static const char *const names[] = {"value", "weight", "id"};
    Value *items = ARENA_ARRAY(&fixture_arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        ValuePair *pairs = ARENA_ARRAY(&fixture_arena, ValuePair, 3);
        pairs[0].value = value_real(values[i]);
        pairs[1].value = value_real((double)i + 1);
        pairs[2].value = value_str(str_printf(&fixture_arena, "s%zu", i));
        for (size_t k = 0; k < 3; k++) {
            pairs[k].key = str_from_c(names[k]);
        }
        items[i] = value_map(pairs, 3);
    }
    return value_list(items, n);
}

static void test_metric__cases(void)
{
    static const double values[] = {1, 0, 0.5, 1};
    static const char sum[] =
        "return { metric = function(scores, params)\n"
        "local t = 0 for _, s in ipairs(scores) do t = t + s.value * s.weight "
        "end return t end }";
    static const struct {
        int line;
        const char *text;
        const char *want; // the value, or a part of the error
    } cases[] = {
        {__LINE__, sum, "6.5"},
        {__LINE__, "return { metric = function(scores) return #scores end }", "4"},
        {__LINE__,
         "return { metric = function(scores) return scores[2].id == 's1' and 1 or 0 end }", "1"},
        {__LINE__,
         "return { params = { k = 3 }, metric = function(s, params) return params.k end }", "3"},
        {__LINE__, "return { metric = function() return -0.0 end }", "0"},
        {__LINE__, "return { metric = function() return 0/0 end }", "must return a finite number"},
        {__LINE__, "return { metric = function() return math.huge end }",
         "must return a finite number, not inf"},
        {__LINE__, "return { metric = function() return '1' end }", "must return a finite number"},
        {__LINE__, "return { metric = function() return {} end }", "finite number, not table"},
        {__LINE__, "return { metric = function() end }", "finite number, not nil"},
        {__LINE__, "return { metric = function() error('broken') end }", "mine.lua:1: broken"},
        {__LINE__, "return { metric = function() while true do end end }", "budget of"},
        {__LINE__, "return { metric = function() return ctx.rng() end }", "'ctx'"},
        {__LINE__, "return { metric = function() return os.time() end }", "'os'"},
        {__LINE__, "return { grade = function() return 1 end }",
         "a metric needs a function 'metric'"},
        {__LINE__, "return 5", "a metric file must return a table"},
        {__LINE__, "return {", "mine.lua:1:"},
    };
    Value scores = scores_of(values, 4);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        Err err = ERR_INIT;
        double got = -1;
        bool ok = script_metric(fixture_script, STR("mine.lua"), str_from_c(cases[i].text), NULL,
                                &scores, &got, &err);
        char text[ERR_MESSAGE_MAX];
        snprintf(text, sizeof(text), "%g", got);
        if (!(ok ? strcmp(text, cases[i].want) == 0
                 : strstr(err.message, cases[i].want) != NULL && err.code != ERR_NONE)) {
            printf("# line %d: %s\n", cases[i].line, ok ? text : err.message);
            CHECK(false);
        }
        CHECK(ok || got == -1);
    }
}

static void test_metric__fresh(void)
{
    // Nothing is kept from one call to the next, not even what was written into the scores.
    static const double values[] = {1, 2};
    Value scores = scores_of(values, 2);
    static const char text[] = "local calls = 0 return { metric = function(scores)\n"
                               "calls = calls + 1 seen = (seen or 0) + 1\n"
                               "scores[1].value = scores[1].value + 1\n"
                               "return calls * 100 + seen * 10 + scores[1].value end }";
    for (int i = 0; i < 5; i++) {
        Err err = ERR_INIT;
        double got = 0;
        if (CHECK_OK(script_metric(fixture_script, STR("mine.lua"), str_from_c(text), NULL, &scores,
                                   &got, &err),
                     &err)) {
            CHECK_NEAR(got, 112, 0);
        }
        if (i == 2) { // another one between
            CHECK(script_metric(fixture_script, STR("other.lua"),
                                STR("return { metric = function() return 1 end }"), NULL, &scores,
                                &got, &err));
        }
    }
}

static void test_metric__params(void)
{
    Value scores = value_list(NULL, 0);
    static const char text[] =
        "return { name = 'm', params = { k = 3, by = one_of { 'a', 'b' } },\n"
        "metric = function(s, p) return p.k + (p.by == 'b' and 10 or 0) end }";
    ValuePair pairs[] = {{.key = STR("k"), .value = value_int(5)},
                         {.key = STR("by"), .value = value_str(STR("b"))}};
    Value params = value_map(pairs, 2);
    Err err = ERR_INIT;
    double got = 0;
    if (CHECK_OK(script_metric(fixture_script, STR("m.lua"), str_from_c(text), &params, &scores,
                               &got, &err),
                 &err)) {
        CHECK_NEAR(got, 15, 0);
    }
    pairs[0].key = STR("kk");
    CHECK(!script_metric(fixture_script, STR("m.lua"), str_from_c(text), &params, &scores, &got,
                         &err));
    CHECK_INT(err.code, ERR_CONFIG);
    CHECK(strstr(err.message, "did you mean 'k'?") != NULL);
    UnitInfo info;
    err = (Err)ERR_INIT;
    if (CHECK_OK(script_unit_info(fixture_script, UNIT_METRIC, STR("m.lua"), str_from_c(text),
                                  &fixture_arena, &info, &err),
                 &err)) {
        CHECK_INT(info.n_params, 2);
        CHECK(info.range_high > 1e300);
    }
}

static void test_metric__examples(void)
{
    static const char text[] =
        "return { metric = function(s) if #s == 0 then error('no scores') end return s[1].value "
        "end,\n"
        "examples = { { scores = { { value = 2 } }, value = 2 }, { error = 'no scores' },\n"
        "{ scores = { { value = 2 } }, value = 3 }, { value = 1 } } }";
    Err err = ERR_INIT;
    size_t n = 0;
    Str failures;
    if (CHECK_OK(script_unit_examples(fixture_script, UNIT_METRIC, STR("m.lua"), str_from_c(text),
                                      &fixture_arena, &n, &failures, &err),
                 &err)) {
        CHECK_INT(n, 4);
        CHECK(str_find(failures, STR("example 3: expected 3, got 2"), 0) != STR_NONE);
        CHECK(str_find(failures, STR("example 4: metric 'm': m.lua:1: no scores"), 0) != STR_NONE);
        CHECK(str_find(failures, STR("example 2"), 0) == STR_NONE);
    }
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("cases", test_metric__cases);
    tap_run("a fresh state for every call", test_metric__fresh);
    tap_run("params", test_metric__params);
    tap_run("examples", test_metric__examples);
    return fixture_close();
}
