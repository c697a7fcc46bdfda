-- SPDX-License-Identifier: MIT
-- Tests of the Jinja compiler under a plain lua5.4: jinja_test.lua SCRIPT_DIR TESTS_DIR. TAP.
-- jinja_cases.jsonl holds what Python's jinja2 says of 1,600 templates (jinja_expect.py wrote it); the tables below hold
-- what is ours: messages, values, helpers, limits, and the templates of the example evals.

local script_dir, tests_dir = arg[1], arg[2]
package.path = tests_dir .. "/?.lua;" .. package.path
local shim = require("jinja_shim")
local value = shim.value
local jinja = shim.compiler(script_dir)

-- ---- TAP -------------------------------------------------------------------------------------------------

local n_tests, n_failed = 0, 0

local function check(ok, name, why)
  n_tests = n_tests + 1
  if not ok then n_failed = n_failed + 1 end
  name = name:gsub("[\n\r]", "\\n"):gsub("[^\32-\126]", "?"):gsub("#", "\\#")
  print((ok and "ok " or "not ok ") .. n_tests .. " - " .. name:sub(1, 150))
  if not ok and why then print("# " .. why:gsub("\n", "\n# ")) end
end

local function shown(v)
  if type(v) == "string" then return string.format("%q", v):gsub("\\\n", "\\n") end
  return tostring(v)
end

local function check_equal(got, want, name)
  check(got == want and math.type(got) == math.type(want), name, "got  " .. shown(got) .. "\nwant " .. shown(want))
end

-- ---- Running templates -------------------------------------------------------------------------------------

local runtime = shim.runtime(script_dir)

-- The value of a template, or nil and the message.
local function render(template, vars, options, J)
  options = options or {}
  options.file = options.file or "t"
  local code, message = jinja.compile(template, options)
  if not code then return nil, message end
  local chunk, wrong = load(code, "=" .. options.file, "t")
  if not chunk then return nil, "Lua does not take the code: " .. wrong end
  local ok, out = pcall(function() return chunk(J or runtime)(vars or {}) end)
  if ok then return out end
  return nil, tostring(out)
end

-- A value as JSON, for comparison.
local function as_json(v)
  return runtime.filters.tojson(v)
end

local function text_of(template, vars, options)
  options = options or {}
  options.force_text = true
  return render(template, vars, options)
end

-- ---- What jinja2 says ---------------------------------------------------------------------------------------

local function test_cases()
  local file = assert(io.open(tests_dir .. "/jinja_cases.jsonl", "rb"))
  local shared = file:read("l")
  local number = 1
  for line in file:lines() do
    number = number + 1
    local case = shim.json(line)
    local got, message = text_of(case.template, case.vars or shim.json(shared), { lenient = case.lenient })
    local name = "line " .. number .. ": " .. case.template
    if case.text then
      check(got == case.text, name, "got  " .. shown(got or message) .. "\nwant " .. shown(case.text))
    else
      local at = message and tonumber(message:match("^t:(%d+): ") or message:match("^line (%d+), "))
      local own = message and (message:find("attempt to", 1, true) or message:find("Lua does not", 1, true))
      check(not got and not own and (case.line == 0 or at == case.line), name,
        "got  " .. shown(got or message) .. "\nwant an error on line " .. case.line)
    end
  end
  file:close()
end

-- ---- Chat templates -------------------------------------------------------------------------------------------

-- The arguments of tool calls as objects, which Qwen2.5's golden was made with.
local function parse_arguments(context)
  for _, message in ipairs(context.messages) do
    for _, call in ipairs(message.tool_calls or {}) do
      call["function"].arguments = shim.json(call["function"].arguments)
    end
  end
end

