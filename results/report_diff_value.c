// SPDX-License-Identifier: MIT
// A diff as JSON values. NaN and infinity, which JSON has no words for, are null.
#include "results/report_diff.h"

#include <math.h>

static Value number(double d)
{
    return isfinite(d) ? value_real(d) : value_null();
}

static void put(MapBuilder *map, const char *key, Value value)
{
    map_builder_put(map, str_from_c(key), value);
}

static Value interval_value(Arena *arena, const Interval *interval)
{
    Value *ends = ARENA_ARRAY(arena, Value, 2);
    ends[0] = number(interval->low);
    ends[1] = number(interval->high);
    return value_list(ends, 2);
}

static Value side_value(Arena *arena, const Side *side)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "experiment", value_str(side->experiment.name));
    put(&map, "id", value_str(side->experiment.short_id));
    put(&map, "selector", value_str(side->selector.text));
    put(&map, "started", value_str(side->experiment.started));
    put(&map, "state", value_str(side->experiment.state));
    put(&map, "runs", value_int((int64_t)side->n_runs));
    return map_builder_done(&map);
}

static Value change_value(Arena *arena, const Change *change)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "what", value_str(str_from_c(change->what)));
    put(&map, "eval", change->eval.len > 0 ? value_str(change->eval) : value_null());
    put(&map, "from", value_str(change->from));
    put(&map, "to", value_str(change->to));
    put(&map, "detail", change->detail.len > 0 ? value_str(change->detail) : value_null());
    return map_builder_done(&map);
}

static void put_pairing(MapBuilder *map, const Pairing *pairing)
{
    put(map, "eval", value_str(pairing->eval));
    put(map, "base_variant", value_str(pairing->base_variant));
    put(map, "candidate_variant", value_str(pairing->candidate_variant));
    put(map, "base_model", value_str(pairing->base_model));
    put(map, "candidate_model", value_str(pairing->candidate_model));
}

/** A metric of one side by itself, over all of its samples. */
static Value own_value(Arena *arena, const MetricRow *row, const size_t *n_states)
{
    Interval interval = {.low = row->low, .high = row->high};
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "value", number(row->value));
    put(&map, "stderr", number(row->stderr_));
    put(&map, "interval", interval_value(arena, &interval));
    put(&map, "n", value_int(row->n));
    for (size_t state = SAMPLE_MISSING; state < SAMPLE_STATE_COUNT; state++) {
        put(&map, sample_state_word((SampleState)state), value_int((int64_t)n_states[state]));
    }
    return map_builder_done(&map);
}

static Value row_value(Arena *arena, const Comparison *row)
{
    const MetricPairs *metric = row->pairs;
    MapBuilder map;
    map_builder_init(&map, arena);
    put_pairing(&map, row->pairing);
    put(&map, "metric", value_str(metric->metric));
    put(&map, "average", value_str(metric->average));
    put(&map, "slice", value_str(metric->slice));
    put(&map, "headline", value_bool(metric->headline));
    put(&map, "lower_is_better", value_bool(metric->lower_is_better));
    put(&map, "verdict", value_str(str_from_c(row->verdict)));
    if (metric->unlike.len > 0) {
        put(&map, "not_comparable", value_str(metric->unlike));
    }
    put(&map, "base_value", number(row->base_value));
    put(&map, "candidate_value", number(row->candidate_value));
    put(&map, "difference", number(row->difference.interval.value));
    put(&map, "stderr", number(row->difference.interval.stderr_));
    put(&map, "interval", interval_value(arena, &row->difference.interval));
    put(&map, "method", value_str(str_from_c(row->method)));
    put(&map, "p", number(row->p));
    put(&map, "p_holm", number(row->p_holm));
    put(&map, "detects", number(row->effect));
    put(&map, "pairs", value_int((int64_t)row->n_paired));
    put(&map, "better", value_int((int64_t)row->n_better));
    put(&map, "worse", value_int((int64_t)row->n_worse));
    if (row->difference.n_clusters > 0) {
        put(&map, "clusters", value_int((int64_t)row->difference.n_clusters));
    }
    put(&map, "not_begun", value_int(metric->n_missing_planned));
    put(&map, "base", own_value(arena, &metric->base_row, row->n_states[0]));
    put(&map, "candidate", own_value(arena, &metric->candidate_row, row->n_states[1]));
    return map_builder_done(&map);
}

