// SPDX-License-Identifier: MIT
// Picking on CUDA gives what the CPU's does, to the last bit: tokens, log-probabilities, and the
// most likely ones, for all settings, masks and ties, over vocabularies that nothing divides.
#include "rig.h"

#include <math.h>

typedef struct Got {
    int32_t id;
    float logprob;
    int32_t ids[12];
    float logprobs[12];
} Got;

enum { ROWS = 3, PICKS = 8 };

static uint32_t *random_mask(uint64_t seed, size_t vocab)
{
    uint32_t *mask = ARENA_ARRAY(&arena, uint32_t, vocab / 32 + 1);
    double share = rng_at(seed, 8, 0);
    for (size_t i = 0; i < vocab; i++) {
        mask[i / 32] |= (uint32_t)(rng_at(seed, 9, i) < share * share) << i % 32;
    }
    return mask;
}

static KPick random_pick(uint64_t seed, size_t vocab)
{
    static const double temperatures[] = {0, 0.3, 1, 1, 2, 1e-300, (double)INFINITY};
    static const double top_ps[] = {1, 1, 0.95, 0.5, 0};
    static const double min_ps[] = {0, 0, 0.05, 0.7};
    double u[8];
    for (size_t i = 0; i < 8; i++) {
        u[i] = rng_at(seed, 4, i);
    }
    return (KPick){.row = (uint32_t)(u[0] * ROWS),
                   .temperature = temperatures[(size_t)(u[1] * 7)],
                   .top_k = u[2] < 0.5 ? 0 : 1 + (uint32_t)(u[3] * u[3] * (double)vocab),
                   .top_p = top_ps[(size_t)(u[4] * 5)],
                   .min_p = min_ps[(size_t)(u[5] * 4)],
                   .random = u[6],
                   .allowed = u[7] < 0.3 ? random_mask(seed, vocab) : NULL};
}

static bool run(const Side *side, const float *logits, size_t vocab, KPick *picks, size_t n,
                Got *got, Err *err)
{
    KBuffer *buffer = side_buffer(side, ROWS * vocab, logits);
    memset(got, 0, n * sizeof(*got));
    for (size_t i = 0; i < n; i++) {
        picks[i].out_id = &got[i].id;
        picks[i].out_logprob = i % 4 == 3 ? NULL : &got[i].logprob;
        picks[i].n_top = (uint32_t)(i % 13 < vocab ? i % 13 : vocab);
        picks[i].out_top_ids = got[i].ids;
        picks[i].out_top_logprobs = got[i].logprobs;
    }
    bool ok = side->ops->pick(side->stream, buffer, vocab, picks, n, err);
    side->ops->buffer_destroy(buffer);
    return ok;
}

/** Coarse: many are equal, of both zeros too. */
static float *random_logits(uint64_t seed, size_t n, bool coarse)
{
    float *x = random_floats(seed, n, 1);
    for (size_t i = 0; i < n; i++) {
        x[i] = coarse ? (float)(int)(x[i] * 12) * 0.75f : x[i] * x[i] * x[i] * 30;
        x[i] = x[i] == 0 && i % 2 == 0 ? -0.0f : x[i];
    }
    return x;
}

/** Settings by random, for n <= PICKS picks from ROWS rows. */
static void check_rows(const Rig *rig, const float *logits, size_t vocab, uint64_t seed, size_t n)
{
    KPick picks[PICKS];
    Got want[PICKS], got[PICKS];
    Err err = ERR_INIT;
    for (size_t i = 0; i < n; i++) {
        bool again = i > 0 && rng_at(seed, 6, i) < 0.3;
        picks[i] = again ? picks[i - 1] : random_pick(seed * 100 + i, vocab);
        picks[i].random = rng_at(seed, 7, i);
    }
    CHECK_OK(run(&rig->cpu, logits, vocab, picks, n, want, &err), &err);
    CHECK_OK(run(&rig->cuda, logits, vocab, picks, n, got, &err), &err);
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&want[i], &got[i], sizeof(want[i])) != 0) {
            printf("# vocab %zu, pick %zu of seed %u: %d and %d, %.9g and %.9g (t %g k %u p %g m "
                   "%g)\n",
                   vocab, i, (unsigned)seed, want[i].id, got[i].id, (double)want[i].logprob,
                   (double)got[i].logprob, picks[i].temperature, picks[i].top_k, picks[i].top_p,
                   picks[i].min_p);
            CHECK(false);
        }
    }
}

static void check_vocab(const Rig *rig, size_t vocab, uint64_t seed, size_t n)
{
    arena_reset(&arena);
    check_rows(rig, random_logits(seed, ROWS * vocab, seed % 2 == 0), vocab, seed, n);
}

static void test_pick__equals_the_cpus(void)
{
    static const size_t vocabs[] = {1, 2, 33, 320, 511, 512, 1028, 5003};
    Rig rig;
    rig_open(&rig, false);
    for (size_t i = 0; i < sizeof(vocabs) / sizeof(vocabs[0]); i++) {
        for (uint64_t seed = 0; seed < (vocabs[i] < 1000 ? 2 : 1); seed++) {
            check_vocab(&rig, vocabs[i], seed + i * 10, PICKS);
        }
    }
    rig_close(&rig);
}

static void test_pick__equals_the_cpus_on_a_whole_vocabulary(void)
{
    Rig rig;
    rig_open(&rig, false);
    check_vocab(&rig, 49152, 1, 4);
    rig_close(&rig);
}

