// SPDX-License-Identifier: MIT
// The library `text`: Unicode text and PCRE2 regular expressions with step limits. Text that is not
// UTF-8 is read with U+FFFD in place of each wrong byte. Positions count bytes from 1, as in
// `string`.
#include "script/regex_cache.h"
#include "script/script_internal.h"
#include "text/text.h"

#include <string.h>

#define GROUPS_MAX            32
#define MATCHES_MAX           (1 << 20)
#define LEVENSHTEIN_CELLS_MAX 400000000 // pairs of code points
#define REGEX_COST            50

/** Text argument as valid UTF-8; what is made lies in scratch until the library's next call. */
static Str check_text(lua_State *L, int index)
{
    Str s;
    s.data = luaL_checklstring(L, index, &s.len);
    vm_charge(L, s.len / 32);
    return utf8_clean(&vm_of(L)->scratch, s);
}

static Str begin(lua_State *L)
{
    arena_reset(&vm_of(L)->scratch);
    return check_text(L, 1);
}

// ---- Searching ----------------------------------------------------------------------------------

typedef struct Search {
    lua_State *L;
    Regex *regex;
    Str text;
    size_t n_groups;
    const RegexSpan *spans; // n_groups + 1 a match
    size_t n_matches;
} Search;

/** The pattern at index, compiled; raises for a wrong one. */
static void search_init(lua_State *L, int index, Str text, Search *out)
{
    Vm *vm = vm_of(L);
    Str pattern = check_text(L, index);
    Err err = ERR_INIT;
    *out = (Search){.L = L, .text = text};
    vm_charge(L, REGEX_COST);
    if (!regex_cache_get(script_regexes(vm->script), pattern, &out->regex, &err)) {
        luaL_error(L, "%s", err.message);
    }
    out->n_groups = regex_groups(out->regex);
    if (out->n_groups > GROUPS_MAX) {
        luaL_error(L, "regular expression with more than %d groups", GROUPS_MAX);
    }
}

/** Charge what a search took and raise its error. */
static void search_done(const Search *search, bool ok, const Err *err)
{
    vm_charge(search->L, regex_steps(search->regex) / 2);
    vm_check_deadline(vm_of(search->L), search->L);
    if (!ok) {
        luaL_error(search->L, "%s", err->message);
    }
}

static bool search_first(Search *search, size_t from)
{
    bool found = false;
    Err err = ERR_INIT;
    if (from > search->text.len) {
        return false;
    }
    RegexSpan *spans = ARENA_ARRAY(&vm_of(search->L)->scratch, RegexSpan, search->n_groups + 1);
    search->spans = spans;
    bool ok =
        regex_find(search->regex, search->text, from, spans, search->n_groups + 1, &found, &err);
    search_done(search, ok, &err);
    return found;
}

static void search_all(Search *search)
{
    Err err = ERR_INIT;
    RegexSpan *spans = NULL;
    bool ok = regex_find_all(&vm_of(search->L)->scratch, search->regex, search->text, MATCHES_MAX,
                             &spans, &search->n_matches, &err);
    search_done(search, ok, &err);
    if (search->n_matches == MATCHES_MAX) {
        luaL_error(search->L, "more than %d matches", MATCHES_MAX);
    }
    vm_charge(search->L, search->n_matches);
    search->spans = spans;
}

static const RegexSpan *match_spans(const Search *search, size_t match)
{
    return search->spans + match * (search->n_groups + 1);
}

static void push_group(const Search *search, const RegexSpan *spans, size_t i)
{
    if (spans[i].from == STR_NONE) {
        lua_pushnil(search->L);
    } else {
        vm_push_str(search->L, str_slice(search->text, spans[i].from, spans[i].to));
    }
}

/** Push the groups, or the match when there are none; their number. */
static int push_groups(const Search *search, const RegexSpan *spans)
{
    size_t first = search->n_groups == 0 ? 0 : 1;
    luaL_checkstack(search->L, GROUPS_MAX, NULL);
    for (size_t i = first; i <= search->n_groups; i++) {
        push_group(search, spans, i);
    }
    return (int)(search->n_groups + 1 - first);
}

