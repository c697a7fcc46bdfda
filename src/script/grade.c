// SPDX-License-Identifier: MIT
// Grading: all graders of a program on one reply, in one fresh state, in order. What every grader
// takes (when, answer, not) is done here; a wrong answer is 0, an ungradable one unscored, error()
// an error.
#include "script/script_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Grading {
    Script *script;
    const Program *program;
    Step *step;
    ReplyView reply;
    size_t unit;          // the grader that runs
    const Sample *sample; // with its target
    Score *scores;
    size_t n_scores;
} Grading;

static const EvalGrader *grader_of(const Grading *grading)
{
    return grading->program->units[grading->unit].source.grader;
}

// ---- Reading a score ----------------------------------------------------------------------------

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

static void read_score(lua_State *L, const Grading *grading, Score *score)
{
    const UnitInfo *info = &grading->program->units[grading->unit].info;
    int index = lua_gettop(L);
    if (lua_type(L, index) == LUA_TTABLE) {
        vm_fill(L, index);
        score_table(L, index, info, grading->step->arena, score);
    } else {
        score_value(L, index, info, score);
    }
    const EvalGrader *grader = grader_of(grading);
    if (grader != NULL && grader->negate && score->state == SCORE_VALUE) {
        score->value = 1 - score->value;
    }
}

// ---- One grader ---------------------------------------------------------------------------------

/** What the grader needs and does not get is the eval's fault. */
static void check_needs(lua_State *L, const Grading *grading)
{
    const Unit *unit = &grading->program->units[grading->unit];
    const Sample *sample = grading->sample;
    const Reply *reply = grading->reply.reply;
    if (unit->needs_target && !sample->has_target) {
        luaL_error(L, "the grader needs a target and the sample has none");
    }
    if (unit->needs_choices && sample->n_choices == 0 && reply->n_choices == 0) {
        luaL_error(L, "the grader needs choices and there are none");
    }
    if (unit->needs_choices && sample != grading->step->in->sample && sample->n_correct == 0) {
        luaL_error(L, "the grader's target is the text of no choice");
    }
    if (unit->needs_logprobs && reply->n_logprobs == 0) {
        luaL_error(L, "the grader needs logprobs and the reply has none");
    }
    if (unit->needs_loglik && reply->n_choices == 0) {
        luaL_error(L, "the grader needs texts scored by likelihood and the reply has none");
    }
}

/** The sample with the grader's own target, if it has one. */
static void find_target(lua_State *L, Grading *grading, int vars)
{
    unit_push(L, grading->unit, UNIT_SLOT_TARGET);
    if (!lua_isnil(L, -1)) {
        grading->sample = target_replace(L, -1, vars, grading->sample, grading->step->arena);
    }
    lua_pop(L, 1);
}

/** Apply the answer rule; false: nothing found, the score is 0. */
static bool find_answer(lua_State *L, Grading *grading, Score *score)
{
    const EvalGrader *grader = grader_of(grading);
    Str text = grading->reply.reply->text;
    grading->reply.answer = text;
    grading->reply.has_answer = true;
    if (grader == NULL || !grader->answer.given) {
        return true;
    }
    bool found;
    Err err = ERR_INIT;
    vm_charge(L, text.len / 16);
    bool ok = answer_extract(grading->script, &grader->answer, text, grading->step->arena, &found,
                             &grading->reply.answer, &err);
    vm_check_deadline(vm_of(L), L);
    if (!ok) {
        luaL_error(L, "%s", err.message);
    }
    if (found) {
        score->answer = grading->reply.answer;
        score->has_answer = true;
        return true;
    }
    grading->reply.has_answer = false;
    score->why = STR("no answer found in the reply");
    score->is_boolean = true; // 0, whatever the grader would have given
    return false;
}

