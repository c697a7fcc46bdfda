// SPDX-License-Identifier: MIT
// The openai sampler against the mock server, whose model is a few lines of Python: its tokens are
// up to four bytes with the space before them, and token i of n bytes has log-probability -0.125 *
// (1 + (7 n + i) mod 16), the first none.
#include "tests/unit/tap.h"

#include "tests/mock/mock.h"
#include "tests/unit/sampler/host.h"
#include "text/text.h"

static Mock mock;
static Arena arena;

#define KEY "sk-test-0123456789"

static Value parse(const char *json)
{
    Value value = value_null();
    Err err = ERR_INIT;
    JsonOptions options = {0};
    CHECK_OK(json_parse(&arena, str_from_c(json), &options, &value, NULL, &err), &err);
    return value;
}

/** A sampler on the mock server; segment says how that behaves, settings is JSON or NULL. */
static Sampler *open_at(TestHost *test, const char *segment, const char *name, const char *settings)
{
    test_host_init(test);
    Model model = {.spec = STR("openai/x"),
                   .provider = STR("openai"),
                   .name = str_from_c(name),
                   .base_url = str_printf(&arena, "http://127.0.0.1:%d/%s/v1/", mock.port, segment),
                   .settings = settings != NULL ? parse(settings) : value_null(),
                   .price_input_usd = 2,
                   .price_output_usd = 10};
    Sampler *sampler = NULL;
    Err err = ERR_INIT;
    CHECK_OK(sampler_open(&model, &test->host, &sampler, &err), &err);
    return sampler;
}

static Request chat_of(const char *text)
{
    Message *message = ARENA_NEW(&arena, Message);
    *message = (Message){.role = STR("user"), .content = str_from_c(text)};
    return (Request){.n = 1,
                     .settings = gen_settings_default(),
                     .prompt = {.is_chat = true, .messages = message, .n_messages = 1}};
}

/** Run one request on a server that behaves so; the caller destroys the completion. */
static Completion *run_at(const char *segment, const char *name, const Request *request)
{
    TestHost test;
    Err err = ERR_INIT;
    Sampler *sampler = open_at(&test, segment, name, NULL);
    if (sampler == NULL) {
        return NULL;
    }
    test.settings.max_tries = strstr(segment, "times=999") != NULL ? 2 : 0;
    Completion *completion = test_host_run(&test, sampler, request, &err);
    if (completion == NULL) {
        printf("# %s: refused: %s\n", segment, err.message);
    }
    sampler->ops->close(sampler);
    test_host_finish(&test);
    CHECK(completion != NULL);
    return completion;
}

/** What the server saw of the requests with this key: a list of maps. */
static Value server_log(const char *key)
{
    TestHost test;
    test_host_init(&test);
    Err err = ERR_INIT;
    const char *const argv[] = {
        "python3", "-c",
        "import sys, urllib.request as u\n"
        "sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())",
        mock_url(&mock, &arena, str_printf(&arena, "log/%s", key).data).data, NULL};
    Buf out = {0};
    int status = -1;
    CHECK_OK(process_run(argv, 20000, &out, NULL, &status, &err), &err);
    Value log = parse(str_copy(&arena, buf_view(&out)).data);
    buf_finish(&out);
    test_host_finish(&test);
    return log;
}

/** The JSON body of the last request with this key. */
static Value last_body(const char *key)
{
    Value log = server_log(key);
    if (log.as.list.n == 0) {
        CHECK(log.as.list.n > 0);
        return value_null();
    }
    Str body = value_get_str(&log.as.list.items[log.as.list.n - 1], "body", STR_EMPTY);
    return parse(str_copy(&arena, body).data);
}

static void test_openai__chat(void)
{
    Request request = chat_of("hello there");
    Completion *completion = run_at("ok;key=chat", "m", &request);
    const Reply *reply = &completion->reply;
    CHECK(!completion->failed);
    CHECK_STR(reply->text, STR("mock: hello there"));
    CHECK_INT(reply->stop, STOP_STOP);
    CHECK_INT(reply->usage.input, 4);
    CHECK_INT(reply->usage.output, 3);
    CHECK_INT(reply->usage.cached, 2);
    CHECK_INT(reply->usage.reasoning, 1);
    CHECK_NEAR(reply->cost_usd, (4 * 2 + 3 * 10) / 1e6, 1e-12);
    CHECK(reply->seconds > 0 && reply->seconds < 10);
    completion_destroy(completion);
    Value body = last_body("chat");
    Value want = parse("{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": "
                       "\"hello there\"}], \"max_tokens\": 256, \"temperature\": 0.0}");
    CHECK(value_equal(&body, &want)); // nothing that was not asked for
    Value log = server_log("chat");
    const Value *headers = value_get_c(&log.as.list.items[0], "headers");
    CHECK_STR(value_get_str(headers, "authorization", STR_EMPTY), STR("Bearer " KEY));
    CHECK_STR(value_get_str(headers, "content-type", STR_EMPTY), STR("application/json"));
}

