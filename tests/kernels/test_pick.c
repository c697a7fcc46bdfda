// SPDX-License-Identifier: MIT
// Picking tokens against the plain way (sort everything, the C library's exp in long double):
// random rows with ties, masks and every setting, the corners of each, the distribution of many
// draws, log-probabilities, and the same whatever the path and however picks are put together.
#include "kernels/pick.h"
#include "rig.h"

#include <math.h>
#include <stdlib.h>

static Arena arena;

// ---- The plain way ------------------------------------------------------------------------------

typedef struct Ranked {
    float logit;
    int32_t id;
    long double weight;
} Ranked;

static int compare_ranked(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    if (x->logit != y->logit) {
        return x->logit > y->logit ? -1 : 1;
    }
    return x->id < y->id ? -1 : 1;
}

static int compare_ids(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    return x->id < y->id ? -1 : 1;
}

static bool is_allowed(const KPick *pick, size_t id)
{
    return pick->allowed == NULL || (pick->allowed[id / 32] >> id % 32 & 1) != 0;
}

/** How many of the best that are left top_k, top_p and min_p keep. */
static size_t plain_cut(const KPick *pick, const Ranked *ranked, size_t n)
{
    long double total = 0, sum = 0;
    n = pick->top_k > 0 && pick->top_k < n ? pick->top_k : n;
    for (size_t i = 0; i < n; i++) {
        total += ranked[i].weight;
    }
    if (pick->top_p < 1) {
        long double goal = (long double)pick->top_p * total;
        size_t kept = 0;
        while (kept < n && (kept == 0 || sum < goal)) {
            sum += ranked[kept++].weight;
        }
        n = kept;
    }
    while (n > 1 && pick->min_p > 0 && ranked[n - 1].weight < (long double)pick->min_p &&
           ranked[n - 1].logit < ranked[0].logit) {
        n--;
    }
    return n;
}

static int32_t pick_plainly(const KPick *pick, const float *logits, size_t vocab)
{
    Ranked *ranked = ARENA_ARRAY(&arena, Ranked, vocab);
    size_t n = 0;
    for (size_t i = 0; i < vocab; i++) {
        if (is_allowed(pick, i)) {
            ranked[n++] = (Ranked){logits[i], (int32_t)i, 0};
        }
    }
    if (n == 0) {
        return -1;
    }
    qsort(ranked, n, sizeof(*ranked), compare_ranked);
    if (!(pick->temperature > 0)) {
        return ranked[0].id;
    }
    for (size_t i = 0; i < n; i++) {
        long double down = (long double)ranked[i].logit - (long double)ranked[0].logit;
        ranked[i].weight = down == 0 ? 1 : expl(down / (long double)pick->temperature);
    }
    n = plain_cut(pick, ranked, n);
    qsort(ranked, n, sizeof(*ranked), compare_ids);
    long double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        total += ranked[i].weight;
    }
    for (size_t i = 0; i < n; i++) {
        sum += ranked[i].weight;
        if ((long double)pick->random * total < sum) {
            return ranked[i].id;
        }
    }
    return ranked[n - 1].id;
}

static long double plain_log_sum(const float *logits, size_t vocab)
{
    long double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < vocab; i++) {
        most = (long double)logits[i] > most ? (long double)logits[i] : most;
    }
    for (size_t i = 0; i < vocab; i++) {
        sum += expl((long double)logits[i] - most);
    }
    return most + logl(sum);
}

// ---- The operation ------------------------------------------------------------------------------

static bool run(const char *path, int threads, size_t vocab, size_t n_rows, const float *logits,
                const KPick *picks, size_t n_picks, Err *err)
{
    Rig rig;
    if (!rig_open(&rig, path, threads, false)) {
        return true;
    }
    KBuffer *buffer = rig_buffer(&rig, n_rows * vocab, logits);
    bool ok = ops->pick(rig.stream, buffer, vocab, picks, n_picks, err);
    ops->buffer_destroy(buffer);
    rig_close(&rig);
    return ok;
}

