// SPDX-License-Identifier: MIT
// The loop against a fake sampler: admission, failures, interruption and resumption, several calls
// in one attempt, epochs and shards.
#include "world.h"

static const char one_call[] =
    "schema: 1\neval: one\nversion: 1\ndescription: One call.\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"
    "prompt: \"{{ input }}\"\n"
    "solver: {use: generate, max_tokens: 4}\n"
    "graders: [{use: exact}]\nmetrics: [accuracy]\n";

static const char three_calls[] =
    "schema: 1\neval: three\nversion: 1\ndescription: A solver with three calls, two at once.\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ id }}/0 {{ id }}/1.0 {{ id "
    "}}/2.0\"}\n"
    "prompt: \"{{ input }}\"\n"
    "solver: {use: three}\n"
    "graders: [{use: exact}]\nmetrics: [accuracy]\nepochs: 2\n";

// The limit is spent between the two steps of the solver, if half of a step counts as one.
static const char limited_calls[] =
    "schema: 1\neval: three\nversion: 1\ndescription: Three calls, the limit reached by the last.\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ id }}/0 {{ id }}/1.0 {{ id "
    "}}/2.0\"}\n"
    "prompt: \"{{ input }}\"\n"
    "solver: {use: three}\n"
    "limits: {turns: 2, then: grade}\n"
    "graders: [{use: exact}]\nmetrics: [accuracy]\nepochs: 2\n";

static const char three_lua[] =
    "return {name = 'three', version = 1, solve = function(sample, ctx)\n"
    "  local first = ctx.generate(sample.prompt).text\n"
    "  local both = ctx.all{function() return ctx.generate(first .. 'a').text end,\n"
    "                       function() return ctx.generate(first .. 'b').text end}\n"
    "  return first .. ' ' .. both[1] .. ' ' .. both[2]\n"
    "end}\n";

/** The first metric of the experiment's only run. */
static RunInfo run_info(World *world)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    RunInfo *runs = NULL;
    size_t n = 0;
    RunInfo out = {0};
    if (CHECK_OK(results_open(world->config.store_path, &results, &err), &err) &&
        CHECK_OK(
            results_runs(results, &world->arena, world->outcome.experiment_id, &runs, &n, &err),
            &err) &&
        n > 0) {
        out = runs[0];
    }
    results_close(results);
    return out;
}

static Hash digest(World *world)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    Hash hash = {0};
    if (CHECK_OK(results_open(world->config.store_path, &results, &err), &err)) {
        CHECK_OK(results_digest(results, world->outcome.experiment_id, &hash, &err), &err);
    }
    results_close(results);
    return hash;
}

static void check_accuracy(World *world, int64_t n)
{
    RunInfo run = run_info(world);
    CHECK_INT(run.n_done, n);
    CHECK_INT(run.n_metrics, 1);
    if (run.n_metrics == 1) {
        CHECK_NEAR(run.metrics[0].value, 1.0, 0);
    }
}

static void test_loop__admits_all_before_closing(void)
{
    World world;
    Err err = ERR_INIT;
    fake = (FakePlan){.wants_all = true};
    world_open(&world, one_call, 500);
    world_load(&world);
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(fake.n_before_closed, 500);
    CHECK_INT(fake.n_submitted, 500);
    CHECK_INT(world.outcome.done, 500);
    CHECK_INT(world.outcome.errors, 0);
    check_accuracy(&world, 500);
    world_close(&world);
}

static void test_loop__paces_the_others(void)
{
    World world;
    Err err = ERR_INIT;
    fake = (FakePlan){.max_in_flight = 3};
    world_open(&world, one_call, 100);
    world_load(&world);
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.done, 100);
    check_accuracy(&world, 100);
    world_close(&world);
}

