// SPDX-License-Identifier: MIT
// The walker that holds a YAML tree against a key table. Every fault of the tree is reported, each
// at its own place; nothing stops at the first. Knows no keys of its own: those are rows in keys.c.
#include "registry/keys.h"

#include <string.h>

#define NAME_MAX_BYTES 100

/** What people write for what we call something else: other spellings and other tools' words. */
static const char *const synonyms[][2] = {
    {"normalise", "normalize"},
    {"licence", "license"},
    {"scorer", "graders"},
    {"scorers", "graders"},
    {"scoring", "graders"},
    {"asserts", "graders"},
    {"assert", "graders"},
    {"grader", "graders"},
    {"metric", "metrics"},
    {"task", "eval"},
    {"name", "eval"},
    {"fewshot", "few_shot"},
    {"few_shots", "few_shot"},
    {"num_fewshot", "few_shot"},
    {"shots", "few_shot"},
    {"options", "choices"},
    {"question", "input"},
    {"ideal", "target"},
    {"answer", "target"},
    {"expected", "target"},
    {"temp", "temperature"},
    {"max_new_tokens", "max_tokens"},
    {"max_gen_toks", "max_tokens"},
    {"until", "stop"},
    {"stop_sequences", "stop"},
    {"filter", "where"},
    {"subset", "part"},
    {"file", "path"},
    {"repeats", "epochs"},
    {"type", "use"},
    {"prompts", "variants"},
    {"n", "count"},
    {"num", "count"},
    {"minimum", "min"},
    {"maximum", "max"},
    {"size", "bytes"},
    {"urls", "url"},
    {"splits", "files"},
    {"ignorecase", "ignore_case"},
};

const KeyRow *keys_find(const KeyTable *table, Str name)
{
    for (const KeyRow *row = table->rows; row->name != NULL; row++) {
        if (str_eq_c(name, row->name)) {
            return row;
        }
    }
    return NULL;
}

bool keys_word_in(const char *const *words, Str word)
{
    for (; words != NULL && *words != NULL; words++) {
        if (str_eq_c(word, *words)) {
            return true;
        }
    }
    return false;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool schema_is_name(Str s)
{
    if (s.len == 0 || s.len > NAME_MAX_BYTES || !is_alnum(s.data[0])) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (!is_alnum(s.data[i]) && memchr("._-", s.data[i], 3) == NULL) {
            return false;
        }
    }
    return true;
}

bool schema_is_ident(Str s)
{
    if (s.len == 0 || s.len > NAME_MAX_BYTES || (s.data[0] >= '0' && s.data[0] <= '9')) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (!is_alnum(s.data[i]) && s.data[i] != '_') {
            return false;
        }
    }
    return true;
}

Str schema_did_you_mean(Arena *arena, Str word, const Str *candidates, size_t n)
{
    for (size_t i = 0; i < sizeof(synonyms) / sizeof(synonyms[0]); i++) {
        if (!str_eq_c(word, synonyms[i][0])) {
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            if (str_eq_c(candidates[k], synonyms[i][1])) {
                return str_printf(arena, "; did you mean '%s'?", synonyms[i][1]);
            }
        }
    }
    // One letter is near to every other: no help.
    size_t nearest = word.len < 2 ? STR_NONE : str_nearest(word, candidates, n);
    if (nearest == STR_NONE) {
        return STR_EMPTY;
    }
    return str_printf(arena, "; did you mean '" STR_FMT "'?", STR_ARG(candidates[nearest]));
}

void schema_unknown_key(const ValuePair *pair, const char *what, const Str *candidates, size_t n,
                        Str file, Faults *faults)
{
    Str hint = schema_did_you_mean(faults->arena, pair->key, candidates, n);
    faults_add(faults, file, pair->line, pair->col, false, "unknown-key",
               "unknown key '" STR_FMT "' in %s" STR_FMT, STR_ARG(pair->key), what, STR_ARG(hint));
}

static void unknown_key(const KeyTable *table, const ValuePair *pair, Str file, Faults *faults)
{
    Str candidates[64];
    size_t n = 0;
    for (const KeyRow *row = table->rows; row->name != NULL && n < 64; row++) {
        candidates[n++] = str_from_c(row->name);
    }
    schema_unknown_key(pair, table->what, candidates, n, file, faults);
}

