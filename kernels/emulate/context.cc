// SPDX-License-Identifier: MIT
// Stacks of 64 KiB (256 KiB under ASan, whose frames are larger), a page below each that nobody may
// touch, and the switch. Tops are coloured: stacks at equal offsets would share one set of the L1.
#include "kernels/emulate/context.h"
#include "kernels/emulate/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if !defined(__x86_64__) && !defined(EMULATE_UCONTEXT)
#define EMULATE_UCONTEXT
#endif
#ifdef EMULATE_UCONTEXT
#include <ucontext.h>
#endif

#define STACK_BYTES (EMULATE_ASAN ? 256 * 1024 : 64 * 1024)
#define STACK_GUARD (64 * 1024) // more than any frame that could jump over it
#define COLOUR      832         // a multiple of 16 that spreads tops over the sets
#define COLOURS     16

struct Context {
#ifdef EMULATE_UCONTEXT
    ucontext_t state;
#else
    void *sp;
#endif
    uint8_t *stack; // NULL: the host's
    void (*entry)(void);
    void *fake; // ASan's
    Context *next;
};

static Context host;
static Context *free_contexts;
static unsigned n_contexts;
#if EMULATE_ASAN
static const void *host_bottom; // of the thread that runs kernels now
static size_t host_bytes;
static bool from_host;
#endif

static Context *context_new(void)
{
    Context *c = (Context *)calloc(1, sizeof(*c));
    uint8_t *stack =
        (uint8_t *)mmap(NULL, STACK_BYTES + STACK_GUARD, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (c == NULL || stack == MAP_FAILED || mprotect(stack, STACK_GUARD, PROT_NONE) != 0) {
        fprintf(stderr, "emulate: no memory for stacks\n");
        abort();
    }
    c->stack = stack + STACK_GUARD;
    n_contexts++;
    return c;
}

#ifdef EMULATE_UCONTEXT

static void switch_to(Context *from, Context *to)
{
    swapcontext(&from->state, &to->state);
}

static void make(Context *c, size_t colour)
{
    getcontext(&c->state);
    c->state.uc_stack.ss_sp = c->stack;
    c->state.uc_stack.ss_size = STACK_BYTES - colour;
    c->state.uc_link = NULL;
    makecontext(&c->state, c->entry, 0);
}

#else

extern "C" void emulate_switch(void **from_sp, void *to_sp);
__asm__(".text\n"
        ".p2align 4\n"
        ".hidden emulate_switch\n"
        ".globl emulate_switch\n"
        ".type emulate_switch, @function\n"
        "emulate_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size emulate_switch, . - emulate_switch\n");

static void switch_to(Context *from, Context *to)
{
    emulate_switch(&from->sp, to->sp);
}

static void make(Context *c, size_t colour)
{
    // As if entry had been called: six registers, then where to return to; the stack is 16 k + 8.
    void **sp = (void **)(void *)(c->stack + STACK_BYTES - colour);
    *--sp = NULL;
    *--sp = (void *)c->entry;
    for (int i = 0; i < 6; i++) {
        *--sp = NULL;
    }
    c->sp = sp;
}

#endif

Context *context_take(void (*entry)(void))
{
    Context *c = free_contexts;
    if (c != NULL) {
        free_contexts = c->next;
    } else {
        c = context_new();
    }
    __asan_unpoison_memory_region(c->stack, STACK_BYTES); // frames of one that was abandoned
    c->entry = entry;
    c->fake = NULL;
    make(c, ((uintptr_t)c->stack / (STACK_BYTES + STACK_GUARD)) % COLOURS * COLOUR);
    return c;
}

void context_release(Context *context)
{
    context->next = free_contexts;
    free_contexts = context;
}

Context *context_host(void)
{
    host.stack = NULL;
    return &host;
}

void context_switch(Context *from, Context *to)
{
#if EMULATE_ASAN
    from_host = from->stack == NULL;
    __sanitizer_start_switch_fiber(&from->fake, to->stack != NULL ? to->stack : host_bottom,
                                   to->stack != NULL ? STACK_BYTES : host_bytes);
#endif
    switch_to(from, to);
#if EMULATE_ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(from->fake, &bottom, &bytes);
#endif
}

void context_entered(void)
{
#if EMULATE_ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(NULL, &bottom, &bytes);
    if (from_host) {
        host_bottom = bottom;
        host_bytes = bytes;
    }
#endif
}

void context_stack(const Context *context, uintptr_t *out_low, uintptr_t *out_high)
{
    *out_low = (uintptr_t)context->stack;
    *out_high = *out_low + STACK_BYTES;
}

bool context_overflow(const Context *context, const void *at)
{
    uintptr_t low = (uintptr_t)context->stack, a = (uintptr_t)at;
    return context->stack != NULL && a < low && a >= low - STACK_GUARD;
}
