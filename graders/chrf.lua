-- SPDX-License-Identifier: MIT
-- chrF (Popović 2015), 0 to 1: F-score of the character n-grams of answer and target, white space left out, for n = 1 to
-- `char_order`. Precision and recall are averaged over the orders that both texts are long enough for; recall counts
-- `beta` times as much (chrF2: 6, 2). `word_order: 2` adds word n-grams with punctuation at a word's end split off (chrF++).
-- The best target counts. Equals sacrebleu's sentence_chrf / 100.
local SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}]+"

local function words(s)
  local out = {}
  for _, word in ipairs(text.split(s, SPACE)) do
    if word == "" then goto continue end
    if text.len(word) > 1 and word:find("%p$") then
      out[#out + 1] = word:sub(1, -2)
      out[#out + 1] = word:sub(-1)
    elseif text.len(word) > 1 and word:find("^%p") then
      out[#out + 1] = word:sub(1, 1)
      out[#out + 1] = word:sub(2)
    else
      out[#out + 1] = word
    end
    ::continue::
  end
  return out
end

-- A text's characters as one string with the byte positions where they start, and its words.
local function read(s, params)
  if params.ignore_case then s = text.lower(s) end
  local units = { words = params.word_order > 0 and words(s) or {} }
  units.text = text.replace(s, SPACE, "")
  local starts = {}
  for at in utf8.codes(units.text) do starts[#starts + 1] = at end
  units.n = #starts
  starts[#starts + 1] = #units.text + 1
  units.starts = starts
  return units
end

local function count_chars(units, n, counts, step)
  local s, starts, hits = units.text, units.starts, 0
  for i = 1, units.n - n + 1 do
    local gram = s:sub(starts[i], starts[i + n] - 1)
    local had = counts[gram] or 0
    if step < 0 and had > 0 then hits = hits + 1 end
    counts[gram] = had + step
  end
  return hits
end

local function count_words(units, n, counts, step)
  local list, hits = units.words, 0
  for i = 1, #list - n + 1 do
    local gram = table.concat(list, " ", i, i + n - 1)
    local had = counts[gram] or 0
    if step < 0 and had > 0 then hits = hits + 1 end
    counts[gram] = had + step
  end
  return hits
end

-- Precision and recall of one order: each n-gram of the answer uses up one of the target's.
local function add_order(sum, answer, target, n_answer, n_target, n, count)
  if n_answer < n or n_target < n then return end
  local counts = {}
  count(target, n, counts, 1)
  local hits = count(answer, n, counts, -1)
  sum.precision = sum.precision + hits / (n_answer - n + 1)
  sum.recall = sum.recall + hits / (n_target - n + 1)
  sum.orders = sum.orders + 1
end

local function chrf(answer, target, params)
  local sum = { precision = 0, recall = 0, orders = 0 }
  for n = 1, params.char_order do add_order(sum, answer, target, answer.n, target.n, n, count_chars) end
  for n = 1, params.word_order do add_order(sum, answer, target, #answer.words, #target.words, n, count_words) end
  if sum.precision + sum.recall == 0 then return 0 end
  local precision, recall, factor = sum.precision / sum.orders, sum.recall / sum.orders, params.beta ^ 2
  return math.min(1, (1 + factor) * precision * recall / (factor * precision + recall))
end

return {
  name = "chrf",
  version = 1,
  description = "chrF2 against the best target: F-score of character n-grams up to 6, recall twice as heavy.",
  params = { char_order = 6, word_order = 0, beta = 2, ignore_case = false },
  needs = { "target" },
  grade = function(sample, reply, params)
    if params.char_order < 0 or params.word_order < 0 or params.beta < 0 then error("an order or beta is below 0") end
    local answer, best = read(reply.answer, params), 0
    for _, target in ipairs(sample.target) do best = math.max(best, chrf(answer, read(target, params), params)) end
    return { value = best }
  end,
  examples = {
    { target = "the cat", reply = "the cat", value = 1 },
    { target = "the cat", reply = "thecat", value = 1 }, -- white space does not count
    { target = "abc", reply = "xyz", value = 0 },
    { target = "abc", reply = "", value = 0 },
    { target = "", reply = "", value = 0 },
    { target = "ab", reply = "a", value = 0.5555555555555556 }, -- order 1 alone: P 1, R 1/2: 5 * 1/2 / (4 + 1/2)
    { target = "abcd", reply = "abxd", params = { char_order = 2 }, value = 0.5416666666666666 }, -- P = R = (3/4 + 1/3) / 2
    { target = { "xyz", "abc" }, reply = "abc", value = 1 },
    { target = "Ärger", reply = "ärger", params = { ignore_case = true }, value = 1 },
    { target = "a b.", reply = "a b .", params = { word_order = 2 }, value = 1 },
    { target = "a", reply = "a", params = { beta = -1 }, error = "below 0" },
  },
}
