-- SPDX-License-Identifier: MIT
-- Right when a command ends with exit status 0 in the sample's own sandbox, after the solver is done there. `command`
-- is a template and runs in a shell. Without a sandbox nothing is run, and the sample is unscored.
return {
  name = "exec_check",
  version = 1,
  description = "A command in the sample's sandbox succeeds.",
  params = { command = required("template"), seconds = 10 },
  needs = { "sandbox" },
  grade = function()
    return unscored("needs sandbox")
  end,
  examples = {
    { reply = "done", params = { command = "test -f b.txt" }, unscored = "needs sandbox" },
    { reply = "done", error = "'command' is required" },
  },
}
