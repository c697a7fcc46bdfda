// SPDX-License-Identifier: MIT
// The allocator of a Lua state, wholly inside the state's region so that a byte copy of the region
// is a copy of the heap too: a bump mark and free lists by size class, no headers (Lua says how
// large a block is). Big requests charge the budget, since the C loops that fill them see no
// instruction hook. A state that can not be given memory is abandoned instead of being left to try
// again and again.
#include "script/script_internal.h"

#include <string.h>

#define SMALL_MAX   1024u // classes of 16 bytes up to here, then four to an octave
#define N_SMALL     (SMALL_MAX / 16 + 1)
#define N_OCTAVES   22
#define N_CLASSES   (N_SMALL + 4 * N_OCTAVES)
#define BIG_BYTES   (64u << 10) // charged, and the clock is looked at
#define FINE_BYTES  (256u << 10)
#define REFUSED_MAX 12

typedef struct FreeBlock {
    struct FreeBlock *next;
} FreeBlock;

struct Heap {
    size_t used;  // bump mark, from the region's start
    size_t limit; // end of the region
    size_t peak;  // the highest mark since the image was restored
    FreeBlock *free[N_CLASSES];
};

static Heap *heap_of(const Vm *vm)
{
    return (Heap *)(void *)vm->base;
}

void heap_init(Vm *vm)
{
    Heap *heap = heap_of(vm);
    memset(heap, 0, sizeof(*heap));
    heap->used = (sizeof(*heap) + 15) & ~(size_t)15;
    heap->limit = vm->bytes;
}

size_t heap_used(const Vm *vm)
{
    return heap_of(vm)->used;
}

size_t heap_peak(const Vm *vm)
{
    return heap_of(vm)->peak;
}

/** Class of a size and what it is rounded up to. */
static unsigned class_of(size_t bytes, size_t *out_rounded)
{
    if (bytes <= SMALL_MAX) {
        size_t unit = (bytes + 15) >> 4;
        *out_rounded = unit << 4;
        return (unsigned)unit;
    }
    unsigned octave = 63u - (unsigned)__builtin_clzll(bytes - 1); // 2^octave <= bytes - 1
    unsigned shift = octave - 2;
    size_t quarter = ((bytes - 1) >> shift) + 1; // 5 .. 8 quarters of 2^octave
    *out_rounded = quarter << shift;
    return N_SMALL + 4 * (octave - 10) + (unsigned)(quarter - 5);
}

static void *block_take(Heap *heap, size_t bytes)
{
    size_t rounded;
    if (bytes > ((size_t)1 << 30)) {
        return NULL;
    }
    unsigned class = class_of(bytes, &rounded);
    if (class >= N_CLASSES) {
        return NULL;
    }
    FreeBlock *block = heap->free[class];
    if (block != NULL) {
        heap->free[class] = block->next;
        return block;
    }
    if (rounded > heap->limit - heap->used) {
        return NULL;
    }
    block = (FreeBlock *)(void *)((uint8_t *)heap + heap->used);
    heap->used += rounded;
    heap->peak = heap->used > heap->peak ? heap->used : heap->peak;
    return block;
}

static void block_give(Heap *heap, void *block, size_t bytes)
{
    size_t rounded;
    unsigned class = class_of(bytes, &rounded);
    if ((uint8_t *)block + rounded == (uint8_t *)heap + heap->used) {
        heap->used -= rounded; // the newest block: the mark moves back
        return;
    }
    FreeBlock *free_block = block;
    free_block->next = heap->free[class];
    heap->free[class] = free_block;
}

/** Resize the newest block where it lies. */
static bool block_stretch(Heap *heap, void *block, size_t old_rounded, size_t new_rounded)
{
    if ((uint8_t *)block + old_rounded != (uint8_t *)heap + heap->used) {
        return false;
    }
    if (new_rounded > old_rounded && new_rounded - old_rounded > heap->limit - heap->used) {
        return false;
    }
    heap->used = heap->used - old_rounded + new_rounded;
    heap->peak = heap->used > heap->peak ? heap->used : heap->peak;
    return true;
}

/** Lua collects garbage and asks once more after a refusal; a second one in a row is the end. */
static void *refuse(Vm *vm)
{
    vm->n_refused++;
    vm->n_refused_in_row++;
    if (vm->L != NULL && (vm->n_refused_in_row > 1 || vm->n_refused > REFUSED_MAX)) {
        vm_abandon(vm, vm->L, ESCAPE_MEMORY);
    }
    return NULL;
}

static void charge_big(Vm *vm, size_t bytes)
{
    vm->fine_ticks = vm->fine_ticks || bytes >= FINE_BYTES;
    if (vm->L != NULL) {
        vm_charge(vm->L, bytes / 128);
        vm_check_deadline(vm, vm->L);
    }
}

void *heap_realloc(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    Vm *vm = context;
    Heap *heap = heap_of(vm);
    if (block == NULL) { // old_bytes is a type tag
        if (new_bytes == 0) {
            return NULL;
        }
        if (new_bytes >= BIG_BYTES) {
            charge_big(vm, new_bytes);
        }
        void *fresh = block_take(heap, new_bytes);
        if (fresh == NULL) {
            return refuse(vm);
        }
        vm->n_refused_in_row = 0;
        return fresh;
    }
    if (new_bytes == 0) {
        block_give(heap, block, old_bytes);
        return NULL;
    }
    if (new_bytes > ((size_t)1 << 30)) {
        return refuse(vm);
    }
    size_t old_rounded, new_rounded;
    unsigned old_class = class_of(old_bytes, &old_rounded);
    if (old_class == class_of(new_bytes, &new_rounded)) {
        return block;
    }
    if (new_bytes >= BIG_BYTES && new_bytes > old_bytes) {
        charge_big(vm, new_bytes);
    }
    if (block_stretch(heap, block, old_rounded, new_rounded)) {
        return block;
    }
    void *fresh = block_take(heap, new_bytes);
    if (fresh == NULL) {
        // Shrinking must not fail: the block stays and is filed under the smaller class later.
        return new_bytes < old_bytes ? block : refuse(vm);
    }
    vm->n_refused_in_row = 0;
    memcpy(fresh, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    block_give(heap, block, old_bytes);
    return fresh;
}
