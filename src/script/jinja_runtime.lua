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
local type, getmetatable, setmetatable, select, next, math_type = type, getmetatable, setmetatable, select, next, math.type
local concat, format, find, sub = table.concat, string.format, string.find, string.sub
local tostring, floor, fmod = tostring, math.floor, math.fmod
local unpack_table = table.unpack

local J = { globals = {}, filters = {}, tests = {}, is_helper = {}, ops = {} }
local ops, globals = J.ops, J.globals
local strict = true

local NO_ELSE = "the inline if-expression evaluated to false and no else section was defined."
local MAX_TEXT = 1 << 28 -- bytes, and items, that repetition may make
local MAX_ITEMS = 1 << 24
local MAX_RANGE = 100000 -- items, as in Jinja's sandbox

local UNDEFINED, TUPLE, GENERATOR, RANGE = {}, {}, {}, {}
local KEYS, VALUES, ITEMS, GROUP = {}, {}, {}, {}
local NAMESPACE, MACRO, LOOP, CYCLER = {}, {}, {}, {}
local TAG = {
  [UNDEFINED] = "undefined", [TUPLE] = "tuple", [GENERATOR] = "generator", [RANGE] = "range", [KEYS] = "dict_keys",
  [VALUES] = "dict_values", [ITEMS] = "dict_items", [GROUP] = "group", [NAMESPACE] = "namespace", [MACRO] = "macro",
  [LOOP] = "loop", [CYCLER] = "cycler",
}
local SEQUENCE = { tuple = true, generator = true, range = true, dict_keys = true, dict_values = true, dict_items = true,
  group = true }
local range_stop = setmetatable({}, { __mode = "k" }) -- stop and step of a range, for printing

local function tag_of(v)
  return TAG[getmetatable(v)]
end

-- ---- Errors ----------------------------------------------------------------------------------------

local own = select(2, pcall(error, "", 2))
own = own:match("^(.-):%d+: ") or own

-- Raise an error that names the template's line: the nearest function on the stack that is not of these files.
local own_files = { [own] = true }
local function raise(what, ...)
  if select("#", ...) > 0 then what = format(what, ...) end
  for level = 3, 60 do
    local _, where = pcall(error, "", level)
    local file = where ~= "" and where:match("^(.-):%d+: ")
    if file and not own_files[file] then error(where .. what, 0) end
  end
  error(what, 0)
end

local function type_name(v)
  local t = type(v)
  if t == "string" then return "str" end
  if t == "boolean" then return "bool" end
  if t == "number" then return math_type(v) == "integer" and "int" or "float" end
  if t == "table" then
    local tag = tag_of(v)
    if tag == "undefined" then return "Undefined" end
    if tag == "group" then return "tuple" end
    return tag or (kind(v) == "map" and "dict" or "list")
  end
  if t == "function" then return "function" end
  return v == null and "NoneType" or "Undefined"
end

-- ---- Undefined ---------------------------------------------------------------------------------------

local function undefined_text(u)
  if u.hint then return u.hint end
  if u.obj == nil then return "'" .. u.name .. "' is undefined" end
  local what = u.obj == null and "None" or type_name(u.obj) .. " object"
  if type(u.name) ~= "string" then return what .. " has no element " .. tostring(u.name) end
  local known = ""
  if type(u.obj) == "table" and not tag_of(u.obj) and kind(u.obj) == "map" then
    local names = {}
    for i, key in ipairs(keys_of(u.obj)) do
      if i > 12 then
        names[i] = "..."
        break
      end
      names[i] = tostring(key)
    end
    known = " (it has: " .. concat(names, ", ") .. ")"
  end
  return "'" .. what .. "' has no attribute '" .. u.name .. "'" .. known
end

local function fail_undefined(u)
  raise("%s", undefined_text(u))
end

local function undefined_hint(hint)
  return setmetatable({ hint = hint }, UNDEFINED)
end

local function undefined_of(obj, name)
  return setmetatable({ obj = obj, name = name }, UNDEFINED)
end

-- True for undefined where printing, looping and testing it is allowed; raises where it is not. What an inline if without
-- else gives is always lenient.
local function is_lenient_undefined(u)
  if strict and not u.lenient then fail_undefined(u) end
  return true
end

-- ---- Printing ------------------------------------------------------------------------------------------

