// SPDX-License-Identifier: MIT
// Rows of files in every format, read one by one: what is found where, and what a damaged file
// says.
#include "support.h"

#include <sys/resource.h>
#include <zlib.h>

static Rows *open_rows(Registry *registry, const RowFileSpec *specs, size_t n, Err *err)
{
    Rows *rows = NULL;
    *err = (Err)ERR_INIT;
    return rows_open_files(registry, specs, n, &rows, err) ? rows : NULL;
}

/** One file's rows as JSON lines, or the error that opening or reading gave. */
static Str rows_text(Registry *registry, RowFileSpec spec)
{
    Err err;
    Rows *rows = open_rows(registry, &spec, 1, &err);
    if (rows == NULL) {
        return str_copy(&test_arena, str_from_c(err.message));
    }
    Buf buf = {0};
    for (size_t i = 0; i < rows->n; i++) {
        Value row;
        if (rows_get(rows, i, &test_arena, &row, &err)) {
            json_write(&buf, &row, JSON_COMPACT);
        } else {
            buf_c(&buf, err.message);
        }
        buf_char(&buf, '\n');
    }
    Str text = str_copy(&test_arena, buf_view(&buf));
    buf_finish(&buf);
    rows_release(registry, rows);
    return text;
}

typedef struct Case {
    int line;
    const char *name;
    const char *content;
    const char *at;
    const char *want;
} Case;

static const Case cases[] = {
    {__LINE__, "a.jsonl", "{\"a\":1}\n\n  {\"a\":2}  \r\n{\"a\":3}", "",
     "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"},
    {__LINE__, "bom.jsonl", "\xef\xbb\xbf{\"a\":1}\n", "", "{\"a\":1}\n"},
    {__LINE__, "empty.jsonl", "", "", ""},
    {__LINE__, "blank.jsonl", "\n \n\t\n", "", ""},
    {__LINE__, "list.jsonl", "[1]\n", "",
     "list.jsonl:1, row 0: a row has to be an object, not a list\n"},
    {__LINE__, "b.json", "[{\"a\":1}, {\"a\":[2]}]", "", "{\"a\":1}\n{\"a\":[2]}\n"},
    {__LINE__, "c.json", "{\"x\": 1, \"examples\": [{\"a\":1},{\"a\":2}]}", "examples",
     "{\"a\":1}\n{\"a\":2}\n"},
    {__LINE__, "lines.json", "{\"a\":1}\n{\"a\":2}\n", "", "{\"a\":1}\n{\"a\":2}\n"},
    {__LINE__, "d.csv", "q,a\n\"x, y\",1\n\"two\nlines\",\"say \"\"hi\"\"\"\n", "",
     "{\"q\":\"x, y\",\"a\":\"1\"}\n{\"q\":\"two\\nlines\",\"a\":\"say \\\"hi\\\"\"}\n"},
    {__LINE__, "e.tsv", "q\ta\nx\t1\n", "", "{\"q\":\"x\",\"a\":\"1\"}\n"},
    {__LINE__, "bom.csv", "\xef\xbb\xbfq,a\r\nx,\r\n\r\n,\"\"\r\n", "",
     "{\"q\":\"x\",\"a\":\"\"}\n{\"q\":\"\",\"a\":\"\"}\n"},
    {__LINE__, "inner.csv", "q\nit\"s\n\"a\r\nb\"\n #x \n", "",
     "{\"q\":\"it\\\"s\"}\n{\"q\":\"a\\r\\nb\"}\n{\"q\":\" #x \"}\n"},
    {__LINE__, "quotes.tsv", "\"q \"\"1\"\"\"\tb\n\"x\ty\"\t2", "",
     "{\"q \\\"1\\\"\":\"x\\ty\",\"b\":\"2\"}\n"},
    {__LINE__, "header.csv", "q,a\n", "", ""},
    {__LINE__, "nothing.csv", "", "", "nothing.csv: no header line: the text is empty"},
    {__LINE__, "bom_only.csv", "\xef\xbb\xbf\n", "",
     "bom_only.csv: no header line: the text is empty"},
    {__LINE__, "twice.csv", "a,b,a\n1,2,3\n", "", "twice.csv: line 1: two columns are named 'a'"},
    // A record counts as of the line it starts on, whatever its cells hold.
    {__LINE__, "ragged.csv", "a,b\n\"1\n\n2\",x\n3\n", "",
     "ragged.csv: line 5: 1 cells where the header has 2"},
    {__LINE__, "wide.csv", "a,b\n1,2,3\n", "", "wide.csv: line 2: 3 cells where the header has 2"},
    {__LINE__, "open.csv", "a\n\"x\ny\n", "",
     "open.csv: line 2, column 1: the quote that opens here is never closed"},
    {__LINE__, "after.csv", "a,b\n\"x\"y,2\n", "",
     "after.csv: line 2, column 4: text after the closing quote of a cell"},
    {__LINE__, "latin.csv", "a\nb\nM\xfcller\n", "",
     "latin.csv: line 3, column 2: bytes that are not UTF-8"},
    {__LINE__, "latin.jsonl", "{\"a\":1}\n{\"a\":\"\xfc\"}\n", "",
     "{\"a\":1}\nlatin.jsonl:2, row 1: column 7: byte 0xFC is not UTF-8\n"},
    {__LINE__, "no_key.json", "{\"x\": []}", "examples",
     "no_key.json: no key \"examples\" in the JSON object"},
    {__LINE__, "no_list.json", "{\"examples\": {}}", "examples",
     "no_list.json: line 1, column 14: expected a list, found '{'"},
    {__LINE__, "cut.json", "[{\"a\":1},\n {\"a\":2}", "",
     "cut.json: line 2, column 9: expected ',' or ']', found the end of the text"},
    {__LINE__, "f.txt", "x", "",
     "f.txt: the format of 'f.txt' is not known (jsonl, json, csv, tsv; .gz of them)"},
};

