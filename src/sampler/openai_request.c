// SPDX-License-Identifier: MIT
// Bodies for chat completions and completions. Only what was asked for is sent: servers refuse
// members that they do not know.
#include "sampler/openai_internal.h"

#include "text/text.h"

static Value text_value(const char *text)
{
    return value_str(str_from_c(text));
}

/** Arguments of a tool call as JSON text, which is how the API wants them. */
static Value arguments_text(Arena *arena, const Value *arguments)
{
    if (arguments == NULL || arguments->kind == VALUE_STR) {
        return arguments != NULL ? *arguments : text_value("{}");
    }
    Buf buf = {0};
    json_write(&buf, arguments, JSON_COMPACT);
    Value text = value_str(str_copy(arena, buf_view(&buf)));
    buf_finish(&buf);
    return text;
}

/** Our tool calls {id, name, arguments} in the API's shape; those that have it already stay. */
static Value tool_calls_out(Arena *arena, const Value *calls)
{
    if (calls->kind != VALUE_LIST) {
        return *calls;
    }
    Value *items = ARENA_ARRAY(arena, Value, calls->as.list.n);
    for (size_t i = 0; i < calls->as.list.n; i++) {
        const Value *call = &calls->as.list.items[i];
        const Value *name = value_get_c(call, "name");
        if (name == NULL || value_get_c(call, "function") != NULL) {
            items[i] = *call;
            continue;
        }
        MapBuilder function;
        map_builder_init(&function, arena);
        map_builder_put(&function, STR("name"), *name);
        map_builder_put(&function, STR("arguments"),
                        arguments_text(arena, value_get_c(call, "arguments")));
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("id"), value_str(value_get_str(call, "id", STR_EMPTY)));
        map_builder_put(&map, STR("type"), text_value("function"));
        map_builder_put(&map, STR("function"), map_builder_done(&function));
        items[i] = map_builder_done(&map);
    }
    return value_list(items, calls->as.list.n);
}

static Value message_out(Arena *arena, const Message *message)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("role"), value_str(message->role));
    map_builder_put(&map, STR("content"), value_str(message->content));
    if (message->name.len > 0) {
        map_builder_put(&map, STR("name"), value_str(message->name));
    }
    for (size_t i = 0; message->extra.kind == VALUE_MAP && i < message->extra.as.map.n; i++) {
        const ValuePair *pair = &message->extra.as.map.pairs[i];
        bool own = str_eq(pair->key, STR("role")) || str_eq(pair->key, STR("content")) ||
                   str_eq(pair->key, STR("name"));
        if (str_eq(pair->key, STR("tool_calls"))) {
            map_builder_put(&map, pair->key, tool_calls_out(arena, &pair->value));
        } else if (!own) {
            map_builder_put(&map, pair->key, pair->value);
        }
    }
    return map_builder_done(&map);
}

/** Put the messages; a last assistant message is continued where servers have a way to say so. */
static bool put_messages(const Endpoint *endpoint, const Prompt *prompt, MapBuilder *map, Err *err)
{
    Value *items = ARENA_ARRAY(map->arena, Value, prompt->n_messages);
    for (size_t i = 0; i < prompt->n_messages; i++) {
        items[i] = message_out(map->arena, &prompt->messages[i]);
    }
    map_builder_put(map, STR("messages"), value_list(items, prompt->n_messages));
    const Message *last = prompt->n_messages > 0 ? &prompt->messages[prompt->n_messages - 1] : NULL;
    if (last == NULL || !str_eq(last->role, STR("assistant"))) {
        return true;
    }
    if (endpoint->is_openai) {
        return ERR_SET(err, ERR_MODEL,
                       "api.openai.com can not continue a last assistant message: end the chat "
                       "with a user message, or use another server");
    }
    map_builder_put(map, STR("add_generation_prompt"), value_bool(false));
    map_builder_put(map, STR("continue_final_message"), value_bool(true));
    return true;
}

static void put_schema(const GenSettings *settings, MapBuilder *map)
{
    if (settings->schema.kind == VALUE_NULL) {
        return;
    }
    MapBuilder schema;
    map_builder_init(&schema, map->arena);
    map_builder_put(&schema, STR("name"), text_value("reply"));
    map_builder_put(&schema, STR("strict"), value_bool(true));
    map_builder_put(&schema, STR("schema"), settings->schema);
    MapBuilder format;
    map_builder_init(&format, map->arena);
    map_builder_put(&format, STR("type"), text_value("json_schema"));
    map_builder_put(&format, STR("json_schema"), map_builder_done(&schema));
    map_builder_put(map, STR("response_format"), map_builder_done(&format));
}

