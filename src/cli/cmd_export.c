// SPDX-License-Identifier: MIT
// muster export: an experiment as a file for other programs, or to stdout.
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/export_file.h"
#include "cli/html_file.h"

typedef struct ExportCommandOptions {
    Str format;
    Str output;
    bool calls;
    Str samples;
} ExportCommandOptions;

#define O ExportCommandOptions
static const Option options[] = {
    {"format", 'f', OPT_STR_AT(O, format), .arg = "FORMAT",
     .help = "jsonl: one object an attempt; csv: one row a score; inspect: a log of Inspect; "
             "replay: the replies, for -m replay/FILE; html: a report to read (default jsonl)",
     .one_of = "jsonl|csv|inspect|replay|html"},
    {"output", 'o', OPT_STR_AT(O, output), .arg = "FILE",
     .help = "where to (default: stdout); a folder, or a name that ends in /: one file a log"},
    {"calls", 0, OPT_FLAG_AT(O, calls),
     .help = "jsonl: with the requests and replies of all calls"},
    {"samples", 0, OPT_STR_AT(O, samples), .arg = "N|all", .flag_only = true,
     .help = "html: attempts with transcripts, failing ones first (default 2000)"},
};
#undef O

static bool stdout_sink(void *ctx, Str bytes, Err *err)
{
    (void)ctx;
    return fwrite(bytes.data, 1, bytes.len, stdout) == bytes.len ||
           ERR_SET_ERRNO(err, "stdout"); // a closed pipe too: the rest would be for nobody
}

/** "mmlu-terse-local_x.json": a log's own file in a folder. */
static Str log_file(Arena *arena, Str folder, const Side *log, const ExportFormat *format)
{
    const RunInfo *run = &log->runs[0];
    Str name =
        str_printf(arena, STR_FMT "-" STR_FMT "%s" STR_FMT "-" STR_FMT,
                   STR_ARG(log->experiment.name), STR_ARG(run->eval),
                   run->variant.len > 0 ? "-" : "", STR_ARG(run->variant), STR_ARG(run->model));
    char *text = str_to_c(arena, name);
    for (char *c = text; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || strchr("-_.", *c) != NULL;
        *c = plain ? *c : '_';
    }
    return path_join(arena, folder, str_printf(arena, "%s.%s", text, format->ending));
}

/** Which logs there are, when one file can not hold them. */
static bool refuse_several(const Side *side, const Side *logs, size_t n, Err *err)
{
    Buf words = {0};
    for (size_t i = 0; i < n && i < 6; i++) {
        const RunInfo *run = &logs[i].runs[0];
        buf_printf(&words, "%s" STR_FMT ":eval=" STR_FMT, i > 0 ? ", " : "",
                   STR_ARG(side->experiment.name), STR_ARG(run->eval));
        if (run->variant.len > 0) {
            buf_printf(&words, ",variant=" STR_FMT, STR_ARG(run->variant));
        }
        buf_printf(&words, ",model=" STR_FMT, STR_ARG(run->model));
    }
    ERR_SET(err, ERR_USAGE,
            "experiment '" STR_FMT "' holds %zu logs: give -o FOLDER/, or choose one (" STR_FMT
            "%s)",
            STR_ARG(side->experiment.name), n, STR_ARG(buf_view(&words)), n > 6 ? ", ..." : "");
    buf_finish(&words);
    return false;
}

static bool export_folder(Cli *cli, Results *results, const Side *logs, size_t n,
                          const ExportFormat *format, const ExportOptions *how, Str folder,
                          Err *err)
{
    if (!file_make_dirs(folder, err)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        Str path = log_file(&cli->arena, folder, &logs[i], format);
        if (!cli_export_file(results, &logs[i], format, how, path, err)) {
            return false;
        }
        if (!cli->global.quiet) {
            fprintf(stderr, STR_FMT "\n", STR_ARG(path));
        }
    }
    return true;
}

static bool export_side(Cli *cli, Results *results, const Side *side, const ExportFormat *format,
                        const ExportCommandOptions *opts, Err *err)
{
    ExportOptions how = {.with_calls = opts->calls,
                         .program = str_concat(&cli->arena, STR("muster "), cli_version()),
                         .sink = stdout_sink};
    Side *logs = NULL;
    size_t n = 0;
    export_logs(&cli->arena, side, &logs, &n);
    bool folder = str_ends_with(opts->output, STR("/")) ||
                  (opts->output.len > 0 && file_is_dir(opts->output));
    if (folder) {
        return export_folder(cli, results, format->one_log ? logs : side, format->one_log ? n : 1,
                             format, &how, opts->output, err);
    }
    if (format->one_log && n > 1) {
        return refuse_several(side, logs, n, err);
    }
    return opts->output.len > 0 ? cli_export_file(results, side, format, &how, opts->output, err)
                                : format->write(results, side, &how, err);
}

/** The report is no stream: it is made whole, then written. */
static bool export_html(Cli *cli, Results *results, const Side *side,
                        const ExportCommandOptions *opts, Err *err)
{
    HtmlOptions how;
    Str path = opts->output;
    if (str_ends_with(path, STR("/")) || (path.len > 0 && file_is_dir(path))) {
        Str name = str_concat(&cli->arena, side->experiment.name, STR(".html"));
        if (!file_make_dirs(path, err)) {
            return false;
        }
        path = path_join(&cli->arena, path, name);
    }
    if (!cli_html_options(cli, opts->samples, &how, err)) {
        return false;
    }
    how.only = side;
    Buf page = cli_html_buf();
    bool ok = report_html(&page, results, side->experiment.id, &how, err) &&
              cli_html_write(cli, path, &page, err);
    buf_finish(&page);
    return ok;
}

static int cmd_export_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    const ExportCommandOptions *opts = options_struct;
    Err err = ERR_INIT;
    Results *results = NULL;
    Selector selector;
    Side side;
    (void)n_args;
    bool html = str_eq(opts->format, STR("html"));
    const ExportFormat *format = export_format(opts->format.len > 0 ? opts->format : STR("jsonl"));
    bool ok = selector_parse(&cli->arena, args[0], &selector, &err) &&
              cli_results(cli, &results, &err) &&
              side_open(results, &cli->arena, &selector, &side, &err) &&
              (html ? export_html(cli, results, &side, opts, &err)
                    : export_side(cli, results, &side, format, opts, &err));
    results_close(results);
    if (!ok && err.code == ERR_IO && err.sys_errno == EPIPE) {
        return EXIT_OK; // a reader that has seen enough
    }
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

const Command cmd_export = {
    .name = "export",
    .args = "EXPERIMENT[:eval=..,part=..,variant=..,model=..]",
    .summary = "write an experiment for other programs",
    .details =
        "EXPERIMENT is a name, a short id, latest, latest~1 or @BASELINE; what follows the "
        "colon\nselects runs of it. In CSV, a ' stands before a text that a spreadsheet would take "
        "for a formula.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(ExportCommandOptions),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_export_run,
};
