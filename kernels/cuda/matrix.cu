// SPDX-License-Identifier: MIT
// Weights of a file to records, or to plain rows (record_bytes in backend.cuh says how they lie):
// rows go to the device as the file has them, piece by piece through pinned memory, and are
// repacked there.
#include "kernels/cuda/backend.cuh"

#include <stdlib.h>
#include <string.h>

#ifndef STAGING_BYTES
#define STAGING_BYTES ((size_t)8 << 20) // of a piece: two are on their way
#endif
#define PACK_THREADS 256

/** Elements and bytes of a block of a file. */
static const struct {
    uint32_t elements, bytes;
} file_blocks[] = {{1, 4}, {1, 2}, {1, 2}, {32, 34}, {32, 18}, {32, 20}}; // as KType counts

/** Rows of a file on the device, and where their records go. */
typedef struct PackView {
    const uint8_t *raw;
    uint8_t *records;
    size_t row_bytes;
    uint32_t n_rows; // that raw holds
    uint32_t n_tiles;
    uint32_t n_blocks;
    uint32_t n_in;
    int type;
    bool plain;
} PackView;

// ---- Kernel -------------------------------------------------------------------------------------

DEVICE static inline uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/** Element k of a block of Q4_0 or Q4_1, from its nibbles. */
DEVICE static inline uint32_t nibble(const uint8_t *quants, uint32_t k)
{
    return k < 16 ? quants[k] & 15u : quants[k - 16] >> 4;
}

DEVICE static inline void pack_f32(const PackView &view, uint32_t row0, uint32_t b, uint32_t lane,
                                   uint8_t *record)
{
    uint32_t k = b * BLOCK + lane;
    for (uint32_t o = 0; o < TILE; o++) {
        const uint8_t *from = view.raw + (row0 + o) * view.row_bytes + (size_t)k * 4;
        uint32_t bits = 0;
        if (row0 + o < view.n_rows && k < view.n_in) {
            bits = load_u16(from) | (uint32_t)load_u16(from + 2) << 16;
        }
        ((uint32_t *)record)[o * BLOCK + lane] = bits;
    }
}

DEVICE static inline void pack_halves(const PackView &view, uint32_t row0, uint32_t b,
                                      uint32_t lane, uint8_t *record)
{
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t row = row0 + half * 8 + lane / 4;
        for (uint32_t e = 0; e < GROUP; e++) {
            uint32_t k = b * BLOCK + lane % 4 * GROUP + e;
            bool inside = row < view.n_rows && k < view.n_in;
            const uint8_t *from = view.raw + row * view.row_bytes + (size_t)k * 2;
            uint16_t *to = view.plain
                               ? (uint16_t *)view.records + (size_t)row * view.n_blocks * BLOCK + k
                               : (uint16_t *)record + half_at(half, lane, e);
            *to = inside ? load_u16(from) : (uint16_t)0;
        }
    }
}

DEVICE static inline void pack_quants(const PackView &view, uint32_t row0, uint32_t b,
                                      uint32_t lane, uint8_t *record)
{
    uint32_t g = lane / 4, c = lane % 4;
    uint32_t block_bytes = view.type == K_Q8_0 ? 34 : view.type == K_Q4_0 ? 18 : 20;
    uint16_t *scales = (uint16_t *)(record + record_quants(view.type));
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t row = row0 + half * 8 + g;
        bool inside = row < view.n_rows;
        const uint8_t *block = view.raw + row * view.row_bytes + (size_t)b * block_bytes;
        const uint8_t *quants = block + (view.type == K_Q4_1 ? 4 : 2);
        if (view.type == K_Q8_0) {
            for (uint32_t e = 0; e < GROUP; e++) {
                record[byte_at(half, lane, e)] = inside ? quants[c * GROUP + e] : 0;
            }
        } else {
            uint32_t flip = view.type == K_Q4_0 ? 8 : 0; // a signed nibble
            for (uint32_t e = 0; e < 4; e++) {
                uint32_t low = inside ? nibble(quants, c * GROUP + e) ^ flip : 0;
                uint32_t high = inside ? nibble(quants, c * GROUP + 4 + e) ^ flip : 0;
                record[(lane * 2 + half) * 4 + e] = (uint8_t)(low | high << 4);
            }
        }
        if (c == 0) {
            uint32_t at = view.type == K_Q4_1 ? g * 4 + half : g * 2 + half;
            scales[at] = inside ? load_u16(block) : (uint16_t)0;
            if (view.type == K_Q4_1) {
                scales[at + 2] = inside ? load_u16(block + 2) : (uint16_t)0;
            }
        }
    }
}

/** A warp packs a record. */
KERNEL(pack_records)(PackView view)
{
    size_t at = ((size_t)block_x() * PACK_THREADS + thread_x()) / 32;
    uint32_t lane = thread_x() % 32;
    if (at >= (size_t)view.n_tiles * view.n_blocks) {
        return;
    }
    uint32_t row0 = (uint32_t)(at / view.n_blocks) * TILE, b = (uint32_t)(at % view.n_blocks);
    uint8_t *record = view.records + at * record_bytes(view.type);
    if (view.type == K_F32) {
        pack_f32(view, row0, b, lane, record);
    } else if (view.type == K_F16 || view.type == K_BF16) {
        pack_halves(view, row0, b, lane, record);
    } else {
        pack_quants(view, row0, b, lane, record);
    }
}

// ---- Host ---------------------------------------------------------------------------------------

size_t cuda_row_bytes(KType type, size_t n_in)
{
    return n_in / file_blocks[type].elements * file_blocks[type].bytes;
}

