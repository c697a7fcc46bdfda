-- SPDX-License-Identifier: MIT
-- One request: the sample's prompt or messages, with the eval's generation settings; the reply is the answer.
return {
  name = "generate",
  version = 1,
  description = "Send the prompt once and take the reply.",
  params = {},
  solve = function(sample, ctx)
    return ctx.generate(sample.prompt or sample.messages)
  end,
  examples = {
    { sample = { prompt = "2 + 2 =" }, replies = { " 4" }, requests = { "2 + 2 =" }, text = " 4" },
    {
      sample = { messages = { { role = "user", content = "Hi" } } },
      replies = { "Hello." },
      requests = { "Hi" },
      text = "Hello.",
      messages = 0,
    },
  },
}
