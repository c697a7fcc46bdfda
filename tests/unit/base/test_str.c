// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

static void test_str__compare(void)
{
    CHECK(str_eq(STR("a\0b"), STR("a\0b")) && !str_eq(STR("a\0b"), STR("a\0c")));
    CHECK(str_eq((Str){NULL, 0}, STR("")));
    CHECK(str_eq_c(STR("x"), "x") && !str_eq_c(STR("x"), "xy"));
    CHECK(str_cmp(STR("a"), STR("b")) < 0 && str_cmp(STR("b"), STR("a")) > 0);
    CHECK(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR(""), STR("")) == 0);
    CHECK(str_cmp(STR("\x7f"), STR("\x80")) < 0); // bytes are unsigned
    CHECK(str_starts_with(STR("abc"), STR("ab")) && !str_starts_with(STR("a"), STR("ab")));
    CHECK(str_ends_with(STR("abc"), STR("bc")) && str_ends_with(STR("abc"), STR("")));
    CHECK_STR(str_from_c(NULL), STR(""));
}

static void test_str__find(void)
{
    static const struct {
        int line;
        Str s, needle;
        size_t from, first, last;
    } cases[] = {
        {__LINE__, STR_INIT("abcabc"), STR_INIT("bc"), 0, 1, 4},
        {__LINE__, STR_INIT("abcabc"), STR_INIT("bc"), 2, 4, 4},
        {__LINE__, STR_INIT("abcabc"), STR_INIT("x"), 0, STR_NONE, STR_NONE},
        {__LINE__, STR_INIT("aaa"), STR_INIT("aa"), 0, 0, 1},
        {__LINE__, STR_INIT("abc"), STR_INIT(""), 3, 3, 3},
        {__LINE__, STR_INIT("abc"), STR_INIT(""), 4, STR_NONE, 3},
        {__LINE__, STR_INIT(""), STR_INIT("a"), 0, STR_NONE, STR_NONE},
        {__LINE__, STR_INIT("a\0b"), STR_INIT("\0b"), 0, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool ok = str_find(cases[i].s, cases[i].needle, cases[i].from) == cases[i].first &&
                  str_find_last(cases[i].s, cases[i].needle) == cases[i].last;
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d\n", cases[i].line);
        }
    }
}

static void test_str__slice_trim_cut(void)
{
    CHECK_STR(str_slice(STR("hello"), 1, 3), STR("el"));
    CHECK_STR(str_slice(STR("hello"), 3, 99), STR("lo"));
    CHECK_STR(str_slice(STR("hello"), 9, 99), STR(""));
    CHECK_STR(str_slice(STR("hello"), 3, 2), STR(""));
    CHECK_STR(str_slice((Str){NULL, 0}, 0, 5), STR(""));
    CHECK_STR(str_trim(STR(" \t\r\n a b \v\f")), STR("a b"));
    CHECK_STR(str_trim(STR("  ")), STR(""));
    CHECK_STR(str_trim_of(STR("..a.b. "), STR(" .")), STR("a.b"));
    Str head;
    Str rest;
    CHECK(str_cut(STR("a=b=c"), STR("="), &head, &rest));
    CHECK_STR(head, STR("a"));
    CHECK_STR(rest, STR("b=c"));
    CHECK(!str_cut(STR("abc"), STR("="), &head, &rest));
    CHECK_STR(head, STR("abc"));
    CHECK_STR(rest, STR(""));
}

static void test_str__to_i64(void)
{
    static const struct {
        int line;
        Str text;
        bool ok;
        int64_t value;
    } cases[] = {
        {__LINE__, STR_INIT("0"), true, 0},
        {__LINE__, STR_INIT("-0"), true, 0},
        {__LINE__, STR_INIT("+17"), true, 17},
        {__LINE__, STR_INIT("007"), true, 7},
        {__LINE__, STR_INIT("9223372036854775807"), true, INT64_MAX},
        {__LINE__, STR_INIT("-9223372036854775808"), true, INT64_MIN},
        {__LINE__, STR_INIT("9223372036854775808"), false, 0},
        {__LINE__, STR_INIT("-9223372036854775809"), false, 0},
        {__LINE__, STR_INIT("99999999999999999999"), false, 0},
        {__LINE__, STR_INIT(""), false, 0},
        {__LINE__, STR_INIT("-"), false, 0},
        {__LINE__, STR_INIT(" 1"), false, 0},
        {__LINE__, STR_INIT("1 "), false, 0},
        {__LINE__, STR_INIT("1.0"), false, 0},
        {__LINE__, STR_INIT("0x10"), false, 0},
        {__LINE__, STR_INIT("1\0"), false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t got = -77;
        bool ok = str_to_i64(cases[i].text, &got) == cases[i].ok &&
                  got == (cases[i].ok ? cases[i].value : -77);
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d\n", cases[i].line);
        }
    }
}

