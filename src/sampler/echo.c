// SPDX-License-Identifier: MIT
// The sampler for trying evals out and for measuring everything else: it replies the prompt, a
// chat's last user message, and makes log-likelihoods up from a hash, the same for the same text
// for ever. Every request completes inside submit.
#include "sampler/sampler_internal.h"

#include <math.h>
#include <string.h>

/** The open sampler. */
typedef struct Echo {
    Sampler base;
    SamplerHost *host;
    SamplerStats stats;
} Echo;

static bool echo_open(const Model *model, SamplerHost *host, Sampler **out, Err *err)
{
    (void)model;
    (void)err;
    Echo *echo = mem_zalloc(1, sizeof *echo);
    echo->base = (Sampler){.ops = &sampler_echo,
                           // A schema is taken and means nothing: it makes up no JSON.
                           .caps = CAP_CHAT | CAP_TEXT | CAP_LOGLIK | CAP_SEED | CAP_GRAMMAR,
                           .max_in_flight = 256,
                           .identity = sha256_of(STR("muster.echo.1")),
                           .description = STR("echo: replies the prompt")};
    echo->host = host;
    *out = &echo->base;
    return true;
}

static bool echo_prepare(Sampler *sampler, const Request *request, Arena *arena, Prepared *out,
                         Err *err)
{
    (void)sampler;
    (void)err;
    return sampler_prepare_plain(request, arena, out);
}

/** What is echoed: the text, or the content of the last message that a user sent. */
static Str prompt_echo(const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return prompt->text;
    }
    for (size_t i = prompt->n_messages; i-- > 0;) {
        if (str_eq(prompt->messages[i].role, STR("user"))) {
            return prompt->messages[i].content;
        }
    }
    return STR_EMPTY;
}

/** Our token: white space, then what is not white space. Advances *at; empty at the end. */
static Str token_next(Str text, size_t *at)
{
    static const char space[] = " \t\n\r";
    size_t start = *at;
    size_t i = start;
    while (i < text.len && memchr(space, text.data[i], sizeof space - 1) != NULL) {
        i++;
    }
    while (i < text.len && memchr(space, text.data[i], sizeof space - 1) == NULL) {
        i++;
    }
    *at = i;
    return str_slice(text, start, i);
}

static int64_t token_count(Str text)
{
    int64_t n = 0;
    for (size_t at = 0; token_next(text, &at).len > 0;) {
        n++;
    }
    return n;
}

static int64_t prompt_tokens(const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return token_count(prompt->text);
    }
    int64_t n = 0;
    for (size_t i = 0; i < prompt->n_messages; i++) {
        n += token_count(prompt->messages[i].content);
    }
    return n;
}

static uint64_t prompt_hash(const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return hash_fast(prompt->text.data, prompt->text.len);
    }
    uint64_t hash = 1;
    for (size_t i = 0; i < prompt->n_messages; i++) {
        const Message *message = &prompt->messages[i];
        hash = rng_mix(hash ^ hash_fast(message->role.data, message->role.len));
        hash = rng_mix(hash ^ hash_fast(message->content.data, message->content.len));
    }
    return hash;
}

/** Fill the tokens of text when wanted; returns the sum of their log-probabilities. */
static double score(uint64_t context, Str text, TokenLogprob *tokens, bool *out_greedy)
{
    double sum = 0;
    size_t n = 0;
    *out_greedy = true;
    for (size_t at = 0;;) {
        Str token = token_next(text, &at);
        if (token.len == 0) {
            return sum;
        }
        double unit = rng_at(context, hash_fast(text.data, at), n);
        double logprob = -0.125 - 2 * unit;
        *out_greedy = *out_greedy && unit < 0.5;
        sum += logprob;
        if (tokens != NULL) {
            tokens[n] = (TokenLogprob){.token = token, .logprob = logprob, .top = value_null()};
        }
        n++;
    }
}

static void reply_scores(const Request *request, Arena *arena, Reply *out)
{
    ChoiceLogprob *choices = ARENA_ARRAY(arena, ChoiceLogprob, request->n_items);
    for (size_t i = 0; i < request->n_items; i++) {
        const LoglikItem *item = &request->items[i];
        Str text = str_copy(arena, item->text);
        uint64_t context = item->window ? 0 : prompt_hash(&item->context);
        ChoiceLogprob *choice = &choices[i];
        *choice =
            (ChoiceLogprob){.unconditional = (double)NAN, .n_tokens = token_count(item->text)};
        TokenLogprob *tokens = NULL;
        if (request->per_token) {
            choice->n_logged = (size_t)choice->n_tokens;
            tokens = ARENA_ARRAY(arena, TokenLogprob, choice->n_logged);
        }
        choice->logprob = score(context, text, tokens, &choice->greedy);
        choice->tokens = tokens;
        if (request->unconditional) {
            bool ignored;
            choice->unconditional = score(0, text, NULL, &ignored);
        }
        out->usage.input += choice->n_tokens;
        if (!item->window) {
            out->usage.input += prompt_tokens(&item->context);
        }
    }
    out->choices = choices;
    out->n_choices = request->n_items;
}

static void reply_text(const Request *request, Arena *arena, Reply *out)
{
    out->text = str_copy(arena, prompt_echo(&request->prompt));
    out->usage.input = prompt_tokens(&request->prompt);
    out->usage.output = token_count(out->text) * (request->n > 1 ? request->n : 1);
    if (request->n > 1) {
        out->n_more = (size_t)request->n - 1;
        Reply *more = ARENA_ARRAY(arena, Reply, out->n_more);
        for (size_t i = 0; i < out->n_more; i++) {
            more[i] = (Reply){.text = out->text, .cost_usd = (double)NAN};
        }
        out->more = more;
    }
}

static bool echo_submit(Sampler *sampler, uint64_t id, const Request *request, Err *err)
{
    Echo *echo = (Echo *)sampler;
    (void)err;
    Completion *completion = completion_create(id);
    Reply *reply = &completion->reply;
    *reply = (Reply){.text = STR_EMPTY, .stop = STOP_STOP, .cost_usd = 0};
    switch (request->kind) {
    case REQUEST_GENERATE:
        reply_text(request, &completion->arena, reply);
        break;
    case REQUEST_LOGLIK:
        reply_scores(request, &completion->arena, reply);
        break;
    }
    echo->stats.requests++;
    queue_push(echo->host->completions, &completion->node);
    return true;
}

static void echo_stats(const Sampler *sampler, SamplerStats *out)
{
    *out = ((const Echo *)sampler)->stats;
}

static void echo_close(Sampler *sampler)
{
    mem_free(sampler);
}

const SamplerOps sampler_echo = {
    .provider = "echo",
    .help = "replies the prompt; log-likelihoods are made up (for trying evals out)",
    .open = echo_open,
    .prepare = echo_prepare,
    .submit = echo_submit,
    .stats = echo_stats,
    .close = echo_close,
};
