-- SPDX-License-Identifier: MIT
-- Jinja 3.1 templates to Lua 5.4 source: lexer, Pratt parser, scope analysis, code generator. Nothing is interpreted
-- when a template runs. The generated chunk keeps the template's line numbers: what stands on line L of the file stands
-- on line L of the Lua text, so a run-time error names the template's line by itself (load it with the file as chunk
-- name). trim_blocks and lstrip_blocks are on, one final newline of the source is dropped.
--
--   jinja.compile(source, options) -> lua_source, info          or nil, "line L, column C: what", {line, column, what}
--   options  name, file (for messages); line (of the text's first line in the file, from 1); indent (columns cut off
--            before the text); lenient (undefined prints as nothing; else using it is an error); force_text (the result
--            is text even for one {{ expression }}); filters, tests: tables whose keys are known beside the built-in
--            ones (helpers), e.g. J.filters; unknown ones are errors, in lenient templates only when they run (models bring
--            templates with such names in branches that nobody takes)
--   info     names (sorted: what it reads from its scope), optional (set: those names only asked about with `is defined`
--            or `default`), filters, tests, functions (sorted: used), is_expression
--
-- The chunk gets J (jinja_runtime.lua) as its vararg and returns function(vars) -> value.

local part = ...
local L = part("jinja_lexer.lua")()
local N = part("jinja_names.lua")()
local P = part("jinja_parser.lua")(L, N)
local S = part("jinja_scope.lua")(L)
local X = part("jinja_expr.lua")(L, N, S)
local C = part("jinja_code.lua")(L, X)
local concat, sub, rep, gsub, sorted_keys = table.concat, string.sub, string.rep, string.gsub, L.sorted_keys

local jinja = { filters = N.FILTERS, tests = N.TESTS, methods = N.METHODS, functions = N.FUNCTIONS }

local function make_info(p, uses, root_info, is_expression)
  local info = { names = {}, optional = {}, functions = {}, is_expression = is_expression,
    filters = sorted_keys(p.filters), tests = sorted_keys(p.tests) }
  for _, name in ipairs(sorted_keys(root_info.first)) do
    local use = uses[name] or {}
    if root_info.first[name] == "load" then
      if use.call then info.functions[#info.functions + 1] = name end
      if (use.value or use.asked) and not N.FUNCTIONS[name] then
        info.names[#info.names + 1] = name
        if not use.value then info.optional[name] = true end
      end
    end
  end
  return info
end

-- Compile a normalized source; syntax errors are raised as tables.
local function compile(source, options)
  local first_line = options.line or 1
  local lx = { source = source, pos = 1, line = first_line, line_start = 1, tokens = {}, indent = options.indent or 0 }
  L.lex(lx)
  local body, p = P.parse(lx, options)
  local uses = {}
  local root_info = S.analyze(body, {}, false, uses)
  local root = { vars = {}, names = {}, count = 0 }
  local g = { lx = lx, code = {}, size = 0, line = first_line, ops = {}, constants = {}, ids = 0, variables = 0, depth = 0,
    lenient = options.lenient, fn = { locals = 0 }, root_info = root_info, root = root, scope = root }
  local only = #body == 1 and body[1].k == "output" and #body[1] == 1 and body[1][1]
  local is_expression = only and sub(source, 1, 2) == "{{" and sub(source, -2) == "}}" or false
  if is_expression and not options.force_text then
    C.value_code(g, only)
  else
    C.function_code(g, body, { line = g.line, column = 1 })
  end
  local code = rep("\n", first_line - 1) .. C.header(g) .. concat(g.code, "", 1, g.size) .. "end"
  return code, make_info(p, uses, root_info, is_expression)
end

function jinja.compile(source, options)
  options = options or {}
  source = gsub(gsub(source, "\r\n", "\n"), "\r", "\n")
  source = gsub(source, "\n$", "")
  local ok, code, info = pcall(compile, source, options)
  if ok then return code, info end
  if type(code) ~= "table" then error(code, 0) end
  return nil, "line " .. code.line .. ", column " .. code.column .. ": " .. code.what, code
end

return jinja
