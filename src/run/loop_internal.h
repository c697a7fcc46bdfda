// SPDX-License-Identifier: MIT
// The state of one experiment at work, shared by loop.c (who runs next), step.c (one attempt, one
// step) and notify.c (progress and commits). Loop thread only, but for on_committed.
#pragma once

#include "run/run_internal.h"

#include <stdatomic.h>

#include "net/net.h"

#define CALLS_MAX 65535 // per attempt: a request's id is slot * 65536 + call

typedef struct Loop {
    const RunConfig *config;
    Plan plan;
    Store *store;
    struct Commit *commits; // with events: what the store's writer still has, oldest first
    struct Commit *commits_last;
    ExperimentOpen experiment;
    SamplerHost host;
    Queue completions;
    Net *net;
    Source *sources; // of the models under test, in order, then of those that only play roles
    size_t n_sources;
    Sampler nobody; // where there is no model under test
    // The model at work:
    size_t model;
    Source *source;
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
    Err fatal; // ERR_MODEL, ERR_DEVICE or ERR_STORE: stop dispatching
} Loop;

/** Whether a failure is nobody's own: whoever asks next would hear the same. */
static inline bool loop_is_fatal(const Err *err)
{
    return err->code == ERR_MODEL || err->code == ERR_DEVICE;
}

// ---- Whom effects go to -----------------------------------------------------------------------

/** Open the samplers of all models under test and of all roles; equal models share one. */
bool sources_open(Loop *loop, Err *err);
void sources_close(Loop *loop);
/** Whether another attempt may start: nobody has as much as he takes at once. */
bool sources_have_room(const Loop *loop);
/** Tell everybody that nothing comes until a completion. */
void sources_quiesce(Loop *loop, bool closed);
/** Counters of a sampler; zero when it has none. */
void source_stats(const Source *source, SamplerStats *out);
/**
 * Fill in an effect and fit it to whom it goes to: tested, or who plays its role (*out_role; else
 * NULL).
 * fails  ERR_CONFIG when nobody plays the role, or tested can not do it; ERR_MODEL when who plays
 * the role can not. */
bool effect_route(const Loop *loop, const Cell *cell, Source *tested, const Sample *sample,
                  int64_t epoch, Effect *effect, Role **out_role, Arena *arena, Err *err);
/** Submit a request to whom effect_route said. */
bool request_submit(Loop *loop, Role *role, uint64_t id, const Request *request, Err *err);
/** A request came back. */
void request_done(Loop *loop, Role *role, const Reply *reply);
/**
 * Go through the first sample of every cell with made-up replies, solver and graders, and see
 * whether everybody who is asked can do it. */
bool preflight(Loop *loop, Err *err);

/** Counters of the sampler at work; zero when it has none. */
void loop_tokens(const Loop *loop, SamplerStats *out);
void progress_show(Loop *loop, const char *phase, bool now);
void loop_note(const Loop *loop, bool warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** StoreCommitted: counts an attempt and writes its event. thread the store's writer. */
void on_committed(void *ctx, uint64_t key);
/** What the store hands to on_committed for an attempt. */
uint64_t commit_key(Loop *loop, uint32_t run, Str sample_id, int32_t epoch, bool is_error);
/** After the writer has stopped: forget what it never committed. */
void commits_finish(Loop *loop);

Attempt *attempt_create(Loop *loop);
/** Forget an attempt. */
void attempt_end(Loop *loop, Attempt *attempt);
uint32_t attempt_run(const Loop *loop, const Attempt *attempt);
/** Keep the first failure. */
void attempt_fail(Attempt *attempt, const Err *err);
/** Run an attempt on from its log until it waits for replies or ends. */
void attempt_step(Loop *loop, Attempt *attempt);
