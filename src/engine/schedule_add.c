// SPDX-License-Identifier: MIT
// Taking requests in: sort them, put them into the tree, note what is wanted where, and count what
// the plan comes to. Driver thread only.
#include "engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

void item_want_start(Item *item)
{
    TrieNode *node = item->node;
    trie_want(
        node,
        &(TrieWant){.offset = item->n - 1 - node->first_pos, .logits = true, .request = item->job});
    item->n_wants = 1;
}

/** Ask for the log-probabilities of a text's tokens. */
static void item_want_scores(Item *item, const EngineLeaf *leaf)
{
    TrieNode *node = item->node;
    for (size_t i = leaf->n_tokens; i-- > leaf->n_context;) {
        uint32_t pos = (uint32_t)i - 1;
        node = trie_at(node, pos);
        trie_want(node, &(TrieWant){.offset = pos - node->first_pos,
                                    .target = leaf->tokens[i],
                                    .leaf = item->leaf,
                                    .index = (uint32_t)(i - leaf->n_context),
                                    .request = item->job});
        item->n_wants++;
    }
}

static void job_prepare_replies(Job *job)
{
    for (int64_t i = 0; i < job->request.n_replies; i++) {
        job->sequences[i] = (Sequence){.job = job, .reply = (uint32_t)i, .pick = UINT32_MAX};
    }
}

bool item_is_empty(const Item *item)
{
    const EngineRequest *request = &item->job->request;
    return request->n_leaves > 0 &&
           request->leaves[item->leaf].n_tokens == request->leaves[item->leaf].n_context;
}

/** Put sorted items into the tree, each from where the one before it ends. */
static void items_insert(Schedule *schedule, Item *const *items, size_t n, const uint32_t *lcp)
{
    TrieNode *near = NULL;
    uint32_t n_same = 0;
    for (size_t i = 0; i < n; i++) {
        Item *item = items[i];
        n_same = lcp[i] < n_same ? lcp[i] : n_same;
        if (item_is_empty(item)) {
            continue; // near stays; what the next shares with it is the least of both
        }
        item->node =
            trie_insert(&schedule->trie, near, near == NULL ? 0 : n_same, item->tokens, item->n);
        near = item->node;
        n_same = UINT32_MAX;
        schedule->stats.prefill_tokens_total += item->n;
        if (item->job->request.n_leaves > 0) {
            item_want_scores(item, &item->job->request.leaves[item->leaf]);
        } else {
            item_want_start(item);
            dialogue_follow(schedule, item->job);
        }
    }
}

static void most(uint64_t *value, uint64_t other)
{
    *value = other > *value ? other : *value;
}

/** Raise what a walk in order can need by new sorted items. */
static void need_raise(Schedule *schedule, Item *const *items, size_t n, const uint32_t *lcp)
{
    Need *need = &schedule->need;
    if (!schedule_has_work(schedule)) {
        *need = (Need){0};
    }
    for (size_t i = 0; i < n; i++) {
        const Job *job = items[i]->job;
        most(&need->longest, items[i]->n);
        if (job->request.n_leaves == 0) {
            uint32_t next = i + 1 < n ? lcp[i + 1] : 0;
            most(&need->own, items[i]->n - (lcp[i] > next ? lcp[i] : next));
            most(&need->reserve, job_reserve(job));
            need->replies += (uint64_t)job->request.n_replies;
        }
    }
}

/** What the first requests come to. */
static void plan_count(Schedule *schedule, Job *const *jobs, size_t n)
{
    EnginePlan *plan = &schedule->stats.plan;
    const Need *need = &schedule->need;
    size_t slot_bytes = forward_slot_bytes(schedule->forward);
    plan->requests = n;
    plan->tokens = schedule->stats.prefill_tokens_total;
    plan->distinct = schedule->trie.n_tokens_inserted;
    for (size_t i = 0; i < n; i++) {
        const Job *job = jobs[i];
        if (job->request.n_leaves == 0) {
            plan->replies += (uint64_t)job->request.n_replies;
            plan->new_tokens += job_new_tokens(job);
        }
    }
    uint64_t at_once = plan->replies < schedule->max_batch ? plan->replies : schedule->max_batch;
    plan->kv_bytes = need_slots(schedule) * slot_bytes;
    plan->kv_bytes_all = (plan->distinct + at_once * need->reserve) * slot_bytes;
}

