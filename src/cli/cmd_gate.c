// SPDX-License-Identifier: MIT
// muster gate: an experiment against a policy, for CI. The verdict is the exit code; the table,
// JUnit, Markdown, JSON and GitHub's annotations say why.
#include "cli/policy.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text/text.h"

#define SUMMARY_MAX ((int64_t)1 << 20) // of a step's summary; GitHub drops what is larger

typedef struct GateOptions {
    Str baseline;
    Str policy;
    StrList min;
    StrList max;
    StrList max_regression;
    StrList must_pass;
    Str confidence; // numbers are texts, so that 0 is not the same as nothing
    Str mode;
    Str detect;
    Str budget_error_rate;
    Str budget_cost;
    Str budget_p95_latency;
    Str budget_tokens;
    Str junit;
    Str markdown;
    bool github;
    int64_t exit_code_on_fail;
} GateOptions;

#define O GateOptions
static const Option options[] = {
    {"baseline", 'b', OPT_STR_AT(O, baseline), .arg = "B",
     .help = "what it is compared with: @NAME or an experiment, as CANDIDATE is named"},
    {"policy", 'p', OPT_STR_AT(O, policy), .arg = "FILE|NAME",
     .help = "a gate's file, a gate of the registry, or an eval's file with a gate of its own"},
    {"min", 0, OPT_LIST_AT(O, min), .arg = "EVAL.METRIC=V",
     .help = "the least value of a metric; EVAL=V: of the headline; EVAL.METRIC[KEY=VALUE]=V: of a "
             "slice; may be repeated, as the next three"},
    {"max", 0, OPT_LIST_AT(O, max), .arg = "EVAL.METRIC=V", .help = "the greatest value"},
    {"max-regression", 0, OPT_LIST_AT(O, max_regression), .arg = "[EVAL=]M",
     .help = "the largest loss against the baseline, of every eval's headline or of one eval"},
    {"must-pass", 0, OPT_LIST_AT(O, must_pass), .arg = "tag=T",
     .help = "samples with this tag in their metadata have to be right, one by one"},
    {"confidence", 0, OPT_STR_AT(O, confidence), .arg = "C",
     .help = "one-sided confidence of each check (default 0.95)"},
    {"mode", 0, OPT_STR_AT(O, mode), .arg = "MODE",
     .help = "what is not proven passes if a loss past --detect would have shown (regression, the "
             "default), or fails",
     .one_of = "regression|noninferiority"},
    {"detect", 0, OPT_STR_AT(O, detect), .arg = "D",
     .help = "the largest loss that too small a sample may hide (default a tenth of the range)"},
    {"budget-error-rate", 0, OPT_STR_AT(O, budget_error_rate), .arg = "R",
     .help = "the largest share of attempts that failed"},
    {"budget-cost", 0, OPT_STR_AT(O, budget_cost), .arg = "USD",
     .help = "the most that the candidate may have cost"},
    {"budget-p95-latency", 0, OPT_STR_AT(O, budget_p95_latency), .arg = "S",
     .help = "the most seconds that 95 of 100 attempts took"},
    {"budget-tokens", 0, OPT_STR_AT(O, budget_tokens), .arg = "N",
     .help = "the most tokens, read and written"},
    {"junit", 0, OPT_STR_AT(O, junit), .arg = "FILE", .help = "write the verdict as JUnit XML"},
    {"markdown", 0, OPT_STR_AT(O, markdown), .arg = "FILE",
     .help = "write it as Markdown, for a pull request's comment; - is stdout"},
    {"github", 0, OPT_FLAG_AT(O, github),
     .help = "annotations, and the summary of the step; on where $GITHUB_ACTIONS is true"},
    {"exit-code-on-fail", 0, OPT_INT_AT(O, exit_code_on_fail), .arg = "N",
     .help = "exit code of a gate that fails (default 1)", .min = 1, .max = 255},
};
#undef O

// ---- The policy ---------------------------------------------------------------------------------

