// SPDX-License-Identifier: MIT
// Samples, replies and template variables as Lua objects. A field is converted when it is first
// read: most solvers and graders look at two of them. Each object hides a pointer to its view under
// a key that scripts can not name; once converted, a field is an ordinary one that the script may
// change.
#include "script/script_internal.h"

#include <math.h>
#include <string.h>

static const char view_key;  // hidden key of the view's address
static const char reply_key; // the same on replies only: what reply_view trusts

/** Pushes one field; a field the object lacks is nil. */
typedef void PushField(lua_State *L, const void *view);

typedef struct Field {
    const char *name;
    PushField *push;
} Field;

Str choice_letter(int64_t position, char out[8])
{
    char reversed[8];
    size_t n = 0;
    for (int64_t i = position; i >= 0 && n < sizeof(reversed); i = i / 26 - 1) {
        reversed[n++] = (char)('A' + i % 26);
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = reversed[n - 1 - i];
    }
    return (Str){out, n};
}

static void set_str(lua_State *L, const char *key, Str s)
{
    vm_push_str(L, s);
    lua_setfield(L, -2, key);
}

// ---- Messages
// ---------------------------------------------------------------------------------------------

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

// ---- Samples
// -------------------------------------------------------------------------------------------------

static void sample_id(lua_State *L, const void *view)
{
    vm_push_str(L, ((const SampleView *)view)->sample->id);
}

static void sample_part(lua_State *L, const void *view)
{
    const Value *vars = &((const SampleView *)view)->sample->part_vars;
    Value empty = value_map(NULL, 0);
    vm_push_value(L, vars->kind == VALUE_MAP ? vars : &empty);
}

static void sample_variant(lua_State *L, const void *view)
{
    vm_push_str(L, ((const SampleView *)view)->sample->variant);
}

static void sample_epoch(lua_State *L, const void *view)
{
    lua_pushinteger(L, ((const SampleView *)view)->epoch);
}

static void sample_input(lua_State *L, const void *view)
{
    vm_push_value(L, &((const SampleView *)view)->sample->input);
}

