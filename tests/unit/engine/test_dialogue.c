// SPDX-License-Identifier: MIT
// Dialogues over the scheduler with a fake forward pass (schedule_world.h): in
// a part of the memory that all come to, next to nothing is computed again,
// however late the answers come; and in any pool that holds one turn all of
// them end, whatever else goes on.
#include "schedule_world.h"

enum { TURNS_MAX = 10, TURN_TOKENS = 30, TURN_REPLY = 20 };

/** Attempts of several turns: a prompt goes on with the reply before it and new
 * tokens. An attempt's turns have the ids from TURNS_MAX times its number on.
 */
typedef struct Shape {
    size_t n_attempts;
    uint64_t n_turns;
    uint64_t n_more;  // some have up to this many more, less one
    uint64_t n_first; // tokens of the shortest first prompt
    uint64_t spread;  // first prompts have up to this many more
    uint64_t delay;   // steps until a reply is answered
    bool wild;        // some attempts are alike, have several replies, change or fork
                      // what was said
} Shape;

/** A request that is to come. */
typedef struct NextTurn {
    EngineRequest request;
    uint64_t id;
    uint64_t step; // before which it comes
} NextTurn;

typedef struct Talks {
    const Shape *shape;
    Arena arena;
    NextTurn *next; // in order of step
    size_t n_next, cap_next, n_said;
    uint64_t *ended; // for every job that ended: the step with which it is heard of
    size_t n_ended, cap_ended, n_heard;
    uint64_t n_needed; // tokens of prompts that no earlier prompt or reply has
                       // left computed
    uint64_t n_final;  // keys and values that all come to
} Talks;

static uint64_t attempt_turns(const Shape *shape, uint64_t attempt)
{
    return shape->n_turns + attempt % shape->n_more;
}

static int32_t token_at(uint64_t seed, uint64_t stream, uint64_t i)
{
    return (int32_t)(rng_at(seed, stream, i) * VOCAB);
}

static void next_push(Talks *talks, const NextTurn *next)
{
    GROW(talks->next, talks->n_next, talks->cap_next);
    talks->next[talks->n_next++] = *next;
}

/** Note the next turn of an attempt, or its end. */
static void talk_continue(World *world, const Job *job)
{
    Talks *talks = world->ctx;
    const Shape *shape = talks->shape;
    uint64_t answered = world->schedule.step + shape->delay;
    GROW(talks->ended, talks->n_ended, talks->cap_ended);
    talks->ended[talks->n_ended++] = answered;
    if (job->err != NULL || job->request.n_leaves > 0) {
        return;
    }
    const Sequence *reply = &job->sequences[job->request.n_replies - 1];
    uint64_t turn = job->id % TURNS_MAX;
    size_t n = job->request.n_prompt;
    size_t n_kept = reply->n_tokens;
    talks->n_needed += turn == 0 ? n : TURN_TOKENS + 1; // and a reply's last token
    talks->n_final += (turn == 0 ? n : TURN_TOKENS + 1) + n_kept - 1;
    if (turn + 1 >= attempt_turns(shape, job->id / TURNS_MAX)) {
        return;
    }
    if (shape->wild && job->id % 7 == 0) {
        n_kept /= 2;
    }
    for (uint64_t fork = 0; fork < (shape->wild && job->id % 11 == 0 ? 2 : 1); fork++) {
        NextTurn next = {.request = job->request, .id = job->id + 1, .step = answered};
        size_t n_next = n + n_kept + TURN_TOKENS;
        int32_t *tokens = ARENA_ARRAY(&talks->arena, int32_t, n_next);
        memcpy(tokens, job->request.prompt, n * sizeof(*tokens));
        for (size_t i = 0; i < n_next - n; i++) {
            tokens[n + i] = i < n_kept ? reply->tokens[i].id : token_at(job->id, 7 + fork, i);
        }
        next.request.prompt = tokens;
        next.request.n_prompt = n_next;
        next_push(talks, &next);
    }
}

static void talk_begin(Talks *talks, size_t attempt)
{
    const Shape *shape = talks->shape;
    uint64_t like = shape->wild ? attempt / 2 : attempt;
    size_t n = shape->n_first + (size_t)(rng_at(like, 5, 0) * (double)shape->spread);
    int32_t *tokens = ARENA_ARRAY(&talks->arena, int32_t, n);
    for (size_t i = 0; i < n; i++) {
        tokens[i] = token_at(like, 3, i);
    }
    NextTurn next = {.id = attempt * TURNS_MAX,
                     .request = {.prompt = tokens,
                                 .n_prompt = n,
                                 .max_tokens = TURN_REPLY,
                                 .n_replies = shape->wild && attempt % 5 == 0 ? 3 : 1,
                                 .picker = {.top_p = 1, .seed = attempt}}};
    next_push(talks, &next);
}

/** What has been answered by now comes in; all of it when the schedule waits
 * for nothing else. */
