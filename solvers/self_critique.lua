-- SPDX-License-Identifier: MIT
-- Answer, critique, revise: the model, or who plays the role `role`, looks for faults in the first answer, and the model
-- answers again with them in view (Saunders et al. 2022, "Self-critiquing models for assisting human evaluators"; one
-- round of Madaan et al. 2023, "Self-Refine"). `critique` and `revise` are Jinja templates that see question, answer and, in
-- `revise`, critique. The reply is the revised answer.
local CRITIQUE = [[
Here is a question and an answer to it.

Question: {{ question }}

Answer: {{ answer }}

Name every mistake, gap or unclear point of the answer, briefly. If it needs no change, say only: no change needed.

Critique:]]

local REVISE = [[
Here is a question, an answer to it, and a critique of that answer.

Question: {{ question }}

Answer: {{ answer }}

Critique: {{ critique }}

Write the answer again with the critique taken into account. Write the answer alone; where the critique asks for no change,
repeat the answer.

Answer:]]

local function question_of(sample)
  if sample.prompt then return sample.prompt end
  for i = #sample.messages, 1, -1 do
    if sample.messages[i].role == "user" then return sample.messages[i].content end
  end
  error("self_critique needs a chat with a user message")
end

return {
  name = "self_critique",
  version = 1,
  description = "Answer, critique the answer, answer again.",
  params = {
    critique = CRITIQUE,
    revise = REVISE,
    role = "", -- whose critique: "" the model's own
    critique_tokens = 256,
  },
  solve = function(sample, ctx, params)
    local question = question_of(sample)
    local function asked(prompt)
      return sample.prompt and prompt or { { role = "user", content = prompt } }
    end
    local first = ctx.generate(sample.prompt or sample.messages)
    local vars = { question = question, answer = first.text }
    local role = params.role ~= "" and params.role or nil
    local critique = ctx.generate(asked(ctx.render(params.critique, vars)), {
      role = role,
      max_tokens = params.critique_tokens,
      stop = {}, -- the eval's ends answers
    })
    vars.critique = critique.text
    ctx.note("critique: " .. critique.text)
    return ctx.generate(asked(ctx.render(params.revise, vars)))
  end,
  examples = {
    {
      sample = { prompt = "2 + 2?" },
      params = { critique = "Check {{ answer }} for {{ question }}", revise = "{{ answer }} / {{ critique }} ->" },
      replies = { "5", "It is 4.", "4" },
      requests = { "2 + 2?", "Check 5 for 2 + 2?", "5 / It is 4. ->" },
      text = "4",
    },
    {
      sample = { messages = { { role = "system", content = "Be brief." }, { role = "user", content = "2 + 2?" } } },
      params = { critique = "{{ question }} {{ answer }}", revise = "{{ critique }}", role = "critic" },
      replies = { "5", "No.", "4" },
      requests = { "2 + 2?", "2 + 2? 5", "No." },
      text = "4",
    },
    { sample = { messages = { { role = "system", content = "Be brief." } } }, error = "a user message" },
  },
}
