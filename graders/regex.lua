-- SPDX-License-Identifier: MIT
-- Right when a regular expression (PCRE2, Unicode, case counts unless it says `(?i)`) is found in the answer; with
-- `full` it has to be all of it. With `group` the text of that group (0 is the whole match) has to equal a target. The
-- pattern is a template, so that a row can bring its own: `pattern: "{{ row.pattern }}"`.
return {
  name = "regex",
  version = 1,
  description = "A regular expression is found in the answer.",
  params = { pattern = required("template"), full = false, group = json.null }, -- group: a number from 0
  grade = function(sample, reply, params)
    local pattern = tostring(params.pattern)
    if params.full then pattern = "\\A(?:" .. pattern .. ")\\z" end
    local found = table.pack(text.find(reply.answer, pattern))
    if not found[1] then return { value = false, why = "the pattern is not found" } end
    local whole = reply.answer:sub(found[1], found[2])
    local group = params.group
    if group == json.null then return { value = true, answer = whole } end
    if math.type(group) ~= "integer" or group < 0 then error("group is a number from 0") end
    if group > found.n - 2 then error("the pattern has no group " .. group) end
    if not sample.target then error("with 'group' it needs a target") end
    local given = whole
    if group > 0 then given = found[group + 2] end
    if not given then return { value = false, why = "the group has no part in the match" } end
    for _, target in ipairs(sample.target) do
      if given == target then return { value = true, answer = given } end
    end
    return { value = false, answer = given, why = "expected " .. table.concat(sample.target, " or ") }
  end,
  examples = {
    { reply = "Order 66 now", params = { pattern = "\\d+" }, value = 1, answer = "66" },
    { reply = "none", params = { pattern = "\\d+" }, value = 0 },
    { reply = "66", params = { pattern = "\\d+", full = true }, value = 1 },
    { reply = "66 ", params = { pattern = "\\d+", full = true }, value = 0 },
    { reply = "ab", params = { pattern = "a|ab", full = true }, value = 1 },
    { reply = "Yes", params = { pattern = "(?i)^yes" }, value = 1 },
    { target = "B", reply = "Answer: B", params = { pattern = "Answer: ([A-D])", group = 1 }, value = 1, answer = "B" },
    { target = "C", reply = "Answer: B", params = { pattern = "Answer: ([A-D])", group = 1 }, value = 0, answer = "B" },
    { target = "bb", reply = "abba", params = { pattern = "b+", group = 0 }, value = 1 },
    { target = "b", reply = "a", params = { pattern = "a(b)?", group = 1 }, value = 0 },
    { target = "b", reply = "a", params = { pattern = "a", group = 1 }, error = "no group 1" },
    { reply = "a", params = { pattern = "(a)", group = 1 }, error = "needs a target" },
    { sample = { row = { shape = "^\\w+$" } }, reply = "word", params = { pattern = "{{ row.shape }}" }, value = 1 },
    { reply = "a", params = { pattern = "(" }, error = "missing" },
    { reply = "a", error = "'pattern' is required" },
  },
}
