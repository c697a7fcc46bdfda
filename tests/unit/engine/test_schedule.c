// SPDX-License-Identifier: MIT
// The scheduler over a fake forward pass whose "keys and values" are a hash of the prefix: a row's
// result can only be right when every slot of its path holds what it should. Checked: results
// against hashes taken straight from the tokens, each distinct prefix token computed once, small
// pools, late arrivals, forks, cancellation, and that no slot is lost.
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
    struct Talks *talks; // NULL: requests stand alone
} World;

/** A request that is to come. */
typedef struct NextTurn {
    EngineRequest request;
    uint64_t id;
    uint64_t step; // before which it comes
} NextTurn;

/** Attempts of several turns: a prompt goes on with the reply before it and new tokens. */
typedef struct Talks {
    Arena arena;
    NextTurn *next;  // in order of step
    uint64_t *ended; // for every job that ended: the step with which it is heard of
    size_t n_next, n_said, n_ended, n_heard;
    uint64_t n_turns;  // of an attempt
    uint64_t n_more;   // some have up to this many more, less one
    uint64_t delay;    // steps until a reply is answered
    uint64_t n_needed; // tokens of prompts that no earlier prompt or reply has left computed
} Talks;

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

enum { TURNS_MAX = 10, TURN_TOKENS = 30, TURN_REPLY = 20 };

/** Note the next turn of an attempt, whose number is the id's rest; or its end. */
static void talk_continue(World *world, const Job *job)
{
    Talks *talks = world->talks;
    const Sequence *reply = &job->sequences[0];
    size_t n = job->request.n_prompt;
    uint64_t turn = job->id % TURNS_MAX;
    uint64_t answered = world->schedule.step + talks->delay;
    talks->n_needed += turn == 0 ? n : TURN_TOKENS + 1; // and a reply's last token
    talks->ended[talks->n_ended++] = answered;
    if (turn + 1 >= talks->n_turns + (job->id / TURNS_MAX) % talks->n_more) {
        return;
    }
    size_t n_next = n + reply->n_tokens + TURN_TOKENS;
    int32_t *tokens = ARENA_ARRAY(&talks->arena, int32_t, n_next);
    memcpy(tokens, job->request.prompt, n * sizeof(*tokens));
    for (size_t i = 0; i < reply->n_tokens; i++) {
        tokens[n + i] = reply->tokens[i].id;
    }
    for (size_t i = n + reply->n_tokens; i < n_next; i++) {
        tokens[i] = (int32_t)(rng_at(job->id, 7, i) * VOCAB);
    }
    EngineRequest request = job->request;
    request.prompt = tokens;
    request.n_prompt = n_next;
    talks->next[talks->n_next++] =
        (NextTurn){.request = request, .id = job->id + 1, .step = answered};
}

