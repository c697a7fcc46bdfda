-- SPDX-License-Identifier: MIT
-- Right when the answer begins with a target: the rule `Match` of OpenAI's evals (elsuite/basic/match.py and
-- record_and_check_match in api.py: `sampled.startswith(option)` for any of the ideals). Nothing is stripped and case
-- counts unless the params say otherwise. An empty target begins every answer, as it does there.
return {
  name = "starts_with",
  version = 1,
  description = "The answer begins with a target.",
  params = { ignore_case = false, strip = false },
  needs = { "target" },
  grade = function(sample, reply, params)
    local function normal(s)
      if params.strip then s = text.trim(s) end
      return params.ignore_case and text.fold(s) or s
    end
    local answer = normal(reply.answer)
    for _, target in ipairs(sample.target) do
      local wanted = normal(target)
      if answer:sub(1, #wanted) == wanted then return { value = true, answer = target } end
    end
    return { value = false, why = "it does not begin with " .. table.concat(sample.target, " or ") }
  end,
  examples = {
    { target = "Paris", reply = "Paris, of course.", value = 1, answer = "Paris" },
    { target = "Paris", reply = " Paris", value = 0 },
    { target = "Paris", reply = "\nParis", params = { strip = true }, value = 1 },
    { target = "Paris", reply = "paris", value = 0 },
    { target = "Paris", reply = "PARIS", params = { ignore_case = true }, value = 1 },
    { target = { "Rome", "Roma" }, reply = "Roma", value = 1, answer = "Roma" },
    { target = "Parisian", reply = "Paris", value = 0 },
    { target = "5", reply = "55", value = 1 },
    { target = "", reply = "anything", value = 1 },
    { reply = "x", error = "needs a target" },
  },
}
