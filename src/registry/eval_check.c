// SPDX-License-Identifier: MIT
// What an eval's keys demand of each other, of its templates and of Lua, found without its data:
// names that dangle, templates that do not compile or read what they can not see, params of solvers
// and graders, metrics of graders. All faults are collected; none stops the search.
#include "registry/eval_check.h"

#include <stdlib.h>
#include <string.h>

Value check_place(uint32_t line, uint32_t col)
{
    Value value = value_null();
    value.line = line;
    value.col = col;
    return value;
}

const Value *check_few_shot_place(const Eval *eval, const EvalVariant *variant, const char *key)
{
    const Value *variants = value_get_c(&eval->source, "variants");
    const Value *few_shot = value_get_c(value_get(variants, variant->name), "few_shot");
    few_shot = few_shot != NULL ? few_shot : value_get_c(&eval->source, "few_shot");
    const Value *inner = key != NULL ? value_get_c(few_shot, key) : NULL;
    return inner != NULL ? inner : few_shot != NULL ? few_shot : &eval->source;
}

// ---- Data --------------------------------------------------------------------------------------

static void check_dataset_use(EvalCheck *check)
{
    const Eval *eval = check->eval;
    const Value *map = value_get_c(&eval->source, "dataset");
    const Value *use = value_get_c(map, "use");
    const Dataset *dataset = NULL;
    Err err = ERR_INIT;
    if (!registry_dataset(check->registry, eval->dataset_use, &dataset, &err)) {
        FAULT(check, use, "dangling", "%s", err.message);
        return;
    }
    const Value *split = value_get_c(map, "split");
    Str names[32];
    size_t n = 0;
    for (; n < dataset->n_splits && n < 32; n++) {
        names[n] = dataset->splits[n].name;
    }
    if (eval->dataset_split.len > 0 && dataset_split(dataset, eval->dataset_split) == NULL) {
        Str hint = schema_did_you_mean(check->arena, eval->dataset_split, names, n);
        FAULT(check, split, "dangling", "dataset '" STR_FMT "' has no split '" STR_FMT "'" STR_FMT,
              STR_ARG(eval->dataset_use), STR_ARG(eval->dataset_split), STR_ARG(hint));
    } else if (eval->dataset_split.len == 0 && dataset->n_splits > 1 &&
               dataset_split(dataset, STR("test")) == NULL) {
        FAULT(check, use, "missing-key", "dataset '" STR_FMT "' has several splits: say which",
              STR_ARG(eval->dataset_use));
    }
    if (dataset->n_parts > 0 && eval->dataset_part.kind == VALUE_NULL) {
        FAULT(check, use, "missing-key",
              "dataset '" STR_FMT
              "' has parts: give part:, and matrix: {part: parts} for all of them",
              STR_ARG(eval->dataset_use));
    }
    if (dataset->n_parts == 0 && eval->dataset_part.kind != VALUE_NULL) {
        FAULT(check, &eval->dataset_part, "dangling", "dataset '" STR_FMT "' has no parts",
              STR_ARG(eval->dataset_use));
    }
    for (size_t i = 0; i < eval->n_variants; i++) {
        Str shots = eval->variants[i].few_shot.split;
        if (shots.len > 0 && dataset_split(dataset, shots) == NULL) {
            Str hint = schema_did_you_mean(check->arena, shots, names, n);
            FAULT(check, check_few_shot_place(eval, &eval->variants[i], "split"), "dangling",
                  "dataset '" STR_FMT "' has no split '" STR_FMT "' for few_shot" STR_FMT,
                  STR_ARG(eval->dataset_use), STR_ARG(shots), STR_ARG(hint));
        }
    }
    for (size_t i = 0; i < eval->n_matrix; i++) {
        const Value *axis = value_get(value_get_c(&eval->source, "matrix"), eval->matrix[i].name);
        if (eval->matrix[i].parts && dataset->n_parts == 0) {
            FAULT(check, axis, "dangling", "dataset '" STR_FMT "' has no parts",
                  STR_ARG(eval->dataset_use));
        }
    }
}

