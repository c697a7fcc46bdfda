// SPDX-License-Identifier: MIT
// The script room from outside: rendering sessions, solver steps, grading.
#include "script/script.h"
#include "tests/unit/tap.h"

static Script *script;
static Arena arena;

// ---- Helpers ------------------------------------------------------------------------------------

static ScriptUnit template_unit(const char *name, const char *text)
{
    return (ScriptUnit){.kind = UNIT_TEMPLATE,
                        .name = str_from_c(name),
                        .file = STR("evals/demo.yaml"),
                        .line = 7,
                        .text = str_from_c(text)};
}

static Value pair_map(const char *key, Value value)
{
    ValuePair *pair = ARENA_NEW(&arena, ValuePair);
    *pair = value_pair(str_from_c(key), value);
    return value_map(pair, 1);
}

/** Render one template with one variable; the message on failure. */
static bool render_one(const char *text, const char *key, Value value, Value *out, Err *err)
{
    ScriptUnit unit = template_unit("t", text);
    Program *program;
    Value scope = pair_map(key, value);
    if (!script_program_create(script, &unit, 1, NULL, &program, err)) {
        return false;
    }
    bool ok = script_render_begin(script, program, NULL, &scope, err) &&
              script_render(script, STR("t"), &arena, out, err);
    script_program_destroy(script, program);
    return ok;
}

// ---- Templates ----------------------------------------------------------------------------------

static void test_render__types(void)
{
    Err err = ERR_INIT;
    Value out;
    if (CHECK_OK(render_one("{{ x }}", "x", value_int(5), &out, &err), &err)) {
        CHECK_INT(out.kind, VALUE_INT);
        CHECK_INT(out.as.integer, 5);
    }
    if (CHECK_OK(render_one("n={{ x }}", "x", value_real(1), &out, &err), &err)) {
        CHECK_STR(out.as.str, STR("n=1.0"));
    }
    if (CHECK_OK(render_one("{{ x }}", "x", value_str(STR("3.10")), &out, &err), &err)) {
        CHECK_INT(out.kind, VALUE_STR);
        CHECK_STR(out.as.str, STR("3.10"));
    }
}

static void test_render__map_order(void)
{
    Err err = ERR_INIT;
    ValuePair pairs[] = {{.key = STR("z"), .value = value_int(1)},
                         {.key = STR("a"), .value = value_int(2)},
                         {.key = STR("m"), .value = value_int(3)}};
    Value out;
    if (CHECK_OK(
            render_one("{% for k in x %}{{ k }}{% endfor %}", "x", value_map(pairs, 3), &out, &err),
            &err)) {
        CHECK_STR(out.as.str, STR("zam"));
    }
    if (CHECK_OK(render_one("{{ x }}", "x", value_map(pairs, 3), &out, &err), &err)) {
        CHECK_INT(out.kind, VALUE_MAP);
        Value want = value_map(pairs, 3);
        CHECK(value_equal(&out, &want));
    }
}

static void test_render__error_names_line(void)
{
    Err err = ERR_INIT;
    Value out;
    CHECK(!render_one("{% if true %}\n{{ nothing_here }}\n{% endif %}", "x", value_int(1), &out,
                      &err));
    CHECK_INT(err.code, ERR_SCRIPT);
    CHECK(str_find(str_from_c(err.message), STR("evals/demo.yaml:8"), 0) == 0);
    CHECK(str_find(str_from_c(err.message), STR("nothing_here"), 0) != STR_NONE);
    printf("# %s\n", err.message);
    err = (Err)ERR_INIT;
    CHECK(!render_one("ok\n\n{% if %}", "x", value_int(1), &out, &err));
    CHECK_INT(err.code, ERR_PARSE);
    CHECK(str_find(str_from_c(err.message), STR("evals/demo.yaml:9:"), 0) == 0);
    printf("# %s\n", err.message);
}

