// SPDX-License-Identifier: MIT
// Errors of SQLite in words, running statements, binding and reading columns.
#include "results/db_internal.h"

#include "text/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define JSON_MAX_DEPTH 1000

// ---- Errors -------------------------------------------------------------------------------------

/** What a primary result code means for a person; NULL: SQLite's own words do. */
static const char *advice_of(int primary)
{
    switch (primary) {
    case SQLITE_NOTADB:
        return "this file is not a muster store, or its first bytes are damaged; name another file";
    case SQLITE_CORRUPT:
        return "the file is damaged and was left as it is; restore a copy, or save what can be "
               "read "
               "with: sqlite3 FILE .recover";
    case SQLITE_FULL:
        return "no space left; nothing unconfirmed was kept: free some space, then --resume";
    case SQLITE_IOERR:
        return "the disk failed or is full; what was confirmed is safe: check it, then --resume";
    case SQLITE_READONLY:
        return "the file or its folder can not be written; change its permissions or name another";
    case SQLITE_CANTOPEN:
        return "the file or its folder can not be opened; check the permissions";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another program keeps the file locked; close it, then --resume";
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return "permission denied";
    default:
        return NULL;
    }
}

bool db_error(Err *err, sqlite3 *handle, int rc, const char *path, const char *what)
{
    int extended = handle != NULL ? sqlite3_extended_errcode(handle) : rc;
    int sys_errno = handle != NULL ? sqlite3_system_errno(handle) : 0;
    const char *words = handle != NULL ? sqlite3_errmsg(handle) : sqlite3_errstr(rc);
    const char *advice = advice_of(rc & 0xff);
    const char *os_words = "";
    char os_buffer[160];
    if (sys_errno != 0 && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN)) {
        snprintf(os_buffer, sizeof(os_buffer), ", %s", strerrordesc_np(sys_errno));
        os_words = os_buffer;
    }
    if (advice == NULL) {
        return ERR_SET(err, ERR_STORE, "store '%s': %s: %s (SQLite %d)", path, what, words,
                       extended);
    }
    return ERR_SET(err, ERR_STORE, "store '%s': %s (%s: %s%s, SQLite %d)", path, advice, what,
                   words, os_words, extended);
}

bool db_failed(Err *err, const Db *db, int rc, const char *what)
{
    return db_error(err, db->handle, rc, db->path, what);
}

// ---- Statements ---------------------------------------------------------------------------------

bool db_exec(Db *db, const char *sql, Err *err)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || db_failed(err, db, rc, "statement");
}

