// SPDX-License-Identifier: MIT
// The order of the depth-first walk: items sorted by their tokens, with what neighbours share, and
// the lists of those that wait. Sorting reads every token about once: a group finds what all of it
// shares in one pass, is cut by the next token, and its parts go on behind that. Driver thread
// only.
#include "engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

// ---- Sorting ----------------------------------------------------------------------------------

/** Items that are known to share their first `depth` tokens. */
typedef struct Group {
    size_t from;
    size_t n;
    uint32_t depth;
} Group;

typedef struct Keyed {
    int64_t key; // the token that parts the group; -1: the sequence has ended
    Item *item;
} Keyed;

typedef struct Sorter {
    Item **items;
    uint32_t *lcp;
    Keyed *keyed; // as many as items
    Group *groups;
    size_t n_groups, cap_groups;
} Sorter;

static int compare_ties(const Item *a, const Item *b)
{
    if (a->job->id != b->job->id) {
        return a->job->id < b->job->id ? -1 : 1;
    }
    return a->leaf < b->leaf ? -1 : a->leaf > b->leaf;
}

static int compare_keyed(const void *a, const void *b)
{
    const Keyed *x = a;
    const Keyed *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->key < 0 ? compare_ties(x->item, y->item) : 0;
}

static void keyed_sort(Keyed *keyed, size_t n)
{
    enum { FEW = 12 };
    if (n > FEW) {
        qsort(keyed, n, sizeof(*keyed), compare_keyed);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        Keyed own = keyed[i];
        size_t at = i;
        for (; at > 0 && compare_keyed(&own, &keyed[at - 1]) < 0; at--) {
            keyed[at] = keyed[at - 1];
        }
        keyed[at] = own;
    }
}

/** How many first tokens all of a group have in common. */
static uint32_t group_common(Item *const *items, size_t n, uint32_t depth)
{
    uint32_t common = items[0]->n;
    for (size_t i = 1; i < n && common > depth; i++) {
        uint32_t limit = items[i]->n < common ? items[i]->n : common;
        common = tokens_common(items[0]->tokens, items[i]->tokens, depth, limit);
    }
    return common;
}

static void group_push(Sorter *sorter, Group group)
{
    if (group.n > 1) {
        GROW(sorter->groups, sorter->n_groups, sorter->cap_groups);
        sorter->groups[sorter->n_groups++] = group;
    }
}

/** Cut a group by the first token that its items do not share. */
static void group_part(Sorter *sorter, Group group)
{
    Item **items = sorter->items + group.from;
    uint32_t common = group_common(items, group.n, group.depth);
    for (size_t i = 0; i < group.n; i++) {
        int64_t key = items[i]->n == common ? -1 : items[i]->tokens[common];
        sorter->keyed[i] = (Keyed){.key = key, .item = items[i]};
    }
    keyed_sort(sorter->keyed, group.n);
    size_t start = 0;
    for (size_t i = 0; i < group.n; i++) {
        items[i] = sorter->keyed[i].item;
        bool ended = sorter->keyed[i].key < 0;
        bool first = i == 0 || ended || sorter->keyed[i].key != sorter->keyed[i - 1].key;
        if (i > 0) {
            sorter->lcp[group.from + i] = common; // right where parts meet; parts put theirs inside
        }
        if (first) {
            group_push(sorter, (Group){group.from + start, i - start, common + 1});
            start = i;
        }
    }
    group_push(sorter, (Group){group.from + start, group.n - start, common + 1});
}

void items_sort(Item **items, size_t n, uint32_t *out_lcp)
{
    Sorter sorter = {.items = items, .lcp = out_lcp, .keyed = mem_alloc(n + 1, sizeof(Keyed))};
    if (n > 0) {
        out_lcp[0] = 0;
    }
    group_push(&sorter, (Group){.n = n});
    while (sorter.n_groups > 0) {
        group_part(&sorter, sorter.groups[--sorter.n_groups]);
    }
    mem_free(sorter.groups);
    mem_free(sorter.keyed);
}

bool item_goes_before(const Item *a, const Item *b)
{
    const Dialogue *x = a->job->dialogue;
    const Dialogue *y = b->job->dialogue;
    if (x != y) {
        return y == NULL || (x != NULL && x->number < y->number);
    }
    uint32_t n = a->n < b->n ? a->n : b->n;
    uint32_t same = tokens_common(a->tokens, b->tokens, 0, n);
    if (same < n) {
        return a->tokens[same] < b->tokens[same];
    }
    return a->n != b->n ? a->n < b->n : compare_ties(a, b) < 0;
}

// ---- Lists ------------------------------------------------------------------------------------

/** Have room for n more behind the last. */
static void list_reserve(ItemList *list, size_t n)
{
    if (list->first + list->n + n <= list->cap) {
        return;
    }
    if (list->n + n > list->cap / 2) {
        list->cap = (list->n + n) * 2;
    }
    Item **items = mem_alloc(list->cap, sizeof(*items));
    if (list->n > 0) {
        memcpy(items, list->items + list->first, list->n * sizeof(*items));
    }
    mem_free(list->items);
    list->items = items;
    list->first = 0;
}

/** How many of the first n of sorted items go before one. */
static size_t count_before(Item *const *items, size_t n, const Item *item)
{
    size_t low = 0;
    for (size_t step = 1; n - low > 0; step *= 2) { // most often it is near the end
        size_t at = n - low > step ? n - step : low;
        if (item_goes_before(items[at], item)) {
            low = at + 1;
            break;
        }
        n = at;
    }
    while (low < n) {
        size_t middle = low + (n - low) / 2;
        if (item_goes_before(items[middle], item)) {
            low = middle + 1;
        } else {
            n = middle;
        }
    }
    return low;
}

void list_merge(ItemList *list, Item *const *fresh, size_t n)
{
    list_reserve(list, n);
    size_t n_started = 0;
    Item **items = list->items + list->first;
    while (n_started < list->n && items[n_started]->started) {
        n_started++;
    }
    size_t left = list->n;
    for (size_t b = n; b-- > 0;) {
        size_t before = n_started + count_before(items + n_started, left - n_started, fresh[b]);
        memmove(items + before + b + 1, items + before, (left - before) * sizeof(*items));
        items[before + b] = fresh[b];
        left = before;
    }
    list->n += n;
}

void list_push_front(ItemList *list, Item *item)
{
    if (list->first == 0) { // as much room in front as there are items
        size_t cap = (list->n + 1) * 2;
        Item **items = mem_alloc(cap, sizeof(*items));
        list->first = cap - list->n;
        if (list->n > 0) {
            memcpy(items + list->first, list->items, list->n * sizeof(*items));
        }
        mem_free(list->items);
        list->items = items;
        list->cap = cap;
    }
    list->items[list->first - 1] = item;
    list->first--;
    list->n++;
}

void list_drop_front(ItemList *list, size_t n)
{
    list->first += n;
    list->n -= n;
}
