// SPDX-License-Identifier: MIT
// The registry's public evals on the real data: every prompt and target of every row, against
// digests of texts built without templates; the house's example evals; what is held open for 57
// parts. Needs MUSTER_MIRROR.
#include "support.h"

#include <sys/resource.h>

static Registry *registry;

/**
 * The digest is SHA-256 over "prompt NUL target NUL" of all rows of all parts in order, where
 * prompt and target were put together from the published files by a few lines of Python string
 * formatting: gsm8k       5 train rows and the row as "Question: Q\nAnswer: A\n\n", text behind
 * "####" stripped mmlu        5 dev rows, question stripped, "A. " to "D. ", subject with blanks
 *   bbh         the part of cot-prompts behind "-----\n", "\n\nQ: ", "\nA: Let's think step by
 * step." openbookqa  "Question: STEM\nAnswer:", the text of the choice whose label is answerKey
 *   winogrande  5 of the first 6 rows without the row itself, the ending */
static const struct {
    int line;
    const char *eval; // in the registry; with a dot: among the examples
    size_t n_rows;
    const char *digest;
} evals[] = {
    {__LINE__, "gsm8k", 1319, "49488ca9116a7f8433952df66d3f9f8ec49df43efbef97b3d386e9c9273be1cb"},
    {__LINE__, "mmlu", 14042, "d2fa49076e405c17aac177b1fbf26fb47ae383f4b4a5d77157d93ccb9831ae35"},
    {__LINE__, "bbh", 6511, "afed225b265b1a00fed86c2dfa8ba35ac3215ad993980b8aae6fec3bd745e906"},
    {__LINE__, "openbookqa", 500,
     "7eb31bbe5464ac70c3bb8182b4ce9913435f51f0efd1599d9f60aaffaf0c9427"},
    {__LINE__, "gsm8k.yaml", 1319,
     "49488ca9116a7f8433952df66d3f9f8ec49df43efbef97b3d386e9c9273be1cb"},
    {__LINE__, "mmlu.yaml", 14042,
     "d2fa49076e405c17aac177b1fbf26fb47ae383f4b4a5d77157d93ccb9831ae35"},
    {__LINE__, "bbh.yaml", 6511,
     "afed225b265b1a00fed86c2dfa8ba35ac3215ad993980b8aae6fec3bd745e906"},
    {__LINE__, "winogrande.yaml", 1267,
     "dee922ee8b9e8edc64b5d7eb0d3afc4ff5e8aa0d368cc14f6bbacd76059fc31d"},
};

static Str examples_dir;

static bool digest_part(const Eval *eval, Str part, Sha256 *sha, size_t *n_rows)
{
    Task *task = NULL;
    Err err = ERR_INIT;
    if (!CHECK_OK(registry_task_open(registry, eval, part, &eval->variants[0], 0, &task, &err),
                  &err)) {
        return false;
    }
    Arena arena = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < task->n_samples; i++) {
        Sample sample;
        ok = CHECK_OK(registry_task_sample(registry, task, i, &arena, &sample, &err), &err);
        if (ok) {
            sha256_update(sha, sample.prompt.text.data, sample.prompt.text.len);
            sha256_update(sha, "", 1);
            CHECK_INT(sample.n_targets, 1);
            sha256_update(sha, sample.targets[0].data, sample.targets[0].len);
            sha256_update(sha, "", 1);
        }
        arena_reset(&arena);
    }
    *n_rows += task->n_samples;
    arena_finish(&arena);
    registry_task_close(registry, task);
    return ok;
}

static void check_digest(size_t index)
{
    Faults faults;
    faults_init(&faults, &test_arena);
    Err err = ERR_INIT;
    const Eval *eval = NULL;
    Str name = str_from_c(evals[index].eval);
    if (str_ends_with(name, STR(".yaml"))) {
        name = path_join(&test_arena, examples_dir, name);
        if (!file_exists(name)) {
            printf("# no %s here\n", name.data);
            return;
        }
    }
    Str *parts = NULL;
    size_t n_parts = 0, n_rows = 0;
    if (!CHECK_OK(registry_eval(registry, name, &faults, &eval, &err), &err) ||
        !CHECK_OK(registry_parts(registry, eval, &parts, &n_parts, &err), &err)) {
        return;
    }
    Sha256 sha;
    sha256_init(&sha);
    for (size_t i = 0; i < n_parts; i++) {
        if (!digest_part(eval, parts[i], &sha, &n_rows)) {
            return;
        }
    }
    Hash hash;
    char hex[HASH_HEX_LEN + 1];
    sha256_final(&sha, &hash);
    hash_hex(&hash, hex);
    CHECK_INT(n_rows, evals[index].n_rows);
    CHECK_STR(str_from_c(hex), str_from_c(evals[index].digest));
}

static void test_public__prompts(void)
{
    for (size_t i = 0; i < sizeof(evals) / sizeof(evals[0]); i++) {
        check_digest(i);
    }
}

static void test_public__check(void)
{
    static const char *const names[] = {"gsm8k", "mmlu", "bbh", "openbookqa"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Faults faults;
        faults_init(&faults, &test_arena);
        Err err = ERR_INIT;
        const Eval *eval = NULL;
        CHECK_OK(registry_eval(registry, str_from_c(names[i]), &faults, &eval, &err), &err);
        CHECK_OK(registry_check_rows(registry, eval, 0, &faults, &err), &err);
        // MMLU is known for four rows whose right answer stands there twice.
        CHECK_STR(test_faults(&faults), str_eq_c(str_from_c(names[i]), "mmlu")
                                            ? STR("17:12: warning equal-choices: 4 rows have equal "
                                                  "choices of which only some are "
                                                  "right\n")
                                            : STR(""));
    }
}