local GOLDENS = { -- template: contexts
  { "NousResearch-Hermes-2-Pro-Mistral-7B-default", "simple", "system" },
  { "NousResearch-Hermes-2-Pro-Mistral-7B-tool_use", "simple", "system", "tool_use" },
  { "Qwen-Qwen2-7B-Instruct", "simple", "system" },
  { "Qwen-Qwen2.5-7B-Instruct", "simple", "system", "tool_use" },
  { "abacusai-Fewshot-Metamath-OrcaVicuna-Mistral", "simple", "system" },
  { "microsoft-Phi-3-mini-4k-instruct", "simple", "system" },
  { "microsoft-Phi-3.5-mini-instruct", "simple", "system" },
  { "mistralai-Mistral-7B-Instruct-v0.2", "simple", "system" },
  { "mistralai-Mistral-Nemo-Instruct-2407", "simple", "system", "tool_use" },
  { "mistralai-Mixtral-8x7B-Instruct-v0.1", "simple", "system" },
  { "mlabonne-AlphaMonarch-7B", "simple", "system" },
  { "openchat-openchat-3.5-0106", "simple", "system" },
  { "teknium-OpenHermes-2.5-Mistral-7B", "simple", "system" },
}

local function test_goldens()
  local mirror = os.getenv("MUSTER_MIRROR")
  local folder = mirror and mirror .. "/chat_templates/"
  if not folder or not shim.read(folder .. "contexts/simple.json") then
    n_tests = n_tests + 1
    print("ok " .. n_tests .. " - chat templates # SKIP MUSTER_MIRROR has no chat_templates")
    return
  end
  for _, row in ipairs(GOLDENS) do
    local template = assert(shim.read(folder .. "templates/" .. row[1] .. ".jinja"))
    for i = 2, #row do
      local context = shim.json(shim.read(folder .. "contexts/" .. row[i] .. ".json"))
      if row[1]:find("Qwen2.5", 1, true) then parse_arguments(context) end
      local got, message = text_of(template, context, { lenient = true })
      local want = shim.read(folder .. "goldens/" .. row[1] .. "-" .. row[i] .. ".txt")
      check(got == want, row[1] .. "-" .. row[i], message or "differs from the golden")
    end
  end
end

-- ---- Messages --------------------------------------------------------------------------------------------------

local MESSAGES = { -- template, message (options line 10, indent 4: as in a block of a YAML file)
  { "{{ x | uper }}", "line 10, column 12: unknown filter 'uper' (did you mean 'upper'?)" },
  { "{{ x | random }}", "line 10, column 12: filter 'random' is not supported" },
  { "{{ x is definde }}", "line 10, column 13: unknown test 'definde' (did you mean 'defined'?)" },
  { "\n\n{% fro x in y %}{% endfor %}", "line 12, column 8: unknown tag 'fro' (did you mean 'for'?)" },
  { "{% include 'x' %}", "line 10, column 8: tag 'include' is not supported" },
  { "{% if a %}\n{% for b in c %}\n{% endif %}",
    "line 12, column 8: unexpected 'endif'; 'for' of line 11 expects endfor or else" },
  { "a\n{% if a %}\nb", "line 12, column 6: 'if' of line 11 is never closed: expected elif or else or endif" },
  { "{{ x.split('a').uper() }}", "line 10, column 21: unknown method 'uper' (did you mean 'upper'?)" },
  { "{{ x.replace('a') }}", "line 10, column 17: method 'replace' needs 'new'" },
  { "{{ x | replace('a') }}", "line 10, column 12: filter 'replace' needs 'new'" },
  { "{{ x | indent(widht=2) }}", "line 10, column 12: filter 'indent' has no argument 'widht' (did you mean 'width'?)" },
  { "{{ x | trim(1, 2) }}", "line 10, column 12: filter 'trim' takes at most 1 argument" },
  { "{{ 'abc }}", "line 10, column 8: string is never closed" },
  { "{{ (1 }}", "line 10, column 11: unexpected '}', expected ')'" },
  { "{{ 1 + }}", "line 10, column 12: expected an expression, got '}}'" },
  { "{{ a b }}", "line 10, column 10: expected '}}', got 'b'" },
  { "{{ a", "line 10, column 5: '{{' is never closed: expected '}}'" },
  { "{# a", "line 10, column 5: comment is never closed: expected '#}'" },
  { "{% break %}", "line 10, column 8: 'break' outside of a loop" },
  { "{% for x in y recursive %}{% endfor %}",
    "line 10, column 19: recursive loops are not supported; use a macro" },
  { "{{ 99999999999999999999 }}", "line 10, column 8: integer is too large" },
  { "{{ input | map('clean') }}", "line 10, column 16: unknown filter 'clean'" },
  { "{{ input | select('od') }}", "line 10, column 16: unknown test 'od' (did you mean 'odd'?)" },
  -- at run time: the file as the host names the chunk
  { "\n{{ shots }}\n", "e.yaml:11: 'shots' is undefined" },
  { "a\nb {{ row.c\n.zz }}", "e.yaml:12: 'dict object' has no attribute 'zz' (it has: y)" },
  { "{% for x in row.c.y %}\n{{ x + 1 }}\n{% endfor %}", 'e.yaml:11: can only concatenate str (not "int") to str' },
  { "{{ row.c.y | sum }}", "e.yaml:10: unsupported operand type(s) for +: 'int' and 'str'" },
  { "{% macro m(a) %}\n{{ a }}{% endmacro %}\n{{ m() }}", "e.yaml:11: parameter 'a' was not provided" },
  { "{{ 1 if row.d == 2 else 3 }}", "e.yaml:10: 'dict object' has no attribute 'd' (it has: c)" },
  { "{{ row.c.y | sort(attribute='a.b') }}", "e.yaml:10: 'str object' has no attribute 'a'" },
  { "{{ 9223372036854775807 + 1 }}", "e.yaml:10: integer result is out of range (64 bits)" },
  { "{{ raise_exception('no tools here') }}", "e.yaml:10: no tools here" },
  { "{{ strftime_now('%Y') }}", "e.yaml:10: strftime_now: there is no clock here" },
}