static bool kind_accepted(unsigned accepts, const Value *value)
{
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
        return (accepts & ACCEPT_NULL) != 0;
    case VALUE_BOOL:
        return (accepts & ACCEPT_BOOL) != 0;
    case VALUE_INT:
        return (accepts & (ACCEPT_INT | ACCEPT_NUMBER)) != 0;
    case VALUE_REAL:
        return (accepts & ACCEPT_NUMBER) != 0;
    case VALUE_STR:
        return (accepts & ACCEPT_TEXT) != 0;
    case VALUE_LIST:
        return (accepts & ACCEPT_LIST) != 0;
    case VALUE_MAP:
        return (accepts & ACCEPT_MAP) != 0;
    }
    return false;
}

/** "text or a list": the kinds that are accepted, for messages. */
static Str accepted_words(Arena *arena, unsigned accepts)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {
        {ACCEPT_TEXT, "text"},          {ACCEPT_INT, "a whole number"}, {ACCEPT_NUMBER, "a number"},
        {ACCEPT_BOOL, "true or false"}, {ACCEPT_LIST, "a list"},        {ACCEPT_MAP, "a map"},
        {ACCEPT_NULL, "null"},
    };
    Str out = STR_EMPTY;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if ((accepts & words[i].bit) != 0) {
            out = out.len == 0 ? str_from_c(words[i].word)
                               : str_printf(arena, STR_FMT " or %s", STR_ARG(out), words[i].word);
        }
    }
    return out;
}

/** What most likely went wrong where a value has the wrong kind. */
static const char *kind_advice(unsigned accepts, const Value *value)
{
    static const char *const boolean_words[] = {"yes",  "no",    "on",   "off",   "Yes",
                                                "No",   "On",    "Off",  "YES",   "NO",
                                                "True", "False", "TRUE", "FALSE", NULL};
    if (value->kind == VALUE_NULL) {
        return " (nothing stands there; a value that starts with # is a comment: quote it)";
    }
    if ((accepts & ACCEPT_BOOL) != 0 && value->kind == VALUE_STR &&
        keys_word_in(boolean_words, value->as.str)) {
        return " (only true and false are booleans)";
    }
    if ((accepts & ACCEPT_TEXT) != 0 && value->kind != VALUE_LIST && value->kind != VALUE_MAP) {
        return " (quote it)";
    }
    if ((accepts & (ACCEPT_INT | ACCEPT_NUMBER)) != 0 && value->kind == VALUE_STR &&
        value->style == VALUE_STYLE_QUOTED) {
        return " (write it without quotes)";
    }
    if ((accepts & ACCEPT_TEXT) != 0 && value->kind == VALUE_MAP) {
        return " (a template has to be quoted: \"{{ name }}\")";
    }
    return "";
}

static bool check_kind(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults)
{
    if (kind_accepted(row->accepts, value)) {
        return true;
    }
    Str words = accepted_words(faults->arena, row->accepts);
    char real[40];
    bool fraction = value->kind == VALUE_REAL && (row->accepts & ACCEPT_INT) != 0;
    if (fraction) {
        text_format_real(value->as.real, real);
    }
    faults_add(faults, file, value->line, value->col, false, "wrong-type",
               "'" STR_FMT "' has to be " STR_FMT ", not %s%s", STR_ARG(name), STR_ARG(words),
               fraction ? real : value_kind_word(value), kind_advice(row->accepts, value));
    return false;
}

static bool check_number(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults)
{
    double number = value->kind == VALUE_INT ? (double)value->as.integer : value->as.real;
    if (!(row->min < row->max) || (number >= row->min && number <= row->max)) {
        return true;
    }
    if (row->max >= 1e6) { // a limit of the program's, which only who passes it wants to know
        bool over = number > row->max;
        faults_add(faults, file, value->line, value->col, false, "bad-value",
                   "'" STR_FMT "' has to be at %s %.10g", STR_ARG(name), over ? "most" : "least",
                   over ? row->max : row->min);
    } else {
        faults_add(faults, file, value->line, value->col, false, "bad-value",
                   "'" STR_FMT "' has to lie between %g and %g", STR_ARG(name), row->min, row->max);
    }
    return false;
}

static bool bad_text(Str name, const Value *value, Str file, Faults *faults, const char *rule)
{
    faults_add(faults, file, value->line, value->col, false, "bad-value",
               "'" STR_FMT "' has to be %s, not '" STR_FMT "'", STR_ARG(name), rule,
               STR_ARG(str_slice(value->as.str, 0, 120)));
    return false;
}

