-- SPDX-License-Identifier: MIT
-- The share of the target's fields that the reply's JSON object has with the same value. The object is the
-- text from the first { to the last }; a reply without one, or with broken JSON, is wrong, not an error.
return {
  name = "json_fields",
  version = 1,
  needs = {"target"},
  range = {0, 1},
  grade = function(sample, reply)
    local want = json.decode(sample.target[1])
    local found = text.match(reply.answer or reply.text, [[(?s)\{.*\}]])
    if not found then
      return {value = 0, why = "no JSON object in the reply"}
    end
    local ok, got = pcall(json.decode, found)
    if not ok or type(got) ~= "table" then
      return {value = 0, answer = found, why = "the JSON does not parse"}
    end
    local right, wrong = 0, {}
    local names = keys(want)
    for _, key in ipairs(names) do
      if got[key] == want[key] then
        right = right + 1
      else
        wrong[#wrong + 1] = key
      end
    end
    return {
      value = right / #names,
      answer = found,
      why = #wrong > 0 and ("wrong: " .. table.concat(wrong, ", ")) or nil,
    }
  end,
  examples = {
    {target = '{"a": 1, "b": "x"}', reply = 'Sure: {"b": "x", "a": 1}', value = 1},
    {target = '{"a": 1, "b": "x"}', reply = '{"a": 2, "b": "x"}', value = 0.5},
    {target = '{"a": 1}', reply = "no object", value = 0},
    {target = '{"a": 1}', reply = "{broken", value = 0},
    {target = '{"a": 1}', reply = "{a: 1}", value = 0},
  },
}
