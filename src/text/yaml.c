// SPDX-License-Identifier: MIT
// The YAML reader: libyaml's events to a tree of Values with places, under the core schema and the
// house's refusals (text.h). libyaml counts places in characters; ours are bytes of real lines, so
// the text is mapped once before it is read. Its messages are made readable in yaml_advice.c.
#include "text/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "text/text_internal.h"

#define YAML_MAX_BYTES  ((size_t)8 * 1024 * 1024)
#define YAML_MAX_DEPTH  64
#define YAML_MAX_FAULTS 100
#define CHARS_PER_MARK  256

typedef struct Yaml {
    Arena *arena;
    Str file;
    Str text; // without its byte order mark
    Faults *faults;
    size_t n_faults_before;
    yaml_parser_t parser;
    uint32_t *char_offsets; // of every 256th character
    size_t n_chars;
    uint32_t *line_starts;
    size_t n_lines;
    NodeStack nodes;
    size_t depth;
    size_t flow_depth;  // of [ and { around the node that is read
    size_t quoted_line; // 1 + start of the line an unquoted template was reported on, 0 for none
} Yaml;

typedef struct Place {
    uint32_t line;
    uint32_t col;
} Place;

// ---- places -------------------------------------------------------------------------------------

/** Byte offset of the character with this number. */
static size_t offset_of(const Yaml *y, size_t index)
{
    if (index >= y->n_chars) {
        return y->text.len;
    }
    size_t at = y->char_offsets[index / CHARS_PER_MARK];
    for (size_t left = index % CHARS_PER_MARK; left > 0; left--) {
        utf8_next(y->text, &at);
    }
    return at;
}

static Place place_of(const Yaml *y, size_t offset)
{
    size_t low = 0;
    size_t high = y->n_lines;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (y->line_starts[middle] <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (Place){(uint32_t)low + 1, (uint32_t)(offset - y->line_starts[low]) + 1};
}

#define FAULT(y, offset, warning, code, ...)                                                       \
    do {                                                                                           \
        Place fault_place = place_of((y), (offset));                                               \
        faults_add((y)->faults, (y)->file, fault_place.line, fault_place.col, (warning), (code),   \
                   __VA_ARGS__);                                                                   \
    } while (0)

/** The characters YAML allows in a text at all (YAML 1.2, production 1). */
static bool is_yaml_char(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7F) || c == 0x85 ||
           (c >= 0xA0 && c != 0xFEFF && c != 0xFFFE && c != 0xFFFF);
}

/** Fill the maps of characters and lines; false at a byte that may not be in a YAML text. */
static bool map_text(Yaml *y)
{
    y->char_offsets = arena_alloc_raw(y->arena, y->text.len / CHARS_PER_MARK + 1, sizeof(uint32_t));
    size_t n_breaks = 0;
    for (size_t i = 0; i < y->text.len; i++) {
        n_breaks += y->text.data[i] == '\n';
    }
    y->line_starts = arena_alloc_raw(y->arena, n_breaks + 1, sizeof(uint32_t));
    y->line_starts[0] = 0;
    y->n_lines = 1;
    for (size_t at = 0; at < y->text.len;) {
        if (y->n_chars % CHARS_PER_MARK == 0) {
            y->char_offsets[y->n_chars / CHARS_PER_MARK] = (uint32_t)at;
        }
        uint32_t c;
        size_t n = utf8_decode(y->text.data + at, y->text.len - at, &c);
        if (n == 0) {
            FAULT(y, at, false, "encoding", "byte 0x%02X is not UTF-8",
                  (unsigned)(unsigned char)y->text.data[at]);
            return false;
        }
        if (!is_yaml_char(c)) {
            FAULT(y, at, false, "encoding", "character U+%04X can not stand in YAML", (unsigned)c);
            return false;
        }
        at += n;
        y->n_chars++;
        if (c == '\n') {
            y->line_starts[y->n_lines++] = (uint32_t)at;
        }
    }
    return true;
}

// ---- events -------------------------------------------------------------------------------------

static size_t event_start(const Yaml *y, const yaml_event_t *event)
{
    return offset_of(y, event->start_mark.index);
}

