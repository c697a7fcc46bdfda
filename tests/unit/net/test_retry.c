// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "net/net_internal.h"

static void test_date__three_forms_and_rfc3339(void)
{
    // 784111777 is RFC 9110's own example in all three forms.
    static const struct {
        int line;
        Str text;
        bool ok;
        double want;
    } cases[] = {
        {__LINE__, STR_INIT("Sun, 06 Nov 1994 08:49:37 GMT"), true, 784111777},
        {__LINE__, STR_INIT("Sunday, 06-Nov-94 08:49:37 GMT"), true, 784111777},
        {__LINE__, STR_INIT("Sun Nov  6 08:49:37 1994"), true, 784111777},
        {__LINE__, STR_INIT("Thu, 01 Jan 1970 00:00:00 GMT"), true, 0},
        {__LINE__, STR_INIT("Thu, 29 Feb 2024 12:34:56 GMT"), true, 1709210096},
        {__LINE__, STR_INIT("2024-02-29T12:34:56Z"), true, 1709210096},
        {__LINE__, STR_INIT("2024-02-29T12:34:56.789Z"), true, 1709210096},
        {__LINE__, STR_INIT("2100-01-01T00:00:00Z"), true, 4102444800},
        {__LINE__, STR_INIT("Sun, 06 Foo 1994 08:49:37 GMT"), false, 0},
        {__LINE__, STR_INIT("Sun, 06 Nov 1994 25:49:37 GMT"), false, 0},
        {__LINE__, STR_INIT("Sun, 06 Nov 1994 08:49:37 CET"), false, 0},
        {__LINE__, STR_INIT("Sun, 99999999999 Nov 1994 08:49:37 GMT"), false, 0},
        {__LINE__, STR_INIT("soon"), false, 0},
        {__LINE__, STR_INIT(""), false, 0},
        {__LINE__, STR_INIT("1 2 3 4 5 6 7 8 9 10"), false, 0},
        {__LINE__, STR_INIT("a b c d e f g"), false, 0},
        {__LINE__, STR_INIT("Sun, 06 Nov 1994 08:49:37 GMT\0x"), false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double got = -7;
        bool ok = net_date_parse(cases[i].text, &got) == cases[i].ok &&
                  got == (cases[i].ok ? cases[i].want : -7);
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: %.17g\n", cases[i].line, got);
        }
    }
}

static void test_duration__units(void)
{
    static const struct {
        int line;
        Str text;
        bool ok;
        double want;
    } cases[] = {
        {__LINE__, STR_INIT("1m30s"), true, 90},
        {__LINE__, STR_INIT("500ms"), true, 0.5},
        {__LINE__, STR_INIT("6m0s"), true, 360},
        {__LINE__, STR_INIT("1h2m3s"), true, 3723},
        {__LINE__, STR_INIT("7.66s"), true, 7.66},
        {__LINE__, STR_INIT("1d"), true, 86400},
        {__LINE__, STR_INIT("1.5"), true, 1.5},
        {__LINE__, STR_INIT("0"), true, 0},
        {__LINE__, STR_INIT("-5"), false, 0},
        {__LINE__, STR_INIT("5x"), false, 0},
        {__LINE__, STR_INIT("s"), false, 0},
        {__LINE__, STR_INIT("1.2.3s"), false, 0},
        {__LINE__, STR_INIT("99999999999d"), false, 0},
        {__LINE__, STR_INIT("nan"), false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double got = -7;
        bool ok = net_duration_parse(cases[i].text, &got) == cases[i].ok &&
                  fabs(got - (cases[i].ok ? cases[i].want : -7)) < 1e-9;
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: %.17g\n", cases[i].line, got);
        }
    }
}

static void test_hints__which_header_wins(void)
{
    const int64_t now_ms = INT64_C(784111770000); // 7 s before RFC 9110's example
    static const struct {
        int line;
        const char *lines[4];
        double want;
    } cases[] = {
        {__LINE__, {"Content-Type: text/plain\r\n"}, -1},
        {__LINE__, {"Retry-After: 7\r\n"}, 7},
        {__LINE__, {"retry-after: 1.5\r\n"}, 1.5},
        {__LINE__, {"RETRY-AFTER-MS: 250\r\n", "Retry-After: 7\r\n"}, 0.25},
        {__LINE__, {"Retry-After: 7\r\n", "Retry-After: 3\r\n"}, 7},
        {__LINE__, {"Retry-After: 0\r\n"}, 0},
        {__LINE__, {"Retry-After: soon\r\n"}, -1},
        {__LINE__, {"Retry-After: -5\r\n"}, -1},
        {__LINE__, {"Retry-After: 100000000000000000000\r\n"}, -1},
        {__LINE__, {"Retry-After: nan\r\n"}, -1},
        {__LINE__, {"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"}, 7},
        {__LINE__, // the server's clock counts, not ours
         {"Date: Sun, 06 Nov 1994 08:49:35 GMT\r\n",
          "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
         2},
        {__LINE__, {"Retry-After: Sun, 06 Nov 1994 08:49:00 GMT\r\n"}, -1}, // past
        {__LINE__,
         {"x-ratelimit-reset-requests: 1s\r\n", "x-ratelimit-reset-tokens: 1m30s\r\n"},
         90},
        {__LINE__, {"x-ratelimit-reset-tokens: 90\r\n", "Retry-After: 2\r\n"}, 2},
        {__LINE__, {"x-ratelimit-remaining-requests: 5\r\n"}, -1},
        {__LINE__, {"no colon here\r\n", ":\r\n", "\r\n"}, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        RetryHints hints;
        retry_hints_init(&hints);
        for (size_t j = 0; j < 4 && cases[i].lines[j] != NULL; j++) {
            retry_hints_line(&hints, str_from_c(cases[i].lines[j]));
        }
        double got = retry_hints_seconds(&hints, now_ms);
        CHECK_NEAR(got, cases[i].want, 1e-9);
        if (fabs(got - cases[i].want) > 1e-9) {
            printf("# case of line %d\n", cases[i].line);
        }
    }
}

static void test_hints__a_reset_time_is_a_distance_from_now(void)
{
    char line[128];
    char date[32];
    RetryHints hints;
    retry_hints_init(&hints);
    clock_format_utc(clock_wall_ms() + 30000, date);
    snprintf(line, sizeof line, "anthropic-ratelimit-tokens-reset: %s\r\n", date);
    retry_hints_line(&hints, str_from_c(line));
    double seconds = retry_hints_seconds(&hints, clock_wall_ms());
    CHECK(seconds > 25 && seconds <= 30);
    retry_hints_init(&hints);
    retry_hints_line(&hints, STR("anthropic-ratelimit-tokens-reset: 2001-01-01T00:00:00Z\r\n"));
    CHECK_NEAR(retry_hints_seconds(&hints, clock_wall_ms()), -1, 0);
}

int main(void)
{
    tap_run("dates in the three forms of HTTP and in RFC 3339", test_date__three_forms_and_rfc3339);
    tap_run("durations with units", test_duration__units);
    tap_run("which header says how long to wait", test_hints__which_header_wins);
    tap_run("a reset given as a time", test_hints__a_reset_time_is_a_distance_from_now);
    return tap_done();
}
