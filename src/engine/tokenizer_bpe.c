// SPDX-License-Identifier: MIT
// Byte-level BPE ("gpt2" in GGUF): words cut by the model's regexes, then merged by rank from
// single bytes. A vocabulary may lack bytes; those are dropped, as the models' own tokenizers do.
//
// Text that is not UTF-8 loses nothing: the regexes see U+FFFD for each invalid byte, the words are
// made of the bytes that are there.
#include "engine/tokenizer_internal.h"

#include <string.h>

#define REGEX_WINDOW 4096 // bytes cut off where a regex gives up

static const char key_merges[] = "tokenizer.ggml.merges";

// ---- GPT-2's byte letters ----------------------------------------------------------------------

/** Whether a byte stands for itself; the other 68, in order, are the letters from U+0100 on. */
static bool is_own_letter(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
           (byte >= 0xae && byte <= 0xff);
}

/** The byte that a letter stands for; false when it is no byte letter. */
static bool letter_byte(uint32_t letter, char *out)
{
    if (letter < 0x100) {
        *out = (char)letter;
        return is_own_letter(letter);
    }
    if (letter < 0x121) { // 00..20
        *out = (char)(letter - 0x100);
    } else if (letter < 0x143) { // 7F..A0
        *out = (char)(letter - 0x121 + 0x7f);
    } else if (letter == 0x143) {
        *out = (char)0xad;
    } else {
        return false;
    }
    return true;
}

bool tokenizer_bpe_bytes(Str text, char *out, size_t *out_len)
{
    size_t n = 0;
    for (size_t at = 0; at < text.len; n++) {
        if (!letter_byte(utf8_next(text, &at), &out[n])) {
            return false;
        }
    }
    *out_len = n;
    return true;
}

// ---- Merges ------------------------------------------------------------------------------------

/** The symbol of these bytes, a new one if need be; bytes must outlive the tokenizer. */
static int32_t intern(Tokenizer *tokenizer, Str bytes)
{
    int32_t found = symbol_map_find(&tokenizer->map, tokenizer->symbols, bytes);
    if (found >= 0) {
        return found;
    }
    uint32_t symbol = (uint32_t)tokenizer->n_symbols++;
    tokenizer->symbols[symbol] = bytes;
    symbol_map_add(&tokenizer->map, tokenizer->symbols, symbol);
    return (int32_t)symbol;
}

static Str to_bytes(Str text, char *out)
{
    size_t n = text.len;
    if (!tokenizer_bpe_bytes(text, out, &n)) {
        n = text.len;
        memcpy(out, text.data, n);
    }
    return (Str){out, n};
}

/** Cut "left right" into the bytes of both, side by side in out, which has room for text. */
static bool read_merge(const Gguf *gguf, size_t i, char *out, Str *left, Str *right, Err *err)
{
    Str text;
    if (!gguf_array_str(gguf, key_merges, i, &text)) {
        return ERR_SET(err, ERR_PARSE, "%s is no array of strings", key_merges);
    }
    size_t space = str_find(text, STR(" "), 1);
    if (space == STR_NONE || space + 1 >= text.len) {
        return ERR_SET(err, ERR_PARSE, "%s: element %zu is no pair", key_merges, i);
    }
    *left = to_bytes(str_slice(text, 0, space), out);
    *right = to_bytes(str_slice(text, space + 1, text.len), out + left->len);
    return true;
}

/** Symbols of all results, before any pair: a half may be the result of a merge further down. */
static bool read_results(Tokenizer *tokenizer, const Gguf *gguf, size_t n, char *bytes,
                         int32_t *results, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        Str left, right;
        if (!read_merge(gguf, i, bytes, &left, &right, err)) {
            return false;
        }
        Str result = {bytes, left.len + right.len};
        results[i] = symbol_map_find(&tokenizer->map, tokenizer->symbols, result);
        if (results[i] < 0) {
            results[i] = intern(tokenizer, str_copy(&tokenizer->arena, result));
        }
    }
    return true;
}

/** Pairs in order of rank; one with a half that is no symbol can never occur. */
static bool read_pairs(Tokenizer *tokenizer, const Gguf *gguf, size_t n, char *bytes,
                       const int32_t *results, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        Str left, right;
        if (!read_merge(gguf, i, bytes, &left, &right, err)) {
            return false;
        }
        int32_t left_symbol = symbol_map_find(&tokenizer->map, tokenizer->symbols, left);
        int32_t right_symbol = symbol_map_find(&tokenizer->map, tokenizer->symbols, right);
        if (left_symbol < 0 || right_symbol < 0) {
            continue;
        }
        Pair *pair = &tokenizer->pairs[tokenizer_pair(tokenizer, left_symbol, right_symbol)];
        if (pair->left < 0) { // else a better rank has it
            *pair = (Pair){left_symbol, right_symbol, (uint32_t)i, results[i]};
        }
    }
    return true;
}

static void init_pairs(Tokenizer *tokenizer, size_t n)
{
    size_t slots = 16;
    while (slots < n * 2) {
        slots *= 2;
    }
    tokenizer->pairs = arena_alloc_raw(&tokenizer->arena, slots, sizeof(Pair));
    tokenizer->pair_mask = slots - 1;
    for (size_t i = 0; i < slots; i++) {
        tokenizer->pairs[i].left = -1;
    }
}

static bool read_merges(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    size_t n = 0, longest = 0;
    gguf_get_array(gguf, key_merges, &n);
    if (n == 0) {
        return ERR_SET(err, ERR_PARSE, "no merges: %s is missing or empty", key_merges);
    }
    for (size_t i = 0; i < n; i++) {
        Str text = STR_EMPTY;
        gguf_array_str(gguf, key_merges, i, &text);
        longest = text.len > longest ? text.len : longest;
    }
    init_pairs(tokenizer, n);
    char *bytes = mem_alloc(longest + 1, 1);
    int32_t *results = mem_alloc(n, sizeof(*results));
    bool ok = read_results(tokenizer, gguf, n, bytes, results, err) &&
              read_pairs(tokenizer, gguf, n, bytes, results, err);
    mem_free(results);
    mem_free(bytes);
    return ok;
}

