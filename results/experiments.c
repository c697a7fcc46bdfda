// SPDX-License-Identifier: MIT
// Which experiments there are: all, those that a filter wants, and the one that a name stands for.
// Read-only.
#include "results/read_internal.h"

#include "text/text.h"

#include <string.h>

// ---- Experiments --------------------------------------------------------------------------------

static bool experiment_from_row(const Results *results, sqlite3_stmt *row, Arena *arena,
                                ExperimentInfo *out, Err *err)
{
    char started[32];
    clock_format_utc(column_i64(row, 4), started);
    *out = (ExperimentInfo){
        .id = column_i64(row, 0),
        .name = column_copy(row, 1, arena),
        .short_id = column_copy(row, 2, arena),
        .state = column_copy(row, 3, arena),
        .started = str_copy(arena, str_from_c(started)),
        .started_ms = column_i64(row, 4),
        .ended_ms = column_i64(row, 13),
        .n_runs = column_i64(row, 5),
        .n_planned = column_i64(row, 6),
        .n_done = column_i64(row, 7),
        .n_errors = column_i64(row, 8),
    };
    if (str_eq(out->state, STR("running")) &&
        !experiment_lock_is_held(results->path, out->short_id)) {
        out->state = STR("interrupted"); // its process ended without a word
    }
    return column_json(row, 9, arena, &out->tags, err) &&
           column_json(row, 10, arena, &out->spec, err) &&
           column_json(row, 11, arena, &out->provenance, err) &&
           column_json(row, 12, arena, &out->stats, err);
}

// ---- Filters ------------------------------------------------------------------------------------

/** Whether a tag of the map has what "K=V" or "K" says; V may be a glob. */
static bool tag_matches(const Value *tags, Str wanted)
{
    Str key;
    Str pattern;
    bool has_value = str_cut(wanted, STR("="), &key, &pattern);
    const Value *value = tags->kind == VALUE_MAP ? value_get(tags, has_value ? key : wanted) : NULL;
    if (value == NULL || !has_value) {
        return value != NULL;
    }
    Arena arena = {0};
    bool matches = glob_match(pattern, json_plain(&arena, value));
    arena_finish(&arena);
    return matches;
}

/** What the query could not decide. */
static bool experiment_passes(const ExperimentInfo *info, const ExperimentFilter *filter)
{
    for (size_t i = 0; i < filter->n_tags; i++) {
        if (!tag_matches(&info->tags, filter->tags[i])) {
            return false;
        }
    }
    return filter->state.len == 0 || str_eq(filter->state, info->state);
}

static void glob_bind(sqlite3_stmt *statement, int at, Str pattern)
{
    bind_str(statement, at, pattern.len > 0 ? pattern : STR("*"));
}

/** GLOB takes brackets for sets; ours have none. */
static Str glob_quote(Arena *arena, Str pattern)
{
    Buf buf = {0};
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.data[i] == '[') {
            buf_c(&buf, "[[]");
        } else {
            buf_char(&buf, pattern.data[i]);
        }
    }
    Str quoted = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return quoted;
}

static void filter_bind(sqlite3_stmt *row, Arena *arena, const ExperimentFilter *filter)
{
    bind_i64(row, 1, filter->since_ms);
    bind_i64(row, 2, filter->before_ms > 0 ? filter->before_ms : INT64_MAX);
    bind_i64(row, 3, filter->eval.len > 0 || filter->model.len > 0);
    glob_bind(row, 4, glob_quote(arena, filter->eval));
    glob_bind(row, 5, glob_quote(arena, filter->model));
}

bool results_experiments_where(Results *results, Arena *arena, const ExperimentFilter *filter,
                               ExperimentInfo **out, size_t *out_n, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_EXPERIMENTS);
    filter_bind(row, arena, filter);
    ExperimentInfo *items = NULL;
    size_t n = 0;
    size_t cap = 0;
    while (filter->limit <= 0 || n < (size_t)filter->limit) {
        bool more;
        if (!db_step(&results->db, READ_SQL_EXPERIMENTS, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            ExperimentInfo *grown = ARENA_ARRAY(arena, ExperimentInfo, cap);
            if (n > 0) {
                memcpy(grown, items, n * sizeof(*items));
            }
            items = grown;
        }
        if (!experiment_from_row(results, row, arena, &items[n], err)) {
            sqlite3_reset(row);
            return false;
        }
        n += experiment_passes(&items[n], filter);
    }
    sqlite3_reset(row);
    for (size_t i = 0; i < n / 2; i++) { // the newest came first
        ExperimentInfo other = items[i];
        items[i] = items[n - 1 - i];
        items[n - 1 - i] = other;
    }
    *out = items;
    *out_n = n;
    return true;
}

