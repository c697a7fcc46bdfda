// SPDX-License-Identifier: MIT
// RunSpec.metrics as specs. What is not understood is refused when an experiment begins, not when
// its results are read.
#include "results/metric_internal.h"

#include <math.h>

static const MetricInfo infos[] = {
#define X(kind, name, lower_is_better, needs_rows, needs_k)                                        \
    {name, lower_is_better, needs_rows, needs_k},
#include "results/metrics.def"
#undef X
};

const MetricInfo *metric_info(MetricKind kind)
{
    return &infos[kind];
}

bool metric_lower_is_better(const MetricSpec *spec, const GraderSpec *grader)
{
    const MetricInfo *info = metric_info(spec->kind);
    return info->lower_is_better || spec->lower_is_better ||
           (grader->lower_is_better && !info->needs_rows && !info->needs_k);
}

void metric_range(const MetricSpec *spec, const GraderSpec *grader, bool weighted, double *out_low,
                  double *out_high)
{
    MetricKind kind = spec->kind;
    *out_low = grader->low;
    *out_high = grader->high;
    if (kind == METRIC_AT_LEAST || kind == METRIC_PASS_AT || kind == METRIC_PASS_ALL ||
        kind == METRIC_BRIER) {
        *out_low = 0;
        *out_high = 1;
    } else if (kind == METRIC_SUM && weighted) {
        *out_low = -(double)INFINITY;
        *out_high = (double)INFINITY;
    }
}

static const Str *names_of(Arena *arena, const Value *map, const char *key, size_t *out_n)
{
    const Value *list = value_get_c(map, key);
    *out_n = list != NULL && list->kind == VALUE_LIST ? list->as.list.n : 0;
    Str *names = ARENA_ARRAY(arena, Str, *out_n + 1);
    for (size_t i = 0; i < *out_n; i++) {
        const Value *name = &list->as.list.items[i];
        names[i] = name->kind == VALUE_STR ? name->as.str : STR_EMPTY;
    }
    return names;
}

/** A grader is a map, or a bare name when nothing else is known of it. */
static GraderSpec grader_parse(const Value *value)
{
    if (value->kind == VALUE_STR) {
        return (GraderSpec){.name = value->as.str,
                            .use = value->as.str,
                            .low = -(double)INFINITY,
                            .high = (double)INFINITY};
    }
    Str name = value_get_str(value, "name", STR_EMPTY);
    return (GraderSpec){
        .name = name,
        .use = value_get_str(value, "use", name),
        .low = value_get_real(value, "low", -(double)INFINITY),
        .high = value_get_real(value, "high", (double)INFINITY),
        .lower_is_better = value_get_bool(value, "lower_is_better", false),
    };
}

static bool graders_parse(Arena *arena, const Value *map, MetricSpec *out, Err *err)
{
    const Value *list = value_get_c(map, "graders");
    out->n_graders = list != NULL && list->kind == VALUE_LIST ? list->as.list.n : 0;
    GraderSpec *graders = ARENA_ARRAY(arena, GraderSpec, out->n_graders + 1);
    bool of_known = out->of.len == 0;
    for (size_t i = 0; i < out->n_graders; i++) {
        graders[i] = grader_parse(&list->as.list.items[i]);
        of_known |= str_eq(graders[i].name, out->of);
    }
    out->graders = graders;
    return of_known ||
           ERR_SET(err, ERR_CONFIG, "metric '" STR_FMT "': there is no grader '" STR_FMT "'",
                   STR_ARG(out->use), STR_ARG(out->of));
}

