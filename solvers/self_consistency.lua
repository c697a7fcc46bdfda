-- SPDX-License-Identifier: MIT
-- Several samples of the same reasoning, and the answer that most of them end in (Wang et al. 2022, "Self-Consistency
-- Improves Chain of Thought Reasoning in Language Models"). The reply is the first sample that gave the winning answer, so
-- that the graders' `answer:` finds it; ties go to the answer that came first. Samples in which no answer is found have no
-- vote; when none has one, the first sample is the reply.
-- `answer` is a map with the keys of a grader's `answer:` (after | regex, which, trim); without it the last number of a
-- sample is its answer. The temperature is the eval's, or 0.7 where the eval leaves it at 0: equal samples have no majority.
local function pick(list, which)
  return list[which == "first" and 1 or #list]
end

-- What comes after a text, which is no pattern; of several places the first or the last.
local function after(said, mark, which)
  local from, found = 1, nil
  while true do
    local start, stop = said:find(mark, from, true)
    if not start then return found end
    found = said:sub(stop + 1)
    if which == "first" then return found end
    from = start + 1
  end
end

local function extract(said, rule)
  local which = rule.which or "last"
  local found
  if rule.regex then
    found = pick(text.find_all(said, rule.regex), which) -- group 1, else the match
    if type(found) == "table" then found = found[1] ~= json.null and found[1] or nil end
  elseif rule.after then
    found = after(said, rule.after, which)
  else
    found = pick(text.find_all(said, "-?\\d[\\d,]*(?:\\.\\d+)?"), which)
    found = found and found:gsub(",", "")
  end
  return found and text.trim(found, rule.trim)
end

return {
  name = "self_consistency",
  version = 1,
  description = "The answer that most of n samples give.",
  params = {
    n = 5,
    answer = json.null, -- map: after | regex, which, trim
  },
  solve = function(sample, ctx, params)
    local temperature = ctx.settings.temperature
    local replies = ctx.generate(sample.prompt or sample.messages, {
      n = params.n,
      temperature = temperature == 0 and 0.7 or nil,
    })
    local rule = params.answer
    if rule == json.null then rule = {} end
    if type(rule) ~= "table" then error("self_consistency: answer is a map: after or regex, which, trim") end
    local votes, order, first = {}, {}, {}
    for _, reply in ipairs(replies) do
      local answer = extract(reply.text, rule)
      if answer and answer ~= "" then
        if not votes[answer] then
          order[#order + 1] = answer
          first[answer] = reply
        end
        votes[answer] = (votes[answer] or 0) + 1
      end
    end
    local best = order[1]
    local tally = {}
    for i, answer in ipairs(order) do
      if votes[answer] > votes[best] then best = answer end
      tally[i] = answer .. " x" .. votes[answer]
    end
    ctx.note("votes of " .. #replies .. ": " .. (#tally > 0 and table.concat(tally, ", ") or "none"))
    return best and first[best] or replies[1]
  end,
  examples = {
    { -- the majority
      sample = { prompt = "2 + 2?" },
      params = { n = 3 },
      replies = { { text = "It is 5", more = { { text = "So 4." }, { text = "2 and 2 make 4" } } } },
      requests = { "2 + 2?" },
      text = "So 4.",
    },
    { -- ties go to the first; what gives no answer has no vote
      sample = { prompt = "Q" },
      params = { n = 4, answer = { after = "answer is", trim = " ." } },
      replies = {
        {
          text = "I do not know",
          more = { { text = "The answer is B." }, { text = "The answer is A" }, { text = "No idea" } },
        },
      },
      text = "The answer is B.",
    },
    {
      sample = { prompt = "Q" },
      params = { n = 3, answer = { regex = "\\b([A-D])\\b" } },
      replies = { { text = "C or D", more = { { text = "A then D" }, { text = "C" } } } },
      text = "C or D",
    },
    {
      sample = { prompt = "Q" },
      params = { n = 3, answer = { regex = "\\b([A-D])\\b", which = "first" } },
      replies = { { text = "A", more = { { text = "C then D" }, { text = "C" } } } },
      text = "C then D",
    },
    { -- the last place of a mark that is no pattern
      sample = { prompt = "Q" },
      params = { n = 3, answer = { after = "(A)", trim = " " } },
      replies = { { text = "(A) 1 (A) 2", more = { { text = "(A) 1" }, { text = "so (A) 2" } } } },
      text = "(A) 1 (A) 2",
    },
    { -- nobody answers: the first
      sample = { messages = { { role = "user", content = "Q" } } },
      params = { n = 2 },
      replies = { { text = "none", more = { { text = "nothing" } } } },
      text = "none",
    },
    { -- thousands
      sample = { prompt = "Q" },
      params = { n = 3 },
      replies = { { text = "7", more = { { text = "1,234" }, { text = "about 1234" } } } },
      text = "1,234",
    },
  },
}
