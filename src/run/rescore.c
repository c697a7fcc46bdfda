// SPDX-License-Identifier: MIT
// Graders of today on the replies of a stored experiment: finds for every stored attempt the sample
// that it was of, and makes a new experiment that says where its replies come from.
#include "run/rescore_internal.h"

#include <math.h>
#include <stdio.h>

// ---- Which graders ----------------------------------------------------------------------------

/** Whether a grader builds on another one, as combine does: its params name it. */
static bool builds_on(Registry *registry, const Eval *eval, const EvalGrader *grader, Str name)
{
    RegistryUnit unit;
    if (!registry_unit_find(registry, eval, UNIT_GRADER, grader->use, &unit) ||
        unit.info->after.len == 0) {
        return false;
    }
    const Value *names = value_get(&grader->params, unit.info->after);
    for (size_t i = 0; names != NULL && names->kind == VALUE_LIST && i < names->as.list.n; i++) {
        const Value *item = &names->as.list.items[i];
        if (item->kind == VALUE_STR && str_eq(item->as.str, name)) {
            return true;
        }
    }
    return names != NULL && names->kind == VALUE_MAP && value_get(names, name) != NULL;
}

/** The asked-for grader with those that are combined with it, so that no score is of both sets. */
static bool *graders_select(const RescoreConfig *config, const Eval *eval, Arena *arena)
{
    bool *selected = ARENA_ARRAY(arena, bool, eval->n_graders + 1);
    bool more = true;
    for (size_t i = 0; i < eval->n_graders; i++) {
        selected[i] = config->grader.len == 0 || str_eq(config->grader, eval->graders[i].name);
    }
    while (more) {
        more = false;
        for (size_t i = 0; i < eval->n_graders; i++) {
            for (size_t j = 0; j < eval->n_graders && !selected[i]; j++) {
                const EvalGrader *a = &eval->graders[i];
                const EvalGrader *b = &eval->graders[j];
                selected[i] = selected[j] && (builds_on(config->registry, eval, a, b->name) ||
                                              builds_on(config->registry, eval, b, a->name));
                more = more || selected[i];
            }
        }
    }
    return selected;
}

static bool grader_check(const RescoreConfig *config, Arena *arena, Err *err)
{
    size_t n = 0;
    for (size_t e = 0; e < config->n_evals; e++) {
        n += config->evals[e]->n_graders;
    }
    Str *names = ARENA_ARRAY(arena, Str, n + 1);
    n = 0;
    for (size_t e = 0; e < config->n_evals; e++) {
        for (size_t i = 0; i < config->evals[e]->n_graders; i++) {
            names[n] = config->evals[e]->graders[i].name;
            if (config->grader.len == 0 || str_eq(names[n], config->grader)) {
                return true;
            }
            n++;
        }
    }
    size_t near = str_nearest(config->grader, names, n);
    if (near != STR_NONE) {
        return ERR_SET(err, ERR_USAGE,
                       "no grader '" STR_FMT "' in the evals; did you mean '" STR_FMT "'?",
                       STR_ARG(config->grader), STR_ARG(names[near]));
    }
    return ERR_SET(err, ERR_USAGE, "no grader '" STR_FMT "' in the evals", STR_ARG(config->grader));
}

// ---- Cells ------------------------------------------------------------------------------------

static const Eval *eval_of(const RescoreConfig *config, Str name)
{
    for (size_t i = 0; i < config->n_evals; i++) {
        if (str_eq(config->evals[i]->name, name)) {
            return config->evals[i];
        }
    }
    return NULL;
}

static bool same_cell(const RunInfo *a, const RunInfo *b)
{
    return str_eq(a->eval, b->eval) && str_eq(a->part, b->part) && str_eq(a->variant, b->variant);
}

