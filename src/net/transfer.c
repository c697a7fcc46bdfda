// SPDX-License-Identifier: MIT
// One try of one request: libcurl's options, the callbacks that count bytes, and the reading of its
// result codes. Limits are enforced here on decoded bytes: libcurl's own do not see a gzip bomb.
#include "net/net_internal.h"

#include <string.h>
#include <strings.h>

#define CONNECT_TIMEOUT_MS    10000
#define TIMEOUT_MS            600000
#define BODY_BYTES_MAX        ((size_t)64 * 1024 * 1024)
#define STREAM_ERROR_BODY_MAX ((size_t)1024 * 1024)
#define HEADER_BYTES_MAX      ((size_t)256 * 1024)
#define REDIRECTS_MAX         10

static void header_content_range(Transfer *transfer, Str value)
{
    Str span;
    Str total;
    Str from;
    Str to;
    int64_t number;
    value = str_trim(value);
    if (!str_starts_with(value, STR("bytes ")) ||
        !str_cut(str_slice(value, 6, value.len), STR("/"), &span, &total) ||
        !str_cut(span, STR("-"), &from, &to)) {
        return;
    }
    if (str_to_i64(str_trim(from), &number) && number >= 0) {
        transfer->range_from = (uint64_t)number;
    }
    if (str_to_i64(str_trim(total), &number) && number >= 0) {
        transfer->range_total = (uint64_t)number;
    }
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
    Transfer *transfer = ctx;
    Str line = {data, size * n};
    transfer->begun = true;
    transfer->last_data_ns = clock_ns();
    transfer->header_bytes += line.len;
    if (transfer->header_bytes > HEADER_BYTES_MAX) {
        transfer->abort = ABORT_HEADERS;
        return 0;
    }
    if (str_starts_with(line, STR("HTTP/"))) { // a further answer: what 1xx said is void
        retry_hints_init(&transfer->hints);
        transfer->range_from = 0;
        transfer->range_total = 0;
        return line.len;
    }
    retry_hints_line(&transfer->hints, line);
    Str name;
    Str value;
    if (str_cut(line, STR(":"), &name, &value) && name.len == 13 &&
        strncasecmp(name.data, "content-range", 13) == 0) {
        header_content_range(transfer, value);
    }
    return line.len;
}

/** The first byte of a streamed body: find out where in the resource it lies. */
static bool stream_start(Transfer *transfer)
{
    uint64_t want = transfer->request.resume_from + transfer->n_delivered;
    if (transfer->status == 206) {
        if (transfer->range_from != want) {
            transfer->abort = ABORT_RANGE;
            return false;
        }
        return true;
    }
    transfer->n_skip = want; // the whole resource came: the server knows no ranges
    curl_off_t length = -1;
    transfer->net->api->easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    transfer->range_total = length > 0 ? (uint64_t)length : 0;
    return true;
}

static bool stream_piece(Transfer *transfer, Str piece)
{
    if (!transfer->body_started) {
        transfer->body_started = true;
        if (!stream_start(transfer)) {
            return false;
        }
    }
    if (transfer->n_skip > 0) {
        size_t skip = transfer->n_skip < piece.len ? (size_t)transfer->n_skip : piece.len;
        transfer->n_skip -= skip;
        piece = str_slice(piece, skip, piece.len);
    }
    if (piece.len == 0) {
        return true;
    }
    size_t limit = transfer->request.max_body_bytes;
    if (limit > 0 && transfer->n_delivered + piece.len > limit) {
        transfer->abort = ABORT_TOO_LARGE;
        return false;
    }
    transfer->n_delivered += piece.len;
    if (!transfer->request.on_data(transfer->request.ctx, transfer->id, piece,
                                   transfer->range_total)) {
        transfer->abort = ABORT_CALLER;
        return false;
    }
    return true;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    Transfer *transfer = ctx;
    Str piece = {data, size * n};
    transfer->begun = true;
    transfer->last_data_ns = clock_ns();
    if (transfer->cancelled) {
        return 0;
    }
    if (transfer->status == 0) {
        long status = 0;
        transfer->net->api->easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        transfer->status = (int)status;
    }
    bool streamed = transfer->request.on_data != NULL;
    if (streamed && transfer->status >= 200 && transfer->status <= 299) {
        return stream_piece(transfer, piece) ? piece.len : 0;
    }
    buf_append(&transfer->body, piece.data, piece.len);
    if (transfer->body.overflow && !streamed) {
        transfer->abort = ABORT_TOO_LARGE;
        return 0;
    }
    return piece.len;
}

