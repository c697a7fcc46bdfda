// SPDX-License-Identifier: MIT
// Tasks: one part x variant with its rows, shots and programs, opened once and asked for samples.
// What tasks can share (rows of a part, programs that no part changes) is counted and freed with
// the last.
#include "registry/registry_internal.h"

#include <string.h>

// ---- Programs ----------------------------------------------------------------------------------

static bool shared_find(Registry *registry, Str key, SharedProgram **out)
{
    for (SharedProgram *shared = registry->programs; shared != NULL; shared = shared->next) {
        if (str_eq(shared->key, key)) {
            shared->refs++;
            *out = shared;
            return true;
        }
    }
    return false;
}

static void shared_add(Registry *registry, Str key, Program *program, SharedProgram **out)
{
    SharedProgram *shared = mem_zalloc(1, sizeof(*shared));
    shared->key = str_copy(&shared->arena, key);
    shared->refs = 1;
    shared->program = program;
    shared->next = registry->programs;
    registry->programs = shared;
    *out = shared;
}

static void shared_release(Registry *registry, SharedProgram *shared)
{
    if (shared == NULL || --shared->refs > 0) {
        return;
    }
    for (SharedProgram **at = &registry->programs; *at != NULL; at = &(*at)->next) {
        if (*at == shared) {
            *at = shared->next;
            break;
        }
    }
    script_program_destroy(registry->script, shared->program);
    arena_finish(&shared->arena);
    mem_free(shared);
}

static bool has_braces(const Value *value)
{
    bool found = false;
    if (value->kind == VALUE_STR) {
        found = str_find(value->as.str, STR("{{"), 0) != STR_NONE ||
                str_find(value->as.str, STR("{%"), 0) != STR_NONE;
    }
    for (size_t i = 0; value->kind == VALUE_LIST && !found && i < value->as.list.n; i++) {
        found = has_braces(&value->as.list.items[i]);
    }
    for (size_t i = 0; value->kind == VALUE_MAP && !found && i < value->as.map.n; i++) {
        found = has_braces(&value->as.map.pairs[i].value);
    }
    return found;
}

/** Whether a unit renders templates, so that the part's constants matter to it. */
static bool has_templates(const LuaUnit *unit, const Value *params, const Value *when)
{
    for (size_t i = 0; i < unit->info.n_params; i++) {
        if (str_eq_c(unit->info.params[i].type, "template")) {
            return true;
        }
    }
    return has_braces(params) || when->kind != VALUE_NULL;
}

static ScriptUnit script_unit_of(const LuaUnit *unit, Str name, Value params)
{
    return (ScriptUnit){.kind = unit->kind,
                        .name = name,
                        .file = unit->file,
                        .line = 1,
                        .text = unit->text,
                        .params = params};
}

/** The solver's or graders' program, shared between parts and variants that would get an equal one.
 */
static bool shared_program_open(Registry *registry, Task *task, TmplBuilder *builder, Str key,
                                bool templates, SharedProgram **out, Err *err)
{
    Arena *arena = builder->arena;
    const Eval *eval = task->eval;
    key = str_printf(arena, "%p " STR_FMT, (const void *)eval, STR_ARG(key));
    if (templates) {
        key = str_printf(arena, STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(key), STR_ARG(task->part),
                         STR_ARG(task->variant->name));
    }
    if (shared_find(registry, key, out)) {
        return true;
    }
    TmplBuilder all = {.arena = arena, .file = eval->file};
    Program *program = NULL;
    if (templates && !helpers_push(registry, eval, &all, err)) {
        return false;
    }
    for (size_t i = 0; i < builder->n; i++) {
        tmpl_builder_push(&all, &builder->units[i], builder->texts[i]);
    }
    if (!script_program_create(registry->script, all.units, all.n,
                               templates ? &task->data->constants : NULL, &program, err)) {
        return false;
    }
    shared_add(registry, key, program, out);
    return true;
}

