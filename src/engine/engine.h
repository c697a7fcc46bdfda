// SPDX-License-Identifier: MIT
// Local inference: weights, tokenizer, KV slots, radix tree, scheduler, picker. Sees tokens, never
// evals, samples or chat templates. Each device has a driver thread that runs all its steps; the
// public functions may be called from any one thread; completions are called from the drivers'
// threads, with several devices several at once.
#pragma once

#include "base/base.h"

typedef struct Engine Engine;
typedef struct Tokenizer Tokenizer;

// ---- Tokenizer --------------------------------------------------------------------------------

/** Vocabulary from GGUF metadata: `gpt2` (byte-level BPE, PCRE2 pre-tokenizers) or `llama`
 * (SentencePiece BPE). */
bool tokenizer_open_gguf(Str path, Tokenizer **out, Err *err);
void tokenizer_close(Tokenizer *tokenizer);

/**
 * Text to ids.
 * special  parse control tokens written out in the text (<|im_start|>), as chat templates need
 * bos      put BOS first iff the tokenizer says so and the text does not start with it
 * shapes   *out_ids (n) i32, in arena. Any bytes are accepted: invalid UTF-8 keeps its bytes (the
 * words are cut as if each such byte were U+FFFD); a byte that the vocabulary lacks is dropped.
 * fails    ERR_LIMIT over 64 MiB. Time is linear in the text.
 * thread   any number of threads may encode and decode with one tokenizer. */
bool tokenizer_encode(const Tokenizer *tokenizer, Str text, bool special, bool bos, Arena *arena,
                      int32_t **out_ids, size_t *out_n, Err *err);
/** Ids to bytes; control tokens print nothing unless special. Appends to buf. A SentencePiece space
 * right after BOS, which encoding put there, is left out. */
void tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t n, bool special,
                      Buf *buf);
/** The bytes one id stands for (control tokens: their text). Borrows from the tokenizer. */
Str tokenizer_piece(const Tokenizer *tokenizer, int32_t id);
size_t tokenizer_vocab(const Tokenizer *tokenizer);
int32_t tokenizer_bos(const Tokenizer *tokenizer); // -1 when there is none
int32_t tokenizer_eos(const Tokenizer *tokenizer); // -1 when there is none
bool tokenizer_adds_bos(const Tokenizer *tokenizer);
/** Whether an id ends generation (EOS, EOT, EOM, and control tokens known to end a turn). */
bool tokenizer_is_end(const Tokenizer *tokenizer, int32_t id);
/** The model's Jinja chat template, empty when it has none. */
Str tokenizer_chat_template(const Tokenizer *tokenizer);
/** Text of the special token, "" when there is none: what chat templates call bos_token, eos_token.
 */
Str tokenizer_bos_text(const Tokenizer *tokenizer);
Str tokenizer_eos_text(const Tokenizer *tokenizer);

// ---- Engine -----------------------------------------------------------------------------------

typedef enum Precision {
    PRECISION_DEFAULT, // 16-bit fixed-point activations per block of 32 (DESIGN.md 4.4), or better
    PRECISION_F32,     // float32 activations and KV, weights dequantised per tile: the reference
    PRECISION_FAST,    // GPUs: cuBLASLt's products and NCCL's sums: not reproducible bit for bit
} Precision;

#define ENGINE_GPUS_ALL (-1) // from the device on

typedef struct EngineOptions {
    Str model_path; // GGUF
    Str device;     // "auto" (or ""), "cpu", "cuda", "cuda:N"
    int tp;         // GPUs that share every product, from the device on; 0 or 1: one
    int n_gpus;     // that share out the requests, in lots of tp; 0: one device, whatever it is
    int threads;    // 0: all usable CPUs
    Precision precision;
    uint64_t kv_bytes;      // of each device; 0: what is needed, at most half of the host's
                            // memory that is there, or 90 % of a GPU's
    int64_t context_tokens; // 0: the model's own
    int64_t max_batch;      // most sequences decoded at once; 0: default
    int64_t max_rows;       // most rows of one step, prompts' and replies'; 0: default
    int64_t max_piece;      // most rows of one stretch of a prompt in a step; 0: what fits
    bool skip_hash;         // file_hash is not needed
} EngineOptions;

typedef struct EngineModelInfo {
    Str architecture;
    Str name;
    Str weights_type; // "Q4_1"
    int64_t context_tokens;
    int64_t n_layers, dim, n_heads, n_kv_heads, vocab;
    uint64_t weight_bytes;
    Hash file_hash; // SHA-256 of the GGUF file
    Str device;     // the backend: "cpu", "cuda"
    int device_index;
    const int *gpus;  // indices of all that are used
    size_t n_gpus;    // 0 on a CPU
    Str device_words; // "cpu avx512, 2 threads", "2 x cuda NVIDIA H100"
    Str device_note;  // why "auto" is not CUDA; "" nothing to say
} EngineModelInfo;