static size_t check_from(lua_State *L, int index, Str text)
{
    lua_Integer from = luaL_optinteger(L, index, 1);
    if (from < 1 || (size_t)from > text.len + 1) {
        return text.len + 1;
    }
    size_t at = (size_t)from - 1; // not into the middle of a character
    while (at < text.len && ((unsigned char)text.data[at] & 0xc0) == 0x80) {
        at++;
    }
    return at;
}

/** text.find(s, regex [, from]): first and last byte and the groups of the first match, or nil. */
static int text_find(lua_State *L)
{
    Search search;
    Str text = begin(L);
    search_init(L, 2, text, &search);
    if (!search_first(&search, check_from(L, 3, text))) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, (lua_Integer)search.spans[0].from + 1);
    lua_pushinteger(L, (lua_Integer)search.spans[0].to);
    return search.n_groups == 0 ? 2 : push_groups(&search, search.spans) + 2;
}

/** text.match(s, regex [, from]): the groups of the first match, or the match; nil without one. */
static int text_match(lua_State *L)
{
    Search search;
    Str text = begin(L);
    search_init(L, 2, text, &search);
    if (!search_first(&search, check_from(L, 3, text))) {
        lua_pushnil(L);
        return 1;
    }
    return push_groups(&search, search.spans);
}

/** text.find_all(s, regex): a list of matches; of the group, or of lists of groups, if it has any.
 */
static int text_find_all(lua_State *L)
{
    Search search;
    Str text = begin(L);
    search_init(L, 2, text, &search);
    search_all(&search);
    lua_createtable(L, (int)search.n_matches, 0);
    for (size_t m = 0; m < search.n_matches; m++) {
        const RegexSpan *spans = match_spans(&search, m);
        if (search.n_groups < 2) {
            RegexSpan span = spans[search.n_groups];
            vm_push_str(L, span.from == STR_NONE ? STR_EMPTY : str_slice(text, span.from, span.to));
        } else {
            lua_createtable(L, (int)search.n_groups, 0);
            for (size_t i = 1; i <= search.n_groups; i++) {
                push_group(&search, spans, i);
                if (lua_isnil(L, -1)) {
                    lua_pop(L, 1);
                    vm_push_null(L);
                }
                lua_rawseti(L, -2, (lua_Integer)i);
            }
        }
        lua_rawseti(L, -2, (lua_Integer)m + 1);
    }
    return 1;
}

/** text.split(s, regex [, max]): the pieces between at most max matches. */
static int text_split(lua_State *L)
{
    Search search;
    Str text = begin(L);
    lua_Integer max = luaL_optinteger(L, 3, LUA_MAXINTEGER);
    search_init(L, 2, text, &search);
    search_all(&search);
    lua_newtable(L);
    lua_Integer n = 0;
    size_t piece = 0;
    for (size_t m = 0; m < search.n_matches && n < max; m++) {
        const RegexSpan *span = match_spans(&search, m);
        if (span->to == span->from && (span->from == 0 || span->from == text.len)) {
            continue; // an empty match at an end splits nothing off
        }
        vm_push_str(L, str_slice(text, piece, span->from));
        lua_rawseti(L, -2, ++n);
        piece = span->to;
    }
    vm_push_str(L, str_slice(text, piece, text.len));
    lua_rawseti(L, -2, n + 1);
    return 1;
}

/** The group that a reference at with[at] names ("1", "{12}"); where it ends, or 0 for none. */
static size_t read_reference(Str with, size_t at, size_t *out_group)
{
    bool braces = at < with.len && with.data[at] == '{';
    size_t from = at + braces;
    size_t to = from;
    size_t group = 0;
    while (to < with.len && to - from < (braces ? 2u : 1u) && with.data[to] >= '0' &&
           with.data[to] <= '9') {
        group = group * 10 + (size_t)(with.data[to++] - '0');
    }
    if (to == from || (braces && (to == with.len || with.data[to] != '}'))) {
        return 0;
    }
    *out_group = group;
    return to + braces;
}

