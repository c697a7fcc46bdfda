// SPDX-License-Identifier: MIT
// Dataset and model files: parts, sources, what lies in the cache or the mirror, what is not
// pulled.
#include "support.h"

#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // of "abc"
#define SHA_XYZ "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282" // of "xyz"

static const char animals[] = "schema: 1\ndataset: animals\nlicense: MIT\n"
                              "url: https://example.org/data\n"
                              "parts: 'test/{part}.csv'\n"
                              "files:\n  test: 'test/{part}.csv'\n"
                              "sources:\n"
                              "  - {path: test/dog.csv, bytes: 3, sha256: " SHA_ABC "}\n"
                              "  - {path: test/cat.csv, bytes: 3, sha256: " SHA_XYZ "}\n";

static void test_dataset__parts_and_urls(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    test_file("registry/datasets/animals.yaml", str_from_c(animals));
    Err err = ERR_INIT;
    const Dataset *dataset = NULL;
    CHECK_OK(registry_dataset(registry, STR("animals"), &dataset, &err), &err);
    CHECK(dataset != NULL && dataset->n_parts == 2);
    CHECK_STR(dataset->parts[0], STR("cat"));
    CHECK_STR(dataset->parts[1], STR("dog"));
    CHECK_STR(dataset->files.files[0].urls[0], STR("https://example.org/data/test/dog.csv"));
    CHECK_STR(dataset_path_of(&test_arena, STR("a/{part}/{part}.x"), STR("p")), STR("a/p/p.x"));
    Str path;
    CHECK(!dataset_locate(registry, dataset, STR("test/dog.csv"), &path, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    CHECK(str_ends_with(str_from_c(err.message), STR("muster pull animals")));
    err = (Err)ERR_INIT;
    CHECK(!registry_dataset(registry, STR("animal"), &dataset, &err));
    CHECK(str_find(str_from_c(err.message), STR("did you mean 'animals'?"), 0) != STR_NONE);
    registry_destroy(registry);
}

static void test_dataset__mirror_and_cache(void)
{
    // Files of the right size but another content are not the ones.
    test_file("mirror/deep/er/a.bin", STR("abd"));
    Str abc = test_file("mirror/deep/er/b.bin", STR("abc"));
    test_file("mirror/long.bin", STR("abcabc"));
    Registry *registry = test_registry(path_join(&test_arena, test_dir, STR("mirror")));
    Err err = ERR_INIT;
    const RegistryFiles *files = NULL;
    CHECK_OK(registry_files(registry, STR("animals"), &files, &err), &err);
    Str path;
    CHECK(registry_file_locate(registry, files, &files->files[0], &path));
    CHECK_STR(path, abc);
    CHECK(!registry_file_locate(registry, files, &files->files[1], &path));
    // The cache goes first, and only a file with the right hash counts.
    test_file("cache/datasets/animals/test/cat.csv", STR("xya"));
    CHECK(!registry_file_locate(registry, files, &files->files[1], &path));
    Str cached = test_file("cache/datasets/animals/test/cat.csv", STR("xyz"));
    CHECK(registry_file_locate(registry, files, &files->files[1], &path));
    CHECK_STR(path, cached);
    registry_destroy(registry);
}

static void test_dataset__hashes_are_remembered(void)
{
    Str path = test_file("remembered.bin", STR("abc"));
    Registry *registry = test_registry(STR_EMPTY);
    Err err = ERR_INIT;
    Hash want, got;
    CHECK(hash_from_hex(STR(SHA_ABC), &want));
    CHECK_OK(files_hash(registry, path, &got, &err), &err);
    CHECK(hash_eq(&got, &want));
    registry_destroy(registry);
    Str memo;
    CHECK_OK(file_read(&test_arena, path_join(&test_arena, test_dir, STR("cache/hashes.tsv")),
                       1 << 20, &memo, &err),
             &err);
    CHECK(str_find(memo, STR("\t" SHA_ABC "\t"), 0) != STR_NONE);
    // Another process believes the memo for the same file, not for a changed one.
    Str forged = str_concat(&test_arena, memo, STR(""));
    size_t at = str_find(forged, STR(SHA_ABC "\t"), 0);
    while (at != STR_NONE && !str_starts_with(str_slice(forged, at + 65, forged.len), path)) {
        at = str_find(forged, STR(SHA_ABC "\t"), at + 1);
    }
    CHECK(at != STR_NONE);
    char *bytes = str_to_c(&test_arena, forged);
    memcpy(bytes + at, SHA_XYZ, 64);
    test_file("cache/hashes.tsv", str_from_c(bytes));
    registry = test_registry(STR_EMPTY);
    CHECK(hash_from_hex(STR(SHA_XYZ), &want));
    CHECK_OK(files_hash(registry, path, &got, &err), &err);
    CHECK(hash_eq(&got, &want));
    test_file("remembered.bin", STR("abcd"));
    CHECK_OK(files_hash(registry, path, &got, &err), &err);
    CHECK(!hash_eq(&got, &want));
    registry_destroy(registry);
    test_file("cache/hashes.tsv", STR("damaged\nmemo\t\t\n\n"));
    registry = test_registry(STR_EMPTY);
    CHECK_OK(files_hash(registry, path, &got, &err), &err);
    registry_destroy(registry);
}

typedef struct FaultCase {
    int line;
    const char *text;
    const char *want;
} FaultCase;

static void check_faults(const FaultCase *cases, size_t n)
{
    Registry *registry = test_registry(STR_EMPTY);
    for (size_t i = 0; i < n; i++) {
        Faults faults;
        faults_init(&faults, &test_arena);
        Err err = ERR_INIT;
        Str path = test_file("faulty.yaml", str_from_c(cases[i].text));
        bool ok = registry_check_file(registry, path, &faults, &err);
        Str got = test_faults(&faults);
        if (!str_eq_c(got, cases[i].want)) {
            printf("# case of line %d\n", cases[i].line);
        }
        CHECK_STR(got, str_from_c(cases[i].want));
        CHECK(ok == (cases[i].want[0] == '\0'));
    }
    registry_destroy(registry);
}

#define DATASET "schema: 1\ndataset: d\nlicense: MIT\n"
#define SOURCE                                                                                     \
    "sources:\n  - {path: a.csv, bytes: 3, sha256: " SHA_ABC ", url: 'https://example.org/a'}\n"

static void test_dataset__faults(void)
{
    const FaultCase cases[] = {
        {__LINE__, DATASET "files: {test: a.csv}\n" SOURCE, ""},
        {__LINE__, DATASET "files: {test: b.csv}\n" SOURCE,
         "4:9: dangling: 'b.csv' is not among the sources\n"},
        {__LINE__, DATASET "files: {test: 'x/{part}.csv'}\n" SOURCE,
         "4:9: dangling: 'x/{part}.csv' has {part}, but the dataset has no parts\n"},
        {__LINE__, DATASET "files: {test: '{part}.csv'}\nparts: [a, b, a]\n" SOURCE,
         "5:8: duplicate: two parts are called 'a'\n"},
        {__LINE__, DATASET "files: {test: '{part}.csv'}\nparts: [a, b]\n" SOURCE,
         "4:9: dangling: part 'b' has no file: 'b.csv' is not among the sources\n"},
        {__LINE__, DATASET "files: {test: '{part}.csv'}\nparts: 'q/{part}.csv'\n" SOURCE,
         "5:8: dangling: no source matches 'q/{part}.csv'\n"},
        {__LINE__, DATASET "files: {test: ../a.csv}\n",
         "4:15: bad-value: 'test' has to be a path that stays inside its folder, not '../a.csv'\n"},
        {__LINE__,
         DATASET "files: {test: a.csv}\nsources:\n  - {path: a.csv, bytes: 3, sha256: " SHA_ABC
                 "}\n",
         "6:5: missing-key: source 'a.csv' has no url, and the dataset has none either\n"},
        {__LINE__, "schema: 2\ndataset: d\nlicense: MIT\nfiles: {test: a.csv}\n",
         "1:9: bad-value: schema 2 is not known to this program, which reads schema 1\n"},
        {__LINE__, "license: MIT\ndescription: x\n",
         "1:1: missing-key: the file has to start with schema, then eval, dataset, model or gate: "
         "NAME\n"},
    };
    check_faults(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_gate__faults(void)
{
    const FaultCase cases[] = {
        {__LINE__, "schema: 1\ngate: g\nmin: {mmlu: {accuracy: 0.65}}\nmode: regression\n", ""},
        {__LINE__,
         "schema: 1\ngate: g\nmax_regression: {mmlu: 0.02}\nconfidence: 0.95\ndetect: 0.1\n"
         "must_pass: {tag: smoke}\nbudget: {error_rate: 0.01, cost_usd: 5, p95_latency_s: 20}\n",
         ""},
        {__LINE__, "schema: 1\ngate: g\n",
         "1:1: missing-key: a gate file needs a check: min, max, max_regression, must_pass or "
         "budget\n"},
        {__LINE__, "schema: 1\ngate: g\nbudget: {error_rate: 2}\nmode: regresion\n",
         "3:22: bad-value: 'error_rate' has to lie between 0 and 1\n"
         "4:7: bad-value: 'mode' has to be one of regression, noninferiority, not 'regresion'; did "
         "you mean "
         "'regression'?\n"},
    };
    check_faults(cases, sizeof(cases) / sizeof(cases[0]));
}

int main(void)
{
    test_begin();
    tap_run("dataset: parts and urls", test_dataset__parts_and_urls);
    tap_run("dataset: mirror by size and hash, cache first", test_dataset__mirror_and_cache);
    tap_run("dataset: hashes are remembered", test_dataset__hashes_are_remembered);
    tap_run("dataset: faults", test_dataset__faults);
    tap_run("gate: faults", test_gate__faults);
    return test_end();
}
