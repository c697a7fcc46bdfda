// SPDX-License-Identifier: MIT
// libyaml says what it expected; a person wants to know what to change. This file looks at the line
// where it stopped, recognises the mistakes that evals invite (research on real files), and says
// how to write it instead. What is not recognised keeps libyaml's sentence.
#include "text/text.h"

#include <string.h>

#include "text/yaml_internal.h"

Str yaml_line_at(Str text, size_t at, size_t *out_start)
{
    at = at < text.len ? at : text.len;
    size_t start = at;
    while (start > 0 && text.data[start - 1] != '\n') {
        start--;
    }
    const char *newline = memchr(text.data + at, '\n', text.len - at);
    size_t end = newline != NULL ? (size_t)(newline - text.data) : text.len;
    if (end > start && text.data[end - 1] == '\r') {
        end--;
    }
    *out_start = start;
    return str_slice(text, start, end);
}

/** Whether a quote at i opens a quoted scalar: a token begins there. */
static bool token_starts(Str line, size_t i)
{
    while (i > 0 && line.data[i - 1] == ' ') {
        i--;
    }
    return i == 0 || memchr("[{,:-", line.data[i - 1], 5) != NULL;
}

/** Behind the closing quote of the quoted scalar that opens at i, or the line's end. */
static size_t quoted_end(Str line, size_t i)
{
    char quote = line.data[i++];
    while (i < line.len && line.data[i] != quote) {
        i += line.data[i] == '\\' && quote == '"' ? 2 : 1;
    }
    return i < line.len ? i + 1 : line.len;
}

/** The first place outside of quotes and comments where find() says yes; STR_NONE. */
static size_t find_unquoted(Str line, bool (*find)(Str line, size_t at))
{
    for (size_t i = 0; i < line.len;) {
        char c = line.data[i];
        if (find(line, i)) {
            return i;
        }
        if (c == '#' && (i == 0 || line.data[i - 1] == ' ')) {
            return STR_NONE;
        }
        i = (c == '"' || c == '\'') && token_starts(line, i) ? quoted_end(line, i) : i + 1;
    }
    return STR_NONE;
}

static bool opens_template(Str line, size_t i)
{
    return line.data[i] == '{' && i + 1 < line.len && memchr("{%#", line.data[i + 1], 3) != NULL &&
           token_starts(line, i);
}

static bool opens_comment(Str line, size_t i)
{
    return line.data[i] == '#' && (i == 0 || line.data[i - 1] == ' ' || line.data[i - 1] == '[' ||
                                   line.data[i - 1] == ',');
}

size_t yaml_unquoted_template(Str text, size_t at)
{
    size_t start;
    Str line = yaml_line_at(text, at, &start);
    size_t found = find_unquoted(line, opens_template);
    return found == STR_NONE ? STR_NONE : start + found;
}

// ---- recognising mistakes -----------------------------------------------------------------------

typedef struct Case {
    Arena *arena;
    Str text;
    const YamlProblem *problem;
    YamlAdvice *advice;
} Case;

static bool problem_is(const Case *c, const char *words)
{
    return strstr(c->problem->problem, words) != NULL;
}

static bool context_is(const Case *c, const char *words)
{
    return c->problem->context != NULL && strstr(c->problem->context, words) != NULL;
}

static bool advise(const Case *c, size_t at, const char *code, Str message)
{
    *c->advice = (YamlAdvice){at, code, message};
    return true;
}

static char byte_at(const Case *c, size_t at)
{
    return at < c->text.len ? c->text.data[at] : '\n';
}

static size_t indent_of(Str line)
{
    size_t n = 0;
    while (n < line.len && line.data[n] == ' ') {
        n++;
    }
    return n;
}

static bool is_block_header(Str line)
{
    Str s = line;
    size_t comment = find_unquoted(s, opens_comment);
    s = str_trim(comment == STR_NONE ? s : str_slice(s, 0, comment));
    s = str_trim_of(s, STR("+-123456789"));
    return s.len > 1 && (s.data[s.len - 1] == '|' || s.data[s.len - 1] == '>') &&
           memchr(" -", s.data[s.len - 2], 2) != NULL;
}

