// SPDX-License-Identifier: MIT
// What a solver or grader file declares, and the params of an eval checked against it. A default
// gives its param's type; one_of, required and template say more.
#include "script/script_internal.h"

#include <math.h>
#include <string.h>

static const char *const unit_words[] = {"template", "helpers", "solver",
                                         "grader",   "grader",  "metric"};

bool words_have(const char *const *words, Str word)
{
    for (; *words != NULL; words++) {
        if (str_eq_c(word, *words)) {
            return true;
        }
    }
    return false;
}

Str words_hint(Arena *arena, Str word, const char *const *words)
{
    size_t n = 0;
    while (words[n] != NULL) {
        n++;
    }
    Str *known = ARENA_ARRAY(arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        known[i] = str_from_c(words[i]);
    }
    size_t near = str_nearest(word, known, n);
    return near == STR_NONE ? STR_EMPTY : str_printf(arena, " (did you mean '%s'?)", words[near]);
}

// ---- Reading a unit's table ---------------------------------------------------------------------

static Str field_text(lua_State *L, int index, const char *name, Arena *arena, Str otherwise)
{
    int type = lua_getfield(L, index, name);
    if (type != LUA_TNIL && type != LUA_TSTRING) {
        luaL_error(L, "%s must be text", name);
    }
    Str s = type == LUA_TNIL ? otherwise : str_copy(arena, vm_str(L, -1));
    lua_pop(L, 1);
    return s;
}

/** The list of texts at the top (pops it); nil is an empty one. */
static const Str *read_texts(lua_State *L, const char *name, const char *const *allowed,
                             Arena *arena, size_t *out_n)
{
    *out_n = 0;
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return NULL;
    }
    if (lua_type(L, -1) != LUA_TTABLE || lua_rawlen(L, -1) > 16) {
        luaL_error(L, "%s must be a list of texts", name);
    }
    size_t n = (size_t)lua_rawlen(L, -1);
    Str *texts = ARENA_ARRAY(arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        texts[i] = vm_to_text(L, -1, arena, name);
        lua_pop(L, 1);
        if (allowed != NULL && !words_have(allowed, texts[i])) {
            Str hint = words_hint(arena, texts[i], allowed);
            luaL_error(L, "%s: unknown word '%s'%s", name, texts[i].data, hint.data);
        }
    }
    lua_pop(L, 1);
    *out_n = n;
    return texts;
}

static const Str *field_texts(lua_State *L, int index, const char *name, const char *const *allowed,
                              Arena *arena, size_t *out_n)
{
    lua_getfield(L, index, name);
    return read_texts(L, name, allowed, arena, out_n);
}

static const char *type_of_value(const Value *value)
{
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
        return "any";
    case VALUE_BOOL:
        return "boolean";
    case VALUE_INT:
    case VALUE_REAL:
        return "number";
    case VALUE_STR:
        return "text";
    case VALUE_LIST:
        return "list";
    case VALUE_MAP:
        return "map";
    }
    return "any";
}

static void read_one_of(lua_State *L, int index, Arena *arena, UnitParam *out)
{
    lua_getfield(L, index, "values");
    size_t n = (size_t)lua_rawlen(L, -1);
    if (n == 0) {
        luaL_error(L, "one_of{} needs values");
    }
    Str *words = ARENA_ARRAY(arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        words[i] = vm_to_text(L, -1, arena, "one_of");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    out->one_of = words;
    out->n_one_of = n;
    out->otherwise = value_str(words[0]);
}

/** required("text") or optional("text"), which is null when it is not given. */
static void read_typed(lua_State *L, int index, Arena *arena, UnitParam *out)
{
    static const char *const types[] = {"text", "number",   "boolean",   "list",
                                        "map",  "template", "templates", "any"};
    out->type = field_text(L, index, "type", arena, STR_EMPTY);
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        if (str_eq_c(out->type, types[i])) {
            return;
        }
    }
    luaL_error(L, "%s(\"%s\"): no such type", out->required ? "required" : "optional",
               out->type.data);
}

