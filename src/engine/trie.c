// SPDX-License-Identifier: MIT
#include "engine/trie.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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
    *trie = (Trie){0};
}

/** Split node so that it starts at offset at; the part before becomes a new node above it. */
static TrieNode *node_split(Trie *trie, TrieNode *node, uint32_t at)
{
    TrieNode *parent = node->parent;
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
        node->n_refs++;
    }
    return node;
}

void trie_release(TrieNode *node)
{
    for (; node != NULL; node = node->parent) {
        assert(node->n_refs > 0);
        node->n_refs--;
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

static int by_last_use(const void *a, const void *b)
{
    const TrieNode *x = *(TrieNode *const *)a;
    const TrieNode *y = *(TrieNode *const *)b;
    if (x->last_use != y->last_use) {
        return x->last_use < y->last_use ? -1 : 1;
    }
    return x->first_pos > y->first_pos ? -1 : x->first_pos < y->first_pos; // deeper first
}

static void node_unlink(Trie *trie, TrieNode *node)
{
    TrieNode **link = child_link(node->parent, node->tokens[0]);
    *link = node->sibling;
    node->parent->n_children--;
    node_destroy(trie, node);
}

/** One round over today's unreferenced leaves; true when any was dropped. */
static bool evict_leaves(Trie *trie, uint32_t n)
{
    TrieNode **leaves = mem_alloc(trie->n_nodes, sizeof(TrieNode *));
    size_t n_leaves = 0;
    for (TrieNode *node = trie->root; node != NULL; node = node_next(node)) {
        if (node->child == NULL && node->n_refs == 0 && node->parent != NULL) {
            leaves[n_leaves++] = node;
        }
    }
    qsort(leaves, n_leaves, sizeof(*leaves), by_last_use);
    for (size_t i = 0; i < n_leaves && slots_free(trie->slots) < n; i++) {
        node_unlink(trie, leaves[i]);
    }
    mem_free(leaves);
    return n_leaves > 0;
}

bool trie_evict(Trie *trie, uint32_t n)
{
    if (n > trie->slots->n_slots) {
        return false;
    }
    // Some more than asked for, so that the walk over the tree is not repeated for every span.
    uint32_t spare = trie->slots->n_slots / 32;
    uint32_t goal = n + spare < trie->slots->n_slots ? n + spare : trie->slots->n_slots;
    while (slots_free(trie->slots) < n && evict_leaves(trie, goal)) {
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
    child_add(node, child);
}
