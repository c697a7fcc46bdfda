// SPDX-License-Identifier: MIT
// What gguf.c (reading and checking) and gguf_get.c (look-ups) share. For these two files only.
#pragma once

#include "engine/gguf.h"

/** Kinds of metadata values; the numbers are the file's. */
typedef enum GgufKind {
    KIND_U8,
    KIND_I8,
    KIND_U16,
    KIND_I16,
    KIND_U32,
    KIND_I32,
    KIND_F32,
    KIND_BOOL,
    KIND_STR,
    KIND_ARRAY,
    KIND_U64,
    KIND_I64,
    KIND_F64,
    KIND_COUNT,
} GgufKind;

/** Bytes of one value of a kind; 0 for those of varying size. */
extern const uint8_t gguf_kind_bytes[KIND_COUNT];

/** One metadata entry; n and the offsets are for arrays only. */
typedef struct GgufEntry {
    Str key;
    GgufKind kind;           // KIND_ARRAY: see element
    GgufKind element;        // kind of the value itself, or of the array's elements
    const uint8_t *data;     // the value (strings: at their length), or the first element
    uint64_t n;              // elements of an array
    const uint64_t *offsets; // string arrays: where each element's length lies, from data
} GgufEntry;

struct Gguf {
    Arena arena;
    FileMap map;     // .data NULL when the bytes are the caller's
    uint8_t *base;   // start of the bytes
    size_t len;      // of all bytes
    size_t data_pos; // where tensor data starts
    uint32_t version;
    GgufEntry *entries; // sorted by key
    size_t n_entries;
    GgufTensor *tensors; // in the file's order
    size_t n_tensors;
    const GgufTensor **by_name; // sorted
};

/** Load an unsigned integer. The format is little-endian; the compiler turns these into plain loads
 * where the host is too. */
static inline uint64_t gguf_load_le(const uint8_t *at, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}
