// SPDX-License-Identifier: MIT
// The solver and graders of an eval: that they exist and load, that their params are known and of
// the right type, that each grader gets from solver and sample what it needs.
#include "registry/eval_check.h"

#include "text/json_schema.h"

static const char *kind_word(UnitKind kind)
{
    return kind == UNIT_SOLVER ? "solver" : kind == UNIT_METRIC ? "metric" : "grader";
}

const LuaUnit *check_unit(const EvalCheck *check, UnitKind kind, Str name, const Value *at)
{
    const LuaUnit *unit = NULL;
    Err err = ERR_INIT;
    if (name.len == 0) {
        return NULL;
    }
    if (registry_unit(check->registry, kind, name, check->eval->dir, &unit, &err)) {
        if (!str_eq(unit->info.name, name)) {
            WARN(check, at, "name", STR_FMT ".lua calls itself '" STR_FMT "'", STR_ARG(name),
                 STR_ARG(unit->info.name));
        }
        return unit;
    }
    if (err.code != ERR_NOT_FOUND) {
        Str file = str_concat(check->arena, name, STR(".lua"));
        bool named = str_find(str_from_c(err.message), file, 0) != STR_NONE;
        FAULT(check, at, "lua", "%s%s%s", named ? "" : file.data, named ? "" : ": ", err.message);
        return NULL;
    }
    Str *names = NULL;
    size_t n = 0;
    registry_unit_names(check->registry, kind, check->eval->dir, check->arena, &names, &n);
    NameSet known = {.arena = check->arena};
    for (size_t i = 0; i < n; i++) {
        name_set_add(&known, names[i]);
    }
    for (size_t i = 0; kind == UNIT_METRIC && keys_metrics_known[i] != NULL; i++) {
        name_set_add(&known, str_from_c(keys_metrics_known[i]));
    }
    Str hint = schema_did_you_mean(check->arena, name, known.names, known.n);
    FAULT(check, at, "dangling", "no %s '" STR_FMT "'" STR_FMT, kind_word(kind), STR_ARG(name),
          STR_ARG(hint));
    return NULL;
}

static bool param_type_ok(const UnitParam *param, const Value *value)
{
    static const struct {
        const char *type;
        unsigned kinds; // bit per ValueKind
    } types[] = {
        {"text", 1u << VALUE_STR},     {"template", 1u << VALUE_STR},
        {"one_of", 1u << VALUE_STR},   {"number", 1u << VALUE_INT | 1u << VALUE_REAL},
        {"boolean", 1u << VALUE_BOOL}, {"list", 1u << VALUE_LIST},
        {"map", 1u << VALUE_MAP},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (str_eq_c(param->type, types[i].type)) {
            return (types[i].kinds & 1u << value->kind) != 0;
        }
    }
    return true; // any
}

/** What most likely went wrong where a param has another type. */
static const char *type_advice(const UnitParam *param, const Value *value)
{
    static const char *const words[] = {"yes", "Yes", "YES", "on",  "On",  "ON", "no",
                                        "No",  "NO",  "off", "Off", "OFF", NULL};
    bool text = value->kind == VALUE_STR;
    if (text && str_eq_c(param->type, "boolean") && keys_word_in(words, value->as.str)) {
        return " (only true and false are booleans)";
    }
    if (text && value->style == VALUE_STYLE_QUOTED &&
        (str_eq_c(param->type, "number") || str_eq_c(param->type, "boolean"))) {
        return " (write it without quotes)";
    }
    return !text && value->kind != VALUE_LIST && value->kind != VALUE_MAP &&
                   str_eq_c(param->type, "text")
               ? " (quote it)"
               : "";
}

