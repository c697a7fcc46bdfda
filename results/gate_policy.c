// SPDX-License-Identifier: MIT
// Policies: from a gate file's map, from an eval's own `gate:`, from flags, and all of them
// together. Maps may come from a store, so nothing is taken for granted about them.
#include "results/gate.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

#define CONFIDENCE 0.95

static const struct {
    const char *key;
    bool in_budget;
} kinds[GATE_DEMAND_COUNT] = {
#define X(NAME, key, in_budget, unit) [GATE_DEMAND_##NAME] = {key, in_budget},
#include "results/gate_demand.def"
#undef X
};

/** A policy under construction, and what all its demands share. */
typedef struct Reader {
    Arena *arena;
    Str owner; // for messages: "gate 'release'"
    GateDemand *demands;
    size_t n;
    size_t cap;
    double confidence;
    GateMode mode;
    double detect;
    Err *err;
} Reader;

/** fails  always. */
static bool bad(Reader *reader, const char *key, Str at, const char *what)
{
    return ERR_SET(reader->err, ERR_CONFIG, STR_FMT ": %s%s" STR_FMT "%s %s",
                   STR_ARG(reader->owner), key, at.len > 0 ? ": '" : "", STR_ARG(at),
                   at.len > 0 ? "'" : "", what);
}

static bool same_thing(const GateDemand *a, const GateDemand *b)
{
    bool same_tags = a->n_tags == b->n_tags;
    for (size_t i = 0; same_tags && i < a->n_tags; i++) {
        same_tags = str_eq(a->tags[i], b->tags[i]);
    }
    return a->kind == b->kind && str_eq(a->eval, b->eval) && str_eq(a->metric, b->metric) &&
           str_eq(a->slice, b->slice) && same_tags;
}

static void demand_put(Reader *reader, GateDemand demand)
{
    for (size_t i = 0; i < reader->n; i++) {
        if (same_thing(&reader->demands[i], &demand)) {
            reader->demands[i] = demand;
            return;
        }
    }
    if (reader->n == reader->cap) {
        reader->cap = reader->cap == 0 ? 8 : reader->cap * 2;
        GateDemand *grown = ARENA_ARRAY(reader->arena, GateDemand, reader->cap);
        if (reader->n > 0) {
            memcpy(grown, reader->demands, reader->n * sizeof(*grown));
        }
        reader->demands = grown;
    }
    reader->demands[reader->n++] = demand;
}

static bool number_of(const Value *value, double *out)
{
    *out = value->kind == VALUE_INT    ? (double)value->as.integer
           : value->kind == VALUE_REAL ? value->as.real
                                       : (double)NAN;
    return isfinite(*out);
}

static bool bound_put(Reader *reader, GateDemandKind kind, Str eval, Str metric, Str slice,
                      const Value *value)
{
    GateDemand demand = {
        .kind = kind,
        .eval = eval,
        .metric = metric,
        .slice = slice,
        .confidence = reader->confidence,
        .mode = reader->mode,
        .detect = reader->detect,
    };
    Str at = slice.len > 0 ? slice : metric.len > 0 ? metric : eval;
    if (!number_of(value, &demand.bound)) {
        return bad(reader, kinds[kind].key, at, "has to be a number");
    }
    if (demand.bound < 0 && (kind == GATE_DEMAND_LOSS || kinds[kind].in_budget)) {
        return bad(reader, kinds[kind].key, at, "has to be 0 or more");
    }
    if (demand.bound > 1 && kind == GATE_DEMAND_ERROR_RATE) {
        return bad(reader, kinds[kind].key, at, "is a share: 1 or less");
    }
    demand_put(reader, demand);
    return true;
}

