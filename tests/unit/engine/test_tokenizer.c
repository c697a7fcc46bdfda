// SPDX-License-Identifier: MIT
// src/engine/tokenizer*.c on small vocabularies built in memory: words, special tokens, BOS, end
// tokens, bytes that are no text, and files that must be refused. Vectors of real models:
// tests/golden.
#include "engine/tokenizer_internal.h"
#include "tests/unit/engine/vocab_build.h"
#include "tests/unit/tap.h"

#include <pthread.h>

/** A vocabulary being built, then the tokenizer opened on it. */
typedef struct Fixture {
    Vocab vocab;
    GgufBuild keys; // others than the vocabulary's
    Tokenizer *tokenizer;
    Arena arena;
    Err err;
} Fixture;

static Fixture *fixture_create(const char *model, const char *pre)
{
    Fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    fixture->vocab.model = model;
    fixture->vocab.pre = pre;
    vocab_add_bytes(&fixture->vocab);
    return fixture;
}

/** Write the file and open it; false with fixture->err filled when it is refused. */
static bool fixture_open(Fixture *fixture)
{
    Buf file = {0};
    Gguf *gguf = NULL;
    fixture->err = (Err)ERR_INIT;
    if (fixture->vocab.model != NULL) {
        vocab_keys(&fixture->vocab, &fixture->keys);
    }
    gb_finish(&fixture->keys, 3, 32, &file);
    bool ok = gguf_open_memory((const uint8_t *)file.data, file.len, &gguf, &fixture->err) &&
              tokenizer_open(gguf, &fixture->tokenizer, &fixture->err);
    gguf_close(gguf);
    buf_finish(&file); // the tokenizer must not need it any more
    return ok;
}

static void fixture_destroy(Fixture *fixture)
{
    tokenizer_close(fixture->tokenizer);
    arena_finish(&fixture->arena);
    arena_finish(&fixture->vocab.arena);
    mem_free(fixture);
}

/** Ids of text as decimals. */
static Str encoded(Fixture *fixture, Str text, bool special, bool bos)
{
    int32_t *ids = NULL;
    size_t n = 0;
    Buf line = {0};
    CHECK_OK(tokenizer_encode(fixture->tokenizer, text, special, bos, &fixture->arena, &ids, &n,
                              &fixture->err),
             &fixture->err);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&line, i > 0 ? " %d" : "%d", ids[i]);
    }
    Str copy = str_copy(&fixture->arena, buf_view(&line));
    buf_finish(&line);
    return copy;
}

static Str decoded(Fixture *fixture, const int32_t *ids, size_t n, bool special)
{
    Buf text = {0};
    tokenizer_decode(fixture->tokenizer, ids, n, special, &text);
    Str copy = str_copy(&fixture->arena, buf_view(&text));
    buf_finish(&text);
    return copy;
}

// ---- Byte-level BPE -----------------------------------------------------------------------------

static void test_bpe__bytes_are_their_letters(void)
{
    Fixture *f = fixture_create("gpt2", "gpt-2");
    char all[256];
    vocab_merge(&f->vocab, STR("a"), STR("b"), true);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        for (int32_t i = 0; i < 256; i++) {
            Str piece = tokenizer_piece(f->tokenizer, i);
            CHECK_INT(piece.len, 1);
            CHECK_INT((uint8_t)piece.data[0], i);
            all[i] = (char)i;
        }
        CHECK_INT(tokenizer_vocab(f->tokenizer), 257);
        CHECK_STR(tokenizer_piece(f->tokenizer, 256), STR("ab"));
        CHECK(tokenizer_piece(f->tokenizer, 257).len == 0 &&
              tokenizer_piece(f->tokenizer, -1).len == 0);
        Str ids = encoded(f, (Str){all, 256}, false, false);
        CHECK(str_starts_with(ids, STR("0 1 2 3 ")) && str_ends_with(ids, STR(" 253 254 255")));
        CHECK(str_find(ids, STR(" 96 256 99 "), 0) != STR_NONE); // ` ab c
    }
    fixture_destroy(f);
}

