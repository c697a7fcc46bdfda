// SPDX-License-Identifier: MIT
// One attempt, one step: render the sample, run the solver with the log of replies so far, submit
// what it asks for; when it returns, grade and hand the closing row to the store. Nothing but the
// log outlives a step.
#include "run/loop_internal.h"

#include <stdio.h>
#include <string.h>

#include "text/text.h"

#define TURNS_DEFAULT    64
#define GRADER_CALLS_MAX 1024

// ---- Slots ------------------------------------------------------------------------------------

Attempt *attempt_create(Loop *loop)
{
    if (loop->n_free == 0) {
        if (loop->n_slots == loop->cap_slots) {
            loop->cap_slots = loop->cap_slots == 0 ? 64 : loop->cap_slots * 2;
            loop->attempts = mem_realloc(loop->attempts, loop->cap_slots, sizeof(*loop->attempts));
            loop->free_slots =
                mem_realloc(loop->free_slots, loop->cap_slots, sizeof(*loop->free_slots));
        }
        loop->free_slots[loop->n_free++] = (uint32_t)loop->n_slots++;
    }
    Attempt *attempt = mem_zalloc(1, sizeof(*attempt));
    attempt->slot = loop->free_slots[--loop->n_free];
    loop->attempts[attempt->slot] = attempt;
    loop->n_in_flight++;
    return attempt;
}

void attempt_end(Loop *loop, Attempt *attempt)
{
    loop->attempts[attempt->slot] = NULL;
    loop->free_slots[loop->n_free++] = attempt->slot;
    loop->n_in_flight--;
    attempt_destroy(attempt);
}

static Cell *cell_of(const Loop *loop, const Attempt *attempt)
{
    return &loop->plan.cells[attempt->cell];
}

uint32_t attempt_run(const Loop *loop, const Attempt *attempt)
{
    return (uint32_t)(loop->model * loop->plan.n_cells) + attempt->cell;
}

void attempt_fail(Attempt *attempt, const Err *err)
{
    if (attempt->failure == NULL) {
        attempt->failure = mem_alloc(1, sizeof(*err));
        *attempt->failure = *err;
    }
}

// ---- Ending an attempt ------------------------------------------------------------------------

static Str targets_json(Arena *arena, const Sample *sample)
{
    Value *items = ARENA_ARRAY(arena, Value, sample->n_targets + 1);
    for (size_t i = 0; i < sample->n_targets; i++) {
        items[i] = value_str(sample->targets[i]);
    }
    Value list = value_list(items, sample->n_targets);
    return json_plain(arena, &list);
}

static Str prompt_json(Arena *arena, const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return prompt->text;
    }
    Request request = {.kind = REQUEST_GENERATE, .prompt = *prompt};
    Value value = request_to_value(arena, &request);
    const Value *messages = value_get_c(&value, "messages");
    return messages == NULL ? STR_EMPTY : json_plain(arena, messages);
}

void attempt_row_sample(AttemptRow *row, const Sample *sample, Arena *arena)
{
    row->sample_id = sample->id;
    row->sample_hash = sample->hash;
    row->input = json_plain(arena, &sample->input);
    row->target = targets_json(arena, sample);
    row->metadata =
        sample->metadata.kind == VALUE_MAP ? json_plain(arena, &sample->metadata) : STR("{}");
    row->cluster = sample->has_cluster ? sample->cluster : STR_EMPTY;
    row->prompt = prompt_json(arena, &sample->prompt);
    Str *texts = ARENA_ARRAY(arena, Str, sample->n_choices + 1);
    for (size_t i = 0; i < sample->n_choices; i++) {
        texts[i] = sample->choices[i].text;
    }
    row->choice_texts = texts;
    row->n_choice_texts = sample->n_choices;
}

/** Totals of the replies an attempt used. */
static void row_usage(AttemptRow *row, const Attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->n_calls; i++) {
        const Reply *reply = attempt->calls[i].value;
        if (reply == NULL) {
            continue;
        }
        row->usage.input += reply->usage.input;
        row->usage.output += reply->usage.output;
        row->usage.cached += reply->usage.cached;
        row->usage.reasoning += reply->usage.reasoning;
        row->seconds += reply->seconds;
        row->cost_usd += reply->cost_usd;
    }
}

