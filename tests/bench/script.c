// SPDX-License-Identifier: MIT
// Microseconds of Lua work for one sample: render a small row, step `generate` twice, grade with
// `exact`; and a grading with three checks.
//   ninja -C build-release tests/bench/bench_script && build-release/tests/bench/bench_script
#include "script/script.h"

#include <stdio.h>

#define ROUNDS 20000
#define BATCH  50 // the fastest batch counts: other programs share the machine

typedef struct Bench {
    Script *script;
    Program *templates;
    Program *solver;
    Program *grader;
    Arena arena;
} Bench;

static _Noreturn void die(const Err *err)
{
    fprintf(stderr, "%s\n", err->message);
    _Exit(1);
}

static Program *program(Bench *bench, const ScriptUnit *units, size_t n)
{
    Err err = ERR_INIT;
    Program *out;
    if (!script_program_create(bench->script, units, n, NULL, &out, &err)) {
        die(&err);
    }
    return out;
}

static void bench_open(Bench *bench)
{
    static const struct {
        const char *name;
        const char *text;
    } rows[] = {{"sample.id", "{{ row_number }}"},
                {"sample.input", "{{ question | trim }}"},
                {"sample.target", "{{ answer }}"},
                {"prompt", "Question: {{ input }}\nAnswer:"}};
    ScriptUnit units[4];
    Err err = ERR_INIT;
    if (!script_create(NULL, &bench->script, &err)) {
        die(&err);
    }
    for (size_t i = 0; i < 4; i++) {
        units[i] = (ScriptUnit){.kind = UNIT_TEMPLATE,
                                .name = str_from_c(rows[i].name),
                                .file = STR("bench.yaml"),
                                .line = 1,
                                .text = str_from_c(rows[i].text)};
    }
    bench->templates = program(bench, units, 4);
    static EvalSolver solver;
    static EvalGrader grader;
    solver = (EvalSolver){.settings = gen_settings_default()};
    grader = (EvalGrader){.name = STR("exact"), .when = value_null()};
    ScriptUnit solver_unit = {.kind = UNIT_SOLVER,
                              .name = STR("generate"),
                              .file = STR("generate.lua"),
                              .text = script_builtin(UNIT_SOLVER, STR("generate")),
                              .solver = &solver};
    ScriptUnit grader_unit = {.kind = UNIT_GRADER,
                              .name = STR("exact"),
                              .file = STR("exact.lua"),
                              .text = script_builtin(UNIT_GRADER, STR("exact")),
                              .grader = &grader};
    bench->solver = program(bench, &solver_unit, 1);
    bench->grader = program(bench, &grader_unit, 1);
}

static Value render(Bench *bench, const char *unit)
{
    Err err = ERR_INIT;
    Value value;
    if (!script_render(bench->script, str_from_c(unit), &bench->arena, &value, &err)) {
        die(&err);
    }
    return value;
}

static Sample row_render(Bench *bench, int64_t row)
{
    Err err = ERR_INIT;
    ValuePair pairs[] = {
        {.key = STR("question"), .value = value_str(STR(" What is the capital of France? "))},
        {.key = STR("answer"), .value = value_str(STR("Paris"))},
        {.key = STR("row_number"), .value = value_int(row)}};
    Value scope = value_map(pairs, 3);
    if (!script_render_begin(bench->script, bench->templates, NULL, &scope, &err)) {
        die(&err);
    }
    Value id = render(bench, "sample.id");
    Value input = render(bench, "sample.input");
    Value target = render(bench, "sample.target");
    if (!script_render_set(bench->script, STR("input"), &input, &err)) {
        die(&err);
    }
    Value prompt = render(bench, "prompt");
    Str *targets = ARENA_NEW(&bench->arena, Str);
    *targets = target.as.str;
    return (Sample){.id = str_printf(&bench->arena, "%lld", (long long)id.as.integer),
                    .input = input,
                    .targets = targets,
                    .n_targets = 1,
                    .has_target = true,
                    .row = value_map(NULL, 0),
                    .metadata = value_map(NULL, 0),
                    .part_vars = value_map(NULL, 0),
                    .prompt = {.text = prompt.as.str}};
}

