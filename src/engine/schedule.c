// SPDX-License-Identifier: MIT
// What to compute next. The request set is sorted, so the items are the depth-first walk of the
// tree; a step is the replies' next tokens and as much of that walk as fits. A span may share a
// step with the span it hangs on, so every distinct prefix token is computed once (DESIGN.md 4.4).
// Driver thread only.
#include "engine/engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_DEFAULT      64
#define POOL_DEFAULT_BYTES ((uint64_t)2 << 30)

// ---- Set-up -----------------------------------------------------------------------------------

/** Bytes of memory that can be had without swapping; 0 when the system does not say. */
static uint64_t memory_available(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f != NULL && kib == 0 && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1) {
            kib = 0;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return (uint64_t)kib * 1024;
}

bool schedule_init(Schedule *schedule, Forward *forward, const Tokenizer *tokenizer,
                   const EngineOptions *options, Err *err)
{
    uint64_t bytes = options->kv_bytes;
    if (bytes == 0) {
        uint64_t half = memory_available() / 2;
        bytes = half > 0 && half < POOL_DEFAULT_BYTES ? half : POOL_DEFAULT_BYTES;
    }
    *schedule = (Schedule){
        .forward = forward,
        .tokenizer = tokenizer,
        .pool_limit_slots = bytes / forward_slot_bytes(forward),
        .max_batch = options->max_batch > 0 && options->max_batch < ENGINE_LOGITS_ROWS
                         ? (uint32_t)options->max_batch
                         : BATCH_DEFAULT,
        .max_rows = forward_max_rows(forward),
        .max_piece = forward_max_rows(forward),
        .vocab = (uint32_t)forward_info(forward)->vocab,
    };
    if (options->max_rows > 0 && options->max_rows < schedule->max_rows) {
        schedule->max_rows = (uint32_t)options->max_rows;
    }
    if (options->max_piece > 0 && options->max_piece < schedule->max_piece) {
        schedule->max_piece = (uint32_t)options->max_piece;
    }
    if (schedule->pool_limit_slots > INT32_MAX) {
        schedule->pool_limit_slots = INT32_MAX;
    }
    if (schedule->pool_limit_slots < 64) {
        return ERR_SET(err, ERR_LIMIT, "KV memory of %llu bytes holds only %llu tokens",
                       (unsigned long long)bytes, (unsigned long long)schedule->pool_limit_slots);
    }
    schedule->logits = mem_alloc((size_t)ENGINE_LOGITS_ROWS * schedule->vocab, sizeof(float));
    trie_init(&schedule->trie, &schedule->slots);
    return true;
}

void schedule_finish(Schedule *schedule)
{
    if (schedule->trie.root != NULL) {
        trie_finish(&schedule->trie);
    }
    slots_finish(&schedule->slots);
    mem_free(schedule->items);
    mem_free(schedule->running);
    mem_free(schedule->parked);
    mem_free(schedule->plan.rows);
    mem_free(schedule->plan.spans);
    mem_free(schedule->plan.refs);
    mem_free(schedule->plan.targets);
    mem_free(schedule->plan.starts);
    arena_finish(&schedule->plan.arena);
    mem_free(schedule->logits);
    mem_free(schedule->logprobs);
    picker_scratch_finish(&schedule->scratch);
}

bool schedule_has_work(const Schedule *schedule)
{
    return schedule->n_items > 0 || schedule->n_running > 0 || schedule->n_parked > 0;
}

// ---- Planning ---------------------------------------------------------------------------------

static int compare_items(const void *a, const void *b)
{
    const Item *x = *(Item *const *)a;
    const Item *y = *(Item *const *)b;
    uint32_t n = x->n < y->n ? x->n : y->n;
    for (uint32_t i = 0; i < n; i++) {
        if (x->tokens[i] != y->tokens[i]) {
            return x->tokens[i] < y->tokens[i] ? -1 : 1;
        }
    }
    if (x->n != y->n) {
        return x->n < y->n ? -1 : 1;
    }
    return x->job->id < y->job->id ? -1 : x->job->id > y->job->id;
}

/** Ask for the row of logits that a prompt ends in. */
static void item_want_start(Item *item)
{
    TrieNode *node = item->node;
    trie_want(
        node,
        &(TrieWant){.offset = item->n - 1 - node->first_pos, .logits = true, .request = item->job});
    item->n_wants = 1;
}