static void test_openai__settings_reach_the_body(void)
{
    static const Str stop[] = {STR_INIT("\n"), STR_INIT("Q:")};
    Request request = chat_of("x");
    request.settings = (GenSettings){.max_tokens = 7,
                                     .temperature = 0.5,
                                     .top_p = 0.9,
                                     .min_p = 0.05,
                                     .top_k = 40,
                                     .logprobs = 2,
                                     .stop = stop,
                                     .n_stop = 2,
                                     .schema = parse("{\"type\": \"object\"}")};
    request.n = 2;
    request.seed = UINT64_MAX;
    TestHost test;
    Err err = ERR_INIT;
    Sampler *sampler = open_at(&test, "ok;key=settings", "m",
                               "{\"request\": {\"top_p\": null, \"user\": \"me\", \"top_k\": 3},"
                               " \"headers\": {\"X-Title\": \"test\"}}");
    Completion *completion = test_host_run(&test, sampler, &request, &err);
    CHECK(!completion->failed);
    CHECK_INT(completion->reply.n_more, 1);
    CHECK_STR(completion->reply.more[0].text, STR("mock: x"));
    CHECK_INT(completion->reply.n_logprobs, 3);
    CHECK_STR(completion->reply.logprobs[0].token, STR("mock"));
    CHECK_NEAR(completion->reply.logprobs[0].logprob, -0.5, 0);
    CHECK_NEAR(value_get_real(&completion->reply.logprobs[0].top, "x", 0), -2, 0);
    completion_destroy(completion);
    Prepared prepared;
    CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
    Value body = last_body("settings");
    Value want = parse(
        "{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}],"
        "\"max_tokens\": 7, \"temperature\": 0.5, \"min_p\": 0.05, \"stop\": [\"\\n\", \"Q:\"],"
        "\"seed\": 2147483647, \"n\": 2, \"logprobs\": true, \"top_logprobs\": 2,"
        "\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"reply\","
        "\"strict\": true, \"schema\": {\"type\": \"object\"}}}, \"user\": \"me\", \"top_k\": 3}");
    CHECK(value_equal(&body, &want));
    CHECK(value_equal(&prepared.body, &want));
    sampler->ops->close(sampler);
    test_host_finish(&test);
    Value log = server_log("settings");
    CHECK_STR(value_get_str(value_get_c(&log.as.list.items[0], "headers"), "x-title", STR_EMPTY),
              STR("test"));
}

static void test_openai__tool_messages_go_out_in_the_servers_shape(void)
{
    Message messages[] = {
        {.role = STR("user"), .content = STR("2+2?")},
        {.role = STR("assistant"),
         .content = STR(""),
         .extra = parse("{\"tool_calls\": [{\"id\": \"c1\", \"name\": \"add\", \"arguments\": "
                        "{\"a\": 2}}]}")},
        {.role = STR("tool"), .content = STR("4"), .extra = parse("{\"tool_call_id\": \"c1\"}")},
    };
    Request request = chat_of("");
    request.prompt.messages = messages;
    request.prompt.n_messages = 3;
    Completion *completion = run_at("ok;key=tools", "m", &request);
    completion_destroy(completion);
    Value body = last_body("tools");
    Value want = parse(
        "[{\"role\": \"user\", \"content\": \"2+2?\"}, {\"role\": \"assistant\", \"content\": \"\","
        "\"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\", \"function\": {\"name\": "
        "\"add\", \"arguments\": \"{\\\"a\\\":2}\"}}]}, {\"role\": \"tool\", \"content\": \"4\","
        "\"tool_call_id\": \"c1\"}]");
    CHECK(value_equal(value_get_c(&body, "messages"), &want));
}

