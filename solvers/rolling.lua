-- SPDX-License-Identifier: MIT
-- log P(input): how likely the model finds a whole text, however long. The text has no context but the model's BOS (else
-- EOS); what does not fit the model's context is scored in windows that do not overlap, each conditioned on the token
-- before it: lm-eval's `loglikelihood_rolling` (its make_disjoint_window). The grader `loss` makes perplexities and bits of
-- it. What is scored is the sample's input; a prompt of the eval has no part in it.
return {
  name = "rolling",
  version = 1,
  description = "Score the input as a long text.",
  gives = { "loglik" },
  effects = { "loglik" },
  params = {},
  solve = function(sample, ctx)
    if type(sample.input) ~= "string" then error("rolling needs an input that is text") end
    if sample.input == "" then error("rolling: the input is empty") end
    return ctx.loglik { { text = sample.input, window = true } }
  end,
  examples = {
    {
      sample = { input = "Call me Ishmael.", prompt = "ignored" },
      replies = { { choices = { { logprob = -21.5, tokens = 4 } } } },
      requests = { { "|Call me Ishmael." } },
      choices = 1,
    },
    { sample = { input = { { role = "user", content = "Hi" } } }, error = "needs an input that is text" },
    { sample = { input = "" }, error = "is empty" },
  },
}
