// SPDX-License-Identifier: MIT
// For tests that look into the file themselves, and a store with something in it.
#pragma once

#include "fixture.h"

#include "results/db_internal.h"

/** What one SQL text answers, first column of the first row as text. */
static inline Str sql_one(Arena *arena, const Place *place, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    Str out = STR("<nothing>");
    if (sqlite3_open_v2(place->db, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        out = str_copy(arena, column_str(statement, 0));
    } else {
        printf("# %s\n", sqlite3_errmsg(db));
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return out;
}

/** An experiment "one" with attempts 0..n-1 of which every third is wrong. */
static inline int64_t fill(Arena *arena, Store *store, int64_t n, Str name)
{
    Err err = ERR_INIT;
    RunSpec run = run_make(arena, "", "echo/x");
    ExperimentSpec spec = experiment_make(arena, name, 1, &run, 1);
    ExperimentOpen open;
    if (!CHECK_OK(store_experiment_begin(store, arena, &spec, RESUME_IF_THERE, &open, &err),
                  &err)) {
        return 0;
    }
    for (int64_t i = 0; i < n; i++) {
        AttemptRow row = attempt_make(arena, open.run_ids[0], i, 0, i % 3 == 0 ? 0 : 1);
        CHECK_OK(call_put(store, &row, "0", &err), &err);
        CHECK_OK(store_put_attempt(store, &row, &err), &err);
    }
    CHECK_OK(store_flush(store, &err), &err);
    return open.id;
}
