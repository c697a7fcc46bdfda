// SPDX-License-Identifier: MIT
// Tasks: one part x variant with its rows, shots and programs, opened once and asked for samples.
// What tasks can share (rows of a part, programs that no part changes) is counted and freed with
// the last.
#include "registry/registry_internal.h"

#include <string.h>

#define SHOTS_MAX 100000

// ---- Shots -------------------------------------------------------------------------------------

/** Where shots come from. */
typedef struct ShotSource {
    Rows *rows;           // held by own_rows or the part
    Rows *own_rows;       // to release
    const uint32_t *kept; // NULL: all
    uint32_t *own_kept;
    size_t n;
} ShotSource;

static bool shot_source_open(Registry *registry, Task *task, const Value *constants,
                             ShotSource *out, Err *err)
{
    struct TaskData *data = task->data;
    const FewShot *few_shot = &task->variant->few_shot;
    const Eval *eval = task->eval;
    *out = (ShotSource){0};
    if (few_shot->rows.kind == VALUE_LIST) {
        out->own_rows = out->rows = rows_of_list(&few_shot->rows);
        out->n = out->rows->n;
        return true;
    }
    if (few_shot->path.len > 0) {
        if (!path_rows_open(registry, eval, few_shot->path, false, &out->own_rows, err)) {
            return false;
        }
        out->rows = out->own_rows;
        out->n = out->rows->n;
        return true;
    }
    const Dataset *dataset = NULL;
    if (!registry_dataset(registry, eval->dataset_use, &dataset, err)) {
        return false;
    }
    data->leave_own = str_eq(few_shot->split, eval_split_name(eval, dataset));
    if (data->leave_own) {
        *out = (ShotSource){.rows = data->part->rows, .kept = data->part->kept, .n = data->part->n};
        return true;
    }
    if (!split_rows_open(registry, dataset, few_shot->split, data->part->dataset_part,
                         &out->own_rows, err)) {
        return false;
    }
    out->rows = out->own_rows;
    // `where` keeps rows of the dataset, in whichever split: shots are of the same kind as samples.
    if (!where_apply(registry, eval, constants, out->rows, (size_t)few_shot->count, &out->own_kept,
                     &out->n, err)) {
        return false;
    }
    out->kept = out->own_kept;
    return true;
}

static void shot_source_close(Registry *registry, ShotSource *source)
{
    rows_release(registry, source->own_rows);
    mem_free(source->own_kept);
}

/** "A" for 0, "Z" for 25, "AA" for 26: as the filter lettered counts. */
static Str letter_of(Arena *arena, int64_t position)
{
    char text[16];
    size_t at = sizeof(text);
    for (int64_t n = position + 1; n > 0 && at > 0; n = (n - 1) / 26) {
        text[--at] = (char)('A' + (n - 1) % 26);
    }
    return str_copy(arena, (Str){text + at, sizeof(text) - at});
}

static Value value_of_texts(Arena *arena, const Str *texts, size_t n)
{
    if (n == 1) {
        return value_str(texts[0]);
    }
    Value *items = ARENA_ARRAY(arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        items[i] = value_str(texts[i]);
    }
    return value_list(items, n);
}

/** What a shot is made of while its fields are rendered. */
typedef struct ShotMaker {
    TmplSession session;
    const SampleTmpl *tmpl;
    MapBuilder map;
} ShotMaker;

static void shot_put(ShotMaker *maker, const char *key, Value value)
{
    map_builder_put(&maker->map, str_from_c(key), value);
}

static void shot_put_choices(ShotMaker *maker, Sample *sample)
{
    Arena *arena = maker->session.arena;
    Err ignored = ERR_INIT; // a field that can not be rendered is absent: using it is the error
    Value value;
    if (maker->tmpl->has_choices &&
        tmpl_render(&maker->session, &maker->tmpl->choices, &value, &ignored) &&
        sample_choices(arena, &value, &sample->choices, &sample->n_choices, &ignored)) {
        shot_put(maker, "choices", value);
    }
    bool choices_missing = maker->tmpl->has_choices && sample->n_choices == 0;
    if (!maker->tmpl->has_target || choices_missing) {
        return;
    }
    ignored = (Err)ERR_INIT;
    if (tmpl_render(&maker->session, &maker->tmpl->target, &value, &ignored) &&
        sample_targets(arena, &value, sample, &ignored) && sample->n_targets > 0) {
        shot_put(maker, "target", value_of_texts(arena, sample->targets, sample->n_targets));
        if (sample->n_correct > 0) {
            shot_put(maker, "letter", value_str(letter_of(arena, sample->correct[0])));
        }
    }
}

/** The sample's fields; those that fail to render are left out. */
static void shot_put_fields(ShotMaker *maker)
{
    Sample sample = {0};
    Value value;
    Str text;
    TmplSession *session = &maker->session;
    Err ignored = ERR_INIT; // see shot_put_choices
    if (maker->tmpl->input_is_messages
            ? messages_render(session, &maker->tmpl->input_messages, &value, &ignored)
            : tmpl_render(session, &maker->tmpl->input, &value, &ignored)) {
        bool scalar = tmpl_scalar_text(session->arena, &value, &text);
        shot_put(maker, "input", scalar ? value_str(text) : value);
    }
    shot_put_choices(maker, &sample);
    ignored = (Err)ERR_INIT;
    if (maker->tmpl->has_metadata &&
        tmpl_render(session, &maker->tmpl->metadata, &value, &ignored)) {
        shot_put(maker, "metadata", value);
    }
}

