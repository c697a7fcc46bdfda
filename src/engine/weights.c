// SPDX-License-Identifier: MIT
#include "engine/weights.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LAYERS_MAX  1024
#define DIM_MAX     ((uint64_t)1 << 20)
#define HEADS_MAX   1024
#define HEAD_MAX    256
#define VOCAB_MAX   ((uint64_t)1 << 22)
#define CONTEXT_MAX ((uint64_t)1 << 24)

static const struct {
    uint32_t gguf;
    KType type;
} types[] = {
    {GGUF_F32, K_F32},   {GGUF_F16, K_F16},   {GGUF_BF16, K_BF16},
    {GGUF_Q8_0, K_Q8_0}, {GGUF_Q4_0, K_Q4_0}, {GGUF_Q4_1, K_Q4_1},
};

/** Sizes that shapes of tensors are made of. */
typedef enum Size {
    SIZE_DIM,
    SIZE_Q,
    SIZE_KV,
    SIZE_FFN,
    SIZE_COUNT,
} Size;

/** The tensors of a block: blk.N.NAME.weight. */
static const struct LayerTensor {
    const char *name;
    size_t offset; // of the pointer in ModelLayer
    Size in;
    Size out;   // SIZE_COUNT: a vector of `in` f32 elements
    bool added; // all of its products are added to the residual stream
} layer_tensors[] = {
    {"attn_norm", offsetof(ModelLayer, attention_norm), SIZE_DIM, SIZE_COUNT, false},
    {"attn_q", offsetof(ModelLayer, q), SIZE_DIM, SIZE_Q, false},
    {"attn_k", offsetof(ModelLayer, k), SIZE_DIM, SIZE_KV, false},
    {"attn_v", offsetof(ModelLayer, v), SIZE_DIM, SIZE_KV, false},
    {"attn_output", offsetof(ModelLayer, attention_out), SIZE_Q, SIZE_DIM, true},
    {"ffn_norm", offsetof(ModelLayer, ffn_norm), SIZE_DIM, SIZE_COUNT, false},
    {"ffn_gate", offsetof(ModelLayer, gate), SIZE_DIM, SIZE_FFN, false},
    {"ffn_up", offsetof(ModelLayer, up), SIZE_DIM, SIZE_FFN, false},
    {"ffn_down", offsetof(ModelLayer, down), SIZE_FFN, SIZE_DIM, true},
};

#define N_LAYER_TENSORS (sizeof(layer_tensors) / sizeof(layer_tensors[0]))

/** What loading needs along the way. */
typedef struct Loader {
    Weights *weights;
    const Gguf *gguf;
    KDevice *device;
    KStream *stream;
    size_t n_used;                   // tensors that the model is made of
    uint64_t type_bytes[K_Q4_1 + 1]; // of matrices in blocks
} Loader;

// ---- Hyper-parameters -------------------------------------------------------------------------

/** An integer in min .. max; a missing key gives *otherwise, or an error when that is NULL. */
static bool get_count(const Gguf *gguf, const char *key, uint64_t min, uint64_t max,
                      const uint64_t *otherwise, uint64_t *out, Err *err)
{
    size_t n;
    if (gguf_get_array(gguf, key, &n)) {
        return ERR_SET(err, ERR_UNSUPPORTED, "%s differs from layer to layer", key);
    }
    if (!gguf_get_u64(gguf, key, out)) {
        if (otherwise == NULL) {
            return ERR_SET(err, ERR_MODEL, "the file has no %s", key);
        }
        *out = *otherwise;
    }
    if (*out < min || *out > max) {
        return ERR_SET(err, ERR_MODEL, "%s is %llu, not in %llu .. %llu", key,
                       (unsigned long long)*out, (unsigned long long)min, (unsigned long long)max);
    }
    return true;
}

static bool get_real(const Gguf *gguf, const char *key, double min, double max, double otherwise,
                     double *out, Err *err)
{
    *out = otherwise;
    (void)gguf_get_f64(gguf, key, out);
    if (!(*out >= min && *out <= max)) {
        return ERR_SET(err, ERR_MODEL, "%s is %g, not in %g .. %g", key, *out, min, max);
    }
    return true;
}

