// SPDX-License-Identifier: MIT
// A libnvidia-ml.so.1 over the fake driver's devices, in the opposite order: 100 W at the first of
// the driver's, 200 W at the second. FAKE_NVML_NO lists sensors that are missing ("energy power").
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define API __attribute__((visibility("default")))

enum { NOT_SUPPORTED = 3, NOT_FOUND = 6 };

typedef struct Use {
    unsigned gpu, memory;
} Use;

typedef struct Memory {
    unsigned long long total, free, used;
} Memory;

typedef struct Device {
    const char *bus_id;
    unsigned milliwatts;
    unsigned n; // calls
} Device;

API int nvmlInit_v2(void);
API int nvmlShutdown(void);
API const char *nvmlErrorString(int code);
API int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **out);
API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out);
API int nvmlDeviceGetUtilizationRates(void *device, Use *out);
API int nvmlDeviceGetMemoryInfo(void *device, Memory *out);
API int nvmlDeviceGetPowerUsage(void *device, unsigned *out);
API int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out);
API int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *out);

static Device devices[] = {{"0000:11:00.0", 200000, 0}, {"0000:10:00.0", 100000, 0}};

static int lacks(const char *sensor)
{
    const char *missing = getenv("FAKE_NVML_NO");
    return missing != NULL && strstr(missing, sensor) != NULL ? NOT_SUPPORTED : 0;
}

int nvmlInit_v2(void)
{
    return 0;
}

int nvmlShutdown(void)
{
    return 0;
}

const char *nvmlErrorString(int code)
{
    return code == NOT_FOUND ? "Not Found" : "Unknown";
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **out)
{
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(devices[i].bus_id, bus_id) == 0) {
            *out = &devices[i];
            return 0;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out)
{
    *out = &devices[index & 1];
    return index < 2 ? 0 : NOT_FOUND;
}

int nvmlDeviceGetUtilizationRates(void *device, Use *out)
{
    (void)device;
    *out = (Use){.gpu = 75, .memory = 10};
    return lacks("use");
}

int nvmlDeviceGetMemoryInfo(void *device, Memory *out)
{
    Device *of = device;
    of->n++;
    *out = (Memory){.total = 8000000000, .used = of->n == 1 ? 3000000000 : 1000000000};
    return lacks("memory");
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *out)
{
    *out = ((Device *)device)->milliwatts;
    return lacks("power");
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out)
{
    (void)device;
    *out = sensor == 0 ? 61 : 0;
    return lacks("temperature");
}

/** As its power says; the counter has run since long before. */
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *out)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    double seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    *out = 5000000 + (unsigned long long)(seconds * ((Device *)device)->milliwatts);
    return lacks("energy");
}
