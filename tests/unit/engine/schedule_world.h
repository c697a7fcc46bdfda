// SPDX-License-Identifier: MIT
// The scheduler over a fake forward pass whose "keys and values" are a hash of the prefix: a row's
// result can only be right when every slot of its path holds what it should. Results are checked
// against hashes taken straight from the tokens. For one test program each.
#pragma once

#include "engine/engine_internal.h"

#include "../tap.h"

#include <stdlib.h>

#define VOCAB   50
#define AT_ONCE 64 // replies that run, unless a test says otherwise

// ---- A fake model: logits are a function of the hash of the whole prefix ----------------------

struct Forward {
    uint64_t *slots; // hash of the prefix that ends in this slot
    uint32_t n_slots;
    uint32_t max_rows;
    uint64_t n_rows;
    EngineModelInfo info;
    bool fail;
};

static uint64_t chain(uint64_t before, int32_t token)
{
    return rng_mix(before * 31 + (uint64_t)token + 1);
}

static float logit_of(uint64_t hash, int32_t token)
{
    return (float)(rng_mix(hash ^ ((uint64_t)token << 32)) % 1000) / 100.0f;
}

const EngineModelInfo *forward_info(const Forward *forward)
{
    return &forward->info;
}

size_t forward_slot_bytes(const Forward *forward)
{
    (void)forward;
    return 8;
}

size_t forward_free_bytes(const Forward *forward)
{
    (void)forward;
    return SIZE_MAX;
}

uint32_t forward_max_rows(const Forward *forward)
{
    return forward->max_rows;
}

uint32_t forward_batch_rows(const Forward *forward)
{
    (void)forward;
    return 64;
}

bool forward_pool_create(Forward *forward, uint32_t n_slots, Err *err)
{
    (void)err;
    mem_free(forward->slots);
    forward->slots = mem_alloc(n_slots, sizeof(uint64_t));
    for (uint32_t i = 0; i < n_slots; i++) {
        forward->slots[i] = 0xdeadbeef;
    }
    forward->n_slots = n_slots;
    return true;
}

static uint32_t slot_at(const BatchSpan *span, uint32_t pos)
{
    for (uint32_t i = 0; i < span->n_extents; i++) {
        if (pos < span->extents[i].n) {
            return span->extents[i].slot + pos;
        }
        pos -= span->extents[i].n;
    }
    return UINT32_MAX;
}

static int32_t best_of(uint64_t hash)
{
    int32_t best = 0;
    for (int32_t t = 0; t < VOCAB; t++) {
        best = logit_of(hash, t) > logit_of(hash, best) ? t : best;
    }
    return best;
}

/** Any function of the prefix, the settings and the random number will do. */
static int32_t pick_of(uint64_t hash, double temperature, double random)
{
    return temperature > 0 ? (int32_t)(rng_mix(hash + (uint64_t)(random * 0x1p53)) % VOCAB)
                           : best_of(hash);
}

static void row_results(const BatchRow *row, uint64_t hash, TargetLogprob *logprobs)
{
    CHECK(row->kind != ROW_LOGITS); // that is for tools
    for (uint32_t i = 0; row->kind != ROW_KV && i < row->n_targets; i++) {
        logprobs[row->out + i] =
            (TargetLogprob){.logprob = logit_of(hash, row->targets[i]), .argmax = best_of(hash)};
    }
}

static void row_picks(const Batch *batch, uint32_t row, uint64_t hash)
{
    for (uint32_t i = 0; i < batch->n_picks; i++) {
        const KPick *pick = &batch->picks[i];
        CHECK(i == 0 || batch->picks[i - 1].row <= pick->row);
        if (pick->row == row) {
            CHECK(batch->rows[row].kind == ROW_RESULTS);
            *pick->out_id = pick_of(hash, pick->temperature, pick->random);
        }
    }
}

bool forward_run(Forward *forward, const Batch *batch, float *out_logits,
                 TargetLogprob *out_logprobs, Err *err)
{
    CHECK(out_logits == NULL);
    if (forward->fail) {
        return ERR_SET(err, ERR_DEVICE, "the fake fails");
    }
    forward->n_rows += batch->n_rows;
    CHECK(batch->n_rows <= forward->max_rows);
    for (uint32_t s = 0; s < batch->n_spans; s++) {
        const BatchSpan *span = &batch->spans[s];
        for (uint32_t i = 0; i < span->n_rows; i++) {
            const BatchRow *row = &batch->rows[span->first_row + i];
            uint32_t pos = span->first_pos + i;
            uint64_t before = pos == 0 ? 0 : forward->slots[slot_at(span, pos - 1)];
            uint64_t hash = chain(before, row->token);
            forward->slots[slot_at(span, pos)] = hash;
            row_results(row, hash, out_logprobs);
            row_picks(batch, span->first_row + i, hash);
        }
    }
    return true;
}

bool tokenizer_is_end(const Tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer;
    return id == 0;
}

void tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t n, bool special,
                      Buf *buf)
{
    (void)tokenizer;
    (void)special;
    for (size_t i = 0; i < n; i++) {
        buf_char(buf, (char)('!' + ids[i]));
    }
}

// ---- Jobs as engine.c makes them --------------------------------------------------------------