static bool cell_open(Rescore *rescore, const RunInfo *run, RescoreCell *cell, Err *err)
{
    const RescoreConfig *config = rescore->config;
    const EvalVariant *variant = NULL;
    cell->eval = eval_of(config, run->eval);
    if (cell->eval == NULL) {
        return ERR_SET(err, ERR_NOT_FOUND, "eval '" STR_FMT "' is not there", STR_ARG(run->eval));
    }
    for (size_t i = 0; i < cell->eval->n_variants; i++) {
        if (str_eq(cell->eval->variants[i].name, run->variant)) {
            variant = &cell->eval->variants[i];
        }
    }
    if (variant == NULL) {
        return ERR_SET(err, ERR_USAGE, "eval '" STR_FMT "' has no variant '" STR_FMT "' any more",
                       STR_ARG(run->eval), STR_ARG(run->variant));
    }
    cell->selected = graders_select(config, cell->eval, rescore->arena);
    return registry_task_open(config->registry, cell->eval, run->part, variant, rescore->seed,
                              &cell->task, err) ||
           ERR_WRAP(err, "eval '" STR_FMT "'", STR_ARG(run->eval));
}

/** One cell for the runs of a part and variant on all models. */
static bool cells_open(Rescore *rescore, Err *err)
{
    const RescoreConfig *config = rescore->config;
    rescore->cells = ARENA_ARRAY(rescore->arena, RescoreCell, config->n_runs + 1);
    for (size_t i = 0; i < config->n_runs; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            seen = same_cell(&config->runs[j], &config->runs[i]);
        }
        if (seen) {
            continue;
        }
        RescoreCell *cell = &rescore->cells[rescore->n_cells++];
        size_t *runs = ARENA_ARRAY(rescore->arena, size_t, config->n_runs - i);
        for (size_t j = i; j < config->n_runs; j++) {
            if (same_cell(&config->runs[j], &config->runs[i])) {
                runs[cell->n_runs++] = j;
            }
        }
        cell->runs = runs;
        if (!cell_open(rescore, &config->runs[i], cell, err)) {
            return false;
        }
    }
    return true;
}

// ---- The new experiment's spec ----------------------------------------------------------------

static Value map_pick(const Value *new, const Value *old, const char *const *from_new, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; new->kind == VALUE_MAP &&i < new->as.map.n; i++) {
        const ValuePair *pair = &new->as.map.pairs[i];
        const Value *before = value_get(old, pair->key);
        for (size_t k = 0; from_new[k] != NULL; k++) {
            before = str_starts_with(pair->key, str_from_c(from_new[k])) ? NULL : before;
        }
        map_builder_put(&map, pair->key, before != NULL ? *before : pair->value);
    }
    return map_builder_done(&map);
}

/** The eval's text: how it asked is of then, how it scores is of now. */
static Value sources_pick(const Value *new, const Value *old, Arena *arena)
{
    static const char *const eval_keys[] = {"version", "graders", "metrics",
                                            "slices",  "gate",    NULL};
    static const char *const lua_keys[] = {"grader ", "helpers", NULL};
    if (old == NULL || old->kind != VALUE_MAP) {
        return *new;
    }
    static const Value none = {.kind = VALUE_NULL};
    const Value *parts[4] = {value_get_c(new, "eval"), value_get_c(old, "eval"),
                             value_get_c(new, "lua"), value_get_c(old, "lua")};
    for (size_t i = 0; i < 4; i++) {
        parts[i] = parts[i] == NULL ? &none : parts[i];
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("eval"), map_pick(parts[0], parts[1], eval_keys, arena));
    map_builder_put(&map, STR("lua"), map_pick(parts[2], parts[3], lua_keys, arena));
    return map_builder_done(&map);
}

/** Who played which role, from the stored spec; what graders_hash looks at. */
static void roles_restore(const Value *spec, Cell *cell, Arena *arena)
{
    const Value *roles = value_get_c(spec, "roles");
    size_t n = roles != NULL && roles->kind == VALUE_MAP ? roles->as.map.n : 0;
    cell->roles = ARENA_ARRAY(arena, Role, n + 1);
    cell->n_roles = n;
    for (size_t i = 0; i < n; i++) {
        const ValuePair *pair = &roles->as.map.pairs[i];
        Model *model = ARENA_NEW(arena, Model);
        Sampler *sampler = ARENA_NEW(arena, Sampler);
        Source *source = ARENA_NEW(arena, Source);
        model->spec = value_get_str(&pair->value, "model", STR_EMPTY);
        hash_from_hex(value_get_str(&pair->value, "hash", STR_EMPTY), &sampler->identity);
        *source = (Source){.model = model, .sampler = sampler};
        cell->roles[i] = (Role){.name = pair->key, .model = model, .source = source};
    }
}

