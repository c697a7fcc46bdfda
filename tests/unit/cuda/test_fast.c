// SPDX-License-Identifier: MIT
// --fast on emulated devices, with the stand-ins of cuBLASLt and NCCL: what they are asked for and
// what comes of it, beside the CPU and beside our own kernels; whole models on one device and on
// two; and libraries that are absent, do not start, or fail later: said in words or an error, never
// a hang.
#include "engine/forward.h"
#include "engine/gguf.h"
#include "kernels/cuda/vendor.h"
#include "kernels/emulate/control.h"

#include "../engine/tiny_gguf.h"
#include "fast_rig.h"

#include <stdlib.h>
#include <unistd.h>

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

static void check_nothing_stays(void)
{
    EmulateLive live;
    emulate_live(&live);
    CHECK_INT(live.allocations + live.host_allocations + live.streams + live.events, 0);
    CHECK_INT(live.blas_handles + live.nccl_ranks, 0);
}

// ---- Products -----------------------------------------------------------------------------------

/** out (rows, n_out) = x w^T, row by row in memory, is column by column out^T = w x^T. */
static void check_call(const Shape *s)
{
    EmulateBlasCall call;
    bool asked = emulate_blas_call(0, &call);
    CHECK_INT(asked, s->algo >= 0);
    if (!asked) {
        return;
    }
    int type = s->type == K_F16 ? BLAS_R_16F : BLAS_R_16BF;
    size_t k = (s->n_in + 31) / 32 * 32;
    CHECK(call.type_a == type && call.type_b == type && call.type_d == BLAS_R_32F);
    CHECK_INT(call.type_compute, BLAS_COMPUTE_32F);
    CHECK(call.trans_a == 1 && call.trans_b == 0);
    CHECK_INT(call.m, s->n_out);
    CHECK_INT(call.n, s->n_rows);
    CHECK_INT(call.k, k);
    CHECK(call.lead_a == (int64_t)k && call.lead_b == (int64_t)k);
    CHECK_INT(call.lead_d, s->n_out);
    CHECK_NEAR(call.beta, s->add ? 1 : 0, 0);
    CHECK_INT(call.algo, s->algo);
    CHECK(!emulate_blas_call(1, &call));
}

static void test_fast__asks_for_products(void)
{
    static const Shape shapes[] = {
        {__LINE__, K_BF16, 48, 96, 1, 1, false, -1},   {__LINE__, K_BF16, 40, 320, 9, 8, true, -1},
        {__LINE__, K_F16, 33, 64, 32, 1, true, -1},    {__LINE__, K_F16, 20, 44, 17, 8, false, -1},
        {__LINE__, K_BF16, 48, 96, 33, 1, false, 0},   {__LINE__, K_BF16, 40, 320, 64, 8, true, 1},
        {__LINE__, K_BF16, 130, 288, 100, 1, true, 0}, {__LINE__, K_F16, 140, 100, 70, 8, true, 0},
        {__LINE__, K_F16, 7, 288, 40, 1, false, 1},    {__LINE__, K_F16, 16, 32, 131, 1, false, 0},
    };
    Side fast;
    open_side(&fast, true, NULL);
    check_description(&fast, ", fast: cuBLASLt 13.0.0");
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        int failed = tap_checks_failed;
        arena_reset(&arena);
        emulate_reset();
        run_product(&fast, &shapes[i]);
        check_call(&shapes[i]);
        if (tap_checks_failed != failed) {
            printf("# line %d\n", shapes[i].line);
        }
    }
    side_close(&fast);
    check_nothing_stays();
}

