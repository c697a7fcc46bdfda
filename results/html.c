// SPDX-License-Identifier: MIT
// The report of one experiment. Two passes over its attempts: the first looks for latencies and
// for what failed, the second reads the transcripts of those that the page has room for.
#include "results/html_internal.h"

#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DATA_MAX ((size_t)32 << 20) // bytes of transcripts, unless all are asked for

// ---- First pass ---------------------------------------------------------------------------------

/** An attempt as the first pass saw it. */
typedef struct Seen {
    int64_t id;
    bool failed;
    bool taken; // its transcript goes into the page
} Seen;

typedef struct SeenRun {
    int64_t run_id;
    Seen *items; // in canonical order
    double *seconds;
    size_t n;
    size_t cap;
    size_t n_seconds;
    size_t n_failed;
} SeenRun;

typedef struct Survey {
    SeenRun *runs; // one each in which something ended
    size_t n_runs;
    size_t cap;
    size_t n;
    size_t n_failed;
    const Side *only; // or NULL
} Survey;

static bool side_has(const Side *side, int64_t run_id)
{
    for (size_t i = 0; i < side->n_runs; i++) {
        if (side->runs[i].id == run_id) {
            return true;
        }
    }
    return false;
}

static bool survey_wants(void *ctx, const AttemptInfo *attempt)
{
    const Survey *survey = ctx;
    return side_has(survey->only, attempt->run_id);
}

static SeenRun *survey_run(Survey *survey, int64_t run_id)
{
    if (survey->n_runs > 0 && survey->runs[survey->n_runs - 1].run_id == run_id) {
        return &survey->runs[survey->n_runs - 1]; // attempts come run by run
    }
    if (survey->n_runs == survey->cap) {
        survey->cap = survey->cap == 0 ? 16 : survey->cap * 2;
        survey->runs = mem_realloc(survey->runs, survey->cap, sizeof(*survey->runs));
    }
    SeenRun *run = &survey->runs[survey->n_runs++];
    *run = (SeenRun){.run_id = run_id};
    return run;
}

static bool survey_visit(void *ctx, const AttemptInfo *attempt)
{
    Survey *survey = ctx;
    SeenRun *run = survey_run(survey, attempt->run_id);
    if (run->n == run->cap) {
        run->cap = run->cap == 0 ? 256 : run->cap * 2;
        run->items = mem_realloc(run->items, run->cap, sizeof(*run->items));
        run->seconds = mem_realloc(run->seconds, run->cap, sizeof(*run->seconds));
    }
    bool failed = attempt_is_failed(attempt);
    run->items[run->n++] = (Seen){.id = attempt->id, .failed = failed};
    if (isfinite(attempt->seconds) && str_eq(attempt->state, STR("done"))) {
        run->seconds[run->n_seconds++] = attempt->seconds;
    }
    run->n_failed += failed;
    survey->n++;
    survey->n_failed += failed;
    return true;
}

static void survey_finish(Survey *survey)
{
    for (size_t i = 0; i < survey->n_runs; i++) {
        mem_free(survey->runs[i].items);
        mem_free(survey->runs[i].seconds);
    }
    mem_free(survey->runs);
}

/** Take up to room attempts that failed, or that did not, in equal shares from all runs. */
static size_t survey_take(Survey *survey, bool failed, size_t room)
{
    size_t taken = 0;
    size_t per_run = survey->n_runs > 0 ? room / survey->n_runs : 0;
    // The first round gives each run its share, the second what others left over.
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < survey->n_runs; i++) {
            SeenRun *run = &survey->runs[i];
            size_t left = round == 0 ? per_run : room - taken;
            for (size_t j = 0; j < run->n && left > 0; j++) {
                if (run->items[j].failed == failed && !run->items[j].taken) {
                    run->items[j].taken = true;
                    taken++;
                    left--;
                }
            }
        }
    }
    return taken;
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

// ---- Second pass --------------------------------------------------------------------------------

typedef struct Reading {
    Transcripts transcripts;
    int64_t *ids; // of the attempts to read, ascending
    size_t n_ids;
    bool all;
} Reading;

