// SPDX-License-Identifier: MIT
// Flags, a pattern and a text: "FLAGS pattern \n text". Compiled and interpreted code must agree
// wherever neither hits its limit, and no pair may take long. Patterns that call themselves or a
// group, or hold verbs, are only run: there the two halves of PCRE2 10.42 differ (calls: fixed in
// 10.43).
#include "text/text.h"

#include <string.h>

#define STEPS 20000 // few, so that many inputs are tried

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static void check_matches(Str text, const RegexSpan *spans, size_t n, size_t width)
{
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        const RegexSpan *span = spans + i * width;
        check(span->from >= last && span->from <= span->to && span->to <= text.len);
        last = span->from;
        for (size_t g = 1; g < width; g++) {
            check(span[g].from == STR_NONE ||
                  (span[g].from <= span[g].to && span[g].to <= text.len));
        }
    }
}

static bool has_calls_or_verbs(Str pattern)
{
    for (size_t i = 0; i + 2 < pattern.len; i++) {
        const char *p = pattern.data + i;
        if ((p[0] == '(' && p[1] == '?' && memchr("R0123456789+-&P", p[2], 15) != NULL) ||
            (p[0] == '\\' && p[1] == 'g') || (p[0] == '(' && p[1] == '*')) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    int flags = data[0] & 31;
    Str pattern;
    Str text = STR_EMPTY;
    str_cut((Str){(const char *)data + 1, size - 1}, STR("\n"), &pattern, &text);
    Arena arena = {0};
    Regex *fast = NULL;
    Regex *slow = NULL;
    Err fast_err = ERR_INIT;
    Err slow_err = ERR_INIT;
    bool ok = regex_create(pattern, flags, &fast, &fast_err);
    check(regex_create(pattern, flags | REGEX_NO_JIT, &slow, &slow_err) == ok);
    if (!ok) {
        check(fast_err.code == ERR_PARSE || fast_err.code == ERR_LIMIT);
        arena_finish(&arena);
        return 0;
    }
    regex_limit_steps(fast, STEPS);
    regex_limit_steps(slow, STEPS);
    size_t width = regex_groups(fast) + 1;
    RegexSpan *fast_spans = NULL;
    RegexSpan *slow_spans = NULL;
    size_t n_fast = 0;
    size_t n_slow = 0;
    bool fast_ok = regex_find_all(&arena, fast, text, 50, &fast_spans, &n_fast, &fast_err);
    bool slow_ok = regex_find_all(&arena, slow, text, 50, &slow_spans, &n_slow, &slow_err);
    check(fast_ok || fast_err.code == ERR_LIMIT || fast_err.code == ERR_PARSE);
    check(slow_ok || slow_err.code == ERR_LIMIT || slow_err.code == ERR_PARSE);
    if (fast_ok && slow_ok && !has_calls_or_verbs(pattern)) {
        check_matches(text, fast_spans, n_fast, width);
        check(n_fast == n_slow);
        for (size_t i = 0; i < n_fast * width; i++) {
            check(fast_spans[i].from == slow_spans[i].from);
            check(fast_spans[i].to == slow_spans[i].to);
        }
    }
    RegexSpan spans[4];
    bool found;
    Err find_err = ERR_INIT;
    for (size_t from = 0; from <= text.len && from < 4; from++) {
        if (regex_find(fast, text, from, spans, 4, &found, &find_err) && from == 0 && fast_ok) {
            check(found == (n_fast > 0));
        }
    }
    regex_destroy(fast);
    regex_destroy(slow);
    arena_finish(&arena);
    return 0;
}
