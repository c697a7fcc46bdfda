// SPDX-License-Identifier: MIT
// Graders against recorded verdicts: vectors FILE.jsonl... checks, vectors --print FILE.jsonl
// writes one line of JSON per score instead (what the oracles in Python compare with their peers).
//   {"target": text or list, "reply": text, "input": any, "row": map, "want": [{"use": grader,
//    "params": map, "value": number | "unscored": true}, ...]}
// A line may be its own only want; `use` defaults to the file's name, `answer` is read as `reply`
// and `equal` as `value`. A `file`'s line may carry `note`, for people.
#include "script/script.h"
#include "tests/unit/tap.h"
#include "text/text.h"

#define PROGRAMS_MAX 64
#define TOLERANCE    1e-9

typedef struct Graders {
    Script *script;
    Arena arena;
    Str keys[PROGRAMS_MAX]; // use and params as JSON
    Program *programs[PROGRAMS_MAX];
    size_t n;
} Graders;

static Graders graders;
static const char *path;
static bool printing;

static Program *program_of(Str use, const Value *params, Err *err)
{
    Buf key = {0};
    buf_printf(&key, STR_FMT " ", STR_ARG(use));
    json_write(&key, params, JSON_COMPACT);
    Str name = str_copy(&graders.arena, (Str){key.data, key.len});
    buf_finish(&key);
    for (size_t i = 0; i < graders.n; i++) {
        if (str_eq(graders.keys[i], name)) {
            return graders.programs[i];
        }
    }
    if (graders.n == PROGRAMS_MAX) {
        ERR_SET(err, ERR_LIMIT, "more than %d kinds of graders in one file", PROGRAMS_MAX);
        return NULL;
    }
    EvalGrader *grader = ARENA_NEW(&graders.arena, EvalGrader);
    *grader = (EvalGrader){.name = use, .params = *params, .when = value_null()};
    ScriptUnit unit = {.kind = UNIT_GRADER,
                       .name = use,
                       .file = str_printf(&graders.arena, STR_FMT ".lua", STR_ARG(use)),
                       .line = 1,
                       .text = script_builtin(UNIT_GRADER, use),
                       .params = *params,
                       .grader = grader};
    Program *program = NULL;
    if (!script_program_create(graders.script, &unit, 1, NULL, &program, err)) {
        return NULL;
    }
    graders.keys[graders.n] = name;
    graders.programs[graders.n++] = program;
    return program;
}

static void targets_of(const Value *target, Arena *arena, Sample *sample)
{
    if (target == NULL || target->kind == VALUE_NULL) {
        return;
    }
    bool list = target->kind == VALUE_LIST;
    size_t n = list ? target->as.list.n : 1;
    Str *targets = ARENA_ARRAY(arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        targets[i] = json_plain(arena, list ? &target->as.list.items[i] : target);
    }
    sample->targets = targets;
    sample->n_targets = n;
    sample->has_target = true;
}

static bool grade(const Value *line, const Value *want, Str use, Arena *arena, Score *out, Err *err)
{
    const Value *params = value_get_c(want, "params");
    const Value *row = value_get_c(line, "row");
    const Value *input = value_get_c(line, "input");
    Value none = value_map(NULL, 0);
    Program *program = program_of(use, params == NULL ? &none : params, err);
    if (program == NULL) {
        return false;
    }
    Sample sample = {.id = STR("x"),
                     .input = input == NULL ? value_str(STR_EMPTY) : *input,
                     .row = row == NULL ? none : *row,
                     .metadata = none,
                     .part_vars = none};
    targets_of(value_get_c(line, "target"), arena, &sample);
    Reply reply = {.text = value_get_str(line, "reply", value_get_str(line, "answer", STR_EMPTY))};
    StepInput in = {.sample = &sample, .epoch = 1};
    StepOutput step;
    if (!script_grade(graders.script, program, &in, &reply, NULL, 0, arena, &step, err)) {
        return false;
    }
    *out = step.scores[0];
    return true;
}

