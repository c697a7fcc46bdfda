-- SPDX-License-Identifier: MIT
-- Which names the bodies of a template read and write (jinja.lua). Called with the lexer's table. A body's scope holds
-- what is set directly in it (an `if` is no scope). `first` says how a name is met first, in source order: "load" (read),
-- "store" (always set before anything reads it), "cond" (set only on some path). Names not settled here are passed on to
-- the scope around. Scopes are left on their statements (scope, else_scope, test_scope).

local L = ...
local sorted_keys = L.sorted_keys

local LOOP_FIELDS = { index = "int", index0 = "int", revindex = "int", revindex0 = "int", first = "bool", last = "bool",
  length = "int", depth = "int", depth0 = "int", previtem = "any", nextitem = "any" }

local analyze

local function scan_load(s, name, how)
  if s.bound[name] then
    s.used[name] = true
    return
  end
  if not s.first[name] then s.first[name] = how end
end

local function scan_store(s, name)
  if s.bound[name] then return end
  if not s.stored[name] then
    s.stored[name] = true
    s.stored[#s.stored + 1] = name
  end
  if not s.first[name] then s.first[name] = s.conditional > 0 and "cond" or "store" end
end

-- What a scope inside s leaves open.
local function scan_inner(s, inner)
  for _, name in ipairs(sorted_keys(inner.first)) do
    if inner.first[name] ~= "store" then scan_load(s, name, inner.first[name]) end
  end
end

local scan

local function scan_all(s, list)
  for i = 1, #list do scan(s, list[i]) end
end

local function note(s, name, use)
  if s.bound[name] then return end
  s.uses[name] = s.uses[name] or {}
  s.uses[name][use] = true
end

local function is_loop_field(n)
  if n.k == "attr" then return n[1].k == "name" and n[1].name == "loop" and LOOP_FIELDS[n.name] end
  return n.k == "call" and n[1].k == "attr" and n[1].name == "cycle" and n[1][1].k == "name" and n[1][1].name == "loop"
    and not n.kw and not n.star and not n.starstar
end

local function scan_function(s, st)
  local bound = { caller = true, varargs = true, kwargs = true }
  for _, name in ipairs(st.params) do bound[name] = true end
  st.scope = analyze(st.body, bound, false, s.uses, st.defaults)
  scan_inner(s, st.scope)
end

local function scan_target(s, target, bound)
  if target.k == "field" then
    scan_load(s, target.object, "load")
    note(s, target.object, "value")
  elseif target.k == "target" then
    if bound then bound[target.name] = true else scan_store(s, target.name) end
  else
    for i = 1, #target do scan_target(s, target[i], bound) end
  end
end

local scanners = {
  name = function(s, n)
    scan_load(s, n.name, "load")
    note(s, n.name, "value")
  end,
  attr = function(s, n)
    if s.in_loop and is_loop_field(n) then
      n.loop_field, s.in_loop.uses_loop = true, true
      if LOOP_FIELDS[n.name] == "any" then s.in_loop.uses_items = true end
    else
      scan(s, n[1])
    end
  end,
  call = function(s, n)
    local fn = n[1]
    if s.in_loop and is_loop_field(n) then
      n.loop_field, s.in_loop.uses_loop = true, true
      for i = 2, #n do scan(s, n[i]) end
      return
    end
    if fn.k == "name" then
      scan_load(s, fn.name, "load")
      note(s, fn.name, "call")
    else
      scan(s, fn)
    end
    for i = 2, #n do scan(s, n[i]) end
    for _, pair in ipairs(n.kw or {}) do scan(s, pair[2]) end
    if n.star then scan(s, n.star) end
    if n.starstar then scan(s, n.starstar) end
  end,
  test = function(s, n)
    if n[1].k == "name" and (n.name == "defined" or n.name == "undefined") then
      scan_load(s, n[1].name, "load")
      note(s, n[1].name, "asked")
      return
    end
    scan_all(s, n)
  end,
  filter = function(s, n)
    local from = 1
    if n[1].k == "name" and (n.name == "default" or n.name == "d") then
      scan_load(s, n[1].name, "load")
      note(s, n[1].name, "asked")
      from = 2
    end
    for i = from, #n do scan(s, n[i]) end
    for _, pair in ipairs(n.kw or {}) do scan(s, pair[2]) end
  end,
  ["if"] = function(s, st)
    for i, branch in ipairs(st.branches) do
      if i > 1 then s.conditional = s.conditional + 1 end
      scan(s, branch[1])
      if i > 1 then s.conditional = s.conditional - 1 end
      s.conditional = s.conditional + 1
      scan_all(s, branch[2])
      s.conditional = s.conditional - 1
    end
    s.conditional = s.conditional + 1
    scan_all(s, st.otherwise or {})
    s.conditional = s.conditional - 1
  end,
  ["for"] = function(s, st)
    scan(s, st.iter)
    local bound = { loop = true }
    scan_target(s, st.target, bound)
    if st.test then
      st.test_scope = analyze({ st.test }, setmetatable({ loop = false }, { __index = bound }), s.in_loop, s.uses)
      scan_inner(s, st.test_scope)
    end
    st.scope = analyze(st.body, bound, st, s.uses)
    scan_inner(s, st.scope)
    if st.otherwise then
      st.else_scope = analyze(st.otherwise, {}, s.in_loop, s.uses)
      scan_inner(s, st.else_scope)
    end
  end,
  set = function(s, st)
    scan(s, st.value)
    scan_target(s, st.target)
  end,
  setblock = function(s, st)
    st.scope = analyze(st.body, {}, s.in_loop, s.uses)
    scan_inner(s, st.scope)
    if st.filter then scan(s, st.filter) end
    scan_target(s, st.target)
  end,
  macro = function(s, st)
    scan_function(s, st)
    scan_store(s, st.name)
  end,
  callblock = function(s, st)
    scan(s, st.call)
    scan_function(s, st)
  end,
  filterblock = function(s, st)
    st.scope = analyze(st.body, {}, s.in_loop, s.uses)
    scan_inner(s, st.scope)
    scan(s, st.filter)
  end,
  with = function(s, st)
    scan_all(s, st.values)
    local bound = {}
    for _, target in ipairs(st.targets) do scan_target(s, target, bound) end
    st.scope = analyze(st.body, bound, s.in_loop, s.uses)
    scan_inner(s, st.scope)
  end,
}

function scan(s, n)
  local scanner = scanners[n.k]
  if scanner then
    scanner(s, n)
  else
    scan_all(s, n)
  end
end

-- bound: names that the scope itself brings; defaults: expressions evaluated in it first.
function analyze(body, bound, in_loop, uses, defaults)
  local s = { bound = bound, first = {}, stored = {}, used = {}, conditional = 0, in_loop = in_loop, uses = uses }
  for _, default in ipairs(defaults or {}) do
    if default then scan(s, default) end
  end
  scan_all(s, body)
  return s
end

return { analyze = analyze, LOOP_FIELDS = LOOP_FIELDS }
