// SPDX-License-Identifier: MIT
// The eval format as a JSON schema (draft 2020-12), for editors: made from the key tables that
// `muster check` holds files against, and from what the compiled-in solvers and graders declare.
// It says less than check does: templates, rows and what names something else are check's alone.
#include "registry/registry_internal.h"

#include <string.h>

#define TABLES_MAX 64
#define NAME_RULE  "^[A-Za-z0-9][A-Za-z0-9._-]*$"
#define IDENT_RULE "^[A-Za-z_][A-Za-z0-9_]*$"

/** A schema under construction. */
typedef struct Making {
    Script *script;
    Arena *arena;
    const KeyTable *tables[TABLES_MAX]; // that stand in $defs
    size_t n_tables;
} Making;

static void put(MapBuilder *map, const char *key, Value value)
{
    map_builder_put(map, str_from_c(key), value);
}

static void put_text(MapBuilder *map, const char *key, const char *text)
{
    put(map, key, value_str(str_from_c(text)));
}

static MapBuilder new_map(const Making *making)
{
    MapBuilder map;
    map_builder_init(&map, making->arena);
    return map;
}

/** {key: value} */
static Value one(const Making *making, const char *key, Value value)
{
    MapBuilder map = new_map(making);
    put(&map, key, value);
    return map_builder_done(&map);
}

static Value texts_value(const Making *making, const Str *texts, size_t n)
{
    Value *items = ARENA_ARRAY(making->arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        items[i] = value_str(texts[i]);
    }
    return value_list(items, n);
}

static Value words_value(const Making *making, const char *const *words)
{
    Str texts[64];
    size_t n = 0;
    for (; words[n] != NULL && n < 64; n++) {
        texts[n] = str_from_c(words[n]);
    }
    return texts_value(making, texts, n);
}

// ---- Keys that exclude or need each other ------------------------------------------------------

/** What stands in no row of a table: of these keys there is exactly one, or at most one. */
static const struct {
    const char *table;
    bool exactly;
    const char *keys[4];
} choices_of_keys[] = {
    {"dataset", true, {"use", "path", "rows", NULL}},
    {"eval", false, {"prompt", "messages", NULL}},
    {"variant", false, {"prompt", "messages", NULL}},
    {"answer", false, {"after", "regex", NULL}},
};

static Value required(const Making *making, const char *key)
{
    Str name = str_from_c(key);
    return one(making, "required", texts_value(making, &name, 1));
}

static void put_choices(const Making *making, Str table, MapBuilder *out)
{
    for (size_t i = 0; i < sizeof(choices_of_keys) / sizeof(choices_of_keys[0]); i++) {
        if (!str_eq_c(table, choices_of_keys[i].table)) {
            continue;
        }
        const char *const *keys = choices_of_keys[i].keys;
        Value *items = ARENA_ARRAY(making->arena, Value, 4);
        size_t n = 0;
        for (; keys[n] != NULL; n++) {
            items[n] = required(making, keys[n]);
        }
        if (choices_of_keys[i].exactly) {
            put(out, "oneOf", value_list(items, n));
        } else {
            put(out, "not", one(making, "required", words_value(making, keys)));
        }
    }
}

// ---- Rows and tables ---------------------------------------------------------------------------

/** "'sample'" is sample, "a variant (it may ...)" is variant, "an eval file" is eval. */
static Str table_name(const KeyTable *table)
{
    Str what = str_from_c(table->what), rest;
    if (str_starts_with(what, STR("'"))) {
        what = str_slice(what, 1, what.len);
        str_cut(what, STR("'"), &what, &rest);
        return what;
    }
    str_cut(what, STR(" "), &rest, &what);
    str_cut(what, STR(" "), &what, &rest);
    return what;
}

/** The reference to a table, which gets its place in $defs. */
static Value table_ref(Making *making, const KeyTable *table)
{
    size_t i = 0;
    while (i < making->n_tables && making->tables[i] != table) {
        i++;
    }
    if (i == making->n_tables && i < TABLES_MAX) {
        making->tables[making->n_tables++] = table;
    }
    return value_str(str_printf(making->arena, "#/$defs/" STR_FMT, STR_ARG(table_name(table))));
}

static void put_types(const Making *making, unsigned accepts, MapBuilder *out)
{
    static const struct {
        unsigned bit;
        const char *type;
    } types[] = {
        {ACCEPT_TEXT, "string"},  {ACCEPT_INT, "integer"}, {ACCEPT_NUMBER, "number"},
        {ACCEPT_BOOL, "boolean"}, {ACCEPT_LIST, "array"},  {ACCEPT_MAP, "object"},
        {ACCEPT_NULL, "null"},
    };
    Str names[8];
    size_t n = 0;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if ((accepts & types[i].bit) != 0) {
            names[n++] = str_from_c(types[i].type);
        }
    }
    if (accepts != ACCEPT_ANY) {
        put(out, "type", n == 1 ? value_str(names[0]) : texts_value(making, names, n));
    }
}

