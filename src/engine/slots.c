// SPDX-License-Identifier: MIT
#include "engine/slots.h"

#include <assert.h>
#include <string.h>

void slots_init(Slots *slots, uint32_t n_slots)
{
    *slots = (Slots){.n_slots = n_slots,
                     .words = mem_zalloc((size_t)n_slots / 64 + 1, sizeof(uint64_t))};
}

void slots_finish(Slots *slots)
{
    mem_free(slots->words);
    *slots = (Slots){0};
}

uint32_t slots_free(const Slots *slots)
{
    return slots->n_slots - slots->n_taken;
}

static bool slot_is_taken(const Slots *slots, uint32_t slot)
{
    return (slots->words[slot / 64] >> (slot % 64) & 1) != 0;
}

bool slots_take(Slots *slots, uint32_t n, ExtentList *list)
{
    if (n > slots_free(slots)) {
        return false;
    }
    uint32_t slot = slots->hint;
    for (uint32_t left = n; left > 0;) {
        if (slots->words[slot / 64] == UINT64_MAX) {
            slot = (slot / 64 + 1) * 64;
            continue;
        }
        if (!slot_is_taken(slots, slot)) {
            slots->words[slot / 64] |= 1ull << (slot % 64);
            extents_append(list, (KvExtent){.slot = slot, .n = 1});
            left--;
        }
        slot++;
    }
    slots->hint = n > 0 ? slot : slots->hint;
    slots->n_taken += n;
    slots->peak = slots->n_taken > slots->peak ? slots->n_taken : slots->peak;
    return true;
}

void slots_give(Slots *slots, const KvExtent *extents, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < extents[i].n; k++) {
            uint32_t slot = extents[i].slot + k;
            assert(slot_is_taken(slots, slot));
            slots->words[slot / 64] &= ~(1ull << (slot % 64));
        }
        slots->n_taken -= extents[i].n;
        slots->hint = extents[i].slot < slots->hint ? extents[i].slot : slots->hint;
    }
}

void extents_append(ExtentList *list, KvExtent extent)
{
    if (extent.n == 0) {
        return;
    }
    if (list->n > 0) {
        KvExtent *last = &list->items[list->n - 1];
        if (last->slot + last->n == extent.slot) {
            last->n += extent.n;
            return;
        }
    }
    if (list->n == list->cap) {
        list->cap = list->cap == 0 ? 2 : list->cap * 2;
        list->items = mem_realloc(list->items, list->cap, sizeof(*list->items));
    }
    list->items[list->n++] = extent;
}

uint32_t extents_total(const ExtentList *list)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        total += list->items[i].n;
    }
    return total;
}

void extents_cut(ExtentList *list, uint32_t at, ExtentList *tail)
{
    uint32_t before = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        KvExtent extent = list->items[i];
        uint32_t keep = at <= before ? 0 : at - before;
        keep = keep < extent.n ? keep : extent.n;
        before += extent.n;
        extents_append(tail, (KvExtent){.slot = extent.slot + keep, .n = extent.n - keep});
        if (keep > 0) {
            list->items[i].n = keep;
            kept = i + 1;
        }
    }
    list->n = kept;
}

void extents_append_first(ExtentList *list, const ExtentList *from, uint32_t n)
{
    for (uint32_t i = 0; i < from->n && n > 0; i++) {
        KvExtent extent = from->items[i];
        extent.n = extent.n < n ? extent.n : n;
        n -= extent.n;
        extents_append(list, extent);
    }
}

void extents_finish(ExtentList *list)
{
    mem_free(list->items);
    *list = (ExtentList){0};
}
