// SPDX-License-Identifier: MIT
// Values in Lua: order, lists and maps, null; the libraries json, text and keys.
#include "tests/unit/script/fixture.h"

typedef struct Case {
    int line;
    const char *body;
    const char *want; // the text, or the start of "error: ..."
} Case;

static void check_cases(const Case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        Str got = fixture_text(cases[i].body);
        Str want = str_from_c(cases[i].want);
        bool is_error = str_starts_with(want, STR("error: "));
        if (is_error ? !str_starts_with(got, want) : !str_eq(got, want)) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, want);
        }
    }
}

static void test_value__order(void)
{
    static const Case cases[] = {
        {__LINE__, "return table.concat(keys{b = 1, a = 2, c = 3}, ' ')", "a b c"},
        {__LINE__, "return table.concat(keys(json.decode('{\"z\":1,\"a\":2,\"m\":3}')), ' ')",
         "z a m"},
        {__LINE__,
         "local t = json.decode('{\"z\":1,\"a\":2,\"m\":3}') t.a = nil t.b = 1 t.aa = 1\n"
         "return table.concat(keys(t), ' ')",
         "z m aa b"},
        {__LINE__,
         "local o = {} for k, v in pairs{[3] = 'c', [1] = 'a', x = 1, [10] = 'j', [2.5] = 'q', "
         "[true] = 1} do\n"
         "o[#o + 1] = tostring(k) end return table.concat(o, ' ')",
         "true 1 2.5 3 10 x"},
        {__LINE__, "local t = {} for k in pairs{[{}] = 1} do end return 'x'",
         "error: mine.lua:1: a table with a table as a key has no order"},
        {__LINE__, "local o = {} for k in pairs(json.decode('{}')) do o[1] = k end return #o .. ''",
         "0"},
        {__LINE__,
         "local t = json.decode('{\"a\":1,\"b\":2,\"c\":3}') local o = {}\n"
         "for k in pairs(t) do t.b = nil t.d = 1 o[#o + 1] = k end return table.concat(o)",
         "ac"},
        {__LINE__, "local n = 0 for i, v in pairs{5, 6, 7} do n = n * 10 + i end return n .. ''",
         "123"},
        {__LINE__,
         "local t = json.decode('{\"b\":1,\"a\":2}') local k1 = next(t) local k2 = next(t, k1)\n"
         "return k1 .. k2 .. tostring(next(t, k2))",
         "banil"},
        // What hides the order is out of reach.
        {__LINE__,
         "local t = json.decode('{\"a\":1}') local n = 0 for k, v in pairs(t) do n = n + 1 end\n"
         "for k, v in next, t do n = n + 1 end return n .. type(json.null) .. tostring(json.null)",
         "2userdatanull"},
    };
    check_cases(cases, sizeof(cases) / sizeof(*cases));
}

