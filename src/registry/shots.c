// SPDX-License-Identifier: MIT
// few_shot: which rows are shots, and what a template sees of them. A shot is a sample plus its
// columns: both are rendered once, with a program of the sample's templates alone, and are
// constants of the program that renders prompts. Shots of the scored rows leave out a sample's own
// row.
#include "registry/registry_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOTS_MAX ((size_t)100000)

/** Where shots come from. */
typedef struct ShotSource {
    Rows *rows;           // held by own_rows or the part
    Rows *own_rows;       // to release
    const uint32_t *kept; // NULL: all
    uint32_t *own_kept;
    size_t n;
} ShotSource;

/** What is shared while the shots of one task are chosen and made. */
typedef struct ShotMaker {
    Registry *registry;
    Task *task;
    ShotSource source;
    Program *program;
    SampleTmpl tmpl;
} ShotMaker;

// ---- The rows to choose from -------------------------------------------------------------------

static void source_of_part(const struct TaskData *data, ShotSource *out)
{
    *out = (ShotSource){.rows = data->part->rows, .kept = data->part->kept, .n = data->part->n};
}

static bool source_of_split(Registry *registry, Task *task, ShotSource *out, Err *err)
{
    struct TaskData *data = task->data;
    const FewShot *few_shot = &task->variant->few_shot;
    const Dataset *dataset = NULL;
    if (!registry_dataset(registry, task->eval->dataset_use, &dataset, err)) {
        return false;
    }
    data->leave_own = str_eq(few_shot->split, eval_split_name(task->eval, dataset));
    if (data->leave_own) {
        source_of_part(data, out);
        return true;
    }
    if (!split_rows_open(registry, dataset, few_shot->split, data->part->dataset_part,
                         &out->own_rows, err)) {
        return false;
    }
    out->rows = out->own_rows;
    // `where` keeps rows of the dataset, in whichever split: shots are of the same kind as samples.
    bool all = few_shot->seeded || few_shot->count < 0 || few_shot->ids.kind == VALUE_LIST;
    size_t at_most = all ? SIZE_MAX : few_shot->count == 0 ? 1 : (size_t)few_shot->count;
    if (!where_apply(registry, task->eval, &data->constants, out->rows, at_most, &out->own_kept,
                     &out->n, err)) {
        return false;
    }
    out->kept = out->own_kept;
    return true;
}

static bool source_open(Registry *registry, Task *task, ShotSource *out, Err *err)
{
    struct TaskData *data = task->data;
    const FewShot *few_shot = &task->variant->few_shot;
    *out = (ShotSource){0};
    if (few_shot->rows.kind == VALUE_LIST) {
        out->own_rows = out->rows = rows_of_list(&few_shot->rows);
        out->n = out->rows->n;
        return true;
    }
    bool scored_file = few_shot->path.len > 0 && str_eq(few_shot->path, task->eval->dataset_path);
    bool scored_ids = few_shot->ids.kind == VALUE_LIST && few_shot->split.len == 0;
    if (scored_ids || scored_file) {
        data->leave_own = true;
        source_of_part(data, out);
        return true;
    }
    if (few_shot->path.len > 0) {
        if (!path_rows_open(registry, task->eval, few_shot->path, false, &out->own_rows, err)) {
            return false;
        }
        out->rows = out->own_rows;
        out->n = out->rows->n;
        return true;
    }
    return source_of_split(registry, task, out, err);
}

static void source_close(Registry *registry, ShotSource *source)
{
    rows_release(registry, source->own_rows);
    mem_free(source->own_kept);
}

static size_t row_number_of(const ShotSource *source, size_t index)
{
    return source->kept != NULL ? source->kept[index] : index;
}

// ---- Which of them -----------------------------------------------------------------------------

/** The id that a row has as a sample; its number where sample.id does not fit these rows. */
static Str row_id(const ShotMaker *maker, size_t row_number, const Value *row, Arena *arena)
{
    Value value;
    Str id;
    Err ignored = ERR_INIT; // shots may have other columns than samples
    if (maker->tmpl.has_id) {
        TmplSession session;
        task_session_init(maker->registry, maker->task, maker->program, (int64_t)row_number, row,
                          arena, &session);
        if (tmpl_render(&session, &maker->tmpl.id, &value, &ignored) &&
            text_of_scalar(arena, &value, &id)) {
            return id;
        }
    }
    return str_printf(arena, "%zu", row_number);
}