static void on_finish(void *ctx, Job *job)
{
    World *world = ctx;
    world->n_finished++;
    if (world->talks != NULL && job->err == NULL) {
        talk_continue(world, job);
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

// ---- Random request sets ----------------------------------------------------------------------

static int32_t token_random(World *world)
{
    return (int32_t)rng_below(&world->rng, 3) + 1; // few tokens: many shared prefixes
}

static EngineRequest request_random(World *world, Arena *arena, size_t max_len)
{
    size_t n = 1 + rng_below(&world->rng, max_len);
    int32_t *tokens = ARENA_ARRAY(arena, int32_t, n + 8);
    for (size_t i = 0; i < n + 8; i++) {
        tokens[i] = token_random(world);
    }
    if (rng_below(&world->rng, 2) == 0) {
        return (EngineRequest){.prompt = tokens,
                               .n_prompt = n,
                               .max_tokens = 1 + (int64_t)rng_below(&world->rng, 9),
                               .n_replies = 1 + (int64_t)rng_below(&world->rng, 3),
                               .picker = {.temperature = (double)rng_below(&world->rng, 2),
                                          .top_p = 1,
                                          .seed = rng_next(&world->rng)}};
    }
    size_t n_leaves = 1 + rng_below(&world->rng, 4);
    EngineLeaf *leaves = ARENA_ARRAY(arena, EngineLeaf, n_leaves);
    for (size_t l = 0; l < n_leaves; l++) {
        int32_t *copy = ARENA_ARRAY(arena, int32_t, n + 8);
        memcpy(copy, tokens, n * sizeof(*copy));
        size_t extra = rng_below(&world->rng, 7);
        for (size_t i = n; i < n + extra; i++) {
            copy[i] = token_random(world);
        }
        leaves[l] = (EngineLeaf){.tokens = copy, .n_tokens = n + extra, .n_context = n};
    }
    return (EngineRequest){.leaves = leaves, .n_leaves = n_leaves};
}

static size_t add_random(World *world, Arena *arena, uint64_t *id, size_t n, size_t max_len)
{
    Job **jobs = mem_alloc(n + 1, sizeof(*jobs));
    for (size_t i = 0; i < n; i++) {
        EngineRequest request = request_random(world, arena, max_len);
        jobs[i] = job_make((*id)++, &request);
    }
    schedule_add(&world->schedule, jobs, n);
    mem_free(jobs);
    return n;
}

static void test_schedule__right_in_every_mix(void)
{
    static const struct {
        uint32_t max_rows;
        uint64_t pool;
        int64_t batch;
        size_t max_len;
    } mixes[] = {{512, 100000, 0, 60},
                 {7, 100000, 3, 40},
                 {1, 5000, 1, 12},
                 {64, 120, 4, 40},
                 {16, 90, 0, 50}};
    for (size_t m = 0; m < sizeof(mixes) / sizeof(mixes[0]); m++) {
        for (uint64_t seed = 1; seed <= 20; seed++) {
            World world;
            Arena arena = {0};
            uint64_t id = 1;
            size_t n = 0;
            world_open(&world, seed * 100 + m, mixes[m].max_rows, mixes[m].pool, mixes[m].batch);
            for (int wave = 0; wave < 4; wave++) { // later waves arrive while earlier ones run
                n += add_random(&world, &arena, &id, 30, mixes[m].max_len);
                for (int k = 0; k < 5 && wave < 3; k++) {
                    schedule_step(&world.schedule);
                }
            }
            world_drain(&world);
            CHECK_INT(world.n_finished, n);
            CHECK_INT(world.n_failed, 0);
            CHECK_INT(world.n_wrong, 0);
            world_close(&world);
            arena_finish(&arena);
        }
    }
}

static void test_schedule__computes_each_prefix_once(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        World world;
        Arena arena = {0};
        uint64_t id = 1;
        world_open(&world, seed, seed % 2 == 0 ? 512 : 13, 1000000, 0);
        add_random(&world, &arena, &id, 200, 50);
        world_drain(&world);
        CHECK_INT(world.n_wrong, 0);
        const EngineStats *stats = &world.schedule.stats;
        CHECK_INT(stats->prefill_tokens_computed, stats->prefill_tokens_needed);
        CHECK(stats->prefill_tokens_total > stats->prefill_tokens_needed);
        world_close(&world);
        arena_finish(&arena);
    }
}

static void test_schedule__shared_prefix_is_exact(void)
{
    World world;
    Arena arena = {0};
    world_open(&world, 5, 64, 100000, 0);
    Job *jobs[50];
    int32_t *tokens = ARENA_ARRAY(&arena, int32_t, 50 * 120);
    for (size_t j = 0; j < 50; j++) {
        int32_t *own = tokens + j * 120;
        for (int32_t i = 0; i < 120; i++) {
            own[i] = i < 100 ? i % 17 + 1 : (int32_t)(j % 45) + (i == 100 ? 1 : 2);
        }
        EngineRequest request = {.prompt = own,
                                 .n_prompt = 120,
                                 .max_tokens = 4,
                                 .n_replies = 8,
                                 .picker = {.temperature = 1, .top_p = 1, .seed = j}};
        jobs[j] = job_make(j + 1, &request);
    }
    schedule_add(&world.schedule, jobs, 50);
    world_drain(&world);
    CHECK_INT(world.n_wrong, 0);
    CHECK_INT(world.schedule.stats.prefill_tokens_needed, 100 + 45 * 20);
    CHECK_INT(world.schedule.stats.prefill_tokens_computed, 100 + 45 * 20);
    CHECK_INT(world.schedule.stats.prefill_tokens_total, 50 * 120);
    world_close(&world);
    arena_finish(&arena);
}

/** A pool of the longest path and the replies' reserve is enough to compute nothing twice. */
static void test_schedule__exact_in_the_smallest_pool(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        World world;
        Arena arena = {0};
        uint64_t id = 1;
        int64_t batch = 1 + (int64_t)(seed % 5);
        uint64_t longest = 50 + 8; // prompts and leaves, see request_random
        uint64_t reserve = (uint64_t)batch * (50 + 9);
        world_open(&world, seed, seed % 2 == 0 ? 512 : 13, longest + reserve, batch);
        add_random(&world, &arena, &id, 200, 50);
        world_drain(&world);
        CHECK_INT(world.n_failed, 0);
        CHECK_INT(world.n_wrong, 0);
        CHECK(world.schedule.slots.n_slots <= longest + reserve);
        CHECK_INT(world.schedule.stats.prefill_tokens_computed,
                  world.schedule.stats.prefill_tokens_needed);
        world_close(&world);
        arena_finish(&arena);
    }
}