static void sample_choices(lua_State *L, const void *view)
{
    const Sample *sample = ((const SampleView *)view)->sample;
    char letter[8];
    lua_createtable(L, (int)sample->n_choices, 0);
    for (size_t i = 0; i < sample->n_choices; i++) {
        const Choice *choice = &sample->choices[i];
        lua_createtable(L, 0, 4);
        set_str(L, "text", choice->text);
        set_str(L, "letter", choice_letter((int64_t)i, letter));
        if (choice->has_context) {
            set_str(L, "context", choice->context);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void sample_metadata(lua_State *L, const void *view)
{
    vm_push_value(L, &((const SampleView *)view)->sample->metadata);
}

static void sample_row(lua_State *L, const void *view)
{
    vm_push_value(L, &((const SampleView *)view)->sample->row);
}

static void sample_files(lua_State *L, const void *view)
{
    (void)view;
    Value empty = value_map(NULL, 0);
    vm_push_value(L, &empty);
}

static void sample_prompt(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_prompt || v->sample->prompt.is_chat) {
        lua_pushnil(L);
    } else {
        vm_push_str(L, v->sample->prompt.text);
    }
}

static void sample_messages(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_prompt || !v->sample->prompt.is_chat) {
        lua_pushnil(L);
    } else {
        push_messages(L, v->sample->prompt.messages, v->sample->prompt.n_messages);
    }
}

static void sample_target(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_target || !v->sample->has_target) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, (int)v->sample->n_targets, 0);
    for (size_t i = 0; i < v->sample->n_targets; i++) {
        vm_push_str(L, v->sample->targets[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void sample_correct(lua_State *L, const void *view)
{
    const SampleView *v = view;
    if (!v->shows_target || v->sample->n_choices == 0) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, (int)v->sample->n_correct);
    for (size_t i = 0; i < v->sample->n_correct; i++) {
        lua_pushboolean(L, 1);
        lua_rawseti(L, -2, (lua_Integer)v->sample->correct[i] + 1);
    }
}

static const Field sample_fields[] = {
    {"id", sample_id},
    {"part", sample_part},
    {"variant", sample_variant},
    {"epoch", sample_epoch},
    {"input", sample_input},
    {"choices", sample_choices},
    {"metadata", sample_metadata},
    {"row", sample_row},
    {"files", sample_files},
    {"prompt", sample_prompt},
    {"messages", sample_messages},
    {"target", sample_target},
    {"correct", sample_correct},
    {NULL, NULL},
};

// ---- Replies
// -------------------------------------------------------------------------------------------------

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

static void reply_answer(lua_State *L, const void *view)
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

static void push_choice(lua_State *L, const ReplyView *v, size_t i)
{
    const ChoiceLogprob *choice = &v->reply->choices[i];
    Str text = STR_EMPTY;
    if (v->texts != NULL) {
        text = v->texts[i];
    } else if (v->sample != NULL && i < v->sample->n_choices) {
        text = v->sample->choices[i].text;
    }
    char letter[8];
    lua_createtable(L, 0, 8);
    set_str(L, "text", text);
    set_str(L, "letter", choice_letter((int64_t)i, letter));
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

static const Field reply_fields[] = {
    {"text", reply_text},
    {"answer", reply_answer},
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

// ---- Template variables of solver and grader params
// --------------------------------------------------------

static void vars_choices(lua_State *L, const Sample *sample)
{
    lua_createtable(L, (int)sample->n_choices, 0);
    for (size_t i = 0; i < sample->n_choices; i++) {
        vm_push_str(L, sample->choices[i].text);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/** One target as text, several as a list: what a judge's prompt wants to print. */
static void vars_target(lua_State *L, const Sample *sample)
{
    if (sample->n_targets == 1) {
        vm_push_str(L, sample->targets[0]);
        return;
    }
    lua_createtable(L, (int)sample->n_targets, 0);
    for (size_t i = 0; i < sample->n_targets; i++) {
        vm_push_str(L, sample->targets[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static bool push_named(lua_State *L, const VarsView *view, Str name)
{
    const Sample *sample = view->in->sample;
    bool grader = view->reply != NULL;
    if (str_eq(name, STR("id"))) {
        vm_push_str(L, sample->id);
    } else if (str_eq(name, STR("input"))) {
        vm_push_value(L, &sample->input);
    } else if (str_eq(name, STR("choices")) && sample->n_choices > 0) {
        vars_choices(L, sample);
    } else if (str_eq(name, STR("metadata"))) {
        vm_push_value(L, &sample->metadata);
    } else if (str_eq(name, STR("row"))) {
        vm_push_value(L, &sample->row);
    } else if (str_eq(name, STR("row_number"))) {
        lua_pushinteger(L, sample->row_number);
    } else if (grader && str_eq(name, STR("target")) && sample->has_target) {
        vars_target(L, sample);
    } else if (grader && str_eq(name, STR("answer"))) {
        reply_answer(L, view->reply);
    } else if (grader && str_eq(name, STR("reply"))) {
        push_reply(L, view->reply);
        vm_fill(L, -1);
    } else {
        return false;
    }
    return true;
}

/** Sample fields, then columns not hidden by them, then matrix variables. */
static void push_var(lua_State *L, const VarsView *view, Str name)
{
    if (push_named(L, view, name)) {
        return;
    }
    const Value *maps[] = {&view->in->sample->row, view->in->constants_row,
                           &view->in->sample->part_vars};
    for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
        const Value *found = maps[i] == NULL ? NULL : value_get(maps[i], name);
        if (found != NULL) {
            vm_push_value(L, found);
            return;
        }
    }
    lua_pushnil(L);
}

// ---- The objects
// -----------------------------------------------------------------------------------------------

static const void *view_of(lua_State *L, int index)
{
    lua_rawgetp(L, index, &view_key);
    const void *view = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return view;
}

/** __index(object, name): upvalue 1 is the field table. */
static int object_index(lua_State *L)
{
    const Field *fields = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING) {
        return 0;
    }
    Str name = vm_str(L, 2);
    const void *view = view_of(L, 1);
    for (const Field *field = fields; view != NULL && field->name != NULL; field++) {
        if (str_eq_c(name, field->name)) {
            field->push(L, view);
            lua_pushvalue(L, 2);
            lua_pushvalue(L, -2);
            lua_rawset(L, 1);
            return 1;
        }
    }
    return 0;
}

/** Convert all fields; the object is an ordinary table from then on. */
static int object_fill(lua_State *L)
{
    const Field *fields = lua_touserdata(L, lua_upvalueindex(1));
    const void *view = view_of(L, 1);
    for (const Field *field = fields; view != NULL && field->name != NULL; field++) {
        lua_pushstring(L, field->name);
        if (lua_rawget(L, 1) == LUA_TNIL) {
            lua_pushstring(L, field->name);
            field->push(L, view);
            lua_rawset(L, 1);
        }
        lua_settop(L, 1);
    }
    lua_pushnil(L);
    lua_setmetatable(L, 1);
    return 0;
}

static int vars_index(lua_State *L)
{
    const VarsView *view = view_of(L, 1);
    if (view == NULL || lua_type(L, 2) != LUA_TSTRING) {
        return 0;
    }
    push_var(L, view, vm_str(L, 2));
    if (!lua_isnil(L, -1)) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 1);
    }
    return 1;
}

static void object_metatable(lua_State *L, const Field *fields, int slot)
{
    lua_createtable(L, 0, 3);
    lua_pushlightuserdata(L, (void *)(uintptr_t)fields);
    lua_pushcclosure(L, object_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushlightuserdata(L, (void *)(uintptr_t)fields);
    lua_pushcclosure(L, object_fill, 1);
    lua_rawsetp(L, -2, &vm_fill_key);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    vm_set_slot(L, slot);
}

void objects_open(lua_State *L)
{
    object_metatable(L, sample_fields, SLOT_SAMPLE_MT);
    object_metatable(L, reply_fields, SLOT_REPLY_MT);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, vars_index);
    lua_setfield(L, -2, "__index");
    vm_set_slot(L, SLOT_VARS_MT);
}

static void push_object(lua_State *L, const void *view, int metatable)
{
    lua_createtable(L, 0, 3);
    lua_pushlightuserdata(L, (void *)(uintptr_t)view);
    lua_rawsetp(L, -2, &view_key);
    vm_push_slot(L, metatable);
    lua_setmetatable(L, -2);
}

void push_sample(lua_State *L, const SampleView *view)
{
    push_object(L, view, SLOT_SAMPLE_MT);
}

void push_reply(lua_State *L, const ReplyView *view)
{
    push_object(L, view, SLOT_REPLY_MT);
    lua_pushlightuserdata(L, (void *)(uintptr_t)view);
    lua_rawsetp(L, -2, &reply_key);
}

void push_vars(lua_State *L, const VarsView *view)
{
    push_object(L, view, SLOT_VARS_MT);
}

const ReplyView *reply_view(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        return NULL;
    }
    lua_rawgetp(L, index, &reply_key);
    const ReplyView *view = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return view;
}
