// SPDX-License-Identifier: MIT
// The pool: every item of every job runs once, whoever takes it and however often jobs follow.
#include "rig.h"

#include <stdatomic.h>
#include <unistd.h>

typedef struct Job {
    _Atomic uint8_t *runs; // of each item
    _Atomic int workers_seen;
    uint64_t number;
    _Atomic int wrong;
} Job;

static void count_item(void *ctx, uint32_t item, int worker)
{
    Job *job = ctx;
    atomic_fetch_add(&job->runs[item], 1);
    atomic_fetch_or(&job->workers_seen, 1 << worker);
}

static void test_pool__runs_every_item_once(void)
{
    static const int threads[] = {1, 2, 3, 8};
    static const uint32_t sizes[] = {0, 1, 2, 7, 1000, POOL_ITEMS_MAX};
    for (size_t i = 0; i < 4; i++) {
        Pool *pool = NULL;
        Err err = ERR_INIT;
        CHECK_OK(pool_create(threads[i], &pool, &err), &err);
        for (size_t s = 0; s < 6; s++) {
            Job job = {.runs = mem_zalloc(sizes[s] + 1, 1)};
            pool_run(pool, count_item, &job, sizes[s]);
            uint32_t once = 0;
            for (uint32_t k = 0; k < sizes[s]; k++) {
                once += atomic_load(&job.runs[k]) == 1;
            }
            CHECK_INT(once, sizes[s]);
            CHECK(atomic_load(&job.workers_seen) < 1 << threads[i]);
            mem_free((void *)(uintptr_t)job.runs);
        }
        pool_destroy(pool);
    }
}

static _Atomic uint64_t current_job;

static void check_job(void *ctx, uint32_t item, int worker)
{
    (void)item;
    (void)worker;
    Job *job = ctx;
    atomic_fetch_add(&job->wrong, job->number != atomic_load(&current_job));
    atomic_fetch_add(&job->runs[0], 1);
}

/** Jobs in quick succession, with workers that come late: no item runs with another job's ctx. */
static void test_pool__keeps_jobs_apart(void)
{
    Pool *pool = NULL;
    Err err = ERR_INIT;
    CHECK_OK(pool_create(4, &pool, &err), &err);
    int short_jobs = 0, wrong = 0;
    for (uint64_t n = 0; n < 20000; n++) {
        _Atomic uint8_t runs = 0;
        Job job = {.runs = &runs, .number = n};
        atomic_store(&current_job, n);
        pool_run(pool, check_job, &job, 1 + (uint32_t)(n % 8));
        short_jobs += atomic_load(&runs) != 1 + n % 8;
        wrong += atomic_load(&job.wrong);
        if (n % 5000 == 4999) {
            usleep(100); // long enough for workers to fall asleep
        }
    }
    CHECK_INT(short_jobs, 0);
    CHECK_INT(wrong, 0);
    pool_destroy(pool);
    pool_destroy(NULL);
}

typedef struct Stall {
    _Atomic bool worker_came;
} Stall;

/** The worker's first item takes far longer than all of the caller's. */
static void stall_item(void *ctx, uint32_t item, int worker)
{
    (void)item;
    Stall *stall = ctx;
    if (worker != 0 && !atomic_exchange(&stall->worker_came, true)) {
        usleep(20000);
    } else if (worker == 0 && !atomic_load(&stall->worker_came)) {
        usleep(200); // leave the worker time to come
    }
}

/** A worker that keeps an item too long is left out of the next jobs, and comes back later. */
static void test_pool__leaves_out_a_stalled_worker(void)
{
    Pool *pool = NULL;
    Err err = ERR_INIT;
    CHECK_OK(pool_create(2, &pool, &err), &err);
    _Atomic uint8_t runs[1000] = {0};
    Job job = {.runs = runs};
    bool left_out = false; // on a busy machine the rest may be over by the time of the next job
    for (int round = 0; round < 50 && !left_out; round++) {
        Stall stall = {false};
        for (int tries = 0; tries < 1000 && !atomic_load(&stall.worker_came); tries++) {
            pool_run(pool, stall_item, &stall, 8);
        }
        atomic_store(&job.workers_seen, 0);
        pool_run(pool, count_item, &job, 1000);
        left_out = atomic_load(&stall.worker_came) && atomic_load(&job.workers_seen) == 1;
    }
    CHECK(left_out);
    bool back = false;
    for (int tries = 0; tries < 1000 && !back; tries++) {
        usleep(1000);
        pool_run(pool, count_item, &job, 1000);
        back = atomic_load(&job.workers_seen) == 3;
    }
    CHECK(back);
    pool_destroy(pool);
}

int main(void)
{
    tap_run("pool runs every item once", test_pool__runs_every_item_once);
    tap_run("pool keeps jobs apart", test_pool__keeps_jobs_apart);
    tap_run("pool leaves out a stalled worker", test_pool__leaves_out_a_stalled_worker);
    return tap_done();
}
