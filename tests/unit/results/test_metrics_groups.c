// SPDX-License-Identifier: MIT
// Metrics over variants, parts and slices, of scores without spread, and written in Lua; figures
// computed apart from this program with NumPy and SciPy. Intervals are 95 %.
#include "metric_rows.h"

// ---- Variants -----------------------------------------------------------------------------------

static void fill_variants(Filling *f, const char *metrics, bool booleans)
{
    static const double first[] = {1, 1, 0, 1, 1, .5};
    static const double second[] = {1, 0, 0, 1, .5, 1};
    RunSpec runs[2] = {run_with(&f->arena, metrics, 1), run_with(&f->arena, metrics, 1)};
    runs[0].variant = STR("clean");
    runs[1].variant = STR("typos");
    filling_begin(f, runs, 2);
    for (int i = 0; i < (booleans ? 4 : 6); i++) {
        const char *metadata = i < 3 ? "{\"kind\": \"a\"}" : "{\"kind\": \"b\"}";
        put_given(f, 0, i, 0,
                  &(Given){.value = first[i], .metadata = metadata, .graded = !booleans});
        put_given(f, 1, 5 - i, 0,
                  &(Given){.value = second[5 - i],
                           .metadata = 5 - i < 3 ? "{\"kind\": \"a\"}" : "{\"kind\": \"b\"}",
                           .graded = !booleans});
    }
}

static void test_variants__worst(void)
{
    Filling f = {0};
    fill_variants(&f,
                  "[{\"use\": \"accuracy\"}, {\"use\": \"worst\", \"over\": \"variants\","
                  " \"variants\": [\"clean\", \"typos\"], \"slices\": [\"kind\"]}]",
                  false);
    size_t n;
    CrossMetric *cross = filling_cross(&f, &n);
    CHECK_INT(n, 3);
    // t(min over variants)
    check_metric(__LINE__, &cross[0].metric, "exact.worst", "t", 6,
                 (Interval){0.5, 0.18257418583505539, 0.03067811423631772, 0.9693218857636823});
    CHECK_STR(cross[0].over, STR("variants"));
    CHECK_STR(cross[0].variant, STR_EMPTY);
    CHECK_STR(cross[1].metric.slice, STR("kind=a"));
    CHECK_NEAR(cross[1].metric.value, 1.0 / 3, 1e-12);
    CHECK_STR(cross[2].metric.slice, STR("kind=b"));
    CHECK_NEAR(cross[2].metric.value, 2.0 / 3, 1e-12);
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(runs[0].n_metrics, 1); // it is of no single run
    CHECK(cross[0].metric.value <= runs[0].metrics[0].value);
    CHECK(cross[0].metric.value <= runs[1].metrics[0].value);
    filling_end(&f);
}

static void test_variants__missing_ones_leave_samples_unscored(void)
{
    static const char *const metrics[] = {
        "[{\"use\": \"worst\", \"graders\": [\"exact\"]}]",
        "[{\"use\": \"worst\", \"variants\": [\"clean\", \"typos\", \"shout\"]}]",
    };
    for (int i = 0; i < 2; i++) {
        Filling f = {0};
        fill_variants(&f, metrics[i], true); // 0..3 of the first variant, 2..5 of the second
        size_t n;
        CrossMetric *cross = filling_cross(&f, &n);
        CHECK_INT(n, 1);
        CHECK_INT(cross[0].metric.n, i == 0 ? 2 : 0);
        CHECK_INT(cross[0].metric.n_unscored, i == 0 ? 4 : 6);
        CHECK(i == 0 ? cross[0].metric.value == 0.5 : isnan(cross[0].metric.value));
        CHECK_STR(cross[0].metric.method, i == 0 ? STR("wilson") : STR("none"));
        filling_end(&f);
    }
}

static void test_variants__lower_is_better(void)
{
    Filling f = {0};
    fill_variants(&f,
                  "[{\"use\": \"worst\", \"graders\": [{\"name\": \"exact\", \"low\": 0,"
                  " \"high\": 1, \"lower_is_better\": true}]}]",
                  false);
    size_t n;
    CrossMetric *cross = filling_cross(&f, &n);
    CHECK_INT(n, 1);
    check_metric(__LINE__, &cross[0].metric, "exact.worst", "t", 6,
                 (Interval){0.8333333333333334, 0.16666666666666669, 0.40490302739394757, 1});
    CHECK(cross[0].metric.lower_is_better);
    filling_end(&f);
}

