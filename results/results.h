// SPDX-License-Identifier: MIT
// What happened, in one SQLite file: store, resume, metrics, tables. The only room that sees SQL.
// Writing goes through one writer thread with group commit; nothing is acknowledged before COMMIT.
// Readers open read-only. Renders to a Buf; prints nothing.
#pragma once

#include "eval/eval.h"
#include "results/stats.h"

typedef struct Store Store;

// ---- Writing ------------------------------------------------------------------------------------

/** Called on the writer thread after the COMMIT that made an attempt durable. */
typedef void StoreCommitted(void *ctx, uint64_t attempt_key);

typedef struct StoreOptions {
    Str path; // created with its folder when absent
    StoreCommitted *on_committed;
    void *ctx;
} StoreOptions;

/**
 * Open for writing: checks application_id and user_version, migrates, WAL, synchronous FULL.
 * fails  ERR_STORE saying what is wrong with the file and what to do about it. */
bool store_open(const StoreOptions *options, Store **out, Err *err);
/**
 * Flush, stop the writer, close. An experiment not ended stays unfinished and can be resumed.
 * Errors of the last flush are lost here: call store_flush first to see them. */
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
    Value metrics; // what to compute from the scores, see below
} RunSpec;

// RunSpec.spec has beside the members above: grader_hash (of the graders and the models that they
// ask: equal ones score alike), gate (the eval's own, as written), roles (who plays them),
// sources (the eval's file and its Lua as texts; only the first run of an eval has them).
//
// RunSpec.metrics is a list of maps, one per metric of the eval, in the order wanted:
//   use       accuracy, mean      mean over samples of the mean over epochs; the two are the same
//             sum                 sum of weight * score
//             max, min, median    of a sample's epochs, then the mean
//             majority            score of the most frequent answer (ties: the one that came first)
//             at_least            1 when k epochs or more passed; pass_at, pass_all: the chance
//                                 that any, that all of k epochs passed
//             perplexity, bits    exp(m) and m / ln 2 of m = sum(w v) / sum(w), v in nat
//             f1_macro, mcc       of answers against first targets; no answer is a class too
//             ece, brier          of the probability of the picked choice against the score
//             worst               least score over variants (greatest where lower is better)
//             any other           with lua: a function over scores
//   of        name of one grader, or "" for every grader
//   average   "parts": across an eval's parts, the unweighted mean of the parts' values;
//             "" or absent: over all samples of all parts together
//   over      "epochs" or absent; "variants" for worst
//   k, min    epochs that count, and the score from which an epoch passed (default 1)
//   graders   the eval's graders, in their order: maps of name, use, low, high (the range of its
//             scores, absent where unbounded) and lower_is_better; or just names
//   slices    metadata keys: the metric again for each value of each key
//   variants  names of all variants of the eval, for worst: a missing one leaves samples unscored
//   lua, file, params, lower_is_better    a custom metric: its text, its name for messages
// Anything else is ERR_UNSUPPORTED or ERR_CONFIG when the experiment begins.

typedef struct ExperimentSpec {
    Str name;        // "" : one is made up (adjective-noun-number)
    Str name_suffix; // of a made-up name; when there is one, the name follows from name_seed alone
    uint64_t name_seed;
    Value tags; // map
    Value
        spec; // settings, seed, limit; shard {k, n}, or shards {n, have} of a merge that lacks some
    const RunSpec *runs;
    size_t n_runs;
    Value provenance; // git, host, program version, command line: recorded, not compared
} ExperimentSpec;

typedef enum ResumeMode {
    RESUME_NO,       // a taken name is ERR_EXISTS
    RESUME_IF_THERE, // --resume: continue an equal spec, else start; the same name with a different
                     // spec is ERR_USAGE naming the fields. Without a name: the newest unfinished
                     // experiment with an equal spec
    RESUME_ONLY,     // the same, but never start: ERR_NOT_FOUND when there is none
} ResumeMode;

/** An experiment that is open for writing. */
typedef struct ExperimentOpen {
    int64_t id;
    Str name;
    Str short_id;
    bool resumed;
    const int64_t *run_ids; // n_runs
} ExperimentOpen;

/**
 * Start or resume an experiment; takes its writer lock.
 * owns   what *out points to, in arena.
 * fails  ERR_EXISTS, ERR_USAGE, ERR_NOT_FOUND as ResumeMode says; ERR_STORE naming the process that
 * holds it. */
