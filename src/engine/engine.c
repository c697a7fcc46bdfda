// SPDX-License-Identifier: MIT
// The engine's outside: requests in, completions out, one driver thread in between. All scheduling
// is in schedule.c, all arithmetic behind forward.h.
#include "engine/engine.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine_internal.h"

#define WORD_WAIT_NS 20000000

typedef struct CancelNode {
    QueueNode node;
    uint64_t id;
} CancelNode;

struct Engine {
    EngineDone *done;
    void *ctx;
    Forward *forward;
    Tokenizer *tokenizer;
    Schedule schedule; // the driver's
    pthread_t driver;
    bool driver_runs;
    // Guarded by mutex:
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    QueueNode *inbox; // jobs, newest first
    size_t n_inbox;
    QueueNode *cancels;
    bool go;             // quiesced: plan what is in the inbox
    uint64_t n_reported; // completions
    uint64_t n_heard;    // of these, when it was last said that nothing more can come
    bool closing;
    EngineStats stats;
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
                                  .token_logprobs = job->logprobs[i]};
        for (size_t k = 0; k < n; k++) {
            scores[i].logprob += (double)job->logprobs[i][k];
        }
        result->n_prompt_tokens += leaf->n_tokens;
    }
    result->scores = scores;
    result->n_scores = job->n_items;
}

/** Called by the schedule on the driver thread. */
static void on_job_finished(void *ctx, Job *job)
{
    Engine *engine = ctx;
    EngineResult result = {.n_cached_tokens = job->n_cached,
                           .seconds = (double)(clock_ns() - job->submitted_ns) * 1e-9};
    if (job->err != NULL) {
        result.err = job->err;
    } else if (job->request.n_leaves > 0) {
        result_scores(job, &result);
    } else {
        result_texts(job, &result);
    }
    pthread_mutex_lock(
        &engine->mutex); // who reads the counters after its last result sees them whole
    engine->stats = engine->schedule.stats;
    engine->n_reported++;
    pthread_mutex_unlock(&engine->mutex);
    engine->done(engine->ctx, job->id, &result);
    job_destroy(job);
}

// ---- Driver -----------------------------------------------------------------------------------

/** Jobs of a list that was built newest first, oldest first. */
static Job **list_jobs(QueueNode *node, size_t n)
{
    Job **jobs = mem_alloc(n + 1, sizeof(*jobs));
    for (size_t i = n; i-- > 0; node = node->next) {
        jobs[i] = (Job *)node;
    }
    return jobs;
}

static void driver_cancel(Engine *engine, CancelNode *cancel)
{
    if (cancel == NULL) {
        return;
    }
    size_t n = 0;
    size_t cap = 0;
    uint64_t *ids = NULL;
    while (cancel != NULL) {
        CancelNode *next = (CancelNode *)cancel->node.next;
        GROW(ids, n, cap);
        ids[n++] = cancel->id;
        mem_free(cancel);
        cancel = next;
    }
    Err err = ERR_INIT;
    ERR_SET(&err, ERR_CANCELLED, "cancelled");
    schedule_cancel(&engine->schedule, ids, n, &err);
    mem_free(ids);
}

/** What came in for the driver. */
typedef struct Inbox {
    QueueNode *jobs; // newest first
    size_t n_jobs;
    CancelNode *cancels;
    bool heard; // who got the completions has no more to ask for
} Inbox;

/** Where the pool is full of what replies left: wait for what follows on them, but not for long. */
static void driver_wait_for_word(Engine *engine)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WORD_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int rc = 0;
    while (rc == 0 && !engine->closing && engine->cancels == NULL &&
           engine->n_heard < engine->n_reported) {
        rc = pthread_cond_timedwait(&engine->wake, &engine->mutex, &until);
    }
}

/** Wait for work; false when the engine closes. Takes over what came in. */
static bool driver_wait(Engine *engine, Inbox *in)
{
    pthread_mutex_lock(&engine->mutex);
    engine->stats = engine->schedule.stats;
    if (engine->schedule.waits) {
        driver_wait_for_word(engine);
    }
    while (!engine->closing && !(engine->go && engine->inbox != NULL) && engine->cancels == NULL &&
           !schedule_has_work(&engine->schedule)) {
        pthread_cond_wait(&engine->wake, &engine->mutex);
    }
    bool take = engine->go || engine->closing || engine->cancels != NULL;
    *in = (Inbox){.jobs = take ? engine->inbox : NULL,
                  .n_jobs = take ? engine->n_inbox : 0,
                  .cancels = (CancelNode *)engine->cancels,
                  .heard = engine->n_heard == engine->n_reported};
    if (take) {
        engine->inbox = NULL;
        engine->n_inbox = 0;
    }
    engine->cancels = NULL;
    engine->go = false;
    bool closing = engine->closing;
    pthread_mutex_unlock(&engine->mutex);
    return !closing;
}

