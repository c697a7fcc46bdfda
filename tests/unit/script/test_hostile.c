// SPDX-License-Identifier: MIT
// Hostile scripts: each ends in its own call, within its budget, with a file and line in the
// message, and the next call works. The numbers are those of the list the sandbox was designed
// against.
#include "script/script.h"
#include "tests/unit/tap.h"
#include "text/text.h"

#include <stdlib.h>

#define INSTRUCTIONS 20000000
#define DEADLINE_MS  2000
#define PATIENT_MS   60000
#define SLACK_MS     4000 // sanitizers, a loaded machine
#define MEMORY_BYTES ((size_t)16 << 20)

/** How a script has to end. */
typedef enum Ends {
    ENDS_BUDGET, // abandoned
    ENDS_SCRIPT, // an ordinary error
    ENDS_EITHER, // one of the two
    ENDS_WELL,   // it finishes: the attack has no effect
} Ends;

typedef struct Case {
    int line;
    const char *number;
    const char *code; // the body of solve(sample, ctx, params), from line 2 of the file
    Ends ends;
    const char *says; // in the message, or the text of the reply
} Case;

static const Case cases[] = {
    {__LINE__, "1 endless loop", "while true do end", ENDS_BUDGET, "instructions"},
    {__LINE__, "2 pcall around it", "while true do pcall(function() while true do end end) end",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "3 coroutine spin",
     "local co = coroutine.wrap(function() while true do coroutine.yield() end end)\n"
     "while true do co() end",
     ENDS_BUDGET, ""},
    {__LINE__, "3b coroutine that spins", "coroutine.wrap(function() while true do end end)()",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "4 coroutine farm", "while true do coroutine.wrap(function() end)() end",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "4b farm of short spins",
     "while true do\n"
     "local co = coroutine.create(function() for i = 1, 200 do end coroutine.yield() end)\n"
     "coroutine.resume(co) end",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "5 resume(create(spin)) farm",
     "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "6 __close spin on main",
     "local x <close> = setmetatable({}, {__close = function() while true do end end})\nerror('x')",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "7 __close spin in a coroutine",
     "local co = coroutine.create(function()\n"
     "local x <close> = setmetatable({}, {__close = function() while true do end end})\n"
     "coroutine.yield() end)\n"
     "coroutine.resume(co) coroutine.close(co)",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "7b __close spin after a spin",
     "coroutine.wrap(function()\n"
     "local x <close> = setmetatable({}, {__close = function() while true do end end})\n"
     "while true do end end)()",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "8 __gc", "setmetatable({}, {__gc = function() while true do end end})", ENDS_SCRIPT,
     "__gc is not supported"},
    {__LINE__, "9 __gc set later",
     "local mt = {} for i = 1, 1000 do setmetatable({}, mt) end\n"
     "mt.__gc = function() while true do end end\n"
     "local t for i = 1, 100000 do t = {i} end return 'done'",
     ENDS_WELL, "done"},
    {__LINE__, "10 xpcall handler spin",
     "xpcall(function() while true do end end, function() while true do end end)", ENDS_BUDGET,
     "instructions"},
    {__LINE__, "10b xpcall handler spin after an error",
     "xpcall(error, function() while true do end end)", ENDS_BUDGET, "instructions"},
    {__LINE__, "11 rep of 16 GiB", "return ('x'):rep(1 << 34)", ENDS_SCRIPT, "rep: a string"},
    {__LINE__, "11b doubling rep", "local s = 'x' while true do s = s:rep(2) end", ENDS_EITHER, ""},
    {__LINE__, "11c doubling concat", "local s = 'x' while true do s = s .. s end", ENDS_EITHER,
     ""},
    {__LINE__, "12 rep of nothing", "return string.rep('', 1 << 60)", ENDS_SCRIPT, "rep: a string"},
    {__LINE__, "13 pcall of rep",
     "local t = {} while true do pcall(function() t[#t + 1] = ('x'):rep(1000000) .. #t end) end",
     ENDS_BUDGET, ""},
    {__LINE__, "14 growing table", "local t = {} while true do t[#t + 1] = {} end", ENDS_BUDGET,
     ""},
    {__LINE__, "14b strings that a C function builds",
     "local t = {} while true do t[#t + 1] = ('x'):rep(1000000) .. #t end", ENDS_BUDGET,
     "hostile.lua:2: the memory budget of "},
    {__LINE__, "15 backtracking pattern", "return ('a'):rep(60):find(('a-'):rep(30) .. 'b')",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "15b cubic gsub", "return (('a'):rep(20000):gsub('.-.-b', ''))", ENDS_BUDGET,
     "instructions"},
    {__LINE__, "15c too complex", "return ('x'):rep(300):match(('x?'):rep(300))", ENDS_SCRIPT,
     "pattern too complex"},
    {__LINE__, "15d backtracking regex", "return text.match(('a'):rep(60), '^(a+)+$(*FAIL)')",
     ENDS_EITHER, ""},
    {__LINE__, "15e backtracking regex in a loop",
     "while true do pcall(text.match, ('a'):rep(40) .. 'b', '(a|a)*$') end", ENDS_BUDGET, ""},
    {__LINE__, "16 quadratic plain find",
     "local a = ('a'):rep(4000000) return tostring(a:find(('a'):rep(2000000) .. 'b', 1, true))",
     ENDS_WELL, "nil"},
    {__LINE__, "17 table.move", "table.move({}, 1, 1 << 40, 2)", ENDS_SCRIPT, "move"},
    {__LINE__, "17b lying __len",
     "local t = setmetatable({}, {__len = function() return 1 << 40 end})\n"
     "table.insert(t, 1, 'x') table.remove(t, 1) table.unpack(t) return table.concat(t)",
     ENDS_WELL, ""},
    {__LINE__, "17c lying __index",
     "local t = setmetatable({}, {__index = function() return 'x' end})\n"
     "return table.concat(t, '', 1, 1 << 40)",
     ENDS_SCRIPT, "invalid value"},
    {__LINE__, "18 lying comparator",
     "local t = {} for i = 1, 1000 do t[i] = i % 7 end\n"
     "table.sort(t, function() return true end) return 'done'",
     ENDS_WELL, "done"},
    {__LINE__, "18b comparator that spins", "table.sort({1, 2}, function() while true do end end)",
     ENDS_BUDGET, "instructions"},
    {__LINE__, "19 deep recursion", "local function f() return 1 + f() end f()", ENDS_EITHER, ""},
    // The stack itself finds no room: from Lua 5.4.6 on it can not be asked for the line then.
    {__LINE__, "19a a stack that does not fit",
     "local t = {} for i = 1, 12 do t[i] = ('x'):rep(1000000 + i) end\n"
     "local function f() local a, b, c, d, e, f, g, h, i, j return 1 + t.f() end t.f = f\n"
     "while true do pcall(f) end",
     ENDS_BUDGET, ": the memory budget of "},
    {__LINE__, "19b gsub recursion", "local function f() return (('x'):gsub('x', f)) end f()",
     ENDS_SCRIPT, "overflow"},
    {__LINE__, "19c coroutine nesting", "local function f() return coroutine.wrap(f)() end f()",
     ENDS_SCRIPT, "hostile.lua:2: hostile.lua:2"},
    {__LINE__, "19d __index chain",
     "local t = {} for i = 1, 3000 do t = setmetatable({}, {__index = t}) end return t.x",
     ENDS_SCRIPT, "loop"},
    {__LINE__, "19e tostring recursion",
     "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) "
     "end\n"
     "tostring(t)",
     ENDS_SCRIPT, "overflow"},
    {__LINE__, "20 unpack", "return select('#', table.unpack({}, 1, 1e8))", ENDS_SCRIPT, "unpack"},
    {__LINE__, "20b byte", "return ('x'):rep(10000000):byte(1, -1)", ENDS_EITHER, ""},
    {__LINE__, "21 error(nil)", "error(nil)", ENDS_SCRIPT, ""},
    {__LINE__, "21b error with a looping __tostring",
     "error(setmetatable({}, {__tostring = function() while true do end end}))", ENDS_SCRIPT,
     "a table"},
    {__LINE__, "21c error of 20 MB", "error(('x'):rep(5000000))", ENDS_SCRIPT, "xxx"},
    {__LINE__, "21d error with bytes", "error('\\xff\\0\\x1b[31m')", ENDS_SCRIPT, ""},
    {__LINE__, "22 load", "return load('return 1')", ENDS_SCRIPT, "nil value (global 'load')"},
    {__LINE__, "22b string.dump", "return string.dump(function() end)", ENDS_SCRIPT, "'dump'"},
    {__LINE__, "23 escapes",
     "for _, name in ipairs{'os', 'io', 'debug', 'package', 'require', 'dofile', 'loadfile', "
     "'load',\n"
     "  'collectgarbage', '_G', 'warn'} do\n"
     "  if _ENV[name] ~= nil then return name end\n"
     "end\n"
     "if getmetatable('') ~= false then return 'string metatable' end\n"
     "if getmetatable(string) ~= false then return 'library metatable' end\n"
     "if getmetatable(_ENV) ~= false then return 'globals' end\n"
     "if string.dump or math.random or string.pack then return 'left in' end\n"
     "return 'sealed'",
     ENDS_WELL, "sealed"},
    {__LINE__, "23b writing to a library", "string.upper = nil", ENDS_SCRIPT, "read-only"},
    {__LINE__, "23c rawset of a library", "rawset(string, 'upper', 1)", ENDS_SCRIPT, "read-only"},
    {__LINE__, "23d insert into a library", "table.insert(string, 1)", ENDS_SCRIPT, "read-only"},
    {__LINE__, "23e addresses",
     "local s = tostring({}) .. tostring(print) .. ('%s'):format({}) .. "
     "tostring(coroutine.create(print))\n"
     "return s:find('0x') and s or 'none'",
     ENDS_WELL, "none"},
    {__LINE__, "23f %p", "return ('%p'):format({})", ENDS_SCRIPT, "'%p'"},
    {__LINE__, "24 yield inside sort",
     "coroutine.wrap(function() table.sort({1, 2}, function() coroutine.yield() end) end)()",
     ENDS_SCRIPT, "C-call boundary"},
    {__LINE__, "24b yield inside gsub",
     "coroutine.wrap(function() ('x'):gsub('x', coroutine.yield) end)()", ENDS_SCRIPT,
     "C-call boundary"},
    {__LINE__, "24c yield outside", "coroutine.yield()", ENDS_SCRIPT, "outside a coroutine"},
    {__LINE__, "25 cycle", "local t = {text = 'x'} t.choices = {t} return t", ENDS_SCRIPT,
     "logprob"},
    {__LINE__, "25b json cycle", "local t = {} t[1] = t return json.encode(t)", ENDS_SCRIPT,
     "contains itself"},
    {__LINE__, "25c NaN", "return json.encode({0/0})", ENDS_SCRIPT, "NaN"},
    {__LINE__, "25d bytes", "return {text = 'a\\0b\\xff'}", ENDS_WELL, NULL},
    {__LINE__, "25e a million keys",
     "local t = {} for i = 1, 1000000 do t['k' .. i] = i end return json.encode(t)", ENDS_BUDGET,
     ""},
    {__LINE__, "25f depth", "local t = {} for i = 1, 100 do t = {t} end return json.encode(t)",
     ENDS_SCRIPT, "deeper"},
    {__LINE__, "25g shared branches",
     "local t = {1} for i = 1, 40 do t = {t, t} end return json.encode(t)", ENDS_EITHER, ""},
    {__LINE__, "25h shared string",
     "local s = ('x'):rep(1000000) local t = {} for i = 1, 1000 do t[i] = s end\n"
     "return json.encode(t)",
     ENDS_EITHER, ""},
    {__LINE__, "25i function in a value", "return json.encode({print})", ENDS_SCRIPT, "function"},
    {__LINE__, "25j result of the wrong kind", "return {1, 2}", ENDS_SCRIPT, "must return"},
    {__LINE__, "25k a sample as result", "return sample", ENDS_SCRIPT, "must return"},
    {__LINE__, "26 print flood", "while true do print(('x'):rep(1000)) end", ENDS_BUDGET, ""},
    {__LINE__, "26b note flood", "while true do ctx.note(('x'):rep(1000)) end", ENDS_BUDGET, ""},
    {__LINE__, "27 globals", "leak = (leak or 0) + 1 return tostring(leak)", ENDS_WELL, "1"},
    {__LINE__, "28 failing requests in a loop",
     "while true do pcall(ctx.generate, {{role = 'user', content = ('x'):rep(100000)}, {}}) end",
     ENDS_BUDGET, ""},
    {__LINE__, "28b failing conversions in a loop",
     "local t = {} for i = 1, 10000 do t[i] = i end t[10001] = print\n"
     "while true do pcall(json.encode, t) end",
     ENDS_BUDGET, ""},
    {__LINE__, "28c a million patterns", "for i = 1, 1000000 do text.match('x', 'x' .. i) end",
     ENDS_BUDGET, ""},
    {__LINE__, "28d long numbers",
     "local s = ('1'):rep(3000000) while true do local x = tonumber(s) or s + 1 end", ENDS_SCRIPT,
     "arithmetic"},
    {__LINE__, "28e number arguments",
     "local s = (' '):rep(3000000) .. '1' while true do math.floor(s) end", ENDS_EITHER, ""},
    {__LINE__, "28f comparing long strings",
     "local a, b = ('x'):rep(4000000) .. 'a', ('x'):rep(4000000) .. 'b'\n"
     "while true do if a == b or a < b and false then break end end",
     ENDS_BUDGET, ""},
    {__LINE__, "28g utf8 of long strings",
     "local s = ('x'):rep(4000000) while true do utf8.len(s) utf8.offset(s, -1) end", ENDS_BUDGET,
     ""},
    {__LINE__, "28h weak tables", "setmetatable({}, {__mode = 'k'})", ENDS_SCRIPT, "__mode"},
    {__LINE__, "28i nested ctx.all", "local function f() ctx.all{f, f} end f()", ENDS_EITHER, ""},
    {__LINE__, "28j levenshtein",
     "return tostring(text.levenshtein(('a'):rep(19999), ('b'):rep(19999)))", ENDS_BUDGET, ""},
    {__LINE__, "28k ctx.render bomb",
     "return ctx.render('{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% "
     "endfor %}')",
     ENDS_BUDGET, ""},
    {__LINE__, "28l many templates",
     "local i = 0 while true do i = i + 1 ctx.render('{{ 1 }}' .. i) end", ENDS_BUDGET, ""},
    {__LINE__, "28m emergency collections",
     "local t = {} pcall(function() while true do t[#t + 1] = {} end end)\n"
     "while true do local s = {} end",
     ENDS_BUDGET, ""},
    {__LINE__, "28n sort of a million",
     "local t = {} for i = 1, 600000 do t[i] = -i end\n"
     "while true do table.sort(t) table.sort(t, function(a, b) return a > b end) end",
     ENDS_BUDGET, ""},
};

