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
