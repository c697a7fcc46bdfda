// SPDX-License-Identifier: MIT
// Tokenizers against vectors made by others: llama.cpp's texts and ids for four vocabularies,
// llama2.c's tokenizer of stories260K. The data lies below $MUSTER_MIRROR; argv[1] is the folder of
// the converters.
#include "engine/engine.h"
#include "tests/unit/tap.h"

#include <stdlib.h>
#include <unistd.h>

static Arena arena;
static Str mirror;
static Str scripts;

/** A path for a converter's output, in the folder the tests run in. */
static Str temp_path(const char *name)
{
    return str_printf(&arena, "test_tokenizer_%ld_%s.gguf", (long)getpid(), name);
}

static Str mirror_path(const char *path)
{
    return path_join(&arena, mirror, str_from_c(path));
}

static bool convert(const char *script, const char *const *args, Str out)
{
    const char *argv[8] = {"python3", "-B",
                           str_to_c(&arena, path_join(&arena, scripts, str_from_c(script)))};
    size_t n = 3;
    int status = -1;
    Buf messages = {0};
    Err err = ERR_INIT;
    while (*args != NULL) {
        argv[n++] = *args++;
    }
    argv[n] = str_to_c(&arena, out);
    bool ok = CHECK_OK(process_run(argv, 120000, NULL, &messages, &status, &err), &err);
    if (ok && status != 0) {
        printf("# %s: " STR_FMT "\n", script, STR_ARG(buf_view(&messages)));
        tap_checks_failed++;
        ok = false;
    }
    buf_finish(&messages);
    return ok;
}

/** Whether the ids are those written as decimals in line. */
static bool same_ids(const int32_t *ids, size_t n, Str line)
{
    size_t at = 0;
    Str word;
    for (line = str_trim(line); line.len > 0; line = str_trim(line)) {
        int64_t id;
        str_cut(line, STR(" "), &word, &line);
        if (!str_to_i64(word, &id) || at >= n || ids[at++] != id) {
            return false;
        }
    }
    return at == n;
}

/** Every text of NAME.gguf.inp must give the ids on its line of NAME.gguf.out, and decode to
 * itself. */
static void check_vectors(const Tokenizer *tokenizer, const char *name, bool spaced)
{
    Err err = ERR_INIT;
    Str texts, lines, text, line;
    size_t n_texts = 0;
    Str base = str_printf(&arena, "tokenizers/gguf_vocab/ggml-vocab-%s.gguf", name);
    if (!CHECK_OK(file_read(&arena,
                            str_printf(&arena, STR_FMT "/" STR_FMT ".inp", STR_ARG(mirror),
                                       STR_ARG(base)),
                            1 << 20, &texts, &err),
                  &err) ||
        !CHECK_OK(file_read(&arena,
                            str_printf(&arena, STR_FMT "/" STR_FMT ".out", STR_ARG(mirror),
                                       STR_ARG(base)),
                            1 << 20, &lines, &err),
                  &err)) {
        return;
    }
    for (bool more = true; more; n_texts++) {
        int32_t *ids;
        size_t n;
        Buf decoded = {0};
        more = str_cut(texts, STR("\n__ggml_vocab_test__\n"), &text, &texts);
        str_cut(lines, STR("\n"), &line, &lines);
        if (!CHECK_OK(tokenizer_encode(tokenizer, text, false, false, &arena, &ids, &n, &err),
                      &err)) {
            return;
        }
        if (!same_ids(ids, n, line)) {
            printf("# %s, text %zu: wanted " STR_FMT "\n", name, n_texts, STR_ARG(line));
            tap_checks_failed++;
        }
        tokenizer_decode(tokenizer, ids, n, false, &decoded);
        CHECK_STR(str_slice(buf_view(&decoded), spaced && n > 0 ? 1 : 0, decoded.len), text);
        buf_finish(&decoded);
    }
    CHECK_INT(n_texts, 47);
}

