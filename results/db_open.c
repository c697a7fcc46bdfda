// SPDX-License-Identifier: MIT
// Opening the store with every check that SQLite itself does not make. A file that is not ours, is
// newer than we know, or is damaged is reported and never touched.
#include "results/db_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define BUSY_TIMEOUT_MS 10000

// ---- What the path names ------------------------------------------------------------------------

const char *db_path(Arena *arena, Str path)
{
    const char *given = str_to_c(arena, path);
    struct stat info;
    if (lstat(given, &info) != 0 || !S_ISLNK(info.st_mode)) {
        return given;
    }
    char *real = realpath(given, NULL);
    const char *found = real != NULL ? str_to_c(arena, str_from_c(real)) : given;
    free(real);
    return found;
}

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
    char folder[DB_PATH_MAX];
    Str dir = path_dir(str_from_c(path)); // of a file that is not there yet
    snprintf(folder, sizeof(folder), STR_FMT, STR_ARG(dir));
    const char *network = network_file_system(*out == DB_FILE_NONE ? folder : path);
    return network == NULL || refuse_network(path, network, err);
}

// ---- Opening ------------------------------------------------------------------------------------

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
    if (!db_query_one(db, "PRAGMA application_id", &application, NULL, 0, err) ||
        !db_query_one(db, "PRAGMA user_version", &version, NULL, 0, err) ||
        !db_query_one(db, "SELECT count(*) FROM sqlite_schema", &n_objects, NULL, 0, err)) {
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

// ---- Opening for writing and for reading --------------------------------------------------------

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

static bool open_as(Db *db, const char *name, int flags, Err *err)
{
    int rc = sqlite3_open_v2(name, &db->handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | flags,
                             NULL);
    if (rc != SQLITE_OK) {
        return db_error(err, db->handle, rc, db->path, "open");
    }
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return configure(db, err);
}

bool db_open_as_it_lies(Db *db, const char *path, Err *err)
{
    char uri[3 * DB_PATH_MAX];
    *db = (Db){.path = path, .immutable = true};
    if (!immutable_uri(path, uri, sizeof(uri))) {
        return ERR_SET(err, ERR_STORE, "the path of the store is too long");
    }
    return open_as(db, uri, SQLITE_OPEN_URI, err);
}

/** What readers need of a connection that is open. */
static bool begin_to_read(Db *db, int64_t *out_version, Err *err)
{
    return read_version(db, out_version, err) && put_views_over(db, *out_version, err) &&
           db_exec(db, "PRAGMA query_only = ON", err);
}

bool db_begin(Db *db, Err *err)
{
    static const char stamp[] = "UPDATE store SET before = after, after = randomblob(16), "
                                "layout = (SELECT schema_version FROM pragma_schema_version)";
    if (!db_exec(db, "BEGIN IMMEDIATE", err)) {
        return false;
    }
    if (!db_exec(db, stamp, err)) {
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        return false;
    }
    return true;
}

/** WAL, every commit on disk before it is acknowledged, checkpoints only where we hold the lock. */
static bool configure_writer(Db *db, Err *err)
{
    char mode[16];
    if (!db_query_one(db, "PRAGMA journal_mode = WAL", NULL, mode, sizeof(mode), err)) {
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
        !db_query_one(db, "PRAGMA synchronous", &synchronous, NULL, 0, err) ||
        !db_query_one(db, "PRAGMA foreign_keys", &foreign_keys, NULL, 0, err)) {
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
    bool known = true;
    if (db_has_wal(path) && !db_wal_check(path, &known, err)) { // left by a crash, or in use
        return false;
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &db->handle, flags, NULL);
    if (rc != SQLITE_OK) {
        db_error(err, db->handle, rc, path, "open");
        db_close(db);
        return false;
    }
    int64_t version = 0;
    bool ok = configure(db, err) && read_version(db, &version, err) &&
              (known || version == 0 || db_wal_check_unknown(db, true, err)) &&
              configure_writer(db, err);
    if (ok && version == 0) {
        ok = db_create_tables(db, err);
    } else if (ok && version < DB_VERSION) {
        ok = db_migrate(db, (int)version, DB_VERSION, results_migrations, err);
    }
    if (!ok) {
        // Closing would lay the -wal into the file, and that may be what is wrong with it.
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        db_close(db);
    }
    return ok;
}

/** A WAL database in a folder that can not be written, or on a full disk, can only be read as it
 * lies there. */
static bool open_local(Db *db, const char *path, int64_t *out_version, Err *err)
{
    Err first = ERR_INIT;
    bool known = true;
    if (db_has_wal(path) && !db_wal_check(path, &known, err)) {
        return false;
    }
    if (open_as(db, path, 0, &first) && begin_to_read(db, out_version, &first)) {
        return known || *out_version == 0 || db_wal_check_unknown(db, false, err);
    }
    int extended = db->handle != NULL ? sqlite3_extended_errcode(db->handle) : SQLITE_OK;
    int primary = extended & 0xff;
    bool full = extended == SQLITE_IOERR_SHMSIZE; // no room for what readers share
    bool closed = primary == SQLITE_READONLY || primary == SQLITE_CANTOPEN;
    if ((!full && !closed) || (full && db_has_wal(path))) {
        *err = first;
        return false;
    }
    if (db_has_wal(path)) {
        return ERR_SET(err, ERR_STORE,
                       "store '%s' lies in a folder that can not be written and its last writer "
                       "left '%s-wal' behind; copy both files elsewhere",
                       path, path);
    }
    db_close(db);
    return db_open_as_it_lies(db, path, err) && begin_to_read(db, out_version, err);
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
        ok = db_has_wal(path)
                 ? refuse_network(path, network, err)
                 : db_open_as_it_lies(db, path, err) && begin_to_read(db, &version, err);
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
