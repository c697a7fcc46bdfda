// SPDX-License-Identifier: MIT
// Every sample of an eval as the registry renders it, one JSON object a line, for render_rows.py.
//   samples REGISTRY CACHE MIRROR EVAL [SEED]     MIRROR may be ""
#include "registry/registry.h"

#include <stdio.h>
#include <stdlib.h>

static Arena arena; // of one line

static Value texts_value(const Str *texts, size_t n)
{
    Value *items = ARENA_ARRAY(&arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        items[i] = value_str(texts[i]);
    }
    return value_list(items, n);
}

static Value choices_value(const Sample *sample)
{
    Value *items = ARENA_ARRAY(&arena, Value, sample->n_choices + 1);
    for (size_t i = 0; i < sample->n_choices; i++) {
        MapBuilder map;
        map_builder_init(&map, &arena);
        map_builder_put(&map, STR("text"), value_str(sample->choices[i].text));
        if (sample->choices[i].has_context) {
            map_builder_put(&map, STR("context"), value_str(sample->choices[i].context));
        }
        items[i] = map_builder_done(&map);
    }
    return value_list(items, sample->n_choices);
}

static Value prompt_value(const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return value_str(prompt->text);
    }
    Value *items = ARENA_ARRAY(&arena, Value, prompt->n_messages + 1);
    for (size_t i = 0; i < prompt->n_messages; i++) {
        items[i] = message_to_value(&arena, &prompt->messages[i]);
    }
    return value_list(items, prompt->n_messages);
}

static void print_sample(const Sample *sample)
{
    MapBuilder map;
    map_builder_init(&map, &arena);
    map_builder_put(&map, STR("variant"), value_str(sample->variant));
    map_builder_put(&map, STR("part"), value_str(sample->part));
    map_builder_put(&map, STR("row_number"), value_int(sample->row_number));
    map_builder_put(&map, STR("id"), value_str(sample->id));
    map_builder_put(&map, STR("input"), sample->input);
    map_builder_put(&map, STR("choices"), choices_value(sample));
    map_builder_put(&map, STR("target"), texts_value(sample->targets, sample->n_targets));
    Value *correct = ARENA_ARRAY(&arena, Value, sample->n_correct + 1);
    for (size_t i = 0; i < sample->n_correct; i++) {
        correct[i] = value_int(sample->correct[i]);
    }
    map_builder_put(&map, STR("correct"), value_list(correct, sample->n_correct));
    map_builder_put(&map, STR("metadata"), sample->metadata);
    map_builder_put(&map, STR("cluster"),
                    sample->has_cluster ? value_str(sample->cluster) : value_null());
    map_builder_put(&map, STR("files"), sample->files);
    map_builder_put(&map, STR("prompt"), prompt_value(&sample->prompt));
    Value value = map_builder_done(&map);
    Buf buf = {0};
    json_write(&buf, &value, JSON_COMPACT);
    printf("%.*s\n", (int)buf.len, buf.data);
    buf_finish(&buf);
}

static bool print_task(Registry *registry, Task *task, Err *err)
{
    for (size_t i = 0; i < task->n_samples; i++) {
        Sample sample;
        if (!registry_task_sample(registry, task, i, &arena, &sample, err)) {
            return false;
        }
        print_sample(&sample);
        arena_reset(&arena);
    }
    return true;
}

static bool print_eval(Registry *registry, const Eval *eval, uint64_t seed, Err *err)
{
    Str *parts = NULL;
    size_t n = 0;
    bool ok = registry_parts(registry, eval, &parts, &n, err);
    for (size_t v = 0; ok && v < eval->n_variants; v++) {
        for (size_t p = 0; ok && p < n; p++) {
            Task *task = NULL;
            ok = registry_task_open(registry, eval, parts[p], &eval->variants[v], seed, &task,
                                    err) &&
                 print_task(registry, task, err);
            registry_task_close(registry, task);
        }
    }
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "samples REGISTRY CACHE MIRROR EVAL [SEED]\n");
        return 2;
    }
    Err err = ERR_INIT;
    Script *script = NULL;
    Registry *registry = NULL;
    const Eval *eval = NULL;
    Arena kept = {0};
    Faults faults;
    faults_init(&faults, &kept);
    Str path = str_from_c(argv[1]);
    RegistryOptions options = {.paths = &path,
                               .n_paths = 1,
                               .cache_dir = str_from_c(argv[2]),
                               .mirror_dir = str_from_c(argv[3])};
    uint64_t seed = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    bool ok = script_create(NULL, &script, &err) &&
              registry_create(&options, script, &registry, &err) &&
              registry_eval(registry, str_from_c(argv[4]), &faults, &eval, &err) &&
              print_eval(registry, eval, seed, &err);
    if (!ok) {
        fprintf(stderr, "%s\n", err.message);
    }
    registry_destroy(registry);
    script_destroy(script);
    arena_finish(&arena);
    arena_finish(&kept);
    return ok ? 0 : 1;
}