static void test_render__helpers(void)
{
    Err err = ERR_INIT;
    Value out;
    ScriptUnit units[] = {
        template_unit("a", "{{ x | twice }} {{ twice('b') }}"),
        {.kind = UNIT_HELPERS,
         .name = STR("helpers"),
         .file = STR("evals/demo.lua"),
         .line = 1,
         .text =
             STR("return {\n  twice = function(s, ctx) assert(ctx.rng() < 1) return s .. s end,\n"
                 "  bad = function(s) return s.x.y end }")},
        template_unit("b", "\n{{ x | bad }}"),
        template_unit("c", "{{ text('cot') }}{{ subject }}{{ x }}"),
    };
    ValuePair texts = {.key = STR("cot"), .value = value_str(STR("think"))};
    ValuePair constants[] = {{.key = STR("texts"), .value = value_map(&texts, 1)},
                             {.key = STR("subject"), .value = value_str(STR("!"))}};
    Value constant = value_map(constants, 2);
    Program *program;
    if (!CHECK_OK(script_program_create(script, units, 4, &constant, &program, &err), &err)) {
        return;
    }
    Value scope = pair_map("x", value_str(STR("ab")));
    CHECK_OK(script_render_begin(script, program, NULL, &scope, &err), &err);
    if (CHECK_OK(script_render(script, STR("a"), &arena, &out, &err), &err)) {
        CHECK_STR(out.as.str, STR("abab bb"));
    }
    CHECK(!script_render(script, STR("b"), &arena, &out, &err));
    printf("# %s\n", err.message);
    CHECK(str_find(str_from_c(err.message), STR("evals/demo.lua:3:"), 0) == 0);
    CHECK(str_find(str_from_c(err.message), STR("evals/demo.yaml:8"), 0) != STR_NONE);
    // A Lua error leaves the session usable.
    Value y = value_str(STR("?"));
    CHECK_OK(script_render_set(script, STR("x"), &y, &err), &err);
    if (CHECK_OK(script_render(script, STR("c"), &arena, &out, &err), &err)) {
        CHECK_STR(out.as.str, STR("think!?"));
    }
    script_program_destroy(script, program);
}

// ---- Solving and grading ------------------------------------------------------------------------

static Sample demo_sample(void)
{
    static const Str targets[] = {{"4", 1}};
    return (Sample){.id = STR("s1"),
                    .input = value_str(STR("2+2")),
                    .targets = targets,
                    .n_targets = 1,
                    .has_target = true,
                    .row = value_map(NULL, 0),
                    .metadata = value_map(NULL, 0),
                    .part_vars = value_map(NULL, 0),
                    .prompt = {.text = STR("2+2=")}};
}

static void test_solve__generate_and_exact(void)
{
    Err err = ERR_INIT;
    EvalSolver solver = {.settings = gen_settings_default()};
    solver.settings.max_tokens = 7;
    EvalGrader grader = {.name = STR("exact"), .when = value_null()};
    ScriptUnit units[] = {
        {.kind = UNIT_SOLVER,
         .name = STR("generate"),
         .file = STR("generate.lua"),
         .text = script_builtin(UNIT_SOLVER, STR("generate")),
         .solver = &solver},
        {.kind = UNIT_GRADER,
         .name = STR("exact"),
         .file = STR("exact.lua"),
         .text = script_builtin(UNIT_GRADER, STR("exact")),
         .grader = &grader},
    };
    Program *program;
    if (!CHECK_OK(script_program_create(script, units, 2, NULL, &program, &err), &err)) {
        return;
    }
    Sample sample = demo_sample();
    StepInput in = {.sample = &sample, .epoch = 1};
    StepOutput step;
    if (CHECK_OK(script_solve(script, program, &in, &arena, &step, &err), &err)) {
        CHECK(!step.done);
        CHECK_INT(step.n_effects, 1);
        CHECK_STR(step.effects[0].path, STR("0"));
        CHECK_STR(step.effects[0].request.prompt.text, STR("2+2="));
        CHECK_INT(step.effects[0].request.settings.max_tokens, 7);
    }
    Reply reply = {.text = STR(" 4\n"), .usage = {.input = 3, .output = 2}};
    LoggedCall log = {.path = STR("0"), .reply = &reply};
    in.log = &log;
    in.n_log = 1;
    if (CHECK_OK(script_solve(script, program, &in, &arena, &step, &err), &err)) {
        CHECK(step.done);
        CHECK_STR(step.reply.text, STR(" 4\n"));
        CHECK_INT(step.reply.usage.input, 3);
    }
    StepOutput graded;
    if (CHECK_OK(script_grade(script, program, &in, &step.reply, NULL, 0, &arena, &graded, &err),
                 &err)) {
        CHECK(graded.done);
        CHECK_INT(graded.n_scores, 1);
        CHECK_NEAR(graded.scores[0].value, 1, 0);
        CHECK(graded.scores[0].is_boolean);
        CHECK_STR(graded.scores[0].answer, STR("4"));
        CHECK_STR(graded.scores[0].grader, STR("exact"));
    }
    script_program_destroy(script, program);
}