static void item_insert(Schedule *schedule, Item *item)
{
    Job *job = item->job;
    const EngineLeaf *leaf = job->request.n_leaves == 0 ? NULL : &job->request.leaves[item->leaf];
    if (leaf != NULL && leaf->n_tokens == leaf->n_context) { // nothing of it is scored
        return;
    }
    item->node = trie_insert(&schedule->trie, item->tokens, item->n);
    schedule->stats.prefill_tokens_total += item->n;
    if (leaf == NULL) {
        for (int64_t i = 0; i < job->request.n_replies; i++) {
            job->sequences[i] = (Sequence){.job = job, .reply = (uint32_t)i, .row = UINT32_MAX};
        }
        item_want_start(item);
        return;
    }
    TrieNode *node = item->node;
    for (size_t i = leaf->n_tokens; i-- > leaf->n_context;) {
        uint32_t pos = (uint32_t)i - 1;
        node = trie_at(node, pos);
        trie_want(node, &(TrieWant){.offset = pos - node->first_pos,
                                    .target = leaf->tokens[i],
                                    .leaf = item->leaf,
                                    .index = (uint32_t)(i - leaf->n_context),
                                    .request = job});
        item->n_wants++;
    }
}

/** Put sorted new items between the ones that wait. Those that already started stay in front. */
static void items_merge(Schedule *schedule, Item **fresh, size_t n)
{
    size_t total = schedule->n_items + n;
    Item **merged = mem_alloc(total, sizeof(*merged));
    size_t a = 0;
    size_t b = 0;
    for (size_t i = 0; i < total; i++) {
        bool old = b == n ||
                   (a < schedule->n_items && (schedule->items[a]->started ||
                                              compare_items(&schedule->items[a], &fresh[b]) <= 0));
        merged[i] = old ? schedule->items[a++] : fresh[b++];
    }
    mem_free(schedule->items);
    schedule->items = merged;
    schedule->n_items = total;
    schedule->cap_items = total;
}

/** What the first requests come to. */
static void plan_count(Schedule *schedule, Job *const *jobs, size_t n)
{
    EnginePlan *plan = &schedule->stats.plan;
    size_t slot_bytes = forward_slot_bytes(schedule->forward);
    uint64_t longest = 0;
    uint64_t most_reserve = 0;
    plan->requests = n;
    plan->tokens = schedule->stats.prefill_tokens_total;
    plan->distinct = schedule->trie.n_tokens_inserted;
    for (size_t i = 0; i < n; i++) {
        const Job *job = jobs[i];
        for (uint32_t k = 0; k < job->n_items; k++) {
            longest = job->items[k].n > longest ? job->items[k].n : longest;
        }
        if (job->request.n_leaves == 0) {
            uint64_t reserve = job_reserve(job);
            most_reserve = reserve > most_reserve ? reserve : most_reserve;
            plan->replies += (uint64_t)job->request.n_replies;
            plan->new_tokens += (reserve + 1) * (uint64_t)job->request.n_replies;
        }
    }
    uint64_t at_once = plan->replies < schedule->max_batch ? plan->replies : schedule->max_batch;
    plan->kv_bytes = (longest + at_once * most_reserve) * slot_bytes;
    plan->kv_bytes_all = (plan->distinct + at_once * most_reserve) * slot_bytes;
}

/** The pool that the waiting items would like: all of it computed once, and the replies' reserve.
 */
static uint64_t pool_wish(const Schedule *schedule)
{
    uint64_t distinct = 0;
    uint64_t most_reserve = 0;
    uint64_t replies = 0;
    const Item *before = NULL;
    for (size_t i = 0; i < schedule->n_items; i++) {
        const Item *item = schedule->items[i];
        uint32_t same = 0;
        while (before != NULL && same < before->n && same < item->n &&
               before->tokens[same] == item->tokens[same]) {
            same++;
        }
        distinct += item->n - same;
        before = item;
        uint64_t reserve = job_reserve(item->job);
        replies += reserve > 0 ? (uint64_t)item->job->request.n_replies : 0;
        most_reserve = reserve > most_reserve ? reserve : most_reserve;
    }
    uint64_t at_once = replies < schedule->max_batch ? replies : schedule->max_batch;
    return distinct + at_once * most_reserve + 64;
}

