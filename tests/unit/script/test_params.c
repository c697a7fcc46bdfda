// SPDX-License-Identifier: MIT
// Declarations of solvers and graders, params checked against them, examples that fail, the hash.
#include "tests/unit/script/fixture.h"

static const char declared[] =
    "return { name = 'demo', version = 3, description = 'Shows.', gives = { 'loglik' }, "
    "sees_target = "
    "true,\n"
    "params = { count = 1, rate = 0.5, name = 'x', on = true, list = {}, map = {a = 1}, by = "
    "one_of{'p', 'q'},\n"
    "  prompt = template('{{ input }}'), must = required('text'), any = json.null },\n"
    "solve = function(sample, ctx, params) return json.encode(params) end, examples = { {}, {} } }";

static void test_params__info(void)
{
    Err err = ERR_INIT;
    UnitInfo info;
    if (!CHECK_OK(script_unit_info(fixture_script, UNIT_SOLVER, STR("demo.lua"),
                                   str_from_c(declared), &fixture_arena, &info, &err),
                  &err)) {
        return;
    }
    CHECK_STR(info.name, STR("demo"));
    CHECK_INT(info.version, 3);
    CHECK_STR(info.description, STR("Shows."));
    CHECK(info.n_gives == 1);
    CHECK_STR(info.gives[0], STR("loglik"));
    CHECK(info.sees_target);
    CHECK_INT(info.n_examples, 2);
    static const struct {
        const char *name;
        const char *type;
    } wants[] = {{"any", "any"},         {"by", "one_of"},  {"count", "number"}, {"list", "list"},
                 {"map", "map"},         {"must", "text"},  {"name", "text"},    {"on", "boolean"},
                 {"prompt", "template"}, {"rate", "number"}};
    CHECK_INT(info.n_params, 10);
    for (size_t i = 0; i < info.n_params && i < 10; i++) {
        CHECK_STR(info.params[i].name, str_from_c(wants[i].name));
        CHECK_STR(info.params[i].type, str_from_c(wants[i].type));
        CHECK_INT(info.params[i].required, strcmp(wants[i].name, "must") == 0);
    }
    CHECK_INT(info.params[1].n_one_of, 2);
    CHECK_STR(info.params[1].otherwise.as.str, STR("p"));
}

static void test_params__wrong_units(void)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"return 5", "a grader file must return a table"},
        {"return {}", "a grader needs a function 'grade'"},
        {"return { name = 5, grade = print }", "name must be text"},
        {"return { grade = print, params = 5 }", "params must be a table"},
        {"return { grade = print, params = { f = print } }", "a function is not a value"},
        {"return { grade = print, params = { 1, 2 } }", "a param's name must be text"},
        {"return { grade = print, params = { x = required('texts') } }", "no such type"},
        {"return { grade = print, params = { x = one_of{} } }", "needs values"},
        {"return { grade = print, version = 1.5 }", "version must be an integer"},
        {"return { grade = print, better = 'more' }", "better must be"},
        {"return { grade = print, effects = 'generate' }", "effects must be a list"},
        {"return { grade = print, parms = {} }", "has no 'parms' (did you mean 'params'?)"},
        {"return { grade = print, sees_target = true }", "a grader has no 'sees_target'"},
        {"return { grade = print, 'grader' }", "a key must be text"},
        {"return { grade = print, needs = { 'targets' } }", "'targets' (did you mean 'target'?)"},
        {"return {", "u.lua:1: "},
        {"\n\nx y", "u.lua:3: syntax error"},
        {"error('at load')", "u.lua:1: at load"},
        {"\x1bLua", "attempt to load a binary chunk"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        Err err = ERR_INIT;
        UnitInfo info;
        CHECK(!script_unit_info(fixture_script, UNIT_GRADER, STR("u.lua"),
                                str_from_c(cases[i].text), &fixture_arena, &info, &err));
        CHECK_INT(err.code, ERR_SCRIPT);
        if (str_find(str_from_c(err.message), str_from_c(cases[i].says), 0) == STR_NONE) {
            CHECK_STR(str_from_c(err.message), str_from_c(cases[i].says));
        }
    }
    Err err = ERR_INIT;
    UnitInfo info;
    CHECK(!script_unit_info(fixture_script, UNIT_GRADER, STR("u.lua"),
                            STR("while true do end return {}"), &fixture_arena, &info, &err));
    CHECK_INT(err.code, ERR_BUDGET);
}

