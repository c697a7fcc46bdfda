// SPDX-License-Identifier: MIT
// JSON Schema 2020-12. What a whole suite says of it is checked by tests/oracle/json_schema.py;
// here are cases of our own, the messages, numbers at their limits, patterns, and schemas that mean
// harm.
#include "text_tap.h"

#include "text/json_schema.h"

#include <string.h>
#include <time.h>

typedef struct Checked {
    bool created;
    bool valid;
    Str why;      // or what json_schema_create says
    ErrCode code; // of an error
} Checked;

static Value parse(Arena *arena, const char *text)
{
    Value value = value_null();
    Err err = ERR_INIT;
    JsonOptions options = {.max_depth = 1024};
    CHECK_OK(json_parse(arena, str_from_c(text), &options, &value, NULL, &err), &err);
    return value;
}

static Checked check_values(Arena *arena, const Value *schema_value, const Value *value,
                            const JsonSchemaOptions *options)
{
    Checked out = {.why = STR_EMPTY};
    JsonSchema *schema = NULL;
    Err err = ERR_INIT;
    out.created = json_schema_create(schema_value, options, &schema, &err);
    if (!out.created || !json_schema_check(schema, value, arena, &out.valid, &out.why, &err)) {
        out.code = err.code;
        out.why = str_copy(arena, str_from_c(err.message));
    }
    json_schema_destroy(schema);
    return out;
}

static Checked check_texts(Arena *arena, const char *schema_text, const char *text,
                           const JsonSchemaOptions *options)
{
    Value schema = parse(arena, schema_text);
    Value value = parse(arena, text);
    return check_values(arena, &schema, &value, options);
}