/** Bytes that are not UTF-8 come out as they went in. */
static void test_bpe__any_bytes_survive(void)
{
    static const char *const texts[] = {
        "\xff",
        "a\x80z",
        "\xc3",
        "\xed\xa0\x80",
        "\xf5\x80\x80\x80",
        "ok \xe2\x82 ok",
        "\xe2\x82\xac\xff",
        "\xe1\xa0\x8e 1\xfe\xe1\xa0\x8e",
        "  \xc0\xaf  x",
        "\xf0\x9f\xa6\x99\xf0\x9f\xa6",
    };
    Fixture *f = fixture_create("gpt2", "smollm");
    vocab_merge(&f->vocab, STR("o"), STR("k"), true);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            int32_t *ids;
            size_t n;
            Str text = str_from_c(texts[i]);
            CHECK_OK(tokenizer_encode(f->tokenizer, text, true, true, &f->arena, &ids, &n, &f->err),
                     &f->err);
            CHECK_STR(decoded(f, ids, n, true), text);
        }
        CHECK_STR(encoded(f,
                          STR("ok\xff"
                              "ok"),
                          false, false),
                  STR("256 255 256"));
        CHECK_STR(encoded(f, STR(""), false, true), STR(""));
    }
    fixture_destroy(f);
}

/** U+180E is no white space: it must not be cut from the sign before it, nor left for a word after
 * it. */
static void test_bpe__the_vowel_separator_is_no_space(void)
{
    Fixture *f = fixture_create("gpt2", "gpt-2");
    Str first = vocab_letter(&f->vocab, 0xe1), sign = STR("!");
    vocab_merge(&f->vocab, sign, first,
                true); // "!" and the separator's first byte: only in one word
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK_STR(encoded(f, STR("!\xe1\xa0\x8e"), false, false), STR("256 160 142"));
        CHECK_STR(encoded(f, STR("!\xe1\xa0\x8e\xff"), false, false), STR("256 160 142 255"));
    }
    fixture_destroy(f);
}

static void test_bpe__words_bound_merges(void)
{
    Fixture *f = fixture_create("gpt2", "gpt-2");
    Str space = vocab_letter(&f->vocab, ' ');
    vocab_merge(&f->vocab, STR("a"), space, true);     // 256: crosses words
    vocab_merge(&f->vocab, space, STR("a"), true);     // 257
    vocab_merge(&f->vocab, STR("1"), STR("2"), true);  // 258
    vocab_merge(&f->vocab, STR("b"), STR("c"), false); // no token
    vocab_merge(&f->vocab, STR("bc"), STR("d"), true); // 259, through it
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK_STR(encoded(f, STR("a a"), false, false), STR("97 257"));
        CHECK_STR(encoded(f, STR("12a"), false, false), STR("258 97"));
        CHECK_STR(encoded(f, STR("bcd bc"), false, false), STR("259 32 98 99"));
    }
    fixture_destroy(f);
    f = fixture_create("gpt2", "smollm"); // digits stand alone
    vocab_merge(&f->vocab, STR("1"), STR("2"), true);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK_STR(encoded(f, STR("12"), false, false), STR("49 50"));
    }
    fixture_destroy(f);
}

static void test_bpe__whole_words_where_merges_are_ignored(void)
{
    for (int ignore = 0; ignore < 2; ignore++) {
        Fixture *f = fixture_create("gpt2", ignore != 0 ? "llama-bpe" : "dbrx"); // the same regexes
        vocab_merge(&f->vocab, STR("a"), STR("b"), true);                        // 256
        vocab_merge(&f->vocab, STR("b"), STR("c"), true);                        // 257
        vocab_add(&f->vocab, STR("abc"), 1, 0); // 258: no merge gives it
        if (CHECK_OK(fixture_open(f), &f->err)) {
            CHECK_STR(encoded(f, STR("abc"), false, false),
                      ignore != 0 ? STR("258") : STR("256 99"));
        }
        fixture_destroy(f);
    }
}

static void test_bpe__missing_bytes_are_dropped(void)
{
    Fixture *f = fixture_create("gpt2", "gpt-2");
    f->vocab.tokens['b'] = STR("[unused]");
    vocab_merge(&f->vocab, STR("b"), STR("c"), true);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK_STR(encoded(f, STR("abd"), false, false), STR("97 100"));
        CHECK_STR(encoded(f, STR("abc"), false, false), STR("97 256"));
    }
    fixture_destroy(f);
}

