// SPDX-License-Identifier: MIT
// The thin layer over SQLite that store and results share: opening with every check, errors that
// say what to do, named statements, and the locks that keep processes apart. No vendor type leaves
// results/.
#pragma once

#include "base/embedded.h"
#include "results/results.h"

#include <sqlite3.h>

/** Embedded files: schema.sql, and those of results/migrations/. */
extern const EmbeddedFile results_schema[];
extern const EmbeddedFile results_migrations[];

#define DB_PATH_MAX       4096
#define DB_APPLICATION_ID 1836413812 // "must", as schema.sql sets it
#define DB_VERSION        3          // schema.sql and the migrations end here
#define DB_STAMPED        3          // since this one, transactions leave stamps

/** A text of SQL with the name by which a failing statement is reported. */
typedef struct SqlText {
    const char *name;
    const char *sql;
} SqlText;

/** One connection with its statements. Zeroed is closed. One thread at a time. */
typedef struct Db {
    sqlite3 *handle;
    const char *path; // borrowed
    const SqlText *texts;
    sqlite3_stmt **statements; // owned, one for each text
    size_t n_statements;
    bool immutable; // opened on a folder that can not be written
} Db;

/** Fail with what SQLite's code means for the user of this file. handle may be NULL. */
bool db_error(Err *err, sqlite3 *handle, int rc, const char *path, const char *what);
/** As db_error, for a statement of db that returned rc. */
bool db_failed(Err *err, const Db *db, int rc, const char *what);

/**
 * The path as it is, or where it leads if it is a symbolic link: locks lie beside the file itself,
 * so that two names of it are one store. */
const char *db_path(Arena *arena, Str path);

/** What a path names, before SQLite touches it. */
typedef enum DbFile {
    DB_FILE_NONE,
    DB_FILE_EMPTY,
    DB_FILE_FULL,
} DbFile;

/**
 * Refuse folders, pipes and network file systems. Never opens the file: closing it again would drop
 * the POSIX locks that SQLite holds on it elsewhere in this process. */
bool db_file_check(const char *path, DbFile *out, Err *err);
/**
 * Open for writing; the file is created, and made or migrated to DB_VERSION. Call it with the
 * store's lock held. Statements are prepared by db_prepare. */
bool db_open_writer(Db *db, const char *path, Err *err);
/** Open read-only. fails ERR_NOT_FOUND when the file holds no store yet. */
bool db_open_reader(Db *db, const char *path, Err *err);
/**
 * Open read-only without locks and without the log, whatever version it has or whether it is a
 * store at all. db is to be closed either way. */
bool db_open_as_it_lies(Db *db, const char *path, Err *err);
/** Whether there is a -wal with anything in it beside a file. */
bool db_has_wal(const char *path);
/**
 * Refuse a -wal that is not the log of this very state of the file beside which it lies. Before
 * SQLite opens the two. *out_known is false where that can not be told: older versions and other
 * programs leave no stamps.
 * fails  ERR_STORE saying which of the two is to be moved. */
bool db_wal_check(const char *path, bool *out_known, Err *err);
/** For what could not be told: compare ids; for writers, look for damage too, in small files. */
bool db_wal_check_unknown(Db *db, bool writes, Err *err);
/** BEGIN IMMEDIATE, and leave the transaction's stamp. Every transaction begins with it. */
bool db_begin(Db *db, Err *err);
bool db_prepare(Db *db, const SqlText *texts, size_t n, Err *err);
void db_close(Db *db);
/** Run SQL that returns nothing (or whose rows do not matter). */
bool db_exec(Db *db, const char *sql, Err *err);
/** The integer or the text that one PRAGMA or SELECT answers; either out may be NULL. */
bool db_query_one(Db *db, const char *sql, int64_t *out_i, char *out_text, size_t text_size,
                  Err *err);
/** Make a file in which nothing was ever stored a store of DB_VERSION. */
bool db_create_tables(Db *db, Err *err);
/**
 * Bring an open store from its version to the last of files (named NNNN_*.sql, ascending), in one
 * transaction, after a copy beside the file. Nothing has changed when it fails. */
bool db_migrate(Db *db, int from, int to, const EmbeddedFile *files, Err *err);

/** The statement of that index, reset and ready for binding. */
sqlite3_stmt *db_statement(Db *db, int index);
/** Step a statement that returns no rows, then reset it. */
bool db_run(Db *db, int index, Err *err);
/** Step: *out_row tells whether there is a row; at the end the statement is reset. */
bool db_step(Db *db, int index, bool *out_row, Err *err);

// Binding; the bytes must live until the statement is stepped. Indices from 1.
void bind_str(sqlite3_stmt *statement, int at, Str s);
void bind_str_or_null(sqlite3_stmt *statement, int at, Str s); // "" is NULL
void bind_hash(sqlite3_stmt *statement, int at, const Hash *hash);
void bind_i64(sqlite3_stmt *statement, int at, int64_t i);
void bind_f64(sqlite3_stmt *statement, int at, double d); // NaN is NULL
void bind_null(sqlite3_stmt *statement, int at);

// Columns, from 0. Text borrows until the next step; NULL gives "", 0 and NaN.
Str column_str(sqlite3_stmt *statement, int at);
Str column_copy(sqlite3_stmt *statement, int at, Arena *arena);
Hash column_hash(sqlite3_stmt *statement, int at);
int64_t column_i64(sqlite3_stmt *statement, int at);
double column_f64(sqlite3_stmt *statement, int at);
bool column_is_null(sqlite3_stmt *statement, int at);
/** A column of JSON that we wrote; NULL and "" give null. */
bool column_json(sqlite3_stmt *statement, int at, Arena *arena, Value *out, Err *err);

/** Compact JSON in arena. fails ERR_LIMIT past 64 MiB. */
bool json_text(Arena *arena, const Value *value, Str *out, Err *err);

// ---- Locks --------------------------------------------------------------------------------------

/**
 * Who may write to the file now. SQLite before 3.51.3 can lose commits when two processes write and
 * checkpoint at the same instant (sqlite.org/wal.html#walresetbug), so every transaction and every
 * checkpoint of ours happens under a flock of a file beside the store. A second file is the turn:
 * who waits holds it, so a busy writer can not overtake for ever. */
typedef struct StoreLock {
    int lock_fd;
    int turn_fd;
    int64_t wait_ns;  // how long to wait for others
    const char *path; // of the store, borrowed
} StoreLock;

bool store_lock_open(StoreLock *lock, const char *path, Err *err);
void store_lock_close(StoreLock *lock);
/** Wait up to wait_ns (10 s). fails ERR_STORE naming the process that holds it. */
bool store_lock_take(StoreLock *lock, Err *err);
void store_lock_release(StoreLock *lock);

/**
 * Hold an experiment for writing: a flock that the kernel drops with the process.
 * fails  ERR_STORE naming the process that holds it. */
bool experiment_lock_take(const char *path, Str short_id, int *out_fd, Err *err);
/** Let go and remove the lock's file. fd -1 is fine. */
void experiment_lock_release(const char *path, Str short_id, int fd);
/** Whether some process holds it now. */
bool experiment_lock_is_held(const char *path, Str short_id);
