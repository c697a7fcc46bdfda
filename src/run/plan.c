// SPDX-License-Identifier: MIT
// From targets to cells: which samples of which tasks this experiment covers, and the spec that
// says so. Touches no sampler and no store; everything here is decided before the first call.
#include "run/run_internal.h"

#include <string.h>

static bool part_wanted(Str pattern, Str part)
{
    return pattern.len == 0 || glob_match(pattern, part);
}

/** Samples per cell under --limit-total: one at a time to each part in turn, so parts stay
 * balanced. */
static void limit_total_spread(Cell *cells, size_t n, int64_t total)
{
    size_t *take = mem_zalloc(n, sizeof(*take));
    bool more = true;
    while (total > 0 && more) {
        more = false;
        for (size_t i = 0; i < n && total > 0; i++) {
            if (take[i] < cells[i].to - cells[i].from) {
                take[i]++;
                total--;
                more = true;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        cells[i].to = cells[i].from + take[i];
    }
    mem_free(take);
}

static void cell_limit(const RunConfig *config, Cell *cell)
{
    size_t n = cell->n_samples;
    cell->from = config->limit_from > 1 ? (size_t)config->limit_from - 1 : 0;
    cell->to = config->limit_to > 0 && (size_t)config->limit_to < n ? (size_t)config->limit_to : n;
    if (cell->from > cell->to) {
        cell->from = cell->to;
    }
}

bool plan_takes(const RunConfig *config, size_t index)
{
    return config->shard.n <= 1 || index % (size_t)config->shard.n == (size_t)config->shard.k - 1;
}

typedef struct CellList {
    Cell *cells;
    size_t n;
    size_t cap;
    SampleFilter filter;
} CellList;

static Cell *cell_push(CellList *list)
{
    if (list->n == list->cap) {
        list->cap = list->cap == 0 ? 16 : list->cap * 2;
        list->cells = mem_realloc(list->cells, list->cap, sizeof(*list->cells));
    }
    Cell *cell = &list->cells[list->n++];
    memset(cell, 0, sizeof(*cell));
    return cell;
}

static bool cell_open(const RunConfig *config, const RunTarget *target, Str part,
                      const EvalVariant *variant, CellList *list, Err *err)
{
    Task *task = NULL;
    if (!registry_task_open(config->registry, target->eval, part, variant, config->seed, &task,
                            err)) {
        return false;
    }
    Cell *cell = cell_push(list);
    cell->target = target;
    cell->task = task;
    cell->epochs = config->epochs > 0 ? config->epochs : target->eval->epochs;
    if (!sample_filter_cell(&list->filter, cell, err) ||
        (cell->n_samples > 0 && !registry_task_check_ids(config->registry, task, err))) {
        return false;
    }
    cell_limit(config, cell);
    return true;
}

/** All cells of one variant of a target: its parts. */
static bool variant_open(const RunConfig *config, const RunTarget *target,
                         const EvalVariant *variant, const Str *parts, size_t n_parts,
                         CellList *list, Err *err)
{
    size_t first = list->n;
    for (size_t i = 0; i < n_parts; i++) {
        if (part_wanted(target->part, parts[i]) &&
            !cell_open(config, target, parts[i], variant, list, err)) {
            return false;
        }
    }
    if (config->limit_total > 0 && list->n > first) {
        limit_total_spread(list->cells + first, list->n - first, config->limit_total);
    }
    return true;
}

static bool target_open(const RunConfig *config, const RunTarget *target, CellList *list, Err *err)
{
    const Eval *eval = target->eval;
    Str *parts = NULL;
    size_t n_parts = 0;
    if (!registry_parts(config->registry, eval, &parts, &n_parts, err)) {
        return false;
    }
    size_t before = list->n;
    bool variant_found = false;
    for (size_t v = 0; v < eval->n_variants; v++) {
        const EvalVariant *variant = &eval->variants[v];
        if (config->variant.len > 0 && !str_eq(config->variant, variant->name)) {
            continue;
        }
        variant_found = true;
        if (!variant_open(config, target, variant, parts, n_parts, list, err)) {
            return false;
        }
    }
    if (!variant_found) {
        return ERR_SET(err, ERR_USAGE, "eval '" STR_FMT "' has no variant '" STR_FMT "'",
                       STR_ARG(eval->name), STR_ARG(config->variant));
    }
    if (list->n == before) {
        return ERR_SET(err, ERR_USAGE,
                       "eval '" STR_FMT "' has no part '" STR_FMT
                       "' (it has %zu; see: muster list evals)",
                       STR_ARG(eval->name), STR_ARG(target->part), n_parts);
    }
    return true;
}

/** Count what this shard takes; *out_total is what all shards together take. */
static void cells_count(const RunConfig *config, Plan *plan, int64_t *out_total)
{
    *out_total = 0;
    for (size_t i = 0; i < plan->n_cells; i++) {
        Cell *cell = &plan->cells[i];
        *out_total += (int64_t)(cell->to - cell->from);
        int64_t taken = 0;
        for (size_t k = cell->from; k < cell->to; k++) {
            taken += plan_takes(config, cell_index(cell, k)) ? 1 : 0;
        }
        cell->n_planned = taken * cell->epochs;
        plan->n_planned += cell->n_planned;
    }
}

/** Parts of which no sample is asked for are not run: the same ones in all shards. */
static void cells_drop_unasked(const RunConfig *config, Plan *plan)
{
    size_t n = 0;
    for (size_t i = 0; i < plan->n_cells; i++) {
        if (config_filters(config) && plan->cells[i].n_samples == 0) {
            registry_task_close(config->registry, plan->cells[i].task);
        } else {
            plan->cells[n++] = plan->cells[i];
        }
    }
    plan->n_cells = n;
}

static bool same_cell(const Task *a, const Task *b)
{
    return str_eq(a->eval->name, b->eval->name) && str_eq(a->part, b->part) &&
           str_eq(a->variant->name, b->variant->name);
}

/** Two files may call their evals alike, a word may ask for what another has asked for. */
static bool cells_told_apart(const Plan *plan, Err *err)
{
    for (size_t i = 0; i < plan->n_cells; i++) {
        const Cell *cell = &plan->cells[i];
        for (size_t k = 0; k < i; k++) {
            const Cell *other = &plan->cells[k];
            if (other->target == cell->target || !same_cell(other->task, cell->task)) {
                continue;
            }
            Str name = cell->task->eval->name;
            Str first = other->task->eval->file;
            Str second = cell->task->eval->file;
            if (str_eq(first, second)) {
                return ERR_SET(err, ERR_USAGE,
                               "eval '" STR_FMT "' is asked for twice (" STR_FMT "): name it once",
                               STR_ARG(name), STR_ARG(first));
            }
            return ERR_SET(err, ERR_USAGE,
                           "'" STR_FMT "' and '" STR_FMT "' are both called eval '" STR_FMT
                           "': rename one of them, or run each by itself",
                           STR_ARG(first), STR_ARG(second), STR_ARG(name));
        }
    }
    return true;
}

static bool models_told_apart(const RunConfig *config, Err *err)
{
    for (size_t i = 0; i < config->n_models; i++) {
        for (size_t k = 0; k < i; k++) {
            if (str_eq(config->models[i]->spec, config->models[k]->spec)) {
                return ERR_SET(err, ERR_USAGE,
                               "model '" STR_FMT "' is asked for twice: name it once",
                               STR_ARG(config->models[i]->spec));
            }
        }
    }
    return true;
}

bool plan_build(const RunConfig *config, Arena *arena, Plan *out, Err *err)
{
    CellList list = {0};
    bool ok = true;
    sample_filter_init(&list.filter, config, arena);
    for (size_t i = 0; i < config->n_targets && ok; i++) {
        ok = target_open(config, &config->targets[i], &list, err);
    }
    Plan plan = {.cells = ARENA_ARRAY(arena, Cell, list.n + 1), .n_cells = list.n};
    if (list.n > 0) {
        memcpy(plan.cells, list.cells, list.n * sizeof(*list.cells));
    }
    mem_free(list.cells);
    if (!ok || !models_told_apart(config, err) || !cells_told_apart(&plan, err) ||
        !sample_filter_check(&list.filter, &plan, err)) {
        plan_close(config, &plan);
        return false;
    }
    cells_drop_unasked(config, &plan);
    int64_t total;
    cells_count(config, &plan, &total);
    if (total == 0) { // a shard may be empty: it is one all the same
        plan_close(config, &plan);
        return ERR_SET(err, ERR_USAGE, "nothing to run: %s leave no sample",
                       config_filters(config) ? "the ids asked for and the limits" : "the limits");
    }
    *out = plan;
    return true;
}

void plan_close(const RunConfig *config, Plan *plan)
{
    for (size_t i = 0; i < plan->n_cells; i++) {
        registry_task_close(config->registry, plan->cells[i].task);
        plan->cells[i].task = NULL;
    }
    plan->n_cells = 0;
}

// ---- Specs ------------------------------------------------------------------------------------

static Value hex_value(Arena *arena, const Hash *hash)
{
    char hex[HASH_HEX_LEN + 1];
    hash_hex(hash, hex);
    return value_str(str_copy(arena, str_from_c(hex)));
}

static Value str_or_null(Str s)
{
    return s.len > 0 ? value_str(s) : value_null();
}

/** Where local models ran when it was not the CPU: other bits come out, so it is a setting. */
static Str device_of(const Source *sources, size_t n_sources)
{
    for (size_t i = 0; i < n_sources; i++) {
        Str device = sources[i].sampler->device;
        if (device.len > 0 && !str_eq(device, STR("cpu"))) {
            return device;
        }
    }
    return STR_EMPTY;
}

static Value settings_value(const RunConfig *config, const Source *sources, size_t n_sources,
                            Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("seed"), value_int((int64_t)config->seed));
    plan_samples_put(config, &map);
    map_builder_put(&map, STR("limit_from"), value_int(config->limit_from));
    map_builder_put(&map, STR("limit_to"), value_int(config->limit_to));
    map_builder_put(&map, STR("limit_total"), value_int(config->limit_total));
    map_builder_put(&map, STR("epochs"), value_int(config->epochs));
    map_builder_put(&map, STR("chat"), value_bool(config->sampler.force_chat));
    map_builder_put(&map, STR("precision"),
                    value_str(config->sampler.precision_f32 ? STR("f32")
                              : config->sampler.fast        ? STR("fast")
                                                            : STR("default")));
    Str device = device_of(sources, n_sources);
    if (device.len > 0) {
        map_builder_put(&map, STR("device"), value_str(device));
    }
    if (config->shard.n > 1) {
        MapBuilder shard;
        map_builder_init(&shard, arena);
        map_builder_put(&shard, STR("k"), value_int(config->shard.k));
        map_builder_put(&shard, STR("n"), value_int(config->shard.n));
        map_builder_put(&map, STR("shard"), map_builder_done(&shard));
    }
    return map_builder_done(&map);
}

/** Whether all members of a are in b with the same values, but for what is not looked at here. */
static bool settings_within(const Value *a, const Value *b)
{
    for (size_t i = 0; a->kind == VALUE_MAP && i < a->as.map.n; i++) {
        const ValuePair *pair = &a->as.map.pairs[i];
        const Value *other = value_get(b, pair->key);
        bool looked_at = !str_eq_c(pair->key, "sample_ids") && !str_eq_c(pair->key, "device");
        if (looked_at && (other == NULL || !value_equal(&pair->value, other))) {
            return false;
        }
    }
    return true;
}

bool run_settings_equal(const RunConfig *config, const Value *spec)
{
    Arena arena = {0};
    Value own = settings_value(config, NULL, 0, &arena);
    bool equal = settings_within(&own, spec) && settings_within(spec, &own);
    arena_finish(&arena);
    return equal;
}

/** What scores a reply: the graders, and the models that they ask. */
static Hash graders_hash(Registry *registry, const Cell *cell)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.graders.1"));
    hash_hash(&sha, &cell->task->grader_hash);
    const Eval *eval = cell->task->eval;
    bool asks = false;
    for (size_t g = 0; g < eval->n_graders; g++) {
        RegistryUnit unit;
        bool found = registry_unit_find(registry, eval, UNIT_GRADER, eval->graders[g].use, &unit);
        for (size_t i = 0; found && i < unit.info->n_effects; i++) {
            asks = asks || !str_eq(unit.info->effects[i], STR("exec"));
        }
    }
    for (size_t i = 0; asks && i < cell->n_roles; i++) {
        hash_str(&sha, cell->roles[i].name);
        hash_hash(&sha, &cell->roles[i].source->sampler->identity);
    }
    return hash_end(&sha);
}