static void test_bpe__every_pre_tokenizer_opens(void)
{
    static const char *const names[] = {
#define X(name, list, flags) name,
#include "engine/tokenizer_pre.def"
#undef X
    };
    Str text =
        STR("It's 12345 (four) \xe4\xb8\xad\xe6\x96\x87 DON'T!\r\n\t \xc3\xa9t\xc3\xa9  x\n\n");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Fixture *f = fixture_create("gpt2", names[i]);
        int32_t *ids;
        size_t n;
        vocab_merge(&f->vocab, STR("D"), STR("O"), true);
        if (CHECK_OK(fixture_open(f), &f->err)) {
            CHECK_OK(
                tokenizer_encode(f->tokenizer, text, false, false, &f->arena, &ids, &n, &f->err),
                &f->err);
            CHECK_STR(decoded(f, ids, n, false), text);
            CHECK_INT(n, text.len - 1); // one merge
        }
        fixture_destroy(f);
    }
}

// ---- SentencePiece BPE ------------------------------------------------------------------------

#define MARK "\xe2\x96\x81" // U+2581

static void add_spm_words(Fixture *f)
{
    vocab_add(&f->vocab, STR(MARK), 1, 1);      // 256
    vocab_add(&f->vocab, STR("a"), 1, 1);       // 257
    vocab_add(&f->vocab, STR("b"), 1, 1);       // 258
    vocab_add(&f->vocab, STR(MARK "a"), 1, 5);  // 259
    vocab_add(&f->vocab, STR("ab"), 1, 9);      // 260
    vocab_add(&f->vocab, STR(MARK "ab"), 1, 2); // 261
    vocab_add(&f->vocab, STR(MARK MARK), 1, 3); // 262
}

static void test_spm__spaces_and_scores(void)
{
    Fixture *f = fixture_create("llama", NULL);
    add_spm_words(f);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK(f->tokenizer->words_apart);
        CHECK_STR(encoded(f, STR("a"), false, false), STR("259"));
        CHECK_STR(encoded(f, STR("ab"), false, false), STR("261")); // ab first, then the space
        CHECK_STR(encoded(f, STR("ab ab"), false, false), STR("261 261"));
        CHECK_STR(encoded(f, STR(" a"), false, false),
                  STR("256 259")); // space-a before space-space
        CHECK_STR(encoded(f, STR("a  "), false, false), STR("259 262"));
        CHECK_STR(encoded(f, STR("a" MARK "b"), false, false),
                  STR("259 256 258")); // a mark is a space
        CHECK_STR(encoded(f,
                          STR("a\xc3\xa9"
                              "b\xff"),
                          false, false),
                  STR("259 195 169 258 255"));
        CHECK_STR(encoded(f, STR(""), false, false), STR(""));
        int32_t ids[] = {261, 256, 259, 10};
        CHECK_STR(decoded(f, ids, 4, false), STR(" ab  a\n"));
    }
    fixture_destroy(f);
    f = fixture_create("llama", NULL);
    add_spm_words(f);
    gb_bool(&f->keys, "tokenizer.ggml.add_space_prefix", false);
    vocab_add(&f->vocab, STR("b" MARK "a"), 1, 20); // 263: reaches over the start of a word
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK(!f->tokenizer->words_apart);
        CHECK_STR(encoded(f, STR("ab ab"), false, false), STR("260 261"));
        CHECK_STR(encoded(f, STR("b a"), false, false), STR("263"));
    }
    fixture_destroy(f);
}

static void test_spm__unknown_characters(void)
{
    Fixture *f = fixture_create("llama", NULL);
    f->vocab.n = 0; // no byte tokens
    vocab_add(&f->vocab, STR("<unk>"), 2, 0);
    vocab_add(&f->vocab, STR("<s>"), 3, 0);
    vocab_add(&f->vocab, STR("</s>"), 3, 0);
    vocab_add(&f->vocab, STR("a"), 1, 0);
    vocab_add(&f->vocab, STR(MARK), 1, 0);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK_STR(encoded(f,
                          STR("a\xc3\xa9\xc3\xa9"
                              "a"),
                          false, false),
                  STR("4 3 0 3"));
        CHECK_STR(encoded(f, STR("\xff \xff"), false, false), STR("4 0 4 0"));
        CHECK_STR(encoded(f, STR("\xff \xff"), false, false), STR("4 0 4 0")); // from the cache
        CHECK_STR(encoded(f, STR("a"), false, true), STR("1 4 3")); // ids 1 and 2 without any key
        CHECK_INT(tokenizer_bos(f->tokenizer), 1);
        CHECK_INT(tokenizer_eos(f->tokenizer), 2);
        int32_t ids[] = {1, 4, 3, 4, 3, 0, 2};
        CHECK_STR(decoded(f, ids, 7, false), STR("a a"));
        CHECK_STR(decoded(f, ids, 7, true), STR("<s>a a<unk></s>"));
        CHECK_STR(decoded(f, ids + 1, 2, false), STR(" a")); // a continuation keeps its space
    }
    fixture_destroy(f);
}

