// SPDX-License-Identifier: MIT
// Each thing that a kernel may call, against the plain formula: fragments as the PTX ISA lays them
// out, over all schedules.
#include "emulated.h"

#define WARPS 2
#define N     (WARPS * 32)

static uint64_t state = 1;

static uint32_t random_bits(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

// ---- Grid and block -----------------------------------------------------------------------------

KERNEL(places)(uint32_t *out)
{
    uint32_t block = (block_z() * grid_dim_y() + block_y()) * grid_dim_x() + block_x();
    uint32_t *at = out + (block * block_dim_x() + thread_x()) * 2;
    at[0] = block_x() + 10 * block_y() + 100 * block_z() + 1000 * grid_dim_z();
    at[1] = thread_x();
}

static void test_places__are_all_visited(void)
{
    for (uint64_t seed = 0; seed <= 8; seed++) {
        emulate_as(seed, false);
        static uint32_t out[3 * 5 * 2 * 33 * 2];
        uint32_t *d = device_of((const uint32_t *)NULL, COUNT(out));
        LAUNCH(places, dim3(3, 5, 2), dim3(33), 0, NULL, d);
        CHECK_INT(device_take(d, out, COUNT(out)), GPU_OK);
        for (uint32_t i = 0; i < 30 * 33; i++) {
            uint32_t block = i / 33;
            CHECK_INT(out[i * 2], block % 3 + block / 3 % 5 * 10 + block / 15 * 100 + 2000);
            CHECK_INT(out[i * 2 + 1], i % 33);
        }
    }
}

template <typename T, int SIZE> KERNEL(several_shared)(T *out)
{
    SHARED(T, a, [SIZE]);
    SHARED(T, b, [2][SIZE]);
    DYN_SHARED(T, c);
    uint32_t t = thread_x();
    a[t] = (T)t;
    b[1][t] = (T)(t + 1);
    c[t] = (T)(t + 2);
    SYNC();
    uint32_t u = SIZE - 1 - t;
    out[block_x() * SIZE + t] = (T)(a[u] * 10000 + b[1][u] * 100 + c[u]);
}

static void test_shared__pieces_are_apart(void)
{
    for (uint64_t seed = 0; seed <= 4; seed++) {
        emulate_as(seed, false);
        float out[3 * 48];
        float *d = device_of((const float *)NULL, COUNT(out));
        auto kernel = several_shared<float, 48>;
        LAUNCH(kernel, dim3(3), dim3(48), 48 * sizeof(float), NULL, d);
        LAUNCH((several_shared<float, 48>), dim3(3), dim3(48), 48 * sizeof(float), NULL, d);
        CHECK_INT(device_take(d, out, COUNT(out)), GPU_OK);
        for (int i = 0; i < 3 * 48; i++) {
            int u = 47 - i % 48;
            CHECK(out[i] == (float)(u * 10000 + (u + 1) * 100 + u + 2));
        }
    }
}

// ---- Lanes --------------------------------------------------------------------------------------

#define LANE_CASES 9

KERNEL(lanes)(const uint32_t *in, uint32_t *out, double *wide)
{
    uint32_t t = thread_x(), x = in[t];
    uint32_t *at = out + t * LANE_CASES;
    at[0] = shfl(x, 5);
    at[1] = shfl(x, (int)(t * 3));
    at[2] = shfl_xor(x, 17);
    at[3] = shfl_down(x, 4);
    at[4] = shfl_up(x, 4);
    at[5] = ballot((x & 1) != 0);
    at[6] = (uint32_t)any_lane(t % 32 == 9 && t < 32);
    at[7] = (uint32_t)all_lanes(t < 32 || t % 32 != 9);
    SYNC_WARP();
    at[8] = (uint32_t)popcount(x);
    wide[t] = shfl_xor((double)x * 0.5, 3);
}

static void test_lanes__exchange(void)
{
    uint32_t in[N];
    for (uint32_t &x : in) {
        x = random_bits();
    }
    for (uint64_t seed = 0; seed <= 8; seed++) {
        emulate_as(seed, false);
        uint32_t out[N][LANE_CASES];
        double wide[N];
        uint32_t *d_in = device_of(in, N),
                 *d_out = device_of((const uint32_t *)NULL, N * LANE_CASES);
        double *d_wide = device_of((const double *)NULL, N);
        LAUNCH(lanes, dim3(1), dim3(N), 0, NULL, d_in, d_out, d_wide);
        CHECK_INT(device_take(d_out, &out[0][0], N * LANE_CASES), GPU_OK);
        CHECK_INT(device_take(d_wide, wide, N), GPU_OK);
        CHECK_INT(gpu_free(d_in), GPU_OK);
        for (uint32_t t = 0; t < N; t++) {
            const uint32_t *warp = in + t / 32 * 32;
            uint32_t l = t % 32, votes = 0, bits = 0;
            for (int i = 0; i < 32; i++) {
                votes |= (warp[i] & 1) << i;
                bits += in[t] >> i & 1;
            }
            uint32_t want[LANE_CASES] = {warp[5],
                                         warp[t * 3 % 32],
                                         warp[l ^ 17],
                                         l + 4 < 32 ? warp[l + 4] : in[t],
                                         l >= 4 ? warp[l - 4] : in[t],
                                         votes,
                                         t < 32,
                                         t < 32,
                                         bits};
            for (int i = 0; i < LANE_CASES; i++) {
                CHECK_INT(out[t][i], want[i]);
            }
            CHECK(wide[t] == (double)warp[l ^ 3] * 0.5);
        }
    }
}

// ---- Tensor cores -------------------------------------------------------------------------------

typedef enum Kind { F16, BF16, S8, U8S8, S8U8 } Kind;

/** Registers of one warp in and out: a (32, 4), b (32, 2), d (32, 4). */
template <int KIND> KERNEL(mma)(const uint32_t *a, const uint32_t *b, uint32_t *d)
{
    uint32_t l = thread_x(), ra[4], rb[2];
    float f[4];
    int n[4];
    for (int i = 0; i < 4; i++) {
        ra[i] = a[l * 4 + (uint32_t)i];
        f[i] = bits_to_float(d[l * 4 + (uint32_t)i]);
        n[i] = (int)d[l * 4 + (uint32_t)i];
    }
    for (int i = 0; i < 2; i++) {
        rb[i] = b[l * 2 + (uint32_t)i];
    }
    switch (KIND) {
    case F16:
        mma_m16n8k16_f16(f, ra, rb);
        break;
    case BF16:
        mma_m16n8k16_bf16(f, ra, rb);
        break;
    case S8:
        mma_m16n8k32_s8(n, ra, rb);
        break;
    case U8S8:
        mma_m16n8k32_u8s8(n, ra, rb);
        break;
    default:
        mma_m16n8k32_s8u8(n, ra, rb);
        break;
    }
    for (uint32_t i = 0; i < 4; i++) {
        d[l * 4 + i] = KIND <= BF16 ? float_to_bits(f[i]) : (uint32_t)n[i];
    }
}

/** PTX ISA, matrix fragments of mma.m16n8k16 with .f16 and .bf16: row and column of element i of a
 * lane's a and b; and of .m16n8k32 with .s8 and .u8. */
static int a_row(bool bytes, int lane, int i)
{
    int group = lane >> 2;
    if (bytes) {
        return (i >= 0 && i < 4) || (i >= 8 && i < 12) ? group : group + 8;
    }
    return (i >= 0 && i < 2) || (i >= 4 && i < 6) ? group : group + 8;
}
static int a_column(bool bytes, int lane, int i)
{
    int in_group = lane % 4;
    if (bytes) {
        return i < 8 ? in_group * 4 + (i & 3) : in_group * 4 + (i & 3) + 16;
    }
    return i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
}
static int b_row(bool bytes, int lane, int i)
{
    int in_group = lane % 4;
    if (bytes) {
        return i < 4 ? in_group * 4 + (i & 3) : in_group * 4 + (i & 3) + 16;
    }
    return i < 2 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
}

static double value_of(Kind kind, bool is_a, uint32_t word, int i)
{
    switch (kind) {
    case F16:
        return (double)f16_to_float((uint16_t)(word >> 16 * (i % 2)));
    case BF16:
        return (double)bf16_to_float((uint16_t)(word >> 16 * (i % 2)));
    default:
        break;
    }
    uint8_t byte = (uint8_t)(word >> 8 * (i % 4));
    bool is_signed = kind == S8 || (kind == U8S8) != is_a;
    return is_signed ? (double)(int8_t)byte : (double)byte;
}

static void mma_check(Kind kind, void (*kernel)(const uint32_t *, const uint32_t *, uint32_t *))
{
    bool bytes = kind >= S8;
    int k_size = bytes ? 32 : 16, per_word = bytes ? 4 : 2;
    uint32_t a[32][4], b[32][2], d[32][4], out[32][4];
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 4; i++) {
            float x = (float)(int)(random_bits() % 2001) / 512 - 2,
                  y = (float)(int)(random_bits() % 2001) / 256 - 4;
            a[l][i] = kind == F16 ? pack_f16(x, y) : kind == BF16 ? pack_bf16(x, y) : random_bits();
            b[l][i % 2] = kind == F16    ? pack_f16(y, x)
                          : kind == BF16 ? pack_bf16(y, x)
                                         : random_bits();
            d[l][i] = bytes ? random_bits() % 100000 : float_to_bits(x * 3);
        }
    }
    double ma[16][32] = {{0}}, mb[32][8] = {{0}};
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 4 * per_word; i++) {
            ma[a_row(bytes, l, i)][a_column(bytes, l, i)] =
                value_of(kind, true, a[l][i / per_word], i);
        }
        for (int i = 0; i < 2 * per_word; i++) {
            mb[b_row(bytes, l, i)][l >> 2] = value_of(kind, false, b[l][i / per_word], i);
        }
    }
    uint32_t *da = device_of(&a[0][0], 128), *db = device_of(&b[0][0], 64),
             *dd = device_of(&d[0][0], 128);
    LAUNCH(kernel, dim3(1), dim3(32), 0, NULL, da, db, dd);
    CHECK_INT(device_take(dd, &out[0][0], 128), GPU_OK);
    CHECK_INT(gpu_free(da), GPU_OK);
    CHECK_INT(gpu_free(db), GPU_OK);
    for (int l = 0; l < 32; l++) {
        for (int i = 0; i < 4; i++) {
            int row = i < 2 ? l >> 2 : (l >> 2) + 8, column = l % 4 * 2 + (i & 1);
            double want = bytes ? (double)(int)d[l][i] : (double)bits_to_float(d[l][i]);
            for (int k = 0; k < k_size; k++) {
                want += ma[row][k] * mb[k][column];
            }
            double got = bytes ? (double)(int)out[l][i] : (double)bits_to_float(out[l][i]);
            CHECK_NEAR(got, want, bytes ? 0 : 2e-5);
        }
    }
}

