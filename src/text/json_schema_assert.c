// SPDX-License-Identifier: MIT
// What a value has to be by itself: its type, its bounds, its names; and how its faults are told.
#include "text/json_schema_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 60 // bytes of a value in a message

// ---- Faults -------------------------------------------------------------------------------------

static bool is_plain_key(Str key)
{
    for (size_t i = 0; i < key.len; i++) {
        char c = key.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9')) {
            return false;
        }
    }
    return key.len > 0;
}

/** "$.items[2].price" */
static void put_place(Buf *buf, const Place *place)
{
    if (place->up == NULL) {
        buf_char(buf, '$');
        return;
    }
    put_place(buf, place->up);
    if (place->is_index) {
        buf_printf(buf, "[%zu]", place->index);
    } else if (is_plain_key(place->key)) {
        buf_printf(buf, "." STR_FMT, STR_ARG(str_slice(place->key, 0, SHOWN_MAX)));
    } else {
        buf_char(buf, '[');
        json_write_str(buf, str_slice(place->key, 0, SHOWN_MAX));
        buf_char(buf, ']');
    }
}

static int place_depth(const Place *place)
{
    int depth = 0;
    for (; place->up != NULL; place = place->up) {
        depth++;
    }
    return depth;
}

bool run_fail(Run *run, const Place *place, const char *format, ...)
{
    Buf buf;
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    buf_init(&buf, 1 << 20);
    put_place(&buf, place);
    buf_printf(&buf, ": %s", what);
    *run->finding = (Finding){.set = true,
                              .depth = place_depth(place),
                              .text = utf8_clean(run->arena, str_copy(run->arena, buf_view(&buf)))};
    buf_finish(&buf);
    return false;
}

bool run_break(Run *run, const char *what)
{
    if (!run->broken) {
        run->broken = true;
        ERR_SET(run->err, ERR_LIMIT, "JSON schema: %s", what);
    }
    return false;
}

bool run_charge(Run *run, uint64_t steps)
{
    if (schema_charge(run->schema, steps)) {
        return true;
    }
    return run_break(run, "checking the value takes too long");
}

Shown json_show(const Value *value)
{
    Shown out;
    Buf buf;
    buf_init(&buf, SHOWN_MAX * 4);
    if (value->kind == VALUE_LIST) {
        buf_printf(&buf, "a list of %zu", value->as.list.n);
    } else if (value->kind == VALUE_MAP) {
        buf_printf(&buf, "a map of %zu", value->as.map.n);
    } else if (value->kind == VALUE_STR) {
        json_write_str(&buf, str_slice(value->as.str, 0, SHOWN_MAX));
    } else {
        json_write(&buf, value, JSON_COMPACT);
    }
    snprintf(out.text, sizeof(out.text), "%.*s%s", (int)(buf.len < SHOWN_MAX ? buf.len : SHOWN_MAX),
             buf.data, buf.len > SHOWN_MAX ? "..." : "");
    buf_finish(&buf);
    return out;
}

size_t json_size(const Value *value)
{
    return value->kind == VALUE_LIST  ? value->as.list.n
           : value->kind == VALUE_MAP ? value->as.map.n
                                      : 0;
}

size_t json_member(const Value *value, Str name)
{
    for (size_t i = 0; i < value->as.map.n; i++) {
        if (str_eq(value->as.map.pairs[i].key, name)) {
            return i;
        }
    }
    return STR_NONE;
}

// ---- Values by themselves -----------------------------------------------------------------------

static bool has_type(const Value *value, Str type)
{
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
        return str_eq(type, STR("null"));
    case VALUE_BOOL:
        return str_eq(type, STR("boolean"));
    case VALUE_INT:
    case VALUE_REAL:
        return str_eq(type, STR("number")) ||
               (str_eq(type, STR("integer")) && json_is_integer(value));
    case VALUE_STR:
        return str_eq(type, STR("string"));
    case VALUE_LIST:
        return str_eq(type, STR("array"));
    case VALUE_MAP:
        return str_eq(type, STR("object"));
    }
    return false;
}

