// SPDX-License-Identifier: MIT
// A reply as a JSON value and back. What is read may come from anybody's replay file, so every
// member's kind and range is checked. JSON has no infinities: a log-probability of -inf is the text
// "-inf"; NaN is a member left out.
#include "eval/eval.h"

#include <math.h>

static void put_number(MapBuilder *map, Str key, double number)
{
    if (isfinite(number)) {
        map_builder_put(map, key, value_real(number));
    } else if (!isnan(number)) {
        map_builder_put(map, key, value_str(number > 0 ? STR("inf") : STR("-inf")));
    }
}

static void put_text(MapBuilder *map, Str key, Str text)
{
    if (text.len > 0) {
        map_builder_put(map, key, value_str(text));
    }
}

static Value tokens_to_value(Arena *arena, const TokenLogprob *tokens, size_t n)
{
    Value *items = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("token"), value_str(tokens[i].token));
        put_number(&map, STR("logprob"), tokens[i].logprob);
        if (tokens[i].top.kind != VALUE_NULL) {
            map_builder_put(&map, STR("top"), tokens[i].top);
        }
        items[i] = map_builder_done(&map);
    }
    return value_list(items, n);
}

static Value choices_to_value(Arena *arena, const ChoiceLogprob *choices, size_t n)
{
    Value *items = ARENA_ARRAY(arena, Value, n);
    for (size_t i = 0; i < n; i++) {
        const ChoiceLogprob *choice = &choices[i];
        MapBuilder map;
        map_builder_init(&map, arena);
        put_number(&map, STR("logprob"), choice->logprob);
        put_number(&map, STR("unconditional"), choice->unconditional);
        map_builder_put(&map, STR("tokens"), value_int(choice->n_tokens));
        map_builder_put(&map, STR("greedy"), value_bool(choice->greedy));
        if (choice->by_letter) {
            map_builder_put(&map, STR("by_letter"), value_bool(true));
        }
        if (choice->n_logged > 0) {
            map_builder_put(&map, STR("per_token"),
                            tokens_to_value(arena, choice->tokens, choice->n_logged));
        }
        items[i] = map_builder_done(&map);
    }
    return value_list(items, n);
}

static Value usage_to_value(Arena *arena, const Usage *usage)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("input"), value_int(usage->input));
    map_builder_put(&map, STR("output"), value_int(usage->output));
    map_builder_put(&map, STR("cached"), value_int(usage->cached));
    map_builder_put(&map, STR("reasoning"), value_int(usage->reasoning));
    return map_builder_done(&map);
}

Value reply_to_value(Arena *arena, const Reply *reply)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("text"), value_str(reply->text));
    map_builder_put(&map, STR("stop"), value_str(str_from_c(stop_reason_word(reply->stop))));
    put_text(&map, STR("refusal"), reply->refusal);
    put_text(&map, STR("reasoning"), reply->reasoning);
    if (reply->tool_calls.kind != VALUE_NULL) {
        map_builder_put(&map, STR("tool_calls"), reply->tool_calls);
    }
    if (reply->n_choices > 0) {
        map_builder_put(&map, STR("choices"),
                        choices_to_value(arena, reply->choices, reply->n_choices));
    }
    if (reply->n_logprobs > 0) {
        map_builder_put(&map, STR("logprobs"),
                        tokens_to_value(arena, reply->logprobs, reply->n_logprobs));
    }
    map_builder_put(&map, STR("usage"), usage_to_value(arena, &reply->usage));
    put_number(&map, STR("seconds"), reply->seconds);
    put_number(&map, STR("cost_usd"), reply->cost_usd);
    if (reply->n_more > 0) {
        Value *more = ARENA_ARRAY(arena, Value, reply->n_more);
        for (size_t i = 0; i < reply->n_more; i++) {
            more[i] = reply_to_value(arena, &reply->more[i]);
        }
        map_builder_put(&map, STR("more"), value_list(more, reply->n_more));
    }
    return map_builder_done(&map);
}

// ---- Reading ----------------------------------------------------------------------------------

/** The member of a map; NULL when it is absent or null. */
static const Value *member(const Value *map, const char *key)
{
    const Value *value = value_get_c(map, key);
    return value == NULL || value->kind == VALUE_NULL ? NULL : value;
}

static bool wrong_kind(const char *key, const char *want, const Value *got, Err *err)
{
    return ERR_SET(err, ERR_REPLY, "'%s' has to be %s, not %s", key, want, value_kind_word(got));
}

static bool read_text(const Value *map, const char *key, Str *out, Err *err)
{
    const Value *value = member(map, key);
    *out = STR_EMPTY;
    if (value == NULL) {
        return true;
    }
    if (value->kind != VALUE_STR) {
        return wrong_kind(key, "text", value, err);
    }
    *out = value->as.str;
    return true;
}

