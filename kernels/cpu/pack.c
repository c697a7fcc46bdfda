// SPDX-License-Identifier: MIT
// Repacking of a file's weights into tiles of 16 outputs (KMatrix in cpu_internal.h says how they
// lie).
#include "kernels/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

/** How a type lies in a file and in a tile. */
typedef struct PackType {
    uint8_t block;       // elements of K in a block
    uint8_t block_bytes; // in the file
    uint8_t head_bytes;  // of the block: f16 d, or d and m
    uint8_t word_groups; // 32-bit words of quants in a block (0: plain elements)
} PackType;

static const PackType pacforms[] = {
    [K_F32] = {1, 4, 0, 0},    [K_F16] = {1, 2, 0, 0},    [K_BF16] = {1, 2, 0, 0},
    [K_Q8_0] = {32, 34, 2, 8}, [K_Q4_0] = {32, 18, 2, 4}, [K_Q4_1] = {32, 20, 4, 4},
};

typedef struct PackJob {
    const PackType *type;
    KType file_type;
    const uint8_t *data;
    size_t row_bytes;
    KMatrix *matrix;
} PackJob;

/** Elements [k] of 16 rows side by side. */
static void pack_plain(const PackJob *job, uint8_t *tile, size_t first, size_t n_rows)
{
    size_t bytes = job->type->block_bytes;
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *row = job->data + (first + r) * job->row_bytes;
        for (size_t k = 0; k < job->matrix->n_in; k++) {
            memcpy(tile + (k * CPU_TILE + r) * bytes, row + k * bytes, bytes);
        }
    }
}

/** Element k of a row of F16 or BF16. */
static float half_at(const uint8_t *row, KType type, size_t k)
{
    uint16_t half;
    memcpy(&half, row + k * sizeof(half), sizeof(half));
    return type == K_F16 ? half_to_float(half) : float_of_bits((uint32_t)half << 16);
}

/**
 * A block of 32 weights as words q with one power of two: w = q * 2^e, e the least with which the
 * integers of a quarter's dot product cannot leave int32 whatever the activations are: sum |q| <=
 * 2^16 + 4 and |x| <= 32512. Weights of at least 2^7 (BF16) or 2^10 (F16) units are exact; the
 * others err by at most half a unit. Returns 2^e as bf16 bits. */
static uint16_t pack_words_block(const float *w, int16_t *q)
{
    double sum = 0; // of the heaviest quarter
    float most = 0;
    for (int part = 0; part < CPU_BLOCK; part += CPU_BLOCK / 4) {
        double of_part = 0;
        for (int k = part; k < part + CPU_BLOCK / 4; k++) {
            of_part += (double)fabsf(w[k]);
            most = fabsf(w[k]) > most ? fabsf(w[k]) : most;
        }
        sum = of_part <= sum ? sum : of_part; // NaN too
    }
    memset(q, 0, CPU_BLOCK * sizeof(*q));
    if (!(sum <= 1e300)) {
        return 0x7fc0; // not finite: every output becomes NaN
    }
    int e = 0;
    (void)frexp(sum, &e);
    e = e - 16 > -126 ? e - 16 : -126;
    e += ldexp((double)most, -e) > 32767 ? 1 : 0;
    const double per_unit = ldexp(1, -e);
    for (int k = 0; k < CPU_BLOCK; k++) {
        q[k] = (int16_t)rint((double)w[k] * per_unit);
    }
    return (uint16_t)((e + 127) << 7);
}

/** Halves of 16 rows as words. */
static void pack_words(const PackJob *job, uint8_t *tile, size_t first, size_t n_rows)
{
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *row = job->data + (first + r) * job->row_bytes;
        uint8_t *to = tile;
        for (size_t b = 0; b < job->matrix->n_in / CPU_BLOCK; b++) {
            float w[CPU_BLOCK];
            int16_t q[CPU_BLOCK];
            for (size_t k = 0; k < CPU_BLOCK; k++) {
                w[k] = half_at(row, job->file_type, b * CPU_BLOCK + k);
            }
            uint16_t d = pack_words_block(w, q);
            for (size_t k = 0; k < CPU_BLOCK; k++) {
                memcpy(to + ((k / 2 * CPU_TILE + r) * 2 + k % 2) * 2, &q[k], sizeof(q[k]));
            }
            memcpy(to + cpu_quant_bytes(CPU_W16) + r * 2, &d, sizeof(d));
            to += cpu_block_bytes(CPU_W16);
        }
    }
}

