-- SPDX-License-Identifier: MIT
-- Jinja's filters of lists, maps and numbers, and its tests, for jinja_runtime.lua. Arguments come by position: the
-- compiler puts keyword arguments in their places, and nil stands for an argument that is not given. Called with (J, C,
-- value, text).

local J, C, value, text = ...
local own = select(2, pcall(error, "", 2))
C.own_files[own:match("^(.-):%d+: ") or own] = true
local F, T = J.filters, J.tests
local raise, type_name, check_operand, str, truth = C.raise, C.type_name, C.check_operand, C.str, C.truth
local iter, eq, less, length, tuple, given, need_int = C.iter, C.eq, C.less, C.length, C.tuple, C.given, C.need_int
local is_map, item, number_of, undefined_hint, tag_of = C.is_map, C.item, C.number_of, C.undefined_hint, C.tag_of
local null, mark_list = value.null, value.list
local find, sub, gsub, format = string.find, string.sub, string.gsub, string.format
local concat, math_type, floor, move = table.concat, math.type, math.floor, table.move
local chars_of, lower, upper = text.chars, text.lower, text.upper

local function generator(t)
  return setmetatable(t, C.GENERATOR)
end

-- The items of a value that filters walk; nothing for what is false (as map, select and their kin do).
local function items_or_none(v)
  if v ~= null and truth(v) then return iter(v) end
  return {}, 0
end

local function flag(v, otherwise)
  if v == nil then return otherwise end
  return truth(v)
end

local function number_or(v, otherwise, what)
  if v == nil then return otherwise end
  return need_int(v, what)
end

-- ---- Keys of items -------------------------------------------------------------------------------------------

local function ignore_case(v)
  return type(v) == "string" and lower(v) or v
end

