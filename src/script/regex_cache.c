// SPDX-License-Identifier: MIT
#include "script/regex_cache.h"

#include <string.h>

#define N_SLOTS     256 // direct-mapped in sets of 4
#define WAYS        4
#define PATTERN_MAX (16u << 10)

typedef struct Slot {
    uint64_t hash;
    uint64_t used_at;
    char *pattern;
    size_t len;
    Regex *regex; // NULL: free
} Slot;

struct RegexCache {
    Slot slots[N_SLOTS];
    uint64_t clock;
};

RegexCache *regex_cache_create(void)
{
    return mem_zalloc(1, sizeof(RegexCache));
}

static void slot_clear(Slot *slot)
{
    regex_destroy(slot->regex);
    mem_free(slot->pattern);
    *slot = (Slot){0};
}

void regex_cache_destroy(RegexCache *cache)
{
    for (size_t i = 0; cache != NULL && i < N_SLOTS; i++) {
        slot_clear(&cache->slots[i]);
    }
    mem_free(cache);
}

bool regex_cache_get(RegexCache *cache, Str pattern, Regex **out, Err *err)
{
    if (pattern.len > PATTERN_MAX) {
        return ERR_SET(err, ERR_LIMIT, "regular expression of more than %u bytes", PATTERN_MAX);
    }
    uint64_t hash = hash_fast(pattern.data, pattern.len);
    Slot *set = &cache->slots[hash % (N_SLOTS / WAYS) * WAYS];
    Slot *oldest = set;
    cache->clock++;
    for (Slot *slot = set; slot < set + WAYS; slot++) {
        if (slot->regex != NULL && slot->hash == hash && slot->len == pattern.len &&
            memcmp(slot->pattern, pattern.data, pattern.len) == 0) {
            slot->used_at = cache->clock;
            *out = slot->regex;
            return true;
        }
        oldest = slot->used_at < oldest->used_at ? slot : oldest;
    }
    Regex *regex;
    if (!regex_create(pattern, 0, &regex, err)) {
        return false;
    }
    slot_clear(oldest);
    *oldest = (Slot){.hash = hash, .used_at = cache->clock, .len = pattern.len, .regex = regex};
    oldest->pattern = mem_alloc(pattern.len + 1, 1);
    memcpy(oldest->pattern, pattern.data, pattern.len);
    *out = regex;
    return true;
}

static bool has_character(Str characters, uint32_t c)
{
    for (size_t at = 0; at < characters.len;) {
        if (utf8_next(characters, &at) == c) {
            return true;
        }
    }
    return false;
}

Str text_trim_of(Str s, Str characters)
{
    size_t from = 0;
    while (from < s.len) {
        size_t at = from;
        if (!has_character(characters, utf8_next(s, &at))) {
            break;
        }
        from = at;
    }
    size_t to = s.len;
    while (to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)s.data[at] & 0xc0) == 0x80) {
            at--;
        }
        size_t start = at;
        uint32_t c = utf8_next(s, &at);
        if (at != to || !has_character(characters, c)) {
            break;
        }
        to = start;
    }
    return str_slice(s, from, to);
}
