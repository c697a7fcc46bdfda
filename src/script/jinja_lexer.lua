-- SPDX-License-Identifier: MIT
-- The tokens of a Jinja template, with trim_blocks, lstrip_blocks and whitespace control applied, and what the other
-- files of the compiler (jinja.lua) share: errors with their place, Lua string literals, did-you-mean.

local find, match, sub, byte = string.find, string.match, string.sub, string.byte
local format, gsub, concat = string.format, string.gsub, table.concat

-- ---- Shared --------------------------------------------------------------------------------------------------

-- Edits from a to b; two neighbours swapped count as one.
local function distance(a, b)
  local before, row = {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local last = row
    row = { [0] = i }
    for j = 1, #b do
      local same = byte(a, i) == byte(b, j)
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and byte(a, i) == byte(b, j - 1) and byte(a, i - 1) == byte(b, j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before = last
  end
  return row[#b]
end

-- " (did you mean 'x'?)", or nothing; the first in name order among the nearest.
local function did_you_mean(word, ...)
  if #word > 40 then return "" end
  local best, best_distance = nil, #word < 4 and 2 or 3
  for _, names in ipairs({ ... }) do
    for key, name in pairs(names) do
      if type(key) == "string" then name = key end
      if type(name) == "string" and math.abs(#name - #word) < best_distance then
        local d = distance(word, name)
        if d < best_distance or (d == best_distance and best and name < best) then best, best_distance = name, d end
      end
    end
  end
  return best and " (did you mean '" .. best .. "'?)" or ""
end

local function is_space(c)
  return c == 32 or (c and c >= 9 and c <= 13)
end

local function rstrip(s)
  local n = #s
  while is_space(byte(s, n)) do n = n - 1 end
  return sub(s, 1, n)
end

local function utf8_char(c)
  if c < 0x80 then return string.char(c) end
  if c < 0x800 then return string.char(0xC0 | c >> 6, 0x80 | c & 63) end
  if c < 0x10000 then return string.char(0xE0 | c >> 12, 0x80 | c >> 6 & 63, 0x80 | c & 63) end
  return string.char(0xF0 | c >> 18, 0x80 | c >> 12 & 63, 0x80 | c >> 6 & 63, 0x80 | c & 63)
end

-- A Lua string literal on one line.
local function quote(s)
  return '"' .. gsub(s, '[%c"\\\127]', function(c)
    if c == "\n" then return "\\n" end
    if c == '"' or c == "\\" then return "\\" .. c end
    return format("\\%03d", byte(c))
  end) .. '"'
end

local function sorted_keys(set)
  local out = {}
  for name in pairs(set) do out[#out + 1] = name end
  table.sort(out)
  return out
end

-- ---- Lexer ---------------------------------------------------------------------------------------------------

-- Raise a syntax error at a position; jinja.compile turns it into its message.
local function fail_at(lx, line, column, what)
  error({ line = line, column = column + lx.indent, what = what }, 0)
end

local function fail(lx, token, what)
  fail_at(lx, token.line, token.column, what)
end

local ESCAPES = { n = "\n", t = "\t", r = "\r", a = "\a", b = "\b", f = "\f", v = "\v", ["\n"] = "",
  ["\\"] = "\\", ["'"] = "'", ['"'] = '"' }
local HEX_DIGITS = { x = 2, u = 4, U = 8 }

local function unescape(lx, s, token)
  if not find(s, "\\", 1, true) then return s end
  local out, at = {}, 1
  while true do
    local slash = find(s, "\\", at, true)
    if not slash then break end
    out[#out + 1] = sub(s, at, slash - 1)
    local c = sub(s, slash + 1, slash + 1)
    at = slash + 2
    if ESCAPES[c] then
      out[#out + 1] = ESCAPES[c]
    elseif HEX_DIGITS[c] then
      local n = HEX_DIGITS[c]
      local hex = match(sub(s, at, at + n - 1), "^%x+$")
      if not hex or #hex ~= n then fail(lx, token, "truncated \\" .. c .. " escape in a string") end
      local code = tonumber(hex, 16)
      at = at + n
      local low = code >= 0xD800 and code < 0xDC00 and match(s, "^\\u(%x%x%x%x)", at)
      if low and tonumber(low, 16) >= 0xDC00 and tonumber(low, 16) < 0xE000 then
        code = 0x10000 + ((code - 0xD800) << 10) + (tonumber(low, 16) - 0xDC00)
        at = at + 6
      end
      if code > 0x10FFFF then fail(lx, token, "illegal Unicode character in a string") end
      out[#out + 1] = utf8_char((code < 0xD800 or code > 0xDFFF) and code or 0xFFFD)
    elseif find(c, "[0-7]") then
      local octal = match(s, "^[0-7][0-7]?[0-7]?", slash + 1)
      out[#out + 1] = utf8_char(tonumber(octal, 8))
      at = slash + 1 + #octal
    elseif c == "N" then
      fail(lx, token, "\\N{...} escapes are not supported; write the character")
    else
      out[#out + 1] = "\\" .. c
    end
  end
  out[#out + 1] = sub(s, at)
  return concat(out)
end

-- Move the line counter over source[lx.pos, to] and lx.pos behind it.
local function advance(lx, to)
  local source, at = lx.source, lx.pos
  while true do
    local newline = find(source, "\n", at, true)
    if not newline or newline > to then break end
    lx.line, lx.line_start, at = lx.line + 1, newline + 1, newline + 1
  end
  lx.pos = to + 1
end

local function push(lx, kind, v)
  local token = { t = kind, v = v, line = lx.line, column = lx.pos - lx.line_start + 1 }
  lx.tokens[#lx.tokens + 1] = token
  return token
end

local function lex_number(lx, pos)
  local source = lx.source
  local special = match(source, "^0[xX][%x_]+", pos) or match(source, "^0[oO][0-7_]+", pos) or match(source, "^0[bB][01_]+", pos)
  local text = special or match(source, "^%d[%d_]*", pos)
  local token = push(lx, "int")
  local after_dot = sub(source, pos - 1, pos - 1) == "."
  if not special and not after_dot then
    local fraction = match(source, "^%.%d[%d_]*", pos + #text) or ""
    local exponent = match(source, "^[eE][+-]?%d[%d_]*", pos + #text + #fraction) or ""
    if fraction ~= "" or exponent ~= "" then
      token.t = "float"
      text = text .. fraction .. exponent
    end
  end
  if find(text, "__", 1, true) or find(text, "_$") or find(text, "_[.eE]") then fail(lx, token, "misplaced '_' in a number") end
  local digits = gsub(text, "_", "")
  if token.t == "float" then
    token.v = tonumber(digits) + 0.0
  elseif special then
    local base = ({ x = 16, o = 8, b = 2 })[sub(digits, 2, 2):lower()]
    if #digits - 2 > (base == 16 and 15 or base == 8 and 20 or 62) then fail(lx, token, "integer is too large") end
    token.v = tonumber(sub(digits, 3), base)
  else
    if find(digits, "^0+[1-9]") then fail(lx, token, "a decimal integer has no leading zeros") end
    token.v = math.tointeger(tonumber(digits))
    if not token.v or math.type(tonumber(digits)) ~= "integer" then fail(lx, token, "integer is too large") end
  end
  if not token.v then fail(lx, token, "malformed number") end
  return pos + #text - 1
end

local function lex_string(lx, pos)
  local source, mark = lx.source, sub(lx.source, pos, pos)
  local token, at = push(lx, "string"), pos + 1
  local stop = mark == "'" and "['\\]" or '["\\]'
  while true do
    local hit = find(source, stop, at)
    if not hit then fail(lx, token, "string is never closed") end
    if byte(source, hit) ~= 92 then
      token.v = unescape(lx, sub(source, pos + 1, hit - 1), token)
      return hit
    end
    at = hit + 2
  end
end

local CLOSERS = { ["("] = ")", ["["] = "]", ["{"] = "}" }
local TWO_SIGNS = { ["**"] = true, ["//"] = true, ["=="] = true, ["!="] = true, [">="] = true, ["<="] = true }

-- Tokens of one tag, up to its end; `close` is "}}" or "%}".
local function lex_tag(lx, close, opener)
  local source, stack = lx.source, {}
  while true do
    local spaces = match(source, "^%s+", lx.pos)
    if spaces then advance(lx, lx.pos + #spaces - 1) end
    local pos = lx.pos
    if #stack == 0 then
      local sign = sub(source, pos, pos)
      if not (sign == "-" or (sign == "+" and close == "%}")) then sign = "" end
      if sub(source, pos + #sign, pos + #sign + 1) == close then
        push(lx, close)
        local last = pos + #sign + 1
        if sign == "-" then
          last = last + #match(source, "^%s*", last + 1)
        elseif sign == "" and close == "%}" and sub(source, last + 1, last + 1) == "\n" then
          last = last + 1
        end
        advance(lx, last)
        return
      end
    end
    local c = sub(source, pos, pos)
    local last
    if c == "" then
      fail(lx, opener, "'" .. opener.t .. "' is never closed: expected '" .. close .. "'")
    elseif find(c, "[%a_\128-\255]") then
      local name = match(source, "^[%w_\128-\255]+", pos)
      push(lx, "name", name)
      last = pos + #name - 1
    elseif find(c, "%d") then
      last = lex_number(lx, pos)
    elseif c == "'" or c == '"' then
      last = lex_string(lx, pos)
    else
      local two = sub(source, pos, pos + 1)
      local sign = TWO_SIGNS[two] and two or c
      local token = push(lx, sign)
      if CLOSERS[sign] then
        stack[#stack + 1] = CLOSERS[sign]
      elseif sign == ")" or sign == "]" or sign == "}" then
        local expected = table.remove(stack)
        if expected ~= sign then
          fail(lx, token, "unexpected '" .. sign .. "'" .. (expected and ", expected '" .. expected .. "'" or ""))
        end
      elseif not find(sign, "^[-+/*%%~<>=.:|,;!]") or sign == "!" then
        fail(lx, token, "unexpected character '" .. sign .. "'")
      end
      last = pos + #sign - 1
    end
    advance(lx, last)
  end
end

-- Text before a tag, cut as its sign and lstrip_blocks say.
local function left_of(text, sign, variable, line_starting)
  if sign == "-" then return rstrip(text) end
  if sign == "+" or variable then return text end
  local n = #text
  while n > 0 and byte(text, n) ~= 10 and is_space(byte(text, n)) do n = n - 1 end
  if (n > 0 and byte(text, n) == 10) or (n == 0 and line_starting) then return sub(text, 1, n) end
  return text
end

local function push_data(lx, text, from)
  lx.pos = from
  if text ~= "" then push(lx, "data", text) end
end

-- A {% raw %} block whose opening tag ends at `last`; returns the text's end.
local function lex_raw(lx, last, opener)
  local source, at = lx.source, last + 1
  while true do
    local from = find(source, "{%", at, true)
    if not from then fail(lx, opener, "'raw' is never closed: expected endraw") end
    local sign, stop_sign, stop = match(source, "^{%%([-+]?)%s*endraw%s*([-+]?)%%}()", from)
    if sign then
      push_data(lx, left_of(sub(source, last + 1, from - 1), sign, false, false), last + 1)
      if stop_sign == "-" then
        stop = stop + #match(source, "^%s*", stop)
      elseif stop_sign == "" and sub(source, stop, stop) == "\n" then
        stop = stop + 1
      end
      return stop - 1
    end
    at = from + 2
  end
end

local function lex(lx)
  local source = lx.source
  while lx.pos <= #source do
    local start = lx.pos
    local line_starting = start == 1 or byte(source, start - 1) == 10
    local open = find(source, "{[{%%#]", start)
    if not open then
      push_data(lx, sub(source, start), start)
      advance(lx, #source)
      break
    end
    local kind = sub(source, open, open + 1)
    local sign = match(source, "^[-+]", open + 2) or ""
    local text = left_of(sub(source, start, open - 1), sign, kind == "{{", line_starting)
    push_data(lx, text, start)
    advance(lx, open - 1)
    local opener = { t = kind, line = lx.line, column = lx.pos - lx.line_start + 1 }
    if kind == "{#" then
      local from, last = find(source, "#}", open + 2, true)
      if not from then fail(lx, opener, "comment is never closed: expected '#}'") end
      local stop_sign = from > open + 2 and sub(source, from - 1, from - 1) or ""
      if stop_sign == "-" then
        last = last + #match(source, "^%s*", last + 1)
      elseif stop_sign ~= "+" and sub(source, last + 1, last + 1) == "\n" then
        last = last + 1
      end
      advance(lx, last)
    else
      local raw = kind == "{%" and match(source, "^{%%[-+]?%s*raw%s*%-?%%}()", open)
      if raw then
        local last = raw - 1
        if sub(source, raw - 3, raw - 3) == "-" then last = last + #match(source, "^%s*", raw) end
        advance(lx, last)
        advance(lx, lex_raw(lx, last, opener))
      else
        opener = push(lx, kind)
        advance(lx, open + 1 + #sign)
        lex_tag(lx, kind == "{{" and "}}" or "%}", opener)
      end
    end
  end
  push(lx, "eof")
  return lx.tokens
end

return { lex = lex, fail = fail, quote = quote, did_you_mean = did_you_mean, sorted_keys = sorted_keys }