/** Prompts and scored texts pass each other, and still nothing is computed twice. */
static void test_schedule__exact_out_of_order(void)
{
    uint64_t n_ahead_steps = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        World world;
        Arena arena = {0};
        uint64_t id = 1;
        int64_t batch = 1 + (int64_t)(seed % 5);
        uint64_t need = 50 + 8 + (uint64_t)batch * (50 + 9);
        world_open(&world, seed, seed % 2 == 0 ? 512 : 13, need + need * (seed % 7) / 3, batch);
        add_random(&world, &arena, &id, 200, 50);
        for (int i = 0; i < 1000000 && schedule_has_work(&world.schedule); i++) {
            schedule_step(&world.schedule);
            n_ahead_steps += world.schedule.trie.n_ahead > 0 ? 1 : 0;
        }
        world_drain(&world);
        CHECK_INT(world.n_failed, 0);
        CHECK_INT(world.n_wrong, 0);
        CHECK_INT(world.schedule.trie.n_ahead, 0);
        CHECK_INT(world.schedule.stats.prefill_tokens_computed,
                  world.schedule.stats.prefill_tokens_needed);
        world_close(&world);
        arena_finish(&arena);
    }
    CHECK(n_ahead_steps > 100);
}

/** While replies are written and more wait, scored texts use what is left of the steps; whichever
 * of the two comes first in order. */
static void test_schedule__scores_fill_the_steps_of_replies(void)
{
    for (int32_t scores_first = 0; scores_first < 2; scores_first++) {
        World world;
        Arena arena = {0};
        Job *jobs[40];
        world_open(&world, 3, 16, 10000, 4);
        for (size_t j = 0; j < 40; j++) { // 20 prompts and 20 texts, each of 20 tokens
            bool scores = j >= 20;
            int32_t *tokens = ARENA_ARRAY(&arena, int32_t, 20);
            for (int32_t i = 0; i < 20; i++) {
                tokens[i] = i == 0 ? (scores ? 2 - scores_first * 2 + 1 : 2) : (int32_t)j + 1;
            }
            EngineLeaf *leaf = ARENA_NEW(&arena, EngineLeaf);
            *leaf = (EngineLeaf){.tokens = tokens, .n_tokens = 20, .n_context = 5};
            EngineRequest request = {.prompt = tokens,
                                     .n_prompt = 20,
                                     .max_tokens = 40,
                                     .n_replies = 1,
                                     .picker = {.top_p = 1, .seed = j}};
            if (scores) {
                request = (EngineRequest){.leaves = leaf, .n_leaves = 1};
            }
            jobs[j] = job_make(j + 1, &request);
        }
        schedule_add(&world.schedule, jobs, 40);
        uint64_t scores_gone = 0;
        uint64_t last_full = 0;
        while (schedule_has_work(&world.schedule)) {
            schedule_step(&world.schedule);
            if (world.schedule.lists[LIST_SCORES].n > 0) {
                scores_gone = world.schedule.step;
                CHECK_INT(world.schedule.plan.n_rows, 16);
            }
            last_full = world.schedule.n_running == 4 ? world.schedule.step : last_full;
        }
        world_drain(&world);
        CHECK(scores_gone < last_full);
        CHECK_INT(world.n_wrong, 0);
        CHECK_INT(world.schedule.stats.prefill_tokens_computed,
                  world.schedule.stats.prefill_tokens_needed);
        world_close(&world);
        arena_finish(&arena);
    }
}

