// SPDX-License-Identifier: MIT
// Order and tree: sorting against plain comparison, lists that keep what started in front, and the
// tree's counters against a walk over all of it, through random inserts, releases and evictions.
#include "engine/engine_internal.h"

#include "../tap.h"

#include <stdlib.h>

static Rng rng;
static Arena arena;

/** Sequences over few tokens, so that many share long prefixes or are equal. */
static Item **items_make(size_t n, size_t max_len, uint32_t n_tokens)
{
    Item **items = ARENA_ARRAY(&arena, Item *, n + 1);
    for (size_t i = 0; i < n; i++) {
        uint32_t len = 1 + (uint32_t)rng_below(&rng, max_len);
        int32_t *tokens = ARENA_ARRAY(&arena, int32_t, len);
        bool copy = i > 0 && rng_below(&rng, 3) == 0;
        const Item *from = copy ? items[rng_below(&rng, i)] : NULL;
        for (uint32_t k = 0; k < len; k++) {
            tokens[k] = copy && k < from->n ? from->tokens[k] : (int32_t)rng_below(&rng, n_tokens);
        }
        items[i] = ARENA_NEW(&arena, Item);
        items[i]->job = ARENA_NEW(&arena, Job);
        items[i]->job->id = rng_below(&rng, n);
        items[i]->leaf = (uint32_t)i;
        items[i]->tokens = tokens;
        items[i]->n = len;
    }
    return items;
}

static uint32_t plain_lcp(const Item *a, const Item *b)
{
    uint32_t k = 0;
    while (k < a->n && k < b->n && a->tokens[k] == b->tokens[k]) {
        k++;
    }
    return k;
}

static void test_order__sorts_like_plain_comparison(void)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        rng_init(&rng, seed);
        size_t n = rng_below(&rng, 300);
        Item **items = items_make(n, 1 + rng_below(&rng, 70), 2 + (uint32_t)(seed % 5) * 9000);
        Item **sorted = ARENA_ARRAY(&arena, Item *, n + 1);
        uint32_t *lcp = ARENA_ARRAY(&arena, uint32_t, n + 1);
        size_t at = 0;
        for (size_t i = 0; i < n; i++) { // plain insertion
            for (at = i; at > 0 && item_goes_before(items[i], sorted[at - 1]); at--) {
                sorted[at] = sorted[at - 1];
            }
            sorted[at] = items[i];
        }
        items_sort(items, n, lcp);
        for (size_t i = 0; i < n; i++) {
            CHECK(items[i] == sorted[i]);
            CHECK_INT(lcp[i], i == 0 ? 0 : plain_lcp(items[i - 1], items[i]));
        }
    }
    arena_reset(&arena);
}

static void test_order__keeps_what_started_in_front(void)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        rng_init(&rng, seed);
        ItemList list = {0};
        size_t n = 0;
        Item *front = NULL;
        for (int wave = 0; wave < 12; wave++) {
            size_t more = rng_below(&rng, wave % 3 == 0 ? 200 : 3);
            Item **items = items_make(more, 20, 3);
            uint32_t *lcp = ARENA_ARRAY(&arena, uint32_t, more + 1);
            items_sort(items, more, lcp);
            list_merge(&list, items, more);
            n += more;
            size_t gone = n > 0 ? rng_below(&rng, n / 2 + 1) : 0;
            list_drop_front(&list, gone);
            n -= gone;
            if (wave % 4 == 3) {
                front = items_make(1, 20, 3)[0];
                list_push_front(&list, front);
                n++;
            }
            if (n > 0) {
                list_head(&list)->started = true;
            }
            CHECK_INT(list.n, n);
            CHECK(wave % 4 != 3 || list_head(&list) == front);
            for (size_t i = 2; i < n; i++) { // in order, but for those that started
                const Item *before = list.items[list.first + i - 1];
                const Item *item = list.items[list.first + i];
                CHECK(before->started || item_goes_before(before, item));
                CHECK(!item->started || before->started);
            }
        }
        mem_free(list.items);
    }
    arena_reset(&arena);
}

// ---- The tree ---------------------------------------------------------------------------------

typedef struct Counts {
    uint64_t nodes, live, idle, ahead, slots;
} Counts;

