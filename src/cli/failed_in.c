// SPDX-License-Identifier: MIT
// run --failed-in: the samples of an earlier experiment that have to be looked at again.
#include "cli/failed_in.h"

#include <stdlib.h>
#include <string.h>

/** A sample that failed. */
typedef struct Found {
    Str eval;
    Str part;
    Str id;
} Found;

/** Those met so far; texts are in the program's arena. */
typedef struct Finding {
    Cli *cli;
    const RunTarget *target; // whose parts are wanted
    Found *items;            // malloc'ed
    size_t n;
    size_t cap;
} Finding;

static int compare_found(const void *a, const void *b)
{
    const Found *x = a;
    const Found *y = b;
    int order = str_cmp(x->eval, y->eval);
    order = order != 0 ? order : str_cmp(x->part, y->part);
    return order != 0 ? order : str_cmp(x->id, y->id);
}

static void found_add(Finding *finding, Str eval, Str part, Str id)
{
    if (finding->n == finding->cap) {
        finding->cap = finding->cap == 0 ? 64 : finding->cap * 2;
        finding->items = mem_realloc(finding->items, finding->cap, sizeof(*finding->items));
    }
    Arena *arena = &finding->cli->arena;
    finding->items[finding->n++] =
        (Found){str_copy(arena, eval), str_copy(arena, part), str_copy(arena, id)};
}

/** Another epoch, variant or model of the sample that came last says nothing new. */
static bool visit(void *ctx, const AttemptInfo *attempt)
{
    Finding *finding = ctx;
    const Found *last = finding->n > 0 ? &finding->items[finding->n - 1] : NULL;
    Str part = finding->target->part;
    bool again = last != NULL && str_eq(last->id, attempt->sample_id) &&
                 str_eq(last->part, attempt->part) && str_eq(last->eval, attempt->eval);
    if (!again && (part.len == 0 || glob_match(part, attempt->part))) {
        found_add(finding, attempt->eval, attempt->part, attempt->sample_id);
    }
    return true;
}

/** By part, each sample once. */
static void found_group(Finding *finding, FailedIn *out)
{
    Arena *arena = &finding->cli->arena;
    if (finding->n > 1) {
        qsort(finding->items, finding->n, sizeof(*finding->items), compare_found);
    }
    RunSampleIds *parts = ARENA_ARRAY(arena, RunSampleIds, finding->n + 1);
    Str *ids = ARENA_ARRAY(arena, Str, finding->n + 1);
    size_t n_ids = 0;
    for (size_t i = 0; i < finding->n; i++) {
        const Found *found = &finding->items[i];
        if (i > 0 && compare_found(&finding->items[i - 1], found) == 0) {
            continue;
        }
        RunSampleIds *part = out->n > 0 ? &parts[out->n - 1] : NULL;
        if (part == NULL || !str_eq(part->eval, found->eval) || !str_eq(part->part, found->part)) {
            part = &parts[out->n++];
            *part = (RunSampleIds){.eval = found->eval, .part = found->part, .ids = &ids[n_ids]};
        }
        ids[n_ids++] = found->id;
        part->n++;
    }
    out->parts = parts;
}

// ---- As an unfinished run recorded it -----------------------------------------------------------

static bool is_target(const RunTarget *targets, size_t n_targets, Str eval)
{
    for (size_t i = 0; i < n_targets; i++) {
        if (str_eq(targets[i].eval->name, eval)) {
            return true;
        }
    }
    return false;
}

/** spec.sample_ids {EVAL/PART: [ID ...]}; false when it is about other evals, or not there. */
static bool recorded_read(Finding *finding, const ExperimentInfo *experiment,
                          const RunTarget *targets, size_t n_targets)
{
    const Value *map = value_get_c(&experiment->spec, "sample_ids");
    finding->n = 0;
    for (size_t i = 0; map != NULL && map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        Str eval = map->as.map.pairs[i].key;
        Str part = STR_EMPTY;
        const Value *ids = &map->as.map.pairs[i].value;
        str_cut(eval, STR("/"), &eval, &part); // the name of an eval has none
        if (!is_target(targets, n_targets, eval) || ids->kind != VALUE_LIST) {
            finding->n = 0;
            return false;
        }
        for (size_t k = 0; k < ids->as.list.n; k++) {
            if (ids->as.list.items[k].kind == VALUE_STR) {
                found_add(finding, eval, part, ids->as.list.items[k].as.str);
            }
        }
    }
    return finding->n > 0;
}

static bool is_asked(const RunConfig *config, const RunInfo *run)
{
    bool model = config->n_models == 0; // of evals that ask none
    for (size_t i = 0; i < config->n_models; i++) {
        model = model || str_eq(config->models[i]->spec, run->model);
    }
    bool part = false;
    for (size_t i = 0; i < config->n_targets; i++) {
        const RunTarget *target = &config->targets[i];
        part = part || (str_eq(target->eval->name, run->eval) &&
                        (target->part.len == 0 || glob_match(target->part, run->part)));
    }
    return model && part && (config->variant.len == 0 || str_eq(config->variant, run->variant));
}

static bool has_model(const RunInfo *runs, size_t n, Str model)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(runs[i].model, model)) {
            return true;
        }
    }
    return false;
}

/** Whether an unfinished experiment is what a command without a name asks for, as far as that can
 * be told before the run: its settings, and runs of these evals on exactly these models. */
