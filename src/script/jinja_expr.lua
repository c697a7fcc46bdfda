-- SPDX-License-Identifier: MIT
-- Lua for the expressions of a template (jinja.lua), and the places of its variables. Called with the tables of the
-- lexer, of jinja_names.lua and of the scope analysis. Code is emitted in source order, piece by piece, so that its lines
-- can follow the template's.

local L, N, S = ...
local concat, find, rep, byte = table.concat, string.find, string.rep, string.byte
local format, gsub = string.format, string.gsub
local fail, quote = L.fail, L.quote
local FILTERS, STRING_FILTERS, TESTS, METHODS, LOOP_FIELDS = N.FILTERS, N.STRING_FILTERS, N.TESTS, N.METHODS, S.LOOP_FIELDS

local MAX_DEPTH = 40 -- of nested calls in Lua, whose compiler takes 200 levels of everything
local MAX_LOCALS = 190 -- of a Lua function (its limit is 200)
local MAX_VARIABLES = 60 -- of a template that live in Lua locals; more go to tables
local MAX_CONSTANTS = 40

-- ---- Output and scopes ---------------------------------------------------------------------------------------

local LUA_KEYWORDS = { ["and"] = true, ["break"] = true, ["do"] = true, ["else"] = true, ["elseif"] = true, ["end"] = true,
  ["false"] = true, ["for"] = true, ["function"] = true, ["goto"] = true, ["if"] = true, ["in"] = true, ["local"] = true,
  ["nil"] = true, ["not"] = true, ["or"] = true, ["repeat"] = true, ["return"] = true, ["then"] = true, ["true"] = true,
  ["until"] = true, ["while"] = true }
local DICT_METHODS = { get = true, items = true, keys = true, values = true, pop = true, update = true, setdefault = true,
  copy = true, clear = true, popitem = true }

local function emit(g, ...)
  for i = 1, select("#", ...) do
    g.size = g.size + 1
    g.code[g.size] = (select(i, ...))
  end
end

-- Start new lines until the code stands on the template's line.
local function at_line(g, n)
  if n.line > g.line then
    emit(g, rep("\n", n.line - g.line))
    g.line = n.line
  end
end

local function index(tbl, name)
  if find(name, "^[%a_][%w_]*$") and not LUA_KEYWORDS[name] then return tbl .. "." .. name end
  return tbl .. "[" .. quote(name) .. "]"
end

