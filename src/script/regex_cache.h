// SPDX-License-Identifier: MIT
// Compiled regular expressions by pattern, kept outside of all Lua states, and what answer rules do
// with text. A few hundred patterns at most; the oldest go.
#pragma once

#include "text/text.h"

typedef struct RegexCache RegexCache;

RegexCache *regex_cache_create(void);
void regex_cache_destroy(RegexCache *cache);
/** Borrowed until the cache's next miss. fails as regex_create. */
bool regex_cache_get(RegexCache *cache, Str pattern, Regex **out, Err *err);

/** s without those characters (code points) at both ends. */
Str text_trim_of(Str s, Str characters);
