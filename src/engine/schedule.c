// SPDX-License-Identifier: MIT
// What a step does: the replies' next tokens and as much of the depth-first walk as fits are
// computed, what comes out is taken in, and what has ended leaves. A span may share a step with the
// span it hangs on, so every distinct prefix token is computed once (DESIGN.md 4.4). Driver thread
// only.
#include "engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- Set-up -----------------------------------------------------------------------------------

bool schedule_init(Schedule *schedule, Forward *forward, const Tokenizer *tokenizer,
                   const EngineOptions *options, Err *err)
{
    *schedule = (Schedule){
        .forward = forward,
        .tokenizer = tokenizer,
        .max_batch = forward_batch_rows(forward),
        .max_rows = forward_max_rows(forward),
        .max_piece = forward_max_rows(forward),
    };
    if (options->max_batch > 0) {
        schedule->max_batch = options->max_batch < schedule->max_rows ? (uint32_t)options->max_batch
                                                                      : schedule->max_rows;
    }
    if (options->max_rows > 0 && options->max_rows < schedule->max_rows) {
        schedule->max_rows = (uint32_t)options->max_rows;
    }
    if (options->max_piece > 0 && options->max_piece < schedule->max_piece) {
        schedule->max_piece = (uint32_t)options->max_piece;
    }
    if (!schedule_pool_plan(schedule, options->kv_bytes, err)) {
        return false;
    }
    trie_init(&schedule->trie, &schedule->slots);
    return true;
}

void schedule_finish(Schedule *schedule)
{
    if (schedule->trie.root != NULL) {
        trie_finish(&schedule->trie);
    }
    slots_finish(&schedule->slots);
    dialogues_finish(&schedule->dialogues);
    for (int kind = 0; kind < LIST_COUNT; kind++) {
        mem_free(schedule->lists[kind].items);
    }
    mem_free(schedule->path);
    mem_free(schedule->running);
    mem_free(schedule->parked);
    mem_free(schedule->plan.rows);
    mem_free(schedule->plan.spans);
    mem_free(schedule->plan.refs);
    mem_free(schedule->plan.targets);
    mem_free(schedule->plan.picks);
    mem_free(schedule->plan.asks);
    mem_free(schedule->plan.picked);
    mem_free(schedule->plan.starts);
    arena_finish(&schedule->plan.arena);
    mem_free(schedule->logprobs);
}

bool schedule_has_work(const Schedule *schedule)
{
    return schedule->lists[LIST_REPLIES].n + schedule->lists[LIST_SCORES].n > 0 ||
           schedule->n_running > 0 || schedule->n_parked > 0;
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
    Job *job = sequence->job;
    TrieNode *end =
        trie_adopt(&schedule->trie, job->items[0].node, ids, n_computed, &own, schedule->step);
    if (job->request.n_replies == 1) {
        job->dialogue->reply = end;
    } else { // what follows goes on from one of them at most
        trie_release(&schedule->trie, end);
    }
    mem_free(ids);
    extents_finish(&sequence->path);
}

uint64_t job_new_tokens(const Job *job)
{
    const EngineRequest *request = &job->request;
    return request->n_leaves > 0 ? 0 : (uint64_t)request->max_tokens * (uint64_t)request->n_replies;
}

void job_report(Schedule *schedule, Job *job)
{
    schedule->n_finished++;
    schedule->finish(schedule->ctx, job);
}

void job_finish(Schedule *schedule, Job *job)
{
    schedule->new_tokens_left -= job_new_tokens(job);
    if (job->request.n_leaves == 0) {
        schedule->need.replies -= (uint64_t)job->request.n_replies;
        dialogue_turn_ended(schedule, job);
    }
    job_report(schedule, job);
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
    if (job->admitted) {
        job->dialogue->waiting = job;
        schedule->n_admitted--;
    }
    job->admitted = false;
}

bool job_fail(Job *job, const Err *err)
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

/** The same for the items that wait. */
static void cancel_items(Schedule *schedule, ItemList *list, const uint64_t *ids, size_t n_ids,
                         const Err *err, Job **hit, size_t *n_hit)
{
    Item **items = list->items + list->first;
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        Item *item = items[i];
        if (!cancel_matches(item->job, ids, n_ids)) {
            items[kept++] = item;
            continue;
        }
        if (schedule->main == item) {
            schedule->main = NULL;
            schedule->alone = false;
        }
        trie_unwant(item->node, item->job);
        if (job_fail(item->job, err)) {
            hit[(*n_hit)++] = item->job;
        }
        if (item->job->request.n_leaves > 0) {
            item_release(schedule, item);
        } else {
            job_unadmit(schedule, item->job);
        }
    }
    list->n = kept;
}