/** The declaration at the top of the stack. */
static void read_param(lua_State *L, Arena *arena, UnitParam *out)
{
    int index = lua_gettop(L);
    bool declared = false;
    if (lua_type(L, index) == LUA_TTABLE && lua_getmetatable(L, index)) {
        vm_push_slot(L, SLOT_DECLARED);
        declared = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (!declared) {
        out->otherwise = vm_to_value(L, index, arena);
        out->type = str_from_c(type_of_value(&out->otherwise));
        return;
    }
    Str how = field_text(L, index, "declares", arena, STR_EMPTY);
    if (str_eq(how, STR("one_of"))) {
        out->type = STR("one_of");
        read_one_of(L, index, arena, out);
    } else if (str_eq(how, STR("template"))) {
        out->type = STR("template");
        out->otherwise = value_str(field_text(L, index, "text", arena, STR_EMPTY));
    } else {
        out->required = str_eq(how, STR("required"));
        read_typed(L, index, arena, out);
    }
}

static void read_params(lua_State *L, int index, Arena *arena, UnitInfo *out)
{
    if (lua_getfield(L, index, "params") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    if (lua_type(L, -1) != LUA_TTABLE) {
        luaL_error(L, "params must be a table");
    }
    int params = lua_gettop(L);
    size_t n = vm_push_keys(L, params);
    UnitParam *list = ARENA_ARRAY(arena, UnitParam, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, params + 1, (lua_Integer)i + 1);
        list[i].name = vm_to_text(L, -1, arena, "a param's name");
        lua_rawget(L, params);
        read_param(L, arena, &list[i]);
        lua_pop(L, 1);
    }
    lua_settop(L, params - 1);
    out->params = list;
    out->n_params = n;
}

static void read_range(lua_State *L, int index, UnitKind kind, UnitInfo *out)
{
    out->range_low = kind == UNIT_METRIC ? -(double)INFINITY : 0;
    out->range_high = kind == UNIT_METRIC ? (double)INFINITY : 1;
    if (lua_getfield(L, index, "range") == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        if (!lua_isnumber(L, -1) || !lua_isnumber(L, -2) ||
            !(lua_tonumber(L, -2) < lua_tonumber(L, -1))) {
            luaL_error(L, "range must be {low, high}");
        }
        out->range_low = lua_tonumber(L, -2);
        out->range_high = lua_tonumber(L, -1);
        lua_pop(L, 2);
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L, "range must be {low, high}");
    }
    lua_pop(L, 1);
}

static const char *const needs_words[] = {"choices", "target",  "tool_calls", "logprobs",
                                          "loglik",  "sandbox", NULL};
static const char *const gives_words[] = {"loglik", "tool_calls", NULL};

/** A list of texts that may be a function of the params: called with those at `params`, if any. */
static const Str *texts_for(lua_State *L, int index, const char *name, int params,
                            const char *const *allowed, Arena *arena, size_t *out_n)
{
    if (lua_getfield(L, index, name) == LUA_TFUNCTION) {
        if (params == 0) {
            lua_pop(L, 1);
            *out_n = 0;
            return NULL;
        }
        lua_pushvalue(L, params);
        lua_call(L, 1, 1);
    }
    return read_texts(L, name, allowed, arena, out_n);
}

static void read_lists(lua_State *L, int index, int params, Arena *arena, UnitInfo *out)
{
    out->needs = texts_for(L, index, "needs", params, needs_words, arena, &out->n_needs);
    out->gives = texts_for(L, index, "gives", params, gives_words, arena, &out->n_gives);
    out->roles = texts_for(L, index, "roles", params, NULL, arena, &out->n_roles);
}

void unit_read_for(lua_State *L, int index, int params, Arena *arena, UnitInfo *out)
{
    read_lists(L, lua_absindex(L, index), lua_absindex(L, params), arena, out);
}

static void read_effects(lua_State *L, int index, UnitKind kind, Arena *arena, UnitInfo *out)
{
    static const char *const words[] = {"generate", "loglik", "exec", "grade", NULL};
    static const Str solver_default[] = {{"generate", 8}, {"loglik", 6}};
    out->effects = field_texts(L, index, "effects", words, arena, &out->n_effects);
    if (kind == UNIT_SOLVER && out->effects == NULL) {
        out->effects = solver_default;
        out->n_effects = 2;
    }
}

