// SPDX-License-Identifier: MIT
// The forward pass of a Llama-architecture model (Touvron et al. 2023) over the kernels table, for
// batches of rows from many sequences. run_layer is one transformer block, as the paper has it.
#include "engine/forward.h"

#include "engine/forward_plan.h"
#include "engine/weights.h"
#include "engine/weights_hash.h"
#include "kernels/backends.h"

#include <assert.h>
#include <string.h>

#define ROWS_LEAST     512 // of a step
#define LOGIT_ROWS_MAX 256 // rows of logits that exist at once
#define LOGIT_BYTES    ((size_t)256 << 20)
#ifndef SPLIT_SEGMENTS // tests/bench measures what segments cost without them
#define SPLIT_SEGMENTS K_SEGMENTS
#endif
#define ROWS_BYTES_MAX ((size_t)2 << 30) // of all rows together: the sizes come from a file

struct Forward {
    const KOps *ops;
    KDevice *device;
    KStream *stream;
    int device_index;
    char device_note[DEVICE_NOTE_MAX];
    Weights *weights;
    KKv *kv;
    uint32_t n_slots;  // of the pool; behind them: those of rows that only fill up a step
    WeightsHash *hash; // of the file, computed beside everything else
    EngineModelInfo *info;
    // Rows on the device: (max_rows, ...) unless said otherwise.
    size_t max_rows;    // of a step
    KBuffer *x;         // (dim) the residual stream
    KBuffer *x_wanted;  // (dim) its rows that are wanted, in the last layer
    KBuffer *q;         // (n_heads, head_dim)
    KBuffer *q_wanted;  // the same for wanted rows
    KBuffer *k;         // (n_kv_heads, head_dim)
    KBuffer *v;         // (n_kv_heads, head_dim)
    size_t logit_rows;  // rows of logits that exist at once
    KBuffer *logits;    // (logit_rows, vocab)
    KActs *normed;      // (dim) what q, k, v, gate and up read
    KActs *attended;    // (n_heads, head_dim)
    KActs *hidden;      // (ffn_dim)
    KActs *last_normed; // (logit_rows, dim)
    Arena scratch;      // of one run
};

// ---- Opening ----------------------------------------------------------------------------------

static bool create_acts(Forward *f, Err *err)
{
    const ModelShape *shape = &f->weights->shape;
    const KMatrix **reads_dim = ARENA_ARRAY(&f->scratch, const KMatrix *, shape->n_layers * 5);
    const KMatrix **reads_heads = ARENA_ARRAY(&f->scratch, const KMatrix *, shape->n_layers);
    const KMatrix **reads_ffn = ARENA_ARRAY(&f->scratch, const KMatrix *, shape->n_layers);
    for (size_t l = 0; l < shape->n_layers; l++) {
        const ModelLayer *layer = &f->weights->layers[l];
        const KMatrix *of_dim[] = {layer->q, layer->k, layer->v, layer->gate, layer->up};
        memcpy(reads_dim + l * 5, of_dim, sizeof(of_dim));
        reads_heads[l] = layer->attention_out;
        reads_ffn[l] = layer->down;
    }
    const KMatrix *head = f->weights->head;
    size_t q_dim = (size_t)shape->heads.n_heads * shape->heads.head_dim;
    return f->ops->acts_create(f->device, f->max_rows, shape->dim, reads_dim, shape->n_layers * 5,
                               &f->normed, err) &&
           f->ops->acts_create(f->device, f->max_rows, q_dim, reads_heads, shape->n_layers,
                               &f->attended, err) &&
           f->ops->acts_create(f->device, f->max_rows, shape->ffn_dim, reads_ffn, shape->n_layers,
                               &f->hidden, err) &&
           f->ops->acts_create(f->device, f->logit_rows, shape->dim, &head, 1, &f->last_normed,
                               err);
}

