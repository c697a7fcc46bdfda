// SPDX-License-Identifier: MIT
// Examples of solvers and graders, run through the same script_solve and script_grade as everything
// else, with replies given. In Lua, positions count from 1.
//   solver  {sample=, params=, replies={...}, text=, choices=, messages=, requests={...}, error=}
//   grader  {sample= | target=, reply=, params=, answer_rule=, not_=, replies={...}, requests=,
//            scores={name = number | {value=} | {unscored=} | {absent = true}},
//            value= | unscored= | error=, answer=, why=}
//   metric  {scores={{value=, ...}, ...}, params=, value= | error=}
// `roles` lists the roles that the requests ask. `scores` gives other graders of the eval theirs. A
// grader that runs library graders finds those that are compiled in.
#include "script/script_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS_MAX   64
#define CALLS_MAX   256
#define SCORES_MAX  32
#define TARGETS_MAX 64
#define LIBRARY_MAX 200
#define UNITS_MAX   (1 + SCORES_MAX + LIBRARY_MAX)

typedef struct Example {
    Script *script;
    Arena *arena;
    UnitKind kind;
    Str file;
    Str text;
    const Value *value; // the example's table
    size_t number;
    Buf *failures;
    Sample sample;
    LoggedCall log[CALLS_MAX];
    size_t n_log;
    size_t n_replies; // of `replies` used
    const UnitInfo *info;
} Example;