static void test_str__to_f64(void)
{
    static const struct {
        int line;
        Str text;
        bool ok;
        double value;
    } cases[] = {
        {__LINE__, STR_INIT("0.1"), true, 0.1},
        {__LINE__, STR_INIT("-2.5e3"), true, -2500},
        {__LINE__, STR_INIT(".5"), true, 0.5},
        {__LINE__, STR_INIT("5."), true, 5},
        {__LINE__, STR_INIT("1E-2"), true, 0.01},
        {__LINE__, STR_INIT("1e308"), true, 1e308},
        {__LINE__, STR_INIT("1e-400"), true, 0},
        {__LINE__, STR_INIT("1e400"), false, 0},
        {__LINE__, STR_INIT("inf"), false, 0},
        {__LINE__, STR_INIT("nan"), false, 0},
        {__LINE__, STR_INIT("0x1p3"), false, 0},
        {__LINE__, STR_INIT("."), false, 0},
        {__LINE__, STR_INIT("1e"), false, 0},
        {__LINE__, STR_INIT("1e+"), false, 0},
        {__LINE__, STR_INIT("1,5"), false, 0},
        {__LINE__, STR_INIT(" 1"), false, 0},
        {__LINE__, STR_INIT("1.5.2"), false, 0},
        {__LINE__, STR_INIT(""), false, 0},
        {__LINE__, STR_INIT("-"), false, 0},
        {__LINE__, STR_INIT("1\0"), false, 0},
        {__LINE__, STR_INIT("9007199254740993"), true, 9007199254740992.0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double got = -77;
        bool ok = str_to_f64(cases[i].text, &got) == cases[i].ok &&
                  got == (cases[i].ok ? cases[i].value : -77);
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d\n", cases[i].line);
        }
    }
    char digits[1001]; // longer than any buffer on the stack
    memset(digits, '0', 1000);
    digits[998] = '4';
    digits[999] = '2';
    double value = 0;
    CHECK(str_to_f64((Str){digits, 1000}, &value) && value == 42);
}

static void test_str__copies_live_in_the_arena(void)
{
    Arena arena = {0};
    char word[] = "word";
    Str copy = str_copy(&arena, (Str){word, 4});
    word[0] = 'x';
    CHECK_STR(copy, STR("word"));
    CHECK(copy.data[4] == '\0');
    CHECK_STR(str_printf(&arena, "%d-" STR_FMT, 7, STR_ARG(copy)), STR("7-word"));
    CHECK_STR(str_concat(&arena, STR("a"), STR("b")), STR("ab"));
    CHECK_STR(str_concat(&arena, (Str){NULL, 0}, STR("")), STR(""));
    CHECK(strcmp(str_to_c(&arena, STR("c")), "c") == 0);
    arena_finish(&arena);
}

static void test_str__nearest(void)
{
    const Str keys[] = {STR("normalize"), STR("name"), STR("solver"), STR("graders"), STR("of")};
    const size_t n = sizeof keys / sizeof keys[0];
    static const struct {
        int line;
        Str word;
        size_t want;
    } cases[] = {
        {__LINE__, STR_INIT("normalise"), 0},
        {__LINE__, STR_INIT("nmae"), 1}, // neighbours swapped: 1
        {__LINE__, STR_INIT("slover"), 2},
        {__LINE__, STR_INIT("grader"), 3},
        {__LINE__, STR_INIT("on"), 4},
        {__LINE__, STR_INIT("solver"), 2},
        {__LINE__, STR_INIT("temperature"), STR_NONE},
        {__LINE__, STR_INIT("xyz"), STR_NONE},
        {__LINE__, STR_INIT("normal"), STR_NONE}, // 3 away, a third of 6 is 2
        {__LINE__, STR_INIT(""), STR_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t got = str_nearest(cases[i].word, keys, n);
        CHECK(got == cases[i].want);
        if (got != cases[i].want) {
            printf("# case of line %d\n", cases[i].line);
        }
    }
    char big[1000];
    memset(big, 'a', sizeof big);
    CHECK(str_nearest((Str){big, sizeof big}, keys, n) == STR_NONE);
    const Str long_key = {big, sizeof big};
    CHECK(str_nearest(STR("aaaa"), &long_key, 1) == STR_NONE);
}

int main(void)
{
    tap_run("comparison is bytewise and knows NUL", test_str__compare);
    tap_run("first and last occurrence", test_str__find);
    tap_run("slice, trim, cut", test_str__slice_trim_cut);
    tap_run("integers parse whole or not at all", test_str__to_i64);
    tap_run("reals parse whole or not at all", test_str__to_f64);
    tap_run("copies live in the arena and end in NUL", test_str__copies_live_in_the_arena);
    tap_run("the nearest word, or none", test_str__nearest);
    return tap_done();
}
