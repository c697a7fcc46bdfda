// SPDX-License-Identifier: MIT
// Steps of decoding that come again: replayed as graphs they give the bits that they give one by
// one, whether the batch shrinks, contexts cross into the next chunk or lists outgrow their memory;
// and whatever fails in one is an error or is done without, and leaves nothing behind.
//
// test_step short: one model, and some of what can fail.
#include "engine/forward.h"
#include "engine/gguf.h"
#include "kernels/emulate/control.h"

#include "../engine/tiny_gguf.h"
#include "rig.h"

#include <stdlib.h>
#include <unistd.h>

static bool is_short;

KOps cuda_test_ops; // what forward.c calls k_cpu_ops here

enum { TARGETS = 3, SEQUENCES_MAX = 64, PREFIX_SLOTS = 1100, OWN_SLOTS = 80, PIECE = 256 };

static bool begin_plain(KStream *stream, bool repeats, Err *err)
{
    (void)repeats;
    return muster_cuda_ops()->step_begin(stream, false, err);
}

/** How steps are run. */
typedef enum Way {
    AS_IT_IS,
    WITHOUT_GRAPHS,
    WITHOUT_FILLING, // graphs, but of as many rows as there are
} Way;

static void choose(Way way)
{
    memcpy(&cuda_test_ops, muster_cuda_ops(), sizeof(cuda_test_ops));
    if (way == WITHOUT_GRAPHS) {
        cuda_test_ops.step_begin = begin_plain;
    }
    if (way != AS_IT_IS) {
        cuda_test_ops.step_rows = NULL;
    }
}

/** Sequences that share a prompt, each with some tokens of its own, and steps of all of them. */
typedef struct Decode {
    uint32_t n_sequences, prefix, own; // sequence s has s * own tokens behind the prefix
    uint32_t n_steps, steps_each;      // a sequence ends every so many steps, the last one does not
} Decode;

static uint32_t n_running(const Decode *d, uint32_t step)
{
    uint32_t ended = step / d->steps_each;
    return ended < d->n_sequences ? d->n_sequences - ended : 1;
}

static int32_t token_at(uint32_t sequence, uint32_t position)
{
    return (int32_t)(rng_at(11, sequence, position) * 256);
}

/** Rows of the tokens of sequence s from position `from`; their log-probabilities follow in out. */
static void fill_rows(uint32_t s, uint32_t from, uint32_t n, bool wanted, uint32_t *n_out,
                      BatchRow *rows)
{
    static const int32_t targets[TARGETS] = {0, 77, 255};
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = (BatchRow){.token = token_at(s, from + i), .kind = ROW_KV};
        if (wanted) {
            rows[i] = (BatchRow){token_at(s, from + i), ROW_RESULTS, TARGETS, targets, *n_out, 0};
            *n_out += TARGETS;
        }
    }
}

static bool run_prompts(Forward *forward, const Decode *d, Err *err)
{
    BatchRow rows[PIECE];
    KvExtent prefix = {.slot = 0, .n = d->prefix};
    uint32_t n_out = 0;
    bool ok = true;
    for (uint32_t from = 0, n; ok && from < d->prefix; from += n) {
        n = d->prefix - from < PIECE ? d->prefix - from : PIECE;
        fill_rows(99, from, n, false, &n_out, rows);
        BatchSpan span = {0, n, from, &prefix, 1};
        Batch batch = {.rows = rows, .n_rows = n, .spans = &span, .n_spans = 1};
        ok = forward_run(forward, &batch, NULL, NULL, err);
    }
    for (uint32_t s = 1; ok && s < d->n_sequences && d->own > 0; s++) {
        KvExtent extents[] = {prefix, {PREFIX_SLOTS + s * OWN_SLOTS, s * d->own}};
        fill_rows(s, d->prefix, s * d->own, false, &n_out, rows);
        BatchSpan span = {0, s * d->own, d->prefix, extents, 2};
        Batch own = {.rows = rows, .n_rows = s * d->own, .spans = &span, .n_spans = 1};
        ok = forward_run(forward, &own, NULL, NULL, err);
    }
    return ok;
}

/** Returns how many results there were. */
static bool run_steps(Forward *forward, const Decode *d, TargetLogprob *out, Err *err)
{
    uint32_t n_before = 0;
    for (uint32_t step = 0; step < d->n_steps; step++) {
        BatchRow rows[SEQUENCES_MAX];
        BatchSpan spans[SEQUENCES_MAX];
        KvExtent extents[SEQUENCES_MAX][2];
        uint32_t n = n_running(d, step), n_out = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t s = d->n_sequences - 1 - i, first = s * d->own + step;
            extents[i][0] = (KvExtent){0, d->prefix};
            extents[i][1] = (KvExtent){PREFIX_SLOTS + s * OWN_SLOTS, first + 1};
            fill_rows(s, d->prefix + first, 1, true, &n_out, rows + i);
            spans[i] = (BatchSpan){i, 1, d->prefix + first, extents[i], 2};
        }
        Batch batch = {.rows = rows, .n_rows = n, .spans = spans, .n_spans = n};
        if (!forward_run(forward, &batch, NULL, out + n_before, err)) {
            return false;
        }
        n_before += n_out;
    }
    return true;
}

