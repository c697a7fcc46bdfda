// SPDX-License-Identifier: MIT
// Opening the store with every check that SQLite itself does not make, and errors in words. A file
// that is not ours, is newer than we know, or is damaged is reported and never touched.
#include "results/db_internal.h"

#include "text/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 10000
#define JSON_MAX_DEPTH  1000
#define DB_PATH_MAX     4096

// ---- Errors -------------------------------------------------------------------------------------

/** What a primary result code means for a person; NULL: SQLite's own words do. */
static const char *advice_of(int primary)
{
    switch (primary) {
    case SQLITE_NOTADB:
        return "this file is not a muster store; name another file";
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

// ---- What the path names ------------------------------------------------------------------------

/** Memory shared between processes, which WAL needs, does not work across machines. */
static const char *network_file_system(const char *path)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } kinds[] = {
        {0x6969, "NFS"},
        {0x517b, "SMB"},
        {0xff534d42, "CIFS"},
        {0xfe534d42, "SMB2"},
    };
    struct statfs info;
    if (statfs(path, &info) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (((unsigned long)info.f_type & 0xffffffff) == kinds[i].magic) {
            return kinds[i].name;
        }
    }
    return NULL;
}

/** What lies there, wherever that is. */
static bool file_kind(const char *path, DbFile *out, Err *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        if (errno == ENOENT) {
            *out = DB_FILE_NONE;
            return true;
        }
        int saved = errno;
        return ERR_SET(err, ERR_STORE, "store '%s': %s", path, strerror(saved));
    }
    if (S_ISDIR(info.st_mode)) {
        return ERR_SET(err, ERR_STORE,
                       "store '%s' is a folder; name a file in it, such as '%s/muster.db'", path,
                       path);
    }
    if (!S_ISREG(info.st_mode)) {
        return ERR_SET(err, ERR_STORE, "store '%s' is a %s, not a file; name another", path,
                       S_ISFIFO(info.st_mode)   ? "pipe"
                       : S_ISSOCK(info.st_mode) ? "socket"
                                                : "device");
    }
    *out = info.st_size == 0 ? DB_FILE_EMPTY : DB_FILE_FULL;
    return true;
}

static bool refuse_network(const char *path, const char *network, Err *err)
{
    return ERR_SET(err, ERR_STORE,
                   "store '%s' lies on a network file system (%s), where SQLite can lose data; "
                   "put it on a local disk",
                   path, network);
}

bool db_file_check(const char *path, DbFile *out, Err *err)
{
    if (!file_kind(path, out, err)) {
        return false;
    }
    const char *network = *out == DB_FILE_NONE ? NULL : network_file_system(path);
    return network == NULL || refuse_network(path, network, err);
}

// ---- Opening ------------------------------------------------------------------------------------

bool db_exec(Db *db, const char *sql, Err *err)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || db_failed(err, db, rc, "statement");
}