static void report_parser_error(Yaml *y)
{
    const yaml_parser_t *p = &y->parser;
    YamlProblem problem = {
        .problem = p->problem != NULL ? p->problem : "can not be read as YAML",
        .context = p->context,
        .at = offset_of(y, p->problem_mark.index),
        .context_at = p->context != NULL ? offset_of(y, p->context_mark.index) : STR_NONE,
    };
    YamlAdvice advice = yaml_advise(y->arena, y->text, &problem);
    size_t line_start;
    yaml_line_at(y->text, advice.at, &line_start);
    if (y->quoted_line == line_start + 1) {
        return; // follows from the unquoted template that is already reported there
    }
    FAULT(y, advice.at, false, advice.code, STR_FMT, STR_ARG(advice.message));
}

/** The next event, to be given to yaml_event_delete; false at an error, which is reported. */
static bool next_event(Yaml *y, yaml_event_t *event)
{
    if (y->faults->n - y->n_faults_before >= YAML_MAX_FAULTS) {
        FAULT(y, offset_of(y, y->parser.mark.index), false, "too-many",
              "more than %d faults, the rest is not read", YAML_MAX_FAULTS);
        return false;
    }
    if (yaml_parser_parse(&y->parser, event)) {
        return true;
    }
    report_parser_error(y);
    return false;
}

/** Read past the end of the collection whose start was just read; *out_end is behind it. */
static bool skip_collection(Yaml *y, size_t *out_end)
{
    size_t depth = 1;
    while (depth > 0) {
        yaml_event_t event;
        if (!next_event(y, &event)) {
            return false;
        }
        switch (event.type) {
        case YAML_SEQUENCE_START_EVENT:
        case YAML_MAPPING_START_EVENT:
            depth++;
            break;
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT:
            depth--;
            break;
        case YAML_NO_EVENT:
        case YAML_STREAM_START_EVENT:
        case YAML_STREAM_END_EVENT:
        case YAML_DOCUMENT_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
        case YAML_ALIAS_EVENT:
        case YAML_SCALAR_EVENT:
            break;
        }
        *out_end = offset_of(y, event.end_mark.index);
        yaml_event_delete(&event);
    }
    return true;
}

static void refuse_properties(Yaml *y, size_t at, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL) {
        FAULT(y, at, false, "anchor",
              "anchors are not allowed: write the value out, or quote text that starts with &");
    }
    if (tag != NULL) {
        FAULT(y, at, false, "tag",
              "tags are not allowed: quote text that starts with !, or leave the tag out");
    }
}

// ---- plain scalars ------------------------------------------------------------------------------

static bool is_one_of(Str s, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (str_eq_c(s, *words)) {
            return true;
        }
    }
    return false;
}

static size_t count_digits(Str s, size_t at, char last)
{
    size_t n = 0;
    while (at + n < s.len && s.data[at + n] >= '0' && s.data[at + n] <= last) {
        n++;
    }
    return n;
}

/** What a plain text looks like under the core schema. */
typedef enum NumberForm {
    NUMBER_NONE,
    NUMBER_INT,
    NUMBER_OCTAL,
    NUMBER_HEX,
    NUMBER_REAL,
    NUMBER_NOT_FINITE, // .inf, .nan
} NumberForm;

static bool is_based(Str s, const char *prefix, const char *digits)
{
    return s.len > 2 && str_starts_with(s, str_from_c(prefix)) &&
           str_trim_of(s, str_from_c(digits)).len == 0;
}

static NumberForm number_form(Str s)
{
    static const char *const not_finite[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};
    if (is_based(s, "0o", "01234567o")) {
        return count_digits(s, 2, '7') == s.len - 2 ? NUMBER_OCTAL : NUMBER_NONE;
    }
    if (is_based(s, "0x", "0123456789abcdefABCDEFx")) {
        return memchr(s.data + 2, 'x', s.len - 2) == NULL ? NUMBER_HEX : NUMBER_NONE;
    }
    size_t at = s.len > 0 && (s.data[0] == '-' || s.data[0] == '+');
    if (is_one_of(str_slice(s, at, s.len), not_finite)) {
        return NUMBER_NOT_FINITE;
    }
    size_t whole = count_digits(s, at, '9');
    at += whole;
    if (at == s.len) {
        return whole > 0 ? NUMBER_INT : NUMBER_NONE;
    }
    size_t fraction = 0;
    if (s.data[at] == '.') {
        fraction = count_digits(s, at + 1, '9');
        at += 1 + fraction;
    }
    if (whole + fraction == 0) {
        return NUMBER_NONE;
    }
    if (at < s.len && (s.data[at] == 'e' || s.data[at] == 'E')) {
        at++;
        at += at < s.len && (s.data[at] == '-' || s.data[at] == '+');
        size_t exponent = count_digits(s, at, '9');
        at += exponent > 0 ? exponent : s.len + 1;
    }
    return at == s.len ? NUMBER_REAL : NUMBER_NONE;
}

