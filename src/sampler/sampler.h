// SPDX-License-Identifier: MIT
// Sources of replies behind one ops table: local | openai | replay | echo. A sampler never blocks
// its caller; completions arrive through the host's queue. `run` admits, samplers pace.
#pragma once

#include "eval/eval.h"

typedef struct Sampler Sampler;
typedef struct SamplerHost SamplerHost;
typedef struct SamplerOps SamplerOps;
typedef struct Net Net;
typedef struct Script Script;

/** A finished request, made by the sampler, freed by completion_destroy. */
typedef struct Completion {
    QueueNode node;
    uint64_t id;
    bool failed;
    Err *err; // when failed: ERR_REPLY, ERR_NET, ERR_HTTP, ERR_LIMIT (attempt), ERR_MODEL (whole
              // run); else an empty one. Apart, since an Err is large and many completions can wait
              // at once
    Reply reply; // when not failed; in arena
    Arena arena;
} Completion;

Completion *completion_create(uint64_t id);
void completion_destroy(Completion *completion);
/** Mark a completion as failed; returns the error to fill in. The first failure stays. */
Err *completion_fail(Completion *completion);

#define SAMPLER_GPUS_ALL (-1) // from the device on

/** Settings that come from the command line. */
typedef struct SamplerSettings {
    int max_connections; // endpoints; 0: 16
    Str device;
    int tp;   // GPUs that share a local model; 0 or 1: one
    int gpus; // that share out its requests, in lots of tp; 0: one device, whatever it is
    int threads;
    bool precision_f32;
    bool fast; // GPUs: bits are not promised; not with precision_f32
    uint64_t kv_bytes;
    bool force_chat;
    Str base_url;   // overrides the model's
    int timeout_ms; // of one try; 0: default
    int max_tries;
} SamplerSettings;

/** What a sampler may use of the program around it. */
struct SamplerHost {
    Queue *completions; // push Completion here, from any thread
    Script *script;     // loop thread only: chat templates in prepare/submit
    Net *(*net)(SamplerHost *host,
                Err *err); // created on first use, driven by the loop; NULL on failure
    const SamplerSettings *settings;
    void *ctx;
};

/** What a request becomes: for explain, cost-free. */
typedef struct PreparedSequence {
    Str text;           // after the chat template
    const int32_t *ids; // local only
    size_t n_ids;
    size_t n_context; // scoring: tokens that are context
} PreparedSequence;

typedef struct Prepared {
    const PreparedSequence *sequences; // one, or one per LoglikItem
    size_t n_sequences;
    bool used_chat_template;
    Value body; // openai: the JSON that would be sent; else null
} Prepared;

/** One implementation. Every op is mandatory unless marked. */
struct SamplerOps {
    const char *provider;
    const char *help; // one line for `list samplers`
    bool (*open)(const Model *model, SamplerHost *host, Sampler **out, Err *err);
    /** Pure: render and tokenise. */
    bool (*prepare)(Sampler *sampler, const Request *request, Arena *arena, Prepared *out,
                    Err *err);
    /** Optional. Whether a request could go out at all, before anything is paid for: keys. */
    bool (*ready)(const Sampler *sampler, Err *err);
    /** Never blocks; request lives until its completion. false: the attempt fails with *err. */
    bool (*submit)(Sampler *sampler, uint64_t id, const Request *request, Err *err);
    /** Optional. No attempt can run until one completes; closed: all first requests are in. */
    void (*quiesce)(Sampler *sampler, bool closed);
    /** Optional. Its completion still arrives (failed, ERR_CANCELLED) unless already done. */
    void (*cancel)(Sampler *sampler, uint64_t id);
    /** Optional. */
    void (*stats)(const Sampler *sampler, SamplerStats *out);
    void (*close)(Sampler *sampler);
};

/** Every implementation starts with this. */
struct Sampler {
    const SamplerOps *ops;
    uint32_t caps;          // SamplerCaps
    int64_t context_tokens; // 0 unknown
    int max_in_flight;      // for samplers that do not want all
    Hash identity;          // weights' hash, or of what can change an answer
    Str description;        // "SmolLM2-135M-Instruct Q4_1, 30 layers, cpu avx512, 2 threads"
    Str device;             // the local engine's: "cpu", "cuda"; "" elsewhere
    Str device_words;       // "cpu avx512, 2 threads"; "" elsewhere
    Str note;               // what its user should know of it, once; "" nothing
};

extern const SamplerOps sampler_local;
extern const SamplerOps sampler_openai;
extern const SamplerOps sampler_replay;
extern const SamplerOps sampler_echo;

/** All implementations, NULL-terminated. */
extern const SamplerOps *const sampler_table[];

/** Open the sampler of model->provider. fails ERR_USAGE for an unknown provider (did-you-mean),
 * ERR_MODEL. */
bool sampler_open(const Model *model, SamplerHost *host, Sampler **out, Err *err);
