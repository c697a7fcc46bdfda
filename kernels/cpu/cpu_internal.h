// SPDX-License-Identifier: MIT
// The CPU backend's own types. Operations (one file each) cut their work over rows, outputs or
// (head, query) and hand the pieces to the pool; what a piece computes is a function of CpuPath, of
// which there is one table per instruction set, all with the same bits (path/). Never cut along K.
#pragma once

#include "base/base.h"
#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"

#include <assert.h>
#include <string.h>

#define CPU_TILE     16 // outputs of a weight tile, keys of a KV group: the lanes of every path
#define CPU_BLOCK    32 // elements of K that share an activation scale
#define CPU_ROWS     8  // rows of activations that lie together
#define CPU_HEAD_MAX 256
// Most rows of a product's piece: their activations stay in the second-level cache.
#define CPU_PANEL_ROWS 128
#define CPU_ALIGN      64

/** round x up to a multiple of CPU_TILE. */
static inline size_t cpu_round_tile(size_t x)
{
    return (x + CPU_TILE - 1) / CPU_TILE * CPU_TILE;
}

static inline uint32_t float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}
static inline float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/** IEEE half to float, exact. */
static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = h >> 10 & 31u, mantissa = h & 1023u;
    if (exponent == 31) { // infinity and NaN; hardware makes NaN quiet
        uint32_t quiet = mantissa != 0 ? 0x400000u : 0;
        return float_of_bits(sign | 0x7f800000u | quiet | mantissa << 13);
    }
    if (exponent == 0) { // zero and denormals
        float f = (float)mantissa * 0x1p-24f;
        return float_of_bits(sign | float_bits(f));
    }
    return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/** Memory that several matrices share, so that small ones lie in large pages too. */
typedef struct CpuSlab {
    uint8_t *data;
    size_t bytes;
    size_t used;
    size_t n_users; // matrices in it, and the device while it still fills it
} CpuSlab;

struct KBuffer {
    float *data;
    size_t n;
};

/** How weights lie: as their type says, or F16 and BF16 as words, which are multiplied like quants.
 */
typedef enum CpuForm {
    CPU_F32 = K_F32,
    CPU_F16 = K_F16,
    CPU_BF16 = K_BF16,
    CPU_Q8_0 = K_Q8_0,
    CPU_Q4_0 = K_Q4_0,
    CPU_Q4_1 = K_Q4_1,
    CPU_W16,
} CpuForm;

/**
 * Weights in tiles of 16 outputs (the last is filled with zeros), so that one output is one lane; a
 * tile is contiguous, and so is one block of its K, which keeps a decode step to one stream of
 * memory:
 *   F32, F16, BF16  [n_in][16] elements
 *   Q4_0            [n_blocks] of {nibbles [4][16 outputs][4], f16 d[16]}
 *   Q4_1            [n_blocks] of {nibbles [4][16 outputs][4], f16 d[16], f16 m[16]}
 *   Q8_0            [n_blocks] of {bytes q+128 [8][16 outputs][4], f16 d[16]}
 *   W16             [n_blocks] of {words q [16][16 outputs][2], bf16 d[16]}, d a power of two
 * The four bytes of [j] hold elements 4j, 4j+2, 4j+1, 4j+3 of the block (cpu_quant_byte), so that
 * every other byte, as a word, makes a pair of neighbours; high nibbles are elements 16 later.
 */
struct KMatrix {
    CpuForm form;
    size_t n_out;
    size_t n_in;
    size_t n_tiles;
    size_t tile_bytes; // a multiple of CPU_ALIGN
    uint8_t *tiles;
    CpuSlab *slab; // that holds the tiles
};

/** Which of its four bytes element k lies in. */
static inline int cpu_quant_byte(int k)
{
    return (k & 1) << 1 | (k >> 1 & 1);
}

/** Bytes of the quants of one block in a tile, and of the whole block. */
static inline size_t cpu_quant_bytes(CpuForm form)
{
    return form == CPU_W16 ? 1024 : form == CPU_Q8_0 ? 512 : 256;
}
static inline size_t cpu_block_bytes(CpuForm form)
{
    return cpu_quant_bytes(form) + (form == CPU_Q4_1 ? 64 : 32);
}

/** Whether products with such weights take f32 activations on any device. */
static inline bool cpu_form_f32(CpuForm form)
{
    return form == CPU_F32 || form == CPU_F16 || form == CPU_BF16;
}

/**
 * Rows of activations; f32 or fixed is NULL when no consumer wants that form. Both lie in groups of
 * CPU_ROWS rows, stretch of K after stretch, which is the order in which products read them.
 */
