// SPDX-License-Identifier: MIT
// One Lua state in one region of memory: made once, copied out (an image), copied back before every
// call. The region never moves, so pointers inside a copy stay right; images are of this process
// only.
#include "script/script_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KEEP_BYTES    ((size_t)4 << 20) // resident memory that a call may leave behind
#define COLD_BYTES    ((size_t)4 << 20) // the cold zone
#define COLD_RESERVED ((size_t)1 << 20) // of it, for base images; programs come behind
#define HOLES_MAX     64
#define COLLECT_BYTES ((size_t)1 << 20) // what a call may allocate before the collector starts

bool vm_create(Script *script, size_t hot_bytes, Vm **out, Err *err)
{
    hot_bytes = (hot_bytes + 4095) & ~(size_t)4095;
    size_t bytes = hot_bytes + COLD_BYTES;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return ERR_SET_ERRNO(err, "can not reserve %zu bytes for Lua", bytes);
    }
    Vm *vm = mem_zalloc(1, sizeof(*vm));
    vm->base = base;
    vm->bytes = bytes;
    vm->hot_bytes = hot_bytes;
    vm->script = script;
    arena_init(&vm->scratch, 0);
    buf_init(&vm->buf, VM_STRING_MAX);
    buf_init(&vm->notes, VM_NOTES_MAX);
    *out = vm;
    return true;
}

void vm_destroy(Vm *vm)
{
    if (vm == NULL) {
        return;
    }
    // The state is never closed: whatever it held lies in the region.
    munmap(vm->base, vm->bytes);
    arena_finish(&vm->scratch);
    buf_finish(&vm->buf);
    buf_finish(&vm->notes);
    mem_free(vm);
}

// ---- Images -------------------------------------------------------------------------------------

void vm_building(Vm *vm, const Image *base)
{
    vm->building = true;
    vm->build_base = base != NULL && base->cold_len > 0 ? base : NULL;
    vm->cold_own = NULL;
    if (base != NULL) {
        vm->cold_floor = vm->hot_bytes + COLD_RESERVED;
        heap_cold_skip(vm, vm->cold_floor);
    } else {
        vm->cold_floor = 0;
    }
}

/**
 * Collect until the base's cold stretch is as the base has it: a collection turns the color of
 * every object, a second one turns it back. False: it has changed for good (the string table has
 * grown).
 */
static bool settle(Vm *vm, const Image *base)
{
    lua_gc(vm->L, LUA_GCCOLLECT);
    for (int i = 0; i < 3; i++) {
        lua_gc(vm->L, LUA_GCCOLLECT);
        heap_forget_links(vm);
        if (base == NULL || memcmp(vm->base + base->cold_from, base->cold, base->cold_len) == 0) {
            return true;
        }
    }
    return false;
}

static uint8_t *bytes_copy(const uint8_t *from, size_t len)
{
    uint8_t *copy = mem_alloc(len + 1, 1);
    memcpy(copy, from, len);
    return copy;
}

static int span_compare(const void *left, const void *right)
{
    const HeapSpan *a = left;
    const HeapSpan *b = right;
    return (a->from > b->from) - (a->from < b->from);
}

/** What lies between the holes of the first len bytes. */
static void spans_make(const Vm *vm, Image *image)
{
    HeapSpan holes[HOLES_MAX];
    size_t n = heap_holes(vm, holes, HOLES_MAX);
    qsort(holes, n, sizeof(*holes), span_compare);
    image->spans = mem_alloc(n + 1, sizeof(*image->spans));
    image->n_spans = 0;
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        image->spans[image->n_spans++] = (HeapSpan){from, holes[i].from};
        from = holes[i].to;
    }
    image->spans[image->n_spans++] = (HeapSpan){from, image->len};
}

void vm_snapshot(Vm *vm, Image *out)
{
    const Image *base = vm->build_base;
    lua_gc(vm->L, LUA_GCINC, 200, 0, 0);
    bool shares = settle(vm, base);
    lua_gc(vm->L, LUA_GCSTOP);
    vm_hook_install(vm->L); // starts the count anew
    *out = (Image){.len = heap_used(vm), .base = shares ? base : NULL};
    out->bytes = bytes_copy(vm->base, out->len);
    spans_make(vm, out);
    out->cold_from = shares && vm->cold_floor > 0 ? vm->cold_floor : vm->hot_bytes;
    out->cold_len = heap_cold_used(vm) - out->cold_from;
    out->cold = bytes_copy(vm->base + out->cold_from, out->cold_len);
    vm->live = NULL;
    vm->building = false;
    vm->cold_base = NULL;
    vm->cold_own = NULL;
}

void image_finish(Vm *vm, Image *image)
{
    if (vm != NULL && (vm->live == image || vm->cold_own == image || vm->cold_base == image)) {
        vm->live = NULL;
        vm->cold_own = NULL;
        vm->cold_base = NULL;
    }
    mem_free(image->bytes);
    mem_free(image->spans);
    mem_free(image->cold);
    *image = (Image){0};
}

