// SPDX-License-Identifier: MIT
// Run a trusted helper program (git, pip) and capture what it prints. Untrusted programs go through
// sandbox/, never through here.
#pragma once

#include "base/buf.h"
#include "base/err.h"

/**
 * Run argv (argv[0] sought in PATH, NULL-terminated), wait at most timeout_ms, capture stdout and
 * stderr (either may be NULL: discarded).
 * fails  ERR_NOT_FOUND when the program does not exist; ERR_TIMEOUT (it is killed). A non-zero
 *        exit is not a failure: see *out_status. */
bool process_run(const char *const *argv, int timeout_ms, Buf *out_stdout, Buf *out_stderr,
                 int *out_status, Err *err);
