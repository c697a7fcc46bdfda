// SPDX-License-Identifier: MIT
// The client: requests wait in a list until their time and a place, run in libcurl's multi handle,
// and are settled (delivered, redirected or put back to wait) in net_poll, the only function that
// calls libcurl's transfers and the callers' on_done.
#include "net/net_internal.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#define CONNECTIONS      64
#define TRIES            5
#define LIMITED_FACTOR   4 // 429 may come this many times more often than other failures
#define BACKOFF_BASE_MS  500
#define BACKOFF_MAX_S    60.0
#define RETRY_AFTER_MAX  120.0 // seconds; a longer wait is the caller's decision
#define STALL_TIMEOUT_MS 120000
#define POLL_MAX_MS      60000

bool net_create(const NetOptions *options, Net **out, Err *err)
{
    const CurlApi *api = curl_api(err);
    if (api == NULL) {
        return false;
    }
    CURLM *multi = api->multi_init();
    if (multi == NULL) {
        return ERR_SET(err, ERR_NET, "libcurl can not be started");
    }
    Net *net = mem_zalloc(1, sizeof *net);
    net->api = api;
    net->multi = multi;
    if (options != NULL) {
        net->options = *options;
    }
    if (net->options.max_connections <= 0) {
        net->options.max_connections = CONNECTIONS;
    }
    if (net->options.backoff_base_ms <= 0) {
        net->options.backoff_base_ms = BACKOFF_BASE_MS;
    }
    if (net->options.stall_timeout_ms <= 0) {
        net->options.stall_timeout_ms = STALL_TIMEOUT_MS;
    }
    rng_init(&net->rng, net->options.seed);
    net->next_id = 1;
    api->multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)net->options.max_connections);
    *out = net;
    return true;
}

// ---- The two lists ----------------------------------------------------------------------------

static void list_remove(Transfer **head, Transfer **tail, Transfer *transfer)
{
    if (transfer->prev != NULL) {
        transfer->prev->next = transfer->next;
    } else {
        *head = transfer->next;
    }
    if (transfer->next != NULL) {
        transfer->next->prev = transfer->prev;
    } else {
        *tail = transfer->prev;
    }
    transfer->prev = NULL;
    transfer->next = NULL;
}

static void list_append(Transfer **head, Transfer **tail, Transfer *transfer)
{
    transfer->prev = *tail;
    transfer->next = NULL;
    if (*tail != NULL) {
        (*tail)->next = transfer;
    } else {
        *head = transfer;
    }
    *tail = transfer;
}

static void put_waiting(Net *net, Transfer *transfer, int64_t due_ns)
{
    transfer->due_ns = due_ns;
    list_append(&net->waiting_head, &net->waiting_tail, transfer);
    net->n_waiting++;
}

static void take_waiting(Net *net, Transfer *transfer)
{
    list_remove(&net->waiting_head, &net->waiting_tail, transfer);
    net->n_waiting--;
}

static void take_running(Net *net, Transfer *transfer)
{
    net->api->multi_remove_handle(net->multi, transfer->easy);
    list_remove(&net->running_head, &net->running_tail, transfer);
    net->n_running--;
    transfer->running = false;
}

// ---- Origins ----------------------------------------------------------------------------------

/** "scheme://host:port" of a URL; false when it is no web address. */
static bool url_origin(Str url, Str *out)
{
    Str rest;
    if (str_starts_with(url, STR("https://"))) {
        rest = str_slice(url, 8, url.len);
    } else if (str_starts_with(url, STR("http://"))) {
        rest = str_slice(url, 7, url.len);
    } else {
        return false;
    }
    size_t end = 0;
    while (end < rest.len && memchr("/?#", rest.data[end], 3) == NULL) {
        end++;
    }
    bool clean = end > 0 && memchr(rest.data, '@', end) == NULL; // credentials do not belong there
    for (size_t i = 0; clean && i < url.len; i++) {
        clean = (unsigned char)url.data[i] > 0x20 && url.data[i] != 0x7f;
    }
    *out = str_slice(url, 0, url.len - rest.len + end);
    return clean;
}

