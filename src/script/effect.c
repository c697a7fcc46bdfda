// SPDX-License-Identifier: MIT
// Effects: ctx.generate and ctx.loglik. One that the log answers returns at once; one that it does
// not answer is recorded and the script is left by a jump, so no pcall, no coroutine and no C call
// (sort, gsub) can come between. The state is dropped then anyway: the next step starts from the
// image and replays the log.
#include "script/script_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LOGLIK_MAX  4096
#define REPLIES_MAX 1024
#define STOPS_MAX   16

static const char messages_key; // hidden: the messages that ctx.generate itself put into a reply

void step_init(Step *step, Script *script, const StepInput *in, Arena *arena)
{
    *step = (Step){.script = script, .in = in, .arena = arena, .settings = gen_settings_default()};
    step->arena_limit = arena->total_bytes + script_budget(script)->memory_bytes;
}

Step *step_check(lua_State *L, const char *what)
{
    Step *step = vm_of(L)->step;
    if (step == NULL) {
        luaL_error(L, "ctx.%s is not there in a template", what);
    }
    return step;
}

// ---- The log ------------------------------------------------------------------------------------

static void next_path(lua_State *L, Step *step, char out[80])
{
    int n = snprintf(out, 80, "%s%lld", step->prefix, (long long)step->next_index++);
    if (n >= 80) {
        luaL_error(L, "ctx.all and ctx.grade are nested too deeply");
    }
}

/** The log's entry for a path. *out_logged false: not there; true with NULL: still in flight. */
static const Reply *log_find(Step *step, Str path, bool *out_logged)
{
    const StepInput *in = step->in;
    for (size_t k = 0; k < in->n_log; k++) { // usually the one after the last one found
        size_t i = (step->log_hint + k) % in->n_log;
        if (str_eq(in->log[i].path, path)) {
            step->log_hint = i + 1;
            *out_logged = true;
            return in->log[i].reply;
        }
    }
    *out_logged = false;
    return NULL;
}

static void spend(Step *step, const Reply *reply, bool is_turn)
{
    step->spent.turns += is_turn;
    step->spent.calls++;
    step->spent.tokens += reply->usage.input + reply->usage.output;
    step->spent.seconds += isnan(reply->seconds) ? 0 : reply->seconds;
    step->spent.cost_usd += reply->cost_usd; // one unknown price makes the sum unknown
    step->usage.input += reply->usage.input;
    step->usage.output += reply->usage.output;
    step->usage.cached += reply->usage.cached;
    step->usage.reasoning += reply->usage.reasoning;
}

/** Nothing answers: leave the branch, or the script. */
void step_wait(lua_State *L, Step *step)
{
    step->n_waiting++;
    if (step->branch != NULL) {
        longjmp(*step->branch, 1);
    }
    vm_abandon(vm_of(L), L, ESCAPE_EFFECT);
}

/** Start converting a request; what a failed attempt before it left is dropped. */
static void request_begin(Step *step)
{
    if (step->converting) {
        arena_rewind(step->arena, step->mark);
    }
    step->mark = arena_mark(step->arena);
    step->converting = true;
}

static void effect_add(Step *step, Str path, const Request *request)
{
    if (step->n_effects == step->cap_effects) {
        size_t cap = step->cap_effects == 0 ? 4 : step->cap_effects * 2;
        Effect *grown = ARENA_ARRAY(step->arena, Effect, cap);
        if (step->n_effects > 0) {
            memcpy(grown, step->effects, step->n_effects * sizeof(*grown));
        }
        step->effects = grown;
        step->cap_effects = cap;
    }
    Effect *effect = &step->effects[step->n_effects++];
    effect->path = str_copy(step->arena, path);
    effect->request = *request;
    effect->request.call = effect->path;
    step->converting = false;
}

// ---- Reading options ----------------------------------------------------------------------------

