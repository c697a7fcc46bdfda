// SPDX-License-Identifier: MIT
// Products against sums in double over weights dequantised by the formulas of ggml's formats, and
// equal bits over paths, threads and the company that a row is in.
#include "rig.h"

static Arena arena;

typedef struct Shape {
    KType type;
    size_t n_out, n_in, n_rows;
    int n_segments;
} Shape;

static const size_t block_bytes[] = {
    [K_F32] = 4, [K_F16] = 2, [K_BF16] = 2, [K_Q8_0] = 34, [K_Q4_0] = 18, [K_Q4_1] = 20};

static bool is_block(KType type)
{
    return type == K_Q8_0 || type == K_Q4_0 || type == K_Q4_1;
}

static size_t row_bytes(KType type, size_t n_in)
{
    return (is_block(type) ? n_in / 32 : n_in) * block_bytes[type];
}

static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double f = exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25);
    return h & 0x8000 ? -f : f;
}

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static double element(KType type, const uint8_t *row, size_t k)
{
    size_t i = k % 32;
    const uint8_t *p = row + (is_block(type) ? k / 32 : k) * block_bytes[type];
    float f;
    uint32_t wide;
    switch (type) {
    case K_F32:
        memcpy(&f, p, 4);
        return (double)f;
    case K_F16:
        return half_value(load16(p));
    case K_BF16:
        wide = (uint32_t)load16(p) << 16;
        memcpy(&f, &wide, 4);
        return (double)f;
    case K_Q8_0:
        return half_value(load16(p)) * (int8_t)p[2 + i];
    case K_Q4_0:
        return half_value(load16(p)) * ((i < 16 ? p[2 + i] & 15 : p[2 + i - 16] >> 4) - 8);
    case K_Q4_1:
        return half_value(load16(p)) * (i < 16 ? p[4 + i] & 15 : p[4 + i - 16] >> 4) +
               half_value(load16(p + 2));
    }
    return 0;
}

/** Random bytes that are finite weights: halves keep exponents under 2^0, also denormal ones. */
static uint8_t *random_weights(const Shape *s, uint64_t seed)
{
    size_t n = s->n_out * row_bytes(s->type, s->n_in), unit = block_bytes[s->type];
    uint8_t *data = arena_alloc(&arena, n, 1);
    for (size_t i = 0; i < n; i++) {
        data[i] = (uint8_t)(rng_at(seed, 1, i) * 256);
    }
    for (size_t i = 0; i < n; i += unit) {
        if (s->type == K_F32) {
            float f = rig_random(seed, i);
            memcpy(data + i, &f, 4);
        } else if (s->type == K_BF16) {
            data[i + 1] = (uint8_t)((data[i + 1] & 0x80) | 0x3f); // 2^-1 .. 2^0, and less
        } else {
            data[i + 1] &= 0xbb; // f16 exponents under 16
            if (s->type == K_Q4_1) {
                data[i + 3] &= 0xbb;
            }
        }
    }
    return data;
}

/** Rows of activations: blocks of very different sizes, zero blocks, tiny numbers, a zero row. */
static float *random_rows(const Shape *s, uint64_t seed)
{
    float *x = rig_random_floats(&arena, seed, s->n_rows * s->n_in, 1);
    for (size_t i = 0; i < s->n_rows * s->n_in; i++) {
        size_t r = i / s->n_in, b = i % s->n_in / 32;
        static const float scales[] = {1, 30, 1e-3f, 0, 1e-20f, 1e-38f, 1e4f};
        x[i] *= r == 3 ? 0 : scales[(r + b) % 7];
    }
    return x;
}

/** out (n_rows, n_out) of one device; the first `offset` rows of the activations are not asked for.
 */
static float *run(const Rig *rig, const Shape *s, const uint8_t *weights, const float *x,
                  const float *add)
{
    KMatrix *matrix = rig_matrix(rig, s->type, s->n_out, s->n_in, weights);
    KActs *acts = rig_acts(rig, s->n_rows, s->n_in, matrix);
    for (size_t r = 0; r < s->n_rows; r++) {
        cpu_acts_row(rig->device, acts, r, x + r * s->n_in);
    }
    size_t n = s->n_rows * s->n_out;
    KBuffer *out = rig_buffer(rig, n, add);
    KProduct product = {matrix, out, add != NULL, s->n_segments};
    Err err = ERR_INIT;
    CHECK_OK(ops->products(rig->stream, &product, 1, acts, s->n_rows, &err), &err);
    float *got = arena_alloc(&arena, n, sizeof(float));
    CHECK_OK(ops->buffer_read(rig->stream, out, 0, got, n, &err), &err);
    ops->buffer_destroy(out);
    ops->acts_destroy(acts);
    ops->matrix_destroy(matrix);
    return got;
}