static void test_rows__formats(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        RowFileSpec spec = {
            .path = test_file(cases[i].name, str_from_c(cases[i].content)),
            .label = str_from_c(cases[i].name),
            .format = STR_EMPTY,
            .at = str_from_c(cases[i].at),
        };
        Str got = rows_text(registry, spec);
        if (!str_eq_c(got, cases[i].want)) {
            printf("# case of line %d\n", cases[i].line);
        }
        CHECK_STR(got, str_from_c(cases[i].want));
    }
    CHECK(registry->rows == NULL);
    registry_destroy(registry);
}

static void test_rows__damage_says_where(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    RowFileSpec spec = {
        .path = test_file("bad.jsonl", STR("{\"a\":1}\n{\"a\":}\n{\"a\":3}\n")),
        .label = STR("bad.jsonl"),
    };
    Str got = rows_text(registry, spec);
    // The others are read; the damaged one names its line.
    CHECK(str_starts_with(got, STR("{\"a\":1}\nbad.jsonl:2, row 1: ")));
    CHECK(str_ends_with(got, STR("\n{\"a\":3}\n")));
    registry_destroy(registry);
}

static void test_rows__columns_without_header(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    const Str columns[] = {{"q", 1}, {"a", 1}};
    RowFileSpec spec = {.path = test_file("nohead.csv", STR("x,1\ny,2\n")),
                        .label = STR("nohead.csv"),
                        .columns = columns,
                        .n_columns = 2};
    CHECK_STR(rows_text(registry, spec),
              STR("{\"q\":\"x\",\"a\":\"1\"}\n{\"q\":\"y\",\"a\":\"2\"}\n"));
    registry_destroy(registry);
}

static Str gzip(Str text)
{
    size_t cap = text.len + 128;
    unsigned char *out = arena_alloc(&test_arena, cap, 1);
    z_stream z = {0};
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (unsigned char *)str_to_c(&test_arena, text);
    z.avail_in = (unsigned)text.len;
    z.next_out = out;
    z.avail_out = (unsigned)cap;
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    size_t n = cap - z.avail_out;
    deflateEnd(&z);
    return (Str){(char *)out, n};
}

static void test_rows__gzip(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    Str packed = gzip(STR("{\"a\":1}\n{\"a\":2}\n"));
    Str second = gzip(STR("{\"a\":3}\n"));
    RowFileSpec spec = {.path = test_file("z.jsonl.gz", str_concat(&test_arena, packed, second)),
                        .label = STR("z.jsonl.gz")};
    CHECK_STR(rows_text(registry, spec), STR("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"));
    spec.path = test_file("cut.jsonl.gz", str_slice(packed, 0, packed.len - 9));
    spec.label = STR("cut.jsonl.gz");
    CHECK_STR(rows_text(registry, spec), STR("cut.jsonl.gz: damaged gzip data"));
    registry_destroy(registry);
}

