// SPDX-License-Identifier: MIT
// What a diff says: comparisons, verdicts, flips, costs, changes, reports. Figures are NumPy's and
// SciPy's; what they come from is named beside them.
#include "sides.h"

#include "results/text_diff.h"

#define EXACT    "\"graders\": [{\"name\": \"exact\", \"use\": \"exact\", \"low\": 0, \"high\": 1}]"
#define ACCURACY "[{\"use\": \"accuracy\", " EXACT "}]"

static DiffReport diff_of(Sides *sides, const char *base, const char *candidate, const char *metric)
{
    DiffReport diff = {0};
    Selector selectors[2];
    Err err = ERR_INIT;
    DiffOptions options = {.metric = str_from_c(metric), .same_allowed = true};
    sides_open(sides, base, candidate);
    CHECK_OK(selector_parse(&sides->arena, str_from_c(base), &selectors[0], &err), &err);
    CHECK_OK(selector_parse(&sides->arena, str_from_c(candidate), &selectors[1], &err), &err);
    CHECK_OK(diff_compute(sides->results, &sides->arena, &selectors[0], &selectors[1], &options,
                          &diff, &err),
             &err);
    return diff;
}

/** Sides of one run each. */
static void begin_with(Sides *s, const char *metrics, int64_t n)
{
    RunSpec run = run_of(&s->arena, "", "", "m", metrics, n, 1);
    sides_begin(s, &run, 1, &run, 1);
}

static void say_value(Sides *s, size_t side, size_t i, double value, double weight, size_t cluster)
{
    Said said = {
        .id = str_to_c(&s->arena, str_printf(&s->arena, "%03zu", i)),
        .value = value,
        .weight = weight,
        .cluster =
            cluster == 0 ? NULL : str_to_c(&s->arena, str_printf(&s->arena, "c%zu", cluster)),
        .graded = true,
        .real = true,
    };
    say(s, side, &said);
}

/** Right or wrong: the first `better` samples turn right, the next `worse` wrong, then `right`. */
static void say_binary(Sides *s, int better, int worse, int right, int n)
{
    for (int i = 0; i < n; i++) {
        bool base = i >= better && i < better + worse + right;
        bool candidate = i < better || (i >= better + worse && i < better + worse + right);
        Said said = {.id = str_to_c(&s->arena, str_printf(&s->arena, "%03d", i)), .graded = true};
        said.value = base;
        say(s, 0, &said);
        said.value = candidate;
        say(s, 1, &said);
    }
}

// ---- Comparisons --------------------------------------------------------------------------------