/** One algorithm for 65 to 128 rows, whatever number comes first. */
static void test_fast__algorithms_are_pinned(void)
{
    static const size_t counts[] = {128, 65, 100, 64, 33};
    Side fast;
    EmulateBlasCall calls[5];
    arena_reset(&arena);
    emulate_reset();
    open_side(&fast, true, NULL);
    for (size_t i = 0; i < 5; i++) {
        Shape s = {__LINE__, K_BF16, 48, 256, counts[i], 1, false, 0};
        run_product(&fast, &s);
        CHECK(emulate_blas_call(i, &calls[i]));
        CHECK_INT(calls[i].n, counts[i]);
    }
    // The stand-in splits K of 256 for up to 64 rows, with a workspace for 64.
    CHECK(calls[0].split_k == 1 && calls[1].split_k == 1 && calls[2].split_k == 1);
    CHECK(calls[3].split_k == 2 && calls[4].split_k == 2);
    CHECK(calls[3].workspace == 48 * 64 * 4 && calls[4].workspace == 48 * 64 * 4);
    side_close(&fast);
}

/** Weights in blocks are not for cuBLASLt: the same bits, and it is not asked. */
static void test_fast__quantised_weights_stay(void)
{
    enum { N_OUT = 48, N_IN = 96, N = 70 };
    Side sides[2];
    float *got[2];
    arena_reset(&arena);
    emulate_reset();
    uint8_t *weights = arena_alloc(&arena, (size_t)N_OUT * N_IN / 32, 34);
    for (size_t i = 0; i < (size_t)N_OUT * N_IN / 32 * 34; i++) {
        weights[i] = i % 34 == 0 ? 0 : i % 34 == 1 ? 0x2c : (uint8_t)(rng_at(3, 1, i) * 256);
    }
    for (int i = 0; i < 2; i++) {
        open_side(&sides[i], i == 1, NULL);
        KMatrix *matrix = side_matrix(&sides[i], K_Q8_0, N_OUT, N_IN, weights);
        KActs *acts = side_acts(&sides[i], N, N_IN, matrix);
        side_fill_acts(&sides[i], acts, unit_rows(4, N, N_IN), random_floats(6, N_IN, 3), N, N_IN);
        got[i] = side_read_acts(&sides[i], matrix, acts, N, N_OUT);
        sides[i].ops->acts_destroy(acts);
        sides[i].ops->matrix_destroy(matrix);
        side_close(&sides[i]);
    }
    EmulateBlasCall call;
    CHECK_INT(count_unequal(got[0], got[1], (size_t)N * N_OUT), 0);
    CHECK(!emulate_blas_call(0, &call));
}

// ---- Without cuBLASLt ---------------------------------------------------------------------------

/** Our own kernels and their bits, and a reason. */
static void check_own(const char *words)
{
    Shape s = {__LINE__, K_BF16, 40, 96, 70, 8, true, -1};
    Side fast, own;
    EmulateBlasCall call;
    arena_reset(&arena);
    open_side(&fast, true, NULL);
    open_side(&own, false, NULL);
    check_description(&fast, words);
    float *got = run_product(&fast, &s);
    CHECK_INT(count_unequal(got, run_product(&own, &s), s.n_rows * s.n_out), 0);
    CHECK(!emulate_blas_call(0, &call));
    side_close(&fast);
    side_close(&own);
    check_nothing_stays();
}

static void test_fast__without_cublaslt(void)
{
    emulate_reset();
    emulate_without(true, false);
    check_own(", fast: no cuBLASLt");
    emulate_without(false, false);
    emulate_fail(EMULATE_FAIL_BLAS, 1);
    check_own(", fast: cuBLASLt does not start (error 3)");
}

static void test_fast__refused_with_f32(void)
{
    KDeviceOptions options = {.f32 = true, .fast = true};
    KDevice *device = NULL;
    Err err = ERR_INIT;
    CHECK(!muster_cuda_ops()->device_open(&options, &device, &err));
    CHECK_INT(err.code, ERR_USAGE);
    check_nothing_stays();
}

// ---- Models -------------------------------------------------------------------------------------

static bool model_fast;
static const char *model_ranks; // NULL: one device

static bool open_as_wished(const KDeviceOptions *options, KDevice **out, Err *err)
{
    KDeviceOptions own = *options;
    own.fast = model_fast;
    own.path = model_ranks;
    return muster_cuda_ops()->device_open(&own, out, err);
}

