// SPDX-License-Identifier: MIT
// What happened, in one SQLite file: store, resume, metrics, tables. The only room that sees SQL.
// Writing goes through one writer thread with group commit; nothing is acknowledged before COMMIT.
// Readers open read-only. Renders to a Buf; prints nothing.
#pragma once

#include "eval/eval.h"

typedef struct Store Store;

// ---- Writing -----------------------------------------------------------------------------------------

/** Called on the writer thread after the COMMIT that made an attempt durable. */
typedef void StoreCommitted(void *ctx, uint64_t attempt_key);

typedef struct StoreOptions {
    Str path; // created with its folder when absent
    StoreCommitted *on_committed;
    void *ctx;
} StoreOptions;

/** Open for writing: checks application_id and user_version, migrates, WAL, synchronous FULL. */
bool store_open(const StoreOptions *options, Store **out, Err *err);
/** Flush, stop the writer, close. */
void store_close(Store *store);

/** One run: eval part x variant x model. */
typedef struct RunSpec {
    Str eval;
    int64_t eval_version;
    Str part;
    Str variant;
    Str model;
    int64_t n_planned; // attempts: samples x epochs
    int64_t epochs;
    Hash eval_hash;
    Hash program_hash; // Lua and templates
    Hash data_hash;
    Hash model_hash;
    Value spec;    // everything that decides the answers, as a map: what resume compares
    Value metrics; // list of {use, of, ...} and graders' declarations, for results_metrics
} RunSpec;

typedef struct ExperimentSpec {
    Str name;   // "" : one is made up (adjective-noun-number)
    Value tags; // map
    Value spec; // settings, seed, limit, shard
    const RunSpec *runs;
    size_t n_runs;
    Value provenance; // git, host, program version, command line: recorded, not compared
} ExperimentSpec;

typedef enum ResumeMode {
    RESUME_NO,       // a taken name is ERR_EXISTS
    RESUME_IF_THERE, // --resume: continue an equal spec; different: ERR_USAGE naming the fields
} ResumeMode;

/** What is already there for a run that is being resumed. */
typedef struct ExperimentOpen {
    int64_t id;
    Str name;
    Str short_id;
    bool resumed;
    const int64_t *run_ids; // n_runs
} ExperimentOpen;

/**
 * Start or resume an experiment; takes its writer lock (a second process gets ERR_STORE naming the
 * holder). owns *out strings in arena. */
bool store_experiment_begin(Store *store, Arena *arena, const ExperimentSpec *spec, ResumeMode resume,
                            ExperimentOpen *out, Err *err);
/** Whether the attempt is finished (state done); errored ones are retried. In-memory, fast. */
bool store_attempt_is_done(const Store *store, int64_t run_id, Str sample_id, int64_t epoch);
/** Replies already stored for an unfinished attempt, by path. */
bool store_attempt_calls(Store *store, int64_t run_id, Str sample_id, int64_t epoch, Arena *arena,
                         Str **out_paths, Reply **out_replies, size_t *out_n, Err *err);

typedef enum AttemptState {
    ATTEMPT_DONE,
    ATTEMPT_ERROR,
} AttemptState;

typedef struct AttemptRow {
    uint64_t key; // the caller's, handed to on_committed
    int64_t run_id;
    Str sample_id;
    int64_t epoch;
    Hash sample_hash;
    Str input;  // as text or JSON
    Str target; // JSON list
    Str metadata; // JSON map
    Str cluster;  // "" none
    Str prompt;   // text, or JSON messages
    AttemptState state;
    ErrCode error_code;
    Str error;
    Str reply_text;
    StopReason stop;
    const ChoiceLogprob *choices;
    const Str *choice_texts;
    size_t n_choices;
    Usage usage;
    double seconds;
    double cost_usd;
    const Score *scores;
    size_t n_scores;
    Str notes;
} AttemptRow;

/** Queue one reply (copied). Blocks only when the bounded queue is full. Grader calls start with "g". */
bool store_put_call(Store *store, int64_t run_id, Str sample_id, int64_t epoch, Str path,
                    const Request *request, const Reply *reply, Err *err);
/** Queue an attempt's closing state with all its scores (copied): one transaction. */
bool store_put_attempt(Store *store, const AttemptRow *row, Err *err);
/** Wait until everything queued is committed. fails ERR_STORE with the writer's error. */
bool store_flush(Store *store, Err *err);
/** The writer's first error, if any: the run stops dispatching. */
bool store_ok(const Store *store, Err *err);
/** Record the end: "finished" or "interrupted", with engine stats as a map. Flushes first. */
bool store_experiment_end(Store *store, int64_t experiment_id, Str state, const Value *stats, Err *err);

