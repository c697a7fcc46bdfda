// SPDX-License-Identifier: MIT
// What people see: tables that fit, many parts in few lines, and model text that can do no harm.
#include "fixture.h"

#include "text/text.h"

static const ReportOptions PLAIN = {0};

static void check_buf(int line, const Buf *got, const char *want)
{
    if (!str_eq_c(buf_view(got), want)) {
        tap_checks_failed++;
        printf("# line %d: got\n" STR_FMT "# want\n%s", line, STR_ARG(buf_view(got)), want);
    }
}

static void test_text__escapes_what_acts_on_a_terminal(void)
{
    const struct {
        int line;
        Str text;
        bool multiline;
        const char *want;
    } cases[] = {
        {__LINE__, STR("plain \xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80"), false,
         "plain \xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80"},
        {__LINE__, STR("a\nb\tc\rd"), false, "a\\nb\\tc\\rd"},
        {__LINE__, STR("a\nb\tc\rd\r\ne"), true, "a\nb\tc\\rd\ne"},
        {__LINE__, STR("\x1b[31mred\x1b[0m\x07\x7f"), true, "\\x1b[31mred\\x1b[0m\\x07\\x7f"},
        {__LINE__, STR("\x1b]0;title\x1b\\"), false, "\\x1b]0;title\\x1b\\"},
        {__LINE__, {"nul\0l", 5}, true, "nul\\x00l"},
        {__LINE__,
         STR("\xc2\x9b"
             "31m"),
         true, "\\u009b31m"}, // CSI in one code point
        {__LINE__,
         STR("abc\xe2\x80\xae"
             "fed"),
         true, "abc\\u202efed"},
        {__LINE__, STR("\xf3\xa0\x81\xa1"), false, "\\U000e0061"},
        {__LINE__, STR("bad \xff\xc3 end\xe2\x80"), true, "bad \\xff\\xc3 end\\xe2\\x80"},
        {__LINE__, STR("\xef\xbf\xbd"), true, "\xef\xbf\xbd"}, // a real U+FFFD stays
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf buf = {0};
        report_text(&buf, cases[i].text, cases[i].multiline);
        check_buf(cases[i].line, &buf, cases[i].want);
        buf_finish(&buf);
    }
}

static MetricRow metric(const char *name, double value, double error, double low, double high,
                        int64_t n)
{
    return (MetricRow){.name = str_from_c(name),
                       .value = value,
                       .stderr_ = error,
                       .low = low,
                       .high = high,
                       .method = STR("wilson"),
                       .n = n};
}

static void test_runs__one_line_a_metric(void)
{
    MetricRow first[2] = {metric("exact.accuracy", 0.42, 0.0496, 0.3275, 0.5181, 100),
                          metric("words.mean", 37.25, 1.5, 34.2, 40.25, 100)};
    MetricRow second[1] = {metric("exact.accuracy", 1, (double)NAN, 0.2, 1, 1)};
    second[0].n_unscored = 1;
    RunInfo runs[2] = {
        {.eval = STR("facts"),
         .model = STR("local/small"),
         .n_planned = 100,
         .n_done = 100,
         .metrics = first,
         .n_metrics = 2},
        {.eval = STR("facts"),
         .model = STR("echo/\x1b[2J"),
         .n_planned = 9,
         .n_done = 2,
         .n_errors = 1,
         .n_unscored = 3, // all graders' together: each has a line that says so
         .metrics = second,
         .n_metrics = 1},
    };
    Buf buf = {0};
    report_runs(&buf, runs, 2, NULL, 0, &PLAIN);
    check_buf(__LINE__, &buf,
              "eval   model         metric          value      \xc2\xb1  95 % interval     n"
              "  incomplete\n"
              "facts  local/small   exact.accuracy  0.420  0.050  [0.328, 0.518]  100\n"
              "                     words.mean      37.25  1.500  [34.2, 40.25]   100\n"
              "facts  echo/\\x1b[2J  exact.accuracy  1.000      -  [0.200, 1.000]    1"
              "  1 error, 1 unscored, 6 to do\n");
    buf_finish(&buf);
}

static MetricRow slice_of(MetricRow row, const char *slice)
{
    row.slice = str_from_c(slice);
    return row;
}

