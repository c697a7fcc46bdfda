// SPDX-License-Identifier: MIT
// Agreement of two raters (a judge and people, a judge and itself) beyond chance. Cohen 1960, 1968;
// Fleiss, Cohen and Everitt 1969; Gwet 2008.
#include "results/stats.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

void stats_confusion(const uint32_t *a, const uint32_t *b, size_t n, size_t k, int64_t *out_table)
{
    memset(out_table, 0, k * k * sizeof(*out_table));
    for (size_t i = 0; i < n; i++) {
        out_table[(size_t)a[i] * k + b[i]]++;
    }
}

/** Shares of a table: cells and both margins. */
typedef struct Shares {
    double *cell;   // (k, k)
    double *row;    // (k)
    double *column; // (k)
    size_t k;
    double n;
} Shares;

typedef enum Weighting {
    UNWEIGHTED,
    LINEAR,
    QUADRATIC,
} Weighting;

static double weight_of(Weighting weighting, size_t i, size_t j, size_t k)
{
    double apart = fabs((double)i - (double)j) / (double)(k - 1);
    switch (weighting) {
    case UNWEIGHTED:
        return i == j;
    case LINEAR:
        return 1 - apart;
    case QUADRATIC:
        return 1 - apart * apart;
    }
    return NAN;
}

/** Kappa under weights, its large-sample error by the delta method, and the agreement seen. */
static double kappa_of(const Shares *shares, Weighting weighting, double *out_stderr,
                       double *out_observed)
{
    size_t k = shares->k;
    double observed = 0;
    double chance = 0;
    double *of_row = mem_zalloc(2 * k, sizeof(double)); // mean weights of each row and column
    double *of_column = of_row + k;
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < k; j++) {
            double weight = weight_of(weighting, i, j, k);
            observed += weight * shares->cell[i * k + j];
            chance += weight * shares->row[i] * shares->column[j];
            of_row[i] += weight * shares->column[j];
            of_column[j] += weight * shares->row[i];
        }
    }
    double kappa = (observed - chance) / (1 - chance);
    double sum = 0;
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < k; j++) {
            double term = weight_of(weighting, i, j, k) - (of_row[i] + of_column[j]) * (1 - kappa);
            sum += shares->cell[i * k + j] * term * term;
        }
    }
    mem_free(of_row);
    double mean = kappa - chance * (1 - kappa);
    *out_stderr = sqrt(fmax(0, sum - mean * mean) / shares->n) / (1 - chance);
    *out_observed = observed;
    return kappa;
}

/** Gwet's AC1 and its error (Gwet 2008, equation 21, whole population of subjects unknown). */
static double ac1_of(const Shares *shares, double observed, double *out_stderr)
{
    size_t k = shares->k;
    double others = (double)(k - 1);
    double chance = 0;
    for (size_t i = 0; i < k; i++) {
        double share = (shares->row[i] + shares->column[i]) / 2;
        chance += share * (1 - share) / others;
    }
    double ac1 = (observed - chance) / (1 - chance);
    double diagonal = 0;
    double pairs = 0;
    for (size_t i = 0; i < k; i++) {
        double share_i = (shares->row[i] + shares->column[i]) / 2;
        diagonal += shares->cell[i * k + i] * (1 - share_i) / others;
        for (size_t j = 0; j < k; j++) {
            double share_j = (shares->row[j] + shares->column[j]) / 2;
            double term = (1 - (share_i + share_j) / 2) / others;
            pairs += shares->cell[i * k + j] * term * term;
        }
    }
    double variance = observed * (1 - observed) - 4 * (1 - ac1) * (diagonal - observed * chance) +
                      4 * (1 - ac1) * (1 - ac1) * (pairs - chance * chance);
    *out_stderr = sqrt(fmax(0, variance) / shares->n) / (1 - chance);
    return ac1;
}

StatsAgreement stats_agreement(const int64_t *table, size_t k)
{
    Shares shares = {.k = k};
    shares.cell = mem_zalloc(k * k + 2 * k, sizeof(double));
    shares.row = shares.cell + k * k;
    shares.column = shares.row + k;
    for (size_t i = 0; i < k * k; i++) {
        shares.n += (double)table[i];
    }
    for (size_t i = 0; i < k * k; i++) {
        shares.cell[i] = (double)table[i] / shares.n;
        shares.row[i / k] += shares.cell[i];
        shares.column[i % k] += shares.cell[i];
    }
    StatsAgreement out = {0};
    double weighted;
    out.kappa = kappa_of(&shares, UNWEIGHTED, &out.kappa_stderr, &out.observed);
    out.linear = kappa_of(&shares, LINEAR, &out.linear_stderr, &weighted);
    out.quadratic = kappa_of(&shares, QUADRATIC, &out.quadratic_stderr, &weighted);
    out.ac1 = ac1_of(&shares, out.observed, &out.ac1_stderr);
    out.pabak = ((double)k * out.observed - 1) / (double)(k - 1);
    mem_free(shares.cell);
    return out;
}
