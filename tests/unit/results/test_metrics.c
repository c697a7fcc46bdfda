// SPDX-License-Identifier: MIT
// Every metric over stored scores, against figures computed apart from this program with NumPy,
// SciPy and scikit-learn; the formula stands at each. Intervals are 95 %.
//   t(x):      m = mean(x), SE = sd(x, n-1) / sqrt(n), m -+ t_{.975, n-1} SE, cut to the range
//   wilson(x): score interval of k = sum(x) of n; SE = sqrt(p (1-p) / (n-1))
#include "filling.h"

#include "text/text.h"

static Value json(Arena *arena, const char *text)
{
    Err err = ERR_INIT;
    Value value = value_null();
    CHECK_OK(json_parse(arena, str_from_c(text), NULL, &value, NULL, &err), &err);
    return value;
}

/** A run with these metrics, as JSON without "graders"; the grader is exact, 0 to 1. */
static RunSpec run_with(Arena *arena, const char *metrics, int64_t epochs)
{
    static const char graders[] =
        "[{\"name\": \"exact\", \"use\": \"choice\", \"low\": 0, \"high\": 1}]";
    RunSpec run = run_make(arena, "", "echo/x");
    Value list = json(arena, metrics);
    Value *items = ARENA_ARRAY(arena, Value, list.as.list.n);
    for (size_t i = 0; i < list.as.list.n; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        const ValueMap *given = &list.as.list.items[i].as.map;
        for (size_t j = 0; j < given->n; j++) {
            map_builder_put(&map, given->pairs[j].key, given->pairs[j].value);
        }
        if (value_get_c(&list.as.list.items[i], "graders") == NULL) {
            map_builder_put(&map, STR("graders"), json(arena, graders));
        }
        items[i] = map_builder_done(&map);
    }
    run.metrics = value_list(items, list.as.list.n);
    run.epochs = epochs;
    return run;
}

/** What a row of a test may say; the others are as attempt_make has them. */
typedef struct Given {
    double value; // NaN: unscored
    double weight;
    const char *answer; // NULL: none
    const char *target;
    const char *metadata;
    const char *cluster;
    const double *logprobs; // of n_logprobs choices
    const Str *choice_texts;
    size_t n_logprobs;
    size_t n_texts; // of choices without log-probabilities
    bool graded;    // not declared right or wrong
} Given;

static void put_given(Filling *f, size_t run, int64_t i, int64_t epoch, const Given *given)
{
    Err err = ERR_INIT;
    AttemptRow row = attempt_make(&f->arena, f->open.run_ids[run], i, epoch, given->value);
    Score score = row.scores[0];
    ChoiceLogprob choices[8];
    score.is_boolean = !given->graded;
    score.weight = given->weight > 0 ? given->weight : 1;
    score.has_answer = given->answer != NULL;
    score.answer = str_from_c(given->answer);
    if (isnan(given->value)) {
        score.state = SCORE_UNSCORED;
        score.reason = STR("odd");
    }
    for (size_t c = 0; c < given->n_logprobs; c++) {
        choices[c] = (ChoiceLogprob){
            .logprob = given->logprobs[c], .unconditional = (double)NAN, .n_tokens = 1};
    }
    row.choices = choices;
    row.choice_texts = given->choice_texts;
    row.n_choices = given->n_logprobs;
    row.n_choice_texts = given->n_texts;
    row.scores = &score;
    row.cluster = str_from_c(given->cluster);
    row.target = given->target != NULL ? str_from_c(given->target) : row.target;
    row.metadata = given->metadata != NULL ? str_from_c(given->metadata) : row.metadata;
    CHECK_OK(store_put_attempt(f->store, &row, &err), &err);
}

/** The metric of that name and slice, or one with n -1. */
static const MetricRow *metric_named(const RunInfo *run, const char *name, const char *slice)
{
    static const MetricRow none = {.n = -1};
    for (size_t i = 0; i < run->n_metrics; i++) {
        if (str_eq_c(run->metrics[i].name, name) && str_eq_c(run->metrics[i].slice, slice)) {
            return &run->metrics[i];
        }
    }
    return &none;
}

