// SPDX-License-Identifier: MIT
#include "engine/trie.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint32_t tokens_common(const int32_t *a, const int32_t *b, uint32_t from, uint32_t n)
{
    enum { AT_ONCE = 16 };
    uint32_t k = from;
    while (k + AT_ONCE <= n && memcmp(a + k, b + k, AT_ONCE * sizeof(*a)) == 0) {
        k += AT_ONCE;
    }
    while (k < n && a[k] == b[k]) {
        k++;
    }
    return k;
}

// ---- Which nodes can go: a binary heap ---------------------------------------------------------

/** Whether a goes before b. */
static bool goes_first(const TrieNode *a, const TrieNode *b)
{
    return a->last_use != b->last_use ? a->last_use < b->last_use : a->first_pos > b->first_pos;
}

static void heap_put(Trie *trie, size_t at, TrieNode *node)
{
    trie->evictable[at] = node;
    node->heap_at = at + 1;
}

static void heap_up(Trie *trie, size_t at, TrieNode *node)
{
    while (at > 0 && goes_first(node, trie->evictable[(at - 1) / 2])) {
        heap_put(trie, at, trie->evictable[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(trie, at, node);
}

static void heap_down(Trie *trie, size_t at, TrieNode *node)
{
    for (size_t kid = 2 * at + 1; kid < trie->n_evictable; kid = 2 * at + 1) {
        if (kid + 1 < trie->n_evictable &&
            goes_first(trie->evictable[kid + 1], trie->evictable[kid])) {
            kid++;
        }
        if (!goes_first(trie->evictable[kid], node)) {
            break;
        }
        heap_put(trie, at, trie->evictable[kid]);
        at = kid;
    }
    heap_put(trie, at, node);
}

static void heap_remove(Trie *trie, TrieNode *node)
{
    if (node->heap_at == 0) {
        return;
    }
    size_t at = node->heap_at - 1;
    node->heap_at = 0;
    TrieNode *last = trie->evictable[--trie->n_evictable];
    if (last == node) {
        return;
    }
    if (at > 0 && goes_first(last, trie->evictable[(at - 1) / 2])) {
        heap_up(trie, at, last);
    } else {
        heap_down(trie, at, last);
    }
}

/** Make a node evictable if nothing needs it: no sequence and no child. */
static void heap_offer(Trie *trie, TrieNode *node)
{
    if (node->n_refs > 0 || node->child != NULL || node->parent == NULL || node->heap_at > 0) {
        return;
    }
    if (trie->n_evictable == trie->cap_evictable) {
        trie->cap_evictable = trie->cap_evictable == 0 ? 64 : trie->cap_evictable * 2;
        trie->evictable =
            mem_realloc(trie->evictable, trie->cap_evictable, sizeof(*trie->evictable));
    }
    heap_up(trie, trie->n_evictable++, node);
}

// ---- Nodes ------------------------------------------------------------------------------------

static TrieNode *node_create(Trie *trie, TrieNode *parent, const int32_t *tokens, uint32_t n)
{
    TrieNode *node = mem_zalloc(1, sizeof(*node));
    node->parent = parent;
    node->n_tokens = n;
    node->first_pos = parent == NULL ? 0 : parent->first_pos + parent->n_tokens;
    if (n > 0) {
        node->tokens = mem_alloc(n, sizeof(*tokens));
        memcpy(node->tokens, tokens, n * sizeof(*tokens));
    }
    trie->n_nodes++;
    return node;
}

static void node_destroy(Trie *trie, TrieNode *node)
{
    slots_give(trie->slots, node->extents.items, node->extents.n);
    extents_finish(&node->extents);
    mem_free(node->tokens);
    mem_free(node->wants);
    mem_free(node);
    trie->n_nodes--;
}

// ---- Children by first token -------------------------------------------------------------------

static size_t index_start(const Trie *trie, const TrieNode *parent, int32_t token)
{
    return rng_mix((uint64_t)(uintptr_t)parent * 31 + (uint64_t)token) & trie->index_mask;
}

/** Where a child is, or the free place where it would be. */
static size_t index_find(const Trie *trie, const TrieNode *parent, int32_t token)
{
    size_t at = index_start(trie, parent, token);
    while (trie->index[at] != NULL &&
           (trie->index[at]->parent != parent || trie->index[at]->tokens[0] != token)) {
        at = (at + 1) & trie->index_mask;
    }
    return at;
}

static void index_grow(Trie *trie)
{
    if (trie->index_mask != 0 && trie->n_nodes * 2 <= trie->index_mask) {
        return;
    }
    TrieNode **old = trie->index;
    size_t n_old = old == NULL ? 0 : trie->index_mask + 1;
    trie->index_mask = n_old == 0 ? 255 : n_old * 2 - 1;
    trie->index = mem_zalloc(trie->index_mask + 1, sizeof(TrieNode *));
    for (size_t i = 0; i < n_old; i++) {
        if (old[i] != NULL) {
            trie->index[index_find(trie, old[i]->parent, old[i]->tokens[0])] = old[i];
        }
    }
    mem_free(old);
}

/** Empty a place and move those behind it that could not lie nearer to where they belong. */
static void index_remove(Trie *trie, const TrieNode *parent, int32_t token)
{
    size_t hole = index_find(trie, parent, token);
    trie->index[hole] = NULL;
    for (size_t at = (hole + 1) & trie->index_mask; trie->index[at] != NULL;
         at = (at + 1) & trie->index_mask) {
        size_t home = index_start(trie, trie->index[at]->parent, trie->index[at]->tokens[0]);
        if (((at - home) & trie->index_mask) >= ((at - hole) & trie->index_mask)) {
            trie->index[hole] = trie->index[at];
            trie->index[at] = NULL;
            hole = at;
        }
    }
}

/** NULL: there is none. */
static TrieNode *child_find(const Trie *trie, const TrieNode *parent, int32_t token)
{
    return parent->child == NULL ? NULL : trie->index[index_find(trie, parent, token)];
}

static void child_add(Trie *trie, TrieNode *parent, TrieNode *child)
{
    index_grow(trie);
    trie->index[index_find(trie, parent, child->tokens[0])] = child;
    child->next = parent->child;
    if (child->next != NULL) {
        child->next->prev = child;
    }
    parent->child = child;
}

static void child_remove(Trie *trie, TrieNode *child)
{
    index_remove(trie, child->parent, child->tokens[0]);
    if (child->prev != NULL) {
        child->prev->next = child->next;
    } else {
        child->parent->child = child->next;
    }
    if (child->next != NULL) {
        child->next->prev = child->prev;
    }
    child->next = child->prev = NULL;
}

void trie_init(Trie *trie, Slots *slots)
{
    *trie = (Trie){.slots = slots};
    trie->root = node_create(trie, NULL, NULL, 0);
}

/** Visit leaves until nothing is left: no recursion, paths can be as deep as there are branches. */
void trie_finish(Trie *trie)
{
    TrieNode *node = trie->root;
    while (node != NULL) {
        if (node->child != NULL) {
            node = node->child;
            continue;
        }
        TrieNode *parent = node->parent;
        if (parent != NULL) {
            parent->child = node->next;
        }
        node_destroy(trie, node);
        node = parent;
    }
    mem_free(trie->evictable);
    mem_free(trie->index);
    *trie = (Trie){0};
}

/** Hand the wants before offset at to upper, and count the others from there. */
static void wants_split(TrieNode *node, uint32_t at, TrieNode *upper)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->n_wants; i++) {
        TrieWant want = node->wants[i];
        if (want.offset < at) {
            trie_want(upper, &want);
        } else {
            want.offset -= at;
            node->wants[kept++] = want;
        }
    }
    node->n_wants = kept;
}

/** Split node so that it starts at offset at; the part before becomes a new node above it. */
static TrieNode *node_split(Trie *trie, TrieNode *node, uint32_t at)
{
    heap_remove(trie, node); // its place there depends on where it starts
    child_remove(trie, node);
    TrieNode *upper = node_create(trie, node->parent, node->tokens, at);
    child_add(trie, node->parent, upper);
    upper->n_refs = node->n_refs;
    upper->last_use = node->last_use;
    upper->step = node->step;
    upper->n_computed = node->n_computed < at ? node->n_computed : at;
    upper->n_ahead = node->n_ahead < upper->n_computed ? node->n_ahead : upper->n_computed;
    ExtentList tail = {0};
    extents_cut(&node->extents, at, &tail);
    upper->extents = node->extents;
    node->extents = tail;
    node->parent = upper;
    node->n_computed -= upper->n_computed;
    node->n_ahead -= upper->n_ahead;
    node->n_tokens -= at;
    node->first_pos += at;
    memmove(node->tokens, node->tokens + at, node->n_tokens * sizeof(*node->tokens));
    wants_split(node, at, upper);
    child_add(trie, upper, node);
    heap_offer(trie, node);
    return upper;
}

static uint32_t common_prefix(const TrieNode *node, const int32_t *tokens, uint32_t n)
{
    uint32_t limit = node->n_tokens < n ? node->n_tokens : n;
    return tokens_common(node->tokens, tokens, 0, limit);
}

/** Count one more sequence through every node of a path. */
static void path_hold(Trie *trie, TrieNode *node)
{
    for (; node != NULL; node = node->parent) {
        if (node->n_refs++ == 0) {
            trie->n_live += node->n_tokens;
            trie->n_idle -= node->n_computed;
            heap_remove(trie, node);
        }
    }
}

TrieNode *trie_insert(Trie *trie, TrieNode *near, uint32_t n_same, const int32_t *tokens,
                      uint32_t n)
{
    TrieNode *node = near == NULL ? trie->root : near;
    while (node->first_pos >= n_same && node->parent != NULL) {
        node = node->parent;
    }
    if (n_same < node->first_pos + node->n_tokens) {
        node = node_split(trie, node, n_same - node->first_pos);
    }
    for (uint32_t at = n_same; at < n;) {
        TrieNode *child = child_find(trie, node, tokens[at]);
        if (child == NULL) {
            child = node_create(trie, node, tokens + at, n - at);
            child_add(trie, node, child);
            trie->n_tokens_inserted += n - at;
            at = n;
        } else {
            uint32_t same = common_prefix(child, tokens + at, n - at);
            if (same < child->n_tokens) {
                child = node_split(trie, child, same);
            }
            at += same;
        }
        node = child;
    }
    path_hold(trie, node);
    return node;
}

void trie_release(Trie *trie, TrieNode *node)
{
    for (; node != NULL; node = node->parent) {
        assert(node->n_refs > 0);
        if (--node->n_refs == 0) {
            trie->n_live -= node->n_tokens;
            trie->n_idle += node->n_computed;
            trie_unmark_ahead(trie, node);
            heap_offer(trie, node);
        }
    }
}

TrieNode *trie_at(TrieNode *node, uint32_t pos)
{
    while (node->first_pos > pos) {
        node = node->parent;
    }
    return node;
}

void trie_want(TrieNode *node, const TrieWant *want)
{
    if (node->n_wants == node->cap_wants) {
        node->cap_wants = node->cap_wants == 0 ? 2 : node->cap_wants * 2;
        node->wants = mem_realloc(node->wants, node->cap_wants, sizeof(*node->wants));
    }
    node->wants[node->n_wants++] = *want;
    node->wants_sorted = false;
}

static int compare_wants(const void *a, const void *b)
{
    const TrieWant *x = a;
    const TrieWant *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return 0;
}

void trie_wants_sort(TrieNode *node)
{
    if (!node->wants_sorted && node->n_wants > 1) {
        qsort(node->wants, node->n_wants, sizeof(*node->wants), compare_wants);
    }
    node->wants_sorted = true;
}

void trie_unwant(TrieNode *node, const void *request)
{
    for (; node != NULL; node = node->parent) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < node->n_wants; i++) {
            if (node->wants[i].request != request) {
                node->wants[kept++] = node->wants[i];
            }
        }
        node->n_wants = kept;
    }
}

