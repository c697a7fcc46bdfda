// SPDX-License-Identifier: MIT
// Removing experiments. Planning reads only; removing takes each experiment out in one transaction,
// so a killed gc leaves whole experiments, and never touches what a baseline points to or a process
// is writing, whatever it was told.
#pragma once

#include "results/results.h"

typedef struct GcQuery {
    ExperimentFilter among; // zeroed: all
    int64_t keep;           // of those the newest so many stay; 0: none
    int64_t before_ms;      // of the rest those that started before; 0: all
    const Str *names;       // instead of all that: just these
    size_t n_names;
} GcQuery;

typedef struct GcItem {
    ExperimentInfo experiment;
    int64_t n_bytes; // of its rows, about; 0 where it stays
    Str stays;       // why: "baseline main", "running"; "": it goes
} GcItem;

typedef struct GcPlan {
    const GcItem *items; // oldest first, those that are chosen
    size_t n;
    size_t n_go;
    int64_t n_bytes; // of those that go
} GcPlan;

/** owns  *out in arena. fails  ERR_NOT_FOUND for a name; ERR_STORE. */
bool gc_plan(Results *results, Arena *arena, const GcQuery *query, GcPlan *out, Err *err);

typedef struct GcDone {
    size_t n_removed;
    size_t n_stayed; // a baseline since, running since, or gone before
    bool vacuumed;   // the file was made smaller
    Str why_not;     // why it was not, in arena
    uint64_t file_bytes_before;
    uint64_t file_bytes_after;
} GcDone;

/**
 * Remove what a plan says goes, then what nothing refers to any more, then make the file smaller if
 * nobody is writing to it.
 * fails  ERR_STORE; experiments removed until then are removed, as *out says. */
bool gc_remove(Str path, Arena *arena, const GcPlan *plan, GcDone *out, Err *err);

void report_gc(Buf *buf, const GcPlan *plan, const ReportOptions *options);
/** done NULL: nothing was removed. */
Value report_gc_value(Arena *arena, const GcPlan *plan, const GcDone *done);
