// SPDX-License-Identifier: MIT
// The registry's own life, names to files, and what `muster list` and `muster check FILE` need.
// Reads folders only when asked; holds no state that a file on disk could contradict, except what
// it has already parsed in this process.
#include "registry/registry_internal.h"

#include <stdio.h>
#include <string.h>

bool registry_create(const RegistryOptions *options, Script *script, Registry **out, Err *err)
{
    if (options->cache_dir.len == 0) {
        return ERR_SET(err, ERR_USAGE, "no cache folder: set MUSTER_CACHE");
    }
    Registry *registry = mem_zalloc(1, sizeof(*registry));
    registry->script = script;
    registry->paths = ARENA_ARRAY(&registry->arena, Str, options->n_paths + 1);
    for (size_t i = 0; i < options->n_paths; i++) {
        registry->paths[registry->n_paths++] = str_copy(&registry->arena, options->paths[i]);
    }
    registry->cache_dir = str_copy(&registry->arena, options->cache_dir);
    registry->mirror_dir = str_copy(&registry->arena, options->mirror_dir);
    *out = registry;
    return true;
}

void registry_destroy(Registry *registry)
{
    if (registry == NULL) {
        return;
    }
    // Tasks are closed by their owner; what they shared is gone with the last of them.
    files_memo_finish(&registry->memo);
    arena_finish(&registry->arena);
    mem_free(registry);
}

// ---- Names to files ----------------------------------------------------------------------------

const char *registry_kind_dir(RegistryKind kind)
{
    switch (kind) {
    case REGISTRY_EVALS:
        return "evals";
    case REGISTRY_DATASETS:
        return "datasets";
    case REGISTRY_MODELS:
        return "models";
    case REGISTRY_GATES:
        return "gates";
    case REGISTRY_SOLVERS:
        return "solvers";
    case REGISTRY_GRADERS:
        return "graders";
    }
    return "";
}

bool registry_find(Registry *registry, RegistryKind kind, Str name, Arena *arena, Str *out)
{
    if (!schema_is_name(name)) {
        return false;
    }
    for (size_t i = 0; i < registry->n_paths; i++) {
        Str path = str_printf(arena, STR_FMT "/%s/" STR_FMT ".yaml", STR_ARG(registry->paths[i]),
                              registry_kind_dir(kind), STR_ARG(name));
        if (file_exists(path) && !file_is_dir(path)) {
            *out = path;
            return true;
        }
    }
    return false;
}

/** Names under construction; the first folder that has a name wins. */
typedef struct NameList {
    Arena *arena;
    Str *names;
    Str *files;
    size_t n;
    size_t cap;
} NameList;

static void name_list_add(NameList *list, Str name, Str file)
{
    for (size_t i = 0; i < list->n; i++) {
        if (str_eq(list->names[i], name)) {
            return;
        }
    }
    if (list->n == list->cap) {
        size_t cap = list->cap == 0 ? 32 : list->cap * 2;
        Str *names = ARENA_ARRAY(list->arena, Str, cap);
        Str *files = ARENA_ARRAY(list->arena, Str, cap);
        if (list->n > 0) {
            memcpy(names, list->names, list->n * sizeof(*names));
            memcpy(files, list->files, list->n * sizeof(*files));
        }
        list->names = names;
        list->files = files;
        list->cap = cap;
    }
    list->names[list->n] = name;
    list->files[list->n++] = file;
}

/** Add the stems of the files in a folder that end in suffix; a folder that is not there adds
 * nothing. */
static void name_list_dir(NameList *list, Str dir, Str suffix)
{
    Str *entries = NULL;
    size_t n = 0;
    Err ignored = ERR_INIT;
    if (!file_is_dir(dir) || !file_list(list->arena, dir, &entries, &n, &ignored)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (str_ends_with(entries[i], suffix) && entries[i].data[0] != '.') {
            name_list_add(list, str_slice(entries[i], 0, entries[i].len - suffix.len),
                          path_join(list->arena, dir, entries[i]));
        }
    }
}

static void name_list_kind(Registry *registry, RegistryKind kind, NameList *list)
{
    for (size_t i = 0; i < registry->n_paths; i++) {
        Str dir = path_join(list->arena, registry->paths[i], str_from_c(registry_kind_dir(kind)));
        name_list_dir(list, dir, STR(".yaml"));
    }
}

void registry_names(Registry *registry, RegistryKind kind, Arena *arena, Str **out, size_t *out_n)
{
    NameList list = {.arena = arena};
    name_list_kind(registry, kind, &list);
    *out = list.names;
    *out_n = list.n;
}

