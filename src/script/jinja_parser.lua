-- SPDX-License-Identifier: MIT
-- The Pratt parser of Jinja templates. Called with the tables of the lexer and of jinja_names.lua. parser.parse(lx, options)
-- gives the template's statements; errors are raised as the lexer's.

local L, N = ...
local sub, concat = string.sub, table.concat
local fail, did_you_mean = L.fail, L.did_you_mean
local FILTERS, TESTS, METHODS, TAGS, REFUSED_TAGS, RESERVED = N.FILTERS, N.TESTS, N.METHODS, N.TAGS, N.REFUSED_TAGS, N.RESERVED

local MAX_BLOCKS = 24 -- nesting of tags, of expressions, and arguments: what Lua's own compiler can take
local MAX_DEPTH = 100
local MAX_ARGS = 60
local MAX_CHAIN = 20 -- comparisons in a row

-- ---- Expressions ---------------------------------------------------------------------------------------------
-- A node is a table with k (its kind), line, and its operands as array items; kw holds {name, node} pairs.

local parse_expression, parse_binary, parse_unary

local function peek(p)
  return p.tokens[p.at]
end

local function next_token(p)
  local token = p.tokens[p.at]
  p.at = p.at + 1
  return token
end

local function describe(token)
  if token.t == "eof" then return "end of template" end
  if token.t == "name" then return "'" .. token.v .. "'" end
  if token.t == "int" or token.t == "float" then return "number" end
  if token.t == "string" or token.t == "data" then return token.t end
  return "'" .. token.t .. "'"
end

local function expect(p, kind, what)
  local token = next_token(p)
  if token.t ~= kind then fail(p.lx, token, "expected " .. (what or "'" .. kind .. "'") .. ", got " .. describe(token)) end
  return token
end

local function accept(p, kind)
  if p.tokens[p.at].t == kind then
    p.at = p.at + 1
    return true
  end
  return false
end

local function is_word(token, word)
  return token.t == "name" and token.v == word
end

local function accept_word(p, word)
  if is_word(peek(p), word) then
    p.at = p.at + 1
    return true
  end
  return false
end

local function node(kind, token, ...)
  return { k = kind, line = token.line, column = token.column, ... }
end

local function deeper(p, token)
  p.depth = p.depth + 1
  if p.depth > MAX_DEPTH then fail(p.lx, token, "expression nests too deeply") end
end

