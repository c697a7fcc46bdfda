// SPDX-License-Identifier: MIT
// The built-in engine as a sampler: renders chat templates and tokenises on the loop thread, so
// that the engine sees tokens only; turns its results into replies on the engine's driver thread.
#include "sampler/sampler.h"

#include <math.h>
#include <string.h>

#include "engine/engine.h"
#include "kernels/watch.h"
#include "script/script.h"

#define BUCKETS 4096

// Templates that ask for the date get 26 July 2024: a prompt must not change from one day to the
// next.
#define TEMPLATE_NOW 1721952000

/** Which leaves of the engine's request make up one LoglikItem. */
typedef struct ItemLeaves {
    uint32_t first;
    uint32_t n;             // several windows of a long text
    uint32_t unconditional; // UINT32_MAX: not asked for
} ItemLeaves;

/** A request between submit and its completion. */
typedef struct Pending {
    struct Pending *next;
    uint64_t id;
    ItemLeaves *items; // owned; NULL for generation
    size_t n_items;
    bool per_token;
    size_t n_top; // generation: alternatives reported for each token
} Pending;

typedef struct Local {
    Sampler base;
    SamplerHost *host;
    Engine *engine;
    Program *chat;    // NULL without a chat template
    Watch **watches;  // of the devices; in arena
    size_t n_watches; // 0 on a CPU
    bool begun;       // work was given to the engine
    Arena arena;
    Arena scratch;         // of one submit
    pthread_mutex_t mutex; // guards pending
    Pending *pending[BUCKETS];
} Local;

// ---- Pending requests -------------------------------------------------------------------------

static void pending_put(Local *local, Pending *pending)
{
    pthread_mutex_lock(&local->mutex);
    Pending **bucket = &local->pending[rng_mix(pending->id) % BUCKETS];
    pending->next = *bucket;
    *bucket = pending;
    pthread_mutex_unlock(&local->mutex);
}

static Pending *pending_take(Local *local, uint64_t id)
{
    pthread_mutex_lock(&local->mutex);
    Pending **link = &local->pending[rng_mix(id) % BUCKETS];
    while (*link != NULL && (*link)->id != id) {
        link = &(*link)->next;
    }
    Pending *pending = *link;
    if (pending != NULL) {
        *link = pending->next;
    }
    pthread_mutex_unlock(&local->mutex);
    return pending;
}

static void pending_destroy(Pending *pending)
{
    if (pending != NULL) {
        mem_free(pending->items);
        mem_free(pending);
    }
}

// ---- Results to replies: driver thread --------------------------------------------------------

static Value top_value(Arena *arena, const Tokenizer *tokenizer, const EngineToken *token, size_t n)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < n; i++) {
        Str piece = str_copy(arena, tokenizer_piece(tokenizer, token->top_ids[i]));
        map_builder_put(&map, piece, value_real((double)token->top_logprobs[i]));
    }
    return map_builder_done(&map);
}

static void reply_logprobs(Local *local, Arena *arena, const EngineText *text, size_t n_top,
                           Reply *reply)
{
    if (n_top == 0) {
        return;
    }
    const Tokenizer *tokenizer = engine_tokenizer(local->engine);
    TokenLogprob *tokens = ARENA_ARRAY(arena, TokenLogprob, text->n_tokens + 1);
    for (size_t i = 0; i < text->n_tokens; i++) {
        const EngineToken *token = &text->tokens[i];
        tokens[i].token = str_copy(arena, tokenizer_piece(tokenizer, token->id));
        tokens[i].logprob = (double)token->logprob;
        tokens[i].top = top_value(arena, tokenizer, token, n_top);
    }
    reply->logprobs = tokens;
    reply->n_logprobs = text->n_tokens;
}

static void reply_text(Local *local, Arena *arena, const EngineText *text, size_t n_top,
                       Reply *reply)
{
    reply->text = str_copy(arena, text->text);
    reply->stop = text->stop == ENGINE_STOP_LENGTH ? STOP_LENGTH : STOP_STOP;
    reply->usage.output = (int64_t)text->n_tokens;
    reply_logprobs(local, arena, text, n_top, reply);
}

