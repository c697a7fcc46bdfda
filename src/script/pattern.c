// SPDX-License-Identifier: MIT
// Lua patterns (reference manual 6.4.1) with a step budget: every comparison of one byte is
// charged, so a pattern that backtracks for ever ends with the script's budget. ASCII classes,
// whatever the locale.
#include "script/script_internal.h"

#include <string.h>

#define CAPTURES_MAX 32
#define DEPTH_MAX    200 // nested matching, on the C stack
#define STEPS_BATCH  1024
#define OPEN         (-1) // length of a capture that has not ended
#define POSITION     (-2) // of a position capture

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

static const char *match(Matcher *m, const char *s, const char *p);

static void step(Matcher *m)
{
    if (++m->steps == STEPS_BATCH) {
        m->steps = 0;
        vm_charge(m->L, STEPS_BATCH / 2);
    }
}

// ---- Single characters
// -----------------------------------------------------------------------------------

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
    step(m);
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

// ---- Items of more than one character
// ---------------------------------------------------------------------

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
        step(m);
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
    step(m);
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

// ---- The matcher
// --------------------------------------------------------------------------------------------

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

// ---- Captures to Lua
// ------------------------------------------------------------------------------------------

static void push_capture(Matcher *m, int i, const char *from, const char *end)
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

static int push_captures(Matcher *m, const char *from, const char *end)
{
    int n = m->n_captures == 0 && from != NULL ? 1 : m->n_captures;
    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++) {
        push_capture(m, i, from, end);
    }
    return n;
}

static void matcher_init(Matcher *m, lua_State *L, Str text, Str pattern)
{
    m->L = L;
    m->text = text.data;
    m->text_end = text.data + text.len;
    m->pattern_end = pattern.data + pattern.len;
    m->steps = 0;
    m->depth = 0;
    m->n_captures = 0;
}

static const char *match_at(Matcher *m, const char *s, const char *p)
{
    m->depth = 0;
    m->n_captures = 0;
    return match(m, s, p);
}

static Str check_str(lua_State *L, int index)
{
    Str s;
    s.data = luaL_checklstring(L, index, &s.len);
    return s;
}

// ---- find, match
// ------------------------------------------------------------------------------------------------

static bool is_plain(Str pattern)
{
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.data[i] != '\0' && strchr("^$*+?.([%-", pattern.data[i]) != NULL) {
            return false;
        }
    }
    return true;
}

/** memmem finds in linear time whatever the needle. */
static int find_plain(lua_State *L, Str text, Str needle, size_t from)
{
    vm_charge(L, (text.len - from) / 32);
    const char *at = needle.len == 0
                         ? text.data + from
                         : memmem(text.data + from, text.len - from, needle.data, needle.len);
    if (at == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - text.data + 1);
    lua_pushinteger(L, at - text.data + (ptrdiff_t)needle.len);
    return 2;
}

static int find_or_match(lua_State *L, bool find)
{
    Str text = check_str(L, 1);
    Str pattern = check_str(L, 2);
    lua_Integer init = luaL_optinteger(L, 3, 1);
    if (init < 0) {
        init = (lua_Integer)text.len + init + 1 > 1 ? (lua_Integer)text.len + init + 1 : 1;
    }
    size_t from = init == 0 ? 0 : (size_t)init - 1;
    if (from > text.len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || is_plain(pattern))) {
        return find_plain(L, text, pattern, from);
    }
    Matcher m;
    matcher_init(&m, L, text, pattern);
    bool anchored = pattern.len > 0 && pattern.data[0] == '^';
    const char *p = pattern.data + (anchored ? 1 : 0);
    for (const char *s = text.data + from; s <= m.text_end; s++) {
        const char *end = match_at(&m, s, p);
        if (end != NULL) {
            if (!find) {
                return push_captures(&m, s, end);
            }
            lua_pushinteger(L, s - text.data + 1);
            lua_pushinteger(L, end - text.data);
            return push_captures(&m, NULL, NULL) + 2;
        }
        if (anchored) {
            break;
        }
        step(&m);
    }
    lua_pushnil(L);
    return 1;
}

int pattern_find(lua_State *L)
{
    return find_or_match(L, true);
}

int pattern_match(lua_State *L)
{
    return find_or_match(L, false);
}

// ---- gmatch
// -----------------------------------------------------------------------------------------------------

