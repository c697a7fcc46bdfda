// SPDX-License-Identifier: MIT
// Region allocation: one arena per lifetime (program, run, sample, scratch), freed whole.
// One arena belongs to one thread at a time. Out of memory aborts the program.
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct ArenaBlock ArenaBlock;

/** A growing list of blocks; zeroed is a valid empty arena with the default block size. */
typedef struct Arena {
    ArenaBlock *block;  // current block, newest first
    size_t block_bytes; // size of the next block; 0 means 64 KiB
    size_t total_bytes; // bytes held in all blocks
} Arena;

/** A point to return to with arena_rewind. */
typedef struct ArenaMark {
    ArenaBlock *block;
    size_t used;
} ArenaMark;

void arena_init(Arena *arena, size_t block_bytes);
void arena_finish(Arena *arena);
/** Forget everything; keeps the first block for reuse. */
void arena_reset(Arena *arena);

/**
 * Allocate count * size zeroed bytes, aligned to 16.
 * owns   the arena; overflow of the product or no memory aborts. */
void *arena_alloc(Arena *arena, size_t count, size_t size) __attribute__((malloc));
/** As arena_alloc but the bytes are not cleared. */
void *arena_alloc_raw(Arena *arena, size_t count, size_t size) __attribute__((malloc));
/** A NUL-terminated copy of len bytes. */
char *arena_copy(Arena *arena, const void *data, size_t len);

ArenaMark arena_mark(const Arena *arena);
void arena_rewind(Arena *arena, ArenaMark mark);

#define ARENA_NEW(arena, T)      ((T *)arena_alloc((arena), 1, sizeof(T)))
#define ARENA_ARRAY(arena, T, n) ((T *)arena_alloc((arena), (n), sizeof(T)))

/** malloc, calloc, realloc that abort when there is no memory; for create(), Buf and caches only.
 */
void *mem_alloc(size_t count, size_t size);
void *mem_zalloc(size_t count, size_t size);
void *mem_realloc(void *old, size_t count, size_t size);
void mem_free(void *p);
