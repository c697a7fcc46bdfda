// SPDX-License-Identifier: MIT
// Baselines: names that point to experiments, who moved them when, and moving them. Whether a move
// is allowed is the gate's to say, before it comes here.
#include "results/read_internal.h"

#include <string.h>

bool baseline_name_check(Str name, Err *err)
{
    return name_check_as("a baseline", name, err);
}

// ---- Reading ------------------------------------------------------------------------------------

/** A row of v_baseline, or of its history. */
static bool baseline_from_row(sqlite3_stmt *row, Arena *arena, BaselineInfo *out, Err *err)
{
    char moved[32];
    clock_format_utc(column_i64(row, 4), moved);
    *out = (BaselineInfo){
        .name = column_copy(row, 0, arena),
        .experiment_id = column_i64(row, 1),
        .experiment = column_copy(row, 2, arena),
        .short_id = column_copy(row, 3, arena),
        .moved = str_copy(arena, str_from_c(moved)),
        .who = column_copy(row, 5, arena),
        .forced = column_i64(row, 6) != 0,
    };
    return column_json(row, 7, arena, &out->detail, err);
}

/** All rows of one of the two statements; name "": of all baselines. */
static bool baselines_read(Results *results, Arena *arena, int index, Str name, BaselineInfo **out,
                           size_t *out_n, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, index);
    BaselineInfo *items = NULL;
    size_t n = 0;
    size_t cap = 0;
    for (;;) {
        bool more;
        if (!db_step(&results->db, index, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (name.len > 0 && !str_eq(column_str(row, 0), name)) {
            continue;
        }
        if (n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            BaselineInfo *grown = ARENA_ARRAY(arena, BaselineInfo, cap);
            if (n > 0) {
                memcpy(grown, items, n * sizeof(*items));
            }
            items = grown;
        }
        if (!baseline_from_row(row, arena, &items[n++], err)) {
            sqlite3_reset(row);
            return false;
        }
    }
    *out = items;
    *out_n = n;
    return true;
}

bool results_baselines(Results *results, Arena *arena, BaselineInfo **out, size_t *out_n, Err *err)
{
    return baselines_read(results, arena, READ_SQL_BASELINES, STR_EMPTY, out, out_n, err);
}

bool results_baseline_history(Results *results, Arena *arena, Str name, BaselineInfo **out,
                              size_t *out_n, Err *err)
{
    return baselines_read(results, arena, READ_SQL_BASELINE_EVENTS, name, out, out_n, err);
}

bool results_baseline(Results *results, Arena *arena, Str name, BaselineInfo *out, Err *err)
{
    BaselineInfo *all;
    size_t n;
    if (!results_baselines(results, arena, &all, &n, err)) {
        return false;
    }
    Str *names = ARENA_ARRAY(arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        names[i] = all[i].name;
        if (str_eq(all[i].name, name)) {
            *out = all[i];
            return true;
        }
    }
    if (n == 0) {
        return ERR_SET(err, ERR_NOT_FOUND,
                       "there is no baseline '" STR_FMT
                       "', the store '%s' has none; `muster promote "
                       "EXPERIMENT " STR_FMT " --first` makes it",
                       STR_ARG(name), results->path, STR_ARG(name));
    }
    size_t near = str_nearest(name, names, n);
    if (near != STR_NONE) {
        return ERR_SET(err, ERR_NOT_FOUND,
                       "there is no baseline '" STR_FMT "'; did you mean '" STR_FMT "'?",
                       STR_ARG(name), STR_ARG(names[near]));
    }
    return ERR_SET(err, ERR_NOT_FOUND,
                   "there is no baseline '" STR_FMT "'; `muster list baselines` shows all",
                   STR_ARG(name));
}

// ---- Moving -------------------------------------------------------------------------------------

/** Refuse when somebody else moved the baseline since the gate looked at it. */
static bool is_still_there(Store *store, const Promotion *promotion, Err *err)
{
    sqlite3_stmt *find = db_statement(&store->db, STORE_SQL_BASELINE_FIND);
    bind_str(find, 1, promotion->baseline);
    bool found;
    if (!db_step(&store->db, STORE_SQL_BASELINE_FIND, &found, err)) {
        return false;
    }
    int64_t now = found ? column_i64(find, 0) : 0;
    sqlite3_reset(find);
    if (now != promotion->replaces) {
        return ERR_SET(err, ERR_EXISTS,
                       "baseline '" STR_FMT "' was moved by somebody else just now; nothing was "
                       "changed: promote again to be judged against what it is",
                       STR_ARG(promotion->baseline));
    }
    return true;
}

/** The row of history; it also finds out whether the experiment is there. */
static bool history_insert(Store *store, const Promotion *promotion, Str detail, int64_t now_ms,
                           Err *err)
{
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_BASELINE_EVENT_INSERT);
    bind_str(insert, 1, promotion->baseline);
    bind_i64(insert, 2, promotion->experiment_id);
    bind_i64(insert, 3, now_ms);
    bind_str(insert, 4, promotion->who);
    bind_i64(insert, 5, promotion->forced);
    bind_str(insert, 6, detail);
    if (!db_run(&store->db, STORE_SQL_BASELINE_EVENT_INSERT, err)) {
        return false;
    }
    return sqlite3_changes(store->db.handle) == 1 ||
           ERR_SET(err, ERR_NOT_FOUND, "the experiment was removed just now");
}

static bool baseline_put(Store *store, const Promotion *promotion, Str detail, int64_t now_ms,
                         Err *err)
{
    sqlite3_stmt *put = db_statement(&store->db, STORE_SQL_BASELINE_PUT);
    bind_str(put, 1, promotion->baseline);
    bind_i64(put, 2, promotion->experiment_id);
    bind_i64(put, 3, now_ms);
    bind_i64(put, 4, promotion->forced);
    bind_str(put, 5, detail);
    return db_run(&store->db, STORE_SQL_BASELINE_PUT, err);
}

/** What the experiment's own events say of it. */
static bool event_insert(Store *store, Arena *arena, const Promotion *promotion, int64_t now_ms,
                         Err *err)
{
    MapBuilder map;
    Str text;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("baseline"), value_str(promotion->baseline));
    map_builder_put(&map, STR("who"), value_str(promotion->who));
    map_builder_put(&map, STR("forced"), value_bool(promotion->forced));
    Value detail = map_builder_done(&map);
    if (!json_text(arena, &detail, &text, err)) {
        return false;
    }
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_EVENT_INSERT);
    bind_i64(insert, 1, promotion->experiment_id);
    bind_i64(insert, 2, now_ms);
    bind_str(insert, 3, STR("promoted"));
    bind_str(insert, 4, text);
    return db_run(&store->db, STORE_SQL_EVENT_INSERT, err);
}

bool store_promote(Store *store, const Promotion *promotion, Err *err)
{
    if (!store_ok(store, err) || !baseline_name_check(promotion->baseline, err)) {
        return false;
    }
    Arena arena = {0};
    Str detail;
    int64_t now_ms = clock_wall_ms();
    pthread_mutex_lock(&store->db_mutex);
    bool ok = json_text(&arena, &promotion->detail, &detail, err) && store_begin(store, err);
    if (ok) {
        ok = is_still_there(store, promotion, err) &&
             history_insert(store, promotion, detail, now_ms, err) &&
             baseline_put(store, promotion, detail, now_ms, err) &&
             event_insert(store, &arena, promotion, now_ms, err);
        if (ok) {
            ok = store_commit(store, err);
        } else {
            store_rollback(store);
        }
    }
    pthread_mutex_unlock(&store->db_mutex);
    arena_finish(&arena);
    return ok;
}