RunSpec plan_run_spec(Registry *registry, const Cell *cell, const Model *model,
                      const Sampler *sampler, Value metrics, Value sources, Arena *arena)
{
    const Task *task = cell->task;
    RunSpec spec = {
        .eval = task->eval->name,
        .eval_version = task->eval->version,
        .part = task->part,
        .variant = task->variant->name,
        .model = model->spec,
        .n_planned = cell->n_planned,
        .epochs = cell->epochs,
        .eval_hash = task->eval->hash,
        .program_hash = task->program_hash,
        .data_hash = task->data_hash,
        .model_hash = sampler->identity,
        .metrics = metrics,
    };
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("eval"), value_str(spec.eval));
    map_builder_put(&map, STR("version"), value_int(spec.eval_version));
    map_builder_put(&map, STR("part"), str_or_null(spec.part));
    map_builder_put(&map, STR("variant"), str_or_null(spec.variant));
    map_builder_put(&map, STR("model"), value_str(spec.model));
    map_builder_put(&map, STR("epochs"), value_int(spec.epochs));
    map_builder_put(&map, STR("n_planned"), value_int(spec.n_planned));
    map_builder_put(&map, STR("eval_hash"), hex_value(arena, &spec.eval_hash));
    map_builder_put(&map, STR("program_hash"), hex_value(arena, &spec.program_hash));
    map_builder_put(&map, STR("data_hash"), hex_value(arena, &spec.data_hash));
    map_builder_put(&map, STR("model_hash"), hex_value(arena, &spec.model_hash));
    Hash graders = graders_hash(registry, cell);
    map_builder_put(&map, STR("grader_hash"), hex_value(arena, &graders));
    if (task->eval->gate.kind == VALUE_MAP) {
        map_builder_put(&map, STR("gate"), task->eval->gate);
    }
    if (cell->n_roles > 0) {
        map_builder_put(&map, STR("roles"), cell_roles_value(cell, arena));
    }
    if (sources.kind == VALUE_MAP) {
        map_builder_put(&map, STR("sources"), sources);
    }
    spec.spec = map_builder_done(&map);
    return spec;
}

