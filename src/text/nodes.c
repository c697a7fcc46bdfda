// SPDX-License-Identifier: MIT
// Scratch structures of the readers: children before they are counted, duplicate keys, spans; and
// places in a text.
#include "text/text_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t grown(size_t cap)
{
    return cap == 0 ? 64 : cap * 2;
}

void node_stack_init(NodeStack *stack, Value *values, size_t n_values, ValuePair *pairs,
                     size_t n_pairs)
{
    *stack = (NodeStack){
        .values = values,
        .cap_values = n_values,
        .pairs = pairs,
        .cap_pairs = n_pairs,
        .first_values = values,
        .first_pairs = pairs,
    };
}

void node_stack_finish(NodeStack *stack)
{
    if (stack->values != stack->first_values) {
        mem_free(stack->values);
    }
    if (stack->pairs != stack->first_pairs) {
        mem_free(stack->pairs);
    }
    *stack = (NodeStack){0};
}

/** A larger array with the same items; `first` is the caller's and stays. */
static void *grow(void *items, const void *first, size_t n, size_t cap, size_t size)
{
    if (items != first || items == NULL) {
        return mem_realloc(items, cap, size);
    }
    void *larger = mem_alloc(cap, size);
    memcpy(larger, items, n * size);
    return larger;
}

void node_stack_grow_values(NodeStack *stack)
{
    size_t cap = grown(stack->cap_values);
    stack->values = grow(stack->values, stack->first_values, stack->n_values, cap, sizeof(Value));
    stack->cap_values = cap;
}

void node_stack_grow_pairs(NodeStack *stack)
{
    size_t cap = grown(stack->cap_pairs);
    stack->pairs = grow(stack->pairs, stack->first_pairs, stack->n_pairs, cap, sizeof(ValuePair));
    stack->cap_pairs = cap;
}

Value node_stack_cut_list(NodeStack *stack, size_t base, Arena *arena)
{
    size_t n = stack->n_values - base;
    Value *items = NULL;
    if (n > 0) {
        items = arena_alloc_raw(arena, n, sizeof(Value));
        memcpy(items, stack->values + base, n * sizeof(Value));
    }
    stack->n_values = base;
    return value_list(items, n);
}

Value node_stack_cut_map(NodeStack *stack, size_t base, Arena *arena)
{
    size_t n = stack->n_pairs - base;
    ValuePair *pairs = NULL;
    if (n > 0) {
        pairs = arena_alloc_raw(arena, n, sizeof(ValuePair));
        memcpy(pairs, stack->pairs + base, n * sizeof(ValuePair));
    }
    stack->n_pairs = base;
    return value_map(pairs, n);
}

// ---- duplicate keys -----------------------------------------------------------------------------

typedef struct KeyRef {
    uint64_t hash;
    Str key;
    uint32_t index;
} KeyRef;

/** By hash, then key, then index: keys made to collide cost comparisons, never a square. */
static int compare_key_refs(const void *a, const void *b)
{
    const KeyRef *x = a;
    const KeyRef *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    int order = str_cmp(x->key, y->key);
    if (order != 0) {
        return order;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool few_pairs_are_unique(const ValuePair *pairs, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (pairs[i].key.len == pairs[j].key.len &&
                memcmp(pairs[i].key.data, pairs[j].key.data, pairs[i].key.len) == 0) {
                return false;
            }
        }
    }
    return true;
}

/** A table of hashes, quick and without order; false: duplicates, or more collisions than chance.
 */
static bool many_pairs_are_unique(const ValuePair *pairs, size_t n)
{
    size_t cap = 64;
    while (cap < 2 * n) {
        cap *= 2;
    }
    uint64_t *hashes = mem_alloc(n, sizeof(uint64_t));
    uint32_t *table = mem_zalloc(cap, sizeof(uint32_t)); // 1 + index, 0 is free
    size_t probes_left = 16 * n;
    bool unique = true;
    for (size_t i = 0; i < n && unique; i++) {
        Str key = pairs[i].key;
        hashes[i] = hash_fast(key.data, key.len);
        size_t at = (size_t)hashes[i] & (cap - 1);
        while (table[at] != 0 && unique) {
            size_t other = table[at] - 1;
            unique =
                probes_left-- > 0 && !(hashes[other] == hashes[i] && str_eq(pairs[other].key, key));
            at = (at + 1) & (cap - 1);
        }
        table[at] = (uint32_t)i + 1;
    }
    mem_free(table);
    mem_free(hashes);
    return unique;
}

