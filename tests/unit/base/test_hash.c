// SPDX-License-Identifier: MIT
// SHA-256 against the examples of FIPS 180-4 / NIST's CAVP byte vectors, and the properties that
// the canonical encoding promises.
#include "tests/unit/tap.h"

#include "base/base_internal.h"

static bool hex_is(const Hash *hash, const char *want)
{
    char hex[HASH_HEX_LEN + 1];
    hash_hex(hash, hex);
    if (strcmp(hex, want) != 0) {
        printf("# got  %s\n# want %s\n", hex, want);
        return false;
    }
    return true;
}

static void test_sha256__published_vectors(void)
{
    static const struct {
        Str text;
        const char *want;
    } cases[] = {
        {STR_INIT(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {STR_INIT("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {STR_INIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {STR_INIT(
             "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmno"
             "pqrlmnopqrsmnopqrstnopqrstu"),
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
        {STR_INIT("\xbd"), "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b"},
        {STR_INIT("\xc9\x8c\x8e\x55"),
         "7abc22c0ae5af26ce93dbb94433a0e0b2e119d014f8e7f65bd56c61ccccd9504"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Hash hash = sha256_of(cases[i].text);
        CHECK(hex_is(&hash, cases[i].want));
    }
}

static void test_sha256__a_million_letters_in_uneven_pieces(void)
{
    char piece[997];
    memset(piece, 'a', sizeof piece);
    Sha256 sha;
    sha256_init(&sha);
    size_t left = 1000000;
    for (size_t step = 0; left > 0; step = (step * 7 + 3) % sizeof piece) {
        size_t take = step < left ? step : left;
        sha256_update(&sha, piece, take);
        left -= take;
    }
    Hash hash;
    sha256_final(&sha, &hash);
    CHECK(hex_is(&hash, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
}

static void test_sha256__every_split_gives_the_same(void)
{
    char text[200];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (char)(i * 31);
    }
    for (size_t len = 0; len <= sizeof text; len++) {
        Hash whole = sha256_of((Str){text, len});
        Sha256 sha;
        sha256_init(&sha);
        size_t cut = len * 3 / 5;
        sha256_update(&sha, text, cut);
        sha256_update(&sha, text + cut, len - cut);
        Hash parts;
        sha256_final(&sha, &parts);
        CHECK(hash_eq(&whole, &parts));
    }
}

static void test_sha256__plain_rounds_are_those_of_the_published_vector(void)
{
    // One padded block holding "abc": the state after it, big-endian, is the hash.
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t block[64] = {'a', 'b', 'c', 0x80, [63] = 24};
    sha256_plain_blocks(state, block, 1);
    Hash hash;
    for (int i = 0; i < 32; i++) {
        hash.bytes[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    }
    CHECK(hex_is(&hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

static Hash of_value(Value value)
{
    Sha256 sha;
    hash_begin(&sha, STR("test"));
    hash_value(&sha, &value);
    return hash_end(&sha);
}

static void test_encoding__bytes_are_the_documented_ones(void)
{
    // d, length, domain; i, big-endian: written out by hand and hashed as plain bytes.
    Hash by_hand = sha256_of(STR("d\0\0\0\0\0\0\0\4test"
                                 "i\0\0\0\0\0\0\1\2"
                                 "s\0\0\0\0\0\0\0\2hi"
                                 "b\1"
                                 "r\x3f\xf0\0\0\0\0\0\0"));
    Sha256 sha;
    hash_begin(&sha, STR("test"));
    hash_i64(&sha, 258);
    hash_str(&sha, STR("hi"));
    hash_bool(&sha, true);
    hash_f64(&sha, 1.0);
    Hash got = hash_end(&sha);
    CHECK(hash_eq(&got, &by_hand));
    Hash map = sha256_of(STR("d\0\0\0\0\0\0\0\4test"
                             "m\0\0\0\0\0\0\0\2"
                             "s\0\0\0\0\0\0\0\1a"
                             "n"
                             "s\0\0\0\0\0\0\0\1b"
                             "l\0\0\0\0\0\0\0\1"
                             "i\xff\xff\xff\xff\xff\xff\xff\xff"));
    Value minus_one = value_int(-1);
    ValuePair pairs[] = {value_pair(STR("b"), value_list(&minus_one, 1)),
                         value_pair(STR("a"), value_null())};
    got = of_value(value_map(pairs, 2));
    CHECK(hash_eq(&got, &map));
}

static void test_encoding__order_of_keys_styles_and_places_do_not_count(void)
{
    enum { N = 100 };
    Arena arena = {0};
    ValuePair forth[N];
    ValuePair back[N];
    for (size_t i = 0; i < N; i++) {
        forth[i] = value_pair(str_printf(&arena, "key%zu", i), value_int((int64_t)i));
        back[N - 1 - i] = forth[i];
        back[N - 1 - i].value.line = 7;
        back[N - 1 - i].value.style = VALUE_STYLE_QUOTED;
    }
    Hash a = of_value(value_map(forth, N));
    Hash b = of_value(value_map(back, N));
    CHECK(hash_eq(&a, &b));
    a = of_value(value_map(forth, 3));
    b = of_value(value_map(back + N - 3, 3));
    CHECK(hash_eq(&a, &b));
    b = of_value(value_map(forth, 2));
    CHECK(!hash_eq(&a, &b));
    arena_finish(&arena);
}

static void test_encoding__different_values_differ(void)
{
    Value ab[] = {value_str(STR("ab")), value_str(STR("c"))};
    Value a_bc[] = {value_str(STR("a")), value_str(STR("bc"))};
    Value nested = value_list(ab, 2);
    ValuePair pair = value_pair(STR("a"), value_int(1));
    const Value all[] = {
        value_null(),
        value_bool(false),
        value_bool(true),
        value_int(0),
        value_int(1),
        value_int(-1),
        value_real(0),
        value_real(1),
        value_real(1.5),
        value_str(STR("")),
        value_str(STR("0")),
        value_str(STR("\0")),
        value_str(STR("1")),
        value_list(NULL, 0),
        value_map(NULL, 0),
        value_list(ab, 2),
        value_list(a_bc, 2),
        value_list(ab, 1),
        value_list(&nested, 1),
        value_map(&pair, 1),
        value_real((double)NAN),
        value_real((double)INFINITY),
    };
    const size_t n = sizeof all / sizeof all[0];
    for (size_t i = 0; i < n; i++) {
        Hash a = of_value(all[i]);
        for (size_t j = 0; j < i; j++) {
            Hash b = of_value(all[j]);
            CHECK(!hash_eq(&a, &b));
        }
    }
    Hash plus = of_value(value_real(0.0));
    Hash minus = of_value(value_real(-0.0));
    CHECK(hash_eq(&plus, &minus));
    Hash quiet = of_value(value_real((double)NAN));
    Hash negative = of_value(value_real(-(double)NAN));
    CHECK(hash_eq(&quiet, &negative));
}

static void test_encoding__domains_separate(void)
{
    Sha256 sha;
    hash_begin(&sha, STR("a"));
    hash_str(&sha, STR("x"));
    Hash a = hash_end(&sha);
    hash_begin(&sha, STR("b"));
    hash_str(&sha, STR("x"));
    Hash b = hash_end(&sha);
    CHECK(!hash_eq(&a, &b));
    hash_begin(&sha, STR("a"));
    hash_hash(&sha, &b);
    Hash c = hash_end(&sha);
    hash_begin(&sha, STR("a"));
    hash_str(&sha, (Str){(const char *)b.bytes, 32});
    Hash d = hash_end(&sha);
    CHECK(!hash_eq(&c, &d));
}

static void test_hash__hex_goes_both_ways(void)
{
    Hash hash = sha256_of(STR("abc"));
    char hex[HASH_HEX_LEN + 1];
    hash_hex(&hash, hex);
    Hash back = {{0}};
    CHECK(hash_from_hex((Str){hex, HASH_HEX_LEN}, &back) && hash_eq(&hash, &back));
    hex[3] = 'G';
    CHECK(!hash_from_hex((Str){hex, HASH_HEX_LEN}, &back));
    CHECK(!hash_from_hex(STR("ba78"), &back));
    CHECK(hash_u64(&hash) == UINT64_C(0xba7816bf8f01cfea));
}

static void test_hash_fast__spreads(void)
{
    enum { N = 4096, BUCKETS = 1024 };
    int count[BUCKETS] = {0};
    for (uint32_t i = 0; i < N; i++) {
        count[hash_fast(&i, sizeof i) % BUCKETS]++;
    }
    int most = 0;
    for (int i = 0; i < BUCKETS; i++) {
        most = count[i] > most ? count[i] : most;
    }
    CHECK(most <= 16); // a mean of 4 a bucket; Poisson's chance of 17 somewhere is 1e-3
    CHECK(hash_fast("a", 1) != hash_fast("b", 1));
    CHECK(hash_fast("", 0) == hash_fast(NULL, 0));
}

int main(void)
{
    tap_run("SHA-256 of the published messages", test_sha256__published_vectors);
    tap_run("SHA-256 of a million letters", test_sha256__a_million_letters_in_uneven_pieces);
    tap_run("SHA-256 does not depend on the pieces", test_sha256__every_split_gives_the_same);
    tap_run("SHA-256 in plain C", test_sha256__plain_rounds_are_those_of_the_published_vector);
    tap_run("the encoding's bytes", test_encoding__bytes_are_the_documented_ones);
    tap_run("order of keys, styles and places do not count",
            test_encoding__order_of_keys_styles_and_places_do_not_count);
    tap_run("different values hash differently", test_encoding__different_values_differ);
    tap_run("domains and kinds separate", test_encoding__domains_separate);
    tap_run("hexadecimal goes both ways", test_hash__hex_goes_both_ways);
    tap_run("the table hash spreads", test_hash_fast__spreads);
    return tap_done();
}
