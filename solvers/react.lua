-- SPDX-License-Identifier: MIT
-- An agent: the model reasons, calls tools, sees what they gave, and goes on until it calls `submit` or a limit is spent
-- (Yao et al. 2022, "ReAct: Synergizing Reasoning and Acting in Language Models"). Its tools run in a sandbox; this build has
-- none, so `muster run` refuses such an eval before its first call (exit code 6). Declared here so that evals can be written
-- and checked.
return {
  name = "react",
  version = 1,
  description = "An agent that calls tools until it submits; needs a sandbox.",
  needs = { "sandbox" },
  gives = { "tool_calls" },
  params = {
    tools = { "bash", "submit" }, -- list of names
    system = "", -- put before the eval's messages
    attempts = 1, -- submissions that are graded before it ends
  },
  solve = function()
    error("react needs a sandbox: no sandbox in this build yet")
  end,
  examples = {
    { sample = { messages = { { role = "user", content = "Rename a.txt." } } }, error = "needs a sandbox" },
    { sample = { prompt = "x" }, params = { tools = "bash" }, error = "tools" },
  },
}
