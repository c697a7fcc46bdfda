-- SPDX-License-Identifier: MIT
-- ROUGE (Lin 2004), F1, 0 to 1: overlap of words (rouge1), of pairs of words (rouge2), or the longest common subsequence
-- of words (rougeL) of answer and target; precision is by the answer's count, recall by the target's. Words are runs of a-z
-- and 0-9 after lower-casing, without stemming; so a text in another script has none and is 0. The best target counts.
-- Equals rouge-score's RougeScorer(use_stemmer=False).
local WORD_BITS = 60 -- of an integer that the bit-parallel search uses; the rest holds the carry
local FULL = (1 << WORD_BITS) - 1

local function words(s)
  local out = {}
  s = s:gsub("\u{130}", "i\u{307}") -- as Unicode lowers it: the dot above is a character of its own
  for word in text.lower(s):gmatch("[a-z0-9]+") do out[#out + 1] = word end
  return out
end

local function f1(hits, n_answer, n_target)
  if hits == 0 then return 0 end
  local precision, recall = hits / n_answer, hits / n_target
  return 2 * precision * recall / (precision + recall)
end

local function ngrams(list, n)
  local counts = {}
  for i = 1, #list - n + 1 do
    local gram = table.concat(list, " ", i, i + n - 1)
    counts[gram] = (counts[gram] or 0) + 1
  end
  return counts
end

local function overlap(answer, target, n)
  local counts, hits = ngrams(target, n), 0
  for gram, count in pairs(ngrams(answer, n)) do hits = hits + math.min(count, counts[gram] or 0) end
  return f1(hits, #answer - n + 1, #target - n + 1)
end

-- For each word of a list the bits of the places where it stands, WORD_BITS places an integer.
local function places(list)
  local bits, n_parts = {}, (#list + WORD_BITS - 1) // WORD_BITS
  for i, word in ipairs(list) do
    local own = bits[word]
    if not own then
      own = {}
      for part = 1, n_parts do own[part] = 0 end
      bits[word] = own
    end
    local part = (i - 1) // WORD_BITS + 1
    own[part] = own[part] | 1 << (i - 1) % WORD_BITS
  end
  return bits, n_parts
end

-- Length of the longest common subsequence, a column of the table at a time as bits (Hyyrö 2004): zeros mark the places
-- where the length rises.
local function longest(a, b)
  local bits, n_parts = places(a)
  local row = {}
  for part = 1, n_parts do row[part] = FULL end
  for _, word in ipairs(b) do
    local own = bits[word]
    if own then
      local carry = 0
      for part = 1, n_parts do
        local now = row[part]
        local met = now & own[part]
        local sum = now + met + carry
        carry = sum >> WORD_BITS
        row[part] = sum & FULL | now & ~met
      end
    end
  end
  local length = 0
  for i = 0, #a - 1 do
    if row[i // WORD_BITS + 1] >> i % WORD_BITS & 1 == 0 then length = length + 1 end
  end
  return length
end

local function rouge(answer, target, kind)
  if #answer == 0 or #target == 0 then return 0 end
  if kind == "rougeL" then return f1(longest(answer, target), #answer, #target) end
  return overlap(answer, target, kind == "rouge1" and 1 or 2)
end

return {
  name = "rouge",
  version = 1,
  description = "ROUGE F1 against the best target, without stemming.",
  params = { type = one_of { "rouge1", "rouge2", "rougeL" } },
  needs = { "target" },
  grade = function(sample, reply, params)
    local answer, best = words(reply.answer), 0
    for _, target in ipairs(sample.target) do best = math.max(best, rouge(answer, words(target), params.type)) end
    return { value = best }
  end,
  examples = {
    { target = "the cat sat", reply = "The cat sat.", value = 1 },
    { target = "the cat sat on the mat", reply = "the the the cat", value = 0.6 }, -- 3 of 4, 3 of 6
    { target = "the cat sat on the mat", reply = "the cat", params = { type = "rouge2" }, value = 0.3333333333333333 }, -- 1/1, 1/5
    { target = "a b c d", reply = "a c b d", params = { type = "rougeL" }, value = 0.75 },
    { target = "a b c d", reply = "d c b a", params = { type = "rougeL" }, value = 0.25 },
    { target = "one", reply = "one", params = { type = "rouge2" }, value = 0 }, -- no pair of words
    { target = "one", reply = "", value = 0 },
    { target = "привет", reply = "привет", value = 0 }, -- no word of a-z
    { target = { "x", "one two" }, reply = "one two", value = 1 },
    { target = "\u{130}x", reply = "i x", value = 1 },
    { target = "don't", reply = "don t", value = 1 },
  },
}
