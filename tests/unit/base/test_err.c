// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include <errno.h>

static bool inner(Err *err)
{
    errno = ENOENT;
    return ERR_SET(err, ERR_PARSE, "bad byte 0x%02x", 7);
}

static bool outer(Err *err)
{
    return inner(err) || ERR_WRAP(err, "eval '%s'", "gsm8k");
}

static void test_err__set_and_wrap(void)
{
    Err err = ERR_INIT;
    CHECK(!outer(&err));
    CHECK_INT(err.code, ERR_PARSE);
    CHECK_INT(err.sys_errno, ENOENT);
    CHECK_STR(str_from_c(err.message), STR("eval 'gsm8k': bad byte 0x07"));
    CHECK_INT(err.n_frames, 2);
    CHECK_STR(str_from_c(err.frames[0].func), STR("inner"));
    CHECK_STR(str_from_c(err.frames[1].func), STR("outer"));
    CHECK(err.frames[0].line > 0 && err.frames[0].line < err.frames[1].line);
}

static void test_err__errno_is_appended(void)
{
    Err err = ERR_INIT;
    errno = EACCES;
    CHECK(!ERR_SET_ERRNO(&err, "cannot open '%s'", "x"));
    CHECK_INT(err.code, ERR_IO);
    CHECK_INT(err.sys_errno, EACCES);
    CHECK_STR(str_from_c(err.message), STR("cannot open 'x': Permission denied"));
}

static void test_err__frames_and_message_are_capped(void)
{
    Err err = ERR_INIT;
    ERR_SET(&err, ERR_LIMIT, "cause");
    for (int i = 0; i < 20; i++) {
        ERR_WRAP(&err, "w");
    }
    CHECK_INT(err.n_frames, ERR_FRAMES_MAX);
    CHECK(str_ends_with(str_from_c(err.message), STR("w: cause")));
    // A message cut inside a character loses that character whole: 3-byte ones, 2047 = 682 * 3 + 1.
    char text[3 * 1000 + 1];
    for (size_t i = 0; i < 1000; i++) {
        memcpy(text + 3 * i, "\xE2\x82\xAC", 3);
    }
    text[3000] = '\0';
    ERR_SET(&err, ERR_LIMIT, "%s", text);
    CHECK_INT(strlen(err.message), 682 * 3);
    ERR_WRAP(&err, "ab");
    CHECK_INT(strlen(err.message), 4 + 681 * 3); // 2043 = 681 * 3
}

static void test_err__words_go_both_ways(void)
{
    for (int code = ERR_NONE; code < ERR_CODE_COUNT; code++) {
        CHECK_INT(err_code_from_word(err_code_word((ErrCode)code)), code);
    }
    CHECK_STR(str_from_c(err_code_word(ERR_NOT_FOUND)), STR("not found"));
    CHECK_INT(err_code_from_word("no such word"), ERR_INTERNAL);
}

int main(void)
{
    tap_run("set fills, wrap puts context before", test_err__set_and_wrap);
    tap_run("the text of errno is appended", test_err__errno_is_appended);
    tap_run("frames and message are capped", test_err__frames_and_message_are_capped);
    tap_run("code words go both ways", test_err__words_go_both_ways);
    return tap_done();
}
