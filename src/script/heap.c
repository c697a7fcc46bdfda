// SPDX-License-Identifier: MIT
// The allocator of a Lua state, wholly inside the state's region so that a byte copy of the region
// is a copy of the heap too: bump marks and free lists by size class, no headers (Lua says how
// large a block is). Big requests charge the budget, since the C loops that fill them see no
// instruction hook. A state that can not be given memory is abandoned instead of being left to try
// again and again.
//
// Two zones: what is allocated while code is loaded into an image (functions, their constants,
// strings) lies in the cold zone. Nothing but the collector and a growing string table ever writes
// there, so a restore may leave it as it is unless one of these two was at work (vm->cold_dirty).
#include "script/script_internal.h"

#include <string.h>

#define SMALL_MAX   1024u // classes of 16 bytes up to here, then four to an octave
#define N_SMALL     (SMALL_MAX / 16 + 1)
#define N_OCTAVES   22
#define N_CLASSES   (N_SMALL + 4 * N_OCTAVES)
#define BIG_BYTES   (64u << 10) // charged, and the clock is looked at
#define FINE_BYTES  (256u << 10)
#define REFUSED_MAX 12
#define TAG_PROTO   (LUA_NUMTYPES + 1) // how Lua tags function prototypes
#define SHORT_BYTES (24 + 40 + 1)      // of a short string: header, text, NUL
#define STRINGS_MIN 1024u              // bytes of the smallest string table

typedef struct FreeBlock {
    struct FreeBlock *next;
} FreeBlock;

typedef struct Zone {
    size_t used; // bump mark, from the region's start
    size_t limit;
    FreeBlock *free[N_CLASSES];
} Zone;

struct Heap {
    Zone hot;
    Zone cold;
    size_t peak;       // the highest mark of the hot zone since the image was restored
    const void *stack; // the main thread's, to be known while it moves
};

static Heap *heap_of(const Vm *vm)
{
    return (Heap *)(void *)vm->base;
}

void heap_init(Vm *vm)
{
    Heap *heap = heap_of(vm);
    memset(heap, 0, sizeof(*heap));
    heap->hot.used = (sizeof(*heap) + 15) & ~(size_t)15;
    heap->hot.limit = vm->hot_bytes;
    heap->cold.used = vm->hot_bytes;
    heap->cold.limit = vm->bytes;
    vm->n_links = 0;
}

size_t heap_used(const Vm *vm)
{
    return heap_of(vm)->hot.used;
}

size_t heap_peak(const Vm *vm)
{
    return heap_of(vm)->peak;
}

size_t heap_cold_used(const Vm *vm)
{
    return heap_of(vm)->cold.used;
}

void heap_cold_skip(Vm *vm, size_t offset)
{
    Zone *cold = &heap_of(vm)->cold;
    cold->used = offset > cold->used ? offset : cold->used;
    memset(cold->free, 0, sizeof(cold->free)); // holes before it belong to somebody else's copy
}

