// SPDX-License-Identifier: MIT
// Writes small llama-architecture GGUF files with random weights, for tests that need a whole
// model: byte-level vocabulary, chat template, special tokens, any tensor type that the engine
// reads. The same TinyModel gives the same bytes. Deviations make the unsound files that loading
// has to refuse.
#pragma once

#include "base/base.h"

/** Tokens 0 .. 255 are the bytes of that value; these follow, and then unused ones. */
enum {
    TINY_BOS = 256,      // <|endoftext|>
    TINY_IM_START = 257, // <|im_start|>
    TINY_IM_END = 258,   // <|im_end|>, the end of generation
    TINY_PAD = 259,      // <|pad|>
    TINY_VOCAB_MIN = 260,
};

typedef struct TinyModel {
    uint32_t n_layers;
    uint32_t dim;
    uint32_t ffn_dim;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim; // 0: dim / n_heads, and no key_length is written
    uint32_t vocab;    // at least TINY_VOCAB_MIN
    uint32_t context;
    uint32_t type;       // of matrices in blocks (GgufType)
    uint32_t embed_type; // of the embedding and the head
    bool untied;         // with an output.weight
    bool rope_freqs;     // with factors for rotation
    bool add_bos;
    uint64_t seed;
    // Deviations; NULL: none.
    const char *skip_key; // is not written
    const char *set_key;  // is written as u32 set_value, instead of its own or beside the others
    uint32_t set_value;
    const char *set_text_key; // is written as text
    const char *set_text;
    const char *skip_tensor; // is not written
    const char *odd_tensor;  // its first dimension is 32 more
    const char *type_tensor; // is said to be of odd_type
    uint32_t odd_type;
    const char *add_tensor; // an F32 of one element that no model has
    float poison;           // not 0: the first element of blk.0.attn_norm.weight
} TinyModel;

/** 2 layers of width 96, 6 heads on 2 KV heads, Q4_1 with a Q8_0 embedding, 8192 tokens of context.
 */
TinyModel tiny_model_default(void);
/** Append the file's bytes to *out. */
void tiny_gguf_bytes(const TinyModel *model, Buf *out);
/** Write the file. fails ERR_IO. */
bool tiny_gguf_write(const TinyModel *model, Str path, Err *err);
