// SPDX-License-Identifier: MIT
// What the files of net share: the table of libcurl's functions (it is opened at run time), one
// transfer, and the parser of the headers that say when to try again.
#pragma once

#include "net/net.h"

#include <curl/curl.h>

/** libcurl's functions, found at run time. Names are libcurl's without its prefix. */
typedef struct CurlApi {
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *easy);
    void (*easy_reset)(CURL *easy);
    CURLcode (*easy_setopt)(CURL *easy, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *easy, CURLINFO info, ...);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_perform)(CURLM *multi, int *running);
    CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd *fds, unsigned n, int timeout_ms,
                            int *n_ready);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *n_left);
    const char *(*multi_strerror)(CURLMcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
    CURLU *(*url)(void);
    void (*url_cleanup)(CURLU *url);
    CURLUcode (*url_set)(CURLU *url, CURLUPart part, const char *text, unsigned flags);
    CURLUcode (*url_get)(const CURLU *url, CURLUPart part, char **out, unsigned flags);
    void (*free)(void *p);
    CURLcode (*global_init)(long flags);
} CurlApi;

/** The table, opened on the first call and kept. fails ERR_ENVIRONMENT when there is no libcurl. */
const CurlApi *curl_api(Err *err);

// ---- When to try again ------------------------------------------------------------------------

/** What the headers of one answer say about waiting; < 0 where they say nothing. */
typedef struct RetryHints {
    double retry_after_ms;
    double retry_after_s;
    double rate_limit_s;   // the largest x-ratelimit-reset-* or anthropic-ratelimit-*-reset
    double retry_after_at; // Retry-After as a date, seconds since the epoch
    double server_now;     // the Date header, so that a wrong clock here does not count
} RetryHints;

void retry_hints_init(RetryHints *hints);
/** Read one header line; names that say nothing are skipped, garbage counts as absent. */
void retry_hints_line(RetryHints *hints, Str line);
/** Seconds to wait, >= 0, or -1 when nothing was said. */
double retry_hints_seconds(const RetryHints *hints, int64_t wall_ms);

/** An HTTP date (IMF-fixdate, RFC 850 or asctime), or an RFC 3339 time in UTC. */
bool net_date_parse(Str text, double *out_unix_s);
/** "1m30s", "500ms", "2h", "1.5" (seconds). */
bool net_duration_parse(Str text, double *out_s);

// ---- One transfer -----------------------------------------------------------------------------

/** Why we cut a transfer ourselves. */
typedef enum Abort {
    ABORT_NONE,
    ABORT_TOO_LARGE,
    ABORT_HEADERS,
    ABORT_STALLED,
    ABORT_CALLER,
    ABORT_RANGE,
} Abort;

/** Where requests go; a 429 holds back all requests to the same place. */
typedef struct Origin {
    struct Origin *next;
    Str text; // scheme://host:port
    int64_t not_before_ns;
} Origin;

/** A request from net_submit to on_done: waiting (for a place or a time), or running. */
typedef struct Transfer {
    struct Transfer *prev;
    struct Transfer *next;
    Net *net;
    uint64_t id;
    NetRequest request; // its strings lie in arena
    Arena arena;
    const char *url; // where the next try goes, after redirects
    bool without_headers;
    Origin *origin;
    int64_t due_ns; // waiting: not before this

    CURL *easy;
    struct curl_slist *header_list;
    bool running;
    bool cancelled;
    bool fresh_connection;
    int tries;
    int n_limited; // tries that ended in 429
    int n_redirects;

    // Of the current try:
    CURLcode code;
    Abort abort;
    int status;
    size_t header_bytes;
    bool begun; // the answer's first byte came
    int64_t last_data_ns;
    RetryHints hints;
    uint64_t range_from; // of Content-Range
    uint64_t range_total;
    uint64_t n_skip; // streaming: bytes still to skip, the server ignored the range
    bool body_started;
    Buf body;
    char error_text[CURL_ERROR_SIZE];

    uint64_t n_delivered; // streaming: bytes given to on_data, over all tries
} Transfer;

/** Prepare transfer->easy for a try. */
bool transfer_set_up(Transfer *transfer, const CurlApi *api, Err *err);
/** Release what libcurl holds for the transfer. */
void transfer_release(Transfer *transfer, const CurlApi *api);
/** The redirect of a finished try that may be followed: changes transfer->url. */
bool transfer_redirect(Transfer *transfer, const CurlApi *api);
/** Whether another try could end better; the message and permanence go to *out. */
bool transfer_outcome(const Transfer *transfer, const CurlApi *api, NetResponse *out);

struct Net {
    const CurlApi *api;
    CURLM *multi;
    NetOptions options;
    Rng rng;
    uint64_t next_id;
    Transfer *waiting_head;
    Transfer *waiting_tail;
    Transfer *running_head;
    Transfer *running_tail;
    size_t n_waiting;
    size_t n_running;
    size_t n_cancelled; // marked, not yet done
    Origin *origins;
};
