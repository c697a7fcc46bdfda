// SPDX-License-Identifier: MIT
// Objects of one device or several: an object of each rank, listed in the first one's ranks[].
// Matrices are cut over whole tiles of outputs, or, where ranks may sum, those whose products are
// added over whole blocks of inputs; KV over heads; buffers and activations have room for whole
// rows everywhere, and activations for the slice that their rank makes.
#include "kernels/cuda/ranks.cuh"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/** Where share r of n things begins. */
static size_t share_start(size_t n, int r, int n_shares)
{
    return n * (size_t)r / (size_t)n_shares;
}

void ranks_device_close(KDevice *device)
{
    if (device != NULL && device->fast != NULL) {
        fast_device_close(device);
    }
    for (int r = device != NULL ? device->n_ranks - 1 : -1; r > 0; r--) {
        cuda_device_close(device->ranks[r]);
    }
    cuda_device_close(device);
}

/** "tp=N" in the options' path: N devices from index on. */
static bool ranks_asked(const KDeviceOptions *options, int *out, Err *err)
{
    *out = 1;
    if (options->path == NULL || options->path[0] == '\0') {
        return true;
    }
    char rest;
    if (sscanf(options->path, "tp=%d%c", out, &rest) != 1 || *out < 1 || *out > RANKS_MAX ||
        (*out & (*out - 1)) != 0) {
        return CUDA_FAIL(err, ERR_USAGE, "'%s': not tp=1, 2, 4 or 8", options->path);
    }
    return true;
}

bool ranks_device_open(const KDeviceOptions *options, KDevice **out, Err *err)
{
    int n;
    KDevice *first;
    if (options->fast && options->f32) {
        return CUDA_FAIL(err, ERR_USAGE, "float32 throughout is not to be had fast");
    }
    if (!ranks_asked(options, &n, err) || !cuda_device_open(options, &first, err)) {
        return false;
    }
    first->ranks[0] = first;
    for (int r = 1; r < n; r++) {
        KDeviceOptions other = *options;
        other.index += r;
        if (!cuda_device_open(&other, &first->ranks[r], err)) {
            ranks_device_close(first);
            return false;
        }
        first->n_ranks = r + 1;
    }
    for (int r = 0; r < n * n; r++) { // where they can not, copies between them take a detour
        if (r / n != r % n &&
            gpu_peer_enable(first->ranks[r / n]->index, first->ranks[r % n]->index) != GPU_OK) {
            (void)gpu_last_error();
        }
    }
    if (n > 1) {
        size_t len = strlen(first->description);
        snprintf(first->description + len, sizeof(first->description) - len, ", %d devices", n);
    }
    if (options->fast && !fast_device_open(first, err)) {
        ranks_device_close(first);
        return false;
    }
    *out = first;
    return true;
}

const char *ranks_device_describe(const KDevice *device)
{
    return device->description;
}

void ranks_stream_destroy(KStream *stream)
{
    if (stream == NULL) {
        return;
    }
    int n = n_ranks(stream);
    for (int r = 1; r < n; r++) {
        if (stream->ranks[r] != NULL) {
            fast_stream_close(stream->ranks[r]);
        }
        cuda_stream_destroy(stream->ranks[r]);
    }
    fast_stream_close(stream);
    cuda_stream_destroy(stream);
}

bool ranks_stream_create(KDevice *device, KStream **out, Err *err)
{
    KStream *first;
    if (!cuda_stream_create(device, &first, err)) {
        return false;
    }
    first->ranks[0] = first;
    for (int r = 0; r < device->n_ranks; r++) {
        if ((r > 0 && !cuda_stream_create(device->ranks[r], &first->ranks[r], err)) ||
            !fast_stream_open(first->ranks[r], err)) {
            ranks_stream_destroy(first);
            return false;
        }
        if (device->n_ranks == 1) {
            break;
        }
        KStream *s = first->ranks[r];
        if (!cuda_enter(s->device, err) ||
            !CUDA_OK(gpu_event_create(&s->met), err, "creating an event")) {
            ranks_stream_destroy(first);
            return false;
        }
        s->met_made = true;
    }
    *out = first;
    return true;
}

bool ranks_stream_sync(KStream *stream, Err *err)
{
    if (!fast_settle(stream, err)) {
        return false;
    }
    for (int r = 0; r < n_ranks(stream); r++) {
        if (!cuda_stream_sync(stream->ranks[r], err)) {
            return false;
        }
    }
    return true;
}