static bool reading_wants(void *ctx, const AttemptInfo *attempt)
{
    const Reading *reading = ctx;
    return bsearch(&attempt->id, reading->ids, reading->n_ids, sizeof(*reading->ids),
                   compare_ids) != NULL;
}

static bool reading_visit(void *ctx, const AttemptInfo *attempt)
{
    Reading *reading = ctx;
    transcripts_put(&reading->transcripts, attempt, 0);
    return !reading->transcripts.attempts.overflow &&
           (reading->all || reading->transcripts.attempts.len < DATA_MAX);
}

/** What a report is made of, all but the transcripts. */
typedef struct Content {
    ExperimentInfo experiment;
    RunInfo *runs;
    size_t n_runs;
    CrossMetric *cross;
    size_t n_cross;
    Survey survey;
} Content;

/** What goes into the page's data. */
typedef struct PageData {
    Buf json;
    size_t n_embedded;
    size_t n_failed; // of these
} PageData;

/** Read the taken attempts that failed, or those that did not. */
static bool read_taken(Results *results, int64_t experiment_id, const Survey *survey, bool failed,
                       Reading *reading, Err *err)
{
    reading->n_ids = 0;
    for (size_t i = 0; i < survey->n_runs; i++) {
        for (size_t j = 0; j < survey->runs[i].n; j++) {
            const Seen *seen = &survey->runs[i].items[j];
            if (seen->taken && seen->failed == failed) {
                reading->ids[reading->n_ids++] = seen->id;
            }
        }
    }
    if (reading->n_ids == 0) {
        return true;
    }
    qsort(reading->ids, reading->n_ids, sizeof(*reading->ids), compare_ids);
    AttemptFilter filter = {.with_calls = true, .wanted = reading_wants};
    return results_attempts(results, experiment_id, &filter, reading_visit, reading, err);
}

static bool read_transcripts(Results *results, Arena *arena, const Content *content,
                             const HtmlOptions *options, PageData *data, Err *err)
{
    Reading reading = {.ids = ARENA_ARRAY(arena, int64_t, content->survey.n),
                       .all = options->samples == HTML_ALL};
    transcripts_init(&reading.transcripts, content->runs, content->n_runs, NULL, 0,
                     data->json.limit_bytes);
    int64_t id = content->experiment.id;
    bool ok = read_taken(results, id, &content->survey, true, &reading, err);
    data->n_failed = reading.transcripts.n;
    ok = ok && read_taken(results, id, &content->survey, false, &reading, err);
    if (ok) {
        data->n_embedded = reading.transcripts.n;
        buf_printf(&data->json, "{\"kind\":\"experiment\",\"total\":%zu,", content->survey.n);
        transcripts_write(&data->json, &reading.transcripts);
        html_raw(&data->json, "}");
    }
    transcripts_finish(&reading.transcripts);
    return ok;
}

// ---- Head ---------------------------------------------------------------------------------------

/** A fact of the head: "Models" and a list of names. */
static void put_fact(Buf *buf, const char *name, const Str *values, size_t n, size_t most)
{
    buf_printf(buf, "<div><dt>%s</dt><dd>", name);
    for (size_t i = 0; i < n && i < most; i++) {
        html_element(buf, "span", "chip", values[i]);
        html_raw(buf, " ");
    }
    if (n > most) {
        buf_printf(buf, "and %zu more", n - most);
    }
    html_raw(buf, n == 0 ? "\u2013</dd></div>\n" : "</dd></div>\n");
}

/** The different values of a name over the runs. */
static size_t distinct(Arena *arena, const RunInfo *runs, size_t n_runs, bool models, Str **out)
{
    Str *names = ARENA_ARRAY(arena, Str, n_runs);
    size_t n = 0;
    for (size_t i = 0; i < n_runs; i++) {
        Str name = models ? runs[i].model : runs[i].eval;
        size_t at = 0;
        while (at < n && !str_eq(names[at], name)) {
            at++;
        }
        if (at == n) {
            names[n++] = name;
        }
    }
    *out = names;
    return n;
}

