-- SPDX-License-Identifier: MIT
local tables = nil
return { name = "fails_to_load", grade = tables.grade }