/** A metric with what it should be. */
typedef struct Want {
    int line;
    const char *name;
    const char *method;
    int64_t n;
    int64_t n_unscored;
    Interval interval;
} Want;

static void check_wants(const RunInfo *run, const Want *wants, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const MetricRow *got = metric_named(run, wants[i].name, "");
        check_metric(wants[i].line, got, wants[i].name, wants[i].method, wants[i].n,
                     wants[i].interval);
        if (got->n_unscored != wants[i].n_unscored) {
            tap_checks_failed++;
            printf("# line %d: %s: %lld unscored\n", wants[i].line, wants[i].name,
                   (long long)got->n_unscored);
        }
    }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// ---- Epochs -------------------------------------------------------------------------------------

// Eight samples of four epochs; -1 is unscored, '-' no answer.
static const double EPOCHS[8][4] = {{1, 0, 1, 1},  {0, 0, 0, 0},   {1, 1, 1, 1},     {0, 1, 0, 0},
                                    {1, 1, 0, -1}, {0, -1, -1, 1}, {-1, -1, -1, -1}, {1, 0, 0, 1}};
static const char *const EPOCH_ANSWERS[8] = {"abaa", "bbbb", "aaaa", "babb",
                                             "aab-", "b--a", "----", "abba"};
static const double EPOCH_WEIGHTS[8][4] = {{1, 2, 1, 1}, {2, 2, 2, 2}, {1, 1, 1, 1}, {.5, 1, 1, 1},
                                           {1, 1, 3, 1}, {1, 1, 1, 2}, {1, 1, 1, 1}, {4, 1, 1, 1}};

static void fill_epochs(Filling *f, const char *metrics, bool weighted)
{
    RunSpec run = run_with(&f->arena, metrics, 4);
    filling_begin(f, &run, 1);
    for (int k = 31; k >= 0; k--) { // in no order that matters
        int sample = k % 8;
        int epoch = k / 8;
        char answer[2] = {EPOCH_ANSWERS[sample][epoch], '\0'};
        double value = EPOCHS[sample][epoch];
        Given given = {.value = value < 0 ? (double)NAN : value,
                       .weight = weighted ? EPOCH_WEIGHTS[sample][epoch] : 1,
                       .answer = answer[0] == '-' ? NULL : answer};
        put_given(f, 0, sample, epoch, &given);
    }
}