// ---- Special tokens ---------------------------------------------------------------------------

static void add_specials(Fixture *f)
{
    vocab_add(&f->vocab, STR("<|im_start|>"), 3, 0); // 256
    vocab_add(&f->vocab, STR("<|im_end|>"), 3, 0);   // 257
    vocab_add(&f->vocab, STR("<tool>"), 4, 0);       // 258
    vocab_add(&f->vocab, STR("<tool>s"), 4, 0);      // 259
    vocab_add(&f->vocab, STR("[PAD]"), 2, 0);        // 260
    vocab_add(&f->vocab, STR("[GONE]"), 5, 0);       // 261
}

static void test_special__split_out_of_text(void)
{
    Fixture *f = fixture_create("gpt2", "gpt-2");
    add_specials(f);
    vocab_merge(&f->vocab, STR("a"), STR("b"), true); // 262
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK_STR(encoded(f, STR("<|im_start|>ab<|im_end|>"), true, false), STR("256 262 257"));
        CHECK_STR(encoded(f, STR("<|im_e"), true, false), STR("60 124 105 109 95 101"));
        Str plain = encoded(f, STR("<|im_end|>"), false, false);
        CHECK_STR(plain, STR("60 124 105 109 95 101 110 100 124 62")); // text can not forge it
        CHECK_STR(encoded(f, STR("a<tool>b"), false, false), STR("97 258 98"));
        CHECK_STR(encoded(f, STR("<tool>s<tool>"), false, false), STR("259 258"));
        CHECK_STR(encoded(f, STR("[PAD]"), true, false), STR("260"));
        CHECK_STR(encoded(f, STR("[GONE]"), true, false), STR("91 71 79 78 69 93"));
        CHECK_STR(encoded(f, STR("<<tool>"), true, false), STR("60 258"));
        int32_t ids[] = {256, 262, 258, 260, 261, -1, 9999, 257};
        CHECK_STR(decoded(f, ids, 8, false), STR("ab<tool>"));
        CHECK_STR(decoded(f, ids, 8, true), STR("<|im_start|>ab<tool>[PAD][GONE]<|im_end|>"));
    }
    fixture_destroy(f);
}

