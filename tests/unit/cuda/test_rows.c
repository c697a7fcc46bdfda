// SPDX-License-Identifier: MIT
// Embedding, RMSNorm, gather and log-probabilities on CUDA beside the CPU's.
#include "rig.h"

static void test_buffers__write_and_read(void)
{
    Rig rig;
    rig_open(&rig, false);
    arena_reset(&arena);
    Err err = ERR_INIT;
    KBuffer *buffer = side_buffer(&rig.cuda, 1000, NULL);
    float *x = random_floats(1, 1000, 1), *zeros = ARENA_ARRAY(&arena, float, 1000);
    CHECK_INT(count_unequal(side_read(&rig.cuda, buffer, 1000), zeros, 1000), 0);
    for (size_t i = 0; i < 1000; i += 100) { // more pieces than lists are kept
        CHECK_OK(rig.cuda.ops->buffer_write(rig.cuda.stream, buffer, i, x + i, 100, &err), &err);
    }
    CHECK_INT(count_unequal(side_read(&rig.cuda, buffer, 1000), x, 1000), 0);
    float some[3];
    CHECK_OK(rig.cuda.ops->buffer_read(rig.cuda.stream, buffer, 997, some, 3, &err), &err);
    CHECK_INT(count_unequal(some, x + 997, 3), 0);
    rig.cuda.ops->buffer_destroy(buffer);
    CHECK(strncmp(rig.cuda.ops->device_describe(rig.cuda.device), "cuda:0 ", 7) == 0);
    rig_close(&rig);
}

static void test_device__that_is_not_there(void)
{
    KDeviceOptions options = {.index = 99};
    KDevice *device = NULL;
    Err err = ERR_INIT;
    CHECK(!muster_cuda_ops()->device_open(&options, &device, &err));
    CHECK_INT(err.code, ERR_ENVIRONMENT);
    CHECK(device == NULL);
}

static void test_embed__every_type(void)
{
    static const struct {
        KType type;
        size_t width, row_bytes;
    } cases[] = {{K_F32, 50, 200},  {K_F16, 40, 80},  {K_BF16, 96, 192},
                 {K_Q8_0, 96, 102}, {K_Q4_0, 96, 54}, {K_Q4_1, 64, 40}};
    static const int32_t ids[] = {0, 36, 5, 16, 15, 5};
    Rig rig;
    rig_open(&rig, false);
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        arena_reset(&arena);
        uint8_t *data = arena_alloc(&arena, 37, cases[c].row_bytes);
        for (size_t i = 0; i < 37 * cases[c].row_bytes; i++) {
            data[i] = (uint8_t)(rng_at(5, c, i) * 64); // small positive numbers of every type
            if (cases[c].type == K_BF16 && i % 2 == 1) {
                // 1/8 to 2: the CPU's words of a block of 32 hold such a range, and no larger one.
                data[i] = (uint8_t)(0x3e | (data[i] & 1));
            }
        }
        float *got[2];
        const Side *sides[] = {&rig.cpu, &rig.cuda};
        for (int s = 0; s < 2; s++) {
            Err err = ERR_INIT;
            KMatrix *table = side_matrix(sides[s], cases[c].type, 37, cases[c].width, data);
            KBuffer *out = side_buffer(sides[s], 6 * cases[c].width, NULL);
            CHECK_OK(sides[s]->ops->embed(sides[s]->stream, table, ids, 6, out, &err), &err);
            got[s] = side_read(sides[s], out, 6 * cases[c].width);
            sides[s]->ops->buffer_destroy(out);
            sides[s]->ops->matrix_destroy(table);
        }
        CHECK_INT(count_unequal(got[0], got[1], 6 * cases[c].width), 0);
    }
    rig_close(&rig);
}

/** RMSNorm of some rows, read as `form`. */
static float *norm(const Side *side, KType form, const float *x, size_t n_x, size_t dim,
                   const float *weight, const uint32_t *rows, size_t n_rows)
{
    Err err = ERR_INIT;
    KMatrix *identity = side_identity(side, form, dim);
    KActs *acts = side_acts(side, n_rows, dim, identity);
    KBuffer *in = side_buffer(side, n_x * dim, x), *w = side_buffer(side, dim, weight);
    CHECK_OK(side->ops->rms_norm(side->stream, in, w, 1e-5f, dim, rows, n_rows, acts, &err), &err);
    float *out = side_read_acts(side, identity, acts, n_rows, dim);
    side->ops->buffer_destroy(in);
    side->ops->buffer_destroy(w);
    side->ops->acts_destroy(acts);
    side->ops->matrix_destroy(identity);
    return out;
}

