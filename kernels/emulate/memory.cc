// SPDX-License-Identifier: MIT
// Memory of the devices: one stretch of addresses that holds nothing but allocations, each followed
// by a page that nobody may touch. Freed addresses stay empty until the stretch has been used up.
#include "kernels/emulate/internal.h"

#include <map>
#include <mutex>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA_BYTES ((size_t)1 << 36)
#define PAGE        ((size_t)4096)
#define FILL_MAX                                                                                   \
    ((size_t)64 << 20) // larger pools would be pages of real memory: zeros from here on

typedef std::map<uint8_t *, Allocation> Allocations;

static std::recursive_mutex lock;
static uint8_t *arena;
static uint8_t *arena_next;
static Allocations *allocations; // by address
static Allocations *freed;       // whose addresses are empty
static std::map<uint8_t *, size_t> *pinned;
static size_t used_bytes[EMULATE_DEVICES_MAX];
static bool opened = true;
static uint64_t generation = 1;

static size_t pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static bool arena_make(void)
{
    if (arena != NULL) {
        return true;
    }
    void *at =
        mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        return false;
    }
    arena = (uint8_t *)at;
    arena_next = arena + PAGE;
    allocations = new Allocations;
    freed = new Allocations;
    pinned = new std::map<uint8_t *, size_t>;
    fault_install();
    return true;
}

bool memory_in_arena(const void *at)
{
    const uint8_t *a = (const uint8_t *)at;
    return arena != NULL && a >= arena && a < arena + ARENA_BYTES;
}

void memory_arena(uintptr_t *out_start, size_t *out_bytes)
{
    *out_start = (uintptr_t)arena;
    *out_bytes = arena != NULL ? ARENA_BYTES : 0;
}

uint64_t memory_generation(void)
{
    return generation;
}

/** The one that begins at or before an address; NULL none. */
static const Allocation *last_before(Allocations *list, const void *at)
{
    Allocations::iterator it = list->upper_bound((uint8_t *)at);
    return it == list->begin() ? NULL : &(--it)->second;
}

bool memory_find(const void *at, Allocation *out)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (!memory_in_arena(at)) {
        return false;
    }
    const Allocation *here = last_before(allocations, at), *gone = last_before(freed, at);
    if (here == NULL || (gone != NULL && gone->start > here->start)) {
        here = gone;
    }
    if (here != NULL) {
        *out = *here;
    }
    return here != NULL;
}

bool memory_valid(const void *at, size_t bytes)
{
    Allocation a;
    return memory_find(at, &a) && a.live && bytes <= a.bytes &&
           (size_t)((const uint8_t *)at - a.start) <= a.bytes - bytes;
}

void memory_explain(const void *at, size_t bytes, char *out, size_t size)
{
    Allocation a;
    if (memory_in_arena(at) && memory_find(at, &a)) {
        size_t offset = (size_t)((const uint8_t *)at - a.start);
        snprintf(out, size, "%zu bytes at byte %zu of %zu bytes of device memory%s", bytes, offset,
                 a.bytes,
                 !a.live                    ? " that were freed"
                 : offset + bytes > a.bytes ? ": out of bounds"
                                            : "");
    } else if (memory_in_arena(at)) {
        snprintf(out, size, "device memory before the first allocation: out of bounds");
    } else if ((uintptr_t)at < 65536) {
        snprintf(out, size, "address %p", at);
    } else {
        snprintf(out, size, "%p, which is not device memory", at);
    }
}

// ---- Allocation ---------------------------------------------------------------------------------

/** Addresses for bytes and a page behind them: new ones, or what was freed when there are none. */
static uint8_t *addresses_take(size_t bytes)
{
    size_t need = pages(bytes) + PAGE;
    if (arena_next + need <= arena + ARENA_BYTES) {
        uint8_t *at = arena_next;
        arena_next += need;
        return at;
    }
    for (Allocations::iterator it = freed->begin(); it != freed->end(); ++it) {
        if (pages(it->second.bytes) + PAGE == need) {
            uint8_t *at = it->first;
            freed->erase(it);
            return at;
        }
    }
    return NULL;
}

