// SPDX-License-Identifier: MIT
// The forward pass against the naive one in double, and the promise that a row's bits depend on its
// path alone: not on the batch, the slots, the pieces, the threads or the instruction set.
#include "engine/forward.h"
#include "engine/gguf.h"

#include "../tap.h"
#include "test_forward_naive.h"
#include "tiny_gguf.h"

#include <stdlib.h>
#include <unistd.h>

#define LONG 530 // tokens: three attention chunks

static Arena arena;

static Str model_file(const TinyModel *model)
{
    const char *folder = getenv("TMPDIR");
    Str path =
        str_printf(&arena, "%s/test_forward_%d.gguf", folder != NULL ? folder : "/tmp", getpid());
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(model, path, &err), &err);
    return path;
}

static Forward *open_model(Str path, Precision precision, int threads, const char *cpu)
{
    EngineOptions options = {.model_path = path, .precision = precision, .threads = threads};
    Forward *forward = NULL;
    Err err = ERR_INIT;
    if (cpu != NULL) {
        setenv("MUSTER_CPU", cpu, 1);
    } else {
        unsetenv("MUSTER_CPU");
    }
    if (!forward_open(&options, &forward, &err)) {
        if (err.code != ERR_ENVIRONMENT) {
            CHECK_OK(false, &err);
        }
        return NULL; // this processor lacks the instructions
    }
    CHECK_OK(forward_pool_create(forward, 4096, &err), &err);
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

/** Run rows [from, to) of a path whose slots the extents give; logits of all of them to out. */
static void run_span(Forward *forward, const int32_t *ids, uint32_t from, uint32_t to,
                     const KvExtent *extents, uint32_t n_extents, float *out)
{
    size_t vocab = (size_t)forward_info(forward)->vocab;
    Err err = ERR_INIT;
    for (uint32_t n; from < to; from += n, out += n * vocab) {
        n = to - from < forward_max_rows(forward) ? to - from : forward_max_rows(forward);
        BatchRow *rows = ARENA_ARRAY(&arena, BatchRow, n);
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = (BatchRow){.token = ids[from + i], .kind = ROW_LOGITS, .out = i};
        }
        BatchSpan span = {
            .n_rows = n, .first_pos = from, .extents = extents, .n_extents = n_extents};
        Batch batch = {.rows = rows, .n_rows = n, .spans = &span, .n_spans = 1};
        CHECK_OK(forward_run(forward, &batch, out, NULL, &err), &err);
    }
}

static float *logits_of(Forward *forward, const int32_t *ids, uint32_t n)
{
    float *out = arena_alloc(&arena, n * (size_t)forward_info(forward)->vocab, sizeof(float));
    KvExtent all = {.slot = 0, .n = n};
    run_span(forward, ids, 0, n, &all, 1, out);
    return out;
}

// ---- Right ------------------------------------------------------------------------------------

/** Root mean square of the differences over that of the logits. */
static double relative_difference(const TinyModel *model, Precision precision, uint32_t n)
{
    Str path = model_file(model);
    Forward *forward = open_model(path, precision, 2, NULL);
    Naive *naive = naive_open(path);
    const int32_t *ids = random_ids(model->seed, n);
    const float *got = logits_of(forward, ids, n);
    double *want = ARENA_ARRAY(&arena, double, (size_t)n * model->vocab), errors = 0, squares = 0;
    naive_logits(naive, ids, n, want);
    for (size_t i = 0; i < (size_t)n * model->vocab; i++) {
        errors += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        squares += want[i] * want[i];
    }
    naive_close(naive);
    forward_close(forward);
    unlink(path.data);
    return sqrt(errors / squares);
}

