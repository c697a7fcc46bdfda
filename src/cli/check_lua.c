// SPDX-License-Identifier: MIT
// muster check NAME.lua: a solver, grader or metric by itself: it loads, its declarations hold, and
// its examples give what they say.
#include "cli/cli.h"

#define LUA_FILE_MAX (1 << 20)

/** What the file returns, told by the function it has. */
static bool unit_load(Cli *cli, Str path, Str text, UnitKind *kind, UnitInfo *info, Err *err)
{
    static const UnitKind kinds[] = {UNIT_GRADER, UNIT_SOLVER, UNIT_METRIC};
    static const char *const functions[] = {"grade", "solve", "metric"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (i > 0 && str_find(text, str_from_c(functions[i]), 0) == STR_NONE) {
            continue;
        }
        Err attempt = ERR_INIT;
        if (script_unit_info(cli->script, kinds[i], path, text, &cli->arena, info, &attempt)) {
            *kind = kinds[i];
            return true;
        }
        if (i == 0 || str_find(str_from_c(err->message), STR("needs a function"), 0) != STR_NONE) {
            *err = attempt; // what is said of the likeliest kind
        }
    }
    return false;
}

bool cli_check_lua(Cli *cli, Str path, Faults *faults, size_t *out_examples, Err *err)
{
    Str text;
    UnitKind kind;
    UnitInfo info;
    Str failures = STR_EMPTY;
    *out_examples = 0;
    if (!file_read(&cli->arena, path, LUA_FILE_MAX, &text, err)) {
        return false;
    }
    Err fault = ERR_INIT;
    if (!unit_load(cli, path, text, &kind, &info, &fault) ||
        !script_unit_examples(cli->script, kind, path, text, &cli->arena, out_examples, &failures,
                              &fault)) {
        faults_add(faults, path, 0, 0, false, "lua", "%s", fault.message);
        return true;
    }
    Str line;
    bool more = failures.len > 0;
    while (more) {
        more = str_cut(failures, STR("\n"), &line, &failures);
        if (line.len > 0) {
            faults_add(faults, path, 0, 0, false, "example", STR_FMT, STR_ARG(line));
        }
    }
    if (info.n_examples == 0) {
        faults_add(faults, path, 0, 0, true, "no-examples",
                   "no examples: add some, they are the unit's tests");
    }
    return true;
}