/** Whatever a file keeps between calls starts anew with each of them. */
static void test_solve__no_memory(void)
{
    static const char *const kept[] = {
        "local n = 0 return { solve = function() n = n + 1 return 'n' .. n end }",
        "local t = {} return { solve = function() t[#t + 1] = 1 return 'n' .. #t end }",
        "local it = ('1 2 3'):gmatch('%d') return { solve = function() return 'n' .. it() end }",
        "local it = pairs{'a', 'b', 'c'} return { solve = function() return 'n' .. (it()) end }",
        "local it = pairs{[1] = 'x', a = 2} return { solve = function() return 'n' .. (it()) end }",
        "local co = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end)\n"
        "return { solve = function() return 'n' .. co() end }",
        "local s = setmetatable({}, {__index = function(t, k) rawset(t, k, 1) return 1 end, n = "
        "0})\n"
        "return { solve = function() local old = rawget(s, 'x') or 0 return 'n' .. old + s.x end }",
        "x = 0 return { solve = function() x = x + 1 return 'n' .. x end }",
        "local k = ('k'):rep(100) return { solve = function() local t = {[k] = 1} return 'n' .. "
        "t[k] end }",
        "local t = {} for i = 1, 400 do t[i] = {i} end\n"
        "return { solve = function() for i = 1, 3000 do t[i] = {('s'):rep(i % 50) .. i} end\n"
        "collected = (collected or 0) + 1 return 'n' .. collected end }",
    };
    Err err = ERR_INIT;
    Sample sample = demo_sample();
    StepInput in = {.sample = &sample, .epoch = 1};
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
        ScriptUnit unit = {.kind = UNIT_SOLVER,
                           .name = STR("keeps"),
                           .file = STR("keeps.lua"),
                           .text = str_from_c(kept[i]),
                           .params = value_null()};
        Program *program;
        if (!CHECK_OK(script_program_create(script, &unit, 1, NULL, &program, &err), &err)) {
            printf("# case %zu\n", i);
            continue;
        }
        for (int round = 0; round < 5; round++) {
            StepOutput step;
            if (CHECK_OK(script_solve(script, program, &in, &arena, &step, &err), &err)) {
                CHECK_STR(step.reply.text, STR("n1"));
            }
        }
        script_program_destroy(script, program);
    }
}

int main(void)
{
    Err err = ERR_INIT;
    if (!script_create(NULL, &script, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    tap_run("one expression keeps its type", test_render__types);
    tap_run("maps keep their order", test_render__map_order);
    tap_run("errors name the eval file's line", test_render__error_names_line);
    tap_run("helpers, texts and constants", test_render__helpers);
    tap_run("generate and exact", test_solve__generate_and_exact);
    tap_run("nothing is remembered between calls", test_solve__no_memory);
    script_destroy(script);
    arena_finish(&arena);
    return tap_done();
}