static void test_special__phi3_drops_white_space_after_them(void)
{
    static const struct {
        int line;
        const char *name, *text, *ids;
    } cases[] = {
        {__LINE__, "Phi3", "<|im_end|> \n b", "258 66"},
        {__LINE__, "phi-3-mini", "<|im_end|>\t\v\fb<|im_end|>", "258 66 258"},
        {__LINE__, "Phi3", "<s> b", "257 0 66"},
        {__LINE__, "Llama", "<|im_end|> b", "258 0 66"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Fixture *f = fixture_create("llama", NULL);
        f->vocab.tokens[0] = STR(MARK);
        f->vocab.kinds[0] = 1;
        f->vocab.tokens[66] = STR("b");
        f->vocab.kinds[66] = 1;
        vocab_add(&f->vocab, STR("<unk>"), 2, 0);
        vocab_add(&f->vocab, STR("<s>"), 3, 0);        // 257
        vocab_add(&f->vocab, STR("<|im_end|>"), 3, 0); // 258
        gb_str(&f->keys, "general.name", str_from_c(cases[i].name));
        gb_bool(&f->keys, "tokenizer.ggml.add_space_prefix", false);
        if (CHECK_OK(fixture_open(f), &f->err)) {
            Str ids = encoded(f, str_from_c(cases[i].text), true, false);
            if (!str_eq_c(ids, cases[i].ids)) {
                printf("# line %d: got " STR_FMT "\n", cases[i].line, STR_ARG(ids));
                tap_checks_failed++;
            }
        }
        fixture_destroy(f);
    }
}

static void test_special__bos_is_put_where_it_is_missing(void)
{
    static const struct {
        int line;
        const char *pre;
        int add; // -1: no key
        bool bos, special;
        const char *text, *ids;
    } cases[] = {
        {__LINE__, "gpt-2", -1, true, true, "a", "97"},
        {__LINE__, "gpt-2", 1, true, true, "a", "256 97"},
        {__LINE__, "gpt-2", 1, false, true, "a", "97"},
        {__LINE__, "gpt-2", 1, true, true, "<|im_start|>a", "256 97"},
        {__LINE__, "gpt-2", 1, true, false, "<", "256 60"},
        {__LINE__, "gpt-2", 1, true, true, "", "256"},
        {__LINE__, "llama-bpe", -1, true, true, "a", "256 97"},
        {__LINE__, "llama-bpe", 0, true, true, "a", "97"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Fixture *f = fixture_create("gpt2", cases[i].pre);
        add_specials(f);
        vocab_merge(&f->vocab, STR("x"), STR("y"), true);
        gb_u32(&f->keys, "tokenizer.ggml.bos_token_id", 256);
        if (cases[i].add >= 0) {
            gb_bool(&f->keys, "tokenizer.ggml.add_bos_token", cases[i].add != 0);
        }
        if (CHECK_OK(fixture_open(f), &f->err)) {
            Str ids = encoded(f, str_from_c(cases[i].text), cases[i].special, cases[i].bos);
            if (!str_eq_c(ids, cases[i].ids)) {
                printf("# line %d: got " STR_FMT "\n", cases[i].line, STR_ARG(ids));
                tap_checks_failed++;
            }
        }
        fixture_destroy(f);
    }
}

static void test_special__ends_and_texts(void)
{
    Fixture *f = fixture_create("gpt2", "gpt-2");
    add_specials(f);
    vocab_merge(&f->vocab, STR("x"), STR("y"), true); // 262
    vocab_add(&f->vocab, STR("<|endoftext|>"), 1, 0); // 263: not a control token
    vocab_add(&f->vocab, STR("<|other|>"), 3, 0);     // 264
    gb_u32(&f->keys, "tokenizer.ggml.bos_token_id", 256);
    gb_u32(&f->keys, "tokenizer.ggml.eos_token_id", 258);
    gb_u32(&f->keys, "tokenizer.ggml.eot_token_id", 264);
    gb_u32(&f->keys, "tokenizer.ggml.eom_token_id", 0xffffffff); // none
    gb_str(&f->keys, "tokenizer.chat_template", STR("{{ messages }}"));
    if (CHECK_OK(fixture_open(f), &f->err)) {
        int32_t ends = 0;
        for (int32_t id = -1; id <= 265; id++) {
            ends += tokenizer_is_end(f->tokenizer, id) ? 1 : 0;
        }
        CHECK_INT(ends, 3);
        CHECK(tokenizer_is_end(f->tokenizer, 257) && tokenizer_is_end(f->tokenizer, 258) &&
              tokenizer_is_end(f->tokenizer, 264));
        CHECK_STR(tokenizer_bos_text(f->tokenizer), STR("<|im_start|>"));
        CHECK_STR(tokenizer_eos_text(f->tokenizer), STR("<tool>"));
        CHECK_STR(tokenizer_chat_template(f->tokenizer), STR("{{ messages }}"));
        CHECK(!tokenizer_adds_bos(f->tokenizer));
    }
    fixture_destroy(f);
    f = fixture_create("gpt2", "gpt-2");
    vocab_merge(&f->vocab, STR("x"), STR("y"), true);
    vocab_add(&f->vocab, STR("<|end|>"), 3, 0);  // 257
    vocab_add(&f->vocab, STR("<|call|>"), 3, 0); // 258: with it, <|end|> does not end a turn
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK(!tokenizer_is_end(f->tokenizer, 257) && tokenizer_is_end(f->tokenizer, 258));
        CHECK_INT(tokenizer_bos(f->tokenizer), -1);
        CHECK_INT(tokenizer_eos(f->tokenizer), -1);
        CHECK(tokenizer_bos_text(f->tokenizer).len == 0 &&
              tokenizer_chat_template(f->tokenizer).len == 0);
    }
    fixture_destroy(f);
}

// ---- Files that are refused -------------------------------------------------------------------

static void check_refused(int line, Fixture *f, ErrCode code, const char *words)
{
    if (fixture_open(f) || f->err.code != code || strstr(f->err.message, words) == NULL) {
        printf("# line %d: wanted [%s] '%s', got [%s] '%s'\n", line, err_code_word(code), words,
               err_code_word(f->err.code), f->err.message);
        tap_checks_failed++;
    }
    fixture_destroy(f);
}

static void test_open__refuses_and_says_why(void)
{
    Fixture *f = fixture_create("gpt2", "my-own");
    check_refused(__LINE__, f, ERR_UNSUPPORTED, "pre-tokenizer 'my-own'");
    f = fixture_create("gpt2", NULL); // the same as "default"
    vocab_merge(&f->vocab, STR("a"), STR("b"), true);
    CHECK_OK(fixture_open(f), &f->err);
    CHECK_STR(str_from_c(f->tokenizer->pre->name), STR("default"));
    fixture_destroy(f);
    f = fixture_create("bert", "x");
    check_refused(__LINE__, f, ERR_UNSUPPORTED, "'bert' are not supported");
    f = fixture_create("gpt2", NULL);
    f->vocab.model = NULL;
    check_refused(__LINE__, f, ERR_PARSE, "no tokenizer");
    f = fixture_create("gpt2", "gpt-2");
    check_refused(__LINE__, f, ERR_PARSE, "no merges");
    f = fixture_create("gpt2", "gpt-2");
    f->vocab.n = 0;
    check_refused(__LINE__, f, ERR_PARSE, "no vocabulary");
    f = fixture_create("gpt2", "gpt-2");
    f->vocab.kinds[7] = 8;
    check_refused(__LINE__, f, ERR_PARSE, "element 7 is no type of token");
    f = fixture_create("gpt2", "gpt-2");
    f->vocab.merges[f->vocab.n_merges++] = STR("ab");
    check_refused(__LINE__, f, ERR_PARSE, "element 0 is no pair");
    f = fixture_create("gpt2", "gpt-2");
    gb_u32(&f->keys, "tokenizer.ggml.eot_token_id", 256);
    check_refused(__LINE__, f, ERR_PARSE, "eot_token_id is 256, the vocabulary has 256 tokens");
    f = fixture_create("llama", NULL);
    f->vocab.scores[3] = NAN;
    check_refused(__LINE__, f, ERR_PARSE, "element 3 is no number");
    f = fixture_create("llama", NULL);
    char *text = arena_alloc(&f->arena, 3000, 1);
    vocab_add(&f->vocab, (Str){text, 3000}, 1, 0);
    check_refused(__LINE__, f, ERR_LIMIT, "token 256 has 3000 bytes");
}

static void test_open__arrays_must_fit_each_other(void)
{
    static const Str tokens[] = {{"a", 1}, {"b", 1}};
    static const float scores[] = {1, 2, 3};
    static const int32_t kinds[] = {1};
    Fixture *f = fixture_create("llama", NULL);
    f->vocab.model = NULL; // keys by hand
    gb_str(&f->keys, "tokenizer.ggml.model", STR("llama"));
    gb_strs(&f->keys, "tokenizer.ggml.tokens", tokens, 2);
    gb_f32s(&f->keys, "tokenizer.ggml.scores", scores, 3);
    check_refused(__LINE__, f, ERR_PARSE, "scores has 3 elements for 2 tokens");
    f = fixture_create("llama", NULL);
    f->vocab.model = NULL;
    gb_str(&f->keys, "tokenizer.ggml.model", STR("llama"));
    gb_strs(&f->keys, "tokenizer.ggml.tokens", tokens, 2);
    gb_i32s(&f->keys, "tokenizer.ggml.token_type", kinds, 1);
    check_refused(__LINE__, f, ERR_PARSE, "token_type has 1 elements for 2 tokens");
    f = fixture_create("llama", NULL);
    f->vocab.model = NULL;
    gb_str(&f->keys, "tokenizer.ggml.model", STR("llama"));
    gb_f32s(&f->keys, "tokenizer.ggml.tokens", scores, 3);
    check_refused(__LINE__, f, ERR_PARSE, "tokens is no array of strings");
    f = fixture_create("llama", NULL);
    f->vocab.model = NULL; // neither scores nor kinds: all the same
    gb_str(&f->keys, "tokenizer.ggml.model", STR("llama"));
    gb_strs(&f->keys, "tokenizer.ggml.tokens", tokens, 2);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        CHECK_STR(encoded(f, STR("ba"), true, true), STR("1 0"));
    }
    fixture_destroy(f);
}

