-- SPDX-License-Identifier: MIT
-- Noise for robustness evals. ctx.rng is seeded by (seed, eval, part, sample id): every model sees the same noise.
return {
  -- Swap neighbouring letters, each pair with probability `rate`.
  typos = function(s, rate, ctx)
    return (s:gsub("(%a)(%a)", function(first, second)
      if ctx.rng() < rate then return second .. first end
    end))
  end,
}