bool tokenizer_load_bpe(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    Str name = STR("default"); // files from before this key existed
    gguf_get_str(gguf, "tokenizer.ggml.pre", &name);
    tokenizer->pre = tokenizer_pre_find(name);
    if (tokenizer->pre == NULL) {
        return ERR_SET(err, ERR_UNSUPPORTED,
                       "the pre-tokenizer '" STR_FMT "' (tokenizer.ggml.pre) is not known",
                       STR_ARG(str_slice(name, 0, 64)));
    }
    tokenizer->ignore_merges = (tokenizer->pre->flags & PRE_IGNORE_MERGES) != 0;
    tokenizer->add_bos = (tokenizer->pre->flags & PRE_ADD_BOS) != 0;
    char *bytes = arena_alloc(&tokenizer->arena, 256, 1);
    for (size_t i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        tokenizer->byte_symbols[i] = intern(tokenizer, (Str){&bytes[i], 1});
    }
    return read_merges(tokenizer, gguf, err);
}

// ---- Words -------------------------------------------------------------------------------------

/** A text while the regexes cut it: what they see, and the bytes behind it. */
typedef struct Cut {
    const Tokenizer *tokenizer;
    Scratch *scratch;
    Str seen;
    Str bytes;
    bool replaced; // seen has U+FFFD where bytes has an invalid byte, so offsets differ
    size_t at;     // in bytes, when replaced: where the next word starts
} Cut;

/** Words come in order and leave no gap, so the place in bytes can be walked along. */
static void cut_word(Cut *cut, size_t from, size_t to)
{
    if (!cut->replaced) {
        tokenizer_encode_word(cut->tokenizer, cut->scratch, str_slice(cut->bytes, from, to));
        return;
    }
    size_t start = cut->at;
    while (from < to) {
        utf8_next(cut->seen, &from);
        utf8_next(cut->bytes, &cut->at);
    }
    tokenizer_encode_word(cut->tokenizer, cut->scratch, str_slice(cut->bytes, start, cut->at));
}

static bool cut_piece(Cut *cut, size_t stage, size_t from, size_t to, Err *err);

/** A regex gave up at from (a very long run): go on with a window, then with what is left. */
static bool cut_window(Cut *cut, size_t stage, size_t from, size_t to, Err *err)
{
    if (to - from <= REGEX_WINDOW) {
        return cut_piece(cut, stage + 1, from, to, err);
    }
    size_t middle = from + REGEX_WINDOW;
    while (((uint8_t)cut->seen.data[middle] & 0xc0) == 0x80) {
        middle--; // seen is UTF-8
    }
    return cut_piece(cut, stage, from, middle, err) && cut_piece(cut, stage, middle, to, err);
}

/** Cut seen[from, to) by the regex of this stage, and its pieces by those after it. */
static bool cut_piece(Cut *cut, size_t stage, size_t from, size_t to, Err *err)
{
    Regex *regex = cut->scratch->regexes[stage];
    if (regex == NULL) {
        cut_word(cut, from, to);
        return true;
    }
    Str piece = str_slice(cut->seen, from, to); // what lies around it must not be seen
    for (size_t at = 0; at < piece.len;) {
        RegexSpan span;
        bool found;
        if (!regex_find(regex, piece, at, &span, 1, &found, &cut->scratch->err)) {
            if (cut->scratch->err.code != ERR_LIMIT) {
                *err = cut->scratch->err;
                return ERR_WRAP(err, "pre-tokenizer '%s'", cut->tokenizer->pre->name);
            }
            cut->scratch->err = (Err)ERR_INIT;
            return cut_window(cut, stage, from + at, to, err);
        }
        if (!found || span.to == span.from) {
            return cut_piece(cut, stage + 1, from + at, to, err);
        }
        if ((span.from > at && !cut_piece(cut, stage + 1, from + at, from + span.from, err)) ||
            !cut_piece(cut, stage + 1, from + span.from, from + span.to, err)) {
            return false;
        }
        at = span.to;
    }
    return true;
}

/**
 * PCRE2 counts U+180E as white space, Unicode and the models' tokenizers do not: show the regexes
 * another format character of three bytes. */
static Str hide_vowel_separators(Scratch *scratch, Str text)
{
    static const char separator[] = "\xe1\xa0\x8e", joiner[] = "\xe2\x80\x8d";
    size_t at = str_find(text, STR("\xe1\xa0\x8e"), 0);
    if (at == STR_NONE) {
        return text;
    }
    buf_clear(&scratch->text);
    buf_str(&scratch->text, text);
    for (; at + 3 <= text.len; at++) {
        if (memcmp(text.data + at, separator, 3) == 0) {
            memcpy(scratch->text.data + at, joiner, 3);
        }
    }
    return buf_view(&scratch->text);
}

bool tokenizer_encode_bpe(const Tokenizer *tokenizer, Scratch *scratch, Str text, Err *err)
{
    Cut cut = {.tokenizer = tokenizer, .scratch = scratch, .bytes = text};
    Arena clean = {0};
    cut.seen = text;
    if (!utf8_is_valid(text)) {
        cut.seen = utf8_clean(&clean, text);
        cut.replaced = true;
    }
    cut.seen = hide_vowel_separators(scratch, cut.seen);
    bool ok = cut_piece(&cut, 0, 0, cut.seen.len, err);
    arena_finish(&clean);
    return ok;
}