static bool recorded_fits(Finding *finding, Results *results, const ExperimentInfo *experiment,
                          const RunConfig *config, bool *out, Err *err)
{
    RunInfo *runs = NULL;
    size_t n = 0;
    *out = false;
    if (!run_settings_equal(config, &experiment->spec)) {
        return true;
    }
    if (!results_runs(results, &finding->cli->arena, experiment->id, &runs, &n, err)) {
        return false;
    }
    bool fits = true;
    for (size_t i = 0; i < n; i++) {
        fits = fits && is_asked(config, &runs[i]);
    }
    for (size_t i = 0; i < config->n_models; i++) {
        fits = fits && has_model(runs, n, config->models[i]->spec);
    }
    *out = fits;
    return true;
}

static bool recorded_find(Finding *finding, Results *results, Str word, const RunConfig *config,
                          FailedIn *out, Err *err)
{
    Str name = config->name;
    ExperimentInfo *experiments = NULL;
    size_t n = 0;
    if (!results_experiments(results, &finding->cli->arena, &experiments, &n, err)) {
        return false;
    }
    for (size_t i = n; i-- > 0 && finding->n == 0;) {
        const ExperimentInfo *experiment = &experiments[i];
        const Value *origin = value_get_c(&experiment->provenance, "failed_in");
        bool meant = name.len > 0 ? str_eq(experiment->name, name)
                                  : !str_eq(experiment->state, STR("finished"));
        meant = meant && str_eq(value_get_str(origin, "word", STR_EMPTY), word);
        // One of that name is gone on with or refused, with what differs in words.
        if (meant && name.len == 0 &&
            !recorded_fits(finding, results, experiment, config, &meant, err)) {
            return false;
        }
        if (meant && recorded_read(finding, experiment, config->targets, config->n_targets)) {
            out->origin = *origin;
            out->recorded = true;
        }
    }
    return true;
}

// ---- From the attempts --------------------------------------------------------------------------

static bool has_run(const RunInfo *runs, size_t n, Str eval)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(runs[i].eval, eval)) {
            return true;
        }
    }
    return false;
}

static Value origin_value(Arena *arena, Str word, const ExperimentInfo *experiment)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("word"), value_str(word));
    map_builder_put(&map, STR("name"), value_str(experiment->name));
    map_builder_put(&map, STR("id"), value_str(experiment->short_id));
    return map_builder_done(&map);
}

static bool attempts_find(Finding *finding, Results *results, Str word, const RunTarget *targets,
                          size_t n_targets, FailedIn *out, Err *err)
{
    Arena *arena = &finding->cli->arena;
    ExperimentInfo experiment;
    RunInfo *runs = NULL;
    size_t n_runs = 0;
    if (!results_experiment(results, arena, word, &experiment, err) ||
        !results_runs(results, arena, experiment.id, &runs, &n_runs, err)) {
        return false;
    }
    for (size_t i = 0; i < n_targets; i++) {
        AttemptFilter filter = {.eval = targets[i].eval->name, .failed_only = true};
        finding->target = &targets[i];
        if (!has_run(runs, n_runs, filter.eval)) {
            return ERR_SET(err, ERR_USAGE,
                           "experiment '" STR_FMT "' has no run of eval '" STR_FMT "'",
                           STR_ARG(experiment.name), STR_ARG(filter.eval));
        }
        if (!results_attempts(results, experiment.id, &filter, visit, finding, err)) {
            return false;
        }
    }
    if (finding->n == 0) {
        return ERR_SET(err, ERR_USAGE,
                       "nothing to run: no attempt of experiment '" STR_FMT "' failed%s",
                       STR_ARG(experiment.name),
                       experiment.n_runs > (int64_t)n_targets ? " in what is asked for" : "");
    }
    if (!str_eq(experiment.state, STR("finished")) && !finding->cli->global.quiet) {
        fprintf(stderr,
                "experiment " STR_FMT " is " STR_FMT
                ": samples that it did not run are not among those that failed\n",
                STR_ARG(experiment.name), STR_ARG(experiment.state));
    }
    out->origin = origin_value(arena, word, &experiment);
    return true;
}

bool failed_in_find(Cli *cli, Str word, const RunConfig *config, bool recorded, FailedIn *out,
                    Err *err)
{
    Results *results = NULL;
    Finding finding = {.cli = cli};
    *out = (FailedIn){0};
    bool ok = cli_results(cli, &results, err) &&
              (!recorded || recorded_find(&finding, results, word, config, out, err)) &&
              (finding.n > 0 || attempts_find(&finding, results, word, config->targets,
                                              config->n_targets, out, err));
    results_close(results);
    if (ok) {
        found_group(&finding, out);
        size_t n = 0;
        for (size_t i = 0; i < out->n; i++) {
            n += out->parts[i].n;
        }
        if (!cli->global.quiet) {
            fprintf(stderr, "%zu sample%s failed in experiment " STR_FMT " (" STR_FMT ")\n", n,
                    PLURAL(n), STR_ARG(value_get_str(&out->origin, "name", STR_EMPTY)),
                    STR_ARG(value_get_str(&out->origin, "id", STR_EMPTY)));
        }
    }
    mem_free(finding.items);
    return ok || ERR_WRAP(err, "--failed-in " STR_FMT, STR_ARG(word));
}
