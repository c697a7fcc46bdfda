// SPDX-License-Identifier: MIT
#include "tiny_gguf.h"

#include "gguf_build.h"

#include <math.h>
#include <stdio.h>

// GGUF numbers (ggml's gguf.md); not taken from the reader, which is what the files test.
enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q8_0 = 8, BF16 = 30 };
enum { KIND_NORMAL = 1, KIND_CONTROL = 3, KIND_UNUSED = 5 };

static const char chat_template[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% "
    "endif %}";

TinyModel tiny_model_default(void)
{
    return (TinyModel){.n_layers = 2,
                       .dim = 96,
                       .ffn_dim = 160,
                       .n_heads = 6,
                       .n_kv_heads = 2,
                       .vocab = 320,
                       .context = 8192,
                       .type = Q4_1,
                       .embed_type = Q8_0,
                       .seed = 1};
}

static bool same(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

// ---- Numbers into tensor bytes ----------------------------------------------------------------

static uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    float f = exponent == 0 ? ldexpf((float)mantissa, -24)
                            : ldexpf((float)(mantissa + 1024), exponent - 25);
    return h & 0x8000 ? -f : f;
}

/** Nearest half, to even; x is well inside the range. */
static uint16_t half_of(float x)
{
    uint16_t sign = x < 0 ? 0x8000 : 0;
    int exponent;
    float a = fabsf(x);
    frexpf(a, &exponent); // a = m * 2^exponent, m in [0.5, 1)
    int shift = exponent - 1 < -14 ? 24 : 11 - exponent;
    int mantissa = (int)lrintf(ldexpf(a, shift));
    int bits = shift == 24 ? mantissa : ((exponent + 14) << 10) + mantissa - 1024;
    return (uint16_t)(sign | bits);
}

static void put_half(Buf *out, float x)
{
    gb_uint(out, half_of(x), 2);
}

/** Nibbles of 32 values: element i low, element 16+i high. */
static void put_nibbles(Buf *out, const int q[32])
{
    for (int i = 0; i < 16; i++) {
        buf_char(out, (char)(q[i] | q[i + 16] << 4));
    }
}

static int clamp(long x, int low, int high)
{
    return x < low ? low : x > high ? high : (int)x;
}

/** One block of 32 values in a quantised type. */
static void put_block(Buf *out, uint32_t type, const float *x)
{
    float low = x[0], high = x[0], most = 0;
    int q[32];
    for (int i = 0; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    }
    float step = type == Q8_0 ? most / 127 : type == Q4_0 ? most / 7 : (high - low) / 15;
    float d = half_value(half_of(step)), m = half_value(half_of(low));
    put_half(out, step);
    if (type == Q4_1) {
        put_half(out, low);
    }
    for (int i = 0; i < 32; i++) {
        float value = type == Q4_1 ? x[i] - m : x[i];
        long nearest = d > 0 ? lrintf(value / d) : 0;
        q[i] = type == Q8_0   ? clamp(nearest, -127, 127)
               : type == Q4_0 ? clamp(nearest + 8, 0, 15)
                              : clamp(nearest, 0, 15);
    }
    if (type == Q8_0) {
        for (int i = 0; i < 32; i++) {
            buf_char(out, (char)q[i]);
        }
    } else {
        put_nibbles(out, q);
    }
}

static void put_values(Buf *out, uint32_t type, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (type == F32) {
            gb_uint(out, float_bits(x[i]), 4);
        } else if (type == F16) {
            put_half(out, x[i]);
        } else if (type == BF16) {
            gb_uint(out, float_bits(x[i]) >> 16, 2);
        } else if (i % 32 == 0) {
            put_block(out, type, x + i);
        }
    }
}

// ---- The file ---------------------------------------------------------------------------------

typedef struct Writer {
    const TinyModel *model;
    GgufBuild build;
    Rng rng;
    Buf data;
    float *values;
} Writer;

/** Roughly normal: a sum of four uniform numbers. */
static float draw(Rng *rng)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += rng_real(rng) - 0.5;
    }
    return (float)(sum * 1.7320508);
}

