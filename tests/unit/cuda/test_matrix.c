// SPDX-License-Identifier: MIT
// The determinism matrix of the whole engine on emulated devices: one SHA-256 of all results over
// rows of a step x cache {cold, warm, resumed} x piece of a prompt x schedule of the threads x
// ranks {1, 2, 4}. Requests are mixed: replies picked greedily and at random, scores, whole
// prompts, in two epochs.
//
// test_matrix: some corners, each value of each axis among them. test_matrix N: the first N of
// them. test_matrix full [I N]: all 360, or every Nth from I on (7 has no divisor in common with
// any axis).
#include "engine/engine.h"
#include "engine/gguf.h"
#include "kernels/emulate/control.h"

#include "../engine/requests.h"
#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <stdlib.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

typedef enum Cache {
    CACHE_COLD,
    CACHE_WARM,
    CACHE_RESUMED,
} Cache;

typedef struct Corner {
    int64_t budget; // rows of a step, and replies at once
    int64_t piece;  // 0: whole
    uint64_t seed;  // of the schedule; not 0: lazy streams too
    int ranks;
    Cache cache;
} Corner;

static const char *const cache_names[] = {"cold", "warm", "resumed"};

static Str model_path;
static RequestSet set;
static size_t n_epoch; // requests of one epoch
static Hash expected;
static char ranks_text[16];

static bool open_ranks(const KDeviceOptions *options, KDevice **out, Err *err)
{
    KDeviceOptions own = *options;
    own.path = ranks_text;
    return muster_cuda_ops()->device_open(&own, out, err);
}

/** Every request twice; what is picked at random is picked anew. Seeds are of small sets that have
 *  all kinds, and a prompt and a scored sequence that are longer than a chunk. */
static void requests_make(bool full)
{
    size_t n = full ? 10 : 5;
    request_set_make(&set, full ? 69 : 375, n, 256);
    n_epoch = n;
    set.n = 2 * n;
    for (size_t i = 0; i < n; i++) {
        set.requests[n + i] = set.requests[i];
        set.requests[n + i].picker.seed += 1000;
    }
}

static Engine *corner_open(const Corner *corner, Sink *sink)
{
    EmulateOptions emulate;
    emulate_options(&emulate);
    emulate.seed = corner->seed;
    emulate.lazy = corner->seed != 0;
    emulate.n_devices = 4;
    emulate_configure(&emulate);
    snprintf(ranks_text, sizeof(ranks_text), "tp=%d", corner->ranks);
    EngineOptions options = {.model_path = model_path,
                             .device = STR("cpu"),
                             .threads = 1,
                             .kv_bytes = 4 << 20,
                             .max_rows = corner->budget,
                             .max_batch = corner->budget,
                             .max_piece = corner->piece};
    Engine *engine = NULL;
    Err err = ERR_INIT;
    need(engine_open(&options, sink_take, sink, &engine, &err), &err);
    return engine;
}

/** Submit what the sink has no result for, and let it run until n results are there. */
static void run_rest(Engine *engine, Sink *sink, size_t n)
{
    Err err = ERR_INIT;
    for (size_t i = 0; i < set.n; i++) {
        if (!sink->done[i]) {
            CHECK_OK(engine_submit(engine, i, &set.requests[i], &err), &err);
        }
    }
    engine_quiesce(engine, true);
    sink_wait(sink, n);
}

/** What is in the sink after all of a corner ran. */
static void corner_run(const Corner *corner, Sink *sink)
{
    sink_init(sink);
    Engine *engine = corner_open(corner, sink);
    run_rest(engine, sink, corner->cache == CACHE_RESUMED ? set.n / 2 : set.n);
    if (corner->cache == CACHE_RESUMED) { // others are half done; another engine goes on
        engine_close(engine);
        engine = corner_open(corner, sink);
        run_rest(engine, sink, set.n);
    } else if (corner->cache == CACHE_WARM) {
        Hash cold = sink_digest(sink, set.n);
        CHECK(hash_eq(&cold, &expected));
        sink_init(sink);
        run_rest(engine, sink, set.n);
        EngineStats stats;
        engine_stats(engine, &stats);
        CHECK(stats.prefill_tokens_computed < 2 * stats.plan.distinct); // or nothing was warm
    }
    engine_close(engine);
    const char *fault = emulate_take_fault();
    if (fault != NULL) {
        printf("# %s\n", fault);
        CHECK(false);
    }
    CHECK_INT(sink->n_failed, 0);
    CHECK_INT(sink->n_done, set.n);
}

static void corner_check(const Corner *corner)
{
    Sink sink;
    corner_run(corner, &sink);
    Hash got = sink_digest(&sink, set.n);
    if (!hash_eq(&got, &expected)) {
        CHECK(false);
        printf("# differs: budget %lld, piece %lld, seed %llu, %d ranks, %s\n",
               (long long)corner->budget, (long long)corner->piece,
               (unsigned long long)corner->seed, corner->ranks, cache_names[corner->cache]);
    }
}

