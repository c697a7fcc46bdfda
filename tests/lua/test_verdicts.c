// SPDX-License-Identifier: MIT
// The graders against published verdicts: two models' solutions of GSM8K, BIG-Bench-Hard outputs
// with their accuracies, log-likelihoods of winogrande. Needs MUSTER_MIRROR.
#include "script/script.h"
#include "tests/unit/tap.h"
#include "text/text.h"

static Script *script;
static Arena arena;
static Str mirror;

static Program *grader_program(const char *use, AnswerRule rule)
{
    Err err = ERR_INIT;
    Program *program = NULL;
    EvalGrader grader = {
        .name = str_from_c(use), .params = value_null(), .when = value_null(), .answer = rule};
    ScriptUnit unit = {.kind = UNIT_GRADER,
                       .name = grader.name,
                       .file = str_printf(&arena, "%s.lua", use),
                       .line = 1,
                       .text = script_builtin(UNIT_GRADER, grader.name),
                       .params = value_null(),
                       .grader = &grader};
    CHECK_OK(script_program_create(script, &unit, 1, NULL, &program, &err), &err);
    return program;
}

static double grade(Program *program, Sample *sample, const Reply *reply, Arena *scratch)
{
    Err err = ERR_INIT;
    StepOutput out;
    StepInput in = {.sample = sample, .epoch = 1};
    sample->row = sample->metadata = sample->part_vars = value_map(NULL, 0);
    if (!CHECK_OK(script_grade(script, program, &in, reply, NULL, 0, scratch, &out, &err), &err)) {
        return (double)NAN;
    }
    return out.scores[0].value;
}

static double grade_text(Program *program, Str target, Str text, Arena *scratch)
{
    Sample sample = {.id = STR("x"), .targets = &target, .n_targets = 1, .has_target = true};
    Reply reply = {.text = text};
    return grade(program, &sample, &reply, scratch);
}

static bool read_json(const char *path, Value *out)
{
    Err err = ERR_INIT;
    Str text;
    Str full = str_printf(&arena, STR_FMT "/%s", STR_ARG(mirror), path);
    return CHECK_OK(file_read(&arena, full, (size_t)64 << 20, &text, &err) &&
                        json_parse(&arena, text, NULL, out, NULL, &err),
                    &err);
}

static void test_verdicts__gsm8k(void)
{
    static const char *const models[] = {"6b_finetuning", "6b_verification"};
    Program *last = grader_program("number", (AnswerRule){0});
    Program *after = grader_program("number", (AnswerRule){.given = true, .after = STR("A: ")});
    Err err = ERR_INIT;
    Str text;
    TextSpan *spans;
    size_t n;
    Str path = str_printf(&arena, STR_FMT "/replay/gsm8k/model_solutions.jsonl", STR_ARG(mirror));
    if (!CHECK_OK(file_read(&arena, path, (size_t)64 << 20, &text, &err) &&
                      jsonl_index(&arena, text, &spans, &n, &err),
                  &err)) {
        return;
    }
    size_t n_agree[2] = {0};
    Arena scratch = {0};
    for (size_t i = 0; i < n; i++) {
        arena_reset(&scratch);
        Value row;
        CHECK_OK(json_parse(&scratch, str_slice(text, spans[i].from, spans[i].to), NULL, &row, NULL,
                            &err),
                 &err);
        Str truth = value_get_str(&row, "ground_truth", STR_EMPTY);
        for (size_t m = 0; m < 2; m++) {
            const Value *answer = value_get_c(&row, models[m]);
            Str solution = value_get_str(answer, "solution", STR_EMPTY);
            double want = value_get_bool(answer, "is_correct", false);
            n_agree[0] += grade_text(last, truth, solution, &scratch) == want;
            n_agree[1] += grade_text(after, truth, solution, &scratch) == want;
        }
    }
    printf("# %zu solutions: last number agrees on %zu, after 'A: ' on %zu\n", 2 * n, n_agree[0],
           n_agree[1]);
    CHECK_INT(n, 1319);
    CHECK_INT(n_agree[0], 2638);
    CHECK_INT(n_agree[1], 2638);
    arena_finish(&scratch);
    script_program_destroy(script, last);
    script_program_destroy(script, after);
}