static Value cost_side_value(Arena *arena, const Usage *usage, double p50, double p95, double cost,
                             int64_t attempts)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "attempts", value_int(attempts));
    put(&map, "input_tokens", value_int(usage->input));
    put(&map, "output_tokens", value_int(usage->output));
    put(&map, "cached_tokens", value_int(usage->cached));
    put(&map, "reasoning_tokens", value_int(usage->reasoning));
    put(&map, "seconds_p50", number(p50));
    put(&map, "seconds_p95", number(p95));
    put(&map, "cost_usd", number(cost));
    return map_builder_done(&map);
}

static Value cost_value(Arena *arena, const Pairing *pairing, const CostDelta *costs)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put_pairing(&map, pairing);
    put(&map, "base",
        cost_side_value(arena, &costs->base_usage, costs->base_seconds_p50, costs->base_seconds_p95,
                        costs->base_cost_usd, costs->base_attempts));
    put(&map, "candidate",
        cost_side_value(arena, &costs->candidate_usage, costs->candidate_seconds_p50,
                        costs->candidate_seconds_p95, costs->candidate_cost_usd,
                        costs->candidate_attempts));
    return map_builder_done(&map);
}

static Value flip_value(Arena *arena, const Flip *flip)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put_pairing(&map, flip->pairing);
    put(&map, "part", value_str(flip->part));
    put(&map, "id", value_str(flip->sample_id));
    put(&map, "metric", value_str(flip->metric));
    put(&map, "base", number(flip->base));
    put(&map, "candidate", number(flip->candidate));
    put(&map, "turned", value_str(flip->better ? STR("better") : STR("worse")));
    return map_builder_done(&map);
}

static Value alone_value(Arena *arena, const Pairing *pairing)
{
    bool in_base = pairing->base_model.len > 0;
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "eval", value_str(pairing->eval));
    put(&map, "variant", value_str(in_base ? pairing->base_variant : pairing->candidate_variant));
    put(&map, "model", value_str(in_base ? pairing->base_model : pairing->candidate_model));
    put(&map, "only_in", value_str(in_base ? STR("base") : STR("candidate")));
    return map_builder_done(&map);
}

Value report_diff_value(Arena *arena, const DiffReport *diff)
{
    Value *changes = ARENA_ARRAY(arena, Value, diff->n_changes);
    Value *rows = ARENA_ARRAY(arena, Value, diff->n_rows);
    Value *costs = ARENA_ARRAY(arena, Value, diff->n_pairings);
    Value *alone = ARENA_ARRAY(arena, Value, diff->n_pairings);
    Value *flips = ARENA_ARRAY(arena, Value, diff->n_flips);
    size_t n_costs = 0;
    size_t n_alone = 0;
    for (size_t i = 0; i < diff->n_changes; i++) {
        changes[i] = change_value(arena, &diff->changes[i]);
    }
    for (size_t i = 0; i < diff->n_rows; i++) {
        rows[i] = row_value(arena, &diff->rows[i]);
    }
    for (size_t i = 0; i < diff->n_pairings; i++) {
        if (pairing_is_whole(&diff->pairings[i])) {
            costs[n_costs++] = cost_value(arena, &diff->pairings[i], &diff->costs[i]);
        } else {
            alone[n_alone++] = alone_value(arena, &diff->pairings[i]);
        }
    }
    for (size_t i = 0; i < diff->n_flips; i++) {
        flips[i] = flip_value(arena, &diff->flips[i]);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "base", side_value(arena, &diff->base));
    put(&map, "candidate", side_value(arena, &diff->candidate));
    put(&map, "changes", value_list(changes, diff->n_changes));
    put(&map, "rows", value_list(rows, diff->n_rows));
    put(&map, "unpaired_runs", value_list(alone, n_alone));
    put(&map, "costs", value_list(costs, n_costs));
    put(&map, "flips", value_list(flips, diff->n_flips));
    return map_builder_done(&map);
}

Value report_diff_sample_value(Arena *arena, const DiffSample *sample)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put_pairing(&map, sample->pairing);
    put(&map, "base",
        sample->base == NULL ? value_null() : report_attempt_value(arena, sample->base));
    put(&map, "candidate",
        sample->candidate == NULL ? value_null() : report_attempt_value(arena, sample->candidate));
    return map_builder_done(&map);
}
