// SPDX-License-Identifier: MIT
// The headers that say when to try again. libcurl's own reading truncates fractions, ignores
// milliseconds and takes the last of several, so they are read here; what is not understood,
// negative or absurd counts as not said.
#include "net/net_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define SECONDS_MAX 1e9 // more is garbage

void retry_hints_init(RetryHints *hints)
{
    *hints = (RetryHints){-1, -1, -1, -1, -1};
}

static bool is_name(Str name, const char *want)
{
    size_t len = strlen(want);
    return name.len == len && strncasecmp(name.data, want, len) == 0;
}

static bool has_prefix(Str name, const char *prefix)
{
    size_t len = strlen(prefix);
    return name.len > len && strncasecmp(name.data, prefix, len) == 0;
}

static bool has_suffix(Str name, const char *suffix)
{
    size_t len = strlen(suffix);
    return name.len > len && strncasecmp(name.data + name.len - len, suffix, len) == 0;
}

static bool seconds_parse(Str text, double *out)
{
    double number;
    if (!str_to_f64(text, &number) || number < 0 || number > SECONDS_MAX) {
        return false;
    }
    *out = number;
    return true;
}

/** The larger of what was said before and now. */
static void say(double *said, double seconds)
{
    if (seconds > *said) {
        *said = seconds;
    }
}

bool net_duration_parse(Str text, double *out_s)
{
    static const struct {
        Str unit;
        double seconds;
    } units[] = {{STR_INIT("ms"), 0.001}, // before m
                 {STR_INIT("d"), 86400},
                 {STR_INIT("h"), 3600},
                 {STR_INIT("m"), 60},
                 {STR_INIT("s"), 1}};
    if (seconds_parse(text, out_s)) {
        return true;
    }
    double total = 0;
    while (text.len > 0) {
        size_t n = 0;
        while (n < text.len &&
               ((text.data[n] >= '0' && text.data[n] <= '9') || text.data[n] == '.')) {
            n++;
        }
        double number;
        if (!seconds_parse(str_slice(text, 0, n), &number)) {
            return false;
        }
        text = str_slice(text, n, text.len);
        size_t i = 0;
        while (i < sizeof units / sizeof units[0] && !str_starts_with(text, units[i].unit)) {
            i++;
        }
        if (i == sizeof units / sizeof units[0]) {
            return false;
        }
        total += number * units[i].seconds;
        text = str_slice(text, units[i].unit.len, text.len);
    }
    if (!(total <= SECONDS_MAX)) {
        return false;
    }
    *out_s = total;
    return true;
}

/** Days from 1970-01-01 to a date of the proleptic Gregorian calendar. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    // Years are counted from March, so that the leap day comes last; 400 years have 146097 days.
    int64_t y = month > 2 ? year : year - 1;
    int64_t month_from_march = month > 2 ? month - 3 : month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t days = 365 * y + y / 4 - y / 100 + y / 400 + day_of_year;
    return days - 719468; // 0000-03-01 to 1970-01-01
}

/** Numbers and words of a date, in order; anything else separates. */
typedef struct DateParts {
    Str words[3];
    int n_words;
    int64_t numbers[8];
    int n_numbers;
} DateParts;

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool date_split(Str text, DateParts *out)
{
    *out = (DateParts){0};
    size_t i = 0;
    while (i < text.len) {
        size_t start = i;
        char c = text.data[i];
        if (c >= '0' && c <= '9') {
            while (i < text.len && text.data[i] >= '0' && text.data[i] <= '9') {
                i++;
            }
            if (out->n_numbers == 8 || i - start > 9 ||
                !str_to_i64(str_slice(text, start, i), &out->numbers[out->n_numbers++])) {
                return false;
            }
        } else if (is_alpha(c)) {
            while (i < text.len && is_alpha(text.data[i])) {
                i++;
            }
            if (out->n_words == 3) {
                return false;
            }
            out->words[out->n_words++] = str_slice(text, start, i);
        } else if (memchr(" ,:-.+", c, 6) != NULL) {
            i++;
        } else {
            return false;
        }
    }
    return true;
}

