// SPDX-License-Identifier: MIT
// Scalars of the YAML reader: the core schema for plain text, warnings for texts that read
// otherwise than their author may think, and where the text of a block scalar stands in its file.
#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/yaml_internal.h"

void yaml_refuse_properties(Yaml *y, size_t at, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL) {
        FAULT(y, at, false, "anchor",
              "anchors are not allowed: write the value out, or quote text that starts with &");
    }
    if (tag != NULL) {
        FAULT(y, at, false, "tag",
              "tags are not allowed: quote text that starts with !, or leave the tag out");
    }
}

// ---- plain scalars ------------------------------------------------------------------------------

static bool is_one_of(Str s, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (str_eq_c(s, *words)) {
            return true;
        }
    }
    return false;
}

static size_t count_digits(Str s, size_t at, char last)
{
    size_t n = 0;
    while (at + n < s.len && s.data[at + n] >= '0' && s.data[at + n] <= last) {
        n++;
    }
    return n;
}

/** What a plain text looks like under the core schema. */
typedef enum NumberForm {
    NUMBER_NONE,
    NUMBER_INT,
    NUMBER_OCTAL,
    NUMBER_HEX,
    NUMBER_REAL,
    NUMBER_NOT_FINITE, // .inf, .nan
} NumberForm;

static bool is_based(Str s, const char *prefix, const char *digits)
{
    return s.len > 2 && str_starts_with(s, str_from_c(prefix)) &&
           str_trim_of(s, str_from_c(digits)).len == 0;
}

static NumberForm number_form(Str s)
{
    static const char *const not_finite[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};
    if (is_based(s, "0o", "01234567o")) {
        return count_digits(s, 2, '7') == s.len - 2 ? NUMBER_OCTAL : NUMBER_NONE;
    }
    if (is_based(s, "0x", "0123456789abcdefABCDEFx")) {
        return memchr(s.data + 2, 'x', s.len - 2) == NULL ? NUMBER_HEX : NUMBER_NONE;
    }
    size_t at = s.len > 0 && (s.data[0] == '-' || s.data[0] == '+');
    if (is_one_of(str_slice(s, at, s.len), not_finite)) {
        return NUMBER_NOT_FINITE;
    }
    size_t whole = count_digits(s, at, '9');
    at += whole;
    if (at == s.len) {
        return whole > 0 ? NUMBER_INT : NUMBER_NONE;
    }
    size_t fraction = 0;
    if (s.data[at] == '.') {
        fraction = count_digits(s, at + 1, '9');
        at += 1 + fraction;
    }
    if (whole + fraction == 0) {
        return NUMBER_NONE;
    }
    if (at < s.len && (s.data[at] == 'e' || s.data[at] == 'E')) {
        at++;
        at += at < s.len && (s.data[at] == '-' || s.data[at] == '+');
        size_t exponent = count_digits(s, at, '9');
        at += exponent > 0 ? exponent : s.len + 1;
    }
    return at == s.len ? NUMBER_REAL : NUMBER_NONE;
}

