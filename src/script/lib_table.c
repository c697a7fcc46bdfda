// SPDX-License-Identifier: MIT
// The table library on raw access: no metamethod can make a C loop long, every loop is charged, and
// sort is a merge sort (stable, the same everywhere, and no comparator can lead it astray).
#include "script/script_internal.h"

static lua_Integer check_table(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TTABLE);
    lib_check_writable(L, index);
    return (lua_Integer)lua_rawlen(L, index);
}

static int table_insert(lua_State *L)
{
    lua_Integer n = check_table(L, 1);
    int n_args = lua_gettop(L);
    lua_Integer at = n + 1;
    if (n_args == 3) {
        at = luaL_checkinteger(L, 2);
        luaL_argcheck(L, at >= 1 && at <= n + 1, 2, "position out of bounds");
        vm_charge(L, (uint64_t)(n - at + 1));
        for (lua_Integer i = n + 1; i > at; i--) {
            lua_rawgeti(L, 1, i - 1);
            lua_rawseti(L, 1, i);
        }
    } else if (n_args != 2) {
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lua_rawseti(L, 1, at);
    return 0;
}

static int table_remove(lua_State *L)
{
    lua_Integer n = check_table(L, 1);
    lua_Integer at = luaL_optinteger(L, 2, n);
    if (n > 0 || at != n) {
        luaL_argcheck(L, at >= 1 && at <= n + 1, 2, "position out of bounds");
    }
    lua_rawgeti(L, 1, at);
    vm_charge(L, at < n ? (uint64_t)(n - at) : 0);
    for (lua_Integer i = at; i < n; i++) {
        lua_rawgeti(L, 1, i + 1);
        lua_rawseti(L, 1, i);
    }
    if (at <= n) {
        lua_pushnil(L);
        lua_rawseti(L, 1, n);
    }
    return 1;
}

static int table_concat(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t separator_len;
    const char *separator = luaL_optlstring(L, 2, "", &separator_len);
    lua_Integer from = luaL_optinteger(L, 3, 1);
    lua_Integer to = luaL_optinteger(L, 4, (lua_Integer)lua_rawlen(L, 1));
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    size_t total = 0;
    for (lua_Integer i = from; i <= to; i++) {
        int type = lua_rawgeti(L, 1, i);
        if (type != LUA_TSTRING && type != LUA_TNUMBER) {
            return luaL_error(L, "invalid value (a %s) at index %I in table for 'concat'",
                              luaL_typename(L, -1), (LUAI_UACINT)i);
        }
        total += lua_rawlen(L, -1) + separator_len;
        if (total > VM_STRING_MAX) {
            return luaL_error(L, "concat: a string of more than %d bytes", VM_STRING_MAX);
        }
        vm_charge(L, 1);
        luaL_addvalue(&buffer);
        if (i < to) {
            luaL_addlstring(&buffer, separator, separator_len);
        } else {
            break; // i + 1 could overflow
        }
    }
    luaL_pushresult(&buffer);
    return 1;
}

static int table_move(lua_State *L)
{
    lua_Integer n = check_table(L, 1);
    lua_Integer from = luaL_checkinteger(L, 2);
    lua_Integer to = luaL_checkinteger(L, 3);
    lua_Integer at = luaL_checkinteger(L, 4);
    int target = lua_isnoneornil(L, 5) ? 1 : 5;
    check_table(L, target);
    if (to >= from) {
        lua_Integer count = to - from; // one less than the number of items
        luaL_argcheck(L, from > 0 || to < LUA_MAXINTEGER + from, 3, "too many elements to move");
        if (count > n + VM_NODES_MAX || at > LUA_MAXINTEGER - count) {
            return luaL_error(L, "move: too many elements");
        }
        vm_charge(L, (uint64_t)count + 1);
        bool forward = at > to || at <= from || target != 1;
        for (lua_Integer i = 0; i <= count; i++) {
            lua_Integer step = forward ? i : count - i;
            lua_rawgeti(L, 1, from + step);
            lua_rawseti(L, target, at + step);
        }
    }
    lua_pushvalue(L, target);
    return 1;
}

static int table_pack(lua_State *L)
{
    int n = lua_gettop(L);
    lua_createtable(L, n, 1);
    lua_insert(L, 1);
    for (int i = n; i >= 1; i--) {
        lua_rawseti(L, 1, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, 1, "n");
    return 1;
}

static int table_unpack(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer from = luaL_optinteger(L, 2, 1);
    lua_Integer to = luaL_optinteger(L, 3, (lua_Integer)lua_rawlen(L, 1));
    if (from > to) {
        return 0;
    }
    lua_Unsigned count = (lua_Unsigned)to - (lua_Unsigned)from;
    if (count >= 100000 || !lua_checkstack(L, (int)count + 1)) {
        return luaL_error(L, "too many results to unpack");
    }
    vm_charge(L, count);
    for (lua_Unsigned i = 0; i <= count; i++) {
        lua_rawgeti(L, 1, from + (lua_Integer)i);
    }
    return (int)count + 1;
}

// ---- sort ---------------------------------------------------------------------------------------

/** Whether the value at the top is less than the one below it; pops both. */
static bool top_is_less(lua_State *L, bool has_function)
{
    bool less;
    if (has_function) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -4);
        lua_call(L, 2, 1);
        less = lua_toboolean(L, -1);
        lua_pop(L, 3);
        return less;
    }
    less = lua_compare(L, -1, -2, LUA_OPLT);
    lua_pop(L, 2);
    return less;
}

/** Merge source[from, middle) and source[middle, to) into target; tables by stack index. */
static void merge(lua_State *L, int source, int target, lua_Integer from, lua_Integer middle,
                  lua_Integer to, bool has_function)
{
    lua_Integer left = from;
    lua_Integer right = middle;
    for (lua_Integer i = from; i < to; i++) {
        bool take_right = right < to;
        if (left < middle && right < to) {
            lua_rawgeti(L, source, left);
            lua_rawgeti(L, source, right);
            take_right = top_is_less(L, has_function); // equal: the left one stays first
        }
        lua_rawgeti(L, source, take_right ? right++ : left++);
        lua_rawseti(L, target, i);
    }
}

static int table_sort(lua_State *L)
{
    lua_Integer n = check_table(L, 1);
    bool has_function = !lua_isnoneornil(L, 2);
    if (has_function) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
    }
    lua_settop(L, 2);
    if (n < 2) {
        return 0;
    }
    luaL_argcheck(L, n <= VM_NODES_MAX, 1, "array too big");
    lua_createtable(L, (int)n, 0);
    int source = 1;
    int target = 3;
    for (lua_Integer width = 1; width < n; width *= 2) {
        for (lua_Integer from = 1; from <= n; from += 2 * width) {
            lua_Integer middle = from + width <= n + 1 ? from + width : n + 1;
            lua_Integer to = middle + width <= n + 1 ? middle + width : n + 1;
            vm_charge(L, (uint64_t)(to - from) * 2);
            merge(L, source, target, from, middle, to, has_function);
        }
        int swap = source;
        source = target;
        target = swap;
    }
    for (lua_Integer i = 1; source != 1 && i <= n; i++) {
        lua_rawgeti(L, source, i);
        lua_rawseti(L, 1, i);
    }
    return 0;
}

int lib_table_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"insert", table_insert}, {"remove", table_remove},
        {"concat", table_concat}, {"move", table_move},
        {"pack", table_pack},     {"unpack", table_unpack},
        {"sort", table_sort},     {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
