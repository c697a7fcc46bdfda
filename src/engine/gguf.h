// SPDX-License-Identifier: MIT
// GGUF v2 and v3 files, mapped read-only and validated as hostile input: after gguf_open every key,
// string, array and tensor range lies inside the file and every size product fits. Knows the
// format, not models. (Format: ggml's gguf.md; tensor types and block sizes: ggml quantisation
// tables.)
#pragma once

#include "base/base.h"

typedef struct Gguf Gguf;

/** Tensor element types that we read; the numbers are the file's. */
typedef enum GgufType {
    GGUF_F32 = 0,
    GGUF_F16 = 1,
    GGUF_Q4_0 = 2,
    GGUF_Q4_1 = 3,
    GGUF_Q8_0 = 8,
    GGUF_BF16 = 30,
} GgufType;

/** One tensor. dims[0] is the fastest (the row length); unused dims are 1. */
typedef struct GgufTensor {
    Str name;
    uint32_t type; // GgufType; others are refused by those who use them, with the name of the type
    uint32_t n_dims;
    uint64_t dims[4];
    const uint8_t *data; // inside the mapping, file alignment respected
    uint64_t n_bytes;    // 0 for a type that gguf_type_name does not know
} GgufTensor;

bool gguf_open(Str path, Gguf **out, Err *err);
/** From memory (borrowed until close): for tests and fuzzing. Tensor data is as aligned as data is.
 */
bool gguf_open_memory(const uint8_t *data, size_t len, Gguf **out, Err *err);
void gguf_close(Gguf *gguf);

size_t gguf_n_tensors(const Gguf *gguf);
const GgufTensor *gguf_tensor_at(const Gguf *gguf, size_t index);
/** NULL when there is none of that name. */
const GgufTensor *gguf_tensor(const Gguf *gguf, Str name);
/** Name of a tensor type ("Q4_1", "Q6_K", ...), "type 99" style for unknown ones (static or
 * thread-local). */
const char *gguf_type_name(uint32_t type);
/** Bytes of one row of n elements; false when the type is unknown or n is not a multiple of its
 * block. */
bool gguf_row_bytes(uint32_t type, uint64_t n, uint64_t *out);

/** Look-ups in the metadata: false when the key is absent or of another kind (no error). */
bool gguf_get_u64(const Gguf *gguf, const char *key,
                  uint64_t *out);                                  // any integer type >= 0, or bool
bool gguf_get_f64(const Gguf *gguf, const char *key, double *out); // float types and integers
bool gguf_get_bool(const Gguf *gguf, const char *key, bool *out);
bool gguf_get_str(const Gguf *gguf, const char *key, Str *out);
/** Arrays: number of elements, then one element at a time; strings are pre-indexed (O(1)). */
bool gguf_get_array(const Gguf *gguf, const char *key, size_t *out_n);
bool gguf_array_str(const Gguf *gguf, const char *key, size_t index, Str *out);
bool gguf_array_i64(const Gguf *gguf, const char *key, size_t index, int64_t *out);
bool gguf_array_f64(const Gguf *gguf, const char *key, size_t index, double *out);

/** Tell the kernel that the pages of tensor data are no longer needed (after repacking). */
void gguf_release_pages(Gguf *gguf);
