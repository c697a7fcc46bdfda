-- SPDX-License-Identifier: MIT
-- Jinja's filters and tests and our own (lettered), for jinja_runtime.lua. Arguments come by position: the compiler puts
-- keyword arguments in their places, and nil stands for an argument that is not given. Called with (J, C, value, text).

local J, C, value, text = ...
local own = select(2, pcall(error, "", 2))
C.own_files[own:match("^(.-):%d+: ") or own] = true
local F, T = J.filters, J.tests
local raise, type_name, check_operand, str, truth = C.raise, C.type_name, C.check_operand, C.str, C.truth
local iter, eq, less, length, tuple, given, need_int = C.iter, C.eq, C.less, C.length, C.tuple, C.given, C.need_int
local is_map, item, number_of, undefined_hint, tag_of = C.is_map, C.item, C.number_of, C.undefined_hint, C.tag_of
local null, mark_list, keys_of = value.null, value.list, value.keys
local find, sub, byte, rep, gsub, format = string.find, string.sub, string.byte, string.rep, string.gsub, string.format
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

-- ---- Keys of items --------------------------------------------------------------------------------------

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

-- ---- Lists ------------------------------------------------------------------------------------------------

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

-- ---- map, select and their kin ---------------------------------------------------------------------------------

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

-- ---- Maps ---------------------------------------------------------------------------------------------------------

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

-- ---- Text -------------------------------------------------------------------------------------------------------------

F.string, F.safe = str, function(v) return v end
function F.lower(v) return lower(str(v)) end
function F.upper(v) return upper(str(v)) end
function F.capitalize(v) return C.str_methods.capitalize(str(v)) end
function F.trim(v, set) return C.strip(str(v), set, true, true) end
function F.replace(v, old, new, count) return C.replace(str(v), str(old), str(new), count) end
function F.center(v, width) return C.str_methods.center(str(v), number_or(width, 80, "width")) end
function F.format(v, ...) return C.percent(str(v), tuple({ ... })) end

