// SPDX-License-Identifier: MIT
// What the engine holds in memory: the pool it was given and no more, nothing that grows with the
// number of requests it has answered, contexts of thousands of tokens, and requests that can not
// fit are refused by name while the rest goes on.
#include "engine/engine.h"

#include "../tap.h"
#include "tiny_gguf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static Arena arena;
static Str path;

typedef struct Sink {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    size_t n_done;
    size_t n_failed;
    size_t n_named; // failures that name their request
} Sink;

static void on_done(void *ctx, uint64_t id, const EngineResult *result)
{
    (void)id;
    Sink *sink = ctx;
    pthread_mutex_lock(&sink->mutex);
    sink->n_failed += result->err != NULL;
    sink->n_named += result->err != NULL && strstr(result->err->message, "large one") != NULL;
    sink->n_done++;
    pthread_cond_signal(&sink->done);
    pthread_mutex_unlock(&sink->mutex);
}

static void wait_for(Sink *sink, size_t n)
{
    pthread_mutex_lock(&sink->mutex);
    while (sink->n_done < n) {
        pthread_cond_wait(&sink->done, &sink->mutex);
    }
    pthread_mutex_unlock(&sink->mutex);
}

/** Of this process, in kB; 0 when the system does not say. */
static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%*s %ld", &pages) != 1) {
            pages = 0;
        }
        fclose(f);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static Engine *engine_make(Sink *sink, uint64_t kv_bytes)
{
    *sink = (Sink){.mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    Engine *engine = NULL;
    Err err = ERR_INIT;
    EngineOptions options = {.model_path = path, .threads = 1, .kv_bytes = kv_bytes};
    CHECK_OK(engine_open(&options, on_done, sink, &engine, &err), &err);
    return engine;
}

static void fill(int32_t *tokens, size_t n, uint64_t stream)
{
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (int32_t)(rng_at(stream, 1, i) * 256);
    }
}

/** Every tenth is scored, some share what they begin with. */
static void submit(Engine *engine, uint64_t id)
{
    enum { SHARED = 6, N = 14 };
    int32_t tokens[N];
    Err err = ERR_INIT;
    fill(tokens, SHARED, id % 50);
    fill(tokens + SHARED, N - SHARED, 1000 + id);
    EngineLeaf leaf = {.tokens = tokens, .n_tokens = N, .n_context = N - 3};
    EngineRequest request = {
        .prompt = tokens, .n_prompt = N, .max_tokens = 3, .n_replies = 1, .picker = {.top_p = 1}};
    if (id % 10 == 0) {
        request = (EngineRequest){.leaves = &leaf, .n_leaves = 1};
    }
    CHECK_OK(engine_submit(engine, id, &request, &err), &err);
}

/** Ten thousand requests in a hundred waves leave nothing behind. */
static void test_memory__stays_flat(void)
{
    enum { WAVES = 100, PER_WAVE = 100, WARM = 20 };
    Sink sink;
    Engine *engine = engine_make(&sink, 1 << 20);
    long warm_kb = 0;
    for (uint64_t wave = 0; wave < WAVES; wave++) {
        for (uint64_t i = 0; i < PER_WAVE; i++) {
            submit(engine, wave * PER_WAVE + i);
        }
        engine_quiesce(engine, wave + 1 == WAVES);
        wait_for(&sink, (wave + 1) * PER_WAVE);
        warm_kb = wave + 1 == WARM ? resident_kb() : warm_kb;
    }
    EngineStats stats;
    engine_stats(engine, &stats);
    CHECK_INT(sink.n_failed, 0);
    CHECK(stats.kv_pool_bytes <= 1 << 20);
    CHECK(stats.kv_peak_bytes <= stats.kv_pool_bytes);
    long grown_kb = resident_kb() - warm_kb;
    printf("# resident after %d requests %ld kB, after %d more %+ld kB\n", WARM * PER_WAVE, warm_kb,
           (WAVES - WARM) * PER_WAVE, grown_kb);
#if !defined(__SANITIZE_ADDRESS__) // which keeps what was freed
    CHECK(grown_kb < 2048);
#endif
    engine_close(engine);
}

/** Prompts of 2,000 tokens, and what is larger than the pool. */
static void test_memory__long_contexts_and_too_long_ones(void)
{
    enum { N = 2000, LARGE = 5000 };
    Sink sink;
    Err err = ERR_INIT;
    uint64_t slot_bytes = 2 * 2 * (16 * 2 + 4) * 2;
    Engine *engine = engine_make(&sink, 4000 * slot_bytes);
    int32_t *tokens = ARENA_ARRAY(&arena, int32_t, LARGE);
    fill(tokens, LARGE, 9);
    for (uint64_t id = 0; id < 6; id++) {
        tokens[N - 1] = (int32_t)id;
        EngineLeaf leaf = {.tokens = tokens, .n_tokens = N, .n_context = N - 20};
        EngineRequest request = {.prompt = tokens,
                                 .n_prompt = id == 3 ? LARGE : N,
                                 .max_tokens = 100,
                                 .n_replies = 2,
                                 .picker = {.temperature = 1, .top_p = 1, .seed = id},
                                 .label = id == 3 ? STR("large one") : STR("small one")};
        if (id == 5) {
            request = (EngineRequest){.leaves = &leaf, .n_leaves = 1};
        }
        CHECK_OK(engine_submit(engine, id, &request, &err), &err);
    }
    engine_quiesce(engine, true);
    wait_for(&sink, 6);
    CHECK_INT(sink.n_failed, 1);
    CHECK_INT(sink.n_named, 1);
    EngineStats stats;
    engine_stats(engine, &stats);
    CHECK_INT(stats.prefill_tokens_needed, N + 3);
    CHECK_INT(stats.prefill_tokens_computed, N + 3);
    CHECK(stats.kv_pool_bytes <= 4000 * slot_bytes);
    engine_close(engine);
}

int main(void)
{
    arena_init(&arena, 1 << 16);
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/test_memory_%d.gguf", folder != NULL ? folder : "/tmp", getpid());
    TinyModel model = tiny_model_default();
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&model, path, &err), &err);
    tap_run("stays flat over 10,000 requests", test_memory__stays_flat);
    tap_run("long contexts, and too long ones", test_memory__long_contexts_and_too_long_ones);
    unlink(path.data);
    arena_finish(&arena);
    return tap_done();
}
