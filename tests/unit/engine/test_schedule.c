// SPDX-License-Identifier: MIT
// The scheduler over a fake forward pass (schedule_world.h): results are right, each distinct
// prefix token is computed once, in small pools, with late arrivals, forks and cancellation, and no
// slot is lost.
#include "schedule_world.h"

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
    tap_run("has room for what comes late", test_schedule__has_room_for_what_comes_late);
    return tap_done();
}