bool store_experiment_begin(Store *store, Arena *arena, const ExperimentSpec *spec,
                            ResumeMode resume, ExperimentOpen *out, Err *err);
/**
 * Whether the attempt was finished (state done) before this experiment was resumed; errored ones
 * are retried. A look-up in memory; always false for an experiment that was not resumed. */
bool store_attempt_is_done(const Store *store, int64_t run_id, Str sample_id, int64_t epoch);
/**
 * Replies stored by an earlier process for an attempt it did not finish, ordered by path; none for
 * finished and for errored attempts (those start afresh).
 * thread one caller at a time. */
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
    Str input;    // as text or JSON
    Str target;   // JSON list
    Str metadata; // JSON map
    Str cluster;  // "" none
    Str prompt;   // text, or JSON messages
    AttemptState state;
    ErrCode error_code;
    Str error;
    Str reply_text;
    StopReason stop;
    const ChoiceLogprob *choices;
    const Str *choice_texts; // n_choices of them, or NULL
    size_t n_choices;
    size_t n_choice_texts; // there though the reply has no log-probabilities: n_choices 0
    Usage usage;
    double seconds;
    double cost_usd;     // NaN: unknown
    const Score *scores; // SCORE_ABSENT ones are not stored; none are when state is ATTEMPT_ERROR
    size_t n_scores;
    Str notes;
} AttemptRow;

/**
 * Queue one reply (copied). Blocks only when the bounded queue is full. A grader's calls have paths
 * that start with "g". The first call of an attempt that had ended in an error replaces that error
 * and its calls; a call of a finished attempt is dropped.
 * fails  ERR_STORE with the writer's first error.
 * thread any. */
bool store_put_call(Store *store, int64_t run_id, Str sample_id, int64_t epoch, Str path,
                    const Request *request, const Reply *reply, Err *err);
/** As store_put_call, for a call as AttemptInfo.calls has it; seed is the request's. */
bool store_put_stored_call(Store *store, int64_t run_id, Str sample_id, int64_t epoch, Str path,
                           uint64_t seed, const Value *request, const Value *reply, Err *err);
/**
 * Queue an attempt's closing state with all its scores (copied): one transaction, after or together
 * with the attempt's calls. A second closing of a finished attempt changes nothing.
 * fails  ERR_STORE with the writer's first error; ERR_INTERNAL for a score that is not finite.
 * thread any. */
bool store_put_attempt(Store *store, const AttemptRow *row, Err *err);
/** Wait until everything queued is committed. fails ERR_STORE with the writer's error. */
bool store_flush(Store *store, Err *err);
/** The writer's first error, if any: the run stops dispatching. */
bool store_ok(const Store *store, Err *err);
/**
 * Record the end: "finished" or "interrupted", with this process's engine stats as a map (may be
 * NULL). Flushes first, then lets go of the experiment's writer lock. */
bool store_experiment_end(Store *store, int64_t experiment_id, Str state, const Value *stats,
                          Err *err);

/** Keep that something was done with an experiment: "rescored". */
bool store_experiment_note(Store *store, int64_t experiment_id, Str kind, const Value *detail,
                           Err *err);

/** A baseline about to be moved to an experiment. */
typedef struct Promotion {
    Str baseline; // made when it is not there
    int64_t experiment_id;
    int64_t replaces; // where it pointed when the gate looked; 0: there was no such baseline
    Str who;          // user@host
    bool forced;      // against its policy, or without one
    Value detail;     // the gate's verdict
} Promotion;
/**
 * Move a baseline; kept in its history and in the experiment's events.
 * fails  ERR_EXISTS when it was moved by another process meanwhile; ERR_USAGE for its name;
 *        ERR_NOT_FOUND when the experiment is gone. */
bool store_promote(Store *store, const Promotion *promotion, Err *err);

// ---- Reading ------------------------------------------------------------------------------------

typedef struct Results Results;

/**
 * Open a store for reading only; works on a read-only folder too when no writer left a -wal behind.
 * fails  ERR_NOT_FOUND when there is no file or nothing was ever stored in it; ERR_STORE.
 * thread one Results, one thread. */
bool results_open(Str path, Results **out, Err *err);
void results_close(Results *results);