/** One row with what `seeded` orders by. */
typedef struct Drawn {
    uint64_t key;
    size_t index;
} Drawn;

static int compare_drawn(const void *a, const void *b)
{
    const Drawn *x = a, *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

/** H64(seed, eval, part, row id). */
static uint64_t draw_key(const Task *task, Str id)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.shot.1"));
    hash_i64(&sha, (int64_t)task->data->seed);
    hash_str(&sha, task->eval->name);
    hash_str(&sha, task->part);
    hash_str(&sha, id);
    Hash hash = hash_end(&sha);
    return hash_u64(&hash);
}

/** Put picks (indices into the source) into the order of `seeded`. */
static bool picks_draw(const ShotMaker *maker, size_t *picks, size_t n, Err *err)
{
    Arena arena = {0};
    Drawn *drawn = mem_alloc(n + 1, sizeof(*drawn));
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        size_t row_number = row_number_of(&maker->source, picks[i]);
        Value row;
        ok = rows_get(maker->source.rows, row_number, &arena, &row, err);
        if (ok) {
            Str id = row_id(maker, row_number, &row, &arena);
            drawn[i] = (Drawn){draw_key(maker->task, id), picks[i]};
        }
        arena_reset(&arena);
    }
    if (ok) {
        qsort(drawn, n, sizeof(*drawn), compare_drawn);
    }
    for (size_t i = 0; ok && i < n; i++) {
        picks[i] = drawn[i].index;
    }
    mem_free(drawn);
    arena_finish(&arena);
    return ok;
}

/** Which of the listed ids this is; n: none. */
static size_t listed_at(const Value *ids, Str id)
{
    Arena scratch = {0};
    size_t i = 0;
    for (; i < ids->as.list.n; i++) {
        Str text = STR_EMPTY;
        if (text_of_scalar(&scratch, &ids->as.list.items[i], &text) && str_eq(text, id)) {
            break;
        }
    }
    arena_finish(&scratch);
    return i;
}

/** The rows that `ids` names, in its order. */
static bool picks_of_ids(const ShotMaker *maker, size_t *picks, Err *err)
{
    const Value *ids = &maker->task->variant->few_shot.ids;
    size_t n = ids->as.list.n, n_found = 0;
    for (size_t i = 0; i < n; i++) {
        picks[i] = SIZE_MAX;
    }
    Arena arena = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < maker->source.n && n_found < n; i++) {
        size_t row_number = row_number_of(&maker->source, i);
        Value row;
        ok = rows_get(maker->source.rows, row_number, &arena, &row, err);
        size_t at = ok ? listed_at(ids, row_id(maker, row_number, &row, &arena)) : n;
        if (at < n && picks[at] == SIZE_MAX) {
            picks[at] = i;
            n_found++;
        }
        arena_reset(&arena);
    }
    for (size_t i = 0; ok && i < n; i++) {
        Str id = STR_EMPTY;
        if (picks[i] == SIZE_MAX && text_of_scalar(&arena, &ids->as.list.items[i], &id)) {
            ok = ERR_SET(err, ERR_CONFIG,
                         STR_FMT ":%u: few_shot: no row%s" STR_FMT " has the id '" STR_FMT "'",
                         STR_ARG(maker->task->eval->file), ids->as.list.items[i].line,
                         maker->task->part.len > 0 ? " of part " : "", STR_ARG(maker->task->part),
                         STR_ARG(id));
        }
    }
    arena_finish(&arena);
    return ok;
}

/** How many shots a sample gets, and how many have to be at hand. */
static bool picks_count(const ShotMaker *maker, size_t n, size_t *out_count, size_t *out_wanted,
                        Err *err)
{
    const struct TaskData *data = maker->task->data;
    const FewShot *few_shot = &maker->task->variant->few_shot;
    *out_count = few_shot->count >= 0 ? (size_t)few_shot->count : n;
    bool spare = data->leave_own && few_shot->count > 0;
    *out_wanted = *out_count + (spare ? 1 : 0);
    return (*out_wanted <= n && *out_count <= SHOTS_MAX) ||
           ERR_SET(err, ERR_CONFIG, STR_FMT ": few_shot takes %zu shots, but there are %zu rows%s",
                   STR_ARG(maker->task->eval->file), *out_count, n,
                   data->leave_own ? " and a sample's own is left out" : "");
}

// ---- What a shot holds -------------------------------------------------------------------------

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