/** Where not all graders were applied, the hash tells of both sets. */
static Value graders_hash_value(const RescoreConfig *config, const Value *new, const Value *old,
                                Arena *arena)
{
    Str now = value_get_str(new, "grader_hash", STR_EMPTY);
    Str then = value_get_str(old, "grader_hash", STR_EMPTY);
    if (config->grader.len == 0 || str_eq(now, then)) {
        return value_str(now);
    }
    char hex[HASH_HEX_LEN + 1];
    Sha256 sha;
    hash_begin(&sha, STR("muster.graders.some.1"));
    hash_str(&sha, then);
    hash_str(&sha, now);
    hash_str(&sha, config->grader);
    Hash hash = hash_end(&sha);
    hash_hex(&hash, hex);
    return value_str(str_copy(arena, str_from_c(hex)));
}

static Value run_spec_value(const RescoreConfig *config, const Value *new, const Value *old,
                            Arena *arena)
{
    static const char *const keys[] = {"version", "eval_hash", "program_hash",
                                       "grader",  "gate",      NULL};
    Value picked = map_pick(new, old, keys, arena);
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < picked.as.map.n; i++) {
        const ValuePair *pair = &picked.as.map.pairs[i];
        Value value = pair->value;
        if (str_eq_c(pair->key, "sources")) {
            value = sources_pick(value_get_c(new, "sources"), value_get_c(old, "sources"), arena);
        } else if (str_eq_c(pair->key, "grader_hash")) {
            value = graders_hash_value(config, new, old, arena);
        }
        map_builder_put(&map, pair->key, value);
    }
    return map_builder_done(&map);
}

/** A run's spec: asked as it was, scored as it is now. */
static RunSpec run_spec_of(const Rescore *rescore, const RescoreCell *at, const RunInfo *run,
                           Value metrics, Value sources)
{
    const RescoreConfig *config = rescore->config;
    Arena *arena = rescore->arena;
    RunTarget target = {.eval = at->eval, .part = run->part};
    Cell cell = {.target = &target,
                 .task = at->task,
                 .epochs = run->spec.epochs,
                 .n_planned = run->spec.n_planned};
    Model model = {.spec = run->model};
    Sampler sampler = {.identity = run->spec.model_hash};
    roles_restore(&run->spec.spec, &cell, arena);
    bool has_sources = value_get_c(&run->spec.spec, "sources") != NULL;
    RunSpec spec = plan_run_spec(config->registry, &cell, &model, &sampler, metrics,
                                 has_sources ? sources : value_null(), arena);
    spec.data_hash = run->spec.data_hash;
    spec.spec = run_spec_value(config, &spec.spec, &run->spec.spec, arena);
    return spec;
}

static Value provenance_value(const RescoreConfig *config, Arena *arena)
{
    MapBuilder from;
    map_builder_init(&from, arena);
    map_builder_put(&from, STR("name"), value_str(config->from->name));
    map_builder_put(&from, STR("id"), value_str(config->from->short_id));
    map_builder_put(&from, STR("grader"),
                    config->grader.len > 0 ? value_str(config->grader) : value_null());
    static const char *const of_then[] = {"program", "git_commit", "git_dirty", "host", "system"};
    for (size_t i = 0; i < sizeof(of_then) / sizeof(of_then[0]); i++) {
        const Value *value = value_get_c(&config->from->provenance, of_then[i]);
        if (value != NULL) {
            map_builder_put(&from, str_from_c(of_then[i]), *value);
        }
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    const Value *own = &config->provenance;
    for (size_t i = 0; own->kind == VALUE_MAP && i < own->as.map.n; i++) {
        map_builder_put(&map, own->as.map.pairs[i].key, own->as.map.pairs[i].value);
    }
    static const char *const kept[] = {"evals", "roles"}; // of where the replies come from
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        const Value *value = value_get_c(&config->from->provenance, kept[i]);
        if (value != NULL) {
            map_builder_put(&map, str_from_c(kept[i]), *value);
        }
    }
    map_builder_put(&map, STR("rescored"), map_builder_done(&from));
    return map_builder_done(&map);
}

