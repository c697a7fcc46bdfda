// SPDX-License-Identifier: MIT
// A Program: units loaded once into up to three images (templates and helpers, the solver, the
// graders), so that each call copies back only what it needs.
#include "script/script_internal.h"

#include <string.h>

#define UNITS_MAX 512

// ---- Copies -------------------------------------------------------------------------------------

static GenSettings settings_copy(Arena *arena, const GenSettings *from)
{
    GenSettings copy = *from;
    Str *stop = ARENA_ARRAY(arena, Str, from->n_stop);
    for (size_t i = 0; i < from->n_stop; i++) {
        stop[i] = str_copy(arena, from->stop[i]);
    }
    copy.stop = stop;
    copy.schema = value_copy(arena, &from->schema);
    return copy;
}

static const EvalSolver *solver_copy(Arena *arena, const EvalSolver *from)
{
    EvalSolver *copy = ARENA_NEW(arena, EvalSolver);
    *copy = *from;
    copy->use = str_copy(arena, from->use);
    copy->params = value_copy(arena, &from->params);
    copy->settings = settings_copy(arena, &from->settings);
    return copy;
}

static const EvalGrader *grader_copy(Arena *arena, const EvalGrader *from)
{
    EvalGrader *copy = ARENA_NEW(arena, EvalGrader);
    *copy = *from;
    copy->use = str_copy(arena, from->use);
    copy->name = str_copy(arena, from->name);
    copy->params = value_copy(arena, &from->params);
    copy->when = value_copy(arena, &from->when);
    copy->answer.after = str_copy(arena, from->answer.after);
    copy->answer.regex = str_copy(arena, from->answer.regex);
    copy->answer.trim = str_copy(arena, from->answer.trim);
    copy->role = str_copy(arena, from->role);
    copy->target = value_copy(arena, &from->target);
    return copy;
}

static void unit_copy(Arena *arena, const ScriptUnit *from, Unit *out)
{
    out->source = *from;
    out->source.name = str_copy(arena, from->name);
    out->source.file = str_copy(arena, from->file);
    out->source.text = str_copy(arena, from->text);
    out->source.params = value_copy(arena, &from->params);
    out->source.solver = from->solver == NULL ? NULL : solver_copy(arena, from->solver);
    out->source.grader = from->grader == NULL ? NULL : grader_copy(arena, from->grader);
}

static Sha256 units_hashed(Script *script, const Program *program)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.program.1"));
    Hash lua = script_lua_hash(script);
    hash_hash(&sha, &lua);
    for (size_t i = 0; i < program->n_units; i++) {
        const ScriptUnit *unit = &program->units[i].source;
        hash_i64(&sha, unit->kind);
        hash_str(&sha, unit->name);
        hash_str(&sha, unit->text);
        hash_bool(&sha, unit->lenient);
        hash_bool(&sha, unit->force_text);
        hash_value(&sha, &unit->params);
        if (unit->grader != NULL) {
            hash_str(&sha, unit->grader->name);
            hash_value(&sha, &unit->grader->when);
            hash_str(&sha, unit->grader->answer.after);
            hash_str(&sha, unit->grader->answer.regex);
            hash_bool(&sha, unit->grader->answer.first);
            hash_str(&sha, unit->grader->answer.trim);
            hash_bool(&sha, unit->grader->negate);
            hash_str(&sha, unit->grader->role);
            hash_value(&sha, &unit->grader->target);
        }
    }
    return sha;
}

bool script_program_create(Script *script, const ScriptUnit *units, size_t n_units,
                           const Value *constants, Program **out, Err *err)
{
    if (n_units > UNITS_MAX) {
        return ERR_SET(err, ERR_LIMIT, "a program of more than %d units", UNITS_MAX);
    }
    Program *program = mem_zalloc(1, sizeof(*program));
    arena_init(&program->arena, 0);
    program->units = ARENA_ARRAY(&program->arena, Unit, n_units);
    program->n_units = n_units;
    for (size_t i = 0; i < n_units; i++) {
        unit_copy(&program->arena, &units[i], &program->units[i]);
    }
    program->constants =
        constants == NULL ? value_map(NULL, 0) : value_copy(&program->arena, constants);
    Sha256 sha = units_hashed(script, program);
    Sha256 without_constants = sha;
    program->units_hash = hash_end(&without_constants);
    hash_value(&sha, &program->constants);
    program->hash = hash_end(&sha);
    bool ok = program_build_image(script, program, UNIT_TEMPLATE, &program->render, err) &&
              program_build_image(script, program, UNIT_SOLVER, &program->solve, err) &&
              program_build_image(script, program, UNIT_GRADER, &program->grade, err);
    script_vm(script)->live = NULL;
    if (!ok) {
        script_program_destroy(script, program);
        return false;
    }
    *out = program;
    return true;
}

void script_program_destroy(Script *script, Program *program)
{
    if (program == NULL) {
        return;
    }
    Vm *vm = script_vm(script);
    image_finish(vm, &program->render);
    image_finish(vm, &program->solve);
    image_finish(vm, &program->grade);
    for (size_t i = 0; i < program->n_units; i++) {
        buf_finish(&program->units[i].code);
    }
    arena_finish(&program->arena);
    mem_free(program);
}

const Str *script_program_helpers(const Program *program, size_t *out_n)
{
    *out_n = program->n_helpers;
    return program->helpers;
}

Hash script_program_hash(const Program *program)
{
    return program->hash;
}

Hash script_program_units_hash(const Program *program)
{
    return program->units_hash;
}

size_t program_find(const Program *program, UnitKind kind, Str name)
{
    for (size_t i = 0; i < program->n_units; i++) {
        const ScriptUnit *unit = &program->units[i].source;
        if (unit->kind == kind && (name.len == 0 || str_eq(unit->name, name))) {
            return i;
        }
    }
    return STR_NONE;
}
