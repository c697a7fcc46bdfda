// SPDX-License-Identifier: MIT
// Values never change after they are made, so copies of a Value share what lies below it.
#include "base/value.h"

#include <string.h>

Value value_null(void)
{
    return (Value){.kind = VALUE_NULL};
}

Value value_bool(bool b)
{
    return (Value){.kind = VALUE_BOOL, .as.boolean = b};
}

Value value_int(int64_t i)
{
    return (Value){.kind = VALUE_INT, .as.integer = i};
}

Value value_real(double d)
{
    return (Value){.kind = VALUE_REAL, .as.real = d};
}

Value value_str(Str s)
{
    return (Value){.kind = VALUE_STR, .as.str = s};
}

Value value_list(const Value *items, size_t n)
{
    return (Value){.kind = VALUE_LIST, .as.list = {.items = items, .n = n}};
}

Value value_map(const ValuePair *pairs, size_t n)
{
    return (Value){.kind = VALUE_MAP, .as.map = {.pairs = pairs, .n = n}};
}

ValuePair value_pair(Str key, Value value)
{
    return (ValuePair){.key = key, .value = value};
}

const Value *value_get(const Value *map, Str key)
{
    if (map == NULL || map->kind != VALUE_MAP) {
        return NULL;
    }
    for (size_t i = 0; i < map->as.map.n; i++) {
        if (str_eq(map->as.map.pairs[i].key, key)) {
            return &map->as.map.pairs[i].value;
        }
    }
    return NULL;
}

const Value *value_get_c(const Value *map, const char *key)
{
    return value_get(map, str_from_c(key));
}

Str value_get_str(const Value *map, const char *key, Str otherwise)
{
    const Value *value = value_get_c(map, key);
    return value != NULL && value->kind == VALUE_STR ? value->as.str : otherwise;
}

int64_t value_get_int(const Value *map, const char *key, int64_t otherwise)
{
    const Value *value = value_get_c(map, key);
    return value != NULL && value->kind == VALUE_INT ? value->as.integer : otherwise;
}

double value_get_real(const Value *map, const char *key, double otherwise)
{
    const Value *value = value_get_c(map, key);
    if (value != NULL && value->kind == VALUE_REAL) {
        return value->as.real;
    }
    return value != NULL && value->kind == VALUE_INT ? (double)value->as.integer : otherwise;
}

bool value_get_bool(const Value *map, const char *key, bool otherwise)
{
    const Value *value = value_get_c(map, key);
    return value != NULL && value->kind == VALUE_BOOL ? value->as.boolean : otherwise;
}

static bool list_equal(const ValueList *a, const ValueList *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        if (!value_equal(&a->items[i], &b->items[i])) {
            return false;
        }
    }
    return true;
}

static bool map_equal(const ValueMap *a, const ValueMap *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        if (!str_eq(a->pairs[i].key, b->pairs[i].key) ||
            !value_equal(&a->pairs[i].value, &b->pairs[i].value)) {
            return false;
        }
    }
    return true;
}

bool value_equal(const Value *a, const Value *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch ((ValueKind)a->kind) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOL:
        return a->as.boolean == b->as.boolean;
    case VALUE_INT:
        return a->as.integer == b->as.integer;
    case VALUE_REAL:
        return a->as.real == b->as.real;
    case VALUE_STR:
        return str_eq(a->as.str, b->as.str);
    case VALUE_LIST:
        return list_equal(&a->as.list, &b->as.list);
    case VALUE_MAP:
        return map_equal(&a->as.map, &b->as.map);
    }
    return false;
}

Value value_copy(Arena *arena, const Value *value)
{
    Value copy = *value;
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_REAL:
        break;
    case VALUE_STR:
        copy.as.str = str_copy(arena, value->as.str);
        break;
    case VALUE_LIST: {
        Value *items = ARENA_ARRAY(arena, Value, value->as.list.n);
        for (size_t i = 0; i < value->as.list.n; i++) {
            items[i] = value_copy(arena, &value->as.list.items[i]);
        }
        copy.as.list.items = items;
        break;
    }
    case VALUE_MAP: {
        ValuePair *pairs = ARENA_ARRAY(arena, ValuePair, value->as.map.n);
        for (size_t i = 0; i < value->as.map.n; i++) {
            pairs[i] = value->as.map.pairs[i];
            pairs[i].key = str_copy(arena, pairs[i].key);
            pairs[i].value = value_copy(arena, &value->as.map.pairs[i].value);
        }
        copy.as.map.pairs = pairs;
        break;
    }
    }
    return copy;
}

const char *value_kind_word(const Value *value)
{
    static const char *const words[] = {
        [VALUE_NULL] = "null",     [VALUE_BOOL] = "a boolean", [VALUE_INT] = "an integer",
        [VALUE_REAL] = "a number", [VALUE_STR] = "text",       [VALUE_LIST] = "a list",
        [VALUE_MAP] = "a map",
    };
    return words[value->kind];
}

void map_builder_init(MapBuilder *builder, Arena *arena)
{
    *builder = (MapBuilder){.arena = arena};
}

void map_builder_put(MapBuilder *builder, Str key, Value value)
{
    if (builder->n == builder->cap) {
        size_t cap = builder->cap > 0 ? builder->cap * 2 : 8;
        ValuePair *pairs = ARENA_ARRAY(builder->arena, ValuePair, cap);
        if (builder->n > 0) {
            memcpy(pairs, builder->pairs, builder->n * sizeof *pairs);
        }
        builder->pairs = pairs;
        builder->cap = cap;
    }
    builder->pairs[builder->n++] = value_pair(key, value);
}

Value map_builder_done(const MapBuilder *builder)
{
    return value_map(builder->pairs, builder->n);
}