local function test_messages()
  local vars = shim.json('{"row": {"c": {"y": ["a", "b"]}}, "x": "abc"}')
  for _, case in ipairs(MESSAGES) do
    local _, message = render(case[1], vars, { file = "e.yaml", line = 10, indent = 4 })
    check_equal(message, case[2], "message of " .. case[1])
  end
end

-- ---- Values: a template that is one expression keeps its type -------------------------------------------------------

local VALUES = { -- template, value as JSON, what it is
  { "{{ 3 }}", "3", "integer" },
  { "{{ 3.0 }}", "3.0", "float" },
  { "{{ '3' }}", '"3"', "string" },
  { "{{ n }}", "7", "integer" },
  { "{{ n > 3 }}", "true", "boolean" },
  { "{{ none }}", "null", "null" },
  { "{{ [n, 'a'] }}", '[7, "a"]', "list" },
  { "{{ (1, 2) }}", "[1, 2]", "list" },
  { "{{ range(3) }}", "[0, 1, 2]", "list" },
  { "{{ m.items() }}", '[["b", 1], ["a", 2]]', "list" },
  { "{{ m.keys() }}", '["b", "a"]', "list" },
  { "{{ m }}", '{"b": 1, "a": 2}', "map" },
  { "{{ {'z': 1, 'y': [m]} }}", '{"z": 1, "y": [{"b": 1, "a": 2}]}', "map" },
  { "{{ xs | map('string') }}", '["3", "1"]', "list" },
  { "{{ xs | selectattr(0) | list }}", "[]", "list", true },
  { "{{- n -}}", "7", "integer" },
  { "{{ n }}\n", "7", "integer" },
  { "{{ n }} ", '"7 "', "string" },
  { " {{ n }}", '" 7"', "string" },
  { "{{ n }}{{ n }}", '"77"', "string" },
  { "{# c #}{{ n }}", '"7"', "string" },
  { "{{ n if false else [] }}", "[]", "list" },
  { "{{ zz }}", "null", "null", true },
  { "7", '"7"', "string" },
  { "", '""', "string" },
}

local function kind_of(v)
  if v == value.null then return "null" end
  if type(v) == "table" then return value.kind(v) end
  return math.type(v) or type(v)
end

