// SPDX-License-Identifier: MIT
// Lua patterns (reference manual 6.4.1) with a step budget: every comparison of one byte is
// charged, so a pattern that backtracks for ever ends with the script's budget. ASCII classes,
// whatever the locale.
#include "script/pattern.h"

#include <string.h>

#define DEPTH_MAX   200 // nested matching, on the C stack
#define STEPS_BATCH 1024
#define OPEN        (-1) // length of a capture that has not ended
#define POSITION    (-2) // of a position capture

static const char *match(Matcher *m, const char *s, const char *p);

void pattern_step(Matcher *m)
{
    if (++m->steps == STEPS_BATCH) {
        m->steps = 0;
        vm_charge(m->L, STEPS_BATCH / 2);
    }
}

// ---- Single characters --------------------------------------------------------------------------

static bool is_between(unsigned char c, int low, int high)
{
    return c >= low && c <= high;
}

/** Whether c is in the class of a letter like 'a' or 'D'; another character stands for itself. */
static bool in_class(unsigned char c, unsigned char letter)
{
    bool is_lower = is_between(c, 'a', 'z');
    bool is_upper = is_between(c, 'A', 'Z');
    bool is_digit = is_between(c, '0', '9');
    bool is_graph = is_between(c, 0x21, 0x7e);
    bool result;
    switch (letter | 0x20) {
    case 'a':
        result = is_lower || is_upper;
        break;
    case 'c':
        result = c < 0x20 || c == 0x7f;
        break;
    case 'd':
        result = is_digit;
        break;
    case 'g':
        result = is_graph;
        break;
    case 'l':
        result = is_lower;
        break;
    case 'p':
        result = is_graph && !is_lower && !is_upper && !is_digit;
        break;
    case 's':
        result = c == ' ' || is_between(c, '\t', '\r');
        break;
    case 'u':
        result = is_upper;
        break;
    case 'w':
        result = is_lower || is_upper || is_digit;
        break;
    case 'z': // old, but stock Lua still knows it
        result = c == '\0';
        break;
    case 'x':
        result = is_digit || is_between(c, 'a', 'f') || is_between(c, 'A', 'F');
        break;
    default:
        return letter == c;
    }
    return is_between(letter, 'A', 'Z') ? !result : result;
}

/** End of the single-character item that starts at p. */
static const char *item_end(Matcher *m, const char *p)
{
    if (p == m->pattern_end) {
        luaL_error(m->L, "malformed pattern");
    }
    char c = *p++;
    if (c == '%') {
        if (p == m->pattern_end) {
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        }
        return p + 1;
    }
    if (c != '[') {
        return p;
    }
    if (p < m->pattern_end && *p == '^') {
        p++;
    }
    bool first = true; // a ] that comes first stands for itself
    while (first || p == m->pattern_end || *p != ']') {
        if (p == m->pattern_end) {
            luaL_error(m->L, "malformed pattern (missing ']')");
        }
        if (*p++ == '%') {
            if (p == m->pattern_end) {
                luaL_error(m->L, "malformed pattern (missing ']')");
            }
            p++;
        }
        first = false;
    }
    return p + 1;
}

/** Whether c is in the set [p ... end), p at '[' and end after ']'. */
static bool in_set(unsigned char c, const char *p, const char *end)
{
    bool negated = p[1] == '^';
    p += negated ? 2 : 1;
    end--;
    while (p < end) {
        if (*p == '%') {
            if (in_class(c, (unsigned char)p[1])) {
                return !negated;
            }
            p += 2;
        } else if (p + 2 < end && p[1] == '-') {
            if (is_between(c, (unsigned char)p[0], (unsigned char)p[2])) {
                return !negated;
            }
            p += 3;
        } else {
            if ((unsigned char)*p == c) {
                return !negated;
            }
            p++;
        }
    }
    return negated;
}

static bool single_matches(Matcher *m, const char *s, const char *p, const char *end)
{
    pattern_step(m);
    if (s >= m->text_end) {
        return false;
    }
    unsigned char c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return true;
    case '%':
        return in_class(c, (unsigned char)p[1]);
    case '[':
        return in_set(c, p, end);
    default:
        return (unsigned char)*p == c;
    }
}

// ---- Items of more than one character -----------------------------------------------------------

static const char *match_balanced(Matcher *m, const char *s, const char *p)
{
    if (m->pattern_end - p < 2) {
        luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    }
    if (s >= m->text_end || *s != p[0]) {
        return NULL;
    }
    int open = 1;
    for (const char *at = s + 1; at < m->text_end; at++) {
        pattern_step(m);
        if (*at == p[1]) {
            if (--open == 0) {
                return at + 1;
            }
        } else if (*at == p[0]) {
            open++;
        }
    }
    return NULL;
}

/** %f[set]: the border between a character outside the set and one inside. */
static bool at_frontier(Matcher *m, const char *s, const char *p, const char *end)
{
    unsigned char before = s == m->text ? 0 : (unsigned char)s[-1];
    unsigned char after = s < m->text_end ? (unsigned char)*s : 0;
    pattern_step(m);
    return !in_set(before, p, end) && in_set(after, p, end);
}

static const char *match_back_reference(Matcher *m, const char *s, char digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->n_captures || m->captures[i].len == OPEN) {
        luaL_error(m->L, "invalid capture index %%%d", i + 1);
    }
    if (m->captures[i].len == POSITION) {
        return NULL; // a position has no text to come again
    }
    size_t len = (size_t)m->captures[i].len;
    vm_charge(m->L, len / 16 + 1);
    if (len > (size_t)(m->text_end - s) || memcmp(m->captures[i].from, s, len) != 0) {
        return NULL;
    }
    return s + len;
}

