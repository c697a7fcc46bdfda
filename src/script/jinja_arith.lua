-- SPDX-License-Identifier: MIT
-- Python's arithmetic for compiled templates (jinja_runtime.lua), on 64-bit integers: a result beyond them is an error.
-- Called with (J, C, value); fills C and J.ops.

local J, C, value = ...
local own = select(2, pcall(error, "", 2))
C.own_files[own:match("^(.-):%d+: ") or own] = true
local raise, type_name, check_operand, number_of, tag_of = C.raise, C.type_name, C.check_operand, C.number_of, C.tag_of
local is_list, tuple, str, mark_list, kind = C.is_list, C.tuple, C.str, value.list, value.kind
local type, math_type, floor, fmod = type, math.type, math.floor, math.fmod
local ops = J.ops

local MAX_TEXT = 1 << 28 -- bytes, and items, that repetition may make
local MAX_ITEMS = 1 << 24

local function fail_operands(sign, a, b)
  check_operand(a)
  check_operand(b)
  if sign == "+" and type(a) == "string" then raise('can only concatenate str (not "%s") to str', type_name(b)) end
  if sign == "+" and type_name(a) == "list" then raise('can only concatenate list (not "%s") to list', type_name(b)) end
  raise("unsupported operand type(s) for %s: '%s' and '%s'", sign, type_name(a), type_name(b))
end

local function fail_range()
  raise("integer result is out of range (64 bits)")
end

local function joined_items(a, b)
  local out, n = {}, #a
  for i = 1, n do out[i] = a[i] end
  for i = 1, #b do out[n + i] = b[i] end
  return out
end

local add

local function add_slow(a, b)
  local na, nb = number_of(a), number_of(b)
  if na and nb then return add(na, nb) end
  if type(a) == "table" and type(b) == "table" then
    local ta, tb = tag_of(a), tag_of(b)
    if not ta and not tb and kind(a) == "list" and kind(b) == "list" then return mark_list(joined_items(a, b)) end
    if (ta == "tuple" or ta == "group") and (tb == "tuple" or tb == "group") then return tuple(joined_items(a, b)) end
  end
  fail_operands("+", a, b)
end

function add(a, b)
  local ta, tb = math_type(a), math_type(b)
  if ta and tb then
    local c = a + b
    if ta == "integer" and tb == "integer" and (a ~ c) & (b ~ c) < 0 then fail_range() end
    return c
  end
  if type(a) == "string" and type(b) == "string" then return a .. b end
  return add_slow(a, b)
end

local function subtract(a, b)
  local na, nb = number_of(a), number_of(b)
  if not (na and nb) then fail_operands("-", a, b) end
  local c = na - nb
  if math_type(na) == "integer" and math_type(nb) == "integer" and (na ~ nb) & (na ~ c) < 0 then fail_range() end
  return c
end

local function times(a, b)
  local c = a * b
  if math_type(c) == "integer" and a ~= 0 and (c // a ~= b or (a == -1 and b == math.mininteger)) then fail_range() end
  return c
end

local function repeated(v, n)
  if math_type(n) ~= "integer" then return nil end
  if type(v) == "string" then
    if n > 0 and #v > MAX_TEXT // n then raise("a repeated text is too long") end
    return v:rep(n)
  end
  local tag = type(v) == "table" and tag_of(v)
  if not (is_list(v) or tag == "tuple") then return nil end
  if n > 0 and #v > MAX_ITEMS // n then raise("a repeated list is too long") end
  local out, at = {}, 0
  for _ = 1, #v > 0 and n or 0 do
    for i = 1, #v do
      at = at + 1
      out[at] = v[i]
    end
  end
  return tag and tuple(out) or mark_list(out)
end

local function multiply(a, b)
  local na, nb = number_of(a), number_of(b)
  if na and nb then return times(na, nb) end
  local out
  if nb then out = repeated(a, nb) elseif na then out = repeated(b, na) end
  if out == nil then fail_operands("*", a, b) end
  return out
end

local function numbers(sign, a, b)
  local na, nb = number_of(a), number_of(b)
  if not (na and nb) then fail_operands(sign, a, b) end
  return na, nb
end

local function divide(a, b)
  a, b = numbers("/", a, b)
  if b == 0 then raise(math_type(a) == "integer" and math_type(b) == "integer" and "division by zero" or "float division by zero") end
  return a / b
end

local function float_mod(a, b)
  local m = fmod(a, b)
  if m == 0 then return b < 0 and -0.0 or 0.0 end
  return (m < 0) ~= (b < 0) and m + b or m
end

local function floor_divide(a, b)
  a, b = numbers("//", a, b)
  if math_type(a) == "integer" and math_type(b) == "integer" then
    if b == 0 then raise("integer division or modulo by zero") end
    if b == -1 then return times(a, -1) end
    return a // b
  end
  if b == 0 then raise("float floor division by zero") end
  local quotient = (a - float_mod(a + 0.0, b + 0.0)) / b
  if quotient == 0 then return 1 / (a / b) < 0 and -0.0 or 0.0 end
  local whole = floor(quotient) + 0.0
  return quotient - whole > 0.5 and whole + 1.0 or whole
end

local function modulo(a, b)
  if type(a) == "string" then return C.percent(a, b) end
  a, b = numbers("%", a, b)
  if math_type(a) == "integer" and math_type(b) == "integer" then
    if b == 0 then raise("integer modulo by zero") end
    return a % b
  end
  if b == 0 then raise("float modulo") end
  return float_mod(a + 0.0, b + 0.0)
end

local function power(a, b)
  a, b = numbers("** or pow()", a, b)
  if math_type(a) == "integer" and math_type(b) == "integer" and b >= 0 then
    local out = 1
    while b > 0 do
      if b & 1 == 1 then out = times(out, a) end
      b = b >> 1
      if b > 0 then a = times(a, a) end
    end
    return out
  end
  if a == 0 and b < 0 then raise("0.0 cannot be raised to a negative power") end
  if a < 0 and b ~= floor(b) then raise("a negative number has no real power of %s", str(b)) end
  return (a + 0.0) ^ b
end

local function signed(sign, v)
  local n = number_of(v)
  if not n then
    check_operand(v)
    raise("bad operand type for unary %s: '%s'", sign, type_name(v))
  end
  return n
end

function ops.add_all(operands)
  local sum = operands[1]
  for i = 2, #operands do sum = add(sum, operands[i]) end
  return sum
end

function ops.neg(v)
  local n = signed("-", v)
  if n == math.mininteger then fail_range() end
  return -n
end

function ops.pos(v)
  return signed("+", v)
end

ops.add, ops.sub, ops.mul, ops.div, ops.floordiv, ops.mod, ops.pow =
  add, subtract, multiply, divide, floor_divide, modulo, power
C.add, C.joined_items = add, joined_items