/** What a solver of `declared` returns for one param beside `must`. */
static Str with_param(const char *name, Value value)
{
    Err err = ERR_INIT;
    ValuePair pairs[] = {{.key = STR("must"), .value = value_str(STR("m"))},
                         {.key = str_from_c(name), .value = value}};
    ScriptUnit unit = {.kind = UNIT_SOLVER,
                       .name = STR("demo"),
                       .file = STR("demo.lua"),
                       .line = 1,
                       .text = str_from_c(declared),
                       .params = value_map(pairs, name[0] == '\0' ? 1 : 2)};
    Program *program;
    if (!script_program_create(fixture_script, &unit, 1, NULL, &program, &err)) {
        CHECK_INT(err.code, ERR_CONFIG);
        return str_printf(&fixture_arena, "%s", err.message);
    }
    Sample sample = fixture_sample();
    StepInput in = {.sample = &sample, .epoch = 1};
    StepOutput out = {0};
    CHECK_OK(script_solve(fixture_script, program, &in, &fixture_arena, &out, &err), &err);
    script_program_destroy(fixture_script, program);
    return out.reply.text;
}

static void test_params__resolve(void)
{
    CHECK_STR(with_param("", value_null()),
              STR("{\"any\":null,\"by\":\"p\",\"count\":1,\"list\":[],\"map\":{\"a\":1},\"must\":"
                  "\"m\",\"name\":\"x\","
                  "\"on\":true,\"prompt\":\"two and two\",\"rate\":0.5}"));
    CHECK(str_find(with_param("count", value_real(2.5)), STR("\"count\":2.5"), 0) != STR_NONE);
    CHECK(str_find(with_param("by", value_str(STR("q"))), STR("\"by\":\"q\""), 0) != STR_NONE);
    CHECK(str_find(with_param("prompt", value_str(STR("<{{ question }}>"))),
                   STR("\"prompt\":\"<2+2>\""), 0) != STR_NONE);
    CHECK_STR(with_param("cuont", value_int(1)),
              STR("solver 'demo': unknown param 'cuont' (did you mean 'count'?)"));
    CHECK_STR(with_param("zzzzzzzz", value_int(1)), STR("solver 'demo': unknown param 'zzzzzzzz'"));
    CHECK_STR(with_param("count", value_str(STR("1"))),
              STR("solver 'demo': param 'count' is number, not text"));
    CHECK_STR(with_param("prompt", value_int(1)),
              STR("solver 'demo': param 'prompt' is text, not an integer"));
    Value wrong = value_str(STR("r"));
    wrong.line = 4;
    wrong.col = 9;
    Str got = with_param("by", wrong);
    CHECK(str_starts_with(
        got, STR("solver 'demo', line 4, column 9: param 'by' is one of p | q, not 'r'")));
    Err err = ERR_INIT;
    Program *program;
    ScriptUnit unit = {.kind = UNIT_SOLVER,
                       .name = STR("demo"),
                       .text = str_from_c(declared),
                       .params = value_null()};
    CHECK(!script_program_create(fixture_script, &unit, 1, NULL, &program, &err));
    CHECK_STR(str_from_c(err.message), STR("solver 'demo': param 'must' is required"));
}

static void test_params__failing_examples(void)
{
    static const char grader[] = "return { needs = {'target'}, grade = function(s, r) return "
                                 "r.answer == s.target[1] end, examples = {\n"
                                 "{ target = 'a', reply = 'a', value = 1 },\n"
                                 "{ target = 'a', reply = 'b', value = 1 },\n"
                                 "{ target = 'a', reply = 'b', unscored = 'x' },\n"
                                 "{ target = 'a', reply = 'b', error = true },\n"
                                 "{ reply = 'b', value = 1 },\n"
                                 "{ target = 'a', reply = 'b' },\n"
                                 "{ target = 'a', reply = 'a', value = 1, answer = 'q' },\n"
                                 "{ target = 'a', reply = 'a', params = { x = 1 }, value = 1 } } }";
    Err err = ERR_INIT;
    size_t n;
    Str failures;
    if (CHECK_OK(script_unit_examples(fixture_script, UNIT_GRADER, STR("g.lua"), str_from_c(grader),
                                      &fixture_arena, &n, &failures, &err),
                 &err)) {
        CHECK_INT(n, 8);
        CHECK_STR(failures, STR("example 2: expected 1, got 0 ()\n"
                                "example 3: expected unscored, got 0\n"
                                "example 4: expected an error, got a score\n"
                                "example 5: grader 'g': the grader needs a target and the sample "
                                "has none (at g.lua:1)\n"
                                "example 6: it expects neither value, unscored nor error\n"
                                "example 7: expected answer \"q\", got \"\"\n"
                                "example 8: grader 'g': unknown param 'x'\n"));
    }
    static const char solver[] =
        "return { solve = function(s, ctx) return ctx.generate(s.prompt) end, examples = {\n"
        "{ sample = { prompt = 'p' }, replies = { 'r' }, requests = { 'q' }, text = 's' },\n"
        "{ sample = { prompt = 'p' } },\n"
        "{ sample = { promt = 'p' }, replies = { 'r' }, txt = 's' },\n"
        "{ sample = { prompt = 'p' }, replies = { 'r' }, requests = { 'p', 'p' } } } }";
    if (CHECK_OK(script_unit_examples(fixture_script, UNIT_SOLVER, STR("s.lua"), str_from_c(solver),
                                      &fixture_arena, &n, &failures, &err),
                 &err)) {
        CHECK_STR(failures, STR("example 1: request: expected \"q\", got \"p\"\n"
                                "example 1: expected text \"s\", got \"r\"\n"
                                "example 2: it asks for more replies than the 0 given\n"
                                "example 3: unknown key 'txt' (did you mean 'text'?)\n"
                                "example 3: unknown key 'promt' in sample (did you mean "
                                "'prompt'?)\n"
                                "example 4: expected 2 requests, got 1\n"));
    }
}

