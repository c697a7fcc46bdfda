// SPDX-License-Identifier: MIT
// From a schema to nodes: one for each subschema, with its keywords as rules in the order in which
// they are applied. Keywords are looked at by shape (a count, a list of schemas ...), from a table.
#include "text/json_schema_internal.h"

#include <string.h>

#define DEPTH_MAX     200   // of schemas in schemas
#define NODES_MAX     50000 // schemas
#define REGEXES_MAX   2000
#define STEPS_DEFAULT ((uint64_t)4 * 1000 * 1000)

typedef enum Shape {
    SHAPE_ANY,
    SHAPE_TEXT,
    SHAPE_TEXTS,
    SHAPE_TEXTS_MAP,
    SHAPE_TYPES,
    SHAPE_LIST,
    SHAPE_NUMBER,
    SHAPE_POSITIVE,
    SHAPE_COUNT,
    SHAPE_BOOLEAN,
    SHAPE_PATTERN,
    SHAPE_SCHEMA,
    SHAPE_SCHEMAS,
    SHAPE_SCHEMA_MAP,
    SHAPE_PATTERN_MAP,
} Shape;

typedef struct KeywordRow {
    const char *text;
    Shape shape;
    Vocabulary vocabulary;
} KeywordRow;

static const KeywordRow keywords[KEYWORD_COUNT] = {
#define X(name, keyword, shape, vocabulary) {keyword, SHAPE_##shape, VOCABULARY_##vocabulary},
#include "text/json_schema.def"
#undef X
};

const char *keyword_text(Keyword keyword)
{
    return keywords[keyword].text;
}

bool schema_charge(JsonSchema *schema, uint64_t steps)
{
    schema->steps += steps;
    return schema->steps <= schema->max_steps;
}

static bool charge_build(JsonSchema *schema, uint64_t steps, Err *err)
{
    return schema_charge(schema, steps) ||
           ERR_SET(err, ERR_LIMIT, "the schema takes too long to compile");
}

// ---- Nodes by address ---------------------------------------------------------------------------

