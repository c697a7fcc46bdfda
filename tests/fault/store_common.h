// SPDX-License-Identifier: MIT
// What the fault tests of the store have in common: a child that fills an experiment and tells its
// parent on a pipe what was acknowledged, and checks of what is on disk afterwards.
#pragma once

#include "../unit/results/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>

/** What a child shall do. */
typedef struct Work {
    const Place *place;
    int64_t n_samples;
    int64_t n_epochs;
    bool with_errors;  // some attempts end in an error, to be retried by a later process
    rlim_t file_limit; // 0: none
} Work;

#define KEY_ERROR (UINT64_C(1) << 40)

static inline void ack_to_pipe(void *ctx, uint64_t key)
{
    int fd = *(const int *)ctx;
    ssize_t n = write(fd, &key, sizeof(key));
    if (n != (ssize_t)sizeof(key)) {
        _exit(9);
    }
}

/** Whether a call of that path is among those stored before. */
static inline bool has_path(const Str *paths, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq_c(paths[i], path)) {
            return true;
        }
    }
    return false;
}

/** Put what is missing of one attempt: one to three calls, then its closing. */
static inline bool work_on(Store *store, const Work *work, int64_t run_id, int64_t i, Arena *arena,
                           Err *err)
{
    static const char *const names[] = {"0", "1", "2"};
    int64_t sample = i / work->n_epochs;
    int64_t epoch = i % work->n_epochs;
    AttemptRow row = attempt_make(arena, run_id, sample, epoch, sample % 3 == 0 ? 0 : 1);
    if (store_attempt_is_done(store, run_id, row.sample_id, epoch)) {
        return true;
    }
    row.key = (uint64_t)i;
    Str *paths;
    Reply *replies;
    size_t n_stored;
    if (!store_attempt_calls(store, run_id, row.sample_id, epoch, arena, &paths, &replies,
                             &n_stored, err)) {
        return false;
    }
    for (int64_t call = 0; call <= i % 3; call++) {
        if (!has_path(paths, n_stored, names[call]) && !call_put(store, &row, names[call], err)) {
            return false;
        }
    }
    if (work->with_errors && i % 40 == 7) {
        row.state = ATTEMPT_ERROR;
        row.error_code = ERR_NET;
        row.error = STR("reset");
        row.key |= KEY_ERROR;
    }
    return store_put_attempt(store, &row, err);
}