static void test_value__json(void)
{
    static const Case cases[] = {
        {__LINE__, "return json.encode{}", "[]"},
        {__LINE__, "return json.encode(json.decode('{}')) .. json.encode(json.decode('[]'))",
         "{}[]"},
        {__LINE__, "return json.encode{1, 2.0, 'x', true, json.null, {a = {}}}",
         "[1,2.0,\"x\",true,null,{\"a\":[]}]"},
        {__LINE__,
         "return "
         "json.encode(json.decode('{\"b\":[1,{\"y\":null,\"x\":1e2}],\"a\":\"\\\\u00e4\"}'))",
         "{\"b\":[1,{\"y\":null,\"x\":100.0}],\"a\":\"\xc3\xa4\"}"},
        {__LINE__,
         "local t = json.decode('[null,9223372036854775807]') return tostring(t[1] == json.null) "
         ".. t[2]",
         "true9223372036854775807"},
        {__LINE__, "return tostring((json.decode('{\"a\":')))", "nil"},
        {__LINE__, "local v, e = json.decode('[1,]') return tostring(v) .. type(e)", "nilstring"},
        {__LINE__, "return json.encode({1, 2, n = 3})",
         "error: mine.lua:1: a map with a number as a key"},
        {__LINE__, "return json.encode({[1] = 1, [3] = 3})",
         "error: mine.lua:1: a map with a number"},
        {__LINE__, "return json.encode(setmetatable({a = 1}, {__index = {b = 2}}))", "{\"a\":1}"},
        {__LINE__, "return json.encode(1e999)",
         "error: mine.lua:1: an infinite number is not a value"},
        {__LINE__, "return json.encode()", "error: mine.lua:1: bad argument #1"},
        {__LINE__, "return json.encode({a = {1}}, true)", "{\n  \"a\": [\n    1\n  ]\n}"},
        {__LINE__, "return json.encode(sample.metadata) .. json.encode(sample.part)",
         "{\"level\":3}{\"subject\":\"sums\"}"},
        {__LINE__, "local s = json.encode(sample) return s:sub(1, 29)",
         "{\"choices\":[],\"epoch\":2,\"file"},
        {__LINE__, "json.decode = nil", "error: mine.lua:1: libraries are read-only"},
        {__LINE__,
         "local t = json.decode('[' .. ('['):rep(63) .. (']'):rep(63) .. ']') return "
         "json.encode(t):sub(1, 3)",
         "[[["},
        {__LINE__, "return tostring((json.decode(('['):rep(70) .. (']'):rep(70))))", "nil"},
        {__LINE__, "return json.encode('a\\0b')", "\"a\\u0000b\""},
    };
    check_cases(cases, sizeof(cases) / sizeof(*cases));
}

static void test_value__text(void)
{
    static const Case cases[] = {
        {__LINE__, "return table.concat({text.find('a\xc3\xa4 b1', '[a-z](\\\\d)')}, ' ')",
         "5 6 1"},
        {__LINE__, "return tostring(text.find('abc', 'x'))", "nil"},
        {__LINE__, "return table.concat({text.find('abab', 'a', 2)}, ' ')", "3 3"},
        {__LINE__, "return text.match('key=val', '(\\\\w+)=(\\\\w+)')", "key"},
        {__LINE__, "return select(2, text.match('key=val', '(\\\\w+)=(\\\\w+)'))", "val"},
        {__LINE__, "return text.match('xyz', 'y.')", "yz"},
        {__LINE__, "return tostring(select(2, text.match('ac', '(a)(b)?c')))", "nil"},
        {__LINE__, "return json.encode(text.find_all('a1 b2', '\\\\w'))",
         "[\"a\",\"1\",\"b\",\"2\"]"},
        {__LINE__, "return json.encode(text.find_all('a1 b2', '([a-z])(\\\\d)'))",
         "[[\"a\",\"1\"],[\"b\",\"2\"]]"},
        {__LINE__, "return json.encode(text.find_all('a1 b2', '[a-z](\\\\d)'))", "[\"1\",\"2\"]"},
        {__LINE__, "return json.encode(text.find_all('\xc3\xa4\xc3\xb6', ''))", "[\"\",\"\",\"\"]"},
        {__LINE__, "return json.encode(text.split('a, b,c', ',\\\\s*'))", "[\"a\",\"b\",\"c\"]"},
        {__LINE__, "return json.encode(text.split('a,b,c', ',', 1))", "[\"a\",\"b,c\"]"},
        {__LINE__, "return json.encode(text.split('', ','))", "[\"\"]"},
        {__LINE__, "return json.encode(text.split('ab', ''))", "[\"a\",\"b\"]"},
        {__LINE__, "return text.replace('a1b2', '(\\\\d)', '<$1>')", "a<1>b<2>"},
        {__LINE__, "return text.replace('ab', '(a)(b)', '${2}$1$$$0$')", "ba$ab$"},
        {__LINE__, "return text.replace('ab', 'a', '$3')",
         "error: mine.lua:1: replace: the regular expression has no"},
        {__LINE__,
         "return text.replace('a1b2', '\\\\d', function(d) return d == '1' and text.replace('x', "
         "'x', 'y') or nil end)",
         "ayb2"},
        {__LINE__, "return text.replace('abc', 'b', function() return 5 end)",
         "error: mine.lua:1: replace: the function"},
        {__LINE__, "return text.replace('aaa', '', '-')", "-a-a-a-"},
        {__LINE__, "return text.match('x', '(')", "error: mine.lua:1: "},
        {__LINE__,
         "return text.upper('stra\xc3\x9f"
         "e \xc3\xa4') .. text.lower('\xc3\x84')",
         "STRASSE \xc3\x84\xc3\xa4"},
        {__LINE__,
         "return text.len('\xc3\xa4\xe2\x82\xac') .. #text.chars('\xc3\xa4\xe2\x82\xac') .. "
         "text.chars('\xc3\xa4"
         "b')[2]",
         "22b"},
        {__LINE__, "return json.encode(text.words(\"It's 2 o'clock, \xc3\xa4h!\"))",
         "[\"It's\",\"2\",\"o'clock\",\"\xc3\xa4h\"]"},
        {__LINE__, "return json.encode(text.sentences('One. Two? \"Three!\" four'))",
         "[\"One.\",\"Two?\",\"\\\"Three!\\\"\",\"four\"]"},
        {__LINE__, "return json.encode(text.sentences('Pi is 3.14 here. Next\\n\\nPara'))",
         "[\"Pi is 3.14 here.\",\"Next\",\"Para\"]"},
        {__LINE__, "return json.encode(text.sentences(''))", "[]"},
        {__LINE__,
         "return text.trim('  a b\\n') .. '|' .. text.trim('\xc3\xa4x\xc3\xa4', '\xc3\xa4')",
         "a b|x"},
        {__LINE__,
         "return text.levenshtein('kitten', 'sitting') .. text.levenshtein('', 'ab') .. "
         "text.levenshtein('\xc3\xa4', 'a')",
         "321"},
        {__LINE__,
         "return text.fold('Stra\xc3\x9f"
         "E') .. text.digits('\xd9\xa1\xef\xbc\x92')",
         "strasse12"},
        {__LINE__,
         "return text.normalize(' The cat, a  dog\\n& an-other; THE! ') .. '|' .. "
         "text.normalize('the') "
         ".. '|' .. text.normalize('theatre A.B. it\\'s')",
         "cat dog another||theatre ab its"},
        // Bytes that are not text are read as U+FFFD.
        {__LINE__, "return text.len('a\\xff') .. text.match('a\\xff', 'a(.)')", "2\xef\xbf\xbd"},
    };
    check_cases(cases, sizeof(cases) / sizeof(*cases));
}

