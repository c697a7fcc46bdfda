// SPDX-License-Identifier: MIT
// The sink is set once, before threads start; afterwards this only reads.
#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define LINE_MAX_BYTES 4096

static struct {
    LogSink *sink;
    void *ctx;
    LogLevel least;
} installed;

void log_sink_set(LogSink *sink, void *ctx, LogLevel least)
{
    installed.sink = sink;
    installed.ctx = ctx;
    installed.least = least;
}

static void log_line(LogLevel level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void log_line(LogLevel level, const char *format, va_list args)
{
    if (installed.sink == NULL || level < installed.least) {
        return;
    }
    char line[LINE_MAX_BYTES];
    if (vsnprintf(line, sizeof line, format, args) >= 0) {
        installed.sink(installed.ctx, level, line);
    }
}

void log_debug(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line(LOG_DEBUG, format, args);
    va_end(args);
}

void log_info(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line(LOG_INFO, format, args);
    va_end(args);
}

void log_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line(LOG_WARN, format, args);
    va_end(args);
}
