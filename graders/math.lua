-- SPDX-License-Identifier: MIT
-- Right when the answer and a target are the same mathematics, written in LaTeX or plainly.
--   What is judged  the last \boxed{} of the answer, else the whole of it if it reads as mathematics, else what follows the
--                   last "answer is" or "answer:", else the last $...$, \(...\) or \[...\], else the last number; the same
--                   for a target
--   Numbers         integers, decimals (0.\overline{3} too), fractions, mixed numbers, powers, roots, factorials,
--                   binomials, thousands commas, digits with a base (101_2), pi, e, i, percent (50% is 50 and 0.5);
--                   degrees, currency and units are left out, so 5 cm is 5 m
--   Expressions     same value at fixed pseudo-random points: exactly, in arithmetic modulo two primes, where only
--                   + - * / and whole powers occur, else in complex floating point; a decimal equals within `places`
--   Collections     tuples and matrices in order; sets and bare lists (1, 2 and "1 or 2", \pm) in any; intervals, unions
--   Relations       x = 5 is 5; equations that are multiples of each other; inequalities with the bounds they mean
-- What can not be read is compared as text (spaces and LaTeX dressing left out), so it is never right by accident. Written
-- for this project, without a published definition; tests/oracle/math_verify.py says where math-verify judges otherwise.
local LIMIT, DEPTH, ITEMS = 2000, 60, 60 -- characters of a text, nesting, members of a collection
local POINTS = 6 -- where expressions with variables are evaluated

local function words(list)
  local out = {}
  for word in list:gmatch("%S+") do out[word] = true end
  return out
end

local function fail() error("not understood", 0) end

-- ---- Text ----------------------------------------------------------------------------------------------------------

local UNICODE = {
  ["\u{2212}"] = "-", ["\u{2013}"] = "-", ["\u{d7}"] = "*", ["\u{b7}"] = "*", ["\u{22c5}"] = "*", ["\u{f7}"] = "/",
  ["\u{3c0}"] = "\\pi ", ["\u{221a}"] = "\\sqrt ", ["\u{221e}"] = "\\infty ", ["\u{2264}"] = "\\le ", ["\u{2265}"] = "\\ge ",
  ["\u{2260}"] = "\\ne ", ["\u{b1}"] = "\\pm ", ["\u{222a}"] = "\\cup ", ["\u{2208}"] = "\\in ", ["\u{b0}"] = "\\degree ",
  ["\u{2205}"] = "\\emptyset ", ["\u{b2}"] = "^2", ["\u{b3}"] = "^3", ["\u{bd}"] = "\\frac{1}{2}", ["\u{bc}"] = "\\frac{1}{4}",
  ["\u{be}"] = "\\frac{3}{4}", ["\u{3b8}"] = "\\theta ", ["\u{3b1}"] = "\\alpha ", ["\u{3b2}"] = "\\beta ",
  ["\u{211d}"] = "\\mathbb{R}", ["\u{20ac}"] = "", ["\u{a3}"] = "", ["\u{a5}"] = "", ["\u{2248}"] = "\\approx ", ["\u{a0}"] = " ",
  ["\u{2009}"] = " ", ["\u{202f}"] = " ",
}

-- The text without what only dresses it: spacing, sizes, $, degrees as one command, digits in one piece.
local function dress_down(s)
  s = text.replace(s, "[\\x{80}-\\x{10ffff}]", function(c) return UNICODE[c] end)
  s = text.replace(s, "(?<!\\\\)\\\\!", "") -- 12,\!345
  s = text.replace(s, "(?<=\\d)\\{,\\}(?=\\d{3})", ",")
  s = text.replace(s, "(?<=\\d)(?:\\\\[,;: !]|~)(?=\\d{3}(?!\\d))", "") -- 1\,234
  s = text.replace(s, "(?<![\\d.,/])(\\d{1,3})((?: \\d{3})+)(?![\\d.]| ?/)", function(first, rest)
    return first .. rest:gsub(" ", "") -- 12 345
  end)
  s = text.replace(s, "\\^\\s*(?:\\{\\s*\\\\(?:circ|degree)\\s*\\}|\\\\(?:circ|degree)(?![a-z]))", "\\degree ")
  s = text.replace(s, "\\\\(?:displaystyle|textstyle|limits|[bB]igg?[lr]?|left|right|q?quad|phantom\\{\\})(?![A-Za-z])", " ")
  s = text.replace(s, "(?<!\\\\)\\\\[$,;:> ()\\[\\]]|[$~]", " ")
  local ends = text.trim(s, " \t\r\n,;:*.") -- but the point of .5
  local at = s:find(ends, 1, true)
  return s:sub(at - 1, at - 1) == "." and ends:find("^%d") and "." .. ends or ends
end

-- The content of the group that the brace at `at` opens, and where it closes; nil when it does not.
local function group(s, at)
  local depth, i = 0, at
  while i <= #s do
    local c = s:sub(i, i)
    if c == "\\" then
      i = i + 1 -- what is escaped opens and closes nothing
    elseif c == "{" then
      depth = depth + 1
    elseif c == "}" then
      depth = depth - 1
      if depth == 0 then return s:sub(at + 1, i - 1), i end
    end
    i = i + 1
  end
end

-- ---- Tokens --------------------------------------------------------------------------------------------------------

local FUNCTIONS = words("sin cos tan sec csc cot asin acos atan sinh cosh tanh ln log lg exp")
local SYMBOLS = words([[alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau phi
  chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar]])
local FONTS = words("text textbf textit textrm mbox mathrm mathbf mathit mathsf operatorname mathcal mathbb vec hat bar")
local SAME = { dfrac = "frac", tfrac = "frac", cfrac = "frac", leq = "le", leqslant = "le", geq = "ge", geqslant = "ge",
  neq = "ne", cdot = "*", times = "*", ast = "*", div = "/", lt = "<", gt = ">", varnothing = "emptyset", dbinom = "binom",
  tbinom = "binom", arcsin = "asin", arccos = "acos", arctan = "atan", varphi = "phi", equiv = "=", lbrack = "[",
  rbrack = "]", langle = "(", rangle = ")", lvert = "|", rvert = "|", vert = "|", mid = "|", lbrace = "\\{", rbrace = "\\}" }
