// SPDX-License-Identifier: MIT
// The tokenizer of engine.h: opening, the pool of scratch memory that lets any number of threads
// encode at once, encoding around special tokens, decoding. The models' own rules are in
// tokenizer_bpe.c and tokenizer_spm.c.
#include "engine/tokenizer_internal.h"

#include <string.h>

#define TEXT_BYTES_MAX (UINT32_C(64) << 20)

// ---- The pool ----------------------------------------------------------------------------------

static void scratch_destroy(Scratch *scratch)
{
    if (scratch == NULL) {
        return;
    }
    for (size_t i = 0; i < PRE_REGEX_MAX; i++) {
        regex_destroy(scratch->regexes[i]);
    }
    mem_free(scratch->nodes);
    mem_free(scratch->heap);
    mem_free(scratch->cache);
    mem_free(scratch->ids);
    buf_finish(&scratch->text);
    mem_free(scratch);
}

static bool scratch_create(const Tokenizer *tokenizer, Scratch **out, Err *err)
{
    Scratch *scratch = mem_zalloc(1, sizeof(*scratch));
    const char *const *regexes = tokenizer->pre != NULL ? tokenizer->pre->regexes : NULL;
    scratch->cache = mem_zalloc(CACHE_WORDS, sizeof(CachedWord));
    buf_init(&scratch->text, (size_t)TEXT_BYTES_MAX * 3 + 64); // an invalid byte is shown as three
    for (size_t i = 0; regexes != NULL && regexes[i] != NULL; i++) {
        if (!regex_create(str_from_c(regexes[i]), REGEX_UNLIMITED, &scratch->regexes[i], err)) {
            scratch_destroy(scratch);
            return ERR_WRAP(err, "pre-tokenizer '%s'", tokenizer->pre->name);
        }
    }
    *out = scratch;
    return true;
}

static bool scratch_take(const Tokenizer *tokenizer, Scratch **out, Err *err)
{
    ScratchPool *pool = tokenizer->pool;
    pthread_mutex_lock(&pool->mutex);
    Scratch *scratch = pool->free;
    if (scratch != NULL) {
        pool->free = scratch->next;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (scratch == NULL && !scratch_create(tokenizer, &scratch, err)) {
        return false;
    }
    scratch->n_ids = 0;
    *out = scratch;
    return true;
}

static void scratch_give(const Tokenizer *tokenizer, Scratch *scratch)
{
    ScratchPool *pool = tokenizer->pool;
    pthread_mutex_lock(&pool->mutex);
    scratch->next = pool->free;
    pool->free = scratch;
    pthread_mutex_unlock(&pool->mutex);
}

// ---- Opening -----------------------------------------------------------------------------------

static bool load(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    Str model = STR_EMPTY;
    Scratch *scratch;
    if (!gguf_get_str(gguf, "tokenizer.ggml.model", &model)) {
        return ERR_SET(err, ERR_PARSE, "the file has no tokenizer (tokenizer.ggml.model)");
    }
    if (!str_eq_c(model, "gpt2") && !str_eq_c(model, "llama")) {
        return ERR_SET(err, ERR_UNSUPPORTED,
                       "tokenizers of model '" STR_FMT
                       "' are not supported, 'gpt2' and 'llama' are",
                       STR_ARG(str_slice(model, 0, 64)));
    }
    tokenizer->model = str_eq_c(model, "gpt2") ? MODEL_BPE : MODEL_SPM;
    if (!tokenizer_load_vocab(tokenizer, gguf, err) ||
        !(tokenizer->model == MODEL_BPE ? tokenizer_load_bpe(tokenizer, gguf, err)
                                        : tokenizer_load_spm(tokenizer, gguf, err))) {
        return false;
    }
    gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &tokenizer->add_bos);
    tokenizer->add_bos = tokenizer->add_bos && tokenizer->bos >= 0;
    if (!scratch_take(tokenizer, &scratch,
                      err)) { // compiles the regexes, so that encoding will not fail
        return false;
    }
    scratch_give(tokenizer, scratch);
    return true;
}

bool tokenizer_open(const Gguf *gguf, Tokenizer **out, Err *err)
{
    Tokenizer *tokenizer = mem_zalloc(1, sizeof(*tokenizer));
    tokenizer->bos = tokenizer->eos = tokenizer->unknown = -1;
    tokenizer->pool = mem_zalloc(1, sizeof(*tokenizer->pool));
    pthread_mutex_init(&tokenizer->pool->mutex, NULL);
    if (!load(tokenizer, gguf, err)) {
        tokenizer_close(tokenizer);
        return false;
    }
    *out = tokenizer;
    return true;
}

bool tokenizer_open_gguf(Str path, Tokenizer **out, Err *err)
{
    Gguf *gguf;
    if (!gguf_open(path, &gguf, err)) {
        return false;
    }
    bool ok = tokenizer_open(gguf, out, err);
    gguf_close(gguf);
    return ok || ERR_WRAP(err, "'" STR_FMT "'", STR_ARG(path));
}

