-- SPDX-License-Identifier: MIT
-- Right when a target stands at `location` in the answer: Inspect's scorer `match` (UK AISI's inspect_ai, 0.3.285,
-- scorer/_common.py, match_str). White space is cut off both ends, case is folded, and with `ignore_punctuation` ASCII
-- punctuation and white space are cut off both ends too, so that by default it is ends_with without these.
-- `numeric`: where the target is a number, numbers are compared instead, to five digits. $ , the signs of pound and
-- euro and * _ are dropped from both, a full stop too unless a digit follows; the answer is cut at white space, and what
-- counts is its first number (begin), its last (end), each (any), or the whole answer (exact). Sentence punctuation
-- around a number is looked through, except with exact. A number is what Python's float reads, or digits of any script,
-- signs, vulgar fractions (2½), superscript exponents (3²), Roman and circled numbers, Chinese numerals (二十五, 三点五).
-- Per cent is not a number. Left out of what Inspect reads: the fractions and numbers of Indic and historic scripts.
local SPACE = "[\\s\\x1c-\\x1f]"
local ASCII_PUNCTUATION = " \t\n\r\v\f!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
local AROUND_NUMBERS = "!?:;()[]{}'\"`"

local function strip(s)
  return text.replace(s, "\\A" .. SPACE .. "+|(?<!" .. SPACE .. ")" .. SPACE .. "+\\z", "")
end

local function set_of(s)
  local set = {}
  for _, c in ipairs(text.chars(s)) do set[c] = true end
  return set
end

-- ---- Characters that are numbers ----------------------------------------------------------------

-- {first character, its value, how many characters of ascending values, by how much}
local DIGITS = {
  { "¹", 1 }, { "²", 2, 2, 1 }, { "⁰", 0 }, { "⁴", 4, 6, 1 }, { "₀", 0, 10, 1 }, { "①", 1, 9, 1 }, { "⑴", 1, 9, 1 },
  { "⒈", 1, 9, 1 }, { "⓵", 1, 9, 1 }, { "❶", 1, 9, 1 }, { "➀", 1, 9, 1 }, { "➊", 1, 9, 1 }, { "⓪", 0 }, { "⓿", 0 },
}
local NUMBERS = {
  { "¼", 1 / 4 }, { "½", 1 / 2 }, { "¾", 3 / 4 }, { "⅐", 1 / 7 }, { "⅑", 1 / 9 }, { "⅒", 1 / 10 }, { "⅓", 1 / 3 },
  { "⅔", 2 / 3 }, { "⅕", 1 / 5 }, { "⅖", 2 / 5 }, { "⅗", 3 / 5 }, { "⅘", 4 / 5 }, { "⅙", 1 / 6 }, { "⅚", 5 / 6 },
  { "⅛", 1 / 8 }, { "⅜", 3 / 8 }, { "⅝", 5 / 8 }, { "⅞", 7 / 8 }, { "⅟", 1 }, { "↉", 0 },
  { "Ⅰ", 1, 12, 1 }, { "Ⅼ", 50 }, { "Ⅽ", 100 }, { "Ⅾ", 500 }, { "Ⅿ", 1000 }, { "ⅰ", 1, 12, 1 }, { "ⅼ", 50 },
  { "ⅽ", 100 }, { "ⅾ", 500 }, { "ⅿ", 1000 }, { "ↀ", 1000 }, { "ↁ", 5000 }, { "ↂ", 10000 }, { "ↅ", 6 }, { "ↆ", 50 },
  { "ↇ", 50000 }, { "ↈ", 100000 }, { "⑩", 10, 11, 1 }, { "⑽", 10, 11, 1 }, { "⒑", 10, 11, 1 }, { "⓫", 11, 10, 1 },
  { "⓾", 10 }, { "❿", 10 }, { "➉", 10 }, { "➓", 10 }, { "〡", 1, 9, 1 }, { "〸", 10, 3, 10 }, { "㆒", 1, 4, 1 },
  { "㈠", 1, 10, 1 }, { "㉈", 10, 8, 10 }, { "㉑", 21, 15, 1 }, { "㊀", 1, 10, 1 }, { "㊱", 36, 15, 1 },
}

local function pairs_of(s)
  local values = {}
  for c, value in s:gmatch("([^0-9]+)(%d+)") do values[c] = tonumber(value) + 0.0 end
  return values
end

