// SPDX-License-Identifier: MIT
// Which kernel takes a product: all that can give the same bits, each is chosen by some stopwatch,
// the choice is made once for a shape, and without memory for a trial the product is right, too.
#include "kernels/cuda/product.cuh"
#include "kernels/emulate/control.h"

extern "C" {
#include "../tap.h"
}

#include <stdlib.h>
#include <string.h>
#include <vector>

enum { N_OUT = 152, N_IN = 320 };

typedef struct Bench {
    const KOps *ops;
    KDevice *device;
    KStream *stream;
    KMatrix *matrix;
    KActs *acts;
    KBuffer *out;
    ProductsView view;
} Bench;

static Err err;

static void emulate_as(uint64_t seed, size_t shared_bytes)
{
    EmulateOptions options = {seed, false, false, 1, 0, shared_bytes};
    emulate_configure(&options);
}

static KBuffer *random_buffer(const Bench *b, size_t n, uint64_t seed)
{
    KBuffer *buffer = NULL;
    std::vector<float> x(n);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(int32_t)(seed >> 32) * 0x1p-31f;
    }
    CHECK_OK(b->ops->buffer_create(b->device, n, &buffer, &err), &err);
    CHECK_OK(b->ops->buffer_write(b->stream, buffer, 0, x.data(), n, &err), &err);
    return buffer;
}

/** Weights under 1/4 in size, of any type. */
static void random_weights(KType type, size_t n_in, std::vector<uint8_t> &data)
{
    size_t unit = type == K_Q4_0 ? 18 : type == K_Q4_1 ? 20 : type == K_Q8_0 ? 34 : 2;
    data.resize((size_t)N_OUT * (unit == 2 ? n_in : n_in / 32) * unit);
    uint64_t seed = 5;
    for (size_t i = 0; i < data.size(); i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(seed >> 40);
        bool exponent = i % unit == 1 || (type == K_Q4_1 && i % unit == 3);
        data[i] =
            !exponent ? data[i] : (uint8_t)((data[i] & 0x83) | (type == K_BF16 ? 0x3c : 0x20));
    }
}

static void bench_open(Bench *b, KType type, size_t n_rows, int n_segments, size_t n_in = N_IN)
{
    std::vector<uint8_t> weights;
    KDeviceOptions options = {};
    *b = Bench{};
    b->ops = muster_cuda_ops();
    random_weights(type, n_in, weights);
    CHECK_OK(
        b->ops->device_open(&options, &b->device, &err) &&
            b->ops->stream_create(b->device, &b->stream, &err) &&
            b->ops->matrix_create(b->device, type, N_OUT, n_in, weights.data(), &b->matrix, &err) &&
            b->ops->acts_create(b->device, n_rows, n_in, &b->matrix, 1, &b->acts, &err),
        &err);
    b->out = random_buffer(b, n_rows * N_OUT, 1);
    KBuffer *x = random_buffer(b, n_rows * n_in, 2), *size = random_buffer(b, n_in, 3);
    CHECK_OK(b->ops->rms_norm(b->stream, x, size, 1e-5f, n_in, NULL, n_rows, b->acts, &err), &err);
    CHECK_OK(b->ops->stream_sync(b->stream, &err), &err);
    b->ops->buffer_destroy(x);
    b->ops->buffer_destroy(size);
    void *partials;
    CHECK_OK(cuda_scratch(b->stream, K_SEGMENTS * n_rows * N_OUT * sizeof(float), &partials, &err),
             &err);
    b->view.n_products = 1;
    b->view.type = type;
    b->view.n_segments = n_segments;
    b->view.n_rows = (uint32_t)n_rows;
    b->view.n_blocks = b->matrix->n_blocks;
    b->view.x = b->acts->view;
    b->view.partials = (float *)partials;
    b->view.products[0].weights = b->matrix->records;
    b->view.products[0].out = b->out->data;
    b->view.products[0].n_out = N_OUT;
}

