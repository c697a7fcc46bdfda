// SPDX-License-Identifier: MIT
// Files that are no sound model: each has to be refused, with the key or tensor named.
#include "engine/forward.h"
#include "engine/gguf.h"

#include "../tap.h"
#include "tiny_gguf.h"

#include <stdlib.h>
#include <unistd.h>

#define IQ4_NL 20

static Arena arena;

static Str test_path(void)
{
    const char *folder = getenv("TMPDIR");
    return str_printf(&arena, "%s/test_weights_%d.gguf", folder != NULL ? folder : "/tmp",
                      getpid());
}

/** Open the model; *err tells why not. */
static bool opens(const TinyModel *model, Err *err)
{
    Str path = test_path();
    Forward *forward = NULL;
    EngineOptions options = {.model_path = path, .threads = 1, .device = STR("cpu")};
    CHECK_OK(tiny_gguf_write(model, path, err), err);
    bool ok = forward_open(&options, &forward, err);
    forward_close(ok ? forward : NULL);
    unlink(path.data);
    return ok;
}

static void test_weights__refuse_unsound_models(void)
{
    static const struct {
        int line;
        TinyModel with; // deviations only
        ErrCode code;
        const char *says;
    } cases[] = {
        {__LINE__, {.skip_key = "general.architecture"}, ERR_MODEL, "no general.architecture"},
        {__LINE__,
         {.set_text_key = "general.architecture", .set_text = "mamba"},
         ERR_UNSUPPORTED,
         "architecture 'mamba'"},
        {__LINE__, {.skip_key = "llama.block_count"}, ERR_MODEL, "no llama.block_count"},
        {__LINE__, {.set_key = "llama.block_count"}, ERR_MODEL, "llama.block_count is 0"},
        {__LINE__,
         {.set_key = "llama.block_count", .set_value = 1000000},
         ERR_MODEL,
         "llama.block_count is 1000000"},
        {__LINE__,
         {.set_key = "llama.block_count", .set_value = 3},
         ERR_MODEL,
         "'blk.2.attn_norm.weight'"},
        {__LINE__,
         {.set_key = "llama.block_count", .set_value = 1},
         ERR_UNSUPPORTED,
         "'blk.1.attn_norm.weight' is no part of a llama model"},
        {__LINE__,
         {.set_key = "llama.embedding_length", .set_value = 192},
         ERR_MODEL,
         "'blk.0.attn_norm.weight' has the shape [96, 1, 1, 1], expected [192, 1, 1, 1]"},
        {__LINE__, {.skip_key = "llama.embedding_length"}, ERR_MODEL, "llama.embedding_length"},
        {__LINE__,
         {.skip_key = "llama.feed_forward_length"},
         ERR_MODEL,
         "llama.feed_forward_length"},
        {__LINE__, {.skip_key = "llama.context_length"}, ERR_MODEL, "llama.context_length"},
        {__LINE__, {.set_key = "llama.attention.head_count"}, ERR_MODEL, "head_count is 0"},
        {__LINE__,
         {.set_key = "llama.embedding_length", .set_value = 128},
         ERR_MODEL,
         "128 elements do not divide into 6 heads"},
        {__LINE__,
         {.set_key = "llama.attention.head_count_kv", .set_value = 4},
         ERR_MODEL,
         "evenly"},
        {__LINE__,
         {.set_key = "llama.attention.head_count", .set_value = 4},
         ERR_MODEL,
         "'blk.0.attn_k.weight' has the shape"},
        {__LINE__,
         {.set_key = "llama.attention.head_count", .set_value = 96},
         ERR_MODEL,
         "key_length is 1"},
        {__LINE__,
         {.set_key = "llama.attention.value_length", .set_value = 8},
         ERR_UNSUPPORTED,
         "values of 8"},
        {__LINE__,
         {.set_key = "llama.attention.key_length", .set_value = 4096},
         ERR_MODEL,
         "key_length"},
        {__LINE__,
         {.set_key = "llama.rope.dimension_count", .set_value = 18},
         ERR_MODEL,
         "dimension_count"},
        {__LINE__,
         {.set_key = "llama.rope.dimension_count", .set_value = 7},
         ERR_MODEL,
         "not even"},
        {__LINE__, {.set_key = "llama.rope.freq_base"}, ERR_MODEL, "freq_base is 0"},
        {__LINE__,
         {.set_text_key = "llama.rope.scaling.type", .set_text = "yarn"},
         ERR_UNSUPPORTED,
         "rope scaling 'yarn'"},
        {__LINE__,
         {.skip_key = "llama.attention.layer_norm_rms_epsilon"},
         ERR_MODEL,
         "layer_norm_rms_epsilon"},
        {__LINE__, {.set_key = "llama.expert_count", .set_value = 8}, ERR_UNSUPPORTED, "8 experts"},
        {__LINE__,
         {.set_key = "llama.attention.sliding_window", .set_value = 64},
         ERR_UNSUPPORTED,
         "sliding window"},
        {__LINE__,
         {.set_key = "llama.vocab_size", .set_value = 321},
         ERR_MODEL,
         "llama.vocab_size says 321"},
        {__LINE__, {.set_key = "split.count", .set_value = 2}, ERR_UNSUPPORTED, "2 files"},
        {__LINE__,
         {.skip_tensor = "token_embd.weight"},
         ERR_MODEL,
         "no tensor 'token_embd.weight'"},
        {__LINE__,
         {.skip_tensor = "output_norm.weight"},
         ERR_MODEL,
         "no tensor 'output_norm.weight'"},
        {__LINE__,
         {.skip_tensor = "blk.1.ffn_up.weight"},
         ERR_MODEL,
         "no tensor 'blk.1.ffn_up.weight'"},
        {__LINE__,
         {.odd_tensor = "blk.1.ffn_down.weight"},
         ERR_MODEL,
         "'blk.1.ffn_down.weight' has the shape [192, 96, 1, 1], expected [160, 96, 1, 1]"},
        {__LINE__,
         {.odd_tensor = "token_embd.weight"},
         ERR_MODEL,
         "'token_embd.weight' has the shape"},
        {__LINE__,
         {.type_tensor = "blk.0.attn_v.weight", .odd_type = IQ4_NL},
         ERR_UNSUPPORTED,
         "'blk.0.attn_v.weight' is IQ4_NL"},
        {__LINE__,
         {.type_tensor = "blk.0.ffn_norm.weight", .odd_type = GGUF_F16},
         ERR_UNSUPPORTED,
         "'blk.0.ffn_norm.weight' is F16, expected F32"},
        {__LINE__,
         {.add_tensor = "blk.0.attn_q.bias"},
         ERR_UNSUPPORTED,
         "'blk.0.attn_q.bias' is no part of a llama model"},
        {__LINE__,
         {.add_tensor = "rope_freqs.weight"},
         ERR_MODEL,
         "'rope_freqs.weight' has the shape"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        TinyModel model = tiny_model_default();
        const TinyModel *with = &cases[i].with;
        model.skip_key = with->skip_key;
        model.set_key = with->set_key;
        model.set_value = with->set_value;
        model.set_text_key = with->set_text_key;
        model.set_text = with->set_text;
        model.skip_tensor = with->skip_tensor;
        model.odd_tensor = with->odd_tensor;
        model.type_tensor = with->type_tensor;
        model.odd_type = with->odd_type;
        model.add_tensor = with->add_tensor;
        Err err = ERR_INIT;
        CHECK(!opens(&model, &err));
        if (err.code != cases[i].code ||
            str_find(str_from_c(err.message), str_from_c(cases[i].says), 0) == STR_NONE) {
            printf("# line %d: got %s [%s]\n", cases[i].line, err.message, err_code_word(err.code));
            CHECK(false);
        }
    }
}

static void test_weights__accept_what_is_only_unusual(void)
{
    static const TinyModel cases[] = {
        {.set_key = "llama.attention.sliding_window", .set_value = 8192},
        {.set_key = "llama.expert_count", .set_value = 0},
        {.skip_key = "llama.vocab_size"},
        {.skip_key = "llama.rope.freq_base"},
        {.skip_key = "llama.rope.dimension_count"},
        {.set_text_key = "llama.rope.scaling.type", .set_text = "linear"},
        {.skip_key = "general.name"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        TinyModel model = tiny_model_default();
        model.skip_key = cases[i].skip_key;
        model.set_key = cases[i].set_key;
        model.set_value = cases[i].set_value;
        model.set_text_key = cases[i].set_text_key;
        model.set_text = cases[i].set_text;
        Err err = ERR_INIT;
        CHECK_OK(opens(&model, &err), &err);
    }
}

/** A file cut anywhere, or with a byte changed, gives an error or a model; never anything else. */
static void test_weights__survive_damage(void)
{
    TinyModel model = tiny_model_default();
    model.dim = 32;
    model.ffn_dim = 32;
    model.n_layers = 1;
    model.n_heads = 2;
    model.n_kv_heads = 1;
    Buf bytes = {0};
    tiny_gguf_bytes(&model, &bytes);
    Str path = test_path();
    EngineOptions options = {.model_path = path, .threads = 1};
    size_t n_opened = 0;
    for (uint64_t i = 0; i < 400; i++) {
        Err err = ERR_INIT;
        Forward *forward = NULL;
        size_t len = i % 4 == 0 ? (size_t)(rng_at(1, i, 0) * (double)bytes.len) : bytes.len;
        size_t at = (size_t)(rng_at(1, i, 1) * 2500);
        char old = bytes.data[at];
        bytes.data[at] = (char)(rng_at(1, i, 2) * 256);
        CHECK_OK(file_write_atomic(path, (Str){bytes.data, len}, &err), &err);
        bytes.data[at] = old;
        if (forward_open(&options, &forward, &err)) {
            n_opened++;
            forward_close(forward);
        } else {
            CHECK(err.message[0] != '\0');
        }
    }
    CHECK(n_opened < 400);
    buf_finish(&bytes);
    unlink(path.data);
}

/** A small file may ask for much memory: a width of a million costs little beside one of 2.
 */
static void test_weights__refuse_to_take_all_memory(void)
{
    TinyModel model = tiny_model_default();
    model.n_layers = 1;
    model.dim = 2;
    model.ffn_dim = 1u << 20;
    model.type = model.embed_type = GGUF_F16;
    model.n_heads = 1;
    model.n_kv_heads = 1;
    Err err = ERR_INIT;
    CHECK(!opens(&model, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    CHECK(str_find(str_from_c(err.message), STR("rows need"), 0) != STR_NONE);
}

static void test_weights__refuse_what_is_not_there(void)
{
    Err err = ERR_INIT;
    Forward *forward = NULL;
    EngineOptions options = {.model_path = STR("/nonexistent/model.gguf"), .threads = 1};
    CHECK(!forward_open(&options, &forward, &err));
    err = (Err)ERR_INIT;
    options.device = STR("cuda:0");
    CHECK(!forward_open(&options, &forward, &err));
    CHECK_INT(err.code, ERR_ENVIRONMENT);
    err = (Err)ERR_INIT;
    options.device = STR("auto");
    setenv("MUSTER_CPU", "sse9", 1);
    CHECK(!forward_open(&options, &forward, &err));
    CHECK_INT(err.code, ERR_USAGE);
    unsetenv("MUSTER_CPU");
}

int main(void)
{
    tap_run("refuse unsound models", test_weights__refuse_unsound_models);
    tap_run("accept what is only unusual", test_weights__accept_what_is_only_unusual);
    tap_run("survive damage", test_weights__survive_damage);
    tap_run("refuse to take all memory", test_weights__refuse_to_take_all_memory);
    tap_run("refuse what is not there", test_weights__refuse_what_is_not_there);
    arena_finish(&arena);
    return tap_done();
}
