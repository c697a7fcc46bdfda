// SPDX-License-Identifier: MIT
// Sixteen float lanes with the same bits on every instruction set: what the path_*.c files include
// after choosing CPU_ISA. Every operation is one IEEE operation per lane, or a fixed sequence of
// them; sums over lanes go down one tree. Lane functions are forced inline, so nothing of this
// header is called across instruction sets.
#pragma once

#include "kernels/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

#define CPU_ISA_PORTABLE 0
#define CPU_ISA_AVX2     1
#define CPU_ISA_AVX512   2

#define LANES          16
#define EXP_MAGIC      12582912.0f // 1.5 * 2^23: adding it rounds to an integer, to even
#define EXP_MAGIC_BITS 0x4b400000
#if CPU_ISA == CPU_ISA_PORTABLE // lanes are loops: forcing them inline only makes the compiler slow
#define INLINE static inline __attribute__((unused))
#else
#define INLINE static inline __attribute__((always_inline, unused))
#endif

// ---- The lanes: load, store, and what IEEE 754 defines ----------------------------------------

#if CPU_ISA == CPU_ISA_AVX512

#include <immintrin.h>

typedef __m512 V16;

INLINE V16 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
/** The first n lanes, the others zero. */
INLINE V16 v_load_n(const float *p, size_t n)
{
    return n >= LANES ? v_load(p) : _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void v_store(float *p, V16 a)
{
    _mm512_storeu_ps(p, a);
}
/** Lanes from .. to-1, to where p[lane] is. */
INLINE void v_store_lanes(float *p, V16 a, size_t from, size_t to)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << to) - (1u << from)), a);
}
/** The first n lanes, the others zero. */
INLINE V16 v_first(V16 a, size_t n)
{
    return n >= LANES ? a : _mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), a);
}
INLINE V16 v_set1(float x)
{
    return _mm512_set1_ps(x);
}
INLINE V16 v_add(V16 a, V16 b)
{
    return _mm512_add_ps(a, b);
}
INLINE V16 v_sub(V16 a, V16 b)
{
    return _mm512_sub_ps(a, b);
}
INLINE V16 v_mul(V16 a, V16 b)
{
    return _mm512_mul_ps(a, b);
}
INLINE V16 v_div(V16 a, V16 b)
{
    return _mm512_div_ps(a, b);
}
/** a*b + c, rounded once. */
INLINE V16 v_fma(V16 a, V16 b, V16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/** a > b ? a : b */
INLINE V16 v_max(V16 a, V16 b)
{
    return _mm512_max_ps(a, b);
}
INLINE V16 v_min(V16 a, V16 b)
{
    return _mm512_min_ps(a, b);
}
INLINE V16 v_load_i16(const int16_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const void *)p)));
}
INLINE V16 v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
INLINE V16 v_load_bf16(const uint16_t *p)
{
    __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(u, 16));
}
/** Lanes of 32 bits, each shifted right and masked, as floats. */
INLINE V16 v_load_bits(const uint8_t *p, int shift, int mask)
{
    __m512i u = _mm512_srl_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(shift));
    return _mm512_cvtepi32_ps(_mm512_and_si512(u, _mm512_set1_epi32(mask)));
}
/** p * 2^n where t = 1.5*2^23 + n holds the integer n in its low bits. */
INLINE V16 v_scale2(V16 p, V16 t)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n));
}
/** Larger of m and |a| as bit patterns: NaN is above infinity is above numbers. */
INLINE V16 v_max_abs(V16 m, V16 a)
{
    __m512i abs = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff));
    return _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(m), abs));
}

/** Sum of the lanes: halves are added, four times. */
INLINE float v_sum(V16 a)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
/** The largest lane; NaN is ignored or returned, as it falls. */
INLINE float v_max_lane(V16 a)
{
    return _mm512_reduce_max_ps(a);
}
/** The largest bit pattern among lanes that hold absolute values. */
INLINE float v_max_abs_lane(V16 a)
{
    int most = (int)_mm512_reduce_max_epu32(_mm512_castps_si512(a));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(most)));
}

typedef __m512i I16;

