-- SPDX-License-Identifier: MIT
return {
  name = "needs_word",
  version = 1,
  description = "Has a param that has to be given.",
  params = { word = required("text") },
  grade = function(_, reply, params) return { value = reply.text == params.word } end,
}
