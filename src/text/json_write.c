// SPDX-License-Identifier: MIT
// The JSON writer, and reals as text. Output is always valid JSON: bytes that are not UTF-8 become
// U+FFFD, and reals that JSON has no word for (NaN, infinities) become null.
#include "text/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/text_internal.h"

// ---- reals --------------------------------------------------------------------------------------

/** Decimal digits d.ddd as "%.*e" gives them, without the zeros at the end. */
typedef struct Digits {
    char text[20];
    int n;
    int exponent; // of the first digit
} Digits;

static bool digits_read_back(double d, int n_digits, char *scratch, size_t size)
{
    snprintf(scratch, size, "%.*e", n_digits - 1, d);
    return strtod(scratch, NULL) == d;
}

/** The fewest digits that read back. Fifteen always suffice for what fifteen digits can say. */
static Digits shortest_digits(double d)
{
    char scratch[40];
    int n_digits = d < 2.2250738585072014e-308 ? 1 : 15; // subnormals hold fewer digits
    while (n_digits < 17 && !digits_read_back(d, n_digits, scratch, sizeof(scratch))) {
        n_digits++;
    }
    snprintf(scratch, sizeof(scratch), "%.*e", n_digits - 1, d);
    Digits digits = {.n = 0};
    const char *p = scratch;
    for (; *p != '\0' && *p != 'e'; p++) {
        if (*p != '.') {
            digits.text[digits.n++] = *p;
        }
    }
    digits.exponent = (int)strtol(p + 1, NULL, 10);
    while (digits.n > 1 && digits.text[digits.n - 1] == '0') {
        digits.n--;
    }
    return digits;
}

/** Append n bytes of c. */
static char *fill(char *p, char c, int n)
{
    for (int i = 0; i < n; i++) {
        *p++ = c;
    }
    return p;
}

static char *put_fixed(char *p, const Digits *digits)
{
    int whole = digits->exponent + 1; // digits before the point
    if (whole <= 0) {
        *p++ = '0';
        *p++ = '.';
        p = fill(p, '0', -whole);
        memcpy(p, digits->text, (size_t)digits->n);
        return p + digits->n;
    }
    for (int i = 0; i < whole; i++) {
        *p++ = i < digits->n ? digits->text[i] : '0';
    }
    *p++ = '.';
    if (whole >= digits->n) {
        *p++ = '0';
    }
    for (int i = whole; i < digits->n; i++) {
        *p++ = digits->text[i];
    }
    return p;
}

static char *put_scientific(char *p, const Digits *digits)
{
    *p++ = digits->text[0];
    if (digits->n > 1) {
        *p++ = '.';
        memcpy(p, digits->text + 1, (size_t)digits->n - 1);
        p += digits->n - 1;
    }
    return p + snprintf(p, 8, "e%c%02d", digits->exponent < 0 ? '-' : '+', abs(digits->exponent));
}

size_t text_format_real(double d, char out[40])
{
    if (!isfinite(d)) {
        const char *word = isnan(d) ? "nan" : d < 0 ? "-inf" : "inf";
        return (size_t)snprintf(out, 40, "%s", word);
    }
    char *p = out;
    if (signbit(d)) {
        *p++ = '-';
    }
    Digits digits = d == 0 ? (Digits){.text = "0", .n = 1} : shortest_digits(fabs(d));
    bool fixed = digits.exponent >= -4 && digits.exponent < 16; // where Python's repr changes too
    p = fixed ? put_fixed(p, &digits) : put_scientific(p, &digits);
    *p = '\0';
    return (size_t)(p - out);
}

// ---- strings ------------------------------------------------------------------------------------

