// SPDX-License-Identifier: MIT
// Defaults, words and deep copies of the vocabulary.
#include "eval/eval.h"

#include <string.h>

GenSettings gen_settings_default(void)
{
    return (GenSettings){.max_tokens = 256, .temperature = 0, .top_p = 1, .schema = value_null()};
}

static const char *const stop_words[] = {
    [STOP_STOP] = "stop",     [STOP_LENGTH] = "length", [STOP_TOOL_CALLS] = "tool_calls",
    [STOP_FILTER] = "filter", [STOP_LIMIT] = "limit",
};
_Static_assert(sizeof stop_words / sizeof stop_words[0] == STOP_REASON_COUNT, "a word for each");

const char *stop_reason_word(StopReason stop)
{
    return (unsigned)stop < STOP_REASON_COUNT ? stop_words[stop] : "limit";
}

bool stop_reason_from_word(Str word, StopReason *out)
{
    for (int stop = 0; stop < STOP_REASON_COUNT; stop++) {
        if (str_eq_c(word, stop_words[stop])) {
            *out = (StopReason)stop;
            return true;
        }
    }
    return false;
}

Str choice_letter(int64_t position, char out[8])
{
    char reversed[8];
    size_t n = 0;
    for (int64_t i = position; i >= 0 && n < sizeof(reversed); i = i / 26 - 1) {
        reversed[n++] = (char)('A' + i % 26);
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = reversed[n - 1 - i];
    }
    return (Str){out, n};
}

static const TokenLogprob *tokens_copy(Arena *arena, const TokenLogprob *tokens, size_t n)
{
    TokenLogprob *copy = ARENA_ARRAY(arena, TokenLogprob, n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = (TokenLogprob){.token = str_copy(arena, tokens[i].token),
                                 .logprob = tokens[i].logprob,
                                 .top = value_copy(arena, &tokens[i].top)};
    }
    return copy;
}

static const ChoiceLogprob *choices_copy(Arena *arena, const ChoiceLogprob *choices, size_t n)
{
    ChoiceLogprob *copy = ARENA_ARRAY(arena, ChoiceLogprob, n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = choices[i];
        copy[i].tokens = tokens_copy(arena, choices[i].tokens, choices[i].n_logged);
    }
    return copy;
}

Reply reply_copy(Arena *arena, const Reply *reply)
{
    Reply copy = *reply;
    copy.text = str_copy(arena, reply->text);
    copy.refusal = str_copy(arena, reply->refusal);
    copy.reasoning = str_copy(arena, reply->reasoning);
    copy.tool_calls = value_copy(arena, &reply->tool_calls);
    copy.choices = choices_copy(arena, reply->choices, reply->n_choices);
    copy.logprobs = tokens_copy(arena, reply->logprobs, reply->n_logprobs);
    Reply *more = ARENA_ARRAY(arena, Reply, reply->n_more);
    for (size_t i = 0; i < reply->n_more; i++) {
        more[i] = reply_copy(arena, &reply->more[i]);
    }
    copy.more = more;
    return copy;
}