/** Pools that hold one request and no more: everything ends, and what can not fit says so. */
static void test_schedule__ends_in_every_tiny_pool(void)
{
    for (uint64_t pool = 64; pool <= 80; pool++) {
        for (uint64_t seed = 1; seed <= 10; seed++) {
            World world;
            Arena arena = {0};
            uint64_t id = 1;
            size_t n = 0;
            world_open(&world, seed * 1000 + pool, 1 + (uint32_t)(seed * 3), pool, 0);
            for (int wave = 0; wave < 3; wave++) {
                n += add_random(&world, &arena, &id, 40, 55);
                for (int k = 0; k < 9 && wave < 2; k++) {
                    schedule_step(&world.schedule);
                }
            }
            world_drain(&world);
            CHECK_INT(world.n_finished, n);
            CHECK_INT(world.n_failed, 0); // 55 + 8 fit 64
            CHECK_INT(world.n_wrong, 0);
            world_close(&world);
            arena_finish(&arena);
        }
    }
}

/** More replies than rows: all of them go on, one prompt row serves them all, in any pool. */
static void test_schedule__many_replies_take_turns(void)
{
    static const struct {
        uint64_t pool;
        uint32_t max_rows;
        size_t n_jobs;
        int64_t n_replies;
    } cases[] = {{100000, 512, 1, 500}, {100000, 512, 300, 1}, {100000, 10, 3, 100},
                 {100, 512, 1, 200},    {100, 512, 200, 1},    {70, 3, 100, 2}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        World world;
        Arena arena = {0};
        world_open(&world, c + 1, cases[c].max_rows, cases[c].pool, 0);
        Job *jobs[300];
        int32_t tokens[20] = {0};
        for (int32_t i = 0; i < 20; i++) {
            tokens[i] = i + 1;
        }
        for (size_t j = 0; j < cases[c].n_jobs; j++) {
            EngineRequest request = {.prompt = tokens,
                                     .n_prompt = 20,
                                     .max_tokens = 30,
                                     .n_replies = cases[c].n_replies,
                                     .picker = {.temperature = 1, .top_p = 1, .seed = j}};
            jobs[j] = job_make(j + 1, &request);
        }
        schedule_add(&world.schedule, jobs, cases[c].n_jobs);
        for (int i = 0; i < 100000 && schedule_has_work(&world.schedule); i++) {
            uint32_t most = 0;
            for (size_t k = 0; k < world.schedule.n_running; k++) {
                const Sequence *sequence = world.schedule.running[k];
                uint32_t waited = (uint32_t)(world.schedule.step - sequence->ran_step);
                most = waited > most ? waited : most;
            }
            CHECK(world.schedule.n_running <= AT_ONCE);
            CHECK(most <= AT_ONCE / cases[c].max_rows + 2); // nobody is passed over
            schedule_step(&world.schedule);
        }
        world_drain(&world);
        CHECK_INT(world.n_finished, cases[c].n_jobs);
        CHECK_INT(world.n_failed, 0);
        CHECK_INT(world.n_wrong, 0);
        CHECK_INT(world.schedule.stats.prefill_tokens_computed, 20);
        world_close(&world);
        arena_finish(&arena);
    }
}

static void test_schedule__cancels_and_fails_cleanly(void)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        World world;
        Arena arena = {0};
        Err err = ERR_INIT;
        uint64_t id = 1;
        ERR_SET(&err, ERR_CANCELLED, "cancelled");
        world_open(&world, seed, 9, 2000, 4);
        size_t n = add_random(&world, &arena, &id, 60, 30);
        for (uint64_t k = 1; k <= 60; k += 3) {
            uint64_t ids[3] = {k + 30, k, 1000}; // out of order; some are done, one never was
            schedule_step(&world.schedule);
            schedule_cancel(&world.schedule, ids, 3, &err);
        }
        if (seed % 2 == 0) {
            world.forward.fail = true;
        }
        world_drain(&world);
        CHECK_INT(world.n_finished, n);
        CHECK(world.n_failed > 0);
        CHECK_INT(world.n_wrong, 0);
        world_close(&world);
        arena_finish(&arena);
    }
}

