// SPDX-License-Identifier: MIT
// How many prompts may be under way at once. A reply may be gone on from: the next prompt begins
// with all of it, and finds its keys and values if they are kept until then. So what has begun must
// be able to come to its end, or its beginning is dropped and computed again. One rule: a turn
// takes slots when beside it the oldest dialogue can come to the most that dialogues come to, and
// all others that began before it half way to what they come to on average. Then one always ends,
// and what it leaves is enough for the next; they do not all end at once. Driver thread only.
#include "engine/engine_internal.h"

/** How much dialogues grow on average beyond their first turn. */
static uint64_t growth_mean(const Dialogues *all)
{
    return all->n_ended == 0 ? 0 : (all->grown + all->n_ended - 1) / all->n_ended;
}

/** Slots that are kept for what a dialogue grows beyond its first turn, while it has grown so much.
 * Before any has ended, each may double. */
static uint64_t growth_kept(const Dialogues *all, const Dialogue *dialogue)
{
    bool oldest = dialogue == all->oldest;
    uint64_t comes_to = oldest ? all->most : growth_mean(all);
    if (all->n_ended == 0) {
        comes_to = dialogue->first_own > all->most ? dialogue->first_own : all->most;
    }
    uint64_t left = comes_to > dialogue->grown ? comes_to - dialogue->grown : 0;
    return oldest ? left : (left + 1) / 2;
}

/** How far a turn goes beyond the first one of its dialogue. */
static uint64_t turn_growth(const Dialogue *dialogue, const Job *job)
{
    uint64_t n = (uint64_t)job->items[0].n + job_reserve(job);
    return n > dialogue->first ? n - dialogue->first : 0;
}

/** Slots that are kept for a dialogue beyond those it has; those of a turn that waits at least. */
static uint64_t dialogue_rest(const Dialogues *all, const Dialogue *dialogue)
{
    uint64_t rest = growth_kept(all, dialogue);
    uint64_t need = dialogue->waiting == NULL ? 0 : item_need(&dialogue->waiting->items[0]);
    return need > rest ? need : rest;
}

void dialogues_sum(Schedule *schedule)
{
    Dialogues *all = &schedule->dialogues;
    all->rest = 0;
    all->taken = 0;
    for (Dialogue *at = all->oldest; at != NULL; at = at->newer) {
        all->rest += dialogue_rest(all, at);
        at->rest_up_to = all->rest;
    }
}

/** What of a prompt no other sequence has, and its reply. */
static uint64_t turn_own(const Item *item)
{
    uint64_t own = job_reserve(item->job);
    for (const TrieNode *node = item->node; node->parent != NULL && node->n_refs == 1;
         node = node->parent) {
        own += node->n_tokens;
    }
    return own;
}

bool dialogue_may_turn(const Schedule *schedule, const Item *item)
{
    const Dialogues *all = &schedule->dialogues;
    const Dialogue *dialogue = item->job->dialogue;
    if (all->oldest == NULL || dialogue == all->oldest) {
        return true;
    }
    uint64_t room = slots_free(&schedule->slots) + schedule->trie.n_idle + all->taken;
    if (dialogue != NULL) {
        return room >= dialogue->rest_up_to;
    }
    Dialogue begun = {.first_own = turn_own(item)};
    return room >= all->rest + item_need(item) + growth_kept(all, &begun);
}

void dialogue_turn(Schedule *schedule, Job *job)
{
    Dialogues *all = &schedule->dialogues;
    Dialogue *dialogue = job->dialogue;
    if (dialogue == NULL) {
        dialogue = mem_zalloc(1, sizeof(*dialogue));
        *dialogue = (Dialogue){.older = all->newest,
                               .number = ++all->n_begun,
                               .first = (uint64_t)job->items[0].n + job_reserve(job),
                               .first_own = turn_own(&job->items[0])};
        *(all->newest == NULL ? &all->oldest : &all->newest->newer) = dialogue;
        all->newest = dialogue;
        all->rest += growth_kept(all, dialogue);
        job->dialogue = dialogue;
        return;
    }
    uint64_t before = dialogue_rest(all, dialogue);
    uint64_t growth = turn_growth(dialogue, job);
    dialogue->grown = growth > dialogue->grown ? growth : dialogue->grown;
    dialogue->waiting = NULL;
    all->taken += before - dialogue_rest(all, dialogue);
}

void dialogue_turn_ended(Schedule *schedule, Job *job)
{
    Dialogue *dialogue = job->dialogue;
    TrieNode *node = job->items[0].node;
    job->items[0].node = NULL;
    if (dialogue == NULL) {
        trie_release(&schedule->trie, node);
        return;
    }
    dialogue->waiting = NULL; // it may not have come to its turn
    dialogue->prompt = node;
    dialogue->turn_ended = schedule->n_finished + 1;
    dialogue->beside = node->dialogue;
    node->dialogue = dialogue;
}

/** Let go of what the last turn left: something follows, which holds what it goes on from, or
 * nothing does. */
static void dialogue_leave(Schedule *schedule, Dialogue *dialogue)
{
    TrieNode *node = dialogue->prompt;
    if (node->dialogue == dialogue) {
        node->dialogue = dialogue->beside;
    }
    for (Dialogue *at = node->dialogue; at != NULL; at = at->beside) {
        at->beside = at->beside == dialogue ? dialogue->beside : at->beside;
    }
    if (dialogue->reply != NULL) {
        trie_release(&schedule->trie, dialogue->reply);
    }
    trie_release(&schedule->trie, node);
    dialogue->prompt = dialogue->reply = NULL;
}

void dialogue_follow(Schedule *schedule, Job *job)
{
    Dialogues *all = &schedule->dialogues;
    TrieNode *node = job->items[0].node;
    while (node != NULL && node->dialogue == NULL) {
        node = node->parent;
    }
    if (node == NULL) {
        return;
    }
    Dialogue *dialogue = node->dialogue;
    dialogue_leave(schedule, dialogue);
    dialogue->waiting = job;
    job->dialogue = dialogue;
    uint64_t growth = turn_growth(dialogue, job);
    all->most = growth > all->most ? growth : all->most;
}

static void dialogue_end(Schedule *schedule, Dialogue *dialogue)
{
    Dialogues *all = &schedule->dialogues;
    dialogue_leave(schedule, dialogue);
    all->n_ended++;
    all->grown += dialogue->grown;
    uint64_t mean = growth_mean(all);
    all->most -= all->most > mean ? (all->most - mean) / 16 : 0; // what is rare is forgotten
    all->most = dialogue->grown > all->most ? dialogue->grown : all->most;
    *(dialogue->older == NULL ? &all->oldest : &dialogue->older->newer) = dialogue->newer;
    *(dialogue->newer == NULL ? &all->newest : &dialogue->newer->older) = dialogue->older;
    mem_free(dialogue);
}

void dialogues_heard(Schedule *schedule, uint64_t n_finished)
{
    Dialogue *next;
    for (Dialogue *at = schedule->dialogues.oldest; at != NULL; at = next) {
        next = at->newer;
        if (at->prompt != NULL && at->turn_ended <= n_finished) {
            dialogue_end(schedule, at);
        }
    }
}

void dialogues_finish(Dialogues *all)
{
    while (all->oldest != NULL) {
        Dialogue *next = all->oldest->newer;
        mem_free(all->oldest);
        all->oldest = next;
    }
}
