// SPDX-License-Identifier: MIT
// Beginning, resuming and ending an experiment: its rows, its lock, and what it has already.
#include "results/metric_internal.h"
#include "results/store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_TRIES 1000

/** An experiment found in the file, or about to be made. */
typedef struct Begun {
    int64_t id;
    Str name;
    Str short_id;
    bool resumed;
    int lock_fd;
} Begun;

bool store_name_taken(Store *store, Str name, Str short_id, bool *out, Err *err)
{
    sqlite3_stmt *taken = db_statement(&store->db, STORE_SQL_EXPERIMENT_TAKEN);
    bind_str(taken, 1, name);
    bind_str(taken, 2, short_id);
    if (!db_step(&store->db, STORE_SQL_EXPERIMENT_TAKEN, out, err)) {
        return false;
    }
    sqlite3_reset(taken);
    return true;
}

/** Choose a name, if none is given, and a short id that nobody has. */
static bool choose_names(Store *store, Arena *arena, const ExperimentSpec *spec, Begun *begun,
                         Err *err)
{
    Str given = spec->name;
    bool seeded = spec->name_suffix.len > 0;
    Rng rng;
    Rng names;
    rng_init(&rng, (uint64_t)clock_ns() ^ (uint64_t)getpid() << 40 ^ (uint64_t)clock_wall_ms());
    rng_init(&names, seeded ? spec->name_seed : rng_next(&rng));
    for (int i = 0; i < NAME_TRIES; i++) {
        begun->name = given.len > 0
                          ? str_copy(arena, given)
                          : str_concat(arena, name_make(arena, &names), spec->name_suffix);
        begun->short_id = short_id_make(arena, &rng);
        bool taken;
        if (!store_name_taken(store, begun->name, begun->short_id, &taken, err)) {
            return false;
        }
        if (!taken) {
            return true;
        }
        if (given.len == 0 && i > NAME_TRIES / 2) {
            begun->name = str_printf(arena, STR_FMT "-" STR_FMT, STR_ARG(begun->name),
                                     STR_ARG(begun->short_id));
            return true;
        }
    }
    return ERR_SET(err, ERR_EXISTS, "the name '" STR_FMT "' is taken (it is a short id)",
                   STR_ARG(given));
}

bool store_blob_put(Store *store, Arena *arena, const Value *value, Hash *out, Err *err)
{
    Str text;
    if (!json_text(arena, value, &text, err)) {
        return false;
    }
    *out = sha256_of(text);
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_BLOB_INSERT);
    bind_hash(insert, 1, out);
    bind_str(insert, 2, text);
    return db_run(&store->db, STORE_SQL_BLOB_INSERT, err);
}

/** An unset value counts as an empty map or list. */
static Value value_or(const Value *value, Value otherwise)
{
    return value->kind == VALUE_NULL ? otherwise : *value;
}

bool store_event_put(Store *store, Arena *arena, int64_t experiment_id, Str kind,
                     const Value *detail, Err *err)
{
    Str text;
    if (!json_text(arena, detail, &text, err)) {
        return false;
    }
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_EVENT_INSERT);
    bind_i64(insert, 1, experiment_id);
    bind_i64(insert, 2, clock_wall_ms());
    bind_str(insert, 3, kind);
    bind_str(insert, 4, text);
    return db_run(&store->db, STORE_SQL_EVENT_INSERT, err);
}