static void test_value__messages(void)
{
    static const Case cases[] = {
        {__LINE__, "error('plain')", "error: mine.lua:1: plain"},
        {__LINE__, "error('no place', 0)", "error: no place (at mine.lua:1)"},
        {__LINE__, "error({message = 'from a table'})", "error: from a table (at mine.lua:1)"},
        {__LINE__, "error({})", "error: error value is a table (at mine.lua:1)"},
        {__LINE__, "local function f() error('deep') end\nf()",
         "error: mine.lua:1: deep (called from mine.lua:2)"},
        {__LINE__, "return sample.input.x.y",
         "error: mine.lua:1: attempt to index a nil value (field 'x')"},
        {__LINE__, "return nothing()",
         "error: mine.lua:1: attempt to call a nil value (global 'nothing')"},
        {__LINE__, "return 5",
         "error: a solver must return a reply, text, or {text=, choices=, messages=}, not number"},
        {__LINE__, "return {text = 5}", "error: the solver's text must be text, not number"},
        {__LINE__, "return {text = 'x', messages = {1}}",
         "error: a message must be {role=, content=}, not number"},
        {__LINE__, "return {text = 'x', stop = 'never'}", "error: unknown stop 'never'"},
        {__LINE__, "return {choices = {{}}}", "error: a choice of the solver has no logprob"},
    };
    check_cases(cases, sizeof(cases) / sizeof(*cases));
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("keys and pairs have an order", test_value__order);
    tap_run("json", test_value__json);
    tap_run("text", test_value__text);
    tap_run("messages of errors", test_value__messages);
    return fixture_close();
}