static void check_param(const EvalCheck *check, const LuaUnit *unit, const UnitParam *param,
                        const Value *value)
{
    if (!param_type_ok(param, value)) {
        bool text = str_eq_c(param->type, "one_of") || str_eq_c(param->type, "template") ||
                    str_eq_c(param->type, "text");
        FAULT(check, value, "wrong-type",
              "'" STR_FMT "' of " STR_FMT " has to be %s" STR_FMT ", not %s%s",
              STR_ARG(param->name), STR_ARG(unit->name), text ? "" : "a ",
              STR_ARG(text ? STR("text") : param->type), value_kind_word(value),
              type_advice(param, value));
        return;
    }
    if (param->n_one_of > 0 && !name_in(value->as.str, param->one_of, param->n_one_of)) {
        Str list = STR_EMPTY;
        for (size_t i = 0; i < param->n_one_of; i++) {
            list = str_printf(check->arena, STR_FMT "%s" STR_FMT, STR_ARG(list), i > 0 ? ", " : "",
                              STR_ARG(param->one_of[i]));
        }
        Str hint = schema_did_you_mean(check->arena, value->as.str, param->one_of, param->n_one_of);
        FAULT(check, value, "bad-value",
              "'" STR_FMT "' of " STR_FMT " has to be one of " STR_FMT ", not '" STR_FMT
              "'" STR_FMT,
              STR_ARG(param->name), STR_ARG(unit->name), STR_ARG(list),
              STR_ARG(str_slice(value->as.str, 0, 120)), STR_ARG(hint));
    }
    if (str_eq_c(param->type, "template")) {
        NameSet none = {.arena = check->arena}, read = {.arena = check->arena};
        check_text(check, SCOPE_GRADER, param->name, value, &none, &read);
    }
}

void check_params(const EvalCheck *check, const LuaUnit *unit, const Value *params,
                  const KeyTable *common, const KeyTable *more, const Value *at)
{
    const UnitInfo *info = &unit->info;
    const char *word = kind_word(unit->kind);
    NameSet known = {.arena = check->arena};
    for (size_t i = 0; i < info->n_params; i++) {
        name_set_add(&known, info->params[i].name);
        if ((common != NULL && keys_find(common, info->params[i].name) != NULL) ||
            (more != NULL && keys_find(more, info->params[i].name) != NULL)) {
            FAULT(check, at, "lua",
                  "%s '" STR_FMT "' declares '" STR_FMT "', which every %s takes already", word,
                  STR_ARG(unit->name), STR_ARG(info->params[i].name), word);
        }
        if (info->params[i].required && value_get(params, info->params[i].name) == NULL) {
            FAULT(check, at, "missing-key", "%s '" STR_FMT "' needs the param '" STR_FMT "'", word,
                  STR_ARG(unit->name), STR_ARG(info->params[i].name));
        }
    }
    for (const KeyRow *row = common != NULL ? common->rows : NULL; row != NULL && row->name != NULL;
         row++) {
        name_set_add(&known, str_from_c(row->name));
    }
    for (const KeyRow *row = more != NULL ? more->rows : NULL; row != NULL && row->name != NULL;
         row++) {
        name_set_add(&known, str_from_c(row->name));
    }
    Str what = str_printf(check->arena, "%s '" STR_FMT "'", word, STR_ARG(unit->name));
    for (size_t i = 0; i < params->as.map.n; i++) {
        const ValuePair *pair = &params->as.map.pairs[i];
        const UnitParam *param = NULL;
        for (size_t k = 0; k < info->n_params && param == NULL; k++) {
            param = str_eq(info->params[k].name, pair->key) ? &info->params[k] : NULL;
        }
        if (param != NULL) {
            check_param(check, unit, param, &pair->value);
        } else if (unit->kind == UNIT_GRADER && keys_find(&keys_generation, pair->key) != NULL) {
            Value place = check_place(pair->line, pair->col);
            FAULT(check, &place, "unknown-key",
                  "'" STR_FMT "' is a generation setting: it belongs to the solver",
                  STR_ARG(pair->key));
        } else {
            schema_unknown_key(pair, what.data, known.names, known.n, check->eval->file,
                               check->faults);
        }
    }
}

