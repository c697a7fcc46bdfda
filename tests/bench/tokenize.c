// SPDX-License-Identifier: MIT
// Prints the ids of each record of stdin, one line a record: tests/bench/tokenizer_compare.py sets
// them against another tokenizer's. Records end in NUL, so that they may hold newlines. usage:
// tokenize MODEL.gguf [--special] [--bos] [--time] < records
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

typedef struct Settings {
    bool special, bos, time;
} Settings;

static void print_ids(const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("%s%d", i > 0 ? " " : "", ids[i]);
    }
    putchar('\n');
}

/** Encode every record; returns the number of ids. */
static size_t encode_all(const Tokenizer *tokenizer, Str input, const Settings *settings,
                         bool print, Err *err)
{
    Arena arena = {0};
    Str record;
    size_t total = 0;
    while (input.len > 0 && err->code == ERR_NONE) {
        int32_t *ids;
        size_t n;
        str_cut(input, (Str){"", 1}, &record, &input);
        if (tokenizer_encode(tokenizer, record, settings->special, settings->bos, &arena, &ids, &n,
                             err)) {
            total += n;
            if (print) {
                print_ids(ids, n);
            }
        }
        arena_reset(&arena);
    }
    arena_finish(&arena);
    return total;
}

static void run(const char *path, const Settings *settings, Err *err)
{
    Buf input = {.limit_bytes = (size_t)1 << 30};
    Tokenizer *tokenizer = NULL;
    double start = (double)clock_ns() / 1e6;
    char *room;
    if (!tokenizer_open_gguf(str_from_c(path), &tokenizer, err)) {
        return;
    }
    double opened = (double)clock_ns() / 1e6;
    while ((room = buf_reserve(&input, 1 << 16)) != NULL) {
        size_t n = fread(room, 1, 1 << 16, stdin);
        input.len += n;
        if (n == 0) {
            break;
        }
    }
    double read = (double)clock_ns() / 1e6;
    size_t n_ids = encode_all(tokenizer, buf_view(&input), settings, !settings->time, err);
    double end = (double)clock_ns() / 1e6;
    if (settings->time) {
        printf("open %.1f ms, %zu bytes to %zu ids in %.1f ms\n", opened - start, input.len, n_ids,
               end - read);
    }
    tokenizer_close(tokenizer);
    buf_finish(&input);
}

int main(int argc, char **argv)
{
    Settings settings = {0};
    Err err = ERR_INIT;
    if (argc < 2) {
        fprintf(stderr, "usage: tokenize MODEL.gguf [--special] [--bos] [--time] < records\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        settings.special |= strcmp(argv[i], "--special") == 0;
        settings.bos |= strcmp(argv[i], "--bos") == 0;
        settings.time |= strcmp(argv[i], "--time") == 0;
    }
    run(argv[1], &settings, &err);
    if (err.code != ERR_NONE) {
        fprintf(stderr, "error: %s [%s]\n", err.message, err_code_word(err.code));
    }
    return err.code != ERR_NONE;
}
