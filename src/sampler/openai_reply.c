// SPDX-License-Identifier: MIT
// Generations: chat completions and completions as replies, with their tool calls,
// log-probabilities and usage.
#include "sampler/openai_internal.h"

#include "text/text.h"

#include <math.h>

static StopReason stop_from(Str finish_reason)
{
    static const struct {
        const char *word;
        StopReason stop;
    } table[] = {{"length", STOP_LENGTH},
                 {"tool_calls", STOP_TOOL_CALLS},
                 {"function_call", STOP_TOOL_CALLS},
                 {"content_filter", STOP_FILTER}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (str_eq_c(finish_reason, table[i].word)) {
            return table[i].stop;
        }
    }
    return STOP_STOP;
}

/** A message's content: text, or a list of parts whose texts are joined; false when it has none. */
static bool content_text(Arena *arena, const Value *content, Str *out)
{
    *out = STR_EMPTY;
    if (content == NULL || (content->kind != VALUE_STR && content->kind != VALUE_LIST)) {
        return false;
    }
    if (content->kind == VALUE_STR) {
        *out = content->as.str;
        return true;
    }
    for (size_t i = 0; i < content->as.list.n; i++) {
        *out =
            str_concat(arena, *out, value_get_str(&content->as.list.items[i], "text", STR_EMPTY));
    }
    return true;
}

/** The API's tool calls as ours: {id, name, arguments, error}. */
static Value tool_calls_in(Arena *arena, const Value *calls)
{
    if (calls == NULL || calls->kind != VALUE_LIST || calls->as.list.n == 0) {
        return value_null();
    }
    Value *items = ARENA_ARRAY(arena, Value, calls->as.list.n);
    for (size_t i = 0; i < calls->as.list.n; i++) {
        const Value *call = &calls->as.list.items[i];
        const Value *function = value_get_c(call, "function");
        Str text = value_get_str(function, "arguments", STR_EMPTY);
        Value arguments;
        Err err = ERR_INIT;
        bool parsed = openai_parse(arena, text, &arguments, &err) && arguments.kind == VALUE_MAP;
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("id"), value_str(value_get_str(call, "id", STR_EMPTY)));
        map_builder_put(&map, STR("name"), value_str(value_get_str(function, "name", STR_EMPTY)));
        map_builder_put(&map, STR("arguments"), parsed ? arguments : value_str(text));
        if (!parsed) {
            map_builder_put(&map, STR("error"),
                            value_str(STR("the arguments are not a JSON object")));
        }
        items[i] = map_builder_done(&map);
    }
    return value_list(items, calls->as.list.n);
}

/** Log-probabilities of a chat: logprobs.content[{token, logprob, top_logprobs}]. */
static void chat_logprobs(Arena *arena, const Value *choice, Reply *out)
{
    const Value *content = value_get_c(value_get_c(choice, "logprobs"), "content");
    if (content == NULL || content->kind != VALUE_LIST) {
        return;
    }
    TokenLogprob *tokens = ARENA_ARRAY(arena, TokenLogprob, content->as.list.n);
    for (size_t i = 0; i < content->as.list.n; i++) {
        const Value *from = &content->as.list.items[i];
        tokens[i] = (TokenLogprob){.token = value_get_str(from, "token", STR_EMPTY),
                                   .logprob = value_get_real(from, "logprob", (double)NAN),
                                   .top = value_null()};
        const Value *top = value_get_c(from, "top_logprobs");
        MapBuilder map;
        map_builder_init(&map, arena);
        for (size_t j = 0; top != NULL && top->kind == VALUE_LIST && j < top->as.list.n; j++) {
            const Value *item = &top->as.list.items[j];
            Str token = value_get_str(item, "token", STR_EMPTY);
            double logprob = value_get_real(item, "logprob", (double)NAN);
            Value so_far = map_builder_done(&map);
            if (!isnan(logprob) && value_get(&so_far, token) == NULL) {
                map_builder_put(&map, token, value_real(logprob));
            }
        }
        if (map.n > 0) {
            tokens[i].top = map_builder_done(&map);
        }
    }
    out->logprobs = tokens;
    out->n_logprobs = content->as.list.n;
}