bool results_experiments(Results *results, Arena *arena, ExperimentInfo **out, size_t *out_n,
                         Err *err)
{
    ExperimentFilter all = {0};
    return results_experiments_where(results, arena, &all, out, out_n, err);
}

// ---- By name ------------------------------------------------------------------------------------

/** How many steps before the newest a selector means: latest 0, latest~N N; -1: it is a name. */
static int64_t latest_offset(Str name)
{
    Str head;
    Str rest;
    int64_t back;
    if (str_eq(name, STR("latest"))) {
        return 0;
    }
    if (str_cut(name, STR("~"), &head, &rest) && str_eq(head, STR("latest")) &&
        str_to_i64(rest, &back) && back >= 0) {
        return back;
    }
    return -1;
}

typedef struct Found {
    int64_t id; // 0: none
    Str *names; // all, newest first, for did-you-mean
    size_t n;
} Found;

static bool experiment_find(Results *results, Arena *arena, Str name, Found *out, Err *err)
{
    *out = (Found){0};
    int64_t back = latest_offset(name);
    size_t cap = 0;
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_EXPERIMENT_NAMES);
    for (;;) {
        bool more;
        if (!db_step(&results->db, READ_SQL_EXPERIMENT_NAMES, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        bool by_name = str_eq(column_str(row, 1), name) || str_eq(column_str(row, 2), name);
        if (back == 0 || (back < 0 && by_name)) {
            out->id = column_i64(row, 0);
            sqlite3_reset(row);
            return true;
        }
        back -= back > 0;
        if (out->n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            Str *grown = ARENA_ARRAY(arena, Str, cap);
            if (out->n > 0) {
                memcpy(grown, out->names, out->n * sizeof(*grown));
            }
            out->names = grown;
        }
        out->names[out->n++] = column_copy(row, 1, arena);
    }
}

/** The experiment that a name stands for; id 0 when none does. */
static bool experiment_id_of(Results *results, Arena *arena, Str name, Found *out, Err *err)
{
    if (!str_starts_with(name, STR("@"))) {
        return experiment_find(results, arena, name, out, err);
    }
    BaselineInfo baseline;
    if (!results_baseline(results, arena, str_slice(name, 1, name.len), &baseline, err)) {
        return false;
    }
    *out = (Found){.id = baseline.experiment_id};
    return true;
}

bool results_experiment(Results *results, Arena *arena, Str name, ExperimentInfo *out, Err *err)
{
    Found found;
    if (!experiment_id_of(results, arena, name, &found, err)) {
        return false;
    }
    if (found.id == 0) {
        if (found.n == 0) {
            return ERR_SET(err, ERR_NOT_FOUND, "store '%s' holds no experiment yet", results->path);
        }
        if (latest_offset(name) >= 0) {
            return ERR_SET(err, ERR_NOT_FOUND, "there is no '" STR_FMT "': the store holds %zu %s",
                           STR_ARG(name), found.n, found.n == 1 ? "experiment" : "experiments");
        }
        size_t near = str_nearest(name, found.names, found.n);
        if (near != STR_NONE) {
            return ERR_SET(err, ERR_NOT_FOUND,
                           "there is no experiment '" STR_FMT "'; did you mean '" STR_FMT "'?",
                           STR_ARG(name), STR_ARG(found.names[near]));
        }
        return ERR_SET(err, ERR_NOT_FOUND,
                       "there is no experiment '" STR_FMT "'; `muster list experiments` shows all",
                       STR_ARG(name));
    }
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_EXPERIMENT);
    bind_i64(row, 1, found.id);
    bool there;
    if (!db_step(&results->db, READ_SQL_EXPERIMENT, &there, err)) {
        return false;
    }
    bool ok = there ? experiment_from_row(results, row, arena, out, err)
                    : ERR_SET(err, ERR_NOT_FOUND, "experiment '" STR_FMT "' was removed just now",
                              STR_ARG(name));
    sqlite3_reset(row);
    return ok;
}
