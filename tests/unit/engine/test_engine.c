// SPDX-License-Identifier: MIT
// The engine from requests to results on a small random model, the kernels' own table wrapped to
// count rows: every distinct prefix is computed once, as counted from the requests alone, and the
// results' bits hang on nothing but the requests: not on threads, batch, pool, pieces, order of
// arrival, instruction set.
#include "engine/engine.h"
#include "kernels/kernels.h"

#include "../tap.h"
#include "tiny_gguf.h"

#include <pthread.h>
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

// ---- Requests ---------------------------------------------------------------------------------

static Arena arena;
static Str path;

enum { N_REQUESTS = 120, TOKENS_MAX = 90 };

typedef struct Set {
    EngineRequest requests[N_REQUESTS];
    const int32_t **sequences; // all that have to be in the tree
    size_t *lengths;
    size_t n_sequences;
} Set;

static void set_add(Set *set, const int32_t *tokens, size_t n)
{
    set->sequences[set->n_sequences] = tokens;
    set->lengths[set->n_sequences++] = n;
}

static EngineRequest generation(Rng *rng, const int32_t *tokens, size_t n, uint64_t seed)
{
    return (EngineRequest){
        .prompt = tokens,
        .n_prompt = n,
        .max_tokens = 1 + (int64_t)rng_below(rng, 12),
        .n_replies = rng_below(rng, 4) == 0 ? 3 : 1,
        .top_logprobs = rng_below(rng, 3) == 0 ? 4 : 0,
        .picker = {.temperature = rng_below(rng, 2) == 0 ? 0.8 : 0, .top_p = 0.95, .seed = seed}};
}

/** Mixed requests over a few shared prefixes; some prompts are also scored contexts. */
static Set *set_make(uint64_t seed)
{
    Set *set = ARENA_NEW(&arena, Set);
    set->sequences = ARENA_ARRAY(&arena, const int32_t *, N_REQUESTS * 4);
    set->lengths = ARENA_ARRAY(&arena, size_t, N_REQUESTS * 4);
    Rng rng;
    rng_init(&rng, seed);
    for (size_t r = 0; r < N_REQUESTS; r++) {
        size_t n = 5 + rng_below(&rng, TOKENS_MAX - 20);
        uint64_t shared = rng_below(&rng, 6);
        size_t fork = rng_below(&rng, n);
        int32_t *tokens = ARENA_ARRAY(&arena, int32_t, TOKENS_MAX);
        for (size_t i = 0; i < n; i++) {
            tokens[i] = (int32_t)(rng_at(seed, i < fork ? shared : 100 + r, i) * 256);
        }
        if (r % 3 != 0) {
            set->requests[r] = generation(&rng, tokens, n, r);
            set_add(set, tokens, n);
        }
        if (r % 3 == 0 && r > 0) { // on the same context as the request before
            tokens = ARENA_ARRAY(&arena, int32_t, TOKENS_MAX);
            n = set->requests[r - 1].n_prompt;
            memcpy(tokens, set->requests[r - 1].prompt, n * sizeof(*tokens));
        }
        if (r % 3 == 0) {
            EngineLeaf *leaves = ARENA_ARRAY(&arena, EngineLeaf, 3);
            for (size_t l = 0; l < 3; l++) {
                int32_t *own = ARENA_ARRAY(&arena, int32_t, TOKENS_MAX);
                size_t extra = rng_below(&rng, 5);
                memcpy(own, tokens, n * sizeof(*own));
                for (size_t i = n; i < n + extra; i++) {
                    own[i] = (int32_t)(rng_below(&rng, 4) + l);
                }
                leaves[l] = (EngineLeaf){.tokens = own, .n_tokens = n + extra, .n_context = n};
                if (extra > 0) {
                    set_add(set, own, n + extra - 1);
                }
            }
            set->requests[r] = (EngineRequest){.leaves = leaves, .n_leaves = 3, .per_token = true};
        }
    }
    return set;
}

/** Distinct non-empty prefixes, the slow way: a prefix counts where no earlier sequence has it. */
static uint64_t distinct_prefixes(const Set *set)
{
    uint64_t n = 0;
    for (size_t s = 0; s < set->n_sequences; s++) {
        size_t most = 0;
        for (size_t b = 0; b < s; b++) {
            size_t same = 0;
            while (same < set->lengths[s] && same < set->lengths[b] &&
                   set->sequences[s][same] == set->sequences[b][same]) {
                same++;
            }
            most = same > most ? same : most;
        }
        n += set->lengths[s] - most;
    }
    return n;
}

// ---- Running ----------------------------------------------------------------------------------

typedef struct Sink {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    size_t n_done;
    size_t n_failed;
    uint64_t n_decode_rows;
    Hash hashes[N_REQUESTS];
} Sink;

static void hash_bytes(Sha256 *sha, const void *bytes, size_t n)
{
    hash_str(sha, (Str){.data = bytes, .len = n});
}