/** Integers that do not fit become reals, as in JSON. Text is at most what a line holds. */
static Value number_value(Arena *arena, Str s, NumberForm form)
{
    if (form == NUMBER_OCTAL || form == NUMBER_HEX) {
        uint64_t v = 0;
        uint64_t base = form == NUMBER_HEX ? 16 : 8;
        double d = 0;
        bool fits = true;
        for (size_t i = 2; i < s.len; i++) {
            char c = s.data[i];
            uint64_t digit = (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
            fits = fits && v <= ((uint64_t)INT64_MAX - digit) / base;
            v = fits ? v * base + digit : v;
            d = d * (double)base + (double)digit;
        }
        return fits ? value_int((int64_t)v) : value_real(d);
    }
    if (form == NUMBER_NOT_FINITE) {
        return value_real(INFINITY);
    }
    int64_t i;
    if (form == NUMBER_INT && str_to_i64(s.data[0] == '+' ? str_slice(s, 1, s.len) : s, &i)) {
        return value_int(i);
    }
    return value_real(strtod(str_to_c(arena, s), NULL));
}

/** Numbers that print otherwise than they were written: an id or a version that should be text. */
static void warn_number(Yaml *y, size_t at, Str s, const Value *value)
{
    size_t sign = s.data[0] == '-' || s.data[0] == '+';
    bool zero_first = s.len > sign + 1 && s.data[sign] == '0' && s.data[sign + 1] >= '0' &&
                      s.data[sign + 1] <= '9';
    bool has_point = memchr(s.data, '.', s.len) != NULL;
    bool plain_digits = memchr(s.data, 'e', s.len) == NULL && memchr(s.data, 'E', s.len) == NULL;
    bool zero_last = has_point && plain_digits && s.data[s.len - 1] == '0' && s.len > 2 &&
                     s.data[s.len - 2] != '.';
    bool too_long = value->kind == VALUE_REAL && !has_point && plain_digits;
    if (!zero_first && !zero_last && !too_long) {
        return;
    }
    Buf buf = {0};
    json_write(&buf, value, JSON_COMPACT);
    FAULT(y, at, true, "number",
          STR_FMT " is read as the number " STR_FMT ": quote it if it is text", STR_ARG(s),
          STR_ARG(buf_view(&buf)));
    buf_finish(&buf);
}

/** Where a comment starts in the rest of a line after blanks; STR_NONE when it does not. */
static size_t comment_behind(const Yaml *y, size_t at)
{
    while (at < y->text.len && (y->text.data[at] == ' ' || y->text.data[at] == '\t')) {
        at++;
    }
    return at < y->text.len && y->text.data[at] == '#' ? at : STR_NONE;
}

/** Whether the # of a comment is followed by something else than a blank: "####", "#1". */
static bool comment_is_tight(const Yaml *y, size_t at)
{
    char next = at + 1 < y->text.len ? y->text.data[at + 1] : '\n';
    return next != ' ' && next != '\t' && next != '\n' && next != '\r';
}

/** Nothing where a value is expected: null, unless a comment hides what was meant. */
static Value empty_scalar(Yaml *y, size_t at)
{
    size_t comment = comment_behind(y, at);
    if (comment == STR_NONE) {
        return value_null();
    }
    size_t start;
    Str line = yaml_line_at(y->text, comment, &start);
    Str hidden = str_trim(str_slice(line, comment - start, line.len));
    Str shown = str_slice(hidden, 0, 60);
    if (comment_is_tight(y, comment)) {
        FAULT(y, comment, false, "comment",
              "# starts a comment here, so the value is empty: quote it, \"" STR_FMT
              "\", or write null",
              STR_ARG(shown));
        return value_str(hidden);
    }
    FAULT(y, comment, true, "comment",
          "the value is empty: # starts a comment; quote it if it is text, or write null");
    return value_null();
}

/** What the core schema makes of a plain text; infinities and NaN come from .inf, .nan, 1e999. */
static Value resolve_plain(Arena *arena, Str s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    if (is_one_of(s, nulls)) {
        return value_null();
    }
    bool is_true = is_one_of(s, trues);
    if (is_true || is_one_of(s, falses)) {
        return value_bool(is_true);
    }
    NumberForm form = number_form(s);
    return form == NUMBER_NONE ? value_str(s) : number_value(arena, s, form);
}

/** Plain texts that read otherwise than an author may think. */
static void check_plain_text(Yaml *y, size_t at, size_t end, Str s)
{
    static const char *const yes[] = {"yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const no[] = {"no", "No", "NO", "off", "Off", "OFF", NULL};
    bool is_yes = is_one_of(s, yes);
    if (is_yes || is_one_of(s, no)) {
        FAULT(y, at, true, "boolean",
              STR_FMT " is text here: write %s for the boolean, or quote it", STR_ARG(s),
              is_yes ? "true" : "false");
    }
    size_t comment = comment_behind(y, end);
    if (comment != STR_NONE && comment_is_tight(y, comment)) {
        FAULT(y, comment, true, "comment",
              "# starts a comment here: quote the text if it goes on, or put a space after the #");
    }
}

static Value plain_scalar(Yaml *y, size_t at, size_t end, Str s)
{
    if (s.len == 0) {
        return empty_scalar(y, at);
    }
    Value value = resolve_plain(y->arena, s);
    if (value.kind == VALUE_REAL && !isfinite(value.as.real)) {
        FAULT(y, at, false, "number", STR_FMT " is not a finite number",
              STR_ARG(str_slice(s, 0, 60)));
        return value_str(s);
    }
    if (value.kind == VALUE_INT || value.kind == VALUE_REAL) {
        warn_number(y, at, s, &value);
    } else if (value.kind == VALUE_STR) {
        check_plain_text(y, at, end, s);
    }
    return value;
}

// ---- scalars ------------------------------------------------------------------------------------

/** Blanks at the start of the first line that has more than blanks; false when none has. */
static bool first_indent(Str s, size_t *out)
{
    for (size_t at = 0; at < s.len; at++) {
        size_t start = at;
        while (at < s.len && s.data[at] == ' ') {
            at++;
        }
        if (at < s.len && s.data[at] != '\n' && s.data[at] != '\r') {
            *out = at - start;
            return true;
        }
        while (at < s.len && s.data[at] != '\n') {
            at++;
        }
    }
    return false;
}

/** How far a block scalar's text is indented in the file: blanks there less blanks in the text. */
static uint16_t block_indent(const Yaml *y, size_t start, size_t end, Str text)
{
    const char *header = memchr(y->text.data + start, '\n', end - start);
    size_t in_file;
    size_t in_text;
    if (header == NULL || !first_indent(text, &in_text)) {
        return 0;
    }
    size_t body = (size_t)(header - y->text.data) + 1;
    if (!first_indent(str_slice(y->text, body, end), &in_file) || in_file < in_text) {
        return 0;
    }
    return in_file - in_text > UINT16_MAX ? UINT16_MAX : (uint16_t)(in_file - in_text);
}

static Value read_scalar(Yaml *y, const yaml_event_t *event)
{
    size_t start = event_start(y, event);
    size_t end = offset_of(y, event->end_mark.index);
    const char *bytes = (const char *)event->data.scalar.value;
    Str s = str_copy(y->arena, (Str){bytes, event->data.scalar.length});
    const yaml_char_t *tag = event->data.scalar.tag;
    refuse_properties(y, start, event->data.scalar.anchor, tag);
    Value value = value_str(s);
    value.style = VALUE_STYLE_QUOTED;
    switch (event->data.scalar.style) {
    case YAML_ANY_SCALAR_STYLE:
    case YAML_PLAIN_SCALAR_STYLE:
        value = tag != NULL ? value : plain_scalar(y, start, end, s);
        value.style = VALUE_STYLE_PLAIN;
        break;
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
        break;
    case YAML_LITERAL_SCALAR_STYLE:
        value.style = VALUE_STYLE_LITERAL;
        value.indent = block_indent(y, start, end, s);
        break;
    case YAML_FOLDED_SCALAR_STYLE:
        value.style = VALUE_STYLE_FOLDED;
        value.indent = block_indent(y, start, end, s);
        break;
    }
    return value;
}

// ---- collections --------------------------------------------------------------------------------

static bool read_node(Yaml *y, yaml_event_t *event, Value *out);

static bool enter(Yaml *y, size_t at, bool flow)
{
    if (y->depth == YAML_MAX_DEPTH) {
        FAULT(y, at, false, "limit", "nested deeper than %d levels", YAML_MAX_DEPTH);
        return false;
    }
    y->depth++;
    y->flow_depth += flow;
    return true;
}

static void leave(Yaml *y, bool flow)
{
    y->depth--;
    y->flow_depth -= flow;
}

/**
 * Report a template that YAML took for a map; its text is the value that was meant. Outside of
 * brackets that is the rest of the line, without a comment. */
static Value take_template(Yaml *y, size_t from, size_t to)
{
    size_t line_start;
    Str line = yaml_line_at(y->text, from, &line_start);
    size_t line_end = line_start + line.len;
    bool one_line = to <= line_end;
    if (one_line && y->flow_depth == 0) {
        Str tail = str_slice(y->text, to, line_end);
        size_t comment = str_find(tail, STR(" #"), 0);
        to += str_trim(str_slice(tail, 0, comment)).len > 0
                  ? (comment == STR_NONE ? tail.len : comment)
                  : 0;
    }
    Str source = str_trim(str_slice(y->text, from, to));
    bool has_double = memchr(source.data, '"', source.len) != NULL;
    bool has_single = memchr(source.data, '\'', source.len) != NULL;
    if (one_line && source.len <= 80 && !(has_double && has_single)) {
        const char *quote = has_double ? "'" : "\"";
        FAULT(y, from, false, "unquoted-template", "quote the template: %s" STR_FMT "%s", quote,
              STR_ARG(source), quote);
    } else {
        FAULT(y, from, false, "unquoted-template",
              "quote the template: {{ without quotes starts a YAML map");
    }
    y->quoted_line = line_start + 1;
    return value_str(str_copy(y->arena, source));
}

static bool read_list(Yaml *y, size_t start, bool flow, Value *out)
{
    size_t base = y->nodes.n_values;
    if (!enter(y, start, flow)) {
        return false;
    }
    for (;;) {
        yaml_event_t event;
        if (!next_event(y, &event)) {
            return false;
        }
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            break;
        }
        Value item;
        if (!read_node(y, &event, &item)) {
            return false;
        }
        node_stack_push_value(&y->nodes, item);
    }
    leave(y, flow);
    *out = node_stack_cut_list(&y->nodes, base, y->arena);
    return true;
}

static void check_duplicates(Yaml *y, size_t base)
{
    ValuePair *pairs = y->nodes.pairs + base;
    size_t n = y->nodes.n_pairs - base;
    uint32_t *first;
    if (n < 2 || pairs_find_duplicates(pairs, n, &first) == 0) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (first[i] == i) {
            continue;
        }
        if (y->faults->n - y->n_faults_before < YAML_MAX_FAULTS) {
            Str shown = str_slice(pairs[i].key, 0, 100);
            faults_add(y->faults, y->file, pairs[i].line, pairs[i].col, false, "duplicate-key",
                       "duplicate key '" STR_FMT "', first on line %u", STR_ARG(shown),
                       pairs[first[i]].line);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (first[i] == i) {
            pairs[kept++] = pairs[i];
        }
    }
    y->nodes.n_pairs = base + kept;
    mem_free(first);
}

/** Keys are text: a plain one that the schema reads as something else has to be quoted. */
static Str key_of_scalar(Yaml *y, const yaml_event_t *event)
{
    size_t at = event_start(y, event);
    Str source = {(const char *)event->data.scalar.value, event->data.scalar.length};
    Str key = str_copy(y->arena, source);
    Str shown = str_slice(key, 0, 60);
    refuse_properties(y, at, event->data.scalar.anchor, event->data.scalar.tag);
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || event->data.scalar.tag != NULL) {
        return key;
    }
    Value value = resolve_plain(y->arena, key);
    if (key.len == 0) {
        FAULT(y, at, false, "key", "this key is empty");
    } else if (value.kind != VALUE_STR) {
        FAULT(y, at, false, "key", "the key " STR_FMT " is %s, not text: quote it, \"" STR_FMT "\"",
              STR_ARG(shown), value_kind_word(&value), STR_ARG(shown));
    } else if (str_eq(key, STR("<<"))) {
        FAULT(y, at, false, "merge-key", "merge keys are not allowed: write the keys out");
    }
    return key;
}

