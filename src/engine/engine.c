// SPDX-License-Identifier: MIT
// The engine's outside: requests in, completions out, and the drivers of its devices in between
// (driver.c). All scheduling is in schedule.c, all arithmetic behind forward.h.
#include "engine/engine.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/fleet.h"

struct Engine {
    EngineDone *done;
    void *ctx;
    Tokenizer *tokenizer;
    Fleet *fleet;
    Route *route; // NULL for one device
    // Guarded by mutex:
    pthread_mutex_t mutex;
    JobList inbox; // until nothing more can come
    bool closing;
    uint64_t lost;                                       // bit d: device d
    char lost_why[sizeof(((EngineStats *)0)->lost_why)]; // the first
};

// ---- Jobs -------------------------------------------------------------------------------------

static int32_t *copy_ids(Arena *arena, const int32_t *ids, size_t n)
{
    int32_t *copy = ARENA_ARRAY(arena, int32_t, n + 1);
    if (n > 0) {
        memcpy(copy, ids, n * sizeof(*ids));
    }
    return copy;
}

static void job_copy_scores(Job *job, const EngineRequest *request)
{
    Arena *arena = &job->arena;
    EngineLeaf *leaves = ARENA_ARRAY(arena, EngineLeaf, request->n_leaves);
    job->items = ARENA_ARRAY(arena, Item, request->n_leaves);
    job->logprobs = ARENA_ARRAY(arena, float *, request->n_leaves);
    job->misses = ARENA_ARRAY(arena, uint32_t, request->n_leaves);
    for (size_t i = 0; i < request->n_leaves; i++) {
        leaves[i] = request->leaves[i];
        leaves[i].tokens = copy_ids(arena, leaves[i].tokens, leaves[i].n_tokens);
        job->items[i] = (Item){.job = job,
                               .leaf = (uint32_t)i,
                               .tokens = leaves[i].tokens,
                               .n = (uint32_t)leaves[i].n_tokens - 1};
        job->logprobs[i] = ARENA_ARRAY(arena, float, leaves[i].n_tokens - leaves[i].n_context + 1);
    }
    job->request.leaves = leaves;
    job->n_items = (uint32_t)request->n_leaves;
    job->n_left = job->n_items;
}

static void job_copy_generation(Job *job, const EngineRequest *request)
{
    Arena *arena = &job->arena;
    job->request.prompt = copy_ids(arena, request->prompt, request->n_prompt);
    Str *stop = ARENA_ARRAY(arena, Str, request->n_stop + 1);
    for (size_t i = 0; i < request->n_stop; i++) {
        stop[i] = str_copy(arena, request->stop[i]);
    }
    job->request.stop = stop;
    job->items = ARENA_NEW(arena, Item);
    job->items[0] =
        (Item){.job = job, .tokens = job->request.prompt, .n = (uint32_t)request->n_prompt};
    job->n_items = 1;
    job->sequences = ARENA_ARRAY(arena, Sequence, (size_t)request->n_replies);
    job->n_left = 1 + (uint32_t)request->n_replies;
}

static Job *job_create(uint64_t id, const EngineRequest *request)
{
    Job *job = mem_zalloc(1, sizeof(*job));
    job->id = id;
    job->request = *request;
    job->submitted_ns = clock_ns();
    arena_init(&job->arena, 512);
    job->request.label = str_copy(&job->arena, request->label);
    if (request->n_leaves > 0) {
        job_copy_scores(job, request);
    } else {
        job_copy_generation(job, request);
    }
    return job;
}

static void job_destroy(Job *job)
{
    for (int64_t i = 0; job->sequences != NULL && i < job->request.n_replies; i++) {
        mem_free(job->sequences[i].tokens);
        extents_finish(&job->sequences[i].path);
        buf_finish(&job->sequences[i].text);
    }
    mem_free(job->err);
    arena_finish(&job->arena);
    mem_free(job);
}

static void result_texts(Job *job, EngineResult *result)
{
    size_t n = (size_t)job->request.n_replies;
    EngineText *texts = ARENA_ARRAY(&job->arena, EngineText, n);
    for (size_t i = 0; i < n; i++) {
        const Sequence *sequence = &job->sequences[i];
        texts[i] = (EngineText){.text = buf_view(&sequence->text),
                                .stop = sequence->stop,
                                .tokens = sequence->tokens,
                                .n_tokens = sequence->n_tokens};
    }
    result->texts = texts;
    result->n_texts = n;
    result->n_prompt_tokens = job->request.n_prompt;
}

