// SPDX-License-Identifier: MIT
// The Lua host and the Jinja templates compiled to Lua. Performs no I/O: a coroutine yields
// effects, the caller performs them. Every call starts from a program's image (a byte copy of a
// freshly loaded Lua state at a fixed address), so nothing leaks from one call into the next; a
// script that breaks a budget is abandoned by longjmp and its memory dropped whole. One Script
// belongs to one thread.
#pragma once

#include "eval/eval.h"

typedef struct Script Script;
typedef struct Program Program;

/** Limits of one call (a render of one row, one solver step, one grading). 0 takes the default. */
typedef struct ScriptBudget {
    uint64_t instructions; // VM instructions, also inside coroutines; default 50 M
    int64_t deadline_ms;   // wall clock, default 5000
    size_t memory_bytes;   // default 64 MiB
} ScriptBudget;

bool script_create(const ScriptBudget *budget, Script **out, Err *err);
void script_destroy(Script *script);

typedef enum UnitKind {
    UNIT_TEMPLATE, // Jinja: text, or an expression's value when it is one {{ expression }}
    UNIT_HELPERS, // Lua returning a table of pure functions: functions and filters of the templates
    UNIT_SOLVER,  // Lua returning a solver table (DESIGN.md 4.2)
    UNIT_GRADER,  // Lua returning a grader table
    UNIT_LIBRARY, // a grader that runs only where another one calls ctx.grade{use=NAME}; loaded on
                  // its first use in a call. Its name is the file's
    UNIT_METRIC,  // Lua returning a metric table; for script_unit_info, _examples, script_metric
} UnitKind;

/** One source of a program. */
typedef struct ScriptUnit {
    UnitKind kind;
    Str name;        // entry: "sample.input", "prompt", "solver", a grader's name in the eval
    Str file;        // for messages
    uint32_t line;   // where the text starts in file (from 1) and its indentation, so that a
    uint16_t indent; // template's error names the line of the YAML file
    Str text;
    bool lenient;    // templates: undefined prints as nothing (a model's chat template)
    bool force_text; // templates: text even when it is one {{ expression }}
    // Templates, for script_template_names alone: what the program's helpers are called.
    const Str *helpers;
    size_t n_helpers;
    // Solvers and graders:
    Value params; // as written in the eval; checked against the unit's `params`, defaults filled in
    const EvalSolver *solver; // UNIT_SOLVER: generation settings that ctx.generate defaults to
    const EvalGrader *grader; // UNIT_GRADER: answer rule, not, role, when
} ScriptUnit;

/**
 * Load units and constants (visible to all templates: matrix variables, shots, `texts` for text())
 * into one image. Templates may use helpers of the same program.
 * owns   *out is destroyed by script_program_destroy; units are copied.
 * fails  ERR_SCRIPT / ERR_PARSE with file:line of the fault; ERR_BUDGET; ERR_CONFIG for a param. */
bool script_program_create(Script *script, const ScriptUnit *units, size_t n_units,
                           const Value *constants, Program **out, Err *err);
void script_program_destroy(Script *script, Program *program);

/** What must stay the same for the same result: compiler version, unit texts, params, constants. */
Hash script_program_hash(const Program *program);
/** As script_program_hash without the constants: what the Lua and its params are, whatever shots.
 */
Hash script_program_units_hash(const Program *program);
/** Names of the functions that the program's helpers file gives to its templates. */
const Str *script_program_helpers(const Program *program, size_t *out_n);
/** Whether the program's solver (or one of its graders) declares this need. */
bool script_program_needs(const Program *program, UnitKind kind, Str need);
/** Whether the program's solver asks a model: given does not. */
bool script_program_asks(const Program *program);

// ---- Templates ----------------------------------------------------------------------------------

/** What seeds ctx.rng(). Each template draws from a stream of its own. */
typedef struct ScriptSeed {
    uint64_t seed; // ctx.rng: same for every model (seed, eval, part, sample id)
    Str where;     // "sample 12", for the caller's messages
} ScriptSeed;

/**
 * Start a rendering session: the program's image, with the members of scope as variables. It ends
 * with any other call on this Script, or when a budget is spent. One budget for the whole session.
 */
bool script_render_begin(Script *script, Program *program, const ScriptSeed *seed,
                         const Value *scope, Err *err);
/** Add or replace a variable of the session. */
bool script_render_set(Script *script, Str name, const Value *value, Err *err);
/** Render one template unit: its value and type when it is one expression, else text. */
bool script_render(Script *script, Str unit, Arena *arena, Value *out, Err *err);

/**
 * Names that a template reads from its scope (free variables, without helpers and built-ins), for
 * checks. Compiles only. */
bool script_template_names(Script *script, const ScriptUnit *unit, Arena *arena, Str **out,
                           size_t *out_n, Err *err);

// ---- Solvers and graders as coroutines ----------------------------------------------------------

/** One reply of the attempt's log. */
typedef struct LoggedCall {
    // "0", "1"; in branch 2 of ctx.all "2.0", "2.1": branches count on where calls stopped, and
    // calls after them count on where branches stopped; in the second grader "g1.0".
    Str path;
    const Reply *reply; // NULL while it is in flight: waited for, not asked again
} LoggedCall;