void tokenizer_close(Tokenizer *tokenizer)
{
    if (tokenizer == NULL) {
        return;
    }
    while (tokenizer->pool->free != NULL) {
        Scratch *scratch = tokenizer->pool->free;
        tokenizer->pool->free = scratch->next;
        scratch_destroy(scratch);
    }
    pthread_mutex_destroy(&tokenizer->pool->mutex);
    mem_free(tokenizer->pool);
    arena_finish(&tokenizer->arena);
    mem_free(tokenizer);
}

// ---- Encoding ----------------------------------------------------------------------------------

static bool is_ascii_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/** Fragments between special tokens go to the model's own encoder. */
static bool encode_fragments(const Tokenizer *tokenizer, Scratch *scratch, Str text, bool controls,
                             Err *err)
{
    bool after_special = true; // a text starts like the text after a special token
    for (size_t at = 0; at < text.len;) {
        int32_t token = -1;
        size_t end = tokenizer_find_special(tokenizer, text, at, controls, &token);
        Str fragment = str_slice(text, at, end);
        if (fragment.len > 0 && tokenizer->model == MODEL_SPM) {
            tokenizer_encode_spm(tokenizer, scratch, fragment, after_special);
        } else if (fragment.len > 0 && !tokenizer_encode_bpe(tokenizer, scratch, fragment, err)) {
            return false;
        }
        after_special = token >= 0;
        at = end;
        if (token >= 0) {
            scratch_push(scratch, token);
            at += tokenizer->symbols[token].len;
            while (bit_get(tokenizer->strips, (size_t)token) && at < text.len &&
                   is_ascii_space(text.data[at])) {
                at++;
            }
        }
    }
    return true;
}

bool tokenizer_encode(const Tokenizer *tokenizer, Str text, bool special, bool bos, Arena *arena,
                      int32_t **out_ids, size_t *out_n, Err *err)
{
    Scratch *scratch;
    if (text.len > TEXT_BYTES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "a text of %zu bytes, at most %u can be tokenized", text.len,
                       TEXT_BYTES_MAX);
    }
    if (!scratch_take(tokenizer, &scratch, err)) {
        return false;
    }
    bool ok = encode_fragments(tokenizer, scratch, text, special, err);
    if (ok) {
        size_t n = scratch->n_ids;
        size_t add =
            bos && tokenizer->add_bos && (n == 0 || scratch->ids[0] != tokenizer->bos) ? 1 : 0;
        int32_t *ids = arena_alloc_raw(arena, n + add + 1, sizeof(*ids));
        ids[0] = tokenizer->bos;
        if (n > 0) {
            memcpy(ids + add, scratch->ids, n * sizeof(*ids));
        }
        *out_ids = ids;
        *out_n = n + add;
    }
    scratch_give(tokenizer, scratch);
    return ok;
}

// ---- Decoding ----------------------------------------------------------------------------------

void tokenizer_decode(const Tokenizer *tokenizer, const int32_t *ids, size_t n, bool special,
                      Buf *buf)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer->n_tokens) {
            continue;
        }
        TokenKind kind = (TokenKind)tokenizer->kinds[ids[i]];
        bool shown =
            special || (kind != TOKEN_CONTROL && kind != TOKEN_UNKNOWN && kind != TOKEN_UNUSED);
        Str piece = shown ? tokenizer->symbols[ids[i]] : STR_EMPTY;
        // The space that encoding puts before a text is not the text's.
        if (i > 0 && ids[i - 1] == tokenizer->bos && tokenizer->add_space_prefix && piece.len > 0 &&
            piece.data[0] == ' ') {
            piece = str_slice(piece, 1, piece.len);
        }
        buf_str(buf, piece);
    }
}

Str tokenizer_piece(const Tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->n_tokens ? tokenizer->symbols[id] : STR_EMPTY;
}

// ---- Facts -------------------------------------------------------------------------------------

size_t tokenizer_vocab(const Tokenizer *tokenizer)
{
    return tokenizer->n_tokens;
}

int32_t tokenizer_bos(const Tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t tokenizer_eos(const Tokenizer *tokenizer)
{
    return tokenizer->eos;
}

bool tokenizer_adds_bos(const Tokenizer *tokenizer)
{
    return tokenizer->add_bos;
}

bool tokenizer_is_end(const Tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->n_tokens && bit_get(tokenizer->ends, (size_t)id);
}

Str tokenizer_chat_template(const Tokenizer *tokenizer)
{
    return tokenizer->chat_template;
}

Str tokenizer_bos_text(const Tokenizer *tokenizer)
{
    return tokenizer_piece(tokenizer, tokenizer->bos);
}

Str tokenizer_eos_text(const Tokenizer *tokenizer)
{
    return tokenizer_piece(tokenizer, tokenizer->eos);
}