static void test_runs__slices_and_worst_cases(void)
{
    MetricRow accuracy = metric("acc.accuracy", 0.5, 0.05, 0.4, 0.6, 100);
    MetricRow pass = metric("acc.pass_at_8", 0.75, 0.05, 0.65, 0.85, 90);
    pass.n_unscored = 10;
    MetricRow failed =
        metric("acc.median", (double)NAN, (double)NAN, (double)NAN, (double)NAN, 100);
    failed.why = STR("metrics/median.lua:3: attempt to\x1b[1m compare");
    MetricRow rows[6] = {accuracy,
                         slice_of(accuracy, "source=web"),
                         slice_of(accuracy, "source=\n"),
                         pass,
                         metric("loss.perplexity", 1234.5, 100, 1100, 1400, 100),
                         failed};
    RunInfo runs[2] = {{.eval = STR("x"),
                        .variant = STR("clean"),
                        .model = STR("m"),
                        .n_planned = 100,
                        .n_done = 100,
                        .metrics = rows,
                        .n_metrics = 6},
                       {.eval = STR("x"),
                        .variant = STR("typos"),
                        .model = STR("m"),
                        .n_planned = 100,
                        .n_done = 100,
                        .metrics = rows,
                        .n_metrics = 1}};
    CrossMetric cross[2] = {
        {.eval = STR("x"),
         .model = STR("m"),
         .over = STR("variants"),
         .n_runs = 1,
         .metric = metric("acc.worst", 0.4, 0.05, 0.3, 0.5, 100)},
        {.eval = STR("x"),
         .model = STR("m"),
         .over = STR("variants"),
         .n_runs = 1,
         .metric = slice_of(metric("acc.worst", 0.3, 0.05, 0.2, 0.4, 50), "source=web")}};
    Buf buf = {0};
    report_runs(&buf, runs, 2, cross, 2, &PLAIN);
    check_buf(__LINE__, &buf,
              "eval  variant  model  metric           value      \xc2\xb1  95 % interval     n"
              "  incomplete\n"
              "x     clean    m      acc.accuracy     0.500  0.050  [0.400, 0.600]  100\n"
              "                        source=web     0.500  0.050  [0.400, 0.600]  100\n"
              "                        source=\\n      0.500  0.050  [0.400, 0.600]  100\n"
              "                      acc.pass_at_8    0.750  0.050  [0.650, 0.850]   90"
              "  10 unscored\n"
              "                      loss.perplexity   1234    100  [1100, 1400]    100\n"
              "                      acc.median           -      -  -               100\n"
              "x     typos    m      acc.accuracy     0.500  0.050  [0.400, 0.600]  100\n"
              "      (all)           acc.worst        0.400  0.050  [0.300, 0.500]  100\n"
              "                        source=web     0.300  0.050  [0.200, 0.400]   50\n"
              "\nx, acc.median: metrics/median.lua:3: attempt to\\x1b[1m compare\n");
    buf_finish(&buf);
    Arena arena = {0};
    Value value = report_runs_value(&arena, runs, 1);
    json_write(&buf, value_get_c(&value.as.list.items[0], "metrics"), JSON_COMPACT);
    CHECK(has_text(buf.data, "\"n\":100,\"slice\":\"source=web\"}"));
    CHECK(has_text(buf.data, "\"n\":90,\"unscored\":10}"));
    CHECK(has_text(buf.data, "\"why\":\"metrics/median.lua:3"));
    buf_finish(&buf);
    value = report_cross_value(&arena, cross, 2);
    json_write(&buf, &value, JSON_COMPACT);
    CHECK(has_text(buf.data,
                   "\"variant\":\"\",\"model\":\"m\",\"average\":\"\",\"over\":\"variants\""));
    buf_finish(&buf);
    arena_finish(&arena);
}

static void test_runs__fits_a_narrow_terminal(void)
{
    MetricRow row = metric("exact.accuracy", 0.42, 0.0496, 0.3275, 0.5181, 100);
    RunInfo run = {.eval = STR("a-rather-long-eval-name"),
                   .model = STR("local/a-rather-long-model-name-q4_1.gguf"),
                   .n_planned = 100,
                   .n_done = 100,
                   .metrics = &row,
                   .n_metrics = 1};
    ReportOptions narrow = {.width = 80};
    Buf buf = {0};
    report_runs(&buf, &run, 1, NULL, 0, &narrow);
    Str line;
    Str rest = buf_view(&buf);
    while (str_cut(rest, STR("\n"), &line, &rest)) {
        CHECK(utf8_columns(line) <= 80);
    }
    CHECK(has_text(buf.data, "[0.328, 0.518]") && has_text(buf.data, ".."));
    buf_finish(&buf);
}

