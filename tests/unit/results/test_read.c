// SPDX-License-Identifier: MIT
// Metrics from rows against values computed with NumPy and SciPy from the same scores; order of
// attempts, filters, and the digest that says whether two experiments had the same results.
#include "filling.h"

static const double TEN[] = {1, 0, 1, 1, 0, 1, 0, 1, 1, 1};
static const double SIX[] = {0, 0, 1, 0, 1, 0};
static const char *const TEN_CLUSTERS[] = {"p", "p", "p", "q", "q", "r", "r", "", "s", "s"};
static const char *const SIX_CLUSTERS[] = {"p", "p", "", "", "", ""};

static void test_metrics__proportion(void)
{
    Filling f = {0};
    RunSpec run = run_make(&f.arena, "", "echo/x");
    filling_begin(&f, &run, 1);
    for (int i = 0; i < 10; i++) {
        put(&f, 0, i, 0, TEN[i], 1, "");
    }
    Err err = ERR_INIT;
    AttemptRow failed = attempt_make(&f.arena, f.open.run_ids[0], 10, 0, 0);
    failed.state = ATTEMPT_ERROR;
    failed.error_code = ERR_NET;
    CHECK_OK(store_put_attempt(f.store, &failed, &err), &err);
    AttemptRow odd = attempt_make(&f.arena, f.open.run_ids[0], 11, 0, 0);
    Score unscored = {
        .grader = STR("exact"), .state = SCORE_UNSCORED, .reason = STR("odd"), .weight = 1};
    odd.scores = &unscored;
    CHECK_OK(store_put_attempt(f.store, &odd, &err), &err);
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(n, 1);
    CHECK_INT(runs[0].n_metrics, 1);
    CHECK_INT(runs[0].n_done, 11);
    CHECK_INT(runs[0].n_errors, 1);
    CHECK_INT(runs[0].n_unscored, 1);
    CHECK_INT(runs[0].n_planned, 10);
    CHECK_INT(runs[0].usage.input, 120);
    CHECK_NEAR(runs[0].seconds, 3.0, 0);
    CHECK(isnan(runs[0].cost_usd));
    check_metric(__LINE__, &runs[0].metrics[0], "exact.accuracy", "wilson", 10,
                 (Interval){0.7, 0.15275252316519466, 0.39677814746114537, 0.8922087325936989});
    filling_cross(&f, &n);
    CHECK_INT(n, 0); // a single part has nothing across
    filling_end(&f);
}

static void test_metrics__epochs_come_first(void)
{
    static const double values[6][3] = {{1, 0, 1}, {0, 0, 0}, {1, 1, 1},
                                        {0, 1, 0}, {1, 0, 1}, {1, 1, 0}};
    static const double weights[6][3] = {{1, 2, 1}, {2, 2, 2}, {.5, 1, 1},
                                         {3, 1, 1}, {1, 1, 1}, {2, .5, .5}};
    for (int weighted = 0; weighted < 2; weighted++) {
        Filling f = {0};
        RunSpec run = run_make(&f.arena, "", "echo/x");
        run.epochs = 3;
        filling_begin(&f, &run, 1);
        for (int i = 0; i < 18; i++) {
            int sample = i % 6; // epochs of a sample do not arrive together
            put(&f, 0, sample, i / 6, values[sample][i / 6], weighted ? weights[sample][i / 6] : 1,
                "");
        }
        size_t n;
        RunInfo *runs = filling_runs(&f, &n);
        if (weighted) {
            check_metric(__LINE__, &runs[0].metrics[0], "exact.accuracy", "delta", 6,
                         (Interval){0.4255319148936171, 0.16122042965401895, 0.011101606891513738,
                                    0.8399622228957204});
        } else {
            check_metric(__LINE__, &runs[0].metrics[0], "exact.accuracy", "t", 6,
                         (Interval){0.5555555555555555, 0.1405456737852613, 0.19427139944589578,
                                    0.9168397116652152});
        }
        filling_end(&f);
    }
}