local PLAIN = { sqrt = "sqrt", frac = "frac", pi = "pi", infty = "infty", infinity = "infty", inf = "infty", degree = "degree",
  degrees = "degree", emptyset = "emptyset" }
local VARIABLES = "^[abcfhkmnpqrstuvwxyzABCDFGHKMNPQRSTUVWXYZ]+$" -- of these a short run of letters is a product
local NUMBER = "\\G(%s\\d+|(?=\\.\\d))(?:\\.(?=\\d|\\\\overline)(\\d*))?(?:\\\\overline\\s*\\{(\\d{1,9})\\})?"
  .. "([eE][-+]?\\d{1,3}(?![\\d.]))?"
local NUMBERS = { outside = NUMBER:format("\\d{1,3}(?:,\\d{3})+(?!\\d)|"), inside = NUMBER:format("") }

local Reader = {} -- of tokens: { kind, value, ... }
Reader.__index = Reader

function Reader:add(kind, value)
  self.tokens[#self.tokens + 1] = { kind = kind, value = value }
  return self.tokens[#self.tokens]
end

-- A run of letters: a function, "and", a product of variables or a word.
function Reader:letters(run)
  local small = SAME[run:lower()] or run:lower()
  if #run > 1 and FUNCTIONS[small] then
    self:add("fn", small)
  elseif PLAIN[small] then
    self:add("cmd", PLAIN[small])
  elseif small == "and" or small == "or" then
    self:add("sep")
  elseif small == "percent" then
    self:add("op", "%")
  elseif #run == 1 or (#run <= 3 and run:find(VARIABLES)) then
    for c in run:gmatch(".") do self:add("sym", c) end
  else
    self:add("word", run:lower())
  end
end

-- The content of \text{} and the like; `math` when letters in it are variables.
function Reader:content(font, content)
  local bare = text.trim(dress_down(content), " ,.;:()")
  local small = bare:lower()
  if font == "mathbb" and bare == "R" then
    self:add("cmd", "reals")
  elseif font == "operatorname" then
    self:letters(bare)
  elseif small == "and" or small == "or" then
    self:add("sep")
  elseif bare:find("^%a$") then
    self:add(font:find("^text") and "word" or "sym", bare)
  elseif bare:find("^%d+$") then
    self:number(bare, "", nil, "")
  elseif bare ~= "" then
    self:add("word", small)
  end
end

function Reader:command(s, at)
  local name = s:match("^\\(%a+)", at)
  if not name then
    local c = s:sub(at + 1, at + 1)
    if c == "\\" then self:add("row") else self:add("op", c:find("[{}]") and "\\" .. c or c) end
    return at + 2
  end
  local past = at + 1 + #name
  name = SAME[name] or name
  if FONTS[name] then
    local open = s:match("^%s*()%{", past)
    local content, last
    if open then content, last = group(s, open) else content, last = s:match("^%s*(%a)()", past) end
    if not content then fail() end
    self:content(name, content)
    return open and last + 1 or last
  end
  if name == "begin" or name == "end" then
    local kind, last = s:match("^{(%a+)}()", past)
    if not kind or not (kind:find("matrix$") or kind == "array") then fail() end
    self:add(name)
    return name == "begin" and kind == "array" and s:match("^%s*{[clr|%s]*}()", last) or last
  end
  local kind = FUNCTIONS[name] and "fn" or SYMBOLS[name] and "sym" or name:find("%a") and "cmd" or "op"
  self:add(kind, name)
  return past
end

function Reader:number(whole, part, round, power)
  local digits = whole:gsub(",", "")
  part = part or ""
  local token = self:add("num", digits .. part)
  token.scale, token.decimal, token.round = #part, part ~= "", round
  token.power = power and power ~= "" and math.tointeger(tonumber(power:sub(2))) or nil
end

local function tokens_of(s)
  local reader = setmetatable({ tokens = {} }, Reader)
  local at, depth = 1, 0
  while at <= #s do
    local c = s:sub(at, at)
    local first, last, whole, part, round, power
    if c:find("[%d.]") then
      first, last, whole, part, round, power = text.find(s, depth == 0 and NUMBERS.outside or NUMBERS.inside, at)
    end
    if c:find("%s") then
      at = at + 1
    elseif first then
      reader:number(whole, part, round, power)
      at = last + 1
    elseif c == "\\" then
      at = reader:command(s, at)
    elseif c:find("%a") then
      local run = s:match("^%a+", at)
      reader:letters(run)
      at = at + #run
    elseif c == "," or c == ";" then
      reader:add("sep")
      at = at + 1
    elseif s:find("^[<>!]=", at) then
      reader:add("cmd", c == "<" and "le" or c == ">" and "ge" or "ne")
      at = at + 2
    elseif s:find("^%*%*", at) then
      reader:add("op", "^")
      at = at + 2
    elseif c:find("[-+*/^=%%()%[%]{}|_&':<>!]") then
      reader:add("op", c)
      at = at + 1
    else
      fail()
    end
    local token = reader.tokens[#reader.tokens]
    local value = token and not c:find("%s") and token.value or ""
    if value == "(" or value == "[" or value == "\\{" then depth = depth + 1 end
    if value == ")" or value == "]" or value == "\\}" then depth = depth - 1 end
  end
  return reader.tokens
end

-- ---- Trees: { kind, branch, ... } ----------------------------------------------------------------------------------

-- What is no number: it can not be added or multiplied.
local NO_NUMBER = words("tuple set list interval union matrix row eq chain text")
local RELATIONS = { ["="] = "=", ["<"] = "<", [">"] = ">", le = "<=", ge = ">=", ne = "!=", ["in"] = "in", approx = "~" }
local STARTS = words("frac sqrt binom pi infty lfloor lceil ( [ {")

local function whole(n) return { "num", tostring(n), scale = 0 } end

local function number(node)
  if NO_NUMBER[node[1]] then fail() end
  return node
end

-- Whether a tree has a node of this kind (and value).
local function has(node, kind, value)
  if node[1] == kind and (not value or node[2] == value) then return true end
  for i = 2, #node do
    if type(node[i]) == "table" and has(node[i], kind, value) then return true end
  end
  return false
end

-- The tree with \pm read as + or as -.
local function signed(node, sign)
  if type(node) ~= "table" then return node end
  local out = { ops = node.ops, open_low = node.open_low, open_high = node.open_high, scale = node.scale, decimal = node.decimal }
  for i, branch in ipairs(node) do out[i] = signed(branch, sign) end
  if node[1] == "pm" then out[1] = sign end
  if node[1] == "mp" then out[1] = sign == "+" and "-" or "+" end
  return out
end

local Parser = {}
Parser.__index = Parser

function Parser:peek(kind, value)
  local token = self.tokens[self.at]
  if token and (not kind or token.kind == kind) and (not value or token.value == value) then return token end
end

function Parser:accept(kind, value)
  local token = self:peek(kind, value)
  if token then self.at = self.at + 1 end
  return token
end

function Parser:expect(kind, value) return self:accept(kind, value) or fail() end

-- Members up to something else than a comma.
function Parser:items()
  local items = {}
  if self:peek("op", "\\}") then return items end
  repeat
    while self:accept("sep") do end
    local item = self:chain()
    if has(item, "pm") or has(item, "mp") then
      items[#items + 1] = signed(item, "+")
      item = signed(item, "-")
    end
    items[#items + 1] = item
    if #items > ITEMS then fail() end
  until not self:peek("sep")
  return items
end

function Parser:chain()
  local sides, ops = { "chain", self:union() }, {}
  while true do
    local token = self:peek()
    local op = token and (token.kind == "op" or token.kind == "cmd") and RELATIONS[token.value]
    if not op then break end
    self.at = self.at + 1
    local side = self:union()
    if op ~= "~" then ops[#ops + 1], sides[#sides + 1] = op, side end -- the exact value counts
  end
  if #ops == 0 then return sides[2] end
  if ops[1] == "in" then return #ops == 1 and sides[3] or fail() end
  local all = table.concat(ops)
  if all:find("^=+$") then return { "eq", sides[2], sides[#sides] } end
  if all:find("=", 1, true) and text.match(all, "(?<![<>!])=|in") then fail() end
  sides.ops = ops
  return sides
end

function Parser:union()
  local first = self:sum()
  if not self:peek("cmd", "cup") then return first end
  local out = { "union", first }
  while self:accept("cmd", "cup") do out[#out + 1] = self:sum() end
  return out
end

function Parser:sign()
  local token = self:peek()
  local value = token and token.value
  if token and (token.kind == "op" and (value == "+" or value == "-") or token.kind == "cmd" and (value == "pm" or value == "mp")) then
    self.at = self.at + 1
    return value
  end
end

function Parser:sum()
  local sign = self:sign()
  local left = self:term()
  if sign == "-" then left = { "neg", number(left) } elseif sign and sign ~= "+" then left = { sign, whole(0), number(left) } end
  while true do
    sign = self:sign()
    if not sign then return left end
    left = { sign, number(left), number(self:term()) }
  end
end

-- Whether the next token begins a factor although no sign of multiplication stands before it.
function Parser:factor_follows()
  local token = self:peek()
  if not token then return false end
  if token.kind == "num" then return self.tokens[self.at - 1].kind ~= "num" end
  if token.kind == "op" and token.value == "|" then return self.bars == 0 end
  return token.kind == "sym" or token.kind == "fn" or ((token.kind == "cmd" or token.kind == "op") and STARTS[token.value])
end

-- Units after a value: words, their powers, quotients of them.
function Parser:units()
  local any = false
  while self:peek("word") or (self:peek("op", "/") and self.tokens[self.at + 1] and self.tokens[self.at + 1].kind == "word") do
    self.at = self.at + (self:peek("word") and 1 or 2)
    if self:accept("op", "^") then self:exponent() end
    any = true
  end
  if any and self:factor_follows() then fail() end -- prose
end

function Parser:term()
  local left = self:unary()
  while true do
    if self:accept("op", "*") then
      left = { "*", number(left), number(self:unary()) }
    elseif self:peek("op", "/") and (self.tokens[self.at + 1] or {}).kind ~= "word" or self:peek("op", ":") then
      self.at = self.at + 1
      left = { "/", number(left), number(self:unary()) }
    elseif self:peek("word") or self:peek("op", "/") then
      number(left)
      self:units()
    elseif self:factor_follows() then
      left = { "*", number(left), number(self:power()) }
    else
      return left
    end
  end
end

function Parser:unary()
  local sign = self:sign()
  if not sign then return self:power() end
  self.depth = self.depth + 1
  if self.depth > DEPTH then fail() end
  local node = number(self:unary())
  self.depth = self.depth - 1
  return sign == "+" and node or sign == "-" and { "neg", node } or { sign, whole(0), node }
end

function Parser:exponent()
  if self:accept("op", "{") then
    local node = number(self:sum())
    self:expect("op", "}")
    return node
  end
  if self:sign() == "-" then return { "neg", self:exponent() } end
  return number(self:atom())
end

function Parser:power()
  local node = self:atom()
  while true do
    if self:accept("op", "^") then
      node = { "^", number(node), self:exponent() }
    elseif self:accept("op", "!") then
      node = { "fact", number(node) }
    elseif self:accept("op", "%") then
      node = { "percent", number(node) }
    elseif self:accept("cmd", "degree") then
      node = { "degree", number(node) }
    else
      return node
    end
  end
end

-- What \frac and the like take: a group, or one thing; of digits that stand together, one.
function Parser:argument(one_digit)
  if self:accept("op", "{") then
    local node = number(self:sum())
    self:expect("op", "}")
    return node
  end
  local token = self:peek("num")
  if token and one_digit and #token.value > 1 and not token.decimal and token.scale == 0 then
    local digit = token.value:sub(1, 1)
    token.value = token.value:sub(2)
    return whole(digit)
  end
  return number(self:atom())
end

function Parser:fraction()
  local over = self:argument(true)
  return { "/", over, self:argument(true) }
end

-- A recurring decimal: all its digits less those that do not recur, over 10^scale (10^n - 1).
local function recurring(token)
  local digits = { "-", whole(token.value .. token.round), whole(token.value) }
  local nines = whole(math.tointeger(10 ^ #token.round) - 1)
  return { "/", digits, { "*", { "^", whole(10), whole(token.scale) }, nines } }
end

-- A number, with its base, or mixed with a fraction that follows: 1\frac{1}{2}, 1 1/2.
function Parser:numeral(token)
  local node = { "num", token.value, scale = token.scale, decimal = token.decimal }
  if token.round then node = recurring(token) end
  if token.power then node = { "*", node, { "^", whole(10), whole(token.power) } } end
  if self:peek("op", "_") and not token.decimal then
    self.at = self.at + 1
    return { "base", token.value, tonumber(self:subscript()) or fail() }
  end
  if token.decimal or token.round or token.power then return node end
  local start, over, under = self.at, nil, nil
  if self:accept("cmd", "frac") then
    local fraction = self:fraction()
    over, under = fraction[2], fraction[3]
  elseif self:accept("num") then
    over, under = self.tokens[self.at - 1], self:accept("op", "/") and self:accept("num")
    over, under = { "num", over.value }, under and { "num", under.value } or { "none" }
  end
  if over and over[1] == "num" and under[1] == "num" and (tonumber(over[2]) or 0) < (tonumber(under[2]) or 0) then
    return { "+", node, { "/", whole(over[2]), whole(under[2]) } }
  end
  self.at = start
  return node
end

function Parser:subscript()
  if not self:accept("op", "{") then return (self:accept() or fail()).value or fail() end
  local parts = {}
  while not self:accept("op", "}") do parts[#parts + 1] = (self:accept() or fail()).value or "," end
  return table.concat(parts)
end

function Parser:symbol(token)
  local name = token.value
  while self:peek("op", "_") or self:peek("op", "'") do
    name = self:accept("op", "'") and name .. "'" or (self:accept() and name .. "_" .. self:subscript())
  end
  if name == "e" or name == "i" then return { "const", name } end
  return { "sym", name }
end

function Parser:call(name)
  local power = self:accept("op", "^") and self:exponent()
  local base = self:accept("op", "_") and self:argument(true)
  local argument
  if self:peek("op", "(") or self:peek("op", "{") or self:peek("op", "|") then
    argument = number(self:atom())
  else
    argument = number(self:power())
    while self:factor_follows() and not self:peek("fn") do argument = { "*", argument, number(self:power()) } end
  end
  local inverse = power and power[1] == "neg" and power[2][2] == "1" and ({ sin = "asin", cos = "acos", tan = "atan" })[name]
  if inverse then return { "fn", inverse, argument } end
  local node = { "fn", name, argument, base or nil }
  if name == "exp" then node = { "^", { "const", "e" }, argument } end
  return power and { "^", node, power } or node
end

-- ( or [ with its members: a number in brackets, a tuple or an interval.
function Parser:bracket(open)
  local items = self:items()
  local close = self:accept("op", ")") or self:expect("op", "]")
  if #items == 1 then return (open == "(") == (close.value == ")") and items[1] or fail() end
  if #items == 2 and not (open == "(" and close.value == ")") then
    return { "interval", items[1], items[2], open_low = open == "(", open_high = close.value == ")" }
  end
  return { "tuple", table.unpack(items) }
end

function Parser:matrix()
  local out, row = { "matrix" }, { "row" }
  while not self:accept("end") do
    if self:accept("row") then
      out[#out + 1], row = row, { "row" }
    elseif not self:accept("op", "&") then
      row[#row + 1] = number(self:sum())
    end
  end
  if #row > 1 then out[#out + 1] = row end
  return out
end

function Parser:enclosed(open)
  local node
  if open == "(" or open == "[" then return self:bracket(open) end
  if open == "\\{" then
    node = { "set", table.unpack(self:items()) }
    self:expect("op", "\\}")
  elseif open == "{" then
    local items = self:items()
    node = #items == 1 and items[1] or { "list", table.unpack(items) }
    self:expect("op", "}")
  elseif open == "|" then
    self.bars = self.bars + 1
    node = { "abs", number(self:sum()) }
    self:expect("op", "|")
    self.bars = self.bars - 1
  else
    fail()
  end
  return node
end

function Parser:named(name)
  if name == "frac" then return self:fraction() end
  if name == "sqrt" then
    local degree = whole(2)
    if self:accept("op", "[") then
      degree = number(self:sum())
      self:expect("op", "]")
    end
    return { "^", self:argument(), { "/", whole(1), degree } }
  end
  if name == "binom" then
    local n = self:argument(true)
    return { "binom", n, self:argument(true) }
  end
  if name == "lfloor" or name == "lceil" then
    local node = { name == "lfloor" and "floor" or "ceil", number(self:sum()) }
    self:expect("cmd", name == "lfloor" and "rfloor" or "rceil")
    return node
  end
  if name == "pi" or name == "infty" then return { "const", name } end
  if name == "emptyset" then return { "set" } end
  if name == "reals" then
    local infinity = { "const", "infty" }
    return { "interval", { "neg", infinity }, infinity, open_low = true, open_high = true }
  end
  fail()
end

function Parser:atom()
  self.depth = self.depth + 1
  if self.depth > DEPTH then fail() end
  local token, node = self:accept() or fail(), nil
  if token.kind == "num" then
    node = self:numeral(token)
  elseif token.kind == "sym" then
    node = self:symbol(token)
  elseif token.kind == "fn" then
    node = self:call(token.value)
  elseif token.kind == "cmd" then
    node = self:named(token.value)
  elseif token.kind == "op" then
    node = self:enclosed(token.value)
  elseif token.kind == "begin" then
    node = self:matrix()
  elseif token.kind == "word" then
    local parts = { token.value }
    while self:peek("word") do parts[#parts + 1] = self:accept().value end
    node = #parts == 1 and #token.value == 1 and { "sym", token.value } or { "text", table.concat(parts, " ") }
  else
    fail()
  end
  self.depth = self.depth - 1
  return node
end

-- The tree of a text, or nil when it can not be read.
local function parse(s)
  s = dress_down(s)
  if s == "" or #s > LIMIT then return nil end
  local ok, tree = pcall(function()
    local parser = setmetatable({ tokens = tokens_of(s), at = 1, depth = 0, bars = 0 }, Parser)
    local items = parser:items()
    if parser:peek() then fail() end
    return #items == 1 and items[1] or { "list", table.unpack(items) }
  end)
  if ok then return tree end
  if tree ~= "not understood" then error(tree, 0) end
  return nil
end

-- ---- Values --------------------------------------------------------------------------------------------------------

local EXACT_MAX = 1000000000 -- so that products stay within 64 bits

local function gcd(a, b)
  while b ~= 0 do a, b = b, a % b end
  return math.abs(a)
end

local function ratio(n, d)
  if d == 0 then return nil end
  local common = gcd(n, d) * (d < 0 and -1 or 1)
  n, d = n // common, d // common
  if math.abs(n) > EXACT_MAX or d > EXACT_MAX then return nil end
  return n, d
end

-- A constant as a fraction of small integers, or nil: exponents, factorials.
local function exact(node)
  local kind = node[1]
  if kind == "num" then
    if #node[2] > 9 then return nil end
    return ratio(math.tointeger(tonumber(node[2])) or 0, math.tointeger(10 ^ node.scale))
  end
  if kind == "neg" then
    local n, d = exact(node[2])
    return n and -n, d
  end
  if kind ~= "+" and kind ~= "-" and kind ~= "*" and kind ~= "/" then return nil end
  local a, b = exact(node[2])
  local c, d = exact(node[3])
  if not a or not c then return nil end
  if kind == "+" then return ratio(a * d + c * b, b * d) end
  if kind == "-" then return ratio(a * d - c * b, b * d) end
  if kind == "*" then return ratio(a * c, b * d) end
  return ratio(a * d, b * c)
end

local function integer(node)
  local n, d = exact(node)
  return d == 1 and n or nil
end

-- A fixed pseudo-random integer for a variable's name and a point.
local function draw(name, point)
  local h = 12345 + point * 7919
  for i = 1, #name do h = (h * 31 + name:byte(i)) % 2147483647 end
  for _ = 1, 3 do h = h * 48271 % 2147483647 end
  return h
end

local PRIMES = { 2147483647, 2147483629 }

local function power_modulo(a, n, p)
  local out = 1
  a = a % p
  while n > 0 do
    if n & 1 == 1 then out = out * a % p end
    a = a * a % p
    n = n >> 1
  end
  return out
end

local function inverse_modulo(a, p) return a % p ~= 0 and power_modulo(a, p - 2, p) or nil end

local modulo

local MODULO = {
  num = function(node, p)
    local n = 0
    for digit in node[2]:gmatch(".") do n = (n * 10 + tonumber(digit)) % p end
    return n * inverse_modulo(power_modulo(10, node.scale, p), p) % p
  end,
  base = function(node, p)
    local n = 0
    for digit in node[2]:gmatch(".") do
      if tonumber(digit) >= node[3] then return nil end
      n = (n * node[3] + tonumber(digit)) % p
    end
    return n
  end,
  -- pi and e are no roots of a polynomial, so what holds for a variable holds for them
  const = function(node, p, point) return (node[2] == "pi" or node[2] == "e") and draw("const " .. node[2], point) % p or nil end,
  sym = function(node, p, point) return draw(node[2], point) % p end,
  neg = function(_, p, _, a) return -a % p end,
  percent = function(_, p, _, a) return a * inverse_modulo(100, p) % p end,
  ["+"] = function(_, p, _, a, b) return (a + b) % p end,
  ["-"] = function(_, p, _, a, b) return (a - b) % p end,
  ["*"] = function(_, p, _, a, b) return a * b % p end,
  ["/"] = function(_, p, _, a, b)
    local inverse = inverse_modulo(b, p)
    return inverse and a * inverse % p
  end,
  ["^"] = function(node, p, point)
    local n, a = integer(node[3]), modulo(node[2], p, point)
    if not n or not a then return nil end
    if n < 0 then a = inverse_modulo(a, p) end
    return a and (n ~= 0 or a ~= 0) and power_modulo(a, math.abs(n), p) or nil
  end,
  fact = function(node, p)
    local n, out = integer(node[2]), 1
    if not n or n < 0 or n > 2000 then return nil end
    for i = 2, n do out = out * i % p end
    return out
  end,
  binom = function(node, p)
    local n, k, out = integer(node[2]), integer(node[3]), 1
    if not n or not k or k < 0 or n < k or n > 2000 then return nil end
    for i = 1, k do out = out * (n - k + i) % p * inverse_modulo(i, p) % p end
    return out
  end,
}

-- The value modulo a prime, or nil where it has none or would need more than + - * / and whole powers.
function modulo(node, p, point)
  local rule = MODULO[node[1]]
  if not rule then return nil end
  if node[1] == "^" or type(node[2]) ~= "table" then return rule(node, p, point) end
  local a = modulo(node[2], p, point)
  local b = node[3] and modulo(node[3], p, point)
  if not a or (node[3] and not b) then return nil end
  return rule(node, p, point, a, b)
end

-- Complex floating point: pairs of real and imaginary part; nan where there is no value.
local NAN = 0 / 0

local function multiply(a, b, c, d) return a * c - b * d, a * d + b * c end

local function divide(a, b, c, d)
  local size = c * c + d * d
  if size == 0 then return NAN, 0 end
  return (a * c + b * d) / size, (b * c - a * d) / size
end

local function exponential(a, b)
  local size = math.exp(a)
  return size * math.cos(b), b == 0 and 0 or size * math.sin(b)
end

local function logarithm(a, b)
  if a == 0 and b == 0 then return NAN, 0 end
  return math.log(math.sqrt(a * a + b * b)), math.atan(b, a)
end

local function raise(a, b, c, d, node)
  if a == 0 and b == 0 then return (d == 0 and c > 0) and 0 or NAN, 0 end
  local n, under = exact(node)
  if b == 0 and n and (a > 0 or under % 2 == 1) then -- an odd root of a negative number is the real one
    local sign = a < 0 and n % 2 == 1 and -1 or 1
    return sign * math.abs(a) ^ (n / under), 0
  end
  local x, y = logarithm(a, b)
  return exponential(multiply(x, y, c, d))
end

local function of_real(f)
  return function(a, b)
    if b ~= 0 then return NAN, 0 end
    return f(a), 0
  end
end

local function sine(a, b)
  local up, down = math.exp(b), math.exp(-b)
  return math.sin(a) * (up + down) / 2, math.cos(a) * (up - down) / 2
end

local function cosine(a, b) return sine(a + math.pi / 2, b) end

local function over(f, g) -- f / g, both of (a, b)
  return function(a, b)
    local c, d = f(a, b)
    return divide(c, d, g(a, b))
  end
end

local function one() return 1, 0 end

local CALLS = {
  sin = sine, cos = cosine, tan = over(sine, cosine), sec = over(one, cosine), csc = over(one, sine), cot = over(cosine, sine),
  asin = of_real(math.asin), acos = of_real(math.acos), atan = of_real(math.atan), ln = logarithm, log = logarithm,
  lg = logarithm, sinh = of_real(function(x) return (math.exp(x) - math.exp(-x)) / 2 end),
  cosh = of_real(function(x) return (math.exp(x) + math.exp(-x)) / 2 end),
  tanh = of_real(function(x) return 1 - 2 / (math.exp(2 * x) + 1) end),
}

local function factorial(n)
  if not n or n < 0 or n > 170 then return NAN end
  local out = 1.0
  for i = 2, n do out = out * i end
  return out
end

local value

local VALUES = {
  num = function(node) return (tonumber(node[2]) or NAN) * 10.0 ^ -node.scale, 0 end,
  base = function(node) return tonumber(node[2], node[3] >= 2 and node[3] <= 36 and node[3] or 2) or NAN, 0 end,
  const = function(node)
    if node[2] == "i" then return 0, 1 end
    return node[2] == "pi" and math.pi or node[2] == "e" and math.exp(1) or math.huge, 0
  end,
  sym = function(node, point)
    local h = draw(node[2], point)
    local x = 0.3 + 2 * (h / 2147483647)
    return point > POINTS // 2 and h % 2 == 1 and -x or x, 0
  end,
  neg = function(_, _, a, b) return -a, -b end,
  percent = function(_, _, a, b) return a / 100, b / 100 end,
  degree = function(_, _, a, b) return a * math.pi / 180, b * math.pi / 180 end,
  abs = function(_, _, a, b) return math.sqrt(a * a + b * b), 0 end,
  floor = function(_, _, a) return a // 1, 0 end,
  ceil = function(_, _, a) return -(-a // 1), 0 end,
  fact = function(node) return factorial(integer(node[2])), 0 end,
  ["+"] = function(_, _, a, b, c, d) return a + c, b + d end,
  ["-"] = function(_, _, a, b, c, d) return a - c, b - d end,
  ["*"] = function(_, _, a, b, c, d) return multiply(a, b, c, d) end,
  ["/"] = function(_, _, a, b, c, d) return divide(a, b, c, d) end,
  ["^"] = function(node, _, a, b, c, d) return raise(a, b, c, d, node[3]) end,
  binom = function(node)
    local n, k = integer(node[2]), integer(node[3])
    if not n or not k or k > n then return NAN, 0 end
    return factorial(n) / (factorial(k) * factorial(n - k)), 0
  end,
  fn = function(node, point)
    local a, b = CALLS[node[2]](value(node[3], point))
    if node[2] ~= "log" and node[2] ~= "lg" then return a, b end
    if not node[4] then return a / math.log(10), b / math.log(10) end
    return divide(a, b, logarithm(value(node[4], point)))
  end,
}

function value(node, point)
  local rule = VALUES[node[1]] or fail()
  if type(node[2]) ~= "table" then return rule(node, point) end
  local a, b = value(node[2], point)
  if not node[3] then return rule(node, point, a, b) end
  local c, d = value(node[3], point)
  return rule(node, point, a, b, c, d)
end

-- ---- Equality ------------------------------------------------------------------------------------------------------

local function near(a, b, c, d, slack)
  local size = math.max(1, math.abs(a), math.abs(b), math.abs(c), math.abs(d))
  local off = math.max(math.abs(a - c), math.abs(b - d))
  return off <= 1e-9 * size or off <= slack
end

local function finite(x) return x == x and x ~= math.huge and x ~= -math.huge end

local function decimal(node)
  if node.decimal then return true end
  for i = 2, #node do
    if type(node[i]) == "table" and decimal(node[i]) then return true end
  end
  return false
end

-- Whether two expressions are equal in exact arithmetic; nil when that does not reach.
local function same_exactly(a, b)
  for _, p in ipairs(PRIMES) do
    for point = 1, 3 do
      local x, y = modulo(a, p, point), modulo(b, p, point)
      if not x or not y then return nil end
      if x ~= y then return false end
    end
  end
  return true
end

local function same_value(a, b, places)
  local loose = decimal(a) or decimal(b)
  local same = same_exactly(a, b)
  if same or (same == false and not loose) then return same end
  local slack, met = loose and 0.5000005 * 10.0 ^ -places or 0, 0
  for point = 1, POINTS do
    local x, u = value(a, point)
    local y, v = value(b, point)
    if x == y and u == 0 and v == 0 and not finite(x) then
      return has(a, "const", "infty") and has(b, "const", "infty") -- else a number too large to tell
    end
    if finite(x) and finite(u) and finite(y) and finite(v) then
      if not near(x, u, y, v, slack) then return false end
      met = met + 1
    elseif finite(x) and finite(u) or finite(y) and finite(v) then
      return false
    end
  end
  return met >= 2
end

-- 50% is 50 and 0.5; 30 degrees is 30.
local function meanings(node)
  if node[1] == "percent" then return { node[2], node } end
  if node[1] == "degree" then return { node[2] } end
  if node[1] ~= "neg" then return { node } end
  local out = {}
  for i, inner in ipairs(meanings(node[2])) do out[i] = { "neg", inner } end
  return out
end

local equal

-- Whether one difference of sides is a multiple of the other, a positive one for inequalities.
local function multiples(a, b, positive)
  local ratio_x, ratio_y, met = nil, nil, 0
  for point = 1, POINTS do
    local x, u = value(a, point)
    local y, v = value(b, point)
    if finite(x) and finite(u) and finite(y) and finite(v) then
      local p, q = divide(x, u, y, v)
      if not finite(p) or math.abs(p) + math.abs(q) < 1e-12 then return false end
      if ratio_x and not near(p / ratio_x, (q - ratio_y) / ratio_x, 1, 0, 0) then return false end
      if positive and not (p > 0 and math.abs(q) < 1e-9) then return false end
      ratio_x, ratio_y, met = ratio_x or p, ratio_y or q, met + 1
    end
  end
  return met >= 3
end

local function is_number(node) return not NO_NUMBER[node[1]] end

-- An equation's right side, when its left side only names it or is the way to it; the same the other way round.
local function named(eq)
  local left, right = eq[2], eq[3]
  if left[1] == "text" or left[1] == "sym" or left[1] == "const" or left[1] == "tuple" then return right end
  if left[1] == "*" and (left[2][1] == "sym" or (left[2][1] == "^" and left[2][2][1] == "sym")) then return right end -- f(2)
  if is_number(left) and not has(left, "sym") then return right[1] == "sym" and left or right end
end

local function equations(a, b, places)
  if a[1] == "eq" and b[1] == "eq" then
    if equal(a[2], b[2], places) then return equal(a[3], b[3], places) end
    if not (is_number(a[2]) and is_number(a[3]) and is_number(b[2]) and is_number(b[3])) then return false end
    return multiples({ "-", a[2], a[3] }, { "-", b[2], b[3] })
  end
  if b[1] == "eq" then a, b = b, a end
  local side = named(a)
  return side ~= nil and b[1] ~= "chain" and equal(side, b, places)
end

local function only_variable(node, seen)
  seen = seen or {}
  if node[1] == "sym" then seen[node[2]] = true end
  for i = 2, #node do
    if type(node[i]) == "table" then only_variable(node[i], seen) end
  end
  local name = next(seen)
  return name and next(seen, name) == nil and name or nil
end

-- The tree with a number in place of its variable.
local function put(node, n)
  if node[1] == "sym" then return n end
  local out = { scale = node.scale, decimal = node.decimal }
  for i, branch in ipairs(node) do out[i] = type(branch) == "table" and put(branch, n) or branch end
  return out
end

-- Where a linear inequality with one variable holds: its bound as a tree, whether above it, whether without it.
local function bound(left, op, right)
  local difference = { "-", left, right }
  if not is_number(left) or not is_number(right) or not only_variable(difference) then return nil end
  local at_0, at_1 = put(difference, whole(0)), put(difference, whole(1))
  local slope = { "-", at_1, at_0 }
  local line = { "+", at_0, { "*", slope, { "sym", "x" } } }
  local steep = value(slope, 1)
  if not finite(steep) or math.abs(steep) < 1e-12 or not same_value(put(difference, { "sym", "x" }), line, 9) then return nil end
  return { "neg", { "/", at_0, slope } }, (op:sub(1, 1) == ">") == (steep > 0), #op == 1
end

-- The interval that a chain of inequalities means.
local function interval_of(chain)
  if chain[1] ~= "chain" then return chain end
  local out = { "interval", { "neg", { "const", "infty" } }, { "const", "infty" }, open_low = true, open_high = true }
  for i, op in ipairs(chain.ops) do
    if op == "!=" or op:sub(1, 1) ~= chain.ops[1]:sub(1, 1) then return chain end
    if not (has(chain[i + 1], "const", "infty") or has(chain[i + 2], "const", "infty")) then
      local at, above, open = bound(chain[i + 1], op, chain[i + 2])
      if not at then return chain end
      if above then out[2], out.open_low = at, open else out[3], out.open_high = at, open end
    end
  end
  return out
end

local function chains(a, b, places)
  local same_variable = a[1] ~= b[1] or only_variable(a) == only_variable(b)
  local x, y = interval_of(a), interval_of(b)
  if x[1] ~= "chain" and y[1] ~= "chain" then return same_variable and equal(x, y, places) end
  if x[1] ~= y[1] or #a ~= 3 or #b ~= 3 or not (is_number(a[2]) and is_number(a[3]) and is_number(b[2]) and is_number(b[3])) then
    return false
  end
  local function upward(chain) -- small side first
    local op = chain.ops[1]
    if op:sub(1, 1) == ">" then return { "-", chain[3], chain[2] }, "<" .. op:sub(2) end
    return { "-", chain[2], chain[3] }, op
  end
  local f, op_f = upward(a)
  local g, op_g = upward(b)
  return op_f == op_g and multiples(f, g, op_f ~= "!=")
end

local function in_order(a, b, places)
  if #a ~= #b then return false end
  for i = 2, #a do
    if not equal(a[i], b[i], places) then return false end
  end
  return true
end

local function in_any_order(a, b, places)
  if #a ~= #b then return false end
  local used = {}
  for i = 2, #a do
    local found
    for j = 2, #b do
      if not used[j] and equal(a[i], b[j], places) then
        found = j
        break
      end
    end
    if not found then return false end
    used[found] = true
  end
  return true
end

local UNORDERED = words("set list union")

local function collections(a, b, places)
  if a[1] == "interval" and b[1] == "tuple" then a, b = b, a end
  if b[1] == "interval" then
    if a[1] == "tuple" and #a == 3 then a = { "interval", a[2], a[3], open_low = true, open_high = true } end
    return a[1] == "interval" and a.open_low == b.open_low and a.open_high == b.open_high and in_order(a, b, places)
  end
  if UNORDERED[a[1]] and UNORDERED[b[1]] then return in_any_order(a, b, places) end
  local ordered = a[1] == b[1] or (a[1] == "tuple" and b[1] == "list") or (a[1] == "list" and b[1] == "tuple")
  return ordered and in_order(a, b, places)
end

-- Whether two trees are the same mathematics.
function equal(a, b, places)
  if (a[1] == "set" or a[1] == "list") and #a == 2 then a = a[2] end
  if (b[1] == "set" or b[1] == "list") and #b == 2 then b = b[2] end
  if a[1] == "eq" or b[1] == "eq" then return equations(a, b, places) end
  if a[1] == "chain" or b[1] == "chain" then return chains(a, b, places) end
  if a[1] == "text" or b[1] == "text" then return a[1] == b[1] and a[2] == b[2] end
  if not is_number(a) or not is_number(b) then
    return not is_number(a) and not is_number(b) and collections(a, b, places)
  end
  for _, x in ipairs(meanings(a)) do
    for _, y in ipairs(meanings(b)) do
      if same_value(x, y, places) then return true end
    end
  end
  return false
end

-- ---- What is judged ------------------------------------------------------------------------------------------------

-- The content of the last \boxed{}; up to the line's end when its brace does not close.
local function boxed(s)
  local at
  for past in s:gmatch("\\f?boxe?d?x?%f[^%a]()") do at = past end
  local found = s:find("\\boxed", 1, true) or s:find("\\fbox", 1, true)
  if not found or not at then return nil end
  local open = s:match("^%s*()%{", at)
  if not open then return s:match("^%s*([^%s$.]+)", at) end
  return group(s, open) or s:match("^[^\n]*", open + 1)
end

local WORD = "(?<![\\\\{A-Za-z])[A-Za-z]{2,}"

-- Whether a text is more prose than mathematics.
local function is_prose(s)
  return #s > LIMIT or #text.find_all(s, WORD) > 4 or s:find("\n", 1, true) ~= nil
end

-- The mathematics at the end of a text: its last $...$ or \(...\), else its last number if it has words.
local function last_of(s)
  local found = text.find_all(s, "(?s)(?<!\\\\)\\$\\$?([^$]+)\\$|\\\\\\((.+?)\\\\\\)|\\\\\\[(.+?)\\\\\\]")
  local last = found[#found]
  if last then
    for _, part in ipairs(last) do
      if part ~= json.null and part ~= "" then return part end
    end
  end
  if not text.match(s, WORD) then return nil end
  found = text.find_all(s, "[-\u{2212}]?(?:\\d{1,3}(?:,\\d{3})+(?!\\d)|\\d+)(?:\\.\\d+)?(?:\\s?/\\s?\\d+)?\\s?%?")
  return found[#found]
end

-- The tree of a text's mathematics and the text it was read from.
local function read(s)
  local box = boxed(s)
  if box then return parse(box), box end
  if not is_prose(s) then
    local tree = parse(s)
    if tree then return tree, s end
  end
  local said = text.match(s, "(?is).*\\banswer(?:\\s+is|\\s*[:=])[\\s:*]*(?=\\S)(.+)")
  for _, part in ipairs { said or "", said and said:match("^[^\n]*") or "", said and text.match(said, "\\A.*?(?=\\.\\s)") or "" } do
    local tree = not is_prose(part) and parse(part)
    if tree then return tree, part end
  end
  local part = said and last_of(said) or last_of(s)
  if part then return parse(part), part end
  return nil, said or s
end

local function bare(s)
  s = text.replace(dress_down(s), "\\\\(?:text|textbf|mathrm|mbox|operatorname)(?![A-Za-z])", "")
  return text.lower((text.replace(s, "[\\s{}]", "")))
end

return {
  name = "math",
  version = 1,
  description = "The answer is the same mathematics as a target, numbers and simple LaTeX.",
  params = { places = 6 },
  needs = { "target" },
  grade = function(sample, reply, params)
    local tree, found = read(reply.answer)
    local answer = text.trim(found)
    for _, target in ipairs(sample.target) do
      local wanted, wanted_text = read(target)
      local same = bare(found) == bare(wanted_text) and bare(found) ~= "" or bare(reply.answer) == bare(target)
      if same or (tree and wanted and equal(wanted, tree, params.places)) then return { value = true, answer = answer } end
    end
    local why = "expected " .. table.concat(sample.target, " or ") .. (tree and "" or "; the answer can not be read as mathematics")
    return { value = false, answer = answer, why = why }
  end,
  examples = {
    { target = "\\frac{1}{2}", reply = "So it is $\\boxed{\\dfrac12}$.", value = 1, answer = "\\dfrac12" },
    { target = "\\frac{1}{2}", reply = "\\boxed{0.5}", value = 1 },
    { target = "\\frac13", reply = "0.333333", value = 1 },
    { target = "\\frac13", reply = "0.333", value = 0 },
    { target = "\\frac13", reply = "0.333", params = { places = 3 }, value = 1 },
    { target = "1234", reply = "The answer is 1,234 apples.", value = 1 },
    { target = "\\frac{\\sqrt{2}}{2}", reply = "$1/\\sqrt{2}$", value = 1 },
    { target = "(x+1)^2", reply = "x^2 + 2x + 1", value = 1 },
    { target = "(x+1)^2", reply = "x^2 + 2x + 2", value = 0 },
    { target = "\\{1, 2\\}", reply = "x = 2 or x = 1", value = 1 },
    { target = "(1, 2)", reply = "(2, 1)", value = 0 },
    { target = "[0, \\infty)", reply = "$x \\ge 0$", value = 1 },
    { target = "x = 5", reply = "5", value = 1 },
    { target = "y = 2x + 3", reply = "2x - y + 3 = 0", value = 1 },
    { target = "50\\%", reply = "1/2", value = 1 },
    { target = "30^\\circ", reply = "30 degrees", value = 1 },
    { target = "1\\frac{1}{2}", reply = "1.5", value = 1 },
    { target = "2^{100}", reply = "1267650600228229401496703205376", value = 1 },
    { target = "2^{100}", reply = "1267650600228229401496703205377", value = 0 },
    { target = "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", reply = "\\begin{bmatrix}1\\\\2\\end{bmatrix}", value = 1 },
    { target = "\\text{Monday}", reply = "\\boxed{\\text{monday}}", value = 1 },
    { target = "2", reply = "I do not know.", value = 0 },
    { target = "2 \\oplus 3", reply = "$2\\oplus3$", value = 1 }, -- as text
    { target = "\\tan \\frac{\\pi}{4}", reply = "1", value = 1 },
  },
}