static uint32_t n_results(const Decode *d)
{
    uint32_t n = 0;
    for (uint32_t step = 0; step < d->n_steps; step++) {
        n += n_running(d, step) * TARGETS;
    }
    return n;
}

static bool run_decode(Str path, const Decode *d, Precision precision, TargetLogprob *out, Err *err)
{
    EngineOptions options = {
        .model_path = path, .precision = precision, .threads = 1, .device = STR("cpu")};
    Forward *forward = NULL;
    bool ok = forward_open(&options, &forward, err) &&
              forward_pool_create(forward, PREFIX_SLOTS + SEQUENCES_MAX * OWN_SLOTS, err) &&
              run_prompts(forward, d, err) && run_steps(forward, d, out, err);
    forward_close(forward);
    return ok;
}

static Str model_path(void)
{
    const char *folder = getenv("TMPDIR");
    return str_printf(&arena, "%s/test_cuda_step_%d.gguf", folder != NULL ? folder : "/tmp",
                      (int)getpid());
}

typedef struct Model {
    int line;
    uint32_t type, embed_type;
    uint32_t dim, n_heads, n_kv_heads;
    Precision precision;
} Model;

static Str model_file(const Model *m)
{
    TinyModel tiny = tiny_model_default();
    tiny.type = m->type;
    tiny.embed_type = m->embed_type;
    tiny.dim = tiny.ffn_dim = m->dim;
    tiny.n_heads = m->n_heads;
    tiny.n_kv_heads = m->n_kv_heads;
    Str path = model_path();
    Err err = ERR_INIT;
    CHECK_OK(tiny_gguf_write(&tiny, path, &err), &err);
    return path;
}

/** The results of a way, and how many graphs were launched. */
static TargetLogprob *results_of(Way way, Str path, const Decode *d, Precision precision,
                                 uint64_t *out_graphs)
{
    TargetLogprob *out = arena_alloc(&arena, n_results(d), sizeof(*out));
    uint64_t before = emulate_count(EMULATE_FAIL_GRAPH);
    Err err = ERR_INIT;
    choose(way);
    CHECK_OK(run_decode(path, d, precision, out, &err), &err);
    *out_graphs = emulate_count(EMULATE_FAIL_GRAPH) - before;
    return out;
}

static void check_ways(const Model *m, const Decode *d)
{
    arena_reset(&arena);
    Str path = model_file(m);
    size_t bytes = n_results(d) * sizeof(TargetLogprob);
    uint64_t n_graphs, n_none, n_unfilled;
    TargetLogprob *graphs = results_of(AS_IT_IS, path, d, m->precision, &n_graphs);
    TargetLogprob *none = results_of(WITHOUT_GRAPHS, path, d, m->precision, &n_none);
    TargetLogprob *unfilled = results_of(WITHOUT_FILLING, path, d, m->precision, &n_unfilled);
    printf("# line %d: %u steps, %llu as graphs; %llu where none are filled up\n", m->line,
           d->n_steps, (unsigned long long)n_graphs, (unsigned long long)n_unfilled);
    CHECK(memcmp(graphs, none, bytes) == 0);
    CHECK(memcmp(unfilled, none, bytes) == 0);
    CHECK(n_graphs * 2 >= d->n_steps);
    CHECK_INT(n_none, 0);
    CHECK(n_unfilled > 0 && n_unfilled <= n_graphs);
    unlink(path.data);
}

static void test_step__graphs_give_the_same_bits(void)
{
    static const Model models[] = {
        {__LINE__, GGUF_Q4_1, GGUF_Q8_0, 64, 4, 2, PRECISION_DEFAULT},
        {__LINE__, GGUF_BF16, GGUF_BF16, 64, 2, 1, PRECISION_DEFAULT},
        {__LINE__, GGUF_F16, GGUF_F16, 32, 1, 1, PRECISION_F32},
    };
    static const Decode decodes[] = {
        {9, 240, 3, 40, 4},  // 9 to 1 sequences; all but the first cross into the next chunk
        {1, 250, 1, 40, 40}, // one alone
        {2, 20, 30, 10, 10}, // short
    };
    size_t n = is_short ? 1 : sizeof(models) / sizeof(models[0]) * 3;
    for (size_t i = 0; i < n; i++) {
        check_ways(&models[i / 3], &decodes[i % 3]);
    }
    if (!is_short) {
        // Five chunks in waves of three, on memory that holds no more of 64 rows of 8 heads.
        const Model m = {__LINE__, GGUF_Q4_1, GGUF_Q8_0, 64, 8, 2, PRECISION_DEFAULT};
        const Decode d = {64, 1030, 0, 4, 4};
        check_ways(&m, &d);
    }
}

