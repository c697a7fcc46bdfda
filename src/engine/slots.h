// SPDX-License-Identifier: MIT
// Which KV slots are free: a bitmap, handed out lowest first as few extents as possible, so that
// the memory in use stays at the front of the pool.
#pragma once

#include "engine/forward.h"

/** Extents in order of position; a growing list. */
typedef struct ExtentList {
    KvExtent *items; // owned
    uint32_t n;
    uint32_t cap;
} ExtentList;

typedef struct Slots {
    uint64_t *words; // bit set: taken
    uint32_t n_slots;
    uint32_t n_taken;
    uint32_t peak;
    uint32_t hint; // no free slot lies below it
} Slots;

void slots_init(Slots *slots, uint32_t n_slots);
void slots_finish(Slots *slots);
uint32_t slots_free(const Slots *slots);
/** Take n slots and append them to list; false (nothing taken) when fewer are free. */
bool slots_take(Slots *slots, uint32_t n, ExtentList *list);
void slots_give(Slots *slots, const KvExtent *extents, uint32_t n);

void extents_append(ExtentList *list, KvExtent extent); // joins a neighbour
uint32_t extents_total(const ExtentList *list);
/** Move everything from position at on into tail. */
void extents_cut(ExtentList *list, uint32_t at, ExtentList *tail);
/** Append the first n positions of from. */
void extents_append_first(ExtentList *list, const ExtentList *from, uint32_t n);
void extents_finish(ExtentList *list);