/** Keywords hold for values of their own type only, so that several types need no alternatives. */
static void put_text_rules(const Making *making, const KeyRow *row, MapBuilder *out)
{
    bool text = (row->accepts & ACCEPT_TEXT) != 0 || row->accepts == 0;
    if (text && (row->flags & KEY_NAME) != 0) {
        put_text(out, "pattern", NAME_RULE);
    } else if (text && (row->flags & KEY_IDENT) != 0) {
        put_text(out, "pattern", IDENT_RULE);
    } else if (text && (row->flags & KEY_SHA256) != 0) {
        put_text(out, "pattern", "^[0-9a-fA-F]{64}$");
    } else if (text && (row->flags & KEY_FILLED) != 0) {
        put(out, "minLength", value_int(1));
    }
    if (row->words != NULL) {
        put(out, "enum", words_value(making, row->words));
    }
}

static Value number_value(double d)
{
    return d == (double)(int64_t)d && d < 1e15 && d > -1e15 ? value_int((int64_t)d) : value_real(d);
}

static Value row_schema(Making *making, const KeyRow *row, bool with_help)
{
    MapBuilder map = new_map(making);
    bool list = (row->accepts & ACCEPT_LIST) != 0, filled = (row->flags & KEY_FILLED) != 0;
    bool is_map = (row->accepts & ACCEPT_MAP) != 0 && row->accepts != ACCEPT_ANY;
    if (with_help && row->help != NULL) {
        put_text(&map, "description", row->help);
    }
    if (row->accepts != 0) {
        put_types(making, row->accepts, &map);
    }
    put_text_rules(making, row, &map);
    if (row->min < row->max) {
        put(&map, "minimum", number_value(row->min));
        if (row->max < 1e6) {
            put(&map, "maximum", number_value(row->max));
        }
    }
    if (list && row->accepts != ACCEPT_ANY) {
        if (filled) {
            put(&map, "minItems", value_int(1));
        }
        if (row->each != NULL) {
            put(&map, "items", row_schema(making, row->each, false));
        }
    }
    if (is_map && row->map == NULL) {
        if (filled) {
            put(&map, "minProperties", value_int(1));
        }
        if (row->each != NULL) {
            put(&map, "additionalProperties", row_schema(making, row->each, false));
        }
        if (row->key != NULL) {
            put(&map, "propertyNames", row_schema(making, row->key, false));
        }
    }
    if (is_map && row->map != NULL) {
        put(&map, "$ref", table_ref(making, row->map));
    }
    return map_builder_done(&map);
}

static void put_rows(Making *making, const KeyTable *table, MapBuilder *properties, Str *needed,
                     size_t *n_needed)
{
    for (const KeyRow *row = table->rows; row->name != NULL; row++) {
        Value value = row_schema(making, row, true);
        if (table == &keys_eval && strcmp(row->name, "schema") == 0) {
            MapBuilder version = new_map(making);
            put_text(&version, "description", row->help);
            put(&version, "const", value_int(1));
            value = map_builder_done(&version);
        }
        put(properties, row->name, value);
        if ((row->flags & KEY_REQUIRED) != 0 && *n_needed < 32) {
            needed[(*n_needed)++] = str_from_c(row->name);
        }
    }
}

// ---- Solvers, graders, metrics -----------------------------------------------------------------

static Value param_schema(const Making *making, const UnitParam *param)
{
    static const char *const types[][2] = {
        {"text", "string"},     {"template", "string"}, {"number", "number"},
        {"boolean", "boolean"}, {"list", "array"},      {"map", "object"},
    };
    MapBuilder map = new_map(making);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (str_eq_c(param->type, types[i][0])) {
            put_text(&map, "type", types[i][1]);
        }
    }
    if (param->n_one_of > 0) {
        put(&map, "enum", texts_value(making, param->one_of, param->n_one_of));
    }
    if (!param->required && param->otherwise.kind != VALUE_NULL) {
        put(&map, "default", param->otherwise);
    }
    return map_builder_done(&map);
}

/** {properties: {use: RULE}, required: [use]} */
static Value use_is(const Making *making, Value rule)
{
    Str use = STR("use");
    MapBuilder map = new_map(making);
    put(&map, "properties", one(making, "use", rule));
    put(&map, "required", texts_value(making, &use, 1));
    return map_builder_done(&map);
}

static Value if_then(const Making *making, Value condition, Value consequence)
{
    MapBuilder map = new_map(making);
    put(&map, "if", condition);
    put(&map, "then", consequence);
    return map_builder_done(&map);
}

/** A unit that this program does not know may have any param. */
static Value if_foreign(const Making *making, const Str *names, size_t n)
{
    Value known = one(making, "enum", texts_value(making, names, n));
    return if_then(making, use_is(making, one(making, "not", known)),
                   one(making, "additionalProperties", value_bool(true)));
}

