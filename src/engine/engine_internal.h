// SPDX-License-Identifier: MIT
// What engine.c (requests in and out), driver.c (a device's thread), route.c (which device) and
// schedule.c (what to compute next) share.
#pragma once

#include "engine/trie.h"

typedef struct Job Job;

/** A sequence of a request that has to be in the tree: a prompt, or one leaf without its last
 * token. */
typedef struct Item {
    Job *job;
    uint32_t leaf;
    const int32_t *tokens; // the job's
    uint32_t n;
    TrieNode *node;   // where it ends; holds a reference. NULL: nothing of it is wanted
    uint32_t n_wants; // not computed yet
    bool started;
} Item;

/** Items that are not finished, in depth-first order; those that started are in front. */
typedef struct ItemList {
    Item **items;
    size_t first; // of those that are left
    size_t n;
    size_t cap;
} ItemList;

/** Prompts wait for a place to decode, scored texts never do: each can pass the other. */
typedef enum ListKind { LIST_REPLIES, LIST_SCORES, LIST_COUNT } ListKind;

/** What a walk in order needs to compute nothing twice; the most of each since there was no work.
 */
typedef struct Need {
    uint64_t longest; // path
    uint64_t own;     // tokens that only one prompt has
    uint64_t reserve; // of a reply
    uint64_t replies; // that have not ended
} Need;

/** Turns of which each goes on from the one before: its prompt begins with that prompt, and most
 * often with what was replied. A prompt that stands alone is a dialogue of one turn. */
typedef struct Dialogue {
    struct Dialogue *older; // by when they began
    struct Dialogue *newer;
    uint64_t number;
    uint64_t first;      // positions of the first turn: the prompt and what a reply can come to
    uint64_t first_own;  // of these: what nothing else needs
    uint64_t grown;      // how far turns that began went beyond that
    uint64_t rest_up_to; // slots kept for this and all older ones (dialogues_sum)
    Job *waiting;        // the turn that has no slots yet
    // Of a turn that ended, until it is known what follows; both are held:
    TrieNode *prompt;        // where its prompt ends; NULL while a turn waits or runs
    TrieNode *reply;         // where its reply ends; NULL: it had none, or several
    uint64_t turn_ended;     // the schedule's n_finished with it
    struct Dialogue *beside; // another whose prompt was the same
} Dialogue;

/** All that began and may go on, and what is known of those that ended. */
typedef struct Dialogues {
    Dialogue *oldest;
    Dialogue *newest;
    uint64_t n_begun;
    uint64_t n_ended;
    uint64_t grown; // sum over those that ended
    uint64_t most;  // that one came to, of late
    uint64_t rest;  // slots kept for all, when the step began and for those begun since
    uint64_t taken; // of these, since
} Dialogues;

/** One reply being generated. */
typedef struct Sequence {
    Job *job;
    uint32_t reply;
    ExtentList path;     // slots of the prompt once it runs, then those reserved for the reply
    uint32_t n_prompt;   // of path; 0 before it runs
    EngineToken *tokens; // picked so far
    uint32_t n_tokens;
    uint32_t cap_tokens;
    Buf text;
    EngineStop stop;
    bool started; // its first token is picked
    bool done;
    uint32_t pick;     // among the current step's; UINT32_MAX none
    uint64_t ran_step; // the last step that it had a row in
} Sequence;

/** A request on its way. One block of memory holds the request's own arrays. */
struct Job {
    QueueNode node; // first: inbox
    uint64_t id;
    EngineRequest request; // deep copy
    Arena arena;
    Item *items; // 1, or one per leaf
    uint32_t n_items;
    uint32_t n_left;     // items and sequences that are not finished
    Sequence *sequences; // generation: n_replies
    float **logprobs;    // scoring: per leaf, per scored token
    uint32_t *misses;    // scoring: per leaf, tokens that were not the most likely
    uint64_t n_cached;
    int64_t submitted_ns;
    Dialogue *dialogue; // generation: that it is a turn of; NULL: it stands alone and has not begun
    bool admitted;      // generation: slots for its first reply are reserved, and a place to run
    // route.c, where there are several devices:
    uint32_t device; // that computes it
    uint64_t weight; // of it, in what that has to do
    uint64_t prompt_hash;
    const Item *longest; // of items, stands for all
    Err *err;            // owned; NULL unless the request failed (an Err is large, jobs are many)
};

