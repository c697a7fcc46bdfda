-- SPDX-License-Identifier: MIT
return { name = "broken_solver", version = 1, description = "No solve function." }
