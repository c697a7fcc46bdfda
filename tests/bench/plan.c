// SPDX-License-Identifier: MIT
// What planning and scheduling cost by themselves: the engine over a forward pass that computes
// nothing. For each shape of request set: time from token arrays to the finished plan, memory
// beyond the arrays, and the time between two forward passes while fewer and fewer requests wait.
//
//     plan [SHAPE [REQUESTS]]
//
// Each shape runs in a process of its own, so that peaks are its own.
#include "engine/engine.h"
#include "engine/forward.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VOCAB = 49152, LENGTH = 1000, BUCKETS = 10 };

// ---- A forward pass, a tokenizer that do nothing -----------------------------------------------

struct Forward {
    EngineModelInfo info;
    int64_t left_ns; // when the last pass ended
    // Time between passes, by the share of requests that had ended:
    int64_t between_ns[BUCKETS];
    uint64_t n_steps[BUCKETS];
    uint64_t n_rows;
};

struct Tokenizer {
    int unused;
};

static struct Forward the_forward = {.info = {.vocab = VOCAB, .context_tokens = 4096}};
static struct Tokenizer the_tokenizer;
static size_t n_requests;
static size_t n_done; // written by the driver; read by main after the wait

bool forward_open(const EngineOptions *options, Forward **out, Err *err)
{
    (void)options;
    (void)err;
    *out = &the_forward;
    return true;
}

void forward_close(Forward *forward)
{
    (void)forward;
}

const EngineModelInfo *forward_info(const Forward *forward)
{
    return &forward->info;
}

size_t forward_slot_bytes(const Forward *forward)
{
    (void)forward;
    return 23760; // the default model's
}

size_t forward_free_bytes(const Forward *forward)
{
    (void)forward;
    return SIZE_MAX;
}

uint32_t forward_max_rows(const Forward *forward)
{
    (void)forward;
    return 512;
}

uint32_t forward_batch_rows(const Forward *forward)
{
    (void)forward;
    return 64;
}

bool forward_pool_create(Forward *forward, uint32_t n_slots, Err *err)
{
    (void)forward;
    (void)n_slots;
    (void)err;
    return true;
}

bool forward_run(Forward *forward, const Batch *batch, float *out_logits,
                 TargetLogprob *out_logprobs, Err *err)
{
    (void)out_logits;
    (void)err;
    if (forward->left_ns > 0) {
        size_t bucket = n_done * BUCKETS / n_requests;
        bucket = bucket < BUCKETS ? bucket : BUCKETS - 1;
        forward->between_ns[bucket] += clock_ns() - forward->left_ns;
        forward->n_steps[bucket]++;
    }
    forward->n_rows += batch->n_rows;
    for (uint32_t i = 0; i < batch->n_rows; i++) {
        const BatchRow *row = &batch->rows[i];
        for (uint32_t k = 0; row->kind != ROW_KV && k < row->n_targets; k++) {
            out_logprobs[row->out + k] = (TargetLogprob){.logprob = -1, .argmax = 7};
        }
    }
    for (uint32_t i = 0; i < batch->n_picks; i++) {
        *batch->picks[i].out_id = 7;
    }
    forward->left_ns = clock_ns();
    return true;
}

bool tokenizer_open_gguf(Str path, Tokenizer **out, Err *err)
{
    (void)path;
    (void)err;
    *out = &the_tokenizer;
    return true;
}

void tokenizer_close(Tokenizer *tokenizer)
{
    (void)tokenizer;
}

size_t tokenizer_vocab(const Tokenizer *tokenizer)
{
    (void)tokenizer;
    return VOCAB;
}

bool tokenizer_is_end(const Tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer;
    return id == 0;
}

void tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t n, bool special,
                      Buf *buf)
{
    (void)tokenizer;
    (void)ids;
    (void)n;
    (void)special;
    buf_char(buf, 'x');
}

// ---- Request sets -----------------------------------------------------------------------------

typedef enum Shape {
    SHAPE_FEW_SHOT, // 900 tokens that all share, 100 of their own; a reply each
    SHAPE_RANDOM,   // nothing is shared; a reply each
    SHAPE_CHOICES,  // 57 parts with 700 tokens each; questions of 299; four scored choices
    SHAPE_EPOCHS,   // every prompt eight times, one of 100 shared system prompts before it
    SHAPE_TURNS,    // dialogues: prompts that go on where another one ended; scored texts beside
    SHAPE_COUNT,
} Shape;

static const char *const shape_names[SHAPE_COUNT] = {"few-shot", "random", "choices", "epochs",
                                                     "turns"};

static int32_t token_of(uint64_t stream, size_t i)
{
    return (int32_t)(rng_mix(stream * 1000003 + i) % VOCAB);
}

static void fill(int32_t *tokens, size_t from, size_t to, uint64_t stream)
{
    for (size_t i = from; i < to; i++) {
        tokens[i] = token_of(stream, i);
    }
}