static void fail(Example *example, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(Example *example, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    buf_printf(example->failures, "example %zu: %s\n", example->number, line);
}

/** A word that an example may not have would be a test that tests nothing. */
static void check_words(Example *example, const Value *map, const char *what,
                        const char *const *words)
{
    for (size_t i = 0; map != NULL && map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        Str key = map->as.map.pairs[i].key;
        Str hint = words_hint(example->arena, key, words);
        if (!words_have(words, key)) {
            fail(example, "unknown key '" STR_FMT "'%s" STR_FMT, STR_ARG(key), what, STR_ARG(hint));
        }
    }
}

static void check_keys(Example *example)
{
    static const char *const solver[] = {"sample", "params",  "replies",  "requests", "roles",
                                         "text",   "choices", "messages", "error",    NULL};
    static const char *const grader[] = {"sample", "target", "reply",    "params",  "answer_rule",
                                         "not_",   "role",   "scores",   "replies", "requests",
                                         "roles",  "value",  "unscored", "error",   "answer",
                                         "why",    NULL};
    static const char *const metric[] = {"scores", "params", "value", "error", NULL};
    static const char *const sample[] = {"id",     "input",   "metadata", "row",      "choices",
                                         "target", "correct", "prompt",   "messages", NULL};
    UnitKind kind = example->kind;
    check_words(example, example->value, "",
                kind == UNIT_SOLVER   ? solver
                : kind == UNIT_METRIC ? metric
                                      : grader);
    check_words(example, value_get_c(example->value, "sample"), " in sample", sample);
}

// ---- Samples and replies of an example ----------------------------------------------------------

static void sample_choices(Example *example, const Value *choices)
{
    Sample *sample = &example->sample;
    size_t n = choices != NULL && choices->kind == VALUE_LIST ? choices->as.list.n : 0;
    Choice *list = ARENA_ARRAY(example->arena, Choice, n);
    for (size_t i = 0; i < n; i++) {
        const Value *item = &choices->as.list.items[i];
        if (item->kind == VALUE_STR) {
            list[i].text = item->as.str;
        } else {
            list[i].text = value_get_str(item, "text", STR_EMPTY);
            list[i].has_context = value_get_c(item, "context") != NULL;
            list[i].context = value_get_str(item, "context", STR_EMPTY);
        }
    }
    sample->choices = list;
    sample->n_choices = n;
}

/** target: a text or texts; correct: positions from 1. */
static void sample_targets(Example *example, const Value *target, const Value *correct)
{
    Sample *sample = &example->sample;
    Arena *arena = example->arena;
    size_t n = 0;
    Str *targets = ARENA_ARRAY(arena, Str, 2 * TARGETS_MAX);
    int64_t *positions = ARENA_ARRAY(arena, int64_t, TARGETS_MAX);
    size_t n_correct = 0;
    if (target != NULL && target->kind == VALUE_STR) {
        targets[n++] = target->as.str;
    }
    for (size_t i = 0; target != NULL && target->kind == VALUE_LIST && i < target->as.list.n; i++) {
        if (target->as.list.items[i].kind == VALUE_STR && n < TARGETS_MAX) {
            targets[n++] = target->as.list.items[i].as.str;
        }
    }
    for (size_t i = 0; correct != NULL && correct->kind == VALUE_LIST && i < correct->as.list.n;
         i++) {
        int64_t position = correct->as.list.items[i].as.integer - 1;
        if (correct->as.list.items[i].kind == VALUE_INT && position >= 0 &&
            (size_t)position < sample->n_choices && n_correct < TARGETS_MAX) {
            positions[n_correct++] = position;
            targets[n++] = sample->choices[position].text;
        }
    }
    sample->targets = targets;
    sample->n_targets = n;
    sample->has_target = n > 0;
    sample->correct = positions;
    sample->n_correct = n_correct;
}

static void sample_prompt(Example *example, const Value *map)
{
    Sample *sample = &example->sample;
    const Value *messages = value_get_c(map, "messages");
    if (messages == NULL || messages->kind != VALUE_LIST) {
        sample->prompt.text = value_get_str(map, "prompt", STR_EMPTY);
        return;
    }
    size_t n = messages->as.list.n;
    Message *list = ARENA_ARRAY(example->arena, Message, n);
    for (size_t i = 0; i < n; i++) {
        list[i].role = value_get_str(&messages->as.list.items[i], "role", STR_EMPTY);
        list[i].content = value_get_str(&messages->as.list.items[i], "content", STR_EMPTY);
        list[i].extra = value_null();
    }
    sample->prompt = (Prompt){.is_chat = true, .messages = list, .n_messages = n};
}

static void example_sample(Example *example)
{
    const Value *map = value_get_c(example->value, "sample");
    Value empty = value_map(NULL, 0);
    if (map == NULL || map->kind != VALUE_MAP) {
        map = &empty;
    }
    const Value *target = value_get_c(map, "target");
    const Value *input = value_get_c(map, "input");
    const Value *metadata = value_get_c(map, "metadata");
    const Value *row = value_get_c(map, "row");
    example->sample = (Sample){.id = value_get_str(map, "id", STR("1")),
                               .input = input == NULL ? value_str(STR_EMPTY) : *input,
                               .metadata = metadata == NULL ? empty : *metadata,
                               .row = row == NULL ? empty : *row,
                               .part_vars = empty};
    sample_choices(example, value_get_c(map, "choices"));
    sample_targets(example, target != NULL ? target : value_get_c(example->value, "target"),
                   value_get_c(map, "correct"));
    sample_prompt(example, map);
}

static bool example_reply(Example *example, const Value *value, Reply *out)
{
    *out = (Reply){.stop = STOP_STOP};
    if (value == NULL) {
        return true;
    }
    if (value->kind == VALUE_STR) {
        out->text = value->as.str;
        return true;
    }
    Err err = ERR_INIT;
    if (!reply_from_value(example->arena, value, out, &err)) {
        fail(example, "reply: %s", err.message);
        return false;
    }
    if (isnan(out->cost_usd)) {
        out->cost_usd = 0;
    }
    return true;
}

/** Answer the effects with the next of `replies`; false when they are used up. */
static bool example_answer(Example *example, const StepOutput *step)
{
    const Value *replies = value_get_c(example->value, "replies");
    for (size_t i = 0; i < step->n_effects; i++) {
        size_t n = replies != NULL && replies->kind == VALUE_LIST ? replies->as.list.n : 0;
        if (example->n_replies >= n || example->n_log == CALLS_MAX) {
            fail(example, "it asks for more replies than the %zu given", n);
            return false;
        }
        Reply *reply = ARENA_NEW(example->arena, Reply);
        if (!example_reply(example, &replies->as.list.items[example->n_replies++], reply)) {
            return false;
        }
        example->log[example->n_log++] =
            (LoggedCall){.path = str_copy(example->arena, step->effects[i].path), .reply = reply};
    }
    return true;
}

// ---- What it asked for --------------------------------------------------------------------------

static Str prompt_text(const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return prompt->text;
    }
    return prompt->n_messages == 0 ? STR_EMPTY : prompt->messages[prompt->n_messages - 1].content;
}

/** One expected request: the prompt (a chat's last message), or "context|text" of each item. */
static void check_request(Example *example, const Value *want, const Request *request)
{
    if (want->kind == VALUE_STR && !str_eq(want->as.str, prompt_text(&request->prompt))) {
        fail(example, "request: expected \"" STR_FMT "\", got \"" STR_FMT "\"",
             STR_ARG(want->as.str), STR_ARG(prompt_text(&request->prompt)));
    }
    for (size_t i = 0; want->kind == VALUE_LIST && i < want->as.list.n; i++) {
        Str got = STR("(nothing)");
        if (i < request->n_items) {
            got = str_printf(example->arena, STR_FMT "|" STR_FMT,
                             STR_ARG(prompt_text(&request->items[i].context)),
                             STR_ARG(request->items[i].text));
        }
        const Value *item = &want->as.list.items[i];
        if (item->kind != VALUE_STR || !str_eq(item->as.str, got)) {
            fail(example, "request: expected \"" STR_FMT "\", got \"" STR_FMT "\"",
                 STR_ARG(item->kind == VALUE_STR ? item->as.str : STR("?")), STR_ARG(got));
        }
    }
}