static bool apply_type(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    const Value *types = rule->value;
    if (types->kind == VALUE_STR) {
        return has_type(value, types->as.str) ||
               FAIL(run, place, "%s is not of type " STR_FMT, json_show(value).text,
                    STR_ARG(types->as.str));
    }
    char names[128] = "";
    size_t n = 0;
    for (size_t i = 0; i < types->as.list.n; i++) {
        Str type = types->as.list.items[i].as.str;
        if (has_type(value, type)) {
            return true;
        }
        if (n < sizeof(names)) {
            n += (size_t)snprintf(names + n, sizeof(names) - n, "%s" STR_FMT, i > 0 ? ", " : "",
                                  STR_ARG(type));
        }
    }
    return FAIL(run, place, "%s is of none of the types %s", json_show(value).text, names);
}

static bool apply_enum(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    const ValueList *list = &rule->value->as.list;
    for (size_t i = 0; i < list->n; i++) {
        if (json_equal(run->schema, &list->items[i], value)) {
            return run_charge(run, 1);
        }
    }
    Buf buf;
    buf_init(&buf, 1 << 16);
    for (size_t i = 0; run->finding != NULL && i < list->n && i < 8; i++) {
        buf_printf(&buf, "%s%s", i > 0 ? ", " : "", json_show(&list->items[i]).text);
    }
    FAIL(run, place, "%s is none of %.*s%s", json_show(value).text,
         (int)(buf.len < 300 ? buf.len : 300), buf.len > 0 ? buf.data : "",
         list->n > 8 || buf.len > 300 ? ", ..." : "");
    buf_finish(&buf);
    return false;
}

/** A limit of a number: minimum and its kin. */
static bool apply_bound(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    if (!json_is_number(value)) {
        return true;
    }
    int order = json_compare(value, rule->value);
    const char *fault = NULL;
    if (rule->keyword == KEYWORD_MAXIMUM && order > 0) {
        fault = "is above";
    } else if (rule->keyword == KEYWORD_EXCLUSIVE_MAXIMUM && order >= 0) {
        fault = "is not below";
    } else if (rule->keyword == KEYWORD_MINIMUM && order < 0) {
        fault = "is below";
    } else if (rule->keyword == KEYWORD_EXCLUSIVE_MINIMUM && order <= 0) {
        fault = "is not above";
    } else if (rule->keyword == KEYWORD_MULTIPLE_OF && !json_multiple_of(value, rule->value)) {
        fault = "is not a multiple of";
    }
    return fault == NULL ||
           FAIL(run, place, "%s %s %s", json_show(value).text, fault, json_show(rule->value).text);
}

/** A limit of a size: what is counted depends on the keyword. */
static bool apply_size(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    static const struct {
        Keyword least, most;
        ValueKind kind;
        const char *what;
    } sizes[] = {
        {KEYWORD_MIN_LENGTH, KEYWORD_MAX_LENGTH, VALUE_STR, "characters"},
        {KEYWORD_MIN_ITEMS, KEYWORD_MAX_ITEMS, VALUE_LIST, "items"},
        {KEYWORD_MIN_PROPERTIES, KEYWORD_MAX_PROPERTIES, VALUE_MAP, "members"},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        bool least = rule->keyword == sizes[i].least;
        if ((!least && rule->keyword != sizes[i].most) || value->kind != sizes[i].kind) {
            continue;
        }
        bool text = value->kind == VALUE_STR;
        if (!run_charge(run, text ? value->as.str.len / 64 : 0)) {
            return false;
        }
        Value size = value_int((int64_t)(text ? utf8_length(value->as.str) : json_size(value)));
        int order = json_compare(&size, rule->value);
        return (least ? order >= 0 : order <= 0) ||
               FAIL(run, place, "%lld %s are %s %s", (long long)size.as.integer, sizes[i].what,
                    least ? "fewer than" : "more than", json_show(rule->value).text);
    }
    return true;
}

bool run_matches(Run *run, Regex *regex, Str text)
{
    bool found = false;
    Err err = ERR_INIT;
    if (!utf8_is_valid(text)) {
        text = utf8_clean(&run->schema->scratch, text);
    }
    if (!regex_find(regex, text, 0, NULL, 0, &found, &err)) {
        return run_break(run, err.message);
    }
    return run_charge(run, 1 + regex_steps(regex) / 4 + text.len / 64) && found;
}