static bool is_shot_field(Str name)
{
    static const char *const fields[] = {"id",     "input",    "choices", "target",
                                         "letter", "metadata", NULL};
    return keys_word_in(fields, name);
}

/** A sample plus its columns; a field hides the column of its name where it could be rendered. */
static Value shot_value(const ShotMaker *maker, const Value *row)
{
    MapBuilder out;
    map_builder_init(&out, maker->map.arena);
    Value fields = map_builder_done(&maker->map);
    for (size_t i = 0; i < row->as.map.n; i++) {
        const ValuePair *pair = &row->as.map.pairs[i];
        if (!is_shot_field(pair->key) || value_get(&fields, pair->key) == NULL) {
            map_builder_put(&out, pair->key, pair->value);
        }
    }
    for (size_t i = 0; i < fields.as.map.n; i++) {
        map_builder_put(&out, fields.as.map.pairs[i].key, fields.as.map.pairs[i].value);
    }
    return map_builder_done(&out);
}

static bool shot_make(Registry *registry, Task *task, Program *program, const SampleTmpl *tmpl,
                      const ShotSource *source, size_t index, Value *out, Err *err)
{
    struct TaskData *data = task->data;
    size_t row_number = source->kept != NULL ? source->kept[index] : index;
    Value *row = ARENA_NEW(&data->arena, Value);
    if (!rows_get(source->rows, row_number, &data->arena, row, err)) {
        return ERR_WRAP(err, "few_shot");
    }
    ShotMaker maker = {.tmpl = tmpl};
    task_session_init(registry, task, program, (int64_t)row_number, row, &data->arena,
                      &maker.session);
    map_builder_init(&maker.map, &data->arena);
    Value id = value_str(str_printf(&data->arena, "%zu", row_number));
    Err ignored = ERR_INIT; // see shot_put_choices
    if (!tmpl->has_id || tmpl_render(&maker.session, &tmpl->id, &id, &ignored)) {
        shot_put(&maker, "id", id);
    }
    shot_put_fields(&maker);
    Value shot = shot_value(&maker, row);
    *out = value_copy(&data->arena, &shot); // the rows may be closed before the task
    return true;
}

static bool shots_make(Registry *registry, Task *task, Program *program, const SampleTmpl *tmpl,
                       const ShotSource *source, Err *err)
{
    struct TaskData *data = task->data;
    const FewShot *few_shot = &task->variant->few_shot;
    size_t count = few_shot->count > 0 ? (size_t)few_shot->count : source->n;
    size_t wanted = count + (data->leave_own ? 1 : 0);
    if (source->n < wanted || count > SHOTS_MAX) {
        return ERR_SET(err, ERR_CONFIG,
                       STR_FMT ": few_shot takes %zu shots, but there are %zu rows%s",
                       STR_ARG(task->eval->file), count, source->n,
                       data->leave_own ? " and a sample's own is left out" : "");
    }
    Value *items = ARENA_ARRAY(&data->arena, Value, wanted + 1);
    int64_t *rows = ARENA_ARRAY(&data->arena, int64_t, wanted + 1);
    for (size_t i = 0; i < wanted; i++) {
        rows[i] = source->kept != NULL ? (int64_t)source->kept[i] : (int64_t)i;
        if (!shot_make(registry, task, program, tmpl, source, i, &items[i], err)) {
            return false;
        }
    }
    data->shot_items = items;
    data->shot_rows = rows;
    data->n_shot_items = wanted;
    data->n_shots = count;
    return true;
}

/** Render the shots with a program of the sample's templates alone: they are the final one's
 * constants. */
static bool shots_open(Registry *registry, Task *task, Err *err)
{
    struct TaskData *data = task->data;
    Arena scratch = {0};
    ShotSource source;
    EvalVariant bare = *task->variant;
    bare.prompt = value_null();
    bare.messages = value_null();
    SampleTmpl tmpl;
    TmplBuilder builder = {.arena = &scratch, .file = task->eval->file};
    Program *program = NULL;
    bool opened = shot_source_open(registry, task, &data->constants, &source, err);
    bool ok = opened && helpers_push(registry, task->eval, &builder, err);
    sample_tmpl_build(&builder, task->eval, &bare, &tmpl);
    words_of_units(&builder, &scratch, &data->needed, &data->n_needed);
    ok = ok &&
         script_program_create(registry->script, builder.units, builder.n, &data->constants,
                               &program, err) &&
         shots_make(registry, task, program, &tmpl, &source, err);
    script_program_destroy(registry->script, program);
    shot_source_close(registry, &source);
    arena_finish(&scratch);
    return ok;
}

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

static bool graders_open(Registry *registry, Task *task, Arena *arena, Err *err)
{
    const Eval *eval = task->eval;
    TmplBuilder builder = {.arena = arena, .file = eval->file};
    bool templates = false;
    for (size_t i = 0; i < eval->n_graders; i++) {
        const EvalGrader *grader = &eval->graders[i];
        const LuaUnit *unit = NULL;
        if (!registry_unit(registry, UNIT_GRADER, grader->use, eval->dir, &unit, err)) {
            return false;
        }
        ScriptUnit script_unit = script_unit_of(unit, grader->name, grader->params);
        script_unit.grader = grader;
        tmpl_builder_push(&builder, &script_unit, NULL);
        templates = templates || has_templates(unit, &grader->params, &grader->when);
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
        if (!shots_open(registry, task, err)) {
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