// ---- Ending jobs ------------------------------------------------------------------------------

static void item_release(Schedule *schedule, Item *item)
{
    if (item->node != NULL) {
        trie_release(&schedule->trie, item->node);
        item->node = NULL;
    }
}

static void sequence_release(Schedule *schedule, Sequence *sequence)
{
    ExtentList own = {0};
    extents_cut(&sequence->path, sequence->n_prompt, &own);
    uint32_t n_computed = sequence->n_tokens > 0 ? sequence->n_tokens - 1 : 0;
    int32_t *ids = mem_alloc(n_computed + 1, sizeof(*ids));
    for (uint32_t i = 0; i < n_computed; i++) {
        ids[i] = sequence->tokens[i].id;
    }
    trie_adopt(&schedule->trie, sequence->job->items[0].node, ids, n_computed, &own,
               schedule->step);
    mem_free(ids);
    extents_finish(&sequence->path);
}

/** Tokens that the replies of a job can come to. */
static uint64_t job_new_tokens(const Job *job)
{
    const EngineRequest *request = &job->request;
    return request->n_leaves > 0 ? 0 : (uint64_t)request->max_tokens * (uint64_t)request->n_replies;
}

static void job_finish(Schedule *schedule, Job *job)
{
    schedule->new_tokens_left -= job_new_tokens(job);
    if (job->request.n_leaves == 0) {
        item_release(schedule, &job->items[0]);
    }
    schedule->finish(schedule->ctx, job);
}

static void job_item_done(Schedule *schedule, Job *job)
{
    if (--job->n_left == 0) {
        job_finish(schedule, job);
    }
}

static void sequence_unreserve(Schedule *schedule, Sequence *sequence)
{
    slots_give(&schedule->slots, sequence->path.items, sequence->path.n);
    extents_finish(&sequence->path);
}

/** Take back the place of a job that has not started. */
static void job_unadmit(Schedule *schedule, Job *job)
{
    for (int64_t i = 0; job->admitted && i < job->request.n_replies; i++) {
        if (!job->sequences[i].started) {
            sequence_unreserve(schedule, &job->sequences[i]);
        }
    }
    schedule->n_admitted -= job->admitted ? 1 : 0;
    job->admitted = false;
}

/** Keep a job's first failure; false when it has one already. */
static bool job_fail(Job *job, const Err *err)
{
    if (job->err != NULL) {
        return false;
    }
    job->err = mem_alloc(1, sizeof(*err));
    *job->err = *err;
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool cancel_matches(const Job *job, const uint64_t *ids, size_t n)
{
    return ids == NULL || bsearch(&job->id, ids, n, sizeof(*ids), compare_ids) != NULL;
}

/** Release the sequences of a list whose jobs are given up; returns how many stay. */
static size_t cancel_sequences(Schedule *schedule, Sequence **list, size_t n, const uint64_t *ids,
                               size_t n_ids, const Err *err, Job **hit, size_t *n_hit)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        Sequence *sequence = list[i];
        if (!cancel_matches(sequence->job, ids, n_ids)) {
            list[kept++] = sequence;
            continue;
        }
        sequence_release(schedule, sequence);
        if (job_fail(sequence->job, err)) {
            hit[(*n_hit)++] = sequence->job;
        }
    }
    return kept;
}

void schedule_cancel(Schedule *schedule, uint64_t *ids, size_t n_ids, const Err *err)
{
    if (n_ids > 1) { // one pass for all: a run that is stopped gives up a hundred thousand at once
        qsort(ids, n_ids, sizeof(*ids), compare_ids);
    }
    Job **hit =
        mem_alloc(schedule->n_items + schedule->n_running + schedule->n_parked + 1, sizeof(Job *));
    size_t n_hit = 0;
    schedule->n_running = cancel_sequences(schedule, schedule->running, schedule->n_running, ids,
                                           n_ids, err, hit, &n_hit);
    schedule->n_parked = cancel_sequences(schedule, schedule->parked, schedule->n_parked, ids,
                                          n_ids, err, hit, &n_hit);
    size_t kept = 0;
    for (size_t i = 0; i < schedule->n_items; i++) {
        Item *item = schedule->items[i];
        if (!cancel_matches(item->job, ids, n_ids)) {
            schedule->items[kept++] = item;
            continue;
        }
        trie_unwant(item->node, item->job);
        if (job_fail(item->job, err)) {
            hit[n_hit++] = item->job;
        }
        if (item->job->request.n_leaves > 0) {
            item_release(schedule, item);
        } else {
            job_unadmit(schedule, item->job);
        }
    }
    schedule->n_items = kept;
    for (size_t i = 0; i < n_hit; i++) {
        job_finish(schedule, hit[i]);
    }
    mem_free(hit);
}