/** The first corner says what all have to say; epochs differ in what is picked at random, alone. */
static void test_matrix__expected(void)
{
    static const Corner plain = {512, 0, 0, 1, CACHE_COLD};
    Sink sink;
    corner_run(&plain, &sink);
    expected = sink_digest(&sink, set.n);
    char hex[HASH_HEX_LEN + 1];
    hash_hex(&expected, hex);
    printf("# sha256 of %zu results: %s\n", set.n, hex);
    size_t n_same = 0, n_other = 0, n_scores = 0;
    for (size_t i = 0; i < n_epoch; i++) {
        bool same = hash_eq(&sink.hashes[i], &sink.hashes[n_epoch + i]);
        bool score = set.requests[i].n_leaves > 0;
        bool sampled = !score && set.requests[i].picker.temperature > 0;
        CHECK(same || sampled);
        n_same += same && !sampled;
        n_other += !same;
        n_scores += score;
    }
    CHECK(n_same > n_scores && n_scores == n_epoch / 5 * 2 && n_other >= 1); // of each kind
}

static size_t n_some = SIZE_MAX;
static size_t full_first, full_step = 1;

/** Each value of each axis, in few corners. */
static void test_matrix__some(void)
{
    static const Corner corners[] = {
        {32, 0, 2, 4, CACHE_COLD},
        {7, 16, 1, 2, CACHE_WARM},
        {512, 16, 3, 1, CACHE_RESUMED},
        {1, 256, 4, 1, CACHE_COLD},
    };
    for (size_t i = 0; i < COUNT(corners) && i < n_some; i++) {
        corner_check(&corners[i]);
    }
}

static void test_matrix__full(void)
{
    static const int64_t budgets[] = {1, 7, 32, 512};
    static const int64_t pieces[] = {16, 256, 0};
    static const int ranks[] = {1, 2, 4};
    static const Cache caches[] = {CACHE_WARM, CACHE_RESUMED}; // the first half of warm is cold
    const size_t n = 5 * COUNT(budgets) * COUNT(pieces) * COUNT(ranks) * COUNT(caches);
    size_t n_run = 0;
    for (size_t i = full_first; i < n; i += full_step, n_run++) {
        size_t at = i;
        Corner corner = {0};
        corner.cache = caches[at % COUNT(caches)];
        at /= COUNT(caches);
        corner.ranks = ranks[at % COUNT(ranks)];
        at /= COUNT(ranks);
        corner.piece = pieces[at % COUNT(pieces)];
        at /= COUNT(pieces);
        corner.budget = budgets[at % COUNT(budgets)];
        corner.seed = at / COUNT(budgets);
        corner_check(&corner);
        if (n_run % 10 == 9) {
            printf("# %zu corners, the last number %zu of %zu\n", n_run + 1, i, n);
            fflush(stdout);
        }
    }
    printf("# %zu of %zu corners\n", n_run, n);
}

static void model_write(TinyModel *model)
{
    Err err = ERR_INIT;
    model->dim = model->ffn_dim = 128; // four blocks for four ranks
    model->vocab = 272;
    CHECK_OK(tiny_gguf_write(model, model_path, &err), &err);
}

/** Other shapes and weights on three requests, for one, two and four ranks. */
static void test_matrix__other_models(void)
{
    static const struct {
        uint32_t type, embed_type, n_heads;
        bool untied;
    } models[] = {{GGUF_Q4_0, GGUF_Q4_0, 8, true},
                  {GGUF_BF16, GGUF_BF16, 8, false},
                  {GGUF_Q8_0, GGUF_F16, 4, true}};
    set.n = 3; // one of each kind
    for (size_t i = 0; i < COUNT(models); i++) {
        TinyModel model = tiny_model_default();
        model.type = models[i].type;
        model.embed_type = models[i].embed_type;
        model.untied = models[i].untied;
        model.n_heads = models[i].n_heads;
        model.n_kv_heads = 4;
        model_write(&model);
        for (int ranks = 1; ranks <= 4; ranks *= 2) {
            Corner corner = {32, 16, (uint64_t)ranks, ranks, CACHE_COLD};
            Sink sink;
            corner_run(&corner, &sink);
            Hash got = sink_digest(&sink, set.n);
            expected = ranks == 1 ? got : expected;
            CHECK(hash_eq(&got, &expected));
        }
    }
}

int main(int argc, char **argv)
{
    bool full = argc > 1 && strcmp(argv[1], "full") == 0;
    memcpy(&cuda_test_ops, muster_cuda_ops(), sizeof(cuda_test_ops));
    cuda_test_ops.device_open = open_ranks;
    const char *folder = getenv("TMPDIR");
    model_path = str_printf(&arena, "%s/test_cuda_matrix_%d.gguf", folder != NULL ? folder : "/tmp",
                            (int)getpid());
    TinyModel model = tiny_model_default();
    model.n_heads = model.n_kv_heads = 4;
    model_write(&model);
    requests_make(full);
    if (full && argc > 3) {
        full_first = strtoul(argv[2], NULL, 10);
        full_step = strtoul(argv[3], NULL, 10);
    }
    n_some = argc > 1 && !full ? strtoul(argv[1], NULL, 10) : SIZE_MAX;
    tap_run("one corner, twice every request", test_matrix__expected);
    tap_run("all corners give the same bits", full ? test_matrix__full : test_matrix__some);
    if (n_some == SIZE_MAX) {
        tap_run("other models, for one, two and four ranks", test_matrix__other_models);
    }
    unlink(model_path.data);
    request_set_finish(&set);
    arena_finish(&arena);
    return tap_done();
}
