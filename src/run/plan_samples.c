// SPDX-License-Identifier: MIT
// Which samples of each part are asked for, by id: globs that somebody typed, and exact ids of
// parts that stand for what failed before. Looked up before limits and shards.
#include "run/run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAREST_IDS_MAX 100000 // looked through for a did-you-mean

bool config_filters(const RunConfig *config)
{
    return config->n_samples > 0 || config->among != NULL;
}

void sample_filter_init(SampleFilter *filter, const RunConfig *config, Arena *arena)
{
    *filter = (SampleFilter){
        .config = config,
        .arena = arena,
        .met = ARENA_ARRAY(arena, bool, config->n_samples + 1),
        .n_there = ARENA_ARRAY(arena, size_t, config->n_among + 1),
        .looked_at = ARENA_ARRAY(arena, bool, config->n_among + 1),
    };
}

static int compare_ids(const void *a, const void *b)
{
    return str_cmp(*(const Str *)a, *(const Str *)b);
}

static bool among_has(const RunSampleIds *among, Str id)
{
    return bsearch(&id, among->ids, among->n, sizeof(*among->ids), compare_ids) != NULL;
}

/** Every glob that matches is noted, so that none is called useless that another one hides. */
static bool globs_take(SampleFilter *filter, Str id)
{
    bool taken = filter->config->n_samples == 0;
    for (size_t i = 0; i < filter->config->n_samples; i++) {
        if (glob_match(filter->config->samples[i], id)) {
            filter->met[i] = true;
            taken = true;
        }
    }
    return taken;
}

/** The place in config->among of a cell's part, or STR_NONE. */
static size_t among_find(const RunConfig *config, const Cell *cell)
{
    for (size_t i = 0; i < config->n_among; i++) {
        if (str_eq(config->among[i].eval, cell->task->eval->name) &&
            str_eq(config->among[i].part, cell->task->part)) {
            return i;
        }
    }
    return STR_NONE;
}

bool sample_filter_cell(SampleFilter *filter, Cell *cell, Err *err)
{
    const RunConfig *config = filter->config;
    size_t n = cell->task->n_samples;
    cell->n_samples = n;
    if (!config_filters(config)) {
        return true;
    }
    size_t at = config->among == NULL ? STR_NONE : among_find(config, cell);
    if (config->n_samples == 0 && at == STR_NONE) {
        cell->n_samples = 0; // its ids need not be known, nor be good
        return true;
    }
    uint32_t *picked = mem_alloc(n + 1, sizeof(*picked));
    size_t n_picked = 0;
    size_t n_there = 0;
    Arena scratch = {0};
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        Str id;
        arena_reset(&scratch);
        ok = registry_task_id(config->registry, cell->task, i, &scratch, &id, err);
        bool known = ok && at != STR_NONE && among_has(&config->among[at], id);
        n_there += known;
        if (ok && globs_take(filter, id) && (known || config->among == NULL)) {
            picked[n_picked++] = (uint32_t)i;
        }
    }
    arena_finish(&scratch);
    if (ok && at != STR_NONE) {
        filter->looked_at[at] = true;
        filter->n_there[at] = n_there;
    }
    uint32_t *kept = ARENA_ARRAY(filter->arena, uint32_t, n_picked + 1);
    memcpy(kept, picked, n_picked * sizeof(*kept));
    mem_free(picked);
    cell->picked = kept;
    cell->n_samples = n_picked;
    return ok;
}

// ---- What was not found -----------------------------------------------------------------------

/** An id for a message: whatever the data has in it, and not too long. */
static Str id_words(Arena *arena, Str id)
{
    Buf buf = {0};
    Str start = str_slice(id, 0, id.len < 60 ? id.len : 60);
    report_text(&buf, start, false);
    Str words = str_printf(arena, "'" STR_FMT "%s'", STR_ARG(buf_view(&buf)),
                           start.len < id.len ? "..." : "");
    buf_finish(&buf);
    return words;
}

static bool only_digits(Str word)
{
    for (size_t i = 0; i < word.len; i++) {
        if (word.data[i] < '0' || word.data[i] > '9') {
            return false;
        }
    }
    return true;
}

