// SPDX-License-Identifier: MIT
// CUDA from the outside, for programs that are not linked with any of it: the module with our
// kernels, the driver, the libraries. Everything is opened by name at run time, with declarations
// of our own.
#pragma once

#include "kernels/backends.h"

typedef struct CudaModule {
    const KOps *ops; // NULL: why says what is wrong
    bool asked;      // by $MUSTER_CUDA_MODULE
    char path[1024];
    char why[1536];
} CudaModule;

/** Load the module: $MUSTER_CUDA_MODULE and nothing else when that is set; else the first that lies
 * beside the program or where it was installed. It is never unloaded. */
void cuda_module_load(CudaModule *out);

/** The driver and its devices. */
void cuda_driver_report(CudaReport *out);
/** Whether cuBLAS, cuBLASLt, NCCL and NVML can be opened here. */
void cuda_libraries_report(CudaReport *out);
/** "0000:3b:00.0" of a device as CUDA counts them; false when the driver does not tell. */
bool cuda_pci_bus_id(int index, char *out, size_t size);

/** dlopen; NULL when there is no such library. Never closed. */
void *cuda_library(const char *file);
/** Put a symbol's address into *out_function, a function pointer; false when there is none. */
bool cuda_symbol(void *library, const char *name, void *out_function);

/** Of a module, not of the program: the build it has to agree on with the program. */
extern const char muster_cuda_build[];
