// SPDX-License-Identifier: MIT
// Any bytes as CSV: the first byte chooses separator and columns. Every record that the index takes
// must be readable by itself, with one cell for each name.
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Str columns[] = {{"a", 1}, {"b", 1}};
    if (size == 0) {
        return 0;
    }
    char separator = data[0] & 1 ? '\t' : ',';
    const Str *given = data[0] & 2 ? columns : NULL;
    Str text = {(const char *)data + 1, size - 1};
    Arena arena = {0};
    Err err = ERR_INIT;
    Str *names;
    size_t n_names;
    TextSpan *spans;
    size_t n;
    if (!csv_index(&arena, text, separator, given, given != NULL ? 2 : 0, &names, &n_names, &spans,
                   &n, &err)) {
        check(err.code == ERR_PARSE || err.code == ERR_LIMIT);
        n = 0;
    }
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        check(spans[i].from >= last && spans[i].to >= spans[i].from && spans[i].to <= text.len);
        last = spans[i].to;
        Value row;
        Str record = str_slice(text, spans[i].from, spans[i].to);
        check(csv_record(&arena, record, separator, names, n_names, &row, &err));
        check(row.kind == VALUE_MAP && row.as.map.n == n_names);
        for (size_t c = 0; c < n_names; c++) {
            check(row.as.map.pairs[c].value.kind == VALUE_STR);
            check(row.as.map.pairs[c].value.as.str.len <= record.len);
        }
    }
    Value row;
    Err record_err = ERR_INIT;
    if (csv_record(&arena, text, separator, columns, 2, &row, &record_err)) {
        check(row.as.map.n == 2);
    }
    arena_finish(&arena);
    return 0;
}
