// SPDX-License-Identifier: MIT
#include "text_tap.h"

/** Accepted: what the compact writer makes of it, which pins kinds, order and digits. */
static void test_json_parse__accepts(void)
{
    static const struct {
        int line;
        Str text;
        Str want;
    } rows[] = {
        {__LINE__, S("null"), S("null")},
        {__LINE__, S(" \t\r\n true "), S("true")},
        {__LINE__, S("false"), S("false")},
        {__LINE__, S("[]"), S("[]")},
        {__LINE__, S("[ ]"), S("[]")},
        {__LINE__, S("{}"), S("{}")},
        {__LINE__, S("{ \n }"), S("{}")},
        {__LINE__, S("[[],{},[[]]]"), S("[[],{},[[]]]")},
        {__LINE__, S("{\"b\":1,\"a\":2}"), S("{\"b\":1,\"a\":2}")}, // order kept
        {__LINE__, S("{\"\":0}"), S("{\"\":0}")},
        {__LINE__, S("{\"a\":{\"a\":{\"a\":1}}}"), S("{\"a\":{\"a\":{\"a\":1}}}")},
        {__LINE__, S("{\"a\\u0000b\":1,\"a\":2}"), S("{\"a\\u0000b\":1,\"a\":2}")},
        {__LINE__, S("\xEF\xBB\xBF[1]"), S("[1]")},
        // numbers
        {__LINE__, S("0"), S("0")},
        {__LINE__, S("-0"), S("0")},
        {__LINE__, S("-0.0"), S("-0.0")},
        {__LINE__, S("0e0"), S("0.0")},
        {__LINE__, S("9223372036854775807"), S("9223372036854775807")},
        {__LINE__, S("-9223372036854775808"), S("-9223372036854775808")},
        {__LINE__, S("9223372036854775808"), S("9.223372036854776e+18")},
        {__LINE__, S("-9223372036854775809"), S("-9.223372036854776e+18")},
        {__LINE__, S("18446744073709551616"), S("1.8446744073709552e+19")},
        {__LINE__, S("100000000000000000000000"), S("1e+23")},
        {__LINE__, S("1E22"), S("1e+22")},
        {__LINE__, S("1e+2"), S("100.0")},
        {__LINE__, S("1.5e-3"), S("0.0015")},
        {__LINE__, S("123.456e78"), S("1.23456e+80")},
        {__LINE__, S("0.1"), S("0.1")},
        {__LINE__, S("3.10"), S("3.1")},
        {__LINE__, S("1.7976931348623157e308"), S("1.7976931348623157e+308")},
        {__LINE__, S("2.2250738585072011e-308"), S("2.225073858507201e-308")},
        {__LINE__, S("5e-324"), S("5e-324")},
        {__LINE__, S("1e-400"), S("0.0")},
        {__LINE__, S("-1e-400"), S("-0.0")},
        {__LINE__, S("0.000000000000000000000000000000000000000000000000000000000000001e63"),
         S("1.0")},
        {__LINE__, S("0e999999999999999999999"), S("0.0")},
        {__LINE__, S("1e-999999999999999999999"), S("0.0")},
        {__LINE__, S("9007199254740993.0"), S("9007199254740992.0")}, // ties to even
        {__LINE__, S("9007199254740993.0000000000000000000000000000001"), S("9007199254740994.0")},
        {__LINE__, S("[1,-1,1.0]"), S("[1,-1,1.0]")},
        // strings
        {__LINE__, S("\"\""), S("\"\"")},
        {__LINE__, S("\"a/b\\/c\""), S("\"a/b/c\"")},
        {__LINE__, S("\"\\\"\\\\\\b\\f\\n\\r\\t\""), S("\"\\\"\\\\\\b\\f\\n\\r\\t\"")},
        {__LINE__, S("\"\\u0000\\u001f\\u007f\""), S("\"\\u0000\\u001f\x7F\"")},
        {__LINE__, S("\"\\u00E9\\u6f22\""), S("\"\xC3\xA9\xE6\xBC\xA2\"")},
        {__LINE__, S("\"\\uD83D\\uDE00\""), S("\"\xF0\x9F\x98\x80\"")},
        {__LINE__, S("\"\\uDBFF\\uDFFF\""), S("\"\xF4\x8F\xBF\xBF\"")},
        {__LINE__, S("\"\\uD800\""), S("\"\xEF\xBF\xBD\"")}, // lone surrogates
        {__LINE__, S("\"\\uDE00x\""), S("\"\xEF\xBF\xBDx\"")},
        {__LINE__, S("\"\\uD800\\n\""), S("\"\xEF\xBF\xBD\\n\"")},
        {__LINE__, S("\"\\uD800\\u0041\""),
         S("\"\xEF\xBF\xBD"
           "A\"")},
        {__LINE__, S("\"\\uD83D\\uD83D\\uDE00\""), S("\"\xEF\xBF\xBD\xF0\x9F\x98\x80\"")},
        {__LINE__, S("\"\xE2\x80\xA8\xF4\x8F\xBF\xBF\xEF\xBF\xBF\""),
         S("\"\xE2\x80\xA8\xF4\x8F\xBF\xBF\xEF\xBF\xBF\"")},
        {__LINE__, S("\"exactly8\""), S("\"exactly8\"")},
        {__LINE__, S("\"more than eight \\\" bytes\""), S("\"more than eight \\\" bytes\"")},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Value value;
        Err err = ERR_INIT;
        bool ok = json_parse(&arena, rows[i].text, NULL, &value, NULL, &err);
        ROW_CHECK(&rows[i], ok);
        if (ok) {
            ROW_CHECK_STR(&rows[i], to_json(&arena, &value, JSON_COMPACT), rows[i].want);
        }
    }
    arena_finish(&arena);
}

