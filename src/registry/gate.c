// SPDX-License-Identifier: MIT
// Gate files (DESIGN.md 4.5): keys and bounds are checked here; judging is results' work.
#include "registry/registry_internal.h"

/** Bounds of a gate file go by eval: {mmlu: {accuracy: 0.65}}, or {mmlu: 0.65} for its headline. */
static void check_evals(Str file, const Value *root, const char *key, Faults *faults)
{
    const Value *map = value_get_c(root, key);
    if (map == NULL) {
        return;
    }
    if (map->kind != VALUE_MAP) {
        faults_add(faults, file, map->line, map->col, false, "wrong-type",
                   "'%s' of a gate file has to be a map of evals", key);
        return;
    }
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        if (!schema_is_name(pair->key)) {
            faults_add(faults, file, pair->line, pair->col, false, "bad-value",
                       "'" STR_FMT "' in '%s' is not the name of an eval", STR_ARG(pair->key), key);
        }
    }
}

bool gate_from_value(Str file, const Value *root, Faults *faults)
{
    static const char *const checks[] = {"min", "max", "max_regression", "must_pass", "budget"};
    size_t before = faults->n_errors;
    schema_check(&keys_gate, root, file, faults);
    registry_schema_version(root, file, faults);
    bool any = false;
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        any = any || value_get_c(root, checks[i]) != NULL;
    }
    if (!any) {
        faults_add(faults, file, root->line, root->col, false, "missing-key",
                   "a gate file needs a check: min, max, max_regression, must_pass or budget");
    }
    check_evals(file, root, "min", faults);
    check_evals(file, root, "max", faults);
    check_evals(file, root, "max_regression", faults);
    return faults->n_errors == before;
}

/** Whether a file is an eval: the first key after schema tells. */
static bool is_eval(const Value *root)
{
    for (size_t i = 0; i < root->as.map.n && i < 2; i++) {
        if (str_eq(root->as.map.pairs[i].key, STR("eval"))) {
            return true;
        }
    }
    return false;
}

bool registry_gate(Registry *registry, Str name_or_path, Faults *faults, Value *out, Str *out_eval,
                   Str *out_file, Err *err)
{
    Str file = STR_EMPTY;
    if (str_ends_with(name_or_path, STR(".yaml")) || str_ends_with(name_or_path, STR(".yml"))) {
        file = str_copy(&registry->arena, name_or_path);
    } else if (!registry_find(registry, REGISTRY_GATES, name_or_path, &registry->arena, &file)) {
        return registry_not_found(registry, REGISTRY_GATES, "gate", name_or_path, err);
    }
    Value root;
    if (!registry_yaml(registry, file, faults, &root, err)) {
        return false;
    }
    size_t before = faults->n_errors;
    *out_eval = STR_EMPTY;
    const Value *own = value_get_c(&root, "gate");
    if (is_eval(&root)) {
        *out_eval = value_get_str(&root, "eval", STR_EMPTY);
        if (own == NULL || own->kind != VALUE_MAP) {
            return ERR_SET(err, ERR_USAGE, STR_FMT ": the eval has no gate: of its own",
                           STR_ARG(file));
        }
        schema_check(&keys_own_gate, own, file, faults);
        root = *own;
    } else {
        gate_from_value(file, &root, faults);
    }
    if (faults->n_errors > before) {
        return registry_faults_err(faults, err);
    }
    *out = root;
    *out_file = file;
    return true;
}