/** Head counts and sizes. */
static bool read_heads(const Gguf *gguf, size_t dim, KHeads *out, Err *err)
{
    uint64_t heads, kv_heads, head_dim, value_dim, rope_dim;
    if (!get_count(gguf, "llama.attention.head_count", 1, HEADS_MAX, NULL, &heads, err) ||
        !get_count(gguf, "llama.attention.head_count_kv", 1, HEADS_MAX, &heads, &kv_heads, err)) {
        return false;
    }
    if (heads % kv_heads != 0) {
        return ERR_SET(err, ERR_MODEL, "%llu query heads do not share %llu KV heads evenly",
                       (unsigned long long)heads, (unsigned long long)kv_heads);
    }
    uint64_t natural = dim / heads, given;
    if (dim % heads != 0 && !gguf_get_u64(gguf, "llama.attention.key_length", &given)) {
        return ERR_SET(err, ERR_MODEL, "%zu elements do not divide into %llu heads", dim,
                       (unsigned long long)heads);
    }
    if (!get_count(gguf, "llama.attention.key_length", 2, HEAD_MAX, &natural, &head_dim, err) ||
        !get_count(gguf, "llama.attention.value_length", 2, HEAD_MAX, &head_dim, &value_dim, err) ||
        !get_count(gguf, "llama.rope.dimension_count", 2, head_dim, &head_dim, &rope_dim, err)) {
        return false;
    }
    if (head_dim != value_dim) {
        return ERR_SET(err, ERR_UNSUPPORTED, "keys of %llu and values of %llu elements",
                       (unsigned long long)head_dim, (unsigned long long)value_dim);
    }
    if (head_dim % 2 != 0 || rope_dim % 2 != 0) {
        return ERR_SET(err, ERR_MODEL, "heads of %llu elements with %llu rotated: not even",
                       (unsigned long long)head_dim, (unsigned long long)rope_dim);
    }
    *out = (KHeads){.n_heads = (uint32_t)heads,
                    .n_kv_heads = (uint32_t)kv_heads,
                    .head_dim = (uint32_t)head_dim,
                    .rope_dim = (uint32_t)rope_dim};
    return true;
}

static bool read_rope(const Gguf *gguf, ModelShape *shape, Err *err)
{
    Str scaling = STR("none");
    (void)gguf_get_str(gguf, "llama.rope.scaling.type", &scaling);
    bool linear = str_eq_c(scaling, "linear");
    if (!linear && !str_eq_c(scaling, "none")) {
        return ERR_SET(err, ERR_UNSUPPORTED, "rope scaling '" STR_FMT "'", STR_ARG(scaling));
    }
    double factor, old_factor;
    if (!get_real(gguf, "llama.rope.freq_base", 1, 1e12, 10000, &shape->rope_base, err) ||
        !get_real(gguf, "llama.rope.scale_linear", 1e-6, 1e6, 1, &old_factor, err) ||
        !get_real(gguf, "llama.rope.scaling.factor", 1e-6, 1e6, old_factor, &factor, err)) {
        return false;
    }
    shape->rope_factor = linear ? factor : old_factor;
    return true;
}

/** Features that some llama files have and we do not: better refused than computed wrongly. */
static bool refuse_unknown(const Gguf *gguf, uint64_t context, Err *err)
{
    uint64_t n;
    bool causal;
    if (gguf_get_u64(gguf, "llama.expert_count", &n) && n > 0) {
        return ERR_SET(err, ERR_UNSUPPORTED, "a mixture of %llu experts", (unsigned long long)n);
    }
    if (gguf_get_u64(gguf, "llama.attention.sliding_window", &n) && n > 0 && n < context) {
        return ERR_SET(err, ERR_UNSUPPORTED, "a sliding window of %llu tokens",
                       (unsigned long long)n);
    }
    if (gguf_get_bool(gguf, "llama.attention.causal", &causal) && !causal) {
        return ERR_SET(err, ERR_UNSUPPORTED, "attention that is not causal");
    }
    if (gguf_get_u64(gguf, "split.count", &n) && n > 1) {
        return ERR_SET(err, ERR_UNSUPPORTED, "a model split over %llu files",
                       (unsigned long long)n);
    }
    return true;
}

