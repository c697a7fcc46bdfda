// SPDX-License-Identifier: MIT
// Numbers against expected ones, with the line of the table's row they come from: 1e-9 relative or
// 1e-12 absolute.
#pragma once

#include "../tap.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static inline void near_within(int line, const char *what, double got, double want, double relative)
{
    bool same = got == want || (isnan(got) && isnan(want));
    if (!same && !(fabs(got - want) <= fmax(relative * fabs(want), 1e-12))) {
        tap_checks_failed++;
        printf("# line %d: %s: got %.17g, want %.17g\n", line, what, got, want);
    }
}

static inline void near(int line, const char *what, double got, double want)
{
    near_within(line, what, got, want, 1e-9);
}
