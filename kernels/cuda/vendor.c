// SPDX-License-Identifier: MIT
// Opens cuBLASLt and NCCL by name. A library without one of the functions counts as absent.
#include "kernels/cuda/vendor.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

typedef struct Symbol {
    const char *name;
    size_t at; // of the pointer in the table
} Symbol;

static const Symbol blas_symbols[] = {
    {"cublasLtGetVersion", offsetof(BlasApi, version)},
    {"cublasLtCreate", offsetof(BlasApi, create)},
    {"cublasLtDestroy", offsetof(BlasApi, destroy)},
    {"cublasLtMatmulDescCreate", offsetof(BlasApi, desc_create)},
    {"cublasLtMatmulDescSetAttribute", offsetof(BlasApi, desc_set)},
    {"cublasLtMatmulDescDestroy", offsetof(BlasApi, desc_destroy)},
    {"cublasLtMatrixLayoutCreate", offsetof(BlasApi, layout_create)},
    {"cublasLtMatrixLayoutDestroy", offsetof(BlasApi, layout_destroy)},
    {"cublasLtMatmulPreferenceCreate", offsetof(BlasApi, preference_create)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(BlasApi, preference_set)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(BlasApi, preference_destroy)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(BlasApi, choose)},
    {"cublasLtMatmulAlgoConfigGetAttribute", offsetof(BlasApi, algo_get)},
    {"cublasLtMatmul", offsetof(BlasApi, matmul)},
};

static const Symbol nccl_symbols[] = {
    {"ncclGetVersion", offsetof(NcclApi, version)},
    {"ncclGetErrorString", offsetof(NcclApi, error_string)},
    {"ncclGetUniqueId", offsetof(NcclApi, unique_id)},
    {"ncclCommInitRank", offsetof(NcclApi, init_rank)},
    {"ncclCommInitAll", offsetof(NcclApi, init_all)},
    {"ncclCommDestroy", offsetof(NcclApi, destroy)},
    {"ncclCommAbort", offsetof(NcclApi, abort)},
    {"ncclAllGather", offsetof(NcclApi, all_gather)},
    {"ncclAllReduce", offsetof(NcclApi, all_reduce)},
    {"ncclGroupStart", offsetof(NcclApi, group_start)},
    {"ncclGroupEnd", offsetof(NcclApi, group_end)},
};

_Static_assert(sizeof(blas_symbols) / sizeof(blas_symbols[0]) * sizeof(void *) == sizeof(BlasApi),
               "a symbol for each function");
_Static_assert(sizeof(nccl_symbols) / sizeof(nccl_symbols[0]) * sizeof(void *) == sizeof(NcclApi),
               "a symbol for each function");

static BlasApi blas;
static NcclApi nccl;
static bool have_blas, have_nccl;

static bool library_open(const char *const *names, const Symbol *symbols, size_t n, void *table)
{
    void *library = NULL;
    for (; library == NULL && *names != NULL; names++) {
        library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    }
    for (size_t i = 0; library != NULL && i < n; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (address == NULL) {
            return false; // and stays open: unloading such libraries is not safe
        }
        memcpy((char *)table + symbols[i].at, &address, sizeof(address));
    }
    return library != NULL;
}

static void blas_open(void)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "libcublasLt.so.11", "libcublasLt.so", NULL};
    have_blas =
        library_open(names, blas_symbols, sizeof(blas_symbols) / sizeof(blas_symbols[0]), &blas);
}

static void nccl_open(void)
{
    static const char *const names[] = {"libnccl.so.2", "libnccl.so", NULL};
    have_nccl =
        library_open(names, nccl_symbols, sizeof(nccl_symbols) / sizeof(nccl_symbols[0]), &nccl);
}

const BlasApi *blas_api(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, blas_open);
    return have_blas ? &blas : NULL;
}

const NcclApi *nccl_api(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, nccl_open);
    return have_nccl ? &nccl : NULL;
}