static void test_openai__what_chats_answer(void)
{
    const struct {
        int line;
        const char *model;
        const char *text;
        StopReason stop;
        const char *refusal, *reasoning;
    } cases[] = {
        {__LINE__, "refusal", "", STOP_STOP, "I can not help.", ""},
        {__LINE__, "reasoning", "4", STOP_STOP, "", "2+2"},
        {__LINE__, "filter", "", STOP_FILTER, "", ""},
        {__LINE__, "tools", "", STOP_TOOL_CALLS, "", ""},
        {__LINE__, "no-usage", "mock: x", STOP_STOP, "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Request request = chat_of("x");
        Completion *completion = run_at("ok", cases[i].model, &request);
        const Reply *reply = &completion->reply;
        bool ok = !completion->failed && str_eq_c(reply->text, cases[i].text) &&
                  reply->stop == cases[i].stop && str_eq_c(reply->refusal, cases[i].refusal) &&
                  str_eq_c(reply->reasoning, cases[i].reasoning);
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: %s\n", cases[i].line, completion->err->message);
        }
        if (strcmp(cases[i].model, "tools") == 0) {
            Value want = parse("[{\"id\": \"c1\", \"name\": \"add\", \"arguments\": {\"a\": 1}}]");
            CHECK(value_equal(&reply->tool_calls, &want));
        }
        completion_destroy(completion);
    }
}

static void test_openai__completions(void)
{
    Request request = {.n = 2, .settings = gen_settings_default(), .prompt = {.text = STR("2+2=")}};
    request.settings.logprobs = 1;
    Completion *completion = run_at("ok;key=text", "m", &request);
    CHECK(!completion->failed);
    CHECK_STR(completion->reply.text, STR(" mock 0"));
    CHECK_INT(completion->reply.stop, STOP_LENGTH);
    CHECK_INT(completion->reply.n_more, 1);
    CHECK_STR(completion->reply.more[0].text, STR(" mock 1"));
    CHECK_INT(completion->reply.n_logprobs, 2);
    CHECK_STR(completion->reply.logprobs[1].token, STR(" 0"));
    completion_destroy(completion);
    Value body = last_body("text");
    CHECK_STR(value_get_str(&body, "prompt", STR_EMPTY), STR("2+2="));
    CHECK(value_get_c(&body, "messages") == NULL && value_get_c(&body, "echo") == NULL);
}

/** The mock's log-probability of token i with n bytes. */
static double mock_logprob(int n, int i)
{
    return -0.125 * (1 + (n * 7 + i) % 16);
}

static void test_openai__scores(void)
{
    // "The sky is blue" has the tokens The| sky| is| blu| ... of up to four letters after the
    // space.
    LoglikItem items[] = {
        {.context = {.text = STR("The sky is")}, .text = STR(" blue")},
        {.context = {.text = STR("The sky is")}, .text = STR(" red now")},
        {.context = {.text = STR("The sky i")}, .text = STR("s blue")}, // inside a token
        {.context = {.text = STR("The sky is ")}, .text = STR("blue")}, // the space is the token's
        {.context = {.text = STR("Der Fluß ü")}, .text = STR("ber")},   // characters, not bytes
    };
    Request request = {.kind = REQUEST_LOGLIK, .items = items, .n_items = 5, .per_token = true};
    Completion *completion = run_at("ok;key=score", "m", &request);
    CHECK(!completion->failed);
    if (completion->failed) {
        printf("# %s\n", completion->err->message);
        completion_destroy(completion);
        return;
    }
    const ChoiceLogprob *c = completion->reply.choices;
    CHECK_INT(completion->reply.n_choices, 5);
    CHECK_INT(c[0].n_tokens, 1);
    CHECK_NEAR(c[0].logprob, mock_logprob(5, 3), 1e-12);
    CHECK_STR(c[0].tokens[0].token, STR(" blue"));
    CHECK(!c[0].greedy); // odd tokens have a better one beside them
    CHECK_INT(c[1].n_tokens, 2);
    CHECK_NEAR(c[1].logprob, mock_logprob(4, 3) + mock_logprob(4, 4), 1e-12);
    CHECK_INT(c[2].n_tokens, 2);
    CHECK_NEAR(c[2].logprob, mock_logprob(3, 2) + mock_logprob(5, 3), 1e-12);
    CHECK_INT(c[3].n_tokens, 1);
    CHECK_NEAR(c[3].logprob, mock_logprob(5, 3), 1e-12);
    CHECK(c[4].n_tokens == 1 && c[4].tokens[0].token.len == 6); // " über"
    CHECK(isnan(c[0].unconditional));
    CHECK(completion->reply.usage.input > 0 && completion->reply.cost_usd > 0);
    completion_destroy(completion);
    Value log = server_log("score");
    CHECK_INT(log.as.list.n, 5);
    Value want = parse("{\"model\": \"m\", \"prompt\": \"The sky is blue\", \"max_tokens\": 1,"
                       "\"temperature\": 0.0, \"echo\": true, \"logprobs\": 1}");
    size_t n_equal = 0; // sent at the same time, they arrive in any order
    for (size_t i = 0; i < log.as.list.n; i++) {
        Str text = value_get_str(&log.as.list.items[i], "body", STR_EMPTY);
        Value body = parse(str_copy(&arena, text).data);
        n_equal += value_equal(&body, &want) ? 1 : 0;
    }
    CHECK(n_equal >= 1);
}