local HAN_DIGITS = pairs_of("零0〇0○0一1二2三3四4五5六6七7八8九9壹1贰2貳2叁3參3肆4伍5陆6陸6柒7捌8玖9两2兩2幺1")
local HAN_TENS = pairs_of("廿20卅30卌40")
local HAN_UNITS = pairs_of("十10拾10百100佰100千1000仟1000")
local HAN_MYRIADS = pairs_of("万10000萬10000亿100000000億100000000兆1000000000000")
local HAN_ALONE = pairs_of("参3叄3弌1弍2弎3什10阡1000陌100") -- numbers only where they stand alone

local numeric, digit = {}, {} -- value by character

local function add_runs(runs, values)
  for _, run in ipairs(runs) do
    local first = utf8.codepoint(run[1])
    for i = 0, (run[3] or 1) - 1 do values[utf8.char(first + i)] = run[2] + i * (run[4] or 0) end
  end
end

add_runs(DIGITS, digit)
add_runs(DIGITS, numeric)
add_runs(NUMBERS, numeric)
for _, values in ipairs { HAN_DIGITS, HAN_TENS, HAN_UNITS, HAN_MYRIADS, HAN_ALONE } do
  for c, value in pairs(values) do numeric[c] = value end
end

local MINUS, PLUS = set_of("-−﹣－"), set_of("+＋﹢")
local NEGATIVE, POSITIVE = set_of("负負"), set_of("正")
local POINTS = set_of("点點")
local GROUPING = set_of(",，﹐、٬'’ʼ＇") -- white space too

local function is_space(c)
  return text.find(c, SPACE) ~= nil
end

local function between(c)
  return GROUPING[c] or is_space(c)
end

-- The digit that a character is, in Chinese too, or nil.
local function digit_of(c)
  local ascii = text.digits(c)
  if ascii:find("^%d$") then return math.tointeger(tonumber(ascii)) end
  return digit[c] or HAN_DIGITS[c]
end

local function value_of(c)
  local ascii = text.digits(c)
  if ascii:find("^%d$") then return tonumber(ascii) end
  return numeric[c]
end

-- ---- Reading a number ---------------------------------------------------------------------------

local function finite(v)
  if v and v == v and math.abs(v) < math.huge then return v end
  return nil
end

-- Python's float of an ASCII text, or nil; infinite where it is too large. Of more digits than tonumber reads the first
-- decide, as they do there.
local function decimal(s)
  local sign, rest = s:match("^([-+]?)(.*)$")
  if not text.find(rest, "\\A(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][-+]?[0-9]+)?\\z") then return nil end
  local v = tonumber(rest)
  if not v and not rest:find("[eE]") then v = tonumber(rest:sub(1, 400)) end
  if not v then return nil end
  v = v + 0.0
  return sign == "-" and -v or v
end

local function chinese_units(chars)
  local total, section, number = 0.0, 0.0, 0.0
  for _, c in ipairs(chars) do
    local d = digit_of(c)
    if HAN_TENS[c] then
      section = section + HAN_TENS[c]
    elseif HAN_UNITS[c] then
      section = section + (number == 0 and 1 or number) * HAN_UNITS[c]
      number = 0.0
    elseif HAN_MYRIADS[c] then
      total = total + (section + number) * HAN_MYRIADS[c]
      section, number = 0.0, 0.0
    elseif d and not (d == 0 and HAN_DIGITS[c]) then -- a zero holds a place only
      number = d
    elseif not d and not is_space(c) then
      return nil
    end
  end
  return total + section + number
end

-- A whole number: with units, or digit by digit.
local function chinese_whole(chars)
  for _, c in ipairs(chars) do
    if HAN_TENS[c] or HAN_UNITS[c] or HAN_MYRIADS[c] then return chinese_units(chars) end
  end
  local value = 0.0
  for _, c in ipairs(chars) do
    local d = digit_of(c)
    if d then
      value = value * 10 + d
    elseif not is_space(c) then
      return nil
    end
  end
  return value
end

-- Whole part and fraction of a Chinese number.
local function chinese(s)
  local whole, part = s, ""
  for _, point in ipairs { "点", "點", "．", "." } do
    local first, last = s:find(point, 1, true)
    if first then
      whole, part = s:sub(1, first - 1), s:sub(last + 1)
      break
    end
  end
  local value = chinese_whole(text.chars(whole))
  if not value then return nil end
  local fraction, base = 0.0, 0.1
  for _, c in ipairs(text.chars(part)) do
    local d = digit_of(c)
    if d then
      fraction = fraction + d * base
      base = base / 10
    elseif not is_space(c) then
      return nil
    end
  end
  return value + fraction
