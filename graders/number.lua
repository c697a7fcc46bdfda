-- SPDX-License-Identifier: MIT
-- Right when the answer's number equals a target's. The last number of a text counts (the first with `which: first`):
-- digits of any script with or without thousands commas, a decimal part, an exponent (1e6, 3 x 10^8), a sign that does
-- not follow a letter or digit, and simple fractions. Signs of currency and percent are looked through: 1,234 is 1234,
-- $5 is 5, 50% is 50, 1/2 is 0.5. Equal means within `tolerance` relative to the target (1e-9 by default) or within
-- `absolute`. No number in the answer is wrong; no number in the target is an error of the eval.
local DIGITS = "(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\\.[0-9]+)?"
local SIGN = "(?<![\\w.])[-+\u{2212}]?\\p{Sc}?[-+\u{2212}]?"
local NUMBER = SIGN .. DIGITS .. "(?:[eE][-+]?[0-9]+)?|" .. SIGN .. "\\.[0-9]+(?:[eE][-+]?[0-9]+)?|" .. DIGITS
local POWER = "\\s?[x*\u{d7}\u{b7}\u{22c5}]\\s?10\\s?(?:\\^|\\*\\*)\\s?[({]?[-+\u{2212}]?[0-9]{1,4}[)}]?"
local UNDER = "\\s?/\\s?[0-9]+(?:\\.[0-9]+)?(?![\\w/])"
local FOUND = "(?:" .. NUMBER .. ")(?:" .. POWER .. "|" .. UNDER .. ")?"

local function plain(s)
  return tonumber((text.replace(s, "[,+\\p{Sc}\\s]", "")))
end

-- The number that a found text stands for, or nil.
local function read(s)
  s = text.replace(s, "\u{2212}", "-")
  local factor, power = text.match(s, "\\A(.*?)\\s?[x*\u{d7}\u{b7}\u{22c5}]\\s?10\\s?[\\^*]+\\s?[({]?([-+]?[0-9]+)")
  if factor then
    local value = plain(factor)
    return value and value * 10.0 ^ tonumber(power)
  end
  local over, under = s:match("^(.-)%s?/%s?(.+)$")
  if not over then return plain(s) end
  local a, b = plain(over), plain(under)
  if not a or not b then return nil end
  if b == 0 then return a end -- no fraction: "5/0"
  return a / b
end

local function find(s, which)
  local all = text.find_all(text.digits(s), FOUND)
  local found = which == "first" and all[1] or all[#all]
  if not found then return nil end
  return read(found), text.trim(found)
end

local function equal(a, b, params)
  if a == b then return true end
  local difference = math.abs(a - b)
  return difference <= params.tolerance * math.abs(b) or difference <= params.absolute
end

return {
  name = "number",
  version = 1,
  description = "The last number of the answer equals the target's.",
  params = { which = one_of { "last", "first" }, tolerance = 1e-9, absolute = 0 },
  needs = { "target" },
  grade = function(sample, reply, params)
    local given, found = find(reply.answer, params.which)
    local wanted
    for _, target in ipairs(sample.target) do
      wanted = find(target, "last")
      if not wanted then error("the target '" .. target .. "' has no number") end
      if given and equal(given, wanted, params) then return { value = true, answer = found } end
    end
    if not given then return { value = false, why = "no number in the answer" } end
    return { value = false, answer = found, why = "expected " .. tostring(wanted) }
  end,
  examples = {
    { target = "1234", reply = "So she has 1,234 apples.", value = 1, answer = "1,234" },
    { target = "5", reply = "It costs $5", value = 1 },
    { target = "50", reply = "50% of them", value = 1 },
    { target = "0.5", reply = "1/2", value = 1 },
    { target = "18", reply = "First 3, then 16 * 2 = 18.", value = 1, answer = "18" },
    { target = "18", reply = "18, not 17", value = 0 },
    { target = "18", reply = "18, not 17", params = { which = "first" }, value = 1 },
    { target = "-3.5", reply = "x = -3.5", value = 1 },
    { target = "-3", reply = "x = \u{2212}3", value = 1 },
    { target = "4", reply = "10-4", value = 1 },
    { target = "2", reply = "in 1999-2", value = 1 },
    { target = "1200000", reply = "1.2e6", value = 1 },
    { target = "300000000", reply = "about 3 x 10^8 m/s", value = 1, answer = "3 x 10^8" },
    { target = "6.02e23", reply = "6.02\u{d7}10^{23}", value = 1 },
    { target = "0.00012", reply = "1.2*10**-4", value = 1 },
    { target = "200", reply = "2 * 10^2 = 200", value = 1, answer = "200" },
    { target = "42", reply = "\u{9ea}\u{9e8}", value = 1 },
    { target = "5", reply = "5/0", value = 1 },
    { target = "1000000", reply = "\u{20ac}1,000,000", value = 1 },
    { target = "-7.5", reply = "-$7.50", value = 1 },
    { target = "3.14159", reply = "3.14", value = 0 },
    { target = "3.14159", reply = "3.14", params = { absolute = 0.01 }, value = 1 },
    { target = "100", reply = "99.5", params = { tolerance = 0.01 }, value = 1 },
    { target = "12", reply = "1,2", value = 0 },
    { target = "7", reply = "seven", value = 0 },
    { target = "$1,000.50", reply = "1000.5 dollars", value = 1 },
    { target = "x", reply = "1", error = "has no number" },
  },
}