static void test_openai__scores_of_peculiar_servers(void)
{
    static const struct {
        const char *model;
        int first; // index of the first scored token
    } cases[] = {{"bos", 4}, {"marked-spaces", 3}, {"lying-usage", 3}, {"prompt-only", 3}};
    LoglikItem item = {.context = {.text = STR("The sky is ")}, .text = STR("blue blue")};
    Request request = {.kind = REQUEST_LOGLIK, .items = &item, .n_items = 1, .per_token = true};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Completion *completion = run_at("ok", cases[i].model, &request);
        CHECK(!completion->failed);
        if (!completion->failed) {
            int at = cases[i].first;
            CHECK_INT(completion->reply.choices[0].n_tokens, 2);
            CHECK_NEAR(completion->reply.choices[0].logprob,
                       mock_logprob(5, at) + mock_logprob(5, at + 1), 1e-12);
        } else {
            printf("# %s: %s\n", cases[i].model, completion->err->message);
        }
        completion_destroy(completion);
    }
}

static void test_openai__shifted_scores_are_found_out(void)
{
    LoglikItem items[10];
    for (size_t i = 0; i < 10; i++) {
        items[i] = (LoglikItem){.context = {.text = STR("The sky is")}, .text = STR(" blue")};
    }
    Request request = {.kind = REQUEST_LOGLIK, .items = items, .n_items = 10};
    Completion *completion = run_at("ok", "shifted", &request);
    CHECK(completion->failed);
    CHECK_INT(completion->err->code, ERR_MODEL);
    CHECK(strstr(completion->err->message, "shifted by one token") != NULL);
    completion_destroy(completion);
    request.n_items = 7; // seven answers could be chance
    completion = run_at("ok", "shifted", &request);
    CHECK(!completion->failed);
    completion_destroy(completion);
}

static void test_openai__greedy_and_unconditional(void)
{
    TestHost test;
    Err err = ERR_INIT;
    LoglikItem items[] = {{.context = {.text = STR("a b")}, .text = STR(" c")},
                          {.context = {.text = STR("a")}, .text = STR(" b")}};
    Request request = {.kind = REQUEST_LOGLIK, .items = items, .n_items = 2, .unconditional = true};
    Sampler *sampler = open_at(&test, "ok;key=uncond", "m", "{\"bos\": \"<s>\"}");
    Completion *completion = test_host_run(&test, sampler, &request, &err);
    CHECK(!completion->failed);
    CHECK(completion->reply.choices[0].greedy);  // token 2 is even
    CHECK(!completion->reply.choices[1].greedy); // token 1 is odd
    CHECK_INT(completion->reply.n_choices, 2);
    CHECK_NEAR(completion->reply.choices[0].unconditional, mock_logprob(2, 1), 1e-12);
    completion_destroy(completion);
    sampler->ops->close(sampler);
    test_host_finish(&test);
    // Without a text for the beginning, a first token has no score: said once, for the run.
    completion = run_at("ok", "m", &request);
    CHECK(completion->failed);
    CHECK_INT(completion->err->code, ERR_MODEL);
    CHECK(strstr(completion->err->message, "settings.bos") != NULL);
    completion_destroy(completion);
}