static void put_tags(Buf *buf, const Value *tags)
{
    Arena arena = {0};
    html_raw(buf, "<div><dt>Tags</dt><dd>");
    for (size_t i = 0; tags->kind == VALUE_MAP && i < tags->as.map.n; i++) {
        const ValuePair *pair = &tags->as.map.pairs[i];
        html_raw(buf, "<span class=\"chip\">");
        html_text(buf, pair->key);
        html_raw(buf, "=");
        html_text(buf, json_plain(&arena, &pair->value));
        html_raw(buf, "</span> ");
    }
    html_raw(buf, "</dd></div>\n");
    arena_finish(&arena);
}

/** "finished: 530 of 530 attempts", with a sign that needs no colour. */
static void put_state(Buf *buf, const ExperimentInfo *experiment)
{
    bool whole = str_eq(experiment->state, STR("finished")) && experiment->n_errors == 0 &&
                 experiment->n_done >= experiment->n_planned;
    buf_printf(buf, "<span class=\"state %s\">%s ", whole ? "good" : "bad", whole ? "\u2713" : "!");
    html_text(buf, experiment->state);
    html_raw(buf, "</span> ");
    html_count(buf, experiment->n_done);
    html_raw(buf, " of ");
    html_count(buf, experiment->n_planned);
    html_raw(buf, " attempts done");
    if (experiment->n_errors > 0) {
        html_raw(buf, ", ");
        html_count(buf, experiment->n_errors);
        html_raw(buf, experiment->n_errors == 1 ? " error" : " errors");
    }
}

void html_experiment_line(Buf *buf, const ExperimentInfo *experiment)
{
    html_raw(buf, "<p class=\"sub\">");
    put_state(buf, experiment);
    html_raw(buf, " \u00b7 started <time>");
    html_text(buf, experiment->started);
    html_raw(buf, "</time> \u00b7 <code>");
    html_text(buf, experiment->short_id);
    html_raw(buf, "</code></p>\n");
}

static void put_head(Buf *buf, const ExperimentInfo *experiment, const Side *only,
                     const RunInfo *runs, size_t n_runs)
{
    Arena arena = {0};
    Str *names;
    html_raw(buf, "<header><p class=\"kind\">muster \u00b7 experiment</p>\n");
    html_raw(buf, "<h1>");
    html_text(buf, experiment->name);
    size_t selected = only != NULL ? str_find(only->selector.text, STR(":"), 0) : STR_NONE;
    if (selected != STR_NONE) {
        html_element(buf, "small", NULL,
                     str_slice(only->selector.text, selected, only->selector.text.len));
    }
    html_raw(buf, "</h1>\n");
    html_experiment_line(buf, experiment);
    html_raw(buf, "<dl class=\"facts\">\n");
    size_t n = distinct(&arena, runs, n_runs, true, &names);
    put_fact(buf, n == 1 ? "Model" : "Models", names, n, 12);
    n = distinct(&arena, runs, n_runs, false, &names);
    put_fact(buf, n == 1 ? "Eval" : "Evals", names, n, 24);
    if (experiment->tags.kind == VALUE_MAP && experiment->tags.as.map.n > 0) {
        put_tags(buf, &experiment->tags);
    }
    html_raw(buf, "</dl>\n<nav aria-label=\"Sections\"><a href=\"#scores\">Scores</a> <a "
                  "href=\"#cost\">Cost and latency</a> <a href=\"#samples\">Transcripts</a> <a "
                  "href=\"#provenance\">Provenance</a></nav></header>\n");
    arena_finish(&arena);
}

// ---- Provenance ---------------------------------------------------------------------------------

static void put_hash(Buf *buf, const Hash *hash)
{
    char hex[HASH_HEX_LEN + 1];
    hash_hex(hash, hex);
    buf_printf(buf, "<td><code title=\"%s\">%.8s</code></td>", hex, hex);
}

