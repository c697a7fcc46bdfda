-- SPDX-License-Identifier: MIT
-- Both of Python's formatting languages, "%..." % args and "{...}".format(args), for jinja_runtime.lua. Called with
-- (J, C, value, text); fills C.

local J, C, value, text = ...
local own = select(2, pcall(error, "", 2))
C.own_files[own:match("^(.-):%d+: ") or own] = true
local raise, type_name, check_operand, str, repr = C.raise, C.type_name, C.check_operand, C.str, C.repr
local is_map, number_of, need_int, size, reversed = C.is_map, C.number_of, C.need_int, C.size, C.reversed
local find, sub, rep, gsub, format = string.find, string.sub, string.rep, string.gsub, string.format
local concat, math_type, chars_of, upper = table.concat, math.type, text.chars, text.upper

-- ---- Numbers as text -----------------------------------------------------------------------------------------

local function need_number(v, code)
  local n = number_of(v)
  if not n then
    check_operand(v)
    raise("%%%s format: a real number is required, not %s", code, type_name(v))
  end
  return n
end

local function whole(v)
  if math_type(v) == "integer" then return v end
  local n = math.tointeger(v < 0 and math.ceil(v) or math.floor(v))
  if not n then raise("number out of range for an integer format") end
  return n
end

local function binary(n)
  local out = {}
  repeat
    out[#out + 1] = n & 1
    n = n >> 1
  until n == 0
  return concat(reversed(out))
end

-- Digits of |v| in a float format code; inf and nan by name.
local function float_digits(v, code, precision, alternate)
  v = math.abs(v)
  if v ~= v or v == math.huge then
    local name = v ~= v and "nan" or "inf"
    return find(code, "%u") and upper(name) or name
  end
  return format("%" .. (alternate and "#" or "") .. "." .. math.min(precision, 99) .. code, v)
end

local function with_commas(digits, separator, group)
  local whole_part, rest = digits:match("^(%x+)(.*)$")
  if not whole_part then return digits end
  local out = {}
  local first = #whole_part % group
  if first > 0 then out[1] = sub(whole_part, 1, first) end
  for i = first + 1, #whole_part, group do out[#out + 1] = sub(whole_part, i, i + group - 1) end
  return concat(out, separator) .. rest
end

local function align(body, sign, width, fill, how)
  local missing = width - size(body) - #sign
  if missing <= 0 then return sign .. body end
  if how == "=" then return sign .. rep(fill, missing) .. body end
  local left = how == ">" and missing or how == "^" and missing // 2 or 0
  return rep(fill, left) .. sign .. body .. rep(fill, missing - left)
end

-- ---- "%..." % args -------------------------------------------------------------------------------------------

local function percent_number(v, code, flags, precision)
  local n = need_number(v, code)
  local body
  local integer = find(code, "[diuxXo]")
  if integer then
    if find(code, "[xXo]") and math_type(n) ~= "integer" then
      raise("%%%s format: an integer is required, not %s", code, type_name(v))
    end
    n = whole(n)
    local digits = find(code, "[diu]") and gsub(tostring(n), "^-", "") or format("%" .. code, math.abs(n))
    body = rep("0", (precision or 0) - #digits) .. digits
    if find(flags, "#", 1, true) and find(code, "[xXo]") then body = "0" .. code .. body end
  else
    body = float_digits(n, code, precision or 6, find(flags, "#", 1, true))
  end
  local negative = n < 0 or (n == 0 and 1 / n < 0 and not integer)
  return body, negative and "-" or find(flags, "+", 1, true) and "+" or find(flags, " ", 1, true) and " " or ""
end

local function percent_item(v, code, flags, width, precision)
  local body, sign = nil, ""
  if code == "s" or code == "r" or code == "a" then
    body = code == "s" and str(v) or repr(v)
    if precision then body = C.slice_text(body, nil, precision) end
  elseif code == "c" then
    body = math_type(v) == "integer" and C.utf8_char(v) or v
    if type(body) ~= "string" or size(body) ~= 1 then raise("%%c requires int or char") end
  elseif find(code, "[diuxXoeEfFgG]") then
    body, sign = percent_number(v, code, flags, precision)
  else
    raise("unsupported format character '%s'", code)
  end
  local how = find(flags, "-", 1, true) and "<" or ">"
  local zero = how == ">" and find(flags, "0", 1, true) and find(code, "[diuxXoeEfFgG]") and not find(body, "^[in]")
  return align(body, sign, width or 0, zero and "0" or " ", zero and "=" or how)
end

function C.percent(pattern, args)
  local is_tuple = type(args) == "table" and C.tag_of(args) == "tuple"
  local list = is_tuple and args or { args }
  local used, at, out = 0, 1, {}
  local function next_arg()
    used = used + 1
    if list[used] == nil then raise("not enough arguments for format string") end
    return list[used]
  end
  local by_name = false
  while true do
    local from = find(pattern, "%", at, true)
    out[#out + 1] = sub(pattern, at, (from or 0) - 1)
    if not from then break end
    at = from + 1
    local name = pattern:match("^%(([^)]*)%)", at)
    if name then at = at + #name + 2 end
    local flags, width, precision, code, stop = pattern:match("^([-+ #0]*)([%d*]*)(%.?[%d*]*)[hlL]?(.)()", at)
    if not code then raise("incomplete format") end
    at = stop
    if code == "%" then
      out[#out + 1] = "%"
    else
      width = width == "*" and need_int(next_arg(), "width") or tonumber(width)
      if width and width < 0 then flags, width = flags .. "-", -width end
      if precision == ".*" then
        precision = need_int(next_arg(), "precision")
      elseif precision ~= "" then
        precision = tonumber(sub(precision, 2)) or 0
      else
        precision = nil
      end
      local v
      if name then
        if not is_map(args) then raise("format requires a mapping") end
        by_name, v = true, args[name]
        if v == nil then raise("format: no key '%s'", name) end
      else
        v = next_arg()
      end
      out[#out + 1] = percent_item(v, code, flags, width, precision)
    end
  end
  if used < #list and not by_name and not (not is_tuple and type(args) == "table") then
    raise("not all arguments converted during string formatting")
  end
  return concat(out)
end

-- ---- "{}".format(args) ---------------------------------------------------------------------------------------

local function format_integer(n, code, spec)
  local digits
  local positive = math.abs(n)
  if code == "c" then return C.utf8_char(n), "" end
  if code == "b" then
    digits = binary(positive)
  elseif code == "o" or code == "x" or code == "X" then
    digits = format("%" .. code, positive)
  else
    digits = gsub(tostring(n), "^-", "")
  end
  if spec.separator ~= "" then digits = with_commas(digits, spec.separator, code == "d" and 3 or 4) end
  if spec.alternate and code ~= "d" then digits = "0" .. code .. digits end
  return digits
end

-- A float without a code: as repr does, or in g with a digit after the point.
local function format_plain(n, precision)
  if not precision then return (gsub(C.repr_float(math.abs(n)), "^-", "")) end
  local s = float_digits(n, "g", precision > 0 and precision or 1)
  return find(s, "[.en]") and s or s .. ".0"
end

local function format_number(v, spec)
  local code, n = spec.code, number_of(v)
  local body
  if find(code, "^[bcdoxXn]$") or (code == "" and math_type(n) == "integer") then
    if math_type(n) ~= "integer" then raise("Unknown format code '%s' for object of type 'float'", code) end
    if spec.precision then raise("Precision not allowed in integer format specifier") end
    body = format_integer(n, (code == "" or code == "n") and "d" or code, spec)
  else
    if code == "" then
      body = format_plain(n, spec.precision)
    elseif code == "%" then
      body = float_digits(n * 100, "f", spec.precision or 6) .. "%"
    elseif find(code, "^[eEfFgG]$") then
      local precision = spec.precision or 6
      body = float_digits(n, code, find(code, "[gG]") and precision == 0 and 1 or precision, spec.alternate)
    else
      raise("Unknown format code '%s' for object of type '%s'", code, type_name(v))
    end
    if spec.separator ~= "" then body = with_commas(body, spec.separator, 3) end
  end
  local sign = (n < 0 or (n == 0 and 1 / n < 0)) and "-" or spec.sign == "-" and "" or spec.sign
  return align(body, sign, spec.width, spec.fill, spec.align or ">")
end

local function parse_spec(text_spec)
  local spec = { fill = " ", sign = "" }
  local chars = chars_of(text_spec)
  local at = 1
  if chars[2] and find(chars[2], "^[<>=^]$") then
    spec.fill, spec.align, at = chars[1], chars[2], 3
  elseif chars[1] and find(chars[1], "^[<>=^]$") then
    spec.align, at = chars[1], 2
  end
  local rest = concat(chars, "", at)
  local sign, alternate, zero, width, separator, precision, code =
    rest:match("^([-+ ]?)(#?)(0?)(%d*)([,_]?)(%.?%d*)([%a%%]?)$")
  if not sign then raise("Invalid format specifier '%s'", text_spec) end
  if zero == "0" and not spec.align then spec.fill, spec.align, spec.zero = "0", "=", true end
  if precision == "." then raise("Format specifier missing precision") end
  spec.sign, spec.alternate, spec.width, spec.separator = sign, alternate ~= "", tonumber(width) or 0, separator
  spec.precision, spec.code = tonumber(sub(precision, 2)), code
  return spec
end

local function format_value(v, text_spec)
  if text_spec == "" then return str(v) end
  local spec = parse_spec(text_spec)
  if type(v) == "number" or (type(v) == "boolean" and spec.code ~= "") then return format_number(v, spec) end
  if type(v) ~= "string" and type(v) ~= "boolean" then
    check_operand(v)
    raise("unsupported format string passed to %s.__format__", type_name(v))
  end
  if spec.code ~= "" and spec.code ~= "s" then
    raise("Unknown format code '%s' for object of type '%s'", spec.code, type_name(v))
  end
  local body = str(v)
  if spec.precision then body = C.slice_text(body, nil, spec.precision) end
  if spec.align == "=" and not spec.zero then raise("'=' alignment not allowed in string format specifier") end
  return align(body, "", spec.width, spec.fill, spec.align == "=" and "<" or spec.align or "<")
end

-- The value of a field's name: number or keyword, then .attributes and [items].
local function format_field(name, args, kw, counter)
  local first, rest = name:match("^([^.%[]*)(.*)$")
  local v
  if first == "" then
    counter.n = counter.n + 1
    v = args[counter.n]
  elseif find(first, "^%d+$") then
    v = args[tonumber(first) + 1]
  else
    v = kw and kw[first]
  end
  if v == nil then
    raise(find(first, "^%d*$") and "Replacement index out of range for positional args" or "format: no argument '%s'", first)
  end
  while rest ~= "" do
    local attribute, after = rest:match("^%.([^.%[]+)(.*)$")
    local key, after_key = rest:match("^%[([^%]]+)%](.*)$")
    if attribute then
      v, rest = C.attr(v, attribute), after
    elseif key then
      v, rest = C.item(v, math.tointeger(tonumber(key)) or key), after_key
    else
      raise("format: malformed field '%s'", name)
    end
  end
  return v
end

local function format_into(out, pattern, args, kw, counter, depth)
  if depth > 2 then raise("Max string recursion exceeded") end
  local at = 1
  while true do
    local from = find(pattern, "[{}]", at)
    out[#out + 1] = sub(pattern, at, (from or 0) - 1)
    if not from then return end
    local c = sub(pattern, from, from)
    if sub(pattern, from + 1, from + 1) == c then
      out[#out + 1] = c
      at = from + 2
    elseif c == "}" then
      raise("Single '}' encountered in format string")
    else
      -- The field ends at its own brace: specs may hold fields.
      local level, stop = 1, from
      while level > 0 do
        stop = find(pattern, "[{}]", stop + 1)
        if not stop then raise("expected '}' before end of string") end
        level = level + (sub(pattern, stop, stop) == "{" and 1 or -1)
      end
      local field = sub(pattern, from + 1, stop - 1)
      local name, conversion, spec = field:match("^([^!:]*)(!?[^:]?):?(.*)$")
      local v = format_field(name, args, kw, counter)
      if conversion == "!r" then v = repr(v) elseif conversion == "!s" then v = str(v) end
      if find(spec, "{", 1, true) then
        local inner = {}
        format_into(inner, spec, args, kw, counter, depth + 1)
        spec = concat(inner)
      end
      out[#out + 1] = format_value(v, spec)
      at = stop + 1
    end
  end
end

function C.format_text(s, kw, ...)
  local out = {}
  format_into(out, s, { ... }, kw, { n = 0 }, 1)
  return concat(out)
end

function C.str_methods.format(s, ...) return C.format_text(s, nil, ...) end

function J.ops.format_kw(pattern, kw)
  local map = {}
  for _, key in ipairs(kw) do map[key] = kw[key] end
  return C.percent(str(pattern), value.map(map, { table.unpack(kw) }))
end
