// SPDX-License-Identifier: MIT
// PCRE2 with a bounded cost. Its own match limit starts afresh at every position of the text and
// counts differently under JIT, so it bounds little; instead an automatic callout before every item
// of the pattern counts steps, and the bytes the match moved between them, over a whole search.
#include "text/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "text/text_internal.h"

#define PATTERN_MAX_BYTES ((size_t)64 * 1024)
#define STEPS_MAX         ((uint64_t)4 * 1000 * 1000) // about 0.1 s
#define STEPS_PER_BYTE    64                          // what a long text may take beyond that
#define BYTES_PER_STEP    8                           // a move over so many bytes is a step too
#define MATCH_LIMIT       (10u * 1000 * 1000)         // from one position; behind the counted steps
#define HEAP_LIMIT_KIB    (64u * 1024)

struct Regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    size_t n_groups;
    bool utf;
    bool jit;
    Str checked; // the text last found to be UTF-8: a search that goes on need not check it again
    uint64_t steps;
    uint64_t steps_max;
    uint64_t steps_wanted; // by regex_limit_steps; 0 for the default
    size_t position;       // of the last callout
};

static int count_step(pcre2_callout_block *block, void *user)
{
    Regex *regex = user;
    size_t at = block->current_position;
    regex->steps += 1 + (at > regex->position ? (at - regex->position) / BYTES_PER_STEP : 0);
    regex->position = at;
    return regex->steps > regex->steps_max ? PCRE2_ERROR_MATCHLIMIT : 0;
}

static uint32_t compile_options(int flags)
{
    uint32_t options = 0;
    options |= flags & REGEX_ICASE ? PCRE2_CASELESS : 0;
    options |= flags & REGEX_MULTILINE ? PCRE2_MULTILINE : 0;
    options |= flags & REGEX_DOTALL ? PCRE2_DOTALL : 0;
    options |= flags & REGEX_ANCHORED ? PCRE2_ANCHORED : 0;
    options |= flags & REGEX_UNLIMITED ? 0 : PCRE2_AUTO_CALLOUT;
    options |= flags & REGEX_BYTES ? PCRE2_NEVER_UTF : PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C;
    options |= flags & (REGEX_BYTES | REGEX_ASCII) ? 0 : PCRE2_UCP;
    return options;
}

static pcre2_code *compile(Str pattern, uint32_t options, Err *err)
{
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern.data, pattern.len, options, &code, &offset, NULL);
    if (compiled == NULL) {
        char message[256] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
        ERR_SET(err, ERR_PARSE, "regular expression: %s at %zu", message, (size_t)offset);
    }
    return compiled;
}

bool regex_create(Str pattern, int flags, Regex **out, Err *err)
{
    if (pattern.len > PATTERN_MAX_BYTES) {
        return ERR_SET(err, ERR_LIMIT, "regular expression of %zu bytes; the most is %zu",
                       pattern.len, PATTERN_MAX_BYTES);
    }
    uint32_t options = compile_options(flags);
    bool utf = (flags & REGEX_BYTES) == 0;
    bool want_jit = (flags & REGEX_NO_JIT) == 0;
    // Compiled code that stays safe on any bytes needs no check before each match, but only under
    // JIT: the interpreter would check the whole text every time.
    uint32_t safe = utf && want_jit ? PCRE2_MATCH_INVALID_UTF : 0;
    pcre2_code *code = compile(pattern, options | safe, err);
    if (code == NULL) {
        return false;
    }
    bool jit = want_jit && pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
    if (!jit && safe != 0) {
        pcre2_code_free(code);
        code = compile(pattern, options, err);
        if (code == NULL) {
            return false;
        }
    }
    Regex *regex = mem_zalloc(1, sizeof(Regex));
    uint32_t n_groups = 0;
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &n_groups);
    *regex = (Regex){.code = code, .n_groups = n_groups, .utf = utf, .jit = jit};
    regex->data = pcre2_match_data_create_from_pattern(code, NULL);
    regex->context = pcre2_match_context_create(NULL);
    if (regex->data == NULL || regex->context == NULL) {
        regex_destroy(regex);
        return ERR_SET(err, ERR_INTERNAL, "no memory for a regular expression");
    }
    pcre2_set_match_limit(regex->context, MATCH_LIMIT);
    pcre2_set_heap_limit(regex->context, HEAP_LIMIT_KIB);
    pcre2_set_callout(regex->context, count_step, regex);
    *out = regex;
    return true;
}

void regex_destroy(Regex *regex)
{
    if (regex == NULL) {
        return;
    }
    pcre2_match_context_free(regex->context);
    pcre2_match_data_free(regex->data);
    pcre2_code_free(regex->code);
    mem_free(regex);
}

size_t regex_groups(const Regex *regex)
{
    return regex->n_groups;
}

void regex_limit_steps(Regex *regex, uint64_t steps)
{
    regex->steps_wanted = steps;
}