bool registry_not_found(Registry *registry, RegistryKind kind, const char *what, Str name, Err *err)
{
    Arena arena = {0};
    Str *names = NULL;
    size_t n = 0;
    registry_names(registry, kind, &arena, &names, &n);
    Str hint = schema_did_you_mean(&arena, name, names, n);
    Str file = str_concat(&arena, name, STR(".yaml"));
    if ((kind == REGISTRY_EVALS || kind == REGISTRY_GATES) && file_exists(file)) {
        hint = str_printf(&arena, "; did you mean '" STR_FMT "'?", STR_ARG(file));
    }
    ERR_SET(err, ERR_NOT_FOUND, "no %s '" STR_FMT "'" STR_FMT " (muster list %s shows them all)",
            what, STR_ARG(name), STR_ARG(hint), registry_kind_dir(kind));
    arena_finish(&arena);
    return false;
}

// ---- YAML files --------------------------------------------------------------------------------

bool registry_yaml(Registry *registry, Str file, Faults *faults, Value *out, Err *err)
{
    Str text;
    if (!file_read(&registry->arena, file, REGISTRY_YAML_MAX_BYTES, &text, err)) {
        return false;
    }
    size_t before = faults->n_errors;
    if (!yaml_parse(&registry->arena, file, text, faults, out)) {
        if (faults->n_errors == before) {
            faults_add(faults, file, 1, 1, false, "yaml", "the file is not YAML");
        }
        return registry_faults_err(faults, err);
    }
    if (out->kind != VALUE_MAP) {
        faults_add(faults, file, out->line, out->col, false, "wrong-type",
                   "the file has to be a map of keys, not %s", value_kind_word(out));
        return registry_faults_err(faults, err);
    }
    return true;
}

bool registry_faults_err(const Faults *faults, Err *err)
{
    const Fault *first = NULL;
    for (size_t i = 0; i < faults->n && first == NULL; i++) {
        first = faults->items[i].warning ? NULL : &faults->items[i];
    }
    if (first == NULL) {
        return ERR_SET(err, ERR_INTERNAL, "a fault without an error");
    }
    ERR_SET(err, ERR_CONFIG, STR_FMT ":%u:%u: " STR_FMT, STR_ARG(first->file), first->line,
            first->col, STR_ARG(first->message));
    if (faults->n_errors > 1) {
        size_t len = strlen(err->message);
        snprintf(err->message + len, sizeof(err->message) - len, " (and %zu more)",
                 faults->n_errors - 1);
    }
    return false;
}

void registry_schema_version(const Value *root, Str file, Faults *faults)
{
    const Value *schema = value_get_c(root, "schema");
    if (schema != NULL && schema->kind == VALUE_INT && schema->as.integer != 1) {
        faults_add(faults, file, schema->line, schema->col, false, "bad-value",
                   "schema %lld is not known to this program, which reads schema 1",
                   (long long)schema->as.integer);
    }
}

/** Columns of a template count in its text: how far that is from the start of its line. */
static uint32_t col_shift(const Value *at)
{
    switch ((ValueStyle)at->style) {
    case VALUE_STYLE_QUOTED:
        return at->col;
    case VALUE_STYLE_PLAIN:
        return at->col > 0 ? at->col - 1 : 0;
    case VALUE_STYLE_LITERAL:
    case VALUE_STYLE_FOLDED:
        break; // script knows their indentation
    }
    return 0;
}

/** What is left of a message around a place that was taken out: " (called from )" says nothing. */
static Str join_without_place(Arena *arena, Str before, Str rest)
{
    static const char *const opens[] = {" (called from ", " (at "};
    const Str more = STR(", called from ");
    for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++) {
        Str open = str_from_c(opens[i]);
        if (!str_ends_with(before, open)) {
            continue;
        }
        if (str_starts_with(rest, STR(")"))) {
            before.len -= open.len;
            rest = str_slice(rest, 1, rest.len);
        } else if (str_starts_with(rest, more)) {
            rest = str_slice(rest, more.len, rest.len);
        }
        return str_concat(arena, before, rest);
    }
    before.len -= str_ends_with(before, more) ? more.len : 0;
    return str_concat(arena, before, rest);
}