GpuError gpu_malloc(void **out, size_t bytes)
{
    if (stream_capturing("memory is allocated")) {
        return GPU_ERROR_CAPTURE;
    }
    stream_lock(); // reads the environment
    stream_unlock();
    std::lock_guard<std::recursive_mutex> guard(lock);
    int device = stream_current_device();
    if (bytes == 0) {
        *out = NULL;
        return GPU_OK;
    }
    if (failure_now(EMULATE_FAIL_ALLOC) || bytes > stream_options()->memory_bytes ||
        used_bytes[device] + pages(bytes) > stream_options()->memory_bytes || !arena_make()) {
        return stream_error(GPU_ERROR_MEMORY);
    }
    uint8_t *at = addresses_take(bytes);
    size_t whole = pages(bytes);
    if (at == NULL || mprotect(at, whole, PROT_READ | PROT_WRITE) != 0) {
        return stream_error(GPU_ERROR_MEMORY);
    }
    __asan_unpoison_memory_region(at, whole);
    memset(at, FILL, bytes < FILL_MAX ? bytes : FILL_MAX);
    memset(at + bytes, GAP_FILL, whole - bytes);
    __asan_poison_memory_region(at + bytes, whole - bytes);
    Allocation a = {at, bytes, device, true};
    (*allocations)[at] = a;
    used_bytes[device] += whole;
    generation++;
    if (!opened) {
        mprotect(at, whole, PROT_NONE);
    }
    *out = at;
    return GPU_OK;
}

static bool gap_whole(const Allocation &a)
{
#if !EMULATE_ASAN
    for (size_t i = a.bytes; i < pages(a.bytes); i++) {
        if (a.start[i] != GAP_FILL) {
            fault(NULL, 0,
                  "out of bounds: byte %zu of %zu bytes of device memory was written, by [%s] or "
                  "before",
                  i, a.bytes, emulate_current.name);
            a.start[i] = GAP_FILL;
            return false;
        }
    }
#endif
    (void)a;
    return true;
}

bool memory_gaps_whole(void)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    bool whole = true;
    if (arena != NULL) {
        for (auto &entry : *allocations) {
            whole = gap_whole(entry.second) && whole;
        }
    }
    return whole;
}

/** gpu_free when nothing uses it any more. */
GpuError memory_free(void *device)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (device == NULL) {
        return GPU_OK;
    }
    Allocation a;
    if (!memory_find(device, &a) || a.start != device || !a.live) {
        char text[300];
        memory_explain(device, 1, text, sizeof(text));
        fault(NULL, 0, "gpu_free of %s", text);
        return GPU_ERROR_VALUE;
    }
    size_t whole = pages(a.bytes);
    used_bytes[a.device] -= whole;
    a.live = false;
    allocations->erase(a.start);
    (*freed)[a.start] = a;
    generation++;
    // New pages in their place: the memory is the system's again, the addresses stay empty.
    mmap(a.start, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return GPU_OK;
}

GpuError gpu_memory_info(size_t *out_free, size_t *out_total)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    *out_total = stream_options()->memory_bytes;
    *out_free = *out_total - used_bytes[stream_current_device()];
    return GPU_OK;
}

// ---- Guard --------------------------------------------------------------------------------------

static void protect(int rights)
{
    for (auto &entry : *allocations) {
        mprotect(entry.second.start, pages(entry.second.bytes), rights);
    }
}

void memory_open(void)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (!opened && arena != NULL) {
        protect(PROT_READ | PROT_WRITE);
    }
    opened = true;
}

void memory_close(void)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (opened && arena != NULL && stream_options()->guard) {
        protect(PROT_NONE);
        opened = false;
    }
}

// ---- Pinned memory ------------------------------------------------------------------------------

GpuError gpu_malloc_host(void **out, size_t bytes)
{
    if (stream_capturing("pinned memory is allocated")) {
        return GPU_ERROR_CAPTURE;
    }
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (failure_now(EMULATE_FAIL_HOST) || !arena_make()) {
        return stream_error(GPU_ERROR_MEMORY);
    }
    void *at = NULL;
    if (posix_memalign(&at, PAGE, bytes > 0 ? bytes : 1) != 0) {
        return stream_error(GPU_ERROR_MEMORY);
    }
    memset(at, FILL, bytes);
    (*pinned)[(uint8_t *)at] = bytes;
    *out = at;
    return GPU_OK;
}

GpuError memory_free_host(void *host)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (host == NULL) {
        return GPU_OK;
    }
    if (pinned == NULL || pinned->erase((uint8_t *)host) == 0) {
        fault(NULL, 0, "gpu_free_host of %p, which gpu_malloc_host never gave", host);
        return GPU_ERROR_VALUE;
    }
    free(host);
    return GPU_OK;
}

bool memory_pinned(const void *at, size_t bytes)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (pinned == NULL) {
        return false;
    }
    std::map<uint8_t *, size_t>::iterator it = pinned->upper_bound((uint8_t *)at);
    if (it == pinned->begin()) {
        return false;
    }
    --it;
    return (const uint8_t *)at + bytes <= it->first + it->second;
}

void memory_live(EmulateLive *out)
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (arena == NULL) {
        return;
    }
    for (auto &entry : *allocations) {
        out->allocations++;
        out->bytes += entry.second.bytes;
    }
    out->host_allocations = pinned->size();
}
