// SPDX-License-Identifier: MIT
// The reader behind gguf.h: one pass over the header builds indices of keys and tensors, and checks
// everything that later look-ups rely on. Every count is compared with the bytes left in the file
// before anything of that size is allocated, so a hostile file costs at most a few times its own
// size. Look-ups are binary searches over sorted names: no hash, so no input can make them slow.
// After gguf_open the object is constant and may be read by any thread.
#include "engine/gguf_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GGUF_KEYS_MAX       (UINT64_C(1) << 16)
#define GGUF_TENSORS_MAX    (UINT64_C(1) << 18)
#define GGUF_KEY_BYTES_MAX  65535 // the format's own limit
#define GGUF_NAME_BYTES_MAX 1024
#define GGUF_DIMS_MAX       4
#define GGUF_ALIGNMENT      32 // when the file does not say
#define GGUF_ALIGNMENT_MAX  (UINT64_C(1) << 20)
#define GGUF_KEY_BYTES_MIN  (8 + 1 + 4 + 1) // length, one letter, type, one byte
#define GGUF_TENSOR_BYTES_MIN                                                                      \
    (8 + 1 + 4 + 8 + 4 + 8) // length, one letter, n_dims, dim, type, offset

const uint8_t gguf_kind_bytes[KIND_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// ---- Reading bytes -----------------------------------------------------------------------------

/** A position in the file; every read checks what is left. */
typedef struct Reader {
    const uint8_t *data;
    size_t len;
    size_t at;
} Reader;

static size_t reader_left(const Reader *reader)
{
    return reader->len - reader->at;
}

/** A name for messages: at most 60 bytes, anything but printable ASCII as '?'. */
typedef struct Shown {
    char text[64];
} Shown;

static Shown shown(Str s)
{
    Shown result;
    size_t n = s.len < 60 ? s.len : 60;
    for (size_t i = 0; i < n; i++) {
        result.text[i] = s.data[i] >= ' ' && s.data[i] <= '~' ? s.data[i] : '?';
    }
    if (n < s.len) {
        memcpy(result.text + n, "...", 3);
        n += 3;
    }
    result.text[n] = '\0';
    return result;
}

static bool read_uint(Reader *reader, size_t n_bytes, uint64_t *out, const char *what, Err *err)
{
    if (reader_left(reader) < n_bytes) {
        return ERR_SET(err, ERR_PARSE, "the file ends at byte %zu, inside %s", reader->len, what);
    }
    *out = gguf_load_le(reader->data + reader->at, n_bytes);
    reader->at += n_bytes;
    return true;
}

static bool read_str(Reader *reader, uint64_t max_bytes, Str *out, const char *what, Err *err)
{
    uint64_t len = 0;
    if (!read_uint(reader, 8, &len, what, err)) {
        return false;
    }
    if (len > reader_left(reader)) {
        return ERR_SET(err, ERR_PARSE, "%s at byte %zu claims %llu bytes, %zu are left", what,
                       reader->at - 8, (unsigned long long)len, reader_left(reader));
    }
    if (len > max_bytes) {
        return ERR_SET(err, ERR_LIMIT, "%s at byte %zu has %llu bytes, at most %llu are allowed",
                       what, reader->at - 8, (unsigned long long)len,
                       (unsigned long long)max_bytes);
    }
    *out = (Str){(const char *)reader->data + reader->at, (size_t)len};
    reader->at += (size_t)len;
    return true;
}

// ---- Metadata ----------------------------------------------------------------------------------

static bool check_bools(const GgufEntry *entry, uint64_t n, Err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (entry->data[i] > 1) {
            return ERR_SET(err, ERR_PARSE, "key '%s': a boolean of value %u",
                           shown(entry->key).text, entry->data[i]);
        }
    }
    return true;
}

