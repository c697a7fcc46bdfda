// SPDX-License-Identifier: MIT
// Whole models on CUDA, through the engine's forward pass: teacher-forced along the CPU's tokens,
// log-probabilities within tolerance of the CPU's and the same most likely token wherever the CPU's
// lead is clear; and one set of bits for every way to cut the work. forward.c is compiled again for
// this program with k_cpu_ops replaced, so that `cpu` opens whichever table is put in.
#include "engine/forward.h"
#include "engine/gguf.h"

#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <stdlib.h>
#include <unistd.h>

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

/** A model's file, its logits scaled. */
static Str model_file(const TinyModel *model, float scale)
{
    const char *folder = getenv("TMPDIR");
    Str path = str_printf(&arena, "%s/test_cuda_forward_%d.gguf", folder != NULL ? folder : "/tmp",
                          (int)getpid());
    Err err = ERR_INIT;
    Buf bytes = {0};
    tiny_gguf_bytes(model, &bytes);
    Gguf *gguf = NULL;
    if (CHECK_OK(gguf_open_memory((const uint8_t *)bytes.data, bytes.len, &gguf, &err), &err)) {
        const GgufTensor *norm = gguf_tensor(gguf, STR("output_norm.weight"));
        char *at = bytes.data + ((const char *)norm->data - bytes.data);
        for (size_t i = 0; i < norm->dims[0]; i++) {
            float x;
            memcpy(&x, at + i * sizeof(x), sizeof(x));
            x *= scale;
            memcpy(at + i * sizeof(x), &x, sizeof(x));
        }
    }
    gguf_close(gguf);
    CHECK_OK(file_write_atomic(path, buf_view(&bytes), &err), &err);
    buf_finish(&bytes);
    return path;
}

static Forward *open_model(Str path, const KOps *ops, Precision precision)
{
    memcpy(&cuda_test_ops, ops, sizeof(*ops));
    EngineOptions options = {
        .model_path = path, .precision = precision, .threads = 1, .device = STR("cpu")};
    Forward *forward = NULL;
    Err err = ERR_INIT;
    if (!CHECK_OK(forward_open(&options, &forward, &err), &err)) {
        exit(1);
    }
    CHECK_OK(forward_pool_create(forward, 1024, &err), &err);
    return forward;
}

static int32_t *random_ids(uint64_t seed, size_t n)
{
    int32_t *ids = ARENA_ARRAY(&arena, int32_t, n);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(rng_at(seed, 7, i) * 256);
    }
    return ids;
}

/** Rows from .. to-1 of a path; logits of all of them. */
static void run_span(Forward *forward, const int32_t *ids, uint32_t from, uint32_t to,
                     const KvExtent *extents, uint32_t n_extents, float *out)
{
    uint32_t n = to - from;
    BatchRow *rows = ARENA_ARRAY(&arena, BatchRow, n);
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = (BatchRow){.token = ids[from + i], .kind = ROW_LOGITS, .out = i};
    }
    BatchSpan span = {.n_rows = n, .first_pos = from, .extents = extents, .n_extents = n_extents};
    Batch batch = {.rows = rows, .n_rows = n, .spans = &span, .n_spans = 1};
    Err err = ERR_INIT;
    CHECK_OK(forward_run(forward, &batch, out, NULL, &err), &err);
}

typedef struct Row {
    int32_t best;
    double gap;     // to the next
    double log_sum; // of exp
} Row;

static Row row_of(const float *logits, uint32_t vocab)
{
    Row row = {0, (double)INFINITY, 0};
    for (uint32_t t = 1; t < vocab; t++) {
        row.best = logits[t] > logits[row.best] ? (int32_t)t : row.best;
    }
    for (uint32_t t = 0; t < vocab; t++) {
        double behind = (double)logits[row.best] - (double)logits[t];
        row.gap = (int32_t)t != row.best && behind < row.gap ? behind : row.gap;
        row.log_sum += exp(-behind);
    }
    row.log_sum = (double)logits[row.best] + log(row.log_sum);
    return row;
}

typedef struct Model {
    int line;
    uint32_t type, embed_type;
    bool untied;
    uint32_t dim, ffn_dim, n_heads, n_kv_heads;
    float scale; // of the logits, so that most positions have a clear favourite
    Precision precision;
    double mean, most; // of |log-probability difference| of the next token
} Model;