static void reply_generation(Local *local, const Pending *pending, Completion *completion,
                             const EngineResult *result)
{
    size_t n_top = pending->n_top;
    Arena *arena = &completion->arena;
    Reply *reply = &completion->reply;
    reply_text(local, arena, &result->texts[0], n_top, reply);
    if (result->n_texts > 1) {
        Reply *more = ARENA_ARRAY(arena, Reply, result->n_texts - 1);
        for (size_t i = 1; i < result->n_texts; i++) {
            reply_text(local, arena, &result->texts[i], n_top, &more[i - 1]);
            reply->usage.output += more[i - 1].usage.output;
        }
        reply->more = more;
        reply->n_more = result->n_texts - 1;
    }
}

/** Every scored token of an item, over all its windows. */
static void item_tokens(Local *local, Arena *arena, const ItemLeaves *item,
                        const EngineScore *scores, ChoiceLogprob *choice)
{
    size_t n = 0;
    TokenLogprob *tokens = ARENA_ARRAY(arena, TokenLogprob, (size_t)choice->n_tokens + 1);
    for (uint32_t k = item->first; k < item->first + item->n; k++) {
        for (size_t i = 0; i < (size_t)scores[k].n_tokens; i++) {
            int32_t id = scores[k].tokens[i];
            Str piece = tokenizer_piece(engine_tokenizer(local->engine), id);
            tokens[n].token = str_copy(arena, piece);
            tokens[n++].logprob = (double)scores[k].token_logprobs[i];
        }
    }
    choice->tokens = tokens;
    choice->n_logged = n;
}

static void reply_scores(Local *local, const Pending *pending, Completion *completion,
                         const EngineResult *result)
{
    Arena *arena = &completion->arena;
    ChoiceLogprob *choices = ARENA_ARRAY(arena, ChoiceLogprob, pending->n_items);
    for (size_t i = 0; i < pending->n_items; i++) {
        const ItemLeaves *item = &pending->items[i];
        choices[i] = (ChoiceLogprob){.unconditional = (double)NAN, .greedy = true};
        for (uint32_t k = item->first; k < item->first + item->n; k++) {
            choices[i].logprob += result->scores[k].logprob;
            choices[i].n_tokens += result->scores[k].n_tokens;
            choices[i].greedy = choices[i].greedy && result->scores[k].greedy;
        }
        if (item->unconditional != UINT32_MAX) {
            choices[i].unconditional = result->scores[item->unconditional].logprob;
        }
        if (pending->per_token) {
            item_tokens(local, arena, item, result->scores, &choices[i]);
        }
    }
    completion->reply.choices = choices;
    completion->reply.n_choices = pending->n_items;
    completion->reply.stop = STOP_STOP;
}

static void on_done(void *ctx, uint64_t id, const EngineResult *result)
{
    Local *local = ctx;
    Pending *pending = pending_take(local, id);
    Completion *completion = completion_create(id);
    if (result->err != NULL) {
        *completion_fail(completion) = *result->err;
    } else {
        completion->reply.usage.input = (int64_t)result->n_prompt_tokens;
        completion->reply.usage.cached = (int64_t)result->n_cached_tokens;
        completion->reply.seconds = result->seconds;
        if (pending->items != NULL) {
            reply_scores(local, pending, completion, result);
        } else {
            reply_generation(local, pending, completion, result);
        }
    }
    pending_destroy(pending);
    queue_push(local->host->completions, &completion->node);
}

// ---- Prompts to tokens: loop thread -----------------------------------------------------------