/** As many as the device likes, fewer for large vocabularies. */
static size_t choose_logit_rows(const Forward *f)
{
    size_t rows = f->ops->batch_rows < LOGIT_ROWS_MAX ? f->ops->batch_rows : LOGIT_ROWS_MAX;
    while (rows > 64 && rows * f->weights->shape.vocab > LOGIT_BYTES / sizeof(float)) {
        rows /= 2;
    }
    return rows;
}

/** Floats of all rows: the residual stream, queries, keys and values, and the activations between
 * operations, in one form (for matrices of several types there are up to three times as many bytes
 * of these). */
static size_t count_floats(const Forward *f)
{
    const ModelShape *shape = &f->weights->shape;
    size_t q_dim = (size_t)shape->heads.n_heads * shape->heads.head_dim;
    size_t kv_dim = (size_t)shape->heads.n_kv_heads * shape->heads.head_dim;
    size_t a_row = 3 * shape->dim + 3 * q_dim + 2 * kv_dim + shape->ffn_dim;
    return f->max_rows * a_row + f->logit_rows * (shape->vocab + shape->dim);
}

/** As many as the device likes, fewer for wide models. */
static bool choose_rows(Forward *f, Err *err)
{
    f->logit_rows = choose_logit_rows(f);
    f->max_rows = f->ops->max_rows;
    while (f->max_rows > ROWS_LEAST && count_floats(f) > ROWS_BYTES_MAX / sizeof(float)) {
        f->max_rows /= 2;
    }
    return count_floats(f) <= ROWS_BYTES_MAX / sizeof(float) ||
           ERR_SET(err, ERR_LIMIT, "the model's rows need %zu MiB, more than %zu",
                   count_floats(f) * sizeof(float) >> 20, ROWS_BYTES_MAX >> 20);
}

static bool create_buffers(Forward *f, Err *err)
{
    if (!choose_rows(f, err)) {
        return false;
    }
    const ModelShape *shape = &f->weights->shape;
    size_t q_dim = (size_t)shape->heads.n_heads * shape->heads.head_dim;
    size_t kv_dim = (size_t)shape->heads.n_kv_heads * shape->heads.head_dim;
    const struct {
        KBuffer **buffer;
        size_t rows, width;
    } all[] = {
        {&f->x, f->max_rows, shape->dim},
        {&f->x_wanted, f->max_rows, shape->dim},
        {&f->q, f->max_rows, q_dim},
        {&f->q_wanted, f->max_rows, q_dim},
        {&f->k, f->max_rows, kv_dim},
        {&f->v, f->max_rows, kv_dim},
        {&f->logits, f->logit_rows, shape->vocab},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (!f->ops->buffer_create(f->device, all[i].rows * all[i].width, all[i].buffer, err)) {
            return false;
        }
    }
    return create_acts(f, err);
}

static void fill_info(Forward *f, const EngineOptions *options)
{
    const Weights *w = f->weights;
    int64_t context = (int64_t)w->shape.context;
    if (options->context_tokens > 0 && options->context_tokens < context) {
        context = options->context_tokens;
    }
    *f->info = (EngineModelInfo){.architecture = w->architecture,
                                 .name = w->name,
                                 .weights_type = w->type,
                                 .context_tokens = context,
                                 .n_layers = (int64_t)w->shape.n_layers,
                                 .dim = (int64_t)w->shape.dim,
                                 .n_heads = w->shape.heads.n_heads,
                                 .n_kv_heads = w->shape.heads.n_kv_heads,
                                 .vocab = (int64_t)w->shape.vocab,
                                 .weight_bytes = w->bytes,
                                 .device = str_from_c(f->ops->name),
                                 .device_index = f->device_index,
                                 .device_words = str_from_c(f->ops->device_describe(f->device)),
                                 .device_note = str_from_c(f->device_note)};
}

