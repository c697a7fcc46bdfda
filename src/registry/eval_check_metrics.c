// SPDX-License-Identifier: MIT
// The metrics of an eval, and what names them or metadata: that they exist, suit their graders, the
// epochs and the variants; slices; the eval's own gate, and gates that name evals.
#include "registry/eval_check.h"

/** The item of `metrics` that a metric was read from; NULL when it is a bare name. */
static const Value *metric_map(const EvalCheck *check, const EvalMetric *metric)
{
    const Value *list = value_get_c(&check->eval->source, "metrics");
    for (size_t i = 0; list != NULL && list->kind == VALUE_LIST && i < list->as.list.n; i++) {
        const Value *use = value_get_c(&list->as.list.items[i], "use");
        if (use != NULL && use->line == metric->line && use->col == metric->col) {
            return &list->as.list.items[i];
        }
    }
    return NULL;
}

/** Where a key of a metric stands; its `use` where it has no such key. */
static Value metric_key(const EvalCheck *check, const EvalMetric *metric, const char *key)
{
    const Value *value = value_get_c(metric_map(check, metric), key);
    return value != NULL ? check_place(value->line, value->col)
                         : check_place(metric->line, metric->col);
}

static bool is_own(const EvalMetric *metric)
{
    return keys_word_in(keys_metrics_known, metric->use);
}

/** Whether a metric counts epochs of a sample, and so needs k. */
static bool metric_needs_k(const EvalMetric *metric)
{
    static const char *const words[] = {"at_least", "pass_at", "pass_all", NULL};
    return keys_word_in(words, metric->use);
}

/** "pass_at_8": what a metric is called in tables and gates. */
static Str metric_label(Arena *arena, const EvalMetric *metric)
{
    int64_t k = value_get_int(&metric->params, "k", 0);
    return metric_needs_k(metric)
               ? str_printf(arena, STR_FMT "_%lld", STR_ARG(metric->use), (long long)k)
               : metric->use;
}

// ---- One metric --------------------------------------------------------------------------------

/** Keys of one of our own metrics: none that it does not know, and k where it counts epochs. */
static void check_own_keys(const EvalCheck *check, const EvalMetric *metric, const Value *at)
{
    static const Str common[] = {{"use", 3},  {"of", 2}, {"average", 7},
                                 {"over", 4}, {"k", 1},  {"min", 3}};
    bool needs_k = metric_needs_k(metric);
    for (size_t i = 0; i < metric->params.as.map.n; i++) {
        const ValuePair *pair = &metric->params.as.map.pairs[i];
        if (keys_find(&keys_metric, pair->key) == NULL) {
            Str what = str_printf(check->arena, "metric '" STR_FMT "'", STR_ARG(metric->use));
            schema_unknown_key(pair, what.data, common, needs_k ? 6 : 4, check->eval->file,
                               check->faults);
        } else if (!needs_k) {
            Value place = check_place(pair->line, pair->col);
            FAULT(check, &place, "bad-value",
                  "'" STR_FMT "' goes with at_least, pass_at and pass_all only",
                  STR_ARG(pair->key));
        }
    }
    const Value *k = value_get_c(&metric->params, "k");
    if (needs_k && value_get_c(metric_map(check, metric), "k") == NULL) {
        FAULT(check, at, "missing-key", "metric '" STR_FMT "' needs the key 'k'",
              STR_ARG(metric->use));
    } else if (needs_k && k != NULL && k->kind == VALUE_INT &&
               k->as.integer > check->eval->epochs) {
        FAULT(check, k, "epochs",
              "metric '" STR_FMT "' needs %lld epochs of a sample, the eval has epochs: %lld",
              STR_ARG(metric->use), (long long)k->as.integer, (long long)check->eval->epochs);
    }
}

/** A metric is one of our own, or a Lua file with params of its own. */
static void check_metric_use(const EvalCheck *check, const EvalMetric *metric, const Value *at)
{
    if (metric->use.len == 0) {
        return;
    }
    if (is_own(metric)) {
        check_own_keys(check, metric, at);
        return;
    }
    const LuaUnit *unit = check_unit(check, UNIT_METRIC, metric->use, at);
    if (unit != NULL) {
        check_params(check, unit, &metric->params, NULL, NULL, at);
    }
}

