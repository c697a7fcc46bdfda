// SPDX-License-Identifier: MIT
// What an eval's keys demand of each other, of its templates and of Lua, found without its data:
// names that dangle, templates that do not compile or read what they can not see, params of solvers
// and graders, metrics of graders. All faults are collected; none stops the search.
#include "registry/registry_internal.h"

#include <stdlib.h>
#include <string.h>

/** What the checks of one eval share. */
typedef struct EvalCheck {
    Registry *registry;
    Arena *arena;
    const Eval *eval;
    Faults *faults;
    Str helpers_text;
    const Str *columns; // known columns, when has_columns
    size_t n_columns;
    bool has_columns;
} EvalCheck;

#define FAULT(check, at, code, ...)                                                                \
    faults_add((check)->faults, (check)->eval->file, (at)->line, (at)->col, false, (code),         \
               __VA_ARGS__)
#define WARN(check, at, code, ...)                                                                 \
    faults_add((check)->faults, (check)->eval->file, (at)->line, (at)->col, true, (code),          \
               __VA_ARGS__)

/** A place without a value of its own. */
static Value place(uint32_t line, uint32_t col)
{
    Value value = value_null();
    value.line = line;
    value.col = col;
    return value;
}

static bool name_in(Str name, const Str *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(name, names[i])) {
            return true;
        }
    }
    return false;
}

// ---- Templates
// ------------------------------------------------------------------------------------------

/** Which names a template may read. */
typedef enum TmplScope {
    SCOPE_PART,   // matrix variables
    SCOPE_ROW,    // and columns, row, row_number
    SCOPE_PROMPT, // matrix variables, columns, the sample's fields, shots; not the target
    SCOPE_GRADER, // and target, answer, reply
} TmplScope;

/** Names that templates of one kind read, gathered for checks between them. */
typedef struct NameSet {
    Arena *arena;
    Str *names;
    size_t n;
    size_t cap;
} NameSet;

static void name_set_add(NameSet *set, Str name)
{
    if (name_in(name, set->names, set->n)) {
        return;
    }
    if (set->n == set->cap) {
        size_t cap = set->cap == 0 ? 16 : set->cap * 2;
        Str *names = ARENA_ARRAY(set->arena, Str, cap);
        if (set->n > 0) {
            memcpy(names, set->names, set->n * sizeof(*names));
        }
        set->names = names;
        set->cap = cap;
    }
    set->names[set->n++] = name;
}

static void known_names(const EvalCheck *check, TmplScope scope, NameSet *out)
{
    static const char *const sample_names[] = {"id", "input", "metadata"};
    const Eval *eval = check->eval;
    for (size_t i = 0; i < eval->n_matrix; i++) {
        name_set_add(out, eval->matrix[i].name);
        for (size_t k = 0; k < eval->matrix[i].n; k++) {
            const Value *extra = &eval->matrix[i].extras[k];
            for (size_t j = 0; extra->kind == VALUE_MAP && j < extra->as.map.n; j++) {
                name_set_add(out, extra->as.map.pairs[j].key);
            }
        }
    }
    for (size_t i = 0; scope != SCOPE_PART && i < check->n_columns; i++) {
        name_set_add(out, check->columns[i]);
    }
    if (scope == SCOPE_ROW) {
        name_set_add(out, STR("row"));
        name_set_add(out, STR("row_number"));
    }
    if (scope == SCOPE_PROMPT || scope == SCOPE_GRADER) {
        for (size_t i = 0; i < sizeof(sample_names) / sizeof(sample_names[0]); i++) {
            name_set_add(out, str_from_c(sample_names[i]));
        }
        if (eval->sample_choices.kind != VALUE_NULL) {
            name_set_add(out, STR("choices"));
        }
        name_set_add(out, STR("shots"));
    }
    if (scope == SCOPE_GRADER) {
        name_set_add(out, STR("target"));
        name_set_add(out, STR("answer"));
        name_set_add(out, STR("reply"));
        name_set_add(out, STR("row"));
        name_set_add(out, STR("row_number"));
    }
}

