// SPDX-License-Identifier: MIT
// Which -wal is taken for the log of which file: every state of a file beside every log of the same
// store, copies with other pages, checkpoints that were killed after any page, logs without a
// commit, and a writer that is at work meanwhile.
#include "fixture_sql.h"

#include <signal.h>
#include <sys/wait.h>

// ---- Files --------------------------------------------------------------------------------------

/** "DIR/name". */
static const char *at(Arena *arena, const Place *place, const char *name)
{
    return str_to_c(arena, str_concat(arena, str_concat(arena, str_from_c(place->dir), STR("/")),
                                      str_from_c(name)));
}

static Str bytes_of(Arena *arena, const Place *place, const char *name)
{
    Err err = ERR_INIT;
    Str bytes = STR_EMPTY;
    CHECK_OK(file_read(arena, str_from_c(at(arena, place, name)), 64 << 20, &bytes, &err), &err);
    return bytes;
}

static void put(Arena *arena, const Place *place, const char *name, Str bytes)
{
    Err err = ERR_INIT;
    CHECK_OK(file_write_atomic(str_from_c(at(arena, place, name)), bytes, &err), &err);
}

/** Keep the file, and the log if there is one, as they lie there now. */
static void snap(Arena *arena, const Place *place, const char *name)
{
    const char *wal = str_to_c(arena, str_concat(arena, str_from_c(name), STR("-wal")));
    put(arena, place, name, bytes_of(arena, place, "muster.db"));
    if (file_exists(str_from_c(at(arena, place, "muster.db-wal")))) {
        put(arena, place, wal, bytes_of(arena, place, "muster.db-wal"));
    }
}

/** A file beside a log, as "t.db". */
static Place beside(Arena *arena, const Place *place, Str file, Str wal)
{
    Place t = *place;
    unlink(at(arena, place, "t.db-shm"));
    put(arena, place, "t.db", file);
    put(arena, place, "t.db-wal", wal);
    snprintf(t.db, sizeof(t.db), "%.250s/t.db", place->dir);
    return t;
}

// ---- Writing ------------------------------------------------------------------------------------

static void sql(Db *db, const char *text)
{
    Err err = ERR_INIT;
    CHECK_OK(db_exec(db, text, &err), &err);
}

/** One transaction of n rows of about a page's third. */
static void work(Db *db, int n)
{
    Err err = ERR_INIT;
    bool ok = db_begin(db, &err);
    for (int i = 0; ok && i < n; i++) {
        ok = db_exec(db,
                     "INSERT INTO blob (hash, content) VALUES (randomblob(32), "
                     "hex(randomblob(600)))",
                     &err);
    }
    CHECK_OK(ok && db_exec(db, "COMMIT", &err), &err);
}

static Db open_at(const Place *place)
{
    Err err = ERR_INIT;
    Db db;
    CHECK_OK(db_open_writer(&db, place->db, &err), &err);
    return db;
}

// ---- Checks -------------------------------------------------------------------------------------

typedef enum Want {
    FITS,
    TORN, // it is taken, and known where enough of the file can be read
    UNKNOWN,
    OTHER_TIME,
    OTHER_STORE
} Want;

/** What is said of a file beside a log; where they fit, that they are whole, with n rows. */
static void check(int line, Arena *arena, const Place *place, Str file, Str wal, Want want, int n)
{
    Err err = ERR_INIT;
    bool known = true;
    Place t = beside(arena, place, file, wal);
    bool ok = db_wal_check(t.db, &known, &err);
    bool right = ok == (want <= UNKNOWN) && (!ok || want == TORN || known == (want == FITS));
    if (!ok) {
        right = right && err.code == ERR_STORE &&
                has_text(err.message,
                         want == OTHER_STORE ? "belongs to another store" : "do not fit together");
        // Nobody opens them, and nothing is changed.
        Results *results = NULL;
        Store *store = NULL;
        StoreOptions options = {.path = str_from_c(t.db)};
        right = right && !results_open(str_from_c(t.db), &results, &err) &&
                !store_open(&options, &store, &err) &&
                str_eq(bytes_of(arena, place, "t.db"), file) &&
                str_eq(bytes_of(arena, place, "t.db-wal"), wal);
    } else {
        char count[20];
        snprintf(count, sizeof(count), "%d", n);
        right = right &&
                str_eq(sql_one(arena, &t, "SELECT count(*) FROM blob"), str_from_c(count)) &&
                str_eq(sql_one(arena, &t, "PRAGMA integrity_check"), STR("ok"));
    }
    if (!right) {
        tap_checks_failed++;
        printf("# line %d: %s, %s: %s\n", line, ok ? "taken" : "refused",
               known ? "known" : "unknown", err.message);
    }
}

