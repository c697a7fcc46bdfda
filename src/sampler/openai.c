// SPDX-License-Identifier: MIT
// Any endpoint that speaks the OpenAI API: chat completions, completions, and log-likelihoods
// through completions that echo the prompt. Runs on the loop thread: submit hands HTTP requests to
// net, whose callbacks complete the calls. The key is read from the environment for each request
// and kept nowhere.
#include "sampler/openai_internal.h"
#include "sampler/sampler_internal.h"
#include "text/text.h"

#include <math.h>
#include <string.h>

#define CONNECTIONS 16
#define SHIFTS_MAX  8
#define OPENAI_URL  "https://api.openai.com/v1"

typedef struct Call Call;
typedef struct OpenAi OpenAi;

/** One HTTP request of a call: the generation, or one text to score. */
typedef struct Part {
    Call *call;
    size_t index;
    uint64_t net_id;
    bool in_flight;
    bool again; // it has been sent a second time
} Part;

/** A request between submit and its completion. */
struct Call {
    Call *prev;
    Call *next;
    OpenAi *openai; // NULL once the sampler is closed: the answer goes nowhere
    const Request *request;
    Completion *completion;
    Part *parts;
    size_t n_parts;
    size_t n_in_flight;
    ChoiceLogprob *scores; // n_parts, in the completion's arena
};

/** The open sampler. */
struct OpenAi {
    Sampler base;
    SamplerHost *host;
    Arena arena;
    Endpoint endpoint;
    Net *net;
    Call *calls;
    bool answered;      // the server has answered something
    bool scores_known;  // and has given log-probabilities of a prompt
    bool shift_settled; // which belong to the right tokens
    int n_shifted;      // answers that looked otherwise before that
    SamplerStats stats;
};

static void on_done(void *ctx, uint64_t net_id, const NetResponse *response);

// ---- Sending ----------------------------------------------------------------------------------

static bool worth_retry(void *ctx, const NetResponse *response)
{
    (void)ctx;
    return !openai_is_hopeless(response);
}

static bool has_key(const Endpoint *endpoint, Err *err)
{
    return openai_key(endpoint).len > 0 || endpoint->key_optional ||
           ERR_SET(err, ERR_MODEL, "set $" STR_FMT " to the key of " STR_FMT,
                   STR_ARG(endpoint->key_env), STR_ARG(endpoint->base_url));
}

static bool openai_ready(const Sampler *sampler, Err *err)
{
    return has_key(&((const OpenAi *)sampler)->endpoint, err);
}

/** The headers of a request, in arena. */
static bool headers_make(const Endpoint *endpoint, Arena *arena, NetHeader **out, size_t *out_n,
                         Err *err)
{
    Str key = openai_key(endpoint);
    if (!has_key(endpoint, err)) {
        return false;
    }
    size_t n_more = endpoint->headers.kind == VALUE_MAP ? endpoint->headers.as.map.n : 0;
    NetHeader *headers = ARENA_ARRAY(arena, NetHeader, n_more + 2);
    size_t n = 0;
    headers[n++] = (NetHeader){STR("Content-Type"), STR("application/json")};
    if (key.len > 0) {
        headers[n++] = (NetHeader){STR("Authorization"), str_concat(arena, STR("Bearer "), key)};
    }
    for (size_t i = 0; i < n_more; i++) {
        const ValuePair *pair = &endpoint->headers.as.map.pairs[i];
        headers[n++] = (NetHeader){pair->key, pair->value.as.str};
    }
    *out = headers;
    *out_n = n;
    return true;
}

static bool part_body(const OpenAi *openai, const Call *call, size_t index, Arena *arena,
                      Value *out, Err *err)
{
    const Endpoint *endpoint = &openai->endpoint;
    if (call->request->kind == REQUEST_GENERATE) {
        return openai_generate_body(endpoint, call->request, arena, out, err);
    }
    ScorePart part;
    if (!openai_score_part(endpoint, call->request, index, arena, &part, err)) {
        return false;
    }
    *out = openai_score_body(endpoint, &part, arena);
    return true;
}

