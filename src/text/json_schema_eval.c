// SPDX-License-Identifier: MIT
// Walks nodes and a value side by side; what a value is by itself json_schema_assert.c says. Which
// members and items were evaluated is kept as bits of the one value at hand, and only where an
// unevaluated... keyword further up will ask. The first fault found is reported; those of
// alternatives only when none of them fits.
#include "text/json_schema_internal.h"

/** Which members, or items, of one value were evaluated. */
typedef struct Seen {
    uint64_t *bits;
    size_t n;
} Seen;

static bool eval(Run *run, const Node *node, const Value *value, const Place *place, Seen *seen);

// ---- What was evaluated -------------------------------------------------------------------------

static void seen_set(Seen *seen, size_t i)
{
    if (seen != NULL) {
        seen->bits[i / 64] |= (uint64_t)1 << (i % 64);
    }
}

static bool seen_get(const Seen *seen, size_t i)
{
    return (seen->bits[i / 64] >> (i % 64) & 1) != 0;
}

static void seen_merge(Seen *into, const Seen *from)
{
    for (size_t i = 0; i < (from->n + 63) / 64; i++) {
        into->bits[i] |= from->bits[i];
    }
}

/** Apply a node without asking why it does not fit. */
static bool eval_quietly(Run *run, const Node *node, const Value *value, const Place *place,
                         Seen *seen)
{
    Finding *finding = run->finding;
    run->finding = NULL;
    bool ok = eval(run, node, value, place, seen);
    run->finding = finding;
    return ok;
}

const Rule *node_rule(const Node *node, Keyword keyword)
{
    for (size_t i = 0; i < node->n_rules; i++) {
        if (node->rules[i].keyword == keyword) {
            return &node->rules[i];
        }
    }
    return NULL;
}

// ---- Items --------------------------------------------------------------------------------------

/** Apply a node to items [from, to). */
static bool apply_items(Run *run, const Node *node, const Value *value, size_t from, size_t to,
                        const Place *place, Seen *seen)
{
    for (size_t i = from; i < to; i++) {
        Place at = {.up = place, .index = i, .is_index = true};
        if (!eval(run, node, &value->as.list.items[i], &at, NULL)) {
            return false;
        }
        seen_set(seen, i);
    }
    return true;
}

static bool apply_prefix_items(Run *run, const Rule *rule, const Value *value, const Place *place,
                               Seen *seen)
{
    size_t n = value->as.list.n < rule->n ? value->as.list.n : rule->n;
    for (size_t i = 0; i < n; i++) {
        if (!apply_items(run, rule->nodes[i], value, i, i + 1, place, seen)) {
            return false;
        }
    }
    return true;
}

static bool apply_contains(Run *run, const Node *node, const Rule *rule, const Value *value,
                           const Place *place, Seen *seen)
{
    const Rule *least = node_rule(node, KEYWORD_MIN_CONTAINS);
    const Rule *most = node_rule(node, KEYWORD_MAX_CONTAINS);
    int64_t count = 0;
    for (size_t i = 0; i < value->as.list.n; i++) {
        Place at = {.up = place, .index = i, .is_index = true};
        if (eval_quietly(run, rule->nodes[0], &value->as.list.items[i], &at, NULL)) {
            count++;
            seen_set(seen, i);
        }
        if (run->broken) {
            return false;
        }
    }
    Value found = value_int(count);
    if (most != NULL && json_compare(&found, most->value) > 0) {
        return FAIL(run, place, "%lld items are as 'contains' says, more than %s", (long long)count,
                    json_show(most->value).text);
    }
    bool enough = least != NULL ? json_compare(&found, least->value) >= 0 : count > 0;
    return enough || FAIL(run, place, "%lld items are as 'contains' says, fewer than %s",
                          (long long)count, least != NULL ? json_show(least->value).text : "1");
}

static bool apply_unevaluated_items(Run *run, const Rule *rule, const Value *value,
                                    const Place *place, Seen *seen)
{
    for (size_t i = 0; i < value->as.list.n; i++) {
        if (!seen_get(seen, i) && !apply_items(run, rule->nodes[0], value, i, i + 1, place, seen)) {
            return false;
        }
    }
    return true;
}