static void check_metric_over(const EvalCheck *check, const EvalMetric *metric, const Value *at)
{
    const Eval *eval = check->eval;
    bool worst = str_eq_c(metric->use, "worst");
    bool variants = str_eq_c(metric->over, "variants");
    Value place = metric_key(check, metric, "over");
    if (variants && !worst) {
        FAULT(check, &place, "bad-value", "over: variants goes with the metric worst only");
    } else if (worst && metric->over.len > 0 && !variants) {
        FAULT(check, &place, "bad-value", "worst is over: variants");
    } else if (worst && value_get_c(&eval->source, "variants") == NULL) {
        FAULT(check, at, "dangling", "the metric worst needs variants");
    }
    if (str_eq_c(metric->average, "parts") && eval->n_matrix == 0) {
        place = metric_key(check, metric, "average");
        FAULT(check, &place, "dangling", "'average: parts' needs a matrix");
    }
}

static void check_metric_range(const EvalCheck *check, const EvalMetric *metric,
                               const LuaUnit *const *units, const Value *at)
{
    const Value *graders = value_get_c(&check->eval->source, "graders");
    for (size_t i = 0; str_eq_c(metric->use, "accuracy") && i < check->eval->n_graders; i++) {
        const EvalGrader *grader = &check->eval->graders[i];
        bool meant = metric->of.len == 0 || str_eq(metric->of, grader->name);
        if (units[i] == NULL || !meant ||
            (units[i]->info.range_low >= 0 && units[i]->info.range_high <= 1)) {
            continue;
        }
        if (at->line > 0) {
            FAULT(check, at, "range",
                  "accuracy needs scores from 0 to 1; those of grader '" STR_FMT
                  "' reach further: use mean",
                  STR_ARG(grader->name));
        } else {
            FAULT(check, graders, "range",
                  "without metrics: there is accuracy, which needs scores from 0 to 1; those of "
                  "grader '" STR_FMT "' reach further: give metrics: [mean]",
                  STR_ARG(grader->name));
        }
    }
}

// ---- Slices and gates --------------------------------------------------------------------------

static void check_slices(const EvalCheck *check)
{
    const Eval *eval = check->eval;
    const Value *list = value_get_c(&eval->source, "slices");
    const Value *metadata = &eval->sample_metadata;
    size_t n = metadata->kind == VALUE_MAP ? metadata->as.map.n : 0;
    Str *names = ARENA_ARRAY(check->arena, Str, n + 1);
    for (size_t i = 0; i < n; i++) {
        names[i] = metadata->as.map.pairs[i].key;
    }
    for (size_t i = 0; list != NULL && list->kind == VALUE_LIST && i < list->as.list.n; i++) {
        const Value *item = &list->as.list.items[i];
        if (item->kind == VALUE_STR && !name_in(item->as.str, names, n)) {
            Str hint = schema_did_you_mean(check->arena, item->as.str, names, n);
            FAULT(check, item, "dangling", "slice '" STR_FMT "' is not in sample: metadata" STR_FMT,
                  STR_ARG(item->as.str), STR_ARG(hint));
        }
    }
}

/** What metrics may be called in a gate: "accuracy", "exact.accuracy", "exact" (its first). */
static void metric_names(Arena *arena, const Eval *eval, NameSet *out)
{
    for (size_t i = 0; i < eval->n_metrics; i++) {
        const EvalMetric *metric = &eval->metrics[i];
        Str label = metric_label(arena, metric);
        name_set_add(out, label);
        for (size_t k = 0; k < eval->n_graders; k++) {
            if (metric->of.len == 0 || str_eq(metric->of, eval->graders[k].name)) {
                name_set_add(out, eval->graders[k].name);
                name_set_add(out, str_printf(arena, STR_FMT "." STR_FMT,
                                             STR_ARG(eval->graders[k].name), STR_ARG(label)));
            }
        }
    }
}