static bool add_header(Transfer *transfer, const CurlApi *api, Str name, Str value)
{
    // libcurl sends "Name;" for an empty value; "Name:" alone would remove the header.
    Str line = value.len > 0 ? str_printf(&transfer->arena, STR_FMT ": " STR_FMT, STR_ARG(name),
                                          STR_ARG(value))
                             : str_printf(&transfer->arena, STR_FMT ";", STR_ARG(name));
    struct curl_slist *list = api->slist_append(transfer->header_list, line.data);
    if (list != NULL) {
        transfer->header_list = list;
    }
    return list != NULL;
}

static bool set_headers(Transfer *transfer, const CurlApi *api)
{
    const NetRequest *request = &transfer->request;
    api->slist_free_all(transfer->header_list);
    transfer->header_list = api->slist_append(NULL, "Expect:"); // no wait for 100 Continue
    bool ok = transfer->header_list != NULL;
    for (size_t i = 0; ok && !transfer->without_headers && i < request->n_headers; i++) {
        ok = add_header(transfer, api, request->headers[i].name, request->headers[i].value);
    }
    uint64_t from = request->resume_from + transfer->n_delivered;
    if (ok && from > 0) {
        Str range = str_printf(&transfer->arena, "bytes=%llu-", (unsigned long long)from);
        ok = add_header(transfer, api, STR("Range"), range);
    }
    return ok;
}

/** libcurl's options that are the same for every request. */
static bool set_policy(Transfer *transfer, const CurlApi *api)
{
    CURL *easy = transfer->easy;
    bool direct = !transfer->net->options.env_proxy;
    return api->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
           (!direct || api->easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK) &&
           api->easy_setopt(easy, CURLOPT_USERAGENT, "muster") == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           // On cleartext HTTP/1.1 waiting for a first answer to learn of multiplexing would
           // serialise.
           api->easy_setopt(easy, CURLOPT_PIPEWAIT,
                            str_starts_with(transfer->request.url, STR("https:")) ? 1L : 0L) ==
               CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error_text) == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_HEADERDATA, transfer) == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           api->easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
}

static bool set_request(Transfer *transfer, const CurlApi *api)
{
    const NetRequest *request = &transfer->request;
    CURL *easy = transfer->easy;
    bool streamed = request->on_data != NULL;
    long connect_ms =
        request->connect_timeout_ms > 0 ? request->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    long timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : streamed ? 0 : TIMEOUT_MS;
    bool ok = api->easy_setopt(easy, CURLOPT_URL, transfer->url) == CURLE_OK &&
              api->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK &&
              api->easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms) == CURLE_OK &&
              api->easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->header_list) == CURLE_OK;
    if (ok && str_eq(request->method, STR("POST"))) {
        ok = api->easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
             api->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len) ==
                 CURLE_OK &&
             api->easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.data) == CURLE_OK;
    }
    if (ok && !streamed) { // a range is of the bytes as they lie there, so no coding for streams
        ok = api->easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate") == CURLE_OK;
    }
    if (ok && transfer->fresh_connection) {
        ok = api->easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
    }
    return ok;
}

