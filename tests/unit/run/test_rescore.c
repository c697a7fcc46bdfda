// SPDX-License-Identifier: MIT
// Rescoring against experiments that a fake sampler made: equal graders give equal bytes, others
// other scores, and nobody is ever asked.
#include "world.h"

#define HEAD                                                                                       \
    "schema: 1\neval: one\nversion: 1\ndescription: One.\ndataset: {path: rows.jsonl}\n"           \
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"                        \
    "prompt: \"{{ input }}\"\n"
#define ONE_CALL HEAD "solver: {use: generate, max_tokens: 4}\n"
#define MANY     HEAD "solver: {use: many}\n"
#define EXACT    "graders: [{use: exact}]\n"

// Fifteen calls one after the other: paths "0" to "14".
static const char many_lua[] = "return {name = 'many', version = 1, solve = function(sample, ctx)\n"
                               "  local last\n"
                               "  for i = 1, 15 do last = ctx.generate(sample.prompt .. i) end\n"
                               "  return last\n"
                               "end}\n";
static const char two_lua[] = "return {name = 'many', version = 1, solve = function(sample, ctx)\n"
                              "  ctx.generate(sample.prompt)\n"
                              "  return ctx.generate('and then?')\n"
                              "end}\n";
static const char breaks_lua[] =
    "return {name = 'own', version = 1, grade = function(sample, reply)\n"
    "  if sample.id == 's3' then error('oh') end\n"
    "  return true\n"
    "end}\n";
static const char works_lua[] =
    "return {name = 'own', version = 1, grade = function() return true end}\n";
static const char asks_lua[] =
    "return {name = 'own', version = 1, effects = {'generate'},\n"
    "grade = function(sample, reply, params, ctx)\n"
    "  ctx.note('asked')\n"
    "  return ctx.generate('judge: ' .. reply.text, {role = 'judge'}).text == 'x'\n"
    "end}\n";
// The same question, another reading of what was said.
static const char reads_lua[] =
    "return {name = 'own', version = 1, effects = {'generate'},\n"
    "grade = function(sample, reply, params, ctx)\n"
    "  local said = ctx.generate('judge: ' .. reply.text, {role = 'judge'}).text\n"
    "  return #said > 3\n"
    "end}\n";
// Asks for the first samples what was asked, for s2 and later ones something else.
static const char asks_else_lua[] =
    "return {name = 'own', version = 1, effects = {'generate'},\n"
    "grade = function(sample, reply, params, ctx)\n"
    "  local word = (sample.id == 's0' or sample.id == 's1') and 'judge: ' or 'JUDGE: '\n"
    "  return #ctx.generate(word .. reply.text, {role = 'judge'}).text > 3\n"
    "end}\n";

static const Model wise = {.spec = {"fake/wise", 9}, .provider = {"fake", 4}, .name = {"wise", 4}};

static void eval_write(World *world, const char *yaml)
{
    world_write(world, "eval.yaml", yaml);
}

/** Forget what was read of the folder and read it again. */
static void world_again(World *world)
{
    registry_destroy(world->registry);
    script_destroy(world->script);
    world_load(world);
}

static void give_judge(World *world)
{
    static const RunRole judge = {.name = {"judge", 5}, .model = &wise};
    world->config.roles = &judge;
    world->config.n_roles = 1;
}

/** Rescore an experiment of the world's store. */
static bool rescore(World *world, const char *from, const char *grader, RescoreOutcome *out,
                    Err *err)
{
    Results *results = NULL;
    ExperimentInfo *info = ARENA_NEW(&world->arena, ExperimentInfo);
    RunInfo *runs = NULL;
    size_t n = 0;
    const size_t n_asked = fake.n_submitted;
    const size_t n_opened = fake.n_opened;
    bool ok =
        CHECK_OK(results_open(world->config.store_path, &results, err), err) &&
        CHECK_OK(results_experiment(results, &world->arena, str_from_c(from), info, err), err) &&
        CHECK_OK(results_runs(results, &world->arena, info->id, &runs, &n, err), err);
    if (ok) {
        RescoreConfig config = {
            .registry = world->registry,
            .script = world->script,
            .results = results,
            .from = info,
            .runs = runs,
            .n_runs = n,
            .evals = &world->eval,
            .n_evals = 1,
            .grader = str_from_c(grader),
            .store_path = world->config.store_path,
        };
        ok = run_rescore(&config, &world->arena, out, err);
    }
    results_close(results);
    CHECK_INT(fake.n_submitted, n_asked); // nobody was asked, nothing opened
    CHECK_INT(fake.n_opened, n_opened);
    return ok;
}