-- A function of the run-time library, as a local of the chunk.
local function op(g, name)
  if not g.ops[name] then
    g.ops[name] = true
    g.ops[#g.ops + 1] = name
  end
  return name
end

local function new_id(g)
  g.ids = g.ids + 1
  return g.ids
end

local function use_locals(g, count, st)
  g.fn.locals = g.fn.locals + count
  if g.fn.locals > MAX_LOCALS - MAX_VARIABLES then fail(g.lx, st, "template nests too deeply") end
end

local function open_scope(g)
  local scope = { parent = g.scope, vars = {}, locals = g.fn.locals, variables = g.variables }
  g.scope = scope
  return scope
end

local function close_scope(g)
  local scope = g.scope
  g.fn.locals, g.variables, g.scope = scope.locals, scope.variables, scope.parent
end

local function mangle(name)
  if find(name, "[\128-\255]") then
    return "u_" .. gsub(name, "[\128-\255]", function(c) return format("_%02x", byte(c)) end)
  end
  return "v_" .. name
end

-- A place for a variable of the current scope: a local, which the caller declares, or a field of the scope's table.
local function bind(g, name, st)
  local scope = g.scope
  if g.variables < MAX_VARIABLES then
    g.variables = g.variables + 1
    use_locals(g, 1, st)
    scope.vars[name] = mangle(name)
    return scope.vars[name], true
  end
  if not scope.overflow then
    scope.overflow = "t" .. new_id(g)
    use_locals(g, 1, st)
    emit(g, "local ", scope.overflow, "={} ")
  end
  scope.vars[name] = scope.overflow .. "[" .. quote(name) .. "]"
  return scope.vars[name], false
end

-- The place of a name, from the inside out; the template's own scope takes what is found nowhere.
local function place_of(g, name)
  local scope = g.scope
  while scope do
    if scope.vars[name] then return scope.vars[name] end
    scope = scope.parent
  end
  local root = g.root
  if root.count < MAX_VARIABLES then
    root.vars[name] = mangle(name)
    root.count = root.count + 1
  else
    root.overflowed = true
    root.vars[name] = "R[" .. quote(name) .. "]"
  end
  root.names[#root.names + 1] = name
  return root.vars[name]
end

-- Declare what is set in the current scope: from the outer value, unless it is always set before it is read.
local function declare_stored(g, info, st)
  for _, name in ipairs(info.stored) do
    local plain = info.first[name] == "store"
    local outer = not plain and place_of(g, name)
    local place, is_local = bind(g, name, st)
    -- In one statement: the outer variable may have the same name in Lua.
    if is_local or outer then emit(g, is_local and "local " or "", place, outer and "=" .. outer or "", " ") end
  end
end

-- ---- Expressions ---------------------------------------------------------------------------------------------

local expr, condition

-- What is known of a value before it exists: "string", "bool", "int" (small, no overflow), "other" (never false or
-- undefined), or nil.
local kind_of
local KINDS = { list = "other", tuple = "other", dict = "other", ["not"] = "bool", compare = "bool", concat = "string",
  null = "other" }

local function loop_scope(g)
  local scope = g.scope
  while scope and not scope.loop do scope = scope.parent end
  return scope and scope.loop
end

local function all_kinds(n, from, kind)
  for i = from, #n do
    if kind_of(n[i]) ~= kind then return false end
  end
  return true
end

local function any_string(n)
  for i = 1, #n do
    if kind_of(n[i]) == "string" then return true end
  end
  return false
end

local kinders = {
  const = function(n)
    local t = type(n.v)
    if t == "string" then return "string" end
    if t == "boolean" then return "bool" end
    return math.type(n.v) == "integer" and n.v > -2 ^ 31 and n.v < 2 ^ 31 and "int" or "other"
  end,
  attr = function(n)
    local kind = n.loop_field and LOOP_FIELDS[n.name]
    return kind ~= "any" and kind or nil
  end,
  filter = function(n) return FILTERS[n.name] and STRING_FILTERS[n.name] and "string" or nil end,
  test = function(n) return TESTS[n.name] and "bool" or nil end,
  add = function(n) return any_string(n) and "string" or #n == 2 and all_kinds(n, 1, "int") and "int" or nil end,
  binary = function(n)
    if not all_kinds(n, 1, "int") then return nil end
    if n.op == "-" then return "int" end
    return (n.op == "%" or n.op == "//") and n[2].k == "const" and n[2].v > 0 and "int" or nil
  end,
  ["and"] = function(n) return all_kinds(n, 1, "bool") and "bool" or nil end,
  ["or"] = function(n) return all_kinds(n, 1, "bool") and "bool" or nil end,
  cond = function(n)
    local kind = kind_of(n[2])
    return n[3] and kind == kind_of(n[3]) and kind or nil
  end,
}

-- The answer is kept on the node: chains ask often.
function kind_of(n)
  if n.kind == nil then
    local kinder = kinders[n.k]
    n.kind = kinder and kinder(n) or KINDS[n.k] or false
  end
  return n.kind or nil
end

local function arguments(g, n, from)
  for i = from, #n do
    emit(g, ",")
    expr(g, n[i])
  end
end

local function call_op(g, name, n, from, to)
  at_line(g, n.k and n or n[1])
  emit(g, op(g, name), "(")
  for i = from or 1, to or #n do
    if i > (from or 1) then emit(g, ",") end
    expr(g, n[i])
  end
  emit(g, ")")
end

local function text_expr(g, n)
  if kind_of(n) == "string" then
    expr(g, n)
  else
    at_line(g, n)
    emit(g, op(g, "str"), "(")
    expr(g, n)
    emit(g, ")")
  end
end

-- Texts joined: each operand by `piece`.
local function joined(g, n, piece)
  local long = #n > 24
  emit(g, long and op(g, "concat") .. "({" or "(")
  for i = 1, #n do
    if i > 1 then emit(g, long and "," or "..") end
    piece(g, n[i])
  end
  emit(g, long and "})" or ")")
end

-- A value that may be nil where an attribute or item is missing: for contexts that ask whether it is there.
local function raw(g, n)
  if n.loop_field and LOOP_FIELDS[n.name] == "any" then
    local loop = loop_scope(g)
    emit(g, loop.it, "[", loop.i, n.name == "previtem" and "-1]" or "+1]")
  elseif n.k == "attr" and not n.loop_field and not DICT_METHODS[n.name] then
    at_line(g, n)
    emit(g, op(g, "attr_raw"), "(")
    expr(g, n[1])
    emit(g, ",", quote(n.name), ")")
  elseif n.k == "item" and n[2].k == "const" and type(n[2].v) == "string" and not DICT_METHODS[n[2].v] then
    at_line(g, n)
    emit(g, op(g, "attr_raw"), "(")
    expr(g, n[1])
    emit(g, ",", quote(n[2].v), ")")
  elseif n.k == "item" then
    at_line(g, n)
    call_op(g, "item_raw", n)
  else
    expr(g, n)
  end
end

local LOOP_CODE = { index = "I", index0 = "(I-1)", revindex = "(N-I+1)", revindex0 = "(N-I)", first = "(I==1)",
  last = "(I==N)", length = "N", depth = "1", depth0 = "0" }

local function loop_field(g, n)
  local loop = loop_scope(g)
  if LOOP_CODE[n.name] then
    emit(g, (gsub(LOOP_CODE[n.name], "[IN]", { I = loop.i, N = loop.n })))
  else
    emit(g, op(g, "loop_item"), "(", loop.it, ",", loop.i, n.name == "previtem" and "-1," or "+1,", quote(n.name), ")")
  end
end

local function keyword_table(g, kw, extra)
  if not (kw and kw[1]) and not extra then
    emit(g, "nil")
    return
  end
  emit(g, "{")
  for _, pair in ipairs(kw or {}) do emit(g, quote(pair[1]), ",") end
  if extra then emit(g, '"caller",') end
  for _, pair in ipairs(kw or {}) do
    emit(g, "[", quote(pair[1]), "]=")
    expr(g, pair[2])
    emit(g, ",")
  end
  if extra then
    emit(g, "caller=")
    extra()
  end
  emit(g, "}")
end

-- A call; `caller` writes the body of a {% call %} block.
local function call_expr(g, n, caller)
  local fn = n[1]
  if n.loop_field and not caller then
    local loop = loop_scope(g)
    emit(g, op(g, "loop_cycle"), "(", loop.i)
    arguments(g, n, 2)
    emit(g, ")")
  elseif n.star or n.starstar then
    emit(g, op(g, "call_star"), "(")
    expr(g, fn)
    emit(g, ",")
    keyword_table(g, n.kw, caller)
    for _, extra in ipairs({ "star", "starstar" }) do
      emit(g, ",")
      if n[extra] then expr(g, n[extra]) else emit(g, "nil") end
    end
    arguments(g, n, 2)
    emit(g, ")")
  elseif fn.k == "attr" and METHODS[fn.name] and not caller then
    emit(g, op(g, n.kw and "method_kw" or "method"), "(")
    expr(g, fn[1])
    emit(g, ",", quote(fn.name))
    if n.kw then
      emit(g, ",")
      keyword_table(g, n.kw)
    end
    arguments(g, n, 2)
    emit(g, ")")
  else
    emit(g, op(g, "call"), "(")
    expr(g, fn)
    emit(g, ",")
    keyword_table(g, n.kw, caller)
    arguments(g, n, 2)
    emit(g, ")")
  end
end

local function is_constant(n)
  if n.k ~= "list" and n.k ~= "tuple" then return n.k == "const" or n.k == "null" end
  if #n > 40 then return false end
  for i = 1, #n do
    if not is_constant(n[i]) then return false end
  end
  return true
end

-- The right side of `in`: a list of constants is made once per chunk, since nothing can change it there.
local function container(g, n)
  if (n.k == "list" or n.k == "tuple") and is_constant(n) and #g.constants < MAX_CONSTANTS then
    local code, size, line = g.code, g.size, g.line
    g.code, g.size, g.line = {}, 0, math.huge
    expr(g, n)
    g.constants[#g.constants + 1] = concat(g.code)
    g.code, g.size, g.line = code, size, line
    emit(g, "K", tostring(#g.constants))
  else
    expr(g, n)
  end
end

local COMPARE_OPS = { ["<"] = "lt", ["<="] = "le", [">"] = "gt", [">="] = "ge" }

local function comparison(g, a, sign, b)
  local ka, kb = kind_of(a), kind_of(b)
  if sign == "in" or sign == "not in" then
    emit(g, sign == "in" and "" or "(not ", op(g, "contains"), "(")
    expr(g, a)
    emit(g, ",")
    container(g, b)
    emit(g, sign == "in" and ")" or "))")
  elseif ka == "int" and kb == "int" then
    emit(g, "(")
    expr(g, a)
    emit(g, sign == "!=" and "~=" or sign)
    expr(g, b)
    emit(g, ")")
  elseif sign == "==" or sign == "!=" then
    -- A text equals nothing but the same text; only strict mode has to look at the other side.
    local plain = (ka == "string" and (g.lenient or kb)) or (kb == "string" and (g.lenient or ka))
    emit(g, plain and "(" or sign == "==" and "" or "(not ")
    if not plain then emit(g, op(g, "eq"), "(") end
    local side = plain and raw or expr
    side(g, a)
    emit(g, plain and (sign == "==" and "==" or "~=") or ",")
    side(g, b)
    emit(g, (plain or sign == "==") and ")" or "))")
  else
    emit(g, op(g, COMPARE_OPS[sign]), "(")
    expr(g, a)
    emit(g, ",")
    expr(g, b)
    emit(g, ")")
  end
end

local function compare_expr(g, n)
  if #n.ops == 1 then return comparison(g, n[1], n.ops[1], n[2]) end
  local simple = true
  for i = 2, #n - 1 do simple = simple and (n[i].k == "name" or n[i].k == "const") end
  emit(g, simple and "(" or op(g, "chain") .. "(")
  for i, sign in ipairs(n.ops) do
    if simple then
      if i > 1 then emit(g, " and ") end
      comparison(g, n[i], sign, n[i + 1])
    else
      if i == 1 then expr(g, n[1]) end
      emit(g, ",", quote(sign), i > 1 and ",function() return " or ",")
      expr(g, n[i + 1])
      emit(g, i > 1 and " end" or "")
    end
  end
  emit(g, ")")
end

local function filter_expr(g, n)
  local name, operand = n.name, n[1]
  if not FILTERS[name] then
    emit(g, op(g, "helper"), "(", index("F", name), ",", quote(name), ",")
    expr(g, operand)
    arguments(g, n, 2)
  elseif name == "format" and n.kw then
    emit(g, op(g, "format_kw"), "(")
    expr(g, operand)
    emit(g, ",")
    keyword_table(g, n.kw)
  else
    emit(g, index("F", name), "(")
    local inner_at = (name == "selectattr" or name == "rejectattr") and 3 or 2
    local write = (name == "default" or name == "d") and raw or expr
    write(g, operand)
    for i = 2, #n do
      emit(g, ",")
      if n.inner and i == inner_at then
        emit(g, index(name == "map" and "F" or "T", n.inner))
      else
        expr(g, n[i])
      end
    end
  end
  emit(g, ")")
end

local function test_expr(g, n)
  local name, operand = n.name, n[1]
  if name == "defined" or name == "undefined" then
    emit(g, name == "defined" and "" or "(not ", op(g, "defined"), "(")
    raw(g, operand)
    emit(g, name == "defined" and ")" or "))")
  elseif name == "none" or name == "true" or name == "false" then
    emit(g, "(")
    raw(g, operand)
    emit(g, "==", name == "none" and op(g, "null") or name, ")")
  elseif name == "string" or name == "boolean" then
    emit(g, "(", op(g, "type"), "(")
    raw(g, operand)
    emit(g, ')=="', name, '")')
  elseif TESTS[name] then
    emit(g, index("T", name), "(")
    expr(g, operand)
    arguments(g, n, 2)
    emit(g, ")")
  else
    emit(g, op(g, "helper"), "(", index("T", name), ",", quote(name), ",")
    expr(g, operand)
    arguments(g, n, 2)
    emit(g, ")")
  end
end

local BINARY_OPS = { ["-"] = "sub", ["*"] = "mul", ["/"] = "div", ["//"] = "floordiv", ["%"] = "mod", ["**"] = "pow" }

local function only_text(g, n)
  if kind_of(n) == "string" then return expr(g, n) end
  call_op(g, "only_text", { n })
end

local emitters = {
  const = function(g, n)
    local v = n.v
    if type(v) == "string" then
      emit(g, quote(v))
    elseif math.type(v) == "float" then
      local s = format("%.17g", v)
      emit(g, v ~= v and "(0/0)" or v == math.huge and "(1/0)" or v == -math.huge and "(-1/0)"
        or "(" .. s .. (find(s, "[.e]") and "" or ".0") .. ")")
    elseif v == math.mininteger then
      emit(g, "math.mininteger")
    else
      emit(g, type(v) == "number" and v < 0 and "(" .. v .. ")" or tostring(v))
    end
  end,
  null = function(g) emit(g, op(g, "null")) end,
  ["nil"] = function(g) emit(g, "nil") end,
  buffer = function(g) emit(g, op(g, "concat"), "(", g.buffer, ")") end,
  name = function(g, n) emit(g, place_of(g, n.name)) end,
  list = function(g, n)
    emit(g, op(g, "list"), "({")
    for i = 1, #n do
      if i > 1 then emit(g, ",") end
      expr(g, n[i])
    end
    emit(g, "})")
  end,
  tuple = function(g, n)
    emit(g, op(g, "tuple"), "({")
    for i = 1, #n do
      if i > 1 then emit(g, ",") end
      expr(g, n[i])
    end
    emit(g, "})")
  end,
  dict = function(g, n)
    emit(g, op(g, "dict"), "({")
    for i = 1, #n do
      if i > 1 then emit(g, ",") end
      expr(g, n[i])
    end
    emit(g, "})")
  end,
  attr = function(g, n)
    if n.loop_field then return loop_field(g, n) end
    emit(g, op(g, DICT_METHODS[n.name] and "attr_any" or "attr"), "(")
    expr(g, n[1])
    emit(g, ",", quote(n.name), ")")
  end,
  item = function(g, n)
    local key = n[2]
    local plain = key.k == "const" and type(key.v) == "string" and not DICT_METHODS[key.v]
    call_op(g, plain and "attr" or "item", n)
  end,
  slice = function(g, n) call_op(g, "slice", n) end,
  call = call_expr,
  filter = filter_expr,
  mapattr = function(g, n)
    emit(g, op(g, "map_attr"), "(")
    expr(g, n[1])
    arguments(g, n, 2)
    emit(g, ")")
  end,
  test = test_expr,
  compare = compare_expr,
  concat = function(g, n) joined(g, n, text_expr) end,
  add = function(g, n)
    if any_string(n) then return joined(g, n, only_text) end
    if kind_of(n) == "int" then
      emit(g, "(")
      expr(g, n[1])
      emit(g, "+")
      expr(g, n[2])
      emit(g, ")")
    elseif #n > 6 then
      emit(g, op(g, "add_all"), "({")
      expr(g, n[1])
      arguments(g, n, 2)
      emit(g, "})")
    else
      emit(g, rep(op(g, "add") .. "(", #n - 1))
      expr(g, n[1])
      for i = 2, #n do
        emit(g, ",")
        expr(g, n[i])
        emit(g, ")")
      end
    end
  end,
  binary = function(g, n)
    if kind_of(n) == "int" then
      emit(g, "(")
      expr(g, n[1])
      emit(g, n.op)
      expr(g, n[2])
      emit(g, ")")
    else
      call_op(g, BINARY_OPS[n.op], n)
    end
  end,
  neg = function(g, n) call_op(g, "neg", n) end,
  pos = function(g, n) call_op(g, "pos", n) end,
  ["not"] = function(g, n)
    emit(g, "(not ")
    condition(g, n[1])
    emit(g, ")")
  end,
  -- Python's `and` and `or` give an operand. Lua's do the same once falsy values that Lua takes for true are turned to
  -- nil, and a false that has to survive is wrapped.
  ["and"] = function(g, n)
    local plain = all_kinds({ table.unpack(n, 1, #n - 1) }, 1, "bool")
    emit(g, plain and "(" or op(g, "unwrap") .. "(")
    for i = 1, #n do
      local last = i == #n
      if i > 1 then emit(g, plain and " and " or " or ") end
      if last or plain then expr(g, n[i]) else call_op(g, "falsy", { n[i] }) end
    end
    emit(g, ")")
  end,
  ["or"] = function(g, n)
    emit(g, "(")
    for i = 1, #n do
      if i > 1 then emit(g, " or ") end
      if i == #n or kind_of(n[i]) == "bool" then expr(g, n[i]) else call_op(g, "truthy", { n[i] }) end
    end
    emit(g, ")")
  end,
  cond = function(g, n)
    local kind = kind_of(n[2])
    local safe = kind and kind ~= "bool"
    emit(g, safe and "(" or op(g, "unwrap") .. "(")
    condition(g, n[1])
    emit(g, " and ")
    if safe then expr(g, n[2]) else call_op(g, "wrap", { n[2] }) end
    emit(g, " or ")
    if n[3] then expr(g, n[3]) else emit(g, op(g, "no_else"), "()") end
    emit(g, ")")
  end,
}

function expr(g, n)
  g.depth = g.depth + 1
  if g.depth > MAX_DEPTH then fail(g.lx, n, "expression nests too deeply") end
  at_line(g, n)
  emitters[n.k](g, n)
  g.depth = g.depth - 1
end

-- An expression for Lua's `if` and `not`: true or nil/false by Python's idea of truth.
function condition(g, n)
  if kind_of(n) == "bool" then
    expr(g, n)
  elseif n.k == "and" or n.k == "or" then
    emit(g, "(")
    for i = 1, #n do
      if i > 1 then emit(g, " ", n.k, " ") end
      condition(g, n[i])
    end
    emit(g, ")")
  else
    local write = g.lenient and raw or expr
    at_line(g, n)
    emit(g, op(g, "truth"), "(")
    write(g, n)
    emit(g, ")")
  end
end

return { emit = emit, at_line = at_line, index = index, op = op, new_id = new_id, use_locals = use_locals,
  open_scope = open_scope, close_scope = close_scope, bind = bind, mangle = mangle, place_of = place_of,
  declare_stored = declare_stored, expr = expr, condition = condition, text_expr = text_expr, call_expr = call_expr }
