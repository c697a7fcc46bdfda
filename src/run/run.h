// SPDX-License-Identifier: MIT
// An experiment from start to end: evals x parts x variants x models x epochs become runs and
// attempts; each attempt is stepped through its solver and graders, its effects go to the sampler,
// its replies and scores to the store. One loop thread; prints nothing; progress is a callback.
// Performs all effects: nobody else does.
#pragma once

#include "registry/registry.h"
#include "results/results.h"
#include "sampler/sampler.h"

#include <signal.h>

/** One eval to run; part "" means all its parts, else a glob on their names. */
typedef struct RunTarget {
    const Eval *eval;
    Str part;
    Str word; // how the eval was named: a name or a file; "" : by its name
} RunTarget;

/** Where the experiment stands, for people. Counts are attempts that are durable. */
typedef struct RunProgress {
    Str model;         // the model at work
    const char *phase; // "preparing", "loading", "planning", "running", "finishing"
    int64_t planned;   // of the whole experiment
    int64_t done;
    int64_t errors;
    int64_t skipped; // done before, when resumed
    double score;    // running mean of the headline grader; NaN when none
    int64_t n_scored;
    double seconds;      // since the start
    double tokens_per_s; // prompt and generated tokens, recent
    double seconds_left; // estimate; < 0 unknown
    uint64_t prefill_tokens;
    uint64_t decode_tokens;
} RunProgress;

/** Who plays a role, whatever the evals say: --role judge=MODEL. */
typedef struct RunRole {
    Str name;
    const Model *model;
} RunRole;

#define RUN_SHARDS_MAX 1000000

/** One of n processes that share a run: it takes the samples i of each part with i mod n = k - 1.
 */
typedef struct RunShard {
    int64_t k; // from 1
    int64_t n; // 0 or 1: not sharded
    Str job;   // what the shards of one run have in common and those of another do not; "" unknown
} RunShard;

/**
 * K/N, or auto, auto/N: from the variables of a Slurm array (SLURM_ARRAY_TASK_ID, _COUNT, _MIN,
 * _MAX, _STEP), else of a Kubernetes indexed Job (JOB_COMPLETION_INDEX, which needs auto/N).
 * fails  ERR_USAGE, also when the variables leave open which shard this is. */
bool run_shard_parse(Arena *arena, Str text, RunShard *out, Err *err);

/** Samples of one part by their ids, ascending and none twice. */
typedef struct RunSampleIds {
    Str eval;
    Str part;
    const Str *ids;
    size_t n;
} RunSampleIds;

typedef struct RunConfig {
    Registry *registry;
    Script *script;
    const RunTarget *targets;
    size_t n_targets;
    const Model *const *models; // none: evals whose solvers ask no model run all the same
    size_t n_models;
    const RunRole *roles; // take precedence over the evals' own
    size_t n_roles;
    const Str *samples; // ids or globs on them: of each part only these samples; none: all
    size_t n_samples;
    const RunSampleIds *among; // NULL: all; else only these, of parts that are not named none
    size_t n_among;
    int64_t limit_from;  // of these samples of each part, from 1; 0: from the first
    int64_t limit_to;    // last, inclusive; 0: to the end
    int64_t limit_total; // over an eval's parts; 0: none
    int64_t epochs;      // 0: the eval's own
    uint64_t seed;
    Str variant; // "" all
    Str name;    // of the experiment; "" made up
    Value tags;
    RunShard shard;
    bool resume;
    bool resume_only; // resume, and never start: ERR_NOT_FOUND when there is nothing to go on with
    SamplerSettings sampler;
    Str store_path;
    int events_fd; // -1: none
    Value provenance;
    /** NULL: every attempt; else only those that it wants. */
    bool (*takes)(void *ctx, const Task *task, Str model, Str sample_id, int64_t epoch);
    void *takes_ctx;
    const volatile sig_atomic_t *stop;                           // number of signals received
    int64_t grace_ms;                                            // after the first signal; 0: 3000
    void (*on_progress)(void *ctx, const RunProgress *progress); // at most ten times a second
    void (*on_note)(void *ctx, bool warning, Str line);
    void *ctx;
} RunConfig;

