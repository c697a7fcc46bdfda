// SPDX-License-Identifier: MIT
// Inside the store: what a Store holds, the items of its queue, and the writer's side.
//
// Threads: callers put items (any thread) and begin and end experiments; the writer thread commits.
// `db` is used by one of them at a time, under db_mutex. Locks are taken in the order put_mutex,
// db_mutex, queue.mutex, and the store's file lock only with db_mutex held.
#pragma once

#include "results/db_internal.h"

#include <stdatomic.h>

// ---- The queue ----------------------------------------------------------------------------------

#define QUEUE_MAX_BYTES    (16u << 20) // of items waiting and being written
#define SEGMENT_BYTES      ((size_t)256 << 10)
#define QUEUE_HURRY_BYTES  (4u << 20) // more than this waiting is written at once
#define CHECKPOINT_PAGES   4096       // of WAL, 16 MiB
#define GROUP_MAX_ATTEMPTS 512
#define GROUP_MAX_ITEMS    2048
#define GROUP_WAIT_NS      50000000

/** A score as queued: its texts lie behind the item, detail already as JSON. */
typedef struct ScoreItem {
    Str grader;
    Str answer;
    Str why;
    Str reason;
    Str detail;
    double value;
    double weight;
    int64_t position;
    bool unscored;
    bool is_boolean;
    bool has_answer;
} ScoreItem;

typedef struct CallItem {
    Str path;
    Str request; // JSON without its prompt
    Str prompt;
    Str reply;    // JSON
    Str raw_text; // only when not UTF-8
    int64_t seed;
    bool is_chat;
} CallItem;

typedef struct AttemptItem {
    uint64_t key;
    Hash sample_hash;
    Str input;
    Str target;
    Str metadata;
    Str cluster;
    Str prompt;
    Str error;
    Str reply_text;
    Str choice_logprobs;
    Str choice_info;
    Str notes;
    AttemptState state;
    ErrCode error_code;
    StopReason stop;
    Usage usage;
    double seconds;
    double cost_usd;
    const ScoreItem *scores;
    size_t n_scores;
} AttemptItem;

/** One call or one closing, in a segment of the queue together with all its bytes. */
typedef struct StoreItem {
    size_t n_bytes; // of the whole item, a multiple of 16
    bool is_call;
    int64_t run_id;
    int64_t epoch;
    Str sample_id;
    uint64_t hash; // of run, epoch and sample id
    union {
        CallItem call;
        AttemptItem attempt;
    } as;
} StoreItem;

/** A block of items, written and read in order. */
typedef struct Segment {
    struct Segment *next;
    size_t cap_bytes;
    size_t used_bytes;
    _Alignas(16) char data[];
} Segment;

/** Many producers, one consumer; bounded by bytes. */
typedef struct StoreQueue {
    pthread_mutex_t mutex;
    pthread_cond_t work;  // the writer sleeps here
    pthread_cond_t space; // producers and flushers sleep here
    Segment *first;
    Segment *last;
    Segment *spare; // one kept for reuse
    size_t n_bytes; // waiting and being written
    size_t n_waiting_bytes;
    size_t n_attempts; // closings waiting
    uint64_t n_put;    // items ever put, and ever committed or given up
    uint64_t n_settled;
    int64_t oldest_ns; // when the oldest waiting item was put
    int n_urgent;      // callers waiting in flush or for space
    bool stop;
} StoreQueue;

bool store_queue_init(StoreQueue *queue);
void store_queue_finish(StoreQueue *queue);
/** Wait for something to commit and take all of it; NULL when stopped and empty. */
Segment *store_queue_take(StoreQueue *queue);
/** Count items as settled and wake who waits. */
void store_queue_settle(StoreQueue *queue, uint64_t n_items, size_t n_bytes);
void store_queue_recycle(StoreQueue *queue, Segment *segment);

// ---- Sets of hashes: what a resumed experiment has already --------------------------------------

/** Open addressing, 8 bytes an entry at a load of at most 3/4. Zeroed is empty. */
typedef struct HashSet {
    uint64_t *slots; // 0 is free
    size_t n_slots;  // power of two
    size_t n;
} HashSet;

void hash_set_add(HashSet *set, uint64_t hash);
bool hash_set_has(const HashSet *set, uint64_t hash);
void hash_set_finish(HashSet *set);
/** What identifies an attempt in memory. */
uint64_t attempt_hash(int64_t run_id, Str sample_id, int64_t epoch);

// ---- The store ----------------------------------------------------------------------------------

/** A run that is open for writing. */
typedef struct OpenRun {
    int64_t id;
    int64_t experiment_id;
    int64_t set_id;
    const int64_t *siblings; // ids of the runs that share its samples, itself first
    size_t n_siblings;
    int64_t epochs;
    bool resumed;
} OpenRun;

typedef struct OpenExperiment {
    int64_t id;
    char short_id[8];
    int lock_fd;
    struct OpenExperiment *next;
} OpenExperiment;

/** An attempt's items within one group, in order of arrival. */
typedef struct GroupEntry {
    const StoreItem *closing; // or NULL
    uint32_t first_item;      // index + 1 into the group's items, chained by next_item
    uint32_t last_item;
    Hash prompt_hash; // of the closing's
    Hash reply_hash;
} GroupEntry;

