// SPDX-License-Identifier: MIT
// The thread of a device. It sleeps until something was given to it, and otherwise takes in what
// came between two steps.
#include "engine/driver.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define WORD_WAIT_NS 100000000

typedef struct CancelNode {
    QueueNode node;
    uint64_t id;
} CancelNode;

struct Driver {
    uint32_t index;
    DriverEnd *end;
    void *ctx;
    Forward *forward;
    Schedule schedule; // the thread's
    bool added;        // the thread's: some jobs were planned
    pthread_t thread;
    bool runs;
    // Guarded by mutex:
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    JobList inbox;
    QueueNode *cancels;
    bool go;             // plan what is in the inbox
    uint64_t n_reported; // completions
    uint64_t n_heard;    // of these, when it was last said that nothing more can come
    bool closing;
    bool planned;
    EngineStats stats;
};

// ---- Lists of jobs ----------------------------------------------------------------------------

void job_list_push(JobList *list, Job *job)
{
    job->node.next = list->newest;
    list->newest = &job->node;
    list->oldest = list->n == 0 ? &job->node : list->oldest;
    list->n++;
}

/** Put newer jobs on top. */
static void job_list_join(JobList *list, const JobList *newer)
{
    if (newer->n == 0) {
        return;
    }
    newer->oldest->next = list->newest;
    list->oldest = list->n == 0 ? newer->oldest : list->oldest;
    list->newest = newer->newest;
    list->n += newer->n;
}

Job **job_list_array(const JobList *list)
{
    Job **jobs = mem_alloc(list->n + 1, sizeof(*jobs));
    QueueNode *node = list->newest;
    jobs[list->n] = NULL;
    for (size_t i = list->n; i-- > 0; node = node->next) {
        jobs[i] = (Job *)node;
    }
    return jobs;
}

// ---- Thread -----------------------------------------------------------------------------------

/** Called by the schedule. */
static void on_job_finished(void *ctx, Job *job)
{
    Driver *driver = ctx;
    // Who reads the counters after its last result sees them whole.
    pthread_mutex_lock(&driver->mutex);
    driver->stats = driver->schedule.stats;
    driver->planned = driver->added;
    pthread_mutex_unlock(&driver->mutex);
    driver->end(driver->ctx, driver, job);
    pthread_mutex_lock(&driver->mutex); // only now can it have been heard
    driver->n_reported++;
    pthread_mutex_unlock(&driver->mutex);
}

static void take_cancels(Driver *driver, CancelNode *cancel)
{
    if (cancel == NULL) {
        return;
    }
    size_t n = 0;
    size_t cap = 0;
    uint64_t *ids = NULL;
    while (cancel != NULL) {
        CancelNode *next = (CancelNode *)cancel->node.next;
        GROW(ids, n, cap);
        ids[n++] = cancel->id;
        mem_free(cancel);
        cancel = next;
    }
    Err err = ERR_INIT;
    ERR_SET(&err, ERR_CANCELLED, "cancelled");
    schedule_cancel(&driver->schedule, ids, n, &err);
    mem_free(ids);
}

/** What came in. */
typedef struct Inbox {
    JobList jobs;
    CancelNode *cancels;
    uint64_t n_heard; // completions that whoever got them has no more to ask for
} Inbox;

/** Nothing can go on before it is known what follows on what has ended: wait for that, but not for
 * long. */
static void wait_for_word(Driver *driver)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WORD_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int rc = 0;
    while (rc == 0 && !driver->closing && driver->cancels == NULL &&
           driver->n_heard < driver->n_reported) {
        rc = pthread_cond_timedwait(&driver->wake, &driver->mutex, &until);
    }
}

/** Wait for work; false when the driver ends. Takes over what came in. */
static bool wait_for_work(Driver *driver, Inbox *in)
{
    pthread_mutex_lock(&driver->mutex);
    driver->stats = driver->schedule.stats;
    driver->planned = driver->added;
    if (driver->schedule.waits) {
        wait_for_word(driver);
    }
    while (!driver->closing && !(driver->go && driver->inbox.n > 0) && driver->cancels == NULL &&
           !schedule_has_work(&driver->schedule)) {
        pthread_cond_wait(&driver->wake, &driver->mutex);
    }
    *in = (Inbox){.jobs = driver->inbox,
                  .cancels = (CancelNode *)driver->cancels,
                  .n_heard = driver->n_heard};
    driver->inbox = (JobList){0};
    driver->cancels = NULL;
    driver->go = false;
    bool closing = driver->closing;
    pthread_mutex_unlock(&driver->mutex);
    return !closing;
}