/** Integers that do not fit become reals, as in JSON. Text is at most what a line holds. */
static Value number_value(Arena *arena, Str s, NumberForm form)
{
    if (form == NUMBER_OCTAL || form == NUMBER_HEX) {
        uint64_t v = 0;
        uint64_t base = form == NUMBER_HEX ? 16 : 8;
        double d = 0;
        bool fits = true;
        for (size_t i = 2; i < s.len; i++) {
            char c = s.data[i];
            uint64_t digit = (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
            fits = fits && v <= ((uint64_t)INT64_MAX - digit) / base;
            v = fits ? v * base + digit : v;
            d = d * (double)base + (double)digit;
        }
        return fits ? value_int((int64_t)v) : value_real(d);
    }
    if (form == NUMBER_NOT_FINITE) {
        return value_real(INFINITY);
    }
    int64_t i;
    if (form == NUMBER_INT && str_to_i64(s.data[0] == '+' ? str_slice(s, 1, s.len) : s, &i)) {
        return value_int(i);
    }
    return value_real(strtod(str_to_c(arena, s), NULL));
}

/** Digits of a decimal number that its value does not keep: "007", "1.10", twenty digits. */
static bool loses_digits(const Yaml *y, Str s, const Value *value)
{
    size_t sign = s.data[0] == '-' || s.data[0] == '+';
    bool has_exponent = memchr(s.data, 'e', s.len) != NULL || memchr(s.data, 'E', s.len) != NULL;
    bool has_point = memchr(s.data, '.', s.len) != NULL;
    if (has_exponent) {
        return false;
    }
    if (!has_point) {
        return value->kind == VALUE_REAL || (count_digits(s, sign, '0') > 0 && s.len > sign + 1 &&
                                             s.data[sign + 1] != 'x' && s.data[sign + 1] != 'o');
    }
    // 0.50 is an ordinary number; version 1.10 is not 1.1.
    return str_ends_with(y->key, STR("version")) && str_ends_with(s, STR("0")) &&
           !str_ends_with(s, STR(".0"));
}

/** Numbers that print otherwise than they were written: an id or a version that should be text. */
static void warn_number(Yaml *y, size_t at, Str s, const Value *value)
{
    if (!loses_digits(y, s, value)) {
        return;
    }
    Buf buf = {0};
    json_write(&buf, value, JSON_COMPACT);
    FAULT(y, at, true, "number",
          STR_FMT " is read as the number " STR_FMT ": quote it if it is text", STR_ARG(s),
          STR_ARG(buf_view(&buf)));
    buf_finish(&buf);
}

/** Where a comment starts in the rest of a line after blanks; STR_NONE when it does not. */
static size_t comment_behind(const Yaml *y, size_t at)
{
    while (at < y->text.len && (y->text.data[at] == ' ' || y->text.data[at] == '\t')) {
        at++;
    }
    return at < y->text.len && y->text.data[at] == '#' ? at : STR_NONE;
}

/** Whether the # of a comment is followed by something else than a blank: "####", "#1". */
static bool comment_is_tight(const Yaml *y, size_t at)
{
    char next = at + 1 < y->text.len ? y->text.data[at + 1] : '\n';
    return next != ' ' && next != '\t' && next != '\n' && next != '\r';
}

/** Nothing where a value is expected: null, unless a comment hides what was meant. */
static Value empty_scalar(Yaml *y, size_t at)
{
    size_t comment = comment_behind(y, at);
    if (comment == STR_NONE) {
        return value_null();
    }
    size_t start;
    Str line = yaml_line_at(y->text, comment, &start);
    Str hidden = str_trim(str_slice(line, comment - start, line.len));
    Str shown = str_slice(hidden, 0, 60);
    if (comment_is_tight(y, comment)) {
        FAULT(y, comment, false, "comment",
              "# starts a comment here, so the value is empty: quote it, \"" STR_FMT
              "\", or write null",
              STR_ARG(shown));
        return value_str(hidden);
    }
    FAULT(y, comment, true, "comment",
          "the value is empty: # starts a comment; quote it if it is text, or write null");
    return value_null();
}

/** What the core schema makes of a plain text; infinities and NaN come from .inf, .nan, 1e999. */
static Value resolve_plain(Arena *arena, Str s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    if (is_one_of(s, nulls)) {
        return value_null();
    }
    bool is_true = is_one_of(s, trues);
    if (is_true || is_one_of(s, falses)) {
        return value_bool(is_true);
    }
    NumberForm form = number_form(s);
    return form == NUMBER_NONE ? value_str(s) : number_value(arena, s, form);
}

/** Plain texts that read otherwise than an author may think. */
static void check_plain_text(Yaml *y, size_t at, size_t end, Str s)
{
    static const char *const yes[] = {"yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const no[] = {"no", "No", "NO", "off", "Off", "OFF", NULL};
    bool is_yes = is_one_of(s, yes);
    if (is_yes || is_one_of(s, no)) {
        FAULT(y, at, true, "boolean",
              STR_FMT " is text here: write %s for the boolean, or quote it", STR_ARG(s),
              is_yes ? "true" : "false");
    }
    size_t comment = comment_behind(y, end);
    if (comment != STR_NONE && comment_is_tight(y, comment)) {
        FAULT(y, comment, true, "comment",
              "# starts a comment here: quote the text if it goes on, or put a space after the #");
    }
}

static Value plain_scalar(Yaml *y, size_t at, size_t end, Str s)
{
    if (s.len == 0) {
        return empty_scalar(y, at);
    }
    Value value = resolve_plain(y->arena, s);
    if (value.kind == VALUE_REAL && !isfinite(value.as.real)) {
        FAULT(y, at, false, "number", STR_FMT " is not a finite number",
              STR_ARG(str_slice(s, 0, 60)));
        return value_str(s);
    }
    if (value.kind == VALUE_INT || value.kind == VALUE_REAL) {
        warn_number(y, at, s, &value);
    } else if (value.kind == VALUE_STR) {
        check_plain_text(y, at, end, s);
    }
    return value;
}

// ---- scalars ------------------------------------------------------------------------------------

/** Blanks at the start of the first line that has more than blanks; false when none has. */
static bool first_indent(Str s, size_t *out)
{
    for (size_t at = 0; at < s.len; at++) {
        size_t start = at;
        while (at < s.len && s.data[at] == ' ') {
            at++;
        }
        if (at < s.len && s.data[at] != '\n' && s.data[at] != '\r') {
            *out = at - start;
            return true;
        }
        while (at < s.len && s.data[at] != '\n') {
            at++;
        }
    }
    return false;
}

/** How far a block scalar's text is indented in the file: blanks there less blanks in the text. */
static uint16_t block_indent(const Yaml *y, size_t start, size_t end, Str text)
{
    const char *header = memchr(y->text.data + start, '\n', end - start);
    size_t in_file;
    size_t in_text;
    if (header == NULL || !first_indent(text, &in_text)) {
        return 0;
    }
    size_t body = (size_t)(header - y->text.data) + 1;
    if (!first_indent(str_slice(y->text, body, end), &in_file) || in_file < in_text) {
        return 0;
    }
    return in_file - in_text > UINT16_MAX ? UINT16_MAX : (uint16_t)(in_file - in_text);
}

Value yaml_read_scalar(Yaml *y, const yaml_event_t *event)
{
    size_t start = yaml_event_start(y, event);
    size_t end = yaml_offset_of(y, event->end_mark.index);
    const char *bytes = (const char *)event->data.scalar.value;
    Str s = str_copy(y->arena, (Str){bytes, event->data.scalar.length});
    const yaml_char_t *tag = event->data.scalar.tag;
    yaml_refuse_properties(y, start, event->data.scalar.anchor, tag);
    Value value = value_str(s);
    value.style = VALUE_STYLE_QUOTED;
    switch (event->data.scalar.style) {
    case YAML_ANY_SCALAR_STYLE:
    case YAML_PLAIN_SCALAR_STYLE:
        value = tag != NULL ? value : plain_scalar(y, start, end, s);
        value.style = VALUE_STYLE_PLAIN;
        break;
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
        break;
    case YAML_LITERAL_SCALAR_STYLE:
        value.style = VALUE_STYLE_LITERAL;
        value.indent = block_indent(y, start, end, s);
        break;
    case YAML_FOLDED_SCALAR_STYLE:
        value.style = VALUE_STYLE_FOLDED;
        value.indent = block_indent(y, start, end, s);
        break;
    }
    return value;
}

// ---- keys -------------------------------------------------------------------------------------

Str yaml_read_key(Yaml *y, const yaml_event_t *event)
{
    size_t at = yaml_event_start(y, event);
    Str source = {(const char *)event->data.scalar.value, event->data.scalar.length};
    Str key = str_copy(y->arena, source);
    Str shown = str_slice(key, 0, 60);
    yaml_refuse_properties(y, at, event->data.scalar.anchor, event->data.scalar.tag);
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || event->data.scalar.tag != NULL) {
        return key;
    }
    Value value = resolve_plain(y->arena, key);
    if (key.len == 0) {
        FAULT(y, at, false, "key", "this key is empty");
    } else if (value.kind != VALUE_STR) {
        FAULT(y, at, false, "key", "the key " STR_FMT " is %s, not text: quote it, \"" STR_FMT "\"",
              STR_ARG(shown), value_kind_word(&value), STR_ARG(shown));
    } else if (str_eq(key, STR("<<"))) {
        FAULT(y, at, false, "merge-key", "merge keys are not allowed: write the keys out");
    }
    return key;
}

// ---- places inside of texts -------------------------------------------------------------------

void yaml_text_place(const Value *scalar, uint32_t text_line, uint32_t text_col, uint32_t *out_line,
                     uint32_t *out_col)
{
    *out_line = scalar->line;
    *out_col = scalar->col;
    if (scalar->style == VALUE_STYLE_LITERAL) {
        *out_line = scalar->line + text_line;
        *out_col = scalar->indent + text_col;
    } else if (text_line <= 1 && text_col > 0 && scalar->style != VALUE_STYLE_FOLDED) {
        *out_col += text_col - 1 + (scalar->style == VALUE_STYLE_QUOTED);
    }
}
