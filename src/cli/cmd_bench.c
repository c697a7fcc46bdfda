// SPDX-License-Identifier: MIT
// muster bench engine: how fast the local engine is on this machine, and how near to what its
// memory can deliver. Times the forward pass itself, from tokens to the next ones.
#include "cli/cli.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/forward.h"

typedef struct BenchOptions {
    Str model;
    Str precision;
    bool fast;
    Str device;
    Str tp;
    int64_t threads;
    int64_t repeat;
    int64_t context;
    bool csv;
} BenchOptions;

#define O BenchOptions
static const Option options[] = {
    {"model", 'm', OPT_STR_AT(O, model), .arg = "MODEL", .help = "local/NAME or local/FILE.gguf"},
    {"precision", 0, OPT_STR_AT(O, precision), .arg = "P", .help = "as run --precision",
     .one_of = "default|f32"},
    FAST_OPTION_ROW(O),
    DEVICE_OPTION_ROW(O),
    TP_OPTION_ROW(O),
    {"threads", 't', OPT_INT_AT(O, threads), .arg = "N",
     .help = "threads of the local engine (default: all usable)", .min = 1, .max = 1024},
    {"repeat", 0, OPT_INT_AT(O, repeat), .arg = "N",
     .help = "times each prompt is taken; eight times as many steps of decoding (default 8)",
     .min = 1, .max = 10000, .flag_only = true},
    {"context", 0, OPT_INT_AT(O, context), .arg = "N",
     .help = "tokens before the first one that is decoded (default 64)", .min = 1, .max = 4096,
     .flag_only = true},
    {"csv", 0, OPT_FLAG_AT(O, csv), .help = "comma-separated values on stdout", .flag_only = true},
};
#undef O

enum { PROMPT = 512, SEQUENCES_MAX = 64, STEPS_PER_REPEAT = 8 };

typedef struct Bench {
    Forward *forward;
    const EngineModelInfo *info;
    const BenchOptions *opts;
    int threads;
    size_t repeat;
    uint32_t context;
    double read_bytes_per_s; // NaN on a device whose memory is not ours to read
} Bench;

/** One line of the result; times in seconds. */
typedef struct BenchRow {
    const char *what;
    uint32_t batch;
    uint32_t tokens; // of one time
    double p50, p90, p99, least;
    double of_read; // share of the bandwidth that one reading of the weights takes; NaN: none said
} BenchRow;

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/** The least time that a share q of the times does not exceed. */
static double percentile(const double *sorted, size_t n, double q)
{
    size_t at = (size_t)((double)(n - 1) * q + 0.5);
    return sorted[at];
}

static BenchRow row_make(const char *what, uint32_t batch, uint32_t tokens, double *times, size_t n)
{
    qsort(times, n, sizeof(*times), compare_reals);
    return (BenchRow){.what = what,
                      .batch = batch,
                      .tokens = tokens,
                      .p50 = percentile(times, n, 0.5),
                      .p90 = percentile(times, n, 0.9),
                      .p99 = percentile(times, n, 0.99),
                      .least = times[0],
                      .of_read = (double)NAN};
}

// ---- What the memory delivers -----------------------------------------------------------------

typedef uint64_t Lanes __attribute__((vector_size(16)));

enum { READ_BLOCK = 8, READ_AHEAD = 64 }; // of Lanes: 128 bytes at a time, 1 KiB ahead

typedef struct Reader {
    const Lanes *from;
    size_t n; // a multiple of READ_BLOCK
    uint64_t sum;
} Reader;

static void *reader_main(void *arg)
{
    Reader *reader = arg;
    Lanes sums[READ_BLOCK] = {{0}};
    for (size_t i = 0; i < reader->n; i += READ_BLOCK) {
        __builtin_prefetch(reader->from + i + READ_AHEAD);
        __builtin_prefetch(reader->from + i + READ_AHEAD + 4);
        for (size_t k = 0; k < READ_BLOCK; k++) {
            sums[k] += reader->from[i + k];
        }
    }
    for (size_t k = 0; k < READ_BLOCK; k++) {
        reader->sum += sums[k][0] + sums[k][1];
    }
    return NULL;
}

