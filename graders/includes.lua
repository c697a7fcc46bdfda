-- SPDX-License-Identifier: MIT
-- Right when the answer has one of the targets in it (all of them with `all`): the rule `Includes` of OpenAI's evals
-- (elsuite/basic/includes.py) and promptfoo's `contains`. Case counts unless `ignore_case` (folded: SS is sharp s); with
-- `words` a target has to stand as words of its own. An empty target is in everything, so it is an error.
local function has_words(s, target)
  local from = 1
  while true do
    local first, last = s:find(target, from, true)
    if not first then return false end
    local before = text.match(s:sub(1, first - 1), "\\w\\z")
    local after = text.match(s:sub(last + 1), "\\A\\w")
    if not before and not after then return true end
    from = first + 1
  end
end

return {
  name = "includes",
  version = 1,
  description = "The answer has a target in it.",
  params = { ignore_case = false, all = false, words = false },
  needs = { "target" },
  grade = function(sample, reply, params)
    local answer = params.ignore_case and text.fold(reply.answer) or reply.answer
    local missing
    local found = false
    for _, target in ipairs(sample.target) do
      if target == "" then error("an empty target is in every answer") end
      local wanted = params.ignore_case and text.fold(target) or target
      local here
      if params.words then here = has_words(answer, wanted) else here = answer:find(wanted, 1, true) ~= nil end
      found = found or here
      if not here and not missing then missing = target end
    end
    local right = found
    if params.all then right = missing == nil end
    return { value = right, why = not right and "'" .. missing .. "' is not in the answer" or nil }
  end,
  examples = {
    { target = "Paris", reply = "It is Paris, of course.", value = 1 },
    { target = "Paris", reply = "It is paris.", value = 0 },
    { target = "PARIS", reply = "It is paris.", params = { ignore_case = true }, value = 1 },
    { target = { "red", "blue" }, reply = "blue", value = 1 },
    { target = { "red", "blue" }, reply = "blue", params = { all = true }, value = 0 },
    { target = { "red", "blue" }, reply = "blue and red", params = { all = true }, value = 1 },
    { target = "art", reply = "a party", value = 1 },
    { target = "art", reply = "a party", params = { words = true }, value = 0 },
    { target = "art", reply = "party art.", params = { words = true }, value = 1 },
    { target = "", reply = "x", error = "empty target" },
  },
}