static Hash digest_of(World *world, Str name)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    ExperimentInfo info;
    Hash hash = {0};
    if (CHECK_OK(results_open(world->config.store_path, &results, &err), &err) &&
        CHECK_OK(results_experiment(results, &world->arena, name, &info, &err), &err)) {
        CHECK_OK(results_digest(results, info.id, &hash, &err), &err);
    }
    results_close(results);
    return hash;
}

/** The value of a metric in an experiment's first run; -1: it has none. */
static double value_of(World *world, Str name, const char *metric)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    ExperimentInfo info;
    RunInfo *runs = NULL;
    size_t n = 0;
    double value = -1;
    if (CHECK_OK(results_open(world->config.store_path, &results, &err), &err) &&
        CHECK_OK(results_experiment(results, &world->arena, name, &info, &err), &err) &&
        CHECK_OK(results_runs(results, &world->arena, info.id, &runs, &n, &err), &err)) {
        for (size_t i = 0; n > 0 && i < runs[0].n_metrics; i++) {
            value = str_eq_c(runs[0].metrics[i].name, metric) ? runs[0].metrics[i].value : value;
        }
    }
    results_close(results);
    return value;
}

typedef struct Seen {
    size_t n_calls;
    size_t n_notes;
    Str error;
    Str error_code;
    Arena *arena;
} Seen;

static bool see(void *ctx, const AttemptInfo *attempt)
{
    Seen *seen = ctx;
    seen->n_calls += attempt->calls.kind == VALUE_LIST ? attempt->calls.as.list.n : 0;
    seen->n_notes += attempt->notes.len > 0;
    seen->error = str_copy(seen->arena, attempt->error);
    seen->error_code = str_copy(seen->arena, attempt->error_code);
    return true;
}

static Seen see_sample(World *world, Str name, const char *sample)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    ExperimentInfo info;
    Seen seen = {.arena = &world->arena};
    AttemptFilter filter = {.sample_id = str_from_c(sample), .with_calls = true};
    if (CHECK_OK(results_open(world->config.store_path, &results, &err), &err) &&
        CHECK_OK(results_experiment(results, &world->arena, name, &info, &err), &err)) {
        CHECK_OK(results_attempts(results, info.id, &filter, see, &seen, &err), &err);
    }
    results_close(results);
    return seen;
}

// ---- Equal graders ------------------------------------------------------------------------------

