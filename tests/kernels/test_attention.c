// SPDX-License-Identifier: MIT
// Rotation, KV slots and attention against the formulas in double, over heads of any size,
// scattered slots and several chunks; equal bits over paths, threads, slots and company.
#include "rig.h"

static Arena arena;

typedef struct Case {
    int line;
    KHeads heads;
    uint32_t n_keys; // positions; the last few are queries
    uint32_t n_queries;
} Case;

typedef struct Inputs {
    const float *q, *k, *v; // (n_keys, heads, head_dim); q of all positions too
    const float *angles;    // (n_keys, rope_dim/2, 2)
} Inputs;

static Inputs make_inputs(const Case *c)
{
    const KHeads *h = &c->heads;
    Inputs in = {
        .q = rig_random_floats(&arena, 1, (size_t)c->n_keys * h->n_heads * h->head_dim, 3),
        .k = rig_random_floats(&arena, 2, (size_t)c->n_keys * h->n_kv_heads * h->head_dim, 3),
        .v = rig_random_floats(&arena, 3, (size_t)c->n_keys * h->n_kv_heads * h->head_dim, 1),
    };
    float *angles = arena_alloc(&arena, (size_t)c->n_keys * h->rope_dim, sizeof(float));
    for (size_t i = 0; i < (size_t)c->n_keys * h->rope_dim / 2; i++) {
        double angle = 6.28 * rng_at(4, 0, i);
        angles[2 * i] = (float)cos(angle);
        angles[2 * i + 1] = (float)sin(angle);
    }
    in.angles = angles;
    return in;
}

// ---- In double --------------------------------------------------------------------------------

static double *rotated(const Case *c, const float *x, const float *angles, size_t n_heads)
{
    size_t dim = c->heads.head_dim, n = (size_t)c->n_keys * n_heads * dim;
    double *out = ARENA_ARRAY(&arena, double, n);
    for (size_t i = 0; i < n; i += 2) {
        size_t pos = i / (n_heads * dim), pair = i % dim / 2;
        double x0 = (double)x[i], x1 = (double)x[i + 1], cos = 1, sin = 0;
        if (2 * pair < c->heads.rope_dim) {
            cos = (double)angles[pos * c->heads.rope_dim + 2 * pair];
            sin = (double)angles[pos * c->heads.rope_dim + 2 * pair + 1];
        }
        out[i] = x0 * cos - x1 * sin;
        out[i + 1] = x0 * sin + x1 * cos;
    }
    return out;
}

/** Result for the last n_queries positions. */
static double *want_of(const Case *c, const Inputs *in)
{
    const KHeads *h = &c->heads;
    size_t dim = h->head_dim, group = h->n_heads / h->n_kv_heads;
    const double *q = rotated(c, in->q, in->angles, h->n_heads);
    const double *k = rotated(c, in->k, in->angles, h->n_kv_heads);
    double *out = ARENA_ARRAY(&arena, double, (size_t)c->n_queries * h->n_heads * dim);
    double *weight = ARENA_ARRAY(&arena, double, c->n_keys);
    for (size_t i = 0; i < (size_t)c->n_queries * h->n_heads; i++) {
        size_t pos = c->n_keys - c->n_queries + i / h->n_heads, head = i % h->n_heads;
        double sum = 0;
        for (size_t p = 0; p <= pos; p++) {
            double score = 0;
            for (size_t d = 0; d < dim; d++) {
                score += q[(pos * h->n_heads + head) * dim + d] *
                         k[(p * h->n_kv_heads + head / group) * dim + d];
            }
            weight[p] = exp(score / sqrt((double)dim));
            sum += weight[p];
        }
        for (size_t p = 0; p <= pos; p++) {
            for (size_t d = 0; d < dim; d++) {
                out[i * dim + d] +=
                    weight[p] / sum * (double)in->v[(p * h->n_kv_heads + head / group) * dim + d];
            }
        }
    }
    return out;
}

// ---- By the kernels ---------------------------------------------------------------------------

/** Extents of 1 .. max_len slots, last slots first. */
static uint32_t make_extents(const Case *c, uint32_t max_len, uint32_t n_slots, KExtent *out)
{
    uint32_t n = 0, slot = n_slots;
    for (uint32_t at = 0; at < c->n_keys; n++) {
        uint32_t len = max_len == 1 ? 1 : (uint32_t)(rng_at(max_len, 3, n) * max_len) + 1;
        len = len < c->n_keys - at ? len : c->n_keys - at;
        slot -= len;
        out[n] = (KExtent){slot, len};
        at += len;
    }
    return n;
}

