// SPDX-License-Identifier: MIT
// Small vocabularies as GGUF files in memory, for the tests and the fuzz target of the tokenizer.
#pragma once

#include "tests/unit/engine/gguf_build.h"

#define VOCAB_TOKENS_MAX 1024

/** Tokens collected one by one; texts borrow. */
typedef struct Vocab {
    const char *model; // "gpt2" or "llama"
    const char *pre;   // NULL: no key
    Str tokens[VOCAB_TOKENS_MAX];
    int32_t kinds[VOCAB_TOKENS_MAX];
    float scores[VOCAB_TOKENS_MAX];
    size_t n;
    Str merges[VOCAB_TOKENS_MAX];
    size_t n_merges;
    Arena arena; // for texts made here
} Vocab;

static inline int32_t vocab_add(Vocab *vocab, Str text, int32_t kind, float score)
{
    vocab->tokens[vocab->n] = text;
    vocab->kinds[vocab->n] = kind;
    vocab->scores[vocab->n] = score;
    return (int32_t)vocab->n++;
}

/** GPT-2's letter of a byte, by its definition: printable Latin-1 is itself, the rest follow from
 * 256. */
static inline Str vocab_letter(Vocab *vocab, uint32_t byte)
{
    uint32_t n_others = 0, letter = 0;
    for (uint32_t b = 0; b <= byte; b++) {
        bool own = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
        letter = own ? b : 256 + n_others;
        n_others += own ? 0 : 1;
    }
    char utf8[2] = {(char)(0xc0 | letter >> 6), (char)(0x80 | (letter & 0x3f))};
    char ascii = (char)letter;
    return letter < 0x80 ? str_copy(&vocab->arena, (Str){&ascii, 1})
                         : str_copy(&vocab->arena, (Str){utf8, 2});
}

/** The 256 bytes as tokens 0 to 255: letters for gpt2, <0x00> to <0xFF> for llama. */
static inline void vocab_add_bytes(Vocab *vocab)
{
    bool bpe = strcmp(vocab->model, "gpt2") == 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        Str text = bpe ? vocab_letter(vocab, byte) : str_printf(&vocab->arena, "<0x%02X>", byte);
        vocab_add(vocab, text, bpe ? 1 : 6, 0);
    }
}

/** A merge of two texts of letters, and its result as a token when is_token. */
static inline void vocab_merge(Vocab *vocab, Str left, Str right, bool is_token)
{
    vocab->merges[vocab->n_merges++] =
        str_concat(&vocab->arena, str_concat(&vocab->arena, left, STR(" ")), right);
    if (is_token) {
        vocab_add(vocab, str_concat(&vocab->arena, left, right), 1, 0);
    }
}

/** Write the keys of the vocabulary; the caller may add others before gb_finish. */
static inline void vocab_keys(const Vocab *vocab, GgufBuild *build)
{
    gb_str(build, "tokenizer.ggml.model", str_from_c(vocab->model));
    if (vocab->pre != NULL) {
        gb_str(build, "tokenizer.ggml.pre", str_from_c(vocab->pre));
    }
    gb_strs(build, "tokenizer.ggml.tokens", vocab->tokens, vocab->n);
    gb_i32s(build, "tokenizer.ggml.token_type", vocab->kinds, vocab->n);
    if (strcmp(vocab->model, "llama") == 0) {
        gb_f32s(build, "tokenizer.ggml.scores", vocab->scores, vocab->n);
    } else {
        gb_strs(build, "tokenizer.ggml.merges", vocab->merges, vocab->n_merges);
    }
}