static void test_openai__servers_without_scores_are_found_out(void)
{
    static const char *const models[] = {"no-echo", "ignores-echo", "no-logprobs",
                                         "short-logprobs"};
    LoglikItem item = {.context = {.text = STR("The sky is")}, .text = STR(" blue")};
    Request request = {.kind = REQUEST_LOGLIK, .items = &item, .n_items = 1};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        Completion *completion = run_at("ok", models[i], &request);
        CHECK(completion->failed);
        CHECK_INT(completion->err->code, ERR_MODEL);
        bool said = strstr(completion->err->message, "offers no log-likelihoods") != NULL;
        CHECK(said);
        if (!said) {
            printf("# %s: %s\n", models[i], completion->err->message);
        }
        completion_destroy(completion);
    }
    Message message = {.role = STR("user"), .content = STR("hi")};
    item.context = (Prompt){.is_chat = true, .messages = &message, .n_messages = 1};
    TestHost test;
    Err err = ERR_INIT;
    Sampler *sampler = open_at(&test, "ok", "m", NULL);
    CHECK(!sampler->ops->submit(sampler, 1, &request, &err));
    CHECK_INT(err.code, ERR_MODEL);
    CHECK(strstr(err.message, "after a chat") != NULL);
    sampler->ops->close(sampler);
    test_host_finish(&test);
}

static void test_openai__failures(void)
{
    const struct {
        int line;
        const char *segment, *model;
        ErrCode code;     // ERR_NONE: it works in the end
        const char *want; // part of the message
    } cases[] = {
        {__LINE__, "status;code=401;key=f1", "m", ERR_MODEL, "does not accept the key"},
        {__LINE__, "status;code=403;key=f2", "m", ERR_MODEL, "told to"},
        {__LINE__, "status;code=404;key=f3", "m", ERR_MODEL, "does not know the model"},
        {__LINE__, "status;code=400;key=f4", "m", ERR_HTTP, "status 400): told to"},
        {__LINE__, "status;code=413;key=f5", "m", ERR_HTTP, "status 413"},
        {__LINE__, "status;code=500;times=2;key=f6", "m", ERR_NONE, ""},
        {__LINE__, "status;code=500;times=99;key=f7", "m", ERR_HTTP, "keeps failing"},
        {__LINE__, "status;code=429;times=8;key=f8;h=Retry-After:0.01", "m", ERR_NONE, ""},
        {__LINE__, "status;code=429;times=999;key=f9", "m", ERR_HTTP, "rate limit"},
        {__LINE__, "status;code=429;times=999;key=fw;h=Retry-After:86400", "m", ERR_HTTP,
         "the rate limit did not end, it lasts 86400 s more (status 429)"},
        {__LINE__,
         "status;code=429;key=fa;body=%7B%22error%22:%7B%22code%22:%22insufficient_quota%22%7D%7D",
         "m", ERR_MODEL, "quota"},
        {__LINE__, "redirect;code=307;to=other;key=fb", "m", ERR_MODEL, "--base-url"},
        {__LINE__, "ok", "context", ERR_LIMIT, "longer than the model's context"},
        {__LINE__, "ok", "error-in-200", ERR_MODEL, "the model does not exist"},
        {__LINE__, "halfjson;times=1;key=fc", "m", ERR_NONE, ""},
        {__LINE__, "halfjson;times=9;key=fd", "m", ERR_REPLY, "not JSON"},
        {__LINE__, "html;times=1;key=fe", "m", ERR_NONE, ""},
        {__LINE__, "html;times=9;key=ff", "m", ERR_REPLY, "gateway"},
        {__LINE__, "ok", "no-choices", ERR_REPLY, "no choices"},
        {__LINE__, "ok", "hostile", ERR_REPLY, "no choices"},
        {__LINE__, "ok", "null-content", ERR_REPLY, "no content"},
        {__LINE__, "empty;times=9;key=fg", "m", ERR_MODEL, "127.0.0.1"}, // never answered at all
        {__LINE__, "cut;times=2;key=fh", "m", ERR_NONE, ""},
        {__LINE__,
         "status;code=400;key=fi;body=%7B%22error%22:%7B%22code%22:%22content_filter%22%7D%7D", "m",
         ERR_NONE, ""},
        {__LINE__, "status;code=400;key=fj;body=%7B%22detail%22:%22context%20length%22%7D", "m",
         ERR_LIMIT, ""},
        {__LINE__, "status;code=400;key=fk;body=%5B%5D", "m", ERR_HTTP, "[]"},
        {__LINE__, "status;code=400;key=fl;body=%00%1B%FF", "m", ERR_HTTP, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Request request = chat_of("x");
        Completion *completion = run_at(cases[i].segment, cases[i].model, &request);
        if (completion == NULL) {
            continue;
        }
        bool failed = cases[i].code != ERR_NONE;
        bool ok = completion->failed == failed &&
                  (!failed || (completion->err->code == cases[i].code &&
                               strstr(completion->err->message, cases[i].want) != NULL));
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: failed %d, %s [%s]\n", cases[i].line, completion->failed,
                   completion->err->message, err_code_word(completion->err->code));
        }
        if (strstr(cases[i].segment, "content_filter") != NULL) {
            CHECK_INT(completion->reply.stop, STOP_FILTER);
        }
        for (const char *c = completion->err->message; *c != '\0'; c++) {
            CHECK((unsigned char)*c >= 0x20); // no escape sequences to the terminal
        }
        completion_destroy(completion);
    }
    Value log = server_log("fa");
    CHECK_INT(log.as.list.n, 1); // a used-up quota is not asked again
    log = server_log("fd");
    CHECK_INT(log.as.list.n, 2); // garbled answers once more, not five times
}

