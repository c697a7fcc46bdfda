// SPDX-License-Identifier: MIT
// What is kept of Lua's libraries agrees with stock Lua: the same chunk runs in a plain lua_State
// and in the sandbox, on random patterns and on a table of expressions.
#include "tests/unit/script/fixture.h"

#include <lauxlib.h>
#include <lualib.h>

#define ROUNDS 60
#define CASES  60

static const char prelude[] = "local out = {}\n"
                              "local function add(ok, ...)\n"
                              "  if not ok then out[#out + 1] = 'error;' return end\n"
                              "  local t = table.pack(...)\n"
                              "  for i = 1, t.n do out[#out + 1] = tostring(t[i]) end\n"
                              "  out[#out + 1] = ';'\n"
                              "end\n"
                              "local function try(f, ...) add(pcall(f, ...)) end\n"
                              "local function patterns(s, p, init, with)\n"
                              "  try(string.find, s, p, init)\n"
                              "  try(string.match, s, p, init)\n"
                              "  try(string.gsub, s, p, with)\n"
                              "  try(string.gsub, s, p, '%0%0', 2)\n"
                              "  try(function()\n"
                              "    local n, all = 0, {}\n"
                              "    for a, b in s:gmatch(p) do n = n + 1 all[#all + 1] = "
                              "tostring(a) .. tostring(b) if n > 20 then break end end\n"
                              "    return n, table.concat(all, ',')\n"
                              "  end)\n"
                              "end\n";

/** The chunk's text result in stock Lua. */
static Str run_stock(Str chunk)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    Str result;
    if (luaL_loadbuffer(L, chunk.data, chunk.len, "=chunk") != LUA_OK ||
        lua_pcall(L, 0, 1, 0) != LUA_OK) {
        result = str_printf(&fixture_arena, "stock: %s", lua_tostring(L, -1));
    } else {
        Str text;
        text.data = lua_tolstring(L, -1, &text.len);
        result = str_copy(&fixture_arena, text);
    }
    lua_close(L);
    return result;
}

static Str run_sandbox(Str chunk)
{
    Err err = ERR_INIT;
    StepOutput out;
    Sample sample = fixture_sample();
    Str text = str_printf(&fixture_arena, "return { solve = function()\n" STR_FMT "\nend }",
                          STR_ARG(chunk));
    if (!fixture_solve(text, &sample, NULL, 0, &out, &err)) {
        return str_printf(&fixture_arena, "sandbox: %s", err.message);
    }
    return out.reply.text;
}

static Rng rng;

static void random_text(Buf *buf, const char *const *pieces, size_t n_pieces, size_t max)
{
    size_t n = (size_t)rng_below(&rng, max + 1);
    for (size_t i = 0; i < n; i++) {
        buf_c(buf, pieces[rng_below(&rng, n_pieces)]);
    }
}

static void test_stock__patterns(void)
{
    static const char *const texts[] = {"a", "b", "c",   "1",   " ",   "(",
                                        ")", "%", "\\n", "x-y", "\\0", "A"};
    static const char *const patterns[] = {
        "a",    "b",     ".",      "%a",  "%d",    "%s",    "%w",    "%p",    "%u",
        "%x",   "%c",    "%l",     "%A",  "%S",    "[ab]",  "[^a]",  "[a-c]", "*",
        "+",    "-",     "?",      "(",   ")",     "()",    "^",     "$",     "%1",
        "%b()", "%f[a]", "%f[%w]", "%%",  "[%a1]", "[]]",   "[^]a]", "[a-]",  "%(",
        "(a*)", "(.-)",  "(%w+)",  ".-b", "%z",    "[%]b]", "\\0",   "%g",    "%"};
    static const char *const withs[] = {"x", "%0", "%1", "<%0>", "%%", "", "%2", "%a"};
    rng_init(&rng, 20251125);
    for (int round = 0; round < ROUNDS; round++) {
        Buf chunk = {0};
        buf_c(&chunk, prelude);
        for (int i = 0; i < CASES; i++) {
            buf_c(&chunk, "patterns('");
            random_text(&chunk, texts, sizeof(texts) / sizeof(*texts), 12);
            buf_c(&chunk, "', '");
            random_text(&chunk, patterns, sizeof(patterns) / sizeof(*patterns), 5);
            buf_printf(&chunk, "', %d, '%s')\n", (int)rng_below(&rng, 8) - 3,
                       withs[rng_below(&rng, sizeof(withs) / sizeof(*withs))]);
        }
        buf_c(&chunk, "return table.concat(out, ' ')");
        Str stock = run_stock(buf_view(&chunk));
        Str sandbox = run_sandbox(buf_view(&chunk));
        if (!str_eq(stock, sandbox)) {
            size_t at = 0;
            while (at < stock.len && at < sandbox.len && stock.data[at] == sandbox.data[at]) {
                at++;
            }
            size_t from = at > 60 ? at - 60 : 0;
            printf("# stock   " STR_FMT "\n", STR_ARG(str_slice(stock, from, at + 60)));
            printf("# sandbox " STR_FMT "\n", STR_ARG(str_slice(sandbox, from, at + 60)));
        }
        CHECK(str_eq(stock, sandbox));
        CHECK(stock.len > 1000);
        buf_finish(&chunk);
        arena_reset(&fixture_arena);
    }
}