static void write_escaped(Buf *buf, unsigned char c)
{
    static const char codes[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *code = c != 0 ? strchr(codes, c) : NULL;
    if (code != NULL) {
        buf_char(buf, '\\');
        buf_char(buf, letters[code - codes]);
        return;
    }
    buf_printf(buf, "\\u%04x", (unsigned)c);
}

/** The bytes from at that are written as they are: text without quotes, slashes, controls. */
static size_t clean_run(Str s, size_t at)
{
    while (at < s.len) {
        unsigned char c = (unsigned char)s.data[at];
        if (c >= 0x80) {
            uint32_t code;
            size_t n = utf8_decode(s.data + at, s.len - at, &code);
            if (n == 0) {
                return at;
            }
            at += n;
        } else if (c < 0x20 || c == '"' || c == '\\') {
            return at;
        } else {
            at++;
        }
    }
    return at;
}

void json_write_str(Buf *buf, Str s)
{
    size_t at = clean_run(s, 0);
    if (at == s.len) { // nearly always: one piece
        char *room = buf_reserve(buf, s.len + 2);
        if (room != NULL) {
            room[0] = '"';
            if (s.len > 0) {
                memcpy(room + 1, s.data, s.len);
            }
            room[s.len + 1] = '"';
            buf->len += s.len + 2;
        }
        return;
    }
    buf_char(buf, '"');
    buf_append(buf, s.data, at);
    while (at < s.len) {
        unsigned char c = (unsigned char)s.data[at++];
        if (c >= 0x80) {
            buf_str(buf, STR("\xEF\xBF\xBD"));
        } else {
            write_escaped(buf, c);
        }
        size_t end = clean_run(s, at);
        buf_append(buf, s.data + at, end - at);
        at = end;
    }
    buf_char(buf, '"');
}

// ---- values -------------------------------------------------------------------------------------

/** Between elements: a comma, and the line break or space of the style. */
static void write_break(Buf *buf, JsonStyle style, size_t depth, bool first)
{
    if (!first) {
        buf_char(buf, ',');
    }
    if (style == JSON_PRETTY) {
        buf_char(buf, '\n');
        for (size_t i = 0; i < depth; i++) {
            buf_str(buf, STR("  "));
        }
    } else if (style == JSON_SPACED && !first) {
        buf_char(buf, ' ');
    }
}

static void write_value(Buf *buf, const Value *value, JsonStyle style, size_t depth);

static void write_list(Buf *buf, const ValueList *list, JsonStyle style, size_t depth)
{
    buf_char(buf, '[');
    for (size_t i = 0; i < list->n; i++) {
        write_break(buf, style, depth + 1, i == 0);
        write_value(buf, &list->items[i], style, depth + 1);
    }
    if (style == JSON_PRETTY && list->n > 0) {
        write_break(buf, style, depth, true);
    }
    buf_char(buf, ']');
}

static void write_map(Buf *buf, const ValueMap *map, JsonStyle style, size_t depth)
{
    buf_char(buf, '{');
    for (size_t i = 0; i < map->n; i++) {
        write_break(buf, style, depth + 1, i == 0);
        json_write_str(buf, map->pairs[i].key);
        buf_str(buf, style == JSON_COMPACT ? STR(":") : STR(": "));
        write_value(buf, &map->pairs[i].value, style, depth + 1);
    }
    if (style == JSON_PRETTY && map->n > 0) {
        write_break(buf, style, depth, true);
    }
    buf_char(buf, '}');
}

static void write_value(Buf *buf, const Value *value, JsonStyle style, size_t depth)
{
    char scratch[40];
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
        buf_str(buf, STR("null"));
        return;
    case VALUE_BOOL:
        buf_str(buf, value->as.boolean ? STR("true") : STR("false"));
        return;
    case VALUE_INT:
        buf_append(
            buf, scratch,
            (size_t)snprintf(scratch, sizeof(scratch), "%lld", (long long)value->as.integer));
        return;
    case VALUE_REAL:
        if (isfinite(value->as.real)) {
            buf_append(buf, scratch, text_format_real(value->as.real, scratch));
        } else {
            buf_str(buf, STR("null"));
        }
        return;
    case VALUE_STR:
        json_write_str(buf, value->as.str);
        return;
    case VALUE_LIST:
        write_list(buf, &value->as.list, style, depth);
        return;
    case VALUE_MAP:
        write_map(buf, &value->as.map, style, depth);
        return;
    }
}

void json_write(Buf *buf, const Value *value, JsonStyle style)
{
    write_value(buf, value, style, 0);
}

Str json_plain(Arena *arena, const Value *value)
{
    if (value->kind == VALUE_STR) {
        return value->as.str;
    }
    Buf buf = {0};
    json_write(&buf, value, JSON_COMPACT);
    Str out = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return out;
}

bool text_of_scalar(Arena *arena, const Value *value, Str *out)
{
    char real[40];
    switch ((ValueKind)value->kind) {
    case VALUE_STR:
        *out = value->as.str;
        return true;
    case VALUE_BOOL:
        *out = value->as.boolean ? STR("True") : STR("False");
        return true;
    case VALUE_INT:
        *out = str_printf(arena, "%lld", (long long)value->as.integer);
        return true;
    case VALUE_REAL:
        *out = str_copy(arena, (Str){real, text_format_real(value->as.real, real)});
        return true;
    case VALUE_NULL:
    case VALUE_LIST:
    case VALUE_MAP:
        break;
    }
    return false;
}
