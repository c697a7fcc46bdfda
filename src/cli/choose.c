// SPDX-License-Identifier: MIT
// Choosing experiments on the command line: by tags, eval, model, state and time.
#include "cli/cli.h"

#define DAY_MS (24 * 3600 * INT64_C(1000))

ExperimentFilter cli_choose(const ChooseOptions *options)
{
    return (ExperimentFilter){
        .tags = options->tags.items,
        .n_tags = options->tags.n,
        .eval = options->eval,
        .model = options->model,
        .state = options->state,
    };
}

/** Days from 1970-01-01 to a date of the Gregorian calendar; months from 1. */
static int64_t days_to(int64_t year, int64_t month, int64_t day)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t y = month > 2 ? year : year - 1; // the last year whose leap day is over
    return 365 * (year - 1970) + y / 4 - y / 100 + y / 400 - 477 + before[month - 1] + day - 1;
}

static bool number_between(Str text, size_t at, size_t len, int64_t low, int64_t high, int64_t *out)
{
    for (size_t i = at; i < at + len; i++) {
        if (i >= text.len || text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return str_to_i64(str_slice(text, at, at + len), out) && *out >= low && *out <= high;
}

/** 2026-11-25, then perhaps T or a space and 17:46 or 17:46:30, then perhaps Z. */
static bool parse_date(Str text, int64_t *out_ms)
{
    int64_t year;
    int64_t month;
    int64_t day;
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    if (str_ends_with(text, STR("Z")) && text.len > 10) {
        text.len--;
    }
    bool ok = text.len >= 10 && text.data[4] == '-' && text.data[7] == '-' &&
              number_between(text, 0, 4, 1970, 9999, &year) &&
              number_between(text, 5, 2, 1, 12, &month) && number_between(text, 8, 2, 1, 31, &day);
    if (ok && text.len > 10) {
        ok = (text.len == 16 || text.len == 19) && (text.data[10] == 'T' || text.data[10] == ' ') &&
             text.data[13] == ':' && number_between(text, 11, 2, 0, 23, &hour) &&
             number_between(text, 14, 2, 0, 59, &minute);
    }
    if (ok && text.len == 19) {
        ok = text.data[16] == ':' && number_between(text, 17, 2, 0, 59, &second);
    }
    // The day after a month's last one begins the next month.
    ok = ok && days_to(year, month, day) <
                   (month == 12 ? days_to(year + 1, 1, 1) : days_to(year, month + 1, 1));
    if (ok) {
        *out_ms = days_to(year, month, day) * DAY_MS +
                  ((hour * 60 + minute) * 60 + second) * INT64_C(1000);
    }
    return ok;
}

/** 90d, 12h, 30m, 2w. */
static bool parse_ago(Str text, int64_t *out_ms)
{
    static const struct {
        char letter;
        int64_t ms;
    } units[] = {{'m', 60000}, {'h', 3600000}, {'d', DAY_MS}, {'w', 7 * DAY_MS}};
    int64_t n;
    if (text.len < 2 || text.len > 8 || !number_between(text, 0, text.len - 1, 0, 9999999, &n)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (text.data[text.len - 1] == units[i].letter) {
            *out_ms = clock_wall_ms() - n * units[i].ms;
            return true;
        }
    }
    return false;
}

bool cli_moment(const char *option, Str text, int64_t *out_ms, Err *err)
{
    return parse_date(text, out_ms) || parse_ago(text, out_ms) ||
           ERR_SET(err, ERR_USAGE,
                   "%s: '" STR_FMT "' is neither a date (2026-11-25, 2026-11-25T17:46, UTC) nor so "
                   "long ago (90d, 12h, 30m, 2w)",
                   option, STR_ARG(text));
}
