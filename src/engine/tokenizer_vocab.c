// SPDX-License-Identifier: MIT
// Reads a vocabulary out of GGUF metadata: symbols, kinds, the map from bytes to symbols, special
// ids, what ends generation. The file is hostile: every id is checked against the number of tokens.
#include "engine/tokenizer_internal.h"

#include <string.h>

#define TOKENS_MAX      (UINT32_C(1) << 22)
#define TOKEN_BYTES_MAX 2048
#define MERGES_MAX      (UINT32_C(1) << 23)

static const char key_tokens[] = "tokenizer.ggml.tokens";
static const char key_types[] = "tokenizer.ggml.token_type";
static const char key_merges[] = "tokenizer.ggml.merges";

// ---- The map from bytes to symbols -------------------------------------------------------------

void symbol_map_init(SymbolMap *map, Arena *arena, size_t n)
{
    size_t slots = 16;
    while (slots < n * 2) {
        slots *= 2;
    }
    map->slots = ARENA_ARRAY(arena, SymbolSlot, slots);
    map->mask = slots - 1;
}

static SymbolSlot *map_slot(const SymbolMap *map, const Str *symbols, Str bytes, uint32_t *out_hash)
{
    uint32_t hash = (uint32_t)hash_fast(bytes.data, bytes.len);
    size_t at = hash & map->mask;
    while (map->slots[at].symbol != 0 &&
           (map->slots[at].hash != hash || !str_eq(symbols[map->slots[at].symbol - 1], bytes))) {
        at = (at + 1) & map->mask;
    }
    *out_hash = hash;
    return &map->slots[at];
}

bool symbol_map_add(SymbolMap *map, const Str *symbols, uint32_t symbol)
{
    uint32_t hash;
    SymbolSlot *slot = map_slot(map, symbols, symbols[symbol], &hash);
    if (slot->symbol != 0) {
        return false;
    }
    *slot = (SymbolSlot){hash, symbol + 1};
    return true;
}

int32_t symbol_map_find(const SymbolMap *map, const Str *symbols, Str bytes)
{
    uint32_t hash;
    return (int32_t)map_slot(map, symbols, bytes, &hash)->symbol - 1;
}

// ---- Symbols -----------------------------------------------------------------------------------

static bool read_kinds(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    size_t n;
    tokenizer->kinds = arena_alloc(&tokenizer->arena, tokenizer->n_tokens, 1);
    memset(tokenizer->kinds, TOKEN_NORMAL, tokenizer->n_tokens);
    if (!gguf_get_array(gguf, key_types, &n)) {
        return true;
    }
    if (n != tokenizer->n_tokens) {
        return ERR_SET(err, ERR_PARSE, "%s has %zu elements for %zu tokens", key_types, n,
                       tokenizer->n_tokens);
    }
    for (size_t i = 0; i < n; i++) {
        int64_t kind;
        if (!gguf_array_i64(gguf, key_types, i, &kind) || kind < 0 || kind > TOKEN_BYTE) {
            return ERR_SET(err, ERR_PARSE, "%s: element %zu is no type of token", key_types, i);
        }
        tokenizer->kinds[i] = kind == 0 ? TOKEN_NORMAL : (uint8_t)kind;
    }
    return true;
}

/** The byte of a text like <0x0A>. */
static bool parse_byte(Str text, uint8_t *out)
{
    uint32_t value = 0;
    if (text.len != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') {
        return false;
    }
    for (size_t i = 3; i < 5; i++) {
        char c = text.data[i];
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if (c >= 'A' && c <= 'F') {
            digit = (uint32_t)(c - 'A') + 10;
        } else if (c >= 'a' && c <= 'f') {
            digit = (uint32_t)(c - 'a') + 10;
        } else {
            return false;
        }
        value = value * 16 + digit;
    }
    *out = (uint8_t)value;
    return true;
}

/** Copy text with U+2581 as space; returns the length. */
static size_t unescape_spaces(Str text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len;) {
        if (text.len - i >= 3 && memcmp(text.data + i, "\xe2\x96\x81", 3) == 0) {
            out[n++] = ' ';
            i += 3;
        } else {
            out[n++] = text.data[i++];
        }
    }
    return n;
}

