// SPDX-License-Identifier: MIT
// times [SECONDS [WHAT]]: how long each operation of the CUDA backend takes in the shapes of an 8B
// Llama model in BF16 and Q4_0, at batches of decoding and at a prompt of 512. Prints one JSON
// object a line, with the bytes that have to be read and the multiplications that have to be done;
// whoever reads it divides by the roofline. Exit code 77 without a device.
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

const KOps *muster_cuda_ops(void);

#ifdef SMALL_SHAPES // for an emulated GPU
enum { DIM = 128, FFN = 256, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 32, VOCAB = 512 };
#else
enum { DIM = 4096, FFN = 14336, HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, VOCAB = 128256 };
#endif
enum { ROWS_MAX = 512, CONTEXT = 1024 };

static const KOps *ops;
static KDevice *device;
static KStream *stream;
static double seconds_each = 0.2;
static const char *only = ""; // what is timed has this in its name

static void must(bool ok, const Err *err)
{
    if (!ok) {
        fprintf(stderr, "error: %s [%s]\n", err->message, err_code_word(err->code));
        exit(1);
    }
}

static void sync(void)
{
    Err err = ERR_INIT;
    must(ops->stream_sync(stream, &err), &err);
}

// ---- Timing -----------------------------------------------------------------------------------

typedef struct Case {
    const char *what;
    const char *type;
    size_t rows;
    double bytes; // that have to come from memory
    double macs;
} Case;

/** Run something for a while; print what one time takes. */
static void timed(const Case *of, void (*run)(void *), void *ctx)
{
    if (strstr(of->what, only) == NULL) {
        return;
    }
    run(ctx);
    sync();
    int64_t from_ns = clock_ns();
    size_t n = 0;
    double seconds = 0;
    for (size_t at_once = 1; seconds < seconds_each; at_once *= 2) {
        for (size_t i = 0; i < at_once; i++) {
            run(ctx);
        }
        sync();
        n += at_once;
        seconds = (double)(clock_ns() - from_ns) * 1e-9;
    }
    printf(
        "{\"what\": \"%s\", \"type\": \"%s\", \"rows\": %zu, \"seconds\": %.6g, \"bytes\": %.6g, "
        "\"macs\": %.6g, \"times\": %zu}\n",
        of->what, of->type, of->rows, seconds / (double)n, of->bytes, of->macs, n);
    fflush(stdout);
}

// ---- Things -----------------------------------------------------------------------------------

static KBuffer *buffer(size_t n)
{
    KBuffer *out = NULL;
    Err err = ERR_INIT;
    must(ops->buffer_create(device, n, &out, &err), &err);
    float *data = mem_alloc(n, sizeof(*data));
    for (size_t i = 0; i < n; i++) {
        data[i] = (float)(rng_mix(i) >> 40) * 0x1p-23f - 1;
    }
    must(ops->buffer_write(stream, out, 0, data, n, &err), &err);
    mem_free(data);
    return out;
}

/** Random weights: exponents that keep products small. */
static KMatrix *matrix(KType type, size_t n_out, size_t n_in, double *out_bytes)
{
    size_t bytes = type == K_BF16 ? n_out * n_in * 2 : n_out * n_in / 32 * 18;
    uint8_t *data = mem_alloc(bytes, 1);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t bits = rng_mix(i);
        memcpy(data + i, &bits, bytes - i < 8 ? bytes - i : 8);
    }
    for (size_t i = 1; i < bytes; i += type == K_BF16 ? 2 : 18) {
        data[i] = (uint8_t)((data[i] & 0x80) | (type == K_BF16 ? 0x3c : 0x20));
    }
    KMatrix *out = NULL;
    Err err = ERR_INIT;
    must(ops->matrix_create(device, type, n_out, n_in, data, &out, &err), &err);
    mem_free(data);
    *out_bytes += (double)bytes;
    return out;
}

static KActs *acts(size_t width, const KMatrix *consumer)
{
    KActs *out = NULL;
    Err err = ERR_INIT;
    must(ops->acts_create(device, ROWS_MAX, width, &consumer, 1, &out, &err), &err);
    KBuffer *x = buffer(ROWS_MAX * width);
    KBuffer *weight = buffer(width);
    must(ops->rms_norm(stream, x, weight, 1e-5f, width, NULL, ROWS_MAX, out, &err), &err);
    sync();
    ops->buffer_destroy(x);
    ops->buffer_destroy(weight);
    return out;
}

