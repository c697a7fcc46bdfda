-- Helpers of the eval NAME: pure functions, usable in its templates as filters and as functions.
return {
  -- Single spaces, none at the ends.
  tidy = function(s)
    return (text.trim(s):gsub("%s+", " "))
  end,
}