/** However narrow: of two metrics, neither is cut to what the other one is cut to. */
static void test_runs__names_that_differ_look_different(void)
{
    MetricRow rows[2] = {metric("exact.pass_at_2", 0.42, 0.0496, 0.3275, 0.5181, 100),
                         metric("exact.pass_all_2", 0.2, 0.0496, 0.1275, 0.3181, 100)};
    RunInfo run = {.eval = STR("a-rather-long-eval-name"),
                   .model = STR("local/a-rather-long-model-name-q4_1.gguf"),
                   .n_planned = 100,
                   .n_done = 100,
                   .metrics = rows,
                   .n_metrics = 2};
    ReportOptions narrow = {.width = 60};
    Buf buf = {0};
    report_runs(&buf, &run, 1, NULL, 0, &narrow);
    CHECK(has_text(buf.data, "exact.pass_at_2 ") && has_text(buf.data, "exact.pass_al.. "));
    CHECK(has_text(buf.data, "a-rath.. ")); // one of a kind may be cut to the least
    buf_finish(&buf);
}

static void test_runs__few_parts_and_their_mean(void)
{
    MetricRow a = metric("exact.accuracy", 0.5, 0.1, 0.3, 0.7, 20);
    MetricRow b = metric("exact.accuracy", 0.7, 0.1, 0.5, 0.9, 30);
    RunInfo runs[2] = {
        {.eval = STR("x"),
         .part = STR("a"),
         .model = STR("m"),
         .n_planned = 20,
         .n_done = 20,
         .metrics = &a,
         .n_metrics = 1},
        {.eval = STR("x"),
         .part = STR("b"),
         .model = STR("m"),
         .n_planned = 30,
         .n_done = 30,
         .metrics = &b,
         .n_metrics = 1},
    };
    CrossMetric cross = {.eval = STR("x"),
                         .model = STR("m"),
                         .average = STR("parts"),
                         .n_runs = 2,
                         .metric = metric("exact.accuracy", 0.6, 0.07, 0.46, 0.74, 50)};
    Buf buf = {0};
    report_runs(&buf, runs, 2, &cross, 1, &PLAIN);
    check_buf(__LINE__, &buf,
              "eval  part         model  metric          value      \xc2\xb1  95 % interval    n\n"
              "x     a            m      exact.accuracy  0.500  0.100  [0.300, 0.700]  20\n"
              "x     b            m      exact.accuracy  0.700  0.100  [0.500, 0.900]  30\n"
              "      (mean of 2)         exact.accuracy  0.600  0.070  [0.460, 0.740]  50\n");
    buf_finish(&buf);
}

static void test_runs__many_parts_are_compact(void)
{
    Arena arena = {0};
    RunInfo runs[57];
    for (int i = 0; i < 57; i++) {
        MetricRow *row = ARENA_NEW(&arena, MetricRow);
        *row = metric("acc.accuracy", i / 57.0, 0.1, 0, 1, 100);
        runs[i] = (RunInfo){.eval = STR("mmlu"),
                            .part = str_printf(&arena, "subject_%d", i),
                            .model = STR("m"),
                            .n_planned = 100,
                            .n_done = 99,
                            .n_errors = 1,
                            .metrics = row,
                            .n_metrics = 1};
    }
    CrossMetric cross = {.eval = STR("mmlu"),
                         .model = STR("m"),
                         .n_runs = 57,
                         .metric = metric("acc.accuracy", 0.491, 0.004, 0.483, 0.499, 5643)};
    ReportOptions options = {.width = 100};
    Buf buf = {0};
    report_runs(&buf, runs, 57, &cross, 1, &options);
    size_t n_lines = 0;
    Str line;
    Str rest = buf_view(&buf);
    while (str_cut(rest, STR("\n"), &line, &rest)) {
        CHECK(utf8_columns(line) <= 100);
        n_lines++;
    }
    CHECK_INT(n_lines, 2 + 2 + 12); // table, blank and title, 57 in fives
    CHECK(has_text(buf.data, "mmlu  (all 57)  m      acc.accuracy  0.491"));
    CHECK(has_text(buf.data, "57 errors"));
    CHECK(has_text(buf.data, "subject_0  0.000   subject_1  0.018"));
    buf_finish(&buf);
    arena_finish(&arena);
}

