// SPDX-License-Identifier: MIT
// The CUDA backend's own types: what its objects are made of, how weights and activations lie in
// device memory, and what the host files share. Read this first.
//
// Everything that is multiplied lies as the tensor cores take it. Outputs (rows of a matrix) are
// the 16 rows of an mma, rows of activations its 8 columns. Lane (g, c) = (lane / 4, lane % 4) of
// a warp holds, of each block of 32 elements of K, the eight elements 8c .. 8c+7: any assignment of
// K to the lanes will do as long as both operands have the same. So both come from memory in pieces
// of 16 bytes that no one has to shuffle, and activations are plain rows.
#pragma once

#include "kernels/cuda/gpu.cuh"

extern "C" {
#include "base/err.h"
}
#include "kernels/kernels.h"

#define TILE         16 // outputs of an mma
#define BLOCK        32 // elements of K that share an activation scale
#define GROUP        8  // elements of K in one lane's piece of a block
#define ROW_BLOCK    64 // bytes of a block of one row of activations: 32 halves, or high and low bytes
#define PRODUCTS_MAX 4
#define HEAD_DIM_MAX 256
#define ROW_THREADS  256      // of kernels that reduce a row: a part of the order of accumulation
#define FIXED_MAX    32512.0f // 127 * 256: the high byte of any q is a signed byte
#define FIXED_TINY   1e-30f   // below, 32512 / max could overflow: the block is zero

/** Bytes of a block of K of a tile of 16 outputs, by type.
 *  F32          [16 outputs][32] f32
 *  F16, BF16    [elements 8c .., 8c+4 ..][lane][4 words of 2 elements]: the words of an operand
 *  Q8_0         [lane][4 words of 4 int8]: the words of an operand; then [g][d of g, d of g+8] f16
 *  Q4_0         [lane][output g, g+8][4] : low nibbles elements 8c .. 8c+3, high ones 8c+4 .. 8c+7,
 *               each q^8, a signed nibble; then scales as Q8_0
 *  Q4_1         the same with plain nibbles, then [g][d of g, d of g+8, m of g, m of g+8] f16
 * The words of an operand: elements e of output g, of g+8, the elements after them of g, of g+8; so
 * one load of 16 bytes fills the registers of an mma in their order.
 * Under --fast, where cuBLASLt is, matrices of F16 and BF16 are plain instead: rows of n_blocks *
 * 32 elements, of whole tiles, with zeros past n_in and n_out. That takes as many bytes. */
HOST_DEVICE constexpr uint32_t record_bytes(int type)
{
    return type == K_F32                     ? 2048
           : type == K_F16 || type == K_BF16 ? 1024
           : type == K_Q8_0                  ? 544
           : type == K_Q4_0                  ? 288
                                             : 320;
}

/** Where element e (0 .. 7) of a lane of outputs g (half 0) or g+8 (half 1) is in a record of F16
 * or BF16, in elements. */
HOST_DEVICE constexpr uint32_t half_at(uint32_t half, uint32_t lane, uint32_t e)
{
    return (e / 4 * 32 + lane) * 8 + (e % 4 / 2 * 2 + half) * 2 + e % 2;
}

/** The same of Q8_0, in bytes. */
HOST_DEVICE constexpr uint32_t byte_at(uint32_t half, uint32_t lane, uint32_t e)
{
    return lane * 16 + (e / 4 * 2 + half) * 4 + e % 4;
}

/** Bytes of quants in a record; the scales follow. */
HOST_DEVICE constexpr uint32_t record_quants(int type)
{
    return type == K_Q8_0 ? 512 : 256;
}

/** Rows of activations in the forms that products take; a form that nobody reads is NULL. Blocks
 * past width hold zeros. */
typedef struct ActsView {
    float *f32;     // (max_rows, n_blocks * 32)
    uint16_t *f16;  // (max_rows, n_blocks * 32)
    uint16_t *bf16; // (max_rows, n_blocks * 32)
    uint8_t *fixed; // (max_rows, n_blocks, 4, {high[8], low[8]}): q = 256*high + low, both signed
    float *scales;  // (n_blocks, max_rows, 2): scale, scale * sum of q
    uint32_t max_rows; // a multiple of 32: there are whole panels of few rows
    uint32_t width;
    uint32_t n_blocks;
} ActsView;

/** One of the products that share a launch. */
typedef struct ProductView {
    const uint8_t *weights; // [tile][block] records
    float *out;             // (n_rows, n_out)
    uint32_t n_out;
    uint32_t first_cut; // where its share of the grid begins
    int add;
} ProductView;

