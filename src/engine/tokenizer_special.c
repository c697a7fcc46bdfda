// SPDX-License-Identifier: MIT
// Special tokens written out in a text, found by walking a trie of their texts: the first place
// wins, and there the longest. (llama.cpp lets the longest token of the whole text win; the two
// differ only where special tokens overlap.)
#include "engine/tokenizer_internal.h"

#define TRIE_NODES_MAX (UINT32_C(1) << 22)

static bool is_special(uint8_t kind)
{
    return kind == TOKEN_CONTROL || kind == TOKEN_USER || kind == TOKEN_UNKNOWN;
}

static uint32_t trie_child(const Tokenizer *tokenizer, uint32_t node, uint8_t byte)
{
    uint32_t child = tokenizer->trie[node].child;
    while (child != 0 && tokenizer->trie[child].byte != byte) {
        child = tokenizer->trie[child].next;
    }
    return child;
}

static uint32_t trie_new(Tokenizer *tokenizer, uint8_t byte)
{
    uint32_t node = (uint32_t)tokenizer->n_trie++;
    tokenizer->trie[node] = (TrieNode){.token = -1, .byte = byte};
    return node;
}

static void trie_add(Tokenizer *tokenizer, int32_t token)
{
    Str text = tokenizer->symbols[token];
    uint32_t *root = &tokenizer->trie_root[(uint8_t)text.data[0]];
    if (*root == 0) {
        *root = trie_new(tokenizer, (uint8_t)text.data[0]);
    }
    uint32_t node = *root;
    for (size_t i = 1; i < text.len; i++) {
        uint32_t child = trie_child(tokenizer, node, (uint8_t)text.data[i]);
        if (child == 0) {
            child = trie_new(tokenizer, (uint8_t)text.data[i]);
            tokenizer->trie[child].next = tokenizer->trie[node].child;
            tokenizer->trie[node].child = child;
        }
        node = child;
    }
    if (tokenizer->trie[node].token < 0) {
        tokenizer->trie[node].token = token;
    }
}

bool tokenizer_load_special(Tokenizer *tokenizer, Err *err)
{
    size_t n_nodes = 1; // node 0 means none
    for (size_t i = 0; i < tokenizer->n_tokens; i++) {
        n_nodes += is_special(tokenizer->kinds[i]) ? tokenizer->symbols[i].len : 0;
    }
    if (n_nodes > TRIE_NODES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "special tokens of %zu bytes, at most %u are allowed",
                       n_nodes, TRIE_NODES_MAX);
    }
    tokenizer->trie = arena_alloc_raw(&tokenizer->arena, n_nodes, sizeof(TrieNode));
    tokenizer->n_trie = 1;
    for (size_t i = 0; i < tokenizer->n_tokens; i++) {
        if (is_special(tokenizer->kinds[i]) && tokenizer->symbols[i].len > 0) {
            trie_add(tokenizer, (int32_t)i);
        }
    }
    return true;
}

/** The longest special token that starts exactly at from, or -1. */
static int32_t match_at(const Tokenizer *tokenizer, Str text, size_t from, bool controls)
{
    int32_t found = -1;
    uint32_t node = tokenizer->trie_root[(uint8_t)text.data[from]];
    for (size_t at = from + 1; node != 0; at++) {
        int32_t token = tokenizer->trie[node].token;
        if (token >= 0 && (controls || tokenizer->kinds[token] == TOKEN_USER)) {
            found = token;
        }
        node = at < text.len ? trie_child(tokenizer, node, (uint8_t)text.data[at]) : 0;
    }
    return found;
}

size_t tokenizer_find_special(const Tokenizer *tokenizer, Str text, size_t from, bool controls,
                              int32_t *out_token)
{
    for (size_t at = from; at < text.len; at++) {
        if (tokenizer->trie_root[(uint8_t)text.data[at]] != 0) {
            int32_t token = match_at(tokenizer, text, at, controls);
            if (token >= 0) {
                *out_token = token;
                return at;
            }
        }
    }
    return text.len;
}