/** A key that is not a scalar, with its value, is reported and left out. */
static bool skip_complex_pair(Yaml *y, yaml_event_t *event)
{
    size_t at = event_start(y, event);
    bool alias = event->type == YAML_ALIAS_EVENT;
    bool template = yaml_unquoted_template(y->text, at) == at;
    yaml_event_delete(event);
    size_t end = at;
    if (template) {
        FAULT(y, at, false, "unquoted-template", "quote the template; a key is text as it stands");
    } else {
        FAULT(y, at, false, "key", "a key must be text, not %s",
              alias ? "an alias" : "a list or a map");
    }
    if (!alias && !skip_collection(y, &end)) {
        return false;
    }
    Value ignored;
    yaml_event_t value;
    return next_event(y, &value) && read_node(y, &value, &ignored);
}

/** "{a}", "{a:1}" and "[a: ]": a key of a flow map whose value is not there. */
static void check_flow_value(Yaml *y, const ValuePair *pair, size_t at, bool braces)
{
    Str key = str_slice(pair->key, 0, 60);
    if (!braces) {
        FAULT(y, at, false, "quote", "quote text that ends with a colon: \"" STR_FMT ":\"",
              STR_ARG(key));
    } else if (memchr(key.data, ':', key.len) != NULL) {
        FAULT(y, at, false, "flow-map", "'" STR_FMT "' has no value: put a space after the colon",
              STR_ARG(key));
    } else {
        FAULT(y, at, false, "flow-map",
              "'" STR_FMT "' has no value: write null, or quote the text if this is no map",
              STR_ARG(key));
    }
}

