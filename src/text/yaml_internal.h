// SPDX-License-Identifier: MIT
// What the files of the YAML reader share: its state, places, scalars (yaml_scalar.c) and advice
// (yaml_advice.c, which knows nothing of libyaml but its sentences).
#pragma once

#include "text/text_internal.h"

#include <yaml.h>

#define YAML_MAX_FAULTS 100

/** The reader. libyaml counts places in characters; ours are bytes of real lines. */
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
    Str key; // last one read
    size_t depth;
    size_t flow_depth;  // of [ and { around the node that is read
    size_t quoted_line; // 1 + start of the line an unquoted template was reported on, 0 for none
} Yaml;

/** Line and column from 1, bytes. */
typedef struct Place {
    uint32_t line;
    uint32_t col;
} Place;

/** Byte offset of the character with this number. */
size_t yaml_offset_of(const Yaml *y, size_t index);
Place yaml_place_of(const Yaml *y, size_t offset);
size_t yaml_event_start(const Yaml *y, const yaml_event_t *event);

#define FAULT(y, offset, warning, code, ...)                                                       \
    do {                                                                                           \
        Place fault_place = yaml_place_of((y), (offset));                                          \
        faults_add((y)->faults, (y)->file, fault_place.line, fault_place.col, (warning), (code),   \
                   __VA_ARGS__);                                                                   \
    } while (0)

// ---- yaml_scalar.c ------------------------------------------------------------------------------

/** Anchors and tags are faults; the node is read as if they were not there. */
void yaml_refuse_properties(Yaml *y, size_t at, const yaml_char_t *anchor, const yaml_char_t *tag);
/** The value of a scalar under the core schema, its doubtful forms reported. */
Value yaml_read_scalar(Yaml *y, const yaml_event_t *event);
/** Keys are text: a plain one that the schema reads as something else has to be quoted. */
Str yaml_read_key(Yaml *y, const yaml_event_t *event);

// ---- yaml_advice.c ------------------------------------------------------------------------------

/** A place inside a YAML text, as a byte offset after the byte order mark. */
typedef struct YamlProblem {
    const char *problem; // libyaml's sentence
    const char *context; // may be NULL
    size_t at;           // where it stopped
    size_t context_at;   // where the construct it was reading begins; STR_NONE when unknown
} YamlProblem;

/** What to tell a person: where, what, and under which code. */
typedef struct YamlAdvice {
    size_t at;
    const char *code;
    Str message;
} YamlAdvice;

YamlAdvice yaml_advise(Arena *arena, Str text, const YamlProblem *problem);
/** Offset of a template ({{, {% or {#) that opens outside of quotes on the line of at; STR_NONE. */
size_t yaml_unquoted_template(Str text, size_t at);
/** The line of text that holds the offset, without its line break. */
Str yaml_line_at(Str text, size_t at, size_t *out_start);