static void print_score(const Score *score, bool ok, const Err *err)
{
    Buf buf = {0};
    if (!ok) {
        buf_printf(&buf, "{\"error\": ");
        json_write_str(&buf, str_from_c(err->message));
    } else if (score->state == SCORE_VALUE) {
        buf_printf(&buf, "{\"value\": %.17g, \"weight\": %.17g, \"why\": ", score->value,
                   score->weight);
        json_write_str(&buf, score->why);
        buf_printf(&buf, ", \"answer\": ");
        json_write_str(&buf, score->answer);
    } else {
        buf_printf(&buf, "{\"unscored\": ");
        json_write_str(&buf, score->reason);
    }
    printf("%.*s}\n", (int)buf.len, buf.data);
    buf_finish(&buf);
}

static bool right(const Value *want, const Score *score)
{
    if (value_get_bool(want, "unscored", false)) {
        return score->state == SCORE_UNSCORED;
    }
    const Value *value = value_get_c(want, "value");
    if (value == NULL) {
        value = value_get_c(want, "equal");
    }
    if (value == NULL || score->state != SCORE_VALUE) {
        return false;
    }
    double number = value->kind == VALUE_BOOL   ? (double)value->as.boolean
                    : value->kind == VALUE_INT  ? (double)value->as.integer
                    : value->kind == VALUE_REAL ? value->as.real
                                                : (double)NAN;
    return fabs(score->value - number) <= TOLERANCE;
}

static void check_want(const Value *line, const Value *want, Str otherwise, size_t number)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Score score = {0};
    Str use = value_get_str(want, "use", otherwise);
    bool ok = grade(line, want, use, &arena, &score, &err);
    if (printing) {
        print_score(&score, ok, &err);
    } else if (!ok) {
        printf("# %s:%zu: " STR_FMT ": %s\n", path, number, STR_ARG(use), err.message);
        CHECK(ok);
    } else if (!right(want, &score)) {
        printf("# %s:%zu: " STR_FMT " gives %.17g (" STR_FMT STR_FMT ")\n", path, number,
               STR_ARG(use), score.value, STR_ARG(score.why), STR_ARG(score.reason));
        CHECK(right(want, &score));
    }
    arena_finish(&arena);
}

/** The file's name without folder and ending: the grader that its lines mean. */
static Str stem(const char *file)
{
    const char *slash = strrchr(file, '/');
    Str name = str_from_c(slash == NULL ? file : slash + 1);
    const char *dot = memchr(name.data, '.', name.len);
    return dot == NULL ? name : str_slice(name, 0, (size_t)(dot - name.data));
}

static void test_file(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Str text;
    TextSpan *spans;
    size_t n = 0;
    size_t n_wants = 0;
    if (!CHECK_OK(file_read(&arena, str_from_c(path), (size_t)256 << 20, &text, &err) &&
                      jsonl_index(&arena, text, &spans, &n, &err),
                  &err)) {
        arena_finish(&arena);
        return;
    }
    Arena scratch = {0};
    for (size_t i = 0; i < n; i++) {
        arena_reset(&scratch);
        Value line;
        if (!CHECK_OK(json_parse(&scratch, str_slice(text, spans[i].from, spans[i].to), NULL, &line,
                                 NULL, &err),
                      &err)) {
            break;
        }
        const Value *wants = value_get_c(&line, "want");
        bool several = wants != NULL && wants->kind == VALUE_LIST;
        size_t n_here = several ? wants->as.list.n : 1;
        for (size_t w = 0; w < n_here; w++) {
            check_want(&line, several ? &wants->as.list.items[w] : &line, stem(path), i + 1);
        }
        n_wants += n_here;
    }
    if (!printing) {
        printf("# %s: %zu verdicts on %zu lines\n", path, n_wants, n);
        CHECK(n_wants > 0);
    }
    arena_finish(&scratch);
    arena_finish(&arena);
}

int main(int argc, char **argv)
{
    Err err = ERR_INIT;
    if (!script_create(NULL, &graders.script, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    printing = argc > 1 && strcmp(argv[1], "--print") == 0;
    for (int i = printing ? 2 : 1; i < argc; i++) {
        path = argv[i];
        if (printing) {
            test_file();
        } else {
            tap_run(str_to_c(&graders.arena, stem(path)), test_file);
        }
    }
    for (size_t i = 0; i < graders.n; i++) {
        script_program_destroy(graders.script, graders.programs[i]);
    }
    script_destroy(graders.script);
    arena_finish(&graders.arena);
    return printing ? tap_checks_failed > 0 : tap_done();
}