static bool open_device(Forward *f, const EngineOptions *options, Err *err)
{
    DeviceWish wish;
    DeviceOpened opened;
    KDeviceOptions device = {.n_threads = options->threads,
                             .f32 = options->precision == PRECISION_F32,
                             .fast = options->precision == PRECISION_FAST};
    if (!backends_parse(options->device, &wish)) {
        return ERR_SET(err, ERR_USAGE, "device '" STR_FMT "' is not one of " BACKENDS_WORDS,
                       STR_ARG(options->device));
    }
    wish.n_devices = options->tp;
    if (!backends_open(&wish, &device, &k_cpu_ops, &opened, err)) {
        return false;
    }
    f->ops = opened.ops;
    f->device = opened.device;
    f->device_index = opened.index;
    memcpy(f->device_note, opened.note, sizeof(f->device_note));
    return f->ops->stream_create(f->device, &f->stream, err);
}

/** What the device can not do with the model's heads is said now, not once requests are there. */
static bool check_heads(Forward *f, Err *err)
{
    KKv *kv = NULL;
    if (!f->ops->kv_create(f->device, &f->weights->shape.heads, 1, 1, &kv, err)) {
        return false;
    }
    f->ops->kv_destroy(kv);
    return true;
}

bool forward_open(const EngineOptions *options, Forward **out, Err *err)
{
    Forward *f = mem_zalloc(1, sizeof(*f));
    f->info = mem_zalloc(1, sizeof(*f->info));
    if (!open_device(f, options, err) ||
        (!options->skip_hash && !weights_hash_start(options->model_path, &f->hash, err)) ||
        !weights_open(options->model_path, f->ops, f->device, f->stream, &f->weights, err) ||
        !create_buffers(f, err) || !check_heads(f, err)) {
        forward_close(f);
        return false;
    }
    fill_info(f, options);
    *out = f;
    return true;
}

void forward_close(Forward *f)
{
    if (f == NULL) {
        return;
    }
    weights_hash_finish(f->hash);
    if (f->device != NULL) {
        KBuffer *buffers[] = {f->x, f->x_wanted, f->q, f->q_wanted, f->k, f->v, f->logits};
        for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
            f->ops->buffer_destroy(buffers[i]);
        }
        f->ops->acts_destroy(f->normed);
        f->ops->acts_destroy(f->attended);
        f->ops->acts_destroy(f->hidden);
        f->ops->acts_destroy(f->last_normed);
        f->ops->kv_destroy(f->kv);
        weights_close(f->weights);
        f->ops->stream_destroy(f->stream);
        f->ops->device_close(f->device);
    }
    arena_finish(&f->scratch);
    mem_free(f->info);
    mem_free(f);
}

const EngineModelInfo *forward_info(const Forward *forward)
{
    Err err = ERR_INIT; // the file was read a moment ago; if it is gone by now its hash stays zero
    if (forward->hash != NULL) {
        (void)weights_hash_wait(forward->hash, &forward->info->file_hash, &err);
    }
    return forward->info;
}

size_t forward_slot_bytes(const Forward *f)
{
    return f->ops->kv_slot_bytes(f->device, &f->weights->shape.heads, f->weights->shape.n_layers);
}

size_t forward_free_bytes(const Forward *f)
{
    return f->ops->device_free_bytes(f->device);
}

/** Rows of a step that repeats, where the backend wants other numbers than there are. */
static size_t step_rows(const Forward *f, size_t n)
{
    size_t rows = f->ops->step_rows != NULL ? f->ops->step_rows(f->stream, n) : n;
    return rows <= f->max_rows ? rows : n;
}

bool forward_pool_create(Forward *f, uint32_t n_slots, Err *err)
{
    if (n_slots == 0 || n_slots > (uint32_t)1 << 31) {
        return ERR_SET(err, ERR_LIMIT, "%u KV slots, not in 1 .. 2^31", n_slots);
    }
    f->ops->kv_destroy(f->kv);
    f->kv = NULL;
    f->n_slots = n_slots;
    size_t n_spare = 0;
    for (size_t n = 1; n <= f->max_rows; n++) {
        size_t more = step_rows(f, n) - n;
        n_spare = more > n_spare ? more : n_spare;
    }
    return f->ops->kv_create(f->device, &f->weights->shape.heads, f->weights->shape.n_layers,
                             n_slots + n_spare, &f->kv, err);
}

