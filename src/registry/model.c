// SPDX-License-Identifier: MIT
// Models: registry/models/NAME.yaml, a path, or provider/name as people write it on the command
// line. Finds weights on this disk and says how to get them where they are not; opens nothing.
#include "registry/registry_internal.h"

#include <math.h>

static const char *const providers_known[] = {"local", "openai", "replay", "echo"};

static void check_by_provider(const Value *root, Str file, Faults *faults)
{
    bool local = str_eq_c(value_get_str(root, "provider", STR_EMPTY), "local");
    static const char *const endpoint_keys[] = {"base_url", "api_key_env", "price_usd", "name",
                                                "settings"};
    for (size_t i = 0; local && i < sizeof(endpoint_keys) / sizeof(endpoint_keys[0]); i++) {
        const Value *value = value_get_c(root, endpoint_keys[i]);
        if (value != NULL) {
            faults_add(faults, file, value->line, value->col, false, "bad-value",
                       "'%s' is for endpoints; this model's provider is local", endpoint_keys[i]);
        }
    }
    const Value *sources = value_get_c(root, "sources");
    if (local && sources == NULL) {
        faults_add(faults, file, root->line, root->col, false, "missing-key",
                   "a local model needs 'sources'");
    }
    if (!local && sources != NULL) {
        faults_add(faults, file, sources->line, sources->col, false, "bad-value",
                   "'sources' is for local models; this one's provider is an endpoint");
    }
}

bool model_from_value(Registry *registry, Str file, const Value *root, Faults *faults,
                      RegistryFiles *out_files, Model *out)
{
    size_t before = faults->n_errors;
    schema_check(&keys_model, root, file, faults);
    registry_schema_version(root, file, faults);
    if (faults->n_errors > before) {
        return false;
    }
    check_by_provider(root, file, faults);
    Str name = value_get_str(root, "model", STR_EMPTY);
    *out_files = (RegistryFiles){
        .kind = STR("model"), .name = name, .license = value_get_str(root, "license", STR_EMPTY)};
    sources_from_value(registry, value_get_c(root, "sources"), NULL, out_files);
    for (size_t i = 0; i < out_files->n_files; i++) {
        const RegistryFile *source = &out_files->files[i];
        const Value *at = &value_get_c(root, "sources")->as.list.items[i];
        if (source->n_urls == 0 && source->pip_package.len == 0) {
            faults_add(faults, file, at->line, at->col, false, "missing-key",
                       "source '" STR_FMT "' needs a url or pip", STR_ARG(source->name));
        }
    }
    const Value *price = value_get_c(root, "price_usd");
    const Value *settings = value_get_c(root, "settings");
    *out = (Model){
        .provider = value_get_str(root, "provider", STR_EMPTY),
        .name = value_get_str(root, "name", name),
        .base_url = value_get_str(root, "base_url", STR_EMPTY),
        .api_key_env = value_get_str(root, "api_key_env", STR("OPENAI_API_KEY")),
        .chat_template = value_get_str(root, "chat_template", STR_EMPTY),
        .settings = settings != NULL ? *settings : value_null(),
        .price_input_usd = value_get_real(price, "input", NAN),
        .price_output_usd = value_get_real(price, "output", NAN),
    };
    return faults->n_errors == before;
}

/** Identity of an endpoint: what decides which model answers. */
static Hash endpoint_identity(const Model *model)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.model.1"));
    hash_str(&sha, model->provider);
    hash_str(&sha, model->base_url);
    hash_str(&sha, model->name);
    hash_str(&sha, model->chat_template);
    hash_value(&sha, &model->settings);
    return hash_end(&sha);
}

/** The weights of a local registry model: the source that ends in .gguf, else the first. */
static const RegistryFile *weights_of(const RegistryFiles *files)
{
    for (size_t i = 0; i < files->n_files; i++) {
        if (str_ends_with(files->files[i].name, STR(".gguf"))) {
            return &files->files[i];
        }
    }
    return files->n_files > 0 ? &files->files[0] : NULL;
}

static bool model_of_registry(Registry *registry, Str file, Str spec, Model *out, Err *err)
{
    Faults faults;
    faults_init(&faults, &registry->arena);
    Value root;
    RegistryFiles *files = ARENA_NEW(&registry->arena, RegistryFiles);
    if (!registry_yaml(registry, file, &faults, &root, err)) {
        return false;
    }
    if (!model_from_value(registry, file, &root, &faults, files, out)) {
        return registry_faults_err(&faults, err);
    }
    out->spec = spec;
    if (!str_eq_c(out->provider, "local")) {
        out->identity = endpoint_identity(out);
        return true;
    }
    const RegistryFile *weights = weights_of(files);
    if (weights == NULL || !registry_file_locate(registry, files, weights, &out->path)) {
        return ERR_SET(err, ERR_NOT_FOUND,
                       "model '" STR_FMT "' is not pulled: muster pull " STR_FMT,
                       STR_ARG(files->name), STR_ARG(files->name));
    }
    out->identity = weights->sha256;
    return true;
}

