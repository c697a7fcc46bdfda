// SPDX-License-Identifier: MIT
// The loop: step each attempt to its next effects, hand them to the sampler, wait for replies, step
// on, grade, store. One thread. An attempt is its log of replies: nothing else of it is kept while
// it waits, and every step renders the sample and runs the solver again from the start
// (DESIGN.md 4.3).
#include "run/run_internal.h"

#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/net.h"
#include "text/text.h"

#define CALLS_MAX        65535 // per attempt: a request's id is slot * 65536 + call
#define TURNS_DEFAULT    64
#define GRACE_DEFAULT_MS 3000
#define CANCEL_WAIT_MS   5000

/** What on_committed needs to write an event; freed once written. */
typedef struct Commit {
    struct Loop *loop;
    bool is_error;
    uint32_t run;
    int32_t epoch;
    char sample_id[];
} Commit;

typedef struct Loop {
    const RunConfig *config;
    Plan plan;
    Store *store;
    ExperimentOpen experiment;
    SamplerHost host;
    Queue completions;
    Net *net;
    Sampler **samplers; // n_models
    // The model at work:
    size_t model;
    Sampler *sampler;
    ScriptModel script_model;
    // Where admission stands:
    size_t cell;
    size_t index;
    int64_t epoch;
    bool exhausted;
    // Attempts in flight, by slot:
    Attempt **attempts;
    size_t n_slots;
    size_t cap_slots;
    uint32_t *free_slots;
    size_t n_free;
    size_t n_in_flight; // attempts
    size_t n_requests;  // requests
    Arena scratch;      // one step
    // Counts:
    atomic_llong n_done; // durable, without errors
    atomic_llong n_errors;
    int64_t n_skipped;
    int64_t n_planned;
    double score_sum;
    int64_t n_scored;
    uint64_t n_tokens;
    char first_error[512];
    // Progress and stopping:
    int64_t started_ns;
    int64_t shown_ns;
    int64_t shown_done_ns;
    int64_t rate_ns; // tokens/s over a sliding second
    uint64_t rate_tokens;
    double tokens_per_s;
    int64_t stop_ns; // when the first signal was seen; 0: not stopped
    bool cancelled;
    Err fatal; // ERR_MODEL or ERR_STORE: stop dispatching
} Loop;

// ---- Progress
// -----------------------------------------------------------------------------------------

static void loop_tokens(const Loop *loop, SamplerStats *out)
{
    *out = (SamplerStats){0};
    if (loop->sampler != NULL && loop->sampler->ops->stats != NULL) {
        loop->sampler->ops->stats(loop->sampler, out);
    }
}

static void progress_show(Loop *loop, const char *phase, bool now)
{
    int64_t t = clock_ns();
    if (loop->config->on_progress == NULL || (!now && t - loop->shown_ns < 100000000)) {
        return;
    }
    loop->shown_ns = t;
    SamplerStats stats;
    loop_tokens(loop, &stats);
    uint64_t tokens = stats.prefill_tokens_computed + stats.decode_tokens;
    tokens = tokens > 0 ? tokens : loop->n_tokens;
    if (t - loop->rate_ns > 1000000000) {
        double seconds = (double)(t - loop->rate_ns) * 1e-9;
        bool fresh = loop->rate_ns > 0 && tokens >= loop->rate_tokens;
        loop->tokens_per_s = fresh ? (double)(tokens - loop->rate_tokens) / seconds : 0;
        loop->rate_ns = t;
        loop->rate_tokens = tokens;
    }
    double seconds = (double)(t - loop->started_ns) * 1e-9;
    int64_t done = atomic_load(&loop->n_done) + atomic_load(&loop->n_errors);
    int64_t fresh = done - loop->n_skipped;
    double left = fresh > 0 ? seconds / (double)fresh * (double)(loop->n_planned - done) : -1;
    RunProgress progress = {
        .model = loop->config->models[loop->model]->spec,
        .phase = phase,
        .planned = loop->n_planned,
        .done = done,
        .errors = atomic_load(&loop->n_errors),
        .skipped = loop->n_skipped,
        .score = loop->n_scored > 0 ? loop->score_sum / (double)loop->n_scored : (double)NAN,
        .n_scored = loop->n_scored,
        .seconds = seconds,
        .tokens_per_s = loop->tokens_per_s,
        .seconds_left = left,
        .prefill_tokens = stats.prefill_tokens_computed,
        .decode_tokens = stats.decode_tokens,
    };
    loop->config->on_progress(loop->config->ctx, &progress);
}