static void test_metrics__clusters(void)
{
    Filling f = {0};
    RunSpec run = run_make(&f.arena, "", "echo/x");
    filling_begin(&f, &run, 1);
    for (int i = 9; i >= 0; i--) {
        put(&f, 0, i, 0, TEN[i], 1, TEN_CLUSTERS[i]);
    }
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    check_metric(__LINE__, &runs[0].metrics[0], "exact.accuracy", "jackknife", 10,
                 (Interval){0.7, 0.0977061168032533, 0.41444200720338437, 0.9855579927966156});
    CHECK_INT(runs[0].metrics[0].n_clusters, 5);
    filling_end(&f);
}

static void test_metrics__few_samples(void)
{
    Filling f = {0};
    RunSpec runs[2] = {run_make(&f.arena, "", "echo/x"), run_make(&f.arena, "", "echo/y")};
    filling_begin(&f, runs, 2);
    put(&f, 0, 0, 0, 0.5, 1, "");
    size_t n;
    RunInfo *infos = filling_runs(&f, &n);
    CHECK_INT(n, 2);
    const MetricRow *one = &infos[0].metrics[0];
    CHECK_NEAR(one->value, 0.5, 0);
    CHECK(isnan(one->stderr_) && isnan(one->low) && str_eq(one->method, STR("none")));
    const MetricRow *none = &infos[1].metrics[0];
    CHECK_STR(none->name, STR("exact.accuracy"));
    CHECK(none->n == 0 && isnan(none->value) && str_eq(none->method, STR("none")));
    CHECK_NEAR(infos[1].cost_usd, 0, 0);
    filling_end(&f);
}

static void test_metrics__every_grader_or_one(void)
{
    static const char *const graders[] = {"a", "b", NULL};
    Filling f = {0};
    RunSpec run = run_make(&f.arena, "", "echo/x");
    Value metrics[3] = {
        metric_value(&f.arena, STR("accuracy"), STR_EMPTY, STR_EMPTY, graders),
        metric_value(&f.arena, STR("mean"), STR("b"), STR_EMPTY, graders),
        metric_value(&f.arena, STR("accuracy"), STR("a"), STR("parts"), graders),
    };
    run.metrics = value_list(metrics, 3);
    filling_begin(&f, &run, 1);
    for (int i = 0; i < 8; i++) {
        Err err = ERR_INIT;
        AttemptRow row = attempt_make(&f.arena, f.open.run_ids[0], i, 0, 0);
        Score scores[2] = {
            {.grader = STR("a"), .value = i < 6, .is_boolean = true, .weight = 1},
            {.grader = STR("b"), .value = i * 0.25, .weight = 1},
        };
        row.scores = scores;
        row.n_scores = i < 4 ? 2 : 1; // b does not apply to the others
        CHECK_OK(store_put_attempt(f.store, &row, &err), &err);
    }
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(runs[0].n_metrics, 3);
    check_metric(__LINE__, &runs[0].metrics[0], "a.accuracy", "wilson", 8,
                 (Interval){0.75, 0.16366341767699427, 0.40927543031016883, 0.9285207872478909});
    CHECK_STR(runs[0].metrics[1].name, STR("b.accuracy"));
    CHECK_STR(runs[0].metrics[2].name, STR("b.mean"));
    CHECK_NEAR(runs[0].metrics[2].value, 0.375, 0);
    CHECK_INT(runs[0].metrics[2].n, 4);
    filling_end(&f);
}

/** Two parts with the values TEN and SIX, pooled and averaged. */
static void fill_parts(Filling *f, bool clustered)
{
    static const char *const graders[] = {"exact", NULL};
    Value *metrics = ARENA_ARRAY(&f->arena, Value, 2);
    metrics[0] = metric_value(&f->arena, STR("accuracy"), STR_EMPTY, STR_EMPTY, graders);
    metrics[1] = metric_value(&f->arena, STR("accuracy"), STR_EMPTY, STR("parts"), graders);
    RunSpec runs[3] = {run_make(&f->arena, "a", "echo/x"), run_make(&f->arena, "b", "echo/x"),
                       run_make(&f->arena, "a", "echo/y")};
    for (int i = 0; i < 3; i++) {
        runs[i].metrics = value_list(metrics, 2);
    }
    filling_begin(f, runs, 3);
    for (int i = 0; i < 10; i++) {
        put(f, 0, i, 0, TEN[i], 1, clustered ? TEN_CLUSTERS[i] : "");
        put(f, 2, i, 0, 1, 1, clustered ? TEN_CLUSTERS[i] : "");
    }
    for (int i = 0; i < 6; i++) {
        put(f, 1, i, 0, SIX[i], 1, clustered ? SIX_CLUSTERS[i] : "");
    }
}

