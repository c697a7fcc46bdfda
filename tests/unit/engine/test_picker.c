// SPDX-License-Identifier: MIT
// The picker's rules, and the picker against the plain way: sort everything, use the C library.
#include "base/base.h"
#include "engine/picker.h"

#include "../tap.h"

#include <math.h>
#include <stdio.h>

static void test_picker__follows_its_rules(void)
{
    PickerScratch scratch = {0};
    const float logits[5] = {1.0f, 3.0f, 3.0f, 2.0f, -1.0f};
    PickerSettings greedy = {.temperature = 0, .top_p = 1};
    CHECK_INT(picker_pick(&greedy, logits, 5, 0, 0, &scratch), 1); // the lowest id among equals
    int counts[5] = {0};
    PickerSettings top = {.temperature = 1, .top_p = 1, .top_k = 3, .seed = 7};
    for (uint64_t i = 0; i < 20000; i++) {
        counts[picker_pick(&top, logits, 5, 0, i, &scratch)]++;
    }
    double e2 = exp(-1.0);
    CHECK_NEAR(counts[1] / 20000.0, 1 / (2 + e2), 0.015);
    CHECK_NEAR(counts[3] / 20000.0, e2 / (2 + e2), 0.015);
    CHECK_INT(counts[0] + counts[4], 0);
    PickerSettings nucleus = {.temperature = 1, .top_p = 0.75, .seed = 7};
    PickerSettings floor = {.temperature = 1, .top_p = 1, .min_p = 0.5, .seed = 7};
    for (uint64_t i = 0; i < 2000;
         i++) { // p = .397 .397 .146 .054: two reach .75; the third is half as likely
        CHECK(picker_pick(&nucleus, logits, 5, 1, i, &scratch) <= 2);
        CHECK(picker_pick(&floor, logits, 5, 1, i, &scratch) <= 2);
    }
    CHECK_NEAR(picker_logprob(logits, 5, 1), 3 - log(exp(1) + 2 * exp(3) + exp(2) + exp(-1)), 1e-6);
    picker_scratch_finish(&scratch);
}

/** Against the plain way: sort everything, use the C library. */
static int32_t pick_plainly(const PickerSettings *settings, const float *logits, size_t n, double u)
{
    int32_t order[200] = {0};
    double weight[200] = {0};
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = kept++;
        for (; at > 0 && logits[i] > logits[order[at - 1]]; at--) {
            order[at] = order[at - 1];
        }
        order[at] = (int32_t)i;
    }
    kept = settings->top_k > 0 && (size_t)settings->top_k < n ? (size_t)settings->top_k : n;
    double total = 0;
    for (size_t i = 0; i < kept; i++) {
        weight[i] =
            exp(((double)logits[order[i]] - (double)logits[order[0]]) / settings->temperature);
        total += weight[i];
    }
    double sum = 0;
    size_t cut = 0;
    while (cut < kept && (cut == 0 || sum < settings->top_p * total)) {
        sum += weight[cut++];
    }
    while (cut > 1 && weight[cut - 1] < settings->min_p * weight[0]) {
        sum -= weight[--cut];
    }
    double goal = u * sum;
    size_t i = 0;
    for (double at = weight[0]; i + 1 < cut && goal >= at; at += weight[i]) {
        i++;
    }
    return order[i];
}

static void test_picker__agrees_with_the_plain_way(void)
{
    PickerScratch scratch = {0};
    Rng rng;
    rng_init(&rng, 11);
    for (uint64_t round = 0; round < 3000; round++) {
        float logits[200];
        size_t n = 1 + rng_below(&rng, 200);
        for (size_t i = 0; i < n; i++) {
            logits[i] = (float)rng_below(&rng, 400) / 16.0f; // some are equal
        }
        PickerSettings settings = {.temperature = 0.1 + (double)rng_below(&rng, 20) / 8,
                                   .top_k = (int64_t)rng_below(&rng, 3) * 7,
                                   .top_p = rng_below(&rng, 2) == 0 ? 1 : 0.83,
                                   .min_p = rng_below(&rng, 2) == 0 ? 0 : 0.07,
                                   .seed = round};
        double u = rng_at(round, 3, 5);
        CHECK_INT(picker_pick(&settings, logits, n, 3, 5, &scratch),
                  pick_plainly(&settings, logits, n, u));
        int32_t ids[8];
        float values[8];
        size_t k = n < 8 ? n : 8;
        int32_t token = (int32_t)rng_below(&rng, n);
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            sum += exp((double)logits[i]);
        }
        float of_token = picker_top(logits, n, token, k, ids, values);
        CHECK_NEAR(of_token, (double)logits[token] - log(sum), 2e-6);
        CHECK(of_token == picker_logprob(logits, n, token));
        PickerSettings best = {.temperature = 1, .top_k = 1, .top_p = 1};
        CHECK_INT(ids[0], pick_plainly(&best, logits, n, 0));
        for (size_t i = 0; i < k; i++) {
            CHECK_NEAR(values[i], (double)logits[ids[i]] - log(sum), 2e-6);
            CHECK(i == 0 || logits[ids[i]] < logits[ids[i - 1]] ||
                  (logits[ids[i]] == logits[ids[i - 1]] && ids[i] > ids[i - 1]));
        }
    }
    picker_scratch_finish(&scratch);
}

int main(void)
{
    tap_run("follows its rules", test_picker__follows_its_rules);
    tap_run("agrees with the plain way", test_picker__agrees_with_the_plain_way);
    return tap_done();
}
