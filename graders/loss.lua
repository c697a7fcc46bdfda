-- SPDX-License-Identifier: MIT
-- How surprised the model is by the text it was given, in nat: -log P(text) divided by the text's length in `per`, with
-- that length as weight. The mean of it is the loss per unit over all texts, and the metrics `perplexity` (e to that
-- mean) and `bits` (that mean / ln 2) are read off it.
--   sample  the text is the unit: weight 1, as lm-eval's perplexity of LAMBADA
--   token   the model's own tokens; not to be compared between models with other tokenizers
--   word    runs without white space     byte  UTF-8 bytes     char  code points
-- The text is the target, the input (solver `rolling`) or, with choices, a right one; of several the least loss.
local UNITS = {
  sample = function() return 1 end,
  token = function(scored) return scored.tokens end,
  word = function(scored) return #text.find_all(scored.text, "\\S+") end,
  byte = function(scored) return scored.bytes end,
  char = function(scored) return scored.chars end,
}

return {
  name = "loss",
  version = 1,
  description = "Negative log-likelihood of the text per unit, in nat.",
  params = { per = one_of { "sample", "token", "word", "byte", "char" } },
  needs = { "loglik" },
  range = { 0, math.huge },
  better = "lower",
  grade = function(sample, reply, params)
    local chosen = #sample.choices > 0
    local value, weight
    for i, scored in ipairs(reply.choices) do
      local units = UNITS[params.per](scored)
      if units > 0 and not (chosen and not sample.correct[i]) then
        local loss = math.max(0, -scored.logprob / units)
        if not value or loss < value then value, weight = loss, units end
      end
    end
    if not value then return unscored("the text has no " .. params.per) end
    if value == math.huge then return unscored("the model gives the text a probability of 0") end
    return { value = value, weight = weight }
  end,
  examples = {
    { target = "x", reply = { choices = { -2.5 } }, value = 2.5 },
    { target = "two words", reply = { choices = { { logprob = -6, tokens = 3 } } }, params = { per = "token" }, value = 2 },
    { target = "two words", reply = { choices = { -6 } }, params = { per = "word" }, value = 3 },
    { target = "\u{e4}bc", reply = { choices = { -6 } }, params = { per = "char" }, value = 2 },
    { target = "\u{e4}bc", reply = { choices = { -6 } }, params = { per = "byte" }, value = 1.5 },
    { sample = { input = "a b c" }, reply = { choices = { -6 } }, params = { per = "word" }, value = 2 },
    { target = { "x", "y" }, reply = { choices = { -3, -2 } }, value = 2 },
    { sample = { choices = { "a", "b" }, correct = { 2 } }, reply = { choices = { -1, -2 } }, value = 2 },
    { target = " ", reply = { choices = { -6 } }, params = { per = "word" }, unscored = "the text has no word" },
    { target = "x", reply = { choices = { 0 } }, value = 0 },
    { target = "x", reply = "x", error = "needs" },
  },
}
