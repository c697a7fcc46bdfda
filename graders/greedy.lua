-- SPDX-License-Identifier: MIT
-- Right when every token of a scored text was the most likely one where it stood, so that the model would have written
-- just that at temperature 0: lm-eval's accuracy for `loglikelihood` tasks (LAMBADA). Several texts: any of them; a
-- sample with choices: any of the right ones.
return {
  name = "greedy",
  version = 1,
  description = "Every token of the target was the most likely one.",
  needs = { "loglik" },
  grade = function(sample, reply)
    local chosen = #sample.choices > 0
    for i, scored in ipairs(reply.choices) do
      if scored.greedy and not (chosen and not sample.correct[i]) then return { value = true, answer = scored.text } end
    end
    return { value = false, why = "greedy decoding would have said something else" }
  end,
  examples = {
    { target = "x", reply = { choices = { { logprob = -1, greedy = true } } }, value = 1 },
    { target = "x", reply = { choices = { { logprob = -1, greedy = false } } }, value = 0 },
    { target = "x", reply = { choices = { -1 } }, value = 0 },
    {
      target = { "x", "y" },
      reply = { choices = { { logprob = -9, greedy = false }, { logprob = -1, greedy = true } } },
      value = 1,
    },
    {
      sample = { choices = { "a", "b" }, correct = { 2 } },
      reply = { choices = { { logprob = -1, greedy = true }, { logprob = -2, greedy = false } } },
      value = 0,
    },
    { target = "x", reply = "x", error = "needs" },
  },
}