struct KActs {
    size_t max_rows;
    size_t width;
    size_t stride; // width rounded up to CPU_TILE
    size_t n_blocks;
    float *f32;       // [group][stretch of CPU_TILE][CPU_ROWS][CPU_TILE]
    int16_t *fixed;   // [group][block][CPU_ROWS][CPU_BLOCK] q
    float *scale;     // [group][block][CPU_ROWS]: x = q * scale
    int32_t *sum;     // the same: sum of q over the block
    float *scale_sum; // the same: scale * (float)sum
};

/** Index of block 0 of a row among all (group, block, row); its next block is CPU_ROWS later. */
static inline size_t cpu_acts_at(const KActs *acts, size_t row)
{
    return row / CPU_ROWS * CPU_ROWS * acts->n_blocks + row % CPU_ROWS;
}

/** Element k of a row, k a multiple of CPU_TILE; CPU_TILE elements lie together, the next ones are
 *  CPU_ROWS * CPU_TILE later. */
static inline float *cpu_acts_f32(const KActs *acts, size_t row, size_t k)
{
    size_t group = row / CPU_ROWS * CPU_ROWS * acts->stride;
    return acts->f32 + group + (k * CPU_ROWS + row % CPU_ROWS * CPU_TILE);
}

/**
 * KV of all layers; what one head of one layer reads is contiguous:
 *   keys    [layer][kv_head][group of 16 slots][head_dim][16 slots]
 *   values  [layer][kv_head][slot][value_stride]
 * int16 with one scale per (layer, kv_head, slot), or f32 without scales.
 */
struct KKv {
    KHeads heads;
    bool f32;
    size_t n_layers;
    size_t n_slots;      // a multiple of 16
    size_t value_stride; // head_dim rounded up to 16, the rest zero
    size_t element_bytes;
    uint8_t *keys;
    uint8_t *values;
    float *key_scale;   // [layer][kv_head][slot]
    float *value_scale; // the same
};

/** Index of a slot among all (layer, kv_head, slot). */
static inline size_t cpu_kv_at(const KKv *kv, size_t layer, size_t kv_head, size_t slot)
{
    return (layer * kv->heads.n_kv_heads + kv_head) * kv->n_slots + slot;
}

/** One row against one chunk for one KV head's group of query heads. */
typedef struct CpuAttend {
    const KKv *kv;
    size_t layer;
    size_t kv_head;
    const KExtent *extents;
    uint32_t n_extents;
    uint32_t n_keys; // the most that any query sees
    // Queries: head h of the group in row i of the piece.
    const float *const *query; // n_queries pointers to head_dim elements
    const uint32_t *query_keys;
    float *const *out; // n_queries pointers to {max, sum, 14 unused, value_stride sums}
    size_t n_queries;
    float *scratch; // cpu_attend_scratch(n_queries) elements
} CpuAttend;

#define CPU_ATTEND_HEADER  16 // floats before the sums in an attention partial
#define CPU_ATTEND_QUERIES 48 // most queries in a piece
/** Scores, value scales, one group of keys as f32. */
#define CPU_ATTEND_SCRATCH                                                                         \
    (CPU_TILE + CPU_ATTEND_QUERIES * K_CHUNK + 2 * K_CHUNK + CPU_HEAD_MAX * CPU_TILE)

/** A product's piece: some tiles of one matrix against at most CPU_PANEL_ROWS rows. */
typedef struct CpuProduct {
    const KMatrix *matrix;
    const KActs *x;
    float *out; // (n_rows, n_out) of the whole product
    bool add;
    bool f32;            // take the f32 form of x whatever the type
    const int8_t *bytes; // of the one row that there is, as CpuPath.split_row gives it, or NULL
    int n_segments;
    size_t tile0, tile1;
    size_t row0, row1;
} CpuProduct;

/** Result over one part of a row of logits. */
typedef struct CpuLogSum {
    float max;
    float sum; // of exp(x - max)
    int32_t argmax;
    bool finite;
} CpuLogSum;