static Value unit_params(const Making *making, const UnitInfo *info)
{
    MapBuilder map = new_map(making), properties = new_map(making);
    Str *needed = ARENA_ARRAY(making->arena, Str, info->n_params + 1);
    size_t n = 0;
    for (size_t i = 0; i < info->n_params; i++) {
        map_builder_put(&properties, info->params[i].name, param_schema(making, &info->params[i]));
        if (info->params[i].required) {
            needed[n++] = info->params[i].name;
        }
    }
    put(&map, "properties", map_builder_done(&properties));
    if (n > 0) {
        put(&map, "required", texts_value(making, needed, n));
    }
    return map_builder_done(&map);
}

/** The params of all compiled-in units of a kind into *out_all, their names for `use` into
 * *out_use.
 */
static bool units_schema(const Making *making, UnitKind kind, const KeyRow *use, Value *out_all,
                         Value *out_use, Err *err)
{
    size_t n = 0;
    const Str *names = script_builtin_names(kind, &n);
    Value *all = ARENA_ARRAY(making->arena, Value, n + 1);
    Value *known = ARENA_ARRAY(making->arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        UnitInfo info;
        if (!script_unit_info(making->script, kind, names[i], script_builtin(kind, names[i]),
                              making->arena, &info, err)) {
            return false;
        }
        Value is_this = one(making, "const", value_str(names[i]));
        all[i] = if_then(making, use_is(making, is_this), unit_params(making, &info));
        MapBuilder named = new_map(making);
        put(&named, "const", value_str(names[i]));
        put(&named, "description", value_str(info.description));
        known[i] = map_builder_done(&named);
    }
    all[n] = if_foreign(making, names, n);
    known[n] = one(making, "pattern", value_str(STR(NAME_RULE)));
    MapBuilder map = new_map(making);
    put_text(&map, "description", use->help);
    put_text(&map, "type", "string");
    put(&map, "anyOf", value_list(known, n + 1));
    *out_use = map_builder_done(&map);
    *out_all = value_list(all, n + 1);
    return true;
}

/** Our own metrics: which need k; another one is a Lua file. */
static Value metrics_schema(const Making *making)
{
    static const char *const of_epochs[] = {"at_least", "pass_at", "pass_all", NULL};
    Str known[64];
    size_t n = 0;
    for (; keys_metrics_known[n] != NULL && n < 64; n++) {
        known[n] = str_from_c(keys_metrics_known[n]);
    }
    Value *all = ARENA_ARRAY(making->arena, Value, 2);
    Value counts = one(making, "enum", words_value(making, of_epochs));
    all[0] = if_then(making, use_is(making, counts), required(making, "k"));
    all[1] = if_foreign(making, known, n);
    return value_list(all, 2);
}

// ---- The whole ---------------------------------------------------------------------------------

/** What a table says of a map, into *out; whoever refers to it says that it is a map. */
static bool put_table(Making *making, const KeyTable *table, MapBuilder *out, Err *err)
{
    MapBuilder properties = new_map(making);
    Str needed[32];
    size_t n_needed = 0;
    Value all = value_null(), use = value_null();
    put_rows(making, table, &properties, needed, &n_needed);
    if (table == &keys_solver) {
        put_rows(making, &keys_generation, &properties, needed, &n_needed);
    }
    bool units = table == &keys_solver || table == &keys_grader;
    UnitKind kind = table == &keys_solver ? UNIT_SOLVER : UNIT_GRADER;
    if (units && !units_schema(making, kind, keys_find(table, STR("use")), &all, &use, err)) {
        return false;
    }
    for (size_t i = 0; units && i < properties.n; i++) {
        if (str_eq_c(properties.pairs[i].key, "use")) {
            properties.pairs[i].value = use;
        }
    }
    put(out, "properties", map_builder_done(&properties));
    if (n_needed > 0) {
        put(out, "required", texts_value(making, needed, n_needed));
    }
    put_choices(making, table_name(table), out);
    if (table == &keys_metric) {
        all = metrics_schema(making);
    }
    if (all.kind == VALUE_LIST) {
        put(out, "allOf", all);
        put(out, "unevaluatedProperties", value_bool(false));
    } else if (!table->open) {
        put(out, "additionalProperties", value_bool(false));
    }
    return true;
}

bool registry_eval_schema(Script *script, Arena *arena, Value *out, Err *err)
{
    Making making = {.script = script, .arena = arena};
    MapBuilder root = new_map(&making), defs = new_map(&making);
    put_text(&root, "$schema", "https://json-schema.org/draft/2020-12/schema");
    put_text(&root, "title", "muster eval");
    put_text(
        &root, "description",
        "An eval of muster. Printed by `muster help --schema`; `muster check` finds more than a "
        "schema can say.");
    put_text(&root, "type", "object");
    if (!put_table(&making, &keys_eval, &root, err)) {
        return false;
    }
    for (size_t i = 0; i < making.n_tables; i++) { // it grows while it is read
        MapBuilder def = new_map(&making);
        if (!put_table(&making, making.tables[i], &def, err)) {
            return false;
        }
        map_builder_put(&defs, table_name(making.tables[i]), map_builder_done(&def));
    }
    put(&root, "$defs", map_builder_done(&defs));
    *out = map_builder_done(&root);
    return true;
}
