// SPDX-License-Identifier: MIT
// The replies of an experiment as recorded ones: what `-m replay/FILE` reads.
#include "results/export_internal.h"

#include "text/text.h"

/** One line for each call of an attempt: who asked, then the reply's own members. */
static void put_call(Buf *buf, const AttemptInfo *attempt, const Value *call)
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
    json_write(buf, &line, JSON_COMPACT);
    buf_char(buf, '\n');
    arena_finish(&arena);
}

static bool replay_attempt(void *ctx, const AttemptInfo *attempt)
{
    ExportWriter *writer = ctx;
    for (size_t i = 0; attempt->calls.kind == VALUE_LIST && i < attempt->calls.as.list.n; i++) {
        put_call(&writer->buf, attempt, &attempt->calls.as.list.items[i]);
    }
    return export_flush(writer, false);
}

/** A line is known by eval, part, sample, epoch and call alone. */
static bool one_model_check(const Side *side, Err *err)
{
    for (size_t i = 1; i < side->n_runs; i++) {
        const RunInfo *first = &side->runs[0];
        const RunInfo *run = &side->runs[i];
        if (!str_eq(run->model, first->model) || !str_eq(run->variant, first->variant)) {
            return ERR_SET(err, ERR_USAGE,
                           "experiment '" STR_FMT
                           "' holds several models or variants, whose replies can not be told "
                           "apart: choose with " STR_FMT ":%s=..",
                           STR_ARG(side->experiment.name), STR_ARG(side->experiment.name),
                           str_eq(run->model, first->model) ? "variant" : "model");
        }
    }
    return true;
}

static bool replay_write(Results *results, const Side *side, const ExportOptions *options, Err *err)
{
    if (!one_model_check(side, err)) {
        return false;
    }
    ExportWriter writer;
    export_begin(&writer, options, err);
    return export_end(&writer,
                      export_visit(results, side, true, replay_attempt, &writer, &writer, err));
}

const ExportFormat export_replay = {
    .name = "replay",
    .help = "the replies alone, for -m replay/FILE",
    .ending = "jsonl",
    .write = replay_write,
};
