// SPDX-License-Identifier: MIT
// Metrics written in Lua: a pure function over the scores of samples. Errors are made by calling it
// on many resamples, so the image of the metric called last is kept.
#include "script/script_internal.h"

#include <math.h>

typedef struct Loading {
    MetricCache *cache;
    Str file;
    Str text;
} Loading;

typedef struct Calling {
    const Value *params;
    const Value *scores;
    double *out;
} Calling;

static int load_body(lua_State *L)
{
    Loading *loading = lua_touserdata(L, 1);
    vm_load(L, loading->text, loading->file, STR("metric"), false);
    lua_call(L, 0, 1);
    unit_read(L, -1, UNIT_METRIC, &loading->cache->arena, &loading->cache->info);
    lua_getfield(L, -1, "metric");
    vm_set_slot(L, unit_slot(0, UNIT_SLOT_CALL));
    return 0;
}

void metric_cache_clear(Script *script)
{
    MetricCache *cache = script_metrics(script);
    image_finish(script_vm(script), &cache->image);
    arena_finish(&cache->arena);
    *cache = (MetricCache){0};
}

static bool metric_load(Script *script, Str file, Str text, MetricCache **out, Err *err)
{
    MetricCache *cache = script_metrics(script);
    Sha256 sha;
    hash_begin(&sha, STR("muster.metric.1"));
    hash_str(&sha, file);
    hash_str(&sha, text);
    Hash key = hash_end(&sha);
    if (cache->image.bytes != NULL && hash_eq(&cache->key, &key)) {
        *out = cache;
        return true;
    }
    metric_cache_clear(script);
    const Image *base;
    if (!script_base_image(script, false, &base, err)) {
        return false;
    }
    Vm *vm = script_vm(script);
    vm_restore(vm, base);
    vm_building(vm, base);
    Loading loading = {.cache = cache, .file = file, .text = text};
    if (!vm_run(vm, load_body, &loading, NULL, err)) {
        vm->live = NULL;
        metric_cache_clear(script);
        return false;
    }
    if (cache->info.name.len == 0) {
        cache->info.name = str_copy(&cache->arena, path_stem(file));
    }
    vm_snapshot(vm, &cache->image);
    cache->key = key;
    *out = cache;
    return true;
}

static int call_body(lua_State *L)
{
    const Calling *calling = lua_touserdata(L, 1);
    unit_push(L, 0, UNIT_SLOT_CALL);
    vm_note_place(L);
    vm_push_value(L, calling->scores);
    vm_push_value(L, calling->params);
    lua_call(L, 2, 1);
    double value = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !isfinite(value)) {
        lib_push_tostring(L, -1);
        return luaL_error(L, "a metric must return a finite number, not %s", lua_tostring(L, -1));
    }
    *calling->out = value + 0.0; // no negative zero
    return 0;
}

bool script_metric(Script *script, Str file, Str text, const Value *params, const Value *scores,
                   double *out, Err *err)
{
    MetricCache *cache;
    if (!metric_load(script, file, text, &cache, err)) {
        return false;
    }
    Arena scratch = {0};
    Value none = value_map(NULL, 0);
    Value resolved;
    double value = 0;
    Vm *vm = script_vm(script);
    Calling calling = {.params = &resolved, .scores = scores, .out = &value};
    bool ok = params_resolve(&cache->info, UNIT_METRIC, params == NULL ? &none : params, &scratch,
                             &resolved, err);
    if (ok) {
        vm_restore(vm, &cache->image);
        ok = vm_run(vm, call_body, &calling, NULL, err);
        vm->live = NULL;
    }
    arena_finish(&scratch);
    if (ok) {
        *out = value;
        return true;
    }
    return ERR_WRAP(err, "metric '" STR_FMT "'", STR_ARG(path_stem(file)));
}