static size_t table_slot(const JsonSchema *schema, const Value *value)
{
    size_t mask = schema->cap_table - 1;
    size_t slot = (size_t)rng_mix((uint64_t)(uintptr_t)value) & mask;
    while (schema->table[slot] != NULL && schema->table[slot]->schema != value) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

Node *schema_find_node(const JsonSchema *schema, const Value *value)
{
    return schema->cap_table == 0 ? NULL : schema->table[table_slot(schema, value)];
}

static void table_put(JsonSchema *schema, Node *node)
{
    if ((schema->n_nodes + 1) * 2 > schema->cap_table) {
        Node **old = schema->table;
        size_t n = schema->cap_table;
        schema->cap_table = n == 0 ? 64 : n * 2;
        schema->table = mem_zalloc(schema->cap_table, sizeof(*schema->table));
        for (size_t i = 0; i < n; i++) {
            if (old[i] != NULL) {
                schema->table[table_slot(schema, old[i]->schema)] = old[i];
            }
        }
        mem_free(old);
    }
    schema->table[table_slot(schema, node->schema)] = node;
    schema->n_nodes++;
}

Str node_place(JsonSchema *schema, const Node *node)
{
    Str place = STR_EMPTY;
    for (; node != NULL; node = node->parent) {
        place = str_concat(&schema->arena, node->step, place);
        if (place.len > 200) {
            place = str_slice(place, place.len - 200, place.len);
        }
    }
    return str_concat(&schema->arena, STR("#"), place);
}

static bool fault_at(JsonSchema *schema, const Node *node, Keyword keyword, Err *err,
                     const char *what)
{
    return ERR_SET(err, ERR_PARSE, "schema " STR_FMT "/%s: %s", STR_ARG(node_place(schema, node)),
                   keyword_text(keyword), what);
}

// ---- Keywords by shape --------------------------------------------------------------------------

/** State of making one node. */
typedef struct Making {
    JsonSchema *schema;
    Node *node;
    Rule *rule;
    int depth;
    Err *err;
} Making;

static bool wrong(Making *making, const char *what)
{
    return fault_at(making->schema, making->node, making->rule->keyword, making->err, what);
}

static bool make_regex(Making *making, Str pattern, Regex **out)
{
    JsonSchema *schema = making->schema;
    if (schema->n_regexes == REGEXES_MAX) {
        return ERR_SET(making->err, ERR_LIMIT, "a schema with more than %d patterns", REGEXES_MAX);
    }
    if (!charge_build(schema, 200 + pattern.len, making->err)) {
        return false;
    }
    if (!ecma_regex_create(pattern, out, making->err)) {
        return ERR_WRAP(making->err, "schema " STR_FMT "/%s",
                        STR_ARG(node_place(schema, making->node)),
                        keyword_text(making->rule->keyword));
    }
    if (schema->n_regexes == schema->cap_regexes) {
        schema->cap_regexes = schema->cap_regexes == 0 ? 8 : schema->cap_regexes * 2;
        schema->regexes =
            mem_realloc(schema->regexes, schema->cap_regexes, sizeof(*schema->regexes));
    }
    schema->regexes[schema->n_regexes++] = *out;
    return true;
}

static bool make_pattern(Making *making)
{
    Rule *rule = making->rule;
    if (rule->value->kind != VALUE_STR) {
        return wrong(making, "the pattern has to be text");
    }
    rule->regexes = ARENA_ARRAY(&making->schema->arena, Regex *, 1);
    return make_regex(making, rule->value->as.str, &rule->regexes[0]);
}

/** A JSON pointer's step: ~ and / in names are escaped. */
static Str step_of(Arena *arena, const char *keyword, Str name)
{
    Buf buf = {0};
    buf_printf(&buf, "/%s/", keyword);
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '~' || name.data[i] == '/') {
            buf_c(&buf, name.data[i] == '~' ? "~0" : "~1");
        } else {
            buf_char(&buf, name.data[i]);
        }
    }
    Str step = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return step;
}

static bool make_sub(Making *making, const Value *value, Str step, Node **out)
{
    return schema_add_node(making->schema, value, making->node->resource, making->node, step,
                           making->depth + 1, out, making->err);
}

static bool make_schema(Making *making)
{
    Rule *rule = making->rule;
    Arena *arena = &making->schema->arena;
    if (rule->keyword == KEYWORD_ITEMS && rule->value->kind == VALUE_LIST) {
        return wrong(making, "a list of schemas is 'prefixItems' since draft 2020-12");
    }
    rule->n = 1;
    rule->nodes = ARENA_ARRAY(arena, Node *, 1);
    return make_sub(making, rule->value, str_printf(arena, "/%s", keyword_text(rule->keyword)),
                    &rule->nodes[0]);
}

static bool make_schemas(Making *making)
{
    Rule *rule = making->rule;
    Arena *arena = &making->schema->arena;
    if (rule->value->kind != VALUE_LIST || rule->value->as.list.n == 0) {
        return wrong(making, "a list of schemas is wanted");
    }
    rule->n = rule->value->as.list.n;
    rule->nodes = ARENA_ARRAY(arena, Node *, rule->n);
    for (size_t i = 0; i < rule->n; i++) {
        Str step = str_printf(arena, "/%s/%zu", keyword_text(rule->keyword), i);
        if (!make_sub(making, &rule->value->as.list.items[i], step, &rule->nodes[i])) {
            return false;
        }
    }
    return true;
}

static bool make_schema_map(Making *making, bool patterns)
{
    Rule *rule = making->rule;
    Arena *arena = &making->schema->arena;
    if (rule->value->kind != VALUE_MAP) {
        return wrong(making, "a map of schemas is wanted");
    }
    rule->n = rule->value->as.map.n;
    rule->nodes = ARENA_ARRAY(arena, Node *, rule->n + 1);
    Str *names = ARENA_ARRAY(arena, Str, rule->n + 1);
    rule->names = names;
    rule->regexes = patterns ? ARENA_ARRAY(arena, Regex *, rule->n + 1) : NULL;
    for (size_t i = 0; i < rule->n; i++) {
        const ValuePair *pair = &rule->value->as.map.pairs[i];
        names[i] = pair->key;
        Str step = step_of(arena, keyword_text(rule->keyword), pair->key);
        if ((patterns && !make_regex(making, pair->key, &rule->regexes[i])) ||
            !make_sub(making, &pair->value, step, &rule->nodes[i])) {
            return false;
        }
    }
    return true;
}

