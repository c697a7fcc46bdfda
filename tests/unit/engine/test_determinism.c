// SPDX-License-Identifier: MIT
// One SHA-256 of all results over batch budget {1, 7, 32, 512} x threads {1, 2} x cache {cold,
// warm, resumed in the middle} x piece of a prompt {16, 256, whole} x path {avx512, avx2,
// portable}: 216 corners of 200 mixed requests on a small random model.
//
// test_determinism [MODEL.gguf TOKENS]: the corners of a diagonal on a model that is given, over
// requests whose ids are spread over TOKENS.
#include "engine/engine.h"

#include "../tap.h"
#include "requests.h"
#include "tiny_gguf.h"

#include <stdlib.h>
#include <unistd.h>

enum { N_REQUESTS = 200 };

typedef struct Corner {
    const char *path; // of the CPU
    int threads;
    int64_t budget; // rows of a step, and replies at once
    int64_t piece;  // 0: whole
} Corner;

static Str model_path;
static RequestSet set;
static Hash expected;
static const int k_threads[] = {1, 2};
static const int64_t k_budgets[] = {1, 7, 32, 512};
static const int64_t k_pieces[] = {16, 256, 0};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// ---- Corners ----------------------------------------------------------------------------------

/** False when this processor lacks the instructions. */
static bool corner_open(const Corner *corner, Sink *sink, Engine **out)
{
    Err err = ERR_INIT;
    EngineOptions options = {.model_path = model_path,
                             .device = STR("cpu"),
                             .threads = corner->threads,
                             .max_rows = corner->budget,
                             .max_batch = corner->budget,
                             .max_piece = corner->piece};
    setenv("MUSTER_CPU", corner->path, 1);
    if (engine_open(&options, sink_take, sink, out, &err)) {
        return true;
    }
    if (err.code != ERR_ENVIRONMENT) {
        CHECK_OK(false, &err);
    }
    return false;
}

/** Submit what the sink has no result for, and let it run. */
static void submit_rest(Engine *engine, const Sink *sink)
{
    Err err = ERR_INIT;
    for (size_t i = 0; i < set.n; i++) {
        if (!sink->done[i]) {
            CHECK_OK(engine_submit(engine, i, &set.requests[i], &err), &err);
        }
    }
    engine_quiesce(engine, true);
}

static void check_digest(const Corner *corner, const char *cache, const Sink *sink)
{
    Hash got = sink_digest(sink, set.n);
    CHECK_INT(sink->n_failed, 0);
    CHECK_INT(sink->n_done, set.n);
    if (!hash_eq(&got, &expected)) {
        CHECK(false);
        printf("# differs: %s, %d threads, budget %lld, piece %lld, %s\n", corner->path,
               corner->threads, (long long)corner->budget, (long long)corner->piece, cache);
    }
}

/** One engine: cold, then the same requests again over what is cached. */
static void run_cold_and_warm(const Corner *corner)
{
    Sink sink;
    Engine *engine = NULL;
    sink_init(&sink);
    if (!corner_open(corner, &sink, &engine)) {
        return;
    }
    for (int warm = 0; warm < 2; warm++) {
        sink_init(&sink);
        submit_rest(engine, &sink);
        sink_wait(&sink, set.n);
        check_digest(corner, warm ? "warm" : "cold", &sink);
    }
    EngineStats stats;
    engine_stats(engine, &stats);
    CHECK(stats.prefill_tokens_computed < 2 * stats.plan.distinct); // or nothing was warm
    engine_close(engine);
}

/** Closed when half of the results are there, with replies half written; another one goes on. */
static void run_resumed(const Corner *corner)
{
    Sink sink;
    sink_init(&sink);
    for (int part = 0; part < 2; part++) {
        Engine *engine = NULL;
        if (!corner_open(corner, &sink, &engine)) {
            return;
        }
        submit_rest(engine, &sink);
        sink_wait(&sink, part == 0 ? set.n / 2 : set.n);
        engine_close(engine);
    }
    check_digest(corner, "resumed", &sink);
}

static bool path_is_here(const char *path)
{
    Corner corner = {.path = path, .threads = 1, .budget = 512};
    Sink sink;
    Engine *engine = NULL;
    bool here = corner_open(&corner, &sink, &engine);
    engine_close(engine);
    return here;
}

static void test_path(const char *path)
{
    for (size_t t = 0; t < COUNT(k_threads); t++) {
        for (size_t b = 0; b < COUNT(k_budgets); b++) {
            for (size_t p = 0; p < COUNT(k_pieces); p++) {
                Corner corner = {.path = path,
                                 .threads = k_threads[t],
                                 .budget = k_budgets[b],
                                 .piece = k_pieces[p]};
                run_cold_and_warm(&corner);
                run_resumed(&corner);
            }
        }
    }
}

static void test_portable(void)
{
    test_path("portable");
}

static void test_avx2(void)
{
    test_path("avx2");
}

static void test_avx512(void)
{
    test_path("avx512");
}

// ---- Driver -----------------------------------------------------------------------------------

/** What all corners have to give: one thread, all in one budget, nothing cached, portable code. */
static void expect(void)
{
    Corner corner = {.path = "portable", .threads = 1, .budget = 512};
    Sink sink;
    Engine *engine = NULL;
    sink_init(&sink);
    if (!corner_open(&corner, &sink, &engine)) {
        return;
    }
    submit_rest(engine, &sink);
    sink_wait(&sink, set.n);
    engine_close(engine);
    expected = sink_digest(&sink, set.n);
    char hex[HASH_HEX_LEN + 1];
    hash_hex(&expected, hex);
    printf("# sha256 of %zu results: %s\n", set.n, hex);
}

int main(void)
{
    static const struct {
        const char *path;
        void (*test)(void);
        const char *name;
    } paths[] = {
        {"portable", test_portable, "72 corners on portable code"},
        {"avx2", test_avx2, "72 corners on AVX2"},
        {"avx512", test_avx512, "72 corners on AVX-512"},
    };
    Arena arena;
    arena_init(&arena, 1 << 10);
    const char *folder = getenv("TMPDIR");
    model_path =
        str_printf(&arena, "%s/determinism_%d.gguf", folder != NULL ? folder : "/tmp", getpid());
    TinyModel model = tiny_model_default();
    model.dim = 64; // small: portable code is slow, and there are many corners
    model.n_heads = 4;
    model.vocab = 272;
    model.dim = 64; // small: portable code is slow, and there are many corners
    model.n_heads = 4;
    model.vocab = 272;
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&model, model_path, &err), &err);
    request_set_make(&set, 2026, N_REQUESTS);
    expect();
    for (size_t i = 0; i < COUNT(paths); i++) {
        if (path_is_here(paths[i].path)) {
            tap_run(paths[i].name, paths[i].test);
        } else {
            tap_skip(paths[i].name, "this processor lacks the instructions");
        }
    }
    unlink(model_path.data);
    request_set_finish(&set);
    arena_finish(&arena);
    return tap_done();
}