// ---- Eviction ---------------------------------------------------------------------------------

static void node_evict(Trie *trie, TrieNode *node)
{
    TrieNode *parent = node->parent;
    heap_remove(trie, node);
    child_remove(trie, node);
    trie->n_idle -= node->n_computed;
    node_destroy(trie, node);
    heap_offer(trie, parent);
}

bool trie_evict(Trie *trie, uint32_t n)
{
    if (n > slots_free(trie->slots) + trie->n_idle) { // what would not help is kept
        return false;
    }
    while (slots_free(trie->slots) < n && trie->n_evictable > 0) {
        node_evict(trie, trie->evictable[0]);
    }
    return slots_free(trie->slots) >= n;
}

void trie_mark_ahead(Trie *trie, TrieNode *node, uint32_t n)
{
    node->n_ahead += n;
    trie->n_ahead += n;
}

void trie_unmark_ahead(Trie *trie, TrieNode *node)
{
    trie->n_ahead -= node->n_ahead;
    node->n_ahead = 0;
}

void trie_drop(Trie *trie, TrieNode *node)
{
    trie_unmark_ahead(trie, node);
    trie->n_idle -= node->n_refs == 0 ? node->n_computed : 0;
    slots_give(trie->slots, node->extents.items, node->extents.n);
    extents_finish(&node->extents);
    node->n_computed = 0;
}

TrieNode *trie_adopt(Trie *trie, TrieNode *node, const int32_t *tokens, uint32_t n,
                     ExtentList *extents, uint64_t now)
{
    ExtentList rest = {0};
    extents_cut(extents, n, &rest);
    slots_give(trie->slots, rest.items, rest.n);
    extents_finish(&rest);
    if (n == 0 || child_find(trie, node, tokens[0]) != NULL) {
        slots_give(trie->slots, extents->items, extents->n);
        extents_finish(extents);
        path_hold(trie, node);
        return node;
    }
    TrieNode *child = node_create(trie, node, tokens, n);
    child->extents = *extents;
    child->n_computed = n;
    child->last_use = now;
    *extents = (ExtentList){0};
    trie->n_idle += n;
    heap_remove(trie, node);
    child_add(trie, node, child);
    path_hold(trie, child);
    return child;
}