static Origin *origin_find(Net *net, Str text)
{
    for (Origin *origin = net->origins; origin != NULL; origin = origin->next) {
        if (str_eq(origin->text, text)) {
            return origin;
        }
    }
    char *bytes = mem_zalloc(1, sizeof(Origin) + text.len + 1);
    Origin *origin = (Origin *)(void *)bytes;
    char *copy = bytes + sizeof(Origin);
    memcpy(copy, text.data, text.len);
    origin->text = (Str){copy, text.len};
    origin->next = net->origins;
    net->origins = origin;
    return origin;
}

// ---- Ends -------------------------------------------------------------------------------------

static void transfer_destroy(Transfer *transfer)
{
    transfer_release(transfer, transfer->net->api);
    arena_finish(&transfer->arena);
    mem_free(transfer);
}

/** Call on_done and free the transfer, which is in no list any more. */
static void deliver(Transfer *transfer, NetResponse *response)
{
    const char *content_type = NULL;
    if (transfer->easy != NULL && response->outcome == NET_ANSWERED) {
        transfer->net->api->easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &content_type);
    }
    response->content_type = str_from_c(content_type);
    response->body = response->outcome == NET_ANSWERED ? buf_view(&transfer->body) : STR_EMPTY;
    response->tries = transfer->tries;
    transfer->request.on_done(transfer->request.ctx, transfer->id, response);
    transfer_destroy(transfer);
}

static void deliver_cancelled(Transfer *transfer)
{
    NetResponse response = {.outcome = NET_CANCELLED, .retry_after_s = -1, .message = "cancelled"};
    deliver(transfer, &response);
}

/** Seconds before the next try: full jitter, and at least what the server asked for. */
static double backoff_seconds(Net *net, const Transfer *transfer, double retry_after_s)
{
    int n = transfer->tries - 1 < 20 ? transfer->tries - 1 : 20;
    double most = (double)net->options.backoff_base_ms / 1000 * ldexp(1, n);
    double backoff = rng_real(&net->rng) * (most < BACKOFF_MAX_S ? most : BACKOFF_MAX_S);
    if (retry_after_s < 0) {
        return backoff;
    }
    double jitter = rng_real(&net->rng) * 0.1 * retry_after_s; // not all at the same moment
    return (retry_after_s > backoff ? retry_after_s : backoff) + jitter;
}

/** Whether the budget of tries allows another. */
static bool tries_left(const Transfer *transfer, bool limited)
{
    int most = transfer->request.max_tries;
    if (most <= 1) {
        return false;
    }
    return limited ? transfer->n_limited < most * LIMITED_FACTOR
                   : transfer->tries - transfer->n_limited < most;
}

/** A reused connection that the server had closed meanwhile: the next try needs no wait. */
static bool was_stale(Transfer *transfer, const CurlApi *api)
{
    long n_connects = 1;
    bool cut = transfer->code == CURLE_GOT_NOTHING || transfer->code == CURLE_RECV_ERROR ||
               transfer->code == CURLE_SEND_ERROR;
    return cut && !transfer->begun && !transfer->fresh_connection &&
           api->easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &n_connects) == CURLE_OK &&
           n_connects == 0;
}

