-- SPDX-License-Identifier: MIT
return {
  name = "declares_parms",
  parms = { least = 1 },
  grade = function(_, reply, params) return #reply.text >= params.least end,
}
