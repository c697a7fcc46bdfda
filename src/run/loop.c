// SPDX-License-Identifier: MIT
// The loop: step each attempt to its next effects, hand them to the sampler, wait for replies, step
// on, grade, store. One thread. An attempt is its log of replies: nothing else of it is kept while
// it waits, and every step renders the sample and runs the solver again from the start
// (DESIGN.md 4.3).
#include "run/loop_internal.h"

#include <poll.h>

#define GRACE_DEFAULT_MS 3000
#define CANCEL_WAIT_MS   5000

// ---- Completions ------------------------------------------------------------------------------

static void completion_take(Loop *loop, Completion *completion)
{
    Attempt *attempt = loop->attempts[completion->id >> 16];
    Call *call = &attempt->calls[completion->id & CALLS_MAX];
    call->in_flight = false;
    attempt->n_in_flight--;
    request_done(loop, call->role, completion->failed ? NULL : &completion->reply);
    if (completion->failed) {
        if (call->role != NULL) {
            ERR_WRAP(completion->err, "role '" STR_FMT "'", STR_ARG(call->role->name));
        }
        attempt_fail(attempt, completion->err);
        if (loop_is_fatal(completion->err) && loop->fatal.code == ERR_NONE) {
            loop->fatal = *completion->err;
        }
        completion_destroy(completion);
    } else {
        call->reply = completion;
        call->value = &completion->reply;
        loop->n_tokens +=
            (uint64_t)(completion->reply.usage.input + completion->reply.usage.output);
        const Request *request = call->request;
        store_put_call(loop->store, loop->experiment.run_ids[attempt_run(loop, attempt)],
                       request->sample_id, attempt->epoch, request->call, request,
                       &completion->reply, &loop->fatal);
    }
    mem_free(call->request);
    call->request = NULL;
    if (attempt->n_in_flight > 0) {
        return;
    }
    bool dropped = attempt->failure != NULL &&
                   (attempt->failure->code == ERR_CANCELLED || loop_is_fatal(&loop->fatal));
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

// ---- Admission --------------------------------------------------------------------------------

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
        if (!plan_takes(loop->config, cell_index(at, loop->index))) {
            loop->index++;
            continue;
        }
        *cell = (uint32_t)loop->cell;
        *index = cell_index(at, loop->index);
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
    if (n == 0) {
        arena_finish(arena);
        mem_free(arena);
        return;
    }
    attempt->restored = arena;
    attempt->restored_paths = paths;
    attempt->restored_replies = replies;
    attempt->n_restored = n;
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
    const RunConfig *config = loop->config;
    if (loop->experiment.resumed || config->takes != NULL) {
        Err err = ERR_INIT;
        Sample sample;
        const Task *task = loop->plan.cells[cell].task;
        arena_reset(&loop->scratch);
        bool known = registry_task_sample(config->registry, loop->plan.cells[cell].task, index,
                                          &loop->scratch, &sample, &err);
        if (config->takes != NULL &&
            (!known || !config->takes(config->takes_ctx, task, config->models[loop->model]->spec,
                                      sample.id, epoch))) {
            loop->n_planned--;
            return true;
        }
        if (known && loop->experiment.resumed) {
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
    return sources_have_room(loop);
}

// ---- Stopping ---------------------------------------------------------------------------------

static void cancel_all(Loop *loop)
{
    loop->cancelled = true;
    for (size_t slot = 0; slot < loop->n_slots; slot++) {
        const Attempt *attempt = loop->attempts[slot];
        for (uint32_t i = 0; attempt != NULL && i < attempt->n_calls; i++) {
            const Call *call = &attempt->calls[i];
            Sampler *sampler =
                call->role != NULL ? call->role->source->sampler : loop->source->sampler;
            if (call->in_flight && sampler->ops->cancel != NULL) {
                sampler->ops->cancel(sampler, ((uint64_t)slot << 16) | i);
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
            loop_note(loop, false, "stopping: finishing what is in flight (again to stop at once)");
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

// ---- One model --------------------------------------------------------------------------------

/** Say once what the first plan came to; false while it is to be said yet. */
static bool plan_note(Loop *loop, int64_t from_ns)
{
    Source *source = loop->source;
    if (source->planned) {
        return true;
    }
    if (source->render_seconds == 0) { // everything known is submitted
        source->render_seconds = (double)(clock_ns() - from_ns) * 1e-9;
    }
    SamplerStats stats;
    source_stats(source, &stats);
    source->planned = (source->sampler->caps & CAP_WANTS_ALL) == 0 ||
                      (stats.plan_requests > 0 && stats.first_token_seconds > 0);
    bool timed = stats.plan_requests > 0 && stats.seconds_left >= 0;
    if (!timed && !source->planned) {
        return false;
    }
    source->planned = true;
    if (stats.plan_requests == 0) {
        return true;
    }
    Arena arena = {0};
    Str text = run_plan_words(&arena, &stats);
    loop_note(loop, false, STR_FMT ": " STR_FMT, STR_ARG(source->model->spec), STR_ARG(text));
    arena_finish(&arena);
    return true;
}

static void model_run(Loop *loop, size_t model)
{
    int64_t from_ns = clock_ns();
    loop->model = model;
    loop->source = &loop->sources[model];
    loop->script_model = script_model_of(loop->source->sampler, loop->config->models[model]);
    cursor_reset(loop);
    bool wants_all = (loop->source->sampler->caps & CAP_WANTS_ALL) != 0;
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
            sources_quiesce(loop, loop->exhausted && !told_closed);
            told_closed = told_closed || loop->exhausted;
            completions_wait(loop, plan_note(loop, from_ns) ? 100 : 10);
        }
        progress_show(loop, loop->stop_ns != 0 ? "finishing" : "running", false);
    }
    for (size_t slot = 0; slot < loop->n_slots; slot++) { // only after giving up on a sampler
        if (loop->attempts[slot] != NULL) {
            loop_note(loop, true, "the model did not answer in time; what it was asked is dropped");
            break;
        }
    }
}

// ---- Opening and closing ----------------------------------------------------------------------

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
    if (!plan_roles(loop->config, &loop->plan, arena, err) || !sources_open(loop, err) ||
        !preflight(loop, err)) {
        return false;
    }
    StoreOptions options = {
        .path = loop->config->store_path, .on_committed = on_committed, .ctx = loop};
    if (!store_open(&options, &loop->store, err)) {
        return false;
    }
    ExperimentSpec spec =
        plan_spec(loop->config, &loop->plan, loop->sources, loop->n_sources, arena);
    return store_experiment_begin(loop->store, arena, &spec,
                                  loop->config->resume_only ? RESUME_ONLY
                                  : loop->config->resume    ? RESUME_IF_THERE
                                                            : RESUME_NO,
                                  &loop->experiment, err);
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

static RunModelStats model_stats(const Source *source, double seconds, Arena *arena)
{
    RunModelStats out = {.model = source->model->spec,
                         .description = str_copy(arena, source->sampler->description),
                         .device = str_copy(arena, source->sampler->device_words),
                         .load_seconds = source->load_seconds,
                         .render_seconds = source->render_seconds,
                         .seconds = seconds};
    source_stats(source, &out.stats);
    return out;
}

/** Run all models, then record the end. The experiment exists. */
static bool loop_run(Loop *loop, Arena *arena, RunOutcome *out, Err *err)
{
    RunModelStats *models = ARENA_ARRAY(arena, RunModelStats, loop->n_sources);
    MapBuilder engines;
    map_builder_init(&engines, arena);
    size_t n_models = 0;
    for (size_t m = 0; m < loop->n_sources; m++) {
        int64_t from_ns = clock_ns();
        if (m < loop->config->n_models) {
            if (loop->stop_ns != 0) {
                continue;
            }
            model_run(loop, m);
        }
        double seconds = (double)(clock_ns() - from_ns) * 1e-9;
        models[n_models] = model_stats(&loop->sources[m], seconds, arena);
        map_builder_put(&engines, models[n_models].model,
                        run_model_stats_value(arena, &models[n_models]));
        n_models++;
    }
    Value stats = map_builder_done(&engines);
    Err end = ERR_INIT;
    bool flushed = store_flush(loop->store, &end);
    loop_outcome(loop, arena, out);
    bool complete = out->done + out->errors >= out->planned; // also when a signal came last
    bool ended = flushed && store_experiment_end(loop->store, loop->experiment.id,
                                                 complete ? STR("finished") : STR("interrupted"),
                                                 &stats, &end);
    progress_show(loop, "finishing", true);
    out->models = models;
    out->n_models = n_models;
    RunRoleStats *roles = NULL;
    plan_role_stats(&loop->plan, arena, &roles, &out->n_roles);
    out->roles = roles;
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
    sources_close(loop);
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
    commits_finish(loop);
    plan_close(loop->config, &loop->plan);
    arena_finish(&loop->scratch);
    queue_finish(&loop->completions);
}

bool run_experiment(const RunConfig *config, Arena *arena, RunOutcome *out, Err *err)
{
    *out = (RunOutcome){0};
    if (config->n_targets == 0) {
        return ERR_SET(err, ERR_USAGE, "give at least one eval");
    }
    RunConfig own = *config;
    if (config->n_models == 0) {
        own.models = run_no_model;
        own.n_models = 1;
    }
    Loop loop = {.config = &own, .started_ns = clock_ns()};
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
