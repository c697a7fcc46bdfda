-- SPDX-License-Identifier: MIT
-- Lua for the statements of a template (jinja.lua). Called with the tables of lexer and expression code.

local L, X = ...
local sub, quote, concat = string.sub, L.quote, table.concat
local emit, at_line, index, op, new_id, use_locals = X.emit, X.at_line, X.index, X.op, X.new_id, X.use_locals
local open_scope, close_scope, bind, mangle, place_of = X.open_scope, X.close_scope, X.bind, X.mangle, X.place_of
local declare_stored, expr, condition, text_expr, call_expr = X.declare_stored, X.expr, X.condition, X.text_expr, X.call_expr

local body_code

local generators = {}

-- The pieces of an output statement as one Lua text.
local function pieces(g, st, from, to)
  for i = from, to do
    if i > from then emit(g, "..") end
    text_expr(g, st[i])
  end
end

function generators.output(g, st)
  local o, n = g.out.o, g.out.n
  for from = 1, #st, 16 do
    at_line(g, st[from])
    emit(g, n, "=", n, "+1 ", o, "[", n, "]=")
    pieces(g, st, from, math.min(from + 15, #st))
    emit(g, " ")
  end
end

generators["if"] = function(g, st)
  for i, branch in ipairs(st.branches) do
    emit(g, i == 1 and "if " or "elseif ")
    condition(g, branch[1])
    emit(g, " then ")
    body_code(g, branch[2])
  end
  if st.otherwise then
    emit(g, "else ")
    body_code(g, st.otherwise)
  end
  emit(g, "end ")
end

-- A Lua function's text made of what `body` puts out; one run of output is returned without a buffer.
local function function_code(g, body, st)
  if #body == 0 then
    emit(g, 'return "" ')
  elseif #body == 1 and body[1].k == "output" and #body[1] <= 16 and #body[1] > 0 then
    at_line(g, body[1])
    -- In parentheses: a tail call would leave the stack without the template's line.
    emit(g, "return (")
    pieces(g, body[1], 1, #body[1])
    emit(g, ") ")
  else
    local outer, id = g.out, new_id(g)
    g.out = { o = "o" .. id, n = "n" .. id }
    use_locals(g, 2, st)
    emit(g, "local ", g.out.o, ",", g.out.n, "={},0 ")
    body_code(g, body)
    emit(g, "return ", op(g, "concat"), "(", g.out.o, ") ")
    g.out = outer
  end
end

-- The value of a template that is one expression.
local function value_code(g, n)
  at_line(g, n)
  emit(g, "return (", op(g, "export"), "(")
  expr(g, n)
  emit(g, ")) ")
end

-- Assign values to the names of a target; `value` writes the Lua expression.
local function assign(g, target, value)
  if target.k == "field" then
    emit(g, op(g, "set_field"), "(", place_of(g, target.object), ",", quote(target.name), ",")
    value()
    emit(g, ") ")
  elseif target.k == "target" then
    emit(g, place_of(g, target.name), "=")
    value()
    emit(g, " ")
  else
    local nested = {}
    emit(g, "do local ")
    for i = 1, #target do emit(g, i > 1 and "," or "", "q", tostring(i)) end
    use_locals(g, #target, target)
    emit(g, "=", op(g, "unpack"), "(")
    value()
    emit(g, ",", tostring(#target), ") ")
    for i = 1, #target do
      if target[i].k == "tuple_target" then
        nested[#nested + 1] = i
      else
        assign(g, target[i], function() emit(g, "q", tostring(i)) end)
      end
    end
    for _, i in ipairs(nested) do
      assign(g, target[i], function() emit(g, "q", tostring(i)) end)
    end
    emit(g, "end ")
    g.fn.locals = g.fn.locals - #target
  end
end

-- Give the names of a target places in the current scope.
local function bind_target(g, target)
  if target.k == "target" then
    if g.scope.vars[target.name] then return end
    local place, is_local = bind(g, target.name, target)
    if is_local then emit(g, "local ", place, " ") end
  else
    for i = 1, #target do bind_target(g, target[i]) end
  end
end

local function bind_and_assign(g, target, value)
  bind_target(g, target)
  assign(g, target, value)
end

-- for k, v in x.items() / x|items without anything that needs the pairs themselves: keys and their map.
local function items_source(st)
  local target, it = st.target, st.iter
  if target.k ~= "tuple_target" or #target ~= 2 or target[1].k ~= "target" or target[2].k ~= "target" then return nil end
  if st.test or st.uses_items or st.scope.used.loop then return nil end
  if it.k == "filter" and it.name == "items" then return "pairs_filter", it[1] end
  if it.k == "call" and it[1].k == "attr" and it[1].name == "items" and #it == 1 and not it.kw and not it.star
    and not it.starstar then
    return "pairs_method", it[1][1]
  end
end

generators["for"] = function(g, st)
  local id = new_id(g)
  local it, n, i, q = "it" .. id, "c" .. id, "i" .. id, "q" .. id
  use_locals(g, 7, st)
  local outer_locals = g.fn.locals
  local pairs_op, source = items_source(st)
  emit(g, "do local ", it, ",", n, pairs_op and "," .. q or "", "=", op(g, pairs_op or "iter"), "(")
  expr(g, source or st.iter)
  emit(g, ") ")
  local function bind_item(from)
    if pairs_op then
      bind_target(g, st.target)
      emit(g, place_of(g, st.target[1].name), "=", it, "[", i, "] ")
      emit(g, place_of(g, st.target[2].name), "=", q, "[", it, "[", i, "]] ")
    else
      bind_and_assign(g, st.target, function() emit(g, from, "[", i, "]") end)
    end
  end
  local filtered_first = st.test and (st.uses_loop or st.otherwise or st.scope.used.loop)
  if filtered_first then
    emit(g, "local ", q, ",x", id, "={},0 for ", i, "=1,", n, " do ")
    open_scope(g)
    bind_item(it)
    emit(g, "if ")
    condition(g, st.test)
    emit(g, " then x", id, "=x", id, "+1 ", q, "[x", id, "]=", it, "[", i, "] end end ", it, ",", n, "=", q, ",x", id, " ")
    close_scope(g)
  end
  local has_object = st.scope.used.loop
  if has_object then emit(g, "local l", id, "=", op(g, "loop_object"), "(", it, ",", n, ") ") end
  emit(g, "for ", i, "=1,", n, " do ")
  open_scope(g)
  bind_item(it)
  g.scope.loop = { it = it, n = n, i = i, id = id }
  if has_object then
    g.scope.vars.loop = "l" .. id
    emit(g, "l", id, ".i=", i, " ")
  end
  if st.test and not filtered_first then
    emit(g, "if ")
    condition(g, st.test)
    emit(g, " then ")
  end
  if st.has_continue then emit(g, "do ") end
  declare_stored(g, st.scope, st)
  st.label = "next" .. id
  body_code(g, st.body)
  if st.has_continue then emit(g, "end ::", st.label, "::") end
  if st.test and not filtered_first then emit(g, "end ") end
  emit(g, "end ")
  close_scope(g)
  if st.otherwise then
    emit(g, "if ", n, "==0 then ")
    open_scope(g)
    declare_stored(g, st.else_scope, st)
    body_code(g, st.otherwise)
    close_scope(g)
    emit(g, "end ")
  end
  emit(g, "end ")
  g.fn.locals = outer_locals - 7
end

generators["break"] = function(g) emit(g, "do break end ") end
generators["continue"] = function(g, st) emit(g, "goto ", st.loop.label, " ") end

function generators.set(g, st)
  local target, v = st.target, st.value
  if target.k == "tuple_target" and v.k == "tuple" and #v == #target then
    local plain = true
    for i = 1, #target do plain = plain and target[i].k == "target" end
    if plain then
      for i = 1, #target do emit(g, i > 1 and "," or "", place_of(g, target[i].name)) end
      emit(g, "=")
      for i = 1, #v do
        if i > 1 then emit(g, ",") end
        expr(g, v[i])
      end
      emit(g, " ")
      return
    end
  end
  assign(g, target, function() expr(g, v) end)
end

-- Run a body with its output going to a buffer of its own; `finish` uses g.buffer afterwards.
local function buffered(g, st, finish)
  local outer, id, locals = g.out, new_id(g), g.fn.locals
  g.out = { o = "o" .. id, n = "n" .. id }
  use_locals(g, 2, st)
  emit(g, "do local ", g.out.o, ",", g.out.n, "={},0 do ")
  open_scope(g)
  declare_stored(g, st.scope, st)
  body_code(g, st.body)
  close_scope(g)
  emit(g, "end ")
  local buffer = g.buffer
  g.buffer = g.out.o
  g.out = outer
  finish()
  g.buffer = buffer
  emit(g, "end ")
  g.fn.locals = locals
end

function generators.setblock(g, st)
  buffered(g, st, function()
    assign(g, st.target, function() expr(g, st.filter or { k = "buffer", line = st.line }) end)
  end)
end

function generators.filterblock(g, st)
  buffered(g, st, function()
    emit(g, g.out.n, "=", g.out.n, "+1 ", g.out.o, "[", g.out.n, "]=")
    text_expr(g, st.filter)
    emit(g, " ")
  end)
end

function generators.with(g, st)
  emit(g, "do ")
  local locals = g.fn.locals
  -- The values belong to the scope around; then their names are bound.
  local id = new_id(g)
  use_locals(g, #st.values, st)
  for i = 1, #st.values do emit(g, i > 1 and "," or "local ", "w", tostring(id), "_", tostring(i)) end
  for i, value in ipairs(st.values) do
    emit(g, i > 1 and "," or "=")
    expr(g, value)
  end
  emit(g, " ")
  open_scope(g)
  for i, target in ipairs(st.targets) do
    bind_and_assign(g, target, function() emit(g, "w", tostring(id), "_", tostring(i)) end)
  end
  declare_stored(g, st.scope, st)
  body_code(g, st.body)
  close_scope(g)
  emit(g, "end ")
  g.fn.locals = locals
end

-- macro(name, params, function, wants varargs, wants kwargs): the object a template calls.
local function macro_expr(g, st, name)
  local used = st.scope.used
  emit(g, op(g, "macro"), "(", quote(name), ",{")
  for i, param in ipairs(st.params) do emit(g, i > 1 and "," or "", quote(param)) end
  emit(g, "},function(")
  local fn, variables = g.fn, g.variables
  g.fn = { locals = 0 }
  open_scope(g)
  local extra = { "caller", "varargs", "kwargs" }
  local names = { table.unpack(st.params) }
  for _, param in ipairs(extra) do
    local own = false
    for _, other in ipairs(st.params) do own = own or other == param end
    names[#names + 1] = own and "" or param
  end
  for i, param in ipairs(names) do
    local place = param == "" and "_" or mangle(param)
    if param ~= "" then g.scope.vars[param] = place end
    emit(g, i > 1 and "," or "", place)
  end
  emit(g, ") ")
  g.variables = g.variables + #names
  use_locals(g, #names, st)
  for i, param in ipairs(st.params) do
    local place = g.scope.vars[param]
    emit(g, "if ", place, "==nil then ", place, "=")
    if st.defaults[i] then
      expr(g, st.defaults[i])
    else
      emit(g, op(g, "missing"), "(", quote(param), ")")
    end
    emit(g, " end ")
  end
  if used.caller and g.scope.vars.caller and names[#st.params + 1] == "caller" then
    local place = g.scope.vars.caller
    emit(g, "if ", place, "==nil then ", place, "=", op(g, "no_caller"), "() end ")
  end
  declare_stored(g, st.scope, st)
  function_code(g, st.body, st)
  close_scope(g)
  g.fn, g.variables = fn, variables
  emit(g, "end,", tostring(used.varargs or false), ",", tostring(used.kwargs or false), ")")
end

function generators.macro(g, st)
  emit(g, place_of(g, st.name), "=")
  macro_expr(g, st, st.name)
  emit(g, " ")
end

function generators.callblock(g, st)
  local o, n = g.out.o, g.out.n
  emit(g, n, "=", n, "+1 ", o, "[", n, "]=", op(g, "str"), "(")
  call_expr(g, st.call, function() macro_expr(g, st, "caller") end)
  emit(g, ") ")
end

function body_code(g, body)
  for _, st in ipairs(body) do
    at_line(g, st)
    generators[st.k](g, st)
  end
end

local function header(g)
  local out = { "local J=... local O,F,T=J.ops,J.filters,J.tests " }
  if #g.ops > 0 then
    out[#out + 1] = "local " .. concat(g.ops, ",") .. "=O." .. concat(g.ops, ",O.") .. " "
  end
  for i, code in ipairs(g.constants) do out[#out + 1] = "local K" .. i .. "=" .. code .. " " end
  out[#out + 1] = "return function(V) O.begin(" .. tostring(not g.lenient) .. ") "
  if g.root.overflowed then out[#out + 1] = "local R={} " end
  for _, name in ipairs(g.root.names) do
    local place = g.root.vars[name]
    local declare = sub(place, 1, 2) == "R[" and "" or "local "
    if g.root_info.first[name] == "store" then
      if declare ~= "" then out[#out + 1] = declare .. place .. " " end
    else
      out[#out + 1] = declare .. place .. "=" .. index("V", name) .. " if " .. place .. "==nil then " .. place .. "=O.name("
        .. quote(name) .. ") end "
    end
  end
  return concat(out)
end

return { function_code = function_code, value_code = value_code, header = header }