/** Upvalues: text, pattern, where to go on, where the last match ended (-1: none). */
static int gmatch_next(lua_State *L)
{
    Str text = vm_str(L, lua_upvalueindex(1));
    Str pattern = vm_str(L, lua_upvalueindex(2));
    lua_Integer from = lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    Matcher m;
    matcher_init(&m, L, text, pattern);
    for (const char *s = text.data + from; s <= m.text_end; s++) {
        const char *end = match_at(&m, s, pattern.data);
        if (end != NULL && end - text.data != last) {
            lua_pushinteger(L, end - text.data);
            lua_copy(L, -1, lua_upvalueindex(3));
            lua_replace(L, lua_upvalueindex(4));
            return push_captures(&m, s, end);
        }
        step(&m);
    }
    lua_pushinteger(L, (lua_Integer)text.len + 1);
    lua_replace(L, lua_upvalueindex(3));
    return 0;
}

int pattern_gmatch(lua_State *L)
{
    Str text = check_str(L, 1);
    check_str(L, 2);
    lua_Integer init = luaL_optinteger(L, 3, 1);
    if (init < 0) {
        init = (lua_Integer)text.len + init + 1 > 1 ? (lua_Integer)text.len + init + 1 : 1;
    }
    init = init == 0 ? 1 : init;
    lua_Integer from = init > (lua_Integer)text.len + 1 ? (lua_Integer)text.len + 1 : init - 1;
    lua_settop(L, 2);
    lua_tolstring(L, 1, NULL);
    lua_tolstring(L, 2, NULL);
    lua_pushinteger(L, from);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, 4);
    return 1;
}

// ---- gsub
// ---------------------------------------------------------------------------------------------------------

/** A replacement text: %0 the match, %1..%9 its captures, %% itself. */
static void add_template(Matcher *m, luaL_Buffer *buffer, const char *from, const char *end)
{
    lua_State *L = m->L;
    Str with = vm_str(L, 3);
    for (size_t i = 0; i < with.len; i++) {
        char c = with.data[i];
        if (c != '%') {
            luaL_addchar(buffer, c);
            continue;
        }
        c = i + 1 < with.len ? with.data[++i] : '\0';
        if (c == '%') {
            luaL_addchar(buffer, c);
        } else if (c == '0') {
            luaL_addlstring(buffer, from, (size_t)(end - from));
        } else if (is_between((unsigned char)c, '1', '9')) {
            push_capture(m, c - '1', from, end);
            luaL_tolstring(L, -1, NULL); // a position is a number
            lua_remove(L, -2);
            luaL_addvalue(buffer);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
    }
    vm_charge(L, with.len / 8);
}

/** Append what replaces one match; whether anything changed. */
static bool add_replacement(Matcher *m, luaL_Buffer *buffer, const char *from, const char *end,
                            int type)
{
    lua_State *L = m->L;
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        int n = push_captures(m, from, end);
        lua_call(L, n, 1);
    } else if (type == LUA_TTABLE) {
        push_capture(m, 0, from, end);
        lua_gettable(L, 3);
    } else {
        add_template(m, buffer, from, end);
        return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(buffer, from, (size_t)(end - from));
        return false;
    }
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(buffer);
    return true;
}

int pattern_gsub(lua_State *L)
{
    Str text = check_str(L, 1);
    Str pattern = check_str(L, 2);
    int type = lua_type(L, 3);
    luaL_argexpected(L,
                     type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                         type == LUA_TTABLE,
                     3, "string/function/table");
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)text.len + 1);
    if (type == LUA_TNUMBER) {
        lua_tolstring(L, 3, NULL);
    }
    bool anchored = pattern.len > 0 && pattern.data[0] == '^';
    const char *p = pattern.data + (anchored ? 1 : 0);
    Matcher m;
    matcher_init(&m, L, text, pattern);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    const char *s = text.data;
    const char *last = NULL; // end of the last match: an empty one there does not count
    lua_Integer n = 0;
    bool changed = false;
    while (n < max) {
        const char *end = match_at(&m, s, p);
        if (end != NULL && end != last) {
            n++;
            changed = add_replacement(&m, &buffer, s, end, type) || changed;
            s = last = end;
        } else if (s < m.text_end) {
            luaL_addchar(&buffer, *s);
            s++;
        } else {
            break;
        }
        step(&m);
        if (anchored) {
            break;
        }
    }
    if (!changed) {
        lua_pushvalue(L, 1);
    } else {
        luaL_addlstring(&buffer, s, (size_t)(m.text_end - s));
        luaL_pushresult(&buffer);
    }
    lua_pushinteger(L, n);
    return 2;
}
