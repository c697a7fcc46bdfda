// SPDX-License-Identifier: MIT
// The formats of JSON Schema 2020-12 by the documents it names: RFC 3339 (dates and times,
// durations by its appendix A), RFC 5321 (e-mail), RFC 1123 (host names), RFC 2673 and RFC 4291
// (addresses), RFC 3986 and 3987 (URIs, IRIs), RFC 4122 (UUIDs), RFC 6901 (pointers), ECMA-262
// (patterns). Not known, and so never wrong: idn-email, idn-hostname, uri-template.
#include "text/json_schema_internal.h"

#include <ctype.h>
#include <string.h>

/** A text being read; every reader moves `at` over what it takes. */
typedef struct Scan {
    Str s;
    size_t at;
} Scan;

static char peek(const Scan *scan)
{
    return scan->at < scan->s.len ? scan->s.data[scan->at] : '\0';
}

static bool at_end(const Scan *scan)
{
    return scan->at == scan->s.len;
}

static bool take(Scan *scan, char c)
{
    bool there = !at_end(scan) && scan->s.data[scan->at] == c;
    scan->at += there;
    return there;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/** Exactly n digits as a number. */
static bool take_digits(Scan *scan, size_t n, int *out)
{
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(peek(scan))) {
            return false;
        }
        value = value * 10 + (scan->s.data[scan->at++] - '0');
    }
    *out = value;
    return true;
}

// ---- Dates and times ----------------------------------------------------------------------------

static bool take_date(Scan *scan)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year;
    int month;
    int day;
    if (!take_digits(scan, 4, &year) || !take(scan, '-') || !take_digits(scan, 2, &month) ||
        !take(scan, '-') || !take_digits(scan, 2, &day) || month < 1 || month > 12 || day < 1) {
        return false;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && leap);
}

static bool take_time(Scan *scan)
{
    int hour;
    int minute;
    int second;
    if (!take_digits(scan, 2, &hour) || !take(scan, ':') || !take_digits(scan, 2, &minute) ||
        !take(scan, ':') || !take_digits(scan, 2, &second)) {
        return false;
    }
    if (take(scan, '.')) {
        if (!is_digit(peek(scan))) {
            return false;
        }
        while (is_digit(peek(scan))) {
            scan->at++;
        }
    }
    int offset = 0;
    char sign = peek(scan);
    if (sign == '+' || sign == '-') {
        int hours;
        int minutes;
        scan->at++;
        if (!take_digits(scan, 2, &hours) || !take(scan, ':') || !take_digits(scan, 2, &minutes) ||
            hours > 23 || minutes > 59) {
            return false;
        }
        offset = (hours * 60 + minutes) * (sign == '+' ? 1 : -1);
    } else if (!take(scan, 'Z') && !take(scan, 'z')) {
        return false;
    }
    int utc = (hour * 60 + minute - offset + 2 * 1440) % 1440;
    bool leap = second == 60 && utc == 23 * 60 + 59; // leap seconds end a day in UTC
    return hour <= 23 && minute <= 59 && (second <= 59 || leap);
}

static bool is_date(Str s)
{
    Scan scan = {.s = s};
    return take_date(&scan) && at_end(&scan);
}

static bool is_time(Str s)
{
    Scan scan = {.s = s};
    return take_time(&scan) && at_end(&scan);
}

static bool is_date_time(Str s)
{
    Scan scan = {.s = s};
    return take_date(&scan) && (take(&scan, 'T') || take(&scan, 't')) && take_time(&scan) &&
           at_end(&scan);
}

/** Parts like 3Y6M, units in order, with no gaps inside a group; how many were there. */
static int take_parts(Scan *scan, const char *units)
{
    int n = 0;
    const char *next = units;
    while (is_digit(peek(scan))) {
        while (is_digit(peek(scan))) {
            scan->at++;
        }
        const char *unit = at_end(scan) ? NULL : strchr(next, peek(scan));
        if (unit == NULL || (n > 0 && unit != next)) {
            return -1;
        }
        scan->at++;
        next = unit + 1;
        n++;
    }
    return n;
}

static bool is_duration(Str s)
{
    Scan scan = {.s = s};
    if (!take(&scan, 'P')) {
        return false;
    }
    Scan weeks = scan;
    if (take_parts(&weeks, "W") == 1 && at_end(&weeks)) {
        return true;
    }
    int days = take_parts(&scan, "YMD");
    if (days < 0) {
        return false;
    }
    if (take(&scan, 'T')) {
        return take_parts(&scan, "HMS") > 0 && at_end(&scan);
    }
    return days > 0 && at_end(&scan);
}

// ---- Addresses ----------------------------------------------------------------------------------

