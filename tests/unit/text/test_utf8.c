// SPDX-License-Identifier: MIT
#include "text_tap.h"

// Tables 3-6 and 3-7 of the Unicode standard, and the examples of RFC 3629.
static void test_utf8__valid_prefix(void)
{
    static const struct {
        int line;
        Str text;
        size_t valid;
    } rows[] = {
        {__LINE__, S(""), 0},
        {__LINE__, S("plain ascii, longer than a word"), 31},
        {__LINE__, S("a\0b"), 3},
        {__LINE__, S("\xC3\xA9"), 2},
        {__LINE__, S("\xE6\xBC\xA2"), 3},
        {__LINE__, S("\xF0\x9F\x98\x80"), 4},
        {__LINE__, S("\xF4\x8F\xBF\xBF"), 4}, // U+10FFFF
        {__LINE__, S("\xF4\x90\x80\x80"), 0}, // beyond it
        {__LINE__, S("\xC0\x80"), 0},         // overlong NUL
        {__LINE__, S("\xC1\xBF"), 0},
        {__LINE__, S("\xE0\x9F\xBF"), 0}, // overlong U+07FF
        {__LINE__, S("\xE0\xA0\x80"), 3}, // U+0800
        {__LINE__, S("\xF0\x8F\xBF\xBF"), 0},
        {__LINE__, S("\xED\x9F\xBF"), 3}, // U+D7FF
        {__LINE__, S("\xED\xA0\x80"), 0}, // a surrogate
        {__LINE__, S("\xED\xBF\xBF"), 0},
        {__LINE__, S("\xEE\x80\x80"), 3}, // U+E000
        {__LINE__, S("ab\x80"), 2},       // a continuation byte alone
        {__LINE__, S("12345678\xFF"), 8},
        {__LINE__, S("\xE6\xBC"), 0}, // cut off
        {__LINE__, S("x\xF0\x9F\x98"), 1},
        {__LINE__, S("\xC3("), 0},
        {__LINE__, S("\xF8\x88\x80\x80\x80"), 0}, // five bytes
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ROW_CHECK(&rows[i], utf8_valid_prefix(rows[i].text) == rows[i].valid);
        ROW_CHECK(&rows[i], utf8_is_valid(rows[i].text) == (rows[i].valid == rows[i].text.len));
    }
}

static void test_utf8__every_code_point_round_trips(void)
{
    size_t n_wrong = 0;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        char bytes[4];
        size_t n = utf8_encode(c, bytes);
        size_t at = 0;
        uint32_t got = utf8_next((Str){bytes, n}, &at);
        bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        size_t want_n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        n_wrong += got != (surrogate ? 0xFFFD : c) || at != n || n != want_n;
    }
    CHECK_INT(n_wrong, 0);
    char bytes[4];
    CHECK_INT(utf8_encode(0x110000, bytes), 3); // U+FFFD
}

static void test_utf8__next_and_clean(void)
{
    Arena arena = {0};
    Str text = STR("a\xFF\xC3\xA9\xE6\xBC");
    static const uint32_t want[] = {'a', 0xFFFD, 0xE9, 0xFFFD, 0xFFFD};
    size_t at = 0;
    for (size_t i = 0; i < 5; i++) {
        CHECK_INT(utf8_next(text, &at), want[i]);
    }
    CHECK_INT(at, text.len);
    CHECK_INT(utf8_length(text), 5);
    CHECK_STR(utf8_clean(&arena, text), STR("a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD"));
    Str valid = STR("gr\xC3\xBC\xC3\x9F dich");
    CHECK(utf8_clean(&arena, valid).data == valid.data);
    arena_finish(&arena);
}