// One that gives up by the clock, and one for those that are to run out of instructions: on a slow
// machine the clock would be first.
static Script *hasty;
static Script *patient;
static Script *script; // of the current case
static Arena arena;
static const Case *current;

static Sample hostile_sample(void)
{
    return (Sample){.id = STR("1"),
                    .input = value_str(STR("x")),
                    .row = value_map(NULL, 0),
                    .metadata = value_map(NULL, 0),
                    .part_vars = value_map(NULL, 0),
                    .prompt = {.text = STR("x")}};
}

/** Valid UTF-8 without control bytes: fit to be printed. */
static bool utf8_is_plain(Str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.data[i] < 0x20 && s.data[i] != '\n' && s.data[i] != '\t') {
            return false;
        }
    }
    return utf8_is_valid(s);
}

static bool solve(Str text, StepOutput *out, Err *err)
{
    ScriptUnit unit = {.kind = UNIT_SOLVER,
                       .name = STR("hostile"),
                       .file = STR("hostile.lua"),
                       .line = 1,
                       .text = text,
                       .params = value_map(NULL, 0)};
    Program *program;
    if (!script_program_create(script, &unit, 1, NULL, &program, err)) {
        return false;
    }
    Sample sample = hostile_sample();
    StepInput in = {.sample = &sample, .epoch = 1};
    bool ok = script_solve(script, program, &in, &arena, out, err);
    if (ok && !out->done) {
        ok = ERR_SET(err, ERR_INTERNAL, "it waits for a reply");
    }
    script_program_destroy(script, program);
    return ok;
}