/** Best of some readings of as many bytes as the weights have, by as many threads. */
static double measure_reading(const Bench *bench)
{
    size_t n_threads = (size_t)bench->threads;
    size_t n_each = (size_t)bench->info->weight_bytes / sizeof(Lanes) / n_threads;
    n_each -= n_each % READ_BLOCK;
    size_t size = (n_each * n_threads + READ_AHEAD + READ_BLOCK) * sizeof(Lanes);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return 0;
    }
    madvise(memory, size, MADV_HUGEPAGE); // as the weights lie
    memset(memory, 1, size);
    const Lanes *lanes = memory;
    Reader *readers = mem_zalloc(n_threads, sizeof(*readers));
    pthread_t *threads = mem_zalloc(n_threads, sizeof(*threads));
    double best = 0;
    for (int round = 0; round < 10; round++) {
        int64_t from_ns = clock_ns();
        size_t n_started = 0;
        for (size_t i = 0; i < n_threads; i++) {
            readers[i] = (Reader){.from = lanes + n_each * i, .n = n_each};
            if (i + 1 == n_threads || pthread_create(&threads[i], NULL, reader_main, &readers[i])) {
                reader_main(&readers[i]);
            } else {
                n_started = i + 1;
            }
        }
        for (size_t i = 0; i < n_started; i++) {
            pthread_join(threads[i], NULL);
        }
        double seconds = (double)(clock_ns() - from_ns) * 1e-9;
        double rate = (double)(n_each * n_threads * sizeof(Lanes)) / seconds;
        best = rate > best ? rate : best;
    }
    mem_free(threads);
    mem_free(readers);
    munmap(memory, size);
    return best;
}

// ---- What the engine does ---------------------------------------------------------------------

static int32_t token_at(const Bench *bench, uint64_t i)
{
    return (int32_t)(rng_mix(i) % (uint64_t)bench->info->vocab);
}

/** A prompt from nothing; with_token: one is picked after it. */
static bool run_prompt(Bench *bench, uint32_t n, uint32_t slot, bool with_token, Err *err)
{
    int32_t id;
    bool ok = true;
    uint32_t piece = forward_max_rows(bench->forward);
    piece = piece < n ? piece : n;
    BatchRow *rows = mem_alloc(piece, sizeof(*rows));
    for (uint32_t from = 0; ok && from < n; from += piece) {
        uint32_t take = n - from < piece ? n - from : piece;
        for (uint32_t i = 0; i < take; i++) {
            bool last = with_token && from + i + 1 == n;
            rows[i] = (BatchRow){.token = token_at(bench, slot + from + i),
                                 .kind = last ? ROW_RESULTS : ROW_KV};
        }
        KvExtent extent = {.slot = slot, .n = from + take};
        BatchSpan span = {.n_rows = take, .first_pos = from, .extents = &extent, .n_extents = 1};
        KPick greedy = {.row = take - 1, .out_id = &id};
        Batch batch = {.rows = rows, .n_rows = take, .spans = &span, .n_spans = 1};
        batch.picks = &greedy;
        batch.n_picks = with_token && from + take == n ? 1 : 0;
        ok = forward_run(bench->forward, &batch, NULL, NULL, err);
    }
    mem_free(rows);
    return ok && forward_wait(bench->forward, err);
}

static bool bench_prompt(Bench *bench, const char *what, uint32_t n, bool with_token, BenchRow *out,
                         Err *err)
{
    double *times = mem_alloc(bench->repeat, sizeof(*times));
    bool ok = run_prompt(bench, n, 0, with_token, err); // the first time warms up
    for (size_t i = 0; ok && i < bench->repeat; i++) {
        int64_t from_ns = clock_ns();
        ok = run_prompt(bench, n, 0, with_token, err);
        times[i] = (double)(clock_ns() - from_ns) * 1e-9;
    }
    if (ok) {
        *out = row_make(what, 1, n, times, bench->repeat);
    }
    mem_free(times);
    return ok;
}

/** Every sequence has a context of its own. */
static bool bench_decode(Bench *bench, uint32_t n, BenchRow *out, Err *err)
{
    size_t steps = bench->repeat * STEPS_PER_REPEAT;
    uint32_t stride = bench->context + STEPS_PER_REPEAT;
    double *times = mem_alloc(steps, sizeof(*times));
    BatchRow rows[SEQUENCES_MAX];
    BatchSpan spans[SEQUENCES_MAX];
    KvExtent extents[SEQUENCES_MAX];
    KPick picks[SEQUENCES_MAX];
    int32_t ids[SEQUENCES_MAX];
    bool ok = true;
    for (uint32_t s = 0; ok && s < n; s++) {
        ok = run_prompt(bench, bench->context, s * stride, false, err);
    }
    for (size_t step = 0; ok && step < steps + 1; step++) { // one to warm up
        uint32_t at = bench->context + (uint32_t)(step % STEPS_PER_REPEAT);
        for (uint32_t s = 0; s < n; s++) {
            extents[s] = (KvExtent){.slot = s * stride, .n = at + 1};
            rows[s] = (BatchRow){.token = token_at(bench, step * n + s), .kind = ROW_RESULTS};
            picks[s] = (KPick){.row = s, .out_id = &ids[s]};
            spans[s] = (BatchSpan){.first_row = s,
                                   .n_rows = 1,
                                   .first_pos = at,
                                   .extents = &extents[s],
                                   .n_extents = 1};
        }
        Batch batch = {
            .rows = rows, .n_rows = n, .spans = spans, .n_spans = n, .picks = picks, .n_picks = n};
        int64_t from_ns = clock_ns();
        ok = forward_run(bench->forward, &batch, NULL, NULL, err);
        if (step > 0) {
            times[step - 1] = (double)(clock_ns() - from_ns) * 1e-9;
        }
    }
    if (ok) {
        *out = row_make("decode", n, n, times, steps);
        out->of_read = (double)bench->info->weight_bytes / out->p50 / bench->read_bytes_per_s;
    }
    mem_free(times);
    return ok;
}

