// SPDX-License-Identifier: MIT
// SHA-256 after FIPS 180-4, and the canonical encoding: every item is one tag byte, then a fixed
// size or a length before its bytes, so that no two different sequences encode alike.
#include "base/hash.h"

#include "base/base_internal.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 64

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, int n)
{
    return (x >> n) | (x << (32 - n));
}

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be64(uint8_t *p, uint64_t x)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(x >> (56 - 8 * i));
    }
}

static void schedule_fill(uint32_t w[64], const uint8_t *block)
{
    for (int i = 0; i < 16; i++) {
        w[i] = load_be32(block + 4 * i);
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void compress(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64];
    schedule_fill(w, block);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
        uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void sha256_plain_blocks(uint32_t state[8], const uint8_t *data, size_t n_blocks)
{
    for (; n_blocks > 0; n_blocks--, data += BLOCK_BYTES) {
        compress(state, data);
    }
}

static bool use_x86;

static void choose(void)
{
    use_x86 = sha256_x86_usable();
}

static void compress_blocks(uint32_t state[8], const uint8_t *data, size_t n_blocks)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    if (use_x86) {
        sha256_x86_blocks(state, data, n_blocks, round_constants);
    } else {
        sha256_plain_blocks(state, data, n_blocks);
    }
}

void sha256_init(Sha256 *sha)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, start, sizeof start);
    sha->n_bytes = 0;
}

void sha256_update(Sha256 *sha, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    size_t held = sha->n_bytes % BLOCK_BYTES;
    sha->n_bytes += len;
    if (held > 0) {
        size_t take = len < BLOCK_BYTES - held ? len : BLOCK_BYTES - held;
        if (take > 0) {
            memcpy(sha->block + held, bytes, take);
        }
        if (held + take < BLOCK_BYTES) {
            return;
        }
        compress_blocks(sha->state, sha->block, 1);
        bytes += take;
        len -= take;
    }
    size_t n_blocks = len / BLOCK_BYTES;
    if (n_blocks > 0) {
        compress_blocks(sha->state, bytes, n_blocks);
        bytes += n_blocks * BLOCK_BYTES;
        len -= n_blocks * BLOCK_BYTES;
    }
    if (len > 0) {
        memcpy(sha->block, bytes, len);
    }
}

void sha256_final(Sha256 *sha, Hash *out)
{
    uint64_t n_bits = sha->n_bytes * 8;
    size_t held = sha->n_bytes % BLOCK_BYTES;
    uint8_t tail[2 * BLOCK_BYTES] = {0x80};
    size_t n_tail = (held < 56 ? 56 : 120) - held;
    store_be64(tail + n_tail, n_bits);
    sha256_update(sha, tail, n_tail + 8);
    for (int i = 0; i < 8; i++) {
        for (int j = 0; j < 4; j++) {
            out->bytes[4 * i + j] = (uint8_t)(sha->state[i] >> (24 - 8 * j));
        }
    }
}

Hash sha256_of(Str bytes)
{
    Sha256 sha;
    Hash hash;
    sha256_init(&sha);
    sha256_update(&sha, bytes.data, bytes.len);
    sha256_final(&sha, &hash);
    return hash;
}

// ---- The canonical encoding -------------------------------------------------------------------

/** The first byte of an item. Stored identities depend on these: never change one. */
typedef enum HashTag {
    TAG_DOMAIN = 'd',
    TAG_NULL = 'n',
    TAG_BOOL = 'b',
    TAG_INT = 'i',
    TAG_REAL = 'r',
    TAG_NAN = 'x',
    TAG_STR = 's',
    TAG_HASH = 'h',
    TAG_LIST = 'l',
    TAG_MAP = 'm',
} HashTag;

static void put_tag(Sha256 *sha, HashTag tag)
{
    uint8_t byte = (uint8_t)tag;
    sha256_update(sha, &byte, 1);
}

static void put_tag_u64(Sha256 *sha, HashTag tag, uint64_t number)
{
    uint8_t bytes[9] = {(uint8_t)tag};
    store_be64(bytes + 1, number);
    sha256_update(sha, bytes, sizeof bytes);
}

static void put_bytes(Sha256 *sha, HashTag tag, Str s)
{
    put_tag_u64(sha, tag, s.len);
    sha256_update(sha, s.data, s.len);
}

