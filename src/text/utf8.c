// SPDX-License-Identifier: MIT
// UTF-8: validity, iteration, terminal columns, simple case mapping. Tables come from
// utf8_tables.def (Unicode data, one row per run of code points, searched by halves).
#include "text/text.h"

#include <string.h>

#include "text/text_internal.h"

typedef struct CaseRun {
    uint32_t first;
    uint32_t last;
    uint32_t stride; // 2 where upper and lower alternate
    int32_t delta;
} CaseRun;

typedef struct CodeRange {
    uint32_t first;
    uint32_t last;
} CodeRange;

#define LOWER(first, last, stride, delta)
#define UPPER(first, last, stride, delta)
#define WIDE(first, last)
#define ZERO(first, last)

static const CaseRun lower_runs[] = {
#undef LOWER
#define LOWER(first, last, stride, delta) {first, last, stride, delta},
#include "text/utf8_tables.def"
#undef LOWER
#define LOWER(first, last, stride, delta)
};

static const CaseRun upper_runs[] = {
#undef UPPER
#define UPPER(first, last, stride, delta) {first, last, stride, delta},
#include "text/utf8_tables.def"
#undef UPPER
#define UPPER(first, last, stride, delta)
};

static const CodeRange wide_ranges[] = {
#undef WIDE
#define WIDE(first, last) {first, last},
#include "text/utf8_tables.def"
#undef WIDE
#define WIDE(first, last)
};

static const CodeRange zero_ranges[] = {
#undef ZERO
#define ZERO(first, last) {first, last},
#include "text/utf8_tables.def"
};

#undef LOWER
#undef UPPER
#undef WIDE
#undef ZERO

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/** Bytes of the ASCII run at p, a word at a time. */
static size_t ascii_run(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        if ((word & 0x8080808080808080u) != 0) {
            break;
        }
    }
    while (i < n && (unsigned char)p[i] < 0x80) {
        i++;
    }
    return i;
}

size_t utf8_valid_prefix(Str s)
{
    size_t at = 0;
    while (at < s.len) {
        at += ascii_run(s.data + at, s.len - at);
        while (at < s.len && (unsigned char)s.data[at] >= 0x80) {
            uint32_t c;
            size_t n = utf8_decode(s.data + at, s.len - at, &c);
            if (n == 0) {
                return at;
            }
            at += n;
        }
    }
    return at;
}

bool utf8_is_valid(Str s)
{
    return utf8_valid_prefix(s) == s.len;
}

uint32_t utf8_next(Str s, size_t *at)
{
    uint32_t c = UTF8_REPLACEMENT;
    size_t n = utf8_decode(s.data + *at, s.len - *at, &c);
    *at += n > 0 ? n : 1;
    return n > 0 ? c : UTF8_REPLACEMENT;
}

size_t utf8_encode(uint32_t code_point, char *out)
{
    uint32_t c = code_point;
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
        c = UTF8_REPLACEMENT;
    }
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t utf8_length(Str s)
{
    size_t n = 0;
    for (size_t at = 0; at < s.len; n++) {
        utf8_next(s, &at);
    }
    return n;
}

Str utf8_clean(Arena *arena, Str s)
{
    size_t valid = utf8_valid_prefix(s);
    if (valid == s.len) {
        return s;
    }
    // An invalid byte becomes three bytes at most; valid text keeps its length.
    size_t n_bad = 0;
    for (size_t at = valid; at < s.len;) {
        uint32_t c;
        size_t n = utf8_decode(s.data + at, s.len - at, &c);
        n_bad += n == 0;
        at += n > 0 ? n : 1;
    }
    char *out = arena_alloc_raw(arena, s.len + 2 * n_bad + 1, 1);
    memcpy(out, s.data, valid);
    size_t len = valid;
    for (size_t at = valid; at < s.len;) {
        len += utf8_encode(utf8_next(s, &at), out + len);
    }
    out[len] = '\0';
    return (Str){out, len};
}

static bool in_ranges(const CodeRange *ranges, size_t n, uint32_t c)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > ranges[middle].last) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < n && c >= ranges[low].first;
}

static size_t code_columns(uint32_t c)
{
    if (c < 0x20 || (c >= 0x7F && c < 0xA0)) {
        return 0; // control characters take no column of their own
    }
    if (c < 0x300) {
        return 1;
    }
    if (in_ranges(zero_ranges, COUNT(zero_ranges), c)) {
        return 0;
    }
    return in_ranges(wide_ranges, COUNT(wide_ranges), c) ? 2 : 1;
}

size_t utf8_columns(Str s)
{
    size_t columns = 0;
    for (size_t at = 0; at < s.len;) {
        columns += code_columns(utf8_next(s, &at));
    }
    return columns;
}

Str utf8_cut_columns(Str s, size_t n)
{
    size_t columns = 0;
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        columns += code_columns(utf8_next(s, &at));
        if (columns > n) {
            return str_slice(s, 0, from);
        }
    }
    return s;
}

static uint32_t map_case(const CaseRun *runs, size_t n, uint32_t c)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > runs[middle].last) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == n || c < runs[low].first || (c - runs[low].first) % runs[low].stride != 0) {
        return c;
    }
    return (uint32_t)((int32_t)c + runs[low].delta);
}

/** Map every code point; invalid bytes are kept. A mapping may lengthen a character to 3 bytes. */
static Str map_string(Arena *arena, Str s, const CaseRun *runs, size_t n, char first, char last)
{
    size_t cap = 0;
    for (size_t at = 0; at < s.len;) {
        uint32_t c;
        size_t len = utf8_decode(s.data + at, s.len - at, &c);
        cap += len >= 2 ? 4 : 1;
        at += len > 0 ? len : 1;
    }
    char *out = arena_alloc_raw(arena, cap + 1, 1);
    size_t at_out = 0;
    for (size_t at = 0; at < s.len;) {
        char b = s.data[at];
        uint32_t c;
        size_t len = utf8_decode(s.data + at, s.len - at, &c);
        if (len >= 2) {
            at_out += utf8_encode(map_case(runs, n, c), out + at_out);
            at += len;
            continue;
        }
        out[at_out++] = (char)(b >= first && b <= last ? b ^ 0x20 : b);
        at++;
    }
    out[at_out] = '\0';
    return (Str){out, at_out};
}

Str utf8_lower(Arena *arena, Str s)
{
    return map_string(arena, s, lower_runs, COUNT(lower_runs), 'A', 'Z');
}

Str utf8_upper(Arena *arena, Str s)
{
    return map_string(arena, s, upper_runs, COUNT(upper_runs), 'a', 'z');
}
