// SPDX-License-Identifier: MIT
// The ctx objects, and what they offer that asks for nothing: randomness, notes, limits, the model,
// scores.
#include "script/script_internal.h"

#include <math.h>
#include <string.h>

#define NOTE_MAX 4096

// ---- What is pure -------------------------------------------------------------------------------

static int ctx_rng(lua_State *L)
{
    Vm *vm = vm_of(L);
    double u = rng_at(vm->rng_seed, vm->rng_stream, vm->rng_position++);
    if (lua_isnoneornil(L, 1)) {
        lua_pushnumber(L, u);
        return 1;
    }
    lua_Integer low = luaL_checkinteger(L, 1);
    lua_Integer high = low;
    if (lua_isnoneornil(L, 2)) {
        low = 1;
    } else {
        high = luaL_checkinteger(L, 2);
    }
    luaL_argcheck(L, low <= high, 2, "interval is empty");
    double span = (double)high - (double)low + 1;
    luaL_argcheck(L, span <= 4503599627370496.0, 2, "interval is too large");
    lua_Integer offset = (lua_Integer)floor(u * span);
    lua_pushinteger(L, low + (offset > high - low ? high - low : offset));
    return 1;
}

static int ctx_note(lua_State *L)
{
    Vm *vm = vm_of(L);
    luaL_checkany(L, 1);
    lib_push_tostring(L, 1);
    buf_str(&vm->notes, str_slice(vm_str(L, -1), 0, NOTE_MAX));
    buf_char(&vm->notes, '\n');
    return 0;
}

static int ctx_left(lua_State *L)
{
    Step *step = step_check(L, "left");
    const EvalLimits *limits = step->in->limits;
    const Spent *spent = &step->spent;
    lua_createtable(L, 0, 4);
    int64_t turns = limits == NULL || limits->turns == 0 ? 64 : limits->turns;
    lua_pushinteger(L, turns - spent->turns);
    lua_setfield(L, -2, "turns");
    if (limits != NULL && limits->tokens > 0) {
        lua_pushinteger(L, limits->tokens - spent->tokens);
        lua_setfield(L, -2, "tokens");
    }
    if (limits != NULL && limits->seconds > 0) {
        lua_pushnumber(L, limits->seconds - spent->seconds);
        lua_setfield(L, -2, "seconds");
    }
    if (limits != NULL && limits->cost_usd > 0 && !isnan(spent->cost_usd)) {
        lua_pushnumber(L, limits->cost_usd - spent->cost_usd);
        lua_setfield(L, -2, "cost_usd");
    }
    return 1;
}

static int ctx_sandbox(lua_State *L)
{
    return luaL_error(L, "ctx.%s needs a sandbox: not supported yet",
                      lua_tostring(L, lua_upvalueindex(1)));
}

// ---- The objects --------------------------------------------------------------------------------

static void push_model(lua_State *L)
{
    const Step *step = vm_of(L)->step;
    const ScriptModel *model = step == NULL ? NULL : step->in->model;
    if (model == NULL) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 4);
    vm_push_str(L, model->name);
    lua_setfield(L, -2, "name");
    lua_pushboolean(L, model->chat);
    lua_setfield(L, -2, "chat");
    lua_pushboolean(L, model->loglik);
    lua_setfield(L, -2, "loglik");
    if (model->context_tokens > 0) {
        lua_pushinteger(L, model->context_tokens);
        lua_setfield(L, -2, "context_tokens");
    }
}

/** The generation settings that ctx.generate uses where it is told none. */
static void push_settings(lua_State *L, const GenSettings *settings)
{
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, settings->max_tokens);
    lua_setfield(L, -2, "max_tokens");
    lua_pushnumber(L, settings->temperature);
    lua_setfield(L, -2, "temperature");
    lua_pushnumber(L, settings->top_p);
    lua_setfield(L, -2, "top_p");
    lua_pushnumber(L, settings->min_p);
    lua_setfield(L, -2, "min_p");
    lua_pushinteger(L, settings->top_k);
    lua_setfield(L, -2, "top_k");
    lua_pushinteger(L, settings->logprobs);
    lua_setfield(L, -2, "logprobs");
}

/** scores[name] = {value=, weight=, answer=, why=} or {unscored=} of graders that have run. */
static void push_scores(lua_State *L)
{
    const Step *step = vm_of(L)->step;
    lua_newtable(L);
    for (size_t i = 0; step != NULL && i < step->n_scores; i++) {
        const Score *score = &step->scores[i];
        if (!step->scored[i] || score->state == SCORE_ABSENT) {
            continue;
        }
        vm_push_str(L, score->grader);
        lua_createtable(L, 0, 4);
        if (score->state == SCORE_VALUE) {
            lua_pushnumber(L, score->value);
            lua_setfield(L, -2, "value");
            lua_pushnumber(L, score->weight);
            lua_setfield(L, -2, "weight");
        } else {
            vm_push_str(L, score->reason);
            lua_setfield(L, -2, "unscored");
        }
        if (score->has_answer) {
            vm_push_str(L, score->answer);
            lua_setfield(L, -2, "answer");
        }
        if (score->why.len > 0) {
            vm_push_str(L, score->why);
            lua_setfield(L, -2, "why");
        }
        lua_rawset(L, -3);
    }
}

/** __index(ctx, name): upvalue 1 holds the functions. */
static int ctx_index(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_type(L, 2) != LUA_TSTRING) {
        return 0;
    }
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        return 1;
    }
    const Step *step = vm_of(L)->step;
    if (str_eq(vm_str(L, 2), STR("model"))) {
        push_model(L);
        return 1;
    }
    if (step != NULL && str_eq(vm_str(L, 2), STR("settings"))) {
        push_settings(L, &step->settings);
        return 1;
    }
    if (step != NULL && step->grading != NULL && str_eq(vm_str(L, 2), STR("scores"))) {
        push_scores(L);
        return 1;
    }
    return luaL_error(L, "ctx.%s does not exist", lua_tostring(L, 2));
}

static int ctx_newindex(lua_State *L)
{
    return luaL_error(L, "ctx is read-only");
}

/** Make a ctx of the functions in the table at the top (pops it). */
static void ctx_make(lua_State *L, int slot)
{
    lua_newtable(L);
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, ctx_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, ctx_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "__readonly");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    vm_set_slot(L, slot);
    lua_pop(L, 1);
}

void effects_open(lua_State *L)
{
    static const luaL_Reg pure[] = {
        {"rng", ctx_rng}, {"note", ctx_note}, {"render", template_render_now}, {NULL, NULL}};
    static const luaL_Reg asking[] = {{"generate", ctx_generate}, {"loglik", ctx_loglik},
                                      {"all", ctx_all},           {"grade", ctx_grade},
                                      {"left", ctx_left},         {NULL, NULL}};
    static const char *const sandboxed[] = {"exec", "read_file", "write_file", "call_tool"};
    static const int slots[] = {SLOT_RENDER_CTX, SLOT_SOLVER_CTX, SLOT_GRADER_CTX};
    for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
        luaL_newlib(L, pure);
        if (slots[i] != SLOT_RENDER_CTX) {
            luaL_setfuncs(L, asking, 0);
        }
        for (size_t k = 0; k < sizeof(sandboxed) / sizeof(*sandboxed); k++) {
            lua_pushstring(L, sandboxed[k]);
            lua_pushcclosure(L, ctx_sandbox, 1);
            lua_setfield(L, -2, sandboxed[k]);
        }
        ctx_make(L, slots[i]);
    }
}
