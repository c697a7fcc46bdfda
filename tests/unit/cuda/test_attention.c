// SPDX-License-Identifier: MIT
// Rotation, slots and attention on CUDA beside the CPU's: sequences that share a prefix, attended
// together and alone, over heads of any size, scattered slots and several chunks. Operands are f16
// here and int16 there, so results agree within f16's rounding; under f32, within f32's. Among
// themselves CUDA's kernels agree to the bit, whichever of them the number of items chooses.
#include "rig.h"

#include <stdlib.h>

#define SEQS_MAX 4

typedef struct Case {
    int line;
    KHeads heads;
    uint32_t prefix; // positions that all sequences share
    uint32_t n_seqs;
    uint32_t private[SEQS_MAX]; // positions of each beyond the prefix
    uint32_t n_queries;         // the last positions of each
} Case;

/** A case laid out: row r is computed for slot slots[r]. */
typedef struct Layout {
    const Case *c;
    uint32_t n_rows;          // prefix and all privates
    uint32_t *slots;          // of each row, scattered
    uint32_t first[SEQS_MAX]; // row of a sequence's first private position
} Layout;

static Layout lay_out(const Case *c)
{
    Layout l = {.c = c, .n_rows = c->prefix};
    for (uint32_t s = 0; s < c->n_seqs; s++) {
        l.first[s] = l.n_rows;
        l.n_rows += c->private[s];
    }
    l.slots = ARENA_ARRAY(&arena, uint32_t, l.n_rows);
    // Runs of five slots, in turned order.
    uint32_t n_runs = (l.n_rows + 4) / 5;
    for (uint32_t r = 0; r < l.n_rows; r++) {
        l.slots[r] = (n_runs - 1 - r / 5) * 5 + r % 5 + 3;
    }
    return l;
}

static uint32_t row_of(const Layout *l, uint32_t seq, uint32_t pos)
{
    return pos < l->c->prefix ? pos : l->first[seq] + pos - l->c->prefix;
}

static uint32_t length_of(const Case *c, uint32_t seq)
{
    return c->prefix + c->private[seq];
}

static uint32_t extents_of(const Layout *l, uint32_t seq, uint32_t from, uint32_t to, KExtent *out)
{
    uint32_t n = 0;
    for (uint32_t pos = from; pos < to; pos++) {
        uint32_t slot = l->slots[row_of(l, seq, pos)];
        if (n > 0 && out[n - 1].slot + out[n - 1].n == slot) {
            out[n - 1].n++;
        } else {
            out[n++] = (KExtent){slot, 1};
        }
    }
    return n;
}

/** Query rows of sequences seq0 .. seq1-1, numbered from 0, that see anything of a chunk. */
static uint32_t rows_of(const Case *c, uint32_t seq0, uint32_t seq1, uint32_t first, uint32_t chunk,
                        KAttentionRow *out)
{
    uint32_t n = 0;
    for (uint32_t s = seq0; s < seq1; s++) {
        for (uint32_t i = 0; i < c->n_queries; i++) {
            uint32_t end = length_of(c, s) - c->n_queries + i + 1, start = chunk * K_CHUNK;
            if (end > start) {
                uint32_t keys = end - start < K_CHUNK ? end - start : K_CHUNK;
                out[n++] = (KAttentionRow){(s - first) * c->n_queries + i, keys};
            }
        }
    }
    return n;
}

static void add_work(const Layout *l, uint32_t seq0, uint32_t seq1, uint32_t first, uint32_t chunk,
                     KAttentionWork *works, size_t *n_works)
{
    KAttentionRow *rows = ARENA_ARRAY(&arena, KAttentionRow, SEQS_MAX * l->c->n_queries);
    KExtent *extents = ARENA_ARRAY(&arena, KExtent, K_CHUNK);
    uint32_t n_rows = rows_of(l->c, seq0, seq1, first, chunk, rows), most = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        most = rows[i].n_keys > most ? rows[i].n_keys : most;
    }
    if (n_rows > 0) {
        uint32_t n = extents_of(l, seq0, chunk * K_CHUNK, chunk * K_CHUNK + most, extents);
        works[(*n_works)++] = (KAttentionWork){chunk, extents, n, rows, n_rows};
    }
}

/** Works of sequences seq0 .. seq1-1: chunks that lie in the prefix are shared. */
static size_t works_of(const Layout *l, uint32_t seq0, uint32_t seq1, KAttentionWork *works)
{
    size_t n = 0;
    uint32_t longest = 0;
    for (uint32_t s = seq0; s < seq1; s++) {
        longest = length_of(l->c, s) > longest ? length_of(l->c, s) : longest;
    }
    for (uint32_t chunk = 0; chunk * K_CHUNK < longest; chunk++) {
        if ((chunk + 1) * K_CHUNK <= l->c->prefix) {
            add_work(l, seq0, seq1, seq0, chunk, works, &n);
            continue;
        }
        for (uint32_t s = seq0; s < seq1; s++) {
            add_work(l, s, s + 1, seq0, chunk, works, &n);
        }
    }
    return n;
}

