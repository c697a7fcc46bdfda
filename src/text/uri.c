// SPDX-License-Identifier: MIT
// References to URIs, RFC 3986 section 5.2, as far as JSON Schema needs them: nothing is normalized
// but dots in paths.
#include "text/json_schema_internal.h"

#include <ctype.h>
#include <string.h>

typedef struct Uri {
    Str scheme;    // with its colon
    Str authority; // with its slashes
    bool has_authority;
    Str path;
    Str query; // with its question mark
    Str fragment;
} Uri;

static size_t scheme_length(Str s)
{
    if (s.len == 0 || !isalpha((unsigned char)s.data[0])) {
        return 0;
    }
    for (size_t i = 1; i < s.len; i++) {
        char c = s.data[i];
        if (c == ':') {
            return i + 1;
        }
        if (!isalnum((unsigned char)c) && c != '+' && c != '-' && c != '.') {
            return 0;
        }
    }
    return 0;
}

/** Bytes of s before any of the stops. */
static size_t span(Str s, const char *stops)
{
    size_t n = 0;
    while (n < s.len && strchr(stops, s.data[n]) == NULL) {
        n++;
    }
    return n;
}

static Str take(Str *rest, size_t n)
{
    Str head = str_slice(*rest, 0, n);
    *rest = str_slice(*rest, n, rest->len);
    return head;
}

static Uri uri_parse(Str s)
{
    Uri uri = {.fragment = STR_EMPTY};
    Str rest;
    str_cut(s, STR("#"), &rest, &uri.fragment);
    if (rest.len == s.len) {
        uri.fragment = STR_EMPTY;
    }
    uri.scheme = take(&rest, scheme_length(rest));
    uri.has_authority = str_starts_with(rest, STR("//"));
    if (uri.has_authority) {
        Str after = str_slice(rest, 2, rest.len);
        uri.authority = take(&rest, 2 + span(after, "/?"));
    }
    uri.path = take(&rest, span(rest, "?"));
    uri.query = rest;
    return uri;
}

/** Section 5.2.4. */
static Str remove_dots(Arena *arena, Str path)
{
    char *out = arena_alloc(arena, path.len + 1, 1);
    size_t n = 0;
    Str in = path;
    while (in.len > 0) {
        if (str_starts_with(in, STR("../"))) {
            in = str_slice(in, 3, in.len);
        } else if (str_starts_with(in, STR("./")) || str_starts_with(in, STR("/./"))) {
            in = str_slice(in, 2, in.len);
        } else if (str_eq(in, STR("/."))) {
            in = STR("/");
        } else if (str_starts_with(in, STR("/../")) || str_eq(in, STR("/.."))) {
            in = in.len == 3 ? STR("/") : str_slice(in, 3, in.len);
            while (n > 0 && out[n - 1] != '/') {
                n--;
            }
            n -= n > 0;
        } else if (str_eq(in, STR(".")) || str_eq(in, STR(".."))) {
            break;
        } else {
            size_t from = in.data[0] == '/';
            size_t len = from + span(str_slice(in, from, in.len), "/");
            memcpy(out + n, in.data, len);
            n += len;
            in = str_slice(in, len, in.len);
        }
    }
    return (Str){out, n};
}

/** Section 5.2.3. */
static Str merge_paths(Arena *arena, const Uri *base, Str path)
{
    if (base->has_authority && base->path.len == 0) {
        return str_concat(arena, STR("/"), path);
    }
    size_t slash = str_find_last(base->path, STR("/"));
    Str folder = slash == STR_NONE ? STR_EMPTY : str_slice(base->path, 0, slash + 1);
    return str_concat(arena, folder, path);
}

Str uri_resolve(Arena *arena, Str base_text, Str ref_text, Str *out_fragment)
{
    Uri base = uri_parse(base_text);
    Uri ref = uri_parse(ref_text);
    Uri out = ref;
    *out_fragment = ref.fragment;
    if (ref.scheme.len == 0) {
        out.scheme = base.scheme;
        if (!ref.has_authority) {
            out.authority = base.authority;
            if (ref.path.len == 0) {
                out.path = base.path;
                out.query = ref.query.len > 0 ? ref.query : base.query;
            } else if (ref.path.data[0] != '/') {
                out.path = merge_paths(arena, &base, ref.path);
            }
        }
    }
    if (ref.path.len > 0) {
        out.path = remove_dots(arena, out.path);
    }
    return str_printf(arena, STR_FMT STR_FMT STR_FMT STR_FMT, STR_ARG(out.scheme),
                      STR_ARG(out.authority), STR_ARG(out.path), STR_ARG(out.query));
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    int low = tolower((unsigned char)c);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

Str uri_decode(Arena *arena, Str s)
{
    char *out = arena_alloc(arena, s.len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        bool coded = s.data[i] == '%' && i + 2 < s.len && hex_digit(s.data[i + 1]) >= 0 &&
                     hex_digit(s.data[i + 2]) >= 0;
        out[n++] =
            coded ? (char)(hex_digit(s.data[i + 1]) * 16 + hex_digit(s.data[i + 2])) : s.data[i];
        i += coded ? 2 : 0;
    }
    return (Str){out, n};
}
