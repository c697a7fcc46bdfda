-- SPDX-License-Identifier: MIT
-- Right when the answer's length is within `min` and `max`, both included, counted in `unit`:
--   chars   characters (code points)
--   words   runs without white space
--   lines   lines; a break at the very end starts no further one
--   tokens  tokens of the whole reply as the sampler counted them, whatever the eval's `answer` takes out of it;
--           unscored where it did not count
local COUNT = {
  chars = function(answer) return text.len(answer) end,
  words = function(answer) return #text.find_all(answer, "\\S+") end,
  lines = function(answer) return #text.find_all(answer, "[^\\n]*\\n|[^\\n]+\\z") end,
  tokens = function(_, reply) return reply.usage.output end,
}

return {
  name = "length",
  version = 1,
  description = "The answer is neither too short nor too long.",
  params = { unit = one_of { "chars", "words", "lines", "tokens" }, min = 0, max = json.null }, -- max: a number
  grade = function(_, reply, params)
    local most = params.max == json.null and math.huge or params.max
    if type(most) ~= "number" then error("max is a number") end
    if params.min > most then error("min is more than max") end
    local n = COUNT[params.unit](reply.answer, reply)
    if params.unit == "tokens" and n == 0 and reply.text ~= "" then return unscored("the sampler counts no tokens") end
    local why
    if n < params.min then why = "at least " .. params.min .. " wanted" end
    if n > most then why = "at most " .. most .. " wanted" end
    return { value = why == nil, answer = n .. " " .. params.unit, why = why }
  end,
  examples = {
    { reply = "short", params = { max = 200 }, value = 1, answer = "5 chars" },
    { reply = "abc", params = { max = 2 }, value = 0 },
    { reply = "\u{e4}\u{20ac}", params = { max = 2 }, value = 1 },
    { reply = "", params = { min = 1 }, value = 0 },
    { reply = "anything at all", value = 1 },
    { reply = "It's  two\nwords?", params = { unit = "words", min = 3, max = 3 }, value = 1, answer = "3 words" },
    { reply = "one\ntwo\n", params = { unit = "lines", min = 2, max = 2 }, value = 1 },
    { reply = "one\n\nthree", params = { unit = "lines" }, value = 1, answer = "3 lines" },
    { reply = "", params = { unit = "lines" }, value = 1, answer = "0 lines" },
    { reply = { text = "a b", usage = { output = 7 } }, params = { unit = "tokens", max = 5 }, value = 0 },
    { reply = "a b", params = { unit = "tokens", max = 5 }, unscored = "the sampler counts no tokens" },
    { reply = "a", params = { min = 3, max = 2 }, error = "min is more than max" },
    { reply = "a", params = { max = "2" }, error = "max is a number" },
  },
}
