-- What counts as right: say the rule, and where it comes from, here. Use it with `graders: [{use: NAME}]` in an eval beside this file.
-- Wrong is 0 or false; what can not be judged is unscored("why"); error("why") means that the eval itself is broken.
return {
  name = "NAME",
  version = 1, -- raise it when scores could change
  description = "The answer has at least `share` of the target's words.",
  params = { share = 0.5 }, -- a default gives the type; or required("number"), one_of{"a", "b"}, template("{{ input }}")
  needs = { "target" },
  range = { 0, 1 },
  grade = function(sample, reply, params)
    local said = {}
    for _, word in ipairs(text.words(text.lower(reply.answer))) do said[word] = true end
    local wanted = text.words(text.lower(sample.target[1]))
    if #wanted == 0 then return unscored("the target has no words") end
    local found = 0
    for _, word in ipairs(wanted) do
      if said[word] then found = found + 1 end
    end
    return {
      value = found / #wanted >= params.share,
      answer = reply.answer,
      why = string.format("%d of %d words", found, #wanted),
    }
  end,
  examples = { -- run by `muster check NAME.lua`
    { target = "the red house", reply = "A red house.", value = 1 },
    { target = "the red house", reply = "A boat.", value = 0 },
    { target = "the red house", reply = "The red boat.", params = { share = 1 }, value = 0 },
    { target = "!", reply = "x", unscored = "the target has no words" },
  },
}
