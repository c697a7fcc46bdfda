-- SPDX-License-Identifier: MIT
return {
  name = "share",
  version = 1,
  description = "The share of scores that reach a minimum.",
  params = { minimum = 1 },
  metric = function(scores, params)
    local n = 0
    for _, score in ipairs(scores) do
      if score.value >= params.minimum then n = n + 1 end
    end
    return n / #scores
  end,
}
