-- SPDX-License-Identifier: MIT
-- What compiled templates call when they run: Python's values, operators and printing (jinja.lua emits the calls).
-- A chunk called with (value, text, part): the host's libraries of VALUES.md and a function that gives the chunk of
-- another file by name. Returns J: globals, filters, tests, ops; the host adds helpers to globals and filters, marks
-- them in is_helper and sets ctx, which they get as last argument, and now (Unix seconds) if a template may see a clock.
--
-- Undefined is an object (metatable UNDEFINED) that knows its name; nil stands for it only where a template asks whether
-- something is there. Tuples, ranges, generators and views of a map are tables 1..n with a metatable of their own.

local value, text, part = ...
local null, kind, mark_list, mark_map, keys_of, set_key = value.null, value.kind, value.list, value.map, value.keys, value.set
local type, getmetatable, setmetatable, select, math_type = type, getmetatable, setmetatable, select, math.type
local find, unpack_table, concat = string.find, table.unpack, table.concat

local J = { globals = {}, filters = {}, tests = {}, is_helper = {}, ops = {} }
local C = {} -- what the run-time files share: the methods of values and the functions named below
part("jinja_value.lua")(C, value)
local own = select(2, pcall(error, "", 2))
C.own_files[own:match("^(.-):%d+: ") or own] = true
local ops, globals = J.ops, J.globals
local UNDEFINED, TUPLE, RANGE, NAMESPACE, MACRO = C.UNDEFINED, C.TUPLE, C.RANGE, C.NAMESPACE, C.MACRO
local LOOP, CYCLER, TAG, SEQUENCE, range_stop = C.LOOP, C.CYCLER, C.TAG, C.SEQUENCE, C.range_stop
local raise, type_name, tag_of, str, truth, eq, less = C.raise, C.type_name, C.tag_of, C.str, C.truth, C.eq, C.less
local fail_undefined, undefined_hint, undefined_of, is_lenient_undefined =
  C.fail_undefined, C.undefined_hint, C.undefined_of, C.is_lenient_undefined
local number_of, check_operand = C.number_of, C.check_operand

local NO_ELSE = "the inline if-expression evaluated to false and no else section was defined."
local MAX_RANGE = 100000 -- items, as in Jinja's sandbox
local FALSE = {} -- stands for a false that Lua's `or` must not drop

-- ---- Loops ---------------------------------------------------------------------------------------------------

-- What a loop walks: an array and its length.
local function iter(v)
  local t = type(v)
  if t == "table" then
    local tag = TAG[getmetatable(v)]
    if not tag then
      if kind(v) == "list" then return v, #v end
      local keys = keys_of(v)
      return keys, #keys
    end
    if SEQUENCE[tag] then return v, #v end
    if tag == "undefined" and is_lenient_undefined(v) then return {}, 0 end
    if tag == "namespace" then raise("'Namespace' object is not iterable") end
    if tag == "loop" then return v.it, v.n end
  elseif t == "string" then
    local chars = text.chars(v)
    return chars, #chars
  end
  raise("'%s' object is not iterable", type_name(v))
end

local function is_map(v)
  return type(v) == "table" and not TAG[getmetatable(v)] and kind(v) == "map"
end

local function is_list(v)
  return type(v) == "table" and not TAG[getmetatable(v)] and kind(v) == "list"
end

local function tuple(t)
  return setmetatable(t, TUPLE)
end

local function map_items(m)
  local out, keys = {}, keys_of(m)
  for i = 1, #keys do out[i] = tuple { keys[i], m[keys[i]] } end
  return out
end

-- n values of something that is unpacked.
local function unpack(v, n)
  local items, count = iter(v)
  if count ~= n then
    if count < n then raise("not enough values to unpack (expected %d, got %d)", n, count) end
    raise("too many values to unpack (expected %d)", n)
  end
  return unpack_table(items, 1, n)
end