bool transfer_set_up(Transfer *transfer, const CurlApi *api, Err *err)
{
    size_t limit = transfer->request.max_body_bytes;
    buf_finish(&transfer->body);
    buf_init(&transfer->body, transfer->request.on_data != NULL ? STREAM_ERROR_BODY_MAX
                              : limit > 0                       ? limit
                                                                : BODY_BYTES_MAX);
    transfer->code = CURLE_OK;
    transfer->abort = ABORT_NONE;
    transfer->status = 0;
    transfer->header_bytes = 0;
    transfer->begun = false;
    transfer->body_started = false;
    transfer->n_skip = 0;
    transfer->range_from = 0;
    transfer->range_total = 0;
    transfer->error_text[0] = '\0';
    retry_hints_init(&transfer->hints);
    if (transfer->easy == NULL) {
        transfer->easy = api->easy_init();
    } else {
        api->easy_reset(transfer->easy);
    }
    if (transfer->easy == NULL || !set_headers(transfer, api) || !set_policy(transfer, api) ||
        !set_request(transfer, api)) {
        return ERR_SET(err, ERR_NET, "libcurl does not take the request");
    }
    return true;
}

void transfer_release(Transfer *transfer, const CurlApi *api)
{
    if (transfer->easy != NULL) {
        api->easy_cleanup(transfer->easy);
        transfer->easy = NULL;
    }
    api->slist_free_all(transfer->header_list);
    transfer->header_list = NULL;
    buf_finish(&transfer->body);
}

// ---- Redirects --------------------------------------------------------------------------------

/** A part of a URL in the arena; empty when it has none. */
static Str url_part(const CurlApi *api, Arena *arena, const CURLU *url, CURLUPart part)
{
    char *text = NULL;
    if (api->url_get(url, part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) {
        return STR_EMPTY;
    }
    Str copy = str_copy(arena, str_from_c(text));
    api->free(text);
    return copy;
}

/** Whether a request to one URL may go on to another; *out_same tells whether the host is the same.
 */
static bool may_follow(Transfer *transfer, const CurlApi *api, const char *to, bool *out_same)
{
    CURLU *old_url = api->url();
    CURLU *new_url = api->url();
    bool ok = old_url != NULL && new_url != NULL &&
              api->url_set(old_url, CURLUPART_URL, transfer->url, 0) == CURLUE_OK &&
              api->url_set(new_url, CURLUPART_URL, to, 0) == CURLUE_OK;
    if (ok) {
        Arena *arena = &transfer->arena;
        Str old_scheme = url_part(api, arena, old_url, CURLUPART_SCHEME);
        Str new_scheme = url_part(api, arena, new_url, CURLUPART_SCHEME);
        Str old_host = url_part(api, arena, old_url, CURLUPART_HOST);
        Str new_host = url_part(api, arena, new_url, CURLUPART_HOST);
        Str old_port = url_part(api, arena, old_url, CURLUPART_PORT);
        Str new_port = url_part(api, arena, new_url, CURLUPART_PORT);
        bool secured = str_eq(old_scheme, STR("http")) && str_eq(new_scheme, STR("https"));
        bool same_place = (str_eq(old_scheme, new_scheme) && str_eq(old_port, new_port)) ||
                          (secured && str_eq(old_port, STR("80")) && str_eq(new_port, STR("443")));
        bool web = str_eq(new_scheme, STR("https")) ||
                   (str_eq(new_scheme, STR("http")) && str_eq(old_scheme, STR("http")));
        *out_same = same_place && old_host.len == new_host.len &&
                    strncasecmp(old_host.data, new_host.data, old_host.len) == 0;
        bool plain = url_part(api, arena, new_url, CURLUPART_USER).len == 0;
        ok = web && plain && (*out_same || transfer->request.follow_hosts);
    }
    if (old_url != NULL) {
        api->url_cleanup(old_url);
    }
    if (new_url != NULL) {
        api->url_cleanup(new_url);
    }
    return ok;
}

bool transfer_redirect(Transfer *transfer, const CurlApi *api)
{
    bool keeps_method = transfer->status == 307 || transfer->status == 308;
    bool to_get = transfer->status >= 301 && transfer->status <= 303;
    bool is_get = !str_eq(transfer->request.method, STR("POST"));
    if (transfer->code != CURLE_OK || !(keeps_method || (to_get && is_get)) ||
        transfer->n_redirects >= REDIRECTS_MAX) {
        return false;
    }
    const char *to = NULL;
    if (api->easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || to == NULL) {
        return false;
    }
    bool same_host = false;
    if (!may_follow(transfer, api, to, &same_host) || (!same_host && !is_get)) {
        return false;
    }
    transfer->n_redirects++;
    transfer->without_headers = transfer->without_headers || !same_host;
    transfer->url = arena_copy(&transfer->arena, to, strlen(to));
    return true;
}

// ---- Outcomes ---------------------------------------------------------------------------------

/** How many further tries a failure without an answer is worth. */
static int tries_worth(CURLcode code)
{
    enum { NEVER = 0, ONCE = 1, TWICE = 2, ALWAYS = 1000 };
    static const struct {
        CURLcode code;
        int worth;
    } table[] = {
        {CURLE_URL_MALFORMAT, NEVER},
        {CURLE_PEER_FAILED_VERIFICATION, NEVER}, // a bad certificate: no way around it
        {CURLE_SSL_CACERT_BADFILE, NEVER},
        {CURLE_SSL_CERTPROBLEM, NEVER},
        {CURLE_SSL_CIPHER, NEVER},
        {CURLE_SSL_ISSUER_ERROR, NEVER},
        {CURLE_SSL_INVALIDCERTSTATUS, NEVER},
        {CURLE_SSL_PINNEDPUBKEYNOTMATCH, NEVER},
        {CURLE_OUT_OF_MEMORY, NEVER}, // libcurl's answer to an endless header line
        {CURLE_COULDNT_RESOLVE_HOST, TWICE},
        {CURLE_COULDNT_RESOLVE_PROXY, TWICE},
        {CURLE_COULDNT_CONNECT, ALWAYS},
        {CURLE_SSL_CONNECT_ERROR, ALWAYS},
        {CURLE_OPERATION_TIMEDOUT, ALWAYS},
        {CURLE_PARTIAL_FILE, ALWAYS},
        {CURLE_GOT_NOTHING, ALWAYS},
        {CURLE_SEND_ERROR, ALWAYS},
        {CURLE_RECV_ERROR, ALWAYS},
        {CURLE_HTTP2, ALWAYS},
        {CURLE_HTTP2_STREAM, ALWAYS},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].code == code) {
            return table[i].worth;
        }
    }
    return ONCE; // answers that are not HTTP, bad codings
}