/** One name that a template reads, against what its scope holds. */
static void check_name(const EvalCheck *check, TmplScope scope, const Value *text, Str name,
                       const NameSet *extra)
{
    bool column = check->has_columns && name_in(name, check->columns, check->n_columns);
    if (scope == SCOPE_PROMPT && !column &&
        (str_eq_c(name, "row") || str_eq_c(name, "row_number"))) {
        FAULT(check, text, "unknown-variable",
              "'" STR_FMT "' is seen by sample: and where: only; use a column or metadata",
              STR_ARG(name));
        return;
    }
    if (scope == SCOPE_PROMPT && str_eq_c(name, "target") &&
        check->eval->sample_target.kind != VALUE_NULL) {
        FAULT(check, text, "unknown-variable",
              "the prompt can not see 'target' (a shot's is s.target)");
        return;
    }
    bool all_known = check->has_columns || scope == SCOPE_PART;
    if (!all_known || check->eval->helpers.len > 0 || name_in(name, extra->names, extra->n)) {
        return; // columns are known when the data is read; helpers may define names
    }
    NameSet known = {.arena = check->arena};
    known_names(check, scope, &known);
    if (!name_in(name, known.names, known.n)) {
        Str hint = schema_did_you_mean(check->arena, name, known.names, known.n);
        FAULT(check, text, "unknown-variable", "unknown variable '" STR_FMT "'" STR_FMT,
              STR_ARG(name), STR_ARG(hint));
    }
}

static void check_text(const EvalCheck *check, TmplScope scope, Str unit_name, const Value *text,
                       const NameSet *extra, NameSet *read)
{
    ScriptUnit unit = tmpl_unit_of(check->eval->file, unit_name, text);
    Str *names = NULL;
    size_t n = 0;
    Err err = ERR_INIT;
    if (!script_template_names(check->registry->script, &unit, check->arena, &names, &n, &err)) {
        fault_of_err(check->faults, check->eval->file, text->line, text->col, "template", &err);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        check_name(check, scope, text, names[i], extra);
        name_set_add(read, names[i]);
    }
}

/** Every text in a value is a template. */
static void check_tree(const EvalCheck *check, TmplScope scope, Str unit, const Value *value,
                       const NameSet *extra, NameSet *read)
{
    if (value->kind == VALUE_STR) {
        check_text(check, scope, unit, value, extra, read);
    } else if (value->kind == VALUE_LIST) {
        for (size_t i = 0; i < value->as.list.n; i++) {
            Str name = str_printf(check->arena, STR_FMT "[%zu]", STR_ARG(unit), i);
            check_tree(check, scope, name, &value->as.list.items[i], extra, read);
        }
    } else if (value->kind == VALUE_MAP) {
        for (size_t i = 0; i < value->as.map.n; i++) {
            Str name = str_printf(check->arena, STR_FMT "." STR_FMT, STR_ARG(unit),
                                  STR_ARG(value->as.map.pairs[i].key));
            check_tree(check, scope, name, &value->as.map.pairs[i].value, extra, read);
        }
    }
}

static void check_messages(const EvalCheck *check, TmplScope scope, Str unit, const Value *list,
                           const NameSet *extra, NameSet *read)
{
    for (size_t i = 0; i < list->as.list.n; i++) {
        const Value *item = &list->as.list.items[i];
        const Value *inner = value_get_c(item, "messages");
        const Value *each = value_get_c(item, "each");
        const Value *parts[] = {value_get_c(item, "content"), value_get_c(item, "name")};
        Str name = str_printf(check->arena, STR_FMT "[%zu]", STR_ARG(unit), i);
        if (item->kind == VALUE_STR) {
            check_text(check, scope, name, item, extra, read);
        }
        for (size_t k = 0; k < 2; k++) {
            if (parts[k] != NULL) {
                check_tree(check, scope, name, parts[k], extra, read);
            }
        }
        if (each != NULL && inner != NULL && inner->kind == VALUE_LIST) {
            if (schema_is_ident(each->as.str)) {
                check_name(check, scope, each, each->as.str, extra);
                name_set_add(read, each->as.str);
            } else {
                check_text(check, scope, name, each, extra, read);
            }
            NameSet more = {.arena = check->arena};
            for (size_t k = 0; k < extra->n; k++) {
                name_set_add(&more, extra->names[k]);
            }
            name_set_add(&more, value_get_str(item, "as", STR("s")));
            check_messages(check, scope, str_concat(check->arena, name, STR(".messages")), inner,
                           &more, read);
        }
    }
}

static void check_sample_templates(EvalCheck *check, NameSet *target_names, NameSet *input_names)
{
    const Eval *eval = check->eval;
    NameSet none = {.arena = check->arena}, read = {.arena = check->arena};
    check_tree(check, SCOPE_PART, STR("dataset.part"), &eval->dataset_part, &none, &read);
    check_tree(check, SCOPE_ROW, STR("where"), &eval->where, &none, &read);
    check_tree(check, SCOPE_ROW, STR("sample.id"), &eval->sample_id, &none, &read);
    if (eval->sample_input.kind == VALUE_LIST) {
        check_messages(check, SCOPE_ROW, STR("sample.input"), &eval->sample_input, &none,
                       input_names);
    } else {
        check_tree(check, SCOPE_ROW, STR("sample.input"), &eval->sample_input, &none, input_names);
    }
    check_tree(check, SCOPE_ROW, STR("sample.choices"), &eval->sample_choices, &none, input_names);
    check_tree(check, SCOPE_ROW, STR("sample.target"), &eval->sample_target, &none, target_names);
    check_tree(check, SCOPE_ROW, STR("sample.metadata"), &eval->sample_metadata, &none, &read);
    check_tree(check, SCOPE_ROW, STR("sample.cluster"), &eval->sample_cluster, &none, &read);
}