static bool kind_parse(const Value *map, MetricSpec *out, Err *err)
{
    out->lua = value_get_str(map, "lua", STR_EMPTY);
    out->kind = METRIC_CUSTOM;
    for (size_t i = 0; out->lua.len == 0 && i < METRIC_CUSTOM; i++) {
        if (str_eq_c(out->use, infos[i].name)) {
            out->kind = (MetricKind)i;
        }
    }
    if (out->kind == METRIC_CUSTOM && out->lua.len == 0) {
        return ERR_SET(err, ERR_UNSUPPORTED, "there is no metric '" STR_FMT "'", STR_ARG(out->use));
    }
    Str over = value_get_str(map, "over", STR_EMPTY);
    bool over_variants = str_eq(over, STR("variants"));
    if (over.len > 0 && !over_variants && !str_eq(over, STR("epochs"))) {
        return ERR_SET(err, ERR_CONFIG,
                       "metric '" STR_FMT "': over is 'epochs' or 'variants', not '" STR_FMT "'",
                       STR_ARG(out->use), STR_ARG(over));
    }
    if ((over_variants && out->kind != METRIC_WORST) ||
        (out->kind == METRIC_WORST && over.len > 0 && !over_variants)) {
        return ERR_SET(err, ERR_CONFIG,
                       "metric '" STR_FMT "' over '" STR_FMT "': only 'worst' is over variants",
                       STR_ARG(out->use), STR_ARG(over));
    }
    return true;
}

/** k and min, and the name that they make. */
static bool params_parse(Arena *arena, const Value *map, MetricSpec *out, Err *err)
{
    const Value *min = value_get_c(map, "min");
    out->k = value_get_int(map, "k", 0);
    out->min = value_get_real(map, "min", 1);
    if (infos[out->kind].needs_k && out->k < 1) {
        return ERR_SET(err, ERR_CONFIG, "metric '" STR_FMT "' needs k, 1 or more",
                       STR_ARG(out->use));
    }
    out->label = out->use;
    if (infos[out->kind].needs_k) {
        out->label = str_printf(arena, STR_FMT "_%lld", STR_ARG(out->use), (long long)out->k);
        if (min != NULL && out->min != 1) {
            out->label = str_printf(arena, STR_FMT "_min_%g", STR_ARG(out->label), out->min);
        }
    }
    return true;
}

static bool metric_parse(Arena *arena, const Value *value, MetricSpec *out, Err *err)
{
    *out = (MetricSpec){
        .use = value_get_str(value, "use", STR_EMPTY),
        .of = value_get_str(value, "of", STR_EMPTY),
        .file = value_get_str(value, "file", STR_EMPTY),
        .lower_is_better = value_get_bool(value, "lower_is_better", false),
        .params = value_map(NULL, 0),
    };
    Str average = value_get_str(value, "average", STR_EMPTY);
    const Value *params = value_get_c(value, "params");
    if (params != NULL && params->kind == VALUE_MAP) {
        out->params = *params;
    }
    out->average_parts = str_eq(average, STR("parts"));
    out->slices = names_of(arena, value, "slices", &out->n_slices);
    out->variants = names_of(arena, value, "variants", &out->n_variants);
    if (average.len > 0 && !out->average_parts) {
        return ERR_SET(err, ERR_CONFIG,
                       "metric '" STR_FMT "': average is 'parts', not '" STR_FMT "'",
                       STR_ARG(out->use), STR_ARG(average));
    }
    return kind_parse(value, out, err) && params_parse(arena, value, out, err) &&
           graders_parse(arena, value, out, err);
}

bool metrics_parse(Arena *arena, const Value *metrics, MetricSpec **out, size_t *out_n, Err *err)
{
    size_t n = metrics->kind == VALUE_LIST ? metrics->as.list.n : 0;
    if (metrics->kind != VALUE_LIST && metrics->kind != VALUE_NULL) {
        return ERR_SET(err, ERR_CONFIG, "metrics are a list, not %s", value_kind_word(metrics));
    }
    *out = ARENA_ARRAY(arena, MetricSpec, n);
    *out_n = n;
    for (size_t i = 0; i < n; i++) {
        if (!metric_parse(arena, &metrics->as.list.items[i], &(*out)[i], err)) {
            return false;
        }
    }
    return true;
}
