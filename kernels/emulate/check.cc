// SPDX-License-Identifier: MIT
// The race checker: kernels that are compiled with -fsanitize=thread call these functions at each
// access to memory, and ThreadSanitizer's own library is not linked. Two accesses to one byte, one
// of them a write, need between them a barrier, or a SYNC_WARP within a warp, or the end of a
// launch. Also found: reads of shared memory that the block never wrote, or that a cp_async16 is to
// fill; accesses out of bounds, to freed memory, to the host's memory and to another device's. This
// file is never compiled with a sanitizer of threads itself.
//
// Words of 4 bytes have a cell: who wrote it last, and two that read it since. A word of which
// bytes were accessed by themselves has a cell for each byte instead.
#include "kernels/emulate/internal.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static Launch *const now = &emulate_current;

typedef uint64_t Stamp; // 0: none

typedef struct Cell {
    Stamp write; // SPLIT: see the bytes' cells
    Stamp reads[2];
} Cell;

#define SPLIT       UINT64_MAX
#define BLOCK_BITS  24
#define THREAD_BITS 10
#define EPOCH_BITS  15
#define MASK(bits)  ((UINT64_C(1) << (bits)) - 1)
#define CACHE       256
#define IMAGES_MAX  1024

/** Memory with cells. */
typedef struct Shadow {
    uintptr_t start;
    size_t bytes;
    Cell *words;
    Cell *single; // of bytes
} Shadow;

static Shadow shared_shadow, global_shadow;

static struct {
    uintptr_t page;
    uintptr_t start, end;
    int device;
} cache[CACHE];
static uint64_t cache_generation;

static struct {
    uintptr_t start, end;
} images[IMAGES_MAX]; // that are only read
static size_t n_images;

// ---- Stamps -------------------------------------------------------------------------------------

static Stamp stamp_of(const Thread *thread)
{
    uint64_t warp_epoch = now->warps[thread->index / WARP].epoch;
    return (now->blocks & MASK(BLOCK_BITS)) << 40 | (uint64_t)thread->index << 30 |
           (now->epoch & MASK(EPOCH_BITS)) << 15 | (warp_epoch & MASK(EPOCH_BITS));
}

static uint64_t stamp_block(Stamp s)
{
    return s >> 40;
}
static uint32_t stamp_thread(Stamp s)
{
    return (uint32_t)(s >> 30 & MASK(THREAD_BITS));
}
static uint64_t stamp_epoch(Stamp s)
{
    return s >> 15 & MASK(EPOCH_BITS);
}

static bool this_launch(Stamp s)
{
    return s != 0 &&
           ((now->blocks - stamp_block(s)) & MASK(BLOCK_BITS)) <= now->blocks - now->first_block;
}

/** Whether nothing lies between an earlier access and this one. Shared memory of another block is
 * not the same memory. */
static bool concurrent(Stamp earlier, Stamp mine, bool shared)
{
    if (earlier >> 40 == mine >> 40) {
        if (stamp_thread(earlier) == stamp_thread(mine) ||
            stamp_epoch(earlier) != stamp_epoch(mine)) {
            return false;
        }
        return stamp_thread(earlier) / WARP != stamp_thread(mine) / WARP ||
               ((earlier ^ mine) & MASK(EPOCH_BITS)) == 0;
    }
    return !shared && this_launch(earlier) && now->fences == 0;
}

// ---- Reports ------------------------------------------------------------------------------------

typedef struct Access {
    const Thread *thread;
    Stamp stamp;
    const uint8_t *at;
    size_t bytes;
    bool write;
    const void *from; // instruction; NULL: the thread's place
} Access;

static void describe(const Access *a, char *out, size_t size)
{
    size_t offset = (size_t)(a->at - now->shared);
    for (uint32_t i = 0; a->at >= now->shared && i < now->n_pieces; i++) {
        const SharedPiece *p = &now->pieces[i];
        if (offset + SHARED_GAP >= p->offset && offset < p->offset + p->bytes + SHARED_GAP) {
            snprintf(out, size, "%zu bytes at byte %lld of shared memory '%s' (%u bytes)", a->bytes,
                     (long long)offset - p->offset,
                     p->site != NULL ? p->site->name : "of the launch", p->bytes);
            return;
        }
    }
    memory_explain(a->at, a->bytes, out, size);
}

static void report(const Access *a, const char *what, const char *more)
{
    char text[400];
    describe(a, text, sizeof(text));
    char who[64];
    snprintf(who, sizeof(who), "block (%u,%u,%u) thread %u", emulate_now.block_x,
             emulate_now.block_y, emulate_now.block_z, a->thread->index);
    const char *verb = a->write ? "writes" : "reads";
    if (a->from != NULL) {
        fault_at(a->from, "%s: %s %s %s%s", what, who, verb, text, more);
    } else {
        fault(a->thread->file, a->thread->line, "%s: %s %s %s%s", what, who, verb, text, more);
    }
}