static void *driver_main(void *arg)
{
    Driver *driver = arg;
    Schedule *schedule = &driver->schedule;
    Inbox in;
    bool open = true;
    while (open) {
        open = wait_for_work(driver, &in);
        if (in.jobs.n > 0) {
            Job **jobs = job_list_array(&in.jobs);
            schedule_add(schedule, jobs, in.jobs.n);
            driver->added = true;
            mem_free(jobs);
        }
        schedule_heard(schedule, in.n_heard);
        take_cancels(driver, in.cancels);
        if (open && schedule_has_work(schedule)) {
            schedule_step(schedule);
        }
    }
    Err err = ERR_INIT;
    ERR_SET(&err, ERR_CANCELLED, "the engine was closed");
    schedule_cancel(schedule, NULL, 0, &err);
    return NULL;
}

// ---- Public -----------------------------------------------------------------------------------

bool driver_open(const EngineOptions *options, uint32_t index, Forward *forward,
                 const Tokenizer *tokenizer, DriverEnd *end, void *ctx, Driver **out, Err *err)
{
    Driver *driver = mem_zalloc(1, sizeof(*driver));
    driver->index = index;
    driver->end = end;
    driver->ctx = ctx;
    driver->forward = forward;
    pthread_mutex_init(&driver->mutex, NULL);
    pthread_cond_init(&driver->wake, NULL);
    bool ok = schedule_init(&driver->schedule, forward, tokenizer, options, err);
    driver->schedule.finish = on_job_finished;
    driver->schedule.ctx = driver;
    if (ok && pthread_create(&driver->thread, NULL, driver_main, driver) != 0) {
        ok = ERR_SET(err, ERR_ENVIRONMENT, "no thread for the engine");
    }
    driver->runs = ok;
    if (!ok) {
        driver_close(driver);
        return false;
    }
    *out = driver;
    return true;
}

uint32_t driver_index(const Driver *driver)
{
    return driver->index;
}

const Forward *driver_forward(const Driver *driver)
{
    return driver->forward;
}

bool driver_is_lost(const Driver *driver)
{
    return driver->schedule.lost;
}

void driver_give(Driver *driver, const JobList *jobs, bool heard)
{
    pthread_mutex_lock(&driver->mutex);
    job_list_join(&driver->inbox, jobs);
    driver->go = true;
    if (heard) {
        driver->n_heard = driver->n_reported;
    }
    pthread_cond_signal(&driver->wake);
    pthread_mutex_unlock(&driver->mutex);
}

void driver_cancel(Driver *driver, uint64_t id)
{
    CancelNode *cancel = mem_alloc(1, sizeof(*cancel));
    cancel->id = id;
    pthread_mutex_lock(&driver->mutex);
    cancel->node.next = driver->cancels;
    driver->cancels = &cancel->node;
    pthread_cond_signal(&driver->wake);
    pthread_mutex_unlock(&driver->mutex);
}

void driver_stats(Driver *driver, EngineStats *out, bool *out_planned)
{
    pthread_mutex_lock(&driver->mutex);
    *out = driver->stats;
    *out_planned = driver->planned;
    pthread_mutex_unlock(&driver->mutex);
}

void driver_stop(Driver *driver)
{
    pthread_mutex_lock(&driver->mutex);
    driver->closing = true;
    pthread_cond_signal(&driver->wake);
    pthread_mutex_unlock(&driver->mutex);
}

void driver_close(Driver *driver)
{
    if (driver == NULL) {
        return;
    }
    if (driver->runs) {
        driver_stop(driver);
        pthread_join(driver->thread, NULL);
    }
    schedule_finish(&driver->schedule);
    forward_close(driver->forward);
    pthread_cond_destroy(&driver->wake);
    pthread_mutex_destroy(&driver->mutex);
    mem_free(driver);
}