/** The writer's working memory, allocated once. */
typedef struct Group {
    const StoreItem *items[GROUP_MAX_ITEMS];
    uint32_t next_item[GROUP_MAX_ITEMS]; // index + 1
    GroupEntry entries[GROUP_MAX_ITEMS];
    uint16_t table[2 * GROUP_MAX_ITEMS]; // entry + 1 by hash
    size_t n_items;
    size_t n_entries;
    size_t n_closings;
} Group;

struct Store {
    Arena arena; // for the life of the store
    const char *path;
    StoreCommitted *on_committed;
    void *ctx;

    pthread_mutex_t db_mutex;
    Db db;
    StoreLock lock;
    int wal_pages; // after the last commit
    int checkpoint_at_pages;
    OpenRun *runs; // by id; under db_mutex
    size_t n_runs;
    OpenExperiment *experiments;

    pthread_mutex_t put_mutex; // scratch of the producers
    Arena put_arena;
    Buf put_buf;

    StoreQueue queue;
    pthread_t thread;
    bool thread_started;
    Group *group;

    Db reader; // for store_attempt_calls, opened when first needed
    bool reader_open;
    HashSet done; // before a resume, written only by store_experiment_begin
    HashSet open; // unfinished attempts that have calls, likewise

    atomic_bool failed;
    Err first_error; // written once, before failed is set
};

/** Statements of the writer's connection. */
typedef enum StoreSql {
#define X(name, sql) STORE_SQL_##name,
#include "results/store_sql.def"
#undef X
    STORE_SQL_COUNT
} StoreSql;

/**
 * Room for an item of n_bytes at the end of the queue; blocks while it is full. NULL after a
 * failure; else the queue is locked until store_queue_unlock_put. */
StoreItem *store_queue_lock_room(Store *store, size_t n_bytes);
void store_queue_unlock_put(Store *store, const StoreItem *item);

/** Take the store's lock and begin a transaction; db_mutex is held by the caller. */
bool store_begin(Store *store, Err *err);
/** Commit; after a failure everything is rolled back. Either way the lock is released. */
bool store_commit(Store *store, Err *err);
void store_rollback(Store *store);
/** Keep the first error; later ones are dropped. */
void store_fail(Store *store, const Err *err);

void *store_writer_main(void *store);
/** The open run of that id, or NULL. */
const OpenRun *store_run_find(const Store *store, int64_t run_id);

// ---- Rows of experiments, within a transaction --------------------------------------------------

/** Whether an experiment has this name, or this short id, as either. */
bool store_name_taken(Store *store, Str name, Str short_id, bool *out, Err *err);
/** Keep a value as a text that rows share. */
bool store_blob_put(Store *store, Arena *arena, const Value *value, Hash *out, Err *err);
bool store_event_put(Store *store, Arena *arena, int64_t experiment_id, Str kind,
                     const Value *detail, Err *err);
/** Insert run i of a spec, after those before it; ids has the rows of all so far. */
bool store_run_insert(Store *store, Arena *arena, int64_t experiment_id, const ExperimentSpec *spec,
                      size_t i, int64_t *ids, Err *err);

// ---- Specs --------------------------------------------------------------------------------------

/** One hash over everything that resume compares; the order of the runs does not matter. */
Hash spec_hash(const ExperimentSpec *spec);
/** Order by eval, part, variant and model, which name a run within its experiment. */
int spec_run_compare(const RunSpec *a, const RunSpec *b);
/** "mmlu/anatomy shout on local/x". */
Str spec_run_words(Arena *arena, const RunSpec *run);
/** "settings.seed: 1 -> 2; limit: absent -> 10": how two maps differ, as lines in out. */
typedef struct SpecDiff {
    Arena *arena;
    Str lines[64];
    int64_t n_runs[64]; // runs that differ in just this way; 0 for the experiment itself
    size_t n;
    size_t n_dropped; // lines past the array's end
} SpecDiff;

void spec_diff_values(SpecDiff *diff, Str prefix, bool of_run, const Value *old, const Value *new);
void spec_diff_runs(SpecDiff *diff, const RunSpec *old, size_t n_old, const RunSpec *new,
                    size_t n_new);
/** The first eight lines in one sentence. */
Str spec_diff_text(const SpecDiff *diff);

/** "calm-otter-42" from three random numbers, and six letters and digits. */
Str name_make(Arena *arena, Rng *rng);
Str short_id_make(Arena *arena, Rng *rng);
/** Refuse names that selectors could not tell apart from something else. */
bool name_check(Str name, Err *err);
/** The same for another thing: "a baseline". */
bool name_check_as(const char *what, Str name, Err *err);

// ---- Requests as stored -------------------------------------------------------------------------

/**
 * Take the prompt out of a request's map: *out_prompt is text, a list of messages, or null. Of
 * scoring items it is the first one's context; those that have the same lose it, others keep
 * theirs. */
Value request_split(Arena *arena, const Value *request, Value *out_prompt);
/** Put it back. */
Value request_join(Arena *arena, const Value *rest, const Value *prompt);