static void cold_copy(Vm *vm, const Image *image)
{
    memcpy(vm->base + image->cold_from, image->cold, image->cold_len);
}

/** What the sharing rests on, checked where speed does not matter: nobody has written there. */
static void cold_check(const Vm *vm, const Image *image)
{
#ifdef __SANITIZE_ADDRESS__
    assert(memcmp(vm->base + image->cold_from, image->cold, image->cold_len) == 0);
#else
    (void)vm;
    (void)image;
#endif
}

/** Bring the cold zone to what the image needs, leaving what is there already. */
static void cold_restore(Vm *vm, const Image *image)
{
    if (vm->cold_dirty) {
        vm->cold_own = NULL;
        vm->cold_base = NULL;
        vm->cold_dirty = false;
    }
    if (image->base != NULL && vm->cold_base != image->base) {
        cold_copy(vm, image->base);
        vm->cold_base = image->base;
    } else if (image->base != NULL) {
        cold_check(vm, image->base);
    }
    if (vm->cold_own != image) {
        cold_copy(vm, image);
        vm->cold_own = image;
        if (image->cold_from == vm->hot_bytes && image->cold_len > 0) {
            vm->cold_base = image; // it lies where bases do
        }
    } else {
        cold_check(vm, image);
    }
}

void vm_restore(Vm *vm, const Image *image)
{
    if (heap_peak(vm) > image->len + KEEP_BYTES) {
        size_t keep = (image->len + KEEP_BYTES) & ~(size_t)4095;
        madvise(vm->base + keep, vm->hot_bytes - keep, MADV_DONTNEED);
    }
    for (size_t i = 0; i < image->n_spans; i++) {
        HeapSpan span = image->spans[i];
        memcpy(vm->base + span.from, image->bytes + span.from, span.to - span.from);
    }
    cold_restore(vm, image);
    vm->live = image;
    vm->collecting = false;
    vm->collect_from = image->len + COLLECT_BYTES;
    vm->building = false;
    vm->loading = false;
    vm->main_place[0] = '\0';
    arena_reset(&vm->scratch);
    buf_clear(&vm->notes);
    vm->rng_position = 0;
    vm->step = NULL;
    vm_budget_start(vm);
}

static bool escape_err(const Vm *vm, Escape why, Err *err)
{
    const ScriptBudget *budget = script_budget(vm->script);
    const char *at = vm->message; // empty outside of any function
    const char *then = at[0] == '\0' ? "" : ": ";
    switch (why) {
    case ESCAPE_INSTRUCTIONS:
        return ERR_SET(err, ERR_BUDGET, "%s%sthe budget of %llu instructions is spent", at, then,
                       (unsigned long long)budget->instructions);
    case ESCAPE_DEADLINE:
        return ERR_SET(err, ERR_BUDGET, "%s%sthe deadline of %lld ms has passed", at, then,
                       (long long)budget->deadline_ms);
    case ESCAPE_MEMORY:
        return ERR_SET(err, ERR_BUDGET, "%s%sthe memory budget of %zu bytes is spent", at, then,
                       budget->memory_bytes);
    case ESCAPE_NONE:
    case ESCAPE_EFFECT:
    case ESCAPE_PANIC:
        break;
    }
    return ERR_SET(err, ERR_INTERNAL, "%s%sLua left its protection", at, then);
}

/** The call itself, apart from the function that holds the jump target. */
static int call_protected(Vm *vm, lua_CFunction body, void *arg)
{
    lua_State *L = vm->L;
    vm->message[0] = '\0';
    int top = lua_gettop(L);
    lua_pushcfunction(L, vm_on_error);
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, arg);
    int status = lua_pcall(L, 1, 0, top + 1);
    lua_settop(L, top);
    return status;
}

bool vm_run(Vm *vm, lua_CFunction body, void *arg, Escape *out_escape, Err *err)
{
    if (out_escape != NULL) {
        *out_escape = ESCAPE_NONE;
    }
    int why = setjmp(vm->escape);
    if (why == 0) {
        int status = call_protected(vm, body, arg);
        if (status == LUA_OK) {
            return true;
        }
        if (status == LUA_ERRMEM) {
            vm->live = NULL;
            snprintf(vm->message, sizeof(vm->message), "%s", vm->refused_at);
            return escape_err(vm, ESCAPE_MEMORY, err);
        }
        if (vm->message[0] == '\0') {
            snprintf(vm->message, sizeof(vm->message), "an error inside the handling of an error");
        }
        return ERR_SET(err, ERR_SCRIPT, "%s", vm->message);
    }
    vm->live = NULL;
    if (why == (int)ESCAPE_EFFECT && out_escape != NULL) {
        *out_escape = ESCAPE_EFFECT;
        return true;
    }
    return escape_err(vm, (Escape)why, err);
}