static bool is_texts(const Value *value)
{
    for (size_t i = 0; value->kind == VALUE_LIST && i < value->as.list.n; i++) {
        if (value->as.list.items[i].kind != VALUE_STR) {
            return false;
        }
    }
    return value->kind == VALUE_LIST;
}

static bool is_texts_map(const Value *value)
{
    for (size_t i = 0; value->kind == VALUE_MAP && i < value->as.map.n; i++) {
        if (!is_texts(&value->as.map.pairs[i].value)) {
            return false;
        }
    }
    return value->kind == VALUE_MAP;
}

static bool check_type_name(Making *making, const Value *value)
{
    static const char *const types[] = {"null",   "boolean", "object", "array",
                                        "number", "string",  "integer"};
    enum { N_TYPES = sizeof(types) / sizeof(types[0]) };
    if (value->kind != VALUE_STR) {
        return wrong(making, "a type, or a list of types, is wanted");
    }
    Str names[N_TYPES];
    for (size_t i = 0; i < N_TYPES; i++) {
        names[i] = str_from_c(types[i]);
        if (str_eq(value->as.str, names[i])) {
            return true;
        }
    }
    Str shown = str_slice(value->as.str, 0, 40);
    size_t near = str_nearest(shown, names, N_TYPES);
    Str what = near == STR_NONE
                   ? str_printf(&making->schema->arena,
                                "'" STR_FMT
                                "' is no type: null boolean object array number string integer",
                                STR_ARG(shown))
                   : str_printf(&making->schema->arena,
                                "'" STR_FMT "' is no type; did you mean '" STR_FMT "'?",
                                STR_ARG(shown), STR_ARG(names[near]));
    return wrong(making, what.data);
}

static bool check_types(Making *making)
{
    const Value *value = making->rule->value;
    if (value->kind != VALUE_LIST) {
        return check_type_name(making, value);
    }
    for (size_t i = 0; i < value->as.list.n; i++) {
        if (!check_type_name(making, &value->as.list.items[i])) {
            return false;
        }
    }
    return value->as.list.n > 0 || wrong(making, "the list of types is empty");
}

static bool make_rule(Making *making)
{
    static const Value zero = {.kind = VALUE_INT};
    const Value *value = making->rule->value;
    switch (keywords[making->rule->keyword].shape) {
    case SHAPE_ANY:
        return true;
    case SHAPE_TEXT:
        return value->kind == VALUE_STR || wrong(making, "text is wanted");
    case SHAPE_TEXTS:
        return is_texts(value) || wrong(making, "a list of names is wanted");
    case SHAPE_TEXTS_MAP:
        return is_texts_map(value) || wrong(making, "a map of lists of names is wanted");
    case SHAPE_TYPES:
        return check_types(making);
    case SHAPE_LIST:
        return value->kind == VALUE_LIST || wrong(making, "a list is wanted");
    case SHAPE_NUMBER:
        return json_is_number(value) || wrong(making, "a number is wanted");
    case SHAPE_POSITIVE:
        return (json_is_number(value) && json_compare(value, &zero) > 0) ||
               wrong(making, "a number above 0 is wanted");
    case SHAPE_COUNT:
        return (json_is_number(value) && json_is_integer(value) &&
                json_compare(value, &zero) >= 0) ||
               wrong(making, "a whole number from 0 is wanted");
    case SHAPE_BOOLEAN:
        return value->kind == VALUE_BOOL || wrong(making, "true or false is wanted");
    case SHAPE_PATTERN:
        return make_pattern(making);
    case SHAPE_SCHEMA:
        return make_schema(making);
    case SHAPE_SCHEMAS:
        return make_schemas(making);
    case SHAPE_SCHEMA_MAP:
        return make_schema_map(making, false);
    case SHAPE_PATTERN_MAP:
        return make_schema_map(making, true);
    }
    return true;
}

