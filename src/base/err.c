// SPDX-License-Identifier: MIT
// Errors are plain data; formatting never fails, it truncates.
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const code_words[] = {
#define X(name, word) [ERR_##name] = (word),
#include "base/err.def"
#undef X
};
_Static_assert(sizeof code_words / sizeof code_words[0] == ERR_CODE_COUNT, "a word for each code");

static void frame_add(Err *err, const char *file, int line, const char *func)
{
    if (err->n_frames < ERR_FRAMES_MAX) {
        err->frames[err->n_frames++] = (ErrFrame){.file = file, .func = func, .line = line};
    }
}

/** Keep a message of len bytes that was cut valid UTF-8: drop an unfinished last character. */
static void drop_cut_character(char *message, size_t len)
{
    size_t lead = len;
    do {
        lead--;
    } while (lead > 0 && len - lead < 4 && ((unsigned char)message[lead] & 0xC0) == 0x80);
    unsigned char byte = (unsigned char)message[lead];
    size_t want = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    if (len - lead < want) {
        message[lead] = '\0';
    }
}

static void message_format(Err *err, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void message_format(Err *err, const char *format, va_list args)
{
    int len = vsnprintf(err->message, sizeof err->message, format, args);
    if (len < 0) {
        err->message[0] = '\0';
    } else if ((size_t)len >= sizeof err->message) {
        drop_cut_character(err->message, sizeof err->message - 1);
    }
}

static void err_start(Err *err, ErrCode code, int sys_errno, const char *file, int line,
                      const char *func)
{
    assert(code > ERR_NONE && code < ERR_CODE_COUNT);
    err->code = code;
    err->sys_errno = sys_errno;
    err->n_frames = 0;
    frame_add(err, file, line, func);
}

bool err_set(Err *err, ErrCode code, const char *file, int line, const char *func,
             const char *format, ...)
{
    int saved_errno = errno;
    err_start(err, code, saved_errno, file, line, func);
    va_list args;
    va_start(args, format);
    message_format(err, format, args);
    va_end(args);
    return false;
}

/** strerror_r in its GNU form: the text may lie in buffer or elsewhere. */
static const char *errno_text(int number, char *buffer, size_t size)
{
    return strerror_r(number, buffer, size);
}

bool err_set_errno(Err *err, const char *file, int line, const char *func, const char *format, ...)
{
    int saved_errno = errno;
    err_start(err, ERR_IO, saved_errno, file, line, func);
    va_list args;
    va_start(args, format);
    message_format(err, format, args);
    va_end(args);
    char buffer[128];
    const char *text = errno_text(saved_errno, buffer, sizeof buffer);
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used, ": %s", text);
    return false;
}

bool err_wrap(Err *err, const char *file, int line, const char *func, const char *format, ...)
{
    assert(err->code != ERR_NONE && "only a filled error can be wrapped");
    char cause[ERR_MESSAGE_MAX];
    memcpy(cause, err->message, sizeof cause);
    frame_add(err, file, line, func);
    va_list args;
    va_start(args, format);
    message_format(err, format, args);
    va_end(args);
    size_t used = strlen(err->message);
    int len = snprintf(err->message + used, sizeof err->message - used, ": %s", cause);
    if (len >= 0 && used + (size_t)len >= sizeof err->message) {
        drop_cut_character(err->message, sizeof err->message - 1);
    }
    return false;
}

const char *err_code_word(ErrCode code)
{
    return (unsigned)code < ERR_CODE_COUNT ? code_words[code] : "internal";
}

ErrCode err_code_from_word(const char *word)
{
    for (int code = ERR_NONE; code < ERR_CODE_COUNT; code++) {
        if (strcmp(word, code_words[code]) == 0) {
            return (ErrCode)code;
        }
    }
    return ERR_INTERNAL;
}