/** Columns that only the target is made of should not stand in the prompt. */
static void warn_target_column(const EvalCheck *check, const Value *at, const NameSet *prompt,
                               const NameSet *target, const NameSet *input)
{
    static const char *const fields[] = {"id", "input", "choices", "metadata", "shots", NULL};
    for (size_t i = 0; i < target->n; i++) {
        Str name = target->names[i];
        bool axis = false;
        for (size_t k = 0; k < check->eval->n_matrix; k++) {
            axis = axis || str_eq(check->eval->matrix[k].name, name);
        }
        if (!axis && !str_eq_c(name, "row") && !keys_word_in(fields, name) &&
            name_in(name, prompt->names, prompt->n) && !name_in(name, input->names, input->n)) {
            WARN(check, at, "target-in-prompt",
                 "the prompt reads '" STR_FMT "', which the target is made of", STR_ARG(name));
        }
    }
}

static void check_prompt(const EvalCheck *check, const EvalVariant *variant, const NameSet *target,
                         const NameSet *input)
{
    NameSet none = {.arena = check->arena}, read = {.arena = check->arena};
    const Value *at = variant->prompt.kind != VALUE_NULL ? &variant->prompt : &variant->messages;
    if (variant->prompt.kind == VALUE_STR) {
        check_text(check, SCOPE_PROMPT, STR("prompt"), &variant->prompt, &none, &read);
    }
    if (variant->messages.kind == VALUE_LIST) {
        check_messages(check, SCOPE_PROMPT, STR("messages"), &variant->messages, &none, &read);
    }
    warn_target_column(check, at, &read, target, input);
    bool uses_shots = name_in(STR("shots"), read.names, read.n);
    const Value *few_shot = value_get_c(&check->eval->source, "few_shot");
    if (variant->few_shot.given && !uses_shots) {
        at = at->kind == VALUE_NULL && few_shot != NULL ? few_shot : at;
        FAULT(check, at, "few-shot", "'few_shot' is given, but the prompt does not use shots");
    } else if (!variant->few_shot.given && uses_shots) {
        FAULT(check, at, "few-shot", "the prompt uses shots, but 'few_shot' is not given");
    }
}

