// SPDX-License-Identifier: MIT
// The registry of backends: which device was asked for, the operations that serve it, and what this
// machine has. `cpu` is built in; `cuda` is a module that is loaded when it is wanted, so that the
// same program starts where there is neither driver nor module.
#pragma once

#include "base/base.h"
#include "kernels/kernels.h"

/** What --device takes, for messages and help. */
#define BACKENDS_WORDS "auto|cpu|cuda|cuda:N"

typedef enum DeviceKind {
    DEVICE_AUTO, // cuda:0 where there is one, else the CPU
    DEVICE_CPU,
    DEVICE_CUDA,
} DeviceKind;

typedef struct DeviceWish {
    DeviceKind kind;
    int index;     // cuda:N
    int n_devices; // GPUs from there on that share every product; 0 or 1: one
} DeviceWish;

/** Read "auto" (or nothing), "cpu", "cuda" or "cuda:N"; false when text is none of them. One device
 * is meant; n_devices is the caller's to set. */
bool backends_parse(Str text, DeviceWish *out);

#define DEVICE_NOTE_MAX 320

typedef struct DeviceOpened {
    const KOps *ops;
    KDevice *device;
    int index;                  // of its kind
    char note[DEVICE_NOTE_MAX]; // why DEVICE_AUTO did not get CUDA; "" nothing to say
} DeviceOpened;

/**
 * Open the device that is wished for; options->index is set from the wish. cpu is the table of the
 * built-in backend, k_cpu_ops but in tests that count its calls.
 * owns   the caller closes out->device with out->ops; a module stays loaded.
 * fails  ERR_USAGE when several devices, or options->fast, are wished for on a CPU; when they
 *        are, DEVICE_AUTO is DEVICE_CUDA. ERR_ENVIRONMENT when DEVICE_CUDA finds no module or no
 * driver; as device_open does. */
bool backends_open(const DeviceWish *wish, const KDeviceOptions *options, const KOps *cpu,
                   DeviceOpened *out, Err *err);

// ---- What this machine has --------------------------------------------------------------------

#define CUDA_DEVICES_MAX   64
#define CUDA_LEAST_MAJOR   8 // compute capability that the kernels are made for
#define CUDA_LIBRARIES_MAX 4

typedef struct CudaDevice {
    char name[128];
    uint64_t memory_bytes;
    int major, minor; // compute capability
} CudaDevice;

typedef struct CudaLibrary {
    const char *what; // "cuBLAS"
    const char *file; // that was found; NULL: none
    int version;      // as the library tells it; 0 unknown
} CudaLibrary;

typedef struct CudaReport {
    bool driver;
    int driver_version; // 13000: CUDA 13.0; 0 unknown
    char driver_why[256];
    CudaDevice devices[CUDA_DEVICES_MAX];
    size_t n_devices;
    CudaLibrary libraries[CUDA_LIBRARIES_MAX];
    size_t n_libraries;
    bool module;
    bool module_asked;      // $MUSTER_CUDA_MODULE names it
    char module_path[1024]; // of the module, or of the file that is none; "" none was found
    char module_why[1536];  // why there is no module
} CudaReport;

/** Look at driver, devices, libraries and module. Opens no device. */
void backends_report(CudaReport *out);
/** Which GPUs the kernels can run on, by index.
 * fails  ERR_ENVIRONMENT when there is no driver. */
bool backends_usable_gpus(bool out[CUDA_DEVICES_MAX], Err *err);