/** $1, ${12}, $0 and $$ of a replacement text. */
static void add_template(const Search *search, const RegexSpan *spans, luaL_Buffer *buffer,
                         Str with)
{
    vm_charge(search->L, with.len / 8);
    for (size_t i = 0; i < with.len; i++) {
        size_t group = 0;
        size_t end = with.data[i] == '$' ? read_reference(with, i + 1, &group) : 0;
        if (end == 0) {
            luaL_addchar(buffer, with.data[i]);
            i += with.data[i] == '$' && i + 1 < with.len && with.data[i + 1] == '$';
            continue;
        }
        if (group > search->n_groups) {
            luaL_error(search->L, "replace: the regular expression has no group %d", (int)group);
        }
        if (spans[group].from != STR_NONE) {
            luaL_addlstring(buffer, search->text.data + spans[group].from,
                            spans[group].to - spans[group].from);
        }
        i = end - 1;
    }
}

/** Keep text and spans where the library's next use does not touch them: a callback may come. */
static void search_keep(Search *search)
{
    lua_State *L = search->L;
    vm_push_str(L, search->text);
    search->text = vm_str(L, -1);
    size_t bytes = search->n_matches * (search->n_groups + 1) * sizeof(RegexSpan);
    void *spans = lua_newuserdatauv(L, bytes, 0);
    if (bytes > 0) {
        memcpy(spans, search->spans, bytes);
    }
    search->spans = spans;
}

/** text.replace(s, regex, with): with is text ($1, $0, $$) or a function of the groups. */
static int text_replace(lua_State *L)
{
    Search search;
    int type = lua_type(L, 3);
    luaL_argexpected(L, type == LUA_TSTRING || type == LUA_TFUNCTION, 3, "text or function");
    Str text = begin(L);
    lua_settop(L, 3);
    search_init(L, 2, text, &search);
    search_all(&search);
    if (type == LUA_TFUNCTION) {
        search_keep(&search);
        text = search.text;
    }
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    size_t copied = 0;
    for (size_t m = 0; m < search.n_matches; m++) {
        const RegexSpan *spans = match_spans(&search, m);
        luaL_addlstring(&buffer, text.data + copied, spans[0].from - copied);
        copied = spans[0].to;
        if (type == LUA_TSTRING) {
            add_template(&search, spans, &buffer, vm_str(L, 3));
            continue;
        }
        lua_pushvalue(L, 3);
        lua_call(L, push_groups(&search, spans), 1);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            push_group(&search, spans, 0);
        } else if (lua_type(L, -1) != LUA_TSTRING) {
            return luaL_error(L, "replace: the function must return text or nil");
        }
        luaL_addvalue(&buffer);
    }
    luaL_addlstring(&buffer, text.data + copied, text.len - copied);
    luaL_pushresult(&buffer);
    return 1;
}

// ---- Letters, words, sentences ------------------------------------------------------------------

static int text_lower(lua_State *L)
{
    Str s = begin(L);
    vm_push_str(L, utf8_lower(&vm_of(L)->scratch, s));
    return 1;
}

static int text_upper(lua_State *L)
{
    Str s = begin(L);
    vm_push_str(L, utf8_upper(&vm_of(L)->scratch, s));
    return 1;
}

static int text_fold(lua_State *L)
{
    Str s = begin(L);
    vm_push_str(L, utf8_fold(&vm_of(L)->scratch, s));
    return 1;
}

/** text.digits(s): decimal digits of every script as 0 to 9. */
static int text_digits(lua_State *L)
{
    Str s = begin(L);
    vm_push_str(L, utf8_digits(&vm_of(L)->scratch, s));
    return 1;
}

static int text_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)utf8_length(begin(L)));
    return 1;
}