static bool part_send(OpenAi *openai, Part *part, Err *err)
{
    const Call *call = part->call;
    const SamplerSettings *settings = openai->host->settings;
    bool chat = call->request->kind == REQUEST_GENERATE && call->request->prompt.is_chat;
    Arena arena;
    arena_init(&arena, 4096);
    Buf body = {0};
    Value value;
    NetRequest request = {.method = STR("POST"),
                          .timeout_ms = settings->timeout_ms,
                          .max_tries = settings->max_tries,
                          .worth_retry = worth_retry,
                          .on_done = on_done,
                          .ctx = part};
    NetHeader *headers = NULL;
    bool ok = part_body(openai, call, part->index, &arena, &value, err) &&
              headers_make(&openai->endpoint, &arena, &headers, &request.n_headers, err);
    if (ok) {
        json_write(&body, &value, JSON_COMPACT);
        ok = !body.overflow || ERR_SET(err, ERR_LIMIT, "the request is larger than 64 MiB");
    }
    if (ok) {
        request.headers = headers;
        request.body = buf_view(&body);
        request.url = str_concat(&arena, openai->endpoint.base_url,
                                 chat ? STR("/chat/completions") : STR("/completions"));
        ok = net_submit(openai->net, &request, &part->net_id, err);
    }
    buf_finish(&body);
    arena_finish(&arena);
    if (ok) {
        part->in_flight = true;
        part->call->n_in_flight++;
    }
    return ok;
}

// ---- Completing -------------------------------------------------------------------------------

static void call_unlink(Call *call)
{
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else if (call->openai != NULL) {
        call->openai->calls = call->next;
    }
    if (call->next != NULL) {
        call->next->prev = call->prev;
    }
    call->prev = NULL;
    call->next = NULL;
}

static void call_free(Call *call)
{
    mem_free(call->parts);
    mem_free(call);
}

static void call_cancel_parts(const Call *call, Net *net)
{
    for (size_t i = 0; i < call->n_parts; i++) {
        if (call->parts[i].in_flight) {
            net_cancel(net, call->parts[i].net_id);
        }
    }
}

/** The first failure counts; what else is in flight is not waited for longer than it takes to stop.
 */
static void call_fail(Call *call, const Err *err)
{
    if (!call->completion->failed) {
        *completion_fail(call->completion) = *err;
        call_cancel_parts(call, call->openai->net);
    }
}

/** Gather the scores of a call's parts into its reply. */
static void scores_gather(Call *call)
{
    const Request *request = call->request;
    Reply *reply = &call->completion->reply;
    for (size_t i = 0; request->unconditional && i < request->n_items; i++) {
        call->scores[i].unconditional = call->scores[request->n_items + i].logprob;
    }
    reply->choices = call->scores;
    reply->n_choices = request->n_items;
    reply->cost_usd = openai_cost(&call->openai->endpoint, &reply->usage);
}

static void call_finish(Call *call)
{
    OpenAi *openai = call->openai;
    if (!call->completion->failed && call->request->kind == REQUEST_LOGLIK) {
        scores_gather(call);
    }
    call_unlink(call);
    queue_push(openai->host->completions, &call->completion->node);
    call_free(call);
}

/** Parts run side by side: tokens add up, the longest time counts. */
static void score_add(Reply *reply, const Usage *usage, double seconds)
{
    reply->usage.input += usage->input;
    reply->usage.output += usage->output;
    reply->usage.cached += usage->cached;
    reply->usage.reasoning += usage->reasoning;
    reply->seconds = seconds > reply->seconds ? seconds : reply->seconds;
}

/**
 * llama-cpp-python (seen in 0.3.36) gives each echoed token the log-probabilities of the next one:
 * scores that look right and are not. The first answers that can tell must not all show it. */
static AnswerFault shift_watch(OpenAi *openai, ShiftSign shift, Err *err)
{
    if (shift == SHIFT_UNKNOWN || openai->shift_settled) {
        return ANSWER_GOOD;
    }
    openai->shift_settled = shift == SHIFT_NO;
    openai->n_shifted += shift == SHIFT_YES;
    if (openai->n_shifted < SHIFTS_MAX) {
        return ANSWER_GOOD;
    }
    ERR_SET(err, ERR_MODEL,
            STR_FMT ": the log-probabilities of prompts are shifted by one token (a fault of "
                    "llama-cpp-python's server): log-likelihoods from it would be wrong",
            STR_ARG(openai->endpoint.base_url));
    return ANSWER_FAILED;
}

/** Read the answer to a part into the call's reply. */
static AnswerFault part_read(Part *part, const NetResponse *response, Err *err)
{
    Call *call = part->call;
    OpenAi *openai = call->openai;
    Completion *completion = call->completion;
    Arena *arena = &completion->arena;
    if (call->request->kind == REQUEST_GENERATE) {
        return openai_read_generation(&openai->endpoint, call->request, response, arena,
                                      &completion->reply, err);
    }
    ScorePart score;
    if (!openai_score_part(&openai->endpoint, call->request, part->index, arena, &score, err)) {
        return ANSWER_FAILED;
    }
    ScoreAnswer answer;
    AnswerFault fault = openai_read_score(&openai->endpoint, &score, call->request->per_token,
                                          response, arena, &answer, err);
    if (fault == ANSWER_GOOD) {
        fault = shift_watch(openai, answer.shift, err);
    }
    if (fault == ANSWER_GOOD) {
        openai->scores_known = true;
        call->scores[part->index] = answer.choice;
        score_add(&completion->reply, &answer.usage, response->seconds);
    }
    return fault;
}

