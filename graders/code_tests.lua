-- SPDX-License-Identifier: MIT
-- Right when a program made of the answer and the sample's tests ends with exit status 0 in a sandbox: HumanEval's and
-- MBPP's rule (Chen et al. 2021, Austin et al. 2021). `code` is a template of the whole program, for the language that
-- the eval's `sandbox` names. Without a sandbox nothing is run, and the sample is unscored.
return {
  name = "code_tests",
  version = 1,
  description = "The answer passes the sample's tests.",
  params = { code = required("template"), seconds = 10 },
  needs = { "sandbox" },
  grade = function()
    return unscored("needs sandbox")
  end,
  examples = {
    { reply = "return 1", params = { code = "def f():\n{{ answer }}\nassert f() == 1" }, unscored = "needs sandbox" },
    { reply = "return 1", error = "'code' is required" },
  },
}
