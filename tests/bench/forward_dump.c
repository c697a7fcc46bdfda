// SPDX-License-Identifier: MIT
// Runs the forward pass on token sequences and prints what forward_reference.py compares, or times
// it.
//   forward_dump MODEL [f32] [threads=N] < CASES     JSON: log-likelihoods, and logits where asked
//   forward_dump MODEL [f32] [threads=N] speed [context=N] [sequences=N]
//   forward_dump MODEL [f32] [threads=N] serve      tokens/s for each line of stdin, as engine.py
//   asks:
//                                      "prefill N" or "decode SEQUENCES CONTEXT STEPS"
// CASES: one line each, "N_CONTEXT LOGITS ID ID ...": tokens from N_CONTEXT on are scored; LOGITS 1
// prints the logits at the last token too.
#include "engine/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CASE_MAX 8192

static Forward *forward;
static int64_t vocab;

static void check(bool ok, const Err *err)
{
    if (!ok) {
        fprintf(stderr, "error: %s [%s]\n", err->message, err_code_word(err->code));
        exit(1);
    }
}

/** Rows 0 .. n-1 at positions from `first` on, in slots of the same numbers. */
static void run_rows(BatchRow *rows, uint32_t n, uint32_t first, float *logits, TargetLogprob *out)
{
    Err err = ERR_INIT;
    KvExtent extent = {.slot = 0, .n = first + n};
    BatchSpan span = {.n_rows = n, .first_pos = first, .extents = &extent, .n_extents = 1};
    Batch batch = {.rows = rows, .n_rows = n, .spans = &span, .n_spans = 1};
    check(forward_run(forward, &batch, logits, out, &err), &err);
}

static void score_case(const int32_t *ids, uint32_t n, uint32_t n_context, bool want_logits)
{
    static TargetLogprob results[CASE_MAX];
    static BatchRow rows[CASE_MAX];
    float *logits = mem_zalloc((size_t)vocab, sizeof(float));
    uint32_t n_rows = want_logits ? n : n - 1, piece = forward_max_rows(forward);
    for (uint32_t i = 0; i < n_rows; i++) {
        bool scored = i + 1 >= n_context && i + 1 < n;
        rows[i] = (BatchRow){.token = ids[i],
                             .kind = scored       ? ROW_RESULTS
                                     : i + 1 == n ? ROW_LOGITS
                                                  : ROW_KV,
                             .n_targets = scored ? 1 : 0,
                             .targets = ids + i + 1,
                             .out = scored ? i : 0};
    }
    for (uint32_t from = 0; from < n_rows; from += piece) {
        run_rows(rows + from, n_rows - from < piece ? n_rows - from : piece, from, logits, results);
    }
    double sum = 0;
    for (uint32_t i = n_context - 1; i + 1 < n; i++) {
        sum += (double)results[i].logprob;
    }
    printf("{\"logprob\": %.9g", sum);
    if (want_logits) {
        printf(", \"logits\": [");
        for (int64_t t = 0; t < vocab; t++) {
            printf("%s%.9g", t > 0 ? ", " : "", (double)logits[t]);
        }
        printf("]");
    }
    printf("}");
    mem_free(logits);
}

static void run_cases(void)
{
    static char line[CASE_MAX * 8];
    static int32_t ids[CASE_MAX];
    printf("[");
    for (int n_cases = 0; fgets(line, sizeof(line), stdin) != NULL; n_cases++) {
        char *at = line;
        uint32_t n_context = (uint32_t)strtoul(at, &at, 10), n = 0;
        bool want_logits = strtoul(at, &at, 10) != 0;
        for (char *end; n < CASE_MAX; at = end) {
            long id = strtol(at, &end, 10);
            if (end == at) {
                break;
            }
            ids[n++] = (int32_t)id;
        }
        printf("%s", n_cases > 0 ? ",\n" : "");
        score_case(ids, n, n_context, want_logits);
    }
    printf("]\n");
}

static double seconds_since(int64_t start)
{
    return (double)(clock_ns() - start) * 1e-9;
}