static int64_t month_from(Str word)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++) {
        if (word.len == 3 && strncasecmp(word.data, months + 3 * i, 3) == 0) {
            return i + 1;
        }
    }
    return 0;
}

static bool date_join(int64_t year, int64_t month, int64_t day, const int64_t *clock, double *out)
{
    bool valid = year >= 1970 && year <= 9999 && month >= 1 && month <= 12 && day >= 1 &&
                 day <= 31 && clock[0] <= 23 && clock[1] <= 59 && clock[2] <= 60;
    if (valid) {
        *out = (double)(days_from_date(year, month, day) * 86400 + clock[0] * 3600 + clock[1] * 60 +
                        clock[2]);
    }
    return valid;
}

bool net_date_parse(Str text, double *out_unix_s)
{
    DateParts d;
    text = str_trim(text);
    if (!date_split(text, &d)) {
        return false;
    }
    const int64_t *n = d.numbers;
    if (d.n_words == 2 && is_name(d.words[0], "T") && is_name(d.words[1], "Z") &&
        d.n_numbers >= 6 && d.n_numbers <= 7) { // 2026-01-02T03:04:05.678Z
        return date_join(n[0], n[1], n[2], n + 3, out_unix_s);
    }
    if (d.n_words == 3 && is_name(d.words[2], "GMT") && d.n_numbers == 5) {
        // Sun, 06 Nov 1994 08:49:37 GMT, or Sunday, 06-Nov-94 08:49:37 GMT
        int64_t year = n[1] < 70 ? n[1] + 2000 : n[1] < 100 ? n[1] + 1900 : n[1];
        return date_join(year, month_from(d.words[1]), n[0], n + 2, out_unix_s);
    }
    if (d.n_words == 2 && d.n_numbers == 5) { // Sun Nov  6 08:49:37 1994
        return date_join(n[4], month_from(d.words[1]), n[0], n + 1, out_unix_s);
    }
    return false;
}

static void hints_rate_limit(RetryHints *hints, Str value)
{
    double seconds;
    if (net_duration_parse(value, &seconds)) {
        say(&hints->rate_limit_s, seconds);
    }
}

/** A reset given as a point in time; kept as a distance from now. */
static void hints_reset_at(RetryHints *hints, Str value)
{
    double at;
    if (net_date_parse(value, &at)) {
        double distance = at - (double)clock_wall_ms() / 1000;
        say(&hints->rate_limit_s, distance > 0 ? distance : -1);
    }
}

void retry_hints_line(RetryHints *hints, Str line)
{
    Str name;
    Str value;
    double number;
    if (!str_cut(line, STR(":"), &name, &value)) {
        return;
    }
    name = str_trim(name);
    value = str_trim(value);
    if (is_name(name, "retry-after-ms")) {
        if (seconds_parse(value, &number)) {
            say(&hints->retry_after_ms, number);
        }
    } else if (is_name(name, "retry-after")) {
        if (seconds_parse(value, &number)) {
            say(&hints->retry_after_s, number);
        } else if (net_date_parse(value, &number)) {
            say(&hints->retry_after_at, number);
        }
    } else if (is_name(name, "date")) {
        if (net_date_parse(value, &number)) {
            hints->server_now = number;
        }
    } else if (has_prefix(name, "x-ratelimit-reset")) {
        hints_rate_limit(hints, value);
    } else if (has_prefix(name, "anthropic-ratelimit-") && has_suffix(name, "-reset")) {
        hints_reset_at(hints, value);
    }
}

double retry_hints_seconds(const RetryHints *hints, int64_t wall_ms)
{
    if (hints->retry_after_ms >= 0) {
        return hints->retry_after_ms / 1000;
    }
    if (hints->retry_after_s >= 0) {
        return hints->retry_after_s;
    }
    if (hints->retry_after_at >= 0) {
        double now = hints->server_now >= 0 ? hints->server_now : (double)wall_ms / 1000;
        double distance = hints->retry_after_at - now;
        if (distance >= 0) {
            return distance;
        }
    }
    return hints->rate_limit_s >= 0 ? hints->rate_limit_s : -1;
}
