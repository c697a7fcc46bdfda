// SPDX-License-Identifier: MIT
// Models as people name them: registry entries, paths, provider/name.
#include "support.h"

#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // of "abc"

static void write_models(void)
{
    test_file("registry/models/tiny.yaml",
              STR("schema: 1\nmodel: tiny\nlicense: MIT\nprovider: local\nsources:\n"
                  "  - {path: tiny.gguf, bytes: 3, sha256: " SHA_ABC
                  ", url: 'https://example.org/t'}\n"));
    test_file("registry/models/gpt-x.yaml",
              STR("schema: 1\nmodel: gpt-x\nprovider: openai\nname: gpt-x-2026\n"
                  "base_url: https://example.org/v1\napi_key_env: X_KEY\nprice_usd: {input: 1, "
                  "output: 2.5}\n"));
}

static void test_model__registry(void)
{
    write_models();
    Registry *registry = test_registry(STR_EMPTY);
    Err err = ERR_INIT;
    const Model *model = NULL;
    CHECK(!registry_model(registry, STR("local/tiny"), &model, &err));
    CHECK_STR(str_from_c(err.message), STR("model 'tiny' is not pulled: muster pull tiny"));
    Str path = test_file("cache/models/tiny/tiny.gguf", STR("abc"));
    Hash abc = sha256_of(STR("abc"));
    const char *const specs[] = {"local/tiny", "tiny"};
    for (size_t i = 0; i < 2; i++) {
        err = (Err)ERR_INIT;
        CHECK_OK(registry_model(registry, str_from_c(specs[i]), &model, &err), &err);
        CHECK_STR(model->spec, STR("local/tiny"));
        CHECK_STR(model->provider, STR("local"));
        CHECK_STR(model->path, path);
        CHECK(hash_eq(&model->identity, &abc));
        CHECK(isnan(model->price_input_usd));
    }
    CHECK_OK(registry_model(registry, STR("openai/gpt-x"), &model, &err), &err);
    CHECK_STR(model->name, STR("gpt-x-2026"));
    CHECK_STR(model->base_url, STR("https://example.org/v1"));
    CHECK_STR(model->api_key_env, STR("X_KEY"));
    CHECK_NEAR(model->price_output_usd, 2.5, 0);
    registry_destroy(registry);
}

static void test_model__as_named(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    Err err = ERR_INIT;
    const Model *model = NULL;
    CHECK_OK(registry_model(registry, STR("openai/meta-llama/Llama-3"), &model, &err), &err);
    CHECK_STR(model->provider, STR("openai"));
    CHECK_STR(model->name, STR("meta-llama/Llama-3"));
    CHECK_STR(model->api_key_env, STR("OPENAI_API_KEY"));
    CHECK_OK(registry_model(registry, STR("echo"), &model, &err), &err);
    CHECK_STR(model->provider, STR("echo"));
    Str file = test_file("m.gguf", STR("abc"));
    Str spec = str_concat(&test_arena, STR("local/"), file);
    CHECK_OK(registry_model(registry, spec, &model, &err), &err);
    CHECK_STR(model->path, file);
    CHECK_STR(model->spec, spec);
    CHECK_OK(registry_model(registry, file, &model, &err), &err);
    CHECK_STR(model->path, file);
    CHECK_STR(model->provider, STR("local"));
    Str log = test_file("log.jsonl", STR("{}\n"));
    CHECK_OK(registry_model(registry, str_concat(&test_arena, STR("replay/"), log), &model, &err),
             &err);
    CHECK_STR(model->provider, STR("replay"));
    CHECK_STR(model->path, log);
    registry_destroy(registry);
}

static void test_model__refused(void)
{
    static const struct {
        int line;
        const char *spec;
        ErrCode code;
        const char *part; // of the message
    } cases[] = {
        {__LINE__, "locl/tiny", ERR_USAGE, "did you mean 'local'?"},
        {__LINE__, "local/tyny", ERR_NOT_FOUND, "did you mean 'tiny'?"},
        {__LINE__, "tinny", ERR_NOT_FOUND, "did you mean 'tiny'?"},
        {__LINE__, "local/", ERR_USAGE, "no name after the slash"},
        {__LINE__, "local/nowhere.gguf", ERR_NOT_FOUND, "no model file 'nowhere.gguf'"},
        {__LINE__, "replay/nowhere.jsonl", ERR_NOT_FOUND, "no model file 'nowhere.jsonl'"},
        {__LINE__, "local/gpt-x", ERR_USAGE, "is a model of provider 'openai'"},
        {__LINE__, "", ERR_NOT_FOUND, "no model ''"},
    };
    Registry *registry = test_registry(STR_EMPTY);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Err err = ERR_INIT;
        const Model *model = NULL;
        bool ok = registry_model(registry, str_from_c(cases[i].spec), &model, &err);
        bool said = str_find(str_from_c(err.message), str_from_c(cases[i].part), 0) != STR_NONE;
        if (ok || err.code != cases[i].code || !said) {
            printf("# case of line %d: %s\n", cases[i].line, err.message);
        }
        CHECK(!ok && err.code == cases[i].code && said);
    }
    registry_destroy(registry);
}

int main(void)
{
    test_begin();
    tap_run("model: registry entries", test_model__registry);
    tap_run("model: as named on the command line", test_model__as_named);
    tap_run("model: refused", test_model__refused);
    return test_end();
}
