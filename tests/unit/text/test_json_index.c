// SPDX-License-Identifier: MIT
#include "text_tap.h"

/** Spans joined by '|', so that a table can show them. */
static Str joined(Arena *arena, Str text, const TextSpan *spans, size_t n)
{
    Str out = STR_EMPTY;
    for (size_t i = 0; i < n; i++) {
        Str part = str_slice(text, spans[i].from, spans[i].to);
        out = str_concat(arena, str_concat(arena, out, i > 0 ? STR("|") : STR("")), part);
    }
    return out;
}

static void test_json_index_array__spans(void)
{
    static const struct {
        int line;
        const char *text;
        const char *key;
        size_t n;
        const char *want;
    } rows[] = {
        {__LINE__, "[]", "", 0, ""},
        {__LINE__, " [ 1 , \"a]\" , [2,[3]] , {\"b\": \"}\\\"\"} ] ", "", 4,
         "1|\"a]\"|[2,[3]]|{\"b\": \"}\\\"\"}"},
        {__LINE__, "\xEF\xBB\xBF[1,2]", "", 2, "1|2"},
        {__LINE__, "{\"a\": [1, 2], \"b\": [3]}", "b", 1, "3"},
        {__LINE__, "{\"x\": {\"b\": [0]}, \"y\": \"\\\\\", \"b\": [null,\n true]}", "b", 2,
         "null|true"},
        {__LINE__, "{\"\\u0062\": [1]}", "b", 1, "1"},
        {__LINE__, "{\"a\": 1.5e3, \"b\": []}", "b", 0, ""},
        {__LINE__, "[\"\\\\\",\"\\\\\\\"\",\"\"]", "", 3, "\"\\\\\"|\"\\\\\\\"\"|\"\""},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        TextSpan *spans = NULL;
        size_t n = 99;
        Err err = ERR_INIT;
        Str text = str_from_c(rows[i].text);
        bool ok = json_index_array(&arena, text, str_from_c(rows[i].key), &spans, &n, &err);
        ROW_CHECK(&rows[i], ok);
        if (ok) {
            ROW_CHECK(&rows[i], n == rows[i].n);
            ROW_CHECK_STR(&rows[i], joined(&arena, text, spans, n), str_from_c(rows[i].want));
        }
    }
    arena_finish(&arena);
}

static void test_json_index_array__refuses(void)
{
    static const struct {
        int line;
        const char *text;
        const char *key;
        ErrCode code;
        const char *message;
    } rows[] = {
        {__LINE__, "", "", ERR_PARSE,
         "line 1, column 1: expected a list, found the end of the text"},
        {__LINE__, "{}", "", ERR_PARSE, "line 1, column 1: expected a list, found '{'"},
        {__LINE__, "[]", "a", ERR_PARSE, "line 1, column 1: expected a map, found '['"},
        {__LINE__, "{\"b\": []}", "a", ERR_NOT_FOUND, "no key \"a\" in the JSON object"},
        {__LINE__, "{\"a\": 1}", "a", ERR_PARSE, "line 1, column 7: expected a list, found '1'"},
        {__LINE__, "{\"a\": [], \"a\": []}", "a", ERR_PARSE,
         "line 1, column 11: this key stands twice"},
        {__LINE__, "[1,\n2", "", ERR_PARSE,
         "line 2, column 2: expected ',' or ']', found the end of the text"},
        {__LINE__, "[1,]", "", ERR_PARSE, "line 1, column 4: expected a value, found ']'"},
        {__LINE__, "[[1}]", "", ERR_PARSE,
         "line 1, column 4: this bracket closes one of the other kind"},
        {__LINE__, "[{\"a\"", "", ERR_PARSE,
         "line 1, column 2: the bracket that opens here is never closed"},
        {__LINE__, "[\n\"a", "", ERR_PARSE, "line 2, column 1: this string is never closed"},
        {__LINE__, "[1] x", "", ERR_PARSE,
         "line 1, column 5: expected the end of the text, found 'x'"},
        {__LINE__, "{\"a\": [1], b", "a", ERR_PARSE,
         "line 1, column 12: expected a key in double quotes, found 'b'"},
        {__LINE__, "{\"a\" [1]}", "a", ERR_PARSE, "line 1, column 6: expected ':', found '['"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        TextSpan *spans;
        size_t n;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], !json_index_array(&arena, str_from_c(rows[i].text),
                                              str_from_c(rows[i].key), &spans, &n, &err));
        ROW_CHECK(&rows[i], err.code == rows[i].code);
        ROW_CHECK_STR(&rows[i], str_from_c(err.message), str_from_c(rows[i].message));
    }
    Buf deep = {0};
    for (int i = 0; i < 5000; i++) {
        buf_char(&deep, '[');
    }
    TextSpan *spans;
    size_t n;
    Err err = ERR_INIT;
    CHECK(!json_index_array(&arena, buf_view(&deep), STR_EMPTY, &spans, &n, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    buf_finish(&deep);
    arena_finish(&arena);
}

static void test_jsonl_index__lines(void)
{
    static const struct {
        int line;
        Str text;
        size_t n;
        const char *want;
    } rows[] = {
        {__LINE__, S(""), 0, ""},
        {__LINE__, S("\n \r\n\t\n"), 0, ""},
        {__LINE__, S("{}"), 1, "{}"},
        {__LINE__, S("1\n2\n"), 2, "1|2"},
        {__LINE__, S("1\r\n\r\n 2 \r\n3"), 3, "1| 2 |3"},
        {__LINE__,
         S("\xEF\xBB\xBF"
           "1\n2"),
         2, "1|2"},
        {__LINE__, S("\xEF\xBB\xBF\n"), 0, ""},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        TextSpan *spans;
        size_t n;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], jsonl_index(&arena, rows[i].text, &spans, &n, &err));
        ROW_CHECK(&rows[i], n == rows[i].n);
        ROW_CHECK_STR(&rows[i], joined(&arena, rows[i].text, spans, n), str_from_c(rows[i].want));
    }
    arena_finish(&arena);
}

int main(void)
{
    tap_run("spans of arrays", test_json_index_array__spans);
    tap_run("refused texts", test_json_index_array__refuses);
    tap_run("JSON Lines", test_jsonl_index__lines);
    return tap_done();
}
