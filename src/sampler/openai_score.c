// SPDX-License-Identifier: MIT
// Log-likelihoods: a completion that echoes its prompt with the log-probability of each token, cut
// at the border between context and text. Also what such lists share with those of plain
// completions.
#include "sampler/openai_internal.h"

#include "text/text.h"

#include <math.h>

static int64_t count_member(const Value *map, const char *key)
{
    int64_t n = value_get_int(map, key, 0);
    return n > 0 ? n : 0;
}

void openai_add_usage(const Value *body, Usage *usage)
{
    const Value *from = value_get_c(body, "usage");
    usage->input += count_member(from, "prompt_tokens");
    usage->output += count_member(from, "completion_tokens");
    usage->cached += count_member(value_get_c(from, "prompt_tokens_details"), "cached_tokens");
    usage->reasoning +=
        count_member(value_get_c(from, "completion_tokens_details"), "reasoning_tokens");
}

double openai_cost(const Endpoint *endpoint, const Usage *usage)
{
    return ((double)usage->input * endpoint->price_input_usd +
            (double)usage->output * endpoint->price_output_usd) /
           1e6; // NaN stays NaN
}

static const ValueList *list_member(const Value *map, const char *key, size_t n)
{
    const Value *value = value_get_c(map, key);
    bool fits = value != NULL && value->kind == VALUE_LIST && value->as.list.n == n;
    return fits ? &value->as.list : NULL;
}

bool openai_echo_lists(const Value *choice, EchoLists *out)
{
    const Value *logprobs = value_get_c(choice, "logprobs");
    const Value *tokens = value_get_c(logprobs, "tokens");
    if (tokens == NULL || tokens->kind != VALUE_LIST) {
        return false;
    }
    size_t n = tokens->as.list.n;
    *out = (EchoLists){.tokens = &tokens->as.list,
                       .logprobs = list_member(logprobs, "token_logprobs", n),
                       .offsets = list_member(logprobs, "text_offset", n),
                       .top = list_member(logprobs, "top_logprobs", n)};
    for (size_t i = 0; i < n; i++) {
        if (out->tokens->items[i].kind != VALUE_STR) {
            return false;
        }
    }
    return out->logprobs != NULL;
}

static double number_of(const Value *value)
{
    return value->kind == VALUE_REAL  ? value->as.real
           : value->kind == VALUE_INT ? (double)value->as.integer
                                      : (double)NAN;
}

TokenLogprob openai_token_at(const EchoLists *lists, size_t i)
{
    TokenLogprob token = {.token = lists->tokens->items[i].as.str,
                          .logprob = number_of(&lists->logprobs->items[i]),
                          .top = value_null()};
    const Value *top = lists->top != NULL ? &lists->top->items[i] : NULL;
    bool numbers = top != NULL && top->kind == VALUE_MAP;
    for (size_t j = 0; numbers && j < top->as.map.n; j++) {
        numbers = !isnan(number_of(&top->as.map.pairs[j].value));
    }
    if (numbers) { // anything else could not be read back
        token.top = *top;
    }
    return token;
}

/**
 * Where the scored text begins, by the tokens' own texts: walking back from the end of the prompt
 * until they cover it. A token that lies across the border belongs to the text. false when the
 * tokens do not spell the text (parts of characters, marked spaces). */
static bool first_by_text(const EchoLists *lists, size_t n_prompt, Str text, size_t *out_first)
{
    size_t left = text.len;
    size_t i = n_prompt;
    while (left > 0) {
        if (i == 0) {
            return false;
        }
        Str token = lists->tokens->items[--i].as.str;
        size_t part = token.len < left ? token.len : left;
        if (!str_eq(str_slice(token, token.len - part, token.len),
                    str_slice(text, left - part, left))) {
            return false;
        }
        left -= part;
    }
    *out_first = i;
    return true;
}

/** Whether the first n_prompt tokens spell the prompt, but for one invisible token before it. */
static bool spells_prompt(const EchoLists *lists, size_t n_prompt, Str prompt)
{
    size_t first;
    return first_by_text(lists, n_prompt, prompt, &first) && first <= 1;
}

