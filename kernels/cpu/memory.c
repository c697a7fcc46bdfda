// SPDX-License-Identifier: MIT
// What the backend's objects are made of: buffers, activations, and the KV slots.
#include "kernels/cpu/cpu_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE  ((size_t)2 << 20)
#define SLAB_BYTES ((size_t)16 << 20)

void *cpu_alloc(size_t bytes)
{
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : CPU_ALIGN;
    size_t rounded = (bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, rounded > 0 ? rounded : align);
    if (p == NULL) {
        abort();
    }
    if (align == HUGE_PAGE) {
        (void)madvise(p, rounded,
                      MADV_HUGEPAGE); // half of a decode step's time where it is granted
    }
    return p;
}

void cpu_free(void *p)
{
    free(p);
}

void *cpu_slab_take(KDevice *device, size_t bytes, CpuSlab **out_slab)
{
    CpuSlab *slab = device->slab;
    bytes = (bytes + CPU_ALIGN - 1) / CPU_ALIGN * CPU_ALIGN;
    if (slab == NULL || bytes > slab->bytes - slab->used) {
        cpu_slab_leave(slab); // the device's own use of it
        slab = mem_zalloc(1, sizeof(*slab));
        slab->bytes = bytes > SLAB_BYTES ? bytes : SLAB_BYTES;
        slab->data = cpu_alloc(slab->bytes);
        slab->n_users = 1;
        device->slab = slab;
    }
    void *p = slab->data + slab->used;
    slab->used += bytes;
    slab->n_users++;
    *out_slab = slab;
    return p;
}

void cpu_slab_leave(CpuSlab *slab)
{
    if (slab != NULL && --slab->n_users == 0) {
        cpu_free(slab->data);
        mem_free(slab);
    }
}

static void *alloc_zeroed(size_t count, size_t size)
{
    void *p = cpu_alloc(count * size);
    memset(p, 0, count * size);
    return p;
}

void *cpu_scratch(KDevice *device, size_t bytes)
{
    if (bytes > device->scratch_bytes) {
        cpu_free(device->scratch);
        device->scratch = cpu_alloc(bytes);
        device->scratch_bytes = bytes;
    }
    return device->scratch;
}

bool cpu_acts_create(KDevice *device, size_t max_rows, size_t width,
                     const KMatrix *const *consumers, size_t n_consumers, KActs **out, Err *err)
{
    (void)err;
    bool f32 = device->f32, fixed = false;
    for (size_t i = 0; i < n_consumers; i++) {
        bool plain = cpu_form_f32(consumers[i]->form);
        fixed |= !plain && !device->f32;
        f32 |= plain;
    }
    KActs *acts = mem_zalloc(1, sizeof(*acts));
    acts->max_rows = max_rows;
    acts->width = width;
    acts->stride = cpu_round_tile(width);
    acts->n_blocks = width / CPU_BLOCK;
    size_t n_rows = (max_rows + CPU_ROWS - 1) / CPU_ROWS * CPU_ROWS;
    if (f32) {
        acts->f32 = alloc_zeroed(n_rows * acts->stride, sizeof(float));
    }
    if (fixed) {
        size_t n = n_rows * acts->n_blocks;
        acts->fixed = alloc_zeroed(n, CPU_BLOCK * sizeof(int16_t));
        acts->scale = alloc_zeroed(n, sizeof(float));
        acts->sum = alloc_zeroed(n, sizeof(int32_t));
        acts->scale_sum = alloc_zeroed(n, sizeof(float));
    }
    *out = acts;
    return true;
}

void cpu_acts_destroy(KActs *acts)
{
    if (acts == NULL) {
        return;
    }
    cpu_free(acts->f32);
    cpu_free(acts->fixed);
    cpu_free(acts->scale);
    cpu_free(acts->sum);
    cpu_free(acts->scale_sum);
    mem_free(acts);
}

void cpu_acts_row(const KDevice *device, KActs *acts, size_t r, const float *x)
{
    if (acts->f32 != NULL) {
        for (size_t k = 0; k < acts->width; k += CPU_TILE) {
            size_t n = acts->width - k < CPU_TILE ? acts->width - k : CPU_TILE;
            memcpy(cpu_acts_f32(acts, r, k), x + k, n * sizeof(float));
        }
    }
    if (acts->fixed != NULL) {
        device->path->quantise(x, acts, r);
    }
}

size_t cpu_kv_slot_bytes(const KDevice *device, const KHeads *heads, size_t n_layers)
{
    size_t elements = heads->head_dim + cpu_round_tile(heads->head_dim);
    size_t head_bytes =
        device->f32 ? elements * sizeof(float) : elements * sizeof(int16_t) + 2 * sizeof(float);
    return n_layers * heads->n_kv_heads * head_bytes;
}

/** Zeroed pages that are taken when they are first touched; NULL: none. bytes > 0. */
static void *map_lazily(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t bytes)
{
    if (p != NULL) {
        (void)munmap(p, bytes);
    }
}

bool cpu_kv_create(KDevice *device, const KHeads *heads, size_t n_layers, size_t n_slots, KKv **out,
                   Err *err)
{
    size_t slots = cpu_round_tile(n_slots);
    size_t slot_bytes = cpu_kv_slot_bytes(device, heads, n_layers), bytes;
    if (__builtin_mul_overflow(slots, slot_bytes, &bytes) || bytes > SIZE_MAX / 2) {
        return ERR_SET(err, ERR_LIMIT, "KV memory of %zu slots of %zu bytes does not fit", n_slots,
                       slot_bytes);
    }
    KKv *kv = mem_zalloc(1, sizeof(*kv));
    kv->heads = *heads;
    kv->f32 = device->f32;
    kv->n_layers = n_layers;
    kv->n_slots = slots;
    kv->value_stride = cpu_round_tile(heads->head_dim);
    kv->element_bytes = device->f32 ? sizeof(float) : sizeof(int16_t);
    // Pages of slots that are never used are never touched, and so never taken. (The loads of every
    // path accept any alignment; groups are 32 or 64 bytes apart.)
    size_t heads_slots = n_layers * slots * heads->n_kv_heads;
    kv->keys = map_lazily(heads_slots * heads->head_dim * kv->element_bytes);
    kv->values = map_lazily(heads_slots * kv->value_stride * kv->element_bytes);
    if (!kv->f32) {
        kv->key_scale = map_lazily(heads_slots * sizeof(float));
        kv->value_scale = map_lazily(heads_slots * sizeof(float));
    }
    if (kv->keys == NULL || kv->values == NULL ||
        (!kv->f32 && (kv->key_scale == NULL || kv->value_scale == NULL))) {
        cpu_kv_destroy(kv);
        return ERR_SET(err, ERR_LIMIT, "no memory for %zu KV slots (%zu MiB)", n_slots,
                       bytes >> 20);
    }
    *out = kv;
    return true;
}

void cpu_kv_destroy(KKv *kv)
{
    if (kv == NULL) {
        return;
    }
    size_t heads_slots = kv->n_layers * kv->n_slots * kv->heads.n_kv_heads;
    unmap(kv->keys, heads_slots * kv->heads.head_dim * kv->element_bytes);
    unmap(kv->values, heads_slots * kv->value_stride * kv->element_bytes);
    unmap(kv->key_scale, heads_slots * sizeof(float));
    unmap(kv->value_scale, heads_slots * sizeof(float));
    mem_free(kv);
}