/** Take "FILE:LINE:COL: " out of a message; the numbers that are missing stay 0. */
static Str take_place(Arena *arena, Str message, Str file, uint32_t *out_line, uint32_t *out_col)
{
    uint32_t *const numbers[] = {out_line, out_col};
    Str mark = str_concat(arena, file, STR(":"));
    size_t start = str_find(message, mark, 0);
    if (start == STR_NONE) {
        return message;
    }
    size_t at = start + file.len;
    for (int i = 0; i < 2 && at < message.len && message.data[at] == ':'; i++) {
        size_t to = at + 1;
        while (to < message.len && message.data[to] >= '0' && message.data[to] <= '9') {
            to++;
        }
        int64_t number = 0;
        if (!str_to_i64(str_slice(message, at + 1, to), &number) || number > UINT32_MAX) {
            break;
        }
        *numbers[i] = (uint32_t)number;
        at = to;
    }
    Str rest = str_slice(message, at, message.len);
    rest = str_starts_with(rest, STR(": ")) ? str_slice(rest, 2, rest.len) : rest;
    return join_without_place(arena, str_slice(message, 0, start), rest);
}

void fault_of_err(Faults *faults, Str file, const Value *at, const char *code, const Err *err)
{
    uint32_t line = 0, col = 0;
    Str message = take_place(faults->arena, str_from_c(err->message), file, &line, &col);
    if (line == 0 && at != NULL) {
        line = at->line;
        col = at->col;
    } else if (col > 0 && at != NULL && line == at->line) {
        col += col_shift(at);
    } else if (at != NULL && line == at->line) {
        col = at->col;
    }
    bool block = at != NULL && at->style == VALUE_STYLE_LITERAL && line > at->line;
    col = line > 0 && col == 0 ? (block ? at->indent + 1u : 1) : col;
    faults_add(faults, file, line, col, false, code, STR_FMT, STR_ARG(message));
}

// ---- Solvers, graders and metrics --------------------------------------------------------------

static const char *unit_dir(UnitKind kind)
{
    return kind == UNIT_SOLVER ? "solvers" : kind == UNIT_METRIC ? "metrics" : "graders";
}

/** Where an eval's own solvers and graders lie: beside it. Its metrics: in a folder of theirs. */
static Str unit_dir_of_eval(Arena *arena, UnitKind kind, Str eval_dir)
{
    return kind == UNIT_METRIC ? path_join(arena, eval_dir, STR("metrics")) : eval_dir;
}

/** Read the first file of this name; false with no error when there is none. */
static bool unit_text(Registry *registry, UnitKind kind, Str name, Str eval_dir, Str *out_file,
                      Str *out_text, bool *out_found, Err *err)
{
    Arena *arena = &registry->arena;
    *out_found = true;
    Str base = str_concat(arena, name, STR(".lua"));
    if (eval_dir.len > 0) {
        Str path = path_join(arena, unit_dir_of_eval(arena, kind, eval_dir), base);
        if (file_exists(path)) {
            *out_file = path;
            return file_read(arena, path, REGISTRY_LUA_MAX_BYTES, out_text, err);
        }
    }
    for (size_t i = 0; i < registry->n_paths; i++) {
        Str dir = path_join(arena, path_dir(registry->paths[i]), str_from_c(unit_dir(kind)));
        Str path = path_join(arena, dir, base);
        if (file_exists(path)) {
            *out_file = path;
            return file_read(arena, path, REGISTRY_LUA_MAX_BYTES, out_text, err);
        }
    }
    *out_file = str_printf(arena, "%s/" STR_FMT, unit_dir(kind), STR_ARG(base));
    *out_text = script_builtin(kind, name);
    *out_found = out_text->len > 0;
    return true;
}

bool registry_unit(Registry *registry, UnitKind kind, Str name, Str eval_dir, const LuaUnit **out,
                   Err *err)
{
    Str file, text;
    bool found = false;
    ArenaMark mark = arena_mark(&registry->arena);
    if (!schema_is_name(name)) {
        return ERR_SET(err, ERR_NOT_FOUND, "'" STR_FMT "' is not a name", STR_ARG(name));
    }
    if (!unit_text(registry, kind, name, eval_dir, &file, &text, &found, err)) {
        return false;
    }
    if (!found) {
        arena_rewind(&registry->arena, mark);
        return ERR_SET(err, ERR_NOT_FOUND, "no %s '" STR_FMT "'",
                       kind == UNIT_SOLVER   ? "solver"
                       : kind == UNIT_METRIC ? "metric"
                                             : "grader",
                       STR_ARG(name));
    }
    for (const LuaUnit *unit = registry->units; unit != NULL; unit = unit->next) {
        if (unit->kind == kind && str_eq(unit->file, file) && str_eq(unit->text, text)) {
            arena_rewind(&registry->arena, mark);
            *out = unit;
            return true;
        }
    }
    LuaUnit *unit = ARENA_NEW(&registry->arena, LuaUnit);
    *unit = (LuaUnit){
        .kind = kind, .name = str_copy(&registry->arena, name), .file = file, .text = text};
    if (!script_unit_info(registry->script, kind, file, text, &registry->arena, &unit->info, err)) {
        return false;
    }
    unit->next = registry->units;
    registry->units = unit;
    *out = unit;
    return true;
}