static const char *abort_text(Abort abort)
{
    switch (abort) {
    case ABORT_TOO_LARGE:
        return "the answer is larger than allowed";
    case ABORT_HEADERS:
        return "the answer's headers are larger than 256 KiB";
    case ABORT_STALLED:
        return "the answer began and then stopped coming";
    case ABORT_RANGE:
        return "the server sent another range than was asked for";
    case ABORT_CALLER:
    case ABORT_NONE:
        break;
    }
    return "";
}

bool transfer_outcome(const Transfer *transfer, const CurlApi *api, NetResponse *out)
{
    if (transfer->abort == ABORT_CALLER) {
        out->outcome = NET_CANCELLED;
        return false;
    }
    if (transfer->code == CURLE_OK && transfer->abort == ABORT_NONE) {
        int status = transfer->status;
        out->outcome = NET_ANSWERED;
        out->status = status;
        return status == 408 || status == 409 || status == 425 || status == 429 || status >= 500;
    }
    out->outcome = NET_UNREACHED;
    const char *text = transfer->abort != ABORT_NONE     ? abort_text(transfer->abort)
                       : transfer->error_text[0] != '\0' ? transfer->error_text
                                                         : api->easy_strerror(transfer->code);
    Str to = str_slice(transfer->origin->text, 0, 100);
    snprintf(out->message, sizeof out->message, STR_FMT ": %.150s", STR_ARG(to), text);
    int worth = tries_worth(transfer->code);
    if (transfer->abort != ABORT_NONE) {
        bool mends = transfer->abort == ABORT_STALLED || transfer->abort == ABORT_RANGE;
        worth = mends ? transfer->request.max_tries : 0;
    }
    out->permanent = worth == 0;
    out->too_large = transfer->abort == ABORT_TOO_LARGE || transfer->abort == ABORT_HEADERS ||
                     transfer->code == CURLE_OUT_OF_MEMORY;
    return transfer->tries <= worth;
}
