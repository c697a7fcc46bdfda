// SPDX-License-Identifier: MIT
// The one place where text becomes HTML, and numbers become text. Model output is hostile: what
// acts on a reader's eyes (control characters, bidirectional overrides) becomes visible escapes,
// then markup becomes entities.
#include "results/html_internal.h"

#include "text/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DASH "\u2013"

static void put_entities(Buf *buf, Str text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *entity = NULL;
        switch (text.data[i]) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '"':
            entity = "&quot;";
            break;
        case '\'':
            entity = "&#39;";
            break;
        default:
            continue;
        }
        buf_append(buf, text.data + from, i - from);
        buf_c(buf, entity);
        from = i + 1;
    }
    buf_append(buf, text.data + from, text.len - from);
}

static void put_text(Buf *buf, Str text, bool multiline)
{
    Buf clean = {0};
    report_text(&clean, text, multiline);
    put_entities(buf, buf_view(&clean));
    buf_finish(&clean);
}

void html_text(Buf *buf, Str text)
{
    put_text(buf, text, false);
}

void html_lines(Buf *buf, Str text)
{
    put_text(buf, text, true);
}

void html_json(Buf *buf, const Value *value)
{
    // '<' can stand in strings only, so its escape is always right; without it neither the end of
    // the script element nor a comment can be written.
    Buf json = {.limit_bytes = buf->limit_bytes};
    json_write(&json, value, JSON_COMPACT);
    size_t from = 0;
    for (size_t i = 0; i < json.len; i++) {
        if (json.data[i] == '<') {
            buf_append(buf, json.data + from, i - from);
            buf_c(buf, "\\u003c");
            from = i + 1;
        }
    }
    buf_append(buf, json.len > 0 ? json.data + from : "", json.len - from);
    buf->overflow |= json.overflow;
    buf_finish(&json);
}

void html_element(Buf *buf, const char *tag, const char *class_name, Str text)
{
    buf_printf(buf, "<%s", tag);
    if (class_name != NULL) {
        buf_printf(buf, " class=\"%s\"", class_name);
    }
    buf_char(buf, '>');
    html_text(buf, text);
    buf_printf(buf, "</%s>", tag);
}

// ---- Numbers ------------------------------------------------------------------------------------

static int decimals_of(double d)
{
    d = fabs(d);
    return d < 10 ? 3 : d < 100 ? 2 : d < 1000 ? 1 : 0;
}

void html_number(Buf *buf, double d)
{
    if (!isfinite(d)) {
        buf_c(buf, isnan(d) ? DASH : d > 0 ? "\u221e" : "\u2212\u221e");
        return;
    }
    char text[400];
    if (fabs(d) >= 1e9 || (d != 0 && fabs(d) < 5e-4)) {
        snprintf(text, sizeof(text), "%.2e", fabs(d));
    } else {
        snprintf(text, sizeof(text), "%.*f", decimals_of(d), fabs(d));
    }
    buf_printf(buf, "%s%s", d < 0 ? "\u2212" : "", text);
}

void html_signed(Buf *buf, double d)
{
    buf_c(buf, d >= 0 ? "+" : "");
    html_number(buf, d);
}

void html_interval(Buf *buf, double low, double high)
{
    if (isnan(low) || isnan(high)) {
        buf_c(buf, DASH);
        return;
    }
    buf_char(buf, '[');
    html_number(buf, low);
    buf_c(buf, ", ");
    html_number(buf, high);
    buf_char(buf, ']');
}

void html_count(Buf *buf, int64_t n)
{
    char digits[32];
    int len = snprintf(digits, sizeof(digits), "%lld", (long long)n);
    int first = digits[0] == '-' ? 1 : 0;
    for (int i = 0; i < len; i++) {
        if (len - first > 4 && i > first && (len - i) % 3 == 0) {
            buf_c(buf, "\u202f"); // a narrow space that does not break
        }
        buf_char(buf, digits[i]);
    }
}

void html_seconds(Buf *buf, double seconds)
{
    if (!isfinite(seconds)) {
        buf_c(buf, DASH);
    } else if (seconds < 0.9995) {
        buf_printf(buf, "%.0f\u00a0ms", seconds * 1e3);
    } else {
        buf_printf(buf, "%.*f\u00a0s", seconds < 10 ? 2 : seconds < 100 ? 1 : 0, seconds);
    }
}

void html_cost(Buf *buf, double usd)
{
    if (!isfinite(usd)) {
        buf_c(buf, "unknown");
    } else if (usd == 0) {
        buf_c(buf, "$0");
    } else {
        buf_printf(buf, "$%.*f", usd < 0.01 ? 6 : usd < 1 ? 4 : 2, usd);
    }
}

void html_p(Buf *buf, double p)
{
    if (!isfinite(p)) {
        buf_c(buf, DASH);
    } else if (p < 1e-4) {
        buf_c(buf, "&lt; 0.0001");
    } else {
        buf_printf(buf, "%.*f", p < 0.01 ? 4 : 3, p);
    }
}

// ---- Hashes -------------------------------------------------------------------------------------

void html_csp_hash(Buf *buf, Str text)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    Hash hash = sha256_of(text);
    buf_c(buf, "sha256-");
    for (size_t i = 0; i < sizeof(hash.bytes); i += 3) {
        size_t left = sizeof(hash.bytes) - i;
        uint32_t three = (uint32_t)hash.bytes[i] << 16;
        three |= left > 1 ? (uint32_t)hash.bytes[i + 1] << 8 : 0;
        three |= left > 2 ? hash.bytes[i + 2] : 0;
        buf_char(buf, alphabet[three >> 18]);
        buf_char(buf, alphabet[(three >> 12) & 63]);
        buf_char(buf, left > 1 ? alphabet[(three >> 6) & 63] : '=');
        buf_char(buf, left > 2 ? alphabet[three & 63] : '=');
    }
}
