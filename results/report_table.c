// SPDX-License-Identifier: MIT
// What every report for people is made of: text made harmless for a terminal on its way in,
// numbers, and tables that fit the terminal. Writes to a Buf; prints nothing.
#include "results/report_internal.h"

#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CELL_MIN  8  // columns to which a wide cell may be cut
#define APART_MAX 60 // columns to which one is widened again to be told from another

// ---- Harmless text ------------------------------------------------------------------------------

/** Code points that act on a terminal, or hide or reorder what is seen. */
static bool is_dangerous(uint32_t c)
{
    static const struct {
        uint32_t from;
        uint32_t to;
    } ranges[] = {
        {0x0000, 0x001f}, {0x007f, 0x009f}, {0x00ad, 0x00ad},   {0x061c, 0x061c},
        {0x200b, 0x200b}, {0x200e, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
        {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (c >= ranges[i].from && c <= ranges[i].to) {
            return true;
        }
    }
    return false;
}

static void put_escape(Buf *buf, uint32_t c)
{
    switch (c) {
    case '\n':
        buf_c(buf, "\\n");
        break;
    case '\r':
        buf_c(buf, "\\r");
        break;
    case '\t':
        buf_c(buf, "\\t");
        break;
    default:
        buf_printf(buf, c < 0x80 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        break;
    }
}

void report_text(Buf *buf, Str text, bool multiline)
{
    size_t clean_from = 0;
    for (size_t at = 0; at < text.len;) {
        size_t from = at;
        uint32_t c = utf8_next(text, &at);
        bool invalid = c == 0xfffd && at - from == 1;
        bool kept = multiline && (c == '\n' || c == '\t');
        if (!invalid && (kept || !is_dangerous(c))) {
            continue;
        }
        buf_append(buf, text.data + clean_from, from - clean_from);
        clean_from = at;
        bool line_end = multiline && c == '\r' && at < text.len && text.data[at] == '\n';
        if (invalid) {
            buf_printf(buf, "\\x%02x", (unsigned)(unsigned char)text.data[from]);
        } else if (!line_end) {
            put_escape(buf, c);
        }
    }
    buf_append(buf, text.data + clean_from, text.len - clean_from);
}

Str report_clean(Arena *arena, Str text)
{
    Buf buf = {0};
    report_text(&buf, text, false);
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

void report_markdown(Buf *buf, Arena *arena, Str text)
{
    Str clean = report_clean(arena, text);
    for (size_t i = 0; i < clean.len; i++) {
        unsigned char c = (unsigned char)clean.data[i];
        bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool harmless = letter || c >= 0x80 || strchr(" ,;%+-=()/'", c) != NULL;
        // "www." and "scheme://" become links, ":word:" a picture.
        char before = i > 0 ? clean.data[i - 1] : ' ';
        char after = i + 1 < clean.len ? clean.data[i + 1] : ' ';
        harmless =
            harmless || (c == '.' && before != 'w' && before != 'W') || (c == ':' && after == ' ');
        if (harmless) {
            buf_char(buf, (char)c);
        } else {
            buf_printf(buf, "&#%u;%s", c, c == '@' || c == '#' ? "&#8203;" : "");
        }
    }
}

// ---- Numbers ------------------------------------------------------------------------------------

Str report_number(Arena *arena, double d)
{
    if (isnan(d)) {
        return STR("-");
    }
    return fabs(d) < 10 ? str_printf(arena, "%.3f", d) : str_printf(arena, "%.4g", d);
}

Str report_interval(Arena *arena, const MetricRow *metric)
{
    if (isnan(metric->low)) {
        return STR("-");
    }
    Str low = report_number(arena, metric->low);
    Str high = report_number(arena, metric->high);
    return str_printf(arena, "[" STR_FMT ", " STR_FMT "]", STR_ARG(low), STR_ARG(high));
}

// ---- Tables -------------------------------------------------------------------------------------

Str *table_row(Table *table)
{
    if (table->n_rows == table->cap) {
        table->cap = table->cap == 0 ? 16 : table->cap * 2;
        Str(*grown)[TABLE_MAX_COL] = arena_alloc(table->arena, table->cap, sizeof(*grown));
        if (table->n_rows > 0) {
            memcpy(grown, table->rows, table->n_rows * sizeof(*grown));
        }
        table->rows = grown;
    }
    Str *row = table->rows[table->n_rows++];
    for (size_t i = 0; i < TABLE_MAX_COL; i++) {
        row[i] = STR_EMPTY;
    }
    return row;
}

/** What is left of a cell in so many columns, before the dots. */
static Str cell_cut(Str cell, size_t width)
{
    return utf8_columns(cell) > width ? utf8_cut_columns(cell, width - 2) : cell;
}

static int compare_cells(const void *a, const void *b)
{
    return str_cmp(*(const Str *)a, *(const Str *)b);
}

/** Columns that two cells need so that their cuts differ: up to the first character that does. */
static size_t apart_width(Str a, Str b)
{
    size_t same = 0;
    size_t next_a = 0;
    size_t next_b = 0;
    while (same < a.len && same < b.len) {
        next_a = same;
        next_b = same;
        if (utf8_next(a, &next_a) != utf8_next(b, &next_b) || next_a != next_b) {
            break;
        }
        same = next_a;
    }
    size_t wide_a = next_a > same ? utf8_columns(str_slice(a, same, next_a)) : 0;
    size_t wide_b = next_b > same ? utf8_columns(str_slice(b, same, next_b)) : 0;
    size_t wide = wide_a > wide_b ? wide_a : wide_b;
    return utf8_columns(str_slice(a, 0, same)) + wide + 2; // the dots
}

/**
 * The width at which no two cells of a column that are cut and differ look the same, leaving alone
 * those that would need more than APART_MAX. Cells may be long, many and somebody else's: sorted,
 * those that share most are neighbours, so each is looked at but once. */
static size_t column_apart(const Table *table, size_t column, size_t width)
{
    Str *cut = mem_alloc(table->n_rows + 1, sizeof(*cut));
    size_t n = 0;
    for (size_t r = 0; r < table->n_rows; r++) {
        Str cell = table->rows[r][column];
        if (utf8_columns(cell) > width) {
            cut[n++] = cell;
        }
    }
    qsort(cut, n, sizeof(*cut), compare_cells);
    for (size_t i = 1; i < n; i++) {
        size_t needed = str_eq(cut[i - 1], cut[i]) ? 0 : apart_width(cut[i - 1], cut[i]);
        if (needed > width && needed <= APART_MAX) {
            width = needed;
        }
    }
    mem_free(cut);
    return width;
}

/** Widen what was cut too much: a line that wraps is better than two metrics of one name. */
static void keep_apart(const Table *table, const size_t full[TABLE_MAX_COL],
                       size_t widths[TABLE_MAX_COL])
{
    for (size_t c = 0; c < table->n_columns; c++) {
        if (widths[c] < full[c]) {
            size_t apart = column_apart(table, c, widths[c]);
            widths[c] = apart < full[c] ? apart : full[c];
        }
    }
}

/** Widths of the columns, 0 for those left out, cut to fit into the terminal where that is
 * possible. */
static void table_widths(const Table *table, int terminal, size_t widths[TABLE_MAX_COL])
{
    size_t total = 0;
    for (size_t c = 0; c < table->n_columns; c++) {
        widths[c] = 0;
        for (size_t r = 0; r < table->n_rows; r++) {
            size_t n = utf8_columns(table->rows[r][c]);
            widths[c] = n > widths[c] ? n : widths[c];
        }
        if (widths[c] > 0) {
            size_t title = utf8_columns(str_from_c(table->columns[c].title));
            widths[c] = title > widths[c] ? title : widths[c];
            total += widths[c] + 2;
        }
    }
    size_t full[TABLE_MAX_COL];
    memcpy(full, widths, table->n_columns * sizeof(*full));
    while (terminal > 0 && total > (size_t)terminal + 2) {
        size_t widest = table->n_columns;
        for (size_t c = 0; c < table->n_columns; c++) {
            if (table->columns[c].shrink && widths[c] > CELL_MIN &&
                (widest == table->n_columns || widths[c] > widths[widest])) {
                widest = c;
            }
        }
        if (widest == table->n_columns) {
            break;
        }
        widths[widest]--;
        total--;
    }
    keep_apart(table, full, widths);
}

void report_spaces(Buf *buf, size_t n)
{
    while (n-- > 0) {
        buf_char(buf, ' ');
    }
}

static void put_cells(Buf *buf, const Table *table, const Str *cells, const size_t *widths)
{
    size_t pending = 0; // spaces that only matter when something follows
    for (size_t c = 0; c < table->n_columns; c++) {
        if (widths[c] == 0) {
            continue;
        }
        Str cell = cells[c];
        size_t n = utf8_columns(cell);
        bool cut = n > widths[c];
        if (cut) {
            cell = cell_cut(cell, widths[c]);
            n = utf8_columns(cell) + 2;
        }
        size_t padding = widths[c] - n;
        if (cell.len > 0) {
            report_spaces(buf, pending + (table->columns[c].right ? padding : 0));
            buf_str(buf, cell);
            buf_c(buf, cut ? ".." : "");
            pending = (table->columns[c].right ? 0 : padding) + 2;
        } else {
            pending += widths[c] + 2;
        }
    }
    buf_char(buf, '\n');
}

void table_put(Buf *buf, const Table *table, const ReportOptions *options)
{
    size_t widths[TABLE_MAX_COL];
    Str titles[TABLE_MAX_COL];
    table_widths(table, options->width, widths);
    for (size_t c = 0; c < table->n_columns; c++) {
        titles[c] = str_from_c(table->columns[c].title);
    }
    buf_c(buf, options->color ? "\033[1m" : "");
    put_cells(buf, table, titles, widths);
    buf_c(buf, options->color ? "\033[0m" : "");
    for (size_t r = 0; r < table->n_rows; r++) {
        put_cells(buf, table, table->rows[r], widths);
    }
}
