// SPDX-License-Identifier: MIT
// Words and numbers of a diff, the same in every report.
#include "results/report_diff.h"

#include <math.h>

const char *sample_state_word(SampleState state)
{
    switch (state) {
    case SAMPLE_SCORED:
        return "scored";
    case SAMPLE_MISSING:
        return "missing";
    case SAMPLE_ERRORED:
        return "errored";
    case SAMPLE_UNSCORED:
        return "unscored";
    case SAMPLE_CHANGED:
        return "changed";
    case SAMPLE_STATE_COUNT:
        break;
    }
    return "";
}

/** "a → b", or "a" when both are. */
static Str both(Arena *arena, Str base, Str candidate)
{
    return str_eq(base, candidate)
               ? base
               : str_printf(arena, STR_FMT " \u2192 " STR_FMT, STR_ARG(base), STR_ARG(candidate));
}

Str diff_pairing_words(Arena *arena, const DiffReport *diff, const Pairing *pairing)
{
    bool several_models = false;
    for (size_t i = 0; i < diff->n_pairings; i++) {
        const Pairing *other = &diff->pairings[i];
        several_models |= str_eq(other->eval, pairing->eval) &&
                          (!str_eq(other->base_model, pairing->base_model) ||
                           !str_eq(other->candidate_model, pairing->candidate_model));
    }
    Str unnamed = STR("(unnamed)");
    Str variants[2] = {pairing->base_variant, pairing->candidate_variant};
    bool one_sided = !pairing_is_whole(pairing);
    if (one_sided) {
        variants[0] = pairing->base_model.len > 0 ? variants[0] : variants[1];
        variants[1] = variants[0];
    } else if (!str_eq(variants[0], variants[1])) {
        variants[0] = variants[0].len > 0 ? variants[0] : unnamed;
        variants[1] = variants[1].len > 0 ? variants[1] : unnamed;
    }
    Str words = both(arena, variants[0], variants[1]);
    if (several_models) {
        Str models[2] = {pairing->base_model, pairing->candidate_model};
        models[0] = models[0].len > 0 ? models[0] : models[1];
        models[1] = models[1].len > 0 ? models[1] : models[0];
        Str on = both(arena, models[0], models[1]);
        words = str_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(words), words.len > 0 ? ", " : "",
                           STR_ARG(on));
    }
    return words;
}

// ---- What was left out --------------------------------------------------------------------------

/** "3 errored, 1 unscored" of one side; changed samples are told once, for both. */
static Str states_text(Arena *arena, const size_t *n_states)
{
    Str text = STR_EMPTY;
    for (size_t state = SAMPLE_MISSING; state < SAMPLE_CHANGED; state++) {
        if (n_states[state] > 0) {
            text = str_printf(arena, STR_FMT "%s%zu %s", STR_ARG(text), text.len > 0 ? ", " : "",
                              n_states[state], sample_state_word((SampleState)state));
        }
    }
    return text;
}

static Str joined(Arena *arena, Str text, Str more)
{
    return text.len == 0 ? more
                         : str_printf(arena, STR_FMT "; " STR_FMT, STR_ARG(text), STR_ARG(more));
}

Str diff_left_out(Arena *arena, const Comparison *row)
{
    static const char *const sides[] = {"base", "candidate"};
    Str text = STR_EMPTY;
    for (size_t s = 0; s < 2; s++) {
        Str states = states_text(arena, row->n_states[s]);
        if (states.len > 0) {
            text = joined(arena, text, str_printf(arena, "%s " STR_FMT, sides[s], STR_ARG(states)));
        }
    }
    size_t n_changed = row->n_states[1][SAMPLE_CHANGED];
    if (n_changed > 0) {
        text = joined(arena, text, str_printf(arena, "%zu changed between the two", n_changed));
    }
    if (row->pairs->n_missing_planned > 0) {
        text = joined(arena, text,
                      str_printf(arena, "%lld planned but not begun",
                                 (long long)row->pairs->n_missing_planned));
    }
    if (row->pairs->unlike.len > 0) {
        text = joined(arena, text, row->pairs->unlike);
    }
    return text;
}

Str diff_left_out_of(Arena *arena, const DiffReport *diff, size_t from, size_t to, bool *out_same)
{
    Str first = STR_EMPTY;
    bool any = false;
    *out_same = true;
    for (size_t i = from; i < to; i++) {
        if (diff->rows[i].pairs->slice.len == 0) {
            Str text = diff_left_out(arena, &diff->rows[i]);
            *out_same = *out_same && (!any || str_eq(text, first));
            first = any ? first : text;
            any = true;
        }
    }
    return first;
}