static void report_race(const Access *a, Stamp other, bool other_wrote)
{
    char more[128];
    if (stamp_block(other) == stamp_block(a->stamp)) {
        snprintf(more, sizeof(more), ", which thread %u has %s and no %s lies between",
                 stamp_thread(other), other_wrote ? "written" : "read",
                 stamp_thread(other) / WARP == a->thread->index / WARP ? "SYNC_WARP" : "barrier");
    } else {
        snprintf(more, sizeof(more), ", which thread %u of another block has %s",
                 stamp_thread(other), other_wrote ? "written" : "read");
    }
    report(a, "race", more);
}

// ---- Cells --------------------------------------------------------------------------------------

static void cell_read(Cell *cell, const Access *a, bool shared)
{
    Stamp mine = a->stamp;
    if (shared && cell->write >> 40 != mine >> 40) {
        report(a, "uninitialised", ", which its block never wrote");
    }
    if (cell->write != 0 && concurrent(cell->write, mine, shared)) {
        report_race(a, cell->write, true);
    }
    // Two readers are enough: a writer is not both.
    for (int i = 0; i < 2; i++) {
        Stamp r = cell->reads[i];
        bool same_epoch = r >> 40 == mine >> 40 && stamp_epoch(r) == stamp_epoch(mine);
        bool same_thread = same_epoch && stamp_thread(r) == stamp_thread(mine);
        bool before_in_warp = same_epoch && stamp_thread(r) / WARP == stamp_thread(mine) / WARP &&
                              ((r ^ mine) & MASK(EPOCH_BITS)) != 0;
        bool other_block = !shared && r >> 40 != mine >> 40 && this_launch(r);
        bool keep = other_block ? i == 0 : same_epoch && !same_thread && !before_in_warp;
        if (!keep) {
            cell->reads[i] = mine;
            return;
        }
    }
}

static void cell_write(Cell *cell, const Access *a, bool shared)
{
    if (cell->write != 0 && concurrent(cell->write, a->stamp, shared)) {
        report_race(a, cell->write, true);
    }
    for (int i = 0; i < 2; i++) {
        if (cell->reads[i] != 0 && concurrent(cell->reads[i], a->stamp, shared)) {
            report_race(a, cell->reads[i], false);
        }
    }
    cell->write = a->stamp;
    cell->reads[0] = cell->reads[1] = 0;
}

static void cells_access(const Shadow *shadow, const Access *a)
{
    bool shared = shadow == &shared_shadow;
    size_t first = (uintptr_t)a->at - shadow->start, end = first + a->bytes;
    for (size_t word = first / 4; word * 4 < end; word++) {
        Cell *cell = &shadow->words[word];
        Cell *single = &shadow->single[word * 4];
        size_t low = word * 4 < first ? first - word * 4 : 0;
        size_t high = word * 4 + 4 > end ? end - word * 4 : 4;
        bool whole = low == 0 && high == 4;
        if (!whole && cell->write != SPLIT) {
            for (int i = 0; i < 4; i++) {
                single[i] = *cell;
            }
            cell->write = SPLIT;
        }
        if (cell->write == SPLIT) {
            for (size_t i = low; i < high; i++) {
                if (a->write) {
                    cell_write(&single[i], a, shared);
                } else {
                    cell_read(&single[i], a, shared);
                }
            }
            if (whole && a->write) {
                *cell = single[0];
            }
        } else if (a->write) {
            cell_write(cell, a, shared);
        } else {
            cell_read(cell, a, shared);
        }
    }
}

static bool shadow_make(Shadow *shadow, uintptr_t start, size_t bytes)
{
    if (shadow->bytes == 0) {
        size_t n = bytes * sizeof(Cell);
        void *words = mmap(NULL, n / 4, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        void *single = mmap(NULL, n, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (words == MAP_FAILED || single == MAP_FAILED) {
            fprintf(stderr, "emulate: no addresses for the race checker\n");
            abort();
        }
        *shadow = Shadow{start, bytes, (Cell *)words, (Cell *)single};
    }
    return true;
}

// ---- Which memory -------------------------------------------------------------------------------

static void shared_access(const Access *a)
{
    size_t first = (size_t)(a->at - now->shared);
    bool inside = false;
    for (uint32_t i = 0; i < now->n_pieces && !inside; i++) {
        const SharedPiece *p = &now->pieces[i];
        inside = first >= p->offset && first + a->bytes <= p->offset + p->bytes;
    }
    if (!inside) {
        report(a, "out of bounds", "");
    }
    for (size_t i = first / 16; i * 16 < first + a->bytes; i++) {
        if (now->in_flight[i] != 0) {
            report(a, "too early", ", which a cp_async16 has not delivered");
        }
    }
    shadow_make(&shared_shadow, (uintptr_t)now->shared, SHARED_ARENA);
    cells_access(&shared_shadow, a);
}

static void global_access(const Access *a)
{
    if (cache_generation != memory_generation()) {
        memset(cache, 0, sizeof(cache));
        cache_generation = memory_generation();
    }
    uintptr_t at = (uintptr_t)a->at, page = at >> 12;
    size_t slot = page % CACHE;
    if (cache[slot].page != page) {
        Allocation found;
        if (!memory_find(a->at, &found) || !found.live) {
            report(a, "stray", "");
        }
        cache[slot].page = page;
        cache[slot].start = (uintptr_t)found.start;
        cache[slot].end = (uintptr_t)found.start + found.bytes;
        cache[slot].device = found.device;
    }
    if (at < cache[slot].start || at + a->bytes > cache[slot].end) {
        report(a, "out of bounds", "");
    }
    if (cache[slot].device != now->device) {
        report(a, "stray", " of another device");
    }
    uintptr_t start;
    size_t bytes;
    memory_arena(&start, &bytes);
    shadow_make(&global_shadow, start, bytes);
    cells_access(&global_shadow, a);
}

static int image_add(struct dl_phdr_info *info, size_t, void *)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        bool constant =
            p->p_type == PT_GNU_RELRO || (p->p_type == PT_LOAD && (p->p_flags & PF_W) == 0);
        if (constant && n_images < IMAGES_MAX) {
            images[n_images].start = info->dlpi_addr + p->p_vaddr;
            images[n_images].end = info->dlpi_addr + p->p_vaddr + p->p_memsz;
            n_images++;
        }
    }
    return 0;
}

