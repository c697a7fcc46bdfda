// SPDX-License-Identifier: MIT
// Where HTML reports go, and how much of an experiment is in them.
#include "cli/html_file.h"

#define PAGE_MAX ((size_t)1 << 30) // bytes: browsers do not open more

bool cli_html_options(Cli *cli, Str samples, HtmlOptions *out, Err *err)
{
    *out = (HtmlOptions){.samples = HTML_SAMPLES,
                         .program = str_concat(&cli->arena, STR("muster "), cli_version())};
    if (str_eq(samples, STR("all"))) {
        out->samples = HTML_ALL;
        return true;
    }
    return samples.len == 0 || (str_to_i64(samples, &out->samples) && out->samples >= 0) ||
           ERR_SET(err, ERR_USAGE, "--samples wants a number or 'all', not '" STR_FMT "'",
                   STR_ARG(samples));
}

Buf cli_html_buf(void)
{
    return (Buf){.limit_bytes = PAGE_MAX};
}

bool cli_html_write(const Cli *cli, Str path, const Buf *page, Err *err)
{
    if (path.len == 0 || str_eq(path, STR("-"))) {
        return fwrite(page->data, 1, page->len, stdout) == page->len ||
               ERR_SET_ERRNO(err, "stdout");
    }
    if (!file_write_atomic(path, buf_view(page), err)) {
        return ERR_WRAP(err, "can not write the report");
    }
    if (!cli->global.quiet) {
        fprintf(stderr, STR_FMT ", %.1f MB\n", STR_ARG(path), (double)page->len / 1e6);
    }
    return true;
}
