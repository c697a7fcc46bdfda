// SPDX-License-Identifier: MIT
#include "text_tap.h"

typedef struct Row {
    int line;
    Str text;
    char separator;
    const char *columns; // comma separated, NULL: the first line names them
    const char *rows;    // the records as JSON, one behind the other
} Row;

static size_t split_columns(Arena *arena, const char *columns, Str out[8])
{
    size_t n = 0;
    Str rest = columns != NULL ? str_from_c(columns) : STR_EMPTY;
    bool more = columns != NULL;
    while (more && n < 8) {
        Str head;
        more = str_cut(rest, STR(","), &head, &rest);
        out[n++] = str_copy(arena, head);
    }
    return n;
}

static bool read_all(Arena *arena, const Row *row, Str *out, Err *err)
{
    Str columns[8];
    size_t n_columns = split_columns(arena, row->columns, columns);
    Str *names;
    size_t n_names;
    TextSpan *spans;
    size_t n;
    if (!csv_index(arena, row->text, row->separator, row->columns != NULL ? columns : NULL,
                   n_columns, &names, &n_names, &spans, &n, err)) {
        return false;
    }
    *out = STR_EMPTY;
    for (size_t i = 0; i < n; i++) {
        Value value;
        Str record = str_slice(row->text, spans[i].from, spans[i].to);
        if (!csv_record(arena, record, row->separator, names, n_names, &value, err)) {
            return false;
        }
        *out = str_concat(arena, *out, to_json(arena, &value, JSON_COMPACT));
    }
    return true;
}

static void test_csv__reads(void)
{
    static const Row rows[] = {
        {__LINE__, S("a,b\n1,2\n3,4\n"), ',', NULL,
         "{\"a\":\"1\",\"b\":\"2\"}{\"a\":\"3\",\"b\":\"4\"}"},
        {__LINE__, S("a,b\r\n1,2\r\n3,4"), ',', NULL,
         "{\"a\":\"1\",\"b\":\"2\"}{\"a\":\"3\",\"b\":\"4\"}"}, // CRLF, no final line break
        {__LINE__,
         S("\xEF\xBB\xBF"
           "a\n1\n"),
         ',', NULL, "{\"a\":\"1\"}"},
        {__LINE__, S("\xEF\xBB\xBF\"a\"\n1\n"), ',', NULL, "{\"a\":\"1\"}"},
        {__LINE__, S("a,b\n\"x, y\",\"line\nbreak\"\n"), ',', NULL,
         "{\"a\":\"x, y\",\"b\":\"line\\nbreak\"}"},
        {__LINE__, S("a,b\n\"crlf\r\nin\",\"\r\"\r\n"), ',', NULL,
         "{\"a\":\"crlf\\r\\nin\",\"b\":\"\\r\"}"},
        {__LINE__, S("a,b\n\"say \"\"hi\"\"\",\"\"\"\"\n"), ',', NULL,
         "{\"a\":\"say \\\"hi\\\"\",\"b\":\"\\\"\"}"},
        {__LINE__, S("a,b\n\"\",\n,\"\"\n"), ',', NULL,
         "{\"a\":\"\",\"b\":\"\"}{\"a\":\"\",\"b\":\"\"}"},
        {__LINE__, S("a,b\n x , y \n5\" pipe,a\"b\"\n"), ',', NULL,
         "{\"a\":\" x \",\"b\":\" y \"}{\"a\":\"5\\\" pipe\",\"b\":\"a\\\"b\\\"\"}"},
        {__LINE__, S("\n\na,b\n\n1,2\n\r\n\n3,4\n\n"), ',', NULL,
         "{\"a\":\"1\",\"b\":\"2\"}{\"a\":\"3\",\"b\":\"4\"}"},
        {__LINE__, S("a\n\"\"\n\nx\n"), ',', NULL, "{\"a\":\"\"}{\"a\":\"x\"}"},
        {__LINE__, S("a,b\n1\r2,3\n"), ',', NULL, "{\"a\":\"1\\r2\",\"b\":\"3\"}"},
        {__LINE__, S("a\tb\n1,5\t\"x\ty\"\n"), '\t', NULL, "{\"a\":\"1,5\",\"b\":\"x\\ty\"}"},
        {__LINE__, S("1,2\n3,4\n"), ',', "x,y",
         "{\"x\":\"1\",\"y\":\"2\"}{\"x\":\"3\",\"y\":\"4\"}"},
        {__LINE__,
         S("\xEF\xBB\xBF"
           "1,2"),
         ',', "x,y", "{\"x\":\"1\",\"y\":\"2\"}"},
        {__LINE__, S(""), ',', "x", ""},
        {__LINE__, S("a,b"), ',', NULL, ""},
        {__LINE__, S(",b\n1,2\n"), ',', NULL, "{\"\":\"1\",\"b\":\"2\"}"},
        {__LINE__, S("\"a \"\"q\"\"\",b\n1,2\n"), ',', NULL, "{\"a \\\"q\\\"\":\"1\",\"b\":\"2\"}"},
        {__LINE__, S("a\n\xC3\xA9\xE6\xBC\xA2\n"), ',', NULL, "{\"a\":\"\xC3\xA9\xE6\xBC\xA2\"}"},
        {__LINE__, S("a\nx\0y\n"), ',', NULL, "{\"a\":\"x\\u0000y\"}"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Str got = STR_EMPTY;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], read_all(&arena, &rows[i], &got, &err));
        ROW_CHECK_STR(&rows[i], got, str_from_c(rows[i].rows));
    }
    arena_finish(&arena);
}

