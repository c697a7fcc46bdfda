// SPDX-License-Identifier: MIT
// Faults of text files, and how a person sees them: place, message, the line with a caret. Source
// lines are read from disk when they are shown; a file that is gone just has no line.
#include "text/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/text_internal.h"

#define MESSAGE_MAX    2048
#define SOURCE_LIMIT   ((size_t)64 * 1024 * 1024)
#define SHOWN_COLUMNS  100  // of a source line
#define BYTES_AROUND   1000 // the caret, looked at
#define COLUMNS_BEFORE 60   // shown before the caret when a line has to be cut

void faults_init(Faults *faults, Arena *arena)
{
    *faults = (Faults){.arena = arena};
}

void faults_add(Faults *faults, Str file, uint32_t line, uint32_t col, bool warning,
                const char *code, const char *format, ...)
{
    if (faults->n == faults->cap) {
        size_t cap = faults->cap == 0 ? 8 : faults->cap * 2;
        Fault *items = ARENA_ARRAY(faults->arena, Fault, cap);
        if (faults->n > 0) {
            memcpy(items, faults->items, faults->n * sizeof(Fault));
        }
        faults->items = items;
        faults->cap = cap;
    }
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    size_t len = wanted < 0 ? 0 : (size_t)wanted;
    Str text = {message, len < sizeof(message) ? len : sizeof(message) - 1};
    faults->items[faults->n++] = (Fault){
        .file = str_copy(faults->arena, file),
        .line = line,
        .col = col,
        .warning = warning,
        .message = str_copy(faults->arena, utf8_clean(faults->arena, text)),
        .code = str_copy(faults->arena, str_from_c(code)),
    };
    faults->n_errors += !warning;
}

// ---- the source line ----------------------------------------------------------------------------

/** The file whose lines were shown last: faults of one file follow each other. */
typedef struct Source {
    Arena arena;
    Str file;
    Str text;
    size_t at; // start of line `line`
    uint32_t line;
} Source;

static void source_open(Source *source, Str file)
{
    if (source->line != 0 && str_eq(source->file, file)) {
        return;
    }
    arena_reset(&source->arena);
    Err err = ERR_INIT;
    Str text = STR_EMPTY;
    if (!file_read(&source->arena, file, SOURCE_LIMIT, &text, &err)) {
        text = STR_EMPTY;
    }
    *source =
        (Source){.arena = source->arena, .file = file, .text = text_drop_bom(text), .line = 1};
}

/** The line without its break; false when the file has no such line. Walks on from the last one. */
static bool source_line(Source *source, uint32_t line, Str *out)
{
    if (line < source->line) {
        source->at = 0;
        source->line = 1;
    }
    Str text = source->text;
    while (source->line < line) {
        const char *newline = memchr(text.data + source->at, '\n', text.len - source->at);
        if (newline == NULL) {
            return false;
        }
        source->at = (size_t)(newline - text.data) + 1;
        source->line++;
    }
    const char *newline = memchr(text.data + source->at, '\n', text.len - source->at);
    size_t end = newline != NULL ? (size_t)(newline - text.data) : text.len;
    *out = str_slice(text, source->at, end);
    if (str_ends_with(*out, STR("\r"))) {
        out->len--;
    }
    return text.len > 0;
}

// ---- rendering ----------------------------------------------------------------------------------

/** Text for a terminal: no control characters but the tab, no bytes that are not UTF-8. */
static void put_shown(Buf *buf, Str s)
{
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        uint32_t c = utf8_next(s, &at);
        bool control = (c < 0x20 && c != '\t') || (c >= 0x7F && c < 0xA0);
        if (control || c == UTF8_REPLACEMENT) {
            buf_str(buf, control ? STR("?") : STR("\xEF\xBF\xBD"));
        } else {
            buf_append(buf, s.data + from, at - from);
        }
    }
}

/** What stands under the text before the caret: tabs stay tabs, the rest becomes spaces. */
static void put_blank(Buf *buf, Str s)
{
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        uint32_t c = utf8_next(s, &at);
        size_t columns = utf8_columns(str_slice(s, from, at));
        if (c == '\t') {
            buf_char(buf, '\t');
            continue;
        }
        bool shown_as_one = (c < 0x20 || (c >= 0x7F && c < 0xA0)) && columns == 0;
        for (size_t i = 0; i < columns + shown_as_one; i++) {
            buf_char(buf, ' ');
        }
    }
}

/** The part of a long line around an offset; *caret moves with it. */
static Str window_of(Str line, size_t *caret, bool *cut_before, bool *cut_after)
{
    // By bytes first, so that megabytes on one line are not measured for every fault.
    size_t from = *caret > BYTES_AROUND ? *caret - BYTES_AROUND : 0;
    while (from > 0 && from < line.len && ((unsigned char)line.data[from] & 0xC0) == 0x80) {
        from--;
    }
    size_t to = *caret + BYTES_AROUND;
    Str near = str_slice(line, from, to);
    if (near.len < line.len || utf8_columns(near) > SHOWN_COLUMNS) {
        size_t before = utf8_columns(str_slice(near, 0, *caret - from));
        if (before > COLUMNS_BEFORE) {
            size_t cut = utf8_cut_columns(near, before - COLUMNS_BEFORE).len;
            near = str_slice(near, cut, near.len);
            from += cut;
        }
        near = utf8_cut_columns(near, SHOWN_COLUMNS);
    }
    *cut_before = from > 0;
    *cut_after = from + near.len < line.len;
    *caret -= from;
    return near;
}