static void test_openai__a_429_storm(void)
{
    enum { N = 32 };
    TestHost test;
    Sampler *sampler = open_at(&test, "status;code=429;times=60;key=storm", "m", NULL);
    Request request = chat_of("x");
    Err err = ERR_INIT;
    for (uint64_t id = 0; id < N; id++) {
        CHECK_OK(sampler->ops->submit(sampler, id, &request, &err), &err);
    }
    uint64_t seen = 0;
    int n = 0;
    while (n < N) {
        Completion *completion = test_host_take(&test);
        CHECK(completion != NULL);
        if (completion == NULL) {
            break;
        }
        for (QueueNode *node = &completion->node, *next; node != NULL; node = next) {
            next = node->next;
            Completion *done = (Completion *)(void *)node;
            CHECK(!done->failed);
            seen |= UINT64_C(1) << done->id;
            completion_destroy(done);
            n++;
        }
    }
    CHECK(seen == (UINT64_C(1) << N) - 1);
    SamplerStats stats;
    sampler->ops->stats(sampler, &stats);
    CHECK_INT(stats.requests, N);
    CHECK_INT(stats.retries, 60);
    sampler->ops->close(sampler);
    test_host_finish(&test);
}

static void test_openai__keys(void)
{
    // A server that repeats the key in its refusal does not get it into our messages.
    Request request = chat_of("x");
    Completion *completion =
        run_at("status;code=401;key=k1;body=%7B%22error%22:%22bad%20@auth!%22%7D", "m", &request);
    CHECK(completion->failed);
    CHECK(strstr(completion->err->message, "bad Bearer ***!") != NULL);
    CHECK(strstr(completion->err->message, KEY) == NULL);
    completion_destroy(completion);
    // Without a key: fine for a server on this machine, refused for others before anything is sent.
    unsetenv("OPENAI_API_KEY");
    completion = run_at("ok;key=k2", "m", &request);
    CHECK(!completion->failed);
    completion_destroy(completion);
    Value log = server_log("k2");
    CHECK(value_get_c(value_get_c(&log.as.list.items[0], "headers"), "authorization") == NULL);
    completion = run_at("status;code=401;key=k3", "m", &request);
    CHECK(strstr(completion->err->message, "$OPENAI_API_KEY is not set") != NULL);
    completion_destroy(completion);
    TestHost test;
    test_host_init(&test);
    Err err = ERR_INIT;
    Sampler *sampler = NULL;
    Model model = {.spec = STR("openai/gpt-4o"), .provider = STR("openai"), .name = STR("gpt-4o")};
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
    CHECK(!sampler->ops->submit(sampler, 1, &request, &err));
    CHECK_INT(err.code, ERR_MODEL);
    CHECK(strstr(err.message, "set $OPENAI_API_KEY") != NULL);
    sampler->ops->close(sampler);
    test_host_finish(&test);
    // Another variable, named by the model.
    setenv("MUSTER_TEST_KEY", "other-key-123", 1);
    test_host_init(&test);
    model.api_key_env = STR("MUSTER_TEST_KEY");
    model.base_url = mock_url(&mock, &arena, "ok;key=k4/v1");
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
    completion_destroy(test_host_run(&test, sampler, &request, &err));
    sampler->ops->close(sampler);
    test_host_finish(&test);
    log = server_log("k4");
    CHECK_STR(
        value_get_str(value_get_c(&log.as.list.items[0], "headers"), "authorization", STR_EMPTY),
        STR("Bearer other-key-123"));
    unsetenv("MUSTER_TEST_KEY");
    setenv("OPENAI_API_KEY", KEY, 1);
}