static TinyModel tiny_of(const Model *m)
{
    TinyModel tiny = tiny_model_default();
    tiny.type = m->type;
    tiny.embed_type = m->embed_type;
    tiny.untied = m->untied;
    tiny.dim = m->dim;
    tiny.ffn_dim = m->ffn_dim;
    tiny.n_heads = m->n_heads;
    tiny.n_kv_heads = m->n_kv_heads;
    tiny.seed = m->ffn_dim * 64 + m->type;
    return tiny;
}

enum { PROMPTS = 3, PROMPT = 10, N = 26 };

/** The token that a row gives for a random number. */
static int32_t token_at(const float *logits, uint32_t vocab, double random)
{
    Row row = row_of(logits, vocab);
    for (uint32_t t = 0; t < vocab; t++) {
        random -= exp((double)logits[t] - row.log_sum);
        if (random < 0) {
            return (int32_t)t;
        }
    }
    return row.best;
}

/** Logits along a path that the CPU writes: a prompt, then what it picks at random. */
static float *cpu_path(Str path, const Model *m, uint64_t seed, int32_t *ids, uint32_t vocab)
{
    float *out = arena_alloc(&arena, N * (size_t)vocab, sizeof(float));
    KvExtent all = {.slot = 0, .n = N};
    Forward *forward = open_model(path, &k_cpu_ops, m->precision);
    run_span(forward, ids, 0, PROMPT, &all, 1, out);
    for (uint32_t i = PROMPT; i <= N; i++) {
        ids[i] = token_at(out + (i - 1) * (size_t)vocab, vocab, rng_at(seed, 8, i));
        if (i < N) {
            run_span(forward, ids, i, i + 1, &all, 1, out + i * (size_t)vocab);
        }
    }
    forward_close(forward);
    return out;
}

typedef struct Tally {
    double sum, most; // of |log-probability difference| of the CPU's next token
    uint32_t n, n_clear, n_same;
} Tally;

static void check_prompt(const Model *m, Str path, uint32_t vocab, uint64_t seed, Tally *tally)
{
    int32_t *ids = random_ids(seed, N + 1);
    const float *want = cpu_path(path, m, seed, ids, vocab);
    float *got = arena_alloc(&arena, N * (size_t)vocab, sizeof(float));
    KvExtent all = {.slot = 0, .n = N};
    Forward *forward = open_model(path, muster_cuda_ops(), m->precision);
    run_span(forward, ids, 0, N, &all, 1, got);
    forward_close(forward);
    for (uint32_t i = 0; i < N; i++, tally->n++) {
        Row a = row_of(want + (size_t)i * vocab, vocab), b = row_of(got + (size_t)i * vocab, vocab);
        size_t at = (size_t)i * vocab + (size_t)ids[i + 1];
        double d = fabs((double)want[at] - a.log_sum - ((double)got[at] - b.log_sum));
        tally->sum += d;
        tally->most = d > tally->most ? d : tally->most;
        tally->n_clear += a.gap > 2 * m->most;
        tally->n_same += a.gap > 2 * m->most && a.best == b.best;
    }
}

static void check_model(const Model *m)
{
    arena_reset(&arena);
    TinyModel tiny = tiny_of(m);
    Str path = model_file(&tiny, m->scale);
    Tally tally = {0};
    for (uint64_t p = 0; p < PROMPTS; p++) {
        check_prompt(m, path, tiny.vocab, tiny.seed + p, &tally);
    }
    printf("# line %d: mean %.2g nat, most %.2g; %u of %u clear\n", m->line, tally.sum / tally.n,
           tally.most, tally.n_clear, tally.n);
    CHECK(tally.sum / tally.n <= m->mean);
    CHECK(tally.most <= m->most);
    CHECK(tally.n_clear * 10 >= tally.n * 8);
    CHECK_INT(tally.n_same, tally.n_clear);
    unlink(path.data);
}

