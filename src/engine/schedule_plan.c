// SPDX-License-Identifier: MIT
// What goes into one step: the next token of every running reply, then as much of the depth-first
// walk as fits, with what is wanted from each row. Prompts and scored texts pass each other where
// the walk in order keeps all the slots it can need. Takes slots, computes nothing. Driver thread
// only.
#include "engine/engine_internal.h"

#include <string.h>

typedef enum EmitResult {
    EMIT_DONE,    // everything this item waits for is in the step
    EMIT_PARTLY,  // the step is full, or the rest has to wait for it
    EMIT_BLOCKED, // no slots
} EmitResult;

uint32_t job_reserve(const Job *job)
{
    if (job->request.n_leaves > 0) {
        return 0;
    }
    int64_t n = job->request.max_tokens - 1;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX; // what is too much for any pool stays so
}

static uint32_t path_computed(const TrieNode *node)
{
    uint32_t n = 0;
    for (; node != NULL; node = node->parent) {
        n += node->n_computed;
    }
    return n;
}

uint64_t item_need(const Item *item)
{
    return item->n - path_computed(item->node) + (uint64_t)job_reserve(item->job);
}

uint64_t need_slots(const Schedule *schedule)
{
    const Need *need = &schedule->need;
    uint64_t at_once = need->replies < schedule->max_batch ? need->replies : schedule->max_batch;
    uint64_t walk = need->longest + at_once * (need->own + need->reserve);
    uint64_t all = schedule->trie.n_live + at_once * need->reserve;
    return walk < all ? walk : all;
}

/**
 * How many slots may still be taken out of order. All that was taken so and is waited for, together
 * with the most that the walk in order needs, has to fit the pool: then nothing is computed twice.
 * A pool that is smaller than that need promises nothing; there an eighth of it goes to this, if a
 * path and a reply remain. */
static uint64_t ahead_room(const Schedule *schedule)
{
    const Need *need = &schedule->need;
    uint64_t pool = schedule->slots.n_slots;
    uint64_t most = need_slots(schedule);
    uint64_t least = need->longest + need->own + need->reserve;
    uint64_t room = pool > least ? pool - least : 0;
    room = room < pool / 8 ? room : pool / 8;
    room = pool >= most ? pool - most : room;
    return room > schedule->trie.n_ahead ? room - schedule->trie.n_ahead : 0;
}

// ---- Rows and spans ---------------------------------------------------------------------------

void plan_clear(StepPlan *plan)
{
    plan->n_rows = plan->n_spans = plan->n_refs = plan->n_starts = 0;
    plan->n_picks = plan->n_prefill = 0;
    plan->ahead = false;
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
    if (schedule->main != &job->items[0] && !dialogue_may_turn(schedule, &job->items[0])) {
        return EMIT_PARTLY;
    }
    Sequence *first = job->sequences;
    for (int64_t i = 1; first->started && i < job->request.n_replies; i++) {
        first = &job->sequences[i];
    }
    if (!sequence_reserve(schedule, first)) {
        return EMIT_BLOCKED;
    }
    dialogue_turn(schedule, job);
    job->admitted = true;
    schedule->n_admitted++;
    return EMIT_DONE;
}

