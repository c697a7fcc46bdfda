// SPDX-License-Identifier: MIT
// main: find the verb, parse its options, run it. Everything else is in one file per verb.
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

extern const Command cmd_run;
extern const Command cmd_list;
extern const Command cmd_explain;
extern const Command cmd_show;
extern const Command cmd_diff;
extern const Command cmd_gate;
extern const Command cmd_promote;
extern const Command cmd_trend;
extern const Command cmd_rescore;
extern const Command cmd_verify;
extern const Command cmd_merge;
extern const Command cmd_export;
extern const Command cmd_check;
extern const Command cmd_new;
extern const Command cmd_pull;
extern const Command cmd_bench;
extern const Command cmd_gc;
extern const Command cmd_doctor;
extern const Command cmd_completion;
extern const Command cmd_help;
extern const Command cmd_version;

const Command *const command_table[] = {
    &cmd_run,        &cmd_list,  &cmd_explain, &cmd_show,   &cmd_diff,  &cmd_gate,
    &cmd_promote,    &cmd_trend, &cmd_rescore, &cmd_verify, &cmd_merge, &cmd_export,
    &cmd_check,      &cmd_new,   &cmd_pull,    &cmd_bench,  &cmd_gc,    &cmd_doctor,
    &cmd_completion, &cmd_help,  &cmd_version, NULL,
};

const Option cli_global_options[] = {
    {"db", 0, OPT_STR_AT(GlobalOptions, db), .arg = "FILE",
     .help = "the store (default .muster/muster.db)"},
    {"registry", 0, OPT_LIST_AT(GlobalOptions, registry), .arg = "DIR",
     .help = "a registry folder, sought first; may be repeated"},
    {"json", 0, OPT_FLAG_AT(GlobalOptions, json), .help = "one JSON object on stdout"},
    {"color", 0, OPT_STR_AT(GlobalOptions, color), .arg = "WHEN", .help = "colours",
     .one_of = "auto|always|never"},
    {"quiet", 'q', OPT_FLAG_AT(GlobalOptions, quiet), .help = "no progress, no notes"},
    {"verbose", 'v', OPT_FLAG_AT(GlobalOptions, verbose),
     .help = "say more; errors with their origin"},
    {"help", 'h', OPT_FLAG_AT(GlobalOptions, help), .help = "this help"},
};
const size_t cli_n_global_options = sizeof(cli_global_options) / sizeof(cli_global_options[0]);

static const Command *command_find(Str name)
{
    for (size_t c = 0; command_table[c] != NULL; c++) {
        if (str_eq_c(name, command_table[c]->name)) {
            return command_table[c];
        }
    }
    return NULL;
}

static int unknown_command(const Cli *cli, Str name)
{
    Str names[32];
    size_t n = 0;
    for (; command_table[n] != NULL; n++) {
        names[n] = str_from_c(command_table[n]->name);
    }
    size_t near = str_nearest(name, names, n);
    Err err = ERR_INIT;
    if (str_starts_with(name, STR("-"))) {
        ERR_SET(&err, ERR_USAGE,
                "options come after the command: muster COMMAND " STR_FMT " ... (see: muster help)",
                STR_ARG(name));
    } else if (near != STR_NONE) {
        ERR_SET(&err, ERR_USAGE, "unknown command '" STR_FMT "'; did you mean " STR_FMT "?",
                STR_ARG(name), STR_ARG(names[near]));
    } else {
        ERR_SET(&err, ERR_USAGE, "unknown command '" STR_FMT "' (see: muster help)", STR_ARG(name));
    }
    return cli_fail(cli, &err);
}

/** Colours and width as far as they are known before options are parsed. */
static void terminal_look(Cli *cli)
{
    struct winsize size;
    cli->tty_err = isatty(STDERR_FILENO) != 0;
    cli->width = 100;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) {
        cli->width = size.ws_col;
    }
    const char *no_color = getenv("NO_COLOR");
    bool allowed = no_color == NULL || no_color[0] == '\0';
    const char *term = getenv("TERM");
    allowed = allowed && (term == NULL || strcmp(term, "dumb") != 0);
    cli->color_out = allowed && isatty(STDOUT_FILENO) != 0;
    cli->color_err = allowed && cli->tty_err;
}

static void color_decide(Cli *cli)
{
    if (str_eq(cli->global.color, STR("always"))) {
        cli->color_out = cli->color_err = true;
    } else if (str_eq(cli->global.color, STR("never"))) {
        cli->color_out = cli->color_err = false;
    }
}

static void log_line(void *ctx, LogLevel level, const char *message)
{
    const Cli *cli = ctx;
    if (level == LOG_DEBUG && !cli->global.verbose) {
        return;
    }
    fprintf(stderr, "%s%s\n", level == LOG_WARN ? "warning: " : "", message);
}

static int command_run(Cli *cli, const Command *command, int argc, char **argv)
{
    Err err = ERR_INIT;
    void *options = arena_alloc(&cli->arena, 1, command->options_size + 1);
    Str *args = NULL;
    size_t n_args = 0;
    cli->command = command;
    if (!options_parse(cli, command, argc, argv, options, &args, &n_args, &err)) {
        return cli_fail(cli, &err);
    }
    color_decide(cli);
    if (cli->global.help) {
        help_print(stdout, command);
        return EXIT_OK;
    }
    log_sink_set(log_line, cli, cli->global.verbose ? LOG_DEBUG : LOG_INFO);
    return command->run(cli, options, args, n_args);
}

/** Descriptors 0 to 2 that the caller closed must not become the store's or a model's. */
static void descriptors_fill(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1) {
            open("/dev/null", O_RDONLY); // takes fd; writing to it fails, as it would have
        }
    }
}

/** Flush stdout; what was asked for and could not be written is a failure of its own. */
static int stdout_end(int code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return code;
    }
    if (errno != EPIPE) { // a reader that has seen enough needs no message
        fprintf(stderr, "error: cannot write to stdout: %s\n", strerror(errno));
    }
    return code == EXIT_OK ? EXIT_ENVIRONMENT : code;
}

int main(int argc, char **argv)
{
    descriptors_fill();
    Cli cli = {.argc = argc, .argv = argv};
    arena_init(&cli.arena, 0);
    terminal_look(&cli);
    signal(SIGPIPE, SIG_IGN);
    int code;
    if (argc < 2) {
        help_print(stderr, NULL);
        code = EXIT_USAGE;
    } else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        code = command_run(&cli, &cmd_version, 0, argv);
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_print(stdout, NULL);
        code = EXIT_OK;
    } else {
        const Command *command = command_find(str_from_c(argv[1]));
        code = command == NULL ? unknown_command(&cli, str_from_c(argv[1]))
                               : command_run(&cli, command, argc - 2, argv + 2);
    }
    code = stdout_end(code);
    registry_destroy(cli.registry);
    script_destroy(cli.script);
    arena_finish(&cli.arena);
    return code;
}
