// SPDX-License-Identifier: MIT
// Dividing among devices: what is said of loads and of tokens that are computed twice against sets
// of prefixes counted one by one, and how even the loads are for sets in the shape of known evals.
#include "engine/divide.h"

#include "../tap.h"

#include <stdlib.h>

enum { ENTRIES_MAX = 20000 };

static Arena arena;

/** Sequences as paths of two or three stretches, each named by a number: enough to know what any
 * two share, and to count prefixes. */
typedef struct Path {
    uint32_t n[3];  // tokens of each stretch
    uint64_t id[3]; // equal ids, equal tokens
    uint64_t own;
} Path;

static int compare_paths(const void *a, const void *b)
{
    const Path *x = a;
    const Path *y = b;
    for (int s = 0; s < 3; s++) {
        if (x->id[s] != y->id[s]) {
            return x->id[s] < y->id[s] ? -1 : 1;
        }
    }
    return 0;
}

static uint32_t path_lcp(const Path *a, const Path *b)
{
    uint32_t n = 0;
    for (int s = 0; s < 3 && a->id[s] == b->id[s]; s++) {
        n += a->n[s];
    }
    return n;
}

typedef struct Result {
    uint64_t load[DIVIDE_DEVICES_MAX];
    uint64_t distinct_sum; // over devices, counted here
    Divided divided;
    double uneven; // heaviest load by the mean, less 1
    double doubled;
    uint32_t *devices;
    uint64_t *weights;
} Result;

/** Divide sorted paths, and check all that can be counted. */
static Result divide_checked(Path *paths, size_t n, uint32_t n_devices, uint64_t alive)
{
    Result r = {.devices = ARENA_ARRAY(&arena, uint32_t, n + 1),
                .weights = ARENA_ARRAY(&arena, uint64_t, n + 1)};
    DivideEntry *entries = ARENA_ARRAY(&arena, DivideEntry, n + 1);
    qsort(paths, n, sizeof(*paths), compare_paths);
    uint64_t distinct = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t all = paths[i].n[0] + paths[i].n[1] + paths[i].n[2];
        uint32_t lcp = i == 0 ? 0 : path_lcp(&paths[i - 1], &paths[i]);
        entries[i] = (DivideEntry){.n = all, .lcp = lcp, .own = paths[i].own};
        distinct += all - lcp;
    }
    divide(entries, n, n_devices, alive, r.load, r.devices, r.weights, &r.divided);
    uint64_t most = 0, sum = 0;
    uint32_t n_alive = 0;
    for (uint32_t d = 0; d < n_devices; d++) {
        const Path *before = NULL;
        uint64_t load = 0, weights = 0, tokens = 0;
        for (size_t i = 0; i < n; i++) {
            if (r.devices[i] == d) {
                tokens += entries[i].n - (before == NULL ? 0 : path_lcp(before, &paths[i]));
                load += paths[i].own;
                weights += r.weights[i];
                before = &paths[i];
            }
        }
        CHECK_INT(r.load[d], load + tokens);
        CHECK_INT(weights, load + tokens);
        CHECK((alive >> d & 1) != 0 || r.load[d] == 0);
        r.distinct_sum += tokens;
        most = r.load[d] > most ? r.load[d] : most;
        sum += r.load[d];
        n_alive += (uint32_t)(alive >> d & 1);
    }
    for (size_t i = 0; i < n; i++) {
        CHECK(r.devices[i] < n_devices);
    }
    CHECK_INT(r.divided.distinct, distinct);
    CHECK_INT(r.divided.doubled, r.distinct_sum - distinct);
    r.uneven = sum > 0 ? (double)most * n_alive / (double)sum - 1 : 0;
    r.doubled = distinct > 0 ? (double)r.divided.doubled / (double)distinct : 0;
    return r;
}

static void test_divide__counts_what_is_computed(void)
{
    Rng rng;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        rng_init(&rng, seed);
        size_t n = rng_below(&rng, 400);
        uint64_t groups = 1 + rng_below(&rng, 20);
        uint64_t under = 1 + rng_below(&rng, 30);
        Path *paths = ARENA_ARRAY(&arena, Path, n + 1);
        for (size_t i = 0; i < n; i++) {
            uint64_t a = rng_below(&rng, groups);
            uint64_t b = rng_below(&rng, under);
            paths[i] = (Path){.id = {a, b, rng_below(&rng, 50)},
                              .n = {1 + (uint32_t)(rng_mix(a + seed) % 900),
                                    1 + (uint32_t)(rng_mix(a * 99 + b) % 200), 7},
                              .own = rng_below(&rng, seed % 2 == 0 ? 2 : 3000)};
        }
        uint32_t n_devices = 1 + (uint32_t)rng_below(&rng, 8);
        uint64_t alive = ((uint64_t)1 << n_devices) - 1;
        Result all = divide_checked(paths, n, n_devices, alive);
        Result again = divide_checked(paths, n, n_devices, alive);
        CHECK(n == 0 || memcmp(all.devices, again.devices, n * sizeof(*all.devices)) == 0);
        if (n_devices > 1) {
            divide_checked(paths, n, n_devices, alive & ~(UINT64_C(1) << (seed % n_devices)));
        }
        arena_reset(&arena);
    }
}

/** Known shapes: how uneven loads may be, and how much may be computed twice. */
typedef struct Shape {
    const char *name;
    size_t n;
    uint32_t groups;   // with a beginning of their own
    uint32_t n_common; // tokens of the beginning that all share
    uint32_t n_group;  // of a group's
    uint32_t n_own;    // of a request, on average
    uint64_t decode;   // most tokens of its reply
    uint32_t n_devices;
    double uneven, doubled; // bounds
    int line;
} Shape;