static AttemptInfo attempt_info(Arena *arena)
{
    Score *scores = ARENA_ARRAY(arena, Score, 2);
    scores[0] = (Score){.grader = STR("exact"),
                        .value = 0,
                        .weight = 1,
                        .answer = STR("4\x1b[1m"),
                        .has_answer = true,
                        .why = STR("wanted \"5\"")};
    scores[1] = (Score){
        .grader = STR("judge"), .state = SCORE_UNSCORED, .weight = 1, .reason = STR("no verdict")};
    return (AttemptInfo){
        .eval = STR("math"),
        .part = STR("easy"),
        .model = STR("local/small"),
        .sample_id = STR("17"),
        .epoch = 1,
        .state = STR("done"),
        .prompt = STR("[{\"role\":\"system\",\"content\":\"Be brief.\"},"
                      "{\"role\":\"user\",\"content\":\"2+3?\\n\"}]"),
        .input = STR("2+3?"),
        .target = STR("[\"5\"]"),
        .reply_text = STR("It is\n4\x1b[1m."),
        .stop = STR("stop"),
        .usage = {.input = 12, .output = 4},
        .seconds = 0.25,
        .cost_usd = (double)NAN,
        .scores = scores,
        .n_scores = 2,
    };
}

static void test_attempt__shows_what_happened(void)
{
    Arena arena = {0};
    AttemptInfo attempt = attempt_info(&arena);
    Buf buf = {0};
    report_attempt(&buf, &attempt, &PLAIN);
    check_buf(__LINE__, &buf,
              "math/easy  sample 17  epoch 1  on local/small\n"
              "prompt\n"
              "  <system>\n"
              "  Be brief.\n"
              "  <user>\n"
              "  2+3?\n"
              "\n"
              "reply (stop, 12 tokens in, 4 out, 0.25 s)\n"
              "  It is\n"
              "  4\\x1b[1m.\n"
              "target\n"
              "  [\"5\"]\n"
              "scores\n"
              "  exact 0  wanted \"5\"  answer: \"4\\x1b[1m\"\n"
              "  judge unscored  no verdict\n");
    buf_finish(&buf);
    arena_finish(&arena);
}

static void test_attempt__shows_errors_choices_and_calls(void)
{
    Arena arena = {0};
    AttemptInfo attempt = attempt_info(&arena);
    attempt.state = STR("error");
    attempt.error = STR("no answer\nat all");
    attempt.error_code = STR("net");
    attempt.reply_text = STR_EMPTY;
    attempt.n_scores = 0;
    attempt.prompt = STR("[{not json");
    Err err = ERR_INIT;
    JsonOptions options = {0};
    CHECK_OK(json_parse(&arena,
                        STR("[{\"text\":\"yes\",\"logprob\":-0.5,\"tokens\":1},"
                            "{\"text\":\"no\",\"logprob\":-1.25,\"tokens\":2}]"),
                        &options, &attempt.choices, NULL, &err),
             &err);
    CHECK_OK(
        json_parse(
            &arena,
            STR("[{\"path\":\"0\",\"request\":{\"prompt\":\"p\"},\"reply\":{\"text\":\"one\"}},"
                "{\"path\":\"g.0\",\"request\":{\"prompt\":\"judge "
                "it\"},\"reply\":{\"text\":\"Y\"}}]"),
            &options, &attempt.calls, NULL, &err),
        &err);
    Buf buf = {0};
    report_attempt(&buf, &attempt, &PLAIN);
    check_buf(__LINE__, &buf,
              "math/easy  sample 17  epoch 1  on local/small\n"
              "prompt\n"
              "  [{not json\n"
              "call 0\n"
              "  <reply>\n"
              "  one\n"
              "grader's call g.0\n"
              "  judge it\n"
              "  <reply>\n"
              "  Y\n"
              "error\n"
              "  no answer\\nat all [net]\n"
              "choices (log-probability, nat)\n"
              "  *   -0.5000  yes  (1 tokens)\n"
              "      -1.2500  no  (2 tokens)\n"
              "target\n"
              "  [\"5\"]\n");
    buf_finish(&buf);
    arena_finish(&arena);
}

