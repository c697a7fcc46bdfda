// SPDX-License-Identifier: MIT
// Look-ups in an open GGUF file, and the table of tensor types. Everything was checked by
// gguf_open, so nothing here can fail but by "there is no such thing".
#include "engine/gguf_internal.h"

#include <stdio.h>
#include <string.h>

// ---- Tensor types ------------------------------------------------------------------------------

typedef struct TypeInfo {
    uint32_t type;
    const char *name;
    uint32_t block; // elements
    uint32_t block_bytes;
} TypeInfo;

static const TypeInfo type_table[] = {
#define X(number, text, block_elements, bytes) {number, text, block_elements, bytes},
#include "engine/gguf_type.def"
#undef X
};

static const TypeInfo *type_find(uint32_t type)
{
    for (size_t i = 0; i < sizeof(type_table) / sizeof(type_table[0]); i++) {
        if (type_table[i].type == type) {
            return &type_table[i];
        }
    }
    return NULL;
}

const char *gguf_type_name(uint32_t type)
{
    static _Thread_local char unknown[24];
    const TypeInfo *info = type_find(type);
    if (info != NULL) {
        return info->name;
    }
    snprintf(unknown, sizeof(unknown), "type %u", (unsigned)type);
    return unknown;
}

bool gguf_row_bytes(uint32_t type, uint64_t n, uint64_t *out)
{
    const TypeInfo *info = type_find(type);
    uint64_t bytes;
    if (info == NULL || n % info->block != 0 ||
        __builtin_mul_overflow(n / info->block, (uint64_t)info->block_bytes, &bytes)) {
        return false;
    }
    *out = bytes;
    return true;
}

// ---- Look-ups ----------------------------------------------------------------------------------

size_t gguf_n_tensors(const Gguf *gguf)
{
    return gguf->n_tensors;
}

const GgufTensor *gguf_tensor_at(const Gguf *gguf, size_t index)
{
    return index < gguf->n_tensors ? &gguf->tensors[index] : NULL;
}

const GgufTensor *gguf_tensor(const Gguf *gguf, Str name)
{
    size_t from = 0, to = gguf->n_tensors;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = str_cmp(gguf->by_name[middle]->name, name);
        if (order == 0) {
            return gguf->by_name[middle];
        }
        if (order < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return NULL;
}

static const GgufEntry *find(const Gguf *gguf, const char *key)
{
    Str name = str_from_c(key);
    size_t from = 0, to = gguf->n_entries;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = str_cmp(gguf->entries[middle].key, name);
        if (order == 0) {
            return &gguf->entries[middle];
        }
        if (order < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return NULL;
}

/** An integer or boolean as sign and magnitude; false for other kinds. */
static bool load_integer(GgufKind kind, const uint8_t *at, bool *negative, uint64_t *magnitude)
{
    int64_t value = 0;
    switch (kind) {
    case KIND_U8:
    case KIND_BOOL:
    case KIND_U16:
    case KIND_U32:
    case KIND_U64:
        *negative = false;
        *magnitude = gguf_load_le(at, gguf_kind_bytes[kind]);
        return true;
    case KIND_I8:
        value = (int8_t)gguf_load_le(at, 1);
        break;
    case KIND_I16:
        value = (int16_t)gguf_load_le(at, 2);
        break;
    case KIND_I32:
        value = (int32_t)gguf_load_le(at, 4);
        break;
    case KIND_I64:
        value = (int64_t)gguf_load_le(at, 8);
        break;
    case KIND_F32:
    case KIND_F64:
    case KIND_STR:
    case KIND_ARRAY:
    case KIND_COUNT:
        return false;
    }
    *negative = value < 0;
    *magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    return true;
}

static bool load_i64(GgufKind kind, const uint8_t *at, int64_t *out)
{
    bool negative;
    uint64_t magnitude;
    if (!load_integer(kind, at, &negative, &magnitude) || (!negative && magnitude > INT64_MAX)) {
        return false;
    }
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static bool load_f64(GgufKind kind, const uint8_t *at, double *out)
{
    bool negative;
    uint64_t magnitude;
    if (kind == KIND_F32) {
        uint32_t bits = (uint32_t)gguf_load_le(at, 4);
        float value;
        memcpy(&value, &bits, sizeof(value));
        *out = (double)value;
        return true;
    }
    if (kind == KIND_F64) {
        uint64_t bits = gguf_load_le(at, 8);
        memcpy(out, &bits, sizeof(*out));
        return true;
    }
    if (kind == KIND_BOOL || !load_integer(kind, at, &negative, &magnitude)) {
        return false;
    }
    *out = negative ? -(double)magnitude : (double)magnitude;
    return true;
}

static Str load_str(const uint8_t *at)
{
    return (Str){(const char *)at + 8, (size_t)gguf_load_le(at, 8)};
}

bool gguf_get_u64(const Gguf *gguf, const char *key, uint64_t *out)
{
    const GgufEntry *entry = find(gguf, key);
    bool negative;
    uint64_t magnitude;
    if (entry == NULL || !load_integer(entry->kind, entry->data, &negative, &magnitude) ||
        negative) {
        return false;
    }
    *out = magnitude;
    return true;
}

bool gguf_get_f64(const Gguf *gguf, const char *key, double *out)
{
    const GgufEntry *entry = find(gguf, key);
    return entry != NULL && load_f64(entry->kind, entry->data, out);
}

bool gguf_get_bool(const Gguf *gguf, const char *key, bool *out)
{
    const GgufEntry *entry = find(gguf, key);
    if (entry == NULL || entry->kind != KIND_BOOL) {
        return false;
    }
    *out = entry->data[0] != 0;
    return true;
}

bool gguf_get_str(const Gguf *gguf, const char *key, Str *out)
{
    const GgufEntry *entry = find(gguf, key);
    if (entry == NULL || entry->kind != KIND_STR) {
        return false;
    }
    *out = load_str(entry->data);
    return true;
}

static const GgufEntry *find_array(const Gguf *gguf, const char *key)
{
    const GgufEntry *entry = find(gguf, key);
    return entry != NULL && entry->kind == KIND_ARRAY ? entry : NULL;
}

bool gguf_get_array(const Gguf *gguf, const char *key, size_t *out_n)
{
    const GgufEntry *entry = find_array(gguf, key);
    if (entry == NULL) {
        return false;
    }
    *out_n = (size_t)entry->n;
    return true;
}

bool gguf_array_str(const Gguf *gguf, const char *key, size_t index, Str *out)
{
    const GgufEntry *entry = find_array(gguf, key);
    if (entry == NULL || entry->element != KIND_STR || index >= entry->n) {
        return false;
    }
    *out = load_str(entry->data + entry->offsets[index]);
    return true;
}

bool gguf_array_i64(const Gguf *gguf, const char *key, size_t index, int64_t *out)
{
    const GgufEntry *entry = find_array(gguf, key);
    return entry != NULL && entry->element != KIND_STR && index < entry->n &&
           load_i64(entry->element, entry->data + index * gguf_kind_bytes[entry->element], out);
}

bool gguf_array_f64(const Gguf *gguf, const char *key, size_t index, double *out)
{
    const GgufEntry *entry = find_array(gguf, key);
    return entry != NULL && entry->element != KIND_STR && index < entry->n &&
           load_f64(entry->element, entry->data + index * gguf_kind_bytes[entry->element], out);
}
