// SPDX-License-Identifier: MIT
// One stored attempt, scored anew: its solver is replayed from the log, which gives the reply with
// all that belongs to it, then the graders run as they do in the loop. What a grader asks is
// answered from the replies that were stored for equal requests.
#include "run/rescore_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRADER_STEPS_MAX 1000

/** A stored call, read back. */
typedef struct StoredCall {
    Str path;
    const Value *request;
    const Value *value; // the reply as stored
    Reply reply;
    Hash hash; // of the request; graders' calls only
    bool used;
} StoredCall;

/** An attempt on its way. */
typedef struct Again {
    Rescore *rescore;
    const AttemptInfo *old;
    Arena *arena;
    StoredCall *calls;
    size_t n_calls;
    LoggedCall *log; // of the solver, then what graders were answered
    size_t n_log;
    size_t cap_log;
    const StoredCall **answers; // behind the graders' part of the log
    StepInput in;
    bool needs_model;
} Again;

static bool is_of_grader(Str path)
{
    return path.len > 0 && path.data[0] == 'g';
}

/** "2" of "g2.0": which grader asks; -1: none. */
static int64_t grader_of(Str path)
{
    Str head;
    Str rest;
    int64_t index = -1;
    if (is_of_grader(path)) {
        str_cut(str_slice(path, 1, path.len), STR("."), &head, &rest);
        return str_to_i64(head, &index) ? index : -1;
    }
    return -1;
}

static Hash value_hash(const Value *request)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.request.1"));
    hash_value(&sha, request);
    return hash_end(&sha);
}

/** "2.10" after "2.9": numbers between dots; the store orders paths as text. */
static int compare_paths(const void *a, const void *b)
{
    Str left = ((const StoredCall *)a)->path;
    Str right = ((const StoredCall *)b)->path;
    bool more_left = true;
    bool more_right = true;
    while (more_left && more_right) {
        Str x;
        Str y;
        int64_t m = 0;
        int64_t n = 0;
        more_left = str_cut(left, STR("."), &x, &left);
        more_right = str_cut(right, STR("."), &y, &right);
        int order = str_to_i64(x, &m) && str_to_i64(y, &n) ? (m > n) - (m < n) : str_cmp(x, y);
        if (order != 0) {
            return order;
        }
    }
    return (int)more_left - (int)more_right;
}

// ---- Reading back -----------------------------------------------------------------------------

static bool calls_read(Again *again, Err *err)
{
    const Value *list = &again->old->calls;
    size_t n = list->kind == VALUE_LIST ? list->as.list.n : 0;
    again->calls = ARENA_ARRAY(again->arena, StoredCall, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *call = &list->as.list.items[i];
        StoredCall *out = &again->calls[again->n_calls++];
        out->path = value_get_str(call, "path", STR_EMPTY);
        out->request = value_get_c(call, "request");
        out->value = value_get_c(call, "reply");
        if (out->request == NULL || out->value == NULL ||
            !reply_from_value(again->arena, out->value, &out->reply, err)) {
            return ERR_WRAP(err, "stored call '" STR_FMT "'", STR_ARG(out->path));
        }
        if (is_of_grader(out->path)) {
            out->hash = value_hash(out->request);
        }
    }
    if (again->n_calls > 1) {
        qsort(again->calls, again->n_calls, sizeof(*again->calls), compare_paths);
    }
    return true;
}

static void log_add(Again *again, Str path, const Reply *reply, const StoredCall *answer)
{
    if (again->n_log == again->cap_log) {
        size_t cap = again->cap_log == 0 ? 16 : again->cap_log * 2;
        LoggedCall *log = ARENA_ARRAY(again->arena, LoggedCall, cap);
        const StoredCall **answers = ARENA_ARRAY(again->arena, const StoredCall *, cap);
        for (size_t i = 0; i < again->n_log; i++) {
            log[i] = again->log[i];
            answers[i] = again->answers[i];
        }
        again->log = log;
        again->answers = answers;
        again->cap_log = cap;
    }
    again->log[again->n_log] = (LoggedCall){.path = path, .reply = reply};
    again->answers[again->n_log++] = answer;
}

/** Whether the solver's model was asked in chats; what it can do besides is not known any more. */
static bool is_chat(const Again *again)
{
    for (size_t i = 0; i < again->n_calls; i++) {
        if (!is_of_grader(again->calls[i].path)) {
            return value_get_c(again->calls[i].request, "messages") != NULL;
        }
    }
    return true;
}

/** The replies that the solver had, in the order of their paths. */
static void log_of_solver(Again *again)
{
    for (size_t i = 0; i < again->n_calls; i++) {
        StoredCall *call = &again->calls[i];
        if (!is_of_grader(call->path)) {
            call->used = true;
            log_add(again, call->path, &call->reply, call);
        }
    }
}

