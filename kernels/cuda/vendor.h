// SPDX-License-Identifier: MIT
// cuBLASLt and NCCL as tables of functions, with declarations of our own: the module is not linked
// with either, and runs without them. vendor.c opens them by name; kernels/emulate/ has tables of
// its own. Numbers and layouts are those of the libraries' headers, which have kept them since
// CUDA 11 and NCCL 2.10. Only --fast uses cuBLASLt, and NCCL's sums.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- cuBLASLt -----------------------------------------------------------------------------------

#define BLAS_OK            0
#define BLAS_ERROR_MEMORY  3
#define BLAS_ERROR_VALUE   7
#define BLAS_ERROR_RUN     13
#define BLAS_ERROR_SUPPORT 15

#define BLAS_R_32F       0 // types of elements
#define BLAS_R_16F       2
#define BLAS_R_16BF      14
#define BLAS_COMPUTE_32F 68

#define BLAS_DESC_TRANSA 3 // attributes of a BlasDesc; int32 0 as it lies, 1 transposed
#define BLAS_DESC_TRANSB 4

#define BLAS_PREFER_WORKSPACE  1 // attributes of a BlasPreference: uint64 bytes
#define BLAS_PREFER_REDUCTIONS 3 // uint32 mask; 0: no split of K

#define BLAS_REDUCE_IN_F32 2 // a bit of that mask: K is split, the parts go through the workspace

#define BLAS_ALGO_ID        0 // attributes of a BlasAlgo: int32, uint32, int32, uint32
#define BLAS_ALGO_TILE      1
#define BLAS_ALGO_SPLIT_K   2
#define BLAS_ALGO_REDUCTION 3
#define BLAS_ALGO_STAGES    6

typedef struct BlasHandle BlasHandle;         // cublasLtHandle_t
typedef struct BlasDesc BlasDesc;             // cublasLtMatmulDesc_t
typedef struct BlasLayout BlasLayout;         // cublasLtMatrixLayout_t, columns contiguous
typedef struct BlasPreference BlasPreference; // cublasLtMatmulPreference_t

typedef struct BlasAlgo {
    uint64_t data[8];
} BlasAlgo;

typedef struct BlasChoice {
    BlasAlgo algo;
    size_t workspace;
    int status;
    float waves;
    int reserved[4];
} BlasChoice;

typedef struct BlasApi {
    size_t (*version)(void);
    int (*create)(BlasHandle **out);
    int (*destroy)(BlasHandle *handle);
    int (*desc_create)(BlasDesc **out, int compute, int scale_type);
    int (*desc_set)(BlasDesc *desc, int attribute, const void *value, size_t bytes);
    int (*desc_destroy)(BlasDesc *desc);
    int (*layout_create)(BlasLayout **out, int type, uint64_t rows, uint64_t columns, int64_t lead);
    int (*layout_destroy)(BlasLayout *layout);
    int (*preference_create)(BlasPreference **out);
    int (*preference_set)(BlasPreference *preference, int attribute, const void *value,
                          size_t bytes);
    int (*preference_destroy)(BlasPreference *preference);
    /** Up to n_wanted choices, the quickest first. */
    int (*choose)(BlasHandle *handle, BlasDesc *desc, BlasLayout *a, BlasLayout *b, BlasLayout *c,
                  BlasLayout *d, BlasPreference *preference, int n_wanted, BlasChoice *out,
                  int *out_n);
    int (*algo_get)(const BlasAlgo *algo, int attribute, void *out, size_t bytes,
                    size_t *out_bytes);
    /** d = alpha op(a) op(b) + beta c on a stream; algo NULL: the library's choice. */
    int (*matmul)(BlasHandle *handle, BlasDesc *desc, const void *alpha, const void *a,
                  BlasLayout *a_layout, const void *b, BlasLayout *b_layout, const void *beta,
                  const void *c, BlasLayout *c_layout, void *d, BlasLayout *d_layout,
                  const BlasAlgo *algo, void *workspace, size_t workspace_bytes, void *stream);
} BlasApi;

/** The library's functions, opened at the first call; NULL when it is not here. */
const BlasApi *blas_api(void);

// ---- NCCL ---------------------------------------------------------------------------------------

#define NCCL_OK             0
#define NCCL_ERROR_CUDA     1
#define NCCL_ERROR_SYSTEM   2
#define NCCL_ERROR_INTERNAL 3
#define NCCL_ERROR_VALUE    4
#define NCCL_ERROR_USAGE    5

#define NCCL_INT8 0 // types of elements
#define NCCL_F16  6
#define NCCL_F32  7
#define NCCL_BF16 9
#define NCCL_SUM  0
#define NCCL_MAX  2

typedef struct NcclComm NcclComm; // ncclComm_t

typedef struct NcclId {
    char bytes[128];
} NcclId;

typedef struct NcclApi {
    int (*version)(int *out);
    const char *(*error_string)(int error);
    int (*unique_id)(NcclId *out);
    /** One rank, on the thread's device; returns when all ranks are there, in other threads or, in
     * a group, in this one. */
    int (*init_rank)(NcclComm **out, int n_ranks, NcclId id, int rank);
    /** All ranks from one thread; devices NULL: 0 .. n-1. */
    int (*init_all)(NcclComm **out, int n, const int *devices);
    int (*destroy)(NcclComm *comm);
    int (*abort)(NcclComm *comm);
    /** to (n_ranks, count) = from of each rank; in stream order. */
    int (*all_gather)(const void *from, void *to, size_t count, int type, NcclComm *comm,
                      void *stream);
    int (*all_reduce)(const void *from, void *to, size_t count, int type, int operation,
                      NcclComm *comm, void *stream);
    int (*group_start)(void);
    int (*group_end)(void);
} NcclApi;

/** The library's functions, opened at the first call; NULL when it is not here. */
const NcclApi *nccl_api(void);

#ifdef __cplusplus
}
#endif
