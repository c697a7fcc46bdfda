// SPDX-License-Identifier: MIT
// Tensor parallelism over emulated devices: whole models give the bits of one device on two and on
// four, prefilled and decoded; what can not be cut is refused with the reason; failures on any of
// the devices are errors that leave nothing behind.
#include "engine/forward.h"
#include "engine/gguf.h"
#include "kernels/emulate/control.h"

#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <stdlib.h>
#include <unistd.h>

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

static const char *ranks; // "tp=2"

static bool open_ranks(const KDeviceOptions *options, KDevice **out, Err *err)
{
    KDeviceOptions own = *options;
    own.path = ranks;
    return muster_cuda_ops()->device_open(&own, out, err);
}

typedef struct Model {
    int line;
    uint32_t type, embed_type;
    bool untied;
    uint32_t dim, ffn_dim, n_heads, n_kv_heads, vocab;
    Precision precision;
} Model;

enum { N = 40, DECODED = 3 };

static Str model_file(const Model *m)
{
    const char *folder = getenv("TMPDIR");
    Str path = str_printf(&arena, "%s/test_cuda_ranks_%d.gguf", folder != NULL ? folder : "/tmp",
                          (int)getpid());
    TinyModel tiny = tiny_model_default();
    tiny.type = m->type;
    tiny.embed_type = m->embed_type;
    tiny.untied = m->untied;
    tiny.dim = m->dim;
    tiny.ffn_dim = m->ffn_dim;
    tiny.n_heads = m->n_heads;
    tiny.n_kv_heads = m->n_kv_heads;
    tiny.vocab = m->vocab;
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&tiny, path, &err), &err);
    return path;
}

/** A prompt with log-probabilities at some rows, then tokens one by one; results to out: N rows of
 *  logits, then log-probabilities, then what was picked. */
static bool run_model(Str path, const Model *m, float *out, Err *err)
{
    EngineOptions options = {
        .model_path = path, .precision = m->precision, .threads = 1, .device = STR("cpu")};
    Forward *forward = NULL;
    if (!forward_open(&options, &forward, err)) {
        return false;
    }
    TargetLogprob logprobs[N] = {{0}};
    BatchRow rows[N] = {{0}};
    int32_t target = (int32_t)m->vocab - 1;
    for (uint32_t i = 0; i < N; i++) {
        rows[i] = (BatchRow){(int32_t)(rng_at(9, 1, i) * 256), ROW_LOGITS, 1, &target, i, i};
    }
    rows[3].kind = rows[4].kind = ROW_KV; // so that the last layer gathers
    rows[3].n_targets = rows[4].n_targets = 0;
    KvExtent all = {.slot = 5, .n = N};
    KPick picks[N];
    int32_t ids[N] = {0}, top[N];
    float own[N] = {0}, best[N];
    bool ok = forward_pool_create(forward, 64, err);
    for (uint32_t from = 0, n = N - DECODED; ok && from < N; from += n, n = 1) {
        uint32_t n_picks = 0;
        for (uint32_t i = from; i < from + n; i++) {
            rows[i].out = i - from;
            if (i < N - DECODED &&
                i % 8 != 5) { // a pick takes long here; rows 3 and 4 have no logits
                continue;
            }
            picks[n_picks++] = (KPick){.row = i - from,
                                       .temperature = i / 8 % 3,
                                       .top_p = i / 8 % 2 == 0 ? 1 : 0.9,
                                       .random = rng_at(9, 2, i),
                                       .out_id = &ids[i],
                                       .out_logprob = &own[i],
                                       .n_top = 1,
                                       .out_top_ids = &top[i],
                                       .out_top_logprobs = &best[i]};
        }
        BatchSpan span = {0, n, from, &all, 1};
        Batch batch = {rows + from, n, &span, 1, picks, n_picks};
        ok = forward_run(forward, &batch, out + from * m->vocab, logprobs, err);
    }
    for (uint32_t i = 0; i < N; i++) {
        out[N * m->vocab + i] = logprobs[i].logprob;
        out[N * m->vocab + N + i] = (float)ids[i] + own[i];
    }
    forward_close(forward);
    return ok;
}