static bool solver_open(Registry *registry, Task *task, Arena *arena, Err *err)
{
    const EvalSolver *solver = &task->variant->solver;
    const LuaUnit *unit = NULL;
    if (!registry_unit(registry, UNIT_SOLVER, solver->use, task->eval->dir, &unit, err)) {
        return false;
    }
    TmplBuilder builder = {.arena = arena, .file = task->eval->file};
    ScriptUnit script_unit = script_unit_of(unit, STR("solver"), solver->params);
    script_unit.solver = solver;
    tmpl_builder_push(&builder, &script_unit, NULL);
    const Value none = value_null();
    Str key = str_printf(arena, "solver %u:%u", solver->line, solver->col);
    return shared_program_open(registry, task, &builder, key,
                               has_templates(unit, &solver->params, &none), &task->data->solver,
                               err);
}

static bool has_effect(const UnitInfo *info, const char *effect)
{
    for (size_t i = 0; i < info->n_effects; i++) {
        if (str_eq_c(info->effects[i], effect)) {
            return true;
        }
    }
    return false;
}

/** Every grader in reach of the eval, for ctx.grade. One that does not load is missing there. */
static void library_push(Registry *registry, Str eval_dir, TmplBuilder *builder)
{
    Str *names = NULL;
    size_t n = 0;
    registry_unit_names(registry, UNIT_GRADER, eval_dir, builder->arena, &names, &n);
    for (size_t i = 0; i < n; i++) {
        const LuaUnit *unit = NULL;
        Err ignored = ERR_INIT; // a file beside the eval need not be a grader
        if (registry_unit(registry, UNIT_GRADER, names[i], eval_dir, &unit, &ignored)) {
            ScriptUnit script_unit = script_unit_of(unit, names[i], value_null());
            script_unit.kind = UNIT_LIBRARY;
            tmpl_builder_push(builder, &script_unit, NULL);
        }
    }
}

static bool graders_open(Registry *registry, Task *task, Arena *arena, Err *err)
{
    const Eval *eval = task->eval;
    TmplBuilder builder = {.arena = arena, .file = eval->file};
    bool templates = false, grades = false;
    for (size_t i = 0; i < eval->n_graders; i++) {
        const EvalGrader *grader = &eval->graders[i];
        const LuaUnit *unit = NULL;
        if (!registry_unit(registry, UNIT_GRADER, grader->use, eval->dir, &unit, err)) {
            return false;
        }
        ScriptUnit script_unit = script_unit_of(unit, grader->name, grader->params);
        script_unit.grader = grader;
        tmpl_builder_push(&builder, &script_unit, NULL);
        templates = templates || has_templates(unit, &grader->params, &grader->when) ||
                    has_braces(&grader->target);
        grades = grades || has_effect(&unit->info, "grade");
    }
    if (grades) {
        library_push(registry, eval->dir, &builder);
    }
    return shared_program_open(registry, task, &builder, STR("graders"), templates,
                               &task->data->graders, err);
}

static bool render_program_open(Registry *registry, Task *task, Err *err)
{
    struct TaskData *data = task->data;
    TmplBuilder builder = {.arena = &data->arena, .file = task->eval->file};
    if (!helpers_push(registry, task->eval, &builder, err)) {
        return false;
    }
    sample_tmpl_build(&builder, task->eval, task->variant, &data->tmpl);
    words_of_units(&builder, &data->arena, &data->needed, &data->n_needed);
    return script_program_create(registry->script, builder.units, builder.n, &data->constants,
                                 &data->program, err);
}

static bool programs_open(Registry *registry, Task *task, Err *err)
{
    Arena scratch = {0};
    bool ok = render_program_open(registry, task, err) &&
              solver_open(registry, task, &scratch, err) &&
              graders_open(registry, task, &scratch, err);
    arena_finish(&scratch);
    if (!ok) {
        return false;
    }
    task->solver_program = task->data->solver->program;
    task->grader_program = task->data->graders->program;
    Hash hashes[] = {script_program_hash(task->data->program),
                     script_program_hash(task->solver_program),
                     script_program_hash(task->grader_program)};
    Sha256 sha;
    hash_begin(&sha, STR("muster.program.1"));
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
        hash_hash(&sha, &hashes[i]);
    }
    task->program_hash = hash_end(&sha);
    task->grader_hash = script_program_units_hash(task->grader_program);
    return true;
}