static void test_variants__parts_pair_apart(void)
{
    static const char metrics[] = "[{\"use\": \"worst\"}, {\"use\": \"worst\", \"average\": "
                                  "\"parts\"}]";
    Filling f = {0};
    RunSpec runs[4];
    for (int i = 0; i < 4; i++) {
        runs[i] = run_with(&f.arena, metrics, 1);
        runs[i].part = i < 2 ? STR("p") : STR("q");
        runs[i].variant = i % 2 == 0 ? STR("clean") : STR("typos");
    }
    filling_begin(&f, runs, 4);
    for (int i = 0; i < 4; i++) { // the same ids in both parts
        for (int sample = 0; sample < (i < 2 ? 4 : 2); sample++) {
            put_given(&f, (size_t)i, sample, 0, &(Given){.value = i < 2 ? 1 : sample == i % 2});
        }
    }
    size_t n;
    CrossMetric *cross = filling_cross(&f, &n);
    CHECK_INT(n, 2);
    CHECK_NEAR(cross[0].metric.value, 4.0 / 6, 1e-12); // p: 1 1 1 1, q: 0 0
    CHECK_NEAR(cross[1].metric.value, 0.5, 1e-12);
    CHECK_INT(cross[1].n_runs, 2);
    CHECK_STR(cross[1].average, STR("parts"));
    filling_end(&f);
}

// ---- Slices -------------------------------------------------------------------------------------

static void test_slices__each_value_of_each_key(void)
{
    static const double values[] = {1, 0, 1, 1, 0, 1, 0, 1, 1, 1};
    static const char sources[] = "aabbbccccc";
    Filling f = {0};
    RunSpec run = run_with(&f.arena,
                           "[{\"use\": \"accuracy\", \"slices\": [\"source\", \"level\", \"no\"]},"
                           " {\"use\": \"f1_macro\", \"slices\": [\"source\", \"level\", \"no\"]}]",
                           1);
    filling_begin(&f, &run, 1);
    for (int i = 0; i < 10; i++) {
        char metadata[80];
        snprintf(metadata, sizeof(metadata), "{\"source\": \"%c\", \"level\": %s, \"no\": null}",
                 sources[i],
                 i % 3 == 0   ? "10"
                 : i % 3 == 1 ? "2"
                              : "\"1a\""); // bytewise before 2, behind 10
        put_given(&f, 0, i, 0, &(Given){.value = values[i], .metadata = metadata, .answer = "x"});
    }
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    static const char *const order[] = {"",        "source=a", "source=b", "source=c",
                                        "level=2", "level=10", "level=1a"};
    CHECK_INT(runs[0].n_metrics, 14);
    for (size_t i = 0; i < 14; i++) {
        CHECK_STR(runs[0].metrics[i].slice, str_from_c(order[i % 7]));
    }
    // wilson of the slice's scores
    check_metric(__LINE__, metric_named(runs, "exact.accuracy", "source=a"), "exact.accuracy",
                 "wilson", 2, (Interval){0.5, 0.5, 0.09453120573423074, 0.9054687942657693});
    check_metric(__LINE__, metric_named(runs, "exact.accuracy", "source=b"), "exact.accuracy",
                 "wilson", 3,
                 (Interval){2.0 / 3, 1.0 / 3, 0.20765960080204765, 0.9385080552796037});
    check_metric(__LINE__, metric_named(runs, "exact.accuracy", "source=c"), "exact.accuracy",
                 "wilson", 5, (Interval){0.8, 0.2, 0.3755346297625253, 0.9637758913675698});
    CHECK_INT(metric_named(runs, "exact.accuracy", "level=10")->n, 4);
    filling_end(&f);
}