static void test_cross__pooled_and_mean_of_parts(void)
{
    Filling f = {0};
    fill_parts(&f, false);
    size_t n;
    CrossMetric *cross = filling_cross(&f, &n);
    CHECK_INT(n, 2);
    check_metric(__LINE__, &cross[0].metric, "exact.accuracy", "wilson", 16,
                 (Interval){0.5625, 0.128086884574495, 0.331785563988119, 0.7690134759450765});
    CHECK_STR(cross[0].average, STR_EMPTY);
    CHECK_STR(cross[0].model, STR("echo/x"));
    check_metric(__LINE__, &cross[1].metric, "exact.accuracy", "t", 16,
                 (Interval){0.5166666666666666, 0.1301708279317776, 0.22695518531180292,
                            0.8063781480215303});
    CHECK_STR(cross[1].average, STR("parts"));
    CHECK_INT(cross[1].n_runs, 2);
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(n, 3);
    CHECK_INT(runs[1].n_metrics, 1); // within one part both are the same
    check_metric(__LINE__, &runs[1].metrics[0], "exact.accuracy", "wilson", 6,
                 (Interval){0.3333333333333333, 0.21081851067789195, 0.09677141110578041,
                            0.700006684861608});
    filling_end(&f);
}

static void test_cross__clusters_reach_over_parts(void)
{
    Filling f = {0};
    fill_parts(&f, true);
    size_t n;
    CrossMetric *cross = filling_cross(&f, &n);
    CHECK_INT(n, 2);
    check_metric(__LINE__, &cross[0].metric, "exact.accuracy", "jackknife", 16,
                 (Interval){0.5625, 0.11491076323614688, 0.26876544954711107, 0.856234550452889});
    CHECK_INT(cross[0].metric.n_clusters, 9);
    check_metric(__LINE__, &cross[1].metric, "exact.accuracy", "jackknife", 16,
                 (Interval){0.5166666666666666, 0.14043807213075987, 0.15767928531035802,
                            0.8756540480229752});
    filling_end(&f);
}

// ---- Experiments by name ------------------------------------------------------------------------

