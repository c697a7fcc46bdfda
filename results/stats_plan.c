// SPDX-License-Identifier: MIT
// How many samples a question needs, what many questions cost, and what looking early costs.
#include "results/stats.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>

static double z_alpha(const StatsPlan *plan)
{
    return stats_normal_quantile(1 - plan->alpha / plan->sides);
}

static double z_power(const StatsPlan *plan)
{
    return stats_normal_quantile(plan->power);
}

double stats_plan_n(const StatsPlan *plan, double delta, double variance)
{
    double z = z_alpha(plan) + z_power(plan);
    return z * z * variance / (delta * delta);
}

double stats_plan_effect(const StatsPlan *plan, double n, double variance)
{
    return (z_alpha(plan) + z_power(plan)) * sqrt(variance / n);
}

double stats_plan_variance(double omega2, double within_a, double k_a, double within_b, double k_b)
{
    return omega2 + within_a / k_a + within_b / k_b;
}

double stats_plan_n_binary(const StatsPlan *plan, double delta, double discordant)
{
    double rest = discordant - delta * delta;
    if (!(rest >= 0)) {
        return NAN; // fewer pairs differ than the difference alone needs
    }
    double sum = z_alpha(plan) * sqrt(discordant) + z_power(plan) * sqrt(rest);
    return sum * sum / (delta * delta);
}

double stats_plan_effect_binary(const StatsPlan *plan, double n, double discordant)
{
    double low = 0;
    double high = fmin(discordant, 1); // more discordant pairs than differ can not be
    if (!(discordant > 0) || !(stats_plan_n_binary(plan, high, discordant) <= n)) {
        return NAN;
    }
    for (int i = 0; i < 200 && low < high; i++) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) {
            break;
        }
        if (stats_plan_n_binary(plan, middle, discordant) <= n) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return high;
}

// ---- Many tests ---------------------------------------------------------------------------------

typedef struct RankedP {
    double p;
    size_t at;
} RankedP;

static int compare_p(const void *a, const void *b)
{
    const RankedP *x = a;
    const RankedP *y = b;
    if (x->p != y->p) {
        return x->p < y->p ? -1 : 1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

/** The known p-values in ascending order; the caller frees them. Unknown ones go to out. */
static RankedP *ranked_create(const double *p, size_t n, double *out, size_t *out_n)
{
    RankedP *ranked = mem_alloc(n > 0 ? n : 1, sizeof(RankedP));
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(p[i])) {
            out[i] = p[i];
        } else {
            ranked[count++] = (RankedP){.p = p[i], .at = i};
        }
    }
    qsort(ranked, count, sizeof(RankedP), compare_p);
    *out_n = count;
    return ranked;
}

void stats_holm(const double *p, size_t n, double *out)
{
    size_t count;
    RankedP *ranked = ranked_create(p, n, out, &count);
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fmin(1, (double)(count - i) * ranked[i].p));
        out[ranked[i].at] = largest;
    }
    mem_free(ranked);
}

void stats_benjamini_hochberg(const double *p, size_t n, double *out)
{
    size_t count;
    RankedP *ranked = ranked_create(p, n, out, &count);
    double smallest = 1;
    for (size_t i = count; i > 0; i--) {
        smallest = fmin(smallest, (double)count / (double)i * ranked[i - 1].p);
        out[ranked[i - 1].at] = smallest;
    }
    mem_free(ranked);
}

double stats_family_wise(double confidence, size_t n)
{
    return -expm1((double)n * log(confidence));
}

// ---- Looking early ------------------------------------------------------------------------------

double stats_mixture_radius(double t, double variance, double rho2, double alpha)
{
    double mixed = t * rho2 + 1;
    return sqrt(variance * 2 * mixed / (t * t * rho2) * log(sqrt(mixed) / alpha));
}

double stats_mixture_rho2(double t, double alpha)
{
    double twice = -2 * log(alpha);
    return (twice + log1p(twice)) / t;
}

#define LOOKS_GRID 400 // intervals of Simpson's rule over the region where one goes on

/**
 * The density of the sum after the next look, and the chance to be inside its bound.
 * shapes  density (LOOKS_GRID + 1) over [-half, half]; out the same over [-next, next]. */
static double look_next(const double *density, double half, double next, double *out)
{
    double step = 2 * half / LOOKS_GRID;
    double next_step = 2 * next / LOOKS_GRID;
    double inside = 0;
    for (int i = 0; i <= LOOKS_GRID; i++) {
        double at = -next + i * next_step;
        double sum = 0;
        for (int j = 0; j <= LOOKS_GRID; j++) {
            double gap = at - (-half + j * step);
            double weight = j == 0 || j == LOOKS_GRID ? 1 : j % 2 == 1 ? 4 : 2;
            sum += weight * density[j] * exp(-gap * gap / 2);
        }
        out[i] = sum * step / 3 / sqrt(2 * M_PI);
        inside += (i == 0 || i == LOOKS_GRID ? 1 : i % 2 == 1 ? 4 : 2) * out[i];
    }
    return inside * next_step / 3;
}

double stats_looks_error(int n_looks, double bound)
{
    double densities[2][LOOKS_GRID + 1];
    double half = bound;
    for (int i = 0; i <= LOOKS_GRID; i++) {
        double at = -half + i * 2 * half / LOOKS_GRID;
        densities[0][i] = exp(-at * at / 2) / sqrt(2 * M_PI);
    }
    double inside = 1 - 2 * stats_normal_cdf(-bound);
    for (int look = 2; look <= n_looks; look++) {
        double next = bound * sqrt((double)look);
        inside = look_next(densities[look % 2], half, next, densities[(look + 1) % 2]);
        half = next;
    }
    return 1 - inside;
}
