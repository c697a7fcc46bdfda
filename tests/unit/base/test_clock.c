// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

static void test_clock__formats_utc(void)
{
    static const struct {
        int64_t wall_ms;
        const char *want;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {999, "1970-01-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59Z"},
        {INT64_C(1709210096789), "2024-02-29T12:34:56Z"},
        {INT64_C(4102444800000), "2100-01-01T00:00:00Z"},
        {INT64_MAX, "9999-12-31T23:59:59Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        clock_format_utc(cases[i].wall_ms, text);
        CHECK_STR(str_from_c(text), str_from_c(cases[i].want));
    }
    char text[32];
    clock_format_utc(INT64_MIN, text);
    CHECK(strlen(text) < sizeof text);
}

static void test_clock__goes_forward(void)
{
    int64_t last = clock_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_ns();
        CHECK(now >= last);
        last = now;
    }
    CHECK(clock_wall_ms() > INT64_C(1700000000000)); // 2023: later than when this was written
}

static char logged[64];
static int n_logged;

static void keep_line(void *ctx, LogLevel level, const char *message)
{
    snprintf(logged, sizeof logged, "%d%d %s", *(int *)ctx, (int)level, message);
    n_logged++;
}

static void test_log__goes_to_the_sink_from_its_level_on(void)
{
    log_warn("to nobody");
    int ctx = 5;
    log_sink_set(keep_line, &ctx, LOG_INFO);
    log_debug("hidden");
    CHECK_INT(n_logged, 0);
    log_info("n = %d", 3);
    CHECK_STR(str_from_c(logged), STR("51 n = 3"));
    log_warn("w");
    CHECK_STR(str_from_c(logged), STR("52 w"));
    log_sink_set(NULL, NULL, LOG_DEBUG);
    log_warn("to nobody");
    CHECK_INT(n_logged, 2);
}

int main(void)
{
    tap_run("UTC is written as ISO 8601", test_clock__formats_utc);
    tap_run("the clocks go forward", test_clock__goes_forward);
    tap_run("log lines reach the sink", test_log__goes_to_the_sink_from_its_level_on);
    return tap_done();
}
