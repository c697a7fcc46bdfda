// SPDX-License-Identifier: MIT
// The vocabulary: plain data that every room above speaks. No behaviour but defaults, names of
// enums and hashes. Strings and arrays borrow from the arena their maker used.
#pragma once

#include "base/base.h"

// ---- Messages, requests, replies --------------------------------------------------------------

typedef struct Message {
    Str role; // system | user | assistant | tool
    Str content;
    Str name;    // optional
    Value extra; // other members as given (tool_calls, tool_call_id ...), a map or null
} Message;

/** What is sent: either text, untouched, or a chat. */
typedef struct Prompt {
    bool is_chat;
    Str text; // when !is_chat
    const Message *messages;
    size_t n_messages; // when is_chat; a last assistant message is continued
} Prompt;

/** How the next tokens are picked. Defaults: gen_settings_default(). */
typedef struct GenSettings {
    int64_t max_tokens; // default 256
    double temperature; // 0: greedy (default)
    double top_p;       // 1: off
    double min_p;       // 0: off
    int64_t top_k;      // 0: off
    int64_t logprobs;   // 0: none; else top-k of each generated token
    const Str *stop;
    size_t n_stop;
    Value schema; // a JSON schema, or null
} GenSettings;

GenSettings gen_settings_default(void);

typedef enum RequestKind {
    REQUEST_GENERATE,
    REQUEST_LOGLIK,
} RequestKind;

/** One continuation to score: log P(text | context). */
typedef struct LoglikItem {
    Prompt context;
    Str text;
    bool window; // rolling over a long text; context is ignored
} LoglikItem;

/** One call on a sampler. It lives until its completion. */
typedef struct Request {
    RequestKind kind;
    uint64_t seed; // H64(seed, eval, part, sample id, epoch, call path)
    Prompt prompt; // REQUEST_GENERATE
    GenSettings settings;
    int64_t n;               // replies wanted, >= 1
    const LoglikItem *items; // REQUEST_LOGLIK
    size_t n_items;
    bool unconditional; // also log P(text) without context
    bool per_token;     // keep each token's log-probability
    Str role;           // which model: "" the one under test, else a role's name
    // Who asks, for replay look-ups and messages:
    Str eval;
    Str part;
    Str sample_id;
    int64_t epoch;
    Str call; // path of the call: "0", "1", "2.0" (branch of ctx.all, position in it)
} Request;

typedef enum StopReason {
    STOP_STOP,
    STOP_LENGTH,
    STOP_TOOL_CALLS,
    STOP_FILTER,
    STOP_LIMIT,
    STOP_REASON_COUNT
} StopReason;

const char *stop_reason_word(StopReason stop);
bool stop_reason_from_word(Str word, StopReason *out);

typedef struct TokenLogprob {
    Str token;
    double logprob;
    Value top; // a map text -> logprob, or null
} TokenLogprob;

/** The score of one LoglikItem, in the request's order. */
typedef struct ChoiceLogprob {
    double logprob;       // sum over the text's tokens, nat
    double unconditional; // NaN unless asked for
    int64_t n_tokens;
    bool greedy;                // every token was the most likely one
    const TokenLogprob *tokens; // per_token only
    size_t n_logged;
    bool by_letter; // a solver's: what was scored is the choice's letter, not its text
} ChoiceLogprob;

typedef struct Usage {
    int64_t input;
    int64_t output;
    int64_t cached;
    int64_t reasoning;
} Usage;

typedef struct Reply {
    Str text;
    StopReason stop;
    Str refusal;
    Str reasoning;
    Value tool_calls; // list or null
    const ChoiceLogprob *choices;
    size_t n_choices;
    const TokenLogprob *logprobs;
    size_t n_logprobs;
    Usage usage;
    double seconds;
    double cost_usd;          // NaN when unknown
    const struct Reply *more; // replies 2..n when n > 1
    size_t n_more;
} Reply;

/** A reply as the JSON value kept in a `call` row and in replay files, and back. */
Value reply_to_value(Arena *arena, const Reply *reply);
bool reply_from_value(Arena *arena, const Value *value, Reply *out, Err *err);
/** A message as a JSON value: role, content, name when there is one, then its other members. */
Value message_to_value(Arena *arena, const Message *message);
/** A request as a JSON value: for transcripts, explain --json and the request's hash. */
Value request_to_value(Arena *arena, const Request *request);
Hash request_hash(const Request *request);
Reply reply_copy(Arena *arena, const Reply *reply);