static void test_slices__across_parts(void)
{
    Filling f = {0};
    RunSpec runs[2];
    for (int i = 0; i < 2; i++) {
        runs[i] = run_with(
            &f.arena, "[{\"use\": \"accuracy\", \"average\": \"parts\", \"slices\": [\"k\"]}]", 1);
        runs[i].part = i == 0 ? STR("p") : STR("q");
    }
    filling_begin(&f, runs, 2);
    for (int i = 0; i < 8; i++) { // k=1 is only in p
        const char *metadata = i < 2 ? "{\"k\": 1}" : "{\"k\": 2}";
        put_given(&f, i < 5 ? 0 : 1, i, 0, &(Given){.value = i % 2, .metadata = metadata});
    }
    size_t n;
    CrossMetric *cross = filling_cross(&f, &n);
    CHECK_INT(n, 3);
    CHECK_NEAR(cross[0].metric.value, (2.0 / 5 + 2.0 / 3) / 2, 1e-12);
    CHECK_STR(cross[1].metric.slice, STR("k=1"));
    CHECK_INT(cross[1].n_runs, 1);
    CHECK_NEAR(cross[1].metric.value, 0.5, 1e-12);
    CHECK_NEAR(cross[2].metric.value, (1.0 / 3 + 2.0 / 3) / 2, 1e-12);
    filling_end(&f);
}

static void test_slices__very_many_share_one(void)
{
    Filling f = {0};
    RunSpec run = run_with(&f.arena, "[{\"use\": \"accuracy\", \"slices\": [\"id\"]}]", 1);
    filling_begin(&f, &run, 1);
    for (int i = 0; i < 1010; i++) {
        char metadata[40];
        snprintf(metadata, sizeof(metadata), "{\"id\": \"row %d\"}", i);
        put_given(&f, 0, i, 0, &(Given){.value = 1, .metadata = metadata});
    }
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(runs[0].n_metrics, 1002);
    CHECK_INT(metric_named(runs, "exact.accuracy", "id=(others)")->n, 10);
    filling_end(&f);
}

// ---- No spread ----------------------------------------------------------------------------------

static void test_constant__is_not_certain(void)
{
    static const char *const clusters[] = {"a", "a", "a", "b", "b", "c", "c", "d", "d", "d"};
    // q = 1 - .05^(1/(n-1)), limits v - q (v - low) and v + q (high - v); clusters: n is 4
    const struct {
        int line;
        bool clustered;
        const char *graders;
        const char *method;
        double low;
        double high;
    } cases[] = {
        {__LINE__, false, "[{\"name\": \"exact\", \"low\": 0, \"high\": 1}]", "constant",
         0.17921779110922162, 0.46234662667233517},
        {__LINE__, true, "[{\"name\": \"exact\", \"low\": 0, \"high\": 1}]", "constant",
         0.09210078746600969, 0.7236976376019709},
        {__LINE__, false, "[{\"name\": \"exact\", \"low\": 0}]", "none", NAN, NAN},
        {__LINE__, false, "[\"exact\"]", "none", NAN, NAN},
    };
    for (size_t c = 0; c < COUNT(cases); c++) {
        Filling f = {0};
        Str metrics =
            str_printf(&f.arena, "[{\"use\": \"mean\", \"graders\": %s}]", cases[c].graders);
        RunSpec run = run_with(&f.arena, metrics.data, 1);
        filling_begin(&f, &run, 1);
        for (int i = 0; i < 10; i++) {
            Given given = {
                .value = 0.25, .graded = true, .cluster = cases[c].clustered ? clusters[i] : ""};
            put_given(&f, 0, i, 0, &given);
        }
        size_t n;
        const MetricRow *row = &filling_runs(&f, &n)[0].metrics[0];
        bool limits = isnan(cases[c].low) ? isnan(row->low) && isnan(row->high)
                                          : fabs(row->low - cases[c].low) < 1e-12 &&
                                                fabs(row->high - cases[c].high) < 1e-12;
        if (!limits || !str_eq_c(row->method, cases[c].method) || row->stderr_ != 0) {
            tap_checks_failed++;
            printf("# line %d: [%.17g, %.17g] " STR_FMT "\n", cases[c].line, row->low, row->high,
                   STR_ARG(row->method));
        }
        filling_end(&f);
    }
}

