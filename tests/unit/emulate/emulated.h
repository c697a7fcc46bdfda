// SPDX-License-Identifier: MIT
// What the tests of the emulator share: memory of the device, and a child process for what ends
// one.
#pragma once

#include "kernels/cuda/gpu.cuh"

#include "kernels/emulate/control.h"

extern "C" {
#include "../tap.h"
}

#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define RACE 1
#else
#define RACE 0
#endif
#ifdef __SANITIZE_ADDRESS__
#define ASAN 1
#else
#define ASAN 0
#endif

static inline void emulate_as(uint64_t seed, bool lazy)
{
    EmulateOptions options = {seed, lazy, false, 1, 0, 0};
    emulate_configure(&options);
}

/** Device memory with n copied in; NULL: not initialised. */
template <typename T> static inline T *device_of(const T *from, size_t n)
{
    void *at = NULL;
    CHECK_INT(gpu_malloc(&at, n * sizeof(T)), GPU_OK);
    if (from != NULL) {
        CHECK_INT(gpu_copy_h2d_async(at, from, n * sizeof(T), NULL), GPU_OK);
    }
    return (T *)at;
}

/** Copy to the host and free. */
template <typename T> static inline GpuError device_take(T *from, T *to, size_t n)
{
    GpuError e = gpu_copy_d2h_async(to, from, n * sizeof(T), NULL);
    GpuError f = gpu_free(from);
    return e != GPU_OK ? e : f;
}

/** Run in a child; what it said on stderr. Returns its wait status. */
static inline int in_child(void (*run)(void), char *text, size_t size)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0) {
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        dup2(ends[1], 1);
        run();
        fflush(NULL);
        _exit(0);
    }
    close(ends[1]);
    size_t at = 0;
    ssize_t n;
    while ((n = read(ends[0], text + at, size - 1 - at)) > 0) {
        at += (size_t)n;
    }
    text[at] = '\0';
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

#define CHECK_CONTAINS(text, part)                                                                 \
    do {                                                                                           \
        const char *check_text = (text);                                                           \
        if (check_text == NULL || strstr(check_text, (part)) == NULL) {                            \
            tap_checks_failed++;                                                                   \
            printf("# %s:%d: \"%s\" is not in \"%s\"\n", __FILE__, __LINE__, (part),               \
                   check_text != NULL ? check_text : "(null)");                                    \
        }                                                                                          \
    } while (0)
