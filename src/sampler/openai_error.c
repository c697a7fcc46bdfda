// SPDX-License-Identifier: MIT
// What an endpoint's failures mean, for this attempt or for the whole run, and the parts of an
// answer that do not depend on what was asked. Everything is read from outside bytes: no member is
// trusted to be there, or to be of its kind.
#include "sampler/openai_internal.h"

#include "text/text.h"

#include <string.h>
#include <strings.h>

#define MESSAGE_MAX 600 // bytes of a server's message that are passed on
#define KEY_MIN     6   // shorter "keys" are not looked for in messages

/** A text member, or a number member as text. */
static Str text_member(Arena *arena, const Value *map, const char *key)
{
    const Value *value = value_get_c(map, key);
    if (value != NULL && value->kind == VALUE_INT) {
        return str_printf(arena, "%lld", (long long)value->as.integer);
    }
    return value != NULL && value->kind == VALUE_STR ? value->as.str : STR_EMPTY;
}

static ErrorBody error_body(Arena *arena, const Value *body)
{
    const Value *error = value_get_c(body, "error");
    if (error != NULL && error->kind == VALUE_STR) {
        return (ErrorBody){.message = error->as.str};
    }
    if (error == NULL || error->kind != VALUE_MAP) {
        error = body; // {"object": "error", "message": ...}
    }
    ErrorBody found = {.message = text_member(arena, error, "message"),
                       .code = text_member(arena, error, "code"),
                       .type = text_member(arena, error, "type")};
    if (found.message.len == 0) {
        found.message = text_member(arena, error, "detail");
    }
    return found;
}

static bool find_folded(Str text, const char *needle)
{
    size_t len = strlen(needle);
    for (size_t i = 0; i + len <= text.len; i++) {
        if (strncasecmp(text.data + i, needle, len) == 0) {
            return true;
        }
    }
    return false;
}

static bool any_of(Str text, const char *const *needles, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (find_folded(text, needles[i])) {
            return true;
        }
    }
    return false;
}
#define ANY_OF(text, list) any_of((text), (list), sizeof(list) / sizeof((list)[0]))

static bool is_context_error(const ErrorBody *error)
{
    static const char *const messages[] = {
        "context length",     "context window",       "maximum context", "context size",
        "prompt is too long", "maximum model length", "too many tokens"};
    return find_folded(error->code, "context_length") || ANY_OF(error->message, messages);
}

static bool is_quota_error(const ErrorBody *error)
{
    static const char *const words[] = {"insufficient_quota", "billing", "quota_exceeded"};
    return ANY_OF(error->code, words) || ANY_OF(error->type, words);
}

static bool is_fatal_code(const ErrorBody *error)
{
    static const char *const codes[] = {"invalid_api_key", "model_not_found", "authentication",
                                        "permission"};
    return is_quota_error(error) || ANY_OF(error->code, codes) || ANY_OF(error->type, codes);
}

Str openai_key(const Endpoint *endpoint)
{
    char name[256];
    if (endpoint->key_env.len >= sizeof name) {
        return STR_EMPTY;
    }
    memcpy(name, endpoint->key_env.data, endpoint->key_env.len);
    name[endpoint->key_env.len] = '\0';
    return str_trim(env_get(name, STR_EMPTY));
}

/**
 * A server's message for people: one line, cut, and never with the key in it, which some servers
 * repeat when they refuse it. */
static Str shown(const Endpoint *endpoint, Arena *arena, Str message)
{
    Str key = openai_key(endpoint);
    Buf buf = {0};
    size_t at = 0;
    while (at < message.len && buf.len < MESSAGE_MAX) {
        if (key.len >= KEY_MIN && str_starts_with(str_slice(message, at, message.len), key)) {
            buf_c(&buf, "***");
            at += key.len;
            continue;
        }
        unsigned char c = (unsigned char)message.data[at++];
        buf_char(&buf, c < 0x20 || c == 0x7f ? ' ' : (char)c);
    }
    Str clean = str_trim(buf_view(&buf));
    Str copy = str_copy(arena, str_slice(clean, 0, utf8_valid_prefix(clean)));
    buf_finish(&buf);
    return copy;
}

bool openai_parse(Arena *arena, Str text, Value *out, Err *err)
{
    JsonOptions options = {.keep_last_duplicate = true};
    return json_parse(arena, utf8_clean(arena, text), &options, out, NULL, err);
}

bool openai_is_hopeless(const NetResponse *response)
{
    Arena arena;
    Err err = ERR_INIT;
    Value body;
    arena_init(&arena, 4096);
    bool hopeless = false;
    if (response->status == 429 && openai_parse(&arena, response->body, &body, &err)) {
        ErrorBody error = error_body(&arena, &body);
        hopeless = is_quota_error(&error);
    }
    arena_finish(&arena);
    return hopeless;
}