/** Half the unit of a block of 32 halves as words, the most that one of them is off (pack.c). */
static double word_error(const Shape *s, const uint8_t *row, size_t k)
{
    double heaviest = 0, sum = 0, most = 0, w = fabs(element(s->type, row, k));
    for (size_t j = k / 32 * 32; j < k / 32 * 32 + 32; j++) {
        double v = fabs(element(s->type, row, j));
        sum = (j % 8 == 0 ? 0 : sum) + v;
        heaviest = fmax(heaviest, sum);
        most = fmax(most, v);
    }
    int e;
    (void)frexp(heaviest, &e);
    double unit = ldexp(1, e - 16);
    unit *= most / unit > 32767 ? 2 : 1;
    return w >= unit * (s->type == K_F16 ? 1024 : 128) ? 0 : unit / 2;
}

/** How far an output may be from the sum in double: half a step of each activation's block (when
 * they are held as 16 bits), the same of weights as words, and float rounding. */
static void check_values(const Shape *s, const uint8_t *weights, const float *x, const float *got,
                         bool f32, int line)
{
    size_t n_wrong = 0;
    for (size_t i = 0; i < s->n_rows * s->n_out; i++) {
        const uint8_t *row = weights + i % s->n_out * row_bytes(s->type, s->n_in);
        const float *xr = x + i / s->n_out * s->n_in;
        double sum = 0, sizes = 0, steps = 0, most = 0;
        bool words = (s->type == K_F16 || s->type == K_BF16) && s->n_in % 32 == 0;
        for (size_t k = 0; k < s->n_in; k++) {
            if (k % 32 == 0) {
                most = 0;
                for (size_t j = k; j < k + 32 && j < s->n_in; j++) {
                    most = fmax(most, fabs((double)xr[j]));
                }
            }
            double w = element(s->type, row, k);
            sum += w * (double)xr[k];
            sizes += fabs(w * (double)xr[k]);
            steps += fabs(w) * most / 32512 / 2;
            if (words && !f32) {
                steps += word_error(s, row, k) * (fabs((double)xr[k]) + most / 32512 / 2);
            }
        }
        bool fixed = (is_block(s->type) || words) && !f32;
        double tolerance = 1e-6 * sizes + (fixed ? 1.01 * steps + 2e-6 * steps * 65024 : 0) + 1e-30;
        n_wrong += !(fabs((double)got[i] - sum) <= tolerance);
    }
    if (n_wrong > 0) {
        printf("# line %d: type %d, %zu x %zu, %zu rows: %zu outputs are off\n", line, s->type,
               s->n_out, s->n_in, s->n_rows, n_wrong);
        CHECK(false);
    }
}

static void check_equal(const float *a, const float *b, size_t n, const char *what, int line)
{
    if (memcmp(a, b, n * sizeof(float)) != 0) {
        printf("# line %d: %s: other bits\n", line, what);
        CHECK(false);
    }
}

/** One shape on all paths, for both precisions. */
static void check_shape(const Shape *s, int line)
{
    const uint8_t *weights = random_weights(s, (uint64_t)line);
    const float *x = random_rows(s, (uint64_t)line + 1);
    const float *add = rig_random_floats(&arena, 9, s->n_rows * s->n_out, 1);
    for (int f32 = 0; f32 < 2; f32++) {
        const float *first = NULL, *first_add = NULL;
        for (int p = 0; p < RIG_PATHS; p++) {
            Rig rig;
            if (!rig_open(&rig, rig_paths[p], p == 1 ? 1 : 3, f32)) {
                continue;
            }
            const float *got = run(&rig, s, weights, x, NULL);
            const float *added = run(&rig, s, weights, x, add);
            if (first == NULL) {
                first = got;
                first_add = added;
                check_values(s, weights, x, got, f32, line);
                for (size_t i = 0; i < s->n_rows * s->n_out; i++) {
                    CHECK(added[i] == add[i] + got[i]);
                }
            }
            check_equal(got, first, s->n_rows * s->n_out, rig_paths[p], line);
            check_equal(added, first_add, s->n_rows * s->n_out, rig_paths[p], line);
            Shape alone = *s;
            alone.n_rows = 1;
            for (size_t r = 0; r < s->n_rows; r += s->n_rows / 3 + 1) {
                check_equal(run(&rig, &alone, weights, x + r * s->n_in, NULL), first + r * s->n_out,
                            s->n_out, "a row alone", line);
            }
            rig_close(&rig);
        }
    }
}