/** A number, or the text inf or -inf; false for other kinds and NaN. */
static bool number_from(const Value *value, double *out)
{
    if (value->kind == VALUE_INT) {
        *out = (double)value->as.integer;
        return true;
    }
    if (value->kind == VALUE_STR && str_eq(value->as.str, STR("-inf"))) {
        *out = -(double)INFINITY;
        return true;
    }
    if (value->kind == VALUE_STR && str_eq(value->as.str, STR("inf"))) {
        *out = (double)INFINITY;
        return true;
    }
    if (value->kind == VALUE_REAL && !isnan(value->as.real)) {
        *out = value->as.real;
        return true;
    }
    return false;
}

static bool read_number(const Value *map, const char *key, double otherwise, double *out, Err *err)
{
    const Value *value = member(map, key);
    *out = otherwise;
    return value == NULL || number_from(value, out) || wrong_kind(key, "a number", value, err);
}

static bool read_count(const Value *map, const char *key, int64_t *out, Err *err)
{
    const Value *value = member(map, key);
    *out = 0;
    if (value == NULL) {
        return true;
    }
    const double exact_below = 0x1p53;
    if (value->kind == VALUE_INT && value->as.integer >= 0) {
        *out = value->as.integer;
    } else if (value->kind == VALUE_REAL && value->as.real >= 0 && value->as.real < exact_below &&
               value->as.real == floor(value->as.real)) {
        *out = (int64_t)value->as.real;
    } else if (value->kind == VALUE_INT || value->kind == VALUE_REAL) {
        return ERR_SET(err, ERR_REPLY, "'%s' has to be a whole number from 0", key);
    } else {
        return wrong_kind(key, "a whole number", value, err);
    }
    return true;
}

static bool read_flag(const Value *map, const char *key, bool *out, Err *err)
{
    const Value *value = member(map, key);
    *out = value != NULL && value->kind == VALUE_BOOL && value->as.boolean;
    return value == NULL || value->kind == VALUE_BOOL || wrong_kind(key, "a boolean", value, err);
}

/** The list at key; *out NULL when it is absent. */
static bool read_list(const Value *map, const char *key, const ValueList **out, Err *err)
{
    const Value *value = member(map, key);
    *out = value != NULL && value->kind == VALUE_LIST ? &value->as.list : NULL;
    return value == NULL || value->kind == VALUE_LIST || wrong_kind(key, "a list", value, err);
}

static bool read_top(const Value *map, Value *out, Err *err)
{
    const Value *top = member(map, "top");
    *out = value_null();
    if (top == NULL) {
        return true;
    }
    if (top->kind != VALUE_MAP) {
        return wrong_kind("top", "a map of log-probabilities", top, err);
    }
    for (size_t i = 0; i < top->as.map.n; i++) {
        double ignored;
        if (!number_from(&top->as.map.pairs[i].value, &ignored)) {
            return wrong_kind("top", "a map of log-probabilities", &top->as.map.pairs[i].value,
                              err);
        }
    }
    *out = *top;
    return true;
}

static bool read_tokens(Arena *arena, const Value *map, const char *key, const TokenLogprob **out,
                        size_t *out_n, Err *err)
{
    const ValueList *list;
    *out = NULL;
    *out_n = 0;
    if (!read_list(map, key, &list, err)) {
        return false;
    }
    if (list == NULL) {
        return true;
    }
    TokenLogprob *tokens = ARENA_ARRAY(arena, TokenLogprob, list->n);
    for (size_t i = 0; i < list->n; i++) {
        const Value *item = &list->items[i];
        if (item->kind != VALUE_MAP) {
            wrong_kind(key, "a list of maps", item, err);
            return ERR_WRAP(err, "item %zu", i + 1);
        }
        if (!read_text(item, "token", &tokens[i].token, err) ||
            !read_number(item, "logprob", (double)NAN, &tokens[i].logprob, err) ||
            !read_top(item, &tokens[i].top, err)) {
            return ERR_WRAP(err, "item %zu of '%s'", i + 1, key);
        }
    }
    *out = tokens;
    *out_n = list->n;
    return true;
}

