return {
  fails = function(s) return text..lower(s) end,
}