static void check_data(EvalCheck *check)
{
    const Eval *eval = check->eval;
    Str found;
    if (eval->dataset_use.len > 0) {
        check_dataset_use(check);
    }
    if (eval->dataset_path.len > 0 &&
        !eval_file_locate(check->registry, eval, eval->dataset_path, &found)) {
        FAULT(check, value_get_c(value_get_c(&eval->source, "dataset"), "path"), "dangling",
              "no file '" STR_FMT "' beside the eval or in $MUSTER_MIRROR",
              STR_ARG(eval->dataset_path));
    }
    for (size_t i = 0; i < eval->n_variants; i++) {
        Str path = eval->variants[i].few_shot.path;
        if (path.len > 0 && !eval_file_locate(check->registry, eval, path, &found)) {
            FAULT(check, check_few_shot_place(eval, &eval->variants[i], "path"), "dangling",
                  "no file '" STR_FMT "' beside the eval or in $MUSTER_MIRROR", STR_ARG(path));
        }
    }
    if (eval->dataset_rows.kind == VALUE_LIST) {
        NameSet columns = {.arena = check->arena};
        for (size_t i = 0; i < eval->dataset_rows.as.list.n; i++) {
            const Value *row = &eval->dataset_rows.as.list.items[i];
            for (size_t k = 0; k < row->as.map.n; k++) {
                name_set_add(&columns, row->as.map.pairs[k].key);
            }
        }
        check->columns = columns.names;
        check->n_columns = columns.n;
        check->has_columns = true;
    } else if (eval->n_dataset_columns > 0) {
        check->columns = eval->dataset_columns;
        check->n_columns = eval->n_dataset_columns;
        check->has_columns = true;
    }
}

static void check_helpers(EvalCheck *check)
{
    const Eval *eval = check->eval;
    check->helpers_load = eval->helpers.len == 0;
    if (check->helpers_load) {
        return;
    }
    const Value *at = value_get_c(&eval->source, "helpers");
    Str path = path_join(check->arena, eval->dir, eval->helpers);
    Err err = ERR_INIT;
    if (!file_read(check->arena, path, REGISTRY_LUA_MAX_BYTES, &check->helpers_text, &err)) {
        FAULT(check, at, "dangling", "helpers: %s", err.message);
        return;
    }
    ScriptUnit unit = {.kind = UNIT_HELPERS,
                       .name = STR("helpers"),
                       .file = path,
                       .line = 1,
                       .text = check->helpers_text,
                       .params = value_null()};
    Program *program = NULL;
    if (!script_program_create(check->registry->script, &unit, 1, NULL, &program, &err)) {
        FAULT(check, at, "lua", "%s", err.message);
        return;
    }
    script_program_destroy(check->registry->script, program);
    check->helpers_load = true;
    helpers_names(check->registry, eval, check->arena, &check->helpers, &check->n_helpers);
}

// ---- The whole ---------------------------------------------------------------------------------

/** Load each variant's templates with the helpers, as a task will: unknown filters, tests, methods.
 */
static void check_programs(const EvalCheck *check)
{
    const Eval *eval = check->eval;
    for (size_t v = 0; v < eval->n_variants; v++) {
        TmplBuilder builder = {.arena = check->arena, .file = eval->file};
        if (eval->helpers.len > 0) {
            ScriptUnit helpers = {.kind = UNIT_HELPERS,
                                  .name = STR("helpers"),
                                  .file = path_join(check->arena, eval->dir, eval->helpers),
                                  .line = 1,
                                  .text = check->helpers_text,
                                  .params = value_null()};
            tmpl_builder_push(&builder, &helpers, NULL);
        }
        size_t n_helpers = builder.n;
        SampleTmpl tmpl;
        sample_tmpl_build(&builder, eval, &eval->variants[v], &tmpl);
        if (eval->where.kind == VALUE_STR) {
            tmpl_build(&builder, STR("where"), &eval->where);
        }
        Program *program = NULL;
        Err err = ERR_INIT;
        if (script_program_create(check->registry->script, builder.units, builder.n, NULL, &program,
                                  &err)) {
            script_program_destroy(check->registry->script, program);
            continue;
        }
        for (size_t i = n_helpers; i < builder.n; i++) { // one by one, so that all faults are found
            ScriptUnit units[2] = {builder.units[0], builder.units[i]};
            const ScriptUnit *first = n_helpers > 0 ? units : units + 1;
            err = (Err)ERR_INIT;
            if (script_program_create(check->registry->script, first, n_helpers + 1, NULL, &program,
                                      &err)) {
                script_program_destroy(check->registry->script, program);
            } else {
                fault_of_err(check->faults, eval->file, builder.texts[i], "template", &err);
            }
        }
        break; // the variants share most templates; the others' faults show when these are mended
    }
}

