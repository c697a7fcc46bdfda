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
#include <time.h>
#include <unistd.h>

#define SPIN_NS 20000 // a product of the smallest models takes about as long

// A worker that holds an item for much longer than the caller needed for one of its own does not
// run: another process has its processor. When that comes again soon, the worker is left out for
// some times as long as it was waited for; once alone is not worth it.
#define STALL_NS    100000 // above the caller's time for two items
#define SOON_TIMES  4
#define REST_TIMES  8
#define RESTING_MAX 64 // workers beyond are never left out

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
    _Atomic uint64_t resting; // bit i: worker i+1 is left out; the caller's alone to change
    int64_t stall_end;        // when a stalled worker was last waited for
    int n_workers;
    int n_started;
    struct PoolWorker {
        Pool *pool;
        pthread_t thread;
        int index;
        _Atomic bool has_item;
        int64_t rest_until; // the caller's alone
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

/** timeout_ns < 0: for ever. */
static void futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                               .tv_nsec = timeout_ns % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns < 0 ? NULL : &timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool is_resting(const Pool *pool, int worker)
{
    return worker != 0 && worker <= RESTING_MAX &&
           (atomic_load_explicit(&pool->resting, memory_order_relaxed) >> (worker - 1) & 1) != 0;
}

/** Run items of the present job until none is left; returns how many. */
static uint32_t take_items(Pool *pool, int worker)
{
    _Atomic bool *has_item = worker == 0 ? NULL : &pool->workers[worker - 1].has_item;
    uint32_t n_taken = 0;
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    for (;;) {
        uint32_t item = (uint32_t)(ticket & POOL_ITEMS_MAX);
        uint32_t n_items = (uint32_t)(ticket >> 16 & POOL_ITEMS_MAX);
        if (item >= n_items || is_resting(pool, worker)) {
            return n_taken;
        }
        PoolFn *fn = atomic_load_explicit(&pool->fn, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&pool->ctx, memory_order_relaxed);
        if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1,
                                                   memory_order_acq_rel, memory_order_acquire)) {
            continue;
        }
        if (has_item != NULL) {
            atomic_store_explicit(has_item, true, memory_order_relaxed);
        }
        fn(ctx, item, worker);
        n_taken++;
        if (has_item != NULL) {
            atomic_store_explicit(has_item, false, memory_order_relaxed);
        }
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
                futex_wait(&pool->epoch, seen, -1);
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
        if (is_resting(pool, worker->index)) {
            // Off the processor: who sleeps is given it sooner when it wakes.
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        } else {
            (void)take_items(pool, worker->index);
        }
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

/** The workers that have an item, as bits. */
static uint64_t workers_with_items(const Pool *pool)
{
    uint64_t bits = 0;
    for (int i = 0; i < pool->n_workers && i < RESTING_MAX; i++) {
        bool has_item = atomic_load_explicit(&pool->workers[i].has_item, memory_order_relaxed);
        bits |= (uint64_t)has_item << i;
    }
    return bits;
}

static void rest_workers(Pool *pool, uint64_t bits, int64_t until)
{
    for (int i = 0; i < pool->n_workers && i < RESTING_MAX; i++) {
        if ((bits >> i & 1) != 0) {
            pool->workers[i].rest_until = until;
        }
    }
    atomic_fetch_or_explicit(&pool->resting, bits, memory_order_relaxed);
}

/** Workers that have rested enough take part again; false when none does. */
static bool have_workers(Pool *pool)
{
    uint64_t resting = atomic_load_explicit(&pool->resting, memory_order_relaxed);
    if (resting == 0) {
        return pool->n_workers > 0;
    }
    int64_t now = clock_ns();
    int n_resting = 0;
    for (int i = 0; i < pool->n_workers && i < RESTING_MAX; i++) {
        uint64_t bit = (uint64_t)1 << i;
        if ((resting & bit) != 0 && now >= pool->workers[i].rest_until) {
            resting &= ~bit;
        }
        n_resting += (resting & bit) != 0;
    }
    atomic_store_explicit(&pool->resting, resting, memory_order_relaxed);
    return n_resting < pool->n_workers;
}

/** Wait until every item that a worker took is done; item_ns is what the caller needs for one. */
static void wait_done(Pool *pool, uint32_t n_items, int64_t item_ns)
{
    for (int i = 0; i < 4096; i++) {
        if (atomic_load_explicit(&pool->n_done, memory_order_acquire) == n_items) {
            return;
        }
        cpu_pause();
    }
    int64_t start = clock_ns(), patience = 2 * item_ns + STALL_NS;
    uint64_t stalled = 0;
    atomic_store(&pool->caller_waits, 1);
    for (;;) {
        uint32_t done = atomic_load(&pool->n_done);
        if (done == n_items) {
            break;
        }
        futex_wait(&pool->n_done, done, stalled == 0 ? patience : -1);
        if (stalled == 0 && clock_ns() - start >= patience) {
            stalled = workers_with_items(pool);
            patience *= 2;
        }
    }
    atomic_store(&pool->caller_waits, 0);
    if (stalled != 0) {
        int64_t now = clock_ns(), waited = now - start;
        if (start - pool->stall_end < SOON_TIMES * waited) {
            rest_workers(pool, stalled, now + REST_TIMES * waited);
        }
        pool->stall_end = now;
    }
}

void pool_run(Pool *pool, PoolFn *fn, void *ctx, uint32_t n_items)
{
    assert(n_items <= POOL_ITEMS_MAX);
    if (n_items <= 1 || !have_workers(pool)) {
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
    int64_t start = clock_ns();
    uint32_t n_taken = take_items(pool, 0);
    if (atomic_load_explicit(&pool->n_done, memory_order_acquire) != n_items) {
        wait_done(pool, n_items, (clock_ns() - start) / (n_taken > 0 ? n_taken : 1));
    }
}