static void test_experiment__is_found_by_many_names(void)
{
    Filling f = {0};
    Err err = ERR_INIT;
    f.place = place_make();
    f.store = store_at(&f.place, NULL, NULL);
    RunSpec run = run_make(&f.arena, "", "echo/x");
    static const char *const names[] = {"first", "second", "third"};
    ExperimentOpen open[3];
    for (int i = 0; i < 3; i++) {
        ExperimentSpec spec = experiment_make(&f.arena, str_from_c(names[i]), 1, &run, 1);
        CHECK_OK(store_experiment_begin(f.store, &f.arena, &spec, RESUME_NO, &open[i], &err), &err);
        ValuePair stat = value_pair(STR("requests"), value_int(i));
        Value stats = value_map(&stat, 1);
        CHECK_OK(store_experiment_end(f.store, open[i].id, STR("finished"), &stats, &err), &err);
    }
    Results *results = results_at(&f.place);
    const struct {
        int line;
        Str name;
        int want; // index, or -1
        const char *says;
    } cases[] = {
        {__LINE__, STR("second"), 1, ""},
        {__LINE__, open[2].short_id, 2, ""},
        {__LINE__, STR("latest"), 2, ""},
        {__LINE__, STR("latest~0"), 2, ""},
        {__LINE__, STR("latest~2"), 0, ""},
        {__LINE__, STR("latest~3"), -1, "holds 3 experiments"},
        {__LINE__, STR("secnod"), -1, "did you mean 'second'"},
        {__LINE__, STR("nothing like it"), -1, "list experiments"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ExperimentInfo info = {0};
        err = (Err)ERR_INIT;
        bool ok = results_experiment(results, &f.arena, cases[i].name, &info, &err);
        bool good = cases[i].want >= 0
                        ? ok && str_eq_c(info.name, names[cases[i].want])
                        : !ok && err.code == ERR_NOT_FOUND && has_text(err.message, cases[i].says);
        if (!good) {
            tap_checks_failed++;
            printf("# line %d: '" STR_FMT "' %s\n", cases[i].line, STR_ARG(info.name), err.message);
        }
    }
    ExperimentInfo *all;
    size_t n;
    err = (Err)ERR_INIT;
    CHECK_OK(results_experiments(results, &f.arena, &all, &n, &err), &err);
    CHECK_INT(n, 3);
    CHECK_STR(all[0].name, STR("first"));
    CHECK_STR(all[0].state, STR("finished"));
    CHECK_INT(value_get_int(&all[2].stats, "requests", -1), 2);
    CHECK_INT(value_get_int(value_get_c(&all[2].spec, "settings"), "seed", -1), 1);
    results_close(results);
    filling_end(&f);
}

static void test_experiment__an_empty_store_says_so(void)
{
    Filling f = {0};
    Err err = ERR_INIT;
    f.place = place_make();
    f.store = store_at(&f.place, NULL, NULL);
    Results *results = results_at(&f.place);
    ExperimentInfo info;
    CHECK(!results_experiment(results, &f.arena, STR("latest"), &info, &err));
    CHECK(err.code == ERR_NOT_FOUND && has_text(err.message, "no experiment yet"));
    results_close(results);
    filling_end(&f);
}

// ---- Attempts and digest ------------------------------------------------------------------------

static bool append_place(void *ctx, const AttemptInfo *attempt)
{
    buf_printf(ctx, STR_FMT "/" STR_FMT ":" STR_FMT ".%lld ", STR_ARG(attempt->part),
               STR_ARG(attempt->model), STR_ARG(attempt->sample_id), (long long)attempt->epoch);
    return true;
}

static void test_attempts__canonical_order_and_filters(void)
{
    Filling f = {0};
    RunSpec runs[3] = {run_make(&f.arena, "b", "m1"), run_make(&f.arena, "a", "m2"),
                       run_make(&f.arena, "a", "m1")};
    filling_begin(&f, runs, 3);
    static const int64_t order[] = {10, 2, 1};
    for (size_t r = 0; r < 3; r++) {
        for (size_t i = 0; i < 3; i++) {
            put(&f, r, order[i], 1, order[i] == 2 ? 0.5 : 1, 1, "");
            if (r == 0) {
                put(&f, r, order[i], 0, 1, 1, "");
            }
        }
    }
    Err err = ERR_INIT;
    CHECK_OK(store_flush(f.store, &err), &err);
    const struct {
        int line;
        AttemptFilter filter;
        const char *want;
    } cases[] = {
        {__LINE__,
         {.limit = 0},
         "a/m1:1.1 a/m1:10.1 a/m1:2.1 a/m2:1.1 a/m2:10.1 a/m2:2.1 "
         "b/m1:1.0 b/m1:1.1 b/m1:10.0 b/m1:10.1 b/m1:2.0 b/m1:2.1 "},
        {__LINE__, {.part = STR("b"), .sample_id = STR("10")}, "b/m1:10.0 b/m1:10.1 "},
        {__LINE__, {.failed_only = true}, "a/m1:2.1 a/m2:2.1 b/m1:2.1 "},
        {__LINE__, {.failed_only = true, .limit = 2}, "a/m1:2.1 a/m2:2.1 "},
        {__LINE__, {.model = STR("m2"), .limit = 1}, "a/m2:1.1 "},
        {__LINE__, {.eval = STR("other")}, ""},
    };
    Results *results = results_at(&f.place);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf got = {0};
        CHECK_OK(results_attempts(results, f.open.id, &cases[i].filter, append_place, &got, &err),
                 &err);
        if (!str_eq_c(buf_view(&got), cases[i].want)) {
            tap_checks_failed++;
            printf("# line %d: got %.*s\n", cases[i].line, STR_ARG(buf_view(&got)));
        }
        buf_finish(&got);
    }
    results_close(results);
    filling_end(&f);
}

static bool append_paths(void *ctx, const AttemptInfo *attempt)
{
    for (size_t i = 0; i < attempt->calls.as.list.n; i++) {
        Str path = value_get_str(&attempt->calls.as.list.items[i], "path", STR_EMPTY);
        buf_printf(ctx, STR_FMT " ", STR_ARG(path));
    }
    return true;
}

