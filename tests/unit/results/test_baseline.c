// SPDX-License-Identifier: MIT
// Baselines and their history, experiments by filter, a metric over time, and gc.
#include "fixture_sql.h"

#include "results/gc.h"
#include "results/trend.h"

/** An experiment with n attempts of which the first n_right are right; its id. */
static int64_t experiment_put(Arena *arena, Store *store, Str name, const char *model, int64_t n,
                              int64_t n_right, const char *tag, bool finish)
{
    Err err = ERR_INIT;
    RunSpec run = run_make(arena, "", model);
    run.n_planned = n;
    ExperimentSpec spec = experiment_make(arena, name, 1, &run, 1);
    MapBuilder tags;
    map_builder_init(&tags, arena);
    map_builder_put(&tags, STR("branch"), value_str(str_from_c(tag)));
    map_builder_put(&tags, STR("n"), value_int(n_right));
    spec.tags = map_builder_done(&tags);
    ExperimentOpen open = {0};
    CHECK_OK(store_experiment_begin(store, arena, &spec, RESUME_NO, &open, &err), &err);
    for (int64_t i = 0; i < n; i++) {
        AttemptRow row = attempt_make(arena, open.run_ids[0], i, 0, i < n_right ? 1 : 0);
        CHECK_OK(call_put(store, &row, "0", &err) && store_put_attempt(store, &row, &err), &err);
    }
    if (finish) {
        CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);
    } else {
        CHECK_OK(store_flush(store, &err), &err);
    }
    return open.id;
}

static bool promote(Store *store, const char *name, int64_t id, int64_t replaces, bool forced,
                    Err *err)
{
    Promotion promotion = {.baseline = str_from_c(name),
                           .experiment_id = id,
                           .replaces = replaces,
                           .who = STR("ada@host"),
                           .forced = forced};
    return store_promote(store, &promotion, err);
}

static void test_promote__moves_and_remembers(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    int64_t one = experiment_put(&arena, store, STR("one"), "echo/x", 3, 2, "main", true);
    int64_t two = experiment_put(&arena, store, STR("two"), "echo/x", 3, 3, "main", true);
    CHECK_OK(promote(store, "release", one, 0, false, &err), &err);
    CHECK_OK(promote(store, "release", two, one, true, &err), &err);
    CHECK_OK(promote(store, "nightly", one, 0, false, &err), &err);
    store_close(store);
    Results *results = results_at(&place);
    ExperimentInfo info;
    CHECK_OK(results_experiment(results, &arena, STR("@release"), &info, &err), &err);
    CHECK_INT(info.id, two);
    BaselineInfo *list = NULL;
    size_t n = 0;
    CHECK_OK(results_baselines(results, &arena, &list, &n, &err), &err);
    CHECK_INT(n, 2);
    if (n == 2) {
        CHECK_STR(list[0].name, STR("nightly"));
        CHECK_STR(list[1].experiment, STR("two"));
        CHECK_STR(list[1].who, STR("ada@host"));
        CHECK(list[1].forced && !list[0].forced);
    }
    CHECK_OK(results_baseline_history(results, &arena, STR("release"), &list, &n, &err), &err);
    CHECK_INT(n, 2);
    if (n == 2) {
        CHECK_INT(list[0].experiment_id, one);
        CHECK_INT(list[1].experiment_id, two);
        CHECK(!list[0].forced && list[1].forced);
    }
    results_close(results);
    CHECK_STR(
        sql_one(
            &arena, &place,
            "SELECT group_concat(kind || coalesce(json_extract(detail, '$.baseline'), ''), ' ') "
            "FROM event WHERE experiment_id = 1"),
        STR("started finished promotedrelease promotednightly"));
    place_remove(&place);
    arena_finish(&arena);
}

