// SPDX-License-Identifier: MIT
// Any bytes as the body of a grader that may ask models and run other graders, itself among them:
// it ends within its budget, twice in the same way, and its score is a score.
#include "script/script.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 6
#define CALLS_MAX 64

static Script *script;

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static bool has_path(const LoggedCall *log, size_t n, Str path)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(log[i].path, path)) {
            return true;
        }
    }
    return false;
}

static const Reply *answer(Arena *arena, const Request *request)
{
    Reply *reply = ARENA_NEW(arena, Reply);
    ChoiceLogprob *choices = ARENA_ARRAY(arena, ChoiceLogprob, request->n_items);
    for (size_t i = 0; i < request->n_items; i++) {
        choices[i] = (ChoiceLogprob){.logprob = -1.5, .unconditional = (double)NAN};
    }
    *reply =
        (Reply){.text = STR("think\n**Y**"), .choices = choices, .n_choices = request->n_items};
    return reply;
}

/** Run to the end or the last step; the outcome's code and the score of the grader. */
static ErrCode run(Program *program, Arena *arena, Score *out)
{
    static const Str targets[] = {{"a", 1}};
    LoggedCall log[CALLS_MAX];
    size_t n = 0;
    Sample sample = {.id = STR("1"),
                     .input = value_str(STR("in")),
                     .targets = targets,
                     .n_targets = 1,
                     .has_target = true,
                     .row = value_map(NULL, 0),
                     .metadata = value_map(NULL, 0),
                     .part_vars = value_map(NULL, 0)};
    Reply reply = {.text = STR("the answer is a")};
    *out = (Score){0};
    for (int i = 0; i < STEPS_MAX; i++) {
        Err err = ERR_INIT;
        StepOutput step;
        StepInput in = {.sample = &sample, .epoch = 1, .seed = 3, .log = log, .n_log = n};
        if (!script_grade(script, program, &in, &reply, NULL, 0, arena, &step, &err)) {
            check(err.code == ERR_SCRIPT || err.code == ERR_BUDGET);
            return err.code;
        }
        if (step.done) {
            check(step.n_scores == 2 && step.scores[1].state == SCORE_VALUE);
            *out = step.scores[0];
            check(out->state != SCORE_VALUE || (out->value >= 0 && out->value <= 1));
            return ERR_NONE;
        }
        check(step.n_effects > 0);
        for (size_t k = 0; k < step.n_effects; k++) {
            check(!has_path(log, n, step.effects[k].path));
            if (n < CALLS_MAX) {
                log[n++] = (LoggedCall){.path = step.effects[k].path,
                                        .reply = answer(arena, &step.effects[k].request)};
            }
        }
    }
    return ERR_LIMIT;
}

static size_t units(Arena *arena, Str text, EvalGrader *grader, ScriptUnit *out)
{
    static const char *const library[] = {"exact", "includes", "judge", "checks", "json_match"};
    size_t n = 0;
    Value *first = ARENA_NEW(arena, Value);
    *first = value_str(STR("first"));
    ValuePair *of = ARENA_NEW(arena, ValuePair);
    *of = (ValuePair){.key = STR("of"), .value = value_list(first, 1)};
    *grader = (EvalGrader){.name = STR("fuzz"), .params = value_null(), .when = value_null()};
    out[n++] = (ScriptUnit){.kind = UNIT_GRADER,
                            .name = STR("fuzz"),
                            .file = STR("fuzz.lua"),
                            .line = 1,
                            .text = text,
                            .params = value_map(of, 1),
                            .grader = grader};
    out[n++] = (ScriptUnit){.kind = UNIT_GRADER,
                            .name = STR("first"),
                            .file = STR("first.lua"),
                            .line = 1,
                            .text = STR("return { grade = function() return 0.75 end }"),
                            .params = value_null()};
    out[n++] = (ScriptUnit){.kind = UNIT_LIBRARY,
                            .name = STR("self"),
                            .file = STR("fuzz.lua"),
                            .line = 1,
                            .text = text};
    for (size_t i = 0; i < sizeof(library) / sizeof(*library); i++) {
        Str name = str_from_c(library[i]);
        out[n++] = (ScriptUnit){.kind = UNIT_LIBRARY,
                                .name = name,
                                .file = str_concat(arena, name, STR(".lua")),
                                .line = 1,
                                .text = script_builtin(UNIT_GRADER, name)};
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Err err = ERR_INIT;
    if (script == NULL) {
        ScriptBudget budget = {
            .instructions = 300000, .deadline_ms = 10000, .memory_bytes = (size_t)4 << 20};
        check(script_create(&budget, &script, &err));
    }
    Arena arena = {0};
    Str head = STR("return { params = { of = json.null }, after = 'of',\n"
                   "effects = { 'generate', 'loglik', 'grade' },\n"
                   "grade = function(sample, reply, params, ctx) ");
    Str text = str_concat(&arena, head,
                          str_concat(&arena, (Str){(const char *)data, size}, STR("\nend }")));
    ScriptUnit list[10];
    EvalGrader grader;
    size_t n = units(&arena, text, &grader, list);
    Program *program;
    if (!script_program_create(script, list, n, NULL, &program, &err)) {
        check(err.code == ERR_SCRIPT || err.code == ERR_BUDGET || err.code == ERR_CONFIG);
        arena_finish(&arena);
        return 0;
    }
    Score first, second;
    ErrCode code = run(program, &arena, &first);
    check(run(program, &arena, &second) == code);
    check(first.state == second.state && first.value == second.value);
    check(str_eq(first.answer, second.answer) && str_eq(first.why, second.why));
    check(str_eq(first.reason, second.reason));
    script_program_destroy(script, program);
    arena_finish(&arena);
    return 0;
}