local function test_values()
  local vars = shim.json('{"n": 7, "m": {"b": 1, "a": 2}, "xs": [3, 1]}')
  for _, case in ipairs(VALUES) do
    local got, message = render(case[1], vars, { lenient = case[4] })
    check_equal(got == nil and message or as_json(got), case[2], "value of " .. case[1])
    check_equal(kind_of(got), case[3], "kind of " .. case[1])
  end
  check_equal(text_of("{{ n }}", vars), "7", "force_text makes text of an expression")
end

-- ---- What is found out at compile time -------------------------------------------------------------------------------

local function names(list)
  return table.concat(list, " ")
end

local INFO = { -- template, names, optional, functions
  { "{{ a }} {{ b.c }} {{ d['e'] }}", "a b d", "", "" },
  { "{% for x in xs %}{{ x }}{{ loop.index }}{{ y }}{% endfor %}{{ x }}", "x xs y", "", "" },
  { "{% set a = b %}{{ a }}", "b", "", "" },
  { "{{ a }}{% set a = 1 %}", "a", "", "" },
  { "{% if c %}{% set s = 1 %}{% endif %}{{ s is defined }}", "c", "", "" },
  { "{% if not a is defined %}{% set a = 1 %}{% endif %}{{ a }}", "a", "", "" },
  { "{{ a is defined }}{{ b | default(1) }}{{ c }}{{ c is defined }}", "a b c", "a b", "" },
  { "{% macro f(p, q=r) %}{{ p }}{{ q }}{{ caller() }}{{ g }}{% endmacro %}{{ f(1) }}", "g r", "", "" },
  { "{{ text('cot') }}{{ range(3) | join }}{{ range }}", "", "", "range text" },
  { "{% set ns = namespace(x=y) %}{% set ns.x = z %}{{ ns.x }}", "y z", "", "namespace" },
  { "{% with a = b %}{{ a }}{% set c = 1 %}{% endwith %}{{ c }}", "b c", "", "" },
  { "{% for k, (v, w) in m.items() if k != skip %}{{ k }}{{ v }}{{ w }}{% endfor %}", "m skip", "", "" },
  { "{% for x in xs %}{% set t = t0 %}{{ t }}{% endfor %}", "t0 xs", "", "" },
  { "{% set t %}{{ a }}{% endset %}{{ t }}{% filter upper %}{{ b }}{% endfilter %}", "a b", "", "" },
  { "{{ true }}{{ None }}{{ 1 }}", "", "", "" },
}