static void test_rescore__equal_graders_give_equal_bytes(void)
{
    static const struct {
        int line;
        const char *yaml;
        int64_t from, to;
        int64_t shard, n_shards;
        int64_t n; // attempts
        const char *fail_with;
        bool judge;
    } cases[] = {
        {__LINE__, ONE_CALL EXACT, 0, 0, 0, 0, 40, NULL, false},
        {__LINE__, ONE_CALL EXACT "epochs: 3\n", 0, 0, 0, 0, 120, NULL, false},
        {__LINE__, ONE_CALL EXACT "variants: {a: {}, b: {prompt: \"{{ input | upper }}\"}}\n", 0, 0,
         0, 0, 80, NULL, false},
        {__LINE__, ONE_CALL EXACT, 11, 30, 0, 0, 20, NULL, false},
        {__LINE__, ONE_CALL EXACT, 0, 0, 2, 3, 13, NULL, false},
        {__LINE__, ONE_CALL EXACT, 0, 0, 0, 0, 40, "s7", false},
        {__LINE__, MANY EXACT, 0, 0, 0, 0, 40, NULL, false},
        {__LINE__, MANY EXACT "limits: {turns: 12, then: grade}\n", 0, 0, 0, 0, 40, NULL, false},
        {__LINE__, MANY EXACT "limits: {turns: 12, then: zero}\n", 0, 0, 0, 0, 40, NULL, false},
        {__LINE__, MANY EXACT "limits: {turns: 12, then: error}\n", 0, 0, 0, 0, 40, NULL, false},
        {__LINE__, ONE_CALL "graders: [{use: exact, name: e}, {use: own}]\n", 0, 0, 0, 0, 40, "s9",
         true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        World world;
        Err err = ERR_INIT;
        RescoreOutcome out;
        int failed = tap_checks_failed;
        fake =
            (FakePlan){.max_in_flight = 5, .fail_with = cases[i].fail_with, .fail_code = ERR_REPLY};
        world_open(&world, cases[i].yaml, 40);
        eval_write(&world, cases[i].yaml);
        world_write(&world, "many.lua", many_lua);
        world_write(&world, "own.lua", asks_lua);
        world_load(&world);
        world.config.name = STR("first");
        world.config.limit_from = cases[i].from;
        world.config.limit_to = cases[i].to;
        world.config.shard = (RunShard){.k = cases[i].shard, .n = cases[i].n_shards};
        if (cases[i].judge) {
            give_judge(&world);
        }
        CHECK_OK(world_run(&world, &err), &err);
        Hash want = digest_of(&world, STR("first"));
        CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
        CHECK_STR(out.name, STR("first-rescored-1"));
        Hash got = digest_of(&world, out.name);
        CHECK(hash_eq(&got, &want));
        CHECK_INT(out.n_attempts, cases[i].n);
        CHECK_INT(out.n_scored + out.n_kept, cases[i].n);
        CHECK_INT(out.n_new_errors + out.n_changed + out.n_gone, 0);
        Seen before = see_sample(&world, STR("first"), "s13");
        Seen after = see_sample(&world, out.name, "s13");
        CHECK_INT(after.n_calls, before.n_calls);
        CHECK_INT(after.n_notes, before.n_notes);
        // And again, from what was rescored.
        CHECK_OK(rescore(&world, "first-rescored-1", "", &out, &err), &err);
        CHECK_STR(out.name, STR("first-rescored-2"));
        got = digest_of(&world, out.name);
        CHECK(hash_eq(&got, &want));
        if (tap_checks_failed > failed) {
            printf("# the case of line %d\n", cases[i].line);
        }
        world_close(&world);
    }
}

// ---- Other graders ------------------------------------------------------------------------------

static void test_rescore__other_graders_give_other_scores(void)
{
    World world;
    Err err = ERR_INIT;
    RescoreOutcome out;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, "", 20);
    eval_write(&world, ONE_CALL "graders: [{use: exact, target: \"no\"}]\n");
    world_load(&world);
    world.config.name = STR("first");
    CHECK_OK(world_run(&world, &err), &err);
    Hash old = digest_of(&world, STR("first"));
    CHECK_NEAR(value_of(&world, STR("first"), "exact.accuracy"), 0, 0);
    eval_write(&world, ONE_CALL "graders: [{use: exact}, {use: includes, name: inc}]\n"
                                "metrics: [accuracy, max]\n");
    world_again(&world);
    CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
    CHECK_INT(out.n_scored, 20);
    CHECK_NEAR(value_of(&world, out.name, "exact.accuracy"), 1, 0);
    CHECK_NEAR(value_of(&world, out.name, "inc.max"), 1, 0); // metrics are those of now as well
    Hash still = digest_of(&world, STR("first"));
    CHECK(hash_eq(&old, &still));
    world_close(&world);
}

