// SPDX-License-Identifier: MIT
// CSV and TSV after RFC 4180. One scanner of fields serves both passes: the index, which checks
// every record once, and the cells of one record, read when a row is needed. A quote inside an
// unquoted cell is an ordinary character, as spreadsheets and Python read it.
#include "text/text.h"

#include <string.h>

#include "text/text_internal.h"

#define CSV_MAX_COLUMNS ((size_t)65536)

typedef struct Cells {
    Str text;
    size_t at;
    char separator;
    Err *err;
} Cells;

/** One field as it stands in the text. */
typedef struct Field {
    size_t from; // of the text inside the quotes when quoted
    size_t to;
    bool quoted;
    bool doubled; // holds doubled quotes
    bool last;    // the record ends behind it
} Field;

static bool fail_at(const Cells *c, size_t at, const char *what)
{
    uint32_t line;
    uint32_t col;
    text_place(c->text, at, &line, &col);
    return ERR_SET(c->err, ERR_PARSE, "line %u, column %u: %s", line, col, what);
}

/** Take a line break or the end of the text: true when the record ends at at. */
static bool take_record_end(Cells *c)
{
    size_t at = c->at;
    if (at < c->text.len && c->text.data[at] == '\r' && at + 1 < c->text.len &&
        c->text.data[at + 1] == '\n') {
        at++;
    }
    if (at < c->text.len && c->text.data[at] == '\n') {
        c->at = at + 1;
        return true;
    }
    return at >= c->text.len;
}

/** at is behind the opening quote. */
static bool read_quoted(Cells *c, Field *field)
{
    field->quoted = true;
    field->from = c->at;
    for (;;) {
        const char *quote =
            c->at < c->text.len ? memchr(c->text.data + c->at, '"', c->text.len - c->at) : NULL;
        if (quote == NULL) {
            return fail_at(c, field->from - 1, "the quote that opens here is never closed");
        }
        c->at = (size_t)(quote - c->text.data) + 1;
        if (c->at >= c->text.len || c->text.data[c->at] != '"') {
            field->to = c->at - 1;
            return true;
        }
        field->doubled = true;
        c->at++;
    }
}

static void read_unquoted(Cells *c, Field *field)
{
    const char *data = c->text.data;
    field->from = c->at;
    while (c->at < c->text.len && data[c->at] != c->separator && data[c->at] != '\n') {
        c->at++;
    }
    bool at_break = c->at < c->text.len && data[c->at] == '\n';
    if (at_break && c->at > field->from && data[c->at - 1] == '\r') {
        c->at--;
    }
    field->to = c->at;
}

/** Read one field and what ends it. */
static bool next_field(Cells *c, Field *field)
{
    *field = (Field){0};
    if (c->at < c->text.len && c->text.data[c->at] == '"') {
        c->at++;
        if (!read_quoted(c, field)) {
            return false;
        }
    } else {
        read_unquoted(c, field);
    }
    if (c->at < c->text.len && c->text.data[c->at] == c->separator) {
        c->at++;
        return true;
    }
    field->last = true;
    return take_record_end(c) || fail_at(c, c->at, "text after the closing quote of a cell");
}

/** The text of a field into out, which has room for it; returns its length. */
static size_t unquote(const Cells *c, const Field *field, char *out)
{
    const char *from = c->text.data + field->from;
    size_t left = field->to - field->from;
    if (!field->doubled) {
        memcpy(out, from, left);
        return left;
    }
    size_t len = 0;
    for (size_t i = 0; i < left; i++) {
        out[len++] = from[i];
        i += from[i] == '"'; // the second of a doubled quote
    }
    return len;
}

static Str field_text(Arena *arena, const Cells *c, const Field *field)
{
    char *out = arena_alloc_raw(arena, field->to - field->from + 1, 1);
    size_t len = unquote(c, field, out);
    out[len] = '\0';
    return (Str){out, len};
}

// ---- the index ----------------------------------------------------------------------------------

static bool check_names(const Cells *c, const Str *names, size_t n, size_t header_at)
{
    ValuePair *pairs = mem_zalloc(n, sizeof(ValuePair));
    for (size_t i = 0; i < n; i++) {
        pairs[i].key = names[i];
    }
    uint32_t *first;
    size_t n_duplicates = pairs_find_duplicates(pairs, n, &first);
    mem_free(pairs);
    if (n_duplicates == 0) {
        return true;
    }
    size_t i = 0;
    while (first[i] == i) {
        i++;
    }
    mem_free(first);
    Str name = str_slice(names[i], 0, 200);
    if (header_at == STR_NONE) {
        return ERR_SET(c->err, ERR_PARSE, "two columns are named '" STR_FMT "'", STR_ARG(name));
    }
    uint32_t line;
    uint32_t col;
    text_place(c->text, header_at, &line, &col);
    return ERR_SET(c->err, ERR_PARSE, "line %u: two columns are named '" STR_FMT "'", line,
                   STR_ARG(name));
}

