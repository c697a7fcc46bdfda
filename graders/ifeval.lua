-- SPDX-License-Identifier: MIT
-- Verifiable instructions (Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models"): the 25 checkers
-- of google-research's instruction_following_eval as lm-evaluation-harness has them (lm_eval/tasks/ifeval/instructions.py).
-- `instructions` is the list of their names, `kwargs` a list of their arguments in the same order, both from the row.
--   level: prompt       1 when all instructions are followed, else 0
--   level: instruction  the share that is followed, weighted by their number: the mean over samples is per instruction
--   mode: loose         an instruction counts as followed when the answer follows it as it is, or without asterisks, or
--                       without its first line, its last line or both (the eight texts of the reference)
-- Unscored, with the reason: an instruction whose argument is missing or out of range (the reference draws one at random
-- there), and languages that cannot be told. Told are those with a script of their own, and others by their commonest words
-- and letters; the reference asks langdetect, which always names one. At level instruction what cannot be checked is left
-- out of the share; at level prompt it matters only when all else is followed. Sentences are split as Punkt does (Kiss and
-- Strunk 2006) with a short list of abbreviations and words instead of a trained model; words as NLTK's tokenizer does.
local S = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}]"

local SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}"
  .. "\u{2008}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"

local function strip(s) return text.trim(s, SPACES) end
local function lower(s) return text.lower((s:gsub("\u{130}", "i\u{307}"))) end
local function count(s, regex) return #text.find_all(s, regex) end
local function without_prefix(s, prefix) return s:sub(1, #prefix) == prefix and s:sub(#prefix + 1) or s end
local function is_upper(s) return text.match(s, "\\p{Lu}") ~= nil and not text.match(s, "[\\p{Ll}\\p{Lt}]") end
local function is_lower(s) return text.match(s, "\\p{Ll}") ~= nil and not text.match(s, "[\\p{Lu}\\p{Lt}]") end

local function set(words)
  local out = {}
  for word in words:gmatch("%S+") do out[word] = true end
  return out
end

-- ---- Sentences -----------------------------------------------------------------------------------------------------

local ABBREVIATIONS = set([[mr mrs ms dr prof sr jr st messrs gen col maj lt adm sen rep reps co cos corp inc ltd bros cie
  jan feb aug sep sept oct nov dec tues wed fri ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore pa tenn
  va vt wash wis ave ft mg yr ct vs ok sw ph.d a.m p.m a.d m.b.a u.s u.s.a u.k u.n u.s.s.r d.c l.a n.y n.j n.c n.d n.h n.m
  n.v s.c s.a s.g w.va s.p.a c.v c d e f g h k l m n p r s t v w]])
local STARTERS = set([[although among both but despite even he however i if in indeed instead it many meanwhile moreover
  most nevertheless nonetheless nor since so some similarly the there these they this though thus under when while yet]])
-- Words that are capital only where a sentence begins: after an abbreviation or initial they begin one.
local COMMON = set([[a after again all also although always among another any anyone anything are as at because before
  being below besides between beyond both but by can children could did do does don't doing during each either enough even
  ever every everyone everything few finally for from get give go had has have he her here hers his how however i'm if
  indeed instead into is it it's its just know last later let like make many maybe meanwhile me more moreover most much
  must my neither never next no nobody none nor not nothing now often on once one only other others our out over people
  perhaps please rather remember see several she should since so some someone something sometimes soon still such take
  than that that's the their them then there there's therefore these they think this those though through thus to today
  together tomorrow too try under until use very was we we're were what what's whatever when whenever where wherever
  whether which while who whose why will with within without would yes yesterday yet you your]])
-- Characters that end a word for Punkt, and the marks that still belong to the sentence before them.
local NON_WORD = "[)\";}\\]*:@'({\\[\u{2018}\u{2019}\u{201c}\u{201d}\u{ab}\u{bb}?!]"
local CLOSERS = "\\A[\"')\\]}\u{2018}\u{2019}\u{201c}\u{201d}\u{ab}\u{bb}]+?(?:\\s+|(?=--)|$)"
local MULTIPLE = "(?:-{2,}|\\.{2,}|(?:\\.\\s){2,}\\.)"
local TOKEN = MULTIPLE .. "|(?=[^(\"`{\\[:;&#*@)}\\]\\-,])\\S+?(?=\\s|$|" .. NON_WORD .. "|" .. MULTIPLE .. "|,(?=$|\\s|"
  .. NON_WORD .. "|" .. MULTIPLE .. "))|\\S"

-- A word's first judgement: ends (a sentence, unless what follows says no), short (an abbreviation), dots.
local function judge(word)
  local token = { word = word, type = lower(word), period = word:sub(-1) == "." }
  if text.match(token.type, "\\A-?[.,]?\\d[\\d,.-]*\\.?\\z") then
    token.number = true
    token.type = word:sub(-1) == "." and "#." or "#"
  end
  if word == "." or word == "?" or word == "!" then
    token.ends = true
  elseif word:find("^%.%.+$") then
    token.dots = true
  elseif token.period and word:sub(-2) ~= ".." then
    local bare = lower(word:sub(1, -2))
    token.short = ABBREVIATIONS[bare] or ABBREVIATIONS[bare:match("[^-]*$")]
    token.ends = not token.short
  end
  token.initial = text.match(word, "\\A[^\\W\\d]\\.\\z") ~= nil
  return token
end

-- Whether a word begins a sentence by its looks: true, false or nil for unknown.
local function begins(token)
  if token.word:find("^[;:,.!?]$") then return false end
  local bare = token.ends and #token.type > 1 and token.type:gsub("%.$", "") or token.type
  if text.match(token.word, "\\A\\p{Lu}") then return COMMON[bare] end
  if text.match(token.word, "\\A\\p{Ll}") then return false end
  return nil
end

-- The word's judgement once the next word is known.
local function revise(token, following)
  if not token.period then return end
  local starts, bare = begins(following), lower((following.word:gsub("%.$", "")))
  if (token.short or token.dots) and not token.initial then
    local upper = text.match(following.word, "\\A\\p{Lu}")
    if starts or (upper and STARTERS[bare]) then token.ends = true end
  end
  if token.initial or token.number then
    if starts == false then token.ends = false end
    local name = starts == nil and token.initial and text.match(following.word, "\\A\\p{Lu}")
    if name then token.ends = false end
  end
end

-- Whether a sentence ends within this short text, with something after it.
local function breaks(context)
  local tokens = {}
  for _, word in ipairs(text.find_all(context, TOKEN)) do tokens[#tokens + 1] = judge(word) end
  for i = 1, #tokens - 1 do revise(tokens[i], tokens[i + 1]) end
  for i = 1, #tokens - 1 do
    if tokens[i].ends then return true end
  end
  return false
end

-- Where in a run of non-space the last mark stands that may end a sentence, and what comes right after it.
local function last_mark(run, following)
  for at = #run, 1, -1 do
    if run:find("^[.?!]", at) then
      local after = run:sub(at + 1)
      if after == "" and following then return at, " " .. following end
      local mark = text.match(after, "\\A" .. NON_WORD)
      if mark then return at, mark end
    end
  end
end

-- The text cut where sentences end; the marks that close a sentence go with it.
local function sentences(s)
  s = text.replace(strip(s), "(?!\\n)" .. S, " ")
  local runs = {}
  for from, run in s:gmatch("()([^%s]+)") do runs[#runs + 1] = { from = from, text = run } end
  local cuts, from = {}, 1
  for i, run in ipairs(runs) do
    local following = runs[i + 1]
    local at, after = last_mark(run.text, following and following.text)
    if at and breaks(run.text:sub(1, at) .. after) then
      local to = run.from + at - 1
      cuts[#cuts + 1] = { from = from, to = to }
      from = at == #run.text and following.from or to + 1
    end
  end
  cuts[#cuts + 1] = { from = from, to = #s }
  local out, skip = {}, 0
  for i, cut in ipairs(cuts) do
    local first, nextcut = cut.from + skip, cuts[i + 1]
    local closing = nextcut and text.match(s:sub(nextcut.from, nextcut.to), CLOSERS) or ""
    local sentence = closing ~= "" and s:sub(first, nextcut.from + #text.trim(closing) - 1) or s:sub(first, cut.to)
    if sentence ~= "" then out[#out + 1] = sentence end
    skip = #closing
  end
  return out
end

-- ---- Words, as the Treebank splits them ----------------------------------------------------------------------------

local QUOTE_OPEN, QUOTE_CLOSE = "\u{ab}\u{201c}\u{2018}\u{201e}", "\u{bb}\u{201d}\u{2019}"
local WORD_RULES = {
  -- quotes that open
  { "([" .. QUOTE_OPEN .. "]|`+)", " $1 " },
  { "^\"", "``" },
  { "``", " `` " },
  { "([ (\\[{<])(?:\"|'')", "$1 `` " },
  { "(?i)(?<!\\w)'(?!(?:re|ve|ll|m|t|s|d|n)\\b)(?=\\w)", "' " },
  -- punctuation
  { "([^.])\\.([\\])}>\"'" .. QUOTE_CLOSE .. " ]*+)\\s*\\z", "$1 . $2 " },
  { "([:,])(\\D)", " $1 $2" },
  { "([:,])\\z", " $1 " },
  { "\\.{2,}", " $0 " },
  { "[;@#$%&]", " $0 " },
  { "[\u{2012}-\u{2015}]", " $0 " },
  { "([^.])\\.([\\])}>\"']*)\\s*\\z", "$1 .$2 " },
  { "[?!]", " $0 " },
  { "([^'])' ", "$1 ' " },
  { "\\*", " * " },
  { "[\\]\\[(){}<>]", " $0 " },
  { "--", " -- " },
  { "\\A|\\z", " " },
  -- quotes that close, and what English runs together
  { "[" .. QUOTE_CLOSE .. "]", " $0 " },
  { "''", " '' " },
  { "\"", " '' " },
  { S .. "+", " " },
  { "([^' ])('[sSmMdD]|') ", "$1 $2 " },
  { "([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 " },
  { "(?i)\\b(can)(not)\\b", " $1 $2 " },
  { "(?i)\\b(d)('ye)\\b", " $1 $2 " },
  { "(?i)\\b(gim|lem)(me)\\b", " $1 $2 " },
  { "(?i)\\b(gon)(na)\\b", " $1 $2 " },
  { "(?i)\\b(got)(ta)\\b", " $1 $2 " },
  { "(?i)\\b(more)('n)\\b", " $1 $2 " },
  { "(?i)\\b(wan)(na)(?=\\s)", " $1 $2 " },
  { "(?i) ('t)(is|was)\\b", " $1 $2 " },
}

local function capital_words(s)
  local n = 0
  for _, sentence in ipairs(sentences(s)) do
    for _, rule in ipairs(WORD_RULES) do sentence = text.replace(sentence, rule[1], rule[2]) end
    for word in sentence:gmatch("[^%s]+") do
      if is_upper(word) then n = n + 1 end
    end
  end
  return n
end

-- ---- Languages -----------------------------------------------------------------------------------------------------

local SCRIPTS = {
  { "\\p{Hangul}", "ko" }, { "[\\p{Hiragana}\\p{Katakana}]", "ja" }, { "\\p{Han}", "zh" }, { "\\p{Thai}", "th" },
  { "\\p{Tamil}", "ta" }, { "\\p{Telugu}", "te" }, { "\\p{Kannada}", "kn" }, { "\\p{Gujarati}", "gu" },
  { "\\p{Gurmukhi}", "pa" }, { "\\p{Malayalam}", "ml" }, { "\\p{Bengali}", "bn" }, { "\\p{Hebrew}", "he" },
  { "\\p{Greek}", "el" }, { "\\p{Armenian}", "hy" }, { "\\p{Georgian}", "ka" },
  { "\\p{Latin}", "latin" }, { "\\p{Cyrillic}", "cyrillic" }, { "\\p{Arabic}", "arabic" },
  { "\\p{Devanagari}", "devanagari" },
}
-- Commonest words of the languages that share a script, and letters that only one of them has.
local WORDS = {
  latin = {
    en = { [[the of and to in is that it for was on are with as his they be at this have from or had by but what were we
      when your can said there an each which she do how their if will you not my has would about i he me them so these
      who its our us than then could should been into any only like just more some very here am does yes no way see said
      first good time know people make go get come]] },
    es = { [[de la que el en y los se del las un por con una su para es al lo como más pero sus le ya este sí porque esta
      entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante uno ni contra otros ese eso era
      está son fue yo]], "[ñ¿¡]|ci[oó]n(?:es)?\\b" },
    pt = { [[de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua
      ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos são você]],
      "[ãõ]" },
    fr = { [[de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec ou son je
      nous vous mais cette été être leur comme sa elle fait tout aussi même ses très bien ces mon aux où c d l j qu n]],
      "[œ]" },
    de = { [[der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat
      dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis ich wir
      mein sehr]], "ß" },
    it = { [[di e il la che in un a per è una sono mi ho ha lo ma ti le si con non i da del della dei gli come io questo
      se ci al anche più nel alla delle dal era molto tutto suo sua nella essere hanno dove quando perché l dell]] },
    pl = { [[i w na z nie się do to że jest o jak a po co ale za od tak już tylko czy był jego przez może być dla ich tym
      które który przy ma są ten ta tego jej bardzo mnie oraz]], "[ąęłńśźżć]" },
    vi = { [[và của là có không được một cho trong với các những này tôi để người khi đã ra ở như cũng về nhưng nhiều rất]],
      "[ăđơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ]" },
    sw = { [[na ya wa kwa ni katika za la cha kuwa hii yake huo huu hiyo kama lakini au pia sana watu ili wake mimi yangu
      yetu wao sisi hapa kila baada moja vya]] },
    fi = { [[ja on ei se että hän oli mutta ovat kun niin myös kuin mitä tämä minä sen joka ole jos nyt voi ne mukaan
      vain olen hyvin siitä kanssa tai sekä olla jotka]], "(?:ss[aä]|st[aä]|ll[aä]|lt[aä]|ks[ei]|inen|uu|yy|ää)\\b" },
    nl = { [[de van het een en in is dat op te zijn met voor niet aan er om ook als dan maar bij naar door uit wordt heeft
      worden deze nog ik je hij wij zeer]] },
    sv = { [[och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när
      mycket]] },
    da = { [[og i at det er en til på som med de for af den har ikke et der var han jeg men fra også meget vi]] },
    no = { [[og i det er på en til som med for av den har ikke et at de jeg men fra også veldig vi å]] },
    tr = { [[ve bir bu da de için çok ile o ne var daha gibi ben ama kadar olan sonra değil her en mi]], "[ğış]" },
    id = { [[yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena ada mereka sangat adalah]] },
    ro = { [[și de în la a cu pe nu o un este că din care mai pentru sunt se fost foarte]], "[șță]" },
    cs = { [[a se v na je že s z do to o i jako za k ale by jsem pro byl jeho nebo velmi už]], "[řěů]" },
    hu = { [[a az és hogy nem is egy ez de meg van csak már mint volt azt ki nagyon]], "[őű]" },
  },
  cyrillic = {
    ru = { [[и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой от так для о же как
      было очень]], "[ыэё]" },
    uk = { [[і в не на я бути він з що а по це вона цей до але вони ми весь який із у та за свій від так для про же як
      було дуже є]], "[іїєґ]" },
    bg = { [[и в не на аз да се съм той с че а по това тя този към но те ние който от за си така като беше много са е ще
      през]], "ъ" },
  },
  arabic = {
    ar = { [[في من على أن إلى هذا هذه التي الذي كان لا ما مع عن هو هي كل بعد قد أو لم إن ذلك بين كما]], "[ةىأإ]" },
    fa = { [[و در به از که این را است با آن برای یک می خود تا بر هم شود شده اما من ما بود]], "[پچژگ]" },
    ur = { [[کے میں کی ہے اور سے کا کو اس نے یہ پر ہیں کہ بھی ایک تھا نہیں وہ ہو لیے]], "[ٹڈڑںےھ]" },
  },
  devanagari = {
    hi = { [[के में है की और से को का यह पर हैं कि ने नहीं एक भी हो था लिए मैं वह इस कर]] },
    mr = { [[आहे आणि च्या या मी तो ती ते हे आहेत नाही एक होते होता करून मला त्या आम्ही पण]], "ळ|च्या\\b|मध्ये\\b|साठी\\b|करा\\b|ायचे\\b" },
    ne = { [[छ को मा र हो छन् यो भने पनि गर्न भएको एक हुन्छ लागि थियो म छैन तर यस गरेको]], "लाई\\b|हरू|छ\\b|नुहोस्|भयो\\b|एको\\b" },
  },
}

-- The script that most letters are of; nil without letters. Han beside kana is Japanese.
local function script_of(s)
  local best, most, kana = nil, 0, 0
  for _, script in ipairs(SCRIPTS) do
    local n = count(s, script[1])
    if script[2] == "ja" then kana = n end
    if n > most then best, most = script[2], n end
  end
  if best == "zh" and kana > 0 then best = "ja" end
  return best
end

-- What a word speaks for, of the languages of one script: { code = weight }. What many have speaks little for each.
local function weights_of(languages)
  local out = {}
  for _, code in ipairs(keys(languages)) do
    for word in languages[code][1]:gmatch("%S+") do
      out[word] = out[word] or {}
      out[word][code] = 1
    end
  end
  for word, codes in pairs(out) do
    local n = #keys(codes) * (#word == 1 and 2 or 1)
    for code in pairs(codes) do codes[code] = 1 / n end
  end
  return out
end

-- The language of a text; nil when it can not be told; false without any letter.
local function language_of(s)
  s = lower(s)
  local script = script_of(s)
  if not script then return false end
  local languages = WORDS[script]
  if not languages then return script end
  local weights, hits = weights_of(languages), {}
  local words = text.find_all(s, "[\\p{L}\\p{M}]+")
  for _, code in ipairs(keys(languages)) do hits[code] = languages[code][2] and count(s, languages[code][2]) / 2 or 0 end
  for _, word in ipairs(words) do
    for code, weight in pairs(weights[word] or {}) do hits[code] = hits[code] + weight end
  end
  local best, most, second = nil, 0, 0
  for _, code in ipairs(keys(languages)) do
    if hits[code] > most then
      best, most, second = code, hits[code], most
    elseif hits[code] > second then
      second = hits[code]
    end
  end
  if most < 1.5 or most < 1.3 * second or most < 0.05 * #words then return nil end
  return best
end

local function is_language(s, wanted)
  local found = language_of(s)
  if found == false then return true end -- nothing to detect counts as followed, as in the reference
  if found == nil then return nil, "the language of the answer can not be told" end
  return found == wanted
end

-- ---- The checkers: true, false, or nil and why it can not be checked -----------------------------------------------

local function compare(n, relation, limit)
  if relation == "less than" then return n < limit end
  if relation == "at least" then return n >= limit end
  error("relation must be 'less than' or 'at least', not '" .. tostring(relation) .. "'")
end

-- An argument; raises a note that the checker's caller turns into "can not be checked".
local function need(args, name, kind)
  local value = args[name]
  local empty = value == nil or value == json.null or value == "" or value == 0 or value == false
  if empty or (type(value) == "number" and value < 0) or (type(value) == "table" and #value == 0) then
    return nil, "it has no '" .. name .. "'"
  end
  if type(value) ~= kind then error("'" .. name .. "' must be a " .. kind .. ", not a " .. type(value)) end
  return value
end

local function each_word(list, found)
  for _, word in ipairs(list) do
    if found(word) then return true end
  end
  return false
end

local function highlights(s)
  local n = 0
  for _, part in ipairs(text.find_all(s, "\\*[^\\n*]*\\*")) do
    if strip((part:gsub("^%*+", ""):gsub("%*+$", ""))) ~= "" then n = n + 1 end
  end
  for _, part in ipairs(text.find_all(s, "\\*\\*[^\\n*]*\\*\\*")) do
    if strip(part:sub(3, -3)) ~= "" then n = n + 1 end
  end
  return n
end

local function paragraphs(s, wanted)
  local parts = text.split(s, S .. "?\\*\\*\\*" .. S .. "?")
  local n = #parts
  for i, part in ipairs(parts) do
    if strip(part) == "" then
      if i > 1 and i < #parts then return false end
      n = n - 1
    end
  end
  return n == wanted
end

local function nth_first_word(s, wanted, nth, first_word)
  local parts, n = text.split(s, "\n\n"), 0
  for _, part in ipairs(parts) do
    if strip(part) ~= "" then n = n + 1 end
  end
  local part = nth <= n and strip(parts[nth]) or ""
  if part == "" then return false end
  local word = text.match(part, "\\A(?:(?!" .. S .. ").)+")
  word = word:gsub("^'+", ""):gsub('^"+', "")
  return n == wanted and lower(word:match("^[^.,?!'\"]*")) == lower(first_word)
end

-- Outside of strings; Python's json reads them as numbers.
local NOT_NUMBERS = '"(?:[^"\\\\]|\\\\.)*+"(*SKIP)(*FAIL)|(?<![\\w.])(?:NaN|-?Infinity)'

local function is_json(s)
  s = strip(s)
  for _, fence in ipairs { "```json", "```Json", "```JSON", "```" } do s = without_prefix(s, fence) end
  if s:sub(-3) == "```" then s = s:sub(1, -4) end
  s = strip(s)
  if s:sub(1, 3) == "\u{feff}" then return false end
  return json.decode((text.replace(s, NOT_NUMBERS, "0"))) ~= nil
end

local function two_responses(s)
  local parts, found = text.split(s, "\\*{6}"), {}
  for i, part in ipairs(parts) do
    if strip(part) ~= "" then
      found[#found + 1] = strip(part)
    elseif i > 1 and i < #parts then
      return false
    end
  end
  return #found == 2 and found[1] ~= found[2]
end

local function has_title(s)
  for _, title in ipairs(text.find_all(s, "<<[^\\n]+>>")) do
    if strip((title:gsub("^<+", ""):gsub(">+$", ""))) ~= "" then return true end
  end
  return false
end

local POSTSCRIPTS = { ["P.P.S"] = "\\s*p\\.\\s?p\\.\\s?s.*$", ["P.S."] = "\\s*p\\.\\s?s\\..*$" }

-- name -> the arguments it can not do without, {name, type} each, and the check itself
local CHECKERS = {
  ["keywords:existence"] = { { "keywords", "table" }, function(s, _, list)
    return not each_word(list, function(word) return not text.match(s, "(?i)" .. word) end)
  end },
  ["keywords:frequency"] = { { "keyword", "string" }, { "frequency", "number" }, { "relation", "string" },
    function(s, _, word, n, relation) return compare(count(s, "(?i)" .. strip(word)), relation, n) end },
  ["keywords:forbidden_words"] = { { "forbidden_words", "table" }, function(s, _, list)
    return not each_word(list, function(word) return text.match(s, "(?i)\\b" .. word .. "\\b") end)
  end },
  ["keywords:letter_frequency"] = { { "letter", "string" }, { "let_frequency", "number" }, { "let_relation", "string" },
    function(s, _, letter, n, relation)
      if not letter:find("^[A-Za-z]$") then return nil, "'" .. letter .. "' is no letter of a to z" end
      local _, found = lower(s):gsub(letter:lower(), "")
      return compare(found, relation, n)
    end },
  ["language:response_language"] = { { "language", "string" }, function(s, _, code) return is_language(s, code) end },
  ["length_constraints:number_sentences"] = { { "num_sentences", "number" }, { "relation", "string" },
    function(s, _, n, relation) return compare(#sentences(s), relation, n) end },
  ["length_constraints:number_paragraphs"] = { { "num_paragraphs", "number" },
    function(s, _, n) return paragraphs(s, n) end },
  ["length_constraints:number_words"] = { { "num_words", "number" }, { "relation", "string" },
    function(s, _, n, relation) return compare(count(s, "[\\p{L}\\p{N}_]+"), relation, n) end },
  ["length_constraints:nth_paragraph_first_word"] = { { "num_paragraphs", "number" }, { "nth_paragraph", "number" },
    { "first_word", "string" },
    function(s, _, n, nth, word)
      if nth > n then return nil, "it asks for paragraph " .. nth .. " of " .. n end
      return nth_first_word(s, n, math.tointeger(nth), word)
    end },
  ["detectable_content:number_placeholders"] = { { "num_placeholders", "number" },
    function(s, _, n) return count(s, "\\[.*?\\]") >= n end },
  ["detectable_content:postscript"] = { { "postscript_marker", "string" }, function(s, _, marker)
    marker = strip(marker)
    return text.match(lower(s), "(?m)" .. (POSTSCRIPTS[marker] or "\\s*" .. lower(marker) .. ".*$")) ~= nil
  end },
  ["detectable_format:number_bullet_lists"] = { { "num_bullets", "number" }, function(s, _, n)
    return count(s, "(?m)^\\s*\\*[^*].*$") + count(s, "(?m)^\\s*-.*$") == n
  end },
  ["detectable_format:constrained_response"] = { function(s)
    return each_word({ "My answer is yes.", "My answer is no.", "My answer is maybe." },
      function(option) return s:find(option, 1, true) end)
  end },
  ["detectable_format:number_highlighted_sections"] = { { "num_highlights", "number" },
    function(s, _, n) return highlights(s) >= n end },
  ["detectable_format:multiple_sections"] = { { "section_spliter", "string" }, { "num_sections", "number" },
    function(s, _, word, n) return count(s, "\\s?" .. strip(word) .. "\\s?\\d+\\s?") >= n end },
  ["detectable_format:json_format"] = { is_json },
  ["detectable_format:title"] = { has_title },
  ["combination:two_responses"] = { two_responses },
  ["combination:repeat_prompt"] = { { "prompt_to_repeat", "string" }, function(s, _, prompt)
    prompt = lower(strip(prompt))
    return lower(strip(s)):sub(1, #prompt) == prompt
  end },
  ["startend:end_checker"] = { { "end_phrase", "string" }, function(s, _, phrase)
    phrase = lower(strip(phrase))
    s = lower((strip(s):gsub('^"+', ""):gsub('"+$', "")))
    return phrase == "" or s:sub(-#phrase) == phrase
  end },
  ["change_case:capital_word_frequency"] = { { "capital_frequency", "number" }, { "capital_relation", "string" },
    function(s, _, n, relation) return compare(capital_words(s), relation, n) end },
  ["change_case:english_capital"] = { function(s)
    if not is_upper(s) then return false end
    return is_language(s, "en")
  end },
  ["change_case:english_lowercase"] = { function(s)
    if not is_lower(s) then return false end
    return is_language(s, "en")
  end },
  ["punctuation:no_comma"] = { function(s) return not s:find(",", 1, true) end },
  ["startend:quotation"] = { function(s)
    s = strip(s)
    return #s > 1 and s:sub(1, 1) == '"' and s:sub(-1) == '"'
  end },
}

local function check(name, args, answer)
  local checker = CHECKERS[name]
  if not checker then error("there is no instruction '" .. tostring(name) .. "'") end
  local values = {}
  for i = 1, #checker - 1 do
    local value, why = need(args, checker[i][1], checker[i][2])
    if value == nil then return nil, why end
    values[i] = value
  end
  if strip(answer) == "" then return false end
  return checker[#checker](answer, args, table.unpack(values))
end

-- The answer as it is, and in loose mode those of the seven other texts that differ.
local function readings(answer, mode)
  if mode == "strict" then return { answer } end
  local lines = text.split(answer, "\n")
  local last = math.max(#lines - 1, 0)
  local cut = {
    answer,
    strip(table.concat(lines, "\n", 2)),
    strip(table.concat(lines, "\n", 1, last)),
    strip(table.concat(lines, "\n", 2, last)),
  }
  for i = 1, 4 do cut[4 + i] = cut[i]:gsub("%*", "") end
  local out, seen = {}, {}
  for _, reading in ipairs(cut) do
    if not seen[reading] then out[#out + 1] = reading end
    seen[reading] = true
  end
  return out
end

local function follows(name, args, answers)
  local reason
  for _, answer in ipairs(answers) do
    local followed, why = check(name, args, answer)
    if followed then return true end
    if followed == nil then reason = why end
  end
  if reason then return nil, reason end
  return false
end

-- A sample for the examples: { name, argument = value, ... } for each instruction.
local function told(list)
  local row = { instruction_id_list = {}, kwargs = {} }
  for i, item in ipairs(list) do
    row.instruction_id_list[i], item[1] = item[1], nil
    row.kwargs[i] = item
  end
  return { row = row }
end

return {
  name = "ifeval",
  version = 1,
  description = "The 25 verifiable instructions of instruction_following_eval.",
  params = {
    instructions = template("{{ row.instruction_id_list }}"),
    kwargs = template("{{ row.kwargs }}"),
    level = one_of { "prompt", "instruction" },
    mode = one_of { "strict", "loose" },
  },
  grade = function(_, reply, params)
    local names, kwargs = params.instructions, params.kwargs
    if type(names) ~= "table" or #names == 0 then error("'instructions' must be a list of names") end
    if type(kwargs) ~= "table" then error("'kwargs' must be a list of maps") end
    local answers = readings(reply.answer, params.mode)
    local checked, followed, detail, broken, unknown = 0, 0, {}, {}, {}
    for i, name in ipairs(names) do
      local args = type(kwargs[i]) == "table" and kwargs[i] or {}
      local right, why = follows(name, args, answers)
      if right == nil then
        unknown[#unknown + 1] = name .. ": " .. why
      else
        checked = checked + 1
        if right then followed = followed + 1 else broken[#broken + 1] = name end
      end
      detail[i] = { instruction = name, followed = right, unscored = why }
    end
    local why = #broken > 0 and "not followed: " .. table.concat(broken, ", ") or nil
    if params.level == "prompt" then
      if #broken == 0 and #unknown > 0 then return unscored(table.concat(unknown, "; ")) end
      return { value = #broken == 0, why = why, detail = detail }
    end
    if checked == 0 then return unscored(table.concat(unknown, "; ")) end
    return { value = followed / checked, weight = checked, why = why, detail = detail }
  end,
  examples = {
    {
      sample = told { { "punctuation:no_comma" } },
      reply = "No commas here.",
      value = 1,
    },
    {
      sample = told { { "punctuation:no_comma" }, { "startend:quotation" } },
      reply = '"Well, no."',
      value = 0,
    },
    {
      sample = told { { "punctuation:no_comma" }, { "startend:quotation" } }, params = { level = "instruction" },
      reply = '"Well, no."',
      value = 0.5,
    },
    { -- the first line goes in loose mode
      sample = told { { "punctuation:no_comma" } }, params = { mode = "loose" },
      reply = "Sure, here it is:\nNo commas here.",
      value = 1,
    },
    {
      sample = told { { "length_constraints:number_sentences", num_sentences = 2, relation = "less than" } },
      reply = "Mr. Smith came at 5 p.m. with J. Doe.",
      value = 1,
    },
    {
      sample = told { { "change_case:capital_word_frequency", capital_frequency = 3, capital_relation = "at least" } },
      reply = "I CAN'T do it.", -- I, CA, N'T
      value = 1,
    },
    {
      sample = told { { "language:response_language", language = "de" } },
      reply = "Das ist ein Satz, der nicht in einer anderen Sprache ist.",
      value = 1,
    },
    {
      sample = told { { "language:response_language", language = "de" } },
      reply = "Hm!",
      unscored = "language:response_language: the language of the answer can not be told",
    },
    {
      sample = told { { "length_constraints:number_words", relation = "at least" } },
      reply = "Some words",
      unscored = "length_constraints:number_words: it has no 'num_words'",
    },
    {
      sample = told { { "detectable_format:json_format" } },
      reply = '```json\n{"a": [1, 2]}\n```',
      value = 1,
    },
    { sample = told { { "punctuation:no_comma" } }, reply = " ", value = 0 },
    { sample = told { { "no:such" } }, reply = "x", error = "no instruction 'no:such'" },
  },
}
