// SPDX-License-Identifier: MIT
// Products under --fast, in emulation or on a device with the real cuBLASLt: near the CPU's in
// float32, and up to 32 rows with the bits of our own kernels, over the layout that cuBLASLt takes.
#include "fast_rig.h"

static void test_fast_products__near_the_cpu(void)
{
    static const Shape shapes[] = {
        {__LINE__, K_BF16, 48, 96, 1, 1, false, -1},   {__LINE__, K_BF16, 40, 320, 9, 8, true, -1},
        {__LINE__, K_F16, 33, 64, 32, 1, true, -1},    {__LINE__, K_F16, 20, 44, 17, 8, false, -1},
        {__LINE__, K_BF16, 48, 96, 33, 1, false, 0},   {__LINE__, K_BF16, 40, 320, 64, 8, true, 1},
        {__LINE__, K_BF16, 130, 288, 100, 1, true, 0}, {__LINE__, K_F16, 140, 100, 70, 8, true, 0},
        {__LINE__, K_F16, 7, 288, 40, 1, false, 1},    {__LINE__, K_F16, 16, 32, 131, 1, false, 0},
    };
    Side fast, own, cpu;
    open_side(&fast, true, NULL);
    open_side(&own, false, NULL);
    side_open(&cpu, &k_cpu_ops, true);
    printf("# %s\n", fast.ops->device_describe(fast.device));
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const Shape *s = &shapes[i];
        size_t n = s->n_rows * s->n_out;
        arena_reset(&arena);
        float *got = run_product(&fast, s);
        int failed = tap_checks_failed;
        // Sums in f32 of up to 288 products under 24 in another order.
        CHECK(largest_difference(got, run_product(&cpu, s), n) <= 1e-2);
        if (s->algo < 0) { // our own kernel, over the other layout
            CHECK_INT(count_unequal(got, run_product(&own, s), n), 0);
        }
        CHECK_INT(count_unequal(got, run_product(&fast, s), n), 0);
        if (tap_checks_failed != failed) {
            printf("# line %d\n", s->line);
        }
    }
    side_close(&fast);
    side_close(&own);
    side_close(&cpu);
}

/** The embedding, gathered from rows as cuBLASLt takes them. */
static void test_fast_products__embedding(void)
{
    enum { VOCAB = 37, DIM = 44, N = 3 };
    static const KType types[] = {K_F16, K_BF16};
    static const int32_t ids[N] = {36, 0, 17};
    Side sides[2];
    open_side(&sides[0], false, NULL);
    open_side(&sides[1], true, NULL);
    for (size_t t = 0; t < 2; t++) {
        arena_reset(&arena);
        uint16_t *table = random_halves(types[t], 5, (size_t)VOCAB * DIM);
        float *got[2];
        for (int i = 0; i < 2; i++) {
            KMatrix *matrix = side_matrix(&sides[i], types[t], VOCAB, DIM, table);
            KBuffer *out = side_buffer(&sides[i], (size_t)N * DIM, NULL);
            Err err = ERR_INIT;
            CHECK_OK(sides[i].ops->embed(sides[i].stream, matrix, ids, N, out, &err), &err);
            got[i] = side_read(&sides[i], out, (size_t)N * DIM);
            sides[i].ops->buffer_destroy(out);
            sides[i].ops->matrix_destroy(matrix);
        }
        CHECK_INT(count_unequal(got[0], got[1], (size_t)N * DIM), 0);
        CHECK(got[0][5] != 0);
    }
    side_close(&sides[0]);
    side_close(&sides[1]);
}

int main(void)
{
    (void)muster_cuda_ops(); // where it can not run, it is skipped here
    tap_run("products are near the CPU's", test_fast_products__near_the_cpu);
    tap_run("the embedding", test_fast_products__embedding);
    arena_finish(&arena);
    return tap_done();
}