static void count_below(const TrieNode *node, Counts *counts)
{
    counts->nodes++;
    counts->live += node->n_refs > 0 ? node->n_tokens : 0;
    counts->idle += node->n_refs == 0 ? node->n_computed : 0;
    counts->ahead += node->n_ahead;
    counts->slots += extents_total(&node->extents);
    CHECK(extents_total(&node->extents) == node->n_computed);
    for (const TrieNode *child = node->child; child != NULL; child = child->next) {
        CHECK(child->parent == node);
        CHECK(child->next == NULL || child->next->prev == child);
        CHECK(child->first_pos == node->first_pos + node->n_tokens);
        CHECK(child->n_refs <= node->n_refs);
        count_below(child, counts);
    }
}

static void check_counts(const Trie *trie)
{
    Counts counts = {0};
    count_below(trie->root, &counts);
    CHECK_INT(trie->n_nodes, counts.nodes);
    CHECK_INT(trie->n_live, counts.live);
    CHECK_INT(trie->n_idle, counts.idle);
    CHECK_INT(trie->n_ahead, counts.ahead);
    CHECK_INT(trie->slots->n_taken, counts.slots);
}

/** Compute what is missing on a path, as far as slots go. */
static void path_compute(Trie *trie, TrieNode *node, bool ahead)
{
    if (node->parent == NULL) {
        return;
    }
    path_compute(trie, node->parent, ahead);
    uint32_t n = node->n_tokens - node->n_computed;
    uint64_t idle = trie->n_idle;
    uint32_t unused = slots_free(trie->slots);
    bool fits = n <= unused + idle;
    CHECK(trie_evict(trie, n) == fits);
    CHECK(fits || (trie->n_idle == idle && slots_free(trie->slots) == unused));
    if (fits) {
        slots_take(trie->slots, n, &node->extents);
        node->n_computed += n;
        if (ahead) {
            trie_mark_ahead(trie, node, n);
        } else {
            trie_unmark_ahead(trie, node);
        }
    }
}

static void test_trie__counts_what_it_holds(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rng_init(&rng, seed);
        Slots slots;
        Trie trie;
        TrieNode *held[60] = {0};
        uint64_t distinct = 0;
        slots_init(&slots, 150 + (uint32_t)rng_below(&rng, 500));
        trie_init(&trie, &slots);
        for (int wave = 0; wave < 20; wave++) {
            size_t n = 3 + rng_below(&rng, 17);
            Item **items = items_make(n, 40, 3);
            uint32_t *lcp = ARENA_ARRAY(&arena, uint32_t, n + 1);
            items_sort(items, n, lcp);
            TrieNode *near = NULL;
            for (size_t i = 0; i < n; i++) {
                size_t place = rng_below(&rng, 60);
                uint32_t same = seed % 2 == 0 ? lcp[i] : 0; // with and without the hint
                near =
                    trie_insert(&trie, same > 0 ? near : NULL, same, items[i]->tokens, items[i]->n);
                CHECK_INT(near->first_pos + near->n_tokens, items[i]->n);
                for (const TrieNode *node = near; node->parent != NULL; node = node->parent) {
                    CHECK(memcmp(node->tokens, items[i]->tokens + node->first_pos,
                                 node->n_tokens * sizeof(int32_t)) == 0);
                }
                near->last_use = rng_below(&rng, 5);
                path_compute(&trie, near, rng_below(&rng, 2) == 0);
                if (held[place] != NULL) {
                    trie_release(&trie, held[place]);
                }
                held[place] = near;
                distinct += wave == 0 ? items[i]->n - lcp[i] : 0;
            }
            CHECK(wave > 0 || trie.n_tokens_inserted == distinct);
            if (rng_below(&rng, 3) == 0 && near->n_computed > 0) {
                trie_drop(&trie, near);
            }
            check_counts(&trie);
        }
        for (size_t i = 0; i < 60; i++) {
            if (held[i] != NULL) {
                trie_release(&trie, held[i]);
            }
        }
        CHECK_INT(trie.n_live, 0);
        CHECK_INT(trie.n_ahead, 0);
        CHECK(trie_evict(&trie, slots.n_slots));
        CHECK_INT(slots.n_taken, 0);
        check_counts(&trie);
        trie_finish(&trie);
        slots_finish(&slots);
    }
    arena_reset(&arena);
}

int main(void)
{
    arena_init(&arena, 1 << 16);
    tap_run("sorts like plain comparison", test_order__sorts_like_plain_comparison);
    tap_run("keeps what started in front", test_order__keeps_what_started_in_front);
    tap_run("the tree counts what it holds", test_trie__counts_what_it_holds);
    arena_finish(&arena);
    return tap_done();
}