// ---- Data
// ----------------------------------------------------------------------------------------------------

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
        const Value *few_shot = value_get_c(&eval->source, "few_shot");
        if (shots.len > 0 && dataset_split(dataset, shots) == NULL) {
            Str hint = schema_did_you_mean(check->arena, shots, names, n);
            FAULT(check, few_shot != NULL ? few_shot : map, "dangling",
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
            const Value *few_shot = value_get_c(&eval->source, "few_shot");
            Value nowhere = place(0, 0);
            FAULT(check, few_shot != NULL ? few_shot : &nowhere, "dangling",
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
    if (eval->helpers.len == 0) {
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
    if (script_program_create(check->registry->script, &unit, 1, NULL, &program, &err)) {
        script_program_destroy(check->registry->script, program);
    } else {
        FAULT(check, at, "lua", "%s", err.message);
    }
}

// ---- Solvers and graders
// -----------------------------------------------------------------------------------

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
        FAULT(check, at, "lua", "%s", err.message);
        return NULL;
    }
    if (keys_word_in(kind == UNIT_SOLVER ? keys_solvers_later : keys_graders_later, name)) {
        FAULT(check, at, "not-supported", "%s '" STR_FMT "' is not supported yet", word,
              STR_ARG(name));
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

static void check_solver(const EvalCheck *check, const EvalVariant *variant, const LuaUnit **out)
{
    const EvalSolver *solver = &variant->solver;
    Value at = place(solver->line, solver->col);
    const LuaUnit *unit = check_unit(check, UNIT_SOLVER, solver->use, &at);
    *out = unit;
    if (unit == NULL) {
        return;
    }
    check_params(check, unit, &solver->params, &keys_solver, &keys_generation, &at);
    if (str_eq_c(unit->info.gives, "choices") && check->eval->sample_choices.kind == VALUE_NULL) {
        FAULT(check, &at, "missing-key", "solver '" STR_FMT "' needs choices: give sample: choices",
              STR_ARG(solver->use));
    }
    if (check->eval->epochs > 1 && solver->settings.temperature <= 0 &&
        !str_eq_c(unit->info.gives, "choices")) {
        WARN(check, &at, "epochs", "%lld epochs at temperature 0 give the same reply each time",
             (long long)check->eval->epochs);
    }
}

static void check_needs(const EvalCheck *check, const EvalGrader *grader, const LuaUnit *unit,
                        const LuaUnit *solver, const EvalVariant *variant)
{
    Value at = place(grader->line, grader->col);
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
        if (str_eq_c(need, "logprobs")) {
            met = variant->solver.settings.logprobs > 0;
        } else {
            met = str_eq(solver->info.gives, need);
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

static void check_graders(const EvalCheck *check, const LuaUnit *const *solvers,
                          const LuaUnit **out)
{
    const Eval *eval = check->eval;
    NameSet none = {.arena = check->arena}, read = {.arena = check->arena};
    for (size_t i = 0; i < eval->n_graders; i++) {
        const EvalGrader *grader = &eval->graders[i];
        Value at = place(grader->line, grader->col);
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

// ---- Metrics
// ---------------------------------------------------------------------------------------------------

static void check_metric_name(const EvalCheck *check, const EvalMetric *metric, const Value *at)
{
    if (metric->use.len == 0 || keys_word_in(keys_metrics_known, metric->use)) {
        return;
    }
    if (keys_word_in(keys_metrics_later, metric->use)) {
        FAULT(check, at, "not-supported", "metric '" STR_FMT "' is not supported yet",
              STR_ARG(metric->use));
        return;
    }
    Str names[16];
    size_t n = 0;
    for (; keys_metrics_known[n] != NULL && n < 16; n++) {
        names[n] = str_from_c(keys_metrics_known[n]);
    }
    Str hint = schema_did_you_mean(check->arena, metric->use, names, n);
    FAULT(check, at, "dangling", "no metric '" STR_FMT "'" STR_FMT, STR_ARG(metric->use),
          STR_ARG(hint));
}

static void check_metric_range(const EvalCheck *check, const EvalMetric *metric,
                               const LuaUnit *const *units, const Value *at)
{
    for (size_t i = 0; i < check->eval->n_graders; i++) {
        const EvalGrader *grader = &check->eval->graders[i];
        if (units[i] != NULL && (metric->of.len == 0 || str_eq(metric->of, grader->name)) &&
            str_eq_c(metric->use, "accuracy") &&
            (units[i]->info.range_low < 0 || units[i]->info.range_high > 1)) {
            FAULT(check, at, "range",
                  "accuracy needs scores from 0 to 1; those of grader '" STR_FMT
                  "' reach further: use mean",
                  STR_ARG(grader->name));
        }
    }
}

static void check_metrics(const EvalCheck *check, const LuaUnit *const *units)
{
    const Eval *eval = check->eval;
    Str *names = ARENA_ARRAY(check->arena, Str, eval->n_graders + 1);
    for (size_t i = 0; i < eval->n_graders; i++) {
        names[i] = eval->graders[i].name;
    }
    for (size_t i = 0; i < eval->n_metrics; i++) {
        const EvalMetric *metric = &eval->metrics[i];
        Value at = place(metric->line, metric->col);
        size_t before = check->faults->n_errors;
        check_metric_name(check, metric, &at);
        bool known = check->faults->n_errors == before;
        if (metric->of.len > 0 && !name_in(metric->of, names, eval->n_graders)) {
            Str hint = schema_did_you_mean(check->arena, metric->of, names, eval->n_graders);
            FAULT(check, &at, "dangling",
                  "metric '" STR_FMT "' is of '" STR_FMT "', which is no grader" STR_FMT,
                  STR_ARG(metric->use), STR_ARG(metric->of), STR_ARG(hint));
        }
        if (metric->average.len > 0 && eval->n_matrix == 0) {
            FAULT(check, &at, "dangling", "'average: parts' needs a matrix");
        }
        for (size_t k = 0; known && k < metric->params.as.map.n; k++) {
            static const Str common[] = {{"use", 3}, {"of", 2}, {"average", 7}};
            schema_unknown_key(&metric->params.as.map.pairs[k], "a metric", common, 3, eval->file,
                               check->faults);
        }
        check_metric_range(check, metric, units, &at);
    }
}

// ---- The whole
// ------------------------------------------------------------------------------------------------------

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
            tmpl_builder_push(&builder, &helpers);
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
                fault_of_err(check->faults, eval->file, builder.units[i].line, 0, "template", &err);
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

void registry_faults_sort(Faults *faults, size_t from)
{
    if (faults->n > from) {
        qsort(faults->items + from, faults->n - from, sizeof(*faults->items), compare_faults);
    }
}

void eval_check(Registry *registry, const Eval *eval, Faults *faults)
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
    if (faults->n_errors == before) {
        check_programs(&check);
    }
    arena_finish(&arena);
}