static void test_forward__agrees_with_the_naive_one(void)
{
    static const struct {
        int line;
        uint32_t type, embed_type;
        bool untied, rope_freqs;
        uint32_t dim, ffn_dim, n_heads, n_kv_heads, head_dim, vocab, n;
        double tolerance, tolerance_f32;
    } cases[] = {
        {__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, false, 96, 160, 6, 2, 0, 320, 40, 2e-4, 2e-6},
        {__LINE__, GGUF_Q4_0, GGUF_Q4_0, false, true, 64, 96, 4, 4, 0, 261, 40, 2e-4, 2e-6},
        {__LINE__, GGUF_Q8_0, GGUF_F16, true, false, 96, 128, 3, 1, 0, 300, 40, 2e-4, 2e-6},
        {__LINE__, GGUF_Q4_1, GGUF_Q8_0, false, false, 64, 96, 2, 1, 96, 320, LONG, 2e-4, 2e-6},
        // No size is a multiple of anything; key_length is not dim / n_heads.
        {__LINE__, GGUF_F32, GGUF_F32, true, true, 50, 77, 3, 1, 18, 277, 40, 2e-4, 2e-6},
        {__LINE__, GGUF_F16, GGUF_BF16, true, false, 40, 33, 2, 2, 0, 263, 40, 2e-4, 2e-6},
        {__LINE__, GGUF_BF16, GGUF_F32, false, false, 72, 100, 12, 3, 0, 275, 40, 2e-4, 2e-6},
        // 64 heads share one: more queries than an attention piece holds.
        {__LINE__, GGUF_Q8_0, GGUF_Q8_0, false, false, 64, 64, 64, 1, 2, 260, 20, 2e-4, 2e-6},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        TinyModel model = tiny_model_default();
        model.type = cases[i].type;
        model.embed_type = cases[i].embed_type;
        model.untied = cases[i].untied;
        model.rope_freqs = cases[i].rope_freqs;
        model.dim = cases[i].dim;
        model.ffn_dim = cases[i].ffn_dim;
        model.n_heads = cases[i].n_heads;
        model.n_kv_heads = cases[i].n_kv_heads;
        model.head_dim = cases[i].head_dim;
        model.vocab = cases[i].vocab;
        model.seed = i + 10;
        double fixed = relative_difference(&model, PRECISION_DEFAULT, cases[i].n);
        double f32 = relative_difference(&model, PRECISION_F32, cases[i].n);
        printf("# line %d: default %.2g, f32 %.2g\n", cases[i].line, fixed, f32);
        CHECK(fixed <= cases[i].tolerance);
        CHECK(f32 <= cases[i].tolerance_f32);
    }
}

static void test_forward__logprobs_are_of_the_softmax(void)
{
    TinyModel model = tiny_model_default();
    Str path = model_file(&model);
    Forward *forward = open_model(path, PRECISION_DEFAULT, 2, NULL);
    enum { N = 9 };
    const int32_t *ids = random_ids(3, N);
    const float *logits = logits_of(forward, ids, N);
    int32_t targets[3] = {0, 319, 65};
    TargetLogprob got[3 + N] = {{0}};
    BatchRow rows[N] = {{0}};
    for (uint32_t i = 0; i < N; i++) {
        rows[i] = (BatchRow){.token = ids[i], .kind = ROW_KV};
    }
    rows[4] = (BatchRow){ids[4], ROW_RESULTS, 3, targets, 0, 0};
    rows[7] = (BatchRow){ids[7], ROW_RESULTS, 1, targets + 2, 3, 0};
    KvExtent all = {100, N};
    BatchSpan span = {0, N, 0, &all, 1};
    Batch batch = {rows, N, &span, 1, NULL, 0};
    Err err = ERR_INIT;
    CHECK_OK(forward_run(forward, &batch, NULL, got, &err), &err);
    static const uint32_t result_rows[4] = {4, 4, 4, 7};
    for (size_t i = 0; i < 4; i++) {
        const float *row = logits + result_rows[i] * model.vocab;
        double sum = 0;
        int32_t best = 0;
        for (uint32_t t = 0; t < model.vocab; t++) {
            sum += exp((double)row[t]);
            best = row[t] > row[best] ? (int32_t)t : best;
        }
        CHECK_NEAR(got[i].logprob, (double)row[targets[i < 3 ? i : 2]] - log(sum), 1e-5);
        CHECK_INT(got[i].argmax, best);
    }
    // A row can give its logits as well, and other rows of the same batch nothing else.
    TargetLogprob both[4] = {{0}};
    float *picked = mem_zalloc(model.vocab, sizeof(float));
    rows[4] = (BatchRow){ids[4], ROW_LOGITS, 3, targets, 0, 0};
    CHECK_OK(forward_run(forward, &batch, picked, both, &err), &err);
    CHECK(memcmp(picked, logits + 4 * model.vocab, model.vocab * sizeof(float)) == 0);
    CHECK(memcmp(both, got, sizeof(both)) == 0);
    mem_free(picked);
    forward_close(forward);
    unlink(path.data);
}

