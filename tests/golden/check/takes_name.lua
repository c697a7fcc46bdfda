-- SPDX-License-Identifier: MIT
return {
  name = "takes_name",
  version = 1,
  description = "A param that every grader takes already, and one that has to be given.",
  params = { answer = "x", max = 1, must = required("text") },
  grade = function() return { value = 1 } end,
}