static bool read_shape(Loader *loader, Err *err)
{
    const Gguf *gguf = loader->gguf;
    ModelShape *shape = &loader->weights->shape;
    Str architecture;
    if (!gguf_get_str(gguf, "general.architecture", &architecture)) {
        return ERR_SET(err, ERR_MODEL, "the file has no general.architecture");
    }
    if (!str_eq_c(architecture, "llama")) {
        return ERR_SET(err, ERR_UNSUPPORTED, "architecture '" STR_FMT "' (only llama)",
                       STR_ARG(architecture));
    }
    uint64_t layers, dim, ffn, context;
    if (!get_count(gguf, "llama.block_count", 1, LAYERS_MAX, NULL, &layers, err) ||
        !get_count(gguf, "llama.embedding_length", 1, DIM_MAX, NULL, &dim, err) ||
        !get_count(gguf, "llama.feed_forward_length", 1, DIM_MAX, NULL, &ffn, err) ||
        !get_count(gguf, "llama.context_length", 1, CONTEXT_MAX, NULL, &context, err) ||
        !refuse_unknown(gguf, context, err)) {
        return false;
    }
    double eps;
    if (!get_real(gguf, "llama.attention.layer_norm_rms_epsilon", 0, 1, -1, &eps, err) ||
        !read_heads(gguf, dim, &shape->heads, err) || !read_rope(gguf, shape, err)) {
        return false;
    }
    shape->n_layers = layers;
    shape->dim = dim;
    shape->ffn_dim = ffn;
    shape->context = context;
    shape->norm_eps = (float)eps;
    return true;
}

// ---- Tensors ----------------------------------------------------------------------------------

/** The tensor of that name and exactly that shape; out 0 means a vector. */
static bool find_tensor(Loader *loader, Str name, uint64_t in, uint64_t out,
                        const GgufTensor **found, Err *err)
{
    const GgufTensor *t = gguf_tensor(loader->gguf, name);
    if (t == NULL) {
        return ERR_SET(err, ERR_MODEL, "there is no tensor '" STR_FMT "'", STR_ARG(name));
    }
    uint64_t want = out == 0 ? 1 : out;
    if (t->dims[0] != in || t->dims[1] != want || t->dims[2] != 1 || t->dims[3] != 1) {
        return ERR_SET(
            err, ERR_MODEL,
            "tensor '" STR_FMT "' has the shape [%llu, %llu, %llu, %llu], expected [%llu, "
            "%llu, 1, 1]",
            STR_ARG(name), (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
            (unsigned long long)t->dims[2], (unsigned long long)t->dims[3], (unsigned long long)in,
            (unsigned long long)want);
    }
    loader->n_used++;
    loader->weights->bytes += t->n_bytes;
    *found = t;
    return true;
}

/** A vector of f32, on the host. */
static bool find_vector(Loader *loader, Str name, uint64_t n, const float **out, Err *err)
{
    const GgufTensor *t = NULL;
    if (!find_tensor(loader, name, n, 0, &t, err)) {
        return false;
    }
    if (t->type != GGUF_F32) {
        return ERR_SET(err, ERR_UNSUPPORTED, "tensor '" STR_FMT "' is %s, expected F32",
                       STR_ARG(name), gguf_type_name(t->type));
    }
    float *copy = arena_alloc(&loader->weights->arena, n, sizeof(float));
    memcpy(copy, t->data, n * sizeof(float)); // the file's alignment may be less than a float's
    *out = copy;
    return true;
}

static bool load_vector(Loader *loader, Str name, uint64_t n, KBuffer **out, Err *err)
{
    const KOps *ops = loader->weights->ops;
    const float *host = NULL;
    return find_vector(loader, name, n, &host, err) &&
           ops->buffer_create(loader->device, n, out, err) &&
           ops->buffer_write(loader->stream, *out, 0, host, n, err);
}

static bool load_matrix(Loader *loader, Str name, uint64_t in, uint64_t out, bool added,
                        KMatrix **matrix, Err *err)
{
    const KOps *ops = loader->weights->ops;
    const GgufTensor *t = NULL;
    if (!find_tensor(loader, name, in, out, &t, err)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].gguf == t->type) {
            loader->type_bytes[types[i].type] += t->n_bytes;
            bool share = added && ops->matrix_create_added != NULL;
            return (share ? ops->matrix_create_added : ops->matrix_create)(
                       loader->device, types[i].type, out, in, t->data, matrix, err) ||
                   ERR_WRAP(err, "tensor '" STR_FMT "'", STR_ARG(name));
        }
    }
    return ERR_SET(err, ERR_UNSUPPORTED,
                   "tensor '" STR_FMT "' is %s; supported are F32 F16 BF16 Q8_0 Q4_0 Q4_1",
                   STR_ARG(name), gguf_type_name(t->type));
}