static void test_epochs__reducers(void)
{
    Filling f = {0};
    fill_epochs(
        &f,
        "[{\"use\": \"mean\"}, {\"use\": \"max\"}, {\"use\": \"min\"}, {\"use\": \"sum\"},"
        " {\"use\": \"median\"}, {\"use\": \"majority\"}, {\"use\": \"at_least\", \"k\": 2},"
        " {\"use\": \"pass_at\", \"k\": 1}, {\"use\": \"pass_at\", \"k\": 2},"
        " {\"use\": \"pass_at\", \"k\": 4}, {\"use\": \"pass_all\", \"k\": 2},"
        " {\"use\": \"pass_all\", \"k\": 4}, {\"use\": \"pass_at\", \"k\": 5},"
        " {\"use\": \"at_least\", \"k\": 2, \"min\": 0.5}]",
        false);
    // Of each sample the scored epochs, n of them and c of them 1:
    static const Want wants[] = {
        // t(c / n)
        {__LINE__,
         "exact.mean",
         "t",
         7,
         1,
         {0.5238095238095238, 0.12428936320131607, 0.21968440802096095, 0.8279346395980867}},
        // wilson(max), wilson(min): one 0 or 1 a sample
        {__LINE__,
         "exact.max",
         "wilson",
         7,
         1,
         {0.8571428571428571, 0.14285714285714288, 0.4868721707256811, 0.9743203756552565}},
        {__LINE__,
         "exact.min",
         "wilson",
         7,
         1,
         {0.14285714285714285, 0.14285714285714285, 0.02567962434474355, 0.5131278292743189}},
        // n times t(c / n)
        {__LINE__,
         "exact.sum",
         "t",
         7,
         1,
         {3.666666666666667, 0.8700255424092125, 1.5377908561467266, 5.795542477186607}},
        // t(median): even numbers of epochs give halves
        {__LINE__,
         "exact.median",
         "t",
         7,
         1,
         {0.5714285714285714, 0.17003401020340117, 0.15537033676416284, 0.98748680609298}},
        // wilson(score of the first of the most frequent answers)
        {__LINE__,
         "exact.majority",
         "wilson",
         7,
         1,
         {0.5714285714285714, 0.20203050891044214, 0.2504583645276572, 0.8417801447485302}},
        // wilson(c >= k), n >= k
        {__LINE__,
         "exact.at_least_2",
         "wilson",
         7,
         1,
         {0.5714285714285714, 0.20203050891044214, 0.2504583645276572, 0.8417801447485302}},
        // t(1 - C(n-c, k) / C(n, k)), n >= k; where n = k for all, wilson
        {__LINE__,
         "exact.pass_at_1",
         "t",
         7,
         1,
         {0.5238095238095238, 0.12428936320131607, 0.21968440802096095, 0.8279346395980867}},
        {__LINE__,
         "exact.pass_at_2",
         "t",
         7,
         1,
         {0.7619047619047619, 0.14482767929281473, 0.4075241970693493, 1}},
        {__LINE__,
         "exact.pass_at_4",
         "wilson",
         5,
         3,
         {0.8, 0.2, 0.3755346297625253, 0.9637758913675698}},
        // t(C(c, k) / C(n, k))
        {__LINE__,
         "exact.pass_all_2",
         "t",
         7,
         1,
         {0.2857142857142857, 0.13951107802576942, 0, 0.6270855959015527}},
        {__LINE__,
         "exact.pass_all_4",
         "wilson",
         5,
         3,
         {0.2, 0.2, 0.036224108632430085, 0.6244653702374747}},
        {__LINE__,
         "exact.at_least_2_min_0.5",
         "wilson",
         7,
         1,
         {0.5714285714285714, 0.20203050891044214, 0.2504583645276572, 0.8417801447485302}},
    };
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(runs[0].n_metrics, 14);
    check_wants(runs, wants, COUNT(wants));
    const MetricRow *five = metric_named(runs, "exact.pass_at_5", "");
    CHECK(five->n == 0 && five->n_unscored == 8 && isnan(five->value));
    filling_end(&f);
}

static void test_epochs__weights(void)
{
    Filling f = {0};
    fill_epochs(&f, "[{\"use\": \"accuracy\"}, {\"use\": \"sum\"}, {\"use\": \"max\"}]", true);
    static const Want wants[] = {
        // x = sum(w v) / sum(w) and w = mean(w) of a sample; then m = sum(w x) / sum(w),
        // SE^2 = n/(n-1) sum(w^2 (x-m)^2) / sum(w)^2
        {__LINE__,
         "exact.accuracy",
         "delta",
         7,
         1,
         {0.4896265560165975, 0.13251332587619966, 0.165378128495488, 0.813874983537707}},
        // n times t(w x)
        {__LINE__,
         "exact.sum",
         "t",
         7,
         1,
         {4.916666666666667, 1.1726039399558572, 2.047408189289385, 7.785925144043949}},
    };
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    check_wants(runs, wants, COUNT(wants));
    CHECK(str_eq(metric_named(runs, "exact.max", "")->method, STR("delta")));
    filling_end(&f);
}

