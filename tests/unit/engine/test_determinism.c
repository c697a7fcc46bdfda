// SPDX-License-Identifier: MIT
// One SHA-256 of all results over batch budget {1, 7, 32, 512} x threads {1, 2} x cache {cold,
// warm, resumed in the middle} x piece of a prompt {16, 256, whole} x path {avx512, avx2,
// portable}: 216 corners of 200 mixed requests on a small random model.
//
// test_determinism MODEL.gguf: 12 of them on a model that is given, with fewer requests where
// portable code would take an hour.
#include "engine/engine.h"

#include "../tap.h"
#include "requests.h"
#include "tiny_gguf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_REQUESTS = 200, N_PORTABLE = 16 };

typedef struct Corner {
    const char *path; // of the CPU
    int threads;
    int64_t budget; // rows of a step, and replies at once
    int64_t piece;  // 0: whole
} Corner;

typedef enum Cache {
    CACHE_COLD,
    CACHE_WARM,
    CACHE_RESUMED,
} Cache;

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

/** One engine: cold, and again over what is cached. */
static void run_in_one(const Corner *corner, bool again)
{
    Sink sink;
    Engine *engine = NULL;
    sink_init(&sink);
    if (!corner_open(corner, &sink, &engine)) {
        return;
    }
    for (int warm = 0; warm < (again ? 2 : 1); warm++) {
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

static bool path_is_here(const char *cpu_path)
{
    Corner corner = {.path = cpu_path, .threads = 1, .budget = 512};
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
                run_in_one(&corner, true);
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

/** What all corners have to give: all in one budget, nothing cached, on the path that is named. */
static void expect(const char *cpu_path)
{
    Corner corner = {.path = cpu_path, .threads = 1, .budget = 512};
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

static int all_corners(void)
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
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&model, model_path, &err), &err);
    request_set_make(&set, 2026, N_REQUESTS, 256);
    expect("portable");
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

// ---- A model that is given --------------------------------------------------------------------

typedef struct Sample {
    Corner corner;
    Cache cache;
    const char *name;
} Sample;

static const Sample *current;

static void test_sample(void)
{
    if (current->cache == CACHE_RESUMED) {
        run_resumed(&current->corner);
    } else {
        run_in_one(&current->corner, current->cache == CACHE_WARM);
    }
}

static int some_corners(const char *file)
{
    static const Sample samples[] = {
        {{"avx512", 1, 512, 0}, CACHE_WARM, "AVX-512, 1 thread, 512 rows, whole, warm"},
        {{"avx512", 2, 512, 256}, CACHE_COLD, "AVX-512, 2 threads, 512 rows, 256, cold"},
        {{"avx512", 2, 32, 16}, CACHE_RESUMED, "AVX-512, 2 threads, 32 rows, 16, resumed"},
        {{"avx512", 1, 7, 0}, CACHE_COLD, "AVX-512, 1 thread, 7 rows, whole, cold"},
        {{"avx512", 2, 1, 16}, CACHE_COLD, "AVX-512, 2 threads, 1 row, 16, cold"},
        {{"avx2", 1, 512, 0}, CACHE_RESUMED, "AVX2, 1 thread, 512 rows, whole, resumed"},
        {{"avx2", 2, 512, 16}, CACHE_WARM, "AVX2, 2 threads, 512 rows, 16, warm"},
        {{"avx2", 2, 32, 256}, CACHE_COLD, "AVX2, 2 threads, 32 rows, 256, cold"},
        {{"avx2", 1, 7, 16}, CACHE_COLD, "AVX2, 1 thread, 7 rows, 16, cold"},
        {{"avx2", 2, 1, 0}, CACHE_COLD, "AVX2, 2 threads, 1 row, whole, cold"},
        {{"portable", 2, 512, 256}, CACHE_COLD, "portable, 2 threads, 512 rows, 256, cold"},
        {{"portable", 2, 32, 0}, CACHE_RESUMED, "portable, 2 threads, 32 rows, whole, resumed"},
    };
    model_path = str_from_c(file);
    const char *best = path_is_here("avx512") ? "avx512" : path_is_here("avx2") ? "avx2" : NULL;
    for (size_t i = 0; i < COUNT(samples); i++) {
        current = &samples[i];
        bool portable = strcmp(current->corner.path, "portable") == 0;
        size_t n = portable ? N_PORTABLE : N_REQUESTS;
        if (n != set.n) {
            request_set_finish(&set);
            request_set_make(&set, 2026, n, 32768);
            expect(best != NULL ? best : "portable");
        }
        if (path_is_here(current->corner.path)) {
            tap_run(current->name, test_sample);
        } else {
            tap_skip(current->name, "this processor lacks the instructions");
        }
    }
    request_set_finish(&set);
    return tap_done();
}

int main(int argc, char **argv)
{
    return argc > 1 ? some_corners(argv[1]) : all_corners();
}
