// SPDX-License-Identifier: MIT
// json.validate.
#include "tests/unit/script/fixture.h"

static void test_schema__validate(void)
{
    static const struct {
        int line;
        const char *body;
        const char *want; // the start of what it returns
    } cases[] = {
        {__LINE__, "return tostring(json.validate({a = 1}, {type = 'object'}))", "true"},
        {__LINE__,
         "local ok, why = json.validate({a = 1}, {properties = {a = {type = 'string'}}}) "
         "return tostring(ok) .. ' ' .. why",
         "false $.a"},
        {__LINE__,
         "return tostring(json.validate(json.decode('[1, 2, 3]'), {type = 'array', "
         "maxItems = 2}))",
         "false"},
        {__LINE__, "return tostring(json.validate(json.null, {type = 'null'}))", "true"},
        {__LINE__, "return tostring(json.validate(5, true)) .. tostring(json.validate(5, false))",
         "truefalse"},
        {__LINE__,
         "return tostring(json.validate('x', {type = 'string', format = 'ipv4'})) .. "
         "tostring(json.validate('x', {type = 'string', format = 'ipv4'}, true))",
         "truefalse"},
        {__LINE__, "json.validate(1, {type = 7}) return ''",
         "error: mine.lua:1: json.validate: the schema: "},
        {__LINE__, "json.validate(print, {}) return ''", "error: "},
        {__LINE__, "json.validate(1) return ''", "error: mine.lua:1: bad argument #2"},
        {__LINE__,
         "local n = 0 for i = 1, 200 do local ok = json.validate(i, {maximum = i % 50}) "
         "n = n + (ok and 1 or 0) end return tostring(n)",
         "49"},
        {__LINE__, "local ok, e = pcall(json.validate, 1, {['$ref'] = '#'}) return tostring(ok)",
         "false"},
        {__LINE__,
         "local t = {} for i = 1, 1000 do t[i] = i end while true do json.validate(t, "
         "{uniqueItems = true, items = {type = 'integer'}}) end",
         "error: mine.lua:1: the budget of"},
        {__LINE__, "json.validate = 1 return ''", "error: mine.lua:1: libraries are read-only"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        Str got = fixture_text(cases[i].body);
        if (!str_starts_with(got, str_from_c(cases[i].want))) {
            printf("# line %d\n", cases[i].line);
            CHECK_STR(got, str_from_c(cases[i].want));
        }
    }
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("json.validate", test_schema__validate);
    return fixture_close();
}