/** Microseconds of one grading by three checks; fails unless they hold. */
static void checks_time(Bench *bench, const char *title, const Value *of)
{
    EvalGrader grader = {.name = STR("checks"), .when = value_null()};
    ValuePair params = {.key = STR("of"), .value = *of};
    ScriptUnit units[64] = {{.kind = UNIT_GRADER,
                             .name = STR("checks"),
                             .file = STR("checks.lua"),
                             .text = script_builtin(UNIT_GRADER, STR("checks")),
                             .params = value_map(&params, 1),
                             .grader = &grader}};
    size_t n;
    const Str *names = script_builtin_names(UNIT_GRADER, &n);
    n = n < 63 ? n : 63;
    for (size_t i = 0; i < n; i++) {
        units[i + 1] = (ScriptUnit){.kind = UNIT_LIBRARY,
                                    .name = names[i],
                                    .file = names[i],
                                    .text = script_builtin(UNIT_GRADER, names[i])};
    }
    int64_t start = clock_ns();
    Program *checks = program(bench, units, n + 1);
    int64_t made = clock_ns() - start;
    Sample sample = row_render(bench, 1);
    Value items[3];
    ValuePair pairs[3][2];
    for (size_t i = 0; i < 3; i++) {
        pairs[i][0] = (ValuePair){.key = STR("use"), .value = value_str(STR("includes"))};
        pairs[i][1] = (ValuePair){.key = STR("target"), .value = value_str(STR("Paris"))};
        items[i] = value_map(pairs[i], 2);
    }
    ValuePair metadata = {.key = STR("asserts"), .value = value_list(items, 3)};
    sample.metadata = value_map(&metadata, 1);
    Reply reply = {.text = STR(" Paris")};
    StepInput in = {.sample = &sample, .epoch = 1};
    int64_t best = 0;
    ArenaMark mark = arena_mark(&bench->arena);
    for (int round = 0; round < ROUNDS / BATCH / 4; round++) {
        start = clock_ns();
        for (int i = 0; i < BATCH; i++) {
            Err err = ERR_INIT;
            StepOutput out;
            arena_rewind(&bench->arena, mark);
            if (!script_grade(bench->script, checks, &in, &reply, NULL, 0, &bench->arena, &out,
                              &err) ||
                out.scores[0].value != 1) {
                die(&err);
            }
        }
        int64_t took = clock_ns() - start;
        best = round == 0 || took < best ? took : best;
    }
    printf("%-20s %6.2f us (program %.1f ms)\n", title, (double)best / BATCH / 1000,
           (double)made / 1e6);
    script_program_destroy(bench->script, checks);
}

static void checks_bench(Bench *bench)
{
    ValuePair pair[2] = {{.key = STR("use"), .value = value_str(STR("includes"))},
                         {.key = STR("target"), .value = value_str(STR("Paris"))}};
    Value items[3] = {value_map(pair, 2), value_map(pair, 2), value_map(pair, 2)};
    Value written = value_list(items, 3);
    Value data = value_str(STR("{{ metadata.asserts }}"));
    arena_reset(&bench->arena);
    checks_time(bench, "3 checks, written", &written);
    checks_time(bench, "3 checks, from data", &data);
}

int main(void)
{
    Bench bench = {0};
    int64_t at[5] = {0};
    int64_t best[5] = {0};
    double right = 0;
    bench_open(&bench);
    for (int64_t i = 0; i < ROUNDS; i++) {
        Err err = ERR_INIT;
        arena_reset(&bench.arena);
        int64_t t0 = clock_ns();
        Sample sample = row_render(&bench, i);
        int64_t t1 = clock_ns();
        StepInput in = {.sample = &sample, .epoch = 1};
        StepOutput step;
        if (!script_solve(bench.script, bench.solver, &in, &bench.arena, &step, &err)) {
            die(&err);
        }
        int64_t t2 = clock_ns();
        Reply reply = {.text = STR(" Paris")};
        LoggedCall log = {.path = step.effects[0].path, .reply = &reply};
        in.log = &log;
        in.n_log = 1;
        if (!script_solve(bench.script, bench.solver, &in, &bench.arena, &step, &err)) {
            die(&err);
        }
        int64_t t3 = clock_ns();
        StepOutput graded;
        if (!script_grade(bench.script, bench.grader, &in, &step.reply, NULL, 0, &bench.arena,
                          &graded, &err)) {
            die(&err);
        }
        int64_t t4 = clock_ns();
        right += graded.scores[0].value;
        at[0] += t1 - t0;
        at[1] += t2 - t1;
        at[2] += t3 - t2;
        at[3] += t4 - t3;
        at[4] += t4 - t0;
        for (int k = 0; (i + 1) % BATCH == 0 && k < 5; k++) {
            best[k] = best[k] == 0 || at[k] < best[k] ? at[k] : best[k];
            at[k] = 0;
        }
    }
    static const char *const names[] = {"render 4 templates", "solve to the effect",
                                        "solve to the end", "grade", "whole sample"};
    for (int i = 0; i < 5; i++) {
        printf("%-20s %6.2f us\n", names[i], (double)best[i] / BATCH / 1000);
    }
    printf("right: %g of %d\n", right, ROUNDS);
    checks_bench(&bench);
    script_program_destroy(bench.script, bench.templates);
    script_program_destroy(bench.script, bench.solver);
    script_program_destroy(bench.script, bench.grader);
    script_destroy(bench.script);
    arena_finish(&bench.arena);
    return right == ROUNDS ? 0 : 1;
}
