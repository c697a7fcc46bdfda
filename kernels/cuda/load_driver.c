// SPDX-License-Identifier: MIT
// What the NVIDIA driver and CUDA's libraries say of themselves, without being linked with them.
// The declarations are our own: these interfaces are C functions with a stable ABI.
#include "kernels/cuda/load.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { ATTRIBUTE_MAJOR = 75, ATTRIBUTE_MINOR = 76 }; // of the compute capability

typedef struct Driver {
    int (*init)(unsigned flags);
    int (*version)(int *out);
    int (*count)(int *out);
    int (*get)(int *out, int index);
    int (*name)(char *out, int size, int device);
    int (*memory)(size_t *out, int device);
    int (*attribute)(int *out, int attribute, int device);
    int (*bus_id)(char *out, int size, int device);
    int (*error)(int code, const char **out);
} Driver;

/** Load the driver and start it; *out_why says what is wrong. */
static bool driver_open(Driver *out, char *why, size_t size)
{
    void *library = cuda_library("libcuda.so.1");
    if (library == NULL) {
        snprintf(why, size, "no NVIDIA driver (libcuda.so.1)");
        return false;
    }
    const struct {
        const char *name;
        void *function;
    } symbols[] = {
        {"cuInit", &out->init},
        {"cuDriverGetVersion", &out->version},
        {"cuDeviceGetCount", &out->count},
        {"cuDeviceGet", &out->get},
        {"cuDeviceGetName", &out->name},
        {"cuDeviceTotalMem_v2", &out->memory},
        {"cuDeviceGetAttribute", &out->attribute},
        {"cuDeviceGetPCIBusId", &out->bus_id},
        {"cuGetErrorString", &out->error},
    };
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        if (!cuda_symbol(library, symbols[i].name, symbols[i].function)) {
            snprintf(why, size, "libcuda.so.1 has no %s", symbols[i].name);
            return false;
        }
    }
    int code = out->init(0);
    if (code != 0) {
        const char *text = NULL;
        bool told = out->error(code, &text) == 0 && text != NULL;
        snprintf(why, size, "the NVIDIA driver does not start: %s (%d)", told ? text : "error",
                 code);
        return false;
    }
    return true;
}

static bool device_read(const Driver *driver, int index, CudaDevice *out)
{
    int device = 0;
    size_t bytes = 0;
    *out = (CudaDevice){0};
    bool ok = driver->get(&device, index) == 0 &&
              driver->name(out->name, (int)sizeof(out->name), device) == 0 &&
              driver->memory(&bytes, device) == 0 &&
              driver->attribute(&out->major, ATTRIBUTE_MAJOR, device) == 0 &&
              driver->attribute(&out->minor, ATTRIBUTE_MINOR, device) == 0;
    out->name[sizeof(out->name) - 1] = '\0';
    out->memory_bytes = bytes;
    return ok;
}

void cuda_driver_report(CudaReport *out)
{
    Driver driver = {0};
    out->driver = driver_open(&driver, out->driver_why, sizeof(out->driver_why));
    if (driver.version != NULL && driver.version(&out->driver_version) != 0) {
        out->driver_version = 0;
    }
    int n = 0;
    if (!out->driver || driver.count(&n) != 0) {
        return;
    }
    for (int i = 0; i < n && out->n_devices < CUDA_DEVICES_MAX; i++) {
        if (device_read(&driver, i, &out->devices[out->n_devices])) {
            out->n_devices++;
        }
    }
}

bool cuda_pci_bus_id(int index, char *out, size_t size)
{
    Driver driver = {0};
    char why[256];
    int device = 0;
    return driver_open(&driver, why, sizeof(why)) && driver.get(&device, index) == 0 &&
           driver.bus_id(out, (int)size, device) == 0;
}

// ---- Libraries --------------------------------------------------------------------------------

/** Each library under the names that releases gave it, and the function that tells its version. */
static const struct {
    const char *what;
    const char *files[3];
    const char *version_size; // size_t f(void)
    const char *version_int;  // int f(int *)
} libraries[CUDA_LIBRARIES_MAX] = {
    {"cuBLAS", {"libcublas.so.13", "libcublas.so.12"}, NULL, NULL},
    {"cuBLASLt", {"libcublasLt.so.13", "libcublasLt.so.12"}, "cublasLtGetVersion", NULL},
    {"NCCL", {"libnccl.so.2"}, NULL, "ncclGetVersion"},
    {"NVML", {"libnvidia-ml.so.1"}, NULL, NULL},
};

// They stay open: some lose memory when they are closed.
void cuda_libraries_report(CudaReport *out)
{
    out->n_libraries = CUDA_LIBRARIES_MAX;
    for (size_t i = 0; i < CUDA_LIBRARIES_MAX; i++) {
        CudaLibrary *library = &out->libraries[i];
        *library = (CudaLibrary){.what = libraries[i].what};
        void *handle = NULL;
        for (size_t k = 0; handle == NULL && k < 3 && libraries[i].files[k] != NULL; k++) {
            handle = dlopen(libraries[i].files[k], RTLD_LAZY | RTLD_LOCAL);
            library->file = handle != NULL ? libraries[i].files[k] : NULL;
        }
        size_t (*version_size)(void) = NULL;
        int (*version_int)(int *) = NULL;
        if (handle == NULL) {
            continue;
        }
        if (libraries[i].version_size != NULL &&
            cuda_symbol(handle, libraries[i].version_size, &version_size)) {
            library->version = (int)version_size();
        } else if (libraries[i].version_int != NULL &&
                   cuda_symbol(handle, libraries[i].version_int, &version_int) &&
                   version_int(&library->version) != 0) {
            library->version = 0;
        }
    }
}
