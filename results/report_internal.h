// SPDX-License-Identifier: MIT
// What reports for people share: harmless text, numbers, tables.
#pragma once

#include "results/results.h"

/** One line of harmless text in an arena. */
Str report_clean(Arena *arena, Str text);
/**
 * One line that means nothing to Markdown, HTML or GitHub: all ASCII but letters, digits and a few
 * harmless marks as entities, which are text wherever they stand. A mention or a reference to an
 * issue is broken by a zero-width space. */
void report_markdown(Buf *buf, Arena *arena, Str text);
/** Three decimals below 10, else four digits; "-" for NaN. */
Str report_number(Arena *arena, double d);
/** "[0.123, 0.456]"; "-" when there is none. */
Str report_interval(Arena *arena, const MetricRow *metric);

void report_spaces(Buf *buf, size_t n);

#define TABLE_MAX_COL 12

typedef struct Column {
    const char *title;
    bool right;  // aligned
    bool shrink; // may be cut when the table is too wide
} Column;

/** Rows of cells under titled columns; empty columns are left out. */
typedef struct Table {
    Arena *arena;
    const Column *columns;
    size_t n_columns;
    Str (*rows)[TABLE_MAX_COL];
    size_t n_rows;
    size_t cap;
} Table;

/** A new row of empty cells, to be filled with harmless text. */
Str *table_row(Table *table);
void table_put(Buf *buf, const Table *table, const ReportOptions *options);