-- A function that follows an attribute path: 'a.b.0', a number, or none.
local function getter(path, post, otherwise)
  if given(path) == nil then
    return post or function(v) return v end
  end
  local parts = {}
  if type(path) == "string" then
    for name in (path .. "."):gmatch("([^.]*)%.") do
      parts[#parts + 1] = find(name, "^%d+$") and math.tointeger(tonumber(name)) or name
    end
  else
    parts[1] = path
  end
  return function(v)
    for i = 1, #parts do
      v = item(v, parts[i])
      if otherwise ~= nil and otherwise ~= null and not J.ops.defined(v) then v = otherwise end
    end
    return post and post(v) or v
  end
end

-- Stable merge sort; `before(a, b)` is a < b. Descending keeps the order of equals too, as Python does.
local function sorted(list, before, descending)
  local n = #list
  local from, to = move(list, 1, n, 1, {}), {}
  local width = 1
  while width < n do
    for low = 1, n, 2 * width do
      local middle, high = math.min(low + width, n + 1), math.min(low + 2 * width, n + 1)
      local i, j = low, middle
      for at = low, high - 1 do
        local right = i >= middle
        if not right and j < high then
          if descending then right = before(from[i], from[j]) else right = before(from[j], from[i]) end
        end
        if right then
          to[at], j = from[j], j + 1
        else
          to[at], i = from[i], i + 1
        end
      end
    end
    from, to = to, from
    width = 2 * width
  end
  return from
end
C.sorted = sorted

-- The items of a list ordered by their keys.
local function sorted_by(list, n, key, descending)
  local pairs_ = {}
  for i = 1, n do pairs_[i] = { key(list[i]), list[i] } end
  local out = sorted(pairs_, function(a, b) return less(a[1], b[1], false, "<") end, descending)
  for i = 1, n do out[i] = out[i][2] end
  return out
end

-- ---- Lists ---------------------------------------------------------------------------------------------------

function F.sort(v, descending, case_sensitive, attribute)
  local post = not flag(case_sensitive, false) and ignore_case or nil
  local list, n = iter(v)
  local key
  if type(attribute) == "string" and find(attribute, ",", 1, true) then
    local getters = {}
    for path in (attribute .. ","):gmatch("([^,]*),") do getters[#getters + 1] = getter(path, post) end
    key = function(x)
      local out = {}
      for i, get in ipairs(getters) do out[i] = get(x) end
      return tuple(out)
    end
  else
    local get = getter(attribute, post)
    key = function(x)
      local k = get(x)
      if not J.ops.defined(k) then return tuple({ k }) end -- equal to one another, as in Python's lists of keys
      return k
    end
  end
  return mark_list(sorted_by(list, n, key, flag(descending, false)))
end

-- What stands for a key in a table of seen ones: equal keys give the same.
local function seen_key(seen, key)
  if type(key) == "boolean" then return number_of(key) end
  if type(key) ~= "table" then return key end
  if tag_of(key) == "undefined" and C.is_lenient_undefined(key) then return C.GENERATOR end
  if tag_of(key) ~= "tuple" then raise("unhashable type: '%s'", type_name(key)) end
  for other in pairs(seen) do
    if eq(other, key) then return other end
  end
  return key
end

function F.unique(v, case_sensitive, attribute)
  local get = getter(attribute, not flag(case_sensitive, false) and ignore_case or nil)
  local list, n = iter(v)
  local seen, out = {}, {}
  for i = 1, n do
    local key = seen_key(seen, get(list[i]))
    if not seen[key] then
      seen[key] = true
      out[#out + 1] = list[i]
    end
  end
  return generator(out)
end

function F.groupby(v, attribute, otherwise, case_sensitive)
  local exact = flag(case_sensitive, false)
  local get = getter(attribute, not exact and ignore_case or nil, otherwise)
  local name = getter(attribute, nil, otherwise)
  local list, n = iter(v)
  local ordered = sorted_by(list, n, get)
  local out, last, group = {}, nil, nil
  for i = 1, n do
    local key = get(ordered[i])
    if not group or not eq(key, last) then
      group = mark_list({})
      out[#out + 1] = setmetatable({ name(ordered[i]), group }, C.GROUP)
      last = key
    end
    group[#group + 1] = ordered[i]
  end
  return mark_list(out)
end

local function extreme(v, case_sensitive, attribute, better)
  local list, n = iter(v)
  if n == 0 then return undefined_hint("No aggregated item, sequence was empty.") end
  local get = getter(attribute, not flag(case_sensitive, false) and ignore_case or nil)
  local best, best_key = list[1], get(list[1])
  for i = 2, n do
    local key = get(list[i])
    if better(key, best_key) then best, best_key = list[i], key end
  end
  return best
end

function F.min(v, case_sensitive, attribute)
  return extreme(v, case_sensitive, attribute, function(a, b) return less(a, b, false, "<") end)
end
function F.max(v, case_sensitive, attribute)
  return extreme(v, case_sensitive, attribute, function(a, b) return less(b, a, false, ">") end)
end

function F.sum(v, attribute, start)
  local get = getter(attribute)
  local list, n = iter(v)
  local total = start == nil and 0 or start
  if type(total) == "string" then raise("sum() can't sum strings [use ''.join(seq) instead]") end
  if C.is_list(total) then -- one growing list, not one per item
    local out = move(total, 1, #total, 1, {})
    for i = 1, n do
      local more = get(list[i])
      if not C.is_list(more) then return C.add(mark_list(out), more) end
      move(more, 1, #more, #out + 1, out)
    end
    return mark_list(out)
  end
  for i = 1, n do total = C.add(total, get(list[i])) end
  return total
end

function F.first(v)
  local list, n = iter(v)
  if n == 0 then return undefined_hint("No first item, sequence was empty.") end
  return list[1]
end

function F.last(v)
  local list, n = iter(v)
  if n == 0 then return undefined_hint("No last item, sequence was empty.") end
  return list[n]
end

F.length, F.count = length, length

function F.list(v)
  local list, n = iter(v)
  return mark_list(move(list, 1, n, 1, {}))
end

function F.reverse(v)
  if type(v) == "string" then
    if C.is_ascii(v) then return v:reverse() end
    return concat(C.reversed(chars_of(v)))
  end
  local list = iter(v)
  return generator(C.reversed(list))
end

function F.batch(v, count, fill)
  count = need_int(count, "linecount")
  local list, n = iter(v)
  local out, row = {}, nil
  for i = 1, n do
    if not row or #row == count then
      row = mark_list({})
      out[#out + 1] = row
    end
    row[#row + 1] = list[i]
  end
  if row and given(fill) ~= nil then
    for i = #row + 1, count do row[i] = fill end
  end
  return generator(out)
end

function F.slice(v, count, fill)
  count = need_int(count, "slices")
  if count == 0 then raise("integer division or modulo by zero") end
  local list, n = iter(v)
  local per, extra, at = n // count, n % count, 0
  local out = {}
  for i = 1, count do
    local size = per + (i <= extra and 1 or 0)
    local row = move(list, at + 1, at + size, 1, {})
    if given(fill) ~= nil and i > extra then row[#row + 1] = fill end
    out[i], at = mark_list(row), at + size
  end
  return generator(out)
end

-- ---- map, select and their kin -------------------------------------------------------------------------------

local function apply(f, ...)
  if J.is_helper[f] then return C.call_helper(f, ...) end
  return f(...)
end

-- The compiler hands over the filter or test itself where it knows the name.
local function named(f, known, what)
  if type(f) == "string" then
    if not known[f] then raise("No %s named '%s'.", what, f) end
    return known[f]
  end
  if type(f) ~= "function" then raise("map and select need the name of a %s", what) end
  return f
end

function F.map(v, f, ...)
  f = named(f, F, "filter")
  local list, n = items_or_none(v)
  local out = {}
  for i = 1, n do out[i] = apply(f, list[i], ...) end
  return generator(out)
end

function J.ops.map_attr(v, attribute, otherwise)
  local get = getter(attribute, nil, otherwise)
  local list, n = items_or_none(v)
  local out = {}
  for i = 1, n do out[i] = get(list[i]) end
  return generator(out)
end

local function picked(v, get, keep, test, ...)
  local list, n = items_or_none(v)
  local out = {}
  if test ~= nil then test = named(test, T, "test") end
  for i = 1, n do
    local x = get and get(list[i]) or not get and list[i]
    local yes
    if test then yes = truth(apply(test, x, ...)) else yes = truth(x) end
    if yes == keep then out[#out + 1] = list[i] end
  end
  return generator(out)
end

function F.select(v, ...) return picked(v, nil, true, ...) end
function F.reject(v, ...) return picked(v, nil, false, ...) end
function F.selectattr(v, attribute, ...) return picked(v, getter(attribute), true, ...) end
function F.rejectattr(v, attribute, ...) return picked(v, getter(attribute), false, ...) end

-- ---- Maps ----------------------------------------------------------------------------------------------------

function F.items(v)
  if is_map(v) then return generator(C.map_items(v)) end
  if type(v) == "table" and tag_of(v) == "undefined" then
    return C.is_lenient_undefined(v) and generator({})
  end
  raise("Can only get item pairs from a mapping.")
end

function F.dictsort(v, case_sensitive, by, descending)
  by = by == nil and "key" or by
  if by ~= "key" and by ~= "value" then raise('You can only sort by either "key" or "value"') end
  if not is_map(v) then raise("dictsort needs a mapping, not %s", type_name(v)) end
  local list = C.map_items(v)
  local at = by == "key" and 1 or 2
  local exact = flag(case_sensitive, false)
  return mark_list(sorted_by(list, #list, function(pair)
    return exact and pair[at] or ignore_case(pair[at])
  end, flag(descending, false)))
end

function F.attr(v, name)
  if is_map(v) then return J.ops.attr_any(setmetatable({}, getmetatable(v)), str(name)) end
  return C.attr(v, str(name))
end

function F.default(v, otherwise, boolean)
  if otherwise == nil then otherwise = "" end
  if not J.ops.defined(v) then return otherwise end
  if boolean ~= nil and truth(boolean) and not truth(v) then return otherwise end
  return v
end
F.d = F.default

-- ---- Numbers -------------------------------------------------------------------------------------------------

function F.abs(v)
  local n = number_of(v)
  if not n then
    check_operand(v)
    raise("bad operand type for abs(): '%s'", type_name(v))
  end
  return n < 0 and -n or n
end

local INT_BASES = { ["0x"] = 16, ["0o"] = 8, ["0b"] = 2 }

-- Python's int(text, base): nil where it would raise ValueError.
local function parse_int(s, base)
  local sign, digits = C.strip(s, nil, true, true):match("^([+-]?)(.*)$")
  local prefix = INT_BASES[lower(sub(digits, 1, 2))]
  if prefix and (base == 0 or base == prefix) then
    base, digits = prefix, gsub(sub(digits, 3), "^_", "")
  elseif base == 0 then
    if find(digits, "^0+[1-9]") then return nil end
    base = 10
  end
  if not find(digits, "^[%da-zA-Z]") or not find(digits, "[%da-zA-Z]$") or find(digits, "[^%da-zA-Z_]")
    or find(digits, "__", 1, true) then return nil end
  local n = 0
  for c in gsub(digits, "_", ""):gmatch(".") do
    local digit = tonumber(c, 36)
    if digit >= base then return nil end
    if n > (math.maxinteger - digit) // base then raise("integer is out of range (64 bits)") end
    n = n * base + digit
  end
  return sign == "-" and -n or n
end

-- Python's float(text), or nil.
local function parse_float(s)
  local body = lower(C.strip(s, nil, true, true))
  local sign, name = body:match("^([+-]?)(%a+)$")
  if name == "inf" or name == "infinity" then return sign == "-" and -math.huge or math.huge end
  if name == "nan" then return 0 / 0 end
  if find(body, "^_") or find(body, "_$") or find(body, "__", 1, true) or find(body, "[^%d]_") or find(body, "_[^%d]") then return nil end
  body = gsub(body, "_", "")
  if not find(body, "^[+-]?%d*%.?%d*e?[+-]?%d*$") or not find(body, "^[+-]?%.?%d") then return nil end
  return tonumber((gsub(body, "^%+", ""))) and tonumber((gsub(body, "^%+", ""))) + 0.0
end

local function int_of_float(d, otherwise)
  if d ~= d then return otherwise end
  if d == math.huge or d == -math.huge then return nil end
  local n = math.tointeger(d < 0 and math.ceil(d) or floor(d))
  if not n then raise("integer is out of range (64 bits)") end
  return n
end

function F.int(v, otherwise, base)
  if otherwise == nil then otherwise = 0 end
  if type(v) == "string" then
    local n = parse_int(v, number_or(base, 10, "base"))
    if n then return n end
    local d = parse_float(v)
    if not d then return otherwise end
    local whole = int_of_float(d, otherwise)
    if whole == nil then return otherwise end
    return whole
  end
  local n = number_of(v)
  if n then
    if math_type(n) == "integer" then return n end
    local whole = int_of_float(n, otherwise)
    if whole == nil then raise("cannot convert float infinity to integer") end
    return whole
  end
  check_operand(v)
  return otherwise
end

function F.float(v, otherwise)
  if otherwise == nil then otherwise = 0.0 end
  if type(v) == "string" then
    local d = parse_float(v)
    if d == nil then return otherwise end
    return d
  end
  local n = number_of(v)
  if n then return n + 0.0 end
  check_operand(v)
  return otherwise
end

-- Python's round(): to even on exact ties, integers stay integers.
local function round_common(n, precision)
  if math_type(n) == "integer" then
    if precision >= 0 then return n end
    local unit = floor(10 ^ -precision)
    local low = n // unit * unit
    local twice = 2 * (n - low)
    if twice > unit or (twice == unit and (low // unit) % 2 == 1) then low = low + unit end
    return low
  end
  if n ~= n or n == math.huge or n == -math.huge then return n end
  -- printf rounds the exact binary value to even, as Python does.
  if precision >= 0 then return tonumber(format("%#." .. math.min(precision, 99) .. "f", n)) end
  local unit = 10.0 ^ -precision
  local low = floor(n / unit) * unit
  local twice = 2 * (n - low)
  if twice > unit or (twice == unit and floor(n / unit) % 2 == 1) then low = low + unit end
  return low == 0 and 1 / n < 0 and -0.0 or low + 0.0
end

function F.round(v, precision, how)
  precision = number_or(precision, 0, "precision")
  how = how == nil and "common" or how
  local n = number_of(v)
  if not n then
    check_operand(v)
    raise("type %s doesn't define __round__ method", type_name(v))
  end
  if how == "common" then return round_common(n, precision) end
  if how ~= "ceil" and how ~= "floor" then raise("method must be common, ceil or floor") end
  local unit = precision < 0 and 10.0 ^ precision or floor(10 ^ precision)
  local scaled = n * unit
  return (how == "ceil" and math.ceil(scaled) or floor(scaled)) / unit
end

local UNITS = { "k", "M", "G", "T", "P", "E", "Z", "Y" }
function F.filesizeformat(v, is_binary)
  local bytes, two = F.float(v, false), flag(is_binary, false)
  if not bytes then raise("could not convert to a number of bytes: %s", C.repr(v)) end
  local base = two and 1024 or 1000
  if bytes == 1 then return "1 Byte" end
  if bytes < base then return format("%d Bytes", int_of_float(bytes, 0) or 0) end
  for i, name in ipairs(UNITS) do
    local unit = base ^ (i + 1)
    if bytes < unit or i == #UNITS then
      return format("%.1f %s%sB", base * bytes / unit, two and upper(name) or name, two and "i" or "")
    end
  end
end

-- ---- Tests ---------------------------------------------------------------------------------------------------

function T.defined(v) return J.ops.defined(v) end
function T.undefined(v) return not J.ops.defined(v) end
function T.none(v) return v == null end
function T.boolean(v) return type(v) == "boolean" end
T["true"] = function(v) return v == true end
T["false"] = function(v) return v == false end
function T.string(v) return type(v) == "string" end
function T.number(v) return number_of(v) ~= nil end
function T.integer(v) return math_type(v) == "integer" end
function T.float(v) return math_type(v) == "float" end
function T.mapping(v) return is_map(v) end
function T.callable(v)
  local tag = type(v) == "table" and tag_of(v)
  return type(v) == "function" or tag == "macro" or tag == "undefined"
end
function T.iterable(v)
  if type(v) == "string" then return true end
  if type(v) ~= "table" then return false end
  local tag = tag_of(v)
  if tag == "undefined" then return C.is_lenient_undefined(v) end
  return not tag or C.SEQUENCE[tag] or tag == "loop" or false
end
function T.sequence(v)
  if type(v) ~= "table" then return type(v) == "string" end
  local tag = tag_of(v)
  if tag == "undefined" then return not C.is_strict() end
  return not tag or tag == "tuple" or tag == "group" or tag == "range"
end
function T.odd(v) return eq(J.ops.mod(v, 2), 1) end
function T.even(v) return eq(J.ops.mod(v, 2), 0) end
function T.divisibleby(v, n) return eq(J.ops.mod(v, n), 0) end
function T.sameas(v, other) return rawequal(v, other) and math_type(v) == math_type(other) end
function T.lower(v) return C.str_methods.islower(str(v)) end
function T.upper(v) return C.str_methods.isupper(str(v)) end
function T.escaped() return false end
function T.filter(v) return F[v] ~= nil end
function T.test(v) return T[v] ~= nil end
T["in"] = C.contains
T.eq, T.equalto = eq, eq
function T.ne(a, b) return not eq(a, b) end
T.lt, T.le, T.gt, T.ge = J.ops.lt, J.ops.le, J.ops.gt, J.ops.ge
T.lessthan, T.greaterthan = T.lt, T.gt
T["=="], T["!="], T["<"], T["<="], T[">"], T[">="] = eq, T.ne, T.lt, T.le, T.gt, T.ge

C.flag, C.number_or, C.getter = flag, number_or, getter
