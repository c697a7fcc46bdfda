// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

static void test_arena__alloc_is_zeroed_aligned_and_apart(void)
{
    Arena arena;
    arena_init(&arena, 256);
    unsigned char *held[64];
    for (size_t i = 0; i < 64; i++) {
        size_t size = i * 7;
        held[i] = arena_alloc(&arena, size, 1);
        CHECK((uintptr_t)held[i] % 16 == 0);
        for (size_t j = 0; j < size; j++) {
            CHECK(held[i][j] == 0);
        }
        memset(held[i], (int)i + 1, size);
    }
    for (size_t i = 0; i < 64; i++) {
        for (size_t j = 0; j < i * 7; j++) {
            CHECK(held[i][j] == i + 1);
        }
    }
    arena_finish(&arena);
    CHECK_INT(arena.total_bytes, 0);
}

static void test_arena__zeroed_arena_works_and_big_requests_fit(void)
{
    Arena arena = {0};
    char *big = arena_alloc(&arena, 3, 1 << 20);
    big[(3 << 20) - 1] = 'x';
    CHECK(arena.total_bytes >= 3u << 20);
    char *small = arena_copy(&arena, "abc", 3);
    CHECK_STR(str_from_c(small), STR("abc"));
    arena_finish(&arena);
}

static void test_arena__rewind_returns_to_the_mark(void)
{
    Arena arena;
    arena_init(&arena, 128);
    char *before = arena_copy(&arena, "before", 6);
    ArenaMark mark = arena_mark(&arena);
    size_t held = arena.total_bytes;
    void *next = arena_alloc(&arena, 1, 8);
    for (int i = 0; i < 100; i++) {
        arena_alloc(&arena, 1, 100);
    }
    CHECK(arena.total_bytes > held);
    arena_rewind(&arena, mark);
    CHECK_INT(arena.total_bytes, held);
    CHECK_STR(str_from_c(before), STR("before"));
    CHECK(arena_alloc(&arena, 1, 8) == next);
    arena_finish(&arena);
}

static void test_arena__rewind_to_an_empty_arena_forgets_all(void)
{
    Arena arena = {0};
    ArenaMark mark = arena_mark(&arena);
    void *first = arena_alloc(&arena, 1, 32);
    arena_alloc(&arena, 1, 200000);
    arena_rewind(&arena, mark);
    CHECK(arena_alloc(&arena, 1, 32) == first);
    arena_finish(&arena);
}

static void test_arena__reset_keeps_one_block(void)
{
    Arena arena;
    arena_init(&arena, 1024);
    void *first = arena_alloc(&arena, 1, 16);
    for (int i = 0; i < 50; i++) {
        arena_alloc(&arena, 1, 1000);
    }
    arena_reset(&arena);
    CHECK_INT(arena.total_bytes, 1024);
    CHECK(arena_alloc(&arena, 1, 16) == first);
    arena_reset(&arena);
    arena_finish(&arena);
    arena_finish(&arena);
    arena_finish(NULL);
}

static void test_arena__copies_end_in_nul_and_keep_inner_nul(void)
{
    Arena arena = {0};
    char *copy = arena_copy(&arena, "a\0b", 3);
    CHECK(memcmp(copy, "a\0b\0", 4) == 0);
    CHECK(arena_copy(&arena, NULL, 0)[0] == '\0');
    arena_finish(&arena);
}

static void test_mem__realloc_keeps_content(void)
{
    char *p = mem_zalloc(4, 1);
    CHECK(memcmp(p, "\0\0\0\0", 4) == 0);
    memcpy(p, "wxyz", 4);
    p = mem_realloc(p, 1000, 10);
    CHECK(memcmp(p, "wxyz", 4) == 0);
    mem_free(p);
    mem_free(mem_alloc(0, 8));
    mem_free(NULL);
}

int main(void)
{
    tap_run("allocations are zeroed, aligned and do not overlap",
            test_arena__alloc_is_zeroed_aligned_and_apart);
    tap_run("a zeroed arena works; one larger than a block fits",
            test_arena__zeroed_arena_works_and_big_requests_fit);
    tap_run("rewind returns to the mark and frees newer blocks",
            test_arena__rewind_returns_to_the_mark);
    tap_run("rewind to the mark of an empty arena",
            test_arena__rewind_to_an_empty_arena_forgets_all);
    tap_run("reset keeps the first block; finish twice is fine", test_arena__reset_keeps_one_block);
    tap_run("copies end in NUL", test_arena__copies_end_in_nul_and_keep_inner_nul);
    tap_run("mem_realloc keeps the content", test_mem__realloc_keeps_content);
    return tap_done();
}
