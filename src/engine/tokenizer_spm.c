// SPDX-License-Identifier: MIT
// SentencePiece BPE ("llama" in GGUF): characters merge into the token of the best score, the
// leftmost first; a character that is no token becomes its byte tokens, or the unknown token. An
// invalid byte is a character of its own, so it survives as its byte token. Spaces stand for
// SentencePiece's U+2581 inside; a U+2581 in the text means a space, as in SentencePiece.
#include "engine/tokenizer_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char key_scores[] = "tokenizer.ggml.scores";

typedef struct Scored {
    double score;
    uint32_t token;
} Scored;

static int compare_scores(const void *a, const void *b)
{
    double left = ((const Scored *)a)->score, right = ((const Scored *)b)->score;
    return (left < right) - (left > right); // best first
}

/** Turn scores into ranks: equal scores share one. */
static bool read_ranks(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    size_t n;
    tokenizer->ranks = ARENA_ARRAY(&tokenizer->arena, uint32_t, tokenizer->n_tokens);
    if (!gguf_get_array(gguf, key_scores, &n)) {
        return true; // all the same
    }
    if (n != tokenizer->n_tokens) {
        return ERR_SET(err, ERR_PARSE, "%s has %zu elements for %zu tokens", key_scores, n,
                       tokenizer->n_tokens);
    }
    Scored *scored = mem_alloc(n, sizeof(*scored));
    for (size_t i = 0; i < n; i++) {
        scored[i].token = (uint32_t)i;
        if (!gguf_array_f64(gguf, key_scores, i, &scored[i].score) || isnan(scored[i].score)) {
            mem_free(scored);
            return ERR_SET(err, ERR_PARSE, "%s: element %zu is no number", key_scores, i);
        }
    }
    qsort(scored, n, sizeof(*scored), compare_scores);
    for (size_t i = 1; i < n; i++) {
        uint32_t before = tokenizer->ranks[scored[i - 1].token];
        tokenizer->ranks[scored[i].token] =
            before + (scored[i].score < scored[i - 1].score ? 1 : 0);
    }
    mem_free(scored);
    return true;
}

/** A word starts at a space after something else. */
static bool starts_word(Str text, size_t at)
{
    return text.data[at] == ' ' && text.data[at - 1] != ' ';
}

/** Whether no token reaches over the start of a word: then words can be merged one at a time. */
static bool words_apart(const Tokenizer *tokenizer)
{
    for (size_t i = 0; i < tokenizer->n_tokens; i++) {
        TokenKind kind = (TokenKind)tokenizer->kinds[i];
        Str bytes = tokenizer->symbols[i];
        if (kind == TOKEN_NORMAL || kind == TOKEN_UNUSED || kind == TOKEN_USER) {
            for (size_t at = 1; at < bytes.len; at++) {
                if (starts_word(bytes, at)) {
                    return false;
                }
            }
        }
    }
    return true;
}

bool tokenizer_load_spm(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    if (!read_ranks(tokenizer, gguf, err)) {
        return false;
    }
    for (size_t i = 0; i < 256; i++) {
        tokenizer->byte_symbols[i] = -1;
    }
    for (size_t i = 0; i < tokenizer->n_tokens; i++) {
        if (tokenizer->kinds[i] == TOKEN_BYTE && tokenizer->symbols[i].len == 1) {
            tokenizer->byte_symbols[(uint8_t)tokenizer->symbols[i].data[0]] = (int32_t)i;
        }
    }
    tokenizer->words_apart = words_apart(tokenizer);
    tokenizer->add_space_prefix = true;
    gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", &tokenizer->add_space_prefix);
    tokenizer->add_bos = true;
    return true;
}

static void normalize(Buf *out, Str text, bool prefix)
{
    buf_clear(out);
    if (prefix) {
        buf_char(out, ' ');
    }
    for (size_t at = 0; at < text.len;) {
        size_t mark = str_find(text, STR("\xe2\x96\x81"), at);
        size_t end = mark == STR_NONE ? text.len : mark;
        buf_append(out, text.data + at, end - at);
        if (mark != STR_NONE) {
            buf_char(out, ' ');
            end += 3;
        }
        at = end;
    }
}

void tokenizer_encode_spm(const Tokenizer *tokenizer, Scratch *scratch, Str text, bool prefix)
{
    normalize(&scratch->text, text, prefix && tokenizer->add_space_prefix);
    Str all = buf_view(&scratch->text);
    size_t start = 0;
    for (size_t at = 1; tokenizer->words_apart && at < all.len; at++) {
        if (starts_word(all, at)) {
            tokenizer_encode_word(tokenizer, scratch, str_slice(all, start, at));
            start = at;
        }
    }
    if (start < all.len) {
        tokenizer_encode_word(tokenizer, scratch, str_slice(all, start, all.len));
    }
}
