// SPDX-License-Identifier: MIT
// kernels/cuda/vendor.h against the libraries' own headers, where these are: numbers, layouts. And
// the libraries themselves open, or are said to be absent.
#include "kernels/cuda/vendor.h"

extern "C" {
#include "../tap.h"
}

#ifdef HAVE_VENDOR_HEADERS
#include <cublasLt.h>
#include <nccl.h>

#define SAME(ours, theirs) static_assert((long)(ours) == (long)(theirs), #ours)
SAME(BLAS_ERROR_MEMORY, CUBLAS_STATUS_ALLOC_FAILED);
SAME(BLAS_ERROR_VALUE, CUBLAS_STATUS_INVALID_VALUE);
SAME(BLAS_ERROR_RUN, CUBLAS_STATUS_EXECUTION_FAILED);
SAME(BLAS_ERROR_SUPPORT, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(BLAS_R_32F, CUDA_R_32F);
SAME(BLAS_R_16F, CUDA_R_16F);
SAME(BLAS_R_16BF, CUDA_R_16BF);
SAME(BLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F);
SAME(BLAS_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(BLAS_DESC_TRANSB, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(BLAS_PREFER_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(BLAS_PREFER_REDUCTIONS, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
SAME(BLAS_REDUCE_IN_F32, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
SAME(BLAS_ALGO_ID, CUBLASLT_ALGO_CONFIG_ID);
SAME(BLAS_ALGO_TILE, CUBLASLT_ALGO_CONFIG_TILE_ID);
SAME(BLAS_ALGO_SPLIT_K, CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
SAME(BLAS_ALGO_REDUCTION, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
SAME(BLAS_ALGO_STAGES, CUBLASLT_ALGO_CONFIG_STAGES_ID);
SAME(sizeof(BlasAlgo), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(BlasChoice), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(BlasChoice, workspace), offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
SAME(offsetof(BlasChoice, status), offsetof(cublasLtMatmulHeuristicResult_t, state));
SAME(NCCL_ERROR_CUDA, ncclUnhandledCudaError);
SAME(NCCL_ERROR_SYSTEM, ncclSystemError);
SAME(NCCL_ERROR_INTERNAL, ncclInternalError);
SAME(NCCL_ERROR_VALUE, ncclInvalidArgument);
SAME(NCCL_ERROR_USAGE, ncclInvalidUsage);
SAME(NCCL_INT8, ncclInt8);
SAME(NCCL_F16, ncclFloat16);
SAME(NCCL_F32, ncclFloat32);
SAME(NCCL_BF16, ncclBfloat16);
SAME(NCCL_SUM, ncclSum);
SAME(NCCL_MAX, ncclMax);
SAME(sizeof(NcclId), sizeof(ncclUniqueId));
#endif

static void test_libraries__open_or_are_absent(void)
{
    const BlasApi *blas = blas_api();
    const NcclApi *nccl = nccl_api();
    int version = 0;
    if (blas != NULL) {
        CHECK(blas->version() >= 110000);
    }
    if (nccl != NULL) {
        CHECK_INT(nccl->version(&version), NCCL_OK);
        CHECK(version >= 21000);
    }
    printf("# cuBLASLt %s, NCCL %d\n", blas != NULL ? "is here" : "is absent", version);
    CHECK(blas_api() == blas && nccl_api() == nccl);
}

int main(void)
{
    tap_run("libraries open or are absent", test_libraries__open_or_are_absent);
#ifdef HAVE_VENDOR_HEADERS
    tap_run("numbers are those of the headers", [] {}); // compiled
#else
    tap_skip("numbers are those of the headers", "no headers of cuBLASLt and NCCL");
#endif
    return tap_done();
}
