-- SPDX-License-Identifier: MIT
-- What exists in a template: filters, tests, methods with their parameters, functions, tags (jinja.lua).

-- Parameters after the value; "!" means required, "..." any number.
local FILTERS = {
  abs = "", attr = "name!", batch = "linecount! fill_with", capitalize = "", center = "width", count = "",
  d = "default_value boolean", default = "default_value boolean", dictsort = "case_sensitive by reverse", e = "",
  escape = "", filesizeformat = "binary", first = "", float = "default", forceescape = "", format = "...",
  groupby = "attribute! default case_sensitive", indent = "width first blank", int = "default base", items = "",
  join = "d attribute", last = "", length = "", lettered = "sep", list = "", lower = "", map = "...",
  max = "case_sensitive attribute", min = "case_sensitive attribute", reject = "...", rejectattr = "...",
  replace = "old! new! count", reverse = "", round = "precision method", safe = "", select = "...", selectattr = "...",
  slice = "slices! fill_with", sort = "reverse case_sensitive attribute", string = "", sum = "attribute start",
  title = "", tojson = "ensure_ascii indent separators sort_keys", trim = "chars",
  truncate = "length killwords end leeway", unique = "case_sensitive attribute", upper = "", urlencode = "",
  wordcount = "", wordwrap = "width break_long_words wrapstring break_on_hyphens",
}
local REFUSED_FILTERS = { random = true, urlize = true, xmlattr = true, pprint = true, striptags = true }
local STRING_FILTERS = {}
for name in ("capitalize center e escape filesizeformat forceescape format indent join lettered lower replace string "
  .. "title tojson trim upper urlencode wordwrap"):gmatch("%a+") do STRING_FILTERS[name] = true end

local TESTS = {
  boolean = "", callable = "", defined = "", divisibleby = "num!", eq = "other!", equalto = "other!", even = "",
  ["false"] = "", filter = "", float = "", ge = "other!", greaterthan = "other!", gt = "other!", ["in"] = "seq!",
  integer = "", iterable = "", le = "other!", lessthan = "other!", lower = "", lt = "other!", mapping = "",
  ne = "other!", none = "", number = "", odd = "", sameas = "other!", sequence = "", string = "", test = "",
  ["true"] = "", undefined = "", upper = "", escaped = "",
}
-- In select('==', x) and the like.
local TEST_SIGNS = { ["=="] = "eq", ["!="] = "ne", [">"] = "gt", [">="] = "ge", ["<"] = "lt", ["<="] = "le" }

local METHODS = {
  capitalize = "", casefold = "", center = "width! fillchar", count = "value! start end", endswith = "suffix! start end",
  find = "sub! start end", format = "...", index = "value! start end", isalnum = "", isalpha = "", isdecimal = "",
  isdigit = "", islower = "", isnumeric = "", isspace = "", isupper = "", join = "iterable!", ljust = "width! fillchar",
  lower = "", lstrip = "chars", partition = "sep!", removeprefix = "prefix!", removesuffix = "suffix!",
  replace = "old! new! count", rfind = "sub! start end", rindex = "sub! start end", rjust = "width! fillchar",
  rpartition = "sep!", rsplit = "sep maxsplit", rstrip = "chars", split = "sep maxsplit", splitlines = "keepends",
  startswith = "prefix! start end", strip = "chars", swapcase = "", title = "", upper = "", zfill = "width!",
  append = "item!", clear = "", copy = "", extend = "items!", insert = "index! item!", pop = "index default",
  remove = "item!", reverse = "", sort = "key reverse", get = "key! default", items = "", keys = "", popitem = "",
  setdefault = "key! default", update = "...", values = "",
}
-- Methods of objects that templates make themselves.
local OBJECT_METHODS = { cycle = true, changed = true, next = true, reset = true }

local FUNCTIONS = {}
for name in ("range namespace raise_exception strftime_now dict joiner cycler"):gmatch("[%a_]+") do FUNCTIONS[name] = true end

local TAGS = { "if", "elif", "else", "endif", "for", "endfor", "set", "endset", "macro", "endmacro", "call", "endcall",
  "filter", "endfilter", "with", "endwith", "generation", "endgeneration", "break", "continue", "raw", "endraw", "print" }
local REFUSED_TAGS = { extends = true, block = true, include = true, import = true, from = true, autoescape = true,
  trans = true, ["do"] = true, debug = true }
local RESERVED = { ["and"] = true, ["or"] = true, ["not"] = true, ["if"] = true, ["else"] = true, ["elif"] = true,
  ["in"] = true, ["is"] = true }

-- The texts above as lists: names in order, which places are required, whether any number is taken.
for _, specs in ipairs({ FILTERS, TESTS, METHODS }) do
  for name, spec in pairs(specs) do
    local signature = { any = spec == "...", required = {} }
    for parameter, mark in spec:gmatch("([%w_]+)(!?)") do
      signature[#signature + 1] = parameter
      signature.required[#signature] = mark == "!"
    end
    specs[name] = signature
  end
end

return { FILTERS = FILTERS, REFUSED_FILTERS = REFUSED_FILTERS, STRING_FILTERS = STRING_FILTERS, TESTS = TESTS,
  TEST_SIGNS = TEST_SIGNS, METHODS = METHODS, OBJECT_METHODS = OBJECT_METHODS, FUNCTIONS = FUNCTIONS, TAGS = TAGS,
  REFUSED_TAGS = REFUSED_TAGS, RESERVED = RESERVED }
