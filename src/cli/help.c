// SPDX-License-Identifier: MIT
// Help, shell completion and docs/cli.md, all printed from the tables of commands and options.
#include "cli/cli.h"

#include <string.h>

static void option_left(const Option *row, char *out, size_t size)
{
    char letter[8] = "    ";
    if (row->letter != 0) {
        snprintf(letter, sizeof(letter), "-%c, ", row->letter);
    }
    snprintf(out, size, "%s--%s%s%s", letter, row->name, row->arg == NULL ? "" : " ",
             row->arg == NULL ? "" : row->arg);
}

#define HELP_WIDTH 80 // columns of help, whatever the terminal has

/** Put text from column at on, broken at spaces; lines after the first begin at indent. */
static void put_wrapped(FILE *to, const char *text, size_t at, size_t indent)
{
    bool first = true; // on its line
    for (;;) {
        size_t word = strcspn(text, " ");
        if (!first && at + 1 + word > HELP_WIDTH) {
            fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        fprintf(to, "%s%.*s", first ? "" : " ", (int)word, text);
        at += word + !first;
        first = false;
        if (text[word] == '\0') {
            break;
        }
        text += word + 1;
    }
    fputc('\n', to);
}

static void options_print(FILE *to, const Option *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum { INDENT = 33 };
        char left[80];
        char help[512];
        option_left(&rows[i], left, sizeof(left));
        snprintf(help, sizeof(help), "%s%s%s%s", rows[i].help, rows[i].one_of == NULL ? "" : " (",
                 rows[i].one_of == NULL ? "" : rows[i].one_of, rows[i].one_of == NULL ? "" : ")");
        fprintf(to, "  %-30s ", left);
        put_wrapped(to, help, strlen(left) > 30 ? strlen(left) + 3 : INDENT, INDENT);
    }
}

static void program_help(FILE *to)
{
    fprintf(to,
            "muster: run LLM evals and say, with honest error bars, whether a model or a\nprompt "
            "got better.\n\nusage: muster COMMAND [ARGUMENTS] [OPTIONS]\n\ncommands:\n");
    for (size_t c = 0; command_table[c] != NULL; c++) {
        fprintf(to, "  %-12s ", command_table[c]->name);
        put_wrapped(to, command_table[c]->summary, 15, 15);
    }
    fprintf(to, "\noptions of every command:\n");
    options_print(to, cli_global_options, cli_n_global_options);
    fprintf(to,
            "\nfirst steps:\n"
            "  muster list evals                                  what there is to run\n"
            "  muster pull smollm2-135m-instruct                  a small model (98 MB)\n"
            "  muster run arithmetic -m local/smollm2-135m-instruct\n"
            "  muster show latest                                 what came out\n"
            "\nmuster COMMAND --help says more. Most options can be set by a variable, --limit\n"
            "by MUSTER_LIMIT, or in muster.yaml (limit: 10).\n");
}

/** Its lines, each broken where it is too long. */
static void details_print(FILE *to, const char *details)
{
    Str line;
    Str rest = str_from_c(details);
    bool more = true;
    while (more) {
        char text[1024];
        more = str_cut(rest, STR("\n"), &line, &rest);
        snprintf(text, sizeof(text), STR_FMT, STR_ARG(line));
        put_wrapped(to, text, 0, 0);
    }
}

void help_print(FILE *to, const Command *command)
{
    if (command == NULL) {
        program_help(to);
        return;
    }
    fprintf(to, "muster %s: ", command->name);
    put_wrapped(to, command->summary, strlen(command->name) + 8, 0);
    char args[256];
    snprintf(args, sizeof(args), "%s [OPTIONS]", command->args);
    fprintf(to, "\nusage: muster %s ", command->name);
    put_wrapped(to, args, strlen(command->name) + 15, 7);
    if (command->details != NULL) {
        fputc('\n', to);
        details_print(to, command->details);
    }
    if (command->n_options > 0) {
        fprintf(to, "\noptions:\n");
        options_print(to, command->options, command->n_options);
    }
    fprintf(to, "\noptions of every command:\n");
    options_print(to, cli_global_options, cli_n_global_options);
}

static void markdown_cell(FILE *to, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        fputs(*at == '|' ? "\\|" : (char[]){*at, '\0'}, to);
    }
}

static void markdown_options(FILE *to, const Option *rows, size_t n)
{
    fprintf(to, "| option | variable | meaning |\n|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        char variable[80];
        option_env_name(&rows[i], variable, sizeof(variable));
        char left[80];
        option_left(&rows[i], left, sizeof(left));
        const char *shown = left + strspn(left, " ");
        fprintf(to, "| `");
        markdown_cell(to, shown);
        fprintf(to, rows[i].flag_only ? "` |  | " : "` | `%s` | ", variable);
        markdown_cell(to, rows[i].help);
        if (rows[i].one_of != NULL) {
            fprintf(to, " (");
            markdown_cell(to, rows[i].one_of);
            fprintf(to, ")");
        }
        fprintf(to, " |\n");
    }
}

