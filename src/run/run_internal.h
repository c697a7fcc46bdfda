// SPDX-License-Identifier: MIT
// What the files of the run room share: cells of the plan, attempts in flight.
#pragma once

#include "run/run.h"

/** One task of the plan with the samples of it that this experiment covers. */
typedef struct Cell {
    const RunTarget *target;
    Task *task;
    size_t from; // sample indices, [from, to)
    size_t to;
    int64_t epochs;
    int64_t n_planned;     // attempts of this shard, for one model
    uint64_t first_number; // of its first sample over all cells: what sharding counts
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
/** Whether this shard takes sample index of a cell. */
bool plan_takes(const RunConfig *config, const Cell *cell, size_t index);
/** The experiment's and its runs' specs; run of model m and cell c is at m * n_cells + c. */
ExperimentSpec plan_spec(const RunConfig *config, const Plan *plan, Sampler *const *samplers,
                         Arena *arena);

// ---- Attempts ---------------------------------------------------------------------------------

/** One call of an attempt: in flight until it has a reply or failed. */
typedef struct Call {
    char *path;         // owned
    Request *request;   // owned, one block; NULL once it is not needed any more
    Completion *reply;  // owned; NULL while in flight or when it came from the store
    const Reply *value; // the reply, wherever it lives
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

/** Fit a prompt to what the sampler can take (DESIGN.md 4.1 "prompt"). */
bool prompt_adapt(Prompt *prompt, const Sampler *sampler, bool force_chat, Arena *arena, Err *err);
/** Fill in who asks, the seed, and adapt the prompts. */
bool effect_finish(Effect *effect, const Task *task, const Sample *sample, int64_t epoch,
                   uint64_t seed, const Sampler *sampler, bool force_chat, Arena *arena, Err *err);
/** ctx.model of a sampler. */
ScriptModel script_model_of(const Sampler *sampler, const Model *model);