/** The fields of one shot while they are rendered. A field that fails is absent: only a template
 * that uses it is at fault, and then the first such failure is part of its message. */
typedef struct ShotFields {
    TmplSession session;
    const SampleTmpl *tmpl;
    MapBuilder map;
    Err failed;
    const char *failed_field;
} ShotFields;

static void field_put(ShotFields *fields, const char *key, Value value)
{
    map_builder_put(&fields->map, str_from_c(key), value);
}

static void field_failed(ShotFields *fields, const char *field, const Err *err)
{
    if (fields->failed_field == NULL) {
        fields->failed_field = field;
        fields->failed = *err;
    }
}

static bool put_choices(ShotFields *fields, Sample *sample)
{
    Arena *arena = fields->session.arena;
    Err err = ERR_INIT;
    Value value;
    if (!fields->tmpl->has_choices) {
        return true;
    }
    if (!tmpl_render(&fields->session, &fields->tmpl->choices, &value, &err) ||
        !sample_choices(arena, &value, &sample->choices, &sample->n_choices, &err)) {
        field_failed(fields, "choices", &err);
        return false;
    }
    field_put(fields, "choices", value);
    return true;
}

static void put_target(ShotFields *fields, Sample *sample)
{
    Arena *arena = fields->session.arena;
    Err err = ERR_INIT;
    Value value;
    if (!fields->tmpl->has_target) {
        return;
    }
    if (!tmpl_render(&fields->session, &fields->tmpl->target, &value, &err) ||
        !sample_targets(arena, &value, sample, &err)) {
        field_failed(fields, "target", &err);
        return;
    }
    if (sample->n_targets > 0) {
        field_put(fields, "target", value_of_texts(arena, sample->targets, sample->n_targets));
    }
    if (sample->n_correct > 0) {
        char buf[8];
        Str letter = choice_letter(sample->correct[0], buf);
        field_put(fields, "letter", value_str(str_copy(arena, letter)));
    }
}

static void put_fields(ShotFields *fields)
{
    Sample sample = {0};
    Value value;
    Str text;
    TmplSession *session = &fields->session;
    Err err = ERR_INIT;
    if (fields->tmpl->input_is_messages
            ? messages_render(session, &fields->tmpl->input_messages, &value, &err)
            : tmpl_render(session, &fields->tmpl->input, &value, &err)) {
        bool scalar = text_of_scalar(session->arena, &value, &text);
        field_put(fields, "input", scalar ? value_str(text) : value);
    } else {
        field_failed(fields, "input", &err);
    }
    if (put_choices(fields, &sample)) {
        put_target(fields, &sample);
    }
    err = (Err)ERR_INIT;
    if (fields->tmpl->has_metadata) {
        if (tmpl_render(session, &fields->tmpl->metadata, &value, &err)) {
            field_put(fields, "metadata", value);
        } else {
            field_failed(fields, "metadata", &err);
        }
    }
}

static bool is_shot_field(Str name)
{
    static const char *const fields[] = {"id",     "input",    "choices", "target",
                                         "letter", "metadata", NULL};
    return keys_word_in(fields, name);
}

/** A sample plus its columns; a field hides the column of its name where it could be rendered. */
static Value shot_value(ShotFields *fields, const Value *row)
{
    MapBuilder out;
    map_builder_init(&out, fields->map.arena);
    Value own = map_builder_done(&fields->map);
    for (size_t i = 0; i < row->as.map.n; i++) {
        const ValuePair *pair = &row->as.map.pairs[i];
        if (!is_shot_field(pair->key) || value_get(&own, pair->key) == NULL) {
            map_builder_put(&out, pair->key, pair->value);
        }
    }
    for (size_t i = 0; i < own.as.map.n; i++) {
        map_builder_put(&out, own.as.map.pairs[i].key, own.as.map.pairs[i].value);
    }
    return map_builder_done(&out);
}

