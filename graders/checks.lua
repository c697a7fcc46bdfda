-- SPDX-License-Identifier: MIT
-- A list of checks, each one a grader with its params, on one reply. Right when every check is fully right; with `pass`
-- when the weighted mean sum(weight * value) / sum(weight) is at least `pass`. A check that is unscored makes the whole
-- unscored. The list is written in the eval, or a template gives a list of its own for each sample:
--   of: [{use: includes, target: bonjour, weight: 2}, {use: includes, target: error, not: true}, {use: length, max: 200}]
--   of: "{{ metadata.asserts }}"
-- A check has use, weight, not, answer, target, role, name as a grader of an eval has; every other key is a param of
-- the grader, and so is what stands under `params`. Texts of a list in the eval may be templates; texts that come from
-- data never are. Checks that ask a model ask at the same time.
-- Source: promptfoo's `assert` lists with weights and a test's threshold.
local SLACK = 1e-12

local function weight_of(check, i)
  local weight = check.weight
  if weight == nil then return 1 end
  if type(weight) ~= "number" or weight <= 0 or weight ~= weight or weight == math.huge then
    error(string.format("check %d: weight is a number above 0", i))
  end
  return weight
end

local function name_of(check, i) return string.format("%d (%s)", i, check.name or check.use) end

local function read_checks(of)
  if type(of) ~= "table" or (of[1] == nil and #keys(of) > 0) then
    error("of is a list of checks, or a template that gives one for each sample")
  end
  for i, check in ipairs(of) do
    if type(check) ~= "table" or type(check.use) ~= "string" then error(string.format("check %d needs use: NAME", i)) end
    weight_of(check, i)
  end
  return of
end

local function run_all(checks, ctx)
  local runs = {}
  for i, check in ipairs(checks) do
    runs[i] = function() return ctx.grade(check) end
  end
  return ctx.all(runs)
end

local function grade(_, _, params, ctx)
  local pass = params.pass
  if pass ~= json.null and not (pass >= 0 and pass <= 1) then error("pass is a number from 0 to 1") end
  local checks = read_checks(params.of)
  if #checks == 0 then return unscored("no checks") end
  local scores = run_all(checks, ctx)
  local sum, total, failed, detail = 0, 0, {}, {}
  for i, check in ipairs(checks) do
    local score, name, weight = scores[i], name_of(check, i), weight_of(check, i)
    if score.unscored then return unscored("check " .. name .. ": " .. score.unscored) end
    if score.value < 0 or score.value > 1 then
      error(string.format("check %s gives %g; checks wants scores from 0 to 1", name, score.value))
    end
    sum, total = sum + weight * score.value, total + weight
    if score.value < 1 then
      failed[#failed + 1] = name .. (score.why and ": " .. score.why or "")
    end
    detail[i] = {
      use = check.use,
      name = check.name,
      weight = weight,
      value = score.value,
      answer = score.answer,
      why = score.why,
    }
  end
  local passed = #failed == 0
  if pass ~= json.null then passed = sum / total >= pass - SLACK end
  local why = string.format("%d of %d checks failed", #failed, #checks)
  if #failed > 0 then why = why .. "; " .. table.concat(failed, "; ") end
  return { value = passed, why = why, detail = detail }
end

local three = {
  { use = "includes", target = "bonjour", ignore_case = true, weight = 2 },
  { use = "includes", params = { ignore_case = true }, target = "error", ["not"] = true },
  { use = "number", target = "2", answer = { after = "=" } },
}

return {
  name = "checks",
  version = 1,
  description = "Every check of a list, or enough of them by weight.",
  params = { of = required("templates"), pass = optional("number") },
  effects = { "grade", "generate", "loglik" },
  uses = "of",
  grade = grade,
  examples = {
    { params = { of = three }, reply = "Bonjour, 1 + 1 = 2", value = 1, why = "0 of 3 checks failed" },
    { params = { of = three }, reply = "Bonjour, error = 2", value = 0, why = "1 of 3 checks failed; 2 (includes)" },
    { params = { of = three, pass = 0.75 }, reply = "Bonjour, error = 2", value = 1 },
    { params = { of = three, pass = 0.75 }, reply = "Bonjour, 2", value = 1 },
    { params = { of = three, pass = 0.76 }, reply = "Bonjour, 2", value = 0 },
    { -- no answer found is wrong, and `not` does not make it right
      params = { of = { { use = "includes", target = "x", ["not"] = true, answer = { after = "=" } } } },
      reply = "no answer here",
      value = 0,
      why = "1 of 1 checks failed; 1 (includes): no answer found in the reply",
    },
    { -- of each sample's own; its texts are no templates
      sample = { metadata = { asserts = { { use = "includes", target = "{{ x }}" }, { use = "exact", target = "a {{ x }}" } } } },
      params = { of = "{{ metadata.asserts }}" },
      reply = "a {{ x }}",
      value = 1,
    },
    { -- of the eval's, with templates; the reply is only text
      sample = { metadata = { want = "yes" } },
      params = { of = { { use = "includes", target = "{{ metadata.want }}" }, { use = "exact", target = "{{ answer }}" } } },
      reply = "yes {{ id }}",
      value = 1,
    },
    { target = "4", params = { of = { { use = "exact" } } }, answer_rule = { after = "is" }, reply = "it is 4", value = 1 },
    {
      params = { of = { { use = "judge", criterion = "Is it polite?", name = "polite" }, { use = "includes", target = "x" } } },
      reply = "x",
      replies = { "Yes, it is.\nY" },
      roles = { "judge" },
      value = 1,
    },
    {
      params = { of = { { use = "judge", criterion = "Is it polite?", role = "critic", retries = 0 } } },
      reply = "x",
      replies = { "Hard to say" },
      roles = { "critic" },
      unscored = "check 1 (judge): the judge's last line is no verdict: Hard to say",
    },
    { sample = { metadata = { asserts = {} } }, params = { of = "{{ metadata.asserts }}" }, unscored = "no checks" },
    { sample = { metadata = { asserts = "x" } }, params = { of = "{{ metadata.asserts }}" }, error = "of is a list of checks" },
    { params = { of = { { use = "includes" } } }, reply = "x", error = "needs a target" },
    { params = { of = { { use = "include", target = "x" } } }, error = "did you mean 'includes'?" },
    { params = { of = { { use = "includes", target = "x", ignorecase = true } } }, error = "did you mean 'ignore_case'?" },
    { params = { of = { { use = "includes", target = "x", weight = 0 } } }, reply = "x", error = "weight is a number above 0" },
    { params = { of = { { use = "checks", of = { { use = "includes", target = "b" } } } } }, reply = "abc", value = 1 },
    { params = { of = { { target = "x" } } }, error = "needs use: NAME" },
  },
}
