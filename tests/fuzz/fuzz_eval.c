// SPDX-License-Identifier: MIT
// Registry files of every kind from hostile bytes: the walker over key tables, readers, checks,
// templates, and the first rows of an eval that passes.
#include "registry/registry_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_eval(Registry *registry, const Value *root, Faults *faults)
{
    Eval *eval = ARENA_NEW(&registry->arena, Eval);
    bool whole = eval_from_value(registry, STR("fuzz.yaml"), root, faults, eval);
    eval_check(registry, eval, whole, faults);
    Err err = ERR_INIT;
    registry_check_roles(registry, eval, faults);
    if (faults->n_errors == 0 && eval->dataset_rows.kind == VALUE_LIST) {
        (void)registry_check_rows(registry, eval, 3, faults, &err);
    }
}

static void read_file(Registry *registry, Str text)
{
    Faults faults;
    faults_init(&faults, &registry->arena);
    Value root;
    if (!yaml_parse(&registry->arena, STR("fuzz.yaml"), text, &faults, &root) ||
        root.kind != VALUE_MAP) {
        return;
    }
    RegistryFiles files;
    Model model;
    Dataset dataset;
    if (value_get_c(&root, "dataset") != NULL && value_get_c(&root, "files") != NULL) {
        dataset_from_value(registry, STR("fuzz.yaml"), &root, &faults, &dataset);
    } else if (value_get_c(&root, "model") != NULL) {
        model_from_value(registry, STR("fuzz.yaml"), &root, &faults, &files, &model);
    } else if (value_get_c(&root, "gate") != NULL && value_get_c(&root, "eval") == NULL) {
        if (gate_from_value(STR("fuzz.yaml"), &root, &faults)) {
            gate_check_evals(registry, STR("fuzz.yaml"), &root, &faults);
        }
    } else {
        read_eval(registry, &root, &faults);
    }
    Buf buf = {0};
    faults_render(&buf, &faults, false);
    buf_finish(&buf);
    (void)faults_to_value(&registry->arena, &faults);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Script *script;
    Err err = ERR_INIT;
    const ScriptBudget budget = {.instructions = 100000, .deadline_ms = 1000};
    const RegistryOptions options = {.cache_dir = STR("/nonexistent"), .mirror_dir = STR_EMPTY};
    Registry *registry = NULL;
    if ((script == NULL && !script_create(&budget, &script, &err)) ||
        !registry_create(&options, script, &registry, &err)) {
        return 0;
    }
    read_file(registry, (Str){(const char *)data, size});
    registry_destroy(registry);
    return 0;
}
