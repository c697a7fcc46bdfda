// SPDX-License-Identifier: MIT
// One row to one Sample: id, input, choices, target, metadata, cluster, then the prompt of the
// variant. The rules of choices and targets (DESIGN.md 4.1) live here. A row that breaks them fails
// with the eval's line and the row's place.
#include "registry/registry_internal.h"

#include <string.h>

// ---- Templates of an eval ----------------------------------------------------------------------

static bool build_if(TmplBuilder *builder, const char *unit, const Value *value, Tmpl *out)
{
    if (value->kind == VALUE_NULL) {
        return false;
    }
    *out = tmpl_build(builder, str_from_c(unit), value);
    return true;
}

/**
 * Templates drop the newline that ends their source; a file keeps it: it is there twice. */
static Value files_verbatim(Arena *arena, const Value *files)
{
    if (files->kind != VALUE_MAP) {
        return *files;
    }
    ValuePair *pairs = ARENA_ARRAY(arena, ValuePair, files->as.map.n + 1);
    for (size_t i = 0; i < files->as.map.n; i++) {
        pairs[i] = files->as.map.pairs[i];
        Value *text = &pairs[i].value;
        if (text->kind == VALUE_STR && str_ends_with(text->as.str, STR("\n"))) {
            text->as.str = str_concat(arena, text->as.str, STR("\n"));
        }
    }
    return value_map(pairs, files->as.map.n);
}

void sample_tmpl_build(TmplBuilder *builder, const Eval *eval, const EvalVariant *variant,
                       SampleTmpl *out)
{
    *out = (SampleTmpl){0};
    out->has_id = build_if(builder, "sample.id", &eval->sample_id, &out->id);
    if (eval->sample_input.kind == VALUE_LIST) {
        out->input_is_messages = true;
        out->input_messages = messages_build(builder, STR("sample.input"), &eval->sample_input);
    } else {
        build_if(builder, "sample.input", &eval->sample_input, &out->input);
    }
    out->has_choices = build_if(builder, "sample.choices", &eval->sample_choices, &out->choices);
    out->has_target = build_if(builder, "sample.target", &eval->sample_target, &out->target);
    out->has_metadata =
        build_if(builder, "sample.metadata", &eval->sample_metadata, &out->metadata);
    out->has_cluster = build_if(builder, "sample.cluster", &eval->sample_cluster, &out->cluster);
    Value files = files_verbatim(builder->arena, &eval->sample_files);
    out->has_files = build_if(builder, "sample.files", &files, &out->files);
    out->has_prompt = build_if(builder, "prompt", &variant->prompt, &out->prompt);
    if (variant->messages.kind == VALUE_LIST) {
        out->has_messages = true;
        out->messages = messages_build(builder, STR("messages"), &variant->messages);
    }
}

// ---- Choices and targets -----------------------------------------------------------------------

static bool choice_of_value(Arena *arena, const Value *value, size_t index, Choice *out, Err *err)
{
    *out = (Choice){.text = STR_EMPTY, .context = STR_EMPTY};
    if (text_of_scalar(arena, value, &out->text)) {
        return true;
    }
    const Value *text = value_get_c(value, "text");
    const Value *context = value_get_c(value, "context");
    out->has_context = context != NULL;
    if (text != NULL && text_of_scalar(arena, text, &out->text) &&
        (context == NULL || text_of_scalar(arena, context, &out->context))) {
        return true;
    }
    return ERR_SET(err, ERR_SCRIPT,
                   "choice %zu has to be text, or a map with context and text, not %s", index,
                   value_kind_word(value));
}

bool sample_choices(Arena *arena, const Value *value, const Choice **out, size_t *out_n, Err *err)
{
    if (value->kind != VALUE_LIST) {
        return ERR_SET(err, ERR_SCRIPT, "choices have to be a list, not %s",
                       value_kind_word(value));
    }
    if (value->as.list.n == 0) {
        return ERR_SET(err, ERR_SCRIPT, "there are no choices");
    }
    Choice *choices = ARENA_ARRAY(arena, Choice, value->as.list.n);
    for (size_t i = 0; i < value->as.list.n; i++) {
        if (!choice_of_value(arena, &value->as.list.items[i], i, &choices[i], err)) {
            return false;
        }
    }
    *out = choices;
    *out_n = value->as.list.n;
    return true;
}

