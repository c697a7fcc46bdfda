// SPDX-License-Identifier: MIT
// Names as numbers: a hash table that keeps 64 bits of each name, not the name. Two of a million
// names meet with a chance of 3e-8; then they count as one.
#include "results/metric_internal.h"

static void grow(Interner *interner)
{
    size_t n_slots = interner->n_slots == 0 ? 256 : interner->n_slots * 2;
    InternSlot *slots = mem_zalloc(n_slots, sizeof(*slots));
    for (size_t i = 0; i < interner->n_slots; i++) {
        if (interner->slots[i].hash != 0) {
            size_t at = interner->slots[i].hash & (n_slots - 1);
            while (slots[at].hash != 0) {
                at = (at + 1) & (n_slots - 1);
            }
            slots[at] = interner->slots[i];
        }
    }
    mem_free(interner->slots);
    interner->slots = slots;
    interner->n_slots = n_slots;
}

uint32_t intern(Interner *interner, Str name, uint32_t next, bool *out_new)
{
    if (interner->n + 1 > interner->n_slots / 4 * 3) {
        grow(interner);
    }
    uint64_t hash = rng_mix(hash_fast(name.data, name.len)) | 1;
    size_t at = hash & (interner->n_slots - 1);
    *out_new = false;
    while (interner->slots[at].hash != 0) {
        if (interner->slots[at].hash == hash) {
            return interner->slots[at].number;
        }
        at = (at + 1) & (interner->n_slots - 1);
    }
    *out_new = true;
    interner->slots[at] = (InternSlot){.hash = hash, .number = next};
    interner->n++;
    return next;
}

void interner_finish(Interner *interner)
{
    mem_free(interner->slots);
    *interner = (Interner){0};
}
