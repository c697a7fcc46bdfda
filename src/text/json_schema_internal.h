// SPDX-License-Identifier: MIT
// What the files of the JSON Schema checker share: json_schema_build.c makes nodes and resources of
// a schema, json_schema_refs.c finds what references name, json_schema_eval.c walks nodes and a
// value side by side; numbers, equality, patterns, formats and URIs have files of their own.
#pragma once

#include "text/json_schema.h"

#include "text/text.h"

typedef enum Keyword {
#define X(name, keyword, shape, vocabulary) KEYWORD_##name,
#include "text/json_schema.def"
#undef X
    KEYWORD_COUNT
} Keyword;

typedef enum Vocabulary {
    VOCABULARY_CORE,
    VOCABULARY_APPLICATOR,
    VOCABULARY_UNEVALUATED,
    VOCABULARY_VALIDATION,
    VOCABULARY_FORMAT, // on: `format` is checked
    VOCABULARY_COUNT
} Vocabulary;

typedef struct Node Node;

/** A name that $anchor or $dynamicAnchor gives to a schema of a resource. */
typedef struct Anchor {
    struct Anchor *next;
    Str name;
    bool dynamic;
    Node *node;
} Anchor;

/** A schema with a URI of its own, and what lies in it. */
typedef struct Resource {
    Str uri; // absolute unless the root has no $id; no fragment
    Node *root;
    Anchor *anchors;
    bool vocabularies[VOCABULARY_COUNT];
} Resource;

/** A URI that a resource is known under: its own, or that which it was handed in under. */
typedef struct Known {
    struct Known *next;
    Str uri;
    Resource *resource;
} Known;

/** One keyword of a schema, ready to be applied. */
typedef struct Rule {
    Keyword keyword;
    const Value *value;
    size_t n;         // subschemas
    Node **nodes;     // subschemas; the target of a reference
    const Str *names; // of the subschemas, where they have any
    Regex **regexes;  // of the names, or of the value
    Str anchor;       // $dynamicRef: the name when its target is a $dynamicAnchor, else empty
} Rule;

struct Node {
    const Value *schema; // a map or a boolean
    Resource *resource;
    const Node *parent; // with step: the place, for messages
    Str step;           // "/properties/a"
    Rule *rules;        // in the order of keywords
    size_t n_rules;
    bool watches; // has an unevaluated... keyword
};

struct JsonSchema {
    Arena arena;
    Arena scratch; // of one check
    const Value *remotes;
    bool assert_format;
    uint64_t max_steps;
    uint64_t steps;
    Node *root;
    Known *known;
    Node **table; // nodes by the address of their schema, open addressing
    size_t n_nodes;
    size_t cap_table;
    Regex **regexes; // all of them, to be destroyed
    size_t n_regexes;
    size_t cap_regexes;
    Node **pending; // nodes whose references are not resolved yet
    size_t n_pending;
    size_t cap_pending;
};

/** Take steps; false when there are none left. */
bool schema_charge(JsonSchema *schema, uint64_t steps);

// ---- Building -----------------------------------------------------------------------------------

/** Make a resource of a whole document that was handed in under a URI; *out may be NULL. */
bool schema_add_document(JsonSchema *schema, Str uri, const Value *document, Resource **out,
                         Err *err);
/** The node of a schema: the one there is, or a new one. fails ERR_PARSE, ERR_LIMIT. */
bool schema_add_node(JsonSchema *schema, const Value *value, Resource *resource, const Node *parent,
                     Str step, int depth, Node **out, Err *err);
Node *schema_find_node(const JsonSchema *schema, const Value *value);
Resource *schema_find_resource(const JsonSchema *schema, Str uri);
/** Resolve the references of all pending nodes, and of those that this brings in. */
bool schema_resolve(JsonSchema *schema, Err *err);
const char *keyword_text(Keyword keyword);
/** "#/properties/a" for messages, in the schema's arena. */
Str node_place(JsonSchema *schema, const Node *node);

// ---- Evaluating ---------------------------------------------------------------------------------

#define SCHEMA_RUN_DEPTH_MAX 1000 // schemas being applied: a circle gets here at once

/** The place of a value, from the inside out. */
typedef struct Place {
    const struct Place *up; // NULL: the whole value
    Str key;
    size_t index;
    bool is_index;
} Place;

/** The first fault found; text in the caller's arena. */
typedef struct Finding {
    bool set;
    int depth; // of its place
    Str text;
} Finding;

typedef struct Run {
    JsonSchema *schema;
    Arena *arena;     // for messages
    Finding *finding; // NULL: nobody asks why
    const Resource *scopes[SCHEMA_RUN_DEPTH_MAX + 1];
    size_t n_scopes;
    int depth;
    bool broken;
    Err *err;
} Run;

/** Report that a value is wrong; returns false. */
bool run_fail(Run *run, const Place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** As run_fail; its arguments are not looked at where nobody asks why. */
#define FAIL(run, ...)                                                                             \
    ((run)->finding != NULL && !(run)->finding->set ? run_fail(run, __VA_ARGS__) : false)

/** End the check with ERR_LIMIT; returns false. */
bool run_break(Run *run, const char *what);
bool run_charge(Run *run, uint64_t steps);
/** Whether a pattern is found; a search that costs too much breaks the check off. */
bool run_matches(Run *run, Regex *regex, Str text);

/** A value as it stands in a message. */
typedef struct Shown {
    char text[68];
} Shown;

Shown json_show(const Value *value);
/** Items or members. */
size_t json_size(const Value *value);
/** Index of a member, or STR_NONE. */
size_t json_member(const Value *map, Str name);

/** The keywords that look at a value, not at its parts. */
bool schema_assert(Run *run, const Rule *rule, const Value *value, const Place *place);
/** Of the rules of a node that of a keyword, or NULL. */
const Rule *node_rule(const Node *node, Keyword keyword);

// ---- Numbers and equality -----------------------------------------------------------------------

bool json_is_number(const Value *value);
/** A number without a fraction. */
bool json_is_integer(const Value *value);
/** Exact order of two numbers: -1, 0, 1. */
int json_compare(const Value *a, const Value *b);
/** Whether a is a multiple of b > 0, both as the decimals they are written as. */
bool json_multiple_of(const Value *a, const Value *b);
/** JSON Schema's equality: 1 is 1.0, members in any order. Takes steps; true when none are left. */
bool json_equal(JsonSchema *schema, const Value *a, const Value *b);
/** Equal values have equal hashes. */
uint64_t json_hash(JsonSchema *schema, const Value *value);

// ---- Patterns, formats, URIs --------------------------------------------------------------------

/** Compile an ECMA-262 pattern. fails ERR_PARSE. */
bool ecma_regex_create(Str pattern, Regex **out, Err *err);
/** Whether a text has a format; true for formats that are not known. */
bool json_format_fits(Str format, Str text);

/** RFC 3986 section 5.2: what ref means where base is the base; without its fragment. */
Str uri_resolve(Arena *arena, Str base, Str ref, Str *out_fragment);
/** Percent-decode. */
Str uri_decode(Arena *arena, Str s);
