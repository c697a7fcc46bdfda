-- SPDX-License-Identifier: MIT
-- The weighted mean of other graders of the eval: sum(weight * value) / sum(weight), and with `pass` 1 where that is
-- at least `pass`, else 0. The graders it names run before it, wherever they stand in the list. One that `when` keeps
-- from a sample is left out of that sample's mean; one that is unscored makes the whole unscored, because a mean of
-- what happened to be gradable says something else on every sample.
-- Source: DESIGN.md 4.1; promptfoo's weighted assertions with a threshold are the same sum.
local SLACK = 1e-12 -- of a sum of weights that should be a round number

local function weights_of(of)
  local weights = {}
  if of[1] == nil then
    for name, weight in pairs(of) do weights[#weights + 1] = { name = name, weight = weight } end
  else
    for _, name in ipairs(of) do weights[#weights + 1] = { name = name, weight = 1 } end
  end
  if #weights == 0 then error("combine needs graders: of: {NAME: WEIGHT, ...}") end
  return weights
end

local function grade(_, _, params, ctx)
  local pass = params.pass
  if pass ~= json.null and not (pass >= 0 and pass <= 1) then error("pass is a number from 0 to 1") end
  local sum, total, parts, detail = 0, 0, {}, {}
  for _, member in ipairs(weights_of(params.of)) do
    local score = ctx.scores[member.name]
    if score and score.unscored then return unscored(member.name .. ": " .. score.unscored) end
    if score then
      if score.value < 0 or score.value > 1 then
        error(string.format("'%s' gives %g; combine wants scores from 0 to 1", member.name, score.value))
      end
      sum = sum + member.weight * score.value
      total = total + member.weight
      parts[#parts + 1] = string.format("%s %.4g", member.name, score.value)
      detail[member.name] = score.value
    end
  end
  if total == 0 then return unscored("none of its graders applies") end
  local mean = math.min(1, sum / total)
  local why = table.concat(parts, ", ")
  if pass == json.null then return { value = mean, why = why, detail = detail } end
  return { value = mean >= pass - SLACK, why = string.format("%.4g: %s", mean, why), detail = detail }
end

return {
  name = "combine",
  version = 1,
  description = "Weighted mean of other graders, or whether it reaches `pass`.",
  params = { of = required("any"), pass = optional("number") },
  after = "of",
  grade = grade,
  examples = {
    { params = { of = { a = 2, b = 1 } }, scores = { a = 1, b = 0 }, value = 2 / 3, why = "a 1, b 0" },
    { params = { of = { a = 2, b = 1 }, pass = 0.5 }, scores = { a = 1, b = 0 }, value = 1 },
    { params = { of = { a = 1, b = 2 }, pass = 0.5 }, scores = { a = 1, b = 0 }, value = 0 },
    { params = { of = { "a", "b" } }, scores = { a = 1, b = 0.5, c = 0 }, value = 0.75 },
    { params = { of = { a = 0.1, b = 0.2, c = 0.7 }, pass = 1 }, scores = { a = 1, b = 1, c = 1 }, value = 1 },
    { params = { of = { "a", "b" } }, scores = { a = 1, b = { absent = true } }, value = 1 },
    { params = { of = { "a" } }, scores = { a = { absent = true } }, unscored = "none of its graders applies" },
    { params = { of = { "a", "b" } }, scores = { a = 0, b = { unscored = "no data" } }, unscored = "b: no data" },
    { params = { of = { "a" } }, not_ = true, scores = { a = 0.25 }, value = 0.75 },
    { params = { of = { "a" } }, scores = { a = 3 }, error = "'a' gives 3; combine wants scores from 0 to 1" },
    { params = { of = { "a" }, pass = 7 }, scores = { a = 1 }, error = "pass is a number from 0 to 1" },
    { params = { of = { contans = 1 } }, scores = { contains = 1 }, error = "did you mean 'contains'?" },
    { params = { of = { a = 0 } }, scores = { a = 1 }, error = "a weight is a number above 0" },
    { params = { of = { "combine" } }, error = "wait for each other: 'combine' -> 'combine'" },
    { params = { of = "a" }, scores = { a = 1 }, error = "is a list of graders' names" },
    { params = { of = {} }, error = "combine needs graders" },
    { error = "param 'of' is required" },
  },
}
