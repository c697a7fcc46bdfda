// SPDX-License-Identifier: MIT
// Merging the symbols of one word, the same for both models: of all neighbours that may become one
// symbol, those of the best rank do, the leftmost first, until none is left. Short words scan an
// array; long ones use a heap over a linked list, so a word without spaces costs n log n.
#include "engine/tokenizer_internal.h"

#include <string.h>

#define SHORT_SYMBOLS  32
#define WORD_BYTES_MAX (UINT32_C(1) << 20) // longer words are cut: bounds the memory of the list
#define NONE           UINT32_MAX

void scratch_push(Scratch *scratch, int32_t id)
{
    if (scratch->n_ids == scratch->cap_ids) {
        scratch->cap_ids = scratch->cap_ids > 0 ? scratch->cap_ids * 2 : 256;
        scratch->ids = mem_realloc(scratch->ids, scratch->cap_ids, sizeof(*scratch->ids));
    }
    scratch->ids[scratch->n_ids++] = id;
}

// ---- What may merge ----------------------------------------------------------------------------

static size_t pair_hash(int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32); // all bits count in the upper half
}

size_t tokenizer_pair(const Tokenizer *tokenizer, int32_t left, int32_t right)
{
    size_t at = pair_hash(left, right) & tokenizer->pair_mask;
    const Pair *pair = &tokenizer->pairs[at];
    while (pair->left >= 0 && (pair->left != left || pair->right != right)) {
        at = (at + 1) & tokenizer->pair_mask;
        pair = &tokenizer->pairs[at];
    }
    return at;
}

/** Rank and result of merging two neighbours that cover bytes [from, from + len) of word. */
static bool find_merge(const Tokenizer *tokenizer, Str word, const MergeNode *left,
                       const MergeNode *right, uint32_t *rank, int32_t *result)
{
    if (tokenizer->model == MODEL_BPE) {
        const Pair *pair =
            &tokenizer->pairs[tokenizer_pair(tokenizer, left->symbol, right->symbol)];
        *rank = pair->rank;
        *result = pair->result;
        return pair->left >= 0;
    }
    size_t len = (size_t)left->len + right->len;
    if (len > tokenizer->longest) {
        return false;
    }
    *result =
        symbol_map_find(&tokenizer->map, tokenizer->symbols, (Str){word.data + left->from, len});
    *rank = *result >= 0 ? tokenizer->ranks[*result] : 0;
    return *result >= 0;
}

// ---- Start and end of a word -------------------------------------------------------------------

/** One node a byte (BPE) or a character (SPM); returns how many. */
static size_t start_nodes(const Tokenizer *tokenizer, Scratch *scratch, Str word)
{
    size_t n = 0;
    if (scratch->cap_nodes < word.len) {
        scratch->cap_nodes = word.len + 64;
        mem_free(scratch->nodes);
        scratch->nodes = mem_alloc(scratch->cap_nodes, sizeof(*scratch->nodes));
    }
    for (size_t at = 0; at < word.len; n++) {
        MergeNode *node = &scratch->nodes[n];
        size_t from = at;
        if (tokenizer->model == MODEL_BPE) {
            node->symbol = tokenizer->byte_symbols[(uint8_t)word.data[at++]];
        } else {
            utf8_next(word, &at);
            node->symbol = symbol_map_find(&tokenizer->map, tokenizer->symbols,
                                           (Str){word.data + from, at - from});
        }
        node->from = (uint32_t)from;
        node->len = (uint32_t)(at - from);
        node->prev = n > 0 ? (uint32_t)n - 1 : NONE;
        node->next = at < word.len ? (uint32_t)n + 1 : NONE;
    }
    return n;
}

/** Bytes that no token covers: byte tokens, else (SPM) one unknown token for all, else nothing. */
static void push_bytes(const Tokenizer *tokenizer, Scratch *scratch, Str bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        int32_t id = tokenizer->byte_symbols[(uint8_t)bytes.data[i]];
        if (id >= 0 && (size_t)id < tokenizer->n_tokens) {
            scratch_push(scratch, id);
        } else if (tokenizer->model == MODEL_SPM && tokenizer->unknown >= 0 &&
                   (scratch->n_ids == scratch->word_start ||
                    scratch->ids[scratch->n_ids - 1] != tokenizer->unknown)) {
            scratch_push(scratch, tokenizer->unknown);
        }
    }
}

static void push_node(const Tokenizer *tokenizer, Scratch *scratch, Str word, const MergeNode *node)
{
    if (node->symbol >= 0 && (size_t)node->symbol < tokenizer->n_tokens) {
        scratch_push(scratch, node->symbol);
    } else {
        push_bytes(tokenizer, scratch, (Str){word.data + node->from, node->len});
    }
}

// ---- Short words -------------------------------------------------------------------------------

typedef struct ShortMerge {
    uint32_t rank; // NONE: may not merge
    int32_t result;
} ShortMerge;

static ShortMerge short_merge(const Tokenizer *tokenizer, Str word, const MergeNode *left)
{
    ShortMerge merge = {.rank = NONE};
    if (!find_merge(tokenizer, word, left, left + 1, &merge.rank, &merge.result)) {
        merge.rank = NONE;
    }
    return merge;
}

