-- SPDX-License-Identifier: MIT
-- `n` candidates from the model under test, and a judge picks one: best-of-n sampling. Equal candidates are one, and
-- when all are equal nobody is asked. The judge reads the task and the candidates by number and ends in a number alone
-- on its last line; without one that counts, the first candidate is taken and the attempt's notes say so.
-- The judge is the role `judge`, or another one by the param `judge`; `judge: ""` is the model under test itself.
-- Candidates are independent, so the judge's liking for a place favors none of them.
-- Source: best-of-n (rejection) sampling as in Cobbe et al. 2021 (arXiv 2110.14168, section 4), a model for the verifier.
local function task_of(sample)
  if sample.prompt then return sample.prompt end
  local lines = {}
  for _, message in ipairs(sample.messages) do lines[#lines + 1] = string.format("%s: %s", message.role, message.content) end
  return table.concat(lines, "\n")
end

local function distinct(replies)
  local seen, list = {}, {}
  for _, reply in ipairs(replies) do
    local said = text.trim(reply.text)
    if not seen[said] then
      seen[said] = true
      list[#list + 1] = reply
    end
  end
  return list
end

local function question(sample, candidates, ask)
  local parts = { "[Task]\n" .. task_of(sample) .. "\n[end of the task]\n" }
  for i, reply in ipairs(candidates) do
    parts[#parts + 1] = string.format("[Answer %d]\n%s\n[end of answer %d]\n", i, reply.text, i)
  end
  parts[#parts + 1] = ask
  return table.concat(parts, "\n")
end

-- The number on the last line with a letter or digit, if it is one of 1 to n.
local function picked(said, n)
  local last = ""
  for line in said:gmatch("[^\r\n]+") do
    if text.find(line, "[\\p{L}\\p{N}]") then last = line end
  end
  local number = last:match("^[^%w]*(%d+)[^%w]*$")
  number = number and math.tointeger(tonumber(number))
  return number and number >= 1 and number <= n and number or nil
end

local function solve(sample, ctx, params)
  if math.type(params.n) ~= "integer" or params.n < 1 or params.n > 64 then error("n is a whole number from 1 to 64") end
  local candidates = distinct(ctx.generate(sample.prompt or sample.messages, { n = params.n }))
  if #candidates == 1 then
    if params.n > 1 then ctx.note("all candidates are equal: give a temperature") end
    return candidates[1]
  end
  local prompt = question(sample, candidates, params.ask)
  local verdict = ctx.generate({ { role = "user", content = prompt } }, {
    role = params.judge,
    max_tokens = params.judge_tokens,
    temperature = 0,
    stop = {},
  })
  local number = picked(verdict.text, #candidates)
  if not number then
    ctx.note("the judge picked none of " .. #candidates .. " candidates: " .. verdict.text:sub(1, 200))
    return candidates[1]
  end
  ctx.note(string.format("the judge picked %d of %d candidates", number, #candidates))
  return candidates[number]
end

return {
  name = "best_of",
  version = 1,
  description = "Several candidates; a judge picks one.",
  params = {
    n = 4,
    judge = "judge",
    judge_tokens = 512,
    ask = "Which answer is the best? Think in a few sentences. Then write its number alone on the last line.",
  },
  roles = function(params) return params.judge ~= "" and { params.judge } or {} end,
  solve = solve,
  examples = {
    {
      sample = { prompt = "2 + 2 =" },
      params = { n = 2, ask = "Best?" },
      replies = { { text = "5", more = { { text = "4" } } }, "The second one.\n2" },
      requests = { "2 + 2 =", "[Task]\n2 + 2 =\n[end of the task]\n\n[Answer 1]\n5\n[end of answer 1]\n\n[Answer 2]\n4\n[end of answer 2]\n\nBest?" },
      roles = { "", "judge" },
      text = "4",
    },
    { -- the judge of the eval's choice, and Markdown
      sample = { messages = { { role = "user", content = "Hi" } } },
      params = { n = 3, judge = "critic" },
      replies = { { text = "a", more = { { text = "b" }, { text = "a " } } }, "**2.**\n" },
      roles = { "", "critic" },
      text = "b",
    },
    { sample = { prompt = "Q" }, params = { n = 2 }, replies = { { text = "a", more = { { text = "b" } } }, "both" }, text = "a" },
    { sample = { prompt = "Q" }, params = { n = 2 }, replies = { { text = "a", more = { { text = "b" } } }, "3" }, text = "a" },
    { sample = { prompt = "Q" }, params = { n = 2 }, replies = { { text = "a", more = { { text = "a" } } } }, text = "a" },
    { sample = { prompt = "Q" }, params = { n = 1 }, replies = { "a" }, text = "a" },
    { sample = { prompt = "Q" }, params = { n = 0 }, error = "n is a whole number" },
  },
}
