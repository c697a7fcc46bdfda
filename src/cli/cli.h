// SPDX-License-Identifier: MIT
// The command line: one file per verb, flags as rows of tables that are parser, help, completion
// and docs/cli.md at once. The only room that prints or exits. stdout is data, stderr is for
// people.
#pragma once

#include "kernels/backends.h"
#include "registry/registry.h"
#include "results/results.h"
#include "sampler/sampler.h"

#include <signal.h>
#include <stdio.h>

/** Exit codes (DESIGN.md 4.5). */
enum {
    EXIT_OK = 0,
    EXIT_GATE = 1,
    EXIT_USAGE = 2,
    EXIT_ATTEMPTS = 3, // or a metric has no value
    EXIT_MODEL = 4,
    EXIT_STORE = 5,
    EXIT_ENVIRONMENT = 6,
    EXIT_INTERNAL = 70,
    EXIT_INTERRUPTED = 130,
    EXIT_TERMINATED = 143,
};

/** The exit code an error leads to. */
int cli_exit_code(const Err *err);

// ---- Options ----------------------------------------------------------------------------------

typedef enum OptionType {
    OPTION_FLAG, // bool
    OPTION_INT,  // int64_t
    OPTION_REAL, // double
    OPTION_STR,  // Str
    OPTION_LIST, // StrList: may be given several times, values add up
    OPTION_SIZE, // uint64_t bytes: 512M, 4G
} OptionType;

typedef struct StrList {
    Str *items;
    size_t n;
    size_t cap;
} StrList;

/** One flag. `at` rows are made with the OPT_*_AT macros, which check the field's type. */
typedef struct Option {
    const char *name; // long, without dashes
    char letter;      // short, 0 none
    OptionType type;
    size_t offset;
    const char *arg; // metavariable in help; NULL for flags
    const char *help;
    int64_t min, max;   // OPTION_INT: bounds when min < max
    const char *one_of; // "a|b|c", NULL anything
    bool (*valid)(Str); // OPTION_STR: judges instead of one_of, which is what messages say
    bool flag_only;     // never from a variable or muster.yaml: what a command is told here and now
    bool may_be_empty;  // else --policy "$UNSET" is an error, and not a gate without its policy
} Option;

#define OPTION_AT(T, field, C) (offsetof(T, field) + 0 * sizeof(&((T *)0)->field == (C *)0))
#define OPT_FLAG_AT(T, field)  .type = OPTION_FLAG, .offset = OPTION_AT(T, field, bool)
#define OPT_INT_AT(T, field)   .type = OPTION_INT, .offset = OPTION_AT(T, field, int64_t)
#define OPT_REAL_AT(T, field)  .type = OPTION_REAL, .offset = OPTION_AT(T, field, double)
#define OPT_STR_AT(T, field)   .type = OPTION_STR, .offset = OPTION_AT(T, field, Str)
#define OPT_LIST_AT(T, field)  .type = OPTION_LIST, .offset = OPTION_AT(T, field, StrList)
#define OPT_SIZE_AT(T, field)  .type = OPTION_SIZE, .offset = OPTION_AT(T, field, uint64_t)

/** What a fast run is marked with, for people. */
#define CLI_FAST_WORDS "fast: not reproducible bit for bit"
#define FAST_OPTION_ROW(T)                                                                         \
    {                                                                                              \
        "fast", 0, OPT_FLAG_AT(T, fast),                                                           \
            .help = "GPUs: products by cuBLASLt and sums by NCCL; not reproducible bit for bit"    \
    }
/** fails  ERR_USAGE when float32 throughout is wanted as well. */
bool option_fast_check(bool fast, Str precision, Err *err);

/** Whether a text names a device as --device takes them. */
bool option_is_device(Str text);
#define DEVICE_OPTION_ROW(T)                                                                       \
    {                                                                                              \
        "device", 0, OPT_STR_AT(T, device), .arg = "DEVICE", .help = "where local models run",     \
                                            .one_of = BACKENDS_WORDS, .valid = option_is_device    \
    }