/** The limits when n scores between 0 and 1 are all the same. */
static MetricRow constant_row(int n, double value)
{
    Filling f = {0};
    RunSpec run = run_with(&f.arena, "[{\"use\": \"mean\"}]", 1);
    filling_begin(&f, &run, 1);
    for (int i = 0; i < n; i++) {
        put_given(&f, 0, i, 0, &(Given){.value = value, .graded = true});
    }
    size_t n_runs;
    MetricRow row = filling_runs(&f, &n_runs)[0].metrics[0];
    filling_end(&f);
    return row;
}

static void test_constant__covers_as_promised(void)
{
    // A score is 0.5 with chance p, else an end of the range, which moves the mean the most. After
    // a first score of 0.5 the chance that all others are 0.5 too and the mean lies outside the
    // limits is p^(n-1) where it does: never above 0.05, and for some p close to it.
    static const int sizes[] = {2, 5, 10, 30};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        MetricRow row = constant_row(sizes[i], 0.5);
        for (int end = 0; end < 2; end++) {
            double most = 0;
            for (int k = 1; k < 10000; k++) {
                double p = k / 10000.0;
                double mean = 0.5 * p + end * (1 - p);
                if (mean < row.low || mean > row.high) {
                    most = fmax(most, pow(p, sizes[i] - 1));
                }
            }
            CHECK(most <= 0.05 && most > 0.048);
        }
    }
}

static void test_constant__parts(void)
{
    Filling f = {0};
    RunSpec runs[2];
    for (int i = 0; i < 2; i++) {
        runs[i] = run_with(&f.arena, "[{\"use\": \"accuracy\", \"average\": \"parts\"}]", 1);
        runs[i].part = i == 0 ? STR("p") : STR("q");
    }
    filling_begin(&f, runs, 2);
    for (int i = 0; i < 9; i++) {
        put_given(&f, i < 5 ? 0 : 1, i, 0, &(Given){.value = i < 5});
    }
    size_t n;
    CrossMetric *cross = filling_cross(&f, &n);
    CHECK_INT(n, 1);
    // each part's limits at 1 - .05/2, averaged
    check_metric(__LINE__, &cross[0].metric, "exact.accuracy", "constant", 9,
                 (Interval){0.5, 0, 0.19881768219176266, 0.8537991130893567});
    filling_end(&f);
}

// ---- Custom metrics -----------------------------------------------------------------------------

