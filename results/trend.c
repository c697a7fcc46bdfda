// SPDX-License-Identifier: MIT
// Following a metric through experiments. One experiment at a time: its runs of the eval, grouped
// by variant and model, each group a point of its series.
#include "results/trend.h"

#include "results/read_internal.h"

#include <math.h>
#include <string.h>

#define GIT_DIGITS 8

/** What has to be equal for two points to be of the same thing. */
typedef struct Fingerprint {
    int64_t eval_version;
    Hash parts;
    Hash data;
    Hash program;
    Hash model;
    int64_t epochs;
    int64_t n_samples; // planned, of all parts
    Str chosen;        // how they were: "limit 3"; "": all that there are
} Fingerprint;

/** A series under construction. */
typedef struct Line {
    TrendSeries series;
    TrendPoint *points;
    size_t cap;
    Fingerprint last;
    struct Line *next;
} Line;

typedef struct Follow {
    Results *results;
    Arena *arena;
    const TrendQuery *query;
    Str eval;
    Str part;
    Line *first;
    size_t n_lines;
    const BaselineInfo *baselines;
    size_t n_baselines;
    Str seen_metric;  // some metric that is there, for the message when none is wanted
    bool seen_run;    // some run of the eval, whatever its variant and model
    bool seen_wanted; // one of them of the variant and model
} Follow;

// ---- Which metric -------------------------------------------------------------------------------

/** How well a name fits: 2 the full one, 1 its metric or its grader, 0 not at all. */
static int metric_fit(Str wanted, Str name)
{
    Str grader;
    Str label;
    if (str_eq(wanted, name)) {
        return 2;
    }
    return str_cut(name, STR("."), &grader, &label) &&
           (str_eq(wanted, label) || str_eq(wanted, grader));
}

/** The metric that the query means, or NULL. */
static const MetricRow *metric_choose(const Follow *follow, const RunRead *run,
                                      const MetricRow *metrics, size_t n)
{
    Str wanted = follow->query->metric;
    bool headline = wanted.len == 0;
    if (headline && run->n_metrics > 0 && run->metrics[0].n_graders > 0) {
        wanted = run->metrics[0].graders[0].name;
    }
    const MetricRow *found = NULL;
    int best = 0;
    for (size_t i = 0; i < n; i++) {
        int fit = metrics[i].slice.len > 0 ? 0 : metric_fit(wanted, metrics[i].name);
        if (fit > best) {
            best = fit;
            found = &metrics[i];
        }
    }
    return found == NULL && headline && n > 0 ? &metrics[0] : found;
}

/** All metrics of a group of runs, parts taken together. */
static bool group_metrics(Follow *follow, RunRead *const *runs, size_t n, const MetricRow **out,
                          size_t *out_n, Err *err)
{
    if (n == 1) {
        if (!run_metrics(follow->results, follow->arena, runs[0], err)) {
            return false;
        }
        *out = runs[0]->info.metrics;
        *out_n = runs[0]->info.n_metrics;
        return true;
    }
    ScanMetric *metrics;
    if (!parts_metrics(follow->results, follow->arena, (const RunRead *const *)runs, n, &metrics,
                       out_n, err)) {
        return false;
    }
    MetricRow *rows = ARENA_ARRAY(follow->arena, MetricRow, *out_n);
    for (size_t i = 0; i < *out_n; i++) {
        rows[i] = metrics[i].row;
    }
    *out = rows;
    return true;
}

// ---- What changed -------------------------------------------------------------------------------

static Fingerprint fingerprint_of(RunRead *const *runs, size_t n, int64_t n_planned, Str chosen)
{
    Fingerprint print = {.eval_version = runs[0]->info.spec.eval_version,
                         .epochs = runs[0]->info.spec.epochs,
                         .model = runs[0]->info.spec.model_hash,
                         .chosen = chosen};
    print.n_samples = print.epochs > 0 ? n_planned / print.epochs : n_planned;
    Sha256 parts;
    Sha256 data;
    Sha256 program;
    hash_begin(&parts, STR("muster.trend.parts"));
    hash_begin(&data, STR("muster.trend.data"));
    hash_begin(&program, STR("muster.trend.program"));
    for (size_t i = 0; i < n; i++) { // in canonical order
        hash_str(&parts, runs[i]->info.part);
        hash_hash(&data, &runs[i]->info.spec.data_hash);
        hash_hash(&program, &runs[i]->info.spec.program_hash);
    }
    print.parts = hash_end(&parts);
    print.data = hash_end(&data);
    print.program = hash_end(&program);
    return print;
}

static void word_add(Buf *buf, const char *word)
{
    buf_c(buf, buf->len > 0 ? ", " : "");
    buf_c(buf, word);
}