/** Refused: the exact message, so that the place is checked too. */
static void test_json_parse__refuses(void)
{
    static const struct {
        int line;
        Str text;
        const char *message;
    } rows[] = {
        {__LINE__, S(""), "line 1, column 1: expected a value, found the end of the text"},
        {__LINE__, S("  "), "line 1, column 3: expected a value, found the end of the text"},
        {__LINE__, S("\xEF\xBB\xBF"),
         "line 1, column 1: expected a value, found the end of the text"},
        {__LINE__, S("nul"), "line 1, column 1: expected a value, found 'n'"},
        {__LINE__, S("nulls"), "line 1, column 5: expected the end of the text, found 's'"},
        {__LINE__, S("True"), "line 1, column 1: expected a value, found 'T'"},
        {__LINE__, S("NaN"), "line 1, column 1: expected a value, found 'N'"},
        {__LINE__, S("Infinity"), "line 1, column 1: expected a value, found 'I'"},
        {__LINE__, S("-Infinity"), "line 1, column 2: expected a digit, found 'I'"},
        {__LINE__, S("[1 2]"), "line 1, column 4: expected ',' or ']', found '2'"},
        {__LINE__, S("[1,]"), "line 1, column 4: expected a value, found ']'"},
        {__LINE__, S("[,1]"), "line 1, column 2: expected a value, found ','"},
        {__LINE__, S("[1"), "line 1, column 3: expected ',' or ']', found the end of the text"},
        {__LINE__, S("[1\n"), "line 2, column 1: expected ',' or ']', found the end of the text"},
        {__LINE__, S("[1}"), "line 1, column 3: expected ',' or ']', found '}'"},
        {__LINE__, S("]"), "line 1, column 1: expected a value, found ']'"},
        {__LINE__, S("[1]]"), "line 1, column 4: expected the end of the text, found ']'"},
        {__LINE__, S("{,}"), "line 1, column 2: expected a key in double quotes, found ','"},
        {__LINE__, S("{a:1}"), "line 1, column 2: expected a key in double quotes, found 'a'"},
        {__LINE__, S("{'a':1}"), "line 1, column 2: expected a key in double quotes, found '''"},
        {__LINE__, S("{\"a\"}"), "line 1, column 5: expected ':', found '}'"},
        {__LINE__, S("{\"a\":}"), "line 1, column 6: expected a value, found '}'"},
        {__LINE__, S("{\"a\":1,}"), "line 1, column 8: expected a key in double quotes, found '}'"},
        {__LINE__, S("{\"a\" 1}"), "line 1, column 6: expected ':', found '1'"},
        {__LINE__, S("{\n \"a\": 1\n \"b\": 2}"),
         "line 3, column 2: expected ',' or '}', found '\"'"},
        {__LINE__, S("{\"a\":1,\n\"b\":2,\n \"a\":3}"), "line 3, column 2: duplicate key \"a\""},
        {__LINE__, S("{\"a\":1,\"\\u0061\":3}"), "line 1, column 8: duplicate key \"a\""},
        {__LINE__, S("[1] // x"), "line 1, column 5: expected the end of the text, found '/'"},
        {__LINE__, S("/**/1"), "line 1, column 1: expected a value, found '/'"},
        {__LINE__, S("\f1"), "line 1, column 1: expected a value, found byte 0x0C"},
        {__LINE__, S("1\0"), "line 1, column 2: expected the end of the text, found byte 0x00"},
        {__LINE__, S("\xC3\xA9"), "line 1, column 1: expected a value, found '\xC3\xA9'"},
        {__LINE__, S("\xFF"), "line 1, column 1: expected a value, found byte 0xFF"},
        // numbers
        {__LINE__, S("01"), "line 1, column 1: a number can not start with 0"},
        {__LINE__, S("-01"), "line 1, column 2: a number can not start with 0"},
        {__LINE__, S("00"), "line 1, column 1: a number can not start with 0"},
        {__LINE__, S("-"), "line 1, column 2: expected a digit, found the end of the text"},
        {__LINE__, S("+1"), "line 1, column 1: expected a value, found '+'"},
        {__LINE__, S(".5"), "line 1, column 1: expected a value, found '.'"},
        {__LINE__, S("1."),
         "line 1, column 3: expected a digit behind the point, found the end of the text"},
        {__LINE__, S("1.e1"), "line 1, column 3: expected a digit behind the point, found 'e'"},
        {__LINE__, S("1e"),
         "line 1, column 3: expected a digit of the exponent, found the end of the text"},
        {__LINE__, S("[1e+]"), "line 1, column 5: expected a digit of the exponent, found ']'"},
        {__LINE__, S("0x10"), "line 1, column 2: expected the end of the text, found 'x'"},
        {__LINE__, S("1e400"), "line 1, column 1: this number is too large"},
        {__LINE__, S("[-1e400]"), "line 1, column 2: this number is too large"},
        {__LINE__, S("1e999999999999999999999"), "line 1, column 1: this number is too large"},
        // strings
        {__LINE__, S("\""), "line 1, column 1: this string is never closed"},
        {__LINE__, S("[\"abc]"), "line 1, column 2: this string is never closed"},
        {__LINE__, S("\"\\\""), "line 1, column 1: this string is never closed"},
        {__LINE__, S("\"\\"), "line 1, column 2: unknown escape: \\ before the end of the text"},
        {__LINE__, S("\"\\x41\""), "line 1, column 2: unknown escape: \\ before 'x'"},
        {__LINE__, S("\"\\a\""), "line 1, column 2: unknown escape: \\ before 'a'"},
        {__LINE__, S("\"\\\0\""), "line 1, column 2: unknown escape: \\ before byte 0x00"},
        {__LINE__, S("\"ab\\u12\""), "line 1, column 4: \\u needs four hexadecimal digits"},
        {__LINE__, S("\"\\u12G4\""), "line 1, column 2: \\u needs four hexadecimal digits"},
        {__LINE__, S("\"\\u"), "line 1, column 2: \\u needs four hexadecimal digits"},
        {__LINE__, S("\"\\uD83D\\u12\""), "line 1, column 8: \\u needs four hexadecimal digits"},
        {__LINE__, S("\"a\nb\""), "line 1, column 3: byte 0x0A inside a string must be escaped"},
        {__LINE__, S("\"a\tb\""), "line 1, column 3: byte 0x09 inside a string must be escaped"},
        {__LINE__, S("\"a\0b\""), "line 1, column 3: byte 0x00 inside a string must be escaped"},
        {__LINE__, S("\n \"ab\xFF\""), "line 2, column 5: byte 0xFF is not UTF-8"},
        {__LINE__, S("\"\xC0\x80\""), "line 1, column 2: byte 0xC0 is not UTF-8"},
        {__LINE__, S("\"\xED\xA0\x80\""), "line 1, column 2: byte 0xED is not UTF-8"},
        {__LINE__, S("\"\xE6\xBC\""), "line 1, column 2: byte 0xE6 is not UTF-8"},
        {__LINE__, S("{\"\xFF\":1}"), "line 1, column 3: byte 0xFF is not UTF-8"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Value value;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], !json_parse(&arena, rows[i].text, NULL, &value, NULL, &err));
        ROW_CHECK(&rows[i], err.code == ERR_PARSE);
        ROW_CHECK_STR(&rows[i], str_from_c(err.message), str_from_c(rows[i].message));
    }
    arena_finish(&arena);
}