/** Constants of the program, and what a launch hands to its kernel. */
static bool other_allowed(const Access *a)
{
    uintptr_t at = (uintptr_t)a->at, end = at + a->bytes;
    uintptr_t self = (uintptr_t)now->call->self;
    if (a->write) {
        return false;
    }
    if ((at >= self && end <= self + now->call->bytes) ||
        (at >= (uintptr_t)&emulate_now && end <= (uintptr_t)(&emulate_now + 1))) {
        return true;
    }
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < n_images; i++) {
            if (at >= images[i].start && end <= images[i].end) {
                return true;
            }
        }
        n_images = 0; // a module may have been loaded since
        dl_iterate_phdr(image_add, NULL);
    }
    return false;
}

static void access_do(const Thread *thread, const void *at, size_t bytes, bool write,
                      const void *from)
{
    Access a = {thread, stamp_of(thread), (const uint8_t *)at, bytes, write, from};
    if (a.at >= now->shared && a.at < now->shared + SHARED_ARENA) {
        shared_access(&a);
    } else if (memory_in_arena(at)) {
        global_access(&a);
    } else if (!other_allowed(&a)) {
        report(&a, "stray", "");
    }
}

static void access_of_emulator(const Thread *whose, const void *at, size_t bytes, bool write)
{
    access_do(whose, at, bytes, write, NULL);
}

static void access_of_kernel(const void *at, size_t bytes, bool write, const void *from)
{
    if (!launch_inside()) {
        return; // host code of the same file
    }
    uintptr_t low, high;
    thread_stack(&low, &high);
    if ((uintptr_t)at >= low && (uintptr_t)at < high) {
        return;
    }
    access_do(now->current, at, bytes, write, (const char *)from - 1);
}

static const Checker checker = {access_of_emulator};

__attribute__((constructor)) static void checker_install(void)
{
    emulate_checker = &checker;
}

// ---- What the compiler calls --------------------------------------------------------------------

#define HERE __builtin_return_address(0)

extern "C" {
#define ACCESSES(bytes)                                                                            \
    void __tsan_read##bytes(void *at)                                                              \
    {                                                                                              \
        access_of_kernel(at, bytes, false, HERE);                                                  \
    }                                                                                              \
    void __tsan_write##bytes(void *at)                                                             \
    {                                                                                              \
        access_of_kernel(at, bytes, true, HERE);                                                   \
    }                                                                                              \
    void __tsan_unaligned_read##bytes(void *at)                                                    \
    {                                                                                              \
        access_of_kernel(at, bytes, false, HERE);                                                  \
    }                                                                                              \
    void __tsan_unaligned_write##bytes(void *at)                                                   \
    {                                                                                              \
        access_of_kernel(at, bytes, true, HERE);                                                   \
    }                                                                                              \
    void __tsan_volatile_read##bytes(void *at)                                                     \
    {                                                                                              \
        access_of_kernel(at, bytes, false, HERE);                                                  \
    }                                                                                              \
    void __tsan_volatile_write##bytes(void *at)                                                    \
    {                                                                                              \
        access_of_kernel(at, bytes, true, HERE);                                                   \
    }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void *at, size_t bytes)
{
    access_of_kernel(at, bytes, false, HERE);
}
void __tsan_write_range(void *at, size_t bytes)
{
    access_of_kernel(at, bytes, true, HERE);
}
// Clang calls these for copies; gcc calls the library's, which are not seen.
void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    access_of_kernel(from, bytes, false, HERE);
    access_of_kernel(to, bytes, true, HERE);
    return memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, size_t bytes)
{
    access_of_kernel(from, bytes, false, HERE);
    access_of_kernel(to, bytes, true, HERE);
    return memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int byte, size_t bytes)
{
    access_of_kernel(to, bytes, true, HERE);
    return memset(to, byte, bytes);
}
void __tsan_init(void)
{
}
void __tsan_func_entry(void *)
{
}
void __tsan_func_exit(void)
{
}
void __tsan_vptr_update(void **, void *)
{
}
void __tsan_vptr_read(void **)
{
}
}