/** More targets and right choices than an example has room for: what does not fit is left out. */
static void test_params__many_targets(void)
{
    Buf text = {0};
    buf_printf(&text, "return { grade = function(s) return #s.target / 1000 end, examples = {{\n"
                      "sample = { choices = { 'a' }, correct = {");
    for (int i = 0; i < 200; i++) {
        buf_printf(&text, "1,");
    }
    buf_printf(&text, "}, target = {");
    for (int i = 0; i < 200; i++) {
        buf_printf(&text, "'t',");
    }
    buf_printf(&text, "} }, value = 0.128 }} }");
    Err err = ERR_INIT;
    size_t n;
    Str failures;
    if (CHECK_OK(script_unit_examples(fixture_script, UNIT_GRADER, STR("g.lua"), buf_view(&text),
                                      &fixture_arena, &n, &failures, &err),
                 &err)) {
        CHECK_STR(failures, STR_EMPTY);
    }
    buf_finish(&text);
}

static void test_params__hash(void)
{
    Err err = ERR_INIT;
    ScriptUnit unit = {.kind = UNIT_TEMPLATE,
                       .name = STR("t"),
                       .file = STR("a.yaml"),
                       .line = 1,
                       .text = STR("{{ 1 }}")};
    Program *programs[5];
    ValuePair constant = {.key = STR("c"), .value = value_int(1)};
    Value constants = value_map(&constant, 1);
    CHECK_OK(script_program_create(fixture_script, &unit, 1, NULL, &programs[0], &err), &err);
    unit.line = 50; // where it stands does not matter
    unit.file = STR("b.yaml");
    CHECK_OK(script_program_create(fixture_script, &unit, 1, NULL, &programs[1], &err), &err);
    CHECK_OK(script_program_create(fixture_script, &unit, 1, &constants, &programs[2], &err), &err);
    unit.text = STR("{{ 2 }}");
    CHECK_OK(script_program_create(fixture_script, &unit, 1, NULL, &programs[3], &err), &err);
    unit.lenient = true;
    CHECK_OK(script_program_create(fixture_script, &unit, 1, NULL, &programs[4], &err), &err);
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = i + 1; k < 5; k++) {
            Hash a = script_program_hash(programs[i]);
            Hash b = script_program_hash(programs[k]);
            CHECK_INT(hash_eq(&a, &b), i == 0 && k == 1);
        }
    }
    for (size_t i = 0; i < 5; i++) {
        script_program_destroy(fixture_script, programs[i]);
    }
}

static void test_params__builtins(void)
{
    size_t n;
    const Str *names = script_builtin_names(UNIT_GRADER, &n);
    CHECK(n >= 4);
    for (size_t i = 1; i < n; i++) {
        CHECK(str_cmp(names[i - 1], names[i]) < 0);
    }
    CHECK(script_builtin(UNIT_GRADER, STR("exact")).len > 0);
    CHECK_INT(script_builtin(UNIT_SOLVER, STR("exact")).len, 0);
    CHECK_INT(script_builtin(UNIT_TEMPLATE, STR("exact")).len, 0);
}

static void test_params__names(void)
{
    Err err = ERR_INIT;
    ScriptUnit unit = {.kind = UNIT_TEMPLATE,
                       .name = STR("t"),
                       .line = 1,
                       .text = STR("{% for s in shots %}{{ s.input }}{% endfor %}{{ input | trim "
                                   "}}{% set z = 1 %}{{ z }}")};
    Str *names;
    size_t n;
    if (CHECK_OK(script_template_names(fixture_script, &unit, &fixture_arena, &names, &n, &err),
                 &err)) {
        CHECK_INT(n, 2);
        CHECK_STR(names[0], STR("input"));
        CHECK_STR(names[1], STR("shots"));
    }
    unit.text = STR("{{ input | trimm }}");
    CHECK(!script_template_names(fixture_script, &unit, &fixture_arena, &names, &n, &err));
    CHECK(str_find(str_from_c(err.message), STR("did you mean 'trim'?"), 0) != STR_NONE);
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("declarations", test_params__info);
    tap_run("wrong files", test_params__wrong_units);
    tap_run("params of an eval", test_params__resolve);
    tap_run("examples that fail", test_params__failing_examples);
    tap_run("examples with many targets", test_params__many_targets);
    tap_run("the hash of a program", test_params__hash);
    tap_run("what is compiled in", test_params__builtins);
    tap_run("names that a template reads", test_params__names);
    return fixture_close();
}
