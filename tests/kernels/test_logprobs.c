// SPDX-License-Identifier: MIT
// Log-probabilities against the formula in double, ties and extremes, and equal bits over the
// paths.
#include "rig.h"

static Arena arena;

/** Log-probability of every token of each row, and the argmax; false as the operation says. */
static bool run(const char *path, int threads, size_t vocab, size_t n_rows, const float *logits,
                float *out, int32_t *argmax, Err *err)
{
    Rig rig;
    if (!rig_open(&rig, path, threads, false)) {
        return true;
    }
    int32_t *targets = ARENA_ARRAY(&arena, int32_t, vocab);
    KLogprobRow *rows = ARENA_ARRAY(&arena, KLogprobRow, n_rows);
    for (size_t t = 0; t < vocab; t++) {
        targets[t] = (int32_t)t;
    }
    for (size_t r = 0; r < n_rows; r++) { // the last row first
        uint32_t row = (uint32_t)(n_rows - 1 - r);
        rows[r] = (KLogprobRow){row, (uint32_t)vocab, targets, out + row * vocab, argmax + row};
    }
    KBuffer *buffer = rig_buffer(&rig, n_rows * vocab, logits);
    bool ok = ops->logprobs(rig.stream, buffer, vocab, rows, n_rows, err);
    ops->buffer_destroy(buffer);
    rig_close(&rig);
    return ok;
}

static void test_logprobs__follow_their_formula(void)
{
    static const struct {
        int line;
        size_t vocab;
        float scale;
    } cases[] = {{__LINE__, 1, 1},      {__LINE__, 15, 1},      {__LINE__, 33, 10},
                 {__LINE__, 255, 100},  {__LINE__, 257, 20},    {__LINE__, 1000, 0},
                 {__LINE__, 49152, 15}, {__LINE__, 300, 1e30f}, {__LINE__, 64, 1e-30f}};
    enum { ROWS = 3 };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t vocab = cases[i].vocab;
        const float *logits = rig_random_floats(&arena, i, ROWS * vocab, cases[i].scale);
        float *first = arena_alloc(&arena, ROWS * vocab, sizeof(float));
        float *got = arena_alloc(&arena, ROWS * vocab, sizeof(float));
        int32_t best[ROWS], other[ROWS];
        Err err = ERR_INIT;
        CHECK_OK(run("portable", 1, vocab, ROWS, logits, first, best, &err), &err);
        for (size_t r = 0; r < ROWS; r++) {
            const float *row = logits + r * vocab;
            size_t most = 0;
            double sum = 0;
            for (size_t t = 0; t < vocab; t++) {
                most = row[t] > row[most] ? t : most;
            }
            for (size_t t = 0; t < vocab; t++) {
                sum += exp((double)row[t] - (double)row[most]);
            }
            CHECK_INT(best[r], most);
            for (size_t t = 0; t < vocab; t++) {
                double want = (double)row[t] - (double)row[most] - log(sum);
                CHECK_NEAR(first[r * vocab + t], want, 1e-6 + 2e-7 * fabs(want));
            }
        }
        for (int p = 1; p < RIG_PATHS; p++) {
            memcpy(got, first, ROWS * vocab * sizeof(float));
            memcpy(other, best, sizeof(best));
            CHECK_OK(run(rig_paths[p], 2, vocab, ROWS, logits, got, other, &err), &err);
            CHECK(memcmp(got, first, ROWS * vocab * sizeof(float)) == 0);
            CHECK(memcmp(other, best, sizeof(best)) == 0);
        }
        arena_reset(&arena);
    }
}

static void test_logprobs__take_the_lowest_of_equals(void)
{
    enum { VOCAB = 700 };
    static const size_t places[][2] = {{0, 699}, {5, 6}, {31, 32}, {90, 600}, {698, 699}};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        float *logits = rig_random_floats(&arena, 3, VOCAB, 1),
              *out = arena_alloc(&arena, VOCAB, 4);
        logits[places[i][0]] = logits[places[i][1]] = 7;
        for (int p = 0; p < RIG_PATHS; p++) {
            int32_t best = (int32_t)places[i][0];
            Err err = ERR_INIT;
            CHECK_OK(run(rig_paths[p], 1, VOCAB, 1, logits, out, &best, &err), &err);
            CHECK_INT(best, places[i][0]);
        }
        arena_reset(&arena);
    }
}

static void test_logprobs__refuse_what_is_no_number(void)
{
    enum { VOCAB = 300 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 9; i++) {
        float *logits = rig_random_floats(&arena, 3, VOCAB, 1),
              *out = arena_alloc(&arena, VOCAB, 4);
        logits[i * 33] = bad[i % 3];
        int32_t best;
        Err err = ERR_INIT;
        CHECK(!run(i < 5 ? NULL : "portable", 1, VOCAB, 1, logits, out, &best, &err));
        CHECK_INT(err.code, ERR_MODEL);
    }
    arena_reset(&arena);
}

int main(void)
{
    tap_run("logprobs follow their formula", test_logprobs__follow_their_formula);
    tap_run("logprobs take the lowest of equals", test_logprobs__take_the_lowest_of_equals);
    tap_run("logprobs refuse what is no number", test_logprobs__refuse_what_is_no_number);
    arena_finish(&arena);
    return tap_done();
}