/** How many there are, or that others were chosen: by the settings, since no row is looked at. */
static void samples_add(Buf *buf, const Fingerprint *old, const Fingerprint *new)
{
    bool others = old->chosen.len > 0 && new->chosen.len > 0 && !str_eq(old->chosen, new->chosen);
    if (old->n_samples != new->n_samples) {
        word_add(buf, "samples ");
        buf_printf(buf, "%lld -> %lld", (long long)old->n_samples, (long long)new->n_samples);
    } else if (others) {
        word_add(buf, "another choice of samples");
    } else {
        return;
    }
    if (new->chosen.len > 0) {
        buf_printf(buf, " (" STR_FMT ")", STR_ARG(new->chosen));
    }
}

static Str changes_text(Arena *arena, const Fingerprint *old, const Fingerprint *new)
{
    Buf buf = {0};
    bool same_parts = hash_eq(&old->parts, &new->parts);
    if (old->eval_version != new->eval_version) {
        buf_printf(&buf, "eval version %lld -> %lld", (long long)old->eval_version,
                   (long long)new->eval_version);
    }
    if (!same_parts) {
        word_add(&buf, "parts");
    }
    if (same_parts && !hash_eq(&old->data, &new->data)) {
        word_add(&buf, "dataset");
    }
    if (same_parts) {
        samples_add(&buf, old, new);
    }
    if (same_parts && !hash_eq(&old->program, &new->program)) {
        word_add(&buf, "program"); // Lua and templates
    }
    if (!hash_eq(&old->model, &new->model)) {
        word_add(&buf, "model");
    }
    if (old->epochs != new->epochs) {
        word_add(&buf, "epochs");
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

// ---- Points -------------------------------------------------------------------------------------

/** The series of that variant, model and metric, made when there is none. */
static Line *line_of(Follow *follow, const RunInfo *run, const MetricRow *metric)
{
    Line **at = &follow->first;
    for (; *at != NULL; at = &(*at)->next) {
        const TrendSeries *series = &(*at)->series;
        if (str_eq(series->variant, run->variant) && str_eq(series->model, run->model) &&
            str_eq(series->metric, metric->name)) {
            return *at;
        }
    }
    Line *line = ARENA_NEW(follow->arena, Line);
    line->series.variant = run->variant;
    line->series.model = run->model;
    line->series.metric = metric->name;
    line->series.lower_is_better = metric->lower_is_better;
    *at = line;
    follow->n_lines++;
    return line;
}

static void line_add(Arena *arena, Line *line, const TrendPoint *point)
{
    if (line->series.n == line->cap) {
        line->cap = line->cap == 0 ? 16 : line->cap * 2;
        TrendPoint *grown = ARENA_ARRAY(arena, TrendPoint, line->cap);
        if (line->series.n > 0) {
            memcpy(grown, line->points, line->series.n * sizeof(*grown));
        }
        line->points = grown;
        line->series.points = grown;
    }
    line->points[line->series.n++] = *point;
}

static void point_baselines(const Follow *follow, TrendPoint *point)
{
    Str *names = ARENA_ARRAY(follow->arena, Str, follow->n_baselines);
    for (size_t i = 0; i < follow->n_baselines; i++) {
        if (follow->baselines[i].experiment_id == point->experiment_id) {
            names[point->n_baselines++] = follow->baselines[i].name;
        }
    }
    point->baselines = names;
}

/** The runs of one variant and model of an experiment become a point. */
static bool group_add(Follow *follow, const ExperimentInfo *experiment, RunRead *const *runs,
                      size_t n, Err *err)
{
    const MetricRow *metrics;
    size_t n_metrics;
    if (!group_metrics(follow, runs, n, &metrics, &n_metrics, err)) {
        return false;
    }
    const MetricRow *metric = metric_choose(follow, runs[0], metrics, n_metrics);
    if (metric == NULL) {
        follow->seen_metric = n_metrics > 0 ? metrics[0].name : follow->seen_metric;
        return true;
    }
    Str commit = value_get_str(&experiment->provenance, "git_commit", STR_EMPTY);
    TrendPoint point = {
        .experiment_id = experiment->id,
        .experiment = experiment->name,
        .short_id = experiment->short_id,
        .started = experiment->started,
        .started_ms = experiment->started_ms,
        .git = str_slice(commit, 0, GIT_DIGITS),
        .metric = *metric,
        .changed = STR_EMPTY,
    };
    for (size_t i = 0; i < n; i++) {
        RunInfo totals = runs[i]->info;
        if (!run_totals(follow->results, &totals, err)) {
            return false;
        }
        point.n_planned += totals.n_planned;
        point.n_done += totals.n_done;
    }
    point_baselines(follow, &point);
    Line *line = line_of(follow, &runs[0]->info, metric);
    Fingerprint print =
        fingerprint_of(runs, n, point.n_planned, results_subset_words(follow->arena, experiment));
    if (line->series.n > 0) {
        point.changed = changes_text(follow->arena, &line->last, &print);
    }
    line->last = print;
    line_add(follow->arena, line, &point);
    return true;
}

static bool fits(Str pattern, Str text)
{
    return pattern.len == 0 || glob_match(pattern, text);
}

static bool run_is_wanted(Follow *follow, const RunInfo *run)
{
    if (!str_eq(run->eval, follow->eval) ||
        (follow->part.len > 0 && !str_eq(run->part, follow->part))) {
        return false;
    }
    follow->seen_run = true;
    bool wanted =
        fits(follow->query->variant, run->variant) && fits(follow->query->model, run->model);
    follow->seen_wanted |= wanted;
    return wanted;
}

static bool experiment_add(Follow *follow, const ExperimentInfo *experiment, Err *err)
{
    RunRead *runs;
    size_t n;
    if (!runs_read_sorted(follow->results, follow->arena, experiment->id, &runs, &n, err)) {
        return false;
    }
    bool *used = ARENA_ARRAY(follow->arena, bool, n);
    RunRead **group = ARENA_ARRAY(follow->arena, RunRead *, n);
    for (size_t i = 0; i < n; i++) {
        if (used[i] || !run_is_wanted(follow, &runs[i].info)) {
            continue;
        }
        size_t n_group = 0;
        for (size_t j = i; j < n; j++) {
            if (run_is_wanted(follow, &runs[j].info) &&
                str_eq(runs[i].info.variant, runs[j].info.variant) &&
                str_eq(runs[i].info.model, runs[j].info.model)) {
                group[n_group++] = &runs[j];
                used[j] = true;
            }
        }
        if (!group_add(follow, experiment, group, n_group, err)) {
            return false;
        }
    }
    return true;
}

// ---- The whole ----------------------------------------------------------------------------------

/** No experiment has run the eval: say which ones there are. */
static bool no_such_eval(Follow *follow, Err *err)
{
    Str names[512];
    size_t n = 0;
    sqlite3_stmt *row = db_statement(&follow->results->db, READ_SQL_EVAL_NAMES);
    for (bool more = true; more && n < sizeof(names) / sizeof(names[0]);) {
        if (!db_step(&follow->results->db, READ_SQL_EVAL_NAMES, &more, err)) {
            return false;
        }
        if (more) {
            names[n++] = column_copy(row, 0, follow->arena);
        }
    }
    sqlite3_reset(row);
    size_t near = str_nearest(follow->eval, names, n);
    if (near != STR_NONE && !str_eq(names[near], follow->eval)) {
        return ERR_SET(err, ERR_NOT_FOUND,
                       "no experiment has run eval '" STR_FMT "'; did you mean '" STR_FMT "'?",
                       STR_ARG(follow->query->eval), STR_ARG(names[near]));
    }
    return ERR_SET(err, ERR_NOT_FOUND, "no experiment that is chosen has run eval '" STR_FMT "'",
                   STR_ARG(follow->query->eval));
}

static bool nothing_found(Follow *follow, Err *err)
{
    if (!follow->seen_run) {
        return no_such_eval(follow, err);
    }
    if (!follow->seen_wanted) {
        return ERR_SET(err, ERR_NOT_FOUND,
                       "eval '" STR_FMT "' has run, but not with such a variant and model",
                       STR_ARG(follow->query->eval));
    }
    return ERR_SET(err, ERR_NOT_FOUND,
                   "eval '" STR_FMT "' has no metric '" STR_FMT "'; it has '" STR_FMT "', say",
                   STR_ARG(follow->query->eval), STR_ARG(follow->query->metric),
                   STR_ARG(follow->seen_metric));
}

bool trend_compute(Results *results, Arena *arena, const TrendQuery *query, Trend *out, Err *err)
{
    Follow follow = {
        .results = results, .arena = arena, .query = query, .eval = query->eval, .part = STR_EMPTY};
    str_cut(query->eval, STR("/"), &follow.eval, &follow.part);
    ExperimentFilter filter = query->among;
    filter.eval = query->eval;
    filter.model = query->model;
    ExperimentInfo *experiments;
    size_t n;
    BaselineInfo *baselines;
    if (!results_baselines(results, arena, &baselines, &follow.n_baselines, err) ||
        !results_experiments_where(results, arena, &filter, &experiments, &n, err)) {
        return false;
    }
    follow.baselines = baselines;
    for (size_t i = 0; i < n; i++) {
        if (!experiment_add(&follow, &experiments[i], err)) {
            return false;
        }
    }
    if (follow.n_lines == 0) {
        return nothing_found(&follow, err);
    }
    TrendSeries *series = ARENA_ARRAY(arena, TrendSeries, follow.n_lines);
    size_t n_series = 0;
    for (const Line *line = follow.first; line != NULL; line = line->next) {
        series[n_series++] = line->series;
    }
    *out = (Trend){.eval = follow.eval, .part = follow.part, .series = series, .n = n_series};
    return true;
}
