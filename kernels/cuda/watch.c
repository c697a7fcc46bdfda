// SPDX-License-Identifier: MIT
// NVML, opened at run time with declarations of our own, and the thread that samples it. Values are
// weighted by the time they stood for, so that a sample out of turn changes no mean.
#include "kernels/watch.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "kernels/cuda/load.h"

#define PERIOD_NS  100000000ll
#define FRESH_NS   10000000ll // the thread leaves out its sample when someone just took one
#define LIBRARY    "libnvidia-ml.so.1"
#define SENSOR_GPU 0 // nvmlTemperatureSensors_t: the die

typedef struct NvmlUse {
    unsigned gpu; // percent
    unsigned memory;
} NvmlUse;

typedef struct NvmlMemory {
    unsigned long long total, free, used;
} NvmlMemory;

typedef struct Nvml {
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error)(int code);
    int (*by_bus_id)(const char *bus_id, void **out);
    int (*by_index)(unsigned index, void **out);
    int (*use)(void *device, NvmlUse *out);
    int (*memory)(void *device, NvmlMemory *out);
    int (*power)(void *device, unsigned *out_mw);
    int (*temperature)(void *device, int sensor, unsigned *out_c);
    int (*energy)(void *device, unsigned long long *out_mj);
} Nvml;

/** A sensor over time. */
typedef struct Course {
    double last; // NaN: never read
    double max;
    double area; // value times seconds
    double seconds;
} Course;

struct Watch {
    Nvml nvml;
    void *device;
    pthread_t thread;
    pthread_mutex_t mutex; // all below
    pthread_cond_t wake;
    bool stop;
    int64_t first_ns;
    int64_t last_ns;
    uint64_t n_samples;
    Course busy, power, temperature;
    uint64_t memory_peak;
    uint64_t memory_total;
    double energy_first_j; // NaN: no counter
    double energy_last_j;
};

// ---- NVML -------------------------------------------------------------------------------------

static bool nvml_open(Nvml *nvml, Err *err)
{
    void *library = cuda_library(LIBRARY);
    if (library == NULL) {
        return ERR_SET(err, ERR_ENVIRONMENT, "no NVML (" LIBRARY ")");
    }
    const struct {
        const char *name;
        void *function;
    } symbols[] = {
        {"nvmlInit_v2", &nvml->init},
        {"nvmlShutdown", &nvml->shutdown},
        {"nvmlErrorString", &nvml->error},
        {"nvmlDeviceGetHandleByPciBusId_v2", &nvml->by_bus_id},
        {"nvmlDeviceGetHandleByIndex_v2", &nvml->by_index},
        {"nvmlDeviceGetUtilizationRates", &nvml->use},
        {"nvmlDeviceGetMemoryInfo", &nvml->memory},
        {"nvmlDeviceGetPowerUsage", &nvml->power},
        {"nvmlDeviceGetTemperature", &nvml->temperature},
        {"nvmlDeviceGetTotalEnergyConsumption", &nvml->energy},
    };
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        if (!cuda_symbol(library, symbols[i].name, symbols[i].function)) {
            return ERR_SET(err, ERR_ENVIRONMENT, LIBRARY " has no %s", symbols[i].name);
        }
    }
    int code = nvml->init();
    return code == 0 ||
           ERR_SET(err, ERR_ENVIRONMENT, "NVML does not start: %s (%d)", nvml->error(code), code);
}

/** The device as CUDA counts it, which need not be NVML's order: found by its place on the bus. */
static bool device_find(Watch *watch, int index, Err *err)
{
    char bus_id[64];
    int code = cuda_pci_bus_id(index, bus_id, sizeof(bus_id))
                   ? watch->nvml.by_bus_id(bus_id, &watch->device)
                   : watch->nvml.by_index((unsigned)index, &watch->device);
    return code == 0 || ERR_SET(err, ERR_ENVIRONMENT, "NVML does not know cuda:%d: %s (%d)", index,
                                watch->nvml.error(code), code);
}

// ---- Samples: with the mutex held -------------------------------------------------------------

static void course_put(Course *course, double value, double seconds)
{
    bool first = isnan(course->last);
    course->max = first || value > course->max ? value : course->max;
    if (!first) { // the value rose or fell evenly since the last one
        course->area += (course->last + value) / 2 * seconds;
        course->seconds += seconds;
    }
    course->last = value;
}

static double course_mean(const Course *course)
{
    return course->seconds > 0 ? course->area / course->seconds : course->last;
}

static double course_max(const Course *course)
{
    return isnan(course->last) ? (double)NAN : course->max;
}