// ---- Evals as written --------------------------------------------------------------------------

/** few_shot: where the shots come from. */
typedef struct FewShot {
    bool given;
    Str split; // one of split, path, rows; with ids also none: the scored split
    Str path;
    Value rows;    // list or null
    Value ids;     // list or null
    int64_t count; // -1: all of them
    bool seeded;   // pick: seeded (else first)
} FewShot;

typedef struct AnswerRule {
    bool given;
    Str after; // "" when regex is used
    Str regex;
    bool first; // which: first (default last)
    Str trim;
} AnswerRule;

typedef struct EvalSolver {
    Str use;
    Value params;         // map of the solver's own params, as written
    GenSettings settings; // generation settings, defaults filled in
    uint32_t line;
    uint32_t col;
} EvalSolver;

typedef struct EvalGrader {
    Str use;
    Str name;     // defaults to use
    Value params; // map of the grader's own params, as written
    Value when;   // template text, or null
    AnswerRule answer;
    bool negate;  // not: true
    Str role;     // what its ctx.generate asks by default; "": the model under test
    Value target; // replaces the sample's: text, list or template; or null
    uint32_t line;
    uint32_t col;
} EvalGrader;

typedef struct EvalMetric {
    Str use;
    Str of;       // grader name; "" every grader
    Str average;  // "parts" or ""
    Str over;     // "variants" or ""
    Value params; // k, min, and those of a metric in Lua
    Str file;     // a metric in Lua: metrics/NAME.lua and its text; "" for our own
    Str text;
    uint32_t line;
    uint32_t col;
} EvalMetric;

/** A named prompt or setting; unset members fall back to the eval's. Unnamed when name is "". */
typedef struct EvalVariant {
    Str name;
    Value prompt;   // template text or null
    Value messages; // list or null
    FewShot few_shot;
    EvalSolver solver;
} EvalVariant;

/** One name of the matrix. */
typedef struct MatrixAxis {
    Str name;
    bool parts;          // the parts of the dataset
    const Value *values; // else the values, and for each a map of further variables (or null)
    const Value *extras;
    size_t n;
} MatrixAxis;

typedef struct EvalLimits {
    int64_t tokens;  // 0: none
    double seconds;  // 0: none
    int64_t turns;   // 0: 64
    double cost_usd; // 0: none
    Str then;        // grade | zero | error
} EvalLimits;

/** An eval file, parsed and checked. Everything lives in the registry's arena. */
typedef struct Eval {
    Str name;
    int64_t version;
    Str description;
    Str file; // path, for messages and to resolve what lies beside it
    Str dir;
    Str helpers; // file name or ""
    const MatrixAxis *matrix;
    size_t n_matrix;
    // dataset: one of use, path, rows
    Str dataset_use;
    Str dataset_path;
    Value dataset_rows;
    Value dataset_part; // template or null
    Str dataset_split;
    Str dataset_at;
    const Str *dataset_columns;
    size_t n_dataset_columns;
    Value where;  // template or null
    Value expect; // map or null
    // sample: templates (or null where absent)
    Value sample_id;
    Value sample_input;
    Value sample_choices;
    Value sample_target;
    Value sample_metadata; // map of templates
    Value sample_cluster;
    Value sample_files;          // map of templates
    const EvalVariant *variants; // at least one; a single unnamed one when the file names none
    size_t n_variants;
    const EvalGrader *graders;
    size_t n_graders;
    const EvalMetric *metrics;
    size_t n_metrics;
    const Str *slices;
    size_t n_slices;
    int64_t epochs;
    Value roles;   // role -> model as written on the command line; map or null
    Value sandbox; // map or null
    EvalLimits limits;
    Value gate;   // map or null
    Hash hash;    // of the YAML's value after defaults
    Value source; // the whole tree, for provenance and explain
} Eval;

// ---- Samples and scores ------------------------------------------------------------------------

typedef struct Choice {
    Str text;
    Str context; // "" unless the choice has its own
    bool has_context;
} Choice;

/** "A" .. "Z", "AA" ... for a choice's position from 0, as the filter lettered counts. */
Str choice_letter(int64_t position, char out[8]);

