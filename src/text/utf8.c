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

/** A character that becomes two or three; 0: no third. */
typedef struct FullCase {
    uint32_t from;
    uint32_t to[3];
} FullCase;

#define LOWER(first, last, stride, delta)
#define UPPER(first, last, stride, delta)
#define FOLD(first, last, stride, delta)
#define FULL_LOWER(from, a, b, c)
#define FULL_UPPER(from, a, b, c)
#define FULL_FOLD(from, a, b, c)
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

static const FullCase full_lower[] = {
#undef FULL_LOWER
#define FULL_LOWER(from, a, b, c) {from, {a, b, c}},
#include "text/utf8_tables.def"
#undef FULL_LOWER
#define FULL_LOWER(from, a, b, c)
};

static const FullCase full_upper[] = {
#undef FULL_UPPER
#define FULL_UPPER(from, a, b, c) {from, {a, b, c}},
#include "text/utf8_tables.def"
#undef FULL_UPPER
#define FULL_UPPER(from, a, b, c)
};

static const FullCase full_fold[] = {
#undef FULL_FOLD
#define FULL_FOLD(from, a, b, c) {from, {a, b, c}},
#include "text/utf8_tables.def"
#undef FULL_FOLD
#define FULL_FOLD(from, a, b, c)
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
#undef FULL_LOWER
#undef FULL_UPPER
#undef FULL_FOLD
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

/** A mapping of case: where full does not hold a character runs do, then more. */
typedef struct CaseMap {
    const FullCase *full;
    size_t n_full;
    const CaseRun *runs;
    size_t n_runs;
    const CaseRun *more;
    size_t n_more;
    char first; // of the ASCII letters that change
    char last;
} CaseMap;

static const CaseMap lower_map = {
    full_lower, COUNT(full_lower), lower_runs, COUNT(lower_runs), NULL, 0, 'A', 'Z'};
static const CaseMap upper_map = {
    full_upper, COUNT(full_upper), upper_runs, COUNT(upper_runs), NULL, 0, 'a', 'z'};
static const CaseMap fold_map = {full_fold,  COUNT(full_fold),  fold_runs, COUNT(fold_runs),
                                 lower_runs, COUNT(lower_runs), 'A',       'Z'};

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

static const FullCase *find_full(const FullCase *rows, size_t n, uint32_t c)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > rows[middle].from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < n && rows[low].from == c ? &rows[low] : NULL;
}

/** Write what c becomes; the number of bytes, at most 9. */
static size_t map_code(const CaseMap *map, uint32_t c, char *out)
{
    const FullCase *full = find_full(map->full, map->n_full, c);
    if (full == NULL) {
        uint32_t mapped = c;
        if (!find_case(map->runs, map->n_runs, c, &mapped)) {
            find_case(map->more, map->n_more, c, &mapped);
        }
        return utf8_encode(mapped, out);
    }
    size_t n = 0;
    for (size_t i = 0; i < 3 && full->to[i] != 0; i++) {
        n += utf8_encode(full->to[i], out + n);
    }
    return n;
}

/** Whether a letter has case. */
static bool is_cased(uint32_t c)
{
    uint32_t ignored;
    if (c < 0x80) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    }
    return find_case(lower_runs, COUNT(lower_runs), c, &ignored) ||
           find_case(upper_runs, COUNT(upper_runs), c, &ignored) ||
           find_full(full_upper, COUNT(full_upper), c) != NULL;
}

/** Whether a word goes on over c: marks, apostrophes, points inside words. */
static bool is_case_ignorable(uint32_t c)
{
    switch (c) {
    case '\'':
    case '.':
    case ':':
    case '^':
    case '`':
    case 0xA8:
    case 0xAD:
    case 0xAF:
    case 0xB4:
    case 0xB7:
    case 0xB8:
    case 0x2018:
    case 0x2019:
        return true;
    default:
        return range_of(zero_ranges, COUNT(zero_ranges), c) != NULL;
    }
}

/** Whether the capital sigma of two bytes at s.data[at] ends a word of several letters. */
static bool is_final_sigma(Str s, size_t at)
{
    bool before = false;
    size_t from = at;
    while (from > 0 && !before) {
        do {
            from--;
        } while (from > 0 && ((unsigned char)s.data[from] & 0xC0) == 0x80);
        size_t next = from;
        uint32_t c = utf8_next(s, &next);
        before = is_cased(c) && !is_case_ignorable(c);
        if (!before && !is_case_ignorable(c)) {
            return false;
        }
    }
    for (size_t next = at + 2; before && next < s.len;) {
        uint32_t c = utf8_next(s, &next);
        if (!is_case_ignorable(c)) {
            return !is_cased(c);
        }
    }
    return before;
}

/** Map every code point; invalid bytes are kept. */
static Str map_string(Arena *arena, Str s, const CaseMap *map)
{
    size_t cap = 0;
    for (size_t at = 0; at < s.len;) {
        uint32_t c;
        size_t len = utf8_decode(s.data + at, s.len - at, &c);
        cap += len < 2 ? 1 : find_full(map->full, map->n_full, c) != NULL ? 9 : 4;
        at += len > 0 ? len : 1;
    }
    char *out = arena_alloc_raw(arena, cap + 1, 1);
    size_t at_out = 0;
    for (size_t at = 0; at < s.len;) {
        char b = s.data[at];
        uint32_t c;
        size_t len = utf8_decode(s.data + at, s.len - at, &c);
        if (len < 2) {
            out[at_out++] = (char)(b >= map->first && b <= map->last ? b ^ 0x20 : b);
            at++;
            continue;
        }
        if (c == 0x3A3 && map == &lower_map && is_final_sigma(s, at)) {
            at_out += utf8_encode(0x3C2, out + at_out);
        } else {
            at_out += map_code(map, c, out + at_out);
        }
        at += len;
    }
    out[at_out] = '\0';
    return (Str){out, at_out};
}

Str utf8_lower(Arena *arena, Str s)
{
    return map_string(arena, s, &lower_map);
}

Str utf8_upper(Arena *arena, Str s)
{
    return map_string(arena, s, &upper_map);
}

Str utf8_fold(Arena *arena, Str s)
{
    return map_string(arena, s, &fold_map);
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
