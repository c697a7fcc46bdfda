// SPDX-License-Identifier: MIT
// Formats of text, all to and from base's Value: JSON, YAML (libyaml), regular expressions (PCRE2),
// CSV and TSV, UTF-8. Input is hostile: every parser has limits and says where it stopped.
#pragma once

#include "base/base.h"

// ---- UTF-8 ----------------------------------------------------------------------------------

/** Length of the longest valid UTF-8 prefix (no surrogates, no overlongs, <= U+10FFFF). */
size_t utf8_valid_prefix(Str s);
bool utf8_is_valid(Str s);
/** Decode one code point at s.data[*at] and advance; an invalid byte gives U+FFFD and advances 1.
 */
uint32_t utf8_next(Str s, size_t *at);
/** Encode into out (at least 4 bytes); returns the number of bytes. */
size_t utf8_encode(uint32_t code_point, char *out);
size_t utf8_length(Str s); // code points
/** A copy in which every invalid byte became U+FFFD; s itself when it is valid. */
Str utf8_clean(Arena *arena, Str s);
/** Terminal columns of a string: wide East Asian 2, combining and control characters 0. */
size_t utf8_columns(Str s);
/** The longest prefix of at most n columns; borrows from s. */
Str utf8_cut_columns(Str s, size_t n);
/** Lower and upper case by Unicode's full mappings, as Python's str: sharp s is SS, a capital sigma
 * at a word's end is the final one; bytes that are not UTF-8 stay. */
Str utf8_lower(Arena *arena, Str s);
Str utf8_upper(Arena *arena, Str s);
/** Full case folding, for comparing without case: sharp s is ss, a ligature its letters. */
Str utf8_fold(Arena *arena, Str s);
/** Decimal digits of every script as 0 to 9; s itself when it is ASCII. */
Str utf8_digits(Arena *arena, Str s);

/** Line and column (from 1, bytes) of an offset; reads the text up to there. */
void text_place(Str text, size_t offset, uint32_t *out_line, uint32_t *out_col);

// ---- JSON (RFC 8259) ------------------------------------------------------------------------

typedef struct JsonOptions {
    size_t max_depth;         // 0 means 128; at most 1024
    size_t max_bytes;         // 0 means 64 MiB
    bool keep_last_duplicate; // else a duplicate key is an error
    bool trailing;            // stop after one value; *out_used tells where
} JsonOptions;

/**
 * Parse one JSON text. Integers that fit i64 are VALUE_INT (-0 is 0), other numbers VALUE_REAL
 * (finite, else an error); strings keep NUL; lone surrogates become U+FFFD; nodes carry places. A
 * byte order mark is dropped. out_used may be NULL.
 * owns   everything in arena; strings without escapes still borrow nothing.
 * fails  ERR_PARSE "line L, column C: what" (columns in bytes); ERR_LIMIT for depth and size. */
bool json_parse(Arena *arena, Str text, const JsonOptions *options, Value *out, size_t *out_used,
                Err *err);

/** How json_write lays text out. */
typedef enum JsonStyle {
    JSON_COMPACT, // {"a":1,"b":[1,2]}
    JSON_SPACED,  // {"a": 1, "b": [1, 2]}   Python's default separators
    JSON_PRETTY,  // two-space indent
} JsonStyle;

/**
 * Write JSON; reals as the shortest text that reads back (always with . or e); no ASCII escaping.
 * Always valid JSON: bytes that are not UTF-8 become U+FFFD, NaN and infinities become null. */
void json_write(Buf *buf, const Value *value, JsonStyle style);
void json_write_str(Buf *buf, Str s);
/** Text as it is, any other value as compact JSON; borrows or lives in arena. */
Str json_plain(Arena *arena, const Value *value);
/**
 * Shortest decimal that reads back to d, as JSON and Lua both accept it and as Python prints it
 * ("1.0", "0.0001", "1e-05", "1e+300"); "nan", "inf", "-inf" for the rest.
 * returns the length; out ends in NUL. */
size_t text_format_real(double d, char out[40]);
/** A scalar as Python, and so a template, prints it; false for lists, maps and null. */
bool text_of_scalar(Arena *arena, const Value *value, Str *out);

/** Bytes [from, to) of a text. */
typedef struct TextSpan {
    uint64_t from;
    uint64_t to;
} TextSpan;

/**
 * Index the elements of a JSON array without building them: one span an element of the array that
 * is the whole text (key empty) or the member key of the object that is the whole text.
 * owns   *out_spans in arena; the text may be larger than json_parse takes.
 * fails  ERR_PARSE "line L, column C: what"; ERR_NOT_FOUND when the object has no such member;
 *        ERR_LIMIT for depth. Elements are checked for balanced brackets and strings, no more. */
bool json_index_array(Arena *arena, Str text, Str key, TextSpan **out_spans, size_t *out_n,
                      Err *err);
/**
 * Index JSON Lines: one span for each line that is not blank, without its line break (LF or CRLF).
 * The lines are not looked into. A byte order mark is dropped.
 * owns   *out_spans in arena.
 * fails  ERR_LIMIT past 100 million lines. */