static void check_named(int line, Arena *arena, const Place *place, const char *file,
                        const char *wal, Want want, int n)
{
    const char *name = str_to_c(arena, str_concat(arena, str_from_c(wal), STR("-wal")));
    check(line, arena, place, bytes_of(arena, place, file), bytes_of(arena, place, name), want, n);
}

// ---- One store, many times ----------------------------------------------------------------------

/** A: 20 rows, closed. B, C: a log on it. D: checkpointed. E: a log on that. F: closed. */
static void make_times(Arena *arena, const Place *place)
{
    Db db = open_at(place);
    work(&db, 20);
    db_close(&db);
    snap(arena, place, "A");
    db = open_at(place);
    work(&db, 1);
    snap(arena, place, "B");
    work(&db, 50);
    snap(arena, place, "C");
    sql(&db, "PRAGMA wal_checkpoint(PASSIVE)");
    snap(arena, place, "D");
    work(&db, 30);
    snap(arena, place, "E");
    db_close(&db);
    snap(arena, place, "F");
}

static void test_times__only_the_own_log_is_taken(void)
{
    static const struct {
        int line;
        const char *file;
        const char *wal;
        Want want;
        int n;
    } cases[] = {
        {__LINE__, "A", "B", FITS, 21},      {__LINE__, "A", "C", FITS, 71},
        {__LINE__, "D", "C", FITS, 71},      {__LINE__, "D", "E", FITS, 101},
        {__LINE__, "F", "E", FITS, 101}, // after the last checkpoint, before the log was removed
        {__LINE__, "A", "E", OTHER_TIME, 0}, {__LINE__, "D", "B", OTHER_TIME, 0},
        {__LINE__, "F", "B", OTHER_TIME, 0}, {__LINE__, "F", "C", OTHER_TIME, 0},
    };
    Arena arena = {0};
    Place place = place_make();
    make_times(&arena, &place);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_named(cases[i].line, &arena, &place, cases[i].file, cases[i].wal, cases[i].want,
                    cases[i].n);
    }
    place_remove(&place);
    arena_finish(&arena);
}