/** The position that one target means: a position from 0, or the exact text of one choice. */
static bool position_of(const Sample *sample, const Value *target, int64_t *out, Err *err)
{
    if (target->kind == VALUE_INT) {
        if (target->as.integer < 0 || (uint64_t)target->as.integer >= sample->n_choices) {
            return ERR_SET(err, ERR_SCRIPT,
                           "target %lld is no position among %zu choices (they count from 0)",
                           (long long)target->as.integer, sample->n_choices);
        }
        *out = target->as.integer;
        return true;
    }
    if (target->kind != VALUE_STR) {
        return ERR_SET(
            err, ERR_SCRIPT,
            "with choices a target is a position from 0 or a choice's exact text, not %s",
            value_kind_word(target));
    }
    size_t n = 0;
    for (size_t i = 0; i < sample->n_choices; i++) {
        if (str_eq(sample->choices[i].text, target->as.str)) {
            *out = (int64_t)i;
            n++;
        }
    }
    if (n == 1) {
        return true;
    }
    return ERR_SET(err, ERR_SCRIPT,
                   "target '" STR_FMT
                   "' is the text of %zu choices, it has to be that of one (a number as "
                   "position: {{ answer | int }})",
                   STR_ARG(str_slice(target->as.str, 0, 200)), n);
}

static bool targets_of_choices(Arena *arena, const Value *items, size_t n, Sample *out, Err *err)
{
    int64_t *correct = ARENA_ARRAY(arena, int64_t, n + 1);
    size_t n_correct = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t position = 0;
        if (!position_of(out, &items[i], &position, err)) {
            return false;
        }
        size_t at = 0;
        while (at < n_correct && correct[at] < position) {
            at++;
        }
        if (at < n_correct && correct[at] == position) {
            continue;
        }
        memmove(correct + at + 1, correct + at, (n_correct - at) * sizeof(*correct));
        correct[at] = position;
        n_correct++;
    }
    Str *texts = ARENA_ARRAY(arena, Str, n_correct + 1);
    for (size_t i = 0; i < n_correct; i++) {
        texts[i] = out->choices[correct[i]].text;
    }
    out->correct = correct;
    out->n_correct = n_correct;
    out->targets = texts;
    out->n_targets = n_correct;
    return true;
}

bool sample_targets(Arena *arena, const Value *value, Sample *out, Err *err)
{
    const Value *items = value->kind == VALUE_LIST ? value->as.list.items : value;
    size_t n = value->kind == VALUE_LIST ? value->as.list.n : 1;
    out->has_target = true;
    if (out->n_choices > 0) {
        return targets_of_choices(arena, items, n, out, err);
    }
    Str *texts = ARENA_ARRAY(arena, Str, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (!text_of_scalar(arena, &items[i], &texts[i])) {
            return ERR_SET(err, ERR_SCRIPT, "a target has to be text, not %s",
                           value_kind_word(&items[i]));
        }
    }
    out->targets = texts;
    out->n_targets = n;
    return true;
}

// ---- The fields --------------------------------------------------------------------------------

static bool render_text(TmplSession *session, const Tmpl *tmpl, const char *what, Str *out,
                        Err *err)
{
    Value value;
    if (!tmpl_render(session, tmpl, &value, err)) {
        return false;
    }
    return text_of_scalar(session->arena, &value, out) ||
           ERR_SET(err, ERR_SCRIPT, "%s has to be text, not %s", what, value_kind_word(&value));
}

static bool render_input(TmplSession *session, const SampleTmpl *tmpl, Sample *out, Err *err)
{
    if (tmpl->input_is_messages) {
        return messages_render(session, &tmpl->input_messages, &out->input, err);
    }
    Str text;
    if (!tmpl_render(session, &tmpl->input, &out->input, err)) {
        return false;
    }
    if (out->input.kind == VALUE_LIST) {
        return true;
    }
    if (!text_of_scalar(session->arena, &out->input, &text)) {
        return ERR_SET(err, ERR_SCRIPT, "input has to be text or a list of messages, not %s",
                       value_kind_word(&out->input));
    }
    out->input = value_str(text);
    return true;
}

