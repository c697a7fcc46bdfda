-- SPDX-License-Identifier: MIT
return {
  name = "not_lua"
  version = 1,
}
