// SPDX-License-Identifier: MIT
// Options: flags on the command line, then MUSTER_* variables, then muster.yaml in the working
// folder, then defaults. Later sources only fill in what earlier ones left unset. Errors name the
// option.
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "text/text.h"

#define SETTINGS_FILE "muster.yaml"

/** All options of a command: its own, then the global ones, with where each value goes. */
typedef struct Slots {
    const Option *rows[64];
    void *base[64];
    bool set[64];
    size_t n;
    Arena *arena; // lists grow here
} Slots;

static void slots_add(Slots *slots, const Option *rows, size_t n, void *base)
{
    for (size_t i = 0; i < n && slots->n < 64; i++) {
        slots->rows[slots->n] = &rows[i];
        slots->base[slots->n] = base;
        slots->n++;
    }
}

static size_t slot_find(const Slots *slots, Str name)
{
    for (size_t i = 0; i < slots->n; i++) {
        if (str_eq_c(name, slots->rows[i]->name)) {
            return i;
        }
    }
    return STR_NONE;
}

static size_t slot_find_letter(const Slots *slots, char letter)
{
    for (size_t i = 0; i < slots->n; i++) {
        if (slots->rows[i]->letter != 0 && slots->rows[i]->letter == letter) {
            return i;
        }
    }
    return STR_NONE;
}

static bool parse_size(Str text, uint64_t *out)
{
    uint64_t unit = 1;
    Str digits = text;
    if (text.len > 0) {
        const char *units = "KMGT";
        const char *at = strchr(units, toupper((unsigned char)text.data[text.len - 1]));
        if (at != NULL && *at != '\0') {
            unit = 1ull << (10 * (at - units + 1));
            digits.len--;
        }
    }
    int64_t n;
    if (!str_to_i64(digits, &n) || n < 0 || (uint64_t)n > UINT64_MAX / unit) {
        return false;
    }
    *out = (uint64_t)n * unit;
    return true;
}

static bool one_of(const char *words, Str text)
{
    Str rest = str_from_c(words);
    Str word;
    bool more = true;
    while (more) {
        more = str_cut(rest, STR("|"), &word, &rest);
        if (str_eq(word, text)) {
            return true;
        }
    }
    return false;
}

bool option_fast_check(bool fast, Str precision, Err *err)
{
    return !fast || !str_eq(precision, STR("f32")) ||
           ERR_SET(err, ERR_USAGE, "--fast and --precision f32 exclude each other");
}

bool option_is_device(Str text)
{
    DeviceWish wish;
    return text.len > 0 && backends_parse(text, &wish);
}

int option_tp(Str text)
{
    int64_t n = 0;
    return text.len > 0 && str_to_i64(text, &n) ? (int)n : 0;
}

bool option_is_gpus(Str text)
{
    int64_t n = 0;
    bool digits = text.len > 0 && text.data[0] >= '0' && text.data[0] <= '9';
    return str_eq(text, STR("all")) ||
           (digits && str_to_i64(text, &n) && n >= 1 && n <= CUDA_DEVICES_MAX);
}

int option_gpus(Str text)
{
    return str_eq(text, STR("all")) ? SAMPLER_GPUS_ALL : option_tp(text);
}

static bool parse_flag(Str text, bool *out)
{
    if (str_eq(text, STR("1")) || str_eq(text, STR("true")) || str_eq(text, STR("yes"))) {
        *out = true;
        return true;
    }
    if (str_eq(text, STR("0")) || str_eq(text, STR("false")) || str_eq(text, STR("no")) ||
        text.len == 0) {
        *out = false;
        return true;
    }
    return false;
}

static void list_add(Arena *arena, StrList *list, Str text)
{
    if (list->n == list->cap) {
        list->cap = list->cap == 0 ? 4 : list->cap * 2;
        Str *items = ARENA_ARRAY(arena, Str, list->cap);
        for (size_t i = 0; i < list->n; i++) {
            items[i] = list->items[i];
        }
        list->items = items;
    }
    list->items[list->n++] = text;
}