static bool read_str_array(Reader *reader, Arena *arena, GgufEntry *entry, Err *err)
{
    if (entry->n > reader_left(reader) / 8) {
        return ERR_SET(err, ERR_PARSE, "key '%s' claims %llu strings, %zu bytes are left",
                       shown(entry->key).text, (unsigned long long)entry->n, reader_left(reader));
    }
    uint64_t *offsets = arena_alloc_raw(arena, (size_t)entry->n, sizeof(*offsets));
    size_t start = reader->at;
    for (uint64_t i = 0; i < entry->n; i++) {
        Str ignored;
        offsets[i] = reader->at - start;
        if (!read_str(reader, UINT64_MAX, &ignored, "a string of an array", err)) {
            return ERR_WRAP(err, "key '%s', element %llu", shown(entry->key).text,
                            (unsigned long long)i);
        }
    }
    entry->offsets = offsets;
    return true;
}

static bool read_array(Reader *reader, Arena *arena, GgufEntry *entry, Err *err)
{
    uint64_t element = 0;
    if (!read_uint(reader, 4, &element, "an array", err) ||
        !read_uint(reader, 8, &entry->n, "an array", err)) {
        return ERR_WRAP(err, "key '%s'", shown(entry->key).text);
    }
    entry->data = reader->data + reader->at;
    if (element == KIND_ARRAY) {
        return ERR_SET(err, ERR_UNSUPPORTED, "key '%s': arrays of arrays are not supported",
                       shown(entry->key).text);
    }
    if (element >= KIND_COUNT) {
        return ERR_SET(err, ERR_PARSE, "key '%s': unknown element type %llu",
                       shown(entry->key).text, (unsigned long long)element);
    }
    entry->element = (GgufKind)element;
    if (element == KIND_STR) {
        return read_str_array(reader, arena, entry, err);
    }
    if (entry->n > reader_left(reader) / gguf_kind_bytes[element]) {
        return ERR_SET(err, ERR_PARSE, "key '%s' claims %llu elements, %zu bytes are left",
                       shown(entry->key).text, (unsigned long long)entry->n, reader_left(reader));
    }
    reader->at += (size_t)entry->n * gguf_kind_bytes[element];
    return element != KIND_BOOL || check_bools(entry, entry->n, err);
}

static bool read_entry(Reader *reader, Arena *arena, GgufEntry *entry, Err *err)
{
    uint64_t kind = 0;
    if (!read_str(reader, GGUF_KEY_BYTES_MAX, &entry->key, "a key", err)) {
        return false;
    }
    if (entry->key.len == 0) {
        return ERR_SET(err, ERR_PARSE, "an empty key at byte %zu", reader->at);
    }
    if (!read_uint(reader, 4, &kind, "the type of a value", err)) {
        return ERR_WRAP(err, "key '%s'", shown(entry->key).text);
    }
    if (kind >= KIND_COUNT) {
        return ERR_SET(err, ERR_PARSE, "key '%s': unknown value type %llu", shown(entry->key).text,
                       (unsigned long long)kind);
    }
    entry->kind = entry->element = (GgufKind)kind;
    entry->data = reader->data + reader->at;
    if (kind == KIND_ARRAY) {
        return read_array(reader, arena, entry, err);
    }
    if (kind == KIND_STR) {
        Str ignored;
        return read_str(reader, UINT64_MAX, &ignored, "a string", err) ||
               ERR_WRAP(err, "key '%s'", shown(entry->key).text);
    }
    uint64_t ignored;
    if (!read_uint(reader, gguf_kind_bytes[kind], &ignored, "a value", err)) {
        return ERR_WRAP(err, "key '%s'", shown(entry->key).text);
    }
    return kind != KIND_BOOL || check_bools(entry, 1, err);
}

static int compare_entries(const void *a, const void *b)
{
    return str_cmp(((const GgufEntry *)a)->key, ((const GgufEntry *)b)->key);
}