/** What the model under test offers: ctx.model. */
typedef struct ScriptModel {
    Str name;
    bool chat;
    bool loglik;
    int64_t context_tokens; // 0 unknown
} ScriptModel;

/** An effect that waits for its reply. */
typedef struct Effect {
    Str path;
    Request request; // seed, eval, part, sample_id, epoch are the caller's to fill in
} Effect;

typedef struct StepInput {
    const Sample *sample;
    int64_t epoch; // from 1
    uint64_t seed; // ctx.rng
    const LoggedCall *log;
    size_t n_log;
    const ScriptModel *model;
    const EvalLimits *limits;   // for ctx.left(); turns, tokens, seconds, cost come from the log
    const Value *constants_row; // extra template variables for params that are templates, or NULL
} StepInput;

/** Where a coroutine stands after replaying its log. */
typedef struct StepOutput {
    bool done;
    const Effect *effects; // !done: effects not in the log yet, at least one
    size_t n_effects;
    Reply reply;             // solver, done
    const Message *messages; // solver, done: the conversation, when it kept one
    size_t n_messages;
    const Score *scores; // graders, done: one per grader unit, in their order
    size_t n_scores;
    Str notes; // ctx.note lines
} StepOutput;

/**
 * Run the program's solver from its start with the log's replies until it needs one that the log
 * lacks, or returns. A pure function of its arguments.
 * owns   *out in arena.
 * fails  ERR_SCRIPT (error(), wrong result), ERR_BUDGET: the attempt's error, with file and line.
 */
bool script_solve(Script *script, Program *program, const StepInput *in, Arena *arena,
                  StepOutput *out, Err *err);

/** Run all grader units on a reply, in order (combine after its members); as script_solve. */
bool script_grade(Script *script, Program *program, const StepInput *in, const Reply *reply,
                  const Message *messages, size_t n_messages, Arena *arena, StepOutput *out,
                  Err *err);

// ---- Looking at a solver or grader --------------------------------------------------------------

/** One declared param. */
typedef struct UnitParam {
    Str name;
    Str type; // text number boolean list map one_of template any
    bool required;
    Value otherwise; // the default
    const Str *one_of;
    size_t n_one_of;
} UnitParam;

/** What a solver or grader file declares. */
typedef struct UnitInfo {
    Str name;
    int64_t version;
    Str description;
    const UnitParam *params;
    size_t n_params;
    bool sees_target;
    const Str *needs; // choices target tool_calls logprobs loglik sandbox
    size_t n_needs;
    const Str *effects; // generate loglik exec grade; a solver that declares none: the first two
    size_t n_effects;
    double range_low; // graders; -inf and inf when unbounded
    double range_high;
    bool lower_is_better;
    size_t n_examples;
    const Str
        *gives; // solver: what its replies have beside text: loglik (scored texts), tool_calls
    size_t n_gives;
    Str after; // grader: the param (list of names, or map by name) of graders that run before it
    Str uses;  // grader: the param whose list has a library grader's name as `use` in each item
    Str role;  // grader: the role that its calls ask when the eval's `role` says nothing
    const Str *roles; // roles that its calls name; a grader that names some does not ask `role`
    size_t n_roles;
} UnitInfo;

/**
 * Load a file and read its declarations. Where needs, gives or roles is a function of the params it
 * stays empty; script_unit_info_for knows. fails as script_program_create. */
bool script_unit_info(Script *script, UnitKind kind, Str file, Str text, Arena *arena,
                      UnitInfo *out, Err *err);
/** As script_unit_info, with what it declares for these params (checked, defaults filled in). */
bool script_unit_info_for(Script *script, UnitKind kind, Str file, Str text, const Value *params,
                          Arena *arena, UnitInfo *out, Err *err);
/** Run a unit's examples; *out_failures lists "example 3: expected 1, got 0", one a line. */
bool script_unit_examples(Script *script, UnitKind kind, Str file, Str text, Arena *arena,
                          size_t *out_run, Str *out_failures, Err *err);

/** The solvers and graders that are compiled in: file text by name, or an empty string. */
Str script_builtin(UnitKind kind, Str name);
/** Their names, sorted. */
const Str *script_builtin_names(UnitKind kind, size_t *out_n);

// ---- Metrics written in Lua
// ----------------------------------------------------------------------

/**
 * A pure function over scores: metrics/NAME.lua returns {name, version, params, metric =
 * function(scores, params) -> number, examples}. scores is a list of {value, weight, answer,
 * target, id, part, metadata}, one per sample. fails  ERR_SCRIPT with file:line; ERR_BUDGET. A
 * result that is no finite number is ERR_SCRIPT. */
bool script_metric(Script *script, Str file, Str text, const Value *params, const Value *scores,
                   double *out, Err *err);

// ---- Chat templates -----------------------------------------------------------------------------

/**
 * Render a model's chat template (Jinja, lenient undefined, trim_blocks, lstrip_blocks).
 * vars    map: messages, add_generation_prompt, bos_token, eos_token, tools ...; `now` (Unix
 * seconds) is what strftime_now() shows, without it that function is an error. A program made by
 * script_chat_create can be used with script_chat_render from the same thread. */
bool script_chat_create(Script *script, Str name, Str template_text, Program **out, Err *err);
bool script_chat_render(Script *script, Program *program, const Value *vars, Arena *arena, Str *out,
                        Err *err);
