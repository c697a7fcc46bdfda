// SPDX-License-Identifier: MIT
// Pieces are runs of neighbours, made by halving: a run that is more than a part of a device's
// share is cut in the place, not too near its ends, where the fewest tokens are shared. Then the
// heaviest piece goes where the load is least with it (longest processing time first, Graham 1969),
// with the beginnings that a device has already counted once.
#include "engine/divide.h"

#include "base/base.h"

#include <stdbool.h>
#include <stdlib.h>

#define PARTS_OF_SHARE 8 // a piece is at most this part of what a device gets, if it can be
#define NOWHERE        UINT32_MAX // no device yet

typedef struct Piece {
    size_t from, to;
    uint64_t weight; // by itself
    uint32_t inner;  // the least that two neighbours in it share; its length where there is but one
    uint32_t device;
} Piece;

typedef struct Division {
    const DivideEntry *entries;
    size_t n;
    uint64_t *before; // (n + 1) weight of the entries before, less what each shares with the last
    Piece *pieces;    // in order
    size_t n_pieces;
    size_t cap;
} Division;

// ---- Pieces -----------------------------------------------------------------------------------

/** Of the entries from .. to-1 alone. */
static uint64_t weight_of(const Division *d, size_t from, size_t to)
{
    return d->before[to] - d->before[from] + d->entries[from].lcp;
}

/** Where the entries share least, with at least weight / part on both sides; 0: nowhere. Among
 * equals the one next to the middle. */
static size_t cut_within(const Division *d, size_t from, size_t to, uint64_t weight, uint64_t part)
{
    size_t best = 0;
    uint64_t best_off = 0;
    for (size_t i = from + 1; i < to; i++) {
        uint64_t left = weight_of(d, from, i);
        if (left < weight / part || left > weight - weight / part) {
            continue;
        }
        uint64_t off = left > weight / 2 ? left - weight / 2 : weight / 2 - left;
        uint32_t lcp = d->entries[i].lcp;
        if (best == 0 || lcp < d->entries[best].lcp ||
            (lcp == d->entries[best].lcp && off < best_off)) {
            best = i;
            best_off = off;
        }
    }
    return best;
}

/** Beside the entry that holds the middle of the weight. */
static size_t cut_beside_heavy(const Division *d, size_t from, size_t to, uint64_t weight)
{
    size_t heavy = from;
    while (heavy + 1 < to && weight_of(d, from, heavy + 1) < weight / 2) {
        heavy++;
    }
    if (heavy == from || heavy + 1 == to) {
        return heavy == from ? from + 1 : heavy;
    }
    return d->entries[heavy].lcp <= d->entries[heavy + 1].lcp ? heavy : heavy + 1;
}

/** Whether two pieces, each with the beginning that they share, are worth what that costs: neither
 * is to be more than about two thirds of the whole. */
static bool cut_pays(const Division *d, size_t at, uint64_t weight)
{
    return (uint64_t)d->entries[at].lcp * 3 <= weight;
}

/** Where to cut a piece that is too heavy; 0: it is better left whole. */
static size_t cut_find(const Division *d, size_t from, size_t to, uint64_t weight)
{
    static const uint64_t parts[] = {4, 16};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        size_t at = cut_within(d, from, to, weight, parts[i]);
        if (at > 0 && cut_pays(d, at, weight)) {
            return at;
        }
    }
    size_t at = cut_beside_heavy(d, from, to, weight);
    return cut_pays(d, at, weight) ? at : 0;
}

static void piece_push(Division *d, size_t from, size_t to, uint64_t weight)
{
    if (d->n_pieces == d->cap) {
        d->cap = d->cap == 0 ? 64 : d->cap * 2;
        d->pieces = mem_realloc(d->pieces, d->cap, sizeof(*d->pieces));
    }
    uint32_t inner = d->entries[from].n;
    for (size_t i = from + 1; i < to; i++) {
        inner = d->entries[i].lcp < inner ? d->entries[i].lcp : inner;
    }
    d->pieces[d->n_pieces++] =
        (Piece){.from = from, .to = to, .weight = weight, .inner = inner, .device = NOWHERE};
}

static void pieces_make(Division *d, uint64_t limit)
{
    typedef struct Run {
        size_t from, to;
    } Run;
    size_t n = 0, cap = 64;
    Run *runs = mem_alloc(cap, sizeof(*runs));
    runs[n++] = (Run){0, d->n};
    while (n > 0) { // the left part first: pieces come out in order
        Run run = runs[--n];
        uint64_t weight = weight_of(d, run.from, run.to);
        bool whole = weight <= limit || run.to - run.from < 2;
        size_t at = whole ? 0 : cut_find(d, run.from, run.to, weight);
        if (at == 0) {
            piece_push(d, run.from, run.to, weight);
            continue;
        }
        if (n + 2 > cap) {
            cap *= 2;
            runs = mem_realloc(runs, cap, sizeof(*runs));
        }
        runs[n++] = (Run){at, run.to};
        runs[n++] = (Run){run.from, at};
    }
    mem_free(runs);
}

// ---- Placing ----------------------------------------------------------------------------------

