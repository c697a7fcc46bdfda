// SPDX-License-Identifier: MIT
// Answer rules: what part of a reply is judged (DESIGN.md 4.1, Answers).
#include "script/regex_cache.h"
#include "script/script_internal.h"

#define GROUPS_MAX 1

static Str rule_after(const AnswerRule *rule, Str text, bool *out_found)
{
    size_t at = rule->first ? str_find(text, rule->after, 0) : str_find_last(text, rule->after);
    *out_found = at != STR_NONE;
    return *out_found ? str_slice(text, at + rule->after.len, text.len) : STR_EMPTY;
}

static bool rule_regex(Script *script, const AnswerRule *rule, Str text, bool *out_found, Str *out,
                       Err *err)
{
    Regex *regex;
    *out_found = false;
    if (!regex_cache_get(script_regexes(script), rule->regex, &regex, err)) {
        return false;
    }
    size_t from = 0;
    while (from <= text.len) {
        RegexSpan spans[GROUPS_MAX + 1];
        bool found;
        size_t n = regex_groups(regex) > 0 ? 2 : 1;
        if (!regex_find(regex, text, from, spans, n, &found, err)) {
            return false;
        }
        if (!found) {
            break;
        }
        RegexSpan span = n == 2 && spans[1].from != STR_NONE ? spans[1] : spans[0];
        *out = str_slice(text, span.from, span.to);
        *out_found = true;
        from = spans[0].to;
        if (spans[0].to == spans[0].from) { // go on behind the next character
            if (from >= text.len) {
                break;
            }
            utf8_next(text, &from);
        }
        if (rule->first) {
            break;
        }
    }
    return true;
}

bool answer_extract(Script *script, const AnswerRule *rule, Str text, Arena *arena, bool *out_found,
                    Str *out, Err *err)
{
    Str found = STR_EMPTY;
    if (rule->regex.len > 0) {
        if (!rule_regex(script, rule, utf8_clean(arena, text), out_found, &found, err)) {
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