typedef struct Attended {
    const Side *side;
    const Layout *l;
    KKv *kv;
    KBuffer *q; // of all rows, rotated
    KMatrix *identity;
    size_t width;
} Attended;

/** Store keys and values of all rows in two pieces, as layer 1 of 2. */
static Attended store(const Side *side, const Layout *l)
{
    const KHeads *h = &l->c->heads;
    Attended a = {.side = side, .l = l, .width = (size_t)h->n_heads * h->head_dim};
    size_t kv_width = (size_t)h->n_kv_heads * h->head_dim;
    Err err = ERR_INIT;
    CHECK_OK(side->ops->kv_create(side->device, h, 2, l->n_rows + 10, &a.kv, &err), &err);
    a.q = side_buffer(side, l->n_rows * a.width, random_floats(1, l->n_rows * a.width, 2));
    KBuffer *k = side_buffer(side, l->n_rows * kv_width, random_floats(2, l->n_rows * kv_width, 2));
    KBuffer *v = side_buffer(side, l->n_rows * kv_width, random_floats(3, l->n_rows * kv_width, 1));
    float *angles = ARENA_ARRAY(&arena, float, l->n_rows * h->rope_dim + 1);
    for (size_t i = 0; i < l->n_rows * h->rope_dim / 2; i++) {
        double angle = 6.28 * rng_at(4, 0, i);
        angles[2 * i] = (float)cos(angle);
        angles[2 * i + 1] = (float)sin(angle);
    }
    CHECK_OK(
        side->ops->rope_store(side->stream, a.kv, 1, a.q, k, v, angles, l->slots, l->n_rows, &err),
        &err);
    CHECK_OK(side->ops->stream_sync(side->stream, &err), &err);
    side->ops->buffer_destroy(k);
    side->ops->buffer_destroy(v);
    a.identity = side_identity(side, K_F32, a.width);
    return a;
}

static void stored_free(Attended *a)
{
    a->side->ops->kv_destroy(a->kv);
    a->side->ops->buffer_destroy(a->q);
    a->side->ops->matrix_destroy(a->identity);
}

/** Every work `copies` times, copy i for rows i * n_rows on. */
static KAttentionWork *repeat(const KAttentionWork *works, size_t n_works, uint32_t n_rows,
                              uint32_t copies)
{
    KAttentionWork *all = ARENA_ARRAY(&arena, KAttentionWork, n_works * copies);
    for (size_t w = 0; w < n_works; w++) {
        for (uint32_t i = 0; i < copies; i++) {
            KAttentionRow *rows = ARENA_ARRAY(&arena, KAttentionRow, works[w].n_rows);
            for (size_t r = 0; r < works[w].n_rows; r++) {
                rows[r] = works[w].rows[r];
                rows[r].row += i * n_rows;
            }
            all[w * copies + i] = works[w];
            all[w * copies + i].rows = rows;
        }
    }
    return all;
}

/** Results of sequences seq0 .. seq1-1, of all copies. */
static float *attend_copies(const Attended *a, uint32_t seq0, uint32_t seq1, uint32_t copies)
{
    const Case *c = a->l->c;
    const KOps *ops = a->side->ops;
    uint32_t one = (seq1 - seq0) * c->n_queries;
    size_t n_rows = (size_t)one * copies;
    uint32_t *rows = ARENA_ARRAY(&arena, uint32_t, n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        uint32_t seq = seq0 + (uint32_t)i % one / c->n_queries;
        uint32_t pos = length_of(c, seq) - c->n_queries + (uint32_t)i % c->n_queries;
        rows[i] = row_of(a->l, seq, pos);
    }
    Err err = ERR_INIT;
    KBuffer *q = side_buffer(a->side, n_rows * a->width, NULL);
    KActs *acts = side_acts(a->side, n_rows, a->width, a->identity);
    KAttentionWork *works = ARENA_ARRAY(&arena, KAttentionWork, 256);
    size_t n_works = works_of(a->l, seq0, seq1, works);
    works = repeat(works, n_works, one, copies);
    n_works *= copies;
    CHECK_OK(ops->gather(a->side->stream, a->q, a->width, rows, n_rows, q, &err), &err);
    CHECK_OK(ops->attention(a->side->stream, a->kv, 1, q, works, n_works, n_rows, acts, &err),
             &err);
    float *out = side_read_acts(a->side, a->identity, acts, n_rows, a->width);
    ops->buffer_destroy(q);
    ops->acts_destroy(acts);
    return out;
}

static float *attend(const Attended *a, uint32_t seq0, uint32_t seq1)
{
    return attend_copies(a, seq0, seq1, 1);
}