static void test_stock__expressions(void)
{
    static const char *const calls[] = {
        // string
        "('x'):rep(3, '-')",
        "('x'):rep(0)",
        "('x'):rep(-1)",
        "('ab'):byte(-1)",
        "('abc'):byte(1, -1)",
        "('abc'):sub(-2)",
        "('abc'):sub(2, 10)",
        "('aBc'):upper() .. ('aBc'):lower()",
        "('abc'):reverse()",
        "('abc'):len()",
        "string.char(104, 105)",
        "('%5d|%-5s|%05.1f|%x|%q|%i'):format(3, 'a', 2.25, 255, 'q\\n', 4)",
        "('%s %s %s'):format(1, 1.5, true)",
        "('%s'):format(nil)",
        "('%d'):format('10')",
        "('%d'):format(1.5)",
        "('%c%%'):format(65)",
        "('%a'):format(0.5)",
        "('%10.3s|'):format('abcdef')",
        "('%y'):format(1)",
        "('%s'):format()",
        "('a,b'):find(',', 1, true)",
        "('a.b'):find('.', 2, true)",
        "('abc'):find('')",
        "('abc'):find('', 10)",
        "('abc'):find('b', -1)",
        "(''):find('')",
        "('abc'):match('^(a)(.)')",
        "('k=v'):match('(%w+)=(%w+)')",
        "('hello world'):gsub('o', {o = '0'})",
        "('hello'):gsub('l', function(c) return c:upper() end)",
        "('abc'):gsub('%w', '%0%0', 2)",
        "('abc'):gsub('', '-')",
        "('abc'):gsub('b', false)",
        "('abc'):gsub('b', function() return {} end)",
        "('x'):gsub('x', '%')",
        "('abc'):gsub('(b)', '%1%1')",
        // arithmetic on texts
        "'10' + 5",
        "'0x10' * '2'",
        "10 .. 20",
        "-'3'",
        "'3' // 2",
        "'7' % 4",
        "'2' ^ 3",
        "'a' + 1",
        "{} + '1'",
        "1 < '2'",
        "'10' / '4'",
        "' 5 ' + 0",
        "'1e1' + 0",
        "'9223372036854775807' + 1",
        // table
        "table.concat({1, 2, 3}, ', ')",
        "table.concat({1, 2, 3}, ', ', 2)",
        "table.concat({1, 2, 3}, ', ', 2, 3)",
        "table.concat({})",
        "table.concat({{}})",
        "table.concat({1, nil, 3})",
        "(function() local t = {1, 2} table.insert(t, 3) table.insert(t, 1, 0) return "
        "table.concat(t, ' ') end)()",
        "(function() local t = {1, 2, 3} return table.remove(t), table.remove(t, 1), #t, "
        "table.remove(t), table.remove(t) end)()",
        "table.insert({1}, 5, 2)",
        "table.insert({1}, 1, 2, 3)",
        "table.remove({}, 5)",
        "table.insert({1})",
        "table.unpack({1, 2, 3})",
        "table.unpack({1, 2, 3}, 2)",
        "table.unpack({1, 2}, 1, 3)",
        "table.unpack({}, 2, 1)",
        "table.pack(1, nil, 3).n",
        "select('#', table.unpack({}, 1, 3))",
        "table.concat(table.move({1, 2, 3}, 1, 3, 2), ' ')",
        "table.concat(table.move({1, 2, 3}, 2, 3, 1), ' ')",
        "table.concat(table.move({1, 2, 3}, 1, 3, 3, {9, 9}), ' ')",
        "(function() local t = {3, 1, 2} table.sort(t) return table.concat(t, ' ') end)()",
        "(function() local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return "
        "table.concat(t, ' ') end)()",
        "table.sort({1, 'a'})",
        "table.sort({1, {}, 2}, function(a, b) return a < b end)",
        "(function() local t = {'b', 'a', 'C'} table.sort(t) return table.concat(t) end)()",
        // base
        "tostring(1e15)",
        "tostring(2^53)",
        "tostring(-0.0)",
        "tostring(1/0)",
        "tostring(3 // 0.0)",
        "tostring(nil)",
        "tonumber('0x1p4')",
        "tonumber('10', 2)",
        "tonumber('z', 36)",
        "tonumber('')",
        "tonumber('1e')",
        "tonumber(' 12 ')",
        "tonumber('8', 8)",
        "tonumber({})",
        "tonumber()",
        "type(print)",
        "rawlen({1, 2})",
        "rawequal('a', 'a')",
        "rawget({a = 1}, 'a')",
        "rawset({}, 'a', 1).a",
        "select(-1, 1, 2, 3)",
        "select(2, 1, 2, 3)",
        "select(0)",
        "pcall(error, 'x')",
        "pcall(error)",
        "pcall(error, {}) == false",
        "xpcall(error, function(m) return m .. '!' end, 'x')",
        "assert(1, 2)",
        "assert(false, 'no')",
        "assert(nil)",
        "setmetatable({}, {__index = {a = 5}}).a",
        "getmetatable(setmetatable({}, {__metatable = 'locked'}))",
        "setmetatable(setmetatable({}, {__metatable = 1}), {})",
        "#setmetatable({}, {__len = function() return 7 end})",
        "tostring(setmetatable({}, {__tostring = function() return 'T' end}))",
        "(function() local s = 0 for k, v in pairs({10, 20, 30}) do s = s + k * v end return s "
        "end)()",
        "(function() local s = '' for k, v in pairs(setmetatable({}, {__pairs = function() return "
        "next, {5}, nil end})) do s = s .. k .. v end return s end)()",
        "(function() local n = 0 for i, v in ipairs({1, 2, nil, 4}) do n = n + 1 end return n "
        "end)()",
        "next({})",
        "next({7})",
        "next({7}, 1)",
        "next({}, 'x')",
        "(function() goto a do return 1 end ::a:: return 2 end)()",
        // coroutine
        "coroutine.wrap(function(...) local a = coroutine.yield(...) return a end)(5)",
        "(function() local co = coroutine.create(function() coroutine.yield(1) error('e') end)\n"
        "local a, b = coroutine.resume(co) local c = coroutine.resume(co) return a, b, c, "
        "coroutine.status(co) end)()",
        "coroutine.isyieldable()",
        "coroutine.resume(coroutine.create(5))",
        "coroutine.close(coroutine.create(print))",
        // math and utf8
        "math.max(1, 2.5)",
        "math.floor(-1.5)",
        "math.ceil(1.5)",
        "math.fmod(-7, 3)",
        "math.tointeger(3.0)",
        "math.type(1)",
        "math.abs(math.mininteger)",
        "math.ult(1, -1)",
        "7 // 2",
        "-7 // 2",
        "7 % -3",
        "1 // 0",
        "2^0.5",
        "1e308 * 10",
        "3 | 4",
        "~0",
        "1.5 | 1",
        "math.huge // 1",
        "5 // 0.0",
        "math.pi",
        "math.sqrt(2)",
        "utf8.char(228, 8364)",
        "utf8.len('\\u{e4}\\u{20ac}')",
        "utf8.len('\\xff')",
        "utf8.codepoint('\\u{20ac}')",
        "utf8.offset('\\u{e4}b', 2)",
        "(function() local s = '' for p, c in utf8.codes('a\\u{e4}') do s = s .. p .. '=' .. c .. "
        "' ' end return s end)()",
        "utf8.charpattern",
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
        Str chunk = str_printf(&fixture_arena,
                               "%stry(function() return %s end) return table.concat(out, ' ')",
                               prelude, calls[i]);
        Str stock = run_stock(chunk);
        Str sandbox = run_sandbox(chunk);
        if (!str_eq(stock, sandbox)) {
            printf("# %s\n", calls[i]);
        }
        CHECK_STR(sandbox, stock);
    }
}

int main(void)
{
    if (!fixture_open(NULL)) {
        return 1;
    }
    tap_run("random patterns", test_stock__patterns);
    tap_run("expressions", test_stock__expressions);
    return fixture_close();
}
