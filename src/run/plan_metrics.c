// SPDX-License-Identifier: MIT
// What an eval's metrics need to be computed from scores alone, later and elsewhere: stored with
// each run (results.h, RunSpec.metrics).
#include "run/run_internal.h"

#include <math.h>

static void put_bound(MapBuilder *map, Str key, double bound)
{
    if (isfinite(bound)) {
        map_builder_put(map, key, value_real(bound));
    }
}

/** What the graders of an eval are called and declare: results.h, RunSpec.metrics. */
static Value graders_value(Registry *registry, const Eval *eval, Arena *arena)
{
    Value *graders = ARENA_ARRAY(arena, Value, eval->n_graders + 1);
    for (size_t g = 0; g < eval->n_graders; g++) {
        const EvalGrader *grader = &eval->graders[g];
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("name"), value_str(grader->name));
        map_builder_put(&map, STR("use"), value_str(grader->use));
        RegistryUnit unit;
        if (registry_unit_find(registry, eval, UNIT_GRADER, grader->use, &unit)) {
            put_bound(&map, STR("low"), unit.info->range_low);
            put_bound(&map, STR("high"), unit.info->range_high);
            if (unit.info->lower_is_better != grader->negate) {
                map_builder_put(&map, STR("lower_is_better"), value_bool(true));
            }
        }
        graders[g] = map_builder_done(&map);
    }
    return value_list(graders, eval->n_graders);
}

static Value variants_value(const Eval *eval, Arena *arena)
{
    Value *names = ARENA_ARRAY(arena, Value, eval->n_variants + 1);
    for (size_t i = 0; i < eval->n_variants; i++) {
        names[i] = value_str(eval->variants[i].name);
    }
    return value_list(names, eval->n_variants);
}

/** k and min, which several metrics share, and what else a custom metric is given. */
static void put_metric_params(MapBuilder *map, const EvalMetric *metric, Arena *arena)
{
    MapBuilder others;
    map_builder_init(&others, arena);
    for (size_t i = 0; metric->params.kind == VALUE_MAP && i < metric->params.as.map.n; i++) {
        const ValuePair *pair = &metric->params.as.map.pairs[i];
        bool shared = str_eq_c(pair->key, "k") || str_eq_c(pair->key, "min");
        map_builder_put(shared ? map : &others, pair->key, pair->value);
    }
    if (others.n > 0) {
        map_builder_put(map, STR("params"), map_builder_done(&others));
    }
}

static void put_metric_text(MapBuilder *map, Registry *registry, const Eval *eval,
                            const EvalMetric *metric)
{
    RegistryUnit unit;
    if (metric->file.len > 0) {
        map_builder_put(map, STR("lua"), value_str(metric->text));
        map_builder_put(map, STR("file"), value_str(metric->file));
        if (registry_unit_find(registry, eval, UNIT_METRIC, metric->use, &unit) &&
            unit.info->lower_is_better) {
            map_builder_put(map, STR("lower_is_better"), value_bool(true));
        }
    }
}

static Value metric_value(Registry *registry, const Eval *eval, const EvalMetric *metric,
                          Value graders, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("use"), value_str(metric->use));
    if (metric->of.len > 0) {
        map_builder_put(&map, STR("of"), value_str(metric->of));
    }
    if (metric->average.len > 0) {
        map_builder_put(&map, STR("average"), value_str(metric->average));
    }
    if (metric->over.len > 0) {
        map_builder_put(&map, STR("over"), value_str(metric->over));
    }
    put_metric_params(&map, metric, arena);
    if (str_eq_c(metric->use, "worst")) {
        map_builder_put(&map, STR("variants"), variants_value(eval, arena));
    }
    if (eval->n_slices > 0) {
        Value *keys = ARENA_ARRAY(arena, Value, eval->n_slices);
        for (size_t i = 0; i < eval->n_slices; i++) {
            keys[i] = value_str(eval->slices[i]);
        }
        map_builder_put(&map, STR("slices"), value_list(keys, eval->n_slices));
    }
    map_builder_put(&map, STR("graders"), graders);
    put_metric_text(&map, registry, eval, metric);
    return map_builder_done(&map);
}

Value plan_metrics(Registry *registry, const Eval *eval, Arena *arena)
{
    Value graders = graders_value(registry, eval, arena);
    Value *items = ARENA_ARRAY(arena, Value, eval->n_metrics + 1);
    for (size_t i = 0; i < eval->n_metrics; i++) {
        items[i] = metric_value(registry, eval, &eval->metrics[i], graders, arena);
    }
    return value_list(items, eval->n_metrics);
}
