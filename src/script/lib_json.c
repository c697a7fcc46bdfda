// SPDX-License-Identifier: MIT
// json.decode, json.encode, json.null: through the text room's reader and writer, by way of Value.
// json.validate is in lib_schema.c.
#include "script/script_internal.h"

static int json_decode_text(lua_State *L)
{
    Vm *vm = vm_of(L);
    Str text;
    text.data = luaL_checklstring(L, 1, &text.len);
    vm_charge(L, text.len / 4);
    arena_reset(&vm->scratch);
    Value value;
    Err err = ERR_INIT;
    JsonOptions options = {.max_depth = VM_DEPTH_MAX, .keep_last_duplicate = true};
    if (!json_parse(&vm->scratch, text, &options, &value, NULL, &err)) {
        lua_pushnil(L);
        lua_pushstring(L, err.message);
        return 2;
    }
    vm_push_value(L, &value);
    return 1;
}

static int json_encode_value(lua_State *L)
{
    Vm *vm = vm_of(L);
    luaL_checkany(L, 1);
    JsonStyle style = lua_toboolean(L, 2) ? JSON_PRETTY : JSON_COMPACT;
    arena_reset(&vm->scratch);
    Value value = vm_to_value(L, 1, &vm->scratch);
    buf_clear(&vm->buf);
    json_write(&vm->buf, &value, style);
    if (vm->buf.overflow) {
        return luaL_error(L, "json.encode: more than %d bytes", VM_STRING_MAX);
    }
    vm_push_str(L, buf_view(&vm->buf));
    return 1;
}

int lib_json_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"decode", json_decode_text},
                                         {"encode", json_encode_value},
                                         {"validate", json_validate},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    vm_push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
