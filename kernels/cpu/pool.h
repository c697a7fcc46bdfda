// SPDX-License-Identifier: MIT
// Worker threads for the CPU backend: pool_run calls a function for every item of a job, on the
// caller and the workers, and returns when all items are done. Which thread takes which item is a
// race, so an item's result must not depend on it. A worker that the system does not run is not
// waited for unless it has taken an item; one that was seen not to run with an item in its hands is
// left out for a while.
#pragma once

#include "base/err.h"

#include <stdint.h>

#define POOL_ITEMS_MAX 0xffffu

typedef struct Pool Pool;

/** item runs from 0 to n_items-1; worker says which thread runs (0: the caller). */
typedef void PoolFn(void *ctx, uint32_t item, int worker);

/** n_threads >= 1 counts the caller. fails ERR_ENVIRONMENT when a thread cannot be started. */
bool pool_create(int n_threads, Pool **out, Err *err);
void pool_destroy(Pool *pool);
/** Run items 0 .. n_items-1, at most POOL_ITEMS_MAX.  thread  one caller at a time. */
void pool_run(Pool *pool, PoolFn *fn, void *ctx, uint32_t n_items);
