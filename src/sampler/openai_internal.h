// SPDX-License-Identifier: MIT
// The openai sampler in three files: openai.c drives calls, openai_request.c writes bodies,
// openai_reply.c reads answers and says what their failures mean.
#pragma once

#include "net/net.h"
#include "sampler/sampler.h"

/** What is known of an endpoint once it is open; nothing here is secret. */
typedef struct Endpoint {
    Str model;    // as the server knows it
    Str base_url; // without a slash at the end
    Str key_env;  // name of the environment variable that holds the key
    bool key_optional;
    bool is_openai; // api.openai.com itself: newer names of parameters, no extensions
    Value request;  // settings.request: members put into every body; null removes one. Or null
    Value headers;  // settings.headers: a map of texts, or null
    Str bos;        // settings.bos: put before texts that would have an empty context
    double price_input_usd;
    double price_output_usd;
} Endpoint;

/** The key from the environment, empty when unset. Not to be kept. */
Str openai_key(const Endpoint *endpoint);

// ---- Bodies -----------------------------------------------------------------------------------

/** The part of a scoring request that one HTTP request carries. */
typedef struct ScorePart {
    Str prompt; // context and text in one
    Str text;   // its scored end
} ScorePart;

/** The i-th of request's n_items, or, from n_items on, of its unconditional texts. */
bool openai_score_part(const Endpoint *endpoint, const Request *request, size_t i, Arena *arena,
                       ScorePart *out, Err *err);
size_t openai_score_parts(const Request *request);
/** The JSON of a generation, and of one part of a scoring. fails ERR_MODEL for what is not offered.
 */
bool openai_generate_body(const Endpoint *endpoint, const Request *request, Arena *arena,
                          Value *out, Err *err);
Value openai_score_body(const Endpoint *endpoint, const ScorePart *part, Arena *arena);

// ---- Answers ----------------------------------------------------------------------------------

/** What is to be done with an answer that is not a reply. */
typedef enum AnswerFault {
    ANSWER_GOOD,
    ANSWER_AGAIN,   // garbled: worth one more request, then as FAILED
    ANSWER_FAILED,  // *err is filled: the attempt fails (or the run, by its code)
    ANSWER_NO_ECHO, // the server gives no log-probabilities of the prompt; *err says what came
} AnswerFault;

/** What an error body says; empty where it says nothing. */
typedef struct ErrorBody {
    Str message;
    Str code;
    Str type;
} ErrorBody;

/** Whether a status that net would retry is hopeless: a quota that is used up, not a rate. */
bool openai_is_hopeless(const NetResponse *response);
/** Whether a filter stopped the request: that is an answer, with no text. */
bool openai_is_filtered(const ErrorBody *error);
bool openai_parse(Arena *arena, Str text, Value *out, Err *err);
/**
 * All that does not depend on what was asked: transport, status, JSON, an error inside a success.
 * GOOD: *out is the body and has a list of at least one choice. */
AnswerFault openai_read_body(const Endpoint *endpoint, const NetResponse *response, Arena *arena,
                             Value *out, ErrorBody *out_error, Err *err);

AnswerFault openai_read_generation(const Endpoint *endpoint, const Request *request,
                                   const NetResponse *response, Arena *arena, Reply *out, Err *err);
/** Whether log-probabilities belong to the next token, which is a fault of some servers. */
typedef enum ShiftSign {
    SHIFT_UNKNOWN,
    SHIFT_NO,
    SHIFT_YES,
} ShiftSign;

/** What one answer says about one text. */
typedef struct ScoreAnswer {
    ChoiceLogprob choice;
    Usage usage;
    ShiftSign shift;
} ScoreAnswer;

AnswerFault openai_read_score(const Endpoint *endpoint, const ScorePart *part, bool per_token,
                              const NetResponse *response, Arena *arena, ScoreAnswer *out,
                              Err *err);
void openai_add_usage(const Value *body, Usage *usage);
/** Price of a usage, NaN when a price is not known. */
double openai_cost(const Endpoint *endpoint, const Usage *usage);

/** The parallel lists of a completion's logprobs. */
typedef struct EchoLists {
    const ValueList *tokens;
    const ValueList *logprobs;
    const ValueList *offsets; // NULL when there are none
    const ValueList *top;     // NULL when there are none
} EchoLists;

/** The lists of a completion's choice; false when it has none or they do not fit each other. */
bool openai_echo_lists(const Value *choice, EchoLists *out);
TokenLogprob openai_token_at(const EchoLists *lists, size_t i);