/**
 * The same by the text offsets, which count characters, for tokens that do not spell the text.
 * Measured from the end of the prompt: servers whose first token is an invisible one shift all
 * offsets by its name, and any other surplus means that the prompt does not end where it seems to.
 */
static bool first_by_offsets(const EchoLists *lists, size_t n_prompt, const ScorePart *part,
                             size_t *out_first)
{
    size_t n = lists->tokens->n;
    if (lists->offsets == NULL || n_prompt == 0) {
        return false;
    }
    const Value *offsets = lists->offsets->items;
    double end = n_prompt < n ? number_of(&offsets[n_prompt])
                              : number_of(&offsets[n - 1]) +
                                    (double)utf8_length(lists->tokens->items[n - 1].as.str);
    double surplus = end - (double)utf8_length(part->prompt);
    double first_chars = (double)utf8_length(lists->tokens->items[0].as.str);
    if (surplus != 0 && surplus != first_chars) {
        return false;
    }
    double border = end - (double)utf8_length(part->text);
    size_t first = n_prompt;
    while (first > 0) {
        double token_end = first < n_prompt ? number_of(&offsets[first]) : end;
        if (!(token_end > border)) {
            break;
        }
        first--;
    }
    *out_first = first;
    return true;
}

/**
 * The scored tokens are [*out_first, *out_n). The lists may hold generated tokens after those of
 * the prompt: as many as the usage says, or as the generated text has, or none of them; so each
 * reading is tried against the whole prompt, and a doubtful one is refused rather than scored. */
static bool border_find(const EchoLists *lists, const Value *body, Str text, const ScorePart *part,
                        size_t *out_first, size_t *out_n)
{
    size_t n = lists->tokens->n;
    int64_t said = value_get_int(value_get_c(body, "usage"), "completion_tokens", 1);
    size_t n_said = said < 0 ? 0 : (uint64_t)said > n ? n : (size_t)said;
    size_t readings[3] = {n - n_said, n, n};
    first_by_text(lists, n, str_slice(text, part->prompt.len, text.len), &readings[1]);
    for (int i = 0; i < 3; i++) {
        *out_n = readings[i];
        if (spells_prompt(lists, *out_n, part->prompt)) {
            return first_by_text(lists, *out_n, part->text, out_first);
        }
    }
    for (int i = 0; i < 3; i++) {
        *out_n = readings[i];
        if (first_by_offsets(lists, *out_n, part, out_first)) {
            return true;
        }
    }
    // The context is not spelled (parts of characters): the text must be, in one reading only.
    size_t n_found = 0;
    for (int i = 0; i < 3; i++) {
        bool repeated =
            (i > 0 && readings[i] == readings[0]) || (i > 1 && readings[i] == readings[1]);
        size_t first;
        if (!repeated && first_by_text(lists, readings[i], part->text, &first)) {
            *out_first = first;
            *out_n = readings[i];
            n_found++;
        }
    }
    return n_found == 1;
}

/** Whether no other token is likelier. Without a list of others it is not known: false. */
static bool is_greedy(const TokenLogprob *token)
{
    if (token->top.kind != VALUE_MAP || token->top.as.map.n == 0) {
        return false;
    }
    for (size_t i = 0; i < token->top.as.map.n; i++) {
        if (number_of(&token->top.as.map.pairs[i].value) > token->logprob) {
            return false;
        }
    }
    return true;
}

static AnswerFault no_echo(const Endpoint *endpoint, const char *what, Err *err)
{
    ERR_SET(err, ERR_REPLY, STR_FMT ": %s", STR_ARG(endpoint->base_url), what);
    return ANSWER_NO_ECHO;
}