/** The whole life of a child; its exit status. 3: the store failed. */
static inline int child_main(const Work *work, int ack_fd)
{
    if (work->file_limit > 0) {
        struct rlimit limit = {work->file_limit, work->file_limit};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    Err err = ERR_INIT;
    Arena arena = {0};
    Arena scratch = {0};
    Store *store = NULL;
    StoreOptions options = {
        .path = str_from_c(work->place->db), .on_committed = ack_to_pipe, .ctx = &ack_fd};
    RunSpec run = run_make(&arena, "", "echo/x");
    run.epochs = work->n_epochs;
    run.n_planned = work->n_samples * work->n_epochs;
    ExperimentSpec spec = experiment_make(&arena, STR("killed"), 1, &run, 1);
    ExperimentOpen open;
    bool ok = store_open(&options, &store, &err) &&
              store_experiment_begin(store, &arena, &spec, RESUME_IF_THERE, &open, &err);
    for (int64_t i = 0; ok && i < work->n_samples * work->n_epochs; i++) {
        arena_reset(&scratch);
        ok = work_on(store, work, open.run_ids[0], i, &scratch, &err);
    }
    ok = ok && store_experiment_end(store, open.id, STR("finished"), NULL, &err);
    if (!ok) {
        printf("# child: %s [%s]\n", err.message, err_code_word(err.code));
        fflush(stdout);
    }
    store_close(store);
    arena_finish(&arena);
    arena_finish(&scratch);
    return ok ? 0 : err.code == ERR_STORE ? 3 : 4;
}

/** What was acknowledged, over all children. */
typedef struct Acked {
    uint8_t *times; // by attempt: how often as done
    int64_t n;      // attempts that may be
    int64_t n_done;
    int64_t n_errors;
    int64_t n_repeated;
} Acked;

static inline void acked_add(Acked *acked, uint64_t key)
{
    if ((key & KEY_ERROR) != 0) {
        acked->n_errors++;
    } else if (key < (uint64_t)acked->n) {
        acked->n_repeated += acked->times[key] > 0;
        acked->n_done += acked->times[key] == 0;
        acked->times[key] = 1;
    }
}

/** What a child may do between its first acknowledgement and its end, also on a fast machine. */
#define ACKS_MAX 1200

/**
 * Read acknowledgements until the pipe ends, until that instant (0: no limit), or until n_max came
 * (0: no limit). */
static inline void drain(int fd, Acked *acked, int64_t until_ns, int64_t n_max)
{
    int64_t n_before = acked->n_done + acked->n_errors;
    while (n_max == 0 || acked->n_done + acked->n_errors < n_before + n_max) {
        int64_t left = until_ns == 0 ? -1 : until_ns - clock_ns();
        if (until_ns != 0 && left <= 0) {
            return;
        }
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        if (ppoll(&wait, 1, until_ns == 0 ? NULL : &timeout, NULL) <= 0) {
            continue;
        }
        uint64_t keys[512];
        ssize_t n = read(fd, keys, sizeof(keys));
        if (n <= 0) {
            return;
        }
        for (size_t i = 0; i < (size_t)n / sizeof(keys[0]); i++) {
            acked_add(acked, keys[i]);
        }
    }
}

/**
 * Run a child; kill it that many nanoseconds after its start, or after its first acknowledgement
 * (0: let it finish), or earlier if it has done much by then. Its wait status. */
static inline int child_run(const Work *work, Acked *acked, int64_t kill_after_ns, bool from_first)
{
    int fds[2];
    if (pipe(fds) != 0) {
        abort();
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        _exit(child_main(work, fds[1]));
    }
    close(fds[1]);
    if (kill_after_ns > 0) {
        if (from_first) {
            drain(fds[0], acked, 0, 1);
        }
        drain(fds[0], acked, clock_ns() + kill_after_ns, ACKS_MAX);
        kill(child, SIGKILL);
    }
    drain(fds[0], acked, 0, 0);
    close(fds[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static inline int64_t sql_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t out = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        out = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    return out;
}

/** Every acknowledged attempt is there, nothing is doubled, the file is sound. */
static inline void check_disk(const Place *place, const Acked *acked)
{
    struct stat info;
    if (stat(place->db, &info) != 0) {
        CHECK_INT(acked->n_done, 0); // killed before there was a file
        return;
    }
    sqlite3 *db = NULL;
    CHECK(sqlite3_open_v2(place->db, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
    sqlite3_wal_autocheckpoint(db, 0);
    CHECK_INT(sql_number(db, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
    CHECK_INT(sql_number(db, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    if (sql_number(db, "PRAGMA user_version") == 0) {
        CHECK_INT(acked->n_done, 0); // killed before there were tables
        sqlite3_close(db);
        return;
    }
    CHECK_INT(
        sql_number(db, "SELECT count(*) - count(DISTINCT sample_id || '/' || epoch) FROM attempt"),
        0);
    CHECK_INT(sql_number(db, "SELECT count(*) FROM attempt AS a WHERE a.state = 'done' AND "
                             "(SELECT count(*) FROM score AS s WHERE s.attempt_id = a.id) <> 1"),
              0);
    int64_t n_lost = 0;
    sqlite3_stmt *find = NULL;
    CHECK(sqlite3_prepare_v2(db,
                             "SELECT 1 FROM attempt AS a WHERE a.sample_id = ?1 AND a.epoch = ?2 "
                             "AND a.run_id = 1 AND a.state = 'done' AND (SELECT count(*) FROM call "
                             "AS c WHERE c.attempt_id = a.id) = ?3",
                             -1, &find, NULL) == SQLITE_OK);
    int64_t n_epochs = sql_number(db, "SELECT coalesce(max(epochs), 1) FROM run");
    for (int64_t i = 0; i < acked->n; i++) {
        if (acked->times[i] > 0) {
            char sample[32];
            snprintf(sample, sizeof(sample), "%lld", (long long)(i / n_epochs));
            sqlite3_reset(find);
            sqlite3_bind_text(find, 1, sample, -1, SQLITE_STATIC);
            sqlite3_bind_int64(find, 2, i % n_epochs);
            sqlite3_bind_int64(find, 3, i % 3 + 1);
            n_lost += sqlite3_step(find) != SQLITE_ROW;
        }
    }
    sqlite3_finalize(find);
    sqlite3_close(db);
    CHECK_INT(n_lost, 0);
}

/** How many attempts are finished. */
static inline int64_t done_at(const Place *place)
{
    Err err = ERR_INIT;
    Arena arena = {0};
    ExperimentInfo info = {0};
    Results *results = results_at(place);
    CHECK_OK(results_experiment(results, &arena, STR("killed"), &info, &err), &err);
    int64_t n = info.n_done;
    results_close(results);
    arena_finish(&arena);
    return n;
}

static inline Hash digest_at(const Place *place)
{
    Err err = ERR_INIT;
    Hash hash = {0};
    Results *results = results_at(place);
    CHECK_OK(results_digest(results, 1, &hash, &err), &err);
    results_close(results);
    return hash;
}