local function length(v)
  local t = type(v)
  if t == "string" then return find(v, "[\128-\255]") and text.len(v) or #v end
  if t == "table" then
    local tag = TAG[getmetatable(v)]
    if not tag then return kind(v) == "list" and #v or #keys_of(v) end
    if SEQUENCE[tag] then return #v end
    if tag == "undefined" and is_lenient_undefined(v) then return 0 end
    if tag == "loop" then return v.n end
  end
  raise("object of type '%s' has no len()", type_name(v))
end

C.is_list, C.tuple = is_list, tuple
part("jinja_arith.lua")(J, C, value)

-- ---- Attributes, items, slices -------------------------------------------------------------------------------

local methods_of

local LOOP_GET = {
  index = function(l) return l.i end,
  index0 = function(l) return l.i - 1 end,
  revindex = function(l) return l.n - l.i + 1 end,
  revindex0 = function(l) return l.n - l.i end,
  first = function(l) return l.i == 1 end,
  last = function(l) return l.i == l.n end,
  length = function(l) return l.n end,
  depth = function() return 1 end,
  depth0 = function() return 0 end,
  previtem = function(l) return l.it[l.i - 1] end,
  nextitem = function(l) return l.it[l.i + 1] end,
  cycle = function(l)
    return function(...) return (select((l.i - 1) % select("#", ...) + 1, ...)) end
  end,
  changed = function(l)
    return function(...)
      local now = tuple { ... }
      if l.seen and eq(l.seen, now) then return false end
      l.seen = now
      return true
    end
  end,
}

local CYCLER_GET = {
  current = function(c) return c.items[c.at] end,
  next = function(c)
    return function()
      local item = c.items[c.at]
      c.at = c.at % #c.items + 1
      return item
    end
  end,
  reset = function(c)
    return function()
      c.at = 1
      return null
    end
  end,
}

local function tagged_attribute(obj, tag, key)
  if tag == "undefined" then fail_undefined(obj) end
  if tag == "namespace" then return obj[key] end
  if tag == "loop" then return LOOP_GET[key] and LOOP_GET[key](obj) end
  if tag == "cycler" then return CYCLER_GET[key] and CYCLER_GET[key](obj) end
  if tag == "group" then return key == "grouper" and obj[1] or key == "list" and obj[2] or nil end
  if tag == "macro" and key == "name" then return obj.name end
  return nil
end

local function bound_method(obj, key)
  local methods = methods_of(obj)
  local method = methods and methods[key]
  if not method then return nil end
  return function(...) return method(obj, ...) end
end

-- obj.key or obj['key'] for keys that are no method of a map: nil where there is none.
local function attr_raw(obj, key)
  if type(obj) == "table" then
    local tag = TAG[getmetatable(obj)]
    if not tag then
      local v = obj[key]
      if v ~= nil then return v end
    else
      local v = tagged_attribute(obj, tag, key)
      if v ~= nil then return v end
    end
  elseif obj == nil then
    raise("undefined value has no attribute '%s'", key)
  end
  return bound_method(obj, key)
end

local function attr(obj, key)
  local v = attr_raw(obj, key)
  if v == nil then return undefined_of(obj, key) end
  return v
end

-- obj.key where key names a method of maps: the method wins.
local function attr_any(obj, key)
  if type(obj) == "table" and not TAG[getmetatable(obj)] then
    local method = bound_method(obj, key)
    if method then return method end
  end
  return attr(obj, key)
end