/** An honest script, to see that the last one left nothing behind. */
static void check_next_call(void)
{
    Err err = ERR_INIT;
    StepOutput out;
    if (CHECK_OK(solve(STR("return { solve = function(sample) return sample.prompt .. "
                           "#text.chars('äö') end }"),
                       &out, &err),
                 &err)) {
        CHECK_STR(out.reply.text, STR("x2"));
    }
}

static void test_case(void)
{
    Err err = ERR_INIT;
    StepOutput out;
    arena_reset(&arena);
    bool counts = current->says != NULL && strcmp(current->says, "instructions") == 0;
    int64_t deadline_ms = counts ? PATIENT_MS : DEADLINE_MS;
    script = counts ? patient : hasty;
    Str text = str_printf(&arena, "return { solve = function(sample, ctx, params)\n%s\nend }",
                          current->code);
    int64_t start = clock_ns();
    bool ok = solve(text, &out, &err);
    int64_t ms = (clock_ns() - start) / 1000000;
    Str message = str_from_c(err.message);
    bool as_wanted = current->ends == ENDS_WELL     ? ok
                     : current->ends == ENDS_BUDGET ? !ok && err.code == ERR_BUDGET
                     : current->ends == ENDS_SCRIPT
                         ? !ok && err.code == ERR_SCRIPT
                         : !ok && (err.code == ERR_BUDGET || err.code == ERR_SCRIPT);
    if (!as_wanted) {
        printf("# line %d: %s [%s] " STR_FMT "\n", current->line, ok ? "ended well" : err.message,
               err_code_word(err.code), STR_ARG(ok ? out.reply.text : STR_EMPTY));
    }
    CHECK(as_wanted);
    CHECK(ms < deadline_ms + SLACK_MS);
    if (!ok) {
        CHECK(str_find(message, STR("hostile.lua:"), 0) != STR_NONE);
        CHECK(str_find(message, str_from_c(current->says), 0) != STR_NONE);
        CHECK(utf8_is_plain(message));
        if (getenv("VERBOSE")) {
            printf("# %lld ms: %.200s\n", (long long)ms, err.message);
        }
    } else if (current->says != NULL) {
        CHECK_STR(out.reply.text, str_from_c(current->says));
    }
    check_next_call();
}

int main(void)
{
    ScriptBudget budget = {
        .instructions = INSTRUCTIONS, .deadline_ms = DEADLINE_MS, .memory_bytes = MEMORY_BYTES};
    Err err = ERR_INIT;
    bool ok = script_create(&budget, &hasty, &err);
    budget.deadline_ms = PATIENT_MS;
    if (!ok || !script_create(&budget, &patient, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        current = &cases[i];
        tap_run(current->number, test_case);
    }
    script_destroy(hasty);
    script_destroy(patient);
    arena_finish(&arena);
    return tap_done();
}
