// SPDX-License-Identifier: MIT
// Where the elements of large JSON texts lie, without building them: rows of a dataset are parsed
// one by one when they are needed. Skipping checks strings and the balance of brackets only.
#include "text/text.h"

#include <string.h>

#include "text/text_internal.h"

#define INDEX_MAX_DEPTH 1024

typedef struct Scan {
    Str text;
    size_t at;
    Err *err;
} Scan;

static bool fail(Scan *s, size_t at, ErrCode code, const char *what)
{
    uint32_t line;
    uint32_t col;
    text_place(s->text, at, &line, &col);
    return ERR_SET(s->err, code, "line %u, column %u: %s", line, col, what);
}

static bool fail_expected(Scan *s, const char *what)
{
    char scratch[32];
    char message[96];
    Str found = text_describe_byte(s->text, s->at, scratch);
    Buf buf = {.limit_bytes = sizeof(message)};
    buf_printf(&buf, "expected %s, found " STR_FMT, what, STR_ARG(found));
    bool ok = fail(s, s->at, ERR_PARSE, buf.data != NULL ? buf.data : what);
    buf_finish(&buf);
    return ok;
}

static char peek(const Scan *s)
{
    return s->at < s->text.len ? s->text.data[s->at] : '\0';
}

static void skip_space(Scan *s)
{
    while (s->at < s->text.len && memchr(" \t\r\n", s->text.data[s->at], 4) != NULL) {
        s->at++;
    }
}

/** at is on the opening quote; afterwards behind the closing one. */
static bool skip_string(Scan *s)
{
    size_t open = s->at;
    size_t at = open + 1;
    for (;;) {
        const char *quote =
            at < s->text.len ? memchr(s->text.data + at, '"', s->text.len - at) : NULL;
        if (quote == NULL) {
            return fail(s, open, ERR_PARSE, "this string is never closed");
        }
        size_t end = (size_t)(quote - s->text.data);
        size_t n_slashes = 0;
        while (end - n_slashes > at && s->text.data[end - n_slashes - 1] == '\\') {
            n_slashes++;
        }
        at = end + 1;
        if (n_slashes % 2 == 0) {
            s->at = at;
            return true;
        }
    }
}

static bool is_structural(char c)
{
    return c == '"' || c == '{' || c == '}' || c == '[' || c == ']';
}

/** Skip a list or map, brackets of both kinds matched. */
static bool skip_brackets(Scan *s)
{
    char open[INDEX_MAX_DEPTH];
    size_t start = s->at;
    size_t depth = 0;
    do {
        while (s->at < s->text.len && !is_structural(s->text.data[s->at])) {
            s->at++;
        }
        if (s->at >= s->text.len) {
            return fail(s, start, ERR_PARSE, "the bracket that opens here is never closed");
        }
        char c = s->text.data[s->at];
        if (c == '"') {
            if (!skip_string(s)) {
                return false;
            }
            continue;
        }
        if (c == '{' || c == '[') {
            if (depth == INDEX_MAX_DEPTH) {
                return fail(s, s->at, ERR_LIMIT, "nested too deep");
            }
            open[depth++] = c;
        } else if (open[--depth] != (c == '}' ? '{' : '[')) {
            return fail(s, s->at, ERR_PARSE, "this bracket closes one of the other kind");
        }
        s->at++;
    } while (depth > 0);
    return true;
}

static bool skip_value(Scan *s)
{
    char c = peek(s);
    if (c == '"') {
        return skip_string(s);
    }
    if (c == '{' || c == '[') {
        return skip_brackets(s);
    }
    size_t start = s->at;
    while (s->at < s->text.len && memchr(" \t\r\n,]}:\"[{", s->text.data[s->at], 11) == NULL) {
        s->at++;
    }
    return s->at > start || fail_expected(s, "a value");
}

/** Behind an element: *out_more after a comma, else at the closing bracket, which is taken. */
static bool next_element(Scan *s, char close, bool *out_more)
{
    skip_space(s);
    if (peek(s) == ',' || peek(s) == close) {
        *out_more = peek(s) == ',';
        s->at++;
        skip_space(s);
        return true;
    }
    return fail_expected(s, close == ']' ? "',' or ']'" : "',' or '}'");
}