/** {metric: bound | {slice: bound}} of one eval. */
static bool metrics_put(Reader *reader, GateDemandKind kind, Str eval, const Value *map)
{
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        if (pair->value.kind != VALUE_MAP) {
            if (!bound_put(reader, kind, eval, pair->key, STR_EMPTY, &pair->value)) {
                return false;
            }
            continue;
        }
        for (size_t k = 0; k < pair->value.as.map.n; k++) {
            const ValuePair *slice = &pair->value.as.map.pairs[k];
            if (str_find(slice->key, STR("="), 0) == STR_NONE) {
                return bad(reader, kinds[kind].key, slice->key, "is no slice: KEY=VALUE");
            }
            if (!bound_put(reader, kind, eval, pair->key, slice->key, &slice->value)) {
                return false;
            }
        }
    }
    return true;
}

/** {eval: bound | {metric: ...}}. */
static bool evals_put(Reader *reader, GateDemandKind kind, const Value *map)
{
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        bool ok = pair->value.kind == VALUE_MAP
                      ? metrics_put(reader, kind, pair->key, &pair->value)
                      : bound_put(reader, kind, pair->key, STR_EMPTY, STR_EMPTY, &pair->value);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool bounds_read(Reader *reader, GateDemandKind kind, Str eval, const Value *policy)
{
    const Value *value = value_get_c(policy, kinds[kind].key);
    if (value == NULL || value->kind == VALUE_NULL) {
        return true;
    }
    if (value->kind != VALUE_MAP) {
        return kind == GATE_DEMAND_LOSS
                   ? bound_put(reader, kind, eval, STR_EMPTY, STR_EMPTY, value)
                   : bad(reader, kinds[kind].key, STR_EMPTY, "has to be a map of bounds");
    }
    // An eval's own gate may be written as in a gate file, under the eval's name.
    bool by_eval = eval.len == 0 || value_get(value, eval) != NULL;
    return by_eval ? evals_put(reader, kind, value) : metrics_put(reader, kind, eval, value);
}

static bool budget_read(Reader *reader, Str eval, const Value *policy)
{
    const Value *budget = value_get_c(policy, "budget");
    if (budget == NULL || budget->kind == VALUE_NULL) {
        return true;
    }
    if (budget->kind != VALUE_MAP) {
        return bad(reader, "budget", STR_EMPTY, "has to be a map");
    }
    for (size_t i = 0; i < budget->as.map.n; i++) {
        const ValuePair *pair = &budget->as.map.pairs[i];
        size_t kind = 0;
        while (kind < GATE_DEMAND_COUNT &&
               (!kinds[kind].in_budget || !str_eq_c(pair->key, kinds[kind].key))) {
            kind++;
        }
        if (kind == GATE_DEMAND_COUNT) {
            return bad(reader, "budget", pair->key,
                       "is none of error_rate, cost_usd, p95_latency_s, tokens");
        }
        if (!bound_put(reader, (GateDemandKind)kind, eval, STR_EMPTY, STR_EMPTY, &pair->value)) {
            return false;
        }
    }
    return true;
}

static void must_pass_put(Reader *reader, Str eval, const Str *tags, size_t n)
{
    demand_put(reader, (GateDemand){.kind = GATE_DEMAND_MUST_PASS,
                                    .eval = eval,
                                    .metric = STR_EMPTY,
                                    .slice = STR_EMPTY,
                                    .tags = tags,
                                    .n_tags = n,
                                    .confidence = reader->confidence,
                                    .mode = reader->mode,
                                    .detect = reader->detect});
}

static bool must_pass_read(Reader *reader, Str eval, const Value *policy)
{
    const Value *must_pass = value_get_c(policy, "must_pass");
    if (must_pass == NULL || must_pass->kind == VALUE_NULL) {
        return true;
    }
    const Value *tag = value_get_c(must_pass, "tag");
    size_t n = tag == NULL ? 0 : tag->kind == VALUE_LIST ? tag->as.list.n : 1;
    Str *tags = ARENA_ARRAY(reader->arena, Str, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *one = tag->kind == VALUE_LIST ? &tag->as.list.items[i] : tag;
        tags[i] = one->kind == VALUE_STR ? one->as.str : STR_EMPTY;
        if (tags[i].len == 0) {
            return bad(reader, "must_pass", STR("tag"), "has to be a text or a list of texts");
        }
    }
    if (n == 0) {
        return bad(reader, "must_pass", STR_EMPTY, "needs a tag: {tag: NAME}");
    }
    must_pass_put(reader, eval, tags, n);
    return true;
}

static bool confidence_fits(double confidence)
{
    return confidence > 0.5 && confidence < 1;
}

static bool settings_read(Reader *reader, const Value *policy)
{
    const Value *confidence = value_get_c(policy, "confidence");
    const Value *detect = value_get_c(policy, "detect");
    Str mode = value_get_str(policy, "mode", STR("regression"));
    if (confidence != NULL &&
        (!number_of(confidence, &reader->confidence) || !confidence_fits(reader->confidence))) {
        return bad(reader, "confidence", STR_EMPTY, "has to be above 0.5 and below 1");
    }
    if (detect != NULL && (!number_of(detect, &reader->detect) || reader->detect < 0)) {
        return bad(reader, "detect", STR_EMPTY, "has to be 0 or more");
    }
    if (!str_eq(mode, STR("regression")) && !str_eq(mode, STR("noninferiority"))) {
        return bad(reader, "mode", mode, "is neither regression nor noninferiority");
    }
    reader->mode = str_eq(mode, STR("noninferiority")) ? GATE_NONINFERIORITY : GATE_REGRESSION;
    return true;
}

bool gate_policy_from_value(Arena *arena, const Value *policy, Str eval, GatePolicy *out, Err *err)
{
    Str name = value_get_str(policy, "gate", STR_EMPTY);
    Reader reader = {
        .arena = arena,
        .owner = eval.len > 0 ? str_printf(arena, "gate of eval '" STR_FMT "'", STR_ARG(eval))
                              : str_printf(arena, "gate '" STR_FMT "'", STR_ARG(name)),
        .confidence = CONFIDENCE,
        .detect = NAN,
        .err = err,
    };
    if (policy->kind != VALUE_MAP) {
        return ERR_SET(err, ERR_CONFIG, STR_FMT " has to be a map", STR_ARG(reader.owner));
    }
    if (!settings_read(&reader, policy) || !bounds_read(&reader, GATE_DEMAND_MIN, eval, policy) ||
        !bounds_read(&reader, GATE_DEMAND_MAX, eval, policy) ||
        !bounds_read(&reader, GATE_DEMAND_LOSS, eval, policy) ||
        !must_pass_read(&reader, eval, policy) || !budget_read(&reader, eval, policy)) {
        return false;
    }
    if (reader.n == 0) {
        return ERR_SET(err, ERR_USAGE,
                       STR_FMT " has no checks: min, max, max_regression, must_pass or budget",
                       STR_ARG(reader.owner));
    }
    *out = (GatePolicy){.name = eval.len > 0 ? eval : name,
                        .file = STR_EMPTY,
                        .demands = reader.demands,
                        .n_demands = reader.n};
    return true;
}

static Reader reader_of(Arena *arena, const GatePolicy *policy, Err *err)
{
    return (Reader){.arena = arena,
                    .owner = STR_EMPTY,
                    .demands = ARENA_ARRAY(arena, GateDemand, policy->n_demands + 8),
                    .cap = policy->n_demands + 8,
                    .confidence = CONFIDENCE,
                    .detect = NAN,
                    .err = err};
}

void gate_policy_join(Arena *arena, GatePolicy *policy, const GatePolicy *other)
{
    Reader reader = reader_of(arena, policy, NULL);
    for (size_t i = 0; i < policy->n_demands; i++) {
        demand_put(&reader, policy->demands[i]);
    }
    for (size_t i = 0; i < other->n_demands; i++) {
        demand_put(&reader, other->demands[i]);
    }
    policy->demands = reader.demands;
    policy->n_demands = reader.n;
}

bool gate_policy_of_runs(Arena *arena, const Side *side, GatePolicy *out, Err *err)
{
    GatePolicy policy = {.name = STR_EMPTY, .file = STR_EMPTY};
    for (size_t i = 0; i < side->n_runs; i++) {
        const RunInfo *run = &side->runs[i];
        const Value *gate = value_get_c(&run->spec.spec, "gate");
        bool seen = i > 0 && str_eq(side->runs[i - 1].eval, run->eval); // runs go by eval
        GatePolicy own;
        if (gate == NULL || seen) {
            continue;
        }
        if (!gate_policy_from_value(arena, gate, run->eval, &own, err)) {
            return false;
        }
        policy.name = policy.n_demands == 0 ? own.name
                                            : str_printf(arena, STR_FMT ", " STR_FMT,
                                                         STR_ARG(policy.name), STR_ARG(own.name));
        gate_policy_join(arena, &policy, &own);
    }
    if (policy.n_demands == 0) {
        return ERR_SET(err, ERR_USAGE,
                       "there is no policy: no eval of experiment '" STR_FMT
                       "' had a gate: of its own when it ran; give --policy FILE or NAME "
                       "(muster gate also takes --min, --max, --max-regression, --must-pass, "
                       "--budget-...)",
                       STR_ARG(side->experiment.name));
    }
    *out = policy;
    return true;
}

// ---- Flags --------------------------------------------------------------------------------------

/** EVAL[.METRIC][[KEY=VALUE]] */
static bool thing_parse(Str text, GateDemand *out)
{
    Str rest = text;
    out->slice = STR_EMPTY;
    size_t open = str_find(text, STR("["), 0);
    if (open != STR_NONE) {
        if (!str_ends_with(text, STR("]"))) {
            return false;
        }
        out->slice = str_slice(text, open + 1, text.len - 1);
        rest = str_slice(text, 0, open);
        if (str_find(out->slice, STR("="), 0) == STR_NONE) {
            return false;
        }
    }
    out->metric = STR_EMPTY;
    bool has_metric = str_cut(rest, STR("."), &out->eval, &out->metric);
    return out->eval.len > 0 && (!has_metric || out->metric.len > 0);
}

static bool bound_parse(Reader *reader, const char *flag, GateDemandKind kind, Str text)
{
    GateDemand demand = {.kind = kind,
                         .eval = STR_EMPTY,
                         .metric = STR_EMPTY,
                         .slice = STR_EMPTY,
                         .confidence = reader->confidence,
                         .mode = reader->mode,
                         .detect = reader->detect};
    size_t at = str_find_last(text, STR("="));
    bool ok = at == STR_NONE ? kind == GATE_DEMAND_LOSS && str_to_f64(text, &demand.bound)
                             : str_to_f64(str_slice(text, at + 1, text.len), &demand.bound) &&
                                   thing_parse(str_slice(text, 0, at), &demand);
    if (!ok || !isfinite(demand.bound)) {
        return ERR_SET(reader->err, ERR_USAGE,
                       "%s: '" STR_FMT "' is not %sEVAL[.METRIC][[KEY=VALUE]]=BOUND", flag,
                       STR_ARG(text), kind == GATE_DEMAND_LOSS ? "BOUND or " : "");
    }
    if (kind == GATE_DEMAND_LOSS && demand.bound < 0) {
        return ERR_SET(reader->err, ERR_USAGE, "%s: a loss of %g is not 0 or more", flag,
                       demand.bound);
    }
    demand_put(reader, demand);
    return true;
}

static bool bounds_parse(Reader *reader, const char *flag, GateDemandKind kind, const Str *texts,
                         size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!bound_parse(reader, flag, kind, texts[i])) {
            return false;
        }
    }
    return true;
}

