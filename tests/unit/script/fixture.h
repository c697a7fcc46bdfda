// SPDX-License-Identifier: MIT
// A sample and short ways to run Lua text as a solver or grader; one program per file under test.
#pragma once

#include "script/script.h"
#include "tests/unit/tap.h"

static Script *fixture_script;
static Arena fixture_arena;

static inline bool fixture_open(const ScriptBudget *budget)
{
    Err err = ERR_INIT;
    if (!script_create(budget, &fixture_script, &err)) {
        printf("Bail out! %s\n", err.message);
        return false;
    }
    return true;
}

static inline int fixture_close(void)
{
    script_destroy(fixture_script);
    arena_finish(&fixture_arena);
    return tap_done();
}

static inline Sample fixture_sample(void)
{
    static const Str targets[] = {{"4", 1}, {"four", 4}};
    static const ValuePair row[] = {
        {.key = {"question", 8}, .value = {.kind = VALUE_STR, .as.str = {"2+2", 3}}}};
    static const ValuePair part[] = {
        {.key = {"subject", 7}, .value = {.kind = VALUE_STR, .as.str = {"sums", 4}}}};
    static const ValuePair metadata[] = {
        {.key = {"level", 5}, .value = {.kind = VALUE_INT, .as.integer = 3}}};
    return (Sample){.id = STR("s1"),
                    .row_number = 6,
                    .input = value_str(STR("two and two")),
                    .targets = targets,
                    .n_targets = 2,
                    .has_target = true,
                    .row = value_map(row, 1),
                    .metadata = value_map(metadata, 1),
                    .part_vars = value_map(part, 1),
                    .part = STR("sums"),
                    .variant = STR("plain"),
                    .prompt = {.text = STR("2+2=")}};
}

/** A solver whose solve(sample, ctx, params) is body. */
static inline Str fixture_solver(const char *body)
{
    return str_printf(&fixture_arena, "return { solve = function(sample, ctx, params) %s end }",
                      body);
}

/** One step of a solver text with a log. */
static inline bool fixture_solve(Str text, const Sample *sample, const LoggedCall *log,
                                 size_t n_log, StepOutput *out, Err *err)
{
    static const ScriptModel model = {
        .name = {"m", 1}, .chat = true, .loglik = true, .context_tokens = 2048};
    EvalLimits limits = {.tokens = 100, .turns = 5, .seconds = 9};
    EvalSolver solver = {.settings = gen_settings_default(), .params = value_null()};
    ScriptUnit unit = {.kind = UNIT_SOLVER,
                       .name = STR("mine"),
                       .file = STR("mine.lua"),
                       .line = 1,
                       .text = text,
                       .params = value_map(NULL, 0),
                       .solver = &solver};
    Program *program;
    if (!script_program_create(fixture_script, &unit, 1, NULL, &program, err)) {
        return false;
    }
    StepInput in = {.sample = sample,
                    .epoch = 2,
                    .seed = 77,
                    .log = log,
                    .n_log = n_log,
                    .model = &model,
                    .limits = &limits};
    bool ok = script_solve(fixture_script, program, &in, &fixture_arena, out, err);
    script_program_destroy(fixture_script, program);
    return ok;
}

/** Run a body that asks for nothing: the text it returns, or "error: message". */
static inline Str fixture_text(const char *body)
{
    Err err = ERR_INIT;
    StepOutput out;
    Sample sample = fixture_sample();
    if (!fixture_solve(fixture_solver(body), &sample, NULL, 0, &out, &err)) {
        return str_printf(&fixture_arena, "error: %s", err.message);
    }
    return out.done ? out.reply.text : STR("(waits)");
}