static void retry_later(Net *net, Transfer *transfer, const NetResponse *response)
{
    int64_t now = clock_ns();
    bool stale = was_stale(transfer, net->api);
    double wait_s = stale ? 0 : backoff_seconds(net, transfer, response->retry_after_s);
    int64_t due = now + (int64_t)(wait_s * 1e9);
    if (response->status == 429 && response->retry_after_s > 0) {
        int64_t until = now + (int64_t)(response->retry_after_s * 1e9);
        if (until > transfer->origin->not_before_ns) {
            transfer->origin->not_before_ns = until;
        }
    }
    transfer->fresh_connection = response->outcome == NET_UNREACHED;
    Str origin;
    if (url_origin(transfer->request.url, &origin)) {
        transfer->origin = origin_find(net, origin);
    }
    transfer->url = transfer->request.url.data; // redirects may lead elsewhere by then
    transfer->without_headers = false;
    transfer->n_redirects = 0;
    log_debug(STR_FMT ": %s %d, try %d, next in %.3f s", STR_ARG(transfer->origin->text),
              response->outcome == NET_ANSWERED ? "status" : "no answer", response->status,
              transfer->tries, wait_s);
    put_waiting(net, transfer, due);
}

/** A try has ended: follow, retry or deliver. The transfer is in no list. */
static void settle(Net *net, Transfer *transfer)
{
    if (transfer->cancelled) {
        net->n_cancelled--;
        deliver_cancelled(transfer);
        return;
    }
    long status = 0;
    curl_off_t microseconds = 0;
    net->api->easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    net->api->easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &microseconds);
    transfer->status = (int)status;
    Str origin;
    if (transfer_redirect(transfer, net->api) && url_origin(str_from_c(transfer->url), &origin)) {
        transfer->origin = origin_find(net, origin);
        put_waiting(net, transfer, clock_ns());
        return;
    }
    transfer->tries++;
    NetResponse response = {.retry_after_s = -1, .seconds = (double)microseconds / 1e6};
    bool retry = transfer_outcome(transfer, net->api, &response);
    if (response.outcome == NET_ANSWERED) {
        response.retry_after_s = retry_hints_seconds(&transfer->hints, clock_wall_ms());
        response.body = buf_view(&transfer->body);
        response.tries = transfer->tries;
        transfer->n_limited += response.status == 429;
        retry = retry && response.retry_after_s <= RETRY_AFTER_MAX;
    }
    retry = retry && tries_left(transfer, response.status == 429);
    if (retry && response.outcome == NET_ANSWERED && transfer->request.worth_retry != NULL) {
        retry = transfer->request.worth_retry(transfer->request.ctx, &response);
    }
    if (retry) {
        retry_later(net, transfer, &response);
    } else {
        deliver(transfer, &response);
    }
}

void net_destroy(Net *net)
{
    if (net == NULL) {
        return;
    }
    // on_done may submit again, which must end too: those land in the waiting list.
    while (net->running_head != NULL || net->waiting_head != NULL) {
        Transfer *transfer = net->running_head;
        if (transfer != NULL) {
            take_running(net, transfer);
        } else {
            transfer = net->waiting_head;
            take_waiting(net, transfer);
        }
        deliver_cancelled(transfer);
    }
    net->api->multi_cleanup(net->multi);
    while (net->origins != NULL) {
        Origin *origin = net->origins;
        net->origins = origin->next;
        mem_free(origin);
    }
    mem_free(net);
}

// ---- Submitting -------------------------------------------------------------------------------

/** Whether text can stand in a header line: no line breaks, no NUL. */
static bool is_header_text(Str text, bool is_name)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '\r' || c == '\n' || c == 0 || (is_name && (c <= 0x20 || c == ':' || c == ';'))) {
            return false;
        }
    }
    return !is_name || text.len > 0;
}

static bool request_check(const NetRequest *request, Str *out_origin, Err *err)
{
    bool known = request->method.len == 0 || str_eq(request->method, STR("GET")) ||
                 str_eq(request->method, STR("POST"));
    if (!known) {
        return ERR_SET(err, ERR_USAGE, "the method '" STR_FMT "' is neither GET nor POST",
                       STR_ARG(request->method));
    }
    if (!url_origin(request->url, out_origin)) {
        return ERR_SET(err, ERR_USAGE,
                       "'%.*s' is no http:// or https:// address without credentials",
                       (int)(request->url.len < 200 ? request->url.len : 200), request->url.data);
    }
    for (size_t i = 0; i < request->n_headers; i++) {
        if (!is_header_text(request->headers[i].name, true) ||
            !is_header_text(request->headers[i].value, false)) {
            return ERR_SET(err, ERR_USAGE, "header %zu holds bytes that headers can not hold",
                           i + 1);
        }
    }
    return true;
}