static void test_loop__replays_the_log_between_calls(void)
{
    for (int wants_all = 0; wants_all < 2; wants_all++) {
        World world;
        Err err = ERR_INIT;
        fake = (FakePlan){.wants_all = wants_all != 0, .max_in_flight = 8};
        world_open(&world, three_calls, 60);
        world_write(&world, "three.lua", three_lua);
        world_load(&world);
        CHECK_OK(world_run(&world, &err), &err);
        CHECK_INT(world.outcome.done, 120); // two epochs
        CHECK_INT(fake.n_submitted, 360);
        RunInfo run = run_info(&world);
        CHECK_INT(run.n_done, 120);
        CHECK_INT(run.metrics[0].n, 60); // epochs are reduced first
        CHECK_NEAR(run.metrics[0].value, 1.0, 0);
        world_close(&world);
    }
}

static void test_loop__keeps_failures_in_their_attempt(void)
{
    World world;
    Err err = ERR_INIT;
    fake = (FakePlan){.wants_all = true, .fail_with = "s7", .fail_code = ERR_REPLY};
    world_open(&world, one_call, 50);
    world_load(&world);
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.done, 49);
    CHECK_INT(world.outcome.errors, 1);
    CHECK(str_find(world.outcome.first_error, STR("the fake fails sample s7"), 0) != STR_NONE);
    world.config.name = world.outcome.name;
    world.config.resume = true;
    fake = (FakePlan){.wants_all = true}; // errors are retried in place
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(fake.n_submitted, 1);
    CHECK_INT(world.outcome.done, 50);
    CHECK_INT(world.outcome.skipped, 49);
    check_accuracy(&world, 50);
    world_close(&world);
}

static void test_loop__ends_with_an_unusable_model(void)
{
    World world;
    Err err = ERR_INIT;
    fake = (FakePlan){.max_in_flight = 4, .fail_with = "s9", .fail_code = ERR_MODEL};
    world_open(&world, one_call, 400);
    world_load(&world);
    CHECK(!world_run(&world, &err));
    CHECK_INT(err.code, ERR_MODEL);
    CHECK(world.outcome.name.len > 0);
    CHECK(fake.n_submitted < 100);
    CHECK(world.outcome.done < 100);
    world_close(&world);
}

static void test_loop__stops_and_resumes_to_the_same_rows(void)
{
    static volatile sig_atomic_t stop;
    Hash whole;
    {
        World world;
        Err err = ERR_INIT;
        fake = (FakePlan){.wants_all = true};
        world_open(&world, three_calls, 40);
        world_write(&world, "three.lua", three_lua);
        world_load(&world);
        CHECK_OK(world_run(&world, &err), &err);
        whole = digest(&world);
        world_close(&world);
    }
    for (size_t after = 1; after < 240; after += 23) {
        World world;
        Err err = ERR_INIT;
        stop = 0;
        fake = (FakePlan){.max_in_flight = 5, .stop_after = after, .stop = &stop};
        world_open(&world, three_calls, 40);
        world_write(&world, "three.lua", three_lua);
        world_load(&world);
        world.config.stop = &stop;
        CHECK_OK(world_run(&world, &err), &err);
        CHECK(world.outcome.interrupted);
        stop = 0;
        fake = (FakePlan){.wants_all = true};
        world.config.name = world.outcome.name;
        world.config.resume = true;
        int64_t done = world.outcome.done;
        CHECK_OK(world_run(&world, &err), &err);
        CHECK(world.outcome.resumed);
        CHECK_INT(world.outcome.skipped, done);
        CHECK_INT(world.outcome.done, 80);
        Hash again = digest(&world);
        CHECK(hash_eq(&whole, &again));
        world_close(&world);
    }
}

/** Run limited_calls whole, or stopped after some replies and resumed; the digest of its rows. */
static Hash limited_run(size_t stop_after, const FakePlan *plan)
{
    static volatile sig_atomic_t stop;
    World world;
    Err err = ERR_INIT;
    stop = 0;
    world_open(&world, limited_calls, 20);
    world_write(&world, "three.lua", three_lua);
    world_load(&world);
    if (stop_after > 0) {
        world.config.stop = &stop;
        fake = *plan;
        fake.stop_after = stop_after;
        fake.stop = &stop;
        int64_t from_ns = clock_ns();
        CHECK_OK(world_run(&world, &err), &err);
        CHECK(world.outcome.interrupted);
        CHECK(clock_ns() - from_ns < 4000000000); // nothing is sent out after a cancellation
        stop = 0;
        world.config.name = world.outcome.name;
        world.config.resume = true;
    }
    fake = (FakePlan){.wants_all = true};
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.done, 40);
    Hash hash = digest(&world);
    world_close(&world);
    return hash;
}