/** The engine's counters of one model. */
typedef struct RunModelStats {
    Str model;
    Str description; // the sampler's
    Str device;      // in words; "" no local engine
    SamplerStats stats;
    double load_seconds;   // opening it
    double render_seconds; // rendering and tokenising all first requests
    double seconds;        // at work
} RunModelStats;

/** What is stored of them with the experiment, and `run --json` and `show` tell. */
Value run_model_stats_value(Arena *arena, const RunModelStats *stats);
/** The numbers of such a map in a line or two for people; "" when the model has no engine. */
Str run_model_stats_words(Arena *arena, const Value *stats);
/** What an engine's plan found, in a line. */
Str run_plan_words(Arena *arena, const SamplerStats *stats);

/** What those who play one role were asked, over all evals and models under test. */
typedef struct RunRoleStats {
    Str role;
    Str model;
    int64_t n_calls;
    Usage usage;
    double seconds;  // of the replies
    double cost_usd; // NaN when unknown
} RunRoleStats;

typedef struct RunOutcome {
    int64_t experiment_id;
    Str name;
    Str short_id;
    bool resumed;
    bool interrupted;
    int64_t planned; // attempts of this experiment (this shard)
    int64_t done;    // durable now, earlier ones included
    int64_t errors;  // attempts that ended in an error
    int64_t skipped;
    double seconds;
    Str first_error;             // of an attempt, "" none
    const RunModelStats *models; // under test, then those that only play roles
    size_t n_models;
    const RunRoleStats *roles; // those that were asked
    size_t n_roles;
} RunOutcome;

/**
 * Run (or resume) an experiment.
 * owns   *out in arena; it is filled as far as known even on failure once the experiment exists
 *        (out->name.len > 0).
 * fails  before the first call: ERR_CONFIG, ERR_NOT_FOUND, ERR_MODEL (also when a role's model can
 * not do what the role wants), ERR_USAGE, ERR_ENVIRONMENT (a solver needs a sandbox), ERR_STORE;
 * later ERR_MODEL (provider unusable) or ERR_STORE. Failing attempts are rows, not failures. */
bool run_experiment(const RunConfig *config, Arena *arena, RunOutcome *out, Err *err);
/**
 * Whether an experiment has the settings of a run, as far as they are known before its models are
 * open, and apart from `among`. */
bool run_settings_equal(const RunConfig *config, const Value *spec);

// ---- Rescoring --------------------------------------------------------------------------------

typedef struct RescoreConfig {
    Registry *registry;
    Script *script;
    Results *results;           // the store that holds the experiment
    const ExperimentInfo *from; // what is scored anew
    const RunInfo *runs;        // all its runs
    size_t n_runs;
    const Eval *const *evals; // those of the runs, as they are now
    size_t n_evals;
    Str grader; // only this one and those that are combined with it; "": all
    Str name;   // "": the experiment's with -rescored-1, -rescored-2, ...
    Str store_path;
    Value provenance;
    const volatile sig_atomic_t *stop;                           // number of signals received
    void (*on_progress)(void *ctx, const RunProgress *progress); // at most ten times a second
    void *ctx;
} RescoreConfig;

typedef struct RescoreOutcome {
    int64_t experiment_id;
    Str name;
    Str short_id;
    bool interrupted;
    int64_t n_attempts;   // stored ones
    int64_t n_scored;     // that have new scores
    int64_t n_kept;       // errors of asking the model, which stay what they are
    int64_t n_new_errors; // that the graders ended in now
    int64_t n_need_model; // of these: a judge was asked what no stored reply answers
    int64_t n_changed;    // samples' contents are others now: attempts left out
    int64_t n_gone;       // samples that the data does not have any more: attempts left out
    Str first_error;      // "" none
    Str first_changed;    // id of a sample that was left out, "" none
    double seconds;
} RescoreOutcome;