// ---- Taking requests in -----------------------------------------------------------------------

/** Make the pool fit the plan; only while nothing is being generated, since it keeps nothing. */
static bool pool_ensure(Schedule *schedule, Err *err)
{
    uint64_t wish = pool_wish(schedule);
    wish = wish > schedule->pool_limit_slots ? schedule->pool_limit_slots : wish;
    if (schedule->n_running + schedule->n_parked > 0 || wish <= schedule->slots.n_slots) {
        return true;
    }
    if (wish < schedule->slots.n_slots + schedule->slots.n_slots / 2) {
        wish = schedule->slots.n_slots +
               schedule->slots.n_slots / 2; // not again for a few tokens more
        wish = wish > schedule->pool_limit_slots ? schedule->pool_limit_slots : wish;
    }
    for (size_t i = 0; i < schedule->n_items; i++) {
        job_unadmit(schedule, schedule->items[i]->job);
    }
    trie_forget(&schedule->trie);
    slots_finish(&schedule->slots);
    slots_init(&schedule->slots, (uint32_t)wish);
    return forward_pool_create(schedule->forward, (uint32_t)wish, err);
}

void schedule_add(Schedule *schedule, Job **jobs, size_t n)
{
    int64_t from_ns = clock_ns();
    size_t n_items = 0;
    for (size_t i = 0; i < n; i++) {
        n_items += jobs[i]->n_items;
        schedule->new_tokens_left += job_new_tokens(jobs[i]);
    }
    Item **fresh = mem_alloc(n_items + 1, sizeof(*fresh));
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < jobs[i]->n_items; k++) {
            fresh[at++] = &jobs[i]->items[k];
        }
    }
    qsort(fresh, n_items, sizeof(*fresh), compare_items);
    for (size_t i = 0; i < n_items; i++) {
        item_insert(schedule, fresh[i]);
    }
    items_merge(schedule, fresh, n_items);
    mem_free(fresh);
    schedule->stats.prefill_tokens_needed = schedule->trie.n_tokens_inserted;
    if (schedule->stats.plan.requests == 0) {
        schedule->first_ns = from_ns;
        plan_count(schedule, jobs, n);
        schedule->stats.plan.seconds = (double)(clock_ns() - from_ns) * 1e-9;
    }
    schedule->stats.plan_seconds += (double)(clock_ns() - from_ns) * 1e-9;
    schedule->stats.seconds_left = -1;
    Err err = ERR_INIT;
    if (!pool_ensure(schedule, &err)) {
        schedule_cancel(schedule, NULL, 0, &err);
    }
}

// ---- Taking in what a step gave ---------------------------------------------------------------

/** Cut the text at the first stop string that its tail completes. */
static bool stop_found(Sequence *sequence, size_t n_new)
{
    const EngineRequest *request = &sequence->job->request;
    Str text = buf_view(&sequence->text);
    size_t first = STR_NONE;
    for (size_t i = 0; i < request->n_stop; i++) {
        Str stop = request->stop[i];
        if (stop.len == 0) {
            continue;
        }
        size_t back = n_new + stop.len - 1;
        size_t at = str_find(text, stop, text.len > back ? text.len - back : 0);
        first = at < first ? at : first;
    }
    if (first != STR_NONE) {
        sequence->text.len = first;
    }
    return first != STR_NONE;
}

