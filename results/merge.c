// SPDX-License-Identifier: MIT
// Merging: read what the stores hold, decide what belongs together, then one transaction for each
// experiment of the output. Killed at any point, the output has whole merges only.
#include "results/merge.h"

#include "results/merge_plan.h"

#include <string.h>
#include <sys/stat.h>

static const SqlText into_sql[] = {
#define X(name, sql) {#name, sql},
#include "results/merge_into_sql.def"
#undef X
};
_Static_assert(sizeof(into_sql) / sizeof(into_sql[0]) == INTO_SQL_COUNT, "one text a statement");

#define NAME_TRIES 10000

/** A merge at work. */
typedef struct Merge {
    const MergeOptions *options;
    Arena *arena;
    Store *store;
    Db into_sql;                     // on the store's connection
    const MergeExperiment **sources; // that were asked for
    size_t n_sources;
    size_t cap_sources;
    const MergeExperiment *existing; // of the output, before
    size_t n_existing;
} Merge;

/** The experiment that a group becomes. */
typedef struct Target {
    int64_t id;
    Str name;
    Str short_id;
    bool is_new;
    int64_t started_ms;
    int64_t ended_ms;
    Value tags;
    Value spec;
    Value provenance;
    RunSpec *runs; // n_planned so far
    OpenRun *open;
    size_t n_runs;
    int64_t n_shards;
    int64_t *have; // ascending
    size_t n_have;
    Value *entries; // provenance.merged
    size_t n_entries;
    bool finished; // before
    bool changed;
} Target;

// ---- Reading ------------------------------------------------------------------------------------

static bool wanted(const Merge *merge, const MergeExperiment *experiment)
{
    Str only = merge->options->only;
    return only.len == 0 || str_eq(only, experiment->short_id) ||
           glob_match(only, experiment->name) || glob_match(only, experiment->base_name);
}

static void source_add(Merge *merge, const MergeExperiment *experiment)
{
    if (merge->n_sources == merge->cap_sources) {
        merge->cap_sources = merge->cap_sources == 0 ? 16 : merge->cap_sources * 2;
        const MergeExperiment **grown =
            ARENA_ARRAY(merge->arena, const MergeExperiment *, merge->cap_sources);
        for (size_t i = 0; i < merge->n_sources; i++) {
            grown[i] = merge->sources[i];
        }
        merge->sources = grown;
    }
    merge->sources[merge->n_sources++] = experiment;
}

static bool store_read(Merge *merge, Str path, MergeExperiment **out, size_t *out_n, Err *err)
{
    Db db = {0};
    if (!merge_open_from(&db, str_to_c(merge->arena, path), err)) {
        return false;
    }
    bool ok = merge_read(&db, str_copy(merge->arena, path), merge->arena, out, out_n, err);
    db_close(&db);
    return ok;
}

static bool is_same_file(Str a, Str b)
{
    Arena arena = {0};
    struct stat left;
    struct stat right;
    bool same = stat(str_to_c(&arena, a), &left) == 0 && stat(str_to_c(&arena, b), &right) == 0 &&
                left.st_dev == right.st_dev && left.st_ino == right.st_ino;
    arena_finish(&arena);
    return same;
}

/** Of a store that is merged into itself only single shards are sources. */
static bool is_single_shard(const MergeExperiment *experiment)
{
    return experiment->n_shards > 0 && value_get_c(&experiment->provenance, "merged") == NULL;
}

static bool sources_read(Merge *merge, Err *err)
{
    for (size_t i = 0; i < merge->options->n_stores; i++) {
        MergeExperiment *found = NULL;
        size_t n = 0;
        if (!store_read(merge, merge->options->stores[i], &found, &n, err)) {
            return false;
        }
        bool is_output = is_same_file(merge->options->stores[i], merge->options->output);
        for (size_t j = 0; j < n; j++) {
            if (wanted(merge, &found[j]) && (!is_output || is_single_shard(&found[j]))) {
                source_add(merge, &found[j]);
            }
        }
    }
    return merge->n_sources > 0 || merge->options->only.len == 0 ||
           ERR_SET(err, ERR_NOT_FOUND, "no store has an experiment '" STR_FMT "'",
                   STR_ARG(merge->options->only));
}

