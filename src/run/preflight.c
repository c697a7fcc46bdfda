// SPDX-License-Identifier: MIT
// Before the first call: the first sample of every cell goes through solver and graders with
// made-up replies, to see whom they ask for what. Finds a role that nobody plays and a model that
// can not chat or score while nothing has been paid for. Scripts that trip over a made-up reply
// prove nothing: their own attempts will tell.
#include "run/loop_internal.h"

#include <math.h>

#define STEPS_MAX      8
#define CALLS_SEEN_MAX 64

typedef struct Rehearsal {
    Loop *loop;
    Cell *cell;
    Source *tested;
    Sample sample;
    StepInput in;
    LoggedCall log[CALLS_SEEN_MAX];
    const Reply *last; // of the solver
} Rehearsal;

static const Reply *made_up_reply(const Request *request, Arena *arena)
{
    Reply *reply = ARENA_NEW(arena, Reply);
    *reply = (Reply){.text = STR("A"), .stop = STOP_STOP};
    if (request->kind == REQUEST_LOGLIK) {
        ChoiceLogprob *choices = ARENA_ARRAY(arena, ChoiceLogprob, request->n_items + 1);
        for (size_t i = 0; i < request->n_items; i++) {
            choices[i] = (ChoiceLogprob){.logprob = -1, .unconditional = -2, .n_tokens = 1};
        }
        reply->choices = choices;
        reply->n_choices = request->n_items;
    } else if (request->n > 1) {
        reply->n_more = (size_t)request->n - 1;
        Reply *more = ARENA_ARRAY(arena, Reply, reply->n_more);
        for (size_t i = 0; i < reply->n_more; i++) {
            more[i] = (Reply){.text = reply->text, .stop = STOP_STOP};
        }
        reply->more = more;
    }
    return reply;
}

/** A limit in dollars holds only where the price is known. */
static bool cost_is_bounded(const Eval *eval, const Model *model, Err *err)
{
    if (!(eval->limits.cost_usd > 0) || !str_eq(model->provider, STR("openai")) ||
        !(isnan(model->price_input_usd) || isnan(model->price_output_usd))) {
        return true;
    }
    return ERR_SET(
        err, ERR_CONFIG,
        "limits: cost_usd needs the price of model '" STR_FMT
        "', which is unknown: give price_usd in a file of registry/models, or limit tokens",
        STR_ARG(model->spec));
}

/** See whether everybody can do what a step asks for, and answer it. False with *err set: no. */
static bool answer_step(Rehearsal *rehearsal, const StepOutput *step, bool solving, bool *out_more,
                        Err *err)
{
    Arena *arena = &rehearsal->loop->scratch;
    *out_more = step->n_effects > 0;
    for (size_t i = 0; i < step->n_effects; i++) {
        Effect effect = step->effects[i];
        Role *role;
        if (!effect_route(rehearsal->loop, rehearsal->cell, rehearsal->tested, &rehearsal->sample,
                          1, &effect, &role, arena, err)) {
            return false;
        }
        const Model *asked = role != NULL ? role->model : rehearsal->tested->model;
        if (solving && !cost_is_bounded(rehearsal->cell->task->eval, asked, err)) {
            return false;
        }
        if (rehearsal->in.n_log == CALLS_SEEN_MAX) {
            *out_more = false;
            return true;
        }
        const Reply *reply = made_up_reply(&effect.request, arena);
        rehearsal->log[rehearsal->in.n_log++] = (LoggedCall){.path = effect.path, .reply = reply};
        rehearsal->last = solving ? reply : rehearsal->last;
    }
    return true;
}

/** Step solver or graders on until they end, trip, or were seen long enough. */
static bool rehearse(Rehearsal *rehearsal, bool solving, StepOutput *out, Err *err)
{
    Loop *loop = rehearsal->loop;
    const Task *task = rehearsal->cell->task;
    Script *script = loop->config->script;
    for (int i = 0; i < STEPS_MAX; i++) {
        Err ignored = ERR_INIT;
        StepOutput step = {0};
        bool ok =
            solving ? script_solve(script, task->solver_program, &rehearsal->in, &loop->scratch,
                                   &step, &ignored)
                    : script_grade(script, task->grader_program, &rehearsal->in, &out->reply,
                                   out->messages, out->n_messages, &loop->scratch, &step, &ignored);
        if (!ok) {
            return true;
        }
        if (step.done) {
            if (solving) {
                *out = step;
            }
            return true;
        }
        bool more = false;
        if (!answer_step(rehearsal, &step, solving, &more, err)) {
            return false;
        }
        if (!more) {
            return true;
        }
    }
    return true;
}

/** A role that a grader names has to be played, whether its first step shows it or not. */
static bool roles_named(const Cell *cell, Err *err)
{
    const Eval *eval = cell->task->eval;
    for (size_t i = 0; i < eval->n_graders; i++) {
        const EvalGrader *grader = &eval->graders[i];
        if (grader->role.len > 0 && role_find(cell, grader->role) == NULL) {
            return ERR_SET(err, ERR_CONFIG,
                           "eval '" STR_FMT "', grader '" STR_FMT "': nobody plays role '" STR_FMT
                           "': give --role " STR_FMT "=MODEL, or write roles: {" STR_FMT
                           ": MODEL} into the eval",
                           STR_ARG(eval->name), STR_ARG(grader->name), STR_ARG(grader->role),
                           STR_ARG(grader->role), STR_ARG(grader->role));
        }
    }
    return true;
}

static bool cell_rehearse(Loop *loop, Cell *cell, size_t model, Err *err)
{
    Err ignored = ERR_INIT;
    Rehearsal rehearsal = {.loop = loop, .cell = cell, .tested = &loop->sources[model]};
    ScriptModel script_model =
        script_model_of(rehearsal.tested->sampler, loop->config->models[model]);
    const Eval *eval = cell->task->eval;
    arena_reset(&loop->scratch);
    if (!registry_task_sample(loop->config->registry, cell->task, cell_index(cell, cell->from),
                              &loop->scratch, &rehearsal.sample, &ignored)) {
        return true;
    }
    rehearsal.in = (StepInput){
        .sample = &rehearsal.sample,
        .epoch = 1,
        .seed = run_seed(loop->config->seed, eval->name, cell->task->part, rehearsal.sample.id, 0,
                         STR_EMPTY),
        .log = rehearsal.log,
        .model = &script_model,
        .limits = &eval->limits,
    };
    StepOutput solved = {.reply = {.text = STR("A"), .stop = STOP_STOP}};
    bool ok = rehearse(&rehearsal, true, &solved, err);
    if (ok && !solved.done && rehearsal.last != NULL) {
        solved.reply = *rehearsal.last;
    }
    ok = ok && rehearse(&rehearsal, false, &solved, err);
    return ok || ERR_WRAP(err, "eval '" STR_FMT "'", STR_ARG(eval->name));
}

bool preflight(Loop *loop, Err *err)
{
    for (size_t c = 0; c < loop->plan.n_cells; c++) {
        Cell *cell = &loop->plan.cells[c];
        if (script_program_needs(cell->task->solver_program, UNIT_SOLVER, STR("sandbox"))) {
            return ERR_SET(err, ERR_ENVIRONMENT,
                           "eval '" STR_FMT
                           "': its solver needs a sandbox: no sandbox in this build yet",
                           STR_ARG(cell->task->eval->name));
        }
        if (!roles_named(cell, err)) {
            return false;
        }
        for (size_t m = 0; m < loop->config->n_models && cell->from < cell->to; m++) {
            if (!cell_rehearse(loop, cell, m, err)) {
                return false;
            }
        }
    }
    return true;
}
