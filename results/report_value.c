// SPDX-License-Identifier: MIT
// What --json prints, as values. NaN, which JSON has no word for, is null.
#include "results/results.h"

#include "text/text.h"

#include <math.h>

static Value number(double d)
{
    return isfinite(d) ? value_real(d) : value_null();
}

static void put_str(MapBuilder *map, const char *key, Str s)
{
    map_builder_put(map, str_from_c(key), value_str(s));
}

static void put_int(MapBuilder *map, const char *key, int64_t i)
{
    map_builder_put(map, str_from_c(key), value_int(i));
}

static void put_real(MapBuilder *map, const char *key, double d)
{
    map_builder_put(map, str_from_c(key), number(d));
}

static void put_hash(MapBuilder *map, const char *key, const Hash *hash)
{
    char hex[HASH_HEX_LEN + 1];
    hash_hex(hash, hex);
    put_str(map, key, str_copy(map->arena, str_from_c(hex)));
}

static Value usage_value(Arena *arena, const Usage *usage)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put_int(&map, "input", usage->input);
    put_int(&map, "output", usage->output);
    put_int(&map, "cached", usage->cached);
    put_int(&map, "reasoning", usage->reasoning);
    return map_builder_done(&map);
}

Value report_experiment_value(Arena *arena, const ExperimentInfo *experiment)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put_str(&map, "name", experiment->name);
    put_str(&map, "id", experiment->short_id);
    put_str(&map, "state", experiment->state);
    put_str(&map, "started", experiment->started);
    put_int(&map, "runs", experiment->n_runs);
    put_int(&map, "planned", experiment->n_planned);
    put_int(&map, "done", experiment->n_done);
    put_int(&map, "errors", experiment->n_errors);
    map_builder_put(&map, STR("tags"), experiment->tags);
    map_builder_put(&map, STR("spec"), experiment->spec);
    map_builder_put(&map, STR("provenance"), experiment->provenance);
    map_builder_put(&map, STR("stats"), experiment->stats);
    return map_builder_done(&map);
}

static void put_metric(MapBuilder *map, const MetricRow *metric)
{
    Value *interval = ARENA_ARRAY(map->arena, Value, 2);
    interval[0] = number(metric->low);
    interval[1] = number(metric->high);
    put_str(map, "name", metric->name);
    put_real(map, "value", metric->value);
    put_real(map, "stderr", metric->stderr_);
    map_builder_put(map, STR("interval"), value_list(interval, 2));
    put_str(map, "method", metric->method);
    put_int(map, "n", metric->n);
    if (metric->slice.len > 0) {
        put_str(map, "slice", metric->slice);
    }
    if (metric->n_unscored > 0) {
        put_int(map, "unscored", metric->n_unscored);
    }
    if (metric->n_clusters > 0) {
        put_int(map, "clusters", metric->n_clusters);
    }
    if (metric->lower_is_better) {
        map_builder_put(map, STR("lower_is_better"), value_bool(true));
    }
    if (metric->why.len > 0) {
        put_str(map, "why", metric->why);
    }
}

static Value run_value(Arena *arena, const RunInfo *run)
{
    Value *metrics = ARENA_ARRAY(arena, Value, run->n_metrics);
    for (size_t i = 0; i < run->n_metrics; i++) {
        MapBuilder one;
        map_builder_init(&one, arena);
        put_metric(&one, &run->metrics[i]);
        metrics[i] = map_builder_done(&one);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put_str(&map, "eval", run->eval);
    put_int(&map, "eval_version", run->spec.eval_version);
    put_str(&map, "part", run->part);
    put_str(&map, "variant", run->variant);
    put_str(&map, "model", run->model);
    put_int(&map, "planned", run->n_planned);
    put_int(&map, "done", run->n_done);
    put_int(&map, "errors", run->n_errors);
    put_int(&map, "unscored", run->n_unscored);
    put_int(&map, "epochs", run->spec.epochs);
    map_builder_put(&map, STR("metrics"), value_list(metrics, run->n_metrics));
    map_builder_put(&map, STR("usage"), usage_value(arena, &run->usage));
    put_real(&map, "seconds", run->seconds);
    put_real(&map, "cost_usd", run->cost_usd);
    put_hash(&map, "eval_hash", &run->spec.eval_hash);
    put_hash(&map, "program_hash", &run->spec.program_hash);
    put_hash(&map, "data_hash", &run->spec.data_hash);
    put_hash(&map, "model_hash", &run->spec.model_hash);
    return map_builder_done(&map);
}

Value report_runs_value(Arena *arena, const RunInfo *runs, size_t n)
{
    Value *items = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        items[i] = run_value(arena, &runs[i]);
    }
    return value_list(items, n);
}

