// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "tests/unit/sampler/host.h"

static TestHost test;
static Sampler *sampler;

static void set_up(void)
{
    Err err = ERR_INIT;
    Model model = {.provider = STR("echo")};
    test_host_init(&test);
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
}

static void tear_down(void)
{
    sampler->ops->close(sampler);
    test_host_finish(&test);
}

static void test_echo__replies_the_prompt(void)
{
    static const Message messages[] = {
        {.role = STR_INIT("system"), .content = STR_INIT("sys")},
        {.role = STR_INIT("user"), .content = STR_INIT("first")},
        {.role = STR_INIT("assistant"), .content = STR_INIT("reply")},
        {.role = STR_INIT("user"), .content = STR_INIT("second one")},
        {.role = STR_INIT("assistant"), .content = STR_INIT("begun")},
    };
    const struct {
        int line;
        Prompt prompt;
        Str want;
        int64_t n_input;
    } cases[] = {
        {__LINE__, {.text = STR("a  b\0c\n")}, STR("a  b\0c\n"), 3},
        {__LINE__, {.text = STR("")}, STR(""), 0},
        {__LINE__, {.is_chat = true, .messages = messages, .n_messages = 5}, STR("second one"), 6},
        {__LINE__, {.is_chat = true, .messages = messages, .n_messages = 1}, STR(""), 1},
        {__LINE__, {.is_chat = true}, STR(""), 0},
    };
    set_up();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Err err = ERR_INIT;
        Request request = {.settings = gen_settings_default(), .n = 1, .prompt = cases[i].prompt};
        Completion *completion = test_host_run(&test, sampler, &request, &err);
        CHECK(completion != NULL && !completion->failed);
        CHECK_STR(completion->reply.text, cases[i].want);
        CHECK_INT(completion->reply.stop, STOP_STOP);
        CHECK_INT(completion->reply.usage.input, cases[i].n_input);
        CHECK_NEAR(completion->reply.cost_usd, 0, 0);
        completion_destroy(completion);
    }
    tear_down();
}

static void test_echo__several_replies(void)
{
    set_up();
    Err err = ERR_INIT;
    Request request = {.settings = gen_settings_default(), .n = 3, .prompt = {.text = STR("x y")}};
    Completion *completion = test_host_run(&test, sampler, &request, &err);
    CHECK_INT(completion->reply.n_more, 2);
    CHECK_STR(completion->reply.more[1].text, STR("x y"));
    CHECK_INT(completion->reply.usage.output, 6);
    completion_destroy(completion);
    SamplerStats stats;
    sampler->ops->stats(sampler, &stats);
    CHECK_INT(stats.requests, 1);
    tear_down();
}

static void test_echo__scores_are_the_same_for_ever_and_add_up(void)
{
    set_up();
    LoglikItem items[] = {
        {.context = {.text = STR("2+2=")}, .text = STR(" four or so")},
        {.context = {.text = STR("2+2=")}, .text = STR(" five")},
        {.context = {.text = STR("3+3=")}, .text = STR(" five")},
        {.context = {.text = STR("2+2=")}, .text = STR(" five")},
        {.text = STR(" five"), .window = true},
    };
    Request request = {.kind = REQUEST_LOGLIK,
                       .items = items,
                       .n_items = 5,
                       .unconditional = true,
                       .per_token = true};
    Err err = ERR_INIT;
    Completion *completion = test_host_run(&test, sampler, &request, &err);
    const ChoiceLogprob *choices = completion->reply.choices;
    CHECK_INT(completion->reply.n_choices, 5);
    CHECK_INT(choices[0].n_tokens, 3);
    CHECK_INT(choices[0].n_logged, 3);
    double sum = 0;
    for (size_t i = 0; i < choices[0].n_logged; i++) {
        CHECK(choices[0].tokens[i].logprob < 0);
        sum += choices[0].tokens[i].logprob;
    }
    CHECK_NEAR(sum, choices[0].logprob, 1e-12);
    CHECK_STR(choices[0].tokens[1].token, STR(" or"));
    CHECK(choices[1].logprob == choices[3].logprob);
    CHECK(choices[1].logprob != choices[2].logprob);
    CHECK(choices[1].unconditional == choices[2].unconditional);
    CHECK(choices[4].logprob == choices[1].unconditional);
    // The value itself is pinned: recorded runs depend on it.
    CHECK_NEAR(choices[1].logprob, -0.55367885552539287, 0);
    completion_destroy(completion);
    tear_down();
}

static void test_echo__prepare_shows_what_is_sent(void)
{
    set_up();
    Arena arena = {0};
    Err err = ERR_INIT;
    Prepared prepared;
    Request request = {.prompt = {.text = STR("abc")}, .n = 1};
    CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
    CHECK_INT(prepared.n_sequences, 1);
    CHECK_STR(prepared.sequences[0].text, STR("abc"));
    CHECK_INT(prepared.body.kind, VALUE_NULL);
    Message message = {.role = STR("user"), .content = STR("hi")};
    request.prompt = (Prompt){.is_chat = true, .messages = &message, .n_messages = 1};
    CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
    CHECK_INT(prepared.n_sequences, 0);
    CHECK(value_get_c(&prepared.body, "messages") != NULL);
    LoglikItem items[] = {{.context = {.text = STR("a")}, .text = STR("b")},
                          {.text = STR("w"), .window = true}};
    request = (Request){.kind = REQUEST_LOGLIK, .items = items, .n_items = 2};
    CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
    CHECK_INT(prepared.n_sequences, 2);
    CHECK_STR(prepared.sequences[0].text, STR("ab"));
    CHECK_STR(prepared.sequences[1].text, STR("w"));
    arena_finish(&arena);
    tear_down();
}

int main(void)
{
    tap_run("the prompt comes back", test_echo__replies_the_prompt);
    tap_run("several replies", test_echo__several_replies);
    tap_run("scores are the same for ever and add up",
            test_echo__scores_are_the_same_for_ever_and_add_up);
    tap_run("prepare shows what is sent", test_echo__prepare_shows_what_is_sent);
    return tap_done();
}