typedef struct ProductsView {
    ProductView products[PRODUCTS_MAX];
    int n_products;
    int type;
    int plain; // how the weights lie
    int n_segments;
    uint32_t n_rows;
    uint32_t n_blocks;
    ActsView x;
    float *partials;      // (parts, n_rows, n_out) of one product: K_SEGMENTS, or pairs of them
    uint32_t ahead_bytes; // that a warp asks for before it waits: a multiple of 16
} ProductsView;

/** Keys and values of one layer. */
typedef struct KvView {
    void *keys;   // [kv_head][slot][stride] f16 or f32, elements past head_dim zero
    void *values; // the same
    uint32_t n_slots;
    uint32_t stride;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t rope_dim;
} KvView;

#define RANKS_MAX 8

// With tensor parallelism every object is one object on each of several devices, its ranks. What
// the engine holds is rank 0's, whose ranks[] lists all of them, itself first; ranks.cu alone knows
// this, all other files see one device. See there for what is cut and how.

struct KBuffer {
    KDevice *device;
    float *data;
    size_t n;
    KBuffer *ranks[RANKS_MAX];
    uint32_t cut[RANKS_MAX]; // elements of each row that each rank holds; 0: all have the whole
};

struct KMatrix {
    KDevice *device;
    KType type;
    size_t n_out;
    size_t n_in;
    uint32_t n_tiles;
    uint32_t n_blocks;
    bool plain; // rows instead of records
    uint8_t *records;
    KMatrix *ranks[RANKS_MAX]; // outputs are cut
    bool inputs_cut;           // inputs are instead, and the ranks' products are summed
};

struct KActs {
    KDevice *device;
    size_t max_rows;
    ActsView view;
    KActs *ranks[RANKS_MAX]; // all have the whole
    KActs *slice;            // what this rank makes of it; NULL: the width can not be cut
    bool stays_cut;          // all who read it are cut over their inputs: slices are never joined
};

struct KKv {
    KDevice *device;
    KHeads heads;
    size_t n_layers;
    size_t n_slots;
    uint32_t stride;
    size_t layer_bytes; // of keys, or of values
    uint8_t *keys;
    uint8_t *values;
    KKv *ranks[RANKS_MAX]; // heads are cut
};

#define UPLOADS 8 // lists that stay on the device

/** A list from the host that is on the device; lists that come again are not sent again. */
typedef struct Upload {
    uint8_t *host; // pinned
    uint8_t *device;
    size_t capacity;
    size_t bytes;
    uint64_t used; // the stream's clock at the last use
    GpuEvent sent;
    bool sent_made;
} Upload;

#define STEP_LISTS  16 // of a step that are known again
#define STEP_GRAPHS 16 // of a stream

/** A list in the memory of a step. */
typedef struct StepList {
    const void *data; // where it came from
    size_t bytes;
    size_t at;
} StepList;

/** Launches of a step that was; they are a graph once they came twice. */
typedef struct StepGraph {
    uint8_t *calls;
    size_t n_bytes;
    GpuGraphExec exec;
    bool made;     // exec exists
    uint64_t used; // the stream's clock
} StepGraph;

/** A step of the engine (step.cu). */
typedef struct Step {
    bool open;
    bool recording;  // launches are kept, lists go to the step's own memory
    bool plain;      // no graphs: one could not be made
    uint64_t serial; // of steps
    GpuRecorder recorder;
    StepList lists[STEP_LISTS];
    size_t n_lists;
    uint8_t *host[2]; // pinned, by turns: the copy of the step before may still be under way
    uint8_t *device;
    size_t capacity, used, wanted;
    GpuEvent sent[2];
    int n_sent; // events that exist
    int turn;
    StepGraph graphs[STEP_GRAPHS];
} Step;

/** Kernels that take products; all give the same bits for one type. */
typedef enum ProductKernel {
    PRODUCT_FEW, // any number of rows, but it is made for up to 32
    PRODUCT_64,  // panels of as many rows
    PRODUCT_128,
    PRODUCT_128_WARPS, // the same with twice the warps, for few panels
    PRODUCT_256,
    PRODUCT_KERNELS,
} ProductKernel;

#define PANEL           128 // outputs of a panel
#define PRODUCT_CHOICES 256 // of a stream: an 8B of one type has about 65

/** Which kernel is best for products of a shape (product_choose.cu). */
typedef struct ProductChoice {
    int type;
    int n_segments;
    uint32_t n_blocks;
    uint32_t n_panels;
    uint32_t rows; // up to here
    ProductKernel kernel;
} ProductChoice;

typedef struct AttendList AttendList; // attention.cu
typedef struct Fast Fast;             // fast.cu

struct KDevice {
    int index;
    int n_processors;
    size_t l2_bytes;     // of the cache before memory
    size_t shared_bytes; // that a block can have
    bool f32;
    Fast *fast;       // NULL: products and sums are our own
    GpuStream load;   // of matrix_create
    bool opened;      // load exists
    uint8_t *staging; // pinned: two pieces of a file on their way
    uint8_t *raw;     // the same on the device
    size_t piece_bytes;
    GpuEvent taken[2]; // each piece has left staging
    int n_taken;       // events that exist
    char description[320];
    int n_ranks;
    KDevice *ranks[RANKS_MAX];
};

