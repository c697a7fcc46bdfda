// SPDX-License-Identifier: MIT
// Metrics of one run over stored scores, against figures computed apart from this program with
// NumPy, SciPy and scikit-learn; the formula stands at each. Intervals are 95 %.
//   t(x):      m = mean(x), SE = sd(x, n-1) / sqrt(n), m -+ t_{.975, n-1} SE, cut to the range
//   wilson(x): score interval of k = sum(x) of n; SE = sqrt(p (1-p) / (n-1))
#include "metric_rows.h"

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
    return tap_done();
}
