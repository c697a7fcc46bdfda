// SPDX-License-Identifier: MIT
// Operations on single rows against their formulas in double, and equal bits over the paths.
#include "rig.h"

static Arena arena;

/** Largest error relative to the largest value wanted. */
static double relative_error(const float *got, const double *want, size_t n)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)got[i] - want[i]));
        largest = fmax(largest, fabs(want[i]));
    }
    return worst / largest;
}

static float *run_rms_norm(const char *path, size_t width, size_t n_rows, const float *x,
                           const float *weight, const uint32_t *rows, float eps)
{
    Rig rig;
    if (!rig_open(&rig, path, 2, false)) {
        return NULL;
    }
    KMatrix *identity = rig_identity(&rig, width);
    KActs *acts = rig_acts(&rig, n_rows, width, identity);
    KBuffer *a = rig_buffer(&rig, (n_rows + 3) * width, x);
    KBuffer *b = rig_buffer(&rig, width, weight);
    Err err = ERR_INIT;
    CHECK_OK(ops->rms_norm(rig.stream, a, b, eps, width, rows, n_rows, acts, &err), &err);
    float *out = arena_alloc(&arena, n_rows * width, sizeof(float));
    rig_read_acts(&rig, identity, acts, n_rows, out);
    ops->buffer_destroy(a);
    ops->buffer_destroy(b);
    ops->acts_destroy(acts);
    ops->matrix_destroy(identity);
    rig_close(&rig);
    return out;
}

/** The product of two half identities with rows that hold the gate, then up, gives both exactly. */
static float *run_gated(const char *path, size_t width, size_t n_rows, const float *gate,
                        const float *up)
{
    Rig rig;
    if (!rig_open(&rig, path, 2, false)) {
        return NULL;
    }
    float *half = mem_zalloc(2 * width * width, sizeof(float));
    KMatrix *halves[2];
    for (size_t h = 0; h < 2; h++) {
        memset(half, 0, 2 * width * width * sizeof(float));
        for (size_t i = 0; i < width; i++) {
            half[i * 2 * width + h * width + i] = 1;
        }
        halves[h] = rig_matrix(&rig, K_F32, width, 2 * width, half);
    }
    KMatrix *identity = rig_identity(&rig, width);
    KActs *x = rig_acts(&rig, n_rows, 2 * width, halves[0]);
    KActs *acts = rig_acts(&rig, n_rows, width, identity);
    for (size_t r = 0; r < n_rows; r++) {
        memcpy(half, gate + r * width, width * sizeof(float));
        memcpy(half + width, up + r * width, width * sizeof(float));
        cpu_acts_row(rig.device, x, r, half);
    }
    Err err = ERR_INIT;
    CHECK_OK(ops->gated(rig.stream, halves[0], halves[1], x, n_rows, acts, &err), &err);
    float *out = arena_alloc(&arena, n_rows * width, sizeof(float));
    rig_read_acts(&rig, identity, acts, n_rows, out);
    ops->acts_destroy(x);
    ops->acts_destroy(acts);
    ops->matrix_destroy(halves[0]);
    ops->matrix_destroy(halves[1]);
    ops->matrix_destroy(identity);
    mem_free(half);
    rig_close(&rig);
    return out;
}

static void test_rms_norm__follows_its_formula(void)
{
    static const size_t widths[] = {1, 15, 16, 17, 100, 576};
    static const float scales[] = {1, 1e-4f, 1e6f};
    enum { ROWS = 5 };
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]) * 3; i++) {
        size_t width = widths[i / 3];
        const float *x = rig_random_floats(&arena, i, (ROWS + 3) * width, scales[i % 3]);
        const float *weight = rig_random_floats(&arena, i + 100, width, 2);
        static const uint32_t rows[ROWS] = {7, 0, 3, 3, 1};
        double *want = ARENA_ARRAY(&arena, double, ROWS *width);
        for (size_t r = 0; r < ROWS; r++) {
            const float *row = x + rows[r] * width;
            double squares = 0;
            for (size_t k = 0; k < width; k++) {
                squares += (double)row[k] * (double)row[k];
            }
            for (size_t k = 0; k < width; k++) {
                want[r * width + k] =
                    (double)row[k] / sqrt(squares / (double)width + 1e-5) * (double)weight[k];
            }
        }
        const float *first = run_rms_norm("portable", width, ROWS, x, weight, rows, 1e-5f);
        CHECK(relative_error(first, want, ROWS * width) < 1e-6);
        for (int p = 1; p < RIG_PATHS; p++) {
            const float *got = run_rms_norm(rig_paths[p], width, ROWS, x, weight, rows, 1e-5f);
            CHECK(got == NULL || memcmp(got, first, ROWS * width * sizeof(float)) == 0);
        }
        arena_reset(&arena);
    }
}

static void test_gated__follows_its_formula(void)
{
    enum { WIDTH = 333, ROWS = 4 };
    float *gate = rig_random_floats(&arena, 1, (ROWS + 3) * WIDTH, 20);
    const float *up = rig_random_floats(&arena, 2, ROWS * WIDTH, 3);
    static const float odd[] = {0, -0.0f, 1e-30f, 88, -88, 1000, -1000, 1e30f, -1e30f, 1e-45f};
    memcpy(gate, odd, sizeof(odd));
    double *want = ARENA_ARRAY(&arena, double, ROWS *WIDTH);
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        want[i] = (double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i];
    }
    const float *first = run_gated("portable", WIDTH, ROWS, gate, up);
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        double tolerance = 4e-7 * fabs(want[i]) + 1e-7;
        // Below -87 the sigmoid is held at e^-87, so its product with the gate stays tiny.
        CHECK_NEAR(first[i], want[i], gate[i] < -87 ? fabs((double)gate[i]) * 1e-37 : tolerance);
    }
    for (int p = 0; p < RIG_PATHS; p++) {
        const float *got = run_gated(rig_paths[p], WIDTH, ROWS, gate, up);
        CHECK(got == NULL || memcmp(got, first, ROWS * WIDTH * sizeof(float)) == 0);
        got = run_gated(rig_paths[p], WIDTH, 1, gate, up); // one row takes another way
        CHECK(got == NULL || memcmp(got, first, WIDTH * sizeof(float)) == 0);
    }
    arena_reset(&arena);
}