static void note(const Loop *loop, bool warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void note(const Loop *loop, bool warning, const char *format, ...)
{
    if (loop->config->on_note == NULL) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    loop->config->on_note(loop->config->ctx, warning, str_from_c(line));
}

// ---- Commits: writer thread
// -----------------------------------------------------------------------------

static void event_write(const Commit *commit)
{
    const Loop *loop = commit->loop;
    const Cell *cell = &loop->plan.cells[commit->run % loop->plan.n_cells];
    const Model *model = loop->config->models[commit->run / loop->plan.n_cells];
    Buf line;
    buf_init(&line, 1 << 20);
    buf_c(&line, "{\"eval\":");
    json_write_str(&line, cell->task->eval->name);
    buf_c(&line, ",\"part\":");
    json_write_str(&line, cell->task->part);
    buf_c(&line, ",\"variant\":");
    json_write_str(&line, cell->task->variant->name);
    buf_c(&line, ",\"model\":");
    json_write_str(&line, model->spec);
    buf_c(&line, ",\"sample\":");
    json_write_str(&line, str_from_c(commit->sample_id));
    buf_printf(&line, ",\"epoch\":%d,\"state\":\"%s\"}\n", (int)commit->epoch,
               commit->is_error ? "error" : "done");
    size_t at = 0;
    while (at < line.len) {
        ssize_t n = write(loop->config->events_fd, line.data + at, line.len - at);
        if (n <= 0) {
            break; // nobody listens any more: the store has it all the same
        }
        at += (size_t)n;
    }
    buf_finish(&line);
}

/** With events a key is a Commit; without, its lowest bit says whether the attempt is an error. */
static void on_committed(void *ctx, uint64_t key)
{
    Loop *loop = ctx;
    bool is_error = (key & 1) != 0;
    if (loop->config->events_fd >= 0) {
        Commit *commit = (Commit *)(uintptr_t)key;
        is_error = commit->is_error;
        event_write(commit);
        mem_free(commit);
    }
    atomic_fetch_add(is_error ? &loop->n_errors : &loop->n_done, 1);
}

static uint64_t commit_key(Loop *loop, uint32_t run, Str sample_id, int32_t epoch, bool is_error)
{
    if (loop->config->events_fd < 0) {
        return is_error ? 1 : 0;
    }
    Commit *commit = mem_alloc(1, sizeof(*commit) + sample_id.len + 1);
    *commit = (Commit){.loop = loop, .is_error = is_error, .run = run, .epoch = epoch};
    memcpy(commit->sample_id, sample_id.data, sample_id.len);
    commit->sample_id[sample_id.len] = '\0';
    return (uint64_t)(uintptr_t)commit;
}

// ---- Slots
// ------------------------------------------------------------------------------------------------

static Attempt *attempt_create(Loop *loop)
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

static void attempt_end(Loop *loop, Attempt *attempt)
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

static uint32_t run_of(const Loop *loop, const Attempt *attempt)
{
    return (uint32_t)(loop->model * loop->plan.n_cells) + attempt->cell;
}

static void attempt_fail(Attempt *attempt, const Err *err)
{
    if (attempt->failure == NULL) {
        attempt->failure = mem_alloc(1, sizeof(*err));
        *attempt->failure = *err;
    }
}

// ---- Ending an attempt
// --------------------------------------------------------------------------------------

static Str value_json(Arena *arena, const Value *value)
{
    if (value->kind == VALUE_STR) {
        return value->as.str;
    }
    Buf buf = {0};
    json_write(&buf, value, JSON_COMPACT);
    Str out = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return out;
}

static Str targets_json(Arena *arena, const Sample *sample)
{
    Value *items = ARENA_ARRAY(arena, Value, sample->n_targets + 1);
    for (size_t i = 0; i < sample->n_targets; i++) {
        items[i] = value_str(sample->targets[i]);
    }
    Value list = value_list(items, sample->n_targets);
    return value_json(arena, &list);
}

static Str prompt_json(Arena *arena, const Prompt *prompt)
{
    if (!prompt->is_chat) {
        return prompt->text;
    }
    Request request = {.kind = REQUEST_GENERATE, .prompt = *prompt};
    Value value = request_to_value(arena, &request);
    const Value *messages = value_get_c(&value, "messages");
    return messages == NULL ? STR_EMPTY : value_json(arena, messages);
}

/** Fill in what a row says about the sample; the sample may be unknown when rendering failed. */
static void row_sample(AttemptRow *row, const Sample *sample, Arena *arena)
{
    row->sample_id = sample->id;
    row->sample_hash = sample->hash;
    row->input = value_json(arena, &sample->input);
    row->target = targets_json(arena, sample);
    row->metadata =
        sample->metadata.kind == VALUE_MAP ? value_json(arena, &sample->metadata) : STR("{}");
    row->cluster = sample->has_cluster ? sample->cluster : STR_EMPTY;
    row->prompt = prompt_json(arena, &sample->prompt);
    Str *texts = ARENA_ARRAY(arena, Str, sample->n_choices + 1);
    for (size_t i = 0; i < sample->n_choices; i++) {
        texts[i] = sample->choices[i].text;
    }
    row->choice_texts = texts;
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
    uint32_t run = run_of(loop, attempt);
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
        row_sample(&row, sample, &loop->scratch);
    } else {
        snprintf(id, sizeof(id), "row-%u", attempt->index);
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
    row_sample(&row, sample, &loop->scratch);
    if (row.n_choices > sample->n_choices) {
        row.choice_texts = NULL; // scored texts of the solver's own
    }
    score_count(loop, scores, n_scores);
    bool ok = attempt_store(loop, attempt, &row, &loop->fatal);
    attempt_end(loop, attempt);
    return ok;
}

// ---- Limits
// -------------------------------------------------------------------------------------------------

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

// ---- Stepping
// -----------------------------------------------------------------------------------------------

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

/** Submit the effects of a step. A refused request fails the attempt. */
static void effects_submit(Loop *loop, Attempt *attempt, const Sample *sample,
                           const StepOutput *step)
{
    Err err = ERR_INIT;
    for (size_t i = 0; i < step->n_effects && attempt->failure == NULL; i++) {
        Effect effect = step->effects[i];
        if (attempt->n_calls >= CALLS_MAX) {
            ERR_SET(&err, ERR_LIMIT, "more than %d calls in one attempt", CALLS_MAX);
            attempt_fail(attempt, &err);
            break;
        }
        if (!effect_finish(&effect, cell_of(loop, attempt)->task, sample, attempt->epoch,
                           loop->config->seed, loop->sampler, loop->config->sampler.force_chat,
                           &loop->scratch, &err)) {
            attempt_fail(attempt, &err);
            break;
        }
        Call *call = attempt_call_add(attempt, effect.path);
        call->request = request_pack(&effect.request);
        uint64_t id = ((uint64_t)attempt->slot << 16) | (attempt->n_calls - 1);
        if (!loop->sampler->ops->submit(loop->sampler, id, call->request, &err)) {
            attempt->n_calls--; // it never went out
            mem_free(call->path);
            mem_free(call->request);
            attempt_fail(attempt, &err);
            if (err.code == ERR_MODEL && loop->fatal.code == ERR_NONE) {
                loop->fatal = err;
            }
            break;
        }
        call->in_flight = true;
        attempt->n_in_flight++;
        loop->n_requests++;
    }
}

static const Reply *last_reply(const Attempt *attempt)
{
    return attempt->n_calls == 0 ? NULL : attempt->calls[attempt->n_calls - 1].value;
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
                            solved->notes);
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

/** Run an attempt on from its log until it waits for replies or ends. */
static void attempt_step(Loop *loop, Attempt *attempt)
{
    Err err = ERR_INIT;
    arena_reset(&loop->scratch);
    Cell *cell = cell_of(loop, attempt);
    Sample sample;
    if (!registry_task_sample(loop->config->registry, cell->task, attempt->index, &loop->scratch,
                              &sample, &err)) {
        attempt_finish_error(loop, attempt, NULL, &err);
        return;
    }
    if (attempt->failure != NULL) {
        attempt_finish_error(loop, attempt, &sample, attempt->failure);
        return;
    }
    LoggedCall *log = ARENA_ARRAY(&loop->scratch, LoggedCall, attempt->n_calls + 1);
    StepInput in;
    step_input(loop, attempt, &sample, log, &in);
    StepOutput step = {0};
    if (!script_solve(loop->config->script, cell->task->solver_program, &in, &loop->scratch, &step,
                      &err)) {
        attempt_finish_error(loop, attempt, &sample, &err);
        return;
    }
    if (step.done) {
        if (attempt_grade(loop, attempt, &sample, &in, &step, &step.reply)) {
            return;
        }
    } else {
        const char *spent = limit_spent(attempt, &cell->task->eval->limits);
        if (spent != NULL) {
            if (attempt_limit(loop, attempt, &sample, &in, spent)) {
                return;
            }
        } else {
            effects_submit(loop, attempt, &sample, &step);
        }
    }
    if (attempt->n_in_flight == 0) { // nothing went out: a refused request
        if (attempt->failure == NULL) {
            ERR_SET(&err, ERR_INTERNAL, "a step with neither an effect nor a result");
            attempt_fail(attempt, &err);
        }
        attempt_finish_error(loop, attempt, &sample, attempt->failure);
    }
}

// ---- Completions
// ----------------------------------------------------------------------------------------------

static void completion_take(Loop *loop, Completion *completion)
{
    Attempt *attempt = loop->attempts[completion->id >> 16];
    Call *call = &attempt->calls[completion->id & CALLS_MAX];
    call->in_flight = false;
    attempt->n_in_flight--;
    loop->n_requests--;
    if (completion->failed) {
        attempt_fail(attempt, &completion->err);
        if (completion->err.code == ERR_MODEL && loop->fatal.code == ERR_NONE) {
            loop->fatal = completion->err;
        }
        completion_destroy(completion);
    } else {
        call->reply = completion;
        call->value = &completion->reply;
        loop->n_tokens +=
            (uint64_t)(completion->reply.usage.input + completion->reply.usage.output);
        const Request *request = call->request;
        store_put_call(loop->store, loop->experiment.run_ids[run_of(loop, attempt)],
                       request->sample_id, attempt->epoch, request->call, request,
                       &completion->reply, &loop->fatal);
    }
    mem_free(call->request);
    call->request = NULL;
    if (attempt->n_in_flight > 0) {
        return;
    }
    bool dropped = attempt->failure != NULL &&
                   (attempt->failure->code == ERR_CANCELLED || loop->fatal.code == ERR_MODEL);
    if (dropped) {
        attempt_end(loop, attempt); // to be run again by --resume
    } else {
        attempt_step(loop, attempt);
    }
}

static bool completions_take(Loop *loop)
{
    QueueNode *node = queue_take_all(&loop->completions);
    bool any = node != NULL;
    while (node != NULL) {
        QueueNode *next = node->next;
        completion_take(loop, (Completion *)node);
        node = next;
    }
    return any;
}

static bool completions_wait(Loop *loop, int timeout_ms)
{
    if (loop->net != NULL && net_pending(loop->net) > 0) {
        Err err = ERR_INIT;
        if (!net_poll(loop->net, loop->completions.event_fd, timeout_ms, &err)) {
            loop->fatal = loop->fatal.code == ERR_NONE ? err : loop->fatal;
            return false;
        }
        return true;
    }
    struct pollfd fd = {.fd = loop->completions.event_fd, .events = POLLIN};
    poll(&fd, 1, timeout_ms);
    return true;
}

// ---- Admission
// --------------------------------------------------------------------------------------------------

/** Move the cursor to the next attempt of this shard; false when there is none. */
static bool cursor_next(Loop *loop, uint32_t *cell, size_t *index, int64_t *epoch)
{
    while (loop->cell < loop->plan.n_cells) {
        const Cell *at = &loop->plan.cells[loop->cell];
        if (loop->index >= at->to) {
            loop->cell++;
            loop->index = loop->cell < loop->plan.n_cells ? loop->plan.cells[loop->cell].from : 0;
            loop->epoch = 1;
            continue;
        }
        if (!plan_takes(loop->config, at, loop->index)) {
            loop->index++;
            continue;
        }
        *cell = (uint32_t)loop->cell;
        *index = loop->index;
        *epoch = loop->epoch;
        if (++loop->epoch > at->epochs) {
            loop->epoch = 1;
            loop->index++;
        }
        return true;
    }
    return false;
}

static void cursor_reset(Loop *loop)
{
    loop->cell = 0;
    loop->index = loop->plan.cells[0].from;
    loop->epoch = 1;
    loop->exhausted = false;
}

/** Replies that the store holds for an attempt that did not end. */
static void attempt_restore(Loop *loop, Attempt *attempt, int64_t run_id, Str sample_id)
{
    Err err = ERR_INIT;
    Str *paths = NULL;
    Reply *replies = NULL;
    size_t n = 0;
    Arena *arena = mem_zalloc(1, sizeof(*arena));
    arena_init(arena, 1024);
    if (!store_attempt_calls(loop->store, run_id, sample_id, attempt->epoch, arena, &paths,
                             &replies, &n, &err)) {
        loop->fatal = loop->fatal.code == ERR_NONE ? err : loop->fatal;
    }
    for (size_t i = 0; i < n; i++) {
        Call *call = attempt_call_add(attempt, paths[i]);
        call->value = &replies[i];
    }
    if (n == 0) {
        arena_finish(arena);
        mem_free(arena);
        return;
    }
    attempt->restored = arena;
}

/** Start the next attempt that is not done yet; false when there is none left. */
static bool attempt_admit(Loop *loop)
{
    uint32_t cell;
    size_t index;
    int64_t epoch;
    if (!cursor_next(loop, &cell, &index, &epoch)) {
        loop->exhausted = true;
        return false;
    }
    int64_t run_id = loop->experiment.run_ids[loop->model * loop->plan.n_cells + cell];
    Str sample_id = STR_EMPTY;
    if (loop->experiment.resumed) {
        Err err = ERR_INIT;
        Sample sample;
        arena_reset(&loop->scratch);
        if (registry_task_sample(loop->config->registry, loop->plan.cells[cell].task, index,
                                 &loop->scratch, &sample, &err)) {
            sample_id = sample.id;
            if (store_attempt_is_done(loop->store, run_id, sample_id, epoch)) {
                loop->n_skipped++;
                atomic_fetch_add(&loop->n_done, 1);
                return true;
            }
        }
    }
    Attempt *attempt = attempt_create(loop);
    attempt->cell = cell;
    attempt->index = (uint32_t)index;
    attempt->epoch = (int32_t)epoch;
    if (sample_id.len > 0) {
        attempt_restore(loop, attempt, run_id, sample_id);
    }
    attempt_step(loop, attempt);
    return true;
}

static bool admission_open(const Loop *loop)
{
    if (loop->exhausted || loop->stop_ns != 0 || loop->fatal.code != ERR_NONE) {
        return false;
    }
    bool wants_all = (loop->sampler->caps & CAP_WANTS_ALL) != 0;
    return wants_all || loop->n_requests < (size_t)loop->sampler->max_in_flight;
}

// ---- Stopping
// -----------------------------------------------------------------------------------------------------

static void cancel_all(Loop *loop)
{
    loop->cancelled = true;
    if (loop->sampler->ops->cancel == NULL) {
        return;
    }
    for (size_t slot = 0; slot < loop->n_slots; slot++) {
        const Attempt *attempt = loop->attempts[slot];
        for (uint32_t i = 0; attempt != NULL && i < attempt->n_calls; i++) {
            if (attempt->calls[i].in_flight) {
                loop->sampler->ops->cancel(loop->sampler, ((uint64_t)slot << 16) | i);
            }
        }
    }
}

/** Look at signals and fatal errors; true when waiting any longer makes no sense. */
static bool stop_check(Loop *loop)
{
    Err err = ERR_INIT;
    if (loop->fatal.code == ERR_NONE && !store_ok(loop->store, &err)) {
        loop->fatal = err;
    }
    bool wanted =
        (loop->config->stop != NULL && *loop->config->stop > 0) || loop->fatal.code != ERR_NONE;
    if (!wanted) {
        return false;
    }
    int64_t now = clock_ns();
    int64_t grace_ms = loop->config->grace_ms > 0 ? loop->config->grace_ms : GRACE_DEFAULT_MS;
    if (loop->stop_ns == 0) {
        loop->stop_ns = now;
        if (loop->fatal.code == ERR_NONE) {
            note(loop, false, "stopping: finishing what is in flight (again to stop at once)");
        } else {
            cancel_all(loop);
        }
    }
    int64_t waited_ms = (now - loop->stop_ns) / 1000000;
    if (!loop->cancelled && waited_ms > grace_ms) {
        cancel_all(loop);
    }
    return waited_ms > grace_ms + CANCEL_WAIT_MS;
}

// ---- One model
// ------------------------------------------------------------------------------------------------------

static void model_run(Loop *loop, size_t model)
{
    loop->model = model;
    loop->sampler = loop->samplers[model];
    loop->script_model = script_model_of(loop->sampler, loop->config->models[model]);
    cursor_reset(loop);
    bool wants_all = (loop->sampler->caps & CAP_WANTS_ALL) != 0;
    bool told_closed = false;
    while (!stop_check(loop)) {
        while (admission_open(loop) && attempt_admit(loop)) {
            progress_show(loop, wants_all ? "planning" : "running", false);
            if (!wants_all && loop->n_requests > 0) {
                completions_take(loop);
            }
            if ((loop->config->stop != NULL && *loop->config->stop > 0) ||
                (loop->n_skipped & 1023) == 1023) {
                break;
            }
        }
        if (loop->n_in_flight == 0 &&
            (loop->exhausted || loop->stop_ns != 0 || loop->fatal.code != ERR_NONE)) {
            break;
        }
        bool took = completions_take(loop);
        if (!took && loop->n_in_flight > 0 && !admission_open(loop)) {
            if (loop->sampler->ops->quiesce != NULL) {
                loop->sampler->ops->quiesce(loop->sampler, loop->exhausted && !told_closed);
                told_closed = told_closed || loop->exhausted;
            }
            completions_wait(loop, 100);
        }
        progress_show(loop, loop->stop_ns != 0 ? "finishing" : "running", false);
    }
    for (size_t slot = 0; slot < loop->n_slots; slot++) { // only after giving up on a sampler
        if (loop->attempts[slot] != NULL && loop->fatal.code == ERR_NONE) {
            ERR_SET(&loop->fatal, ERR_MODEL, "the sampler did not answer a cancellation");
        }
    }
}

// ---- Opening and closing
// ----------------------------------------------------------------------------------------------

static Net *host_net(SamplerHost *host, Err *err)
{
    Loop *loop = host->ctx;
    if (loop->net == NULL) {
        NetOptions options = {.max_connections = host->settings->max_connections};
        if (!net_create(&options, &loop->net, err)) {
            return NULL;
        }
    }
    return loop->net;
}

static bool samplers_open(Loop *loop, Err *err)
{
    loop->samplers = mem_zalloc(loop->config->n_models, sizeof(*loop->samplers));
    for (size_t m = 0; m < loop->config->n_models; m++) {
        loop->model = m;
        progress_show(loop, "loading", true);
        if (!sampler_open(loop->config->models[m], &loop->host, &loop->samplers[m], err)) {
            return ERR_WRAP(err, "model '" STR_FMT "'", STR_ARG(loop->config->models[m]->spec));
        }
    }
    loop->model = 0;
    return true;
}

/** Whether every model can do what the first sample of every cell asks for. */
static bool preflight(Loop *loop, Err *err)
{
    for (size_t m = 0; m < loop->config->n_models; m++) {
        for (size_t c = 0; c < loop->plan.n_cells; c++) {
            Cell *cell = &loop->plan.cells[c];
            if (cell->from >= cell->to) {
                continue;
            }
            Sample sample;
            Request *requests = NULL;
            size_t n = 0;
            arena_reset(&loop->scratch);
            if (!run_first_requests(loop->config->script, loop->config->registry, cell->task,
                                    cell->from, 1, loop->config->seed, loop->samplers[m],
                                    loop->config->sampler.force_chat, &loop->scratch, &sample,
                                    &requests, &n, err)) {
                if (err->code != ERR_CONFIG) { // this sample's own trouble: its attempt will say so
                    *err = (Err)ERR_INIT;
                    continue;
                }
                return ERR_WRAP(err, "eval '" STR_FMT "'", STR_ARG(cell->task->eval->name));
            }
        }
    }
    return true;
}

static bool loop_begin(Loop *loop, Arena *arena, Err *err)
{
    loop->host = (SamplerHost){.completions = &loop->completions,
                               .script = loop->config->script,
                               .net = host_net,
                               .settings = &loop->config->sampler,
                               .ctx = loop};
    progress_show(loop, "preparing", true);
    if (!plan_build(loop->config, arena, &loop->plan, err)) {
        return false;
    }
    loop->n_planned = loop->plan.n_planned * (int64_t)loop->config->n_models;
    if (!samplers_open(loop, err) || !preflight(loop, err)) {
        return false;
    }
    StoreOptions options = {
        .path = loop->config->store_path, .on_committed = on_committed, .ctx = loop};
    if (!store_open(&options, &loop->store, err)) {
        return false;
    }
    ExperimentSpec spec = plan_spec(loop->config, &loop->plan, loop->samplers, arena);
    return store_experiment_begin(loop->store, arena, &spec,
                                  loop->config->resume ? RESUME_IF_THERE : RESUME_NO,
                                  &loop->experiment, err);
}

static Value stats_value(Arena *arena, const SamplerStats *stats, double seconds)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("prefill_tokens_total"),
                    value_int((int64_t)stats->prefill_tokens_total));
    map_builder_put(&map, STR("prefill_tokens_needed"),
                    value_int((int64_t)stats->prefill_tokens_needed));
    map_builder_put(&map, STR("prefill_tokens_computed"),
                    value_int((int64_t)stats->prefill_tokens_computed));
    map_builder_put(&map, STR("decode_tokens"), value_int((int64_t)stats->decode_tokens));
    map_builder_put(&map, STR("prefill_seconds"), value_real(stats->prefill_seconds));
    map_builder_put(&map, STR("decode_seconds"), value_real(stats->decode_seconds));
    map_builder_put(&map, STR("kv_peak_bytes"), value_int((int64_t)stats->kv_peak_bytes));
    map_builder_put(&map, STR("seconds"), value_real(seconds));
    return map_builder_done(&map);
}

