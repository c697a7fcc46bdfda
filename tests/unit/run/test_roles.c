// SPDX-License-Identifier: MIT
// Roles against fake samplers: who is asked, what is refused before the first call, what a resumed
// experiment compares, what is counted.
#include "world.h"

#include <string.h>

static const char judged[] =
    "schema: 1\neval: judged\nversion: 1\ndescription: A grader that asks a judge.\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"
    "prompt: \"{{ input }}\"\n"
    "solver: {use: generate, max_tokens: 4}\n"
    "graders: [{use: asks}]\nmetrics: [accuracy]\n";

static const char critic[] =
    "schema: 1\neval: critic\nversion: 1\ndescription: A solver that asks a critic.\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"x\"}\n"
    "prompt: \"{{ input }}\"\n"
    "solver: {use: criticized}\n"
    "graders: [{use: exact}]\nmetrics: [accuracy]\n"
    "limits: {turns: 2, then: zero}\n";

static const char given[] =
    "schema: 1\neval: given\nversion: 1\ndescription: A solver that asks nobody.\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ q }}\"}\n"
    "solver: {use: says}\n"
    "graders: [{use: exact}]\nmetrics: [accuracy]\n";

// Right when the judge, not the model under test, saw the reply of the model under test.
static const char asks_lua[] =
    "return {name = 'asks', version = 1, effects = {'generate'},\n"
    "grade = function(sample, reply, params, ctx)\n"
    "  local verdict = ctx.generate('judge: ' .. reply.text, {role = 'judge'}).text\n"
    "  return verdict == 'wise judge: tested ' .. sample.input\n"
    "end}\n";

static const char criticized_lua[] =
    "return {name = 'criticized', version = 1, solve = function(sample, ctx)\n"
    "  local first = ctx.generate(sample.prompt)\n"
    "  ctx.generate('look at: ' .. first.text, {role = 'critic'})\n"
    "  return ctx.generate(sample.prompt)\n"
    "end}\n";

static const char scores_lua[] =
    "return {name = 'asks', version = 1, effects = {'generate'},\n"
    "grade = function(sample, reply, params, ctx)\n"
    "  ctx.generate({{role = 'system', content = 'judge'}, {role = 'user', content = 'so?'}},\n"
    "               {role = 'judge'})\n"
    "  return true\n"
    "end}\n";

static const char says_lua[] =
    "return {name = 'says', version = 1, effects = {}, solve = function(sample, ctx)\n"
    "  return sample.input\n"
    "end}\n";

static const Model wise = {.spec = {"fake/wise", 9}, .provider = {"fake", 4}, .name = {"wise", 4}};
static const Model weak = {.spec = {"fake/weak", 9}, .provider = {"fake", 4}, .name = {"weak", 4}};

/** A world whose model under test is called `tested` and whose replies say who gave them. */
static void world_roles(World *world, const char *yaml, size_t n_rows, const char *file,
                        const char *lua)
{
    fake = (FakePlan){.max_in_flight = 4, .names_itself = true};
    world_open(world, yaml, n_rows);
    world->model.name = STR("tested");
    world_write(world, file, lua);
    world_load(world);
}

static void give_role(World *world, Str name, const Model *model)
{
    RunRole *role = ARENA_NEW(&world->arena, RunRole);
    *role = (RunRole){.name = name, .model = model};
    world->config.roles = role;
    world->config.n_roles = 1;
}

static double accuracy(World *world)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    RunInfo *runs = NULL;
    size_t n = 0;
    double value = -1;
    if (CHECK_OK(results_open(world->config.store_path, &results, &err), &err) &&
        CHECK_OK(
            results_runs(results, &world->arena, world->outcome.experiment_id, &runs, &n, &err),
            &err) &&
        n == 1 && runs[0].n_metrics == 1) {
        value = runs[0].metrics[0].value;
        CHECK_NEAR(runs[0].cost_usd, (double)world->outcome.done, 0); // two calls of 0.5 each
    }
    results_close(results);
    return value;
}

