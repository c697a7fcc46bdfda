// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "tests/unit/base/scratch.h"
#include "tests/unit/sampler/host.h"

static Arena arena;
static Scratch scratch;

static bool open_file(TestHost *test, Str content, Sampler **out, Err *err)
{
    static int n;
    test_host_init(test);
    Str name = str_printf(&arena, "replies%d.jsonl", n++);
    Str path = scratch_file(&scratch, &arena, name.data, content);
    Model model = {.provider = STR("replay"), .spec = STR("replay/x"), .path = path};
    return sampler_open(&model, &test->host, out, err);
}

static Request request_of(const char *eval, const char *part, const char *id, int64_t epoch,
                          const char *call)
{
    return (Request){.n = 1,
                     .settings = gen_settings_default(),
                     .eval = str_from_c(eval),
                     .part = str_from_c(part),
                     .sample_id = str_from_c(id),
                     .epoch = epoch,
                     .call = str_from_c(call)};
}

static void test_replay__the_most_specific_line_answers(void)
{
    TestHost test;
    Sampler *sampler = NULL;
    Err err = ERR_INIT;
    Str content =
        STR("{\"text\": \"any\"}\n"
            "\n"
            "{\"eval\": \"e\", \"text\": \"eval\"}\r\n"
            "{\"id\": \"1\", \"text\": \"id\"}\n"
            "{\"eval\": \"e\", \"id\": 1, \"text\": \"eval+id\"}\n"
            "{\"eval\": \"e\", \"part\": \"p\", \"id\": \"1\", \"epoch\": 2, \"call\": \"0\","
            " \"text\": \"all\", \"stop\": \"length\", \"usage\": {\"output\": 3}}\n"
            "{\"part\": \"\", \"id\": \"7\", \"text\": \"no part\"}\n"
            "{\"epoch\": 2, \"id\": \"9\", \"text\": \"epoch+id\"}\n"
            "{\"eval\": \"e\", \"id\": \"9\", \"text\": \"eval+id 9\"}\n"
            "{\"call\": 3, \"id\": \"1\", \"eval\": \"e\", \"text\": \"call\"}");
    if (!CHECK_OK(open_file(&test, content, &sampler, &err), &err)) {
        return;
    }
    const struct {
        int line;
        Request request;
        const char *want;
    } cases[] = {
        {__LINE__, request_of("x", "", "5", 1, "0"), "any"},
        {__LINE__, request_of("e", "", "5", 1, "0"), "eval"},
        {__LINE__, request_of("x", "", "1", 1, "0"), "id"},
        {__LINE__, request_of("e", "q", "1", 2, "0"), "eval+id"},
        {__LINE__, request_of("e", "p", "1", 2, "0"), "all"},
        {__LINE__, request_of("e", "p", "1", 1, "0"), "eval+id"},
        {__LINE__, request_of("e", "", "7", 1, "0"), "no part"},
        {__LINE__, request_of("e", "p", "7", 1, "0"), "eval"},
        {__LINE__, request_of("e", "p", "9", 2, "0"), "epoch+id"}, // id, then epoch, counts more
        {__LINE__, request_of("e", "p", "9", 1, "0"), "eval+id 9"},
        {__LINE__, request_of("e", "p", "1", 1, "3"), "call"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Completion *completion = test_host_run(&test, sampler, &cases[i].request, &err);
        bool ok = completion != NULL && !completion->failed &&
                  str_eq_c(completion->reply.text, cases[i].want);
        CHECK(ok);
        if (!ok && completion != NULL) {
            printf("# case of line %d: '" STR_FMT "' %s\n", cases[i].line,
                   STR_ARG(completion->reply.text), completion->err->message);
        }
        if (completion != NULL && strcmp(cases[i].want, "all") == 0) {
            CHECK_INT(completion->reply.stop, STOP_LENGTH);
            CHECK_INT(completion->reply.usage.output, 3);
        }
        completion_destroy(completion);
    }
    sampler->ops->close(sampler);
    test_host_finish(&test);
}

static void test_replay__choices(void)
{
    TestHost test;
    Sampler *sampler = NULL;
    Err err = ERR_INIT;
    Str content = STR("{\"id\": \"1\", \"choices\": [-1.5, -0.25]}\n"
                      "{\"id\": \"2\", \"choices\": [{\"logprob\": -3, \"greedy\": true}]}\n");
    if (!CHECK_OK(open_file(&test, content, &sampler, &err), &err)) {
        return;
    }
    LoglikItem items[2] = {{.text = STR("a")}, {.text = STR("b")}};
    Request request = request_of("e", "", "1", 1, "0");
    request.kind = REQUEST_LOGLIK;
    request.items = items;
    request.n_items = 2;
    Completion *completion = test_host_run(&test, sampler, &request, &err);
    CHECK(!completion->failed);
    CHECK_NEAR(completion->reply.choices[1].logprob, -0.25, 0);
    completion_destroy(completion);
    request.sample_id = STR("2"); // one choice recorded, two asked for
    completion = test_host_run(&test, sampler, &request, &err);
    CHECK(completion->failed);
    CHECK_INT(completion->err->code, ERR_REPLY);
    CHECK(strstr(completion->err->message, "line 2: it has 1 choices where 2") != NULL);
    completion_destroy(completion);
    request = request_of("e", "", "1", 1, "0"); // text asked for, choices recorded
    completion = test_host_run(&test, sampler, &request, &err);
    CHECK(completion->failed);
    CHECK(strstr(completion->err->message, "no 'text'") != NULL);
    completion_destroy(completion);
    sampler->ops->close(sampler);
    test_host_finish(&test);
}

static void test_replay__a_missing_reply_names_the_key(void)
{
    TestHost test;
    Sampler *sampler = NULL;
    Err err = ERR_INIT;
    if (!CHECK_OK(open_file(&test, STR("{\"id\": \"1\", \"text\": \"x\"}\n"), &sampler, &err),
                  &err)) {
        return;
    }
    Request request = request_of("mmlu", "anatomy", "42", 3, "1");
    Completion *completion = test_host_run(&test, sampler, &request, &err);
    CHECK(completion->failed);
    CHECK_INT(completion->err->code, ERR_REPLY);
    CHECK(strstr(completion->err->message,
                 "no reply for eval 'mmlu', part 'anatomy', id '42', epoch 3, call '1'") != NULL);
    completion_destroy(completion);
    sampler->ops->close(sampler);
    test_host_finish(&test);
}

static void test_replay__malformed_lines_are_named_at_open(void)
{
    static const struct {
        int line;
        Str content;
        const char *want;
    } cases[] = {
        {__LINE__, STR_INIT("{\"text\": \"x\"}\n\n{\"text\": }\n"), ", line 3: "},
        {__LINE__, STR_INIT("{\"text\": \"x\"}\n[1]\n"), ", line 2: "},
        {__LINE__, STR_INIT("{\"id\": \"1\"}\n"), ", line 1: a reply needs 'text' or 'choices'"},
        {__LINE__, STR_INIT("{\"id\": 1.5, \"text\": \"\"}\n"),
         ", line 1: 'id' has to be text or an integer, not a number"},
        {__LINE__, STR_INIT("{\"epoch\": \"1\", \"text\": \"\"}\n"),
         "'epoch' has to be an integer, not text"},
        {__LINE__, STR_INIT("{\"eval\": 1, \"text\": \"\"}\n"), "'eval' has to be text"},
        {__LINE__, STR_INIT("{\"id\": \"1\", \"text\": \"\"}\n\n{\"text\": \"\", \"id\": 1}\n"),
         ", line 3: it answers the same call as line 1"},
        {__LINE__, STR_INIT("{\"text\": \"\"} {\"text\": \"\"}\n"), ", line 1: "},
        {__LINE__, STR_INIT("\0\xff"), ", line 1: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TestHost test;
        Sampler *sampler = NULL;
        Err err = ERR_INIT;
        bool refused = !open_file(&test, cases[i].content, &sampler, &err);
        bool ok = refused && err.code == ERR_MODEL && strstr(err.message, cases[i].want) != NULL;
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: %s\n", cases[i].line, err.message);
        }
        test_host_finish(&test);
    }
    TestHost test;
    Sampler *sampler = NULL;
    Err err = ERR_INIT;
    test_host_init(&test);
    Model model = {.provider = STR("replay"), .path = STR("/nonexistent/file")};
    CHECK(!sampler_open(&model, &test.host, &sampler, &err));
    CHECK_INT(err.code, ERR_MODEL);
    model.path = STR_EMPTY;
    CHECK(!sampler_open(&model, &test.host, &sampler, &err));
    CHECK_INT(err.code, ERR_MODEL);
    test_host_finish(&test);
}

static void test_replay__empty_files_open(void)
{
    TestHost test;
    Sampler *sampler = NULL;
    Err err = ERR_INIT;
    if (CHECK_OK(open_file(&test, STR(""), &sampler, &err), &err)) {
        Request request = request_of("e", "", "1", 1, "0");
        Completion *completion = test_host_run(&test, sampler, &request, &err);
        CHECK(completion->failed);
        completion_destroy(completion);
        sampler->ops->close(sampler);
    }
    test_host_finish(&test);
}

static void test_replay__a_hundred_thousand_lines(void)
{
    enum { N = 100000 };
    Buf buf = {0};
    for (int i = 0; i < N; i++) {
        buf_printf(&buf, "{\"eval\": \"e\", \"id\": %d, \"text\": \"reply %d\"}\n", i, i);
    }
    TestHost test;
    Sampler *sampler = NULL;
    Err err = ERR_INIT;
    int64_t start = clock_ns();
    if (CHECK_OK(open_file(&test, buf_view(&buf), &sampler, &err), &err)) {
        for (int i = 0; i < N; i += 997) {
            Request request = request_of("e", "p", str_printf(&arena, "%d", i).data, 1, "0");
            Completion *completion = test_host_run(&test, sampler, &request, &err);
            CHECK(completion != NULL && !completion->failed);
            CHECK_STR(completion->reply.text, str_printf(&arena, "reply %d", i));
            completion_destroy(completion);
        }
        sampler->ops->close(sampler);
    }
    printf("# %.2f s\n", (double)(clock_ns() - start) / 1e9);
    test_host_finish(&test);
    buf_finish(&buf);
}

int main(void)
{
    scratch_create(&scratch);
    tap_run("the most specific line answers", test_replay__the_most_specific_line_answers);
    tap_run("recorded choices", test_replay__choices);
    tap_run("a missing reply names its key", test_replay__a_missing_reply_names_the_key);
    tap_run("malformed lines are named when the file is opened",
            test_replay__malformed_lines_are_named_at_open);
    tap_run("an empty file opens", test_replay__empty_files_open);
    tap_run("a hundred thousand lines", test_replay__a_hundred_thousand_lines);
    scratch_destroy(&scratch);
    arena_finish(&arena);
    return tap_done();
}
