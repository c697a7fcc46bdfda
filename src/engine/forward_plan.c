// SPDX-License-Identifier: MIT
#include "engine/forward_plan.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define NOT_WANTED UINT32_MAX
#define NO_WORK    UINT32_MAX

/** A span while its chunks are cut off, one after the other. */
typedef struct Cursor {
    const KvExtent *extent; // next
    uint32_t used;          // slots of it that earlier chunks hold
} Cursor;

/** A span's part in a work: its rows come when all works of the chunk are known. */
typedef struct Member {
    uint32_t span;
    uint32_t work; // index into the builder's works
} Member;

typedef struct Builder {
    const Batch *batch;
    Arena *arena;
    const uint32_t
        *numbers; // of each row in the work list; NOT_WANTED: leave out; NULL: as they are
    KAttentionWork *works;
    size_t n_works, cap_works;
    // Works of the chunk at hand by the hash of their slots.
    uint32_t *table;
    uint32_t table_mask;
    uint64_t *hashes; // of each work
} Builder;

static uint32_t span_end(const BatchSpan *span)
{
    return span->first_pos + span->n_rows;
}

/** The slots of a span for positions up to `end`, from where the cursor stands. */
static uint32_t cut_chunk(const BatchSpan *span, Cursor *cursor, uint32_t n, KExtent *out)
{
    uint32_t n_out = 0;
    while (n > 0) {
        assert(cursor->extent < span->extents + span->n_extents);
        uint32_t left = cursor->extent->n - cursor->used, take = left < n ? left : n;
        if (take > 0) {
            out[n_out++] = (KExtent){.slot = cursor->extent->slot + cursor->used, .n = take};
        }
        cursor->used += take;
        n -= take;
        if (cursor->used == cursor->extent->n) {
            cursor->extent++;
            cursor->used = 0;
        }
    }
    return n_out;
}

/** The work of this chunk with these slots, new or found. */
static uint32_t find_work(Builder *b, uint32_t chunk, const KExtent *extents, uint32_t n_extents)
{
    uint64_t hash = hash_fast(extents, n_extents * sizeof(*extents));
    for (uint32_t i = (uint32_t)hash & b->table_mask;; i = (i + 1) & b->table_mask) {
        uint32_t at = b->table[i];
        if (at == NO_WORK) {
            b->table[i] = (uint32_t)b->n_works;
            break;
        }
        const KAttentionWork *work = &b->works[at];
        if (b->hashes[at] == hash && work->n_extents == n_extents &&
            memcmp(work->extents, extents, n_extents * sizeof(*extents)) == 0) {
            return at;
        }
    }
    KExtent *copy = ARENA_ARRAY(b->arena, KExtent, n_extents);
    memcpy(copy, extents, n_extents * sizeof(*extents));
    assert(b->n_works < b->cap_works);
    b->hashes[b->n_works] = hash;
    b->works[b->n_works] =
        (KAttentionWork){.chunk = chunk, .extents = copy, .n_extents = n_extents};
    return (uint32_t)b->n_works++;
}

/** Rows of a span that see anything of a chunk, in the work list's numbers: counted, or written. */
static uint32_t span_rows(const Builder *b, const BatchSpan *span, uint32_t chunk,
                          KAttentionRow *out)
{
    uint32_t start = chunk * K_CHUNK, n = 0;
    uint32_t from = span->first_pos >= start ? 0 : start - span->first_pos;
    for (uint32_t i = from; i < span->n_rows; i++) {
        uint32_t row = span->first_row + i;
        uint32_t number = b->numbers == NULL ? row : b->numbers[row];
        if (number == NOT_WANTED) {
            continue;
        }
        if (out != NULL) {
            uint32_t n_keys = span->first_pos + i + 1 - start;
            out[n] = (KAttentionRow){.row = number, .n_keys = n_keys < K_CHUNK ? n_keys : K_CHUNK};
        }
        n++;
    }
    return n;
}

/** The works of one chunk, from the spans that reach it. */
static void build_chunk(Builder *b, uint32_t chunk, Cursor *cursors, Member *members)
{
    uint32_t start = chunk * K_CHUNK;
    size_t n_members = 0, first_work = b->n_works;
    memset(b->table, 0xff, (b->table_mask + 1) * sizeof(*b->table));
    for (uint32_t s = 0; s < b->batch->n_spans; s++) {
        const BatchSpan *span = &b->batch->spans[s];
        if (span_end(span) <= start) {
            continue;
        }
        KExtent extents[K_CHUNK];
        uint32_t n_keys = span_end(span) - start;
        uint32_t n = cut_chunk(span, &cursors[s], n_keys < K_CHUNK ? n_keys : K_CHUNK, extents);
        uint32_t n_rows = span_rows(b, span, chunk, NULL);
        if (n_rows > 0) {
            uint32_t work = find_work(b, chunk, extents, n);
            b->works[work].n_rows += n_rows;
            members[n_members++] = (Member){.span = s, .work = work};
        }
    }
    uint32_t *filled = ARENA_ARRAY(b->arena, uint32_t, b->n_works - first_work + 1);
    for (size_t i = 0; i < n_members; i++) {
        KAttentionWork *work = &b->works[members[i].work];
        if (work->rows == NULL) {
            work->rows = ARENA_ARRAY(b->arena, KAttentionRow, work->n_rows);
        }
        uint32_t *at = &filled[members[i].work - first_work];
        KAttentionRow *rows = (KAttentionRow *)(uintptr_t)work->rows + *at;
        *at += span_rows(b, &b->batch->spans[members[i].span], chunk, rows);
    }
}

