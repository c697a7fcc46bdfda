// SPDX-License-Identifier: MIT
// Products on CUDA beside the CPU's. Quantised weights: equal integers and one epilogue, so equal
// bits. F16 and BF16: within the rounding of the activations and of sums in f32. All: a row's bits
// do not depend on the rows beside it, whichever kernel takes them.
#include "rig.h"

typedef struct Shape {
    int line;
    KType type;
    size_t n_out, n_in, n_rows;
    int n_segments;
    bool add;
} Shape;

static const size_t block_bytes[] = {
    [K_F32] = 4, [K_F16] = 2, [K_BF16] = 2, [K_Q8_0] = 34, [K_Q4_0] = 18, [K_Q4_1] = 20};

static bool is_block(KType type)
{
    return type == K_Q8_0 || type == K_Q4_0 || type == K_Q4_1;
}

/** Random bytes that are finite weights under 2 in size. */
static uint8_t *random_weights(const Shape *s, uint64_t seed)
{
    size_t unit = block_bytes[s->type];
    size_t n = s->n_out * (is_block(s->type) ? s->n_in / 32 : s->n_in) * unit;
    uint8_t *data = arena_alloc(&arena, n, 1);
    for (size_t i = 0; i < n; i++) {
        data[i] = (uint8_t)(rng_at(seed, 1, i) * 256);
    }
    for (size_t i = 0; i < n; i += unit) {
        if (s->type == K_F32) {
            float f = random_at(seed, i);
            memcpy(data + i, &f, 4);
        } else if (s->type == K_BF16) {
            data[i + 1] = (uint8_t)((data[i + 1] & 0x80) | 0x3f);
        } else {
            data[i + 1] &= 0xbb; // f16 exponents under 16
            if (s->type == K_Q4_1) {
                data[i + 3] &= 0xbb;
            }
        }
    }
    return data;
}

/** Weights of a norm, block by block of very different sizes. */
static float *random_sizes(const Shape *s, uint64_t seed)
{
    float *w = random_floats(seed, s->n_in, 1);
    for (size_t i = 0; i < s->n_in; i++) {
        static const float scales[] = {1, 30, 1e-3f, 0, 1e-20f, 1e-33f, 100};
        w[i] *= scales[i / 32 % 7];
    }
    return w;
}

/** Rows for them, the fourth of zeros. */
static float *random_rows(const Shape *s, uint64_t seed)
{
    float *x = unit_rows(seed, s->n_rows, s->n_in);
    if (s->n_rows > 3) {
        memset(x + 3 * s->n_in, 0, s->n_in * sizeof(float));
    }
    return x;
}

static float *run(const Side *side, const Shape *s, const uint8_t *weights, const float *x,
                  const float *sizes, const float *add)
{
    KMatrix *matrix = side_matrix(side, s->type, s->n_out, s->n_in, weights);
    KActs *acts = side_acts(side, s->n_rows, s->n_in, matrix);
    side_fill_acts(side, acts, x, sizes, s->n_rows, s->n_in);
    KBuffer *out = side_buffer(side, s->n_rows * s->n_out, add);
    KProduct product = {matrix, out, add != NULL, s->n_segments};
    Err err = ERR_INIT;
    CHECK_OK(side->ops->products(side->stream, &product, 1, acts, s->n_rows, &err), &err);
    float *got = side_read(side, out, s->n_rows * s->n_out);
    side->ops->buffer_destroy(out);
    side->ops->acts_destroy(acts);
    side->ops->matrix_destroy(matrix);
    return got;
}

/** sum |w x| of each output bounds what rounding can do: by products of the absolute values. */
static float *run_absolute(const Side *cpu, const Shape *s, const uint8_t *weights, const float *x,
                           const float *sizes)
{
    size_t unit = block_bytes[s->type], n = s->n_out * s->n_in * unit;
    uint8_t *positive = arena_alloc(&arena, n, 1);
    memcpy(positive, weights, n);
    for (size_t i = unit - 1; i < n; i += unit) {
        positive[i] &= 0x7f;
    }
    float *rows = ARENA_ARRAY(&arena, float, s->n_rows * s->n_in);
    float *positive_sizes = ARENA_ARRAY(&arena, float, s->n_in);
    for (size_t i = 0; i < s->n_rows * s->n_in; i++) {
        rows[i] = fabsf(x[i]);
        positive_sizes[i % s->n_in] = fabsf(sizes[i % s->n_in]);
    }
    return run(cpu, s, positive, rows, positive_sizes, NULL);
}

