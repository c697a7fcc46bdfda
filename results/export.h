// SPDX-License-Identifier: MIT
// An experiment in other programs' words: JSON Lines, CSV, a log of Inspect, recorded replies.
// Streams; nothing of it is held but the attempt at work.
#pragma once

#include "results/compare.h"

/** Takes the next bytes. fails  ERR_IO. */
typedef bool ExportSink(void *ctx, Str bytes, Err *err);

typedef struct ExportOptions {
    bool with_calls; // jsonl: requests and replies of every call too
    Str program;     // "muster 0.1.0"
    ExportSink *sink;
    void *ctx;
} ExportOptions;

typedef struct ExportFormat {
    const char *name;
    const char *help;
    const char *ending; // of its files, "jsonl"
    bool one_log;       // holds one eval, variant and model: see export_logs
    bool (*write)(Results *results, const Side *side, const ExportOptions *options, Err *err);
} ExportFormat;

/** NULL-terminated. */
extern const ExportFormat *const export_formats[];
const ExportFormat *export_format(Str name); // NULL: none

/**
 * A side cut into pieces of one eval, variant and model each, all parts together.
 * owns   *out in arena. */
void export_logs(Arena *arena, const Side *side, Side **out, size_t *out_n);