static KAttentionWork *build_works(const Batch *batch, const uint32_t *numbers, Arena *arena,
                                   size_t *out_n)
{
    Builder b = {.batch = batch, .arena = arena, .numbers = numbers};
    uint32_t last_chunk = 0;
    Cursor *cursors = ARENA_ARRAY(arena, Cursor, batch->n_spans + 1);
    for (uint32_t s = 0; s < batch->n_spans; s++) {
        const BatchSpan *span = &batch->spans[s];
        uint32_t chunk = (span_end(span) - 1) / K_CHUNK;
        last_chunk = chunk > last_chunk ? chunk : last_chunk;
        b.cap_works += chunk + 1;
        cursors[s] = (Cursor){.extent = span->extents};
    }
    b.table_mask = 15;
    while (b.table_mask < 2 * batch->n_spans) {
        b.table_mask = b.table_mask * 2 + 1;
    }
    b.works = ARENA_ARRAY(arena, KAttentionWork, b.cap_works + 1);
    b.hashes = ARENA_ARRAY(arena, uint64_t, b.cap_works + 1);
    b.table = ARENA_ARRAY(arena, uint32_t, b.table_mask + 1);
    Member *members = ARENA_ARRAY(arena, Member, batch->n_spans + 1);
    for (uint32_t chunk = 0; chunk <= last_chunk; chunk++) {
        build_chunk(&b, chunk, cursors, members);
    }
    *out_n = b.n_works;
    return b.works;
}

/** Slots and angles of the rows of one span. */
static void place_span(const BatchSpan *span, const Weights *weights, ForwardPlan *plan)
{
    size_t n_pairs = weights->shape.heads.rope_dim / 2;
    uint32_t pos = 0, row = span->first_row;
    for (uint32_t e = 0; e < span->n_extents; e++) {
        const KvExtent *extent = &span->extents[e];
        uint32_t skip = pos < span->first_pos ? span->first_pos - pos : 0;
        for (uint32_t i = skip; i < extent->n && row < span->first_row + span->n_rows; i++) {
            plan->slots[row] = extent->slot + i;
            float *angles = plan->angles + row * n_pairs * 2;
            for (size_t p = 0; p < n_pairs; p++) {
                double angle = (double)(pos + i) * weights->rope_inverse[p];
                angles[2 * p] = (float)cos(angle);
                angles[2 * p + 1] = (float)sin(angle);
            }
            row++;
        }
        pos += extent->n;
    }
    assert(row == span->first_row + span->n_rows);
}

void forward_plan(const Batch *batch, const Weights *weights, Arena *arena, ForwardPlan *out)
{
    size_t n = batch->n_rows;
    *out = (ForwardPlan){.n_rows = n};
    out->ids = ARENA_ARRAY(arena, int32_t, n);
    out->slots = ARENA_ARRAY(arena, uint32_t, n);
    out->angles = arena_alloc_raw(arena, n * weights->shape.heads.rope_dim, sizeof(float));
    out->wanted = ARENA_ARRAY(arena, uint32_t, n);
    uint32_t *numbers = ARENA_ARRAY(arena, uint32_t, n);
    for (size_t r = 0; r < n; r++) {
        out->ids[r] = batch->rows[r].token;
        bool wanted = batch->rows[r].kind != ROW_KV;
        numbers[r] = wanted ? (uint32_t)out->n_wanted : NOT_WANTED;
        if (wanted) {
            out->wanted[out->n_wanted++] = (uint32_t)r;
        }
    }
    for (uint32_t s = 0; s < batch->n_spans; s++) {
        place_span(&batch->spans[s], weights, out);
    }
    out->works = build_works(batch, NULL, arena, &out->n_works);
    if (out->n_wanted == n) {
        out->last_works = out->works;
        out->n_last_works = out->n_works;
    } else if (out->n_wanted > 0) {
        out->last_works = build_works(batch, numbers, arena, &out->n_last_works);
    }
}