/** Path -> text of the files that a sample brings along. */
static bool render_files(TmplSession *session, const Tmpl *tmpl, Value *out, Err *err)
{
    Value files;
    if (!tmpl_render(session, tmpl, &files, err)) {
        return false;
    }
    MapBuilder map;
    map_builder_init(&map, session->arena);
    for (size_t i = 0; i < files.as.map.n; i++) {
        const ValuePair *pair = &files.as.map.pairs[i];
        Str text;
        if (!text_of_scalar(session->arena, &pair->value, &text)) {
            return ERR_SET(err, ERR_SCRIPT, "file '" STR_FMT "' has to be text, not %s",
                           STR_ARG(pair->key), value_kind_word(&pair->value));
        }
        map_builder_put(&map, pair->key, value_str(text));
    }
    *out = map_builder_done(&map);
    return true;
}

bool sample_fields_render(TmplSession *session, const SampleTmpl *tmpl, Sample *out,
                          Value *out_choices, Err *err)
{
    Arena *arena = session->arena;
    Value value;
    *out_choices = value_null();
    if (!render_input(session, tmpl, out, err)) {
        return ERR_WRAP(err, "sample.input");
    }
    if (tmpl->has_choices &&
        (!tmpl_render(session, &tmpl->choices, out_choices, err) ||
         !sample_choices(arena, out_choices, &out->choices, &out->n_choices, err))) {
        return ERR_WRAP(err, "sample.choices");
    }
    if (tmpl->has_target && (!tmpl_render(session, &tmpl->target, &value, err) ||
                             !sample_targets(arena, &value, out, err))) {
        return ERR_WRAP(err, "sample.target");
    }
    out->metadata = value_map(NULL, 0);
    if (tmpl->has_metadata && !tmpl_render(session, &tmpl->metadata, &out->metadata, err)) {
        return ERR_WRAP(err, "sample.metadata");
    }
    if (tmpl->has_cluster) {
        out->has_cluster = true;
        if (!render_text(session, &tmpl->cluster, "cluster", &out->cluster, err)) {
            return ERR_WRAP(err, "sample.cluster");
        }
    }
    if (tmpl->has_files && !render_files(session, &tmpl->files, &out->files, err)) {
        return ERR_WRAP(err, "sample.files");
    }
    return true;
}

/** Says whether the sample's content is the same as another time: never the prompt, never the id.
 */
static Hash sample_hash(const Sample *sample)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.sample.1"));
    hash_value(&sha, &sample->input);
    hash_i64(&sha, (int64_t)sample->n_choices);
    for (size_t i = 0; i < sample->n_choices; i++) {
        hash_bool(&sha, sample->choices[i].has_context);
        hash_str(&sha, sample->choices[i].context);
        hash_str(&sha, sample->choices[i].text);
    }
    hash_bool(&sha, sample->has_target);
    hash_i64(&sha, (int64_t)sample->n_targets);
    for (size_t i = 0; i < sample->n_targets; i++) {
        hash_str(&sha, sample->targets[i]);
    }
    hash_i64(&sha, (int64_t)sample->n_correct);
    for (size_t i = 0; i < sample->n_correct; i++) {
        hash_i64(&sha, sample->correct[i]);
    }
    hash_value(&sha, &sample->metadata);
    hash_bool(&sha, sample->has_cluster);
    hash_str(&sha, sample->cluster);
    hash_value(&sha, &sample->files);
    return hash_end(&sha);
}

// ---- The prompt --------------------------------------------------------------------------------

/** What the prompt sees beyond columns and constants; it hides columns of the same names. */
static bool set_prompt_scope(const Task *task, TmplSession *session, const Sample *sample,
                             const Value *choices, Err *err)
{
    const struct TaskData *data = task->data;
    Value shots;
    session->with_row = false;
    if (!tmpl_session_set(session, STR("id"), value_str(sample->id), err) ||
        !tmpl_session_set(session, STR("input"), sample->input, err) ||
        !tmpl_session_set(session, STR("metadata"), sample->metadata, err)) {
        return false;
    }
    if (data->tmpl.has_choices && !tmpl_session_set(session, STR("choices"), *choices, err)) {
        return false;
    }
    return !task_shots_of(task, sample->row_number, session->arena, &shots) ||
           tmpl_session_set(session, STR("shots"), shots, err);
}

/** One user message of a text. */
static void prompt_of_text(Arena *arena, Str text, Prompt *out)
{
    Message *message = ARENA_NEW(arena, Message);
    *message =
        (Message){.role = STR("user"), .content = text, .name = STR_EMPTY, .extra = value_null()};
    *out = (Prompt){.is_chat = true, .messages = message, .n_messages = 1};
}

