// SPDX-License-Identifier: MIT
// Ten thousand abandoned states, of every kind, between calls that must not notice; and sessions
// that end.
#include "tests/unit/script/fixture.h"

#define ROUNDS 10000

static const char *const bodies[] = {
    "while true do end",
    "local t = {} while true do t[#t + 1] = {('x'):rep(100)} end",
    "coroutine.wrap(function() while true do coroutine.wrap(function() while true do end end)() "
    "end end)()",
    "xpcall(function() while true do end end, function() while true do end end)",
    "table.sort({1, 2, 3}, function() while true do end end)",
    "local _ = (('x'):gsub('x', function() while true do end end))",
    "local s = 'x' while true do s = s .. s end",
    "ctx.all{function() ctx.generate('a') end, function() while true do end end}",
    "text.replace('abc', 'b', function() while true do json.encode({1, {2}}) end end)",
    "ctx.generate('waits')",
    "ctx.all{function() ctx.generate('a') end, function() ctx.generate('b') end}",
    "error({message = 'plain'})",
    "local x <close> = setmetatable({}, {__close = function() while true do end end}) error('y')",
};

static void test_abandon__many(void)
{
    size_t n = sizeof(bodies) / sizeof(*bodies);
    Program *programs[sizeof(bodies) / sizeof(*bodies) + 1];
    Err err = ERR_INIT;
    for (size_t i = 0; i <= n; i++) {
        ScriptUnit unit = {.kind = UNIT_SOLVER,
                           .name = STR("mine"),
                           .file = STR("mine.lua"),
                           .line = 1,
                           .text =
                               fixture_solver(i < n ? bodies[i] : "return sample.prompt .. 'ok'"),
                           .params = value_null()};
        if (!CHECK_OK(script_program_create(fixture_script, &unit, 1, NULL, &programs[i], &err),
                      &err)) {
            return;
        }
    }
    Sample sample = fixture_sample();
    StepInput in = {.sample = &sample, .epoch = 1};
    Arena arena = {0};
    size_t n_budget = 0, n_waiting = 0, n_errors = 0, n_well = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        StepOutput out;
        arena_reset(&arena);
        err = (Err)ERR_INIT;
        if (!script_solve(fixture_script, programs[i % n], &in, &arena, &out, &err)) {
            n_budget += err.code == ERR_BUDGET;
            n_errors += err.code == ERR_SCRIPT;
        } else {
            n_waiting += !out.done;
        }
        if (!script_solve(fixture_script, programs[n], &in, &arena, &out, &err) || !out.done ||
            !str_eq(out.reply.text, STR("2+2=ok"))) {
            CHECK(false);
            break;
        }
        n_well++;
    }
    CHECK_INT(n_well, ROUNDS);
    CHECK_INT(n_budget + n_errors + n_waiting, ROUNDS);
    CHECK(n_budget > ROUNDS / 2);
    CHECK(n_waiting > 1000);
    CHECK(n_errors > 500);
    printf("# abandoned: %zu over budget, %zu waiting, %zu errors\n", n_budget, n_waiting,
           n_errors);
    for (size_t i = 0; i <= n; i++) {
        script_program_destroy(fixture_script, programs[i]);
    }
    arena_finish(&arena);
}

static void test_abandon__sessions(void)
{
    Err err = ERR_INIT;
    ScriptUnit units[] = {
        {.kind = UNIT_TEMPLATE,
         .name = STR("spin"),
         .line = 1,
         .text =
             STR("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")},
        {.kind = UNIT_TEMPLATE, .name = STR("fine"), .line = 1, .text = STR("{{ x }}")}};
    Program *program;
    if (!CHECK_OK(script_program_create(fixture_script, units, 2, NULL, &program, &err), &err)) {
        return;
    }
    ValuePair pair = {.key = STR("x"), .value = value_int(3)};
    Value scope = value_map(&pair, 1);
    Value out;
    CHECK(!script_render(fixture_script, STR("fine"), &fixture_arena, &out, &err)); // none begun
    CHECK_INT(err.code, ERR_INTERNAL);
    CHECK_OK(script_render_begin(fixture_script, program, NULL, &scope, &err), &err);
    CHECK_OK(script_render(fixture_script, STR("fine"), &fixture_arena, &out, &err), &err);
    CHECK(!script_render(fixture_script, STR("spin"), &fixture_arena, &out, &err));
    CHECK_INT(err.code, ERR_BUDGET);
    CHECK(!script_render(fixture_script, STR("fine"), &fixture_arena, &out, &err)); // it is lost
    CHECK_INT(err.code, ERR_INTERNAL);
    CHECK_OK(script_render_begin(fixture_script, program, NULL, &scope, &err), &err);
    CHECK_OK(script_render(fixture_script, STR("fine"), &fixture_arena, &out, &err), &err);
    fixture_text("return 'x'"); // another call ends the session
    CHECK(!script_render(fixture_script, STR("fine"), &fixture_arena, &out, &err));
    CHECK_INT(err.code, ERR_INTERNAL);
    script_program_destroy(fixture_script, program);
}

static void test_abandon__two_scripts(void)
{
    Err err = ERR_INIT;
    Script *other;
    ScriptUnit unit = {.kind = UNIT_TEMPLATE, .name = STR("t"), .line = 1, .text = STR("{{ x }}!")};
    Program *a, *b;
    ValuePair pair = {.key = STR("x"), .value = value_int(3)};
    Value scope = value_map(&pair, 1);
    Value out;
    if (!CHECK_OK(script_create(NULL, &other, &err), &err)) {
        return;
    }
    CHECK_OK(script_program_create(fixture_script, &unit, 1, NULL, &a, &err), &err);
    CHECK_OK(script_program_create(other, &unit, 1, NULL, &b, &err), &err);
    CHECK_OK(script_render_begin(fixture_script, a, NULL, &scope, &err), &err);
    CHECK_OK(script_render_begin(other, b, NULL, &scope, &err), &err);
    CHECK_OK(script_render(fixture_script, STR("t"), &fixture_arena, &out, &err), &err);
    CHECK_STR(out.as.str, STR("3!"));
    CHECK_OK(script_render(other, STR("t"), &fixture_arena, &out, &err), &err);
    CHECK_STR(out.as.str, STR("3!"));
    script_program_destroy(fixture_script, a);
    script_program_destroy(other, b);
    script_destroy(other);
    script_destroy(NULL);
    script_program_destroy(fixture_script, NULL);
}

int main(void)
{
    ScriptBudget budget = {.instructions = 20000, .memory_bytes = (size_t)2 << 20};
    if (!fixture_open(&budget)) {
        return 1;
    }
    tap_run("ten thousand abandoned states", test_abandon__many);
    script_destroy(fixture_script);
    budget = (ScriptBudget){.instructions = 1000000};
    if (!fixture_open(&budget)) {
        return 1;
    }
    tap_run("rendering sessions end", test_abandon__sessions);
    tap_run("two Scripts side by side", test_abandon__two_scripts);
    return fixture_close();
}