static void test_divide__known_shapes(void)
{
    static const Shape shapes[] = {
        // GSM8K: 8 shots for all, replies of up to 400 tokens.
        {"gsm8k", 1319, 1, 900, 0, 60, 400, 2, 0.01, 0.012, __LINE__},
        {"gsm8k", 1319, 1, 900, 0, 60, 400, 8, 0.03, 0.09, __LINE__},
        {"gsm8k, 100", 100, 1, 900, 0, 60, 400, 8, 0.05, 0.9, __LINE__},
        // MMLU: 57 subjects with 5 shots each, questions of very different number.
        {"mmlu", 14042, 57, 0, 650, 110, 0, 2, 0.01, 0.005, __LINE__},
        {"mmlu", 14042, 57, 0, 650, 110, 0, 4, 0.04, 0.005, __LINE__},
        {"mmlu", 14042, 57, 0, 650, 110, 0, 8, 0.03, 0.02, __LINE__},
        {"mmlu, few", 285, 57, 0, 650, 110, 0, 4, 0.05, 0.02, __LINE__},
        // Nothing shared.
        {"zero shot", 2000, 1, 3, 0, 120, 64, 8, 0.02, 0.001, __LINE__},
    };
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        const Shape *shape = &shapes[s];
        Rng rng;
        rng_init(&rng, 7);
        Path *paths = ARENA_ARRAY(&arena, Path, shape->n);
        for (size_t i = 0; i < shape->n; i++) {
            uint64_t a = rng_below(&rng, shape->groups);
            uint64_t b = rng_below(&rng, shape->groups);
            uint64_t group = a < b ? a : b; // the first have most
            paths[i] = (Path){.id = {0, group, i},
                              .n = {shape->n_common, shape->n_group,
                                    shape->n_own / 2 + (uint32_t)rng_below(&rng, shape->n_own)},
                              .own = shape->decode};
        }
        Result r = divide_checked(paths, shape->n, shape->n_devices,
                                  ((uint64_t)1 << shape->n_devices) - 1);
        printf("# %s on %u: %llu pieces, heaviest %.4f above the mean, %.4f computed twice\n",
               shape->name, shape->n_devices, (unsigned long long)r.divided.pieces, r.uneven,
               r.doubled);
        if (r.uneven > shape->uneven || r.doubled > shape->doubled) {
            printf("# line %d\n", shape->line);
            CHECK(false);
        }
        arena_reset(&arena);
    }
}

/** A long document with short questions is not worth a second device; one with long replies is. */
static void test_divide__splits_where_it_pays(void)
{
    for (int decodes = 0; decodes < 2; decodes++) {
        Path paths[10];
        for (size_t i = 0; i < 10; i++) {
            paths[i] =
                (Path){.id = {0, i, 0}, .n = {30000, 20, 0}, .own = decodes == 1 ? 20000 : 5};
        }
        Result r = divide_checked(paths, 10, 2, 3);
        CHECK_INT(r.divided.doubled, decodes == 1 ? 30000 : 0);
        CHECK(decodes == 1 ? r.load[1] > 100000 : r.load[1] == 0);
        arena_reset(&arena);
    }
}

/** Nested sequences, each the one before and a little more: time stays linear, nearly. */
static void test_divide__chains(void)
{
    DivideEntry *entries = ARENA_ARRAY(&arena, DivideEntry, ENTRIES_MAX);
    uint32_t *devices = ARENA_ARRAY(&arena, uint32_t, ENTRIES_MAX);
    uint64_t *weights = ARENA_ARRAY(&arena, uint64_t, ENTRIES_MAX);
    uint64_t load[64] = {0};
    for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
        entries[i] = (DivideEntry){.n = i + 1, .lcp = i, .own = 50};
    }
    Divided divided;
    int64_t from_ns = clock_ns();
    divide(entries, ENTRIES_MAX, 64, UINT64_MAX, load, devices, weights, &divided);
    double seconds = (double)(clock_ns() - from_ns) * 1e-9;
    printf("# %llu pieces in %.3f s\n", (unsigned long long)divided.pieces, seconds);
    CHECK(seconds < 5);
    arena_reset(&arena);
}

/** What comes later goes where there is less to do. */
static void test_divide__minds_what_is_there(void)
{
    DivideEntry entry = {.n = 100, .own = 10};
    uint64_t load[3] = {500, 200, 300};
    uint32_t device;
    uint64_t weight;
    Divided divided;
    divide(&entry, 1, 3, 7, load, &device, &weight, &divided);
    CHECK_INT(device, 1);
    CHECK_INT(weight, 110);
    CHECK_INT(load[1], 310);
    divide(&entry, 0, 3, 7, load, &device, &weight, &divided);
    CHECK_INT(divided.pieces, 0);
}

int main(void)
{
    arena_init(&arena, 1 << 16);
    tap_run("counts what is computed, and where", test_divide__counts_what_is_computed);
    tap_run("known shapes are divided evenly, and little is computed twice",
            test_divide__known_shapes);
    tap_run("splits where it pays", test_divide__splits_where_it_pays);
    tap_run("chains of nested sequences", test_divide__chains);
    tap_run("minds what devices have to do", test_divide__minds_what_is_there);
    arena_finish(&arena);
    return tap_done();
}
