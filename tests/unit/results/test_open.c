// SPDX-License-Identifier: MIT
// Files that are no store, are damaged, are newer, or lie where nothing can be written: each is
// told apart in words and left alone. Migrations.
#include "fixture_sql.h"

#include <sys/wait.h>

static void write_file(const char *path, const char *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, len, f) != len) {
        tap_checks_failed++;
        printf("# can not write %s\n", path);
    }
    if (f != NULL) {
        fclose(f);
    }
}

static void make_text(const Place *place)
{
    write_file(place->db, "hello, this is not a database at all\n", 37);
}

static void make_folder(const Place *place)
{
    mkdir(place->db, 0755);
}

static void make_pipe(const Place *place)
{
    mkfifo(place->db, 0644);
}

static void sql_file(const Place *place, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_open(place->db, &db);
    sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_close(db);
}

static void make_foreign(const Place *place)
{
    sql_file(place, "CREATE TABLE t (x); PRAGMA user_version = 3;");
}

static void make_real(const Place *place)
{
    Arena arena = {0};
    Store *store = store_at(place, NULL, NULL);
    fill(&arena, store, 200, STR("one"));
    store_close(store);
    arena_finish(&arena);
}

static void make_newer(const Place *place)
{
    make_real(place);
    sql_file(place, "PRAGMA user_version = 99;");
}

static void make_truncated(const Place *place)
{
    make_real(place);
    if (truncate(place->db, 8192 + 100) != 0) {
        tap_checks_failed++;
    }
}

static void make_zeroed_page(const Place *place)
{
    make_real(place);
    static const char zeros[4096];
    FILE *f = fopen(place->db, "r+b");
    if (f != NULL) { // the schema's page after its header
        fseek(f, 100, SEEK_SET);
        fwrite(zeros, 1, sizeof(zeros) - 100, f);
        fclose(f);
    }
}

static void test_open__says_what_is_wrong_with_a_file(void)
{
    static const struct {
        int line;
        void (*make)(const Place *);
        const char *says;
    } cases[] = {
        {__LINE__, make_text, "not a muster store"}, {__LINE__, make_folder, "is a folder"},
        {__LINE__, make_pipe, "is a pipe"},          {__LINE__, make_foreign, "another program"},
        {__LINE__, make_newer, "newer muster"},      {__LINE__, make_truncated, "damaged"},
        {__LINE__, make_zeroed_page, "damaged"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Place place = place_make();
        cases[i].make(&place);
        Store *store = NULL;
        Results *results = NULL;
        Err write_err = ERR_INIT;
        Err read_err = ERR_INIT;
        StoreOptions options = {.path = str_from_c(place.db)};
        bool wrote = store_open(&options, &store, &write_err);
        bool read = results_open(str_from_c(place.db), &results, &read_err);
        if (wrote || read || write_err.code != ERR_STORE || read_err.code != ERR_STORE ||
            !has_text(write_err.message, cases[i].says) ||
            !has_text(read_err.message, cases[i].says)) {
            tap_checks_failed++;
            printf("# line %d: write: %s\n# read: %s\n", cases[i].line, write_err.message,
                   read_err.message);
        }
        results_close(results);
        store_close(store);
        rmdir(place.db);
        place_remove(&place);
    }
}

static void test_open__reports_damage_inside(void)
{
    // Damage that opening does not see is an error when it is met, for readers and for the writer.
    Arena arena = {0};
    Place place = place_make();
    make_real(&place);
    struct stat info;
    stat(place.db, &info);
    FILE *f = fopen(place.db, "r+b");
    for (long at = 4096 * 4; f != NULL && at < (long)info.st_size; at += 512) {
        fseek(f, at, SEEK_SET);
        fputs("\xff\xfe damaged \xff", f);
    }
    if (f != NULL) {
        fclose(f);
    }
    Err err = ERR_INIT;
    Results *results = NULL;
    bool ok = results_open(str_from_c(place.db), &results, &err);
    RunInfo *runs;
    size_t n;
    Hash digest;
    ok = ok && results_runs(results, &arena, 1, &runs, &n, &err) &&
         results_digest(results, 1, &digest, &err);
    CHECK(!ok);
    CHECK(err.code == ERR_STORE);
    results_close(results);
    place_remove(&place);
    arena_finish(&arena);
}

static void test_open__takes_what_a_killed_start_leaves(void)
{
    Arena arena = {0};
    Place place = place_make();
    write_file(place.db, "", 0);
    Err err = ERR_INIT;
    Results *results = NULL;
    CHECK(!results_open(str_from_c(place.db), &results, &err));
    CHECK(err.code == ERR_NOT_FOUND);
    Store *store = store_at(&place, NULL, NULL);
    CHECK(fill(&arena, store, 5, STR("one")) > 0);
    store_close(store);
    place_remove(&place);

    place = place_make();
    sql_file(&place, "PRAGMA journal_mode = WAL;");
    store = store_at(&place, NULL, NULL);
    CHECK(fill(&arena, store, 5, STR("one")) > 0);
    store_close(store);
    err = (Err)ERR_INIT;
    place_remove(&place);
    CHECK(!results_open(str_from_c(place.db), &results, &err));
    CHECK(err.code == ERR_NOT_FOUND);
    arena_finish(&arena);
}

static void test_open__makes_its_folder(void)
{
    Place place = place_make();
    Place deep = place;
    snprintf(deep.dir, sizeof(deep.dir), "%.200s/deep", place.dir);
    snprintf(deep.db, sizeof(deep.db), "%s/muster.db", deep.dir);
    Store *store = store_at(&deep, NULL, NULL);
    CHECK(store != NULL);
    store_close(store);
    place_remove(&deep);
    place_remove(&place);
}

/** In a child without privileges: open a store in a folder that can not be written. */
static int read_only_child(const Place *place)
{
    Err err = ERR_INIT;
    Results *results = NULL;
    Store *store = NULL;
    StoreOptions options = {.path = str_from_c(place->db)};
    if (geteuid() == 0 && seteuid(65534) != 0) {
        return 77;
    }
    if (store_open(&options, &store, &err) || err.code != ERR_STORE ||
        !has_text(err.message, "may write")) {
        printf("# write: %s\n", err.message);
        return 1;
    }
    err = (Err)ERR_INIT;
    if (!results_open(str_from_c(place->db), &results, &err)) {
        printf("# read: %s\n", err.message);
        return 2;
    }
    Arena arena = {0};
    RunInfo *runs;
    size_t n;
    bool ok = results_runs(results, &arena, 1, &runs, &n, &err) && n == 1 && runs[0].n_done == 200;
    results_close(results);
    arena_finish(&arena);
    return ok ? 0 : 3;
}

static void test_open__reads_in_a_folder_without_write_permission(void)
{
    Place place = place_make();
    make_real(&place);
    char name[400];
    snprintf(name, sizeof(name), "%s-lock", place.db);
    unlink(name);
    snprintf(name, sizeof(name), "%s-turn", place.db);
    unlink(name);
    chmod(place.db, 0444);
    chmod(place.dir, 0555);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int status = read_only_child(&place);
        fflush(stdout);
        _exit(status);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77));
    chmod(place.dir, 0755);
    place_remove(&place);
}