end

-- Digits of any script with one point, groups, an exponent.
local function grouped(chars)
  local out = {}
  local point, exponent, i = false, false, 1
  while i <= #chars do
    local c = chars[i]
    local d = digit_of(c)
    if (c == "e" or c == "E") and not exponent then
      if #out == 0 then return nil end
      exponent = true
      out[#out + 1] = "e"
      local sign = chars[i + 1]
      if sign and (MINUS[sign] or PLUS[sign]) then
        out[#out + 1] = MINUS[sign] and "-" or "+"
        i = i + 1
      end
    elseif c == "." or c == "٫" or c == "．" then
      if point then return nil end
      point = true
      out[#out + 1] = "."
    elseif d then
      out[#out + 1] = string.format("%d", d)
    elseif not between(c) then
      return nil
    end
    i = i + 1
  end
  return decimal(table.concat(out))
end

-- A number without sign, fraction, exponent; or nil.
local function plain(s)
  s = strip(s)
  if s == "" then return nil end
  local chars = text.chars(s)
  local han = false
  for _, c in ipairs(chars) do
    han = han or HAN_DIGITS[c] or HAN_TENS[c] or HAN_UNITS[c] or HAN_MYRIADS[c] or POINTS[c]
      or NEGATIVE[c] or POSITIVE[c]
  end
  local value = han and chinese(s) or grouped(chars)
  if value then return value end
  return #chars == 1 and value_of(s) or nil
end

-- The exponent at the end, as a number, and what stands before it.
local function split_exponent(s)
  s = strip(s)
  local base, sign, digits = text.match(s, "(?s)\\A(.*?)([⁻⁺]?)([⁰¹²³⁴-⁹]+)(?:[\\s,，﹐、٬'’ʼ＇])*\\z")
  if not base then return s, nil end
  base = text.replace(base, SPACE .. "+\\z", "")
  if base == "" then return s, nil end
  local exponent = 0
  for _, c in ipairs(text.chars(digits)) do exponent = exponent * 10 + digit[c] end
  return base, sign == "⁻" and -exponent or exponent
end

-- The number with at most one fraction character, which may only end it.
local function with_fraction(s)
  local chars = text.chars(s)
  local at
  for i, c in ipairs(chars) do
    local v = value_of(c)
    if v and v > 0 and v < 1 then
      if at then return nil end
      at = i
    end
  end
  if not at then return plain(s) end
  for i = at + 1, #chars do
    if not between(chars[i]) then return nil end
  end
  local head = strip(table.concat(chars, "", 1, at - 1))
  local whole = head == "" and 0.0 or plain(head)
  return whole and whole + value_of(chars[at])
end

-- A number in any writing, or nil.
local function unicode_number(s)
  s = strip(s)
  local negative = false
  while true do
    local c = text.chars(s:sub(1, 4))[1]
    if not c or not (MINUS[c] or PLUS[c] or NEGATIVE[c] or POSITIVE[c]) then break end
    if MINUS[c] or NEGATIVE[c] then negative = not negative end
    s = text.replace(s:sub(#c + 1), "\\A" .. SPACE .. "+", "")
  end
  if s == "" then return nil end
  local value, exponent
  if text.len(s) == 1 then value = value_of(s) end
  if not value then
    local base
    base, exponent = split_exponent(s)
    value = with_fraction(base)
  end
  if not value then return nil end
  value = negative and -(value + 0.0) or value + 0.0
  return finite(exponent and value ^ exponent or value)
end

-- The number a text is, as text of five digits; nil when it is none.
local function number_of(s, exact)
  if not exact then s = text.trim(s, AROUND_NUMBERS) end
  local value = finite(decimal(strip(text.digits(s)))) or unicode_number(s)
  return value and string.format("%.5g", value)
end

-- ---- Comparing ----------------------------------------------------------------------------------

local function without_signs(s)
  s = text.replace(s, "\\\\([$,£€*_])", "$1")
  s = text.replace(s, "[$,£€*_]", "")
  return text.replace(s, "\\.(?!\\d)", "")
end

local function at_location(answer, target, location)
  if location == "begin" then return answer:sub(1, #target) == target end
  if location == "end" then return target == "" or answer:sub(-#target) == target end
  if location == "exact" then return answer == target end
  return answer:find(target, 1, true) ~= nil
end

-- Whether the answer has the number at the location, and what was compared (nil: all of it).
local function has_number(answer, number, location)
  local stripped = without_signs(answer)
  if location == "exact" then
    local given = number_of(stripped, true) or stripped
    return given == number, given
  end
  local words = text.split(stripped, SPACE .. "+")
  local from, to, step = 1, #words, 1
  if location == "end" then from, to, step = #words, 1, -1 end
  for i = from, to, step do
    local given = number_of(words[i])
    if given and (location ~= "any" or given == number) then return given == number, given end
  end
  return false, location ~= "any" and "" or nil
end

return {
  name = "match",
  version = 1,
  description = "A target stands at the end of the answer, or elsewhere (Inspect).",
  params = {
    location = one_of { "end", "begin", "any", "exact" },
    ignore_case = true,
    ignore_punctuation = true,
    numeric = false,
  },
  needs = { "target" },
  grade = function(sample, reply, params)
    local answer = strip(reply.answer)
    local right, compared
    for _, target in ipairs(sample.target) do
      local given, wanted = answer, strip(target)
      if params.ignore_case then given, wanted = text.fold(given), text.fold(wanted) end
      if params.numeric then wanted = without_signs(wanted) end
      local number = params.numeric and number_of(wanted)
      compared = answer
      if number then
        right, compared = has_number(given, number, params.location)
        compared = compared or answer
      else
        if params.ignore_punctuation then
          given, wanted = text.trim(given, ASCII_PUNCTUATION), text.trim(wanted, ASCII_PUNCTUATION)
        end
        right = at_location(given, wanted, params.location)
      end
      if right then return { value = true, answer = compared } end
    end
    return { value = false, answer = compared, why = "expected " .. table.concat(sample.target, " or ") }
  end,
  examples = {
    { target = " Yes", reply = "Yes", value = 1, answer = "Yes" },
    { target = "yes", reply = "The answer is \"YES.\"\n", value = 1 },
    { target = "yes", reply = "Yes, it is", value = 0 },
    { target = "yes", reply = "Yes, it is", params = { location = "begin" }, value = 1 },
    { target = "it", reply = "Yes, it is", params = { location = "any" }, value = 1 },
    { target = "yes", reply = "*Yes!*", params = { location = "exact" }, value = 1 },
    { target = "yes", reply = "Yes!", params = { location = "exact", ignore_punctuation = false }, value = 0 },
    { target = "yes", reply = "YES", params = { ignore_case = false }, value = 0 },
    { target = "5", reply = "It is 25", value = 1 },
    { target = "5", reply = "It is 25", params = { numeric = true }, value = 0, answer = "25" },
    { target = "1234.5", reply = "So $1,234.50.", params = { numeric = true }, value = 1, answer = "1234.5" },
    { target = "60", reply = "60%", params = { numeric = true }, value = 0 },
    { -- a model that does not stop writing digits
      target = "0.33333",
      reply = "0." .. ("3"):rep(600),
      params = { numeric = true },
      value = 1,
      answer = "0.33333",
    },
    { target = "3", reply = ("3"):rep(600), params = { numeric = true }, value = 0 },
    { target = "3", reply = "3e" .. ("0"):rep(600), params = { numeric = true }, value = 0 },
    { target = "12", reply = "12 of 15", params = { numeric = true, location = "begin" }, value = 1 },
    { target = "12", reply = "of 15, 12 left", params = { numeric = true, location = "any" }, value = 1 },
    { target = "42", reply = "(42)", params = { numeric = true, location = "exact" }, value = 0 },
    { target = "42", reply = "(42)", params = { numeric = true }, value = 1 },
    { target = "2.5", reply = "about 2½", params = { numeric = true }, value = 1 },
    { target = "-9", reply = "−3²", params = { numeric = true }, value = 0, answer = "9" },
    { target = "25", reply = "答え: 二十五", params = { numeric = true }, value = 1 },
    { target = "1200", reply = "一千二百", params = { numeric = true }, value = 1 },
    { target = "100003", reply = "100004", params = { numeric = true }, value = 1, answer = "1e+05" },
    { target = "seven", reply = "It is seven.", params = { numeric = true }, value = 1 },
  },
}
