// SPDX-License-Identifier: MIT
// A folder with an eval, a registry and a store, for tests of the loop.
#pragma once

#include "../tap.h"
#include "fake_sampler.h"
#include "run/run.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct World {
    Arena arena;
    Script *script;
    Registry *registry;
    char dir[64];
    const Eval *eval;
    RunTarget target;
    Model model;
    const Model *models[1];
    RunConfig config;
    RunOutcome outcome;
} World;

static inline void world_write(World *world, const char *name, const char *text)
{
    Err err = ERR_INIT;
    Str path = path_join(&world->arena, str_from_c(world->dir), str_from_c(name));
    CHECK_OK(file_write_atomic(path, str_from_c(text), &err), &err);
}

/** A world around one eval file; rows.jsonl gets n rows {id, q, a}. */
static inline void world_open(World *world, const char *yaml, size_t n_rows)
{
    *world = (World){.dir = "/tmp/muster-run-XXXXXX"};
    CHECK(mkdtemp(world->dir) != NULL);
    world_write(world, "eval.yaml", yaml);
    Str path = path_join(&world->arena, str_from_c(world->dir), STR("rows.jsonl"));
    FILE *rows = fopen(str_to_c(&world->arena, path), "w");
    for (size_t i = 0; i < n_rows; i++) {
        fprintf(rows, "{\"id\": \"s%zu\", \"q\": \"what is %zu\", \"a\": \"s%zu/0\"}\n", i, i, i);
    }
    fclose(rows);
    world->model = (Model){.spec = STR("fake"), .provider = STR("fake")};
    world->models[0] = &world->model;
}

static inline void world_load(World *world)
{
    Err err = ERR_INIT;
    Faults faults;
    faults_init(&faults, &world->arena);
    RegistryOptions options = {.cache_dir = str_from_c(world->dir)};
    CHECK_OK(script_create(NULL, &world->script, &err), &err);
    CHECK_OK(registry_create(&options, world->script, &world->registry, &err), &err);
    Str path = path_join(&world->arena, str_from_c(world->dir), STR("eval.yaml"));
    CHECK_OK(registry_eval(world->registry, path, &faults, &world->eval, &err), &err);
    world->target = (RunTarget){.eval = world->eval};
    world->config = (RunConfig){
        .registry = world->registry,
        .script = world->script,
        .targets = &world->target,
        .n_targets = 1,
        .models = world->models,
        .n_models = 1,
        .store_path = path_join(&world->arena, str_from_c(world->dir), STR("store.db")),
        .events_fd = -1,
        .grace_ms = 50,
    };
}

static inline bool world_run(World *world, Err *err)
{
    return run_experiment(&world->config, &world->arena, &world->outcome, err);
}

static inline void world_close(World *world)
{
    registry_destroy(world->registry);
    script_destroy(world->script);
    Str *names = NULL;
    size_t n = 0;
    Err err = ERR_INIT;
    if (file_list(&world->arena, str_from_c(world->dir), &names, &n, &err)) {
        for (size_t i = 0; i < n; i++) {
            unlink(str_to_c(&world->arena,
                            path_join(&world->arena, str_from_c(world->dir), names[i])));
        }
    }
    rmdir(world->dir);
    arena_finish(&world->arena);
}