/** More rows than there are rows of logits at once, some with several picks, some with none. */
static void test_forward__picks_are_of_their_rows(void)
{
    TinyModel model = tiny_model_default();
    Str path = model_file(&model);
    Forward *forward = open_model(path, PRECISION_DEFAULT, 2, NULL);
    enum { N = 200 };
    const int32_t *ids = random_ids(5, N);
    const float *logits = logits_of(forward, ids, N);
    BatchRow rows[N] = {{0}};
    KPick picks[3 * N];
    int32_t got[3 * N], target = 7;
    float logprobs[3 * N];
    TargetLogprob scored = {0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < N; i++) {
        rows[i] = (BatchRow){.token = ids[i], .kind = i % 5 == 0 ? ROW_KV : ROW_RESULTS};
        for (uint32_t k = 0; k < i % 5 && k < 3; k++, n++) {
            picks[n] = (KPick){.row = i, .out_id = &got[n], .out_logprob = &logprobs[n]};
            got[n] = -1;
        }
    }
    rows[150].kind = ROW_RESULTS; // a target and no pick
    rows[150].n_targets = 1;
    rows[150].targets = &target;
    KvExtent all = {100, N};
    BatchSpan span = {0, N, 0, &all, 1};
    Batch batch = {rows, N, &span, 1, picks, n};
    Err err = ERR_INIT;
    CHECK_OK(forward_run(forward, &batch, NULL, &scored, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        const float *row = logits + picks[i].row * model.vocab;
        double sum = 0;
        int32_t best = 0;
        for (uint32_t t = 0; t < model.vocab; t++) {
            sum += exp((double)row[t]);
            best = row[t] > row[best] ? (int32_t)t : best;
        }
        CHECK_INT(got[i], best);
        CHECK_NEAR(logprobs[i], (double)row[best] - log(sum), 1e-6);
    }
    CHECK(scored.logprob < 0);
    forward_close(forward);
    unlink(path.data);
}

// ---- The same bits ----------------------------------------------------------------------------

static void check_rows(const float *got, const float *want, uint32_t from, uint32_t to,
                       size_t vocab, int line)
{
    if (memcmp(got, want + from * vocab, (to - from) * vocab * sizeof(float)) != 0) {
        printf("# line %d: rows %u to %u differ\n", line, from, to);
        CHECK(false);
    }
}

/** Everything below compares with these logits: one thread, the whole path in one go. */
typedef struct Same {
    Str path;
    Precision precision;
    const int32_t *ids;
    const float *want;
    size_t vocab;
} Same;

/** Fragments of 1 to 40 slots, the lower numbers last. */
static uint32_t scattered(KvExtent *extents, uint32_t n)
{
    uint32_t count = 0, slot = 4000;
    for (uint32_t at = 0; at < n; count++) {
        uint32_t len = (uint32_t)(rng_at(5, 1, count) * 40) + 1;
        len = len < n - at ? len : n - at;
        slot -= len + count % 3;
        extents[count] = (KvExtent){slot, len};
        at += len;
    }
    return count;
}

static void check_pieces(const Same *same, Forward *forward)
{
    static const uint32_t cuts[][4] = {
        {0, 1, LONG, LONG}, {0, 255, 257, LONG}, {0, 100, 512, LONG}};
    KvExtent extents[LONG];
    uint32_t n_extents = scattered(extents, LONG);
    float *got = arena_alloc(&arena, LONG * same->vocab, sizeof(float));
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        for (size_t p = 0; p < 3; p++) {
            run_span(forward, same->ids, cuts[i][p], cuts[i][p + 1], extents, n_extents, got);
            check_rows(got, same->want, cuts[i][p], cuts[i][p + 1], same->vocab, __LINE__);
        }
    }
    for (uint32_t pos = 0; pos < LONG; pos++) { // decode, token by token, over the same slots
        bool shown = pos % 37 == 0 || pos > LONG - 20;
        if (shown) {
            run_span(forward, same->ids, pos, pos + 1, extents, n_extents, got);
            check_rows(got, same->want, pos, pos + 1, same->vocab, __LINE__);
        }
    }
}