/** A line that is indented less than the block text above it, but more than that text's key. */
static bool is_dedented_text(const Case *c)
{
    size_t start;
    Str line = yaml_line_at(c->text, c->problem->at, &start);
    size_t indent = indent_of(line);
    size_t problem_start = start;
    while (indent > 0 && start > 0) {
        Str above = yaml_line_at(c->text, start - 1, &start);
        if (str_trim(above).len == 0) {
            continue;
        }
        if (indent_of(above) > indent) {
            continue;
        }
        if (!is_block_header(above) || indent_of(above) >= indent) {
            return false;
        }
        uint32_t header_line;
        uint32_t col;
        text_place(c->text, start, &header_line, &col);
        return advise(c, problem_start + indent, "indent",
                      str_printf(c->arena,
                                 "this line is indented less than the text that starts on line %u, "
                                 "which it ends: indent it as much",
                                 header_line + 1));
    }
    return false;
}

static bool is_unquoted_template(const Case *c)
{
    size_t at = yaml_unquoted_template(c->text, c->problem->at);
    if (at == STR_NONE && context_is(c, "flow") && c->problem->context_at != STR_NONE) {
        at = yaml_unquoted_template(c->text, c->problem->context_at);
    }
    if (at == STR_NONE) {
        return false;
    }
    const char *form = byte_at(c, at + 1) == '%'   ? "{% ... %}"
                       : byte_at(c, at + 1) == '#' ? "{# ... #}"
                                                   : "{{ ... }}";
    return advise(c, at, "unquoted-template",
                  str_printf(c->arena,
                             "quote the template: text that starts with %s has to stand in quotes "
                             "or below a |",
                             form));
}

static bool is_colon_text(const Case *c)
{
    if (!problem_is(c, "found unexpected ':'")) {
        return false;
    }
    size_t from = c->problem->context_at != STR_NONE ? c->problem->context_at : c->problem->at;
    Str word = str_slice(c->text, from, c->problem->at + 1);
    return advise(c, from, "quote",
                  str_printf(c->arena, "quote text that holds a colon: \"" STR_FMT "\"",
                             STR_ARG(str_slice(word, 0, 60))));
}

static bool is_unclosed(const Case *c)
{
    if (problem_is(c, "unexpected end of stream") && context_is(c, "quoted scalar")) {
        return advise(c, c->problem->context_at, "quote",
                      STR("the quote that opens here is never closed"));
    }
    bool list = problem_is(c, "expected ',' or ']'");
    if (!list && !problem_is(c, "expected ',' or '}'")) {
        return false;
    }
    size_t open = c->problem->context_at;
    size_t start;
    Str line = yaml_line_at(c->text, open, &start);
    size_t comment = find_unquoted(line, opens_comment);
    if (comment != STR_NONE && start + comment > open) {
        return advise(c, start + comment, "comment",
                      str_printf(c->arena,
                                 "# starts a comment here and hides the closing %s: "
                                 "quote text that starts with #",
                                 list ? "]" : "}"));
    }
    return advise(c, open, list ? "flow-list" : "flow-map",
                  str_printf(c->arena,
                             "the %s that opens here is not closed, or a comma is missing",
                             list ? "[" : "{"));
}

static bool is_missing_value(const Case *c)
{
    if (!problem_is(c, "expected node content")) {
        return false;
    }
    char b = byte_at(c, c->problem->at);
    if (b == '\n' || b == '\r') {
        // The end of the text inside brackets: the last one that opens is the place to look at.
        size_t at = c->problem->at < c->text.len ? c->problem->at : c->text.len;
        while (at > 0 && c->text.data[at - 1] != '[' && c->text.data[at - 1] != '{') {
            at--;
        }
        if (at == 0) {
            return false;
        }
        bool list = c->text.data[at - 1] == '[';
        return advise(c, at - 1, list ? "flow-list" : "flow-map",
                      str_printf(c->arena,
                                 "the %c that opens here is not closed, or a comma is missing",
                                 c->text.data[at - 1]));
    }
    return advise(
        c, c->problem->at, "quote",
        str_printf(c->arena, "a value is missing here; quote text that starts with %c", b));
}

static bool is_bad_start(const Case *c)
{
    if (!problem_is(c, "cannot start any token")) {
        return false;
    }
    char b = byte_at(c, c->problem->at);
    if (b == '\t') {
        return advise(c, c->problem->at, "tab", STR("indent with spaces, not with a tab"));
    }
    return advise(c, c->problem->at, "quote",
                  str_printf(c->arena, "quote text that starts with %c", b));
}

static bool is_second_colon(const Case *c)
{
    if (!problem_is(c, "mapping values are not allowed")) {
        return false;
    }
    size_t start;
    Str line = yaml_line_at(c->text, c->problem->at, &start);
    Str before = str_slice(line, 0, c->problem->at - start);
    if (str_find(before, STR(": "), 0) != STR_NONE) {
        return advise(c, c->problem->at, "quote",
                      STR("a second ': ' on this line: quote the text that holds it"));
    }
    return advise(c, c->problem->at, "indent",
                  STR("a key is not possible here: check the indentation, and that the line above "
                      "ends its value"));
}

