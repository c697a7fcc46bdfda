// SPDX-License-Identifier: MIT
// Whatever fails on the device - an allocation, a launch, a kernel while it runs, a copy - is an
// error that says so, leaves nothing behind, and lets the next attempt succeed with the same bits.
#include "engine/forward.h"
#include "engine/gguf.h"
#include "kernels/emulate/control.h"

#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <stdlib.h>
#include <unistd.h>

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

enum { N = 12 };

/** Open a model, make slots, run one batch, close. Only the logits of a run that succeeds count. */
static bool run_model(Str path, float *out, size_t vocab, Err *err)
{
    EngineOptions options = {.model_path = path, .threads = 1, .device = STR("cpu")};
    Forward *forward = NULL;
    if (!forward_open(&options, &forward, err)) {
        return false;
    }
    BatchRow rows[N] = {{0}};
    int32_t id = 0;
    const KPick pick = {.row = N - 1, .temperature = 1, .top_p = 0.9, .random = 0.5, .out_id = &id};
    TargetLogprob target = {0};
    int32_t next = 5;
    for (uint32_t i = 0; i < N; i++) {
        rows[i] = (BatchRow){.token = (int32_t)i * 7, .kind = ROW_KV};
    }
    rows[N - 2] = (BatchRow){1, ROW_RESULTS, 1, &next, 0, 0};
    rows[N - 1] = (BatchRow){.token = 2, .kind = ROW_LOGITS, .out = 0};
    KvExtent all = {.slot = 0, .n = N};
    BatchSpan span = {0, N, 0, &all, 1};
    Batch batch = {rows, N, &span, 1, &pick, 1};
    bool ok =
        forward_pool_create(forward, 64, err) && forward_run(forward, &batch, out, &target, err);
    out[vocab] = target.logprob + (float)id;
    forward_close(forward);
    return ok;
}

static Str path;
static size_t vocab;
static float *expected; // vocab + 1

/** Let the nth of a kind fail. Returns whether anything failed. */
static bool check_failure(EmulateFailure what, uint64_t nth)
{
    Err err = ERR_INIT;
    float *got = ARENA_ARRAY(&arena, float, vocab + 1);
    emulate_reset();
    emulate_fail(what, nth);
    bool ok = run_model(path, got, vocab, &err);
    if (ok) {
        CHECK_INT(count_unequal(expected, got, vocab + 1), 0);
    } else {
        CHECK(err.code == ERR_DEVICE || err.code == ERR_LIMIT);
        CHECK(err.message[0] != '\0' && err.n_frames > 0);
    }
    emulate_fail(what, 0);
    emulate_reset();
    EmulateLive live;
    emulate_live(&live);
    if (live.allocations + live.host_allocations + live.streams + live.events > 0) {
        printf(
            "# kind %d, number %llu: %zu allocations, %zu pinned, %zu streams, %zu events stay\n",
            (int)what, (unsigned long long)nth, live.allocations, live.host_allocations,
            live.streams, live.events);
        CHECK(false);
    }
    return !ok;
}

/** The first, the last and some in between; every one of kinds that are few. */
static void check_kind(EmulateFailure what)
{
    emulate_reset();
    uint64_t before = emulate_count(what);
    Err err = ERR_INIT;
    float *got = ARENA_ARRAY(&arena, float, vocab + 1);
    CHECK_OK(run_model(path, got, vocab, &err), &err);
    CHECK_INT(count_unequal(expected, got, vocab + 1), 0);
    uint64_t n = emulate_count(what) - before, step = n / 100 + 1, failed = 0, tried = 0;
    for (uint64_t nth = 1; nth <= n; nth += step) {
        tried++;
        failed += check_failure(what, nth);
    }
    printf("# kind %d: %llu of %llu tried\n", (int)what, (unsigned long long)tried,
           (unsigned long long)n);
    CHECK(n > 0);
    CHECK_INT(failed, tried);
    CHECK(!check_failure(what, n + 1));
}

static void setup(void)
{
    memcpy(&cuda_test_ops, muster_cuda_ops(), sizeof(cuda_test_ops));
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/test_cuda_failures_%d.gguf", folder != NULL ? folder : "/tmp",
                      (int)getpid());
    TinyModel tiny = tiny_model_default();
    tiny.dim = 32;
    tiny.ffn_dim = 32;
    tiny.n_heads = 2;
    tiny.n_kv_heads = 1;
    vocab = tiny.vocab;
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&tiny, path, &err), &err);
    expected = ARENA_ARRAY(&arena, float, vocab + 1);
    CHECK_OK(run_model(path, expected, vocab, &err), &err);
}

static void test_failures__allocations(void)
{
    check_kind(EMULATE_FAIL_ALLOC);
    check_kind(EMULATE_FAIL_HOST);
    check_kind(EMULATE_FAIL_CREATE);
}

static void test_failures__launches(void)
{
    check_kind(EMULATE_FAIL_LAUNCH);
}

static void test_failures__lost_device(void)
{
    check_kind(EMULATE_FAIL_KERNEL);
    check_kind(EMULATE_FAIL_COPY);
}

/** A pool that is too large for the device says how much there is; a smaller one fits after it. */
static void test_failures__pool_too_large(void)
{
    Rig rig;
    rig_open(&rig, false);
    Err err = ERR_INIT;
    KHeads heads = {2, 2, 64, 64};
    KKv *kv = NULL;
    CHECK(!rig.cuda.ops->kv_create(rig.cuda.device, &heads, 100, 1u << 20, &kv, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    CHECK(strstr(err.message, "MiB are free") != NULL);
    Err second = ERR_INIT;
    CHECK_OK(rig.cuda.ops->kv_create(rig.cuda.device, &heads, 10, 1u << 10, &kv, &second), &second);
    rig.cuda.ops->kv_destroy(kv);
    rig_close(&rig);
}

int main(void)
{
    tap_run("a model runs", setup);
    tap_run("allocations", test_failures__allocations);
    tap_run("launches", test_failures__launches);
    tap_run("a lost device", test_failures__lost_device);
    tap_run("a pool that is too large", test_failures__pool_too_large);
    unlink(path.data);
    arena_finish(&arena);
    return tap_done();
}
