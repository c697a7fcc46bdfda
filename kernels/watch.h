// SPDX-License-Identifier: MIT
// Watching a CUDA device while it works: a thread reads NVML's sensors a few times a second. What
// is seen is of the whole device, whoever else uses it.
#pragma once

#include "base/err.h"

#include <stdint.h>

typedef struct Watch Watch;

/** What was seen since watch_begin. A sensor that the device lacks is NaN, or 0 for bytes. */
typedef struct WatchStats {
    uint64_t n_samples; // 0: nothing is known
    double seconds;     // between the first sample and the last
    double busy_mean;   // share of the time in which a kernel ran, 0 .. 1
    double busy_max;
    uint64_t memory_peak_bytes; // in use
    uint64_t memory_bytes;      // of the device
    double power_mean_w;
    double power_max_w;
    double temperature_max_c;
    double energy_j;     // by the device's counter, else mean power over the time
    bool energy_counted; // by its counter
} WatchStats;

/**
 * Start to watch device cuda:index.
 * owns   the caller ends it with watch_stop.
 * fails  ERR_ENVIRONMENT when NVML is not here or does not know the device.
 * thread any one may call the functions below, one at a time or not. */
bool watch_start(int index, Watch **out, Err *err);
/** Forget what was seen: the counts begin now. */
void watch_begin(Watch *watch);
/** What was seen until now. */
void watch_stats(Watch *watch, WatchStats *out);
void watch_stop(Watch *watch); // NULL is fine