// ---- Targets ------------------------------------------------------------------------------------

/** One OpenRun a run, with the runs that share its samples. */
static void runs_open(Target *target, const int64_t *ids, const int64_t *set_ids, Arena *arena)
{
    target->open = ARENA_ARRAY(arena, OpenRun, target->n_runs + 1);
    for (size_t i = 0; i < target->n_runs; i++) {
        int64_t *siblings = ARENA_ARRAY(arena, int64_t, target->n_runs);
        size_t n = 0;
        for (size_t j = 0; j < target->n_runs; j++) {
            if (set_ids[j] == set_ids[i]) {
                siblings[n++] = ids[j];
            }
        }
        target->open[i] = (OpenRun){.id = ids[i],
                                    .experiment_id = target->id,
                                    .set_id = set_ids[i],
                                    .siblings = siblings,
                                    .n_siblings = n};
    }
}

/** The shards that an experiment's entries tell of: a complete one's spec has none. */
static void entries_shards(Target *target, Arena *arena)
{
    for (size_t i = 0; i < target->n_entries; i++) {
        const Value *shards = value_get_c(&target->entries[i], "shards");
        target->n_shards = value_get_int(shards, "n", target->n_shards);
    }
    if (target->n_shards > 0 && target->n_have == 0) {
        target->have = ARENA_ARRAY(arena, int64_t, (size_t)target->n_shards);
        for (int64_t k = 1; k <= target->n_shards; k++) {
            target->have[target->n_have++] = k;
        }
    }
}

/** Go on with an experiment of the output. */
static void target_existing(Merge *merge, const MergeExperiment *found, Target *out)
{
    Arena *arena = merge->arena;
    const Value *merged = value_get_c(&found->provenance, "merged");
    size_t n_entries = merged != NULL && merged->kind == VALUE_LIST ? merged->as.list.n : 0;
    *out = (Target){
        .id = found->id,
        .name = found->name,
        .short_id = found->short_id,
        .started_ms = found->started_ms,
        .ended_ms = found->ended_ms,
        .tags = found->tags,
        .spec = found->spec,
        .provenance = found->provenance,
        .runs = found->runs,
        .n_runs = found->n_runs,
        .n_shards = found->n_shards,
        .n_have = found->n_have,
        .entries = ARENA_ARRAY(arena, Value, n_entries + merge->n_sources + 1),
        .n_entries = n_entries,
        .finished = str_eq(found->state, STR("finished")),
    };
    for (size_t i = 0; i < n_entries; i++) {
        out->entries[i] = merged->as.list.items[i];
    }
    if (found->n_shards > 0) {
        out->have = ARENA_ARRAY(arena, int64_t, (size_t)found->n_shards);
        memcpy(out->have, found->have, found->n_have * sizeof(*found->have));
    }
    entries_shards(out, arena);
    runs_open(out, found->run_ids, found->set_ids, arena);
}

/** A name that the output does not have; short_id stays where it can. */
static bool names_choose(Merge *merge, const MergeExperiment *first, Target *target, Err *err)
{
    Arena *arena = merge->arena;
    bool is_shards = first->n_shards > 0;
    Str given = merge->options->name;
    Str base = given.len > 0 ? given : first->base_name;
    Rng rng;
    Hash seed = sha256_of(str_concat(arena, first->short_id, base));
    rng_init(&rng, hash_u64(&seed) ^ (uint64_t)first->started_ms);
    Str short_id = is_shards ? short_id_make(arena, &rng) : first->short_id;
    if (!name_check(base, err)) {
        return false;
    }
    for (int i = 1; i < NAME_TRIES; i++) {
        Str name = i == 1 ? base : str_printf(arena, STR_FMT "-%d", STR_ARG(base), i);
        bool name_taken;
        bool id_taken;
        if (!store_name_taken(merge->store, name, name, &name_taken, err) ||
            !store_name_taken(merge->store, short_id, short_id, &id_taken, err)) {
            return false;
        }
        if (id_taken) {
            short_id = short_id_make(arena, &rng);
            i--;
            continue;
        }
        if (!name_taken) {
            target->name = name;
            target->short_id = short_id;
            return true;
        }
        if (is_shards || given.len > 0) {
            break;
        }
    }
    return ERR_SET(err, ERR_EXISTS,
                   "the output has an experiment '" STR_FMT "' already; give another --name",
                   STR_ARG(base));
}

