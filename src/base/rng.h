// SPDX-License-Identifier: MIT
// Random numbers without hidden state: xoshiro256** seeded by splitmix64 (Blackman, Vigna), and a
// counter-based draw that depends only on (seed, stream, position).
#pragma once

#include <stdint.h>

typedef struct Rng {
    uint64_t s[4];
} Rng;

void rng_init(Rng *rng, uint64_t seed);   // four splitmix64 outputs
uint64_t rng_next(Rng *rng);              // xoshiro256**; seed 42 gives 1546998764402558742 first
double rng_real(Rng *rng);                // [0, 1), 53 bits
uint64_t rng_below(Rng *rng, uint64_t n); // [0, n), Lemire's method, n > 0

uint64_t rng_mix(uint64_t x); // splitmix64's finaliser
/** [0, 1) from (seed, stream, position) alone. */
double rng_at(uint64_t seed, uint64_t stream, uint64_t position);