/** n sequences in one batch: the same first `shared` slots, then one row each (and a parent's last
 * 3 rows in the same batch as its children). */
static void check_company(const Same *same, Forward *forward, uint32_t n, uint32_t shared)
{
    float *got = arena_alloc(&arena, (n + 3) * same->vocab, sizeof(float));
    KvExtent prefix = {17, shared};
    run_span(forward, same->ids, 0, shared - 3, &prefix, 1,
             arena_alloc(&arena, shared * same->vocab, 4));
    BatchRow *rows = ARENA_ARRAY(&arena, BatchRow, n + 3);
    BatchSpan *spans = ARENA_ARRAY(&arena, BatchSpan, n + 1);
    KvExtent(*extents)[2] = arena_alloc(&arena, n, sizeof(*extents));
    Err err = ERR_INIT;
    for (uint32_t i = 0; i < n; i++) { // sequence 0 goes on as the path does, the others otherwise
        int32_t token = i == 0 ? same->ids[shared] : (int32_t)i;
        rows[i] = (BatchRow){.token = token, .kind = ROW_LOGITS, .out = i};
        extents[i][0] = prefix;
        extents[i][1] = (KvExtent){2000 + 5 * i, 1};
        spans[i] = (BatchSpan){i, 1, shared, extents[i], 2};
    }
    for (uint32_t i = 0; i < 3; i++) {
        rows[n + i] = (BatchRow){same->ids[shared - 3 + i], ROW_LOGITS, 0, NULL, n + i, 0};
    }
    spans[n] = (BatchSpan){n, 3, shared - 3, &prefix, 1};
    Batch batch = {rows, n + 3, spans, n + 1, NULL, 0};
    CHECK_OK(forward_run(forward, &batch, got, NULL, &err), &err);
    check_rows(got, same->want, shared, shared + 1, same->vocab, __LINE__);
    check_rows(got + n * same->vocab, same->want, shared - 3, shared, same->vocab, __LINE__);
}

/** Rows of which nothing is wanted leave the last layer early; the wanted ones must not notice. */
static void check_wanted(const Same *same, Forward *forward)
{
    enum { N = 300 };
    BatchRow rows[N];
    for (uint32_t i = 0; i < N; i++) {
        rows[i] = (BatchRow){same->ids[i], i == 299 ? ROW_LOGITS : ROW_KV, 0, NULL, 0, 0};
    }
    float *got = arena_alloc(&arena, same->vocab, sizeof(float));
    KvExtent all = {3, N};
    BatchSpan span = {0, N, 0, &all, 1};
    Batch batch = {rows, N, &span, 1, NULL, 0};
    Err err = ERR_INIT;
    CHECK_OK(forward_run(forward, &batch, got, NULL, &err), &err);
    check_rows(got, same->want, 299, 300, same->vocab, __LINE__);
}

static void check_same_bits(uint32_t type, Precision precision)
{
    TinyModel model = tiny_model_default();
    model.type = type;
    model.embed_type = type == GGUF_F16 ? GGUF_BF16 : GGUF_Q8_0;
    Same same = {.path = model_file(&model), .precision = precision, .vocab = model.vocab};
    same.ids = random_ids(4, LONG + 1);
    Forward *alone = open_model(same.path, precision, 1, NULL);
    same.want = logits_of(alone, same.ids, LONG + 1);
    forward_close(alone);
    static const struct {
        int threads;
        const char *cpu;
    } ways[] = {{2, NULL}, {1, "portable"}, {3, "avx2"}, {2, "avx512"}};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        Forward *forward = open_model(same.path, precision, ways[i].threads, ways[i].cpu);
        if (forward == NULL) {
            printf("# not on this processor: %s\n", ways[i].cpu);
            continue;
        }
        check_rows(logits_of(forward, same.ids, LONG), same.want, 0, LONG, same.vocab, __LINE__);
        check_pieces(&same, forward);
        check_company(&same, forward, 1, 40);
        check_company(&same, forward, 7, 300);
        check_company(&same, forward, 64, 256);
        check_wanted(&same, forward);
        forward_close(forward);
    }
    unlink(same.path.data);
}

