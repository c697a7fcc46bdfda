// SPDX-License-Identifier: MIT
// kill -9 at random instants: whatever was acknowledged is in the file, nothing is there twice, the
// file is sound, and after the last resume the results are those of an uninterrupted run.
// store_kill [KILLS [SEED]] kills more often than the everyday 20 times.
#include "store_common.h"

static int n_kills = 20;
static uint64_t seed = 1;

static void test_kill__loses_nothing_acknowledged(void)
{
    Place place = place_make();
    Work work = {.place = &place, .n_samples = 6000, .n_epochs = 4};
    Acked acked = {.n = work.n_samples * work.n_epochs};
    acked.times = mem_zalloc((size_t)acked.n, 1);
    Rng rng;
    rng_init(&rng, seed);
    int n_killed = 0;
    int n_finished = 0;
    for (int i = 0; i < n_kills; i++) {
        // One kill in four falls into opening and beginning, the others into writing.
        bool writing = i % 4 != 0;
        work.with_errors = i < n_kills / 2;
        int64_t after_ns = 1000 * (int64_t)(1 + rng_below(&rng, 25000));
        int status = child_run(&work, &acked, after_ns, writing);
        n_killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        n_finished += WIFEXITED(status) && WEXITSTATUS(status) == 0;
        CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        check_disk(&place, &acked);
        CHECK_INT(acked.n_repeated, 0);
    }
    printf("# %d kills, %d finished before; %lld attempts acknowledged (and %lld errors)\n",
           n_killed, n_finished, (long long)acked.n_done, (long long)acked.n_errors);
    CHECK(n_killed > n_kills / 2);
    CHECK(acked.n_done > 0);
    work.with_errors = false;
    int status = child_run(&work, &acked, 0, false);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_INT(acked.n_repeated, 0);
    // A kill between COMMIT and acknowledgement leaves at most one group that nobody heard of.
    CHECK(acked.n - acked.n_done <= 512 * (int64_t)n_killed);
    CHECK_INT(done_at(&place), acked.n);
    check_disk(&place, &acked);

    Place whole = place_make();
    Acked uninterrupted = {.n = acked.n, .times = mem_zalloc((size_t)acked.n, 1)};
    Work plain = work;
    plain.place = &whole;
    status = child_run(&plain, &uninterrupted, 0, false);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    Hash got = digest_at(&place);
    Hash want = digest_at(&whole);
    CHECK(hash_eq(&got, &want));
    mem_free(acked.times);
    mem_free(uninterrupted.times);
    place_remove(&place);
    place_remove(&whole);
}

/** Two processes write two experiments into one file at the same time. */
static void test_two_writers__share_a_file(void)
{
    Place place = place_make();
    pid_t children[2];
    fflush(stdout);
    for (int k = 0; k < 2; k++) {
        children[k] = fork();
        if (children[k] == 0) {
            Err err = ERR_INIT;
            Arena arena = {0};
            Store *store = NULL;
            StoreOptions options = {.path = str_from_c(place.db)};
            RunSpec run = run_make(&arena, "", "echo/x");
            ExperimentSpec spec =
                experiment_make(&arena, k == 0 ? STR("left") : STR("right"), k, &run, 1);
            ExperimentOpen open;
            bool ok = store_open(&options, &store, &err) &&
                      store_experiment_begin(store, &arena, &spec, RESUME_NO, &open, &err);
            for (int64_t i = 0; ok && i < 3000; i++) {
                AttemptRow row = attempt_make(&arena, open.run_ids[0], i, 0, 1);
                ok = call_put(store, &row, "0", &err) && store_put_attempt(store, &row, &err);
                if (ok && i % 100 == 0) {
                    ok = store_flush(store, &err);
                }
            }
            ok = ok && store_experiment_end(store, open.id, STR("finished"), NULL, &err);
            store_close(store);
            if (!ok) {
                printf("# child %d: %s\n", k, err.message);
                fflush(stdout);
            }
            _exit(ok ? 0 : 1);
        }
    }
    for (int k = 0; k < 2; k++) {
        int status = -1;
        waitpid(children[k], &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    Err err = ERR_INIT;
    Arena arena = {0};
    ExperimentInfo *experiments = NULL;
    size_t n = 0;
    Results *results = results_at(&place);
    CHECK_OK(results_experiments(results, &arena, &experiments, &n, &err), &err);
    CHECK_INT(n, 2);
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(experiments[i].n_done, 3000);
        CHECK_STR(experiments[i].state, STR("finished"));
    }
    results_close(results);
    arena_finish(&arena);
    place_remove(&place);
}

int main(int argc, char **argv)
{
    int64_t number;
    if (argc > 1 && str_to_i64(str_from_c(argv[1]), &number)) {
        n_kills = (int)number;
    }
    if (argc > 2 && str_to_i64(str_from_c(argv[2]), &number)) {
        seed = (uint64_t)number;
    }
    tap_run("kill -9: loses nothing acknowledged", test_kill__loses_nothing_acknowledged);
    tap_run("two writers: share a file", test_two_writers__share_a_file);
    return tap_done();
}