-- The shortest decimal that reads back to the same float, as Python's repr writes it.
local function repr_float(d)
  if d ~= d then return "nan" end
  if d == math.huge then return "inf" end
  if d == -math.huge then return "-inf" end
  -- 15 digits are the shortest if they read back; below the normal range fewer can be.
  local digits_after = (d > -2.3e-308 and d < 2.3e-308) and 0 or 14
  local s = format("%." .. digits_after .. "e", d)
  while tonumber(s) ~= d do
    digits_after = digits_after + 1
    s = format("%." .. digits_after .. "e", d)
  end
  local sign, first, rest, exponent = s:match("^(-?)(%d)%.?(%d*)e([+-]%d+)$")
  local digits = (first .. rest):gsub("0+$", "")
  if digits == "" then digits = "0" end
  local e = tonumber(exponent)
  if e < -4 or e >= 16 then
    local mantissa = #digits > 1 and sub(digits, 1, 1) .. "." .. sub(digits, 2) or digits
    return sign .. mantissa .. (e < 0 and "e-" or "e+") .. format("%02d", e < 0 and -e or e)
  elseif e < 0 then
    return sign .. "0." .. ("0"):rep(-e - 1) .. digits
  elseif #digits > e + 1 then
    return sign .. sub(digits, 1, e + 1) .. "." .. sub(digits, e + 2)
  end
  return sign .. digits .. ("0"):rep(e + 1 - #digits) .. ".0"
end

local SHORT_ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\" }

local function code_point(c)
  local a, b, d, e = c:byte(1, 4)
  if a < 0x80 then return a end
  if a < 0xE0 then return (a & 0x1F) << 6 | (b or 0) & 0x3F end
  if a < 0xF0 then return (a & 0x0F) << 12 | ((b or 0) & 0x3F) << 6 | (d or 0) & 0x3F end
  return (a & 0x07) << 18 | ((b or 0) & 0x3F) << 12 | ((d or 0) & 0x3F) << 6 | (e or 0) & 0x3F
end

local function utf8_char(c)
  if c < 0x80 then return string.char(c) end
  if c < 0x800 then return string.char(0xC0 | c >> 6, 0x80 | c & 63) end
  if c < 0x10000 then return string.char(0xE0 | c >> 12, 0x80 | c >> 6 & 63, 0x80 | c & 63) end
  return string.char(0xF0 | c >> 18 & 7, 0x80 | c >> 12 & 63, 0x80 | c >> 6 & 63, 0x80 | c & 63)
end

-- Characters that Python's repr escapes beyond ASCII: controls, spaces but " ", formats, private use.
local function is_unprintable(c)
  return c < 0xA1 or c == 0xAD or c == 0x1680 or c == 0x180E or (c >= 0x2000 and c <= 0x200F) or (c >= 0x2028 and c <= 0x202F)
    or (c >= 0x205F and c <= 0x206F) or c == 0x3000 or (c >= 0xD800 and c <= 0xF8FF) or c == 0xFEFF
    or (c >= 0xFFF0 and c <= 0xFFFB) or (c >= 0xE0000)
end

local function repr_string(s)
  local quote = find(s, "'", 1, true) and not find(s, '"', 1, true) and '"' or "'"
  if find(s, "[%c\\'\127-\255]") then
    s = s:gsub("[%c\\\127]", function(c) return SHORT_ESCAPES[c] or format("\\x%02x", c:byte()) end)
    if quote == "'" then s = s:gsub("'", "\\'") end
    if find(s, "[\128-\255]") then
      s = s:gsub("[\194-\244][\128-\191]+", function(c)
        local code = code_point(c)
        if not is_unprintable(code) then return nil end
        return code < 0x100 and format("\\x%02x", code) or code < 0x10000 and format("\\u%04x", code) or format("\\U%08x", code)
      end)
    end
  end
  return quote .. s .. quote
end

local str

local function repr(v)
  if type(v) == "string" then return repr_string(v) end
  if type(v) == "table" and tag_of(v) == "undefined" and is_lenient_undefined(v) then return "Undefined" end
  return str(v)
end

local function repr_items(v, open, close)
  local out = {}
  for i = 1, #v do out[i] = repr(v[i]) end
  return open .. concat(out, ", ") .. close
end

local function repr_map(v)
  local out = {}
  for i, key in ipairs(keys_of(v)) do out[i] = repr(key) .. ": " .. repr(v[key]) end
  return "{" .. concat(out, ", ") .. "}"
end

local function repr_range(v)
  local r = range_stop[v]
  return "range(" .. r[1] .. ", " .. r[2] .. (r[3] == 1 and ")" or ", " .. r[3] .. ")")
end

local function repr_tagged(v, tag)
  if tag == "undefined" then return is_lenient_undefined(v) and "" end
  if tag == "tuple" or tag == "group" then return #v == 1 and "(" .. repr(v[1]) .. ",)" or repr_items(v, "(", ")") end
  if tag == "generator" then return repr_items(v, "[", "]") end
  if tag == "range" then return repr_range(v) end
  if tag == "namespace" then
    local out = {}
    for _, key in ipairs(v[NAMESPACE]) do out[#out + 1] = repr(key) .. ": " .. repr(v[key]) end
    return "<Namespace {" .. concat(out, ", ") .. "}>"
  end
  if tag == "macro" then return "<Macro " .. repr(v.name) .. ">" end
  if SEQUENCE[tag] then return tag .. repr_items(v, "([", "])") end
  return "<" .. tag .. ">"
end

-- Python's str().
function str(v)
  local t = type(v)
  if t == "string" then return v end
  if t == "number" then return math_type(v) == "integer" and tostring(v) or repr_float(v) end
  if t == "boolean" then return v and "True" or "False" end
  if t == "table" then
    local tag = TAG[getmetatable(v)]
    if tag then return repr_tagged(v, tag) end
    return kind(v) == "map" and repr_map(v) or repr_items(v, "[", "]")
  end
  return t == "function" and "<function>" or "None"
end

-- ---- Truth, equality, order ----------------------------------------------------------------------------

local function truth(v)
  if v == true then return true end
  if not v then return false end
  local t = type(v)
  if t == "string" then return v ~= "" end
  if t == "number" then return v ~= 0 end
  if t == "table" then
    local tag = TAG[getmetatable(v)]
    if not tag then return next(v) ~= nil end
    if tag == "undefined" then return not is_lenient_undefined(v) end
    return tag == "generator" or not SEQUENCE[tag] or #v > 0
  end
  return t == "function"
end

local FALSE = {} -- stands for a false that Lua's `or` must not drop

local eq

local function eq_items(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if not eq(a[i], b[i]) then return false end
  end
  return true
end

local function eq_tables(a, b)
  local ta, tb = tag_of(a), tag_of(b)
  if ta == "undefined" or tb == "undefined" then
    is_lenient_undefined(ta == "undefined" and a or b)
    return ta == tb
  end
  if ta == "group" then ta = "tuple" end
  if tb == "group" then tb = "tuple" end
  if ta ~= tb or (ta and ta ~= "tuple" and ta ~= "range" and ta ~= "dict_keys" and ta ~= "dict_items") then return false end
  if ta then return eq_items(a, b) end
  local ka = kind(a)
  if ka ~= kind(b) then return false end
  if ka == "list" then return eq_items(a, b) end
  local keys = keys_of(a)
  if #keys ~= #keys_of(b) then return false end
  for i = 1, #keys do
    local other = b[keys[i]]
    if other == nil or not eq(a[keys[i]], other) then return false end
  end
  return true
end

function eq(a, b)
  local ta, tb = type(a), type(b)
  if ta ~= "table" and tb ~= "table" then
    if a == b then return true end
    if ta == "boolean" and tb == "number" then return (a and 1 or 0) == b end
    if ta == "number" and tb == "boolean" then return (b and 1 or 0) == a end
    return false
  end
  if ta ~= tb then
    local u = ta == "table" and a or b
    if tag_of(u) == "undefined" then is_lenient_undefined(u) end
    return false
  end
  if a == b and not TAG[getmetatable(a)] then return true end
  return a == b and tag_of(a) ~= "undefined" or eq_tables(a, b)
end

local function number_of(v)
  local t = type(v)
  if t == "number" then return v end
  if t == "boolean" then return v and 1 or 0 end
  return nil
end

local function check_operand(v)
  if type(v) == "table" and tag_of(v) == "undefined" then fail_undefined(v) end
  if v == nil then raise("undefined value") end
end

local less

-- a < b (or a <= b where `equal`) of two sequences, item by item.
local function less_items(a, b, equal, sign)
  for i = 1, math.min(#a, #b) do
    if not eq(a[i], b[i]) then return less(a[i], b[i], equal, sign) end
  end
  if equal then return #a <= #b end
  return #a < #b
end

function less(a, b, equal, sign)
  local na, nb = number_of(a), number_of(b)
  if na and nb then
    if equal then return na <= nb end
    return na < nb
  end
  local ta = type(a)
  if ta == type(b) then
    if ta == "string" then
      if equal then return a <= b end
      return a < b
    end
    if ta == "table" then
      local tag = tag_of(a)
      if tag == "group" then tag = "tuple" end
      local tag_b = tag_of(b)
      if tag_b == "group" then tag_b = "tuple" end
      if tag == tag_b and (tag == "tuple" or (not tag and kind(a) == "list" and kind(b) == "list")) then
        return less_items(a, b, equal, sign)
      end
    end
  end
  check_operand(a)
  check_operand(b)
  if sign == ">" or sign == ">=" then a, b = b, a end
  raise("'%s' not supported between instances of '%s' and '%s'", sign, type_name(a), type_name(b))
end

-- ---- Loops -----------------------------------------------------------------------------------------------

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

-- ---- Attributes, items, slices ------------------------------------------------------------------------

local C = {} -- what the other files share; they add str_methods, list_methods, map_methods
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

-- ---- Arithmetic --------------------------------------------------------------------------------------------

local function fail_operands(sign, a, b)
  check_operand(a)
  check_operand(b)
  if sign == "+" and type(a) == "string" then raise('can only concatenate str (not "%s") to str', type_name(b)) end
  if sign == "+" and type_name(a) == "list" then raise('can only concatenate list (not "%s") to list', type_name(b)) end
  raise("unsupported operand type(s) for %s: '%s' and '%s'", sign, type_name(a), type_name(b))
end

local function fail_range()
  raise("integer result is out of range (64 bits)")
end

local function joined_items(a, b)
  local out, n = {}, #a
  for i = 1, n do out[i] = a[i] end
  for i = 1, #b do out[n + i] = b[i] end
  return out
end

local add

local function add_slow(a, b)
  local na, nb = number_of(a), number_of(b)
  if na and nb then return add(na, nb) end
  if type(a) == "table" and type(b) == "table" then
    local ta, tb = tag_of(a), tag_of(b)
    if not ta and not tb and kind(a) == "list" and kind(b) == "list" then return mark_list(joined_items(a, b)) end
    if (ta == "tuple" or ta == "group") and (tb == "tuple" or tb == "group") then return tuple(joined_items(a, b)) end
  end
  fail_operands("+", a, b)
end

function add(a, b)
  local ta, tb = math_type(a), math_type(b)
  if ta and tb then
    local c = a + b
    if ta == "integer" and tb == "integer" and (a ~ c) & (b ~ c) < 0 then fail_range() end
    return c
  end
  if type(a) == "string" and type(b) == "string" then return a .. b end
  return add_slow(a, b)
end

local function subtract(a, b)
  local na, nb = number_of(a), number_of(b)
  if not (na and nb) then fail_operands("-", a, b) end
  local c = na - nb
  if math_type(na) == "integer" and math_type(nb) == "integer" and (na ~ nb) & (na ~ c) < 0 then fail_range() end
  return c
end

local function times(a, b)
  local c = a * b
  if math_type(c) == "integer" and a ~= 0 and (c // a ~= b or (a == -1 and b == math.mininteger)) then fail_range() end
  return c
end

local function repeated(v, n)
  if math_type(n) ~= "integer" then return nil end
  if type(v) == "string" then
    if n > 0 and #v > MAX_TEXT // n then raise("a repeated text is too long") end
    return v:rep(n)
  end
  local tag = type(v) == "table" and tag_of(v)
  if not (is_list(v) or tag == "tuple") then return nil end
  if n > 0 and #v > MAX_ITEMS // n then raise("a repeated list is too long") end
  local out, at = {}, 0
  for _ = 1, #v > 0 and n or 0 do
    for i = 1, #v do
      at = at + 1
      out[at] = v[i]
    end
  end
  return tag and tuple(out) or mark_list(out)
end

local function multiply(a, b)
  local na, nb = number_of(a), number_of(b)
  if na and nb then return times(na, nb) end
  local out
  if nb then out = repeated(a, nb) elseif na then out = repeated(b, na) end
  if out == nil then fail_operands("*", a, b) end
  return out
end

local function numbers(sign, a, b)
  local na, nb = number_of(a), number_of(b)
  if not (na and nb) then fail_operands(sign, a, b) end
  return na, nb
end

local function divide(a, b)
  a, b = numbers("/", a, b)
  if b == 0 then raise(math_type(a) == "integer" and math_type(b) == "integer" and "division by zero" or "float division by zero") end
  return a / b
end

local function float_mod(a, b)
  local m = fmod(a, b)
  if m ~= 0 and (m < 0) ~= (b < 0) then m = m + b end
  return m
end

local function floor_divide(a, b)
  a, b = numbers("//", a, b)
  if math_type(a) == "integer" and math_type(b) == "integer" then
    if b == 0 then raise("integer division or modulo by zero") end
    if b == -1 then return times(a, -1) end
    return a // b
  end
  if b == 0 then raise("float floor division by zero") end
  local quotient = (a - float_mod(a + 0.0, b + 0.0)) / b
  local whole = floor(quotient) + 0.0
  return quotient - whole > 0.5 and whole + 1.0 or whole
end

local function modulo(a, b)
  if type(a) == "string" then return C.percent(a, b) end
  a, b = numbers("%", a, b)
  if math_type(a) == "integer" and math_type(b) == "integer" then
    if b == 0 then raise("integer modulo by zero") end
    return a % b
  end
  if b == 0 then raise("float modulo") end
  return float_mod(a + 0.0, b + 0.0)
end

local function power(a, b)
  a, b = numbers("** or pow()", a, b)
  if math_type(a) == "integer" and math_type(b) == "integer" and b >= 0 then
    local out = 1
    while b > 0 do
      if b & 1 == 1 then out = times(out, a) end
      b = b >> 1
      if b > 0 then a = times(a, a) end
    end
    return out
  end
  if a == 0 and b < 0 then raise("0.0 cannot be raised to a negative power") end
  if a < 0 and b ~= floor(b) then raise("a negative number has no real power of %s", str(b)) end
  return (a + 0.0) ^ b
end

local function signed(sign, v)
  local n = number_of(v)
  if not n then
    check_operand(v)
    raise("bad operand type for unary %s: '%s'", sign, type_name(v))
  end
  return n
end

-- ---- Containment -------------------------------------------------------------------------------------------

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

-- ---- Operations the generated code calls ------------------------------------------------------------------------

function ops.begin(is_strict)
  strict = is_strict
end

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

function ops.add_all(operands)
  local sum = operands[1]
  for i = 2, #operands do sum = add(sum, operands[i]) end
  return sum
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

function ops.neg(v)
  local n = signed("-", v)
  if n == math.mininteger then fail_range() end
  return -n
end

function ops.pos(v)
  return signed("+", v)
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
  if SEQUENCE[tag] then return mark_list(joined_items(v, {})) end
  if tag == "undefined" and is_lenient_undefined(v) then return null end
  return str(v)
end

ops.str, ops.truth, ops.eq, ops.iter, ops.unpack, ops.contains = str, truth, eq, iter, unpack, contains
ops.attr, ops.attr_raw, ops.attr_any, ops.item, ops.item_raw, ops.slice = attr, attr_raw, attr_any, item, item_raw, slice
ops.add, ops.sub, ops.mul, ops.div, ops.floordiv, ops.mod, ops.pow =
  add, subtract, multiply, divide, floor_divide, modulo, power
ops.call, ops.call_star, ops.method, ops.method_kw = call, call_star, method, method_kw
ops.list, ops.tuple, ops.dict, ops.null, ops.concat, ops.type = mark_list, tuple, dict, null, concat, type

C.raise, C.own_files, C.type_name, C.check_operand, C.tag_of, C.SEQUENCE = raise, own_files, type_name, check_operand, tag_of, SEQUENCE
C.str, C.repr, C.repr_float, C.truth, C.eq, C.less, C.contains = str, repr, repr_float, truth, eq, less, contains
C.iter, C.unpack, C.length, C.is_map, C.is_list, C.tuple, C.map_items = iter, unpack, length, is_map, is_list, tuple, map_items
C.utf8_char = utf8_char
C.attr, C.item, C.slice_range, C.slice_bound, C.add, C.number_of, C.code_point = attr, item, slice_range, slice_bound, add, number_of,
  code_point
function C.is_strict() return strict end
C.undefined_hint, C.is_lenient_undefined, C.call, C.call_helper = undefined_hint, is_lenient_undefined, call, call_helper
C.KEYS, C.VALUES, C.ITEMS, C.GENERATOR, C.GROUP = KEYS, VALUES, ITEMS, GENERATOR, GROUP

part("jinja_text.lua")(J, C, value, text)
part("jinja_filters.lua")(J, C, value, text)

return J