static void test_forward__bits_of_q4_1(void)
{
    check_same_bits(GGUF_Q4_1, PRECISION_DEFAULT);
}

static void test_forward__bits_of_q4_0(void)
{
    check_same_bits(GGUF_Q4_0, PRECISION_DEFAULT);
}

static void test_forward__bits_of_q8_0(void)
{
    check_same_bits(GGUF_Q8_0, PRECISION_DEFAULT);
}

static void test_forward__bits_of_f16(void)
{
    check_same_bits(GGUF_F16, PRECISION_DEFAULT);
}

static void test_forward__bits_of_f32_precision(void)
{
    check_same_bits(GGUF_Q4_1, PRECISION_F32);
}

// ---- Limits -----------------------------------------------------------------------------------

static void test_forward__says_that_a_logit_is_no_number(void)
{
    TinyModel model = tiny_model_default();
    model.poison = NAN;
    Str path = model_file(&model);
    Forward *forward = open_model(path, PRECISION_DEFAULT, 1, NULL);
    int32_t target = 1;
    TargetLogprob out;
    KvExtent slot = {0, 1};
    BatchSpan span = {0, 1, 0, &slot, 1};
    int32_t id;
    const KPick pick = {.row = 0, .out_id = &id};
    for (uint32_t picks = 0; picks <= 1; picks++) {
        BatchRow row = {5, ROW_RESULTS, 1 - picks, &target, 0, 0};
        Batch batch = {&row, 1, &span, 1, &pick, picks};
        Err err = ERR_INIT;
        CHECK(!forward_run(forward, &batch, NULL, &out, &err));
        CHECK_INT(err.code, ERR_MODEL);
    }
    forward_close(forward);
    unlink(path.data);
}

static void test_forward__tells_of_its_model(void)
{
    TinyModel model = tiny_model_default();
    Str path = model_file(&model);
    Forward *forward = open_model(path, PRECISION_DEFAULT, 1, NULL);
    const EngineModelInfo *info = forward_info(forward);
    Hash hash;
    Err err = ERR_INIT;
    CHECK_OK(file_sha256(path, &hash, &err), &err);
    CHECK(hash_eq(&hash, &info->file_hash));
    CHECK_STR(info->architecture, STR("llama"));
    CHECK_STR(info->weights_type, STR("Q4_1"));
    CHECK_INT(info->vocab, 320);
    CHECK_INT(info->context_tokens, 8192);
    // 2 layers x 2 KV heads x (16 keys + 16 values) x 2 bytes + 2 scales x 4 bytes
    CHECK_INT(forward_slot_bytes(forward), 2 * 2 * (32 * 2 + 8));
    CHECK(!forward_pool_create(forward, 0, &err));
    forward_close(forward);
    unlink(path.data);
}

int main(void)
{
    tap_run("agrees with the naive one", test_forward__agrees_with_the_naive_one);
    tap_run("logprobs are of the softmax", test_forward__logprobs_are_of_the_softmax);
    tap_run("picks are of their rows", test_forward__picks_are_of_their_rows);
    tap_run("the same bits: Q4_1", test_forward__bits_of_q4_1);
    tap_run("the same bits: Q4_0", test_forward__bits_of_q4_0);
    tap_run("the same bits: Q8_0", test_forward__bits_of_q8_0);
    tap_run("the same bits: F16", test_forward__bits_of_f16);
    tap_run("the same bits: f32 precision", test_forward__bits_of_f32_precision);
    tap_run("says that a logit is no number", test_forward__says_that_a_logit_is_no_number);
    tap_run("tells of its model", test_forward__tells_of_its_model);
    arena_finish(&arena);
    return tap_done();
}
