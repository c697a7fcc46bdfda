// SPDX-License-Identifier: MIT
// The tokenizer on hostile text and on hostile vocabularies. The first byte says which:
//   0..127    text: a small vocabulary of ours, with the pre-tokenizer of that number (or
//   SentencePiece);
//             all bytes are tokens, so the text must come back byte for byte
//   128..191  a GGUF file, its last 64 bytes the text
//   192..255  a vocabulary spelt by the input (see spell), its last third the text
#include "engine/tokenizer_internal.h"
#include "tests/unit/engine/vocab_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pre_names[] = {
#define X(name, list, flags) name,
#include "engine/tokenizer_pre.def"
#undef X
};
#define N_PRE (sizeof(pre_names) / sizeof(pre_names[0]))

static void require(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static Tokenizer *open_bytes(const uint8_t *data, size_t size)
{
    Gguf *gguf = NULL;
    Tokenizer *tokenizer = NULL;
    Err err = ERR_INIT;
    bool ok = gguf_open_memory(data, size, &gguf, &err) && tokenizer_open(gguf, &tokenizer, &err);
    require(ok == (err.code == ERR_NONE));
    gguf_close(gguf);
    return tokenizer;
}

static Tokenizer *open_vocab(const Vocab *vocab, GgufBuild *keys)
{
    Buf file = {0};
    vocab_keys(vocab, keys);
    gb_finish(keys, 3, 32, &file);
    Tokenizer *tokenizer = open_bytes((const uint8_t *)file.data, file.len);
    buf_finish(&file);
    return tokenizer;
}

/** Whatever the vocabulary: ids are tokens, BOS is where it belongs, decoding stays inside. */
static void encode(const Tokenizer *tokenizer, Str text, bool special, bool whole)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    int32_t *ids = NULL;
    size_t n = 0;
    Buf decoded = {0};
    require(tokenizer_encode(tokenizer, text, special, true, &arena, &ids, &n, &err));
    for (size_t i = 0; i < n; i++) {
        require(ids[i] >= 0 && (size_t)ids[i] < tokenizer_vocab(tokenizer));
    }
    require(!tokenizer_adds_bos(tokenizer) || (n > 0 && ids[0] == tokenizer_bos(tokenizer)));
    tokenizer_decode(tokenizer, ids, n, true, &decoded);
    require(!whole || str_eq(buf_view(&decoded), text));
    buf_finish(&decoded);
    arena_finish(&arena);
}

/** Words, spaces and control tokens enough to reach every path of a sound vocabulary. */
static Tokenizer *open_sound(size_t pre)
{
    static Vocab vocab;
    GgufBuild keys = {0};
    vocab = (Vocab){.model = pre < N_PRE ? "gpt2" : "llama",
                    .pre = pre < N_PRE ? pre_names[pre] : NULL};
    vocab_add_bytes(&vocab);
    if (pre < N_PRE) {
        Str space = vocab_letter(&vocab, ' ');
        vocab_merge(&vocab, STR("t"), STR("h"), true);
        vocab_merge(&vocab, STR("th"), STR("e"), true);
        vocab_merge(&vocab, space, STR("the"), true);
        vocab_merge(&vocab, space, space, true);
        vocab_merge(&vocab, STR("1"), STR("2"), false);
        vocab_merge(&vocab, STR("12"), STR("3"), true);
        gb_bool(&keys, "tokenizer.ggml.add_bos_token", false);
    } else {
        vocab_add(&vocab, STR("\xe2\x96\x81"), 1, 1);
        vocab_add(&vocab, STR("\xe2\x96\x81\xe2\x96\x81"), 1, 5);
        vocab_add(&vocab, STR("th"), 1, 9);
        vocab_add(&vocab, STR("the"), 1, 8);
        vocab_add(&vocab, STR("\xe2\x96\x81the"), 1, 9);
        gb_bool(&keys, "tokenizer.ggml.add_bos_token", false);
        gb_bool(&keys, "tokenizer.ggml.add_space_prefix", false);
    }
    vocab_add(&vocab, STR("<|end|>"), 3, 0);
    vocab_add(&vocab, STR("<u>"), 4, 0);
    Tokenizer *tokenizer = open_vocab(&vocab, &keys);
    arena_finish(&vocab.arena);
    require(tokenizer != NULL);
    return tokenizer;
}

static void fuzz_text(size_t pre, Str text)
{
    static Tokenizer *open[N_PRE + 1];
    pre %= N_PRE + 1;
    if (open[pre] == NULL) {
        open[pre] = open_sound(pre);
    }
    // SentencePiece can not tell U+2581 from a space.
    bool whole = pre < N_PRE || str_find(text, STR("\xe2\x96\x81"), 0) == STR_NONE;
    encode(open[pre], text, true, whole);
    encode(open[pre], text, false, whole);
}

/** Three bytes an entry: kind and model bits, length, score; then the text. Merges are cut out of
 * texts. */
static void fuzz_spelt(uint8_t mode, Str spelt, Str text)
{
    static Vocab vocab;
    GgufBuild keys = {0};
    static const char *const pres[] = {"gpt-2", "llama-bpe", "smollm", "deepseek-coder"};
    vocab = (Vocab){.model = mode % 2 == 0 ? "gpt2" : "llama", .pre = pres[mode / 2 % 4]};
    if (mode & 8) {
        vocab_add_bytes(&vocab);
    }
    gb_str(&keys, "general.name", mode & 16 ? STR("Phi-3") : STR("x"));
    gb_u32(&keys, "tokenizer.ggml.bos_token_id", mode & 7);
    while (spelt.len > 3 && vocab.n < VOCAB_TOKENS_MAX) {
        uint8_t kind = (uint8_t)spelt.data[0], len = (uint8_t)spelt.data[1];
        Str token = str_slice(spelt, 3, 3 + len % 16);
        vocab_add(&vocab, token, kind % 7, (float)(int8_t)spelt.data[2]);
        if (kind & 64 && token.len > 1 && vocab.n_merges < VOCAB_TOKENS_MAX) {
            size_t cut = 1 + kind % (token.len - 1);
            vocab.merges[vocab.n_merges++] =
                str_printf(&vocab.arena, STR_FMT " " STR_FMT, STR_ARG(str_slice(token, 0, cut)),
                           STR_ARG(str_slice(token, cut, token.len)));
        }
        spelt = str_slice(spelt, 3 + token.len, spelt.len);
    }
    Tokenizer *tokenizer = open_vocab(&vocab, &keys);
    if (tokenizer != NULL) {
        encode(tokenizer, text, true, false);
        encode(tokenizer, text, false, false);
    }
    tokenizer_close(tokenizer);
    arena_finish(&vocab.arena);
}

static void fuzz_file(Str file)
{
    Tokenizer *tokenizer = open_bytes((const uint8_t *)file.data, file.len);
    if (tokenizer != NULL) {
        encode(tokenizer, str_slice(file, file.len > 64 ? file.len - 64 : 0, file.len), true,
               false);
        tokenizer_is_end(tokenizer, 0);
    }
    tokenizer_close(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    Str rest = {(const char *)data + 1, size - 1};
    if (data[0] < 128) {
        fuzz_text(data[0], rest);
    } else if (data[0] < 192) {
        fuzz_file(rest);
    } else {
        size_t cut = rest.len - rest.len / 3;
        fuzz_spelt(data[0] & 63, str_slice(rest, 0, cut), str_slice(rest, cut, rest.len));
    }
    return 0;
}
