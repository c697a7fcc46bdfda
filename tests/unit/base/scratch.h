// SPDX-License-Identifier: MIT
// A folder of a test's own under $TMPDIR, removed at the end.
#pragma once

#include "base/base.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct Scratch {
    char dir[256];
} Scratch;

static inline void scratch_create(Scratch *scratch)
{
    Str root = env_get("TMPDIR", STR("/tmp"));
    snprintf(scratch->dir, sizeof scratch->dir, STR_FMT "/muster-test-XXXXXX", STR_ARG(root));
    if (mkdtemp(scratch->dir) == NULL) {
        abort();
    }
}

static inline int scratch_remove(const char *path, const struct stat *info, int kind,
                                 struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline void scratch_destroy(Scratch *scratch)
{
    nftw(scratch->dir, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/** dir/name in the arena. */
static inline Str scratch_path(const Scratch *scratch, Arena *arena, const char *name)
{
    return path_join(arena, str_from_c(scratch->dir), str_from_c(name));
}

/** Write a file of the scratch folder, with the folders above it; its path. */
static inline Str scratch_file(const Scratch *scratch, Arena *arena, const char *name, Str content)
{
    Err err = ERR_INIT;
    Str path = scratch_path(scratch, arena, name);
    if (!file_make_dirs(path_dir(path), &err) || !file_write_atomic(path, content, &err)) {
        printf("# %s\n", err.message);
        abort();
    }
    return path;
}
