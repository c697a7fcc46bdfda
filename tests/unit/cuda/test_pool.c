// SPDX-License-Identifier: MIT
// The pool of keys and values in a device's own memory: as large as is needed or as there is room
// for, smaller where less is there than was asked for, and an error with the numbers where nothing
// fits. Results are the same in all of them.
#include "engine/engine.h"
#include "kernels/emulate/control.h"

#include "../engine/requests.h"
#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <stdlib.h>
#include <unistd.h>

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

enum { N = 4 };

static Str path;
static RequestSet set;
static size_t slot_bytes;
static Hash expected;

static void memory_set(size_t bytes)
{
    EmulateOptions options;
    emulate_options(&options);
    options.memory_bytes = bytes;
    emulate_configure(&options);
}

typedef struct Outcome {
    EngineStats stats;
    Hash digest;
    size_t n_failed;
    Err err; // of opening
} Outcome;

static Err failure; // of the last request that failed

static void take(void *ctx, uint64_t id, const EngineResult *result)
{
    if (result->err != NULL) {
        failure = *result->err;
    }
    sink_take(ctx, id, result);
}

/** room: bytes that the device has left when the requests are handed in; fail_alloc: the nth
 * allocation from then on. */
static bool run_requests(uint64_t kv_bytes, size_t room, uint64_t fail_alloc, Outcome *out)
{
    EngineOptions options = {
        .model_path = path, .device = STR("cpu"), .threads = 1, .kv_bytes = kv_bytes};
    Sink sink;
    Engine *engine = NULL;
    *out = (Outcome){0};
    sink_init(&sink);
    memory_set(0);
    if (!engine_open(&options, take, &sink, &engine, &out->err)) {
        return false;
    }
    for (size_t i = 0; i < set.n; i++) {
        CHECK_OK(engine_submit(engine, i, &set.requests[i], &out->err), &out->err);
    }
    EmulateLive live;
    emulate_live(&live);
    memory_set(live.bytes + room);
    emulate_fail(EMULATE_FAIL_ALLOC, fail_alloc);
    engine_quiesce(engine, true);
    sink_wait(&sink, set.n);
    emulate_fail(EMULATE_FAIL_ALLOC, 0);
    engine_stats(engine, &out->stats);
    out->n_failed = sink.n_failed;
    out->digest = sink_digest(&sink, set.n);
    engine_close(engine);
    return true;
}

static void setup(void)
{
    memcpy(&cuda_test_ops, muster_cuda_ops(), sizeof(cuda_test_ops));
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/test_cuda_pool_%d.gguf", folder != NULL ? folder : "/tmp",
                      (int)getpid());
    TinyModel tiny = tiny_model_default();
    tiny.dim = tiny.ffn_dim = 32;
    tiny.n_heads = 2;
    tiny.n_kv_heads = 1;
    tiny.context = 1024;
    slot_bytes = 2 * tiny.n_layers * 32 * sizeof(uint16_t); // keys and values, stride 32
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&tiny, path, &err), &err);
    request_set_make(&set, 122, N, 256);
    Outcome out;
    uint64_t n_graphs = emulate_count(EMULATE_FAIL_GRAPH);
    CHECK(run_requests(4 << 20, 8 << 20, 0, &out));
    CHECK(emulate_count(EMULATE_FAIL_GRAPH) > n_graphs); // steps are replayed
    CHECK_INT(out.n_failed, 0);
    CHECK_INT(out.stats.kv_pool_bytes, 4 << 20);
    CHECK_INT(out.stats.kv_asked_bytes, 0);
    expected = out.digest;
}

static void check_outcome(const Outcome *out)
{
    CHECK_INT(out->n_failed, 0);
    CHECK(hash_eq(&out->digest, &expected));
}

/** Less than the two gigabytes that a pool has at least. */
static void test_pool__of_a_small_device(void)
{
    static const size_t room[] = {24 << 20, 2 << 20};
    for (size_t i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
        Outcome out;
        CHECK(run_requests(0, room[i], 0, &out));
        check_outcome(&out);
        CHECK(out.stats.kv_pool_bytes <= room[i] / 4 * 3);
        CHECK(out.stats.kv_pool_bytes > room[i] / 2);
        CHECK_INT(out.stats.kv_asked_bytes, 0);
    }
}

/** More was asked for than there is. */
static void test_pool__asked_for_too_much(void)
{
    Outcome out;
    CHECK(run_requests((uint64_t)1 << 30, 8 << 20, 0, &out));
    check_outcome(&out);
    CHECK(out.stats.kv_pool_bytes <= 8 << 20 && out.stats.kv_pool_bytes > 4 << 20);
    CHECK_INT(out.stats.kv_asked_bytes, 1 << 30);
}

/** The device says no to what it said it had. */
static void test_pool__allocation_fails(void)
{
    for (uint64_t nth = 1; nth <= 2; nth++) { // keys, values
        Outcome out;
        CHECK(run_requests(4 << 20, 8 << 20, nth, &out));
        check_outcome(&out);
        CHECK_INT(out.stats.kv_pool_bytes, 3 << 20);
        CHECK_INT(out.stats.kv_asked_bytes, 4 << 20);
    }
}

static void test_pool__nothing_fits(void)
{
    Outcome out;
    CHECK(run_requests(0, 4096, 0, &out));
    CHECK_INT(out.n_failed, set.n);
    CHECK_INT(failure.code, ERR_LIMIT);
    CHECK(strstr(failure.message, "keys and values of 64 tokens: device 0 has no") != NULL);
    CHECK(strstr(failure.message, "MiB are free") != NULL);
    CHECK(run_requests(0, 8 << 20, 0, &out));
    check_outcome(&out);
    EmulateLive live;
    emulate_live(&live);
    CHECK_INT(live.allocations + live.host_allocations + live.streams + live.events + live.graphs,
              0);
}

int main(void)
{
    tap_run("the requests run", setup);
    tap_run("a small device", test_pool__of_a_small_device);
    tap_run("too much was asked for", test_pool__asked_for_too_much);
    tap_run("an allocation fails", test_pool__allocation_fails);
    tap_run("nothing fits", test_pool__nothing_fits);
    unlink(path.data);
    request_set_finish(&set);
    arena_finish(&arena);
    return tap_done();
}