// ---- Members ------------------------------------------------------------------------------------

static bool apply_member(Run *run, const Node *node, const Value *value, size_t i,
                         const Place *place, Seen *seen)
{
    const ValuePair *pair = &value->as.map.pairs[i];
    Place at = {.up = place, .key = pair->key};
    if (!eval(run, node, &pair->value, &at, NULL)) {
        return false;
    }
    seen_set(seen, i);
    return true;
}

static bool apply_properties(Run *run, const Rule *rule, const Value *value, const Place *place,
                             Seen *seen)
{
    for (size_t i = 0; i < rule->n; i++) {
        if (!run_charge(run, 1 + value->as.map.n / 8)) {
            return false;
        }
        size_t at = json_member(value, rule->names[i]);
        if (at != STR_NONE && !apply_member(run, rule->nodes[i], value, at, place, seen)) {
            return false;
        }
    }
    return true;
}

static bool apply_pattern_properties(Run *run, const Rule *rule, const Value *value,
                                     const Place *place, Seen *seen)
{
    for (size_t i = 0; i < value->as.map.n; i++) {
        for (size_t k = 0; k < rule->n; k++) {
            bool named = run_matches(run, rule->regexes[k], value->as.map.pairs[i].key);
            if (run->broken ||
                (named && !apply_member(run, rule->nodes[k], value, i, place, seen))) {
                return false;
            }
        }
    }
    return true;
}

/** Whether `properties` or `patternProperties` of the same schema speak of a member. */
static bool is_named(Run *run, const Node *node, Str key)
{
    const Rule *properties = node_rule(node, KEYWORD_PROPERTIES);
    const Rule *patterns = node_rule(node, KEYWORD_PATTERN_PROPERTIES);
    if (properties != NULL && run_charge(run, 1 + properties->n / 8)) {
        for (size_t i = 0; i < properties->n; i++) {
            if (str_eq(properties->names[i], key)) {
                return true;
            }
        }
    }
    for (size_t i = 0; patterns != NULL && i < patterns->n; i++) {
        if (run_matches(run, patterns->regexes[i], key)) {
            return true;
        }
    }
    return false;
}

static bool apply_additional(Run *run, const Node *node, const Rule *rule, const Value *value,
                             const Place *place, Seen *seen)
{
    for (size_t i = 0; i < value->as.map.n; i++) {
        bool named = is_named(run, node, value->as.map.pairs[i].key);
        if (run->broken || (!named && !apply_member(run, rule->nodes[0], value, i, place, seen))) {
            return false;
        }
    }
    return true;
}

static bool apply_property_names(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    for (size_t i = 0; i < value->as.map.n; i++) {
        Value name = value_str(value->as.map.pairs[i].key);
        Place at = {.up = place, .key = name.as.str};
        if (!eval(run, rule->nodes[0], &name, &at, NULL)) {
            return false;
        }
    }
    return true;
}

static bool apply_unevaluated_properties(Run *run, const Rule *rule, const Value *value,
                                         const Place *place, Seen *seen)
{
    for (size_t i = 0; i < value->as.map.n; i++) {
        if (!seen_get(seen, i) && !apply_member(run, rule->nodes[0], value, i, place, seen)) {
            return false;
        }
    }
    return true;
}

// ---- Schemas on the same value ------------------------------------------------------------------

static bool apply_all_of(Run *run, const Rule *rule, const Value *value, const Place *place,
                         Seen *seen)
{
    for (size_t i = 0; i < rule->n; i++) {
        if (!eval(run, rule->nodes[i], value, place, seen)) {
            return false;
        }
    }
    return true;
}

