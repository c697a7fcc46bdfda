// SPDX-License-Identifier: MIT
// A libcuda.so.1 with two devices, the second of them too old but for FAKE_DRIVER_NEW.
// FAKE_DRIVER_FAIL: cuInit returns that.
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define API __attribute__((visibility("default")))

enum { N_DEVICES = 2, INVALID = 101 };

API int cuInit(unsigned flags);
API int cuDriverGetVersion(int *out);
API int cuDeviceGetCount(int *out);
API int cuDeviceGet(int *out, int index);
API int cuDeviceGetName(char *out, int size, int device);
API int cuDeviceTotalMem_v2(size_t *out, int device);
API int cuDeviceGetAttribute(int *out, int attribute, int device);
API int cuDeviceGetPCIBusId(char *out, int size, int device);
API int cuGetErrorString(int code, const char **out);

int cuInit(unsigned flags)
{
    const char *fail = getenv("FAKE_DRIVER_FAIL");
    (void)flags;
    return fail == NULL ? 0 : (int)strtol(fail, NULL, 10);
}

int cuDriverGetVersion(int *out)
{
    *out = 12040;
    return 0;
}

int cuDeviceGetCount(int *out)
{
    *out = N_DEVICES;
    return 0;
}

int cuDeviceGet(int *out, int index)
{
    *out = index + 10; // handles are no indices
    return index >= 0 && index < N_DEVICES ? 0 : INVALID;
}

int cuDeviceGetName(char *out, int size, int device)
{
    snprintf(out, (size_t)size, "Fake %d", device);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *out, int device)
{
    *out = (size_t)(device - 9) << 33;
    return 0;
}

int cuDeviceGetAttribute(int *out, int attribute, int device)
{
    int new = device == 10 || getenv("FAKE_DRIVER_NEW") != NULL;
    *out = attribute == 75 ? (new ? 9 : 7) : attribute == 76 ? (new ? 0 : 5) : -1;
    return 0;
}

int cuDeviceGetPCIBusId(char *out, int size, int device)
{
    snprintf(out, (size_t)size, "0000:%02d:00.0", device);
    return 0;
}

int cuGetErrorString(int code, const char **out)
{
    *out = code == 100 ? "no CUDA-capable device is detected" : NULL;
    return code == 100 ? 0 : 1;
}