static bool list_has(const Str *list, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq_c(list[i], word)) {
            return true;
        }
    }
    return false;
}

/** The unit with what it declares for these params. Faulty params leave it open what it gives: then
 * everything, so that no further fault follows from that one. */
static const LuaUnit *unit_for(const EvalCheck *check, const LuaUnit *unit, const Value *params)
{
    LuaUnit *copy = ARENA_NEW(check->arena, LuaUnit);
    *copy = *unit;
    Err ignored = ERR_INIT; // faulty params are faults already
    if (script_unit_info_for(check->registry->script, unit->kind, unit->file, unit->text, params,
                             check->arena, &copy->info, &ignored)) {
        copy->info.name = unit->info.name;
    } else {
        static const Str all[] = {{"loglik", 6}, {"tool_calls", 10}};
        copy->info = unit->info;
        copy->info.gives = all;
        copy->info.n_gives = sizeof(all) / sizeof(all[0]);
    }
    return copy;
}

/** Needs that the eval itself meets, whoever has them; false when this is none of them. */
static bool check_eval_need(const EvalCheck *check, Str need, const char *who, Str name,
                            bool own_target, const Value *at)
{
    static const char *const needs[] = {"target", "choices", "sandbox", NULL};
    const Eval *eval = check->eval;
    if (str_eq_c(need, "target") && eval->sample_target.kind == VALUE_NULL && !own_target) {
        FAULT(check, at, "missing-key", "%s '" STR_FMT "' needs a target: give sample: target", who,
              STR_ARG(name));
    } else if (str_eq_c(need, "choices") && eval->sample_choices.kind == VALUE_NULL) {
        FAULT(check, at, "missing-key", "%s '" STR_FMT "' needs choices: give sample: choices", who,
              STR_ARG(name));
    } else if (str_eq_c(need, "sandbox") && eval->sandbox.kind == VALUE_NULL) {
        FAULT(check, at, "missing-key",
              "%s '" STR_FMT "' runs programs: give sandbox: {use: python} or another", who,
              STR_ARG(name));
    }
    return keys_word_in(needs, need);
}

/** A JSON schema that is written into the eval: that it is one. */
static void check_json_schema(const EvalCheck *check, const Value *schema)
{
    JsonSchema *compiled = NULL;
    JsonSchemaOptions options = {0};
    Err err = ERR_INIT;
    if (schema == NULL || schema->kind != VALUE_MAP) {
        return;
    }
    if (!json_schema_create(schema, &options, &compiled, &err)) {
        FAULT(check, schema, "bad-value", "%s", err.message);
    }
    json_schema_destroy(compiled);
}

void check_solver(const EvalCheck *check, const EvalVariant *variant, const LuaUnit **out)
{
    const EvalSolver *solver = &variant->solver;
    Value at = check_place(solver->line, solver->col);
    const LuaUnit *unit = check_unit(check, UNIT_SOLVER, solver->use, &at);
    *out = unit;
    if (unit == NULL) {
        return;
    }
    check_params(check, unit, &solver->params, &keys_solver, &keys_generation, &at);
    check_json_schema(check, &solver->settings.schema);
    unit = *out = unit_for(check, unit, &solver->params);
    const UnitInfo *info = &unit->info;
    for (size_t i = 0; i < info->n_needs; i++) {
        check_eval_need(check, info->needs[i], "solver", solver->use, false, &at);
    }
    if (check->eval->epochs > 1 && solver->settings.temperature <= 0 &&
        list_has(info->effects, info->n_effects, "generate") &&
        !list_has(info->gives, info->n_gives, "loglik")) {
        WARN(check, &at, "epochs", "%lld epochs at temperature 0 give the same reply each time",
             (long long)check->eval->epochs);
    }
}