struct KStream {
    KDevice *device;
    GpuStream gpu;
    bool made; // gpu exists
    Upload uploads[UPLOADS];
    uint64_t clock;
    Step step;
    AttendList *attend; // the last that was made
    ProductChoice choices[PRODUCT_CHOICES];
    uint32_t n_choices; // that were ever made: the oldest go
    uint8_t *scratch;   // grows; used in stream order
    size_t scratch_bytes;
    uint8_t *list; // the host's, for lists that an operation makes
    size_t list_bytes;
    uint8_t *down; // pinned: results on their way to the host
    size_t down_bytes;
    uint8_t *workspace; // of cuBLASLt
    // Of a rank among several.
    KStream *ranks[RANKS_MAX];
    GpuEvent met;
    bool met_made;
    uint8_t *slice; // what the other ranks read: grows
    size_t slice_bytes;
};

// ---- device.cu ----------------------------------------------------------------------------------

/** Fill *err; returns false. The module has its own: nothing of the program can be called. */
bool cuda_fail(Err *err, ErrCode code, const char *file, int line, const char *func,
               const char *format, ...) __attribute__((format(printf, 6, 7)));
/** True when status is no error; else what failed, and the driver's words. */
bool cuda_ok(GpuError status, Err *err, const char *file, int line, const char *func,
             const char *what);
#define CUDA_FAIL(err, code, ...)  cuda_fail((err), (code), SRC_HERE, __VA_ARGS__)
#define CUDA_OK(status, err, what) cuda_ok((status), (err), SRC_HERE, (what))
/** After a launch. */
#define CUDA_LAUNCHED(err, what) cuda_ok(gpu_last_error(), (err), SRC_HERE, (what))

/** Make the device the calling thread's. */
bool cuda_enter(const KDevice *device, Err *err);
/** Device memory.  fails  ERR_LIMIT when there is too little, and says how much; ERR_DEVICE. */
bool cuda_alloc(KDevice *device, size_t bytes, void **out, const char *what, Err *err);
/** Put a list on the device; *out is good for operations that follow on the stream, until UPLOADS
 * other lists were sent, or the step ends. */
bool cuda_upload(KStream *stream, const void *data, size_t bytes, const void **out, Err *err);
/** At least bytes of device scratch, for the operation at hand. */
bool cuda_scratch(KStream *stream, size_t bytes, void **out, Err *err);
/** At least bytes of the host's, for the operation at hand. */
bool cuda_host_scratch(KStream *stream, size_t bytes, void **out, Err *err);
/** Copy to the host and wait. */
bool cuda_download(KStream *stream, const void *from, void *to, size_t bytes, Err *err);

// ---- step.cu ------------------------------------------------------------------------------------

bool cuda_step_begin(KStream *stream, bool repeats, Err *err);
bool cuda_step_end(KStream *stream, Err *err);
/** Rows of a step that repeats, n_rows or more: few numbers, so that steps are the same. */
size_t cuda_step_rows(const KStream *stream, size_t n_rows);
/** What follows can not be recorded: issue what was, and the rest of the step at once. */
bool cuda_step_eager(KStream *stream, Err *err);
/** cuda_upload of a step that is recorded. False: it has no room. */
bool cuda_step_list(KStream *stream, const void *data, size_t bytes, const void **out);
/** n or more: of lists and grids whose size shall not change with every step, while recording. */
size_t cuda_step_size(const KStream *stream, size_t n);
void cuda_step_finish(KStream *stream);

// ---- One file each ------------------------------------------------------------------------------

bool cuda_device_open(const KDeviceOptions *options, KDevice **out, Err *err);
void cuda_device_close(KDevice *device);
bool cuda_stream_create(KDevice *device, KStream **out, Err *err);
void cuda_stream_destroy(KStream *stream);
bool cuda_stream_sync(KStream *stream, Err *err);
bool cuda_buffer_create(KDevice *device, size_t n, KBuffer **out, Err *err);
void cuda_buffer_destroy(KBuffer *buffer);
bool cuda_buffer_write(KStream *stream, KBuffer *buffer, size_t offset, const float *from, size_t n,
                       Err *err);
bool cuda_buffer_read(KStream *stream, const KBuffer *buffer, size_t offset, float *to, size_t n,
                      Err *err);
/** row_bytes: from a row of data to the next, at least cuda_row_bytes. */
bool cuda_matrix_create(KDevice *device, KType type, size_t n_out, size_t n_in, const void *data,
                        size_t row_bytes, KMatrix **out, Err *err);
