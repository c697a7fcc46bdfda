-- SPDX-License-Identifier: MIT
-- Right when the answer is JSON and equals a target, which is JSON too: the rule `JsonMatch` of OpenAI's evals
-- (elsuite/basic/json_match.py). Objects have the same keys with equal values in any order, lists equal items in the
-- same order, numbers equal values (1 is 1.0, and true is 1, as in Python). null equals nothing, itself included, so a
-- key that is missing is never right. An answer that is not JSON is wrong; a target that is not is the eval's fault.
-- NaN and Infinity, which Python reads, are not JSON here.
local function is_map(v)
  return json.encode(v):sub(1, 1) == "{"
end

local equal

local function equal_maps(a, b)
  for key, value in pairs(a) do
    if b[key] == nil or not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function equal_lists(a, b)
  if #a ~= #b then return false end
  for i, value in ipairs(a) do
    if not equal(value, b[i]) then return false end
  end
  return true
end

local function number(v)
  if type(v) == "boolean" then return v and 1 or 0 end
  return v
end

function equal(a, b)
  if a == json.null or b == json.null then return false end
  if type(a) ~= "table" or type(b) ~= "table" then return number(a) == number(b) end
  local map = is_map(a)
  if map ~= is_map(b) then return false end
  if map then return equal_maps(a, b) end
  return equal_lists(a, b)
end

return {
  name = "json_match",
  version = 1,
  description = "The answer is JSON and equals a target.",
  needs = { "target" },
  grade = function(sample, reply)
    local given, fault = json.decode(reply.answer)
    local right = false
    for _, target in ipairs(sample.target) do
      local wanted, why = json.decode(target)
      if wanted == nil then error("the target is not JSON: " .. why) end
      right = right or (given ~= nil and equal(given, wanted))
    end
    if right then return { value = true } end
    return { value = false, why = given == nil and "not JSON: " .. fault or "it differs from the target" }
  end,
  examples = {
    { target = '{"a": 1, "b": [1, "x"]}', reply = ' {"b":[1,"x"],"a":1.0} ', value = 1 },
    { target = '{"a": 1}', reply = '{"a": 1, "b": 2}', value = 0 },
    { target = '{"a": 1, "b": 2}', reply = '{"a": 1}', value = 0 },
    { target = "[1, 2]", reply = "[2, 1]", value = 0 },
    { target = "[1, 2]", reply = "[1]", value = 0 },
    { target = "{}", reply = "[]", value = 0 },
    { target = "{}", reply = "{}", value = 1 },
    { target = "[]", reply = "[]", value = 1 },
    { target = '{"a": null}', reply = '{"a": null}', value = 0 },
    { target = "null", reply = "null", value = 0 },
    { target = "true", reply = "1", value = 1 },
    { target = '"1"', reply = "1", value = 0 },
    { target = '{"a": 2}', reply = '{"a": 1, "a": 2}', value = 1 },
    { target = { "1", "[1]" }, reply = "[1]", value = 1 },
    { target = '{"a": 1}', reply = "```json\n{\"a\": 1}\n```", value = 0 },
    { target = "{", reply = "{}", error = "not JSON" },
  },
}
