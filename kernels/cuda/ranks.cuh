// SPDX-License-Identifier: MIT
// Objects of several devices as ranks (backend.cuh, RANKS_MAX): opening, cutting and closing them.
#pragma once

#include "kernels/cuda/backend.cuh"

inline int n_ranks(const KStream *stream)
{
    return stream->device->n_ranks;
}

bool ranks_device_open(const KDeviceOptions *options, KDevice **out, Err *err);
void ranks_device_close(KDevice *device);
const char *ranks_device_describe(const KDevice *device);
bool ranks_stream_create(KDevice *device, KStream **out, Err *err);
void ranks_stream_destroy(KStream *stream);
bool ranks_stream_sync(KStream *stream, Err *err);
bool ranks_buffer_create(KDevice *device, size_t n, KBuffer **out, Err *err);
void ranks_buffer_destroy(KBuffer *buffer);
bool ranks_buffer_write(KStream *stream, KBuffer *buffer, size_t offset, const float *from,
                        size_t n, Err *err);
bool ranks_buffer_read(KStream *stream, const KBuffer *buffer, size_t offset, float *to, size_t n,
                       Err *err);
bool ranks_matrix_create(KDevice *device, KType type, size_t n_out, size_t n_in, const void *data,
                         KMatrix **out, Err *err);
/** Where ranks may sum, each gets a share of the inputs. */
bool ranks_matrix_create_added(KDevice *device, KType type, size_t n_out, size_t n_in,
                               const void *data, KMatrix **out, Err *err);
void ranks_matrix_destroy(KMatrix *matrix);
bool ranks_acts_create(KDevice *device, size_t max_rows, size_t width,
                       const KMatrix *const *consumers, size_t n_consumers, KActs **out, Err *err);
void ranks_acts_destroy(KActs *acts);
size_t ranks_kv_slot_bytes(const KDevice *device, const KHeads *heads, size_t n_layers);
bool ranks_kv_create(KDevice *device, const KHeads *heads, size_t n_layers, size_t n_slots,
                     KKv **out, Err *err);
void ranks_kv_destroy(KKv *kv);
