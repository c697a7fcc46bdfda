// SPDX-License-Identifier: MIT
// Stores filled for the tests of metrics, and what a metric's row has to be.
#pragma once

#include "filling.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/** A run with these metrics, as JSON without "graders"; the grader is exact, 0 to 1. */
static RunSpec run_with(Arena *arena, const char *metrics, int64_t epochs)
{
    static const char graders[] =
        "[{\"name\": \"exact\", \"use\": \"choice\", \"low\": 0, \"high\": 1}]";
    RunSpec run = run_make(arena, "", "echo/x");
    Value list = json(arena, metrics);
    Value *items = ARENA_ARRAY(arena, Value, list.as.list.n);
    for (size_t i = 0; i < list.as.list.n; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        const ValueMap *given = &list.as.list.items[i].as.map;
        for (size_t j = 0; j < given->n; j++) {
            map_builder_put(&map, given->pairs[j].key, given->pairs[j].value);
        }
        if (value_get_c(&list.as.list.items[i], "graders") == NULL) {
            map_builder_put(&map, STR("graders"), json(arena, graders));
        }
        items[i] = map_builder_done(&map);
    }
    run.metrics = value_list(items, list.as.list.n);
    run.epochs = epochs;
    return run;
}

/** What a row of a test may say; the others are as attempt_make has them. */
typedef struct Given {
    double value; // NaN: unscored
    double weight;
    const char *answer; // NULL: none
    const char *target;
    const char *metadata;
    const char *cluster;
    const double *logprobs; // of n_logprobs choices
    const Str *choice_texts;
    size_t n_logprobs;
    size_t n_texts; // of choices without log-probabilities
    bool graded;    // not declared right or wrong
} Given;

static void put_given(Filling *f, size_t run, int64_t i, int64_t epoch, const Given *given)
{
    Err err = ERR_INIT;
    AttemptRow row = attempt_make(&f->arena, f->open.run_ids[run], i, epoch, given->value);
    Score score = row.scores[0];
    ChoiceLogprob choices[8];
    score.is_boolean = !given->graded;
    score.weight = given->weight > 0 ? given->weight : 1;
    score.has_answer = given->answer != NULL;
    score.answer = str_from_c(given->answer);
    if (isnan(given->value)) {
        score.state = SCORE_UNSCORED;
        score.reason = STR("odd");
    }
    for (size_t c = 0; c < given->n_logprobs; c++) {
        choices[c] = (ChoiceLogprob){
            .logprob = given->logprobs[c], .unconditional = (double)NAN, .n_tokens = 1};
    }
    row.choices = choices;
    row.choice_texts = given->choice_texts;
    row.n_choices = given->n_logprobs;
    row.n_choice_texts = given->n_texts;
    row.scores = &score;
    row.cluster = str_from_c(given->cluster);
    row.target = given->target != NULL ? str_from_c(given->target) : row.target;
    row.metadata = given->metadata != NULL ? str_from_c(given->metadata) : row.metadata;
    CHECK_OK(store_put_attempt(f->store, &row, &err), &err);
}

/** The metric of that name and slice, or one with n -1. */
static const MetricRow *metric_named(const RunInfo *run, const char *name, const char *slice)
{
    static const MetricRow none = {.n = -1};
    for (size_t i = 0; i < run->n_metrics; i++) {
        if (str_eq_c(run->metrics[i].name, name) && str_eq_c(run->metrics[i].slice, slice)) {
            return &run->metrics[i];
        }
    }
    return &none;
}