/** The nodes lie side by side: their links are not used. */
static void merge_short(const Tokenizer *tokenizer, Scratch *scratch, Str word, size_t n)
{
    MergeNode *nodes = scratch->nodes;
    ShortMerge merges[SHORT_SYMBOLS]; // of a node with the one after it
    for (size_t i = 0; i + 1 < n; i++) {
        merges[i] = short_merge(tokenizer, word, &nodes[i]);
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = merges[i].rank < merges[best].rank ? i : best;
        }
        if (merges[best].rank == NONE) {
            break;
        }
        nodes[best].symbol = merges[best].result;
        nodes[best].len += nodes[best + 1].len;
        n--;
        memmove(&nodes[best + 1], &nodes[best + 2], (n - best - 1) * sizeof(nodes[0]));
        if (best + 1 < n) {
            memmove(&merges[best + 1], &merges[best + 2], (n - best - 2) * sizeof(merges[0]));
            merges[best] = short_merge(tokenizer, word, &nodes[best]);
        }
        if (best > 0) {
            merges[best - 1] = short_merge(tokenizer, word, &nodes[best - 1]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        push_node(tokenizer, scratch, word, &nodes[i]);
    }
}

// ---- Long words --------------------------------------------------------------------------------

static bool merge_before(const Merge *a, const Merge *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void heap_push(Scratch *scratch, Merge merge)
{
    if (scratch->n_heap == scratch->cap_heap) {
        scratch->cap_heap = scratch->cap_heap > 0 ? scratch->cap_heap * 2 : 256;
        scratch->heap = mem_realloc(scratch->heap, scratch->cap_heap, sizeof(*scratch->heap));
    }
    size_t at = scratch->n_heap++;
    while (at > 0 && merge_before(&merge, &scratch->heap[(at - 1) / 2])) {
        scratch->heap[at] = scratch->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    scratch->heap[at] = merge;
}

static Merge heap_pop(Scratch *scratch)
{
    Merge *heap = scratch->heap;
    Merge top = heap[0], last = heap[--scratch->n_heap];
    size_t at = 0, n = scratch->n_heap;
    for (size_t child = 1; child < n; child = at * 2 + 1) {
        child += child + 1 < n && merge_before(&heap[child + 1], &heap[child]) ? 1 : 0;
        if (!merge_before(&heap[child], &last)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static void push_merge(const Tokenizer *tokenizer, Scratch *scratch, Str word, uint32_t left)
{
    const MergeNode *node = &scratch->nodes[left];
    if (node->next == NONE) {
        return;
    }
    const MergeNode *right = &scratch->nodes[node->next];
    Merge merge = {.left = left, .len = node->len + right->len};
    if (find_merge(tokenizer, word, node, right, &merge.rank, &merge.result)) {
        heap_push(scratch, merge);
    }
}

static void merge_long(const Tokenizer *tokenizer, Scratch *scratch, Str word, size_t n)
{
    MergeNode *nodes = scratch->nodes;
    scratch->n_heap = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        push_merge(tokenizer, scratch, word, (uint32_t)i);
    }
    while (scratch->n_heap > 0) {
        Merge merge = heap_pop(scratch);
        MergeNode *left = &nodes[merge.left];
        // Both ends have stayed as they were if and only if together they are as long as they were.
        if (left->len == 0 || left->next == NONE ||
            left->len + nodes[left->next].len != merge.len) {
            continue;
        }
        MergeNode *right = &nodes[left->next];
        left->symbol = merge.result;
        left->len = merge.len;
        left->next = right->next;
        right->len = 0;
        if (right->next != NONE) {
            nodes[right->next].prev = merge.left;
        }
        push_merge(tokenizer, scratch, word, merge.left);
        if (left->prev != NONE) {
            push_merge(tokenizer, scratch, word, left->prev);
        }
    }
    for (uint32_t i = 0; i != NONE; i = nodes[i].next) {
        push_node(tokenizer, scratch, word, &nodes[i]);
    }
}

// ---- Words -------------------------------------------------------------------------------------

static void encode_uncached(const Tokenizer *tokenizer, Scratch *scratch, Str word)
{
    while (word.len > WORD_BYTES_MAX) {
        size_t cut = WORD_BYTES_MAX;
        for (int i = 0; i < 3 && ((uint8_t)word.data[cut] & 0xc0) == 0x80; i++) {
            cut--; // not inside a character
        }
        encode_uncached(tokenizer, scratch, str_slice(word, 0, cut));
        word = str_slice(word, cut, word.len);
    }
    size_t n = start_nodes(tokenizer, scratch, word);
    if (n == 0) {
        return;
    }
    if (n <= SHORT_SYMBOLS) {
        merge_short(tokenizer, scratch, word, n);
    } else {
        merge_long(tokenizer, scratch, word, n);
    }
}

void tokenizer_encode_word(const Tokenizer *tokenizer, Scratch *scratch, Str word)
{
    scratch->word_start = scratch->n_ids;
    if (tokenizer->ignore_merges) {
        int32_t whole = symbol_map_find(&tokenizer->map, tokenizer->symbols, word);
        if (whole >= 0 && (size_t)whole < tokenizer->n_tokens) {
            scratch_push(scratch, whole);
            return;
        }
    }
    if (word.len == 0 || word.len > CACHE_WORD_BYTES) {
        encode_uncached(tokenizer, scratch, word);
        return;
    }
    CachedWord *cached = &scratch->cache[hash_fast(word.data, word.len) % CACHE_WORDS];
    if (cached->len == word.len && memcmp(cached->word, word.data, word.len) == 0) {
        for (size_t i = 0; i < cached->n; i++) {
            scratch_push(scratch, cached->ids[i]);
        }
        return;
    }
    encode_uncached(tokenizer, scratch, word);
    size_t n = scratch->n_ids - scratch->word_start;
    if (n > 0 && n <= CACHE_WORD_IDS) {
        cached->len = (uint8_t)word.len;
        cached->n = (uint8_t)n;
        memcpy(cached->word, word.data, word.len);
        memcpy(cached->ids, scratch->ids + scratch->word_start, n * sizeof(int32_t));
    }
}