static void test_rows__several_files(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    RowFileSpec specs[] = {
        {.path = test_file("p0.jsonl", STR("")), .label = STR("p0.jsonl")},
        {.path = test_file("p1.jsonl", STR("{\"a\":0}\n{\"a\":1}\n")), .label = STR("p1.jsonl")},
        {.path = test_file("p2.jsonl", STR("\n")), .label = STR("p2.jsonl")},
        {.path = test_file("p3.csv", STR("a\n2\n")), .label = STR("p3.csv")},
    };
    Err err;
    Rows *rows = open_rows(registry, specs, 4, &err);
    CHECK(rows != NULL && rows->n == 3);
    for (size_t i = 0; rows != NULL && i < rows->n; i++) {
        Value row;
        CHECK(rows_get(rows, i, &test_arena, &row, &err));
        Str text;
        CHECK(text_of_scalar(&test_arena, value_get_c(&row, "a"), &text));
        CHECK_STR(text, str_printf(&test_arena, "%zu", i));
    }
    CHECK_STR(rows_place(rows, 1, &test_arena), STR("p1.jsonl:2, row 1"));
    // The same files are opened once; another way of reading them is another thing.
    Rows *again = open_rows(registry, specs, 4, &err);
    Rows *fewer = open_rows(registry, specs, 3, &err);
    CHECK(again == rows && fewer != rows && fewer->n == 2);
    CHECK(!hash_eq(&fewer->hash, &rows->hash));
    rows_release(registry, rows);
    rows_release(registry, again);
    rows_release(registry, fewer);
    CHECK(registry->rows == NULL);
    registry_destroy(registry);
}

static void test_rows__longer_than_a_piece(void)
{
    // Rows that cross the scan's pieces and a file that does not stay in memory.
    Registry *registry = test_registry(STR_EMPTY);
    Buf buf = {0};
    size_t n = 0;
    for (; buf.len < (size_t)3 << 20; n++) {
        buf_printf(&buf, "{\"n\":%zu,\"pad\":\"%*s\"}%s\n", n, (int)(n * 7919 % 5000), "",
                   n % 3 ? "" : "\r");
    }
    RowFileSpec spec = {.path = test_file("long.jsonl", buf_view(&buf)),
                        .label = STR("long.jsonl")};
    buf_finish(&buf);
    Err err;
    Rows *rows = open_rows(registry, &spec, 1, &err);
    CHECK(rows != NULL && rows->n == n);
    for (size_t i = 0; rows != NULL && i < rows->n; i++) {
        Arena arena = {0};
        Value row;
        CHECK(rows_get(rows, i, &arena, &row, &err));
        CHECK_INT(value_get_int(&row, "n", -1), i);
        CHECK_INT(value_get_str(&row, "pad", STR_EMPTY).len, i * 7919 % 5000);
        arena_finish(&arena);
    }
    rows_release(registry, rows);
    registry_destroy(registry);
}

static long peak_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void test_rows__a_million(void)
{
    Registry *registry = test_registry(STR_EMPTY);
    Str path = path_join(&test_arena, test_dir, STR("million.jsonl"));
    FILE *file = fopen(path.data, "w");
    for (int i = 0; file != NULL && i < 1000000; i++) {
        fprintf(file, "{\"question\":\"what is %d plus one?\",\"answer\":\"%d\"}\n", i, i + 1);
    }
    CHECK(file != NULL && fclose(file) == 0);
    RowFileSpec spec = {.path = path, .label = STR("million.jsonl")};
    Err err;
    long before = peak_kib();
    Rows *rows = open_rows(registry, &spec, 1, &err);
    CHECK(rows != NULL && rows->n == 1000000);
    Value row;
    CHECK(rows_get(rows, 999999, &test_arena, &row, &err));
    CHECK_STR(value_get_str(&row, "answer", STR_EMPTY), STR("1000000"));
    long grown = peak_kib() - before;
    printf("# a million rows opened in %ld KiB\n", grown);
#if !defined(__SANITIZE_ADDRESS__)
    CHECK(grown < 20 * 1024);
#endif
    rows_release(registry, rows);
    registry_destroy(registry);
}

int main(void)
{
    test_begin();
    tap_run("rows: formats", test_rows__formats);
    tap_run("rows: a damaged row says where", test_rows__damage_says_where);
    tap_run("rows: columns without a header", test_rows__columns_without_header);
    tap_run("rows: gzip, several members, cut short", test_rows__gzip);
    tap_run("rows: several files as one, shared", test_rows__several_files);
    tap_run("rows: longer than a piece and than memory", test_rows__longer_than_a_piece);
    tap_run("rows: a million within 20 MB", test_rows__a_million);
    return test_end();
}