static bool prompt_of_list(Arena *arena, const Value *list, Prompt *out, Err *err)
{
    *out = (Prompt){.is_chat = true};
    return messages_of_value(arena, list, &out->messages, &out->n_messages, err);
}

static bool render_prompt(const struct TaskData *data, TmplSession *session, Sample *sample,
                          Err *err)
{
    if (data->tmpl.has_messages) {
        Value list;
        return (messages_render(session, &data->tmpl.messages, &list, err) &&
                prompt_of_list(session->arena, &list, &sample->prompt, err)) ||
               ERR_WRAP(err, "messages");
    }
    if (data->tmpl.has_prompt) {
        return render_text(session, &data->tmpl.prompt, "the prompt", &sample->prompt.text, err) ||
               ERR_WRAP(err, "prompt");
    }
    if (sample->input.kind == VALUE_LIST) {
        return prompt_of_list(session->arena, &sample->input, &sample->prompt, err) ||
               ERR_WRAP(err, "sample.input");
    }
    prompt_of_text(session->arena, sample->input.as.str, &sample->prompt);
    return true;
}

// ---- A sample ----------------------------------------------------------------------------------

/** H64 of what ctx.rng() may depend on: the same for every model and variant. */
uint64_t task_render_seed(const Task *task, Str id)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.render.1"));
    hash_i64(&sha, (int64_t)task->data->seed);
    hash_str(&sha, task->eval->name);
    hash_str(&sha, task->part);
    hash_str(&sha, id);
    Hash hash = hash_end(&sha);
    return hash_u64(&hash);
}

void task_session_init(Registry *registry, const Task *task, Program *program, int64_t row_number,
                       const Value *row, Arena *arena, TmplSession *out)
{
    const struct TaskData *data = task->data;
    *out = (TmplSession){
        .script = registry->script,
        .program = program,
        .constants = &data->constants,
        .needed = data->needed,
        .n_needed = data->n_needed,
        .row = row,
        .row_number = row_number,
        .with_row = true,
        .where = STR_EMPTY,
        .arena = arena,
    };
}

/** The sample's id; one that needs Lua gets a session of its own, since ctx.rng() hangs on it. */
static bool render_id(Registry *registry, const Task *task, int64_t row_number, const Value *row,
                      Arena *arena, Str *out, Err *err)
{
    if (!task->data->tmpl.has_id) {
        *out = str_printf(arena, "%lld", (long long)row_number);
        return true;
    }
    TmplSession session;
    task_session_init(registry, task, task->data->program, row_number, row, arena, &session);
    if (!render_text(&session, &task->data->tmpl.id, "id", out, err)) {
        return ERR_WRAP(err, "sample.id");
    }
    return out->len > 0 || ERR_SET(err, ERR_SCRIPT, "sample.id is empty");
}

int64_t task_row_number(const Task *task, size_t index)
{
    const PartRows *part = task->data->part;
    return part->kept != NULL ? (int64_t)part->kept[index] : (int64_t)index;
}

/** Say where: the eval's file is in the message of a template, the row's place is not. */
static bool sample_failed(const Task *task, int64_t row_number, Err *err)
{
    Arena scratch = {0};
    Str at = rows_place(task->data->part->rows, (size_t)row_number, &scratch);
    ERR_WRAP(err, "eval '" STR_FMT "'%s" STR_FMT ", " STR_FMT, STR_ARG(task->eval->name),
             task->part.len > 0 ? ", part " : "", STR_ARG(task->part), STR_ARG(at));
    arena_finish(&scratch);
    return false;
}

/** The row of a sample. Errors name the eval; the row's place is in them already. */
static bool sample_row(const Task *task, int64_t row_number, Arena *arena, Value *out, Err *err)
{
    return rows_get(task->data->part->rows, (size_t)row_number, arena, out, err) ||
           ERR_WRAP(err, "eval '" STR_FMT "'%s" STR_FMT, STR_ARG(task->eval->name),
                    task->part.len > 0 ? ", part " : "", STR_ARG(task->part));
}