static Str nested(Arena *arena, const char *open, const char *close, size_t depth)
{
    Buf buf = {0};
    for (size_t i = 0; i < depth; i++) {
        buf_c(&buf, open);
    }
    buf_c(&buf, "1");
    for (size_t i = 0; i < depth; i++) {
        buf_c(&buf, close);
    }
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

static void test_json_parse__limits(void)
{
    static const struct {
        int line;
        const char *open;
        const char *close;
        size_t depth;
        size_t max_depth;
        bool ok;
    } rows[] = {
        {__LINE__, "[", "]", 128, 0, true},        {__LINE__, "[", "]", 129, 0, false},
        {__LINE__, "{\"a\":", "}", 128, 0, true},  {__LINE__, "{\"a\":", "}", 129, 0, false},
        {__LINE__, "[", "]", 3, 3, true},          {__LINE__, "[", "]", 4, 3, false},
        {__LINE__, "[{\"a\":", "}]", 1, 1, false}, {__LINE__, "[", "]", 1024, 9999, true},
        {__LINE__, "[", "]", 1025, 9999, false},   {__LINE__, "[", "", 100000, 0, false},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Value value;
        Err err = ERR_INIT;
        JsonOptions options = {.max_depth = rows[i].max_depth};
        Str text = nested(&arena, rows[i].open, rows[i].close, rows[i].depth);
        ROW_CHECK(&rows[i], json_parse(&arena, text, &options, &value, NULL, &err) == rows[i].ok);
        ROW_CHECK(&rows[i], err.code == (rows[i].ok ? ERR_NONE : ERR_LIMIT));
    }
    Value value;
    Err err = ERR_INIT;
    JsonOptions options = {.max_bytes = 4};
    CHECK(!json_parse(&arena, STR("[1,2]"), &options, &value, NULL, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    arena_finish(&arena);
}

static void test_json_parse__options(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Value value;
    size_t used = 0;
    JsonOptions last = {.keep_last_duplicate = true};
    CHECK_OK(json_parse(&arena, STR("{\"a\":1,\"b\":2,\"a\":3,\"c\":4,\"b\":5}"), &last, &value,
                        &used, &err),
             &err);
    CHECK_STR(to_json(&arena, &value, JSON_COMPACT), STR("{\"a\":3,\"b\":5,\"c\":4}"));
    CHECK_INT(used, 31);
    JsonOptions trailing = {.trailing = true};
    CHECK_OK(json_parse(&arena, STR(" {\"a\":1} tail"), &trailing, &value, &used, &err), &err);
    CHECK_INT(used, 8);
    CHECK_OK(json_parse(&arena,
                        STR("\xEF\xBB\xBF"
                            "12,"),
                        &trailing, &value, &used, &err),
             &err);
    CHECK_INT(used, 5);
    CHECK_INT(value.as.integer, 12);
    arena_finish(&arena);
}

static void test_json_parse__places(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Value value;
    Str text = STR("{\n  \"a\": [1,\n    \"x\"],\n\"\xC3\xA9\": {\"b\": null}}");
    CHECK_OK(json_parse(&arena, text, NULL, &value, NULL, &err), &err);
    const Value *a = value_get_c(&value, "a");
    const Value *b = value_get_c(value_get_c(&value, "\xC3\xA9"), "b");
    CHECK(a != NULL && a->line == 2 && a->col == 8);
    CHECK(a != NULL && a->as.list.items[1].line == 3 && a->as.list.items[1].col == 5);
    CHECK(value.as.map.pairs[1].line == 4 && value.as.map.pairs[1].col == 1);
    CHECK(b != NULL && b->line == 4 && b->col == 13);
    arena_finish(&arena);
}

/** Strings of every length up to past the pool's size, next to each other, end in NUL and differ.
 */
static void test_json_parse__many_strings(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Buf buf = {0};
    buf_c(&buf, "[\"\"");
    for (size_t i = 1; i < 400; i++) {
        buf_c(&buf, ",\"");
        for (size_t j = 0; j < i; j++) {
            buf_c(&buf, (i + j) % 7 == 0 ? "\\u0041" : "b");
        }
        buf_c(&buf, "\"");
    }
    buf_c(&buf, "]");
    Value value;
    CHECK_OK(json_parse(&arena, buf_view(&buf), NULL, &value, NULL, &err), &err);
    size_t n_wrong = 0;
    for (size_t i = 0; i < value.as.list.n; i++) {
        Str s = value.as.list.items[i].as.str;
        n_wrong += s.len != i || s.data[s.len] != '\0';
        for (size_t j = 0; j < s.len; j++) {
            n_wrong += s.data[j] != ((i + j) % 7 == 0 ? 'A' : 'b');
        }
    }
    CHECK_INT(value.as.list.n, 400);
    CHECK_INT(n_wrong, 0);
    buf_finish(&buf);
    arena_finish(&arena);
}

/** 200,000 keys, all different but for one pair: found without comparing all with all. */
static void test_json_parse__many_keys(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Buf buf = {0};
    Value value;
    for (int i = 0; i < 200000; i++) {
        buf_printf(&buf, "%c\"k%d\":%d", i == 0 ? '{' : ',', i, i);
    }
    buf_c(&buf, "}");
    CHECK_OK(json_parse(&arena, buf_view(&buf), NULL, &value, NULL, &err), &err);
    CHECK_INT(value.as.map.n, 200000);
    buf.data[buf.len - 1] = ',';
    buf_c(&buf, "\"k77\":0}");
    CHECK(!json_parse(&arena, buf_view(&buf), NULL, &value, NULL, &err));
    CHECK(strstr(err.message, "duplicate key \"k77\"") != NULL);
    buf_finish(&buf);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("accepted texts", test_json_parse__accepts);
    tap_run("refused texts", test_json_parse__refuses);
    tap_run("limits", test_json_parse__limits);
    tap_run("options", test_json_parse__options);
    tap_run("places", test_json_parse__places);
    tap_run("many strings", test_json_parse__many_strings);
    tap_run("many keys", test_json_parse__many_keys);
    return tap_done();
}
