// SPDX-License-Identifier: MIT
#include "engine/trie.h"

#include <assert.h>
#include <string.h>

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

/** Where the child that starts with token is linked, or belongs: children go down by first token.
 */
static TrieNode **child_link(TrieNode *node, int32_t token)
{
    TrieNode **link = &node->child;
    while (*link != NULL && (*link)->tokens[0] > token) {
        link = &(*link)->sibling;
    }
    return link;
}

static void child_add(TrieNode *node, TrieNode *child)
{
    TrieNode **link = child_link(node, child->tokens[0]);
    child->sibling = *link;
    *link = child;
    node->n_children++;
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
            parent->child = node->sibling;
        }
        node_destroy(trie, node);
        node = parent;
    }
    mem_free(trie->evictable);
    *trie = (Trie){0};
}

/** Split node so that it starts at offset at; the part before becomes a new node above it. */
static TrieNode *node_split(Trie *trie, TrieNode *node, uint32_t at)
{
    TrieNode *parent = node->parent;
    heap_remove(trie, node); // its place there depends on where it starts
    TrieNode **link = child_link(parent, node->tokens[0]);
    TrieNode *upper = node_create(trie, parent, node->tokens, at);
    upper->sibling = node->sibling;
    *link = upper;
    upper->child = node;
    upper->n_children = 1;
    upper->n_refs = node->n_refs;
    upper->last_use = node->last_use;
    upper->step = node->step;
    upper->n_computed = node->n_computed < at ? node->n_computed : at;
    ExtentList tail = {0};
    extents_cut(&node->extents, at, &tail);
    upper->extents = node->extents;
    node->extents = tail;
    node->parent = upper;
    node->sibling = NULL;
    node->n_computed -= upper->n_computed;
    node->n_tokens -= at;
    node->first_pos += at;
    memmove(node->tokens, node->tokens + at, node->n_tokens * sizeof(*node->tokens));
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
    heap_offer(trie, node);
    return upper;
}

static uint32_t common_prefix(const TrieNode *node, const int32_t *tokens, uint32_t n)
{
    uint32_t limit = node->n_tokens < n ? node->n_tokens : n;
    uint32_t k = 0;
    while (k < limit && node->tokens[k] == tokens[k]) {
        k++;
    }
    return k;
}

TrieNode *trie_insert(Trie *trie, const int32_t *tokens, uint32_t n)
{
    TrieNode *node = trie->root;
    node->n_refs++;
    for (uint32_t at = 0; at < n;) {
        TrieNode *child = *child_link(node, tokens[at]);
        if (child == NULL || child->tokens[0] != tokens[at]) {
            child = node_create(trie, node, tokens + at, n - at);
            child_add(node, child);
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
        heap_remove(trie, node);
        node->n_refs++;
    }
    return node;
}

void trie_release(Trie *trie, TrieNode *node)
{
    for (; node != NULL; node = node->parent) {
        assert(node->n_refs > 0);
        node->n_refs--;
        heap_offer(trie, node);
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

/** Next node in depth-first order. */
static TrieNode *node_next(const TrieNode *node)
{
    if (node->child != NULL) {
        return node->child;
    }
    while (node != NULL && node->sibling == NULL) {
        node = node->parent;
    }
    return node == NULL ? NULL : node->sibling;
}

static void node_evict(Trie *trie, TrieNode *node)
{
    TrieNode *parent = node->parent;
    heap_remove(trie, node);
    *child_link(parent, node->tokens[0]) = node->sibling;
    parent->n_children--;
    node_destroy(trie, node);
    heap_offer(trie, parent);
}

bool trie_evict(Trie *trie, uint32_t n)
{
    if (n > trie->slots->n_slots) {
        return false;
    }
    while (slots_free(trie->slots) < n && trie->n_evictable > 0) {
        node_evict(trie, trie->evictable[0]);
    }
    return slots_free(trie->slots) >= n;
}

void trie_forget(Trie *trie)
{
    for (TrieNode *node = trie->root; node != NULL; node = node_next(node)) {
        node->n_computed = 0;
        extents_finish(&node->extents);
    }
}

void trie_adopt(Trie *trie, TrieNode *node, const int32_t *tokens, uint32_t n, ExtentList *extents,
                uint64_t now)
{
    ExtentList rest = {0};
    extents_cut(extents, n, &rest);
    slots_give(trie->slots, rest.items, rest.n);
    extents_finish(&rest);
    const TrieNode *twin = n > 0 ? *child_link(node, tokens[0]) : NULL;
    if (n == 0 || (twin != NULL && twin->tokens[0] == tokens[0])) {
        slots_give(trie->slots, extents->items, extents->n);
        extents_finish(extents);
        return;
    }
    TrieNode *child = node_create(trie, node, tokens, n);
    child->extents = *extents;
    child->n_computed = n;
    child->last_use = now;
    *extents = (ExtentList){0};
    heap_remove(trie, node);
    child_add(node, child);
    heap_offer(trie, child);
}
