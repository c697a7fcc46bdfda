// SPDX-License-Identifier: MIT
// The string library without dump, pack and unpack: patterns are ours (pattern.c), rep is capped,
// format shows no address, and arithmetic on texts reads short texts only.
#include "script/script_internal.h"

#include <string.h>

#define NUMBER_MAX 512 // bytes of a text that arithmetic reads as a number

static int string_rep(lua_State *L)
{
    size_t len, separator_len;
    luaL_checklstring(L, 1, &len);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator_len);
    if (n > VM_STRING_MAX || (n > 0 && (len + separator_len) > (size_t)(VM_STRING_MAX / n))) {
        return luaL_error(L, "rep: a string of more than %d bytes", VM_STRING_MAX);
    }
    vm_charge(L, n > 0 ? (uint64_t)n : 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/** Length of one conversion after its '%', and its letter. */
static size_t conversion_length(const char *at, const char *end, char *out_letter)
{
    const char *p = at;
    while (p < end && strchr("-+ #0123456789.", *p) != NULL && *p != '\0') {
        p++;
    }
    *out_letter = p < end ? *p : '\0';
    return (size_t)(p - at);
}

static int string_format(lua_State *L)
{
    size_t len;
    const char *format = luaL_checklstring(L, 1, &len);
    const char *end = format + len;
    int arg = 1;
    for (const char *p = format; p < end; p++) {
        if (*p != '%') {
            continue;
        }
        char letter;
        p += conversion_length(p + 1, end, &letter) + 1;
        if (letter == '%') {
            continue;
        }
        arg++;
        if (letter == 'p') {
            return luaL_error(L, "format: '%%p' is not supported");
        }
        if (letter == 's' && arg <= lua_gettop(L) && lua_type(L, arg) != LUA_TSTRING) {
            lib_push_tostring(L, arg);
            lua_replace(L, arg);
        }
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/** lower, upper, reverse, byte: charged by length. */
static int string_charged(lua_State *L)
{
    size_t len;
    luaL_checklstring(L, 1, &len);
    vm_charge(L, len / 16);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

// ---- Arithmetic on texts that read as numbers ---------------------------------------------------

static bool push_number(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TNUMBER) {
        lua_pushvalue(L, index);
        return true;
    }
    size_t len;
    if (lua_type(L, index) != LUA_TSTRING) {
        return false;
    }
    const char *s = lua_tolstring(L, index, &len);
    return len <= NUMBER_MAX && lua_stringtonumber(L, s) == len + 1;
}

static int arithmetic(lua_State *L)
{
    static const char *const names[] = {"__add", "__sub",  "__mul", "__mod", "__pow",
                                        "__div", "__idiv", NULL,    NULL,    NULL,
                                        NULL,    NULL,     "__unm"};
    int op = (int)lua_tointeger(L, lua_upvalueindex(1));
    lua_settop(L, 2);
    bool left = push_number(L, 1);
    if (left && push_number(L, 2)) {
        if (op == LUA_OPUNM) {
            lua_pop(L, 1);
        }
        lua_arith(L, op);
        return 1;
    }
    // The other operand may know better, as in standard Lua.
    lua_settop(L, 2);
    if (lua_type(L, 2) != LUA_TSTRING && luaL_getmetafield(L, 2, names[op]) != LUA_TNIL) {
        lua_insert(L, 1);
        lua_call(L, 2, 1);
        return 1;
    }
    return luaL_error(L, "attempt to perform arithmetic on a %s value",
                      luaL_typename(L, left ? 2 : 1));
}

void lib_string_arithmetic(lua_State *L)
{
    static const struct {
        const char *name;
        int op;
    } rows[] = {
        {"__add", LUA_OPADD}, {"__sub", LUA_OPSUB}, {"__mul", LUA_OPMUL},   {"__mod", LUA_OPMOD},
        {"__pow", LUA_OPPOW}, {"__div", LUA_OPDIV}, {"__idiv", LUA_OPIDIV}, {"__unm", LUA_OPUNM},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        lua_pushinteger(L, rows[i].op);
        lua_pushcclosure(L, arithmetic, 1);
        lua_setfield(L, -2, rows[i].name);
    }
}

// ---- The table ----------------------------------------------------------------------------------

static void wrap(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

int lib_string_open(lua_State *L)
{
    static const char *const gone[] = {"dump", "pack", "unpack", "packsize"};
    static const luaL_Reg ours[] = {
        {"find", pattern_find},
        {"match", pattern_match},
        {"gmatch", pattern_gmatch},
        {"gsub", pattern_gsub},
        {NULL, NULL},
    };
    luaL_requiref(L, "string", luaopen_string, 0);
    for (size_t i = 0; i < sizeof(gone) / sizeof(*gone); i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, gone[i]);
    }
    luaL_setfuncs(L, ours, 0);
    wrap(L, "rep", string_rep);
    wrap(L, "format", string_format);
    wrap(L, "lower", string_charged);
    wrap(L, "upper", string_charged);
    wrap(L, "reverse", string_charged);
    wrap(L, "byte", string_charged);
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) { // that of all strings
        lib_string_arithmetic(L);
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return 1;
}
