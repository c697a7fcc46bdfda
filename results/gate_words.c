// SPDX-License-Identifier: MIT
// What a check says of itself: a sentence of what was seen, what it means, what to do. Names from
// outside are in it as they are, cut to a length; reports make them harmless.
#include "results/gate_internal.h"

#include "text/text.h"

#include <math.h>

Str gate_word(Arena *arena, Str text)
{
    if (text.len <= GATE_WORD_MAX) {
        return text;
    }
    Str head = str_slice(text, 0, GATE_WORD_MAX);
    head.len = utf8_valid_prefix(head);
    if (head.len < GATE_WORD_MAX - 4) { // not cut within a character: it is no UTF-8
        head.len = GATE_WORD_MAX;
    }
    return str_printf(arena, STR_FMT "..", STR_ARG(head));
}

Str gate_states_words(Arena *arena, const size_t states[SAMPLE_STATE_COUNT])
{
    static const struct {
        SampleState state;
        const char *one;
        const char *many;
    } words[] = {
        {SAMPLE_MISSING, "missing", "missing"},
        {SAMPLE_ERRORED, "error", "errors"},
        {SAMPLE_UNSCORED, "unscored", "unscored"},
        {SAMPLE_CHANGED, "changed", "changed"},
    };
    Str text = STR_EMPTY;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t n = states[words[i].state];
        if (n > 0) {
            text = str_printf(arena, STR_FMT "%s%zu %s", STR_ARG(text), text.len > 0 ? ", " : "", n,
                              n == 1 ? words[i].one : words[i].many);
        }
    }
    return text;
}

/** "3 of 200 samples lack a value (candidate: 2 errors; baseline: 1 missing)" */
static Str missing_words(Arena *arena, const GateLine *line)
{
    Str candidate = gate_states_words(arena, line->n_states[1]);
    Str base = line->outcome.n_missing > 0 && !isnan(line->baseline)
                   ? gate_states_words(arena, line->n_states[0])
                   : STR_EMPTY;
    Str text = str_printf(arena, "%zu of %zu samples lack a value", line->outcome.n_missing,
                          line->outcome.n);
    if (candidate.len + base.len > 0) {
        text = str_printf(arena, STR_FMT " (%s" STR_FMT "%s%s" STR_FMT ")", STR_ARG(text),
                          candidate.len > 0 ? "candidate: " : "", STR_ARG(candidate),
                          candidate.len > 0 && base.len > 0 ? "; " : "",
                          base.len > 0 ? "baseline: " : "", STR_ARG(base));
    }
    return text;
}

/** What the limits say, as far as the verdict rests on them. */
static Str limits_words(Arena *arena, const GateLine *line, const GateDemand *demand)
{
    const GateOutcome *out = &line->outcome;
    double percent = 100 * demand->confidence;
    if (demand->kind == GATE_DEMAND_LOSS) {
        double least = 0 - out->limits.high; // losses are positive
        double most = 0 - out->limits.low;
        if (out->verdict == GATE_PASS) {
            return most < 0
                       ? str_printf(arena, "it is better by %.4g or more at %.4g %% confidence",
                                    -most, percent)
                       : str_printf(arena, "the loss is %.4g or less at %.4g %% confidence", most,
                                    percent);
        }
        if (out->verdict == GATE_FAIL) {
            return str_printf(arena, "the loss is %.4g or more at %.4g %% confidence", least,
                              percent);
        }
        return str_printf(arena, "the loss lies between %.4g and %.4g, %.4g is allowed", least,
                          most, demand->bound);
    }
    if (out->verdict == GATE_INCONCLUSIVE) {
        return str_printf(arena, "the value lies between %.4g and %.4g, the bound is %.4g",
                          out->limits.low, out->limits.high, demand->bound);
    }
    bool low = (demand->kind == GATE_DEMAND_MIN) == (out->verdict == GATE_PASS);
    return str_printf(arena, "the value is %.4g or %s at %.4g %% confidence",
                      low ? out->limits.low : out->limits.high, low ? "more" : "less", percent);
}