static void test_forward__follows_the_cpu(void)
{
    static const Model models[] = {
        {__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 64, 96, 4, 4, 0.5f, PRECISION_DEFAULT, 0.01, 0.05},
        {__LINE__, GGUF_Q4_0, GGUF_Q4_0, true, 128, 160, 8, 4, 0.5f, PRECISION_DEFAULT, 0.01, 0.05},
        {__LINE__, GGUF_Q8_0, GGUF_Q8_0, false, 96, 128, 6, 2, 0.5f, PRECISION_DEFAULT, 0.01, 0.05},
        {__LINE__, GGUF_F16, GGUF_F16, true, 64, 96, 2, 1, 0.5f, PRECISION_DEFAULT, 0.01, 0.05},
        {__LINE__, GGUF_BF16, GGUF_BF16, false, 64, 96, 4, 2, 0.7f, PRECISION_DEFAULT, 0.05, 0.25},
        {__LINE__, GGUF_Q4_1, GGUF_BF16, true, 64, 96, 4, 2, 1, PRECISION_F32, 1e-4, 1e-3},
    };
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        check_model(&models[i]);
    }
}

/** Whole, in pieces, token by token, in scattered slots and beside another path. */
static void check_cuts(const Model *m)
{
    enum { LONG = 290, TAIL = 6 };
    arena_reset(&arena);
    TinyModel tiny = tiny_of(m);
    Str path = model_file(&tiny, 1);
    const int32_t *ids = random_ids(tiny.seed, LONG);
    size_t vocab = tiny.vocab;
    float *whole = arena_alloc(&arena, LONG * vocab, sizeof(float));
    float *parts = arena_alloc(&arena, LONG * vocab, sizeof(float));
    Forward *forward = open_model(path, muster_cuda_ops(), m->precision);
    KvExtent all = {.slot = 3, .n = LONG};
    run_span(forward, ids, 0, LONG, &all, 1, whole);

    const KvExtent scattered[] = {{700, 100}, {400, 170}, {900, LONG - 270}};
    static const uint32_t cuts[] = {0, 1, 10, 50, 256, LONG - TAIL};
    for (size_t i = 0; i + 1 < sizeof(cuts) / sizeof(cuts[0]); i++) {
        run_span(forward, ids, cuts[i], cuts[i + 1], scattered, 3, parts + cuts[i] * vocab);
    }
    for (uint32_t i = LONG - TAIL; i < LONG; i++) {
        run_span(forward, ids, i, i + 1, scattered, 3, parts + i * vocab);
    }
    CHECK_INT(count_unequal(whole, parts, LONG * vocab), 0);

    // The last two rows of the path beside forty of another, which fills other kernels.
    BatchRow rows[42] = {{0}};
    const int32_t *others = random_ids(tiny.seed + 1, 40);
    for (uint32_t i = 0; i < 42; i++) {
        rows[i] = (BatchRow){.token = i < 40 ? others[i] : ids[LONG - 42 + i], .kind = ROW_KV};
    }
    rows[40].kind = rows[41].kind = ROW_LOGITS;
    rows[41].out = 1;
    KvExtent other = {.slot = 600, .n = 40};
    BatchSpan spans[] = {{0, 40, 0, &other, 1}, {40, 2, LONG - 2, scattered, 3}};
    Batch batch = {.rows = rows, .n_rows = 42, .spans = spans, .n_spans = 2};
    Err err = ERR_INIT;
    CHECK_OK(forward_run(forward, &batch, parts, NULL, &err), &err);
    CHECK_INT(count_unequal(whole + (LONG - 2) * vocab, parts, 2 * vocab), 0);
    forward_close(forward);
    unlink(path.data);
}

static void test_forward__cuts_do_not_matter(void)
{
    static const Model models[] = {
        {__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, 64, 96, 4, 2, 1, PRECISION_DEFAULT, 0, 0},
        {__LINE__, GGUF_BF16, GGUF_BF16, false, 32, 64, 2, 1, 1, PRECISION_DEFAULT, 0, 0},
    };
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        check_cuts(&models[i]);
    }
}

int main(void)
{
    (void)muster_cuda_ops(); // where it can not run, it is skipped here
    tap_run("models follow the CPU's", test_forward__follows_the_cpu);
    tap_run("how work is cut does not matter", test_forward__cuts_do_not_matter);
    arena_finish(&arena);
    return tap_done();
}