static ExperimentSpec spec_of(Rescore *rescore)
{
    const RescoreConfig *config = rescore->config;
    Arena *arena = rescore->arena;
    RunSpec *runs = ARENA_ARRAY(arena, RunSpec, config->n_runs + 1);
    const Eval *last = NULL;
    Value metrics = value_null();
    Value sources = value_null();
    for (size_t c = 0; c < rescore->n_cells; c++) {
        const RescoreCell *cell = &rescore->cells[c];
        if (cell->eval != last) {
            metrics = plan_metrics(config->registry, cell->eval, arena);
            sources = plan_sources(config->registry, cell->eval, arena);
            last = cell->eval;
        }
        for (size_t i = 0; i < cell->n_runs; i++) {
            size_t r = cell->runs[i];
            runs[r] = run_spec_of(rescore, cell, &config->runs[r], metrics, sources);
        }
    }
    return (ExperimentSpec){
        .tags = config->from->tags,
        .spec = config->from->spec,
        .runs = runs,
        .n_runs = config->n_runs,
        .provenance = provenance_value(config, arena),
    };
}

/** "x" of "x-rescored-3". */
static Str name_base(Str name)
{
    size_t at = str_find_last(name, STR("-rescored-"));
    int64_t number;
    bool numbered = at != STR_NONE &&
                    str_to_i64(str_slice(name, at + sizeof("-rescored-") - 1, name.len), &number);
    return numbered && at > 0 ? str_slice(name, 0, at) : name;
}

static bool experiment_begin(Rescore *rescore, Err *err)
{
    const RescoreConfig *config = rescore->config;
    ExperimentSpec spec = spec_of(rescore);
    Str base = name_base(config->from->name);
    for (int k = 1;; k++) {
        spec.name = config->name.len > 0
                        ? config->name
                        : str_printf(rescore->arena, STR_FMT "-rescored-%d", STR_ARG(base), k);
        Err first = ERR_INIT;
        if (store_experiment_begin(rescore->store, rescore->arena, &spec, RESUME_NO,
                                   &rescore->experiment, &first)) {
            return true;
        }
        if (first.code != ERR_EXISTS || config->name.len > 0 || k >= 100000) {
            *err = first;
            return false;
        }
    }
}

// ---- Samples ----------------------------------------------------------------------------------

static void progress_show(Rescore *rescore)
{
    const RescoreConfig *config = rescore->config;
    const RescoreOutcome *out = rescore->out;
    int64_t now = clock_ns();
    if (config->on_progress == NULL || now - rescore->shown_ns < 100000000) {
        return;
    }
    rescore->shown_ns = now;
    int64_t done = out->n_scored + out->n_kept + out->n_new_errors + out->n_changed;
    double seconds = (double)(now - rescore->started_ns) * 1e-9;
    RunProgress progress = {
        .model = rescore->run->model,
        .phase = "rescoring",
        .planned = out->n_attempts,
        .done = done,
        .errors = out->n_new_errors,
        .score = (double)NAN,
        .seconds = seconds,
        .seconds_left = done > 0 ? seconds / (double)done * (double)(out->n_attempts - done) : -1,
    };
    config->on_progress(config->ctx, &progress);
}

/** The stored attempts of one sample on all models of a cell; *seen adds them up. */
static bool sample_rescore(Rescore *rescore, const RescoreCell *cell, size_t index, int64_t *seen,
                           Err *err)
{
    const RescoreConfig *config = rescore->config;
    Sample sample;
    Err unrendered = ERR_INIT;
    char id[32];
    arena_reset(&rescore->scratch);
    bool ok = registry_task_sample(config->registry, cell->task, index, &rescore->scratch, &sample,
                                   &unrendered);
    if (!ok) {
        snprintf(id, sizeof(id), "(row %zu)", index); // as the loop calls it
    }
    rescore->cell = cell;
    rescore->sample = ok ? &sample : NULL;
    AttemptFilter filter = {.sample_id = ok ? sample.id : str_from_c(id), .with_calls = true};
    for (size_t i = 0; i < cell->n_runs; i++) {
        rescore->run = &config->runs[cell->runs[i]];
        rescore->run_id = rescore->experiment.run_ids[cell->runs[i]];
        rescore->n_seen = 0;
        if (!results_run_attempts(config->results, rescore->run, &filter, rescore_attempt, rescore,
                                  err)) {
            return false;
        }
        if (rescore->err.code != ERR_NONE) {
            *err = rescore->err;
            return false;
        }
        *seen += rescore->n_seen;
        progress_show(rescore);
    }
    return true;
}

