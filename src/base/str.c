// SPDX-License-Identifier: MIT
// Slices of bytes. Nothing here reads past a slice; NUL is a byte like any other.
#include "base/str.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Str str_from_c(const char *c_string)
{
    return c_string == NULL ? STR_EMPTY : (Str){c_string, strlen(c_string)};
}

bool str_eq(Str a, Str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool str_eq_c(Str a, const char *c_string)
{
    return str_eq(a, str_from_c(c_string));
}

int str_cmp(Str a, Str b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    int order = least > 0 ? memcmp(a.data, b.data, least) : 0;
    if (order != 0) {
        return order < 0 ? -1 : 1;
    }
    return (a.len > b.len) - (a.len < b.len);
}

bool str_starts_with(Str s, Str prefix)
{
    return s.len >= prefix.len && str_eq(str_slice(s, 0, prefix.len), prefix);
}

bool str_ends_with(Str s, Str suffix)
{
    return s.len >= suffix.len && str_eq(str_slice(s, s.len - suffix.len, s.len), suffix);
}

size_t str_find(Str s, Str needle, size_t from)
{
    if (from > s.len || needle.len > s.len - from) {
        return STR_NONE;
    }
    if (needle.len == 0) {
        return from;
    }
    const char *at = memmem(s.data + from, s.len - from, needle.data, needle.len);
    return at == NULL ? STR_NONE : (size_t)(at - s.data);
}

size_t str_find_last(Str s, Str needle)
{
    if (needle.len > s.len) {
        return STR_NONE;
    }
    for (size_t at = s.len - needle.len + 1; at-- > 0;) {
        if (str_eq(str_slice(s, at, at + needle.len), needle)) {
            return at;
        }
    }
    return STR_NONE;
}

Str str_slice(Str s, size_t from, size_t to)
{
    if (to > s.len) {
        to = s.len;
    }
    if (from >= to) {
        return (Str){s.data != NULL ? s.data + (from < s.len ? from : s.len) : "", 0};
    }
    return (Str){s.data + from, to - from};
}

Str str_trim(Str s)
{
    return str_trim_of(s, STR(" \t\n\r\v\f"));
}

Str str_trim_of(Str s, Str bytes)
{
    bool cut[256] = {false};
    for (size_t i = 0; i < bytes.len; i++) {
        cut[(unsigned char)bytes.data[i]] = true;
    }
    size_t from = 0;
    size_t to = s.len;
    while (from < to && cut[(unsigned char)s.data[from]]) {
        from++;
    }
    while (to > from && cut[(unsigned char)s.data[to - 1]]) {
        to--;
    }
    return str_slice(s, from, to);
}

bool str_cut(Str s, Str separator, Str *head, Str *rest)
{
    size_t at = str_find(s, separator, 0);
    if (at == STR_NONE) {
        *head = s;
        *rest = STR_EMPTY;
        return false;
    }
    *head = str_slice(s, 0, at);
    *rest = str_slice(s, at + separator.len, s.len);
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool str_to_i64(Str s, int64_t *out)
{
    size_t i = 0;
    bool negative = false;
    if (i < s.len && (s.data[i] == '-' || s.data[i] == '+')) {
        negative = s.data[i] == '-';
        i++;
    }
    if (i == s.len) {
        return false;
    }
    int64_t value = 0; // counted downwards: the most negative number has no positive twin
    for (; i < s.len; i++) {
        if (!is_digit(s.data[i]) || __builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_sub_overflow(value, (int64_t)(s.data[i] - '0'), &value)) {
            return false;
        }
    }
    if (!negative && value == INT64_MIN) {
        return false;
    }
    *out = negative ? value : -value;
    return true;
}

/** Whether s is [+-] digits [. digits] [e [+-] digits], with a digit before the exponent. */
static bool is_decimal(Str s)
{
    size_t i = 0;
    size_t n_digits = 0;
    if (i < s.len && (s.data[i] == '-' || s.data[i] == '+')) {
        i++;
    }
    for (; i < s.len && is_digit(s.data[i]); i++) {
        n_digits++;
    }
    if (i < s.len && s.data[i] == '.') {
        i++;
        for (; i < s.len && is_digit(s.data[i]); i++) {
            n_digits++;
        }
    }
    if (n_digits == 0) {
        return false;
    }
    if (i < s.len && (s.data[i] == 'e' || s.data[i] == 'E')) {
        i++;
        if (i < s.len && (s.data[i] == '-' || s.data[i] == '+')) {
            i++;
        }
        if (i == s.len) {
            return false;
        }
        while (i < s.len && is_digit(s.data[i])) {
            i++;
        }
    }
    return i == s.len;
}

bool str_to_f64(Str s, double *out)
{
    if (!is_decimal(s)) {
        return false;
    }
    char small[128];
    char *text = s.len < sizeof small ? small : mem_alloc(s.len + 1, 1);
    memcpy(text, s.data, s.len);
    text[s.len] = '\0';
    double value = strtod(text, NULL);
    if (text != small) {
        mem_free(text);
    }
    if (!isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

Str str_copy(Arena *arena, Str s)
{
    return (Str){arena_copy(arena, s.data, s.len), s.len};
}

char *str_to_c(Arena *arena, Str s)
{
    return arena_copy(arena, s.data, s.len);
}

Str str_printf(Arena *arena, const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    char *data = arena_alloc_raw(arena, (size_t)len + 1, 1);
    vsnprintf(data, (size_t)len + 1, format, again);
    va_end(again);
    return (Str){data, (size_t)len};
}

Str str_concat(Arena *arena, Str a, Str b)
{
    char *data = arena_alloc_raw(arena, a.len + b.len + 1, 1);
    if (a.len > 0) {
        memcpy(data, a.data, a.len);
    }
    if (b.len > 0) {
        memcpy(data + a.len, b.data, b.len);
    }
    data[a.len + b.len] = '\0';
    return (Str){data, a.len + b.len};
}

#define NEAREST_MAX 64 // longer words have no did-you-mean

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/** Edit distance of insertions, deletions, replacements and swaps of neighbours, each costing 1. */
static size_t edit_distance(Str a, Str b)
{
    size_t rows[3][NEAREST_MAX + 1]; // of i-2, i-1, i; used in turn
    for (size_t j = 0; j <= b.len; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t cost = a.data[i - 1] == b.data[j - 1] ? 0 : 1;
            size_t best = least_of(above[j - 1] + cost, least_of(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
                a.data[i - 2] == b.data[j - 1]) {
                best = least_of(best, above2[j - 2] + 1);
            }
            row[j] = best;
        }
    }
    return rows[a.len % 3][b.len];
}

size_t str_nearest(Str word, const Str *candidates, size_t n)
{
    if (word.len > NEAREST_MAX) {
        return STR_NONE;
    }
    size_t best = word.len / 3 > 1 ? word.len / 3 : 1;
    size_t nearest = STR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (candidates[i].len > NEAREST_MAX) {
            continue;
        }
        size_t distance = edit_distance(word, candidates[i]);
        if (distance < best || (distance == best && nearest == STR_NONE)) {
            best = distance;
            nearest = i;
        }
    }
    return nearest;
}