static bool applies(lua_State *L, const Grading *grading, int vars)
{
    const EvalGrader *grader = grader_of(grading);
    if (grader == NULL || grader->when.kind == VALUE_NULL) {
        return true;
    }
    if (grader->when.kind == VALUE_BOOL) {
        return grader->when.as.boolean;
    }
    unit_push(L, grading->unit, UNIT_SLOT_WHEN);
    if (lua_isnil(L, -1)) {
        luaL_error(L, "'when' must be a template or a boolean");
    }
    lua_pushvalue(L, vars);
    lua_call(L, 1, 1);
    // Python's idea of truth: nothing, zero and emptiness are false.
    bool yes = lua_toboolean(L, -1) && !vm_is_null(L, -1);
    if (lua_type(L, -1) == LUA_TNUMBER) {
        yes = lua_tonumber(L, -1) != 0;
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        yes = lua_rawlen(L, -1) > 0;
    } else if (lua_type(L, -1) == LUA_TTABLE) {
        yes = vm_push_keys(L, -1) > 0;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return yes;
}

/** Set the step up for grader number `number` of the eval. */
static void enter_grader(lua_State *L, Grading *grading, size_t number)
{
    Step *step = grading->step;
    Vm *vm = vm_of(L);
    const Unit *unit = &grading->program->units[grading->unit];
    const EvalGrader *grader = unit->source.grader;
    step->may_generate = unit->may_generate;
    step->may_loglik = unit->may_loglik;
    step->role = grader != NULL && grader->role.len > 0 ? grader->role : unit->info.role;
    step->next_index = 0;
    snprintf(step->prefix, sizeof(step->prefix), "g%zu.", number);
    step->converting = false;
    vm->rng_stream = rng_mix(0x67726164 + number);
    vm->rng_position = 0;
    grading->sample = step->in->sample;
    unit_push(L, grading->unit, UNIT_SLOT_CALL);
    vm_note_place(L);
    lua_pop(L, 1);
}

static void grade_one(lua_State *L, Grading *grading, size_t number, Score *score)
{
    const Unit *unit = &grading->program->units[grading->unit];
    int top = lua_gettop(L);
    enter_grader(L, grading, number);
    bool found = find_answer(L, grading, score);
    VarsView vars = {.in = grading->step->in, .sample = grading->sample, .reply = &grading->reply};
    push_vars(L, &vars);
    if (!applies(L, grading, top + 1)) {
        *score = (Score){.grader = score->grader, .state = SCORE_ABSENT, .weight = 1};
        lua_settop(L, top);
        return;
    }
    if (unit->needs_sandbox) {
        score->state = SCORE_UNSCORED;
        score->reason = STR("needs sandbox");
        lua_settop(L, top);
        return;
    }
    find_target(L, grading, top + 1);
    check_needs(L, grading);
    if (found) {
        SampleView sample = {
            .sample = grading->sample, .epoch = grading->step->in->epoch, .shows_target = true};
        if (vars.sample != grading->sample) {
            vars.sample = grading->sample;
            push_vars(L, &vars); // anew: the first ones remember what they were asked for
            lua_replace(L, top + 1);
        }
        unit_push(L, grading->unit, UNIT_SLOT_CALL);
        push_sample(L, &sample);
        push_reply(L, &grading->reply);
        unit_push(L, grading->unit, UNIT_SLOT_PARAMS);
        unit_render_params(L, grading->unit, lua_gettop(L), top + 1);
        vm_push_slot(L, SLOT_GRADER_CTX);
        lua_call(L, 4, 1);
        read_score(L, grading, score);
    }
    lua_settop(L, top);
}

static int grade_body(lua_State *L)
{
    Grading *grading = lua_touserdata(L, 1);
    const Program *program = grading->program;
    for (size_t i = 0; i < program->n_units; i++) {
        if (program->units[i].source.kind != UNIT_GRADER) {
            continue;
        }
        Score *score = &grading->scores[grading->n_scores];
        *score = (Score){.grader = program->units[i].source.name, .weight = 1};
        grading->unit = i;
        grade_one(L, grading, grading->n_scores, score);
        grading->step->scores = grading->scores;
        grading->step->n_scores = ++grading->n_scores;
    }
    return 0;
}

// ---- All of them --------------------------------------------------------------------------------

static int64_t solver_calls(const StepInput *in)
{
    int64_t n = 0;
    for (size_t i = 0; i < in->n_log; i++) {
        n += !str_starts_with(in->log[i].path, STR("g"));
    }
    return n;
}

bool script_grade(Script *script, Program *program, const StepInput *in, const Reply *reply,
                  const Message *messages, size_t n_messages, Arena *arena, StepOutput *out,
                  Err *err)
{
    Vm *vm = script_vm(script);
    StepOutput result = {.done = true};
    if (program->grade.bytes == NULL) {
        *out = result;
        return true;
    }
    Step step;
    step_init(&step, script, in, arena);
    step.grading = true;
    Grading grading = {.script = script, .program = program, .step = &step};
    grading.scores = ARENA_ARRAY(arena, Score, program->n_units);
    grading.reply = (ReplyView){.reply = reply,
                                .sample = in->sample,
                                .messages = messages,
                                .n_messages = n_messages,
                                .n_calls = solver_calls(in)};
    vm_restore(vm, &program->grade);
    vm->step = &step;
    vm->rng_seed = in->seed;
    Escape escape;
    if (!vm_run(vm, grade_body, &grading, &escape, err)) {
        vm->live = NULL;
        vm->step = NULL;
        return ERR_WRAP(err, "grader '" STR_FMT "'",
                        STR_ARG(program->units[grading.unit].source.name));
    }
    result.scores = grading.scores;
    result.n_scores = grading.n_scores;
    step_output_end(&step, escape, &result);
    *out = result;
    return true;
}