/** The integer or text that one PRAGMA or SELECT answers. */
static bool query_one(Db *db, const char *sql, int64_t *out_i, char *out_text, size_t text_size,
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

static pthread_once_t configured = PTHREAD_ONCE_INIT;

/** Memory statistics would take a lock for every allocation. */
static void configure_library(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/** Limits and settings of every connection. */
static bool configure(Db *db, Err *err)
{
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
    return db_exec(db, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;", err);
}

/** Identity of an open file: *out_version 0 for one in which nothing was ever stored. */
static bool read_version(Db *db, int64_t *out_version, Err *err)
{
    int64_t application = 0;
    int64_t version = 0;
    int64_t n_objects = 0;
    if (!query_one(db, "PRAGMA application_id", &application, NULL, 0, err) ||
        !query_one(db, "PRAGMA user_version", &version, NULL, 0, err) ||
        !query_one(db, "SELECT count(*) FROM sqlite_schema", &n_objects, NULL, 0, err)) {
        return false;
    }
    if (application == 0 && version == 0 && n_objects == 0) {
        *out_version = 0;
        return true;
    }
    if (application != DB_APPLICATION_ID) {
        return ERR_SET(err, ERR_STORE,
                       "store '%s' is an SQLite database of another program; name another file",
                       db->path);
    }
    if (version > DB_VERSION) {
        return ERR_SET(
            err, ERR_STORE,
            "store '%s' has version %lld, this program knows up to %d; use a newer muster",
            db->path, (long long)version, DB_VERSION);
    }
    if (version < 1) {
        return ERR_SET(err, ERR_STORE, "store '%s' has no version and is damaged; restore a copy",
                       db->path);
    }
    *out_version = version;
    return true;
}

// ---- Migrations ---------------------------------------------------------------------------------

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
            !query_one(db, "PRAGMA user_version", &reached, NULL, 0, err)) {
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

bool db_migrate(Db *db, int from, int to, const EmbeddedFile *files, Err *err)
{
    char copy[DB_PATH_MAX];
    if (!back_up(db, from, copy, err)) {
        return false;
    }
    bool ok = db_exec(db, "BEGIN IMMEDIATE", err) &&
              migrate_in_transaction(db, from, to, files, err) && db_exec(db, "COMMIT", err);
    if (!ok) {
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        unlink(copy);
    }
    return ok;
}

/** What a file in which nothing was ever stored becomes. */
static bool create_tables(Db *db, Err *err)
{
    bool ok = db_exec(db, "BEGIN IMMEDIATE", err) && db_exec(db, results_schema[0].data, err) &&
              migrate_in_transaction(db, 1, DB_VERSION, results_migrations, err) &&
              db_exec(db, "COMMIT", err);
    if (!ok) {
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    }
    return ok;
}

// ---- Opening for writing and for reading --------------------------------------------------------

/** WAL, every commit on disk before it is acknowledged, checkpoints only where we hold the lock. */
static bool configure_writer(Db *db, Err *err)
{
    char mode[16];
    if (!query_one(db, "PRAGMA journal_mode = WAL", NULL, mode, sizeof(mode), err)) {
        return false;
    }
    if (strcmp(mode, "wal") != 0) {
        return ERR_SET(
            err, ERR_STORE,
            "store '%s': this file system does not support SQLite's WAL (mode '%s'); put "
            "the store on a local disk",
            db->path, mode);
    }
    sqlite3_wal_autocheckpoint(db->handle, 0);
    int64_t synchronous = 0;
    int64_t foreign_keys = 0;
    if (!db_exec(db, "PRAGMA synchronous = FULL; PRAGMA cache_size = -8192;", err) ||
        !query_one(db, "PRAGMA synchronous", &synchronous, NULL, 0, err) ||
        !query_one(db, "PRAGMA foreign_keys", &foreign_keys, NULL, 0, err)) {
        return false;
    }
    if (synchronous != 2 || foreign_keys != 1) { // an SQLite library built without them
        return ERR_SET(err, ERR_STORE,
                       "store '%s': this SQLite library can not promise that commits are on disk",
                       db->path);
    }
    return true;
}

bool db_open_writer(Db *db, const char *path, Err *err)
{
    pthread_once(&configured, configure_library);
    *db = (Db){.path = path};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (rc != SQLITE_OK) {
        db_error(err, db->handle, rc, path, "open");
        db_close(db);
        return false;
    }
    int64_t version = 0;
    bool ok = configure(db, err) && read_version(db, &version, err) && configure_writer(db, err);
    if (ok && version == 0) {
        ok = create_tables(db, err);
    } else if (ok && version < DB_VERSION) {
        ok = db_migrate(db, (int)version, DB_VERSION, results_migrations, err);
    }
    if (!ok) {
        db_close(db);
    }
    return ok;
}

/** Percent-encode a path into "file:PATH?immutable=1". */
static bool immutable_uri(const char *path, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "file:");
    for (const char *c = path; *c != '\0' && n + 20 < size; c++) {
        bool plain = strchr("/._-", *c) != NULL || (*c >= '0' && *c <= '9') ||
                     (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        n += (size_t)snprintf(out + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    return (size_t)snprintf(out + n, size - n, "?immutable=1") < size - n;
}

static bool has_wal(const char *path)
{
    char name[DB_PATH_MAX];
    struct stat info;
    snprintf(name, sizeof(name), "%s-wal", path);
    return stat(name, &info) == 0 && info.st_size > 0;
}

/** Let today's statements work on an older store, without touching it. */
static bool put_views_over(Db *db, int64_t version, Err *err)
{
    static const struct {
        int version;
        const char *sql;
    } views[] = {
#define X(version, sql) {version, sql},
#include "results/compat.def"
#undef X
    };
    bool ok = db_exec(db, "PRAGMA temp_store = MEMORY", err);
    for (size_t i = 0; ok && version > 0 && i < sizeof(views) / sizeof(views[0]); i++) {
        ok = version > views[i].version || db_exec(db, views[i].sql, err);
    }
    return ok;
}

static bool open_reader_as(Db *db, const char *name, int flags, int64_t *out_version, Err *err)
{
    int rc = sqlite3_open_v2(name, &db->handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | flags,
                             NULL);
    if (rc != SQLITE_OK) {
        return db_error(err, db->handle, rc, db->path, "open");
    }
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return configure(db, err) && read_version(db, out_version, err) &&
           put_views_over(db, *out_version, err) && db_exec(db, "PRAGMA query_only = ON", err);
}

/** Read the file as it lies there, without locks and without its log. */
static bool open_immutable(Db *db, const char *path, int64_t *out_version, Err *err)
{
    char uri[3 * DB_PATH_MAX];
    if (!immutable_uri(path, uri, sizeof(uri))) {
        return ERR_SET(err, ERR_STORE, "the path of the store is too long");
    }
    *db = (Db){.path = path, .immutable = true};
    return open_reader_as(db, uri, SQLITE_OPEN_URI, out_version, err);
}

/** A WAL database in a folder that can not be written can only be read as it lies there. */
static bool open_local(Db *db, const char *path, int64_t *out_version, Err *err)
{
    Err first = ERR_INIT;
    if (open_reader_as(db, path, 0, out_version, &first)) {
        return true;
    }
    int primary = db->handle != NULL ? sqlite3_errcode(db->handle) & 0xff : SQLITE_OK;
    if (primary != SQLITE_READONLY && primary != SQLITE_CANTOPEN) {
        *err = first;
        return false;
    }
    if (has_wal(path)) {
        return ERR_SET(err, ERR_STORE,
                       "store '%s' lies in a folder that can not be written and its last writer "
                       "left '%s-wal' behind; copy both files elsewhere",
                       path, path);
    }
    db_close(db);
    return open_immutable(db, path, out_version, err);
}

bool db_open_reader(Db *db, const char *path, Err *err)
{
    pthread_once(&configured, configure_library);
    *db = (Db){.path = path};
    DbFile kind;
    if (!file_kind(path, &kind, err)) {
        return false;
    }
    int64_t version = 0;
    const char *network = kind == DB_FILE_FULL ? network_file_system(path) : NULL;
    bool ok = true;
    if (network != NULL) {
        // Nobody writes there, so a file without a log is whole: a copy that some machine left.
        ok = has_wal(path) ? refuse_network(path, network, err)
                           : open_immutable(db, path, &version, err);
    } else if (kind == DB_FILE_FULL) {
        ok = open_local(db, path, &version, err);
    }
    if (ok && version == 0) {
        ok =
            ERR_SET(err, ERR_NOT_FOUND, "there is no store '%s' yet; `muster run` makes one", path);
    }
    if (!ok) {
        db_close(db);
    }
    return ok;
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

// ---- Statements ---------------------------------------------------------------------------------

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
