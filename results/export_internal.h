// SPDX-License-Identifier: MIT
// What the exports share: a buffer before the sink.
#pragma once

#include "results/export.h"

/** Collects bytes and hands them on in large pieces. */
typedef struct ExportWriter {
    Buf buf;
    const ExportOptions *options;
    Err *err;
    bool failed;
} ExportWriter;

void export_begin(ExportWriter *writer, const ExportOptions *options, Err *err);
/** Hand on what has come together; call it now and then. False after a failure. */
bool export_flush(ExportWriter *writer, bool all);
/** Flush and free. ok: whether all went well so far. */
bool export_end(ExportWriter *writer, bool ok);
/** Visit the attempts of all runs of a side, in canonical order. */
bool export_visit(Results *results, const Side *side, bool with_calls, AttemptVisit *visit,
                  void *ctx, ExportWriter *writer, Err *err);

extern const ExportFormat export_jsonl;
extern const ExportFormat export_csv;
extern const ExportFormat export_inspect;
extern const ExportFormat export_replay;