static void test_epochs__random_agree_with_definitions(void)
{
    enum { SAMPLES = 60, EPOCHS_EACH = 9 };
    Filling f = {0};
    Rng rng;
    rng_init(&rng, 11);
    RunSpec run = run_with(&f.arena,
                           "[{\"use\": \"mean\"}, {\"use\": \"pass_at\", \"k\": 1},"
                           " {\"use\": \"pass_all\", \"k\": 1}, {\"use\": \"pass_at\", \"k\": 9},"
                           " {\"use\": \"max\"}, {\"use\": \"pass_all\", \"k\": 9},"
                           " {\"use\": \"min\"}, {\"use\": \"pass_at\", \"k\": 3},"
                           " {\"use\": \"pass_all\", \"k\": 3}]",
                           EPOCHS_EACH);
    filling_begin(&f, &run, 1);
    double any = 0; // of three epochs, over all choices of three
    double all = 0;
    for (int i = 0; i < SAMPLES; i++) {
        double p = rng_real(&rng);
        bool passed[EPOCHS_EACH];
        for (int e = 0; e < EPOCHS_EACH; e++) {
            passed[e] = rng_real(&rng) < p;
            put_given(&f, 0, i, e, &(Given){.value = passed[e]});
        }
        for (int a = 0; a < EPOCHS_EACH; a++) {
            for (int b = a + 1; b < EPOCHS_EACH; b++) {
                for (int c = b + 1; c < EPOCHS_EACH; c++) {
                    any += passed[a] || passed[b] || passed[c];
                    all += passed[a] && passed[b] && passed[c];
                }
            }
        }
    }
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    const MetricRow *m = runs[0].metrics;
    CHECK_NEAR(m[1].value, m[0].value, 1e-12);
    CHECK_NEAR(m[2].value, m[0].value, 1e-12);
    CHECK_NEAR(m[1].stderr_, m[0].stderr_, 1e-12);
    CHECK_NEAR(m[3].value, m[4].value, 1e-12);
    CHECK_NEAR(m[5].value, m[6].value, 1e-12);
    CHECK_NEAR(m[7].value, any / (SAMPLES * 84), 1e-12);
    CHECK_NEAR(m[8].value, all / (SAMPLES * 84), 1e-12);
    filling_end(&f);
}

// ---- Losses -------------------------------------------------------------------------------------

static void test_losses__perplexity_and_bits(void)
{
    static const double loss[] = {2.31, 3.02, 1.87, 4.4, 2.9, 3.3, 2.05, 2.75, 3.61};
    static const double units[] = {12, 7, 30, 5, 18, 9, 25, 14, 11};
    static const char *const clusters[] = {"a", "a", "b", "b", "b", "c", "d", "d", "e"};
    static const char metrics[] =
        "[{\"use\": \"perplexity\", \"graders\": [{\"name\": \"exact\", \"low\": 0}]},"
        " {\"use\": \"bits\", \"graders\": [{\"name\": \"exact\", \"low\": 0}]}]";
    for (int clustered = 0; clustered < 2; clustered++) {
        Filling f = {0};
        RunSpec run = run_with(&f.arena, metrics, 1);
        filling_begin(&f, &run, 1);
        for (int i = 0; i < 9; i++) {
            Given given = {.value = loss[i],
                           .weight = units[i],
                           .graded = true,
                           .cluster = clustered ? clusters[i] : ""};
            put_given(&f, 0, i, 0, &given);
        }
        // m = sum(w v) / sum(w) with the error of the weighted mean above; perplexity exp(m), its
        // SE exp(m) SE(m) and limits exp of the limits; bits m / ln 2
        static const Want plain[] = {
            {__LINE__,
             "exact.perplexity",
             "delta",
             9,
             0,
             {13.23143476175434, 3.292391296770736, 7.454292776947352, 23.485912224426382}},
            {__LINE__,
             "exact.bits",
             "delta",
             9,
             0,
             {3.7258976048362897, 0.358987266463863, 2.8980714838849826, 4.553723725787598}},
        };
        // SE^2 = (G-1)/G sum (m_-g - mean)^2 over G deleted clusters, df = n^2 / sum n_g^2 - 1
        static const Want jackknife[] = {
            {__LINE__,
             "exact.perplexity",
             "jackknife",
             9,
             0,
             {13.23143476175434, 2.127766865333026, 8.112417274115677, 21.58060414534647}},
        };
        size_t n;
        RunInfo *runs = filling_runs(&f, &n);
        if (clustered) {
            check_wants(runs, jackknife, COUNT(jackknife));
        } else {
            check_wants(runs, plain, COUNT(plain));
        }
        CHECK(runs[0].metrics[0].lower_is_better && runs[0].metrics[1].lower_is_better);
        filling_end(&f);
    }
}