static void check_shape(const Rig *rig, const Shape *s, bool f32)
{
    arena_reset(&arena);
    uint8_t *weights = random_weights(s, 11);
    float *x = random_rows(s, 12), *sizes = random_sizes(s, 14);
    size_t n = s->n_rows * s->n_out;
    float *add = s->add ? random_floats(13, n, 4) : NULL;
    float *want = run(&rig->cpu, s, weights, x, sizes, add);
    float *got = run(&rig->cuda, s, weights, x, sizes, add);
    size_t bad = 0;
    if (is_block(s->type) && !f32) {
        bad = count_unequal(want, got, n);
    } else {
        // Of the sum of all |w x|: activations rounded to f16 or bf16 here and to 16-bit words on
        // the CPU, or just the sums in f32.
        double tolerance = s->type == K_F32 || f32 ? 2e-6 : s->type == K_F16 ? 8e-4 : 4.5e-3;
        float *bound = is_block(s->type) ? NULL : run_absolute(&rig->cpu, s, weights, x, sizes);
        for (size_t i = 0; i < n; i++) {
            double size = bound != NULL ? (double)bound[i] + 1 : 32.0 * (double)s->n_in;
            bad += !(fabs((double)want[i] - (double)got[i]) <= tolerance * size + 1e-4);
        }
    }
    if (bad > 0) {
        printf("# line %d: %zu of %zu outputs\n", s->line, bad, n);
    }
    CHECK_INT(bad, 0);
}

static void test_products__as_on_the_cpu(void)
{
    static const Shape shapes[] = {
        {__LINE__, K_Q4_0, 16, 32, 1, 1, false},    {__LINE__, K_Q4_0, 48, 320, 5, 1, false},
        {__LINE__, K_Q4_0, 80, 352, 9, 8, true},    {__LINE__, K_Q4_0, 136, 288, 70, 8, true},
        {__LINE__, K_Q4_1, 48, 320, 3, 1, true},    {__LINE__, K_Q4_1, 80, 96, 17, 8, false},
        {__LINE__, K_Q4_1, 144, 160, 33, 1, false}, {__LINE__, K_Q4_1, 40, 160, 130, 8, true},
        {__LINE__, K_Q8_0, 7, 64, 4, 1, false},     {__LINE__, K_Q8_0, 50, 512, 12, 8, true},
        {__LINE__, K_Q8_0, 130, 96, 66, 1, true},   {__LINE__, K_Q8_0, 20, 288, 40, 8, false},
        {__LINE__, K_F16, 33, 64, 1, 1, false},     {__LINE__, K_F16, 48, 100, 30, 8, true},
        {__LINE__, K_F16, 140, 96, 70, 8, true},    {__LINE__, K_BF16, 48, 320, 2, 1, false},
        {__LINE__, K_BF16, 20, 40, 18, 1, true},    {__LINE__, K_BF16, 130, 288, 64, 1, false},
        {__LINE__, K_F32, 30, 52, 3, 1, false},     {__LINE__, K_F32, 70, 288, 66, 8, true},
    };
    Rig rig;
    rig_open(&rig, false);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        check_shape(&rig, &shapes[i], false);
    }
    rig_close(&rig);
}

/** Every number of rows around those that choose a kernel, blocks of K that fill no burst or no
 * segment, and outputs in one and a bit of a tile or in more tiles than wide bursts are for. */
static void test_products__few_rows(void)
{
    static const KType types[] = {K_Q4_0, K_Q4_1, K_Q8_0, K_BF16};
    Rig rig;
    rig_open(&rig, false);
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        for (size_t n_rows = 1; n_rows <= 9; n_rows++) {
            Shape s = {__LINE__, types[t], 23, 32 * (9 + n_rows), n_rows, 1, n_rows % 2 == 0};
            check_shape(&rig, &s, false);
            s.n_segments = K_SEGMENTS;
            check_shape(&rig, &s, false);
            s.n_in = 32 * n_rows;
            check_shape(&rig, &s, false);
        }
        for (size_t n_rows = 2; n_rows <= 32; n_rows += n_rows + 1) { // to 23
            Shape s = {__LINE__, types[t], 530, 32 * 11, n_rows, 1, false};
            check_shape(&rig, &s, false);
        }
    }
    rig_close(&rig);
}