static void on_done(void *ctx, uint64_t id, const EngineResult *result)
{
    Sink *sink = ctx;
    Sha256 sha;
    hash_begin(&sha, STR("result"));
    uint64_t rows = 0;
    for (size_t i = 0; i < result->n_texts; i++) {
        const EngineText *text = &result->texts[i];
        hash_str(&sha, text->text);
        hash_i64(&sha, text->stop);
        for (size_t k = 0; k < text->n_tokens; k++) {
            const EngineToken *token = &text->tokens[k];
            hash_i64(&sha, token->id);
            if (token->top_ids != NULL) {
                hash_bytes(&sha, &token->logprob, sizeof(float));
                hash_bytes(&sha, token->top_ids, 4 * sizeof(int32_t));
                hash_bytes(&sha, token->top_logprobs, 4 * sizeof(float));
            }
        }
        rows += text->n_tokens - 1;
    }
    for (size_t i = 0; i < result->n_scores; i++) {
        const EngineScore *score = &result->scores[i];
        hash_bytes(&sha, &score->logprob, sizeof(double));
        hash_i64(&sha, score->greedy);
        hash_bytes(&sha, score->token_logprobs, (size_t)score->n_tokens * sizeof(float));
    }
    pthread_mutex_lock(&sink->mutex);
    sink->hashes[id] = hash_end(&sha);
    sink->n_failed += result->err != NULL;
    sink->n_decode_rows += rows;
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

typedef struct Corner {
    const char *cpu;
    int threads;
    int64_t batch;
    int64_t rows;
    uint64_t kv_slots; // 0: default
    int waves;         // requests come in so many lots, each after the one before
    bool backwards;
} Corner;

/** False when this processor lacks the instructions. */
static bool run_corner(const Set *set, const Corner *corner, Sink *sink, EngineStats *stats)
{
    *sink = (Sink){.mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    Engine *engine = NULL;
    Err err = ERR_INIT;
    if (corner->cpu != NULL) {
        setenv("MUSTER_CPU", corner->cpu, 1);
    } else {
        unsetenv("MUSTER_CPU");
    }
    EngineOptions options = {.model_path = path,
                             .threads = corner->threads,
                             .max_batch = corner->batch,
                             .max_rows = corner->rows,
                             .kv_bytes = corner->kv_slots * 2 * 2 * (16 * 2 + 4) * 2};
    n_rows_embedded = 0;
    if (!engine_open(&options, on_done, sink, &engine, &err)) {
        CHECK_INT(err.code, ERR_ENVIRONMENT);
        return false;
    }
    size_t per_wave = N_REQUESTS / (size_t)corner->waves;
    for (size_t i = 0; i < N_REQUESTS; i++) {
        size_t id = corner->backwards ? N_REQUESTS - 1 - i : i;
        CHECK_OK(engine_submit(engine, id, &set->requests[id], &err), &err);
        if ((i + 1) % per_wave == 0 || i + 1 == N_REQUESTS) {
            engine_quiesce(engine, i + 1 == N_REQUESTS);
            wait_for(sink, i + 1);
        }
    }
    engine_stats(engine, stats);
    engine_close(engine);
    return true;
}

static void test_engine__computes_what_is_needed(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        const Set *set = set_make(seed);
        uint64_t needed = distinct_prefixes(set);
        Corner corner = {.threads = 1, .waves = 1, .rows = seed % 2 == 0 ? 16 : 0};
        Sink sink;
        EngineStats stats;
        CHECK(run_corner(set, &corner, &sink, &stats));
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
    }
}

static void test_engine__same_bits_in_every_corner(void)
{
    static const Corner corners[] = {
        {NULL, 1, 0, 0, 0, 1, false},       {NULL, 2, 0, 0, 0, 1, false},
        {NULL, 2, 1, 0, 0, 1, true},        {NULL, 1, 7, 16, 0, 1, false},
        {NULL, 2, 32, 1, 0, 1, false},      {NULL, 2, 0, 256, 160, 1, false},
        {NULL, 1, 0, 16, 130, 3, true},     {NULL, 2, 7, 0, 0, 5, false},
        {"avx512", 2, 0, 0, 0, 2, false},   {"avx512", 1, 7, 33, 150, 1, true},
        {"avx2", 2, 0, 0, 0, 1, false},     {"avx2", 1, 1, 16, 140, 4, true},
        {"portable", 2, 0, 0, 0, 1, false}, {"portable", 1, 32, 7, 200, 2, true},
    };
    const Set *set = set_make(77);
    Sink first;
    EngineStats stats;
    CHECK(run_corner(set, &corners[0], &first, &stats));
    CHECK_INT(first.n_failed, 0);
    for (size_t c = 1; c < sizeof(corners) / sizeof(corners[0]); c++) {
        Sink sink;
        if (!run_corner(set, &corners[c], &sink, &stats)) {
            printf("# SKIP corner %zu: no %s here\n", c, corners[c].cpu);
            continue;
        }
        CHECK_INT(sink.n_failed, 0);
        for (size_t i = 0; i < N_REQUESTS; i++) {
            if (!hash_eq(&sink.hashes[i], &first.hashes[i])) {
                printf("# corner %zu: request %zu differs\n", c, i);
                CHECK(false);
                break;
            }
        }
    }
}

int main(void)
{
    counting_ops = k_cpu_ops;
    counting_ops.embed = counting_embed;
    arena_init(&arena, 1 << 16);
    const char *folder = getenv("TMPDIR");
    path = str_printf(&arena, "%s/test_engine_%d.gguf", folder != NULL ? folder : "/tmp", getpid());
    TinyModel model = tiny_model_default();
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&model, path, &err), &err);
    tap_run("computes what is needed, counted at the kernels",
            test_engine__computes_what_is_needed);
    tap_run("the same bits in every corner", test_engine__same_bits_in_every_corner);
    unlink(path.data);
    arena_finish(&arena);
    return tap_done();
}