/** The ids of all cells, as far as they can be told. */
static size_t ids_collect(const SampleFilter *filter, const Plan *plan, Arena *arena, Str *out)
{
    size_t n = 0;
    for (size_t c = 0; c < plan->n_cells; c++) {
        for (size_t i = 0; i < plan->cells[c].task->n_samples && n < NEAREST_IDS_MAX; i++) {
            Err ignored = ERR_INIT;
            n += registry_task_id(filter->config->registry, plan->cells[c].task, i, arena, &out[n],
                                  &ignored);
        }
    }
    return n;
}

static bool glob_unmet(const SampleFilter *filter, const Plan *plan, Str glob, Err *err)
{
    Arena arena = {0};
    Str *ids = mem_alloc(NEAREST_IDS_MAX, sizeof(*ids));
    size_t n = ids_collect(filter, plan, &arena, ids);
    bool is_glob =
        str_find(glob, STR("*"), 0) != STR_NONE || str_find(glob, STR("?"), 0) != STR_NONE;
    // Numbers are all near to each other.
    size_t near = is_glob || only_digits(glob) ? STR_NONE : str_nearest(glob, ids, n);
    Str wanted = id_words(&arena, glob);
    Str more = STR_EMPTY;
    if (near != STR_NONE) {
        Str word = id_words(&arena, ids[near]);
        more = str_printf(&arena, "; did you mean " STR_FMT "?", STR_ARG(word));
    } else if (n > 0) {
        const Task *task = plan->cells[0].task;
        size_t last = task->n_samples > 0 && task->n_samples <= n ? task->n_samples - 1 : n - 1;
        Str words[2] = {id_words(&arena, ids[0]), id_words(&arena, ids[last])};
        more = str_printf(&arena,
                          " (those of " STR_FMT "%s" STR_FMT " go from " STR_FMT " to " STR_FMT ")",
                          STR_ARG(task->eval->name), task->part.len > 0 ? "/" : "",
                          STR_ARG(task->part), STR_ARG(words[0]), STR_ARG(words[1]));
    }
    ERR_SET(err, ERR_USAGE, "--sample: no sample's id %s " STR_FMT STR_FMT,
            is_glob ? "matches" : "is", STR_ARG(wanted), STR_ARG(more));
    mem_free(ids);
    arena_finish(&arena);
    return false;
}

bool sample_filter_check(const SampleFilter *filter, const Plan *plan, Err *err)
{
    const RunConfig *config = filter->config;
    for (size_t i = 0; i < config->n_samples; i++) {
        if (!filter->met[i]) {
            return glob_unmet(filter, plan, config->samples[i], err);
        }
    }
    size_t n_gone = 0;
    for (size_t i = 0; i < config->n_among; i++) {
        n_gone += filter->looked_at[i] ? config->among[i].n - filter->n_there[i] : 0;
    }
    if (n_gone > 0 && config->on_note != NULL) {
        char line[120];
        int n =
            snprintf(line, sizeof(line), "%zu of the samples that failed %s not in the data now",
                     n_gone, n_gone == 1 ? "is" : "are");
        config->on_note(config->ctx, true, (Str){line, (size_t)n});
    }
    return true;
}

// ---- The spec ---------------------------------------------------------------------------------

/** Equal sets are equal settings, however they were typed. */
static Value ids_value(Arena *arena, const Str *ids, size_t n)
{
    Str *sorted = ARENA_ARRAY(arena, Str, n + 1);
    Value *items = ARENA_ARRAY(arena, Value, n + 1);
    size_t n_items = 0;
    memcpy(sorted, ids, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), compare_ids);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || !str_eq(sorted[i - 1], sorted[i])) {
            items[n_items++] = value_str(sorted[i]);
        }
    }
    return value_list(items, n_items);
}

void plan_samples_put(const RunConfig *config, MapBuilder *settings)
{
    Arena *arena = settings->arena;
    if (config->n_samples > 0) {
        map_builder_put(settings, STR("samples"),
                        ids_value(arena, config->samples, config->n_samples));
    }
    if (config->among == NULL) {
        return;
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < config->n_among; i++) {
        const RunSampleIds *part = &config->among[i];
        Str key = part->part.len == 0 ? part->eval
                                      : str_printf(arena, STR_FMT "/" STR_FMT, STR_ARG(part->eval),
                                                   STR_ARG(part->part));
        map_builder_put(&map, key, ids_value(arena, part->ids, part->n));
    }
    map_builder_put(settings, STR("sample_ids"), map_builder_done(&map));
}
