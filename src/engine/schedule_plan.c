// SPDX-License-Identifier: MIT
// What goes into one step: the next token of every running reply, then as much of the depth-first
// walk as fits, with what is wanted from each row. Takes slots, computes nothing. Driver thread
// only.
#include "engine/engine_internal.h"

#include <string.h>

uint32_t job_reserve(const Job *job)
{
    if (job->request.n_leaves > 0) {
        return 0;
    }
    int64_t n = job->request.max_tokens - 1;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX; // what is too much for any pool stays so
}

// ------------------------------------------------------------------------------------------

void plan_clear(StepPlan *plan)
{
    plan->n_rows = plan->n_spans = plan->n_refs = plan->n_starts = 0;
    plan->n_logits = plan->n_prefill = 0;
    arena_reset(&plan->arena);
}

static BatchRow *plan_row(StepPlan *plan, int32_t token)
{
    GROW(plan->rows, plan->n_rows, plan->cap_rows);
    BatchRow *row = &plan->rows[plan->n_rows++];
    *row = (BatchRow){.token = token, .kind = ROW_KV};
    return row;
}

static void plan_span(StepPlan *plan, uint32_t n_rows, uint32_t first_pos,
                      const ExtentList *extents)
{
    GROW(plan->spans, plan->n_spans, plan->cap_spans);
    KvExtent *copy = ARENA_ARRAY(&plan->arena, KvExtent, extents->n + 1);
    memcpy(copy, extents->items, extents->n * sizeof(*copy));
    plan->spans[plan->n_spans++] = (BatchSpan){.first_row = plan->n_rows - n_rows,
                                               .n_rows = n_rows,
                                               .first_pos = first_pos,
                                               .extents = copy,
                                               .n_extents = extents->n};
}

void path_extents(const TrieNode *node, uint32_t n, ExtentList *out)
{
    if (node->parent != NULL) {
        path_extents(node->parent, node->first_pos < n ? node->first_pos : n, out);
    }
    if (n > node->first_pos) {
        extents_append_first(out, &node->extents, n - node->first_pos);
    }
}

bool sequence_reserve(Schedule *schedule, Sequence *sequence)
{
    uint32_t need = job_reserve(sequence->job);
    if (slots_free(&schedule->slots) < need && !trie_evict(&schedule->trie, need)) {
        return false;
    }
    slots_take(&schedule->slots, need, &sequence->path);
    return true;
}

/**
 * Give a job a place to run and slots for its first reply; false when there are none now. While
 * replies wait that have their first token already, nothing new starts: that bounds the prompts
 * that are held for waiting ones. */
static EmitResult job_admit(Schedule *schedule, Job *job)
{
    if (job->admitted) {
        return EMIT_DONE;
    }
    if (schedule->n_parked > 0 ||
        schedule->n_running + schedule->n_admitted >= schedule->max_batch) {
        return EMIT_PARTLY;
    }
    Sequence *first = job->sequences;
    for (int64_t i = 1; first->started && i < job->request.n_replies; i++) {
        first = &job->sequences[i];
    }
    if (!sequence_reserve(schedule, first)) {
        return EMIT_BLOCKED;
    }
    job->admitted = true;
    schedule->n_admitted++;
    return EMIT_DONE;
}

static void want_target(StepPlan *plan, const TrieWant *want)
{
    if (plan->n_refs == plan->cap_refs) {
        plan->cap_refs = plan->cap_refs == 0 ? 64 : plan->cap_refs * 2;
        plan->refs = mem_realloc(plan->refs, plan->cap_refs, sizeof(*plan->refs));
        plan->targets = mem_realloc(plan->targets, plan->cap_refs, sizeof(*plan->targets));
    }
    plan->refs[plan->n_refs++] = (TargetRef){
        .job = want->request, .leaf = want->leaf, .index = want->index, .target = want->target};
}

/**
 * Attach all that is wanted at one offset of a node to a row: log-probabilities, and the first
 * tokens of replies, which need no slots to be picked. Only without a row of logits left do replies
 * wait for the row to be run again. */