static void check_roles(Example *example, const StepOutput *step, size_t done)
{
    const Value *wants = value_get_c(example->value, "roles");
    for (size_t i = 0; wants != NULL && wants->kind == VALUE_LIST && i < step->n_effects; i++) {
        const Value *want = done + i < wants->as.list.n ? &wants->as.list.items[done + i] : NULL;
        Str got = step->effects[i].request.role;
        if (want != NULL && want->kind == VALUE_STR && !str_eq(want->as.str, got)) {
            fail(example, "request: expected role \"" STR_FMT "\", got \"" STR_FMT "\"",
                 STR_ARG(want->as.str), STR_ARG(got));
        }
    }
}

static void check_requests(Example *example, const StepOutput *step, size_t done)
{
    check_roles(example, step, done);
    const Value *wants = value_get_c(example->value, "requests");
    for (size_t i = 0; wants != NULL && wants->kind == VALUE_LIST && i < step->n_effects; i++) {
        if (done + i < wants->as.list.n) {
            check_request(example, &wants->as.list.items[done + i], &step->effects[i].request);
        }
    }
}

/** At the end: whether all the requests that the example lists were made. */
static void check_asked(Example *example)
{
    const Value *wants = value_get_c(example->value, "requests");
    size_t n = wants != NULL && wants->kind == VALUE_LIST ? wants->as.list.n : 0;
    if (n > example->n_replies) {
        fail(example, "expected %zu requests, got %zu", n, example->n_replies);
    }
}

// ---- Comparing ----------------------------------------------------------------------------------

/** Whether an error was expected: any (true), or one whose message has the text in it. */
static void check_error(Example *example, const Err *err)
{
    const Value *want = value_get_c(example->value, "error");
    if (want == NULL) {
        fail(example, "%s", err->message);
    } else if (want->kind == VALUE_STR &&
               str_find(str_from_c(err->message), want->as.str, 0) == STR_NONE) {
        fail(example, "expected an error with \"" STR_FMT "\", got \"%s\"", STR_ARG(want->as.str),
             err->message);
    }
}

static double number_of(const Value *value)
{
    return value->kind == VALUE_BOOL   ? (double)value->as.boolean
           : value->kind == VALUE_INT  ? (double)value->as.integer
           : value->kind == VALUE_REAL ? value->as.real
                                       : (double)NAN;
}

static void check_score(Example *example, const Score *score)
{
    const Value *value = value_get_c(example->value, "value");
    const Value *unscored = value_get_c(example->value, "unscored");
    const Value *answer = value_get_c(example->value, "answer");
    if (value_get_c(example->value, "error") != NULL) {
        fail(example, "expected an error, got a score");
    } else if (unscored != NULL) {
        if (score->state != SCORE_UNSCORED) {
            fail(example, "expected unscored, got %g", score->value);
        } else if (unscored->kind == VALUE_STR && !str_eq(unscored->as.str, score->reason)) {
            fail(example, "expected unscored \"" STR_FMT "\", got \"" STR_FMT "\"",
                 STR_ARG(unscored->as.str), STR_ARG(score->reason));
        }
    } else if (score->state != SCORE_VALUE) {
        fail(example, "it is unscored: " STR_FMT, STR_ARG(score->reason));
    } else if (value == NULL) {
        fail(example, "it expects neither value, unscored nor error");
    } else if (!(fabs(number_of(value) - score->value) <= 1e-9)) {
        fail(example, "expected %g, got %g (" STR_FMT ")", number_of(value), score->value,
             STR_ARG(score->why));
    }
    if (answer != NULL && answer->kind == VALUE_STR &&
        !(score->has_answer && str_eq(answer->as.str, score->answer))) {
        fail(example, "expected answer \"" STR_FMT "\", got \"" STR_FMT "\"",
             STR_ARG(answer->as.str), STR_ARG(score->answer));
    }
    const Value *why = value_get_c(example->value, "why");
    if (why != NULL && why->kind == VALUE_STR && !str_eq(why->as.str, score->why)) {
        fail(example, "expected why \"" STR_FMT "\", got \"" STR_FMT "\"", STR_ARG(why->as.str),
             STR_ARG(score->why));
    }
}

