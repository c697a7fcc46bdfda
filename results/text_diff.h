// SPDX-License-Identifier: MIT
// Two texts as a unified diff of their lines. Pure.
#pragma once

#include "base/base.h"

/**
 * Append hunks with three lines of context ("@@ -1,3 +1,4 @@", then lines that start with a space,
 * - or +); nothing when the lines are the same. Shortest by lines, except where more than 4 million
 * pairs of lines would have to be looked at: then the whole middle is replaced. */
void text_diff(Buf *buf, Str from, Str to);