static bool attempt_store(Loop *loop, Attempt *attempt, AttemptRow *row, Err *err)
{
    uint32_t run = attempt_run(loop, attempt);
    row->run_id = loop->experiment.run_ids[run];
    row->epoch = attempt->epoch;
    row_usage(row, attempt);
    row->key = commit_key(loop, run, row->sample_id, attempt->epoch, row->state == ATTEMPT_ERROR);
    return store_put_attempt(loop->store, row, err);
}

static bool attempt_finish_error(Loop *loop, Attempt *attempt, const Sample *sample,
                                 const Err *cause)
{
    char id[32];
    AttemptRow row = {.state = ATTEMPT_ERROR, .error_code = cause->code};
    if (sample != NULL) {
        attempt_row_sample(&row, sample, &loop->scratch);
    } else {
        snprintf(id, sizeof(id), "(row %u)", attempt->index); // its own id is not known
        row.sample_id = str_from_c(id);
        row.target = STR("[]");
        row.metadata = STR("{}");
    }
    row.error = str_from_c(cause->message);
    if (loop->first_error[0] == '\0') {
        snprintf(loop->first_error, sizeof(loop->first_error), "%.*s: %.400s",
                 STR_ARG(row.sample_id), cause->message);
    }
    bool ok = attempt_store(loop, attempt, &row, &loop->fatal);
    attempt_end(loop, attempt);
    return ok;
}

static void score_count(Loop *loop, const Score *scores, size_t n)
{
    if (n > 0 && scores[0].state == SCORE_VALUE) {
        loop->score_sum += scores[0].value;
        loop->n_scored++;
    }
}

static bool attempt_finish_done(Loop *loop, Attempt *attempt, const Sample *sample,
                                const Reply *reply, const Score *scores, size_t n_scores, Str notes)
{
    AttemptRow row = {
        .state = ATTEMPT_DONE,
        .reply_text = reply->text,
        .stop = reply->stop,
        .choices = reply->choices,
        .n_choices = reply->n_choices,
        .scores = scores,
        .n_scores = n_scores,
        .notes = notes,
    };
    attempt_row_sample(&row, sample, &loop->scratch);
    if (row.n_choices > sample->n_choices) {
        row.choice_texts = NULL; // scored texts of the solver's own
    }
    score_count(loop, scores, n_scores);
    bool ok = attempt_store(loop, attempt, &row, &loop->fatal);
    attempt_end(loop, attempt);
    return ok;
}

// ---- Limits -----------------------------------------------------------------------------------

/** Which limit the log has spent, or NULL. */
static const char *limit_spent(const Attempt *attempt, const EvalLimits *limits)
{
    int64_t turns = limits->turns > 0 ? limits->turns : TURNS_DEFAULT;
    AttemptRow sum = {0};
    row_usage(&sum, attempt);
    if (attempt->n_calls >= turns) {
        return "turns";
    }
    if (limits->tokens > 0 && sum.usage.input + sum.usage.output >= limits->tokens) {
        return "tokens";
    }
    if (limits->seconds > 0 && sum.seconds >= limits->seconds) {
        return "seconds";
    }
    if (limits->cost_usd > 0 && sum.cost_usd >= limits->cost_usd) {
        return "cost_usd";
    }
    return NULL;
}

// ---- Stepping ---------------------------------------------------------------------------------

static void step_input(const Loop *loop, const Attempt *attempt, const Sample *sample,
                       LoggedCall *log, StepInput *out)
{
    const Task *task = cell_of(loop, attempt)->task;
    for (uint32_t i = 0; i < attempt->n_calls; i++) {
        log[i] = (LoggedCall){.path = str_from_c(attempt->calls[i].path),
                              .reply = attempt->calls[i].value};
    }
    *out = (StepInput){
        .sample = sample,
        .epoch = attempt->epoch,
        .seed =
            run_seed(loop->config->seed, task->eval->name, task->part, sample->id, 0, STR_EMPTY),
        .log = log,
        .n_log = attempt->n_calls,
        .model = &loop->script_model,
        .limits = &task->eval->limits,
    };
}