void help_markdown(FILE *to)
{
    fprintf(to,
            "# The command line\n\nPrinted by `muster help --markdown`; a test compares this file "
            "with the program.\n\nSettings are looked up as flags, then `MUSTER_*` variables, then "
            "`muster.yaml` in the working folder, then defaults.\n\nExit codes: 0 pass, 1 gate "
            "failed, 2 usage or configuration, 3 attempts failed beyond the allowed rate, or a "
            "metric in Lua failed, 4 model or provider unusable, 5 store, 6 environment, 70 "
            "internal, 130 and 143 interrupted "
            "(drained, resumable).\n\n## Options of every command\n\n");
    markdown_options(to, cli_global_options, cli_n_global_options);
    for (size_t c = 0; command_table[c] != NULL; c++) {
        const Command *command = command_table[c];
        fprintf(to, "\n## muster %s\n\n`muster %s %s`\n\n%s.\n", command->name, command->name,
                command->args, command->summary);
        if (command->details != NULL) {
            fprintf(to, "\n%s\n", command->details);
        }
        if (command->n_options > 0) {
            fprintf(to, "\n");
            markdown_options(to, command->options, command->n_options);
        }
    }
}

// ---- Completion -------------------------------------------------------------------------------

static void words_of(FILE *to, const Command *command)
{
    for (size_t i = 0; command != NULL && i < command->n_options; i++) {
        fprintf(to, " --%s", command->options[i].name);
    }
    for (size_t i = 0; i < cli_n_global_options; i++) {
        fprintf(to, " --%s", cli_global_options[i].name);
    }
}

static void completion_bash(FILE *to)
{
    fprintf(to, "# bash completion of muster: source <(muster completion bash)\n_muster() {\n"
                "  local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}\n"
                "  if [ \"$COMP_CWORD\" = 1 ]; then\n    COMPREPLY=($(compgen -W \"");
    for (size_t c = 0; command_table[c] != NULL; c++) {
        fprintf(to, "%s%s", c == 0 ? "" : " ", command_table[c]->name);
    }
    fprintf(to, "\" -- \"$cur\"))\n    return\n  fi\n  case $verb in\n");
    for (size_t c = 0; command_table[c] != NULL; c++) {
        fprintf(to, "    %s) words=\"", command_table[c]->name);
        words_of(to, command_table[c]);
        fprintf(to, "\" ;;\n");
    }
    fprintf(to, "    *) words=\"\" ;;\n  esac\n  case $cur in\n"
                "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
                "    *) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n  esac\n}\n"
                "complete -o filenames -F _muster muster\n");
}

static void completion_zsh(FILE *to)
{
    fprintf(to, "#compdef muster\n# zsh completion of muster: source <(muster completion zsh)\n"
                "_muster() {\n  if (( CURRENT == 2 )); then\n    compadd");
    for (size_t c = 0; command_table[c] != NULL; c++) {
        fprintf(to, " %s", command_table[c]->name);
    }
    fprintf(to, "\n    return\n  fi\n  if [[ $PREFIX != -* ]]; then _files; return; fi\n"
                "  case $words[2] in\n");
    for (size_t c = 0; command_table[c] != NULL; c++) {
        fprintf(to, "    %s) compadd --", command_table[c]->name);
        words_of(to, command_table[c]);
        fprintf(to, " ;;\n");
    }
    fprintf(to, "  esac\n}\ncompdef _muster muster\n");
}

static void completion_fish(FILE *to)
{
    fprintf(to, "# fish completion of muster: muster completion fish | source\n");
    for (size_t c = 0; command_table[c] != NULL; c++) {
        const Command *command = command_table[c];
        fprintf(to, "complete -c muster -n __fish_use_subcommand -f -a %s -d '%s'\n", command->name,
                command->summary);
        for (size_t i = 0; i < command->n_options; i++) {
            const Option *row = &command->options[i];
            fprintf(to, "complete -c muster -n '__fish_seen_subcommand_from %s' -l %s%s\n",
                    command->name, row->name, row->arg == NULL ? "" : " -r");
        }
    }
    for (size_t i = 0; i < cli_n_global_options; i++) {
        fprintf(to, "complete -c muster -l %s%s\n", cli_global_options[i].name,
                cli_global_options[i].arg == NULL ? "" : " -r");
    }
}

void completion_print(FILE *to, Str shell)
{
    if (str_eq(shell, STR("zsh"))) {
        completion_zsh(to);
    } else if (str_eq(shell, STR("fish"))) {
        completion_fish(to);
    } else {
        completion_bash(to);
    }
}
