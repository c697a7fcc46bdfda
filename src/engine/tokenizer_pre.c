// SPDX-License-Identifier: MIT
// The pre-tokenizers of byte-level BPE models: each is a list of regexes, applied one after the
// other to the pieces that the one before left; matches and the gaps between them are pieces alike.
// None needs more than time linear in the text, measured on runs of one character of each kind; a
// list that does (jais-2: it rescans a run of spaces for a newline at each of its words) has no
// row.
#include "engine/tokenizer_internal.h"

// Contractions, then words with their leading space, numbers, other signs, and white space of which
// the last one is left to the word that follows. Gaps are pieces too, so a last \s+ is not needed.
#define RE_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"

#define RE_SHORT_FORMS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define RE_WORD        "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define RE_SIGNS       " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define RE_SPACES      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

// Words of mixed case: capitals then small letters (tekken, gpt-4o).
#define RE_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define RE_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define RE_CASED_WORD(tail)                                                                        \
    "[^\\r\\n\\p{L}\\p{N}]?" RE_UPPER "*" RE_LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" RE_UPPER     \
    "+" RE_LOWER "*" tail
#define RE_SIGNS_SLASH " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"

#define RE_CJK   "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define RE_BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{0964}\\x{06d4}\\x{060c})]+"

static const char *const pre_DEFAULT[] = {
    "[\\p{P}\\$\\+<=>\\^~\\|]+", RE_GPT2, "\\p{N}+", "[0-9][0-9][0-9]", NULL,
};
static const char *const pre_GPT2[] = {RE_GPT2, NULL};
static const char *const pre_DIGITS_GPT2[] = {"\\p{N}", RE_GPT2, NULL};
static const char *const pre_FALCON[] = {
    "[\\p{P}\\$\\+<=>\\^~\\|`]+",
    RE_GPT2,
    "[0-9][0-9][0-9]",
    NULL,
};
static const char *const pre_LLAMA3[] = {
    RE_SHORT_FORMS "|" RE_WORD "|\\p{N}{1,3}|" RE_SIGNS "|" RE_SPACES,
    NULL,
};
static const char *const pre_QWEN2[] = {
    RE_SHORT_FORMS "|" RE_WORD "|\\p{N}|" RE_SIGNS "|" RE_SPACES,
    NULL,
};
static const char *const pre_QWEN35[] = {
    RE_SHORT_FORMS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                   "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" RE_SPACES,
    NULL,
};
static const char *const pre_TEKKEN[] = {
    RE_CASED_WORD("") "|\\p{N}|" RE_SIGNS_SLASH "|" RE_SPACES,
    NULL,
};
static const char *const pre_GPT4O[] = {
    RE_CASED_WORD(RE_SHORT_FORMS "?") "|\\p{N}{1,3}|" RE_SIGNS_SLASH "|" RE_SPACES,
    NULL,
};
static const char *const pre_DEEPSEEK_CODER[] = {
    "[\\r\\n]",    "\\s?\\p{L}+",
    "\\s?\\p{P}+", "[\\x{4e00}-\\x{9fa5}\\x{0800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+",
    "\\p{N}",      NULL,
};
static const char *const pre_DEEPSEEK3[] = {
    "\\p{N}{1,3}",
    RE_CJK,
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" RE_SPACES,
    NULL,
};
static const char *const pre_BAILING[] = {
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    NULL,
};
static const char *const pre_SEED_CODER[] = {
    RE_SHORT_FORMS "|" RE_WORD "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" RE_SPACES,
    NULL,
};
static const char *const pre_BLOOM[] = {RE_BLOOM, NULL};
static const char *const pre_VIKING[] = {RE_BLOOM, "\\p{N}", NULL};
static const char *const pre_CHAMELEON[] = {
    "<sentinel:[0-9]+>",
    "IMGIMG[A-I]{1,4}Z",
    "[\\t\\n]|    |  ",
    "\\p{N}",
    "[\\p{P}!-/:-@\\[-`{-~]",
    RE_GPT2,
    NULL,
};

static const PreTokenizer pre_table[] = {
#define X(name, list, flags) {name, pre_##list, flags},
#include "engine/tokenizer_pre.def"
#undef X
};

const PreTokenizer *tokenizer_pre_find(Str name)
{
    for (size_t i = 0; i < sizeof(pre_table) / sizeof(pre_table[0]); i++) {
        if (str_eq_c(name, pre_table[i].name)) {
            return &pre_table[i];
        }
    }
    return NULL;
}