static void test_loop__cancels_in_the_middle_of_an_attempt(void)
{
    Hash whole = limited_run(0, NULL);
    for (size_t after = 3; after < 100; after += 12) {
        Hash stalled = limited_run(after, &(FakePlan){.max_in_flight = 6, .stall = true});
        CHECK(hash_eq(&whole, &stalled));
        Hash late =
            limited_run(after, &(FakePlan){.max_in_flight = 6, .stall = true, .late = true});
        CHECK(hash_eq(&whole, &late));
    }
}

static void test_loop__shards_cover_everything_once(void)
{
    int64_t total = 0;
    for (int64_t shard = 1; shard <= 3; shard++) {
        World world;
        Err err = ERR_INIT;
        fake = (FakePlan){.max_in_flight = 5};
        world_open(&world, one_call, 100);
        world_load(&world);
        world.config.shard = (RunShard){.k = shard, .n = 3};
        world.config.limit_from = 11;
        world.config.limit_to = 80;
        CHECK_OK(world_run(&world, &err), &err);
        total += world.outcome.done;
        CHECK(world.outcome.done >= 23 && world.outcome.done <= 24);
        world_close(&world);
    }
    CHECK_INT(total, 70);
}

static void test_loop__refuses_a_schema_it_can_not_keep(void)
{
    World world;
    Err err = ERR_INIT;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world,
               "schema: 1\neval: s\nversion: 1\ndescription: Replies of a schema.\n"
               "dataset: {path: rows.jsonl}\n"
               "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"
               "solver: {use: generate, schema: {type: object}}\n"
               "graders: [{use: exact}]\nmetrics: [accuracy]\n",
               2);
    world_load(&world);
    CHECK(!world_run(&world, &err));
    CHECK_INT(err.code, ERR_CONFIG);
    CHECK(strstr(err.message, "wants replies of a `schema`, which 'fake' can not keep to") != NULL);
    CHECK_INT(fake.n_submitted, 0);
    world_close(&world);
}

static void test_loop__refuses_a_taken_name(void)
{
    World world;
    Err err = ERR_INIT;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, one_call, 5);
    world_load(&world);
    world.config.name = STR("mine");
    CHECK_OK(world_run(&world, &err), &err);
    CHECK(!world_run(&world, &err));
    CHECK_INT(err.code, ERR_EXISTS);
    err = (Err)ERR_INIT;
    world.config.resume = true;
    world.config.seed = 5;
    CHECK(!world_run(&world, &err));
    CHECK(strstr(err.message, "seed") != NULL);
    world_close(&world);
}

int main(void)
{
    tap_run("admits every first request before closing", test_loop__admits_all_before_closing);
    tap_run("paces samplers that do not want all", test_loop__paces_the_others);
    tap_run("replays the log between calls", test_loop__replays_the_log_between_calls);
    tap_run("keeps failures in their attempt and retries them",
            test_loop__keeps_failures_in_their_attempt);
    tap_run("ends with an unusable model", test_loop__ends_with_an_unusable_model);
    tap_run("stops and resumes to the same rows", test_loop__stops_and_resumes_to_the_same_rows);
    tap_run("cancels in the middle of an attempt and resumes to the same rows",
            test_loop__cancels_in_the_middle_of_an_attempt);
    tap_run("shards cover everything once", test_loop__shards_cover_everything_once);
    tap_run("refuses a schema that the model can not keep to",
            test_loop__refuses_a_schema_it_can_not_keep);
    tap_run("refuses a taken name or another spec", test_loop__refuses_a_taken_name);
    return tap_done();
}
