// SPDX-License-Identifier: MIT
// Values across the border, and the library `value` (VALUES.md). The order of a map lies in the
// table itself under a key that scripts can not name (a light userdata), so it costs one slot, no
// metatable, and is gone when a script copies the table by hand. Its value: an array of keys, true
// (a map whose order is not recorded), or false (a list whatever its keys).
#include "script/script_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char order_key; // addresses, never read
static const char null_key;
const char vm_fill_key;

#define KEY_OF(tag) ((const void *)&(tag))

void vm_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)&null_key);
}

bool vm_is_null(lua_State *L, int index)
{
    return lua_islightuserdata(L, index) && lua_touserdata(L, index) == KEY_OF(null_key);
}

void vm_fill(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) {
        return;
    }
    index = index < 0 && index > LUA_REGISTRYINDEX ? index - 1 : index;
    if (lua_rawgetp(L, -1, &vm_fill_key) == LUA_TFUNCTION) {
        lua_pushvalue(L, index < 0 && index > LUA_REGISTRYINDEX ? index - 1 : index);
        lua_call(L, 1, 0);
        lua_pop(L, 1);
        return;
    }
    lua_pop(L, 2);
}

// ---- To Lua -------------------------------------------------------------------------------------

static void push_map(lua_State *L, const ValueMap *map)
{
    lua_createtable(L, 0, (int)map->n + 1);
    if (map->n == 0) {
        lua_pushboolean(L, 1);
        lua_rawsetp(L, -2, &order_key);
        return;
    }
    lua_createtable(L, (int)map->n, 0); // the order
    for (size_t i = 0; i < map->n; i++) {
        vm_push_str(L, map->pairs[i].key);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)i + 1);
        vm_push_value(L, &map->pairs[i].value);
        lua_rawset(L, -4);
    }
    lua_rawsetp(L, -2, &order_key);
}

void vm_push_value(lua_State *L, const Value *value)
{
    luaL_checkstack(L, 8, "value nested too deeply");
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
        vm_push_null(L);
        return;
    case VALUE_BOOL:
        lua_pushboolean(L, value->as.boolean);
        return;
    case VALUE_INT:
        lua_pushinteger(L, value->as.integer);
        return;
    case VALUE_REAL:
        lua_pushnumber(L, value->as.real);
        return;
    case VALUE_STR:
        vm_push_str(L, value->as.str);
        return;
    case VALUE_LIST:
        lua_createtable(L, (int)value->as.list.n, 0);
        for (size_t i = 0; i < value->as.list.n; i++) {
            vm_push_value(L, &value->as.list.items[i]);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        return;
    case VALUE_MAP:
        push_map(L, &value->as.map);
        return;
    }
    lua_pushnil(L);
}

// ---- Lists, maps, keys --------------------------------------------------------------------------

/** Light userdata as a key is ours: hidden from every walk. */
static bool key_is_hidden(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TLIGHTUSERDATA;
}

bool vm_is_list(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    int type = lua_rawgetp(L, index, &order_key);
    bool is_map = type != LUA_TNIL && lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (type != LUA_TNIL) {
        return !is_map;
    }
    lua_Unsigned n = lua_rawlen(L, index);
    lua_Unsigned count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (key_is_hidden(L, -1)) {
            continue;
        }
        if (!lua_isinteger(L, -1) || (lua_Unsigned)lua_tointeger(L, -1) - 1 >= n) {
            lua_pop(L, 1);
            return false;
        }
        count++;
    }
    vm_charge(L, count / 4);
    return count == n;
}

/** A key beside what sorts it. */
typedef struct SortKey {
    int rank; // false, true, numbers, texts
    bool is_integer;
    lua_Integer integer;
    lua_Number number;
    Str text;
} SortKey;

static int key_compare(const void *left, const void *right)
{
    const SortKey *a = left;
    const SortKey *b = right;
    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    if (a->rank == 3) {
        return str_cmp(a->text, b->text);
    }
    if (a->is_integer && b->is_integer) {
        return (a->integer > b->integer) - (a->integer < b->integer);
    }
    return (a->number > b->number) - (a->number < b->number);
}

static void sort_key_read(lua_State *L, int index, SortKey *out)
{
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        out->rank = lua_toboolean(L, index);
        return;
    case LUA_TNUMBER:
        out->rank = 2;
        out->is_integer = lua_isinteger(L, index);
        out->integer = lua_tointeger(L, index);
        out->number = lua_tonumber(L, index);
        return;
    case LUA_TSTRING:
        out->rank = 3;
        out->text = vm_str(L, index);
        return;
    default:
        luaL_error(L, "a table with a %s as a key has no order to walk it in",
                   luaL_typename(L, index));
    }
}

