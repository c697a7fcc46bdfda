// SPDX-License-Identifier: MIT
// Stores of version 1, made from that version's own text: read as they are, brought up to date once
// by whoever writes, with the same results before and after. test_migrate schema_v1.sql
#include "fixture_sql.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static Str v1_sql;
/** What the program of version 1 printed for `show old --digest`. */
static const char V1_DIGEST[] = "d8a3343e256dd778944ba2c9d5ee4553e7839972268a1a2d0ac20eb67c5c15ee";

static Place place_v1(Arena *arena)
{
    Place place = place_make();
    sqlite3 *db = NULL;
    CHECK(sqlite3_open(place.db, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL) == SQLITE_OK);
    CHECK(sqlite3_exec(db, str_to_c(arena, v1_sql), NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
    return place;
}

static void check_digest(int line, Results *results, Arena *arena, Str experiment)
{
    Err err = ERR_INIT;
    ExperimentInfo info = {0};
    Hash hash = {0};
    char hex[HASH_HEX_LEN + 1] = "";
    if (results_experiment(results, arena, experiment, &info, &err) &&
        results_digest(results, info.id, &hash, &err)) {
        hash_hex(&hash, hex);
    }
    if (strcmp(hex, V1_DIGEST) != 0) {
        tap_checks_failed++;
        printf("# line %d: digest %s (%s)\n", line, hex, err.message);
    }
}

static void test_v1__is_read_as_it_is(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_v1(&arena);
    Results *results = results_at(&place);
    check_digest(__LINE__, results, &arena, STR("old"));
    check_digest(__LINE__, results, &arena, STR("@main")); // it had baselines, without a history
    RunInfo *runs = NULL;
    size_t n = 0;
    CHECK_OK(results_runs(results, &arena, 1, &runs, &n, &err), &err);
    CHECK_INT(n, 2);
    BaselineInfo *moves = NULL;
    CHECK_OK(results_baseline_history(results, &arena, STR("main"), &moves, &n, &err), &err);
    CHECK_INT(n, 1);
    CHECK(n == 1 && str_eq(moves[0].experiment, STR("old")) && moves[0].who.len == 0);
    results_close(results);
    CHECK_STR(sql_one(&arena, &place, "PRAGMA user_version"), STR("1"));
    CHECK_STR(
        sql_one(&arena, &place, "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%v_base%'"),
        STR("0"));
    place_remove(&place);
    arena_finish(&arena);
}

/** Every statement of today's writer and reader works on a migrated store, and results are equal.
 */
static void test_v1__is_brought_up_to_date(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_v1(&arena);
    Store *store = store_at(&place, NULL, NULL);
    CHECK(fill(&arena, store, 5, STR("new")) == 2);
    Promotion promotion = {
        .baseline = STR("main"), .experiment_id = 2, .replaces = 1, .who = STR("ada@host")};
    CHECK_OK(store_promote(store, &promotion, &err), &err);
    store_close(store);
    Results *results = results_at(&place);
    check_digest(__LINE__, results, &arena, STR("old"));
    BaselineInfo *moves = NULL;
    size_t n = 0;
    CHECK_OK(results_baseline_history(results, &arena, STR("main"), &moves, &n, &err), &err);
    CHECK_INT(n, 2);
    if (n == 2) {
        CHECK_STR(moves[0].experiment, STR("old"));
        CHECK_STR(moves[0].moved, STR("2026-11-25T21:48:10Z"));
        CHECK_STR(moves[1].who, STR("ada@host"));
    }
    results_close(results);
    // What version 1 had is there, row by row.
    CHECK_STR(sql_one(&arena, &place, "PRAGMA user_version"), STR("3"));
    CHECK_STR(
        sql_one(&arena, &place, "SELECT group_concat(kind) FROM event WHERE experiment_id = 1"),
        STR("started,finished"));
    CHECK_STR(sql_one(&arena, &place, "SELECT count(*) FROM pragma_foreign_key_check"), STR("0"));
    CHECK_STR(sql_one(&arena, &place, "SELECT integrity_check FROM pragma_integrity_check"),
              STR("ok"));
    Place copy = place;
    snprintf(copy.db, sizeof(copy.db), "%.250s/muster.db.v1.bak", place.dir);
    CHECK_STR(sql_one(&arena, &copy, "PRAGMA user_version"), STR("1"));
    results = results_at(&copy);
    check_digest(__LINE__, results, &arena, STR("old"));
    results_close(results);
    place_remove(&place);
    arena_finish(&arena);
}

/** A migrated store and a new one have the same tables, views and indices. */
static void test_v1__ends_as_a_new_store_does(void)
{
    Arena arena = {0};
    Place old = place_v1(&arena);
    Place new = place_make();
    store_close(store_at(&old, NULL, NULL));
    store_close(store_at(&new, NULL, NULL));
    static const char all[] =
        "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
    Str want = sql_one(&arena, &new, all);
    CHECK(want.len > 1000);
    CHECK(str_eq(sql_one(&arena, &old, all), want));
    char name[400];
    snprintf(name, sizeof(name), "%s.v1.bak", new.db);
    CHECK(!file_exists(str_from_c(name))); // nothing to keep of a store that was just made
    place_remove(&old);
    place_remove(&new);
    arena_finish(&arena);
}

/** A copy that is there already is some other store's: it stays, the new one gets a number. */
static void test_copy__replaces_no_other(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Place place = place_v1(&arena);
    char name[400];
    snprintf(name, sizeof(name), "%s.v1.bak", place.db);
    CHECK_OK(file_write_atomic(str_from_c(name), STR("precious"), &err), &err);
    char part[400];
    snprintf(part, sizeof(part), "%s.v1-2.bak.part", place.db); // of a process that was killed
    CHECK_OK(file_write_atomic(str_from_c(part), STR("half a copy"), &err), &err);
    store_close(store_at(&place, NULL, NULL));
    Str text = STR_EMPTY;
    CHECK_OK(file_read(&arena, str_from_c(name), 100, &text, &err), &err);
    CHECK_STR(text, STR("precious"));
    CHECK(!file_exists(str_from_c(part)));
    Place copy = place;
    snprintf(copy.db, sizeof(copy.db), "%.250s/muster.db.v1-2.bak", place.dir);
    CHECK_STR(sql_one(&arena, &copy, "SELECT count(*) FROM attempt"), STR("6"));
    place_remove(&place);
    arena_finish(&arena);
}

/** In a child: try to bring a store up to date when nothing more can be written. */
static int full_child(const Place *place)
{
    Err err = ERR_INIT;
    Store *store = NULL;
    StoreOptions options = {.path = str_from_c(place->db)};
    struct rlimit limit = {40 << 10, 40 << 10};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    if (store_open(&options, &store, &err)) {
        return 1;
    }
    printf("# %s\n", err.message);
    fflush(stdout);
    return err.code == ERR_STORE && has_text(err.message, "copy before a migration") ? 0 : 2;
}

static void test_copy__without_space_nothing_changes(void)
{
    Arena arena = {0};
    Place place = place_v1(&arena);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        _exit(full_child(&place));
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_STR(sql_one(&arena, &place, "PRAGMA user_version"), STR("1"));
    char name[400];
    snprintf(name, sizeof(name), "%s.v1.bak", place.db);
    CHECK(!file_exists(str_from_c(name)));
    Results *results = results_at(&place);
    check_digest(__LINE__, results, &arena, STR("old"));
    results_close(results);
    store_close(store_at(&place, NULL, NULL)); // with space again it is brought up to date
    CHECK_STR(sql_one(&arena, &place, "PRAGMA user_version"), STR("3"));
    place_remove(&place);
    arena_finish(&arena);
}

int main(int argc, char **argv)
{
    Err err = ERR_INIT;
    Arena arena = {0};
    if (argc < 2 || !file_read(&arena, str_from_c(argv[1]), 1 << 20, &v1_sql, &err)) {
        printf("Bail out! %s\n", argc < 2 ? "no schema_v1.sql given" : err.message);
        return 1;
    }
    tap_run("version 1: is read as it is", test_v1__is_read_as_it_is);
    tap_run("version 1: is brought up to date", test_v1__is_brought_up_to_date);
    tap_run("version 1: ends as a new store does", test_v1__ends_as_a_new_store_does);
    tap_run("copy: replaces no other", test_copy__replaces_no_other);
    tap_run("copy: without space nothing changes", test_copy__without_space_nothing_changes);
    arena_finish(&arena);
    return tap_done();
}
