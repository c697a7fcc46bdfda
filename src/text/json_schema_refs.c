// SPDX-License-Identifier: MIT
// What $ref and $dynamicRef name: a URI finds a resource, among those seen or those handed in, its
// fragment a schema in it, by JSON pointer or by anchor.
#include "text/json_schema_internal.h"

#include <string.h>

/** A document that was handed in under a URI, made known; NULL in *out when there is none. */
static bool find_remote(JsonSchema *schema, Str uri, Resource **out, Err *err)
{
    const Value *document = schema->remotes != NULL ? value_get(schema->remotes, uri) : NULL;
    *out = NULL;
    if (document == NULL) {
        return true;
    }
    Value *own = ARENA_NEW(&schema->arena, Value);
    *own = value_copy(&schema->arena, document);
    return schema_add_document(schema, uri, own, out, err) ||
           ERR_WRAP(err, "'%.*s'", (int)(uri.len < 200 ? uri.len : 200), uri.data);
}

/** One step of a pointer: ~1 is /, ~0 is ~. */
static Str pointer_name(Arena *arena, Str token)
{
    char *out = arena_alloc(arena, token.len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < token.len; i++) {
        bool escaped = token.data[i] == '~' && i + 1 < token.len &&
                       (token.data[i + 1] == '0' || token.data[i + 1] == '1');
        out[n++] = !escaped ? token.data[i] : token.data[i + 1] == '0' ? '~' : '/';
        i += escaped;
    }
    return (Str){out, n};
}

static const Value *pointer_step(const Value *at, Str name)
{
    int64_t index = 0;
    if (at->kind == VALUE_MAP) {
        return value_get(at, name);
    }
    if (at->kind == VALUE_LIST && str_to_i64(name, &index) && index >= 0 &&
        (size_t)index < at->as.list.n) {
        return &at->as.list.items[index];
    }
    return NULL;
}

/** The schema at a JSON pointer; one that is not where schemas are is looked at as one. */
static bool follow_pointer(JsonSchema *schema, Resource *resource, Str pointer, Node **out,
                           Err *err)
{
    const Value *at = resource->root->schema;
    const Node *inside = resource->root; // the last schema on the way
    Str rest = str_slice(pointer, 1, pointer.len);
    bool more = true;
    *out = NULL;
    while (more) {
        Str token;
        more = str_cut(rest, STR("/"), &token, &rest);
        at = pointer_step(at, pointer_name(&schema->arena, token));
        if (at == NULL || !schema_charge(schema, 1)) {
            return true;
        }
        const Node *node = schema_find_node(schema, at);
        inside = node != NULL ? node : inside;
    }
    Node *found = schema_find_node(schema, at);
    if (found != NULL) {
        *out = found;
        return true;
    }
    return schema_add_node(schema, at, inside->resource, NULL, pointer, 0, out, err);
}

static const Anchor *find_anchor(const Resource *resource, Str name)
{
    const Anchor *found = NULL;
    for (const Anchor *anchor = resource->anchors; anchor != NULL; anchor = anchor->next) {
        if (str_eq(anchor->name, name)) {
            found = anchor->dynamic || found == NULL ? anchor : found;
        }
    }
    return found;
}

static bool resolve_rule(JsonSchema *schema, const Node *node, Rule *rule, Err *err)
{
    Str fragment;
    Str uri = uri_resolve(&schema->arena, node->resource->uri, rule->value->as.str, &fragment);
    Resource *resource = schema_find_resource(schema, uri);
    Node *target = NULL;
    if (resource == NULL && !find_remote(schema, uri, &resource, err)) {
        return false;
    }
    fragment = uri_decode(&schema->arena, fragment);
    if (resource != NULL && fragment.len == 0) {
        target = resource->root;
    } else if (resource != NULL && fragment.data[0] == '/') {
        if (!follow_pointer(schema, resource, fragment, &target, err)) {
            return false;
        }
    } else if (resource != NULL) {
        const Anchor *anchor = find_anchor(resource, fragment);
        target = anchor != NULL ? anchor->node : NULL;
        bool dynamic = anchor != NULL && anchor->dynamic && rule->keyword == KEYWORD_DYNAMIC_REF;
        rule->anchor = dynamic ? anchor->name : STR_EMPTY;
    }
    if (target == NULL) {
        Str shown = str_slice(rule->value->as.str, 0, 200);
        return ERR_SET(err, ERR_PARSE, "schema " STR_FMT "/%s: '" STR_FMT "' leads nowhere",
                       STR_ARG(node_place(schema, node)), keyword_text(rule->keyword),
                       STR_ARG(shown));
    }
    rule->n = 1;
    rule->nodes = ARENA_ARRAY(&schema->arena, Node *, 1);
    rule->nodes[0] = target;
    return true;
}

bool schema_resolve(JsonSchema *schema, Err *err)
{
    for (size_t i = 0; i < schema->n_pending; i++) { // grows on the way
        Node *node = schema->pending[i];
        for (size_t k = 0; k < node->n_rules; k++) {
            Rule *rule = &node->rules[k];
            bool refers = rule->keyword == KEYWORD_REF || rule->keyword == KEYWORD_DYNAMIC_REF;
            if (refers && !resolve_rule(schema, node, rule, err)) {
                return false;
            }
        }
        if (!schema_charge(schema, 10)) {
            return ERR_SET(err, ERR_LIMIT, "the schema takes too long to compile");
        }
    }
    return true;
}