bool net_submit(Net *net, const NetRequest *request, uint64_t *out_id, Err *err)
{
    Str origin;
    if (!request_check(request, &origin, err)) {
        return false;
    }
    Transfer *transfer = mem_zalloc(1, sizeof *transfer);
    Arena *arena = &transfer->arena;
    arena_init(arena, 1024);
    transfer->net = net;
    transfer->id = net->next_id++;
    transfer->request = *request;
    transfer->request.method = str_copy(arena, request->method);
    transfer->request.url = str_copy(arena, request->url);
    transfer->request.body = str_copy(arena, request->body);
    NetHeader *headers = ARENA_ARRAY(arena, NetHeader, request->n_headers);
    for (size_t i = 0; i < request->n_headers; i++) {
        headers[i].name = str_copy(arena, request->headers[i].name);
        headers[i].value = str_copy(arena, request->headers[i].value);
    }
    transfer->request.headers = headers;
    if (transfer->request.max_tries <= 0) {
        transfer->request.max_tries = TRIES;
    }
    transfer->url = transfer->request.url.data;
    transfer->origin = origin_find(net, origin);
    put_waiting(net, transfer, 0);
    *out_id = transfer->id;
    return true;
}

void net_cancel(Net *net, uint64_t id)
{
    Transfer *heads[] = {net->running_head, net->waiting_head};
    for (size_t i = 0; i < 2; i++) {
        for (Transfer *transfer = heads[i]; transfer != NULL; transfer = transfer->next) {
            if (transfer->id == id && !transfer->cancelled) {
                transfer->cancelled = true;
                net->n_cancelled++;
                return;
            }
        }
    }
}

size_t net_pending(const Net *net)
{
    return net->n_waiting + net->n_running;
}

// ---- Driving ----------------------------------------------------------------------------------

/** When a waiting transfer may start. */
static int64_t start_ns(const Transfer *transfer)
{
    int64_t origin_ns = transfer->origin->not_before_ns;
    return transfer->due_ns > origin_ns ? transfer->due_ns : origin_ns;
}

static void fail_start(Transfer *transfer, const Err *err)
{
    NetResponse response = {.outcome = NET_UNREACHED, .retry_after_s = -1, .permanent = true};
    snprintf(response.message, sizeof response.message, "%.200s", err->message);
    deliver(transfer, &response);
}

/** Start what is due while there are places. Callbacks may run (a request libcurl does not take).
 */
static void start_due(Net *net)
{
    int64_t now = clock_ns();
    Transfer *next;
    for (Transfer *transfer = net->waiting_head;
         transfer != NULL && net->n_running < (size_t)net->options.max_connections;
         transfer = next) {
        next = transfer->next;
        if (transfer->cancelled || start_ns(transfer) > now) {
            continue;
        }
        Err err = ERR_INIT;
        take_waiting(net, transfer);
        bool ok = transfer_set_up(transfer, net->api, &err);
        if (ok && net->api->multi_add_handle(net->multi, transfer->easy) != CURLM_OK) {
            ok = ERR_SET(&err, ERR_NET, "libcurl does not take the request");
        }
        if (!ok) {
            fail_start(transfer, &err);
            return; // on_done may have changed the list: the rest starts at the next call
        }
        transfer->running = true;
        transfer->last_data_ns = now;
        list_append(&net->running_head, &net->running_tail, transfer);
        net->n_running++;
    }
}