double gate_n_decide(const GateLine *line, bool *out_as_seen)
{
    const GateOutcome *out = &line->outcome;
    *out_as_seen = false;
    if (!(out->n_decide <= (double)out->n) || !str_eq_c(STR("max_regression"), line->kind)) {
        return out->n_decide;
    }
    // That many are there: had nothing changed, it would be decided by now.
    double away = fabs(out->limits.value + line->bound);
    double z = stats_normal_quantile(line->confidence) + stats_normal_quantile(0.8);
    *out_as_seen = true;
    double n = (double)out->n * pow(z * out->limits.stderr_ / away, 2);
    return !(away > 0) ? (double)INFINITY : n > (double)out->n ? n : (double)NAN;
}

/** "about 1400 samples would decide" */
static Str decide_words(Arena *arena, const GateLine *line)
{
    bool as_seen;
    double n = gate_n_decide(line, &as_seen);
    if (isnan(n)) {
        return STR("only more samples would decide");
    }
    if (n > 1e15) {
        return STR("no number of samples would decide");
    }
    return str_printf(arena, "about %.0f samples would decide%s", ceil(n),
                      as_seen ? ", if the loss is as seen" : "");
}

/** What an inconclusive check is worth, and what would help. */
static Str open_words(Arena *arena, const GateLine *line, const GateDemand *demand)
{
    const GateOutcome *out = &line->outcome;
    Str decide = decide_words(arena, line);
    if (line->ok) {
        return str_printf(arena, "not proven; " STR_FMT, STR_ARG(decide));
    }
    if (!out->too_few) {
        return str_printf(arena, "not proven, which fails in mode noninferiority; " STR_FMT,
                          STR_ARG(decide));
    }
    bool is_loss = demand->kind == GATE_DEMAND_LOSS;
    const char *things = is_loss ? "pairs" : "samples";
    if (isnan(out->detect)) {
        return str_printf(arena,
                          "too few %s to tell: the metric has no bounds, so the policy has to say "
                          "with detect what may stay hidden",
                          things);
    }
    Str hidden = isfinite(out->effect)
                     ? str_printf(arena, "a %s of %.4g could hide, detect allows %.4g",
                                  is_loss ? "loss" : "shortfall",
                                  (is_loss ? demand->bound : 0) + out->effect, out->detect)
                     : str_printf(arena, "no %s would show", is_loss ? "loss" : "shortfall");
    if (!isfinite(out->n_detect)) {
        return str_printf(arena, "too few %s: " STR_FMT, things, STR_ARG(hidden));
    }
    return str_printf(arena, "too few %s: " STR_FMT "; about %.0f would do", things,
                      STR_ARG(hidden), ceil(out->n_detect));
}

Str gate_sentence(const GateWork *work, const GateLine *line, const GateDemand *demand)
{
    Arena *arena = work->arena;
    const GateOutcome *out = &line->outcome;
    if (out->reason == GATE_REASON_EMPTY) {
        return STR("there are no samples");
    }
    Str text = STR_EMPTY;
    if (out->n_missing > 0) {
        Str missing = missing_words(arena, line);
        text = str_printf(arena, STR_FMT "%s", STR_ARG(missing),
                          out->reason == GATE_REASON_MISSING_UNBOUNDED
                              ? ", and the metric has no worst value to stand for them"
                              : "; taken at their worst: ");
        if (out->reason == GATE_REASON_MISSING_UNBOUNDED) {
            return text;
        }
    }
    Str limits = isnan(out->limits.low) ? STR("there is no error to go by")
                                        : limits_words(arena, line, demand);
    text = str_concat(arena, text, limits);
    bool told = out->reason == GATE_REASON_LIMITS || out->reason == GATE_REASON_SPANS ||
                out->reason == GATE_REASON_MISSING;
    if (!told) {
        text = str_printf(arena, STR_FMT " (%s)", STR_ARG(text), gate_reason_words(out->reason));
    }
    if (out->verdict == GATE_INCONCLUSIVE) {
        Str open = open_words(arena, line, demand);
        text = str_printf(arena, STR_FMT ": " STR_FMT, STR_ARG(text), STR_ARG(open));
    }
    size_t n_changed = line->n_states[1][SAMPLE_CHANGED];
    if (n_changed > 0 && demand->kind == GATE_DEMAND_LOSS) {
        text = str_printf(arena,
                          STR_FMT "; the dataset changed %zu of these samples since the baseline "
                                  "ran: run the baseline on it again",
                          STR_ARG(text), n_changed);
    }
    return text;
}
