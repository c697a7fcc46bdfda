-- SPDX-License-Identifier: MIT
return {
  fails = function(s) return text..lower(s) end,
}
