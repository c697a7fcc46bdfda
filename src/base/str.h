// SPDX-License-Identifier: MIT
// Strings are slices: bytes and a length, passed by value, not owned, not NUL-terminated unless
// they came from an arena. Nothing here allocates except the functions that take an Arena.
#pragma once

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Str {
    const char *data; // may be NULL only when len is 0
    size_t len;       // bytes
} Str;

#define STR(literal) ((Str){("" literal), sizeof(literal) - 1})
#define STR_EMPTY    ((Str){"", 0})
#define STR_INIT(literal)                                                                          \
    {                                                                                              \
        ("" literal), sizeof(literal) - 1                                                          \
    } // initialises members of static tables
#define STR_FMT    "%.*s"
#define STR_ARG(s) (int)(s).len, (s).data
#define STR_NONE   SIZE_MAX

Str str_from_c(const char *c_string); // NULL gives the empty string
bool str_eq(Str a, Str b);
bool str_eq_c(Str a, const char *c_string);
int str_cmp(Str a, Str b); // bytewise, like memcmp then length
bool str_starts_with(Str s, Str prefix);
bool str_ends_with(Str s, Str suffix);
/** Byte offset of the first occurrence at or after from, or STR_NONE. */
size_t str_find(Str s, Str needle, size_t from);
size_t str_find_last(Str s, Str needle);
Str str_slice(Str s, size_t from, size_t to); // clamped to the string
Str str_trim(Str s);                          // ASCII white space at both ends
Str str_trim_of(Str s, Str bytes);            // any of these bytes at both ends
/** Cut at the first separator: true, *head before it, *rest after it; false: *head is all. */
bool str_cut(Str s, Str separator, Str *head, Str *rest);
/** Parse a whole string as a number; false when any byte is left over or it does not fit. */
bool str_to_i64(Str s, int64_t *out);
bool str_to_f64(Str s, double *out);

/** NUL-terminated copies in an arena. */
Str str_copy(Arena *arena, Str s);
char *str_to_c(Arena *arena, Str s);
Str str_printf(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
Str str_concat(Arena *arena, Str a, Str b);

/**
 * The candidate nearest to word by edit distance, for did-you-mean.
 * returns the index, or STR_NONE when nothing is within a third of the word's length (at least 1).
 */
size_t str_nearest(Str word, const Str *candidates, size_t n);
