-- SPDX-License-Identifier: MIT
-- One of the sample's choices, by one of three rules (`by`):
--   likelihood  log P(delimiter + text | prompt + context) of every choice, in one request; the likeliest is taken
--   letter      the same for the letters A, B, C ... that the prompt has shown
--   reply       the model writes, and the grader `choice` reads the letter or the text that it names
-- The delimiter is a space after a prompt and nothing after messages (or what `delimiter` says). Ties go to the
-- first. With `unconditional`, log P(delimiter + text) without any context is scored too.
local function context_of(sample, choice)
  if sample.prompt then return sample.prompt .. (choice.context or "") end
  local messages = sample.messages
  if choice.context then -- the start of the assistant's turn
    messages[#messages + 1] = { role = "assistant", content = choice.context }
  end
  return messages
end

local function solve(sample, ctx, params)
  local choices = sample.choices
  if #choices == 0 then error("multiple_choice needs choices") end
  if params.by == "reply" then return ctx.generate(sample.prompt or sample.messages) end

  local delimiter = params.delimiter
  if delimiter == json.null then delimiter = sample.prompt and " " or "" end
  local letters = params.by == "letter"
  local shared
  local items = {}
  for i, choice in ipairs(choices) do
    local context
    if choice.context then
      context = context_of(sample, choice)
      sample.messages = nil -- the next choice starts from a fresh copy
    else
      shared = shared or context_of(sample, choice)
      context = shared
    end
    items[i] = { context = context, text = delimiter .. (letters and choice.letter or choice.text) }
  end

  local reply = ctx.loglik(items, { unconditional = params.unconditional })
  local best = 1
  for i, scored in ipairs(reply.choices) do
    scored.by_letter = letters
    if scored.logprob > reply.choices[best].logprob then best = i end
  end
  reply.text = letters and choices[best].letter or choices[best].text
  return reply
end

return {
  name = "multiple_choice",
  version = 1,
  description = "Pick one of the sample's choices by likelihood, letter or reply.",
  needs = { "choices" },
  gives = function(params) return params.by == "reply" and {} or { "loglik" } end,
  params = {
    by = one_of { "likelihood", "letter", "reply" },
    unconditional = false,
    delimiter = json.null, -- text
  },
  solve = solve,
  examples = {
    {
      sample = { prompt = "The sky is", choices = { "blue", "green" } },
      replies = { { choices = { { logprob = -1.5 }, { logprob = -4 } } } },
      requests = { { "The sky is| blue", "The sky is| green" } },
      text = "blue",
      choices = 2,
    },
    { -- ties go to the first
      sample = { prompt = "Q", choices = { "x", "y", "z" } },
      replies = { { choices = { { logprob = -3 }, { logprob = -2 }, { logprob = -2 } } } },
      text = "y",
    },
    {
      sample = { prompt = "Answer:", choices = { "blue", "green" } },
      params = { by = "letter" },
      replies = { { choices = { { logprob = -2 }, { logprob = -1 } } } },
      requests = { { "Answer:| A", "Answer:| B" } },
      text = "B",
    },
    { -- a context of each choice's own, the same text
      sample = {
        prompt = "Ann hit Eve because ",
        choices = { { context = "Ann", text = "was angry." }, { context = "Eve", text = "was angry." } },
      },
      replies = { { choices = { { logprob = -5 }, { logprob = -6 } } } },
      requests = { { "Ann hit Eve because Ann| was angry.", "Ann hit Eve because Eve| was angry." } },
      text = "was angry.",
    },
    { -- after messages nothing comes between
      sample = { messages = { { role = "user", content = "Which?" } }, choices = { "a", "b" } },
      replies = { { choices = { { logprob = -2 }, { logprob = -1 } } } },
      requests = { { "Which?|a", "Which?|b" } },
      text = "b",
    },
    {
      sample = { prompt = "Q", choices = { "x", "y" } },
      params = { by = "reply" },
      replies = { "I take B." },
      requests = { "Q" },
      text = "I take B.",
      choices = 0,
    },
    { sample = { prompt = "Q" }, error = "needs choices" },
    { sample = { prompt = "Q", choices = { "x" } }, params = { by = "leter" }, error = "did you mean 'letter'?" },
  },
}