static bool is_stopped(const Rescore *rescore)
{
    return rescore->config->stop != NULL && *rescore->config->stop > 0;
}

/** Go through the samples that the experiment covered until all its attempts were met. */
static bool cell_rescore(Rescore *rescore, const RescoreCell *cell, Err *err)
{
    const RescoreConfig *config = rescore->config;
    const Value *settings = &config->from->spec;
    int64_t stored = 0;
    for (size_t i = 0; i < cell->n_runs; i++) {
        const RunInfo *run = &config->runs[cell->runs[i]];
        stored += run->n_done + run->n_errors;
    }
    RunConfig limits = {0};
    const Value *shard = value_get_c(settings, "shard");
    limits.shard = (RunShard){.k = value_get_int(shard, "k", 0), .n = value_get_int(shard, "n", 0)};
    int64_t from = value_get_int(settings, "limit_from", 0);
    int64_t seen = 0;
    for (size_t i = from > 1 ? (size_t)from - 1 : 0;
         i < cell->task->n_samples && seen < stored && !is_stopped(rescore); i++) {
        if (plan_takes(&limits, i) && !sample_rescore(rescore, cell, i, &seen, err)) {
            return false;
        }
    }
    if (!is_stopped(rescore)) {
        rescore->out->n_gone += stored - seen;
    }
    return true;
}

// ---- The whole --------------------------------------------------------------------------------

static Value event_value(const Rescore *rescore)
{
    const RescoreOutcome *out = rescore->out;
    MapBuilder map;
    map_builder_init(&map, rescore->arena);
    map_builder_put(&map, STR("from"), value_str(rescore->config->from->name));
    map_builder_put(&map, STR("id"), value_str(rescore->config->from->short_id));
    map_builder_put(&map, STR("scored"), value_int(out->n_scored));
    map_builder_put(&map, STR("kept_errors"), value_int(out->n_kept));
    map_builder_put(&map, STR("new_errors"), value_int(out->n_new_errors));
    map_builder_put(&map, STR("left_out"), value_int(out->n_changed + out->n_gone));
    return map_builder_done(&map);
}

static bool rescore_run(Rescore *rescore, Err *err)
{
    RescoreOutcome *out = rescore->out;
    StoreOptions options = {.path = rescore->config->store_path};
    if (!cells_open(rescore, err) || !store_open(&options, &rescore->store, err) ||
        !experiment_begin(rescore, err)) {
        return false;
    }
    out->experiment_id = rescore->experiment.id;
    out->name = rescore->experiment.name;
    out->short_id = rescore->experiment.short_id;
    bool ok = true;
    for (size_t c = 0; ok && c < rescore->n_cells; c++) {
        ok = cell_rescore(rescore, &rescore->cells[c], err);
    }
    if (!ok) {
        return false;
    }
    out->interrupted = is_stopped(rescore);
    bool whole = !out->interrupted && str_eq(rescore->config->from->state, STR("finished"));
    Value event = event_value(rescore);
    return store_flush(rescore->store, err) &&
           store_experiment_note(rescore->store, out->experiment_id, STR("rescored"), &event,
                                 err) &&
           store_experiment_end(rescore->store, out->experiment_id,
                                whole ? STR("finished") : STR("interrupted"), NULL, err);
}

bool run_rescore(const RescoreConfig *config, Arena *arena, RescoreOutcome *out, Err *err)
{
    *out = (RescoreOutcome){0};
    if (!grader_check(config, arena, err)) {
        return false;
    }
    Rescore rescore = {
        .config = config,
        .arena = arena,
        .seed = (uint64_t)value_get_int(&config->from->spec, "seed", 0),
        .out = out,
        .started_ns = clock_ns(),
    };
    arena_init(&rescore.scratch, 0);
    for (size_t i = 0; i < config->n_runs; i++) {
        out->n_attempts += config->runs[i].n_done + config->runs[i].n_errors;
    }
    bool ok = rescore_run(&rescore, err);
    for (size_t c = 0; c < rescore.n_cells; c++) {
        registry_task_close(config->registry, rescore.cells[c].task);
    }
    store_close(rescore.store);
    arena_finish(&rescore.scratch);
    out->seconds = (double)(clock_ns() - rescore.started_ns) * 1e-9;
    return ok;
}
