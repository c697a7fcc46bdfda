// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

static void test_buf__grows_and_ends_in_nul(void)
{
    Buf buf = {0};
    CHECK_STR(buf_view(&buf), STR(""));
    for (int i = 0; i < 1000; i++) {
        buf_printf(&buf, "%d,", i);
    }
    CHECK_INT(buf.len, 2 * 10 + 3 * 90 + 4 * 900);
    CHECK(buf.data[buf.len] == '\0');
    CHECK_STR(str_slice(buf_view(&buf), 0, 8), STR("0,1,2,3,"));
    CHECK(str_ends_with(buf_view(&buf), STR("998,999,")));
    CHECK(!buf.overflow);
    buf_clear(&buf);
    buf_c(&buf, "a");
    buf_char(&buf, '\0');
    buf_str(&buf, STR("b"));
    CHECK_STR(buf_view(&buf), STR("a\0b"));
    buf_finish(&buf);
    CHECK(buf.data == NULL);
    buf_finish(&buf);
    buf_finish(NULL);
}

static void test_buf__ceiling_drops_whole_appends(void)
{
    Buf buf;
    buf_init(&buf, 8);
    buf_c(&buf, "12345678");
    CHECK(!buf.overflow);
    buf_char(&buf, '9');
    CHECK(buf.overflow);
    CHECK_STR(buf_view(&buf), STR("12345678"));
    buf_clear(&buf);
    buf_c(&buf, "1234");
    buf_c(&buf, "56789");
    buf_c(&buf, "5"); // would fit, but a gap must not appear in the middle
    CHECK_STR(buf_view(&buf), STR("1234"));
    CHECK(buf.overflow);
    buf_finish(&buf);
}

static void test_buf__printf_respects_the_ceiling_even_with_room(void)
{
    Buf buf;
    buf_init(&buf, 10);
    buf_c(&buf, "12345678"); // capacity is larger than the ceiling by now
    buf_printf(&buf, "%s", "abc");
    CHECK(buf.overflow);
    CHECK_STR(buf_view(&buf), STR("12345678"));
    CHECK_STR(str_from_c(buf.data), STR("12345678"));
    buf_printf(&buf, "%d", 1);
    CHECK_INT(buf.len, 8);
    buf_finish(&buf);
}

static void test_buf__reserve_gives_room(void)
{
    Buf buf;
    buf_init(&buf, 100);
    char *room = buf_reserve(&buf, 60);
    memcpy(room, "hello", 5);
    buf.len += 5;
    CHECK_STR(str_from_c(buf.data), STR("hello"));
    CHECK(buf_reserve(&buf, 96) == NULL);
    CHECK(buf.overflow);
    buf_clear(&buf);
    CHECK(buf_reserve(&buf, SIZE_MAX) == NULL);
    buf_finish(&buf);
}

int main(void)
{
    tap_run("a buffer grows and ends in NUL", test_buf__grows_and_ends_in_nul);
    tap_run("past the ceiling whole appends are dropped", test_buf__ceiling_drops_whole_appends);
    tap_run("printf respects the ceiling", test_buf__printf_respects_the_ceiling_even_with_room);
    tap_run("reserve gives room or NULL", test_buf__reserve_gives_room);
    return tap_done();
}