static bool read_entries(Gguf *gguf, Reader *reader, uint64_t n, Err *err)
{
    if (n > reader_left(reader) / GGUF_KEY_BYTES_MIN) {
        return ERR_SET(err, ERR_PARSE, "the header claims %llu keys, %zu bytes are left",
                       (unsigned long long)n, reader_left(reader));
    }
    if (n > GGUF_KEYS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "%llu keys, at most %llu are allowed", (unsigned long long)n,
                       (unsigned long long)GGUF_KEYS_MAX);
    }
    gguf->n_entries = (size_t)n;
    gguf->entries = ARENA_ARRAY(&gguf->arena, GgufEntry, gguf->n_entries);
    for (size_t i = 0; i < gguf->n_entries; i++) {
        if (!read_entry(reader, &gguf->arena, &gguf->entries[i], err)) {
            return false;
        }
    }
    if (gguf->n_entries > 1) {
        qsort(gguf->entries, gguf->n_entries, sizeof(GgufEntry), compare_entries);
    }
    for (size_t i = 1; i < gguf->n_entries; i++) {
        if (str_eq(gguf->entries[i - 1].key, gguf->entries[i].key)) {
            return ERR_SET(err, ERR_PARSE, "key '%s' appears twice",
                           shown(gguf->entries[i].key).text);
        }
    }
    return true;
}

// ---- Tensors -----------------------------------------------------------------------------------

/** Fill n_bytes from type and dims. Types we do not know have no size: 0. */
static bool tensor_size(GgufTensor *tensor, Err *err)
{
    uint64_t ignored;
    if (!gguf_row_bytes(tensor->type, 0, &ignored)) {
        return true;
    }
    if (!gguf_row_bytes(tensor->type, tensor->dims[0], &tensor->n_bytes)) {
        return ERR_SET(err, ERR_PARSE,
                       "tensor '%s': a row of %llu elements is no whole number of %s blocks",
                       shown(tensor->name).text, (unsigned long long)tensor->dims[0],
                       gguf_type_name(tensor->type));
    }
    uint64_t n_elements = tensor->dims[0];
    for (size_t i = 1; i < GGUF_DIMS_MAX; i++) {
        if (__builtin_mul_overflow(n_elements, tensor->dims[i], &n_elements) ||
            __builtin_mul_overflow(tensor->n_bytes, tensor->dims[i], &tensor->n_bytes) ||
            n_elements > INT64_MAX) {
            return ERR_SET(err, ERR_PARSE, "tensor '%s': the product of its dimensions overflows",
                           shown(tensor->name).text);
        }
    }
    return true;
}

static bool read_dims(Reader *reader, GgufTensor *tensor, Err *err)
{
    uint64_t n_dims = 0;
    if (!read_uint(reader, 4, &n_dims, "a tensor's dimensions", err)) {
        return false;
    }
    if (n_dims < 1 || n_dims > GGUF_DIMS_MAX) {
        return ERR_SET(err, ERR_PARSE, "%llu dimensions, 1 to %d are allowed",
                       (unsigned long long)n_dims, GGUF_DIMS_MAX);
    }
    tensor->n_dims = (uint32_t)n_dims;
    for (size_t i = 0; i < GGUF_DIMS_MAX; i++) {
        tensor->dims[i] = 1;
        if (i < n_dims && !read_uint(reader, 8, &tensor->dims[i], "a tensor's dimensions", err)) {
            return false;
        }
        if (tensor->dims[i] == 0) {
            return ERR_SET(err, ERR_PARSE, "dimension %zu is 0", i);
        }
    }
    return true;
}

/** Read one tensor's description; its offset goes to *out_offset, to be checked when data_pos is
 * known. */
static bool read_tensor(Reader *reader, GgufTensor *tensor, uint64_t *out_offset, Err *err)
{
    uint64_t type = 0;
    if (!read_str(reader, GGUF_NAME_BYTES_MAX, &tensor->name, "a tensor's name", err)) {
        return false;
    }
    if (tensor->name.len == 0) {
        return ERR_SET(err, ERR_PARSE, "an empty tensor name at byte %zu", reader->at);
    }
    if (!read_dims(reader, tensor, err) || !read_uint(reader, 4, &type, "a tensor's type", err) ||
        !read_uint(reader, 8, out_offset, "a tensor's offset", err)) {
        return ERR_WRAP(err, "tensor '%s'", shown(tensor->name).text);
    }
    tensor->type = (uint32_t)type;
    return tensor_size(tensor, err);
}