// ---- Classes ------------------------------------------------------------------------------------

static const char CLASS_TARGETS[] = "zzyxxxxxxzyxxzzzxxyxyxzxyzxzzxyxyxxxzxxy";
static const char CLASS_ANSWERS[] = "z-yxxxxx-xyzyzzxzxyxy-zzyz-yzz-xx-xxyxxy"; // '-': no answer

static void fill_classes(Filling *f, bool clustered)
{
    RunSpec run = run_with(&f->arena, "[{\"use\": \"f1_macro\"}, {\"use\": \"mcc\"}]", 1);
    filling_begin(f, &run, 1);
    for (int i = 0; i < 40; i++) {
        char target[] = {'[', '"', CLASS_TARGETS[i], '"', ']', '\0'};
        char answer[] = {CLASS_ANSWERS[i], '\0'};
        char cluster[] = {(char)('A' + i / 4), '\0'};
        Given given = {.value = CLASS_TARGETS[i] == CLASS_ANSWERS[i],
                       .target = target,
                       .answer = answer[0] == '-' ? NULL : answer,
                       .cluster = clustered ? cluster : ""};
        put_given(f, 0, i, 0, &given);
    }
}

static void check_near_row(int line, const MetricRow *row, double value, double stderr_, double low,
                           double high, double tolerance)
{
    bool ok = fabs(row->value - value) <= 1e-12 && fabs(row->stderr_ - stderr_) <= tolerance &&
              fabs(row->low - low) <= tolerance && fabs(row->high - high) <= tolerance &&
              str_eq(row->method, STR("bca"));
    if (!ok) {
        tap_checks_failed++;
        printf("# line %d: got %.17g se %.6f [%.6f, %.6f] " STR_FMT "\n", line, row->value,
               row->stderr_, row->low, row->high, STR_ARG(row->method));
    }
}

static void test_classes__f1_and_mcc(void)
{
    Filling f = {0};
    fill_classes(&f, false);
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    // sklearn.metrics.f1_score(targets, answers, average="macro"), matthews_corrcoef; errors and
    // limits of scipy.stats.bootstrap(method="BCa", n_resamples=20000), so equal up to chance
    check_near_row(__LINE__, metric_named(runs, "exact.f1_macro", ""), 0.48599439775910364,
                   0.0609488, 0.3666622, 0.6026707, 0.012);
    check_near_row(__LINE__, metric_named(runs, "exact.mcc", ""), 0.43596059123170633, 0.1048108,
                   0.2183414, 0.6308222, 0.02);
    CHECK_INT(runs[0].metrics[0].n, 40);
    RunInfo *again = filling_runs(&f, &n);
    CHECK_NEAR(again[0].metrics[0].low, runs[0].metrics[0].low, 0); // no chance in it
    filling_end(&f);
}

static void test_classes__whole_clusters_are_drawn(void)
{
    Filling f = {0};
    fill_classes(&f, true);
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_INT(runs[0].metrics[0].n_clusters, 10);
    CHECK_INT(runs[0].metrics[0].n, 40);
    // standard deviation over 4000 draws of ten of the ten clusters with NumPy
    CHECK_NEAR(metric_named(runs, "exact.f1_macro", "")->stderr_, 0.0381706, 0.002);
    CHECK_NEAR(metric_named(runs, "exact.mcc", "")->stderr_, 0.0767686, 0.004);
    filling_end(&f);
}

