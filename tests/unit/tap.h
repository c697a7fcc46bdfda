// SPDX-License-Identifier: MIT
// A TAP producer: one program per module, one numbered line per check, the place in the message.
//   int main(void) { tap_run("buf grows", test_buf__grows); return tap_done(); }
#pragma once

#include "base/base.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int tap_n;
static int tap_failed;
static int tap_checks_failed;

/** Count a failed check and say where; the test goes on. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            tap_checks_failed++;                                                                   \
            printf("# %s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                       \
        }                                                                                          \
    } while (0)
#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        Str tap_got = (got), tap_want = (want);                                                    \
        if (!str_eq(tap_got, tap_want)) {                                                          \
            tap_checks_failed++;                                                                   \
            printf("# %s:%d: got \"%.*s\", want \"%.*s\"\n", __FILE__, __LINE__, STR_ARG(tap_got), \
                   STR_ARG(tap_want));                                                             \
        }                                                                                          \
    } while (0)
#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long tap_got = (long long)(got), tap_want = (long long)(want);                        \
        if (tap_got != tap_want) {                                                                 \
            tap_checks_failed++;                                                                   \
            printf("# %s:%d: got %lld, want %lld\n", __FILE__, __LINE__, tap_got, tap_want);       \
        }                                                                                          \
    } while (0)
#define CHECK_NEAR(got, want, tolerance)                                                           \
    do {                                                                                           \
        double tap_got = (got), tap_want = (want);                                                 \
        if (!(fabs(tap_got - tap_want) <= (tolerance))) {                                          \
            tap_checks_failed++;                                                                   \
            printf("# %s:%d: got %.17g, want %.17g\n", __FILE__, __LINE__, tap_got, tap_want);     \
        }                                                                                          \
    } while (0)
/** A call that has to succeed: prints the error when it does not. Yields the result. */
#define CHECK_OK(call, err) tap_ok((call), (err), __FILE__, __LINE__, #call)

static inline bool tap_ok(bool ok, const Err *err, const char *file, int line, const char *call)
{
    if (!ok) {
        tap_checks_failed++;
        printf("# %s:%d: %s: %s [%s]\n", file, line, call, err->message, err_code_word(err->code));
    }
    return ok;
}

static inline void tap_run(const char *name, void (*test)(void))
{
    tap_checks_failed = 0;
    test();
    tap_n++;
    if (tap_checks_failed > 0) {
        tap_failed++;
    }
    printf("%s %d - %s\n", tap_checks_failed > 0 ? "not ok" : "ok", tap_n, name);
    fflush(stdout);
}

/** A test that can not run here, with the reason: shown and counted as skipped. */
static inline void tap_skip(const char *name, const char *reason)
{
    printf("ok %d - %s # SKIP %s\n", ++tap_n, name, reason);
}

static inline int tap_done(void)
{
    printf("1..%d\n", tap_n);
    return tap_failed > 0;
}
