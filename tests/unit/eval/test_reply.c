// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "eval/eval.h"

#define NAN_D ((double)NAN)

static Arena arena;

static Value map_of(size_t n, const ValuePair *pairs)
{
    MapBuilder map;
    map_builder_init(&map, &arena);
    for (size_t i = 0; i < n; i++) {
        map_builder_put(&map, pairs[i].key, pairs[i].value);
    }
    return map_builder_done(&map);
}
#define MAP(...)                                                                                   \
    map_of(sizeof((ValuePair[]){__VA_ARGS__}) / sizeof(ValuePair), (ValuePair[]){__VA_ARGS__})
#define PAIR(key, value) value_pair(STR(key), (value))

static Value list_of(size_t n, const Value *items)
{
    Value list = value_list(items, n);
    return value_copy(&arena, &list);
}
#define LIST(...) list_of(sizeof((Value[]){__VA_ARGS__}) / sizeof(Value), (Value[]){__VA_ARGS__})
#define TEXT(s)   value_str(STR(s))

static void test_reply__round_trip_keeps_everything(void)
{
    Value top = MAP(PAIR("a", value_real(-0.25)), PAIR("b", value_real(-1.5)));
    TokenLogprob tokens[] = {{STR("a"), -0.25, top}, {STR("\0"), NAN_D, value_null()}};
    ChoiceLogprob choices[] = {{-1.75, -3.5, 2, true, tokens, 2, false},
                               {-(double)INFINITY, NAN_D, 1, false, NULL, 0, true}};
    Reply more = {.text = STR("again"), .stop = STOP_LENGTH, .cost_usd = NAN_D};
    Reply reply = {.text = STR("text"),
                   .stop = STOP_TOOL_CALLS,
                   .refusal = STR("no"),
                   .reasoning = STR("because"),
                   .tool_calls = LIST(MAP(PAIR("id", TEXT("1")))),
                   .choices = choices,
                   .n_choices = 2,
                   .logprobs = tokens,
                   .n_logprobs = 2,
                   .usage = {.input = 1, .output = 2, .cached = 3, .reasoning = 4},
                   .seconds = 0.5,
                   .cost_usd = 0.001,
                   .more = &more,
                   .n_more = 1};
    Value value = reply_to_value(&arena, &reply);
    Reply back;
    Err err = ERR_INIT;
    if (!CHECK_OK(reply_from_value(&arena, &value, &back, &err), &err)) {
        return;
    }
    Value again = reply_to_value(&arena, &back);
    CHECK(value_equal(&value, &again));
    CHECK_STR(back.text, STR("text"));
    CHECK_INT(back.stop, STOP_TOOL_CALLS);
    CHECK_STR(back.refusal, STR("no"));
    CHECK_STR(back.reasoning, STR("because"));
    CHECK_INT(back.tool_calls.as.list.n, 1);
    CHECK_INT(back.n_choices, 2);
    CHECK_NEAR(back.choices[0].logprob, -1.75, 0);
    CHECK_NEAR(back.choices[0].unconditional, -3.5, 0);
    CHECK_INT(back.choices[0].n_tokens, 2);
    CHECK(back.choices[0].greedy && !back.choices[1].greedy);
    CHECK(!back.choices[0].by_letter && back.choices[1].by_letter);
    CHECK_INT(back.choices[0].n_logged, 2);
    CHECK(value_equal(&back.choices[0].tokens[0].top, &top));
    CHECK_STR(back.choices[0].tokens[1].token, STR("\0"));
    CHECK(isnan(back.choices[0].tokens[1].logprob));
    CHECK(isinf(back.choices[1].logprob) && back.choices[1].logprob < 0);
    CHECK(isnan(back.choices[1].unconditional));
    CHECK_INT(back.n_logprobs, 2);
    CHECK_INT(back.usage.reasoning, 4);
    CHECK_NEAR(back.cost_usd, 0.001, 0);
    CHECK_INT(back.n_more, 1);
    CHECK_STR(back.more[0].text, STR("again"));
    CHECK_INT(back.more[0].stop, STOP_LENGTH);
    CHECK(isnan(back.more[0].cost_usd));
}

static void test_reply__absent_members_are_left_out(void)
{
    Reply reply = {.text = STR("t"), .cost_usd = NAN_D};
    Value value = reply_to_value(&arena, &reply);
    static const char *const want[] = {"text", "stop", "usage", "seconds"};
    CHECK_INT(value.as.map.n, 4);
    for (size_t i = 0; i < 4 && i < value.as.map.n; i++) {
        CHECK_STR(value.as.map.pairs[i].key, str_from_c(want[i]));
    }
}