typedef struct World {
    Forward forward;
    Schedule schedule;
    Rng rng;
    size_t n_finished;
    size_t n_failed;
    size_t n_wrong;
    void (*ended)(struct World *world, const Job *job); // NULL: nobody is told
    void *ctx;
} World;

static Job *job_make(uint64_t id, const EngineRequest *request)
{
    Job *job = mem_zalloc(1, sizeof(*job));
    job->id = id;
    job->request = *request;
    arena_init(&job->arena, 512);
    size_t n = request->n_leaves > 0 ? request->n_leaves : 1;
    job->items = ARENA_ARRAY(&job->arena, Item, n);
    job->n_items = (uint32_t)n;
    job->n_left = (uint32_t)n;
    if (request->n_leaves == 0) {
        job->items[0] =
            (Item){.job = job, .tokens = request->prompt, .n = (uint32_t)request->n_prompt};
        job->sequences = ARENA_ARRAY(&job->arena, Sequence, (size_t)request->n_replies);
        job->n_left += (uint32_t)request->n_replies;
        return job;
    }
    job->logprobs = ARENA_ARRAY(&job->arena, float *, n);
    job->misses = ARENA_ARRAY(&job->arena, uint32_t, n);
    for (size_t i = 0; i < n; i++) {
        const EngineLeaf *leaf = &request->leaves[i];
        job->items[i] = (Item){.job = job,
                               .leaf = (uint32_t)i,
                               .tokens = leaf->tokens,
                               .n = (uint32_t)leaf->n_tokens - 1};
        job->logprobs[i] = ARENA_ARRAY(&job->arena, float, leaf->n_tokens);
    }
    return job;
}

static uint64_t prefix_hash(const int32_t *tokens, size_t n)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++) {
        hash = chain(hash, tokens[i]);
    }
    return hash;
}

static bool scores_right(const Job *job)
{
    for (uint32_t l = 0; l < job->n_items; l++) {
        const EngineLeaf *leaf = &job->request.leaves[l];
        for (size_t i = leaf->n_context; i < leaf->n_tokens; i++) {
            float want = logit_of(prefix_hash(leaf->tokens, i), leaf->tokens[i]);
            if (job->logprobs[l][i - leaf->n_context] != want) {
                return false;
            }
        }
    }
    return true;
}

static bool reply_right(const Job *job, const Sequence *sequence)
{
    const PickerSettings *picker = &job->request.picker;
    uint64_t hash = prefix_hash(job->request.prompt, job->request.n_prompt);
    bool right = sequence->n_tokens > 0 && sequence->n_tokens <= job->request.max_tokens;
    for (uint32_t i = 0; i < sequence->n_tokens && right; i++) {
        double random = rng_at(picker->seed, sequence->reply, i);
        right = pick_of(hash, picker->temperature, random) == sequence->tokens[i].id;
        hash = chain(hash, sequence->tokens[i].id);
    }
    bool ended = sequence->n_tokens > 0 && sequence->tokens[sequence->n_tokens - 1].id == 0;
    return right && (ended || sequence->n_tokens == job->request.max_tokens);
}

static void on_finish(void *ctx, Job *job)
{
    World *world = ctx;
    world->n_finished++;
    if (world->ended != NULL) {
        world->ended(world, job);
    }
    if (job->err != NULL) {
        world->n_failed++;
    } else if (job->request.n_leaves > 0) {
        world->n_wrong += scores_right(job) ? 0 : 1;
    } else {
        for (int64_t i = 0; i < job->request.n_replies; i++) {
            world->n_wrong += reply_right(job, &job->sequences[i]) ? 0 : 1;
        }
    }
    for (int64_t i = 0; job->sequences != NULL && i < job->request.n_replies; i++) {
        mem_free(job->sequences[i].tokens);
        extents_finish(&job->sequences[i].path);
        buf_finish(&job->sequences[i].text);
    }
    mem_free(job->err);
    arena_finish(&job->arena);
    mem_free(job);
}

static void world_open(World *world, uint64_t seed, uint32_t max_rows, uint64_t pool_slots,
                       int64_t batch)
{
    Err err = ERR_INIT;
    *world = (World){
        .forward = {.max_rows = max_rows, .info = {.vocab = VOCAB, .context_tokens = 4096}}};
    rng_init(&world->rng, seed);
    EngineOptions options = {.kv_bytes = pool_slots * 8, .max_batch = batch};
    CHECK_OK(schedule_init(&world->schedule, &world->forward, NULL, &options, &err), &err);
    world->schedule.finish = on_finish;
    world->schedule.ctx = world;
}

/** Run dry, then see that only cached nodes hold slots and nothing holds a reference. */
static void world_drain(World *world)
{
    for (int i = 0; i < 1000000 && schedule_has_work(&world->schedule); i++) {
        schedule_step(&world->schedule);
    }
    CHECK(!schedule_has_work(&world->schedule));
    schedule_heard(&world->schedule, UINT64_MAX); // no more turns
    CHECK_INT(world->schedule.trie.root->n_refs, 0);
    if (world->schedule.slots.n_slots > 0) {
        trie_evict(&world->schedule.trie, world->schedule.slots.n_slots);
        CHECK_INT(world->schedule.slots.n_taken, 0);
    }
}

static void world_close(World *world)
{
    schedule_finish(&world->schedule);
    mem_free(world->forward.slots);
}