static const char *unit_call_name(UnitKind kind)
{
    return kind == UNIT_SOLVER ? "solve" : kind == UNIT_METRIC ? "metric" : "grade";
}

/** A key that nothing reads is a declaration that does not hold. */
static void check_unit_keys(lua_State *L, int index, UnitKind kind, Arena *arena)
{
    static const char *const solver[] = {"name",  "version",     "description", "params",
                                         "needs", "sees_target", "gives",       "effects",
                                         "roles", "solve",       "examples",    NULL};
    static const char *const grader[] = {"name",    "version", "description", "params",   "needs",
                                         "effects", "role",    "roles",       "after",    "uses",
                                         "range",   "better",  "grade",       "examples", NULL};
    static const char *const metric[] = {"name",   "version", "description", "params", "range",
                                         "better", "metric",  "examples",    NULL};
    const char *const *words = kind == UNIT_SOLVER ? solver : kind == UNIT_METRIC ? metric : grader;
    size_t n = vm_push_keys(L, index);
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        Str key = vm_to_text(L, -1, arena, "a key");
        if (!words_have(words, key)) {
            Str hint = words_hint(arena, key, words);
            luaL_error(L, "a %s has no '%s'%s", unit_words[kind], key.data, hint.data);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void unit_read(lua_State *L, int index, UnitKind kind, Arena *arena, UnitInfo *out)
{
    index = lua_absindex(L, index);
    if (lua_type(L, index) != LUA_TTABLE) {
        luaL_error(L, "a %s file must return a table", unit_words[kind]);
    }
    *out = (UnitInfo){.version = 1, .range_low = 0, .range_high = 1};
    out->name = field_text(L, index, "name", arena, STR_EMPTY);
    out->description = field_text(L, index, "description", arena, STR_EMPTY);
    out->after = field_text(L, index, "after", arena, STR_EMPTY);
    out->uses = field_text(L, index, "uses", arena, STR_EMPTY);
    out->role = field_text(L, index, "role", arena, STR_EMPTY);
    if (lua_getfield(L, index, "version") == LUA_TNUMBER && lua_isinteger(L, -1)) {
        out->version = lua_tointeger(L, -1);
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L, "version must be an integer");
    }
    lua_getfield(L, index, "sees_target");
    out->sees_target = kind == UNIT_GRADER || lua_toboolean(L, -1);
    lua_pop(L, 2);
    read_params(L, index, arena, out);
    read_lists(L, index, 0, arena, out);
    read_effects(L, index, kind, arena, out);
    read_range(L, index, kind, out);
    Str better = field_text(L, index, "better", arena, STR("higher"));
    if (!str_eq(better, STR("higher")) && !str_eq(better, STR("lower"))) {
        luaL_error(L, "better must be \"higher\" or \"lower\"");
    }
    out->lower_is_better = str_eq(better, STR("lower"));
    if (lua_getfield(L, index, "examples") == LUA_TTABLE) {
        out->n_examples = (size_t)lua_rawlen(L, -1);
    }
    const char *call = unit_call_name(kind);
    if (lua_getfield(L, index, call) != LUA_TFUNCTION) {
        luaL_error(L, "a %s needs a function '%s'", unit_words[kind], call);
    }
    lua_pop(L, 2);
    check_unit_keys(L, index, kind, arena);
}

// ---- Params of an eval --------------------------------------------------------------------------

bool unit_err(UnitKind kind, Str name, const Value *at, Str what, Err *err)
{
    if (at != NULL && at->line > 0) {
        return ERR_SET(err, ERR_CONFIG, "%s '" STR_FMT "', line %u, column %u: " STR_FMT,
                       unit_words[kind], STR_ARG(name), at->line, at->col, STR_ARG(what));
    }
    return ERR_SET(err, ERR_CONFIG, "%s '" STR_FMT "': " STR_FMT, unit_words[kind], STR_ARG(name),
                   STR_ARG(what));
}

static bool fits_type(const UnitParam *param, const Value *value)
{
    if (str_eq(param->type, STR("any"))) {
        return true;
    }
    if (str_eq(param->type, STR("templates"))) {
        return value->kind == VALUE_STR || value->kind == VALUE_LIST || value->kind == VALUE_MAP;
    }
    if (str_eq(param->type, STR("template")) || str_eq(param->type, STR("one_of"))) {
        return value->kind == VALUE_STR;
    }
    return str_eq_c(param->type, type_of_value(value)) && value->kind != VALUE_NULL;
}

static bool check_one_of(const UnitInfo *info, UnitKind kind, const UnitParam *param,
                         const Value *value, Arena *arena, Err *err)
{
    for (size_t i = 0; i < param->n_one_of; i++) {
        if (str_eq(param->one_of[i], value->as.str)) {
            return true;
        }
    }
    size_t near = str_nearest(value->as.str, param->one_of, param->n_one_of);
    Buf words = {0};
    for (size_t i = 0; i < param->n_one_of; i++) {
        buf_printf(&words, "%s" STR_FMT, i == 0 ? "" : " | ", STR_ARG(param->one_of[i]));
    }
    Str what =
        near == STR_NONE
            ? str_printf(arena, "param '" STR_FMT "' is one of " STR_FMT ", not '" STR_FMT "'",
                         STR_ARG(param->name), STR_ARG(buf_view(&words)), STR_ARG(value->as.str))
            : str_printf(arena,
                         "param '" STR_FMT "' is one of " STR_FMT ", not '" STR_FMT
                         "' (did you mean '" STR_FMT "'?)",
                         STR_ARG(param->name), STR_ARG(buf_view(&words)), STR_ARG(value->as.str),
                         STR_ARG(param->one_of[near]));
    buf_finish(&words);
    return unit_err(kind, info->name, value, what, err);
}

static const char *type_word(const UnitParam *param)
{
    return str_eq(param->type, STR("templates")) ? "a template, a list or a map" : param->type.data;
}

static bool check_param(const UnitInfo *info, UnitKind kind, const ValuePair *pair, Arena *arena,
                        Err *err)
{
    Str *names = ARENA_ARRAY(arena, Str, info->n_params);
    for (size_t i = 0; i < info->n_params; i++) {
        const UnitParam *param = &info->params[i];
        names[i] = param->name;
        if (!str_eq(param->name, pair->key)) {
            continue;
        }
        if (!fits_type(param, &pair->value)) {
            bool is_text =
                str_eq(param->type, STR("one_of")) || str_eq(param->type, STR("template"));
            return unit_err(kind, info->name, &pair->value,
                            str_printf(arena, "param '" STR_FMT "' is %s, not %s",
                                       STR_ARG(pair->key), is_text ? "text" : type_word(param),
                                       value_kind_word(&pair->value)),
                            err);
        }
        return !str_eq(param->type, STR("one_of")) ||
               check_one_of(info, kind, param, &pair->value, arena, err);
    }
    size_t near = str_nearest(pair->key, names, info->n_params);
    Str what = near == STR_NONE
                   ? str_printf(arena, "unknown param '" STR_FMT "'", STR_ARG(pair->key))
                   : str_printf(arena, "unknown param '" STR_FMT "' (did you mean '" STR_FMT "'?)",
                                STR_ARG(pair->key), STR_ARG(names[near]));
    return unit_err(kind, info->name, &pair->value, what, err);
}

bool params_check(const UnitInfo *info, UnitKind kind, const Value *given, Arena *arena, Err *err)
{
    for (size_t i = 0; given->kind == VALUE_MAP && i < given->as.map.n; i++) {
        if (!check_param(info, kind, &given->as.map.pairs[i], arena, err)) {
            return false;
        }
    }
    return true;
}

bool params_resolve(const UnitInfo *info, UnitKind kind, const Value *given, Arena *arena,
                    Value *out, Err *err)
{
    if (!params_check(info, kind, given, arena, err)) {
        return false;
    }
    MapBuilder builder;
    map_builder_init(&builder, arena);
    for (size_t i = 0; i < info->n_params; i++) {
        const UnitParam *param = &info->params[i];
        const Value *value = value_get(given, param->name);
        if (value == NULL && param->required) {
            return unit_err(
                kind, info->name, NULL,
                str_printf(arena, "param '" STR_FMT "' is required", STR_ARG(param->name)), err);
        }
        map_builder_put(&builder, param->name,
                        value == NULL ? param->otherwise : value_copy(arena, value));
    }
    *out = map_builder_done(&builder);
    return true;
}
