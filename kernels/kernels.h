// SPDX-License-Identifier: MIT
// The seam to all tensor math: one const table of operations per backend. Rows in, rows out:
// nothing here knows models, tokens' meaning or evals. Plain C17 and C++; no vendor type. Every
// operation is deterministic: the bits of an output row depend on that row's inputs, the weights
// and the device's precision, never on the other rows, the number of threads, or the code path that
// ran.
//
// Order of accumulation. A product accumulates K in one run in blocks of 32, or, with segments = 8,
// in 8 runs summed as ((0+1)+(2+3))+((4+5)+(6+7)); with n = ceil(K/32) blocks, segment i holds
// blocks floor(i*n/8) to floor((i+1)*n/8). The log-sum-exp over the vocabulary is cut and merged
// likewise. Attention is cut at absolute positions that are multiples of K_CHUNK and merged left to
// right.
//
// Threads: one stream is used by one thread at a time; an operation may return before it has run
// (CUDA), arrays given as plain pointers may be reused once it returned. stream_sync waits.
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef K_CHUNK     // tests/bench measures what a fixed cut costs with another one
#define K_CHUNK 256 // positions of one attention chunk
#endif
#define K_SEGMENTS 8

typedef struct KDevice KDevice; // one device (CPU: the worker threads)
typedef struct KStream KStream; // work in order
typedef struct KBuffer KBuffer; // f32 elements
typedef struct KMatrix KMatrix; // weights (n_out, n_in), in the backend's own layout
typedef struct KActs KActs;     // rows of activations, in the forms that products want
typedef struct KKv KKv;         // keys and values of all layers, in slots of one token

/** Element types of weights as files hold them (little endian, ggml's blocks of 32). */
typedef enum KType {
    K_F32,
    K_F16,
    K_BF16,
    K_Q8_0, // f16 d, int8 q[32]: d*q
    K_Q4_0, // f16 d, nibbles[16]: d*(q-8)
    K_Q4_1, // f16 d, f16 m, nibbles[16]: d*q + m
} KType;

typedef struct KDeviceOptions {
    int index;     // which device; CPU: 0
    int n_threads; // CPU: 0 means threads_usable_cpus()
    bool f32;      // float32 activations and KV, weights dequantised per tile: the reference
    bool fast; // CUDA: cuBLASLt's products and NCCL's sums, where those libraries are; bits then
               // depend on the number of rows and on the machine. Not with f32
    const char
        *path; // CPU: "portable", "avx2", "avx512"; NULL: $MUSTER_CPU, else the best there is
} KDeviceOptions;

/** One product of a group that reads the same activations. */
typedef struct KProduct {
    const KMatrix *matrix;
    KBuffer *out;   // (n_rows, n_out) f32
    bool add;       // out += product
    int n_segments; // 1 or K_SEGMENTS
} KProduct;

typedef struct KHeads {
    uint32_t n_heads; // query heads, a multiple of n_kv_heads
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t rope_dim; // leading elements of a head that are rotated, in pairs (2i, 2i+1)
} KHeads;

/** A run of KV slots that holds consecutive positions. */
typedef struct KExtent {
    uint32_t slot;
    uint32_t n;
} KExtent;

/** A query row and how many of the chunk's positions it sees (1 .. K_CHUNK). */
typedef struct KAttentionRow {
    uint32_t row;
    uint32_t n_keys;
} KAttentionRow;

/** Query rows that share the same slots for one chunk: positions K_CHUNK*chunk onwards. */
typedef struct KAttentionWork {
    uint32_t chunk;
    const KExtent *extents; // in order of position; cover the largest n_keys
    uint32_t n_extents;
    const KAttentionRow *rows;
    uint32_t n_rows;
} KAttentionWork;

/** Log-probabilities wanted of one row of logits. */
typedef struct KLogprobRow {
    uint32_t row;
    uint32_t n_targets;
    const int32_t *targets; // each in 0 .. vocab-1
    float *out_logprobs;    // n_targets, natural log of the softmax
    int32_t *out_argmax;    // lowest id among equals
} KLogprobRow;

