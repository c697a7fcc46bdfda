-- SPDX-License-Identifier: MIT
return {
  name = "wants_loglik",
  version = 1,
  description = "Needs scored texts.",
  needs = { "loglik" },
  range = { -1e9, 0 },
  grade = function(_, reply) return { value = reply.choices[1].logprob } end,
}