static bool scan_array(Scan *s, SpanList *spans)
{
    if (peek(s) != '[') {
        return fail_expected(s, "a list");
    }
    s->at++;
    skip_space(s);
    bool more = peek(s) != ']';
    s->at += !more;
    while (more) {
        size_t from = s->at;
        if (!skip_value(s) || !span_list_push(spans, from, s->at, s->err) ||
            !next_element(s, ']', &more)) {
            return false;
        }
    }
    return true;
}

/** Whether the quoted text [from, to) is this key; escapes are resolved by the reader. */
static bool key_matches(Scan *s, size_t from, size_t to, Str key, bool *out)
{
    Str raw = str_slice(s->text, from, to);
    if (memchr(raw.data, '\\', raw.len) == NULL) {
        *out = str_eq(str_slice(raw, 1, raw.len - 1), key);
        return true;
    }
    Arena scratch = {0};
    Value value;
    bool ok = json_parse(&scratch, raw, NULL, &value, NULL, s->err);
    *out = ok && str_eq(value.as.str, key);
    arena_finish(&scratch);
    return ok;
}

static bool scan_member(Scan *s, Str key, SpanList *spans, bool *found)
{
    size_t from = s->at;
    if (peek(s) != '"') {
        return fail_expected(s, "a key in double quotes");
    }
    bool matches;
    if (!skip_string(s) || !key_matches(s, from, s->at, key, &matches)) {
        return false;
    }
    if (matches && *found) {
        return fail(s, from, ERR_PARSE, "this key stands twice");
    }
    skip_space(s);
    if (peek(s) != ':') {
        return fail_expected(s, "':'");
    }
    s->at++;
    skip_space(s);
    *found = *found || matches;
    return matches ? scan_array(s, spans) : skip_value(s);
}

static bool scan_object(Scan *s, Str key, SpanList *spans)
{
    if (peek(s) != '{') {
        return fail_expected(s, "a map");
    }
    s->at++;
    skip_space(s);
    bool found = false;
    bool more = peek(s) != '}';
    s->at += !more;
    while (more) {
        if (!scan_member(s, key, spans, &found) || !next_element(s, '}', &more)) {
            return false;
        }
    }
    if (!found) {
        return ERR_SET(s->err, ERR_NOT_FOUND, "no key \"" STR_FMT "\" in the JSON object",
                       STR_ARG(str_slice(key, 0, 200)));
    }
    return true;
}

bool json_index_array(Arena *arena, Str text, Str key, TextSpan **out_spans, size_t *out_n,
                      Err *err)
{
    Scan s = {.text = text, .at = text.len - text_drop_bom(text).len, .err = err};
    SpanList spans = {0};
    skip_space(&s);
    bool ok = key.len == 0 ? scan_array(&s, &spans) : scan_object(&s, key, &spans);
    skip_space(&s);
    if (ok && s.at < text.len) {
        ok = fail_expected(&s, "the end of the text");
    }
    if (!ok) {
        mem_free(spans.items);
        return false;
    }
    *out_spans = span_list_cut(&spans, arena, out_n);
    return true;
}

static bool is_blank(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r') {
            return false;
        }
    }
    return true;
}

bool jsonl_index(Arena *arena, Str text, TextSpan **out_spans, size_t *out_n, Err *err)
{
    SpanList spans = {0};
    size_t at = text.len - text_drop_bom(text).len;
    while (at < text.len) {
        const char *newline = memchr(text.data + at, '\n', text.len - at);
        size_t end = newline != NULL ? (size_t)(newline - text.data) : text.len;
        size_t to = end > at && text.data[end - 1] == '\r' ? end - 1 : end;
        if (!is_blank(text.data + at, to - at) && !span_list_push(&spans, at, to, err)) {
            mem_free(spans.items);
            return false;
        }
        at = end + 1;
    }
    *out_spans = span_list_cut(&spans, arena, out_n);
    return true;
}
