-- SPDX-License-Identifier: MIT
return {
  shout = function(text) return text .. "!" end,
}
