// SPDX-License-Identifier: MIT
// Requests of every kind for tests of the whole engine, and a sink that hashes what comes back.
#pragma once

#include "engine/engine.h"

#include <pthread.h>

enum { REQUESTS_MAX = 256, REQUESTS_TOP = 4 };

typedef struct RequestSet {
    Arena arena;
    EngineRequest requests[REQUESTS_MAX];
    size_t n;
    int32_t n_ids;
    const int32_t **sequences; // all that have to be in the tree
    size_t *lengths;
    size_t n_sequences;
} RequestSet;

/**
 * n mixed requests over a few shared beginnings, the longest of them longer than a chunk of
 * attention: greedy replies, sampled ones at temperature 0.8 (some forked, some with stop strings,
 * some with alternatives), choices scored on a context (often a prompt too), and log-probabilities
 * of whole prompts. Token ids are below n_ids. */
void request_set_make(RequestSet *set, uint64_t seed, size_t n, int32_t n_ids);
void request_set_finish(RequestSet *set);
/** Distinct non-empty prefixes of the sequences, counted the slow way. */
uint64_t request_set_distinct(const RequestSet *set);

/** Takes in results by id. */
typedef struct Sink {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t n_done;      // with a result
    size_t n_cancelled; // given up when the engine closed
    size_t n_failed;
    uint64_t n_decode_rows; // rows that replies took beyond their first token's
    bool done[REQUESTS_MAX];
    bool failed[REQUESTS_MAX]; // the last time
    char message[512];         // of the last failure
    Hash hashes[REQUESTS_MAX]; // of all that a result says but the time it took and what was cached
} Sink;

void sink_init(Sink *sink);
/** An EngineDone; ctx is the sink. */
void sink_take(void *ctx, uint64_t id, const EngineResult *result);
/** Wait until n results are there. */
void sink_wait(Sink *sink, size_t n);
/** One hash of the first n results, in order of id. */
Hash sink_digest(const Sink *sink, size_t n);
