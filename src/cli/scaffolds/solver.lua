-- How an answer is obtained: say the strategy here. Use it with `solver: {use: NAME}` in an eval beside this file.
-- The function runs again from its start after every reply, so keep work between calls small (docs/lua.md).
return {
  name = "NAME",
  version = 1, -- raise it when answers could change
  description = "Ask for a plan, then for the answer.",
  params = {
    plan_tokens = 64,           -- a default gives the type
    ask = "So the answer is",
  },
  solve = function(sample, ctx, params)
    local prompt = sample.prompt
    if not prompt then error("NAME needs a prompt, not messages") end
    local plan = ctx.generate(prompt .. "\nPlan:", { max_tokens = params.plan_tokens, stop = "\n\n" })
    return ctx.generate(prompt .. "\nPlan:" .. plan.text .. "\n" .. params.ask)
  end,
  examples = { -- run by `muster check NAME.lua`
    {
      sample = { prompt = "2 + 2?" },
      replies = { " add them", " 4" },
      requests = { "2 + 2?\nPlan:", "2 + 2?\nPlan: add them\nSo the answer is" },
      text = " 4",
    },
    { sample = { messages = { { role = "user", content = "Hi" } } }, error = "needs a prompt" },
  },
}