// ---- Opening and closing -----------------------------------------------------------------------

static void set_chat(Task *task)
{
    const EvalVariant *variant = task->variant;
    task->uses_chat = variant->prompt.kind == VALUE_NULL;
    if (!task->uses_chat) {
        task->chat_reason = STR("the eval has a prompt: its text is sent untouched");
    } else if (variant->messages.kind != VALUE_NULL) {
        task->chat_reason = STR("the eval has messages");
    } else {
        task->chat_reason =
            STR("the eval has neither prompt nor messages: input is sent as a chat");
    }
}

/** What decides the data beyond the part's rows: shots that are not among the program's constants.
 */
static Hash data_hash(const Task *task)
{
    const FewShot *few_shot = &task->variant->few_shot;
    Sha256 sha;
    hash_begin(&sha, STR("muster.task.1"));
    hash_hash(&sha, &task->data->part->hash);
    hash_bool(&sha, few_shot->given);
    hash_str(&sha, few_shot->split);
    hash_i64(&sha, few_shot->count);
    hash_bool(&sha, few_shot->seeded);
    Value shots = value_list(task->data->shot_items, task->data->n_shot_items);
    hash_value(&sha, &shots);
    return hash_end(&sha);
}

static bool task_fill(Registry *registry, Task *task, const MatrixCell *cell, Err *err)
{
    struct TaskData *data = task->data;
    task->part = str_copy(&data->arena, cell->name);
    task->vars = value_copy(&data->arena, &cell->vars);
    if (!part_rows_open(registry, task->eval, cell, &data->part, err)) {
        return false;
    }
    task->n_samples = data->part->n;
    data->constants = part_constants(&data->arena, &task->vars, &data->part->texts, NULL);
    if (task->variant->few_shot.given) {
        if (!task_shots_open(registry, task, err)) {
            return false;
        }
        Value shots = value_list(data->shot_items, data->n_shots);
        data->constants = part_constants(&data->arena, &task->vars, &data->part->texts, &shots);
    }
    set_chat(task);
    task->data_hash = data_hash(task);
    return programs_open(registry, task, err);
}

static bool cell_find(Registry *registry, const Eval *eval, Str part, Arena *arena, MatrixCell *out,
                      Err *err)
{
    MatrixCell *cells = NULL;
    size_t n = 0;
    if (!matrix_cells(registry, eval, arena, &cells, &n, err)) {
        return false;
    }
    Str *names = ARENA_ARRAY(arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        if (str_eq(cells[i].name, part)) {
            *out = cells[i];
            return true;
        }
        names[i] = cells[i].name;
    }
    Str hint = schema_did_you_mean(arena, part, names, n);
    return ERR_SET(err, ERR_NOT_FOUND, "eval '" STR_FMT "' has no part '" STR_FMT "'" STR_FMT,
                   STR_ARG(eval->name), STR_ARG(part), STR_ARG(hint));
}

bool registry_task_open(Registry *registry, const Eval *eval, Str part, const EvalVariant *variant,
                        uint64_t seed, Task **out, Err *err)
{
    Arena scratch = {0};
    MatrixCell cell;
    bool ok = cell_find(registry, eval, part, &scratch, &cell, err);
    Task *task = NULL;
    if (ok) {
        task = mem_zalloc(1, sizeof(*task));
        task->eval = eval;
        task->variant = variant;
        task->data = mem_zalloc(1, sizeof(*task->data));
        task->data->seed = seed;
        ok = task_fill(registry, task, &cell, err);
    }
    arena_finish(&scratch);
    if (!ok) {
        registry_task_close(registry, task);
        return false;
    }
    *out = task;
    return true;
}

void registry_task_close(Registry *registry, Task *task)
{
    if (task == NULL) {
        return;
    }
    struct TaskData *data = task->data;
    script_program_destroy(registry->script, data->program);
    shared_release(registry, data->solver);
    shared_release(registry, data->graders);
    part_rows_release(registry, data->part);
    arena_finish(&data->arena);
    mem_free(data);
    mem_free(task);
}