// ---- Products ---------------------------------------------------------------------------------

typedef struct Products {
    KProduct products[3];
    size_t n;
    const KActs *x;
    size_t rows;
} Products;

static void run_products(void *ctx)
{
    Products *p = ctx;
    Err err = ERR_INIT;
    must(ops->products(stream, p->products, p->n, p->x, p->rows, &err), &err);
}

typedef struct Gated {
    const KMatrix *gate, *up;
    const KActs *x;
    KActs *out;
    size_t rows;
} Gated;

static void run_gated(void *ctx)
{
    Gated *g = ctx;
    Err err = ERR_INIT;
    must(ops->gated(stream, g->gate, g->up, g->x, g->rows, g->out, &err), &err);
}

static const size_t batches[] = {1, 4, 16, 64, 256, 512};

/** n products of n_out[] outputs that read the same. */
static void time_products(const char *what, KType type, const size_t *n_out, size_t n, size_t n_in,
                          int n_segments, size_t rows_max)
{
    double bytes = 0;
    size_t outputs = 0;
    Products p = {.n = n};
    for (size_t i = 0; i < n; i++) {
        const KMatrix *weights = matrix(type, n_out[i], n_in, &bytes);
        p.products[i] = (KProduct){weights, buffer(rows_max * n_out[i]), false, n_segments};
        outputs += n_out[i];
    }
    KActs *x = acts(n_in, p.products[0].matrix);
    p.x = x;
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]) && batches[i] <= rows_max; i++) {
        p.rows = batches[i];
        Case of = {what, type == K_BF16 ? "BF16" : "Q4_0", p.rows, bytes,
                   (double)outputs * (double)n_in * (double)p.rows};
        timed(&of, run_products, &p);
    }
    for (size_t i = 0; i < n; i++) {
        ops->buffer_destroy(p.products[i].out);
        ops->matrix_destroy((KMatrix *)(uintptr_t)p.products[i].matrix);
    }
    ops->acts_destroy(x);
}

static void time_gated(KType type)
{
    double bytes = 0;
    Gated g = {.gate = matrix(type, FFN, DIM, &bytes), .up = matrix(type, FFN, DIM, &bytes)};
    g.x = acts(DIM, g.gate);
    double down_bytes = 0;
    KMatrix *down = matrix(type, DIM, FFN, &down_bytes);
    g.out = acts(FFN, down);
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        g.rows = batches[i];
        Case of = {"gate, up", type == K_BF16 ? "BF16" : "Q4_0", g.rows, bytes,
                   2.0 * FFN * DIM * (double)g.rows};
        timed(&of, run_gated, &g);
    }
    ops->acts_destroy((KActs *)(uintptr_t)g.x);
    ops->acts_destroy(g.out);
    ops->matrix_destroy((KMatrix *)(uintptr_t)g.gate);
    ops->matrix_destroy((KMatrix *)(uintptr_t)g.up);
    ops->matrix_destroy(down);
}

// ---- Attention --------------------------------------------------------------------------------

typedef struct Attention {
    KKv *kv;
    KBuffer *q;
    KActs *out;
    KAttentionWork *works;
    size_t n_works;
    size_t rows;
} Attention;

static void run_attention(void *ctx)
{
    Attention *a = ctx;
    Err err = ERR_INIT;
    must(ops->attention(stream, a->kv, 0, a->q, a->works, a->n_works, a->rows, a->out, &err), &err);
}