static const char *match_group_start(Matcher *m, const char *s, const char *p, ptrdiff_t kind)
{
    if (m->n_captures == CAPTURES_MAX) {
        luaL_error(m->L, "too many captures");
    }
    m->captures[m->n_captures++] = (Capture){s, kind};
    const char *end = match(m, s, p);
    if (end == NULL) {
        m->n_captures--;
    }
    return end;
}

static const char *match_group_end(Matcher *m, const char *s, const char *p)
{
    int i = m->n_captures - 1;
    while (i >= 0 && m->captures[i].len != OPEN) {
        i--;
    }
    if (i < 0) {
        luaL_error(m->L, "invalid pattern capture");
    }
    m->captures[i].len = s - m->captures[i].from;
    const char *end = match(m, s, p);
    if (end == NULL) {
        m->captures[i].len = OPEN;
    }
    return end;
}

/** item* and item+: as many as there are, then fewer. */
static const char *match_greedy(Matcher *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t n = 0;
    while (single_matches(m, s + n, p, end)) {
        n++;
    }
    for (; n >= 0; n--) {
        const char *result = match(m, s + n, end + 1);
        if (result != NULL) {
            return result;
        }
    }
    return NULL;
}

/** item-: as few as will do. */
static const char *match_lazy(Matcher *m, const char *s, const char *p, const char *end)
{
    for (;;) {
        const char *result = match(m, s, end + 1);
        if (result != NULL) {
            return result;
        }
        if (!single_matches(m, s, p, end)) {
            return NULL;
        }
        s++;
    }
}

// ---- The matcher --------------------------------------------------------------------------------

/** One item with its suffix. *out_next is where to go on in the pattern; NULL: *out_s is final. */
static const char *match_single(Matcher *m, const char *s, const char *p, const char **out_next)
{
    const char *end = item_end(m, p);
    char suffix = end < m->pattern_end ? *end : '\0';
    *out_next = NULL;
    switch (suffix) {
    case '?':
        if (single_matches(m, s, p, end)) {
            const char *result = match(m, s + 1, end + 1);
            if (result != NULL) {
                return result;
            }
        }
        *out_next = end + 1;
        return s;
    case '+':
        return single_matches(m, s, p, end) ? match_greedy(m, s + 1, p, end) : NULL;
    case '*':
        return match_greedy(m, s, p, end);
    case '-':
        return match_lazy(m, s, p, end);
    default:
        if (!single_matches(m, s, p, end)) {
            return NULL;
        }
        *out_next = end;
        return s + 1;
    }
}

/** Items that start with % and are more than a class: true when there was one. */
static bool match_special(Matcher *m, const char **s, const char **p)
{
    const char *at = *p;
    if (m->pattern_end - at < 2) {
        return false;
    }
    if (at[1] == 'b') {
        *s = match_balanced(m, *s, at + 2);
        *p = at + 4;
        return true;
    }
    if (at[1] == 'f') {
        const char *set = at + 2;
        if (set >= m->pattern_end || *set != '[') {
            luaL_error(m->L, "missing '[' after '%%f' in pattern");
        }
        const char *end = item_end(m, set);
        *s = at_frontier(m, *s, set, end) ? *s : NULL;
        *p = end;
        return true;
    }
    if (is_between((unsigned char)at[1], '0', '9')) {
        *s = match_back_reference(m, *s, at[1]);
        *p = at + 2;
        return true;
    }
    return false;
}

/** Match pattern p at s: the end of the match or NULL. */
static const char *match(Matcher *m, const char *s, const char *p)
{
    if (++m->depth > DEPTH_MAX) {
        luaL_error(m->L, "pattern too complex");
    }
    while (s != NULL && p != NULL && p < m->pattern_end) {
        if (*p == '(') {
            bool position = p + 1 < m->pattern_end && p[1] == ')';
            s = match_group_start(m, s, p + (position ? 2 : 1), position ? POSITION : OPEN);
            p = NULL;
        } else if (*p == ')') {
            s = match_group_end(m, s, p + 1);
            p = NULL;
        } else if (*p == '$' && p + 1 == m->pattern_end) {
            s = s == m->text_end ? s : NULL;
            p = NULL;
        } else if (*p != '%' || !match_special(m, &s, &p)) {
            s = match_single(m, s, p, &p);
        }
    }
    m->depth--;
    return s;
}

// ---- Captures to Lua ----------------------------------------------------------------------------

void pattern_push_capture(Matcher *m, int i, const char *from, const char *end)
{
    if (i >= m->n_captures) {
        if (i != 0) {
            luaL_error(m->L, "invalid capture index %%%d", i + 1);
        }
        lua_pushlstring(m->L, from, (size_t)(end - from)); // the whole match
        return;
    }
    const Capture *capture = &m->captures[i];
    if (capture->len == OPEN) {
        luaL_error(m->L, "unfinished capture");
    }
    if (capture->len == POSITION) {
        lua_pushinteger(m->L, capture->from - m->text + 1);
    } else {
        lua_pushlstring(m->L, capture->from, (size_t)capture->len);
    }
}

int pattern_push_captures(Matcher *m, const char *from, const char *end)
{
    int n = m->n_captures == 0 && from != NULL ? 1 : m->n_captures;
    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++) {
        pattern_push_capture(m, i, from, end);
    }
    return n;
}

void pattern_init(Matcher *m, lua_State *L, Str text, Str pattern)
{
    m->L = L;
    m->text = text.data;
    m->text_end = text.data + text.len;
    m->pattern_end = pattern.data + pattern.len;
    m->steps = 0;
    m->depth = 0;
    m->n_captures = 0;
}

const char *pattern_match_at(Matcher *m, const char *s, const char *p)
{
    m->depth = 0;
    m->n_captures = 0;
    return match(m, s, p);
}