static bool same_place(const Value *a, const Value *b)
{
    return a->kind == b->kind && a->line == b->line && a->col == b->col;
}

/** The first variant whose solver is the one of variant i. */
static size_t twin_of(const Eval *eval, size_t i)
{
    size_t twin = 0;
    while (eval->variants[twin].solver.line != eval->variants[i].solver.line ||
           eval->variants[twin].solver.col != eval->variants[i].solver.col) {
        twin++;
    }
    return twin;
}

static int compare_faults(const void *a, const void *b)
{
    const Fault *x = a, *y = b;
    if (x->line != y->line) {
        return x->line < y->line ? -1 : 1;
    }
    if (x->col != y->col) {
        return x->col < y->col ? -1 : 1;
    }
    return str_cmp(x->message, y->message);
}

/** Drop what the YAML reader supposed of a value that turned out to be an error. */
static void drop_guesses(Faults *faults, size_t from)
{
    size_t n = from;
    for (size_t i = from; i < faults->n; i++) {
        const Fault *fault = &faults->items[i];
        bool guess =
            fault->warning && (str_eq_c(fault->code, "boolean") || str_eq_c(fault->code, "number"));
        for (size_t k = from; guess && k < faults->n; k++) {
            const Fault *other = &faults->items[k];
            if (!other->warning && other->line == fault->line && other->col == fault->col) {
                guess = false;
                fault = NULL;
            }
        }
        if (fault != NULL) {
            faults->items[n++] = *fault;
        }
    }
    faults->n = n;
}

void registry_faults_sort(Faults *faults, size_t from)
{
    if (faults->n == from) {
        return;
    }
    drop_guesses(faults, from);
    qsort(faults->items + from, faults->n - from, sizeof(*faults->items), compare_faults);
    size_t n = from + 1; // what variants share is found for each of them
    for (size_t i = from + 1; i < faults->n; i++) {
        if (compare_faults(&faults->items[i], &faults->items[n - 1]) != 0) {
            faults->items[n++] = faults->items[i];
        } else {
            faults->n_errors -= !faults->items[i].warning;
        }
    }
    faults->n = n;
}

void eval_check(Registry *registry, const Eval *eval, bool whole, Faults *faults)
{
    Arena arena = {0};
    EvalCheck check = {.registry = registry, .arena = &arena, .eval = eval, .faults = faults};
    NameSet target = {.arena = &arena}, input = {.arena = &arena};
    size_t before = faults->n_errors;
    check_helpers(&check);
    check_data(&check);
    check_sample_templates(&check, &target, &input);
    const LuaUnit **solvers = ARENA_ARRAY(&arena, const LuaUnit *, eval->n_variants + 1);
    const LuaUnit **graders = ARENA_ARRAY(&arena, const LuaUnit *, eval->n_graders + 1);
    for (size_t i = 0; i < eval->n_variants; i++) {
        const EvalVariant *variant = &eval->variants[i];
        size_t twin = twin_of(eval, i); // what variants share is checked once
        if (twin == i || !same_place(&variant->prompt, &eval->variants[twin].prompt) ||
            !same_place(&variant->messages, &eval->variants[twin].messages)) {
            check_prompt(&check, variant, &target, &input);
        }
        if (twin == i) {
            check_solver(&check, variant, &solvers[i]);
        } else {
            solvers[i] = solvers[twin];
        }
    }
    check_graders(&check, solvers, graders);
    check_metrics(&check, graders);
    if (whole && check.helpers_load && faults->n_errors == before) {
        check_programs(&check);
    }
    arena_finish(&arena);
}
