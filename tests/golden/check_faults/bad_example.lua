-- SPDX-License-Identifier: MIT
return {
  name = "bad_example",
  version = 1,
  description = "A grader whose second example is wrong.",
  grade = function(_, reply) return { value = reply.text == "x" } end,
  examples = { { reply = "x", value = 1 }, { reply = "y", value = 1 } },
}