/** {eval: FILE}: the evals that were not found by name, for rescore. */
static Value files_value(const RunConfig *config, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < config->n_targets; i++) {
        const RunTarget *target = &config->targets[i];
        Value so_far = map_builder_done(&map);
        if (target->word.len > 0 && !str_eq(target->word, target->eval->name) &&
            value_get(&so_far, target->eval->name) == NULL) {
            map_builder_put(&map, target->eval->name, value_str(target->word));
        }
    }
    return map_builder_done(&map);
}

/** What the caller says, where the evals come from, and who plays which role. */
static Value provenance_value(const RunConfig *config, const Plan *plan, Arena *arena)
{
    Value roles = plan_roles_provenance(plan, arena);
    Value files = files_value(config, arena);
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; config->provenance.kind == VALUE_MAP && i < config->provenance.as.map.n;
         i++) {
        map_builder_put(&map, config->provenance.as.map.pairs[i].key,
                        config->provenance.as.map.pairs[i].value);
    }
    if (files.as.map.n > 0) {
        map_builder_put(&map, STR("evals"), files);
    }
    if (roles.as.list.n > 0) {
        map_builder_put(&map, STR("roles"), roles);
    }
    return map_builder_done(&map);
}

/** Shards of one run are called alike, whoever runs them: this is all that their name hangs on. */
static uint64_t shard_name_seed(const RunConfig *config, const Plan *plan)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.shard.name.1"));
    hash_str(&sha, config->shard.job);
    hash_i64(&sha, config->shard.n);
    for (size_t c = 0; c < plan->n_cells; c++) {
        hash_str(&sha, plan->cells[c].task->eval->name);
        hash_str(&sha, plan->cells[c].task->part);
        hash_str(&sha, plan->cells[c].task->variant->name);
    }
    for (size_t m = 0; m < config->n_models; m++) {
        hash_str(&sha, config->models[m]->spec);
    }
    Hash hash = hash_end(&sha);
    return hash_u64(&hash);
}