/** Put one text into a slot. `from` names the source in messages: "--limit", "MUSTER_LIMIT". */
static bool slot_put(Slots *slots, size_t i, Str text, const char *from, Err *err)
{
    const Option *row = slots->rows[i];
    void *field = (char *)slots->base[i] + row->offset;
    bool ok = true;
    switch (row->type) {
    case OPTION_FLAG:
        ok = parse_flag(text, field);
        break;
    case OPTION_INT: {
        int64_t n = 0;
        ok = str_to_i64(text, &n);
        if (ok && row->min < row->max && (n < row->min || n > row->max)) {
            return ERR_SET(err, ERR_USAGE, "%s: %lld is outside %lld to %lld", from, (long long)n,
                           (long long)row->min, (long long)row->max);
        }
        *(int64_t *)field = n;
        break;
    }
    case OPTION_REAL:
        ok = str_to_f64(text, field);
        break;
    case OPTION_STR:
        ok = row->valid != NULL ? row->valid(text)
                                : row->one_of == NULL || one_of(row->one_of, text);
        if (!ok) {
            return ERR_SET(err, ERR_USAGE, "%s: '" STR_FMT "' is not one of %s", from,
                           STR_ARG(text), row->one_of);
        }
        *(Str *)field = text;
        break;
    case OPTION_LIST:
        list_add(slots->arena, field, text);
        break;
    case OPTION_SIZE:
        ok = parse_size(text, field);
        break;
    }
    if (!ok) {
        static const char *const wants[] = {
            "true or false", "a whole number", "a number", "text", "text", "a size such as 512M"};
        return ERR_SET(err, ERR_USAGE, "%s: '" STR_FMT "' is not %s", from, STR_ARG(text),
                       wants[row->type]);
    }
    slots->set[i] = true;
    return true;
}

static bool unknown_option(const Slots *slots, Str name, const char *command, Err *err)
{
    Str names[64];
    for (size_t i = 0; i < slots->n; i++) {
        names[i] = str_from_c(slots->rows[i]->name);
    }
    size_t near = str_nearest(name, names, slots->n);
    if (near != STR_NONE) {
        return ERR_SET(err, ERR_USAGE, "unknown option --" STR_FMT "; did you mean --" STR_FMT "?",
                       STR_ARG(name), STR_ARG(names[near]));
    }
    return ERR_SET(err, ERR_USAGE, "unknown option --" STR_FMT " (see: muster %s --help)",
                   STR_ARG(name), command);
}

/** One word of argv that starts with a dash; *at moves past a value it takes. */
static bool parse_dashed(Slots *slots, const Command *command, int argc, char **argv, int *at,
                         Err *err)
{
    Str word = str_from_c(argv[*at]);
    Str value = STR_EMPTY;
    bool has_value = false;
    size_t i;
    if (str_starts_with(word, STR("--"))) {
        Str name = str_slice(word, 2, word.len);
        has_value = str_cut(name, STR("="), &name, &value);
        i = slot_find(slots, name);
        if (i == STR_NONE) {
            return unknown_option(slots, name, command->name, err);
        }
    } else {
        i = slot_find_letter(slots, word.data[1]);
        if (i == STR_NONE) {
            return ERR_SET(err, ERR_USAGE, "unknown option -%c (see: muster %s --help)",
                           word.data[1], command->name);
        }
        has_value = word.len > 2;
        value = str_slice(word, 2, word.len);
    }
    char from[80];
    snprintf(from, sizeof(from), "--%s", slots->rows[i]->name);
    if (slots->rows[i]->type == OPTION_FLAG) {
        return slot_put(slots, i, has_value ? value : STR("true"), from, err);
    }
    if (!has_value) {
        if (*at + 1 >= argc) {
            return ERR_SET(err, ERR_USAGE, "%s needs a value: %s %s", from, from,
                           slots->rows[i]->arg);
        }
        value = str_from_c(argv[++*at]);
    }
    OptionType type = slots->rows[i]->type;
    bool text = type == OPTION_STR || type == OPTION_LIST;
    if (value.len == 0 && text && !slots->rows[i]->may_be_empty) {
        return ERR_SET(err, ERR_USAGE, "%s: the value is empty (a variable that is not set?)",
                       from);
    }
    return slot_put(slots, i, value, from, err);
}

void option_env_name(const Option *option, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "MUSTER_%s", option->name);
    for (size_t i = 0; i < n && i < size; i++) {
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
    }
}

static bool options_from_env(Slots *slots, Err *err)
{
    for (size_t i = 0; i < slots->n; i++) {
        char name[80];
        option_env_name(slots->rows[i], name, sizeof(name));
        const char *value = getenv(name);
        if (slots->set[i] || slots->rows[i]->flag_only || value == NULL || value[0] == '\0' ||
            str_eq_c(STR("help"), slots->rows[i]->name)) {
            continue;
        }
        if (!slot_put(slots, i, str_from_c(value), name, err)) {
            return false;
        }
    }
    return true;
}

