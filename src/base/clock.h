// SPDX-License-Identifier: MIT
// Time. Waiting and measuring use CLOCK_BOOTTIME; wall time is for records only.
#pragma once

#include <stdint.h>

int64_t clock_ns(void);      // monotonic, counts suspend
int64_t clock_wall_ms(void); // since the epoch, UTC
/** "2026-11-25T17:46:00Z" into out (21 bytes with the NUL). */
void clock_format_utc(int64_t wall_ms, char out[32]);