static bool chat_render(Local *local, const Prompt *prompt, bool generation_prompt, Arena *arena,
                        Str *out, Err *err)
{
    const Tokenizer *tokenizer = engine_tokenizer(local->engine);
    Value *messages = ARENA_ARRAY(arena, Value, prompt->n_messages + 1);
    for (size_t i = 0; i < prompt->n_messages; i++) {
        messages[i] = message_to_value(arena, &prompt->messages[i]);
    }
    MapBuilder vars;
    map_builder_init(&vars, arena);
    map_builder_put(&vars, STR("messages"), value_list(messages, prompt->n_messages));
    map_builder_put(&vars, STR("add_generation_prompt"), value_bool(generation_prompt));
    map_builder_put(&vars, STR("bos_token"), value_str(tokenizer_bos_text(tokenizer)));
    map_builder_put(&vars, STR("eos_token"), value_str(tokenizer_eos_text(tokenizer)));
    map_builder_put(&vars, STR("now"), value_int(TEMPLATE_NOW));
    Value value = map_builder_done(&vars);
    return script_chat_render(local->host->script, local->chat, &value, arena, out, err);
}

/** The text that is sent: as it is, or through the chat template; a last assistant message is left
 * open. */
static bool prompt_text(Local *local, const Prompt *prompt, Arena *arena, Str *out, Err *err)
{
    if (!prompt->is_chat) {
        *out = prompt->text;
        return true;
    }
    if (local->chat == NULL) {
        return ERR_SET(err, ERR_CONFIG, "the model has no chat template");
    }
    bool open = prompt->n_messages > 0 &&
                str_eq(prompt->messages[prompt->n_messages - 1].role, STR("assistant"));
    if (!chat_render(local, prompt, !open, arena, out, err)) {
        return false;
    }
    if (!open) {
        return true;
    }
    Str last = str_trim(prompt->messages[prompt->n_messages - 1].content);
    size_t at = str_find_last(*out, last);
    if (at == STR_NONE) {
        return ERR_SET(
            err, ERR_CONFIG,
            "the chat template changes the last assistant message, so it can not be continued");
    }
    out->len = at + last.len;
    return true;
}

static bool encode(const Local *local, Str text, Arena *arena, int32_t **ids, size_t *n, Err *err)
{
    return tokenizer_encode(engine_tokenizer(local->engine), text, true, true, arena, ids, n, err);
}

/** What an empty context is conditioned on: BOS, else EOS. */
static bool prefix_token(const Local *local, int32_t *out, Err *err)
{
    const Tokenizer *tokenizer = engine_tokenizer(local->engine);
    int32_t id = tokenizer_bos(tokenizer);
    *out = id >= 0 ? id : tokenizer_eos(tokenizer);
    return *out >= 0 || ERR_SET(err, ERR_MODEL, "the model has neither BOS nor EOS to start from");
}

/** Text alone, after the prefix token: BOS of the tokenizer's own is not doubled. */
static bool encode_alone(const Local *local, Str text, Arena *arena, int32_t **out_ids,
                         size_t *out_n, Err *err)
{
    int32_t prefix;
    int32_t *ids;
    size_t n;
    if (!prefix_token(local, &prefix, err) ||
        !tokenizer_encode(engine_tokenizer(local->engine), text, true, false, arena, &ids, &n,
                          err)) {
        return false;
    }
    bool there = n > 0 && ids[0] == prefix;
    int32_t *with = ARENA_ARRAY(arena, int32_t, n + 1);
    with[0] = prefix;
    if (n > 0) {
        memcpy(with + 1, ids + (there ? 1 : 0), (n - (there ? 1 : 0)) * sizeof(*ids));
    }
    *out_ids = with;
    *out_n = n + (there ? 0 : 1);
    return true;
}

/**
 * Context and text as one string, cut at the context's own token count; trailing spaces of the
 * context belong to the text (DESIGN.md 4.1). An empty context is the prefix token. */
static bool encode_pair(Local *local, const LoglikItem *item, Arena *arena, EngineLeaf *leaf,
                        Str *out_text, Err *err)
{
    Str context;
    if (!prompt_text(local, &item->context, arena, &context, err)) {
        return false;
    }
    *out_text = str_concat(arena, context, item->text);
    int32_t *ids;
    size_t n;
    if (context.len == 0) {
        if (!encode_alone(local, item->text, arena, &ids, &n, err)) {
            return false;
        }
        *leaf = (EngineLeaf){.tokens = ids, .n_tokens = n, .n_context = 1};
        return true;
    }
    size_t kept = context.len;
    while (kept > 0 && memchr(" \t\n\r\f\v", context.data[kept - 1], 6) != NULL) {
        kept--;
    }
    int32_t *context_ids;
    size_t n_context;
    if (!encode(local, *out_text, arena, &ids, &n, err) ||
        !encode(local, str_slice(context, 0, kept), arena, &context_ids, &n_context, err)) {
        return false;
    }
    if (n_context == 0) { // white space alone
        if (!encode_alone(local, *out_text, arena, &ids, &n, err)) {
            return false;
        }
        n_context = 1;
    }
    if (n_context >= n && n > 1) { // nothing of the text is left: its last token is scored
        n_context = n - 1;
    }
    *leaf = (EngineLeaf){.tokens = ids, .n_tokens = n, .n_context = n_context < n ? n_context : n};
    return true;
}