static void sequence_pick(Schedule *schedule, Sequence *sequence, const float *logits)
{
    const EngineRequest *request = &sequence->job->request;
    int32_t id = picker_pick(&request->picker, logits, schedule->vocab, sequence->reply,
                             sequence->n_tokens, &schedule->scratch);
    GROW(sequence->tokens, sequence->n_tokens, sequence->cap_tokens);
    EngineToken *token = &sequence->tokens[sequence->n_tokens++];
    *token = (EngineToken){.id = id, .logprob = NAN};
    if (request->top_logprobs > 0) {
        size_t n = (size_t)request->top_logprobs;
        int32_t *ids = ARENA_ARRAY(&sequence->job->arena, int32_t, n);
        float *values = ARENA_ARRAY(&sequence->job->arena, float, n);
        token->logprob = picker_top(logits, schedule->vocab, id, n, ids, values);
        token->top_ids = ids;
        token->top_logprobs = values;
    }
    if (tokenizer_is_end(schedule->tokenizer, id)) {
        sequence->stop = ENGINE_STOP_END;
        sequence->done = true;
        return;
    }
    size_t before = sequence->text.len;
    tokenizer_decode(schedule->tokenizer, &id, 1, false, &sequence->text);
    if (stop_found(sequence, sequence->text.len - before)) {
        sequence->stop = ENGINE_STOP_END;
        sequence->done = true;
    } else if (sequence->n_tokens >= (uint64_t)request->max_tokens) {
        sequence->stop = ENGINE_STOP_LENGTH;
        sequence->done = true;
    }
}

static void sequence_done(Schedule *schedule, Sequence *sequence)
{
    sequence_release(schedule, sequence);
    job_item_done(schedule, sequence->job);
}

/** Join the slots of the prompt with those reserved for the reply, and let it run. */
static void sequence_run(Schedule *schedule, Sequence *sequence)
{
    Item *item = &sequence->job->items[0];
    ExtentList path = {0};
    path_extents(item->node, item->n, &path);
    for (uint32_t k = 0; k < sequence->path.n; k++) {
        extents_append(&path, sequence->path.items[k]);
    }
    extents_finish(&sequence->path);
    sequence->path = path;
    sequence->n_prompt = item->n;
    sequence->ran_step = schedule->step;
    GROW(schedule->running, schedule->n_running, schedule->cap_running);
    schedule->running[schedule->n_running++] = sequence;
}

/**
 * A prompt's logits are there: all replies of the job fork from this row. One runs on where there
 * is a place and slots for it, the others wait with their first token. */
static void job_start(Schedule *schedule, const StartRef *start)
{
    Job *job = start->job;
    const float *logits = schedule->logits + (size_t)start->row * schedule->vocab;
    size_t n_replies = (size_t)job->request.n_replies;
    schedule->n_admitted -= job->admitted ? 1 : 0;
    job->admitted = false;
    for (size_t i = 0; i < n_replies; i++) { // the job outlives this loop: its item is still listed
        Sequence *sequence = &job->sequences[i];
        if (sequence->started) {
            continue;
        }
        sequence->started = true;
        sequence_pick(schedule, sequence, logits);
        schedule->stats.decode_tokens++;
        bool place = schedule->n_parked == 0 &&
                     schedule->n_running + schedule->n_admitted < schedule->max_batch;
        if (sequence->done) {
            sequence_done(schedule, sequence);
        } else if (sequence->path.n > 0 || (place && sequence_reserve(schedule, sequence))) {
            sequence_run(schedule, sequence);
        } else {
            GROW(schedule->parked, schedule->n_parked, schedule->cap_parked);
            schedule->parked[schedule->n_parked++] = sequence;
        }
    }
}

/** Let waiting replies run, oldest first, as far as places and slots go. */
static void parked_admit(Schedule *schedule)
{
    size_t n = 0;
    while (n < schedule->n_parked &&
           schedule->n_running + schedule->n_admitted < schedule->max_batch &&
           sequence_reserve(schedule, schedule->parked[n])) {
        sequence_run(schedule, schedule->parked[n++]);
    }
    schedule->n_parked -= n;
    if (n > 0) {
        memmove(schedule->parked, schedule->parked + n,
                schedule->n_parked * sizeof(*schedule->parked));
    }
}

/** Pick for those that had a row; they go behind those that had none, which are first next time. */
static void take_decode(Schedule *schedule, size_t n_before)
{
    Sequence **ran = mem_alloc(n_before + 1, sizeof(*ran));
    size_t n_ran = 0;
    size_t kept = 0;
    size_t n = schedule->n_running;
    for (size_t i = 0; i < n; i++) {
        Sequence *sequence = schedule->running[i];
        if (i >= n_before || sequence->row == UINT32_MAX) {
            schedule->running[kept++] = sequence;
            continue;
        }
        sequence_pick(schedule, sequence,
                      schedule->logits + (size_t)sequence->row * schedule->vocab);
        sequence->ran_step = schedule->step;
        schedule->stats.decode_tokens++;
        if (sequence->done) {
            sequence_done(schedule, sequence);
        } else {
            ran[n_ran++] = sequence;
        }
    }
    if (n_ran > 0) {
        memcpy(schedule->running + kept, ran, n_ran * sizeof(*ran));
    }
    schedule->n_running = kept + n_ran;
    mem_free(ran);
}