static void row_wants(Schedule *schedule, TrieNode *node, uint32_t offset, BatchRow *row)
{
    StepPlan *plan = &schedule->plan;
    uint32_t kept = 0;
    uint32_t first = plan->n_refs;
    for (uint32_t i = 0; i < node->n_wants; i++) {
        TrieWant want = node->wants[i];
        Job *job = want.request;
        bool room = row->kind == ROW_LOGITS || plan->n_logits < ENGINE_LOGITS_ROWS;
        if (want.offset != offset || (want.logits && !room)) {
            node->wants[kept++] = want;
            continue;
        }
        job->items[want.leaf].n_wants--;
        if (!want.logits) {
            want_target(plan, &want);
            continue;
        }
        if (row->kind != ROW_LOGITS) {
            row->kind = ROW_LOGITS;
            row->out = plan->n_logits++;
        }
        GROW(plan->starts, plan->n_starts, plan->cap_starts);
        plan->starts[plan->n_starts++] = (StartRef){.job = job, .row = row->out};
    }
    node->n_wants = kept;
    row->n_targets = plan->n_refs - first;
    row->out_targets = first;
    if (row->kind != ROW_LOGITS && row->n_targets > 0) {
        row->kind = ROW_LOGPROB;
        row->out = first;
    }
}

static bool has_want(const TrieNode *node, uint32_t offset)
{
    for (uint32_t i = 0; i < node->n_wants; i++) {
        if (node->wants[i].offset == offset) {
            return true;
        }
    }
    return false;
}

/** Compute up to n more tokens of a node; false when there are no slots for them. */
static bool node_emit(Schedule *schedule, TrieNode *node, uint32_t n)
{
    if (slots_free(&schedule->slots) < n && !trie_evict(&schedule->trie, n)) {
        return false;
    }
    slots_take(&schedule->slots, n, &node->extents);
    StepPlan *plan = &schedule->plan;
    uint32_t from = node->n_computed;
    for (uint32_t k = from; k < from + n; k++) {
        BatchRow *row = plan_row(plan, node->tokens[k]);
        if (node->n_wants > 0 && has_want(node, k)) {
            row_wants(schedule, node, k, row);
        }
    }
    node->n_computed += n;
    node->step = schedule->step;
    ExtentList extents = {0};
    path_extents(node, node->first_pos + node->n_computed, &extents);
    plan_span(plan, n, node->first_pos + from, &extents);
    extents_finish(&extents);
    plan->n_prefill += n;
    return true;
}

/** Run a computed row again for wants that came later; it writes the same keys and values. */
static void node_rerun(Schedule *schedule, TrieNode *node, uint32_t offset)
{
    StepPlan *plan = &schedule->plan;
    BatchRow *row = plan_row(plan, node->tokens[offset]);
    row_wants(schedule, node, offset, row);
    ExtentList extents = {0};
    node->step = schedule->step; // once a step: two rows must not write one slot
    path_extents(node, node->first_pos + offset + 1, &extents);
    plan_span(plan, 1, node->first_pos + offset, &extents);
    extents_finish(&extents);
    plan->n_prefill++;
}

/** The first offset below n_computed where job still wants something; UINT32_MAX none. */
static uint32_t late_want(const TrieNode *node, const Job *job)
{
    for (uint32_t i = 0; i < node->n_wants; i++) {
        if (node->wants[i].request == job && node->wants[i].offset < node->n_computed) {
            return node->wants[i].offset;
        }
    }
    return UINT32_MAX;
}