/** The first outputs by themselves equal the same ones among many, whose bursts are others. */
static void test_products__outputs_do_not_see_each_other(void)
{
    static const KType types[] = {K_Q4_0, K_Q4_1, K_Q8_0, K_F16, K_BF16};
    Rig rig;
    rig_open(&rig, false);
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        for (size_t n_rows = 1; n_rows <= 27; n_rows *= 3) {
            arena_reset(&arena);
            Shape many = {__LINE__, types[t], 530, 32 * 13, n_rows, 1, false}, few = many;
            few.n_out = 23;
            uint8_t *weights = random_weights(&many, 61);
            float *x = unit_rows(62, n_rows, many.n_in), *sizes = random_floats(63, many.n_in, 3);
            float *among = run(&rig.cuda, &many, weights, x, sizes, NULL);
            float *alone = run(&rig.cuda, &few, weights, x, sizes, NULL);
            for (size_t r = 0; r < n_rows; r++) {
                CHECK_INT(count_unequal(alone + r * few.n_out, among + r * many.n_out, few.n_out),
                          0);
            }
        }
    }
    rig_close(&rig);
}

/** A block of `type`, all of whose scales are `scale` and whose bytes of quants are `quants`. */
static void extreme_block(KType type, uint16_t scale, uint8_t quants, uint8_t *block)
{
    size_t at = type == K_Q4_1 ? 4 : 2;
    memset(block + at, quants, block_bytes[type] - at);
    for (size_t i = 0; i < at; i += 2) {
        memcpy(block + i, &scale, 2);
    }
}

/** The largest sums of products, the smallest and the largest scales, and both signs of all. */
static void test_products__extremes(void)
{
    static const KType types[] = {K_Q4_0, K_Q4_1, K_Q8_0};
    static const uint16_t scales[] = {1, 0x8001, 0x3c00, 0x7bff}; // 2^-24, -2^-24, 1, 65504
    static const uint8_t quants[] = {0x00, 0x0f, 0x7f, 0x80, 0x81, 0xf0, 0xff};
    static const float sizes[] = {1.01e-30f, 1, 1e30f};
    enum { SCALES = 4, QUANTS = 7, OUT = SCALES * QUANTS, ROWS = 5 };
    Rig rig;
    rig_open(&rig, false);
    for (size_t i = 0; i < 3 * ROWS * 3; i++) {
        arena_reset(&arena);
        Shape s = {__LINE__, types[i % 3], OUT, 32, 1 + i / 3 % ROWS, 1, false};
        uint8_t *weights = arena_alloc(&arena, OUT * block_bytes[s.type], 1);
        for (size_t o = 0; o < OUT; o++) {
            extreme_block(s.type, scales[o % SCALES], quants[o / SCALES],
                          weights + o * block_bytes[s.type]);
        }
        float x[ROWS * 32], norm[32];
        for (size_t k = 0; k < ROWS * 32; k++) { // signs: all, none, every second, halves, one
            size_t r = k / 32, c = k % 32;
            bool minus =
                r == 0 || (r == 2 && c % 2 == 0) || (r == 3 && c < 16) || (r == 4 && c == 9);
            x[k] = minus ? -1.0f : 1.0f;
            norm[c] = sizes[i / (3 * ROWS)];
        }
        float *want = run(&rig.cpu, &s, weights, x, norm, NULL);
        float *got = run(&rig.cuda, &s, weights, x, norm, NULL);
        CHECK_INT(count_unequal(want, got, s.n_rows * OUT), 0);
        CHECK(isfinite(want[0]) && want[OUT - 1] != 0);
    }
    rig_close(&rig);
}

static void test_products__f32_precision(void)
{
    static const Shape shapes[] = {
        {__LINE__, K_Q4_0, 48, 320, 5, 8, true},  {__LINE__, K_Q4_1, 70, 96, 2, 1, false},
        {__LINE__, K_Q8_0, 16, 256, 66, 1, true}, {__LINE__, K_F16, 33, 64, 1, 1, false},
        {__LINE__, K_BF16, 48, 96, 9, 8, false},  {__LINE__, K_F32, 48, 96, 9, 1, true},
    };
    Rig rig;
    rig_open(&rig, true);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        check_shape(&rig, &shapes[i], true);
    }
    rig_close(&rig);
}