static void test_rms_norm__as_on_the_cpu(void)
{
    static const uint32_t rows[] = {4, 0, 4};
    static const struct {
        KType form;
        size_t dim;
        double tolerance;
    } cases[] = {{K_F32, 2, 2e-6},
                 {K_F32, 50, 2e-6},
                 {K_F32, 576, 2e-6},
                 {K_Q8_0, 96, 2e-4},
                 {K_Q8_0, 352, 2e-4}};
    Rig rig;
    rig_open(&rig, false);
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        arena_reset(&arena);
        size_t dim = cases[c].dim;
        float *x = random_floats(1, 5 * dim, 20), *weight = random_floats(2, dim, 1);
        memset(x + 2 * dim, 0, dim * sizeof(float)); // a row of zeros
        for (int gathered = 0; gathered < 2; gathered++) {
            const uint32_t *of = gathered ? rows : NULL;
            size_t n = gathered ? 3 : 5;
            float *want = norm(&rig.cpu, cases[c].form, x, 5, dim, weight, of, n);
            float *got = norm(&rig.cuda, cases[c].form, x, 5, dim, weight, of, n);
            CHECK(largest_difference(want, got, n * dim) <= cases[c].tolerance);
            float *again = norm(&rig.cuda, cases[c].form, x, 5, dim, weight, of, n);
            CHECK_INT(count_unequal(got, again, n * dim), 0);
        }
        float *all = norm(&rig.cuda, cases[c].form, x, 5, dim, weight, NULL, 5);
        float *one = norm(&rig.cuda, cases[c].form, x, 5, dim, weight, rows, 1);
        CHECK_INT(count_unequal(all + 4 * dim, one, dim), 0);
    }
    rig_close(&rig);
}

static void test_gather__rows(void)
{
    static const uint32_t rows[] = {3, 3, 0};
    Rig rig;
    rig_open(&rig, false);
    arena_reset(&arena);
    Err err = ERR_INIT;
    float *x = random_floats(1, 4 * 70, 1);
    KBuffer *in = side_buffer(&rig.cuda, 4 * 70, x), *out = side_buffer(&rig.cuda, 3 * 70, NULL);
    CHECK_OK(rig.cuda.ops->gather(rig.cuda.stream, in, 70, rows, 3, out, &err), &err);
    float *got = side_read(&rig.cuda, out, 3 * 70);
    for (size_t i = 0; i < 3; i++) {
        CHECK_INT(count_unequal(got + i * 70, x + rows[i] * 70, 70), 0);
    }
    rig.cuda.ops->buffer_destroy(in);
    rig.cuda.ops->buffer_destroy(out);
    rig_close(&rig);
}

typedef struct Logprobs {
    float values[4];
    int32_t argmax[2];
    ErrCode code;
} Logprobs;

static Logprobs logprobs(const Side *side, const float *logits, size_t vocab)
{
    static const int32_t targets[] = {0, 1, 2};
    int32_t last = (int32_t)vocab - 1;
    Logprobs out = {{0}, {-1, -1}, ERR_NONE};
    KLogprobRow rows[] = {{2, 3, targets, out.values, &out.argmax[0]},
                          {0, 1, &last, out.values + 3, &out.argmax[1]}};
    Err err = ERR_INIT;
    KBuffer *buffer = side_buffer(side, 3 * vocab, logits);
    side->ops->logprobs(side->stream, buffer, vocab, rows, 2, &err);
    out.code = err.code;
    side->ops->buffer_destroy(buffer);
    return out;
}

static void test_logprobs__as_on_the_cpu(void)
{
    static const size_t vocabs[] = {3, 40, 260, 4001};
    Rig rig;
    rig_open(&rig, false);
    for (size_t v = 0; v < sizeof(vocabs) / sizeof(vocabs[0]); v++) {
        arena_reset(&arena);
        size_t vocab = vocabs[v];
        float *logits = random_floats(1, 3 * vocab, 12);
        logits[2] = logits[1] = 13; // row 0: equals
        Logprobs want = logprobs(&rig.cpu, logits, vocab);
        Logprobs got = logprobs(&rig.cuda, logits, vocab);
        CHECK_INT(got.code, ERR_NONE);
        CHECK(largest_difference(want.values, got.values, 4) <= 2e-6);
        CHECK_INT(got.argmax[0], want.argmax[0]);
        CHECK_INT(got.argmax[1], 1);
        logits[2 * vocab + 1] = v % 2 ? NAN : -INFINITY;
        CHECK_INT(logprobs(&rig.cuda, logits, vocab).code, ERR_MODEL);
    }
    rig_close(&rig);
}

int main(void)
{
    tap_run("buffers", test_buffers__write_and_read);
    tap_run("a device that is not there", test_device__that_is_not_there);
    tap_run("embedding of every type", test_embed__every_type);
    tap_run("RMSNorm", test_rms_norm__as_on_the_cpu);
    tap_run("gather", test_gather__rows);
    tap_run("log-probabilities", test_logprobs__as_on_the_cpu);
    arena_finish(&arena);
    return tap_done();
}