static void test_openai__opening(void)
{
    const struct {
        int line;
        const char *name, *base_url, *settings;
        uint32_t caps; // 0: refused
        const char *want;
    } cases[] = {
        {__LINE__, "gpt-4o", "", NULL, CAP_CHAT | CAP_GRAMMAR | CAP_SEED,
         "gpt-4o at https://api.o"},
        {__LINE__, "gpt-3.5-turbo-instruct", "", NULL, CAP_TEXT | CAP_LOGLIK | CAP_SEED, ""},
        {__LINE__, "m", "http://127.0.0.1:1/v1", NULL,
         CAP_CHAT | CAP_GRAMMAR | CAP_TEXT | CAP_LOGLIK | CAP_SEED, ""},
        {__LINE__, "m", "http://127.0.0.1:1/v1", "{\"endpoint\": \"chat\", \"context_tokens\": 99}",
         CAP_CHAT | CAP_GRAMMAR | CAP_SEED, ""},
        {__LINE__, "m", "http://127.0.0.1:1/v1", "{\"endpoint\": \"chats\"}", 0,
         "has to be chat, completions or both"},
        {__LINE__, "m", "", "{\"endpiont\": \"chat\"}", 0, "did you mean 'endpoint'?"},
        {__LINE__, "m", "", "{\"zzz\": 1}", 0, "unknown key 'zzz'"},
        {__LINE__, "m", "", "{\"request\": 1}", 0, "'request' has to be a map, not an integer"},
        {__LINE__, "m", "", "{\"headers\": {\"a\": 1}}", 0, "header 'a' has to be text"},
        {__LINE__, "m", "ftp://x", NULL, 0, "is no base URL"},
        {__LINE__, "m", "https://", NULL, 0, "is no base URL"},
        {__LINE__, "", "", NULL, 0, "names no model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TestHost test;
        test_host_init(&test);
        Err err = ERR_INIT;
        Sampler *sampler = NULL;
        Model model = {.spec = STR("openai/spec"),
                       .provider = STR("openai"),
                       .name = str_from_c(cases[i].name),
                       .base_url = str_from_c(cases[i].base_url),
                       .settings =
                           cases[i].settings != NULL ? parse(cases[i].settings) : value_null()};
        bool opened = sampler_open(&model, &test.host, &sampler, &err);
        bool ok = opened == (cases[i].caps != 0);
        if (opened) {
            ok = ok && sampler->caps == cases[i].caps && sampler->max_in_flight == 16 &&
                 str_find(sampler->description, str_from_c(cases[i].want), 0) != STR_NONE;
            sampler->ops->close(sampler);
        } else {
            // A mistake in what was given, not a fault of the provider.
            ok = ok && err.code == ERR_CONFIG && strstr(err.message, cases[i].want) != NULL;
        }
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: %s\n", cases[i].line, err.message);
        }
        CHECK(test.net == NULL); // opening, as explain does, touches no network
        test_host_finish(&test);
    }
}

static void test_openai__which_base_url(void)
{
    TestHost test;
    test_host_init(&test);
    Err err = ERR_INIT;
    Sampler *sampler = NULL;
    Model model = {.spec = STR("openai/m"), .provider = STR("openai"), .name = STR("m")};
    setenv("OPENAI_BASE_URL", "http://localhost:1/env", 1);
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
    CHECK_STR(sampler->description, STR("m at http://localhost:1/env"));
    Hash by_env = sampler->identity;
    sampler->ops->close(sampler);
    model.base_url = STR("http://localhost:1/model//");
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
    CHECK_STR(sampler->description, STR("m at http://localhost:1/model"));
    CHECK(!hash_eq(&by_env, &sampler->identity));
    sampler->ops->close(sampler);
    test.settings.base_url = STR("http://localhost:1/flag");
    test.settings.max_connections = 3;
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
    CHECK_STR(sampler->description, STR("m at http://localhost:1/flag"));
    CHECK_INT(sampler->max_in_flight, 3);
    sampler->ops->close(sampler);
    unsetenv("OPENAI_BASE_URL");
    test_host_finish(&test);
}