bool db_query_one(Db *db, const char *sql, int64_t *out_i, char *out_text, size_t text_size,
                  Err *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(statement);
    }
    if (rc != SQLITE_ROW) {
        db_failed(err, db, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, "open");
        sqlite3_finalize(statement);
        return false;
    }
    if (out_i != NULL) {
        *out_i = sqlite3_column_int64(statement, 0);
    }
    if (out_text != NULL) {
        snprintf(out_text, text_size, "%s", (const char *)sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    return true;
}

bool db_prepare(Db *db, const SqlText *texts, size_t n, Err *err)
{
    db->texts = texts;
    db->n_statements = n;
    db->statements = mem_zalloc(n, sizeof(*db->statements));
    for (size_t i = 0; i < n; i++) {
        int rc = sqlite3_prepare_v3(db->handle, texts[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->statements[i], NULL);
        if (rc != SQLITE_OK) {
            return db_failed(err, db, rc, texts[i].name);
        }
    }
    return true;
}

void db_close(Db *db)
{
    for (size_t i = 0; i < db->n_statements; i++) {
        sqlite3_finalize(db->statements[i]);
    }
    mem_free(db->statements);
    sqlite3_close(db->handle);
    *db = (Db){0};
}

sqlite3_stmt *db_statement(Db *db, int index)
{
    sqlite3_reset(db->statements[index]);
    return db->statements[index];
}

bool db_run(Db *db, int index, Err *err)
{
    int rc = sqlite3_step(db->statements[index]);
    if (rc != SQLITE_DONE) {
        db_failed(err, db, rc, db->texts[index].name);
    }
    sqlite3_reset(db->statements[index]);
    return rc == SQLITE_DONE;
}

bool db_step(Db *db, int index, bool *out_row, Err *err)
{
    int rc = sqlite3_step(db->statements[index]);
    if (rc == SQLITE_ROW) {
        *out_row = true;
        return true;
    }
    if (rc != SQLITE_DONE) {
        db_failed(err, db, rc, db->texts[index].name);
    }
    sqlite3_reset(db->statements[index]);
    *out_row = false;
    return rc == SQLITE_DONE;
}

void bind_str(sqlite3_stmt *statement, int at, Str s)
{
    sqlite3_bind_text64(statement, at, s.len > 0 ? s.data : "", s.len, SQLITE_STATIC, SQLITE_UTF8);
}

void bind_str_or_null(sqlite3_stmt *statement, int at, Str s)
{
    if (s.len == 0) {
        sqlite3_bind_null(statement, at);
    } else {
        bind_str(statement, at, s);
    }
}

void bind_hash(sqlite3_stmt *statement, int at, const Hash *hash)
{
    sqlite3_bind_blob(statement, at, hash->bytes, sizeof(hash->bytes), SQLITE_STATIC);
}

void bind_i64(sqlite3_stmt *statement, int at, int64_t i)
{
    sqlite3_bind_int64(statement, at, i);
}

void bind_f64(sqlite3_stmt *statement, int at, double d)
{
    sqlite3_bind_double(statement, at, d);
}

void bind_null(sqlite3_stmt *statement, int at)
{
    sqlite3_bind_null(statement, at);
}

Str column_str(sqlite3_stmt *statement, int at)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);
    if (text == NULL) {
        return STR_EMPTY;
    }
    return (Str){text, (size_t)sqlite3_column_bytes(statement, at)};
}

Str column_copy(sqlite3_stmt *statement, int at, Arena *arena)
{
    return str_copy(arena, column_str(statement, at));
}

Hash column_hash(sqlite3_stmt *statement, int at)
{
    Hash hash = {0};
    const void *bytes = sqlite3_column_blob(statement, at);
    if (bytes != NULL && sqlite3_column_bytes(statement, at) == (int)sizeof(hash.bytes)) {
        memcpy(hash.bytes, bytes, sizeof(hash.bytes));
    }
    return hash;
}

int64_t column_i64(sqlite3_stmt *statement, int at)
{
    return sqlite3_column_int64(statement, at);
}

double column_f64(sqlite3_stmt *statement, int at)
{
    return column_is_null(statement, at) ? (double)NAN : sqlite3_column_double(statement, at);
}

bool column_is_null(sqlite3_stmt *statement, int at)
{
    return sqlite3_column_type(statement, at) == SQLITE_NULL;
}

bool column_json(sqlite3_stmt *statement, int at, Arena *arena, Value *out, Err *err)
{
    Str text = column_copy(statement, at, arena);
    if (text.len == 0) {
        *out = value_null();
        return true;
    }
    JsonOptions options = {.max_depth = JSON_MAX_DEPTH, .keep_last_duplicate = true};
    if (!json_parse(arena, text, &options, out, NULL, err)) {
        err->code = ERR_STORE;
        return ERR_WRAP(err, "column '%s' of the store", sqlite3_column_name(statement, at));
    }
    return true;
}

bool json_text(Arena *arena, const Value *value, Str *out, Err *err)
{
    Buf buf = {0};
    json_write(&buf, value, JSON_COMPACT);
    bool ok = !buf.overflow;
    if (ok) {
        *out = str_copy(arena, buf_view(&buf));
    } else {
        ERR_SET(err, ERR_LIMIT, "a value of more than 64 MiB can not be stored");
    }
    buf_finish(&buf);
    return ok;
}