/** anyOf, oneOf: the fault of the alternative that went deepest explains most. */
static bool apply_alternatives(Run *run, const Rule *rule, const Value *value, const Place *place,
                               Seen *seen)
{
    bool one = rule->keyword == KEYWORD_ONE_OF;
    size_t count = 0;
    Finding *outer = run->finding;
    Finding nearest = {0};
    for (size_t i = 0; i < rule->n && !run->broken; i++) {
        Finding finding = {0};
        run->finding = outer != NULL && !outer->set ? &finding : NULL;
        count += eval(run, rule->nodes[i], value, place, seen);
        if (finding.set && (!nearest.set || finding.depth > nearest.depth)) {
            nearest = finding;
        }
        if (one ? count > 1 : count == 1 && seen == NULL) {
            break;
        }
    }
    run->finding = outer;
    if (run->broken || count == 1 || (count > 1 && !one)) {
        return !run->broken;
    }
    if (count > 1) {
        return FAIL(run, place, "fits more than one schema of oneOf");
    }
    return FAIL(run, place, "fits no schema of %s; nearest: %.*s", keyword_text(rule->keyword),
                (int)(nearest.text.len < 300 ? nearest.text.len : 300),
                nearest.set ? nearest.text.data : "");
}

static bool apply_if(Run *run, const Node *node, const Rule *rule, const Value *value,
                     const Place *place, Seen *seen)
{
    bool yes = eval_quietly(run, rule->nodes[0], value, place, seen);
    const Rule *next = node_rule(node, yes ? KEYWORD_THEN : KEYWORD_ELSE);
    return !run->broken && (next == NULL || eval(run, next->nodes[0], value, place, seen));
}

static bool apply_dependent_schemas(Run *run, const Rule *rule, const Value *value,
                                    const Place *place, Seen *seen)
{
    for (size_t i = 0; i < rule->n; i++) {
        if (!run_charge(run, 1 + value->as.map.n / 8) ||
            (json_member(value, rule->names[i]) != STR_NONE &&
             !eval(run, rule->nodes[i], value, place, seen))) {
            return false;
        }
    }
    return true;
}

/** The outermost schema resource with a $dynamicAnchor of that name wins. */
static const Node *dynamic_target(const Run *run, const Rule *rule)
{
    for (size_t i = 0; rule->anchor.len > 0 && i < run->n_scopes; i++) {
        const Anchor *anchor = run->scopes[i]->anchors;
        for (; anchor != NULL; anchor = anchor->next) {
            if (anchor->dynamic && str_eq(anchor->name, rule->anchor)) {
                return anchor->node;
            }
        }
    }
    return rule->nodes[0];
}

// ---- One schema ---------------------------------------------------------------------------------

static bool apply(Run *run, const Node *node, const Rule *rule, const Value *value,
                  const Place *place, Seen *seen)
{
    bool list = value->kind == VALUE_LIST;
    bool map = value->kind == VALUE_MAP;
    switch (rule->keyword) {
    case KEYWORD_REF:
        return eval(run, rule->nodes[0], value, place, seen);
    case KEYWORD_DYNAMIC_REF:
        return eval(run, dynamic_target(run, rule), value, place, seen);
    case KEYWORD_TYPE:
    case KEYWORD_ENUM:
    case KEYWORD_CONST:
    case KEYWORD_MULTIPLE_OF:
    case KEYWORD_MAXIMUM:
    case KEYWORD_EXCLUSIVE_MAXIMUM:
    case KEYWORD_MINIMUM:
    case KEYWORD_EXCLUSIVE_MINIMUM:
    case KEYWORD_MAX_LENGTH:
    case KEYWORD_MIN_LENGTH:
    case KEYWORD_PATTERN:
    case KEYWORD_FORMAT:
    case KEYWORD_MAX_ITEMS:
    case KEYWORD_MIN_ITEMS:
    case KEYWORD_UNIQUE_ITEMS:
    case KEYWORD_MAX_PROPERTIES:
    case KEYWORD_MIN_PROPERTIES:
    case KEYWORD_REQUIRED:
    case KEYWORD_DEPENDENT_REQUIRED:
        return schema_assert(run, rule, value, place);
    case KEYWORD_ALL_OF:
        return apply_all_of(run, rule, value, place, seen);
    case KEYWORD_ANY_OF:
    case KEYWORD_ONE_OF:
        return apply_alternatives(run, rule, value, place, seen);
    case KEYWORD_NOT:
        return (!eval_quietly(run, rule->nodes[0], value, place, NULL) && !run->broken) ||
               FAIL(run, place, "%s fits what 'not' rules out", json_show(value).text);
    case KEYWORD_IF:
        return apply_if(run, node, rule, value, place, seen);
    case KEYWORD_DEPENDENT_SCHEMAS:
        return !map || apply_dependent_schemas(run, rule, value, place, seen);
    case KEYWORD_PREFIX_ITEMS:
        return !list || apply_prefix_items(run, rule, value, place, seen);
    case KEYWORD_ITEMS: {
        const Rule *prefix = node_rule(node, KEYWORD_PREFIX_ITEMS);
        return !list || apply_items(run, rule->nodes[0], value, prefix != NULL ? prefix->n : 0,
                                    value->as.list.n, place, seen);
    }
    case KEYWORD_CONTAINS:
        return !list || apply_contains(run, node, rule, value, place, seen);
    case KEYWORD_PROPERTIES:
        return !map || apply_properties(run, rule, value, place, seen);
    case KEYWORD_PATTERN_PROPERTIES:
        return !map || apply_pattern_properties(run, rule, value, place, seen);
    case KEYWORD_ADDITIONAL_PROPERTIES:
        return !map || apply_additional(run, node, rule, value, place, seen);
    case KEYWORD_PROPERTY_NAMES:
        return !map || apply_property_names(run, rule, value, place);
    case KEYWORD_UNEVALUATED_ITEMS:
        return !list || apply_unevaluated_items(run, rule, value, place, seen);
    case KEYWORD_UNEVALUATED_PROPERTIES:
        return !map || apply_unevaluated_properties(run, rule, value, place, seen);
    case KEYWORD_THEN: // with `if`
    case KEYWORD_ELSE:
    case KEYWORD_MAX_CONTAINS: // with `contains`
    case KEYWORD_MIN_CONTAINS:
    case KEYWORD_DEFS:
    case KEYWORD_COUNT:
        break;
    }
    return true;
}

