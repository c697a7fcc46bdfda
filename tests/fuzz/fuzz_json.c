// SPDX-License-Identifier: MIT
// Any bytes as JSON: what the reader takes must survive a round trip through the writer in every
// style, the indexers must agree with the reader on what it takes, and nothing may crash.
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static void check_round_trip(Arena *arena, const Value *value, JsonStyle style)
{
    Buf buf = {0};
    Err err = ERR_INIT;
    Value again;
    json_write(&buf, value, style);
    check(!buf.overflow);
    // The writer's text may be longer than the reader's own limit allows; it is never deeper.
    JsonOptions options = {.max_bytes = SIZE_MAX};
    check(json_parse(arena, buf_view(&buf), &options, &again, NULL, &err));
    check(value_equal(value, &again));
    buf_finish(&buf);
}

static void check_index(Arena *arena, Str text, const Value *value)
{
    TextSpan *spans = NULL;
    size_t n = 0;
    Err err = ERR_INIT;
    if (value->kind == VALUE_LIST) {
        check(json_index_array(arena, text, STR_EMPTY, &spans, &n, &err));
        check(n == value->as.list.n);
        for (size_t i = 0; i < n; i++) {
            Value item;
            Str source = str_slice(text, spans[i].from, spans[i].to);
            check(json_parse(arena, source, NULL, &item, NULL, &err));
            check(value_equal(&item, &value->as.list.items[i]));
        }
    }
    for (size_t i = 0; value->kind == VALUE_MAP && i < value->as.map.n && i < 8; i++) {
        const ValuePair *pair = &value->as.map.pairs[i];
        bool is_list = pair->value.kind == VALUE_LIST;
        Err miss = ERR_INIT;
        bool ok = json_index_array(arena, text, pair->key, &spans, &n, &miss);
        check(pair->key.len == 0 || ok == is_list);
        check(!ok || pair->key.len == 0 || n == pair->value.as.list.n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Str text = {(const char *)data, size};
    Value value;
    if (json_parse(&arena, text, NULL, &value, NULL, &err)) {
        check_round_trip(&arena, &value, JSON_COMPACT);
        check_round_trip(&arena, &value, JSON_SPACED);
        check_round_trip(&arena, &value, JSON_PRETTY);
        check_index(&arena, text, &value);
    } else {
        check(err.code == ERR_PARSE || err.code == ERR_LIMIT);
    }
    Err lenient_err = ERR_INIT;
    JsonOptions lenient = {.keep_last_duplicate = true, .trailing = true, .max_depth = 4};
    size_t used = 0;
    if (json_parse(&arena, text, &lenient, &value, &used, &lenient_err)) {
        check(used <= size);
        check_round_trip(&arena, &value, JSON_COMPACT);
    }
    TextSpan *spans;
    size_t n;
    Err index_err = ERR_INIT;
    if (!json_index_array(&arena, text, STR("a"), &spans, &n, &index_err)) {
        check(index_err.code != ERR_NONE);
    }
    check(jsonl_index(&arena, text, &spans, &n, &index_err));
    for (size_t i = 0; i < n; i++) {
        check(spans[i].from < spans[i].to && spans[i].to <= size);
    }
    arena_finish(&arena);
    return 0;
}
