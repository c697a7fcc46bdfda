// SPDX-License-Identifier: MIT
// Whether the -wal beside a file is the log of this very state of it. SQLite does not ask: it lays
// whatever -wal lies there over the file, page by page.
//
// Every transaction of ours leaves a stamp in the one row of table `store`: a random `after`, and
// as `before` the one that it found. So the first stamp in a -wal says what the file held when that
// log was begun, and all of them what it can hold since a checkpoint copied part of the log into
// it. A file with another stamp is of another time, or a copy with other pages. Both files are read
// as they lie there: the log by its format (sqlite.org/fileformat2.html#walformat), of which only
// what is committed counts.
#include "results/db_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define WAL_HEADER    32
#define FRAME_HEADER  24
#define PAGE_MAX      65536
#define STAMP_BYTES   16
#define COOKIE_AT     40 // of page 1: schema_version
#define COOKIES_MAX   16 // of one log: there are one or two
#define WAL_MAGIC     0x377f0682U
#define LEAF_OF_TABLE 0x0d
#define LOOK_AGAIN_NS 5000000
#define LOOKS_MAX     400

#define QUICK_CHECK_BYTES (64 << 20) // of a file with a -wal: a tenth of a second

// ---- Bytes --------------------------------------------------------------------------------------

typedef struct Stamp {
    char id[33];
    char before[33];
    char after[33];
    int64_t layout;
} Stamp;

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t le32(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void hex_of(const uint8_t *bytes, char out[33])
{
    for (int i = 0; i < STAMP_BYTES; i++) {
        snprintf(out + 2 * (ptrdiff_t)i, 3, "%02X", bytes[i]);
    }
}

/** How many bytes a record's integer of that serial type takes; -1: it is no integer. */
static int integer_bytes(uint8_t type)
{
    static const int8_t bytes[] = {-1, 1, 2, 3, 4, 6, 8, -1, 0, 0};
    return type < sizeof(bytes) ? bytes[type] : -1;
}

/** Whether a page is that of table `store`: a leaf with one row of three blobs and an integer. */
static bool read_stamp(const uint8_t *page, int page_size, Stamp *out)
{
    static const uint8_t types[] = {5, 44, 44, 44}; // of a header of 5 bytes, 16 bytes each
    if (page[0] != LEAF_OF_TABLE || page[3] != 0 || page[4] != 1) {
        return false;
    }
    int at = page[8] << 8 | page[9];
    if (at + 2 + 5 > page_size) {
        return false;
    }
    const uint8_t *row = page + at + 2; // after its length and its number
    int n = integer_bytes(row[4]);
    if (memcmp(row, types, sizeof(types)) != 0 || n < 0 || page[at + 1] != 1 ||
        page[at] != 5 + 3 * STAMP_BYTES + n || at + 2 + page[at] > page_size) {
        return false;
    }
    const uint8_t *body = row + 5;
    hex_of(body, out->id);
    hex_of(body + STAMP_BYTES, out->before);
    hex_of(body + 2 * (ptrdiff_t)STAMP_BYTES, out->after);
    out->layout = row[4] == 9;
    for (int i = 0; i < n; i++) {
        out->layout = out->layout << 8 | body[3 * STAMP_BYTES + i];
    }
    return true;
}

// ---- The file -----------------------------------------------------------------------------------

/** What the file itself says, whatever its -wal does. */
typedef struct FileState {
    Db db;
    int page_size;  // of its log
    char id[33];    // hex; "" if it has none that can be read
    char after[33]; // hex; "" before version 3
    int64_t cookie; // -1: can not be read
    bool has_page1;
    uint8_t page1[PAGE_MAX];
} FileState;

/** A page through SQLite's own descriptor: closing another one would drop SQLite's locks. */
static bool read_page(FileState *state, uint32_t number, uint8_t *out)
{
    sqlite3_file *file = NULL;
    int64_t at = (int64_t)(number - 1) * state->page_size;
    return state->db.handle != NULL &&
           sqlite3_file_control(state->db.handle, "main", SQLITE_FCNTL_FILE_POINTER, &file) ==
               SQLITE_OK &&
           file != NULL && file->pMethods != NULL &&
           file->pMethods->xRead(file, out, state->page_size, at) == SQLITE_OK;
}

/** Open the file and read what it says; close_file is due either way. */
static void open_file(const char *path, int page_size, FileState *out)
{
    static const char id_sql[] =
        "SELECT hex(id) FROM store WHERE typeof(id) = 'blob' AND length(id) = 16";
    static const char after_sql[] =
        "SELECT hex(after) FROM store WHERE typeof(after) = 'blob' AND length(after) = 16";
    Err none = ERR_INIT;
    memset(out, 0, sizeof(*out));
    out->page_size = page_size;
    out->cookie = -1;
    if (!db_open_as_it_lies(&out->db, path, &none)) {
        return;
    }
    out->has_page1 = read_page(out, 1, out->page1);
    if (out->has_page1) {
        out->cookie = be32(out->page1 + COOKIE_AT);
    }
    if (!db_query_one(&out->db, id_sql, NULL, out->id, sizeof(out->id), &none)) {
        out->id[0] = '\0';
    } else if (!db_query_one(&out->db, after_sql, NULL, out->after, sizeof(out->after), &none)) {
        out->after[0] = '\0';
    }
}

static void close_file(FileState *state)
{
    db_close(&state->db);
}

// ---- The log ------------------------------------------------------------------------------------

/** What a log says, next to what the file says. */
typedef struct LogState {
    uint8_t header[WAL_HEADER]; // salts: another one after every time the log was begun anew
    bool committed;             // there is something to lay over the file
    Stamp first;                // id "": there is none
    bool knows_after;           // the file's stamp is one of the log's
    bool knows_page1;           // the file's first page is one of the log's
    bool begun_on_it;           // the first stamp was left in a file that was just like this
    int64_t cookies[COOKIES_MAX];
    size_t n_cookies;
} LogState;

/** Of one transaction, until its last frame says that it is committed. */
typedef struct Pending {
    Stamp stamp; // id "": none yet
    bool knows_page1;
    int64_t cookie; // -1: it has no page 1
} Pending;

static bool is_cookie(const LogState *log, int64_t cookie)
{
    bool found = false;
    for (size_t i = 0; i < log->n_cookies; i++) {
        found |= log->cookies[i] == cookie;
    }
    return found;
}

static void add_cookie(LogState *log, int64_t cookie)
{
    if (!is_cookie(log, cookie) && log->n_cookies < COOKIES_MAX) {
        log->cookies[log->n_cookies++] = cookie;
    }
}

/**
 * A checkpoint that was killed leaves a file that is shorter than its first page says, which SQLite
 * does not read. Its stamp lies where the log has it. */
static void find_stamp(FileState *file, uint32_t number)
{
    Stamp stamp;
    uint8_t *page = mem_alloc(1, (size_t)file->page_size);
    if (read_page(file, number, page) && read_stamp(page, file->page_size, &stamp)) {
        memcpy(file->id, stamp.id, sizeof(file->id));
        memcpy(file->after, stamp.after, sizeof(file->after));
    }
    mem_free(page);
}

static void take_page(Pending *pending, uint32_t number, const uint8_t *page, bool first,
                      FileState *file)
{
    if (number == 1) {
        pending->cookie = be32(page + COOKIE_AT);
        pending->knows_page1 =
            file->has_page1 && memcmp(page, file->page1, (size_t)file->page_size) == 0;
    } else if (read_stamp(page, file->page_size, &pending->stamp) && first && file->id[0] == '\0') {
        find_stamp(file, number);
    }
}

/** A transaction is complete. */
static void take_commit(LogState *log, Pending *pending, const FileState *file)
{
    const Stamp *stamp = &pending->stamp;
    log->committed = true;
    log->knows_page1 |= pending->knows_page1;
    if (pending->cookie >= 0) {
        add_cookie(log, pending->cookie);
    }
    if (stamp->id[0] != '\0') {
        add_cookie(log, stamp->layout);
        log->knows_after |= strcmp(stamp->after, file->after) == 0;
        if (log->first.id[0] == '\0') {
            log->first = *stamp;
            log->begun_on_it = strcmp(stamp->id, file->id) == 0 &&
                               strcmp(stamp->before, file->after) == 0 &&
                               stamp->layout == file->cookie;
        }
    }
    *pending = (Pending){.cookie = -1};
}

/** The running check sum of a log, over whole pairs of words. */
static void add_to_sum(const uint8_t *bytes, size_t n, bool big_endian, uint32_t sum[2])
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        sum[0] += (big_endian ? be32(bytes + i) : le32(bytes + i)) + sum[1];
        sum[1] += (big_endian ? be32(bytes + i + 4) : le32(bytes + i + 4)) + sum[0];
    }
}

