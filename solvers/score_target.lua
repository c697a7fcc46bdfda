-- SPDX-License-Identifier: MIT
-- log P(target | prompt): how likely the model finds the right text. One request, one scored text a target; the
-- likeliest target is the reply's text. With the graders `greedy` and `loss` this is lm-eval's `loglikelihood` output
-- type (LAMBADA: accuracy and perplexity of the last word).
-- As with multiple_choice, a space comes between prompt and target and nothing after messages, or what `delimiter` says.
return {
  name = "score_target",
  version = 1,
  description = "Score the sample's targets after the prompt.",
  sees_target = true,
  needs = { "target" },
  gives = { "loglik" },
  effects = { "loglik" },
  params = {
    delimiter = json.null, -- text
    unconditional = false, -- also log P(target) without the prompt
  },
  solve = function(sample, ctx, params)
    if not sample.target or #sample.target == 0 then error("score_target needs a target") end
    local delimiter = params.delimiter
    if delimiter == json.null then delimiter = sample.prompt and " " or "" end
    local context = sample.prompt or sample.messages
    local items = {}
    for i, target in ipairs(sample.target) do
      items[i] = { context = context, text = delimiter .. target }
    end
    local reply = ctx.loglik(items, { unconditional = params.unconditional })
    local best = 1
    for i, scored in ipairs(reply.choices) do
      if scored.logprob > reply.choices[best].logprob then best = i end
    end
    reply.text = sample.target[best]
    return reply
  end,
  examples = {
    {
      sample = { prompt = "The sky is", target = "blue" },
      replies = { { choices = { { logprob = -1.5, greedy = true } } } },
      requests = { { "The sky is| blue" } },
      text = "blue",
      choices = 1,
    },
    {
      sample = { prompt = "The sky is", target = { "azure", "blue" } },
      replies = { { choices = { { logprob = -4 }, { logprob = -1 } } } },
      requests = { { "The sky is| azure", "The sky is| blue" } },
      text = "blue",
      choices = 2,
    },
    {
      sample = { messages = { { role = "user", content = "Sky?" } }, target = "blue" },
      replies = { { choices = { { logprob = -1 } } } },
      requests = { { "Sky?|blue" } },
      text = "blue",
    },
    {
      sample = { prompt = "Q:", target = "x" },
      params = { delimiter = "\n" },
      replies = { { choices = { { logprob = -1 } } } },
      requests = { { "Q:|\nx" } },
    },
    { sample = { prompt = "Q" }, error = "needs" },
  },
}
