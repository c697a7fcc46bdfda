// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include <signal.h>

static bool run(const char *script, int timeout_ms, Buf *out, Buf *err_out, int *status, Err *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    return process_run(argv, timeout_ms, out, err_out, status, err);
}

static void test_process__captures_both_streams_and_the_status(void)
{
    Err err = ERR_INIT;
    Buf out = {0};
    Buf err_out = {0};
    int status = -1;
    CHECK_OK(run("echo out; echo err >&2; exit 3", 10000, &out, &err_out, &status, &err), &err);
    CHECK_STR(buf_view(&out), STR("out\n"));
    CHECK_STR(buf_view(&err_out), STR("err\n"));
    CHECK_INT(status, 3);
    CHECK_OK(run("kill -9 $$", 10000, NULL, NULL, &status, &err), &err);
    CHECK_INT(status, 128 + SIGKILL);
    buf_clear(&out);
    CHECK_OK(run("cat; echo end", 10000, &out, NULL, &status, &err), &err); // stdin is empty
    CHECK_STR(buf_view(&out), STR("end\n"));
    buf_finish(&out);
    buf_finish(&err_out);
}

static void test_process__much_output_and_a_ceiling(void)
{
    Err err = ERR_INIT;
    Buf out;
    buf_init(&out, 100000);
    int status = -1;
    const char *flood = "yes 123456789 | head -c 300000; yes e | head -c 300000 >&2";
    CHECK_OK(run(flood, 20000, &out, NULL, &status, &err), &err);
    CHECK_INT(status, 0);
    CHECK(out.overflow && out.len <= 100000 && out.len > 0);
    buf_finish(&out);
}

static void test_process__missing_program(void)
{
    Err err = ERR_INIT;
    int status = -1;
    const char *const argv[] = {"muster-no-such-program", NULL};
    CHECK(!process_run(argv, 1000, NULL, NULL, &status, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    const char *const folder[] = {"/", NULL};
    CHECK(!process_run(folder, 1000, NULL, NULL, &status, &err));
    CHECK_INT(err.code, ERR_IO);
    CHECK_INT(status, -1);
}

static void test_process__time_out_kills_the_group(void)
{
    Err err = ERR_INIT;
    Buf out = {0};
    int status = -1;
    int64_t start = clock_ns();
    CHECK(!run("sleep 30 & echo $!; wait", 300, &out, NULL, &status, &err));
    int64_t took_ms = (clock_ns() - start) / 1000000;
    CHECK_INT(err.code, ERR_TIMEOUT);
    CHECK(took_ms >= 290 && took_ms < 25000); // not the 30 s
    int64_t pid = 0;
    CHECK(str_to_i64(str_trim(buf_view(&out)), &pid) && pid > 1);
    // The grandchild is dead or a zombie of whoever inherited it: it must not run on.
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    Arena arena = {0};
    Str stat_line = STR_EMPTY;
    bool runs = true;
    while (runs && (clock_ns() - start) / 1000000 < 20000) { // it may have to be scheduled to die
        Err read_err = ERR_INIT;
        runs = file_read(&arena, str_from_c(path), 4096, &stat_line, &read_err) &&
               str_find(stat_line, STR(") Z "), 0) == STR_NONE;
        sched_yield();
    }
    CHECK(!runs);
    arena_finish(&arena);
    buf_finish(&out);
}

static void test_process__a_child_that_keeps_the_pipe_is_not_waited_for(void)
{
    Err err = ERR_INIT;
    Buf out = {0};
    int status = -1;
    int64_t start = clock_ns();
    CHECK_OK(run("sleep 60 & echo $!", 50000, &out, NULL, &status, &err), &err);
    CHECK((clock_ns() - start) / 1000000 < 40000);
    int64_t pid = 0;
    if (str_to_i64(str_trim(buf_view(&out)), &pid) && pid > 1) {
        kill((pid_t)pid, SIGKILL);
    }
    buf_finish(&out);
}

int main(void)
{
    tap_run("both streams and the status", test_process__captures_both_streams_and_the_status);
    tap_run("much output, and a ceiling", test_process__much_output_and_a_ceiling);
    tap_run("a program that does not exist", test_process__missing_program);
    tap_run("a time-out kills the whole group", test_process__time_out_kills_the_group);
    tap_run("a grandchild that keeps the pipe is not waited for",
            test_process__a_child_that_keeps_the_pipe_is_not_waited_for);
    return tap_done();
}