/** Turn a fault into the call's error, or send the part again. */
static void part_fault(Part *part, AnswerFault fault, const NetResponse *response, Err *err)
{
    OpenAi *openai = part->call->openai;
    if (fault == ANSWER_AGAIN && !part->again && !part->call->completion->failed) {
        Err send_err = ERR_INIT;
        part->again = true;
        openai->stats.retries++;
        if (part_send(openai, part, &send_err)) {
            return;
        }
        *err = send_err;
    }
    if (fault == ANSWER_NO_ECHO && !openai->scores_known) {
        Err cause = *err;
        ERR_SET(err, ERR_MODEL,
                "this server offers no log-likelihoods (completions with `echo` and `logprobs`): "
                "let the solver read replies (`by: reply`), or use another server. %.600s",
                cause.message);
    }
    if (response->outcome == NET_UNREACHED && !openai->answered && err->code == ERR_NET) {
        err->code = ERR_MODEL; // it has never answered: nothing will get better sample by sample
    }
    call_fail(part->call, err);
}

static void on_done(void *ctx, uint64_t net_id, const NetResponse *response)
{
    Part *part = ctx;
    Call *call = part->call;
    OpenAi *openai = call->openai;
    (void)net_id;
    part->in_flight = false;
    call->n_in_flight--;
    if (openai == NULL) { // closed meanwhile; request is gone too
        if (call->n_in_flight == 0) {
            completion_destroy(call->completion);
            call_free(call);
        }
        return;
    }
    openai->stats.retries += response->tries > 1 ? (uint64_t)response->tries - 1 : 0;
    Err err = ERR_INIT;
    AnswerFault fault = part_read(part, response, &err);
    if (fault != ANSWER_GOOD) {
        part_fault(part, fault, response, &err);
    }
    openai->answered = openai->answered || response->outcome == NET_ANSWERED;
    if (call->n_in_flight == 0) {
        call_finish(call);
    }
}

// ---- Ops --------------------------------------------------------------------------------------

static bool openai_submit(Sampler *sampler, uint64_t id, const Request *request, Err *err)
{
    OpenAi *openai = (OpenAi *)sampler;
    if (openai->net == NULL) {
        openai->net = openai->host->net(openai->host, err);
        if (openai->net == NULL) {
            return false;
        }
    }
    bool scores = request->kind == REQUEST_LOGLIK;
    Call *call = mem_zalloc(1, sizeof *call);
    call->openai = openai;
    call->request = request;
    call->completion = completion_create(id);
    call->completion->reply = (Reply){.text = STR_EMPTY, .cost_usd = (double)NAN};
    call->n_parts = scores ? openai_score_parts(request) : 1;
    call->parts = mem_zalloc(call->n_parts, sizeof *call->parts);
    call->scores = ARENA_ARRAY(&call->completion->arena, ChoiceLogprob, call->n_parts);
    call->next = openai->calls;
    if (call->next != NULL) {
        call->next->prev = call;
    }
    openai->calls = call;
    bool ok = true;
    for (size_t i = 0; ok && i < call->n_parts; i++) {
        call->parts[i] = (Part){.call = call, .index = i};
        ok = part_send(openai, &call->parts[i], err);
    }
    if (!ok && call->n_in_flight == 0) {
        call_unlink(call);
        completion_destroy(call->completion);
        call_free(call);
        return false;
    }
    openai->stats.requests++;
    if (!ok) {
        call_fail(call, err); // reported by its completion, once what was sent has stopped
        *err = (Err)ERR_INIT;
    } else if (call->n_parts == 0) {
        call_finish(call);
    }
    return true;
}

static bool openai_prepare(Sampler *sampler, const Request *request, Arena *arena, Prepared *out,
                           Err *err)
{
    const Endpoint *endpoint = &((OpenAi *)sampler)->endpoint;
    Prepared prepared;
    sampler_prepare_plain(request, arena, &prepared);
    if (request->kind == REQUEST_GENERATE) {
        if (!openai_generate_body(endpoint, request, arena, &prepared.body, err)) {
            return false;
        }
    } else {
        size_t n = openai_score_parts(request);
        Value *bodies = ARENA_ARRAY(arena, Value, n);
        for (size_t i = 0; i < n; i++) {
            ScorePart part;
            if (!openai_score_part(endpoint, request, i, arena, &part, err)) {
                return false;
            }
            bodies[i] = openai_score_body(endpoint, &part, arena);
        }
        prepared.body = value_list(bodies, n);
    }
    *out = prepared;
    return true;
}

