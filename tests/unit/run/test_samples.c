// SPDX-License-Identifier: MIT
// Samples asked for by id: which ones run, with limits, shards and epochs, what is refused, and
// that they are settings that a resumed run has to share.
#include "world.h"

// Rows s0 ... s19 in two parts; the ids of the second have a star in them.
static const char parts[] =
    "schema: 1\neval: halves\nmatrix: {half: [a, b]}\n"
    "dataset: {path: rows.jsonl}\n"
    "sample: {id: \"{{ id }}{{ '*' if half == 'b' else '' }}\", input: \"{{ q }}\", target: "
    "\"x\"}\n"
    "prompt: \"{{ input }}\"\nvariants: {one: {}, two: {prompt: \"{{ input | upper }}\"}}\n"
    "solver: {use: generate, max_tokens: 4}\n"
    "graders: [{use: exact}]\n";

#define LIST(...) (const Str[]){__VA_ARGS__}, sizeof((const Str[]){__VA_ARGS__}) / sizeof(Str)
#define AMONG(...)                                                                                 \
    (const RunSampleIds[]){__VA_ARGS__},                                                           \
        sizeof((const RunSampleIds[]){__VA_ARGS__}) / sizeof(RunSampleIds)
#define ALL NULL, 0

typedef struct Case {
    int line;
    const Str *samples;
    size_t n_samples;
    const RunSampleIds *among;
    size_t n_among;
    int64_t from, to, total; // limits
    int64_t k, n;            // shard
    const char *want;        // variant one's part/id, with its epoch where there are several
    int64_t epochs;
} Case;

static const Case cases[] = {
    {__LINE__, LIST(STR_INIT("s3")), ALL, 0, 0, 0, 0, 0, "a/s3", 0},
    {__LINE__, LIST(STR_INIT("s7*"), STR_INIT("s3")), ALL, 0, 0, 0, 0, 0, "a/s3 a/s7 b/s7*", 0},
    {__LINE__, LIST(STR_INIT("s?")), ALL, 0, 0, 0, 0, 0,
     "a/s0 a/s1 a/s2 a/s3 a/s4 a/s5 a/s6 a/s7 a/s8 a/s9", 0},
    {__LINE__, LIST(STR_INIT("s3"), STR_INIT("s3*")), ALL, 0, 0, 0, 0, 0, "a/s3 b/s3*", 0},
    {__LINE__, LIST(STR_INIT("s1?")), ALL, 0, 0, 0, 0, 0,
     "a/s10 a/s11 a/s12 a/s13 a/s14 a/s15 a/s16 a/s17 a/s18 a/s19 b/s1*", 0},
    // First the ids, then the limits; shards go by the number of the sample in its part.
    {__LINE__, LIST(STR_INIT("s*9*")), ALL, 0, 1, 0, 0, 0, "a/s9 b/s9*", 0},
    {__LINE__, LIST(STR_INIT("s1*")), ALL, 2, 3, 0, 0, 0, "a/s10 a/s11 b/s10* b/s11*", 0},
    {__LINE__, LIST(STR_INIT("s1*")), ALL, 0, 0, 3, 0, 0, "a/s1 a/s10 b/s1*", 0},
    {__LINE__, LIST(STR_INIT("s1*")), ALL, 0, 0, 0, 2, 3,
     "a/s1 a/s10 a/s13 a/s16 a/s19 b/s1* b/s10* b/s13* b/s16* b/s19*", 0},
    {__LINE__, LIST(STR_INIT("s2")), ALL, 0, 0, 0, 1, 3, "", 0},
    {__LINE__, LIST(STR_INIT("s2")), ALL, 0, 0, 0, 3, 3, "a/s2", 0},
    {__LINE__, LIST(STR_INIT("s2")), ALL, 0, 0, 0, 0, 0, "a/s2:1 a/s2:2 a/s2:3", 3},
    // Exact ids of parts: a star is one.
    {__LINE__, ALL,
     AMONG({STR_INIT("halves"), STR_INIT("b"), LIST(STR_INIT("s1*"), STR_INIT("s4*"))}), 0, 0, 0, 0,
     0, "b/s1* b/s4*", 0},
    {__LINE__, ALL,
     AMONG({STR_INIT("halves"), STR_INIT("b"), LIST(STR_INIT("gone"), STR_INIT("s4*"))},
           {STR_INIT("halves"), STR_INIT("a"), LIST(STR_INIT("s2"))}),
     0, 0, 0, 0, 0, "a/s2 b/s4*", 0},
    {__LINE__, LIST(STR_INIT("*4*")),
     AMONG({STR_INIT("halves"), STR_INIT("b"), LIST(STR_INIT("s1*"), STR_INIT("s4*"))}), 0, 0, 0, 0,
     0, "b/s4*", 0},
};

