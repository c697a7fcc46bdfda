// SPDX-License-Identifier: MIT
// Growth is by doubling up to the ceiling; once a byte was dropped nothing more is taken, so that a
// cut text is a prefix of the whole one.
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_BYTES ((size_t)64 * 1024 * 1024)

void buf_init(Buf *buf, size_t limit_bytes)
{
    *buf = (Buf){.limit_bytes = limit_bytes};
}

void buf_finish(Buf *buf)
{
    if (buf == NULL) {
        return;
    }
    mem_free(buf->data);
    *buf = (Buf){.limit_bytes = buf->limit_bytes};
}

void buf_clear(Buf *buf)
{
    buf->len = 0;
    buf->overflow = false;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

/** Make room for len more bytes and the NUL; false past the ceiling. */
static bool buf_grow(Buf *buf, size_t len)
{
    size_t limit = buf->limit_bytes > 0 ? buf->limit_bytes : LIMIT_BYTES;
    if (buf->overflow || len > limit || buf->len > limit - len) {
        buf->overflow = true;
        return false;
    }
    size_t need = buf->len + len + 1;
    if (need > buf->cap) {
        size_t cap = buf->cap > 0 ? buf->cap : 64;
        while (cap < need) {
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        }
        buf->data = mem_realloc(buf->data, cap, 1);
        buf->cap = cap;
    }
    return true;
}

void buf_append(Buf *buf, const void *data, size_t len)
{
    if (!buf_grow(buf, len)) {
        return;
    }
    if (len > 0) {
        memcpy(buf->data + buf->len, data, len);
    }
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_str(Buf *buf, Str s)
{
    buf_append(buf, s.data, s.len);
}

void buf_c(Buf *buf, const char *c_string)
{
    buf_append(buf, c_string, strlen(c_string));
}

void buf_char(Buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

void buf_printf(Buf *buf, const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = buf->cap > buf->len ? buf->cap - buf->len : 0;
    int len =
        buf->overflow ? -1 : vsnprintf(room > 0 ? buf->data + buf->len : NULL, room, format, args);
    va_end(args);
    if (len >= 0) {
        size_t limit = buf->limit_bytes > 0 ? buf->limit_bytes : LIMIT_BYTES;
        if ((size_t)len < room && buf->len + (size_t)len <= limit) {
            buf->len += (size_t)len;
        } else if (buf_grow(buf, (size_t)len)) {
            vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
            buf->len += (size_t)len;
        } else if (buf->data != NULL) {
            buf->data[buf->len] = '\0'; // the first try may have written there
        }
    }
    va_end(again);
}

char *buf_reserve(Buf *buf, size_t len)
{
    if (!buf_grow(buf, len)) {
        return NULL;
    }
    return memset(buf->data + buf->len, 0, len + 1);
}

Str buf_view(const Buf *buf)
{
    return buf->data == NULL ? STR_EMPTY : (Str){buf->data, buf->len};
}
