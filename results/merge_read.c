// SPDX-License-Identifier: MIT
// Experiments as a merge reads them, and what the shards of one run have in common.
#include "results/merge_internal.h"

#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 1000000 // as many as run --shard takes: arrays are made of that length

static const SqlText from_sql[] = {
#define X(name, sql) {#name, sql},
#include "results/merge_from_sql.def"
#undef X
};
_Static_assert(sizeof(from_sql) / sizeof(from_sql[0]) == FROM_SQL_COUNT, "one text a statement");

bool merge_open_from(Db *db, const char *path, Err *err)
{
    if (!db_open_reader(db, path, err)) {
        return false;
    }
    if (!db_prepare(db, from_sql, FROM_SQL_COUNT, err)) {
        db_close(db);
        return false;
    }
    return true;
}

// ---- Maps ---------------------------------------------------------------------------------------

Value merge_without(const Value *map, Str key, Arena *arena)
{
    MapBuilder builder;
    map_builder_init(&builder, arena);
    for (size_t i = 0; map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        if (!str_eq(pair->key, key)) {
            map_builder_put(&builder, pair->key, pair->value);
        }
    }
    return map_builder_done(&builder);
}

static Value with(const Value *map, Str key, Value value, Arena *arena)
{
    MapBuilder builder;
    map_builder_init(&builder, arena);
    bool put = false;
    for (size_t i = 0; map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        bool is_it = str_eq(pair->key, key);
        put = put || is_it;
        map_builder_put(&builder, pair->key, is_it ? value : pair->value);
    }
    if (!put) {
        map_builder_put(&builder, key, value);
    }
    return map_builder_done(&builder);
}

Value merge_run_spec(const Value *spec, int64_t n_planned, Arena *arena)
{
    bool has_it = value_get_c(spec, "n_planned") != NULL;
    return has_it ? with(spec, STR("n_planned"), value_int(n_planned), arena) : *spec;
}

static Value spec_without_shards(const Value *spec, Arena *arena)
{
    Value rest = merge_without(spec, STR("shard"), arena);
    return merge_without(&rest, STR("shards"), arena);
}

Value merge_spec(const Value *spec, int64_t n, const int64_t *have, size_t n_have, Arena *arena)
{
    Value rest = spec_without_shards(spec, arena);
    if (n == 0 || n_have == (size_t)n) {
        return rest;
    }
    Value *items = ARENA_ARRAY(arena, Value, n_have);
    for (size_t i = 0; i < n_have; i++) {
        items[i] = value_int(have[i]);
    }
    MapBuilder shards;
    map_builder_init(&shards, arena);
    map_builder_put(&shards, STR("n"), value_int(n));
    map_builder_put(&shards, STR("have"), value_list(items, n_have));
    return with(&rest, STR("shards"), map_builder_done(&shards), arena);
}

ExperimentSpec merge_base_spec(const MergeExperiment *experiment, Arena *arena)
{
    RunSpec *runs = ARENA_ARRAY(arena, RunSpec, experiment->n_runs + 1);
    for (size_t i = 0; i < experiment->n_runs; i++) {
        runs[i] = experiment->runs[i];
        runs[i].n_planned = 0;
        runs[i].spec = merge_without(&runs[i].spec, STR("n_planned"), arena);
    }
    return (ExperimentSpec){
        .spec = spec_without_shards(&experiment->spec, arena),
        .runs = runs,
        .n_runs = experiment->n_runs,
    };
}

// ---- Shards -------------------------------------------------------------------------------------

