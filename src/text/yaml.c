// SPDX-License-Identifier: MIT
// The YAML reader: libyaml's events to a tree of Values with places, under the core schema and the
// house's refusals (text.h). libyaml counts places in characters; ours are bytes of real lines, so
// the text is mapped once before it is read. Its messages are made readable in yaml_advice.c.
#include "text/text.h"

#include <string.h>

#include "text/yaml_internal.h"

#define YAML_MAX_BYTES ((size_t)8 * 1024 * 1024)
#define YAML_MAX_DEPTH 64
#define CHARS_PER_MARK 256

// ---- places -------------------------------------------------------------------------------------

size_t yaml_offset_of(const Yaml *y, size_t index)
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

Place yaml_place_of(const Yaml *y, size_t offset)
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

size_t yaml_event_start(const Yaml *y, const yaml_event_t *event)
{
    return yaml_offset_of(y, event->start_mark.index);
}

static void report_parser_error(Yaml *y)
{
    const yaml_parser_t *p = &y->parser;
    YamlProblem problem = {
        .problem = p->problem != NULL ? p->problem : "can not be read as YAML",
        .context = p->context,
        .at = yaml_offset_of(y, p->problem_mark.index),
        .context_at = p->context != NULL ? yaml_offset_of(y, p->context_mark.index) : STR_NONE,
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
        FAULT(y, yaml_offset_of(y, y->parser.mark.index), false, "too-many",
              "more than %d faults, the rest is not read", YAML_MAX_FAULTS);
        return false;
    }
    if (yaml_parser_parse(&y->parser, event)) {
        return true;
    }
    report_parser_error(y);
    return false;
}

/** libyaml takes time with the square of the depth. */
static bool refuse_depth(Yaml *y, size_t at)
{
    FAULT(y, at, false, "limit", "nested deeper than %d levels", YAML_MAX_DEPTH);
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
        bool starts =
            event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT;
        bool ends = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        depth += starts;
        depth -= ends;
        *out_end = yaml_offset_of(y, event.end_mark.index);
        yaml_event_delete(&event);
        if (y->depth + depth > YAML_MAX_DEPTH) {
            return refuse_depth(y, *out_end);
        }
    }
    return true;
}

// ---- collections --------------------------------------------------------------------------------

static bool read_node(Yaml *y, yaml_event_t *event, Value *out);

static bool enter(Yaml *y, size_t at, bool flow)
{
    if (y->depth == YAML_MAX_DEPTH) {
        return refuse_depth(y, at);
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
    size_t n = y->nodes.n_pairs - base;
    if (n < 2) {
        return;
    }
    ValuePair *pairs = y->nodes.pairs + base;
    uint32_t *first;
    if (pairs_find_duplicates(pairs, n, &first) == 0) {
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

/** A key that is not a scalar, with its value, is reported and left out. */
static bool skip_complex_pair(Yaml *y, yaml_event_t *event)
{
    size_t at = yaml_event_start(y, event);
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
    size_t key_at = yaml_event_start(y, key_event);
    Place place = yaml_place_of(y, key_at);
    ValuePair pair = {.line = place.line, .col = place.col};
    pair.key = yaml_read_key(y, key_event);
    y->key = pair.key;
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
    return key->type == YAML_MAPPING_START_EVENT && yaml_event_start(y, key) == start + 1 &&
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
    size_t at = yaml_event_start(y, event);
    Place place = yaml_place_of(y, at);
    bool ok = true;
    bool flow = false;
    yaml_event_type_t type = event->type;
    if (type == YAML_SCALAR_EVENT) {
        *out = yaml_read_scalar(y, event);
    } else if (type == YAML_ALIAS_EVENT) {
        *out = refuse_alias(y, event, at);
    } else if (type == YAML_SEQUENCE_START_EVENT) {
        flow = event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
        yaml_refuse_properties(y, at, event->data.sequence_start.anchor,
                               event->data.sequence_start.tag);
    } else {
        flow = event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
        yaml_refuse_properties(y, at, event->data.mapping_start.anchor,
                               event->data.mapping_start.tag);
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
        FAULT(y, yaml_event_start(y, &event), false, "documents",
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
        .key = STR_EMPTY,
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
