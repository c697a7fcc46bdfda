-- SPDX-License-Identifier: MIT
-- HellaSwag's raw text comes from subtitles and WikiHow, with tags in square brackets.
return {
  clean = function(s)
    s = text.trim(s):gsub(" %[title%]", ". "):gsub("%[.-%]", "")
    return (s:gsub("  ", " "))
  end,
}
