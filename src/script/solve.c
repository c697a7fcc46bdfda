// SPDX-License-Identifier: MIT
// One solver step: restore, replay the log, stop at what it lacks or read the result.
#include "script/script_internal.h"

#include <math.h>
#include <string.h>

typedef struct Solving {
    const Program *program;
    size_t unit;
    Step *step;
    StepOutput *out;
} Solving;

// ---- The result ---------------------------------------------------------------------------------

static double raw_number(lua_State *L, int index, const char *name, double otherwise)
{
    lua_pushstring(L, name);
    int type = lua_rawget(L, index);
    double d = type == LUA_TNUMBER ? lua_tonumber(L, -1) : otherwise;
    lua_pop(L, 1);
    return d;
}

static bool raw_flag(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, index);
    bool flag = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

static ChoiceLogprob read_choice(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        luaL_error(L, "the solver's choices must be a list of tables");
    }
    ChoiceLogprob choice = {.logprob = raw_number(L, index, "logprob", (double)NAN)};
    if (isnan(choice.logprob) || choice.logprob == (double)INFINITY) { // -inf: impossible, fine
        luaL_error(L, "a choice of the solver has no logprob");
    }
    choice.unconditional = raw_number(L, index, "unconditional", (double)NAN);
    choice.n_tokens = (int64_t)raw_number(L, index, "tokens", 0);
    choice.greedy = raw_flag(L, index, "greedy");
    choice.by_letter = raw_flag(L, index, "by_letter");
    return choice;
}

static void read_choices(lua_State *L, int index, Arena *arena, Reply *out)
{
    size_t n = (size_t)lua_rawlen(L, index);
    if (n > VM_NODES_MAX) {
        luaL_error(L, "the solver's choices are too many");
    }
    ChoiceLogprob *choices = ARENA_ARRAY(arena, ChoiceLogprob, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        choices[i] = read_choice(L, lua_gettop(L));
        // What a table does not carry over: the logged tokens of a reply's own choice.
        if (i < out->n_choices) {
            choices[i].tokens = out->choices[i].tokens;
            choices[i].n_logged = out->choices[i].n_logged;
        }
        lua_pop(L, 1);
    }
    out->choices = choices;
    out->n_choices = n;
}

static void read_result_table(lua_State *L, int index, const Step *step, StepOutput *out)
{
    const ReplyView *view = reply_view(L, index);
    Reply *reply = &out->reply;
    if (view != NULL) {
        *reply = *view->reply;
        reply->more = NULL;
        reply->n_more = 0;
    }
    lua_pushliteral(L, "text");
    if (lua_rawget(L, index) != LUA_TNIL) {
        reply->text = vm_to_text(L, -1, step->arena, "the solver's text");
    }
    lua_pushliteral(L, "choices");
    if (lua_rawget(L, index) == LUA_TTABLE) {
        read_choices(L, lua_gettop(L), step->arena, reply);
    } else if (lua_isnil(L, -1) && lua_isnil(L, -2) && view == NULL) {
        luaL_error(L, "a solver must return a reply, text, or {text=, choices=, messages=}");
    }
    lua_pushliteral(L, "stop");
    if (lua_rawget(L, index) == LUA_TSTRING &&
        !stop_reason_from_word(vm_str(L, -1), &reply->stop)) {
        luaL_error(L, "unknown stop '%s'", lua_tostring(L, -1));
    }
    lua_pop(L, 3);
    if (reply_kept_messages(L, index)) {
        lua_pushliteral(L, "messages");
        lua_rawget(L, index);
        out->messages = read_messages(L, lua_gettop(L), step->arena, &out->n_messages);
        lua_pop(L, 1);
    }
}

static void read_result(lua_State *L, const Step *step, StepOutput *out)
{
    int index = lua_gettop(L);
    out->reply = (Reply){.stop = STOP_STOP};
    if (lua_type(L, index) == LUA_TSTRING) {
        out->reply.text = vm_to_text(L, index, step->arena, "the solver's text");
    } else if (lua_type(L, index) == LUA_TTABLE) {
        read_result_table(L, index, step, out);
    } else {
        luaL_error(L, "a solver must return a reply, text, or {text=, choices=, messages=}, not %s",
                   luaL_typename(L, index));
    }
    out->reply.usage = step->usage;
    out->reply.seconds = step->spent.seconds;
    out->reply.cost_usd = step->spent.cost_usd;
    out->done = true;
}

// ---- The step -----------------------------------------------------------------------------------

static int solve_body(lua_State *L)
{
    const Solving *solving = lua_touserdata(L, 1);
    const Step *step = solving->step;
    size_t unit = solving->unit;
    SampleView sample = {.sample = step->in->sample,
                         .epoch = step->in->epoch,
                         .shows_prompt = true,
                         .shows_target = solving->program->units[unit].info.sees_target};
    unit_push(L, unit, UNIT_SLOT_CALL);
    vm_note_place(L);
    push_sample(L, &sample);
    vm_push_slot(L, SLOT_SOLVER_CTX);
    unit_push(L, unit, UNIT_SLOT_PARAMS);
    VarsView vars = {.in = step->in, .sample = step->in->sample};
    push_vars(L, &vars);
    unit_render_params(L, unit, lua_gettop(L) - 1, lua_gettop(L));
    lua_pop(L, 1);
    lua_call(L, 3, 1);
    read_result(L, step, solving->out);
    return 0;
}

void step_output_end(const Step *step, Escape escape, StepOutput *out)
{
    if (escape == ESCAPE_EFFECT) {
        out->done = false;
        out->effects = step->effects;
        out->n_effects = step->n_effects;
    }
    Vm *vm = script_vm(step->script);
    out->notes = str_copy(step->arena, buf_view(&vm->notes));
    vm->live = NULL;
    vm->step = NULL;
}

bool script_solve(Script *script, Program *program, const StepInput *in, Arena *arena,
                  StepOutput *out, Err *err)
{
    Vm *vm = script_vm(script);
    size_t unit = program_find(program, UNIT_SOLVER, STR_EMPTY);
    if (unit == STR_NONE) {
        return ERR_SET(err, ERR_INTERNAL, "the program has no solver");
    }
    Step step;
    step_init(&step, script, in, arena);
    const EvalSolver *solver = program->units[unit].source.solver;
    if (solver != NULL) {
        step.settings = solver->settings;
    }
    step.asking = (Asking){.may_generate = program->units[unit].may_generate,
                           .may_loglik = program->units[unit].may_loglik};
    vm_restore(vm, &program->solve);
    vm->step = &step;
    vm->rng_seed = in->seed;
    vm->rng_stream = 0;
    StepOutput result = {0};
    Solving solving = {.program = program, .unit = unit, .step = &step, .out = &result};
    Escape escape;
    if (!vm_run(vm, solve_body, &solving, &escape, err)) {
        vm->live = NULL;
        vm->step = NULL;
        return false;
    }
    step_output_end(&step, escape, &result);
    *out = result;
    return true;
}
