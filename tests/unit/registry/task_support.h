// SPDX-License-Identifier: MIT
// What the tests of tasks share: an eval from text, its tasks, samples and their failures.
#pragma once

#include "support.h"

static Registry *registry;

/** Load an eval from text; NULL with the faults printed when it has any. */
static inline const Eval *load(const char *text)
{
    Faults faults;
    faults_init(&faults, &test_arena);
    Err err = ERR_INIT;
    const Eval *eval = NULL;
    if (!CHECK_OK(
            registry_eval(registry, test_file("e.yaml", str_from_c(text)), &faults, &eval, &err),
            &err)) {
        printf("# %.*s\n", STR_ARG(test_faults(&faults)));
        return NULL;
    }
    return eval;
}

static inline Task *open_seeded(const Eval *eval, const char *part, size_t variant, uint64_t seed)
{
    Task *task = NULL;
    Err err = ERR_INIT;
    if (eval != NULL) {
        CHECK_OK(registry_task_open(registry, eval, str_from_c(part), &eval->variants[variant],
                                    seed, &task, &err),
                 &err);
    }
    return task;
}

static inline Task *open_task(const Eval *eval, const char *part, size_t variant)
{
    return open_seeded(eval, part, variant, 1);
}

static inline Sample sample_of(Task *task, size_t index)
{
    Sample sample = {0};
    Err err = ERR_INIT;
    if (task != NULL) {
        CHECK_OK(registry_task_sample(registry, task, index, &test_arena, &sample, &err), &err);
    }
    return sample;
}

/** The error that opening the only part, or rendering sample index, gives. */
static inline Str failure(const char *text, size_t index)
{
    const Eval *eval = load(text);
    Task *task = NULL;
    Sample sample;
    Err err = ERR_INIT;
    if (eval != NULL &&
        registry_task_open(registry, eval, STR_EMPTY, &eval->variants[0], 1, &task, &err)) {
        CHECK(!registry_task_sample(registry, task, index, &test_arena, &sample, &err));
    }
    registry_task_close(registry, task);
    return str_copy(&test_arena, str_from_c(err.message));
}

static inline Str json_of(const Value *value)
{
    Buf buf = {0};
    json_write(&buf, value, JSON_COMPACT);
    Str text = str_copy(&test_arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

/** A prompt as one text: "user: a|assistant: b" for a chat. */
static inline Str prompt_text(const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return prompt->text;
    }
    Str out = STR_EMPTY;
    for (size_t i = 0; i < prompt->n_messages; i++) {
        const Message *message = &prompt->messages[i];
        out = str_printf(&test_arena, STR_FMT "%s" STR_FMT "%s" STR_FMT ": " STR_FMT, STR_ARG(out),
                         i > 0 ? "|" : "", STR_ARG(message->role), message->name.len > 0 ? "/" : "",
                         STR_ARG(message->name), STR_ARG(message->content));
    }
    return out;
}

#define TAIL "solver: {use: generate}\ngraders: [{use: exact}]\n"