/** The scored token at i, checked: a log-probability that is missing or positive is none. */
static bool token_score(const Endpoint *endpoint, const EchoLists *lists, size_t i,
                        TokenLogprob *out, Err *err)
{
    const double rounding = 0.01;
    *out = openai_token_at(lists, i);
    if (out->logprob <= rounding) {
        return true;
    }
    const char *which =
        i == 0 ? "a first token, which a text without context needs (settings.bos in the model's "
                 "file names a text to put before it)"
               : "a token";
    return err_set(err, i == 0 ? ERR_MODEL : ERR_REPLY, SRC_HERE,
                   STR_FMT ": the server gives no log-probability of %s",
                   STR_ARG(endpoint->base_url), which);
}

static bool sum_tokens(const Endpoint *endpoint, const EchoLists *lists, size_t first,
                       size_t n_prompt, bool per_token, Arena *arena, ChoiceLogprob *out, Err *err)
{
    ChoiceLogprob choice = {.unconditional = (double)NAN, .greedy = true};
    TokenLogprob *tokens = ARENA_ARRAY(arena, TokenLogprob, n_prompt - first);
    for (size_t i = first; i < n_prompt; i++) {
        TokenLogprob *token = &tokens[i - first];
        if (!token_score(endpoint, lists, i, token, err)) {
            return false;
        }
        choice.logprob += token->logprob;
        choice.greedy = choice.greedy && is_greedy(token);
    }
    choice.n_tokens = (int64_t)(n_prompt - first);
    if (per_token) {
        choice.tokens = tokens;
        choice.n_logged = n_prompt - first;
    }
    *out = choice;
    return true;
}

/**
 * Whether the last prompt token carries the log-probabilities of the token after it: its likeliest
 * token is then the generated one, as greedy decoding picks the likeliest. Now and then that also
 * happens by chance, so one answer is a sign only. */
static ShiftSign shift_sign(const EchoLists *lists, size_t n_prompt, Str generated)
{
    if (n_prompt == 0 || generated.len == 0) {
        return SHIFT_UNKNOWN;
    }
    TokenLogprob last = openai_token_at(lists, n_prompt - 1);
    if (last.top.kind != VALUE_MAP || last.top.as.map.n == 0 || str_eq(last.token, generated)) {
        return SHIFT_UNKNOWN;
    }
    const ValuePair *best = &last.top.as.map.pairs[0];
    for (size_t i = 1; i < last.top.as.map.n; i++) {
        const ValuePair *pair = &last.top.as.map.pairs[i];
        best = number_of(&pair->value) > number_of(&best->value) ? pair : best;
    }
    return str_eq(best->key, generated) ? SHIFT_YES : SHIFT_NO;
}

AnswerFault openai_read_score(const Endpoint *endpoint, const ScorePart *part, bool per_token,
                              const NetResponse *response, Arena *arena, ScoreAnswer *out, Err *err)
{
    Value body;
    ErrorBody error;
    AnswerFault fault = openai_read_body(endpoint, response, arena, &body, &error, err);
    if (fault != ANSWER_GOOD) {
        bool refused = fault == ANSWER_FAILED && response->outcome == NET_ANSWERED &&
                       (response->status == 400 || response->status == 422) &&
                       err->code == ERR_HTTP;
        return refused ? ANSWER_NO_ECHO : fault;
    }
    const Value *choice = &value_get_c(&body, "choices")->as.list.items[0];
    EchoLists lists;
    if (!openai_echo_lists(choice, &lists)) {
        return no_echo(endpoint, "the answer has no log-probabilities", err);
    }
    Str text = value_get_str(choice, "text", STR_EMPTY);
    if (!str_starts_with(text, part->prompt)) {
        return no_echo(endpoint, "the answer does not repeat the prompt", err);
    }
    size_t first;
    size_t n_prompt;
    if (!border_find(&lists, &body, text, part, &first, &n_prompt)) {
        return no_echo(endpoint, "the answer's tokens do not cover the prompt", err);
    }
    *out = (ScoreAnswer){
        .shift = shift_sign(&lists, n_prompt, str_slice(text, part->prompt.len, text.len))};
    if (!sum_tokens(endpoint, &lists, first, n_prompt, per_token, arena, &out->choice, err)) {
        return ANSWER_FAILED;
    }
    openai_add_usage(&body, &out->usage);
    return ANSWER_GOOD;
}
