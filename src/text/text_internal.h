// SPDX-License-Identifier: MIT
// What the files of this room share: decoding one code point, stacks on which both tree readers
// collect children before their number is known, and the check for duplicate keys.
#pragma once

#include "text/text.h"

#define UTF8_REPLACEMENT 0xFFFDu

/**
 * Decode the code point at p, which has n > 0 bytes left.
 * returns its length in bytes, or 0 when the bytes are not UTF-8. */
static inline size_t utf8_decode(const char *p, size_t n, uint32_t *out)
{
    const unsigned char *b = (const unsigned char *)p;
    if (b[0] < 0x80) {
        *out = b[0];
        return 1;
    }
    if (b[0] < 0xC2 || n < 2 || (b[1] & 0xC0) != 0x80) {
        return 0;
    }
    if (b[0] < 0xE0) {
        *out = (uint32_t)(b[0] & 0x1F) << 6 | (b[1] & 0x3Fu);
        return 2;
    }
    if (n < 3 || (b[2] & 0xC0) != 0x80) {
        return 0;
    }
    if (b[0] < 0xF0) {
        uint32_t c = (uint32_t)(b[0] & 0x0F) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu);
        *out = c;
        return c >= 0x800 && (c < 0xD800 || c > 0xDFFF) ? 3 : 0;
    }
    if (b[0] > 0xF4 || n < 4 || (b[3] & 0xC0) != 0x80) {
        return 0;
    }
    uint32_t c =
        (uint32_t)(b[0] & 0x07) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu);
    *out = c;
    return c >= 0x10000 && c <= 0x10FFFF ? 4 : 0;
}

/** The text without a byte order mark at its start; an empty text has data that is not NULL. */
static inline Str text_drop_bom(Str s)
{
    if (s.len == 0) {
        return STR_EMPTY; // never a NULL pointer
    }
    return str_starts_with(s, STR("\xEF\xBB\xBF")) ? str_slice(s, 3, s.len) : s;
}

static inline uint32_t text_clamp_u32(size_t n)
{
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/** Children of all open lists and maps; zeroed is empty. A reader cuts its own part off the top. */
typedef struct NodeStack {
    Value *values;
    size_t n_values;
    size_t cap_values;
    ValuePair *pairs;
    size_t n_pairs;
    size_t cap_pairs;
    const void *first_values; // the caller's arrays, which are never freed
    const void *first_pairs;
} NodeStack;

/** Start with arrays of the caller. */
void node_stack_init(NodeStack *stack, Value *values, size_t n_values, ValuePair *pairs,
                     size_t n_pairs);
void node_stack_finish(NodeStack *stack);
void node_stack_grow_values(NodeStack *stack);
void node_stack_grow_pairs(NodeStack *stack);

static inline void node_stack_push_value(NodeStack *stack, Value value)
{
    if (stack->n_values == stack->cap_values) {
        node_stack_grow_values(stack);
    }
    stack->values[stack->n_values++] = value;
}

static inline void node_stack_push_pair(NodeStack *stack, ValuePair pair)
{
    if (stack->n_pairs == stack->cap_pairs) {
        node_stack_grow_pairs(stack);
    }
    stack->pairs[stack->n_pairs++] = pair;
}

/** Move what lies above base into the arena as one list or map. */
Value node_stack_cut_list(NodeStack *stack, size_t base, Arena *arena);
Value node_stack_cut_map(NodeStack *stack, size_t base, Arena *arena);

/**
 * For each pair the index of the first pair with the same key (its own when there is none before).
 * n log n whatever the keys are.
 * owns   *out_first is malloc'd, NULL when all keys are unique; free with mem_free.
 * returns the number of pairs that repeat an earlier key. */
size_t pairs_find_duplicates(const ValuePair *pairs, size_t n, uint32_t **out_first);

/** A growing array of spans; zeroed is empty. */
typedef struct SpanList {
    TextSpan *items;
    size_t n;
    size_t cap;
} SpanList;

/** Most spans that one index may hold (1.6 GB of them); past it is ERR_LIMIT. */
#define SPAN_LIST_MAX ((size_t)100 * 1000 * 1000)

bool span_list_push(SpanList *list, uint64_t from, uint64_t to, Err *err);
/** Copy into the arena (never NULL) and free the list. */
TextSpan *span_list_cut(SpanList *list, Arena *arena, size_t *out_n);

/** Words for the byte at offset, to follow "found": "'x'", "byte 0x07", "the end of the text". */
Str text_describe_byte(Str text, size_t offset, char out[32]);