static bool eval_rules(Run *run, const Node *node, const Value *value, const Place *place,
                       Seen *seen)
{
    for (size_t i = 0; i < node->n_rules; i++) {
        if (!apply(run, node, &node->rules[i], value, place, seen) || run->broken) {
            return false;
        }
    }
    return true;
}

static bool eval(Run *run, const Node *node, const Value *value, const Place *place, Seen *seen)
{
    if (run->broken || !run_charge(run, 1)) {
        return false;
    }
    if (node->schema->kind == VALUE_BOOL) {
        return node->schema->as.boolean || FAIL(run, place, "is not allowed here");
    }
    if (run->depth == SCHEMA_RUN_DEPTH_MAX) {
        return run_break(run, "it leads in a circle, or deeper than 1000 schemas");
    }
    run->depth++;
    bool enters = run->n_scopes == 0 || run->scopes[run->n_scopes - 1] != node->resource;
    if (enters) {
        run->scopes[run->n_scopes++] = node->resource;
    }
    bool ok;
    if (seen == NULL && !node->watches) {
        ok = eval_rules(run, node, value, place, NULL);
    } else {
        Arena *scratch = &run->schema->scratch;
        ArenaMark mark = arena_mark(scratch);
        Seen own = {.n = json_size(value)};
        own.bits = ARENA_ARRAY(scratch, uint64_t, (own.n + 63) / 64 + 1);
        ok = run_charge(run, own.n / 64) && eval_rules(run, node, value, place, &own);
        if (ok && seen != NULL) {
            seen_merge(seen, &own);
        }
        arena_rewind(scratch, mark);
    }
    run->n_scopes -= enters;
    run->depth--;
    return ok;
}

bool json_schema_check(JsonSchema *schema, const Value *value, Arena *arena, bool *out_valid,
                       Str *out_why, Err *err)
{
    Finding finding = {.text = STR_EMPTY};
    Place whole = {0};
    Run *run = mem_zalloc(1, sizeof(*run));
    *run = (Run){.schema = schema, .arena = arena, .finding = &finding, .err = err};
    schema->steps = 0;
    bool ok = eval(run, schema->root, value, &whole, NULL);
    bool broken = run->broken;
    if (!broken && schema->steps > schema->max_steps) { // spent where nobody looked
        broken = true;
        run_break(run, "checking the value takes too long");
    }
    mem_free(run);
    arena_reset(&schema->scratch);
    if (broken) {
        return false;
    }
    *out_valid = ok;
    *out_why = ok ? STR_EMPTY : finding.text;
    return true;
}
