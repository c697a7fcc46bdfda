// SPDX-License-Identifier: MIT
// Which experiments go, and taking them out of the file.
#include "results/gc.h"

#include "results/read_internal.h"

#include <string.h>

// ---- Planning -----------------------------------------------------------------------------------

static bool bytes_of(Results *results, int64_t experiment_id, int64_t *out, Err *err)
{
    sqlite3_stmt *row = db_statement(&results->db, READ_SQL_EXPERIMENT_BYTES);
    bind_i64(row, 1, experiment_id);
    bool found;
    if (!db_step(&results->db, READ_SQL_EXPERIMENT_BYTES, &found, err)) {
        return false;
    }
    *out = found ? column_i64(row, 0) : 0;
    sqlite3_reset(row);
    return true;
}

/** The experiments that the query chooses, oldest first. */
static bool chosen(Results *results, Arena *arena, const GcQuery *query, ExperimentInfo **out,
                   size_t *out_n, Err *err)
{
    if (query->n_names > 0) {
        *out = ARENA_ARRAY(arena, ExperimentInfo, query->n_names);
        *out_n = 0;
        for (size_t i = 0; i < query->n_names; i++) {
            ExperimentInfo *info = &(*out)[*out_n];
            if (!results_experiment(results, arena, query->names[i], info, err)) {
                return false;
            }
            bool twice = false;
            for (size_t j = 0; j < *out_n; j++) {
                twice |= (*out)[j].id == info->id;
            }
            *out_n += !twice;
        }
        return true;
    }
    ExperimentInfo *all;
    size_t n;
    if (!results_experiments_where(results, arena, &query->among, &all, &n, err)) {
        return false;
    }
    n = query->keep > 0 ? (n > (size_t)query->keep ? n - (size_t)query->keep : 0) : n;
    *out = all;
    *out_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (query->before_ms == 0 || all[i].started_ms < query->before_ms) {
            all[(*out_n)++] = all[i];
        }
    }
    return true;
}

/** Why an experiment stays, "" if it does not. */
static Str reason_to_stay(Arena *arena, const ExperimentInfo *info, const BaselineInfo *baselines,
                          size_t n_baselines)
{
    for (size_t i = 0; i < n_baselines; i++) {
        if (baselines[i].experiment_id == info->id) {
            return str_concat(arena, STR("baseline "), baselines[i].name);
        }
    }
    return str_eq(info->state, STR("running")) ? STR("running") : STR_EMPTY;
}

bool gc_plan(Results *results, Arena *arena, const GcQuery *query, GcPlan *out, Err *err)
{
    BaselineInfo *baselines;
    size_t n_baselines;
    ExperimentInfo *experiments;
    size_t n;
    if (!results_baselines(results, arena, &baselines, &n_baselines, err) ||
        !chosen(results, arena, query, &experiments, &n, err)) {
        return false;
    }
    GcItem *items = ARENA_ARRAY(arena, GcItem, n);
    *out = (GcPlan){.items = items, .n = n};
    for (size_t i = 0; i < n; i++) {
        items[i].experiment = experiments[i];
        items[i].stays = reason_to_stay(arena, &experiments[i], baselines, n_baselines);
        if (items[i].stays.len > 0) {
            continue;
        }
        if (!bytes_of(results, experiments[i].id, &items[i].n_bytes, err)) {
            return false;
        }
        out->n_go++;
        out->n_bytes += items[i].n_bytes;
    }
    return true;
}

// ---- Removing -----------------------------------------------------------------------------------

typedef enum GcSql {
#define X(name, sql) GC_SQL_##name,
#include "results/gc_sql.def"
#undef X
    GC_SQL_COUNT
} GcSql;

static const SqlText gc_sql[] = {
#define X(name, sql) {#name, sql},
#include "results/gc_sql.def"
#undef X
};
_Static_assert(sizeof(gc_sql) / sizeof(gc_sql[0]) == GC_SQL_COUNT, "one text a statement");

/** A connection of its own: nothing else of this process writes. */
typedef struct Gc {
    const char *path;
    StoreLock lock;
    Db db;
} Gc;

static bool gc_open(Gc *gc, Err *err)
{
    DbFile kind;
    if (!db_file_check(gc->path, &kind, err) || !store_lock_open(&gc->lock, gc->path, err) ||
        !store_lock_take(&gc->lock, err)) {
        return false;
    }
    bool ok = db_open_writer(&gc->db, gc->path, err) &&
              db_exec(&gc->db, "PRAGMA foreign_keys = OFF", err) &&
              db_prepare(&gc->db, gc_sql, GC_SQL_COUNT, err);
    store_lock_release(&gc->lock);
    return ok;
}