bool jsonl_index(Arena *arena, Str text, TextSpan **out_spans, size_t *out_n, Err *err);

// ---- YAML 1.2 core schema (libyaml underneath) ------------------------------------------------

/** One fault found in a text file, ready to be shown with its line and a caret. */
typedef struct Fault {
    Str file;
    uint32_t line; // from 1; 0 when the fault has no place
    uint32_t col;  // from 1, bytes
    bool warning;
    Str message; // one sentence; may end in a did-you-mean
    Str code;    // short stable name, e.g. "unknown-key"
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
void faults_add(Faults *faults, Str file, uint32_t line, uint32_t col, bool warning,
                const char *code, const char *format, ...) __attribute__((format(printf, 7, 8)));
/** Render "file:line:col: error: message", the source line and a caret, for all faults in order. */
void faults_render(Buf *buf, const Faults *faults, bool color);
/**
 * All faults for editors, in order: a list of maps {file, line, col, end_col, severity, code,
 * message, hint}. Lines and columns count from 1 in bytes; end_col is behind the word or quoted
 * text at the place. line, col, end_col are 0 where they are not known. hint is what was meant
 * instead of the text at the place ("" when there is no guess); the message goes without it. */
Value faults_to_value(Arena *arena, const Faults *faults);

/**
 * Parse one YAML document to a Value whose nodes carry places. Core schema: null ~ true false ints
 * (decimal, 0x, 0o) reals; anything else is text. Refused, as faults with their place: anchors,
 * aliases, tags, merge keys, duplicate keys, several documents, non-text keys, depth over 64, size
 * over 8 MiB. libyaml's own messages are translated to advice where the cause is known (an unquoted
 * template: "quote the template"; `yes`/`no`/`on`/`off` where plain: a warning).
 * After a fault that leaves no doubt about the structure reading goes on, with what the author
 * meant in its place (an unquoted template: its text; a duplicate key: the first), so that one pass
 * finds as much as it can: true does not mean free of faults, look at faults->n_errors.
 * returns false when the text has no usable tree (faults say why). */
bool yaml_parse(Arena *arena, Str file, Str text, Faults *faults, Value *out);

/**
 * Where in the file a place inside a scalar's text stands: line and column from 1, bytes. Exact for
 * block scalars in | style and for plain or quoted text on one line without escapes; the scalar's
 * first line otherwise. */
void yaml_text_place(const Value *scalar, uint32_t text_line, uint32_t text_col, uint32_t *out_line,
                     uint32_t *out_col);

// ---- Regular expressions (PCRE2) --------------------------------------------------------------

typedef struct Regex Regex;

typedef enum RegexFlags {
    REGEX_ICASE = 1,
    REGEX_MULTILINE = 2,
    REGEX_DOTALL = 4,
    REGEX_ANCHORED = 8,
    REGEX_BYTES = 16,     // no UTF mode: for bytes that are not text
    REGEX_UNLIMITED = 32, // steps are not counted: faster; only for patterns of our own
    REGEX_NO_JIT = 64,    // interpreted: the same answers, slower; limits are met elsewhere
    REGEX_ASCII = 128,    // \w, \d, \s and \b know ASCII only; classes by \p stay Unicode
} RegexFlags;

/** Compile; UTF and UCP on, so \w, \d and classes are Unicode. fails ERR_PARSE with the offset. */
bool regex_create(Str pattern, int flags, Regex **out, Err *err);
void regex_destroy(Regex *regex);
/** Number of capture groups, without the whole match. */
size_t regex_groups(const Regex *regex);

/** Most steps of one search (about 25 ns each); 0 restores the default, 4 million + 64 a byte. */
void regex_limit_steps(Regex *regex, uint64_t steps);
/** Steps the last search took, to charge a budget with; 0 under REGEX_UNLIMITED. */
uint64_t regex_steps(const Regex *regex);

/** Bytes [from, to) of a text; from is STR_NONE for a group that took no part. */
typedef struct RegexSpan {
    size_t from;
    size_t to;
} RegexSpan;

/**
 * Search text from a byte offset, with what stands before it in view of \b and lookbehind.
 * *out_found tells; spans[0] is the match, spans[i] group i.
 * fails  ERR_LIMIT when the step limit is hit (catastrophic patterns, in well under a second);
 *        ERR_PARSE when text is not UTF-8 or from is inside a character.
 * thread one Regex may be used by one thread at a time. */
bool regex_find(Regex *regex, Str text, size_t from, RegexSpan *spans, size_t n_spans,
                bool *out_found, Err *err);
/**
 * All matches from left to right, none overlapping, at most max of them (0: no limit). An empty
 * match is found where the last match ended, as in Perl and Python. Linear where a loop over
 * regex_find may not be, and under one step limit.
 * owns   *out_spans in arena: (groups + 1) spans a match, one match after the other.
 * fails  as regex_find. */
bool regex_find_all(Arena *arena, Regex *regex, Str text, size_t max, RegexSpan **out_spans,
                    size_t *out_n_matches, Err *err);

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