/** What an earlier process was told for a call of this attempt, or NULL. */
static const Reply *restored_reply(const Attempt *attempt, Str path)
{
    for (size_t i = 0; i < attempt->n_restored; i++) {
        if (str_eq(attempt->restored_paths[i], path)) {
            return &attempt->restored_replies[i];
        }
    }
    return NULL;
}

/**
 * Submit the effects of a step; those that an earlier process had answered have their replies at
 * once, so that a resumed attempt goes through the same steps, and the same limits, as a whole one.
 * A refused request fails the attempt, and so does a cancelled run. */
static void effects_submit(Loop *loop, Attempt *attempt, const Sample *sample,
                           const StepOutput *step)
{
    Err err = ERR_INIT;
    if (loop->cancelled) { // nobody would cancel what went out now
        ERR_SET(&err, ERR_CANCELLED, "cancelled");
        attempt_fail(attempt, &err);
        return;
    }
    for (size_t i = 0; i < step->n_effects && attempt->failure == NULL; i++) {
        Effect effect = step->effects[i];
        if (attempt->n_calls >= CALLS_MAX) {
            ERR_SET(&err, ERR_LIMIT, "more than %d calls in one attempt", CALLS_MAX);
            attempt_fail(attempt, &err);
            break;
        }
        Role *role;
        if (!effect_route(loop, cell_of(loop, attempt), loop->source, sample, attempt->epoch,
                          &effect, &role, &loop->scratch, &err)) {
            attempt_fail(attempt, &err);
            break;
        }
        Call *call = attempt_call_add(attempt, effect.path);
        call->role = role;
        call->value = restored_reply(attempt, effect.path);
        if (call->value != NULL) {
            continue;
        }
        call->request = request_pack(&effect.request);
        uint64_t id = ((uint64_t)attempt->slot << 16) | (attempt->n_calls - 1);
        if (!request_submit(loop, role, id, call->request, &err)) {
            attempt->n_calls--; // it never went out
            mem_free(call->path);
            mem_free(call->request);
            attempt_fail(attempt, &err);
            if (loop_is_fatal(&err) && loop->fatal.code == ERR_NONE) {
                loop->fatal = err;
            }
            break;
        }
        call->in_flight = true;
        attempt->n_in_flight++;
    }
}

/** The solver's last reply; a grader's calls have paths that start with "g". NULL: none. */
static const Reply *last_reply(const Attempt *attempt)
{
    for (uint32_t i = attempt->n_calls; i-- > 0;) {
        if (attempt->calls[i].path[0] != 'g') {
            return attempt->calls[i].value;
        }
    }
    return NULL;
}

/** Calls of the attempt's graders: the eval's limits are the solver's, these have one of their own.
 */
static size_t grader_calls(const Attempt *attempt)
{
    size_t n = 0;
    for (uint32_t i = 0; i < attempt->n_calls; i++) {
        n += attempt->calls[i].path[0] == 'g';
    }
    return n;
}

Str attempt_notes_join(Arena *arena, Str solver, Str graders)
{
    if (solver.len == 0 || graders.len == 0) {
        return solver.len > 0 ? solver : graders;
    }
    return str_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(solver),
                      str_ends_with(solver, STR("\n")) ? "" : "\n", STR_ARG(graders));
}

/** Grade a finished solver's reply, or submit what the graders ask for. True: the attempt ended. */
static bool attempt_grade(Loop *loop, Attempt *attempt, const Sample *sample, const StepInput *in,
                          const StepOutput *solved, const Reply *reply)
{
    Err err = ERR_INIT;
    StepOutput graded = {0};
    const Task *task = cell_of(loop, attempt)->task;
    if (!script_grade(loop->config->script, task->grader_program, in, reply, solved->messages,
                      solved->n_messages, &loop->scratch, &graded, &err)) {
        attempt_finish_error(loop, attempt, sample, &err);
        return true;
    }
    if (graded.done) {
        attempt_finish_done(loop, attempt, sample, reply, graded.scores, graded.n_scores,
                            attempt_notes_join(&loop->scratch, solved->notes, graded.notes));
        return true;
    }
    if (grader_calls(attempt) >= GRADER_CALLS_MAX) {
        ERR_SET(&err, ERR_LIMIT, "the graders made more than %d calls", GRADER_CALLS_MAX);
        attempt_finish_error(loop, attempt, sample, &err);
        return true;
    }
    effects_submit(loop, attempt, sample, &graded);
    return false;
}

