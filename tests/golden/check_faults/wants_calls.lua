-- SPDX-License-Identifier: MIT
return {
  name = "wants_calls",
  version = 1,
  description = "Needs tool calls.",
  needs = { "tool_calls" },
  grade = function(_, reply) return { value = #reply.tool_calls > 0 } end,
}