static void test_promote__refuses(void)
{
    Arena arena = {0};
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    Err err = ERR_INIT;
    int64_t one = experiment_put(&arena, store, STR("one"), "echo/x", 2, 2, "main", true);
    int64_t two = experiment_put(&arena, store, STR("two"), "echo/x", 2, 2, "main", true);
    CHECK_OK(promote(store, "release", one, 0, false, &err), &err);
    const struct {
        int line;
        const char *name;
        int64_t id;
        int64_t replaces;
        ErrCode code;
        const char *says;
    } cases[] = {
        {__LINE__, "release", two, 0, ERR_EXISTS, "moved by somebody else"},
        {__LINE__, "release", two, two, ERR_EXISTS, "moved by somebody else"},
        {__LINE__, "other", two, one, ERR_EXISTS, "moved by somebody else"},
        {__LINE__, "other", 99, 0, ERR_NOT_FOUND, "removed just now"},
        {__LINE__, "", two, 0, ERR_USAGE, "can not be the name of a baseline"},
        {__LINE__, "latest", two, 0, ERR_USAGE, "can not be the name of a baseline"},
        {__LINE__, "a:b", two, 0, ERR_USAGE, "the name of a baseline has no"},
        {__LINE__, "@a", two, 0, ERR_USAGE, "the name of a baseline has no"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        err = (Err)ERR_INIT;
        bool ok = promote(store, cases[i].name, cases[i].id, cases[i].replaces, false, &err);
        if (ok || err.code != cases[i].code || !has_text(err.message, cases[i].says)) {
            tap_checks_failed++;
            printf("# line %d: %s\n", cases[i].line, ok ? "promoted" : err.message);
        }
    }
    store_close(store);
    Results *results = results_at(&place);
    BaselineInfo *list = NULL;
    size_t n = 0;
    err = (Err)ERR_INIT;
    CHECK_OK(results_baseline_history(results, &arena, STR_EMPTY, &list, &n, &err), &err);
    CHECK_INT(n, 1); // what was refused left nothing
    BaselineInfo found;
    CHECK(!results_baseline(results, &arena, STR("relaese"), &found, &err));
    CHECK(err.code == ERR_NOT_FOUND && has_text(err.message, "did you mean 'release'?"));
    ExperimentInfo info;
    err = (Err)ERR_INIT;
    CHECK(!results_experiment(results, &arena, STR("@nothing-like-it"), &info, &err));
    CHECK(err.code == ERR_NOT_FOUND && has_text(err.message, "muster list baselines"));
    results_close(results);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_experiments__by_filter(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    experiment_put(&arena, store, STR("a"), "echo/x", 1, 1, "main", true);
    experiment_put(&arena, store, STR("b"), "openai/gpt[4]", 1, 0, "fix/1", true);
    experiment_put(&arena, store, STR("c"), "echo/x", 2, 1, "main", false);
    Str main_tag[] = {STR("branch=main")};
    Str glob_tag[] = {STR("branch=fix/*")};
    Str key_tag[] = {STR("n")};
    Str two_tags[] = {STR("branch=main"), STR("n=1")};
    Str no_tag[] = {STR("nope")};
    const struct {
        int line;
        ExperimentFilter filter;
        const char *names;
    } cases[] = {
        {__LINE__, {0}, "a b c "},
        {__LINE__, {.limit = 2}, "b c "},
        {__LINE__, {.tags = main_tag, .n_tags = 1}, "a c "},
        {__LINE__, {.tags = main_tag, .n_tags = 1, .limit = 1}, "c "},
        {__LINE__, {.tags = glob_tag, .n_tags = 1}, "b "},
        {__LINE__, {.tags = key_tag, .n_tags = 1}, "a b c "},
        {__LINE__, {.tags = two_tags, .n_tags = 2}, "a c "},
        {__LINE__, {.tags = no_tag, .n_tags = 1}, ""},
        {__LINE__, {.model = STR("echo/*")}, "a c "},
        {__LINE__, {.model = STR("openai/gpt[4]")}, "b "}, // brackets are no sets
        {__LINE__, {.eval = STR("demo")}, "a b c "},
        {__LINE__, {.eval = STR("d?mo"), .model = STR("*gpt*")}, "b "},
        {__LINE__, {.eval = STR("demo/x")}, ""},
        {__LINE__, {.state = STR("finished")}, "a b "},
        {__LINE__, {.state = STR("running")}, "c "},
        {__LINE__, {.since_ms = clock_wall_ms() + 60000}, ""},
        {__LINE__, {.before_ms = clock_wall_ms() + 60000}, "a b c "},
        {__LINE__, {.before_ms = 1000}, ""},
    };
    Results *results = results_at(&place);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ExperimentInfo *found = NULL;
        size_t n = 0;
        Buf names = {0};
        CHECK_OK(results_experiments_where(results, &arena, &cases[i].filter, &found, &n, &err),
                 &err);
        for (size_t j = 0; j < n; j++) {
            buf_printf(&names, STR_FMT " ", STR_ARG(found[j].name));
        }
        if (!str_eq_c(buf_view(&names), cases[i].names)) {
            tap_checks_failed++;
            printf("# line %d: got " STR_FMT "\n", cases[i].line, STR_ARG(buf_view(&names)));
        }
        buf_finish(&names);
    }
    results_close(results);
    store_close(store);
    place_remove(&place);
    arena_finish(&arena);
}

// ---- Trend --------------------------------------------------------------------------------------

static void test_trend__follows_a_metric(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    int64_t first = experiment_put(&arena, store, STR("a"), "echo/x", 10, 5, "main", true);
    experiment_put(&arena, store, STR("b"), "echo/y", 10, 9, "main", true);
    experiment_put(&arena, store, STR("c"), "echo/x", 10, 8, "main", true);
    CHECK_OK(promote(store, "release", first, 0, false, &err), &err);
    RunSpec parts[2] = {run_make(&arena, "p", "echo/x"), run_make(&arena, "q", "echo/x")};
    parts[0].eval_version = parts[1].eval_version = 2;
    ExperimentSpec spec = experiment_make(&arena, STR("d"), 1, parts, 2);
    ExperimentOpen open = {0};
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    for (int64_t i = 0; i < 10; i++) {
        AttemptRow row = attempt_make(&arena, open.run_ids[i % 2], i, 0, 1);
        CHECK_OK(store_put_attempt(store, &row, &err), &err);
    }
    CHECK_OK(store_experiment_end(store, open.id, STR("interrupted"), NULL, &err), &err);
    store_close(store);

    Results *results = results_at(&place);
    Trend trend = {0};
    TrendQuery query = {.eval = STR("demo"), .model = STR("echo/x")};
    CHECK_OK(trend_compute(results, &arena, &query, &trend, &err), &err);
    CHECK(trend.n == 1 && trend.series[0].n == 3);
    if (trend.n == 1 && trend.series[0].n == 3) {
        const TrendPoint *points = trend.series[0].points;
        CHECK_STR(trend.series[0].metric, STR("exact.accuracy"));
        CHECK(points[0].metric.value == 0.5 && points[1].metric.value == 0.8);
        CHECK(points[2].metric.value == 1); // both parts together
        CHECK_INT(points[2].metric.n, 10);
        CHECK(points[0].n_baselines == 1 && str_eq(points[0].baselines[0], STR("release")));
        CHECK_STR(points[0].changed, STR_EMPTY);
        CHECK_STR(points[1].changed, STR_EMPTY);
        CHECK_STR(points[2].changed, STR("eval version 1 -> 2, parts"));
        CHECK(points[2].n_done == 10 && points[2].n_planned == 20);
        // Wilson's interval of 5 of 10, from a table.
        CHECK(fabs(points[0].metric.low - 0.2365930905) < 1e-9);
    }
    query = (TrendQuery){.eval = STR("demo"), .among = {.limit = 2}};
    CHECK_OK(trend_compute(results, &arena, &query, &trend, &err), &err);
    CHECK_INT(trend.n, 1); // the newest two are both on echo/x
    query = (TrendQuery){.eval = STR("demo")};
    CHECK_OK(trend_compute(results, &arena, &query, &trend, &err), &err);
    CHECK_INT(trend.n, 2);
    query = (TrendQuery){.eval = STR("demo/q")};
    CHECK_OK(trend_compute(results, &arena, &query, &trend, &err), &err);
    CHECK(trend.n == 1 && trend.series[0].n == 1 && trend.series[0].points[0].metric.n == 5);

    const struct {
        TrendQuery query;
        const char *says;
    } wrong[] = {
        {{.eval = STR("dem")}, "did you mean 'demo'?"},
        {{.eval = STR("demo"), .model = STR("no*")}, "no experiment that is chosen"},
        {{.eval = STR("demo"), .variant = STR("v")}, "not with such a variant"},
        {{.eval = STR("demo"), .metric = STR("f1")}, "no metric 'f1'; it has 'exact.accuracy'"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        err = (Err)ERR_INIT;
        CHECK(!trend_compute(results, &arena, &wrong[i].query, &trend, &err));
        CHECK(err.code == ERR_NOT_FOUND);
        if (!has_text(err.message, wrong[i].says)) {
            tap_checks_failed++;
            printf("# %zu: %s\n", i, err.message);
        }
    }
    results_close(results);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_trend__is_drawn(void)
{
    TrendPoint points[5] = {0};
    static const double values[] = {0, 0.5, (double)NAN, 1, 0.99};
    Str names[] = {STR("rel")};
    for (size_t i = 0; i < 5; i++) {
        points[i] = (TrendPoint){
            .experiment = STR("e\033[1m"),
            .short_id = STR("abc"),
            .started = STR("2026-11-25T17:46:00Z"),
            .metric = {.value = values[i], .low = (double)NAN, .high = (double)NAN, .n = 3}};
    }
    points[1].baselines = names;
    points[1].n_baselines = 1;
    points[4].changed = STR("dataset");
    points[4].n_planned = 3;
    TrendSeries series = {
        .model = STR("echo"), .metric = STR("exact.accuracy"), .points = points, .n = 5};
    Trend trend = {.eval = STR("demo"), .series = &series, .n = 1};
    ReportOptions look = {0};
    Buf buf = {0};
    report_trend(&buf, &trend, true, &look);
    Arena arena = {0};
    const char *text = str_to_c(&arena, buf_view(&buf));
    CHECK(has_text(text, "\n_= ##  0.000 to 1.000\n ^  baseline\n"));
    CHECK(has_text(text, "+0.500"));
    CHECK(has_text(text, "baseline rel"));
    CHECK(has_text(text, "changed: dataset; incomplete: 0 of 3"));
    CHECK(strchr(text, '\033') == NULL);
    buf_clear(&buf);
    report_trend(&buf, &trend, false, &look);
    CHECK(has_text(str_to_c(&arena, buf_view(&buf)), "\n\u2581\u2585 \u2588\u2588  0.000 to"));
    buf_finish(&buf);
    arena_finish(&arena);
}

// ---- gc -----------------------------------------------------------------------------------------

static GcPlan plan_of(const Place *place, Arena *arena, const GcQuery *query)
{
    Err err = ERR_INIT;
    GcPlan plan = {0};
    Results *results = results_at(place);
    CHECK_OK(gc_plan(results, arena, query, &plan, &err), &err);
    results_close(results);
    return plan;
}

/** What is chosen, with an exclamation mark behind what goes. */
static void check_plan(int line, const Place *place, GcQuery query, const char *want)
{
    Arena arena = {0};
    GcPlan plan = plan_of(place, &arena, &query);
    Buf got = {0};
    for (size_t i = 0; i < plan.n; i++) {
        buf_printf(&got, STR_FMT "%s ", STR_ARG(plan.items[i].experiment.name),
                   plan.items[i].stays.len == 0 ? "!" : "");
    }
    if (!str_eq_c(buf_view(&got), want)) {
        tap_checks_failed++;
        printf("# line %d: got " STR_FMT "\n", line, STR_ARG(buf_view(&got)));
    }
    buf_finish(&got);
    arena_finish(&arena);
}

static void test_gc__chooses(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    int64_t a = experiment_put(&arena, store, STR("a"), "echo/x", 1, 1, "main", true);
    experiment_put(&arena, store, STR("b"), "echo/x", 1, 1, "fix", true);
    experiment_put(&arena, store, STR("c"), "echo/x", 1, 1, "main", false);
    experiment_put(&arena, store, STR("d"), "echo/x", 1, 1, "fix", true);
    experiment_put(&arena, store, STR("e"), "echo/x", 1, 1, "main", true);
    CHECK_OK(promote(store, "release", a, 0, false, &err), &err);
    Str fix[] = {STR("branch=fix")};
    Str names[] = {STR("e"), STR("latest"), STR("@release")};
    check_plan(__LINE__, &place, (GcQuery){0}, "a b! c d! e! ");
    check_plan(__LINE__, &place, (GcQuery){.keep = 1}, "a b! c d! ");
    check_plan(__LINE__, &place, (GcQuery){.keep = 9}, "");
    check_plan(__LINE__, &place, (GcQuery){.among = {.tags = fix, .n_tags = 1}}, "b! d! ");
    check_plan(__LINE__, &place, (GcQuery){.among = {.tags = fix, .n_tags = 1}, .keep = 1}, "b! ");
    check_plan(__LINE__, &place, (GcQuery){.before_ms = 1000}, "");
    check_plan(__LINE__, &place, (GcQuery){.before_ms = clock_wall_ms() + 60000, .keep = 2},
               "a b! c ");
    check_plan(__LINE__, &place, (GcQuery){.names = names, .n_names = 3}, "e! a ");
    store_close(store);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_gc__removes_all_of_it(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    int64_t a = experiment_put(&arena, store, STR("a"), "echo/x", 500, 1, "main", true);
    int64_t b = experiment_put(&arena, store, STR("b"), "echo/y", 500, 1, "main", true);
    experiment_put(&arena, store, STR("c"), "echo/z", 500, 3, "main", true);
    CHECK_OK(promote(store, "release", a, 0, false, &err), &err);
    CHECK_OK(promote(store, "release", b, a, false, &err), &err);
    store_close(store);
    Results *results = results_at(&place);
    Hash before;
    Hash after;
    CHECK_OK(results_digest(results, 3, &before, &err), &err);
    results_close(results);

    GcQuery query = {0};
    GcPlan plan = plan_of(&place, &arena, &query);
    CHECK_INT(plan.n_go, 2);
    GcDone done;
    // b is the baseline; c is promoted after the plan was made, so it stays as well.
    store = store_at(&place, NULL, NULL);
    CHECK_OK(promote(store, "nightly", 3, 0, false, &err), &err);
    store_close(store);
    CHECK_OK(gc_remove(str_from_c(place.db), &arena, &plan, &done, &err), &err);
    CHECK_INT(done.n_removed, 1);
    CHECK_INT(done.n_stayed, 1);
    CHECK(done.vacuumed && done.file_bytes_after < done.file_bytes_before);
    // The estimate is of the right size.
    double freed = (double)(done.file_bytes_before - done.file_bytes_after);
    int64_t estimated = 0;
    for (size_t i = 0; i < plan.n; i++) {
        estimated += plan.items[i].experiment.id == a ? plan.items[i].n_bytes : 0;
    }
    printf("# freed %.0f, estimated %lld\n", freed, (long long)estimated);
    CHECK((double)estimated > 0.6 * freed && (double)estimated < 1.5 * freed);

    CHECK_STR(sql_one(&arena, &place, "SELECT group_concat(name) FROM experiment"), STR("b,c"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM pragma_foreign_key_check"), STR("0"));
    CHECK_STR(sql_one(&arena, &place, "SELECT integrity_check FROM pragma_integrity_check"),
              STR("ok"));
    static const char *const counts[] = {"attempt", "sample", "call", "score"};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        Str sql = str_printf(&arena, "SELECT count(*) FROM \"%s\"", counts[i]);
        CHECK_STR(sql_one(&arena, &place, str_to_c(&arena, sql)), STR("1000"));
    }
    CHECK_STR(sql_one(&arena, &place,
                      "SELECT count(*) FROM blob WHERE hash NOT IN (SELECT spec_hash "
                      "FROM run UNION SELECT metrics_hash FROM run)"),
              STR("0"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM run JOIN blob ON hash = spec_hash"),
              STR("2"));
    results = results_at(&place);
    CHECK_OK(results_digest(results, 3, &after, &err), &err);
    CHECK(hash_eq(&before, &after));
    BaselineInfo *moves = NULL;
    size_t n = 0;
    CHECK_OK(results_baseline_history(results, &arena, STR("release"), &moves, &n, &err), &err);
    CHECK(n == 2 && moves[0].experiment_id == 0 && str_eq(moves[0].experiment, STR("a")));
    results_close(results);
    place_remove(&place);
    arena_finish(&arena);
}

/** What runs stays, even when the plan was made before it began again; the file is not vacuumed. */
static void test_gc__leaves_what_runs(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_make();
    Store *store = store_at(&place, NULL, NULL);
    experiment_put(&arena, store, STR("a"), "echo/x", 5, 1, "main", true);
    RunSpec run = run_make(&arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(&arena, STR("b"), 2, &run, 1);
    ExperimentOpen open;
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err), &err);
    CHECK_OK(store_experiment_end(store, open.id, STR("interrupted"), NULL, &err), &err);
    GcQuery query = {0};
    GcPlan plan = plan_of(&place, &arena, &query);
    CHECK_INT(plan.n_go, 2);
    CHECK_OK(store_experiment_begin(store, &arena, &spec, RESUME_IF_THERE, &open, &err), &err);
    GcDone done;
    CHECK_OK(gc_remove(str_from_c(place.db), &arena, &plan, &done, &err), &err);
    CHECK_INT(done.n_removed, 1);
    CHECK_INT(done.n_stayed, 1);
    CHECK(!done.vacuumed && has_text(str_to_c(&arena, done.why_not), "is running"));
    AttemptRow row = attempt_make(&arena, open.run_ids[0], 0, 0, 1); // it can go on
    CHECK_OK(store_put_attempt(store, &row, &err), &err);
    CHECK_OK(store_experiment_end(store, open.id, STR("finished"), NULL, &err), &err);
    store_close(store);
    CHECK_STR(sql_one(&arena, &place, "SELECT group_concat(name) FROM experiment"), STR("b"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM pragma_foreign_key_check"), STR("0"));
    place_remove(&place);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("promote: moves and remembers", test_promote__moves_and_remembers);
    tap_run("promote: refuses", test_promote__refuses);
    tap_run("experiments: by filter", test_experiments__by_filter);
    tap_run("trend: follows a metric", test_trend__follows_a_metric);
    tap_run("trend: is drawn", test_trend__is_drawn);
    tap_run("gc: chooses", test_gc__chooses);
    tap_run("gc: removes all of it", test_gc__removes_all_of_it);
    tap_run("gc: leaves what runs", test_gc__leaves_what_runs);
    return tap_done();
}
