// SPDX-License-Identifier: MIT
// What `muster check` says about the faulty files in check/: each NAME.yaml beside its
// NAME.expected. The arguments are the folder of this file and that of the registry; --update
// rewrites the expected texts.
#include "registry/registry.h"
#include "tests/unit/tap.h"

#include <stdlib.h>
#include <unistd.h>

static Arena arena;
static bool update;

/** All faults of a file, those of its rows too, as they are shown. */
static Str report(Registry *registry, Str file)
{
    Faults faults;
    faults_init(&faults, &arena);
    Err err = ERR_INIT;
    const Eval *eval = NULL;
    bool ok = registry_check_file(registry, file, &faults, &err);
    CHECK(ok == (faults.n_errors == 0));
    if (ok) {
        Faults again;
        faults_init(&again, &arena);
        if (CHECK_OK(registry_eval(registry, file, &again, &eval, &err), &err)) {
            CHECK_OK(registry_check_rows(registry, eval, 0, &faults, &err), &err);
            ok = faults.n_errors == 0;
        }
    }
    Buf buf = {0};
    faults_render(&buf, &faults, false);
    buf_printf(&buf, "%s\n", ok ? "ok" : "refused");
    Str text = str_copy(&arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static void check_one(Registry *registry, Str name)
{
    Err err = ERR_INIT;
    Str stem = path_stem(name), want = STR_EMPTY;
    Str got = report(registry, name);
    Str expected = str_concat(&arena, stem, STR(".expected"));
    if (update) {
        CHECK_OK(file_write_atomic(expected, got, &err), &err);
    } else if (CHECK_OK(file_read(&arena, expected, 1 << 20, &want, &err), &err)) {
        if (!str_eq(got, want)) {
            printf("# %.*s:\n", STR_ARG(name));
        }
        CHECK_STR(got, want);
    }
}

static Registry *the_registry;
static Str the_name;

static void test_one(void)
{
    check_one(the_registry, the_name);
}

int main(int argc, char **argv)
{
    Err err = ERR_INIT;
    Script *script = NULL;
    Str *names = NULL;
    size_t n = 0;
    if (argc < 3) {
        printf("Bail out! test_check FOLDER REGISTRY [--update]\n");
        return 1;
    }
    update = argc > 3 && strcmp(argv[3], "--update") == 0;
    char cache[] = "/tmp/muster-check-XXXXXX";
    Str registry_path = str_from_c(argv[2]);
    Str dir = path_join(&arena, str_from_c(argv[1]), STR("check"));
    if (mkdtemp(cache) == NULL || chdir(str_to_c(&arena, dir)) != 0) { // names without a path
        printf("Bail out! no folder\n");
        return 1;
    }
    RegistryOptions options = {.paths = &registry_path,
                               .n_paths = 1,
                               .cache_dir = str_from_c(cache),
                               .mirror_dir = STR_EMPTY};
    if (!script_create(NULL, &script, &err) ||
        !registry_create(&options, script, &the_registry, &err) ||
        !file_list(&arena, STR("."), &names, &n, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (str_ends_with(names[i], STR(".yaml"))) {
            the_name = names[i];
            tap_run(str_to_c(&arena, names[i]), test_one);
        }
    }
    registry_destroy(the_registry);
    script_destroy(script);
    rmdir(cache);
    arena_finish(&arena);
    return tap_done();
}
