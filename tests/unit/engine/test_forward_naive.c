// SPDX-License-Identifier: MIT
#include "test_forward_naive.h"

#include "engine/gguf.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct Naive {
    Gguf *gguf;
    size_t n_layers, dim, ffn_dim, n_heads, n_kv_heads, head_dim, vocab;
    double eps, base;
};

static double number(const Gguf *gguf, const char *key, double otherwise)
{
    double value = otherwise;
    (void)gguf_get_f64(gguf, key, &value);
    return value;
}

Naive *naive_open(Str path)
{
    Naive *m = mem_zalloc(1, sizeof(*m));
    Err err = ERR_INIT;
    bool ok = gguf_open(path, &m->gguf, &err);
    if (!ok) {
        fprintf(stderr, "%s\n", err.message);
    }
    assert(ok);
    m->n_layers = (size_t)number(m->gguf, "llama.block_count", 0);
    m->dim = (size_t)number(m->gguf, "llama.embedding_length", 0);
    m->ffn_dim = (size_t)number(m->gguf, "llama.feed_forward_length", 0);
    m->n_heads = (size_t)number(m->gguf, "llama.attention.head_count", 0);
    m->n_kv_heads = (size_t)number(m->gguf, "llama.attention.head_count_kv", 0);
    double natural = (double)m->dim / (double)m->n_heads;
    m->head_dim = (size_t)number(m->gguf, "llama.attention.key_length", natural);
    m->eps = number(m->gguf, "llama.attention.layer_norm_rms_epsilon", 0);
    m->base = number(m->gguf, "llama.rope.freq_base", 10000);
    m->vocab = gguf_tensor(m->gguf, STR("token_embd.weight"))->dims[1];
    return m;
}

void naive_close(Naive *m)
{
    gguf_close(m->gguf);
    mem_free(m);
}

static double half_value(const uint8_t *p)
{
    int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double f = exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25);
    return bits & 0x8000 ? -f : f;
}

/** Element k of a row. */
static double element(uint32_t type, const uint8_t *row, size_t k)
{
    size_t b = k / 32, i = k % 32;
    float f;
    uint32_t wide;
    const uint8_t *p;
    switch (type) {
    case GGUF_F32:
        memcpy(&f, row + 4 * k, 4);
        return (double)f;
    case GGUF_F16:
        return half_value(row + 2 * k);
    case GGUF_BF16:
        wide = (uint32_t)(row[2 * k] | row[2 * k + 1] << 8) << 16;
        memcpy(&f, &wide, 4);
        return (double)f;
    case GGUF_Q8_0:
        p = row + b * 34;
        return half_value(p) * (int8_t)p[2 + i];
    case GGUF_Q4_0:
        p = row + b * 18;
        return half_value(p) * ((i < 16 ? p[2 + i] & 15 : p[2 + i - 16] >> 4) - 8);
    case GGUF_Q4_1:
        p = row + b * 20;
        return half_value(p) * (i < 16 ? p[4 + i] & 15 : p[4 + i - 16] >> 4) + half_value(p + 2);
    default:
        assert(!"a type that the reference has");
        return 0;
    }
}

static const GgufTensor *tensor(const Naive *m, const char *name)
{
    return gguf_tensor(m->gguf, str_from_c(name));
}

static double at(const GgufTensor *t, size_t row, size_t k)
{
    uint64_t row_bytes;
    bool ok = gguf_row_bytes(t->type, t->dims[0], &row_bytes);
    assert(ok);
    return element(t->type, t->data + row * row_bytes, k);
}

/** out (n_rows, n_out) = x (n_rows, n_in) times the transposed matrix, plus what out holds if add.
 */
static void multiply(const GgufTensor *t, const double *x, size_t n_rows, bool add, double *out)
{
    size_t n_in = t->dims[0], n_out = t->dims[1];
    double *w = mem_alloc(n_in, sizeof(double));
    for (size_t o = 0; o < n_out; o++) {
        for (size_t k = 0; k < n_in; k++) {
            w[k] = at(t, o, k);
        }
        for (size_t r = 0; r < n_rows; r++) {
            double sum = add ? out[r * n_out + o] : 0;
            for (size_t k = 0; k < n_in; k++) {
                sum += w[k] * x[r * n_in + k];
            }
            out[r * n_out + o] = sum;
        }
    }
    mem_free(w);
}

static void norm(const Naive *m, const GgufTensor *weight, const double *x, size_t n, double *out)
{
    for (size_t r = 0; r < n; r++) {
        double sum = 0;
        for (size_t k = 0; k < m->dim; k++) {
            sum += x[r * m->dim + k] * x[r * m->dim + k];
        }
        for (size_t k = 0; k < m->dim; k++) {
            out[r * m->dim + k] =
                x[r * m->dim + k] / sqrt(sum / (double)m->dim + m->eps) * at(weight, 0, k);
        }
    }
}

