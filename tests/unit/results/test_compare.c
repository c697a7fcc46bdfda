// SPDX-License-Identifier: MIT
// Selectors, sides, pairings, and the paired samples of metrics.
#include "sides.h"

#define EXACT    "\"graders\": [{\"name\": \"exact\", \"use\": \"exact\", \"low\": 0, \"high\": 1}]"
#define ACCURACY "[{\"use\": \"accuracy\", " EXACT "}]"

// ---- Selectors ----------------------------------------------------------------------------------

static void test_selector__parses(void)
{
    static const struct {
        int line;
        const char *text, *experiment, *eval, *part, *variant, *model;
    } cases[] = {
        {__LINE__, "one", "one", "", "", "", ""},
        {__LINE__, "@release", "@release", "", "", "", ""},
        {__LINE__, "latest~2:variant=terse", "latest~2", "", "", "terse", ""},
        {__LINE__, "x:eval=a,part=b/c,variant=d,model=local/e.gguf", "x", "a", "b/c", "d",
         "local/e.gguf"},
        {__LINE__, "x:model=openai/o1:free", "x", "", "", "", "openai/o1:free"},
        {__LINE__, "x: eval = a , model=m", "x", "a", "", "", "m"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Arena arena = {0};
        Selector got = {0};
        Err err = ERR_INIT;
        bool ok = CHECK_OK(selector_parse(&arena, str_from_c(cases[i].text), &got, &err), &err) &&
                  str_eq_c(got.experiment, cases[i].experiment) &&
                  str_eq_c(got.eval, cases[i].eval) && str_eq_c(got.part, cases[i].part) &&
                  str_eq_c(got.variant, cases[i].variant) && str_eq_c(got.model, cases[i].model);
        if (!ok) {
            tap_checks_failed++;
            printf("# line %d\n", cases[i].line);
        }
        arena_finish(&arena);
    }
}

static void test_selector__refuses(void)
{
    static const struct {
        int line;
        const char *text, *says;
    } cases[] = {
        {__LINE__, "", "names no experiment"},
        {__LINE__, ":eval=x", "names no experiment"},
        {__LINE__, "x:", "is none of eval=, part=, variant=, model="},
        {__LINE__, "x:varient=a", "no key 'varient'; did you mean variant?"},
        {__LINE__, "x:foo=a", "'foo=a' is none of"},
        {__LINE__, "x:eval", "eval needs a value"},
        {__LINE__, "x:eval=", "eval needs a value"},
        {__LINE__, "x:eval=a,eval=b", "eval is given twice"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Arena arena = {0};
        Selector got;
        Err err = ERR_INIT;
        bool refused = !selector_parse(&arena, str_from_c(cases[i].text), &got, &err);
        if (!refused || err.code != ERR_USAGE || !has_text(err.message, cases[i].says)) {
            tap_checks_failed++;
            printf("# line %d: %s\n", cases[i].line, refused ? err.message : "no error");
        }
        arena_finish(&arena);
    }
}

static void test_side__selects(void)
{
    Sides s = {0};
    RunSpec runs[] = {run_of(&s.arena, "b", "plain", "echo/x", ACCURACY, 2, 1),
                      run_of(&s.arena, "a", "plain", "echo/x", ACCURACY, 2, 1),
                      run_of(&s.arena, "a", "terse", "echo/x", ACCURACY, 2, 1)};
    sides_begin(&s, runs, 3, runs, 3);
    say_all(&s, 0, 1, "1e");
    sides_open(&s, "base:part=a", "candidate:variant=terse");
    CHECK_INT(s.base.n_runs, 2);
    CHECK_STR(s.base.runs[0].variant, STR("plain")); // canonical order
    CHECK_INT(s.base.runs[0].n_done, 1);
    CHECK_INT(s.base.runs[0].n_errors, 1);
    CHECK_INT(s.candidate.n_runs, 1);
    static const struct {
        int line;
        const char *selector, *says;
        ErrCode code;
    } faults[] = {
        {__LINE__, "nope", "there is no experiment 'nope'", ERR_NOT_FOUND},
        {__LINE__, "base:variant=tersely", "has no variant 'tersely' (it has: plain, terse)",
         ERR_USAGE},
        {__LINE__, "base:part=b,variant=terse", "no run of experiment 'base' is all of", ERR_USAGE},
        {__LINE__, "base:eval=demo,model=y", "has no model 'y' (it has: echo/x)", ERR_USAGE},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        Selector selector;
        Side side;
        Err err = ERR_INIT;
        CHECK_OK(selector_parse(&s.arena, str_from_c(faults[i].selector), &selector, &err), &err);
        bool refused = !side_open(s.results, &s.arena, &selector, &side, &err);
        if (!refused || err.code != faults[i].code || !has_text(err.message, faults[i].says)) {
            tap_checks_failed++;
            printf("# line %d: %s\n", faults[i].line, refused ? err.message : "no error");
        }
    }
    sides_end(&s);
}

// ---- Pairings -----------------------------------------------------------------------------------

/** Runs as words: "eval part variant model; ..". */
static Side side_of(Arena *arena, const char *words, const char *variant)
{
    Side side = {.selector.variant = str_from_c(variant)};
    RunInfo *runs = ARENA_ARRAY(arena, RunInfo, 32);
    Str rest = str_from_c(words);
    Str one;
    bool more = rest.len > 0;
    while (more) {
        more = str_cut(rest, STR(";"), &one, &rest);
        Str *to[] = {&runs[side.n_runs].eval, &runs[side.n_runs].part, &runs[side.n_runs].variant,
                     &runs[side.n_runs].model};
        one = str_trim(one);
        for (size_t i = 0; i < 4; i++) {
            Str word;
            str_cut(one, STR(" "), &word, &one);
            *to[i] = str_eq(word, STR("-")) ? STR_EMPTY : str_copy(arena, word);
        }
        side.n_runs++;
    }
    side.runs = runs;
    return side;
}

static void test_pairings(void)
{
    static const struct {
        int line;
        const char *base, *base_variant, *candidate, *candidate_variant;
        const char *want; // "eval parts base-variant/base-model|candidate-variant/.."; ERR: text
    } cases[] = {
        {__LINE__, "e - - m", "", "e - - m", "", "e [0+0] /m|/m\n"},
        {__LINE__, "e - - m", "", "e - - other", "", "e [0+0] /m|/other\n"},
        {__LINE__, "e a - m; e b - m", "", "e b - m; e c - m", "", "e [0+. 1+0 .+1] /m|/m\n"},
        // Variants by name; others only where a selector names them.
        {__LINE__, "e - p m; e - t m", "", "e - t m; e - p m", "",
         "e [0+1] p/m|p/m\ne [1+0] t/m|t/m\n"},
        {__LINE__, "e - p m", "", "e - t m", "", "e [0+.] p/m|/\ne [.+0] /|t/m\n"},
        {__LINE__, "e - p m", "p", "e - t m", "t", "e [0+0] p/m|t/m\n"},
        {__LINE__, "e - - m", "", "e - t m", "t", "e [0+0] /m|t/m\n"},
        // Models of equal name first, then the ones that are left.
        {__LINE__, "e - - a; e - - b", "", "e - - b; e - - c", "",
         "e [1+0] /b|/b\ne [0+1] /a|/c\n"},
        {__LINE__, "e - - a; e - - b", "", "e - - a", "", "e [0+0] /a|/a\ne [1+.] /b|/\n"},
        {__LINE__, "e - - a", "", "e - - b; e - - c", "",
         "ERR: eval 'e' was run with several models: say which ones to compare, such as "
         "EXPERIMENT:model=a and EXPERIMENT:model="},
        {__LINE__, "e - - m; f - - m", "", "f - - m; g - - m", "",
         "e [0+.] /m|/\nf [1+0] /m|/m\ng [.+1] /|/m\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Arena arena = {0};
        Side base = side_of(&arena, cases[i].base, cases[i].base_variant);
        Side candidate = side_of(&arena, cases[i].candidate, cases[i].candidate_variant);
        Pairing *pairings = NULL;
        size_t n = 0;
        Err err = ERR_INIT;
        Buf buf = {0};
        if (!compare_pairings(&arena, &base, &candidate, &pairings, &n, &err)) {
            buf_printf(&buf, "ERR: %s", err.message);
        }
        for (size_t p = 0; p < n; p++) {
            const Pairing *pairing = &pairings[p];
            buf_printf(&buf, STR_FMT " [", STR_ARG(pairing->eval));
            for (size_t k = 0; k < pairing->n_parts; k++) {
                buf_c(&buf, k > 0 ? " " : "");
                for (size_t side = 0; side < 2; side++) {
                    const RunInfo *run = side == 0 ? pairing->base[k] : pairing->candidate[k];
                    const RunInfo *all = side == 0 ? base.runs : candidate.runs;
                    buf_c(&buf, side > 0 ? "+" : "");
                    if (run == NULL) {
                        buf_c(&buf, ".");
                    } else {
                        buf_printf(&buf, "%d", (int)(run - all));
                    }
                }
            }
            buf_printf(&buf, "] " STR_FMT "/" STR_FMT "|" STR_FMT "/" STR_FMT "\n",
                       STR_ARG(pairing->base_variant), STR_ARG(pairing->base_model),
                       STR_ARG(pairing->candidate_variant), STR_ARG(pairing->candidate_model));
        }
        if (!str_starts_with(buf_view(&buf), str_from_c(cases[i].want)) ||
            (!has_text(cases[i].want, "ERR") && buf.len != strlen(cases[i].want))) {
            tap_checks_failed++;
            printf("# line %d: got " STR_FMT "\n", cases[i].line, STR_ARG(buf_view(&buf)));
        }
        buf_finish(&buf);
        arena_finish(&arena);
    }
}

// ---- Paired samples -----------------------------------------------------------------------------

/** "id base candidate" a line, states where there is no value. */
static Str pairs_text(Arena *arena, const MetricPairs *pairs)
{
    static const char *const words[] = {"scored", "missing", "errored", "unscored", "changed"};
    Buf buf = {0};
    for (size_t i = 0; i < pairs->n; i++) {
        buf_printf(&buf, STR_FMT, STR_ARG(pairs->ids[i]));
        for (size_t side = 0; side < 2; side++) {
            double value = side == 0 ? pairs->base[i] : pairs->candidate[i];
            uint8_t state = side == 0 ? pairs->base_state[i] : pairs->candidate_state[i];
            if (state == SAMPLE_SCORED) {
                buf_printf(&buf, " %g", value);
            } else {
                buf_printf(&buf, " %s", words[state]);
                CHECK(isnan(value));
            }
        }
        buf_c(&buf, "; ");
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static void test_pairs__states(void)
{
    Sides s = {0};
    RunSpec base = run_of(&s.arena, "", "", "echo/x", ACCURACY, 12, 1);
    RunSpec candidate = run_of(&s.arena, "", "", "echo/y", ACCURACY, 14, 1);
    sides_begin(&s, &base, 1, &candidate, 1);
    //                0         1
    //                0123456789 0
    say_all(&s, 0, 0, "1100e-1.0.1");
    say_all(&s, 1, 0, "10-.0e.1-e1");
    Said changed[] = {{.id = "z", .value = 1, .content = "old"},
                      {.id = "z", .value = 1, .content = "new"}};
    say(&s, 0, &changed[0]);
    say(&s, 1, &changed[1]);
    // No grader applies: on both sides; on one, with an error on the other.
    Said absent = {.id = "a1"};
    Said broken = {.id = "a2", .error = true};
    say(&s, 0, &absent);
    say(&s, 1, &absent);
    absent.id = "a2";
    say(&s, 0, &absent);
    say(&s, 1, &broken);
    sides_open(&s, "base", "candidate");
    size_t n;
    MetricPairs *m = metrics_of(&s, &n);
    CHECK_INT(n, 1);
    CHECK_STR(m->metric, STR("exact.accuracy"));
    CHECK(m->headline && m->paired && m->pairs.binary && !m->lower_is_better);
    CHECK_STR(pairs_text(&s.arena, m),
              STR("0 1 1; 1 1 0; 10 1 1; 2 0 unscored; 3 0 missing; 4 errored 0; "
                  "5 unscored errored; 6 1 missing; 7 missing 1; 8 0 unscored; 9 missing errored; "
                  "z changed changed; "));
    // 14 samples are known (a1, a2 among them) and 14 were planned.
    CHECK_INT(m->n_missing_planned, 0);
    CHECK(m->pairs.cluster == NULL && m->pairs.part == NULL && m->pairs.candidate_weight == NULL);
    CHECK(m->base_best == m->base && m->candidate_worst == m->candidate);
    CHECK_NEAR(m->range_low, 0, 0);
    CHECK_NEAR(m->range_high, 1, 0);
    CHECK_INT(m->base_row.n, 8);
    CHECK_NEAR(m->base_row.value, 5.0 / 8, 1e-12);
    CHECK_INT(m->candidate_row.n, 6);
    StatsEstimate estimate = stats_estimate(&m->pairs, 0.95);
    CHECK_INT(estimate.n, 3);
    CHECK_INT(estimate.method, STATS_TANGO);
    CHECK_INT(estimate.n_worse, 1);
    sides_end(&s);
}

static void test_pairs__planned_without_rows(void)
{
    Sides s = {0};
    RunSpec base[] = {run_of(&s.arena, "a", "", "m", ACCURACY, 20, 2),
                      run_of(&s.arena, "b", "", "m", ACCURACY, 6, 2)};
    sides_begin(&s, base, 2, base, 1);
    say_all(&s, 0, 0, "110");
    say_all(&s, 1, 0, "1.11");
    say_all(&s, 0, 1, "1");
    sides_open(&s, "base", "candidate");
    size_t n;
    MetricPairs *m = metrics_of(&s, &n);
    // Part a: 10 planned, 4 known; b: 3 planned, 1 known.
    CHECK_INT(m->n_missing_planned, 6 + 2);
    CHECK_STR(pairs_text(&s.arena, m),
              STR("a/0 1 1; a/1 1 missing; a/2 0 1; a/3 missing 1; b/0 1 missing; "));
    sides_end(&s);
}

static void test_pairs__epochs_and_bounds(void)
{
    Sides s = {0};
    RunSpec run = run_of(&s.arena, "", "", "m",
                         "[{\"use\": \"mean\", " EXACT "}, {\"use\": \"pass_at\", \"k\": 2, " EXACT
                         "}, {\"use\": \"max\", " EXACT "}]",
                         8, 4);
    sides_begin(&s, &run, 1, &run, 1);
    static const char *const values[2][2] = {{"11-0", "10.."}, {"0-1.", "1e11"}};
    for (size_t side = 0; side < 2; side++) {
        for (size_t sample = 0; sample < 2; sample++) {
            for (int64_t epoch = 0; epoch < 4; epoch++) {
                char c = values[side][sample][epoch];
                Said said = {.id = sample == 0 ? "p" : "q",
                             .epoch = epoch,
                             .value = c == '-' ? (double)NAN : c - '0',
                             .error = c == 'e',
                             .graded = true};
                if (c != '.') {
                    say(&s, side, &said);
                }
            }
        }
    }
    sides_open(&s, "base", "candidate");
    size_t n;
    MetricPairs *m = metrics_of(&s, &n);
    CHECK_INT(n, 3);
    CHECK_STR(pairs_text(&s.arena, &m[0]), STR("p 0.666667 0.5; q 0.5 errored; "));
    // Best: the unscored epoch counts 1 and so do the two that are not there; worst: 0.
    CHECK_NEAR(m[0].base_best[0], 0.75, 1e-12);
    CHECK_NEAR(m[0].base_best[1], 0.75, 1e-12);
    CHECK_NEAR(m[0].candidate_worst[0], 0.25, 1e-12);
    CHECK(isnan(m[0].candidate_worst[1]));
    CHECK_INT(m[0].n_partial[0], 2);
    CHECK_INT(m[0].n_partial[1], 1);
    CHECK(!m[0].pairs.binary);
    // pass@2: 1 - C(n-c, 2) / C(n, 2), with n, c = 3, 2; 2, 1; 2, 1; then 4, 3; 4, 3; 4, 1.
    CHECK_STR(m[1].metric, STR("exact.pass_at_2"));
    CHECK_STR(pairs_text(&s.arena, &m[1]), STR("p 1 1; q 1 errored; "));
    CHECK_NEAR(m[1].base_best[0], 1, 1e-12);
    CHECK_NEAR(m[1].candidate_worst[0], 0.5, 1e-12);
    CHECK(m[2].pairs.binary && !m[2].headline && m[0].headline);
    sides_end(&s);
}

static void test_pairs__weights_and_units(void)
{
    Sides s = {0};
    RunSpec run = run_of(&s.arena, "", "", "m",
                         "[{\"use\": \"perplexity\", \"graders\": [\"exact\"]},"
                         " {\"use\": \"bits\", \"graders\": [\"exact\"]},"
                         " {\"use\": \"sum\", \"graders\": [\"exact\"]}]",
                         3, 1);
    sides_begin(&s, &run, 1, &run, 1);
    static const double x[2][3] = {{1.5, 2.5, 2.0}, {1.0, 2.25, 2.125}};
    static const double w[3] = {3, 1, 4};
    static const char *const ids[] = {"a", "b", "c"};
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < 3; i++) {
            Said said = {.id = ids[i], .value = x[side][i], .weight = w[i], .real = true};
            say(&s, side, &said);
        }
    }
    sides_open(&s, "base", "candidate");
    size_t n;
    MetricPairs *m = metrics_of(&s, &n);
    CHECK_INT(n, 3);
    // sum(w x)/sum(w): base 15/8 = 1.875, candidate 13.75/8 = 1.71875.
    StatsEstimate perplexity = stats_estimate(&m[0].pairs, 0.95);
    CHECK(m[0].pairs.exponential && m[0].lower_is_better && !m[0].pairs.binary);
    CHECK_NEAR(perplexity.interval.value, exp(1.71875) - exp(1.875), 1e-12);
    CHECK_NEAR(m[0].base_row.value, exp(1.875), 1e-12);
    StatsEstimate bits = stats_estimate(&m[1].pairs, 0.95);
    CHECK_NEAR(bits.interval.value, (1.71875 - 1.875) / log(2), 1e-12);
    CHECK_NEAR(bits.interval.value, m[1].candidate_row.value - m[1].base_row.value, 1e-12);
    StatsEstimate sum = stats_estimate(&m[2].pairs, 0.95);
    CHECK_NEAR(sum.interval.value, 13.75 - 15, 1e-12);
    CHECK_NEAR(sum.interval.value, m[2].candidate_row.value - m[2].base_row.value, 1e-12);
    CHECK(isinf(m[2].range_high) && isinf(m[0].range_low));
    sides_end(&s);
}

static void test_pairs__parts_clusters_slices(void)
{
    Sides s = {0};
    static const char metrics[] = "[{\"use\": \"accuracy\", \"slices\": [\"source\"], " EXACT
                                  "}, {\"use\": \"accuracy\", \"average\": \"parts\", "
                                  "\"slices\": [\"source\"], " EXACT "}]";
    RunSpec runs[] = {run_of(&s.arena, "p", "", "m", metrics, 4, 1),
                      run_of(&s.arena, "q", "", "m", metrics, 4, 1)};
    sides_begin(&s, runs, 2, runs, 2);
    static const Said said[2][7] = {
        {{0, "1", .value = 1, .cluster = "k", .source = "x"},
         {0, "2", .value = 0, .cluster = "l", .source = "y", .graded = true},
         {0, "3", .value = 1, .source = "x"},
         {1, "1", .value = 1, .cluster = "k", .source = "x"},
         {1, "2", .value = 1, .source = "x"},
         {1, "3", .value = 1, .source = "z"},
         {1, "4", .error = true, .source = "x"}},
        {{0, "1", .value = 1, .cluster = "k", .source = "x"},
         {0, "2", .value = 1, .cluster = "l", .source = "y"},
         {0, "3", .value = 0, .source = "x", .graded = true},
         {1, "1", .value = 1, .cluster = "k", .source = "x"},
         {1, "2", .value = 0, .source = "x", .graded = true},
         {1, "4", .value = 1, .source = "x"},
         {1, "5", .value = 1, .source = "w"}}};
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < 7; i++) {
            say(&s, side, &said[side][i]);
        }
    }
    sides_open(&s, "base", "candidate");
    size_t n;
    MetricPairs *m = metrics_of(&s, &n);
    static const struct {
        int line;
        const char *average, *slice, *rows;
    } want[] = {
        {__LINE__, "", "",
         "p/1 1 1; p/2 0 1; p/3 1 0; q/1 1 1; q/2 1 0; q/3 1 missing; q/4 "
         "errored 1; q/5 missing 1; "},
        {__LINE__, "", "source=w", "q/5 missing 1; "},
        {__LINE__, "", "source=x", "p/1 1 1; p/3 1 0; q/1 1 1; q/2 1 0; q/4 errored 1; "},
        {__LINE__, "", "source=y", "p/2 0 1; "},
        {__LINE__, "", "source=z", "q/3 1 missing; "},
        {__LINE__, "parts", "",
         "p/1 1 1; p/2 0 1; p/3 1 0; q/1 1 1; q/2 1 0; q/3 1 missing; q/4 "
         "errored 1; q/5 missing 1; "},
    };
    CHECK_INT(n, 10);
    for (size_t i = 0; i < 6 && i < n; i++) {
        Str rows = pairs_text(&s.arena, &m[i]);
        if (!str_eq_c(m[i].average, want[i].average) || !str_eq_c(m[i].slice, want[i].slice) ||
            !str_eq_c(rows, want[i].rows)) {
            tap_checks_failed++;
            printf("# line %d: " STR_FMT " '" STR_FMT "': " STR_FMT "\n", want[i].line,
                   STR_ARG(m[i].average), STR_ARG(m[i].slice), STR_ARG(rows));
        }
    }
    // Clusters: k (both parts), l, and a cluster of its own for each other sample.
    static const uint32_t clusters[] = {0, 1, 2, 0, 3, 4, 5, 6};
    CHECK_INT(m[0].pairs.n_clusters, 7);
    CHECK(m[0].pairs.part == NULL);
    static const uint32_t parts[] = {0, 0, 0, 1, 1, 1, 1, 1};
    for (size_t i = 0; i < 8; i++) {
        CHECK_INT(m[0].pairs.cluster[i], clusters[i]);
        CHECK_INT(m[5].pairs.part[i], parts[i]);
    }
    static const uint32_t of_x[] = {0, 1, 0, 2, 3};
    CHECK_INT(m[2].pairs.n_clusters, 4);
    for (size_t i = 0; i < 5; i++) {
        CHECK_INT(m[2].pairs.cluster[i], of_x[i]);
    }
    CHECK_INT(m[5].pairs.n_parts, 2);
    CHECK_INT(m[2].candidate_row.n, 5);
    CHECK_STR(m[2].candidate_row.slice, STR("source=x"));
    CHECK_INT(m[4].candidate_row.n, 0); // no sample of it
    CHECK(isnan(m[4].candidate_row.value) && m[4].base_row.n == 1);
    // Means over parts: base p 2/3, q 1; candidate p 2/3, q 3/4.
    CHECK_NEAR(m[5].base_row.value, (2.0 / 3 + 1) / 2, 1e-12);
    CHECK_NEAR(m[5].candidate_row.value, (2.0 / 3 + 0.75) / 2, 1e-12);
    // Pairs: p 0, +1, -1; q 0, -1: mean of the parts' means -1/4.
    CHECK_NEAR(stats_estimate(&m[5].pairs, 0.95).interval.value, -0.25, 1e-12);
    sides_end(&s);
}

static void test_pairs__other_metrics_and_one_side(void)
{
    Sides s = {0};
    RunSpec base =
        run_of(&s.arena, "", "", "m",
               "[{\"use\": \"accuracy\", " EXACT "}, {\"use\": \"mean\", " EXACT "}]", 3, 1);
    RunSpec candidate =
        run_of(&s.arena, "", "", "m",
               "[{\"use\": \"f1_macro\", " EXACT "}, {\"use\": \"accuracy\", " EXACT "}]", 3, 1);
    sides_begin(&s, &base, 1, &candidate, 1);
    say_all(&s, 0, 0, "101");
    say_all(&s, 1, 0, "11-");
    sides_open(&s, "base", "candidate");
    size_t n;
    MetricPairs *m = metrics_of(&s, &n);
    CHECK_INT(n, 3);
    CHECK_STR(m[0].metric, STR("exact.f1_macro"));
    CHECK(!m[0].paired && m[0].headline);
    CHECK_INT(m[0].n, 3);
    CHECK_INT(m[0].base_state[0], SAMPLE_MISSING); // the base does not have this metric
    CHECK_INT(m[0].candidate_state[0], SAMPLE_SCORED);
    CHECK_INT(m[0].candidate_state[2], SAMPLE_UNSCORED);
    CHECK(isnan(m[0].candidate[0]));
    CHECK(isnan(m[0].base_row.value) && !isnan(m[0].candidate_row.value));
    CHECK_STR(m[1].metric, STR("exact.accuracy"));
    CHECK_STR(m[2].metric, STR("exact.mean"));
    CHECK_INT(m[2].candidate_state[0], SAMPLE_MISSING);
    CHECK_INT(m[2].base_state[0], SAMPLE_SCORED);
    CHECK(m[2].pairs.binary);
    // A pairing without any run on one side.
    Pairing *pairings = NULL;
    MetricPairs *alone = NULL;
    Side nobody = {.runs = s.base.runs};
    Err err = ERR_INIT;
    CHECK_OK(compare_pairings(&s.arena, &nobody, &s.candidate, &pairings, &n, &err), &err);
    CHECK_INT(n, 1);
    CHECK_OK(compare_metrics(s.results, &s.arena, &pairings[0], &alone, &n, &err), &err);
    CHECK_INT(n, 2);
    CHECK_STR(pairs_text(&s.arena, &alone[1]),
              STR("0 missing 1; 1 missing 1; 2 missing unscored; "));
    StatsPairs value = alone[1].pairs;
    value.baseline = NULL;
    CHECK_INT(stats_estimate(&value, 0.95).method, STATS_WILSON);
    sides_end(&s);
}

int main(void)
{
    tap_run("selector: parses", test_selector__parses);
    tap_run("selector: refuses", test_selector__refuses);
    tap_run("side: selects runs", test_side__selects);
    tap_run("pairings", test_pairings);
    tap_run("pairs: states", test_pairs__states);
    tap_run("pairs: planned and without rows", test_pairs__planned_without_rows);
    tap_run("pairs: epochs and their bounds", test_pairs__epochs_and_bounds);
    tap_run("pairs: weights and units", test_pairs__weights_and_units);
    tap_run("pairs: parts, clusters, slices", test_pairs__parts_clusters_slices);
    tap_run("pairs: other metrics, one side", test_pairs__other_metrics_and_one_side);
    return tap_done();
}
