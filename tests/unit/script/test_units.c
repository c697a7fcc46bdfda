// SPDX-License-Identifier: MIT
// What a grader gets from its eval beside params: a target of its own, a role; and what files
// declare as a function of their params.
#include "tests/unit/script/fixture.h"

/** Grade "x" with one grader: "value [answer] why", "unscored: why", "error: why", "asks ROLE". */
static Str grade(const char *text, const EvalGrader *grader, const Sample *sample)
{
    Err err = ERR_INIT;
    Value none = value_map(NULL, 0);
    ScriptUnit unit = {.kind = UNIT_GRADER,
                       .name = grader->name,
                       .file = STR("mine.lua"),
                       .line = 1,
                       .text = str_from_c(text),
                       .params = none,
                       .grader = grader};
    Program *program;
    if (!script_program_create(fixture_script, &unit, 1, NULL, &program, &err)) {
        return str_printf(&fixture_arena, "error: %s", err.message);
    }
    Reply reply = {.text = STR("x")};
    StepInput in = {.sample = sample, .epoch = 1, .seed = 5};
    StepOutput step;
    bool ok =
        script_grade(fixture_script, program, &in, &reply, NULL, 0, &fixture_arena, &step, &err);
    script_program_destroy(fixture_script, program);
    if (!ok) {
        return str_printf(&fixture_arena, "error: %s", err.message);
    }
    if (!step.done) {
        return str_printf(&fixture_arena, "asks " STR_FMT,
                          STR_ARG(step.effects[0].request.role.len > 0
                                      ? step.effects[0].request.role
                                      : STR("the model")));
    }
    const Score *score = &step.scores[0];
    return score->state == SCORE_UNSCORED
               ? str_printf(&fixture_arena, "unscored: " STR_FMT, STR_ARG(score->reason))
               : str_printf(&fixture_arena, "%g [" STR_FMT "]", score->value,
                            STR_ARG(score->answer));
}

static EvalGrader plain(void)
{
    return (EvalGrader){.name = STR("g"), .params = value_null(), .when = value_null()};
}

static Value list_of(const char *first, const char *second)
{
    Value *items = ARENA_ARRAY(&fixture_arena, Value, 2);
    items[0] = value_str(str_from_c(first));
    items[1] = value_str(str_from_c(second));
    return value_list(items, 2);
}

#define SHOW_TARGET                                                                                \
    "return { needs = {'target'}, grade = function(sample, reply, params)\n"                       \
    "return {value = 1, answer = table.concat(sample.target, '|')} end }"

static void test_target__replaces(void)
{
    Sample sample = fixture_sample();
    const struct {
        int line;
        Value target;
        const char *want;
    } cases[] = {
        {__LINE__, value_null(), "1 [4|four]"},
        {__LINE__, value_str(STR("error")), "1 [error]"},
        {__LINE__, value_int(7), "1 [7]"},
        {__LINE__, value_real(1.0), "1 [1.0]"},
        {__LINE__, value_bool(true), "1 [True]"},
        {__LINE__, value_str(STR("")), "1 []"},
        {__LINE__, value_str(STR("a {{ metadata.level }}")), "1 [a 3]"},
        {__LINE__, value_str(STR("{{ target }}")), "1 [4|four]"},
        {__LINE__, value_str(STR("{{ target | map('upper') | list }}")), "1 [4|FOUR]"},
        {__LINE__, value_str(STR("{{ reply.text }}{{ subject }}")), "1 [xsums]"},
        {__LINE__, list_of("b", "{{ question }}"), "1 [b|2+2]"},
        {__LINE__, list_of("{{ target }}", "5"), "1 [4|four|5]"},
        {__LINE__, value_str(STR("{{ none }}")), "error: grader 'g': a target has to be text"},
        {__LINE__, value_str(STR("{{ metadata }}")), "error: grader 'g': a target has to be text"},
        {__LINE__, value_str(STR("{{ nothing }}")), "error: grader 'g': grader 'g', target:"},
        {__LINE__, value_str(STR("{{ oops")), "error: grader 'g', target:"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        EvalGrader grader = plain();
        grader.target = cases[i].target;
        Str got = grade(SHOW_TARGET, &grader, &sample);
        if (!str_starts_with(got, str_from_c(cases[i].want))) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, str_from_c(cases[i].want));
        }
    }
    sample.has_target = false;
    sample.n_targets = 0;
    EvalGrader grader = plain();
    CHECK_STR(grade(SHOW_TARGET, &grader, &sample),
              STR("error: grader 'g': the grader needs a target and the sample has none (at "
                  "mine.lua:1)"));
    grader.target = value_str(STR("mine"));
    CHECK_STR(grade(SHOW_TARGET, &grader, &sample), STR("1 [mine]"));
}