/**
 * A token to pick from a row of logits; several picks may name one row.
 * temperature 0 (or less): the largest logit, the lowest id among equals. Else, in this order: the
 * softmax of logit / temperature; the top_k best (larger logits first, lower ids among equals); the
 * fewest of them that reach top_p of their sum; those at least min_p times as probable as the
 * best; and of what is left, in order of id, the first whose running sum exceeds random times the
 * whole. Probabilities are multiples of 2^-40 of the best one's, so that no sum depends on its
 * order: equal logits give equal picks and log-probabilities on every backend. */
typedef struct KPick {
    uint32_t row;
    uint32_t top_k;          // 0: off
    double temperature;      // what is no number counts as 0
    double top_p;            // 1 and more: off; 0: the best one alone
    double min_p;            // 0: off
    double random;           // in [0, 1), 53 bits of it count
    const uint32_t *allowed; // bit id % 32 of word id / 32; NULL: every token
    uint32_t n_top;          // <= vocab
    int32_t *out_id;         // -1: none is allowed
    // Natural log of the softmax of the whole row, whatever the temperature and what is allowed.
    float *out_logprob;      // NULL: not wanted; NAN when out_id is -1
    int32_t *out_top_ids;    // n_top, the most likely first, the lowest id among equals
    float *out_top_logprobs; // n_top
} KPick;

/** The operations of a backend. All are mandatory but those that say so. Those that take a KStream
 * run on its device. */
