// SPDX-License-Identifier: MIT
// The table of exports, what they share, and the two plain ones: JSON Lines and CSV.
#include "results/export_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define FLUSH_BYTES   ((size_t)256 << 10)
#define ATTEMPT_BYTES ((size_t)1 << 30) // of one attempt as text, at most

const ExportFormat *const export_formats[] = {&export_jsonl, &export_csv, &export_inspect,
                                              &export_replay, NULL};

const ExportFormat *export_format(Str name)
{
    for (size_t i = 0; export_formats[i] != NULL; i++) {
        if (str_eq_c(name, export_formats[i]->name)) {
            return export_formats[i];
        }
    }
    return NULL;
}

// ---- Writing ------------------------------------------------------------------------------------

void export_begin(ExportWriter *writer, const ExportOptions *options, Err *err)
{
    *writer = (ExportWriter){.options = options, .err = err};
    buf_init(&writer->buf, ATTEMPT_BYTES);
}

bool export_flush(ExportWriter *writer, bool all)
{
    if (writer->failed || (!all && writer->buf.len < FLUSH_BYTES && !writer->buf.overflow)) {
        return !writer->failed;
    }
    if (writer->buf.overflow) {
        writer->failed = true;
        return ERR_SET(writer->err, ERR_LIMIT, "an attempt of more than 1 GiB can not be exported");
    }
    writer->failed =
        writer->buf.len > 0 &&
        !writer->options->sink(writer->options->ctx, buf_view(&writer->buf), writer->err);
    buf_clear(&writer->buf);
    return !writer->failed;
}

bool export_end(ExportWriter *writer, bool ok)
{
    ok = ok && export_flush(writer, true);
    buf_finish(&writer->buf);
    return ok;
}

bool export_visit(Results *results, const Side *side, bool with_calls, AttemptVisit *visit,
                  void *ctx, ExportWriter *writer, Err *err)
{
    AttemptFilter filter = {.with_calls = with_calls};
    for (size_t i = 0; i < side->n_runs; i++) {
        if (!results_run_attempts(results, &side->runs[i], &filter, visit, ctx, err)) {
            return false;
        }
        if (writer->failed) {
            return false;
        }
    }
    return true;
}

void export_logs(Arena *arena, const Side *side, Side **out, size_t *out_n)
{
    Side *logs = ARENA_ARRAY(arena, Side, side->n_runs + 1);
    size_t n = 0;
    for (size_t i = 0; i < side->n_runs; i++) {
        const RunInfo *run = &side->runs[i];
        size_t at = 0;
        while (at < n && !(str_eq(logs[at].runs[0].eval, run->eval) &&
                           str_eq(logs[at].runs[0].variant, run->variant) &&
                           str_eq(logs[at].runs[0].model, run->model))) {
            at++;
        }
        if (at == n) {
            logs[n] = *side;
            logs[n].n_runs = 0;
            logs[n++].runs = ARENA_ARRAY(arena, RunInfo, side->n_runs);
        }
        RunInfo *runs = (RunInfo *)(uintptr_t)logs[at].runs; // ours
        runs[logs[at].n_runs++] = *run;
    }
    *out = logs;
    *out_n = n;
}

// ---- JSON Lines ---------------------------------------------------------------------------------

static bool jsonl_attempt(void *ctx, const AttemptInfo *attempt)
{
    ExportWriter *writer = ctx;
    Arena arena = {0};
    Value value = report_attempt_value(&arena, attempt);
    json_write(&writer->buf, &value, JSON_COMPACT);
    buf_char(&writer->buf, '\n');
    arena_finish(&arena);
    return export_flush(writer, false);
}

static bool jsonl_write(Results *results, const Side *side, const ExportOptions *options, Err *err)
{
    ExportWriter writer;
    export_begin(&writer, options, err);
    bool ok =
        export_visit(results, side, options->with_calls, jsonl_attempt, &writer, &writer, err);
    return export_end(&writer, ok);
}

const ExportFormat export_jsonl = {
    .name = "jsonl",
    .help = "one JSON object an attempt, as show --json prints it",
    .ending = "jsonl",
    .write = jsonl_write,
};

// ---- CSV (RFC 4180) -----------------------------------------------------------------------------