static void check_solved(Example *example, const StepOutput *step)
{
    const Value *text = value_get_c(example->value, "text");
    if (value_get_c(example->value, "error") != NULL) {
        fail(example, "expected an error, got a result");
    }
    if (text != NULL && text->kind == VALUE_STR && !str_eq(text->as.str, step->reply.text)) {
        fail(example, "expected text \"" STR_FMT "\", got \"" STR_FMT "\"", STR_ARG(text->as.str),
             STR_ARG(step->reply.text));
    }
    int64_t choices = value_get_int(example->value, "choices", -1);
    if (choices >= 0 && (size_t)choices != step->reply.n_choices) {
        fail(example, "expected %lld choices, got %zu", (long long)choices, step->reply.n_choices);
    }
    int64_t messages = value_get_int(example->value, "messages", -1);
    if (messages >= 0 && (size_t)messages != step->n_messages) {
        fail(example, "expected %lld messages, got %zu", (long long)messages, step->n_messages);
    }
}

// ---- Running ------------------------------------------------------------------------------------

// A grader whose score the example gives.
static const char given_score[] = "return { range = { -math.huge, math.huge }, params = { score = "
                                  "required('any') },\n"
                                  "grade = function(sample, reply, params) return params.score "
                                  "end }";

/** A grader per member of `scores`. */
static size_t score_units(Example *example, ScriptUnit *units)
{
    const Value *scores = value_get_c(example->value, "scores");
    size_t n = scores != NULL && scores->kind == VALUE_MAP ? scores->as.map.n : 0;
    for (size_t i = 0; i < n && i < SCORES_MAX; i++) {
        const ValuePair *pair = &scores->as.map.pairs[i];
        EvalGrader *grader = ARENA_NEW(example->arena, EvalGrader);
        *grader = (EvalGrader){.name = pair->key, .params = value_null(), .when = value_null()};
        if (value_get_bool(&pair->value, "absent", false)) {
            grader->when = value_bool(false);
        }
        ValuePair *param = ARENA_NEW(example->arena, ValuePair);
        *param = (ValuePair){.key = STR("score"), .value = pair->value};
        units[i] = (ScriptUnit){.kind = UNIT_GRADER,
                                .name = pair->key,
                                .file = STR("scores.lua"),
                                .line = 1,
                                .text = str_from_c(given_score),
                                .params = value_map(param, 1),
                                .grader = grader};
    }
    return n < SCORES_MAX ? n : SCORES_MAX;
}

static size_t library_units(const Example *example, ScriptUnit *units)
{
    size_t n = 0;
    bool grades = false;
    for (size_t i = 0; i < example->info->n_effects; i++) {
        grades = grades || str_eq(example->info->effects[i], STR("grade"));
    }
    const Str *names = script_builtin_names(UNIT_GRADER, &n);
    n = n < LIBRARY_MAX ? n : LIBRARY_MAX;
    for (size_t i = 0; grades && i < n; i++) {
        units[i] = (ScriptUnit){
            .kind = UNIT_LIBRARY,
            .name = names[i],
            .file = str_printf(example->arena, "graders/" STR_FMT ".lua", STR_ARG(names[i])),
            .line = 1,
            .text = script_builtin(UNIT_GRADER, names[i])};
    }
    return grades ? n : 0;
}

static void example_grader(const Example *example, EvalGrader *out)
{
    const Value *rule = value_get_c(example->value, "answer_rule");
    *out = (EvalGrader){.name = path_stem(example->file),
                        .params = value_null(),
                        .when = value_null(),
                        .negate = value_get_bool(example->value, "not_", false),
                        .role = value_get_str(example->value, "role", STR_EMPTY)};
    if (rule != NULL) {
        out->answer = (AnswerRule){.given = true,
                                   .after = value_get_str(rule, "after", STR_EMPTY),
                                   .regex = value_get_str(rule, "regex", STR_EMPTY),
                                   .trim = value_get_str(rule, "trim", STR_EMPTY)};
        out->answer.first = str_eq(value_get_str(rule, "which", STR("last")), STR("first"));
    }
}

