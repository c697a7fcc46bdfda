// SPDX-License-Identifier: MIT
// The trimmed base, coroutine, math and utf8 libraries. What is missing is missing on purpose:
// load, dofile, loadfile, require, collectgarbage, warn, _G, random, and everything of io, os,
// debug. What is replaced: pairs and next walk in the order of `keys`, tostring shows no address,
// setmetatable refuses finalisers and weak tables, print goes to the attempt's notes.
#include "script/script_internal.h"

#include <string.h>

#define PRINT_LINE_MAX 4096
#define NUMBER_MAX     512 // bytes of a text that is read as a number

void lib_check_writable(lua_State *L, int index)
{
    if (lua_getmetatable(L, index)) {
        lua_pushliteral(L, "__readonly");
        if (lua_rawget(L, -2) != LUA_TNIL) {
            luaL_error(L, "libraries are read-only");
        }
        lua_pop(L, 2);
    }
}

// ---- Walking tables -----------------------------------------------------------------------------

/** Iterator over a list: upvalues are the table and the place. */
static int walk_list(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(2)) + 1;
    lua_pushinteger(L, i);
    lua_copy(L, -1, lua_upvalueindex(2));
    if (lua_rawgeti(L, lua_upvalueindex(1), i) == LUA_TNIL) {
        return 0;
    }
    return 2;
}

/** Iterator over keys: upvalues are the table, its keys and the place. */
static int walk_keys(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer n = (lua_Integer)lua_rawlen(L, lua_upvalueindex(2));
    while (i < n) {
        lua_rawgeti(L, lua_upvalueindex(2), ++i);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) { // else it was removed meanwhile
            lua_pushinteger(L, i);
            lua_replace(L, lua_upvalueindex(3));
            return 2;
        }
        lua_pop(L, 2);
    }
    return 0;
}

static int base_pairs(lua_State *L)
{
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    vm_fill(L, 1);
    if (vm_is_list(L, 1)) {
        lua_pushinteger(L, 0);
        vm_push_iterator(L, walk_list, 2);
        return 1;
    }
    vm_push_keys(L, 1);
    lua_pushinteger(L, 0);
    vm_push_iterator(L, walk_keys, 3);
    return 1;
}

/** next(t, k): slow beyond the first key, since the order is not the table's own. */
static int base_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_isnil(L, 2) && lua_rawgeti(L, 1, 1) != LUA_TNIL && vm_is_list(L, 1)) {
        lua_pushinteger(L, 1);
        lua_insert(L, -2);
        return 2;
    }
    lua_settop(L, 2);
    size_t n = vm_push_keys(L, 1);
    size_t at = 0;
    if (!lua_isnil(L, 2)) {
        for (at = 1; at <= n; at++) {
            lua_rawgeti(L, 3, (lua_Integer)at);
            bool found = lua_rawequal(L, -1, 2);
            lua_pop(L, 1);
            if (found) {
                break;
            }
        }
        if (at > n) {
            return luaL_error(L, "next: no such key");
        }
    }
    if (at >= n) {
        lua_pushnil(L);
        return 1;
    }
    lua_rawgeti(L, 3, (lua_Integer)at + 1);
    lua_pushvalue(L, -1);
    lua_rawget(L, 1);
    return 2;
}

static int base_keys(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    vm_push_keys(L, 1);
    return 1;
}

// ---- Text of values -----------------------------------------------------------------------------

void lib_push_tostring(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (vm_is_null(L, index)) {
        lua_pushliteral(L, "null");
        return;
    }
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING:
        luaL_tolstring(L, index, NULL);
        return;
    default:
        break;
    }
    if (luaL_callmeta(L, index, "__tostring")) {
        if (lua_type(L, -1) != LUA_TSTRING) {
            luaL_error(L, "'__tostring' must return a string");
        }
        return;
    }
    lua_pushstring(L, luaL_typename(L, index));
}

static int base_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    lib_push_tostring(L, 1);
    return 1;
}

/** tonumber, which otherwise reads texts of any length without a look at the budget. */
static int base_tonumber(lua_State *L)
{
    size_t len = 0;
    if (lua_type(L, 1) == LUA_TSTRING) {
        lua_tolstring(L, 1, &len);
    }
    if (len > NUMBER_MAX) {
        lua_pushnil(L);
        return 1;
    }
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    return lua_gettop(L);
}

static int base_print(lua_State *L)
{
    Vm *vm = vm_of(L);
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        lib_push_tostring(L, i);
        Str s = str_slice(vm_str(L, -1), 0, PRINT_LINE_MAX);
        if (i > 1) {
            buf_char(&vm->notes, '\t');
        }
        buf_str(&vm->notes, s);
        lua_pop(L, 1);
    }
    buf_char(&vm->notes, '\n');
    return 0;
}

// ---- Metatables and raw access ------------------------------------------------------------------

static int base_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) {
        return luaL_error(L, "cannot change a protected metatable");
    }
    static const char *const refused[] = {"__gc", "__mode"};
    for (size_t i = 0; type == LUA_TTABLE && i < sizeof(refused) / sizeof(*refused); i++) {
        lua_pushstring(L, refused[i]);
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "setmetatable: %s is not supported", refused[i]);
        }
        lua_pop(L, 1);
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static int base_rawset(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    lib_check_writable(L, 1);
    lua_rawset(L, 1);
    return 1;
}

// ---- Wrapped functions of other libraries -------------------------------------------------------

/** Call the original in upvalue 1 with all arguments. */
static int pass_on(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int coroutine_charged(lua_State *L)
{
    vm_charge(L, VM_COROUTINE_COST);
    return pass_on(L);
}

/** utf8.len and friends walk a whole text. */
static int utf8_charged(lua_State *L)
{
    size_t len = 0;
    if (lua_type(L, 1) == LUA_TSTRING) {
        lua_tolstring(L, 1, &len);
    }
    vm_charge(L, len / 4);
    return pass_on(L);
}

static void wrap(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void forget(lua_State *L, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
}

void lib_base_open(lua_State *L, int trusted)
{
    static const char *const gone_base[] = {"dofile", "loadfile", "load", "collectgarbage",
                                            "warn",   "_G",       NULL};
    static const char *const gone_math[] = {"random", "randomseed", NULL};
    static const luaL_Reg replaced[] = {
        {"pairs", base_pairs},       {"next", base_next},   {"keys", base_keys},
        {"tostring", base_tostring}, {"print", base_print}, {"setmetatable", base_setmetatable},
        {"rawset", base_rawset},     {NULL, NULL},
    };
    luaL_requiref(L, "_G", luaopen_base, 0);
    forget(L, gone_base);
    lua_getfield(L, -1, "setmetatable");
    lua_setfield(L, trusted, "setmetatable");
    luaL_setfuncs(L, replaced, 0);
    wrap(L, "tonumber", base_tonumber);
    luaL_requiref(L, "coroutine", luaopen_coroutine, 0);
    wrap(L, "create", coroutine_charged);
    wrap(L, "wrap", coroutine_charged);
    lua_setfield(L, -2, "coroutine");
    luaL_requiref(L, "math", luaopen_math, 0);
    forget(L, gone_math);
    lua_setfield(L, -2, "math");
    luaL_requiref(L, "utf8", luaopen_utf8, 0);
    wrap(L, "len", utf8_charged);
    wrap(L, "offset", utf8_charged);
    wrap(L, "codepoint", utf8_charged);
    lua_setfield(L, -2, "utf8");
    // luaL_requiref keeps what it loaded in the registry, where nobody looks.
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}
