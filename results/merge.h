// SPDX-License-Identifier: MIT
// Experiments of many stores into one: the shards of a run become the experiment that one process
// would have made, other experiments are copied. Merging again adds nothing; what is missing can be
// merged later.
#pragma once

#include "results/results.h"

typedef struct MergeOptions {
    const Str *stores;
    size_t n_stores;
    Str output; // created when absent; may be one of the stores
    Str name;   // of what comes of it, when that is one experiment; "": its own
    Str only;   // experiments of that name, short id, or glob on names, a shard's with or without
                // its -shard-K-of-N; "": all
} MergeOptions;

/** What became of the experiments that belong together. */
typedef struct Merged {
    Str name;
    Str short_id;
    Str state;           // interrupted while a shard is missing or unfinished
    bool is_new;         // it was not in the output before
    int64_t n_shards;    // 0: no shards
    const int64_t *have; // shards that are there, ascending
    size_t n_have;
    size_t n_sources;   // experiments that were read for it
    int64_t n_attempts; // that it has now
    int64_t n_added;    // attempts
    int64_t n_replaced; // errors and unfinished ones that a store had finished
} Merged;

/**
 * Merge all experiments of the stores into the output, each in one transaction. Shards belong
 * together when their specs are equal but for the shard; where one of them is there several times,
 * when their names are equal too. A shard that was merged before is looked at again, row by row. A
 * plain experiment whose name is taken by another one gets -2, -3, ...
 * owns   *out in arena.
 * fails  ERR_USAGE naming the fields: shards of one name have different specs; the output has an
 *        experiment of that name with another spec; the same attempt has different results in two
 *        stores. ERR_STORE. */
bool merge_stores(const MergeOptions *options, Arena *arena, Merged **out, size_t *out_n, Err *err);