/** The r-th sequence of a shape. Streams below 2^20 are shared, those above are own. */
static size_t sequence_make(Shape shape, size_t r, int32_t *tokens)
{
    uint64_t own = (UINT64_C(1) << 20) + r;
    size_t n = LENGTH;
    switch (shape) {
    case SHAPE_FEW_SHOT:
        fill(tokens, 0, 900, 1);
        fill(tokens, 900, n, own);
        break;
    case SHAPE_RANDOM:
        fill(tokens, 0, n, own);
        break;
    case SHAPE_CHOICES:
        fill(tokens, 0, 700, 1 + r / 4 % 57);
        fill(tokens, 700, n - 1, (UINT64_C(1) << 20) + r / 4);
        tokens[n - 1] = (int32_t)(10 + r % 4);
        break;
    case SHAPE_EPOCHS:
        fill(tokens, 0, 200, 1 + r / 8 % 100);
        fill(tokens, 200, n, (UINT64_C(1) << 20) + r / 8);
        break;
    case SHAPE_TURNS:
        n = 100 * (1 + r % 10); // ten prompts of a dialogue: 550 tokens on average
        fill(tokens, 0, n, (UINT64_C(1) << 20) + r / 10);
        break;
    case SHAPE_COUNT:
        break;
    }
    return n;
}

// ---- Measuring --------------------------------------------------------------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_done = PTHREAD_COND_INITIALIZER;
static size_t n_failed;

static void on_done(void *ctx, uint64_t id, const EngineResult *result)
{
    (void)ctx;
    (void)id;
    pthread_mutex_lock(&mutex);
    n_failed += result->err != NULL;
    n_done++;
    pthread_cond_signal(&all_done);
    pthread_mutex_unlock(&mutex);
}

static double peak_mb(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1000;
}

static double seconds_since(int64_t from_ns)
{
    return (double)(clock_ns() - from_ns) * 1e-9;
}

static void submit_all(Engine *engine, Shape shape, const int32_t *tokens, const size_t *lengths,
                       size_t n_sequences)
{
    size_t per_request = shape == SHAPE_CHOICES ? 4 : 1;
    for (size_t r = 0; r < n_sequences; r += per_request) {
        EngineLeaf leaves[4];
        EngineRequest request = {.prompt = tokens + r * LENGTH,
                                 .n_prompt = lengths[r],
                                 .max_tokens = 8,
                                 .n_replies = 1,
                                 .picker = {.top_p = 1}};
        if (shape == SHAPE_CHOICES) {
            for (size_t k = 0; k < 4; k++) {
                leaves[k] = (EngineLeaf){.tokens = tokens + (r + k) * LENGTH,
                                         .n_tokens = LENGTH,
                                         .n_context = LENGTH - 1};
            }
            request = (EngineRequest){.leaves = leaves, .n_leaves = 4};
        }
        Err err = ERR_INIT;
        if (!engine_submit(engine, r, &request, &err)) {
            abort();
        }
    }
}

static int shape_run(Shape shape, size_t n_sequences)
{
    int32_t *tokens = mem_alloc(n_sequences * LENGTH, sizeof(*tokens));
    size_t *lengths = mem_alloc(n_sequences, sizeof(*lengths));
    for (size_t r = 0; r < n_sequences; r++) {
        lengths[r] = sequence_make(shape, r, tokens + r * LENGTH);
    }
    n_requests = shape == SHAPE_CHOICES ? n_sequences / 4 : n_sequences;
    double before_mb = peak_mb();
    Engine *engine = NULL;
    Err err = ERR_INIT;
    EngineOptions options = {.kv_bytes = UINT64_C(2) << 30};
    if (!engine_open(&options, on_done, NULL, &engine, &err)) {
        return 1;
    }
    int64_t from_ns = clock_ns();
    submit_all(engine, shape, tokens, lengths, n_sequences);
    double submit_s = seconds_since(from_ns);
    engine_quiesce(engine, true);
    pthread_mutex_lock(&mutex);
    while (n_done == 0) {
        pthread_cond_wait(&all_done, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    EngineStats stats;
    engine_stats(engine, &stats);
    double planned_mb = peak_mb();
    printf("%-9s %7zu sequences, %6.1f M tokens, %6.1f M distinct: submit %.2f s, plan %.2f s; "
           "peak %.0f MB, %.0f of it arrays\n",
           shape_names[shape], n_sequences, (double)stats.plan.tokens * 1e-6,
           (double)stats.plan.distinct * 1e-6, submit_s, stats.plan.seconds, planned_mb, before_mb);
    fflush(stdout);
    pthread_mutex_lock(&mutex);
    while (n_done < n_requests) {
        pthread_cond_wait(&all_done, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    engine_stats(engine, &stats);
    printf("%-9s computed / needed %.4f, %zu failed; us between passes by tenth of requests ended:",
           shape_names[shape],
           (double)stats.prefill_tokens_computed / (double)stats.prefill_tokens_needed, n_failed);
    for (size_t b = 0; b < BUCKETS; b++) {
        uint64_t n = the_forward.n_steps[b];
        printf(" %.0f", n > 0 ? (double)the_forward.between_ns[b] / (double)n / 1000 : 0);
    }
    printf("; rows a pass %.0f\n", (double)the_forward.n_rows / (double)stats.steps);
    fflush(stdout);
    engine_close(engine);
    mem_free(lengths);
    mem_free(tokens);
    return n_failed > 0;
}

int main(int argc, char **argv)
{
    int failed = 0;
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
    for (Shape shape = 0; shape < SHAPE_COUNT; shape++) {
        if (argc > 1 && strcmp(argv[1], shape_names[shape]) != 0) {
            continue;
        }
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            exit(shape_run(shape, n < 4 ? 4 : n));
        }
        int status = 0;
        waitpid(child, &status, 0);
        failed |= status;
    }
    return failed != 0;
}
