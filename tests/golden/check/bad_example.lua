-- SPDX-License-Identifier: MIT
return {
  name = "bad_example",
  version = 1,
  description = "A grader whose example is wrong.",
  grade = function(_, reply) return { value = reply.text == "x" } end,
  examples = { { target = "x", reply = "y", value = 1 } },
}
