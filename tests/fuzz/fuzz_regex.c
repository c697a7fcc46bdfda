// SPDX-License-Identifier: MIT
// Flags, a pattern and a text: "FLAGS pattern \n text". Compiled and interpreted code must agree
// wherever neither hits its limit, and no pair may take long.
#include "text/text.h"

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
    size_t width = regex_groups(fast) + 1;
    RegexSpan *fast_spans = NULL;
    RegexSpan *slow_spans = NULL;
    size_t n_fast = 0;
    size_t n_slow = 0;
    bool fast_ok = regex_find_all(&arena, fast, text, 50, &fast_spans, &n_fast, &fast_err);
    bool slow_ok = regex_find_all(&arena, slow, text, 50, &slow_spans, &n_slow, &slow_err);
    check(fast_ok || fast_err.code == ERR_LIMIT || fast_err.code == ERR_PARSE);
    check(slow_ok || slow_err.code == ERR_LIMIT || slow_err.code == ERR_PARSE);
    if (fast_ok && slow_ok) {
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