static bool tags_parse(Reader *reader, const GateFlags *flags)
{
    for (size_t i = 0; i < flags->n_must_pass; i++) {
        Str key;
        Str *tag = ARENA_NEW(reader->arena, Str);
        if (!str_cut(flags->must_pass[i], STR("="), &key, tag) || !str_eq(key, STR("tag")) ||
            tag->len == 0) {
            return ERR_SET(reader->err, ERR_USAGE, "--must-pass: '" STR_FMT "' is not tag=NAME",
                           STR_ARG(flags->must_pass[i]));
        }
        must_pass_put(reader, STR_EMPTY, tag, 1);
    }
    return true;
}

static bool budget_flag(Reader *reader, const char *flag, GateDemandKind kind, double bound)
{
    if (isnan(bound)) {
        return true;
    }
    if (!isfinite(bound) || bound < 0 || (kind == GATE_DEMAND_ERROR_RATE && bound > 1)) {
        return ERR_SET(reader->err, ERR_USAGE, "%s: %g is not %s", flag, bound,
                       kind == GATE_DEMAND_ERROR_RATE ? "a share between 0 and 1" : "0 or more");
    }
    demand_put(reader, (GateDemand){.kind = kind,
                                    .eval = STR_EMPTY,
                                    .metric = STR_EMPTY,
                                    .slice = STR_EMPTY,
                                    .bound = bound,
                                    .confidence = reader->confidence,
                                    .mode = reader->mode,
                                    .detect = reader->detect});
    return true;
}

