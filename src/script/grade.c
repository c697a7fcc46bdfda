// SPDX-License-Identifier: MIT
// Grading: all graders of a program on one reply, in one fresh state, in order. What every grader
// takes (when, answer, not) is done here; a wrong answer is 0, an ungradable one unscored, error()
// an error.
#include "script/script_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GRADE_DEPTH_MAX 8 // of ctx.grade inside of ctx.grade

struct Grading {
    Script *script;
    Program *program;
    Step *step;
    size_t unit; // the eval's grader that runs, for messages
    Score *scores;
    bool *scored; // which of them are there
};

/** One grader at work: one of the eval's, or a library grader inside of it. */
struct GraderFrame {
    const Unit *unit;
    size_t number;          // of the unit
    const AnswerRule *rule; // NULL: the answer is what it was before
    bool negate;
    const Sample *sample; // with its target
    ReplyView reply;      // with its answer
    int given;            // stack index of the table that ctx.grade was given, or 0
    int vars;             // stack index of the templates' variables
};

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

static void read_score(lua_State *L, const GraderFrame *frame, Arena *arena, Score *score)
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

/** Apply the answer rule; false: nothing found, the score is 0. */
static bool find_answer(lua_State *L, Grading *grading, GraderFrame *frame, Score *score)
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

/** The grader's own part, when `answer` and `when` have been looked at. */
static void frame_run(lua_State *L, Grading *grading, GraderFrame *frame, VarsView *vars,
                      bool found, Score *score)
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
    SampleView sample = {
        .sample = frame->sample, .epoch = grading->step->in->epoch, .shows_target = true};
    unit_push(L, frame->number, UNIT_SLOT_CALL);
    push_sample(L, &sample);
    push_reply(L, &frame->reply);
    push_params(L, frame, arena);
    if (frame->given > 0 && needs_of_params(L, frame, arena)) {
        check_needs(L, grading, frame);
    }
    vm_push_slot(L, SLOT_GRADER_CTX);
    grading->step->asking.frame = frame;
    lua_call(L, 4, 1);
    grading->step->converting = false;
    read_score(L, frame, arena, score);
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
    GraderFrame frame = {.unit = unit,
                         .number = grading->unit,
                         .rule = grader != NULL && grader->answer.given ? &grader->answer : NULL,
                         .negate = grader != NULL && grader->negate,
                         .sample = grading->step->in->sample,
                         .reply = *reply,
                         .vars = top + 1};
    bool found = find_answer(L, grading, &frame, score);
    VarsView vars = {.in = grading->step->in, .sample = frame.sample, .reply = &frame.reply};
    push_vars(L, &vars);
    if (applies(L, &frame)) {
        frame_run(L, grading, &frame, &vars, found, score);
    } else {
        *score = (Score){.grader = score->grader, .state = SCORE_ABSENT, .weight = 1};
    }
    lua_settop(L, top);
}

// ---- ctx.grade ----------------------------------------------------------------------------------

/** A library grader that another grader runs. */
typedef struct Nested {
    Grading *grading;
    GraderFrame frame;
    AnswerRule rule;
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
    bool found = find_answer(L, grading, frame, &nested->score);
    VarsView vars = {.in = step->in, .sample = frame->sample, .reply = &frame->reply};
    push_vars(L, &vars);
    frame_run(L, grading, frame, &vars, found, &nested->score);
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