/** Write the bytes that token i stands for; never more than its text has. */
static size_t token_bytes(const Tokenizer *tokenizer, size_t i, Str text, char *out)
{
    TokenKind kind = (TokenKind)tokenizer->kinds[i];
    uint8_t byte;
    size_t n;
    if (kind == TOKEN_BYTE && parse_byte(text, &byte)) {
        out[0] = (char)byte;
        return 1;
    }
    if (kind == TOKEN_NORMAL || kind == TOKEN_UNUSED) {
        if (tokenizer->model == MODEL_SPM) {
            return unescape_spaces(text, out);
        }
        if (tokenizer_bpe_bytes(text, out, &n)) {
            return n;
        }
    }
    memcpy(out, text.data, text.len);
    return text.len;
}

static bool read_symbols(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    size_t n = 0, n_merges = 0, total = 0;
    Str text;
    if (!gguf_get_array(gguf, key_tokens, &n) || n == 0) {
        return ERR_SET(err, ERR_PARSE, "no vocabulary: %s is missing or empty", key_tokens);
    }
    if (n > TOKENS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "%zu tokens, at most %u are allowed", n, TOKENS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        if (!gguf_array_str(gguf, key_tokens, i, &text)) {
            return ERR_SET(err, ERR_PARSE, "%s is no array of strings", key_tokens);
        }
        if (text.len > TOKEN_BYTES_MAX) {
            return ERR_SET(err, ERR_LIMIT, "token %zu has %zu bytes, at most %d are allowed", i,
                           text.len, TOKEN_BYTES_MAX);
        }
        total += text.len;
    }
    tokenizer->n_tokens = tokenizer->n_symbols = n;
    if (!read_kinds(tokenizer, gguf, err)) {
        return false;
    }
    if (tokenizer->model == MODEL_BPE) {
        gguf_get_array(gguf, key_merges, &n_merges);
    }
    if (n_merges > MERGES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "%zu merges, at most %u are allowed", n_merges, MERGES_MAX);
    }
    tokenizer->cap_symbols = n + n_merges + 256;
    tokenizer->symbols = arena_alloc_raw(&tokenizer->arena, tokenizer->cap_symbols, sizeof(Str));
    char *bytes = arena_alloc_raw(&tokenizer->arena, total + 1, 1);
    for (size_t i = 0; i < n; i++) {
        gguf_array_str(gguf, key_tokens, i, &text);
        tokenizer->symbols[i] = (Str){bytes, token_bytes(tokenizer, i, text, bytes)};
        bytes += tokenizer->symbols[i].len;
    }
    return true;
}

/** Which tokens plain text may become. Control tokens never: text can not forge them. */
static void build_map(Tokenizer *tokenizer)
{
    static const TokenKind order[] = {TOKEN_NORMAL, TOKEN_UNUSED, TOKEN_USER};
    symbol_map_init(&tokenizer->map, &tokenizer->arena, tokenizer->cap_symbols);
    for (size_t pass = 0; pass < sizeof(order) / sizeof(order[0]); pass++) {
        for (size_t i = 0; i < tokenizer->n_tokens; i++) {
            if (tokenizer->kinds[i] == order[pass] && tokenizer->symbols[i].len > 0) {
                symbol_map_add(&tokenizer->map, tokenizer->symbols, (uint32_t)i);
                size_t len = tokenizer->symbols[i].len;
                tokenizer->longest = len > tokenizer->longest ? len : tokenizer->longest;
            }
        }
    }
}

// ---- Special ids -------------------------------------------------------------------------------

/** An id under key: -1 when the key is absent or says "none". */
static bool read_id(const Tokenizer *tokenizer, const Gguf *gguf, const char *key, int32_t *out,
                    Err *err)
{
    uint64_t id;
    *out = -1;
    if (!gguf_get_u64(gguf, key, &id) || id == UINT32_MAX) {
        return true;
    }
    if (id >= tokenizer->n_tokens) {
        return ERR_SET(err, ERR_PARSE, "%s is %llu, the vocabulary has %zu tokens", key,
                       (unsigned long long)id, tokenizer->n_tokens);
    }
    *out = (int32_t)id;
    return true;
}

/** SentencePiece's own numbering, for files that do not say: unknown 0, BOS 1, EOS 2. */
static void default_spm_ids(Tokenizer *tokenizer)
{
    int32_t *const ids[] = {&tokenizer->unknown, &tokenizer->bos, &tokenizer->eos};
    for (size_t i = 0; i < 3 && i < tokenizer->n_tokens; i++) {
        TokenKind kind = (TokenKind)tokenizer->kinds[i];
        if (*ids[i] < 0 && (kind == TOKEN_CONTROL || kind == TOKEN_UNKNOWN)) {
            *ids[i] = (int32_t)i;
        }
    }
}