/** Processor time of all threads: on a busy machine, what one thread needs without the waiting. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/** Prefill of `context` tokens, then decode steps of some sequences that share it. */
static void run_speed(uint32_t context, uint32_t n_sequences)
{
    enum { STEPS = 32, ROUNDS = 4, SEQUENCES_MAX = 64 };
    static BatchRow rows[CASE_MAX];
    static BatchSpan spans[SEQUENCES_MAX];
    static KvExtent extents[SEQUENCES_MAX][2];
    float *logits = mem_zalloc((size_t)vocab * SEQUENCES_MAX, sizeof(float));
    Err err = ERR_INIT;
    uint32_t piece = forward_max_rows(forward);
    for (uint32_t i = 0; i < context; i++) {
        rows[i] = (BatchRow){.token = (int32_t)(rng_mix(i) % (uint64_t)vocab), .kind = ROW_KV};
    }
    double best = 1e9, best_cpu = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = clock_ns();
        double cpu = cpu_seconds();
        for (uint32_t from = 0; from < context; from += piece) {
            run_rows(rows + from, context - from < piece ? context - from : piece, from, logits,
                     NULL);
        }
        check(forward_wait(forward, &err), &err);
        double s = seconds_since(start);
        cpu = cpu_seconds() - cpu;
        best = s < best ? s : best;
        best_cpu = cpu < best_cpu ? cpu : best_cpu;
    }
    printf("prefill %u: %.0f tok/s, %.0f tok/cpu-s\n", context, context / best, context / best_cpu);
    best = best_cpu = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = clock_ns();
        double cpu = cpu_seconds();
        for (uint32_t step = 0; step < STEPS; step++) {
            for (uint32_t s = 0; s < n_sequences; s++) {
                rows[s] =
                    (BatchRow){.token = (int32_t)(s + step + 100), .kind = ROW_LOGITS, .out = s};
                extents[s][0] = (KvExtent){0, context};
                extents[s][1] = (KvExtent){context + s * STEPS, step + 1};
                spans[s] = (BatchSpan){.first_row = s,
                                       .n_rows = 1,
                                       .first_pos = context + step,
                                       .extents = extents[s],
                                       .n_extents = 2};
            }
            Batch batch = {
                .rows = rows, .n_rows = n_sequences, .spans = spans, .n_spans = n_sequences};
            check(forward_run(forward, &batch, logits, NULL, &err), &err);
        }
        check(forward_wait(forward, &err), &err);
        double s = seconds_since(start);
        cpu = cpu_seconds() - cpu;
        best = s < best ? s : best;
        best_cpu = cpu < best_cpu ? cpu : best_cpu;
    }
    printf("decode of %u at %u: %.0f tok/s, %.0f tok/cpu-s\n", n_sequences, context,
           n_sequences * STEPS / best, n_sequences * STEPS / best_cpu);
    mem_free(logits);
}

static double serve_prefill(uint32_t n, float *logits)
{
    static BatchRow rows[CASE_MAX];
    uint32_t piece = forward_max_rows(forward);
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = (BatchRow){.token = (int32_t)(rng_mix(i) % (uint64_t)vocab),
                             .kind = i + 1 == n ? ROW_LOGITS : ROW_KV};
    }
    int64_t start = clock_ns();
    for (uint32_t from = 0; from < n; from += piece) {
        run_rows(rows + from, n - from < piece ? n - from : piece, from, logits, NULL);
    }
    return n / seconds_since(start);
}