// ---- What was replied -------------------------------------------------------------------------

static const Reply *last_reply(const Again *again)
{
    return again->n_log > 0 ? again->log[again->n_log - 1].reply : NULL;
}

/** The choices of an attempt's row as a reply has them. */
static void choices_of_row(const AttemptInfo *old, Arena *arena, Reply *reply)
{
    size_t n = old->choices.kind == VALUE_LIST ? old->choices.as.list.n : 0;
    ChoiceLogprob *choices = ARENA_ARRAY(arena, ChoiceLogprob, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *choice = &old->choices.as.list.items[i];
        const Value *logprob = value_get_c(choice, "logprob");
        bool least = logprob != NULL && logprob->kind == VALUE_STR;
        choices[i] = (ChoiceLogprob){
            .logprob = least ? -(double)INFINITY : value_get_real(choice, "logprob", (double)NAN),
            .unconditional = value_get_real(choice, "unconditional", (double)NAN),
            .n_tokens = value_get_int(choice, "tokens", 0),
            .greedy = value_get_bool(choice, "greedy", false),
        };
    }
    reply->choices = choices;
    reply->n_choices = n;
}

/** The stored reply itself, where the solver of today makes another one of the log. */
static Reply reply_of_row(const Again *again)
{
    const Reply *last = last_reply(again);
    Reply reply = last != NULL ? *last : (Reply){.tool_calls = value_null()};
    reply.text = again->old->reply_text;
    stop_reason_from_word(again->old->stop, &reply.stop);
    choices_of_row(again->old, again->arena, &reply);
    return reply;
}

/** Whether an attempt ended by a spent limit, with what was there graded. */
static bool is_cut(const Again *again, const StepOutput *solved)
{
    return !solved->done && str_eq(again->old->stop, STR("limit"));
}

/**
 * What is to be graded. false: the solver did not get to an end, and there is nothing to grade.
 */
static bool reply_find(Again *again, StepOutput *solved, Reply *out)
{
    Err ignored = ERR_INIT;
    const AttemptInfo *old = again->old;
    Rescore *rescore = again->rescore;
    bool was_done = str_eq(old->state, STR("done"));
    bool ok = script_solve(rescore->config->script, rescore->cell->task->solver_program, &again->in,
                           again->arena, solved, &ignored);
    if (!ok) {
        *solved = (StepOutput){0};
    }
    if (ok && solved->done) {
        *out = solved->reply;
        bool same =
            str_eq(out->text, old->reply_text) && str_eq_c(old->stop, stop_reason_word(out->stop));
        if (!was_done || same) {
            return true;
        }
    }
    if (!was_done) {
        return false;
    }
    if (is_cut(again, solved) && last_reply(again) != NULL) {
        *out = *last_reply(again);
        out->stop = STOP_LIMIT;
        if (str_eq(out->text, old->reply_text)) {
            return true;
        }
    }
    *out = reply_of_row(again);
    solved->messages = NULL;
    solved->n_messages = 0;
    return true;
}

// ---- Grading ----------------------------------------------------------------------------------

/** The hashes that a request may have been stored under: as it is, or put to a chat model. */
static void request_hashes(const Request *request, Arena *arena, Hash out[2])
{
    Value value = request_to_value(arena, request);
    out[0] = out[1] = value_hash(&value);
    if (request->kind == REQUEST_GENERATE && !request->prompt.is_chat) {
        Message message = {.role = STR("user"), .content = request->prompt.text};
        Request chat = *request;
        chat.prompt = (Prompt){.is_chat = true, .messages = &message, .n_messages = 1};
        value = request_to_value(arena, &chat);
        out[1] = value_hash(&value);
    }
}

/** The stored reply to a request: at its own path first; each answers once while others are left.
 */
static StoredCall *answer_find(Again *again, const Effect *effect, bool any)
{
    Hash hashes[2];
    StoredCall *best = NULL;
    request_hashes(&effect->request, again->arena, hashes);
    for (size_t i = 0; i < again->n_calls; i++) {
        StoredCall *call = &again->calls[i];
        bool same_path = str_eq(call->path, effect->path);
        bool fits =
            is_of_grader(call->path) && (hash_eq(&call->hash, &hashes[0]) ||
                                         hash_eq(&call->hash, &hashes[1]) || (any && same_path));
        if (!fits) {
            continue;
        }
        if (same_path) {
            return call;
        }
        best = best == NULL || (best->used && !call->used) ? call : best;
    }
    return best;
}