bool store_run_insert(Store *store, Arena *arena, int64_t experiment_id, const ExperimentSpec *spec,
                      size_t i, int64_t *ids, Err *err)
{
    const RunSpec *run = &spec->runs[i];
    Value run_spec = value_or(&run->spec, value_map(NULL, 0));
    Value metrics = value_or(&run->metrics, value_list(NULL, 0));
    Hash spec_blob;
    Hash metrics_blob;
    if (!store_blob_put(store, arena, &run_spec, &spec_blob, err) ||
        !store_blob_put(store, arena, &metrics, &metrics_blob, err)) {
        return false;
    }
    size_t first = 0; // the first run with the same samples
    while (!str_eq(spec->runs[first].eval, run->eval) ||
           !str_eq(spec->runs[first].part, run->part)) {
        first++;
    }
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_RUN_INSERT);
    bind_i64(insert, 1, experiment_id);
    bind_i64(insert, 2, (int64_t)i);
    bind_i64(insert, 3, first < i ? ids[first] : 0);
    bind_str(insert, 4, run->eval);
    bind_i64(insert, 5, run->eval_version);
    bind_str(insert, 6, run->part);
    bind_str(insert, 7, run->variant);
    bind_str(insert, 8, run->model);
    bind_i64(insert, 9, run->n_planned);
    bind_i64(insert, 10, run->epochs);
    bind_hash(insert, 11, &run->eval_hash);
    bind_hash(insert, 12, &run->program_hash);
    bind_hash(insert, 13, &run->data_hash);
    bind_hash(insert, 14, &run->model_hash);
    bind_hash(insert, 15, &spec_blob);
    bind_hash(insert, 16, &metrics_blob);
    if (!db_run(&store->db, STORE_SQL_RUN_INSERT, err)) {
        return false;
    }
    ids[i] = sqlite3_last_insert_rowid(store->db.handle);
    if (first < i) {
        return true;
    }
    sqlite3_stmt *update = db_statement(&store->db, STORE_SQL_RUN_SET);
    bind_i64(update, 1, ids[i]);
    bind_i64(update, 2, ids[i]);
    return db_run(&store->db, STORE_SQL_RUN_SET, err);
}

static bool experiment_insert(Store *store, Arena *arena, const ExperimentSpec *spec,
                              const Hash *hash, Begun *begun, Err *err)
{
    Value map = value_map(NULL, 0);
    Value tags = value_or(&spec->tags, map);
    Value settings = value_or(&spec->spec, map);
    Value provenance = value_or(&spec->provenance, map);
    Str tags_text;
    Str spec_text;
    Str provenance_text;
    if (!choose_names(store, arena, spec, begun, err) ||
        !json_text(arena, &tags, &tags_text, err) ||
        !json_text(arena, &settings, &spec_text, err) ||
        !json_text(arena, &provenance, &provenance_text, err) ||
        !experiment_lock_take(store->path, begun->short_id, &begun->lock_fd, err)) {
        return false;
    }
    sqlite3_stmt *insert = db_statement(&store->db, STORE_SQL_EXPERIMENT_INSERT);
    bind_str(insert, 1, begun->name);
    bind_str(insert, 2, begun->short_id);
    bind_i64(insert, 3, clock_wall_ms());
    bind_str(insert, 4, tags_text);
    bind_str(insert, 5, spec_text);
    bind_hash(insert, 6, hash);
    bind_str(insert, 7, provenance_text);
    if (!db_run(&store->db, STORE_SQL_EXPERIMENT_INSERT, err)) {
        return false;
    }
    begun->id = sqlite3_last_insert_rowid(store->db.handle);
    int64_t *ids = ARENA_ARRAY(arena, int64_t, spec->n_runs);
    for (size_t i = 0; i < spec->n_runs; i++) {
        if (!store_run_insert(store, arena, begun->id, spec, i, ids, err)) {
            return false;
        }
    }
    return store_event_put(store, arena, begun->id, STR("started"), &provenance, err);
}