void hash_begin(Sha256 *sha, Str domain)
{
    sha256_init(sha);
    put_bytes(sha, TAG_DOMAIN, domain);
}

void hash_str(Sha256 *sha, Str s)
{
    put_bytes(sha, TAG_STR, s);
}

void hash_i64(Sha256 *sha, int64_t i)
{
    put_tag_u64(sha, TAG_INT, (uint64_t)i);
}

void hash_f64(Sha256 *sha, double d)
{
    assert(!isnan(d));
    double normal = d == 0 ? 0.0 : d;
    uint64_t bits;
    memcpy(&bits, &normal, sizeof bits);
    put_tag_u64(sha, TAG_REAL, bits);
}

void hash_bool(Sha256 *sha, bool b)
{
    uint8_t bytes[2] = {TAG_BOOL, b};
    sha256_update(sha, bytes, sizeof bytes);
}

void hash_hash(Sha256 *sha, const Hash *hash)
{
    put_tag(sha, TAG_HASH);
    sha256_update(sha, hash->bytes, sizeof hash->bytes);
}

static int pair_order(const void *a, const void *b)
{
    const ValuePair *const *x = a;
    const ValuePair *const *y = b;
    return str_cmp((*x)->key, (*y)->key);
}

static void hash_map(Sha256 *sha, const ValueMap *map)
{
    enum { SMALL = 32 };
    const ValuePair *small[SMALL];
    const ValuePair **sorted = map->n <= SMALL ? small : mem_alloc(map->n, sizeof *sorted);
    for (size_t i = 0; i < map->n; i++) {
        sorted[i] = &map->pairs[i];
    }
    if (map->n > 1) {
        qsort(sorted, map->n, sizeof *sorted, pair_order);
    }
    put_tag_u64(sha, TAG_MAP, map->n);
    for (size_t i = 0; i < map->n; i++) {
        hash_str(sha, sorted[i]->key);
        hash_value(sha, &sorted[i]->value);
    }
    if (sorted != small) {
        mem_free(sorted);
    }
}

void hash_value(Sha256 *sha, const Value *value)
{
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
        put_tag(sha, TAG_NULL);
        break;
    case VALUE_BOOL:
        hash_bool(sha, value->as.boolean);
        break;
    case VALUE_INT:
        hash_i64(sha, value->as.integer);
        break;
    case VALUE_REAL:
        if (isnan(value->as.real)) { // data may hold one (from Lua): it is an input like others
            put_tag(sha, TAG_NAN);
        } else {
            hash_f64(sha, value->as.real);
        }
        break;
    case VALUE_STR:
        hash_str(sha, value->as.str);
        break;
    case VALUE_LIST:
        put_tag_u64(sha, TAG_LIST, value->as.list.n);
        for (size_t i = 0; i < value->as.list.n; i++) {
            hash_value(sha, &value->as.list.items[i]);
        }
        break;
    case VALUE_MAP:
        hash_map(sha, &value->as.map);
        break;
    }
}

Hash hash_end(Sha256 *sha)
{
    Hash hash;
    sha256_final(sha, &hash);
    return hash;
}

bool hash_eq(const Hash *a, const Hash *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

uint64_t hash_u64(const Hash *hash)
{
    return (uint64_t)load_be32(hash->bytes) << 32 | load_be32(hash->bytes + 4);
}

void hash_hex(const Hash *hash, char out[HASH_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof hash->bytes; i++) {
        out[2 * i] = digits[hash->bytes[i] >> 4];
        out[2 * i + 1] = digits[hash->bytes[i] & 15];
    }
    out[HASH_HEX_LEN] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hash_from_hex(Str hex, Hash *out)
{
    if (hex.len != HASH_HEX_LEN) {
        return false;
    }
    Hash hash;
    for (size_t i = 0; i < sizeof hash.bytes; i++) {
        int high = hex_digit(hex.data[2 * i]);
        int low = hex_digit(hex.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        hash.bytes[i] = (uint8_t)(high * 16 + low);
    }
    *out = hash;
    return true;
}

uint64_t hash_fast(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    h ^= h >> 32; // FNV's high bits are its best ones; tables use the low ones
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ (h >> 32);
}
