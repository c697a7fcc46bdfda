-- SPDX-License-Identifier: MIT
-- Methods of Python's str, list, dict and tuple, for jinja_runtime.lua. Texts are UTF-8 bytes; positions and lengths count
-- code points as Python's do, with a fast path for ASCII. Called with (C, value, text); fills C, what the run-time files
-- share.

local C, value, text = ...
local own = select(2, pcall(error, "", 2))
C.own_files[own:match("^(.-):%d+: ") or own] = true
local raise, type_name, check_operand, repr = C.raise, C.type_name, C.check_operand, C.repr
local iter, eq, tuple, is_map, number_of, slice_range = C.iter, C.eq, C.tuple, C.is_map, C.number_of, C.slice_range
local null, mark_list, keys_of, set_key = value.null, value.list, value.keys, value.set
local find, sub, byte, rep, gsub = string.find, string.sub, string.byte, string.rep, string.gsub
local concat, insert, remove, math_type = table.concat, table.insert, table.remove, math.type
local chars_of, lower, upper = text.chars, text.lower, text.upper

local str_methods = {}

local function is_ascii(s)
  return not find(s, "[\128-\255]")
end

local function size(s)
  return is_ascii(s) and #s or text.len(s)
end

-- An argument that has to be a text.
local function need_text(v, what)
  if type(v) ~= "string" then
    check_operand(v)
    raise("%s must be str, not %s", what, type_name(v))
  end
  return v
end

local function need_int(v, what)
  if type(v) == "boolean" then return v and 1 or 0 end
  if math_type(v) ~= "integer" then
    check_operand(v)
    raise("%s must be an integer, not %s", what, type_name(v))
  end
  return v
end

local function given(v)
  if v == null then return nil end
  return v
end

-- ---- Characters ----------------------------------------------------------------------------------------------

function C.char_at(s, i)
  if is_ascii(s) then
    if i < 0 then i = i + #s end
    if i < 0 or i >= #s then return nil end
    return sub(s, i + 1, i + 1)
  end
  local chars = chars_of(s)
  if i < 0 then i = i + #chars end
  return chars[i + 1]
end