/** Push the option and say whether it is there; null counts as absent. */
static bool option(lua_State *L, int options, const char *name)
{
    if (options == 0) {
        return false;
    }
    lua_pushstring(L, name);
    if (lua_rawget(L, options) == LUA_TNIL || vm_is_null(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    return true;
}

static bool option_integer(lua_State *L, int options, const char *name, int64_t low, int64_t high,
                           int64_t *out)
{
    if (!option(L, options, name)) {
        return false;
    }
    int is_integer;
    lua_Integer i = lua_tointegerx(L, -1, &is_integer);
    if (lua_type(L, -1) != LUA_TNUMBER || !is_integer || i < low || i > high) {
        luaL_error(L, "%s must be an integer from %I to %I", name, (LUAI_UACINT)low,
                   (LUAI_UACINT)high);
    }
    lua_pop(L, 1);
    *out = i;
    return true;
}

static void option_real(lua_State *L, int options, const char *name, double low, double high,
                        double *out)
{
    if (!option(L, options, name)) {
        return;
    }
    double d = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(d >= low && d <= high)) {
        luaL_error(L, "%s must be a number from %f to %f", name, low, high);
    }
    lua_pop(L, 1);
    *out = d;
}

static bool option_boolean(lua_State *L, int options, const char *name)
{
    if (!option(L, options, name)) {
        return false;
    }
    if (lua_type(L, -1) != LUA_TBOOLEAN) {
        luaL_error(L, "%s must be true or false", name);
    }
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

static void option_stop(lua_State *L, int options, Arena *arena, GenSettings *settings)
{
    if (!option(L, options, "stop")) {
        return;
    }
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    if (lua_type(L, -1) != LUA_TTABLE || lua_rawlen(L, -1) > STOPS_MAX) {
        luaL_error(L, "stop must be text or a list of at most %d texts", STOPS_MAX);
    }
    size_t n = (size_t)lua_rawlen(L, -1);
    Str *stop = ARENA_ARRAY(arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        stop[i] = vm_to_text(L, -1, arena, "stop");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    settings->stop = stop;
    settings->n_stop = n;
}

static const char *const generate_options[] = {
    "max_tokens", "stop",   "temperature", "top_p",       "top_k", "min_p", "n",
    "logprobs",   "schema", "tools",       "tool_choice", "role",  NULL};
static const char *const loglik_options[] = {"unconditional", "per_token", "role", NULL};

static void check_options(lua_State *L, int options, const char *const *known)
{
    Str names[16];
    size_t n = 0;
    for (; known[n] != NULL; n++) {
        names[n] = str_from_c(known[n]);
    }
    lua_pushnil(L);
    while (lua_next(L, options)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TLIGHTUSERDATA) {
            continue;
        }
        Str name = lua_type(L, -1) == LUA_TSTRING ? vm_str(L, -1) : STR("?");
        bool found = false;
        for (size_t i = 0; i < n && !found; i++) {
            found = str_eq(name, names[i]);
        }
        if (!found) {
            size_t near = str_nearest(name, names, n);
            luaL_error(L,
                       near == STR_NONE ? "unknown option '%s'"
                                        : "unknown option '%s' (did you mean '%s'?)",
                       name.data, near == STR_NONE ? "" : names[near].data);
        }
    }
}

/** The options table's index, or 0. */
static int options_at(lua_State *L, int index, const char *const *known)
{
    if (lua_isnoneornil(L, index)) {
        return 0;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    check_options(L, index, known);
    return index;
}

static void read_settings(lua_State *L, int options, Arena *arena, GenSettings *settings)
{
    option_integer(L, options, "max_tokens", 1, 1 << 20, &settings->max_tokens);
    option_real(L, options, "temperature", 0, 100, &settings->temperature);
    option_real(L, options, "top_p", 0, 1, &settings->top_p);
    option_real(L, options, "min_p", 0, 1, &settings->min_p);
    option_integer(L, options, "top_k", 0, 1 << 20, &settings->top_k);
    option_integer(L, options, "logprobs", 0, 100, &settings->logprobs);
    option_stop(L, options, arena, settings);
    if (option(L, options, "schema")) {
        settings->schema = vm_to_value(L, -1, arena);
        if (settings->schema.kind != VALUE_MAP) {
            luaL_error(L, "schema must be a JSON schema, a table with names as keys");
        }
        lua_pop(L, 1);
    }
    if (option(L, options, "tools") || option(L, options, "tool_choice")) {
        luaL_error(L, "tools are not supported yet");
    }
}

static Str read_role(lua_State *L, int options, Step *step)
{
    if (!option(L, options, "role")) {
        return str_copy(step->arena, step->asking.role); // the request may outlive the program
    }
    Str role = vm_to_text(L, -1, step->arena, "role");
    lua_pop(L, 1);
    return role;
}

static void read_prompt(lua_State *L, int index, Arena *arena, Prompt *out)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        out->text = vm_to_text(L, index, arena, "the prompt");
        return;
    }
    out->is_chat = true;
    out->messages = read_messages(L, index, arena, &out->n_messages);
}

// ---- ctx.generate -------------------------------------------------------------------------------

/** The reply object; a chat gets the conversation with the new message. */
static void push_call_reply(lua_State *L, Step *step, const Reply *reply, const Str *texts)
{
    ReplyView *view = ARENA_NEW(step->arena, ReplyView);
    *view = (ReplyView){.reply = reply, .sample = step->in->sample, .texts = texts, .n_calls = 1};
    step->converting = false;
    push_reply(L, view);
    if (texts != NULL || lua_type(L, 1) != LUA_TTABLE) {
        return;
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
    lua_createtable(L, (int)n + 1, 0);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        lua_rawseti(L, -2, i);
    }
    lua_getfield(L, -2, "message");
    lua_rawseti(L, -2, n + 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, &messages_key);
    lua_setfield(L, -2, "messages");
}

bool reply_kept_messages(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    lua_pushliteral(L, "messages");
    lua_rawget(L, index);
    lua_rawgetp(L, index, &messages_key);
    bool kept = lua_type(L, -2) == LUA_TTABLE && !lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return kept;
}

static void request_generate(lua_State *L, Step *step, Str path, int options)
{
    request_begin(step);
    Request request = {.kind = REQUEST_GENERATE, .n = 1, .settings = step->settings};
    read_prompt(L, 1, step->arena, &request.prompt);
    read_settings(L, options, step->arena, &request.settings);
    option_integer(L, options, "n", 1, REPLIES_MAX, &request.n);
    request.role = read_role(L, options, step);
    effect_add(step, path, &request);
}

int ctx_generate(lua_State *L)
{
    Step *step = step_check(L, "generate");
    if (!step->asking.may_generate) {
        return luaL_error(L, "ctx.generate must be declared: effects = {\"generate\"}");
    }
    lua_settop(L, 2);
    int options = options_at(L, 2, generate_options);
    char path[80];
    next_path(L, step, path);
    bool logged;
    const Reply *reply = log_find(step, str_from_c(path), &logged);
    if (reply == NULL) {
        if (!logged) {
            request_generate(L, step, str_from_c(path), options);
        }
        step_wait(L, step);
    }
    spend(step, reply, true);
    if (!option(L, options, "n")) {
        push_call_reply(L, step, reply, NULL);
        return 1;
    }
    lua_createtable(L, (int)reply->n_more + 1, 0);
    push_call_reply(L, step, reply, NULL);
    lua_rawseti(L, -2, 1);
    for (size_t i = 0; i < reply->n_more; i++) {
        push_call_reply(L, step, &reply->more[i], NULL);
        lua_rawseti(L, -2, (lua_Integer)i + 2);
    }
    return 1;
}

// ---- ctx.loglik ---------------------------------------------------------------------------------

/** One item; equal contexts of neighbours share their memory, which later rooms use. */
static void read_item(lua_State *L, int index, Arena *arena, int last_context, LoglikItem *last,
                      LoglikItem *out)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        luaL_error(L, "an item of ctx.loglik must be {context=, text=}");
    }
    lua_pushliteral(L, "text");
    lua_rawget(L, index);
    out->text = vm_to_text(L, -1, arena, "text of ctx.loglik");
    lua_pop(L, 1);
    out->window = option_boolean(L, index, "window");
    lua_pushliteral(L, "context");
    lua_rawget(L, index);
    if (out->window || lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_replace(L, last_context);
        return;
    }
    if (last != NULL && lua_rawequal(L, -1, last_context)) {
        out->context = last->context;
    } else {
        read_prompt(L, lua_gettop(L), arena, &out->context);
    }
    lua_replace(L, last_context);
}

