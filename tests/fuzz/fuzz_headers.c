// SPDX-License-Identifier: MIT
// Any bytes as the header lines of an answer: the time to wait is never negative but -1, never NaN,
// and bounded, whatever a server says.
#include "net/net_internal.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    RetryHints hints;
    retry_hints_init(&hints);
    Str rest = {(const char *)data, size};
    for (bool more = true; more;) {
        Str line;
        more = str_cut(rest, STR("\n"), &line, &rest);
        retry_hints_line(&hints, line);
    }
    double seconds = retry_hints_seconds(&hints, INT64_C(1800000000000));
    bool sane = seconds == -1 || (seconds >= 0 && seconds < 1e12);
    if (!sane) {
        __builtin_trap();
    }
    return 0;
}