static int32_t pick_id(const float *logits, size_t vocab, KPick pick)
{
    int32_t id = -7;
    Err err = ERR_INIT;
    pick.out_id = &id;
    CHECK_OK(run(NULL, 1, vocab, 1, logits, &pick, 1, &err), &err);
    return id;
}

/** Everything that picks give, to compare whole. */
typedef struct Got {
    int32_t id;
    float logprob;
    int32_t ids[8];
    float logprobs[8];
} Got;

static void ask(KPick *pick, Got *got, uint32_t n_top)
{
    memset(got, 0, sizeof(*got));
    pick->out_id = &got->id;
    pick->out_logprob = &got->logprob;
    pick->n_top = n_top;
    pick->out_top_ids = got->ids;
    pick->out_top_logprobs = got->logprobs;
}

static uint32_t *random_mask(Rng *rng, size_t vocab)
{
    uint32_t *mask = ARENA_ARRAY(&arena, uint32_t, vocab / 32 + 1);
    uint64_t one_in = 1 + rng_below(rng, 12);
    for (size_t i = 0; i < vocab; i++) {
        mask[i / 32] |= (uint32_t)(rng_below(rng, one_in) == 0) << i % 32;
    }
    return mask;
}

static KPick random_pick(Rng *rng, size_t vocab)
{
    static const double temperatures[] = {0, 0.1, 0.7, 1, 1, 1.3, 2.5};
    static const double top_ps[] = {1, 1, 0.95, 0.83, 0.5, 0.1, 1e-6};
    static const double min_ps[] = {0, 0, 0.07, 0.001, 0.6};
    return (KPick){.temperature = temperatures[rng_below(rng, 7)],
                   .top_k = (uint32_t)(rng_below(rng, 3) * rng_below(rng, vocab + 10)),
                   .top_p = top_ps[rng_below(rng, 7)],
                   .min_p = min_ps[rng_below(rng, 5)],
                   .random = rng_real(rng),
                   .allowed = rng_below(rng, 3) == 0 ? random_mask(rng, vocab) : NULL};
}

/** Many are equal when coarse. */
static void random_row(Rng *rng, float *out, size_t vocab, bool coarse)
{
    for (size_t i = 0; i < vocab; i++) {
        out[i] = coarse ? (float)rng_below(rng, 200) / 16.0f - 5.0f
                        : (float)(rng_real(rng) + rng_real(rng) + rng_real(rng)) * 12 - 9;
    }
}

static void check_got(const KPick *pick, const Got *got, const float *logits, size_t vocab)
{
    long double log_sum = plain_log_sum(logits, vocab);
    Ranked *ranked = ARENA_ARRAY(&arena, Ranked, vocab);
    CHECK_INT(got->id, pick_plainly(pick, logits, vocab));
    if (got->id >= 0) {
        double want = (double)((long double)logits[got->id] - log_sum);
        CHECK_NEAR(got->logprob, want, 1e-6 + 6e-8 * fabs(want));
    } else {
        CHECK(isnan(got->logprob));
    }
    for (size_t i = 0; i < vocab; i++) {
        ranked[i] = (Ranked){logits[i], (int32_t)i, 0};
    }
    qsort(ranked, vocab, sizeof(*ranked), compare_ranked);
    for (size_t i = 0; i < pick->n_top; i++) {
        double want = (double)((long double)ranked[i].logit - log_sum);
        CHECK_INT(got->ids[i], ranked[i].id);
        CHECK_NEAR(got->logprobs[i], want, 1e-6 + 6e-8 * fabs(want));
    }
}