static void test_values__have_the_names_of_the_interface(void)
{
    Arena arena = {0};
    MetricRow row = metric("exact.accuracy", 0.5, (double)NAN, 0.25, 0.75, 4);
    RunInfo run = {.eval = STR("x"),
                   .model = STR("m"),
                   .n_planned = 5,
                   .n_done = 4,
                   .n_errors = 1,
                   .cost_usd = (double)NAN,
                   .metrics = &row,
                   .n_metrics = 1};
    Value value = report_runs_value(&arena, &run, 1);
    const Value *first = &value.as.list.items[0];
    CHECK_INT(value_get_int(first, "done", -1), 4);
    CHECK_INT(value_get_int(first, "errors", -1), 1);
    CHECK_INT(value_get_int(first, "unscored", -1), 0);
    CHECK(value_get_c(first, "cost_usd")->kind == VALUE_NULL);
    const Value *m = &value_get_c(first, "metrics")->as.list.items[0];
    Buf buf = {0};
    json_write(&buf, m, JSON_COMPACT);
    check_buf(__LINE__, &buf,
              "{\"name\":\"exact.accuracy\",\"value\":0.5,\"stderr\":null,"
              "\"interval\":[0.25,0.75],\"method\":\"wilson\",\"n\":4}");
    buf_clear(&buf);
    AttemptInfo attempt = attempt_info(&arena);
    value = report_attempt_value(&arena, &attempt);
    CHECK_STR(value_get_str(&value, "id", STR_EMPTY), STR("17"));
    CHECK(value_get_c(&value, "target")->kind == VALUE_LIST);
    CHECK(value_get_c(&value, "prompt")->kind == VALUE_LIST);
    json_write(&buf, value_get_c(&value, "scores"), JSON_COMPACT);
    check_buf(__LINE__, &buf,
              "[{\"grader\":\"exact\",\"value\":0.0,\"weight\":1.0,\"answer\":\"4\\u001b[1m\","
              "\"why\":\"wanted \\\"5\\\"\"},{\"grader\":\"judge\",\"value\":null,\"unscored\":"
              "\"no verdict\",\"weight\":1.0,\"answer\":null,\"why\":\"\"}]");
    buf_finish(&buf);
    arena_finish(&arena);
}

static void test_experiments__one_line_each(void)
{
    Arena arena = {0};
    ValuePair tag = value_pair(STR("branch"), value_str(STR("main")));
    ExperimentInfo all[2] = {
        {.name = STR("calm-otter-42"),
         .short_id = STR("k7x2mq"),
         .state = STR("finished"),
         .started = STR("2026-11-25T17:46:00Z"),
         .n_runs = 2,
         .n_planned = 200,
         .n_done = 200,
         .tags = value_map(&tag, 1)},
        {.name = STR("b"),
         .short_id = STR("pp2345"),
         .state = STR("interrupted"),
         .started = STR("2026-11-25T18:00:00Z"),
         .n_runs = 1,
         .n_planned = 50,
         .n_done = 7,
         .n_errors = 3},
    };
    Buf buf = {0};
    report_experiments(&buf, all, 2, &PLAIN);
    check_buf(
        __LINE__, &buf,
        "name           id      started               state        runs     done  errors  tags\n"
        "calm-otter-42  k7x2mq  2026-11-25T17:46:00Z  finished        2  200/200          "
        "branch=main\n"
        "b              pp2345  2026-11-25T18:00:00Z  interrupted     1     7/50       3\n");
    buf_finish(&buf);
    arena_finish(&arena);
}