/** A run's row as RUNS_OF reads it. */
static bool run_from_row(sqlite3_stmt *row, Arena *arena, RunSpec *out, int64_t *out_id,
                         int64_t *out_set_id, Err *err)
{
    *out_id = column_i64(row, 0);
    *out_set_id = column_i64(row, 1);
    *out = (RunSpec){
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
    return column_json(row, 13, arena, &out->spec, err);
}

/** The runs of an experiment, in the order planned. */
typedef struct StoredRuns {
    RunSpec *specs;
    int64_t *ids;
    int64_t *set_ids;
    size_t n;
} StoredRuns;

static bool runs_read(Store *store, Arena *arena, int64_t experiment_id, StoredRuns *out, Err *err)
{
    *out = (StoredRuns){0};
    size_t cap = 0;
    for (;;) {
        sqlite3_stmt *row = store->db.statements[STORE_SQL_RUNS_OF];
        if (out->n == 0) {
            db_statement(&store->db, STORE_SQL_RUNS_OF);
            bind_i64(row, 1, experiment_id);
        }
        bool more;
        if (!db_step(&store->db, STORE_SQL_RUNS_OF, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        if (out->n == cap) {
            StoredRuns grown = {.n = out->n};
            cap = cap == 0 ? 16 : cap * 2;
            grown.specs = ARENA_ARRAY(arena, RunSpec, cap);
            grown.ids = ARENA_ARRAY(arena, int64_t, cap);
            grown.set_ids = ARENA_ARRAY(arena, int64_t, cap);
            if (out->n > 0) {
                memcpy(grown.specs, out->specs, out->n * sizeof(RunSpec));
                memcpy(grown.ids, out->ids, out->n * sizeof(int64_t));
                memcpy(grown.set_ids, out->set_ids, out->n * sizeof(int64_t));
            }
            *out = grown;
        }
        if (!run_from_row(row, arena, &out->specs[out->n], &out->ids[out->n], &out->set_ids[out->n],
                          err)) {
            sqlite3_reset(row);
            return false;
        }
        out->n++;
    }
}

/** Fail with the fields in which a stored experiment differs from what is asked for. */
static bool refuse_different(Store *store, Arena *arena, const ExperimentSpec *spec,
                             const Begun *found, const Value *old_spec, Err *err)
{
    StoredRuns runs;
    if (!runs_read(store, arena, found->id, &runs, err)) {
        return false;
    }
    SpecDiff *diff = ARENA_NEW(arena, SpecDiff);
    diff->arena = arena;
    Value new_spec = value_or(&spec->spec, value_map(NULL, 0));
    spec_diff_values(diff, STR_EMPTY, false, old_spec, &new_spec);
    spec_diff_runs(diff, runs.specs, runs.n, spec->runs, spec->n_runs);
    Str text = spec_diff_text(diff);
    return ERR_SET(err, ERR_USAGE,
                   "experiment '" STR_FMT "' can not be resumed, it is a different one (" STR_FMT
                   "); give the same settings, or another --name",
                   STR_ARG(found->name), STR_ARG(text));
}

/** Look for what is to be resumed; *out_found says whether it is there, with an equal spec. */
static bool find_existing(Store *store, Arena *arena, const ExperimentSpec *spec, const Hash *hash,
                          ResumeMode resume, Begun *out, bool *out_found, Err *err)
{
    bool named = spec->name.len > 0;
    *out_found = false;
    if (!named && resume == RESUME_NO) {
        return true;
    }
    int index = named ? STORE_SQL_EXPERIMENT_BY_NAME : STORE_SQL_EXPERIMENT_UNFINISHED;
    sqlite3_stmt *row = db_statement(&store->db, index);
    if (named) {
        bind_str(row, 1, spec->name);
    } else {
        bind_hash(row, 1, hash);
    }
    if (!db_step(&store->db, index, out_found, err)) {
        return false;
    }
    if (!*out_found) {
        return true;
    }
    out->id = column_i64(row, 0);
    out->short_id = column_copy(row, 1, arena);
    out->name = named ? str_copy(arena, spec->name) : column_copy(row, 2, arena);
    Value old_spec = value_null();
    Hash old_hash = *hash;
    bool ok = true;
    if (named) {
        ok = column_json(row, 3, arena, &old_spec, err);
        old_hash = column_hash(row, 4);
    }
    sqlite3_reset(row);
    if (!ok) {
        return false;
    }
    if (resume == RESUME_NO) {
        return ERR_SET(err, ERR_EXISTS,
                       "there is an experiment '" STR_FMT
                       "' already; choose another --name, or continue it with --resume",
                       STR_ARG(spec->name));
    }
    if (!hash_eq(&old_hash, hash)) {
        return refuse_different(store, arena, spec, out, &old_spec, err);
    }
    return true;
}

static bool experiment_resume(Store *store, Arena *arena, const ExperimentSpec *spec, Begun *begun,
                              Err *err)
{
    begun->resumed = true;
    if (!experiment_lock_take(store->path, begun->short_id, &begun->lock_fd, err)) {
        return ERR_WRAP(err, "experiment '" STR_FMT "'", STR_ARG(begun->name));
    }
    bind_i64(db_statement(&store->db, STORE_SQL_EXPERIMENT_RUNNING), 1, begun->id);
    Value provenance = value_or(&spec->provenance, value_map(NULL, 0));
    return db_run(&store->db, STORE_SQL_EXPERIMENT_RUNNING, err) &&
           store_event_put(store, arena, begun->id, STR("resumed"), &provenance, err);
}

// ---- What a resumed experiment has already ------------------------------------------------------

static bool load_attempts(Store *store, int index, int64_t run_id, HashSet *set, Err *err)
{
    sqlite3_stmt *row = db_statement(&store->db, index);
    bind_i64(row, 1, run_id);
    for (;;) {
        bool more;
        if (!db_step(&store->db, index, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
        hash_set_add(set, attempt_hash(run_id, column_str(row, 0), column_i64(row, 1)));
    }
}

static int compare_open_runs(const void *a, const void *b)
{
    int64_t left = ((const OpenRun *)a)->id;
    int64_t right = ((const OpenRun *)b)->id;
    return (left > right) - (left < right);
}

/** Keep the runs in memory, where the writer looks them up. */
static void runs_open(Store *store, int64_t experiment_id, const StoredRuns *runs, bool resumed)
{
    store->runs = mem_realloc(store->runs, store->n_runs + runs->n + 1, sizeof(*store->runs));
    for (size_t i = 0; i < runs->n; i++) {
        int64_t *siblings = ARENA_ARRAY(&store->arena, int64_t, runs->n);
        size_t n_siblings = 0;
        siblings[n_siblings++] = runs->ids[i];
        for (size_t j = 0; j < runs->n; j++) {
            if (j != i && runs->set_ids[j] == runs->set_ids[i]) {
                siblings[n_siblings++] = runs->ids[j];
            }
        }
        store->runs[store->n_runs++] = (OpenRun){
            .id = runs->ids[i],
            .experiment_id = experiment_id,
            .set_id = runs->set_ids[i],
            .siblings = siblings,
            .n_siblings = n_siblings,
            .epochs = runs->specs[i].epochs,
            .resumed = resumed,
        };
    }
    qsort(store->runs, store->n_runs, sizeof(*store->runs), compare_open_runs);
}

/** The ids of stored runs in the order of the spec's. Their keys are the same, the order may not
 * be. */
static const int64_t *ids_in_order(Arena *arena, const ExperimentSpec *spec, const StoredRuns *runs)
{
    int64_t *ids = ARENA_ARRAY(arena, int64_t, spec->n_runs);
    for (size_t i = 0; i < spec->n_runs; i++) {
        for (size_t j = 0; j < runs->n; j++) {
            if (spec_run_compare(&spec->runs[i], &runs->specs[j]) == 0) {
                ids[i] = runs->ids[j];
            }
        }
    }
    return ids;
}

static bool experiment_open(Store *store, Arena *arena, const ExperimentSpec *spec,
                            const Begun *begun, ExperimentOpen *out, Err *err)
{
    StoredRuns runs;
    if (!runs_read(store, arena, begun->id, &runs, err)) {
        return false;
    }
    for (size_t i = 0; begun->resumed && i < runs.n; i++) {
        if (!load_attempts(store, STORE_SQL_ATTEMPTS_DONE, runs.ids[i], &store->done, err) ||
            !load_attempts(store, STORE_SQL_ATTEMPTS_OPEN, runs.ids[i], &store->open, err)) {
            return false;
        }
    }
    runs_open(store, begun->id, &runs, begun->resumed);
    OpenExperiment *open = ARENA_NEW(&store->arena, OpenExperiment);
    open->id = begun->id;
    open->lock_fd = begun->lock_fd;
    memcpy(open->short_id, begun->short_id.data,
           begun->short_id.len < sizeof(open->short_id) ? begun->short_id.len
                                                        : sizeof(open->short_id) - 1);
    open->next = store->experiments;
    store->experiments = open;
    *out = (ExperimentOpen){
        .id = begun->id,
        .name = begun->name,
        .short_id = begun->short_id,
        .resumed = begun->resumed,
        .run_ids = ids_in_order(arena, spec, &runs),
    };
    return true;
}

static bool spec_check(Arena *arena, const ExperimentSpec *spec, Err *err)
{
    if (spec->name.len > 0 && !name_check(spec->name, err)) {
        return false;
    }
    for (size_t i = 0; i < spec->n_runs; i++) {
        MetricSpec *metrics;
        size_t n_metrics;
        if (!metrics_parse(arena, &spec->runs[i].metrics, &metrics, &n_metrics, err)) {
            return ERR_WRAP(err, "eval '" STR_FMT "'", STR_ARG(spec->runs[i].eval));
        }
        for (size_t j = 0; j < i; j++) {
            if (spec_run_compare(&spec->runs[i], &spec->runs[j]) == 0) {
                Str words = spec_run_words(arena, &spec->runs[i]);
                return ERR_SET(err, ERR_USAGE, "run " STR_FMT " is there twice", STR_ARG(words));
            }
        }
    }
    return true;
}

static bool begin_in_transaction(Store *store, Arena *arena, const ExperimentSpec *spec,
                                 ResumeMode resume, Begun *begun, Err *err)
{
    Hash hash = spec_hash(spec);
    bool found;
    if (!find_existing(store, arena, spec, &hash, resume, begun, &found, err)) {
        return false;
    }
    if (!found && resume == RESUME_ONLY) {
        return ERR_SET(err, ERR_NOT_FOUND, "there is no unfinished experiment of these settings");
    }
    return found ? experiment_resume(store, arena, spec, begun, err)
                 : experiment_insert(store, arena, spec, &hash, begun, err);
}

bool store_experiment_begin(Store *store, Arena *arena, const ExperimentSpec *spec,
                            ResumeMode resume, ExperimentOpen *out, Err *err)
{
    if (!store_ok(store, err) || !spec_check(arena, spec, err)) {
        return false;
    }
    pthread_mutex_lock(&store->db_mutex);
    Begun begun = {.lock_fd = -1};
    bool ok = store_begin(store, err);
    if (ok) {
        ok = begin_in_transaction(store, arena, spec, resume, &begun, err);
        if (ok) {
            ok = store_commit(store, err);
        } else {
            store_rollback(store);
        }
    }
    ok = ok && experiment_open(store, arena, spec, &begun, out, err);
    if (!ok) {
        experiment_lock_release(store->path, begun.short_id, begun.lock_fd);
    }
    pthread_mutex_unlock(&store->db_mutex);
    return ok;
}

bool store_attempt_is_done(const Store *store, int64_t run_id, Str sample_id, int64_t epoch)
{
    return store->done.n > 0 && hash_set_has(&store->done, attempt_hash(run_id, sample_id, epoch));
}

// ---- Ending it ----------------------------------------------------------------------------------

static bool end_in_transaction(Store *store, Arena *arena, int64_t experiment_id, Str state,
                               const Value *stats, Err *err)
{
    sqlite3_stmt *update = db_statement(&store->db, STORE_SQL_EXPERIMENT_END);
    bind_i64(update, 1, experiment_id);
    bind_str(update, 2, state);
    bind_i64(update, 3, clock_wall_ms());
    Value none = value_null();
    return db_run(&store->db, STORE_SQL_EXPERIMENT_END, err) &&
           store_event_put(store, arena, experiment_id, state, stats != NULL ? stats : &none, err);
}

bool store_experiment_note(Store *store, int64_t experiment_id, Str kind, const Value *detail,
                           Err *err)
{
    Arena arena = {0};
    pthread_mutex_lock(&store->db_mutex);
    bool ok = store_begin(store, err);
    if (ok) {
        ok = store_event_put(store, &arena, experiment_id, kind, detail, err);
        if (ok) {
            ok = store_commit(store, err);
        } else {
            store_rollback(store);
        }
    }
    pthread_mutex_unlock(&store->db_mutex);
    arena_finish(&arena);
    return ok;
}

static void experiment_forget(Store *store, int64_t experiment_id)
{
    size_t n = 0;
    for (size_t i = 0; i < store->n_runs; i++) {
        if (store->runs[i].experiment_id != experiment_id) {
            store->runs[n++] = store->runs[i];
        }
    }
    store->n_runs = n;
    for (OpenExperiment **at = &store->experiments; *at != NULL; at = &(*at)->next) {
        if ((*at)->id == experiment_id) {
            experiment_lock_release(store->path, str_from_c((*at)->short_id), (*at)->lock_fd);
            *at = (*at)->next;
            return;
        }
    }
}

bool store_experiment_end(Store *store, int64_t experiment_id, Str state, const Value *stats,
                          Err *err)
{
    if (!str_eq(state, STR("finished")) && !str_eq(state, STR("interrupted"))) {
        return ERR_SET(err, ERR_INTERNAL, "an experiment can not end as '" STR_FMT "'",
                       STR_ARG(state));
    }
    if (!store_flush(store, err)) {
        return false;
    }
    Arena arena = {0};
    pthread_mutex_lock(&store->db_mutex);
    bool ok = store_begin(store, err);
    if (ok) {
        ok = end_in_transaction(store, &arena, experiment_id, state, stats, err);
        if (ok) {
            ok = store_commit(store, err);
        } else {
            store_rollback(store);
        }
    }
    if (ok) {
        experiment_forget(store, experiment_id);
    }
    pthread_mutex_unlock(&store->db_mutex);
    arena_finish(&arena);
    return ok;
}
