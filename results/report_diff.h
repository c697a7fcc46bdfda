// SPDX-License-Identifier: MIT
// Inside the reports of a diff: the words that terminal, Markdown and JSON share. All texts are as
// they came; each report makes them harmless in its own way.
#pragma once

#include "results/compare.h"

/** "plain → terse", "local/a", whatever tells a pairing from the others of its eval; "" nothing. */
Str diff_pairing_words(Arena *arena, const DiffReport *diff, const Pairing *pairing);
/** "base 3 errored, 1 unscored; candidate 2 missing; 4 changed"; "" when all samples paired. */
Str diff_left_out(Arena *arena, const Comparison *row);
/**
 * The same text for all metrics of a pairing at once: rows is where it begins in the report's.
 * *out_same tells whether all of its metrics, slices aside, leave out the same. */
Str diff_left_out_of(Arena *arena, const DiffReport *diff, size_t from, size_t to, bool *out_same);
/** Decimals that show the second digit of a row's standard error; 3 to 6. */
int diff_decimals(const Comparison *row);
/** "-" for NaN. */
Str diff_number(Arena *arena, double d, int decimals, bool sign);
Str diff_interval(Arena *arena, const Comparison *row);
/** "0.031", "<0.0001", "-". */
Str diff_p(Arena *arena, double p);
/** "12 better, 9 worse" of the flips of a diff. */
Str diff_flips_words(Arena *arena, const DiffReport *diff);
/** Pairs in the headline metrics. */
size_t diff_headline_pairs(const DiffReport *diff);
const char *sample_state_word(SampleState state);

/** One cost beside the other: a word, both numbers, NaN where unknown. */
typedef struct CostLine {
    const char *what; // "input tokens", "output tokens", "seconds, median", ...
    double base;
    double candidate;
    int decimals;
} CostLine;
#define COST_LINES 5
/** The costs of a pairing; returns how many there are to show (zeros on both sides are left out).
 */
size_t diff_costs(const CostDelta *costs, CostLine out[COST_LINES]);
/** "300 → 330 (+10 %)". */
Str diff_cost_words(Arena *arena, const CostLine *line);