typedef struct KOps {
    const char *name; // "cpu", "cuda"
    /** Replies that are best decoded together, and rows of logits that are best held at once. */
    size_t batch_rows;
    /** Rows of a step, at most: more would not make it better. */
    size_t max_rows;

    bool (*device_open)(const KDeviceOptions *options, KDevice **out, Err *err);
    void (*device_close)(KDevice *device); // after all that was created on it
    /** For people and for provenance, e.g. "cpu avx512, 2 threads"; borrows from the device. */
    const char *(*device_describe)(const KDevice *device);

    /** Bytes that kv_create could still take of the device's own memory; SIZE_MAX when that is the
     * host's. */
    size_t (*device_free_bytes)(const KDevice *device);

    bool (*stream_create)(KDevice *device, KStream **out, Err *err);
    void (*stream_destroy)(KStream *stream);
    bool (*stream_sync)(KStream *stream, Err *err);
    /** The operations from step_begin to step_end are one step: a backend may hold them back until
     * its end, send their lists together, and replay what it ran before. In between, nothing is
     * read back (buffer_read, logprobs, pick). repeats: the same step, with other numbers, is
     * likely to come again. After a failure in between, step_end is called all the same. */
    bool (*step_begin)(KStream *stream, bool repeats, Err *err);
    bool (*step_end)(KStream *stream, Err *err);
    /** Optional: how many rows a step that repeats should rather have, n_rows or more, so that it
     * is the same as another one. */
    size_t (*step_rows)(const KStream *stream, size_t n_rows);

    /** n f32 elements, zeroed. */
    bool (*buffer_create)(KDevice *device, size_t n, KBuffer **out, Err *err);
    void (*buffer_destroy)(KBuffer *buffer);
    bool (*buffer_write)(KStream *stream, KBuffer *buffer, size_t offset, const float *from,
                         size_t n, Err *err);
    /** Waits until *to is filled. */
    bool (*buffer_read)(KStream *stream, const KBuffer *buffer, size_t offset, float *to, size_t n,
                        Err *err);

    /**
     * Repack a matrix of a file.
     * shapes  data (n_out, n_in) of type, rows contiguous; n_in a multiple of 32 for block types.
     * owns    nothing of data is kept. */
    bool (*matrix_create)(KDevice *device, KType type, size_t n_out, size_t n_in, const void *data,
                          KMatrix **out, Err *err);
    void (*matrix_destroy)(KMatrix *matrix);
    /** Optional: matrix_create for a matrix all of whose products are added (KProduct.add) to whole
     * rows. Several devices may then cut it over its inputs and sum. */
    bool (*matrix_create_added)(KDevice *device, KType type, size_t n_out, size_t n_in,
                                const void *data, KMatrix **out, Err *err);

    /** Room for max_rows rows of width elements, in the forms that products with these matrices
     *  (and others of their types) take. */
    bool (*acts_create)(KDevice *device, size_t max_rows, size_t width,
                        const KMatrix *const *consumers, size_t n_consumers, KActs **out, Err *err);
    void (*acts_destroy)(KActs *acts);

    size_t (*kv_slot_bytes)(const KDevice *device, const KHeads *heads, size_t n_layers);
    bool (*kv_create)(KDevice *device, const KHeads *heads, size_t n_layers, size_t n_slots,
                      KKv **out, Err *err);
    void (*kv_destroy)(KKv *kv);

    /** out[r] = row ids[r] of table.  shapes  table (vocab, dim); ids (n_rows); out (n_rows, dim).
     */
    bool (*embed)(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                  KBuffer *out, Err *err);
    /** out[i] = x[rows[i]] * weight / sqrt(mean(x^2) + eps); rows NULL: 0 .. n_rows-1.
     *  shapes  x (*, dim); weight (dim); out (n_rows, dim). */
    bool (*rms_norm)(KStream *stream, const KBuffer *x, const KBuffer *weight, float eps,
                     size_t dim, const uint32_t *rows, size_t n_rows, KActs *out, Err *err);
    /** Products with the same activations.  shapes  x (n_rows, n_in); matrices (n_out, n_in). */
    bool (*products)(KStream *stream, const KProduct *products, size_t n_products, const KActs *x,
                     size_t n_rows, Err *err);
    /** Rotate q and k by their row's angles, scale q by 1/sqrt(head_dim), and store k and v.
     *  shapes  q (n_rows, n_heads, head_dim), rotated in place; k, v (n_rows, n_kv_heads,
     * head_dim); angles (n_rows, rope_dim/2, 2) of cos, sin; slots (n_rows). */
    bool (*rope_store)(KStream *stream, KKv *kv, size_t layer, KBuffer *q, const KBuffer *k,
                       const KBuffer *v, const float *angles, const uint32_t *slots, size_t n_rows,
                       Err *err);
    /** Softmax(q k) v for rows 0 .. n_rows-1 (q as rope_store left it). works are sorted by chunk;
     * a row is in one work for each of its chunks, from chunk 0 on without a gap. While a step
     * lasts, works at one place are the same.  shapes  q, out (n_rows, n_heads, head_dim). */
    bool (*attention)(KStream *stream, const KKv *kv, size_t layer, const KBuffer *q,
                      const KAttentionWork *works, size_t n_works, size_t n_rows, KActs *out,
                      Err *err);
    /** out = silu(gate x) * (up x), silu(z) = z * sigmoid(z): the first half of a SwiGLU block.
     *  shapes  x (n_rows, n_in); gate, up (n_out, n_in); out (n_rows, n_out). */
    bool (*gated)(KStream *stream, const KMatrix *gate, const KMatrix *up, const KActs *x,
                  size_t n_rows, KActs *out, Err *err);
    /** out[i] = x[rows[i]]; out and x differ.  shapes  x (*, dim); out (n_rows, dim). */
    bool (*gather)(KStream *stream, const KBuffer *x, size_t dim, const uint32_t *rows,
                   size_t n_rows, KBuffer *out, Err *err);
    /** Log softmax at the targets of each row; results are there on return.
     *  shapes  logits (*, vocab).
     *  fails   ERR_MODEL when a logit is not finite. */
    bool (*logprobs)(KStream *stream, const KBuffer *logits, size_t vocab, const KLogprobRow *rows,
                     size_t n_rows, Err *err);
    /** Pick tokens; results are there on return. Picks of one row that follow each other may share
     * work.
     *  shapes  logits (*, vocab), vocab at most 2^23.
     *  fails   ERR_MODEL when a logit of these rows is not finite. */
    bool (*pick)(KStream *stream, const KBuffer *logits, size_t vocab, const KPick *picks,
                 size_t n_picks, Err *err);
} KOps;

extern const KOps k_cpu_ops;

#ifdef __cplusplus
}
#endif