/** One row of the dataset, rendered for one variant. `hash` says whether its content changed. */
typedef struct Sample {
    Str id;
    int64_t row_number; // from 0, in file order before `where`
    Hash hash;          // of input, choices, targets, metadata, cluster (not of the prompt)
    Value row;
    Value input; // text or a list of messages
    const Choice *choices;
    size_t n_choices;
    const Str *targets; // always texts; with choices: the texts of the right ones
    size_t n_targets;
    const int64_t *correct; // with choices: positions from 0, ascending
    size_t n_correct;
    bool has_target;
    Value metadata; // map
    Str cluster;
    bool has_cluster;
    Value files;     // path in the sandbox -> text; map or null
    Prompt prompt;   // rendered for the variant
    Value part_vars; // matrix variables, a map
    Str part;        // "" or "a" or "a/b"
    Str variant;
} Sample;

typedef enum ScoreState {
    SCORE_VALUE,
    SCORE_UNSCORED, // reason says why; left out of means, counted
    SCORE_ABSENT,   // `when` was false: this grader does not apply to this sample
} ScoreState;

typedef struct Score {
    Str grader; // name in the eval
    ScoreState state;
    double value;    // finite, within the grader's range
    bool is_boolean; // declared as true/false
    double weight;   // > 0, default 1
    Str answer;      // what was judged
    bool has_answer;
    Str why;    // a sentence for people
    Str reason; // when unscored
    Value detail;
} Score;

// ---- Models and statistics --------------------------------------------------------------------

/** What a sampler can do. */
typedef enum SamplerCaps {
    CAP_CHAT = 1,
    CAP_TEXT = 2,
    CAP_LOGLIK = 4,
    CAP_SEED = 8,
    CAP_GRAMMAR = 16, // takes GenSettings.schema
    CAP_TOOLS = 32,
    CAP_WANTS_ALL = 64, // give it every first request before quiesce(closed)
} SamplerCaps;

/** A model as named on the command line or in registry/models. */
typedef struct Model {
    Str spec;               // as the user wrote it: "local/smollm2-135m-instruct"
    Str provider;           // local | openai | replay | echo
    Str name;               // after the first slash
    Str path;               // local, replay: a file that exists
    Str base_url;           // openai
    Str api_key_env;        // name of the environment variable, default OPENAI_API_KEY
    Str chat_template;      // override, or ""
    Value settings;         // further registry keys, map or null
    Hash identity;          // weights' hash, or of url + model + headers
    double price_input_usd; // per million tokens; NaN when unknown
    double price_output_usd;
} Model;

/** What an accelerator's sensors said while it worked. NaN, or 0 for bytes: there is no such
 * sensor. */
typedef struct DeviceStats {
    uint64_t n_samples; // 0: nothing is known, as on a CPU
    uint32_t n_devices; // of several: the mean of what is busy, the sum of memory, power and energy
    double busy_mean;   // share of the time in which anything ran
    double busy_least;  // the mean of the device with the least
    double busy_max;
    uint64_t memory_peak_bytes;
    uint64_t memory_bytes;
    double power_mean_w;
    double power_max_w;
    double temperature_max_c;
    double energy_j;
} DeviceStats;

/** Engine counters; zero for samplers that have no engine. */
typedef struct SamplerStats {
    uint64_t prefill_tokens_total;    // of all requests, as if nothing were shared
    uint64_t prefill_tokens_needed;   // distinct prefixes (DESIGN.md 4.4)
    uint64_t prefill_tokens_computed; // rows that reached the kernels
    uint64_t decode_tokens;
    double plan_seconds; // sorting requests into the tree
    double prefill_seconds;
    double decode_seconds;
    double first_token_seconds; // from the first plan to the first token or score
    double seconds_left;        // at most, by the speed so far; < 0 unknown
    uint64_t kv_peak_bytes;
    uint64_t kv_pool_bytes;
    uint64_t kv_asked_bytes;  // of --kv-memory, where there is less; 0: there is not
    uint64_t plan_requests;   // what the first plan came to; 0: nothing was planned yet
    uint64_t plan_tokens;     // as if nothing were shared
    uint64_t plan_distinct;   // tokens to compute
    uint64_t plan_new_tokens; // that replies can come to at most
    uint64_t plan_kv_bytes;   // to compute nothing twice
    uint32_t plan_devices;    // that hold the model; what follows is of several
    uint64_t plan_pieces;     // that requests were divided into
    uint64_t plan_doubled;    // of distinct: tokens that one device would not compute
    uint64_t plan_least;      // distinct of the device with the least, and the most
    uint64_t plan_most;
    uint32_t devices_lost;     // of several
    char device_lost_why[160]; // what the first of them said
    uint64_t requests;
    uint64_t retries;
    DeviceStats device;
} SamplerStats;
