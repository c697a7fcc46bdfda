// SPDX-License-Identifier: MIT
// Blocks are a list, newest first; memory is carved from the newest. Under AddressSanitizer the
// bytes that nobody was given are poisoned, with a gap between neighbours.
#include "base/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#define GAP_BYTES      16
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define GAP_BYTES      0
#endif

#define ALIGN_BYTES       16
#define BLOCK_BYTES       ((size_t)64 * 1024)
#define BLOCK_GROWN_BYTES ((size_t)1024 * 1024) // blocks double up to this

struct ArenaBlock {
    ArenaBlock *older;
    size_t size; // of data
    size_t used;
    _Alignas(ALIGN_BYTES) char data[];
};

static _Noreturn void die_of_memory(void)
{
    static const char message[] = "fatal: out of memory\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
    (void)written;
    abort();
}

void *mem_realloc(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        die_of_memory();
    }
    void *p = realloc(old, bytes > 0 ? bytes : 1);
    if (p == NULL) {
        die_of_memory();
    }
    return p;
}

void *mem_alloc(size_t count, size_t size)
{
    return mem_realloc(NULL, count, size);
}

void *mem_zalloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    if (p == NULL) {
        die_of_memory();
    }
    return p;
}

void mem_free(void *p)
{
    free(p);
}

void arena_init(Arena *arena, size_t block_bytes)
{
    *arena = (Arena){.block_bytes = block_bytes};
}

static void block_destroy(Arena *arena, ArenaBlock *block)
{
    arena->total_bytes -= block->size;
    UNPOISON(block->data, block->size);
    free(block);
}

void arena_finish(Arena *arena)
{
    if (arena == NULL) {
        return;
    }
    while (arena->block != NULL) {
        ArenaBlock *block = arena->block;
        arena->block = block->older;
        block_destroy(arena, block);
    }
    arena->block_bytes = 0;
}

static void block_truncate(ArenaBlock *block, size_t used)
{
    block->used = used;
    POISON(block->data + used, block->size - used);
}

void arena_reset(Arena *arena)
{
    while (arena->block != NULL && arena->block->older != NULL) {
        ArenaBlock *block = arena->block;
        arena->block = block->older;
        block_destroy(arena, block);
    }
    if (arena->block != NULL) {
        block_truncate(arena->block, 0);
    }
}

static void block_add(Arena *arena, size_t least_bytes)
{
    size_t size = arena->block_bytes > 0 ? arena->block_bytes : BLOCK_BYTES;
    if (size < BLOCK_GROWN_BYTES) {
        arena->block_bytes = size * 2;
    }
    if (size < least_bytes) {
        size = least_bytes;
    }
    size_t bytes;
    if (__builtin_add_overflow(size, sizeof(ArenaBlock), &bytes)) {
        die_of_memory();
    }
    ArenaBlock *block = mem_alloc(1, bytes);
    block->older = arena->block;
    block->size = size;
    block_truncate(block, 0);
    arena->block = block;
    arena->total_bytes += size;
}

void *arena_alloc_raw(Arena *arena, size_t count, size_t size)
{
    size_t bytes;
    size_t rounded;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, ALIGN_BYTES - 1 + GAP_BYTES, &rounded)) {
        die_of_memory();
    }
    rounded &= ~(size_t)(ALIGN_BYTES - 1);
    if (arena->block == NULL || arena->block->size - arena->block->used < rounded) {
        block_add(arena, rounded);
    }
    ArenaBlock *block = arena->block;
    char *p = block->data + block->used;
    block->used += rounded;
    UNPOISON(p, bytes);
    return p;
}

void *arena_alloc(Arena *arena, size_t count, size_t size)
{
    void *p = arena_alloc_raw(arena, count, size);
    return memset(p, 0, count * size);
}

char *arena_copy(Arena *arena, const void *data, size_t len)
{
    size_t bytes;
    if (__builtin_add_overflow(len, (size_t)1, &bytes)) {
        die_of_memory();
    }
    char *copy = arena_alloc_raw(arena, bytes, 1);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    copy[len] = '\0';
    return copy;
}

ArenaMark arena_mark(const Arena *arena)
{
    return (ArenaMark){.block = arena->block, .used = arena->block ? arena->block->used : 0};
}

void arena_rewind(Arena *arena, ArenaMark mark)
{
    if (mark.block == NULL) {
        arena_reset(arena);
        return;
    }
    while (arena->block != mark.block) {
        assert(arena->block != NULL && "the mark is of another arena, or its block is gone");
        ArenaBlock *block = arena->block;
        arena->block = block->older;
        block_destroy(arena, block);
    }
    assert(mark.used <= arena->block->used);
    block_truncate(arena->block, mark.used);
}
