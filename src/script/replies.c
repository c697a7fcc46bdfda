// SPDX-License-Identifier: MIT
// Messages and replies in Lua: reading and writing conversations, the fields of a reply object.
#include "script/script_internal.h"

#include <math.h>

static void set_str(lua_State *L, const char *key, Str s)
{
    vm_push_str(L, s);
    lua_setfield(L, -2, key);
}

// ---- Messages -----------------------------------------------------------------------------------

static void push_message(lua_State *L, const Message *message)
{
    lua_createtable(L, 0, 4);
    set_str(L, "role", message->role);
    set_str(L, "content", message->content);
    if (message->name.len > 0) {
        set_str(L, "name", message->name);
    }
    for (size_t i = 0; message->extra.kind == VALUE_MAP && i < message->extra.as.map.n; i++) {
        vm_push_str(L, message->extra.as.map.pairs[i].key);
        vm_push_value(L, &message->extra.as.map.pairs[i].value);
        lua_rawset(L, -3);
    }
}

void push_messages(lua_State *L, const Message *messages, size_t n)
{
    lua_createtable(L, (int)n + 1, 0);
    for (size_t i = 0; i < n; i++) {
        push_message(L, &messages[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static Message read_message(lua_State *L, int index, Arena *arena)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        luaL_error(L, "a message must be {role=, content=}, not %s", luaL_typename(L, index));
    }
    Value map = vm_to_value(L, index, arena);
    Message message = {.role = value_get_str(&map, "role", STR_EMPTY),
                       .content = value_get_str(&map, "content", STR_EMPTY),
                       .name = value_get_str(&map, "name", STR_EMPTY)};
    if (message.role.len == 0) {
        luaL_error(L, "a message needs a role");
    }
    MapBuilder extra;
    map_builder_init(&extra, arena);
    for (size_t i = 0; map.kind == VALUE_MAP && i < map.as.map.n; i++) {
        const ValuePair *pair = &map.as.map.pairs[i];
        bool known = str_eq(pair->key, STR("role")) || str_eq(pair->key, STR("content")) ||
                     str_eq(pair->key, STR("name"));
        if (!known) {
            map_builder_put(&extra, pair->key, pair->value);
        } else if (pair->value.kind != VALUE_STR && pair->value.kind != VALUE_NULL) {
            luaL_error(L, "a message's %s must be text, not %s", pair->key.data,
                       value_kind_word(&pair->value));
        }
    }
    message.extra = extra.n > 0 ? map_builder_done(&extra) : value_null();
    return message;
}

Message *read_messages(lua_State *L, int index, Arena *arena, size_t *out_n)
{
    index = lua_absindex(L, index);
    if (lua_type(L, index) != LUA_TTABLE || !vm_is_list(L, index)) {
        luaL_error(L, "messages must be a list");
    }
    size_t n = (size_t)lua_rawlen(L, index);
    if (n == 0) {
        luaL_error(L, "messages is an empty list");
    }
    Message *messages = ARENA_ARRAY(arena, Message, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        messages[i] = read_message(L, lua_gettop(L), arena);
        lua_pop(L, 1);
    }
    *out_n = n;
    return messages;
}

// ---- Replies ------------------------------------------------------------------------------------

static void push_number_or_nil(lua_State *L, double d)
{
    if (isnan(d)) {
        lua_pushnil(L);
    } else {
        lua_pushnumber(L, d);
    }
}

static void push_text_or_nil(lua_State *L, Str s)
{
    if (s.len == 0) {
        lua_pushnil(L);
    } else {
        vm_push_str(L, s);
    }
}

static void reply_text(lua_State *L, const void *view)
{
    vm_push_str(L, ((const ReplyView *)view)->reply->text);
}

void reply_push_answer(lua_State *L, const void *view)
{
    const ReplyView *v = view;
    if (v->has_answer) {
        vm_push_str(L, v->answer);
    } else {
        lua_pushnil(L);
    }
}

static void reply_tool_calls(lua_State *L, const void *view)
{
    const ReplyView *v = view;
    if (v->reply->tool_calls.kind == VALUE_LIST) {
        vm_push_value(L, &v->reply->tool_calls);
    } else {
        lua_newtable(L);
    }
}

static void reply_message(lua_State *L, const void *view)
{
    const ReplyView *v = view;
    lua_createtable(L, 0, 3);
    set_str(L, "role", STR("assistant"));
    set_str(L, "content", v->reply->text);
    if (v->reply->tool_calls.kind == VALUE_LIST && v->reply->tool_calls.as.list.n > 0) {
        vm_push_value(L, &v->reply->tool_calls);
        lua_setfield(L, -2, "tool_calls");
    }
}

static void reply_messages(lua_State *L, const void *view)
{
    const ReplyView *v = view;
    if (v->n_messages > 0) { // the solver kept a conversation: it is all there
        push_messages(L, v->messages, v->n_messages);
        return;
    }
    if (v->sample == NULL || !v->sample->prompt.is_chat) {
        lua_pushnil(L);
        return;
    }
    push_messages(L, v->sample->prompt.messages, v->sample->prompt.n_messages);
    reply_message(L, view);
    lua_rawseti(L, -2, (lua_Integer)v->sample->prompt.n_messages + 1);
}

static void reply_stop(lua_State *L, const void *view)
{
    lua_pushstring(L, stop_reason_word(((const ReplyView *)view)->reply->stop));
}

static void reply_refusal(lua_State *L, const void *view)
{
    push_text_or_nil(L, ((const ReplyView *)view)->reply->refusal);
}

static void reply_reasoning(lua_State *L, const void *view)
{
    push_text_or_nil(L, ((const ReplyView *)view)->reply->reasoning);
}

static void push_tokens(lua_State *L, const TokenLogprob *tokens, size_t n)
{
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_createtable(L, 0, 3);
        set_str(L, "token", tokens[i].token);
        lua_pushnumber(L, tokens[i].logprob);
        lua_setfield(L, -2, "logprob");
        if (tokens[i].top.kind == VALUE_MAP) {
            vm_push_value(L, &tokens[i].top);
            lua_setfield(L, -2, "top");
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/** What was scored: the call's own text; of a finished attempt the choice, target or input it is.
 */
static Str scored_text(const ReplyView *v, size_t i)
{
    const Sample *sample = v->sample;
    if (v->texts != NULL) {
        return v->texts[i];
    }
    if (sample == NULL) {
        return STR_EMPTY;
    }
    if (sample->n_choices > 0) {
        return i < sample->n_choices ? sample->choices[i].text : STR_EMPTY;
    }
    if (sample->n_targets == v->reply->n_choices) {
        return sample->targets[i];
    }
    return i == 0 && sample->input.kind == VALUE_STR ? sample->input.as.str : STR_EMPTY;
}

static void push_choice(lua_State *L, const ReplyView *v, size_t i)
{
    const ChoiceLogprob *choice = &v->reply->choices[i];
    char buf[8];
    Str letter = choice_letter((int64_t)i, buf);
    Str text = choice->by_letter ? letter : scored_text(v, i);
    lua_createtable(L, 0, 9);
    set_str(L, "text", text);
    set_str(L, "letter", letter);
    lua_pushnumber(L, choice->logprob);
    lua_setfield(L, -2, "logprob");
    push_number_or_nil(L, choice->unconditional);
    lua_setfield(L, -2, "unconditional");
    lua_pushinteger(L, choice->n_tokens);
    lua_setfield(L, -2, "tokens");
    lua_pushinteger(L, (lua_Integer)utf8_length(text));
    lua_setfield(L, -2, "chars");
    lua_pushinteger(L, (lua_Integer)text.len);
    lua_setfield(L, -2, "bytes");
    lua_pushboolean(L, choice->greedy);
    lua_setfield(L, -2, "greedy");
    lua_pushboolean(L, choice->by_letter);
    lua_setfield(L, -2, "by_letter");
    if (choice->n_logged > 0) {
        push_tokens(L, choice->tokens, choice->n_logged);
        lua_setfield(L, -2, "logprobs");
    }
}

static void reply_choices(lua_State *L, const void *view)
{
    const ReplyView *v = view;
    if (v->reply->n_choices == 0) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, (int)v->reply->n_choices, 0);
    for (size_t i = 0; i < v->reply->n_choices; i++) {
        push_choice(L, v, i);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void reply_logprobs(lua_State *L, const void *view)
{
    const Reply *reply = ((const ReplyView *)view)->reply;
    if (reply->n_logprobs == 0) {
        lua_pushnil(L);
    } else {
        push_tokens(L, reply->logprobs, reply->n_logprobs);
    }
}

static void reply_usage(lua_State *L, const void *view)
{
    const Usage *usage = &((const ReplyView *)view)->reply->usage;
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, usage->input);
    lua_setfield(L, -2, "input");
    lua_pushinteger(L, usage->output);
    lua_setfield(L, -2, "output");
    lua_pushinteger(L, usage->cached);
    lua_setfield(L, -2, "cached");
    lua_pushinteger(L, usage->reasoning);
    lua_setfield(L, -2, "reasoning");
}

static void reply_seconds(lua_State *L, const void *view)
{
    push_number_or_nil(L, ((const ReplyView *)view)->reply->seconds);
}

static void reply_cost(lua_State *L, const void *view)
{
    push_number_or_nil(L, ((const ReplyView *)view)->reply->cost_usd);
}

static void reply_calls(lua_State *L, const void *view)
{
    lua_pushinteger(L, ((const ReplyView *)view)->n_calls);
}

const Field reply_fields[] = {
    {"text", reply_text},
    {"answer", reply_push_answer},
    {"message", reply_message},
    {"messages", reply_messages},
    {"stop", reply_stop},
    {"refusal", reply_refusal},
    {"reasoning", reply_reasoning},
    {"tool_calls", reply_tool_calls},
    {"choices", reply_choices},
    {"logprobs", reply_logprobs},
    {"usage", reply_usage},
    {"seconds", reply_seconds},
    {"cost_usd", reply_cost},
    {"calls", reply_calls},
    {NULL, NULL},
};