static void *driver_main(void *arg)
{
    Engine *engine = arg;
    Inbox in;
    bool open = true;
    while (open) {
        open = driver_wait(engine, &in);
        if (in.n_jobs > 0) {
            Job **jobs = list_jobs(in.jobs, in.n_jobs);
            schedule_add(&engine->schedule, jobs, in.n_jobs);
            mem_free(jobs);
        }
        if (in.heard) {
            schedule_heard(&engine->schedule);
        }
        driver_cancel(engine, in.cancels);
        if (open && schedule_has_work(&engine->schedule)) {
            schedule_step(&engine->schedule);
        }
    }
    Err err = ERR_INIT;
    ERR_SET(&err, ERR_CANCELLED, "the engine was closed");
    schedule_cancel(&engine->schedule, NULL, 0, &err);
    return NULL;
}

// ---- Public -----------------------------------------------------------------------------------

bool engine_open(const EngineOptions *options, EngineDone *done, void *ctx, Engine **out, Err *err)
{
    Engine *engine = mem_zalloc(1, sizeof(*engine));
    engine->done = done;
    engine->ctx = ctx;
    pthread_mutex_init(&engine->mutex, NULL);
    pthread_cond_init(&engine->wake, NULL);
    bool ok = tokenizer_open_gguf(options->model_path, &engine->tokenizer, err) &&
              forward_open(options, &engine->forward, err) &&
              schedule_init(&engine->schedule, engine->forward, engine->tokenizer, options, err);
    if (ok && tokenizer_vocab(engine->tokenizer) != (size_t)forward_info(engine->forward)->vocab) {
        ok = ERR_SET(err, ERR_PARSE, "the tokenizer has %zu tokens, the weights %lld",
                     tokenizer_vocab(engine->tokenizer),
                     (long long)forward_info(engine->forward)->vocab);
    }
    engine->schedule.finish = on_job_finished;
    engine->schedule.ctx = engine;
    if (ok && pthread_create(&engine->driver, NULL, driver_main, engine) != 0) {
        ok = ERR_SET(err, ERR_ENVIRONMENT, "no thread for the engine");
    }
    engine->driver_runs = ok;
    if (!ok) {
        engine_close(engine);
        return false;
    }
    *out = engine;
    return true;
}

void engine_close(Engine *engine)
{
    if (engine == NULL) {
        return;
    }
    if (engine->driver_runs) {
        pthread_mutex_lock(&engine->mutex);
        engine->closing = true;
        pthread_cond_signal(&engine->wake);
        pthread_mutex_unlock(&engine->mutex);
        pthread_join(engine->driver, NULL);
    }
    schedule_finish(&engine->schedule);
    forward_close(engine->forward);
    tokenizer_close(engine->tokenizer);
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->mutex);
    mem_free(engine);
}

const Tokenizer *engine_tokenizer(const Engine *engine)
{
    return engine->tokenizer;
}

const EngineModelInfo *engine_model_info(const Engine *engine)
{
    return forward_info(engine->forward);
}

static bool ids_check(const Engine *engine, const int32_t *ids, size_t n, Err *err)
{
    int64_t vocab = forward_info(engine->forward)->vocab;
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
    int64_t context = forward_info(engine->forward)->context_tokens;
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
    int64_t room = forward_info(engine->forward)->context_tokens - (int64_t)request->n_prompt + 1;
    request->max_tokens = request->max_tokens < room ? request->max_tokens : room;
    int64_t vocab = forward_info(engine->forward)->vocab;
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
    job->node.next = engine->inbox;
    engine->inbox = &job->node;
    engine->n_inbox++;
    pthread_mutex_unlock(&engine->mutex);
    return true;
}

void engine_quiesce(Engine *engine, bool closed)
{
    (void)closed; // everything known is planned at once either way
    pthread_mutex_lock(&engine->mutex);
    engine->go = true;
    engine->n_heard = engine->n_reported;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->mutex);
}

void engine_cancel(Engine *engine, uint64_t id)
{
    CancelNode *cancel = mem_alloc(1, sizeof(*cancel));
    cancel->id = id;
    pthread_mutex_lock(&engine->mutex);
    cancel->node.next = engine->cancels;
    engine->cancels = &cancel->node;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->mutex);
}

void engine_stats(const Engine *engine, EngineStats *out)
{
    Engine *shared = (Engine *)(uintptr_t)engine; // the mutex is not part of its value
    pthread_mutex_lock(&shared->mutex);
    *out = shared->stats;
    pthread_mutex_unlock(&shared->mutex);
}