static bool load_layer(Loader *loader, size_t layer, Err *err)
{
    Weights *weights = loader->weights;
    const ModelShape *shape = &weights->shape;
    const uint64_t sizes[SIZE_COUNT + 1] = {
        [SIZE_DIM] = shape->dim,
        [SIZE_Q] = (uint64_t)shape->heads.n_heads * shape->heads.head_dim,
        [SIZE_KV] = (uint64_t)shape->heads.n_kv_heads * shape->heads.head_dim,
        [SIZE_FFN] = shape->ffn_dim,
    };
    for (size_t i = 0; i < N_LAYER_TENSORS; i++) {
        const struct LayerTensor *t = &layer_tensors[i];
        char *at = (char *)&weights->layers[layer] + t->offset;
        char name[64];
        snprintf(name, sizeof(name), "blk.%zu.%s.weight", layer, t->name);
        bool ok =
            t->out == SIZE_COUNT
                ? load_vector(loader, str_from_c(name), sizes[t->in], (KBuffer **)(void *)at, err)
                : load_matrix(loader, str_from_c(name), sizes[t->in], sizes[t->out], t->added,
                              (KMatrix **)(void *)at, err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

/** The embedding says how large the vocabulary is; whatever else tells must agree. */
static bool load_ends(Loader *loader, Err *err)
{
    Weights *weights = loader->weights;
    ModelShape *shape = &weights->shape;
    const GgufTensor *embedding = gguf_tensor(loader->gguf, STR("token_embd.weight"));
    shape->vocab = embedding != NULL ? embedding->dims[1] : 1;
    if (shape->vocab > VOCAB_MAX) {
        return ERR_SET(err, ERR_LIMIT, "a vocabulary of %zu tokens", shape->vocab);
    }
    uint64_t said = shape->vocab;
    size_t n_tokens = shape->vocab;
    (void)gguf_get_u64(loader->gguf, "llama.vocab_size", &said);
    (void)gguf_get_array(loader->gguf, "tokenizer.ggml.tokens", &n_tokens);
    if (embedding != NULL && (said != shape->vocab || n_tokens != shape->vocab)) {
        return ERR_SET(
            err, ERR_MODEL,
            "token_embd.weight has %zu rows, llama.vocab_size says %llu, and there are %zu "
            "tokens",
            shape->vocab, (unsigned long long)said, n_tokens);
    }
    if (!load_matrix(loader, STR("token_embd.weight"), shape->dim, shape->vocab, false,
                     &weights->embedding, err) ||
        !load_vector(loader, STR("output_norm.weight"), shape->dim, &weights->final_norm, err)) {
        return false;
    }
    weights->head = weights->embedding;
    return gguf_tensor(loader->gguf, STR("output.weight")) == NULL ||
           load_matrix(loader, STR("output.weight"), shape->dim, shape->vocab, false,
                       &weights->head, err);
}

/** Radians per position of each rotated pair: base^(-2i/d), over the linear factor and rope_freqs.
 */
static bool load_rope(Loader *loader, Err *err)
{
    Weights *weights = loader->weights;
    const ModelShape *shape = &weights->shape;
    size_t n_pairs = shape->heads.rope_dim / 2;
    const float *factors = NULL;
    if (gguf_tensor(loader->gguf, STR("rope_freqs.weight")) != NULL &&
        !find_vector(loader, STR("rope_freqs.weight"), n_pairs, &factors, err)) {
        return false;
    }
    weights->rope_inverse = ARENA_ARRAY(&weights->arena, double, n_pairs);
    for (size_t i = 0; i < n_pairs; i++) {
        double factor = factors != NULL ? (double)factors[i] : 1;
        if (!(factor >= 1e-6 && factor <= 1e6)) {
            return ERR_SET(err, ERR_MODEL, "tensor 'rope_freqs.weight' holds %g", factor);
        }
        double power = -2.0 * (double)i / shape->heads.rope_dim;
        weights->rope_inverse[i] = pow(shape->rope_base, power) / shape->rope_factor / factor;
    }
    return true;
}

/** A tensor that we do not use is a part of the model that we would leave out. */
static bool refuse_leftovers(const Loader *loader, Err *err)
{
    size_t n = gguf_n_tensors(loader->gguf);
    if (loader->n_used == n) {
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        Str name = gguf_tensor_at(loader->gguf, i)->name;
        bool known = str_eq_c(name, "token_embd.weight") || str_eq_c(name, "output_norm.weight") ||
                     str_eq_c(name, "output.weight") || str_eq_c(name, "rope_freqs.weight");
        for (size_t l = 0; l < loader->weights->shape.n_layers && !known; l++) {
            for (size_t t = 0; t < N_LAYER_TENSORS && !known; t++) {
                char layer_name[64];
                snprintf(layer_name, sizeof(layer_name), "blk.%zu.%s.weight", l,
                         layer_tensors[t].name);
                known = str_eq_c(name, layer_name);
            }
        }
        if (!known) {
            return ERR_SET(err, ERR_UNSUPPORTED, "tensor '" STR_FMT "' is no part of a llama model",
                           STR_ARG(name));
        }
    }
    return ERR_SET(err, ERR_MODEL, "a tensor is there twice");
}

static void name_type(Loader *loader)
{
    size_t most = 0;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (loader->type_bytes[types[i].type] > loader->type_bytes[types[most].type]) {
            most = i;
        }
    }
    loader->weights->type =
        str_copy(&loader->weights->arena, str_from_c(gguf_type_name(types[most].gguf)));
}

static bool load_all(Loader *loader, Err *err)
{
    Weights *weights = loader->weights;
    if (!read_shape(loader, err)) {
        return false;
    }
    weights->layers = ARENA_ARRAY(&weights->arena, ModelLayer, weights->shape.n_layers);
    for (size_t layer = 0; layer < weights->shape.n_layers; layer++) {
        if (!load_layer(loader, layer, err)) {
            return false;
        }
    }
    name_type(loader); // before the embedding, which often has a type of its own
    if (!load_ends(loader, err) || !load_rope(loader, err) || !refuse_leftovers(loader, err)) {
        return false;
    }
    Str name = STR_EMPTY;
    (void)gguf_get_str(loader->gguf, "general.name", &name);
    weights->name = str_copy(&weights->arena, name);
    weights->architecture = STR("llama");
    return true;
}

bool weights_load(const Gguf *gguf, const KOps *ops, KDevice *device, KStream *stream,
                  Weights **out, Err *err)
{
    Weights *weights = mem_zalloc(1, sizeof(*weights));
    weights->ops = ops;
    Loader loader = {.weights = weights, .gguf = gguf, .device = device, .stream = stream};
    if (!load_all(&loader, err)) {
        weights_close(weights);
        return false;
    }
    *out = weights;
    return true;
}

bool weights_open(Str path, const KOps *ops, KDevice *device, KStream *stream, Weights **out,
                  Err *err)
{
    Gguf *gguf;
    if (!gguf_open(path, &gguf, err)) {
        return false;
    }
    bool ok = weights_load(gguf, ops, device, stream, out, err);
    gguf_release_pages(gguf);
    gguf_close(gguf);
    return ok || ERR_WRAP(err, "model '" STR_FMT "'", STR_ARG(path));
}

void weights_close(Weights *weights)
{
    if (weights == NULL) {
        return;
    }
    const KOps *ops = weights->ops;
    for (size_t l = 0; weights->layers != NULL && l < weights->shape.n_layers; l++) {
        ModelLayer *layer = &weights->layers[l];
        for (size_t i = 0; i < N_LAYER_TENSORS; i++) {
            char *at = (char *)layer + layer_tensors[i].offset;
            if (layer_tensors[i].out == SIZE_COUNT) {
                ops->buffer_destroy(*(KBuffer **)(void *)at);
            } else {
                ops->matrix_destroy(*(KMatrix **)(void *)at);
            }
        }
    }
    if (weights->head != weights->embedding) {
        ops->matrix_destroy(weights->head);
    }
    ops->matrix_destroy(weights->embedding);
    ops->buffer_destroy(weights->final_norm);
    arena_finish(&weights->arena);
    mem_free(weights);
}