typedef struct ExperimentInfo {
    int64_t id;
    Str name;
    Str short_id;
    Str state;          // running | interrupted (its process is gone, or it was stopped) | finished
    Str started;        // UTC
    int64_t started_ms; // the same, since 1970 UTC
    int64_t ended_ms;   // of the last process that worked on it; 0 before
    int64_t n_runs;
    int64_t n_planned;
    int64_t n_done;
    int64_t n_errors;
    Value tags;
    Value spec;
    Value provenance;
    Value stats; // of the last process that worked on it; null before its end
} ExperimentInfo;

/** What the settings left out, "limit 3, samples geo-*"; empty: all samples are in it. Not cleaned
 * for a terminal. */
Str results_subset_words(Arena *arena, const ExperimentInfo *experiment);
/** All experiments, oldest first. */
bool results_experiments(Results *results, Arena *arena, ExperimentInfo **out, size_t *out_n,
                         Err *err);
/** Which experiments are wanted; zeroed: all. */
typedef struct ExperimentFilter {
    const Str *tags; // each "K=V" (V may hold * and ?) or "K"; all have to be there
    size_t n_tags;
    Str eval;  // glob; one run has to match both. An eval matches by name or name/part
    Str model; // glob
    Str state;
    int64_t since_ms;  // started then or later, since 1970 UTC
    int64_t before_ms; // started before; 0: no bound
    int64_t limit;     // the newest so many; 0: no limit
} ExperimentFilter;
/** Those of them that a filter wants, oldest first. */
bool results_experiments_where(Results *results, Arena *arena, const ExperimentFilter *filter,
                               ExperimentInfo **out, size_t *out_n, Err *err);
/** A name, a short id, latest, latest~N, @baseline. fails ERR_NOT_FOUND with did-you-mean. */
bool results_experiment(Results *results, Arena *arena, Str name, ExperimentInfo *out, Err *err);

/** Where a baseline points, or one of its moves. */
typedef struct BaselineInfo {
    Str name;
    int64_t experiment_id; // 0: removed since, which only history knows
    Str experiment;        // its name
    Str short_id;
    Str moved;    // UTC
    Str who;      // user@host; "" unknown
    bool forced;  // against its policy, or without one
    Value detail; // the gate's verdict; null: none was kept
} BaselineInfo;
/** Refuse names that selectors could not tell apart from something else. fails ERR_USAGE. */
bool baseline_name_check(Str name, Err *err);
/** fails  ERR_NOT_FOUND with did-you-mean. */
bool results_baseline(Results *results, Arena *arena, Str name, BaselineInfo *out, Err *err);
/** All baselines by name. */
bool results_baselines(Results *results, Arena *arena, BaselineInfo **out, size_t *out_n, Err *err);
/** All moves of one baseline ("": of all), oldest first. */
bool results_baseline_history(Results *results, Arena *arena, Str name, BaselineInfo **out,
                              size_t *out_n, Err *err);

typedef struct MetricRow {
    Str name;       // grader.metric, e.g. "exact.accuracy", "code.pass_at_8"
    double value;   // NaN when n is 0
    double stderr_; // NaN when unknown (n < 2)
    double low;     // 95 % interval
    double high;
    Str method;         // wilson | t | delta | jackknife | bca | constant | none
    int64_t n;          // samples that count
    int64_t n_unscored; // samples left out: unscored, or too few epochs for k
    int64_t n_clusters; // 0 without clusters
    Str slice;          // "source=x": only the samples whose metadata says so; "" all
    Str why;            // why there is no value or no error, when a custom metric failed
    bool lower_is_better;
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
    double cost_usd; // NaN when any attempt's cost is unknown
    RunSpec spec;
    const MetricRow *metrics;
    size_t n_metrics;
} RunInfo;

/** All runs of an experiment in the order planned, with their metrics, computed from the rows. */
bool results_runs(Results *results, Arena *arena, int64_t experiment_id, RunInfo **out,
                  size_t *out_n, Err *err);
/**
 * What computes a custom metric: lua is its text, scores a list of maps (value, weight, answer,
 * target, id, part, metadata), one per sample. Called once for the value and up to 50 times with
 * fewer samples for its error. */
typedef bool ResultsCustomMetric(void *ctx, Str file, Str lua, const Value *params,
                                 const Value *scores, double *out, Err *err);
/** Without one, custom metrics have no value and say why. */
void results_set_custom_metric(Results *results, ResultsCustomMetric *metric, void *ctx);