// ---- Nodes --------------------------------------------------------------------------------------

static Keyword keyword_of(Str name)
{
    for (int i = 0; i < KEYWORD_COUNT; i++) {
        if (str_eq_c(name, keywords[i].text)) {
            return (Keyword)i;
        }
    }
    return KEYWORD_COUNT;
}

static void add_pending(JsonSchema *schema, Node *node)
{
    if (schema->n_pending == schema->cap_pending) {
        schema->cap_pending = schema->cap_pending == 0 ? 16 : schema->cap_pending * 2;
        schema->pending =
            mem_realloc(schema->pending, schema->cap_pending, sizeof(*schema->pending));
    }
    schema->pending[schema->n_pending++] = node;
}

/** The rules of a node. Before them it has to be known, since its subschemas look it up. */
static bool node_rules(JsonSchema *schema, Node *node, int depth, Err *err)
{
    const Value *found[KEYWORD_COUNT] = {0};
    size_t n = 0;
    const ValueMap *map = &node->schema->as.map;
    for (size_t i = 0; i < map->n; i++) {
        Keyword keyword = keyword_of(map->pairs[i].key);
        bool known =
            keyword < KEYWORD_COUNT && node->resource->vocabularies[keywords[keyword].vocabulary];
        if (known && found[keyword] == NULL) {
            found[keyword] = &map->pairs[i].value;
            n++;
        }
    }
    node->rules = ARENA_ARRAY(&schema->arena, Rule, n + 1);
    bool refers = false;
    for (int i = 0; i < KEYWORD_COUNT; i++) {
        if (found[i] == NULL) {
            continue;
        }
        Rule *rule = &node->rules[node->n_rules++];
        *rule = (Rule){.keyword = (Keyword)i, .value = found[i], .anchor = STR_EMPTY};
        Making making = {.schema = schema, .node = node, .rule = rule, .depth = depth, .err = err};
        if (!make_rule(&making)) {
            return false;
        }
        refers = refers || i == KEYWORD_REF || i == KEYWORD_DYNAMIC_REF;
        node->watches =
            node->watches || i == KEYWORD_UNEVALUATED_ITEMS || i == KEYWORD_UNEVALUATED_PROPERTIES;
    }
    if (refers) {
        add_pending(schema, node);
    }
    return true;
}

static bool name_node(JsonSchema *schema, Node *node, const char *keyword, bool dynamic, Err *err)
{
    const Value *name = value_get_c(node->schema, keyword);
    if (name == NULL) {
        return true;
    }
    if (name->kind != VALUE_STR || name->as.str.len == 0) {
        return ERR_SET(err, ERR_PARSE, "schema " STR_FMT "/%s: a name is wanted",
                       STR_ARG(node_place(schema, node)), keyword);
    }
    Anchor *anchor = ARENA_NEW(&schema->arena, Anchor);
    *anchor = (Anchor){
        .next = node->resource->anchors, .name = name->as.str, .dynamic = dynamic, .node = node};
    node->resource->anchors = anchor;
    return true;
}

static void add_known(JsonSchema *schema, Str uri, Resource *resource)
{
    if (schema_find_resource(schema, uri) == NULL) {
        Known *known = ARENA_NEW(&schema->arena, Known);
        *known = (Known){.next = schema->known, .uri = uri, .resource = resource};
        schema->known = known;
    }
}

Resource *schema_find_resource(const JsonSchema *schema, Str uri)
{
    for (const Known *known = schema->known; known != NULL; known = known->next) {
        if (str_eq(known->uri, uri)) {
            return known->resource;
        }
    }
    return NULL;
}

// ---- Resources ----------------------------------------------------------------------------------