// ---- Failures -----------------------------------------------------------------------------------

static const Decode small = {3, 12, 2, 8, 3};
static TargetLogprob *expected;

/** Let the nth of a kind fail. */
static void check_failure(Str path, EmulateFailure what, uint64_t nth)
{
    Err err = ERR_INIT;
    TargetLogprob *got = arena_alloc(&arena, n_results(&small), sizeof(*got));
    emulate_reset();
    emulate_fail(what, nth);
    if (run_decode(path, &small, PRECISION_DEFAULT, got, &err)) {
        CHECK(memcmp(got, expected, n_results(&small) * sizeof(*got)) == 0);
    } else {
        CHECK(err.code == ERR_DEVICE || err.code == ERR_LIMIT);
        CHECK(err.message[0] != '\0' && err.n_frames > 0);
    }
    emulate_fail(what, 0);
    emulate_reset();
    EmulateLive live;
    emulate_live(&live);
    size_t n = live.allocations + live.host_allocations + live.streams + live.events + live.graphs;
    if (n > 0) {
        printf("# kind %d, number %llu: %zu things stay\n", (int)what, (unsigned long long)nth, n);
        CHECK(false);
    }
}

static void test_step__failures(void)
{
    static const struct {
        EmulateFailure what;
        bool all; // also those before the first step
    } kinds[] = {{EMULATE_FAIL_ALLOC, false},  {EMULATE_FAIL_HOST, true},
                 {EMULATE_FAIL_CREATE, true},  {EMULATE_FAIL_LAUNCH, false},
                 {EMULATE_FAIL_KERNEL, false}, {EMULATE_FAIL_COPY, false},
                 {EMULATE_FAIL_GRAPH, true}};
    const Model m = {__LINE__, GGUF_Q4_1, GGUF_Q8_0, 32, 1, 1, PRECISION_DEFAULT};
    arena_reset(&arena);
    Str path = model_file(&m);
    uint64_t n_graphs;
    expected = results_of(WITHOUT_GRAPHS, path, &small, m.precision, &n_graphs);
    choose(AS_IT_IS);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        Err err = ERR_INIT;
        TargetLogprob *got = arena_alloc(&arena, n_results(&small), sizeof(*got));
        emulate_reset();
        uint64_t before = emulate_count(kinds[k].what);
        CHECK_OK(run_decode(path, &small, m.precision, got, &err), &err);
        uint64_t n = emulate_count(kinds[k].what) - before, step = kinds[k].all ? 1 : n / 80 + 1;
        step *= is_short ? 7 : 1;
        printf("# kind %d: %llu calls\n", (int)kinds[k].what, (unsigned long long)n);
        CHECK(n > 0);
        for (uint64_t nth = 1; nth <= n; nth += step) {
            check_failure(path, kinds[k].what, nth);
        }
    }
    unlink(path.data);
}

/** A graph that can not be launched is a clear error; the next run is whole. */
static void test_step__lost_device(void)
{
    const Model m = {__LINE__, GGUF_Q4_1, GGUF_Q8_0, 32, 1, 1, PRECISION_DEFAULT};
    arena_reset(&arena);
    Str path = model_file(&m);
    TargetLogprob *got = arena_alloc(&arena, n_results(&small), sizeof(*got));
    choose(AS_IT_IS);
    static const EmulateFailure kinds[] = {EMULATE_FAIL_GRAPH, EMULATE_FAIL_KERNEL,
                                           EMULATE_FAIL_COPY};
    for (size_t k = 0; k < 3; k++) {
        uint64_t before = emulate_count(kinds[k]);
        Err err = ERR_INIT;
        emulate_reset();
        CHECK_OK(run_decode(path, &small, m.precision, got, &err), &err);
        emulate_fail(kinds[k], emulate_count(kinds[k]) - before); // the last one
        CHECK(!run_decode(path, &small, m.precision, got, &err));
        CHECK_INT(err.code, ERR_DEVICE);
        CHECK(strstr(err.message, "CUDA: ") == err.message);
        emulate_reset();
    }
    unlink(path.data);
}

int main(int n_args, char **args)
{
    is_short = n_args > 1 && strcmp(args[1], "short") == 0;
    EmulateOptions options;
    emulate_options(&options);
    tap_run("graphs give the same bits", test_step__graphs_give_the_same_bits);
    if (options.seed == 0) { // schedules of threads do not matter to it
        tap_run("failures", test_step__failures);
    }
    tap_run("a lost device", test_step__lost_device);
    arena_finish(&arena);
    return tap_done();
}
