// SPDX-License-Identifier: MIT
// Reading one member of a zip archive in memory. Every offset and length is checked before use;
// what comes out is never longer than the archive declares.
#include "registry/zip.h"

#include <string.h>
#include <zlib.h>

#define END_SIGNATURE     0x06054b50u
#define END_BYTES         22u
#define CENTRAL_SIGNATURE 0x02014b50u
#define CENTRAL_BYTES     46u
#define LOCAL_SIGNATURE   0x04034b50u
#define LOCAL_BYTES       30u
#define COMMENT_MAX       65535u
#define METHOD_STORED     0
#define METHOD_DEFLATED   8
#define FLAG_ENCRYPTED    1u
#define PIECE_BYTES       ((size_t)1 << 16)

static uint32_t u16_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t u32_at(const uint8_t *p)
{
    return u16_at(p) | u16_at(p + 2) << 16;
}

/** The end record stands before a comment of unknown length: the last one that fits is it. */
static const uint8_t *find_end(const uint8_t *zip, size_t len)
{
    if (len < END_BYTES) {
        return NULL;
    }
    size_t lowest = len > END_BYTES + COMMENT_MAX ? len - END_BYTES - COMMENT_MAX : 0;
    for (size_t at = len - END_BYTES + 1; at-- > lowest;) {
        if (u32_at(zip + at) == END_SIGNATURE && u16_at(zip + at + 20) == len - at - END_BYTES) {
            return zip + at;
        }
    }
    return NULL;
}

static bool damaged(Err *err, const char *what)
{
    return ERR_SET(err, ERR_PARSE, "damaged zip archive: %s", what);
}

/** From a central record to the packed bytes; the local header only says how long itself is. */
static bool member_open(const uint8_t *zip, size_t len, const uint8_t *record, ZipMember *out,
                        Err *err)
{
    uint32_t flags = u16_at(record + 8), method = u16_at(record + 10);
    uint64_t packed = u32_at(record + 20), bytes = u32_at(record + 24),
             offset = u32_at(record + 42);
    if ((flags & FLAG_ENCRYPTED) != 0 || (method != METHOD_STORED && method != METHOD_DEFLATED) ||
        packed == UINT32_MAX || bytes == UINT32_MAX || offset == UINT32_MAX) {
        return ERR_SET(err, ERR_UNSUPPORTED,
                       "the zip member is encrypted, packed by method %u, or zip64", method);
    }
    if (offset > len || len - offset < LOCAL_BYTES || u32_at(zip + offset) != LOCAL_SIGNATURE) {
        return damaged(err, "no local header");
    }
    uint64_t start = offset + LOCAL_BYTES + u16_at(zip + offset + 26) + u16_at(zip + offset + 28);
    if (start > len || len - start < packed || (method == METHOD_STORED && packed != bytes)) {
        return damaged(err, "a member reaches past the end");
    }
    *out = (ZipMember){
        .data = zip + start,
        .packed_bytes = (size_t)packed,
        .bytes = bytes,
        .deflated = method == METHOD_DEFLATED,
    };
    return true;
}

bool zip_find(const uint8_t *zip, size_t len, Str name, ZipMember *out, Err *err)
{
    const uint8_t *end = find_end(zip, len);
    if (end == NULL) {
        return damaged(err, "no end record");
    }
    uint32_t n = u16_at(end + 10);
    uint64_t at = u32_at(end + 16);
    uint64_t limit = (uint64_t)(end - zip);
    for (uint32_t i = 0; i < n; i++) {
        if (at > limit || limit - at < CENTRAL_BYTES || u32_at(zip + at) != CENTRAL_SIGNATURE) {
            return damaged(err, "the directory is cut short");
        }
        const uint8_t *record = zip + at;
        uint64_t name_len = u16_at(record + 28);
        uint64_t size = CENTRAL_BYTES + name_len + u16_at(record + 30) + u16_at(record + 32);
        if (limit - at < size) {
            return damaged(err, "the directory is cut short");
        }
        if (str_eq(name, (Str){(const char *)record + CENTRAL_BYTES, (size_t)name_len})) {
            return member_open(zip, len, record, out, err);
        }
        at += size;
    }
    return ERR_SET(err, ERR_NOT_FOUND, "the archive has no member '" STR_FMT "'", STR_ARG(name));
}

static bool read_deflated(const ZipMember *member, z_stream *z, uint8_t *piece, ZipSink *sink,
                          void *ctx, Err *err)
{
    union {
        const uint8_t *in;
        Bytef *z; // zlib's next_in is not const in all builds
    } from = {.in = member->data};
    z->next_in = from.z;
    z->avail_in = (uInt)member->packed_bytes; // below 4 GiB: zip64 is refused
    uint64_t done = 0;
    int rc = Z_OK;
    while (rc == Z_OK) {
        z->next_out = piece;
        z->avail_out = (uInt)PIECE_BYTES;
        rc = inflate(z, Z_NO_FLUSH);
        size_t got = PIECE_BYTES - z->avail_out;
        done += got;
        if (done > member->bytes || (rc == Z_OK && got == 0)) {
            break;
        }
        if (got > 0 && !sink(ctx, piece, got, err)) {
            return false;
        }
    }
    return (rc == Z_STREAM_END && done == member->bytes) ||
           damaged(err, "a member does not inflate");
}

bool zip_read(const ZipMember *member, ZipSink *sink, void *ctx, Err *err)
{
    if (!member->deflated) {
        return member->bytes == 0 || sink(ctx, member->data, member->packed_bytes, err);
    }
    z_stream z = {0};
    if (inflateInit2(&z, -15) != Z_OK) {
        return ERR_SET(err, ERR_INTERNAL, "zlib does not start");
    }
    uint8_t *piece = mem_alloc(1, PIECE_BYTES);
    bool ok = read_deflated(member, &z, piece, sink, ctx, err);
    mem_free(piece);
    inflateEnd(&z);
    return ok;
}