static bool shot_make(const ShotMaker *maker, size_t row_number, Value *out, Err *err)
{
    struct TaskData *data = maker->task->data;
    Arena scratch = {0}; // the rows may be closed before the task: what stays is copied
    Value row;
    if (!rows_get(maker->source.rows, row_number, &scratch, &row, err)) {
        arena_finish(&scratch);
        return ERR_WRAP(err, "few_shot");
    }
    ShotFields fields = {.tmpl = &maker->tmpl, .failed = ERR_INIT};
    Str id = row_id(maker, row_number, &row, &scratch);
    task_session_init(maker->registry, maker->task, maker->program, (int64_t)row_number, &row,
                      &scratch, &fields.session);
    fields.session.seed = task_render_seed(maker->task, id);
    map_builder_init(&fields.map, &scratch);
    field_put(&fields, "id", value_str(id));
    put_fields(&fields);
    Value shot = shot_value(&fields, &row);
    *out = value_copy(&data->arena, &shot);
    if (fields.failed_field != NULL && data->shot_fault.len == 0) {
        data->shot_fault = str_printf(&data->arena, "shot " STR_FMT " has no %s: %s", STR_ARG(id),
                                      fields.failed_field, fields.failed.message);
    }
    arena_finish(&scratch);
    return true;
}

// ---- The whole ---------------------------------------------------------------------------------

static bool shots_make(const ShotMaker *maker, Err *err)
{
    struct TaskData *data = maker->task->data;
    const FewShot *few_shot = &maker->task->variant->few_shot;
    bool by_id = few_shot->ids.kind == VALUE_LIST;
    size_t n = by_id ? few_shot->ids.as.list.n : maker->source.n;
    size_t count = 0, wanted = 0;
    size_t *picks = mem_alloc(n + 1, sizeof(*picks));
    bool ok = picks_count(maker, n, &count, &wanted, err);
    for (size_t i = 0; i < n; i++) {
        picks[i] = i;
    }
    ok = ok && (!by_id || picks_of_ids(maker, picks, err)) &&
         (!few_shot->seeded || picks_draw(maker, picks, n, err));
    if (ok) {
        Value *items = ARENA_ARRAY(&data->arena, Value, wanted + 1);
        int64_t *rows = ARENA_ARRAY(&data->arena, int64_t, wanted + 1);
        for (size_t i = 0; ok && i < wanted; i++) {
            rows[i] = (int64_t)row_number_of(&maker->source, picks[i]);
            ok = shot_make(maker, (size_t)rows[i], &items[i], err);
        }
        data->shot_items = items;
        data->shot_rows = rows;
        data->n_shot_items = wanted;
        data->n_shots = count;
    }
    mem_free(picks);
    return ok;
}

bool task_shots_open(Registry *registry, Task *task, Err *err)
{
    struct TaskData *data = task->data;
    Arena scratch = {0};
    ShotMaker maker = {.registry = registry, .task = task};
    EvalVariant bare = *task->variant; // the sample's templates, without those that use shots
    bare.prompt = value_null();
    bare.messages = value_null();
    TmplBuilder builder = {.arena = &scratch, .file = task->eval->file};
    bool ok = source_open(registry, task, &maker.source, err) &&
              helpers_push(registry, task->eval, &builder, err);
    sample_tmpl_build(&builder, task->eval, &bare, &maker.tmpl);
    words_of_units(&builder, &scratch, &data->needed, &data->n_needed);
    ok = ok &&
         script_program_create(registry->script, builder.units, builder.n, &data->constants,
                               &maker.program, err) &&
         shots_make(&maker, err);
    script_program_destroy(registry->script, maker.program);
    source_close(registry, &maker.source);
    arena_finish(&scratch);
    return ok;
}

static bool own_row_is_shot(const struct TaskData *data, int64_t row_number)
{
    for (size_t i = 0; data->leave_own && i < data->n_shots; i++) {
        if (data->shot_rows[i] == row_number) {
            return true;
        }
    }
    return false;
}

bool task_shots_of(const Task *task, int64_t row_number, Arena *arena, Value *out)
{
    const struct TaskData *data = task->data;
    if (!own_row_is_shot(data, row_number)) {
        return false;
    }
    Value *items = ARENA_ARRAY(arena, Value, data->n_shots + 1);
    size_t n = 0;
    for (size_t i = 0; i < data->n_shot_items && n < data->n_shots; i++) {
        if (data->shot_rows[i] != row_number) {
            items[n++] = data->shot_items[i];
        }
    }
    *out = value_list(items, n);
    return true;
}

bool task_shots_explain(const Task *task, Err *err)
{
    Str fault = task->data->shot_fault, message = str_from_c(err->message);
    bool lacks = str_find(message, STR("undefined"), 0) != STR_NONE ||
                 str_find(message, STR("has no attribute"), 0) != STR_NONE;
    if (fault.len > 0 && lacks) {
        snprintf(err->message + message.len, sizeof(err->message) - message.len, " (" STR_FMT ")",
                 STR_ARG(fault));
    }
    return false;
}