static void result_scores(Job *job, EngineResult *result)
{
    EngineScore *scores = ARENA_ARRAY(&job->arena, EngineScore, job->n_items);
    for (uint32_t i = 0; i < job->n_items; i++) {
        const EngineLeaf *leaf = &job->request.leaves[i];
        size_t n = leaf->n_tokens - leaf->n_context;
        scores[i] = (EngineScore){.n_tokens = (int64_t)n,
                                  .greedy = job->misses[i] == 0,
                                  .tokens = leaf->tokens + leaf->n_context,
                                  .token_logprobs = job->logprobs[i]};
        for (size_t k = 0; k < n; k++) {
            scores[i].logprob += (double)job->logprobs[i][k];
        }
        result->n_prompt_tokens += leaf->n_tokens;
    }
    result->scores = scores;
    result->n_scores = job->n_items;
}

/** Give jobs to the drivers; heard: nothing more can come. */
static void hand_out(Engine *engine, const JobList *list, bool heard)
{
    if (engine->route == NULL) {
        driver_give(fleet_driver(engine->fleet, 0), list, heard);
        return;
    }
    JobList lists[DIVIDE_DEVICES_MAX] = {0};
    Job **jobs = job_list_array(list);
    route_jobs(engine->route, jobs, list->n);
    for (size_t i = 0; i < list->n; i++) {
        job_list_push(&lists[jobs[i]->device], jobs[i]);
    }
    mem_free(jobs);
    for (uint32_t d = 0; d < fleet_size(engine->fleet); d++) {
        if (heard || lists[d].n > 0) {
            driver_give(fleet_driver(engine->fleet, d), &lists[d], heard);
        }
    }
}

/** A job whose device was lost starts anew on another one; false when there is none. */
static bool job_move(Engine *engine, const Driver *driver, const Job *job)
{
    uint32_t device = driver_index(driver);
    pthread_mutex_lock(&engine->mutex);
    if ((engine->lost >> device & 1) == 0) {
        engine->lost |= (uint64_t)1 << device;
        if (engine->lost_why[0] == '\0') {
            snprintf(engine->lost_why, sizeof(engine->lost_why), "cuda:%d: %.*s",
                     forward_info(driver_forward(driver))->device_index,
                     (int)sizeof(engine->lost_why) - 16, job->err->message);
        }
    }
    bool moves = route_lost(engine->route, device) && !engine->closing;
    if (moves) {
        JobList list = {0};
        Job *again = job_create(job->id, &job->request);
        again->submitted_ns = job->submitted_ns;
        job_list_push(&list, again);
        hand_out(engine, &list, false);
    }
    pthread_mutex_unlock(&engine->mutex);
    return moves;
}

/** Called on the driver's thread. */
static void on_job_ended(void *ctx, const Driver *driver, Job *job)
{
    Engine *engine = ctx;
    EngineResult result = {.n_cached_tokens = job->n_cached,
                           .seconds = (double)(clock_ns() - job->submitted_ns) * 1e-9};
    if (engine->route != NULL) {
        route_ended(engine->route, job);
    }
    if (job->err != NULL) {
        result.err = job->err;
        bool with_device = engine->route != NULL && driver_is_lost(driver) &&
                           job->err->code != ERR_CANCELLED && job->err->code != ERR_MODEL;
        if (with_device && job_move(engine, driver, job)) {
            job_destroy(job);
            return;
        }
        if (with_device) {
            ERR_WRAP(job->err, "cuda:%d", forward_info(driver_forward(driver))->device_index);
        }
    } else if (job->request.n_leaves > 0) {
        result_scores(job, &result);
    } else {
        result_texts(job, &result);
    }
    engine->done(engine->ctx, job->id, &result);
    job_destroy(job);
}

/** Give the drivers what is in the inbox. */
static void inbox_hand_out(Engine *engine, bool heard)
{
    pthread_mutex_lock(&engine->mutex);
    hand_out(engine, &engine->inbox, heard);
    engine->inbox = (JobList){0};
    pthread_mutex_unlock(&engine->mutex);
}

// ---- Public -----------------------------------------------------------------------------------

bool engine_open(const EngineOptions *options, EngineDone *done, void *ctx, Engine **out, Err *err)
{
    Engine *engine = mem_zalloc(1, sizeof(*engine));
    engine->done = done;
    engine->ctx = ctx;
    pthread_mutex_init(&engine->mutex, NULL);
    bool ok = tokenizer_open_gguf(options->model_path, &engine->tokenizer, err) &&
              fleet_open(options, engine->tokenizer, on_job_ended, engine, &engine->fleet, err);
    if (ok && tokenizer_vocab(engine->tokenizer) != (size_t)fleet_info(engine->fleet)->vocab) {
        ok = ERR_SET(err, ERR_PARSE, "the tokenizer has %zu tokens, the weights %lld",
                     tokenizer_vocab(engine->tokenizer),
                     (long long)fleet_info(engine->fleet)->vocab);
    }
    if (!ok) {
        engine_close(engine);
        return false;
    }
    if (fleet_size(engine->fleet) > 1) {
        engine->route = route_create(fleet_size(engine->fleet));
    }
    *out = engine;
    return true;
}