enum { N = 48, DECODED = 4, VOCAB = 320 };

static Str model_file(uint32_t type, uint32_t embed_type, bool untied)
{
    const char *folder = getenv("TMPDIR");
    Str path = str_printf(&arena, "%s/test_cuda_fast_%d.gguf", folder != NULL ? folder : "/tmp",
                          (int)getpid());
    TinyModel tiny = tiny_model_default();
    tiny.type = type;
    tiny.embed_type = embed_type;
    tiny.untied = untied;
    tiny.dim = 128;
    tiny.ffn_dim = 128;
    tiny.n_heads = 8;
    tiny.n_kv_heads = 4;
    tiny.vocab = VOCAB;
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&tiny, path, &err), &err);
    return path;
}

static int32_t token_at(size_t i)
{
    return (int32_t)(rng_at(9, 1, i) * 256);
}

/** N rows of logits of one path: the most at once, then one by one. ops NULL: CUDA as wished. */
static bool run_model(Str path, const KOps *ops, float *out, Err *err)
{
    memcpy(&cuda_test_ops, ops != NULL ? ops : muster_cuda_ops(), sizeof(cuda_test_ops));
    if (ops == NULL) {
        cuda_test_ops.device_open = open_as_wished;
    }
    EngineOptions options = {.model_path = path, .threads = 1, .device = STR("cpu")};
    Forward *forward = NULL;
    if (!forward_open(&options, &forward, err)) {
        return false;
    }
    BatchRow rows[N] = {{0}};
    KvExtent all = {.slot = 3, .n = N};
    bool ok = forward_pool_create(forward, 64, err);
    for (uint32_t from = 0, n = N - DECODED; ok && from < N; from += n, n = 1) {
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = (BatchRow){.token = token_at(from + i), .kind = ROW_LOGITS, .out = i};
        }
        BatchSpan span = {0, n, from, &all, 1};
        Batch batch = {.rows = rows, .n_rows = n, .spans = &span, .n_spans = 1};
        ok = forward_run(forward, &batch, out + (size_t)from * VOCAB, NULL, err);
    }
    forward_close(forward);
    return ok;
}

enum { REPLIES = 40, STEPS = 3 };

/** REPLIES replies side by side: steps that come again, whose products cuBLASLt takes in the middle
 * of what would be recorded. The last step's logits. */
static float *logits_of_replies(Str path, const KOps *ops)
{
    float *out = arena_alloc(&arena, (size_t)REPLIES * VOCAB, sizeof(float));
    memcpy(&cuda_test_ops, ops != NULL ? ops : muster_cuda_ops(), sizeof(cuda_test_ops));
    if (ops == NULL) {
        cuda_test_ops.device_open = open_as_wished;
    }
    EngineOptions options = {.model_path = path, .threads = 1, .device = STR("cpu")};
    Forward *forward = NULL;
    Err err = ERR_INIT;
    need(forward_open(&options, &forward, &err) &&
             forward_pool_create(forward, REPLIES * STEPS, &err),
         &err);
    for (uint32_t step = 0; step < STEPS; step++) {
        BatchRow rows[REPLIES];
        BatchSpan spans[REPLIES];
        KvExtent extents[REPLIES];
        for (uint32_t i = 0; i < REPLIES; i++) {
            rows[i] = (BatchRow){.token = token_at(i * STEPS + step), .kind = ROW_LOGITS, .out = i};
            extents[i] = (KvExtent){.slot = i * STEPS, .n = step + 1};
            spans[i] = (BatchSpan){i, 1, step, &extents[i], 1};
        }
        Batch batch = {.rows = rows, .n_rows = REPLIES, .spans = spans, .n_spans = REPLIES};
        CHECK_OK(forward_run(forward, &batch, out, NULL, &err), &err);
    }
    forward_close(forward);
    return out;
}

