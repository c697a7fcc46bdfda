// SPDX-License-Identifier: MIT
// The radix tree over token sequences, which is both the plan (what is still to be computed, in
// depth-first order) and the cache (what has keys and values in KV slots). Every distinct prefix
// token has one place in it. Used by the driver thread only.
#pragma once

#include "engine/slots.h"

typedef struct TrieNode TrieNode;

/** Something wanted from the logits at one position: the picker's row, or a token's
 * log-probability. */
typedef struct TrieWant {
    uint32_t offset; // in the node
    bool logits;     // else log-probability of target
    int32_t target;
    uint32_t leaf;  // of the request
    uint32_t index; // scored position of the leaf
    void *request;
} TrieWant;

struct TrieNode {
    TrieNode *parent; // NULL for the root
    TrieNode *child;  // the newest; found by their first token through the trie's index
    TrieNode *next;   // siblings, a list both ways
    TrieNode *prev;
    int32_t *tokens; // owned; n_tokens >= 1 but for the root
    uint32_t n_tokens;
    uint32_t first_pos;  // position of tokens[0]
    uint32_t n_computed; // tokens with keys and values; the slots are extents' first n_computed
    uint32_t n_ahead;    // of these: computed out of order, and something waits for them
    ExtentList extents;
    uint32_t n_refs;   // unfinished sequences that pass through or end here
    uint64_t last_use; // does not change while nothing refers to the node
    size_t heap_at;    // place among the evictable, from 1; 0: not evictable
    uint64_t step;     // the step that last computed something here
    TrieWant *wants;   // owned
    uint32_t n_wants;
    uint32_t cap_wants;
    bool wants_sorted; // by offset
    void *dialogue;    // the scheduler's: whose last prompt ends here
};

typedef struct Trie {
    TrieNode *root;
    Slots *slots;               // of the pool; extents are given back when nodes go
    uint64_t n_tokens_inserted; // distinct prefix tokens ever put in: what has to be computed
    size_t n_nodes;
    uint64_t n_live;      // tokens of nodes with references
    uint64_t n_idle;      // slots of nodes without references: what eviction can free
    uint64_t n_ahead;     // sum over nodes
    TrieNode **index;     // children by parent and first token: open addressing
    size_t index_mask;    // slots less one; 0: none yet
    TrieNode **evictable; // heap: leaves without references, least recently used first
    size_t n_evictable;
    size_t cap_evictable;
} Trie;

/** How many first tokens of two sequences are the same, of the n that both have; the first `from`
 * are known to be. */
uint32_t tokens_common(const int32_t *a, const int32_t *b, uint32_t from, uint32_t n);

void trie_init(Trie *trie, Slots *slots);
void trie_finish(Trie *trie);
/**
 * The node at whose end the sequence ends, made as needed; adds one reference along its path.
 * near  where another sequence ends, with which it has the first n_same tokens in common; sorted
 *       sequences are put in without reading what they share. NULL: none, and n_same is 0. */
TrieNode *trie_insert(Trie *trie, TrieNode *near, uint32_t n_same, const int32_t *tokens,
                      uint32_t n);
/** Take back the reference of a sequence that ended at node. */
void trie_release(Trie *trie, TrieNode *node);
/** The node that holds an absolute position on the path that ends at node. */
TrieNode *trie_at(TrieNode *node, uint32_t pos);
void trie_want(TrieNode *node, const TrieWant *want);
/** Bring a node's wants in order of offset. */
void trie_wants_sort(TrieNode *node);
/** Drop the wants of a request that will not be answered any more, along a path. */
void trie_unwant(TrieNode *node, const void *request);
/** Free slots of nodes without references, least recently used first and deeper ones before those
 * they hang on, until n are free; false: too few, and nothing was freed. O(log nodes) for each node
 * that goes. */
bool trie_evict(Trie *trie, uint32_t n);
/** Note that the last n computed tokens of a node were computed out of order. */
void trie_mark_ahead(Trie *trie, TrieNode *node, uint32_t n);
/** The walk in order has come to this node. */
void trie_unmark_ahead(Trie *trie, TrieNode *node);
/** Give back the slots of a node that will be computed again. */
void trie_drop(Trie *trie, TrieNode *node);
/**
 * Keep what a finished reply computed: tokens with their slots become a child of node. The slots
 * are given back instead when there is a child that starts the same way. Returns where it ends, or
 * node, with one more reference, which the caller takes back with trie_release. */
TrieNode *trie_adopt(Trie *trie, TrieNode *node, const int32_t *tokens, uint32_t n,
                     ExtentList *extents, uint64_t now);