static void test_utf8__columns(void)
{
    static const struct {
        int line;
        Str text;
        size_t columns;
    } rows[] = {
        {__LINE__, S(""), 0},
        {__LINE__, S("abc"), 3},
        {__LINE__, S("\xC3\xA9t\xC3\xA9"), 3},
        {__LINE__, S("e\xCC\x81"), 1},                // e and a combining acute
        {__LINE__, S("\xE6\xBC\xA2\xE5\xAD\x97"), 4}, // two ideographs
        {__LINE__, S("\xED\x95\x9C"), 2},             // a Hangul syllable
        {__LINE__, S("\xF0\x9F\x98\x80"), 2},         // an emoji
        {__LINE__, S("\xE2\x80\x8B"), 0},             // zero width space
        {__LINE__, S("\xEF\xBC\xA1"), 2},             // full width A
        {__LINE__, S("\xEF\xBD\xB1"), 1},             // half width katakana
        {__LINE__, S("\xD9\x83\xD9\x8E"), 1},         // Arabic letter and vowel mark
        {__LINE__, S("\x1B"), 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ROW_CHECK(&rows[i], utf8_columns(rows[i].text) == rows[i].columns);
    }
    CHECK_STR(utf8_cut_columns(STR("\xE6\xBC\xA2\xE5\xAD\x97x"), 3), STR("\xE6\xBC\xA2"));
    CHECK_STR(utf8_cut_columns(STR("e\xCC\x81x"), 1), STR("e\xCC\x81"));
    CHECK_STR(utf8_cut_columns(STR("abc"), 9), STR("abc"));
    CHECK_STR(utf8_cut_columns(STR("abc"), 0), STR(""));
}

static void test_utf8__case(void)
{
    static const struct {
        int line;
        Str from;
        Str lower;
        Str upper;
    } rows[] = {
        {__LINE__, S("Hello, World 42!"), S("hello, world 42!"), S("HELLO, WORLD 42!")},
        {__LINE__, S("@[`{"), S("@[`{"), S("@[`{")}, // neighbours of the letters
        {__LINE__, S("\xC3\x84\xC3\xA9"), S("\xC3\xA4\xC3\xA9"), S("\xC3\x84\xC3\x89")},
        {__LINE__, S("\xC3\x97\xC3\xB7"), S("\xC3\x97\xC3\xB7"), S("\xC3\x97\xC3\xB7")},
        {__LINE__, S("\xC3\x9F"), S("\xC3\x9F"), S("SS")}, // sharp s
        {__LINE__, S("\xC3\xBF"), S("\xC3\xBF"), S("\xC5\xB8")},
        {__LINE__, S("\xC4\xB0"), S("i\xCC\x87"), S("\xC4\xB0")}, // dotted capital I
        {__LINE__, S("\xC4\xB1"), S("\xC4\xB1"), S("I")},         // dotless i
        {__LINE__, S("\xCE\xA3\xCF\x83\xCF\x82"), S("\xCF\x83\xCF\x83\xCF\x82"),
         S("\xCE\xA3\xCE\xA3\xCE\xA3")}, // sigma, and its final form
        // A capital sigma is final behind a letter and before none, whatever marks stand between.
        {__LINE__, S("A\xCE\xA3"), S("a\xCF\x82"), S("A\xCE\xA3")},
        {__LINE__, S("A\xCE\xA3. \xCE\xA3"), S("a\xCF\x82. \xCF\x83"), S("A\xCE\xA3. \xCE\xA3")},
        {__LINE__, S("A\xCE\xA3.A"), S("a\xCF\x83.a"), S("A\xCE\xA3.A")},
        {__LINE__,
         S("A'\xCE\xA3"
           "1"),
         S("a'\xCF\x82"
           "1"),
         S("A'\xCE\xA3"
           "1")},
        {__LINE__, S("1\xCE\xA3"), S("1\xCF\x83"), S("1\xCE\xA3")},
        {__LINE__, S("\xD0\x96\xD1\x8F"), S("\xD0\xB6\xD1\x8F"), S("\xD0\x96\xD0\xAF")},
        {__LINE__, S("\xE1\xBE\xB3"), S("\xE1\xBE\xB3"), S("\xCE\x91\xCE\x99")},
        {__LINE__, S("\xF0\x90\x90\x80"), S("\xF0\x90\x90\xA8"), S("\xF0\x90\x90\x80")},
        {__LINE__, S("\xC8\xBA"), S("\xE2\xB1\xA5"), S("\xC8\xBA")}, // grows to three bytes
        {__LINE__, S("\xE2\x84\xAA"), S("k"), S("\xE2\x84\xAA")},    // the Kelvin sign
        {__LINE__, S("A\xFFz\0q"), S("a\xFFz\0q"), S("A\xFFZ\0Q")},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ROW_CHECK_STR(&rows[i], utf8_lower(&arena, rows[i].from), rows[i].lower);
        ROW_CHECK_STR(&rows[i], utf8_upper(&arena, rows[i].from), rows[i].upper);
    }
    arena_finish(&arena);
}

static void test_utf8__fold_and_digits(void)
{
    static const struct {
        int line;
        Str from;
        Str folded;
    } folds[] = {
        {__LINE__,
         S("Stra\xC3\x9F"
           "E @[`{"),
         S("strasse @[`{")},
        {__LINE__, S("\xE1\xBA\x9E"), S("ss")},                    // capital sharp s
        {__LINE__, S("\xC4\xB0\xC4\xB1"), S("i\xCC\x87\xC4\xB1")}, // dotted I, dotless i
        {__LINE__, S("\xCE\xA3\xCF\x83\xCF\x82"), S("\xCF\x83\xCF\x83\xCF\x83")}, // sigmas
        {__LINE__, S("\xEF\xAC\x83"), S("ffi")},
        {__LINE__, S("\xC2\xB5\xC5\xBF"), S("\xCE\xBCs")}, // micro sign, long s
        {__LINE__, S("\xE1\x8E\xA0\xEA\xAD\xB0"), S("\xE1\x8E\xA0\xE1\x8E\xA0")}, // Cherokee
        {__LINE__, S("\xCE\x90"), S("\xCE\xB9\xCC\x88\xCC\x81")},
        {__LINE__, S("\xD0\x96\xFFQ"), S("\xD0\xB6\xFFq")},
        {__LINE__, S(""), S("")},
    };
    static const struct {
        int line;
        Str from;
        Str ascii;
    } digits[] = {
        {__LINE__, S("12 and 3"), S("12 and 3")},
        {__LINE__, S("\xD9\xA1\xD9\xA0 \xE0\xA7\xAF"), S("10 9")}, // Arabic, Bengali
        {__LINE__, S("\xEF\xBC\x92\xF0\x9D\x9F\x99"), S("21")},    // full width, double-struck
        {__LINE__, S("x\xC2\xB2\xC2\xBD\xE4\xB8\x80\xFF"), S("x\xC2\xB2\xC2\xBD\xE4\xB8\x80\xFF")},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(folds) / sizeof(folds[0]); i++) {
        ROW_CHECK_STR(&folds[i], utf8_fold(&arena, folds[i].from), folds[i].folded);
    }
    for (size_t i = 0; i < sizeof(digits) / sizeof(digits[0]); i++) {
        ROW_CHECK_STR(&digits[i], utf8_digits(&arena, digits[i].from), digits[i].ascii);
    }
    arena_finish(&arena);
}

static void test_text_place__lines_and_columns(void)
{
    static const struct {
        int line;
        Str text;
        size_t offset;
        uint32_t want_line;
        uint32_t want_col;
    } rows[] = {
        {__LINE__, S(""), 0, 1, 1},
        {__LINE__, S("ab\ncd"), 1, 1, 2},
        {__LINE__, S("ab\ncd"), 2, 1, 3},
        {__LINE__, S("ab\ncd"), 3, 2, 1},
        {__LINE__, S("ab\ncd\n"), 6, 3, 1},
        {__LINE__, S("ab\ncd"), 99, 2, 3},
        {__LINE__, S("a\r\nb"), 3, 2, 1},
        {__LINE__,
         S("\xEF\xBB\xBF"
           "ab"),
         4, 1, 2},
        {__LINE__, S("\xEF\xBB\xBF\nb"), 4, 2, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t line;
        uint32_t col;
        text_place(rows[i].text, rows[i].offset, &line, &col);
        ROW_CHECK(&rows[i], line == rows[i].want_line && col == rows[i].want_col);
    }
}

int main(void)
{
    tap_run("valid prefixes", test_utf8__valid_prefix);
    tap_run("every code point round trips", test_utf8__every_code_point_round_trips);
    tap_run("next and clean", test_utf8__next_and_clean);
    tap_run("columns", test_utf8__columns);
    tap_run("case", test_utf8__case);
    tap_run("fold_and_digits", test_utf8__fold_and_digits);
    tap_run("places", test_text_place__lines_and_columns);
    return tap_done();
}
