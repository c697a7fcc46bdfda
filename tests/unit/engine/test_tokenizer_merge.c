// SPDX-License-Identifier: MIT
// src/engine/tokenizer_merge.c: on random vocabularies and words it must give what the definition
// of BPE gives, written here the slow way: of all neighbours that may merge, the best, the
// leftmost, again.
#include "engine/tokenizer_internal.h"
#include "tests/unit/engine/vocab_build.h"
#include "tests/unit/tap.h"

static Tokenizer *open_vocab(const Vocab *vocab)
{
    GgufBuild build = {0};
    Buf file = {0};
    Gguf *gguf = NULL;
    Tokenizer *tokenizer = NULL;
    Err err = ERR_INIT;
    vocab_keys(vocab, &build);
    gb_finish(&build, 3, 32, &file);
    if (CHECK_OK(gguf_open_memory((const uint8_t *)file.data, file.len, &gguf, &err), &err)) {
        CHECK_OK(tokenizer_open(gguf, &tokenizer, &err), &err);
    }
    gguf_close(gguf);
    buf_finish(&file);
    return tokenizer;
}

// ---- The slow way -------------------------------------------------------------------------------

/** Rank of merging two texts, less is better; SIZE_MAX when they may not. */
static size_t slow_rank(const Vocab *vocab, Arena *arena, Str left, Str right)
{
    size_t best = SIZE_MAX;
    if (strcmp(vocab->model, "gpt2") == 0) {
        Str merge = str_concat(arena, str_concat(arena, left, STR(" ")), right);
        for (size_t i = vocab->n_merges; i > 0; i--) {
            best = str_eq(vocab->merges[i - 1], merge) ? i - 1 : best;
        }
        return best;
    }
    Str whole = str_concat(arena, left, right);
    for (size_t i = 0; i < vocab->n; i++) {
        if (vocab->kinds[i] == 1 && str_eq(vocab->tokens[i], whole)) {
            best = (size_t)(1000 - vocab->scores[i]); // scores are whole numbers up to 1000 here
        }
    }
    return best;
}

static void slow_push(const Vocab *vocab, Str text, int32_t *ids, size_t *n)
{
    for (size_t i = 0; i < vocab->n; i++) {
        if (vocab->kinds[i] == 1 && str_eq(vocab->tokens[i], text)) {
            ids[(*n)++] = (int32_t)i;
            return;
        }
    }
    for (size_t i = 0; i < text.len; i++) {
        ids[(*n)++] = (uint8_t)text.data[i]; // the 256 bytes are tokens 0 to 255
    }
}