static EmitResult node_advance(Schedule *schedule, TrieNode *node, const Job *job,
                               uint32_t max_rows)
{
    StepPlan *plan = &schedule->plan;
    node->last_use = schedule->step;
    if (node->n_computed < node->n_tokens) {
        uint32_t left = node->n_tokens - node->n_computed;
        uint32_t room = plan->n_rows < max_rows ? max_rows - plan->n_rows : 0;
        uint32_t n = left < room ? left : room;
        n = n < schedule->max_piece ? n : schedule->max_piece;
        if (n == 0) {
            return EMIT_PARTLY;
        }
        if (!node_emit(schedule, node, n)) {
            return EMIT_BLOCKED;
        }
        if (n < left) {
            return EMIT_PARTLY;
        }
    }
    for (uint32_t offset = late_want(node, job); offset != UINT32_MAX;
         offset = late_want(node, job)) {
        bool full = plan->n_rows >= max_rows || plan->n_logits >= ENGINE_LOGITS_ROWS;
        if (full || node->step == schedule->step) {
            return EMIT_PARTLY;
        }
        node_rerun(schedule, node, offset);
    }
    return EMIT_DONE;
}

static EmitResult path_advance(Schedule *schedule, TrieNode *node, const Job *job,
                               uint32_t max_rows)
{
    uint32_t depth = 0;
    for (const TrieNode *at = node; at->parent != NULL; at = at->parent) {
        depth++;
    }
    TrieNode **path = mem_alloc(depth + 1, sizeof(TrieNode *));
    uint32_t k = depth;
    for (TrieNode *at = node; at->parent != NULL; at = at->parent) {
        path[--k] = at;
    }
    EmitResult result = EMIT_DONE;
    for (uint32_t i = 0; i < depth && result == EMIT_DONE; i++) {
        result = node_advance(schedule, path[i], job, max_rows);
    }
    mem_free(path);
    return result;
}

static uint32_t path_computed(const TrieNode *node)
{
    uint32_t n = 0;
    for (; node != NULL; node = node->parent) {
        n += node->n_computed;
    }
    return n;
}

static EmitResult item_advance(Schedule *schedule, Item *item, uint32_t max_rows)
{
    Job *job = item->job;
    if (item->n_wants == 0) { // another item's rows gave it all
        job->n_cached += item->started || item->node == NULL ? 0 : item->n;
        item->started = true;
        return EMIT_DONE;
    }
    if (job->request.n_leaves == 0) {
        EmitResult admitted = job_admit(schedule, job);
        if (admitted != EMIT_DONE) {
            return admitted;
        }
    }
    if (!item->started) {
        item->started = true;
        job->n_cached += path_computed(item->node);
    }
    EmitResult result = path_advance(schedule, item->node, job, max_rows);
    return result == EMIT_DONE && item->n_wants > 0 ? EMIT_PARTLY : result;
}

void plan_decode(Schedule *schedule)
{
    StepPlan *plan = &schedule->plan;
    uint32_t max_rows = schedule->max_rows;
    for (size_t i = 0; i < schedule->n_running; i++) {
        Sequence *sequence = schedule->running[i];
        sequence->row = UINT32_MAX;
        if (plan->n_logits >= ENGINE_LOGITS_ROWS || plan->n_rows >= max_rows) {
            continue;
        }
        BatchRow *row = plan_row(plan, sequence->tokens[sequence->n_tokens - 1].id);
        row->kind = ROW_LOGITS;
        row->out = plan->n_logits++;
        sequence->row = row->out;
        uint32_t pos = sequence->n_prompt + sequence->n_tokens - 1;
        ExtentList extents = {0};
        extents_append_first(&extents, &sequence->path, pos + 1);
        plan_span(plan, 1, pos, &extents);
        extents_finish(&extents);
    }
}

/** Take items in order until the step is full; what is wholly in the step leaves the list. */
EmitResult plan_prefill(Schedule *schedule, size_t *out_done)
{
    uint32_t max_rows = schedule->max_rows;
    EmitResult result = EMIT_DONE;
    size_t done = 0;
    while (done < schedule->n_items && result == EMIT_DONE) {
        result = item_advance(schedule, schedule->items[done], max_rows);
        done += result == EMIT_DONE ? 1 : 0;
    }
    *out_done = done;
    return result;
}
