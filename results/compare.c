// SPDX-License-Identifier: MIT
// Which runs of two sides are compared: by eval and part; models of equal name first, then the one
// that is left on each side; variants across names only where a selector names them. Pure.
#include "results/compare.h"

#include <stdlib.h>

/** Different words of the runs of one eval, in canonical order. */
typedef struct Words {
    Str *items;
    size_t n;
} Words;

static bool has_word(const Words *words, Str word)
{
    for (size_t i = 0; i < words->n; i++) {
        if (str_eq(words->items[i], word)) {
            return true;
        }
    }
    return false;
}

static void add_word(Words *words, Str word)
{
    if (!has_word(words, word)) {
        words->items[words->n++] = word;
    }
}

/** The models, or the variants, that a side has of an eval. */
static Words words_of(Arena *arena, const Side *side, Str eval, bool models)
{
    Words words = {.items = ARENA_ARRAY(arena, Str, side->n_runs + 1)};
    for (size_t i = 0; i < side->n_runs; i++) {
        const RunInfo *run = &side->runs[i];
        if (str_eq(run->eval, eval)) {
            add_word(&words, models ? run->model : run->variant);
        }
    }
    return words;
}

/** What stands for what; a side that has none is missing there. */
typedef struct Match {
    Str base, candidate;
    bool on_base, on_candidate;
} Match;

typedef struct Matches {
    Match *items;
    size_t n;
} Matches;

/** Equal words match; with across, so do the only two that are left. */
static Matches match_words(Arena *arena, const Words *base, const Words *candidate, bool across)
{
    Matches matches = {.items = ARENA_ARRAY(arena, Match, base->n + candidate->n)};
    Words left_base = {.items = ARENA_ARRAY(arena, Str, base->n + 1)};
    Words left_candidate = {.items = ARENA_ARRAY(arena, Str, candidate->n + 1)};
    for (size_t i = 0; i < base->n; i++) {
        Str word = base->items[i];
        if (has_word(candidate, word)) {
            matches.items[matches.n++] = (Match){word, word, true, true};
        } else {
            add_word(&left_base, word);
        }
    }
    for (size_t i = 0; i < candidate->n; i++) {
        if (!has_word(base, candidate->items[i])) {
            add_word(&left_candidate, candidate->items[i]);
        }
    }
    if (across && left_base.n == 1 && left_candidate.n == 1) {
        matches.items[matches.n++] =
            (Match){left_base.items[0], left_candidate.items[0], true, true};
        return matches;
    }
    for (size_t i = 0; i < left_base.n; i++) {
        matches.items[matches.n++] = (Match){left_base.items[i], left_base.items[i], true, false};
    }
    for (size_t i = 0; i < left_candidate.n; i++) {
        matches.items[matches.n++] =
            (Match){left_candidate.items[i], left_candidate.items[i], false, true};
    }
    return matches;
}

/** Models that could stand for several others: the user has to say. */
static bool models_match(Arena *arena, Str eval, const Words *base, const Words *candidate,
                         Matches *out, Err *err)
{
    *out = match_words(arena, base, candidate, true);
    const Match *on_base = NULL;
    const Match *on_candidate = NULL;
    for (size_t i = 0; i < out->n; i++) {
        const Match *match = &out->items[i];
        on_base = match->on_base && !match->on_candidate ? match : on_base;
        on_candidate = match->on_candidate && !match->on_base ? match : on_candidate;
    }
    if (on_base == NULL || on_candidate == NULL) {
        return true;
    }
    return ERR_SET(err, ERR_USAGE,
                   "eval '" STR_FMT "' was run with several models: say which ones to compare, "
                   "such as EXPERIMENT:model=" STR_FMT " and EXPERIMENT:model=" STR_FMT,
                   STR_ARG(eval), STR_ARG(on_base->base), STR_ARG(on_candidate->candidate));
}

static const RunInfo *run_find(const Side *side, Str eval, Str part, Str variant, Str model)
{
    for (size_t i = 0; i < side->n_runs; i++) {
        const RunInfo *run = &side->runs[i];
        if (str_eq(run->eval, eval) && str_eq(run->part, part) && str_eq(run->variant, variant) &&
            str_eq(run->model, model)) {
            return run;
        }
    }
    return NULL;
}

static void add_parts(Words *parts, const Side *side, Str eval, Str variant, Str model)
{
    for (size_t i = 0; i < side->n_runs; i++) {
        const RunInfo *run = &side->runs[i];
        if (str_eq(run->eval, eval) && str_eq(run->variant, variant) && str_eq(run->model, model)) {
            add_word(parts, run->part);
        }
    }
}

