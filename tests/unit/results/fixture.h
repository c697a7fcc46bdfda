// SPDX-License-Identifier: MIT
// A store in a folder of its own, and short ways to fill it, for the tests of results/.
#pragma once

#include "results/results.h"
#include "text/text.h"

#include "../tap.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/** A fresh folder with the path of a store that does not exist yet. */
typedef struct Place {
    char dir[256];
    char db[300];
} Place;

static inline Place place_make(void)
{
    Place place;
    const char *tmp = getenv("TMPDIR");
    snprintf(place.dir, sizeof(place.dir), "%s/muster-results-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(place.dir) == NULL) {
        perror("mkdtemp");
        abort();
    }
    snprintf(place.db, sizeof(place.db), "%s/muster.db", place.dir);
    return place;
}

static inline void place_remove(const Place *place)
{
    DIR *dir = opendir(place->dir);
    for (struct dirent *entry = dir != NULL ? readdir(dir) : NULL; entry != NULL;
         entry = readdir(dir)) {
        char name[600];
        snprintf(name, sizeof(name), "%s/%s", place->dir, entry->d_name);
        if (entry->d_name[0] != '.') {
            unlink(name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    rmdir(place->dir);
}

static inline Hash hash_of(const char *text)
{
    return sha256_of(str_from_c(text));
}

/** A metric as RunSpec.metrics wants it. */
static inline Value metric_value(Arena *arena, Str use, Str of, Str average,
                                 const char *const *graders)
{
    size_t n = 0;
    while (graders[n] != NULL) {
        n++;
    }
    Value *names = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        names[i] = value_str(str_from_c(graders[i]));
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("use"), value_str(use));
    map_builder_put(&map, STR("of"), value_str(of));
    map_builder_put(&map, STR("average"), value_str(average));
    map_builder_put(&map, STR("over"), value_str(STR_EMPTY));
    map_builder_put(&map, STR("graders"), value_list(names, n));
    return map_builder_done(&map);
}

/** A run of eval "demo" with accuracy over grader "exact". */
static inline RunSpec run_make(Arena *arena, const char *part, const char *model)
{
    static const char *const graders[] = {"exact", NULL};
    Value *metrics = ARENA_ARRAY(arena, Value, 1);
    metrics[0] = metric_value(arena, STR("accuracy"), STR_EMPTY, STR_EMPTY, graders);
    MapBuilder spec;
    map_builder_init(&spec, arena);
    map_builder_put(&spec, STR("solver"), value_str(STR("generate")));
    return (RunSpec){
        .eval = STR("demo"),
        .eval_version = 1,
        .part = str_from_c(part),
        .variant = STR_EMPTY,
        .model = str_from_c(model),
        .n_planned = 10,
        .epochs = 1,
        .eval_hash = hash_of("eval"),
        .program_hash = hash_of("program"),
        .data_hash = hash_of("data"),
        .model_hash = hash_of(model),
        .spec = map_builder_done(&spec),
        .metrics = value_list(metrics, 1),
    };
}

/** A seed as the only setting. */
static inline ExperimentSpec experiment_make(Arena *arena, Str name, int64_t seed,
                                             const RunSpec *runs, size_t n_runs)
{
    MapBuilder settings;
    map_builder_init(&settings, arena);
    map_builder_put(&settings, STR("seed"), value_int(seed));
    map_builder_put(&settings, STR("limit"), value_null());
    MapBuilder spec;
    map_builder_init(&spec, arena);
    map_builder_put(&spec, STR("settings"), map_builder_done(&settings));
    return (ExperimentSpec){
        .name = name, .spec = map_builder_done(&spec), .runs = runs, .n_runs = n_runs};
}

/** A right or wrong answer to sample i; texts live as long as the arena. */
static inline AttemptRow attempt_make(Arena *arena, int64_t run_id, int64_t i, int64_t epoch,
                                      double value)
{
    Score *score = ARENA_NEW(arena, Score);
    *score = (Score){
        .grader = STR("exact"),
        .state = SCORE_VALUE,
        .value = value,
        .is_boolean = true,
        .weight = 1,
        .answer = str_printf(arena, "%lld", (long long)i),
        .has_answer = true,
        .why = STR("compared"),
    };
    return (AttemptRow){
        .key = (uint64_t)i,
        .run_id = run_id,
        .sample_id = str_printf(arena, "%lld", (long long)i),
        .epoch = epoch,
        .sample_hash = sha256_of(str_printf(arena, "sample %lld", (long long)i)),
        .input = str_printf(arena, "What is %lld?", (long long)i),
        .target = str_printf(arena, "[\"%lld\"]", (long long)i),
        .metadata = STR("{}"),
        .prompt = str_printf(arena, "Q: What is %lld?\nA:", (long long)i),
        .state = ATTEMPT_DONE,
        .reply_text = str_printf(arena, " %lld", (long long)i),
        .stop = STOP_STOP,
        .usage = {.input = 10, .output = 2},
        .seconds = 0.25,
        .cost_usd = (double)NAN,
        .scores = score,
        .n_scores = 1,
    };
}

/** The call that attempt_make's answer came from. */
static inline bool call_put(Store *store, const AttemptRow *row, const char *path, Err *err)
{
    Request request = {
        .kind = REQUEST_GENERATE,
        .seed = 0xfedcba9876543210u,
        .prompt = {.text = row->prompt},
        .settings = gen_settings_default(),
        .n = 1,
    };
    Reply reply = {
        .text = row->reply_text,
        .stop = STOP_STOP,
        .usage = row->usage,
        .seconds = row->seconds,
        .cost_usd = (double)NAN,
    };
    return store_put_call(store, row->run_id, row->sample_id, row->epoch, str_from_c(path),
                          &request, &reply, err);
}

static inline Store *store_at(const Place *place, StoreCommitted *on_committed, void *ctx)
{
    Store *store = NULL;
    Err err = ERR_INIT;
    StoreOptions options = {
        .path = str_from_c(place->db), .on_committed = on_committed, .ctx = ctx};
    CHECK_OK(store_open(&options, &store, &err), &err);
    return store;
}

static inline Results *results_at(const Place *place)
{
    Results *results = NULL;
    Err err = ERR_INIT;
    CHECK_OK(results_open(str_from_c(place->db), &results, &err), &err);
    return results;
}

/** JSON text as a value. */
static inline Value json(Arena *arena, const char *text)
{
    Err err = ERR_INIT;
    Value value = value_null();
    CHECK_OK(json_parse(arena, str_from_c(text), NULL, &value, NULL, &err), &err);
    return value;
}

static inline bool has_text(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}