static void test_roles__judge_is_asked(void)
{
    for (int all = 0; all < 2; all++) {
        World world;
        Err err = ERR_INIT;
        world_roles(&world, judged, 30, "asks.lua", asks_lua);
        fake.wants_all = all != 0;
        give_role(&world, STR("judge"), &wise);
        CHECK_OK(world_run(&world, &err), &err);
        CHECK_INT(world.outcome.done, 30);
        CHECK_INT(fake.n_opened, 2);
        CHECK_INT(fake.n_submitted, 60);
        CHECK_INT(fake.n_chats, 30); // the judge's: text goes to a chat model as a chat
        CHECK_NEAR(accuracy(&world), 1, 0);
        CHECK_INT(world.outcome.n_models, 2);
        CHECK_INT(world.outcome.n_roles, 1);
        if (world.outcome.n_roles == 1) {
            const RunRoleStats *role = &world.outcome.roles[0];
            CHECK_STR(role->role, STR("judge"));
            CHECK_STR(role->model, STR("fake/wise"));
            CHECK_INT(role->n_calls, 30);
            CHECK_INT(role->usage.input, 90);
            CHECK_NEAR(role->cost_usd, 15, 0);
        }
        world_close(&world);
    }
}

static void test_roles__one_sampler_for_one_model(void)
{
    World world;
    Err err = ERR_INIT;
    world_roles(&world, judged, 10, "asks.lua", asks_lua);
    give_role(&world, STR("judge"), &world.model);
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(fake.n_opened, 1);
    CHECK_INT(world.outcome.n_models, 1);
    CHECK_INT(world.outcome.roles[0].n_calls, 10);
    world_close(&world);
}

/** The run is refused before its first call. */
static void check_refused(World *world, ErrCode code, const char *says)
{
    Err err = ERR_INIT;
    CHECK(!world_run(world, &err));
    CHECK_INT(err.code, code);
    CHECK_STR(str_slice(str_from_c(err.message), 0, strlen(says)), str_from_c(says));
    CHECK_INT(fake.n_submitted, 0);
    CHECK_INT(world->outcome.name.len, 0);
    world_close(world);
}

static void test_roles__refuses_what_can_not_be(void)
{
    World world;
    world_roles(&world, judged, 3, "asks.lua", asks_lua);
    check_refused(&world, ERR_CONFIG,
                  "eval 'judged': nobody plays role 'judge': give --role judge=MODEL");

    // The critic is asked after the first reply only.
    world_roles(&world, critic, 3, "criticized.lua", criticized_lua);
    check_refused(&world, ERR_CONFIG, "eval 'critic': nobody plays role 'critic'");

    world_roles(&world, judged, 3, "asks.lua", scores_lua);
    fake.caps = CAP_TEXT;
    give_role(&world, STR("judge"), &weak);
    check_refused(&world, ERR_MODEL,
                  "eval 'judged': role 'judge', model 'fake/weak': the eval sends a chat, but "
                  "'fake' has no chat");

    world_roles(&world, judged, 3, "asks.lua", asks_lua);
    world.config.n_models = 0;
    give_role(&world, STR("judge"), &wise);
    check_refused(&world, ERR_USAGE, "eval 'judged': no model: give -m");
}

static void test_roles__part_of_the_spec(void)
{
    World world;
    Err err = ERR_INIT;
    world_roles(&world, judged, 5, "asks.lua", asks_lua);
    world.config.name = STR("mine");
    give_role(&world, STR("judge"), &wise);
    CHECK_OK(world_run(&world, &err), &err);
    world.config.resume = true;
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.skipped, 5);
    CHECK_INT(world.outcome.n_roles, 0); // nothing was asked this time
    give_role(&world, STR("judge"), &weak);
    CHECK(!world_run(&world, &err));
    CHECK_INT(err.code, ERR_USAGE);
    CHECK(strstr(err.message, "roles") != NULL);

    Results *results = NULL;
    ExperimentInfo info;
    err = (Err)ERR_INIT;
    if (CHECK_OK(results_open(world.config.store_path, &results, &err), &err) &&
        CHECK_OK(results_experiment(results, &world.arena, STR("mine"), &info, &err), &err)) {
        const Value *roles = value_get_c(&info.provenance, "roles");
        CHECK(roles != NULL && roles->kind == VALUE_LIST && roles->as.list.n == 1);
        if (roles != NULL && roles->kind == VALUE_LIST && roles->as.list.n == 1) {
            CHECK_STR(value_get_str(&roles->as.list.items[0], "model", STR_EMPTY),
                      STR("fake/wise"));
        }
    }
    results_close(results);
    world_close(&world);
}

