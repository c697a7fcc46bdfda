// SPDX-License-Identifier: MIT
// Grading: all graders of a program on one reply, in one fresh state, in order. What every grader
// takes (when, answer, not) is done here; a wrong answer is 0, an ungradable one unscored, error()
// an error.
#include "script/grade_internal.h"

#include <stdio.h>

// ---- One grader ---------------------------------------------------------------------------------

/** What the grader needs and does not get is the eval's fault. */
static void check_needs(lua_State *L, const Grading *grading, const GraderFrame *frame)
{
    const Unit *unit = frame->unit;
    const Sample *sample = frame->sample;
    const Reply *reply = frame->reply.reply;
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
static void find_target(lua_State *L, Grading *grading, GraderFrame *frame)
{
    if (frame->given == 0) {
        unit_push(L, frame->number, UNIT_SLOT_TARGET);
    } else {
        lua_pushliteral(L, "target");
        lua_rawget(L, frame->given);
    }
    if (!lua_isnil(L, -1) && !vm_is_null(L, -1)) {
        frame->sample = target_replace(L, -1, frame->vars, frame->sample, grading->step->arena);
    }
    lua_pop(L, 1);
}

bool frame_answer(lua_State *L, Grading *grading, GraderFrame *frame, Score *score)
{
    ReplyView *reply = &frame->reply;
    Str text = reply->has_answer ? reply->answer : reply->reply->text;
    reply->answer = text;
    reply->has_answer = true;
    if (frame->rule == NULL) {
        return true;
    }
    bool found;
    Err err = ERR_INIT;
    vm_charge(L, text.len / 16);
    bool ok = answer_extract(grading->script, frame->rule, text, grading->step->arena, &found,
                             &reply->answer, &err);
    vm_check_deadline(vm_of(L), L);
    if (!ok) {
        luaL_error(L, "%s", err.message);
    }
    if (found) {
        score->answer = reply->answer;
        score->has_answer = true;
        return true;
    }
    reply->has_answer = false;
    score->why = STR("no answer found in the reply");
    score->is_boolean = true; // 0, whatever the grader would have given
    return false;
}

static bool applies(lua_State *L, const GraderFrame *frame)
{
    const EvalGrader *grader = frame->unit->source.grader;
    if (grader == NULL || grader->when.kind == VALUE_NULL) {
        return true;
    }
    if (grader->when.kind == VALUE_BOOL) {
        return grader->when.as.boolean;
    }
    unit_push(L, frame->number, UNIT_SLOT_WHEN);
    if (lua_isnil(L, -1)) {
        luaL_error(L, "'when' must be a template or a boolean");
    }
    lua_pushvalue(L, frame->vars);
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

static void push_params(lua_State *L, const GraderFrame *frame, Arena *arena)
{
    if (frame->given > 0) {
        library_params(L, frame->unit, frame->given, frame->vars, arena);
        return;
    }
    unit_push(L, frame->number, UNIT_SLOT_PARAMS);
    unit_render_params(L, frame->number, lua_gettop(L), frame->vars);
}

/** Its needs may depend on its params, at the top of the stack; whether they do. */
static bool needs_of_params(lua_State *L, GraderFrame *frame, Arena *arena)
{
    int params = lua_gettop(L);
    unit_push(L, frame->number, UNIT_SLOT_FILE);
    lua_getfield(L, -1, "needs");
    bool depends = lua_isfunction(L, -1);
    lua_pop(L, 1);
    if (depends) {
        Unit *copy = ARENA_NEW(arena, Unit);
        *copy = *frame->unit;
        unit_read_for(L, lua_gettop(L), params, arena, &copy->info);
        unit_flags(copy);
        frame->unit = copy;
    }
    lua_pop(L, 1);
    return depends;
}

void frame_run(lua_State *L, Grading *grading, GraderFrame *frame, VarsView *vars, bool found,
               Score *score)
{
    Arena *arena = grading->step->arena;
    int top = lua_gettop(L);
    if (frame->unit->needs_sandbox) {
        score->state = SCORE_UNSCORED;
        score->reason = STR("needs sandbox");
        return;
    }
    find_target(L, grading, frame);
    check_needs(L, grading, frame);
    if (!found) {
        return;
    }
    if (vars->sample != frame->sample) {
        vars->sample = frame->sample;
        push_vars(L, vars); // anew: the first ones remember what they were asked for
        lua_replace(L, frame->vars);
    }
    SampleView *sample = ARENA_NEW(arena, SampleView); // a library grader may keep the object
    *sample = (SampleView){
        .sample = frame->sample, .epoch = grading->step->in->epoch, .shows_target = true};
    unit_push(L, frame->number, UNIT_SLOT_CALL);
    push_sample(L, sample);
    push_reply(L, &frame->reply);
    push_params(L, frame, arena);
    if (frame->given > 0 && needs_of_params(L, frame, arena)) {
        check_needs(L, grading, frame);
    }
    vm_push_slot(L, SLOT_GRADER_CTX);
    grading->step->asking.frame = frame;
    lua_call(L, 4, 1);
    grading->step->converting = false;
    score_read(L, frame, arena, score);
    lua_settop(L, top);
}

// ---- One of the eval's graders ------------------------------------------------------------------

/** Set the step up for grader number `number` of the eval. */
static void enter_grader(lua_State *L, Grading *grading, size_t number)
{
    Step *step = grading->step;
    Vm *vm = vm_of(L);
    const Unit *unit = &grading->program->units[grading->unit];
    const EvalGrader *grader = unit->source.grader;
    step->asking = (Asking){
        .role = grader != NULL && grader->role.len > 0 ? grader->role : unit->info.role,
        .may_generate = unit->may_generate,
        .may_loglik = unit->may_loglik,
        .may_grade = unit->may_grade,
    };
    step->next_index = 0;
    snprintf(step->prefix, sizeof(step->prefix), "g%zu.", number);
    step->converting = false;
    vm->rng_stream = rng_mix(0x67726164 + number);
    vm->rng_position = 0;
    unit_push(L, grading->unit, UNIT_SLOT_CALL);
    vm_note_place(L);
    lua_pop(L, 1);
}

static void grade_one(lua_State *L, Grading *grading, const ReplyView *reply, Score *score)
{
    const Unit *unit = &grading->program->units[grading->unit];
    const EvalGrader *grader = unit->source.grader;
    int top = lua_gettop(L);
    Arena *arena = grading->step->arena;
    GraderFrame *frame = ARENA_NEW(arena, GraderFrame);
    *frame = (GraderFrame){.unit = unit,
                           .number = grading->unit,
                           .rule = grader != NULL && grader->answer.given ? &grader->answer : NULL,
                           .negate = grader != NULL && grader->negate,
                           .sample = grading->step->in->sample,
                           .reply = *reply,
                           .vars = top + 1};
    bool found = frame_answer(L, grading, frame, score);
    VarsView *vars = ARENA_NEW(arena, VarsView);
    *vars = (VarsView){.in = grading->step->in, .sample = frame->sample, .reply = &frame->reply};
    push_vars(L, vars);
    if (applies(L, frame)) {
        frame_run(L, grading, frame, vars, found, score);
    } else {
        *score = (Score){.grader = score->grader, .state = SCORE_ABSENT, .weight = 1};
    }
    lua_settop(L, top);
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

typedef struct GradeAll {
    Grading grading;
    ReplyView reply;
} GradeAll;

static int grade_body(lua_State *L)
{
    GradeAll *all = lua_touserdata(L, 1);
    Grading *grading = &all->grading;
    const Program *program = grading->program;
    for (size_t i = 0; i < program->n_graders; i++) {
        grading->unit = program->order[i];
        size_t number = program->units[grading->unit].number;
        enter_grader(L, grading, number);
        grade_one(L, grading, &all->reply, &grading->scores[number]);
        grading->scored[number] = true;
    }
    return 0;
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
    size_t n = program->n_graders;
    Step step;
    step_init(&step, script, in, arena);
    GradeAll all = {.grading = {.script = script,
                                .program = program,
                                .step = &step,
                                .unit = program->order[0],
                                .scores = ARENA_ARRAY(arena, Score, n),
                                .scored = ARENA_ARRAY(arena, bool, n)}};
    all.reply = (ReplyView){.reply = reply,
                            .sample = in->sample,
                            .messages = messages,
                            .n_messages = n_messages,
                            .n_calls = solver_calls(in)};
    for (size_t i = 0; i < n; i++) {
        const Unit *unit = &program->units[program->order[i]];
        all.grading.scores[unit->number] = (Score){.grader = unit->source.name, .weight = 1};
    }
    step.grading = &all.grading;
    step.scores = all.grading.scores;
    step.scored = all.grading.scored;
    step.n_scores = n;
    vm_restore(vm, &program->grade);
    vm->step = &step;
    vm->rng_seed = in->seed;
    Escape escape;
    if (!vm_run(vm, grade_body, &all, &escape, err)) {
        vm->live = NULL;
        vm->step = NULL;
        return ERR_WRAP(err, "grader '" STR_FMT "'",
                        STR_ARG(program->units[all.grading.unit].source.name));
    }
    result.scores = all.grading.scores;
    result.n_scores = n;
    step_output_end(&step, escape, &result);
    *out = result;
    return true;
}
