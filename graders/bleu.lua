-- SPDX-License-Identifier: MIT
-- Sentence BLEU (Papineni et al. 2002), 0 to 1: the geometric mean of the clipped n-gram precisions for n = 1 to 4,
-- times the brevity penalty exp(1 - target length / answer length) where the answer is the shorter one. An order without
-- a match counts 1/2 of a match at the first such order, 1/4 at the second and so on (smoothing of mteval-v13a, "exp");
-- orders longer than the answer do not count (effective order). No match of a single word is 0. Words are those of
-- mteval-v13a.pl. With several targets the best one counts; `references: together` pools their n-grams instead and takes
-- the nearest length, as corpora with several references do. Equals sacrebleu's sentence_bleu / 100.
local ORDER = 4
-- What Python's str.split() takes for white space: word breaks as the reference has them.
local SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}]+"

local SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}"
  .. "\u{2008}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"

local function plain(s, from, to)
  local out, at = {}, 1
  while true do
    local first, last = s:find(from, at, true)
    if not first then break end
    out[#out + 1] = s:sub(at, first - 1)
    at = last + 1
  end
  out[#out + 1] = s:sub(at)
  return table.concat(out, to)
end

local function words(s, ignore_case)
  if ignore_case then s = text.lower(s) end
  s = text.trim(s, SPACES)
  s = plain(plain(plain(s, "<skipped>", ""), "-\n", ""), "\n", " ")
  s = plain(plain(plain(plain(s, "&quot;", '"'), "&amp;", "&"), "&lt;", "<"), "&gt;", ">")
  s = " " .. s .. " "
  s = s:gsub("[{-~[-` -&(-+:-@/]", " %0 ") -- ASCII punctuation but ' , - .
  s = s:gsub("([^0-9])([.,])", "%1 %2 ")
  s = s:gsub("([.,])([^0-9])", " %1 %2")
  s = s:gsub("([0-9])(-)", "%1 %2 ")
  local out = {}
  for _, word in ipairs(text.split(s, SPACE)) do
    if word ~= "" then out[#out + 1] = word end
  end
  return out
end

-- How often each n-gram of order n occurs.
local function counts_of(list, n)
  local counts = {}
  for i = 1, #list - n + 1 do
    local gram = table.concat(list, " ", i, i + n - 1)
    counts[gram] = (counts[gram] or 0) + 1
  end
  return counts
end

local function matches(answer, targets, n)
  local most = {}
  for _, target in ipairs(targets) do
    for gram, count in pairs(counts_of(target, n)) do
      if count > (most[gram] or 0) then most[gram] = count end
    end
  end
  local sum = 0
  for gram, count in pairs(counts_of(answer, n)) do sum = sum + math.min(count, most[gram] or 0) end
  return sum
end

local function nearest_length(answer, targets)
  local best
  for _, target in ipairs(targets) do
    local off, best_off = math.abs(#target - #answer), best and math.abs(best - #answer)
    if not best or off < best_off or (off == best_off and #target < best) then best = #target end
  end
  return best
end

local function bleu(answer, targets)
  local logs, order, smooth, any = 0, 0, 1, false
  for n = 1, math.min(ORDER, #answer) do
    local right, total = matches(answer, targets, n), #answer - n + 1
    any = any or right > 0
    if right == 0 then
      smooth = smooth * 2
      right = 1 / smooth
    end
    logs = logs + math.log(right / total)
    order = n
  end
  if not any then return 0 end
  local length = nearest_length(answer, targets)
  local brevity = #answer < length and math.exp(1 - length / #answer) or 1
  return math.min(1, brevity * math.exp(logs / order))
end

return {
  name = "bleu",
  version = 1,
  description = "Sentence BLEU against the best target: 13a words, exp smoothing, effective order.",
  params = { ignore_case = false, references = one_of { "best", "together" } },
  needs = { "target" },
  grade = function(sample, reply, params)
    local answer = words(reply.answer, params.ignore_case)
    local targets = {}
    for i, target in ipairs(sample.target) do targets[i] = words(target, params.ignore_case) end
    if params.references == "together" then return { value = bleu(answer, targets) } end
    local best = 0
    for _, target in ipairs(targets) do best = math.max(best, bleu(answer, { target })) end
    return { value = best }
  end,
  examples = {
    { target = "The cat sat on the mat.", reply = "The cat sat on the mat.", value = 1 },
    { target = "The cat sat on the mat.", reply = "A dog", value = 0 },
    { target = "The cat sat on the mat.", reply = "", value = 0 },
    { target = "cat", reply = "cat", value = 1 }, -- one word: order 1 alone
    { target = "a b c d", reply = "a b c d e", value = 0.668740304976422 }, -- (4/5 * 3/4 * 2/3 * 1/2) ^ (1/4)
    { target = "a b c d e f", reply = "a b c d", value = 0.6065306597126334 }, -- exp(1 - 6/4)
    { target = "a b c d", reply = "a x c y", value = 0.18995892141289814 }, -- (2/4 * 1/6 * 1/8 * 1/8) ^ (1/4)
    { target = { "nothing of it", "The cat sat on the mat." }, reply = "The cat sat on the mat.", value = 1 },
    { target = { "a b", "c d" }, reply = "a b c d", params = { references = "together" }, value = 0.4518010018049224 },
    { target = "PARIS", reply = "paris", params = { ignore_case = true }, value = 1 },
    { target = "It costs 1,000.50, no less.", reply = "It costs 1,000.50 , no less .", value = 1 },
  },
}