INLINE I16 i_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
INLINE void i_store(void *p, I16 a)
{
    _mm512_storeu_si512(p, a);
}
INLINE I16 i_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}
INLINE I16 i_add(I16 a, I16 b)
{
    return _mm512_add_epi32(a, b);
}
INLINE I16 i_words(I16 packed, const int shift, const int mask)
{
    return _mm512_and_si512(_mm512_srli_epi32(packed, (unsigned)shift), _mm512_set1_epi32(mask));
}
INLINE I16 i_sub_words(I16 a, const int16_t b)
{
    return _mm512_sub_epi16(a, _mm512_set1_epi16(b));
}
INLINE I16 i_dot(I16 acc, I16 w, const int32_t *x)
{
    // As gcc 12 compiles the intrinsic, copies and a separate broadcast cost a third of the speed.
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*x));
    return acc;
}
/** acc + the products of four unsigned bytes of w with the four signed ones at x. */
INLINE I16 i_dot_bytes(I16 acc, I16 w, const int8_t *x)
{
    const int32_t *four = (const int32_t *)(const void *)x;
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*four));
    return acc;
}
INLINE I16 i_shift_up(I16 a, const int bits)
{
    return _mm512_slli_epi32(a, (unsigned)bits);
}
/** 32 words as 256*high + low, signed bytes in the order of cpu_quant_byte. */
INLINE void i_split_words(const int16_t *words, int8_t *high, int8_t *low)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    __m512i q = _mm512_loadu_si512(words);
    __m512i up = _mm512_srai_epi16(_mm512_add_epi16(q, _mm512_set1_epi16(128)), 8);
    _mm256_storeu_si256((void *)low, _mm256_shuffle_epi8(_mm512_cvtepi16_epi8(q), order));
    _mm256_storeu_si256((void *)high, _mm256_shuffle_epi8(_mm512_cvtepi16_epi8(up), order));
}
INLINE V16 i_float(I16 a)
{
    return _mm512_cvtepi32_ps(a);
}
INLINE I16 v_integers(V16 t)
{
    return _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(EXP_MAGIC_BITS));
}
INLINE int32_t i_sum(I16 a)
{
    return _mm512_reduce_add_epi32(a);
}
INLINE void i_store_words(int16_t *p, I16 a)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(a));
}

#elif CPU_ISA == CPU_ISA_AVX2

#include <immintrin.h>

typedef struct V16 {
    __m256 lo, hi;
} V16;