static bool target_insert(Merge *merge, const MergeExperiment *first, Target *out, Err *err)
{
    Arena *arena = merge->arena;
    *out = (Target){
        .is_new = true,
        .started_ms = first->started_ms,
        .tags = first->tags,
        .spec = first->spec,
        .provenance = first->provenance,
        .runs = ARENA_ARRAY(arena, RunSpec, first->n_runs + 1),
        .n_runs = first->n_runs,
        .n_shards = first->n_shards,
        .have = ARENA_ARRAY(arena, int64_t, (size_t)first->n_shards + 1),
        .entries = ARENA_ARRAY(arena, Value, merge->n_sources + 1),
    };
    for (size_t i = 0; i < first->n_runs; i++) {
        out->runs[i] = first->runs[i];
        out->runs[i].n_planned = first->n_shards > 0 ? 0 : first->runs[i].n_planned;
    }
    Str tags;
    Hash none = {0}; // until the runs are planned
    if (!names_choose(merge, first, out, err) || !json_text(arena, &out->tags, &tags, err)) {
        return false;
    }
    sqlite3_stmt *insert = db_statement(&merge->into_sql, INTO_SQL_EXPERIMENT_INSERT);
    bind_str(insert, 1, out->name);
    bind_str(insert, 2, out->short_id);
    bind_i64(insert, 3, out->started_ms);
    bind_str(insert, 4, tags);
    bind_str(insert, 5, STR("{}"));
    bind_hash(insert, 6, &none);
    bind_str(insert, 7, STR("{}"));
    if (!db_run(&merge->into_sql, INTO_SQL_EXPERIMENT_INSERT, err)) {
        return false;
    }
    out->id = sqlite3_last_insert_rowid(merge->store->db.handle);
    ExperimentSpec spec = {.runs = out->runs, .n_runs = out->n_runs};
    int64_t *ids = ARENA_ARRAY(arena, int64_t, out->n_runs + 1);
    int64_t *set_ids = ARENA_ARRAY(arena, int64_t, out->n_runs + 1);
    for (size_t i = 0; i < out->n_runs; i++) {
        if (!store_run_insert(merge->store, arena, out->id, &spec, i, ids, err)) {
            return false;
        }
        size_t set = 0;
        while (!str_eq(out->runs[set].eval, out->runs[i].eval) ||
               !str_eq(out->runs[set].part, out->runs[i].part)) {
            set++;
        }
        set_ids[i] = ids[set];
    }
    runs_open(out, ids, set_ids, arena);
    return true;
}

// ---- Sources ------------------------------------------------------------------------------------

static bool has_shard(const Target *target, int64_t k)
{
    for (size_t i = 0; i < target->n_have; i++) {
        if (target->have[i] == k) {
            return true;
        }
    }
    return false;
}

static size_t run_of(const Target *target, const RunSpec *run)
{
    size_t i = 0;
    while (i < target->n_runs && spec_run_compare(&target->runs[i], run) != 0) {
        i++;
    }
    return i;
}