static float *logits_of(Str path, const KOps *ops)
{
    float *out = arena_alloc(&arena, (size_t)N * VOCAB, sizeof(float));
    Err err = ERR_INIT;
    CHECK_OK(run_model(path, ops, out, &err), &err);
    return out;
}

/** Of logits scaled so that most positions have a clear favourite, as in test_forward.c. */
static double logprob_of(const float *logits, int32_t id)
{
    const double scale = 0.5;
    double most = (double)logits[0], sum = 0;
    for (size_t t = 1; t < VOCAB; t++) {
        most = (double)logits[t] > most ? (double)logits[t] : most;
    }
    for (size_t t = 0; t < VOCAB; t++) {
        sum += exp(scale * ((double)logits[t] - most));
    }
    return scale * ((double)logits[id] - most) - log(sum);
}

/** Mean |log-probability difference| of a next token of n rows. */
static double mean_difference(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t next = token_at(i + 1);
        sum += fabs(logprob_of(a + i * VOCAB, next) - logprob_of(b + i * VOCAB, next));
    }
    return sum / (double)n;
}

static const struct {
    uint32_t type, embed_type;
    bool untied;
    bool blas; // takes some of its products
} models[] = {
    {GGUF_BF16, GGUF_BF16, false, true},
    {GGUF_F16, GGUF_BF16, true, true},
    {GGUF_Q4_1, GGUF_Q8_0, true, false},
};

static void check_models(const char *ranks)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        arena_reset(&arena);
        Str path = model_file(models[i].type, models[i].embed_type, models[i].untied);
        float *want = logits_of(path, &k_cpu_ops);
        emulate_reset();
        model_fast = true;
        model_ranks = ranks;
        float *got = logits_of(path, NULL);
        EmulateBlasCall call;
        CHECK_INT(emulate_blas_call(0, &call), models[i].blas);
        double mean = mean_difference(want, got, N);
        printf("# %s: mean %.2g nat\n", ranks != NULL ? ranks : "one device", mean);
        CHECK(mean <= 0.05);
        CHECK_INT(count_unequal(got, logits_of(path, NULL), (size_t)N * VOCAB), 0);
        unlink(path.data);
    }
    check_nothing_stays();
}

static void test_fast__models(void)
{
    check_models(NULL);
}

static void test_fast__steps_of_many_replies(void)
{
    arena_reset(&arena);
    emulate_reset();
    model_fast = true;
    model_ranks = NULL;
    Str path = model_file(GGUF_BF16, GGUF_BF16, false);
    float *want = logits_of_replies(path, &k_cpu_ops), *got = logits_of_replies(path, NULL);
    EmulateBlasCall call;
    CHECK(emulate_blas_call(0, &call) && call.n == REPLIES);
    CHECK(mean_difference(want, got, REPLIES) <= 0.05);
    CHECK_INT(count_unequal(got, logits_of_replies(path, NULL), (size_t)REPLIES * VOCAB), 0);
    unlink(path.data);
    check_nothing_stays();
}

// ---- Several devices ----------------------------------------------------------------------------

static void test_fast__models_on_two_devices(void)
{
    uint64_t before = emulate_count(EMULATE_FAIL_NCCL);
    check_models("tp=2");
    // Of 2 runs of 3 models: an id, 2 ranks, a trial; then 2 sums in 2 layers of 5 batches, each of
    // 2 ranks.
    CHECK_INT(emulate_count(EMULATE_FAIL_NCCL) - before, 6 * (1 + 2 + 2 + 2 * 2 * 5 * 2));
    check_models("tp=4");
}

/** The bits of two devices that are not fast. */
static void check_exact(Str path, const float *exact, const char *words)
{
    Side side;
    open_side(&side, true, "tp=2");
    check_description(&side, words);
    side_close(&side);
    model_fast = true;
    CHECK_INT(count_unequal(exact, logits_of(path, NULL), (size_t)N * VOCAB), 0);
    emulate_reset();
    check_nothing_stays();
}

