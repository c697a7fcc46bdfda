-- SPDX-License-Identifier: MIT
-- The answers that a BIG-Bench Hard question leaves to choose from: its own list of options; yes and no, true and false;
-- else the right answer and near misses of it. The right answer is always among them.
local opposites = { ["yes"] = "no", ["no"] = "yes", ["Yes"] = "No", ["No"] = "Yes", ["True"] = "False", ["False"] = "True" }

local function near_misses(target)
  local n = math.tointeger(tonumber(target))
  if n then return { tostring(n - 1), tostring(n + 1), tostring(10 * n) } end
  local words = {}
  for word in target:gmatch("%S+") do words[#words + 1] = word end
  if #words < 2 then return { target .. " " .. target } end
  words[#words], words[#words - 1] = words[#words - 1], words[#words]
  return { table.concat(words, " "), table.concat(words, " ", 1, #words - 1) }
end

local function listed(input)
  local found = {}
  local list = input:match("Options:\n(.*)") or ""
  for line in (list .. "\n"):gmatch("(.-)\n") do
    found[#found + 1] = line:match("^(%([A-Z]%))") or line:match("^%- (.-)%s*$")
  end
  return found
end

return {
  options = function(input, target)
    target = target:match("^%s*(.-)%s*$")
    local all = listed(input)
    if #all == 0 then all = opposites[target] and { opposites[target] } or near_misses(target) end
    local seen = {}
    local out = {}
    all[#all + 1] = target
    for _, text in ipairs(all) do
      if not seen[text] and text ~= "" then out[#out + 1] = text end
      seen[text] = true
    end
    return out
  end,
}