/** Count a source's shards in; *out_known tells that they were there before. */
static bool shards_add(Target *target, const MergeExperiment *source, bool *out_known, Err *err)
{
    size_t n_known = 0;
    for (size_t i = 0; i < source->n_have; i++) {
        n_known += has_shard(target, source->have[i]);
    }
    *out_known = n_known == source->n_have;
    if (*out_known) {
        return true;
    }
    if (n_known > 0) {
        return ERR_SET(err, ERR_USAGE,
                       "'" STR_FMT "' of " STR_FMT " holds some shards that '" STR_FMT
                       "' has and some that it lacks: merge the stores of the single shards",
                       STR_ARG(source->name), STR_ARG(source->store), STR_ARG(target->name));
    }
    for (size_t i = 0; i < source->n_have; i++) {
        size_t at = target->n_have++;
        while (at > 0 && target->have[at - 1] > source->have[i]) {
            target->have[at] = target->have[at - 1];
            at--;
        }
        target->have[at] = source->have[i];
    }
    for (size_t r = 0; r < source->n_runs; r++) {
        target->runs[run_of(target, &source->runs[r])].n_planned += source->runs[r].n_planned;
    }
    target->changed = true;
    return true;
}

static void entry_put(MapBuilder *map, const char *key, const Value *from)
{
    const Value *value = value_get_c(from, key);
    if (value != NULL) {
        map_builder_put(map, str_from_c(key), *value);
    }
}

/** Whether all that a source has is finished; a merge of some shards never is by its own state. */
static bool source_finished(const MergeExperiment *source)
{
    const Value *merged = value_get_c(&source->provenance, "merged");
    if (source->n_shards == 0 || merged == NULL || merged->kind != VALUE_LIST) {
        return str_eq(source->state, STR("finished"));
    }
    bool finished = true;
    for (size_t i = 0; i < merged->as.list.n; i++) {
        Str state = value_get_str(&merged->as.list.items[i], "state", STR_EMPTY);
        finished = finished && str_eq(state, STR("finished"));
    }
    return finished;
}

/** What provenance.merged keeps of a source. */
static Value entry_of(const MergeExperiment *source, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("name"), value_str(source->name));
    map_builder_put(&map, STR("id"), value_str(source->short_id));
    map_builder_put(&map, STR("store"), value_str(source->store));
    map_builder_put(&map, STR("started_ms"), value_int(source->started_ms));
    map_builder_put(&map, STR("state"),
                    value_str(source_finished(source) ? STR("finished") : STR("interrupted")));
    if (source->n_shards > 0) {
        Value *have = ARENA_ARRAY(arena, Value, source->n_have);
        for (size_t i = 0; i < source->n_have; i++) {
            have[i] = value_int(source->have[i]);
        }
        MapBuilder shards;
        map_builder_init(&shards, arena);
        map_builder_put(&shards, STR("n"), value_int(source->n_shards));
        map_builder_put(&shards, STR("have"), value_list(have, source->n_have));
        map_builder_put(&map, STR("shards"), map_builder_done(&shards));
    }
    static const char *const kept[] = {"program", "git_commit", "git_dirty", "host", "system"};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        entry_put(&map, kept[i], &source->provenance);
    }
    map_builder_put(&map, STR("stats"), source->stats);
    return map_builder_done(&map);
}

/** Equal but for the path of the store, which may be another mount of the same file. */
static bool same_entry(const Value *a, const Value *b, Arena *arena)
{
    Value left = merge_without(a, STR("store"), arena);
    Value right = merge_without(b, STR("store"), arena);
    return value_equal(&left, &right);
}

static void entry_add(Target *target, const MergeExperiment *source, Arena *arena)
{
    Value entry = entry_of(source, arena);
    for (size_t i = 0; i < target->n_entries; i++) {
        Value *old = &target->entries[i];
        if (str_eq(value_get_str(old, "id", STR_EMPTY), source->short_id) &&
            value_get_int(old, "started_ms", -1) == source->started_ms) {
            if (!same_entry(old, &entry, arena)) {
                *old = entry;
                target->changed = true;
            }
            return;
        }
    }
    target->entries[target->n_entries++] = entry;
    target->changed = true;
}