static void check_case(const Rig *rig, const Case *c, double tolerance)
{
    arena_reset(&arena);
    Layout l = lay_out(c);
    Attended cpu = store(&rig->cpu, &l), cuda = store(&rig->cuda, &l);
    size_t seq_floats = c->n_queries * cpu.width, n = c->n_seqs * seq_floats;
    float *want = attend(&cpu, 0, c->n_seqs), *got = attend(&cuda, 0, c->n_seqs);
    double worst = largest_difference(want, got, n);
    if (!(worst <= tolerance)) {
        printf("# line %d: %g\n", c->line, worst);
    }
    CHECK(worst <= tolerance);
    CHECK_INT(count_unequal(got, attend(&cuda, 0, c->n_seqs), n), 0);
    for (uint32_t s = 0; s < c->n_seqs; s++) {
        CHECK_INT(count_unequal(got + s * seq_floats, attend(&cuda, s, s + 1), seq_floats), 0);
    }
    stored_free(&cpu);
    stored_free(&cuda);
}

static void test_attention__f16(void)
{
    static const Case cases[] = {
        {__LINE__, {1, 1, 32, 32}, 0, 1, {5}, 5},
        {__LINE__, {6, 2, 16, 16}, 20, 3, {3, 30, 1}, 1},
        {__LINE__, {4, 4, 64, 64}, 256, 2, {40, 70}, 20},
        {__LINE__, {8, 2, 64, 32}, 530, 4, {1, 2, 30, 300}, 1},
        {__LINE__, {3, 1, 80, 40}, 10, 2, {90, 7}, 7},
        {__LINE__, {2, 1, 128, 128}, 100, 2, {200, 3}, 3},
        {__LINE__, {2, 2, 100, 20}, 7, 1, {60}, 33},
        {__LINE__, {2, 1, 160, 160}, 7, 1, {60}, 3},
        {__LINE__, {1, 1, 256, 256}, 7, 1, {40}, 3},
        {__LINE__, {70, 1, 6, 6}, 70, 2, {3, 4}, 2},
    };
    Rig rig;
    rig_open(&rig, false);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_case(&rig, &cases[i], 6e-3);
    }
    rig_close(&rig);
}

/** Few queries are one warp's where there are many items, and shared by warps where there are few.
 */
static void test_attention__few_items_and_many(void)
{
    static const uint32_t dims[] = {32, 64, 96, 128, 192, 256, 20, 6, 100, 150};
    static const uint32_t lengths[] = {1, 17, 64, 71, 200, 256, 257};
    enum { DIMS = sizeof(dims) / sizeof(dims[0]), LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };
    // More than four blocks a processor: of a real device, of the emulated one.
    uint32_t copies = getenv("MUSTER_CUDA_MODULE") != NULL ? 1000 : 17;
    Rig rig;
    rig_open(&rig, false);
    for (uint32_t i = 0; i < DIMS * LENGTHS; i++) {
        uint32_t dim = dims[i % DIMS], length = lengths[i / DIMS], n_kv_heads = 1 + i % 9 / 8;
        uint32_t group = 1 + i % 5 / 3, most = 16 / group, n = 1 + i * 3 % most;
        arena_reset(&arena);
        Case c = {.heads = {group * n_kv_heads, n_kv_heads, dim, dim},
                  .n_seqs = 1,
                  .private = {length},
                  .n_queries = n < length ? n : length};
        Layout l = lay_out(&c);
        Attended a = store(&rig.cuda, &l);
        size_t n_floats = c.n_queries * a.width, unequal = 0;
        float *few = attend(&a, 0, 1), *many = attend_copies(&a, 0, 1, copies);
        for (uint32_t k = 0; k < copies; k++) {
            unequal += count_unequal(few, many + k * n_floats, n_floats);
        }
        if (unequal > 0) {
            printf("# heads of %u, %u queries, %u positions: %zu differ\n", dim,
                   c.n_queries * group, length, unequal);
        }
        CHECK_INT(unequal, 0);
        stored_free(&a);
    }
    rig_close(&rig);
}

static void test_attention__f32(void)
{
    static const Case cases[] = {
        {__LINE__, {6, 2, 16, 16}, 256, 2, {3, 30}, 2},
        {__LINE__, {2, 1, 100, 20}, 7, 1, {300}, 3},
        {__LINE__, {1, 1, 256, 256}, 7, 1, {40}, 1},
    };
    Rig rig;
    rig_open(&rig, true);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_case(&rig, &cases[i], 1e-5);
    }
    rig_close(&rig);
}

/** Heads that are too wide are refused; a slot's bytes are what the arrays take. */
static void test_kv__sizes(void)
{
    Rig rig;
    rig_open(&rig, false);
    Err err = ERR_INIT;
    KKv *kv = NULL;
    KHeads wide = {1, 1, 300, 300}, usual = {32, 8, 128, 128};
    CHECK(!rig.cuda.ops->kv_create(rig.cuda.device, &wide, 1, 10, &kv, &err));
    CHECK_INT(err.code, ERR_UNSUPPORTED);
    CHECK_INT(rig.cuda.ops->kv_slot_bytes(rig.cuda.device, &usual, 32), 128 << 10);
    rig_close(&rig);
}

int main(void)
{
    tap_run("attention in f16", test_attention__f16);
    tap_run("few items and many", test_attention__few_items_and_many);
    tap_run("attention in f32", test_attention__f32);
    tap_run("slots", test_kv__sizes);
    arena_finish(&arena);
    return tap_done();
}