static bool sum_is(const uint32_t sum[2], const uint8_t *at)
{
    return be32(at) == sum[0] && be32(at + 4) == sum[1];
}

/** The size of a page if these bytes begin a log, else 0; sum is that of its first frame's start.
 */
static int begin_log(const uint8_t header[WAL_HEADER], bool *big_endian, uint32_t sum[2])
{
    uint32_t page_size = be32(header + 8);
    *big_endian = (be32(header) & 1) != 0;
    if ((be32(header) & ~1U) != WAL_MAGIC || page_size < 512 || page_size > PAGE_MAX ||
        (page_size & (page_size - 1)) != 0) {
        return 0;
    }
    sum[0] = sum[1] = 0;
    add_to_sum(header, 24, *big_endian, sum);
    return sum_is(sum, header + 24) ? (int)page_size : 0;
}

/** Read the log up to where SQLite stops, or to where it is known that it was begun on the file. */
static void read_log(FILE *f, bool big_endian, uint32_t sum[2], FileState *file, LogState *log)
{
    size_t page_size = (size_t)file->page_size;
    uint8_t *frame = mem_alloc(1, FRAME_HEADER + page_size);
    const uint8_t *page = frame + FRAME_HEADER;
    Pending pending = {.cookie = -1};
    while (!log->begun_on_it &&
           fread(frame, 1, FRAME_HEADER + page_size, f) == FRAME_HEADER + page_size &&
           memcmp(frame + 8, log->header + 16, 8) == 0) { // else left from before it was begun anew
        add_to_sum(frame, 8, big_endian, sum);
        add_to_sum(page, page_size, big_endian, sum);
        if (!sum_is(sum, frame + 16)) {
            break;
        }
        take_page(&pending, be32(frame), page, log->first.id[0] == '\0', file);
        if (be32(frame + 4) != 0) {
            take_commit(log, &pending, file);
        }
    }
    mem_free(frame);
}

