// SPDX-License-Identifier: MIT
// A request as a JSON value, and its hash. Only what can change an answer is in it: who asks (eval,
// part, sample, epoch, call) and the seed are not, so that equal questions hash alike; the cache
// adds the seed and the model's identity to its key.
#include "eval/eval.h"

static bool is_own_member(Str key)
{
    return str_eq(key, STR("role")) || str_eq(key, STR("content")) || str_eq(key, STR("name"));
}

Value message_to_value(Arena *arena, const Message *message)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("role"), value_str(message->role));
    map_builder_put(&map, STR("content"), value_str(message->content));
    if (message->name.len > 0) {
        map_builder_put(&map, STR("name"), value_str(message->name));
    }
    if (message->extra.kind == VALUE_MAP) {
        for (size_t i = 0; i < message->extra.as.map.n; i++) {
            const ValuePair *pair = &message->extra.as.map.pairs[i];
            if (!is_own_member(pair->key)) {
                map_builder_put(&map, pair->key, pair->value);
            }
        }
    }
    return map_builder_done(&map);
}

static void put_prompt(MapBuilder *map, const Prompt *prompt)
{
    if (!prompt->is_chat) {
        map_builder_put(map, STR("prompt"), value_str(prompt->text));
        return;
    }
    Value *items = ARENA_ARRAY(map->arena, Value, prompt->n_messages);
    for (size_t i = 0; i < prompt->n_messages; i++) {
        items[i] = message_to_value(map->arena, &prompt->messages[i]);
    }
    map_builder_put(map, STR("messages"), value_list(items, prompt->n_messages));
}

static void put_settings(MapBuilder *map, const GenSettings *settings)
{
    map_builder_put(map, STR("max_tokens"), value_int(settings->max_tokens));
    map_builder_put(map, STR("temperature"), value_real(settings->temperature));
    map_builder_put(map, STR("top_p"), value_real(settings->top_p));
    map_builder_put(map, STR("min_p"), value_real(settings->min_p));
    map_builder_put(map, STR("top_k"), value_int(settings->top_k));
    map_builder_put(map, STR("logprobs"), value_int(settings->logprobs));
    Value *stop = ARENA_ARRAY(map->arena, Value, settings->n_stop);
    for (size_t i = 0; i < settings->n_stop; i++) {
        stop[i] = value_str(settings->stop[i]);
    }
    map_builder_put(map, STR("stop"), value_list(stop, settings->n_stop));
    if (settings->schema.kind != VALUE_NULL) {
        map_builder_put(map, STR("schema"), settings->schema);
    }
}

static void put_items(MapBuilder *map, const Request *request)
{
    Value *items = ARENA_ARRAY(map->arena, Value, request->n_items);
    for (size_t i = 0; i < request->n_items; i++) {
        const LoglikItem *item = &request->items[i];
        MapBuilder one;
        map_builder_init(&one, map->arena);
        if (!item->window) {
            put_prompt(&one, &item->context);
        }
        map_builder_put(&one, STR("text"), value_str(item->text));
        if (item->window) {
            map_builder_put(&one, STR("window"), value_bool(true));
        }
        items[i] = map_builder_done(&one);
    }
    map_builder_put(map, STR("items"), value_list(items, request->n_items));
}

Value request_to_value(Arena *arena, const Request *request)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    switch (request->kind) {
    case REQUEST_GENERATE:
        map_builder_put(&map, STR("kind"), value_str(STR("generate")));
        put_prompt(&map, &request->prompt);
        put_settings(&map, &request->settings);
        map_builder_put(&map, STR("n"), value_int(request->n));
        break;
    case REQUEST_LOGLIK:
        map_builder_put(&map, STR("kind"), value_str(STR("loglik")));
        put_items(&map, request);
        map_builder_put(&map, STR("unconditional"), value_bool(request->unconditional));
        map_builder_put(&map, STR("per_token"), value_bool(request->per_token));
        break;
    }
    if (request->role.len > 0) {
        map_builder_put(&map, STR("role"), value_str(request->role));
    }
    return map_builder_done(&map);
}

Hash request_hash(const Request *request)
{
    Arena arena;
    arena_init(&arena, 4096);
    Value value = request_to_value(&arena, request);
    Sha256 sha;
    hash_begin(&sha, STR("muster.request.1"));
    hash_value(&sha, &value);
    arena_finish(&arena);
    return hash_end(&sha);
}