/** What flags say of all demands, and what those of the policy say in its place. */
static bool settings_flags(Reader *reader, const GatePolicy *policy, const GateFlags *flags)
{
    if (policy->n_demands > 0) {
        reader->confidence = policy->demands[0].confidence;
        reader->mode = policy->demands[0].mode;
        reader->detect = policy->demands[0].detect;
    }
    if (flags->confidence != 0 && !confidence_fits(flags->confidence)) {
        return ERR_SET(reader->err, ERR_USAGE, "--confidence: %g is not above 0.5 and below 1",
                       flags->confidence);
    }
    if (!isnan(flags->detect) && !(flags->detect >= 0 && isfinite(flags->detect))) {
        return ERR_SET(reader->err, ERR_USAGE, "--detect: %g is not 0 or more", flags->detect);
    }
    for (size_t i = 0; i < policy->n_demands; i++) {
        demand_put(reader, policy->demands[i]);
    }
    bool strict = str_eq(flags->mode, STR("noninferiority"));
    reader->confidence = flags->confidence != 0 ? flags->confidence : reader->confidence;
    reader->detect = !isnan(flags->detect) ? flags->detect : reader->detect;
    if (flags->mode.len > 0) {
        reader->mode = strict ? GATE_NONINFERIORITY : GATE_REGRESSION;
    }
    for (size_t i = 0; i < reader->n; i++) {
        GateDemand *demand = &reader->demands[i];
        demand->confidence = flags->confidence != 0 ? flags->confidence : demand->confidence;
        demand->detect = !isnan(flags->detect) ? flags->detect : demand->detect;
        demand->mode = flags->mode.len > 0 ? reader->mode : demand->mode;
    }
    return true;
}