/** Ids of a word of ASCII letters. */
static size_t slow_encode(const Vocab *vocab, Arena *arena, Str word, int32_t *ids)
{
    Str *parts = ARENA_ARRAY(arena, Str, word.len + 1);
    size_t n_parts = word.len, n = 0;
    for (size_t i = 0; i < word.len; i++) {
        parts[i] = str_slice(word, i, i + 1);
    }
    for (;;) {
        size_t best = SIZE_MAX, at = 0;
        for (size_t i = 0; i + 1 < n_parts; i++) {
            size_t rank = slow_rank(vocab, arena, parts[i], parts[i + 1]);
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (best == SIZE_MAX) {
            break;
        }
        parts[at] = str_concat(arena, parts[at], parts[at + 1]);
        n_parts--;
        memmove(&parts[at + 1], &parts[at + 2], (n_parts - at - 1) * sizeof(Str));
    }
    for (size_t i = 0; i < n_parts; i++) {
        slow_push(vocab, parts[i], ids, &n);
    }
    return n;
}

// ---- Random vocabularies and words ------------------------------------------------------------

static uint64_t random_state;

static size_t random_below(size_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (size_t)(random_state >> 33) % n;
}

static Str random_word(Arena *arena, size_t len)
{
    char *word = arena_alloc(arena, len + 1, 1);
    for (size_t i = 0; i < len; i++) {
        word[i] = (char)('a' + random_below(4));
    }
    return (Str){word, len};
}

/** Parts to make merges of: the letters a to d and results so far, tokens or not. */
static void random_merges(Vocab *vocab, size_t n)
{
    Str parts[256];
    size_t n_parts = 4;
    for (size_t i = 0; i < 4; i++) {
        parts[i] = str_slice(STR("abcd"), i, i + 1);
    }
    for (size_t i = 0; i < n; i++) {
        Str left = parts[random_below(n_parts)], right = parts[random_below(n_parts)];
        vocab_merge(vocab, left, right, random_below(5) > 0);
        parts[n_parts++] = str_concat(&vocab->arena, left, right);
    }
}

static void random_scores(Vocab *vocab, size_t n)
{
    for (size_t i = 0; i < 4; i++) {
        if (random_below(3) > 0) { // else a letter that is no token
            vocab_add(vocab, str_slice(STR("abcd"), i, i + 1), 1, 0);
        }
    }
    for (size_t i = 0; i < n; i++) {
        Str text = random_word(&vocab->arena, 2 + random_below(5));
        bool known = false;
        for (size_t k = 0; k < vocab->n; k++) {
            known = known || str_eq(vocab->tokens[k], text);
        }
        if (!known) {
            vocab_add(vocab, text, 1, (float)random_below(20)); // few scores, so many are equal
        }
    }
}

static void compare_words(const Vocab *vocab, const Tokenizer *tokenizer)
{
    for (size_t i = 0; i < 40; i++) {
        Arena arena = {0};
        Err err = ERR_INIT;
        Str word = random_word(&arena, 1 + random_below(i < 30 ? 40 : 120)); // short and long ways
        int32_t *want = ARENA_ARRAY(&arena, int32_t, word.len + 1), *ids = NULL;
        size_t n_want = slow_encode(vocab, &arena, word, want), n = 0;
        for (int again = 0; again < 2; again++) { // the second time from the cache
            CHECK_OK(tokenizer_encode(tokenizer, word, false, false, &arena, &ids, &n, &err), &err);
            if (n != n_want || memcmp(ids, want, n * sizeof(*ids)) != 0) {
                printf("# '" STR_FMT "': %zu ids, wanted %zu\n", STR_ARG(word), n, n_want);
                tap_checks_failed++;
            }
        }
        arena_finish(&arena);
    }
}

static void compare_model(const char *model, void (*fill)(Vocab *vocab, size_t n))
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        Vocab *vocab = mem_zalloc(1, sizeof(*vocab));
        vocab->model = model;
        vocab->pre = "gpt-2";
        random_state = seed;
        vocab_add_bytes(vocab);
        fill(vocab, 5 + random_below(60));
        Tokenizer *tokenizer = open_vocab(vocab);
        if (tokenizer != NULL) {
            tokenizer->add_space_prefix = false; // the words stand alone here
            compare_words(vocab, tokenizer);
        }
        tokenizer_close(tokenizer);
        arena_finish(&vocab->arena);
        mem_free(vocab);
    }
}

static void test_merge__bpe_follows_the_definition(void)
{
    compare_model("gpt2", random_merges);
}

static void test_merge__spm_follows_the_definition(void)
{
    compare_model("llama", random_scores);
}

// ---- Size -------------------------------------------------------------------------------------

/** A word of a MB must take about as long as two of half a MB: the suite's time limit tells. */
static void check_huge(const char *model, char fill)
{
    Vocab *vocab = mem_zalloc(1, sizeof(*vocab));
    Arena arena = {0};
    Err err = ERR_INIT;
    size_t len = ((size_t)3 << 20) + 1, n = 0;
    int32_t *ids;
    vocab->model = model;
    vocab->pre = "qwen2";
    vocab_add_bytes(vocab);
    Str unit = strcmp(model, "gpt2") == 0 && fill == ' ' ? vocab_letter(vocab, ' ')
               : fill == ' '                             ? STR("\xe2\x96\x81")
                                                         : STR("a");
    vocab_merge(vocab, unit, unit, true);
    unit = vocab->tokens[256];
    vocab_merge(vocab, unit, unit, true);
    Tokenizer *tokenizer = open_vocab(vocab);
    char *text = arena_alloc(&arena, len, 1);
    memset(text, fill, len);
    if (tokenizer != NULL) {
        tokenizer->add_space_prefix = false;
        CHECK_OK(
            tokenizer_encode(tokenizer, (Str){text, len}, false, false, &arena, &ids, &n, &err),
            &err);
        CHECK_INT(n, len / 4 + 1); // fours, and the odd one
        CHECK_INT(ids[0], 257);
        CHECK(ids[n - 1] != 257);
    }
    tokenizer_close(tokenizer);
    arena_finish(&arena);
    arena_finish(&vocab->arena);
    mem_free(vocab);
}

static void test_merge__huge_words_take_linear_time(void)
{
    check_huge("gpt2", 'a');
    check_huge("gpt2", ' ');
    check_huge("llama", 'a');
    check_huge("llama", ' ');
}

int main(void)
{
    tap_run("tokenizer: BPE follows its definition", test_merge__bpe_follows_the_definition);
    tap_run("tokenizer: SentencePiece BPE follows its definition",
            test_merge__spm_follows_the_definition);
    tap_run("tokenizer: huge words take linear time", test_merge__huge_words_take_linear_time);
    return tap_done();
}
