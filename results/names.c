// SPDX-License-Identifier: MIT
// Names for experiments that were given none, short ids for typing, and which names are allowed.
#include "results/store_internal.h"

#include <string.h>

static const char *const ADJECTIVES[] = {
    "amber", "bold",   "brisk",  "calm",  "clear",  "crisp",  "deep",   "eager", "early", "fair",
    "fleet", "fresh",  "gentle", "glad",  "golden", "grand",  "green",  "happy", "hardy", "keen",
    "kind",  "lively", "lucky",  "merry", "mild",   "neat",   "nimble", "noble", "plain", "proud",
    "quick", "quiet",  "rapid",  "ready", "sharp",  "silent", "silver", "smart", "solid", "steady",
    "still", "sunny",  "swift",  "tidy",  "vivid",  "warm",   "wise",   "witty", "young", "zesty",
};
static const char *const NOUNS[] = {
    "acorn",  "badger",  "beacon", "birch",  "brook",  "canyon", "cedar",   "comet",  "coral",
    "crane",  "delta",   "dune",   "eagle",  "ember",  "falcon", "fern",    "fjord",  "forest",
    "fox",    "glade",   "hare",   "harbor", "heron",  "island", "jay",     "lagoon", "lark",
    "maple",  "marsh",   "meadow", "moon",   "orchid", "osprey", "otter",   "owl",    "pebble",
    "pine",   "plover",  "quail",  "reef",   "river",  "robin",  "sparrow", "spruce", "stone",
    "summit", "thistle", "tiger",  "willow", "wren",
};

#define N_ADJECTIVES (sizeof(ADJECTIVES) / sizeof(ADJECTIVES[0]))
#define N_NOUNS      (sizeof(NOUNS) / sizeof(NOUNS[0]))
#define NAME_MAX_LEN 200

Str name_make(Arena *arena, Rng *rng)
{
    return str_printf(arena, "%s-%s-%d", ADJECTIVES[rng_below(rng, N_ADJECTIVES)],
                      NOUNS[rng_below(rng, N_NOUNS)], (int)rng_below(rng, 100));
}

Str short_id_make(Arena *arena, Rng *rng)
{
    // No vowels and nothing that looks like something else; a letter first, so it is no number.
    static const char letters[] = "bcdfghjkmnpqrstvwxz";
    static const char all[] = "bcdfghjkmnpqrstvwxz23456789";
    char id[6];
    id[0] = letters[rng_below(rng, sizeof(letters) - 1)];
    for (size_t i = 1; i < sizeof(id); i++) {
        id[i] = all[rng_below(rng, sizeof(all) - 1)];
    }
    return str_copy(arena, (Str){id, sizeof(id)});
}

bool name_check_as(const char *what, Str name, Err *err)
{
    if (name.len > NAME_MAX_LEN) {
        return ERR_SET(err, ERR_USAGE, "the name of %s has at most %d bytes", what, NAME_MAX_LEN);
    }
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c <= ' ' || c == 0x7f || strchr(":@~,/\\*?\"'", c) != NULL) {
            return ERR_SET(err, ERR_USAGE,
                           "the name of %s has no spaces, control characters or any of "
                           ": @ ~ , / \\ * ? \" '",
                           what);
        }
    }
    if (name.len == 0 || name.data[0] == '-' || str_eq(name, STR("latest"))) {
        return ERR_SET(err, ERR_USAGE, "'" STR_FMT "' can not be the name of %s", STR_ARG(name),
                       what);
    }
    return true;
}

bool name_check(Str name, Err *err)
{
    return name_check_as("an experiment", name, err);
}
