// SPDX-License-Identifier: MIT
// What `expect` demands of an eval's rows: how many there are, columns that are filled, unique, of
// a length or among some values. Every row that is not as expected is listed, up to a cap.
#include "registry/check_rows.h"

#define VALUE_SHOWN_COLUMNS 40

bool seen_add(SeenSet *seen, uint64_t hash)
{
    if (seen->n * 2 >= seen->cap) {
        SeenSet grown = {.cap = seen->cap == 0 ? 1024 : seen->cap * 2};
        grown.hashes = mem_zalloc(grown.cap, sizeof(*grown.hashes));
        for (size_t i = 0; i < seen->cap; i++) {
            if (seen->hashes[i] != 0) {
                seen_add(&grown, seen->hashes[i]);
            }
        }
        mem_free(seen->hashes);
        *seen = grown;
    }
    hash |= 1;
    size_t at = (size_t)(hash >> 1) & (seen->cap - 1);
    while (seen->hashes[at] != 0 && seen->hashes[at] != hash) {
        at = (at + 1) & (seen->cap - 1);
    }
    if (seen->hashes[at] == hash) {
        return false;
    }
    seen->hashes[at] = hash;
    seen->n++;
    return true;
}

static uint64_t value_hash(const Value *value)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.unique.1"));
    hash_value(&sha, value);
    Hash hash = hash_end(&sha);
    return hash_u64(&hash);
}

/** Where a row stands, for one `expect` fault. */
typedef struct ExpectRow {
    RowCheck *check;
    const PartRows *part;
    size_t index;
    const Value *row;
} ExpectRow;

static void expect_fault(const ExpectRow *at, const Value *rule, Str column, const char *what)
{
    RowCheck *check = at->check;
    if (check_list_one(&check->expected, rule)) {
        Str place = rows_place(at->part->rows, at->index, &check->arena);
        faults_add(check->faults, check->eval->file, rule->line, rule->col, false, "expect",
                   "column '" STR_FMT "' %s: %s" STR_FMT "%s" STR_FMT, STR_ARG(column), what,
                   at->part->part.len > 0 ? "part " : "", STR_ARG(at->part->part),
                   at->part->part.len > 0 ? ", " : "", STR_ARG(place));
    }
}

static bool is_null(const Value *value)
{
    return value == NULL || value->kind == VALUE_NULL ||
           (value->kind == VALUE_STR && value->as.str.len == 0);
}

static void expect_length(const ExpectRow *at, const Value *lengths)
{
    for (size_t i = 0; lengths != NULL && i < lengths->as.map.n; i++) {
        const ValuePair *pair = &lengths->as.map.pairs[i];
        const Value *value = value_get(at->row, pair->key);
        int64_t length = value == NULL               ? 0
                         : value->kind == VALUE_STR  ? (int64_t)utf8_length(value->as.str)
                         : value->kind == VALUE_LIST ? (int64_t)value->as.list.n
                         : value->kind == VALUE_MAP  ? (int64_t)value->as.map.n
                                                     : 0;
        const Value *range = pair->value.as.list.items;
        if (pair->value.as.list.n == 2 &&
            (length < range[0].as.integer || length > range[1].as.integer)) {
            Str what = str_printf(&at->check->arena, "has length %lld", (long long)length);
            expect_fault(at, &pair->value, pair->key, what.data);
        }
    }
}

/** What a value that is none of those listed is: "is 'x'". */
static const char *other_value(const ExpectRow *at, const Value *value)
{
    Arena *arena = &at->check->arena;
    Str text;
    if (value == NULL) {
        return "is missing";
    }
    if (!text_of_scalar(arena, value, &text)) {
        return str_printf(arena, "is %s", value_kind_word(value)).data;
    }
    Str shown = utf8_cut_columns(text, VALUE_SHOWN_COLUMNS);
    return str_printf(arena, "is '" STR_FMT "%s'", STR_ARG(shown),
                      shown.len < text.len ? "..." : "")
        .data;
}

