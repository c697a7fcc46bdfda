// SPDX-License-Identifier: MIT
// The epochs of a sample as one number. Unscored epochs are left out; the weight is the mean of the
// weights of those that are scored. Pure.
#include "results/metric_internal.h"

#include <math.h>

static bool same_answer(const Shot *a, const Shot *b)
{
    return a->has_answer == b->has_answer && (!a->has_answer || str_eq(a->answer, b->answer));
}

/**
 * The score of the most frequent answer: of equally frequent ones the one that came first, scored
 * as it was the first time. No answer is an answer of its own. */
static double majority_of(const Shot *shots, size_t n)
{
    size_t most = 0;
    double value = NAN;
    for (size_t i = 0; i < n; i++) {
        size_t times = 0;
        bool seen = !shots[i].scored;
        for (size_t j = 0; j < n && !seen; j++) {
            bool same = shots[j].scored && same_answer(&shots[i], &shots[j]);
            seen = same && j < i;
            times += same;
        }
        if (!seen && times > most) {
            most = times;
            value = shots[i].value;
        }
    }
    return value;
}

/** What a first pass over the epochs tells; the values of those scored go to values. */
typedef struct Pass {
    size_t n;
    bool all_boolean;
    double sum_w;
    double sum_wx;
} Pass;

static Pass shots_pass(bool brier, const Shot *shots, size_t n, double *values)
{
    Pass pass = {.all_boolean = true};
    for (size_t i = 0; i < n; i++) {
        const Shot *shot = &shots[i];
        if (!shot->scored || (brier && isnan(shot->confidence))) {
            continue;
        }
        double x = shot->value;
        x = brier ? (shot->confidence - x) * (shot->confidence - x) : x;
        values[pass.n++] = x;
        pass.all_boolean &= shot->is_boolean;
        pass.sum_w += shot->weight;
        pass.sum_wx += shot->weight * x;
    }
    return pass;
}

static double reduced_value(const MetricSpec *spec, const Shot *shots, size_t n, const Pass *pass,
                            const double *values)
{
    switch (spec->kind) {
    case METRIC_MAX:
        return stats_reduce(REDUCE_MAX, values, pass->n, 0, 0);
    case METRIC_MIN:
        return stats_reduce(REDUCE_MIN, values, pass->n, 0, 0);
    case METRIC_MEDIAN:
        return stats_reduce(REDUCE_MEDIAN, values, pass->n, 0, 0);
    case METRIC_AT_LEAST:
        return stats_reduce(REDUCE_AT_LEAST, values, pass->n, spec->k, spec->min);
    case METRIC_PASS_AT:
        return stats_reduce(REDUCE_PASS_AT, values, pass->n, spec->k, spec->min);
    case METRIC_PASS_ALL:
        return stats_reduce(REDUCE_PASS_ALL, values, pass->n, spec->k, spec->min);
    case METRIC_MAJORITY:
        return majority_of(shots, n);
    case METRIC_ACCURACY:
    case METRIC_MEAN:
    case METRIC_SUM:
    case METRIC_PERPLEXITY:
    case METRIC_BITS:
    case METRIC_BRIER:
    case METRIC_WORST:
    case METRIC_F1_MACRO:
    case METRIC_MCC:
    case METRIC_ECE:
    case METRIC_CUSTOM:
        break;
    }
    return pass->n == 1 ? values[0] : pass->sum_wx / pass->sum_w; // exact where there is one
}

/** Whether the number is 0 or 1 whatever the epochs' scores, given that these are. */
static bool stays_boolean(const MetricSpec *spec, const Pass *pass)
{
    switch (spec->kind) {
    case METRIC_AT_LEAST:
        return true;
    case METRIC_PASS_AT:
    case METRIC_PASS_ALL:
        return pass->n == (size_t)spec->k;
    case METRIC_MEDIAN:
        return pass->all_boolean && pass->n % 2 == 1;
    case METRIC_MAX:
    case METRIC_MIN:
    case METRIC_MAJORITY:
        return pass->all_boolean;
    case METRIC_ACCURACY:
    case METRIC_MEAN:
    case METRIC_SUM:
    case METRIC_WORST:
    case METRIC_CUSTOM:
        return pass->all_boolean && pass->n == 1;
    case METRIC_BRIER:
    case METRIC_PERPLEXITY:
    case METRIC_BITS:
    case METRIC_F1_MACRO:
    case METRIC_MCC:
    case METRIC_ECE:
        break;
    }
    return false;
}

bool shots_reduce(const MetricSpec *spec, const Shot *shots, size_t n, Reduced *out)
{
    double few[64]; // epochs are few: no allocation then
    double *values = n <= 64 ? few : (double *)mem_alloc(n, sizeof(double));
    Pass pass = shots_pass(spec->kind == METRIC_BRIER, shots, n, values);
    bool scored = pass.n > 0 && (int64_t)pass.n >= spec->k;
    if (scored) {
        *out = (Reduced){
            .x = reduced_value(spec, shots, n, &pass, values),
            .w = pass.n == 1 ? pass.sum_w : pass.sum_w / (double)pass.n,
            .is_boolean = stays_boolean(spec, &pass),
        };
    }
    if (values != few) {
        mem_free(values);
    }
    return scored;
}