#define TP_OPTION_ROW(T)                                                                           \
    {                                                                                              \
        "tp", 0, OPT_STR_AT(T, tp),                                                                \
            .arg = "N",                                                                            \
            .help = "GPUs that share each local model, from the device on: same bits, less time",  \
            .one_of = "1|2|4|8"                                                                    \
    }
/** The number that --tp said; 0 when it said none. */
int option_tp(Str text);

/** Whether a text is a number of GPUs as --gpus takes it. */
bool option_is_gpus(Str text);
#define GPUS_OPTION_ROW(T)                                                                         \
    {                                                                                              \
        "gpus", 0, OPT_STR_AT(T, gpus), .arg = "N",                                                \
                                        .help = "GPUs that share out the requests, from the "      \
                                                "device on, in lots of --tp: same bits, less "     \
                                                "time",                                            \
                                        .one_of = "all|N", .valid = option_is_gpus                 \
    }
/** The number that --gpus said, SAMPLER_GPUS_ALL for all; 0 when it said none. */
int option_gpus(Str text);

typedef struct Cli Cli;

/** One verb. */
typedef struct Command {
    const char *name;
    const char *args;    // positional arguments in the usage line
    const char *summary; // one line
    const char *details; // further lines of its help, NULL none
    const Option *options;
    size_t n_options;
    size_t options_size; // bytes of its options struct, zeroed before parsing
    size_t min_args;
    size_t max_args;
    int (*run)(Cli *cli, void *options, const Str *args, size_t n_args);
} Command;

extern const Command *const command_table[]; // NULL-terminated, in the order of help
extern const Option cli_global_options[];
extern const size_t cli_n_global_options;

/** Options every command has. */
typedef struct GlobalOptions {
    Str db;
    StrList registry;
    Str color; // auto | always | never
    bool quiet;
    bool verbose;
    bool json;
    bool help;
} GlobalOptions;

/** What a command works with. */
struct Cli {
    GlobalOptions global;
    Arena arena;
    const Command *command;
    bool color_out; // colours on stdout, stderr
    bool color_err;
    bool tty_err; // stderr is a terminal
    size_t width; // columns
    int argc;
    char **argv;
    Script *script;            // made by cli_registry
    Registry *registry;        // made by cli_registry
    struct Recorded *recorded; // the replay/EXPERIMENT among the models, the newest first
};

/** Parse argv after the verb: flags, then MUSTER_* variables, then muster.yaml, then defaults. */
bool options_parse(Cli *cli, const Command *command, int argc, char **argv, void *options,
                   Str **out_args, size_t *out_n_args, Err *err);
/** "MUSTER_MAX_CONNECTIONS" of "max-connections". */
void option_env_name(const Option *option, char *out, size_t size);
void help_print(FILE *to, const Command *command); // NULL: the program's
void help_markdown(FILE *to);
void completion_print(FILE *to, Str shell);
/** The reference of all solvers and graders that are compiled in, as docs/lua.md ends with. */
bool help_units(Cli *cli, FILE *to, Err *err);
/** Whether a Lua file of a folder is meant as a solver, grader or metric, by its text alone. */
bool cli_is_unit(Str path);
/** Check a solver, grader or metric by itself, and run its examples. What is wrong are faults. */
bool cli_check_lua(Cli *cli, Str path, Faults *faults, size_t *out_examples, Err *err);

// ---- Shared by commands -----------------------------------------------------------------------

/** The path of the store: --db, MUSTER_DB, muster.yaml, else .muster/muster.db. */
Str cli_store_path(const Cli *cli);
/**
 * The registry folders in force: --registry, MUSTER_REGISTRY (a list with colons), ./registry, then
 * the installed one when asked for. returns how many stand in paths. */