static bool model_of_path(Registry *registry, Str path, Model *out, Err *err)
{
    uint64_t bytes = 0;
    if (!file_size(path, &bytes)) {
        return ERR_SET(err, ERR_NOT_FOUND, "no model file '" STR_FMT "'", STR_ARG(path));
    }
    out->path = str_copy(&registry->arena, path);
    return files_hash(registry, path, &out->identity, err);
}

static bool unknown_provider(Registry *registry, Str spec, Str provider, Err *err)
{
    Str names[sizeof(providers_known) / sizeof(providers_known[0])];
    size_t n = sizeof(names) / sizeof(names[0]);
    for (size_t i = 0; i < n; i++) {
        names[i] = str_from_c(providers_known[i]);
    }
    Str hint = schema_did_you_mean(&registry->arena, provider, names, n);
    return ERR_SET(err, ERR_USAGE,
                   "model '" STR_FMT "': no provider '" STR_FMT "'" STR_FMT
                   " (local/NAME, local/PATH.gguf, openai/NAME, replay/FILE, echo)",
                   STR_ARG(spec), STR_ARG(provider), STR_ARG(hint));
}

/** A name without a provider, or a bare path to weights. */
static bool model_of_bare(Registry *registry, Str spec, Model *out, Err *err)
{
    Str file;
    if (registry_find(registry, REGISTRY_MODELS, spec, &registry->arena, &file)) {
        if (!model_of_registry(registry, file, spec, out, err)) {
            return false;
        }
        out->spec = str_printf(&registry->arena, STR_FMT "/" STR_FMT, STR_ARG(out->provider),
                               STR_ARG(spec));
        return true;
    }
    if (str_ends_with(spec, STR(".gguf"))) {
        out->provider = STR("local");
        out->name = spec;
        out->spec = str_concat(&registry->arena, STR("local/"), spec);
        return model_of_path(registry, spec, out, err);
    }
    return registry_not_found(registry, REGISTRY_MODELS, "model", spec, err);
}

static bool model_of_provider(Registry *registry, Str spec, Str provider, Str name, Model *out,
                              Err *err)
{
    Str file;
    bool local = str_eq_c(provider, "local");
    if (name.len == 0) {
        return ERR_SET(err, ERR_USAGE, "model '" STR_FMT "' has no name after the slash",
                       STR_ARG(spec));
    }
    if ((local || str_eq_c(provider, "openai")) &&
        registry_find(registry, REGISTRY_MODELS, name, &registry->arena, &file)) {
        if (!model_of_registry(registry, file, spec, out, err)) {
            return false;
        }
        if (!str_eq(out->provider, provider)) {
            return ERR_SET(err, ERR_USAGE,
                           "model '" STR_FMT "' is a model of provider '" STR_FMT "'",
                           STR_ARG(name), STR_ARG(out->provider));
        }
        return true;
    }
    out->provider = provider;
    out->name = name;
    if (str_eq_c(provider, "openai")) {
        out->identity = endpoint_identity(out);
        return true;
    }
    if (str_eq_c(provider, "replay")) {
        return model_of_path(registry, name, out, err);
    }
    uint64_t bytes = 0;
    if (local && (file_size(name, &bytes) || str_find(name, STR("/"), 0) != STR_NONE ||
                  str_ends_with(name, STR(".gguf")))) {
        return model_of_path(registry, name, out, err);
    }
    return local ? registry_not_found(registry, REGISTRY_MODELS, "model", name, err)
                 : unknown_provider(registry, spec, provider, err);
}

bool registry_model(Registry *registry, Str spec, const Model **out, Err *err)
{
    Str own = str_copy(&registry->arena, spec);
    Model *model = ARENA_NEW(&registry->arena, Model);
    *model = (Model){
        .spec = own,
        .api_key_env = STR("OPENAI_API_KEY"),
        .settings = value_null(),
        .price_input_usd = NAN,
        .price_output_usd = NAN,
    };
    Str provider, name;
    bool ok = true;
    if (str_eq_c(own, "echo")) {
        model->provider = model->name = own;
        model->identity = endpoint_identity(model);
    } else if (own.len > 0 && own.data[0] != '/' && own.data[0] != '.' &&
               str_cut(own, STR("/"), &provider, &name)) {
        ok = model_of_provider(registry, own, provider, name, model, err);
    } else {
        ok = model_of_bare(registry, own, model, err);
    }
    if (ok) {
        *out = model;
    }
    return ok;
}