/** Control tokens that end a turn or a text, by their texts in models of many makers. */
static const char *const end_texts[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "</s>",
    "<|eot|>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<EOT>",
    "<|return|>",
    "<|call|>",
    "<|eom|>",
    "<turn|>",
    "<eos>",
    "<|END_OF_TURN_TOKEN|>",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
};

static bool is_end_text(Str text)
{
    for (size_t i = 0; i < sizeof(end_texts) / sizeof(end_texts[0]); i++) {
        if (str_eq_c(text, end_texts[i])) {
            return true;
        }
    }
    return false;
}

static bool mark_ends(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int32_t plain_end = -1; // <|end|>
    bool harmony = false;   // gpt-oss: <|end|> ends a message among several of one turn
    for (size_t i = 0; i < tokenizer->n_tokens; i++) {
        if (tokenizer->kinds[i] == TOKEN_CONTROL && is_end_text(tokenizer->symbols[i])) {
            bit_set(tokenizer->ends, i);
            harmony = harmony || str_eq_c(tokenizer->symbols[i], "<|call|>");
            plain_end = str_eq_c(tokenizer->symbols[i], "<|end|>") ? (int32_t)i : plain_end;
        }
    }
    if (harmony && plain_end >= 0) {
        tokenizer->ends[plain_end / 64] &= ~(UINT64_C(1) << (plain_end % 64));
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int32_t id;
        if (!read_id(tokenizer, gguf, keys[i], &id, err)) {
            return false;
        }
        if (id >= 0) {
            bit_set(tokenizer->ends, (size_t)id);
        }
    }
    if (tokenizer->eos >= 0) {
        bit_set(tokenizer->ends, (size_t)tokenizer->eos);
    }
    return true;
}

/**
 * Phi-3 drops white space after its special tokens; the format has no key for that, so llama.cpp
 * goes by the model's name, and so do we. */
static void mark_strips(Tokenizer *tokenizer, const Gguf *gguf)
{
    static const char *const keep[] = {"<unk>", "<s>", "<|endoftext|>"};
    Arena scratch = {0};
    Str name = STR_EMPTY;
    gguf_get_str(gguf, "general.name", &name);
    name = utf8_lower(&scratch, utf8_clean(&scratch, str_slice(name, 0, 256)));
    bool phi3 =
        str_find(name, STR("phi-3"), 0) != STR_NONE || str_find(name, STR("phi3"), 0) != STR_NONE;
    arena_finish(&scratch);
    for (size_t i = 0; phi3 && i < tokenizer->n_tokens; i++) {
        TokenKind kind = (TokenKind)tokenizer->kinds[i];
        bool kept = kind != TOKEN_CONTROL && kind != TOKEN_USER && kind != TOKEN_UNKNOWN;
        for (size_t k = 0; k < sizeof(keep) / sizeof(keep[0]); k++) {
            kept = kept || str_eq_c(tokenizer->symbols[i], keep[k]);
        }
        if (!kept) {
            bit_set(tokenizer->strips, i);
        }
    }
}

bool tokenizer_load_vocab(Tokenizer *tokenizer, const Gguf *gguf, Err *err)
{
    if (!read_symbols(tokenizer, gguf, err)) {
        return false;
    }
    build_map(tokenizer);
    size_t words = (tokenizer->n_tokens + 63) / 64;
    tokenizer->ends = ARENA_ARRAY(&tokenizer->arena, uint64_t, words);
    tokenizer->strips = ARENA_ARRAY(&tokenizer->arena, uint64_t, words);
    if (!read_id(tokenizer, gguf, "tokenizer.ggml.bos_token_id", &tokenizer->bos, err) ||
        !read_id(tokenizer, gguf, "tokenizer.ggml.eos_token_id", &tokenizer->eos, err) ||
        !read_id(tokenizer, gguf, "tokenizer.ggml.unknown_token_id", &tokenizer->unknown, err)) {
        return false;
    }
    if (tokenizer->model == MODEL_SPM) {
        default_spm_ids(tokenizer);
    }
    Str template = STR_EMPTY;
    gguf_get_str(gguf, "tokenizer.chat_template", &template);
    tokenizer->chat_template = str_copy(&tokenizer->arena, template);
    mark_strips(tokenizer, gguf);
    return mark_ends(tokenizer, gguf, err) && tokenizer_load_special(tokenizer, err);
}