/** Copy the rows of a source within the transaction that is open. */
static bool source_copy(Merge *merge, const MergeExperiment *source, Target *target, Merged *out,
                        Err *err)
{
    bool known = !target->is_new || target->n_entries > 0;
    if (source->n_shards > 0 && !shards_add(target, source, &known, err)) {
        return false;
    }
    Db from = {0};
    if (!merge_open_from(&from, str_to_c(merge->arena, source->store), err)) {
        return false;
    }
    MergeCopy copy = {
        .from = &from,
        .into = merge->store,
        .into_sql = &merge->into_sql,
        .from_words = str_printf(merge->arena, "'" STR_FMT "' of " STR_FMT, STR_ARG(source->name),
                                 STR_ARG(source->store)),
        .fresh = !known,
    };
    bool ok = db_exec(&from, "BEGIN", err); // one state of it, whoever writes there
    for (size_t r = 0; ok && r < source->n_runs; r++) {
        size_t into = run_of(target, &source->runs[r]);
        ok = merge_copy_run(&copy, source->run_ids[r], &source->runs[r], &target->open[into], err);
    }
    merge_copy_finish(&copy);
    db_close(&from);
    out->n_added += copy.n_added;
    out->n_replaced += copy.n_replaced;
    target->changed = target->changed || copy.n_added + copy.n_replaced > 0;
    bool itself = source->n_shards == 0 && str_eq(source->short_id, target->short_id) &&
                  source->started_ms == target->started_ms && !target->is_new;
    if (!itself || copy.n_added + copy.n_replaced > 0) {
        entry_add(target, source, merge->arena);
    }
    target->started_ms =
        source->started_ms < target->started_ms ? source->started_ms : target->started_ms;
    target->ended_ms = source->ended_ms > target->ended_ms ? source->ended_ms : target->ended_ms;
    return ok;
}

// ---- Ending a target ----------------------------------------------------------------------------

/** Engine counters of all sources, added up. */
static Value stats_sum(const Value *a, const Value *b, Arena *arena)
{
    if (a->kind == VALUE_MAP && b->kind == VALUE_MAP) {
        MapBuilder map;
        map_builder_init(&map, arena);
        for (size_t i = 0; i < a->as.map.n; i++) {
            const ValuePair *pair = &a->as.map.pairs[i];
            const Value *other = value_get(b, pair->key);
            map_builder_put(&map, pair->key,
                            other == NULL ? pair->value : stats_sum(&pair->value, other, arena));
        }
        for (size_t i = 0; i < b->as.map.n; i++) {
            if (value_get(a, b->as.map.pairs[i].key) == NULL) {
                map_builder_put(&map, b->as.map.pairs[i].key, b->as.map.pairs[i].value);
            }
        }
        return map_builder_done(&map);
    }
    if (a->kind == VALUE_INT && b->kind == VALUE_INT) {
        return value_int((int64_t)((uint64_t)a->as.integer + (uint64_t)b->as.integer));
    }
    bool reals = (a->kind == VALUE_REAL || a->kind == VALUE_INT) &&
                 (b->kind == VALUE_REAL || b->kind == VALUE_INT);
    if (reals) {
        double left = a->kind == VALUE_INT ? (double)a->as.integer : a->as.real;
        double right = b->kind == VALUE_INT ? (double)b->as.integer : b->as.real;
        return value_real(left + right);
    }
    return a->kind == VALUE_NULL ? *b : *a;
}

static Str target_state(const Target *target)
{
    // All shards, but any copy of a plain experiment.
    bool shards = target->n_shards > 0;
    bool finished = shards ? target->n_have == (size_t)target->n_shards : target->finished;
    for (size_t i = 0; i < target->n_entries; i++) {
        bool is = str_eq(value_get_str(&target->entries[i], "state", STR_EMPTY), STR("finished"));
        finished = shards ? finished && is : finished || is;
    }
    return finished ? STR("finished") : STR("interrupted");
}

