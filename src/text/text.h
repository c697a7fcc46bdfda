// SPDX-License-Identifier: MIT
// Formats of text, all to and from base's Value: JSON, YAML (libyaml), regular expressions (PCRE2),
// CSV and TSV, UTF-8. Input is hostile: every parser has limits and says where it stopped.
#pragma once

#include "base/base.h"

// ---- UTF-8 ----------------------------------------------------------------------------------

/** Length of the longest valid UTF-8 prefix (no surrogates, no overlongs, <= U+10FFFF). */
size_t utf8_valid_prefix(Str s);
bool utf8_is_valid(Str s);
/** Decode one code point at s.data[*at] and advance; an invalid byte gives U+FFFD and advances 1. */
uint32_t utf8_next(Str s, size_t *at);
/** Encode into out (at least 4 bytes); returns the number of bytes. */
size_t utf8_encode(uint32_t code_point, char *out);
size_t utf8_length(Str s); // code points
/** A copy in which every invalid byte became U+FFFD; s itself when it is valid. */
Str utf8_clean(Arena *arena, Str s);
/** Terminal columns of a string (wide East Asian 2, combining 0), and a copy cut to at most n. */
size_t utf8_columns(Str s);
/** Simple case mapping of every code point (Unicode, one to one; from PCRE2's or our own table). */
Str utf8_lower(Arena *arena, Str s);
Str utf8_upper(Arena *arena, Str s);

// ---- JSON (RFC 8259) ------------------------------------------------------------------------

typedef struct JsonOptions {
    size_t max_depth;        // 0 means 128
    bool keep_last_duplicate; // else a duplicate key is an error
    bool trailing;           // stop after one value; *out_used tells where
} JsonOptions;

/**
 * Parse one JSON text. Integers that fit i64 are VALUE_INT, other numbers VALUE_REAL (finite, else
 * an error); strings keep NUL; lone surrogates become U+FFFD.
 * owns   everything in arena; strings without escapes still borrow nothing.
 * fails  ERR_PARSE "line L, column C: what"; ERR_LIMIT for depth. */
bool json_parse(Arena *arena, Str text, const JsonOptions *options, Value *out, size_t *out_used,
                Err *err);

/** How json_write lays text out. */
typedef enum JsonStyle {
    JSON_COMPACT, // {"a":1,"b":[1,2]}
    JSON_SPACED,  // {"a": 1, "b": [1, 2]}   Python's default separators
    JSON_PRETTY,  // two-space indent
} JsonStyle;

/** Write JSON; reals as the shortest text that reads back (always with . or e); no ASCII escaping. */
void json_write(Buf *buf, const Value *value, JsonStyle style);
void json_write_str(Buf *buf, Str s);
/** Shortest decimal that reads back to d, as JSON and Lua both accept it ("1.0", "1e+300"). */
size_t text_format_real(double d, char out[40]);

/**
 * Index the elements of a JSON array without building them: spans of the array found at key (empty:
 * the top level) inside text. For JSON Lines pass jsonl: one span per non-blank line.
 * owns   *out_spans in arena, pairs are byte offsets [from, to) into text.
 * fails  ERR_PARSE with the line; the elements themselves are checked only for balance. */
typedef struct TextSpan {
    uint64_t from;
    uint64_t to;
} TextSpan;
bool json_index_array(Arena *arena, Str text, Str key, TextSpan **out_spans, size_t *out_n, Err *err);

// ---- YAML 1.2 core schema (libyaml underneath) ------------------------------------------------

/** One fault found in a text file, ready to be shown with its line and a caret. */
typedef struct Fault {
    Str file;
    uint32_t line; // from 1; 0 when the fault has no place
    uint32_t col;  // from 1, bytes
    bool warning;
    Str message;   // one sentence; may end in a did-you-mean
    Str code;      // short stable name, e.g. "unknown-key"
} Fault;

/** All faults found so far; nothing stops at the first. */
typedef struct Faults {
    Arena *arena; // where messages live
    Fault *items;
    size_t n;
    size_t cap;
    size_t n_errors;
} Faults;

void faults_init(Faults *faults, Arena *arena);
void faults_add(Faults *faults, Str file, uint32_t line, uint32_t col, bool warning, const char *code,
                const char *format, ...) __attribute__((format(printf, 7, 8)));
/** Render "file:line:col: error: message", the source line and a caret, for all faults in order. */
void faults_render(Buf *buf, const Faults *faults, bool color);

/**
 * Parse one YAML document to a Value whose nodes carry places. Core schema: null ~ true false ints
 * (decimal, 0x, 0o) reals; anything else is text. Refused, as faults with their place: anchors,
 * aliases, tags, merge keys, duplicate keys, several documents, non-text keys, depth over 64, size
 * over 8 MiB. libyaml's own messages are translated to advice where the cause is known (an unquoted
 * template: "quote the template"; `yes`/`no`/`on`/`off` where plain: a warning).
 * returns false when the text has no usable tree (faults say why). */
bool yaml_parse(Arena *arena, Str file, Str text, Faults *faults, Value *out);

// ---- Regular expressions (PCRE2) --------------------------------------------------------------

typedef struct Regex Regex;

typedef enum RegexFlags {
    REGEX_ICASE = 1,
    REGEX_MULTILINE = 2,
    REGEX_DOTALL = 4,
    REGEX_ANCHORED = 8,
    REGEX_BYTES = 16, // no UTF mode: for bytes that are not text
} RegexFlags;

/** Compile; UTF and UCP on, so \w, \d and classes are Unicode. fails ERR_PARSE with the offset. */
bool regex_create(Str pattern, int flags, Regex **out, Err *err);
void regex_destroy(Regex *regex);
/** Number of capture groups, without the whole match. */
size_t regex_groups(const Regex *regex);
/**
 * Search text from a byte offset. *out_found tells; spans[0] is the match, spans[i] group i
 * (from == STR_NONE when it took no part).
 * fails  ERR_LIMIT when the step limit is hit; ERR_PARSE when text is not UTF-8.
 * thread one Regex may be used by one thread at a time. */
typedef struct RegexSpan {
    size_t from;
    size_t to;
} RegexSpan;
bool regex_find(Regex *regex, Str text, size_t from, RegexSpan *spans, size_t n_spans,
                bool *out_found, Err *err);

// ---- CSV and TSV (RFC 4180, quotes doubled, LF or CRLF) ---------------------------------------

/**
 * Index the records of a CSV text: the header's names (or columns when given) and one span a
 * record. A BOM is dropped; blank lines between records are skipped; a ragged row is an error with
 * its line.
 * owns   names and spans in arena. */
bool csv_index(Arena *arena, Str text, char separator, const Str *columns, size_t n_columns,
               Str **out_names, size_t *out_n_names, TextSpan **out_spans, size_t *out_n, Err *err);
/** One record's cells, unquoted, as a map of text by column name. */
bool csv_record(Arena *arena, Str record, char separator, const Str *names, size_t n_names,
                Value *out, Err *err);