static void take_logprobs(Schedule *schedule)
{
    for (uint32_t i = 0; i < schedule->plan.n_refs; i++) {
        const TargetRef *ref = &schedule->plan.refs[i];
        const TargetLogprob *got = &schedule->logprobs[i];
        ref->job->logprobs[ref->leaf][ref->index] = got->logprob;
        ref->job->misses[ref->leaf] += got->argmax != ref->target ? 1 : 0;
    }
}

/** The first n items have all they asked for: each counts as one thing of its job that is finished.
 */
static void items_leave(Schedule *schedule, size_t n)
{
    Item **left = mem_alloc(n + 1, sizeof(*left));
    memcpy(left, schedule->items, n * sizeof(*left));
    schedule->n_items -= n;
    memmove(schedule->items, schedule->items + n, schedule->n_items * sizeof(*schedule->items));
    for (size_t i = 0; i < n; i++) {
        if (left[i]->job->request.n_leaves > 0) {
            item_release(schedule, left[i]);
        }
        job_item_done(schedule, left[i]->job);
    }
    mem_free(left);
}

/**
 * At most how long the rest takes. A row costs what rows cost so far; a step that decodes reads all
 * weights once, at the 20 GB/s that any machine of today has. */
static double seconds_left(const Schedule *schedule)
{
    const EngineStats *stats = &schedule->stats;
    double n_rows = (double)stats->prefill_tokens_computed + (double)stats->decode_tokens;
    double seconds = stats->prefill_seconds + stats->decode_seconds;
    if (n_rows < 64 || !(seconds > 0)) {
        return -1;
    }
    double needed = (double)stats->prefill_tokens_needed;
    double prompts = needed - (double)stats->prefill_tokens_computed;
    double left = (double)schedule->new_tokens_left;
    double steps = left / (double)schedule->max_batch;
    double weights = (double)forward_info(schedule->forward)->weight_bytes;
    return ((prompts > 0 ? prompts : 0) + left) * seconds / n_rows + steps * weights / 20e9;
}

static void step_count(Schedule *schedule, double seconds)
{
    const StepPlan *plan = &schedule->plan;
    EngineStats *stats = &schedule->stats;
    double share = (double)plan->n_prefill / (double)plan->n_rows;
    stats->steps++;
    stats->prefill_tokens_computed += plan->n_prefill;
    stats->prefill_seconds += seconds * share;
    stats->decode_seconds += seconds * (1 - share);
    stats->kv_peak_bytes = (uint64_t)schedule->slots.peak * forward_slot_bytes(schedule->forward);
    stats->kv_pool_bytes =
        (uint64_t)schedule->slots.n_slots * forward_slot_bytes(schedule->forward);
    stats->n_waiting = schedule->n_items;
    stats->n_running = schedule->n_running;
    if (stats->first_token_seconds == 0 && plan->n_refs + plan->n_starts > 0) {
        stats->first_token_seconds = (double)(clock_ns() - schedule->first_ns) * 1e-9;
    }
    stats->seconds_left = seconds_left(schedule);
}

/** Send waiting replies but those of one job back to their prompts: they pick the same again. */
static void parked_requeue(Schedule *schedule, const Job *but)
{
    size_t kept = 0;
    Item **back = mem_alloc(schedule->n_parked + schedule->n_items + 1, sizeof(*back));
    size_t n_back = 0;
    for (size_t i = 0; i < schedule->n_parked; i++) {
        Sequence *sequence = schedule->parked[i];
        Job *job = sequence->job;
        if (job == but) {
            schedule->parked[kept++] = sequence;
            continue;
        }
        sequence->started = false;
        sequence->n_tokens = 0;
        buf_clear(&sequence->text);
        if (job->items[0].n_wants == 0) {
            item_want_start(&job->items[0]);
            job->n_left++;
            back[n_back++] = &job->items[0];
        }
    }
    schedule->n_parked = kept;
    memcpy(back + n_back, schedule->items, schedule->n_items * sizeof(*back));
    mem_free(schedule->items);
    schedule->items = back;
    schedule->n_items += n_back;
    schedule->cap_items = schedule->n_items;
}