/** Rows first .. first+n-1 by themselves equal the same rows among all. */
static void check_company(const Side *cuda, const Shape *all, const uint8_t *weights,
                          const float *x, const float *sizes, const float *whole, size_t first,
                          size_t n)
{
    Shape part = *all;
    part.n_rows = n;
    float *alone = run(cuda, &part, weights, x + first * all->n_in, sizes, NULL);
    CHECK_INT(count_unequal(alone, whole + first * all->n_out, n * all->n_out), 0);
}

static void test_products__rows_do_not_see_each_other(void)
{
    static const KType types[] = {K_Q4_0, K_Q4_1, K_Q8_0, K_F16, K_BF16, K_F32};
    Rig rig;
    rig_open(&rig, false);
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        for (int n_segments = 1; n_segments <= K_SEGMENTS; n_segments += K_SEGMENTS - 1) {
            arena_reset(&arena);
            Shape s = {__LINE__, types[t], 36, 352, 131, n_segments, false};
            uint8_t *weights = random_weights(&s, 21);
            float *x = unit_rows(22, s.n_rows, s.n_in), *sizes = random_floats(23, s.n_in, 3);
            float *whole = run(&rig.cuda, &s, weights, x, sizes, NULL);
            check_company(&rig.cuda, &s, weights, x, sizes, whole, 0, 1);
            check_company(&rig.cuda, &s, weights, x, sizes, whole, 5, 9);
            check_company(&rig.cuda, &s, weights, x, sizes, whole, 100, 31);
            check_company(&rig.cuda, &s, weights, x, sizes, whole, 64, 40);
        }
    }
    rig_close(&rig);
}

/** Several products at once, of two types, as a layer has them. */
static void check_group(const Rig *rig, size_t n_rows)
{
    arena_reset(&arena);
    Shape shapes[] = {{__LINE__, K_Q4_1, 90, 64, n_rows, 1, false},
                      {__LINE__, K_Q4_1, 24, 64, n_rows, 1, true},
                      {__LINE__, K_Q8_0, 24, 64, n_rows, 1, false}};
    float *x = unit_rows(31, n_rows, 64), *sizes = random_floats(34, 64, 1);
    float *add = random_floats(32, n_rows * 24, 1);
    const Side *sides[] = {&rig->cpu, &rig->cuda};
    float *got[2][3];
    for (int i = 0; i < 2; i++) {
        const Side *side = sides[i];
        KMatrix *m[3];
        KBuffer *out[3];
        KProduct products[3];
        for (int p = 0; p < 3; p++) {
            uint8_t *weights = random_weights(&shapes[p], 33 + (uint64_t)p);
            m[p] = side_matrix(side, shapes[p].type, shapes[p].n_out, 64, weights);
            out[p] = side_buffer(side, n_rows * shapes[p].n_out, shapes[p].add ? add : NULL);
            products[p] = (KProduct){m[p], out[p], shapes[p].add, 1};
        }
        KActs *acts = side_acts(side, n_rows, 64, m[0]);
        side_fill_acts(side, acts, x, sizes, n_rows, 64);
        Err err = ERR_INIT;
        CHECK_OK(side->ops->products(side->stream, products, 3, acts, n_rows, &err), &err);
        for (int p = 0; p < 3; p++) {
            got[i][p] = side_read(side, out[p], n_rows * shapes[p].n_out);
            side->ops->buffer_destroy(out[p]);
            side->ops->matrix_destroy(m[p]);
        }
        side->ops->acts_destroy(acts);
    }
    for (int p = 0; p < 3; p++) {
        CHECK_INT(count_unequal(got[0][p], got[1][p], n_rows * shapes[p].n_out), 0);
    }
}

static void test_products__groups(void)
{
    static const size_t n_rows[] = {1, 4, 5, 6, 9};
    Rig rig;
    rig_open(&rig, false);
    for (size_t i = 0; i < sizeof(n_rows) / sizeof(n_rows[0]); i++) {
        check_group(&rig, n_rows[i]);
    }
    rig_close(&rig);
}