static bool check_words(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults)
{
    Str text = value->as.str;
    if (keys_word_in(row->words, text)) {
        return true;
    }
    Str list = STR_EMPTY;
    Str candidates[16];
    size_t n = 0;
    for (const char *const *word = row->words; *word != NULL && n < 16; word++) {
        candidates[n++] = str_from_c(*word);
        list = list.len == 0 ? str_from_c(*word)
                             : str_printf(faults->arena, STR_FMT ", %s", STR_ARG(list), *word);
    }
    Str hint = schema_did_you_mean(faults->arena, text, candidates, n);
    faults_add(faults, file, value->line, value->col, false, "bad-value",
               "'" STR_FMT "' has to be one of " STR_FMT ", not '" STR_FMT "'" STR_FMT,
               STR_ARG(name), STR_ARG(list), STR_ARG(str_slice(text, 0, 120)), STR_ARG(hint));
    return false;
}

static bool check_text(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults)
{
    Str text = value->as.str;
    if ((row->flags & KEY_FILLED) != 0 && text.len == 0) {
        faults_add(faults, file, value->line, value->col, false, "bad-value",
                   "'" STR_FMT "' is empty", STR_ARG(name));
        return false;
    }
    if (row->words != NULL && !check_words(row, name, value, file, faults)) {
        return false;
    }
    Hash hash;
    if ((row->flags & KEY_NAME) != 0 && !schema_is_name(text)) {
        return bad_text(name, value, file, faults, "a name of letters, digits and . _ -");
    }
    if ((row->flags & KEY_IDENT) != 0 && !schema_is_ident(text)) {
        return bad_text(name, value, file, faults, "a name of letters, digits and _");
    }
    if ((row->flags & KEY_SHA256) != 0 && !hash_from_hex(text, &hash)) {
        return bad_text(name, value, file, faults, "64 hexadecimal digits");
    }
    if ((row->flags & KEY_INSIDE) != 0 && !path_is_inside(text)) {
        return bad_text(name, value, file, faults, "a path that stays inside its folder");
    }
    if ((row->flags & KEY_TEMPLATE) != 0 && value->style == VALUE_STYLE_FOLDED) {
        faults_add(faults, file, value->line, value->col, true, "folded",
                   "'" STR_FMT "' is written with >, which joins its lines; | keeps them",
                   STR_ARG(name));
    }
    return true;
}

static bool check_list(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults)
{
    if ((row->flags & KEY_FILLED) != 0 && value->as.list.n == 0) {
        faults_add(faults, file, value->line, value->col, false, "bad-value",
                   "'" STR_FMT "' is empty", STR_ARG(name));
        return false;
    }
    bool ok = true;
    for (size_t i = 0; row->each != NULL && i < value->as.list.n; i++) {
        Str item = str_printf(faults->arena, STR_FMT "[%zu]", STR_ARG(name), i);
        ok &= schema_check_value(row->each, item, &value->as.list.items[i], file, faults);
    }
    return ok;
}

static void check_free_key(const KeyRow *row, const ValuePair *pair, Str name, Str file,
                           Faults *faults)
{
    const char *rule = NULL;
    if ((row->flags & KEY_NAME) != 0 && !schema_is_name(pair->key)) {
        rule = "a name of letters, digits and . _ -";
    } else if ((row->flags & KEY_IDENT) != 0 && !schema_is_ident(pair->key)) {
        rule = "a name of letters, digits and _";
    } else if ((row->flags & KEY_INSIDE) != 0 && !path_is_inside(pair->key)) {
        rule = "a path that stays inside its folder";
    } else if ((row->flags & KEY_FILLED) != 0 && pair->key.len == 0) {
        rule = "a name";
    }
    if (rule != NULL) {
        faults_add(faults, file, pair->line, pair->col, false, "bad-value",
                   "key '" STR_FMT "' of '" STR_FMT "' has to be %s",
                   STR_ARG(str_slice(pair->key, 0, 120)), STR_ARG(name), rule);
    }
}