static void test_schedule__says_what_does_not_fit(void)
{
    World world;
    Arena arena = {0};
    world_open(&world, 1, 16, 64, 0);
    int32_t *tokens = ARENA_ARRAY(&arena, int32_t, 200);
    EngineRequest big = {
        .prompt = tokens, .n_prompt = 100, .max_tokens = 2, .n_replies = 1, .label = STR("big")};
    EngineRequest small = {
        .prompt = tokens, .n_prompt = 10, .max_tokens = 2, .n_replies = 1, .picker = {.top_p = 1}};
    Job *jobs[2] = {job_make(1, &big), job_make(2, &small)};
    schedule_add(&world.schedule, jobs, 2);
    world_drain(&world);
    CHECK_INT(world.n_finished, 2);
    CHECK_INT(world.n_failed, 1);
    CHECK_INT(world.n_wrong, 0);
    world_close(&world);
    arena_finish(&arena);
}

/** A judge's long request, made while short replies are still being written, finds the whole pool.
 */
static void test_schedule__has_room_for_what_comes_late(void)
{
    World world;
    Arena arena = {0};
    world_open(&world, 1, 16, 4000, 0);
    int32_t *tokens = ARENA_ARRAY(&arena, int32_t, 1500);
    for (int32_t i = 0; i < 1500; i++) {
        tokens[i] = i % 17 + 1;
    }
    EngineRequest first = {
        .prompt = tokens, .n_prompt = 10, .max_tokens = 40, .n_replies = 1, .picker = {.top_p = 1}};
    EngineRequest late = {.prompt = tokens,
                          .n_prompt = 1500,
                          .max_tokens = 200,
                          .n_replies = 1,
                          .picker = {.top_p = 1}};
    Job *jobs[2] = {job_make(1, &first), job_make(2, &late)};
    schedule_add(&world.schedule, jobs, 1);
    schedule_step(&world.schedule);
    CHECK_INT(world.schedule.n_running, 1);
    schedule_add(&world.schedule, jobs + 1, 1);
    world_drain(&world);
    CHECK_INT(world.n_finished, 2);
    CHECK_INT(world.n_failed, 0);
    CHECK_INT(world.n_wrong, 0);
    world_close(&world);
    arena_finish(&arena);
}

/** What has been answered by now comes in; all of it when the schedule waits for nothing else. */
static void talks_answer(World *world)
{
    Talks *talks = world->talks;
    uint64_t now = world->schedule.step;
    if (world->schedule.waits || !schedule_has_work(&world->schedule)) {
        now = UINT64_MAX;
    }
    Job **jobs = mem_alloc(talks->n_next + 1, sizeof(*jobs));
    size_t n = 0;
    for (; talks->n_said < talks->n_next && talks->next[talks->n_said].step <= now;
         talks->n_said++) {
        const NextTurn *next = &talks->next[talks->n_said];
        jobs[n++] = job_make(next->id, &next->request);
    }
    if (n > 0) {
        schedule_add(&world->schedule, jobs, n);
    }
    while (talks->n_heard < talks->n_ended && talks->ended[talks->n_heard] <= now) {
        talks->n_heard++;
    }
    schedule_heard(&world->schedule, talks->n_heard);
    mem_free(jobs);
}

