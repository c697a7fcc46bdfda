// SPDX-License-Identifier: MIT
// Any bytes as an endpoint's answer and as a recorded reply: nothing crashes, and a reply that was
// taken survives the way to a value and back. The first byte picks how the bytes are read.
#include "sampler/openai_internal.h"
#include "text/text.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static void check_reply(Arena *arena, const Reply *reply)
{
    Err err = ERR_INIT;
    Reply back;
    Value value = reply_to_value(arena, reply);
    check(reply_from_value(arena, &value, &back, &err));
    Value again = reply_to_value(arena, &back);
    check(value_equal(&value, &again));
    Reply copy = reply_copy(arena, reply);
    again = reply_to_value(arena, &copy);
    check(value_equal(&value, &again));
}

static void read_recorded(Arena *arena, Str text)
{
    Err err = ERR_INIT;
    Value value;
    Reply reply;
    if (json_parse(arena, text, NULL, &value, NULL, &err) &&
        reply_from_value(arena, &value, &reply, &err)) {
        check_reply(arena, &reply);
    }
}

static void read_generation(Arena *arena, const Endpoint *endpoint, const NetResponse *response,
                            bool chat)
{
    Err err = ERR_INIT;
    Reply reply;
    Request request = {.n = 2, .prompt = {.is_chat = chat}};
    AnswerFault fault = openai_read_generation(endpoint, &request, response, arena, &reply, &err);
    check((fault == ANSWER_GOOD) == (err.code == ERR_NONE));
    if (fault == ANSWER_GOOD) {
        check_reply(arena, &reply);
    }
}

static void read_score(Arena *arena, const Endpoint *endpoint, const NetResponse *response)
{
    Err err = ERR_INIT;
    ScoreAnswer answer;
    ScorePart part = {.prompt = STR("a b"), .text = STR(" b")};
    AnswerFault fault = openai_read_score(endpoint, &part, true, response, arena, &answer, &err);
    check((fault == ANSWER_GOOD) == (err.code == ERR_NONE));
    if (fault == ANSWER_GOOD) {
        const ChoiceLogprob *choice = &answer.choice;
        check(!isnan(choice->logprob) && choice->n_tokens >= 1);
        check(choice->n_logged == (size_t)choice->n_tokens);
        Reply reply = {.choices = choice, .n_choices = 1, .cost_usd = (double)NAN};
        check_reply(arena, &reply);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 400, 401, 404, 429, 500};
    if (size == 0) {
        return 0;
    }
    Arena arena = {0};
    Endpoint endpoint = {.base_url = STR("http://localhost"), .key_env = STR("MUSTER_NO_SUCH_KEY")};
    unsigned how = (unsigned)(data[0] - '0') & 0xff;
    NetResponse response = {.outcome = NET_ANSWERED,
                            .status = statuses[how / 4 % 6],
                            .body = {(const char *)data + 1, size - 1},
                            .retry_after_s = -1};
    switch (how % 4) {
    case 0:
        read_recorded(&arena, response.body);
        break;
    case 1:
        read_generation(&arena, &endpoint, &response, true);
        break;
    case 2:
        read_generation(&arena, &endpoint, &response, false);
        break;
    default:
        read_score(&arena, &endpoint, &response);
        break;
    }
    openai_is_hopeless(&response);
    arena_finish(&arena);
    return 0;
}
