// SPDX-License-Identifier: MIT
// Library graders: those that run only where another grader calls ctx.grade. Their files are loaded
// when they are first used in a call, from code that this process dumped, so that a program that
// knows them all pays for none of them; those that a literal list of checks names are part of the
// image.
#include "script/script_internal.h"

// ---- Loading ------------------------------------------------------------------------------------

static int write_code(lua_State *L, const void *data, size_t len, void *context)
{
    (void)L;
    buf_append(context, data, len);
    return 0;
}

static void push_chunk(lua_State *L, Unit *unit)
{
    const ScriptUnit *source = &unit->source;
    if (unit->code.len > 0) {
        vm_charge(L, unit->code.len / 64);
        Str name = str_printf(&vm_of(L)->scratch, "@" STR_FMT, STR_ARG(source->file));
        vm_load_code(L, buf_view(&unit->code), name.data, false);
        return;
    }
    vm_load(L, source->text, source->file, source->name, false);
    if (lua_dump(L, write_code, &unit->code, 0) != 0) {
        luaL_error(L, "can not dump '%s'", source->name.data);
    }
}

void library_load(lua_State *L, Program *program, size_t number)
{
    Unit *unit = &program->units[number];
    int top = lua_gettop(L);
    unit_push(L, number, UNIT_SLOT_CALL);
    if (!lua_isnil(L, -1)) {
        lua_settop(L, top);
        return;
    }
    push_chunk(L, unit);
    lua_call(L, 0, 1);
    int table = lua_gettop(L);
    if (!unit->was_read) {
        unit_read(L, table, UNIT_GRADER, &program->arena, &unit->info);
        unit->info.name = unit->source.name;
        unit_flags(unit);
        unit->was_read = true;
    }
    luaL_checktype(L, table, LUA_TTABLE);
    lua_getfield(L, table, "grade");
    vm_set_slot(L, unit_slot(number, UNIT_SLOT_CALL));
    lua_pushnil(L);
    lua_setfield(L, table, "examples");
    lua_pushvalue(L, table);
    vm_set_slot(L, unit_slot(number, UNIT_SLOT_FILE));
    lua_settop(L, top);
}

Str library_unknown(const Program *program, Str name, Arena *arena)
{
    Str *names = ARENA_ARRAY(arena, Str, program->n_units);
    size_t n = 0;
    for (size_t i = 0; i < program->n_units; i++) {
        if (program->units[i].source.kind == UNIT_LIBRARY) {
            names[n++] = program->units[i].source.name;
        }
    }
    size_t near = str_nearest(name, names, n);
    if (name.len == 0) {
        return STR("a check needs use: NAME");
    }
    if (near == STR_NONE) {
        return str_printf(arena, "no grader '" STR_FMT "'", STR_ARG(name));
    }
    return str_printf(arena, "no grader '" STR_FMT "' (did you mean '" STR_FMT "'?)", STR_ARG(name),
                      STR_ARG(names[near]));
}

// ---- Params -------------------------------------------------------------------------------------

bool library_common_key(Str key)
{
    static const char *const keys[] = {"use",    "name", "weight", "not",
                                       "answer", "role", "target", "params"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        if (str_eq_c(key, keys[i])) {
            return true;
        }
    }
    return false;
}

/** Copy the members of the table at `from`, rendered, to the one at `to` and as values. */
static void collect(lua_State *L, int from, int to, int vars, bool skip_common, Arena *arena,
                    MapBuilder *out)
{
    size_t n = vm_push_keys(L, from);
    int keys = lua_gettop(L);
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, keys, (lua_Integer)i);
        Str key = vm_to_text(L, -1, arena, "a param's name");
        if (skip_common && library_common_key(key)) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushvalue(L, -1);
        lua_rawget(L, from);
        if (deferred_render(L, -1, vars)) {
            lua_replace(L, -2);
        }
        map_builder_put(out, key, vm_to_value(L, -1, arena));
        lua_rawset(L, to);
    }
    lua_settop(L, keys - 1);
}

