// SPDX-License-Identifier: MIT
// The option parser with a command of our own: what each source may say, which source wins, and the
// exact words of every complaint. muster.yaml is read from a temporary working folder.
#include "cli/cli.h"

#include "../tap.h"

#include <stdlib.h>
#include <unistd.h>

#include "text/text.h"

// ---- What options.c expects of the program -----------------------------------------------------

typedef struct TestOptions {
    StrList models;
    Str limit;
    Str device;
    int64_t epochs;
    int64_t seed;
    double rate;
    bool resume;
    uint64_t memory;
} TestOptions;

#define O TestOptions
static const Option options[] = {
    {"model", 'm', OPT_LIST_AT(O, models), .arg = "MODEL", .help = "h"},
    {"limit", 'n', OPT_STR_AT(O, limit), .arg = "N", .help = "h"},
    {"device", 0, OPT_STR_AT(O, device), .arg = "D", .help = "h", .one_of = "auto|cpu"},
    {"epochs", 0, OPT_INT_AT(O, epochs), .arg = "N", .help = "h", .min = 1, .max = 100},
    {"seed", 's', OPT_INT_AT(O, seed), .arg = "S", .help = "h"},
    {"rate", 0, OPT_REAL_AT(O, rate), .arg = "R", .help = "h"},
    {"resume", 'r', OPT_FLAG_AT(O, resume), .help = "h"},
    {"kv-memory", 0, OPT_SIZE_AT(O, memory), .arg = "SIZE", .help = "h"},
};
#undef O

static const Option other_options[] = {
    {"elsewhere", 0, OPT_STR_AT(TestOptions, limit), .arg = "X", .help = "h"},
};

static const Command cmd_go = {
    .name = "go",
    .args = "EVAL...",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(TestOptions),
    .min_args = 1,
    .max_args = 3,
};
static const Command cmd_other = {.name = "other", .options = other_options, .n_options = 1};

const Command *const command_table[] = {&cmd_go, &cmd_other, NULL};
const Option cli_global_options[] = {
    {"db", 0, OPT_STR_AT(GlobalOptions, db), .arg = "FILE", .help = "h"},
    {"registry", 0, OPT_LIST_AT(GlobalOptions, registry), .arg = "DIR", .help = "h"},
    {"quiet", 'q', OPT_FLAG_AT(GlobalOptions, quiet), .help = "h"},
    {"help", 'h', OPT_FLAG_AT(GlobalOptions, help), .help = "h"},
};
const size_t cli_n_global_options = sizeof(cli_global_options) / sizeof(cli_global_options[0]);

bool cli_faults(const Cli *cli, const Faults *faults)
{
    (void)cli;
    return faults->n_errors > 0;
}

// ---- One parse ---------------------------------------------------------------------------------

#define WORDS_MAX 12

/** What one parse gave; finish it with parsed_finish. */
typedef struct Parsed {
    Cli cli;
    TestOptions options;
    Str *args;
    size_t n_args;
    bool ok;
    Err err;
} Parsed;

/** Parse words, separated by single spaces. They have to live as long as the result. */
static void parse(const char *line, char *copy, size_t size, Parsed *out)
{
    char *words[WORDS_MAX] = {0};
    int n = 0;
    *out = (Parsed){.err = ERR_INIT};
    arena_init(&out->cli.arena, 0);
    snprintf(copy, size, "%s", line);
    char *at = copy;
    while (*at != '\0' && n < WORDS_MAX - 1) {
        words[n++] = at;
        char *space = strchr(at, ' ');
        if (space == NULL) {
            break;
        }
        *space = '\0';
        at = space + 1;
    }
    out->ok = options_parse(&out->cli, &cmd_go, n, words, &out->options, &out->args, &out->n_args,
                            &out->err);
}

static void parsed_finish(Parsed *parsed)
{
    arena_finish(&parsed->cli.arena);
}

static void settings_write(const char *text)
{
    FILE *f = fopen("muster.yaml", "we");
    CHECK(f != NULL);
    if (f != NULL) {
        fputs(text, f);
        fclose(f);
    }
}

// ---- Tests -------------------------------------------------------------------------------------

