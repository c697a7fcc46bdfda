// SPDX-License-Identifier: MIT
// The solver and graders of an eval: that they exist and load, that their params are known and of
// the right type, that each grader gets from solver and sample what it needs.
#include "registry/eval_check.h"

/** Load a solver or grader; a name that dangles is a fault with what could have been meant. */
static const LuaUnit *check_unit(const EvalCheck *check, UnitKind kind, Str name, const Value *at)
{
    const LuaUnit *unit = NULL;
    Err err = ERR_INIT;
    const char *word = kind == UNIT_SOLVER ? "solver" : "grader";
    if (name.len == 0 ||
        registry_unit(check->registry, kind, name, check->eval->dir, &unit, &err)) {
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
    Str hint = schema_did_you_mean(check->arena, name, names, n);
    FAULT(check, at, "dangling", "no %s '" STR_FMT "'" STR_FMT, word, STR_ARG(name), STR_ARG(hint));
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

static void check_param(const EvalCheck *check, const LuaUnit *unit, const UnitParam *param,
                        const Value *value)
{
    if (!param_type_ok(param, value)) {
        bool text = str_eq_c(param->type, "one_of") || str_eq_c(param->type, "template");
        FAULT(check, value, "wrong-type",
              "'" STR_FMT "' of " STR_FMT " has to be %s" STR_FMT ", not %s", STR_ARG(param->name),
              STR_ARG(unit->name), text ? "text" : "a ",
              STR_ARG(text || str_eq_c(param->type, "text") ? (text ? STR_EMPTY : STR("text"))
                                                            : param->type),
              value_kind_word(value));
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

static void check_params(const EvalCheck *check, const LuaUnit *unit, const Value *params,
                         const KeyTable *common, const KeyTable *more, const Value *at)
{
    const UnitInfo *info = &unit->info;
    const char *word = unit->kind == UNIT_SOLVER ? "solver" : "grader";
    NameSet known = {.arena = check->arena};
    for (size_t i = 0; i < info->n_params; i++) {
        name_set_add(&known, info->params[i].name);
        if (keys_find(common, info->params[i].name) != NULL ||
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
    for (const KeyRow *row = common->rows; row->name != NULL; row++) {
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
        } else {
            schema_unknown_key(pair, what.data, known.names, known.n, check->eval->file,
                               check->faults);
        }
    }
}

static bool list_has(const Str *list, size_t n, Str word)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(list[i], word)) {
            return true;
        }
    }
    return false;
}

static bool solver_gives(const LuaUnit *unit, Str what)
{
    return list_has(unit->info.gives, unit->info.n_gives, what);
}

static bool solver_needs(const LuaUnit *unit, Str what)
{
    return list_has(unit->info.needs, unit->info.n_needs, what);
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
    if (solver_needs(unit, STR("choices")) && check->eval->sample_choices.kind == VALUE_NULL) {
        FAULT(check, &at, "missing-key", "solver '" STR_FMT "' needs choices: give sample: choices",
              STR_ARG(solver->use));
    }
    if (check->eval->epochs > 1 && solver->settings.temperature <= 0 &&
        !solver_gives(unit, STR("loglik"))) {
        WARN(check, &at, "epochs", "%lld epochs at temperature 0 give the same reply each time",
             (long long)check->eval->epochs);
    }
}

static void check_needs(const EvalCheck *check, const EvalGrader *grader, const LuaUnit *unit,
                        const LuaUnit *solver, const EvalVariant *variant)
{
    Value at = check_place(grader->line, grader->col);
    for (size_t i = 0; i < unit->info.n_needs; i++) {
        Str need = unit->info.needs[i];
        bool met = true;
        if (str_eq_c(need, "target")) {
            met = check->eval->sample_target.kind != VALUE_NULL;
            if (!met) {
                FAULT(check, &at, "missing-key",
                      "grader '" STR_FMT "' needs a target: give sample: target",
                      STR_ARG(grader->name));
            }
            continue;
        }
        if (str_eq_c(need, "choices")) {
            met = check->eval->sample_choices.kind != VALUE_NULL;
        } else if (str_eq_c(need, "logprobs")) {
            met = variant->solver.settings.logprobs > 0;
        } else {
            met = solver_gives(solver, need);
        }
        if (!met) {
            FAULT(check, &at, "needs",
                  "grader '" STR_FMT "' needs " STR_FMT ", which solver '" STR_FMT
                  "' does not give%s",
                  STR_ARG(grader->name), STR_ARG(need), STR_ARG(variant->solver.use),
                  str_eq_c(need, "logprobs") ? " without logprobs: N" : "");
        }
    }
    Str normalize = value_get_str(&grader->params, "normalize", STR_EMPTY);
    if (str_eq_c(normalize, "unconditional") &&
        !value_get_bool(&variant->solver.params, "unconditional", false)) {
        FAULT(check, &at, "needs",
              "normalize: unconditional needs unconditional: true in the solver");
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
        if (out[i] == NULL) {
            continue;
        }
        check_params(check, out[i], &grader->params, &keys_grader, NULL, &at);
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
}