void schedule_cancel(Schedule *schedule, uint64_t *ids, size_t n_ids, const Err *err)
{
    if (n_ids > 1) { // one pass for all: a run that is stopped gives up a hundred thousand at once
        qsort(ids, n_ids, sizeof(*ids), compare_ids);
    }
    size_t most = schedule->n_running + schedule->n_parked;
    for (int kind = 0; kind < LIST_COUNT; kind++) {
        most += schedule->lists[kind].n;
    }
    Job **hit = mem_alloc(most + 1, sizeof(*hit));
    size_t n_hit = 0;
    schedule->n_running = cancel_sequences(schedule, schedule->running, schedule->n_running, ids,
                                           n_ids, err, hit, &n_hit);
    schedule->n_parked = cancel_sequences(schedule, schedule->parked, schedule->n_parked, ids,
                                          n_ids, err, hit, &n_hit);
    for (int kind = 0; kind < LIST_COUNT; kind++) {
        cancel_items(schedule, &schedule->lists[kind], ids, n_ids, err, hit, &n_hit);
    }
    for (size_t i = 0; i < n_hit; i++) {
        job_finish(schedule, hit[i]);
    }
    mem_free(hit);
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

/** Take in the token that was picked for a sequence. */
static void sequence_take(Schedule *schedule, Sequence *sequence)
{
    const EngineRequest *request = &sequence->job->request;
    const Picked *picked = &schedule->plan.picked[sequence->pick];
    int32_t id = picked->id;
    GROW(sequence->tokens, sequence->n_tokens, sequence->cap_tokens);
    sequence->tokens[sequence->n_tokens++] = (EngineToken){.id = id,
                                                           .logprob = picked->logprob,
                                                           .top_ids = picked->top_ids,
                                                           .top_logprobs = picked->top_logprobs};
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
 * The first tokens of a job's replies are there, all picked from the row that its prompt ends in.
 * One reply runs on where there is a place and slots for it, the others wait with their token. */
static void job_start(Schedule *schedule, Job *job)
{
    size_t n_replies = (size_t)job->request.n_replies;
    schedule->n_admitted -= job->admitted ? 1 : 0;
    if (!job->admitted) { // a prompt that is another's too
        dialogue_turn(schedule, job);
    }
    job->admitted = false;
    for (size_t i = 0; i < n_replies; i++) { // the job outlives this loop: its item is still listed
        Sequence *sequence = &job->sequences[i];
        if (sequence->started) {
            continue;
        }
        sequence->started = true;
        sequence_take(schedule, sequence);
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

static void parked_drop_front(Schedule *schedule, size_t n)
{
    schedule->n_parked -= n;
    if (n > 0) {
        memmove(schedule->parked, schedule->parked + n,
                schedule->n_parked * sizeof(*schedule->parked));
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
    parked_drop_front(schedule, n);
}

/** Take the tokens of those that had a row; they go behind those that had none, which are first
 * next time. */
static void take_decode(Schedule *schedule, size_t n_before)
{
    Sequence **ran = mem_alloc(n_before + 1, sizeof(*ran));
    size_t n_ran = 0;
    size_t kept = 0;
    size_t n = schedule->n_running;
    for (size_t i = 0; i < n; i++) {
        Sequence *sequence = schedule->running[i];
        if (i >= n_before || sequence->pick == UINT32_MAX) {
            schedule->running[kept++] = sequence;
            continue;
        }
        sequence_take(schedule, sequence);
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

/** The first n items of a list have all they asked for: each counts as one thing of its job that is
 * finished. */
static void items_leave(Schedule *schedule, ItemList *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        Item *item = list_head(list);
        list_drop_front(list, 1);
        if (item->job->request.n_leaves > 0) {
            item_release(schedule, item);
        }
        job_item_done(schedule, item->job);
    }
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
    stats->n_waiting = schedule->lists[LIST_REPLIES].n + schedule->lists[LIST_SCORES].n;
    stats->n_running = schedule->n_running;
    if (stats->first_token_seconds == 0 && plan->n_refs + plan->n_starts > 0) {
        stats->first_token_seconds = (double)(clock_ns() - schedule->first_ns) * 1e-9;
    }
    stats->seconds_left = seconds_left(schedule);
}

/** Send waiting replies but those of one job back to their prompts: they pick the same again. */
static void parked_requeue(Schedule *schedule, const Job *but)
{
    size_t kept = schedule->n_parked;
    for (size_t i = schedule->n_parked; i-- > 0;) {
        Sequence *sequence = schedule->parked[i];
        Job *job = sequence->job;
        if (job == but) {
            schedule->parked[--kept] = sequence;
            continue;
        }
        sequence->started = false;
        sequence->n_tokens = 0;
        buf_clear(&sequence->text);
        if (job->items[0].n_wants == 0) {
            item_want_start(&job->items[0]);
            job->n_left++;
            list_push_front(&schedule->lists[LIST_REPLIES], &job->items[0]);
        }
    }
    parked_drop_front(schedule, kept);
}

/** Whether an item can go on now, with one reply. */
static bool has_room(const Schedule *schedule, const Item *item)
{
    return slots_free(&schedule->slots) + schedule->trie.n_idle >= item_need(item);
}

/** Drop the keys and values of an item's path that it does not share with keep, from its end, until
 * there is room; false: none. */
static bool path_drop(Schedule *schedule, const Item *item, const Item *keep)
{
    bool dropped = false;
    for (TrieNode *node = item->node; node != NULL && !(dropped && has_room(schedule, keep));
         node = node->parent) {
        bool shared = node->first_pos < keep->n && trie_at(keep->node, node->first_pos) == node;
        if (node->n_computed > 0 && !shared) {
            trie_drop(&schedule->trie, node);
            dropped = true;
        }
    }
    return dropped;
}

/**
 * Drop keys and values that other items than this will need again, those that come last first,
 * until there is room for it; false: there were none. */
static bool items_drop(Schedule *schedule, const Item *keep)
{
    bool dropped = false;
    for (int kind = LIST_COUNT; kind-- > 0;) {
        const ItemList *list = &schedule->lists[kind];
        for (size_t i = list->first + list->n; i-- > list->first;) {
            Item *item = list->items[i];
            if (item == keep) {
                continue;
            }
            bool went = false;
            if (item->job != keep->job && item->job->admitted) {
                job_unadmit(schedule, item->job);
                went = true;
            }
            went = path_drop(schedule, item, keep) || went;
            dropped = dropped || went;
            if (went && has_room(schedule, keep)) {
                return true;
            }
        }
    }
    return dropped;
}

void err_too_large(const Schedule *schedule, const Item *item, Err *err)
{
    uint64_t need = item->n + (uint64_t)job_reserve(item->job);
    ERR_SET(err, ERR_LIMIT,
            STR_FMT
            ": needs keys and values of %llu tokens, and the pool has %u; give more --kv-memory "
            "or lower max_tokens",
            STR_ARG(item->job->request.label), (unsigned long long)need, schedule->slots.n_slots);
}

/** What is to go on when nothing can. */
static Item *unblock_item(const Schedule *schedule)
{
    if (schedule->n_parked > 0) {
        return &schedule->parked[0]->job->items[0];
    }
    const Item *main = main_item(schedule);
    return list_head(
        &schedule->lists[main->job->request.n_leaves > 0 ? LIST_SCORES : LIST_REPLIES]);
}

/** Nothing may run or nothing fits: drop what others will need again, as little as makes room, and
 * go on with what is first alone. */
static void step_unblock(Schedule *schedule)
{
    Item *item = unblock_item(schedule);
    schedule->main = schedule->n_parked > 0 ? NULL : item;
    schedule->alone = schedule->main != NULL;
    if (has_room(schedule, item)) {
        return;
    }
    size_t n_parked = schedule->n_parked;
    parked_requeue(schedule, item->job); // they stand on what may be dropped
    if (items_drop(schedule, item) || schedule->n_parked < n_parked) {
        return;
    }
    Err err = ERR_INIT;
    err_too_large(schedule, item, &err);
    uint64_t id = item->job->id;
    schedule_cancel(schedule, &id, 1, &err);
}

static void leave_all(Schedule *schedule, const size_t n_done[LIST_COUNT])
{
    for (int kind = 0; kind < LIST_COUNT; kind++) {
        items_leave(schedule, &schedule->lists[kind], n_done[kind]);
    }
}

/** Put the arrays that the rows point into in their last place. */
static void plan_targets(Schedule *schedule)
{
    StepPlan *plan = &schedule->plan;
    if (plan->n_refs > plan->cap_targets) {
        plan->cap_targets = plan->cap_refs;
        plan->targets = mem_realloc(plan->targets, plan->cap_refs, sizeof(*plan->targets));
        schedule->logprobs =
            mem_realloc(schedule->logprobs, plan->cap_refs, sizeof(*schedule->logprobs));
    }
    for (uint32_t i = 0; i < plan->n_refs; i++) {
        plan->targets[i] = plan->refs[i].target;
    }
    for (uint32_t i = 0; i < plan->n_rows; i++) {
        BatchRow *row = &plan->rows[i];
        row->targets = NULL;
        if (row->n_targets > 0) {
            row->targets = plan->targets + row->out;
        }
    }
}

/** Say how each token is picked, and where it goes. */
static void plan_asks(StepPlan *plan)
{
    if (plan->n_picks > plan->cap_asks) {
        plan->cap_asks = plan->cap_picks;
        plan->asks = mem_realloc(plan->asks, plan->cap_asks, sizeof(*plan->asks));
        plan->picked = mem_realloc(plan->picked, plan->cap_asks, sizeof(*plan->picked));
    }
    for (uint32_t i = 0; i < plan->n_picks; i++) {
        const Sequence *sequence = plan->picks[i].sequence;
        const EngineRequest *request = &sequence->job->request;
        const PickerSettings *picker = &request->picker;
        bool draws = picker->temperature > 0;
        size_t n = (size_t)request->top_logprobs;
        int64_t top_k = picker->top_k > 0 ? picker->top_k : 0;
        Picked *picked = &plan->picked[i];
        *picked = (Picked){.logprob = NAN};
        if (n > 0) {
            picked->top_ids = ARENA_ARRAY(&sequence->job->arena, int32_t, n);
            picked->top_logprobs = ARENA_ARRAY(&sequence->job->arena, float, n);
        }
        plan->asks[i] =
            (KPick){.row = plan->picks[i].row,
                    .temperature = picker->temperature,
                    .top_k = top_k < UINT32_MAX ? (uint32_t)top_k : UINT32_MAX,
                    .top_p = picker->top_p,
                    .min_p = picker->min_p,
                    .random = draws ? rng_at(picker->seed, sequence->reply, sequence->n_tokens) : 0,
                    .n_top = (uint32_t)n,
                    .out_id = &picked->id,
                    .out_logprob = n > 0 ? &picked->logprob : NULL,
                    .out_top_ids = picked->top_ids,
                    .out_top_logprobs = picked->top_logprobs};
    }
}

void schedule_heard(Schedule *schedule, uint64_t n_finished)
{
    if (n_finished <= schedule->n_heard) {
        return;
    }
    schedule->n_heard = n_finished;
    dialogues_heard(schedule, n_finished);
    schedule->waits = false;
}

void schedule_step(Schedule *schedule)
{
    if (schedule->waits) { // nobody says what follows
        schedule_heard(schedule, schedule->n_finished);
    }
    StepPlan *plan = &schedule->plan;
    size_t n_done[LIST_COUNT];
    schedule->step++;
    parked_admit(schedule);
    size_t n_before = schedule->n_running;
    plan_clear(plan);
    plan_decode(schedule);
    plan_prefill(schedule, n_done);
    if (plan->n_rows == 0) {
        if (n_done[LIST_REPLIES] + n_done[LIST_SCORES] > 0) {
            leave_all(schedule, n_done);
        } else if (schedule->n_heard < schedule->n_finished) {
            schedule->waits = true;
        } else {
            step_unblock(schedule);
        }
        return;
    }
    plan_targets(schedule);
    plan_asks(plan);
    Batch batch = {.rows = plan->rows,
                   .n_rows = plan->n_rows,
                   .spans = plan->spans,
                   .n_spans = plan->n_spans,
                   .picks = plan->asks,
                   .n_picks = plan->n_picks};
    Err err = ERR_INIT;
    int64_t from_ns = clock_ns();
    if (!forward_run(schedule->forward, &batch, NULL, schedule->logprobs, &err)) {
        schedule->lost = err.code != ERR_MODEL;
        if (err.code == ERR_LIMIT) { // what a step lacked is the device's failure, no request's
            err.code = ERR_DEVICE;
        }
        schedule_cancel(schedule, NULL, 0, &err);
        return;
    }
    step_count(schedule, (double)(clock_ns() - from_ns) * 1e-9);
    take_logprobs(schedule);
    for (uint32_t i = 0; i < plan->n_starts; i++) {
        job_start(schedule, plan->starts[i]);
    }
    take_decode(schedule, n_before);
    leave_all(schedule, n_done);
}
