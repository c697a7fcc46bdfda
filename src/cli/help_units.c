// SPDX-License-Identifier: MIT
// The reference of the solvers and graders that come with the program, as docs/lua.md shows it:
// from their declarations and the comment at the head of each file.
#include "cli/cli.h"

#include "text/text.h"

/** The comment that opens a file, without the licence line, as one paragraph. */
static void head_comment(FILE *to, Str text)
{
    Str line;
    bool more = true;
    bool first = true;
    bool was_indented = false;
    while (more) {
        more = str_cut(text, STR("\n"), &line, &text);
        if (!str_starts_with(line, STR("--"))) {
            break;
        }
        line = str_slice(line, 2, line.len);
        if (str_find(line, STR("SPDX-License-Identifier"), 0) != STR_NONE) {
            continue;
        }
        bool indented = str_starts_with(line, STR("   ")); // a list or a table in the comment
        Str shown = str_trim(line);
        fprintf(to, "%s" STR_FMT,
                first                      ? ""
                : indented || was_indented ? "  \n"
                                           : "\n",
                STR_ARG(shown));
        first = false;
        was_indented = indented;
    }
    fprintf(to, "%s", first ? "" : "\n");
}

static void texts(FILE *to, const char *before, const Str *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "%s%s" STR_FMT, i == 0 ? before : "", i == 0 ? "" : " ", STR_ARG(list[i]));
    }
}

static void param(FILE *to, Arena *arena, const UnitParam *row)
{
    fprintf(to, "| `" STR_FMT "` | ", STR_ARG(row->name));
    if (row->n_one_of > 0) {
        for (size_t i = 0; i < row->n_one_of; i++) {
            fprintf(to, "%s" STR_FMT, i == 0 ? "" : " \\| ", STR_ARG(row->one_of[i]));
        }
    } else {
        fprintf(to, STR_FMT, STR_ARG(row->type));
    }
    Str shown = json_plain(arena, &row->otherwise);
    if (row->required) {
        fprintf(to, " | required |\n");
    } else if (row->n_one_of > 0) {
        fprintf(to, " | `" STR_FMT "` |\n", STR_ARG(row->one_of[0]));
    } else if (row->otherwise.kind == VALUE_NULL || shown.len == 0) {
        fprintf(to, " | |\n");
    } else if (row->otherwise.kind == VALUE_STR) {
        Buf buf = {0};
        json_write(&buf, &row->otherwise,
                   JSON_COMPACT); // line feeds and bars do not break the table
        fprintf(to, " | `");
        for (size_t i = 0; i < buf.len; i++) {
            fprintf(to, buf.data[i] == '|' ? "\\|" : "%c", buf.data[i]);
        }
        fprintf(to, "` |\n");
        buf_finish(&buf);
    } else {
        fprintf(to, " | `" STR_FMT "` |\n", STR_ARG(shown));
    }
}

static void unit(FILE *to, Arena *arena, UnitKind kind, Str text, const UnitInfo *info)
{
    fprintf(to, "\n### %s `" STR_FMT "`\n\n", kind == UNIT_SOLVER ? "solver" : "grader",
            STR_ARG(info->name));
    head_comment(to, text);
    bool unbounded = info->range_high > 1e300;
    fprintf(to, "\nVersion %lld", (long long)info->version);
    if (kind == UNIT_GRADER) {
        fprintf(to, unbounded ? "; from %g up" : "; %g to %g", info->range_low, info->range_high);
        fprintf(to, "%s", info->lower_is_better ? ", lower is better" : "");
    }
    texts(to, "; needs ", info->needs, info->n_needs);
    texts(to, "; gives ", info->gives, info->n_gives);
    texts(to, "; effects ", info->effects, info->n_effects);
    fprintf(to, ".\n");
    if (info->n_params > 0) {
        fprintf(to, "\n| param | type | default |\n|---|---|---|\n");
    }
    for (size_t i = 0; i < info->n_params; i++) {
        param(to, arena, &info->params[i]);
    }
}

bool help_units(Cli *cli, FILE *to, Err *err)
{
    static const UnitKind kinds[] = {UNIT_SOLVER, UNIT_GRADER};
    static const char *const titles[] = {"## The solvers", "## The graders"};
    if (!cli_registry(cli, err)) {
        return false;
    }
    for (size_t k = 0; k < 2; k++) {
        size_t n;
        const Str *names = script_builtin_names(kinds[k], &n);
        fprintf(to, "%s%s\n", k == 0 ? "" : "\n", titles[k]);
        for (size_t i = 0; i < n; i++) {
            Str text = script_builtin(kinds[k], names[i]);
            Str file = str_printf(&cli->arena, STR_FMT ".lua", STR_ARG(names[i]));
            UnitInfo info;
            if (!script_unit_info(cli->script, kinds[k], file, text, &cli->arena, &info, err)) {
                return false;
            }
            unit(to, &cli->arena, kinds[k], text, &info);
        }
    }
    return true;
}