/** A leaf list that grows in an arena. */
typedef struct LeafList {
    EngineLeaf *leaves;
    Str *texts;
    uint32_t n;
    uint32_t cap;
} LeafList;

static void leaf_push(LeafList *list, Arena *arena, EngineLeaf leaf, Str text)
{
    if (list->n == list->cap) {
        uint32_t cap = list->cap == 0 ? 8 : list->cap * 2;
        EngineLeaf *leaves = ARENA_ARRAY(arena, EngineLeaf, cap);
        Str *texts = ARENA_ARRAY(arena, Str, cap);
        if (list->n > 0) {
            memcpy(leaves, list->leaves, list->n * sizeof(*leaves));
            memcpy(texts, list->texts, list->n * sizeof(*texts));
        }
        list->leaves = leaves;
        list->texts = texts;
        list->cap = cap;
    }
    list->leaves[list->n] = leaf;
    list->texts[list->n++] = text;
}

/** A long text as disjoint windows, each conditioned on the token before it. */
static bool push_windows(Local *local, const LoglikItem *item, Arena *arena, LeafList *list,
                         Err *err)
{
    int32_t *ids;
    size_t n;
    if (!encode_alone(local, item->text, arena, &ids, &n, err)) {
        return false;
    }
    size_t window = (size_t)local->base.context_tokens;
    for (size_t from = 0; from + 1 < n; from += window) {
        size_t left = n - from;
        size_t take = left < window + 1 ? left : window + 1;
        leaf_push(list, arena, (EngineLeaf){.tokens = ids + from, .n_tokens = take, .n_context = 1},
                  item->text);
    }
    return true;
}

static bool push_item(Local *local, const Request *request, size_t i, Arena *arena, LeafList *list,
                      ItemLeaves *out, Err *err)
{
    const LoglikItem *item = &request->items[i];
    *out = (ItemLeaves){.first = list->n, .unconditional = UINT32_MAX};
    if (item->window) {
        if (!push_windows(local, item, arena, list, err)) {
            return false;
        }
        out->n = list->n - out->first;
        return true;
    }
    EngineLeaf leaf;
    Str text;
    if (!encode_pair(local, item, arena, &leaf, &text, err)) {
        return false;
    }
    leaf_push(list, arena, leaf, text);
    out->n = 1;
    if (request->unconditional) {
        int32_t *ids;
        size_t n;
        if (!encode_alone(local, item->text, arena, &ids, &n, err)) {
            return false;
        }
        out->unconditional = list->n;
        leaf_push(list, arena, (EngineLeaf){.tokens = ids, .n_tokens = n, .n_context = 1},
                  item->text);
    }
    return true;
}

static bool push_items(Local *local, const Request *request, Arena *arena, LeafList *list,
                       ItemLeaves *items, Err *err)
{
    for (size_t i = 0; i < request->n_items; i++) {
        if (!push_item(local, request, i, arena, list, &items[i], err)) {
            return false;
        }
    }
    return true;
}

static Str request_label(Arena *arena, const Request *request)
{
    return str_printf(arena, "sample " STR_FMT " of " STR_FMT "%s" STR_FMT,
                      STR_ARG(request->sample_id), STR_ARG(request->eval),
                      request->part.len > 0 ? "/" : "", STR_ARG(request->part));
}

// ---- Ops --------------------------------------------------------------------------------------