// ---- Both ---------------------------------------------------------------------------------------

typedef enum Verdict {
    VERDICT_FITS,
    VERDICT_UNKNOWN, // written by another program or an older version, or half of a file
    VERDICT_OTHER_STORE,
    VERDICT_OTHER_TIME,
} Verdict;

static Verdict verdict_of(const FileState *file, const LogState *log)
{
    static const char zeros[] = "00000000000000000000000000000000";
    if (!log->committed || log->begun_on_it) {
        return VERDICT_FITS;
    }
    if (log->first.id[0] == '\0') {
        return VERDICT_UNKNOWN;
    }
    if (file->id[0] != '\0' && strcmp(file->id, log->first.id) != 0) {
        return VERDICT_OTHER_STORE;
    }
    bool began = strcmp(log->first.before, file->after[0] != '\0' ? file->after : zeros) == 0;
    if ((began || log->knows_after) && is_cookie(log, file->cookie)) {
        return VERDICT_FITS;
    }
    // VACUUM and migrations move the table, so that a file in which their checkpoint was killed may
    // not be readable without its log. Pages are copied in their order: page 1 came first.
    return file->after[0] == '\0' && log->knows_page1 ? VERDICT_UNKNOWN : VERDICT_OTHER_TIME;
}

/** Look at both files once. */
static Verdict look(const char *path, FileState *file, LogState *log)
{
    char name[DB_PATH_MAX];
    bool big_endian;
    uint32_t sum[2];
    *log = (LogState){0};
    snprintf(name, sizeof(name), "%s-wal", path);
    FILE *f = fopen(name, "rbe");
    if (f == NULL) {
        return VERDICT_UNKNOWN; // gone by now, or SQLite will say why it can not be read
    }
    int page_size = fread(log->header, 1, WAL_HEADER, f) == WAL_HEADER
                        ? begin_log(log->header, &big_endian, sum)
                        : 0;
    if (page_size > 0) {
        open_file(path, page_size, file); // after the header: what is copied now is in this log
        read_log(f, big_endian, sum, file, log);
        close_file(file);
    }
    fclose(f);
    return verdict_of(file, log);
}