bool registry_examples_run(const Registry *registry, Str file)
{
    for (const LuaUnit *unit = registry->units; unit != NULL; unit = unit->next) {
        if (unit->examples_run && str_eq(unit->file, file)) {
            return true;
        }
    }
    return false;
}

bool registry_unit_find(Registry *registry, const Eval *eval, UnitKind kind, Str name,
                        RegistryUnit *out)
{
    const LuaUnit *unit = NULL;
    Err err = ERR_INIT;
    if (!registry_unit(registry, kind, name, eval->dir, &unit, &err)) {
        return false;
    }
    *out = (RegistryUnit){.file = unit->file, .text = unit->text, .info = &unit->info};
    return true;
}

static void unit_name_list(Registry *registry, UnitKind kind, Str eval_dir, NameList *list)
{
    if (eval_dir.len > 0) {
        name_list_dir(list, unit_dir_of_eval(list->arena, kind, eval_dir), STR(".lua"));
    }
    for (size_t i = 0; i < registry->n_paths; i++) {
        Str dir = path_join(list->arena, path_dir(registry->paths[i]), str_from_c(unit_dir(kind)));
        name_list_dir(list, dir, STR(".lua"));
    }
    size_t n = 0;
    const Str *names = script_builtin_names(kind, &n);
    for (size_t i = 0; i < n; i++) {
        name_list_add(
            list, names[i],
            str_printf(list->arena, "%s/" STR_FMT ".lua", unit_dir(kind), STR_ARG(names[i])));
    }
}

void registry_unit_names(Registry *registry, UnitKind kind, Str eval_dir, Arena *arena, Str **out,
                         size_t *out_n)
{
    NameList list = {.arena = arena};
    unit_name_list(registry, kind, eval_dir, &list);
    *out = list.names;
    *out_n = list.n;
}

// ---- Lists -------------------------------------------------------------------------------------

static Str pulled_detail(Registry *registry, const RegistryFiles *files)
{
    int64_t missing_bytes = 0;
    size_t n_missing = 0;
    for (size_t i = 0; i < files->n_files; i++) {
        Str path;
        if (!registry_file_locate(registry, files, &files->files[i], &path)) {
            n_missing++;
            missing_bytes += files->files[i].bytes;
        }
    }
    if (n_missing == 0) {
        return STR("pulled");
    }
    return str_printf(&registry->arena, "not pulled (%.1f MB)", (double)missing_bytes / 1e6);
}

static Str dataset_of_eval(const Value *root, Arena *arena)
{
    const Value *dataset = value_get_c(root, "dataset");
    Str use = value_get_str(dataset, "use", STR_EMPTY);
    Str path = value_get_str(dataset, "path", STR_EMPTY);
    if (use.len > 0) {
        return use;
    }
    return path.len > 0 ? path : str_copy(arena, STR("(rows in the eval)"));
}

/** A faulty file is listed with its fault for a description: a list must not fail for one bad file.
 */
static void entry_of_yaml(Registry *registry, RegistryKind kind, RegistryEntry *entry)
{
    Arena scratch = {0};
    Faults faults;
    faults_init(&faults, &scratch);
    Err err = ERR_INIT;
    Value root;
    if (!registry_yaml(registry, entry->file, &faults, &root, &err)) {
        entry->description = str_copy(&registry->arena, str_from_c(err.message));
        arena_finish(&scratch);
        return;
    }
    entry->description = value_get_str(&root, "description", STR_EMPTY);
    Err files_err = ERR_INIT;
    const RegistryFiles *files = NULL;
    if (kind == REGISTRY_EVALS) {
        entry->detail = dataset_of_eval(&root, &registry->arena);
    } else if (kind == REGISTRY_MODELS && value_get_c(&root, "sources") == NULL) {
        entry->detail = value_get_str(&root, "base_url", STR_EMPTY);
    } else if (kind == REGISTRY_DATASETS || kind == REGISTRY_MODELS) {
        if (registry_files(registry, entry->name, &files, &files_err)) {
            entry->detail = pulled_detail(registry, files);
        } else {
            entry->detail = str_copy(&registry->arena, str_from_c(files_err.message));
        }
    }
    arena_finish(&scratch);
}

