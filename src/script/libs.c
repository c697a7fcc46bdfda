// SPDX-License-Identifier: MIT
// A fresh state: which libraries units see, and how source text becomes a function. Units see
// libraries through read-only tables; trusted code (the Jinja runtime, compiled templates) sees
// them directly.
#include "script/script_internal.h"

#include <string.h>

#define CHUNK_NAME_MAX 56 // Lua shortens longer ones in messages

static const char trusted_key; // registry: environment of trusted code

static int readonly_newindex(lua_State *L)
{
    return luaL_error(L, "libraries are read-only");
}

/** Replace the table at the top by a read-only view of it. */
static void make_readonly(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, readonly_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "__readonly");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

// ---- What units declare with --------------------------------------------------------------------

static int declare(lua_State *L, const char *kind, int type, const char *member)
{
    luaL_checktype(L, 1, type);
    lua_settop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, kind);
    lua_setfield(L, -2, "declares");
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, member);
    vm_push_slot(L, SLOT_DECLARED);
    lua_setmetatable(L, -2);
    return 1;
}

static int unit_one_of(lua_State *L)
{
    return declare(L, "one_of", LUA_TTABLE, "values");
}

static int unit_required(lua_State *L)
{
    return declare(L, "required", LUA_TSTRING, "type");
}

static int unit_optional(lua_State *L)
{
    return declare(L, "optional", LUA_TSTRING, "type");
}

static int unit_template(lua_State *L)
{
    return declare(L, "template", LUA_TSTRING, "text");
}

static int unit_unscored(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "unscored");
    vm_push_slot(L, SLOT_UNSCORED);
    lua_setmetatable(L, -2);
    return 1;
}

static void private_metatable(lua_State *L, int slot)
{
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    vm_set_slot(L, slot);
}

// ---- The state ----------------------------------------------------------------------------------

static int build_body(lua_State *L)
{
    static const luaL_Reg words[] = {{"one_of", unit_one_of},     {"required", unit_required},
                                     {"optional", unit_optional}, {"template", unit_template},
                                     {"unscored", unit_unscored}, {NULL, NULL}};
    static const struct {
        const char *name;
        int (*open)(lua_State *L);
    } libraries[] = {{"string", lib_string_open},
                     {"table", lib_table_open},
                     {"text", lib_text_open},
                     {"json", lib_json_open}};
    static const char *const viewed[] = {"string", "table", "text",     "json",
                                         "math",   "utf8",  "coroutine"};
    // Trusted code's table first: the real libraries and the real setmetatable.
    lua_newtable(L);
    int trusted = lua_gettop(L);
    lib_base_open(L, trusted);
    int globals = lua_gettop(L);
    luaL_setfuncs(L, words, 0);
    for (size_t i = 0; i < sizeof(libraries) / sizeof(*libraries); i++) {
        libraries[i].open(L);
        lua_setfield(L, globals, libraries[i].name);
    }
    lua_getfield(L, globals, "text");
    vm_set_slot(L, SLOT_TEXT);
    for (size_t i = 0; i < sizeof(viewed) / sizeof(*viewed); i++) {
        lua_getfield(L, globals, viewed[i]);
        lua_pushvalue(L, -1);
        lua_setfield(L, trusted, viewed[i]);
        make_readonly(L);
        lua_setfield(L, globals, viewed[i]);
    }
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, globals);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, trusted);
    lua_pushvalue(L, trusted);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &trusted_key);
    lib_value_open(L);
    vm_set_slot(L, SLOT_VALUE);
    private_metatable(L, SLOT_DECLARED);
    private_metatable(L, SLOT_UNSCORED);
    deferred_open(L);
    objects_open(L);
    effects_open(L);
    return 0;
}

static int on_panic(lua_State *L)
{
    vm_abandon(vm_of(L), L, ESCAPE_PANIC);
}

bool vm_build(Vm *vm, Err *err)
{
    vm->L = NULL;
    vm->message[0] = '\0';
    heap_init(vm);
    vm->building = false; // all of it is hot: every image has its own copy
    vm->loading = false;
    vm->cold_own = NULL;
    vm->cold_base = NULL;
    vm->collecting = true;
    vm_budget_own(vm);
    lua_State *L = lua_newstate(heap_realloc, vm);
    if (L == NULL) {
        return ERR_SET(err, ERR_BUDGET, "no memory for a Lua state");
    }
    *(Vm **)lua_getextraspace(L) = vm;
    vm->L = L;
    lua_atpanic(L, on_panic);
    lua_gc(L, LUA_GCINC, 1000, 0, 0);
    vm_hook_install(L);
    return vm_run(vm, build_body, NULL, NULL, err);
}

// ---- Loading ------------------------------------------------------------------------------------

/** A unit's own globals: what it assigns stays its own. */
static void push_environment(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

static void push_environment_of(lua_State *L, bool trusted)
{
    if (trusted) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &trusted_key);
    } else {
        push_environment(L);
    }
}

static void load_buffer(lua_State *L, Str source, const char *name, const char *mode)
{
    Vm *vm = vm_of(L);
    vm->loading = vm->building;
    int status = luaL_loadbufferx(L, source.data, source.len, name, mode);
    vm->loading = false;
    if (status != LUA_OK) {
        lua_error(L);
    }
}

void vm_load(lua_State *L, Str source, Str file, Str name, bool trusted)
{
    if (source.len > VM_SOURCE_MAX) {
        luaL_error(L, "source of more than %d bytes", VM_SOURCE_MAX);
    }
    vm_charge(L, source.len / 4);
    Str shown = file.len == 0 ? name : file;
    if (file.len > CHUNK_NAME_MAX) {
        shown = path_base(file);
    }
    if (file.len > 0) {
        lua_pushliteral(L, "@");
    } else {
        lua_pushliteral(L, "=");
    }
    vm_push_str(L, shown);
    lua_concat(L, 2);
    load_buffer(L, source, lua_tostring(L, -1), "t");
    lua_remove(L, -2);
    push_environment_of(L, trusted);
    lua_setupvalue(L, -2, 1);
}

void vm_load_code(lua_State *L, Str code, const char *name, bool trusted)
{
    load_buffer(L, code, name, "b");
    push_environment_of(L, trusted);
    lua_setupvalue(L, -2, 1);
}
