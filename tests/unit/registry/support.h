// SPDX-License-Identifier: MIT
// What the tests of the registry share: a temporary folder, files in it, a registry over it.
#pragma once

#include "registry/registry_internal.h"
#include "tests/unit/tap.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static Arena test_arena;
static Str test_dir; // ends without a slash
static Script *test_script;

/** Make the folder that all files of this program go to. */
static inline void test_begin(void)
{
    char template[] = "/tmp/muster-registry-XXXXXX";
    Err err = ERR_INIT;
    if (mkdtemp(template) == NULL || !script_create(NULL, &test_script, &err)) {
        printf("Bail out! no temporary folder or script: %s\n", err.message);
        exit(1);
    }
    test_dir = str_copy(&test_arena, str_from_c(template));
}

static inline void test_remove(Str path)
{
    Str *names = NULL;
    size_t n = 0;
    Err err = ERR_INIT;
    if (file_is_dir(path) && file_list(&test_arena, path, &names, &n, &err)) {
        for (size_t i = 0; i < n; i++) {
            test_remove(path_join(&test_arena, path, names[i]));
        }
        rmdir(str_to_c(&test_arena, path));
        return;
    }
    unlink(str_to_c(&test_arena, path));
}

static inline int test_end(void)
{
    test_remove(test_dir);
    script_destroy(test_script);
    arena_finish(&test_arena);
    return tap_done();
}

/** Write a file below the temporary folder; returns its path. */
static inline Str test_file(const char *name, Str content)
{
    Err err = ERR_INIT;
    Str path = path_join(&test_arena, test_dir, str_from_c(name));
    if (!file_make_dirs(path_dir(path), &err) || !file_write_atomic(path, content, &err)) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    return path;
}

/** A registry over DIR/registry with the cache DIR/cache and a mirror, "" for none. */
static inline Registry *test_registry(Str mirror)
{
    Err err = ERR_INIT;
    Str path = path_join(&test_arena, test_dir, STR("registry"));
    RegistryOptions options = {
        .paths = &path,
        .n_paths = 1,
        .cache_dir = path_join(&test_arena, test_dir, STR("cache")),
        .mirror_dir = mirror,
    };
    Registry *registry = NULL;
    if (!registry_create(&options, test_script, &registry, &err)) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    return registry;
}

/** Faults as text, one a line: "line:col: code: message", warnings marked. */
static inline Str test_faults(const Faults *faults)
{
    Buf buf = {0};
    for (size_t i = 0; i < faults->n; i++) {
        const Fault *fault = &faults->items[i];
        buf_printf(&buf, "%u:%u: %s" STR_FMT ": " STR_FMT "\n", fault->line, fault->col,
                   fault->warning ? "warning " : "", STR_ARG(fault->code), STR_ARG(fault->message));
    }
    Str text = str_copy(&test_arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}