/** A declared param that was not given. */
static void push_default(lua_State *L, const UnitParam *param, int vars)
{
    const Value *value = &param->otherwise;
    if (!str_eq(param->type, STR("template")) || value->kind != VALUE_STR ||
        !text_is_template(value->as.str)) {
        vm_push_value(L, value);
        return;
    }
    template_push_late(L, value->as.str, param->name);
    lua_pushvalue(L, vars);
    lua_call(L, 1, 1);
}

void library_params(lua_State *L, const Unit *unit, int given, int vars, Arena *arena)
{
    const UnitInfo *info = &unit->info;
    lua_newtable(L);
    int to = lua_gettop(L);
    MapBuilder builder;
    map_builder_init(&builder, arena);
    collect(L, given, to, vars, true, arena, &builder);
    lua_pushliteral(L, "params");
    if (lua_rawget(L, given) == LUA_TTABLE) {
        collect(L, lua_gettop(L), to, vars, false, arena, &builder);
    } else if (!lua_isnil(L, -1) && !vm_is_null(L, -1)) {
        luaL_error(L, "params must be a table");
    }
    lua_settop(L, to);
    Value map = map_builder_done(&builder);
    Value resolved;
    Err err = ERR_INIT;
    if (!params_resolve(info, UNIT_GRADER, &map, arena, &resolved, &err)) {
        luaL_error(L, "%s", err.message);
    }
    for (size_t i = 0; i < info->n_params; i++) {
        if (value_get(&map, info->params[i].name) == NULL) {
            vm_push_str(L, info->params[i].name);
            push_default(L, &info->params[i], vars);
            lua_rawset(L, to);
        }
    }
}

// ---- Literal lists ------------------------------------------------------------------------------

typedef struct Loading {
    Program *program;
    size_t number;
} Loading;

static int load_body(lua_State *L)
{
    Loading *loading = lua_touserdata(L, 1);
    library_load(L, loading->program, loading->number);
    return 0;
}

static bool check_item(Script *script, Program *program, const Unit *unit, const Value *item,
                       Err *err)
{
    Arena *arena = &program->arena;
    Str use = value_get_str(item, "use", STR_EMPTY);
    size_t number = program_find(program, UNIT_LIBRARY, use);
    if (use.len == 0 || number == STR_NONE) {
        return unit_err(UNIT_GRADER, unit->source.name, item, library_unknown(program, use, arena),
                        err);
    }
    Vm *vm = script_vm(script);
    Loading loading = {.program = program, .number = number};
    vm_budget_start(vm);
    if (!vm_run(vm, load_body, &loading, NULL, err)) {
        return false;
    }
    MapBuilder builder;
    map_builder_init(&builder, arena);
    const Value *params = value_get_c(item, "params");
    const Value *maps[] = {item, params != NULL && params->kind == VALUE_MAP ? params : NULL};
    for (size_t m = 0; m < 2; m++) {
        for (size_t i = 0; maps[m] != NULL && i < maps[m]->as.map.n; i++) {
            const ValuePair *pair = &maps[m]->as.map.pairs[i];
            // What a template gives is known, and checked, when it runs.
            bool later = pair->value.kind == VALUE_STR && text_is_template(pair->value.as.str);
            if (!(m == 0 && library_common_key(pair->key)) && !later) {
                map_builder_put(&builder, pair->key, pair->value);
            }
        }
    }
    Value map = map_builder_done(&builder);
    if (!params_check(&program->units[number].info, UNIT_GRADER, &map, arena, err)) {
        return ERR_WRAP(err, "grader '" STR_FMT "'", STR_ARG(unit->source.name));
    }
    return true;
}

bool library_check_uses(Script *script, Program *program, const Unit *unit, Err *err)
{
    const Value *list = value_get(&unit->params, unit->info.uses);
    if (unit->info.uses.len == 0 || list == NULL || list->kind != VALUE_LIST) {
        return true;
    }
    for (size_t i = 0; i < list->as.list.n; i++) {
        const Value *item = &list->as.list.items[i];
        if (item->kind != VALUE_MAP) {
            return unit_err(UNIT_GRADER, unit->source.name, item,
                            STR("a check is a map with use: NAME"), err);
        }
        if (!check_item(script, program, unit, item, err)) {
            return false;
        }
    }
    return true;
}