static bool is_selected(const Again *again, Str path)
{
    int64_t index = grader_of(path);
    const RescoreCell *cell = again->rescore->cell;
    return index < 0 || (size_t)index >= cell->eval->n_graders || cell->selected[index];
}

static bool effects_answer(Again *again, const StepOutput *step, Err *err)
{
    for (size_t i = 0; i < step->n_effects; i++) {
        const Effect *effect = &step->effects[i];
        // What a grader says that is not applied does not count.
        StoredCall *call = answer_find(again, effect, !is_selected(again, effect->path));
        if (call == NULL) {
            again->needs_model = true;
            Str role = effect->request.role;
            return ERR_SET(err, ERR_MODEL,
                           "needs a model: no stored reply answers what is asked of " STR_FMT
                           " (call " STR_FMT "); run the eval again",
                           STR_ARG(role.len > 0 ? role : STR("the model")), STR_ARG(effect->path));
        }
        call->used = true;
        log_add(again, effect->path, &call->reply, call);
    }
    return true;
}

static bool grade(Again *again, const StepOutput *solved, const Reply *reply, StepOutput *out,
                  Err *err)
{
    Rescore *rescore = again->rescore;
    for (int i = 0; i < GRADER_STEPS_MAX; i++) {
        again->in.log = again->log;
        again->in.n_log = again->n_log;
        *out = (StepOutput){0};
        if (!script_grade(rescore->config->script, rescore->cell->task->grader_program, &again->in,
                          reply, solved->messages, solved->n_messages, again->arena, out, err)) {
            return false;
        }
        if (out->done) {
            return true;
        }
        if (!effects_answer(again, out, err)) {
            return false;
        }
    }
    return ERR_SET(err, ERR_LIMIT, "the graders took more than %d steps", GRADER_STEPS_MAX);
}

/** limits.then is zero: a spent limit scores nothing, whatever the graders would say. */
static bool scores_zero(const Again *again, const StepOutput *solved, StepOutput *out)
{
    const Eval *eval = again->rescore->cell->eval;
    if (!is_cut(again, solved) || !str_eq(eval->limits.then, STR("zero"))) {
        return false;
    }
    Score *scores = ARENA_ARRAY(again->arena, Score, eval->n_graders + 1);
    for (size_t i = 0; i < eval->n_graders; i++) {
        scores[i] = (Score){.grader = eval->graders[i].name,
                            .state = SCORE_VALUE,
                            .weight = 1,
                            .why = STR("a limit is spent")};
    }
    *out = (StepOutput){.done = true, .scores = scores, .n_scores = eval->n_graders};
    return true;
}

static const Score *old_score(const AttemptInfo *old, Str grader)
{
    for (size_t i = 0; i < old->n_scores; i++) {
        if (str_eq(old->scores[i].grader, grader)) {
            return &old->scores[i];
        }
    }
    return NULL;
}

/** The new scores of graders that are applied, the old ones of the others. */
static const Score *scores_pick(const Again *again, const StepOutput *graded)
{
    const RescoreCell *cell = again->rescore->cell;
    bool was_done = str_eq(again->old->state, STR("done"));
    Score *scores = ARENA_ARRAY(again->arena, Score, graded->n_scores + 1);
    for (size_t i = 0; i < graded->n_scores; i++) {
        scores[i] = graded->scores[i];
        if (was_done && i < cell->eval->n_graders && !cell->selected[i]) {
            const Score *old = old_score(again->old, scores[i].grader);
            scores[i] =
                old != NULL ? *old : (Score){.grader = scores[i].grader, .state = SCORE_ABSENT};
        }
    }
    return scores;
}

// ---- Storing ----------------------------------------------------------------------------------

static void usage_add(AttemptRow *row, const Reply *reply)
{
    row->usage.input += reply->usage.input;
    row->usage.output += reply->usage.output;
    row->usage.cached += reply->usage.cached;
    row->usage.reasoning += reply->usage.reasoning;
    row->seconds += reply->seconds;
    row->cost_usd += reply->cost_usd;
}

static uint64_t call_seed(const Again *again, Str path)
{
    const AttemptInfo *old = again->old;
    return run_seed(again->rescore->seed, old->eval, old->part, old->sample_id, old->epoch, path);
}

/** The calls that count, as they were stored; what graders were answered under its path of now. */
static bool calls_put(const Again *again, AttemptRow *row, Err *err)
{
    const AttemptInfo *old = again->old;
    for (size_t i = 0; i < again->n_log; i++) {
        const StoredCall *call = again->answers[i];
        if (!store_put_stored_call(again->rescore->store, again->rescore->run_id, old->sample_id,
                                   old->epoch, again->log[i].path, call_seed(again, call->path),
                                   call->request, call->value, err)) {
            return false;
        }
        usage_add(row, &call->reply);
    }
    return true;
}