uint64_t regex_steps(const Regex *regex)
{
    return regex->steps;
}

/** Give a search its steps and make sure that its text is UTF-8. */
static bool begin_search(Regex *regex, Str text, size_t from, Err *err)
{
    regex->steps = 0;
    regex->steps_max = regex->steps_wanted > 0 ? regex->steps_wanted
                                               : STEPS_MAX + STEPS_PER_BYTE * (uint64_t)text.len;
    if (from > text.len) {
        return ERR_SET(err, ERR_PARSE, "search from byte %zu of %zu", from, text.len);
    }
    if (!regex->utf) {
        return true;
    }
    bool known = regex->jit && from > 0 && text.data == regex->checked.data &&
                 text.len == regex->checked.len;
    size_t valid = known ? text.len : utf8_valid_prefix(text);
    if (valid < text.len) {
        return ERR_SET(err, ERR_PARSE, "byte 0x%02X at %zu is not UTF-8",
                       (unsigned)(unsigned char)text.data[valid], valid);
    }
    regex->checked = text;
    if (from < text.len && ((unsigned char)text.data[from] & 0xC0) == 0x80) {
        return ERR_SET(err, ERR_PARSE, "search from byte %zu, inside a character", from);
    }
    return true;
}

/** Run the matcher once; the text is known to be valid. */
static bool match(Regex *regex, Str text, size_t from, uint32_t options, bool *out_found, Err *err)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)(text.len > 0 ? text.data : "");
    uint64_t steps_before = regex->steps;
    regex->position = from;
    options |= regex->jit ? 0 : PCRE2_NO_UTF_CHECK;
    int rc =
        pcre2_match(regex->code, subject, text.len, from, options, regex->data, regex->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        // The interpreter keeps its frames on the heap, under HEAP_LIMIT_KIB.
        regex->steps = steps_before;
        regex->position = from;
        rc = pcre2_match(regex->code, subject, text.len, from, options | PCRE2_NO_JIT, regex->data,
                         regex->context);
    }
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH) {
        *out_found = rc >= 0;
        return true;
    }
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT ||
        rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_RECURSELOOP) {
        return ERR_SET(err, ERR_LIMIT,
                       "the regular expression takes too many steps on this text of %zu bytes",
                       text.len);
    }
    char message[256] = "";
    pcre2_get_error_message(rc, (PCRE2_UCHAR *)message, sizeof(message));
    return ERR_SET(err, ERR_PARSE, "regular expression: %s", message);
}

static void take_spans(const Regex *regex, RegexSpan *spans, size_t n_spans)
{
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(regex->data);
    for (size_t i = 0; i < n_spans; i++) {
        bool took_part = i <= regex->n_groups && offsets[2 * i] != PCRE2_UNSET;
        spans[i].from = took_part ? offsets[2 * i] : STR_NONE;
        spans[i].to = took_part ? offsets[2 * i + 1] : STR_NONE;
        if (took_part && spans[i].from > spans[i].to) {
            spans[i].from = spans[i].to; // \K inside a lookahead can turn a match around
        }
    }
}

bool regex_find(Regex *regex, Str text, size_t from, RegexSpan *spans, size_t n_spans,
                bool *out_found, Err *err)
{
    bool found;
    if (!begin_search(regex, text, from, err) || !match(regex, text, from, 0, &found, err)) {
        return false;
    }
    if (found) {
        take_spans(regex, spans, n_spans);
    }
    *out_found = found;
    return true;
}

bool regex_find_all(Arena *arena, Regex *regex, Str text, size_t max, RegexSpan **out_spans,
                    size_t *out_n_matches, Err *err)
{
    if (!begin_search(regex, text, 0, err)) {
        return false;
    }
    size_t width = regex->n_groups + 1;
    RegexSpan *spans = NULL;
    size_t n = 0;
    size_t cap = 0;
    size_t at = 0;
    uint32_t options = 0;
    bool ok = true;
    bool found = true;
    while (ok && (max == 0 || n < max)) {
        ok = match(regex, text, at, options, &found, err);
        if (!ok || !found) {
            break;
        }
        if (n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            spans = mem_realloc(spans, cap * width, sizeof(RegexSpan));
        }
        RegexSpan *span = spans + n * width;
        take_spans(regex, span, width);
        n++;
        bool stuck = options != 0 && span->to <= at;
        // Behind an empty match: the next one may start here if it is not empty.
        options = span->from == span->to && !stuck ? PCRE2_NOTEMPTY_ATSTART : 0;
        at = span->to > at ? span->to : at;
        if (stuck && at == text.len) {
            break;
        }
        if (stuck) {
            utf8_next(text, &at);
        }
    }
    if (ok) {
        *out_spans = arena_alloc_raw(arena, n * width + 1, sizeof(RegexSpan));
        if (n > 0) {
            memcpy(*out_spans, spans, n * width * sizeof(RegexSpan));
        }
        *out_n_matches = n;
    }
    mem_free(spans);
    return ok;
}
