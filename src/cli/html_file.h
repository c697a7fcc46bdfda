// SPDX-License-Identifier: MIT
// A report as one HTML file, for the commands that make one.
#pragma once

#include "results/html.h"

#include "cli/cli.h"

/** samples: "" the usual, a number, or "all". fails  ERR_USAGE. */
bool cli_html_options(Cli *cli, Str samples, HtmlOptions *out, Err *err);
/** A buffer as large as the largest report. */
Buf cli_html_buf(void);
/** To a file, or to stdout when path is "-" or "". fails  ERR_IO. */
bool cli_html_write(const Cli *cli, Str path, const Buf *page, Err *err);
