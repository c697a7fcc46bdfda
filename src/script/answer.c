// SPDX-License-Identifier: MIT
// Answer rules: what part of a reply is judged (DESIGN.md 4.1, Answers).
#include "script/regex_cache.h"
#include "script/script_internal.h"

#define MATCHES_MAX (1 << 20)

static Str rule_after(const AnswerRule *rule, Str text, bool *out_found)
{
    size_t at = rule->first ? str_find(text, rule->after, 0) : str_find_last(text, rule->after);
    *out_found = at != STR_NONE;
    return *out_found ? str_slice(text, at + rule->after.len, text.len) : STR_EMPTY;
}

static bool rule_regex(Script *script, const AnswerRule *rule, Str text, Arena *arena,
                       bool *out_found, Str *out, Err *err)
{
    Regex *regex;
    RegexSpan *spans;
    size_t n;
    if (!regex_cache_get(script_regexes(script), rule->regex, &regex, err)) {
        return false;
    }
    ArenaMark mark = arena_mark(arena);
    if (!regex_find_all(arena, regex, text, rule->first ? 1 : MATCHES_MAX, &spans, &n, err)) {
        return false;
    }
    if (n == MATCHES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "more than %d matches", MATCHES_MAX);
    }
    *out_found = n > 0;
    if (n > 0) {
        const RegexSpan *match = spans + (n - 1) * (regex_groups(regex) + 1);
        bool has_group = regex_groups(regex) > 0 && match[1].from != STR_NONE;
        *out = str_slice(text, match[has_group].from, match[has_group].to);
    }
    arena_rewind(arena, mark);
    return true;
}

bool answer_extract(Script *script, const AnswerRule *rule, Str text, Arena *arena, bool *out_found,
                    Str *out, Err *err)
{
    Str found = STR_EMPTY;
    if (rule->regex.len > 0) {
        if (!rule_regex(script, rule, utf8_clean(arena, text), arena, out_found, &found, err)) {
            return ERR_WRAP(err, "answer");
        }
    } else if (rule->after.len > 0) {
        found = rule_after(rule, text, out_found);
    } else {
        found = text;
        *out_found = true;
    }
    *out = rule->trim.len > 0 ? text_trim_of(found, rule->trim) : found;
    return true;
}
