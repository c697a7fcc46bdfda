// SPDX-License-Identifier: MIT
// The local sampler on a model that the test writes: texts, chats, scores and where pairs are cut.
#include "tests/unit/engine/tiny_gguf.h"
#include "tests/unit/tap.h"

#include "tests/unit/sampler/host.h"

#include "engine/engine.h"
#include "script/script.h"

#include <unistd.h>

static TestHost test;
static Sampler *sampler;
static Script *script;
static Arena arena;
static char path[64];

static void set_up(bool add_bos)
{
    Err err = ERR_INIT;
    TinyModel tiny = tiny_model_default();
    tiny.add_bos = add_bos;
    tiny.context = 96;
    snprintf(path, sizeof(path), "/tmp/muster-local-%d.gguf", (int)getpid());
    CHECK_OK(tiny_gguf_write(&tiny, str_from_c(path), &err), &err);
    Model model = {.spec = STR("local/tiny"), .provider = STR("local"), .path = str_from_c(path)};
    test_host_init(&test);
    CHECK_OK(script_create(NULL, &script, &err), &err);
    test.host.script = script;
    test.settings.threads = 1;
    CHECK_OK(sampler_open(&model, &test.host, &sampler, &err), &err);
}

static void tear_down(void)
{
    sampler->ops->close(sampler);
    test_host_finish(&test);
    script_destroy(script);
    arena_finish(&arena);
    unlink(path);
}

/** Submit, say that nothing else comes, wait. The caller destroys. */
static Completion *run(const Request *request)
{
    Err err = ERR_INIT;
    if (!CHECK_OK(sampler->ops->submit(sampler, 1, request, &err), &err)) {
        return NULL;
    }
    sampler->ops->quiesce(sampler, true);
    Completion *completion = test_host_take(&test);
    if (completion != NULL && completion->failed) {
        printf("# failed: %s\n", completion->err->message);
    }
    return completion;
}

static Request generation(Str prompt)
{
    Request request = {.kind = REQUEST_GENERATE,
                       .prompt = {.text = prompt},
                       .n = 1,
                       .settings = gen_settings_default()};
    request.settings.max_tokens = 8;
    return request;
}

static void test_local__says_what_it_can(void)
{
    set_up(false);
    CHECK((sampler->caps & CAP_WANTS_ALL) != 0 && (sampler->caps & CAP_LOGLIK) != 0);
    CHECK((sampler->caps & CAP_CHAT) != 0);
    CHECK_INT(sampler->context_tokens, 96);
    tear_down();
}

/** Text written from a prompt, and the sum of its tokens' log-probabilities. */
static Completion *write_greedily(Str prompt, double *out_sum)
{
    Request request = generation(prompt);
    request.settings.logprobs = 3;
    Completion *written = run(&request);
    CHECK(written != NULL && !written->failed);
    CHECK_INT(written->reply.n_logprobs, written->reply.usage.output);
    *out_sum = 0;
    for (size_t i = 0; i < written->reply.n_logprobs; i++) {
        const TokenLogprob *token = &written->reply.logprobs[i];
        *out_sum += token->logprob;
        CHECK_INT(token->top.as.map.n, 3);
        CHECK_NEAR(token->top.as.map.pairs[0].value.as.real, token->logprob, 0); // greedy: the best
    }
    return written;
}

/**
 * The text that greedy picking gave is greedy when it is scored, with the same log-probabilities,
 * where it reads back as the tokens that were picked (random weights also pick bytes that are no
 * text). */
static void test_local__scores_what_it_wrote(void)
{
    static const char *const prompts[] = {"once upon", "a",      "the cat", "zebra",
                                          "12",        "Q: why", "x y z",   "end"};
    size_t n_same = 0;
    set_up(false);
    for (size_t i = 0; i < sizeof(prompts) / sizeof(prompts[0]); i++) {
        double sum;
        Str prompt = str_from_c(prompts[i]);
        Completion *written = write_greedily(prompt, &sum);
        LoglikItem items[2] = {{.context = {.text = prompt}, .text = written->reply.text},
                               {.context = {.text = prompt}, .text = STR("zz")}};
        Request scoring = {.kind = REQUEST_LOGLIK,
                           .items = items,
                           .n_items = 2,
                           .per_token = true,
                           .unconditional = true};
        Completion *scored = run(&scoring);
        CHECK(scored != NULL && !scored->failed);
        CHECK_INT(scored->reply.n_choices, 2);
        const ChoiceLogprob *choices = scored->reply.choices;
        if (choices[0].n_tokens == 8 && written->reply.usage.output == 8) {
            n_same++;
            CHECK(choices[0].greedy);
            CHECK_NEAR(choices[0].logprob, sum, 1e-4);
        }
        CHECK_INT(choices[1].n_logged, 2);
        CHECK_NEAR(choices[1].tokens[0].logprob + choices[1].tokens[1].logprob, choices[1].logprob,
                   1e-9);
        CHECK(isfinite(choices[1].unconditional));
        completion_destroy(written);
        completion_destroy(scored);
    }
    CHECK(n_same >= 1);
    tear_down();
}

