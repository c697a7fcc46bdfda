-- SPDX-License-Identifier: MIT
-- Takes an answer that is there already, in the data or in the eval: no model is asked, so that recorded answers can be
-- graded and graders tried out. `text` is a template that sees what prompts see.
return {
  name = "given",
  version = 1,
  description = "A text from the sample as the reply; asks no model.",
  effects = {},
  params = { text = required("template") },
  solve = function(_, _, params)
    return params.text
  end,
  examples = {
    { sample = { input = "2 + 2" }, params = { text = "{{ input }} is 4" }, text = "2 + 2 is 4" },
    { sample = { row = { solution = "x = 1" } }, params = { text = "{{ row.solution }}" }, text = "x = 1" },
    { sample = { input = "" }, params = { text = "" }, text = "" },
    { sample = { input = "q" }, error = "text" },
  },
}