INLINE V16 v_load(const float *p)
{
    return (V16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
INLINE V16 v_load_n(const float *p, size_t n)
{
    if (n >= LANES) {
        return v_load(p);
    }
    float lanes[LANES] = {0};
    memcpy(lanes, p, n * sizeof(float));
    return v_load(lanes);
}
INLINE void v_store(float *p, V16 a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
INLINE void v_store_lanes(float *p, V16 a, size_t from, size_t to)
{
    float lanes[LANES];
    v_store(lanes, a);
    memcpy(p + from, lanes + from, (to - from) * sizeof(float));
}
INLINE V16 v_first(V16 a, size_t n)
{
    float lanes[LANES];
    v_store(lanes, a);
    return n >= LANES ? a : v_load_n(lanes, n);
}
INLINE V16 v_set1(float x)
{
    return (V16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
INLINE V16 v_add(V16 a, V16 b)
{
    return (V16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
INLINE V16 v_sub(V16 a, V16 b)
{
    return (V16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
INLINE V16 v_mul(V16 a, V16 b)
{
    return (V16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
INLINE V16 v_div(V16 a, V16 b)
{
    return (V16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
INLINE V16 v_fma(V16 a, V16 b, V16 c)
{
    return (V16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
INLINE V16 v_max(V16 a, V16 b)
{
    return (V16){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
INLINE V16 v_min(V16 a, V16 b)
{
    return (V16){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
INLINE V16 v_load_i16(const int16_t *p)
{
    __m256i lo = _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)p));
    __m256i hi = _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)(p + 8)));
    return (V16){_mm256_cvtepi32_ps(lo), _mm256_cvtepi32_ps(hi)};
}
INLINE V16 v_load_f16(const uint16_t *p)
{
    return (V16){_mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 8)))};
}
INLINE V16 v_load_bf16(const uint16_t *p)
{
    __m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    __m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(p + 8)));
    return (V16){_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)),
                 _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}
INLINE __m256 v_load_bits_half(const uint8_t *p, int shift, int mask)
{
    __m256i u = _mm256_srl_epi32(_mm256_loadu_si256((const void *)p), _mm_cvtsi32_si128(shift));
    return _mm256_cvtepi32_ps(_mm256_and_si256(u, _mm256_set1_epi32(mask)));
}
INLINE V16 v_load_bits(const uint8_t *p, int shift, int mask)
{
    return (V16){v_load_bits_half(p, shift, mask), v_load_bits_half(p + 32, shift, mask)};
}
INLINE __m256 v_scale2_half(__m256 p, __m256 t)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
}
INLINE V16 v_scale2(V16 p, V16 t)
{
    return (V16){v_scale2_half(p.lo, t.lo), v_scale2_half(p.hi, t.hi)};
}
INLINE __m256 v_max_abs_half(__m256 m, __m256 a)
{
    __m256i abs = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffffff));
    return _mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(m), abs));
}
INLINE V16 v_max_abs(V16 m, V16 a)
{
    return (V16){v_max_abs_half(m.lo, a.lo), v_max_abs_half(m.hi, a.hi)};
}

/** Sum of the lanes: halves are added, four times. */
INLINE float v_sum(V16 a)
{
    __m256 eight = _mm256_add_ps(a.lo, a.hi);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

typedef struct I16 {
    __m256i lo, hi;
} I16;

INLINE I16 i_load(const void *p)
{
    const uint8_t *bytes = p;
    return (I16){_mm256_loadu_si256((const void *)bytes),
                 _mm256_loadu_si256((const void *)(bytes + 32))};
}
INLINE void i_store(void *p, I16 a)
{
    uint8_t *bytes = p;
    _mm256_storeu_si256((void *)bytes, a.lo);
    _mm256_storeu_si256((void *)(bytes + 32), a.hi);
}
INLINE I16 i_set1(int32_t x)
{
    return (I16){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
INLINE I16 i_add(I16 a, I16 b)
{
    return (I16){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
INLINE I16 i_words(I16 packed, const int shift, const int mask)
{
    return (I16){_mm256_and_si256(_mm256_srli_epi32(packed.lo, shift), _mm256_set1_epi32(mask)),
                 _mm256_and_si256(_mm256_srli_epi32(packed.hi, shift), _mm256_set1_epi32(mask))};
}
INLINE I16 i_sub_words(I16 a, const int16_t b)
{
    return (I16){_mm256_sub_epi16(a.lo, _mm256_set1_epi16(b)),
                 _mm256_sub_epi16(a.hi, _mm256_set1_epi16(b))};
}
INLINE I16 i_dot(I16 acc, I16 w, const int32_t *x)
{
    __m256i pair = _mm256_set1_epi32(*x);
    return (I16){_mm256_add_epi32(acc.lo, _mm256_madd_epi16(w.lo, pair)),
                 _mm256_add_epi32(acc.hi, _mm256_madd_epi16(w.hi, pair))};
}
INLINE V16 i_float(I16 a)
{
    return (V16){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
INLINE I16 v_integers(V16 t)
{
    __m256i magic = _mm256_set1_epi32(EXP_MAGIC_BITS);
    return (I16){_mm256_sub_epi32(_mm256_castps_si256(t.lo), magic),
                 _mm256_sub_epi32(_mm256_castps_si256(t.hi), magic)};
}
INLINE int32_t i_sum(I16 a)
{
    int32_t lanes[8], sum = 0;
    _mm256_storeu_si256((void *)lanes, _mm256_add_epi32(a.lo, a.hi));
    for (int i = 0; i < 8; i++) {
        sum += lanes[i];
    }
    return sum;
}
INLINE void i_store_words(int16_t *p, I16 a)
{
    __m256i packed = _mm256_packs_epi32(a.lo, a.hi); // halves of 128 bits are packed by themselves
    _mm256_storeu_si256((void *)p, _mm256_permute4x64_epi64(packed, 0xd8));
}

#else // portable

typedef struct V16 {
    float x[LANES];
} V16;

INLINE V16 v_load(const float *p)
{
    V16 a;
    memcpy(a.x, p, sizeof(a.x));
    return a;
}
INLINE V16 v_load_n(const float *p, size_t n)
{
    V16 a = {{0}};
    memcpy(a.x, p, (n < LANES ? n : LANES) * sizeof(float));
    return a;
}
INLINE void v_store(float *p, V16 a)
{
    memcpy(p, a.x, sizeof(a.x));
}
INLINE void v_store_lanes(float *p, V16 a, size_t from, size_t to)
{
    memcpy(p + from, a.x + from, (to - from) * sizeof(float));
}

/** One expression for each lane i. */
#define V16_EACH(expression)                                                                       \
    V16 out;                                                                                       \
    for (int i = 0; i < LANES; i++) {                                                              \
        out.x[i] = (expression);                                                                   \
    }                                                                                              \
    return out

INLINE V16 v_first(V16 a, size_t n)
{
    V16_EACH((size_t)i < n ? a.x[i] : 0.0f);
}
INLINE V16 v_set1(float x)
{
    V16_EACH(x);
}
INLINE V16 v_add(V16 a, V16 b)
{
    V16_EACH(a.x[i] + b.x[i]);
}
INLINE V16 v_sub(V16 a, V16 b)
{
    V16_EACH(a.x[i] - b.x[i]);
}
INLINE V16 v_mul(V16 a, V16 b)
{
    V16_EACH(a.x[i] * b.x[i]);
}
INLINE V16 v_div(V16 a, V16 b)
{
    V16_EACH(a.x[i] / b.x[i]);
}
INLINE V16 v_fma(V16 a, V16 b, V16 c)
{
    V16_EACH(fmaf(a.x[i], b.x[i], c.x[i]));
}
INLINE V16 v_max(V16 a, V16 b)
{
    V16_EACH(a.x[i] > b.x[i] ? a.x[i] : b.x[i]);
}
INLINE V16 v_min(V16 a, V16 b)
{
    V16_EACH(a.x[i] < b.x[i] ? a.x[i] : b.x[i]);
}
INLINE V16 v_load_i16(const int16_t *p)
{
    V16_EACH((float)p[i]);
}
INLINE V16 v_load_f16(const uint16_t *p)
{
    V16_EACH(half_to_float(p[i]));
}
INLINE V16 v_load_bf16(const uint16_t *p)
{
    V16_EACH(float_of_bits((uint32_t)p[i] << 16));
}
INLINE V16 v_load_bits(const uint8_t *p, int shift, int mask)
{
    uint32_t u[LANES];
    memcpy(u, p, sizeof(u));
    V16_EACH((float)(int32_t)(u[i] >> shift & (uint32_t)mask));
}
INLINE V16 v_scale2(V16 p, V16 t)
{
    V16_EACH(float_of_bits(float_bits(p.x[i]) + (float_bits(t.x[i]) << 23)));
}
INLINE V16 v_max_abs(V16 m, V16 a)
{
    V16_EACH((float_bits(a.x[i]) & 0x7fffffffu) > float_bits(m.x[i])
                 ? float_of_bits(float_bits(a.x[i]) & 0x7fffffffu)
                 : m.x[i]);
}

typedef struct I16 {
    int32_t x[LANES];
} I16;

INLINE I16 i_load(const void *p)
{
    I16 a;
    memcpy(a.x, p, sizeof(a.x));
    return a;
}
INLINE void i_store(void *p, I16 a)
{
    memcpy(p, a.x, sizeof(a.x));
}
/** One expression for each lane i. */
#define I16_EACH(expression)                                                                       \
    I16 out;                                                                                       \
    for (int i = 0; i < LANES; i++) {                                                              \
        out.x[i] = (expression);                                                                   \
    }                                                                                              \
    return out

INLINE I16 i_set1(int32_t x)
{
    I16_EACH(x);
}
INLINE I16 i_add(I16 a, I16 b)
{
    I16_EACH(a.x[i] + b.x[i]);
}
/** Each lane's words, shifted right and masked. */
INLINE I16 i_words(I16 packed, const int shift, const int mask)
{
    I16_EACH((int32_t)((uint32_t)packed.x[i] >> shift & (uint32_t)mask));
}
INLINE int32_t word_of(int32_t lane, int which)
{
    return (int16_t)(uint16_t)((uint32_t)lane >> (16 * which));
}
/** b from each of a lane's two words. */
INLINE I16 i_sub_words(I16 a, const int16_t b)
{
    I16_EACH((int32_t)(((uint32_t)(word_of(a.x[i], 0) - b) & 0xffffu) |
                       (uint32_t)(word_of(a.x[i], 1) - b) << 16));
}
/** acc + the products of each lane's two words with the two words at x. */
INLINE I16 i_dot(I16 acc, I16 w, const int32_t *x)
{
    int32_t x0 = word_of(*x, 0), x1 = word_of(*x, 1);
    I16_EACH(acc.x[i] + word_of(w.x[i], 0) * x0 + word_of(w.x[i], 1) * x1);
}
INLINE V16 i_float(I16 a)
{
    V16_EACH((float)a.x[i]);
}
/** The integers n of t = EXP_MAGIC + n. */
INLINE I16 v_integers(V16 t)
{
    I16_EACH((int32_t)(float_bits(t.x[i]) - EXP_MAGIC_BITS));
}
INLINE int32_t i_sum(I16 a)
{
    int32_t sum = 0;
    for (int i = 0; i < LANES; i++) {
        sum += a.x[i];
    }
    return sum;
}
/** Lanes within -32768 .. 32767 as words. */
INLINE void i_store_words(int16_t *p, I16 a)
{
    for (int i = 0; i < LANES; i++) {
        p[i] = (int16_t)a.x[i];
    }
}

#endif

// ---- Built from them --------------------------------------------------------------------------

INLINE V16 v_zero(void)
{
    return v_set1(0.0f);
}

INLINE void v_store_n(float *p, V16 a, size_t n)
{
    if (n >= LANES) {
        v_store(p, a);
    } else {
        v_store_lanes(p, a, 0, n);
    }
}

#if CPU_ISA == CPU_ISA_PORTABLE
/** Sum of the lanes: halves are added, four times. */
INLINE float v_sum(V16 a)
{
    float x[LANES];
    v_store(x, a);
#pragma GCC unroll 16
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            x[i] = x[i] + x[i + half];
        }
    }
    return x[0];
}
#endif

#if CPU_ISA != CPU_ISA_AVX512
INLINE float v_max_lane(V16 a)
{
    float x[LANES];
    v_store(x, a);
    float m = x[0];
    for (int i = 1; i < LANES; i++) {
        m = x[i] > m ? x[i] : m;
    }
    return m;
}

/** The largest bit pattern among lanes that hold absolute values. */
INLINE float v_max_abs_lane(V16 a)
{
    uint32_t bits[LANES], m = 0;
    v_store((float *)(void *)bits, a);
    for (int i = 0; i < LANES; i++) {
        m = bits[i] > m ? bits[i] : m;
    }
    float f;
    memcpy(&f, &m, sizeof(f));
    return f;
}
#endif

/** The largest of n >= 1 floats. */
INLINE float max_of(const float *x, size_t n)
{
    V16 max = v_set1(-INFINITY);
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        max = v_max(max, v_load(x + i));
    }
    float most = v_max_lane(max);
    for (size_t i = whole; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

/** e^x to 1.2 ulp, x held within -87 .. 88: x = n*ln 2 + r, Taylor to r^7. */
INLINE V16 v_exp(V16 x)
{
    x = v_min(v_max(x, v_set1(-87.0f)), v_set1(88.0f));
    V16 t = v_fma(x, v_set1(0x1.715476p+0f), v_set1(EXP_MAGIC));
    V16 n = v_sub(t, v_set1(EXP_MAGIC));
    V16 r = v_fma(n, v_set1(-0x1.62e4p-1f), x);
    r = v_fma(n, v_set1(-0x1.7f7d1cp-20f), r);
    V16 p = v_set1(1.0f / 5040);
    p = v_fma(p, r, v_set1(1.0f / 720));
    p = v_fma(p, r, v_set1(1.0f / 120));
    p = v_fma(p, r, v_set1(1.0f / 24));
    p = v_fma(p, r, v_set1(1.0f / 6));
    p = v_fma(p, r, v_set1(0.5f));
    p = v_fma(p, r, v_set1(1.0f));
    p = v_fma(p, r, v_set1(1.0f));
    return v_scale2(p, t);
}

INLINE float exp_one(float x)
{
    float lanes[LANES];
    v_store(lanes, v_exp(v_set1(x)));
    return lanes[0];
}
