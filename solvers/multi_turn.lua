-- SPDX-License-Identifier: MIT
-- A conversation with fixed user turns: each is sent with everything said before it, as in MT-Bench (Zheng et al. 2023). It
-- begins with the eval's messages (a prompt is one user message; an empty one is none), then come the turns: the param
-- `turns`, else the list in the sample's metadata under the name `from`. The reply's text is the last answer, or with
-- reply: all every answer, a blank line between them; its messages are the whole conversation.
local function beginning(sample)
  local messages = sample.messages
  if not messages then messages = { { role = "user", content = sample.prompt } } end
  if #messages == 1 and messages[1].role == "user" and messages[1].content == "" then return {} end
  return messages
end

local function turns_of(sample, params)
  local turns = params.turns
  if #turns == 0 then turns = sample.metadata[params.from] or {} end
  if type(turns) ~= "table" then error("multi_turn: metadata." .. params.from .. " is no list") end
  for i, turn in ipairs(turns) do
    if type(turn) ~= "string" then error("multi_turn: turn " .. i .. " is no text") end
  end
  return turns
end

return {
  name = "multi_turn",
  version = 1,
  description = "A conversation with fixed user turns.",
  params = {
    turns = {}, -- list of texts
    from = "turns", -- where the sample's metadata has them
    reply = one_of { "last", "all" },
  },
  solve = function(sample, ctx, params)
    local messages = beginning(sample)
    local turns = turns_of(sample, params)
    local answers = {}
    local reply
    local function say()
      reply = ctx.generate(messages)
      messages = reply.messages
      answers[#answers + 1] = reply.text
    end
    if #messages > 0 and messages[#messages].role == "user" then say() end
    for _, turn in ipairs(turns) do
      messages[#messages + 1] = { role = "user", content = turn }
      say()
    end
    if not reply then error("multi_turn: nothing to say: no input and no turns") end
    if params.reply == "all" then reply.text = table.concat(answers, "\n\n") end
    reply.messages = { table.unpack(messages) } -- kept for the graders
    return reply
  end,
  examples = {
    {
      sample = { messages = { { role = "user", content = "Hi" } }, metadata = { turns = { "And now?", "Bye" } } },
      replies = { "Hello.", "More.", "Goodbye." },
      requests = { "Hi", "And now?", "Bye" },
      text = "Goodbye.",
      messages = 6,
    },
    {
      sample = { prompt = "Name a bird." },
      params = { turns = { "Another one." }, reply = "all" },
      replies = { "Heron", "Swift" },
      requests = { "Name a bird.", "Another one." },
      text = "Heron\n\nSwift",
      messages = 4,
    },
    { -- an empty input is no turn; a system message is no turn either
      sample = { messages = { { role = "user", content = "" } }, metadata = { script = { "One" } } },
      params = { from = "script" },
      replies = { "1" },
      requests = { "One" },
      messages = 2,
    },
    {
      sample = { messages = { { role = "system", content = "Be brief." } } },
      params = { turns = { "One" } },
      replies = { "1" },
      requests = { "One" },
      messages = 3,
    },
    { sample = { messages = { { role = "user", content = "" } } }, error = "nothing to say" },
    { sample = { prompt = "x", metadata = { turns = "one" } }, error = "metadata.turns is no list" },
    { sample = { prompt = "x", metadata = { turns = { 1 } } }, error = "turn 1 is no text" },
  },
}