static int compare_words(const void *a, const void *b)
{
    return str_cmp(*(const Str *)a, *(const Str *)b);
}

/** false: neither side has a run of this. */
static bool pairing_make(Arena *arena, const Side *base, const Side *candidate, Str eval,
                         const Match *variant, const Match *model, Pairing *out)
{
    Words parts = {.items = ARENA_ARRAY(arena, Str, base->n_runs + candidate->n_runs + 1)};
    bool on_base = variant->on_base && model->on_base;
    bool on_candidate = variant->on_candidate && model->on_candidate;
    if (on_base) {
        add_parts(&parts, base, eval, variant->base, model->base);
    }
    if (on_candidate) {
        add_parts(&parts, candidate, eval, variant->candidate, model->candidate);
    }
    if (parts.n == 0) {
        return false;
    }
    qsort(parts.items, parts.n, sizeof(*parts.items), compare_words);
    const RunInfo **runs[2];
    for (size_t side = 0; side < 2; side++) {
        runs[side] = ARENA_ARRAY(arena, const RunInfo *, parts.n);
    }
    for (size_t i = 0; i < parts.n; i++) {
        Str part = parts.items[i];
        runs[0][i] = on_base ? run_find(base, eval, part, variant->base, model->base) : NULL;
        runs[1][i] = on_candidate
                         ? run_find(candidate, eval, part, variant->candidate, model->candidate)
                         : NULL;
    }
    *out = (Pairing){
        .eval = eval,
        .base_variant = on_base ? variant->base : STR_EMPTY,
        .base_model = on_base ? model->base : STR_EMPTY,
        .candidate_variant = on_candidate ? variant->candidate : STR_EMPTY,
        .candidate_model = on_candidate ? model->candidate : STR_EMPTY,
        .base = runs[0],
        .candidate = runs[1],
        .parts = parts.items,
        .n_parts = parts.n,
    };
    return true;
}

/** Pairings under construction. */
typedef struct PairingList {
    Pairing *items;
    size_t n;
    size_t cap;
} PairingList;

static void pairing_put(Arena *arena, PairingList *list, const Pairing *pairing)
{
    if (list->n == list->cap) {
        list->cap = list->cap == 0 ? 8 : list->cap * 2;
        Pairing *grown = ARENA_ARRAY(arena, Pairing, list->cap);
        for (size_t i = 0; i < list->n; i++) {
            grown[i] = list->items[i];
        }
        list->items = grown;
    }
    list->items[list->n++] = *pairing;
}

static bool eval_pairings(Arena *arena, const Side *base, const Side *candidate, Str eval,
                          PairingList *list, Err *err)
{
    Words base_models = words_of(arena, base, eval, true);
    Words candidate_models = words_of(arena, candidate, eval, true);
    Words base_variants = words_of(arena, base, eval, false);
    Words candidate_variants = words_of(arena, candidate, eval, false);
    bool named = base->selector.variant.len > 0 || candidate->selector.variant.len > 0;
    Matches models;
    if (!models_match(arena, eval, &base_models, &candidate_models, &models, err)) {
        return false;
    }
    Matches variants = match_words(arena, &base_variants, &candidate_variants, named);
    for (size_t v = 0; v < variants.n; v++) {
        for (size_t m = 0; m < models.n; m++) {
            Pairing pairing;
            if (pairing_make(arena, base, candidate, eval, &variants.items[v], &models.items[m],
                             &pairing)) {
                pairing_put(arena, list, &pairing);
            }
        }
    }
    return true;
}

bool compare_pairings(Arena *arena, const Side *base, const Side *candidate, Pairing **out,
                      size_t *out_n, Err *err)
{
    Words evals = {.items = ARENA_ARRAY(arena, Str, base->n_runs + candidate->n_runs + 1)};
    for (size_t i = 0; i < base->n_runs; i++) {
        add_word(&evals, base->runs[i].eval);
    }
    for (size_t i = 0; i < candidate->n_runs; i++) {
        add_word(&evals, candidate->runs[i].eval);
    }
    PairingList list = {0};
    for (size_t i = 0; i < evals.n; i++) {
        if (!eval_pairings(arena, base, candidate, evals.items[i], &list, err)) {
            return false;
        }
    }
    *out = list.items;
    *out_n = list.n;
    return true;
}