/** What a spreadsheet would take for a formula. A number with a sign is one nowhere, and stays. */
static bool looks_like_formula(Str s)
{
    double number;
    return s.len > 0 && memchr("=+-@\t\r\n", s.data[0], 7) != NULL && !str_to_f64(s, &number);
}

/** A cell of text: harmless to a spreadsheet, valid UTF-8 without NUL, quoted where it has to be.
 */
static void put_text(Buf *buf, Str text)
{
    Arena arena = {0};
    Str clean = utf8_clean(&arena, text);
    bool quoted = false;
    for (size_t i = 0; i < clean.len && !quoted; i++) {
        quoted = memchr("\",\r\n", clean.data[i], 4) != NULL;
    }
    quoted =
        quoted || (clean.len > 0 && (clean.data[0] == ' ' || clean.data[clean.len - 1] == ' '));
    if (quoted) {
        buf_char(buf, '"');
    }
    if (looks_like_formula(clean)) {
        buf_char(buf, '\'');
    }
    for (size_t i = 0; i < clean.len; i++) {
        if (clean.data[i] == '"') {
            buf_c(buf, "\"\"");
        } else if (clean.data[i] == '\0') {
            buf_c(buf, "\xef\xbf\xbd");
        } else {
            buf_char(buf, clean.data[i]);
        }
    }
    if (quoted) {
        buf_char(buf, '"');
    }
    arena_finish(&arena);
}

static void put_cell(Buf *buf, Str text)
{
    buf_char(buf, ',');
    put_text(buf, text);
}

/** Empty where it is not known. */
static void put_real(Buf *buf, double d)
{
    char text[40];
    buf_char(buf, ',');
    if (isfinite(d)) {
        text_format_real(d, text);
        buf_c(buf, text);
    }
}

static const char csv_header[] =
    "eval,part,variant,model,sample_id,epoch,state,grader,value,unscored,weight,answer,why,stop,"
    "error_type,error,target,reply,input_tokens,output_tokens,seconds,cost_usd\r\n";

/** One row; an attempt without scores has one too, so that errors are not lost. */
static void csv_row(Buf *buf, const AttemptInfo *attempt, const Score *score)
{
    put_text(buf, attempt->eval);
    put_cell(buf, attempt->part);
    put_cell(buf, attempt->variant);
    put_cell(buf, attempt->model);
    put_cell(buf, attempt->sample_id);
    buf_printf(buf, ",%lld", (long long)attempt->epoch);
    put_cell(buf, attempt->state);
    if (score != NULL) {
        bool has_value = score->state == SCORE_VALUE;
        put_cell(buf, score->grader);
        put_real(buf, has_value ? score->value : (double)NAN);
        put_cell(buf, has_value ? STR_EMPTY : score->reason);
        put_real(buf, score->weight);
        put_cell(buf, score->has_answer ? score->answer : STR_EMPTY);
        put_cell(buf, score->why);
    } else {
        buf_c(buf, ",,,,,,");
    }
    put_cell(buf, attempt->stop);
    put_cell(buf, attempt->error_code);
    put_cell(buf, attempt->error);
    put_cell(buf, attempt->target);
    put_cell(buf, attempt->reply_text);
    buf_printf(buf, ",%lld,%lld", (long long)attempt->usage.input,
               (long long)attempt->usage.output);
    put_real(buf, attempt->seconds);
    put_real(buf, attempt->cost_usd);
    buf_c(buf, "\r\n");
}

static bool csv_attempt(void *ctx, const AttemptInfo *attempt)
{
    ExportWriter *writer = ctx;
    for (size_t i = 0; i < attempt->n_scores; i++) {
        csv_row(&writer->buf, attempt, &attempt->scores[i]);
    }
    if (attempt->n_scores == 0) {
        csv_row(&writer->buf, attempt, NULL);
    }
    return export_flush(writer, false);
}

static bool csv_write(Results *results, const Side *side, const ExportOptions *options, Err *err)
{
    ExportWriter writer;
    export_begin(&writer, options, err);
    buf_c(&writer.buf, csv_header);
    return export_end(&writer,
                      export_visit(results, side, false, csv_attempt, &writer, &writer, err));
}

const ExportFormat export_csv = {
    .name = "csv",
    .help = "one row a score (RFC 4180); cells that a spreadsheet would run are prefixed with '",
    .ending = "csv",
    .write = csv_write,
};