/** why: NULL for a valid value, else the whole message. */
static void test_schema__says_what_is_wrong(void)
{
    static const struct {
        int line;
        const char *schema;
        const char *value;
        const char *why;
    } rows[] = {
        {__LINE__, "true", "1", NULL},
        {__LINE__, "false", "1", "$: is not allowed here"},
        {__LINE__, "{}", "{\"a\": [1]}", NULL},
        {__LINE__, "{\"type\": \"integer\"}", "1.0", NULL},
        {__LINE__, "{\"type\": \"integer\"}", "1.5", "$: 1.5 is not of type integer"},
        {__LINE__, "{\"type\": [\"string\", \"null\"]}", "[1, 2]",
         "$: a list of 2 is of none of the types string, null"},
        {__LINE__, "{\"properties\": {\"a\": {\"items\": {\"minimum\": 3}}}}", "{\"a\": [3, 2]}",
         "$.a[1]: 2 is below 3"},
        {__LINE__, "{\"properties\": {\"a b\": {\"const\": \"x\"}}}", "{\"a b\": \"y\"}",
         "$[\"a b\"]: \"y\" is not \"x\""},
        {__LINE__, "{\"required\": [\"a\", \"b\"]}", "{\"a\": 1}", "$: has no member \"b\""},
        {__LINE__, "{\"enum\": [1, \"two\", null]}", "2", "$: 2 is none of 1, \"two\", null"},
        {__LINE__, "{\"additionalProperties\": false, \"properties\": {\"a\": true}}",
         "{\"a\": 1, \"b\": 2}", "$.b: is not allowed here"},
        {__LINE__, "{\"minLength\": 3}", "\"\xC3\xA9\xC3\xA9\"",
         "$: 2 characters are fewer than 3"},
        {__LINE__, "{\"maxItems\": 1}", "[1, 2]", "$: 2 items are more than 1"},
        {__LINE__, "{\"maxProperties\": 0}", "{\"a\": 1}", "$: 1 members are more than 0"},
        {__LINE__, "{\"pattern\": \"^a+$\"}", "\"aab\"",
         "$: \"aab\" does not match the pattern \"^a+$\""},
        {__LINE__, "{\"uniqueItems\": true}", "[{\"a\": 1, \"b\": 2}, 3, {\"b\": 2.0, \"a\": 1}]",
         "$: items 0 and 2 are equal"},
        {__LINE__, "{\"uniqueItems\": true}", "[1, true, \"1\", [1], {\"1\": 1}, null, 0, false]",
         NULL},
        {__LINE__, "{\"contains\": {\"type\": \"string\"}, \"minContains\": 2}", "[1, \"a\"]",
         "$: 1 items are as 'contains' says, fewer than 2"},
        {__LINE__, "{\"not\": {\"type\": \"string\"}}", "\"a\"",
         "$: \"a\" fits what 'not' rules out"},
        {__LINE__, "{\"dependentRequired\": {\"a\": [\"b\"]}}", "{\"a\": 1}",
         "$: has a member a, so it needs \"b\""},
        {__LINE__, "{\"oneOf\": [{\"type\": \"number\"}, {\"minimum\": 2}]}", "3",
         "$: fits more than one schema of oneOf"},
        // The alternative that went deeper explains more.
        {__LINE__,
         "{\"anyOf\": [{\"type\": \"string\"}, {\"properties\": {\"a\": {\"type\": \"null\"}}}]}",
         "{\"a\": 1}", "$: fits no schema of anyOf; nearest: $.a: 1 is not of type null"},
        {__LINE__, "{\"if\": {\"minimum\": 10}, \"then\": {\"multipleOf\": 10}, \"else\": false}",
         "15", "$: 15 is not a multiple of 10"},
        {__LINE__, "{\"propertyNames\": {\"maxLength\": 1}}", "{\"ab\": 1}",
         "$.ab: 2 characters are more than 1"},
        {__LINE__,
         "{\"allOf\": [{\"properties\": {\"a\": true}}], \"unevaluatedProperties\": false}",
         "{\"a\": 1, \"b\": 1}", "$.b: is not allowed here"},
        {__LINE__, "{\"prefixItems\": [true], \"unevaluatedItems\": {\"type\": \"null\"}}",
         "[1, null, 2]", "$[2]: 2 is not of type null"},
        {__LINE__, "{\"$ref\": \"#/$defs/a~1b\", \"$defs\": {\"a/b\": {\"type\": \"null\"}}}", "1",
         "$: 1 is not of type null"},
        {__LINE__, "{\"properties\": {\"next\": {\"$ref\": \"#\"}}, \"required\": [\"v\"]}",
         "{\"v\": 1, \"next\": {\"v\": 2, \"next\": {}}}", "$.next.next: has no member \"v\""},
        // A tree that others extend: the outermost $dynamicAnchor counts.
        {__LINE__,
         "{\"$id\": \"http://x/strict\", \"$dynamicAnchor\": \"node\", \"$ref\": \"tree\","
         " \"unevaluatedProperties\": false, \"$defs\": {\"tree\": {\"$id\": \"tree\","
         " \"$dynamicAnchor\": \"node\", \"properties\": {\"kids\": {\"items\":"
         " {\"$dynamicRef\": \"#node\"}}}}}}",
         "{\"kids\": [{\"kidz\": []}]}", "$.kids[0].kidz: is not allowed here"},
        {__LINE__, "{\"format\": \"date\", \"contentEncoding\": \"base64\", \"title\": 1}", "\"?\"",
         NULL}, // annotations
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        Arena arena = {0};
        Checked got = check_texts(&arena, rows[i].schema, rows[i].value, NULL);
        ROW_CHECK(&rows[i], got.created && got.code == ERR_NONE);
        ROW_CHECK(&rows[i], got.valid == (rows[i].why == NULL));
        ROW_CHECK_STR(&rows[i], got.why, str_from_c(rows[i].why != NULL ? rows[i].why : ""));
        arena_finish(&arena);
    }
}

