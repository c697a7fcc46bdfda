// SPDX-License-Identifier: MIT
// One Lua state in one region of memory: made once, copied out (an image), copied back before every
// call. The region never moves, so pointers inside a copy stay right; images are of this process
// only.
#include "script/script_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KEEP_BYTES ((size_t)4 << 20) // resident memory that a call may leave behind

bool vm_create(Script *script, size_t bytes, Vm **out, Err *err)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return ERR_SET_ERRNO(err, "can not reserve %zu bytes for Lua", bytes);
    }
    Vm *vm = mem_zalloc(1, sizeof(*vm));
    vm->base = base;
    vm->bytes = bytes;
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

void vm_snapshot(Vm *vm, Image *out)
{
    // A long pause now, so that short calls end before the first collection; then the usual one.
    lua_gc(vm->L, LUA_GCINC, 1000, 0, 0);
    lua_gc(vm->L, LUA_GCCOLLECT);
    lua_gc(vm->L, LUA_GCCOLLECT);
    lua_gc(vm->L, LUA_GCINC, 200, 0, 0);
    vm_hook_install(vm->L); // starts the count anew
    out->len = heap_used(vm);
    out->bytes = mem_alloc(out->len, 1);
    if (getenv("SZ"))
        fprintf(stderr, "image %zu live %d KB\n", out->len, lua_gc(vm->L, LUA_GCCOUNT));
    memcpy(out->bytes, vm->base, out->len);
}

void image_finish(Image *image)
{
    mem_free(image->bytes);
    *image = (Image){0};
}

void vm_restore(Vm *vm, const Image *image)
{
    if (heap_peak(vm) > image->len + KEEP_BYTES) {
        size_t keep = (image->len + KEEP_BYTES) & ~(size_t)4095;
        madvise(vm->base + keep, vm->bytes - keep, MADV_DONTNEED);
    }
    memcpy(vm->base, image->bytes, image->len);
    vm->live = image;
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
    const char *at = vm->message[0] == '\0' ? "" : vm->message;
    switch (why) {
    case ESCAPE_INSTRUCTIONS:
        return ERR_SET(err, ERR_BUDGET, "%s: the budget of %llu instructions is spent", at,
                       (unsigned long long)budget->instructions);
    case ESCAPE_DEADLINE:
        return ERR_SET(err, ERR_BUDGET, "%s: the deadline of %lld ms has passed", at,
                       (long long)budget->deadline_ms);
    case ESCAPE_MEMORY:
        return ERR_SET(err, ERR_BUDGET, "%s: the memory budget of %zu bytes is spent", at,
                       budget->memory_bytes);
    case ESCAPE_NONE:
    case ESCAPE_EFFECT:
    case ESCAPE_PANIC:
        break;
    }
    return ERR_SET(err, ERR_INTERNAL, "%s: Lua left its protection", at);
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