static void test_encode__a_text_has_a_limit(void)
{
    Fixture *f = fixture_create("gpt2", "gpt-2");
    int32_t *ids = NULL;
    size_t n = 0;
    vocab_merge(&f->vocab, STR("x"), STR("y"), true);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        size_t len = ((size_t)64 << 20) + 1;
        char *text = mem_zalloc(len, 1);
        CHECK(!tokenizer_encode(f->tokenizer, (Str){text, len}, true, true, &f->arena, &ids, &n,
                                &f->err));
        CHECK_INT(f->err.code, ERR_LIMIT);
        CHECK(ids == NULL);
        mem_free(text);
    }
    fixture_destroy(f);
}

// ---- Threads ----------------------------------------------------------------------------------

typedef struct Worker {
    pthread_t thread;
    const Tokenizer *tokenizer;
    int seed;
    size_t n_wrong;
} Worker;

/** The i-th text, and its ids by hand: each "ab" is one token, anything else its bytes. */
static void *work(void *ctx)
{
    Worker *worker = ctx;
    for (int i = 0; i < 300; i++) {
        Arena arena = {0};
        Err err = ERR_INIT;
        int32_t *ids;
        size_t n = 0;
        Str text = str_printf(&arena, "%d-ab-%d", i * worker->seed, i);
        bool ok = tokenizer_encode(worker->tokenizer, text, true, true, &arena, &ids, &n, &err);
        worker->n_wrong += !ok || n != text.len - 1 ? 1 : 0;
        arena_finish(&arena);
    }
    return NULL;
}