static void test_experiments__say_what_is_left_out(void)
{
    const struct {
        int line;
        int64_t from, to, total;
        const char *want;
    } cases[] = {
        {__LINE__, 0, 0, 0, ""},
        {__LINE__, 0, 5, 0, "limit 5"},
        {__LINE__, 1, 5, 0, "limit 5"},
        {__LINE__, 2, 5, 0, "limit 2-5"},
        {__LINE__, 5, 0, 0, "limit 5-"}, // of a foreign store
        {__LINE__, 5, 0, 9, "limit 5-, limit-total 9"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ValuePair limits[] = {value_pair(STR("limit_from"), value_int(cases[i].from)),
                              value_pair(STR("limit_to"), value_int(cases[i].to)),
                              value_pair(STR("limit_total"), value_int(cases[i].total))};
        ExperimentInfo experiment = {.spec = value_map(limits, 3)};
        Str words = results_subset_words(&arena, &experiment);
        if (!str_eq_c(words, cases[i].want)) {
            tap_checks_failed++;
            printf("# line %d: got " STR_FMT "\n", cases[i].line, STR_ARG(words));
        }
    }
    arena_finish(&arena);
}

/** Lines of a list of so many experiments on a terminal of 80 columns, tagged with a text whose
 * number ends at one byte; of the last n_long it is long. */
static Str *list_lines(Arena *arena, size_t n, size_t n_long, size_t differs_at)
{
    ExperimentInfo *all = ARENA_ARRAY(arena, ExperimentInfo, n);
    ValuePair *tags = ARENA_ARRAY(arena, ValuePair, n);
    Str *lines = ARENA_ARRAY(arena, Str, n);
    ReportOptions options = {.width = 80};
    for (size_t i = 0; i < n; i++) {
        bool is_long = i + n_long >= n;
        size_t at = is_long ? differs_at : 2;
        size_t len = is_long ? 3000 : 3;
        char *text = arena_alloc(arena, len, 1);
        memset(text, 'x', len);
        for (size_t k = 0, number = i; k < 3; k++, number /= 10) {
            text[at - k] = (char)('0' + number % 10);
        }
        tags[i] = value_pair(STR("t"), value_str((Str){text, len}));
        all[i] = (ExperimentInfo){.name = STR("same"),
                                  .short_id = STR("k7x2mq"),
                                  .state = STR("finished"),
                                  .started = STR("2026-11-25T17:46:00Z"),
                                  .n_runs = 1,
                                  .n_planned = 5,
                                  .n_done = 5,
                                  .tags = value_map(&tags[i], 1)};
    }
    Buf buf = {0};
    report_experiments(&buf, all, n, &options);
    Str rest = str_copy(arena, buf_view(&buf));
    Str title;
    str_cut(rest, STR("\n"), &title, &rest);
    for (size_t i = 0; i < n; i++) {
        CHECK(str_cut(rest, STR("\n"), &lines[i], &rest));
    }
    CHECK_INT(rest.len, 0);
    buf_finish(&buf);
    return lines;
}

/** Tags are outside input: a list of long ones ends at once, and is told apart where that is of
 * use. */
static void test_experiments__long_tags(void)
{
    Arena arena = {0};
    Str *lines = list_lines(&arena, 100, 2, 2999);
    for (size_t i = 0; i < 100; i++) {
        CHECK(lines[i].len <= 80);
    }
    lines = list_lines(&arena, 1000, 1000, 49); // after "t=", with the dots: 54 columns
    for (size_t i = 0; i < 1000; i++) {
        CHECK(str_ends_with(lines[i], str_printf(&arena, "x%03zu..", i)));
    }
    lines = list_lines(&arena, 1000, 1000, 57); // one column more than a cell is widened to
    for (size_t i = 0; i < 1000; i++) {
        CHECK(str_ends_with(lines[i], STR("..")) && lines[i].len <= 140);
    }
    arena_finish(&arena);
}

int main(void)
{
    tap_run("text: escapes what acts on a terminal", test_text__escapes_what_acts_on_a_terminal);
    tap_run("runs: one line a metric", test_runs__one_line_a_metric);
    tap_run("runs: slices and worst cases", test_runs__slices_and_worst_cases);
    tap_run("runs: fits a narrow terminal", test_runs__fits_a_narrow_terminal);
    tap_run("runs: names that differ look different", test_runs__names_that_differ_look_different);
    tap_run("runs: few parts and their mean", test_runs__few_parts_and_their_mean);
    tap_run("runs: many parts are compact", test_runs__many_parts_are_compact);
    tap_run("attempt: shows what happened", test_attempt__shows_what_happened);
    tap_run("attempt: shows errors, choices and calls",
            test_attempt__shows_errors_choices_and_calls);
    tap_run("values: have the names of the interface",
            test_values__have_the_names_of_the_interface);
    tap_run("experiments: one line each", test_experiments__one_line_each);
    tap_run("experiments: say what is left out", test_experiments__say_what_is_left_out);
    tap_run("experiments: long tags", test_experiments__long_tags);
    return tap_done();
}