static bool runs_update(Merge *merge, Target *target, Err *err)
{
    for (size_t i = 0; i < target->n_runs; i++) {
        RunSpec *run = &target->runs[i];
        Hash spec;
        run->spec = merge_run_spec(&run->spec, run->n_planned, merge->arena);
        if (!store_blob_put(merge->store, merge->arena, &run->spec, &spec, err)) {
            return false;
        }
        sqlite3_stmt *update = db_statement(&merge->into_sql, INTO_SQL_RUN_UPDATE);
        bind_i64(update, 1, target->open[i].id);
        bind_i64(update, 2, run->n_planned);
        bind_hash(update, 3, &spec);
        if (!db_run(&merge->into_sql, INTO_SQL_RUN_UPDATE, err)) {
            return false;
        }
    }
    return true;
}

static bool target_update(Merge *merge, Target *target, Err *err)
{
    Arena *arena = merge->arena;
    Value merged = value_list(target->entries, target->n_entries);
    Value rest = merge_without(&target->provenance, STR("merged"), arena);
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < rest.as.map.n; i++) {
        map_builder_put(&map, rest.as.map.pairs[i].key, rest.as.map.pairs[i].value);
    }
    map_builder_put(&map, STR("merged"), merged);
    target->provenance = map_builder_done(&map);
    target->spec = merge_spec(&target->spec, target->n_shards, target->have, target->n_have, arena);
    if (!runs_update(merge, target, err)) {
        return false;
    }
    ExperimentSpec spec = {.spec = target->spec, .runs = target->runs, .n_runs = target->n_runs};
    Hash hash = spec_hash(&spec);
    Str state = target_state(target);
    Str spec_text;
    Str provenance_text;
    if (!json_text(arena, &target->spec, &spec_text, err) ||
        !json_text(arena, &target->provenance, &provenance_text, err)) {
        return false;
    }
    sqlite3_stmt *update = db_statement(&merge->into_sql, INTO_SQL_EXPERIMENT_UPDATE);
    bind_i64(update, 1, target->id);
    bind_str(update, 2, state);
    bind_i64(update, 3, target->started_ms);
    bind_i64(update, 4, target->ended_ms > 0 ? target->ended_ms : target->started_ms);
    bind_str(update, 5, spec_text);
    bind_hash(update, 6, &hash);
    bind_str(update, 7, provenance_text);
    if (!db_run(&merge->into_sql, INTO_SQL_EXPERIMENT_UPDATE, err)) {
        return false;
    }
    Value stats = value_null();
    for (size_t i = 0; i < target->n_entries; i++) {
        const Value *one = value_get_c(&target->entries[i], "stats");
        stats = one == NULL ? stats : stats_sum(&stats, one, arena);
    }
    return store_event_put(merge->store, arena, target->id, STR("merged"), &merged, err) &&
           store_event_put(merge->store, arena, target->id, state, &stats, err);
}

static bool attempts_count(Merge *merge, const Target *target, int64_t *out, Err *err)
{
    *out = 0;
    for (size_t i = 0; i < target->n_runs; i++) {
        bool more;
        bind_i64(db_statement(&merge->into_sql, INTO_SQL_N_ATTEMPTS), 1, target->open[i].id);
        if (!db_step(&merge->into_sql, INTO_SQL_N_ATTEMPTS, &more, err)) {
            return false;
        }
        *out += column_i64(merge->into_sql.statements[INTO_SQL_N_ATTEMPTS], 0);
        sqlite3_reset(merge->into_sql.statements[INTO_SQL_N_ATTEMPTS]);
    }
    return true;
}

static bool group_write(Merge *merge, const MergeGroup *group, const MergeExperiment *found,
                        Target *target, Merged *out, Err *err)
{
    if (found != NULL) {
        target_existing(merge, found, target);
    } else if (!target_insert(merge, group->sources[0], target, err)) {
        return false;
    }
    for (size_t i = 0; i < group->n; i++) {
        if (!source_copy(merge, group->sources[i], target, out, err)) {
            return false;
        }
    }
    return (!target->changed || target_update(merge, target, err)) &&
           attempts_count(merge, target, &out->n_attempts, err);
}

