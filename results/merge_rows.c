// SPDX-License-Identifier: MIT
// The rows of a merge: attempts with their sample, calls and scores, copied column by column as
// they lie in the other store, so that nothing of them is lost or written anew.
#include "results/merge_internal.h"

#include <stdlib.h>
#include <string.h>

// ---- Rows by number -----------------------------------------------------------------------------

static size_t row_map_slot(const RowMap *map, int64_t key)
{
    size_t at = rng_mix((uint64_t)key) & (map->n_slots - 1);
    while (map->keys[at] != 0 && map->keys[at] != key) {
        at = (at + 1) & (map->n_slots - 1);
    }
    return at;
}

static void row_map_put(RowMap *map, int64_t key, int64_t value)
{
    if (map->n + 1 > map->n_slots / 4 * 3) {
        RowMap grown = {.n_slots = map->n_slots == 0 ? 1024 : map->n_slots * 2, .n = map->n};
        grown.keys = mem_zalloc(grown.n_slots, sizeof(*grown.keys));
        grown.values = mem_zalloc(grown.n_slots, sizeof(*grown.values));
        for (size_t i = 0; i < map->n_slots; i++) {
            if (map->keys[i] != 0) {
                size_t at = row_map_slot(&grown, map->keys[i]);
                grown.keys[at] = map->keys[i];
                grown.values[at] = map->values[i];
            }
        }
        mem_free(map->keys);
        mem_free(map->values);
        *map = grown;
    }
    size_t at = row_map_slot(map, key);
    map->n += map->keys[at] == 0;
    map->keys[at] = key;
    map->values[at] = value;
}

/** 0: it is not there. */
static int64_t row_map_get(const RowMap *map, int64_t key)
{
    return map->n == 0 ? 0 : map->values[row_map_slot(map, key)];
}

void merge_copy_finish(MergeCopy *copy)
{
    mem_free(copy->samples.keys);
    mem_free(copy->samples.values);
}

// ---- One attempt --------------------------------------------------------------------------------

/** Columns of FROM_SQL_ATTEMPT. */
enum {
    ATTEMPT_SAMPLE_ROW,
    ATTEMPT_SAMPLE_ID,
    ATTEMPT_EPOCH,
    ATTEMPT_N_COLUMNS = 21, // that go into the attempt's row; then those of its sample
    ATTEMPT_SAMPLE_HASH = ATTEMPT_N_COLUMNS,
};

/** Bind columns [from, to) of a row to parameters from `at` on. */
static void bind_columns(sqlite3_stmt *statement, int at, sqlite3_stmt *row, int from, int to)
{
    for (int i = from; i < to; i++) {
        sqlite3_bind_value(statement, at + i - from, sqlite3_column_value(row, i));
    }
}

/** The row that the sample has already in the runs that share it; 0: none. */
static bool sample_find(MergeCopy *copy, sqlite3_stmt *row, const OpenRun *into, int64_t *out,
                        Err *err)
{
    Db *db = &copy->into->db;
    *out = 0;
    for (size_t i = 0; i < into->n_siblings && *out == 0; i++) {
        sqlite3_stmt *find = db_statement(db, STORE_SQL_SAMPLE_FIND);
        bind_i64(find, 1, into->siblings[i]);
        bind_columns(find, 2, row, ATTEMPT_SAMPLE_ID, ATTEMPT_SAMPLE_ID + 1);
        bind_columns(find, 3, row, ATTEMPT_SAMPLE_HASH, ATTEMPT_SAMPLE_HASH + 1);
        bool found;
        if (!db_step(db, STORE_SQL_SAMPLE_FIND, &found, err)) {
            return false;
        }
        if (found) {
            *out = column_i64(find, 0);
            sqlite3_reset(find);
        }
    }
    return true;
}

static bool sample_copy(MergeCopy *copy, sqlite3_stmt *row, const OpenRun *into, int64_t *out,
                        Err *err)
{
    Db *db = &copy->into->db;
    *out = 0;
    if (column_is_null(row, ATTEMPT_SAMPLE_ROW)) {
        return true; // open: not known yet
    }
    int64_t key = column_i64(row, ATTEMPT_SAMPLE_ROW);
    *out = row_map_get(&copy->samples, key);
    if (*out != 0) {
        return true;
    }
    if (!copy->fresh && !sample_find(copy, row, into, out, err)) {
        return false;
    }
    if (*out == 0) {
        sqlite3_stmt *insert = db_statement(db, STORE_SQL_SAMPLE_INSERT);
        bind_i64(insert, 1, into->set_id);
        bind_columns(insert, 2, row, ATTEMPT_SAMPLE_ID, ATTEMPT_SAMPLE_ID + 1);
        bind_columns(insert, 3, row, ATTEMPT_SAMPLE_HASH, ATTEMPT_SAMPLE_HASH + 5);
        if (!db_run(db, STORE_SQL_SAMPLE_INSERT, err)) {
            return false;
        }
        *out = sqlite3_last_insert_rowid(db->handle);
    }
    row_map_put(&copy->samples, key, *out);
    return true;
}