/**
 * Apply graders as they are now to the replies of a stored experiment, as a new experiment; the old
 * one stays as it is. Solvers are replayed from their logs, no model is asked: a judge's stored
 * reply is taken again where its request is equal, else the attempt is an error.
 * owns   *out in arena; it is filled as far as known once the experiment exists.
 * fails  ERR_USAGE when an eval lacks a part, a variant or the grader; ERR_EXISTS for the name;
 *        ERR_NOT_FOUND when data is not here; ERR_STORE. Failing attempts are rows, not failures.
 */
bool run_rescore(const RescoreConfig *config, Arena *arena, RescoreOutcome *out, Err *err);

// ---- Verifying --------------------------------------------------------------------------------

typedef struct VerifyConfig {
    Registry *registry;
    Script *script;
    Results *results;         // the store that holds the experiment
    const ExperimentInfo *of; // what is verified
    const RunInfo *runs;      // all its runs
    size_t n_runs;
    const RunTarget *targets; // their evals, each part by itself
    size_t n_targets;
    const Model *const *models; // of the runs
    size_t n_models;
    const RunRole *roles; // as it had them
    size_t n_roles;
    int64_t n_samples;                 // attempts to run again
    uint64_t seed;                     // of their choice
    SamplerSettings sampler;           // device "": that of the experiment
    Str scratch_store_path;            // of the new run; the caller removes it
    const volatile sig_atomic_t *stop; // number of signals received
    void (*on_progress)(void *ctx, const RunProgress *progress); // at most ten times a second
    void *ctx;
} VerifyConfig;

#define VERIFY_FACTS 6

/** An attempt that came out in another way. */
typedef struct VerifyDifference {
    Str eval, part, variant, model, sample_id;
    int64_t epoch;
    const char *what; // the first thing that differs: "reply", "choices", "scores" ...
    Str then;
    Str now;
    bool allowed; // in a fast run: no more than it may
} VerifyDifference;

typedef struct VerifyOutcome {
    int64_t n_attempts; // finished ones of the experiment
    int64_t n_chosen;
    int64_t n_agree;   // bit for bit
    int64_t n_allowed; // differ no more than a fast run may
    int64_t n_gone;    // of samples that the data does not have any more, or not run: interrupted
    VerifyDifference *differences;
    size_t n_differences;
    bool fast;          // the experiment's bits were never promised
    bool model_changed; // is another file now
    bool eval_changed;
    bool data_changed;
    bool interrupted;
} VerifyOutcome;

/** What the log-probability x of a choice may move by in a fast run: this many nat, and this share
 * of |x|. */
#define VERIFY_FAST_NAT   0.1
#define VERIFY_FAST_SHARE 0.01

/**
 * Run a random part of an experiment's finished attempts again and compare all that was said and
 * scored, bit for bit. The experiment stays as it is. Of a fast run no bits are promised:
 * log-probabilities of choices have to be near, and replies may part where two tokens are nearly as
 * likely, with all that follows from them.
 * fails  ERR_USAGE when nothing is finished; else as run_experiment. */
bool run_verify(const VerifyConfig *config, Arena *arena, VerifyOutcome *out, Err *err);

// ---- One sample, step by step (explain) -------------------------------------------------------

/** The first effects of a sample, with seeds and names filled in and the prompt adapted to the
 * model. */
bool run_first_requests(Script *script, Registry *registry, Task *task, size_t index, int64_t epoch,
                        uint64_t seed, const Sampler *sampler, bool force_chat, Arena *arena,
                        Sample *out_sample, Request **out_requests, size_t *out_n, Err *err);
/** Grade a given reply text as if the model had said it. */
bool run_grade_text(Script *script, Task *task, const Sample *sample, const Sampler *sampler,
                    Str text, Arena *arena, StepOutput *out, Err *err);
/** H64(seed, eval, part, sample id, epoch, call path). */
uint64_t run_seed(uint64_t seed, Str eval, Str part, Str sample_id, int64_t epoch, Str call);
