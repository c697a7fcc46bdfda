// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "eval/eval.h"

static void test_settings__defaults(void)
{
    GenSettings settings = gen_settings_default();
    CHECK_INT(settings.max_tokens, 256);
    CHECK_NEAR(settings.temperature, 0, 0);
    CHECK_NEAR(settings.top_p, 1, 0);
    CHECK_NEAR(settings.min_p, 0, 0);
    CHECK_INT(settings.top_k, 0);
    CHECK_INT(settings.logprobs, 0);
    CHECK_INT(settings.n_stop, 0);
    CHECK_INT(settings.schema.kind, VALUE_NULL);
}

static void test_stop__words_go_both_ways(void)
{
    static const char *const want[] = {"stop", "length", "tool_calls", "filter", "limit"};
    for (int stop = 0; stop < STOP_REASON_COUNT; stop++) {
        StopReason back = STOP_REASON_COUNT;
        CHECK_STR(str_from_c(stop_reason_word((StopReason)stop)), str_from_c(want[stop]));
        CHECK(stop_reason_from_word(str_from_c(want[stop]), &back) && back == (StopReason)stop);
    }
    StopReason untouched = STOP_FILTER;
    CHECK(!stop_reason_from_word(STR("Stop"), &untouched) && untouched == STOP_FILTER);
}

static void test_reply__copy_is_deep(void)
{
    Arena source = {0};
    ValuePair top = value_pair(str_copy(&source, STR("b")), value_real(-2));
    TokenLogprob *tokens = ARENA_ARRAY(&source, TokenLogprob, 1);
    tokens[0] = (TokenLogprob){str_copy(&source, STR("a")), -0.5, value_map(&top, 1)};
    ChoiceLogprob *choice = ARENA_NEW(&source, ChoiceLogprob);
    *choice = (ChoiceLogprob){-0.5, (double)NAN, 1, true, tokens, 1, false};
    Reply *second = ARENA_NEW(&source, Reply);
    *second = (Reply){.text = str_copy(&source, STR("second")), .cost_usd = (double)NAN};
    Value *call = ARENA_NEW(&source, Value);
    *call = value_str(str_copy(&source, STR("call")));
    Reply reply = {.text = str_copy(&source, STR("text")),
                   .reasoning = str_copy(&source, STR("because")),
                   .tool_calls = value_list(call, 1),
                   .choices = choice,
                   .n_choices = 1,
                   .logprobs = tokens,
                   .n_logprobs = 1,
                   .usage = {.input = 3},
                   .more = second,
                   .n_more = 1};
    Arena target = {0};
    Reply copy = reply_copy(&target, &reply);
    arena_finish(&source); // under ASan a shallow copy is caught below
    CHECK_STR(copy.text, STR("text"));
    CHECK_STR(copy.reasoning, STR("because"));
    CHECK_STR(copy.tool_calls.as.list.items[0].as.str, STR("call"));
    CHECK_STR(copy.choices[0].tokens[0].token, STR("a"));
    CHECK_NEAR(value_get_real(&copy.logprobs[0].top, "b", 0), -2, 0);
    CHECK_STR(copy.more[0].text, STR("second"));
    CHECK_INT(copy.usage.input, 3);
    arena_finish(&target);
}

int main(void)
{
    tap_run("settings have their documented defaults", test_settings__defaults);
    tap_run("stop reasons and words", test_stop__words_go_both_ways);
    tap_run("a copied reply shares nothing", test_reply__copy_is_deep);
    return tap_done();
}