/** A long conversation reads in the order in which it was had. */
static void test_attempts__calls_in_the_order_asked(void)
{
    static const char *const paths[] = {"10", "2",      "g0.0.1", "1.10.0",  "1.2.10", "0",
                                        "11", "g0.0.0", "1.2.9",  "g10.0.0", "g2.0.0"};
    Filling f = {0};
    RunSpec run = run_make(&f.arena, "a", "m");
    filling_begin(&f, &run, 1);
    AttemptRow row = attempt_make(&f.arena, f.open.run_ids[0], 1, 0, 1);
    Err err = ERR_INIT;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        CHECK_OK(call_put(f.store, &row, paths[i], &err), &err);
    }
    CHECK_OK(store_put_attempt(f.store, &row, &err), &err);
    CHECK_OK(store_flush(f.store, &err), &err);
    Results *results = results_at(&f.place);
    AttemptFilter filter = {.with_calls = true};
    Buf got = {0};
    CHECK_OK(results_attempts(results, f.open.id, &filter, append_paths, &got, &err), &err);
    CHECK(str_eq_c(buf_view(&got), "0 1.2.9 1.2.10 1.10.0 2 10 11 g0.0.0 g0.0.1 g2.0.0 g10.0.0 "));
    buf_finish(&got);
    results_close(results);
    filling_end(&f);
}

/** The digest of an experiment with 300 attempts, put in an order that depends on how. */
static Hash digest_of(int how, double last_value)
{
    Filling f = {0};
    Err err = ERR_INIT;
    RunSpec runs[2] = {run_make(&f.arena, "a", "m"), run_make(&f.arena, "b", "m")};
    RunSpec reversed[2] = {runs[1], runs[0]};
    filling_begin(&f, how == 1 ? reversed : runs, 2);
    for (int64_t k = 0; k < 300; k++) {
        int64_t i = how == 0 ? k : (k * 7 + 3) % 300;
        bool second = i % 2 == 1;
        AttemptRow row = attempt_make(&f.arena, f.open.run_ids[how == 1 ? !second : second], i, 0,
                                      i == 299 ? last_value : 1);
        row.seconds = how + 0.5; // times are no part of it
        if (how == 2) {
            CHECK_OK(call_put(f.store, &row, "0", &err), &err);
        }
        CHECK_OK(store_put_attempt(f.store, &row, &err), &err);
        if (how == 2 && k % 50 == 0) {
            CHECK_OK(store_flush(f.store, &err), &err);
        }
    }
    if (how == 2) { // a call without a closing is not in it either
        AttemptRow open = attempt_make(&f.arena, f.open.run_ids[0], 1000, 0, 1);
        CHECK_OK(call_put(f.store, &open, "0", &err), &err);
    }
    CHECK_OK(store_flush(f.store, &err), &err);
    Results *results = results_at(&f.place);
    Hash hash = {0};
    CHECK_OK(results_digest(results, f.open.id, &hash, &err), &err);
    results_close(results);
    filling_end(&f);
    return hash;
}

static void test_digest__depends_on_results_alone(void)
{
    Hash plain = digest_of(0, 1);
    Hash shuffled = digest_of(1, 1);
    Hash with_calls = digest_of(2, 1);
    Hash different = digest_of(0, 0.5);
    CHECK(hash_eq(&plain, &shuffled));
    CHECK(hash_eq(&plain, &with_calls));
    CHECK(!hash_eq(&plain, &different));
}

int main(void)
{
    tap_run("metrics: proportion", test_metrics__proportion);
    tap_run("metrics: epochs come first", test_metrics__epochs_come_first);
    tap_run("metrics: clusters", test_metrics__clusters);
    tap_run("metrics: few samples", test_metrics__few_samples);
    tap_run("metrics: every grader or one", test_metrics__every_grader_or_one);
    tap_run("cross: pooled and mean of parts", test_cross__pooled_and_mean_of_parts);
    tap_run("cross: clusters reach over parts", test_cross__clusters_reach_over_parts);
    tap_run("experiment: is found by many names", test_experiment__is_found_by_many_names);
    tap_run("experiment: an empty store says so", test_experiment__an_empty_store_says_so);
    tap_run("attempts: canonical order and filters", test_attempts__canonical_order_and_filters);
    tap_run("attempts: calls in the order asked", test_attempts__calls_in_the_order_asked);
    tap_run("digest: depends on results alone", test_digest__depends_on_results_alone);
    return tap_done();
}
