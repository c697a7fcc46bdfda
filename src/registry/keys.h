// SPDX-License-Identifier: MIT
// The keys of registry files as data: name, type, nested table. keys.c holds the tables (DESIGN.md
// 4.1, 4.5, 4.6), schema.c the one walker that checks a YAML tree against them and finds every
// fault.
#pragma once

#include "base/base.h"
#include "text/text.h"

/** Kinds of value that a key takes; several may be allowed. */
typedef enum KeyAccept {
    ACCEPT_TEXT = 1,
    ACCEPT_INT = 2,
    ACCEPT_NUMBER = 4, // an integer too
    ACCEPT_BOOL = 8,
    ACCEPT_LIST = 16,
    ACCEPT_MAP = 32,
    ACCEPT_NULL = 64,
    ACCEPT_ANY = 127,
} KeyAccept;

typedef enum KeyFlags {
    KEY_REQUIRED = 1,
    KEY_TEMPLATE = 2, // its text is a Jinja template
    KEY_NAME = 4,     // letters, digits and . _ - : a name on the command line
    KEY_IDENT = 8,    // letters, digits and _ : a name inside templates and metric names
    KEY_FILLED = 16,  // empty text, list or map is a fault
    KEY_SHA256 = 32,  // 64 hexadecimal digits
    KEY_INSIDE = 64,  // a relative path that stays inside its folder
} KeyFlags;

typedef struct KeyTable KeyTable;

/** One key. A table of rows ends with a NULL name. */
typedef struct KeyRow {
    const char *name;
    unsigned accepts;    // KeyAccept
    unsigned flags;      // KeyFlags
    const KeyTable *map; // the keys of a map; NULL: free keys
    const struct KeyRow
        *each; // what items of a list and values of a free map have to be; NULL: anything
    const char *const *words; // the texts allowed, NULL-terminated; NULL: any
    const struct KeyRow *key; // flags that free keys of a map have to satisfy
    double min;               // of a number; checked when min < max
    double max;
    const char *help; // what editors show of the key; of every key of an eval file
} KeyRow;

struct KeyTable {
    const char *what; // "an eval file": for messages
    const KeyRow *rows;
    bool open; // further keys are another's to check (params of a solver)
};

extern const KeyTable keys_eval;
extern const KeyTable keys_dataset;
extern const KeyTable keys_model;
extern const KeyTable keys_gate;
extern const KeyTable keys_own_gate; // an eval's `gate`
extern const KeyTable keys_expect;
extern const KeyTable keys_generation; // settings that every solver takes
extern const KeyTable keys_grader;
extern const KeyTable keys_solver;
extern const KeyTable keys_metric;

/** Metrics that this program computes itself; NULL-terminated. */
extern const char *const keys_metrics_known[];

const KeyRow *keys_find(const KeyTable *table, Str name);
bool keys_word_in(const char *const *words, Str word);

/** Check a whole tree against a table; every fault goes to faults. */
void schema_check(const KeyTable *table, const Value *map, Str file, Faults *faults);
/** Check one value against a row, called name in messages. false when it had an error. */
bool schema_check_value(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults);
/**
 * "unknown key 'x' in WHAT; did you mean 'y'?" at the key's place.
 * candidates  what could have been meant. */
void schema_unknown_key(const ValuePair *pair, const char *what, const Str *candidates, size_t n,
                        Str file, Faults *faults);
/** "; did you mean 'x'?" or "" for a word among candidates, from the synonyms first. */
Str schema_did_you_mean(Arena *arena, Str word, const Str *candidates, size_t n);
/**
 * The tree without what schema_check would complain about, so that reading can go on after faults
 * and find the others: keys that are unknown, or hold a value of a wrong kind are
 * left out. owns   *out shares what it can with map, the rest in arena. */
Value schema_clean(Arena *arena, const KeyTable *table, const Value *map);
bool schema_is_name(Str s);  // KEY_NAME
bool schema_is_ident(Str s); // KEY_IDENT