static bool number_flag(const char *flag, Str text, double *out, Err *err)
{
    *out = NAN;
    return text.len == 0 || (str_to_f64(text, out) && !isnan(*out)) ||
           ERR_SET(err, ERR_USAGE, "%s: '" STR_FMT "' is not a number", flag, STR_ARG(text));
}

static bool flags_of(const GateOptions *opts, GateFlags *out, Err *err)
{
    *out = (GateFlags){
        .min = opts->min.items,
        .n_min = opts->min.n,
        .max = opts->max.items,
        .n_max = opts->max.n,
        .max_regression = opts->max_regression.items,
        .n_max_regression = opts->max_regression.n,
        .must_pass = opts->must_pass.items,
        .n_must_pass = opts->must_pass.n,
        .mode = opts->mode,
    };
    double confidence = NAN;
    if (!number_flag("--confidence", opts->confidence, &confidence, err) ||
        !number_flag("--detect", opts->detect, &out->detect, err) ||
        !number_flag("--budget-error-rate", opts->budget_error_rate, &out->budget_error_rate,
                     err) ||
        !number_flag("--budget-cost", opts->budget_cost, &out->budget_cost_usd, err) ||
        !number_flag("--budget-p95-latency", opts->budget_p95_latency, &out->budget_p95_latency_s,
                     err) ||
        !number_flag("--budget-tokens", opts->budget_tokens, &out->budget_tokens, err)) {
        return false;
    }
    if (confidence == 0) {
        return ERR_SET(err, ERR_USAGE, "--confidence: 0 is not above 0.5 and below 1");
    }
    out->confidence = isnan(confidence) ? 0 : confidence;
    return true;
}

/** Whether flags demand anything, and do not only say how to judge. */
static bool flags_demand(const GateFlags *flags)
{
    return flags->n_min + flags->n_max + flags->n_max_regression + flags->n_must_pass > 0 ||
           !isnan(flags->budget_error_rate) || !isnan(flags->budget_cost_usd) ||
           !isnan(flags->budget_p95_latency_s) || !isnan(flags->budget_tokens);
}

/** A policy by name, with what flags add; else that of the flags; else those of the evals. */
static bool policy_find(Cli *cli, Results *results, const GateOptions *opts,
                        const Selector *candidate, GatePolicy *out, Err *err)
{
    GateFlags flags;
    GatePolicy policy = {.name = STR_EMPTY, .file = STR_EMPTY};
    if (!flags_of(opts, &flags, err)) {
        return false;
    }
    bool named = opts->policy.len > 0 || !flags_demand(&flags);
    if ((named && !cli_policy(cli, results, opts->policy, candidate, &policy, err)) ||
        !gate_policy_add_flags(&cli->arena, &policy, &flags, err)) {
        return false;
    }
    *out = policy;
    return true;
}

// ---- Reports ------------------------------------------------------------------------------------

static bool write_report(Str path, const Buf *buf, Err *err)
{
    return file_write_atomic(path, buf_view(buf), err) || ERR_WRAP(err, "can not write the report");
}

/** Append to $GITHUB_STEP_SUMMARY what still fits. */
static bool write_summary(const Cli *cli, const GateReport *report, Err *err)
{
    Str path = env_get("GITHUB_STEP_SUMMARY", STR_EMPTY);
    if (path.len == 0) {
        return true;
    }
    Buf buf = {0};
    report_gate_markdown(&buf, report);
    Arena scratch = {0};
    FILE *file = fopen(str_to_c(&scratch, path), "a");
    struct stat is;
    bool ok = file != NULL && fstat(fileno(file), &is) == 0;
    if (ok && (int64_t)is.st_size + (int64_t)buf.len > SUMMARY_MAX) {
        if (!cli->global.quiet) {
            fprintf(stderr, "the summary of this step is full: the gate's is left out\n");
        }
    } else if (ok) {
        ok = fwrite(buf.data, 1, buf.len, file) == buf.len;
    }
    ok = (file == NULL || fclose(file) == 0) && ok;
    int code = errno;
    arena_finish(&scratch);
    buf_finish(&buf);
    errno = code;
    return ok || ERR_SET_ERRNO(err, "can not write the summary of this step");
}