static void test_local__cuts_pairs_at_the_context(void)
{
    static const struct {
        int line;
        const char *context;
        const char *text;
        size_t n_ids;     // of the pair; one token a byte
        size_t n_context; // spaces at the context's end belong to the text
    } cases[] = {
        {__LINE__, "abc", " de", 6, 3},
        {__LINE__, "abc ", "de", 6, 3},
        {__LINE__, "abc \n ", "de", 8, 3},
        {__LINE__, "", "de", 3, 1}, // conditioned on BOS
        {__LINE__, "  ", "de", 5, 1},
        {__LINE__, "abc", "", 3, 2}, // nothing of the text: the last token is scored
    };
    set_up(false);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Err err = ERR_INIT;
        LoglikItem item = {.context = {.text = str_from_c(cases[i].context)},
                           .text = str_from_c(cases[i].text)};
        Request request = {.kind = REQUEST_LOGLIK, .items = &item, .n_items = 1};
        Prepared prepared;
        if (CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err) &&
            (prepared.sequences[0].n_ids != cases[i].n_ids ||
             prepared.sequences[0].n_context != cases[i].n_context)) {
            printf("# case of line %d: %zu ids, %zu of them context\n", cases[i].line,
                   prepared.sequences[0].n_ids, prepared.sequences[0].n_context);
            CHECK(false);
        }
    }
    tear_down();
}

static void test_local__adds_bos_once(void)
{
    static const char *const prompts[] = {"ab", "<|endoftext|>ab"};
    set_up(true);
    for (size_t i = 0; i < 2; i++) {
        Err err = ERR_INIT;
        Request request = generation(str_from_c(prompts[i]));
        Prepared prepared;
        CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
        CHECK_INT(prepared.sequences[0].n_ids, 3);
        CHECK_INT(prepared.sequences[0].ids[0], TINY_BOS);
        CHECK_INT(prepared.sequences[0].ids[1], 'a');
    }
    tear_down();
}

static void test_local__rolls_over_long_texts(void)
{
    set_up(false);
    char text[250];
    memset(text, 'x', sizeof(text));
    LoglikItem item = {.text = {text, sizeof(text)}, .window = true};
    Request request = {.kind = REQUEST_LOGLIK, .items = &item, .n_items = 1, .per_token = true};
    Completion *completion = run(&request); // windows of 96
    CHECK(completion != NULL && !completion->failed);
    const ChoiceLogprob *choice = &completion->reply.choices[0];
    CHECK_INT(choice->n_tokens, 250);
    CHECK(isfinite(choice->logprob));
    CHECK_INT(choice->n_logged, 250); // of all windows
    double sum = 0;
    for (size_t i = 0; i < choice->n_logged; i++) {
        CHECK_STR(choice->tokens[i].token, STR("x"));
        sum += choice->tokens[i].logprob;
    }
    CHECK_NEAR(sum, choice->logprob, 1e-9 * fabs(sum));
    completion_destroy(completion);
    tear_down();
}

static void test_local__continues_an_assistant(void)
{
    Err err = ERR_INIT;
    static const Message messages[] = {
        {.role = STR_INIT("user"), .content = STR_INIT("hi")},
        {.role = STR_INIT("assistant"), .content = STR_INIT("well, ")}};
    set_up(false);
    Request request = generation(STR_EMPTY);
    request.prompt = (Prompt){.is_chat = true, .messages = messages, .n_messages = 2};
    Prepared prepared;
    CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
    CHECK(prepared.used_chat_template);
    CHECK(str_ends_with(prepared.sequences[0].text, STR("well,")));
    request.prompt.n_messages = 1;
    CHECK_OK(sampler->ops->prepare(sampler, &request, &arena, &prepared, &err), &err);
    CHECK(str_find(prepared.sequences[0].text, STR("assistant"), 0) != STR_NONE);
    tear_down();
}

static void test_local__says_what_does_not_fit(void)
{
    set_up(false);
    char text[200];
    memset(text, 'y', sizeof(text));
    Err err = ERR_INIT;
    Request request = generation((Str){text, sizeof(text)});
    request.sample_id = STR("row-9");
    request.eval = STR("longish");
    CHECK(!sampler->ops->submit(sampler, 1, &request, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    CHECK(strstr(err.message, "sample row-9 of longish") != NULL);
    tear_down();
}

int main(void)
{
    tap_run("says what it can", test_local__says_what_it_can);
    tap_run("scores what it wrote", test_local__scores_what_it_wrote);
    tap_run("cuts pairs at the context", test_local__cuts_pairs_at_the_context);
    tap_run("adds BOS once", test_local__adds_bos_once);
    tap_run("rolls over long texts", test_local__rolls_over_long_texts);
    tap_run("continues an assistant", test_local__continues_an_assistant);
    tap_run("says what does not fit", test_local__says_what_does_not_fit);
    return tap_done();
}