static void check_needs(const EvalCheck *check, const EvalGrader *grader, const LuaUnit *unit,
                        const LuaUnit *solver, const EvalVariant *variant)
{
    Value at = check_place(grader->line, grader->col);
    bool own_target = grader->target.kind != VALUE_NULL;
    for (size_t i = 0; i < unit->info.n_needs; i++) {
        Str need = unit->info.needs[i];
        if (check_eval_need(check, need, "grader", grader->name, own_target, &at)) {
            continue;
        }
        bool logprobs = str_eq_c(need, "logprobs");
        if (logprobs ? variant->solver.settings.logprobs == 0
                     : !list_has(solver->info.gives, solver->info.n_gives, need.data)) {
            FAULT(check, &at, "needs",
                  "grader '" STR_FMT "' needs " STR_FMT ", which solver '" STR_FMT
                  "' does not give%s",
                  STR_ARG(grader->name), STR_ARG(need), STR_ARG(variant->solver.use),
                  logprobs ? " without logprobs: N" : "");
        }
    }
    const Value *normalize = value_get_c(&grader->params, "normalize");
    if (normalize != NULL && normalize->kind == VALUE_STR &&
        str_eq_c(normalize->as.str, "unconditional") &&
        !value_get_bool(&variant->solver.params, "unconditional", false)) {
        FAULT(check, normalize, "needs",
              "normalize: unconditional needs unconditional: true in the solver");
    }
}

// ---- Graders of other graders ------------------------------------------------------------------

/** One grader that another one waits for, and where it is named. */
typedef struct Named {
    Str name;
    Value place;
    const Value *weight; // NULL in a list
} Named;

/** The graders that `after` names, a list or the keys of a map; returns how many. */
static size_t named_graders(const EvalCheck *check, const EvalGrader *grader, const LuaUnit *unit,
                            Named **out)
{
    const Value *value = unit != NULL && unit->info.after.len > 0
                             ? value_get(&grader->params, unit->info.after)
                             : NULL;
    size_t n = 0;
    *out = NULL;
    if (value != NULL && value->kind == VALUE_LIST) {
        *out = ARENA_ARRAY(check->arena, Named, value->as.list.n + 1);
        for (size_t i = 0; i < value->as.list.n; i++) {
            const Value *item = &value->as.list.items[i];
            if (item->kind == VALUE_STR) {
                (*out)[n++] = (Named){item->as.str, *item, NULL};
            }
        }
    } else if (value != NULL && value->kind == VALUE_MAP) {
        *out = ARENA_ARRAY(check->arena, Named, value->as.map.n + 1);
        for (size_t i = 0; i < value->as.map.n; i++) {
            const ValuePair *pair = &value->as.map.pairs[i];
            (*out)[n++] = (Named){pair->key, check_place(pair->line, pair->col), &pair->value};
        }
    }
    return n;
}

static size_t grader_index(const Eval *eval, Str name)
{
    for (size_t i = 0; i < eval->n_graders; i++) {
        if (str_eq(eval->graders[i].name, name)) {
            return i;
        }
    }
    return STR_NONE;
}

static void check_weights(const EvalCheck *check, const Named *named, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const Value *weight = named[i].weight;
        if (weight == NULL) {
            return;
        }
        if (weight->kind != VALUE_INT && weight->kind != VALUE_REAL) {
            FAULT(check, weight, "wrong-type", "a weight has to be a number, not %s",
                  value_kind_word(weight));
            continue;
        }
        double number = weight->kind == VALUE_INT ? (double)weight->as.integer : weight->as.real;
        if (!(number > 0)) {
            FAULT(check, weight, "bad-value", "a weight has to be above 0");
        }
    }
}

