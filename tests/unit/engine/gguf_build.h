// SPDX-License-Identifier: MIT
// Writes GGUF files in memory, for tests and fuzz targets: collect keys and tensors, then finish.
// Knows nothing of src/engine's reader, so that the two can check each other.
#pragma once

#include "base/base.h"

#include <string.h>

typedef struct GgufBuild {
    Buf keys, infos, data;
    uint64_t n_keys, n_tensors;
} GgufBuild;

static inline void gb_uint(Buf *buf, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        buf_char(buf, (char)(i < 8 ? value >> (8 * i) : 0));
    }
}

static inline void gb_text(Buf *buf, Str s)
{
    gb_uint(buf, s.len, 8);
    buf_str(buf, s);
}

/** A key and its type; the caller writes the value to build->keys. */
static inline void gb_key(GgufBuild *build, const char *key, uint32_t kind)
{
    gb_text(&build->keys, str_from_c(key));
    gb_uint(&build->keys, kind, 4);
    build->n_keys++;
}

/** An unsigned, signed or boolean value: kind as in the file, n_bytes its size. */
static inline void gb_number(GgufBuild *build, const char *key, uint32_t kind, uint64_t value,
                             size_t n_bytes)
{
    gb_key(build, key, kind);
    gb_uint(&build->keys, value, n_bytes);
}

static inline void gb_u32(GgufBuild *build, const char *key, uint32_t value)
{
    gb_number(build, key, 4, value, 4);
}

static inline void gb_bool(GgufBuild *build, const char *key, bool value)
{
    gb_number(build, key, 7, value, 1);
}

static inline void gb_f32(GgufBuild *build, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    gb_number(build, key, 6, bits, 4);
}

static inline void gb_str(GgufBuild *build, const char *key, Str value)
{
    gb_key(build, key, 8);
    gb_text(&build->keys, value);
}

static inline void gb_array(GgufBuild *build, const char *key, uint32_t element, uint64_t n)
{
    gb_key(build, key, 9);
    gb_uint(&build->keys, element, 4);
    gb_uint(&build->keys, n, 8);
}

static inline void gb_strs(GgufBuild *build, const char *key, const Str *items, size_t n)
{
    gb_array(build, key, 8, n);
    for (size_t i = 0; i < n; i++) {
        gb_text(&build->keys, items[i]);
    }
}

static inline void gb_i32s(GgufBuild *build, const char *key, const int32_t *items, size_t n)
{
    gb_array(build, key, 5, n);
    for (size_t i = 0; i < n; i++) {
        gb_uint(&build->keys, (uint32_t)items[i], 4);
    }
}

static inline void gb_f32s(GgufBuild *build, const char *key, const float *items, size_t n)
{
    gb_array(build, key, 6, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &items[i], sizeof(bits));
        gb_uint(&build->keys, bits, 4);
    }
}

/** A tensor's description with an offset of the caller's choice; writes no data. */
static inline void gb_tensor_info(GgufBuild *build, const char *name, uint32_t type,
                                  uint32_t n_dims, const uint64_t *dims, uint64_t offset)
{
    gb_text(&build->infos, str_from_c(name));
    gb_uint(&build->infos, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) {
        gb_uint(&build->infos, dims[i], 8);
    }
    gb_uint(&build->infos, type, 4);
    gb_uint(&build->infos, offset, 8);
    build->n_tensors++;
}

/** A tensor with its data, at the next multiple of 32. */
static inline void gb_tensor(GgufBuild *build, const char *name, uint32_t type, uint32_t n_dims,
                             const uint64_t *dims, const void *data, size_t len)
{
    while (build->data.len % 32 != 0) {
        buf_char(&build->data, 0);
    }
    gb_tensor_info(build, name, type, n_dims, dims, build->data.len);
    buf_append(&build->data, data, len);
}

/** The whole file into out; the builder is emptied. */
static inline void gb_finish(GgufBuild *build, uint32_t version, size_t alignment, Buf *out)
{
    buf_str(out, STR("GGUF"));
    gb_uint(out, version, 4);
    gb_uint(out, build->n_tensors, 8);
    gb_uint(out, build->n_keys, 8);
    buf_append(out, build->keys.data, build->keys.len);
    buf_append(out, build->infos.data, build->infos.len);
    while (build->n_tensors > 0 && out->len % alignment != 0) {
        buf_char(out, 0);
    }
    buf_append(out, build->data.data, build->data.len);
    buf_finish(&build->keys);
    buf_finish(&build->infos);
    buf_finish(&build->data);
    *build = (GgufBuild){0};
}