static void put_hashes(Buf *buf, const RunInfo *runs, size_t n_runs)
{
    buf_printf(buf, "<details><summary>What ran, by hash (%zu)</summary>\n", n_runs);
    html_table_begin(buf, "plain", "hashes", STR_EMPTY);
    html_table_head(buf, "eval|part|variant|model|eval file|programs|data|model");
    html_raw(buf, "<tbody>\n");
    for (size_t i = 0; i < n_runs; i++) {
        const RunInfo *run = &runs[i];
        html_raw(buf, "<tr>");
        html_raw(buf, "<th scope=\"row\">");
        html_text(buf, run->eval);
        html_raw(buf, "</th>");
        html_element(buf, "td", NULL, run->part);
        html_element(buf, "td", NULL, run->variant);
        html_element(buf, "td", NULL, run->model);
        put_hash(buf, &run->spec.eval_hash);
        put_hash(buf, &run->spec.program_hash);
        put_hash(buf, &run->spec.data_hash);
        put_hash(buf, &run->spec.model_hash);
        html_raw(buf, "</tr>\n");
    }
    html_raw(buf, "</tbody>\n");
    html_table_end(buf);
    html_raw(buf, "</details>\n");
}

void html_provenance_table(Buf *buf, const char *label, Str of, const Value *map)
{
    if (map->kind != VALUE_MAP || map->as.map.n == 0) {
        return;
    }
    html_table_begin(buf, "map", label, of);
    html_raw(buf, "<tbody>\n");
    html_map_rows(buf, map, STR_EMPTY);
    html_raw(buf, "</tbody>\n");
    html_table_end(buf);
}

static void put_provenance(Buf *buf, const ExperimentInfo *experiment, const RunInfo *runs,
                           size_t n_runs)
{
    html_section(buf, "provenance", "Provenance");
    html_provenance_table(buf, "provenance", STR_EMPTY, &experiment->provenance);
    html_raw(buf, "<details><summary>Settings</summary>\n");
    html_provenance_table(buf, "settings", STR_EMPTY, &experiment->spec);
    html_raw(buf, "</details>\n");
    if (experiment->stats.kind == VALUE_MAP && experiment->stats.as.map.n > 0) {
        html_raw(buf, "<details><summary>Engine counters</summary>\n");
        html_provenance_table(buf, "engine counters", STR_EMPTY, &experiment->stats);
        html_raw(buf, "</details>\n");
    }
    put_hashes(buf, runs, n_runs);
}

// ---- The page -----------------------------------------------------------------------------------

static void put_samples_note(Buf *buf, const Survey *survey, const PageData *data)
{
    html_raw(buf, "<p class=\"note\">");
    if (data->n_embedded == survey->n) {
        html_raw(buf, "All ");
        html_count(buf, (int64_t)survey->n);
        html_raw(buf, survey->n == 1 ? " attempt." : " attempts.");
    } else {
        html_count(buf, (int64_t)data->n_embedded);
        html_raw(buf, " of ");
        html_count(buf, (int64_t)survey->n);
        html_raw(buf, " attempts are in this file, ");
        html_count(buf, (int64_t)(survey->n - data->n_embedded));
        html_raw(buf, " are left out. Failing ones come first, in equal shares from every run: ");
        html_count(buf, (int64_t)data->n_failed);
        html_raw(buf, " of ");
        html_count(buf, (int64_t)survey->n_failed);
        html_raw(buf, " are here. More with <code>--samples N</code> or <code>--samples "
                      "all</code>.");
    }
    html_raw(buf, " Texts past 20\u00a0kB are cut in the middle and say so.</p>\n");
}

static void put_costs(Buf *buf, Arena *arena, const Survey *survey, const RunInfo *runs,
                      size_t n_runs)
{
    HtmlLatency *latencies = ARENA_ARRAY(arena, HtmlLatency, survey->n_runs);
    for (size_t i = 0; i < survey->n_runs; i++) {
        const SeenRun *run = &survey->runs[i];
        if (run->n_seconds > 0) {
            qsort(run->seconds, run->n_seconds, sizeof(double), compare_doubles);
        }
        latencies[i] = (HtmlLatency){run->run_id, run->seconds, run->n_seconds};
    }
    html_section(buf, "cost", "Cost and latency");
    html_costs(buf, runs, n_runs, latencies, survey->n_runs);
}

