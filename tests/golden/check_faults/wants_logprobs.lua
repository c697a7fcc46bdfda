-- SPDX-License-Identifier: MIT
return {
  name = "wants_logprobs",
  version = 1,
  description = "Needs the tokens' log-probabilities.",
  needs = { "logprobs" },
  grade = function(_, reply) return { value = #reply.logprobs > 0 } end,
}
