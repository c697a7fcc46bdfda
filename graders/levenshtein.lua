-- SPDX-License-Identifier: MIT
-- Similarity by edits: 1 - distance / length of the longer text, in characters, the best over the targets. The distance
-- is Levenshtein's (1965): the fewest insertions, deletions and replacements of one character. Two empty texts are
-- alike (1). Unscored where both texts are so long (10,000 characters each) that comparing them takes too much time.
local COMPARISONS_MAX = 1e8

return {
  name = "levenshtein",
  version = 1,
  description = "1 - edits / length of the longer text.",
  params = { ignore_case = false, strip = false },
  needs = { "target" },
  grade = function(sample, reply, params)
    local function normal(s)
      if params.strip then s = text.trim(s) end
      return params.ignore_case and text.fold(s) or s
    end
    local answer = normal(reply.answer)
    local best, edits = -1, 0
    for _, target in ipairs(sample.target) do
      local wanted = normal(target)
      local n, m = text.len(answer), text.len(wanted)
      if n * m > COMPARISONS_MAX then return unscored(string.format("too long to compare: %d and %d characters", n, m)) end
      local longer = math.max(n, m)
      local distance = text.levenshtein(answer, wanted)
      local similarity = longer == 0 and 1 or 1 - distance / longer
      if similarity > best then best, edits = similarity, distance end
    end
    return { value = best, why = edits > 0 and edits .. " edits from the target" or nil }
  end,
  examples = {
    { target = "kitten", reply = "sitting", value = 4 / 7 },
    { target = "same", reply = "same", value = 1 },
    { target = "abc", reply = "xyz", value = 0 },
    { target = "", reply = "", value = 1 },
    { target = "abcd", reply = "", value = 0 },
    { target = "ab", reply = ("b"):rep(50000), value = 1 / 50000 },
    { target = ("a"):rep(10001), reply = ("b"):rep(10000), unscored = "too long to compare: 10000 and 10001 characters" },
    { target = { "far away", "cat" }, reply = "car", value = 2 / 3 },
    { target = "\u{e4}\u{f6}", reply = "\u{e4}o", value = 0.5 },
    { target = "ABC", reply = "abc\n", params = { ignore_case = true, strip = true }, value = 1 },
  },
}
