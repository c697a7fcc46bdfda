// SPDX-License-Identifier: MIT
// Templates inside of values: `target: ["{{ a }}", b]`, or the checks of a list. Such a text is
// compiled when its program is made and stands in the value as an object, so that a text which came
// from data or from a model is never taken for a template.
#include "script/script_internal.h"

static const char deferred_key; // hidden: the template's function

bool text_is_template(Str text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] == '{' &&
            (text.data[i + 1] == '{' || text.data[i + 1] == '%' || text.data[i + 1] == '#')) {
            return true;
        }
    }
    return text.len > 0 && text.data[text.len - 1] == '\n'; // which a template drops
}

void deferred_open(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    vm_set_slot(L, SLOT_DEFERRED);
}

static bool push_text(lua_State *L, const Value *value, const TemplateSource *how, Err *err)
{
    if (!text_is_template(value->as.str)) {
        vm_push_str(L, value->as.str);
        return true;
    }
    TemplateSource source = *how;
    source.text = value->as.str;
    source.line = value->line;
    const Template *template;
    if (!template_compile(vm_of(L)->script, &source, &template, err)) {
        return false;
    }
    lua_createtable(L, 0, 1);
    template_load(L, &source, template->lua);
    lua_rawsetp(L, -2, &deferred_key);
    vm_push_slot(L, SLOT_DEFERRED);
    lua_setmetatable(L, -2);
    return true;
}

bool deferred_push(lua_State *L, const Value *value, const TemplateSource *how, Err *err)
{
    luaL_checkstack(L, 16, "a value with templates");
    if (value->kind == VALUE_STR) {
        return push_text(L, value, how, err);
    }
    if (value->kind != VALUE_LIST && value->kind != VALUE_MAP) {
        vm_push_value(L, value);
        return true;
    }
    vm_push_value(L, value); // marked, its keys in order; the members are replaced
    int table = lua_gettop(L);
    bool is_map = value->kind == VALUE_MAP;
    size_t n = is_map ? value->as.map.n : value->as.list.n;
    for (size_t i = 0; i < n; i++) {
        if (is_map) {
            vm_push_str(L, value->as.map.pairs[i].key);
        } else {
            lua_pushinteger(L, (lua_Integer)i + 1);
        }
        const Value *member = is_map ? &value->as.map.pairs[i].value : &value->as.list.items[i];
        if (!deferred_push(L, member, how, err)) {
            lua_settop(L, table - 1);
            return false;
        }
        lua_rawset(L, table);
    }
    return true;
}

bool deferred_render(lua_State *L, int index, int vars)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        return false;
    }
    vars = lua_absindex(L, vars);
    if (lua_rawgetp(L, index, &deferred_key) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushvalue(L, vars);
    lua_call(L, 1, 1);
    return true;
}
