// SPDX-License-Identifier: MIT
// The pattern matcher as the string library uses it.
#pragma once

#include "script/script_internal.h"

#define CAPTURES_MAX 32

typedef struct Capture {
    const char *from;
    ptrdiff_t len;
} Capture;

typedef struct Matcher {
    lua_State *L;
    const char *text;
    const char *text_end;
    const char *pattern_end;
    unsigned steps;
    int depth;
    int n_captures;
    Capture captures[CAPTURES_MAX];
} Matcher;

void pattern_init(Matcher *m, lua_State *L, Str text, Str pattern);
/** Match pattern p at s: the end of the match or NULL; captures are those of this match. */
const char *pattern_match_at(Matcher *m, const char *s, const char *p);
/** Count one comparison; may not return. */
void pattern_step(Matcher *m);
/** Push capture i; the whole match [from, end) for 0 where there are none. */
void pattern_push_capture(Matcher *m, int i, const char *from, const char *end);
/** Push all captures, or the whole match when there are none and from is not NULL; their number. */
int pattern_push_captures(Matcher *m, const char *from, const char *end);
