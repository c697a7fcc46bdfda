-- SPDX-License-Identifier: MIT
-- Overlap of words, the F1 of SQuAD v1.1 (Rajpurkar et al. 2016, evaluate-v1.1.py): both texts are brought into normal
-- form (`text.normalize`: lower case, no ASCII punctuation, no a, an, the), and precision and recall of the bag of
-- words make F1; the best over the targets. Nothing in common, or nothing left of either, is 0.
local function bag(s)
  local words, n = {}, 0
  for word in s:gmatch("[^ ]+") do
    words[word] = (words[word] or 0) + 1
    n = n + 1
  end
  return words, n
end

local function overlap(given, wanted)
  local same = 0
  for word, count in pairs(given) do same = same + math.min(count, wanted[word] or 0) end
  return same
end

return {
  name = "f1",
  version = 1,
  description = "Overlap of words with the best target (SQuAD).",
  needs = { "target" },
  grade = function(sample, reply)
    local answer = text.normalize(reply.answer)
    local given, n_given = bag(answer)
    local best = 0
    for _, target in ipairs(sample.target) do
      local wanted, n_wanted = bag(text.normalize(target))
      local same = overlap(given, wanted)
      if same > 0 then
        local precision, recall = same / n_given, same / n_wanted
        best = math.max(best, 2 * precision * recall / (precision + recall))
      end
    end
    return { value = best, answer = answer }
  end,
  examples = {
    { target = "The Denver Broncos", reply = "denver broncos.", value = 1, answer = "denver broncos" },
    { target = "Denver Broncos", reply = "the Broncos", value = 2 / 3 },
    { target = { "x", "gold and blue" }, reply = "blue", value = 0.5 },
    { target = "to be or not to be", reply = "to to to", value = 4 / 9 },
    { target = "a", reply = "the", value = 0 },
    { target = "yes", reply = "", value = 0 },
    { target = "U.S.A.", reply = "usa", value = 1 },
    { target = "well-known", reply = "well known", value = 0 },
  },
}