static void entry_of_lua(Registry *registry, UnitKind kind, RegistryEntry *entry)
{
    const LuaUnit *unit = NULL;
    Err err = ERR_INIT;
    if (registry_unit(registry, kind, entry->name, STR_EMPTY, &unit, &err)) {
        entry->description = unit->info.description;
        entry->file = unit->file;
    } else {
        entry->description = str_copy(&registry->arena, str_from_c(err.message));
    }
}

bool registry_list(Registry *registry, RegistryKind kind, RegistryEntry **out, size_t *out_n,
                   Err *err)
{
    (void)err;
    NameList list = {.arena = &registry->arena};
    bool lua = kind == REGISTRY_SOLVERS || kind == REGISTRY_GRADERS;
    UnitKind unit_kind = kind == REGISTRY_SOLVERS ? UNIT_SOLVER : UNIT_GRADER;
    if (lua) {
        unit_name_list(registry, unit_kind, STR_EMPTY, &list);
    } else {
        name_list_kind(registry, kind, &list);
    }
    RegistryEntry *entries = ARENA_ARRAY(&registry->arena, RegistryEntry, list.n + 1);
    for (size_t i = 0; i < list.n; i++) {
        RegistryEntry entry = {.name = list.names[i],
                               .file = list.files[i],
                               .description = STR_EMPTY,
                               .detail = STR_EMPTY};
        if (lua) {
            entry_of_lua(registry, unit_kind, &entry);
        } else {
            entry_of_yaml(registry, kind, &entry);
        }
        size_t at = i; // sorted by name over all paths
        for (; at > 0 && str_cmp(entries[at - 1].name, entry.name) > 0; at--) {
            entries[at] = entries[at - 1];
        }
        entries[at] = entry;
    }
    *out = entries;
    *out_n = list.n;
    return true;
}

// ---- Files of any kind -------------------------------------------------------------------------

static bool check_dataset(Registry *registry, Str file, const Value *root, Faults *faults)
{
    Dataset dataset;
    return dataset_from_value(registry, file, root, faults, &dataset);
}

static bool check_model(Registry *registry, Str file, const Value *root, Faults *faults)
{
    RegistryFiles files;
    Model model;
    return model_from_value(registry, file, root, faults, &files, &model);
}

static bool check_eval(Registry *registry, Str file, const Value *root, Faults *faults)
{
    Eval *eval = ARENA_NEW(&registry->arena, Eval);
    size_t before = faults->n_errors;
    bool whole = eval_from_value(registry, file, root, faults, eval);
    eval_check(registry, eval, whole, faults);
    return faults->n_errors == before;
}

static bool check_gate(Registry *registry, Str file, const Value *root, Faults *faults)
{
    if (!gate_from_value(file, root, faults)) {
        return false;
    }
    size_t before = faults->n_errors;
    gate_check_evals(registry, file, root, faults);
    return faults->n_errors == before;
}

static const struct {
    const char *key; // the first key after schema tells the kind
    bool (*check)(Registry *registry, Str file, const Value *root, Faults *faults);
} kinds[] = {
    {"eval", check_eval},
    {"dataset", check_dataset},
    {"model", check_model},
    {"gate", check_gate},
};

bool registry_is_eval_file(Registry *registry, Str path)
{
    Arena scratch = {0};
    Faults unwanted; // whoever checks the file lists them
    Err not_one = ERR_INIT;
    Value root;
    faults_init(&unwanted, &scratch);
    bool is_eval = registry_yaml(registry, path, &unwanted, &root, &not_one) &&
                   value_get_c(&root, "eval") != NULL;
    arena_finish(&scratch);
    return is_eval;
}

bool registry_check_file(Registry *registry, Str path, Faults *faults, Err *err)
{
    Value root;
    Str file = str_copy(&registry->arena, path);
    size_t before = faults->n_errors, n_before = faults->n;
    if (!registry_yaml(registry, file, faults, &root, err)) {
        return false;
    }
    for (size_t i = 0; i < root.as.map.n && i < 2; i++) {
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            if (str_eq_c(root.as.map.pairs[i].key, kinds[k].key)) {
                kinds[k].check(registry, file, &root, faults);
                registry_faults_sort(faults, n_before);
                return faults->n_errors == before || registry_faults_err(faults, err);
            }
        }
    }
    faults_add(faults, file, root.line, root.col, false, "missing-key",
               "the file has to start with schema, then eval, dataset, model or gate: NAME");
    return registry_faults_err(faults, err);
}