static void check_file(const char *name, bool spaced)
{
    Err err = ERR_INIT;
    Tokenizer *tokenizer = NULL;
    Str path =
        mirror_path(str_printf(&arena, "tokenizers/gguf_vocab/ggml-vocab-%s.gguf", name).data);
    if (CHECK_OK(tokenizer_open_gguf(path, &tokenizer, &err), &err)) {
        check_vectors(tokenizer, name, spaced);
    }
    tokenizer_close(tokenizer);
}

static void test_tokenizer__gpt2(void)
{
    check_file("gpt-2", false);
}

static void test_tokenizer__starcoder(void)
{
    check_file("starcoder", false);
}

static void test_tokenizer__phi3(void)
{
    check_file("phi-3", true);
}

static void test_tokenizer__qwen2(void)
{
    Err err = ERR_INIT;
    Tokenizer *tokenizer = NULL;
    Str path = temp_path("qwen2");
    const char *args[] = {mirror_path("tokenizers/hf/qwen3/tokenizer.json").data, "qwen2", NULL};
    if (convert("tokenizer_hf_to_gguf.py", args, path) &&
        CHECK_OK(tokenizer_open_gguf(path, &tokenizer, &err), &err)) {
        check_vectors(tokenizer, "qwen2", false);
    }
    tokenizer_close(tokenizer);
    unlink(path.data);
}

/** Ids that llama2.c's own encoder gives for the opening of the documented story. */
static void test_tokenizer__stories(void)
{
    Err err = ERR_INIT;
    Tokenizer *tokenizer = NULL;
    Str path = temp_path("stories");
    const char *args[] = {mirror_path("models/stories260K/stories260K.bin").data,
                          mirror_path("models/stories260K/tok512.bin").data, NULL};
    if (convert("stories_to_gguf.py", args, path) &&
        CHECK_OK(tokenizer_open_gguf(path, &tokenizer, &err), &err)) {
        int32_t *ids;
        size_t n;
        Buf decoded = {0};
        CHECK_INT(tokenizer_vocab(tokenizer), 512);
        CHECK_INT(tokenizer_bos(tokenizer), 1);
        CHECK(tokenizer_adds_bos(tokenizer) && tokenizer_is_end(tokenizer, 2));
        tokenizer_encode(tokenizer, STR("Once upon a time"), false, true, &arena, &ids, &n, &err);
        CHECK(same_ids(ids, n, STR("1 403 407 261 378")));
        tokenizer_decode(tokenizer, ids, n, false, &decoded);
        CHECK_STR(buf_view(&decoded), STR("Once upon a time"));
        buf_finish(&decoded);
    }
    tokenizer_close(tokenizer);
    unlink(path.data);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*test)(void);
        const char *needs;
    } tests[] = {
        {"tokenizer: gpt-2 vectors", test_tokenizer__gpt2, "tokenizers/gguf_vocab"},
        {"tokenizer: starcoder vectors", test_tokenizer__starcoder, "tokenizers/gguf_vocab"},
        {"tokenizer: phi-3 vectors", test_tokenizer__phi3, "tokenizers/gguf_vocab"},
        {"tokenizer: qwen2 vectors", test_tokenizer__qwen2, "tokenizers/hf/qwen3/tokenizer.json"},
        {"tokenizer: stories260K", test_tokenizer__stories, "models/stories260K"},
    };
    mirror = env_get("MUSTER_MIRROR", STR_EMPTY);
    scripts = str_from_c(argc > 1 ? argv[1] : "tests/golden");
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (mirror.len == 0) {
            tap_skip(tests[i].name, "MUSTER_MIRROR is not set");
        } else if (!file_exists(mirror_path(tests[i].needs))) {
            tap_skip(tests[i].name, "no such data below MUSTER_MIRROR");
        } else {
            tap_run(tests[i].name, tests[i].test);
        }
    }
    arena_finish(&arena);
    return tap_done();
}