/** The first of a node's sorted wants at or after an offset. */
static uint32_t wants_from(const TrieNode *node, uint32_t offset)
{
    uint32_t low = 0;
    uint32_t high = node->n_wants;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (node->wants[middle].offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void plan_pick(StepPlan *plan, Sequence *sequence)
{
    GROW(plan->picks, plan->n_picks, plan->cap_picks);
    sequence->pick = plan->n_picks;
    plan->picks[plan->n_picks++] = (PickRef){.sequence = sequence, .row = plan->n_rows - 1};
}

/**
 * Attach to the last row all that is wanted there: log-probabilities, and the first tokens of
 * replies, which need no slots to be picked. *at goes past these wants, which lose their request.
 */
static void row_wants(StepPlan *plan, const TrieNode *node, uint32_t offset, uint32_t *at,
                      BatchRow *row)
{
    uint32_t first = plan->n_refs;
    for (; *at < node->n_wants && node->wants[*at].offset == offset; ++*at) {
        TrieWant *want = &node->wants[*at];
        Job *job = want->request;
        job->items[want->leaf].n_wants--;
        want->request = NULL;
        if (!want->logits) {
            GROW(plan->refs, plan->n_refs, plan->cap_refs);
            plan->refs[plan->n_refs++] = (TargetRef){
                .job = job, .leaf = want->leaf, .index = want->index, .target = want->target};
            continue;
        }
        GROW(plan->starts, plan->n_starts, plan->cap_starts);
        plan->starts[plan->n_starts++] = job;
        for (int64_t i = 0; i < job->request.n_replies; i++) {
            if (!job->sequences[i].started) {
                plan_pick(plan, &job->sequences[i]);
            }
        }
        row->kind = ROW_RESULTS;
    }
    row->n_targets = plan->n_refs - first;
    row->out = first;
    if (row->n_targets > 0) {
        row->kind = ROW_RESULTS;
    }
}

/** Forget the wants from..to of a node, which are answered. */
static void wants_drop(TrieNode *node, uint32_t from, uint32_t to)
{
    memmove(node->wants + from, node->wants + to, (node->n_wants - to) * sizeof(*node->wants));
    node->n_wants -= to - from;
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
    uint32_t first_want = wants_from(node, from);
    uint32_t want = first_want;
    for (uint32_t k = from; k < from + n; k++) {
        BatchRow *row = plan_row(plan, node->tokens[k]);
        if (want < node->n_wants && node->wants[want].offset == k) {
            row_wants(plan, node, k, &want, row);
        }
    }
    if (want > first_want) {
        wants_drop(node, first_want, want);
    }
    node->n_computed += n;
    node->step = schedule->step;
    if (plan->ahead) {
        trie_mark_ahead(&schedule->trie, node, n);
    }
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
    uint32_t first_want = wants_from(node, offset);
    uint32_t want = first_want;
    BatchRow *row = plan_row(plan, node->tokens[offset]);
    row_wants(plan, node, offset, &want, row);
    wants_drop(node, first_want, want);
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

static EmitResult node_advance(Schedule *schedule, TrieNode *node, const Job *job)
{
    StepPlan *plan = &schedule->plan;
    node->last_use = schedule->step;
    if (!plan->ahead && node->n_ahead > 0) {
        trie_unmark_ahead(&schedule->trie, node);
    }
    trie_wants_sort(node);
    if (node->n_computed < node->n_tokens) {
        uint32_t left = node->n_tokens - node->n_computed;
        uint32_t room = plan->n_rows < schedule->max_rows ? schedule->max_rows - plan->n_rows : 0;
        room = room < schedule->max_piece ? room : schedule->max_piece;
        uint32_t n = left < room ? left : room;
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
        if (plan->n_rows >= schedule->max_rows || node->step == schedule->step) {
            return EMIT_PARTLY;
        }
        node_rerun(schedule, node, offset);
    }
    return EMIT_DONE;
}

static EmitResult path_advance(Schedule *schedule, TrieNode *node, const Job *job)
{
    schedule->n_path = 0;
    for (TrieNode *at = node; at->parent != NULL; at = at->parent) {
        GROW(schedule->path, schedule->n_path, schedule->cap_path);
        schedule->path[schedule->n_path++] = at;
    }
    EmitResult result = EMIT_DONE;
    while (schedule->n_path > 0 && result == EMIT_DONE) {
        result = node_advance(schedule, schedule->path[--schedule->n_path], job);
    }
    return result;
}

static void main_done(Schedule *schedule)
{
    schedule->main = NULL;
    schedule->alone = false;
}

static EmitResult item_advance(Schedule *schedule, Item *item)
{
    Job *job = item->job;
    bool ahead = schedule->plan.ahead;
    if (item->n_wants == 0) { // another item's rows gave it all
        job->n_cached += item->started || item->node == NULL ? 0 : item->n;
        item->started = true;
        return EMIT_DONE;
    }
    if (ahead && item->n - path_computed(item->node) > ahead_room(schedule)) {
        return EMIT_PARTLY;
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
    if (!ahead) {
        schedule->main = item;
    }
    EmitResult result = path_advance(schedule, item->node, job);
    return result == EMIT_DONE && item->n_wants > 0 ? EMIT_PARTLY : result;
}

void plan_decode(Schedule *schedule)
{
    StepPlan *plan = &schedule->plan;
    uint32_t max_rows = schedule->max_rows;
    for (size_t i = 0; i < schedule->n_running; i++) {
        Sequence *sequence = schedule->running[i];
        sequence->pick = UINT32_MAX;
        if (plan->n_rows >= max_rows) {
            continue;
        }
        BatchRow *row = plan_row(plan, sequence->tokens[sequence->n_tokens - 1].id);
        row->kind = ROW_RESULTS;
        plan_pick(plan, sequence);
        uint32_t pos = sequence->n_prompt + sequence->n_tokens - 1;
        ExtentList extents = {0};
        extents_append_first(&extents, &sequence->path, pos + 1);
        plan_span(plan, 1, pos, &extents);
        extents_finish(&extents);
    }
}

Item *main_item(const Schedule *schedule)
{
    Item *reply = list_head(&schedule->lists[LIST_REPLIES]);
    Item *score = list_head(&schedule->lists[LIST_SCORES]);
    if (schedule->main != NULL) {
        return schedule->main;
    }
    if (reply == NULL || score == NULL) {
        return reply != NULL ? reply : score;
    }
    return item_goes_before(reply, score) ? reply : score;
}

/** Take a list's items until the step is full; returns how many are wholly in it. rival: the first
 * of the other list. */
static size_t list_advance(Schedule *schedule, const ItemList *list, const Item *rival)
{
    StepPlan *plan = &schedule->plan;
    size_t done = 0;
    plan->ahead = false;
    for (; done < list->n; done++) {
        Item *item = list->items[list->first + done];
        if (!plan->ahead && rival != NULL) { // once behind the rival, all the rest is
            plan->ahead =
                schedule->main != NULL ? schedule->main != item : !item_goes_before(item, rival);
        }
        if ((plan->ahead && schedule->alone) || item_advance(schedule, item) != EMIT_DONE) {
            break;
        }
        if (schedule->main == item) {
            main_done(schedule);
        }
    }
    return done;
}

/** Prompts first: their replies take many steps, which scored texts can fill. */
void plan_prefill(Schedule *schedule, size_t out_done[LIST_COUNT])
{
    const ItemList *replies = &schedule->lists[LIST_REPLIES];
    const ItemList *scores = &schedule->lists[LIST_SCORES];
    dialogues_sum(schedule);
    size_t done = list_advance(schedule, replies, list_head(scores));
    const Item *rival = done < replies->n ? replies->items[replies->first + done] : NULL;
    out_done[LIST_REPLIES] = done;
    out_done[LIST_SCORES] = list_advance(schedule, scores, rival);
}