void cuda_matrix_destroy(KMatrix *matrix);
bool cuda_acts_create(KDevice *device, size_t max_rows, size_t width,
                      const KMatrix *const *consumers, size_t n_consumers, KActs **out, Err *err);
void cuda_acts_destroy(KActs *acts);
size_t cuda_kv_slot_bytes(const KDevice *device, const KHeads *heads, size_t n_layers);
bool cuda_kv_create(KDevice *device, const KHeads *heads, size_t n_layers, size_t n_slots,
                    KKv **out, Err *err);
void cuda_kv_destroy(KKv *kv);
bool cuda_embed(KStream *stream, const KMatrix *table, const int32_t *ids, size_t n_rows,
                KBuffer *out, Err *err);
bool cuda_rms_norm(KStream *stream, const KBuffer *x, const KBuffer *weight, float eps, size_t dim,
                   const uint32_t *rows, size_t n_rows, KActs *out, Err *err);
bool cuda_products(KStream *stream, const KProduct *products, size_t n_products, const KActs *x,
                   size_t n_rows, Err *err);
bool cuda_rope_store(KStream *stream, KKv *kv, size_t layer, KBuffer *q, const KBuffer *k,
                     const KBuffer *v, const float *angles, const uint32_t *slots, size_t n_rows,
                     Err *err);
bool cuda_attention(KStream *stream, const KKv *kv, size_t layer, const KBuffer *q,
                    const KAttentionWork *works, size_t n_works, size_t n_rows, KActs *out,
                    Err *err);
bool cuda_gated(KStream *stream, const KMatrix *gate, const KMatrix *up, const KActs *x,
                size_t n_rows, KActs *out, Err *err);
bool cuda_gather(KStream *stream, const KBuffer *x, size_t dim, const uint32_t *rows, size_t n_rows,
                 KBuffer *out, Err *err);
bool cuda_logprobs(KStream *stream, const KBuffer *logits, size_t vocab, const KLogprobRow *rows,
                   size_t n_rows, Err *err);
bool cuda_pick(KStream *stream, const KBuffer *logits, size_t vocab, const KPick *picks,
               size_t n_picks, Err *err);

/** Bytes of a row of a file's matrix. */
size_t cuda_row_bytes(KType type, size_t n_in);
/** Keys and values of a layer, for kernels. */
KvView cuda_kv_view(const KKv *kv, size_t layer);
void cuda_attend_list_destroy(AttendList *list);
/** Products of one type in one launch. Weights that lie plain are for products_few alone;
 * products_chosen takes what is best of the others, and products_many all of those but PRODUCT_FEW.
 */
bool products_few(KStream *stream, const ProductsView *view, Err *err);
/** Whether its grid is large enough for the outputs. */
bool products_few_can(const ProductsView *view);
bool products_many(KStream *stream, const ProductsView *view, ProductKernel kernel, Err *err);
bool products_chosen(KStream *stream, const ProductsView *view, Err *err);
/** Bytes of shared memory that a block of products_many takes. */
size_t products_many_shared(int type, ProductKernel kernel);
/** In plain f32. */
bool products_f32(KStream *stream, const ProductsView *view, Err *err);
/** Sum n_parts of view->partials, K_SEGMENTS or half as many pairs, as the fixed tree. */
bool products_tree(KStream *stream, const ProductsView *view, int n_parts, Err *err);
/** out = silu(gate) * up.  shapes  gate, up (n_rows, width of out) on the device. */
bool rows_swiglu(KStream *stream, const float *gate, const float *up, size_t n_rows, KActs *out,
                 Err *err);

// ---- fast.cu: --fast, on all ranks of a device --------------------------------------------------

/** Open what there is of the libraries; the description says what there is not. */
bool fast_device_open(KDevice *first, Err *err);
void fast_device_close(KDevice *first); // before the devices
bool fast_stream_open(KStream *stream, Err *err);
void fast_stream_close(KStream *stream);
/** Whether weights of a type lie plain, for cuBLASLt. */
bool fast_plain(const KDevice *device, KType type);
/** A product with weights that lie plain; not taken: the library knows no way, nothing was done. */
bool fast_product(KStream *stream, const KProduct *product, const ActsView *x, size_t n_rows,
                  bool *out_taken, Err *err);
/** Whether the ranks' products may be summed. */
bool fast_sums(const KDevice *device);
/** The first n floats of every rank's buffer become the sum of all. */
bool fast_sum(KStream *stream, const KBuffer *buffer, size_t n, Err *err);
/** Before anyone waits for a rank: until all are done or one has failed, for whose share of a sum
 * the others would wait for ever. */
bool fast_settle(KStream *stream, Err *err);

extern "C" const KOps *muster_cuda_ops(void);