static void skip_blank_lines(Cells *c)
{
    while (c->at < c->text.len && take_record_end(c)) {
    }
}

static bool read_header(Arena *arena, Cells *c, Str **out_names, size_t *out_n)
{
    skip_blank_lines(c);
    size_t start = c->at;
    if (start >= c->text.len) {
        return ERR_SET(c->err, ERR_PARSE, "no header line: the text is empty");
    }
    size_t cap = 16;
    size_t n = 0;
    Str *names = ARENA_ARRAY(arena, Str, cap);
    Field field = {0};
    while (!field.last) {
        if (!next_field(c, &field)) {
            return false;
        }
        if (n == CSV_MAX_COLUMNS) {
            return ERR_SET(c->err, ERR_LIMIT, "more than %zu columns", CSV_MAX_COLUMNS);
        }
        if (n == cap) {
            Str *more = ARENA_ARRAY(arena, Str, cap * 2);
            memcpy(more, names, n * sizeof(Str));
            names = more;
            cap *= 2;
        }
        names[n++] = field_text(arena, c, &field);
    }
    *out_names = names;
    *out_n = n;
    return check_names(c, names, n, start);
}

/** The record's span ends before its line break. */
static bool index_record(Cells *c, size_t n_names, SpanList *spans)
{
    size_t start = c->at;
    size_t n = 0;
    Field field = {0};
    while (!field.last) {
        if (!next_field(c, &field)) {
            return false;
        }
        n++;
    }
    if (n != n_names) {
        uint32_t line;
        uint32_t col;
        text_place(c->text, start, &line, &col);
        return ERR_SET(c->err, ERR_PARSE, "line %u: %zu cells where the header has %zu", line, n,
                       n_names);
    }
    return span_list_push(spans, start, field.to + field.quoted, c->err);
}

bool csv_index(Arena *arena, Str text, char separator, const Str *columns, size_t n_columns,
               Str **out_names, size_t *out_n_names, TextSpan **out_spans, size_t *out_n, Err *err)
{
    Cells c = {.text = text, .separator = separator, .err = err};
    c.at = text.len - text_drop_bom(text).len;
    size_t valid = utf8_valid_prefix(text);
    if (valid < text.len) {
        return fail_at(&c, valid, "bytes that are not UTF-8");
    }
    Str *names = NULL;
    size_t n_names = n_columns;
    if (columns == NULL) {
        if (!read_header(arena, &c, &names, &n_names)) {
            return false;
        }
    } else {
        names = ARENA_ARRAY(arena, Str, n_columns > 0 ? n_columns : 1);
        for (size_t i = 0; i < n_columns; i++) {
            names[i] = str_copy(arena, columns[i]);
        }
        if (!check_names(&c, names, n_columns, STR_NONE)) {
            return false;
        }
    }
    SpanList spans = {0};
    for (skip_blank_lines(&c); c.at < text.len; skip_blank_lines(&c)) {
        if (!index_record(&c, n_names, &spans)) {
            mem_free(spans.items);
            return false;
        }
    }
    *out_names = names;
    *out_n_names = n_names;
    *out_spans = span_list_cut(&spans, arena, out_n);
    return true;
}

// ---- one record ---------------------------------------------------------------------------------

bool csv_record(Arena *arena, Str record, char separator, const Str *names, size_t n_names,
                Value *out, Err *err)
{
    Cells c = {.text = record, .separator = separator, .err = err};
    ValuePair *pairs = ARENA_ARRAY(arena, ValuePair, n_names > 0 ? n_names : 1);
    char *texts = arena_alloc_raw(arena, record.len + n_names + 1, 1); // each cell and its NUL
    size_t n = 0;
    Field field = {0};
    while (!field.last) {
        if (!next_field(&c, &field)) {
            return false;
        }
        if (n < n_names) {
            size_t len = unquote(&c, &field, texts);
            texts[len] = '\0';
            pairs[n] = value_pair(names[n], value_str((Str){texts, len}));
            texts += len + 1;
        }
        n++;
    }
    if (n != n_names || c.at < record.len) {
        return ERR_SET(err, ERR_PARSE, "%zu cells where %zu are expected", n, n_names);
    }
    *out = value_map(pairs, n);
    return true;
}