/** The chain of names from a grader back to itself: "a -> b -> a"; "" when there is none. */
static Str cycle_from(const EvalCheck *check, const LuaUnit *const *units, size_t start, size_t at,
                      bool *visited, Str chain, Value *out_place)
{
    Named *named = NULL;
    const Eval *eval = check->eval;
    size_t n = named_graders(check, &eval->graders[at], units[at], &named);
    for (size_t i = 0; i < n; i++) {
        size_t next = grader_index(eval, named[i].name);
        if (next == STR_NONE || (next != start && visited[next])) {
            continue;
        }
        Str longer = str_printf(check->arena, STR_FMT " -> " STR_FMT, STR_ARG(chain),
                                STR_ARG(named[i].name));
        Str found = longer;
        if (next != start) {
            visited[next] = true;
            Value deeper;
            found = cycle_from(check, units, start, next, visited, longer, &deeper);
        }
        if (found.len > 0) {
            *out_place = named[i].place;
            return found;
        }
    }
    return STR_EMPTY;
}

/** Graders that wait for others: those exist, no circle, some weight. */
static void check_members(const EvalCheck *check, const LuaUnit *const *units)
{
    const Eval *eval = check->eval;
    Str *names = ARENA_ARRAY(check->arena, Str, eval->n_graders + 1);
    bool *in_cycle = ARENA_ARRAY(check->arena, bool, eval->n_graders + 1);
    for (size_t i = 0; i < eval->n_graders; i++) {
        names[i] = eval->graders[i].name;
    }
    for (size_t i = 0; i < eval->n_graders; i++) {
        Named *named = NULL;
        size_t n = named_graders(check, &eval->graders[i], units[i], &named);
        for (size_t k = 0; k < n; k++) {
            if (!name_in(named[k].name, names, eval->n_graders)) {
                Str hint = schema_did_you_mean(check->arena, named[k].name, names, eval->n_graders);
                FAULT(check, &named[k].place, "dangling",
                      "'" STR_FMT "' is no grader of this eval" STR_FMT, STR_ARG(named[k].name),
                      STR_ARG(hint));
            }
        }
        if (n > 0) {
            check_weights(check, named, n);
        }
        bool *visited = ARENA_ARRAY(check->arena, bool, eval->n_graders + 1);
        Value at;
        Str chain = in_cycle[i]
                        ? STR_EMPTY
                        : cycle_from(check, units, i, i, visited, eval->graders[i].name, &at);
        if (chain.len > 0) {
            FAULT(check, &at, "cycle", "graders wait for each other: " STR_FMT, STR_ARG(chain));
            for (size_t k = 0; k < eval->n_graders; k++) {
                in_cycle[k] = in_cycle[k] || visited[k]; // said once, not from each of them
            }
        }
    }
}

/** The params of one item of a list of checks: what is not a key of every grader, and `params`. */
static Value item_params(const EvalCheck *check, const Value *item)
{
    MapBuilder map;
    map_builder_init(&map, check->arena);
    const Value *nested = value_get_c(item, "params");
    const Value *maps[] = {item, nested};
    for (size_t m = 0; m < 2; m++) {
        for (size_t i = 0; maps[m] != NULL && maps[m]->kind == VALUE_MAP && i < maps[m]->as.map.n;
             i++) {
            const ValuePair *pair = &maps[m]->as.map.pairs[i];
            bool own = m == 0 && (keys_find(&keys_grader, pair->key) != NULL ||
                                  str_eq_c(pair->key, "weight") || str_eq_c(pair->key, "params"));
            if (!own) {
                map_builder_put(&map, pair->key, pair->value);
                map.pairs[map.n - 1].line = pair->line;
                map.pairs[map.n - 1].col = pair->col;
            }
        }
    }
    return map_builder_done(&map);
}

/** Graders that a list of checks names by `use`: they exist and take these params. */
static void check_uses(const EvalCheck *check, const EvalGrader *grader, const LuaUnit *unit)
{
    const Value *list =
        unit->info.uses.len > 0 ? value_get(&grader->params, unit->info.uses) : NULL;
    for (size_t i = 0; list != NULL && list->kind == VALUE_LIST && i < list->as.list.n; i++) {
        const Value *item = &list->as.list.items[i];
        const Value *use = value_get_c(item, "use");
        const LuaUnit *used = use != NULL && use->kind == VALUE_STR
                                  ? check_unit(check, UNIT_GRADER, use->as.str, use)
                                  : NULL;
        if (use == NULL) {
            FAULT(check, item, "missing-key", "a check needs the key 'use'");
        } else if (used != NULL) {
            Value params = item_params(check, item);
            check_params(check, used, &params, &keys_grader, NULL, use);
        }
    }
}