static const char vocabulary_base[] = "https://json-schema.org/draft/2020-12/vocab/";

/** What a metaschema's $vocabulary says. */
static bool read_vocabularies(const Value *listed, Resource *resource, Err *err)
{
    static const struct {
        const char *name;
        int vocabulary; // -1: means nothing here
    } known[] = {{"core", VOCABULARY_CORE},
                 {"applicator", VOCABULARY_APPLICATOR},
                 {"unevaluated", VOCABULARY_UNEVALUATED},
                 {"validation", VOCABULARY_VALIDATION},
                 {"format-assertion", VOCABULARY_FORMAT},
                 {"format-annotation", -1},
                 {"meta-data", -1},
                 {"content", -1}};
    memset(resource->vocabularies, 0, sizeof(resource->vocabularies));
    resource->vocabularies[VOCABULARY_CORE] = true;
    for (size_t i = 0; i < listed->as.map.n; i++) {
        const ValuePair *pair = &listed->as.map.pairs[i];
        bool ours = str_starts_with(pair->key, str_from_c(vocabulary_base));
        Str name =
            ours ? str_slice(pair->key, sizeof(vocabulary_base) - 1, pair->key.len) : STR_EMPTY;
        bool found = false;
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
            if (str_eq_c(name, known[k].name)) {
                found = true;
                if (known[k].vocabulary >= 0) {
                    resource->vocabularies[known[k].vocabulary] = true;
                }
            }
        }
        bool required = pair->value.kind == VALUE_BOOL && pair->value.as.boolean;
        if (!found && required) {
            return ERR_SET(err, ERR_PARSE,
                           "the schema requires the vocabulary '%.*s', which is "
                           "not known here",
                           (int)(pair->key.len < 200 ? pair->key.len : 200), pair->key.data);
        }
    }
    return true;
}

/** The vocabularies of a resource: of its $schema where that is handed in, else all. */
static bool choose_vocabularies(JsonSchema *schema, const Value *root, Resource *resource,
                                const Resource *outer, Err *err)
{
    const Value *dialect = value_get_c(root, "$schema");
    if (dialect == NULL && outer != NULL) {
        memcpy(resource->vocabularies, outer->vocabularies, sizeof(resource->vocabularies));
        return true;
    }
    for (int i = 0; i < VOCABULARY_COUNT; i++) {
        resource->vocabularies[i] = true;
    }
    resource->vocabularies[VOCABULARY_FORMAT] = schema->assert_format;
    Str uri = dialect != NULL && dialect->kind == VALUE_STR ? dialect->as.str : STR_EMPTY;
    uri = str_ends_with(uri, STR("#")) ? str_slice(uri, 0, uri.len - 1) : uri;
    if (str_eq(uri, STR("https://json-schema.org/draft/2020-12/schema"))) {
        return true;
    }
    const Value *meta = schema->remotes != NULL ? value_get(schema->remotes, uri) : NULL;
    const Value *listed = meta != NULL ? value_get_c(meta, "$vocabulary") : NULL;
    return listed == NULL || listed->kind != VALUE_MAP || read_vocabularies(listed, resource, err);
}

static bool add_resource(JsonSchema *schema, Str uri, const Value *root, const Resource *outer,
                         Resource **out, Err *err)
{
    Resource *resource = ARENA_NEW(&schema->arena, Resource);
    resource->uri = uri;
    if (!choose_vocabularies(schema, root, resource, outer, err)) {
        return false;
    }
    add_known(schema, uri, resource);
    *out = resource;
    return true;
}

/** The URI that a schema's $id gives it, or that of what it lies in. */
static bool own_uri(JsonSchema *schema, const Value *value, Str base, Str *out, Err *err)
{
    const Value *id = value_get_c(value, "$id");
    *out = base;
    if (id == NULL) {
        return true;
    }
    Str fragment = STR_EMPTY;
    if (id->kind == VALUE_STR) {
        *out = uri_resolve(&schema->arena, base, id->as.str, &fragment);
    }
    return (id->kind == VALUE_STR && fragment.len == 0) ||
           ERR_SET(err, ERR_PARSE, "schema: $id has to be a URI without a fragment");
}