ExperimentSpec plan_spec(const RunConfig *config, const Plan *plan, const Source *sources,
                         size_t n_sources, Arena *arena)
{
    size_t n_runs = config->n_models * plan->n_cells;
    RunSpec *runs = ARENA_ARRAY(arena, RunSpec, n_runs + 1);
    Value metrics = value_null();
    for (size_t c = 0; c < plan->n_cells; c++) {
        const Eval *eval = plan->cells[c].task->eval;
        Value texts = value_null();
        if (c == 0 || eval != plan->cells[c - 1].task->eval) { // the cells of an eval share them
            metrics = plan_metrics(config->registry, eval, arena);
            texts = plan_sources(config->registry, eval, arena);
        }
        for (size_t m = 0; m < config->n_models; m++) {
            runs[m * plan->n_cells + c] =
                plan_run_spec(config->registry, &plan->cells[c], config->models[m],
                              sources[m].sampler, metrics, m == 0 ? texts : value_null(), arena);
        }
    }
    bool sharded = config->shard.n > 1;
    return (ExperimentSpec){
        .name = config->name,
        .name_suffix = sharded ? str_printf(arena, "-shard-%lld-of-%lld",
                                            (long long)config->shard.k, (long long)config->shard.n)
                               : STR_EMPTY,
        .name_seed = sharded ? shard_name_seed(config, plan) : 0,
        .tags = config->tags,
        .spec = settings_value(config, sources, n_sources, arena),
        .runs = runs,
        .n_runs = n_runs,
        .provenance = provenance_value(config, plan, arena),
    };
}