/** A reply that is cut short must not be read as another verdict. */
static void check_verdicts(const EvalCheck *check, const EvalGrader *grader)
{
    const Value *map = value_get_c(&grader->params, "verdicts");
    for (size_t i = 0; map != NULL && map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        const ValuePair *one = &map->as.map.pairs[i];
        Str start = utf8_lower(check->arena, one->key);
        for (size_t k = 0; k < map->as.map.n; k++) {
            Str other = map->as.map.pairs[k].key;
            if (k != i && str_starts_with(utf8_lower(check->arena, other), start)) {
                Value at = check_place(one->line, one->col);
                FAULT(check, &at, "verdict",
                      "verdict '" STR_FMT "' is how verdict '" STR_FMT "' begins: a reply that is "
                      "cut short would be read as it",
                      STR_ARG(one->key), STR_ARG(other));
            }
        }
    }
}

void check_graders(const EvalCheck *check, const LuaUnit *const *solvers, const LuaUnit **out)
{
    const Eval *eval = check->eval;
    NameSet none = {.arena = check->arena}, read = {.arena = check->arena};
    for (size_t i = 0; i < eval->n_graders; i++) {
        const EvalGrader *grader = &eval->graders[i];
        Value at = check_place(grader->line, grader->col);
        out[i] = check_unit(check, UNIT_GRADER, grader->use, &at);
        check_tree(check, SCOPE_GRADER, STR("when"), &grader->when, &none, &read);
        check_condition(check, "when", &grader->when);
        check_tree(check, SCOPE_GRADER, STR("target"), &grader->target, &none, &read);
        if (out[i] == NULL) {
            continue;
        }
        check_params(check, out[i], &grader->params, &keys_grader, NULL, &at);
        out[i] = unit_for(check, out[i], &grader->params);
        check_uses(check, grader, out[i]);
        check_verdicts(check, grader);
        if (str_eq_c(grader->use, "json_schema")) {
            check_json_schema(check, value_get_c(&grader->params, "schema"));
        }
        for (size_t v = 0; v < eval->n_variants; v++) {
            size_t before = check->faults->n_errors;
            if (solvers[v] != NULL) {
                check_needs(check, grader, out[i], solvers[v], &eval->variants[v]);
            }
            if (check->faults->n_errors > before) {
                break; // once, not for each variant
            }
        }
    }
    check_members(check, out);
}

// ---- Roles -------------------------------------------------------------------------------------

static void check_role(const EvalCheck *check, const char *who, Str name, Str role, const Value *at)
{
    const Value *roles = &check->eval->roles;
    size_t n = roles->kind == VALUE_MAP ? roles->as.map.n : 0;
    if (value_get(roles, role) != NULL) {
        return;
    }
    Str *names = ARENA_ARRAY(check->arena, Str, n + 1);
    for (size_t i = 0; i < n; i++) {
        names[i] = roles->as.map.pairs[i].key;
    }
    Str hint = schema_did_you_mean(check->arena, role, names, n);
    FAULT(check, at, "role",
          "%s '" STR_FMT "' asks role '" STR_FMT "', which has no model: give roles: {" STR_FMT
          ": MODEL}" STR_FMT,
          who, STR_ARG(name), STR_ARG(role), STR_ARG(role), STR_ARG(hint));
}

