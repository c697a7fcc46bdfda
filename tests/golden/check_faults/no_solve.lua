-- SPDX-License-Identifier: MIT
return { name = "no_solve", version = 1, description = "No solve function." }