static void test_rescore__a_broken_grader_is_mended(void)
{
    World world;
    Err err = ERR_INIT;
    RescoreOutcome out;
    fake = (FakePlan){.max_in_flight = 5, .fail_with = "s7", .fail_code = ERR_REPLY};
    world_open(&world, "", 10);
    eval_write(&world, ONE_CALL "graders: [{use: own}]\n");
    world_write(&world, "own.lua", breaks_lua);
    world_load(&world);
    world.config.name = STR("first");
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.errors, 2);
    world_again(&world);
    CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
    CHECK_INT(out.n_new_errors, 1); // as broken as before
    CHECK(str_find(out.first_error, STR("s3"), 0) == 0);
    world_write(&world, "own.lua", works_lua);
    world_again(&world);
    CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
    CHECK_INT(out.n_scored, 9);
    CHECK_INT(out.n_kept, 1); // what the model failed at stays an error
    CHECK_INT(out.n_new_errors, 0);
    CHECK_STR(see_sample(&world, out.name, "s7").error, STR("the fake fails sample s7"));
    CHECK_STR(see_sample(&world, out.name, "s7").error_code, STR("reply"));
    world_close(&world);
}

static void test_rescore__judges_are_not_asked_again(void)
{
    World world;
    Err err = ERR_INIT;
    RescoreOutcome out;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, "", 10);
    eval_write(&world, ONE_CALL "graders: [{use: own}, {use: exact}]\n");
    world_write(&world, "own.lua", asks_lua);
    world_load(&world);
    give_judge(&world);
    world.config.name = STR("first");
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(fake.n_submitted, 20);
    CHECK_NEAR(value_of(&world, STR("first"), "own.accuracy"), 0, 0);
    // Another reading of the same answers; the grader stands elsewhere, so its calls have other
    // paths.
    eval_write(&world, ONE_CALL "graders: [{use: exact}, {use: own}]\n");
    world_write(&world, "own.lua", reads_lua);
    world_again(&world);
    CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
    CHECK_INT(out.n_scored, 10);
    CHECK_NEAR(value_of(&world, out.name, "own.accuracy"), 1, 0);
    CHECK_INT(see_sample(&world, out.name, "s0").n_calls, 2);
    // Another question: only what was asked before has an answer.
    world_write(&world, "own.lua", asks_else_lua);
    world_again(&world);
    CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
    CHECK_INT(out.n_scored, 2);
    CHECK_INT(out.n_need_model, 8);
    CHECK_INT(out.n_new_errors, 8);
    Seen seen = see_sample(&world, out.name, "s5");
    CHECK(str_find(seen.error, STR("needs a model"), 0) == 0);
    CHECK_INT(seen.n_calls, 1); // the solver's
    CHECK_STR(seen.error_code, STR("model"));
    world_close(&world);
}

static void test_rescore__one_grader_alone(void)
{
    World world;
    Err err = ERR_INIT;
    RescoreOutcome out;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, "", 10);
    eval_write(&world,
               ONE_CALL "graders: [{use: exact, name: a, target: \"no\"}, {use: exact, name: b, "
                        "target: \"no\"}, {use: exact, name: c, target: \"no\"}, "
                        "{use: combine, name: both, of: {a: 1, c: 1}}]\n");
    world_load(&world);
    world.config.name = STR("first");
    CHECK_OK(world_run(&world, &err), &err);
    eval_write(&world, ONE_CALL "graders: [{use: exact, name: a}, {use: exact, name: b}, "
                                "{use: exact, name: c}, "
                                "{use: combine, name: both, of: {a: 1, c: 1}}]\n");
    world_again(&world);
    CHECK_OK(rescore(&world, "first", "b", &out, &err), &err);
    CHECK_NEAR(value_of(&world, out.name, "a.accuracy"), 0, 0);
    CHECK_NEAR(value_of(&world, out.name, "b.accuracy"), 1, 0);
    CHECK_NEAR(value_of(&world, out.name, "both.accuracy"), 0, 0);
    // What is combined with it goes with it.
    CHECK_OK(rescore(&world, "first", "a", &out, &err), &err);
    CHECK_NEAR(value_of(&world, out.name, "a.accuracy"), 1, 0);
    CHECK_NEAR(value_of(&world, out.name, "b.accuracy"), 0, 0);
    CHECK_NEAR(value_of(&world, out.name, "c.accuracy"), 1, 0);
    CHECK_NEAR(value_of(&world, out.name, "both.accuracy"), 1, 0);
    CHECK(!rescore(&world, "first", "bo", &out, &err));
    CHECK_INT(err.code, ERR_USAGE);
    CHECK(str_find(str_from_c(err.message), STR("no grader 'bo'"), 0) == 0);
    world_close(&world);
}