static int compare_i64(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/** From spec.shard {k, n} or spec.shards {n, have}. */
static bool shards_read(MergeExperiment *experiment, Arena *arena, Err *err)
{
    const Value *one = value_get_c(&experiment->spec, "shard");
    const Value *some = value_get_c(&experiment->spec, "shards");
    bool is_one = one != NULL && one->kind == VALUE_MAP;
    if (!is_one && (some == NULL || some->kind != VALUE_MAP)) {
        return true;
    }
    experiment->n_shards = value_get_int(is_one ? one : some, "n", 0);
    const Value *list = is_one ? NULL : value_get_c(some, "have");
    size_t n = is_one ? 1 : list != NULL && list->kind == VALUE_LIST ? list->as.list.n : 0;
    int64_t *have = ARENA_ARRAY(arena, int64_t, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *k = is_one ? value_get_c(one, "k") : &list->as.list.items[i];
        have[i] = k != NULL && k->kind == VALUE_INT ? k->as.integer : 0;
    }
    qsort(have, n, sizeof(*have), compare_i64);
    bool ok = n > 0 && have[0] >= 1 && have[n - 1] <= experiment->n_shards &&
              experiment->n_shards <= SHARDS_MAX;
    for (size_t i = 1; i < n; i++) {
        ok = ok && have[i - 1] < have[i];
    }
    experiment->have = have;
    experiment->n_have = n;
    return ok || ERR_SET(err, ERR_STORE,
                         "store '" STR_FMT "', experiment '" STR_FMT "': its shard is damaged",
                         STR_ARG(experiment->store), STR_ARG(experiment->name));
}

/** Its name without the ending that a shard's made-up name has. */
static Str base_name(const MergeExperiment *experiment, Arena *arena)
{
    if (experiment->n_shards == 0 || experiment->n_have != 1) {
        return experiment->name;
    }
    Str end = str_printf(arena, "-shard-%lld-of-%lld", (long long)experiment->have[0],
                         (long long)experiment->n_shards);
    bool ends = experiment->name.len > end.len && str_ends_with(experiment->name, end);
    return ends ? str_slice(experiment->name, 0, experiment->name.len - end.len) : experiment->name;
}

// ---- Experiments --------------------------------------------------------------------------------

static bool run_read(sqlite3_stmt *row, Arena *arena, MergeExperiment *experiment, size_t at,
                     Err *err)
{
    experiment->run_ids[at] = column_i64(row, 0);
    experiment->set_ids[at] = column_i64(row, 1);
    RunSpec *run = &experiment->runs[at];
    *run = (RunSpec){
        .eval = column_copy(row, 2, arena),
        .eval_version = column_i64(row, 3),
        .part = column_copy(row, 4, arena),
        .variant = column_copy(row, 5, arena),
        .model = column_copy(row, 6, arena),
        .n_planned = column_i64(row, 7),
        .epochs = column_i64(row, 8),
        .eval_hash = column_hash(row, 9),
        .program_hash = column_hash(row, 10),
        .data_hash = column_hash(row, 11),
        .model_hash = column_hash(row, 12),
    };
    return column_json(row, 13, arena, &run->spec, err) &&
           column_json(row, 14, arena, &run->metrics, err);
}

static void runs_grow(MergeExperiment *experiment, size_t cap, Arena *arena)
{
    MergeExperiment old = *experiment;
    experiment->runs = ARENA_ARRAY(arena, RunSpec, cap);
    experiment->run_ids = ARENA_ARRAY(arena, int64_t, cap);
    experiment->set_ids = ARENA_ARRAY(arena, int64_t, cap);
    for (size_t i = 0; i < old.n_runs; i++) {
        experiment->runs[i] = old.runs[i];
        experiment->run_ids[i] = old.run_ids[i];
        experiment->set_ids[i] = old.set_ids[i];
    }
}

static bool runs_read(Db *db, Arena *arena, MergeExperiment *experiment, Err *err)
{
    sqlite3_stmt *row = db_statement(db, FROM_SQL_RUNS);
    bind_i64(row, 1, experiment->id);
    size_t cap = 0;
    for (;;) {
        bool more;
        if (!db_step(db, FROM_SQL_RUNS, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        if (experiment->n_runs == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            runs_grow(experiment, cap, arena);
        }
        if (!run_read(row, arena, experiment, experiment->n_runs, err)) {
            sqlite3_reset(row);
            return false;
        }
        experiment->n_runs++;
    }
}

static bool experiment_read(sqlite3_stmt *row, Str store, Arena *arena, MergeExperiment *out,
                            Err *err)
{
    *out = (MergeExperiment){
        .store = store,
        .id = column_i64(row, 0),
        .name = column_copy(row, 1, arena),
        .short_id = column_copy(row, 2, arena),
        .state = column_copy(row, 3, arena),
        .started_ms = column_i64(row, 4),
        .ended_ms = column_i64(row, 5),
    };
    return column_json(row, 6, arena, &out->tags, err) &&
           column_json(row, 7, arena, &out->spec, err) &&
           column_json(row, 8, arena, &out->provenance, err) &&
           column_json(row, 9, arena, &out->stats, err) && shards_read(out, arena, err);
}

bool merge_read(Db *db, Str store, Arena *arena, MergeExperiment **out, size_t *out_n, Err *err)
{
    sqlite3_stmt *row = db_statement(db, FROM_SQL_EXPERIMENTS);
    MergeExperiment *items = NULL;
    size_t n = 0;
    size_t cap = 0;
    for (;;) {
        bool more;
        if (!db_step(db, FROM_SQL_EXPERIMENTS, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        if (n == cap) {
            cap = cap == 0 ? 8 : cap * 2;
            MergeExperiment *grown = ARENA_ARRAY(arena, MergeExperiment, cap);
            for (size_t i = 0; i < n; i++) {
                grown[i] = items[i];
            }
            items = grown;
        }
        if (!experiment_read(row, store, arena, &items[n++], err)) {
            sqlite3_reset(row);
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!runs_read(db, arena, &items[i], err)) {
            return false;
        }
        items[i].base_name = base_name(&items[i], arena);
        ExperimentSpec base = merge_base_spec(&items[i], arena);
        items[i].base_hash = spec_hash(&base);
    }
    *out = items;
    *out_n = n;
    return true;
}