/** Rows at the end of CONTEXT positions: all in one context, or each in its own. */
static void time_attention(const char *what, size_t rows, bool shared)
{
    KHeads heads = {HEADS, KV_HEADS, HEAD_DIM, HEAD_DIM};
    enum { CHUNKS = CONTEXT / K_CHUNK };
    size_t contexts = shared ? 1 : rows;
    Err err = ERR_INIT;
    double ignored = 0;
    Attention a = {.rows = rows, .q = buffer(rows * HEADS * HEAD_DIM)};
    KMatrix *consumer = matrix(K_BF16, 32, HEADS * HEAD_DIM, &ignored);
    must(ops->kv_create(device, &heads, 1, contexts * CONTEXT, &a.kv, &err), &err);
    a.out = acts(HEADS * HEAD_DIM, consumer);
    a.n_works = CHUNKS * contexts;
    a.works = mem_zalloc(a.n_works, sizeof(*a.works));
    KExtent *extents = mem_zalloc(a.n_works, sizeof(*extents));
    KAttentionRow *list = mem_zalloc(CHUNKS * rows, sizeof(*list));
    size_t n = 0;
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        for (size_t c = 0; c < contexts; c++, n++) {
            size_t n_rows = rows / contexts;
            KAttentionRow *mine = list + chunk * rows + c * n_rows;
            for (size_t r = 0; r < n_rows; r++) {
                mine[r] = (KAttentionRow){(uint32_t)(c * n_rows + r), K_CHUNK};
            }
            extents[n] = (KExtent){(uint32_t)(c * CONTEXT + chunk * K_CHUNK), K_CHUNK};
            a.works[n] = (KAttentionWork){(uint32_t)chunk, &extents[n], 1, mine, (uint32_t)n_rows};
        }
    }
    Case of = {what, "f16", rows, (double)contexts * CONTEXT * KV_HEADS * HEAD_DIM * 2 * 2,
               (double)rows * CONTEXT * HEADS * HEAD_DIM * 2};
    timed(&of, run_attention, &a);
    mem_free(list);
    mem_free(extents);
    mem_free(a.works);
    ops->acts_destroy(a.out);
    ops->kv_destroy(a.kv);
    ops->matrix_destroy(consumer);
    ops->buffer_destroy(a.q);
}

// ---- Picking ------------------------------------------------------------------------------------

typedef struct Picks {
    KBuffer *logits;
    KPick *picks;
    size_t n;
} Picks;

static void run_picks(void *ctx)
{
    Picks *p = ctx;
    Err err = ERR_INIT;
    must(ops->pick(stream, p->logits, VOCAB, p->picks, p->n, &err), &err);
}

/** From random logits; the row is read once at least. */
static void time_pick(const char *what, size_t n, double temperature, double top_p)
{
    Picks p = {.logits = buffer(n * VOCAB), .n = n};
    int32_t *ids = mem_alloc(n, sizeof(*ids));
    p.picks = mem_zalloc(n, sizeof(*p.picks));
    for (size_t i = 0; i < n; i++) {
        p.picks[i] = (KPick){.row = (uint32_t)i,
                             .temperature = temperature,
                             .top_p = top_p,
                             .random = rng_at(1, 2, i),
                             .out_id = &ids[i]};
    }
    Case of = {what, "f32", n, (double)n * VOCAB * sizeof(float), 0};
    timed(&of, run_picks, &p);
    mem_free(p.picks);
    mem_free(ids);
    ops->buffer_destroy(p.logits);
}

int main(int argc, char **argv)
{
    KDeviceOptions options = {.n_threads = 1};
    Err err = ERR_INIT;
    if (argc > 1) {
        seconds_each = strtod(argv[1], NULL);
    }
    only = argc > 2 ? argv[2] : "";
    ops = muster_cuda_ops();
    if (!ops->device_open(&options, &device, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 77;
    }
    must(ops->stream_create(device, &stream, &err), &err);
    static const KType types[] = {K_BF16, K_Q4_0};
    for (size_t i = 0; i < 2; i++) {
        static const size_t qkv[] = {DIM, KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM};
        static const size_t dim[] = {DIM}, vocab[] = {VOCAB};
        time_products("q, k, v", types[i], qkv, 3, DIM, 1, ROWS_MAX);
        time_products("attention out", types[i], dim, 1, DIM, K_SEGMENTS, ROWS_MAX);
        time_gated(types[i]);
        time_products("ffn down", types[i], dim, 1, FFN, K_SEGMENTS, ROWS_MAX);
        time_products("head", types[i], vocab, 1, DIM, 1, 64);
    }
    time_attention("attention, one context", 512, true);
    time_attention("attention, one context", 64, true);
    time_attention("attention, own contexts", 64, false);
    time_attention("attention, own contexts", 1, false);
    static const size_t picks[] = {1, 64};
    for (size_t i = 0; i < 2; i++) {
        time_pick("pick, greedy", picks[i], 0, 1);
        time_pick("pick, drawn", picks[i], 1, 1);
        time_pick("pick, top_p", picks[i], 1, 0.9);
    }
    ops->stream_destroy(stream);
    ops->device_close(device);
    return 0;
}