typedef struct Seen {
    Buf text;
    int64_t epochs;
    const char *variant;
} Seen;

static bool see(void *ctx, const AttemptInfo *attempt)
{
    Seen *seen = ctx;
    if (str_eq_c(attempt->variant, seen->variant)) {
        buf_printf(&seen->text, "%s" STR_FMT "/" STR_FMT, seen->text.len > 0 ? " " : "",
                   STR_ARG(attempt->part), STR_ARG(attempt->sample_id));
        if (seen->epochs > 0) {
            buf_printf(&seen->text, ":%lld", (long long)attempt->epoch);
        }
    }
    return true;
}

/** What of a variant is in the store, in canonical order. */
static Str seen_of(World *world, const char *variant, int64_t epochs)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    Seen seen = {.epochs = epochs, .variant = variant};
    AttemptFilter filter = {0};
    if (CHECK_OK(results_open(world->config.store_path, &results, &err), &err)) {
        CHECK_OK(results_attempts(results, world->outcome.experiment_id, &filter, see, &seen, &err),
                 &err);
    }
    results_close(results);
    Str text = str_copy(&world->arena, buf_view(&seen.text));
    buf_finish(&seen.text);
    return text;
}

static void notes(void *ctx, bool warning, Str line)
{
    (void)ctx;
    CHECK(!warning || str_eq(line, STR("1 of the samples that failed is not in the data now")));
}

static void open_parts(World *world, size_t n_rows)
{
    fake = (FakePlan){.max_in_flight = 5};
    world_open(world, parts, n_rows);
    world_load(world);
    world->config.on_note = notes;
}

static void test_samples__chosen(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const Case *c = &cases[i];
        World world;
        Err err = ERR_INIT;
        int failed = tap_checks_failed;
        open_parts(&world, 20);
        world.config.samples = c->samples;
        world.config.n_samples = c->n_samples;
        world.config.among = c->among;
        world.config.n_among = c->n_among;
        world.config.limit_from = c->from;
        world.config.limit_to = c->to;
        world.config.limit_total = c->total;
        world.config.epochs = c->epochs;
        world.config.shard = (RunShard){.k = c->k, .n = c->n};
        CHECK_OK(world_run(&world, &err), &err);
        CHECK_STR(seen_of(&world, "one", c->epochs), str_from_c(c->want));
        CHECK_STR(seen_of(&world, "two", c->epochs), str_from_c(c->want));
        CHECK_INT(world.outcome.planned, world.outcome.done);
        if (tap_checks_failed > failed) {
            printf("# the case of line %d\n", c->line);
        }
        world_close(&world);
    }
}