/** How the next token is picked. seed and position are all the randomness there is. */
typedef struct PickerSettings {
    double temperature; // 0: greedy, ties to the lowest id
    int64_t top_k;      // 0: off
    double top_p;       // 1: off
    double min_p;       // 0: off
    uint64_t seed;
} PickerSettings;

/** A continuation to score. tokens = context then text; only positions >= n_context are scored. */
typedef struct EngineLeaf {
    const int32_t *tokens;
    size_t n_tokens;
    size_t n_context; // >= 1: the first scored token has something before it
} EngineLeaf;

typedef struct EngineRequest {
    // Generation when n_leaves is 0:
    const int32_t *prompt;
    size_t n_prompt; // >= 1
    int64_t max_tokens;
    PickerSettings picker;
    int64_t n_replies; // >= 1, forked from one logits row
    const Str *stop;   // byte strings, matched on the decoded text, cut from it
    size_t n_stop;
    int64_t top_logprobs; // 0 none
    // Scoring otherwise:
    const EngineLeaf *leaves;
    size_t n_leaves;
    bool per_token;
    Str label; // for messages: "sample 12 of gsm8k"
} EngineRequest;

typedef enum EngineStop {
    ENGINE_STOP_END,    // end token or stop string
    ENGINE_STOP_LENGTH, // max_tokens
    ENGINE_STOP_CANCELLED,
} EngineStop;

typedef struct EngineToken {
    int32_t id;
    float logprob;
    const int32_t *top_ids; // top_logprobs of them, best first
    const float *top_logprobs;
} EngineToken;

typedef struct EngineText {
    Str text; // decoded, stop string removed
    EngineStop stop;
    const EngineToken *tokens;
    size_t n_tokens; // picked, end token included
} EngineText;

typedef struct EngineScore {
    double logprob; // sum over scored tokens in float64
    int64_t n_tokens;
    bool greedy;
    const int32_t *tokens;       // n_tokens, those scored
    const float *token_logprobs; // n_tokens, when per_token
} EngineScore;

/** Valid only during the callback. */
typedef struct EngineResult {
    const Err *err;          // not NULL: the request failed (context limit, cancelled, device)
    const EngineText *texts; // n_replies
    size_t n_texts;
    const EngineScore *scores; // n_leaves
    size_t n_scores;
    size_t n_prompt_tokens; // of the request (generation), or the sum over leaves
    size_t n_cached_tokens;
    double seconds; // from submit to completion
} EngineResult;

typedef void EngineDone(void *ctx, uint64_t id, const EngineResult *result);

/** What the requests of the first quiescence come to, known before the first token. */
typedef struct EnginePlan {
    uint64_t requests; // 0: nothing was planned yet
    uint64_t tokens;   // of prompts and scored sequences, as if nothing were shared
    uint64_t distinct; // of these: what has to be computed
    uint64_t replies;
    uint64_t new_tokens;   // that the replies can come to at most
    uint64_t kv_bytes;     // to compute nothing twice: the longest path and the replies at once
    uint64_t kv_bytes_all; // to keep everything
    double seconds;        // that planning took
    uint32_t n_devices;    // with a plan of their own; what follows is of several
    uint64_t pieces;       // that the requests were divided into
    uint64_t doubled;      // of distinct: what would not be, were there one device
    uint64_t tokens_least; // distinct of the device with the least
    uint64_t tokens_most;
} EnginePlan;

typedef struct EngineStats {
    EnginePlan plan;
    uint64_t prefill_tokens_total;
    uint64_t prefill_tokens_needed;   // distinct prefixes
    uint64_t prefill_tokens_computed; // rows of prompts that the forward pass ran
    uint64_t decode_tokens;
    double plan_seconds; // of all quiescences
    double prefill_seconds;
    double decode_seconds;
    double first_token_seconds; // from the first quiescence to the first token or score
    double seconds_left;        // at most, by the speed so far; < 0 unknown
    uint64_t kv_peak_bytes;
    uint64_t kv_pool_bytes;
    uint64_t kv_asked_bytes; // EngineOptions.kv_bytes where there is less; 0: there is not
    uint64_t steps;
    size_t n_waiting;
    size_t n_running;
    uint32_t n_lost;    // devices of several that failed; what they had goes to the others
    char lost_why[160]; // what the first of them said; "" none
} EngineStats;

bool engine_open(const EngineOptions *options, EngineDone *done, void *ctx, Engine **out, Err *err);
void engine_close(Engine *engine); // cancels what is left, joins the driver
const Tokenizer *engine_tokenizer(const Engine *engine);
const EngineModelInfo *engine_model_info(const Engine *engine);
/** Copy the request and queue it; nothing runs before the next engine_quiesce. fails ERR_LIMIT when
 * the prompt cannot fit the context (label names it), ERR_USAGE for an unusable request. */
bool engine_submit(Engine *engine, uint64_t id, const EngineRequest *request, Err *err);
/** Nothing more can come until a completion: plan what is queued and run. closed: all first
 * requests are in. */
void engine_quiesce(Engine *engine, bool closed);
void engine_cancel(Engine *engine, uint64_t id);
void engine_stats(const Engine *engine, EngineStats *out);
