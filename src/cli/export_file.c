// SPDX-License-Identifier: MIT
// An export streamed into a file that takes its name when it is whole.
#include "cli/export_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static bool fd_sink(void *ctx, Str bytes, Err *err)
{
    const int *fd = ctx;
    while (bytes.len > 0) {
        ssize_t n = write(*fd, bytes.data, bytes.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ERR_SET_ERRNO(err, "write");
        }
        bytes = str_slice(bytes, (size_t)n, bytes.len);
    }
    return true;
}

bool cli_export_file(Results *results, const Side *side, const ExportFormat *format,
                     const ExportOptions *options, Str path, Err *err)
{
    Arena arena = {0};
    const char *name = str_to_c(&arena, path);
    const char *part =
        str_to_c(&arena, str_printf(&arena, STR_FMT ".part-%ld", STR_ARG(path), (long)getpid()));
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        ERR_SET_ERRNO(err, "'%s'", part);
        arena_finish(&arena);
        return false;
    }
    ExportOptions own = *options;
    own.sink = fd_sink;
    own.ctx = &fd;
    bool ok = format->write(results, side, &own, err);
    if (ok && fsync(fd) != 0) {
        ok = ERR_SET_ERRNO(err, "'%s'", part);
    }
    close(fd);
    if (ok && rename(part, name) != 0) {
        ok = ERR_SET_ERRNO(err, "'%s'", name);
    }
    if (!ok) {
        unlink(part);
        ERR_WRAP(err, "export to '%s'", name);
    }
    arena_finish(&arena);
    return ok;
}