static void put_source(Buf *buf, Source *source, const Fault *fault, const char *on,
                       const char *off)
{
    Str line;
    source_open(source, fault->file);
    if (fault->line == 0 || !source_line(source, fault->line, &line)) {
        return;
    }
    size_t caret = fault->col > 0 ? fault->col - 1 : 0;
    caret = caret < line.len ? caret : line.len;
    bool cut_before;
    bool cut_after;
    Str shown = window_of(line, &caret, &cut_before, &cut_after);
    buf_printf(buf, "%5u | %s", fault->line, cut_before ? "..." : "");
    put_shown(buf, shown);
    buf_printf(buf, "%s\n      | %s", cut_after ? "..." : "", cut_before ? "   " : "");
    put_blank(buf, str_slice(shown, 0, caret));
    buf_printf(buf, "%s^%s\n", on, off);
}

static void put_fault(Buf *buf, Source *source, const Fault *fault, bool color)
{
    const char *bold = color ? "\x1b[1m" : "";
    const char *tint = !color ? "" : fault->warning ? "\x1b[1;33m" : "\x1b[1;31m";
    const char *off = color ? "\x1b[0m" : "";
    buf_c(buf, bold);
    put_shown(buf, fault->file);
    if (fault->line > 0) {
        buf_printf(buf, ":%u:%u", fault->line, fault->col);
    }
    buf_printf(buf, ":%s %s%s:%s ", off, tint, fault->warning ? "warning" : "error", off);
    put_shown(buf, fault->message);
    if (fault->code.len > 0) {
        buf_printf(buf, " [" STR_FMT "]", STR_ARG(fault->code));
    }
    buf_char(buf, '\n');
    put_source(buf, source, fault, tint, off);
}

void faults_render(Buf *buf, const Faults *faults, bool color)
{
    Source source = {.line = 0};
    for (size_t i = 0; i < faults->n; i++) {
        put_fault(buf, &source, &faults->items[i], color);
    }
    arena_finish(&source.arena);
}

// ---- for editors --------------------------------------------------------------------------------

static bool is_word_byte(char c)
{
    return c == '_' || c == '-' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z') || ((unsigned char)c & 0x80) != 0;
}

/** Behind the word or the quoted text that starts at an offset of a line; 0 when neither does. */
static size_t token_end(Str line, size_t at)
{
    size_t end = at;
    char quote = at < line.len ? line.data[at] : ' ';
    if (quote == '"' || quote == '\'') {
        const char *close = memchr(line.data + at + 1, quote, line.len - at - 1);
        return close != NULL ? (size_t)(close - line.data) + 1 : 0;
    }
    while (end < line.len && is_word_byte(line.data[end])) {
        end++;
    }
    return end > at ? end : 0;
}

/** Cut "; did you mean 'x'?" or "(did you mean 'x'?)" out of a message; "" when it has neither. */
static Str take_hint(Arena *arena, Str *message)
{
    Str mark = STR("did you mean '");
    size_t at = str_find(*message, mark, 0);
    size_t from = at + mark.len;
    size_t end = at == STR_NONE ? STR_NONE : str_find(*message, STR("'?"), from);
    if (end == STR_NONE || at < 2) {
        return STR_EMPTY;
    }
    Str hint = str_slice(*message, from, end);
    end += message->data[at - 1] == '(' ? 3 : 2;
    *message =
        str_concat(arena, str_slice(*message, 0, at - 2), str_slice(*message, end, message->len));
    return hint;
}

static Value fault_to_value(Arena *arena, Source *source, const Fault *fault)
{
    Str message = fault->message, line;
    Str hint = take_hint(arena, &message);
    size_t end = 0;
    source_open(source, fault->file);
    if (fault->line > 0 && fault->col > 0 && source_line(source, fault->line, &line) &&
        fault->col <= line.len) {
        end = token_end(line, fault->col - 1);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("file"), value_str(fault->file));
    map_builder_put(&map, STR("line"), value_int(fault->line));
    map_builder_put(&map, STR("col"), value_int(fault->col));
    map_builder_put(&map, STR("end_col"), value_int(end > 0 ? (int64_t)end + 1 : 0));
    map_builder_put(&map, STR("severity"),
                    value_str(fault->warning ? STR("warning") : STR("error")));
    map_builder_put(&map, STR("code"), value_str(fault->code));
    map_builder_put(&map, STR("message"), value_str(message));
    map_builder_put(&map, STR("hint"), value_str(hint));
    return map_builder_done(&map);
}

Value faults_to_value(Arena *arena, const Faults *faults)
{
    Source source = {.line = 0};
    Value *items = ARENA_ARRAY(arena, Value, faults->n + 1);
    for (size_t i = 0; i < faults->n; i++) {
        items[i] = fault_to_value(arena, &source, &faults->items[i]);
    }
    arena_finish(&source.arena);
    return value_list(items, faults->n);
}