static bool is_same(const FileState *a, const FileState *b)
{
    return strcmp(a->id, b->id) == 0 && strcmp(a->after, b->after) == 0 && a->cookie == b->cookie &&
           a->has_page1 == b->has_page1 && memcmp(a->page1, b->page1, sizeof(a->page1)) == 0;
}

/**
 * Look until it fits, or until two looks saw the same: a writer may be at work, whose checkpoint
 * comes between our reading of one page of the file and of the next. */
static Verdict look_well(const char *path)
{
    FileState *files = mem_zalloc(2, sizeof(*files));
    LogState logs[2] = {0};
    Verdict verdict = look(path, &files[0], &logs[0]);
    for (int i = 1; i < LOOKS_MAX && verdict > VERDICT_UNKNOWN; i++) {
        int now = i % 2;
        verdict = look(path, &files[now], &logs[now]);
        if (is_same(&files[0], &files[1]) &&
            memcmp(logs[0].header, logs[1].header, WAL_HEADER) == 0) {
            break;
        }
        struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
        nanosleep(&pause, NULL);
    }
    mem_free(files);
    return verdict;
}

// ---- What callers ask ---------------------------------------------------------------------------

bool db_has_wal(const char *path)
{
    char name[DB_PATH_MAX];
    struct stat info;
    snprintf(name, sizeof(name), "%s-wal", path);
    return stat(name, &info) == 0 && info.st_size > 0;
}

static bool refuse_other_store(const char *path, Err *err)
{
    return ERR_SET(err, ERR_STORE,
                   "'%s-wal' belongs to another store than '%s', beside which it lies; nothing was "
                   "changed: move it away, to the store it is of",
                   path, path);
}

static bool refuse_other_time(const char *path, Err *err)
{
    return ERR_SET(err, ERR_STORE,
                   "store '%s' and '%s-wal' do not fit together, or are damaged; nothing was "
                   "changed. If the file was copied here while the -wal of another one lay there, "
                   "move the -wal away; else restore a copy",
                   path, path);
}

bool db_wal_check(const char *path, bool *out_known, Err *err)
{
    Verdict verdict = look_well(path);
    *out_known = verdict != VERDICT_UNKNOWN;
    return verdict == VERDICT_OTHER_STORE  ? refuse_other_store(path, err)
           : verdict == VERDICT_OTHER_TIME ? refuse_other_time(path, err)
                                           : true;
}

/** Tell a -wal of another time by the damage that it does: by luck, that is. */
static bool is_sound(Db *db, Err *err)
{
    char wal[DB_PATH_MAX];
    struct stat info[2];
    char answer[200];
    snprintf(wal, sizeof(wal), "%s-wal", db->path);
    if (stat(db->path, &info[0]) != 0 || stat(wal, &info[1]) != 0 ||
        info[0].st_size + info[1].st_size > QUICK_CHECK_BYTES) {
        return true;
    }
    return db_query_one(db, "PRAGMA quick_check(1)", NULL, answer, sizeof(answer), err) &&
           (strcmp(answer, "ok") == 0 || refuse_other_time(db->path, err));
}

bool db_wal_check_unknown(Db *db, bool writes, Err *err)
{
    char seen[33];
    Err none = ERR_INIT;
    FileState *file = mem_alloc(1, sizeof(*file));
    open_file(db->path, 512, file);
    bool has = db_query_one(db, "SELECT hex(id) FROM store", NULL, seen, sizeof(seen), &none);
    bool same = file->id[0] == '\0' || (has && strcmp(file->id, seen) == 0);
    close_file(file);
    mem_free(file);
    return (same || refuse_other_store(db->path, err)) && (!writes || is_sound(db, err));
}
