// SPDX-License-Identifier: MIT
// What a merge decides before it writes.
#pragma once

#include "results/merge_internal.h"

/** Experiments that become one: shards of a run, or copies of one experiment. */
typedef struct MergeGroup {
    const MergeExperiment **sources; // shards ascending
    size_t n;
} MergeGroup;

/** fails  ERR_USAGE naming the fields in which shards of one name differ. */
bool merge_groups(const MergeExperiment *const *sources, size_t n, Arena *arena, MergeGroup **out,
                  size_t *out_n, Err *err);
/**
 * The experiment of the output that a group goes into; NULL: a new one.
 * name  that was asked for, or "".
 * fails  ERR_USAGE, ERR_EXISTS when the name belongs to another experiment. */
bool merge_target(const MergeExperiment *existing, size_t n, const MergeGroup *group, Str name,
                  const MergeExperiment **out, Err *err);
/** "A of x.db and B of y.db WHAT (seed: 1 -> 2)"; false. */
bool merge_spec_refuse(const MergeExperiment *a, const MergeExperiment *b, const char *what,
                       Err *err);
