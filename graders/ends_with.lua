-- SPDX-License-Identifier: MIT
-- Right when the answer ends with a target. Nothing is stripped and case counts unless the params say otherwise;
-- `ignore_punctuation` cuts ASCII punctuation and white space off both ends of answer and target. With all three it is
-- Inspect's `match` in its default form, which the grader `match` has in full. An empty target ends every answer.
local PUNCTUATION = " \t\r\n\v\f!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

return {
  name = "ends_with",
  version = 1,
  description = "The answer ends with a target.",
  params = { ignore_case = false, strip = false, ignore_punctuation = false },
  needs = { "target" },
  grade = function(sample, reply, params)
    local function normal(s)
      if params.strip then s = text.trim(s) end
      if params.ignore_case then s = text.fold(s) end
      return params.ignore_punctuation and text.trim(s, PUNCTUATION) or s
    end
    local answer = normal(reply.answer)
    for _, target in ipairs(sample.target) do
      local wanted = normal(target)
      if answer:sub(#answer - #wanted + 1) == wanted or wanted == "" then return { value = true, answer = target } end
    end
    return { value = false, why = "it does not end with " .. table.concat(sample.target, " or ") }
  end,
  examples = {
    { target = "Paris", reply = "It is Paris", value = 1, answer = "Paris" },
    { target = "Paris", reply = "It is Paris.", value = 0 },
    { target = "Paris", reply = "It is \"Paris.\" ", params = { ignore_punctuation = true }, value = 1 },
    { target = "Paris", reply = "It is Paris\n", value = 0 },
    { target = "Paris", reply = "It is Paris\n", params = { strip = true }, value = 1 },
    { target = "paris", reply = "It is PARIS", params = { ignore_case = true }, value = 1 },
    { target = "Stra\u{df}e", reply = "die STRASSE", params = { ignore_case = true }, value = 1 },
    { target = { "4", "four" }, reply = "two and two is four", value = 1, answer = "four" },
    { target = "5", reply = "25", value = 1 },
    { target = "25", reply = "5", value = 0 },
    { target = "", reply = "anything", value = 1 },
  },
}