static void test_samples__refused(void)
{
    static const struct {
        int line;
        Str sample;
        const char *says;
    } wrong[] = {
        {__LINE__, STR_INIT("s33"), "no sample's id is 's33'; did you mean 's3'?"},
        {__LINE__, STR_INIT("S12"), "no sample's id is 'S12'; did you mean 's12'?"},
        {__LINE__, STR_INIT("33"),
         "no sample's id is '33' (those of halves/a go from 's0' to 's19')"},
        {__LINE__, STR_INIT("geo-*"), "no sample's id matches 'geo-*' (those of halves/a go from"},
        {__LINE__, STR_INIT("s\033[1m"), "no sample's id is 's\\x1b[1m'"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        World world;
        Err err = ERR_INIT;
        Str samples[] = {STR("s1"), wrong[i].sample, STR("s2")};
        open_parts(&world, 20);
        world.config.samples = samples;
        world.config.n_samples = 3;
        bool refused = !world_run(&world, &err) && err.code == ERR_USAGE &&
                       strstr(err.message, wrong[i].says) != NULL;
        if (!refused) {
            printf("# line %d: %s\n", wrong[i].line, err.message);
        }
        CHECK(refused);
        CHECK_INT(fake.n_opened, 0);
        world_close(&world);
    }
}

static void test_samples__nothing_left(void)
{
    World world;
    Err err = ERR_INIT;
    static const Str known[] = {STR_INIT("s1")};
    static const Str samples[] = {STR_INIT("s2")};
    static const RunSampleIds among[] = {{STR_INIT("halves"), STR_INIT("a"), known, 1}};
    open_parts(&world, 20);
    world.config.samples = samples;
    world.config.n_samples = 1;
    world.config.among = among;
    world.config.n_among = 1;
    CHECK(!world_run(&world, &err));
    CHECK_INT(err.code, ERR_USAGE);
    CHECK(strstr(err.message, "nothing to run: the ids asked for and the limits leave no sample"));
    world_close(&world);
}

/** A part that nothing is asked of has no run, so a gate sees that it is not there. */
static void test_samples__no_empty_runs(void)
{
    World world;
    Err err = ERR_INIT;
    static const Str samples[] = {STR_INIT("s1")};
    Results *results = NULL;
    RunInfo *runs = NULL;
    size_t n = 0;
    open_parts(&world, 20);
    world.config.samples = samples;
    world.config.n_samples = 1;
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_OK(results_open(world.config.store_path, &results, &err), &err);
    CHECK_OK(results_runs(results, &world.arena, world.outcome.experiment_id, &runs, &n, &err),
             &err);
    CHECK_INT(n, 2);
    for (size_t i = 0; i < n; i++) {
        CHECK_STR(runs[i].part, STR("a"));
        CHECK_INT(runs[i].n_planned, 1);
    }
    results_close(results);
    world_close(&world);
}

/** What is wrong in a part that no sample is asked of does not matter. */
static void test_samples__other_parts_are_not_read(void)
{
    static const char bad_half[] =
        "schema: 1\neval: halves\nmatrix: {half: [a, b]}\n"
        "dataset: {path: rows.jsonl}\n"
        "sample: {id: \"{{ id if half == 'a' else none.such.thing }}\", input: \"{{ q }}\", "
        "target: \"x\"}\n"
        "solver: {use: generate, max_tokens: 4}\n"
        "graders: [{use: exact}]\n";
    static const Str ids[] = {STR_INIT("s1")};
    static const RunSampleIds among[] = {{STR_INIT("halves"), STR_INIT("a"), ids, 1}};
    World world;
    Err err = ERR_INIT;
    fake = (FakePlan){.max_in_flight = 5};
    world_open(&world, bad_half, 20);
    world_load(&world);
    world.config.among = among;
    world.config.n_among = 1;
    CHECK_OK(world_run(&world, &err), &err);
    CHECK_INT(world.outcome.done, 1);
    world.config.samples = ids; // looks at the ids of all parts
    world.config.n_samples = 1;
    CHECK(!world_run(&world, &err));
    world_close(&world);
}

static void test_samples__resumed(void)
{
    static volatile sig_atomic_t stop;
    World world;
    Err err = ERR_INIT;
    Str samples[] = {STR("s1*"), STR("s3"), STR("s3")};
    Str again[] = {STR("s3"), STR("s1*")};
    stop = 0;
    open_parts(&world, 20);
    fake.stop_after = 7;
    fake.stop = &stop;
    world.config.stop = &stop;
    world.config.samples = samples;
    world.config.n_samples = 3;
    CHECK_OK(world_run(&world, &err), &err);
    CHECK(world.outcome.interrupted);
    int64_t done = world.outcome.done;
    CHECK_INT(world.outcome.planned, 46);
    CHECK(done < 46);
    stop = 0;
    fake = (FakePlan){.wants_all = true};
    world.config.name = world.outcome.name;
    world.config.resume = true;
    world.config.n_samples = 1;
    CHECK(!world_run(&world, &err));
    CHECK_INT(err.code, ERR_USAGE);
    CHECK(strstr(err.message, "samples") != NULL);
    err = (Err)ERR_INIT;
    world.config.samples = again; // the same set
    world.config.n_samples = 2;
    CHECK_OK(world_run(&world, &err), &err);
    CHECK(world.outcome.resumed);
    CHECK_INT(world.outcome.skipped, done);
    CHECK_INT(world.outcome.done, 46);
    world_close(&world);
}

int main(void)
{
    tap_run("samples: ids, globs, limits, shards, epochs", test_samples__chosen);
    tap_run("samples: ids that nothing has", test_samples__refused);
    tap_run("samples: nothing is left", test_samples__nothing_left);
    tap_run("samples: no runs without any", test_samples__no_empty_runs);
    tap_run("samples: other parts are not read", test_samples__other_parts_are_not_read);
    tap_run("samples: resumed with the same ones only", test_samples__resumed);
    return tap_done();
}