/** Copy all rows that a statement has of an attempt. */
static bool details_copy(MergeCopy *copy, int from_sql, int into_sql, int64_t from_id,
                         int64_t into_id, Err *err)
{
    sqlite3_stmt *row = db_statement(copy->from, from_sql);
    bind_i64(row, 1, from_id);
    for (;;) {
        bool more;
        if (!db_step(copy->from, from_sql, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        sqlite3_stmt *insert = db_statement(&copy->into->db, into_sql);
        bind_i64(insert, 1, into_id);
        bind_columns(insert, 2, row, 0, sqlite3_column_count(row));
        if (!db_run(&copy->into->db, into_sql, err)) {
            sqlite3_reset(row);
            return false;
        }
    }
}

static bool attempt_insert(MergeCopy *copy, int64_t from_id, sqlite3_stmt *row, const OpenRun *into,
                           Err *err)
{
    int64_t sample;
    if (!sample_copy(copy, row, into, &sample, err)) {
        return false;
    }
    sqlite3_stmt *insert = db_statement(copy->into_sql, INTO_SQL_ATTEMPT_INSERT);
    bind_i64(insert, 1, into->id);
    bind_columns(insert, 2, row, 0, ATTEMPT_N_COLUMNS);
    if (sample != 0) {
        bind_i64(insert, 2, sample);
    }
    if (!db_run(copy->into_sql, INTO_SQL_ATTEMPT_INSERT, err)) {
        return false;
    }
    int64_t id = sqlite3_last_insert_rowid(copy->into->db.handle);
    return details_copy(copy, FROM_SQL_CALLS, STORE_SQL_CALL_INSERT, from_id, id, err) &&
           details_copy(copy, FROM_SQL_SCORES, STORE_SQL_SCORE_INSERT, from_id, id, err);
}

// ---- What is there already ----------------------------------------------------------------------

/** Columns of MERGE_RESULT_SQL. */
enum {
    RESULT_ID,
    RESULT_STATE,
    RESULT_CLOSED,
    RESULT_SAMPLE_ROW,
    RESULT_FIRST, // that has to be equal
    RESULT_N_COLUMNS = RESULT_FIRST + 6,
};
static const char *const result_words[RESULT_N_COLUMNS] = {
    [RESULT_FIRST] = "sample_hash", "error_type", "stop", "reply_text", "choice_logprobs", "scores",
};

static bool result_step(Db *db, int index, int64_t run_id, sqlite3_stmt *attempt, bool *out_found,
                        Err *err)
{
    sqlite3_stmt *row = db_statement(db, index);
    bind_i64(row, 1, run_id);
    bind_columns(row, 2, attempt, ATTEMPT_SAMPLE_ID, ATTEMPT_EPOCH + 1);
    return db_step(db, index, out_found, err);
}

static bool same_column(sqlite3_stmt *a, sqlite3_stmt *b, int at)
{
    return column_is_null(a, at) == column_is_null(b, at) &&
           str_eq(column_str(a, at), column_str(b, at));
}

static bool refuse(const MergeCopy *copy, const RunSpec *run, sqlite3_stmt *row,
                   sqlite3_stmt *theirs, sqlite3_stmt *ours, Err *err)
{
    Arena arena = {0};
    Buf fields = {0};
    for (int i = RESULT_FIRST; i < RESULT_N_COLUMNS; i++) {
        if (!same_column(theirs, ours, i)) {
            buf_printf(&fields, "%s%s", fields.len > 0 ? ", " : "", result_words[i]);
        }
    }
    ERR_SET(err, ERR_USAGE,
            STR_FMT " and what was merged before differ in " STR_FMT " of sample '" STR_FMT
                    "', epoch %lld (" STR_FMT
                    "): they are two runs of the same thing; leave one out, or give the new one "
                    "another --name",
            STR_ARG(copy->from_words), STR_ARG(buf_view(&fields)),
            STR_ARG(column_str(row, ATTEMPT_SAMPLE_ID)), (long long)column_i64(row, ATTEMPT_EPOCH),
            STR_ARG(spec_run_words(&arena, run)));
    buf_finish(&fields);
    arena_finish(&arena);
    return false;
}

/** What a merge does with an attempt that is there already. */
typedef enum Verdict {
    KEEP,
    REPLACE,
    DIFFERENT,
} Verdict;

/** A finished attempt stands above an error and an unfinished one; of two errors the later counts.
 */
static Verdict decide(sqlite3_stmt *theirs, sqlite3_stmt *ours)
{
    Str their_state = column_str(theirs, RESULT_STATE);
    Str our_state = column_str(ours, RESULT_STATE);
    bool they_are_done = str_eq(their_state, STR("done"));
    if (they_are_done && str_eq(our_state, STR("done"))) {
        for (int i = RESULT_FIRST; i < RESULT_N_COLUMNS; i++) {
            if (!same_column(theirs, ours, i)) {
                return DIFFERENT;
            }
        }
        return KEEP;
    }
    if (they_are_done) {
        return REPLACE;
    }
    bool open = str_eq(our_state, STR("open")) && str_eq(their_state, STR("error"));
    bool later = str_eq(our_state, STR("error")) && str_eq(their_state, STR("error")) &&
                 column_i64(theirs, RESULT_CLOSED) > column_i64(ours, RESULT_CLOSED);
    return open || later ? REPLACE : KEEP;
}

static bool attempt_delete(MergeCopy *copy, int64_t id, Err *err)
{
    static const int details[] = {STORE_SQL_SCORES_DELETE, STORE_SQL_CALLS_DELETE};
    for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++) {
        bind_i64(db_statement(&copy->into->db, details[i]), 1, id);
        if (!db_run(&copy->into->db, details[i], err)) {
            return false;
        }
    }
    bind_i64(db_statement(copy->into_sql, INTO_SQL_ATTEMPT_DELETE), 1, id);
    return db_run(copy->into_sql, INTO_SQL_ATTEMPT_DELETE, err);
}

/** Compare with what is there; *out_insert tells whether the attempt is to be written. */
static bool attempt_compare(MergeCopy *copy, int64_t from_run, const RunSpec *run,
                            const OpenRun *into, sqlite3_stmt *row, bool *out_insert, Err *err)
{
    sqlite3_stmt *theirs = copy->from->statements[FROM_SQL_RESULT];
    sqlite3_stmt *ours = copy->into_sql->statements[INTO_SQL_RESULT];
    bool there;
    bool found;
    *out_insert = true;
    if (!result_step(copy->into_sql, INTO_SQL_RESULT, into->id, row, &there, err)) {
        return false;
    }
    if (!there) {
        copy->n_added++;
        return true;
    }
    bool ok = result_step(copy->from, FROM_SQL_RESULT, from_run, row, &found, err);
    if (ok && !found) {
        ok = ERR_SET(err, ERR_STORE, STR_FMT ": an attempt vanished", STR_ARG(copy->from_words));
    }
    Verdict verdict = ok ? decide(theirs, ours) : KEEP;
    if (ok && verdict == DIFFERENT) {
        ok = refuse(copy, run, row, theirs, ours, err);
    }
    int64_t id = column_i64(ours, RESULT_ID);
    if (verdict == REPLACE && same_column(theirs, ours, RESULT_FIRST)) {
        // Its sample's row stays, and nothing else may lead there any more.
        row_map_put(&copy->samples, column_i64(theirs, RESULT_SAMPLE_ROW),
                    column_i64(ours, RESULT_SAMPLE_ROW));
    }
    sqlite3_reset(theirs);
    sqlite3_reset(ours);
    *out_insert = verdict == REPLACE;
    copy->n_replaced += verdict == REPLACE;
    return ok && (verdict != REPLACE || attempt_delete(copy, id, err));
}

// ---- A run --------------------------------------------------------------------------------------

static int compare_i64(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/** The rows of a run's attempts, oldest first: the order in which they lie in the file. */
static bool ids_read(Db *db, int64_t run_id, int64_t **out, size_t *out_n, Err *err)
{
    size_t cap = 0;
    sqlite3_stmt *row = db_statement(db, FROM_SQL_ATTEMPT_IDS);
    bind_i64(row, 1, run_id);
    for (;;) {
        bool more;
        if (!db_step(db, FROM_SQL_ATTEMPT_IDS, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (*out_n == cap) {
            cap = cap == 0 ? 1024 : cap * 2;
            *out = mem_realloc(*out, cap, sizeof(**out));
        }
        (*out)[(*out_n)++] = column_i64(row, 0);
    }
    if (*out_n > 1) {
        qsort(*out, *out_n, sizeof(**out), compare_i64);
    }
    return true;
}

static bool attempt_copy(MergeCopy *copy, int64_t from_run, int64_t from_id, const RunSpec *run,
                         const OpenRun *into, Err *err)
{
    sqlite3_stmt *row = db_statement(copy->from, FROM_SQL_ATTEMPT);
    bind_i64(row, 1, from_id);
    bool found;
    if (!db_step(copy->from, FROM_SQL_ATTEMPT, &found, err)) {
        return false;
    }
    if (!found) {
        return ERR_SET(err, ERR_STORE, STR_FMT ": an attempt vanished", STR_ARG(copy->from_words));
    }
    bool insert = true;
    bool ok = true;
    if (copy->fresh) {
        copy->n_added++;
    } else {
        ok = attempt_compare(copy, from_run, run, into, row, &insert, err);
    }
    ok = ok && (!insert || attempt_insert(copy, from_id, row, into, err));
    sqlite3_reset(row);
    return ok;
}

bool merge_copy_run(MergeCopy *copy, int64_t from_run, const RunSpec *run, const OpenRun *into,
                    Err *err)
{
    int64_t *ids = NULL;
    size_t n = 0;
    bool ok = ids_read(copy->from, from_run, &ids, &n, err);
    for (size_t i = 0; ok && i < n; i++) {
        ok = attempt_copy(copy, from_run, ids[i], run, into, err);
    }
    mem_free(ids);
    return ok;
}
