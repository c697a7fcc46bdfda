-- SPDX-License-Identifier: MIT
-- Right when answer or target has the other in it once both are in normal form: the rule `FuzzyMatch` of OpenAI's
-- evals (elsuite/utils.py, fuzzy_match). The form is `text.normalize`, the same as SQuAD's: lower case, no ASCII
-- punctuation, no words a, an, the, one space between words. Where either is left empty both have to be. A short
-- answer is therefore easily right: "o" is in "no".
return {
  name = "fuzzy",
  version = 1,
  description = "Answer or target has the other in it, but for case, punctuation and articles.",
  needs = { "target" },
  grade = function(sample, reply)
    local answer = text.normalize(reply.answer)
    for _, target in ipairs(sample.target) do
      local wanted = text.normalize(target)
      local right
      if answer == "" or wanted == "" then
        right = answer == wanted
      else
        right = answer:find(wanted, 1, true) ~= nil or wanted:find(answer, 1, true) ~= nil
      end
      if right then return { value = true, answer = answer } end
    end
    return { value = false, answer = answer, why = "expected " .. table.concat(sample.target, " or ") }
  end,
  examples = {
    { target = "Paris", reply = "It's the city of PARIS!", value = 1, answer = "its city of paris" },
    { target = "the city of Paris", reply = "Paris.", value = 1 },
    { target = "Paris", reply = "London", value = 0 },
    { target = "no", reply = "o", value = 1 },
    { target = "...", reply = "The", value = 1 },
    { target = "Paris", reply = "?!", value = 0 },
    { target = { "Nf3", "e4" }, reply = "1. e4", value = 1 },
  },
}