/** The extents that hold positions from .. to-1. */
static uint32_t cut_extents(const KExtent *all, uint32_t n, uint32_t from, uint32_t to,
                            KExtent *out)
{
    uint32_t at = 0, n_out = 0;
    for (uint32_t i = 0; i < n; at += all[i].n, i++) {
        uint32_t start = at < from ? from : at, end = at + all[i].n < to ? at + all[i].n : to;
        if (start < end) {
            out[n_out++] = (KExtent){all[i].slot + start - at, end - start};
        }
    }
    return n_out;
}

/** Positions in slots of extents of at most max_len; queries in pieces of `piece` rows. */
static float *run(const Case *c, const Inputs *in, const char *path, int threads, bool f32,
                  uint32_t max_len, uint32_t piece)
{
    enum { SLACK = 40 };
    Rig rig;
    if (!rig_open(&rig, path, threads, f32)) {
        return NULL;
    }
    const KHeads *h = &c->heads;
    size_t q_dim = (size_t)h->n_heads * h->head_dim, kv_dim = (size_t)h->n_kv_heads * h->head_dim;
    uint32_t n_slots = c->n_keys + SLACK, layer = 1;
    KKv *kv = NULL;
    Err err = ERR_INIT;
    CHECK_OK(ops->kv_create(rig.device, h, 2, n_slots, &kv, &err), &err);
    KExtent *extents = ARENA_ARRAY(&arena, KExtent, c->n_keys),
            *cut = ARENA_ARRAY(&arena, KExtent, c->n_keys);
    uint32_t n_extents = make_extents(c, max_len, n_slots, extents);
    uint32_t *slots = ARENA_ARRAY(&arena, uint32_t, c->n_keys);
    for (uint32_t e = 0, pos = 0; e < n_extents; e++) {
        for (uint32_t i = 0; i < extents[e].n; i++) {
            slots[pos++] = extents[e].slot + i;
        }
    }
    KBuffer *q = rig_buffer(&rig, c->n_keys * q_dim, in->q);
    KBuffer *k = rig_buffer(&rig, c->n_keys * kv_dim, in->k);
    KBuffer *v = rig_buffer(&rig, c->n_keys * kv_dim, in->v);
    CHECK_OK(ops->rope_store(rig.stream, kv, layer, q, k, v, in->angles, slots, c->n_keys, &err),
             &err);
    KMatrix *identity = rig_identity(&rig, q_dim);
    KActs *acts = rig_acts(&rig, piece, q_dim, identity);
    KBuffer *some = rig_buffer(&rig, piece * q_dim, NULL);
    float *out = arena_alloc(&arena, c->n_queries * q_dim, sizeof(float));
    for (uint32_t from = 0; from < c->n_queries; from += piece) {
        uint32_t n = c->n_queries - from < piece ? c->n_queries - from : piece;
        uint32_t first = c->n_keys - c->n_queries + from, n_works = 0;
        memcpy(some->data, q->data + first * q_dim, n * q_dim * sizeof(float));
        KAttentionWork works[16];
        for (uint32_t chunk = 0; chunk * K_CHUNK < first + n; chunk++) {
            uint32_t start = chunk * K_CHUNK, n_rows = 0;
            uint32_t end = start + K_CHUNK < first + n ? start + K_CHUNK : first + n;
            uint32_t n_cut = cut_extents(extents, n_extents, start, end, cut);
            KExtent *own = ARENA_ARRAY(&arena, KExtent, n_cut);
            memcpy(own, cut, n_cut * sizeof(*own));
            KAttentionRow *rows = ARENA_ARRAY(&arena, KAttentionRow, n);
            for (uint32_t r = 0; r < n; r++) {
                if (first + r >= start) {
                    uint32_t sees = first + r + 1 - start;
                    rows[n_rows++] = (KAttentionRow){r, sees < K_CHUNK ? sees : K_CHUNK};
                }
            }
            works[n_works++] = (KAttentionWork){chunk, own, n_cut, rows, n_rows};
        }
        CHECK_OK(ops->attention(rig.stream, kv, layer, some, works, n_works, n, acts, &err), &err);
        rig_read_acts(&rig, identity, acts, n, out + from * q_dim);
    }
    ops->buffer_destroy(some);
    ops->buffer_destroy(q);
    ops->buffer_destroy(k);
    ops->buffer_destroy(v);
    ops->acts_destroy(acts);
    ops->matrix_destroy(identity);
    ops->kv_destroy(kv);
    rig_close(&rig);
    return out;
}