static void test_pick__agrees_with_the_plain_way(void)
{
    static const size_t vocabs[] = {1, 2, 31, 33, 200, 1000, 1025, 4099, 49152};
    enum { ROWS = 5, PICKS = 40 };
    Rng rng;
    rng_init(&rng, 11);
    for (size_t round = 0; round < 90; round++) {
        size_t vocab = vocabs[round < 80 ? round % 8 : 8];
        size_t n_picks = vocab > 5000 ? 4 : PICKS;
        float *logits = ARENA_ARRAY(&arena, float, ROWS *vocab);
        KPick picks[PICKS];
        Got got[PICKS], first[PICKS];
        for (size_t r = 0; r < ROWS; r++) {
            random_row(&rng, logits + r * vocab, vocab, rng_below(&rng, 2) == 0);
        }
        for (size_t p = 0; p < n_picks; p++) {
            bool again = p > 0 && rng_below(&rng, 3) == 0; // as replies fork
            picks[p] = again ? picks[p - 1] : random_pick(&rng, vocab);
            picks[p].row = again ? picks[p].row : (uint32_t)rng_below(&rng, ROWS);
            picks[p].random = rng_real(&rng);
            ask(&picks[p], &got[p], (uint32_t)(vocab < 8 ? vocab : rng_below(&rng, 9)));
        }
        for (int p = 0; p < RIG_PATHS; p++) {
            Err err = ERR_INIT;
            memset(got, 0, sizeof(got));
            if (p > 0) {
                memcpy(got, first, sizeof(got)); // a path that this processor lacks
            }
            CHECK_OK(run(rig_paths[p], p + 1, vocab, ROWS, logits, picks, n_picks, &err), &err);
            if (p == 0) {
                memcpy(first, got, sizeof(first));
            }
            CHECK(memcmp(got, first, sizeof(got)) == 0);
        }
        for (size_t p = 0; p < n_picks; p++) {
            check_got(&picks[p], &got[p], logits + picks[p].row * vocab, vocab);
        }
        arena_reset(&arena);
    }
}

static void test_pick__company_does_not_matter(void)
{
    enum { VOCAB = 700, ROWS = 3, PICKS = 30 };
    Rng rng;
    rng_init(&rng, 5);
    float *logits = ARENA_ARRAY(&arena, float, ROWS *VOCAB);
    random_row(&rng, logits, ROWS * VOCAB, false);
    KPick picks[PICKS];
    Got together[PICKS], alone;
    for (size_t p = 0; p < PICKS; p++) {
        picks[p] = random_pick(&rng, VOCAB);
        picks[p].row = (uint32_t)p * ROWS / PICKS;
        ask(&picks[p], &together[p], 5);
    }
    Err err = ERR_INIT;
    CHECK_OK(run(NULL, 2, VOCAB, ROWS, logits, picks, PICKS, &err), &err);
    for (size_t p = 0; p < PICKS; p++) {
        ask(&picks[p], &alone, 5);
        CHECK_OK(run(NULL, 1, VOCAB, ROWS, logits, &picks[p], 1, &err), &err);
        CHECK(memcmp(&alone, &together[p], sizeof(alone)) == 0);
    }
    arena_reset(&arena);
}

// ---- Corners ------------------------------------------------------------------------------------