static void expect_values(const ExpectRow *at, const Value *values)
{
    for (size_t i = 0; values != NULL && i < values->as.map.n; i++) {
        const ValuePair *pair = &values->as.map.pairs[i];
        const Value *value = value_get(at->row, pair->key);
        bool found = false;
        for (size_t k = 0; value != NULL && k < pair->value.as.list.n; k++) {
            found = found || value_equal(value, &pair->value.as.list.items[k]);
        }
        if (!found) {
            expect_fault(at, &pair->value, pair->key, other_value(at, value));
        }
    }
}

static void expect_row(const ExpectRow *at, const Value *expect, SeenSet *seen)
{
    const Value *not_null = value_get_c(expect, "not_null");
    for (size_t i = 0; not_null != NULL && i < not_null->as.list.n; i++) {
        const Value *name = &not_null->as.list.items[i];
        if (is_null(value_get(at->row, name->as.str))) {
            expect_fault(at, name, name->as.str, "is null, empty or missing");
        }
    }
    const Value *unique = value_get_c(expect, "unique");
    for (size_t i = 0; unique != NULL && i < unique->as.list.n; i++) {
        const Value *name = &unique->as.list.items[i];
        const Value *value = value_get(at->row, name->as.str);
        if (value != NULL && !seen_add(&seen[i], value_hash(value))) {
            expect_fault(at, name, name->as.str, "repeats an earlier row's value");
        }
    }
    expect_length(at, value_get_c(expect, "length"));
    expect_values(at, value_get_c(expect, "values"));
}

static bool expect_part(RowCheck *check, const PartRows *part, SeenSet *seen, Err *err)
{
    const Value *expect = &check->eval->expect;
    bool by_row = value_get_c(expect, "not_null") != NULL ||
                  value_get_c(expect, "unique") != NULL || value_get_c(expect, "length") != NULL ||
                  value_get_c(expect, "values") != NULL;
    for (size_t i = 0; by_row && i < part->n; i++) {
        Value row;
        ExpectRow at = {check, part, part->kept != NULL ? part->kept[i] : i, &row};
        if (rows_get(part->rows, at.index, &check->arena, &row, err)) {
            expect_row(&at, expect, seen);
        } else if (err->code == ERR_IO) {
            return false;
        } else {
            check_damaged_row(check, part->part, err);
            *err = (Err)ERR_INIT;
        }
        arena_reset(&check->arena);
    }
    return true;
}

/** Rows are unique within their part: parts of a matrix may well be made of the same rows. */
static bool expect_cell(RowCheck *check, const MatrixCell *cell, size_t *n_rows, Err *err)
{
    const Value *unique = value_get_c(&check->eval->expect, "unique");
    size_t n_unique = unique != NULL ? unique->as.list.n : 0;
    SeenSet *seen = mem_zalloc(n_unique + 1, sizeof(*seen));
    PartRows *part = NULL;
    bool ok = part_rows_open(check->registry, check->eval, cell, &part, err) &&
              expect_part(check, part, seen, err);
    *n_rows += part != NULL ? part->n : 0;
    part_rows_release(check->registry, part);
    for (size_t i = 0; i < n_unique; i++) {
        mem_free(seen[i].hashes);
    }
    mem_free(seen);
    return ok;
}

bool check_expect(RowCheck *check, const MatrixCell *cells, size_t n_cells, Err *err)
{
    const Value *expect = &check->eval->expect;
    const Value *rows = value_get_c(expect, "rows");
    size_t n_rows = 0;
    for (size_t i = 0; expect->kind == VALUE_MAP && i < n_cells; i++) {
        if (!expect_cell(check, &cells[i], &n_rows, err)) {
            return false;
        }
    }
    if (rows != NULL && rows->as.integer != (int64_t)n_rows) {
        faults_add(check->faults, check->eval->file, rows->line, rows->col, false, "expect",
                   "expected %lld rows, there are %zu", (long long)rows->as.integer, n_rows);
    }
    return true;
}