static void test_openai__cancelling_and_closing(void)
{
    TestHost test;
    Err err = ERR_INIT;
    Sampler *sampler = open_at(&test, "slowheader;s=30;key=cc", "m", NULL);
    Request request = chat_of("x");
    LoglikItem items[3] = {{.context = {.text = STR("a")}, .text = STR(" b")},
                           {.context = {.text = STR("a")}, .text = STR(" c")},
                           {.context = {.text = STR("a")}, .text = STR(" d")}};
    Request scores = {.kind = REQUEST_LOGLIK, .items = items, .n_items = 3};
    CHECK_OK(sampler->ops->submit(sampler, 1, &request, &err), &err);
    CHECK_OK(sampler->ops->submit(sampler, 2, &scores, &err), &err);
    for (int i = 0; i < 5; i++) {
        net_poll(test.net, -1, 10, &err);
    }
    CHECK_INT(net_pending(test.net), 4);
    sampler->ops->cancel(sampler, 2);
    sampler->ops->cancel(sampler, 99);
    Completion *completion = test_host_take(&test);
    CHECK(completion != NULL && completion->id == 2 && completion->failed);
    CHECK_INT(completion->err->code, ERR_CANCELLED);
    completion_destroy(completion);
    CHECK_INT(net_pending(test.net), 1);
    // Closed with a call in flight: nothing is delivered, nothing leaks (under ASan).
    sampler->ops->close(sampler);
    CHECK_OK(net_poll(test.net, -1, 1000, &err), &err);
    CHECK_INT(net_pending(test.net), 0);
    CHECK(queue_take_all(&test.queue) == NULL);
    test_host_finish(&test);
}

static void test_openai__a_last_assistant_message_is_continued(void)
{
    Message messages[] = {{.role = STR("user"), .content = STR("hi")},
                          {.role = STR("assistant"), .content = STR("Well")}};
    Request request = chat_of("");
    request.prompt.messages = messages;
    request.prompt.n_messages = 2;
    completion_destroy(run_at("ok;key=cont", "m", &request));
    Value body = last_body("cont");
    CHECK(value_get_bool(&body, "continue_final_message", false));
    CHECK(!value_get_bool(&body, "add_generation_prompt", true));
    TestHost test;
    test_host_init(&test);
    Err err = ERR_INIT;
    Sampler *sampler = NULL;
    Prepared prepared;
    Model model = {.spec = STR("openai/gpt-4o"), .provider = STR("openai"), .name = STR("gpt-4o")};
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
    CHECK(!sampler->ops->prepare(sampler, &request, &arena, &prepared, &err));
    CHECK_INT(err.code, ERR_MODEL);
    request.prompt.n_messages = 1;
    CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
    CHECK_INT(value_get_int(&prepared.body, "max_completion_tokens", 0), 256);
    sampler->ops->close(sampler);
    test_host_finish(&test);
}

int main(void)
{
    unsetenv("OPENAI_BASE_URL");
    setenv("OPENAI_API_KEY", KEY, 1);
    if (!mock_start(&mock)) {
        tap_skip("the openai sampler", "python3 did not start the mock server");
        mock_stop(&mock);
        return tap_done();
    }
    tap_run("a chat", test_openai__chat);
    tap_run("settings reach the body", test_openai__settings_reach_the_body);
    tap_run("tool messages go out in the server's shape",
            test_openai__tool_messages_go_out_in_the_servers_shape);
    tap_run("what chats answer", test_openai__what_chats_answer);
    tap_run("completions", test_openai__completions);
    tap_run("log-likelihoods by echoed prompts", test_openai__scores);
    tap_run("log-likelihoods of peculiar servers", test_openai__scores_of_peculiar_servers);
    tap_run("shifted log-likelihoods are found out", test_openai__shifted_scores_are_found_out);
    tap_run("greedy tokens and unconditional scores", test_openai__greedy_and_unconditional);
    tap_run("servers without scores are found out",
            test_openai__servers_without_scores_are_found_out);
    tap_run("failures of an attempt and of the run", test_openai__failures);
    tap_run("a storm of 429", test_openai__a_429_storm);
    tap_run("keys are sent, never shown", test_openai__keys);
    tap_run("opening", test_openai__opening);
    tap_run("which base URL counts", test_openai__which_base_url);
    tap_run("cancelling and closing", test_openai__cancelling_and_closing);
    tap_run("a last assistant message is continued",
            test_openai__a_last_assistant_message_is_continued);
    mock_stop(&mock);
    arena_finish(&arena);
    return tap_done();
}