/** Rows in which the best tokens, or those at a cut, crowd in ways of their own. */
static float odd_logit(size_t kind, size_t vocab, size_t i)
{
    float u = (float)rng_at(77, 5, i);
    switch (kind) {
    case 0: // all equal, of both zeros
        return i % 3 == 0 ? -0.0f : 0.0f;
    case 1: // the best one again and again, all else far below
        return i % 997 == 5 ? 3 : -80;
    case 2: // two values a hair apart
        return u < 0.4f ? 1 : 1.0000001f;
    case 3: // so close that few buckets tell them apart
        return u * 1e-7f;
    case 4: // one far above, the others in a row
        return i == vocab - 1 ? 1e30f : (float)i * -0x1p-10f;
    case 5: // distances that overflow
        return i % 1000 == 7 ? 3e38f : i % 2 == 0 ? -3e38f : u;
    case 6: // a long tail, as models have it
        return 20 - 2 * logf((float)(rng_mix(i) % vocab) + 1);
    default: // many ties at each of few values
        return floorf(u * 4);
    }
}

static void test_pick__equals_the_cpus_on_odd_rows(void)
{
    static const size_t vocabs[] = {1536, 9001};
    Rig rig;
    rig_open(&rig, false);
    for (size_t v = 0; v < 2; v++) {
        for (size_t kind = 0; kind < 8; kind++) {
            arena_reset(&arena);
            float *logits = ARENA_ARRAY(&arena, float, ROWS *vocabs[v]);
            for (size_t i = 0; i < ROWS * vocabs[v]; i++) {
                logits[i] = odd_logit(kind, vocabs[v], i % vocabs[v]);
            }
            check_rows(&rig, logits, vocabs[v], 500 + v * 10 + kind, v == 0 ? PICKS : 4);
        }
    }
    rig_close(&rig);
}

static void test_pick__equals_the_cpus_by_each_setting_alone(void)
{
    static const KPick settings[] = {{.top_p = 1},
                                     {.temperature = 1, .top_p = 1},
                                     {.temperature = 0.7, .top_p = 1},
                                     {.temperature = 1, .top_p = 1, .min_p = 0.02},
                                     {.temperature = 1, .top_p = 0.9},
                                     {.temperature = 1, .top_p = 1, .top_k = 40}};
    enum { VOCAB = 2050, N = sizeof(settings) / sizeof(settings[0]) };
    Rig rig;
    rig_open(&rig, false);
    arena_reset(&arena);
    const float *logits = random_floats(5, ROWS * VOCAB, 4);
    for (size_t i = 0; i < N; i++) {
        KPick picks[3]; // each with its log-probability
        for (size_t p = 0; p < 3; p++) {
            picks[p] = settings[i];
            picks[p].row = (uint32_t)p;
            picks[p].random = rng_at(i, 7, p);
        }
        Got want[3], got[3];
        Err err = ERR_INIT;
        CHECK_OK(run(&rig.cpu, logits, VOCAB, picks, 3, want, &err), &err);
        CHECK_OK(run(&rig.cuda, logits, VOCAB, picks, 3, got, &err), &err);
        CHECK(memcmp(want, got, sizeof(want)) == 0);
    }
    rig_close(&rig);
}

/** The one token that is allowed, wherever it is; none. */
static void test_pick__takes_what_is_allowed(void)
{
    enum { VOCAB = 4099 };
    static const int32_t ids[] = {0, 511, 512, 2047, 2048, 4095, 4096, 4098, -1};
    Rig rig;
    rig_open(&rig, false);
    const float *logits = random_logits(3, ROWS * VOCAB, false);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        uint32_t mask[VOCAB / 32 + 1] = {0};
        if (ids[i] >= 0) {
            mask[ids[i] / 32] = 1u << ids[i] % 32;
        }
        KPick picks[] = {{.row = 0, .allowed = mask},
                         {.row = 1, .allowed = mask, .temperature = 0.7, .top_p = 0.4},
                         {.row = 2, .allowed = mask, .temperature = 1, .top_k = 3, .top_p = 1}};
        Got want[3], got[3];
        Err err = ERR_INIT;
        CHECK_OK(run(&rig.cpu, logits, VOCAB, picks, 3, want, &err), &err);
        CHECK_OK(run(&rig.cuda, logits, VOCAB, picks, 3, got, &err), &err);
        for (size_t p = 0; p < 3; p++) {
            CHECK_INT(got[p].id, ids[i]);
        }
        CHECK(memcmp(want, got, sizeof(want)) == 0);
    }
    rig_close(&rig);
}

static void test_pick__refuses_what_is_no_number(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    enum { VOCAB = 1500 };
    Rig rig;
    rig_open(&rig, false);
    for (size_t i = 0; i < 6; i++) {
        float *logits = random_logits(i, ROWS * VOCAB, false);
        logits[VOCAB + i * 299] = bad[i % 3];
        KPick picks[] = {{.row = 0}, {.row = 1, .temperature = i < 3 ? 0 : 1, .top_p = 0.5}};
        Got got[2];
        Err err = ERR_INIT;
        CHECK(!run(&rig.cuda, logits, VOCAB, picks, 2, got, &err));
        CHECK_INT(err.code, ERR_MODEL);
        CHECK_OK(run(&rig.cuda, logits, VOCAB, picks, 1, got, &err), &err);
    }
    rig_close(&rig);
}

int main(void)
{
    tap_run("picks equal the CPU's", test_pick__equals_the_cpus);
    tap_run("picks equal the CPU's on a whole vocabulary",
            test_pick__equals_the_cpus_on_a_whole_vocabulary);
    tap_run("picks equal the CPU's on odd rows", test_pick__equals_the_cpus_on_odd_rows);
    tap_run("picks equal the CPU's by each setting alone",
            test_pick__equals_the_cpus_by_each_setting_alone);
    tap_run("picks take what is allowed", test_pick__takes_what_is_allowed);
    tap_run("picks refuse what is no number", test_pick__refuses_what_is_no_number);
    arena_finish(&arena);
    return tap_done();
}
