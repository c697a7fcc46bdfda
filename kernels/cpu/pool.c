// SPDX-License-Identifier: MIT
#include "kernels/cpu/pool.h"

#include "base/arena.h"
#include "base/clock.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_NS 20000 // a product of the smallest models takes about as long

// A job is published by `ticket`: its number (32 bits), how many items it has (16), the next item
// (16). A worker reads the ticket and, if an item is left, fn and ctx; then it claims the item by
// compare-and-swap. Success means that the ticket had not changed, so the job was not over, so fn
// and ctx were the job's. A worker that comes late finds no item and touches nothing.
struct Pool {
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic uint32_t n_done;
    _Atomic(PoolFn *) fn;
    _Atomic(void *) ctx;
    _Alignas(64) _Atomic uint32_t epoch; // futex: changes with each job and at the end
    _Atomic uint32_t n_asleep;
    _Atomic uint32_t caller_waits;
    _Atomic bool stop;
    int n_workers;
    int n_started;
    struct PoolWorker {
        Pool *pool;
        pthread_t thread;
        int index;
    } * workers;
};

static void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/** Run items of the present job until none is left. */
static void take_items(Pool *pool, int worker)
{
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    for (;;) {
        uint32_t item = (uint32_t)(ticket & POOL_ITEMS_MAX);
        uint32_t n_items = (uint32_t)(ticket >> 16 & POOL_ITEMS_MAX);
        if (item >= n_items) {
            return;
        }
        PoolFn *fn = atomic_load_explicit(&pool->fn, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&pool->ctx, memory_order_relaxed);
        if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1,
                                                   memory_order_acq_rel, memory_order_acquire)) {
            continue;
        }
        fn(ctx, item, worker);
        uint32_t done = atomic_fetch_add_explicit(&pool->n_done, 1, memory_order_seq_cst) + 1;
        if (worker != 0 && done == n_items && atomic_load(&pool->caller_waits) != 0) {
            futex_wake(&pool->n_done);
        }
        ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    }
}

/** Spin for a while, then sleep, until the epoch is not `seen`. */
static uint32_t wait_epoch(Pool *pool, uint32_t seen)
{
    int64_t until = clock_ns() + SPIN_NS;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            uint32_t now = atomic_load_explicit(&pool->epoch, memory_order_acquire);
            if (now != seen) {
                return now;
            }
            cpu_pause();
        }
        if (clock_ns() > until) {
            atomic_fetch_add(&pool->n_asleep, 1);
            while (atomic_load(&pool->epoch) == seen) {
                futex_wait(&pool->epoch, seen);
            }
            atomic_fetch_sub(&pool->n_asleep, 1);
        }
    }
}

static void *worker_main(void *arg)
{
    struct PoolWorker *worker = arg;
    Pool *pool = worker->pool;
    uint32_t seen = 0;
    for (;;) {
        seen = wait_epoch(pool, seen);
        if (atomic_load(&pool->stop)) {
            return NULL;
        }
        take_items(pool, worker->index);
    }
}

static void new_epoch(Pool *pool)
{
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->n_asleep) > 0) {
        futex_wake(&pool->epoch);
    }
}

bool pool_create(int n_threads, Pool **out, Err *err)
{
    Pool *pool = aligned_alloc(64, sizeof(Pool));
    if (pool == NULL) {
        return ERR_SET(err, ERR_ENVIRONMENT, "no memory for %d threads", n_threads);
    }
    *pool = (Pool){.n_workers = n_threads - 1};
    pool->workers = mem_zalloc((size_t)n_threads, sizeof(*pool->workers));
    for (int i = 0; i < pool->n_workers; i++) {
        struct PoolWorker *worker = &pool->workers[i];
        *worker = (struct PoolWorker){.pool = pool, .index = i + 1};
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            pool_destroy(pool);
            return ERR_SET(err, ERR_ENVIRONMENT, "cannot start thread %d of %d", i + 2, n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return true;
}

void pool_destroy(Pool *pool)
{
    if (pool == NULL) {
        return;
    }
    atomic_store(&pool->stop, true);
    new_epoch(pool);
    for (int i = 0; i < pool->n_started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    mem_free(pool->workers);
    free(pool);
}

/** Wait until every item that a worker took is done. */
static void wait_done(Pool *pool, uint32_t n_items)
{
    for (int i = 0; i < 4096; i++) {
        if (atomic_load_explicit(&pool->n_done, memory_order_acquire) == n_items) {
            return;
        }
        cpu_pause();
    }
    atomic_store(&pool->caller_waits, 1);
    for (;;) {
        uint32_t done = atomic_load(&pool->n_done);
        if (done == n_items) {
            break;
        }
        futex_wait(&pool->n_done, done);
    }
    atomic_store(&pool->caller_waits, 0);
}

void pool_run(Pool *pool, PoolFn *fn, void *ctx, uint32_t n_items)
{
    assert(n_items <= POOL_ITEMS_MAX);
    if (n_items <= 1 || pool->n_workers == 0) {
        for (uint32_t i = 0; i < n_items; i++) {
            fn(ctx, i, 0);
        }
        return;
    }
    // All items of the job before are done, so nobody reads these until the new ticket.
    uint64_t job = (atomic_load_explicit(&pool->ticket, memory_order_relaxed) >> 32) + 1;
    atomic_store_explicit(&pool->n_done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&pool->ctx, ctx, memory_order_relaxed);
    atomic_store_explicit(&pool->ticket, job << 32 | (uint64_t)n_items << 16, memory_order_release);
    new_epoch(pool);
    take_items(pool, 0);
    wait_done(pool, n_items);
}