/** VACUUM INTO writes the same rows, and the same stamp, on other pages. */
static void test_copy__with_other_pages_is_refused(void)
{
    Arena arena = {0};
    Place place = place_make();
    make_times(&arena, &place);
    Place a = place;
    snprintf(a.db, sizeof(a.db), "%.250s/A", place.dir);
    Str into = str_concat(&arena, STR("VACUUM INTO '"),
                          str_concat(&arena, str_from_c(at(&arena, &place, "V")), STR("'")));
    Db db = {0};
    CHECK(sqlite3_open(a.db, &db.handle) == SQLITE_OK);
    sql(&db, str_to_c(&arena, into));
    db_close(&db);
    check_named(__LINE__, &arena, &place, "V", "B", OTHER_TIME, 0);
    check_named(__LINE__, &arena, &place, "V", "C", OTHER_TIME, 0);
    check_named(__LINE__, &arena, &place, "V", "E", OTHER_TIME, 0);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_store__another_ones_log_is_refused(void)
{
    Arena arena = {0};
    Place place = place_make();
    Place other = place_make();
    make_times(&arena, &place);
    make_times(&arena, &other); // row by row the same, but for what is random
    static const char *const files[] = {"A", "D", "F"};
    static const char *const wals[] = {"B-wal", "C-wal", "E-wal"};
    for (size_t i = 0; i < 9; i++) {
        check(__LINE__, &arena, &place, bytes_of(&arena, &place, files[i / 3]),
              bytes_of(&arena, &other, wals[i % 3]), OTHER_STORE, 0);
    }
    place_remove(&place);
    place_remove(&other);
    arena_finish(&arena);
}

/** Readers keep the log from being begun anew: one log, over several checkpoints. */
static void test_reader__keeps_a_log_of_several_checkpoints(void)
{
    Arena arena = {0};
    Place place = place_make();
    Db db = open_at(&place);
    work(&db, 20);
    db_close(&db);
    snap(&arena, &place, "A");
    db = open_at(&place);
    work(&db, 10);
    Db reader = {0};
    CHECK(sqlite3_open(place.db, &reader.handle) == SQLITE_OK);
    sql(&reader, "BEGIN; SELECT count(*) FROM blob");
    work(&db, 10);
    snap(&arena, &place, "B");
    sql(&db, "PRAGMA wal_checkpoint(PASSIVE)"); // as far as the reader lets it
    snap(&arena, &place, "C");
    work(&db, 10);
    sql(&db, "PRAGMA wal_checkpoint(PASSIVE)");
    work(&db, 10);
    snap(&arena, &place, "D");
    check_named(__LINE__, &arena, &place, "A", "D", FITS, 60);
    check_named(__LINE__, &arena, &place, "C", "B", FITS, 40);
    check_named(__LINE__, &arena, &place, "C", "D", FITS, 60);
    check_named(__LINE__, &arena, &place, "D", "D", FITS, 60);
    sql(&reader, "COMMIT");
    sqlite3_db_config(reader.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    db_close(&reader);
    db_close(&db);
    place_remove(&place);
    arena_finish(&arena);
}

// ---- Checkpoints that were killed ---------------------------------------------------------------

/** A file of which a checkpoint has written the first pages: with its log it is whole. */
static void check_torn(int line, Arena *arena, const Place *place, const char *before,
                       const char *after, const char *wal, Want want, int n)
{
    Str old = bytes_of(arena, place, before);
    Str new = bytes_of(arena, place, after);
    Str log = bytes_of(arena, place, wal);
    size_t longer = old.len > new.len ? old.len : new.len;
    char *mixed = mem_zalloc(1, longer);
    memcpy(mixed, old.data, old.len);
    for (size_t done = 4096; done <= new.len; done += 4096) {
        memcpy(mixed + done - 4096, new.data + done - 4096, 4096);
        Str file = {mixed, done > old.len ? done : old.len};
        check(line, arena, place, file, log, want, n);
    }
    mem_free(mixed);
}

static void test_checkpoint__killed_after_any_page(void)
{
    Arena arena = {0};
    Place place = place_make();
    make_times(&arena, &place);
    check_torn(__LINE__, &arena, &place, "A", "D", "C-wal", FITS, 71);
    check_torn(__LINE__, &arena, &place, "D", "F", "E-wal", FITS, 101);
    place_remove(&place);
    arena_finish(&arena);
}

/** VACUUM moves every page, also those by which the table of the stamp is found. */
static void test_checkpoint__killed_after_any_page_of_vacuum(void)
{
    Arena arena = {0};
    Place place = place_make();
    make_times(&arena, &place);
    Db db = open_at(&place);
    Err err = ERR_INIT;
    CHECK_OK(db_begin(&db, &err), &err);
    sql(&db, "DELETE FROM blob WHERE rowid % 3 < 2; COMMIT");
    sql(&db, "VACUUM");
    snap(&arena, &place, "G");
    sql(&db, "PRAGMA wal_checkpoint(PASSIVE)");
    snap(&arena, &place, "H");
    work(&db, 3);
    snap(&arena, &place, "I");
    db_close(&db);
    check_named(__LINE__, &arena, &place, "F", "G", FITS, 34);
    check_torn(__LINE__, &arena, &place, "F", "H", "G-wal", TORN, 34);
    check_named(__LINE__, &arena, &place, "H", "I", FITS, 37);
    check_named(__LINE__, &arena, &place, "F", "I", OTHER_TIME, 0);
    check_named(__LINE__, &arena, &place, "A", "G", OTHER_TIME, 0);
    place_remove(&place);
    arena_finish(&arena);
}

/** Bringing an older store up to date is one transaction in its log. */
static void test_checkpoint__killed_after_any_page_of_a_migration(void)
{
    Arena arena = {0};
    Place place = place_make();
    Db db = {0};
    CHECK(sqlite3_open(place.db, &db.handle) == SQLITE_OK);
    sql(&db, "PRAGMA journal_mode = WAL; BEGIN");
    sql(&db, results_schema[0].data);
    sql(&db, "INSERT INTO blob VALUES (randomblob(32), 'x'); COMMIT");
    db_close(&db);
    snap(&arena, &place, "A");
    db = open_at(&place);
    snap(&arena, &place, "B");
    sql(&db, "PRAGMA wal_checkpoint(PASSIVE)");
    snap(&arena, &place, "C");
    work(&db, 1);
    snap(&arena, &place, "D");
    db_close(&db);
    check_named(__LINE__, &arena, &place, "A", "B", FITS, 1);
    check_torn(__LINE__, &arena, &place, "A", "C", "B-wal", TORN, 1);
    check_named(__LINE__, &arena, &place, "C", "D", FITS, 2);
    check_named(__LINE__, &arena, &place, "A", "D", OTHER_TIME, 0);
    check_named(__LINE__, &arena, &place, "muster.db.v1.bak", "B", OTHER_TIME, 0);
    place_remove(&place);
    arena_finish(&arena);
}

/** A store that was being made. */
static void test_checkpoint__killed_after_any_page_of_the_first_one(void)
{
    Arena arena = {0};
    Place place = place_make();
    Db db = open_at(&place);
    snap(&arena, &place, "A");
    sql(&db, "PRAGMA wal_checkpoint(PASSIVE)");
    snap(&arena, &place, "B");
    db_close(&db);
    check_torn(__LINE__, &arena, &place, "A", "B", "A-wal", TORN, 0);
    place_remove(&place);
    arena_finish(&arena);
}

// ---- Logs in which little is left ---------------------------------------------------------------

static void test_log__without_a_commit_is_nothing(void)
{
    Arena arena = {0};
    Place place = place_make();
    make_times(&arena, &place);
    Str wal = bytes_of(&arena, &place, "E-wal");
    static const char *const files[] = {"A", "D"}; // one that does not fit, one that does
    for (size_t i = 0; i < 2; i++) {
        Str file = bytes_of(&arena, &place, files[i]);
        int n = i == 0 ? 20 : 71;
        check(__LINE__, &arena, &place, file, str_slice(wal, 0, 10), FITS, n);
        check(__LINE__, &arena, &place, file, str_slice(wal, 0, 32), FITS, n);
        check(__LINE__, &arena, &place, file, str_slice(wal, 0, 32 + 3 * (24 + 4096)), FITS, n);
        char *flipped = mem_alloc(1, wal.len);
        memcpy(flipped, wal.data, wal.len);
        flipped[32 + 24 + 100] ^= 1; // of the first frame
        check(__LINE__, &arena, &place, file, (Str){flipped, wal.len}, FITS, n);
        memcpy(flipped, wal.data, wal.len);
        flipped[8] ^= 1; // of the header
        check(__LINE__, &arena, &place, file, (Str){flipped, wal.len}, FITS, n);
        mem_free(flipped);
    }
    // Of two transactions the second one is torn: the first one counts.
    Str two = bytes_of(&arena, &place, "C-wal");
    check(__LINE__, &arena, &place, bytes_of(&arena, &place, "A"),
          str_slice(two, 0, two.len - 1000), FITS, 21);
    place_remove(&place);
    arena_finish(&arena);
}

/** What another program writes has no stamp, and is no reason to refuse. */
static void test_log__of_another_program_is_taken(void)
{
    Arena arena = {0};
    Place place = place_make();
    make_times(&arena, &place);
    Db db = {0};
    CHECK(sqlite3_open(place.db, &db.handle) == SQLITE_OK);
    sql(&db, "INSERT INTO blob VALUES (randomblob(32), 'x')");
    snap(&arena, &place, "G");
    Db own = open_at(&place);
    work(&own, 1);
    snap(&arena, &place, "H");
    db_close(&db);
    db_close(&own);
    check_named(__LINE__, &arena, &place, "F", "G", UNKNOWN, 102);
    check_named(__LINE__, &arena, &place, "F", "H", FITS, 103);
    check_named(__LINE__, &arena, &place, "A", "H", OTHER_TIME, 0);
    place_remove(&place);
    arena_finish(&arena);
}

/** A writer that copies its log into the file and begins it anew all the time. */
static void write_for_ever(const Place *place)
{
    Db db = open_at(place);
    for (;;) {
        work(&db, 4);
        sql(&db, "PRAGMA wal_checkpoint(PASSIVE)");
    }
}

static void test_reader__beside_a_writer_is_never_refused(void)
{
    Arena arena = {0};
    Place place = place_make();
    make_times(&arena, &place);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        write_for_ever(&place);
        _exit(1);
    }
    int n_refused = 0;
    for (int i = 0; i < 300; i++) {
        Err err = ERR_INIT;
        bool known;
        if (!db_wal_check(place.db, &known, &err)) {
            n_refused++;
            printf("# %s\n", err.message);
        }
    }
    CHECK_INT(n_refused, 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_STR(sql_one(&arena, &place, "PRAGMA integrity_check"), STR("ok"));
    place_remove(&place);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("times: only the own log is taken", test_times__only_the_own_log_is_taken);
    tap_run("copy: with other pages is refused", test_copy__with_other_pages_is_refused);
    tap_run("store: another one's log is refused", test_store__another_ones_log_is_refused);
    tap_run("reader: keeps a log of several checkpoints",
            test_reader__keeps_a_log_of_several_checkpoints);
    tap_run("checkpoint: killed after any page", test_checkpoint__killed_after_any_page);
    tap_run("checkpoint: killed after any page of VACUUM",
            test_checkpoint__killed_after_any_page_of_vacuum);
    tap_run("checkpoint: killed after any page of a migration",
            test_checkpoint__killed_after_any_page_of_a_migration);
    tap_run("checkpoint: killed after any page of the first one",
            test_checkpoint__killed_after_any_page_of_the_first_one);
    tap_run("log: without a commit is nothing", test_log__without_a_commit_is_nothing);
    tap_run("log: of another program is taken", test_log__of_another_program_is_taken);
    tap_run("reader: beside a writer is never refused",
            test_reader__beside_a_writer_is_never_refused);
    return tap_done();
}