static bool apply_pattern(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    return value->kind != VALUE_STR || run_matches(run, rule->regexes[0], value->as.str) ||
           FAIL(run, place, "%s does not match the pattern %s", json_show(value).text,
                json_show(rule->value).text);
}

static bool apply_format(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    return value->kind != VALUE_STR || !run_charge(run, value->as.str.len / 16) ||
           json_format_fits(rule->value->as.str, value->as.str) ||
           FAIL(run, place, "%s has not the format %s", json_show(value).text,
                json_show(rule->value).text);
}

typedef struct Hashed {
    uint64_t hash;
    size_t index;
} Hashed;

static int compare_hashed(const void *a, const void *b)
{
    const Hashed *x = a;
    const Hashed *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

static bool apply_unique(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    if (value->kind != VALUE_LIST || !rule->value->as.boolean) {
        return true;
    }
    size_t n = value->as.list.n;
    Hashed *items = ARENA_ARRAY(&run->schema->scratch, Hashed, n + 1);
    for (size_t i = 0; i < n; i++) {
        items[i] = (Hashed){json_hash(run->schema, &value->as.list.items[i]), i};
    }
    if (!run_charge(run, n)) {
        return false;
    }
    qsort(items, n, sizeof(*items), compare_hashed);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n && items[k].hash == items[i].hash; k++) {
            const Value *a = &value->as.list.items[items[i].index];
            const Value *b = &value->as.list.items[items[k].index];
            if (json_equal(run->schema, a, b)) {
                return run_charge(run, 1) && FAIL(run, place, "items %zu and %zu are equal",
                                                  items[i].index, items[k].index);
            }
        }
    }
    return true;
}

static bool apply_required(Run *run, const Value *names, const Value *value, const Place *place,
                           Str because)
{
    for (size_t i = 0; i < names->as.list.n; i++) {
        Str name = names->as.list.items[i].as.str;
        if (!run_charge(run, 1 + value->as.map.n / 8)) {
            return false;
        }
        if (json_member(value, name) == STR_NONE) {
            return because.len == 0 ? FAIL(run, place, "has no member %s",
                                           json_show(&names->as.list.items[i]).text)
                                    : FAIL(run, place, "has a member %.*s, so it needs %s",
                                           (int)(because.len < 60 ? because.len : 60), because.data,
                                           json_show(&names->as.list.items[i]).text);
        }
    }
    return true;
}

static bool apply_dependent_required(Run *run, const Rule *rule, const Value *value,
                                     const Place *place)
{
    for (size_t i = 0; i < rule->value->as.map.n; i++) {
        const ValuePair *pair = &rule->value->as.map.pairs[i];
        if (!run_charge(run, 1 + value->as.map.n / 8)) {
            return false;
        }
        if (json_member(value, pair->key) != STR_NONE &&
            !apply_required(run, &pair->value, value, place, pair->key)) {
            return false;
        }
    }
    return true;
}

bool schema_assert(Run *run, const Rule *rule, const Value *value, const Place *place)
{
    bool map = value->kind == VALUE_MAP;
    switch ((int)rule->keyword) {
    case KEYWORD_TYPE:
        return apply_type(run, rule, value, place);
    case KEYWORD_ENUM:
        return apply_enum(run, rule, value, place);
    case KEYWORD_CONST:
        return json_equal(run->schema, rule->value, value)
                   ? run_charge(run, 1)
                   : FAIL(run, place, "%s is not %s", json_show(value).text,
                          json_show(rule->value).text);
    case KEYWORD_PATTERN:
        return apply_pattern(run, rule, value, place);
    case KEYWORD_FORMAT:
        return apply_format(run, rule, value, place);
    case KEYWORD_UNIQUE_ITEMS:
        return apply_unique(run, rule, value, place);
    case KEYWORD_REQUIRED:
        return !map || apply_required(run, rule->value, value, place, STR_EMPTY);
    case KEYWORD_DEPENDENT_REQUIRED:
        return !map || apply_dependent_required(run, rule, value, place);
    default: // bounds of numbers, then of sizes: each looks at its own
        return apply_bound(run, rule, value, place) && apply_size(run, rule, value, place);
    }
}