static bool take_ipv4(Scan *scan)
{
    for (int i = 0; i < 4; i++) {
        size_t from = scan->at;
        int value = 0;
        while (is_digit(peek(scan)) && scan->at - from < 4) {
            value = value * 10 + (scan->s.data[scan->at++] - '0');
        }
        size_t n = scan->at - from;
        bool zero = n > 1 && scan->s.data[from] == '0';
        if (n == 0 || n > 3 || zero || value > 255 || (i < 3 && !take(scan, '.'))) {
            return false;
        }
    }
    return true;
}

static bool is_ipv4(Str s)
{
    Scan scan = {.s = s};
    return take_ipv4(&scan) && at_end(&scan);
}

static bool is_ipv6(Str s)
{
    Scan scan = {.s = s};
    int groups = 0;
    bool gap = false;
    if (str_starts_with(s, STR("::"))) {
        gap = true;
        scan.at = 2;
    }
    while (!at_end(&scan)) {
        Scan four = scan;
        if (take_ipv4(&four) && at_end(&four)) {
            groups += 2;
            scan = four;
            break;
        }
        size_t from = scan.at;
        while (isxdigit((unsigned char)peek(&scan)) && scan.at - from < 5) {
            scan.at++;
        }
        if (scan.at == from || scan.at - from > 4) {
            return false;
        }
        groups++;
        if (at_end(&scan)) {
            break;
        }
        if (!take(&scan, ':')) {
            return false;
        }
        if (take(&scan, ':')) {
            if (gap) {
                return false;
            }
            gap = true;
        } else if (at_end(&scan)) {
            return false;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

static bool is_hostname(Str s)
{
    if (s.len == 0 || s.len > 253) {
        return false;
    }
    Str rest = s;
    Str label;
    bool more = true;
    while (more) {
        more = str_cut(rest, STR("."), &label, &rest);
        if (label.len == 0 || label.len > 63 || label.data[0] == '-' ||
            label.data[label.len - 1] == '-') {
            return false;
        }
        bool coded = label.len >= 4 && label.data[2] == '-' && label.data[3] == '-';
        if (coded && !str_starts_with(label, STR("xn--"))) {
            return false;
        }
        for (size_t i = 0; i < label.len; i++) {
            if (!isalnum((unsigned char)label.data[i]) && label.data[i] != '-') {
                return false;
            }
        }
    }
    return true;
}

/** RFC 5321's dot-string or quoted string. */
static bool is_local_part(Str s)
{
    bool quoted = s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"';
    if (s.len == 0 || s.len > 64) {
        return false;
    }
    for (size_t i = quoted; quoted && i + 1 < s.len; i++) {
        char c = s.data[i];
        if (c == '"' || (unsigned char)c < 32 || (unsigned char)c > 126 ||
            (c == '\\' && ++i + 1 >= s.len)) {
            return false;
        }
    }
    for (size_t i = 0; !quoted && i < s.len; i++) {
        char c = s.data[i];
        bool dot = c == '.' && i > 0 && i + 1 < s.len && s.data[i + 1] != '.';
        if (!dot && !isalnum((unsigned char)c) &&
            (c == '\0' || strchr("!#$%&'*+-/=?^_`{|}~", c) == NULL)) {
            return false;
        }
    }
    return true;
}

static bool is_email(Str s)
{
    size_t at = str_find_last(s, STR("@"));
    if (at == STR_NONE || !is_local_part(str_slice(s, 0, at))) {
        return false;
    }
    Str domain = str_slice(s, at + 1, s.len);
    if (str_starts_with(domain, STR("[IPv6:")) && str_ends_with(domain, STR("]"))) {
        return is_ipv6(str_slice(domain, 6, domain.len - 1));
    }
    if (str_starts_with(domain, STR("[")) && str_ends_with(domain, STR("]"))) {
        return is_ipv4(str_slice(domain, 1, domain.len - 1));
    }
    return is_hostname(domain);
}

// ---- URIs ---------------------------------------------------------------------------------------

/** Characters of a part of a URI; an IRI's may go beyond ASCII. */
static bool uri_characters(Str s, const char *more, bool iri)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c == '%') {
            if (i + 2 >= s.len || !isxdigit((unsigned char)s.data[i + 1]) ||
                !isxdigit((unsigned char)s.data[i + 2])) {
                return false;
            }
            i += 2;
        } else if ((unsigned char)c >= 0x80
                       ? !iri
                       : !isalnum((unsigned char)c) &&
                             (c == '\0' ||
                              (strchr("-._~!$&'()*+,;=", c) == NULL && strchr(more, c) == NULL))) {
            return false;
        }
    }
    return true;
}

