// SPDX-License-Identifier: MIT
// The table of samplers, and what they share. A new sampler is one file and one row.
#include "sampler/sampler_internal.h"

const SamplerOps *const sampler_table[] = {
    &sampler_local, &sampler_openai, &sampler_replay, &sampler_echo, NULL,
};

static Err no_error; // what a completion that did not fail points to; never written

Completion *completion_create(uint64_t id)
{
    Completion *completion = mem_zalloc(1, sizeof *completion);
    completion->id = id;
    completion->err = &no_error;
    arena_init(&completion->arena, 512); // many are alive at once, most are small
    return completion;
}

Err *completion_fail(Completion *completion)
{
    if (completion->failed) {
        static _Thread_local Err later;
        return &later;
    }
    completion->failed = true;
    completion->err = mem_zalloc(1, sizeof(Err));
    return completion->err;
}

void completion_destroy(Completion *completion)
{
    if (completion != NULL) {
        if (completion->err != &no_error) {
            mem_free(completion->err);
        }
        arena_finish(&completion->arena);
        mem_free(completion);
    }
}

static bool provider_unknown(Str provider, Err *err)
{
    enum { PROVIDERS_MAX = 16 };
    Str names[PROVIDERS_MAX];
    size_t n = 0;
    Buf list = {0};
    for (; sampler_table[n] != NULL && n < PROVIDERS_MAX; n++) {
        names[n] = str_from_c(sampler_table[n]->provider);
        buf_printf(&list, "%s%s", n > 0 ? ", " : "", sampler_table[n]->provider);
    }
    size_t nearest = str_nearest(provider, names, n);
    int shown = (int)(provider.len < 60 ? provider.len : 60);
    if (nearest != STR_NONE) {
        ERR_SET(err, ERR_USAGE, "unknown provider '%.*s': did you mean '" STR_FMT "'?", shown,
                provider.data, STR_ARG(names[nearest]));
    } else {
        ERR_SET(err, ERR_USAGE, "unknown provider '%.*s' (there are %s)", shown, provider.data,
                list.data);
    }
    buf_finish(&list);
    return false;
}

bool sampler_open(const Model *model, SamplerHost *host, Sampler **out, Err *err)
{
    for (size_t i = 0; sampler_table[i] != NULL; i++) {
        if (str_eq_c(model->provider, sampler_table[i]->provider)) {
            return sampler_table[i]->open(model, host, out, err);
        }
    }
    return provider_unknown(model->provider, err);
}

bool sampler_prepare_plain(const Request *request, Arena *arena, Prepared *out)
{
    bool scores = request->kind == REQUEST_LOGLIK;
    size_t n = scores ? request->n_items : 1;
    PreparedSequence *sequences = ARENA_ARRAY(arena, PreparedSequence, n);
    size_t n_text = 0;
    bool chat = false;
    for (size_t i = 0; i < n; i++) {
        const Prompt *prompt = scores ? &request->items[i].context : &request->prompt;
        bool windowed = scores && request->items[i].window;
        if (prompt->is_chat && !windowed) {
            chat = true; // a chat has no text of its own here: the body shows it
            continue;
        }
        Str text = windowed ? STR_EMPTY : prompt->text;
        if (scores) {
            text = str_concat(arena, text, request->items[i].text);
        }
        sequences[n_text++].text = text;
    }
    *out = (Prepared){.sequences = sequences, .n_sequences = n_text, .body = value_null()};
    if (chat) {
        out->body = request_to_value(arena, request);
    }
    return true;
}
