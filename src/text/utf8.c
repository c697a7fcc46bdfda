// SPDX-License-Identifier: MIT
// UTF-8: validity, iteration, terminal columns, case mapping and folding, digits. Tables come from
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

/** A character that folds to two or three; 0: no third. */
typedef struct FullFold {
    uint32_t from;
    uint32_t to[3];
} FullFold;

#define LOWER(first, last, stride, delta)
#define UPPER(first, last, stride, delta)
#define FOLD(first, last, stride, delta)
#define FULL(from, a, b, c)
#define DIGIT(zero)
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

static const CaseRun fold_runs[] = {
#undef FOLD
#define FOLD(first, last, stride, delta) {first, last, stride, delta},
#include "text/utf8_tables.def"
#undef FOLD
#define FOLD(first, last, stride, delta)
};

static const FullFold full_folds[] = {
#undef FULL
#define FULL(from, a, b, c) {from, {a, b, c}},
#include "text/utf8_tables.def"
#undef FULL
#define FULL(from, a, b, c)
};

static const CodeRange digit_ranges[] = {
#undef DIGIT
#define DIGIT(zero) {zero, (zero) + 9},
#include "text/utf8_tables.def"
#undef DIGIT
#define DIGIT(zero)
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
#undef FOLD
#undef FULL
#undef DIGIT
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

/** The range that holds c, or NULL. */
static const CodeRange *range_of(const CodeRange *ranges, size_t n, uint32_t c)
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
    return low < n && c >= ranges[low].first ? &ranges[low] : NULL;
}

static size_t code_columns(uint32_t c)
{
    if (c < 0x20 || (c >= 0x7F && c < 0xA0)) {
        return 0; // control characters take no column of their own
    }
    if (c < 0x300) {
        return 1;
    }
    if (range_of(zero_ranges, COUNT(zero_ranges), c) != NULL) {
        return 0;
    }
    return range_of(wide_ranges, COUNT(wide_ranges), c) != NULL ? 2 : 1;
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

/** Set *out to what c maps to; false when no run holds it. */
static bool find_case(const CaseRun *runs, size_t n, uint32_t c, uint32_t *out)
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
        return false;
    }
    *out = (uint32_t)((int32_t)c + runs[low].delta);
    return true;
}

static uint32_t map_case(const CaseRun *runs, size_t n, uint32_t c)
{
    uint32_t mapped = c;
    return find_case(runs, n, c, &mapped) ? mapped : c;
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

static const FullFold *full_fold(uint32_t c)
{
    size_t low = 0;
    size_t high = COUNT(full_folds);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > full_folds[middle].from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < COUNT(full_folds) && full_folds[low].from == c ? &full_folds[low] : NULL;
}

/** Write what c folds to; the number of bytes. */
static size_t fold_code(uint32_t c, char *out)
{
    const FullFold *full = full_fold(c);
    if (full == NULL) {
        uint32_t folded;
        if (!find_case(fold_runs, COUNT(fold_runs), c, &folded)) {
            folded = map_case(lower_runs, COUNT(lower_runs), c);
        }
        return utf8_encode(folded, out);
    }
    size_t n = 0;
    for (size_t i = 0; i < 3 && full->to[i] != 0; i++) {
        n += utf8_encode(full->to[i], out + n);
    }
    return n;
}

Str utf8_fold(Arena *arena, Str s)
{
    size_t cap = 0;
    for (size_t at = 0; at < s.len;) {
        uint32_t c;
        size_t len = utf8_decode(s.data + at, s.len - at, &c);
        cap += len >= 2 ? 12 : 1;
        at += len > 0 ? len : 1;
    }
    char *out = arena_alloc_raw(arena, cap + 1, 1);
    size_t at_out = 0;
    for (size_t at = 0; at < s.len;) {
        char b = s.data[at];
        uint32_t c;
        size_t len = utf8_decode(s.data + at, s.len - at, &c);
        if (len >= 2) {
            at_out += fold_code(c, out + at_out);
            at += len;
            continue;
        }
        out[at_out++] = (char)(b >= 'A' && b <= 'Z' ? b ^ 0x20 : b);
        at++;
    }
    out[at_out] = '\0';
    return (Str){out, at_out};
}

Str utf8_digits(Arena *arena, Str s)
{
    if (ascii_run(s.data, s.len) == s.len) {
        return s;
    }
    char *out = arena_alloc_raw(arena, s.len + 1, 1); // a digit never grows
    size_t at_out = 0;
    for (size_t at = 0; at < s.len;) {
        uint32_t c;
        size_t len = utf8_decode(s.data + at, s.len - at, &c);
        const CodeRange *range = len < 2 ? NULL : range_of(digit_ranges, COUNT(digit_ranges), c);
        if (range != NULL) {
            out[at_out++] = (char)('0' + (c - range->first));
            at += len;
            continue;
        }
        len = len == 0 ? 1 : len;
        memcpy(out + at_out, s.data + at, len);
        at_out += len;
        at += len;
    }
    out[at_out] = '\0';
    return (Str){out, at_out};
}
