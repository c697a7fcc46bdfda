// SPDX-License-Identifier: MIT
// Any bytes as an eval file: a tree or faults, each with a place inside the text, and rendering
// them never crashes.
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static void check_tree(const Value *value, uint32_t last_line)
{
    uint32_t line;
    uint32_t col;
    check(value->line >= 1 && value->line <= last_line && value->col >= 1);
    yaml_text_place(value, 1, 1, &line, &col);
    check(line >= value->line);
    for (size_t i = 0; value->kind == VALUE_LIST && i < value->as.list.n; i++) {
        check_tree(&value->as.list.items[i], last_line);
    }
    for (size_t i = 0; value->kind == VALUE_MAP && i < value->as.map.n; i++) {
        const ValuePair *pair = &value->as.map.pairs[i];
        check(pair->line >= 1 && pair->line <= last_line && pair->col >= 1);
        check(value_get(value, pair->key) == &pair->value); // keys are unique
        check_tree(&pair->value, last_line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena = {0};
    Faults faults;
    faults_init(&faults, &arena);
    Str text = {(const char *)data, size};
    uint32_t last_line;
    uint32_t col;
    text_place(text, size, &last_line, &col);
    Value value;
    bool ok = yaml_parse(&arena, STR("no-such-file.yaml"), text, &faults, &value);
    check(ok || faults.n_errors > 0);
    if (ok) {
        check_tree(&value, last_line);
    }
    size_t n_errors = 0;
    for (size_t i = 0; i < faults.n; i++) {
        check(faults.items[i].line <= last_line && faults.items[i].message.len > 0);
        n_errors += !faults.items[i].warning;
    }
    check(n_errors == faults.n_errors);
    Buf buf = {0};
    faults_render(&buf, &faults, true);
    check(utf8_is_valid(buf_view(&buf)));
    buf_finish(&buf);
    arena_finish(&arena);
    return 0;
}