/** Fail what can never fit the pool; returns how many jobs are left. */
static size_t jobs_refuse(Schedule *schedule, Job **jobs, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        Job *job = jobs[i];
        const Item *large = NULL;
        for (uint32_t k = 0; k < job->n_items && large == NULL; k++) {
            const Item *item = &job->items[k];
            uint64_t slots = (uint64_t)item->n + job_reserve(job);
            large = slots > schedule->slots.n_slots && !item_is_empty(item) ? item : NULL;
        }
        if (large == NULL) {
            jobs[kept++] = job;
            continue;
        }
        Err err = ERR_INIT;
        err_too_large(schedule, large, &err);
        job_fail(job, &err);
        job_report(schedule, job);
    }
    return kept;
}

/** All items of jobs, in any order; the caller frees them. */
static Item **jobs_items(Schedule *schedule, Job *const *jobs, size_t n, size_t *out_n)
{
    size_t n_items = 0;
    for (size_t i = 0; i < n; i++) {
        n_items += jobs[i]->n_items;
    }
    Item **items = mem_alloc(n_items + 1, sizeof(*items));
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        schedule->new_tokens_left += job_new_tokens(jobs[i]);
        if (jobs[i]->request.n_leaves == 0) {
            job_prepare_replies(jobs[i]);
        }
        for (uint32_t k = 0; k < jobs[i]->n_items; k++) {
            items[at++] = &jobs[i]->items[k];
        }
    }
    *out_n = n_items;
    return items;
}

static int compare_dialogues(const void *a, const void *b)
{
    const Item *x = *(Item *const *)a;
    const Item *y = *(Item *const *)b;
    return item_goes_before(x, y) ? -1 : 1; // no two have the same
}

/** Queue sorted items, each kind for itself; the order of items is not kept. */
static void items_queue(Schedule *schedule, Item **items, size_t n)
{
    Item **scores = mem_alloc(n + 1, sizeof(*scores));
    Item **turns = mem_alloc(n + 1, sizeof(*turns));
    size_t n_replies = 0;
    size_t n_scores = 0;
    size_t n_turns = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i]->job->request.n_leaves > 0) {
            scores[n_scores++] = items[i];
        } else if (items[i]->job->dialogue != NULL) {
            turns[n_turns++] = items[i];
        } else {
            items[n_replies++] = items[i];
        }
    }
    qsort(turns, n_turns, sizeof(*turns), compare_dialogues);
    list_merge(&schedule->lists[LIST_REPLIES], turns, n_turns);
    list_merge(&schedule->lists[LIST_REPLIES], items, n_replies);
    list_merge(&schedule->lists[LIST_SCORES], scores, n_scores);
    mem_free(turns);
    mem_free(scores);
}

void schedule_add(Schedule *schedule, Job **jobs, size_t n)
{
    int64_t from_ns = clock_ns();
    Err err = ERR_INIT;
    bool ok = schedule->slots.n_slots > 0 || schedule_pool_create(schedule, jobs, n, &err);
    n = ok ? jobs_refuse(schedule, jobs, n) : n;
    size_t n_items;
    Item **items = jobs_items(schedule, jobs, n, &n_items);
    uint32_t *lcp = mem_alloc(n_items + 1, sizeof(*lcp));
    items_sort(items, n_items, lcp);
    need_raise(schedule, items, n_items, lcp);
    items_insert(schedule, items, n_items, lcp);
    items_queue(schedule, items, n_items);
    mem_free(lcp);
    mem_free(items);
    schedule->stats.prefill_tokens_needed = schedule->trie.n_tokens_inserted;
    if (schedule->stats.plan.requests == 0 && n > 0) {
        schedule->first_ns = from_ns;
        plan_count(schedule, jobs, n);
        schedule->stats.plan.seconds = (double)(clock_ns() - from_ns) * 1e-9;
    }
    schedule->stats.plan_seconds += (double)(clock_ns() - from_ns) * 1e-9;
    schedule->stats.seconds_left = -1;
    schedule->waits = false;
    if (!ok) {
        schedule->lost = true;
        schedule_cancel(schedule, NULL, 0, &err);
    }
}