uint32_t forward_max_rows(const Forward *f)
{
    return (uint32_t)f->max_rows;
}

uint32_t forward_batch_rows(const Forward *f)
{
    return (uint32_t)f->ops->batch_rows;
}

// ---- One batch --------------------------------------------------------------------------------

/** Residual stream and attention works as a layer sees them: all rows, or the wanted ones. */
typedef struct Rows {
    KBuffer *x;
    KBuffer *q;
    size_t n;
    const KAttentionWork *works;
    size_t n_works;
} Rows;

/** In the last layer only wanted rows go past the keys and values. */
static bool keep_wanted(Forward *f, const ForwardPlan *plan, Rows *rows, Err *err)
{
    const ModelShape *shape = &f->weights->shape;
    size_t q_dim = (size_t)shape->heads.n_heads * shape->heads.head_dim;
    rows->n = plan->n_wanted;
    if (plan->n_wanted == plan->n_rows || plan->n_wanted == 0) {
        return true;
    }
    rows->works = plan->last_works;
    rows->n_works = plan->n_last_works;
    rows->x = f->x_wanted;
    rows->q = f->q_wanted;
    return f->ops->gather(f->stream, f->x, shape->dim, plan->wanted, rows->n, f->x_wanted, err) &&
           f->ops->gather(f->stream, f->q, q_dim, plan->wanted, rows->n, f->q_wanted, err);
}

/** x += attention(norm(x)); x += ffn(norm(x)).  Keys and values of all rows are stored on the way.
 */
static bool run_layer(Forward *f, size_t l, const ForwardPlan *plan, Rows *rows, Err *err)
{
    const KOps *ops = f->ops;
    KStream *s = f->stream;
    const ModelShape *shape = &f->weights->shape;
    const ModelLayer *layer = &f->weights->layers[l];
    const KProduct qkv[] = {
        {layer->q, f->q, false, 1}, {layer->k, f->k, false, 1}, {layer->v, f->v, false, 1}};
    if (!ops->rms_norm(s, rows->x, layer->attention_norm, shape->norm_eps, shape->dim, NULL,
                       rows->n, f->normed, err) ||
        !ops->products(s, qkv, 3, f->normed, rows->n, err) ||
        !ops->rope_store(s, f->kv, l, f->q, f->k, f->v, plan->angles, plan->slots, rows->n, err)) {
        return false;
    }
    if (l + 1 == shape->n_layers && !keep_wanted(f, plan, rows, err)) {
        return false;
    }
    if (rows->n == 0) {
        return true;
    }
    // The two products that tensor parallelism splits along K accumulate in segments.
    const KProduct out[] = {{layer->attention_out, rows->x, true, SPLIT_SEGMENTS}};
    const KProduct down[] = {{layer->down, rows->x, true, SPLIT_SEGMENTS}};
    return ops->attention(s, f->kv, l, rows->q, rows->works, rows->n_works, rows->n, f->attended,
                          err) &&
           ops->products(s, out, 1, f->attended, rows->n, err) &&
           ops->rms_norm(s, rows->x, layer->ffn_norm, shape->norm_eps, shape->dim, NULL, rows->n,
                         f->normed, err) &&
           ops->gated(s, layer->gate, layer->up, f->normed, rows->n, f->hidden, err) &&
           ops->products(s, down, 1, f->hidden, rows->n, err);
}