/** A spent limit: grade what there is, score zero, or end in an error. True: the attempt ended. */
static bool attempt_limit(Loop *loop, Attempt *attempt, const Sample *sample, const StepInput *in,
                          const char *what)
{
    const Task *task = cell_of(loop, attempt)->task;
    Str then = task->eval->limits.then;
    Err err = ERR_INIT;
    const Reply *last = last_reply(attempt);
    if (str_eq(then, STR("error")) || last == NULL) {
        ERR_SET(&err, ERR_LIMIT, "the limit of %s is spent", what);
        attempt_finish_error(loop, attempt, sample, &err);
        return true;
    }
    Reply reply = *last;
    reply.stop = STOP_LIMIT;
    if (str_eq(then, STR("zero"))) {
        size_t n = task->eval->n_graders;
        Score *scores = ARENA_ARRAY(&loop->scratch, Score, n + 1);
        for (size_t i = 0; i < n; i++) {
            scores[i] =
                (Score){.grader = task->eval->graders[i].name,
                        .state = SCORE_VALUE,
                        .weight = 1,
                        .why = str_printf(&loop->scratch, "the limit of %s is spent", what)};
        }
        attempt_finish_done(loop, attempt, sample, &reply, scores, n, STR_EMPTY);
        return true;
    }
    StepOutput solved = {.done = true};
    return attempt_grade(loop, attempt, sample, in, &solved, &reply);
}

/** One step; true when it is to be followed by another one, since all replies were there. */
static bool step_once(Loop *loop, Attempt *attempt)
{
    Err err = ERR_INIT;
    arena_reset(&loop->scratch);
    Cell *cell = cell_of(loop, attempt);
    Sample sample;
    if (!registry_task_sample(loop->config->registry, cell->task, attempt->index, &loop->scratch,
                              &sample, &err)) {
        attempt_finish_error(loop, attempt, NULL, &err);
        return false;
    }
    if (attempt->failure != NULL) {
        attempt_finish_error(loop, attempt, &sample, attempt->failure);
        return false;
    }
    uint32_t n_log = attempt->n_calls;
    LoggedCall *log = ARENA_ARRAY(&loop->scratch, LoggedCall, n_log + 1);
    StepInput in;
    step_input(loop, attempt, &sample, log, &in);
    StepOutput step = {0};
    if (!script_solve(loop->config->script, cell->task->solver_program, &in, &loop->scratch, &step,
                      &err)) {
        attempt_finish_error(loop, attempt, &sample, &err);
        return false;
    }
    const char *spent = step.done ? NULL : limit_spent(attempt, &cell->task->eval->limits);
    if (step.done) {
        if (attempt_grade(loop, attempt, &sample, &in, &step, &step.reply)) {
            return false;
        }
    } else if (spent != NULL) {
        if (attempt_limit(loop, attempt, &sample, &in, spent)) {
            return false;
        }
    } else {
        effects_submit(loop, attempt, &sample, &step);
    }
    if (attempt->n_in_flight > 0) {
        return false;
    }
    if (attempt->failure == NULL && attempt->n_calls > n_log) {
        return true;
    }
    if (attempt->failure != NULL && attempt->failure->code == ERR_CANCELLED) {
        attempt_end(loop, attempt); // to be run again by --resume
        return false;
    }
    if (attempt->failure == NULL) {
        ERR_SET(&err, ERR_INTERNAL, "a step with neither an effect nor a result");
        attempt_fail(attempt, &err);
    }
    attempt_finish_error(loop, attempt, &sample, attempt->failure); // a refused request
    return false;
}

void attempt_step(Loop *loop, Attempt *attempt)
{
    while (step_once(loop, attempt)) {
    }
}
