// SPDX-License-Identifier: MIT
#include "requests.h"

#include <stdio.h>
#include <string.h>

enum { TOKENS_MAX = 340, LONG_SHARED = 265, LEAVES = 3 };

static void set_add(RequestSet *set, const int32_t *tokens, size_t n)
{
    if (n > 0) {
        set->sequences[set->n_sequences] = tokens;
        set->lengths[set->n_sequences++] = n;
    }
}

/** Tokens of request r: one of six shared beginnings, then its own. */
static int32_t *tokens_make(RequestSet *set, Rng *rng, uint64_t seed, size_t r, size_t *out_n)
{
    uint64_t shared = rng_below(rng, 6);
    size_t fork = shared == 0 ? LONG_SHARED + rng_below(rng, 10) : rng_below(rng, 60);
    size_t n = fork + 1 + rng_below(rng, 20);
    int32_t *tokens = ARENA_ARRAY(&set->arena, int32_t, TOKENS_MAX);
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (int32_t)(rng_at(seed, i < fork ? shared : 100 + r, i) * set->n_ids);
    }
    *out_n = n;
    return tokens;
}

static EngineRequest generation(RequestSet *set, Rng *rng, size_t r, const int32_t *tokens,
                                size_t n)
{
    Str *stop = ARENA_ARRAY(&set->arena, Str, 2);
    stop[0] = STR("e");
    stop[1] = STR("A");
    bool greedy = r % 5 == 0;
    set_add(set, tokens, n);
    return (EngineRequest){
        .prompt = tokens,
        .n_prompt = n,
        .max_tokens = 1 + (int64_t)rng_below(rng, 10),
        .n_replies = rng_below(rng, 4) == 0 ? 3 : 1,
        .stop = stop,
        .n_stop = rng_below(rng, 3) == 0 ? 2 : 0,
        .top_logprobs = rng_below(rng, 3) == 0 ? REQUESTS_TOP : 0,
        .picker = {.temperature = greedy ? 0 : 0.8, .top_p = greedy ? 1 : 0.95, .seed = r}};
}

/** Three continuations of a context, none to four tokens each. */
static EngineRequest choices(RequestSet *set, Rng *rng, const int32_t *context, size_t n)
{
    EngineLeaf *leaves = ARENA_ARRAY(&set->arena, EngineLeaf, LEAVES);
    for (size_t l = 0; l < LEAVES; l++) {
        int32_t *own = ARENA_ARRAY(&set->arena, int32_t, TOKENS_MAX);
        size_t extra = rng_below(rng, 5);
        memcpy(own, context, n * sizeof(*own));
        for (size_t i = n; i < n + extra; i++) {
            own[i] = (int32_t)(rng_below(rng, 4) + l);
        }
        leaves[l] = (EngineLeaf){.tokens = own, .n_tokens = n + extra, .n_context = n};
        if (extra > 0) {
            set_add(set, own, n + extra - 1);
        }
    }
    return (EngineRequest){.leaves = leaves, .n_leaves = LEAVES, .per_token = true};
}

/** The log-probability of every token of a prompt but the first. */
static EngineRequest whole(RequestSet *set, const int32_t *tokens, size_t n)
{
    EngineLeaf *leaf = ARENA_NEW(&set->arena, EngineLeaf);
    *leaf = (EngineLeaf){.tokens = tokens, .n_tokens = n, .n_context = 1};
    set_add(set, tokens, n - 1);
    return (EngineRequest){.leaves = leaf, .n_leaves = 1, .per_token = true};
}

