// SPDX-License-Identifier: MIT
// Inside a merge: experiments as read from a store, and the copying of their rows.
#pragma once

#include "results/merge.h"
#include "results/store_internal.h"

/** What two attempts have to have in common to be the same; columns in the order of MergeResult. */
#define MERGE_RESULT_SQL                                                                           \
    "SELECT a.id, a.state, a.closed_ms, a.sample_row, hex(s.hash), a.error_code, a.stop, "         \
    "hex(a.reply_hash), a.choice_logprobs, (SELECT group_concat(quote(c.grader) || "               \
    "quote(c.value) || quote(c.reason) || quote(c.answer)) FROM (SELECT * FROM score "             \
    "AS o WHERE o.attempt_id = a.id ORDER BY o.position) AS c) FROM attempt AS a LEFT "            \
    "JOIN sample AS s ON s.id = a.sample_row WHERE a.run_id = ?1 AND a.sample_id = ?2 "            \
    "AND a.epoch = ?3"

typedef enum FromSql {
#define X(name, sql) FROM_SQL_##name,
#include "results/merge_from_sql.def"
#undef X
    FROM_SQL_COUNT
} FromSql;

typedef enum IntoSql {
#define X(name, sql) INTO_SQL_##name,
#include "results/merge_into_sql.def"
#undef X
    INTO_SQL_COUNT
} IntoSql;

/** An experiment of a store. */
typedef struct MergeExperiment {
    Str store;
    int64_t id;
    Str name;
    Str base_name; // without -shard-K-of-N
    Str short_id;
    Str state;
    int64_t started_ms;
    int64_t ended_ms; // 0: not ended
    Value tags;
    Value spec;
    Value provenance;
    Value stats;
    RunSpec *runs;
    int64_t *run_ids;
    int64_t *set_ids;
    size_t n_runs;
    int64_t n_shards;    // 0: no shards
    const int64_t *have; // ascending
    size_t n_have;
    Hash base_hash; // of all that the shards of one run have in common
} MergeExperiment;

/** A store opened for a merge to read. */
bool merge_open_from(Db *db, const char *path, Err *err);
/** All experiments of a store, oldest first. */
bool merge_read(Db *db, Str store, Arena *arena, MergeExperiment **out, size_t *out_n, Err *err);
/** An experiment's spec without what tells its shards apart. */
ExperimentSpec merge_base_spec(const MergeExperiment *experiment, Arena *arena);
/** A spec's map with `shards: {n, have}`, or without any when all are there. */
Value merge_spec(const Value *spec, int64_t n, const int64_t *have, size_t n_have, Arena *arena);
/** A run's spec's map with another n_planned. */
Value merge_run_spec(const Value *spec, int64_t n_planned, Arena *arena);
/** A map without a member. */
Value merge_without(const Value *map, Str key, Arena *arena);

/** Numbers of rows by those they have elsewhere: open addressing; zeroed is empty. */
typedef struct RowMap {
    int64_t *keys; // 0 is free
    int64_t *values;
    size_t n_slots;
    size_t n;
} RowMap;

/** The copying of one experiment's rows. */
typedef struct MergeCopy {
    Db *from;
    Store *into;
    Db *into_sql;   // INTO_SQL_ statements
    Str from_words; // store and experiment, for messages
    RowMap samples;
    bool fresh; // the output has none of these attempts
    int64_t n_added;
    int64_t n_replaced;
} MergeCopy;

/**
 * Copy a run's attempts with their samples, calls and scores; what is there already is compared.
 * fails  ERR_USAGE for an attempt that has other results. */
bool merge_copy_run(MergeCopy *copy, int64_t from_run, const RunSpec *run, const OpenRun *into,
                    Err *err);
void merge_copy_finish(MergeCopy *copy);