static void rotate(const Naive *m, double *x, size_t n, size_t n_heads)
{
    const GgufTensor *factors = tensor(m, "rope_freqs.weight");
    for (size_t i = 0; i < n * n_heads * m->head_dim; i += 2) {
        size_t pair = i % m->head_dim / 2, pos = i / (n_heads * m->head_dim);
        double angle = (double)pos * pow(m->base, -2.0 * (double)pair / (double)m->head_dim);
        angle /= factors != NULL ? at(factors, 0, pair) : 1;
        double x0 = x[i], x1 = x[i + 1];
        x[i] = x0 * cos(angle) - x1 * sin(angle);
        x[i + 1] = x0 * sin(angle) + x1 * cos(angle);
    }
}

static void attention(const Naive *m, const double *q, const double *k, const double *v, size_t n,
                      double *out)
{
    size_t group = m->n_heads / m->n_kv_heads, d = m->head_dim;
    double *weights = mem_alloc(n, sizeof(double));
    for (size_t r = 0; r < n * m->n_heads; r++) {
        size_t pos = r / m->n_heads, kv_head = r % m->n_heads / group;
        double most = -INFINITY, sum = 0;
        for (size_t p = 0; p <= pos; p++) {
            weights[p] = 0;
            for (size_t i = 0; i < d; i++) {
                weights[p] += q[r * d + i] * k[(p * m->n_kv_heads + kv_head) * d + i];
            }
            weights[p] /= sqrt((double)d);
            most = fmax(most, weights[p]);
        }
        for (size_t p = 0; p <= pos; p++) {
            weights[p] = exp(weights[p] - most);
            sum += weights[p];
        }
        for (size_t i = 0; i < d; i++) {
            out[r * d + i] = 0;
            for (size_t p = 0; p <= pos; p++) {
                out[r * d + i] += weights[p] / sum * v[(p * m->n_kv_heads + kv_head) * d + i];
            }
        }
    }
    mem_free(weights);
}

static const GgufTensor *block_tensor(const Naive *m, size_t layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof(full), "blk.%zu.%s.weight", layer, name);
    return tensor(m, full);
}

static void layer_pass(const Naive *m, size_t l, Arena *arena, double *x, size_t n)
{
    size_t q_dim = m->n_heads * m->head_dim, kv_dim = m->n_kv_heads * m->head_dim;
    double *h = ARENA_ARRAY(arena, double, n * m->dim);
    double *q = ARENA_ARRAY(arena, double, n *q_dim), *mixed = ARENA_ARRAY(arena, double, n *q_dim);
    double *k = ARENA_ARRAY(arena, double, n *kv_dim), *v = ARENA_ARRAY(arena, double, n *kv_dim);
    double *gate = ARENA_ARRAY(arena, double, n * m->ffn_dim);
    double *up = ARENA_ARRAY(arena, double, n * m->ffn_dim);
    norm(m, block_tensor(m, l, "attn_norm"), x, n, h);
    multiply(block_tensor(m, l, "attn_q"), h, n, false, q);
    multiply(block_tensor(m, l, "attn_k"), h, n, false, k);
    multiply(block_tensor(m, l, "attn_v"), h, n, false, v);
    rotate(m, q, n, m->n_heads);
    rotate(m, k, n, m->n_kv_heads);
    attention(m, q, k, v, n, mixed);
    multiply(block_tensor(m, l, "attn_output"), mixed, n, true, x);
    norm(m, block_tensor(m, l, "ffn_norm"), x, n, h);
    multiply(block_tensor(m, l, "ffn_gate"), h, n, false, gate);
    multiply(block_tensor(m, l, "ffn_up"), h, n, false, up);
    for (size_t i = 0; i < n * m->ffn_dim; i++) {
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    }
    multiply(block_tensor(m, l, "ffn_down"), gate, n, true, x);
}

void naive_logits(const Naive *m, const int32_t *ids, size_t n, double *out)
{
    Arena arena = {0};
    double *x = ARENA_ARRAY(&arena, double, n * m->dim),
           *h = ARENA_ARRAY(&arena, double, n * m->dim);
    const GgufTensor *embedding = tensor(m, "token_embd.weight"),
                     *head = tensor(m, "output.weight");
    for (size_t i = 0; i < n * m->dim; i++) {
        x[i] = at(embedding, (size_t)ids[i / m->dim], i % m->dim);
    }
    for (size_t l = 0; l < m->n_layers; l++) {
        layer_pass(m, l, &arena, x, n);
    }
    norm(m, tensor(m, "output_norm.weight"), x, n, h);
    multiply(head != NULL ? head : embedding, h, n, false, out);
    arena_finish(&arena);
}
