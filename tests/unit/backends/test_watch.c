// SPDX-License-Identifier: MIT
// Sensors over time, from the fake NVML in this folder: constant 100 W at cuda:0, 200 W at cuda:1.
#include "../tap.h"

#include <stdlib.h>
#include <time.h>

#include "kernels/watch.h"

static void sleep_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static double seconds_of_watching; // around the last watched(): however long this machine paused us

/** Watch a device for ms. */
static bool watched(int index, long ms, WatchStats *out)
{
    Watch *watch = NULL;
    Err err = ERR_INIT;
    int64_t from_ns = clock_ns();
    if (!CHECK_OK(watch_start(index, &watch, &err), &err)) {
        return false;
    }
    sleep_ms(ms);
    watch_stats(watch, out);
    seconds_of_watching = (double)(clock_ns() - from_ns) * 1e-9;
    watch_stop(watch);
    return true;
}

static void sensors(void)
{
    WatchStats seen;
    if (watched(0, 450, &seen)) {
        CHECK(seen.n_samples >= 3); // at least the first, one by the thread, and the last
        CHECK(seen.seconds >= 0.45);
        CHECK_NEAR(seen.busy_mean, 0.75, 1e-9);
        CHECK_NEAR(seen.busy_max, 0.75, 1e-9);
        CHECK_NEAR(seen.power_mean_w, 100, 1e-6);
        CHECK_NEAR(seen.temperature_max_c, 61, 0);
        CHECK_INT(seen.memory_bytes, 8000000000);
        CHECK(seen.energy_counted);
        CHECK(seen.energy_j >= 100 * 0.45 - 0.5); // of the time from the first read to the last one
        CHECK(seen.energy_j <= 100 * seconds_of_watching + 0.5);
    }
}

static void order(void)
{
    WatchStats seen;
    if (watched(1, 20, &seen)) { // the first of NVML's
        CHECK_NEAR(seen.power_mean_w, 200, 1e-6);
    }
    setenv("FAKE_DRIVER_FAIL", "1", 1); // no bus ids: NVML's own order
    if (watched(0, 20, &seen)) {
        CHECK_NEAR(seen.power_mean_w, 200, 1e-6);
    }
    unsetenv("FAKE_DRIVER_FAIL");
}

static void begins_again(void)
{
    Watch *watch = NULL;
    Err err = ERR_INIT;
    WatchStats seen;
    if (!CHECK_OK(watch_start(0, &watch, &err), &err)) {
        return;
    }
    sleep_ms(300);
    int64_t from_ns = clock_ns();
    watch_begin(watch);
    watch_stats(watch, &seen);
    CHECK(seen.n_samples >= 1);
    CHECK(seen.seconds <= (double)(clock_ns() - from_ns) * 1e-9);
    CHECK_NEAR(seen.power_mean_w, 100, 1e-6); // one sample is a mean
    CHECK_INT(seen.memory_peak_bytes, 1000000000);
    watch_stop(watch);
    watch_stop(NULL);
}

static void missing(void)
{
    WatchStats seen;
    setenv("FAKE_NVML_NO", "energy", 1);
    if (watched(0, 250, &seen)) {
        CHECK(!seen.energy_counted);
        CHECK_NEAR(seen.energy_j, 100 * seen.seconds, 1e-6); // power over the time
    }
    setenv("FAKE_NVML_NO", "use memory power temperature energy", 1);
    if (watched(0, 50, &seen)) {
        CHECK(seen.n_samples > 0);
        CHECK(isnan(seen.busy_mean) && isnan(seen.busy_max) && isnan(seen.power_mean_w));
        CHECK(isnan(seen.temperature_max_c) && isnan(seen.energy_j));
        CHECK_INT(seen.memory_bytes, 0);
    }
    unsetenv("FAKE_NVML_NO");
}

static void no_device(void)
{
    Watch *watch = NULL;
    Err err = ERR_INIT;
    CHECK(!watch_start(7, &watch, &err));
    CHECK_INT(err.code, ERR_ENVIRONMENT);
    CHECK_STR(str_from_c(err.message), STR("NVML does not know cuda:7: Not Found (6)"));
}

int main(void)
{
    tap_run("sensors over time", sensors);
    tap_run("devices are found by their place on the bus", order);
    tap_run("counting begins again", begins_again);
    tap_run("sensors that are missing", missing);
    tap_run("a device that NVML does not know", no_device);
    return tap_done();
}