static void test_options__complaints(void)
{
    static const struct {
        int line;
        const char *words;
        const char *message;
    } cases[] = {
        {__LINE__, "e --limt 3", "unknown option --limt; did you mean --limit?"},
        {__LINE__, "e --limt=3", "unknown option --limt; did you mean --limit?"},
        {__LINE__, "e --registri x", "unknown option --registri; did you mean --registry?"},
        {__LINE__, "e --zzzzzzz", "unknown option --zzzzzzz (see: muster go --help)"},
        {__LINE__, "e --elsewhere x", "unknown option --elsewhere (see: muster go --help)"},
        {__LINE__, "e -Z", "unknown option -Z (see: muster go --help)"},
        {__LINE__, "e --limit", "--limit needs a value: --limit N"},
        {__LINE__, "e -m", "--model needs a value: --model MODEL"},
        {__LINE__, "e --epochs 0", "--epochs: 0 is outside 1 to 100"},
        {__LINE__, "e --epochs 101", "--epochs: 101 is outside 1 to 100"},
        {__LINE__, "e --epochs=-3", "--epochs: -3 is outside 1 to 100"},
        {__LINE__, "e --epochs many", "--epochs: 'many' is not a whole number"},
        {__LINE__, "e --epochs 1.5", "--epochs: '1.5' is not a whole number"},
        {__LINE__, "e --epochs=", "--epochs: '' is not a whole number"},
        {__LINE__, "e --device=", "--device: the value is empty (a variable that is not set?)"},
        {__LINE__, "e --registry=", "--registry: the value is empty (a variable that is not set?)"},
        {__LINE__, "e --seed 9223372036854775808",
         "--seed: '9223372036854775808' is not a whole number"},
        {__LINE__, "e --rate fast", "--rate: 'fast' is not a number"},
        {__LINE__, "e --device gpu", "--device: 'gpu' is not one of auto|cpu"},
        {__LINE__, "e --device aut", "--device: 'aut' is not one of auto|cpu"},
        {__LINE__, "e --device auto|cpu", "--device: 'auto|cpu' is not one of auto|cpu"},
        {__LINE__, "e --resume=perhaps", "--resume: 'perhaps' is not true or false"},
        {__LINE__, "e --kv-memory 5X", "--kv-memory: '5X' is not a size such as 512M"},
        {__LINE__, "e --kv-memory -1", "--kv-memory: '-1' is not a size such as 512M"},
        {__LINE__, "e --kv-memory M", "--kv-memory: 'M' is not a size such as 512M"},
        {__LINE__, "e --kv-memory 16777216T",
         "--kv-memory: '16777216T' is not a size such as 512M"},
        {__LINE__, "--resume", "usage: muster go EVAL..."},
        {__LINE__, "a b c d", "unexpected argument 'd' (usage: muster go EVAL...)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Parsed parsed;
        char words[256];
        parse(cases[i].words, words, sizeof(words), &parsed);
        bool same = !parsed.ok && parsed.err.code == ERR_USAGE &&
                    strcmp(parsed.err.message, cases[i].message) == 0;
        if (!same) {
            printf("# line %d: got \"%s\" [%s], want \"%s\"\n", cases[i].line, parsed.err.message,
                   err_code_word(parsed.err.code), cases[i].message);
        }
        CHECK(same);
        parsed_finish(&parsed);
    }
}

static void test_options__forms_of_a_value(void)
{
    static const struct {
        int line;
        const char *words;
    } cases[] = {
        {__LINE__, "e --limit 3 -m x --seed -7 --resume"},
        {__LINE__, "--limit=3 --model=x --seed=-7 --resume=true e"},
        {__LINE__, "-n3 e -mx -s-7 -r"},
        {__LINE__, "-n 3 -m x -s -7 --resume=1 -- e"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Parsed parsed;
        char words[256];
        parse(cases[i].words, words, sizeof(words), &parsed);
        printf("# line %d\n", cases[i].line);
        CHECK_OK(parsed.ok, &parsed.err);
        CHECK_STR(parsed.options.limit, STR("3"));
        CHECK_INT(parsed.options.seed, -7);
        CHECK(parsed.options.resume);
        CHECK_INT(parsed.options.models.n, 1);
        CHECK_INT(parsed.n_args, 1);
        if (parsed.ok && parsed.options.models.n == 1 && parsed.n_args == 1) {
            CHECK_STR(parsed.options.models.items[0], STR("x"));
            CHECK_STR(parsed.args[0], STR("e"));
        }
        parsed_finish(&parsed);
    }
}

static void test_options__arguments(void)
{
    Parsed parsed;
    char words[64];
    parse("- -- --resume -q", words, sizeof(words), &parsed); // a lone dash is an argument
    CHECK_OK(parsed.ok, &parsed.err);
    CHECK_INT(parsed.n_args, 3);
    CHECK(!parsed.options.resume && !parsed.cli.global.quiet);
    parsed_finish(&parsed);
    parse("e --resume --resume=false -q", words, sizeof(words), &parsed); // the last one counts
    CHECK_OK(parsed.ok, &parsed.err);
    CHECK(!parsed.options.resume && parsed.cli.global.quiet);
    parsed_finish(&parsed);
    parse("--help", words, sizeof(words), &parsed); // help needs no arguments
    CHECK_OK(parsed.ok, &parsed.err);
    CHECK(parsed.cli.global.help);
    parsed_finish(&parsed);
}

static void test_options__sizes(void)
{
    static const struct {
        int line;
        const char *words;
        uint64_t bytes;
    } cases[] = {
        {__LINE__, "e --kv-memory 4096", 4096},
        {__LINE__, "e --kv-memory 512K", 524288},
        {__LINE__, "e --kv-memory 512m", 536870912},
        {__LINE__, "e --kv-memory 2G", UINT64_C(2147483648)},
        {__LINE__, "e --kv-memory 1T", UINT64_C(1099511627776)},
        {__LINE__, "e --kv-memory 0", 0},
        {__LINE__, "e --kv-memory 16777215T", UINT64_C(18446742974197923840)},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Parsed parsed;
        char words[64];
        parse(cases[i].words, words, sizeof(words), &parsed);
        CHECK_OK(parsed.ok, &parsed.err);
        if (parsed.options.memory != cases[i].bytes) {
            printf("# line %d: got %llu\n", cases[i].line,
                   (unsigned long long)parsed.options.memory);
        }
        CHECK(parsed.options.memory == cases[i].bytes);
        parsed_finish(&parsed);
    }
}

static void check_models(const Parsed *parsed, const char *first, const char *second)
{
    const StrList *models = &parsed->options.models;
    CHECK_INT(models->n, second == NULL ? 1 : 2);
    if (models->n == (second == NULL ? 1 : 2)) {
        CHECK_STR(models->items[0], str_from_c(first));
        if (second != NULL) {
            CHECK_STR(models->items[1], str_from_c(second));
        }
    }
}

static void test_options__lists_add_up_within_a_source(void)
{
    Parsed parsed;
    char words[64];
    setenv("MUSTER_MODEL", "from-env", 1);
    settings_write("model: [one, two]\n");
    parse("e -m a --model=b", words, sizeof(words), &parsed);
    check_models(&parsed, "a", "b");
    parsed_finish(&parsed);
    parse("e", words, sizeof(words), &parsed);
    check_models(&parsed, "from-env", NULL);
    parsed_finish(&parsed);
    unsetenv("MUSTER_MODEL");
    parse("e", words, sizeof(words), &parsed);
    check_models(&parsed, "one", "two");
    parsed_finish(&parsed);
    settings_write("model: alone\n");
    parse("e", words, sizeof(words), &parsed);
    check_models(&parsed, "alone", NULL);
    parsed_finish(&parsed);
    unlink("muster.yaml");
}

static void test_options__flags_then_variables_then_file(void)
{
    static const struct {
        int line;
        const char *words;
        const char *variable; // MUSTER_EPOCHS, NULL unset
        const char *file;     // muster.yaml, NULL none
        int64_t epochs;
    } cases[] = {
        {__LINE__, "e", NULL, NULL, 0},
        {__LINE__, "e", NULL, "epochs: 3\n", 3},
        {__LINE__, "e", "2", NULL, 2},
        {__LINE__, "e", "2", "epochs: 3\n", 2},
        {__LINE__, "e --epochs 1", "2", "epochs: 3\n", 1},
        {__LINE__, "e --epochs 1", NULL, "epochs: 3\n", 1},
        {__LINE__, "e", "", "epochs: 3\n", 3},                 // an empty variable is none
        {__LINE__, "e --epochs 1", "x", "epochs: y\n", 1},     // what is not asked is not read
        {__LINE__, "e", NULL, "elsewhere: x\nepochs: 4\n", 4}, // another command's option
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Parsed parsed;
        char words[64];
        unsetenv("MUSTER_EPOCHS");
        unlink("muster.yaml");
        if (cases[i].variable != NULL) {
            setenv("MUSTER_EPOCHS", cases[i].variable, 1);
        }
        if (cases[i].file != NULL) {
            settings_write(cases[i].file);
        }
        parse(cases[i].words, words, sizeof(words), &parsed);
        if (!parsed.ok || parsed.options.epochs != cases[i].epochs) {
            printf("# line %d: %s\n", cases[i].line, parsed.err.message);
        }
        CHECK(parsed.ok);
        CHECK_INT(parsed.options.epochs, cases[i].epochs);
        parsed_finish(&parsed);
    }
    unsetenv("MUSTER_EPOCHS");
    unlink("muster.yaml");
}

static void test_options__sources_of_other_types(void)
{
    Parsed parsed;
    char words[64];
    setenv("MUSTER_KV_MEMORY", "1K", 1); // dashes become underscores
    setenv("MUSTER_RESUME", "0", 1);
    settings_write("resume: true\nquiet: true\nrate: 0.25\nlimit: 10\ndb: x.db\ndevice: cpu\n"
                   "registry: [a, b]\n");
    parse("e", words, sizeof(words), &parsed);
    CHECK_OK(parsed.ok, &parsed.err);
    CHECK_INT(parsed.options.memory, 1024);
    CHECK(!parsed.options.resume); // a variable that says no is an answer
    CHECK(parsed.cli.global.quiet);
    CHECK_NEAR(parsed.options.rate, 0.25, 0);
    CHECK_STR(parsed.options.limit, STR("10"));
    CHECK_STR(parsed.options.device, STR("cpu"));
    CHECK_STR(parsed.cli.global.db, STR("x.db"));
    CHECK_INT(parsed.cli.global.registry.n, 2);
    parsed_finish(&parsed);
    unsetenv("MUSTER_KV_MEMORY");
    unsetenv("MUSTER_RESUME");
    unlink("muster.yaml");
}

static void test_options__complaints_name_their_source(void)
{
    static const struct {
        int line;
        const char *variable;
        const char *file;
        const char *message;
    } cases[] = {
        {__LINE__, "many", NULL, "MUSTER_EPOCHS: 'many' is not a whole number"},
        {__LINE__, "0", NULL, "MUSTER_EPOCHS: 0 is outside 1 to 100"},
        {__LINE__, NULL, "\nepochs: many\n", "muster.yaml:2: epochs: 'many' is not a whole number"},
        {__LINE__, NULL, "epochs: 500\n", "muster.yaml:1: epochs: 500 is outside 1 to 100"},
        {__LINE__, NULL, "device: gpu\n", "muster.yaml:1: device: 'gpu' is not one of auto|cpu"},
        {__LINE__, NULL, "limit: 1\nepoch: 2\n",
         "muster.yaml:2: epoch is not an option of any command"},
        {__LINE__, NULL, "- a\n", "muster.yaml: expected a map of option names to values"},
        {__LINE__, NULL, "limit: [\n", "muster.yaml can not be used"},
        {__LINE__, NULL, "limit: 1\nlimit: 2\n", "muster.yaml can not be used"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Parsed parsed;
        char words[8];
        unlink("muster.yaml");
        unsetenv("MUSTER_EPOCHS");
        if (cases[i].variable != NULL) {
            setenv("MUSTER_EPOCHS", cases[i].variable, 1);
        }
        if (cases[i].file != NULL) {
            settings_write(cases[i].file);
        }
        parse("e", words, sizeof(words), &parsed);
        if (parsed.ok || strcmp(parsed.err.message, cases[i].message) != 0) {
            printf("# line %d: got \"%s\"\n", cases[i].line, parsed.err.message);
        }
        CHECK(!parsed.ok && parsed.err.code == ERR_USAGE);
        CHECK_STR(str_from_c(parsed.err.message), str_from_c(cases[i].message));
        parsed_finish(&parsed);
    }
    unsetenv("MUSTER_EPOCHS");
    unlink("muster.yaml");
}

static void test_option_env_name__all_rows(void)
{
    char name[80];
    option_env_name(&options[7], name, sizeof(name));
    CHECK_STR(str_from_c(name), STR("MUSTER_KV_MEMORY"));
    option_env_name(&options[0], name, sizeof(name));
    CHECK_STR(str_from_c(name), STR("MUSTER_MODEL"));
}

int main(void)
{
    char folder[] = "/tmp/muster-options-XXXXXX";
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        printf("Bail out! no temporary folder\n");
        return 1;
    }
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) { // not the caller's settings
        char name[80];
        option_env_name(&options[i], name, sizeof(name));
        unsetenv(name);
    }
    unsetenv("MUSTER_DB");
    unsetenv("MUSTER_REGISTRY");
    unsetenv("MUSTER_QUIET");
    tap_run("each complaint in its words", test_options__complaints);
    tap_run("a value after a space, an equals sign, a letter", test_options__forms_of_a_value);
    tap_run("arguments, a lone dash, two dashes, help", test_options__arguments);
    tap_run("sizes", test_options__sizes);
    tap_run("lists add up within a source", test_options__lists_add_up_within_a_source);
    tap_run("flags, then variables, then the file", test_options__flags_then_variables_then_file);
    tap_run("variables and file for every type", test_options__sources_of_other_types);
    tap_run("complaints name their source", test_options__complaints_name_their_source);
    tap_run("names of variables", test_option_env_name__all_rows);
    if (chdir("/") != 0 || rmdir(folder) != 0) {
        printf("# could not remove %s\n", folder);
    }
    return tap_done();
}