size_t heap_holes(const Vm *vm, HeapSpan *out, size_t cap)
{
    const Heap *heap = heap_of(vm);
    size_t n = 0;
    for (unsigned class = N_SMALL; class < N_CLASSES; class ++) {
        size_t bytes = (size_t)(5 + (class - N_SMALL) % 4) << (8 + (class - N_SMALL) / 4);
        for (const FreeBlock *block = heap->hot.free[class]; block != NULL && n < cap;
             block = block->next) {
            size_t from = (size_t)((const uint8_t *)block - vm->base);
            out[n++] = (HeapSpan){from + sizeof(*block), from + bytes};
        }
    }
    return n;
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

static Zone *zone_of(const Vm *vm, const void *block)
{
    Heap *heap = heap_of(vm);
    return (size_t)((const uint8_t *)block - vm->base) >= vm->hot_bytes ? &heap->cold : &heap->hot;
}

// ---- Links of the collector ---------------------------------------------------------------------
// Functions have a member that links them into the collector's list of what is still to be looked
// at. Between collections it means nothing, but it would make equal cold zones look different.

#define CLOSURE_LINK 16u // of a closure: behind next, type, color and number of upvalues

static size_t link_of(const Vm *vm, const void *block, size_t tag, size_t bytes)
{
    size_t from = (size_t)((const uint8_t *)block - vm->base);
    return tag == LUA_TFUNCTION ? from + CLOSURE_LINK : from + bytes - sizeof(void *);
}

static void link_add(Vm *vm, const void *block, size_t tag, size_t bytes)
{
    if (vm->n_links < VM_LINKS_MAX) {
        vm->links[vm->n_links++] = link_of(vm, block, tag, bytes);
    }
}

/** Its tag is not known any more; no other block has a link where one of the two would be. */
static void link_remove(Vm *vm, const void *block, size_t bytes)
{
    size_t closure = link_of(vm, block, LUA_TFUNCTION, bytes);
    size_t proto = link_of(vm, block, 0, bytes);
    for (size_t i = 0; i < vm->n_links; i++) {
        if (vm->links[i] == closure || vm->links[i] == proto) {
            vm->links[i] = vm->links[--vm->n_links];
            return;
        }
    }
}

void heap_forget_links(Vm *vm)
{
    for (size_t i = 0; i < vm->n_links; i++) {
        memset(vm->base + vm->links[i], 0, sizeof(void *));
    }
}

// ---- Blocks -------------------------------------------------------------------------------------

static void *zone_take(Heap *heap, Zone *zone, size_t bytes)
{
    size_t rounded;
    if (bytes > ((size_t)1 << 30)) {
        return NULL;
    }
    unsigned class = class_of(bytes, &rounded);
    if (class >= N_CLASSES) {
        return NULL;
    }
    FreeBlock *block = zone->free[class];
    if (block != NULL) {
        zone->free[class] = block->next;
        return block;
    }
    if (rounded > zone->limit - zone->used) {
        return NULL;
    }
    block = (FreeBlock *)(void *)((uint8_t *)heap + zone->used);
    zone->used += rounded;
    heap->peak = heap->hot.used > heap->peak ? heap->hot.used : heap->peak;
    return block;
}

static void zone_give(Vm *vm, Zone *zone, void *block, size_t bytes)
{
    Heap *heap = heap_of(vm);
    if (zone == &heap->cold && (size_t)((uint8_t *)block - vm->base) < vm->cold_floor) {
        return; // not to be reused: an image on this base would not save what lies there
    }
    if (zone == &heap->cold && vm->building && vm->cold_floor == 0) {
        link_remove(vm, block, bytes);
    }
    size_t rounded;
    unsigned class = class_of(bytes, &rounded);
    if ((uint8_t *)block + rounded == (uint8_t *)heap + zone->used) {
        zone->used -= rounded; // the newest block: the mark moves back
        return;
    }
    FreeBlock *free_block = block;
    free_block->next = zone->free[class];
    zone->free[class] = free_block;
}

/** Resize the newest block where it lies. */
static bool zone_stretch(Heap *heap, Zone *zone, void *block, size_t old_rounded,
                         size_t new_rounded)
{
    if ((uint8_t *)block + old_rounded != (uint8_t *)heap + zone->used) {
        return false;
    }
    if (new_rounded > old_rounded && new_rounded - old_rounded > zone->limit - zone->used) {
        return false;
    }
    zone->used = zone->used - old_rounded + new_rounded;
    heap->peak = heap->hot.used > heap->peak ? heap->hot.used : heap->peak;
    return true;
}

/** Lua collects garbage and asks once more after a refusal; a second one in a row is the end. */
static void *refuse(Vm *vm)
{
    vm->n_refused++;
    vm->n_refused_in_row++;
    vm->cold_dirty = true; // by the collection that follows
    if (vm->L != NULL) {
        vm_where(vm->L, 0, vm->refused_at, sizeof(vm->refused_at));
    }
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

/**
 * Tables, upvalues, userdata, threads change; short strings and functions do not (no script can get
 * at the upvalues of a function but by running it; those that change their own: vm_push_iterator).
 * A long string keeps its hash once it has been a key. Untagged blocks are code and constants while
 * loading.
 */
static bool is_cold(const Vm *vm, size_t tag, size_t bytes)
{
    return (tag == LUA_TSTRING && bytes <= SHORT_BYTES) || tag == LUA_TFUNCTION ||
           tag == TAG_PROTO || (tag == 0 && vm->loading);
}

/** tag is Lua's: the kind of object, or 0 for arrays and the like. */
static void *take(Vm *vm, size_t tag, size_t bytes)
{
    Heap *heap = heap_of(vm);
    if (bytes == 0) {
        return NULL;
    }
    if (bytes >= BIG_BYTES) {
        charge_big(vm, bytes);
    }
    void *block = NULL;
    if (vm->building && is_cold(vm, tag, bytes)) {
        block = zone_take(heap, &heap->cold, bytes);
        if (block != NULL && (tag == LUA_TFUNCTION || tag == TAG_PROTO) && vm->cold_floor == 0) {
            link_add(vm, block, tag, bytes);
        }
    }
    if (block == NULL) {
        block = zone_take(heap, &heap->hot, bytes);
    }
    if (block == NULL) {
        return refuse(vm);
    }
    if (vm->L == NULL && tag == 0 && heap->stack == NULL) {
        heap->stack = block; // of what lua_newstate makes, the first that is no object
    }
    vm->n_refused_in_row = 0;
    return block;
}

/** A doubling array that may be the string table: its growth rewrites links inside all strings. */
static bool may_be_strings(size_t old_bytes, size_t new_bytes)
{
    return old_bytes >= STRINGS_MIN && (old_bytes & (old_bytes - 1)) == 0 &&
           new_bytes == 2 * old_bytes;
}

static void *resize(Vm *vm, void *block, size_t old_bytes, size_t new_bytes)
{
    Heap *heap = heap_of(vm);
    Zone *zone = zone_of(vm, block);
    if (new_bytes == 0) {
        zone_give(vm, zone, block, old_bytes);
        return NULL;
    }
    if (new_bytes > ((size_t)1 << 30)) {
        return refuse(vm);
    }
    vm->cold_dirty = vm->cold_dirty || may_be_strings(old_bytes, new_bytes);
    size_t old_rounded, new_rounded;
    unsigned old_class = class_of(old_bytes, &old_rounded);
    if (old_class == class_of(new_bytes, &new_rounded)) {
        return block;
    }
    if (new_bytes >= BIG_BYTES && new_bytes > old_bytes) {
        charge_big(vm, new_bytes);
    }
    if (zone_stretch(heap, zone, block, old_rounded, new_rounded)) {
        return block;
    }
    void *fresh = zone_take(heap, zone, new_bytes);
    if (fresh == NULL && zone == &heap->cold) {
        fresh = zone_take(heap, &heap->hot, new_bytes);
    }
    if (fresh == NULL) {
        // Shrinking must not fail: the block stays and is filed under the smaller class later.
        return new_bytes < old_bytes ? block : refuse(vm);
    }
    vm->n_refused_in_row = 0;
    memcpy(fresh, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    zone_give(vm, zone, block, old_bytes);
    return fresh;
}

/**
 * Around the call that resizes a stack, Lua 5.4.6 and later keep offsets in the place of all
 * pointers into it: who asks then which function is running follows a small number. (Earlier ones
 * take a new block first and move the stack later, which is no resize here.) Elsewhere it is
 * safe to ask: the frame on top is whole before anything is allocated for the next one, and
 * lua_newstate comes before vm->L is set. A coroutine's stack does not matter, since only the main
 * thread is asked. */
void *heap_realloc(void *context, void *block, size_t old_bytes, size_t new_bytes)
{
    Vm *vm = context;
    Heap *heap = heap_of(vm);
    if (block == NULL) {
        return take(vm, old_bytes, new_bytes);
    }
    if (block != heap->stack) {
        return resize(vm, block, old_bytes, new_bytes);
    }
    vm->stack_moves = true;
    void *moved = resize(vm, block, old_bytes, new_bytes);
    vm->stack_moves = false;
    heap->stack = moved != NULL || new_bytes == 0 ? moved : block;
    return moved;
}