static void test_ranks__give_the_bits_of_one(void)
{
    static const Model models[] = {
        {__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 128, 128, 8, 4, 320, PRECISION_DEFAULT},
        {__LINE__, GGUF_Q4_0, GGUF_Q4_0, true, 128, 256, 4, 4, 301, PRECISION_DEFAULT},
        {__LINE__, GGUF_BF16, GGUF_F16, true, 128, 128, 4, 4, 300, PRECISION_DEFAULT},
        {__LINE__, GGUF_Q8_0, GGUF_F32, true, 128, 128, 8, 8, 320, PRECISION_F32},
    };
    static const char *const counts[] = {"tp=1", "tp=2", "tp=4"};
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        arena_reset(&arena);
        const Model *m = &models[i];
        Str path = model_file(m);
        size_t n = N * (size_t)m->vocab + 2 * N;
        float *got[3];
        for (int c = 0; c < 3; c++) {
            Err err = ERR_INIT;
            ranks = counts[c];
            got[c] = ARENA_ARRAY(&arena, float, n);
            CHECK_OK(run_model(path, m, got[c], &err), &err);
        }
        size_t two = count_unequal(got[0], got[1], n), four = count_unequal(got[0], got[2], n);
        if (two + four > 0) {
            printf("# line %d: %zu and %zu of %zu\n", m->line, two, four, n);
        }
        CHECK_INT(two, 0);
        CHECK_INT(four, 0);
        unlink(path.data);
    }
}

static void test_ranks__what_can_not_be_cut(void)
{
    static const struct {
        Model model;
        const char *ranks;
        ErrCode code;
    } cases[] = {
        {{__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 96, 128, 6, 2, 320, PRECISION_DEFAULT},
         "tp=4",
         ERR_UNSUPPORTED},
        {{__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 64, 96, 4, 4, 320, PRECISION_DEFAULT},
         "tp=2",
         ERR_UNSUPPORTED},
        {{__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 64, 128, 4, 4, 320, PRECISION_DEFAULT},
         "tp=3",
         ERR_USAGE},
        {{__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 64, 128, 4, 4, 320, PRECISION_DEFAULT},
         "tp=8",
         ERR_ENVIRONMENT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        arena_reset(&arena);
        Err err = ERR_INIT;
        Str path = model_file(&cases[i].model);
        float *out = ARENA_ARRAY(&arena, float, N *(size_t)cases[i].model.vocab + 2 * N);
        ranks = cases[i].ranks;
        CHECK(!run_model(path, &cases[i].model, out, &err));
        CHECK_INT(err.code, cases[i].code);
        unlink(path.data);
    }
}

static void test_ranks__failures(void)
{
    static const Model model = {__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 64,
                                64,       2,         2,         320,   PRECISION_DEFAULT};
    arena_reset(&arena);
    Str path = model_file(&model);
    size_t n = N * (size_t)model.vocab + 2 * N;
    float *expected = ARENA_ARRAY(&arena, float, n), *got = ARENA_ARRAY(&arena, float, n);
    ranks = "tp=2";
    Err err = ERR_INIT;
    CHECK_OK(run_model(path, &model, expected, &err), &err);
    static const EmulateFailure kinds[] = {EMULATE_FAIL_ALLOC, EMULATE_FAIL_HOST,
                                           EMULATE_FAIL_CREATE, EMULATE_FAIL_LAUNCH,
                                           EMULATE_FAIL_COPY};
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        uint64_t before = emulate_count(kinds[k]);
        CHECK_OK(run_model(path, &model, got, &err), &err);
        uint64_t count = emulate_count(kinds[k]) - before, step = count / 12 + 1;
        size_t n_failed = 0, n_tried = 0;
        for (uint64_t nth = 1; nth <= count; nth += step) {
            Err failure = ERR_INIT;
            emulate_reset();
            emulate_fail(kinds[k], nth);
            // What a trial of kernels lacks, the run can do without.
            bool ok = run_model(path, &model, got, &failure);
            bool expected_code = failure.code == ERR_DEVICE || failure.code == ERR_LIMIT;
            n_failed += !ok;
            n_tried++;
            if (ok) {
                expected_code = count_unequal(expected, got, n) == 0;
            }
            if (!expected_code) {
                printf("# failure %llu of kind %d: %s\n", (unsigned long long)nth, kinds[k],
                       failure.message);
            }
            CHECK(expected_code);
            emulate_fail(kinds[k], 0);
            emulate_reset();
            EmulateLive live;
            emulate_live(&live);
            CHECK_INT(live.allocations + live.host_allocations + live.streams + live.events, 0);
        }
        CHECK(n_failed > n_tried / 2);
    }
    CHECK_OK(run_model(path, &model, got, &err), &err);
    CHECK_INT(count_unequal(expected, got, n), 0);
    unlink(path.data);
}

int main(void)
{
    EmulateOptions options;
    emulate_options(&options);
    options.n_devices = 4;
    emulate_configure(&options);
    memcpy(&cuda_test_ops, muster_cuda_ops(), sizeof(cuda_test_ops));
    cuda_test_ops.device_open = open_ranks;
    tap_run("ranks give the bits of one device", test_ranks__give_the_bits_of_one);
    tap_run("what can not be cut", test_ranks__what_can_not_be_cut);
    tap_run("failures", test_ranks__failures);
    arena_finish(&arena);
    return tap_done();
}