static void test_classes__letters_stand_for_choices(void)
{
    // A choice's letter is compared by the text of the choice, whatever the order of the choices.
    static const Str texts[2][2] = {{STR_INIT("yes"), STR_INIT("no")},
                                    {STR_INIT("no"), STR_INIT("yes")}};
    static const double logprobs[] = {-1, -2};
    Filling f = {0};
    RunSpec run = run_with(&f.arena, "[{\"use\": \"mcc\"}, {\"use\": \"f1_macro\"}]", 1);
    filling_begin(&f, &run, 1);
    for (int i = 0; i < 20; i++) { // the last ones are written replies, without log-probabilities
        bool yes = i % 3 == 0;
        bool yes_first = i % 2 == 0;
        Given given = {.value = 1,
                       .answer = yes == yes_first ? "A" : "B",
                       .target = yes ? "[\"yes\"]" : "[\"no\"]",
                       .logprobs = logprobs,
                       .choice_texts = texts[!yes_first],
                       .n_logprobs = i < 10 ? 2 : 0,
                       .n_texts = 2};
        put_given(&f, 0, i, 0, &given);
    }
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    CHECK_NEAR(runs[0].metrics[0].value, 1, 1e-12);
    CHECK_NEAR(runs[0].metrics[1].value, 1, 1e-12);
    CHECK_STR(runs[0].metrics[1].method, STR("none")); // nothing varies
    CHECK(isnan(runs[0].metrics[1].low));
    filling_end(&f);
}

// ---- Calibration --------------------------------------------------------------------------------

static void test_calibration__ece_and_brier(void)
{
    static const double confidence[] = {0.05, .15, .21, .35, .52, .55, .62, .72, .88, .95, 1, 0};
    static const double right[] = {0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0};
    Filling f = {0};
    RunSpec run = run_with(&f.arena, "[{\"use\": \"ece\"}, {\"use\": \"brier\"}]", 1);
    filling_begin(&f, &run, 1);
    for (int i = 0; i < 12; i++) {
        // two of the choices share what the picked one leaves; all are shifted by a constant
        double rest = log((1 - confidence[i]) / 2);
        double logprobs[3] = {rest - 7, log(confidence[i]) - 7, rest - 7};
        Given given = {.value = right[i], .answer = "B", .logprobs = logprobs, .n_logprobs = 3};
        put_given(&f, 0, i, 0, &given);
    }
    put_given(&f, 0, 12, 0, &(Given){.value = 1, .answer = "B"}); // a reply without probabilities
    size_t n;
    RunInfo *runs = filling_runs(&f, &n);
    const MetricRow *ece = metric_named(runs, "exact.ece", "");
    // sum n_b/n |accuracy - confidence| over ten bins (lo, hi]; limits of scipy's BCa, up to chance
    check_near_row(__LINE__, ece, 0.1866666666666667, 0.0706548, 0.0558024, 0.2916667, 0.02);
    CHECK(ece->n == 12 && ece->n_unscored == 1 && ece->lower_is_better);
    // t((confidence - right)^2)
    static const Want brier[] = {
        {__LINE__,
         "exact.brier",
         "t",
         12,
         1,
         {0.12868333333333334, 0.05352064856886849, 0.010885180074773987, 0.2464814865918927}}};
    check_wants(runs, brier, 1);
    filling_end(&f);
}

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
    tap_run("epochs: reducers", test_epochs__reducers);
    tap_run("epochs: weights", test_epochs__weights);
    tap_run("epochs: random ones agree with definitions",
            test_epochs__random_agree_with_definitions);
    tap_run("losses: perplexity and bits", test_losses__perplexity_and_bits);
    tap_run("classes: f1 and mcc", test_classes__f1_and_mcc);
    tap_run("classes: whole clusters are drawn", test_classes__whole_clusters_are_drawn);
    tap_run("classes: letters stand for choices", test_classes__letters_stand_for_choices);
    tap_run("calibration: ece and brier", test_calibration__ece_and_brier);
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
