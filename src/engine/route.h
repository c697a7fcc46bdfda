// SPDX-License-Identifier: MIT
// Which device computes which job, where several hold the weights. Jobs that start together are
// divided (divide.h); one that comes later goes where its beginning has been computed, if that is
// most of it, as of a conversation that goes on. Results do not depend on any of this.
#pragma once

#include "engine/divide.h"
#include "engine/engine_internal.h"

typedef struct Route Route;

/** What the first jobs came to. */
typedef struct RoutePlan {
    uint64_t pieces;
    uint64_t distinct; // tokens to compute, were there one device
    uint64_t devices;  // bit d: device d got some of them
    double seconds;    // that dividing took, so far
} RoutePlan;

/** n_devices from 1 to DIVIDE_DEVICES_MAX. */
Route *route_create(uint32_t n_devices);
void route_destroy(Route *route); // NULL is fine
/** Choose a device for each of n jobs, in job->device. */
void route_jobs(Route *route, Job *const *jobs, size_t n);
/** A job has ended: its device has less to do, and holds what it replied. thread  any. */
void route_ended(Route *route, const Job *job);
/** No more work for a device that does not work; false when there is no other. thread  any. */
bool route_lost(Route *route, uint32_t device);
/** thread  any. */
void route_plan(Route *route, RoutePlan *out);