static void test_reply__defaults_and_plain_numbers(void)
{
    Value value = MAP(PAIR("choices", LIST(value_real(-1.5), value_int(-2), TEXT("-inf"))),
                      PAIR("eval", TEXT("mmlu")), PAIR("usage", value_null()));
    Reply reply;
    Err err = ERR_INIT;
    CHECK_OK(reply_from_value(&arena, &value, &reply, &err), &err);
    CHECK_STR(reply.text, STR(""));
    CHECK_INT(reply.stop, STOP_STOP);
    CHECK_INT(reply.n_choices, 3);
    CHECK_NEAR(reply.choices[0].logprob, -1.5, 0);
    CHECK_NEAR(reply.choices[1].logprob, -2, 0);
    CHECK(isinf(reply.choices[2].logprob));
    CHECK(isnan(reply.choices[0].unconditional) && isnan(reply.cost_usd));
    CHECK_INT(reply.choices[0].n_tokens, 0);
    Value whole = MAP(PAIR("text", TEXT("")), PAIR("usage", MAP(PAIR("input", value_real(12)))));
    CHECK_OK(reply_from_value(&arena, &whole, &reply, &err), &err);
    CHECK_INT(reply.usage.input, 12);
}

static void test_reply__hostile_values_are_refused(void)
{
    const struct {
        int line;
        Value value;
        const char *want; // part of the message
    } cases[] = {
        {__LINE__, value_null(), "has to be a map, not null"},
        {__LINE__, LIST(value_int(1)), "has to be a map, not a list"},
        {__LINE__, value_map(NULL, 0), "needs 'text' or 'choices'"},
        {__LINE__, MAP(PAIR("text", value_null())), "needs 'text' or 'choices'"},
        {__LINE__, MAP(PAIR("text", value_int(1))), "'text' has to be text, not an integer"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("stop", TEXT("eos"))), "not 'eos'"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("stop", value_int(1))), "'stop' has to be"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("usage", value_int(1))), "'usage' has to be"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("usage", MAP(PAIR("input", value_int(-1))))),
         "usage: 'input' has to be a whole number from 0"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("usage", MAP(PAIR("output", value_real(.5))))),
         "usage: 'output' has to be a whole number"},
        {__LINE__,
         MAP(PAIR("text", TEXT("")), PAIR("usage", MAP(PAIR("output", value_real(1e300))))),
         "usage: 'output' has to be a whole number"},
        {__LINE__,
         MAP(PAIR("text", TEXT("")), PAIR("usage", MAP(PAIR("output", value_real(NAN_D))))),
         "usage: 'output' has to be a whole number"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("seconds", TEXT("1"))), "'seconds' has to be"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("seconds", value_real(NAN_D))), "'seconds'"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("tool_calls", value_bool(true))),
         "'tool_calls' has to be a list, not a boolean"},
        {__LINE__, MAP(PAIR("choices", value_map(NULL, 0))), "'choices' has to be a list"},
        {__LINE__, MAP(PAIR("choices", LIST(TEXT("x")))), "choice 1: 'choices' has to be"},
        {__LINE__, MAP(PAIR("choices", LIST(value_int(1), value_map(NULL, 0)))),
         "choice 2: a choice lacks its 'logprob'"},
        {__LINE__, MAP(PAIR("choices", LIST(MAP(PAIR("logprob", value_bool(true)))))),
         "choice 1: 'logprob' has to be a number"},
        {__LINE__,
         MAP(PAIR("choices", LIST(MAP(PAIR("logprob", value_int(0)), PAIR("tokens", TEXT("")))))),
         "choice 1: 'tokens' has to be a whole number"},
        {__LINE__,
         MAP(PAIR("choices", LIST(MAP(PAIR("logprob", value_int(0)), PAIR("greedy", TEXT("")))))),
         "choice 1: 'greedy' has to be a boolean"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("logprobs", LIST(value_int(1)))),
         "item 1: 'logprobs' has to be a list of maps"},
        {__LINE__,
         MAP(PAIR("text", TEXT("")),
             PAIR("logprobs", LIST(MAP(PAIR("token", TEXT("a")), PAIR("top", value_int(1)))))),
         "item 1 of 'logprobs': 'top' has to be a map"},
        {__LINE__,
         MAP(PAIR("text", TEXT("")),
             PAIR("logprobs", LIST(MAP(PAIR("top", MAP(PAIR("a", TEXT("b")))))))),
         "item 1 of 'logprobs': 'top' has to be a map of log-probabilities"},
        {__LINE__, MAP(PAIR("text", TEXT("")), PAIR("more", LIST(value_int(1)))),
         "item 1 of 'more'"},
        {__LINE__,
         MAP(PAIR("text", TEXT("")),
             PAIR("more", LIST(MAP(PAIR("text", TEXT("")), PAIR("more", LIST(value_int(1))))))),
         "item 1 of 'more' has 'more' itself"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Reply reply = {.n_more = 77};
        Err err = ERR_INIT;
        bool refused = !reply_from_value(&arena, &cases[i].value, &reply, &err);
        bool ok = refused && err.code == ERR_REPLY && reply.n_more == 77 &&
                  strstr(err.message, cases[i].want) != NULL;
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: %s\n", cases[i].line, err.message);
        }
    }
}

int main(void)
{
    tap_run("a reply survives the way to a value and back",
            test_reply__round_trip_keeps_everything);
    tap_run("absent members and NaN are left out", test_reply__absent_members_are_left_out);
    tap_run("missing members have defaults; choices may be numbers",
            test_reply__defaults_and_plain_numbers);
    tap_run("hostile values are refused with the reason", test_reply__hostile_values_are_refused);
    arena_finish(&arena);
    return tap_done();
}
