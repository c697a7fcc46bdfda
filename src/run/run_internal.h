// SPDX-License-Identifier: MIT
// What the files of the run room share: cells of the plan, attempts in flight.
#pragma once

#include "run/run.h"

/** A sampler that an experiment talks to: that of a model under test, or of who plays a role. */
typedef struct Source {
    const Model *model;
    Sampler *sampler;
    size_t n_requests;     // in flight
    double load_seconds;   // opening it
    double render_seconds; // until all first requests were submitted
    bool planned;          // what the first plan came to has been said
} Source;

/** A role in the cells of one target: who plays it, and what it was asked so far. */
typedef struct Role {
    Str name;
    const Model *model;
    Source *source; // may be that of a model under test
    int64_t n_calls;
    Usage usage;
    double seconds;
    double cost_usd; // NaN once one reply's is unknown
} Role;

/** One task of the plan with the samples of it that this experiment covers. */
typedef struct Cell {
    const RunTarget *target;
    Task *task;
    Role *roles; // shared by the cells of a target
    size_t n_roles;
    const uint32_t *picked; // indices of the samples asked for by id, ascending; NULL: all
    size_t n_samples;       // of them, before limits
    size_t from;            // positions among them, [from, to)
    size_t to;
    int64_t epochs;
    int64_t n_planned; // attempts of this shard, for one model
} Cell;

/** Everything that is decided before the first call. */
typedef struct Plan {
    Cell *cells;
    size_t n_cells;
    int64_t n_planned; // for one model
} Plan;

/**
 * Open every task that the targets name and cut it to the limits and the shard.
 * owns   arena holds the plan; tasks are closed by plan_close. */
bool plan_build(const RunConfig *config, Arena *arena, Plan *out, Err *err);
void plan_close(const RunConfig *config, Plan *plan);
/** The index in its part of the sample at a position of a cell. */
static inline size_t cell_index(const Cell *cell, size_t position)
{
    return cell->picked != NULL ? cell->picked[position] : position;
}
/** Whether this shard takes the sample of that index in its part. */
bool plan_takes(const RunConfig *config, size_t index);
/**
 * The experiment's and its runs' specs; run of model m and cell c is at m * n_cells + c.
 * sources  of the models under test. */
ExperimentSpec plan_spec(const RunConfig *config, const Plan *plan, const Source *sources,
                         size_t n_sources, Arena *arena);

/** The spec of one run. sources: what is stored once an eval, or null. */
RunSpec plan_run_spec(Registry *registry, const Cell *cell, const Model *model,
                      const Sampler *sampler, Value metrics, Value sources, Arena *arena);
/** The metrics of an eval as RunSpec.metrics has them. */
Value plan_metrics(Registry *registry, const Eval *eval, Arena *arena);
/** The text of an eval and of its Lua: {eval, lua: {"solver NAME", "grader NAME", "helpers"}}. */
Value plan_sources(Registry *registry, const Eval *eval, Arena *arena);

// ---- Samples by id ----------------------------------------------------------------------------

/** What of the ids asked for was met so far. */
typedef struct SampleFilter {
    const RunConfig *config;
    Arena *arena;
    bool *met;       // of config->samples
    bool *looked_at; // of config->among
    size_t *n_there;
} SampleFilter;

/** Whether samples are asked for by id. */
bool config_filters(const RunConfig *config);
void sample_filter_init(SampleFilter *filter, const RunConfig *config, Arena *arena);
/** Fill in which samples of a cell are asked for. fails  when an id can not be rendered. */
bool sample_filter_cell(SampleFilter *filter, Cell *cell, Err *err);
/** Once all cells are filtered. fails  ERR_USAGE naming an id that no sample has. */
bool sample_filter_check(const SampleFilter *filter, const Plan *plan, Err *err);
/** samples [GLOB ...] and sample_ids {EVAL/PART: [ID ...]} of the spec, where there are any. */
void plan_samples_put(const RunConfig *config, MapBuilder *settings);

// ---- Roles ------------------------------------------------------------------------------------

/** Find the models of all roles: the command line's, else the eval's. Opens none. */
bool plan_roles(const RunConfig *config, Plan *plan, Arena *arena, Err *err);
/** The role of that name in a cell, or NULL. */
Role *role_find(const Cell *cell, Str name);
/** name -> {model, hash}, for the spec of a cell's runs. */
Value cell_roles_value(const Cell *cell, Arena *arena);
/** A list of {eval, role, model, description}. */
Value plan_roles_provenance(const Plan *plan, Arena *arena);
/** What each role's model was asked; equal ones of several targets add up. */
void plan_role_stats(const Plan *plan, Arena *arena, RunRoleStats **out, size_t *out_n);
/** The models of a run without any: one that only evals which ask nobody can be run on. */
extern const Model *const run_no_model[1];

// ---- Attempts ---------------------------------------------------------------------------------

/** One call of an attempt: in flight until it has a reply or failed. */
typedef struct Call {
    char *path;         // owned
    Request *request;   // owned, one block; NULL once it is not needed any more
    Completion *reply;  // owned; NULL while in flight or when it came from the store
    const Reply *value; // the reply, wherever it lives
    Role *role;         // who was asked; NULL: the model under test
    bool in_flight;
} Call;

/** One sample x epoch x variant on its way. Rebuilt from its log at each step; holds no sample. */
typedef struct Attempt {
    uint32_t slot;
    uint32_t cell;
    uint32_t index; // sample in its task
    int32_t epoch;  // from 1
    uint32_t n_in_flight;
    uint32_t n_calls;
    uint32_t cap_calls;
    Call *calls;
    Arena *restored; // replies read back from the store; NULL when there were none
    const Str *restored_paths;
    const Reply *restored_replies;
    size_t n_restored;
    Err *failure; // first failure; the attempt ends when nothing is in flight
} Attempt;

/** Copy a request into one block of its own, freed by mem_free. */
Request *request_pack(const Request *request);
void attempt_destroy(Attempt *attempt);
Call *attempt_call_add(Attempt *attempt, Str path);

/** Fill in what a row says about its sample. */
void attempt_row_sample(AttemptRow *row, const Sample *sample, Arena *arena);
/** What the solver noted, then what the graders did. */
Str attempt_notes_join(Arena *arena, Str solver, Str graders);

/** Fit a prompt to what the sampler can take (DESIGN.md 4.1 "prompt"). */
bool prompt_adapt(Prompt *prompt, const Sampler *sampler, bool force_chat, Arena *arena, Err *err);
/** Fill in who asks, the seed, and adapt the prompts. */
bool effect_finish(Effect *effect, const Task *task, const Sample *sample, int64_t epoch,
                   uint64_t seed, const Sampler *sampler, bool force_chat, Arena *arena, Err *err);
/** ctx.model of a sampler. */
ScriptModel script_model_of(const Sampler *sampler, const Model *model);