static void test_verdicts__bbh(void)
{
    static const char *const tasks[] = {"boolean_expressions", "date_understanding",
                                        "multistep_arithmetic_two", "object_counting"};
    Program *exact = grader_program(
        "exact", (AnswerRule){.given = true, .after = STR("the answer is"), .trim = STR(" .\n")});
    for (size_t t = 0; t < 4; t++) {
        Value outputs, metrics;
        Arena scratch = {0};
        if (!read_json(str_to_c(&arena, str_printf(&arena, "replay/bbh_code-davinci-002/%s.json",
                                                   tasks[t])),
                       &outputs) ||
            !read_json(
                str_to_c(&arena,
                         str_printf(&arena, "replay/bbh_code-davinci-002/%s.eval_metrics.jsonl",
                                    tasks[t])),
                &metrics)) {
            continue;
        }
        const Value *rows = value_get_c(&outputs, "outputs");
        double right = 0;
        size_t n = rows == NULL || rows->kind != VALUE_LIST ? 0 : rows->as.list.n;
        for (size_t i = 0; i < n; i++) {
            arena_reset(&scratch);
            const Value *row = &rows->as.list.items[i];
            right += grade_text(exact, value_get_str(row, "target", STR_EMPTY),
                                value_get_str(row, "prediction", STR_EMPTY), &scratch);
        }
        CHECK_INT(n, 250);
        CHECK_NEAR(100 * right / (double)n, value_get_real(&metrics, "accuracy", -1), 1e-9);
        printf("# %s: %g of %zu\n", tasks[t], right, n);
        arena_finish(&scratch);
    }
    script_program_destroy(script, exact);
}

static void test_verdicts__winogrande(void)
{
    Program *choice = grader_program("choice", (AnswerRule){0});
    Value rows;
    size_t n_agree = 0;
    Arena scratch = {0};
    if (!read_json("replay/lm_eval/winogrande_llama-2-7b.json", &rows)) {
        return;
    }
    for (size_t i = 0; i < rows.as.list.n; i++) {
        arena_reset(&scratch);
        const Value *row = &rows.as.list.items[i];
        Choice choices[] = {{.text = STR("a")}, {.text = STR("b")}};
        ChoiceLogprob scored[] = {{.logprob = value_get_real(row, "logit_0", 0)},
                                  {.logprob = value_get_real(row, "logit_1", 0)}};
        int64_t correct = value_get_int(row, "truth", -1);
        Str target = choices[correct].text;
        Sample sample = {.id = STR("x"),
                         .choices = choices,
                         .n_choices = 2,
                         .targets = &target,
                         .n_targets = 1,
                         .has_target = true,
                         .correct = &correct,
                         .n_correct = 1};
        Reply reply = {.choices = scored, .n_choices = 2};
        bool want = str_eq(value_get_str(row, "acc", STR_EMPTY), STR("True"));
        n_agree += grade(choice, &sample, &reply, &scratch) == (double)want;
    }
    printf("# %zu of %zu verdicts agree\n", n_agree, rows.as.list.n);
    CHECK_INT(rows.as.list.n, 1267);
    CHECK_INT(n_agree, 1267);
    arena_finish(&scratch);
    script_program_destroy(script, choice);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*test)(void);
    } tests[] = {{"number on GSM8K", test_verdicts__gsm8k},
                 {"exact on BIG-Bench-Hard", test_verdicts__bbh},
                 {"choice on winogrande", test_verdicts__winogrande}};
    Err err = ERR_INIT;
    mirror = env_get("MUSTER_MIRROR", STR_EMPTY);
    if (!script_create(NULL, &script, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
        if (mirror.len > 0) {
            tap_run(tests[i].name, tests[i].test);
        } else {
            tap_skip(tests[i].name, "MUSTER_MIRROR is not set");
        }
    }
    script_destroy(script);
    arena_finish(&arena);
    return tap_done();
}
