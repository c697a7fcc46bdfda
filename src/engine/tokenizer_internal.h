// SPDX-License-Identifier: MIT
// What the tokenizer's files share. A vocabulary is a list of symbols, each a string of bytes:
// first the tokens, whose number is their id, then results of merges that are no tokens.
// SentencePiece's U+2581 is a space here, GPT-2's byte letters are the bytes they stand for.
// Everything is constant after opening, except the pool of Scratch, which has a lock.
#pragma once

#include "engine/engine.h"
#include "engine/gguf.h"
#include "text/text.h"

#include <pthread.h>

/** Kinds of tokens; the numbers are the file's. */
typedef enum TokenKind {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER = 4, // found in any text before anything else is done with it
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6, // <0x0A>
} TokenKind;

typedef enum TokenizerModel {
    MODEL_BPE, // "gpt2": merges by rank over bytes, inside words that regexes cut
    MODEL_SPM, // "llama": merges by score over characters
} TokenizerModel;

typedef enum PreFlags {
    PRE_IGNORE_MERGES = 1, // a word that is a token is that token, whatever merging would give
    PRE_ADD_BOS = 2,       // when the file does not say
} PreFlags;

typedef struct PreTokenizer {
    const char *name;
    const char *const *regexes; // ends in NULL
    int flags;
} PreTokenizer;

#define PRE_REGEX_MAX 8

/** Symbols by their bytes: open addressing, a power of two of slots. */
typedef struct SymbolSlot {
    uint32_t hash;
    uint32_t symbol; // plus one; 0 is empty
} SymbolSlot;

typedef struct SymbolMap {
    SymbolSlot *slots;
    size_t mask;
} SymbolMap;

/** What two neighbouring symbols become; BPE only. */
typedef struct Pair {
    int32_t left; // -1: empty slot
    int32_t right;
    uint32_t rank;
    int32_t result;
} Pair;

/** A node of the trie over the texts of special tokens. */
typedef struct TrieNode {
    uint32_t child; // first; 0 is none
    uint32_t next;  // sibling; 0 is none
    int32_t token;  // -1: no token ends here
    uint8_t byte;
} TrieNode;

/** A symbol in a word that is being merged; a list through the array. */
typedef struct MergeNode {
    uint32_t from, len;  // bytes in the word; len 0: merged away
    uint32_t prev, next; // indices; UINT32_MAX is none
    int32_t symbol;      // -1: a character that is no symbol
} MergeNode;

/** A possible merge of a node with its next; stale when their length together has changed. */
typedef struct Merge {
    uint32_t rank;
    uint32_t left;
    uint32_t len;
    int32_t result;
} Merge;

#define CACHE_WORD_BYTES 22
#define CACHE_WORD_IDS   10
#define CACHE_WORDS      8192

/** One remembered word; 64 bytes. */
typedef struct CachedWord {
    uint8_t len, n;
    char word[CACHE_WORD_BYTES];
    int32_t ids[CACHE_WORD_IDS];
} CachedWord;
_Static_assert(sizeof(CachedWord) == 64, "one cache line");

/** Everything that one running tokenizer_encode writes to; kept in a pool between calls. */
typedef struct Scratch {
    struct Scratch *next; // in the pool
    Regex *regexes[PRE_REGEX_MAX];
    MergeNode *nodes;
    size_t cap_nodes;
    Merge *heap;
    size_t n_heap, cap_heap;
    CachedWord *cache; // CACHE_WORDS
    int32_t *ids;
    size_t n_ids, cap_ids;
    size_t word_start; // in ids, of the word at hand
    Buf text;          // a fragment as the model sees it
    Err err;
} Scratch;

typedef struct ScratchPool {
    pthread_mutex_t mutex;
    Scratch *free;
} ScratchPool;

struct Tokenizer {
    Arena arena;
    TokenizerModel model;
    Str *symbols;
    size_t n_symbols, cap_symbols;
    size_t n_tokens;
    uint8_t *kinds;  // of tokens
    uint32_t *ranks; // SPM: place of a token among the scores, best 0
    SymbolMap map;   // tokens that text may become, and results of merges
    Pair *pairs;
    size_t pair_mask;
    int32_t byte_symbols[256]; // the symbol (BPE) or byte token (SPM) of each byte; -1 none
    size_t longest;            // bytes of the longest symbol
    const PreTokenizer *pre;
    bool words_apart; // SPM: no token reaches over the start of a word, so words merge alone
    bool add_space_prefix;
    bool add_bos;
    bool ignore_merges;
    int32_t bos, eos, unknown; // -1 none
    uint64_t *ends;            // a bit a token
    uint64_t *strips;          // a bit a token: white space after it is dropped
    TrieNode *trie;
    size_t n_trie;
    uint32_t trie_root[256]; // node of each first byte; 0 none
    Str chat_template;
    ScratchPool *pool;
};

static inline bool bit_get(const uint64_t *bits, size_t i)
{
    return (bits[i / 64] >> (i % 64) & 1) != 0;
}

static inline void bit_set(uint64_t *bits, size_t i)
{
    bits[i / 64] |= UINT64_C(1) << (i % 64);
}

/** The row of tokenizer_pre.def of that name, or NULL. */
const PreTokenizer *tokenizer_pre_find(Str name);

/** Open from metadata at hand, which is not needed afterwards. */
bool tokenizer_open(const Gguf *gguf, Tokenizer **out, Err *err);
/** Read tokens, kinds and special ids; fills everything that both models have. */
bool tokenizer_load_vocab(Tokenizer *tokenizer, const Gguf *gguf, Err *err);
/** The rest for one model; after tokenizer_load_vocab. */
bool tokenizer_load_bpe(Tokenizer *tokenizer, const Gguf *gguf, Err *err);
bool tokenizer_load_spm(Tokenizer *tokenizer, const Gguf *gguf, Err *err);
/** Bytes that a token's text of GPT-2's byte letters stands for; false when it has other letters.
 */
bool tokenizer_bpe_bytes(Str text, char *out, size_t *out_len);

/** Where the pair of two symbols is or would be; its left is -1 when they do not merge. */
size_t tokenizer_pair(const Tokenizer *tokenizer, int32_t left, int32_t right);

void symbol_map_init(SymbolMap *map, Arena *arena, size_t n);
/** Add symbol unless one of the same bytes is there; false then. */
bool symbol_map_add(SymbolMap *map, const Str *symbols, uint32_t symbol);
/** -1 when there is none. */
int32_t symbol_map_find(const SymbolMap *map, const Str *symbols, Str bytes);

/** Build the trie of the texts of control, user-defined and unknown tokens. */
bool tokenizer_load_special(Tokenizer *tokenizer, Err *err);
/**
 * Find the first special token at or after from, the longest there.
 * controls  look for control and unknown tokens too, else user-defined ones only
 * returns   where it starts, text.len when there is none; *out_token is set when there is one */
size_t tokenizer_find_special(const Tokenizer *tokenizer, Str text, size_t from, bool controls,
                              int32_t *out_token);

/** Ids of a fragment without special tokens, appended to scratch->ids. */
bool tokenizer_encode_bpe(const Tokenizer *tokenizer, Scratch *scratch, Str text, Err *err);
/** prefix: the fragment starts a text or follows a special token. */
void tokenizer_encode_spm(const Tokenizer *tokenizer, Scratch *scratch, Str text, bool prefix);
/** Ids of one word by merging alone. */
void tokenizer_encode_word(const Tokenizer *tokenizer, Scratch *scratch, Str word);
void scratch_push(Scratch *scratch, int32_t id);