function C.slice_text(s, from, to, step)
  local ascii = is_ascii(s)
  local chars = not ascii and chars_of(s)
  local first, last, by = slice_range(ascii and #s or #chars, from, to, step)
  if by == 1 then
    if ascii then return sub(s, first, last) end
    return first > last and "" or concat(chars, "", first, last)
  end
  local out, n = {}, 0
  for i = first, last, by do
    n = n + 1
    out[n] = ascii and sub(s, i, i) or chars[i]
  end
  return concat(out)
end

-- The part of s that start and end cut out, and the code points before it; nothing where start lies behind the end.
local function window(s, from, to)
  from, to = given(from), given(to)
  if from == nil and to == nil then return s, 0 end
  local n = size(s)
  local first, last = slice_range(n, from, to)
  if first > last + 1 or (from ~= nil and number_of(from) > n) then return nil end
  return C.slice_text(s, from, to), first - 1
end

local SPACE_CODES = { [0x85] = true, [0xA0] = true, [0x1680] = true, [0x2028] = true, [0x2029] = true, [0x202F] = true,
  [0x205F] = true, [0x3000] = true }
local function is_space_code(c)
  return c == 32 or (c >= 9 and c <= 13) or (c >= 0x1C and c <= 0x1F) or SPACE_CODES[c] or (c >= 0x2000 and c <= 0x200A)
end

-- Letters beyond ASCII, by block: enough to tell words from signs.
local function is_letter_code(c)
  if c < 0x80 then return (c >= 65 and c <= 90) or (c >= 97 and c <= 122) end
  if c < 0xC0 then return c == 0xAA or c == 0xB5 or c == 0xBA end
  if c == 0xD7 or c == 0xF7 or (c >= 0x300 and c <= 0x36F) then return false end
  return not ((c >= 0x2000 and c <= 0x206F) or (c >= 0x20A0 and c <= 0x20CF) or (c >= 0x2190 and c <= 0x2BFF)
    or (c >= 0x3000 and c <= 0x3004) or (c >= 0x3008 and c <= 0x3030) or (c >= 0xE000 and c <= 0xF8FF)
    or (c >= 0xFE00 and c <= 0xFE0F) or (c >= 0xFF00 and c <= 0xFF20) or (c >= 0x1F000 and c <= 0x1FAFF)
    or c == 0x2070 or (c >= 0x2074 and c <= 0x207E) or (c >= 0x2080 and c <= 0x208E) or c >= 0xE0000)
end

-- A text with letters and digits beyond ASCII as "a" and all else beyond it as a space: for counting words.
function C.plain_words(s)
  local chars = chars_of(s)
  for i, c in ipairs(chars) do
    if #c > 1 then chars[i] = is_letter_code(C.code_point(c)) and "a" or " " end
  end
  return concat(chars)
end

-- Whether every character satisfies a test on code points; an empty text does not.
local function all_codes(s, test)
  if s == "" then return false end
  for _, c in ipairs(chars_of(s)) do
    if not test(C.code_point(c)) then return false end
  end
  return true
end

local function is_digit_code(c)
  return (c >= 48 and c <= 57) or (c >= 0x660 and c <= 0x669) or (c >= 0x966 and c <= 0x96F) or (c >= 0xFF10 and c <= 0xFF19)
end
local function is_super_digit(c)
  return is_digit_code(c) or c == 0xB2 or c == 0xB3 or c == 0xB9 or c == 0x2070 or (c >= 0x2074 and c <= 0x2079)
    or (c >= 0x2080 and c <= 0x2089)
end

function str_methods.isspace(s) return all_codes(s, is_space_code) end
function str_methods.isalpha(s) return all_codes(s, is_letter_code) end
function str_methods.isdigit(s) return all_codes(s, is_super_digit) end
function str_methods.isdecimal(s) return all_codes(s, is_digit_code) end
function str_methods.isnumeric(s)
  return all_codes(s, function(c) return is_super_digit(c) or (c >= 0xBC and c <= 0xBE) or (c >= 0x2150 and c <= 0x218B) end)
end
function str_methods.isalnum(s)
  return all_codes(s, function(c) return is_letter_code(c) or is_super_digit(c) end)
end
function str_methods.islower(s) return s == lower(s) and s ~= upper(s) end
function str_methods.isupper(s) return s == upper(s) and s ~= lower(s) end

-- ---- Stripping -----------------------------------------------------------------------------------------------

local function strip_spaces(s, left, right)
  local first, last = 1, #s
  if left then first = find(s, "[^ \t-\r\28-\31]") or last + 1 end
  if right then
    while last >= first do
      local c = byte(s, last)
      if not (c == 32 or (c >= 9 and c <= 13) or (c >= 28 and c <= 31)) then break end
      last = last - 1
    end
  end
  if first > last then return "" end
  if byte(s, first) < 0x80 and byte(s, last) < 0x80 then return sub(s, first, last) end
  -- A space beyond ASCII may stand at an end.
  local chars = chars_of(sub(s, first, last))
  local from, to = 1, #chars
  if left then
    while from <= to and is_space_code(C.code_point(chars[from])) do from = from + 1 end
  end
  if right then
    while to >= from and is_space_code(C.code_point(chars[to])) do to = to - 1 end
  end
  return concat(chars, "", from, to)
end

local function strip(s, set, left, right)
  if given(set) == nil then return strip_spaces(s, left, right) end
  local drop = {}
  for _, c in ipairs(chars_of(need_text(set, "strip arg"))) do drop[c] = true end
  local chars = chars_of(s)
  local from, to = 1, #chars
  while left and from <= to and drop[chars[from]] do from = from + 1 end
  while right and to >= from and drop[chars[to]] do to = to - 1 end
  return concat(chars, "", from, to)
end
C.strip = strip

function str_methods.strip(s, set) return strip(s, set, true, true) end
function str_methods.lstrip(s, set) return strip(s, set, true, false) end
function str_methods.rstrip(s, set) return strip(s, set, false, true) end

-- ---- Splitting -----------------------------------------------------------------------------------------------

local SPACE_RUN = "[ \t-\r\28-\31]+"

local function split_spaces(s, limit)
  if not is_ascii(s) then
    -- Spaces beyond ASCII split too; make them plain ones (the pieces hold none).
    if limit < 0 then
      local chars = chars_of(s)
      for i = 1, #chars do
        if #chars[i] > 1 and is_space_code(C.code_point(chars[i])) then chars[i] = " " end
      end
      s = concat(chars)
    end
  end
  local out, at = {}, 1
  local from = find(s, "[^ \t-\r\28-\31]", at)
  while from do
    if limit >= 0 and #out >= limit then
      out[#out + 1] = sub(s, from)
      return out
    end
    local stop, last = find(s, SPACE_RUN, from)
    out[#out + 1] = sub(s, from, (stop or 0) - 1)
    from = stop and find(s, "[^ \t-\r\28-\31]", last + 1)
  end
  return out
end

local function split_at(s, sep, limit)
  local out, at = {}, 1
  while limit < 0 or #out < limit do
    local from, to = find(s, sep, at, true)
    if not from then break end
    out[#out + 1] = sub(s, at, from - 1)
    at = to + 1
  end
  out[#out + 1] = sub(s, at)
  return out
end

local function reversed(t)
  local out, n = {}, #t
  for i = 1, n do out[i] = t[n + 1 - i] end
  return out
end

-- The start of every place where sep stands, not overlapping, from the right.
local function places_from_right(s, sep, limit)
  local places, last = {}, #s
  while last >= #sep and (limit < 0 or #places < limit) do
    local at = last - #sep + 1
    while at >= 1 and sub(s, at, at + #sep - 1) ~= sep do at = at - 1 end
    if at < 1 then break end
    places[#places + 1] = at
    last = at - 1
  end
  return places
end

local function check_separator(sep)
  if need_text(sep, "separator") == "" then raise("empty separator") end
  return sep
end

function str_methods.split(s, sep, limit)
  limit = given(limit) == nil and -1 or need_int(limit, "maxsplit")
  if given(sep) == nil then return mark_list(split_spaces(s, limit)) end
  return mark_list(split_at(s, check_separator(sep), limit))
end

function str_methods.rsplit(s, sep, limit)
  limit = given(limit) == nil and -1 or need_int(limit, "maxsplit")
  if limit < 0 then return str_methods.split(s, sep) end
  local out, last = {}, #s
  if given(sep) == nil then
    local rest = strip_spaces(s, false, true)
    while rest ~= "" and #out < limit do
      local at = #rest
      while at >= 1 and not find(sub(rest, at, at), SPACE_RUN) do at = at - 1 end
      out[#out + 1] = sub(rest, at + 1)
      rest = strip_spaces(sub(rest, 1, at), false, true)
    end
    if rest ~= "" then out[#out + 1] = rest end
    return mark_list(reversed(out))
  end
  for _, at in ipairs(places_from_right(s, check_separator(sep), limit)) do
    out[#out + 1] = sub(s, at + #sep, last)
    last = at - 1
  end
  out[#out + 1] = sub(s, 1, last)
  return mark_list(reversed(out))
end

-- Lines; with `keep` their ends stay.
local function split_lines(s, keep)
  local out, at, from = {}, 1, 1
  while true do
    local stop = find(s, "[\n-\r\28-\30\194\226]", from)
    if not stop then break end
    local last = stop
    if sub(s, stop, stop + 1) == "\r\n" or sub(s, stop, stop + 1) == "\194\133" then
      last = stop + 1
    elseif sub(s, stop, stop + 2) == "\226\128\168" or sub(s, stop, stop + 2) == "\226\128\169" then
      last = stop + 2
    elseif byte(s, stop) >= 0x80 then
      last = nil
    end
    if last then
      out[#out + 1] = sub(s, at, keep and last or stop - 1)
      at = last + 1
    end
    from = (last or stop) + 1
  end
  if at <= #s then out[#out + 1] = sub(s, at) end
  return out
end
C.split_lines = split_lines

function str_methods.splitlines(s, keep) return mark_list(split_lines(s, C.truth(keep))) end

function str_methods.partition(s, sep)
  local from, to = find(s, check_separator(sep), 1, true)
  if not from then return tuple { s, "", "" } end
  return tuple { sub(s, 1, from - 1), sep, sub(s, to + 1) }
end

function str_methods.rpartition(s, sep)
  local at = places_from_right(s, check_separator(sep), 1)[1]
  if not at then return tuple { "", "", s } end
  return tuple { sub(s, 1, at - 1), sep, sub(s, at + #sep) }
end

-- ---- Searching and replacing ---------------------------------------------------------------------------------

local function replace(s, old, new, limit)
  need_text(old, "replace() argument 1")
  need_text(new, "replace() argument 2")
  limit = given(limit) == nil and -1 or need_int(limit, "count")
  local out
  if old == "" then
    local chars = chars_of(s)
    out = {}
    for i = 1, #chars + 1 do
      if limit < 0 or i <= limit then out[#out + 1] = new end
      out[#out + 1] = chars[i]
    end
    return concat(out)
  end
  if not find(s, old, 1, true) then return s end
  return concat(split_at(s, old, limit), new)
end
C.replace = replace

function str_methods.replace(s, old, new, limit) return replace(s, old, new, limit) end

-- Code points before a byte position.
local function position(s, at)
  return size(sub(s, 1, at - 1))
end

function str_methods.find(s, what, from, to)
  need_text(what, "find() argument")
  local part, before = window(s, from, to)
  local at = part and find(part, what, 1, true)
  return at and before + position(part, at) or -1
end

function str_methods.rfind(s, what, from, to)
  need_text(what, "rfind() argument")
  local part, before = window(s, from, to)
  if not part then return -1 end
  if what == "" then return before + size(part) end
  local at = places_from_right(part, what, 1)[1]
  return at and before + position(part, at) or -1
end

function str_methods.index(s, ...)
  local at = str_methods.find(s, ...)
  if at < 0 then raise("substring not found") end
  return at
end

function str_methods.rindex(s, ...)
  local at = str_methods.rfind(s, ...)
  if at < 0 then raise("substring not found") end
  return at
end

function str_methods.count(s, what, from, to)
  local part = window(s, from, to)
  need_text(what, "count() argument")
  if not part then return 0 end
  if what == "" then return size(part) + 1 end
  return #split_at(part, what, -1) - 1
end

local function affix(what, name)
  if type(what) == "table" and C.tag_of(what) == "tuple" then
    for _, each in ipairs(what) do need_text(each, name .. " tuple item") end
    return what
  end
  return { need_text(what, name .. " first arg") }
end

function str_methods.startswith(s, what, from, to)
  local part = window(s, from, to)
  for _, prefix in ipairs(affix(what, "startswith")) do
    if part and sub(part, 1, #prefix) == prefix then return true end
  end
  return false
end

function str_methods.endswith(s, what, from, to)
  local part = window(s, from, to)
  for _, suffix in ipairs(affix(what, "endswith")) do
    if part and #suffix <= #part and sub(part, #part - #suffix + 1) == suffix then return true end
  end
  return false
end

function str_methods.removeprefix(s, prefix)
  return str_methods.startswith(s, need_text(prefix, "prefix")) and sub(s, #prefix + 1) or s
end

function str_methods.removesuffix(s, suffix)
  return suffix ~= "" and str_methods.endswith(s, need_text(suffix, "suffix")) and sub(s, 1, #s - #suffix) or s
end

-- ---- Case and padding ----------------------------------------------------------------------------------------

function str_methods.lower(s) return lower(s) end
function str_methods.upper(s) return upper(s) end
function str_methods.casefold(s) return lower(s) end

-- The first character in capitals, the others small.
function str_methods.capitalize(s)
  if s == "" then return s end
  if byte(s) < 0x80 then return upper(sub(s, 1, 1)) .. lower(sub(s, 2)) end
  local chars = chars_of(s)
  return upper(chars[1]) .. lower(concat(chars, "", 2))
end

function str_methods.title(s)
  if is_ascii(s) then
    return (gsub(s, "%a+", function(word) return upper(sub(word, 1, 1)) .. lower(sub(word, 2)) end))
  end
  local chars, in_word = chars_of(s), false
  for i, c in ipairs(chars) do
    local small, big = lower(c), upper(c)
    chars[i] = in_word and small or big
    in_word = small ~= big
  end
  return concat(chars)
end

function str_methods.swapcase(s)
  local chars = chars_of(s)
  for i, c in ipairs(chars) do
    local small = lower(c)
    chars[i] = c == small and upper(c) or small
  end
  return concat(chars)
end

-- Padding of s to a width: how much of it goes left.
local function padded(s, width, fill, left_share)
  width = need_int(width, "width")
  fill = given(fill) == nil and " " or need_text(fill, "fill character")
  if size(fill) ~= 1 then raise("The fill character must be exactly one character long") end
  local missing = width - size(s)
  if missing <= 0 then return s end
  local left = left_share(missing, width)
  return rep(fill, left) .. s .. rep(fill, missing - left)
end

function str_methods.center(s, width, fill)
  return padded(s, width, fill, function(missing, w) return missing // 2 + (missing & w & 1) end)
end
function str_methods.ljust(s, width, fill)
  return padded(s, width, fill, function() return 0 end)
end
function str_methods.rjust(s, width, fill)
  return padded(s, width, fill, function(missing) return missing end)
end

function str_methods.zfill(s, width)
  local missing = need_int(width, "width") - size(s)
  if missing <= 0 then return s end
  local sign = find(s, "^[-+]") and sub(s, 1, 1) or ""
  return sign .. rep("0", missing) .. sub(s, #sign + 1)
end

function str_methods.join(s, items)
  local list, n = iter(items)
  for i = 1, n do
    if type(list[i]) ~= "string" then
      check_operand(list[i])
      raise("sequence item %d: expected str instance, %s found", i - 1, type_name(list[i]))
    end
  end
  return concat(list, s, 1, n)
end

-- ---- Lists, tuples, maps -------------------------------------------------------------------------------------

local tuple_methods, list_methods, map_methods = {}, {}, {}

function tuple_methods.index(t, v, from, to)
  local first, last = slice_range(#t, given(from), given(to))
  for i = first, last do
    if eq(t[i], v) then return i - 1 end
  end
  raise("%s is not in list", repr(v))
end

function tuple_methods.count(t, v)
  local n = 0
  for i = 1, #t do
    if eq(t[i], v) then n = n + 1 end
  end
  return n
end

list_methods.index, list_methods.count = tuple_methods.index, tuple_methods.count

function list_methods.append(t, v)
  t[#t + 1] = v
  return null
end

function list_methods.extend(t, items)
  local list, n = iter(items)
  for i = 1, n do t[#t + 1] = list[i] end
  return null
end

function list_methods.insert(t, i, v)
  i = need_int(i, "index")
  if i < 0 then i = math.max(i + #t, 0) end
  insert(t, math.min(i, #t) + 1, v)
  return null
end

function list_methods.pop(t, i)
  i = given(i) == nil and -1 or need_int(i, "index")
  if #t == 0 then raise("pop from empty list") end
  if i < 0 then i = i + #t end
  if i < 0 or i >= #t then raise("pop index out of range") end
  return remove(t, i + 1)
end

function list_methods.remove(t, v)
  for i = 1, #t do
    if eq(t[i], v) then
      remove(t, i)
      return null
    end
  end
  raise("list.remove(x): x not in list")
end

function list_methods.reverse(t)
  local n = #t
  for i = 1, n // 2 do t[i], t[n + 1 - i] = t[n + 1 - i], t[i] end
  return null
end

function list_methods.clear(t)
  for i = #t, 1, -1 do t[i] = nil end
  return null
end

function list_methods.copy(t)
  return mark_list(table.move(t, 1, #t, 1, {}))
end

function list_methods.sort(t, _, descending)
  local sorted = C.sorted(t, function(a, b) return C.less(a, b, false, "<") end, C.truth(descending))
  for i = 1, #t do t[i] = sorted[i] end
  return null
end

function map_methods.get(m, key, otherwise)
  local v = m[key]
  if v ~= nil then return v end
  if otherwise == nil then return null end
  return otherwise
end

function map_methods.items(m) return setmetatable(C.map_items(m), C.ITEMS) end

function map_methods.keys(m)
  local keys = keys_of(m)
  return setmetatable(table.move(keys, 1, #keys, 1, {}), C.KEYS)
end

function map_methods.values(m)
  local out, keys = {}, keys_of(m)
  for i = 1, #keys do out[i] = m[keys[i]] end
  return setmetatable(out, C.VALUES)
end

function map_methods.pop(m, key, otherwise)
  local v = m[key]
  if v == nil then
    if otherwise == nil then raise("no key %s", repr(key)) end
    return otherwise
  end
  m[key] = nil
  return v
end

function map_methods.popitem(m)
  local keys = keys_of(m)
  local key = keys[#keys]
  if key == nil then raise("popitem(): dictionary is empty") end
  local v = m[key]
  m[key] = nil
  return tuple { key, v }
end

function map_methods.setdefault(m, key, otherwise)
  if m[key] == nil then set_key(m, key, otherwise == nil and null or otherwise) end
  return m[key]
end

function map_methods.update(m, other)
  if is_map(other) then
    for _, key in ipairs(keys_of(other)) do set_key(m, key, other[key]) end
  elseif other ~= nil then
    local list, n = iter(other)
    for i = 1, n do set_key(m, C.unpack(list[i], 2)) end
  end
  return null
end

function map_methods.clear(m)
  for _, key in ipairs(keys_of(m)) do m[key] = nil end
  return null
end

function map_methods.copy(m)
  local out, keys = {}, keys_of(m)
  for i = 1, #keys do out[keys[i]] = m[keys[i]] end
  return value.map(out, keys)
end

C.str_methods, C.list_methods, C.map_methods, C.tuple_methods = str_methods, list_methods, map_methods, tuple_methods
C.is_ascii, C.size, C.reversed, C.need_text, C.need_int, C.given = is_ascii, size, reversed, need_text, need_int, given
C.title_text = str_methods.title