static bool read_pair(Yaml *y, yaml_event_t *key_event, size_t map_at, bool flow)
{
    size_t key_at = event_start(y, key_event);
    Place place = place_of(y, key_at);
    ValuePair pair = {.line = place.line, .col = place.col};
    pair.key = key_of_scalar(y, key_event);
    yaml_event_delete(key_event);
    yaml_event_t event;
    if (!next_event(y, &event)) {
        return false;
    }
    bool empty = event.type == YAML_SCALAR_EVENT && event.data.scalar.length == 0 &&
                 event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!read_node(y, &event, &pair.value)) {
        return false;
    }
    if (flow && empty && pair.value.kind == VALUE_NULL && pair.key.len > 0) {
        check_flow_value(y, &pair, key_at, y->text.data[map_at] == '{');
    }
    node_stack_push_pair(&y->nodes, pair);
    return true;
}

/** "{{ x }}": a flow map whose first key is a flow map that starts one byte later. */
static bool is_template(const Yaml *y, size_t start, const yaml_event_t *key)
{
    return key->type == YAML_MAPPING_START_EVENT && event_start(y, key) == start + 1 &&
           str_starts_with(str_slice(y->text, start, y->text.len), STR("{{"));
}

/** Behind the start of the inner map: past both ends. */
static bool read_template(Yaml *y, size_t start, Value *out)
{
    size_t end = start;
    if (!skip_collection(y, &end) || !skip_collection(y, &end)) {
        return false;
    }
    *out = take_template(y, start, end);
    return true;
}