/** Pinned and device memory for two pieces, and when each was taken; kept by the device. */
static bool staging_create(KDevice *device, size_t piece_bytes, Err *err)
{
    if (piece_bytes <= device->piece_bytes) {
        return true;
    }
    (void)gpu_free_host(device->staging);
    (void)gpu_free(device->raw);
    device->staging = NULL;
    device->raw = NULL;
    device->piece_bytes = 0;
    void *staging, *raw;
    if (!CUDA_OK(gpu_malloc_host(&staging, 2 * piece_bytes), err, "pinned memory for weights")) {
        return false;
    }
    device->staging = (uint8_t *)staging;
    if (!cuda_alloc(device, 2 * piece_bytes, &raw, "weights on their way", err)) {
        return false;
    }
    device->raw = (uint8_t *)raw;
    for (; device->n_taken < 2; device->n_taken++) {
        if (!CUDA_OK(gpu_event_create(&device->taken[device->n_taken]), err, "creating an event")) {
            return false;
        }
    }
    device->piece_bytes = piece_bytes;
    return true;
}

/** Rows first .. first+n-1, which fill whole tiles or are the last. */
static bool pack_piece(KDevice *device, const KMatrix *m, const uint8_t *data, size_t row_stride,
                       size_t first, size_t n, int half, Err *err)
{
    size_t row_bytes = cuda_row_bytes(m->type, m->n_in);
    PackView view = {};
    uint8_t *staging = device->staging + (size_t)half * device->piece_bytes;
    uint8_t *raw = device->raw + (size_t)half * device->piece_bytes;
    view.raw = raw;
    view.records = m->records + first / TILE * m->n_blocks * (size_t)record_bytes((int)m->type);
    view.row_bytes = row_bytes;
    view.n_rows = (uint32_t)n;
    view.n_tiles = (uint32_t)((n + TILE - 1) / TILE);
    view.n_blocks = m->n_blocks;
    view.n_in = (uint32_t)m->n_in;
    view.type = (int)m->type;
    view.plain = m->plain;
    if (!CUDA_OK(gpu_event_sync(device->taken[half]), err, "upload of weights")) {
        return false; // the piece before the last is still on its way
    }
    size_t at_once = row_stride == row_bytes ? n : 1;
    for (size_t row = 0; row < n; row += at_once) {
        memcpy(staging + row * row_bytes, data + (first + row) * row_stride, at_once * row_bytes);
    }
    if (!CUDA_OK(gpu_copy_h2d_async(raw, staging, n * row_bytes, device->load), err,
                 "upload of weights") ||
        !CUDA_OK(gpu_event_record(device->taken[half], device->load), err, "upload of weights")) {
        return false;
    }
    size_t warps = (size_t)view.n_tiles * view.n_blocks, per_block = PACK_THREADS / 32;
    LAUNCH(pack_records, dim3((uint32_t)((warps + per_block - 1) / per_block)), dim3(PACK_THREADS),
           0, device->load, view);
    return CUDA_LAUNCHED(err, "repacking");
}

static bool pack_all(KDevice *device, const KMatrix *m, const uint8_t *data, size_t row_stride,
                     Err *err)
{
    size_t row_bytes = cuda_row_bytes(m->type, m->n_in);
    size_t tile_bytes = row_bytes * TILE;
    size_t tiles = STAGING_BYTES / tile_bytes > 0 ? STAGING_BYTES / tile_bytes : 1;
    if (!staging_create(device, tile_bytes > STAGING_BYTES ? tile_bytes : STAGING_BYTES, err)) {
        return false;
    }
    int half = 0;
    for (size_t first = 0, n; first < m->n_out; first += n, half = 1 - half) {
        n = m->n_out - first < tiles * TILE ? m->n_out - first : tiles * TILE;
        if (!pack_piece(device, m, data, row_stride, first, n, half, err)) {
            return false;
        }
    }
    return CUDA_OK(gpu_stream_sync(device->load), err, "upload of weights");
}

bool cuda_matrix_create(KDevice *device, KType type, size_t n_out, size_t n_in, const void *data,
                        size_t row_bytes, KMatrix **out, Err *err)
{
    uint32_t block = file_blocks[type].elements;
    if (n_out == 0 || n_in == 0 || n_in % block != 0) {
        return CUDA_FAIL(err, ERR_MODEL, "a matrix of %zu x %zu does not divide into blocks of %u",
                         n_out, n_in, block);
    }
    size_t bytes, n_tiles = (n_out + TILE - 1) / TILE, n_blocks = (n_in + BLOCK - 1) / BLOCK;
    if (n_out > INT32_MAX || n_in > INT32_MAX ||
        __builtin_mul_overflow(n_tiles * record_bytes((int)type), n_blocks, &bytes)) {
        return CUDA_FAIL(err, ERR_LIMIT, "a matrix of %zu x %zu does not fit in memory", n_out,
                         n_in);
    }
    void *records;
    if (!cuda_enter(device, err) || !cuda_alloc(device, bytes, &records, "weights", err)) {
        return false;
    }
    KMatrix *m = (KMatrix *)calloc(1, sizeof(*m));
    if (m == NULL) {
        gpu_free(records);
        return CUDA_FAIL(err, ERR_LIMIT, "no memory for a matrix");
    }
    m->device = device;
    m->type = type;
    m->n_out = n_out;
    m->n_in = n_in;
    m->n_tiles = (uint32_t)n_tiles;
    m->n_blocks = (uint32_t)n_blocks;
    m->plain = fast_plain(device, type);
    m->records = (uint8_t *)records;
    if (!pack_all(device, m, (const uint8_t *)data, row_bytes, err)) {
        cuda_matrix_destroy(m);
        return false;
    }
    *out = m;
    return true;
}

void cuda_matrix_destroy(KMatrix *matrix)
{
    if (matrix != NULL) {
        gpu_free(matrix->records);
        free(matrix);
    }
}