static void sort_key_push(lua_State *L, const SortKey *key)
{
    if (key->rank < 2) {
        lua_pushboolean(L, key->rank);
    } else if (key->rank == 3) {
        vm_push_str(L, key->text);
    } else if (key->is_integer) {
        lua_pushinteger(L, key->integer);
    } else {
        lua_pushnumber(L, key->number);
    }
}

/** Append the recorded keys that still have a value to the array at the top; their number. */
static size_t append_recorded(lua_State *L, int table, int result)
{
    size_t n = 0;
    if (lua_rawgetp(L, table, &order_key) == LUA_TTABLE) {
        lua_Unsigned recorded = lua_rawlen(L, -1);
        for (lua_Unsigned i = 1; i <= recorded; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i);
            lua_pushvalue(L, -1);
            int type = lua_rawget(L, table);
            lua_pop(L, 1);
            if (type == LUA_TNIL) {
                lua_pop(L, 1);
            } else {
                lua_rawseti(L, result, (lua_Integer)++n);
            }
        }
    }
    lua_pop(L, 1);
    return n;
}

/** Append the keys that are not among the first n_recorded of result, sorted. */
static void append_later(lua_State *L, int table, int result, size_t n_recorded, size_t n_total)
{
    size_t n_later = n_total - n_recorded;
    SortKey *keys = lua_newuserdatauv(L, n_later * sizeof(*keys), 0);
    lua_createtable(L, 0, (int)n_recorded);
    int known = lua_gettop(L);
    for (size_t i = 1; i <= n_recorded; i++) {
        lua_rawgeti(L, result, (lua_Integer)i);
        lua_pushboolean(L, 1);
        lua_rawset(L, known);
    }
    size_t n = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        if (key_is_hidden(L, -1)) {
            continue;
        }
        lua_pushvalue(L, -1);
        bool is_known = n_recorded > 0 && lua_rawget(L, known) != LUA_TNIL;
        lua_pop(L, 1);
        if (!is_known && n < n_later) {
            keys[n] = (SortKey){0};
            sort_key_read(L, -1, &keys[n]);
            n++;
        }
    }
    qsort(keys, n, sizeof(*keys), key_compare);
    for (size_t i = 0; i < n; i++) {
        sort_key_push(L, &keys[i]);
        lua_rawseti(L, result, (lua_Integer)(n_recorded + i + 1));
    }
    lua_pop(L, 2);
}

size_t vm_push_keys(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    luaL_checkstack(L, 12, NULL);
    vm_fill(L, index);
    size_t n_total = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        n_total += !key_is_hidden(L, -1);
    }
    vm_charge(L, n_total);
    if (n_total > VM_NODES_MAX) {
        luaL_error(L, "a table of more than %d members", VM_NODES_MAX);
    }
    lua_createtable(L, (int)n_total, 0);
    int result = lua_gettop(L);
    size_t n_recorded = append_recorded(L, index, result);
    if (n_recorded < n_total) {
        append_later(L, index, result, n_recorded, n_total);
    }
    return n_total;
}

// ---- From Lua -----------------------------------------------------------------------------------

typedef struct Reading {
    lua_State *L;
    Arena *arena;
    size_t n_nodes;
    size_t n_bytes;
    int depth;
    const void *path[VM_DEPTH_MAX];
} Reading;

static Value read_value(Reading *reading, int index);

static Str read_str(Reading *reading, int index)
{
    Str s = vm_str(reading->L, index);
    reading->n_bytes += s.len;
    if (reading->n_bytes > VM_STRING_MAX) {
        luaL_error(reading->L, "a value of more than %d bytes", VM_STRING_MAX);
    }
    return str_copy(reading->arena, s);
}

static Value read_list(Reading *reading, int index)
{
    lua_State *L = reading->L;
    size_t n = (size_t)lua_rawlen(L, index);
    Value *items = ARENA_ARRAY(reading->arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        items[i] = read_value(reading, lua_gettop(L));
        lua_pop(L, 1);
    }
    return value_list(items, n);
}