static void completion_logprobs(Arena *arena, const Value *choice, Reply *out)
{
    EchoLists lists;
    if (!openai_echo_lists(choice, &lists)) {
        return;
    }
    TokenLogprob *tokens = ARENA_ARRAY(arena, TokenLogprob, lists.tokens->n);
    for (size_t i = 0; i < lists.tokens->n; i++) {
        tokens[i] = openai_token_at(&lists, i);
    }
    out->logprobs = tokens;
    out->n_logprobs = lists.tokens->n;
}

static bool chat_choice(Arena *arena, const Value *choice, Reply *out)
{
    const Value *message = value_get_c(choice, "message");
    bool has_text = content_text(arena, value_get_c(message, "content"), &out->text);
    out->refusal = value_get_str(message, "refusal", STR_EMPTY);
    out->reasoning =
        value_get_str(message, "reasoning_content", value_get_str(message, "reasoning", STR_EMPTY));
    out->tool_calls = tool_calls_in(arena, value_get_c(message, "tool_calls"));
    chat_logprobs(arena, choice, out);
    return has_text || out->refusal.len > 0 || out->reasoning.len > 0 ||
           out->tool_calls.kind != VALUE_NULL || out->stop == STOP_FILTER;
}

/** One choice as a reply; false when there is nothing in it. */
static bool read_choice(Arena *arena, bool chat, const Value *choice, Reply *out)
{
    *out = (Reply){.text = STR_EMPTY, .cost_usd = (double)NAN};
    out->stop = stop_from(value_get_str(choice, "finish_reason", STR_EMPTY));
    if (chat) {
        return chat_choice(arena, choice, out);
    }
    const Value *text = value_get_c(choice, "text");
    if (text == NULL || text->kind != VALUE_STR) {
        return false;
    }
    out->text = text->as.str;
    completion_logprobs(arena, choice, out);
    return true;
}

AnswerFault openai_read_generation(const Endpoint *endpoint, const Request *request,
                                   const NetResponse *response, Arena *arena, Reply *out, Err *err)
{
    Value body;
    ErrorBody error;
    AnswerFault fault = openai_read_body(endpoint, response, arena, &body, &error, err);
    if (fault == ANSWER_FAILED && response->outcome == NET_ANSWERED && openai_is_filtered(&error)) {
        *err = (Err)ERR_INIT;
        *out = (Reply){.text = STR_EMPTY,
                       .stop = STOP_FILTER,
                       .refusal = error.message,
                       .seconds = response->seconds,
                       .cost_usd = (double)NAN};
        return ANSWER_GOOD;
    }
    if (fault != ANSWER_GOOD) {
        return fault;
    }
    const ValueList *choices = &value_get_c(&body, "choices")->as.list;
    size_t want = request->n > 1 ? (size_t)request->n : 1;
    size_t n = choices->n < want ? choices->n : want; // fewer than asked for is tolerated
    Reply *replies = ARENA_ARRAY(arena, Reply, n);
    for (size_t i = 0; i < n; i++) {
        if (!read_choice(arena, request->prompt.is_chat, &choices->items[i], &replies[i])) {
            ERR_SET(err, ERR_REPLY, STR_FMT ": the answer has no content",
                    STR_ARG(endpoint->base_url));
            return ANSWER_AGAIN;
        }
    }
    *out = replies[0];
    out->more = replies + 1;
    out->n_more = n - 1;
    out->seconds = response->seconds;
    openai_add_usage(&body, &out->usage);
    out->cost_usd = openai_cost(endpoint, &out->usage);
    return ANSWER_GOOD;
}