/** A tensor of random values around `mean`; cols is the length of a row. */
static void put_tensor(Writer *w, const char *name, uint32_t type, uint32_t cols, uint32_t rows,
                       float mean, float deviation)
{
    size_t n = (size_t)cols * (rows == 0 ? 1 : rows);
    w->values = mem_realloc(w->values, n + 32, sizeof(float));
    for (size_t i = 0; i < n; i++) {
        w->values[i] = mean + deviation * draw(&w->rng);
    }
    if (w->model->poison != 0 && same("blk.0.attn_norm.weight", name)) {
        w->values[0] = w->model->poison;
    }
    if (same(w->model->skip_tensor, name)) {
        return;
    }
    bool odd = same(w->model->odd_tensor, name);
    uint64_t dims[2] = {cols + (odd ? 32 : 0), rows};
    buf_clear(&w->data);
    for (uint32_t r = 0; r < (rows == 0 ? 1 : rows); r++) {
        put_values(&w->data, type, w->values + (size_t)r * cols, cols);
    }
    for (uint32_t i = 0; odd && i < 64 * 4 * (rows + 1); i++) {
        buf_char(&w->data, 0);
    }
    if (same(w->model->type_tensor, name)) {
        type = w->model->odd_type;
    }
    gb_tensor(&w->build, name, type, rows == 0 ? 1 : 2, dims, w->data.data, w->data.len);
}

static void put_layer(Writer *w, uint32_t layer)
{
    const TinyModel *m = w->model;
    uint32_t head_dim = m->head_dim != 0 ? m->head_dim : m->dim / m->n_heads;
    uint32_t q_dim = m->n_heads * head_dim, kv_dim = m->n_kv_heads * head_dim;
    const struct {
        const char *name;
        uint32_t cols, rows;
    } tensors[] = {
        {"attn_norm", m->dim, 0},         {"attn_q", m->dim, q_dim},
        {"attn_k", m->dim, kv_dim},       {"attn_v", m->dim, kv_dim},
        {"attn_output", q_dim, m->dim},   {"ffn_norm", m->dim, 0},
        {"ffn_gate", m->dim, m->ffn_dim}, {"ffn_up", m->dim, m->ffn_dim},
        {"ffn_down", m->ffn_dim, m->dim},
    };
    for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, tensors[i].name);
        if (tensors[i].rows == 0) {
            put_tensor(w, name, F32, tensors[i].cols, 0, 1, 0.2f);
        } else {
            float deviation = 1.5f / sqrtf((float)tensors[i].cols);
            put_tensor(w, name, m->type, tensors[i].cols, tensors[i].rows, 0, deviation);
        }
    }
}

/** A key as the model's deviations want it. */
static void put_u32(Writer *w, const char *key, uint32_t value)
{
    if (!same(w->model->skip_key, key) && !same(w->model->set_key, key)) {
        gb_u32(&w->build, key, value);
    }
}

static void put_f32(Writer *w, const char *key, float value)
{
    if (!same(w->model->skip_key, key) && !same(w->model->set_key, key)) {
        gb_f32(&w->build, key, value);
    }
}

static void put_str(Writer *w, const char *key, Str value)
{
    if (!same(w->model->skip_key, key) && !same(w->model->set_text_key, key)) {
        gb_str(&w->build, key, value);
    }
}

/** GPT-2's printable stand-ins for bytes: themselves, or U+0100 onwards for those that do not
 * print. */
static Str byte_symbol(Arena *arena, uint32_t byte)
{
    uint32_t code = byte, n_hidden = 0;
    for (uint32_t b = 0; b <= byte; b++) {
        bool shown = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        n_hidden += !shown;
        if (b == byte && !shown) {
            code = 256 + n_hidden - 1;
        }
    }
    return code < 128
               ? str_printf(arena, "%c", (int)code)
               : str_printf(arena, "%c%c", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 63)));
}