// ---- Other samples, other solvers ---------------------------------------------------------------

static void test_rescore__changed_samples_are_left_out(void)
{
    World world;
    Err err = ERR_INIT;
    RescoreOutcome out;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, "", 10);
    eval_write(&world, ONE_CALL EXACT "epochs: 2\n");
    world_load(&world);
    world.config.name = STR("first");
    CHECK_OK(world_run(&world, &err), &err);
    // s1 asks something else, s4 is gone, s11 is new.
    world_write(&world, "rows.jsonl",
                "{\"id\": \"s0\", \"q\": \"what is 0\", \"a\": \"s0/0\"}\n"
                "{\"id\": \"s1\", \"q\": \"what is one\", \"a\": \"s1/0\"}\n"
                "{\"id\": \"s11\", \"q\": \"what is 11\", \"a\": \"s11/0\"}\n"
                "{\"id\": \"s2\", \"q\": \"what is 2\", \"a\": \"s2/0\"}\n"
                "{\"id\": \"s3\", \"q\": \"what is 3\", \"a\": \"s3/0\"}\n");
    world_again(&world);
    CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
    CHECK_INT(out.n_attempts, 20);
    CHECK_INT(out.n_scored, 6);
    CHECK_INT(out.n_changed, 2);
    CHECK_INT(out.n_gone, 12);
    CHECK_STR(out.first_changed, STR("s1"));
    world_close(&world);
}

/** Replies are graded as they were given, whatever the solver would ask today. */
static void test_rescore__another_solver_changes_no_reply(void)
{
    World world;
    Err err = ERR_INIT;
    RescoreOutcome out;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, "", 10);
    eval_write(&world, ONE_CALL EXACT);
    world_load(&world);
    world.config.name = STR("first");
    CHECK_OK(world_run(&world, &err), &err);
    Hash want = digest_of(&world, STR("first"));
    static const char *const solvers[] = {two_lua,
                                          "return {name = 'many', version = 1, solve = "
                                          "function() return 'else' end}\n",
                                          "return {name = 'many', version = 1, solve = "
                                          "function() error('no') end}\n"};
    for (size_t i = 0; i < sizeof(solvers) / sizeof(solvers[0]); i++) {
        world_write(&world, "many.lua", solvers[i]);
        eval_write(&world, MANY EXACT);
        world_again(&world);
        CHECK_OK(rescore(&world, "first", "", &out, &err), &err);
        CHECK_INT(out.n_scored, 10);
        Hash got = digest_of(&world, out.name);
        CHECK(hash_eq(&got, &want));
    }
    world_close(&world);
}

static void test_rescore__what_can_not_be_found(void)
{
    World world;
    Err err = ERR_INIT;
    RescoreOutcome out;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, "", 4);
    eval_write(&world, ONE_CALL EXACT "variants: {a: {}, b: {}}\n");
    world_load(&world);
    world.config.name = STR("first");
    CHECK_OK(world_run(&world, &err), &err);
    eval_write(&world, ONE_CALL EXACT "variants: {a: {}, c: {}}\n");
    world_again(&world);
    CHECK(!rescore(&world, "first", "", &out, &err));
    CHECK_INT(err.code, ERR_USAGE);
    CHECK(str_find(str_from_c(err.message), STR("no variant 'b' any more"), 0) != STR_NONE);
    world_close(&world);
}

int main(void)
{
    tap_run("equal graders give equal bytes", test_rescore__equal_graders_give_equal_bytes);
    tap_run("other graders give other scores", test_rescore__other_graders_give_other_scores);
    tap_run("a broken grader is mended", test_rescore__a_broken_grader_is_mended);
    tap_run("judges are not asked again", test_rescore__judges_are_not_asked_again);
    tap_run("one grader alone", test_rescore__one_grader_alone);
    tap_run("changed samples are left out", test_rescore__changed_samples_are_left_out);
    tap_run("another solver changes no reply", test_rescore__another_solver_changes_no_reply);
    tap_run("what can not be found", test_rescore__what_can_not_be_found);
    return tap_done();
}
