// SPDX-License-Identifier: MIT
// muster new: a working eval, solver or grader to change. Writes nothing over an existing file.
#include "cli/cli.h"

#include "base/embedded.h"

extern const EmbeddedFile cli_scaffolds[];

typedef struct NewOptions {
    Str dir;
} NewOptions;

static const Option options[] = {
    {"dir", 0, OPT_STR_AT(NewOptions, dir), .arg = "FOLDER",
     .help = "where to put the files (default: the working folder)"},
};

/** One file to write: NAME + extension, from a scaffold. */
typedef struct Scaffold {
    const char *kind;
    const char *file; // among the scaffolds
    const char *extension;
} Scaffold;

static const Scaffold scaffolds[] = {
    {"eval", "eval.yaml", ".yaml"},   {"eval", "eval.jsonl", ".jsonl"},
    {"eval", "eval.lua", ".lua"},     {"solver", "solver.lua", ".lua"},
    {"grader", "grader.lua", ".lua"},
};
#define N_SCAFFOLDS (sizeof(scaffolds) / sizeof(scaffolds[0]))

static bool name_is_good(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool inner = (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!letter && !(i > 0 && inner)) {
            return false;
        }
    }
    return name.len > 0 && name.len <= 64;
}

static Str scaffold_text(Arena *arena, const char *file, Str name)
{
    Str text = STR_EMPTY;
    for (const EmbeddedFile *at = cli_scaffolds; at->name != NULL; at++) {
        if (str_eq_c(str_from_c(file), at->name)) {
            text = (Str){at->data, at->len};
        }
    }
    Buf buf = {0};
    Str head;
    for (bool more = true; more;) {
        more = str_cut(text, STR("NAME"), &head, &text);
        buf_str(&buf, head);
        buf_str(&buf, more ? name : STR_EMPTY);
    }
    Str out = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return out;
}

static int cmd_new_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)n_args;
    const NewOptions *opts = options_struct;
    Err err = ERR_INIT;
    Str dir = opts->dir.len > 0 ? opts->dir : STR(".");
    Str paths[N_SCAFFOLDS] = {0};
    size_t n = 0;
    if (!name_is_good(args[1])) {
        ERR_SET(&err, ERR_USAGE,
                "new: '" STR_FMT "' is no name: letters, digits, - and _, a letter first",
                STR_ARG(args[1]));
        return cli_fail(cli, &err);
    }
    for (size_t i = 0; i < N_SCAFFOLDS; i++) {
        if (!str_eq_c(args[0], scaffolds[i].kind)) {
            continue;
        }
        paths[i] =
            str_eq(dir, STR("."))
                ? str_printf(&cli->arena, STR_FMT "%s", STR_ARG(args[1]), scaffolds[i].extension)
                : str_printf(&cli->arena, STR_FMT "/" STR_FMT "%s", STR_ARG(dir), STR_ARG(args[1]),
                             scaffolds[i].extension);
        n++;
        if (file_exists(paths[i])) {
            ERR_SET(&err, ERR_USAGE, "new: " STR_FMT " is there already; nothing was written",
                    STR_ARG(paths[i]));
            return cli_fail(cli, &err);
        }
    }
    if (n == 0) {
        ERR_SET(&err, ERR_USAGE, "new: '" STR_FMT "' is not one of eval, solver, grader",
                STR_ARG(args[0]));
        return cli_fail(cli, &err);
    }
    if (!file_make_dirs(dir, &err)) {
        return cli_fail(cli, &err);
    }
    for (size_t i = 0; i < N_SCAFFOLDS; i++) {
        Str text = scaffold_text(&cli->arena, scaffolds[i].file, args[1]);
        if (paths[i].len > 0 && !file_write_atomic(paths[i], text, &err)) {
            return cli_fail(cli, &err);
        }
        if (paths[i].len > 0) {
            printf(STR_FMT "\n", STR_ARG(paths[i]));
        }
    }
    if (!cli->global.quiet) {
        const char *slash = str_eq(dir, STR(".")) ? "" : "/";
        Str shown = str_eq(dir, STR(".")) ? STR_EMPTY : dir;
        bool eval = str_eq(args[0], STR("eval"));
        fprintf(stderr, "next: muster check " STR_FMT "%s" STR_FMT "%s", STR_ARG(shown), slash,
                STR_ARG(args[1]), eval ? ".yaml" : ".lua\n");
        if (eval) {
            fprintf(stderr, " && muster run " STR_FMT "%s" STR_FMT ".yaml -m MODEL\n",
                    STR_ARG(shown), slash, STR_ARG(args[1]));
        }
    }
    return EXIT_OK;
}

const Command cmd_new = {
    .name = "new",
    .args = "eval|solver|grader NAME",
    .summary = "write a small working eval, solver or grader to change",
    .details = "An eval comes with three rows of data, a helper and two variants; a solver and a "
               "grader come with\n"
               "examples that `muster check NAME.lua` runs.",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(NewOptions),
    .min_args = 2,
    .max_args = 2,
    .run = cmd_new_run,
};