static void gc_close(Gc *gc)
{
    Err err = ERR_INIT;
    bool locked = gc->db.handle != NULL && store_lock_take(&gc->lock, &err);
    if (!locked && gc->db.handle != NULL) {
        sqlite3_db_config(gc->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    db_close(&gc->db);
    store_lock_close(&gc->lock); // lets go of it
}

static bool gc_begin(Gc *gc, Err *err)
{
    if (!store_lock_take(&gc->lock, err)) {
        return false;
    }
    if (!db_begin(&gc->db, err)) {
        store_lock_release(&gc->lock);
        return false;
    }
    return true;
}

/** Commit, or roll back what failed. */
static bool gc_end(Gc *gc, bool ok, Err *err)
{
    ok = ok && db_exec(&gc->db, "COMMIT", err);
    if (!ok) {
        for (size_t i = 0; i < gc->db.n_statements; i++) {
            sqlite3_reset(gc->db.statements[i]);
        }
        sqlite3_exec(gc->db.handle, "ROLLBACK", NULL, NULL, NULL);
    }
    store_lock_release(&gc->lock);
    return ok;
}

/** Look again, now that nobody else can change it; *out_goes is false for what has to stay. */
static bool still_goes(Gc *gc, int64_t id, bool *out_goes, Err *err)
{
    bool found;
    sqlite3_stmt *row = db_statement(&gc->db, GC_SQL_FIND);
    bind_i64(row, 1, id);
    if (!db_step(&gc->db, GC_SQL_FIND, &found, err)) {
        return false;
    }
    *out_goes = found && column_is_null(row, 1);
    sqlite3_reset(row);
    return true;
}

static bool remove_rows(Gc *gc, int64_t id, Err *err)
{
    for (int index = GC_SQL_SCORES; index <= GC_SQL_EXPERIMENT; index++) {
        bind_i64(db_statement(&gc->db, index), 1, id);
        if (!db_run(&gc->db, index, err)) {
            return false;
        }
    }
    return true;
}

static bool remove_one(Gc *gc, const ExperimentInfo *experiment, bool *out_removed, Err *err)
{
    int lock_fd = -1;
    Err held = ERR_INIT;
    *out_removed = false;
    if (!gc_begin(gc, err)) {
        return false;
    }
    bool goes = false;
    bool ok = still_goes(gc, experiment->id, &goes, err);
    goes = ok && goes && experiment_lock_take(gc->path, experiment->short_id, &lock_fd, &held);
    ok = ok && (!goes || remove_rows(gc, experiment->id, err));
    ok = gc_end(gc, ok, err);
    experiment_lock_release(gc->path, experiment->short_id, lock_fd);
    *out_removed = ok && goes;
    return ok;
}

static bool remove_unreferenced(Gc *gc, Err *err)
{
    if (!gc_begin(gc, err)) {
        return false;
    }
    bool ok = db_run(&gc->db, GC_SQL_LOST_SAMPLES, err) && db_run(&gc->db, GC_SQL_BLOBS, err);
    return gc_end(gc, ok, err);
}

/** Whether some process writes an experiment now: it would wait for us, and give up. */
static bool somebody_runs(Gc *gc, bool *out, Err *err)
{
    *out = false;
    sqlite3_stmt *row = db_statement(&gc->db, GC_SQL_RUNNING);
    for (bool more = true; more && !*out;) {
        if (!db_step(&gc->db, GC_SQL_RUNNING, &more, err)) {
            return false;
        }
        *out = more && experiment_lock_is_held(gc->path, column_str(row, 0));
    }
    sqlite3_reset(row);
    return true;
}

/** Give the space back; that it can not be had is no failure of what was removed. */
static bool make_smaller(Gc *gc, Arena *arena, GcDone *done, Err *err)
{
    bool busy;
    if (!store_lock_take(&gc->lock, err)) {
        return false;
    }
    bool ok = somebody_runs(gc, &busy, err);
    if (ok && busy) {
        done->why_not = STR("an experiment is running; the space is used again, and the next gc "
                            "makes the file smaller");
    } else if (ok) {
        Err why = ERR_INIT;
        done->vacuumed = db_exec(&gc->db, "VACUUM", &why) &&
                         db_exec(&gc->db, "PRAGMA wal_checkpoint(TRUNCATE)", &why);
        done->why_not = done->vacuumed ? STR_EMPTY : str_copy(arena, str_from_c(why.message));
    }
    store_lock_release(&gc->lock);
    return ok;
}

/** Of the file and what its WAL still holds. */
static uint64_t bytes_on_disk(Arena *arena, Str path)
{
    uint64_t file = 0;
    uint64_t wal = 0;
    file_size(path, &file);
    file_size(str_concat(arena, path, STR("-wal")), &wal);
    return file + wal;
}

bool gc_remove(Str path, Arena *arena, const GcPlan *plan, GcDone *out, Err *err)
{
    *out = (GcDone){.why_not = STR_EMPTY, .file_bytes_before = bytes_on_disk(arena, path)};
    Gc gc = {.path = db_path(arena, path), .lock = {.lock_fd = -1, .turn_fd = -1}};
    bool ok = gc_open(&gc, err);
    for (size_t i = 0; ok && i < plan->n; i++) {
        bool removed = false;
        if (plan->items[i].stays.len > 0) {
            continue;
        }
        ok = remove_one(&gc, &plan->items[i].experiment, &removed, err);
        out->n_removed += removed;
        out->n_stayed += ok && !removed;
    }
    ok = ok && remove_unreferenced(&gc, err) && make_smaller(&gc, arena, out, err);
    gc_close(&gc);
    out->file_bytes_after = bytes_on_disk(arena, path);
    return ok;
}
