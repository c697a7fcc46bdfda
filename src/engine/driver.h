// SPDX-License-Identifier: MIT
// One device at work: its forward pass, its schedule, and the thread that runs both. Jobs come in
// with driver_give, and leave through a callback on that thread.
#pragma once

#include "engine/engine_internal.h"

typedef struct Driver Driver;

/** A job has ended: report it and free it.  thread  the driver's own. */
typedef void DriverEnd(void *ctx, const Driver *driver, Job *job);

/** Jobs on their way in. */
typedef struct JobList {
    QueueNode *newest; // linked to the oldest
    QueueNode *oldest;
    size_t n;
} JobList;

void job_list_push(JobList *list, Job *job);
/** Its jobs, oldest first, followed by NULL; the caller frees the array. */
Job **job_list_array(const JobList *list);

/**
 * index    among the engine's drivers
 * forward  is the driver's from here on, also when this fails
 * fails    as schedule_init does; ERR_ENVIRONMENT when no thread can be started. */
bool driver_open(const EngineOptions *options, uint32_t index, Forward *forward,
                 const Tokenizer *tokenizer, DriverEnd *end, void *ctx, Driver **out, Err *err);
uint32_t driver_index(const Driver *driver);
const Forward *driver_forward(const Driver *driver);
/** Plan these jobs and run. heard: nothing more can come that follows on what has ended. */
void driver_give(Driver *driver, const JobList *jobs, bool heard);
/** Give up a job, if it is here. */
void driver_cancel(Driver *driver, uint64_t id);
/** Counters, with planned: the jobs that were given first are in the plan. */
void driver_stats(Driver *driver, EngineStats *out, bool *out_planned);
/** Whether the device has failed. Driver thread only. */
bool driver_is_lost(const Driver *driver);
/** Begin to end: jobs that are left finish as cancelled. */
void driver_stop(Driver *driver);
void driver_close(Driver *driver); // waits for the end; NULL is fine
