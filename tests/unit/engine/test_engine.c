// SPDX-License-Identifier: MIT
// The engine from requests to results on a small random model, the kernels' own table wrapped to
// count rows: every distinct prefix is computed once, as counted from the requests alone; and small
// pools, late arrivals and other orders change no bit of any result.
#include "engine/engine.h"
#include "kernels/kernels.h"

#include "../tap.h"
#include "requests.h"
#include "tiny_gguf.h"

#include <stdlib.h>
#include <unistd.h>

// forward.c is compiled for this test with k_cpu_ops renamed to this.
extern KOps counting_ops;
KOps counting_ops;
static uint64_t n_rows_embedded;

static bool counting_embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                           KBuffer *out, Err *err)
{
    n_rows_embedded += n_rows; // every row of a batch starts here
    return k_cpu_ops.embed(stream, table, ids, n_rows, out, err);
}

static Str path;

enum { N_REQUESTS = 120, SLOT_BYTES = 2 * 2 * (16 * 2 + 4) * 2 };

typedef struct Corner {
    int threads;
    int64_t batch;
    int64_t rows;
    int64_t piece;
    uint64_t kv_slots; // 0: default
    int waves;         // requests come in so many lots, each after the one before
    bool backwards;
} Corner;

static void run_corner(const RequestSet *set, const Corner *corner, Sink *sink, EngineStats *stats)
{
    sink_init(sink);
    Engine *engine = NULL;
    Err err = ERR_INIT;
    EngineOptions options = {.model_path = path,
                             .threads = corner->threads,
                             .max_batch = corner->batch,
                             .max_rows = corner->rows,
                             .max_piece = corner->piece,
                             .kv_bytes = corner->kv_slots * SLOT_BYTES};
    n_rows_embedded = 0;
    if (!CHECK_OK(engine_open(&options, sink_take, sink, &engine, &err), &err)) {
        return;
    }
    size_t per_wave = set->n / (size_t)corner->waves;
    for (size_t i = 0; i < set->n; i++) {
        size_t id = corner->backwards ? set->n - 1 - i : i;
        CHECK_OK(engine_submit(engine, id, &set->requests[id], &err), &err);
        if ((i + 1) % per_wave == 0 || i + 1 == set->n) {
            engine_quiesce(engine, i + 1 == set->n);
            sink_wait(sink, i + 1);
        }
    }
    engine_stats(engine, stats);
    engine_close(engine);
}

static void test_engine__computes_what_is_needed(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        RequestSet set;
        request_set_make(&set, seed, N_REQUESTS, 256);
        uint64_t needed = request_set_distinct(&set);
        Corner corner = {.threads = 1, .waves = 1, .rows = seed % 2 == 0 ? 16 : 0};
        Sink sink;
        EngineStats stats;
        run_corner(&set, &corner, &sink, &stats);
        CHECK_INT(sink.n_failed, 0);
        CHECK_INT(stats.prefill_tokens_needed, needed);
        CHECK_INT(stats.prefill_tokens_computed, needed);
        CHECK_INT(n_rows_embedded, needed + sink.n_decode_rows); // what the kernels saw
        CHECK_INT(stats.plan.requests, N_REQUESTS);
        CHECK_INT(stats.plan.distinct, needed);
        CHECK(stats.plan.tokens == stats.prefill_tokens_total && stats.plan.tokens > needed);
        CHECK(stats.plan.kv_bytes > 0 && stats.plan.kv_bytes <= stats.plan.kv_bytes_all);
        CHECK(stats.kv_peak_bytes > 0 && stats.kv_peak_bytes <= stats.kv_pool_bytes);
        CHECK(stats.first_token_seconds > 0);
        CHECK(stats.prefill_seconds > 0 && stats.decode_seconds > 0 && stats.plan_seconds > 0);
        request_set_finish(&set);
    }
}

/** What the plan says it needs is enough. */
static void test_engine__needs_no_more_than_the_plan_says(void)
{
    for (uint64_t seed = 11; seed <= 13; seed++) {
        RequestSet set;
        request_set_make(&set, seed, N_REQUESTS, 256);
        Corner corner = {.threads = 1, .waves = 1};
        Sink sink;
        EngineStats stats;
        run_corner(&set, &corner, &sink, &stats);
        corner.kv_slots = stats.plan.kv_bytes / SLOT_BYTES;
        CHECK_INT(corner.kv_slots * SLOT_BYTES, stats.plan.kv_bytes);
        run_corner(&set, &corner, &sink, &stats);
        CHECK_INT(sink.n_failed, 0);
        CHECK_INT(stats.prefill_tokens_computed, request_set_distinct(&set));
        CHECK(stats.kv_pool_bytes <= stats.plan.kv_bytes);
        request_set_finish(&set);
    }
}

static void test_engine__same_bits_in_any_pool_and_order(void)
{
    static const Corner corners[] = {
        {1, 0, 0, 0, 0, 1, false},   {2, 1, 0, 0, 0, 1, true},    {2, 0, 256, 33, 380, 1, false},
        {1, 0, 16, 0, 350, 3, true}, {2, 7, 0, 0, 0, 5, false},   {1, 7, 33, 5, 370, 1, true},
        {1, 1, 16, 0, 360, 4, true}, {1, 32, 7, 0, 420, 2, true}, {2, 64, 512, 100, 600, 1, true},
    };
    RequestSet set;
    request_set_make(&set, 77, N_REQUESTS, 256);
    Sink first;
    EngineStats stats;
    run_corner(&set, &corners[0], &first, &stats);
    CHECK_INT(first.n_failed, 0);
    for (size_t c = 1; c < sizeof(corners) / sizeof(corners[0]); c++) {
        Sink sink;
        run_corner(&set, &corners[c], &sink, &stats);
        CHECK_INT(sink.n_failed, 0);
        for (size_t i = 0; i < set.n; i++) {
            if (!hash_eq(&sink.hashes[i], &first.hashes[i])) {
                printf("# corner %zu: request %zu differs\n", c, i);
                CHECK(false);
                break;
            }
        }
    }
    request_set_finish(&set);
}

int main(void)
{
    Arena arena;
    counting_ops = k_cpu_ops;
    counting_ops.embed = counting_embed;
    arena_init(&arena, 1 << 10);
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/test_engine_%d.gguf", folder != NULL ? folder : "/tmp", getpid());
    TinyModel model = tiny_model_default();
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&model, path, &err), &err);
    tap_run("computes what is needed, counted at the kernels",
            test_engine__computes_what_is_needed);
    tap_run("needs no more memory than the plan says",
            test_engine__needs_no_more_than_the_plan_says);
    tap_run("the same bits in any pool and order", test_engine__same_bits_in_any_pool_and_order);
    unlink(path.data);
    arena_finish(&arena);
    return tap_done();
}
