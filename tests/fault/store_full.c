// SPDX-License-Identifier: MIT
// A disk that takes no more, simulated by a limit on the size of files: the error surfaces in
// words, nothing is acknowledged that is not in the file, and with space again the run can be
// resumed.
#include "store_common.h"

static void test_full__stops_and_can_be_resumed(void)
{
    // From a limit that even the tables do not fit into to one that lets checkpoints fail.
    static const rlim_t limits[] = {4096, 60 << 10, 400 << 10, 1 << 20, 3 << 20, 6 << 20};
    Place place = place_make();
    Work work = {.place = &place, .n_samples = 15000, .n_epochs = 1};
    Acked acked = {.n = work.n_samples, .times = mem_zalloc((size_t)work.n_samples, 1)};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        work.file_limit = limits[i];
        int64_t before = acked.n_done;
        int status = child_run(&work, &acked, 0, false);
        CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 3 || WEXITSTATUS(status) == 0));
        printf("# files of at most %lld bytes: exit %d, %lld attempts more\n", (long long)limits[i],
               WEXITSTATUS(status), (long long)(acked.n_done - before));
        if (i == 0) {
            CHECK_INT(WEXITSTATUS(status), 3);
        }
        check_disk(&place, &acked);
        CHECK_INT(acked.n_repeated, 0);
    }
    work.file_limit = 0;
    int status = child_run(&work, &acked, 0, false);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_INT(acked.n_done, acked.n); // nobody was killed: all of them were heard of
    CHECK_INT(done_at(&place), acked.n);
    CHECK_INT(acked.n_repeated, 0);
    check_disk(&place, &acked);
    mem_free(acked.times);
    place_remove(&place);
}

int main(void)
{
    tap_run("full disk: stops and can be resumed", test_full__stops_and_can_be_resumed);
    return tap_done();
}