static void put_vocabulary(Writer *w)
{
    static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>",
                                           "<|pad|>"};
    const TinyModel *m = w->model;
    Arena arena = {0};
    Str *tokens = ARENA_ARRAY(&arena, Str, m->vocab);
    int32_t *kinds = ARENA_ARRAY(&arena, int32_t, m->vocab);
    for (uint32_t i = 0; i < m->vocab; i++) {
        bool special = i >= TINY_BOS && i < TINY_VOCAB_MIN;
        tokens[i] = i < TINY_BOS ? byte_symbol(&arena, i)
                    : special    ? str_from_c(specials[i - TINY_BOS])
                                 : str_printf(&arena, "<|unused_%u|>", i);
        kinds[i] = i < TINY_BOS ? KIND_NORMAL : special ? KIND_CONTROL : KIND_UNUSED;
    }
    if (m->vocab >
        TINY_VOCAB_MIN) { // a tokenizer without merges is refused: one that texts hardly meet
        tokens[TINY_VOCAB_MIN] = STR("~~");
        kinds[TINY_VOCAB_MIN] = KIND_NORMAL;
    }
    Str merge = STR("~ ~");
    put_str(w, "tokenizer.ggml.model", STR("gpt2"));
    put_str(w, "tokenizer.ggml.pre", STR("smollm"));
    gb_strs(&w->build, "tokenizer.ggml.tokens", tokens, m->vocab);
    gb_i32s(&w->build, "tokenizer.ggml.token_type", kinds, m->vocab);
    gb_strs(&w->build, "tokenizer.ggml.merges", &merge, 1);
    put_u32(w, "tokenizer.ggml.bos_token_id", TINY_BOS);
    put_u32(w, "tokenizer.ggml.eos_token_id", TINY_IM_END);
    put_u32(w, "tokenizer.ggml.padding_token_id", TINY_PAD);
    gb_bool(&w->build, "tokenizer.ggml.add_bos_token", m->add_bos);
    put_str(w, "tokenizer.chat_template", str_from_c(chat_template));
    arena_finish(&arena);
}

static void put_keys(Writer *w)
{
    const TinyModel *m = w->model;
    uint32_t head_dim = m->head_dim != 0 ? m->head_dim : m->dim / m->n_heads;
    put_str(w, "general.architecture", STR("llama"));
    put_str(w, "general.name", STR("Tiny random llama"));
    put_u32(w, "llama.block_count", m->n_layers);
    put_u32(w, "llama.context_length", m->context);
    put_u32(w, "llama.embedding_length", m->dim);
    put_u32(w, "llama.feed_forward_length", m->ffn_dim);
    put_u32(w, "llama.attention.head_count", m->n_heads);
    put_u32(w, "llama.attention.head_count_kv", m->n_kv_heads);
    put_u32(w, "llama.vocab_size", m->vocab);
    put_u32(w, "llama.rope.dimension_count", head_dim);
    put_f32(w, "llama.rope.freq_base", 10000);
    put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (m->head_dim != 0) {
        put_u32(w, "llama.attention.key_length", m->head_dim);
        put_u32(w, "llama.attention.value_length", m->head_dim);
    }
    if (m->set_key != NULL) {
        gb_u32(&w->build, m->set_key, m->set_value);
    }
    if (m->set_text_key != NULL) {
        gb_str(&w->build, m->set_text_key, str_from_c(m->set_text));
    }
}

void tiny_gguf_bytes(const TinyModel *model, Buf *out)
{
    Writer w = {.model = model};
    uint32_t head_dim = model->head_dim != 0 ? model->head_dim : model->dim / model->n_heads;
    rng_init(&w.rng, model->seed);
    put_keys(&w);
    put_vocabulary(&w);
    put_tensor(&w, "token_embd.weight", model->embed_type, model->dim, model->vocab, 0, 1);
    if (model->untied) {
        put_tensor(&w, "output.weight", model->embed_type, model->dim, model->vocab, 0, 0.5f);
    }
    put_tensor(&w, "output_norm.weight", F32, model->dim, 0, 1, 0.2f);
    if (model->rope_freqs) {
        put_tensor(&w, "rope_freqs.weight", F32, head_dim / 2, 0, 2, 0.3f);
    }
    for (uint32_t layer = 0; layer < model->n_layers; layer++) {
        put_layer(&w, layer);
    }
    if (model->add_tensor != NULL) {
        put_tensor(&w, model->add_tensor, F32, 1, 0, 0, 1);
    }
    gb_finish(&w.build, 3, 32, out);
    buf_finish(&w.data);
    mem_free(w.values);
}

bool tiny_gguf_write(const TinyModel *model, Str path, Err *err)
{
    Buf bytes = {0};
    tiny_gguf_bytes(model, &bytes);
    bool ok = file_write_atomic(path, buf_view(&bytes), err);
    buf_finish(&bytes);
    return ok;
}
