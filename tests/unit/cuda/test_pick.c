// SPDX-License-Identifier: MIT
// Picking on CUDA gives what the CPU's does, to the last bit: tokens, log-probabilities, and the
// most likely ones, for all settings, masks and ties, over vocabularies that nothing divides.
#include "rig.h"

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

static void check_vocab(const Rig *rig, size_t vocab, uint64_t seed, size_t n)
{
    arena_reset(&arena);
    const float *logits = random_logits(seed, ROWS * vocab, seed % 2 == 0);
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

static void test_pick__equals_the_cpus(void)
{
    static const size_t vocabs[] = {1, 2, 33, 320, 1025, 5003};
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
    tap_run("picks refuse what is no number", test_pick__refuses_what_is_no_number);
    arena_finish(&arena);
    return tap_done();
}