static void test_pick__keeps_its_rules_in_corners(void)
{
    static const float logits[] = {1.0f, 3.0f, 3.0f, 2.0f, -1.0f};
    static const uint32_t none = 0, last_two = 0x18, all = 0xffffffff;
    static const double below_one = 0x1.fffffffffffffp-1;
    static const struct {
        int line;
        double temperature, top_p, min_p, random;
        uint32_t top_k;
        const uint32_t *allowed;
        int32_t want;
    } cases[] = {
        // Greedy: the lowest id among equals, whatever else is set.
        {__LINE__, 0, 1, 0, 0.9, 0, NULL, 1},
        {__LINE__, 0, 0.1, 0.9, 0.9, 4, NULL, 1},
        {__LINE__, -1, 1, 0, 0.9, 0, NULL, 1},
        {__LINE__, NAN, 1, 0, 0.9, 0, NULL, 1},
        // Masks.
        {__LINE__, 0, 1, 0, 0, 0, &last_two, 3},
        {__LINE__, 1, 1, 0, below_one, 0, &last_two, 4},
        {__LINE__, 1, 1, 0, 0, 0, &last_two, 3},
        {__LINE__, 1, 1, 0, below_one, 1, &last_two, 3},
        {__LINE__, 1, 1, 0, below_one, 3, &last_two, 4}, // more than are allowed
        {__LINE__, 1, 0.5, 0, below_one, 0, &last_two, 3},
        {__LINE__, 0, 1, 0, 0, 0, &none, -1},
        {__LINE__, 1, 0.5, 0.5, 0, 2, &none, -1},
        {__LINE__, 1, 1, 0, 0, 0, &all, 0},
        // The first and the last token in order of id.
        {__LINE__, 1, 1, 0, 0, 0, NULL, 0},
        {__LINE__, 1, 1, 0, below_one, 0, NULL, 4},
        // top_k: ties are cut in order of id.
        {__LINE__, 1, 1, 0, below_one, 1, NULL, 1},
        {__LINE__, 1, 1, 0, below_one, 2, NULL, 2},
        {__LINE__, 1, 1, 0, below_one, 3, NULL, 3},
        {__LINE__, 1, 1, 0, 0, 3, NULL, 1},
        {__LINE__, 1, 1, 0, below_one, 5, NULL, 4},
        {__LINE__, 1, 1, 0, below_one, 4000000000, NULL, 4},
        // top_p: p = .054 .397 .397 .146 .007
        {__LINE__, 1, 0, 0, below_one, 0, NULL, 1},
        {__LINE__, 1, -3, 0, below_one, 0, NULL, 1},
        {__LINE__, 1, 1e-300, 0, below_one, 0, NULL, 1},
        {__LINE__, 1, 0.39, 0, below_one, 0, NULL, 1},
        {__LINE__, 1, 0.41, 0, below_one, 0, NULL, 2},
        {__LINE__, 1, 0.79, 0, below_one, 0, NULL, 2},
        {__LINE__, 1, 0.8, 0, below_one, 0, NULL, 3},
        {__LINE__, 1, 0.98, 0, 0, 0, NULL, 0},
        {__LINE__, 1, below_one, 0, below_one, 0, NULL, 4},
        {__LINE__, 1, 7, 0, below_one, 0, NULL, 4},
        {__LINE__, 1, 0.49, 0, below_one, 2, NULL, 1}, // of what top_k left
        {__LINE__, 1, 0.51, 0, below_one, 2, NULL, 2},
        // min_p: e^-1 = .368 of the best, e^-2 = .135
        {__LINE__, 1, 1, 0.36, below_one, 0, NULL, 3},
        {__LINE__, 1, 1, 0.37, below_one, 0, NULL, 2},
        {__LINE__, 1, 1, 0.13, 0, 0, NULL, 0},
        {__LINE__, 1, 1, 0.14, 0, 0, NULL, 1},
        {__LINE__, 1, 1, 1, below_one, 0, NULL, 2},
        {__LINE__, 1, 1, 5, below_one, 0, NULL, 2},
        {__LINE__, 1, 1, NAN, below_one, 0, NULL, 4},
        // Temperatures without a scale: the best ones alone, or all alike.
        {__LINE__, 1e-300, 1, 0, below_one, 0, NULL, 2},
        {__LINE__, 5e-324, 1, 0, 0, 0, NULL, 1},
        {__LINE__, 1e-3, 1, 0, below_one, 0, NULL, 2},
        {__LINE__, 1e300, 1, 0, 0.19, 0, NULL, 0},
        {__LINE__, 1e300, 1, 0, 0.81, 0, NULL, 4},
        {__LINE__, INFINITY, 1, 0, 0.39, 0, NULL, 1},
        {__LINE__, INFINITY, 1, 0, 0.41, 0, NULL, 2},
        {__LINE__, INFINITY, 0.6, 0, below_one, 0, NULL, 3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        KPick pick = {.temperature = cases[i].temperature,
                      .top_p = cases[i].top_p,
                      .min_p = cases[i].min_p,
                      .random = cases[i].random,
                      .top_k = cases[i].top_k,
                      .allowed = cases[i].allowed};
        int32_t id = pick_id(logits, 5, pick);
        if (id != cases[i].want) {
            printf("# line %d: %d\n", cases[i].line, id);
        }
        CHECK_INT(id, cases[i].want);
    }
}

static void test_pick__takes_zeros_and_extremes(void)
{
    static const float zeros[] = {-1.0f, -0.0f, 0.0f, -0.0f};
    CHECK_INT(pick_id(zeros, 4, (KPick){.temperature = 0}), 1);
    for (uint32_t k = 1; k <= 3; k++) { // zeros of both signs are equal
        KPick pick = {.temperature = 1, .top_p = 1, .top_k = k, .random = 0.999};
        CHECK_INT(pick_id(zeros, 4, pick), k);
    }
    static const float wide[] = {-3.4e38f, 3.4e38f, 0, 3.4e38f, -1e-40f};
    CHECK_INT(pick_id(wide, 5, (KPick){.temperature = 0}), 1);
    CHECK_INT(pick_id(wide, 5, (KPick){.temperature = 1, .top_p = 1, .random = 0.999}), 3);
    CHECK_INT(pick_id(wide, 5, (KPick){.temperature = 1, .top_p = 0.5, .random = 0.999}), 1);
    float out[5];
    int32_t ids[5], id;
    KPick pick = {.out_id = &id, .n_top = 5, .out_top_ids = ids, .out_top_logprobs = out};
    Err err = ERR_INIT;
    CHECK_OK(run(NULL, 1, 5, 1, wide, &pick, 1, &err), &err);
    CHECK_INT(ids[0] * 10000 + ids[1] * 1000 + ids[2] * 100 + ids[3] * 10 + ids[4], 13240);
    CHECK_NEAR(out[1], -log(2.0), 1e-7);
}

static void test_pick__refuses_what_is_no_number(void)
{
    enum { VOCAB = 3000 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const size_t places[] = {0, 17, 1023, 1024, 2999};
    uint32_t mask[VOCAB / 32 + 1] = {[3] = 2}; // that it is not allowed does not matter
    for (size_t i = 0; i < 30; i++) {
        float *logits = rig_random_floats(&arena, 3, 2 * VOCAB, 1);
        logits[VOCAB + places[i % 5]] = bad[i % 3];
        int32_t id, other;
        KPick picks[] = {{.row = 0, .out_id = &other, .temperature = i % 2 == 0 ? 0 : 1},
                         {.row = 1, .out_id = &id, .allowed = i % 4 < 2 ? mask : NULL}};
        Err err = ERR_INIT;
        CHECK(!run(i < 15 ? NULL : "portable", 1, VOCAB, 2, logits, picks, 2, &err));
        CHECK_INT(err.code, ERR_MODEL);
        CHECK_OK(run(NULL, 1, VOCAB, 2, logits, picks, 1, &err), &err); // a row that no one asked
        arena_reset(&arena);
    }
}

// ---- The distribution ---------------------------------------------------------------------------

/** Chi-square of 300,000 draws. */
static double chi_square(const float *logits, size_t n, KPick pick, const double *want)
{
    enum { DRAWS = 300000 };
    KPick *picks = ARENA_ARRAY(&arena, KPick, DRAWS);
    int32_t *ids = ARENA_ARRAY(&arena, int32_t, DRAWS);
    double counts[32] = {0}, sum = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        picks[i] = pick;
        picks[i].random = rng_at(42, i % 3, i / 3);
        picks[i].out_id = &ids[i];
    }
    Err err = ERR_INIT;
    CHECK_OK(run(NULL, 2, n, 1, logits, picks, DRAWS, &err), &err);
    for (size_t i = 0; i < DRAWS; i++) {
        counts[ids[i]]++;
    }
    for (size_t i = 0; i < n; i++) {
        double expected = want[i] * DRAWS;
        if (want[i] == 0) {
            CHECK_INT(counts[i], 0);
        } else {
            sum += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
    }
    arena_reset(&arena);
    return sum;
}

static void test_pick__draws_the_softmax(void)
{
    static const float logits[] = {0.5f, 2, -1, 0, 3, 2.5f, 1, 1, -2, 0.25f};
    static const struct {
        KPick pick;
        float least;  // logits that stay
        double limit; // chi-square of 9, 4 and 2 degrees of freedom at p = 1e-5
    } cases[] = {{{.temperature = 1, .top_p = 1}, -9, 39.3},
                 {{.temperature = 0.8, .top_p = 1, .top_k = 5}, 1, 28.5},
                 {{.temperature = 2, .top_p = 1, .min_p = 0.6}, 2, 23.1},
                 {{.temperature = 1, .top_p = 0.8}, 2, 23.1}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        double want[10], total = 0;
        for (size_t i = 0; i < 10; i++) {
            want[i] =
                logits[i] < cases[c].least ? 0 : exp((double)logits[i] / cases[c].pick.temperature);
            total += want[i];
        }
        for (size_t i = 0; i < 10; i++) {
            want[i] /= total;
        }
        double got = chi_square(logits, 10, cases[c].pick, want);
        printf("# case %zu: chi-square %.1f\n", c, got);
        CHECK(got < cases[c].limit);
    }
}

// ---- Numbers ------------------------------------------------------------------------------------

__extension__ typedef unsigned __int128 Wide;

static void test_pick__numbers_are_right(void)
{
    Rng rng;
    rng_init(&rng, 3);
    CHECK(pick_weight(7.25f, 7.25f, 0.3) == PICK_ONE);
    CHECK(pick_weight(-INFINITY, 1, 1) == 0 && pick_weight(-INFINITY, 1, (double)INFINITY) == 0);
    long double most = 0;
    for (size_t i = 0; i < 20000; i++) {
        float logit = (float)(rng_real(&rng) * -40 * (double)(i % 7) / 6);
        double temperature = i % 3 == 0 ? 1 : 0.2 + rng_real(&rng) * 2;
        long double want = 0x1p40L * expl((long double)logit / (long double)temperature);
        long double error = fabsl((long double)pick_weight(logit, 0, temperature) - want);
        most = error > most ? error : most;
    }
    printf("# weights: %.3Lf units of 2^-40 at most\n", most);
    CHECK(most <= 0.502L);
    for (size_t i = 0; i < 20000; i++) {
        double portion = i % 5 == 0 ? (double)rng_below(&rng, 9) / 8 : rng_real(&rng);
        uint64_t total = rng_next(&rng) >> (2 + rng_below(&rng, 60));
        Wide whole = (Wide)(uint64_t)(portion * 0x1p53) * total;
        uint64_t down = (uint64_t)(whole >> 53);
        uint64_t up = down + ((whole & (((uint64_t)1 << 53) - 1)) != 0 ? 1 : 0);
        CHECK(pick_portion(portion, total, false) == down);
        CHECK(pick_portion(portion, total, true) == up);
        double x = 1 + rng_real(&rng) * (double)(rng_next(&rng) >> rng_below(&rng, 63));
        CHECK_NEAR(pick_log(x), (double)logl((long double)x), 1e-14 * (1 + log(x)));
        float logit = (float)(rng_real(&rng) * 100 - 50);
        CHECK(pick_unkey(pick_key(logit)) == logit);
        CHECK(pick_key(logit) < pick_key(nextafterf(logit, INFINITY)));
    }
}

int main(void)
{
    tap_run("pick agrees with the plain way", test_pick__agrees_with_the_plain_way);
    tap_run("pick: company does not matter", test_pick__company_does_not_matter);
    tap_run("pick keeps its rules in corners", test_pick__keeps_its_rules_in_corners);
    tap_run("pick takes zeros and extremes", test_pick__takes_zeros_and_extremes);
    tap_run("pick refuses what is no number", test_pick__refuses_what_is_no_number);
    tap_run("pick draws the softmax", test_pick__draws_the_softmax);
    tap_run("pick: numbers are right", test_pick__numbers_are_right);
    arena_finish(&arena);
    return tap_done();
}
