// SPDX-License-Identifier: MIT
// Expected outputs were made by an independent implementation (NumPy agrees on splitmix64's and
// xoshiro256**'s definitions).
#include "tests/unit/tap.h"

static void test_rng__known_outputs(void)
{
    static const uint64_t want[] = {UINT64_C(1546998764402558742), UINT64_C(6990951692964543102),
                                    UINT64_C(12544586762248559009), UINT64_C(17057574109182124193)};
    Rng rng;
    rng_init(&rng, 42);
    CHECK(rng.s[0] == UINT64_C(13679457532755275413)); // splitmix64's first two outputs
    CHECK(rng.s[1] == UINT64_C(2949826092126892291));
    for (size_t i = 0; i < 4; i++) {
        CHECK(rng_next(&rng) == want[i]);
    }
}

static void test_rng__below_known_and_in_range(void)
{
    static const uint64_t want[] = {8, 3, 10, 11, 11, 10, 0, 1, 4, 1};
    Rng rng;
    rng_init(&rng, 7);
    for (size_t i = 0; i < 10; i++) {
        CHECK_INT(rng_below(&rng, 12), want[i]);
    }
    for (int i = 0; i < 100; i++) {
        CHECK_INT(rng_below(&rng, 1), 0);
        CHECK(rng_below(&rng, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
    int count[3] = {0};
    for (int i = 0; i < 30000; i++) {
        count[rng_below(&rng, 3)]++;
    }
    for (int i = 0; i < 3; i++) {
        CHECK_NEAR(count[i], 10000, 500); // 6 standard deviations
    }
}

static void test_rng__reals_are_in_the_unit_interval(void)
{
    Rng rng;
    rng_init(&rng, 1);
    double sum = 0;
    for (int i = 0; i < 20000; i++) {
        double x = rng_real(&rng);
        CHECK(x >= 0 && x < 1);
        sum += x;
    }
    CHECK_NEAR(sum / 20000, 0.5, 0.0125); // 6 standard errors of 1/sqrt(12 n)
}

static void test_rng__at_depends_on_all_three_alone(void)
{
    double x = rng_at(1, 2, 3);
    CHECK(x == rng_at(1, 2, 3));
    CHECK(x != rng_at(2, 2, 3) && x != rng_at(1, 3, 3) && x != rng_at(1, 2, 4));
    CHECK(rng_at(0, 1, 0) != rng_at(0, 0, 1) && rng_at(1, 0, 0) != rng_at(0, 1, 0));
    double sum = 0;
    double lagged = 0;
    double last = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        double y = rng_at(42, i % 10, i / 10);
        CHECK(y >= 0 && y < 1);
        sum += y;
        lagged += (y - 0.5) * (last - 0.5);
        last = y;
    }
    CHECK_NEAR(sum / 20000, 0.5, 0.0125);
    CHECK_NEAR(lagged / 20000, 0, 0.0036); // 6 standard errors of (1/12)/sqrt(n)
}

int main(void)
{
    tap_run("splitmix64 and xoshiro256** give their known outputs", test_rng__known_outputs);
    tap_run("bounded numbers", test_rng__below_known_and_in_range);
    tap_run("reals in [0, 1)", test_rng__reals_are_in_the_unit_interval);
    tap_run("counter-based draws", test_rng__at_depends_on_all_three_alone);
    return tap_done();
}
