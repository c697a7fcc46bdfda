// SPDX-License-Identifier: MIT
// Errors as values: a code, one message for people, and the frames it passed through.
// Functions that can fail are `bool f(..., Err *err)`: false means *err is filled, true means it
// was not touched. `err` is never NULL. Nothing here prints; cli prints an error once.
#pragma once

#include <stdbool.h>

#define ERR_MESSAGE_MAX 2048
#define ERR_FRAMES_MAX  8

typedef enum ErrCode {
#define X(name, word) ERR_##name,
#include "base/err.def"
#undef X
    ERR_CODE_COUNT
} ErrCode;

/** One place an error was set in or passed through. */
typedef struct ErrFrame {
    const char *file;
    const char *func;
    int line;
} ErrFrame;

/** An error; zeroed (or ERR_INIT) means none. Plain data: copy it by assignment. */
typedef struct Err {
    ErrCode code;
    int sys_errno; // errno when the error was set, else 0
    int n_frames;
    ErrFrame frames[ERR_FRAMES_MAX];
    char message[ERR_MESSAGE_MAX]; // context: context: cause
} Err;

#define ERR_INIT                                                                                   \
    {                                                                                              \
        .code = ERR_NONE                                                                           \
    }
#define SRC_HERE __FILE__, __LINE__, __func__

/** Fill *err with code and message (errno is captured first); always returns false. */
#define ERR_SET(err, code, ...) err_set((err), (code), SRC_HERE, __VA_ARGS__)
/** As ERR_SET with ERR_IO, appending ": strerror(errno)". */
#define ERR_SET_ERRNO(err, ...) err_set_errno((err), SRC_HERE, __VA_ARGS__)
/** Put "context: " before the message and add a frame; the code is kept; always returns false. */
#define ERR_WRAP(err, ...) err_wrap((err), SRC_HERE, __VA_ARGS__)

bool err_set(Err *err, ErrCode code, const char *file, int line, const char *func,
             const char *format, ...) __attribute__((format(printf, 6, 7)));
bool err_set_errno(Err *err, const char *file, int line, const char *func, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
bool err_wrap(Err *err, const char *file, int line, const char *func, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/** The word of a code as in err.def, e.g. "parse". */
const char *err_code_word(ErrCode code);

/** The code whose word this is; ERR_INTERNAL for an unknown word. */
ErrCode err_code_from_word(const char *word);