/** What an instruction set provides. Every function gives the same bits on every path. */
typedef struct CpuPath {
    const char *name;
    void (*product)(const CpuProduct *piece);
    /** The first row's words, q = 256*high + low, for each block {high[32], low[32]} as signed
     * bytes in the order of cpu_quant_byte. NULL: products take words however few the rows are. */
    void (*split_row)(const KActs *acts, int8_t *out);
    /** acts = silu(gate) * up for the rows and tiles of the pieces, which differ in their matrix
     *  alone; tile0 is even. */
    void (*gated)(const CpuProduct *gate, const CpuProduct *up, KActs *acts);
    /** One row of a matrix as f32: out (n_in). */
    void (*embed)(const KMatrix *table, size_t row, float *out);
    /** out (dim) = x * weight / sqrt(mean(x^2) + eps). */
    void (*rms_norm)(const float *x, const float *weight, float eps, size_t dim, float *out);
    /** Fill the fixed form of one row of acts from its f32 values. */
    void (*quantise)(const float *x, KActs *acts, size_t row);
    /** out[i] = x[i] rotated by (cos, sin) pairs, then times scale; only the first 2*n_pairs
     * rotate. */
    void (*rope)(const float *x, const float *angles, size_t n_pairs, size_t head_dim, float scale,
                 float *out);
    /** int16 with one scale: out (n), returns the scale. */
    float (*pack_kv)(const float *x, size_t n, int16_t *out);
    void (*attend)(const CpuAttend *piece);
    /** a = merge(a, b), both attention partials with n sums. */
    void (*attend_merge)(float *a, const float *b, size_t n);
    /** out (n) = sums / sum. */
    void (*attend_finish)(const float *partial, size_t n, float *out);
    CpuLogSum (*log_sum)(const float *logits, size_t n, int32_t first_id);
    /** b lies after a. */
    CpuLogSum (*log_sum_merge)(CpuLogSum a, CpuLogSum b);
} CpuPath;

extern const CpuPath cpu_path_portable;
extern const CpuPath cpu_path_avx2;
extern const CpuPath cpu_path_avx512;

struct KDevice {
    const CpuPath *path;
    bool f32;
    Pool *pool;
    int n_threads;
    char description[64];
    CpuSlab *slab;    // the one being filled
    uint8_t *scratch; // grows; used by one operation at a time
    size_t scratch_bytes;
};

struct KStream {
    KDevice *device;
};

/** Aligned memory that aborts when there is none (sizes are checked by the caller). */
void *cpu_alloc(size_t bytes);
void cpu_free(void *p);
/** Room for a matrix that cpu_slab_leave gives back.  thread  one at a time. */
void *cpu_slab_take(KDevice *device, size_t bytes, CpuSlab **out_slab);
void cpu_slab_leave(CpuSlab *slab);
/** At least bytes of scratch, kept until the next call. */
void *cpu_scratch(KDevice *device, size_t bytes);
/** Make the forms of row r that acts holds, from width f32 values. */
void cpu_acts_row(const KDevice *device, KActs *acts, size_t r, const float *x);

// One file each.
bool cpu_matrix_create(KDevice *device, KType type, size_t n_out, size_t n_in, const void *data,
                       KMatrix **out, Err *err);
void cpu_matrix_destroy(KMatrix *matrix);
bool cpu_acts_create(KDevice *device, size_t max_rows, size_t width,
                     const KMatrix *const *consumers, size_t n_consumers, KActs **out, Err *err);
void cpu_acts_destroy(KActs *acts);
size_t cpu_kv_slot_bytes(const KDevice *device, const KHeads *heads, size_t n_layers);
bool cpu_kv_create(KDevice *device, const KHeads *heads, size_t n_layers, size_t n_slots, KKv **out,
                   Err *err);
void cpu_kv_destroy(KKv *kv);
bool cpu_embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
               KBuffer *out, Err *err);
bool cpu_rms_norm(KStream *stream, const KBuffer *x, const KBuffer *weight, float eps, size_t dim,
                  const uint32_t *rows, size_t n_rows, KActs *out, Err *err);
bool cpu_products(KStream *stream, const KProduct *products, size_t n_products, const KActs *x,
                  size_t n_rows, Err *err);
bool cpu_rope_store(KStream *stream, KKv *kv, size_t layer, KBuffer *q, const KBuffer *k,
                    const KBuffer *v, const float *angles, const uint32_t *slots, size_t n_rows,
                    Err *err);
bool cpu_attention(KStream *stream, const KKv *kv, size_t layer, const KBuffer *q,
                   const KAttentionWork *works, size_t n_works, size_t n_rows, KActs *out,
                   Err *err);
bool cpu_gated(KStream *stream, const KMatrix *gate, const KMatrix *up, const KActs *x,
               size_t n_rows, KActs *out, Err *err);
bool cpu_gather(KStream *stream, const KBuffer *x, size_t dim, const uint32_t *rows, size_t n_rows,
                KBuffer *out, Err *err);
bool cpu_logprobs(KStream *stream, const KBuffer *logits, size_t vocab, const KLogprobRow *rows,
                  size_t n_rows, Err *err);
bool cpu_pick(KStream *stream, const KBuffer *logits, size_t vocab, const KPick *picks,
              size_t n_picks, Err *err);