static void request_loglik(lua_State *L, Step *step, Str path, int options)
{
    Arena *arena = step->arena;
    request_begin(step);
    Request request = {.kind = REQUEST_LOGLIK, .n = 1, .settings = step->settings};
    request.n_items = (size_t)lua_rawlen(L, 1);
    LoglikItem *items = ARENA_ARRAY(arena, LoglikItem, request.n_items);
    lua_pushnil(L);
    int last_context = lua_gettop(L);
    for (size_t i = 0; i < request.n_items; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        read_item(L, lua_gettop(L), arena, last_context, i == 0 ? NULL : &items[i - 1], &items[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    request.items = items;
    request.unconditional = option_boolean(L, options, "unconditional");
    request.per_token = option_boolean(L, options, "per_token");
    request.role = read_role(L, options, step);
    effect_add(step, path, &request);
}

/** The texts of the items, for the reply's choices. */
static Str *item_texts(lua_State *L, Step *step, size_t n)
{
    Str *texts = ARENA_ARRAY(step->arena, Str, n);
    step->converting = false;
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, 1, (lua_Integer)i + 1) == LUA_TTABLE) {
            lua_pushliteral(L, "text");
            lua_rawget(L, -2);
            texts[i] = vm_to_text(L, -1, step->arena, "text of ctx.loglik");
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    return texts;
}

int ctx_loglik(lua_State *L)
{
    Step *step = step_check(L, "loglik");
    if (!step->asking.may_loglik) {
        return luaL_error(L, "ctx.loglik must be declared: effects = {\"loglik\"}");
    }
    lua_settop(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t n = (size_t)lua_rawlen(L, 1);
    luaL_argcheck(L, n >= 1 && n <= LOGLIK_MAX, 1, "wants from 1 to 4096 items");
    int options = options_at(L, 2, loglik_options);
    char path[80];
    next_path(L, step, path);
    bool logged;
    const Reply *reply = log_find(step, str_from_c(path), &logged);
    if (reply == NULL) {
        if (!logged) {
            request_loglik(L, step, str_from_c(path), options);
        }
        step_wait(L, step);
    }
    spend(step, reply, false);
    if (reply->n_choices != n) {
        return luaL_error(L, "the reply has %d log-likelihoods, not %d", (int)reply->n_choices,
                          (int)n);
    }
    push_call_reply(L, step, reply, item_texts(L, step, n));
    return 1;
}