static const Case cases[] = {
    {__LINE__, {1, 1, 2, 2}, 1, 1},
    {__LINE__, {9, 3, 64, 64}, 300, 45},
    {__LINE__, {4, 4, 16, 8}, 17, 17},
    {__LINE__, {6, 2, 80, 80}, 256, 5},
    {__LINE__, {3, 1, 18, 18}, 257, 30},
    {__LINE__, {2, 2, 256, 128}, 70, 9},
    {__LINE__, {52, 1, 8, 8}, 40, 3}, // more heads in a group than a piece takes
    {__LINE__, {2, 1, 100, 100}, 600, 40},
    {__LINE__, {128, 1, 2, 2}, 520, 512}, // partials of one chunk alone fit: three waves
};

static void test_attention__follows_its_formula(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const Case *c = &cases[i];
        Inputs in = make_inputs(c);
        const double *want = want_of(c, &in);
        size_t n = (size_t)c->n_queries * c->heads.n_heads * c->heads.head_dim;
        for (int f32 = 0; f32 < 2; f32++) {
            const float *got = run(c, &in, NULL, 2, f32, 50, c->n_queries);
            double worst = 0;
            for (size_t k = 0; k < n; k++) {
                worst = fmax(worst, fabs((double)got[k] - want[k]));
            }
            // Values lie within 1; a score of size s moves by s * 2^-16 when keys are int16.
            printf("# line %d: worst %.2g\n", c->line, worst);
            CHECK(worst < (f32 ? 5e-6 : 1e-3));
        }
        arena_reset(&arena);
    }
}

static void test_attention__gives_the_same_bits(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) * 2; i++) {
        const Case *c = &cases[i / 2];
        bool f32 = i % 2;
        Inputs in = make_inputs(c);
        size_t bytes = (size_t)c->n_queries * c->heads.n_heads * c->heads.head_dim * sizeof(float);
        const float *first = run(c, &in, "portable", 1, f32, c->n_keys, c->n_queries);
        static const struct {
            const char *path;
            int threads;
            uint32_t max_len, piece;
        } ways[] = {{"portable", 3, 7, 4}, {"avx2", 1, 1, 100},   {"avx2", 2, 50, 7},
                    {"avx512", 2, 1, 1},   {"avx512", 1, 16, 11}, {"avx512", 2, 300, 64}};
        for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
            const float *got =
                run(c, &in, ways[w].path, ways[w].threads, f32, ways[w].max_len, ways[w].piece);
            if (got != NULL && memcmp(got, first, bytes) != 0) {
                printf("# line %d: other bits in way %zu\n", c->line, w);
                CHECK(false);
            }
        }
        arena_reset(&arena);
    }
}

/** What lies in slots beyond a query, or in other slots of a group, is never even read into a sum.
 */
static void test_attention__ignores_what_it_does_not_see(void)
{
    const Case c = {__LINE__, {3, 1, 16, 16}, 40, 40};
    Inputs in = make_inputs(&c);
    const float *first = run(&c, &in, NULL, 1, false, 5, 40);
    float *k = arena_alloc(&arena, 40 * 16, sizeof(float)),
          *v = arena_alloc(&arena, 40 * 16, sizeof(float));
    memcpy(k, in.k, 40 * 16 * sizeof(float));
    memcpy(v, in.v, 40 * 16 * sizeof(float));
    k[30 * 16] = NAN;
    v[31 * 16] = INFINITY;
    Inputs bad = {in.q, k, v, in.angles};
    const float *got = run(&c, &bad, NULL, 1, false, 5, 40);
    CHECK(memcmp(got, first, 30 * 3 * 16 * sizeof(float)) == 0);
    CHECK(isnan(got[31 * 3 * 16]));
    arena_reset(&arena);
}

static void test_kv__refuses_what_does_not_fit(void)
{
    Rig rig;
    CHECK(rig_open(&rig, "portable", 1, false));
    KHeads heads = {8, 8, 128, 128};
    KKv *kv = NULL;
    Err err = ERR_INIT;
    CHECK(!ops->kv_create(rig.device, &heads, (size_t)1 << 30, (size_t)1 << 31, &kv, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    rig_close(&rig);
}

int main(void)
{
    tap_run("attention follows its formula", test_attention__follows_its_formula);
    tap_run("attention gives the same bits", test_attention__gives_the_same_bits);
    tap_run("attention ignores what it does not see", test_attention__ignores_what_it_does_not_see);
    tap_run("kv refuses what does not fit", test_kv__refuses_what_does_not_fit);
    arena_finish(&arena);
    return tap_done();
}
