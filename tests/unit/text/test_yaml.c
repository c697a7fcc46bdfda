// SPDX-License-Identifier: MIT
// The tree as JSON and every fault as "L:C error code: message", one a line: a table of goldens.
#include "text_tap.h"

static Str faults_text(Arena *arena, const Faults *faults)
{
    Buf buf = {0};
    for (size_t i = 0; i < faults->n; i++) {
        const Fault *f = &faults->items[i];
        buf_printf(&buf, "%s%u:%u %s " STR_FMT ": " STR_FMT, i > 0 ? "\n" : "", f->line, f->col,
                   f->warning ? "warning" : "error", STR_ARG(f->code), STR_ARG(f->message));
    }
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

typedef struct Row {
    int line;
    Str text;
    const char *json;   // NULL: no usable tree
    const char *faults; // "" for none
} Row;

static void check_rows(const Row *rows, size_t n)
{
    Arena arena = {0};
    for (size_t i = 0; i < n; i++) {
        Faults faults;
        faults_init(&faults, &arena);
        Value value;
        bool ok = yaml_parse(&arena, STR("t.yaml"), rows[i].text, &faults, &value);
        ROW_CHECK(&rows[i], ok == (rows[i].json != NULL));
        if (ok && rows[i].json != NULL) {
            ROW_CHECK_STR(&rows[i], to_json(&arena, &value, JSON_SPACED), str_from_c(rows[i].json));
        }
        ROW_CHECK_STR(&rows[i], faults_text(&arena, &faults), str_from_c(rows[i].faults));
    }
    arena_finish(&arena);
}

#define CHECK_ROWS(rows) check_rows((rows), sizeof(rows) / sizeof((rows)[0]))

static void test_yaml__trees(void)
{
    static const Row rows[] = {
        {__LINE__, S("a: 1\nb: [x, 'y', \"z\\n\"]\nc: {d: ~, e: }\nf:\n"),
         "{\"a\": 1, \"b\": [\"x\", \"y\", \"z\\n\"], \"c\": {\"d\": null, \"e\": null}, "
         "\"f\": null}",
         "3:11 error flow-map: 'e' has no value: write null, or quote the text if this is no map"},
        {__LINE__, S("- 1\n- - 2\n  - 3\n-\n"), "[1, [2, 3], null]", ""},
        {__LINE__, S("text"), "\"text\"", ""},
        {__LINE__,
         S("\xEF\xBB\xBF"
           "a: b\r\nc: d\r\n"),
         "{\"a\": \"b\", \"c\": \"d\"}", ""},
        {__LINE__, S("---\na: 1\n...\n"), "{\"a\": 1}", ""},
        {__LINE__, S("%YAML 1.2\n---\na: 1\n"), "{\"a\": 1}", ""},
        {__LINE__, S("b: 1\na: 2\n'': 3\n"), "{\"b\": 1, \"a\": 2, \"\": 3}", ""},
        {__LINE__, S("\xC3\xA9: \xE6\xBC\xA2\n"), "{\"\xC3\xA9\": \"\xE6\xBC\xA2\"}", ""},
        {__LINE__, S("a: one\n  two\n\n  three\n"), "{\"a\": \"one two\\nthree\"}", ""},
        {__LINE__, S("a: |\n  x\n   y\n\n  z\n\nb: >-\n  p\n  q\n"),
         "{\"a\": \"x\\n y\\n\\nz\\n\", \"b\": \"p q\"}", ""},
        {__LINE__, S("a: x # a comment\nb: 'y'# z\n# last\n"), "{\"a\": \"x\", \"b\": \"y\"}", ""},
        {__LINE__, S("a: {{b: 1}: 2}\n"), "{\"a\": \"{{b: 1}: 2}\"}",
         "1:4 error unquoted-template: quote the template: \"{{b: 1}: 2}\""},
    };
    CHECK_ROWS(rows);
}

static void test_yaml__core_schema(void)
{
    static const Row rows[] = {
        {__LINE__, S("[null, Null, NULL, ~]"), "[null, null, null, null]", ""},
        {__LINE__, S("[true, True, TRUE, false, False, FALSE]"),
         "[true, true, true, false, false, false]", ""},
        {__LINE__, S("[nULL, tRUE, truely, nil, none]"),
         "[\"nULL\", \"tRUE\", \"truely\", \"nil\", \"none\"]", ""},
        {__LINE__, S("[0, -1, +2, 0x1F, 0xff, 0o17, 9223372036854775807]"),
         "[0, -1, 2, 31, 255, 15, 9223372036854775807]", ""},
        {__LINE__, S("[0.5, .5, -.5, 1., 1e3, 1E-2, +1.5, 0.0, -0.0]"),
         "[0.5, 0.5, -0.5, 1.0, 1000.0, 0.01, 1.5, 0.0, -0.0]", ""},
        {__LINE__, S("[., -, +, e3, 1e, 1e+, 1_000, '1', 0x, 0o8, 0xG, -0x1, 1.2.3, 12:30, 0b1]"),
         "[\".\", \"-\", \"+\", \"e3\", \"1e\", \"1e+\", \"1_000\", \"1\", \"0x\", \"0o8\", "
         "\"0xG\", \"-0x1\", \"1.2.3\", \"12:30\", \"0b1\"]",
         ""},
        {__LINE__, S("[2024-01-02, =, '<<', y, n, Y, N]"),
         "[\"2024-01-02\", \"=\", \"<<\", \"y\", \"n\", \"Y\", \"N\"]", ""},
        {__LINE__, S("version: 1.10\n"), "{\"version\": 1.1}",
         "1:10 warning number: 1.10 is read as the number 1.1: quote it if it is text"},
        {__LINE__, S("a: 007\nb: -01\nc: 0\nd: 0.50\nversion: 2.0\nmin_version: 2.10\n"),
         "{\"a\": 7, \"b\": -1, \"c\": 0, \"d\": 0.5, \"version\": 2.0, \"min_version\": 2.1}",
         "1:4 warning number: 007 is read as the number 7: quote it if it is text\n"
         "2:4 warning number: -01 is read as the number -1: quote it if it is text\n"
         "6:14 warning number: 2.10 is read as the number 2.1: quote it if it is text"},
        {__LINE__, S("a: 9223372036854775808\nb: 0xFFFFFFFFFFFFFFFFF\n"),
         "{\"a\": 9.223372036854776e+18, \"b\": 2.9514790517935283e+20}",
         "1:4 warning number: 9223372036854775808 is read as the number 9.223372036854776e+18: "
         "quote it if it is text\n"
         "2:4 warning number: 0xFFFFFFFFFFFFFFFFF is read as the number 2.9514790517935283e+20: "
         "quote it if it is text"},
        {__LINE__, S("[.inf, -.INF, .nan, 1e999]"), "[\".inf\", \"-.INF\", \".nan\", \"1e999\"]",
         "1:2 error number: .inf is not a finite number\n"
         "1:8 error number: -.INF is not a finite number\n"
         "1:15 error number: .nan is not a finite number\n"
         "1:21 error number: 1e999 is not a finite number"},
        {__LINE__, S("a: yes\nb: Off\nc: 'no'\nd: [on]\nyes: 1\n"),
         "{\"a\": \"yes\", \"b\": \"Off\", \"c\": \"no\", \"d\": [\"on\"], \"yes\": 1}",
         "1:4 warning boolean: yes is text here: write true for the boolean, or quote it\n"
         "2:4 warning boolean: Off is text here: write false for the boolean, or quote it\n"
         "4:5 warning boolean: on is text here: write true for the boolean, or quote it"},
    };
    CHECK_ROWS(rows);
}

static void test_yaml__refusals(void)
{
    static const Row rows[] = {
        {__LINE__, S("a: &x 1\nb: *x\n"), "{\"a\": 1, \"b\": \"*x\"}",
         "1:4 error anchor: anchors are not allowed: write the value out, or quote text that "
         "starts with &\n"
         "2:4 error alias: aliases are not allowed: write the value out, or quote text that starts "
         "with *"},
        {__LINE__, S("a: !!str 1\nb: !x [1]\n"), "{\"a\": \"1\", \"b\": [1]}",
         "1:4 error tag: tags are not allowed: quote text that starts with !, or leave the tag "
         "out\n"
         "2:4 error tag: tags are not allowed: quote text that starts with !, or leave the tag "
         "out"},
        {__LINE__, S("<<: {a: 1}\n"), "{\"<<\": {\"a\": 1}}",
         "1:1 error merge-key: merge keys are not allowed: write the keys out"},
        {__LINE__, S("a: 1\nb: 2\n\"a\": 3\na: 4\n"), "{\"a\": 1, \"b\": 2}",
         "3:1 error duplicate-key: duplicate key 'a', first on line 1\n"
         "4:1 error duplicate-key: duplicate key 'a', first on line 1"},
        {__LINE__, S("a: 1\n---\nb: 2\n"), "{\"a\": 1}",
         "2:1 error documents: a second document starts here: one file holds one"},
        {__LINE__, S("1: a\ntrue: b\n~: c\n1.5: d\n?\n: e\n"),
         "{\"1\": \"a\", \"true\": \"b\", \"~\": \"c\", \"1.5\": \"d\", \"\": \"e\"}",
         "1:1 error key: the key 1 is an integer, not text: quote it, \"1\"\n"
         "2:1 error key: the key true is a boolean, not text: quote it, \"true\"\n"
         "3:1 error key: the key ~ is null, not text: quote it, \"~\"\n"
         "4:1 error key: the key 1.5 is a number, not text: quote it, \"1.5\"\n"
         "5:2 error key: this key is empty"},
        {__LINE__, S("? [a, b]\n: 1\nc: 2\n"), "{\"c\": 2}",
         "1:3 error key: a key must be text, not a list or a map"},
        {__LINE__, S("? {a: b}\n: 1\nc: 2\n"), "{\"c\": 2}",
         "1:3 error key: a key must be text, not a list or a map"},
        {__LINE__, S(""), NULL, "1:1 error empty: the file is empty"},
        {__LINE__, S("# only a comment\n"), NULL, "1:1 error empty: the file is empty"},
        {__LINE__, S("a: b\n\xC3: c"), NULL, "2:1 error encoding: byte 0xC3 is not UTF-8"},
        {__LINE__, S("a: b\0c"), NULL,
         "1:5 error encoding: character U+0000 can not stand in YAML"},
        {__LINE__, S("\xC3\xA9: \x1B"), NULL,
         "1:5 error encoding: character U+001B can not stand in YAML"},
        {__LINE__,
         S("\xFF\xFE"
           "a\0:\0"),
         NULL, "1:1 error encoding: byte 0xFF is not UTF-8"},
    };
    CHECK_ROWS(rows);
}

/** Item 1 of the faults that `muster check` must catch: what people write instead of YAML. */
static void test_yaml__templates(void)
{
#define STANDS " has to stand in quotes or below a |"
    static const Row rows[] = {
        {__LINE__, S("input: {{ x }}\nb: 1\n"), "{\"input\": \"{{ x }}\", \"b\": 1}",
         "1:8 error unquoted-template: quote the template: \"{{ x }}\""},
        {__LINE__, S("a: {{ x | f(\"y\") }}\nb: 1\n"),
         "{\"a\": \"{{ x | f(\\\"y\\\") }}\", \"b\": 1}",
         "1:4 error unquoted-template: quote the template: '{{ x | f(\"y\") }}'"},
        {__LINE__, S("a: {{ x[\"y\"] }}\nb: 1\n"), NULL,
         "1:4 error unquoted-template: quote the template: text that starts with {{ ... }}" STANDS},
        {__LINE__, S("a: {{ x, y }} # note\n"), "{\"a\": \"{{ x, y }}\"}",
         "1:4 error unquoted-template: quote the template: \"{{ x, y }}\""},
        {__LINE__, S("a: {{ x }} and {{ y }}\n"), NULL,
         "1:4 error unquoted-template: quote the template: \"{{ x }} and {{ y }}\""},
        {__LINE__, S("q: 1\na: {{ x }}: {{ y }}\nb: 1\n"), NULL,
         "2:4 error unquoted-template: quote the template: \"{{ x }}: {{ y }}\""},
        {__LINE__, S("c: [{{ a }}, {{ b }}]\n"), "{\"c\": [\"{{ a }}\", \"{{ b }}\"]}",
         "1:5 error unquoted-template: quote the template: \"{{ a }}\"\n"
         "1:14 error unquoted-template: quote the template: \"{{ b }}\""},
        {__LINE__, S("c: {d: {{ a }}, e: 1}\n"), "{\"c\": {\"d\": \"{{ a }}\", \"e\": 1}}",
         "1:8 error unquoted-template: quote the template: \"{{ a }}\""},
        {__LINE__, S("c:\n  - {{ a }}\n  - b\n"), "{\"c\": [\"{{ a }}\", \"b\"]}",
         "2:5 error unquoted-template: quote the template: \"{{ a }}\""},
        {__LINE__, S("a: {{ x\n  }}\nb: 1\n"), "{\"a\": \"{{ x\\n  }}\", \"b\": 1}",
         "1:4 error unquoted-template: quote the template: {{ without quotes starts a YAML map"},
        {__LINE__, S("{{ x }}: 1\n"), "{}",
         "1:1 error unquoted-template: quote the template; a key is text as it stands"},
        {__LINE__, S("a: {{ x }\nb: 1\n"), NULL,
         "1:4 error unquoted-template: quote the template: text that starts with {{ ... }}" STANDS},
        {__LINE__, S("a: {% if x %}y{% endif %}\n"), NULL,
         "1:4 error unquoted-template: quote the template: text that starts with {% ... %}" STANDS},
        {__LINE__, S("a: [{% x %}]\n"), NULL,
         "1:5 error unquoted-template: quote the template: text that starts with {% ... %}" STANDS},
        {__LINE__, S("a: {# x #}\nb: 1\n"), NULL,
         "1:4 error unquoted-template: quote the template: text that starts with {# ... #}" STANDS},
        {__LINE__, S("a: \"{{ x }}\" y\nb: 1\n"), NULL,
         "1:14 error quote: text goes on after the closing quote: put all of it in quotes (inside "
         "double quotes write \\\", inside single quotes '')"},
        {__LINE__, S("a: x {{ y }}\nb: '{{ z }}'\nc: |\n  {% if x %}\n  {{ y }}\n"),
         "{\"a\": \"x {{ y }}\", \"b\": \"{{ z }}\", \"c\": \"{% if x %}\\n{{ y }}\\n\"}", ""},
        {__LINE__, S("p: |\n    {{ a }}\n\n  {{ b }}\nq: 1\n"), NULL,
         "4:3 error indent: this line is indented less than the text that starts on line 2, which "
         "it ends: indent it as much"},
    };
    CHECK_ROWS(rows);
#undef STANDS
}

static void test_yaml__other_advice(void)
{
    static const Row rows[] = {
        {__LINE__, S("stop: [Q:]\n"), NULL,
         "1:8 error quote: quote text that holds a colon: \"Q:\""},
        {__LINE__, S("stop: [A, Q: ]\n"), "{\"stop\": [\"A\", {\"Q\": null}]}",
         "1:11 error quote: quote text that ends with a colon: \"Q:\""},
        {__LINE__, S("x: {a:1}\n"), "{\"x\": {\"a:1\": null}}",
         "1:5 error flow-map: 'a:1' has no value: put a space after the colon"},
        {__LINE__, S("x: {a, b: null}\n"), "{\"x\": {\"a\": null, \"b\": null}}",
         "1:5 error flow-map: 'a' has no value: write null, or quote the text if this is no map"},
        {__LINE__, S("after: ####\nb: 1\n"), "{\"after\": \"####\", \"b\": 1}",
         "1:8 error comment: # starts a comment here, so the value is empty: quote it, \"####\", "
         "or "
         "write null"},
        {__LINE__, S("a:\n  - ###\n"), "{\"a\": [\"###\"]}",
         "2:5 error comment: # starts a comment here, so the value is empty: quote it, \"###\", or "
         "write null"},
        {__LINE__, S("a: # why\nb: null # why\n"), "{\"a\": null, \"b\": null}",
         "1:4 warning comment: the value is empty: # starts a comment; quote it if it is text, or "
         "write null"},
        {__LINE__, S("a: # why\n  b: 1\n"), "{\"a\": {\"b\": 1}}", ""},
        {__LINE__, S("a: Q #1\n"), "{\"a\": \"Q\"}",
         "1:6 warning comment: # starts a comment here: quote the text if it goes on, or put a "
         "space after the #"},
        {__LINE__, S("a: [####]\nb: 1\n"), NULL,
         "1:5 error comment: # starts a comment here and hides the closing ]: quote text that "
         "starts with #"},
        {__LINE__, S("a: [1, 2\nb: 3\n"), NULL,
         "1:4 error flow-list: the [ that opens here is not closed, or a comma is missing"},
        {__LINE__, S("a: {b: 1\n"), NULL,
         "1:4 error flow-map: the { that opens here is not closed, or a comma is missing"},
        {__LINE__, S("a: b: c\n"), NULL,
         "1:5 error quote: a second ': ' on this line: quote the text that holds it"},
        {__LINE__, S("a: 1\n b: 2\n"), NULL,
         "2:3 error indent: a key is not possible here: check the indentation, and that the line "
         "above ends its value"},
        {__LINE__, S("a: *.csv\n"), NULL, "1:4 error quote: quote text that starts with *"},
        {__LINE__, S("a: &\n"), NULL, "1:4 error quote: quote text that starts with &"},
        {__LINE__, S("a: @b\n"), NULL, "1:4 error quote: quote text that starts with @"},
        {__LINE__, S("a: `b`\n"), NULL, "1:4 error quote: quote text that starts with `"},
        {__LINE__, S("a: %b\n"), NULL, "1:4 error quote: quote text that starts with %"},
        {__LINE__, S("a:\n\tb: 1\n"), NULL, "2:1 error tab: indent with spaces, not with a tab"},
        {__LINE__, S("a: \"\\d+\"\n"), NULL,
         "1:5 error escape: unknown escape: \\ before 'd' in double quotes; use single quotes, "
         "where \\ is itself"},
        {__LINE__, S("a: \"x\nb: 1\n"), NULL,
         "1:4 error quote: the quote that opens here is never closed"},
        {__LINE__, S("a: {}}\n"), NULL, "1:6 error flow-map: this } closes nothing"},
        {__LINE__, S("a: [b] c\n"), NULL,
         "1:8 error quote: text goes on after the closing ]: quote all of it"},
        {__LINE__, S("a: 'it's'\n"), NULL,
         "1:8 error quote: text goes on after the closing quote: put all of it in quotes (inside "
         "double quotes write \\\", inside single quotes '')"},
        {__LINE__, S("a: [b, , c]\n"), NULL,
         "1:8 error quote: a value is missing here; quote text that starts with ,"},
        {__LINE__, S("a: ]\n"), NULL,
         "1:4 error quote: a value is missing here; quote text that starts with ]"},
        {__LINE__, S("a: [\n"), NULL,
         "1:4 error flow-list: the [ that opens here is not closed, or a comma is missing"},
        {__LINE__, S("a: - b\n"), NULL,
         "1:4 error indent: a list item has to start its own line: use [a, b] on one line, or "
         "quote "
         "text that starts with -"},
        {__LINE__, S("- a\nb: 1\n"), NULL,
         "2:1 error indent: a list ends here but its level goes on: check the indentation, or "
         "start "
         "the line with '- '"},
        {__LINE__, S("a: 1\nb\nc: 2\n"), NULL,
         "2:1 error colon: a key without ': ' after it; text over several lines stands below a |"},
        {__LINE__, S("a:\n  b: 1\n c: 2\n"), NULL,
         "3:2 error indent: this line does not fit what stands above it: check the indentation and "
         "the quotes"},
    };
    CHECK_ROWS(rows);
}

static void test_yaml__places(void)
{
    Arena arena = {0};
    Faults faults;
    faults_init(&faults, &arena);
    Value v;
    Str text = STR("# \xE6\xBC\xA2\n\xC3\xA9: {a: \"\xC3\xA9\", b: 2}\n"
                   "c:\n  - |2\n     x\n    y\n\n  - >\n    z\n  - 'q'\n");
    CHECK(yaml_parse(&arena, STR("t.yaml"), text, &faults, &v));
    CHECK_INT(faults.n, 0);
    const ValuePair *first = &v.as.map.pairs[0];
    CHECK(first->line == 2 && first->col == 1);
    CHECK(first->value.line == 2 && first->value.col == 5); // bytes, not characters
    const ValuePair *b = &first->value.as.map.pairs[1];
    CHECK(b->line == 2 && b->col == 15 && b->value.col == 18);
    const Value *items = v.as.map.pairs[1].value.as.list.items;
    CHECK_INT(items[0].style, VALUE_STYLE_LITERAL);
    CHECK_STR(items[0].as.str, STR(" x\ny\n"));
    CHECK(items[0].line == 4 && items[0].col == 5 && items[0].indent == 4);
    CHECK_INT(items[1].style, VALUE_STYLE_FOLDED);
    CHECK(items[1].line == 8 && items[1].indent == 4);
    CHECK_INT(items[2].style, VALUE_STYLE_QUOTED);
    uint32_t line;
    uint32_t col;
    yaml_text_place(&items[0], 2, 1, &line, &col); // the y
    CHECK(line == 6 && col == 5);
    yaml_text_place(&items[2], 1, 1, &line, &col); // the q
    CHECK(line == 10 && col == 6);
    yaml_text_place(&items[1], 1, 1, &line, &col);
    CHECK(line == 8 && col == 5);
    arena_finish(&arena);
}

/** The line of the text k lines below | is the file's line, whatever the header looks like. */
static void test_yaml__block_places(void)
{
    static const struct {
        int line;
        const char *text;
        uint32_t indent;
        uint32_t text_line; // of the X
        uint32_t text_col;
        uint32_t file_line;
        uint32_t file_col;
    } rows[] = {
        {__LINE__, "a: |\n  X\n", 2, 1, 1, 2, 3},
        {__LINE__, "a: |-  # note\n    p\n    X", 4, 2, 1, 3, 5},
        {__LINE__, "a: |+\n\n\n   p\n     X\n\n", 3, 4, 3, 5, 6},
        {__LINE__, "a: |1\n    X\n", 1, 1, 4, 2, 5},
        {__LINE__, "a:\n- b:\n    c: |2\n         p\n      X\n", 6, 2, 1, 5, 7},
        {__LINE__, "a: |\n  \xC3\xA9X\n", 2, 1, 3, 2, 5},
        {__LINE__, "|\n  X\n", 2, 1, 1, 2, 3},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Faults faults;
        faults_init(&faults, &arena);
        Value v;
        Str text = str_from_c(rows[i].text);
        ROW_CHECK(&rows[i], yaml_parse(&arena, STR("t.yaml"), text, &faults, &v));
        const Value *s = &v;
        while (s->kind == VALUE_MAP || s->kind == VALUE_LIST) {
            s = s->kind == VALUE_MAP ? &s->as.map.pairs[0].value : &s->as.list.items[0];
        }
        uint32_t line;
        uint32_t col;
        text_place(s->as.str, str_find(s->as.str, STR("X"), 0), &line, &col);
        ROW_CHECK(&rows[i], line == rows[i].text_line && col == rows[i].text_col);
        ROW_CHECK(&rows[i], s->indent == rows[i].indent);
        yaml_text_place(s, line, col, &line, &col);
        ROW_CHECK(&rows[i], line == rows[i].file_line && col == rows[i].file_col);
        text_place(text, str_find(text, STR("X"), 0), &line, &col); // the tables's own columns
        ROW_CHECK(&rows[i], line == rows[i].file_line && col == rows[i].file_col);
    }
    arena_finish(&arena);
}

static void test_yaml__limits(void)
{
    Arena arena = {0};
    Faults faults;
    Value v;
    Buf buf = {0};
    for (int depth = 64; depth <= 65; depth++) {
        faults_init(&faults, &arena);
        buf_clear(&buf);
        for (int i = 0; i < depth; i++) {
            buf_char(&buf, '[');
        }
        for (int i = 0; i < depth; i++) {
            buf_char(&buf, ']');
        }
        CHECK(yaml_parse(&arena, STR("t"), buf_view(&buf), &faults, &v) == (depth == 64));
    }
    CHECK_STR(faults_text(&arena, &faults), STR("1:65 error limit: nested deeper than 64 levels"));
    // Deep enough to take libyaml minutes if it were let to go on.
    faults_init(&faults, &arena);
    buf_clear(&buf);
    for (int i = 0; i < 1000000; i++) {
        buf_char(&buf, '{');
    }
    CHECK(!yaml_parse(&arena, STR("t"), buf_view(&buf), &faults, &v));
    CHECK_STR(faults.items[0].code, STR("limit"));
    // More faults than anybody reads.
    faults_init(&faults, &arena);
    buf_clear(&buf);
    for (int i = 0; i < 5000; i++) {
        buf_c(&buf, "- yes\n");
    }
    CHECK(!yaml_parse(&arena, STR("t"), buf_view(&buf), &faults, &v));
    CHECK_INT(faults.n, 101);
    CHECK_STR(faults.items[100].code, STR("too-many"));
    faults_init(&faults, &arena);
    Str large = {arena_alloc(&arena, 8 * 1024 * 1024 + 1, 1), 8 * 1024 * 1024 + 1};
    CHECK(!yaml_parse(&arena, STR("t"), large, &faults, &v));
    CHECK_STR(faults.items[0].code, STR("limit"));
    buf_finish(&buf);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("trees", test_yaml__trees);
    tap_run("core schema", test_yaml__core_schema);
    tap_run("refusals", test_yaml__refusals);
    tap_run("unquoted templates", test_yaml__templates);
    tap_run("other advice", test_yaml__other_advice);
    tap_run("places", test_yaml__places);
    tap_run("places in block scalars", test_yaml__block_places);
    tap_run("limits", test_yaml__limits);
    return tap_done();
}