/** Attempts of some turns in a part of what they come to: next to nothing is computed again. */
static void test_schedule__turns_in_a_small_pool(void)
{
    enum { ATTEMPTS_MAX = 200 };
    static const struct {
        int line;
        size_t n_attempts;
        uint64_t n_turns, n_more;
        uint32_t max_rows;
        uint64_t delay;
        uint64_t divisor; // of what all come to: the pool
        uint64_t spread;  // first prompts have up to so many tokens more
    } cases[] = {
        {__LINE__, 200, 3, 1, 512, 0, 4, 1},   {__LINE__, 200, 3, 1, 64, 0, 4, 1},
        {__LINE__, 200, 3, 1, 512, 1, 4, 60},  {__LINE__, 200, 3, 1, 512, 4, 4, 60},
        {__LINE__, 200, 3, 1, 64, 2, 4, 60},   {__LINE__, 40, 3, 1, 512, 1, 4, 60},
        {__LINE__, 40, 3, 1, 512, 30, 4, 60},  {__LINE__, 200, 3, 1, 512, 2, 8, 60},
        {__LINE__, 200, 6, 1, 512, 2, 4, 60},  {__LINE__, 200, 1, 6, 512, 2, 4, 60},
        {__LINE__, 200, 2, 8, 512, 2, 6, 120}, {__LINE__, 200, 1, 1, 512, 2, 4, 60},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        World world;
        Talks talks = {
            .n_turns = cases[c].n_turns, .n_more = cases[c].n_more, .delay = cases[c].delay};
        size_t most = cases[c].n_attempts * TURNS_MAX;
        talks.next = ARENA_ARRAY(&talks.arena, NextTurn, most);
        talks.ended = ARENA_ARRAY(&talks.arena, uint64_t, most);
        uint64_t all = 0;
        size_t n_jobs = 0;
        for (size_t j = 0; j < cases[c].n_attempts; j++) {
            size_t n = TURN_TOKENS + (size_t)(rng_at(j, 5, 0) * (double)cases[c].spread);
            uint64_t turns = cases[c].n_turns + j % cases[c].n_more;
            int32_t *tokens = ARENA_ARRAY(&talks.arena, int32_t, n);
            for (size_t i = 0; i < n; i++) {
                tokens[i] = (int32_t)(rng_at(j, 3, i) * VOCAB);
            }
            talks.next[talks.n_next++] = (NextTurn){.id = j * TURNS_MAX,
                                                    .request = {.prompt = tokens,
                                                                .n_prompt = n,
                                                                .max_tokens = TURN_REPLY,
                                                                .n_replies = 1,
                                                                .picker = {.top_p = 1, .seed = j}}};
            all += n + TURN_REPLY - 1 + (turns - 1) * (TURN_TOKENS + TURN_REPLY);
            n_jobs += turns;
        }
        world_open(&world, 1, cases[c].max_rows, all / cases[c].divisor, 0);
        world.talks = &talks;
        while (talks.n_said < talks.n_next || schedule_has_work(&world.schedule)) {
            talks_answer(&world);
            schedule_step(&world.schedule);
        }
        world_drain(&world);
        CHECK_INT(world.n_finished, n_jobs);
        CHECK_INT(world.n_failed, 0);
        CHECK_INT(world.n_wrong, 0);
        const EngineStats *stats = &world.schedule.stats;
        uint64_t computed = stats->prefill_tokens_computed;
        printf("# line %d: pool %llu, computed / needed %.3f in %llu steps\n", cases[c].line,
               (unsigned long long)all / cases[c].divisor,
               (double)computed / (double)talks.n_needed, (unsigned long long)stats->steps);
        CHECK(computed * 100 <= talks.n_needed * 105);
        world_close(&world);
        arena_finish(&talks.arena);
    }
}

int main(void)
{
    tap_run("right in every mix of batch, pool and arrival", test_schedule__right_in_every_mix);
    tap_run("computes each prefix once", test_schedule__computes_each_prefix_once);
    tap_run("a shared prefix is computed exactly once", test_schedule__shared_prefix_is_exact);
    tap_run("exact in the smallest pool", test_schedule__exact_in_the_smallest_pool);
    tap_run("exact when prompts and texts pass each other", test_schedule__exact_out_of_order);
    tap_run("scores fill the steps of replies", test_schedule__scores_fill_the_steps_of_replies);
    tap_run("ends in every tiny pool", test_schedule__ends_in_every_tiny_pool);
    tap_run("many replies take turns", test_schedule__many_replies_take_turns);
    tap_run("cancels and fails cleanly", test_schedule__cancels_and_fails_cleanly);
    tap_run("says what does not fit the pool", test_schedule__says_what_does_not_fit);
    tap_run("turns in a small pool", test_schedule__turns_in_a_small_pool);
    tap_run("has room for what comes late", test_schedule__has_room_for_what_comes_late);
    return tap_done();
}