/** A metric over several runs of an eval: all parts, and for `worst` all variants. */
typedef struct CrossMetric {
    Str eval;
    Str model;
    Str variant;      // "" when over variants
    Str over;         // "variants" or ""
    Str average;      // "parts": the mean of the parts' values; "": over all samples together
    MetricRow metric; // of a mean of parts, n counts samples, the interval is t by Satterthwaite
    int64_t n_runs;   // parts that have a value
} CrossMetric;
/**
 * The metrics of every eval that has more than one part in this experiment, and those over
 * variants. */
bool results_cross_metrics(Results *results, Arena *arena, int64_t experiment_id, CrossMetric **out,
                           size_t *out_n, Err *err);

typedef struct AttemptInfo {
    int64_t id;
    int64_t run_id;
    Str eval, part, variant, model;
    Str sample_id;
    Hash sample_hash;
    int64_t epoch;
    Str state;
    Str error_code, error;
    Str input, target, metadata, prompt;
    Str reply_text;
    Str stop;
    Value choices; // list of {text, logprob, unconditional, tokens, greedy} or null
    Usage usage;
    double seconds;
    double cost_usd; // NaN when unknown
    const Score *scores;
    size_t n_scores;
    Value calls; // list of {path, request, reply}
    Str notes;
} AttemptInfo;

/** An error, or a first score that is below 1 or unscored. */
bool attempt_is_failed(const AttemptInfo *attempt);

typedef bool AttemptVisit(void *ctx, const AttemptInfo *attempt);
typedef struct AttemptFilter {
    Str sample_id;                  // "" any
    Str eval, part, variant, model; // "" any
    bool failed_only;               // errors, and a first score that is below 1 or unscored
    int64_t limit;                  // 0: no limit
    bool with_calls;
    AttemptVisit *wanted; // NULL: all; asked before scores and calls are read
} AttemptFilter;
/**
 * Visit closed attempts in canonical order (eval, part, variant, model, sample id, epoch); the
 * visitor returns false to stop. What it is given lives until it returns. */
bool results_attempts(Results *results, int64_t experiment_id, const AttemptFilter *filter,
                      AttemptVisit *visit, void *ctx, Err *err);
/** The same for one run; of the filter, eval, part, variant and model are not looked at. */
bool results_run_attempts(Results *results, const RunInfo *run, const AttemptFilter *filter,
                          AttemptVisit *visit, void *ctx, Err *err);
/** SHA-256 over v_result of an experiment: equal runs, equal digest (DESIGN.md 4.5). */
bool results_digest(Results *results, int64_t experiment_id, Hash *out, Err *err);

// ---- Reports (to a Buf; nothing is printed) -----------------------------------------------------

typedef struct ReportOptions {
    bool color; // ANSI bold, red, green
    int width;  // columns of the terminal; 0: as wide as it takes
} ReportOptions;

/**
 * The table of a run: one line per run and metric, then the metrics across parts. An eval with more
 * than a dozen parts shows their values in columns instead of one line each. */
void report_runs(Buf *buf, const RunInfo *runs, size_t n_runs, const CrossMetric *cross,
                 size_t n_cross, const ReportOptions *options);
/** One line per experiment, in the order given. */
void report_experiments(Buf *buf, const ExperimentInfo *experiments, size_t n,
                        const ReportOptions *options);
/** One line per baseline, or per move of one, in the order given. */
void report_baselines(Buf *buf, const BaselineInfo *baselines, size_t n,
                      const ReportOptions *options);
/** One attempt for people: where it is from, prompt, calls, reply, choices, each score and why. */
void report_attempt(Buf *buf, const AttemptInfo *attempt, const ReportOptions *options);
/**
 * Text that may come from a model, harmless on a terminal: control characters, bidirectional
 * overrides and invalid bytes are shown as escapes. Line feeds and tabs stay when multiline. */
void report_text(Buf *buf, Str text, bool multiline);

/** The same as JSON values; NaN is null. Strings borrow from what is given. */
Value report_experiment_value(Arena *arena, const ExperimentInfo *experiment);
Value report_baselines_value(Arena *arena, const BaselineInfo *baselines, size_t n);
Value report_runs_value(Arena *arena, const RunInfo *runs, size_t n);
Value report_cross_value(Arena *arena, const CrossMetric *cross, size_t n);
Value report_attempt_value(Arena *arena, const AttemptInfo *attempt);