static void test_binary(void)
{
    static const struct {
        int line;
        int better, worse, right, n;
        double value, low, high, p, effect;
        const char *verdict;
    } cases[] = {
        // Tango's limits as roots of his score (brentq), p of binomtest, effect of Connor's
        // formula.
        {__LINE__, 1, 12, 20, 60, -11.0 / 60, -0.30515852073709904, -0.07877205217001432,
         0.00341796875, 0.16506743340761373, "worse"},
        {__LINE__, 9, 2, 12, 40, 7.0 / 40, 0.014425731152365, 0.3390234027746241, 0.0654296875,
         0.22551301822648204, "better"},
        // Tango's limits exclude 0, but 2 * (1/2)^4 is no proof.
        {__LINE__, 4, 0, 0, 4, 1, 0.020218327090805316, 1, 0.125, 0.9989803519158138,
         "too few to tell"},
        {__LINE__, 6, 0, 20, 50, 0.12, 0.04009068897063825, 0.23804817383202992, 0.03125,
         0.14971715001198363, "better"},
        // No pair differs: the upper limit is z^2 / (n + z^2); an effect needs as many that do.
        {__LINE__, 0, 0, 100, 200, 0, -0.018845326377266575, 0.018845326377266575, 1,
         0.038783996659100664, "no difference shown"},
        // Nothing differs in a handful: a tenth could hide.
        {__LINE__, 0, 0, 4, 8, 0, -0.32440756488388023, 0.32440756488388023, 1, 0.7221558154441602,
         "too few to tell"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Sides s = {0};
        begin_with(&s, ACCURACY, cases[i].n);
        say_binary(&s, cases[i].better, cases[i].worse, cases[i].right, cases[i].n);
        DiffReport diff = diff_of(&s, "base", "candidate", "");
        const Comparison *row = &diff.rows[0];
        const Interval *interval = &row->difference.interval;
        double tolerance = 1e-9;
        bool ok =
            diff.n_rows == 1 && strcmp(row->method, "tango") == 0 &&
            fabs(interval->value - cases[i].value) < 1e-12 &&
            fabs(interval->low - cases[i].low) < tolerance &&
            fabs(interval->high - cases[i].high) < tolerance && fabs(row->p - cases[i].p) < 1e-9 &&
            fabs(row->effect - cases[i].effect) < tolerance &&
            row->n_better == (size_t)cases[i].better && row->n_worse == (size_t)cases[i].worse &&
            row->n_paired == (size_t)cases[i].n && strcmp(row->verdict, cases[i].verdict) == 0 &&
            fabs(row->candidate_value - row->base_value - cases[i].value) < 1e-12;
        if (!ok) {
            tap_checks_failed++;
            printf("# line %d: %s %.17g [%.17g, %.17g] p %.17g effect %.17g %s\n", cases[i].line,
                   row->method, interval->value, interval->low, interval->high, row->p, row->effect,
                   row->verdict);
        }
        sides_end(&s);
    }
}

/** Thirty graded pairs, as the figures below were computed from. */
static double graded_base(size_t i)
{
    return (double)(i * 7 % 11) / 10;
}

static double graded_candidate(size_t i)
{
    return fmin(1, fmax(0, graded_base(i) + ((double)(i * 5 % 9) - 3) / 20));
}

static void test_graded(void)
{
    for (size_t n_clusters = 0; n_clusters <= 12; n_clusters += 12) {
        Sides s = {0};
        begin_with(&s, ACCURACY, 30);
        for (size_t i = 0; i < 30; i++) {
            size_t cluster = n_clusters == 0 ? 0 : i % n_clusters + 1;
            say_value(&s, 0, i, graded_base(i), 1, cluster);
            say_value(&s, 1, i, graded_candidate(i), 1, cluster);
        }
        DiffReport diff = diff_of(&s, "base", "candidate", "");
        const Comparison *row = &diff.rows[0];
        const Interval *interval = &row->difference.interval;
        CHECK_NEAR(interval->value, 0.03, 1e-12);
        CHECK_INT(row->n_better, 13);
        CHECK_INT(row->n_worse, 8);
        CHECK_STR(str_from_c(row->verdict), STR("no difference shown"));
        if (n_clusters == 0) { // ttest_rel
            CHECK_STR(str_from_c(row->method), STR("t"));
            CHECK_NEAR(interval->low, -0.012348386496679024, 1e-12);
            CHECK_NEAR(interval->high, 0.07234838649667903, 1e-12);
            CHECK_NEAR(row->p, 0.15810432859695817, 1e-9);
            CHECK_NEAR(row->effect, 0.06003522792284271, 1e-9); // (t.975 + t.8) SE
        } else { // delete-one-cluster jackknife, df n^2 / sum n_g^2 - 1
            CHECK_STR(str_from_c(row->method), STR("jackknife"));
            CHECK_NEAR(interval->stderr_, 0.018884608431866828, 1e-12);
            CHECK_NEAR(interval->low, -0.011787920151527461, 1e-9);
            CHECK_NEAR(interval->high, 0.07178792015152746, 1e-9);
            CHECK_NEAR(row->p, 0.14167644313529473, 1e-9);
            CHECK_INT(row->difference.n_clusters, 12);
        }
        sides_end(&s);
    }
}

static void test_perplexity(void)
{
    Sides s = {0};
    begin_with(&s, "[{\"use\": \"perplexity\", \"graders\": [\"exact\"]}]", 30);
    for (size_t i = 0; i < 30; i++) {
        double base = 1.5 + (double)(i * 7 % 13) / 10;
        double weight = 1 + (double)(i % 4);
        say_value(&s, 0, i, base, weight, 0);
        say_value(&s, 1, i, base - 0.1 + (double)(i * 3 % 7) / 40, weight, 0);
    }
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    const Comparison *row = &diff.rows[0];
    // exp of ratios of sums, delta method.
    CHECK_NEAR(row->base_value, 8.06610918554736, 1e-9);
    CHECK_NEAR(row->candidate_value, 7.85887790142142, 1e-9);
    CHECK_NEAR(row->difference.interval.value, -0.20723128412593983, 1e-9);
    CHECK_NEAR(row->difference.interval.stderr_, 0.08035565222906076, 1e-9);
    CHECK_NEAR(row->difference.interval.low, -0.3715770459777217, 1e-9);
    CHECK_NEAR(row->difference.interval.high, -0.042885522274157956, 1e-9);
    CHECK_NEAR(row->p, 0.015250589168665481, 1e-9);
    CHECK(row->pairs->lower_is_better);
    CHECK_STR(str_from_c(row->verdict), STR("better"));
    CHECK(row->n_better > row->n_worse);
    CHECK_INT(diff.n_flips, 0); // unbounded
    sides_end(&s);
}

/** All differences the same: nothing to estimate an error from. */
static void test_constant(void)
{
    static const struct {
        int line;
        size_t n;
        double change, low, high, p;
        const char *verdict;
    } cases[] = {
        // q = 1 - 0.05^(1/(n-1)); v - q (v + 1), v + q (1 - v); p of the signs.
        {__LINE__, 50, 0.2, 0.12883278297236356, 0.24744481135175767, 1.7763568394002505e-15,
         "better"},
        {__LINE__, 5, 0, -0.5271291954984121, 0.5271291954984121, 1, "too few to tell"},
        {__LINE__, 2, 0.2, -0.94, 0.96, 0.5, "too few to tell"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Sides s = {0};
        begin_with(&s, ACCURACY, (int64_t)cases[i].n);
        for (size_t k = 0; k < cases[i].n; k++) {
            say_value(&s, 0, k, 0.5, 1, 0);
            say_value(&s, 1, k, 0.5 + cases[i].change, 1, 0);
        }
        DiffReport diff = diff_of(&s, "base", "candidate", "");
        const Comparison *row = &diff.rows[0];
        if (strcmp(row->method, "constant") != 0 || strcmp(row->verdict, cases[i].verdict) != 0 ||
            !(fabs(row->difference.interval.low - cases[i].low) < 1e-9) ||
            !(fabs(row->difference.interval.high - cases[i].high) < 1e-9) ||
            !(fabs(row->p - cases[i].p) < 1e-12)) {
            tap_checks_failed++;
            printf("# line %d: %s [%.17g, %.17g] p %.17g %s\n", cases[i].line, row->method,
                   row->difference.interval.low, row->difference.interval.high, row->p,
                   row->verdict);
        }
        sides_end(&s);
    }
}

static void test_few_clusters_and_nothing(void)
{
    Sides s = {0};
    begin_with(&s, ACCURACY, 40);
    for (size_t i = 0; i < 40; i++) { // 8 clusters, all better
        say_value(&s, 0, i, 0.1 + (double)(i % 3) / 100, 1, i % 8 + 1);
        say_value(&s, 1, i, 0.8 + (double)(i % 5) / 100, 1, i % 8 + 1);
    }
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    CHECK_STR(str_from_c(diff.rows[0].verdict), STR("too few to tell"));
    CHECK(diff.rows[0].difference.interval.low > 0);
    CHECK_INT(diff.n_flips, 40);
    sides_end(&s);
    Sides none = {0};
    begin_with(&none, ACCURACY, 6);
    say_all(&none, 0, 0, "11e...");
    say_all(&none, 1, 0, "-.1.11");
    DiffReport empty = diff_of(&none, "base", "candidate", "");
    const Comparison *row = &empty.rows[0];
    CHECK_STR(str_from_c(row->verdict), STR("not comparable"));
    CHECK(isnan(row->p) && isnan(row->difference.interval.value) && row->n_paired == 0);
    CHECK_INT(row->n_states[0][SAMPLE_SCORED], 2);
    CHECK_INT(row->n_states[0][SAMPLE_ERRORED], 1);
    CHECK_INT(row->n_states[0][SAMPLE_MISSING], 2);
    CHECK_INT(row->n_states[1][SAMPLE_UNSCORED], 1);
    CHECK_INT(row->n_states[1][SAMPLE_MISSING], 1);
    CHECK_INT(row->pairs->n_missing_planned, 1);
    sides_end(&none);
}

static void test_many_metrics_and_holm(void)
{
    Sides s = {0};
    begin_with(&s,
               "[{\"use\": \"accuracy\", \"slices\": [\"source\"], " EXACT
               "}, {\"use\": \"f1_macro\", " EXACT "}]",
               60);
    for (int i = 0; i < 60; i++) {
        bool right[2] = {i % 3 != 0, i % 3 != 0 && i % 10 != 1};
        for (size_t side = 0; side < 2; side++) {
            Said said = {.id = str_to_c(&s.arena, str_printf(&s.arena, "%02d", i)),
                         .value = right[side],
                         .source = i < 30 ? "x" : "y",
                         .graded = true};
            say(&s, side, &said);
        }
    }
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    CHECK_INT(diff.n_rows, 6);
    CHECK_STR(diff.rows[1].pairs->slice, STR("source=x"));
    CHECK_STR(diff.rows[3].pairs->metric, STR("exact.f1_macro"));
    CHECK(!diff.rows[3].pairs->paired);
    // Losses 1, 11, 31, 41 (21 and 51 were wrong before): p 2/2^4; slices 2 and 2: 2/2^2.
    CHECK_NEAR(diff.rows[0].p, 0.125, 1e-12);
    CHECK_NEAR(diff.rows[1].p, 0.5, 1e-12);
    CHECK_NEAR(diff.rows[2].p, 0.5, 1e-12);
    // Holm's least is the least p times the number of tests; none is below its own p.
    size_t n_tests = 0;
    const Comparison *least = &diff.rows[0];
    for (size_t i = 0; i < diff.n_rows; i++) {
        n_tests += !isnan(diff.rows[i].p);
        least = diff.rows[i].p < least->p ? &diff.rows[i] : least;
        CHECK(isnan(diff.rows[i].p) || diff.rows[i].p_holm >= diff.rows[i].p);
    }
    CHECK(n_tests >= 3);
    CHECK_NEAR(least->p_holm, fmin(1, (double)n_tests * least->p), 1e-12);
    CHECK_INT(diff.n_flips, 4);
    sides_end(&s);
    // The option: a full name, a metric, a grader.
    static const struct {
        int line;
        const char *wanted;
        size_t n;
    } cases[] = {{__LINE__, "exact.accuracy", 1},
                 {__LINE__, "accuracy", 1},
                 {__LINE__, "mean", 1},
                 {__LINE__, "exact", 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Sides t = {0};
        begin_with(&t, "[{\"use\": \"accuracy\", " EXACT "}, {\"use\": \"mean\", " EXACT "}]", 3);
        say_all(&t, 0, 0, "101");
        say_all(&t, 1, 0, "111");
        DiffReport some = diff_of(&t, "base", "candidate", cases[i].wanted);
        if (some.n_rows != cases[i].n || some.n_flips != 1) {
            tap_checks_failed++;
            printf("# line %d: %zu rows\n", cases[i].line, some.n_rows);
        }
        sides_end(&t);
    }
}

static void test_flips(void)
{
    static const struct {
        int line;
        double base, candidate;
        bool flip, better;
    } cases[] = {
        {__LINE__, 0.4, 0.6, true, true},   {__LINE__, 0.5, 0.49, true, false},
        {__LINE__, 0.49, 0.5, true, true},  {__LINE__, 0.5, 0.9, false, true},
        {__LINE__, 0, 0.49, false, true},   {__LINE__, 1, 0.5, true, false},
        {__LINE__, 0.5, 0.5, false, false}, {__LINE__, 0.9, 0.1, true, false},
    };
    Sides s = {0};
    begin_with(&s, ACCURACY, 8);
    for (size_t i = 0; i < 8; i++) {
        say_value(&s, 0, i, cases[i].base, 1, 0);
        say_value(&s, 1, i, cases[i].candidate, 1, 0);
    }
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    size_t n = 0;
    for (size_t i = 0; i < 8; i++) {
        n += cases[i].flip;
        for (size_t k = 0; k < diff.n_flips; k++) {
            Str id = str_printf(&s.arena, "%03zu", i);
            bool mine = str_eq(diff.flips[k].sample_id, id);
            if (mine && (!cases[i].flip || cases[i].better != diff.flips[k].better)) {
                tap_checks_failed++;
                printf("# line %d\n", cases[i].line);
            }
        }
    }
    CHECK_INT(diff.n_flips, n);
    CHECK_STR(diff.flips[0].sample_id, STR("007")); // worse ones first, larger ones first
    CHECK_STR(diff.flips[1].sample_id, STR("005"));
    CHECK_STR(diff.flips[2].sample_id, STR("001"));
    CHECK_STR(diff.flips[3].sample_id, STR("000"));
    CHECK_INT(diff.flips[0].base_run, s.open[0].run_ids[0]);
    CHECK_INT(diff.flips[0].candidate_run, s.open[1].run_ids[0]);
    CHECK_INT(diff.costs[0].base_usage.input, 80);
    CHECK_NEAR(diff.costs[0].base_seconds_p50, 0.25, 1e-12);
    CHECK(isnan(diff.costs[0].base_cost_usd));
    CHECK_INT(diff.costs[0].candidate_attempts, 8);
    sides_end(&s);
}

// ---- Sides that do not pair ---------------------------------------------------------------------

static void test_refuses(void)
{
    Sides s = {0};
    RunSpec runs[] = {run_of(&s.arena, "", "plain", "m", ACCURACY, 2, 1),
                      run_of(&s.arena, "", "terse", "m", ACCURACY, 2, 1)};
    RunSpec other = run_of(&s.arena, "", "plain", "m", ACCURACY, 2, 1);
    other.eval = STR("other");
    sides_begin(&s, runs, 2, &other, 1);
    say_all(&s, 0, 0, "10");
    say_all(&s, 0, 1, "11");
    sides_open(&s, "base", "candidate");
    static const struct {
        int line;
        const char *base, *candidate, *metric, *says;
        bool same_allowed;
    } cases[] = {
        {__LINE__, "base", "base", "", "are the same runs of the same experiment", true},
        {__LINE__, "base:variant=plain", "base", "", "select two variants or models", true},
        {__LINE__, "base:variant=plain", "base:variant=terse", "", "are the same experiment",
         false},
        {__LINE__, "base", "candidate", "",
         "have no eval in common (one has 'demo', the other "
         "'other')",
         true},
        {__LINE__, "base:eval=demo", "candidate", "", "has no eval 'demo'", true},
        {__LINE__, "base:variant=plain", "base:variant=terse", "f1",
         "no metric is called 'f1' (there are: exact.accuracy)", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Err err = ERR_INIT;
        Selector selectors[2];
        DiffReport diff;
        DiffOptions options = {.metric = str_from_c(cases[i].metric),
                               .same_allowed = cases[i].same_allowed};
        CHECK_OK(selector_parse(&s.arena, str_from_c(cases[i].base), &selectors[0], &err), &err);
        CHECK_OK(selector_parse(&s.arena, str_from_c(cases[i].candidate), &selectors[1], &err),
                 &err);
        bool refused =
            !diff_compute(s.results, &s.arena, &selectors[0], &selectors[1], &options, &diff, &err);
        if (!refused || err.code != ERR_USAGE || !has_text(err.message, cases[i].says)) {
            tap_checks_failed++;
            printf("# line %d: %s\n", cases[i].line, refused ? err.message : "no error");
        }
    }
    results_close(s.results);
    DiffReport diff = diff_of(&s, "base:variant=plain", "base:variant=terse", "");
    CHECK_INT(diff.n_rows, 1);
    CHECK_INT(diff.rows[0].n_better, 1);
    sides_end(&s);
}

// ---- What changed -------------------------------------------------------------------------------

/** "what|eval|from|to" a line. */
static Str changes_text(Arena *arena, const DiffReport *diff)
{
    Buf buf = {0};
    for (size_t i = 0; i < diff->n_changes; i++) {
        const Change *change = &diff->changes[i];
        buf_printf(&buf, "%s|" STR_FMT "|" STR_FMT "|" STR_FMT "\n", change->what,
                   STR_ARG(change->eval), STR_ARG(change->from), STR_ARG(change->to));
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static const Change *change_of(const DiffReport *diff, const char *what)
{
    static const Change none = {.what = "", .detail = STR_INIT("<none>")};
    for (size_t i = 0; i < diff->n_changes; i++) {
        if (strcmp(diff->changes[i].what, what) == 0) {
            return &diff->changes[i];
        }
    }
    return &none;
}

static void test_changes__nothing(void)
{
    Sides s = {0};
    begin_with(&s, ACCURACY, 2);
    say_all(&s, 0, 0, "10");
    say_all(&s, 1, 0, "11");
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    CHECK_INT(diff.n_changes, 0);
    sides_end(&s);
}

static void test_changes__texts(void)
{
    Sides s = {0};
    RunSpec runs[2];
    static const char *const specs[2] = {
        "{\"grader_hash\": "
        "\"00000000000000000000000000000000000000000000000000000000000000aa\","
        " \"roles\": {\"judge\": {\"model\": \"openai/a\", \"hash\": \"0123456789\"}},"
        " \"sources\": {\"eval\": {\"dataset\": {\"path\": \"a.jsonl\"}, \"prompt\": "
        "\"Say\\n{{ input }}\\nnow\", \"graders\": [{\"use\": \"exact\"}], \"limits\": "
        "{\"turns\": 3}, \"variants\": {\"v\": {}}},"
        " \"lua\": {\"grader exact\": \"return {\\n  a\\n}\\n\", \"solver generate\": \"s\"}}}",
        "{\"grader_hash\": "
        "\"11000000000000000000000000000000000000000000000000000000000000aa\","
        " \"roles\": {\"judge\": {\"model\": \"openai/b\", \"hash\": \"0123456789\"}},"
        " \"sources\": {\"eval\": {\"dataset\": {\"path\": \"b.jsonl\"}, \"prompt\": \"other\","
        " \"graders\": [{\"use\": \"exact\"}], \"limits\": {\"turns\": 4}, \"variants\": "
        "{\"v\": {\"prompt\": \"Say\\n{{ input }}\\nplease\"}}},"
        " \"lua\": {\"grader exact\": \"return {\\n  b\\n}\\n\", \"solver generate\": \"s2\"}}}"};
    for (size_t side = 0; side < 2; side++) {
        runs[side] = run_of(&s.arena, "", "v", side == 0 ? "m" : "n", ACCURACY, 3, 1);
        runs[side].spec = json_of(&s.arena, specs[side]);
        if (side == 1) {
            runs[side].eval_hash = hash_of("new eval");
            runs[side].data_hash = hash_of("new data");
            runs[side].eval_version = 2;
            runs[side].epochs = 2;
        }
    }
    sides_begin(&s, &runs[0], 1, &runs[1], 1);
    say_all(&s, 0, 0, "101");
    say_all(&s, 1, 0, "11");
    Said said[] = {{.id = "2", .value = 1, .content = "changed"}, {.id = "3", .value = 1}};
    say(&s, 1, &said[0]);
    say(&s, 1, &said[1]);
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    Str data[2];
    for (size_t side = 0; side < 2; side++) {
        char hex[HASH_HEX_LEN + 1];
        hash_hex(&runs[side].data_hash, hex);
        data[side] = str_printf(&s.arena, "%.8s", hex);
    }
    Str text = changes_text(&s.arena, &diff);
    CHECK(str_starts_with(text, STR("model|demo|m|n\n"
                                    "roles|demo|judge: openai/a (01234567)|judge: openai/b "
                                    "(01234567)\nprompt|demo|")));
    CHECK(has_text(text.data, "\ngraders|demo|00000000|11000000\n"));
    CHECK(has_text(text.data, str_printf(&s.arena, "\ndataset|demo|" STR_FMT "|" STR_FMT "\n",
                                         STR_ARG(data[0]), STR_ARG(data[1]))
                                  .data));
    CHECK(has_text(text.data, "\nsamples|demo|3|4 (1 changed, 1 new)\n"));
    CHECK(has_text(text.data, "\nsettings|demo|epochs 1|epochs 2\n"));
    CHECK(has_text(text.data, "\neval-version|demo|1|2\n"));
    CHECK_STR(change_of(&diff, "prompt")->detail,
              STR("@@ -1,4 +1,4 @@\n prompt: |\n   Say\n   {{ input }}\n-  now\n+  please\n"));
    CHECK_STR(change_of(&diff, "graders")->detail,
              STR("@@ -2,5 +2,5 @@\n   - use: exact\n -- grader exact\n return {\n-  a\n"
                  "+  b\n }\n"));
    CHECK_STR(change_of(&diff, "dataset")->detail,
              STR("@@ -1,2 +1,2 @@\n dataset:\n-  path: a.jsonl\n+  path: b.jsonl\n"));
    CHECK_STR(change_of(&diff, "eval")->detail,
              STR("@@ -1,2 +1,2 @@\n limits:\n-  turns: 3\n+  turns: 4\n"));
    CHECK(has_text(change_of(&diff, "solver")->detail.data, "-s\n+s2\n"));
    sides_end(&s);
}

static void test_changes__settings_and_provenance(void)
{
    Sides s = {0};
    Err err = ERR_INIT;
    RunSpec run = run_of(&s.arena, "", "", "m", ACCURACY, 1, 1);
    s.place = place_make();
    s.store = store_at(&s.place, NULL, NULL);
    static const char *const specs[2] = {"{\"seed\": 1, \"limit_to\": 5, \"epochs\": 0}",
                                         "{\"seed\": 2, \"limit_to\": 5, \"shard\": {\"k\": 1}, "
                                         "\"samples\": [\"question number 00\", \"question "
                                         "number 01\", \"question number 02\", \"question number "
                                         "03\", \"question number 04\", \"question number 05\"]}"};
    static const char *const provenance[2] = {
        "{\"program\": \"0.1.0\", \"git_commit\": \"0123456789abcdef\", \"host\": \"a\"}",
        "{\"program\": \"0.2.0\", \"git_commit\": \"fedcba9876543210\", \"host\": \"b\"}"};
    for (size_t side = 0; side < 2; side++) {
        ExperimentSpec spec =
            experiment_make(&s.arena, side == 0 ? STR("base") : STR("candidate"), 1, &run, 1);
        spec.spec = json_of(&s.arena, specs[side]);
        spec.provenance = json_of(&s.arena, provenance[side]);
        CHECK_OK(store_experiment_begin(s.store, &s.arena, &spec, RESUME_NO, &s.open[side], &err),
                 &err);
        say_all(&s, side, 0, "1");
    }
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    CHECK_STR(changes_text(&s.arena, &diff),
              STR("settings||seed 1|seed 2\nsettings||shard none|shard {\"k\": 1}\n"
                  "settings||samples none|samples [\"question number 00\", \"question number 01\", "
                  "\"question number 02\", \"question num"
                  "... (feb0819d)\n"
                  "program||0.1.0|0.2.0\ngit||01234567|fedcba98\n"));
    sides_end(&s);
}

static void test_text_diff(void)
{
    static const struct {
        int line;
        const char *from, *to, *want;
    } cases[] = {
        {__LINE__, "", "", ""},
        {__LINE__, "a\nb\n", "a\nb\n", ""},
        {__LINE__, "a\n", "b\n", "@@ -1 +1 @@\n-a\n+b\n"},
        {__LINE__, "", "x\ny\n", "@@ -0,0 +1,2 @@\n+x\n+y\n"},
        {__LINE__, "x\n", "", "@@ -1 +0,0 @@\n-x\n"},
        // As `diff -U3` has it: two hunks when more than six lines lie between.
        {__LINE__, "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4x\n5\n6\n7\n8\n9\n",
         "@@ -1,7 +1,7 @@\n 1\n 2\n 3\n-4\n+4x\n 5\n 6\n 7\n"},
        {__LINE__, "a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
         "@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n"},
        {__LINE__, "a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
         "@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n"},
        {__LINE__, "a\nb\nc\nd\n", "a\nc\nd\ne\n", "@@ -1,4 +1,4 @@\n a\n-b\n c\n d\n+e\n"},
        {__LINE__, "a\nb", "a\nc", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf buf = {0};
        text_diff(&buf, str_from_c(cases[i].from), str_from_c(cases[i].to));
        if (!str_eq_c(buf_view(&buf), cases[i].want)) {
            tap_checks_failed++;
            printf("# line %d: got:\n" STR_FMT "\n", cases[i].line, STR_ARG(buf_view(&buf)));
        }
        buf_finish(&buf);
    }
}

// ---- Reports ------------------------------------------------------------------------------------

/** Ids, replies and variants that try to be more than text. */
static void hostile_sides(Sides *s)
{
    RunSpec run = run_of(&s->arena, "", "a|b\n\033[31m", "m@x", ACCURACY, 3, 1);
    run.eval = STR("<img src=x onerror=alert(1)>`|");
    run.spec =
        json_of(&s->arena, "{\"sources\": {\"eval\": {\"prompt\": \"```\\n</details> @all\"}, "
                           "\"lua\": {}}}");
    RunSpec other = run;
    other.spec = json_of(&s->arena, "{\"sources\": {\"eval\": {\"prompt\": \"````\\n\\u001b[2J\"}, "
                                    "\"lua\": {}}}");
    other.eval_hash = hash_of("x");
    sides_begin(s, &run, 1, &other, 1);
    Said said[] = {
        {.id = "[x](javascript:1)|\n::error::@all", .value = 1, .reply = "\033[2J\xff left\tright"},
        {.id = "[x](javascript:1)|\n::error::@all", .value = 0, .graded = true, .reply = "b\r\nc"}};
    say(s, 0, &said[0]);
    say(s, 1, &said[1]);
}

static bool is_clean_for_terminal(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c < ' ' && c != '\n') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static void test_reports__hostile(void)
{
    Sides s = {0};
    hostile_sides(&s);
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    Buf buf = {0};
    for (int width = 0; width <= 200; width += 40) {
        DiffLook look = {.width = width, .flips = 5, .details = true};
        buf_clear(&buf);
        report_diff(&buf, &diff, &look);
        CHECK(is_clean_for_terminal(buf_view(&buf)));
        CHECK(str_find(buf_view(&buf), STR("1 turned worse, 0 better"), 0) != STR_NONE);
    }
    buf_clear(&buf);
    report_diff_markdown(&buf, &diff, 5);
    Str markdown = buf_view(&buf);
    CHECK(str_find(markdown, STR("<img"), 0) == STR_NONE);
    CHECK(str_find(markdown, STR("[x]"), 0) == STR_NONE);
    CHECK(str_find(markdown, STR("\n::error"), 0) == STR_NONE);
    CHECK(str_find(markdown, STR("| a|b"), 0) == STR_NONE);
    CHECK(str_find(markdown, STR("`````diff\n"), 0) != STR_NONE); // longer than what is in it
    CHECK(is_clean_for_terminal(markdown));
    Err err = ERR_INIT;
    DiffSample *samples = NULL;
    size_t n = 0;
    CHECK_OK(diff_sample(s.results, &s.arena, &diff, diff.flips[0].sample_id, &samples, &n, &err),
             &err);
    CHECK_INT(n, 1);
    for (int width = 1; width <= 150; width += 13) {
        ReportOptions look = {.width = width};
        buf_clear(&buf);
        report_diff_sample(&buf, &samples[0], &look);
        CHECK(is_clean_for_terminal(buf_view(&buf)));
        CHECK(str_find(buf_view(&buf), STR("reply"), 0) != STR_NONE);
    }
    Value value = report_diff_value(&s.arena, &diff);
    Value sample = report_diff_sample_value(&s.arena, &samples[0]);
    const Value *rows = value_get_c(&value, "rows");
    CHECK(rows != NULL && rows->as.list.n == 1);
    CHECK_STR(value_get_str(&rows->as.list.items[0], "verdict", STR_EMPTY), STR("too few to tell"));
    CHECK_STR(value_get_str(value_get_c(&sample, "base"), "text", STR_EMPTY),
              STR("\033[2J\xff left\tright"));
    CHECK(!diff_sample(s.results, &s.arena, &diff, STR("nope"), &samples, &n, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    buf_finish(&buf);
    sides_end(&s);
}

static void test_sample__epochs_and_parts(void)
{
    Sides s = {0};
    RunSpec runs[] = {run_of(&s.arena, "p", "", "m", ACCURACY, 4, 2),
                      run_of(&s.arena, "q", "", "m", ACCURACY, 4, 2)};
    sides_begin(&s, runs, 2, runs, 2);
    static const struct {
        size_t side, run;
        int64_t epoch;
    } rows[] = {{0, 0, 0}, {0, 0, 1}, {1, 0, 1}, {1, 0, 2}, {0, 1, 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Said said = {.run = rows[i].run, .id = "7", .epoch = rows[i].epoch, .value = 1};
        say(&s, rows[i].side, &said);
    }
    DiffReport diff = diff_of(&s, "base", "candidate", "");
    static const struct {
        int line;
        const char *id;
        size_t n;
    } cases[] = {{__LINE__, "7", 4}, {__LINE__, "p/7", 3}, {__LINE__, "q/7", 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        DiffSample *samples = NULL;
        size_t n = 0;
        Err err = ERR_INIT;
        CHECK_OK(
            diff_sample(s.results, &s.arena, &diff, str_from_c(cases[i].id), &samples, &n, &err),
            &err);
        if (n != cases[i].n) {
            tap_checks_failed++;
            printf("# line %d: %zu\n", cases[i].line, n);
        }
        if (i == 1) {
            CHECK(samples[0].base != NULL && samples[0].candidate == NULL);
            CHECK(samples[1].base != NULL && samples[1].candidate != NULL);
            CHECK(samples[2].base == NULL && samples[2].candidate->epoch == 2);
        }
    }
    sides_end(&s);
}

int main(void)
{
    tap_run("right or wrong: Tango, McNemar, Connor", test_binary);
    tap_run("graded: t, and the jackknife over clusters", test_graded);
    tap_run("perplexity: ratios of sums", test_perplexity);
    tap_run("all differences the same", test_constant);
    tap_run("few clusters; nothing pairs", test_few_clusters_and_nothing);
    tap_run("many metrics, Holm, --metric", test_many_metrics_and_holm);
    tap_run("flips and costs", test_flips);
    tap_run("refuses what does not pair", test_refuses);
    tap_run("changes: nothing", test_changes__nothing);
    tap_run("changes: texts, data, graders", test_changes__texts);
    tap_run("changes: settings and provenance", test_changes__settings_and_provenance);
    tap_run("unified diffs", test_text_diff);
    tap_run("reports of hostile names and texts", test_reports__hostile);
    tap_run("a sample by epoch and part", test_sample__epochs_and_parts);
    return tap_done();
}
