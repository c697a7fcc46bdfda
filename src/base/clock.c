// SPDX-License-Identifier: MIT
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void clock_format_utc(int64_t wall_ms, char out[32])
{
    // Floor, so that times before 1970 do not round up; years outside 0..9999 do not fit the
    // format.
    int64_t seconds = wall_ms / 1000 - (wall_ms % 1000 < 0);
    const int64_t least = INT64_C(-62167219200);
    const int64_t most = INT64_C(253402300799);
    time_t time = (time_t)(seconds < least ? least : seconds > most ? most : seconds);
    struct tm parts;
    if (gmtime_r(&time, &parts) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        out[0] = '\0';
    }
}