/** Every file of the registry that comes with the program is free of faults. */
static void test_public__files(void)
{
    static const char *const dirs[] = {"evals", "datasets", "models", "gates"};
    Str root = env_get("MUSTER_TEST_REGISTRY", STR("registry"));
    for (size_t d = 0; d < sizeof(dirs) / sizeof(dirs[0]); d++) {
        Str dir = path_join(&test_arena, root, str_from_c(dirs[d]));
        Str *names = NULL;
        size_t n = 0;
        Err err = ERR_INIT;
        CHECK_OK(file_list(&test_arena, dir, &names, &n, &err), &err);
        for (size_t i = 0; i < n; i++) {
            if (str_ends_with(names[i], STR(".yaml"))) {
                Faults faults;
                faults_init(&faults, &test_arena);
                CHECK_OK(registry_check_file(registry, path_join(&test_arena, dir, names[i]),
                                             &faults, &err),
                         &err);
                CHECK_STR(test_faults(&faults), STR(""));
                err = (Err)ERR_INIT;
            }
        }
    }
}

/** The example evals: what is not supported yet is said so, and nothing else is wrong with them. */
static void test_public__examples(void)
{
    Str *names = NULL;
    size_t n = 0, n_runnable = 0;
    Err err = ERR_INIT;
    if (!CHECK_OK(file_list(&test_arena, examples_dir, &names, &n, &err), &err)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (!str_ends_with(names[i], STR(".yaml"))) {
            continue;
        }
        Faults faults;
        faults_init(&faults, &test_arena);
        err = (Err)ERR_INIT;
        const Eval *eval = NULL;
        bool ok = registry_eval(registry, path_join(&test_arena, examples_dir, names[i]), &faults,
                                &eval, &err);
        bool later = false;
        for (size_t k = 0; k < faults.n; k++) {
            // A grader's own target, instead of the sample's, comes with the grader library.
            bool own_target =
                str_eq_c(names[i], "translate.yaml") &&
                str_eq_c(faults.items[k].message, "unknown key 'target' in grader 'includes'");
            bool known = own_target || str_eq_c(faults.items[k].code, "not-supported");
            later = later || known;
            if (!known && !faults.items[k].warning) {
                printf("# %.*s: %u: %.*s\n", STR_ARG(names[i]), faults.items[k].line,
                       STR_ARG(faults.items[k].message));
            }
            CHECK(known || faults.items[k].warning);
        }
        CHECK(ok == !later);
        if (ok) {
            n_runnable++;
            CHECK_OK(registry_check_rows(registry, eval, 0, &faults, &err), &err);
        }
    }
    printf("# %zu of the examples can run\n", n_runnable);
    CHECK(n_runnable >= 4);
}

static void test_public__all_parts_open(void)
{
    Faults faults;
    faults_init(&faults, &test_arena);
    Err err = ERR_INIT;
    const Eval *eval = NULL;
    Str *parts = NULL;
    size_t n = 0;
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    if (!CHECK_OK(registry_eval(registry, STR("mmlu"), &faults, &eval, &err), &err) ||
        !CHECK_OK(registry_parts(registry, eval, &parts, &n, &err), &err)) {
        return;
    }
    Task *tasks[64] = {0};
    CHECK_INT(n, 57);
    for (size_t i = 0; i < n && i < 64; i++) {
        CHECK_OK(
            registry_task_open(registry, eval, parts[i], &eval->variants[0], 0, &tasks[i], &err),
            &err);
    }
    getrusage(RUSAGE_SELF, &after);
    printf("# 57 parts held open: %ld KiB more at the peak\n", after.ru_maxrss - before.ru_maxrss);
    for (size_t i = 0; i < n && i < 64; i++) {
        registry_task_close(registry, tasks[i]);
    }
    CHECK(registry->rows == NULL && registry->parts == NULL && registry->programs == NULL);
}

int main(void)
{
    test_begin();
    Str mirror = env_get("MUSTER_MIRROR", STR_EMPTY);
    Str root = env_get("MUSTER_TEST_REGISTRY", STR("registry"));
    Err err = ERR_INIT;
    RegistryOptions options = {.paths = &root,
                               .n_paths = 1,
                               .cache_dir = path_join(&test_arena, test_dir, STR("cache")),
                               .mirror_dir = mirror};
    if (!registry_create(&options, test_script, &registry, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    examples_dir = path_join(&test_arena, path_dir(mirror), STR("examples/evals"));
    const bool has_data = mirror.len > 0, has_examples = has_data && file_is_dir(examples_dir);
    tap_run("registry: its own files have no faults", test_public__files);
    if (has_data) {
        tap_run("public: 57 parts of mmlu held open", test_public__all_parts_open);
        tap_run("public: every prompt and target", test_public__prompts);
        tap_run("public: check finds what is known", test_public__check);
    } else {
        tap_skip("public: prompts, checks", "MUSTER_MIRROR is not set");
    }
    if (has_examples) {
        tap_run("public: example evals", test_public__examples);
    } else {
        tap_skip("public: example evals", "they are not beside MUSTER_MIRROR");
    }
    registry_destroy(registry);
    return test_end();
}