/** What a piece shares with the pieces next to it on each device. */
typedef struct Beside {
    uint32_t before[DIVIDE_DEVICES_MAX];
    uint32_t after[DIVIDE_DEVICES_MAX];
} Beside;

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void beside_find(const Division *d, size_t p, Beside *out)
{
    *out = (Beside){0};
    const Piece *pieces = d->pieces;
    uint64_t seen = 0;
    uint32_t shared = UINT32_MAX;
    for (size_t i = p; i-- > 0 && shared > 0;) {
        shared = least(shared, d->entries[pieces[i + 1].from].lcp);
        if (pieces[i].device != NOWHERE && (seen >> pieces[i].device & 1) == 0) {
            out->before[pieces[i].device] = shared;
            seen |= (uint64_t)1 << pieces[i].device;
        }
        shared = least(shared, pieces[i].inner);
    }
    seen = 0;
    shared = UINT32_MAX;
    for (size_t i = p + 1; i < d->n_pieces && shared > 0; i++) {
        shared = least(shared, d->entries[pieces[i].from].lcp);
        if (pieces[i].device != NOWHERE && (seen >> pieces[i].device & 1) == 0) {
            out->after[pieces[i].device] = shared;
            seen |= (uint64_t)1 << pieces[i].device;
        }
        shared = least(shared, pieces[i].inner);
    }
}

/** What a piece adds to a device: less what its neighbours there share with it, once where what
 * they share spans the piece. */
static uint64_t added_weight(const Piece *piece, const Beside *beside, uint32_t device)
{
    uint32_t before = beside->before[device];
    uint32_t after = beside->after[device];
    return piece->weight - before - after + least(piece->inner, least(before, after));
}

static int compare_weights(const void *a, const void *b)
{
    const Piece *x = *(Piece *const *)a;
    const Piece *y = *(Piece *const *)b;
    if (x->weight != y->weight) {
        return x->weight > y->weight ? -1 : 1;
    }
    return x->from < y->from ? -1 : x->from > y->from;
}

/** Heaviest first, each to where the load is least with it; returns what was placed. */
static uint64_t pieces_place(Division *d, uint32_t n_devices, uint64_t alive, uint64_t *load,
                             uint64_t *out_added)
{
    uint64_t placed = 0;
    Piece **order = mem_alloc(d->n_pieces, sizeof(Piece *));
    for (size_t p = 0; p < d->n_pieces; p++) {
        order[p] = &d->pieces[p];
    }
    qsort(order, d->n_pieces, sizeof(Piece *), compare_weights);
    for (size_t k = 0; k < d->n_pieces; k++) {
        size_t p = (size_t)(order[k] - d->pieces);
        uint32_t best = NOWHERE;
        uint64_t best_added = 0;
        Beside beside;
        beside_find(d, p, &beside);
        for (uint32_t device = 0; device < n_devices; device++) {
            if ((alive >> device & 1) == 0) {
                continue;
            }
            uint64_t added = added_weight(&d->pieces[p], &beside, device);
            if (best == NOWHERE || load[device] + added < load[best] + best_added) {
                best = device;
                best_added = added;
            }
        }
        d->pieces[p].device = best;
        load[best] += best_added;
        out_added[p] = best_added;
        placed += best_added;
    }
    mem_free(order);
    return placed;
}

/** A piece's weight is its entries', each with what it does not share with the one before; what
 * more or less than that was placed is the first's or the last ones'. */
static void entries_fill(const Division *d, const uint64_t *added, uint32_t *out_device,
                         uint64_t *out_weight)
{
    for (size_t p = 0; p < d->n_pieces; p++) {
        const Piece *piece = &d->pieces[p];
        for (size_t i = piece->from; i < piece->to; i++) {
            out_device[i] = piece->device;
            out_weight[i] = d->before[i + 1] - d->before[i];
        }
        uint64_t sum = d->before[piece->to] - d->before[piece->from];
        out_weight[piece->from] += added[p] > sum ? added[p] - sum : 0;
        uint64_t over = added[p] < sum ? sum - added[p] : 0;
        for (size_t i = piece->to; i-- > piece->from && over > 0;) {
            uint64_t take = out_weight[i] < over ? out_weight[i] : over;
            out_weight[i] -= take;
            over -= take;
        }
    }
}

void divide(const DivideEntry *entries, size_t n, uint32_t n_devices, uint64_t alive,
            uint64_t *load, uint32_t *out_device, uint64_t *out_weight, Divided *out)
{
    *out = (Divided){0};
    if (n == 0) {
        return;
    }
    Division d = {.entries = entries, .n = n, .before = mem_alloc(n + 1, sizeof(*d.before))};
    d.before[0] = 0;
    for (size_t i = 0; i < n; i++) {
        d.before[i + 1] = d.before[i] + (entries[i].n - entries[i].lcp) + entries[i].own;
        out->distinct += entries[i].n - entries[i].lcp;
    }
    uint64_t share = d.before[n] / n_devices;
    pieces_make(&d, share / PARTS_OF_SHARE);
    uint64_t *added = mem_alloc(d.n_pieces, sizeof(*added));
    uint64_t placed = pieces_place(&d, n_devices, alive, load, added);
    entries_fill(&d, added, out_device, out_weight);
    out->pieces = d.n_pieces;
    out->doubled = placed - d.before[n];
    mem_free(added);
    mem_free(d.pieces);
    mem_free(d.before);
}