static void bench_close(Bench *b)
{
    b->ops->buffer_destroy(b->out);
    b->ops->acts_destroy(b->acts);
    b->ops->matrix_destroy(b->matrix);
    b->ops->stream_destroy(b->stream);
    b->ops->device_close(b->device);
}

static std::vector<float> outputs(const Bench *b)
{
    std::vector<float> out((size_t)b->view.n_rows * N_OUT);
    CHECK_OK(b->ops->buffer_read(b->stream, b->out, 0, out.data(), out.size(), &err), &err);
    return out;
}

static bool same_bits(const std::vector<float> &a, const std::vector<float> &b)
{
    return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

static bool is_finite(const std::vector<float> &a)
{
    for (float x : a) {
        if (!(x > -1e6f && x < 1e6f)) {
            return false;
        }
    }
    return true;
}

// ---- Tests --------------------------------------------------------------------------------------

static void test_kernels__same_bits(void)
{
    static const KType types[] = {K_F16, K_BF16, K_Q8_0, K_Q4_0, K_Q4_1};
    static const size_t rows[] = {33, 129, 258};
    for (KType type : types) {
        for (size_t n_rows : rows) {
            Bench b;
            int n_segments = n_rows == 129 ? K_SEGMENTS : 1;
            bench_open(&b, type, n_rows, n_segments);
            CHECK_OK(products_few(b.stream, &b.view, &err), &err);
            std::vector<float> want = outputs(&b);
            CHECK(is_finite(want));
            for (int k = PRODUCT_64; k < (is_half(type) ? PRODUCT_KERNELS : PRODUCT_128); k++) {
                if (products_many_shared(type, (ProductKernel)k) > b.device->shared_bytes) {
                    continue;
                }
                std::vector<float> zeros(want.size());
                CHECK_OK(b.ops->buffer_write(b.stream, b.out, 0, zeros.data(), zeros.size(), &err),
                         &err);
                CHECK_OK(products_many(b.stream, &b.view, (ProductKernel)k, &err), &err);
                CHECK(same_bits(want, outputs(&b)));
            }
            bench_close(&b);
        }
    }
}

static void test_choices__by_the_stopwatch(void)
{
    const uint32_t all = (1u << PRODUCT_KERNELS) - 1, fit = all & ~(1u << PRODUCT_256);
    uint32_t seen[2] = {0, 0}; // with little shared memory, with much
    for (uint64_t seed = 1; seed <= 200 && (seen[0] != fit || seen[1] != all); seed++) {
        size_t much = seed % 2;
        emulate_as(seed, much ? 0 : 99 * 1024);
        Bench b;
        bench_open(&b, K_BF16, seed % 4 < 2 ? 66 : 130, 1, 64);
        CHECK_OK(products_few(b.stream, &b.view, &err), &err);
        std::vector<float> want = outputs(&b);
        for (int again = 0; again < 2; again++) {
            CHECK_OK(products_chosen(b.stream, &b.view, &err), &err);
            CHECK(same_bits(want, outputs(&b)));
            CHECK_INT(b.stream->n_choices, 1);
        }
        seen[much] |= 1u << b.stream->choices[0].kernel;
        bench_close(&b);
    }
    CHECK_INT(seen[1], all);
    CHECK_INT(seen[0], fit);
    emulate_as(0, 0);
}

/** What is added to is added to once. */
static void test_choices__add(void)
{
    Bench b;
    bench_open(&b, K_F16, 70, K_SEGMENTS);
    b.view.products[0].add = 1;
    std::vector<float> before = outputs(&b);
    CHECK_OK(products_few(b.stream, &b.view, &err), &err);
    std::vector<float> want = outputs(&b);
    CHECK(!same_bits(before, want));
    CHECK_OK(b.ops->buffer_write(b.stream, b.out, 0, before.data(), before.size(), &err), &err);
    CHECK_OK(products_chosen(b.stream, &b.view, &err), &err);
    CHECK(same_bits(want, outputs(&b)));
    bench_close(&b);
}

static void test_choices__without_memory(void)
{
    for (EmulateFailure failure : {EMULATE_FAIL_ALLOC, EMULATE_FAIL_CREATE}) {
        for (uint64_t nth = 1; nth <= (failure == EMULATE_FAIL_CREATE ? 2 : 1); nth++) {
            Bench b;
            bench_open(&b, K_BF16, 70, 1);
            CHECK_OK(products_few(b.stream, &b.view, &err), &err);
            std::vector<float> want = outputs(&b);
            emulate_fail(failure, nth);
            CHECK_OK(products_chosen(b.stream, &b.view, &err), &err);
            CHECK(same_bits(want, outputs(&b)));
            CHECK_INT(b.stream->n_choices, 1);
            emulate_reset();
            bench_close(&b);
        }
    }
}

/** Launches and kernels of a trial that fail are errors of the product, and nothing is chosen. */
static void test_choices__failures(void)
{
    for (EmulateFailure failure : {EMULATE_FAIL_LAUNCH, EMULATE_FAIL_KERNEL}) {
        for (uint64_t nth = 1; nth <= 9; nth += 4) {
            Bench b;
            GpuRecorder recorder = {};
            bench_open(&b, K_Q8_0, 40, 1);
            recorder.stream = b.stream->gpu;
            gpu_recorder = &recorder;
            emulate_fail(failure, nth);
            Err why = {};
            bool first = nth < 7; // 2 kernels x 3 rounds are tried, then one is kept
            CHECK(products_chosen(b.stream, &b.view, &why) != first);
            CHECK_INT(b.stream->n_choices, first ? 0 : 1);
            CHECK(gpu_recorder == &recorder);
            CHECK(!first || why.code == ERR_DEVICE);
            gpu_recorder = NULL;
            free(recorder.calls);
            emulate_fail(failure, 0);
            emulate_reset();
            bench_close(&b);
        }
    }
}

/** Where there is nothing to choose nothing is tried. */
static void test_choices__one_kernel(void)
{
    Bench b;
    bench_open(&b, K_Q4_0, 130, 1);
    CHECK_OK(products_few(b.stream, &b.view, &err), &err);
    std::vector<float> want = outputs(&b);
    CHECK_OK(products_chosen(b.stream, &b.view, &err), &err);
    CHECK(same_bits(want, outputs(&b)));
    CHECK_INT(b.stream->n_choices, 0);
    b.view.products[0].n_out = 65535 * TILE;
    CHECK(products_few_can(&b.view));
    b.view.products[0].n_out++;
    CHECK(!products_few_can(&b.view));
    bench_close(&b);
}

/** More shapes than there is room for. */
static void test_choices__oldest_go(void)
{
    Bench b;
    bench_open(&b, K_Q8_0, 33, 1);
    CHECK_OK(products_few(b.stream, &b.view, &err), &err);
    std::vector<float> want = outputs(&b);
    b.stream->n_choices = PRODUCT_CHOICES - 2; // of shapes without rows, which none has
    for (uint32_t i = PRODUCT_CHOICES - 2; i < PRODUCT_CHOICES + 2; i++) {
        b.stream->choices[(i - 1) % PRODUCT_CHOICES].rows = 0;
        CHECK_OK(products_chosen(b.stream, &b.view, &err), &err);
        CHECK_INT(b.stream->n_choices, i + 1);
        CHECK_INT(b.stream->choices[i % PRODUCT_CHOICES].rows, 64);
    }
    CHECK_OK(products_chosen(b.stream, &b.view, &err), &err); // the newest is known
    CHECK_INT(b.stream->n_choices, PRODUCT_CHOICES + 2);
    CHECK(same_bits(want, outputs(&b)));
    bench_close(&b);
}

int main(void)
{
    tap_run("all kernels give the same bits", test_kernels__same_bits);
    tap_run("the stopwatch chooses, once", test_choices__by_the_stopwatch);
    tap_run("a trial adds nothing", test_choices__add);
    tap_run("no memory for a trial", test_choices__without_memory);
    tap_run("failures in a trial", test_choices__failures);
    tap_run("nothing to choose", test_choices__one_kernel);
    tap_run("the oldest choices go", test_choices__oldest_go);
    return tap_done();
}
