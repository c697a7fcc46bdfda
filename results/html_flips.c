// SPDX-License-Identifier: MIT
// The samples that turned, with the attempts of both sides, as a page's data.
#include "results/html_internal.h"

#include "text/text.h"

#include <stdlib.h>

FlipChoice flips_choose(const DiffReport *diff, int64_t samples)
{
    FlipChoice choice = {0};
    while (choice.all_worse < diff->n_flips && !diff->flips[choice.all_worse].better) {
        choice.all_worse++;
    }
    size_t all_better = diff->n_flips - choice.all_worse;
    size_t room = samples < (int64_t)diff->n_flips ? (size_t)samples : diff->n_flips;
    size_t half = room / 2;
    size_t for_worse = all_better < half ? room - all_better : room - half;
    choice.n_worse = choice.all_worse < for_worse ? choice.all_worse : for_worse;
    choice.n_better = room - choice.n_worse < all_better ? room - choice.n_worse : all_better;
    return choice;
}

static const Flip *chosen_flip(const DiffReport *diff, const FlipChoice *choice, size_t i)
{
    return &diff->flips[i < choice->n_worse ? i : choice->all_worse + i - choice->n_worse];
}

/** A sample of a run whose attempts are wanted; they come one after the other. */
typedef struct FlipKey {
    int64_t run_id;
    Str sample_id;
    size_t flip;
    size_t first; // numbers of its attempts in the page
    size_t n;
} FlipKey;

typedef struct FlipReading {
    Transcripts transcripts;
    FlipKey *keys; // of one side, sorted
    size_t n_keys;
    int side;
    bool all;
} FlipReading;

static int compare_keys(const void *a, const void *b)
{
    const FlipKey *left = a;
    const FlipKey *right = b;
    if (left->run_id != right->run_id) {
        return left->run_id < right->run_id ? -1 : 1;
    }
    return str_cmp(left->sample_id, right->sample_id);
}

static FlipKey *key_of(const FlipReading *reading, const AttemptInfo *attempt)
{
    FlipKey wanted = {.run_id = attempt->run_id, .sample_id = attempt->sample_id};
    return bsearch(&wanted, reading->keys, reading->n_keys, sizeof(*reading->keys), compare_keys);
}

static bool flip_wants(void *ctx, const AttemptInfo *attempt)
{
    return key_of(ctx, attempt) != NULL;
}

static bool flip_visit(void *ctx, const AttemptInfo *attempt)
{
    FlipReading *reading = ctx;
    FlipKey *key = key_of(reading, attempt);
    size_t number = transcripts_put(&reading->transcripts, attempt, reading->side);
    while (key > reading->keys && compare_keys(key - 1, key) == 0) {
        key--;
    }
    // Several pairings may have the same run.
    FlipKey *end = reading->keys + reading->n_keys;
    for (FlipKey *equal = key; equal < end && compare_keys(equal, key) == 0; equal++) {
        equal->first = equal->n == 0 ? number : equal->first;
        equal->n++;
    }
    return !reading->transcripts.attempts.overflow;
}

static Value numbers_value(Arena *arena, const FlipKey *key)
{
    Value *items = ARENA_ARRAY(arena, Value, key->n);
    for (size_t i = 0; i < key->n; i++) {
        items[i] = value_int((int64_t)(key->first + i));
    }
    return value_list(items, key->n);
}

static int compare_by_flip(const void *a, const void *b)
{
    const FlipKey *left = a;
    const FlipKey *right = b;
    return (left->flip > right->flip) - (left->flip < right->flip);
}