// ---- Reading ------------------------------------------------------------------------------------------

typedef struct Results Results;

bool results_open(Str path, Results **out, Err *err); // read-only; ERR_NOT_FOUND when there is no file
void results_close(Results *results);

typedef struct ExperimentInfo {
    int64_t id;
    Str name;
    Str short_id;
    Str state; // running | interrupted | finished
    Str started; // UTC
    int64_t n_runs;
    int64_t n_planned;
    int64_t n_done;
    int64_t n_errors;
    Value tags;
    Value spec;
    Value provenance;
    Value stats;
} ExperimentInfo;

bool results_experiments(Results *results, Arena *arena, ExperimentInfo **out, size_t *out_n, Err *err);
/** A name, a short id, latest, latest~N. fails ERR_NOT_FOUND with did-you-mean. */
bool results_experiment(Results *results, Arena *arena, Str name, ExperimentInfo *out, Err *err);

typedef struct MetricRow {
    Str name;    // grader.metric, e.g. "exact.accuracy"
    double value; // NaN when n is 0
    double stderr_; // NaN when unknown (n < 2)
    double low;   // 95 % interval
    double high;
    Str method;   // wilson | t | jackknife | delta | none
    int64_t n;    // samples that count
    int64_t n_clusters; // 0 without clusters
} MetricRow;

typedef struct RunInfo {
    int64_t id;
    Str eval;
    Str part;
    Str variant;
    Str model;
    int64_t n_planned;
    int64_t n_done;
    int64_t n_errors;
    int64_t n_unscored; // scores
    Usage usage;
    double seconds;
    double cost_usd;
    RunSpec spec;
    const MetricRow *metrics;
    size_t n_metrics;
} RunInfo;

/** All runs of an experiment with their metrics, computed from the rows. */
bool results_runs(Results *results, Arena *arena, int64_t experiment_id, RunInfo **out, size_t *out_n,
                  Err *err);
/** Metrics across runs (averages over parts), per eval x model; name is "eval model grader.metric"-free. */
typedef struct CrossMetric {
    Str eval;
    Str model;
    Str variant;
    MetricRow metric;
    int64_t n_runs;
} CrossMetric;
bool results_cross_metrics(Results *results, Arena *arena, int64_t experiment_id, CrossMetric **out,
                           size_t *out_n, Err *err);

typedef struct AttemptInfo {
    int64_t id;
    int64_t run_id;
    Str eval, part, variant, model;
    Str sample_id;
    int64_t epoch;
    Str state;
    Str error_code, error;
    Str input, target, metadata, prompt;
    Str reply_text;
    Str stop;
    Value choices; // list of {text, logprob, ...} or null
    Usage usage;
    double seconds;
    const Score *scores;
    size_t n_scores;
    Value calls; // list of {path, request, reply}
    Str notes;
} AttemptInfo;

typedef struct AttemptFilter {
    Str sample_id; // "" any
    Str eval, part, variant, model; // "" any
    bool failed_only; // errors, and a first score below 1
    int64_t limit; // 0: no limit
    bool with_calls;
} AttemptFilter;
typedef bool AttemptVisit(void *ctx, const AttemptInfo *attempt);
/** Visit attempts in canonical order; the visitor returns false to stop. */
bool results_attempts(Results *results, int64_t experiment_id, const AttemptFilter *filter,
                      AttemptVisit *visit, void *ctx, Err *err);
/** SHA-256 over v_result of an experiment: equal runs, equal digest (DESIGN.md 4.5). */
bool results_digest(Results *results, int64_t experiment_id, Hash *out, Err *err);

// ---- Statistics (pure) -----------------------------------------------------------------------------------

typedef struct Interval {
    double value;
    double stderr_;
    double low;
    double high;
} Interval;

/** Wilson score interval for k successes of n at confidence (e.g. 0.95). Wilson 1927. */
Interval stats_wilson(int64_t k, int64_t n, double confidence);
/** Mean with t interval: x (n) f64. stderr NaN when n < 2. */
Interval stats_mean(const double *x, size_t n, double confidence);
/** Delete-one-cluster jackknife of the mean; cluster[i] in 0..n_clusters-1; df = n^2 / sum n_g^2 - 1. */
Interval stats_mean_clustered(const double *x, const uint32_t *cluster, size_t n, size_t n_clusters,
                              double confidence);
/** Ratio of sums sum(w x) / sum(w) by the delta method. */
Interval stats_ratio(const double *x, const double *w, size_t n, double confidence);
double stats_normal_quantile(double p);
double stats_t_quantile(double p, double df);