void request_set_make(RequestSet *set, uint64_t seed, size_t n, int32_t n_ids)
{
    *set = (RequestSet){.n = n, .n_ids = n_ids};
    arena_init(&set->arena, 1 << 16);
    set->sequences = ARENA_ARRAY(&set->arena, const int32_t *, n *LEAVES);
    set->lengths = ARENA_ARRAY(&set->arena, size_t, n * LEAVES);
    Rng rng;
    rng_init(&rng, seed);
    for (size_t r = 0; r < n; r++) {
        size_t n_tokens;
        const int32_t *tokens = tokens_make(set, &rng, seed, r, &n_tokens);
        if (r % 5 == 2) {
            bool own = rng_below(&rng, 3) == 0; // else the prompt of the request before
            const EngineRequest *before = &set->requests[r - 1];
            set->requests[r] = choices(set, &rng, own ? tokens : before->prompt,
                                       own ? n_tokens : before->n_prompt);
        } else if (r % 5 == 4) {
            set->requests[r] = whole(set, tokens, n_tokens);
        } else {
            set->requests[r] = generation(set, &rng, r, tokens, n_tokens);
        }
    }
}

void request_set_finish(RequestSet *set)
{
    arena_finish(&set->arena);
}

/** A prefix counts where no earlier sequence has it. */
uint64_t request_set_distinct(const RequestSet *set)
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

// ---- Results ----------------------------------------------------------------------------------

static void hash_bytes(Sha256 *sha, const void *bytes, size_t n)
{
    hash_str(sha, (Str){.data = bytes, .len = n});
}

static void hash_text(Sha256 *sha, const EngineText *text)
{
    hash_str(sha, text->text);
    hash_i64(sha, text->stop);
    for (size_t k = 0; k < text->n_tokens; k++) {
        const EngineToken *token = &text->tokens[k];
        hash_i64(sha, token->id);
        if (token->top_ids != NULL) {
            hash_bytes(sha, &token->logprob, sizeof(float));
            hash_bytes(sha, token->top_ids, REQUESTS_TOP * sizeof(int32_t));
            hash_bytes(sha, token->top_logprobs, REQUESTS_TOP * sizeof(float));
        }
    }
}

static void hash_score(Sha256 *sha, const EngineScore *score)
{
    hash_bytes(sha, &score->logprob, sizeof(double));
    hash_i64(sha, score->greedy);
    hash_bytes(sha, score->token_logprobs, (size_t)score->n_tokens * sizeof(float));
}

void sink_init(Sink *sink)
{
    *sink = (Sink){.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

void sink_take(void *ctx, uint64_t id, const EngineResult *result)
{
    Sink *sink = ctx;
    Sha256 sha;
    hash_begin(&sha, STR("result"));
    uint64_t rows = 0;
    for (size_t i = 0; i < result->n_texts; i++) {
        hash_text(&sha, &result->texts[i]);
        rows += result->texts[i].n_tokens - 1;
    }
    for (size_t i = 0; i < result->n_scores; i++) {
        hash_score(&sha, &result->scores[i]);
    }
    bool cancelled = result->err != NULL && result->err->code == ERR_CANCELLED;
    pthread_mutex_lock(&sink->mutex);
    sink->hashes[id] = hash_end(&sha);
    sink->n_cancelled += cancelled ? 1 : 0;
    sink->n_failed += result->err != NULL && !cancelled ? 1 : 0;
    sink->n_decode_rows += rows;
    sink->done[id] = !cancelled && result->err == NULL;
    sink->failed[id] = result->err != NULL && !cancelled;
    if (sink->failed[id]) {
        snprintf(sink->message, sizeof(sink->message), "%.500s", result->err->message);
    }
    sink->n_done += cancelled ? 0 : 1;
    pthread_cond_signal(&sink->changed);
    pthread_mutex_unlock(&sink->mutex);
}

void sink_wait(Sink *sink, size_t n)
{
    pthread_mutex_lock(&sink->mutex);
    while (sink->n_done < n) {
        pthread_cond_wait(&sink->changed, &sink->mutex);
    }
    pthread_mutex_unlock(&sink->mutex);
}

Hash sink_digest(const Sink *sink, size_t n)
{
    Sha256 sha;
    hash_begin(&sha, STR("results"));
    for (size_t i = 0; i < n; i++) {
        hash_bytes(&sha, &sink->hashes[i], sizeof(sink->hashes[i]));
    }
    return hash_end(&sha);
}
