-- SPDX-License-Identifier: MIT
-- Right when answer and a target are the same in normal form: SQuAD v1.1's exact match (Rajpurkar et al. 2016,
-- evaluate-v1.1.py). The form is `text.normalize`: lower case, no ASCII punctuation, no words a, an, the, one space
-- between words.
return {
  name = "exact_normalized",
  version = 1,
  description = "The answer equals a target but for case, punctuation and articles (SQuAD).",
  needs = { "target" },
  grade = function(sample, reply)
    local answer = text.normalize(reply.answer)
    for _, target in ipairs(sample.target) do
      if text.normalize(target) == answer then return { value = true, answer = answer } end
    end
    return { value = false, answer = answer, why = "expected " .. table.concat(sample.target, " or ") }
  end,
  examples = {
    { target = "Denver Broncos", reply = "The Denver  Broncos!", value = 1, answer = "denver broncos" },
    { target = "Denver Broncos", reply = "Broncos", value = 0, answer = "broncos" },
    { target = { "10", "ten" }, reply = "Ten.", value = 1 },
    { target = "theatre", reply = "atre", value = 0 },
    { target = "U.S.", reply = "us", value = 1 },
    { target = "The", reply = "", value = 1 },
  },
}