/** All pairs by sorting: what is asked for once it is known that there are duplicates. */
static size_t sort_out_duplicates(const ValuePair *pairs, size_t n, uint32_t *first)
{
    KeyRef *refs = mem_alloc(n, sizeof(KeyRef));
    for (size_t i = 0; i < n; i++) {
        Str key = pairs[i].key;
        refs[i] = (KeyRef){hash_fast(key.data, key.len), key, (uint32_t)i};
    }
    qsort(refs, n, sizeof(KeyRef), compare_key_refs);
    size_t n_duplicates = 0;
    for (size_t i = 0; i < n; i++) {
        bool same =
            i > 0 && refs[i].hash == refs[i - 1].hash && str_eq(refs[i].key, refs[i - 1].key);
        first[refs[i].index] = same ? first[refs[i - 1].index] : refs[i].index;
        n_duplicates += same;
    }
    mem_free(refs);
    return n_duplicates;
}

size_t pairs_find_duplicates(const ValuePair *pairs, size_t n, uint32_t **out_first)
{
    *out_first = NULL;
    if (n <= 16 ? few_pairs_are_unique(pairs, n) : many_pairs_are_unique(pairs, n)) {
        return 0;
    }
    uint32_t *first = mem_alloc(n, sizeof(uint32_t));
    size_t n_duplicates = sort_out_duplicates(pairs, n, first);
    if (n_duplicates == 0) {
        mem_free(first);
        return 0;
    }
    *out_first = first;
    return n_duplicates;
}

// ---- spans --------------------------------------------------------------------------------------

bool span_list_push(SpanList *list, uint64_t from, uint64_t to, Err *err)
{
    if (list->n == list->cap) {
        if (list->n >= SPAN_LIST_MAX) {
            return ERR_SET(err, ERR_LIMIT, "more than %zu records", SPAN_LIST_MAX);
        }
        list->cap = grown(list->cap);
        list->items = mem_realloc(list->items, list->cap, sizeof(TextSpan));
    }
    list->items[list->n++] = (TextSpan){from, to};
    return true;
}

TextSpan *span_list_cut(SpanList *list, Arena *arena, size_t *out_n)
{
    TextSpan *items = arena_alloc_raw(arena, list->n > 0 ? list->n : 1, sizeof(TextSpan));
    if (list->n > 0) {
        memcpy(items, list->items, list->n * sizeof(TextSpan));
    }
    *out_n = list->n;
    mem_free(list->items);
    *list = (SpanList){0};
    return items;
}

// ---- places -------------------------------------------------------------------------------------

void text_place(Str text, size_t offset, uint32_t *out_line, uint32_t *out_col)
{
    size_t end = offset < text.len ? offset : text.len;
    size_t line = 1;
    size_t start = str_starts_with(text, STR("\xEF\xBB\xBF")) ? 3 : 0;
    for (size_t at = 0; at < end;) {
        const char *newline = memchr(text.data + at, '\n', end - at);
        if (newline == NULL) {
            break;
        }
        at = (size_t)(newline - text.data) + 1;
        start = at;
        line++;
    }
    *out_line = text_clamp_u32(line);
    *out_col = text_clamp_u32(end >= start ? end - start + 1 : 1);
}

Str text_describe_byte(Str text, size_t offset, char out[32])
{
    if (offset >= text.len) {
        return STR("the end of the text");
    }
    unsigned char b = (unsigned char)text.data[offset];
    uint32_t c = 0;
    size_t n = utf8_decode(text.data + offset, text.len - offset, &c);
    int len;
    if (b == '\n' || b == '\r') {
        return STR("the end of the line");
    }
    if (n == 0 || c < 0x20 || (c >= 0x7F && c < 0xA0)) {
        len = snprintf(out, 32, "byte 0x%02X", b);
    } else {
        len = snprintf(out, 32, "'%.*s'", (int)n, text.data + offset);
    }
    return (Str){out, (size_t)len};
}