Value report_cross_value(Arena *arena, const CrossMetric *cross, size_t n)
{
    Value *items = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        put_str(&map, "eval", cross[i].eval);
        put_str(&map, "variant", cross[i].variant);
        put_str(&map, "model", cross[i].model);
        put_str(&map, "average", cross[i].average);
        if (cross[i].over.len > 0) {
            put_str(&map, "over", cross[i].over);
        }
        put_int(&map, "parts", cross[i].n_runs);
        put_metric(&map, &cross[i].metric);
        items[i] = map_builder_done(&map);
    }
    return value_list(items, n);
}

/** JSON text that was stored, as a value; other text as it is. */
static Value parsed(Arena *arena, Str text)
{
    Value value;
    Err ignored = ERR_INIT;
    bool json = text.len > 0 && (text.data[0] == '[' || text.data[0] == '{');
    return json && json_parse(arena, text, NULL, &value, NULL, &ignored) ? value : value_str(text);
}

static Value score_value(Arena *arena, const Score *score)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put_str(&map, "grader", score->grader);
    if (score->state == SCORE_VALUE) {
        put_real(&map, "value", score->value);
    } else {
        map_builder_put(&map, STR("value"), value_null());
        put_str(&map, "unscored", score->reason);
    }
    put_real(&map, "weight", score->weight);
    map_builder_put(&map, STR("answer"),
                    score->has_answer ? value_str(score->answer) : value_null());
    put_str(&map, "why", score->why);
    if (score->detail.kind != VALUE_NULL) {
        map_builder_put(&map, STR("detail"), score->detail);
    }
    return map_builder_done(&map);
}

Value report_attempt_value(Arena *arena, const AttemptInfo *attempt)
{
    Value *scores = ARENA_ARRAY(arena, Value, attempt->n_scores);
    for (size_t i = 0; i < attempt->n_scores; i++) {
        scores[i] = score_value(arena, &attempt->scores[i]);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put_str(&map, "eval", attempt->eval);
    put_str(&map, "part", attempt->part);
    put_str(&map, "variant", attempt->variant);
    put_str(&map, "model", attempt->model);
    put_str(&map, "id", attempt->sample_id);
    put_int(&map, "epoch", attempt->epoch);
    put_str(&map, "state", attempt->state);
    if (attempt->error_code.len > 0) {
        put_str(&map, "error_type", attempt->error_code);
        put_str(&map, "error", attempt->error);
    }
    map_builder_put(&map, STR("input"), parsed(arena, attempt->input));
    map_builder_put(&map, STR("target"), parsed(arena, attempt->target));
    map_builder_put(&map, STR("metadata"), parsed(arena, attempt->metadata));
    map_builder_put(&map, STR("prompt"), parsed(arena, attempt->prompt));
    put_str(&map, "text", attempt->reply_text);
    put_str(&map, "stop", attempt->stop);
    if (attempt->choices.kind != VALUE_NULL) {
        map_builder_put(&map, STR("choices"), attempt->choices);
    }
    map_builder_put(&map, STR("scores"), value_list(scores, attempt->n_scores));
    map_builder_put(&map, STR("usage"), usage_value(arena, &attempt->usage));
    put_real(&map, "seconds", attempt->seconds);
    put_real(&map, "cost_usd", attempt->cost_usd);
    if (attempt->calls.kind == VALUE_LIST) {
        map_builder_put(&map, STR("calls"), attempt->calls);
    }
    if (attempt->notes.len > 0) {
        put_str(&map, "notes", attempt->notes);
    }
    return map_builder_done(&map);
}