static bool is_authority(Str s, bool iri)
{
    size_t at = str_find(s, STR("@"), 0);
    Str host = at == STR_NONE ? s : str_slice(s, at + 1, s.len);
    if (at != STR_NONE && !uri_characters(str_slice(s, 0, at), ":", iri)) {
        return false;
    }
    Str port = STR_EMPTY;
    if (str_starts_with(host, STR("["))) {
        size_t end = str_find(host, STR("]"), 0);
        if (end == STR_NONE || !is_ipv6(str_slice(host, 1, end))) {
            return false;
        }
        port = str_slice(host, end + 1, host.len);
        if (port.len > 0 && port.data[0] != ':') {
            return false;
        }
        port = str_slice(port, 1, port.len);
    } else {
        size_t colon = str_find_last(host, STR(":"));
        port = colon == STR_NONE ? STR_EMPTY : str_slice(host, colon + 1, host.len);
        if (!uri_characters(colon == STR_NONE ? host : str_slice(host, 0, colon), "", iri)) {
            return false;
        }
    }
    for (size_t i = 0; i < port.len; i++) {
        if (!is_digit(port.data[i])) {
            return false;
        }
    }
    return true;
}

static bool uri_fits(Str s, bool absolute, bool iri)
{
    Str rest = s;
    Str fragment = STR_EMPTY;
    Str query = STR_EMPTY;
    Str head;
    if (!utf8_is_valid(s)) {
        return false;
    }
    if (str_cut(rest, STR("#"), &head, &fragment)) {
        rest = head;
    }
    if (str_cut(rest, STR("?"), &head, &query)) {
        rest = head;
    }
    size_t scheme = 0;
    while (scheme < rest.len && (isalnum((unsigned char)rest.data[scheme]) ||
                                 (scheme > 0 && strchr("+-.", rest.data[scheme]) != NULL))) {
        scheme++;
    }
    bool has_scheme = scheme > 0 && scheme < rest.len && rest.data[scheme] == ':' &&
                      isalpha((unsigned char)rest.data[0]);
    if (has_scheme) {
        rest = str_slice(rest, scheme + 1, rest.len);
    } else if (absolute) {
        return false;
    }
    if (str_starts_with(rest, STR("//"))) {
        size_t slash = str_find(rest, STR("/"), 2);
        size_t end = slash == STR_NONE ? rest.len : slash;
        if (!is_authority(str_slice(rest, 2, end), iri)) {
            return false;
        }
        rest = str_slice(rest, end, rest.len);
    } else if (!has_scheme) { // else the colon would make it one
        size_t slash = str_find(rest, STR("/"), 0);
        size_t colon = str_find(rest, STR(":"), 0);
        if (colon != STR_NONE && (slash == STR_NONE || colon < slash)) {
            return false;
        }
    }
    return uri_characters(rest, ":@/", iri) && uri_characters(query, ":@/?", iri) &&
           uri_characters(fragment, ":@/?", iri);
}

static bool is_uri(Str s)
{
    return uri_fits(s, true, false);
}

static bool is_uri_reference(Str s)
{
    return uri_fits(s, false, false);
}

static bool is_iri(Str s)
{
    return uri_fits(s, true, true);
}

static bool is_iri_reference(Str s)
{
    return uri_fits(s, false, true);
}

// ---- The rest -----------------------------------------------------------------------------------

static bool is_uuid(Str s)
{
    for (size_t i = 0; i < s.len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s.data[i] != '-' : !isxdigit((unsigned char)s.data[i])) {
            return false;
        }
    }
    return s.len == 36;
}

static bool is_json_pointer(Str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '~' &&
            (i + 1 == s.len || (s.data[i + 1] != '0' && s.data[i + 1] != '1'))) {
            return false;
        }
    }
    return s.len == 0 || s.data[0] == '/';
}

static bool is_relative_pointer(Str s)
{
    size_t n = 0;
    while (n < s.len && is_digit(s.data[n])) {
        n++;
    }
    if (n == 0 || (n > 1 && s.data[0] == '0')) {
        return false;
    }
    Str rest = str_slice(s, n, s.len);
    return str_eq(rest, STR("#")) || is_json_pointer(rest);
}

static bool is_regex(Str s)
{
    Regex *regex = NULL;
    Err err = ERR_INIT;
    bool ok = ecma_regex_create(s, &regex, &err);
    if (ok) {
        regex_destroy(regex);
    }
    return ok;
}

bool json_format_fits(Str format, Str text)
{
    static const struct {
        const char *name;
        bool (*fits)(Str text);
    } formats[] = {
        {"date-time", is_date_time},
        {"date", is_date},
        {"time", is_time},
        {"duration", is_duration},
        {"email", is_email},
        {"hostname", is_hostname},
        {"ipv4", is_ipv4},
        {"ipv6", is_ipv6},
        {"uri", is_uri},
        {"uri-reference", is_uri_reference},
        {"iri", is_iri},
        {"iri-reference", is_iri_reference},
        {"uuid", is_uuid},
        {"json-pointer", is_json_pointer},
        {"relative-json-pointer", is_relative_pointer},
        {"regex", is_regex},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (str_eq_c(format, formats[i].name)) {
            return formats[i].fits(text);
        }
    }
    return true;
}