local function test_info()
  for _, case in ipairs(INFO) do
    local code, info = jinja.compile(case[1], {})
    check(code ~= nil, "compiles: " .. case[1], tostring(info))
    local optional = {}
    for name in pairs(info.optional) do optional[#optional + 1] = name end
    table.sort(optional)
    check_equal(names(info.names), case[2], "names of " .. case[1])
    check_equal(names(optional), case[3], "optional names of " .. case[1])
    check_equal(names(info.functions), case[4], "functions of " .. case[1])
  end
  local _, info = jinja.compile("{{ a | upper | map('trim') | select('odd') }}{{ a is none }}", {})
  check_equal(names(info.filters), "map select trim upper", "filters used")
  check_equal(names(info.tests), "none odd", "tests used")
  local expressions = { ["{{ a }}"] = true, ["{{ a }}\n"] = true, ["{{ a }} "] = false, ["a"] = false, ["{% set a = 1 %}"] = false }
  for template, want in pairs(expressions) do
    local _, about = jinja.compile(template, {})
    check_equal(about.is_expression, want, "is_expression of " .. template)
  end
  check_equal((jinja.compile("{{ a | clean }}", { filters = { clean = true } })) ~= nil, true, "helpers are known filters")
  check_equal((jinja.compile("{% if 0 %}{{ a | clean }}{% endif %}", { lenient = true })) ~= nil, true,
    "a lenient template may name what nobody has")
end

-- ---- Helpers, the clock, globals ----------------------------------------------------------------------------------------

local function test_host()
  local J = shim.runtime(script_dir)
  J.ctx = { rate = 2 }
  local function add(name, f)
    J.globals[name], J.filters[name], J.is_helper[f] = f, f, true
  end
  add("clean", function(s, ctx) return s:gsub("%[.-%]", "") .. ctx.rate end)
  add("twice", function(s, times, ctx) return s:rep(times * ctx.rate) end)
  add("context", function(ctx) return ctx.rate end)
  add("pair", function() return 1, 2 end)
  add("nothing", function() end)
  add("rows", function() return { { a = 1 }, { a = 2 } } end)
  J.globals.limit = 5
  local cases = {
    { "{{ 'a[b]c' | clean }}|", "ac2|" }, { "{{ clean('[x]') }}|", "2|" }, { "{{ ['[x]', 'y'] | map('clean') | list }}|", "['2', 'y2']|" },
    { "{{ 'a' | twice(2) }}|", "aaaa|" }, { "{{ ['a'] | map('twice', 1) | join }}|", "aa|" }, { "{{ context() }}|", "2|" },
    { "{{ [pair(), pair()] }}|", "[1, 1]|" }, { "{{ nothing() }}|", "None|" }, { "{{ rows() | map(attribute='a') | sum }}|", "3|" },
    { "{{ limit }}|", "5|" }, { "{% set limit = 6 %}{{ limit }}|", "6|" }, { "{{ 'x' | clean | upper }}|", "X2|" },
  }
  for _, case in ipairs(cases) do
    local got, message = render(case[1], {}, { filters = J.filters }, J)
    check_equal(got or message, case[2], "helper: " .. case[1])
  end
  check_equal(render("{{ limit }}|", { limit = 1 }, {}, J), "1|", "variables hide globals")
  local _, message = render("{{ 'a' | twice(times=2) }}", {}, { filters = J.filters }, J)
  check_equal(message, "line 1, column 10: helper 'twice' takes no keyword arguments", "helpers take no keywords")
  J.now = 1721952000 + 3723 -- 2024-07-26 01:02:03
  check_equal(text_of("{{ strftime_now('%Y-%m-%d %H:%M:%S %d %b %Y %A %B %j %I %p %y %-d') }}", {}, {}) ~= nil, false, "no clock by default")
  check_equal((render("{{ strftime_now('%Y-%m-%d %H:%M:%S %d %b %Y %A %B %j %I %p %y %-d%%') }}", {}, { force_text = true }, J)),
    "2024-07-26 01:02:03 26 Jul 2024 Friday July 208 01 AM 24 26%", "strftime_now")
  local later = { [0] = "1970-01-01", [951782400] = "2000-02-29", [1709164800] = "2024-02-29", [4102444799] = "2099-12-31" }
  for seconds, date in pairs(later) do
    J.now = seconds
    check_equal((render("{{ strftime_now('%F') }}", {}, {}, J)), date, "date of " .. seconds)
  end
  -- One run-time serves strict and lenient chunks in turn.
  check_equal((render("{{ zz }}|", {}, { lenient = true }, J)), "|", "a lenient chunk")
  check_equal(select(2, render("{{ zz }}|", {}, {}, J)), "t:1: 'zz' is undefined", "a strict chunk after it")
end

-- Chunks are loaded once and run many times: nothing of one run reaches the next.
local function test_reruns()
  local code = assert(jinja.compile("{% set l = [] %}{% if 1 in [1, 2] %}{% set _ = l.append(x) %}{% endif %}{{ l }}{{ y is defined }}", {}))
  local fn = assert(load(code, "=t"))(runtime)
  check_equal(fn({ x = 1 }), "[1]False", "first run")
  check_equal(fn({ x = 2, y = 1 }), "[2]True", "second run")
  check_equal(fn({ x = 2 }), "[2]False", "third run")
end

-- ---- Limits: refused with a message, or taken; never more than Lua's compiler can do --------------------------------------------

local function repeated(s, n, separator)
  local out = {}
  for i = 1, n do out[i] = (s:gsub("@", tostring(i))) end
  return table.concat(out, separator or "")
end

local function limit_templates(n)
  return {
    ["if"] = repeated("{% if xs %}", n) .. "x" .. repeated("{% endif %}", n),
    ["for"] = repeated("{% for a in xs if a %}", n) .. "{{ loop.index }}{{ loop }}" .. repeated("{% endfor %}", n),
    macro = repeated("{% macro m(a) %}", n) .. "x" .. repeated("{% endmacro %}{{ m(1) }}", n),
    call = "{% macro f() %}{{ caller() }}{% endmacro %}" .. repeated("{% call f() %}", n) .. "x" .. repeated("{% endcall %}", n),
    set = repeated("{% set x %}", n) .. "x" .. repeated("{% endset %}{{ x }}", n),
    with = repeated("{% with a=1, b=2, c=3 %}", n) .. "x" .. repeated("{% endwith %}", n),
    parentheses = "{{ " .. repeated("(", n) .. "1" .. repeated(")", n) .. " }}",
    lists = "{{ " .. repeated("[", n) .. "1" .. repeated("]", n) .. " }}",
    plus = "{{ 1" .. repeated(" + n", n) .. " }}",
    minus = "{{ 1" .. repeated(" - n", n) .. " }}",
    joined = "{{ 'a'" .. repeated(" + s", n) .. " }}",
    tilde = "{{ 1" .. repeated(" ~ n", n) .. " }}",
    ["and"] = "{{ 1" .. repeated(" and n", n) .. " }}",
    ["or"] = "{{ 0" .. repeated(" or 0", n) .. " }}",
    compare = "{{ 1" .. repeated(" < n + @", n) .. " }}",
    cond = "{{ 1" .. repeated(" if n else 1", n) .. " }}",
    ["not"] = "{{ " .. repeated("not ", n) .. "n }}",
    filters = "{{ s" .. repeated(" | upper", n) .. " }}",
    ["elif"] = "{% if 0 %}" .. repeated("{% elif 0 %}x", n) .. "{% endif %}",
    output = repeated("{{ n }}a", n),
    variables = repeated("{% set v@ = @ %}", n) .. repeated("{{ v@ }}", n),
    free = repeated("{{ u@ is defined }}", n),
    scoped = "{% macro f() %}" .. repeated("{% set a@ = a@ | default(1) %}", n) .. "{% endmacro %}{{ f() }}",
    params = "{% macro f(" .. repeated("p@", n, ",") .. ") %}{{ p1 }}{% endmacro %}{{ f(1) }}",
    arguments = "{% macro f() %}{{ varargs | length }}{% endmacro %}{{ f(" .. repeated("n", n, ",") .. ") }}",
    items = "{{ [" .. repeated("n", n, ",") .. "] | length }}",
    pairs = "{{ {" .. repeated("'k@': n", n, ",") .. "} | length }}",
    constants = repeated("{{ n in [@, 'a'] }}", n),
  }
end

local function test_limits()
  for _, n in ipairs({ 3, 10, 16, 20, 30, 40, 61, 90, 300, 4000 }) do
    for name, template in pairs(limit_templates(n)) do
      local vars = { xs = value.list({ 1 }), n = 1, s = "b" }
      local got, message = render(template, vars, { lenient = true, force_text = true })
      local refused = message and message:find("^line 1, column %d+: .*too")
      check(got ~= nil or (refused and n > 10), n .. " x " .. name, message)
    end
  end
end

-- ---- The templates of the example evals ------------------------------------------------------------------------------------

local EXAMPLES = dofile(tests_dir .. "/jinja_examples.lua")

local function test_examples()
  local J = shim.runtime(script_dir)
  for name, f in pairs(EXAMPLES.helpers) do J.globals[name], J.filters[name], J.is_helper[f] = f, f, true end
  J.ctx = { rng = function() return 0.5 end }
  for i, case in ipairs(EXAMPLES) do
    local got, message = render(case.template, shim.json(case.vars), { filters = J.filters, file = case.eval }, J)
    check_equal(got == nil and message or as_json(got), case.value, case.eval .. " " .. i .. ": " .. case.template)
  end
end

test_cases()
test_goldens()
test_messages()
test_values()
test_info()
test_host()
test_reruns()
test_limits()
test_examples()
print("1.." .. n_tests)
os.exit(n_failed == 0 and 0 or 1)
