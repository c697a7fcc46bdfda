// SPDX-License-Identifier: MIT
// The page around a report: a policy that lets nothing but our own style and script act, the
// data, and small parts that all reports share.
#include "results/html_internal.h"

#include "base/embedded.h"
#include "text/text.h"

#include <assert.h>
#include <string.h>

extern const EmbeddedFile results_html[];

static Str embedded(const char *name)
{
    for (const EmbeddedFile *file = results_html; file->name != NULL; file++) {
        if (strcmp(file->name, name) == 0) {
            return (Str){file->data, file->len};
        }
    }
    assert(!"an embedded file");
    return STR_EMPTY;
}

void html_page_begin(Buf *buf, Str title, const char *kind)
{
    Str style = embedded("report.css");
    html_raw(buf, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "style-src '");
    html_csp_hash(buf, style);
    html_raw(buf, "'; script-src '");
    html_csp_hash(buf, embedded("report.js"));
    html_raw(buf, "'; base-uri 'none'; form-action 'none'\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n"
                  "<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    html_text(buf, title);
    html_raw(buf, "</title>\n<style>");
    buf_str(buf, style);
    buf_printf(buf, "</style>\n</head>\n<body class=\"%s\">\n", kind);
}

bool html_page_end(Buf *buf, const Buf *data, const HtmlOptions *options, Err *err)
{
    html_raw(buf, "<footer><p>Made by ");
    html_text(buf, options->program.len > 0 ? options->program : STR("muster"));
    html_raw(buf, ". One file, complete in itself: nothing is fetched, nothing is sent.</p>"
                  "</footer>\n");
    if (data != NULL) {
        html_raw(buf, "<script type=\"application/json\" id=\"data\">");
        buf_str(buf, buf_view(data));
        html_raw(buf, "</script>\n");
    }
    html_raw(buf, "<script>");
    buf_str(buf, embedded("report.js"));
    html_raw(buf, "</script>\n</body>\n</html>\n");
    if (buf->overflow || (data != NULL && data->overflow)) {
        size_t limit = buf->limit_bytes > 0 ? buf->limit_bytes : (size_t)64 << 20;
        return ERR_SET(err, ERR_LIMIT,
                       "the report is larger than %zu MB: embed fewer transcripts (--samples N)",
                       limit >> 20);
    }
    return true;
}

void html_section(Buf *buf, const char *id, const char *title)
{
    buf_printf(buf, "<h2 id=\"%s\">%s</h2>\n", id, title);
}

void html_table_begin(Buf *buf, const char *class_name, const char *label_prefix, Str label)
{
    buf_printf(buf, "<div class=\"scroll\"><table class=\"%s\" aria-label=\"%s", class_name,
               label_prefix);
    html_text(buf, label);
    html_raw(buf, "\">\n");
}

void html_table_end(Buf *buf)
{
    html_raw(buf, "</table></div>\n");
}

void html_table_head(Buf *buf, const char *columns)
{
    html_raw(buf, "<thead><tr>");
    Str rest = str_from_c(columns);
    Str title;
    bool more = true;
    while (more) {
        more = str_cut(rest, STR("|"), &title, &rest);
        char first = title.len > 0 ? title.data[0] : '\0';
        bool marked = first == '>' || first == '=';
        buf_printf(buf, "<th scope=\"col\"%s>",
                   first == '>'   ? " class=\"r\""
                   : first == '=' ? " class=\"plot\""
                                  : "");
        html_text(buf, marked ? str_slice(title, 1, title.len) : title);
        html_raw(buf, "</th>");
    }
    html_raw(buf, "</tr></thead>\n");
}

/** A list of texts as words, for command lines; false for other lists. */
static bool put_words(Buf *buf, const Value *list)
{
    for (size_t i = 0; i < list->as.list.n; i++) {
        if (list->as.list.items[i].kind != VALUE_STR) {
            return false;
        }
    }
    for (size_t i = 0; i < list->as.list.n; i++) {
        html_raw(buf, i > 0 ? " " : "");
        html_text(buf, list->as.list.items[i].as.str);
    }
    return true;
}

static void put_value(Buf *buf, const Value *value)
{
    if (value->kind == VALUE_STR) {
        html_text(buf, value->as.str);
    } else if (value->kind == VALUE_INT) {
        buf_printf(buf, "%lld", (long long)value->as.integer);
    } else if (value->kind != VALUE_LIST || !put_words(buf, value)) {
        Buf json = {0};
        json_write(&json, value, JSON_SPACED);
        html_text(buf, buf_view(&json));
        buf_finish(&json);
    }
}

void html_map_rows(Buf *buf, const Value *map, Str prefix)
{
    for (size_t i = 0; map->kind == VALUE_MAP && i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        if (pair->value.kind == VALUE_NULL) {
            continue;
        }
        Buf name = {0};
        buf_str(&name, prefix);
        buf_c(&name, prefix.len > 0 ? "." : "");
        buf_str(&name, pair->key);
        if (pair->value.kind == VALUE_MAP) {
            html_map_rows(buf, &pair->value, buf_view(&name));
        } else {
            html_raw(buf, "<tr><th scope=\"row\">");
            html_text(buf, buf_view(&name));
            html_raw(buf, "</th><td>");
            put_value(buf, &pair->value);
            html_raw(buf, "</td></tr>\n");
        }
        buf_finish(&name);
    }
}

void html_browser(Buf *buf, const char *what)
{
    buf_printf(buf,
               "<div id=\"browser\" class=\"browser\" data-what=\"%s\"><p class=\"note\">Browsing "
               "them needs JavaScript. They lie in this file as JSON, in its element "
               "<code>data</code>; <code>muster show</code> prints them too.</p></div>\n",
               what);
}