static bool group_merge(Merge *merge, const MergeGroup *group, Merged *out, Err *err)
{
    const MergeExperiment *found = NULL;
    int lock = -1;
    *out = (Merged){.n_sources = group->n};
    if (!merge_target(merge->existing, merge->n_existing, group, merge->options->name, &found,
                      err)) {
        return false;
    }
    if (found != NULL && !experiment_lock_take(merge->store->path, found->short_id, &lock, err)) {
        return ERR_WRAP(err, "experiment '" STR_FMT "'", STR_ARG(found->name));
    }
    Target target = {0};
    pthread_mutex_lock(&merge->store->db_mutex);
    bool ok = store_begin(merge->store, err);
    if (ok) {
        ok = group_write(merge, group, found, &target, out, err);
        if (ok && target.changed) {
            ok = store_commit(merge->store, err);
        } else {
            for (size_t i = 0; i < merge->into_sql.n_statements; i++) {
                sqlite3_reset(merge->into_sql.statements[i]);
            }
            store_rollback(merge->store);
        }
    }
    pthread_mutex_unlock(&merge->store->db_mutex);
    if (found != NULL) {
        experiment_lock_release(merge->store->path, found->short_id, lock);
    }
    out->name = target.name;
    out->short_id = target.short_id;
    out->is_new = target.is_new;
    out->state = target_state(&target);
    out->n_shards = target.n_shards;
    out->have = target.have;
    out->n_have = target.n_have;
    return ok;
}

// ---- The whole ----------------------------------------------------------------------------------

static bool name_fits(const Merge *merge, size_t n_groups, Err *err)
{
    if (merge->options->name.len == 0 || n_groups <= 1) {
        return true;
    }
    return ERR_SET(err, ERR_USAGE,
                   "--name names one experiment, and the stores hold %zu; say which one with "
                   "--only",
                   n_groups);
}

static bool merge_run(Merge *merge, Merged **out, size_t *out_n, Err *err)
{
    MergeExperiment *existing = NULL;
    MergeGroup *groups = NULL;
    size_t n_groups = 0;
    if (!store_read(merge, merge->options->output, &existing, &merge->n_existing, err)) {
        return false;
    }
    merge->existing = existing;
    if (!sources_read(merge, err) ||
        !merge_groups(merge->sources, merge->n_sources, merge->arena, &groups, &n_groups, err) ||
        !name_fits(merge, n_groups, err)) {
        return false;
    }
    Merged *merged = ARENA_ARRAY(merge->arena, Merged, n_groups + 1);
    for (size_t i = 0; i < n_groups; i++) {
        if (!group_merge(merge, &groups[i], &merged[i], err)) {
            return false;
        }
    }
    *out = merged;
    *out_n = n_groups;
    return true;
}

static void into_sql_finish(Merge *merge)
{
    for (size_t i = 0; i < merge->into_sql.n_statements; i++) {
        sqlite3_finalize(merge->into_sql.statements[i]);
    }
    mem_free(merge->into_sql.statements);
}

bool merge_stores(const MergeOptions *options, Arena *arena, Merged **out, size_t *out_n, Err *err)
{
    Merge merge = {.options = options, .arena = arena};
    StoreOptions store = {.path = options->output};
    int lock = -1;
    if (!store_open(&store, &merge.store, err)) {
        return false;
    }
    // Two merges into one file would each miss what the other makes.
    bool ok = experiment_lock_take(merge.store->path, STR("merge"), &lock, err);
    if (ok) {
        merge.into_sql = (Db){.handle = merge.store->db.handle, .path = merge.store->path};
        ok = db_prepare(&merge.into_sql, into_sql, INTO_SQL_COUNT, err) &&
             merge_run(&merge, out, out_n, err);
        into_sql_finish(&merge);
        experiment_lock_release(merge.store->path, STR("merge"), lock);
    }
    store_close(merge.store);
    return ok;
}