static bool check_map(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults)
{
    if ((row->flags & KEY_FILLED) != 0 && value->as.map.n == 0) {
        faults_add(faults, file, value->line, value->col, false, "bad-value",
                   "'" STR_FMT "' is empty", STR_ARG(name));
        return false;
    }
    size_t before = faults->n_errors;
    if (row->map != NULL) {
        schema_check(row->map, value, file, faults);
    }
    for (size_t i = 0; row->map == NULL && i < value->as.map.n; i++) {
        const ValuePair *pair = &value->as.map.pairs[i];
        if (row->key != NULL) {
            check_free_key(row->key, pair, name, file, faults);
        }
        if (row->each != NULL) {
            schema_check_value(row->each, pair->key, &pair->value, file, faults);
        }
    }
    return faults->n_errors == before;
}

bool schema_check_value(const KeyRow *row, Str name, const Value *value, Str file, Faults *faults)
{
    if (!check_kind(row, name, value, file, faults)) {
        return false;
    }
    switch ((ValueKind)value->kind) {
    case VALUE_STR:
        return check_text(row, name, value, file, faults);
    case VALUE_LIST:
        return check_list(row, name, value, file, faults);
    case VALUE_MAP:
        return check_map(row, name, value, file, faults);
    case VALUE_INT:
    case VALUE_REAL:
        return check_number(row, name, value, file, faults);
    case VALUE_NULL:
    case VALUE_BOOL:
        return true;
    }
    return false;
}

void schema_check(const KeyTable *table, const Value *map, Str file, Faults *faults)
{
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        const KeyRow *row = keys_find(table, pair->key);
        if (row == NULL) {
            if (!table->open) {
                unknown_key(table, pair, file, faults);
            }
            continue;
        }
        schema_check_value(row, pair->key, &pair->value, file, faults);
    }
    for (const KeyRow *row = table->rows; row->name != NULL; row++) {
        if ((row->flags & KEY_REQUIRED) != 0 && value_get_c(map, row->name) == NULL) {
            faults_add(faults, file, map->line, map->col, false, "missing-key",
                       "%s needs the key '%s'", table->what, row->name);
        }
    }
}

// ---- What is left when every fault is taken out ------------------------------------------------

static bool clean_value(Arena *arena, const KeyRow *row, const Value *value, Value *out);

static Value clean_list(Arena *arena, const KeyRow *row, const Value *list)
{
    Value *items = ARENA_ARRAY(arena, Value, list->as.list.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < list->as.list.n; i++) {
        if (row->each == NULL) {
            items[n++] = list->as.list.items[i];
        } else if (clean_value(arena, row->each, &list->as.list.items[i], &items[n])) {
            n++;
        }
    }
    return value_list(items, n);
}

static Value clean_free_map(Arena *arena, const KeyRow *row, const Value *map)
{
    ValuePair *pairs = ARENA_ARRAY(arena, ValuePair, map->as.map.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < map->as.map.n; i++) {
        pairs[n] = map->as.map.pairs[i];
        if (row->each == NULL ||
            clean_value(arena, row->each, &map->as.map.pairs[i].value, &pairs[n].value)) {
            n++;
        }
    }
    return value_map(pairs, n);
}

static bool clean_value(Arena *arena, const KeyRow *row, const Value *value, Value *out)
{
    if (!kind_accepted(row->accepts, value)) {
        return false;
    }
    Faults scratch;
    faults_init(&scratch, arena);
    if (value->kind == VALUE_LIST) {
        *out = clean_list(arena, row, value);
    } else if (value->kind == VALUE_MAP) {
        *out = row->map != NULL ? schema_clean(arena, row->map, value)
                                : clean_free_map(arena, row, value);
    } else if (row->words != NULL ||
               schema_check_value(row, STR_EMPTY, value, STR_EMPTY, &scratch)) {
        *out = *value; // another word than those allowed is still there: it is not missing
    } else {
        return false;
    }
    out->line = value->line;
    out->col = value->col;
    bool empty = (out->kind == VALUE_LIST && out->as.list.n == 0) ||
                 (out->kind == VALUE_MAP && out->as.map.n == 0);
    return !empty || (row->flags & KEY_FILLED) == 0;
}

Value schema_clean(Arena *arena, const KeyTable *table, const Value *map)
{
    ValuePair *pairs = ARENA_ARRAY(arena, ValuePair, map->as.map.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        const KeyRow *row = keys_find(table, pair->key);
        pairs[n] = *pair;
        if (row == NULL ? table->open : clean_value(arena, row, &pair->value, &pairs[n].value)) {
            n++;
        }
    }
    Value out = value_map(pairs, n);
    out.line = map->line;
    out.col = map->col;
    return out;
}