static bool sample_render(Registry *registry, Task *task, int64_t row_number, Arena *arena,
                          Sample *out, Err *err)
{
    struct TaskData *data = task->data;
    if (!render_id(registry, task, row_number, &out->row, arena, &out->id, err)) {
        return false;
    }
    TmplSession session;
    task_session_init(registry, task, data->program, row_number, &out->row, arena, &session);
    session.seed = task_render_seed(task, out->id);
    session.where = out->id;
    Value choices;
    if (!sample_fields_render(&session, &data->tmpl, out, &choices, err) ||
        !set_prompt_scope(task, &session, out, &choices, err)) {
        return false;
    }
    if (!render_prompt(data, &session, out, err)) {
        return task_shots_explain(task, err);
    }
    out->hash = sample_hash(out);
    return true;
}

bool registry_task_sample(Registry *registry, Task *task, size_t index, Arena *arena, Sample *out,
                          Err *err)
{
    if (index >= task->n_samples) {
        return ERR_SET(err, ERR_INTERNAL, "sample %zu of %zu", index, task->n_samples);
    }
    int64_t row_number = task_row_number(task, index);
    *out = (Sample){
        .row_number = row_number,
        .cluster = STR_EMPTY,
        .part_vars = task->vars,
        .part = task->part,
        .variant = task->variant->name,
    };
    return sample_row(task, row_number, arena, &out->row, err) &&
           (sample_render(registry, task, row_number, arena, out, err) ||
            sample_failed(task, row_number, err));
}

// ---- Ids ---------------------------------------------------------------------------------------

/** Hashes of ids seen so far with the sample each belongs to; equal hashes are compared as text. */
typedef struct IdSet {
    uint64_t *hashes; // 0: free
    uint32_t *indices;
    size_t cap;
} IdSet;

bool registry_task_id(Registry *registry, Task *task, size_t index, Arena *arena, Str *out,
                      Err *err)
{
    if (index >= task->n_samples) {
        return ERR_SET(err, ERR_INTERNAL, "sample %zu of %zu", index, task->n_samples);
    }
    int64_t row_number = task_row_number(task, index);
    Value row;
    return sample_row(task, row_number, arena, &row, err) &&
           (render_id(registry, task, row_number, &row, arena, out, err) ||
            sample_failed(task, row_number, err));
}

static bool id_add(Registry *registry, Task *task, IdSet *set, size_t index, Arena *arena, Err *err)
{
    Str id, other;
    if (!registry_task_id(registry, task, index, arena, &id, err)) {
        return false;
    }
    uint64_t hash = hash_fast(id.data, id.len) | 1;
    size_t at = (size_t)(hash >> 1) & (set->cap - 1);
    for (; set->hashes[at] != 0; at = (at + 1) & (set->cap - 1)) {
        if (set->hashes[at] != hash) {
            continue;
        }
        if (!registry_task_id(registry, task, set->indices[at], arena, &other, err)) {
            return false;
        }
        if (str_eq(id, other)) {
            Rows *rows = task->data->part->rows;
            Str a = rows_place(rows, (size_t)task_row_number(task, set->indices[at]), arena);
            Str b = rows_place(rows, (size_t)task_row_number(task, index), arena);
            return ERR_SET(err, ERR_CONFIG,
                           "eval '" STR_FMT "'%s" STR_FMT ": two samples have the id '" STR_FMT
                           "': " STR_FMT " and " STR_FMT,
                           STR_ARG(task->eval->name), task->part.len > 0 ? ", part " : "",
                           STR_ARG(task->part), STR_ARG(id), STR_ARG(a), STR_ARG(b));
        }
    }
    set->hashes[at] = hash;
    set->indices[at] = (uint32_t)index;
    return true;
}

bool registry_task_check_ids(Registry *registry, Task *task, Err *err)
{
    if (!task->data->tmpl.has_id) {
        return true; // row numbers are unique
    }
    IdSet set = {.cap = 64};
    while (set.cap < task->n_samples * 2) {
        set.cap *= 2;
    }
    set.hashes = mem_zalloc(set.cap, sizeof(*set.hashes));
    set.indices = mem_zalloc(set.cap, sizeof(*set.indices));
    Arena arena = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < task->n_samples; i++) {
        ok = id_add(registry, task, &set, i, &arena, err);
        arena_reset(&arena);
    }
    arena_finish(&arena);
    mem_free(set.hashes);
    mem_free(set.indices);
    return ok;
}