/** Turn an offset into a pointer once the range is known to lie inside the file. */
static bool place_tensor(Gguf *gguf, GgufTensor *tensor, uint64_t offset, uint64_t alignment,
                         Err *err)
{
    uint64_t available = gguf->len > gguf->data_pos ? gguf->len - gguf->data_pos : 0;
    if (offset % alignment != 0) {
        return ERR_SET(
            err, ERR_PARSE, "tensor '%s': offset %llu is no multiple of the alignment %llu",
            shown(tensor->name).text, (unsigned long long)offset, (unsigned long long)alignment);
    }
    if (offset > available || tensor->n_bytes > available - offset) {
        return ERR_SET(
            err, ERR_PARSE,
            "tensor '%s' needs %llu bytes at offset %llu, the file holds %llu bytes of data "
            "(is the download complete?)",
            shown(tensor->name).text, (unsigned long long)tensor->n_bytes,
            (unsigned long long)offset, (unsigned long long)available);
    }
    tensor->data = gguf->base + gguf->data_pos + offset;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return str_cmp((*(const GgufTensor *const *)a)->name, (*(const GgufTensor *const *)b)->name);
}

static int compare_places(const void *a, const void *b)
{
    const GgufTensor *left = *(const GgufTensor *const *)a;
    const GgufTensor *right = *(const GgufTensor *const *)b;
    return left->data != right->data
               ? (left->data < right->data ? -1 : 1)
               : (left->n_bytes > right->n_bytes) - (left->n_bytes < right->n_bytes);
}

/** No two tensors may share bytes or a name; leaves by_name sorted. */
static bool check_tensors(Gguf *gguf, Err *err)
{
    const GgufTensor **sorted = gguf->by_name;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        sorted[i] = &gguf->tensors[i];
    }
    if (gguf->n_tensors < 2) {
        return true;
    }
    qsort(sorted, gguf->n_tensors, sizeof(*sorted), compare_places);
    for (size_t i = 1; i < gguf->n_tensors; i++) {
        if (sorted[i - 1]->data + sorted[i - 1]->n_bytes > sorted[i]->data) {
            return ERR_SET(err, ERR_PARSE, "tensors '%s' and '%s' overlap",
                           shown(sorted[i - 1]->name).text, shown(sorted[i]->name).text);
        }
    }
    qsort(sorted, gguf->n_tensors, sizeof(*sorted), compare_names);
    for (size_t i = 1; i < gguf->n_tensors; i++) {
        if (str_eq(sorted[i - 1]->name, sorted[i]->name)) {
            return ERR_SET(err, ERR_PARSE, "tensor '%s' appears twice",
                           shown(sorted[i]->name).text);
        }
    }
    return true;
}

static bool read_alignment(const Gguf *gguf, uint64_t *out, Err *err)
{
    *out = GGUF_ALIGNMENT;
    gguf_get_u64(gguf, "general.alignment", out);
    if (*out < 8 || *out > GGUF_ALIGNMENT_MAX || (*out & (*out - 1)) != 0) {
        return ERR_SET(err, ERR_PARSE,
                       "general.alignment is %llu, not a power of two from 8 to %llu",
                       (unsigned long long)*out, (unsigned long long)GGUF_ALIGNMENT_MAX);
    }
    return true;
}

