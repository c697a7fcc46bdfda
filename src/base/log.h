// SPDX-License-Identifier: MIT
// Log lines go to the sink that cli installs; without one they vanish. Debug anywhere, info and
// warnings only from run and cli. Thread-safe once the sink is installed.
#pragma once

typedef enum LogLevel {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
} LogLevel;

typedef void LogSink(void *ctx, LogLevel level, const char *message);

void log_sink_set(LogSink *sink, void *ctx, LogLevel least);
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