static bool read_map(Yaml *y, size_t start, bool flow, Value *out)
{
    size_t base = y->nodes.n_pairs;
    if (!enter(y, start, flow)) {
        return false;
    }
    bool first = true;
    for (;; first = false) {
        yaml_event_t event;
        if (!next_event(y, &event)) {
            return false;
        }
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            break;
        }
        if (first && is_template(y, start, &event)) {
            yaml_event_delete(&event);
            leave(y, flow);
            return read_template(y, start, out);
        }
        bool is_text = event.type == YAML_SCALAR_EVENT;
        if (!(is_text ? read_pair(y, &event, start, flow) : skip_complex_pair(y, &event))) {
            return false;
        }
    }
    leave(y, flow);
    check_duplicates(y, base);
    *out = node_stack_cut_map(&y->nodes, base, y->arena);
    return true;
}

static Value refuse_alias(Yaml *y, const yaml_event_t *event, size_t at)
{
    FAULT(y, at, false, "alias",
          "aliases are not allowed: write the value out, or quote text that starts with *");
    Str name = str_from_c((const char *)event->data.alias.anchor);
    return value_str(str_concat(y->arena, STR("*"), name));
}

/** Takes the event; the node ends with it or with its last child. */
static bool read_node(Yaml *y, yaml_event_t *event, Value *out)
{
    size_t at = event_start(y, event);
    Place place = place_of(y, at);
    bool ok = true;
    bool flow = false;
    yaml_event_type_t type = event->type;
    if (type == YAML_SCALAR_EVENT) {
        *out = read_scalar(y, event);
    } else if (type == YAML_ALIAS_EVENT) {
        *out = refuse_alias(y, event, at);
    } else if (type == YAML_SEQUENCE_START_EVENT) {
        flow = event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
        refuse_properties(y, at, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    } else {
        flow = event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
        refuse_properties(y, at, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    }
    yaml_event_delete(event);
    if (type == YAML_SEQUENCE_START_EVENT) {
        ok = read_list(y, at, flow, out);
    } else if (type == YAML_MAPPING_START_EVENT) {
        ok = read_map(y, at, flow, out);
    }
    if (ok) {
        out->line = place.line;
        out->col = place.col;
    }
    return ok;
}

// ---- documents ----------------------------------------------------------------------------------

static bool skip_event(Yaml *y)
{
    yaml_event_t event;
    if (!next_event(y, &event)) {
        return false;
    }
    yaml_event_delete(&event);
    return true;
}

static bool read_document(Yaml *y, Value *out)
{
    yaml_event_t event;
    if (!skip_event(y) || !next_event(y, &event)) { // stream start; document start or stream end
        return false;
    }
    bool empty = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (empty) {
        FAULT(y, 0, false, "empty", "the file is empty");
        return false;
    }
    if (!next_event(y, &event) || !read_node(y, &event, out) || !skip_event(y) ||
        !next_event(y, &event)) {
        return false;
    }
    if (event.type == YAML_DOCUMENT_START_EVENT) {
        FAULT(y, event_start(y, &event), false, "documents",
              "a second document starts here: one file holds one");
    }
    yaml_event_delete(&event);
    return true;
}

bool yaml_parse(Arena *arena, Str file, Str text, Faults *faults, Value *out)
{
    if (text.len > YAML_MAX_BYTES) {
        faults_add(faults, file, 0, 0, false, "limit", "%zu bytes; the most for a YAML file is %zu",
                   text.len, YAML_MAX_BYTES);
        return false;
    }
    Yaml y = {
        .arena = arena,
        .file = file,
        .text = text_drop_bom(text),
        .faults = faults,
        .n_faults_before = faults->n,
    };
    if (!map_text(&y)) {
        return false;
    }
    if (!yaml_parser_initialize(&y.parser)) {
        faults_add(faults, file, 0, 0, false, "memory", "no memory to read YAML");
        return false;
    }
    yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&y.parser, (const unsigned char *)y.text.data, y.text.len);
    Value value;
    bool ok = read_document(&y, &value);
    yaml_parser_delete(&y.parser);
    node_stack_finish(&y.nodes);
    if (ok) {
        *out = value;
    }
    return ok;
}

void yaml_text_place(const Value *scalar, uint32_t text_line, uint32_t text_col, uint32_t *out_line,
                     uint32_t *out_col)
{
    *out_line = scalar->line;
    *out_col = scalar->col;
    if (scalar->style == VALUE_STYLE_LITERAL) {
        *out_line = scalar->line + text_line;
        *out_col = scalar->indent + text_col;
    } else if (text_line <= 1 && text_col > 0 && scalar->style != VALUE_STYLE_FOLDED) {
        *out_col += text_col - 1 + (scalar->style == VALUE_STYLE_QUOTED);
    }
}