static bool is_text_after_end(const Case *c)
{
    if (!problem_is(c, "did not find expected key") &&
        !problem_is(c, "expected <document start>")) {
        return false;
    }
    size_t start;
    Str line = yaml_line_at(c->text, c->problem->at, &start);
    Str before = str_trim(str_slice(line, 0, c->problem->at - start));
    if (before.len == 0) {
        return advise(c, c->problem->at, "indent",
                      STR("this line does not fit what stands above it: check the indentation and "
                          "the quotes"));
    }
    char last = before.data[before.len - 1];
    char b = byte_at(c, c->problem->at);
    if (b == ']' || b == '}') {
        return advise(c, c->problem->at, b == ']' ? "flow-list" : "flow-map",
                      str_printf(c->arena, "this %c closes nothing", b));
    }
    if (last == ']' || last == '}') {
        return advise(
            c, c->problem->at, "quote",
            str_printf(c->arena, "text goes on after the closing %c: quote all of it", last));
    }
    if (last != '"' && last != '\'') {
        return false;
    }
    return advise(
        c, c->problem->at, "quote",
        STR("text goes on after the closing quote: put all of it in quotes (inside double "
            "quotes write \\\", inside single quotes '')"));
}

static bool is_bad_escape(const Case *c)
{
    if (!problem_is(c, "unknown escape character")) {
        return false;
    }
    size_t at = c->problem->at;
    while (at < c->text.len && c->text.data[at] != '\\') {
        at++;
    }
    char scratch[32];
    Str found = text_describe_byte(c->text, at + 1, scratch);
    return advise(c, at, "escape",
                  str_printf(c->arena,
                             "unknown escape: \\ before " STR_FMT
                             " in double quotes; use single quotes, where \\ is itself",
                             STR_ARG(found)));
}

static bool is_property(const Case *c)
{
    const char *what = context_is(c, "alias") ? "*" : context_is(c, "anchor") ? "&" : NULL;
    if (context_is(c, "tag")) {
        what = "!";
    }
    if (what == NULL || c->problem->context_at == STR_NONE) {
        return false;
    }
    return advise(c, c->problem->context_at, "quote",
                  str_printf(c->arena, "quote text that starts with %s", what));
}

static bool is_list_in_line(const Case *c)
{
    if (!problem_is(c, "block sequence entries are not allowed")) {
        return false;
    }
    return advise(
        c, c->problem->at, "indent",
        STR("a list item has to start its own line: use [a, b] on one line, or quote text "
            "that starts with -"));
}

static bool is_mixed_list(const Case *c)
{
    if (!problem_is(c, "expected '-' indicator")) {
        return false;
    }
    return advise(c, c->problem->at, "indent",
                  STR("a list ends here but its level goes on: check the indentation, or start the "
                      "line with '- '"));
}

static bool is_missing_colon(const Case *c)
{
    if (!problem_is(c, "could not find expected ':'")) {
        return false;
    }
    size_t at = c->problem->context_at != STR_NONE ? c->problem->context_at : c->problem->at;
    return advise(c, at, "colon",
                  STR("a key without ': ' after it; text over several lines stands below a |"));
}

static bool is_tab(const Case *c)
{
    if (!problem_is(c, "tab character")) {
        return false;
    }
    return advise(c, c->problem->at, "tab", STR("indent with spaces, not with a tab"));
}

/** Tried in order: the most telling first. */
static bool (*const recognisers[])(const Case *c) = {
    is_dedented_text, is_unquoted_template, is_missing_value,  is_colon_text, is_unclosed,
    is_bad_start,     is_second_colon,      is_text_after_end, is_bad_escape, is_property,
    is_list_in_line,  is_mixed_list,        is_missing_colon,  is_tab,
};

YamlAdvice yaml_advise(Arena *arena, Str text, const YamlProblem *problem)
{
    YamlAdvice advice = {.at = problem->at, .code = "yaml"};
    Case c = {arena, text, problem, &advice};
    for (size_t i = 0; i < sizeof(recognisers) / sizeof(recognisers[0]); i++) {
        if (recognisers[i](&c)) {
            return advice;
        }
    }
    advice.message = problem->context != NULL
                         ? str_printf(arena, "%s (%s)", problem->problem, problem->context)
                         : str_printf(arena, "%s", problem->problem);
    return advice;
}
