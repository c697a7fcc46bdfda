-- SPDX-License-Identifier: MIT
-- The host's `value` and `text` libraries (src/script/VALUES.md) in plain Lua, a JSON reader that keeps key order and
-- marks, and a loader of the template compiler and its run-time files: so the Lua tests run under a plain `lua5.4`.
-- Case mapping covers ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic: what the test cases use.

local shim = {}

-- ---- value -----------------------------------------------------------------------------------------

local kinds = setmetatable({}, { __mode = "k" }) -- table -> "list" or "map"
local orders = setmetatable({}, { __mode = "k" }) -- map -> its keys in order

local value = {}
shim.value = value
value.null = io.stdout -- any unique userdata

function value.list(t)
  kinds[t] = "list"
  return t
end

function value.map(t, keys)
  kinds[t] = "map"
  orders[t] = keys or {}
  return t
end

function value.kind(t)
  if kinds[t] then return kinds[t] end
  local n = 0
  for _ in next, t do n = n + 1 end
  return n == #t and "list" or "map"
end

function value.keys(t)
  local out, seen = {}, {}
  for _, key in ipairs(orders[t] or {}) do
    if t[key] ~= nil and not seen[key] then
      seen[key] = true
      out[#out + 1] = key
    end
  end
  local later = {}
  for key in next, t do
    if not seen[key] then later[#later + 1] = key end
  end
  table.sort(later, function(a, b)
    if type(a) ~= type(b) then return type(a) == "number" end
    if type(a) == "number" or type(a) == "string" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return table.move(later, 1, #later, #out + 1, out)
end

function value.set(t, key, v)
  if t[key] == nil then
    local order = value.keys(t)
    order[#order + 1] = key
    value.map(t, order)
  end
  t[key] = v
end

-- ---- text --------------------------------------------------------------------------------------------

local text = {}
shim.text = text

-- A character each: well-formed UTF-8 sequences, other bytes alone.
function text.chars(s)
  local out, at = {}, 1
  while at <= #s do
    local c = s:match("^[\1-\127]", at) or s:match("^[\194-\223][\128-\191]", at) or s:match("^[\224-\239][\128-\191][\128-\191]", at)
      or s:match("^[\240-\244][\128-\191][\128-\191][\128-\191]", at) or s:sub(at, at)
    out[#out + 1] = c
    at = at + #c
  end
  return out
end

function text.len(s)
  return #text.chars(s)
end

local to_lower, to_upper = {}, {}
local function add_case(big, small)
  to_lower[utf8.char(big)], to_upper[utf8.char(small)] = utf8.char(small), utf8.char(big)
end
for c = 0x41, 0x5A do add_case(c, c + 32) end
for c = 0xC0, 0xDE do
  if c ~= 0xD7 then add_case(c, c + 32) end
end
for c = 0x100, 0x136, 2 do add_case(c, c + 1) end
for c = 0x391, 0x3A9 do
  if c ~= 0x3A2 then add_case(c, c + 32) end
end
for c = 0x410, 0x42F do add_case(c, c + 32) end

local function mapped(s, map)
  local chars = text.chars(s)
  for i, c in ipairs(chars) do chars[i] = map[c] or c end
  return table.concat(chars)
end

function text.lower(s) return mapped(s, to_lower) end
function text.upper(s) return mapped(s, to_upper) end

-- ---- JSON ----------------------------------------------------------------------------------------------

local json_value

local JSON_ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function json_string(s, at)
  local out = {}
  while true do
    local from = s:find('["\\]', at)
    assert(from, "unclosed string")
    out[#out + 1] = s:sub(at, from - 1)
    if s:sub(from, from) == '"' then return table.concat(out), from + 1 end
    local c = s:sub(from + 1, from + 1)
    at = from + 2
    if c == "u" then
      local code = tonumber(s:sub(at, at + 3), 16)
      at = at + 4
      if code >= 0xD800 and code < 0xDC00 and s:sub(at, at + 1) == "\\u" then
        code = 0x10000 + ((code - 0xD800) << 10) + tonumber(s:sub(at + 2, at + 5), 16) - 0xDC00
        at = at + 6
      end
      out[#out + 1] = utf8.char(code)
    else
      out[#out + 1] = JSON_ESCAPES[c] or c
    end
  end
end

local function skip_space(s, at)
  return s:find("[^ \t\r\n]", at) or #s + 1
end

local function json_array(s, at)
  local out = value.list({})
  at = skip_space(s, at)
  if s:sub(at, at) == "]" then return out, at + 1 end
  while true do
    out[#out + 1], at = json_value(s, at)
    at = skip_space(s, at)
    local c = s:sub(at, at)
    at = at + 1
    if c == "]" then return out, at end
    assert(c == ",", "expected , or ]")
  end
end

local function json_object(s, at)
  local out, keys = {}, {}
  at = skip_space(s, at)
  if s:sub(at, at) == "}" then return value.map(out, keys), at + 1 end
  while true do
    at = skip_space(s, at)
    local key, v
    key, at = json_string(s, at + 1)
    at = skip_space(s, at)
    assert(s:sub(at, at) == ":", "expected :")
    v, at = json_value(s, at + 1)
    if out[key] == nil then keys[#keys + 1] = key end
    out[key] = v
    at = skip_space(s, at)
    local c = s:sub(at, at)
    at = at + 1
    if c == "}" then return value.map(out, keys), at end
    assert(c == ",", "expected , or }")
  end
end

local WORDS = { t = { "true", true }, f = { "false", false }, n = { "null", value.null }, N = { "NaN", 0 / 0 },
  I = { "Infinity", math.huge } }

function json_value(s, at)
  at = skip_space(s, at)
  local c = s:sub(at, at)
  if c == "{" then return json_object(s, at + 1) end
  if c == "[" then return json_array(s, at + 1) end
  if c == '"' then return json_string(s, at + 1) end
  if WORDS[c] then return WORDS[c][2], at + #WORDS[c][1] end
  local number = s:match("^-?[%d.eE+-]+", at)
  assert(number, "bad JSON at " .. at)
  return tonumber(number), at + #number
end

function shim.json(s)
  return (json_value(s, 1))
end

-- ---- Loading ---------------------------------------------------------------------------------------------

function shim.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local data = file:read("a")
  file:close()
  return data
end

-- The chunk of a file of the template compiler.
function shim.part(folder)
  return function(name)
    return assert(loadfile(folder .. "/" .. name, "t"))
  end
end

-- The compiler and a fresh run-time.
function shim.compiler(folder)
  local part = shim.part(folder)
  return part("jinja.lua")(part)
end

function shim.runtime(folder)
  local part = shim.part(folder)
  return part("jinja_runtime.lua")(value, text, part)
end

return shim
