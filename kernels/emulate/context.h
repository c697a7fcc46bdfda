// SPDX-License-Identifier: MIT
// Stacks and the switch between them. x86-64 saves six registers; elsewhere it is swapcontext,
// which asks the kernel twice for signal masks and is about a hundred times slower.
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct Context Context;

/** A stack that is not in use, about to run entry at its first switch. Contexts are kept for reuse;
 * the process ends if there is no memory. */
Context *context_take(void (*entry)(void));
/** Give it back: it will not be switched to again. The caller may still run on it until then. */
void context_release(Context *context);
/** The host thread's own stack, as a context to come back to. One at a time. */
Context *context_host(void);
void context_switch(Context *from, Context *to);
/** First thing on a new stack. */
void context_entered(void);
/** Addresses of the stack. */
void context_stack(const Context *context, uintptr_t *out_low, uintptr_t *out_high);
/** Whether an address is in the guard page below a stack. */
bool context_overflow(const Context *context, const void *at);