void engine_close(Engine *engine)
{
    if (engine == NULL) {
        return;
    }
    pthread_mutex_lock(&engine->mutex);
    engine->closing = true;    // nothing moves to another device from here on
    if (engine->inbox.n > 0) { // they end as all others do
        driver_give(fleet_driver(engine->fleet, 0), &engine->inbox, false);
    }
    pthread_mutex_unlock(&engine->mutex);
    fleet_close(engine->fleet);
    route_destroy(engine->route);
    tokenizer_close(engine->tokenizer);
    pthread_mutex_destroy(&engine->mutex);
    mem_free(engine);
}

const Tokenizer *engine_tokenizer(const Engine *engine)
{
    return engine->tokenizer;
}

const EngineModelInfo *engine_model_info(const Engine *engine)
{
    return fleet_info(engine->fleet);
}

static bool ids_check(const Engine *engine, const int32_t *ids, size_t n, Err *err)
{
    int64_t vocab = fleet_info(engine->fleet)->vocab;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= vocab) {
            return ERR_SET(err, ERR_USAGE, "token %d is not in the vocabulary of %lld", (int)ids[i],
                           (long long)vocab);
        }
    }
    return true;
}

static bool length_check(const Engine *engine, Str label, size_t n, Err *err)
{
    int64_t context = fleet_info(engine->fleet)->context_tokens;
    if ((int64_t)n > context) {
        return ERR_SET(err, ERR_LIMIT,
                       STR_FMT ": %zu tokens do not fit the model's context of %lld",
                       STR_ARG(label), n, (long long)context);
    }
    return true;
}

/** Check a request and cut max_tokens to what the context has room for. */
static bool request_check(const Engine *engine, EngineRequest *request, Err *err)
{
    for (size_t i = 0; i < request->n_leaves; i++) {
        const EngineLeaf *leaf = &request->leaves[i];
        if (leaf->n_context < 1 || leaf->n_tokens < leaf->n_context) {
            return ERR_SET(err, ERR_USAGE, STR_FMT ": a continuation needs a context",
                           STR_ARG(request->label));
        }
        if (!length_check(engine, request->label, leaf->n_tokens - 1, err) ||
            !ids_check(engine, leaf->tokens, leaf->n_tokens, err)) {
            return false;
        }
    }
    if (request->n_leaves > 0) {
        return true;
    }
    if (request->n_prompt < 1 || request->max_tokens < 1 || request->n_replies < 1 ||
        request->n_replies > 4096) {
        return ERR_SET(err, ERR_USAGE, STR_FMT ": an empty prompt, or no token or reply asked for",
                       STR_ARG(request->label));
    }
    if (!length_check(engine, request->label, request->n_prompt, err) ||
        !ids_check(engine, request->prompt, request->n_prompt, err)) {
        return false;
    }
    int64_t room = fleet_info(engine->fleet)->context_tokens - (int64_t)request->n_prompt + 1;
    request->max_tokens = request->max_tokens < room ? request->max_tokens : room;
    int64_t vocab = fleet_info(engine->fleet)->vocab;
    request->top_logprobs = request->top_logprobs < vocab ? request->top_logprobs : vocab;
    return true;
}

bool engine_submit(Engine *engine, uint64_t id, const EngineRequest *request, Err *err)
{
    EngineRequest checked = *request;
    if (!request_check(engine, &checked, err)) {
        return false;
    }
    Job *job = job_create(id, &checked);
    pthread_mutex_lock(&engine->mutex);
    job_list_push(&engine->inbox, job);
    pthread_mutex_unlock(&engine->mutex);
    return true;
}

void engine_quiesce(Engine *engine, bool closed)
{
    (void)closed; // everything known is planned at once either way
    inbox_hand_out(engine, true);
}

void engine_cancel(Engine *engine, uint64_t id)
{
    inbox_hand_out(engine, false); // it may be there
    for (uint32_t d = 0; d < fleet_size(engine->fleet); d++) {
        driver_cancel(fleet_driver(engine->fleet, d), id);
    }
}

void engine_stats(const Engine *engine, EngineStats *out)
{
    RoutePlan plan = {0};
    if (engine->route != NULL) {
        route_plan(engine->route, &plan);
    }
    fleet_stats(engine->fleet, &plan, out);
    if (engine->route != NULL) {
        pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&engine->mutex; // not of its value
        pthread_mutex_lock(mutex);
        for (uint64_t lost = engine->lost; lost != 0; lost &= lost - 1) {
            out->n_lost++;
        }
        memcpy(out->lost_why, engine->lost_why, sizeof(out->lost_why));
        pthread_mutex_unlock(mutex);
    }
}
