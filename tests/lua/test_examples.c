// SPDX-License-Identifier: MIT
// Every solver and grader that is compiled in: its declarations load, and its examples hold.
#include "script/script.h"
#include "tests/unit/tap.h"

static Script *script;
static UnitKind kind;
static Str name;

static void test_unit(void)
{
    Arena arena = {0};
    Err err = ERR_INIT;
    Str text = script_builtin(kind, name);
    Str file = str_printf(&arena, STR_FMT ".lua", STR_ARG(name));
    UnitInfo info;
    if (CHECK_OK(script_unit_info(script, kind, file, text, &arena, &info, &err), &err)) {
        CHECK_STR(info.name, name);
        CHECK(info.version >= 1);
        CHECK(info.description.len > 0);
        CHECK(info.n_examples > 0);
        size_t n_run = 0;
        Str failures = STR_EMPTY;
        CHECK_OK(script_unit_examples(script, kind, file, text, &arena, &n_run, &failures, &err),
                 &err);
        CHECK_INT(n_run, info.n_examples);
        CHECK_STR(failures, STR_EMPTY);
    }
    arena_finish(&arena);
}

int main(void)
{
    Err err = ERR_INIT;
    if (!script_create(NULL, &script, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    static const UnitKind kinds[] = {UNIT_SOLVER, UNIT_GRADER};
    for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
        size_t n;
        const Str *names = script_builtin_names(kinds[k], &n);
        for (size_t i = 0; i < n; i++) {
            char title[64];
            kind = kinds[k];
            name = names[i];
            snprintf(title, sizeof(title), "%s " STR_FMT, kind == UNIT_SOLVER ? "solver" : "grader",
                     STR_ARG(name));
            tap_run(title, test_unit);
        }
    }
    script_destroy(script);
    return tap_done();
}
