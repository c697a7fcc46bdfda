// SPDX-License-Identifier: MIT
// string.find, match, gmatch and gsub on our own matcher.
#include "script/pattern.h"

#include <string.h>

static Str check_str(lua_State *L, int index)
{
    Str s;
    s.data = luaL_checklstring(L, index, &s.len);
    return s;
}

// ---- find, match --------------------------------------------------------------------------------

static bool is_plain(Str pattern)
{
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.data[i] != '\0' && strchr("^$*+?.([%-", pattern.data[i]) != NULL) {
            return false;
        }
    }
    return true;
}

/** memmem finds in linear time whatever the needle. */
static int find_plain(lua_State *L, Str text, Str needle, size_t from)
{
    vm_charge(L, (text.len - from) / 32);
    const char *at = needle.len == 0
                         ? text.data + from
                         : memmem(text.data + from, text.len - from, needle.data, needle.len);
    if (at == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - text.data + 1);
    lua_pushinteger(L, at - text.data + (ptrdiff_t)needle.len);
    return 2;
}

static int find_or_match(lua_State *L, bool find)
{
    Str text = check_str(L, 1);
    Str pattern = check_str(L, 2);
    lua_Integer init = luaL_optinteger(L, 3, 1);
    if (init < 0) {
        init = (lua_Integer)text.len + init + 1 > 1 ? (lua_Integer)text.len + init + 1 : 1;
    }
    size_t from = init == 0 ? 0 : (size_t)init - 1;
    if (from > text.len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || is_plain(pattern))) {
        return find_plain(L, text, pattern, from);
    }
    Matcher m;
    pattern_init(&m, L, text, pattern);
    bool anchored = pattern.len > 0 && pattern.data[0] == '^';
    const char *p = pattern.data + (anchored ? 1 : 0);
    for (const char *s = text.data + from; s <= m.text_end; s++) {
        const char *end = pattern_match_at(&m, s, p);
        if (end != NULL) {
            if (!find) {
                return pattern_push_captures(&m, s, end);
            }
            lua_pushinteger(L, s - text.data + 1);
            lua_pushinteger(L, end - text.data);
            return pattern_push_captures(&m, NULL, NULL) + 2;
        }
        if (anchored) {
            break;
        }
        pattern_step(&m);
    }
    lua_pushnil(L);
    return 1;
}

int pattern_find(lua_State *L)
{
    return find_or_match(L, true);
}

int pattern_match(lua_State *L)
{
    return find_or_match(L, false);
}

// ---- gmatch -------------------------------------------------------------------------------------

/** Upvalues: text, pattern, where to go on, where the last match ended (-1: none). */
static int gmatch_next(lua_State *L)
{
    Str text = vm_str(L, lua_upvalueindex(1));
    Str pattern = vm_str(L, lua_upvalueindex(2));
    lua_Integer from = lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    Matcher m;
    pattern_init(&m, L, text, pattern);
    for (const char *s = text.data + from; s <= m.text_end; s++) {
        const char *end = pattern_match_at(&m, s, pattern.data);
        if (end != NULL && end - text.data != last) {
            lua_pushinteger(L, end - text.data);
            lua_copy(L, -1, lua_upvalueindex(3));
            lua_replace(L, lua_upvalueindex(4));
            return pattern_push_captures(&m, s, end);
        }
        pattern_step(&m);
    }
    lua_pushinteger(L, (lua_Integer)text.len + 1);
    lua_replace(L, lua_upvalueindex(3));
    return 0;
}

int pattern_gmatch(lua_State *L)
{
    Str text = check_str(L, 1);
    check_str(L, 2);
    lua_Integer init = luaL_optinteger(L, 3, 1);
    if (init < 0) {
        init = (lua_Integer)text.len + init + 1 > 1 ? (lua_Integer)text.len + init + 1 : 1;
    }
    init = init == 0 ? 1 : init;
    lua_Integer from = init > (lua_Integer)text.len + 1 ? (lua_Integer)text.len + 1 : init - 1;
    lua_settop(L, 2);
    lua_tolstring(L, 1, NULL);
    lua_tolstring(L, 2, NULL);
    lua_pushinteger(L, from);
    lua_pushinteger(L, -1);
    vm_push_iterator(L, gmatch_next, 4);
    return 1;
}

// ---- gsub ---------------------------------------------------------------------------------------

/** A replacement text: %0 the match, %1..%9 its captures, %% itself. */
static void add_template(Matcher *m, luaL_Buffer *buffer, const char *from, const char *end)
{
    lua_State *L = m->L;
    Str with = vm_str(L, 3);
    for (size_t i = 0; i < with.len; i++) {
        char c = with.data[i];
        if (c != '%') {
            luaL_addchar(buffer, c);
            continue;
        }
        c = i + 1 < with.len ? with.data[++i] : '\0';
        if (c == '%') {
            luaL_addchar(buffer, c);
        } else if (c == '0') {
            luaL_addlstring(buffer, from, (size_t)(end - from));
        } else if (c >= '1' && c <= '9') {
            pattern_push_capture(m, c - '1', from, end);
            luaL_tolstring(L, -1, NULL); // a position is a number
            lua_remove(L, -2);
            luaL_addvalue(buffer);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
    }
    vm_charge(L, with.len / 8);
}

/** Append what replaces one match; whether anything changed. */
static bool add_replacement(Matcher *m, luaL_Buffer *buffer, const char *from, const char *end,
                            int type)
{
    lua_State *L = m->L;
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        int n = pattern_push_captures(m, from, end);
        lua_call(L, n, 1);
    } else if (type == LUA_TTABLE) {
        pattern_push_capture(m, 0, from, end);
        lua_gettable(L, 3);
    } else {
        add_template(m, buffer, from, end);
        return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(buffer, from, (size_t)(end - from));
        return false;
    }
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(buffer);
    return true;
}

int pattern_gsub(lua_State *L)
{
    Str text = check_str(L, 1);
    Str pattern = check_str(L, 2);
    int type = lua_type(L, 3);
    luaL_argexpected(L,
                     type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                         type == LUA_TTABLE,
                     3, "string/function/table");
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)text.len + 1);
    if (type == LUA_TNUMBER) {
        lua_tolstring(L, 3, NULL);
    }
    bool anchored = pattern.len > 0 && pattern.data[0] == '^';
    const char *p = pattern.data + (anchored ? 1 : 0);
    Matcher m;
    pattern_init(&m, L, text, pattern);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    const char *s = text.data;
    const char *last = NULL; // end of the last match: an empty one there does not count
    lua_Integer n = 0;
    bool changed = false;
    while (n < max) {
        const char *end = pattern_match_at(&m, s, p);
        if (end != NULL && end != last) {
            n++;
            changed = add_replacement(&m, &buffer, s, end, type) || changed;
            s = last = end;
        } else if (s < m.text_end) {
            luaL_addchar(&buffer, *s);
            s++;
        } else {
            break;
        }
        pattern_step(&m);
        if (anchored) {
            break;
        }
    }
    if (!changed) {
        lua_pushvalue(L, 1);
    } else {
        luaL_addlstring(&buffer, s, (size_t)(m.text_end - s));
        luaL_pushresult(&buffer);
    }
    lua_pushinteger(L, n);
    return 2;
}
