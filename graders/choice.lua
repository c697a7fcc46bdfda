-- SPDX-License-Identifier: MIT
-- Right when the choice that the model prefers is a right one. With log-likelihoods the highest wins, the first of
-- equals; `normalize` divides by the length of the text that was scored (chars, bytes, tokens; under `by: letter` that is
-- one letter), or takes away its log-likelihood without context (unconditional). From a written reply: the last letter
-- that stands alone, else the one choice whose text the answer is; several choices named with nothing to decide between
-- them is wrong.
local function score_of(scored, normalize)
  if normalize == "none" then return scored.logprob end
  if normalize == "unconditional" then
    if not scored.unconditional then error("normalize: unconditional needs a solver with unconditional: true") end
    return scored.logprob - scored.unconditional
  end
  return scored.logprob / math.max(scored[normalize], 1) -- an empty choice has no length
end

local function by_likelihood(choices, scored, normalize)
  if #scored ~= #choices then error("the reply scores " .. #scored .. " choices, the sample has " .. #choices) end
  local best, best_score
  for i in ipairs(choices) do
    local score = score_of(scored[i], normalize)
    if not best or score > best_score then best, best_score = i, score end
  end
  return best
end

local LETTER = "(?<![\\p{L}\\p{N}_])[A-Z]{1,2}(?!['\u{2019}]?[\\p{L}\\p{N}_])"

-- The position of the choice that a written answer names, or nil and why.
local function by_reply(choices, answer)
  local position = {}
  for i, choice in ipairs(choices) do position[choice.letter] = i end
  local letters = text.find_all(answer, LETTER)
  for i = #letters, 1, -1 do
    if position[letters[i]] then return position[letters[i]] end
  end
  local bare = text.lower(text.trim(answer, " \t\r\n.\"'"))
  local match
  for i, choice in ipairs(choices) do
    if text.lower(text.trim(choice.text, " \t\r\n.\"'")) == bare then
      if match then return nil, "the answer is the text of several choices" end
      match = i
    end
  end
  if not match then return nil, "the answer names no choice" end
  return match
end

return {
  name = "choice",
  version = 2,
  description = "The preferred choice is a right one.",
  params = { normalize = one_of { "none", "chars", "bytes", "tokens", "unconditional" } },
  needs = function(params)
    if params.normalize == "none" then return { "choices", "target" } end
    return { "choices", "target", "loglik" }
  end,
  grade = function(sample, reply, params)
    local choices = sample.choices
    local picked, why
    if reply.choices then
      picked = by_likelihood(choices, reply.choices, params.normalize)
    else
      if params.normalize ~= "none" then error("normalize needs log-likelihoods, and the reply has none") end
      picked, why = by_reply(choices, reply.answer)
    end
    if not picked then return { value = false, why = why } end
    return { value = sample.correct[picked] == true, answer = choices[picked].letter }
  end,
  examples = {
    { sample = { choices = { "no", "yes" }, correct = { 2 } }, reply = { choices = { -3, -1 } }, value = 1, answer = "B" },
    { sample = { choices = { "no", "yes" }, correct = { 2 } }, reply = { choices = { -1, -1 } }, value = 0, answer = "A" },
    { -- -6/2 against -6/6
      sample = { choices = { "ab", "abcdef" }, correct = { 2 } },
      reply = { choices = { -6, -6 } },
      params = { normalize = "chars" },
      value = 1,
    },
    { -- the letters were scored: they are equally long, whatever the choices are
      sample = { choices = { "ab", "abcdef" }, correct = { 1 } },
      reply = { choices = { { logprob = -5, by_letter = true }, { logprob = -6, by_letter = true } } },
      params = { normalize = "chars" },
      value = 1,
      answer = "A",
    },
    { -- three characters of two bytes each against four of one: -8/6 < -5/4, but -8/3 < -5/4 the more
      sample = { choices = { "äöü", "abcd" }, correct = { 1 } },
      reply = { choices = { -7, -5 } },
      params = { normalize = "bytes" },
      value = 1,
    },
    {
      sample = { choices = { "a", "b" }, correct = { 2 } },
      reply = { choices = { { logprob = -4, tokens = 1 }, { logprob = -6, tokens = 3 } } },
      params = { normalize = "tokens" },
      value = 1,
    },
    {
      sample = { choices = { "a", "b" }, correct = { 2 } },
      reply = { choices = { { logprob = -2, unconditional = -3 }, { logprob = -4, unconditional = -9 } } },
      params = { normalize = "unconditional" },
      value = 1,
    },
    {
      sample = { choices = { "a", "b" }, correct = { 2 } },
      reply = { choices = { -2, -4 } },
      params = { normalize = "unconditional" },
      error = "unconditional: true",
    },
    { sample = { choices = { "red", "blue" }, correct = { 2 } }, reply = "The answer is (B).", value = 1, answer = "B" },
    { sample = { choices = { "red", "blue" }, correct = { 2 } }, reply = "A is wrong, so B", value = 1 },
    { sample = { choices = { "red", "blue" }, correct = { 1 } }, reply = "A", value = 1 },
    { sample = { choices = { "red", "blue" }, correct = { 1 } }, reply = "A.", value = 1 },
    { sample = { choices = { "red", "blue" }, correct = { 2 } }, reply = "Blue.", value = 1, answer = "B" },
    { sample = { choices = { "red", "blue" }, correct = { 2 } }, reply = "I'm not Bob, it's blue", value = 0 },
    { sample = { choices = { "same", "same" }, correct = { 1 } }, reply = "same", value = 0 },
    { sample = { choices = { "red", "blue" }, correct = { 2 } }, reply = "I do not know", value = 0 },
  },
}
