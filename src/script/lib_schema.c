// SPDX-License-Identifier: MIT
// json.validate(value, schema [, formats]): true, or false and what is wrong with it. Compiled
// schemas are kept outside of all Lua states by what they say; a few at most.
#include "script/script_internal.h"
#include "text/json_schema.h"

#define SCHEMAS_MAX 32
#define STEP_COST   4 // VM instructions for a step of the validator

struct SchemaCache {
    struct {
        Hash key;
        JsonSchema *schema;
        uint64_t used_at;
    } slots[SCHEMAS_MAX];
    uint64_t clock;
};

SchemaCache *schema_cache_create(void)
{
    return mem_zalloc(1, sizeof(SchemaCache));
}

void schema_cache_destroy(SchemaCache *cache)
{
    for (size_t i = 0; cache != NULL && i < SCHEMAS_MAX; i++) {
        json_schema_destroy(cache->slots[i].schema);
    }
    mem_free(cache);
}

static Hash schema_key(const Value *schema, bool formats)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.schema.1"));
    hash_bool(&sha, formats);
    hash_value(&sha, schema);
    return hash_end(&sha);
}

/** The compiled schema, borrowed until the next miss. */
static bool schema_get(SchemaCache *cache, const Value *value, bool formats, JsonSchema **out,
                       Err *err)
{
    Hash key = schema_key(value, formats);
    size_t oldest = 0;
    cache->clock++;
    for (size_t i = 0; i < SCHEMAS_MAX; i++) {
        if (cache->slots[i].schema != NULL && hash_eq(&cache->slots[i].key, &key)) {
            cache->slots[i].used_at = cache->clock;
            *out = cache->slots[i].schema;
            return true;
        }
        oldest = cache->slots[i].used_at < cache->slots[oldest].used_at ? i : oldest;
    }
    JsonSchema *schema;
    JsonSchemaOptions options = {.assert_format = formats};
    if (!json_schema_create(value, &options, &schema, err)) {
        return false;
    }
    json_schema_destroy(cache->slots[oldest].schema);
    cache->slots[oldest].schema = schema;
    cache->slots[oldest].key = key;
    cache->slots[oldest].used_at = cache->clock;
    *out = schema;
    return true;
}

int json_validate(lua_State *L)
{
    Vm *vm = vm_of(L);
    luaL_checkany(L, 1);
    luaL_checkany(L, 2);
    bool formats = lua_toboolean(L, 3);
    arena_reset(&vm->scratch);
    Value value = vm_to_value(L, 1, &vm->scratch);
    Value schema = vm_to_value(L, 2, &vm->scratch);
    JsonSchema *compiled;
    Err err = ERR_INIT;
    if (!schema_get(script_schemas(vm->script), &schema, formats, &compiled, &err)) {
        return luaL_error(L, "json.validate: the schema: %s", err.message);
    }
    bool valid = false;
    Str why = STR_EMPTY;
    bool ok = json_schema_check(compiled, &value, &vm->scratch, &valid, &why, &err);
    vm_charge(L, json_schema_steps(compiled) * STEP_COST);
    vm_check_deadline(vm, L);
    if (!ok) {
        return luaL_error(L, "json.validate: %s", err.message);
    }
    lua_pushboolean(L, valid);
    if (valid) {
        return 1;
    }
    vm_push_str(L, why);
    return 2;
}
