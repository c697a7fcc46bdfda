// SPDX-License-Identifier: MIT
// Just enough of zip (APPNOTE 6.3) to take one file out of a Python wheel: stored or deflated
// members of an archive of one volume, no encryption, no zip64. The archive is hostile input.
#pragma once

#include "base/base.h"

typedef struct ZipMember {
    const uint8_t *data; // packed bytes, inside the archive
    size_t packed_bytes;
    uint64_t bytes; // as declared
    bool deflated;
} ZipMember;

/**
 * Find a member by its exact name in an archive in memory.
 * fails  ERR_PARSE for a damaged archive, ERR_NOT_FOUND, ERR_UNSUPPORTED. */
bool zip_find(const uint8_t *zip, size_t len, Str name, ZipMember *out, Err *err);

/**
 * Hand a member's bytes to sink, piece by piece.
 * fails  ERR_PARSE when it is damaged or not as long as declared; what the sink fails with. */
typedef bool ZipSink(void *ctx, const uint8_t *data, size_t len, Err *err);
bool zip_read(const ZipMember *member, ZipSink *sink, void *ctx, Err *err);