// ---- What came out ----------------------------------------------------------------------------

static double rate_of(const BenchRow *row)
{
    return row->tokens / row->p50;
}

static void print_table(const Bench *bench, const BenchRow *rows, size_t n)
{
    printf(STR_FMT " " STR_FMT ", " STR_FMT ", weights %.1f MB", STR_ARG(bench->info->name),
           STR_ARG(bench->info->weights_type), STR_ARG(bench->info->device_words),
           (double)bench->info->weight_bytes / 1e6);
    if (!isnan(bench->read_bytes_per_s)) {
        printf(", reading them at %.1f GB/s", bench->read_bytes_per_s / 1e9);
    }
    printf("\n\n");
    printf("%-17s %5s %9s %9s %9s %9s %9s\n", "what", "batch", "tok/s", "p50 ms", "p90 ms",
           "p99 ms", "of memory");
    for (size_t i = 0; i < n; i++) {
        char what[32];
        bool prompt = rows[i].tokens > rows[i].batch;
        snprintf(what, sizeof(what), prompt ? "%s, %u" : "%s", rows[i].what, rows[i].tokens);
        printf("%-17s %5u %9.0f %9.2f %9.2f %9.2f", what, rows[i].batch, rate_of(&rows[i]),
               rows[i].p50 * 1e3, rows[i].p90 * 1e3, rows[i].p99 * 1e3);
        if (isnan(rows[i].of_read)) {
            printf(" %9s\n", "");
        } else {
            printf(" %7.0f %%\n", rows[i].of_read * 100);
        }
    }
    printf(
        "\nprefill, first token: a prompt of so many tokens; decode: a step at context %u, every "
        "sequence on its own.\n",
        bench->context);
    if (!isnan(bench->read_bytes_per_s)) {
        printf("of memory: the time of reading all weights once as a share of a step.\n");
    }
}

static void print_csv(const BenchRow *rows, size_t n)
{
    printf("what,batch,tokens,tokens_per_s,p50_s,p90_s,p99_s,least_s,of_memory\n");
    for (size_t i = 0; i < n; i++) {
        printf("%s,%u,%u,%.3f,%.6f,%.6f,%.6f,%.6f,", rows[i].what, rows[i].batch, rows[i].tokens,
               rate_of(&rows[i]), rows[i].p50, rows[i].p90, rows[i].p99, rows[i].least);
        if (!isnan(rows[i].of_read)) {
            printf("%.4f", rows[i].of_read);
        }
        printf("\n");
    }
}

static void print_json(Cli *cli, const Bench *bench, const BenchRow *rows, size_t n)
{
    Arena *arena = &cli->arena;
    Value *items = ARENA_ARRAY(arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("what"), value_str(str_from_c(rows[i].what)));
        map_builder_put(&map, STR("batch"), value_int(rows[i].batch));
        map_builder_put(&map, STR("tokens"), value_int(rows[i].tokens));
        map_builder_put(&map, STR("tokens_per_s"), value_real(rate_of(&rows[i])));
        map_builder_put(&map, STR("p50_s"), value_real(rows[i].p50));
        map_builder_put(&map, STR("p90_s"), value_real(rows[i].p90));
        map_builder_put(&map, STR("p99_s"), value_real(rows[i].p99));
        map_builder_put(&map, STR("least_s"), value_real(rows[i].least));
        map_builder_put(&map, STR("of_memory"),
                        isnan(rows[i].of_read) ? value_null() : value_real(rows[i].of_read));
        items[i] = map_builder_done(&map);
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("model"), value_str(bench->info->name));
    map_builder_put(&map, STR("weights_type"), value_str(bench->info->weights_type));
    map_builder_put(&map, STR("weight_bytes"), value_int((int64_t)bench->info->weight_bytes));
    map_builder_put(&map, STR("threads"), value_int(bench->threads));
    map_builder_put(&map, STR("context"), value_int(bench->context));
    map_builder_put(&map, STR("device"), value_str(bench->info->device_words));
    map_builder_put(&map, STR("read_bytes_per_s"),
                    isnan(bench->read_bytes_per_s) ? value_null()
                                                   : value_real(bench->read_bytes_per_s));
    map_builder_put(&map, STR("rows"), value_list(items, n));
    Value value = map_builder_done(&map);
    cli_print_json(&value);
}