void ranks_buffer_destroy(KBuffer *buffer)
{
    for (int r = 1; buffer != NULL && r < RANKS_MAX; r++) {
        cuda_buffer_destroy(buffer->ranks[r]);
    }
    cuda_buffer_destroy(buffer);
}

bool ranks_buffer_create(KDevice *device, size_t n, KBuffer **out, Err *err)
{
    KBuffer *first;
    if (!cuda_buffer_create(device, n, &first, err)) {
        return false;
    }
    first->ranks[0] = first;
    for (int r = 1; r < device->n_ranks; r++) {
        if (!cuda_buffer_create(device->ranks[r], n, &first->ranks[r], err)) {
            ranks_buffer_destroy(first);
            return false;
        }
    }
    *out = first;
    return true;
}

bool ranks_buffer_write(KStream *stream, KBuffer *buffer, size_t offset, const float *from,
                        size_t n, Err *err)
{
    assert(buffer->cut[0] == 0);
    for (int r = 0; r < n_ranks(stream); r++) {
        if (!cuda_buffer_write(stream->ranks[r], buffer->ranks[r], offset, from, n, err)) {
            return false;
        }
    }
    return true;
}

/** Elements offset .. offset+n-1 of whole rows, from the ranks that have them. */
bool ranks_buffer_read(KStream *stream, const KBuffer *buffer, size_t offset, float *to, size_t n,
                       Err *err)
{
    if (!ranks_stream_sync(stream, err)) { // or what a lost one did not make is believed
        return false;
    }
    if (buffer->cut[0] == 0) {
        return cuda_buffer_read(stream, buffer, offset, to, n, err);
    }
    size_t width = 0;
    for (int r = 0; r < n_ranks(stream); r++) {
        width += buffer->cut[r];
    }
    while (n > 0) {
        size_t row = offset / width, at = offset % width;
        int r = 0;
        while (at >= buffer->cut[r]) {
            at -= buffer->cut[r++];
        }
        size_t left = buffer->cut[r] - at, take = left < n ? left : n;
        if (!cuda_buffer_read(stream->ranks[r], buffer->ranks[r], row * buffer->cut[r] + at, to,
                              take, err)) {
            return false;
        }
        offset += take;
        to += take;
        n -= take;
    }
    return true;
}

void ranks_matrix_destroy(KMatrix *matrix)
{
    for (int r = 1; matrix != NULL && r < RANKS_MAX; r++) {
        cuda_matrix_destroy(matrix->ranks[r]);
    }
    cuda_matrix_destroy(matrix);
}

/** Ranks take whole tiles of outputs. */
bool ranks_matrix_create(KDevice *device, KType type, size_t n_out, size_t n_in, const void *data,
                         KMatrix **out, Err *err)
{
    int n = device->n_ranks;
    size_t n_tiles = (n_out + TILE - 1) / TILE;
    if (n_tiles < (size_t)n) {
        return CUDA_FAIL(err, ERR_UNSUPPORTED,
                         "a matrix of %zu outputs can not be cut for %d devices", n_out, n);
    }
    KMatrix *ranks[RANKS_MAX] = {};
    for (int r = 0; r < n; r++) {
        size_t from = share_start(n_tiles, r, n) * TILE, to = share_start(n_tiles, r + 1, n) * TILE;
        to = to < n_out ? to : n_out;
        const uint8_t *rows = (const uint8_t *)data + from * cuda_row_bytes(type, n_in);
        if (!cuda_matrix_create(device->ranks[r], type, to - from, n_in, rows,
                                cuda_row_bytes(type, n_in), &ranks[r], err)) {
            for (int i = 0; i < r; i++) {
                cuda_matrix_destroy(ranks[i]);
            }
            return false;
        }
    }
    memcpy(ranks[0]->ranks, ranks, sizeof(ranks));
    *out = ranks[0];
    return true;
}