static bool read_tensors(Gguf *gguf, Reader *reader, uint64_t n, Err *err)
{
    uint64_t alignment;
    if (n > reader_left(reader) / GGUF_TENSOR_BYTES_MIN) {
        return ERR_SET(err, ERR_PARSE, "the header claims %llu tensors, %zu bytes are left",
                       (unsigned long long)n, reader_left(reader));
    }
    if (n > GGUF_TENSORS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "%llu tensors, at most %llu are allowed",
                       (unsigned long long)n, (unsigned long long)GGUF_TENSORS_MAX);
    }
    if (!read_alignment(gguf, &alignment, err)) {
        return false;
    }
    gguf->n_tensors = (size_t)n;
    gguf->tensors = ARENA_ARRAY(&gguf->arena, GgufTensor, gguf->n_tensors);
    gguf->by_name = ARENA_ARRAY(&gguf->arena, const GgufTensor *, gguf->n_tensors);
    uint64_t *offsets = ARENA_ARRAY(&gguf->arena, uint64_t, gguf->n_tensors);
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        if (!read_tensor(reader, &gguf->tensors[i], &offsets[i], err)) {
            return false;
        }
    }
    size_t padding = (size_t)(-reader->at & (alignment - 1));
    gguf->data_pos = reader_left(reader) < padding ? reader->len : reader->at + padding;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        if (!place_tensor(gguf, &gguf->tensors[i], offsets[i], alignment, err)) {
            return false;
        }
    }
    return check_tensors(gguf, err);
}

// ---- Opening -----------------------------------------------------------------------------------

static bool read_header(Reader *reader, uint32_t *version, uint64_t *n_tensors, uint64_t *n_keys,
                        Err *err)
{
    uint64_t word = 0;
    if (reader->len < 4 || memcmp(reader->data, "GGUF", 4) != 0) {
        return ERR_SET(err, ERR_PARSE, "not a GGUF file: it does not start with 'GGUF'");
    }
    reader->at = 4;
    if (!read_uint(reader, 4, &word, "the header", err)) {
        return false;
    }
    if (word == 0x02000000 || word == 0x03000000) {
        return ERR_SET(err, ERR_UNSUPPORTED, "big-endian GGUF files are not supported");
    }
    if (word != 2 && word != 3) {
        return ERR_SET(err, ERR_UNSUPPORTED, "GGUF version %llu is not supported, 2 and 3 are",
                       (unsigned long long)word);
    }
    *version = (uint32_t)word;
    return read_uint(reader, 8, n_tensors, "the header", err) &&
           read_uint(reader, 8, n_keys, "the header", err);
}

static bool parse(Gguf *gguf, Err *err)
{
    Reader reader = {gguf->base, gguf->len, 0};
    uint64_t n_tensors = 0, n_keys = 0;
    return read_header(&reader, &gguf->version, &n_tensors, &n_keys, err) &&
           read_entries(gguf, &reader, n_keys, err) && read_tensors(gguf, &reader, n_tensors, err);
}

static Gguf *create(const uint8_t *data, size_t len)
{
    Gguf *gguf = mem_zalloc(1, sizeof(*gguf));
    gguf->base = (uint8_t *)(uintptr_t)data; // never written; madvise wants a plain pointer
    gguf->len = len;
    return gguf;
}

bool gguf_open(Str path, Gguf **out, Err *err)
{
    FileMap map;
    if (!file_map(path, &map, err)) {
        return false;
    }
    Gguf *gguf = create(map.data, map.len);
    gguf->map = map;
    if (!parse(gguf, err)) {
        gguf_close(gguf);
        return ERR_WRAP(err, "'" STR_FMT "'", STR_ARG(path));
    }
    *out = gguf;
    return true;
}

bool gguf_open_memory(const uint8_t *data, size_t len, Gguf **out, Err *err)
{
    Gguf *gguf = create(data, len);
    if (!parse(gguf, err)) {
        gguf_close(gguf);
        return false;
    }
    *out = gguf;
    return true;
}

void gguf_close(Gguf *gguf)
{
    if (gguf != NULL) {
        arena_finish(&gguf->arena);
        file_map_close(&gguf->map);
        mem_free(gguf);
    }
}

void gguf_release_pages(Gguf *gguf)
{
    if (gguf->map.data == NULL || gguf->n_tensors == 0) {
        return;
    }
    // A file-backed private mapping: the pages come back from the file should anyone read them
    // again.
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t from = (gguf->data_pos + page - 1) / page * page;
    if (from < gguf->len) {
        madvise(gguf->base + from, gguf->len - from, MADV_DONTNEED);
    }
}