local function item_raw(obj, key)
  local t = type(key)
  if t == "number" or t == "boolean" then
    local i = number_of(key)
    if type(obj) == "table" then
      local tag = TAG[getmetatable(obj)]
      if (not tag and kind(obj) == "list") or SEQUENCE[tag] then
        if math_type(i) ~= "integer" then return nil end
        if i < 0 then return obj[#obj + i + 1] end
        return obj[i + 1]
      end
      if not tag then return obj[key] end
      if tag == "undefined" then fail_undefined(obj) end
    elseif type(obj) == "string" and math_type(i) == "integer" then
      return C.char_at(obj, i)
    end
    return nil
  end
  if t == "table" and tag_of(key) == "undefined" then is_lenient_undefined(key) end
  if type(obj) == "table" then
    local tag = TAG[getmetatable(obj)]
    if tag == "undefined" then fail_undefined(obj) end
    if not tag and t ~= "table" and key ~= nil then
      local v = obj[key]
      if v ~= nil then return v end
    end
  end
  if t ~= "string" then return nil end
  return attr_raw(obj, key)
end

local function item(obj, key)
  local v = item_raw(obj, key)
  if v == nil then return undefined_of(obj, key) end
  return v
end

local function slice_bound(v, what)
  if v == nil or v == null then return nil end
  if type(v) == "boolean" then return v and 1 or 0 end
  if math_type(v) ~= "integer" then
    check_operand(v)
    raise("slice %s must be an integer or None, not %s", what, type_name(v))
  end
  return v
end

-- The first and last index (from 1) and step of a Python slice of n items.
local function slice_range(n, from, to, step)
  from, to, step = slice_bound(from, "start"), slice_bound(to, "end"), slice_bound(step, "step") or 1
  if step == 0 then raise("slice step cannot be zero") end
  local low, high = 0, n
  if step < 0 then low, high = -1, n - 1 end
  local function clamp(v, otherwise)
    if not v then return otherwise end
    if v < 0 then v = v + n end
    return v < low and low or v > high and high or v
  end
  if step > 0 then return clamp(from, 0) + 1, clamp(to, n), step end
  return clamp(from, n - 1) + 1, clamp(to, -1) + 2, step
end

local function slice(v, from, to, step)
  if type(v) == "string" then return C.slice_text(v, from, to, step) end
  local tag = type(v) == "table" and tag_of(v)
  if tag == "undefined" then fail_undefined(v) end
  if not (is_list(v) or (tag and SEQUENCE[tag])) then
    raise("'%s' object cannot be sliced", type_name(v))
  end
  local first, last, by = slice_range(#v, from, to, step)
  local out, n = {}, 0
  for i = first, last, by do
    n = n + 1
    out[n] = v[i]
  end
  if tag == "tuple" or tag == "group" then return tuple(out) end
  return mark_list(out)
end

-- ---- Containment ---------------------------------------------------------------------------------------------

local function contains(v, container)
  local t = type(container)
  if t == "string" then
    if type(v) ~= "string" then
      check_operand(v)
      raise("'in <string>' requires string as left operand, not %s", type_name(v))
    end
    return find(container, v, 1, true) ~= nil
  end
  if t == "table" then
    local tag = TAG[getmetatable(container)]
    if not tag and kind(container) == "map" then
      if type(v) == "table" then
        if tag_of(v) == "undefined" then is_lenient_undefined(v) return false end
        if is_list(v) or is_map(v) then raise("unhashable type: '%s'", type_name(v)) end
      end
      return v ~= nil and v == v and container[v] ~= nil
    end
    if not tag or SEQUENCE[tag] then
      for i = 1, #container do
        if eq(container[i], v) then return true end
      end
      return false
    end
    if tag == "undefined" then return not is_lenient_undefined(container) end
  end
  raise("argument of type '%s' is not iterable", type_name(container))
end

-- ---- Calls ---------------------------------------------------------------------------------------------------

local takes_keywords = {} -- built-in functions that get their keyword arguments first

-- A helper of the eval file: plain values in, ctx last, one value out.
local function call_helper(f, ...)
  local n = select("#", ...)
  for i = 1, n do
    local v = select(i, ...)
    if type(v) == "table" and tag_of(v) == "undefined" then is_lenient_undefined(v) end
  end
  local out
  if n == 0 then
    out = f(J.ctx)
  elseif n == 1 then
    out = f(..., J.ctx)
  else
    local args = { ... }
    args[n + 1] = J.ctx
    out = f(unpack_table(args, 1, n + 1))
  end
  if out == nil then return null end
  return out
end

local function call_macro(m, kw, ...)
  local n, params = select("#", ...), m.params
  if not kw and n <= #params and not m.varargs and not m.kwargs then return m.fn(...) end
  local args, n_params = {}, #params
  local left, left_names = {}, {}
  for i = 1, n do
    local v = select(i, ...)
    if i <= n_params then
      args[i] = v
    elseif m.varargs then
      left[#left + 1] = v
    else
      raise("macro '%s' takes not more than %d argument(s)", m.name, n_params)
    end
  end
  local caller
  local named = {}
  for _, name in ipairs(kw or {}) do
    local place
    for i = 1, n_params do
      if params[i] == name then place = i end
    end
    if place then
      if args[place] ~= nil then raise("macro '%s' got multiple values for argument '%s'", m.name, name) end
      args[place] = kw[name]
    elseif name == "caller" then
      caller = kw[name]
    elseif m.kwargs then
      named[name] = kw[name]
      left_names[#left_names + 1] = name
    else
      raise("macro '%s' takes no keyword argument '%s'", m.name, name)
    end
  end
  args[n_params + 1] = caller
  args[n_params + 2] = m.varargs and tuple(left) or nil
  args[n_params + 3] = m.kwargs and mark_map(named, left_names) or nil
  return m.fn(unpack_table(args, 1, n_params + 3))
end

local function call(f, kw, ...)
  local t = type(f)
  if t == "function" then
    if takes_keywords[f] then return f(kw, ...) end
    if kw then raise("function takes no keyword arguments") end
    if J.is_helper[f] then return call_helper(f, ...) end
    local out = f(...)
    if out == nil then return null end
    return out
  end
  if t == "table" then
    local tag = tag_of(f)
    if tag == "macro" then return call_macro(f, kw, ...) end
    if tag == "undefined" then fail_undefined(f) end
  end
  raise("'%s' object is not callable", type_name(f))
end

local function call_star(f, kw, star, starstar, ...)
  local args = { ... }
  local n = select("#", ...)
  if star ~= nil then
    local items, count = iter(star)
    for i = 1, count do args[n + i] = items[i] end
    n = n + count
  end
  if starstar ~= nil then
    if not is_map(starstar) then raise("argument after ** must be a mapping, not %s", type_name(starstar)) end
    kw = kw or {}
    for _, key in ipairs(keys_of(starstar)) do
      if kw[key] ~= nil then raise("got multiple values for keyword argument '%s'", key) end
      kw[#kw + 1] = key
      kw[key] = starstar[key]
    end
    if #kw == 0 then kw = nil end
  end
  return call(f, kw, unpack_table(args, 1, n))
end

function methods_of(obj)
  local t = type(obj)
  if t == "string" then return C.str_methods end
  if t ~= "table" then return nil end
  local tag = TAG[getmetatable(obj)]
  if not tag then return kind(obj) == "map" and C.map_methods or C.list_methods end
  if tag == "tuple" or tag == "group" then return C.tuple_methods end
  return nil
end

local function method(obj, name, ...)
  local methods = methods_of(obj)
  local f = methods and methods[name]
  if f then return f(obj, ...) end
  return call(attr(obj, name), nil, ...)
end

local function method_kw(obj, name, kw, ...)
  if type(obj) == "string" and name == "format" then return C.format_text(obj, kw, ...) end
  if is_map(obj) and name == "update" then
    C.map_methods.update(obj, ...)
    for _, key in ipairs(kw) do set_key(obj, key, kw[key]) end
    return null
  end
  if methods_of(obj) and methods_of(obj)[name] then raise("%s() takes no keyword arguments", name) end
  return call(attr(obj, name), kw, ...)
end

-- ---- What templates make -------------------------------------------------------------------------------------

local function check_key(key)
  if type(key) == "table" then
    check_operand(key)
    raise("unhashable type: '%s'", type_name(key))
  end
  if key ~= key then raise("nan cannot be a key") end
  return key
end

-- { key, value, key, value, ... } as a map in that order.
local function dict(flat)
  local out, keys, n = {}, {}, 0
  for i = 1, #flat, 2 do
    local key = check_key(flat[i])
    if out[key] == nil then
      n = n + 1
      keys[n] = key
    end
    out[key] = flat[i + 1]
  end
  return mark_map(out, keys)
end

-- dict(), dict(map or pairs, a=1), namespace(...): the entries they get.
local function entries_of(source, kw)
  local out, keys = {}, {}
  local function put(key, v)
    if out[check_key(key)] == nil then keys[#keys + 1] = key end
    out[key] = v
  end
  if is_map(source) then
    for _, key in ipairs(keys_of(source)) do put(key, source[key]) end
  elseif source ~= nil then
    local items, n = iter(source)
    for i = 1, n do put(unpack(items[i], 2)) end
  end
  for _, key in ipairs(kw or {}) do put(key, kw[key]) end
  return out, keys
end

function globals.dict(kw, source)
  return mark_map(entries_of(source, kw))
end

function globals.namespace(kw, source)
  local out, keys = entries_of(source, kw)
  out[NAMESPACE] = keys
  return setmetatable(out, NAMESPACE)
end

function ops.set_field(obj, key, v)
  if type(obj) ~= "table" or tag_of(obj) ~= "namespace" then
    check_operand(obj)
    raise("cannot assign attribute on non-namespace object")
  end
  if obj[key] == nil then
    local keys = obj[NAMESPACE]
    keys[#keys + 1] = key
  end
  obj[key] = v
end

function globals.joiner(kw, sep)
  sep = sep or (kw and kw.sep) or ", "
  local used = false
  return function()
    if used then return sep end
    used = true
    return ""
  end
end

function globals.cycler(_, ...)
  if select("#", ...) == 0 then raise("at least one item has to be provided") end
  return setmetatable({ items = { ... }, at = 1 }, CYCLER)
end

takes_keywords[globals.dict], takes_keywords[globals.namespace] = true, true
takes_keywords[globals.joiner], takes_keywords[globals.cycler] = true, true

function globals.range(from, to, step)
  if from == nil then raise("range expected at least 1 argument, got 0") end
  if to == nil then from, to = 0, from end
  if step == nil then step = 1 end
  for _, v in ipairs { from, to, step } do
    if math_type(v) ~= "integer" then
      check_operand(v)
      raise("'%s' object cannot be interpreted as an integer", type_name(v))
    end
  end
  if step == 0 then raise("range() arg 3 must not be zero") end
  local count = (to - from + step + (step > 0 and -1 or 1)) // step
  if count > MAX_RANGE then raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", MAX_RANGE) end
  local out = {}
  for i = 1, count do out[i] = from + (i - 1) * step end
  range_stop[out] = { from, to, step }
  return setmetatable(out, RANGE)
end

function globals.raise_exception(message)
  raise("%s", str(message))
end

function ops.macro(name, params, fn, varargs, kwargs)
  return setmetatable({ name = name, params = params, fn = fn, varargs = varargs, kwargs = kwargs }, MACRO)
end

function ops.missing(name)
  return undefined_hint("parameter '" .. name .. "' was not provided")
end

function ops.no_caller()
  return undefined_hint("No caller defined")
end

function ops.no_else()
  return setmetatable({ hint = NO_ELSE, lenient = true }, UNDEFINED)
end

function ops.loop_object(it, n)
  return setmetatable({ it = it, n = n, i = 0 }, LOOP)
end

function ops.loop_item(it, i, name)
  local v = it[i]
  if v == nil then return undefined_hint(name == "previtem" and "there is no previous item" or "there is no next item") end
  return v
end

function ops.loop_cycle(i, ...)
  local n = select("#", ...)
  if n == 0 then raise("no items for cycling given") end
  return (select((i - 1) % n + 1, ...))
end

-- ---- Operations the generated code calls ---------------------------------------------------------------------

ops.begin = C.set_strict

-- A name that is not among the variables.
function ops.name(name)
  local v = globals[name]
  if v == nil then return setmetatable({ name = name }, UNDEFINED) end
  return v
end

function ops.defined(v)
  return v ~= nil and not (type(v) == "table" and TAG[getmetatable(v)] == "undefined")
end

-- For `and`, `or` and inline if: see the compiler.
function ops.truthy(v)
  if truth(v) then return v end
  return nil
end

function ops.falsy(v)
  if truth(v) then return nil end
  if v == false then return FALSE end
  return v
end

function ops.wrap(v)
  if v == false then return FALSE end
  return v
end

function ops.unwrap(v)
  if v == FALSE then return false end
  return v
end

function ops.only_text(v)
  if type(v) == "string" then return v end
  check_operand(v)
  raise('can only concatenate str (not "%s") to str', type_name(v))
end

local COMPARE = {
  ["=="] = eq,
  ["!="] = function(a, b) return not eq(a, b) end,
  ["<"] = function(a, b) return less(a, b, false, "<") end,
  ["<="] = function(a, b) return less(a, b, true, "<=") end,
  [">"] = function(a, b) return less(b, a, false, ">") end,
  [">="] = function(a, b) return less(b, a, true, ">=") end,
  ["in"] = contains,
  ["not in"] = function(a, b) return not contains(a, b) end,
}
ops.lt, ops.le, ops.gt, ops.ge = COMPARE["<"], COMPARE["<="], COMPARE[">"], COMPARE[">="]

-- a < b == c ...: operands and signs in turn; from the third on, operands are functions, called when it comes to them.
function ops.chain(a, ...)
  for i = 1, select("#", ...), 2 do
    local sign, b = select(i, ...)
    if i > 1 then b = b() end
    if not COMPARE[sign](a, b) then return false end
    a = b
  end
  return true
end

-- Keys, count and map for `for k, v in m.items()` and `m|items`.
function ops.pairs_filter(v)
  if is_map(v) then
    local keys = keys_of(v)
    return keys, #keys, v
  end
  if type(v) == "table" and tag_of(v) == "undefined" and is_lenient_undefined(v) then return {}, 0, v end
  check_operand(v)
  raise("Can only get item pairs from a mapping.")
end

function ops.pairs_method(v)
  if is_map(v) then
    local keys = keys_of(v)
    return keys, #keys, v
  end
  local items, n = iter(method(v, "items"))
  local keys, values = {}, {}
  for i = 1, n do
    keys[i] = i
    keys[i], values[i] = unpack(items[i], 2)
  end
  local by_key = {}
  for i = 1, n do by_key[keys[i]] = values[i] end
  return keys, n, by_key
end

function ops.helper(f, name, ...)
  if not f then raise("unknown filter or test '%s'", name) end
  if J.is_helper[f] then return call_helper(f, ...) end
  local out = f(...)
  if out == nil then return null end
  return out
end

-- The value of a template that is one expression, as the host takes it: undefined is null, tuples and the like lists.
function ops.export(v)
  local t = type(v)
  if t ~= "table" then
    if v == nil then return null end
    return v
  end
  local tag = TAG[getmetatable(v)]
  if not tag then return v end
  if SEQUENCE[tag] then return mark_list(C.joined_items(v, {})) end
  if tag == "undefined" and is_lenient_undefined(v) then return null end
  return str(v)
end

ops.str, ops.truth, ops.eq, ops.iter, ops.unpack, ops.contains = str, truth, eq, iter, unpack, contains
ops.attr, ops.attr_raw, ops.attr_any, ops.item, ops.item_raw, ops.slice = attr, attr_raw, attr_any, item, item_raw, slice
ops.call, ops.call_star, ops.method, ops.method_kw = call, call_star, method, method_kw
ops.list, ops.tuple, ops.dict, ops.null, ops.concat, ops.type = mark_list, tuple, dict, null, concat, type

C.iter, C.unpack, C.length, C.is_map, C.map_items, C.contains = iter, unpack, length, is_map, map_items, contains
C.attr, C.item, C.slice_range, C.call, C.call_helper = attr, item, slice_range, call, call_helper

part("jinja_text.lua")(C, value, text)
part("jinja_format.lua")(J, C, value, text)
part("jinja_filters.lua")(J, C, value, text)
part("jinja_writing.lua")(J, C, value, text)

return J
