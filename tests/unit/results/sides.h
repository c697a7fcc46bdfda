// SPDX-License-Identifier: MIT
// Two experiments "base" and "candidate" in one store, filled row by row, for tests of what
// compares them.
#pragma once

#include "fixture.h"

#include "results/compare.h"

#include "text/text.h"

/** One attempt; value NAN: unscored. */
typedef struct Said {
    size_t run;
    const char *id;
    int64_t epoch;
    double value;
    double weight; // 0: 1
    const char *cluster;
    const char *source;  // a metadata key
    const char *content; // what the sample's hash is of; NULL: its id
    const char *reply;
    bool error;
    bool graded; // false where the value is 0: an attempt that no grader applies to
    bool real;   // not declared as boolean
} Said;

typedef struct Sides {
    Arena arena;
    Place place;
    Store *store;
    ExperimentOpen open[2];
    Results *results;
    Side base;
    Side candidate;
} Sides;

static inline Value json_of(Arena *arena, const char *text)
{
    Value value = value_null();
    Err err = ERR_INIT;
    CHECK_OK(json_parse(arena, str_from_c(text), NULL, &value, NULL, &err), &err);
    return value;
}

/** A run of eval "demo" whose metrics are given as JSON. */
static inline RunSpec run_of(Arena *arena, const char *part, const char *variant, const char *model,
                             const char *metrics, int64_t n_planned, int64_t epochs)
{
    RunSpec run = run_make(arena, part, model);
    run.variant = str_from_c(variant);
    run.metrics = json_of(arena, metrics);
    run.n_planned = n_planned;
    run.epochs = epochs;
    return run;
}

static inline void sides_begin(Sides *sides, const RunSpec *base, size_t n_base,
                               const RunSpec *candidate, size_t n_candidate)
{
    Err err = ERR_INIT;
    sides->place = place_make();
    sides->store = store_at(&sides->place, NULL, NULL);
    ExperimentSpec specs[2] = {
        experiment_make(&sides->arena, STR("base"), 1, base, n_base),
        experiment_make(&sides->arena, STR("candidate"), 1, candidate, n_candidate)};
    for (size_t s = 0; s < 2; s++) {
        CHECK_OK(store_experiment_begin(sides->store, &sides->arena, &specs[s], RESUME_NO,
                                        &sides->open[s], &err),
                 &err);
    }
}

static inline void say(Sides *sides, size_t side, const Said *said)
{
    Err err = ERR_INIT;
    Arena *arena = &sides->arena;
    AttemptRow row =
        attempt_make(arena, sides->open[side].run_ids[said->run], 0, said->epoch, said->value);
    Score score = row.scores[0];
    score.weight = said->weight > 0 ? said->weight : 1;
    score.is_boolean = !said->real;
    if (isnan(said->value)) {
        score.state = SCORE_UNSCORED;
        score.value = 0;
        score.reason = STR("no verdict");
    }
    row.sample_id = str_from_c(said->id);
    row.sample_hash = hash_of(said->content != NULL ? said->content : said->id);
    row.cluster = said->cluster != NULL ? str_from_c(said->cluster) : STR_EMPTY;
    row.metadata =
        said->source != NULL ? str_printf(arena, "{\"source\":\"%s\"}", said->source) : STR("{}");
    row.input = str_printf(arena, "question %s", said->id);
    row.prompt = row.input;
    row.reply_text = said->reply != NULL ? str_from_c(said->reply) : STR("answer");
    row.scores = &score;
    row.n_scores = said->graded || said->value != 0 ? 1 : 0;
    if (said->error) {
        row.state = ATTEMPT_ERROR;
        row.error_code = ERR_TIMEOUT;
        row.error = STR("no answer");
        row.n_scores = 0;
    }
    CHECK_OK(store_put_attempt(sides->store, &row, &err), &err);
}

/** Values of samples "0", "1" ...: digits, '-' unscored, 'e' an error, '.' none. */
static inline void say_all(Sides *sides, size_t side, size_t run, const char *values)
{
    for (size_t i = 0; values[i] != '\0'; i++) {
        Said said = {
            .run = run,
            .id = str_to_c(&sides->arena, str_printf(&sides->arena, "%zu", i)),
            .value = values[i] == '-' ? (double)NAN : values[i] - '0',
            .error = values[i] == 'e',
            .graded = true,
        };
        if (values[i] != '.') {
            say(sides, side, &said);
        }
    }
}

/** Read both experiments as sides. */
static inline void sides_open(Sides *sides, const char *base, const char *candidate)
{
    Err err = ERR_INIT;
    Selector selectors[2];
    CHECK_OK(store_flush(sides->store, &err), &err);
    sides->results = results_at(&sides->place);
    CHECK_OK(selector_parse(&sides->arena, str_from_c(base), &selectors[0], &err), &err);
    CHECK_OK(selector_parse(&sides->arena, str_from_c(candidate), &selectors[1], &err), &err);
    CHECK_OK(side_open(sides->results, &sides->arena, &selectors[0], &sides->base, &err), &err);
    CHECK_OK(side_open(sides->results, &sides->arena, &selectors[1], &sides->candidate, &err),
             &err);
}

static inline void sides_end(Sides *sides)
{
    results_close(sides->results);
    store_close(sides->store);
    place_remove(&sides->place);
    arena_finish(&sides->arena);
}

/** The metrics of the only pairing. */
static inline MetricPairs *metrics_of(Sides *sides, size_t *out_n)
{
    Err err = ERR_INIT;
    Pairing *pairings = NULL;
    size_t n = 0;
    MetricPairs *metrics = NULL;
    CHECK_OK(compare_pairings(&sides->arena, &sides->base, &sides->candidate, &pairings, &n, &err),
             &err);
    CHECK_INT(n, 1);
    CHECK_OK(compare_metrics(sides->results, &sides->arena, &pairings[0], &metrics, out_n, &err),
             &err);
    return metrics;
}
