-- SPDX-License-Identifier: MIT
-- Jinja's filters that write text, tojson among them, our own (lettered), and strftime_now, for jinja_runtime.lua.
-- Arguments come as in jinja_filters.lua. Called with (J, C, value, text).

local J, C, value, text = ...
local own = select(2, pcall(error, "", 2))
C.own_files[own:match("^(.-):%d+: ") or own] = true
local F = J.filters
local raise, type_name, check_operand, str = C.raise, C.type_name, C.check_operand, C.str
local iter, length, tuple, given, need_int, less = C.iter, C.length, C.tuple, C.given, C.need_int, C.less
local is_map, tag_of, flag, number_or, getter, sorted = C.is_map, C.tag_of, C.flag, C.number_or, C.getter, C.sorted
local null, keys_of = value.null, value.keys
local find, sub, byte, rep, gsub, format = string.find, string.sub, string.byte, string.rep, string.gsub, string.format
local concat, math_type, move = table.concat, math.type, table.move
local chars_of, lower, upper = text.chars, text.lower, text.upper

-- ---- Text ----------------------------------------------------------------------------------------------------

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

-- ---- wordwrap ------------------------------------------------------------------------------------------------

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

-- ---- tojson --------------------------------------------------------------------------------------------------

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

-- ---- The clock, where the host gives one ---------------------------------------------------------------------

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
