// SPDX-License-Identifier: MIT
// What a solver or grader file says about itself, and the files that are compiled in.
#include "script/script_internal.h"

#include <string.h>

#define NAMES_MAX 256

extern const EmbeddedFile script_solvers[];
extern const EmbeddedFile script_graders[];

typedef struct Reading {
    UnitKind kind;
    Str file;
    Str text;
    const Value *params; // as given, or NULL
    Arena *arena;
    UnitInfo *out;
    Err err; // of the params
} Reading;

static int info_body(lua_State *L)
{
    Reading *reading = lua_touserdata(L, 1);
    UnitInfo *info = reading->out;
    vm_load(L, reading->text, reading->file, STR("unit"), false);
    lua_call(L, 0, 1);
    unit_read(L, -1, reading->kind, reading->arena, info);
    if (info->name.len == 0) {
        info->name = str_copy(reading->arena, path_stem(reading->file));
    }
    if (reading->params != NULL) {
        Value params;
        if (!params_resolve(info, reading->kind, reading->params, reading->arena, &params,
                            &reading->err)) {
            return luaL_error(L, "params");
        }
        vm_push_value(L, &params);
        unit_read_for(L, -2, -1, reading->arena, info);
    }
    return 0;
}

bool script_unit_info_for(Script *script, UnitKind kind, Str file, Str text, const Value *params,
                          Arena *arena, UnitInfo *out, Err *err)
{
    const Image *base;
    if (kind != UNIT_SOLVER && kind != UNIT_GRADER && kind != UNIT_METRIC) {
        return ERR_SET(err, ERR_INTERNAL, "only solvers, graders and metrics declare anything");
    }
    if (!script_base_image(script, false, &base, err)) {
        return false;
    }
    Vm *vm = script_vm(script);
    vm_restore(vm, base);
    UnitInfo info;
    Reading reading = {
        .kind = kind, .file = file, .text = text, .params = params, .arena = arena, .out = &info};
    bool ok = vm_run(vm, info_body, &reading, NULL, err);
    vm->live = NULL;
    if (ok) {
        *out = info;
    } else if (reading.err.code != ERR_NONE) {
        *err = reading.err;
    }
    return ok;
}

bool script_unit_info(Script *script, UnitKind kind, Str file, Str text, Arena *arena,
                      UnitInfo *out, Err *err)
{
    return script_unit_info_for(script, kind, file, text, NULL, arena, out, err);
}

bool script_program_needs(const Program *program, UnitKind kind, Str need)
{
    for (size_t i = 0; i < program->n_units; i++) {
        const UnitInfo *info = &program->units[i].info;
        for (size_t k = 0; program->units[i].source.kind == kind && k < info->n_needs; k++) {
            if (str_eq(info->needs[k], need)) {
                return true;
            }
        }
    }
    return false;
}

bool script_program_asks(const Program *program)
{
    size_t unit = program_find(program, UNIT_SOLVER, STR_EMPTY);
    return unit != STR_NONE &&
           (program->units[unit].may_generate || program->units[unit].may_loglik);
}

static const EmbeddedFile *builtin_files(UnitKind kind)
{
    return kind == UNIT_SOLVER ? script_solvers : script_graders;
}

Str script_builtin(UnitKind kind, Str name)
{
    if (kind != UNIT_SOLVER && kind != UNIT_GRADER) {
        return STR_EMPTY;
    }
    for (const EmbeddedFile *file = builtin_files(kind); file->name != NULL; file++) {
        if (str_eq(path_stem(str_from_c(file->name)), name)) {
            return (Str){file->data, file->len};
        }
    }
    return STR_EMPTY;
}

typedef struct Names {
    Str names[NAMES_MAX];
    size_t n;
} Names;

static Names solver_names;
static Names grader_names;
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

static void names_fill(const EmbeddedFile *files, Names *out)
{
    for (const EmbeddedFile *file = files; file->name != NULL && out->n < NAMES_MAX; file++) {
        out->names[out->n++] = path_stem(str_from_c(file->name)); // embed.py sorted them
    }
}

static void names_make(void)
{
    names_fill(script_solvers, &solver_names);
    names_fill(script_graders, &grader_names);
}

const Str *script_builtin_names(UnitKind kind, size_t *out_n)
{
    *out_n = 0;
    if (kind != UNIT_SOLVER && kind != UNIT_GRADER) {
        return NULL;
    }
    pthread_once(&names_once, names_make);
    const Names *names = kind == UNIT_SOLVER ? &solver_names : &grader_names;
    *out_n = names->n;
    return names->names;
}