static void openai_cancel(Sampler *sampler, uint64_t id)
{
    OpenAi *openai = (OpenAi *)sampler;
    for (Call *call = openai->calls; call != NULL; call = call->next) {
        if (call->completion->id == id) {
            call_cancel_parts(call, openai->net);
        }
    }
}

static void openai_stats(const Sampler *sampler, SamplerStats *out)
{
    *out = ((const OpenAi *)sampler)->stats;
}

static void openai_close(Sampler *sampler)
{
    OpenAi *openai = (OpenAi *)sampler;
    while (openai->calls != NULL) { // net tells them later that they are cancelled
        Call *call = openai->calls;
        call_unlink(call);
        call->openai = NULL;
        call_cancel_parts(call, openai->net);
    }
    arena_finish(&openai->arena);
    mem_free(openai);
}

// ---- Opening ----------------------------------------------------------------------------------

/** The host of an http or https address, without port. */
static Str url_host(Str url)
{
    Str scheme;
    Str rest;
    if (!str_cut(url, STR("://"), &scheme, &rest)) {
        return STR_EMPTY;
    }
    size_t end = 0;
    bool bracket = str_starts_with(rest, STR("["));
    while (end < rest.len && memchr(bracket ? "]/?#" : ":/?#", rest.data[end], 4) == NULL) {
        end++;
    }
    return str_slice(rest, bracket ? 1 : 0, end);
}

static bool is_loopback(Str host)
{
    return str_eq(host, STR("localhost")) || str_eq(host, STR("::1")) ||
           (str_starts_with(host, STR("127.")) && str_trim_of(host, STR(".0123456789")).len == 0);
}

static bool settings_check(const Model *model, Err *err)
{
    static const struct {
        Str name;
        ValueKind kind;
        const char *want;
    } keys[] = {{STR_INIT("endpoint"), VALUE_STR, "chat, completions or both"},
                {STR_INIT("request"), VALUE_MAP, "a map"},
                {STR_INIT("headers"), VALUE_MAP, "a map of texts"},
                {STR_INIT("bos"), VALUE_STR, "text"},
                {STR_INIT("context_tokens"), VALUE_INT, "an integer"}};
    enum { N = sizeof keys / sizeof keys[0] };
    Str names[N];
    for (size_t i = 0; i < N; i++) {
        names[i] = keys[i].name;
    }
    for (size_t i = 0; model->settings.kind == VALUE_MAP && i < model->settings.as.map.n; i++) {
        const ValuePair *pair = &model->settings.as.map.pairs[i];
        size_t at = str_nearest(pair->key, names, N);
        if (at == STR_NONE || !str_eq(names[at], pair->key)) {
            return ERR_SET(
                err, ERR_CONFIG,
                "settings of '" STR_FMT "': unknown key '" STR_FMT "'%s" STR_FMT "%s",
                STR_ARG(model->spec), STR_ARG(pair->key), at == STR_NONE ? "" : ": did you mean '",
                STR_ARG(at == STR_NONE ? STR_EMPTY : names[at]), at == STR_NONE ? "" : "'?");
        }
        if (pair->value.kind != keys[at].kind) {
            return ERR_SET(err, ERR_CONFIG,
                           "settings of '" STR_FMT "': '" STR_FMT "' has to be %s, not %s",
                           STR_ARG(model->spec), STR_ARG(pair->key), keys[at].want,
                           value_kind_word(&pair->value));
        }
    }
    const Value *headers = value_get_c(&model->settings, "headers");
    for (size_t i = 0; headers != NULL && i < headers->as.map.n; i++) {
        if (headers->as.map.pairs[i].value.kind != VALUE_STR) {
            return ERR_SET(err, ERR_CONFIG,
                           "settings of '" STR_FMT "': header '" STR_FMT "' has to be text",
                           STR_ARG(model->spec), STR_ARG(headers->as.map.pairs[i].key));
        }
    }
    return true;
}