static bool experiment_of(Results *results, Arena *arena, int64_t id, ExperimentInfo *out, Err *err)
{
    ExperimentInfo *all;
    size_t n;
    if (!results_experiments(results, arena, &all, &n, err)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (all[i].id == id) {
            *out = all[i];
            return true;
        }
    }
    return ERR_SET(err, ERR_NOT_FOUND, "there is no experiment number %lld", (long long)id);
}

/** Whether a metric is across runs that are all asked for. */
static bool cross_is_whole(const Content *content, const CrossMetric *cross, const Side *only)
{
    for (size_t i = 0; i < content->n_runs; i++) {
        const RunInfo *run = &content->runs[i];
        bool counts = str_eq(run->eval, cross->eval) && str_eq(run->model, cross->model) &&
                      (cross->over.len > 0 || str_eq(run->variant, cross->variant));
        if (counts && !side_has(only, run->id)) {
            return false;
        }
    }
    return true;
}

/** Leave only the runs that are asked for, and the metrics across runs that are still whole. */
static void content_select(Content *content, const Side *only)
{
    size_t n = 0;
    for (size_t i = 0; i < content->n_cross; i++) {
        if (cross_is_whole(content, &content->cross[i], only)) {
            content->cross[n++] = content->cross[i];
        }
    }
    content->n_cross = n;
    n = 0;
    for (size_t i = 0; i < content->n_runs; i++) {
        if (side_has(only, content->runs[i].id)) {
            content->runs[n++] = content->runs[i];
        }
    }
    content->n_runs = n;
}

static bool content_read(Results *results, Arena *arena, int64_t id, Content *content, Err *err)
{
    if (!experiment_of(results, arena, id, &content->experiment, err) ||
        !results_runs(results, arena, id, &content->runs, &content->n_runs, err) ||
        !results_cross_metrics(results, arena, id, &content->cross, &content->n_cross, err)) {
        return false;
    }
    AttemptFilter filter = {0};
    if (content->survey.only != NULL) {
        filter.wanted = survey_wants;
        content_select(content, content->survey.only);
    }
    return results_attempts(results, id, &filter, survey_visit, &content->survey, err);
}

static bool put_page(Buf *buf, Arena *arena, const Content *content, const PageData *data,
                     const HtmlOptions *options, Err *err)
{
    const ExperimentInfo *experiment = &content->experiment;
    Buf title = {0};
    buf_str(&title, experiment->name);
    buf_c(&title, " \u00b7 muster");
    html_page_begin(buf, buf_view(&title), "experiment");
    buf_finish(&title);
    put_head(buf, experiment, options->only, content->runs, content->n_runs);
    html_raw(buf, "<main>\n");
    html_section(buf, "scores", "Scores");
    html_scores(buf, content->runs, content->n_runs, content->cross, content->n_cross);
    put_costs(buf, arena, &content->survey, content->runs, content->n_runs);
    html_section(buf, "samples", "Transcripts");
    put_samples_note(buf, &content->survey, data);
    html_browser(buf, "attempts");
    put_provenance(buf, experiment, content->runs, content->n_runs);
    html_raw(buf, "</main>\n");
    return html_page_end(buf, &data->json, options, err);
}

bool report_html(Buf *buf, Results *results, int64_t experiment_id, const HtmlOptions *options,
                 Err *err)
{
    static const HtmlOptions usual = {.samples = HTML_SAMPLES};
    options = options != NULL ? options : &usual;
    Arena arena = {0};
    Content content = {.survey.only = options->only};
    PageData data = {.json.limit_bytes = buf->limit_bytes};
    bool ok = content_read(results, &arena, experiment_id, &content, err);
    if (ok) {
        Survey *survey = &content.survey;
        size_t room = options->samples < (int64_t)survey->n ? (size_t)options->samples : survey->n;
        size_t taken = survey_take(survey, true, room);
        survey_take(survey, false, room - taken);
        ok = read_transcripts(results, &arena, &content, options, &data, err) &&
             put_page(buf, &arena, &content, &data, options, err);
    }
    buf_finish(&data.json);
    survey_finish(&content.survey);
    arena_finish(&arena);
    return ok;
}