static bool read_choice(Arena *arena, const Value *item, ChoiceLogprob *out, Err *err)
{
    *out = (ChoiceLogprob){.unconditional = (double)NAN};
    if (item->kind != VALUE_MAP) { // a plain number: its log-probability, nothing else is known
        return number_from(item, &out->logprob) ||
               wrong_kind("choices", "a list of numbers or maps", item, err);
    }
    if (member(item, "logprob") == NULL) {
        return ERR_SET(err, ERR_REPLY, "a choice lacks its 'logprob'");
    }
    return read_number(item, "logprob", 0, &out->logprob, err) &&
           read_number(item, "unconditional", (double)NAN, &out->unconditional, err) &&
           read_count(item, "tokens", &out->n_tokens, err) &&
           read_flag(item, "greedy", &out->greedy, err) &&
           read_flag(item, "by_letter", &out->by_letter, err) &&
           read_tokens(arena, item, "per_token", &out->tokens, &out->n_logged, err);
}

static bool read_choices(Arena *arena, const Value *map, Reply *out, Err *err)
{
    const ValueList *list;
    if (!read_list(map, "choices", &list, err)) {
        return false;
    }
    if (list == NULL) {
        return true;
    }
    ChoiceLogprob *choices = ARENA_ARRAY(arena, ChoiceLogprob, list->n);
    for (size_t i = 0; i < list->n; i++) {
        if (!read_choice(arena, &list->items[i], &choices[i], err)) {
            return ERR_WRAP(err, "choice %zu", i + 1);
        }
    }
    out->choices = choices;
    out->n_choices = list->n;
    return true;
}

static bool read_stop(const Value *map, StopReason *out, Err *err)
{
    Str word;
    *out = STOP_STOP;
    if (!read_text(map, "stop", &word, err)) {
        return false;
    }
    if (word.len > 0 && !stop_reason_from_word(word, out)) {
        return ERR_SET(err, ERR_REPLY,
                       "'stop' has to be stop, length, tool_calls, filter or limit, not '%.*s'",
                       (int)(word.len < 40 ? word.len : 40), word.data);
    }
    return true;
}

static bool read_usage(const Value *map, Usage *out, Err *err)
{
    const Value *usage = member(map, "usage");
    *out = (Usage){0};
    if (usage == NULL) {
        return true;
    }
    if (usage->kind != VALUE_MAP) {
        return wrong_kind("usage", "a map", usage, err);
    }
    if (!read_count(usage, "input", &out->input, err) ||
        !read_count(usage, "output", &out->output, err) ||
        !read_count(usage, "cached", &out->cached, err) ||
        !read_count(usage, "reasoning", &out->reasoning, err)) {
        return ERR_WRAP(err, "usage");
    }
    return true;
}

static bool read_tool_calls(const Value *map, Value *out, Err *err)
{
    const ValueList *list;
    if (!read_list(map, "tool_calls", &list, err)) {
        return false;
    }
    *out = list != NULL ? value_list(list->items, list->n) : value_null();
    return true;
}

/** All of a reply but `more`. */
static bool read_one(Arena *arena, const Value *value, Reply *out, Err *err)
{
    *out = (Reply){.cost_usd = (double)NAN, .text = STR_EMPTY};
    if (value->kind != VALUE_MAP) {
        return ERR_SET(err, ERR_REPLY, "a reply has to be a map, not %s", value_kind_word(value));
    }
    if (member(value, "text") == NULL && member(value, "choices") == NULL &&
        member(value, "tool_calls") == NULL && member(value, "refusal") == NULL) {
        return ERR_SET(err, ERR_REPLY, "a reply needs 'text' or 'choices'");
    }
    return read_text(value, "text", &out->text, err) && read_stop(value, &out->stop, err) &&
           read_text(value, "refusal", &out->refusal, err) &&
           read_text(value, "reasoning", &out->reasoning, err) &&
           read_tool_calls(value, &out->tool_calls, err) && read_choices(arena, value, out, err) &&
           read_tokens(arena, value, "logprobs", &out->logprobs, &out->n_logprobs, err) &&
           read_usage(value, &out->usage, err) &&
           read_number(value, "seconds", 0, &out->seconds, err) &&
           read_number(value, "cost_usd", (double)NAN, &out->cost_usd, err);
}

bool reply_from_value(Arena *arena, const Value *value, Reply *out, Err *err)
{
    Reply reply;
    const ValueList *list;
    if (!read_one(arena, value, &reply, err) || !read_list(value, "more", &list, err)) {
        return false;
    }
    if (list != NULL) {
        Reply *more = ARENA_ARRAY(arena, Reply, list->n);
        for (size_t i = 0; i < list->n; i++) {
            if (!read_one(arena, &list->items[i], &more[i], err)) {
                return ERR_WRAP(err, "item %zu of 'more'", i + 1);
            }
            if (member(&list->items[i], "more") != NULL) {
                return ERR_SET(err, ERR_REPLY, "item %zu of 'more' has 'more' itself", i + 1);
            }
        }
        reply.more = more;
        reply.n_more = list->n;
    }
    *out = reply;
    return true;
}
