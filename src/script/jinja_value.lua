-- SPDX-License-Identifier: MIT
-- The values of compiled templates (jinja_runtime.lua): which kinds there are, undefined, errors that name the template's
-- line, Python's printing, truth, equality and order. Called with (C, value); fills C, what the run-time files share.

local C, value = ...
local null, kind, keys_of = value.null, value.kind, value.keys
local type, getmetatable, setmetatable, select, next, math_type = type, getmetatable, setmetatable, select, next, math.type
local concat, format, find, sub, tostring = table.concat, string.format, string.find, string.sub, tostring
local strict = true

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

-- ---- Errors --------------------------------------------------------------------------------------------------

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

-- ---- Undefined -----------------------------------------------------------------------------------------------

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

-- ---- Printing ------------------------------------------------------------------------------------------------

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

-- ---- Truth, equality, order ----------------------------------------------------------------------------------

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

function C.set_strict(is_strict) strict = is_strict end
function C.is_strict() return strict end

C.UNDEFINED, C.TUPLE, C.GENERATOR, C.RANGE, C.KEYS, C.VALUES, C.ITEMS = UNDEFINED, TUPLE, GENERATOR, RANGE, KEYS, VALUES, ITEMS
C.GROUP, C.NAMESPACE, C.MACRO, C.LOOP, C.CYCLER, C.TAG, C.SEQUENCE = GROUP, NAMESPACE, MACRO, LOOP, CYCLER, TAG, SEQUENCE
C.range_stop, C.tag_of, C.own_files, C.raise, C.type_name = range_stop, tag_of, own_files, raise, type_name
C.fail_undefined, C.undefined_hint, C.undefined_of, C.is_lenient_undefined =
  fail_undefined, undefined_hint, undefined_of, is_lenient_undefined
C.repr_float, C.code_point, C.utf8_char, C.repr, C.str = repr_float, code_point, utf8_char, repr, str
C.truth, C.eq, C.number_of, C.check_operand, C.less = truth, eq, number_of, check_operand, less