/** Move the transfers that have ended out of the running list; they are linked by next. */
static Transfer *collect_ended(Net *net)
{
    Transfer *head = NULL;
    Transfer *tail = NULL;
    int n_left;
    CURLMsg *message;
    while ((message = net->api->multi_info_read(net->multi, &n_left)) != NULL) {
        Transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        CURLcode code = message->data.result;
        net->api->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        transfer->code = code;
        take_running(net, transfer);
        list_append(&head, &tail, transfer);
    }
    int64_t stalled_before = clock_ns() - (int64_t)net->options.stall_timeout_ms * 1000000;
    Transfer *next;
    for (Transfer *transfer = net->running_head; transfer != NULL; transfer = next) {
        next = transfer->next;
        bool stalled = transfer->begun && transfer->last_data_ns <= stalled_before;
        if (stalled) {
            transfer->abort = ABORT_STALLED;
        }
        if (stalled || transfer->cancelled) {
            take_running(net, transfer);
            list_append(&head, &tail, transfer);
        }
    }
    for (Transfer *transfer = net->waiting_head; net->n_cancelled > 0 && transfer != NULL;
         transfer = next) {
        next = transfer->next;
        if (transfer->cancelled) {
            take_waiting(net, transfer);
            list_append(&head, &tail, transfer);
        }
    }
    return head;
}

/** Let libcurl work and settle what has ended; *out_n counts it. */
static bool drive(Net *net, size_t *out_n, Err *err)
{
    int n_running;
    CURLMcode code = net->api->multi_perform(net->multi, &n_running);
    if (code != CURLM_OK) {
        return ERR_SET(err, ERR_NET, "libcurl: %s", net->api->multi_strerror(code));
    }
    Transfer *next;
    for (Transfer *transfer = collect_ended(net); transfer != NULL; transfer = next) {
        next = transfer->next;
        transfer->next = NULL;
        transfer->prev = NULL;
        settle(net, transfer);
        ++*out_n;
    }
    return true;
}

/** Milliseconds to sleep at most: until a retry is due, a stall is found, or the caller's limit. */
static int wait_limit_ms(const Net *net, int timeout_ms)
{
    int64_t now = clock_ns();
    int64_t most_ms = timeout_ms < 0 || timeout_ms > POLL_MAX_MS ? POLL_MAX_MS : timeout_ms;
    int64_t until = now + most_ms * 1000000;
    if (net->n_cancelled > 0) {
        return 0;
    }
    if (net->n_running < (size_t)net->options.max_connections) {
        for (const Transfer *t = net->waiting_head; t != NULL; t = t->next) {
            until = start_ns(t) < until ? start_ns(t) : until;
        }
    }
    for (const Transfer *t = net->running_head; t != NULL; t = t->next) {
        int64_t stall_ns = t->last_data_ns + (int64_t)net->options.stall_timeout_ms * 1000000;
        until = t->begun && stall_ns < until ? stall_ns : until;
    }
    int64_t wait_ms = (until - now + 999999) / 1000000;
    return wait_ms < 0 ? 0 : wait_ms > POLL_MAX_MS ? POLL_MAX_MS : (int)wait_ms;
}

bool net_poll(Net *net, int wake_fd, int timeout_ms, Err *err)
{
    size_t n_settled = 0;
    start_due(net);
    if (!drive(net, &n_settled, err)) {
        return false;
    }
    if (n_settled > 0) {
        return true;
    }
    struct curl_waitfd fds = {.fd = wake_fd, .events = CURL_WAIT_POLLIN};
    int n_ready;
    CURLMcode code =
        net->api->multi_poll(net->multi, wake_fd >= 0 ? &fds : NULL, wake_fd >= 0 ? 1 : 0,
                             wait_limit_ms(net, timeout_ms), &n_ready);
    if (code != CURLM_OK) {
        return ERR_SET(err, ERR_NET, "libcurl: %s", net->api->multi_strerror(code));
    }
    start_due(net);
    return drive(net, &n_settled, err);
}