/** Replies that share nothing, each after a context of its own. */
static double serve_decode(uint32_t n_sequences, uint32_t context, uint32_t n_steps, float *logits)
{
    static BatchRow rows[CASE_MAX];
    static BatchSpan spans[CASE_MAX];
    static KvExtent extents[CASE_MAX];
    Err err = ERR_INIT;
    uint32_t stride = context + n_steps;
    int64_t start = 0;
    for (uint32_t step = 0; step <= n_steps; step++) { // step 0 computes the contexts
        uint32_t n_rows = step == 0 ? context : 1, n = 0;
        for (uint32_t s = 0; s < n_sequences; s++) {
            uint32_t first_pos = step == 0 ? 0 : context + step - 1;
            extents[s] = (KvExtent){.slot = s * stride, .n = first_pos + n_rows};
            spans[s] = (BatchSpan){.first_row = n,
                                   .n_rows = n_rows,
                                   .first_pos = first_pos,
                                   .extents = &extents[s],
                                   .n_extents = 1};
            for (uint32_t i = 0; i < n_rows; i++) {
                rows[n++] = (BatchRow){
                    .token = (int32_t)(rng_mix((first_pos + i) * 64 + s) % (uint64_t)vocab),
                    .kind = step == 0 ? ROW_KV : ROW_LOGITS,
                    .out = s};
            }
            if (step == 0) { // one at a time: together they may be more rows than a batch has
                Batch batch = {.rows = rows, .n_rows = n, .spans = &spans[s], .n_spans = 1};
                check(forward_run(forward, &batch, logits, NULL, &err), &err);
                n = 0;
            }
        }
        if (step > 0) {
            Batch batch = {.rows = rows, .n_rows = n, .spans = spans, .n_spans = n_sequences};
            check(forward_run(forward, &batch, logits, NULL, &err), &err);
        } else {
            check(forward_wait(forward, &err), &err);
            start = clock_ns();
        }
    }
    return n_sequences * n_steps / seconds_since(start);
}

static void serve(void)
{
    float *logits = mem_zalloc((size_t)vocab * 64, sizeof(float));
    char line[256];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        unsigned n, context, n_steps;
        if (sscanf(line, "prefill %u", &n) == 1 && n > 0 && n <= CASE_MAX) {
            printf("%.2f\n", serve_prefill(n, logits));
        } else if (sscanf(line, "decode %u %u %u", &n, &context, &n_steps) == 3 && n > 0 &&
                   n <= 64 && context > 0 && context <= forward_max_rows(forward) && n_steps > 0 &&
                   n * (context + n_steps) <= CASE_MAX) {
            printf("%.2f\n", serve_decode(n, context, n_steps, logits));
        } else {
            fprintf(stderr, "error: not a request: %s", line);
            exit(2);
        }
        fflush(stdout);
    }
    mem_free(logits);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: forward_dump MODEL [f32] [threads=N] [serve | speed [context=N] "
                        "[sequences=N]]\n");
        return 2;
    }
    EngineOptions options = {.model_path = str_from_c(argv[1]), .device = STR("cpu")};
    bool speed = false, serving = false;
    unsigned context = 512, sequences = 1;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "f32") == 0) {
            options.precision = PRECISION_F32;
        } else if (strcmp(argv[i], "speed") == 0) {
            speed = true;
        } else if (strcmp(argv[i], "serve") == 0) {
            serving = true;
        } else if (sscanf(argv[i], "threads=%d", &options.threads) != 1 &&
                   sscanf(argv[i], "context=%u", &context) != 1 &&
                   sscanf(argv[i], "sequences=%u", &sequences) != 1) {
            fprintf(stderr, "error: unknown argument '%s'\n", argv[i]);
            return 2;
        }
    }
    Err err = ERR_INIT;
    int64_t start = clock_ns();
    check(forward_open(&options, &forward, &err), &err);
    double open_seconds = seconds_since(start);
    vocab = forward_info(forward)->vocab;
    check(forward_pool_create(forward, CASE_MAX + 4096, &err), &err);
    if (serving) {
        printf("{\"weight_bytes\": %llu, \"weights_type\": \"" STR_FMT "\"}\n",
               (unsigned long long)forward_info(forward)->weight_bytes,
               STR_ARG(forward_info(forward)->weights_type));
        fflush(stdout);
        serve();
    } else if (speed) {
        printf("open %.3f s, hash %.3f s\n", open_seconds, seconds_since(start));
        run_speed(context < CASE_MAX ? context : CASE_MAX, sequences < 64 ? sequences : 64);
    } else {
        run_cases();
    }
    forward_close(forward);
    return 0;
}