static void talks_answer(World *world)
{
    Talks *talks = world->ctx;
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

static void talks_begin(World *world, Talks *talks, const Shape *shape)
{
    *talks = (Talks){.shape = shape};
    world->ended = talk_continue;
    world->ctx = talks;
    for (size_t a = 0; a < shape->n_attempts; a++) {
        talk_begin(talks, a);
    }
}

/** As the driver does it; false: nothing is left to do or to say. */
static bool talks_step(World *world)
{
    const Talks *talks = world->ctx;
    talks_answer(world);
    if (schedule_has_work(&world->schedule)) {
        schedule_step(&world->schedule);
    }
    return talks->n_said < talks->n_next || schedule_has_work(&world->schedule);
}

/** Until the end, which comes. n_others: jobs that are no turns. */
static void talks_run(World *world, size_t n_others)
{
    const Talks *talks = world->ctx;
    for (size_t i = 0; i < 1000000 && talks_step(world); i++) {
    }
    CHECK_INT(talks->n_said, talks->n_next);
    world_drain(world);
    CHECK_INT(world->n_finished, talks->n_next + n_others);
    CHECK_INT(world->n_wrong, 0);
}

static void talks_end(World *world, Talks *talks)
{
    world_close(world);
    mem_free(talks->next);
    mem_free(talks->ended);
    arena_finish(&talks->arena);
}

/** Keys and values that a shape comes to. */
static uint64_t final_of(const Shape *shape, uint32_t max_rows)
{
    World world;
    Talks talks;
    world_open(&world, 1, max_rows, 1000000, 0);
    talks_begin(&world, &talks, shape);
    talks_run(&world, 0);
    CHECK_INT(world.n_failed, 0);
    CHECK(world.schedule.stats.prefill_tokens_computed <= talks.n_needed); // some begin alike
    uint64_t n = talks.n_final;
    talks_end(&world, &talks);
    return n;
}

static void test_dialogue__little_is_computed_again(void)
{
    static const struct {
        int line;
        Shape shape;
        uint32_t max_rows;
        uint64_t divisor;
    } cases[] = {
        {__LINE__, {200, 3, 1, 30, 1, 0, false}, 512, 4},
        {__LINE__, {200, 3, 1, 30, 1, 0, false}, 64, 4},
        {__LINE__, {200, 3, 1, 30, 60, 1, false}, 512, 4},
        {__LINE__, {200, 3, 1, 30, 60, 4, false}, 512, 4},
        {__LINE__, {200, 3, 1, 30, 60, 2, false}, 64, 4},
        {__LINE__, {40, 3, 1, 30, 60, 1, false}, 512, 4},
        {__LINE__, {40, 3, 1, 30, 60, 30, false}, 512, 4},
        {__LINE__, {200, 3, 1, 30, 60, 2, false}, 512, 8},
        {__LINE__, {200, 6, 1, 30, 60, 2, false}, 512, 4},
        {__LINE__, {200, 1, 6, 30, 60, 2, false}, 512, 4},
        {__LINE__, {200, 2, 8, 30, 120, 2, false}, 512, 6},
        {__LINE__, {200, 1, 1, 30, 60, 2, false}, 512, 4},
    };
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        World world;
        Talks talks;
        uint64_t pool = final_of(&cases[c].shape, cases[c].max_rows) / cases[c].divisor;
        world_open(&world, 1, cases[c].max_rows, pool, 0);
        talks_begin(&world, &talks, &cases[c].shape);
        talks_run(&world, 0);
        CHECK_INT(world.n_failed, 0);
        const EngineStats *stats = &world.schedule.stats;
        printf("# line %d: pool %llu, computed / needed %.3f in %llu steps\n", cases[c].line,
               (unsigned long long)pool,
               (double)stats->prefill_tokens_computed / (double)talks.n_needed,
               (unsigned long long)stats->steps);
        CHECK(stats->prefill_tokens_computed * 100 <= talks.n_needed * 105);
        talks_end(&world, &talks);
    }
}

/** Scored texts come in between, and some turns are given up. */
static void test_dialogue__ends_in_any_pool(void)
{
    enum { N_LEAVES = 40 };
    for (uint64_t seed = 1; seed <= 120; seed++) {
        Shape shape = {.n_attempts = 1 + seed % 31,
                       .n_turns = 1 + seed % 3,
                       .n_more = 1 + seed % 4,
                       .n_first = 1 + seed % 40,
                       .spread = 1 + seed % 50,
                       .delay = seed % 6,
                       .wild = seed % 4 != 0};
        uint64_t longest = shape.n_first + shape.spread +
                           (shape.n_turns + shape.n_more) * (TURN_TOKENS + TURN_REPLY);
        uint64_t pool = longest < 64 ? 64 : longest + seed * 37 % (2 * longest);
        World world;
        Talks talks;
        world_open(&world, seed, 1 + (uint32_t)(seed * 13 % 70), pool, (int64_t)(seed % 5));
        talks_begin(&world, &talks, &shape);
        EngineLeaf leaves[N_LEAVES];
        for (size_t l = 0; l < N_LEAVES; l++) {
            int32_t *tokens = ARENA_ARRAY(&talks.arena, int32_t, 40);
            for (size_t i = 0; i < 40; i++) {
                tokens[i] = token_at(l / 3, seed, i);
            }
            leaves[l] = (EngineLeaf){.tokens = tokens, .n_tokens = 20 + l % 20, .n_context = 10};
        }
        Err err = ERR_INIT;
        ERR_SET(&err, ERR_CANCELLED, "cancelled");
        for (uint64_t step = 0; step < 60; step++) {
            talks_step(&world);
            if (step % 20 == 3) {
                EngineRequest request = {.leaves = leaves, .n_leaves = N_LEAVES};
                Job *job = job_make(1000000 + step, &request);
                schedule_add(&world.schedule, &job, 1);
            }
            if (seed % 3 == 0 && step % 9 == 4) {
                uint64_t id = step / 9 * TURNS_MAX + step % 2;
                schedule_cancel(&world.schedule, &id, 1, &err);
            }
        }
        talks_run(&world, 3);
        CHECK(seed % 3 == 0 || world.n_failed == 0);
        talks_end(&world, &talks);
    }
}

int main(void)
{
    tap_run("little is computed again in a small pool", test_dialogue__little_is_computed_again);
    tap_run("all end in any pool", test_dialogue__ends_in_any_pool);
    return tap_done();
}
