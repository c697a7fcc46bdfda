// SPDX-License-Identifier: MIT
// Any bytes as the body of a solver: it ends within its budget, twice in the same way, and what it
// asks for is answered until it ends.
#include "script/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 8

static Script *script;

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

/** Run to the end or the last step; the outcome's code. */
static ErrCode run(Program *program, Arena *arena, Str *out)
{
    Reply replies[STEPS_MAX * 16];
    LoggedCall log[STEPS_MAX * 16];
    size_t n = 0;
    Sample sample = {.id = STR("1"),
                     .input = value_str(STR("in")),
                     .row = value_map(NULL, 0),
                     .metadata = value_map(NULL, 0),
                     .part_vars = value_map(NULL, 0),
                     .prompt = {.text = STR("prompt")}};
    *out = STR_EMPTY;
    for (int i = 0; i < STEPS_MAX; i++) {
        Err err = ERR_INIT;
        StepOutput step;
        StepInput in = {.sample = &sample, .epoch = 1, .seed = 3, .log = log, .n_log = n};
        if (!script_solve(script, program, &in, arena, &step, &err)) {
            check(err.code == ERR_SCRIPT || err.code == ERR_BUDGET);
            return err.code;
        }
        if (step.done) {
            *out = step.reply.text;
            return ERR_NONE;
        }
        check(step.n_effects > 0);
        for (size_t k = 0; k < step.n_effects && n < STEPS_MAX * 16; k++, n++) {
            replies[n] = (Reply){.text = STR("reply 42")};
            log[n] = (LoggedCall){.path = step.effects[k].path, .reply = &replies[n]};
        }
    }
    return ERR_LIMIT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Err err = ERR_INIT;
    if (script == NULL) {
        ScriptBudget budget = {
            .instructions = 200000, .deadline_ms = 10000, .memory_bytes = (size_t)4 << 20};
        check(script_create(&budget, &script, &err));
    }
    Arena arena = {0};
    Str text = str_concat(&arena, STR("return { solve = function(sample, ctx, params) "),
                          str_concat(&arena, (Str){(const char *)data, size}, STR("\nend }")));
    ScriptUnit unit = {.kind = UNIT_SOLVER,
                       .name = STR("fuzz"),
                       .file = STR("fuzz.lua"),
                       .line = 1,
                       .text = text,
                       .params = value_null()};
    Program *program;
    if (!script_program_create(script, &unit, 1, NULL, &program, &err)) {
        check(err.code == ERR_SCRIPT || err.code == ERR_BUDGET);
        arena_finish(&arena);
        return 0;
    }
    Str first, second;
    ErrCode code = run(program, &arena, &first);
    check(run(program, &arena, &second) == code);
    check(str_eq(first, second));
    script_program_destroy(script, program);
    arena_finish(&arena);
    return 0;
}