/** Drop the keys and values that other items than this will need again; false: there were none. */
static bool items_drop(Schedule *schedule, Item *keep)
{
    bool dropped = false;
    for (size_t i = 0; i < schedule->n_items; i++) {
        Item *item = schedule->items[i];
        if (item == keep) {
            continue;
        }
        dropped = dropped || item->job->admitted;
        if (item->job != keep->job) {
            job_unadmit(schedule, item->job);
        }
        for (TrieNode *node = item->node; node != NULL; node = node->parent) {
            bool shared = node->first_pos < keep->n && trie_at(keep->node, node->first_pos) == node;
            if (node->n_computed > 0 && !shared) {
                slots_give(&schedule->slots, node->extents.items, node->extents.n);
                extents_finish(&node->extents);
                node->n_computed = 0;
                dropped = true;
            }
        }
    }
    return dropped;
}

/**
 * Nothing fits and nothing runs: grow the pool for what came while something ran, else drop what
 * others will need again, or give up the job that is first. */
static void step_unblock(Schedule *schedule)
{
    Err err = ERR_INIT;
    uint32_t n_slots = schedule->slots.n_slots;
    if (!pool_ensure(schedule, &err)) {
        schedule_cancel(schedule, NULL, 0, &err);
        return;
    }
    if (schedule->slots.n_slots > n_slots) {
        return;
    }
    Item *item = schedule->n_parked > 0 ? &schedule->parked[0]->job->items[0] : schedule->items[0];
    parked_requeue(schedule, item->job);
    if (items_drop(schedule, item)) {
        return;
    }
    uint64_t need = item->n + (uint64_t)job_reserve(item->job);
    ERR_SET(&err, ERR_LIMIT,
            STR_FMT
            ": needs keys and values of %llu tokens, and the pool has %u; give more --kv-memory "
            "or lower max_tokens",
            STR_ARG(item->job->request.label), (unsigned long long)need, schedule->slots.n_slots);
    uint64_t id = item->job->id;
    schedule_cancel(schedule, &id, 1, &err);
}

void schedule_step(Schedule *schedule)
{
    StepPlan *plan = &schedule->plan;
    size_t n_done = 0;
    schedule->step++;
    parked_admit(schedule);
    size_t n_before = schedule->n_running;
    plan_clear(plan);
    plan_decode(schedule);
    EmitResult result = plan_prefill(schedule, &n_done);
    if (plan->n_rows == 0) {
        if (n_done > 0) {
            items_leave(schedule, n_done);
        } else if (result == EMIT_BLOCKED || schedule->n_parked > 0) {
            step_unblock(schedule);
        }
        return;
    }
    for (uint32_t i = 0; i < plan->n_refs; i++) {
        plan->targets[i] = plan->refs[i].target;
    }
    for (uint32_t i = 0; i < plan->n_rows; i++) {
        BatchRow *row = &plan->rows[i];
        row->targets = NULL;
        if (row->n_targets > 0) {
            row->targets = plan->targets + (row->kind == ROW_LOGITS ? row->out_targets : row->out);
        }
    }
    if (plan->n_refs > schedule->cap_logprobs) {
        schedule->cap_logprobs = plan->cap_refs;
        schedule->logprobs =
            mem_realloc(schedule->logprobs, schedule->cap_logprobs, sizeof(*schedule->logprobs));
    }
    Batch batch = {
        .rows = plan->rows, .n_rows = plan->n_rows, .spans = plan->spans, .n_spans = plan->n_spans};
    Err err = ERR_INIT;
    int64_t from_ns = clock_ns();
    if (!forward_run(schedule->forward, &batch, schedule->logits, schedule->logprobs, &err)) {
        schedule_cancel(schedule, NULL, 0, &err);
        return;
    }
    step_count(schedule, (double)(clock_ns() - from_ns) * 1e-9);
    take_logprobs(schedule);
    for (uint32_t i = 0; i < plan->n_starts; i++) {
        job_start(schedule, &plan->starts[i]);
    }
    take_decode(schedule, n_before);
    items_leave(schedule, n_done);
}