/** The log-probabilities asked for of `n` rows of logits. */
static bool take_logprobs(Forward *f, const Batch *batch, const uint32_t *wanted, size_t n,
                          TargetLogprob *out_logprobs, Err *err)
{
    size_t n_ask = 0;
    KLogprobRow ask[LOGIT_ROWS_MAX];
    int32_t argmax[LOGIT_ROWS_MAX];
    for (size_t i = 0; i < n; i++) {
        const BatchRow *row = &batch->rows[wanted[i]];
        if (row->n_targets > 0) {
            ask[n_ask] =
                (KLogprobRow){.row = (uint32_t)i,
                              .n_targets = row->n_targets,
                              .targets = row->targets,
                              .out_logprobs = ARENA_ARRAY(&f->scratch, float, row->n_targets),
                              .out_argmax = &argmax[n_ask]};
            n_ask++;
        }
    }
    if (n_ask > 0 &&
        !f->ops->logprobs(f->stream, f->logits, f->weights->shape.vocab, ask, n_ask, err)) {
        return false;
    }
    for (size_t i = 0; i < n_ask; i++) {
        const BatchRow *row = &batch->rows[wanted[ask[i].row]];
        TargetLogprob *out = out_logprobs + (row->kind == ROW_LOGITS ? row->out_targets : row->out);
        for (uint32_t t = 0; t < ask[i].n_targets; t++) {
            out[t] = (TargetLogprob){.logprob = ask[i].out_logprobs[t], .argmax = argmax[i]};
        }
    }
    return true;
}

/** The picks that name one of `n` rows of logits, from *at on. */
static bool take_picks(Forward *f, const Batch *batch, const uint32_t *wanted, size_t n,
                       uint32_t *at, Err *err)
{
    uint32_t first = *at, row = 0;
    while (*at < batch->n_picks && batch->picks[*at].row <= wanted[n - 1]) {
        ++*at;
    }
    if (*at == first) {
        return true;
    }
    KPick *picks = ARENA_ARRAY(&f->scratch, KPick, *at - first);
    for (uint32_t i = first; i < *at; i++) {
        while (row < n && wanted[row] < batch->picks[i].row) {
            row++;
        }
        assert(row < n && wanted[row] == batch->picks[i].row);
        picks[i - first] = batch->picks[i];
        picks[i - first].row = row;
    }
    return f->ops->pick(f->stream, f->logits, f->weights->shape.vocab, picks, *at - first, err);
}

/** Whole rows of logits, for tests and tools. */
static bool take_logits(Forward *f, const Batch *batch, const uint32_t *wanted, size_t n,
                        float *out_logits, Err *err)
{
    size_t vocab = f->weights->shape.vocab;
    for (size_t i = 0; i < n; i++) {
        const BatchRow *row = &batch->rows[wanted[i]];
        if (row->kind == ROW_LOGITS &&
            !f->ops->buffer_read(f->stream, f->logits, i * vocab, out_logits + row->out * vocab,
                                 vocab, err)) {
            return false;
        }
    }
    return true;
}

/** One new token of many paths, and all of them wanted: the like of it comes again. */
static bool batch_repeats(const Batch *batch)
{
    bool repeats = batch->n_spans == batch->n_rows;
    for (uint32_t r = 0; r < batch->n_rows && repeats; r++) {
        repeats = batch->rows[r].kind != ROW_KV;
    }
    return repeats;
}

/** Fill up with rows that nobody asks for anything, each in a slot of its own. */
static Batch batch_fill(Forward *f, const Batch *batch, uint32_t n_rows)
{
    uint32_t n = batch->n_rows, n_more = n_rows - n;
    Batch filled = *batch;
    BatchRow *rows = ARENA_ARRAY(&f->scratch, BatchRow, n_rows);
    BatchSpan *spans = ARENA_ARRAY(&f->scratch, BatchSpan, n_rows);
    KvExtent *extents = ARENA_ARRAY(&f->scratch, KvExtent, n_more);
    memcpy(rows, batch->rows, n * sizeof(*rows));
    memcpy(spans, batch->spans, n * sizeof(*spans));
    for (uint32_t i = 0; i < n_more; i++) {
        extents[i] = (KvExtent){.slot = f->n_slots + i, .n = 1};
        rows[n + i] = (BatchRow){.kind = ROW_RESULTS};
        spans[n + i] =
            (BatchSpan){.first_row = n + i, .n_rows = 1, .extents = &extents[i], .n_extents = 1};
    }
    filled.rows = rows;
    filled.spans = spans;
    filled.n_rows = filled.n_spans = n_rows;
    return filled;
}