/** The keys of a map are metrics of an eval. */
static void check_metric_map(Arena *arena, const Eval *eval, const Value *map, Str file,
                             Faults *faults)
{
    NameSet names = {.arena = arena};
    metric_names(arena, eval, &names);
    for (size_t i = 0; map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        if (!name_in(pair->key, names.names, names.n)) {
            Str hint = schema_did_you_mean(arena, pair->key, names.names, names.n);
            faults_add(faults, file, pair->line, pair->col, false, "dangling",
                       "eval '" STR_FMT "' has no metric '" STR_FMT "'" STR_FMT,
                       STR_ARG(eval->name), STR_ARG(pair->key), STR_ARG(hint));
        }
    }
}

static const char *const gate_maps[] = {"min", "max", "max_regression"};
#define N_GATE_MAPS (sizeof(gate_maps) / sizeof(gate_maps[0]))

/** An eval's own gate names metrics; or, as a gate's file, itself and then metrics. */
static void check_own_gate(const EvalCheck *check)
{
    const Eval *eval = check->eval;
    for (size_t i = 0; i < N_GATE_MAPS; i++) {
        const Value *map = value_get_c(&eval->gate, gate_maps[i]);
        const Value *own = map != NULL ? value_get(map, eval->name) : NULL;
        if (own != NULL) {
            check_metric_map(check->arena, eval, own, eval->file, check->faults);
        } else if (map != NULL) {
            check_metric_map(check->arena, eval, map, eval->file, check->faults);
        }
    }
}

static void check_gate_eval(Registry *registry, const ValuePair *pair, Str file, Faults *faults)
{
    Arena arena = {0};
    Faults own;
    faults_init(&own, &arena);
    Err err = ERR_INIT;
    const Eval *eval = NULL;
    Str name = pair->key, part = STR_EMPTY;
    str_cut(pair->key, STR("/"), &name, &part);
    if (registry_eval(registry, name, &own, &eval, &err)) {
        check_metric_map(&arena, eval, &pair->value, file, faults);
    } else if (err.code == ERR_NOT_FOUND) {
        // Evals need not be in the registry; a name that is nearly one of it is a slip.
        Str *names = NULL;
        size_t n = 0;
        registry_names(registry, REGISTRY_EVALS, &arena, &names, &n);
        Str hint = schema_did_you_mean(&arena, name, names, n);
        if (hint.len > 0) {
            faults_add(faults, file, pair->line, pair->col, false, "dangling",
                       "no eval '" STR_FMT "'" STR_FMT, STR_ARG(name), STR_ARG(hint));
        }
    } // an eval with faults of its own is not the gate's fault
    arena_finish(&arena);
}

void gate_check_evals(Registry *registry, Str file, const Value *root, Faults *faults)
{
    for (size_t i = 0; i < N_GATE_MAPS; i++) {
        const Value *map = value_get_c(root, gate_maps[i]);
        for (size_t k = 0; map != NULL && map->kind == VALUE_MAP && k < map->as.map.n; k++) {
            check_gate_eval(registry, &map->as.map.pairs[k], file, faults);
        }
    }
}

// ---- The whole ---------------------------------------------------------------------------------

void check_metrics(const EvalCheck *check, const LuaUnit *const *units)
{
    const Eval *eval = check->eval;
    Str *names = ARENA_ARRAY(check->arena, Str, eval->n_graders + 1);
    for (size_t i = 0; i < eval->n_graders; i++) {
        names[i] = eval->graders[i].name;
    }
    for (size_t i = 0; i < eval->n_metrics; i++) {
        const EvalMetric *metric = &eval->metrics[i];
        Value at = check_place(metric->line, metric->col);
        check_metric_use(check, metric, &at);
        if (metric->of.len > 0 && !name_in(metric->of, names, eval->n_graders)) {
            Value place = metric_key(check, metric, "of");
            Str hint = schema_did_you_mean(check->arena, metric->of, names, eval->n_graders);
            FAULT(check, &place, "dangling",
                  "metric '" STR_FMT "' is of '" STR_FMT "', which is no grader" STR_FMT,
                  STR_ARG(metric->use), STR_ARG(metric->of), STR_ARG(hint));
        }
        check_metric_over(check, metric, &at);
        check_metric_range(check, metric, units, &at);
    }
    check_slices(check);
    check_own_gate(check);
}