/** muster.yaml: a map of option names to values; a key no command knows is an error. */
static bool known_anywhere(Str key)
{
    for (size_t i = 0; i < cli_n_global_options; i++) {
        if (str_eq_c(key, cli_global_options[i].name)) {
            return true;
        }
    }
    for (size_t c = 0; command_table[c] != NULL; c++) {
        for (size_t i = 0; i < command_table[c]->n_options; i++) {
            if (str_eq_c(key, command_table[c]->options[i].name)) {
                return true;
            }
        }
    }
    return false;
}

static bool settings_put(Slots *slots, Arena *arena, const ValuePair *pair, Err *err)
{
    size_t i = slot_find(slots, pair->key);
    char from[120];
    snprintf(from, sizeof(from), SETTINGS_FILE ":%u: %.80s", pair->line, pair->key.data);
    if (i == STR_NONE) {
        return known_anywhere(pair->key) ||
               ERR_SET(err, ERR_USAGE, "%s is not an option of any command", from);
    }
    if (slots->set[i] || slots->rows[i]->flag_only) {
        return true;
    }
    if (pair->value.kind == VALUE_LIST && slots->rows[i]->type == OPTION_LIST) {
        for (size_t k = 0; k < pair->value.as.list.n; k++) {
            if (!slot_put(slots, i, json_plain(arena, &pair->value.as.list.items[k]), from, err)) {
                return false;
            }
        }
        return true;
    }
    return slot_put(slots, i, json_plain(arena, &pair->value), from, err);
}

/** Nothing but white space and comments. */
static bool settings_blank(Str text)
{
    Str line;
    bool more = true;
    while (more) {
        more = str_cut(text, STR("\n"), &line, &text);
        line = str_trim(line);
        if (line.len > 0 && line.data[0] != '#') {
            return false;
        }
    }
    return true;
}

static bool options_from_file(Slots *slots, Cli *cli, Err *err)
{
    if (!file_exists(STR(SETTINGS_FILE))) {
        return true;
    }
    Str text;
    if (!file_read(&cli->arena, STR(SETTINGS_FILE), 1 << 20, &text, err)) {
        return false;
    }
    if (settings_blank(text)) {
        return true;
    }
    Faults faults;
    faults_init(&faults, &cli->arena);
    Value tree;
    bool ok = yaml_parse(&cli->arena, STR(SETTINGS_FILE), text, &faults, &tree);
    if (cli_faults(cli, &faults) || !ok) {
        return ERR_SET(err, ERR_USAGE, SETTINGS_FILE " can not be used");
    }
    if (tree.kind != VALUE_MAP) {
        return ERR_SET(err, ERR_USAGE, SETTINGS_FILE ": expected a map of option names to values");
    }
    for (size_t i = 0; i < tree.as.map.n; i++) {
        if (!settings_put(slots, &cli->arena, &tree.as.map.pairs[i], err)) {
            return false;
        }
    }
    return true;
}

bool options_parse(Cli *cli, const Command *command, int argc, char **argv, void *options,
                   Str **out_args, size_t *out_n_args, Err *err)
{
    Slots slots = {.arena = &cli->arena};
    slots_add(&slots, command->options, command->n_options, options);
    slots_add(&slots, cli_global_options, cli_n_global_options, &cli->global);
    Str *args = ARENA_ARRAY(&cli->arena, Str, (size_t)argc + 1);
    size_t n_args = 0;
    bool only_args = false;
    for (int i = 0; i < argc; i++) {
        if (only_args || argv[i][0] != '-' || argv[i][1] == '\0') {
            args[n_args++] = str_from_c(argv[i]);
        } else if (strcmp(argv[i], "--") == 0) {
            only_args = true;
        } else if (!parse_dashed(&slots, command, argc, argv, &i, err)) {
            return false;
        }
    }
    if (cli->global.help) {
        *out_args = args;
        *out_n_args = n_args;
        return true;
    }
    if (!options_from_env(&slots, err) || !options_from_file(&slots, cli, err)) {
        return false;
    }
    if (n_args < command->min_args) {
        return ERR_SET(err, ERR_USAGE, "usage: muster %s %s", command->name, command->args);
    }
    if (n_args > command->max_args) {
        return ERR_SET(err, ERR_USAGE, "unexpected argument '" STR_FMT "' (usage: muster %s%s%s)",
                       STR_ARG(args[command->max_args]), command->name,
                       command->args[0] != '\0' ? " " : "", command->args);
    }
    *out_args = args;
    *out_n_args = n_args;
    return true;
}