/** Everything before the first logits. */
static bool run_layers(Forward *f, const ForwardPlan *plan, Rows *rows, Err *err)
{
    if (!f->ops->embed(f->stream, f->weights->embedding, plan->ids, rows->n, f->x, err)) {
        return false;
    }
    for (size_t l = 0; l < f->weights->shape.n_layers; l++) {
        if (!run_layer(f, l, plan, rows, err)) {
            return false;
        }
    }
    return true;
}

/** Logits of rows from .. from+n-1 of those that are wanted. */
static bool run_head(Forward *f, const Rows *rows, size_t from, size_t n, Err *err)
{
    const ModelShape *shape = &f->weights->shape;
    const KProduct head[] = {{f->weights->head, f->logits, false, 1}};
    uint32_t *these = ARENA_ARRAY(&f->scratch, uint32_t, n + 1);
    for (size_t i = 0; i < n; i++) {
        these[i] = (uint32_t)(from + i); // rows->x holds the wanted rows alone by now
    }
    return f->ops->rms_norm(f->stream, rows->x, f->weights->final_norm, shape->norm_eps, shape->dim,
                            these, n, f->last_normed, err) &&
           f->ops->products(f->stream, head, 1, f->last_normed, n, err);
}

/** All up to the first results that are read. */
static bool run_step(Forward *f, const ForwardPlan *plan, bool repeats, Rows *rows, Err *err)
{
    Err later = ERR_INIT; // a failure is that of the first operation
    size_t n = plan->n_wanted < f->logit_rows ? plan->n_wanted : f->logit_rows;
    bool ok = f->ops->step_begin(f->stream, repeats, err) && run_layers(f, plan, rows, err) &&
              (n == 0 || run_head(f, rows, 0, n, err));
    return f->ops->step_end(f->stream, ok ? err : &later) && ok;
}

bool forward_run(Forward *f, const Batch *batch, float *out_logits, TargetLogprob *out_logprobs,
                 Err *err)
{
    assert(f->kv != NULL && batch->n_rows >= 1 && batch->n_rows <= f->max_rows);
    arena_reset(&f->scratch);
    ForwardPlan plan;
    Batch filled = *batch;
    bool repeats = batch_repeats(batch);
    size_t n_rows = repeats ? step_rows(f, batch->n_rows) : batch->n_rows;
    if (n_rows > batch->n_rows) {
        filled = batch_fill(f, batch, (uint32_t)n_rows);
    }
    forward_plan(&filled, f->weights, &f->scratch, &plan);
    Rows rows = {f->x, f->q, plan.n_rows, plan.works, plan.n_works};
    if (!run_step(f, &plan, repeats, &rows, err)) {
        return false;
    }
    uint32_t n_picked = 0;
    for (size_t from = 0, n; from < plan.n_wanted; from += n) {
        n = plan.n_wanted - from < f->logit_rows ? plan.n_wanted - from : f->logit_rows;
        if ((from > 0 && !run_head(f, &rows, from, n, err)) ||
            !take_logprobs(f, &filled, plan.wanted + from, n, out_logprobs, err) ||
            !take_picks(f, &filled, plan.wanted + from, n, &n_picked, err) ||
            !take_logits(f, &filled, plan.wanted + from, n, out_logits, err)) {
            return false;
        }
    }
    return true; // keys and values alone are not waited for
}

bool forward_wait(Forward *f, Err *err)
{
    return f->ops->stream_sync(f->stream, err);
}