static void test_products__of_all_types_and_shapes(void)
{
    static const struct {
        int line;
        Shape shape;
    } cases[] = {
        {__LINE__, {K_Q4_1, 16, 32, 1, 1}},   {__LINE__, {K_Q4_1, 576, 576, 7, 8}},
        {__LINE__, {K_Q4_1, 33, 96, 5, 8}},   {__LINE__, {K_Q4_1, 1, 288, 13, 1}},
        {__LINE__, {K_Q4_0, 40, 160, 6, 1}},  {__LINE__, {K_Q4_0, 17, 352, 11, 8}},
        {__LINE__, {K_Q8_0, 100, 64, 4, 1}},  {__LINE__, {K_Q8_0, 31, 1536, 3, 8}},
        {__LINE__, {K_Q8_0, 16, 32, 200, 1}}, {__LINE__, {K_F32, 19, 1, 2, 1}},
        {__LINE__, {K_F32, 130, 77, 9, 8}},   {__LINE__, {K_F32, 64, 33, 1, 1}},
        {__LINE__, {K_F16, 129, 45, 10, 1}},  {__LINE__, {K_F16, 48, 300, 17, 8}},
        {__LINE__, {K_BF16, 65, 100, 12, 1}}, {__LINE__, {K_BF16, 20, 31, 8, 8}},
        {__LINE__, {K_F16, 50, 96, 9, 1}},    {__LINE__, {K_F16, 33, 576, 20, 8}},
        {__LINE__, {K_BF16, 40, 64, 1, 1}},   {__LINE__, {K_BF16, 30, 1536, 35, 8}},
        {__LINE__, {K_Q4_1, 80, 64, 97, 1}},  {__LINE__, {K_F32, 1, 40, 1, 8}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_shape(&cases[i].shape, cases[i].line);
        arena_reset(&arena);
    }
}

/** The largest sums that the integers meet: 32 times (the largest weight times 32512). */
static void test_products__of_the_largest_integers(void)
{
    static const struct {
        KType type;
        uint8_t quant;
        double weight; // times d = 1, plus m = 1 for Q4_1
    } cases[] = {
        {K_Q8_0, 0x7f, 127}, {K_Q8_0, 0x80, -128}, {K_Q4_0, 0xff, 7}, {K_Q4_0, 0x00, -8},
        {K_Q4_1, 0xff, 16},  {K_Q4_1, 0x00, 1},    {K_BF16, 0x3f, 0}, {K_BF16, 0xbf, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Shape s = {cases[i].type, 16, 64, 2, 1};
        size_t n = s.n_out * row_bytes(s.type, s.n_in), unit = block_bytes[s.type];
        uint8_t *weights = arena_alloc(&arena, n, 1);
        double weight = cases[i].weight;
        memset(weights, cases[i].quant, n);
        if (s.type == K_BF16) { // the largest below 1: 8 of them are just under 2^16 units
            for (size_t b = 0; b < n; b += unit) {
                weights[b] = 0x7f;
            }
            weight = (double)(cases[i].quant == 0x3f ? 1 : -1) * 255 / 256;
        }
        for (size_t b = 0; b < n && s.type != K_BF16; b += unit) {
            static const uint8_t ones[4] = {0x00, 0x3c, 0x00, 0x3c}; // halves of 1
            memcpy(weights + b, ones, s.type == K_Q4_1 ? 4 : 2);
        }
        float x[128];
        for (size_t k = 0; k < 128; k++) {
            x[k] = k < 64 ? 2.0f : -2.0f;
        }
        for (int p = 0; p < RIG_PATHS; p++) {
            Rig rig;
            if (rig_open(&rig, rig_paths[p], 1, false)) {
                const float *got = run(&rig, &s, weights, x, NULL);
                CHECK_NEAR(got[0], 64 * 2 * weight, 1e-6 * 64 * 2 * 128);
                CHECK_NEAR(got[16], -64 * 2 * weight, 1e-6 * 64 * 2 * 128);
                rig_close(&rig);
            }
        }
    }
    arena_reset(&arena);
}

/** A row that is not a number becomes outputs that are none, and leaves its neighbours alone. */
static void test_products__keep_nan_in_its_row(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    Shape s = {K_Q4_1, 32, 64, 9, 8};
    const uint8_t *weights = random_weights(&s, 77);
    for (int p = 0; p < RIG_PATHS; p++) {
        Rig rig;
        if (!rig_open(&rig, rig_paths[p], 2, false)) {
            continue;
        }
        for (size_t i = 0; i < 3; i++) {
            float *x = random_rows(&s, 78);
            const float *before = run(&rig, &s, weights, x, NULL);
            x[5 * s.n_in + 40] = bad[i];
            const float *after = run(&rig, &s, weights, x, NULL);
            for (size_t k = 0; k < s.n_rows * s.n_out; k++) {
                CHECK(k / s.n_out == 5 ? isnan(after[k]) : after[k] == before[k]);
            }
        }
        rig_close(&rig);
    }
    arena_reset(&arena);
}

/** Segments are cut where DESIGN.md 4.4 says and added as the tree there: done once more by hand.
 */
static void test_products__sum_segments_as_a_tree(void)
{
    Shape whole = {K_F32, 16, 32 * 11, 1, 8}; // 11 blocks: segments of 1 and 2
    Shape part = whole;
    part.n_segments = 1;
    const uint8_t *weights = random_weights(&whole, 5);
    const float *x = rig_random_floats(&arena, 6, whole.n_in, 1);
    Rig rig;
    CHECK(rig_open(&rig, "portable", 1, false));
    const float *sums[8];
    for (size_t i = 0; i < 8; i++) {
        float *piece = arena_alloc(&arena, whole.n_in, sizeof(float));
        for (size_t k = i * 11 / 8 * 32; k < (i + 1) * 11 / 8 * 32; k++) {
            piece[k] = x[k];
        }
        sums[i] = run(&rig, &part, weights, piece, NULL);
    }
    const float *got = run(&rig, &whole, weights, x, NULL);
    for (size_t o = 0; o < 16; o++) {
        float low = (sums[0][o] + sums[1][o]) + (sums[2][o] + sums[3][o]);
        float high = (sums[4][o] + sums[5][o]) + (sums[6][o] + sums[7][o]);
        CHECK(got[o] == low + high);
    }
    rig_close(&rig);
    arena_reset(&arena);
}

/** Several products of one call: each has its own tiles, outputs and way of adding. */
static void test_products__in_groups(void)
{
    Shape a = {K_Q4_1, 70, 96, 130, 1}, b = {K_Q8_0, 33, 96, 130, 8};
    const uint8_t *wa = random_weights(&a, 1), *wb = random_weights(&b, 2);
    const float *x = random_rows(&a, 3), *add = rig_random_floats(&arena, 4, 130 * 33, 1);
    Rig rig;
    CHECK(rig_open(&rig, NULL, 3, false));
    KMatrix *ma = rig_matrix(&rig, a.type, 70, 96, wa), *mb = rig_matrix(&rig, b.type, 33, 96, wb);
    KActs *acts = rig_acts(&rig, 130, 96, ma);
    for (size_t r = 0; r < 130; r++) {
        cpu_acts_row(rig.device, acts, r, x + r * 96);
    }
    KBuffer *oa = rig_buffer(&rig, 130 * 70, NULL), *ob = rig_buffer(&rig, 130 * 33, add);
    KProduct both[] = {{ma, oa, false, 1}, {mb, ob, true, 8}};
    Err err = ERR_INIT;
    CHECK_OK(ops->products(rig.stream, both, 2, acts, 130, &err), &err);
    check_equal(oa->data, run(&rig, &a, wa, x, NULL), 130 * 70, "the first of two", __LINE__);
    check_equal(ob->data, run(&rig, &b, wb, x, add), 130 * 33, "the second of two", __LINE__);
    ops->buffer_destroy(oa);
    ops->buffer_destroy(ob);
    ops->acts_destroy(acts);
    ops->matrix_destroy(ma);
    ops->matrix_destroy(mb);
    rig_close(&rig);
    arena_reset(&arena);
}

static void test_products__refuse_broken_blocks(void)
{
    Rig rig;
    CHECK(rig_open(&rig, "portable", 1, false));
    uint8_t data[64] = {0};
    KMatrix *matrix = NULL;
    Err err = ERR_INIT;
    CHECK(!ops->matrix_create(rig.device, K_Q8_0, 1, 33, data, &matrix, &err));
    CHECK_INT(err.code, ERR_MODEL);
    CHECK(matrix == NULL);
    rig_close(&rig);
}

int main(void)
{
    tap_run("products of all types and shapes", test_products__of_all_types_and_shapes);
    tap_run("products of the largest integers", test_products__of_the_largest_integers);
    tap_run("products keep NaN in its row", test_products__keep_nan_in_its_row);
    tap_run("products sum segments as a tree", test_products__sum_segments_as_a_tree);
    tap_run("products in groups", test_products__in_groups);
    tap_run("products refuse broken blocks", test_products__refuse_broken_blocks);
    arena_finish(&arena);
    return tap_done();
}