/** What the endpoint can do, unless its file says so: at OpenAI only few models take plain text. */
static bool caps_find(const Endpoint *endpoint, const Model *model, uint32_t *out, Err *err)
{
    const uint32_t chat = CAP_CHAT | CAP_GRAMMAR;
    const uint32_t text = CAP_TEXT | CAP_LOGLIK;
    Str said = value_get_str(&model->settings, "endpoint", STR_EMPTY);
    bool old = str_ends_with(model->name, STR("-instruct")) ||
               str_ends_with(model->name, STR("davinci-002")) ||
               str_ends_with(model->name, STR("babbage-002"));
    if (said.len == 0) {
        said = !endpoint->is_openai ? STR("both") : old ? STR("completions") : STR("chat");
    }
    if (str_eq(said, STR("chat"))) {
        *out = CAP_SEED | chat;
    } else if (str_eq(said, STR("completions"))) {
        *out = CAP_SEED | text;
    } else if (str_eq(said, STR("both"))) {
        *out = CAP_SEED | chat | text;
    } else {
        return ERR_SET(err, ERR_CONFIG,
                       "settings of '" STR_FMT "': 'endpoint' has to be chat, completions or both",
                       STR_ARG(model->spec));
    }
    return true;
}

static bool endpoint_fill(OpenAi *openai, const Model *model, Err *err)
{
    Endpoint *endpoint = &openai->endpoint;
    Arena *arena = &openai->arena;
    Str url = openai->host->settings->base_url;
    url = url.len > 0 ? url : model->base_url;
    url = url.len > 0 ? url : env_get("OPENAI_BASE_URL", STR(OPENAI_URL));
    while (str_ends_with(url, STR("/"))) {
        url.len--;
    }
    Str host = url_host(url);
    bool web = str_starts_with(url, STR("https://")) || str_starts_with(url, STR("http://"));
    if (!web || host.len == 0) {
        return ERR_SET(err, ERR_CONFIG, "'" STR_FMT "' is no base URL (https://host/v1)",
                       STR_ARG(url));
    }
    if (model->name.len == 0) {
        return ERR_SET(err, ERR_CONFIG, "'" STR_FMT "' names no model", STR_ARG(model->spec));
    }
    const Value *request = value_get_c(&model->settings, "request");
    const Value *headers = value_get_c(&model->settings, "headers");
    *endpoint = (Endpoint){
        .model = str_copy(arena, model->name),
        .base_url = str_copy(arena, url),
        .key_env = str_copy(arena, model->api_key_env.len > 0 ? model->api_key_env
                                                              : STR("OPENAI_API_KEY")),
        .key_optional = is_loopback(host),
        .is_openai = str_eq(host, STR("api.openai.com")),
        .request = request != NULL ? value_copy(arena, request) : value_null(),
        .headers = headers != NULL ? value_copy(arena, headers) : value_null(),
        .bos = str_copy(arena, value_get_str(&model->settings, "bos", STR_EMPTY)),
        .price_input_usd = model->price_input_usd,
        .price_output_usd = model->price_output_usd,
    };
    return true;
}

static Hash endpoint_identity(const Endpoint *endpoint, const Model *model)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.openai.1"));
    hash_str(&sha, endpoint->base_url);
    hash_str(&sha, endpoint->model);
    hash_value(&sha, &model->settings);
    return hash_end(&sha);
}

static bool openai_open(const Model *model, SamplerHost *host, Sampler **out, Err *err)
{
    OpenAi *openai = mem_zalloc(1, sizeof *openai);
    openai->host = host;
    arena_init(&openai->arena, 1024);
    uint32_t caps = 0;
    if (!settings_check(model, err) || !endpoint_fill(openai, model, err) ||
        !caps_find(&openai->endpoint, model, &caps, err)) {
        openai_close(&openai->base);
        return false;
    }
    int connections = host->settings->max_connections;
    openai->base = (Sampler){
        .ops = &sampler_openai,
        .caps = caps,
        .context_tokens = value_get_int(&model->settings, "context_tokens", 0),
        .max_in_flight = connections > 0 ? connections : CONNECTIONS,
        .identity = endpoint_identity(&openai->endpoint, model),
        .description =
            str_printf(&openai->arena, STR_FMT " at " STR_FMT, STR_ARG(openai->endpoint.model),
                       STR_ARG(openai->endpoint.base_url)),
    };
    *out = &openai->base;
    return true;
}

const SamplerOps sampler_openai = {
    .provider = "openai",
    .help = "any endpoint that speaks the OpenAI API (--base-url, $OPENAI_API_KEY)",
    .open = openai_open,
    .prepare = openai_prepare,
    .ready = openai_ready,
    .submit = openai_submit,
    .cancel = openai_cancel,
    .stats = openai_stats,
    .close = openai_close,
};