static void test_schema__numbers_are_exact(void)
{
    static const struct {
        int line;
        const char *schema;
        const char *value;
        bool valid;
    } rows[] = {
        // 2^53 + 1 is no double; its neighbours are.
        {__LINE__, "{\"const\": 9007199254740993}", "9007199254740992", false},
        {__LINE__, "{\"const\": 9007199254740993}", "9007199254740992.0", false},
        {__LINE__, "{\"maximum\": 9007199254740992.0}", "9007199254740993", false},
        {__LINE__, "{\"minimum\": 9223372036854775807}", "9223372036854775806", false},
        {__LINE__, "{\"exclusiveMaximum\": 9223372036854775808}", "9223372036854775807", true},
        {__LINE__, "{\"minimum\": -9223372036854775808}", "-9223372036854775808", true},
        {__LINE__, "{\"const\": 0}", "-0.0", true},
        {__LINE__, "{\"const\": false}", "0", false},
        {__LINE__, "{\"enum\": [[1, {\"a\": 2.0}]]}", "[1.0, {\"a\": 2}]", true},
        {__LINE__, "{\"multipleOf\": 0.1}", "0.3", true}, // 0.3 / 0.1 is no whole double
        {__LINE__, "{\"multipleOf\": 0.0001}", "0.0075", true},
        {__LINE__, "{\"multipleOf\": 0.0001}", "0.00751", false},
        {__LINE__, "{\"multipleOf\": 3}", "9223372036854775806", true},
        {__LINE__, "{\"multipleOf\": 3}", "9223372036854775807", false},
        {__LINE__, "{\"multipleOf\": 0.123456789}", "1e308", false},
        {__LINE__, "{\"multipleOf\": 0.5}", "1e308", true},
        {__LINE__, "{\"multipleOf\": 1e-300}", "1e300", true},
        {__LINE__, "{\"multipleOf\": 1e300}", "1e-300", false},
        {__LINE__, "{\"multipleOf\": 7}", "-9223372036854775808", false},
        {__LINE__, "{\"multipleOf\": 2}", "-9223372036854775808", true},
        {__LINE__, "{\"multipleOf\": 5e-324}", "0", true},
        {__LINE__, "{\"maxLength\": 2.0}", "\"abc\"", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        Arena arena = {0};
        Checked got = check_texts(&arena, rows[i].schema, rows[i].value, NULL);
        ROW_CHECK(&rows[i], got.created && got.code == ERR_NONE && got.valid == rows[i].valid);
        arena_finish(&arena);
    }
}

/** Patterns as ECMA-262 reads them; -1: refused. */
static void test_schema__patterns_are_ecma(void)
{
    static const struct {
        int line;
        const char *pattern; // as JSON text
        const char *value;   // as JSON text
        int matches;
    } rows[] = {
        {__LINE__, "b", "abc", 1},
        {__LINE__, "^abc$", "abc\\n", 0},
        {__LINE__, "^\\\\d$", "\\u07c0", 0},
        {__LINE__, "^\\\\w$", "\\u00e9", 0},
        {__LINE__, "^\\\\W$", "\\u00e9", 1},
        {__LINE__, "^[\\\\W]$", "_", 0},
        {__LINE__, "^[^\\\\W]$", "_", 1},
        {__LINE__, "^\\\\s$", "\\ufeff", 1},
        {__LINE__, "^[\\\\S]$", "\\u00a0", 0},
        {__LINE__, "\\\\bcaf\\\\b", "caf\\u00e9", 1}, // \b is ASCII's
        {__LINE__, "^.$", "\\u2028", 0},
        {__LINE__, "^.$", "\\ud83d\\udc32", 1},
        {__LINE__, "^\\\\uD83D\\\\uDC32$", "\\ud83d\\udc32", 1},
        {__LINE__, "^\\\\u{1F432}{2}$", "\\ud83d\\udc32\\ud83d\\udc32", 1},
        {__LINE__, "^\\\\p{Letter}+$", "\\u00e9A", 1},
        {__LINE__, "^\\\\p{Script=Greek}$", "\\u03b1", 1},
        {__LINE__, "^\\\\cJ$", "\\n", 1},
        {__LINE__, "^[[:a]$", ":", 1}, // a class of three, no POSIX class
        {__LINE__, "^[]$", "x", 0},
        {__LINE__, "^[^]$", "\\n", 1},
        {__LINE__, "^(?<a>x)\\\\k<a>\\\\1$", "xxx", 1},
        {__LINE__, "^a{,2}$", "a{,2}", 1},
        {__LINE__, "(?<!a)b", "ab", 0},
        {__LINE__, "^\\\\-\\\\/\\\\@$", "-/@", 1},
        {__LINE__, "\\\\Z", "", -1},
        {__LINE__, "a++", "", -1},
        {__LINE__, "(?i)a", "", -1},
        {__LINE__, "(?>a)", "", -1},
        {__LINE__, "(*UCP)a", "", -1},
        {__LINE__, "(?R)", "", -1},
        {__LINE__, "[a", "", -1},
        {__LINE__, "(a", "", -1},
        {__LINE__, "\\\\", "", -1},
        {__LINE__, "\\\\u12", "", -1},
        {__LINE__, "\\\\p{No=x}", "", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        Arena arena = {0};
        Str schema = str_printf(&arena, "{\"pattern\": \"%s\"}", rows[i].pattern);
        Str value = str_printf(&arena, "\"%s\"", rows[i].value);
        Checked got = check_texts(&arena, schema.data, value.data, NULL);
        ROW_CHECK(&rows[i], got.created == (rows[i].matches >= 0));
        ROW_CHECK(&rows[i], !got.created || got.valid == (rows[i].matches == 1));
        ROW_CHECK(&rows[i], got.created || got.code == ERR_PARSE);
        arena_finish(&arena);
    }
}

static void test_schema__refuses_faulty_schemas(void)
{
    static const struct {
        int line;
        const char *schema;
        const char *says;
    } rows[] = {
        {__LINE__, "1", "schema #: a schema is a map, true or false, not an integer"},
        {__LINE__, "{\"type\": \"strnig\"}",
         "schema #/type: 'strnig' is no type; did you mean 'string'?"},
        {__LINE__, "{\"properties\": {\"a/b\": {\"minLength\": -1}}}",
         "schema #/properties/a~1b/minLength: a whole number from 0 is wanted"},
        {__LINE__, "{\"items\": [true]}",
         "schema #/items: a list of schemas is 'prefixItems' since draft 2020-12"},
        {__LINE__, "{\"$ref\": \"#/$defs/x\"}", "schema #/$ref: '#/$defs/x' leads nowhere"},
        {__LINE__, "{\"$ref\": \"http://x/y\"}", "schema #/$ref: 'http://x/y' leads nowhere"},
        {__LINE__, "{\"$ref\": \"#nope\"}", "schema #/$ref: '#nope' leads nowhere"},
        {__LINE__, "{\"allOf\": []}", "schema #/allOf: a list of schemas is wanted"},
        {__LINE__, "{\"required\": [1]}", "schema #/required: a list of names is wanted"},
        {__LINE__, "{\"multipleOf\": 0}", "schema #/multipleOf: a number above 0 is wanted"},
        {__LINE__, "{\"$id\": \"x#y\"}", "schema: $id has to be a URI without a fragment"},
        {__LINE__, "{\"$anchor\": 1}", "schema #/$anchor: a name is wanted"},
        {__LINE__, "{\"pattern\": \"(\"}",
         "schema #/pattern: regular expression: missing closing parenthesis at 1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        Arena arena = {0};
        Checked got = check_texts(&arena, rows[i].schema, "1", NULL);
        ROW_CHECK(&rows[i], !got.created && got.code == ERR_PARSE);
        ROW_CHECK_STR(&rows[i], got.why, str_from_c(rows[i].says));
        arena_finish(&arena);
    }
}

static void test_schema__remotes_and_vocabularies(void)
{
    Arena arena = {0};
    Value remotes =
        parse(&arena, "{\"http://x/dir/int\": {\"type\": \"integer\", \"$anchor\": \"here\"},"
                      " \"http://x/dir/list\": {\"items\": {\"$ref\": \"./int#here\"}},"
                      " \"http://x/meta\": {\"$vocabulary\": {"
                      "\"https://json-schema.org/draft/2020-12/vocab/applicator\": true}},"
                      " \"http://x/odd\": {\"$vocabulary\": {\"http://x/vocab\": true}}}");
    JsonSchemaOptions options = {.remotes = &remotes};
    Checked got = check_texts(&arena, "{\"$ref\": \"http://x/dir/list\"}", "[1, 1.5]", &options);
    CHECK_STR(got.why, STR("$[1]: 1.5 is not of type integer"));
    got =
        check_texts(&arena, "{\"$id\": \"http://x/a/b\", \"$ref\": \"../dir/int\"}", "1", &options);
    CHECK(got.valid);
    // No vocabulary of validation: what it says means nothing.
    got = check_texts(&arena,
                      "{\"$schema\": \"http://x/meta\", \"type\": \"null\","
                      " \"properties\": {\"a\": false}}",
                      "1", &options);
    CHECK(got.valid);
    got = check_texts(&arena, "{\"$schema\": \"http://x/odd\"}", "1", &options);
    CHECK(!got.created && strstr(got.why.data, "requires the vocabulary 'http://x/vocab'") != NULL);
    options.assert_format = true;
    got = check_texts(&arena, "{\"format\": \"date\"}", "\"2023-02-29\"", &options);
    CHECK_STR(got.why, STR("$: \"2023-02-29\" has not the format \"date\""));
    got = check_texts(&arena, "{\"format\": \"no such\"}", "\"x\"", &options);
    CHECK(got.valid);
    arena_finish(&arena);
}

// ---- Harm ---------------------------------------------------------------------------------------

static Str repeat(Arena *arena, const char *part, size_t n, const char *middle, const char *end)
{
    Buf buf = {0};
    for (size_t i = 0; i < n; i++) {
        buf_c(&buf, part);
    }
    buf_c(&buf, middle);
    for (size_t i = 0; i < n; i++) {
        buf_c(&buf, end);
    }
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

/** Each definition asks for the next one twice: 2^n steps. */
static Str doubling(Arena *arena, int n)
{
    Buf buf = {0};
    buf_c(&buf, "{\"$ref\": \"#/$defs/0\", \"$defs\": {");
    for (int i = 0; i < n; i++) {
        buf_printf(
            &buf, "\"%d\": {\"allOf\": [{\"$ref\": \"#/$defs/%d\"}, {\"$ref\": \"#/$defs/%d\"}]}, ",
            i, i + 1, i + 1);
    }
    buf_printf(&buf, "\"%d\": true}}", n);
    Str text = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return text;
}

static void test_schema__bounds_harm(void)
{
    Arena arena = {0};
    clock_t from = clock();
    Checked got = check_texts(&arena, "{\"$ref\": \"#\"}", "1", NULL);
    CHECK(got.created && got.code == ERR_LIMIT);
    got = check_texts(&arena, "{\"anyOf\": [{\"$ref\": \"#\"}, {\"$ref\": \"#\"}]}", "1", NULL);
    CHECK(got.created && got.code == ERR_LIMIT);
    got = check_texts(&arena, "{\"not\": {\"not\": {\"$ref\": \"#\"}}}", "1", NULL);
    CHECK(got.created && got.code == ERR_LIMIT);
    got = check_texts(&arena, "{\"$dynamicRef\": \"#a\", \"$dynamicAnchor\": \"a\"}", "1", NULL);
    CHECK(got.created && got.code == ERR_LIMIT);
    got = check_texts(&arena, doubling(&arena, 10).data, "1", NULL);
    CHECK(got.created && got.code == ERR_NONE && got.valid);
    got = check_texts(&arena, doubling(&arena, 60).data, "1", NULL);
    CHECK(got.created && got.code == ERR_LIMIT);
    got = check_texts(&arena, repeat(&arena, "{\"not\": ", 400, "true", "}").data, "1", NULL);
    CHECK(!got.created && got.code == ERR_LIMIT);
    got = check_texts(&arena, repeat(&arena, "{\"not\": ", 150, "true", "}").data, "1", NULL);
    CHECK(got.created && got.valid);
    // A deep value, and a schema that follows it.
    Str deep = repeat(&arena, "[", 900, "1", "]");
    got = check_texts(&arena, "{\"items\": {\"$ref\": \"#\"}}", deep.data, NULL);
    CHECK(got.created && got.code == ERR_LIMIT); // two schemas a level
    got = check_texts(&arena, "{\"const\": 1}", deep.data, NULL);
    CHECK(got.created && !got.valid && got.code == ERR_NONE);
    // Many equal-looking items, all of them unlike each other.
    Buf list = {0};
    buf_c(&list, "[0");
    for (int i = 1; i < 100000; i++) {
        buf_printf(&list, ",%d", i);
    }
    buf_c(&list, "]");
    got = check_texts(&arena, "{\"uniqueItems\": true}", str_copy(&arena, buf_view(&list)).data,
                      NULL);
    CHECK(got.valid);
    buf_finish(&list);
    // A pattern that would run for ever.
    Str slow = str_printf(&arena, "\"%s\"", repeat(&arena, "a", 200, "", "b").data);
    got = check_texts(&arena, "{\"pattern\": \"^(a+)+$\"}", slow.data, NULL);
    CHECK(got.created && got.code == ERR_LIMIT);
    got = check_texts(&arena, "{\"pattern\": \"^(a|a)*$\"}", "\"aaaaaaaab\"",
                      &(JsonSchemaOptions){.max_steps = 20});
    CHECK(got.code == ERR_LIMIT);
    CHECK((double)(clock() - from) / CLOCKS_PER_SEC < 5); // of this process, sanitizers included
    arena_finish(&arena);
}

static void test_schema__can_be_used_again(void)
{
    Arena arena = {0};
    Value schema_value =
        parse(&arena, "{\"items\": {\"type\": \"integer\"}, \"uniqueItems\": true}");
    JsonSchema *schema = NULL;
    Err err = ERR_INIT;
    if (CHECK_OK(json_schema_create(&schema_value, NULL, &schema, &err), &err)) {
        for (int i = 0; i < 3; i++) {
            bool valid = true;
            Str why;
            Value value = parse(&arena, i == 1 ? "[1, 2, 1]" : "[1, 2, 3]");
            CHECK_OK(json_schema_check(schema, &value, &arena, &valid, &why, &err), &err);
            CHECK(valid == (i != 1));
            CHECK(json_schema_steps(schema) < 100);
        }
    }
    json_schema_destroy(schema);
    json_schema_destroy(NULL);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("says where a value is wrong and how", test_schema__says_what_is_wrong);
    tap_run("numbers are exact", test_schema__numbers_are_exact);
    tap_run("patterns are ECMA-262's", test_schema__patterns_are_ecma);
    tap_run("faulty schemas are refused with their place", test_schema__refuses_faulty_schemas);
    tap_run("remotes and vocabularies", test_schema__remotes_and_vocabularies);
    tap_run("harm is bounded", test_schema__bounds_harm);
    tap_run("a schema can be used again", test_schema__can_be_used_again);
    return tap_done();
}
