// SPDX-License-Identifier: MIT
// muster check NAME.lua: a solver, grader, metric or helpers by itself: it loads, its declarations
// hold, and its examples give what they say.
#include "cli/cli.h"

#include <string.h>

#define LUA_FILE_MAX (1 << 20)

static const char *const functions[] = {"grade", "solve", "metric"};
#define N_FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

/** "grade = ..": a member of that name is given. */
static bool gives(Str text, Str name)
{
    for (size_t at = 0; (at = str_find(text, name, at)) != STR_NONE; at++) {
        Str rest = str_trim(str_slice(text, at + name.len, text.len));
        bool whole = at == 0 || strchr(" \t\n{,;\"'.", text.data[at - 1]) != NULL;
        if (whole && str_starts_with(rest, STR("=")) && !str_starts_with(rest, STR("=="))) {
            return true;
        }
    }
    return false;
}

bool cli_is_unit(Str path)
{
    Arena arena = {0};
    Str text;
    Err unread = ERR_INIT;
    bool is_unit = false;
    if (file_read(&arena, path, LUA_FILE_MAX, &text, &unread)) {
        for (size_t i = 0; i < N_FUNCTIONS && !is_unit; i++) {
            is_unit = gives(text, STR("name")) && gives(text, str_from_c(functions[i]));
        }
    }
    arena_finish(&arena);
    return is_unit;
}

/** What the file returns, told by the function it has. */
static bool unit_load(Cli *cli, Str path, Str text, UnitKind *kind, UnitInfo *info, Err *err)
{
    static const UnitKind kinds[] = {UNIT_GRADER, UNIT_SOLVER, UNIT_METRIC};
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

/** Whether the file is one of helpers: a table of functions for an eval's templates. */
static bool is_helpers(Cli *cli, Str path, Str text)
{
    ScriptUnit unit = {.kind = UNIT_HELPERS,
                       .name = STR("helpers"),
                       .file = path,
                       .line = 1,
                       .text = text,
                       .params = value_null()};
    Program *program;
    Err not_one = ERR_INIT;
    if (str_find(text, STR("function"), 0) == STR_NONE || // an empty table helps nobody
        !script_program_create(cli->script, &unit, 1, NULL, &program, &not_one)) {
        return false;
    }
    script_program_destroy(cli->script, program);
    return true;
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
    bool loaded = unit_load(cli, path, text, &kind, &info, &fault);
    if (!loaded && is_helpers(cli, path, text)) {
        return true; // templates call them; they have no examples
    }
    if (!loaded || !script_unit_examples(cli->script, kind, path, text, &cli->arena, out_examples,
                                         &failures, &fault)) {
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
    if (!str_eq(info.name, path_stem(path))) {
        faults_add(faults, path, 0, 0, true, "name",
                   "it calls itself '" STR_FMT "', but evals find it as '" STR_FMT "'",
                   STR_ARG(info.name), STR_ARG(path_stem(path)));
    }
    if (info.n_examples == 0) {
        faults_add(faults, path, 0, 0, true, "no-examples",
                   "no examples: add some, they are the unit's tests");
    }
    return true;
}