static bool local_prepare(Sampler *sampler, const Request *request, Arena *arena, Prepared *out,
                          Err *err)
{
    Local *local = (Local *)sampler;
    LeafList list = {0};
    if (request->kind == REQUEST_LOGLIK) {
        ItemLeaves *items = ARENA_ARRAY(arena, ItemLeaves, request->n_items + 1);
        if (!push_items(local, request, arena, &list, items, err)) {
            return false;
        }
    } else {
        Str text;
        int32_t *ids;
        size_t n;
        if (!prompt_text(local, &request->prompt, arena, &text, err) ||
            !encode(local, text, arena, &ids, &n, err)) {
            return false;
        }
        leaf_push(&list, arena, (EngineLeaf){.tokens = ids, .n_tokens = n}, text);
    }
    PreparedSequence *sequences = ARENA_ARRAY(arena, PreparedSequence, list.n + 1);
    for (uint32_t i = 0; i < list.n; i++) {
        sequences[i] = (PreparedSequence){.text = list.texts[i],
                                          .ids = list.leaves[i].tokens,
                                          .n_ids = list.leaves[i].n_tokens,
                                          .n_context = list.leaves[i].n_context};
    }
    bool chat = request->kind == REQUEST_LOGLIK
                    ? request->n_items > 0 && request->items[0].context.is_chat
                    : request->prompt.is_chat;
    *out = (Prepared){.sequences = sequences, .n_sequences = list.n, .used_chat_template = chat};
    return true;
}

static bool submit_scores(Local *local, Pending *pending, const Request *request, EngineRequest *to,
                          Err *err)
{
    LeafList list = {0};
    pending->n_items = request->n_items;
    pending->items = mem_zalloc(request->n_items + 1, sizeof(*pending->items));
    if (!push_items(local, request, &local->scratch, &list, pending->items, err)) {
        return false;
    }
    if (list.n == 0) {
        return ERR_SET(err, ERR_USAGE, "nothing to score");
    }
    to->leaves = list.leaves;
    to->n_leaves = list.n;
    to->per_token = request->per_token;
    return true;
}

static bool submit_generation(Local *local, const Pending *pending, const Request *request,
                              EngineRequest *to, Err *err)
{
    Str text;
    int32_t *ids;
    size_t n;
    if (!prompt_text(local, &request->prompt, &local->scratch, &text, err) ||
        !encode(local, text, &local->scratch, &ids, &n, err)) {
        return false;
    }
    if (n == 0) {
        int32_t *prefix = ARENA_NEW(&local->scratch, int32_t);
        if (!prefix_token(local, prefix, err)) {
            return false;
        }
        ids = prefix;
        n = 1;
    }
    const GenSettings *settings = &request->settings;
    to->prompt = ids;
    to->n_prompt = n;
    to->max_tokens = settings->max_tokens;
    to->picker = (PickerSettings){.temperature = settings->temperature,
                                  .top_k = settings->top_k,
                                  .top_p = settings->top_p,
                                  .min_p = settings->min_p,
                                  .seed = request->seed};
    to->n_replies = request->n > 0 ? request->n : 1;
    to->stop = settings->stop;
    to->n_stop = settings->n_stop;
    to->top_logprobs = (int64_t)pending->n_top;
    return true;
}

static bool local_submit(Sampler *sampler, uint64_t id, const Request *request, Err *err)
{
    Local *local = (Local *)sampler;
    Pending *pending = mem_zalloc(1, sizeof(*pending));
    arena_reset(&local->scratch); // the engine copies what it needs
    pending->id = id;
    pending->per_token = request->per_token;
    if (request->kind == REQUEST_GENERATE && request->settings.logprobs > 0) {
        size_t vocab = tokenizer_vocab(engine_tokenizer(local->engine));
        size_t n_top = (size_t)request->settings.logprobs;
        pending->n_top = n_top < vocab ? n_top : vocab;
    }
    EngineRequest to = {.label = request_label(&local->scratch, request)};
    bool ok = request->kind == REQUEST_LOGLIK
                  ? submit_scores(local, pending, request, &to, err)
                  : submit_generation(local, pending, request, &to, err);
    if (!ok) {
        pending_destroy(pending);
        return false;
    }
    pending_put(local, pending);
    if (!engine_submit(local->engine, id, &to, err)) {
        pending_destroy(pending_take(local, id));
        return false;
    }
    return true;
}

