// SPDX-License-Identifier: MIT
// ctx.grade: a library grader on the sample and the answer of the grader that calls it. It counts
// for itself (call paths, randomness) and may ask for no more than its caller; whatever happens
// inside, the caller goes on where it was.
#include "script/grade_internal.h"

#define GRADE_DEPTH_MAX 8    // of ctx.grade inside of ctx.grade
#define GRADE_COST      2000 // instructions, for what one costs outside of Lua

/** A library grader that another grader runs. */
typedef struct Nested {
    Grading *grading;
    GraderFrame frame;
    AnswerRule rule;
    VarsView vars;
    Score score;
} Nested;

static Str given_text(lua_State *L, int given, const char *name, Arena *arena)
{
    lua_pushstring(L, name);
    Str s = STR_EMPTY;
    if (lua_rawget(L, given) != LUA_TNIL && !vm_is_null(L, -1)) {
        s = vm_to_text(L, -1, arena, name);
    }
    lua_pop(L, 1);
    return s;
}

static void given_answer(lua_State *L, int given, Arena *arena, Nested *out)
{
    static const char *const known[] = {"after", "regex", "which", "trim"};
    lua_pushliteral(L, "answer");
    int type = lua_rawget(L, given);
    if (type == LUA_TNIL || vm_is_null(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    int rule = lua_gettop(L);
    luaL_checktype(L, rule, LUA_TTABLE);
    size_t n = vm_push_keys(L, rule);
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, rule + 1, (lua_Integer)i);
        Str key = vm_to_text(L, -1, arena, "a key of answer");
        bool found = false;
        for (size_t k = 0; k < sizeof(known) / sizeof(*known) && !found; k++) {
            found = str_eq_c(key, known[k]);
        }
        if (!found) {
            luaL_error(L, "answer has after, regex, which, trim; not '%s'", key.data);
        }
        lua_pop(L, 1);
    }
    Str which = given_text(L, rule, "which", arena);
    if (which.len > 0 && !str_eq(which, STR("first")) && !str_eq(which, STR("last"))) {
        luaL_error(L, "which is first or last, not '%s'", which.data);
    }
    out->rule = (AnswerRule){.given = true,
                             .after = given_text(L, rule, "after", arena),
                             .regex = given_text(L, rule, "regex", arena),
                             .first = str_eq(which, STR("first")),
                             .trim = given_text(L, rule, "trim", arena)};
    out->frame.rule = &out->rule;
    lua_settop(L, rule - 1);
}

/** What it may ask for is what it declares and its caller may too. */
static void nested_asking(lua_State *L, Step *step, const Unit *unit, Str role)
{
    Asking *asking = &step->asking;
    if (unit->may_generate && !asking->may_generate) {
        luaL_error(L, "grader '%s' asks a model: its caller must declare effects = {\"generate\"}",
                   unit->source.name.data);
    }
    asking->may_generate = unit->may_generate;
    asking->may_loglik = asking->may_loglik && unit->may_loglik;
    asking->may_grade = unit->may_grade;
    asking->depth++;
    if (role.len > 0) {
        asking->role = role;
    } else if (asking->role.len == 0) {
        asking->role = unit->info.role;
    }
}

static void nested_negate(lua_State *L, int given, Nested *nested)
{
    const UnitInfo *info = &nested->frame.unit->info;
    lua_pushliteral(L, "not");
    int type = lua_rawget(L, given);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
        luaL_error(L, "not must be true or false");
    }
    nested->frame.negate = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (nested->frame.negate && (info->range_low != 0 || info->range_high != 1)) {
        luaL_error(L, "grader '%s': 'not' wants scores from 0 to 1, this one's range is %f to %f",
                   nested->frame.unit->source.name.data, info->range_low, info->range_high);
    }
}

/** nested, given -> its score into nested->score. */
static int nested_body(lua_State *L)
{
    Nested *nested = lua_touserdata(L, 1);
    Grading *grading = nested->grading;
    GraderFrame *frame = &nested->frame;
    Step *step = grading->step;
    Arena *arena = step->arena;
    frame->given = 2;
    frame->vars = 3;
    step->converting = false;
    library_load(L, grading->program, frame->number);
    nested_asking(L, step, frame->unit, given_text(L, 2, "role", arena));
    nested_negate(L, 2, nested);
    given_answer(L, 2, arena, nested);
    bool found = frame_answer(L, grading, frame, &nested->score);
    nested->vars = (VarsView){.in = step->in, .sample = frame->sample, .reply = &frame->reply};
    push_vars(L, &nested->vars);
    frame_run(L, grading, frame, &nested->vars, found, &nested->score);
    return 0;
}

static void push_nested_score(lua_State *L, const Score *score)
{
    lua_createtable(L, 0, 5);
    if (score->state == SCORE_UNSCORED) {
        vm_push_str(L, score->reason);
        lua_setfield(L, -2, "unscored");
    } else {
        lua_pushnumber(L, score->value);
        lua_setfield(L, -2, "value");
        lua_pushnumber(L, score->weight);
        lua_setfield(L, -2, "weight");
    }
    if (score->has_answer) {
        vm_push_str(L, score->answer);
        lua_setfield(L, -2, "answer");
    }
    if (score->why.len > 0) {
        vm_push_str(L, score->why);
        lua_setfield(L, -2, "why");
    }
    if (score->detail.kind != VALUE_NULL) {
        vm_push_value(L, &score->detail);
        lua_setfield(L, -2, "detail");
    }
}

int ctx_grade(lua_State *L)
{
    Vm *vm = vm_of(L);
    Step *step = step_check(L, "grade");
    Grading *grading = step->grading;
    if (!step->asking.may_grade) {
        return luaL_error(L, "ctx.grade must be declared: effects = {\"grade\"}");
    }
    lua_settop(L, 1);
    luaL_checktype(L, 1, LUA_TTABLE);
    if (step->asking.depth == GRADE_DEPTH_MAX) {
        return luaL_error(L, "ctx.grade is nested more than %d deep", GRADE_DEPTH_MAX);
    }
    vm_charge(L, GRADE_COST);
    step->converting = false;
    Str use = given_text(L, 1, "use", step->arena);
    size_t number = program_find(grading->program, UNIT_LIBRARY, use);
    if (use.len == 0 || number == STR_NONE) {
        return luaL_error(L, "%s", library_unknown(grading->program, use, step->arena).data);
    }
    const GraderFrame *outer = step->asking.frame;
    Nested *nested = ARENA_NEW(step->arena, Nested);
    *nested = (Nested){.grading = grading,
                       .frame = {.unit = &grading->program->units[number],
                                 .number = number,
                                 .sample = outer->sample,
                                 .reply = outer->reply},
                       .score = {.grader = use, .weight = 1}};
    int64_t index = step->next_index++;
    Fork fork = fork_save(vm);
    fork_enter(L, &fork, index);
    lua_pushcfunction(L, nested_body);
    lua_pushlightuserdata(L, nested);
    lua_pushvalue(L, 1);
    int status = lua_pcall(L, 2, 0, 0);
    Spent spent = step->spent;
    fork_restore(vm, &fork);
    step->spent = spent;
    if (status == LUA_ERRMEM) {
        vm_abandon(vm, L, ESCAPE_MEMORY);
    }
    if (status != LUA_OK) {
        return lua_error(L);
    }
    push_nested_score(L, &nested->score);
    return 1;
}
