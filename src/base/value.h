// SPDX-License-Identifier: MIT
// The one tree that JSON, YAML, CSV and Lua data pass through: immutable, arena-owned, maps keep
// their order, every node may carry the place it was written at.
#pragma once

#include "base/str.h"

typedef enum ValueKind {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_REAL,
    VALUE_STR,
    VALUE_LIST,
    VALUE_MAP,
} ValueKind;

/** How a scalar was written; only YAML sets it. A template's lines are counted with it. */
typedef enum ValueStyle {
    VALUE_STYLE_PLAIN,
    VALUE_STYLE_QUOTED,
    VALUE_STYLE_LITERAL, // |  the text starts on the line after `line`
    VALUE_STYLE_FOLDED,  // >
} ValueStyle;

typedef struct Value Value;
typedef struct ValuePair ValuePair;

typedef struct ValueList {
    const Value *items;
    size_t n;
} ValueList;

typedef struct ValueMap {
    const ValuePair *pairs; // in the order written; keys are unique
    size_t n;
} ValueMap;

struct Value {
    uint8_t kind;    // ValueKind
    uint8_t style;   // ValueStyle
    uint16_t indent; // of a block scalar's text, bytes
    uint32_t line;   // from 1; 0 when unknown
    uint32_t col;    // from 1, bytes
    union {
        bool boolean;
        int64_t integer;
        double real;
        Str str;
        ValueList list;
        ValueMap map;
    } as;
};

struct ValuePair {
    Str key;
    uint32_t line; // of the key
    uint32_t col;
    Value value;
};

Value value_null(void);
Value value_bool(bool b);
Value value_int(int64_t i);
Value value_real(double d);
Value value_str(Str s);
Value value_list(const Value *items, size_t n);
Value value_map(const ValuePair *pairs, size_t n);
ValuePair value_pair(Str key, Value value);

/** The member of a map, or NULL when it is not a map or has no such key. */
const Value *value_get(const Value *map, Str key);
const Value *value_get_c(const Value *map, const char *key);
/** Typed look-ups with a default: missing or of another kind gives the default. */
Str value_get_str(const Value *map, const char *key, Str otherwise);
int64_t value_get_int(const Value *map, const char *key, int64_t otherwise);
double value_get_real(const Value *map, const char *key, double otherwise); // takes an int too
bool value_get_bool(const Value *map, const char *key, bool otherwise);

bool value_equal(const Value *a, const Value *b); // maps: same order too; int 1 is not real 1.0
Value value_copy(Arena *arena, const Value *value);
/** "null", "a boolean", "an integer", "a number", "text", "a list", "a map": for messages. */
const char *value_kind_word(const Value *value);

/** A map under construction; pairs grow in the arena. */
typedef struct MapBuilder {
    Arena *arena;
    ValuePair *pairs;
    size_t n;
    size_t cap;
} MapBuilder;

void map_builder_init(MapBuilder *builder, Arena *arena);
void map_builder_put(MapBuilder *builder, Str key, Value value); // does not check for duplicates
Value map_builder_done(const MapBuilder *builder);
