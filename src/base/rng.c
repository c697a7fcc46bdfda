// SPDX-License-Identifier: MIT
// xoshiro256** and splitmix64 after Blackman and Vigna (prng.di.unimi.it); bounded numbers after
// Lemire, "Fast Random Integer Generation in an Interval" (2019).
#include "base/rng.h"

#include <assert.h>

#define GOLDEN_GAMMA UINT64_C(0x9E3779B97F4A7C15)

uint64_t rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

void rng_init(Rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += GOLDEN_GAMMA;
        rng->s[i] = rng_mix(seed);
    }
}

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(Rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

static double to_unit(uint64_t x)
{
    return (double)(x >> 11) * 0x1p-53;
}

double rng_real(Rng *rng)
{
    return to_unit(rng_next(rng));
}

__extension__ typedef unsigned __int128 Wide;

uint64_t rng_below(Rng *rng, uint64_t n)
{
    assert(n > 0);
    Wide product = (Wide)rng_next(rng) * n;
    uint64_t low = (uint64_t)product;
    if (low < n) {
        uint64_t threshold = -n % n; // 2^64 mod n: what would favour the small numbers
        while (low < threshold) {
            product = (Wide)rng_next(rng) * n;
            low = (uint64_t)product;
        }
    }
    return (uint64_t)(product >> 64);
}

double rng_at(uint64_t seed, uint64_t stream, uint64_t position)
{
    uint64_t x = rng_mix(seed + GOLDEN_GAMMA);
    x = rng_mix((x ^ stream) + GOLDEN_GAMMA);
    x = rng_mix((x ^ position) + GOLDEN_GAMMA);
    return to_unit(x);
}