static int text_chars(lua_State *L)
{
    Str s = begin(L);
    vm_charge(L, s.len);
    lua_createtable(L, (int)(s.len < 64 ? s.len : 64), 0);
    lua_Integer n = 0;
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        utf8_next(s, &at);
        vm_push_str(L, str_slice(s, from, at));
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/** All matches of a fixed pattern as a list. */
static int list_of(lua_State *L, Str pattern)
{
    lua_settop(L, 1);
    vm_push_str(L, pattern);
    return text_find_all(L);
}

/** text.words(s): runs of letters, digits and underscores, with inner apostrophes. */
static int text_words(lua_State *L)
{
    return list_of(L, STR("\\w+(?:['\u2019]\\w+)*"));
}

/** text.sentences(s): cut after . ! ? (with closing quotes) before white space, or at blank lines.
 */
static int text_sentences(lua_State *L)
{
    return list_of(
        L, STR("\\S(?:(?!\\n\\s*\\n).)*?(?:[.!?\u2026]+[\"'\u201d\u2019)\\]]*(?=\\s|$)|[\u3002"
               "\uff01\uff1f]+|(?=\\s*\\n\\s*\\n)|(?=\\s*\\z))(?<=\\S)"));
}

/** s in lower case without ASCII punctuation. */
static Str lower_letters(Arena *arena, Str s)
{
    Str lower = utf8_lower(arena, s);
    char *kept = arena_alloc_raw(arena, lower.len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < lower.len; i++) {
        unsigned char c = (unsigned char)lower.data[i];
        bool punctuation = (c >= '!' && c <= '/') || (c >= ':' && c <= '@') ||
                           (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
        if (!punctuation) {
            kept[n++] = lower.data[i];
        }
    }
    kept[n] = '\0';
    return (Str){kept, n};
}

/**
 * text.normalize(s): what SQuAD's evaluation compares. Lower case, no ASCII punctuation, no words
 * a, an, the; one space between words.
 */
static int text_normalize(lua_State *L)
{
    Search search;
    Str text = begin(L);
    lua_settop(L, 1);
    vm_push_str(L, STR("\\b(?:a|an|the)\\b|[\\s\\x1c-\\x1f]+"));
    search_init(L, 2, lower_letters(&vm_of(L)->scratch, text), &search);
    search_all(&search);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    size_t piece = 0;
    for (size_t m = 0; m <= search.n_matches; m++) {
        bool last = m == search.n_matches;
        size_t end = last ? search.text.len : match_spans(&search, m)->from;
        if (end > piece) {
            if (luaL_bufflen(&buffer) > 0) {
                luaL_addchar(&buffer, ' ');
            }
            luaL_addlstring(&buffer, search.text.data + piece, end - piece);
        }
        piece = last ? end : match_spans(&search, m)->to;
    }
    luaL_pushresult(&buffer);
    return 1;
}

/** text.trim(s [, chars]): white space, or those characters, cut off both ends. */
static int text_trim(lua_State *L)
{
    Str s = begin(L);
    if (lua_isnoneornil(L, 2)) {
        vm_push_str(L, str_trim(s));
        return 1;
    }
    vm_push_str(L, text_trim_of(s, check_text(L, 2)));
    return 1;
}

static uint32_t *code_points(Arena *arena, Str s, size_t *out_n)
{
    uint32_t *points = ARENA_ARRAY(arena, uint32_t, s.len + 1);
    size_t n = 0;
    for (size_t at = 0; at < s.len;) {
        points[n++] = utf8_next(s, &at);
    }
    *out_n = n;
    return points;
}

/** text.levenshtein(a, b): edits (insert, delete, replace a character) from a to b. */
static int text_levenshtein(lua_State *L)
{
    Arena *arena = &vm_of(L)->scratch;
    Str left = begin(L);
    Str right = check_text(L, 2);
    size_t n, m;
    const uint32_t *a = code_points(arena, left, &n);
    const uint32_t *b = code_points(arena, right, &m);
    if (m > 0 && n > LEVENSHTEIN_CELLS_MAX / m) {
        return luaL_error(L, "levenshtein: texts of %I and %I characters are too long",
                          (lua_Integer)n, (lua_Integer)m);
    }
    uint32_t *row = ARENA_ARRAY(arena, uint32_t, m + 1);
    for (size_t j = 0; j <= m; j++) {
        row[j] = (uint32_t)j;
    }
    for (size_t i = 1; i <= n; i++) {
        uint32_t diagonal = row[0];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= m; j++) {
            uint32_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            uint32_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < other ? replaced : other;
        }
        vm_charge(L, m / 4 + 1);
    }
    lua_pushinteger(L, row[m]);
    return 1;
}

int lib_text_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", text_find},
        {"match", text_match},
        {"find_all", text_find_all},
        {"split", text_split},
        {"replace", text_replace},
        {"lower", text_lower},
        {"upper", text_upper},
        {"fold", text_fold},
        {"digits", text_digits},
        {"normalize", text_normalize},
        {"words", text_words},
        {"sentences", text_sentences},
        {"trim", text_trim},
        {"len", text_len},
        {"chars", text_chars},
        {"levenshtein", text_levenshtein},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
