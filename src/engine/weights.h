// SPDX-License-Identifier: MIT
// A Llama-architecture model from a GGUF file: hyper-parameters and tensors checked as hostile
// input, then repacked by the kernels backend, after which the file's pages are given back.
#pragma once

#include "engine/gguf.h"
#include "kernels/kernels.h"

/** Hyper-parameters (GGUF key names in comments). */
typedef struct ModelShape {
    size_t n_layers;    // block_count
    size_t dim;         // embedding_length
    size_t ffn_dim;     // feed_forward_length
    size_t vocab;       // rows of token_embd.weight
    size_t context;     // context_length
    KHeads heads;       // attention.head_count, head_count_kv, key_length, rope.dimension_count
    float norm_eps;     // attention.layer_norm_rms_epsilon
    double rope_base;   // rope.freq_base
    double rope_factor; // rope.scaling.factor of linear scaling: positions are divided by it
} ModelShape;

/** One transformer block; matrices are (n_out, n_in). */
typedef struct ModelLayer {
    KBuffer *attention_norm; // (dim)
    KMatrix *q;              // (n_heads * head_dim, dim)
    KMatrix *k;              // (n_kv_heads * head_dim, dim)
    KMatrix *v;              // (n_kv_heads * head_dim, dim)
    KMatrix *attention_out;  // (dim, n_heads * head_dim)
    KBuffer *ffn_norm;       // (dim)
    KMatrix *gate;           // (ffn_dim, dim)
    KMatrix *up;             // (ffn_dim, dim)
    KMatrix *down;           // (dim, ffn_dim)
} ModelLayer;

typedef struct Weights {
    const KOps *ops;
    Arena arena; // of all below but what the backend holds
    ModelShape shape;
    KMatrix *embedding; // (vocab, dim)
    KMatrix *head;      // (vocab, dim); the embedding where the file has no output.weight
    KBuffer *final_norm;
    ModelLayer *layers;   // n_layers
    double *rope_inverse; // (rope_dim/2) radians per position
    Str architecture;
    Str name;
    Str type;       // of most of the weights, "Q4_1"
    uint64_t bytes; // of all tensors, in the file
} Weights;

/**
 * Load a model onto a device.
 * fails  ERR_MODEL for a file that is not a sound model (the tensor or key is named),
 * ERR_UNSUPPORTED for an architecture, rope scaling or tensor type that we do not have; gguf_open's
 * errors. */
bool weights_open(Str path, const KOps *ops, KDevice *device, KStream *stream, Weights **out,
                  Err *err);
/** The same from a file that is open; nothing of it is kept. */
bool weights_load(const Gguf *gguf, const KOps *ops, KDevice *device, KStream *stream,
                  Weights **out, Err *err);
void weights_close(Weights *weights);