static void test_fast__without_nccl(void)
{
    static const char *const steps[] = {"unhandled system error", "unhandled system error",
                                        "unhandled system error", "unhandled system error",
                                        "unhandled system error"};
    arena_reset(&arena);
    emulate_reset();
    Str path = model_file(GGUF_Q4_1, GGUF_Q8_0, true); // cuBLASLt takes none of it
    model_fast = false;
    model_ranks = "tp=2";
    float *exact = logits_of(path, NULL);
    emulate_without(true, true);
    check_exact(path, exact, ", 2 devices, fast: no cuBLASLt, no NCCL");
    emulate_without(false, true);
    check_exact(path, exact, ", 2 devices, fast: cuBLASLt 13.0.0, no NCCL");
    emulate_without(false, false);
    // Each call up to the end of the trial: the id, both ranks, both sums.
    for (uint64_t nth = 1; nth <= sizeof(steps) / sizeof(steps[0]); nth++) {
        Side side;
        emulate_fail(EMULATE_FAIL_NCCL, nth);
        open_side(&side, true, "tp=2");
        check_description(&side, ", fast: cuBLASLt 13.0.0, NCCL does not start (");
        check_description(&side, steps[nth - 1]);
        side_close(&side);
        emulate_fail(EMULATE_FAIL_NCCL, nth);
        CHECK_INT(count_unequal(exact, logits_of(path, NULL), (size_t)N * VOCAB), 0);
        emulate_reset();
        check_nothing_stays();
    }
    Side side;
    open_side(&side, true, "tp=2");
    check_description(&side, ", fast: cuBLASLt 13.0.0, NCCL 2.28.0");
    side_close(&side);
    unlink(path.data);
}

/** After the start nothing else can be done: an error, and nothing stays behind. */
static void test_fast__failures(void)
{
    static const EmulateFailure kinds[] = {EMULATE_FAIL_NCCL, EMULATE_FAIL_BLAS, EMULATE_FAIL_ALLOC,
                                           EMULATE_FAIL_CREATE, EMULATE_FAIL_KERNEL};
    arena_reset(&arena);
    emulate_reset();
    Str path = model_file(GGUF_BF16, GGUF_BF16, false);
    model_fast = true;
    model_ranks = "tp=2";
    float *want = logits_of(path, NULL), *got = arena_alloc(&arena, (size_t)N * VOCAB, 4);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        uint64_t before = emulate_count(kinds[k]);
        logits_of(path, NULL);
        uint64_t count = emulate_count(kinds[k]) - before, step = count / 12 + 1, errors = 0;
        for (uint64_t nth = count; nth > 0; nth = nth > step ? nth - step : 0) {
            Err err = ERR_INIT;
            emulate_reset();
            emulate_fail(kinds[k], nth);
            bool ok = run_model(path, NULL, got, &err);
            CHECK(ok || err.code == ERR_DEVICE || err.code == ERR_LIMIT);
            errors += !ok;
            emulate_fail(kinds[k], 0);
            emulate_reset();
            check_nothing_stays();
        }
        CHECK(errors > 0); // what fails at the start is done without
    }
    CHECK_INT(count_unequal(want, logits_of(path, NULL), (size_t)N * VOCAB), 0);
    unlink(path.data);
}

int main(void)
{
    EmulateOptions options;
    emulate_options(&options);
    options.n_devices = 4;
    emulate_configure(&options);
    tap_run("what is asked for", test_fast__asks_for_products);
    tap_run("algorithms are pinned", test_fast__algorithms_are_pinned);
    tap_run("quantised weights stay", test_fast__quantised_weights_stay);
    tap_run("without cuBLASLt", test_fast__without_cublaslt);
    tap_run("not with f32", test_fast__refused_with_f32);
    tap_run("models", test_fast__models);
    tap_run("steps of many replies", test_fast__steps_of_many_replies);
    tap_run("models on several devices", test_fast__models_on_two_devices);
    tap_run("without NCCL", test_fast__without_nccl);
    tap_run("failures", test_fast__failures);
    arena_finish(&arena);
    return tap_done();
}