static void test_target__choices(void)
{
    Sample sample = fixture_sample();
    Choice choices[] = {{.text = STR("red")}, {.text = STR("blue")}};
    int64_t correct[] = {0};
    sample.choices = choices;
    sample.n_choices = 2;
    sample.correct = correct;
    sample.n_correct = 1;
    static const char show[] = "return { needs = {'choices', 'target'}, grade = function(sample)\n"
                               "return {value = 1, answer = tostring(sample.correct[1]) .. ' ' .. "
                               "tostring(sample.correct[2])} end }";
    EvalGrader grader = plain();
    CHECK_STR(grade(show, &grader, &sample), STR("1 [true nil]"));
    grader.target = value_str(STR("blue"));
    CHECK_STR(grade(show, &grader, &sample), STR("1 [nil true]"));
    grader.target = value_str(STR("green"));
    CHECK_STR(
        grade(show, &grader, &sample),
        STR("error: grader 'g': the grader's target is the text of no choice (at mine.lua:1)"));
    CHECK_STR(grade(SHOW_TARGET, &grader, &sample), STR("1 [green]"));
}

static void test_units__roles(void)
{
    Sample sample = fixture_sample();
    EvalGrader grader = plain();
    EvalGrader with_role = plain();
    with_role.role = STR("critic");
    static const char plain_text[] = "return { effects = {'generate'}, grade = function(s, r, p, "
                                     "ctx) ctx.generate('?') end }";
    static const char own_text[] = "return { effects = {'generate'}, role = 'judge', "
                                   "grade = function(s, r, p, ctx) ctx.generate('?') end }";
    static const char named_text[] = "return { effects = {'generate'}, grade = function(s, r, p, "
                                     "ctx) ctx.generate('?', {role = 'other'}) end }";
    static const char loglik_text[] =
        "return { effects = {'loglik'}, grade = function(s, r, p, ctx)\n"
        "ctx.loglik({{context = 'a', text = 'b'}}, {role = 'scorer'}) end }";
    CHECK_STR(grade(plain_text, &grader, &sample), STR("asks the model"));
    CHECK_STR(grade(plain_text, &with_role, &sample), STR("asks critic"));
    CHECK_STR(grade(own_text, &grader, &sample), STR("asks judge"));
    CHECK_STR(grade(own_text, &with_role, &sample), STR("asks critic"));
    CHECK_STR(grade(named_text, &with_role, &sample), STR("asks other"));
    CHECK_STR(grade(loglik_text, &grader, &sample), STR("asks scorer"));
    Str got = grade("return { effects = {'generate'}, grade = function(s, r, p, ctx) "
                    "ctx.loglik({{text = 'b'}}) end }",
                    &grader, &sample);
    CHECK(str_find(got, STR("ctx.loglik must be declared"), 0) != STR_NONE);
}

static void test_units__needs(void)
{
    Sample sample = fixture_sample();
    EvalGrader grader = plain();
    CHECK_STR(grade("return { needs = {'sandbox'}, grade = function() error('ran') end }", &grader,
                    &sample),
              STR("unscored: needs sandbox"));
    CHECK_STR(
        grade("return { needs = {'loglik'}, grade = function() return 1 end }", &grader, &sample),
        STR("error: grader 'g': the grader needs texts scored by likelihood and the reply "
            "has none (at mine.lua:1)"));
    CHECK_STR(grade("return { needs = {'tool_calls'}, grade = function(s, r) return "
                    "#r.tool_calls == 0 end }",
                    &grader, &sample),
              STR("1 []"));
}

static bool info_for(UnitKind kind, const char *text, const char *param, Value value, UnitInfo *out,
                     Err *err)
{
    ValuePair pair = {.key = str_from_c(param), .value = value};
    Value params = value_map(&pair, param[0] == '\0' ? 0 : 1);
    return script_unit_info_for(fixture_script, kind, STR("mine.lua"), str_from_c(text), &params,
                                &fixture_arena, out, err);
}