// ---- Numbers ------------------------------------------------------------------------------------

int diff_decimals(const Comparison *row)
{
    double error = row->difference.interval.stderr_;
    if (!(error > 0) || !isfinite(error)) {
        return 3;
    }
    int decimals = (int)ceil(-log10(error)) + 1;
    return decimals < 3 ? 3 : decimals > 6 ? 6 : decimals;
}

Str diff_number(Arena *arena, double d, int decimals, bool sign)
{
    if (isnan(d)) {
        return STR("-");
    }
    if (isinf(d)) {
        return d > 0 ? STR("inf") : STR("-inf");
    }
    double most = fabs(d);
    if (most >= 100000) {
        return str_printf(arena, sign ? "%+.6g" : "%.6g", d);
    }
    decimals -= most >= 1000 ? 2 : most >= 10 ? 1 : 0;
    Str text = str_printf(arena, sign ? "%+.*f" : "%.*f", decimals, d);
    bool nothing = true; // neither +0.000 nor -0.000: what is shown as nothing has no direction
    for (size_t i = 0; i < text.len; i++) {
        nothing = nothing && !(text.data[i] >= '1' && text.data[i] <= '9');
    }
    return nothing ? str_trim_of(text, STR("+-")) : text;
}

Str diff_interval(Arena *arena, const Comparison *row)
{
    const Interval *interval = &row->difference.interval;
    if (isnan(interval->low) || isnan(interval->high)) {
        return STR("-");
    }
    Str low = diff_number(arena, interval->low, diff_decimals(row), true);
    Str high = diff_number(arena, interval->high, diff_decimals(row), true);
    return str_printf(arena, "[" STR_FMT ", " STR_FMT "]", STR_ARG(low), STR_ARG(high));
}

Str diff_p(Arena *arena, double p)
{
    if (isnan(p)) {
        return STR("-");
    }
    return p < 0.0001 ? STR("<0.0001") : str_printf(arena, p < 0.001 ? "%.4f" : "%.3f", p);
}

// ---- Flips --------------------------------------------------------------------------------------

Str diff_flips_words(Arena *arena, const DiffReport *diff)
{
    size_t n_better = 0;
    for (size_t i = 0; i < diff->n_flips; i++) {
        n_better += diff->flips[i].better;
    }
    return str_printf(arena, "%zu turned worse, %zu better", diff->n_flips - n_better, n_better);
}

size_t diff_headline_pairs(const DiffReport *diff)
{
    size_t n = 0;
    for (size_t i = 0; i < diff->n_rows; i++) {
        n += diff->rows[i].pairs->headline ? diff->rows[i].n_paired : 0;
    }
    return n;
}

// ---- Costs --------------------------------------------------------------------------------------

size_t diff_costs(const CostDelta *costs, CostLine out[COST_LINES])
{
    const CostLine lines[COST_LINES] = {
        {"input tokens", (double)costs->base_usage.input, (double)costs->candidate_usage.input, 0},
        {"output tokens", (double)costs->base_usage.output, (double)costs->candidate_usage.output,
         0},
        {"seconds, median", costs->base_seconds_p50, costs->candidate_seconds_p50, 3},
        {"seconds, 95 %", costs->base_seconds_p95, costs->candidate_seconds_p95, 3},
        {"cost, $", costs->base_cost_usd, costs->candidate_cost_usd, 4},
    };
    size_t n = 0;
    for (size_t i = 0; i < COST_LINES; i++) {
        double smallest = 0.5 * pow(10, -lines[i].decimals);
        bool nothing =
            !(fabs(lines[i].base) >= smallest) && !(fabs(lines[i].candidate) >= smallest);
        if (!nothing) {
            out[n++] = lines[i];
        }
    }
    return n;
}

Str diff_cost_words(Arena *arena, const CostLine *line)
{
    const double numbers[2] = {line->base, line->candidate};
    Str words[2];
    for (size_t s = 0; s < 2; s++) {
        words[s] = isnan(numbers[s]) ? STR("unknown")
                                     : str_printf(arena, "%.*f", line->decimals, numbers[s]);
    }
    if (str_eq(words[0], words[1])) {
        return words[0];
    }
    double change = 100 * (line->candidate - line->base) / line->base;
    return isfinite(change) ? str_printf(arena, STR_FMT " \u2192 " STR_FMT " (%+.0f %%)",
                                         STR_ARG(words[0]), STR_ARG(words[1]), change)
                            : str_printf(arena, STR_FMT " \u2192 " STR_FMT, STR_ARG(words[0]),
                                         STR_ARG(words[1]));
}