static void loop_outcome(Loop *loop, Arena *arena, RunOutcome *out)
{
    *out = (RunOutcome){
        .experiment_id = loop->experiment.id,
        .name = loop->experiment.name,
        .short_id = loop->experiment.short_id,
        .resumed = loop->experiment.resumed,
        .interrupted = loop->config->stop != NULL && *loop->config->stop > 0,
        .planned = loop->n_planned,
        .done = atomic_load(&loop->n_done),
        .errors = atomic_load(&loop->n_errors),
        .skipped = loop->n_skipped,
        .seconds = (double)(clock_ns() - loop->started_ns) * 1e-9,
        .first_error = str_copy(arena, str_from_c(loop->first_error)),
    };
}

/** Run all models, then record the end. The experiment exists. */
static bool loop_run(Loop *loop, Arena *arena, RunOutcome *out, Err *err)
{
    RunModelStats *models = ARENA_ARRAY(arena, RunModelStats, loop->config->n_models);
    MapBuilder engines;
    map_builder_init(&engines, arena);
    for (size_t m = 0; m < loop->config->n_models && loop->stop_ns == 0; m++) {
        int64_t from_ns = clock_ns();
        model_run(loop, m);
        double seconds = (double)(clock_ns() - from_ns) * 1e-9;
        models[m] = (RunModelStats){.model = loop->config->models[m]->spec,
                                    .description = str_copy(arena, loop->sampler->description),
                                    .seconds = seconds};
        loop_tokens(loop, &models[m].stats);
        map_builder_put(&engines, models[m].model, stats_value(arena, &models[m].stats, seconds));
    }
    Value stats = map_builder_done(&engines);
    Err end = ERR_INIT;
    bool flushed = store_flush(loop->store, &end);
    loop_outcome(loop, arena, out);
    bool complete = out->done + out->errors >= out->planned && !out->interrupted;
    bool ended = flushed && store_experiment_end(loop->store, loop->experiment.id,
                                                 complete ? STR("finished") : STR("interrupted"),
                                                 &stats, &end);
    progress_show(loop, "finishing", true);
    out->models = models;
    out->n_models = loop->config->n_models;
    if (loop->fatal.code != ERR_NONE) {
        *err = loop->fatal;
        return false;
    }
    if (!ended) {
        *err = end;
        return false;
    }
    return true;
}