bool ranks_matrix_create_added(KDevice *device, KType type, size_t n_out, size_t n_in,
                               const void *data, KMatrix **out, Err *err)
{
    size_t n = (size_t)device->n_ranks;
    if (n_in % (BLOCK * n) != 0 && n > 1) { // what it reads is made in shares of whole blocks
        return CUDA_FAIL(err, ERR_UNSUPPORTED,
                         "%zu activations can not be cut in blocks of %d for %zu devices", n_in,
                         BLOCK, n);
    }
    if (n == 1 || !fast_sums(device)) {
        return ranks_matrix_create(device, type, n_out, n_in, data, out, err);
    }
    KMatrix *ranks[RANKS_MAX] = {};
    for (size_t r = 0; r < n; r++) {
        const uint8_t *share = (const uint8_t *)data + r * cuda_row_bytes(type, n_in / n);
        if (!cuda_matrix_create(device->ranks[r], type, n_out, n_in / n, share,
                                cuda_row_bytes(type, n_in), &ranks[r], err)) {
            for (size_t i = 0; i < r; i++) {
                cuda_matrix_destroy(ranks[i]);
            }
            return false;
        }
    }
    memcpy(ranks[0]->ranks, ranks, sizeof(ranks));
    ranks[0]->inputs_cut = true;
    *out = ranks[0];
    return true;
}

void ranks_acts_destroy(KActs *acts)
{
    for (int r = RANKS_MAX - 1; acts != NULL && r >= 0; r--) {
        KActs *one = r > 0 ? acts->ranks[r] : acts;
        if (one != NULL) {
            cuda_acts_destroy(one->slice);
            cuda_acts_destroy(one);
        }
    }
}

/** The whole on every rank, and a slice of it where whole blocks can be cut. */
bool ranks_acts_create(KDevice *device, size_t max_rows, size_t width,
                       const KMatrix *const *consumers, size_t n_consumers, KActs **out, Err *err)
{
    KActs *first = NULL;
    size_t n = (size_t)device->n_ranks;
    bool stays_cut = n_consumers > 0;
    for (size_t i = 0; i < n_consumers; i++) {
        stays_cut = stays_cut && consumers[i]->inputs_cut;
    }
    for (size_t r = 0; r < n; r++) {
        KActs *one;
        if (!cuda_acts_create(device->ranks[r], max_rows, width, consumers, n_consumers, &one,
                              err)) {
            ranks_acts_destroy(first);
            return false;
        }
        first = first == NULL ? one : first;
        first->ranks[r] = one;
        one->stays_cut = stays_cut;
        if (n > 1 && width % (BLOCK * n) == 0 &&
            !cuda_acts_create(device->ranks[r], max_rows, width / n, consumers, n_consumers,
                              &one->slice, err)) {
            ranks_acts_destroy(first);
            return false;
        }
    }
    *out = first;
    return true;
}

void ranks_kv_destroy(KKv *kv)
{
    for (int r = 1; kv != NULL && r < RANKS_MAX; r++) {
        cuda_kv_destroy(kv->ranks[r]);
    }
    cuda_kv_destroy(kv);
}

static KHeads heads_of_rank(const KDevice *device, const KHeads *heads)
{
    KHeads share = *heads;
    share.n_heads /= (uint32_t)device->n_ranks;
    share.n_kv_heads /= (uint32_t)device->n_ranks;
    return share;
}

/** On one device: it is each device's memory that has to be enough. */
size_t ranks_kv_slot_bytes(const KDevice *device, const KHeads *heads, size_t n_layers)
{
    KHeads share = heads_of_rank(device, heads);
    return cuda_kv_slot_bytes(device, &share, n_layers);
}

bool ranks_kv_create(KDevice *device, const KHeads *heads, size_t n_layers, size_t n_slots,
                     KKv **out, Err *err)
{
    uint32_t n = (uint32_t)device->n_ranks;
    KHeads share = heads_of_rank(device, heads);
    if (heads->n_heads % n != 0 || heads->n_kv_heads % n != 0 ||
        (n > 1 && share.n_kv_heads * heads->head_dim % TILE != 0)) {
        return CUDA_FAIL(err, ERR_UNSUPPORTED,
                         "%u heads on %u KV heads of %u elements can not be cut for %u devices",
                         heads->n_heads, heads->n_kv_heads, heads->head_dim, n);
    }
    KKv *first = NULL;
    for (uint32_t r = 0; r < n; r++) {
        KKv *one;
        if (!cuda_kv_create(device->ranks[r], &share, n_layers, n_slots, &one, err)) {
            ranks_kv_destroy(first);
            return false;
        }
        first = first == NULL ? one : first;
        first->ranks[r] = one;
    }
    *out = first;
    return true;
}
