// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "eval/eval.h"

static Arena arena;

static Request chat_request(void)
{
    static const Message messages[] = {
        {.role = STR_INIT("system"), .content = STR_INIT("be brief")},
        {.role = STR_INIT("user"), .content = STR_INIT("hi")},
    };
    return (Request){.kind = REQUEST_GENERATE,
                     .prompt = {.is_chat = true, .messages = messages, .n_messages = 2},
                     .settings = gen_settings_default(),
                     .n = 1,
                     .seed = 7,
                     .eval = STR("e"),
                     .sample_id = STR("1")};
}

static void test_request__value_of_a_chat(void)
{
    Request request = chat_request();
    Value value = request_to_value(&arena, &request);
    CHECK_STR(value_get_str(&value, "kind", STR("")), STR("generate"));
    const Value *messages = value_get_c(&value, "messages");
    CHECK(messages != NULL && messages->as.list.n == 2);
    CHECK_STR(value_get_str(&messages->as.list.items[1], "content", STR("")), STR("hi"));
    CHECK_INT(value_get_int(&value, "max_tokens", 0), 256);
    CHECK_NEAR(value_get_real(&value, "top_p", 0), 1, 0);
    CHECK(value_get_c(&value, "prompt") == NULL && value_get_c(&value, "schema") == NULL);
    CHECK(value_get_c(&value, "seed") == NULL && value_get_c(&value, "eval") == NULL);
}

static void test_request__extra_members_of_a_message_are_merged(void)
{
    ValuePair extra[] = {value_pair(STR("tool_call_id"), value_str(STR("c1"))),
                         value_pair(STR("role"), value_str(STR("user")))};
    Message message = {.role = STR("tool"), .content = STR("4"), .extra = value_map(extra, 2)};
    Request request = chat_request();
    request.prompt.messages = &message;
    request.prompt.n_messages = 1;
    Value value = request_to_value(&arena, &request);
    const Value *item = &value_get_c(&value, "messages")->as.list.items[0];
    CHECK_INT(item->as.map.n, 3); // the second role does not appear again
    CHECK_STR(value_get_str(item, "role", STR("")), STR("tool"));
    CHECK_STR(value_get_str(item, "tool_call_id", STR("")), STR("c1"));
}

static void test_request__value_of_a_scoring(void)
{
    LoglikItem items[] = {
        {.context = {.text = STR("2+2=")}, .text = STR(" 4")},
        {.context = {.text = STR("ignored")}, .text = STR("long text"), .window = true},
    };
    Request request = {.kind = REQUEST_LOGLIK, .items = items, .n_items = 2, .unconditional = true};
    Value value = request_to_value(&arena, &request);
    const Value *list = value_get_c(&value, "items");
    CHECK(list != NULL && list->as.list.n == 2);
    CHECK_STR(value_get_str(&list->as.list.items[0], "prompt", STR("")), STR("2+2="));
    CHECK_STR(value_get_str(&list->as.list.items[0], "text", STR("")), STR(" 4"));
    CHECK(value_get_c(&list->as.list.items[1], "prompt") == NULL);
    CHECK(value_get_bool(&list->as.list.items[1], "window", false));
    CHECK(value_get_bool(&value, "unconditional", false));
    CHECK(value_get_c(&value, "max_tokens") == NULL);
}

static void test_request__hash_sees_what_can_change_an_answer(void)
{
    Request base = chat_request();
    Hash hash = request_hash(&base);
    Hash same = request_hash(&base);
    CHECK(hash_eq(&hash, &same));

    Request who = base; // who asks does not matter
    who.seed = 8;
    who.eval = STR("other");
    who.sample_id = STR("2");
    who.epoch = 3;
    who.call = STR("1");
    same = request_hash(&who);
    CHECK(hash_eq(&hash, &same));

    enum { N = 12 };
    static const Str stop[] = {STR_INIT("\n"), STR_INIT("Q:")};
    static const Message other[] = {{.role = STR_INIT("user"), .content = STR_INIT("be brief")}};
    Request changed[N];
    for (size_t i = 0; i < N; i++) {
        changed[i] = base;
    }
    changed[0].settings.max_tokens = 255;
    changed[1].settings.temperature = 0.5;
    changed[2].settings.top_p = 0.5;
    changed[3].settings.min_p = 0.5;
    changed[4].settings.top_k = 5;
    changed[5].settings.logprobs = 1;
    changed[6].settings.stop = stop;
    changed[6].settings.n_stop = 1;
    changed[7].settings.stop = stop;
    changed[7].settings.n_stop = 2;
    changed[8].settings.schema = value_map(NULL, 0);
    changed[9].n = 2;
    changed[10].prompt.messages = other;
    changed[10].prompt.n_messages = 1;
    changed[11].prompt = (Prompt){.text = STR("be brief")};
    for (size_t i = 0; i < N; i++) {
        Hash a = request_hash(&changed[i]);
        CHECK(!hash_eq(&a, &hash));
        for (size_t j = 0; j < i; j++) {
            Hash b = request_hash(&changed[j]);
            CHECK(!hash_eq(&a, &b));
        }
    }
}

int main(void)
{
    tap_run("a chat as a value", test_request__value_of_a_chat);
    tap_run("further members of a message", test_request__extra_members_of_a_message_are_merged);
    tap_run("a scoring as a value", test_request__value_of_a_scoring);
    tap_run("the hash sees what can change an answer, and only that",
            test_request__hash_sees_what_can_change_an_answer);
    arena_finish(&arena);
    return tap_done();
}