static bool example_program(Example *example, Program **out, Err *err)
{
    const Value *params = value_get_c(example->value, "params");
    EvalSolver solver = {.settings = gen_settings_default(), .params = value_null()};
    EvalGrader grader;
    example_grader(example, &grader);
    ScriptUnit *units = ARENA_ARRAY(example->arena, ScriptUnit, UNITS_MAX);
    units[0] = (ScriptUnit){.kind = example->kind,
                            .name = path_stem(example->file),
                            .file = example->file,
                            .line = 1,
                            .text = example->text,
                            .params = params == NULL ? value_map(NULL, 0) : *params,
                            .solver = example->kind == UNIT_SOLVER ? &solver : NULL,
                            .grader = example->kind == UNIT_GRADER ? &grader : NULL};
    size_t n = 1;
    n += score_units(example, units + n);
    n += library_units(example, units + n);
    return script_program_create(example->script, units, n, NULL, out, err);
}

static void example_steps(Example *example, Program *program)
{
    ScriptModel model = {.name = STR("example"), .chat = true, .loglik = true};
    Reply reply;
    if (!example_reply(example, value_get_c(example->value, "reply"), &reply)) {
        return;
    }
    for (int n = 0; n < STEPS_MAX; n++) {
        Err err = ERR_INIT;
        StepOutput step = {0};
        StepInput in = {.sample = &example->sample,
                        .epoch = 1,
                        .log = example->log,
                        .n_log = example->n_log,
                        .model = &model};
        bool ok = example->kind == UNIT_SOLVER
                      ? script_solve(example->script, program, &in, example->arena, &step, &err)
                      : script_grade(example->script, program, &in, &reply, NULL, 0, example->arena,
                                     &step, &err);
        if (!ok) {
            check_error(example, &err);
            return;
        }
        if (step.done) {
            check_asked(example);
            if (example->kind == UNIT_SOLVER) {
                check_solved(example, &step);
            } else {
                check_score(example, &step.scores[0]);
            }
            return;
        }
        check_requests(example, &step, example->n_replies);
        if (!example_answer(example, &step)) {
            return;
        }
    }
    fail(example, "no end after %d steps", STEPS_MAX);
}

static void metric_run(Example *example)
{
    Err err = ERR_INIT;
    double got = 0;
    Value none = value_list(NULL, 0);
    const Value *scores = value_get_c(example->value, "scores");
    const Value *want = value_get_c(example->value, "value");
    if (!script_metric(example->script, example->file, example->text,
                       value_get_c(example->value, "params"), scores == NULL ? &none : scores, &got,
                       &err)) {
        check_error(example, &err);
    } else if (value_get_c(example->value, "error") != NULL) {
        fail(example, "expected an error, got %g", got);
    } else if (want == NULL || !(fabs(number_of(want) - got) <= 1e-9)) {
        fail(example, "expected %g, got %g", want == NULL ? (double)NAN : number_of(want), got);
    }
}

static void example_run(Example *example)
{
    check_keys(example);
    if (example->kind == UNIT_METRIC) {
        metric_run(example);
        return;
    }
    Program *program;
    Err err = ERR_INIT;
    example_sample(example);
    if (!example_program(example, &program, &err)) {
        check_error(example, &err);
        return;
    }
    example_steps(example, program);
    script_program_destroy(example->script, program);
}

typedef struct ExamplesReading {
    Str file;
    Str text;
    Arena *arena;
    Value out;
} ExamplesReading;

static int examples_body(lua_State *L)
{
    ExamplesReading *reading = lua_touserdata(L, 1);
    vm_load(L, reading->text, reading->file, STR("unit"), false);
    lua_call(L, 0, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_getfield(L, -1, "examples");
    reading->out = vm_to_value(L, -1, reading->arena);
    return 0;
}

bool script_unit_examples(Script *script, UnitKind kind, Str file, Str text, Arena *arena,
                          size_t *out_run, Str *out_failures, Err *err)
{
    UnitInfo info;
    const Image *base;
    if (!script_unit_info(script, kind, file, text, arena, &info, err) ||
        !script_base_image(script, false, &base, err)) {
        return false;
    }
    Vm *vm = script_vm(script);
    vm_restore(vm, base);
    ExamplesReading reading = {.file = file, .text = text, .arena = arena};
    bool ok = vm_run(vm, examples_body, &reading, NULL, err);
    vm->live = NULL;
    if (!ok) {
        return false;
    }
    Buf failures = {0};
    size_t n = reading.out.kind == VALUE_LIST ? reading.out.as.list.n : 0;
    for (size_t i = 0; i < n; i++) {
        Example *example = ARENA_NEW(arena, Example);
        *example = (Example){.script = script,
                             .arena = arena,
                             .kind = kind,
                             .file = file,
                             .text = text,
                             .value = &reading.out.as.list.items[i],
                             .number = i + 1,
                             .info = &info,
                             .failures = &failures};
        example_run(example);
    }
    *out_run = n;
    *out_failures = str_copy(arena, buf_view(&failures));
    buf_finish(&failures);
    return true;
}