/** The first half of a SwiGLU block, read as `form`. */
static float *gated(const Side *side, const Shape *s, KType form, const float *x,
                    const float *sizes)
{
    Err err = ERR_INIT;
    KMatrix *gate = side_matrix(side, s->type, s->n_out, s->n_in, random_weights(s, 51));
    KMatrix *up = side_matrix(side, s->type, s->n_out, s->n_in, random_weights(s, 52));
    KMatrix *identity = side_identity(side, form, s->n_out);
    KActs *acts = side_acts(side, s->n_rows, s->n_in, gate);
    KActs *out = side_acts(side, s->n_rows, s->n_out, identity);
    side_fill_acts(side, acts, x, sizes, s->n_rows, s->n_in);
    CHECK_OK(side->ops->gated(side->stream, gate, up, acts, s->n_rows, out, &err), &err);
    float *got = side_read_acts(side, identity, out, s->n_rows, s->n_out);
    side->ops->acts_destroy(acts);
    side->ops->acts_destroy(out);
    side->ops->matrix_destroy(gate);
    side->ops->matrix_destroy(up);
    side->ops->matrix_destroy(identity);
    return got;
}

static void test_gated__as_on_the_cpu(void)
{
    static const Shape shapes[] = {{__LINE__, K_Q4_1, 32, 64, 1, 1, false},
                                   {__LINE__, K_Q8_0, 160, 96, 7, 1, false},
                                   {__LINE__, K_Q4_0, 96, 64, 40, 1, false}};
    Rig rig;
    rig_open(&rig, false);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        arena_reset(&arena);
        const Shape *s = &shapes[i];
        size_t n = s->n_rows * s->n_out;
        float *x = unit_rows(53, s->n_rows, s->n_in), *sizes = random_floats(54, s->n_in, 0.3f);
        float *want = gated(&rig.cpu, s, K_F32, x, sizes);
        CHECK_INT(count_unequal(want, gated(&rig.cuda, s, K_F32, x, sizes), n), 0);
        want = gated(&rig.cpu, s, K_Q8_0, x, sizes);
        CHECK_INT(count_unequal(want, gated(&rig.cuda, s, K_Q8_0, x, sizes), n), 0);
    }
    rig_close(&rig);
}

/** An activation that is not a number makes its row's outputs NaN and no other's. */
static void test_products__not_a_number(void)
{
    Rig rig;
    rig_open(&rig, false);
    arena_reset(&arena);
    Shape s = {__LINE__, K_Q4_0, 32, 64, 3, 1, false};
    uint8_t *weights = random_weights(&s, 41);
    float *x = unit_rows(42, 3, 64), *sizes = random_floats(43, 64, 1);
    x[64 + 40] = INFINITY;
    float *want = run(&rig.cpu, &s, weights, x, sizes, NULL);
    float *got = run(&rig.cuda, &s, weights, x, sizes, NULL);
    CHECK_INT(count_unequal(want, got, 32), 0);
    CHECK_INT(count_unequal(want + 64, got + 64, 32), 0);
    for (int i = 32; i < 64; i++) {
        CHECK(isnan(got[i]));
    }
    rig_close(&rig);
}

static void test_matrix__unsound(void)
{
    Rig rig;
    rig_open(&rig, false);
    Err err = ERR_INIT;
    KMatrix *m = NULL;
    uint8_t data[64] = {0};
    CHECK(!rig.cuda.ops->matrix_create(rig.cuda.device, K_Q4_0, 1, 33, data, &m, &err));
    CHECK_INT(err.code, ERR_MODEL);
    CHECK(m == NULL);
    rig_close(&rig);
}

int main(void)
{
    tap_run("products are the CPU's", test_products__as_on_the_cpu);
    tap_run("any few rows are the CPU's", test_products__few_rows);
    tap_run("outputs do not see each other", test_products__outputs_do_not_see_each_other);
    tap_run("the largest sums and scales", test_products__extremes);
    tap_run("products under --precision f32", test_products__f32_precision);
    tap_run("rows do not see each other", test_products__rows_do_not_see_each_other);
    tap_run("groups of products", test_products__groups);
    tap_run("the gated product is the CPU's", test_gated__as_on_the_cpu);
    tap_run("an activation that is not a number", test_products__not_a_number);
    tap_run("unsound matrices are refused", test_matrix__unsound);
    arena_finish(&arena);
    return tap_done();
}