static int compare_reals(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

/** What the metric in Lua would be: the median; ctx counts calls. */
static bool median_metric(void *ctx, Str file, Str lua, const Value *params, const Value *scores,
                          double *out, Err *err)
{
    double x[64];
    size_t n = scores->as.list.n;
    ++*(int *)ctx;
    CHECK_STR(file, STR("metrics/median.lua"));
    CHECK_STR(lua, STR("return {}"));
    if (value_get_int(params, "fail", 0) == 1) {
        return ERR_SET(err, ERR_SCRIPT, "metrics/median.lua:3: no");
    }
    for (size_t i = 0; i < n; i++) {
        const Value *score = &scores->as.list.items[i];
        x[i] = value_get_real(score, "value", -1);
        CHECK_STR(value_get_str(score, "answer", STR_EMPTY), STR("x"));
        CHECK_STR(value_get_str(score, "target", STR_EMPTY), STR("t"));
        CHECK_INT(value_get_int(value_get_c(score, "metadata"), "m", 0), 7);
        CHECK(value_get_str(score, "id", STR_EMPTY).len > 0);
    }
    qsort(x, n, sizeof(*x), compare_reals);
    *out = (x[(n - 1) / 2] + x[n / 2]) / 2;
    return true;
}

static void test_custom__jackknife(void)
{
    static const double values[] = {3, 1, 4, 1, 5, 9, 2, 6};
    static const char *const clusters[] = {"a", "a", "b", "b", "c", "c", "d", "d"};
    // median; SE^2 = (G-1)/G sum (m_-g - mean)^2, t with G-1 df; G = 8 samples, or 4 clusters
    static const Interval wants[] = {
        {3.5, 1.3228756555322954, 0.37189614308663277, 6.628103856913367},
        {3.5, 1.2808688457449497, -0.576296325694023, 7.576296325694023},
    };
    for (int clustered = 0; clustered < 2; clustered++) {
        int n_calls = 0;
        Filling f = {.custom = median_metric, .custom_ctx = &n_calls};
        RunSpec run = run_with(&f.arena,
                               "[{\"use\": \"median\", \"lua\": \"return {}\","
                               " \"file\": \"metrics/median.lua\", \"lower_is_better\": true}]",
                               1);
        filling_begin(&f, &run, 1);
        for (int i = 0; i < 8; i++) {
            Given given = {.value = values[i],
                           .answer = "x",
                           .target = "[\"t\", \"u\"]",
                           .metadata = "{\"m\": 7}",
                           .cluster = clustered ? clusters[i] : ""};
            put_given(&f, 0, i, 0, &given);
        }
        put_given(&f, 0, 8, 0,
                  &(Given){.value = (double)NAN,
                           .metadata = "{\"m\": 7}",
                           .cluster = clustered ? "d" : ""});
        size_t n;
        RunInfo *runs = filling_runs(&f, &n);
        check_metric(__LINE__, &runs[0].metrics[0], "exact.median", "jackknife", 8,
                     wants[clustered]);
        CHECK_INT(runs[0].metrics[0].n_unscored, 1);
        CHECK_INT(n_calls, clustered ? 5 : 9);
        CHECK(runs[0].metrics[0].lower_is_better);
        filling_end(&f);
    }
}

static void test_custom__says_why_it_failed(void)
{
    static const char metrics[] =
        "[{\"use\": \"median\", \"lua\": \"return {}\", \"file\": \"metrics/median.lua\","
        " \"params\": {\"fail\": 1}}, {\"use\": \"accuracy\"}]";
    for (int there = 0; there < 2; there++) {
        int n_calls = 0;
        Filling f = {.custom = there ? median_metric : NULL, .custom_ctx = &n_calls};
        RunSpec run = run_with(&f.arena, metrics, 1);
        filling_begin(&f, &run, 1);
        for (int i = 0; i < 4; i++) {
            put_given(&f, 0, i, 0, &(Given){.value = 1});
        }
        size_t n;
        RunInfo *runs = filling_runs(&f, &n);
        CHECK_INT(runs[0].n_metrics, 2);
        CHECK(isnan(runs[0].metrics[0].value));
        CHECK_STR(runs[0].metrics[0].why,
                  there ? STR("metrics/median.lua:3: no")
                        : STR("it is written in Lua, which this command does not run"));
        CHECK_NEAR(runs[0].metrics[1].value, 1, 0);
        filling_end(&f);
    }
}

static void test_custom__at_most_fifty_groups(void)
{
    int n_calls = 0;
    Filling f = {.custom = median_metric, .custom_ctx = &n_calls};
    RunSpec run =
        run_with(&f.arena,
                 "[{\"use\": \"m\", \"lua\": \"return {}\", \"file\": \"metrics/median.lua\"}]", 1);
    filling_begin(&f, &run, 1);
    for (int i = 0; i < 60; i++) {
        put_given(
            &f, 0, i, 0,
            &(Given){.value = i % 7, .answer = "x", .target = "[\"t\"]", .metadata = "{\"m\": 7}"});
    }
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(n_calls, 51);
    CHECK(runs[0].metrics[0].stderr_ >= 0);
    filling_end(&f);
}

int main(void)
{
    tap_run("variants: worst", test_variants__worst);
    tap_run("variants: missing ones leave samples unscored",
            test_variants__missing_ones_leave_samples_unscored);
    tap_run("variants: lower is better", test_variants__lower_is_better);
    tap_run("variants: parts pair apart", test_variants__parts_pair_apart);
    tap_run("slices: each value of each key", test_slices__each_value_of_each_key);
    tap_run("slices: across parts", test_slices__across_parts);
    tap_run("slices: very many share one", test_slices__very_many_share_one);
    tap_run("constant: is not certain", test_constant__is_not_certain);
    tap_run("constant: covers as promised", test_constant__covers_as_promised);
    tap_run("constant: parts", test_constant__parts);
    tap_run("custom: jackknife", test_custom__jackknife);
    tap_run("custom: says why it failed", test_custom__says_why_it_failed);
    tap_run("custom: at most fifty groups", test_custom__at_most_fifty_groups);
    return tap_done();
}
