// SPDX-License-Identifier: MIT
// replay/EXPERIMENT: the replies of a stored experiment as a replay file beside the store. One run
// model and variant only, since a replay line is known by eval, part, sample, epoch and call alone.
#include "cli/cli.h"

#include <string.h>

#include "text/text.h"

#define RECORDED_BYTES_MAX ((size_t)2 << 30)

typedef struct Recorder {
    Buf lines;
    Str first_model; // copies in arena
    Str first_variant;
    Arena arena;
    bool mixed;
} Recorder;

/** One line for each call of an attempt: who asked, then the reply's own members. */
static void record_call(Recorder *recorder, const AttemptInfo *attempt, const Value *call)
{
    const Value *reply = value_get_c(call, "reply");
    if (reply == NULL || reply->kind != VALUE_MAP) {
        return;
    }
    Arena arena = {0};
    MapBuilder map;
    map_builder_init(&map, &arena);
    map_builder_put(&map, STR("eval"), value_str(attempt->eval));
    map_builder_put(&map, STR("part"), value_str(attempt->part));
    map_builder_put(&map, STR("id"), value_str(attempt->sample_id));
    map_builder_put(&map, STR("epoch"), value_int(attempt->epoch));
    map_builder_put(&map, STR("call"), value_str(value_get_str(call, "path", STR_EMPTY)));
    for (size_t i = 0; i < reply->as.map.n; i++) {
        map_builder_put(&map, reply->as.map.pairs[i].key, reply->as.map.pairs[i].value);
    }
    Value line = map_builder_done(&map);
    json_write(&recorder->lines, &line, JSON_COMPACT);
    buf_char(&recorder->lines, '\n');
    arena_finish(&arena);
}

static bool record_attempt(void *ctx, const AttemptInfo *attempt)
{
    Recorder *recorder = ctx;
    if (recorder->first_model.len == 0) {
        recorder->first_model = str_copy(&recorder->arena, attempt->model);
        recorder->first_variant = str_copy(&recorder->arena, attempt->variant);
    }
    if (!str_eq(recorder->first_model, attempt->model) ||
        !str_eq(recorder->first_variant, attempt->variant)) {
        recorder->mixed = true;
        return false;
    }
    for (size_t i = 0; attempt->calls.kind == VALUE_LIST && i < attempt->calls.as.list.n; i++) {
        record_call(recorder, attempt, &attempt->calls.as.list.items[i]);
    }
    return true;
}

static bool record_experiment(Cli *cli, Results *results, Str name, Recorder *recorder,
                              Str *out_path, Err *err)
{
    ExperimentInfo info;
    AttemptFilter filter = {.with_calls = true};
    if (!results_experiment(results, &cli->arena, name, &info, err) ||
        !results_attempts(results, info.id, &filter, record_attempt, recorder, err)) {
        return false;
    }
    if (recorder->mixed) {
        return ERR_SET(err, ERR_USAGE,
                       "experiment '" STR_FMT "' holds several models or variants: its replies can "
                       "not be told apart",
                       STR_ARG(name));
    }
    if (recorder->lines.len == 0 || recorder->lines.overflow) {
        return ERR_SET(err, ERR_USAGE, "experiment '" STR_FMT "' has %s replies to replay",
                       STR_ARG(name), recorder->lines.overflow ? "too many" : "no");
    }
    *out_path =
        path_join(&cli->arena, path_dir(cli_store_path(cli)),
                  str_printf(&cli->arena, "replay-" STR_FMT ".jsonl", STR_ARG(info.short_id)));
    return file_write_atomic(*out_path, buf_view(&recorder->lines), err);
}

static bool recorded_file(Cli *cli, Str experiment, Str *out_path, Err *err)
{
    Results *results = NULL;
    Recorder recorder = {0};
    buf_init(&recorder.lines, RECORDED_BYTES_MAX);
    bool ok = results_open(cli_store_path(cli), &results, err) &&
              record_experiment(cli, results, experiment, &recorder, out_path, err);
    results_close(results);
    buf_finish(&recorder.lines);
    arena_finish(&recorder.arena);
    return ok;
}

bool cli_model(Cli *cli, Str spec, const Model **out, Err *err)
{
    Str provider;
    Str name;
    Err none = ERR_INIT;
    if (registry_model(cli->registry, spec, out, err)) {
        return true;
    }
    bool recorded = str_cut(spec, STR("/"), &provider, &name) && str_eq(provider, STR("replay"));
    if (err->code != ERR_NOT_FOUND || !recorded) {
        err->code = err->code == ERR_NOT_FOUND ? ERR_MODEL : err->code; // nothing to run on
        return false;
    }
    Str path;
    if (!recorded_file(cli, name, &path, &none)) {
        if (none.code != ERR_NOT_FOUND) {
            *err = none;
        } else {
            err->code = ERR_MODEL; // neither a file nor an experiment: the first message says so
        }
        return false;
    }
    *err = (Err)ERR_INIT;
    const Model *found = NULL;
    if (!registry_model(cli->registry, str_concat(&cli->arena, STR("replay/"), path), &found,
                        err)) {
        return false;
    }
    Model *named = ARENA_NEW(&cli->arena, Model);
    *named = *found;
    named->spec = spec; // as the user knows it
    *out = named;
    return true;
}