bool schema_add_node(JsonSchema *schema, const Value *value, Resource *resource, const Node *parent,
                     Str step, int depth, Node **out, Err *err)
{
    Node *node = schema_find_node(schema, value);
    if (node != NULL) {
        *out = node;
        return true;
    }
    node = ARENA_NEW(&schema->arena, Node);
    *node = (Node){.schema = value, .resource = resource, .parent = parent, .step = step};
    if (depth > DEPTH_MAX || schema->n_nodes == NODES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "a schema of more than %d levels or %d subschemas",
                       DEPTH_MAX, NODES_MAX);
    }
    if (value->kind != VALUE_MAP && value->kind != VALUE_BOOL) {
        return ERR_SET(err, ERR_PARSE,
                       "schema " STR_FMT ": a schema is a map, true or false, not %s",
                       STR_ARG(node_place(schema, node)), value_kind_word(value));
    }
    size_t n = value->kind == VALUE_MAP ? value->as.map.n : 0;
    if (!charge_build(schema, 1 + n, err)) {
        return false;
    }
    Str uri;
    bool is_root = resource->root == NULL;
    if (!is_root && value->kind == VALUE_MAP && value_get_c(value, "$id") != NULL) {
        if (!own_uri(schema, value, resource->uri, &uri, err) ||
            !add_resource(schema, uri, value, resource, &node->resource, err)) {
            return false;
        }
        is_root = true;
    }
    node->resource->root = is_root ? node : node->resource->root;
    table_put(schema, node);
    *out = node;
    return value->kind == VALUE_BOOL || (name_node(schema, node, "$anchor", false, err) &&
                                         name_node(schema, node, "$dynamicAnchor", true, err) &&
                                         node_rules(schema, node, depth, err));
}

bool schema_add_document(JsonSchema *schema, Str uri, const Value *document, Resource **out,
                         Err *err)
{
    Str own;
    Resource *resource = NULL;
    Node *node = NULL;
    if (!own_uri(schema, document, uri, &own, err) ||
        !add_resource(schema, own, document, NULL, &resource, err)) {
        return false;
    }
    add_known(schema, uri, resource);
    if (out != NULL) {
        *out = resource;
    }
    return schema_add_node(schema, document, resource, NULL, STR_EMPTY, 0, &node, err);
}

// ---- The whole ----------------------------------------------------------------------------------

bool json_schema_create(const Value *value, const JsonSchemaOptions *options, JsonSchema **out,
                        Err *err)
{
    JsonSchema *schema = mem_zalloc(1, sizeof(*schema));
    arena_init(&schema->arena, 4096);
    arena_init(&schema->scratch, 4096);
    schema->max_steps = STEPS_DEFAULT;
    if (options != NULL) {
        schema->remotes = options->remotes;
        schema->assert_format = options->assert_format;
        schema->max_steps = options->max_steps > 0 ? options->max_steps : STEPS_DEFAULT;
    }
    Value *root = ARENA_NEW(&schema->arena, Value);
    *root = value_copy(&schema->arena, value);
    Resource *resource = NULL;
    bool ok =
        schema_add_document(schema, STR_EMPTY, root, &resource, err) && schema_resolve(schema, err);
    if (!ok) {
        json_schema_destroy(schema);
        return false;
    }
    schema->root = resource->root;
    schema->remotes = NULL;
    *out = schema;
    return true;
}

void json_schema_destroy(JsonSchema *schema)
{
    if (schema == NULL) {
        return;
    }
    for (size_t i = 0; i < schema->n_regexes; i++) {
        regex_destroy(schema->regexes[i]);
    }
    mem_free(schema->regexes);
    mem_free(schema->pending);
    mem_free(schema->table);
    arena_finish(&schema->scratch);
    arena_finish(&schema->arena);
    mem_free(schema);
}

uint64_t json_schema_steps(const JsonSchema *schema)
{
    return schema->steps;
}