static void test_csv__refuses(void)
{
    // The last field is the message here.
    static const Row rows[] = {
        {__LINE__, S(""), ',', NULL, "no header line: the text is empty"},
        {__LINE__, S("\xEF\xBB\xBF\n\n"), ',', NULL, "no header line: the text is empty"},
        {__LINE__, S("a,b\n1,2\n3\n"), ',', NULL, "line 3: 1 cells where the header has 2"},
        {__LINE__, S("a,b\n1,\"2\n\n\"\n3,4,5\n"), ',', NULL,
         "line 5: 3 cells where the header has 2"},
        {__LINE__, S("a,b\n1,2,\n"), ',', NULL, "line 2: 3 cells where the header has 2"},
        {__LINE__, S("1,2\n"), ',', "x", "line 1: 2 cells where the header has 1"},
        {__LINE__, S("a,b\n1,\"2\n3,4\n"), ',', NULL,
         "line 2, column 3: the quote that opens here is never closed"},
        {__LINE__, S("a,\"b"), ',', NULL,
         "line 1, column 3: the quote that opens here is never closed"},
        {__LINE__, S("a,b\n\"1\"x,2\n"), ',', NULL,
         "line 2, column 4: text after the closing quote of a cell"},
        {__LINE__, S("a,b,a\n"), ',', NULL, "line 1: two columns are named 'a'"},
        {__LINE__, S("\nq,\"q\"\n"), ',', NULL, "line 2: two columns are named 'q'"},
        {__LINE__, S("1,2"), ',', "x,x", "two columns are named 'x'"},
        {__LINE__, S("a\nok\nn\xE9\n"), ',', NULL, "line 3, column 2: bytes that are not UTF-8"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Str got;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], !read_all(&arena, &rows[i], &got, &err));
        ROW_CHECK(&rows[i], err.code == ERR_PARSE);
        ROW_CHECK_STR(&rows[i], str_from_c(err.message), str_from_c(rows[i].rows));
    }
    arena_finish(&arena);
}

static void test_csv_record__needs_one_record(void)
{
    static const Str names[] = {{"a", 1}, {"b", 1}};
    static const struct {
        int line;
        const char *record;
        bool ok;
    } rows[] = {
        {__LINE__, "1,2", true},    {__LINE__, "1,\"2\n3\"", true}, {__LINE__, "1", false},
        {__LINE__, "1,2,3", false}, {__LINE__, "1,2\n3,4", false},  {__LINE__, "", false},
        {__LINE__, "1,\"2", false},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Value value;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], csv_record(&arena, str_from_c(rows[i].record), ',', names, 2, &value,
                                       &err) == rows[i].ok);
    }
    arena_finish(&arena);
}

int main(void)
{
    tap_run("reads", test_csv__reads);
    tap_run("refuses", test_csv__refuses);
    tap_run("one record", test_csv_record__needs_one_record);
    return tap_done();
}