/** Rows of the largest step that the context allows. */
static uint32_t step_rows(const Bench *bench)
{
    uint32_t most = forward_max_rows(bench->forward);
    int64_t context = bench->info->context_tokens;
    return context < (int64_t)most ? (uint32_t)context : most;
}

static bool bench_open(Cli *cli, Bench *bench, Err *err)
{
    const BenchOptions *opts = bench->opts;
    const Model *model = NULL;
    if (!option_fast_check(opts->fast, opts->precision, err)) {
        return false;
    }
    if (opts->model.len == 0) {
        return ERR_SET(err, ERR_USAGE, "no model: give -m local/NAME or -m local/FILE.gguf");
    }
    if (!cli_registry(cli, err) || !cli_model(cli, opts->model, &model, err)) {
        return false;
    }
    if (!str_eq(model->provider, STR("local"))) {
        return ERR_SET(err, ERR_USAGE, "bench engine times local models; '" STR_FMT "' is none",
                       STR_ARG(opts->model));
    }
    EngineOptions engine = {.model_path = model->path,
                            .device = opts->device,
                            .tp = option_tp(opts->tp),
                            .threads = bench->threads,
                            .precision = str_eq(opts->precision, STR("f32")) ? PRECISION_F32
                                         : opts->fast                        ? PRECISION_FAST
                                                                             : PRECISION_DEFAULT};
    if (!forward_open(&engine, &bench->forward, err)) {
        return ERR_WRAP(err, "model '" STR_FMT "'", STR_ARG(opts->model));
    }
    bench->info = forward_info(bench->forward);
    int64_t longest = bench->info->context_tokens - STEPS_PER_REPEAT;
    if (bench->info->context_tokens < PROMPT || (int64_t)bench->context > longest) {
        return ERR_SET(err, ERR_USAGE, "the model's context of %lld tokens is too short for this",
                       (long long)bench->info->context_tokens);
    }
    uint32_t n_slots = SEQUENCES_MAX * (bench->context + STEPS_PER_REPEAT), step = step_rows(bench);
    n_slots = n_slots > PROMPT ? n_slots : PROMPT;
    return forward_pool_create(bench->forward, n_slots > step ? n_slots : step, err);
}

/** Prompts of 512, and of a whole step where that is more. */
static bool bench_prompts(Bench *bench, BenchRow *rows, size_t *n, Err *err)
{
    uint32_t step = step_rows(bench);
    return bench_prompt(bench, "prefill", PROMPT, false, &rows[(*n)++], err) &&
           (step <= PROMPT || bench_prompt(bench, "prefill", step, false, &rows[(*n)++], err)) &&
           bench_prompt(bench, "first token", PROMPT, true, &rows[(*n)++], err);
}

static int cmd_bench_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)n_args;
    static const uint32_t batches[] = {1, 4, 16, SEQUENCES_MAX};
    const BenchOptions *opts = options_struct;
    Err err = ERR_INIT;
    Bench bench = {.opts = opts,
                   .threads = opts->threads > 0 ? (int)opts->threads : threads_usable_cpus(),
                   .repeat = opts->repeat > 0 ? (size_t)opts->repeat : 8,
                   .context = opts->context > 0 ? (uint32_t)opts->context : 64};
    BenchRow rows[3 + sizeof(batches) / sizeof(batches[0])];
    size_t n = 0;
    bool ok = str_eq(args[0], STR("engine")) ||
              ERR_SET(&err, ERR_USAGE, "bench: '" STR_FMT "' is not engine", STR_ARG(args[0]));
    ok = ok && bench_open(cli, &bench, &err);
    if (ok) {
        bool on_cpu = str_eq(bench.info->device, STR("cpu"));
        bench.read_bytes_per_s = on_cpu ? measure_reading(&bench) : (double)NAN;
        ok = bench_prompts(&bench, rows, &n, &err);
    }
    for (size_t i = 0; ok && i < sizeof(batches) / sizeof(batches[0]); i++) {
        ok = bench_decode(&bench, batches[i], &rows[n++], &err);
    }
    if (ok && cli->global.json) {
        print_json(cli, &bench, rows, n);
    } else if (ok && opts->csv) {
        print_csv(rows, n);
    } else if (ok) {
        print_table(&bench, rows, n);
    }
    forward_close(bench.forward);
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

const Command cmd_bench = {
    .name = "bench",
    .args = "engine",
    .summary = "measure how fast the local engine is on this machine",
    .details =
        "Prefill of 512 tokens and of a whole step, time to the first token, steps of decoding "
        "for 1, 4, 16\nand 64 sequences, with percentiles over repetitions, beside what the "
        "memory delivers.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(BenchOptions),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_bench_run,
};