static void test_migrate__steps_through_the_files(void)
{
    Arena arena = {0};
    Place place = place_make();
    make_real(&place);
    static const char first[] = "CREATE TABLE extra (x INTEGER) STRICT; PRAGMA user_version = 4;";
    static const char second[] = "INSERT INTO extra VALUES (7); PRAGMA user_version = 5;";
    static const char broken[] = "INSERT INTO nowhere VALUES (1); PRAGMA user_version = 6;";
    static const EmbeddedFile files[] = {
        {"0004_extra.sql", first, sizeof(first) - 1},
        {"0005_seven.sql", second, sizeof(second) - 1},
        {0},
    };
    static const EmbeddedFile bad[] = {{"0006_broken.sql", broken, sizeof(broken) - 1}, {0}};
    Err err = ERR_INIT;
    Db db;
    CHECK_OK(db_open_writer(&db, place.db, &err), &err);
    CHECK_OK(db_migrate(&db, 3, 5, files, &err), &err);
    CHECK(!db_migrate(&db, 5, 6, bad, &err));
    CHECK(err.code == ERR_STORE && has_text(err.message, "0006_broken.sql"));
    err = (Err)ERR_INIT;
    CHECK(!db_migrate(&db, 5, 7, files, &err));
    CHECK(err.code == ERR_INTERNAL);
    db_close(&db);
    CHECK_STR(sql_one(&arena, &place, "PRAGMA user_version"), STR("5"));
    CHECK_STR(sql_one(&arena, &place, "SELECT x FROM extra"), STR("7"));
    Place backup = place;
    snprintf(backup.db, sizeof(backup.db), "%.250s/muster.db.v3.bak", place.dir);
    CHECK_STR(sql_one(&arena, &backup, "PRAGMA user_version"), STR("3"));
    CHECK_STR(sql_one(&arena, &backup, "SELECT count(*) FROM attempt"), STR("200"));
    place_remove(&place);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("open: says what is wrong with a file", test_open__says_what_is_wrong_with_a_file);
    tap_run("open: reports damage inside", test_open__reports_damage_inside);
    tap_run("open: takes what a killed start leaves", test_open__takes_what_a_killed_start_leaves);
    tap_run("open: makes its folder", test_open__makes_its_folder);
    tap_run("open: reads in a folder without write permission",
            test_open__reads_in_a_folder_without_write_permission);
    tap_run("migrate: steps through the files", test_migrate__steps_through_the_files);
    return tap_done();
}