function F.title(v)
  local out = {}
  for before, word in str(v):gmatch("([-%s({%[<]*)([^-%s({%[<]*)") do
    out[#out + 1] = before .. C.str_methods.capitalize(word)
  end
  return concat(out)
end

function F.join(v, d, attribute)
  local list, n = iter(v)
  local get = given(attribute) ~= nil and getter(attribute)
  local out = {}
  for i = 1, n do out[i] = str(get and get(list[i]) or not get and list[i]) end
  return concat(out, d == nil and "" or str(d))
end

-- A. first, B. second, ...: the letters of a multiple choice, one line each. After Z comes AA.
function F.lettered(v, separator)
  separator = separator == nil and ". " or str(separator)
  local list, n = iter(v)
  local out = {}
  for i = 1, n do
    local letters, left = "", i
    while left > 0 do
      letters = string.char(65 + (left - 1) % 26) .. letters
      left = (left - 1) // 26
    end
    local x = list[i]
    out[i] = letters .. separator .. str(is_map(x) and x.text ~= nil and x.text or x)
  end
  return concat(out, "\n")
end

function F.indent(v, width, first, blank)
  local s = C.need_text(v, "indent() value")
  local prefix = type(width) == "string" and width or rep(" ", number_or(width, 4, "width"))
  local lines = C.split_lines(s .. "\n", false)
  local all = flag(blank, false)
  for i = 2, #lines do
    if all or lines[i] ~= "" then lines[i] = prefix .. lines[i] end
  end
  return (flag(first, false) and prefix or "") .. concat(lines, "\n")
end

function F.truncate(v, count, kill_words, ending, leeway)
  count, leeway = number_or(count, 255, "length"), number_or(given(leeway), 5, "leeway")
  ending = ending == nil and "..." or str(ending)
  local keep = count - C.size(ending)
  if keep < 0 then raise("expected length >= %d, got %d", C.size(ending), count) end
  if leeway < 0 then raise("expected leeway >= 0, got %d", leeway) end
  if length(v) <= count + leeway then return v end
  local cut = C.slice_text(C.need_text(v, "truncate() value"), 0, keep)
  if not flag(kill_words, false) then cut = cut:match("^(.*) ") or cut end
  return cut .. ending
end

function F.wordcount(v)
  local s = str(v)
  if not C.is_ascii(s) then s = C.plain_words(s) end
  local _, n = gsub(s, "[%w_]+", "")
  return n
end

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&#34;", ["'"] = "&#39;" }
function F.escape(v) return (gsub(str(v), "[&<>\"']", ENTITIES)) end
F.e, F.forceescape = F.escape, F.escape

local function url_quote(v, keep)
  return (gsub(str(v), keep, function(c) return format("%%%02X", byte(c)) end))
end

function F.urlencode(v)
  if type(v) ~= "table" or tag_of(v) == "undefined" then return url_quote(v, "[^%w_.~/-]") end
  local list, n = iter(is_map(v) and setmetatable(C.map_items(v), C.ITEMS) or v)
  local out = {}
  for i = 1, n do
    local key, x = C.unpack(list[i], 2)
    out[i] = gsub(url_quote(key, "[^%w_.~-]"), "%%20", "+") .. "=" .. gsub(url_quote(x, "[^%w_.~-]"), "%%20", "+")
  end
  return concat(out, "&")
end

-- ---- wordwrap -----------------------------------------------------------------------------------------------------------

local function is_letter(c) return c ~= nil and (find(c, "^%a$") or #c > 1) end
local function is_word_char(c) return c ~= nil and (find(c, "^[%w_]$") or #c > 1) end

-- Where a word may be cut: after the hyphen of a compound and around a dash of two or more.
local function word_chunks(chars, from, to, out)
  local start = from
  local function cut(last)
    if last >= start then out[#out + 1] = move(chars, start, last, 1, {}) end
    start = last + 1
  end
  local i = from
  while i <= to do
    if chars[i] == "-" then
      local last = i
      while last < to and chars[last + 1] == "-" do last = last + 1 end
      local before = i > from and chars[i - 1]
      if last > i then
        if before and (is_word_char(before) or find(before, "^[!\"'&.,?]$")) and last < to and is_word_char(chars[last + 1]) then
          cut(i - 1)
          cut(last)
        end
      elseif before and is_letter(before) and (is_letter(chars[i - 2]) or (chars[i - 2] == "-" and is_letter(chars[i - 3])))
        and i - 2 >= from and i < to and is_letter(chars[i + 1])
        and (is_letter(chars[i + 2]) or (chars[i + 2] == "-" and is_letter(chars[i + 3]))) and i + 2 <= to then
        cut(i)
      end
      i = last
    end
    i = i + 1
  end
  cut(to)
end

local function is_blank(chunk)
  return find(chunk[1], "^[ \t-\r]$") ~= nil
end

local function chunks_of(line, on_hyphens)
  local chars, out, i = chars_of(line), {}, 1
  while i <= #chars do
    local blank, last = is_blank({ chars[i] }), i
    while last < #chars and is_blank({ chars[last + 1] }) == blank do last = last + 1 end
    if blank or not on_hyphens then
      out[#out + 1] = move(chars, i, last, 1, {})
    else
      word_chunks(chars, i, last, out)
    end
    i = last + 1
  end
  return out
end

-- Take what fits of a word that is longer than a line; returns the rest.
local function long_word(chunk, line, room, on_hyphens)
  local last = room
  if on_hyphens and #chunk > room then
    for i = room, 2, -1 do
      if chunk[i] == "-" then
        if find(concat(chunk, "", 1, i - 1), "[^-]") then last = i end
        break
      end
    end
  end
  last = math.max(last, 0)
  line[#line + 1] = concat(chunk, "", 1, math.min(last, #chunk))
  return move(chunk, last + 1, #chunk, 1, {})
end

local function wrap_line(line, width, break_long, on_hyphens, out)
  local chunks, at, first = chunks_of(line, on_hyphens), 1, #out
  while at <= #chunks do
    local current, used, last_blank = {}, 0, false
    if is_blank(chunks[at]) and #out > first then at = at + 1 end
    while at <= #chunks and used + #chunks[at] <= width do
      current[#current + 1] = concat(chunks[at])
      last_blank = is_blank(chunks[at])
      used, at = used + #chunks[at], at + 1
    end
    if at <= #chunks and #chunks[at] > width then
      if break_long then
        chunks[at] = long_word(chunks[at], current, width - used, on_hyphens)
        last_blank = find(current[#current], "^[ \t-\r]*$") ~= nil
        if #chunks[at] == 0 then at = at + 1 end
      elseif #current == 0 then
        current[1] = concat(chunks[at])
        last_blank, at = false, at + 1
      end
    end
    if last_blank then current[#current] = nil end
    if #current > 0 then out[#out + 1] = concat(current) end
  end
end

function F.wordwrap(v, width, break_long, separator, on_hyphens)
  width = number_or(width, 79, "width")
  if width <= 0 then raise("invalid width %d (must be > 0)", width) end
  separator = given(separator) == nil and "\n" or str(separator)
  local out = {}
  for _, line in ipairs(C.split_lines(C.need_text(v, "wordwrap() value"), false)) do
    local n = #out
    wrap_line(line, width, flag(break_long, true), flag(on_hyphens, true), out)
    if #out == n then out[n + 1] = "" end
  end
  return concat(out, separator)
end

-- ---- Numbers ------------------------------------------------------------------------------------------------------------

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
  return low + 0.0
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

-- ---- tojson ---------------------------------------------------------------------------------------------------------------

local JSON_ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\b"] = "\\b",
  ["\f"] = "\\f" }

local function json_char(c)
  local code = C.code_point(c)
  if code < 0x10000 then return format("\\u%04x", code) end
  code = code - 0x10000
  return format("\\u%04x\\u%04x", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))
end

local function json_text(s, ascii)
  s = gsub(s, '[%c"\\]', function(c)
    if c == "\127" then return c end
    return JSON_ESCAPES[c] or format("\\u%04x", byte(c))
  end)
  if ascii then s = gsub(s, "[\194-\244][\128-\191]+", json_char) end
  return '"' .. s .. '"'
end

local function json_float(d)
  if d ~= d then return "NaN" end
  if d == math.huge then return "Infinity" end
  if d == -math.huge then return "-Infinity" end
  return C.repr_float(d)
end

local function json_key(key)
  if type(key) == "string" then return key end
  if type(key) == "boolean" then return key and "true" or "false" end
  if key == null then return "null" end
  if math_type(key) == "float" then return json_float(key) end
  return str(key)
end

local write_json

-- The parts between brackets, each on a line of its own where there is an indent.
local function json_block(o, parts, open, close, depth)
  if #parts == 0 then return open .. close end
  if not o.indent then return open .. concat(parts, o.comma) .. close end
  local line = "\n" .. rep(o.indent, depth + 1)
  return open .. line .. concat(parts, o.comma .. line) .. "\n" .. rep(o.indent, depth) .. close
end

function write_json(o, v, depth)
  local t = type(v)
  if t == "string" then return json_text(v, o.ascii) end
  if t == "number" then return math_type(v) == "integer" and str(v) or json_float(v) end
  if t == "boolean" then return v and "true" or "false" end
  if v == null then return "null" end
  local tag = t == "table" and tag_of(v)
  local parts = {}
  if t == "table" and (not tag or tag == "tuple" or tag == "group" or tag == "generator") then
    if depth > 200 then raise("tojson: value nests too deeply") end
    if tag or C.is_list(v) then
      for i = 1, #v do parts[i] = write_json(o, v[i], depth + 1) end
      return json_block(o, parts, "[", "]", depth)
    end
    local keys = keys_of(v)
    if o.sort then keys = sorted(keys, function(a, b) return less(a, b, false, "<") end) end
    for i, key in ipairs(keys) do
      parts[i] = json_text(json_key(key), o.ascii) .. o.colon .. write_json(o, v[key], depth + 1)
    end
    return json_block(o, parts, "{", "}", depth)
  end
  check_operand(v)
  raise("Object of type %s is not JSON serializable", type_name(v))
end

function F.tojson(v, ascii, indent, separators, sort_keys)
  local o = { ascii = flag(ascii, false), sort = flag(sort_keys, false), comma = ", ", colon = ": " }
  if given(indent) ~= nil then
    o.indent = type(indent) == "string" and indent or rep(" ", need_int(indent, "indent"))
    o.comma = ","
  end
  if given(separators) ~= nil then o.comma, o.colon = C.unpack(separators, 2) end
  return write_json(o, v, 0)
end

-- ---- Tests ------------------------------------------------------------------------------------------------------------------

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

-- ---- The clock, where the host gives one -------------------------------------------------------------------------------------

local DAYS = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" }
local MONTHS = { "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
  "November", "December" }

-- Year, month, day of a day count since 1970-01-01 (civil-from-days on 400-year eras).
local function civil(days)
  local z = days + 719468
  local era = z // 146097
  local day_of_era = z - era * 146097
  local year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
  local day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
  local month = (5 * day_of_year + 2) // 153
  local day = day_of_year - (153 * month + 2) // 5 + 1
  month = month < 10 and month + 3 or month - 9
  return year_of_era + era * 400 + (month <= 2 and 1 or 0), month, day
end

local function is_leap(y)
  return (y % 4 == 0 and y % 100 ~= 0) or y % 400 == 0
end

local MONTH_STARTS = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 }

function J.globals.strftime_now(pattern)
  if not J.now then raise("strftime_now: there is no clock here") end
  local days, seconds = J.now // 86400, J.now % 86400
  local y, m, d = civil(days)
  local hour, weekday = seconds // 3600, (days + 4) % 7
  local year_day = MONTH_STARTS[m] + d + (m > 2 and is_leap(y) and 1 or 0)
  local two = "%02d"
  local fields = {
    Y = y, y = format(two, y % 100), m = format(two, m), d = format(two, d), e = format("%2d", d), j = format("%03d", year_day),
    H = format(two, hour), I = format(two, (hour + 11) % 12 + 1), M = format(two, seconds // 60 % 60), S = format(two, seconds % 60),
    p = hour < 12 and "AM" or "PM", A = DAYS[weekday + 1], a = sub(DAYS[weekday + 1], 1, 3), B = MONTHS[m],
    b = sub(MONTHS[m], 1, 3), h = sub(MONTHS[m], 1, 3), w = weekday, u = (weekday + 6) % 7 + 1, ["%"] = "%", n = "\n", t = "\t",
    Z = "UTC", z = "+0000", f = "000000", s = J.now,
  }
  fields.F = fields.Y .. "-" .. fields.m .. "-" .. fields.d
  fields.T = fields.H .. ":" .. fields.M .. ":" .. fields.S
  fields.D = fields.m .. "/" .. fields.d .. "/" .. fields.y
  fields.R = fields.H .. ":" .. fields.M
  return (gsub(str(pattern), "%%(-?)(.)", function(plain, code)
    local field = fields[code]
    if field == nil then raise("strftime_now: unknown directive '%%%s'", code) end
    return plain == "-" and gsub(tostring(field), "^[0 ]+(.)", "%1") or tostring(field)
  end))
end