/** The code of a status that is no success, and how to introduce the server's words. */
static ErrCode status_code(int status, const ErrorBody *error, const char **out_what)
{
    *out_what = "the server refuses the request";
    if (is_context_error(error)) {
        *out_what = "the request is longer than the model's context";
        return ERR_LIMIT;
    }
    if (is_quota_error(error) || status == 402) {
        *out_what = "the account's quota is used up";
        return ERR_MODEL;
    }
    if (status == 401 || status == 403) {
        *out_what = "the server does not accept the key";
        return ERR_MODEL;
    }
    if (status == 404) {
        *out_what = "the server does not know the model or the route";
        return ERR_MODEL;
    }
    if (status >= 300 && status < 400) {
        *out_what = "the server redirects to another place; give that as --base-url";
        return ERR_MODEL;
    }
    if (is_fatal_code(error)) {
        return ERR_MODEL;
    }
    if (status == 429) {
        *out_what = "the rate limit did not end";
    } else if (status >= 500 || status == 408 || status == 409 || status == 425) {
        *out_what = "the server keeps failing";
    }
    return ERR_HTTP;
}

static void status_fault(const Endpoint *endpoint, const NetResponse *response,
                         const ErrorBody *error, Arena *arena, Err *err)
{
    const char *what;
    ErrCode code = status_code(response->status, error, &what);
    Str message = shown(endpoint, arena, error->message.len > 0 ? error->message : response->body);
    if (response->status == 429 && code == ERR_HTTP && response->retry_after_s > 0) {
        what = str_to_c(arena, str_printf(arena, "the rate limit did not end, it lasts %.0f s more",
                                          response->retry_after_s));
    }
    bool keyless =
        (response->status == 401 || response->status == 403) && openai_key(endpoint).len == 0;
    err_set(err, code, SRC_HERE, STR_FMT ": %s (status %d%s" STR_FMT "%s)%s" STR_FMT,
            STR_ARG(endpoint->base_url), what, response->status, keyless ? "; $" : "",
            STR_ARG(keyless ? endpoint->key_env : STR_EMPTY), keyless ? " is not set" : "",
            message.len > 0 ? ": " : "", STR_ARG(message));
}

/** A request that a filter stopped is an answer: no text, and why. */
bool openai_is_filtered(const ErrorBody *error)
{
    return find_folded(error->code, "content_filter") || find_folded(error->type, "content_filter");
}

static AnswerFault unreached(const Endpoint *endpoint, const NetResponse *response, Err *err)
{
    (void)endpoint;
    if (response->outcome == NET_CANCELLED) {
        ERR_SET(err, ERR_CANCELLED, "cancelled");
        return ANSWER_FAILED;
    }
    ErrCode code = response->too_large ? ERR_LIMIT : response->permanent ? ERR_MODEL : ERR_NET;
    err_set(err, code, SRC_HERE, "%s", response->message);
    return ANSWER_FAILED;
}

/**
 * Everything about an answer that does not depend on what was asked: transport, status, JSON, and
 * an error inside a success. GOOD: *out is the body, with a list of choices. */
AnswerFault openai_read_body(const Endpoint *endpoint, const NetResponse *response, Arena *arena,
                             Value *out, ErrorBody *out_error, Err *err)
{
    *out_error = (ErrorBody){.message = STR_EMPTY};
    if (response->outcome != NET_ANSWERED) {
        return unreached(endpoint, response, err);
    }
    Err parse_err = ERR_INIT;
    bool parsed = openai_parse(arena, response->body, out, &parse_err);
    if (parsed) {
        *out_error = error_body(arena, out);
    }
    if (response->status < 200 || response->status > 299) {
        status_fault(endpoint, response, out_error, arena, err);
        return ANSWER_FAILED;
    }
    if (!parsed) {
        Str begin = shown(endpoint, arena, str_slice(response->body, 0, 200));
        ERR_SET(err, ERR_REPLY, STR_FMT ": the answer is not JSON (%.200s): " STR_FMT,
                STR_ARG(endpoint->base_url), parse_err.message, STR_ARG(begin));
        return ANSWER_AGAIN;
    }
    const Value *inner = value_get_c(out, "error");
    if (inner != NULL && inner->kind != VALUE_NULL) {
        NetResponse as_if = *response;
        as_if.status = is_fatal_code(out_error) ? 404 : 400;
        const char *what;
        ErrCode code = status_code(as_if.status, out_error, &what);
        Str message = shown(endpoint, arena, out_error->message);
        err_set(err, code, SRC_HERE, STR_FMT ": an error in a success: " STR_FMT,
                STR_ARG(endpoint->base_url), STR_ARG(message));
        return ANSWER_FAILED;
    }
    const Value *choices = value_get_c(out, "choices");
    if (choices == NULL || choices->kind != VALUE_LIST || choices->as.list.n == 0) {
        ERR_SET(err, ERR_REPLY, STR_FMT ": the answer has no choices", STR_ARG(endpoint->base_url));
        return ANSWER_AGAIN;
    }
    return ANSWER_GOOD;
}
