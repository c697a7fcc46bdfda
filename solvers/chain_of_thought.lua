-- SPDX-License-Identifier: MIT
-- Reasoning first, then the answer: zero-shot chain of thought in two calls (Kojima et al. 2022, "Large Language Models are
-- Zero-Shot Reasoners"). The first call sends the prompt followed by `think`; the second sends all of that with the
-- reasoning, followed by `ask`, and its reply is the answer. With ask: "" there is one call, and the answer has to be found
-- in the reasoning by the graders' `answer:`. `think` and `ask` are templates; the eval's max_tokens and stop bound the
-- answer, think_tokens and think_stop the reasoning.
local function think_in_text(sample, ctx, params)
  local prompt = sample.prompt
  if not text.find(prompt, "\\s$") then prompt = prompt .. " " end
  prompt = prompt .. params.think
  if params.ask == "" then return ctx.generate(prompt, { max_tokens = params.think_tokens, stop = params.think_stop }) end
  local thought = ctx.generate(prompt, { max_tokens = params.think_tokens, stop = params.think_stop })
  return ctx.generate(prompt .. thought.text .. "\n" .. params.ask)
end

local function think_in_chat(sample, ctx, params)
  local messages = sample.messages
  local last = messages[#messages]
  if last.role ~= "user" then error("chain_of_thought needs a chat that ends with the user") end
  last.content = last.content .. "\n\n" .. params.think
  local thought = ctx.generate(messages, { max_tokens = params.think_tokens, stop = params.think_stop })
  if params.ask == "" then return thought end
  messages = thought.messages
  messages[#messages + 1] = { role = "user", content = params.ask }
  local reply = ctx.generate(messages)
  reply.messages = { table.unpack(reply.messages) } -- kept: the graders see the reasoning too
  return reply
end

return {
  name = "chain_of_thought",
  version = 1,
  description = "Reason first, then answer.",
  params = {
    think = template("Let's think step by step."),
    ask = template("Therefore, the answer is"),
    think_tokens = 512,
    think_stop = {}, -- list of texts
  },
  solve = function(sample, ctx, params)
    return (sample.prompt and think_in_text or think_in_chat)(sample, ctx, params)
  end,
  examples = {
    {
      sample = { prompt = "Q: 2 + 2?\nA:" },
      replies = { " Two and two make four.", " 4." },
      requests = {
        "Q: 2 + 2?\nA: Let's think step by step.",
        "Q: 2 + 2?\nA: Let's think step by step. Two and two make four.\nTherefore, the answer is",
      },
      text = " 4.",
    },
    {
      sample = { messages = { { role = "user", content = "2 + 2?" } } },
      replies = { "Two and two make four.", "4" },
      requests = { "2 + 2?\n\nLet's think step by step.", "Therefore, the answer is" },
      text = "4",
      messages = 4,
    },
    { -- one call, own words
      sample = { prompt = "2 + 2?\n", input = "2 + 2?" },
      params = { think = "Reason about {{ input }}, then write ANSWER: and the number.", ask = "" },
      replies = { "It is 4.\nANSWER: 4" },
      requests = { "2 + 2?\nReason about 2 + 2?, then write ANSWER: and the number." },
      text = "It is 4.\nANSWER: 4",
    },
    {
      sample = { messages = { { role = "assistant", content = "So" } } },
      error = "ends with the user",
    },
  },
}