static void test_encode__many_threads_at_once(void)
{
    Fixture *f = fixture_create("gpt2", "qwen2");
    Worker workers[4];
    vocab_merge(&f->vocab, STR("a"), STR("b"), true);
    if (CHECK_OK(fixture_open(f), &f->err)) {
        for (int i = 0; i < 4; i++) {
            workers[i] = (Worker){.tokenizer = f->tokenizer, .seed = 7 + i};
            CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(workers[i].thread, NULL);
            CHECK_INT(workers[i].n_wrong, 0);
        }
    }
    fixture_destroy(f);
}

int main(void)
{
    tap_run("tokenizer: bytes are their letters", test_bpe__bytes_are_their_letters);
    tap_run("tokenizer: any bytes survive", test_bpe__any_bytes_survive);
    tap_run("tokenizer: U+180E is no space", test_bpe__the_vowel_separator_is_no_space);
    tap_run("tokenizer: words bound merges", test_bpe__words_bound_merges);
    tap_run("tokenizer: whole words", test_bpe__whole_words_where_merges_are_ignored);
    tap_run("tokenizer: missing bytes are dropped", test_bpe__missing_bytes_are_dropped);
    tap_run("tokenizer: every pre-tokenizer opens", test_bpe__every_pre_tokenizer_opens);
    tap_run("tokenizer: spaces and scores", test_spm__spaces_and_scores);
    tap_run("tokenizer: unknown characters", test_spm__unknown_characters);
    tap_run("tokenizer: special tokens in text", test_special__split_out_of_text);
    tap_run("tokenizer: phi-3 strips", test_special__phi3_drops_white_space_after_them);
    tap_run("tokenizer: BOS", test_special__bos_is_put_where_it_is_missing);
    tap_run("tokenizer: end tokens and texts", test_special__ends_and_texts);
    tap_run("tokenizer: refusals", test_open__refuses_and_says_why);
    tap_run("tokenizer: arrays fit each other", test_open__arrays_must_fit_each_other);
    tap_run("tokenizer: the limit of a text", test_encode__a_text_has_a_limit);
    tap_run("tokenizer: many threads", test_encode__many_threads_at_once);
    return tap_done();
}
