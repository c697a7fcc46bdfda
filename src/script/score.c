// SPDX-License-Identifier: MIT
// What a grader returns, as a Score: a number, a boolean, a table of score members, or what
// unscored() made.
#include "script/grade_internal.h"

#include <math.h>

static void score_value(lua_State *L, int index, const UnitInfo *info, Score *score)
{
    int type = lua_type(L, index);
    if (type == LUA_TBOOLEAN) {
        score->value = lua_toboolean(L, index);
        score->is_boolean = true;
    } else if (type == LUA_TNUMBER) {
        score->value = lua_tonumber(L, index);
    } else {
        luaL_error(L, "a score's value must be a number or a boolean, not %s",
                   luaL_typename(L, index));
    }
    if (!isfinite(score->value)) {
        luaL_error(L, "the score is not a finite number");
    }
    if (score->value < info->range_low || score->value > info->range_high) {
        luaL_error(L, "the score %f is outside of the grader's range %f to %f", score->value,
                   info->range_low, info->range_high);
    }
    score->value += 0.0; // no negative zero
}

static Str score_text(lua_State *L, int index, const char *name, Arena *arena, bool *out_found)
{
    lua_pushstring(L, name);
    int type = lua_rawget(L, index);
    *out_found = type != LUA_TNIL && !vm_is_null(L, -1);
    Str s = STR_EMPTY;
    if (*out_found) {
        if (type == LUA_TNUMBER || type == LUA_TBOOLEAN) {
            lib_push_tostring(L, -1);
            lua_replace(L, -2);
        }
        s = vm_to_text(L, -1, arena, name);
    }
    lua_pop(L, 1);
    return s;
}

/** {value=, weight=, answer=, why=, detail=} or what unscored() gives. */
static void score_table(lua_State *L, int index, const UnitInfo *info, Arena *arena, Score *score)
{
    static const char *const known[] = {"value", "weight", "answer", "why", "detail", "unscored"};
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        bool found = lua_type(L, -1) == LUA_TLIGHTUSERDATA;
        for (size_t i = 0; i < sizeof(known) / sizeof(*known) && !found; i++) {
            found = lua_type(L, -1) == LUA_TSTRING && str_eq_c(vm_str(L, -1), known[i]);
        }
        if (!found) {
            luaL_error(L, "a score has value, weight, answer, why, detail; not '%s'",
                       lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
        }
    }
    bool found;
    score->why = score_text(L, index, "why", arena, &found);
    Str answer = score_text(L, index, "answer", arena, &found);
    if (found) {
        score->answer = answer;
        score->has_answer = true;
    }
    score->reason = score_text(L, index, "unscored", arena, &found);
    if (found) {
        score->state = SCORE_UNSCORED;
        return;
    }
    lua_pushliteral(L, "weight");
    if (lua_rawget(L, index) != LUA_TNIL) {
        score->weight = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (!(score->weight > 0) || !isfinite(score->weight)) {
            luaL_error(L, "a score's weight must be a number above 0");
        }
    }
    lua_pushliteral(L, "detail");
    lua_rawget(L, index);
    score->detail = vm_to_value(L, -1, arena);
    lua_pushliteral(L, "value");
    lua_rawget(L, index);
    score_value(L, lua_gettop(L), info, score);
    lua_pop(L, 3);
}

void score_read(lua_State *L, const GraderFrame *frame, Arena *arena, Score *score)
{
    const UnitInfo *info = &frame->unit->info;
    int index = lua_gettop(L);
    if (lua_type(L, index) == LUA_TTABLE) {
        vm_fill(L, index);
        score_table(L, index, info, arena, score);
    } else {
        score_value(L, index, info, score);
    }
    if (frame->negate && score->state == SCORE_VALUE) {
        score->value = 1 - score->value;
    }
}
