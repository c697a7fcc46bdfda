-- SPDX-License-Identifier: MIT
return { upper = function(text) return text end }