-- name(args): args are appended to n; n.kw and n.star, n.starstar as they come.
local function parse_arguments(p, n)
  local open = expect(p, "(")
  local count = 0
  while not accept(p, ")") do
    if count > 0 then
      expect(p, ",")
      if accept(p, ")") then break end
    end
    count = count + 1
    local token = peek(p)
    if count > MAX_ARGS then fail(p.lx, token, "too many arguments") end
    local following = p.tokens[p.at + 1]
    if accept(p, "*") then
      n.star = parse_expression(p)
    elseif accept(p, "**") then
      n.starstar = parse_expression(p)
    elseif token.t == "name" and following.t == "=" then
      p.at = p.at + 2
      n.kw = n.kw or {}
      for _, pair in ipairs(n.kw) do
        if pair[1] == token.v then fail(p.lx, token, "keyword argument '" .. token.v .. "' is repeated") end
      end
      n.kw[#n.kw + 1] = { token.v, parse_expression(p) }
    else
      if n.kw or n.star or n.starstar then fail(p.lx, token, "a positional argument follows a keyword argument") end
      n[#n + 1] = parse_expression(p)
    end
  end
  return n, open
end

-- Put keyword arguments in their places after the first `skip` operands; absent ones become kind "nil".
local function place_arguments(p, n, s, skip, what, token)
  if n.star or n.starstar then fail(p.lx, token, what .. " takes no * or ** arguments") end
  if s.any then return end
  if #n - skip > #s then
    fail(p.lx, token, what .. " takes at most " .. #s .. " argument" .. (#s == 1 and "" or "s"))
  end
  for _, pair in ipairs(n.kw or {}) do
    local place
    for i, name in ipairs(s) do
      if name == pair[1] then place = i end
    end
    if not place then fail(p.lx, token, what .. " has no argument '" .. pair[1] .. "'" .. did_you_mean(pair[1], s)) end
    if n[skip + place] and n[skip + place].k ~= "nil" then
      fail(p.lx, token, what .. ": argument '" .. pair[1] .. "' is given twice")
    end
    for i = #n + 1, skip + place - 1 do n[i] = node("nil", token) end
    n[skip + place] = pair[2]
  end
  n.kw = nil
  for i, required in ipairs(s.required) do
    if required and (not n[skip + i] or n[skip + i].k == "nil") then fail(p.lx, token, what .. " needs '" .. s[i] .. "'") end
  end
end

-- The test or filter that map, select and their kin apply: the built-in's arguments are placed like its own.
local function place_inner(p, n, token)
  local name = n.name
  local skip = (name == "selectattr" or name == "rejectattr") and 2 or 1
  if skip == 2 and not n[2] then fail(p.lx, token, "filter '" .. name .. "' needs an attribute") end
  local inner = n[skip + 1]
  if name == "map" then
    if not inner then
      local given = {}
      for _, pair in ipairs(n.kw or {}) do given[pair[1]] = pair[2] end
      if not given.attribute then fail(p.lx, token, "filter 'map' needs a filter's name or attribute=") end
      for key in pairs(given) do
        if key ~= "attribute" and key ~= "default" then
          fail(p.lx, token, "filter 'map' has no argument '" .. key .. "'")
        end
      end
      n.k, n.name, n.kw = "mapattr", nil, nil
      n[2], n[3] = given.attribute, given.default
      return
    end
    if inner.k ~= "const" or type(inner.v) ~= "string" then
      if n.kw then fail(p.lx, token, "filter 'map': keyword arguments need a filter named by a text") end
      return
    end
    p.check_filter(inner.v, token)
  else
    if not inner then return end
    if inner.k ~= "const" or type(inner.v) ~= "string" then return end
    inner.v = N.TEST_SIGNS[inner.v] or inner.v
    p.check_test(inner.v, token)
  end
  local known = name == "map" and FILTERS[inner.v] or name ~= "map" and TESTS[inner.v]
  if known then
    local what = (name == "map" and "filter '" or "test '") .. inner.v .. "'"
    if name == "map" and known.any and inner.v ~= "format" then
      fail(p.lx, token, "filter 'map' cannot apply '" .. inner.v .. "'")
    end
    place_arguments(p, n, known, skip + 1, what, token)
  elseif n.kw then
    fail(p.lx, token, "helper '" .. inner.v .. "' takes no keyword arguments")
  end
  n.inner = inner.v
end

-- The name of a filter or test, which may hold dots.
local function parse_dotted(p, what)
  local token = expect(p, "name", what)
  local name = token.v
  while accept(p, ".") do name = name .. "." .. expect(p, "name", what).v end
  return token, name
end

local function parse_filter(p, operand)
  local token, name = parse_dotted(p, "a filter's name")
  local n = node("filter", token, operand)
  n.name = name
  p.check_filter(n.name, token)
  if peek(p).t == "(" then parse_arguments(p, n) end
  local known = FILTERS[n.name]
  if n.name == "map" or n.name == "select" or n.name == "reject" or n.name == "selectattr" or n.name == "rejectattr" then
    if n.star or n.starstar then fail(p.lx, token, "filter '" .. n.name .. "' takes no * or ** arguments") end
    place_inner(p, n, token)
  elseif known then
    place_arguments(p, n, known, 1, "filter '" .. n.name .. "'", token)
    if n.kw and n.name ~= "format" then fail(p.lx, token, "filter '" .. n.name .. "' takes no keyword arguments") end
  elseif n.kw or n.star or n.starstar then
    fail(p.lx, token, "helper '" .. n.name .. "' takes no keyword arguments")
  end
  return n
end

local TEST_ARGUMENT = { name = true, string = true, int = true, float = true, ["("] = true, ["["] = true, ["{"] = true }

local parse_primary, parse_postfix

local function parse_test(p, operand, is_token)
  local negated = accept_word(p, "not")
  local token, name = parse_dotted(p, "a test's name")
  local n = node("test", is_token, operand)
  n.name = name
  p.check_test(n.name, token)
  local following = peek(p)
  if following.t == "(" then
    parse_arguments(p, n)
  elseif TEST_ARGUMENT[following.t] and not (following.t == "name" and RESERVED[following.v]) then
    n[2] = parse_postfix(p, parse_primary(p))
  elseif is_word(following, "is") then
    fail(p.lx, following, "tests cannot be chained with 'is'")
  end
  if TESTS[n.name] then
    place_arguments(p, n, TESTS[n.name], 1, "test '" .. n.name .. "'", token)
  elseif n.kw or n.star or n.starstar then
    fail(p.lx, token, "helper '" .. n.name .. "' takes no keyword arguments")
  end
  return negated and node("not", is_token, n) or n
end

-- a, b, c until `closing` or the tag's end: a tuple, or the one expression without a comma.
local function parse_tuple(p, closing, no_condition)
  local token = peek(p)
  local items, comma = {}, false
  while true do
    local t = peek(p)
    if t.t == "}}" or t.t == "%}" or t.t == ")" or (closing and is_word(t, closing)) then break end
    items[#items + 1] = no_condition and parse_binary(p, 1) or parse_expression(p)
    if not accept(p, ",") then break end
    comma = true
  end
  if not comma and items[1] then return items[1] end
  if not comma and closing ~= ")" then
    fail(p.lx, peek(p), "expected an expression, got " .. describe(peek(p)))
  end
  if #items > MAX_ARGS * 4 then fail(p.lx, token, "too many items") end
  return node("tuple", token, table.unpack(items))
end

local function parse_list(p, token)
  local n = node("list", token)
  while not accept(p, "]") do
    if #n > 0 then
      expect(p, ",")
      if accept(p, "]") then break end
    end
    n[#n + 1] = parse_expression(p)
  end
  return n
end

local function parse_dict(p, token)
  local n = node("dict", token)
  while not accept(p, "}") do
    if #n > 0 then
      expect(p, ",")
      if accept(p, "}") then break end
    end
    n[#n + 1] = parse_expression(p)
    expect(p, ":")
    n[#n + 1] = parse_expression(p)
  end
  return n
end

local CONSTANTS = { ["true"] = true, ["True"] = true, ["false"] = false, ["False"] = false }

local function const(token, v)
  local n = node("const", token)
  n.v = v
  return n
end

function parse_primary(p)
  local token = next_token(p)
  local kind = token.t
  if kind == "name" then
    if CONSTANTS[token.v] ~= nil then return const(token, CONSTANTS[token.v]) end
    if token.v == "none" or token.v == "None" then return node("null", token) end
    if RESERVED[token.v] then fail(p.lx, token, "unexpected '" .. token.v .. "'") end
    local n = node("name", token)
    n.name = token.v
    return n
  elseif kind == "string" then
    local parts = { token.v }
    while peek(p).t == "string" do parts[#parts + 1] = next_token(p).v end
    return const(token, concat(parts))
  elseif kind == "int" or kind == "float" then
    return const(token, token.v)
  elseif kind == "(" then
    deeper(p, token)
    local n = parse_tuple(p, ")")
    expect(p, ")")
    p.depth = p.depth - 1
    return n
  elseif kind == "[" or kind == "{" then
    deeper(p, token)
    local n = (kind == "[" and parse_list or parse_dict)(p, token)
    p.depth = p.depth - 1
    return n
  end
  fail(p.lx, token, (kind == "}}" or kind == "%}" or kind == "eof") and "expected an expression, got " .. describe(token)
    or "unexpected " .. describe(token))
end

local function parse_subscript(p, operand, token)
  deeper(p, token)
  local parts, colons = {}, 0
  local at = 1
  while peek(p).t ~= "]" do
    if accept(p, ":") then
      colons, at = colons + 1, at + 1
      if colons > 2 then fail(p.lx, token, "a slice has at most three parts") end
    else
      if parts[at] then fail(p.lx, peek(p), "unexpected " .. describe(peek(p)) .. " in a subscript") end
      parts[at] = parse_expression(p)
      if peek(p).t == "," then fail(p.lx, peek(p), "a subscript has one item") end
    end
  end
  local close = expect(p, "]")
  p.depth = p.depth - 1
  if colons == 0 then
    if not parts[1] then fail(p.lx, close, "expected an expression, got ']'") end
    return node("item", token, operand, parts[1])
  end
  for i = 1, 3 do parts[i] = parts[i] or node("nil", token) end
  return node("slice", token, operand, parts[1], parts[2], parts[3])
end

function parse_postfix(p, n)
  while true do
    local token = peek(p)
    if token.t == "." then
      p.at = p.at + 1
      local name = next_token(p)
      if name.t == "name" then
        n = node("attr", token, n)
        n.name = name.v
      elseif name.t == "int" then
        n = node("item", token, n, const(name, name.v))
      else
        fail(p.lx, name, "expected a name or number after '.', got " .. describe(name))
      end
    elseif token.t == "[" then
      p.at = p.at + 1
      n = parse_subscript(p, n, token)
    elseif token.t == "(" then
      deeper(p, token)
      n = parse_arguments(p, node("call", token, n))
      p.depth = p.depth - 1
      if n[1].k == "attr" then p.check_method(n, token) end
    else
      return n
    end
  end
end

function parse_unary(p, with_filter)
  local token = peek(p)
  local n
  if token.t == "-" or token.t == "+" then
    p.at = p.at + 1
    deeper(p, token)
    local operand = parse_unary(p, false)
    p.depth = p.depth - 1
    if operand.k == "const" and type(operand.v) == "number" then
      n = const(token, token.t == "-" and -operand.v or operand.v)
    else
      n = node(token.t == "-" and "neg" or "pos", token, operand)
    end
  else
    n = parse_primary(p)
  end
  n = parse_postfix(p, n)
  while with_filter do
    local t = peek(p)
    if t.t == "|" then
      p.at = p.at + 1
      deeper(p, t)
      n = parse_filter(p, n)
      p.depth = p.depth - 1
    elseif is_word(t, "is") then
      p.at = p.at + 1
      n = parse_test(p, n, t)
    elseif t.t == "(" then
      n = parse_postfix(p, n)
    else
      break
    end
  end
  return n
end

-- Binding powers; comparisons chain, "not" sits between "and" and them, everything associates to the left.
local POWER = { ["or"] = 1, ["and"] = 2, ["=="] = 4, ["!="] = 4, ["<"] = 4, [">"] = 4, ["<="] = 4, [">="] = 4, ["in"] = 4,
  ["+"] = 5, ["-"] = 5, ["~"] = 6, ["*"] = 7, ["/"] = 7, ["//"] = 7, ["%"] = 7, ["**"] = 8 }
local NOT_POWER = 3
local BINARY_KIND = { ["or"] = "or", ["and"] = "and", ["~"] = "concat", ["+"] = "add" }

-- The operator at the parser's place, its power and its tokens.
local function operator(p)
  local token = peek(p)
  local op = token.t == "name" and token.v or token.t
  if op == "not" and is_word(p.tokens[p.at + 1], "in") and token.t == "name" then return "not in", 4, 2 end
  if token.t == "name" and not RESERVED[op] then return nil end
  return op, POWER[op], 1
end

function parse_binary(p, power)
  local token = peek(p)
  local left
  if power <= NOT_POWER and accept_word(p, "not") then
    deeper(p, token)
    left = node("not", token, parse_binary(p, NOT_POWER))
    p.depth = p.depth - 1
  else
    left = parse_unary(p, true)
  end
  while true do
    local op, op_power, n_tokens = operator(p)
    if not op_power or op_power < power then return left end
    local op_token = peek(p)
    p.at = p.at + n_tokens
    deeper(p, op_token)
    local right = parse_binary(p, op_power + 1)
    p.depth = p.depth - 1
    local kind = BINARY_KIND[op]
    if op_power == 4 then
      if left.k ~= "compare" or left.closed then left = node("compare", token, left) end
      left.ops = left.ops or {}
      left.ops[#left.ops + 1] = op
      if #left.ops > MAX_CHAIN then fail(p.lx, op_token, "too many comparisons in one chain") end
      left[#left + 1] = right
    elseif kind then
      -- One node for a chain, so that long ones do not nest.
      if left.k ~= kind or left.closed then left = node(kind, token, left) end
      left[#left + 1] = right
    else
      left = node("binary", token, left, right)
      left.op = op
    end
  end
end

function parse_expression(p)
  local token = peek(p)
  deeper(p, token)
  local n = parse_binary(p, 1)
  while accept_word(p, "if") do
    local test = parse_binary(p, 1)
    local otherwise = accept_word(p, "else") and parse_expression(p) or nil
    n = node("cond", token, test, n, otherwise)
  end
  p.depth = p.depth - 1
  n.closed = true -- a chain that goes on outside of parentheses is another node
  return n
end

-- ---- Statements ----------------------------------------------------------------------------------------------

local parse_body

-- Statements up to one of the end tags; returns them and the end tag's name token.
local function parse_until(p, ends, opener)
  accept(p, ":")
  expect(p, "%}")
  p.blocks = p.blocks + 1
  if p.blocks > MAX_BLOCKS then fail(p.lx, opener, "blocks nest too deeply") end
  local body, stop = parse_body(p, ends, opener)
  p.blocks = p.blocks - 1
  return body, stop
end

local function statement(kind, token)
  return { k = kind, line = token.line, column = token.column }
end

local function parse_name(p, what)
  local token = expect(p, "name", what)
  if RESERVED[token.v] or CONSTANTS[token.v] ~= nil or token.v == "none" or token.v == "None" then
    fail(p.lx, token, "'" .. token.v .. "' cannot be assigned to")
  end
  return token
end

local function parse_target_item(p, with_namespace)
  local token = peek(p)
  if accept(p, "(") then
    deeper(p, token)
    local n = p.parse_target(p, with_namespace, ")")
    p.depth = p.depth - 1
    expect(p, ")")
    return n
  end
  local name = parse_name(p, "a name to assign to")
  if with_namespace and accept(p, ".") then
    local n = node("field", name)
    n.object, n.name = name.v, expect(p, "name").v
    return n
  end
  local n = node("target", name)
  n.name = name.v
  return n
end

-- What `set`, `for` and `with` assign to: a name, namespace.field, or a tuple of these.
local function parse_target(p, with_namespace, closing)
  local token = peek(p)
  local items, comma = { parse_target_item(p, with_namespace) }, false
  while accept(p, ",") do
    comma = true
    local t = peek(p)
    if t.t == "=" or t.t == "%}" or t.t == ")" or is_word(t, "in") then break end
    items[#items + 1] = parse_target_item(p, with_namespace)
  end
  if not comma then return items[1] end
  if #items > MAX_ARGS then fail(p.lx, token, "too many names") end
  return node("tuple_target", token, table.unpack(items)), closing
end

-- (a, b=1): params and defaults (false: none).
local function parse_signature(p, st)
  st.params, st.defaults = {}, {}
  local seen_default = false
  expect(p, "(")
  while not accept(p, ")") do
    if #st.params > 0 then
      expect(p, ",")
      if accept(p, ")") then break end
    end
    local name = parse_name(p, "a parameter's name")
    if #st.params >= MAX_ARGS then fail(p.lx, name, "too many parameters") end
    for _, other in ipairs(st.params) do
      if other == name.v then fail(p.lx, name, "parameter '" .. name.v .. "' is repeated") end
    end
    st.params[#st.params + 1] = name.v
    if accept(p, "=") then
      seen_default = true
      st.defaults[#st.params] = parse_expression(p)
    elseif seen_default then
      fail(p.lx, name, "a parameter without default follows one with a default")
    else
      st.defaults[#st.params] = false
    end
  end
end

-- filter names of {% filter f | g(1) %} and {% set x | f %}, applied to the text that `operand` stands for.
local function parse_filters(p, operand)
  local n = parse_filter(p, operand)
  while accept(p, "|") do n = parse_filter(p, n) end
  return n
end

local statements = {}

statements["if"] = function(p, token)
  local st = statement("if", token)
  st.branches = {}
  local at = token -- the tag whose body is read: if, elif, else
  repeat
    local test = parse_tuple(p, nil, true)
    local body, stop = parse_until(p, { "elif", "else", "endif" }, at)
    st.branches[#st.branches + 1] = { test, body }
    at = stop
  until at.v ~= "elif"
  if at.v == "else" then st.otherwise = parse_until(p, { "endif" }, at) end
  return st
end

statements["for"] = function(p, token)
  local st = statement("for", token)
  st.target = parse_target(p, false)
  if not accept_word(p, "in") then fail(p.lx, peek(p), "expected 'in', got " .. describe(peek(p))) end
  st.iter = parse_tuple(p, "recursive", true)
  if accept_word(p, "if") then st.test = parse_expression(p) end
  if is_word(peek(p), "recursive") then fail(p.lx, peek(p), "recursive loops are not supported; use a macro") end
  local outer = p.loop
  p.loop = st
  local stop
  st.body, stop = parse_until(p, { "endfor", "else" }, token)
  p.loop = outer
  if stop.v == "else" then st.otherwise = parse_until(p, { "endfor" }, stop) end
  return st
end

local function parse_loop_control(p, token)
  if not p.loop then fail(p.lx, token, "'" .. token.v .. "' outside of a loop") end
  local st = statement(token.v, token)
  st.loop = p.loop
  if token.v == "continue" then p.loop.has_continue = true end
  return st
end
statements["break"] = parse_loop_control
statements["continue"] = parse_loop_control

statements["set"] = function(p, token)
  local target = parse_target(p, true)
  if accept(p, "=") then
    local st = statement("set", token)
    st.target, st.value = target, parse_tuple(p)
    return st
  end
  local st = statement("setblock", token)
  st.target = target
  if target.k == "tuple_target" then fail(p.lx, token, "a block cannot be assigned to several names") end
  if accept(p, "|") then st.filter = parse_filters(p, node("buffer", token)) end
  st.body = parse_until(p, { "endset" }, token)
  return st
end

-- Bodies that are Lua functions of their own: break and continue do not reach out of them.
local function parse_function_body(p, ends, token)
  local outer = p.loop
  p.loop = nil
  local body = parse_until(p, ends, token)
  p.loop = outer
  return body
end

statements["macro"] = function(p, token)
  local st = statement("macro", token)
  st.name = parse_name(p, "the macro's name").v
  parse_signature(p, st)
  st.body = parse_function_body(p, { "endmacro" }, token)
  return st
end

statements["call"] = function(p, token)
  local st = statement("callblock", token)
  st.params, st.defaults = {}, {}
  if peek(p).t == "(" then parse_signature(p, st) end
  st.call = parse_expression(p)
  if st.call.k ~= "call" then fail(p.lx, token, "expected a call in 'call'") end
  st.body = parse_function_body(p, { "endcall" }, token)
  return st
end

statements["filter"] = function(p, token)
  local st = statement("filterblock", token)
  st.filter = parse_filters(p, node("buffer", token))
  st.body = parse_until(p, { "endfilter" }, token)
  return st
end

statements["with"] = function(p, token)
  local st = statement("with", token)
  st.targets, st.values = {}, {}
  while peek(p).t ~= "%}" do
    if #st.targets > 0 then expect(p, ",") end
    st.targets[#st.targets + 1] = parse_target_item(p, false)
    expect(p, "=")
    st.values[#st.values + 1] = parse_expression(p)
  end
  st.body = parse_until(p, { "endwith" }, token)
  return st
end

statements["generation"] = function(p, token)
  local st = statement("with", token)
  st.targets, st.values = {}, {}
  st.body = parse_until(p, { "endgeneration" }, token)
  return st
end

statements["print"] = function(p, token)
  local st = statement("output", token)
  while peek(p).t ~= "%}" do
    if #st > 0 then expect(p, ",") end
    st[#st + 1] = parse_expression(p)
  end
  return st
end

local function unknown_tag(p, name, ends, opener)
  local tag = name.v
  local expected = ends and "; " .. opener.t_name .. " of line " .. opener.line .. " expects " .. concat(ends, " or ")
  if REFUSED_TAGS[tag] then fail(p.lx, name, "tag '" .. tag .. "' is not supported") end
  for _, known in ipairs(TAGS) do
    if known == tag then fail(p.lx, name, "unexpected '" .. tag .. "'" .. (expected or "")) end
  end
  fail(p.lx, name, "unknown tag '" .. tag .. "'" .. did_you_mean(tag, TAGS) .. (expected or ""))
end

function parse_body(p, ends, opener)
  local body = {}
  local output
  while true do
    local token = next_token(p)
    if token.t == "data" or token.t == "{{" then
      if not output then
        output = statement("output", token)
        body[#body + 1] = output
      end
      if token.t == "data" then
        output[#output + 1] = const(token, token.v)
      else
        output[#output + 1] = parse_tuple(p)
        expect(p, "}}")
      end
    elseif token.t == "{%" then
      local name = expect(p, "name", "a tag's name")
      for _, stop in ipairs(ends or {}) do
        if name.v == stop then
          name.t_name = opener.t_name
          if sub(stop, 1, 3) == "end" then expect(p, "%}") end
          return body, name
        end
      end
      if not statements[name.v] then unknown_tag(p, name, ends, opener) end
      name.t_name = "'" .. name.v .. "'"
      local st = statements[name.v](p, name)
      -- Bodies consume their end tags; the others end here.
      if st.k == "set" or st.k == "break" or st.k == "continue" or st.k == "output" then expect(p, "%}") end
      output = nil
      body[#body + 1] = st
    else -- end of the template
      if ends then
        fail(p.lx, token, opener.t_name .. " of line " .. opener.line .. " is never closed: expected " .. concat(ends, " or "))
      end
      return body
    end
  end
end

-- ---- The whole -----------------------------------------------------------------------------------------------

-- Whether a variable may hold functions of its own: a namespace or a map that a macro was put in.
local function holds_functions(lx)
  return lx.source:find("namespace", 1, true) ~= nil or lx.source:find("macro", 1, true) ~= nil
end

local function new_parser(lx, options)
  local p = { lx = lx, tokens = lx.tokens, at = 1, depth = 0, blocks = 0, filters = {}, tests = {},
    parse_target = parse_target }
  function p.check_filter(name, token)
    p.filters[name] = true
    if FILTERS[name] or options.lenient or (options.filters and options.filters[name]) then return end
    if N.REFUSED_FILTERS[name] then fail(lx, token, "filter '" .. name .. "' is not supported") end
    fail(lx, token, "unknown filter '" .. name .. "'" .. did_you_mean(name, FILTERS, options.filters or {}))
  end
  function p.check_test(name, token)
    p.tests[name] = true
    if TESTS[name] or options.lenient or (options.tests and options.tests[name]) then return end
    fail(lx, token, "unknown test '" .. name .. "'" .. did_you_mean(name, TESTS, options.tests or {}))
  end
  function p.check_method(n, token)
    local name = n[1].name
    local known = METHODS[name]
    if known then
      local plain = not known.any and not n.star and not n.starstar
      if plain and (n.kw or (not options.lenient and #n - 1 <= #known)) then
        place_arguments(p, n, known, 1, "method '" .. name .. "'", token)
      end
    elseif not options.lenient and not N.OBJECT_METHODS[name] and not (n[1][1].k == "name" and holds_functions(lx)) then
      fail(lx, { line = n[1].line, column = n[1].column + 1 }, "unknown method '" .. name .. "'" .. did_you_mean(name, METHODS))
    end
  end
  return p
end

local function parse(lx, options)
  local p = new_parser(lx, options)
  return parse_body(p), p
end

return { parse = parse }