static void put_settings(const Endpoint *endpoint, const Request *request, MapBuilder *map)
{
    const GenSettings *settings = &request->settings;
    bool chat = request->prompt.is_chat;
    Str max_tokens = chat && endpoint->is_openai ? STR("max_completion_tokens") : STR("max_tokens");
    map_builder_put(map, max_tokens, value_int(settings->max_tokens));
    map_builder_put(map, STR("temperature"), value_real(settings->temperature));
    if (settings->top_p < 1) {
        map_builder_put(map, STR("top_p"), value_real(settings->top_p));
    }
    if (settings->top_k > 0) {
        map_builder_put(map, STR("top_k"), value_int(settings->top_k));
    }
    if (settings->min_p > 0) {
        map_builder_put(map, STR("min_p"), value_real(settings->min_p));
    }
    if (settings->n_stop > 0) {
        Value *stop = ARENA_ARRAY(map->arena, Value, settings->n_stop);
        for (size_t i = 0; i < settings->n_stop; i++) {
            stop[i] = value_str(settings->stop[i]);
        }
        map_builder_put(map, STR("stop"), value_list(stop, settings->n_stop));
    }
    if (settings->temperature > 0) { // 31 bits: what every server takes
        map_builder_put(map, STR("seed"), value_int((int64_t)(request->seed >> 33)));
    }
    if (request->n > 1) {
        map_builder_put(map, STR("n"), value_int(request->n));
    }
    if (settings->logprobs > 0 && chat) {
        map_builder_put(map, STR("logprobs"), value_bool(true));
        map_builder_put(map, STR("top_logprobs"), value_int(settings->logprobs));
    } else if (settings->logprobs > 0) {
        map_builder_put(map, STR("logprobs"), value_int(settings->logprobs));
    }
    put_schema(settings, map);
}

/** The body with settings.request merged over it. */
static Value body_done(const Endpoint *endpoint, const MapBuilder *map)
{
    Value body = map_builder_done(map);
    if (endpoint->request.kind != VALUE_MAP) {
        return body;
    }
    MapBuilder merged;
    map_builder_init(&merged, map->arena);
    for (size_t i = 0; i < body.as.map.n; i++) {
        const ValuePair *pair = &body.as.map.pairs[i];
        if (value_get(&endpoint->request, pair->key) == NULL) {
            map_builder_put(&merged, pair->key, pair->value);
        }
    }
    for (size_t i = 0; i < endpoint->request.as.map.n; i++) {
        const ValuePair *pair = &endpoint->request.as.map.pairs[i];
        if (pair->value.kind != VALUE_NULL) {
            map_builder_put(&merged, pair->key, pair->value);
        }
    }
    return map_builder_done(&merged);
}

bool openai_generate_body(const Endpoint *endpoint, const Request *request, Arena *arena,
                          Value *out, Err *err)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("model"), value_str(endpoint->model));
    if (!request->prompt.is_chat) {
        map_builder_put(&map, STR("prompt"), value_str(request->prompt.text));
    } else if (!put_messages(endpoint, &request->prompt, &map, err)) {
        return false;
    }
    put_settings(endpoint, request, &map);
    *out = body_done(endpoint, &map);
    return true;
}

size_t openai_score_parts(const Request *request)
{
    return request->unconditional ? request->n_items * 2 : request->n_items;
}

bool openai_score_part(const Endpoint *endpoint, const Request *request, size_t i, Arena *arena,
                       ScorePart *out, Err *err)
{
    const LoglikItem *item = &request->items[i % request->n_items];
    bool alone = i >= request->n_items || item->window;
    if (!alone && item->context.is_chat) {
        return ERR_SET(err, ERR_MODEL,
                       "endpoints give no log-likelihoods after a chat: give the eval a `prompt:`, "
                       "or let the solver read replies (`by: reply`)");
    }
    Str context = alone ? STR_EMPTY : item->context.text;
    if (context.len == 0) {
        context = endpoint->bos;
    }
    *out = (ScorePart){.prompt = str_concat(arena, context, item->text), .text = item->text};
    return true;
}

Value openai_score_body(const Endpoint *endpoint, const ScorePart *part, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("model"), value_str(endpoint->model));
    map_builder_put(&map, STR("prompt"), value_str(part->prompt));
    map_builder_put(&map, STR("max_tokens"), value_int(1)); // some servers take 0 for no limit
    map_builder_put(&map, STR("temperature"), value_real(0));
    map_builder_put(&map, STR("echo"), value_bool(true));
    map_builder_put(&map, STR("logprobs"), value_int(1));
    return body_done(endpoint, &map);
}
