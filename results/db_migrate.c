// SPDX-License-Identifier: MIT
// Bringing a store from the version it has to the one this program knows: a copy first, then all
// files in one transaction.
#include "results/db_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/** A name for a copy that nothing has yet: "muster.db.v1.bak", else "muster.db.v1-2.bak". */
static bool back_up_name(const Db *db, int version, char name[DB_PATH_MAX])
{
    struct stat info;
    for (int i = 1; i < 1000; i++) {
        int len = i == 1 ? snprintf(name, DB_PATH_MAX, "%s.v%d.bak", db->path, version)
                         : snprintf(name, DB_PATH_MAX, "%s.v%d-%d.bak", db->path, version, i);
        if (len >= DB_PATH_MAX) {
            return false;
        }
        if (lstat(name, &info) != 0) {
            return true;
        }
    }
    return false;
}

/** On disk under its final name, or not there at all. */
static bool back_up_settle(const char *part, const char *name)
{
    int fd = open(part, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0 && rename(part, name) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/** A copy of the store beside it; its name goes to `name`. */
static bool back_up(Db *db, int version, char name[DB_PATH_MAX], Err *err)
{
    char part[DB_PATH_MAX + 8];
    if (!back_up_name(db, version, name)) {
        return ERR_SET(err, ERR_STORE, "store '%s': no name is left for a copy before a migration",
                       db->path);
    }
    snprintf(part, sizeof(part), "%s.part", name);
    unlink(part); // of a process that was killed
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db->handle, "VACUUM INTO ?1", -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_text(statement, 1, part, -1, SQLITE_STATIC);
        rc = sqlite3_step(statement);
    }
    bool ok = rc == SQLITE_DONE || db_failed(err, db, rc, "copy before a migration");
    sqlite3_finalize(statement);
    if (ok && !back_up_settle(part, name)) {
        int saved = errno;
        ok = ERR_SET(err, ERR_STORE, "store '%s': can not keep a copy before a migration: %s",
                     db->path, strerror(saved));
    }
    if (!ok) {
        unlink(part);
    }
    return ok;
}

/** Apply the files past version `from` within the transaction that is open. */
static bool migrate_in_transaction(Db *db, int from, int to, const EmbeddedFile *files, Err *err)
{
    for (const EmbeddedFile *file = files; file->name != NULL; file++) {
        int64_t number = 0;
        if (!str_to_i64(str_slice(str_from_c(file->name), 0, 4), &number) || number <= from) {
            continue;
        }
        int64_t reached = 0;
        if (!db_exec(db, file->data, err) ||
            !db_query_one(db, "PRAGMA user_version", &reached, NULL, 0, err)) {
            return ERR_WRAP(err, "migration %s", file->name);
        }
        if (reached != from + 1 || reached != number) {
            return ERR_SET(err, ERR_INTERNAL, "migration %s leads from version %d to %lld",
                           file->name, from, (long long)reached);
        }
        from++;
    }
    return from == to ||
           ERR_SET(err, ERR_INTERNAL, "there is no migration from version %d to %d", from, to);
}

/** Begin, with a stamp where there is a table for it; else *out_layout is to be its first one's. */
static bool begin_at(Db *db, int version, int64_t *out_layout, Err *err)
{
    if (version >= DB_STAMPED) {
        return db_begin(db, err);
    }
    return db_exec(db, "BEGIN IMMEDIATE", err) &&
           db_query_one(db, "PRAGMA schema_version", out_layout, NULL, 0, err);
}

/** The first stamp: there was none before it. */
static bool first_stamp(Db *db, int64_t layout, Err *err)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "UPDATE store SET layout = %lld", (long long)layout);
    return db_exec(db, sql, err);
}

bool db_migrate(Db *db, int from, int to, const EmbeddedFile *files, Err *err)
{
    char copy[DB_PATH_MAX];
    if (!back_up(db, from, copy, err)) {
        return false;
    }
    int64_t layout = 0;
    bool ok = begin_at(db, from, &layout, err) &&
              migrate_in_transaction(db, from, to, files, err) &&
              (from >= DB_STAMPED || to < DB_STAMPED || first_stamp(db, layout, err)) &&
              db_exec(db, "COMMIT", err);
    if (!ok) {
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        unlink(copy);
    }
    return ok;
}

bool db_create_tables(Db *db, Err *err)
{
    int64_t layout = 0;
    bool ok = begin_at(db, 0, &layout, err) && db_exec(db, results_schema[0].data, err) &&
              migrate_in_transaction(db, 1, DB_VERSION, results_migrations, err) &&
              first_stamp(db, layout, err) && db_exec(db, "COMMIT", err);
    if (!ok) {
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    }
    return ok;
}