/** A log-probability asked for in the current step. */
typedef struct TargetRef {
    Job *job;
    uint32_t leaf;
    uint32_t index;
    int32_t target;
} TargetRef;

/** A token to pick in the current step. */
typedef struct PickRef {
    Sequence *sequence;
    uint32_t row; // of the batch
} PickRef;

/** What was picked. */
typedef struct Picked {
    int32_t id;
    float logprob;
    int32_t *top_ids; // the request's top_logprobs of them; the job's
    float *top_logprobs;
} Picked;

/** What one step computes. Arrays grow and are kept between steps. */
typedef struct StepPlan {
    BatchRow *rows;
    uint32_t n_rows, cap_rows;
    BatchSpan *spans;
    uint32_t n_spans, cap_spans;
    TargetRef *refs;
    uint32_t n_refs, cap_refs;
    int32_t *targets; // parallel to refs
    uint32_t cap_targets;
    PickRef *picks; // in order of their rows
    uint32_t n_picks, cap_picks;
    KPick *asks;    // parallel to picks
    Picked *picked; // the same
    uint32_t cap_asks;
    Job **starts; // whose replies pick their first token
    uint32_t n_starts, cap_starts;
    uint32_t n_prefill;
    bool ahead;  // the item at hand is not the first in order
    Arena arena; // extents of spans
} StepPlan;

typedef struct Schedule {
    Forward *forward;
    const Tokenizer *tokenizer;
    Slots slots;
    Trie trie;
    ItemList lists[LIST_COUNT];
    Item *main; // started in order, not finished: all that goes before it in either list is done
    bool alone; // nothing else may take slots until main is done
    Need need;
    Sequence **running; // those that waited longest first
    size_t n_running, cap_running;
    Sequence **parked; // first token picked, no slots or no place to run yet; oldest first
    size_t n_parked, cap_parked;
    size_t n_admitted; // jobs that are admitted and have not started
    Dialogues dialogues;
    uint64_t n_finished; // jobs
    uint64_t n_heard;    // of these
    bool waits; // nothing can run before it is known what follows on the replies that ended
    StepPlan plan;
    TargetLogprob *logprobs; // as many as plan.targets
    uint64_t step;
    uint64_t pool_limit_slots; // of the pool, once it is made
    bool pool_given;           // that limit was asked for
    uint32_t max_batch;
    uint32_t max_rows;
    uint32_t max_piece;
    TrieNode **path; // scratch of the walk
    uint32_t n_path, cap_path;
    uint64_t new_tokens_left; // that the replies of jobs which have not ended can come to
    int64_t first_ns;         // when the first requests were in; 0: not yet
    EngineStats stats;        // the driver's own copy
    bool lost;                // the device failed: nothing runs on it any more
    void (*finish)(void *ctx, Job *job); // a job ended: report and free it
    void *ctx;
} Schedule;

bool schedule_init(Schedule *schedule, Forward *forward, const Tokenizer *tokenizer,
                   const EngineOptions *options, Err *err);
void schedule_finish(Schedule *schedule);
/** Put jobs into the plan; what can never fit the pool fails at once. */
void schedule_add(Schedule *schedule, Job **jobs, size_t n);
/** Whether there is anything to compute. */
bool schedule_has_work(const Schedule *schedule);
/** Compute one batch and take in what it gave. A failing forward pass fails every job. */
void schedule_step(Schedule *schedule);
/** All requests are in that follow on the first n_finished jobs: what these left may go. Until then
 * it is kept, since a conversation goes on a moment after its reply. */
void schedule_heard(Schedule *schedule, uint64_t n_finished);
/** Give up the jobs with these ids, which it sorts (all jobs when ids is NULL); they finish with
 * err. */
void schedule_cancel(Schedule *schedule, uint64_t *ids, size_t n_ids, const Err *err);

/** Grow an array by one when it is full. */
#define GROW(array, n, cap)                                                                        \
    do {                                                                                           \
        if ((n) == (cap)) {                                                                        \
            (cap) = (cap) == 0 ? 64 : (cap)*2;                                                     \
            (array) = mem_realloc((array), (cap), sizeof(*(array)));                               \
        }                                                                                          \
    } while (0)

