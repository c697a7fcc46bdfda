// SPDX-License-Identifier: MIT
// What the files that check an eval share: eval_check.c (data, metrics, the order of things),
// eval_check_templates.c (what templates may read), eval_check_units.c (solvers, graders, params),
// eval_check_metrics.c (metrics, slices, gates).
#pragma once

#include "registry/registry_internal.h"

/** Names, each once, with the place where it was first read. */
typedef struct NameSet {
    Arena *arena;
    Str *names;
    Value *places;
    size_t n;
    size_t cap;
} NameSet;

void name_set_add(NameSet *set, Str name);
void name_set_add_at(NameSet *set, Str name, const Value *place);
/** Where a name was first read; otherwise when it was not, or nowhere in particular. */
Value name_set_place(const NameSet *set, Str name, const Value *otherwise);
bool name_in(Str name, const Str *names, size_t n);

/** What the checks of one eval share. */
typedef struct EvalCheck {
    Registry *registry;
    Arena *arena; // scratch of the whole check
    const Eval *eval;
    Faults *faults;
    Str helpers_text;
    const Str *helpers; // names
    size_t n_helpers;
    bool helpers_load;  // or there are none
    const Str *columns; // known columns, when has_columns
    size_t n_columns;
    bool has_columns;
} EvalCheck;

#define FAULT(check, at, code, ...)                                                                \
    faults_add((check)->faults, (check)->eval->file, (at)->line, (at)->col, false, (code),         \
               __VA_ARGS__)
#define WARN(check, at, code, ...)                                                                 \
    faults_add((check)->faults, (check)->eval->file, (at)->line, (at)->col, true, (code),          \
               __VA_ARGS__)

/** Which names a template may read. */
typedef enum TmplScope {
    SCOPE_PART,   // matrix variables
    SCOPE_ROW,    // and columns, row, row_number
    SCOPE_PROMPT, // matrix variables, columns, the sample's fields, shots; not the target
    SCOPE_GRADER, // and target, answer, reply
} TmplScope;

/** Where a template first reads a name: the start of the text when it can not be said. */
Value check_name_place(const Value *text, Str name);
/** One template: its syntax, and the names it reads, which are added to read. extra: loop names. */
void check_text(const EvalCheck *check, TmplScope scope, Str unit_name, const Value *text,
                const NameSet *extra, NameSet *read);
/** `when` and `where`: a text without an expression would always be true. */
void check_condition(const EvalCheck *check, const char *key, const Value *text);
/** Every text in a value is a template. */
void check_tree(const EvalCheck *check, TmplScope scope, Str unit, const Value *value,
                const NameSet *extra, NameSet *read);
/** The names that the templates of a value read. */
void check_reads(Registry *registry, const Eval *eval, const Value *value, NameSet *read);
void check_sample_templates(const EvalCheck *check, NameSet *target_names, NameSet *input_names);
/** A variant's prompt or messages; target, input: what those templates read. */
void check_prompt(const EvalCheck *check, const EvalVariant *variant, const NameSet *target,
                  const NameSet *input);

/**
 * Load a solver, grader or metric. returns NULL when it can not be had: a name that dangles is a
 * fault with what could have been meant. */
const LuaUnit *check_unit(const EvalCheck *check, UnitKind kind, Str name, const Value *at);
/** Params as written against those that a unit declares; common and more (or NULL) are keys beside
 * them. */
void check_params(const EvalCheck *check, const LuaUnit *unit, const Value *params,
                  const KeyTable *common, const KeyTable *more, const Value *at);
/** Both set *out to the units found, NULL where there is none. */
void check_solver(const EvalCheck *check, const EvalVariant *variant, const LuaUnit **out);
void check_graders(const EvalCheck *check, const LuaUnit *const *solvers, const LuaUnit **out);

/** Metrics, slices and the eval's own gate. units: of the graders, NULL where there is none. */
void check_metrics(const EvalCheck *check, const LuaUnit *const *units);

/** A place that has no value of its own. */
Value check_place(uint32_t line, uint32_t col);
/** Where a variant's few_shot, or a key of it, is written: its own or the eval's; never NULL. */
const Value *check_few_shot_place(const Eval *eval, const EvalVariant *variant, const char *key);