bool gate_policy_add_flags(Arena *arena, GatePolicy *policy, const GateFlags *flags, Err *err)
{
    Reader reader = reader_of(arena, policy, err);
    if (!settings_flags(&reader, policy, flags) ||
        !bounds_parse(&reader, "--min", GATE_DEMAND_MIN, flags->min, flags->n_min) ||
        !bounds_parse(&reader, "--max", GATE_DEMAND_MAX, flags->max, flags->n_max) ||
        !bounds_parse(&reader, "--max-regression", GATE_DEMAND_LOSS, flags->max_regression,
                      flags->n_max_regression) ||
        !tags_parse(&reader, flags) ||
        !budget_flag(&reader, "--budget-error-rate", GATE_DEMAND_ERROR_RATE,
                     flags->budget_error_rate) ||
        !budget_flag(&reader, "--budget-cost", GATE_DEMAND_COST, flags->budget_cost_usd) ||
        !budget_flag(&reader, "--budget-p95-latency", GATE_DEMAND_LATENCY,
                     flags->budget_p95_latency_s) ||
        !budget_flag(&reader, "--budget-tokens", GATE_DEMAND_TOKENS, flags->budget_tokens)) {
        return false;
    }
    policy->demands = reader.demands;
    policy->n_demands = reader.n;
    return true;
}
