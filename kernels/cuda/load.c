// SPDX-License-Identifier: MIT
// Finds and loads the module with the CUDA kernels. A file that is not there is no error; one that
// can not be used says why.
#include "kernels/cuda/load.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/module_config.h"

#define MODULE_FILE "muster-cuda.so"

void *cuda_library(const char *file)
{
    return dlopen(file, RTLD_NOW | RTLD_LOCAL);
}

bool cuda_symbol(void *library, const char *name, void *out_function)
{
    void *at = dlsym(library, name);
    memcpy(out_function, &at, sizeof(at)); // ISO C has no cast from an object to a function
    return at != NULL;
}

static Str program_path(char *buffer, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buffer, size);
    return n > 0 && (size_t)n < size ? (Str){buffer, (size_t)n} : STR_EMPTY;
}

/** Where the module may lie, the nearest first; returns how many of *out. */
static size_t module_candidates(Arena *arena, Str *out)
{
    char buffer[PATH_MAX];
    Str program = program_path(buffer, sizeof(buffer));
    size_t n = 0;
    if (program.len > 0) {
        Str dir = str_copy(arena, path_dir(program));
        static const char *const beside[] = {MODULE_FILE, "../lib/muster/" MODULE_FILE,
                                             "../" MODULE_LIBDIR "/muster/" MODULE_FILE};
        for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
            out[n++] = path_join(arena, dir, str_from_c(beside[i]));
        }
        if (str_starts_with(program, STR(MODULE_BUILD_ROOT "/"))) { // not installed
            out[n++] = STR(MODULE_BUILD_ROOT "/kernels/cuda/" MODULE_FILE);
        }
    }
    out[n++] = STR(MODULE_INSTALL_DIR "/" MODULE_FILE);
    return n;
}

static void module_open(CudaModule *module)
{
    const KOps *(*ops)(void) = NULL;
    const char *build = NULL;
    void *library = dlopen(module->path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *reason = dlerror();
        snprintf(module->why, sizeof(module->why), "the module can not be loaded: %s",
                 reason != NULL ? reason : module->path);
        return;
    }
    build = dlsym(library, "muster_cuda_build");
    if (build == NULL || !cuda_symbol(library, "muster_cuda_ops", &ops)) {
        snprintf(module->why, sizeof(module->why), "'%s' is not a CUDA module of muster",
                 module->path);
    } else if (strcmp(build, MODULE_BUILD) != 0) {
        snprintf(module->why, sizeof(module->why),
                 "the module '%s' is of another build (%.60s, this program is %s)", module->path,
                 build, MODULE_BUILD);
    } else {
        module->ops = ops();
        if (module->ops == NULL) {
            snprintf(module->why, sizeof(module->why), "the module '%s' has no kernels",
                     module->path);
        }
    }
    if (module->ops == NULL) {
        dlclose(library);
    }
}

void cuda_module_load(CudaModule *out)
{
    *out = (CudaModule){0};
    Arena arena = {0};
    Str candidates[8];
    size_t n = 0;
    Str asked = env_get("MUSTER_CUDA_MODULE", STR_EMPTY);
    if (asked.len > 0) {
        out->asked = true;
        candidates[n++] = asked;
    } else {
        n = module_candidates(&arena, candidates);
    }
    for (size_t i = 0; i < n && out->path[0] == '\0'; i++) {
        if (out->asked || file_exists(candidates[i])) {
            snprintf(out->path, sizeof(out->path), STR_FMT, STR_ARG(candidates[i]));
        }
    }
    if (out->path[0] == '\0') {
        snprintf(out->why, sizeof(out->why),
                 "no module " MODULE_FILE " beside the program or installed");
    } else if (out->asked && !file_exists(asked)) {
        snprintf(out->why, sizeof(out->why), "no module '%s' ($MUSTER_CUDA_MODULE)", out->path);
    } else {
        module_open(out);
    }
    arena_finish(&arena);
}
