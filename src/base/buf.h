// SPDX-License-Identifier: MIT
// A growing byte buffer with a ceiling. Appending past the ceiling drops the bytes and sets
// `overflow`, which stays set: check it once at the end. Zeroed is valid, with a 64 MiB ceiling.
#pragma once

#include "base/str.h"

typedef struct Buf {
    char *data; // owned; NUL-terminated whenever not NULL
    size_t len;
    size_t cap;
    size_t limit_bytes; // 0 means 64 MiB
    bool overflow;
} Buf;

void buf_init(Buf *buf, size_t limit_bytes);
void buf_finish(Buf *buf);
void buf_clear(Buf *buf);
void buf_append(Buf *buf, const void *data, size_t len);
void buf_str(Buf *buf, Str s);
void buf_c(Buf *buf, const char *c_string);
void buf_char(Buf *buf, char c);
void buf_printf(Buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Make room for len more bytes and return where they go; NULL past the ceiling. Add to buf->len.
 */
char *buf_reserve(Buf *buf, size_t len);
Str buf_view(const Buf *buf); // borrows until the next append