static void sample(Watch *watch)
{
    const Nvml *nvml = &watch->nvml;
    int64_t now = clock_ns();
    double seconds = watch->n_samples > 0 ? (double)(now - watch->last_ns) * 1e-9 : 0;
    NvmlUse use = {0};
    NvmlMemory memory = {0};
    unsigned milliwatts = 0;
    unsigned celsius = 0;
    unsigned long long millijoules = 0;
    if (nvml->use(watch->device, &use) == 0) {
        course_put(&watch->busy, use.gpu / 100.0, seconds);
    }
    if (nvml->memory(watch->device, &memory) == 0) {
        watch->memory_total = memory.total;
        watch->memory_peak = memory.used > watch->memory_peak ? memory.used : watch->memory_peak;
    }
    if (nvml->power(watch->device, &milliwatts) == 0) {
        course_put(&watch->power, milliwatts / 1e3, seconds);
    }
    if (nvml->temperature(watch->device, SENSOR_GPU, &celsius) == 0) {
        course_put(&watch->temperature, celsius, seconds);
    }
    if (nvml->energy(watch->device, &millijoules) == 0) {
        watch->energy_last_j = (double)millijoules / 1e3;
        watch->energy_first_j =
            isnan(watch->energy_first_j) ? watch->energy_last_j : watch->energy_first_j;
    }
    watch->first_ns = watch->n_samples > 0 ? watch->first_ns : now;
    watch->last_ns = now;
    watch->n_samples++;
}

static void reset(Watch *watch)
{
    const Course none = {.last = (double)NAN};
    watch->n_samples = 0;
    watch->busy = watch->power = watch->temperature = none;
    watch->memory_peak = watch->memory_total = 0;
    watch->energy_first_j = watch->energy_last_j = (double)NAN;
    sample(watch);
}

static void *watch_main(void *arg)
{
    Watch *watch = arg;
    pthread_mutex_lock(&watch->mutex);
    while (!watch->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t ns = until.tv_nsec + PERIOD_NS;
        until.tv_sec += ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        pthread_cond_timedwait(&watch->wake, &watch->mutex, &until);
        if (!watch->stop && clock_ns() - watch->last_ns >= FRESH_NS) {
            sample(watch);
        }
    }
    pthread_mutex_unlock(&watch->mutex);
    return NULL;
}

// ---- Public -----------------------------------------------------------------------------------

static bool thread_start(Watch *watch, Err *err)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&watch->mutex, NULL);
    pthread_cond_init(&watch->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    reset(watch);
    if (pthread_create(&watch->thread, NULL, watch_main, watch) == 0) {
        return true;
    }
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->mutex);
    return ERR_SET(err, ERR_ENVIRONMENT, "no thread to watch the device");
}

bool watch_start(int index, Watch **out, Err *err)
{
    Watch *watch = mem_zalloc(1, sizeof(*watch));
    if (!nvml_open(&watch->nvml, err)) {
        mem_free(watch);
        return false;
    }
    if (!device_find(watch, index, err) || !thread_start(watch, err)) {
        watch->nvml.shutdown();
        mem_free(watch);
        return false;
    }
    *out = watch;
    return true;
}

void watch_begin(Watch *watch)
{
    pthread_mutex_lock(&watch->mutex);
    reset(watch);
    pthread_mutex_unlock(&watch->mutex);
}

void watch_stats(Watch *watch, WatchStats *out)
{
    pthread_mutex_lock(&watch->mutex);
    sample(watch); // also a run of a moment has a first and a last one
    double seconds = (double)(watch->last_ns - watch->first_ns) * 1e-9;
    bool counted = !isnan(watch->energy_first_j);
    *out = (WatchStats){
        .n_samples = watch->n_samples,
        .seconds = seconds,
        .busy_mean = course_mean(&watch->busy),
        .busy_max = course_max(&watch->busy),
        .memory_peak_bytes = watch->memory_peak,
        .memory_bytes = watch->memory_total,
        .power_mean_w = course_mean(&watch->power),
        .power_max_w = course_max(&watch->power),
        .temperature_max_c = course_max(&watch->temperature),
        .energy_j = counted ? watch->energy_last_j - watch->energy_first_j
                            : course_mean(&watch->power) * seconds,
        .energy_counted = counted,
    };
    pthread_mutex_unlock(&watch->mutex);
}

void watch_stop(Watch *watch)
{
    if (watch == NULL) {
        return;
    }
    pthread_mutex_lock(&watch->mutex);
    watch->stop = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->mutex);
    watch->nvml.shutdown();
    mem_free(watch);
}
