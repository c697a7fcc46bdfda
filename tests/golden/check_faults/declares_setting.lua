-- SPDX-License-Identifier: MIT
return {
  name = "declares_setting",
  version = 1,
  description = "Declares a param that every solver takes.",
  params = { temperature = 0.5 },
  solve = function(sample, ctx) return ctx.generate(sample.messages) end,
}