static void test_units__for_params(void)
{
    static const char text[] =
        "return { params = { by = one_of { 'likelihood', 'reply' }, who = 'judge' },\n"
        "gives = function(params) if params.by == 'reply' then return {} end return {'loglik'} "
        "end,\n"
        "roles = function(params) return { params.who } end,\n"
        "solve = function() return 'x' end }";
    UnitInfo info;
    Err err = ERR_INIT;
    if (CHECK_OK(script_unit_info(fixture_script, UNIT_SOLVER, STR("mine.lua"), str_from_c(text),
                                  &fixture_arena, &info, &err),
                 &err)) {
        CHECK_INT(info.n_gives, 0);
        CHECK_STR(info.name, STR("mine"));
        CHECK_INT(info.n_effects, 2);
        CHECK_STR(info.effects[0], STR("generate"));
    }
    if (CHECK_OK(info_for(UNIT_SOLVER, text, "", value_null(), &info, &err), &err)) {
        CHECK_INT(info.n_gives, 1);
        CHECK_STR(info.gives[0], STR("loglik"));
        CHECK_INT(info.n_roles, 1);
        CHECK_STR(info.roles[0], STR("judge"));
    }
    if (CHECK_OK(info_for(UNIT_SOLVER, text, "by", value_str(STR("reply")), &info, &err), &err)) {
        CHECK_INT(info.n_gives, 0);
    }
    CHECK(!info_for(UNIT_SOLVER, text, "byy", value_str(STR("reply")), &info, &err));
    CHECK_INT(err.code, ERR_CONFIG);
    CHECK(strstr(err.message, "did you mean 'by'?") != NULL);
    err = (Err)ERR_INIT;
    CHECK(!info_for(UNIT_SOLVER,
                    "return { gives = function() return {'x'} end, solve = function() end }", "",
                    value_null(), &info, &err));
    CHECK(strstr(err.message, "gives: unknown word 'x'") != NULL);
    err = (Err)ERR_INIT;
    CHECK(!info_for(UNIT_SOLVER,
                    "return { gives = function() while true do end end, solve = function() end }",
                    "", value_null(), &info, &err));
    CHECK_INT(err.code, ERR_BUDGET);
    err = (Err)ERR_INIT;
    if (CHECK_OK(info_for(UNIT_SOLVER, "return { effects = {}, solve = function() return '' end }",
                          "", value_null(), &info, &err),
                 &err)) {
        CHECK_INT(info.n_effects, 0);
    }
}

static void test_units__files(void)
{
    Sample sample = fixture_sample();
    EvalGrader grader = plain();
    static const char show[] = "return { grade = function(sample) return {value = 1, answer = "
                               "json.encode(sample.files)} end }";
    CHECK_STR(grade(show, &grader, &sample), STR("1 [{}]"));
    ValuePair file = {.key = STR("a.txt"), .value = value_str(STR("hello"))};
    sample.files = value_map(&file, 1);
    CHECK_STR(grade(show, &grader, &sample), STR("1 [{\"a.txt\":\"hello\"}]"));
}

static void test_units__no_effects(void)
{
    Err err = ERR_INIT;
    StepOutput out;
    Sample sample = fixture_sample();
    CHECK(!fixture_solve(STR("return { effects = {}, solve = function(s, ctx) return "
                             "ctx.generate('x') end }"),
                         &sample, NULL, 0, &out, &err));
    CHECK(strstr(err.message, "ctx.generate must be declared") != NULL);
}

static void test_units__schema(void)
{
    Err err = ERR_INIT;
    StepOutput out;
    Sample sample = fixture_sample();
    Str text = STR("return { solve = function(s, ctx) return ctx.generate('x', {schema = {type = "
                   "'object'}, role = 'writer'}) end }");
    if (CHECK_OK(fixture_solve(text, &sample, NULL, 0, &out, &err), &err)) {
        CHECK_STR(value_get_str(&out.effects[0].request.settings.schema, "type", STR_EMPTY),
                  STR("object"));
        CHECK_STR(out.effects[0].request.role, STR("writer"));
    }
    CHECK(!fixture_solve(STR("return { solve = function(s, ctx) return ctx.generate('x', {schema = "
                             "'object'}) end }"),
                         &sample, NULL, 0, &out, &err));
    CHECK(strstr(err.message, "schema must be a JSON schema") != NULL);
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("a grader's own target", test_target__replaces);
    tap_run("a target among choices", test_target__choices);
    tap_run("roles", test_units__roles);
    tap_run("needs", test_units__needs);
    tap_run("declared as functions of params", test_units__for_params);
    tap_run("files of a sample", test_units__files);
    tap_run("a solver without effects", test_units__no_effects);
    tap_run("schema", test_units__schema);
    return fixture_close();
}
