-- SPDX-License-Identifier: MIT
-- What the Lua of this project may use: the sandbox's libraries (DESIGN.md 4.2), nothing else.
std = {
  read_globals = {
    "assert", "coroutine", "error", "getmetatable", "ipairs", "keys", "math", "next", "pairs", "pcall", "print",
    "rawequal", "rawget", "rawlen", "rawset", "select", "setmetatable", "string", "table", "tonumber", "tostring",
    "type", "utf8", "xpcall", "text", "json",
  },
}
max_line_length = 150
exclude_files = { "tests/golden" } -- faulty on purpose
files["solvers"] = { read_globals = { "one_of", "optional", "required", "template" } }
files["src/cli/scaffolds"] = { read_globals = { "one_of", "optional", "required", "template", "unscored" } }
files["graders"] = { read_globals = { "one_of", "optional", "required", "template", "unscored" } }
-- The Jinja compiler and its tests also run in stock Lua.
files["tests/lua"] = { std = "lua54" }