static void local_quiesce(Sampler *sampler, bool closed)
{
    Local *local = (Local *)sampler;
    for (size_t i = 0; i < local->n_watches && !local->begun; i++) { // another model may have run
        watch_begin(local->watches[i]);
    }
    local->begun = true;
    engine_quiesce(local->engine, closed);
}

static void local_cancel(Sampler *sampler, uint64_t id)
{
    engine_cancel(((Local *)sampler)->engine, id);
}

/** Add what was seen of another device; a sensor that one of them lacks is not known of all. */
static void device_stats_add(DeviceStats *sum, const WatchStats *seen)
{
    bool first = sum->n_devices == 0;
    double n = sum->n_devices++;
    sum->n_samples = first || seen->n_samples < sum->n_samples ? seen->n_samples : sum->n_samples;
    sum->busy_mean = (sum->busy_mean * n + seen->busy_mean) / (n + 1);
    sum->busy_least = first ? seen->busy_mean : fmin(sum->busy_least, seen->busy_mean);
    sum->busy_max = first ? seen->busy_max : fmax(sum->busy_max, seen->busy_max);
    sum->memory_peak_bytes += seen->memory_peak_bytes;
    sum->memory_bytes += seen->memory_bytes;
    sum->power_mean_w += seen->power_mean_w;
    sum->power_max_w += seen->power_max_w;
    sum->temperature_max_c =
        first ? seen->temperature_max_c : fmax(sum->temperature_max_c, seen->temperature_max_c);
    sum->energy_j += seen->energy_j;
}

static void device_stats(const Local *local, DeviceStats *out)
{
    for (size_t i = 0; i < local->n_watches && local->begun; i++) {
        WatchStats seen = {0};
        watch_stats(local->watches[i], &seen);
        device_stats_add(out, &seen);
    }
}

static void local_stats(const Sampler *sampler, SamplerStats *out)
{
    EngineStats stats;
    const Local *local = (const Local *)sampler;
    engine_stats(local->engine, &stats);
    *out = (SamplerStats){
        .prefill_tokens_total = stats.prefill_tokens_total,
        .prefill_tokens_needed = stats.prefill_tokens_needed,
        .prefill_tokens_computed = stats.prefill_tokens_computed,
        .decode_tokens = stats.decode_tokens,
        .plan_seconds = stats.plan_seconds,
        .prefill_seconds = stats.prefill_seconds,
        .decode_seconds = stats.decode_seconds,
        .first_token_seconds = stats.first_token_seconds,
        .seconds_left = stats.seconds_left,
        .kv_peak_bytes = stats.kv_peak_bytes,
        .kv_pool_bytes = stats.kv_pool_bytes,
        .kv_asked_bytes = stats.kv_asked_bytes,
        .plan_requests = stats.plan.requests,
        .plan_tokens = stats.plan.tokens,
        .plan_distinct = stats.plan.distinct,
        .plan_new_tokens = stats.plan.new_tokens,
        .plan_kv_bytes = stats.plan.kv_bytes,
        .plan_devices = stats.plan.n_devices,
        .plan_pieces = stats.plan.pieces,
        .plan_doubled = stats.plan.doubled,
        .plan_least = stats.plan.tokens_least,
        .plan_most = stats.plan.tokens_most,
        .devices_lost = stats.n_lost,
    };
    memcpy(out->device_lost_why, stats.lost_why, sizeof(out->device_lost_why));
    device_stats(local, &out->device);
}

static void local_close(Sampler *sampler)
{
    Local *local = (Local *)sampler;
    engine_close(local->engine);
    for (size_t i = 0; i < local->n_watches; i++) {
        watch_stop(local->watches[i]);
    }
    if (local->chat != NULL) {
        script_program_destroy(local->host->script, local->chat);
    }
    pthread_mutex_destroy(&local->mutex);
    arena_finish(&local->scratch);
    arena_finish(&local->arena);
    mem_free(local);
}

