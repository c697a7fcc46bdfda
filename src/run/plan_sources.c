// SPDX-License-Identifier: MIT
// What an eval was made of, as text, so that later comparisons can show what changed: its file as a
// value and the Lua that it uses. Stored once an eval and experiment, in the spec of its first run.
#include "run/run_internal.h"

#define HELPERS_MAX_BYTES ((size_t)1 << 20)

/** The dataset with its inline rows, which the samples' own rows hold, replaced by their number. */
static Value dataset_value(const Value *dataset, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < dataset->as.map.n; i++) {
        const ValuePair *pair = &dataset->as.map.pairs[i];
        bool rows = str_eq_c(pair->key, "rows") && pair->value.kind == VALUE_LIST;
        map_builder_put(&map, pair->key,
                        rows ? value_int((int64_t)pair->value.as.list.n) : pair->value);
    }
    return map_builder_done(&map);
}

/** The eval's file, without its description: that changes nothing. */
static Value file_value(const Eval *eval, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; eval->source.kind == VALUE_MAP && i < eval->source.as.map.n; i++) {
        const ValuePair *pair = &eval->source.as.map.pairs[i];
        if (str_eq_c(pair->key, "dataset") && pair->value.kind == VALUE_MAP) {
            map_builder_put(&map, pair->key, dataset_value(&pair->value, arena));
        } else if (!str_eq_c(pair->key, "description")) {
            map_builder_put(&map, pair->key, pair->value);
        }
    }
    return map_builder_done(&map);
}

static void put_unit(MapBuilder *map, Registry *registry, const Eval *eval, UnitKind kind, Str use)
{
    RegistryUnit unit;
    if (!registry_unit_find(registry, eval, kind, use, &unit)) {
        return;
    }
    Str name = str_printf(map->arena, "%s " STR_FMT, kind == UNIT_SOLVER ? "solver" : "grader",
                          STR_ARG(use));
    for (size_t i = 0; i < map->n; i++) {
        if (str_eq(map->pairs[i].key, name)) {
            return;
        }
    }
    map_builder_put(map, name, value_str(unit.text));
}

static Value lua_value(Registry *registry, const Eval *eval, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t v = 0; v < eval->n_variants; v++) {
        put_unit(&map, registry, eval, UNIT_SOLVER, eval->variants[v].solver.use);
    }
    for (size_t g = 0; g < eval->n_graders; g++) {
        put_unit(&map, registry, eval, UNIT_GRADER, eval->graders[g].use);
    }
    Str text;
    Err ignored = ERR_INIT; // the task that uses them was opened
    if (eval->helpers.len > 0 && file_read(arena, path_join(arena, eval->dir, eval->helpers),
                                           HELPERS_MAX_BYTES, &text, &ignored)) {
        map_builder_put(&map, STR("helpers"), value_str(text));
    }
    return map_builder_done(&map);
}

Value plan_sources(Registry *registry, const Eval *eval, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("eval"), file_value(eval, arena));
    map_builder_put(&map, STR("lua"), lua_value(registry, eval, arena));
    return map_builder_done(&map);
}