static void test_mma__is_the_product(void)
{
    for (uint64_t seed = 0; seed <= 4; seed++) {
        emulate_as(seed, false);
        mma_check(F16, mma<F16>);
        mma_check(BF16, mma<BF16>);
        mma_check(S8, mma<S8>);
        mma_check(U8S8, mma<U8S8>);
        mma_check(S8U8, mma<S8U8>);
    }
}

template <bool TRANS> KERNEL(load_matrix)(const uint16_t *in, uint32_t *out)
{
    SHARED(uint16_t, s, [32][8]);
    uint32_t l = thread_x();
    cp_async16(s[l], in + l * 8, true);
    cp_async_commit();
    cp_async_wait<0>();
    SYNC_WARP();
    uint32_t r[4];
    if (TRANS) {
        ldmatrix_x4_trans(r, s[l]);
    } else {
        ldmatrix_x4(r, s[l]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        out[l * 4 + i] = r[i];
    }
}

static void test_ldmatrix__spreads_rows(void)
{
    emulate_as(0, false);
    uint16_t in[32][8];
    for (int i = 0; i < 256; i++) {
        in[i / 8][i % 8] = (uint16_t)(i * 3 + 1);
    }
    for (int trans = 0; trans < 2; trans++) {
        uint32_t out[32][4];
        uint16_t *d_in = device_of(&in[0][0], 256);
        uint32_t *d_out = device_of((const uint32_t *)NULL, 128);
        auto kernel = trans ? load_matrix<true> : load_matrix<false>;
        LAUNCH(kernel, dim3(1), dim3(32), 0, NULL, d_in, d_out);
        CHECK_INT(device_take(d_out, &out[0][0], 128), GPU_OK);
        CHECK_INT(gpu_free(d_in), GPU_OK);
        for (int l = 0; l < 32; l++) {
            for (int m = 0; m < 4; m++) {
                for (int i = 0; i < 2; i++) {
                    int row = l / 4, column = l % 4 * 2 + i;
                    uint16_t want = trans ? in[m * 8 + column][row] : in[m * 8 + row][column];
                    CHECK_INT(out[l][m] >> 16 * i & 0xffff, want);
                }
            }
        }
    }
}

// ---- Copies, numbers, atomics -------------------------------------------------------------------

KERNEL(copies)(const float *in, float *out, uint32_t n_valid)
{
    SHARED(float, s, [3][32 * 4]);
    uint32_t t = thread_x();
    for (uint32_t i = 0; i < 3; i++) {
        cp_async16(&s[i][t * 4], in + (i * 32 + t) * 4, i * 32 + t < n_valid);
        cp_async_commit();
    }
    for (uint32_t i = 0; i < 3; i++) {
        if (i == 0) {
            cp_async_wait<2>();
        } else if (i == 1) {
            cp_async_wait<1>();
        } else {
            cp_async_wait<0>();
        }
        SYNC();
        for (uint32_t j = 0; j < 4; j++) {
            out[(i * 32 + 31 - t) * 4 + j] = s[i][(31 - t) * 4 + j];
        }
    }
}

static void test_copies__arrive(void)
{
    float in[3 * 32 * 4], out[3 * 32 * 4];
    for (size_t i = 0; i < COUNT(in); i++) {
        in[i] = (float)i + 1;
    }
    for (uint64_t seed = 0; seed <= 8; seed++) {
        emulate_as(seed, true);
        float *d_in = device_of(in, COUNT(in)), *d_out = device_of((const float *)NULL, COUNT(out));
        LAUNCH(copies, dim3(1), dim3(32), 0, NULL, d_in, d_out, 70u);
        CHECK_INT(device_take(d_out, out, COUNT(out)), GPU_OK);
        CHECK_INT(gpu_free(d_in), GPU_OK);
        for (size_t i = 0; i < COUNT(out); i++) {
            CHECK(out[i] == (i / 4 < 70 ? in[i] : 0));
        }
    }
}

KERNEL(counters)(uint32_t *sum, uint32_t *most, uint64_t *wide)
{
    SHARED(uint64_t, own, [1]);
    if (thread_x() == 0) {
        own[0] = UINT32_MAX;
    }
    SYNC();
    atomic_add_shared(&own[0], (uint64_t)1 << thread_x() / 2);
    SYNC();
    if (thread_x() == 0) {
        (void)atomic_add(wide, own[0]);
    }
    atomic_add(sum, thread_x());
    atomic_max(most, block_x() * 100 + thread_x());
}

static void test_atomics__count(void)
{
    emulate_as(3, false);
    uint32_t zero[2] = {0, 0}, out[2];
    uint32_t *d = device_of(zero, 2);
    uint64_t none[1] = {5}, wide[1];
    uint64_t *w = device_of(none, 1);
    LAUNCH(counters, dim3(7), dim3(64), 0, NULL, d, d + 1, w);
    CHECK_INT(device_take(w, wide, 1), GPU_OK);
    CHECK(wide[0] == 5 + 7 * 3 * (uint64_t)UINT32_MAX);
    CHECK_INT(device_take(d, out, 2), GPU_OK);
    CHECK_INT(out[0], 7 * 64 * 63 / 2);
    CHECK_INT(out[1], 663);
}

static void test_dp4a__multiplies_bytes(void)
{
    for (int n = 0; n < 1000; n++) {
        uint32_t a = random_bits(), b = random_bits();
        int acc = (int)(random_bits() % 1000), ss = acc, us = acc;
        for (int i = 0; i < 4; i++) {
            int x = (int)(a >> 8 * i & 255), y = (int)(b >> 8 * i & 255);
            ss += (x > 127 ? x - 256 : x) * (y > 127 ? y - 256 : y);
            us += x * (y > 127 ? y - 256 : y);
        }
        CHECK_INT(dp4a_ss(a, b, acc), ss);
        CHECK_INT(dp4a_us(a, b, acc), us);
    }
}

/** The value of a half by its definition. */
static double half_by_definition(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return (h & 0x8000) != 0 ? -x : x;
}

static void test_halves__round_to_even(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        bool nan = (h & 0x7fff) > 0x7c00, infinite = (h & 0x7fff) == 0x7c00;
        float x = f16_to_float((uint16_t)h);
        if (nan) {
            CHECK(x != x && (float_to_f16(x) & 0x7fff) > 0x7c00);
            continue;
        }
        CHECK(infinite ? isinf(x) && (x < 0) == (h > 0x8000)
                       : (double)x == half_by_definition((uint16_t)h));
        CHECK_INT(float_to_f16(x), h);
        if ((h & 0x7fff) < 0x7bff) { // between it and the next: down, even, up
            double low = half_by_definition((uint16_t)h),
                   high = half_by_definition((uint16_t)(h + 1));
            CHECK_INT(float_to_f16((float)(low + (high - low) * 0.49)), h);
            CHECK_INT(float_to_f16((float)(low + (high - low) * 0.5)), h + (h & 1));
            CHECK_INT(float_to_f16((float)(low + (high - low) * 0.51)), h + 1);
        }
    }
    CHECK_INT(float_to_f16(65519.996f), 0x7bff);
    CHECK_INT(float_to_f16(65520.0f), 0x7c00);
    CHECK_INT(float_to_f16(-1e30f), 0xfc00);
    CHECK_INT(float_to_f16(0x1p-25f), 0);
    CHECK_INT(float_to_f16(0x1.000002p-25f), 1);
    for (uint32_t h = 0; h < 65536; h++) {
        uint32_t bits = h << 16;
        if ((h & 0x7f80) == 0x7f80) {
            CHECK((h & 0x7f) != 0 || float_to_bf16(bits_to_float(bits)) == h);
            continue;
        }
        CHECK_INT(float_to_bf16(bits_to_float(bits | 0x7fff)), h);
        CHECK_INT(float_to_bf16(bits_to_float(bits | 0x8000)), h + (h & 1));
        CHECK_INT(float_to_bf16(bits_to_float(bits | 0x8001)), h + 1);
        CHECK(bf16_to_float((uint16_t)h) == bits_to_float(bits));
    }
}

int main(void)
{
    tap_run("places are all visited", test_places__are_all_visited);
    tap_run("pieces of shared memory are apart", test_shared__pieces_are_apart);
    tap_run("lanes exchange", test_lanes__exchange);
    tap_run("mma is the product", test_mma__is_the_product);
    tap_run("ldmatrix spreads rows", test_ldmatrix__spreads_rows);
    tap_run("copies arrive", test_copies__arrive);
    tap_run("atomics count", test_atomics__count);
    tap_run("dp4a multiplies bytes", test_dp4a__multiplies_bytes);
    tap_run("halves round to even", test_halves__round_to_even);
    return tap_done();
}