static void test_roles__of_the_eval_unless_told_otherwise(void)
{
    static const char own[] =
        "schema: 1\neval: own\nversion: 1\ndescription: The eval says who judges.\n"
        "dataset: {path: rows.jsonl}\n"
        "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"
        "prompt: \"{{ input }}\"\n"
        "solver: {use: generate, max_tokens: 4}\n"
        "roles: {judge: echo, critic: echo}\n"
        "graders: [{use: asks}]\nmetrics: [accuracy]\n";
    for (int told = 0; told < 2; told++) {
        World world;
        Err err = ERR_INIT;
        world_roles(&world, own, 3, "asks.lua", asks_lua);
        if (told != 0) {
            give_role(&world, STR("judge"), &wise);
        }
        CHECK_OK(world_run(&world, &err), &err);
        CHECK_INT(fake.n_opened, told != 0 ? 3 : 2); // both roles of the eval are one model
        CHECK_INT(world.outcome.n_roles, 1);
        CHECK_STR(world.outcome.roles[0].model, told != 0 ? STR("fake/wise") : STR("echo"));
        CHECK_NEAR(accuracy(&world), told, 0);
        world_close(&world);
    }
    World world;
    world_roles(&world,
                "schema: 1\neval: gone\nversion: 1\ndescription: A model that is not there.\n"
                "dataset: {path: rows.jsonl}\n"
                "sample: {id: \"{{ id }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"
                "solver: {use: generate}\nroles: {judge: local/not-there.gguf}\n"
                "graders: [{use: asks}]\nmetrics: [accuracy]\n",
                3, "asks.lua", asks_lua);
    check_refused(&world, ERR_MODEL, "eval 'gone', role 'judge': no model file");
}

static void test_roles__limits_count_them(void)
{
    World world;
    Err err = ERR_INIT;
    world_roles(&world, critic, 4, "criticized.lua", criticized_lua);
    give_role(&world, STR("critic"), &wise);
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.done, 4);
    CHECK_INT(fake.n_submitted, 8); // the third call would be over the limit of two turns
    CHECK_NEAR(accuracy(&world), 0, 0);
    world_close(&world);
}

static void test_roles__failures_name_them(void)
{
    World world;
    Err err = ERR_INIT;
    static const char *const wants = "role 'judge': the fake fails sample s1";
    world_roles(&world, judged, 3, "asks.lua", asks_lua);
    give_role(&world, STR("judge"), &wise);
    fake.fail_with = "s1";
    fake.fail_code = ERR_REPLY;
    fake.fail_chats_only = true;
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.errors, 1);
    CHECK(str_find(world.outcome.first_error, str_from_c(wants), 0) != STR_NONE);
    world_close(&world);
}

static void test_roles__no_model_at_all(void)
{
    World world;
    Err err = ERR_INIT;
    world_roles(&world, given, 4, "says.lua", says_lua);
    world.config.n_models = 0;
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.done, 4);
    CHECK_INT(fake.n_opened, 0);
    CHECK_INT(world.outcome.n_models, 1);
    if (world.outcome.n_models == 1) {
        CHECK_STR(world.outcome.models[0].model, STR("none"));
    }
    world_close(&world);
}

int main(void)
{
    tap_run("a judge is asked what its role is given", test_roles__judge_is_asked);
    tap_run("one sampler for one model", test_roles__one_sampler_for_one_model);
    tap_run("refuses before the first call", test_roles__refuses_what_can_not_be);
    tap_run("is part of the spec and of provenance", test_roles__part_of_the_spec);
    tap_run("the eval's own roles, unless told otherwise",
            test_roles__of_the_eval_unless_told_otherwise);
    tap_run("the limits count a solver's role calls", test_roles__limits_count_them);
    tap_run("failures name the role", test_roles__failures_name_them);
    tap_run("a solver that asks nobody needs no model", test_roles__no_model_at_all);
    return tap_done();
}
