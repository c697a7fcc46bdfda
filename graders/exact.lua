-- SPDX-License-Identifier: MIT
-- Right when the answer equals one of the targets after white space is cut off both ends of each. Case counts unless
-- `ignore_case` (folded, so that SS is sharp s); `ignore` lists characters that do not count at all (in the answer and in the targets).
local function normal(s, params)
  s = text.trim(s)
  if params.ignore ~= "" then
    local kept = {}
    for _, c in ipairs(text.chars(s)) do
      if not params.ignore:find(c, 1, true) then kept[#kept + 1] = c end
    end
    s = text.trim(table.concat(kept))
  end
  if params.ignore_case then s = text.fold(s) end
  return s
end

return {
  name = "exact",
  version = 1,
  description = "The answer equals a target, white space at both ends aside.",
  params = { ignore_case = false, ignore = "" },
  needs = { "target" },
  grade = function(sample, reply, params)
    local answer = text.trim(reply.answer)
    local given = normal(answer, params)
    for _, target in ipairs(sample.target) do
      if normal(target, params) == given then return { value = true, answer = answer } end
    end
    return { value = false, answer = answer, why = "expected " .. table.concat(sample.target, " or ") }
  end,
  examples = {
    { target = "Paris", reply = " Paris\n", value = 1, answer = "Paris" },
    { target = "Paris", reply = "paris", value = 0, answer = "paris" },
    { target = "Paris", reply = "paris", params = { ignore_case = true }, value = 1 },
    { target = "Stra\u{df}e", reply = "STRASSE", params = { ignore_case = true }, value = 1 },
    { target = { "4", "four" }, reply = "four", value = 1 },
    { target = "12000", reply = "12,000.", params = { ignore = ",." }, value = 1, answer = "12,000." },
    { target = "4", reply = "The answer is 4.", answer_rule = { after = "answer is", trim = " ." }, value = 1,
      answer = "4" },
    { target = "4", reply = "No idea.", answer_rule = { after = "answer is" }, value = 0 },
    { target = "4", reply = "5", not_ = true, value = 1 },
    { target = "4", reply = "No idea.", answer_rule = { after = "answer is" }, not_ = true, value = 0 },
    { target = "(B)", reply = "So (A). So (B).", answer_rule = { regex = "\\([A-Z]\\)" }, value = 1 },
    { reply = "5", error = "needs a target" },
  },
}