static void test_embed__gives_rows_of_the_table(void)
{
    enum { VOCAB = 37, DIM = 70 };
    const float *table = rig_random_floats(&arena, 3, VOCAB * DIM, 1);
    static const int32_t ids[] = {36, 0, 15, 16, 17, 36};
    Rig rig;
    for (int p = 0; p < RIG_PATHS; p++) {
        if (!rig_open(&rig, rig_paths[p], 2, false)) {
            continue;
        }
        KMatrix *matrix = rig_matrix(&rig, K_F32, VOCAB, DIM, table);
        KBuffer *out = rig_buffer(&rig, 6 * DIM, NULL), *gathered = rig_buffer(&rig, 2 * DIM, NULL);
        Err err = ERR_INIT;
        CHECK_OK(ops->embed(rig.stream, matrix, ids, 6, out, &err), &err);
        for (size_t r = 0; r < 6; r++) {
            CHECK(memcmp(out->data + r * DIM, table + ids[r] * DIM, DIM * sizeof(float)) == 0);
        }
        static const uint32_t rows[] = {4, 1};
        CHECK_OK(ops->gather(rig.stream, out, DIM, rows, 2, gathered, &err), &err);
        CHECK(memcmp(gathered->data, table + 17 * DIM, DIM * sizeof(float)) == 0);
        CHECK(memcmp(gathered->data + DIM, table, DIM * sizeof(float)) == 0);
        ops->buffer_destroy(out);
        ops->buffer_destroy(gathered);
        ops->matrix_destroy(matrix);
        rig_close(&rig);
    }
    arena_reset(&arena);
}

/** With up = 1 and g in -80 .. -1 the result is nearly g * e^g: the error is that of exp. */
static void test_gated__is_accurate(void)
{
    enum { N = 512 };
    float *gate = arena_alloc(&arena, 4 * N, sizeof(float)),
          *up = arena_alloc(&arena, N, sizeof(float));
    for (size_t i = 0; i < N; i++) {
        gate[i] = -1 - (float)i * (79.0f / N);
        up[i] = 1;
    }
    const float *out = run_gated("portable", N, 1, gate, up);
    for (size_t i = 0; i < N; i++) {
        double want = (double)gate[i] / (1 + exp(-(double)gate[i]));
        CHECK_NEAR((double)out[i] / want, 1, 3e-7);
    }
    arena_reset(&arena);
}

/** q = rint(x * 32512 / max) with the scale max / 32512, and the sums that go with it. */
static void test_quantise__follows_its_formula(void)
{
    enum { BLOCKS = 7, WIDTH = BLOCKS * 32 };
    static const float sizes[BLOCKS] = {1, 0, 1e-31f, 1e-29f, 1e30f, 3e-5f, 700};
    float *x = rig_random_floats(&arena, 8, WIDTH, 1);
    for (size_t i = 0; i < WIDTH; i++) {
        x[i] *= sizes[i / 32];
    }
    for (int p = 0; p < 2; p++) {
        const CpuPath *path = p == 0 ? &cpu_path_portable : NULL;
#if defined(__x86_64__)
        Rig rig;
        if (p == 1 && rig_open(&rig, "avx512", 1, false)) {
            path = rig.device->path;
            rig_close(&rig);
        }
#endif
        if (path == NULL) {
            continue;
        }
        int16_t fixed[BLOCKS * CPU_ROWS * CPU_BLOCK];
        float scales[BLOCKS * CPU_ROWS], scale_sums[BLOCKS * CPU_ROWS];
        int32_t sums[BLOCKS * CPU_ROWS];
        enum { ROW = 5 };
        KActs acts = {.width = WIDTH,
                      .n_blocks = BLOCKS,
                      .fixed = fixed,
                      .scale = scales,
                      .sum = sums,
                      .scale_sum = scale_sums};
        path->quantise(x, &acts, ROW);
        for (size_t b = 0; b < BLOCKS; b++) {
            size_t at = b * CPU_ROWS + ROW;
            float max = 0;
            int32_t total = 0;
            for (size_t k = 0; k < 32; k++) {
                max = fmaxf(max, fabsf(x[b * 32 + k]));
            }
            bool zero = max < 1e-30f;
            for (size_t k = 0; k < 32; k++) {
                int32_t want = zero ? 0 : (int32_t)lrintf(x[b * 32 + k] * (32512.0f / max));
                CHECK_INT(fixed[at * CPU_BLOCK + k], want);
                total += want;
            }
            CHECK_INT(sums[at], total);
            CHECK(scales[at] == (zero ? 0 : max / 32512.0f));
            CHECK(scale_sums[at] == scales[at] * (float)total);
        }
    }
    arena_reset(&arena);
}

int main(void)
{
    tap_run("rms_norm follows its formula", test_rms_norm__follows_its_formula);
    tap_run("gated follows its formula", test_gated__follows_its_formula);
    tap_run("embed gives rows of the table", test_embed__gives_rows_of_the_table);
    tap_run("gated is accurate", test_gated__is_accurate);
    tap_run("quantise follows its formula", test_quantise__follows_its_formula);
    arena_finish(&arena);
    return tap_done();
}