/** {"id", "eval", "part", "metric", "base", "candidate", "better", and both sides' attempts} */
static void put_flip(Buf *json, const Flip *flip, const FlipKey *base, const FlipKey *candidate)
{
    Arena arena = {0};
    MapBuilder map;
    map_builder_init(&map, &arena);
    map_builder_put(&map, STR("id"), value_str(flip->sample_id));
    map_builder_put(&map, STR("eval"), value_str(flip->eval));
    map_builder_put(&map, STR("part"), value_str(flip->part));
    map_builder_put(&map, STR("metric"), value_str(flip->metric));
    map_builder_put(&map, STR("base"), value_real(flip->base));
    map_builder_put(&map, STR("candidate"), value_real(flip->candidate));
    map_builder_put(&map, STR("better"), value_bool(flip->better));
    map_builder_put(&map, STR("base_attempts"), numbers_value(&arena, base));
    map_builder_put(&map, STR("candidate_attempts"), numbers_value(&arena, candidate));
    Value value = map_builder_done(&map);
    html_json(json, &value);
    arena_finish(&arena);
}

static bool read_side(Results *results, const Side *side, FlipReading *reading, Err *err)
{
    AttemptFilter filter = {.with_calls = true, .wanted = flip_wants};
    qsort(reading->keys, reading->n_keys, sizeof(FlipKey), compare_keys);
    bool ok = results_attempts(results, side->experiment.id, &filter, flip_visit, reading, err);
    qsort(reading->keys, reading->n_keys, sizeof(FlipKey), compare_by_flip);
    return ok;
}

bool flips_read(Results *results, const DiffReport *diff, const FlipChoice *choice, Buf *json,
                Err *err)
{
    size_t n = choice->n_worse + choice->n_better;
    Arena arena = {0};
    FlipKey *keys[2] = {ARENA_ARRAY(&arena, FlipKey, n), ARENA_ARRAY(&arena, FlipKey, n)};
    for (size_t i = 0; i < n; i++) {
        const Flip *flip = chosen_flip(diff, choice, i);
        keys[0][i] = (FlipKey){.run_id = flip->base_run, .sample_id = flip->sample_id, .flip = i};
        keys[1][i] =
            (FlipKey){.run_id = flip->candidate_run, .sample_id = flip->sample_id, .flip = i};
    }
    FlipReading reading = {.n_keys = n};
    transcripts_init(&reading.transcripts, diff->base.runs, diff->base.n_runs, diff->candidate.runs,
                     diff->candidate.n_runs, json->limit_bytes);
    reading.transcripts.with_inputs = true; // both replies are to the same one
    bool ok = true;
    for (int side = 0; ok && n > 0 && side < 2; side++) {
        reading.keys = keys[side];
        reading.side = side;
        ok = read_side(results, side == 0 ? &diff->base : &diff->candidate, &reading, err);
    }
    if (ok) {
        buf_printf(json, "{\"kind\":\"diff\",\"total\":%zu,", diff->n_flips);
        transcripts_write(json, &reading.transcripts);
        html_raw(json, ",\"flips\":[\n");
        for (size_t i = 0; i < n; i++) {
            html_raw(json, i > 0 ? ",\n" : "");
            put_flip(json, chosen_flip(diff, choice, i), &keys[0][i], &keys[1][i]);
        }
        html_raw(json, "\n]}");
    }
    transcripts_finish(&reading.transcripts);
    arena_finish(&arena);
    return ok;
}

void html_flips(Buf *buf, const DiffReport *diff, const FlipChoice *choice)
{
    size_t n = choice->n_worse + choice->n_better;
    html_section(buf, "flips", "Flips");
    html_raw(buf, "<p class=\"note\">Samples whose verdict turned, by the first metric of each "
                  "eval: <strong>\u25bc ");
    html_count(buf, (int64_t)choice->all_worse);
    html_raw(buf, " worse</strong>, <strong>\u25b2 ");
    html_count(buf, (int64_t)(diff->n_flips - choice->all_worse));
    html_raw(buf, " better</strong>.");
    if (n < diff->n_flips) {
        html_raw(buf, " In this file are ");
        html_count(buf, (int64_t)choice->n_worse);
        html_raw(buf, " worse and ");
        html_count(buf, (int64_t)choice->n_better);
        html_raw(buf, " better ones, the largest first; ");
        html_count(buf, (int64_t)(diff->n_flips - n));
        html_raw(buf, " are left out. More with <code>--samples N</code> or <code>--samples "
                      "all</code>.");
    }
    html_raw(buf, "</p>\n");
    html_browser(buf, "flips");
}