static bool write_files(const Cli *cli, const GateOptions *opts, const GateReport *report,
                        bool github, Err *err)
{
    bool ok = true;
    Buf buf = {0};
    if (opts->junit.len > 0) {
        report_gate_junit(&buf, report);
        ok = write_report(opts->junit, &buf, err);
        buf_clear(&buf);
    }
    if (ok && opts->markdown.len > 0 && !str_eq(opts->markdown, STR("-"))) {
        report_gate_markdown(&buf, report);
        ok = write_report(opts->markdown, &buf, err);
    }
    buf_finish(&buf);
    return ok && (!github || write_summary(cli, report, err));
}

static void print_report(Cli *cli, const GateOptions *opts, const GateReport *report, bool github)
{
    Buf buf = {0};
    bool markdown = str_eq(opts->markdown, STR("-"));
    if (cli->global.json) {
        Value value = report_gate_value(&cli->arena, report);
        cli_print_json(&value);
    } else if (markdown) {
        report_gate_markdown(&buf, report);
    } else {
        ReportOptions look = {.color = cli->color_out, .width = (int)cli->width};
        report_gate(&buf, report, &look);
    }
    cli_print(&buf);
    buf_clear(&buf);
    if (github) { // where stdout is data, a log's other half takes commands as well
        report_gate_github(&buf, report);
        fflush(stdout);
        fwrite(buf.data, 1, buf.len, cli->global.json || markdown ? stderr : stdout);
    }
    buf_finish(&buf);
}

static bool gate_judge(Cli *cli, Results *results, const GateOptions *opts, Str candidate_text,
                       GateReport *out, Err *err)
{
    Selector candidate;
    Selector baseline;
    GatePolicy policy;
    bool compares = opts->baseline.len > 0;
    return selector_parse(&cli->arena, candidate_text, &candidate, err) &&
           (!compares || selector_parse(&cli->arena, opts->baseline, &baseline, err)) &&
           policy_find(cli, results, opts, &candidate, &policy, err) &&
           gate_compute(results, &cli->arena, &policy, &candidate, compares ? &baseline : NULL,
                        false, out, err);
}

static int cmd_gate_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)n_args;
    const GateOptions *opts = options_struct;
    Err err = ERR_INIT;
    Results *results = NULL;
    GateReport report;
    bool ok =
        cli_results(cli, &results, &err) && gate_judge(cli, results, opts, args[0], &report, &err);
    results_close(results);
    if (!ok) {
        return cli_fail(cli, &err);
    }
    bool github = opts->github || str_eq(env_get("GITHUB_ACTIONS", STR_EMPTY), STR("true"));
    print_report(cli, opts, &report, github);
    if (!write_files(cli, opts, &report, github, &err)) {
        return cli_fail(cli, &err);
    }
    int failed = opts->exit_code_on_fail > 0 ? (int)opts->exit_code_on_fail : EXIT_GATE;
    return report.ok ? EXIT_OK : failed;
}

const Command cmd_gate = {
    .name = "gate",
    .args = "CANDIDATE [--baseline B] [--policy FILE|NAME]",
    .summary = "judge an experiment by a policy: exit 0 pass, 1 fail",
    .details =
        "CANDIDATE is a name, a short id, latest, latest~1 or @baseline, then perhaps\n"
        ":eval=..,part=..,variant=..,model=.. to select runs in it.\n"
        "Without --policy and without flags that demand something, the gates count that the evals\n"
        "had themselves when they ran. docs/gates.md tells what verdicts mean and how to choose.\n"
        "Exit codes: 0 pass, 1 fail (see --exit-code-on-fail), 2 no policy or wrong usage, 5 the "
        "store.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(GateOptions),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_gate_run,
};