static void check_unit_roles(const EvalCheck *check, const LuaUnit *unit, const char *who, Str name,
                             Str own, const Value *at)
{
    const UnitInfo *info = &unit->info;
    Str role = own.len > 0 ? own : info->role;
    // What runs other graders asks what these ask; what names its roles does not ask the default.
    bool names = unit->kind == UNIT_GRADER && info->n_roles > 0;
    bool asks =
        list_has(info->effects, info->n_effects, "generate") && info->uses.len == 0 && !names;
    if (role.len > 0 && (asks || (own.len > 0 && !names))) {
        check_role(check, who, name, role, at);
    } else if (asks && unit->kind == UNIT_GRADER) {
        FAULT(check, at, "role",
              "grader '" STR_FMT "' asks a model: say which with role: NAME and roles: {NAME: "
              "MODEL}",
              STR_ARG(name));
    }
    for (size_t i = 0; i < info->n_roles; i++) {
        check_role(check, who, name, info->roles[i], at);
    }
}

/** Of the graders that a written list of checks runs. */
static void check_uses_roles(const EvalCheck *check, const EvalGrader *grader, const LuaUnit *unit)
{
    const Value *list =
        unit->info.uses.len > 0 ? value_get(&grader->params, unit->info.uses) : NULL;
    for (size_t i = 0; list != NULL && list->kind == VALUE_LIST && i < list->as.list.n; i++) {
        const Value *item = &list->as.list.items[i];
        const LuaUnit *used = NULL;
        Err ignored = ERR_INIT; // a fault of the eval, found already
        Str use = value_get_str(item, "use", STR_EMPTY);
        if (item->kind == VALUE_MAP &&
            registry_unit(check->registry, UNIT_GRADER, use, check->eval->dir, &used, &ignored)) {
            Value params = item_params(check, item);
            check_unit_roles(check, unit_for(check, used, &params), "grader", use,
                             value_get_str(item, "role", grader->role), item);
        }
    }
}

/** Who plays a role: warnings only, since --role may name another model. */
static void check_role_models(const EvalCheck *check)
{
    const Value *roles = &check->eval->roles;
    for (size_t i = 0; roles->kind == VALUE_MAP && i < roles->as.map.n; i++) {
        const ValuePair *role = &roles->as.map.pairs[i];
        const Model *ignored = NULL;
        Err err = ERR_INIT;
        Str spec = role->value.kind == VALUE_STR ? role->value.as.str : STR_EMPTY;
        // What weights or replies are on this disk says nothing about the eval.
        bool files = str_starts_with(spec, STR("local/")) || str_starts_with(spec, STR("replay/"));
        if (spec.len > 0 && !files && !registry_model(check->registry, spec, &ignored, &err)) {
            WARN(check, &role->value, "role", "role '" STR_FMT "': %s", STR_ARG(role->key),
                 err.message);
        }
    }
}

void registry_check_roles(Registry *registry, const Eval *eval, Faults *faults)
{
    Arena arena = {0};
    EvalCheck check = {.registry = registry, .arena = &arena, .eval = eval, .faults = faults};
    size_t before = faults->n;
    for (size_t i = 0; i < eval->n_variants + eval->n_graders; i++) {
        bool is_solver = i < eval->n_variants;
        const EvalSolver *solver = is_solver ? &eval->variants[i].solver : NULL;
        const EvalGrader *grader = is_solver ? NULL : &eval->graders[i - eval->n_variants];
        const Value *params = is_solver ? &solver->params : &grader->params;
        Value at = is_solver ? check_place(solver->line, solver->col)
                             : check_place(grader->line, grader->col);
        const LuaUnit *unit = NULL;
        Err ignored = ERR_INIT; // a fault of the eval, found already
        if (registry_unit(registry, is_solver ? UNIT_SOLVER : UNIT_GRADER,
                          is_solver ? solver->use : grader->use, eval->dir, &unit, &ignored)) {
            check_unit_roles(
                &check, unit_for(&check, unit, params), is_solver ? "solver" : "grader",
                is_solver ? solver->use : grader->name, is_solver ? STR_EMPTY : grader->role, &at);
        }
        if (unit != NULL && !is_solver) {
            check_uses_roles(&check, grader, unit);
        }
    }
    check_role_models(&check);
    registry_faults_sort(faults, before);
    arena_finish(&arena);
}