static Value read_map(Reading *reading, int index)
{
    lua_State *L = reading->L;
    size_t n = vm_push_keys(L, index);
    int keys = lua_gettop(L);
    ValuePair *pairs = ARENA_ARRAY(reading->arena, ValuePair, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, keys, (lua_Integer)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING) {
            luaL_error(L, "a map with a %s as a key (a list must have items 1..n and no names)",
                       luaL_typename(L, -1));
        }
        pairs[i].key = read_str(reading, -1);
        lua_rawget(L, index);
        pairs[i].value = read_value(reading, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return value_map(pairs, n);
}

static Value read_table(Reading *reading, int index)
{
    lua_State *L = reading->L;
    luaL_checkstack(L, 12, NULL);
    const void *self = lua_topointer(L, index);
    for (int i = 0; i < reading->depth; i++) {
        if (reading->path[i] == self) {
            luaL_error(L, "a table that contains itself");
        }
    }
    if (reading->depth == VM_DEPTH_MAX) {
        luaL_error(L, "a value nested deeper than %d", VM_DEPTH_MAX);
    }
    reading->path[reading->depth++] = self;
    vm_fill(L, index);
    Value value = vm_is_list(L, index) ? read_list(reading, index) : read_map(reading, index);
    reading->depth--;
    return value;
}

static Value read_value(Reading *reading, int index)
{
    lua_State *L = reading->L;
    if (++reading->n_nodes > VM_NODES_MAX) {
        luaL_error(L, "a value of more than %d members", VM_NODES_MAX);
    }
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return value_null();
    case LUA_TBOOLEAN:
        return value_bool(lua_toboolean(L, index));
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            return value_int(lua_tointeger(L, index));
        }
        if (!isfinite(lua_tonumber(L, index))) {
            luaL_error(L, "%s is not a value",
                       isnan(lua_tonumber(L, index)) ? "NaN" : "an infinite number");
        }
        return value_real(lua_tonumber(L, index));
    case LUA_TSTRING:
        return value_str(read_str(reading, index));
    case LUA_TTABLE:
        return read_table(reading, index);
    default:
        if (!vm_is_null(L, index)) {
            luaL_error(L, "a %s is not a value", luaL_typename(L, index));
        }
        return value_null();
    }
}

/** What a step converts lies outside of Lua's memory: it has a budget as large as that one. */
static void check_room(lua_State *L, const Arena *arena)
{
    Vm *vm = vm_of(L);
    if (vm->step != NULL && arena == vm->step->arena &&
        arena->total_bytes > vm->step->arena_limit) {
        vm_abandon(vm, L, ESCAPE_MEMORY);
    }
}

Value vm_to_value(lua_State *L, int index, Arena *arena)
{
    Reading reading = {.L = L, .arena = arena};
    Value value = read_value(&reading, lua_absindex(L, index));
    vm_charge(L, reading.n_nodes + reading.n_bytes / 64);
    check_room(L, arena);
    return value;
}

Str vm_to_text(lua_State *L, int index, Arena *arena, const char *what)
{
    if (lua_type(L, index) != LUA_TSTRING) {
        luaL_error(L, "%s must be text, not %s", what, luaL_typename(L, index));
    }
    Str s = vm_str(L, index);
    if (s.len > VM_STRING_MAX) {
        luaL_error(L, "%s is longer than %d bytes", what, VM_STRING_MAX);
    }
    vm_charge(L, s.len / 64);
    check_room(L, arena);
    return str_copy(arena, s);
}

// ---- The library `value` ------------------------------------------------------------------------

static int value_kind_of(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    vm_fill(L, 1);
    lua_pushstring(L, vm_is_list(L, 1) ? "list" : "map");
    return 1;
}

static int value_as_list(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_rawgetp(L, 1, &order_key) != LUA_TNIL) {
        lua_pushboolean(L, 0);
        lua_rawsetp(L, 1, &order_key);
    }
    lua_settop(L, 1);
    return 1;
}

static int value_as_map(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_type(L, 2) != LUA_TTABLE) {
        lua_pushboolean(L, 1);
        lua_replace(L, 2);
    }
    lua_rawsetp(L, 1, &order_key);
    return 1;
}

static int value_keys(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    vm_push_keys(L, 1);
    return 1;
}

/** Push the order array of the table at index 1 and the set of its keys, which lies at [0]. */
static void push_order(lua_State *L)
{
    if (lua_rawgetp(L, 1, &order_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        vm_push_keys(L, 1);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, 1, &order_key);
    }
    if (lua_rawgeti(L, -1, 0) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    lua_Unsigned n = lua_rawlen(L, -1);
    lua_createtable(L, 0, (int)n + 1);
    for (lua_Unsigned i = 1; i <= n; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, 0);
}

static int value_set(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 3);
    lua_pushvalue(L, 2);
    int type = lua_rawget(L, 1);
    lua_pop(L, 1);
    if (type == LUA_TNIL && !lua_isnil(L, 3)) {
        push_order(L);
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) == LUA_TNIL) { // else it takes its old place again
            lua_pushvalue(L, 2);
            lua_pushboolean(L, 1);
            lua_rawset(L, -4);
            lua_pushvalue(L, 2);
            lua_rawseti(L, -4, (lua_Integer)lua_rawlen(L, -4) + 1);
        }
    }
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 0;
}

int lib_value_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"kind", value_kind_of}, {"list", value_as_list}, {"map", value_as_map},
        {"keys", value_keys},    {"set", value_set},      {NULL, NULL},
    };
    luaL_newlib(L, functions);
    vm_push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