static bool local_chat_open(Local *local, const Model *model, Err *err)
{
    Str text = model->chat_template.len > 0
                   ? model->chat_template
                   : tokenizer_chat_template(engine_tokenizer(local->engine));
    if (text.len == 0) {
        return true;
    }
    if (!script_chat_create(local->host->script, STR("chat template"), text, &local->chat, err)) {
        return ERR_WRAP(err, "chat template of '" STR_FMT "'", STR_ARG(model->spec));
    }
    local->base.caps |= CAP_CHAT;
    return true;
}

static void local_describe(Local *local, const SamplerSettings *settings)
{
    const EngineModelInfo *info = engine_model_info(local->engine);
    local->base.context_tokens = info->context_tokens;
    local->base.identity = info->file_hash;
    local->base.description =
        str_printf(&local->arena, STR_FMT " " STR_FMT ", %lld layers, " STR_FMT "%s",
                   STR_ARG(info->name), STR_ARG(info->weights_type), (long long)info->n_layers,
                   STR_ARG(info->device_words), settings->precision_f32 ? ", f32" : "");
    local->base.device = info->device;
    local->base.device_words = info->device_words;
    if (info->device_note.len > 0) {
        local->base.note = str_printf(&local->arena, STR_FMT "; no CUDA: " STR_FMT,
                                      STR_ARG(info->device_words), STR_ARG(info->device_note));
    } else if (settings->fast) { // the words say which libraries there are
        local->base.note = info->device_words;
    }
}

/** Sensors are a help, not a need: without them a run just has less to tell. */
static void watch_devices(Local *local)
{
    const EngineModelInfo *info = engine_model_info(local->engine);
    Err err = ERR_INIT;
    local->watches = ARENA_ARRAY(&local->arena, Watch *, info->n_gpus + 1);
    for (size_t i = 0; i < info->n_gpus; i++) {
        if (watch_start(info->gpus[i], &local->watches[local->n_watches], &err)) {
            local->n_watches++;
        } else {
            log_debug("no sensors of cuda:%d: %s", info->gpus[i], err.message);
        }
    }
}

static bool local_open(const Model *model, SamplerHost *host, Sampler **out, Err *err)
{
    const SamplerSettings *settings = host->settings;
    Local *local = mem_zalloc(1, sizeof(*local));
    local->base =
        (Sampler){.ops = &sampler_local, .caps = CAP_TEXT | CAP_LOGLIK | CAP_SEED | CAP_WANTS_ALL};
    local->host = host;
    arena_init(&local->arena, 4096);
    arena_init(&local->scratch, 1 << 16);
    pthread_mutex_init(&local->mutex, NULL);
    EngineOptions options = {
        .model_path = model->path,
        .device = settings->device.len > 0 ? settings->device : STR("auto"),
        .tp = settings->tp,
        .n_gpus = settings->gpus == SAMPLER_GPUS_ALL ? ENGINE_GPUS_ALL : settings->gpus,
        .threads = settings->threads,
        .precision = settings->precision_f32 ? PRECISION_F32
                     : settings->fast        ? PRECISION_FAST
                                             : PRECISION_DEFAULT,
        .kv_bytes = settings->kv_bytes,
    };
    if (!engine_open(&options, on_done, local, &local->engine, err) ||
        !local_chat_open(local, model, err)) {
        local_close(&local->base);
        bool asked_wrongly = err->code == ERR_USAGE; // --tp on a CPU
        bool device = err->code == ERR_DEVICE || err->code == ERR_ENVIRONMENT;
        err->code = asked_wrongly || device ? err->code : ERR_MODEL;
        return false;
    }
    local_describe(local, settings);
    watch_devices(local);
    *out = &local->base;
    return true;
}

const SamplerOps sampler_local = {
    .provider = "local",
    .help = "the built-in engine: GGUF models on this machine",
    .open = local_open,
    .prepare = local_prepare,
    .submit = local_submit,
    .quiesce = local_quiesce,
    .cancel = local_cancel,
    .stats = local_stats,
    .close = local_close,
};
