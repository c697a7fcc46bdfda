// SPDX-License-Identifier: MIT
// What the tests of this room share.
#pragma once

#include "text/text.h"

#include "../tap.h"

/** A Str in a static table, where a compound literal would not be constant. */
// clang-format off
#define S(literal) {("" literal), sizeof(literal) - 1}
// clang-format on

/** Check in a table's loop, naming the row by its line. */
#define ROW_CHECK(row, condition)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            tap_checks_failed++;                                                                   \
            printf("# %s:%d: row at line %d: failed: %s\n", __FILE__, __LINE__, (row)->line,       \
                   #condition);                                                                    \
        }                                                                                          \
    } while (0)
#define ROW_CHECK_STR(row, got, want)                                                              \
    do {                                                                                           \
        Str row_got = (got), row_want = (want);                                                    \
        if (!str_eq(row_got, row_want)) {                                                          \
            tap_checks_failed++;                                                                   \
            printf("# %s:%d: row at line %d: got \"" STR_FMT "\", want \"" STR_FMT "\"\n",         \
                   __FILE__, __LINE__, (row)->line, STR_ARG(row_got), STR_ARG(row_want));          \
        }                                                                                          \
    } while (0)

/** The value as JSON in an arena. */
static inline Str to_json(Arena *arena, const Value *value, JsonStyle style)
{
    Buf buf = {0};
    json_write(&buf, value, style);
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}
