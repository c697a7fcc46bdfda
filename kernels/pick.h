// SPDX-License-Identifier: MIT
// The numbers that tokens are picked by, and the logarithm of all log-probabilities, for C, for the
// kernels of CUDA and for their host: the operations of IEEE double alone, none of them contracted,
// and integers. The weight of a token is an integer, so a sum of weights has the same bits in
// whatever order it is made.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define PICK_CODE static __host__ __device__ inline
#else
#define PICK_CODE static inline
#endif

#define PICK_ONE_BITS     40 // the most likely token weighs 2^40, so that
#define PICK_ONE          ((uint64_t)1 << PICK_ONE_BITS) // 2^23 tokens fit a sum
#define PICK_PORTION_BITS 53                             // of random numbers and of top_p

/** Larger for a larger logit, equal for equal ones (0 and -0); of -infinity 0x007fffff, the least.
 */
PICK_CODE uint32_t pick_key(float logit)
{
    float x = logit + 0.0f; // -0 becomes 0
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/** The logit of a key. */
PICK_CODE float pick_unkey(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/**
 * 2^40 * exp((logit - max) / temperature), rounded to an integer; logit <= max.
 * x = k ln 2 + r, Taylor's series to r^11 (2^-46 of the value), and 2^k by adding to the exponent:
 * no branch, so that compilers make vectors of it. What is no number (infinity by infinity) is 0.
 */
PICK_CODE uint64_t pick_weight(float logit, float max, double temperature)
{
    double x = ((double)logit - (double)max) / temperature;
    double shifted = x * 0x1.71547652b82fep+0 + 0x1.8p+52; // rounds to an integer, to even
    double k = shifted - 0x1.8p+52;
    double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits, shift;
    memcpy(&bits, &p, sizeof(bits));
    memcpy(&shift, &shifted, sizeof(shift));
    bits += (shift + PICK_ONE_BITS) << 52;
    memcpy(&p, &bits, sizeof(p));
    p += 0x1p52; // rounds to an integer, to even
    memcpy(&bits, &p, sizeof(bits));
    uint64_t sound = -(uint64_t)(x > -64.0) >> 12; // below it is 0 anyway
    return bits & sound;
}

/** portion * total for a portion in 0 .. 1 that is cut to 53 bits, rounded down or up; exact. */
PICK_CODE uint64_t pick_portion(double portion, uint64_t total, bool up)
{
    portion = portion > 0.0 ? portion : 0.0;
    portion = portion < 1.0 ? portion : 1.0;
    uint64_t a = (uint64_t)(portion * 0x1p53);
    uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = total & 0xffffffffu, b1 = total >> 32;
    uint64_t low = a0 * b0;
    uint64_t middle = a1 * b0 + (low >> 32);
    uint64_t other = a0 * b1 + (middle & 0xffffffffu);
    uint64_t high = a1 * b1 + (middle >> 32) + (other >> 32);
    low = other << 32 | (low & 0xffffffffu);
    uint64_t whole = high << (64 - PICK_PORTION_BITS) | low >> PICK_PORTION_BITS;
    bool rest = (low & (((uint64_t)1 << PICK_PORTION_BITS) - 1)) != 0;
    return whole + (up && rest ? 1 : 0);
}

/** What a token weighs at least that is min_p times as likely as the best one, which always is. */
PICK_CODE uint64_t pick_least(double min_p)
{
    return pick_portion(min_p, PICK_ONE, true);
}

/** ln x for x >= 1: x = m * 2^e, ln m = 2 artanh((m-1)/(m+1)), |artanh's x| < 0.172. */
PICK_CODE double pick_log(double x)
{
    int e = 0;
    while (x > 0x1.6a09e667f3bcdp+0) { // sqrt(2)
        x *= 0.5;
        e++;
    }
    double s = (x - 1) / (x + 1), s2 = s * s, sum = 0;
    for (int k = 23; k >= 1; k -= 2) {
        sum = sum * s2 + 1.0 / k;
    }
    return e * 0x1.62e42fefa39efp-1 + 2 * s * sum;
}

/** Log softmax from the largest logit and the sum of all weights at temperature 1. */
PICK_CODE float pick_logprob(float logit, float max, uint64_t sum)
{
    double below = (double)logit - (double)max;
    return (float)(below - pick_log((double)sum * (1.0 / (double)PICK_ONE)));
}