static void loop_end(Loop *loop)
{
    for (size_t m = 0; loop->samplers != NULL && m < loop->config->n_models; m++) {
        if (loop->samplers[m] != NULL) {
            loop->samplers[m]->ops->close(loop->samplers[m]);
        }
    }
    mem_free(loop->samplers);
    net_destroy(loop->net);
    QueueNode *node = queue_take_all(&loop->completions);
    while (node != NULL) {
        QueueNode *next = node->next;
        completion_destroy((Completion *)node);
        node = next;
    }
    for (size_t slot = 0; slot < loop->n_slots; slot++) {
        attempt_destroy(loop->attempts[slot]);
    }
    mem_free(loop->attempts);
    mem_free(loop->free_slots);
    store_close(loop->store);
    plan_close(loop->config, &loop->plan);
    arena_finish(&loop->scratch);
    queue_finish(&loop->completions);
}

bool run_experiment(const RunConfig *config, Arena *arena, RunOutcome *out, Err *err)
{
    *out = (RunOutcome){0};
    if (config->n_targets == 0 || config->n_models == 0) {
        return ERR_SET(err, ERR_USAGE, "give at least one eval and one model");
    }
    Loop loop = {.config = config, .started_ns = clock_ns()};
    if (!queue_init(&loop.completions)) {
        return ERR_SET(err, ERR_IO, "no event descriptor");
    }
    bool ok = loop_begin(&loop, arena, err) && loop_run(&loop, arena, out, err);
    if (!ok && loop.experiment.name.len > 0 && out->name.len == 0) {
        loop_outcome(&loop, arena, out);
    }
    loop_end(&loop);
    return ok;
}