size_t cli_registry_paths(const Cli *cli, bool installed, Str *paths, size_t cap);
/** The registry over the paths in force; created once. */
bool cli_registry(Cli *cli, Err *err);
/** Open the store for reading, able to compute metrics written in Lua. */
bool cli_results(Cli *cli, Results **out, Err *err);
/** Options by which experiments are chosen; zeroed: all. */
typedef struct ChooseOptions {
    StrList tags;
    Str eval;
    Str model;
    Str state;
} ChooseOptions;
#define CHOOSE_OPTION_ROWS(T, field)                                                               \
    {"tag",                                                                                        \
     0,                                                                                            \
     OPT_LIST_AT(T, field.tags),                                                                   \
     .arg = "K=V",                                                                                 \
     .flag_only = true,                                                                            \
     .help = "experiments with this tag; V may hold * and ?; may be repeated: all of them"},       \
        {"eval",                                                                                   \
         0,                                                                                        \
         OPT_STR_AT(T, field.eval),                                                                \
         .arg = "GLOB",                                                                            \
         .flag_only = true,                                                                        \
         .help = "experiments with a run of such an eval, by name or name/part"},                  \
        {"model",                                                                                  \
         'm',                                                                                      \
         OPT_STR_AT(T, field.model),                                                               \
         .arg = "GLOB",                                                                            \
         .flag_only = true,                                                                        \
         .help = "experiments with a run on such a model"},                                        \
    {                                                                                              \
        "state", 0, OPT_STR_AT(T, field.state), .arg = "STATE", .flag_only = true,                 \
                                                .help = "experiments in this state",               \
                                                .one_of = "running|interrupted|finished"           \
    }
/** The filter that they make; borrows from them. */
ExperimentFilter cli_choose(const ChooseOptions *options);
/**
 * A moment: 2026-11-25, 2026-11-25T17:46, ...:30Z (UTC), or so long ago: 90d, 12h, 30m, 2w.
 * fails  ERR_USAGE naming the option. */
bool cli_moment(const char *option, Str text, int64_t *out_ms, Err *err);
/**
 * The model that a word on the command line stands for; replay/EXPERIMENT becomes a file of its
 * replies. fails  ERR_MODEL when there is no such model. */
bool cli_model(Cli *cli, Str spec, const Model **out, Err *err);
/**
 * Say on stderr which metrics have no value because their Lua failed; that nothing was scored is no
 * failure. Returns how many there are, those over parts included. */
size_t cli_metrics_failed(Cli *cli, const RunInfo *runs, size_t n_runs, const CrossMetric *cross,
                          size_t n_cross);
/** Print an error to stderr, once: "error: message [code]"; with --verbose the frames. Returns its
 * exit code. */
int cli_fail(const Cli *cli, const Err *err);
/** The ending of a counted noun: 1 error, 2 errors. */
#define PLURAL(n) ((n) == 1 ? "" : "s")
/** Print faults to stderr; true when there were errors. */
bool cli_faults(const Cli *cli, const Faults *faults);
void cli_print_json(const Value *value); // one line of JSON on stdout
void cli_print(const Buf *buf);          // stdout
/** Number of SIGINT and SIGTERM received; handlers are installed by cli_catch_signals. */
extern volatile sig_atomic_t cli_signals;
extern volatile sig_atomic_t cli_last_signal;
void cli_catch_signals(void);
Str cli_version(void);
Value cli_provenance(Cli *cli);

// ---- Progress line ----------------------------------------------------------------------------

struct RunProgress;
/** A live line on a terminal, a plain line now and then elsewhere. */
typedef struct ProgressLine {
    const Cli *cli;
    int64_t last_plain_ns;
    bool shown;
} ProgressLine;
void progress_line_show(ProgressLine *line, const struct RunProgress *progress);
void progress_line_bytes(ProgressLine *line, Str what, uint64_t done, uint64_t total);
void progress_line_clear(ProgressLine *line);
/** Callbacks that show a download on this line, which has to outlive them. */
PullProgress cli_pull_progress(ProgressLine *line);
