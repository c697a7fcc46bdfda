-- SPDX-License-Identifier: MIT
-- Right when at least `share` of the answer's letters belong to the script (Unicode's Script_Extensions) of a language.
-- `is` takes the languages that their script gives away, by ISO 639-1 code; or say `script:` with Unicode's name of one
-- (Latin, Cyrillic, Arabic, Devanagari, Bengali ...), which is all that a script can tell about English or Russian. Which
-- of the languages of one script it is wants a judge.
--   ja  Han, Hiragana, Katakana, and some kana     zh  Han without kana, at least 12 of them
-- A few Han characters and nothing else may be either language: unscored, as an answer without letters (42). An empty
-- answer is wrong.
local SCRIPTS = {
  bo = "Tibetan", el = "Greek", gu = "Gujarati", he = "Hebrew", hy = "Armenian", ja = "Han", ka = "Georgian", km = "Khmer",
  kn = "Kannada", ko = "Hangul", lo = "Lao", ml = "Malayalam", my = "Myanmar", ["or"] = "Oriya", pa = "Gurmukhi",
  si = "Sinhala", ta = "Tamil", te = "Telugu", th = "Thai", zh = "Han",
}
local HAN_ENOUGH = 12
local KANA = "(?=\\p{L})[\\p{Hiragana}\\p{Katakana}]"

local function count(s, pattern)
  return #text.find_all(s, pattern)
end

-- Letters of the language, or nil and why it can not be told.
local function letters_of(answer, is, script)
  local n = count(answer, "(?=\\p{L})\\p{" .. script .. "}")
  if is ~= "ja" and is ~= "zh" then return n end
  local kana = count(answer, KANA)
  if is == "ja" and kana > 0 then return count(answer, "(?=\\p{L})[\\p{Han}\\p{Hiragana}\\p{Katakana}]") end
  if n == 0 or kana > 0 then return 0 end
  if is == "zh" and n >= HAN_ENOUGH then return n end
  if is == "ja" and n >= HAN_ENOUGH then return 0 end
  return nil, "only a few Han characters: Chinese or Japanese"
end

return {
  name = "language",
  version = 1,
  description = "The answer is written in a language's script.",
  params = {
    is = one_of { "any", "bo", "el", "gu", "he", "hy", "ja", "ka", "km", "kn", "ko", "lo", "ml", "my", "or", "pa", "si", "ta",
      "te", "th", "zh" },
    script = "",
    share = 0.8,
  },
  grade = function(_, reply, params)
    if (params.is == "any") == (params.script == "") then error("it takes 'is' or 'script'") end
    local script = params.is == "any" and params.script or SCRIPTS[params.is]
    if not script:find("^%a[%a_ ]*$") then error("no such script: " .. script) end
    local answer = reply.answer
    if not text.find(answer, "\\S") then return { value = false, why = "empty" } end
    local all = count(answer, "\\p{L}")
    if all == 0 then return unscored("no letters") end
    local n, why = letters_of(answer, params.is, script)
    if not n then return unscored(why) end
    local share = n / all
    return { value = share >= params.share, why = string.format("%.0f %% of its letters", 100 * share) }
  end,
  examples = {
    { reply = "Καλημέρα κόσμε", params = { is = "el" }, value = 1 },
    { reply = "Good morning", params = { is = "el" }, value = 0 },
    { reply = "Καλημέρα world and everybody", params = { is = "el" }, value = 0 },
    { reply = "Καλημέρα ok", params = { is = "el", share = 0.5 }, value = 1 },
    { reply = "これはペンです。", params = { is = "ja" }, value = 1 },
    { reply = "これはペンです。", params = { is = "zh" }, value = 0 },
    { reply = "我们今天去公园看花，然后回家吃晚饭。", params = { is = "zh" }, value = 1 },
    { reply = "我们今天去公园看花，然后回家吃晚饭。", params = { is = "ja" }, value = 0 },
    { reply = "東京", params = { is = "ja" }, unscored = "only a few Han characters: Chinese or Japanese" },
    { reply = "안녕하세요 세계", params = { is = "ko" }, value = 1 },
    { reply = "हिन्दी में", params = { script = "Devanagari" }, value = 1 },
    { reply = "Bonjour", params = { script = "Latin" }, value = 1 },
    { reply = "Привет", params = { script = "Latin" }, value = 0 },
    { reply = "42", params = { is = "th" }, unscored = "no letters" },
    { reply = " ", params = { is = "th" }, value = 0 },
    { reply = "x", params = { is = "fr" }, error = "one of" },
    { reply = "x", error = "'is' or 'script'" },
    { reply = "x", params = { script = "Klingon" }, error = "unknown property" },
  },
}