/** Words of quants of 16 rows side by side, then their scales, block after block. */
static void pack_blocks(const PackJob *job, uint8_t *tile, size_t first, size_t n_rows)
{
    const PackType *type = job->type;
    CpuForm form = job->matrix->form;
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *block = job->data + (first + r) * job->row_bytes;
        uint8_t *to = tile;
        for (size_t b = 0; b < job->matrix->n_in / CPU_BLOCK; b++) {
            for (size_t g = 0; g < type->word_groups; g++) {
                uint32_t word;
                memcpy(&word, block + type->head_bytes + g * 4, sizeof(word));
                if (form == CPU_Q8_0) {
                    word ^= 0x80808080u; // q + 128
                }
                // The two in the middle change places: see cpu_quant_byte.
                word = (word & 0xff0000ffu) | (word & 0xff00u) << 8 | (word >> 8 & 0xff00u);
                memcpy(to + (g * CPU_TILE + r) * 4, &word, sizeof(word));
            }
            uint8_t *scales = to + cpu_quant_bytes(form);
            for (size_t i = 0; i < type->head_bytes / 2u; i++) {
                memcpy(scales + (i * CPU_TILE + r) * 2, block + i * 2, 2);
            }
            block += type->block_bytes;
            to += cpu_block_bytes(form);
        }
    }
}

static void pack_tile(void *ctx, uint32_t item, int worker)
{
    (void)worker;
    const PackJob *job = ctx;
    KMatrix *m = job->matrix;
    size_t per_item = (m->n_tiles + POOL_ITEMS_MAX - 1) / POOL_ITEMS_MAX;
    for (size_t t = item * per_item; t < m->n_tiles && t < (item + 1) * per_item; t++) {
        uint8_t *tile = m->tiles + t * m->tile_bytes;
        size_t first = t * CPU_TILE;
        size_t n_rows = m->n_out - first < CPU_TILE ? m->n_out - first : CPU_TILE;
        memset(tile, 0, m->tile_bytes);
        if (m->form == CPU_W16) {
            pack_words(job, tile, first, n_rows);
        } else if (job->type->word_groups == 0) {
            pack_plain(job, tile, first, n_rows);
        } else {
            pack_blocks(job, tile, first, n_rows);
        }
    }
}

bool cpu_matrix_create(KDevice *device, KType type, size_t n_out, size_t n_in, const void *data,
                       KMatrix **out, Err *err)
{
    const PackType *pack = &pacforms[type];
    if (n_out == 0 || n_in == 0 || n_in % pack->block != 0) {
        return ERR_SET(err, ERR_MODEL, "a matrix of %zu x %zu does not divide into blocks of %d",
                       n_out, n_in, pack->block);
    }
    size_t n_blocks = n_in / pack->block;
    bool words = (type == K_F16 || type == K_BF16) && !device->f32 && n_in % CPU_BLOCK == 0;
    CpuForm form = words ? CPU_W16 : (CpuForm)type;
    size_t tile_bytes = cpu_form_f32(form) ? n_in * CPU_TILE * pack->block_bytes
                                           : n_in / CPU_BLOCK * cpu_block_bytes(form);
    tile_bytes = (tile_bytes + CPU_ALIGN - 1) / CPU_ALIGN * CPU_ALIGN;
    size_t n_tiles = (n_out + CPU_TILE - 1) / CPU_TILE, bytes;
    if (__builtin_mul_overflow(n_tiles, tile_bytes, &bytes)) {
        return ERR_SET(err, ERR_LIMIT, "a matrix of %zu x %zu does not fit in memory", n_out, n_in);
    }
    KMatrix *m = mem_zalloc(1, sizeof(*m));
    *m = (KMatrix){
        .form = form, .n_out = n_out, .n_in = n_in, .n_tiles = n_tiles, .tile_bytes = tile_bytes};
    m->tiles = cpu_slab_take(device, bytes, &m->slab);
    PackJob job = {.type = pack,
                   .file_type = type,
                   .data = data,
                   .row_bytes = n_blocks * pack->block_bytes,
                   .matrix = m};
    size_t items = n_tiles < POOL_ITEMS_MAX ? n_tiles : POOL_ITEMS_MAX;
    pool_run(device->pool, pack_tile, &job, (uint32_t)items);
    *out = m;
    return true;
}

void cpu_matrix_destroy(KMatrix *matrix)
{
    if (matrix != NULL) {
        cpu_slab_leave(matrix->slab);
        mem_free(matrix);
    }
}