/** The attempt's row but for what came of it. */
static AttemptRow row_begin(const Again *again)
{
    const AttemptInfo *old = again->old;
    AttemptRow row = {0};
    if (again->rescore->sample != NULL) {
        attempt_row_sample(&row, again->rescore->sample, again->arena);
    } else {
        row.target = STR("[]");
        row.metadata = STR("{}");
    }
    row.run_id = again->rescore->run_id;
    row.sample_id = old->sample_id;
    row.sample_hash = old->sample_hash;
    row.epoch = old->epoch;
    row.prompt = old->prompt; // what was asked, whatever the eval asks today
    return row;
}

static void put_error(const Again *again, ErrCode code, Str message, Err *err)
{
    AttemptRow row = row_begin(again);
    row.state = ATTEMPT_ERROR;
    row.error_code = code;
    row.error = message;
    if (calls_put(again, &row, err)) {
        store_put_attempt(again->rescore->store, &row, err);
    }
}

static void put_done(const Again *again, const Reply *reply, const StepOutput *solved,
                     const StepOutput *graded, Err *err)
{
    AttemptRow row = row_begin(again);
    row.state = ATTEMPT_DONE;
    row.reply_text = reply->text;
    row.stop = reply->stop;
    row.choices = reply->choices;
    row.n_choices = reply->n_choices;
    if (row.n_choices > again->rescore->sample->n_choices) {
        row.choice_texts = NULL; // scored texts of the solver's own
    }
    row.scores = scores_pick(again, graded);
    row.n_scores = graded->n_scores;
    row.notes = attempt_notes_join(again->arena, solved->notes, graded->notes);
    if (calls_put(again, &row, err)) {
        store_put_attempt(again->rescore->store, &row, err);
    }
}

static void note_error(Rescore *rescore, Str id, const char *message)
{
    if (rescore->out->first_error.len == 0) {
        rescore->out->first_error =
            str_printf(rescore->arena, STR_FMT ": %.400s", STR_ARG(id), message);
    }
}

static void score_again(Again *again)
{
    Rescore *rescore = again->rescore;
    RescoreOutcome *out = rescore->out;
    Err err = ERR_INIT;
    StepOutput solved = {0};
    StepOutput graded = {0};
    Reply reply = {0};
    log_of_solver(again);
    again->in.log = again->log;
    again->in.n_log = again->n_log;
    if (!reply_find(again, &solved, &reply)) {
        out->n_kept++;
        put_error(again, err_code_from_word(str_to_c(again->arena, again->old->error_code)),
                  again->old->error, &rescore->err);
        return;
    }
    if (scores_zero(again, &solved, &graded) || grade(again, &solved, &reply, &graded, &err)) {
        out->n_scored++;
        put_done(again, &reply, &solved, &graded, &rescore->err);
        return;
    }
    out->n_new_errors++;
    out->n_need_model += again->needs_model;
    note_error(rescore, again->old->sample_id, err.message);
    put_error(again, err.code, str_from_c(err.message), &rescore->err);
}

bool rescore_attempt(void *ctx, const AttemptInfo *attempt)
{
    Rescore *rescore = ctx;
    RescoreOutcome *out = rescore->out;
    const Sample *sample = rescore->sample;
    rescore->n_seen++;
    if (sample != NULL && !hash_eq(&sample->hash, &attempt->sample_hash)) {
        out->n_changed++;
        if (out->first_changed.len == 0) {
            out->first_changed = str_copy(rescore->arena, attempt->sample_id);
        }
        return true;
    }
    ArenaMark mark = arena_mark(&rescore->scratch);
    ScriptModel model = {.name = attempt->model, .loglik = true};
    Again again = {.rescore = rescore, .old = attempt, .arena = &rescore->scratch};
    again.in = (StepInput){
        .sample = sample,
        .epoch = attempt->epoch,
        .seed =
            run_seed(rescore->seed, attempt->eval, attempt->part, attempt->sample_id, 0, STR_EMPTY),
        .model = &model,
        .limits = &rescore->cell->eval->limits,
    };
    bool ok = calls_read(&again, &rescore->err);
    model.chat = is_chat(&again);
    if (ok && sample == NULL) {
        out->n_kept++;
        log_of_solver(&again);
        put_error(&again, err_code_from_word(str_to_c(again.arena, attempt->error_code)),
                  attempt->error, &rescore->err);
    } else if (ok) {
        score_again(&again);
    }
    arena_rewind(&rescore->scratch, mark);
    return rescore->err.code == ERR_NONE;
}
