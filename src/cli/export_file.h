// SPDX-License-Identifier: MIT
// Exports to files, for the verbs that write some.
#pragma once

#include "results/export.h"

/**
 * Write an export beside path, then rename it over: the file is the old one or whole.
 * in     of options, the sink is this function's own. fails  ERR_IO; as the format's write. */
bool cli_export_file(Results *results, const Side *side, const ExportFormat *format,
                     const ExportOptions *options, Str path, Err *err);