// ---- pool.c: how many slots there are ---------------------------------------------------------

/** Find the most slots there shall be.
 * fails  ERR_LIMIT where that is too little for anything. */
bool schedule_pool_plan(Schedule *schedule, uint64_t kv_bytes, Err *err);
/**
 * Make the pool, once. The host's memory of slots that are never used is never taken; of a device's
 * own memory it takes what the first jobs can need, or what there is.
 * fails  ERR_LIMIT where there is too little for anything. */
bool schedule_pool_create(Schedule *schedule, Job *const *jobs, size_t n, Err *err);

// ---- order.c: the depth-first walk ------------------------------------------------------------

/** Sort items by their tokens, a prefix first, then by job. out_lcp: tokens shared with the item
 * before; 0 for the first. Time is linear in the tokens, but for the sorting of what parts them. */
void items_sort(Item **items, size_t n, uint32_t *out_lcp);
/** Turns of dialogues first, the oldest before the others; the rest by their tokens. */
bool item_goes_before(const Item *a, const Item *b);
/** Put sorted items between those that wait, behind those that started. */
void list_merge(ItemList *list, Item *const *fresh, size_t n);
void list_push_front(ItemList *list, Item *item);
void list_drop_front(ItemList *list, size_t n);
/** NULL when nothing waits. */
static inline Item *list_head(const ItemList *list)
{
    return list->n > 0 ? list->items[list->first] : NULL;
}

// ---- dialogue.c: how many prompts may be under way ---------------------------------------------

/** Find what every dialogue can take yet, once before a step's turns. */
void dialogues_sum(Schedule *schedule);
/** Whether a turn may begin: all that began before, and it, can come to their ends. */
bool dialogue_may_turn(const Schedule *schedule, const Item *item);
/** A turn begins, which has its reply's slots; a dialogue too, if the job stands alone. */
void dialogue_turn(Schedule *schedule, Job *job);
/** A job is over, however it ended. Its item is released. */
void dialogue_turn_ended(Schedule *schedule, Job *job);
/** A job is in the tree: a turn of the dialogue that its prompt goes on from, if there is one. */
void dialogue_follow(Schedule *schedule, Job *job);
/** Nothing more follows on the first n_finished jobs: their dialogues are over. */
void dialogues_heard(Schedule *schedule, uint64_t n_finished);
void dialogues_finish(Dialogues *dialogues);

// ---- schedule_plan.c: what goes into a step ---------------------------------------------------

/** Slots that one reply of a job can come to hold: its last token is never computed. 0: scoring. */
uint32_t job_reserve(const Job *job);
/** Slots that an item has still to take, with those of its first reply, before that runs. */
uint64_t item_need(const Item *item);
/** Reserve the slots of a reply; false when the pool can not give them now. */
bool sequence_reserve(Schedule *schedule, Sequence *sequence);
/** Slots with which a walk in order computes nothing twice. */
uint64_t need_slots(const Schedule *schedule);
/** The item that comes first in order; NULL when none waits. */
Item *main_item(const Schedule *schedule);
void plan_clear(StepPlan *plan);
/** The next token of every running reply, oldest first, as far as rows go. */
void plan_decode(Schedule *schedule);
/** Take items in order until the step is full, then what can pass a prompt that has to wait. The
 * first out_done[kind] of each list are wholly in the step. */
void plan_prefill(Schedule *schedule, size_t out_done[LIST_COUNT]);
/** The slots of positions 0 .. n-1 on the path that ends in node. */
void path_extents(const TrieNode *node, uint32_t n, ExtentList *out);

// ---- What schedule.c, schedule_add.c and route.c share ----------------------------------------

/** Whether nothing of an item is asked for: a text without a scored token. */
bool item_is_empty(const Item *item);
/** Ask for the row of logits that a prompt ends in. */
void item_want_start(Item *item);
/** Tokens that the replies of a job can come to. */
uint64_t job_new_tokens(const Job *job);
/** Keep a job's first failure; false when it has one already. */
bool job_fail(Job *job, const Err *err);
/** Say that a job's item can not fit the pool. */
void err_too_large(const Schedule *schedule, const Item *item, Err *err);
/** A job is over: report it. */
void job_report(Schedule *schedule, Job *job);
/** The same, of one that was planned. */
void job_finish(Schedule *schedule, Job *job);
