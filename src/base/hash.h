// SPDX-License-Identifier: MIT
// SHA-256 (FIPS 180-4) and the canonical encoding that every identity in the program is made of:
// a domain string, then tagged, length-prefixed items (DESIGN.md 4.3). Equal hashes mean equal
// inputs.
#pragma once

#include "base/value.h"

#define HASH_HEX_LEN 64

typedef struct Hash {
    uint8_t bytes[32];
} Hash;

typedef struct Sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
} Sha256;

void sha256_init(Sha256 *sha);
void sha256_update(Sha256 *sha, const void *data, size_t len);
void sha256_final(Sha256 *sha, Hash *out);
Hash sha256_of(Str bytes);

/** Start an encoding; domains separate uses, e.g. "muster.sample.1". */
void hash_begin(Sha256 *sha, Str domain);
void hash_str(Sha256 *sha, Str s);
void hash_i64(Sha256 *sha, int64_t i);
void hash_f64(Sha256 *sha, double d); // -0 becomes 0; d must not be NaN
void hash_bool(Sha256 *sha, bool b);
void hash_hash(Sha256 *sha, const Hash *hash);
/** A whole value: maps with keys sorted bytewise, styles and places ignored. */
void hash_value(Sha256 *sha, const Value *value);
Hash hash_end(Sha256 *sha);

bool hash_eq(const Hash *a, const Hash *b);
uint64_t hash_u64(const Hash *hash); // first eight bytes, big endian
void hash_hex(const Hash *hash, char out[HASH_HEX_LEN + 1]);
bool hash_from_hex(Str hex, Hash *out);

/** A fast 64-bit hash for tables in memory only; never stored (FNV-1a, then a mixer). */
uint64_t hash_fast(const void *data, size_t len);
