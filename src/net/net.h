// SPDX-License-Identifier: MIT
// HTTP over libcurl's multi interface: transport, deadlines, retries with backoff, size limits.
// Knows no JSON, no models. One client belongs to one thread; libcurl is loaded on first use.
#pragma once

#include "base/base.h"

typedef struct Net Net;

typedef struct NetHeader {
    Str name;
    Str value;
} NetHeader;

typedef enum NetOutcome {
    NET_ANSWERED,  // a status was received, whatever it is
    NET_UNREACHED, // no answer: refused, DNS, TLS, cut short, timed out (see message)
    NET_CANCELLED,
} NetOutcome;

/** What came back. Valid only during the callback. */
typedef struct NetResponse {
    NetOutcome outcome;
    int status; // HTTP status, 0 when NET_UNREACHED
    Str body;   // decoded; at most max_body_bytes
    Str content_type;
    double retry_after_s; // from retry-after-ms, Retry-After (seconds or date),
                          // x-ratelimit-reset-*; < 0 none
    double seconds;       // of the last try
    int tries;            // 1 when the first try decided
    bool permanent;       // NET_UNREACHED that another try cannot mend (bad certificate, bad URL)
    bool too_large;       // NET_UNREACHED because of max_body_bytes or endless headers
    char message[256];    // for people when NET_UNREACHED
} NetResponse;

typedef void NetDone(void *ctx, uint64_t id, const NetResponse *response);

typedef struct NetRequest {
    Str method; // "GET" or "POST"
    Str url;
    const NetHeader
        *headers; // copied; an Authorization value is never logged nor followed elsewhere
    size_t n_headers;
    Str body;               // copied
    int connect_timeout_ms; // 0: 10 s
    int timeout_ms;         // of one try; 0: 600 s (with on_data: none, only a stall ends it)
    int max_tries;          // 0: 5. Retried: 408 409 425 429 5xx and what has not been answered;
                            // 429 has its own, four times larger budget. 1: never retried
    size_t max_body_bytes;  // 0: 64 MiB (with on_data: no limit)
    /**
     * Streaming, optional: called with each piece of a 2xx answer, which is then not kept; bodies
     * of other answers are. Pieces follow each other without gap or repetition from resume_from on,
     * whatever was retried and whether or not the server honours ranges. total is that of the whole
     * resource. false aborts: on_done gets NET_CANCELLED. */
    bool (*on_data)(void *ctx, uint64_t id, Str piece, uint64_t total_bytes_or_0);
    /** Optional: asked before an answer of a status above is retried; false makes it final. */
    bool (*worth_retry)(void *ctx, const NetResponse *response);
    NetDone *on_done; // exactly once
    void *ctx;
    uint64_t resume_from; // Range: bytes=N-
    bool follow_hosts;    // GET: follow redirects to other hosts, without `headers` (downloads);
                          // else only to the same host. Never from https to http
} NetRequest;

typedef struct NetOptions {
    int max_connections;     // per client; 0: 64
    int64_t backoff_base_ms; // 0: 500; full jitter min(base * 2^n, 60 s), at least Retry-After
    uint64_t seed;           // of the jitter
    int stall_timeout_ms;    // an answer that has begun and pauses this long is cut; 0: 120 s
    bool env_proxy;          // honour http_proxy and friends; default no
} NetOptions;

bool net_create(const NetOptions *options, Net **out, Err *err);
void net_destroy(Net *net); // cancels what is left (on_done is called with NET_CANCELLED)
/** Queue a request; never blocks, also from callbacks. *out_id names it for net_cancel. */
bool net_submit(Net *net, const NetRequest *request, uint64_t *out_id, Err *err);
/** on_done comes with NET_CANCELLED at the next net_poll; an unknown id is ignored. */
void net_cancel(Net *net, uint64_t id);
/** Requests queued, in flight or waiting for a retry. */
size_t net_pending(const Net *net);
/** Drive transfers: wait until there is something to do, wake_fd is readable, or timeout_ms. */
bool net_poll(Net *net, int wake_fd, int timeout_ms, Err *err);
