// SPDX-License-Identifier: MIT
// The checks of an eval that need its data: every row is rendered, ids are unique, columns that the
// sample's fields hide, the examples of its Lua. Faults are listed row by row up to a cap, then
// counted. Data that is not on this disk is no fault: a warning says that nothing was checked.
#include "registry/check_rows.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS_SHOWN_BYTES 160

/** Fields of a sample, which hide columns of their names from prompts and graders. */
static const char *const fields[] = {"id", "input", "choices", "metadata", "shots", NULL};

bool check_list_one(Listed *listed, const Value *at)
{
    if (listed->n == 0 && at != NULL) {
        listed->first = check_place(at->line, at->col);
    }
    return ++listed->n <= CHECK_LISTED_MAX;
}

static void list_rest(RowCheck *check, const Listed *listed, const char *what)
{
    if (listed->n > CHECK_LISTED_MAX) {
        faults_add(check->faults, check->eval->file, listed->first.line, listed->first.col, false,
                   "rows", "%zu more %s", listed->n - CHECK_LISTED_MAX, what);
    }
}

/** Whether a message was listed before: variants share most of their templates. */
static bool seen_before(RowCheck *check, Str message)
{
    return !seen_add(&check->seen, hash_fast(message.data, message.len));
}

// ---- A rendered sample -------------------------------------------------------------------------

static bool is_blank(Str text)
{
    return str_trim(text).len == 0;
}

static bool prompt_is_empty(const Sample *sample)
{
    for (size_t i = 0; i < sample->n_choices; i++) {
        if (sample->choices[i].has_context && !is_blank(sample->choices[i].context)) {
            return false;
        }
    }
    if (!sample->prompt.is_chat) {
        return is_blank(sample->prompt.text);
    }
    for (size_t i = 0; i < sample->prompt.n_messages; i++) {
        const Message *message = &sample->prompt.messages[i];
        if (!is_blank(message->content) || message->extra.kind == VALUE_MAP) {
            return false;
        }
    }
    return true;
}

static bool target_is_empty(const Sample *sample)
{
    for (size_t i = 0; i < sample->n_targets; i++) {
        if (!is_blank(sample->targets[i])) {
            return false;
        }
    }
    return sample->has_target;
}

static bool is_correct(const Sample *sample, size_t position)
{
    for (size_t i = 0; i < sample->n_correct; i++) {
        if ((size_t)sample->correct[i] == position) {
            return true;
        }
    }
    return false;
}

static bool equal_choices_differ(const Sample *sample)
{
    for (size_t i = 0; sample->n_correct > 0 && i < sample->n_choices; i++) {
        for (size_t k = 0; k < i; k++) {
            if (str_eq(sample->choices[i].text, sample->choices[k].text) &&
                str_eq(sample->choices[i].context, sample->choices[k].context) &&
                is_correct(sample, i) != is_correct(sample, k)) {
                return true;
            }
        }
    }
    return false;
}

/** A column that prompts and graders can not see, because a field of the sample has its name. */
static void check_hidden(RowCheck *check, const Sample *sample)
{
    Arena *arena = &check->arena;
    for (size_t i = 0; fields[i] != NULL; i++) {
        Str name = str_from_c(fields[i]), text;
        const Value *column = value_get(&sample->row, name);
        if (column == NULL || !name_in(name, check->read.names, check->read.n)) {
            continue;
        }
        Value field = value_null(); // shots: never the same
        if (str_eq_c(name, "id")) {
            field = value_str(sample->id);
        } else if (str_eq_c(name, "input")) {
            field = sample->input;
        } else if (str_eq_c(name, "metadata")) {
            field = sample->metadata;
        } else if (str_eq_c(name, "choices")) {
            Value *texts = ARENA_ARRAY(arena, Value, sample->n_choices + 1);
            for (size_t k = 0; k < sample->n_choices; k++) {
                texts[k] = value_str(sample->choices[k].text);
            }
            field = value_list(texts, sample->n_choices);
        }
        bool same = value_equal(column, &field) ||
                    (field.kind == VALUE_STR && text_of_scalar(arena, column, &text) &&
                     str_eq(text, field.as.str));
        check->n_hidden[i] += !same;
    }
}

static void row_fault(RowCheck *check, const Task *task, size_t index, const Value *at,
                      const char *what)
{
    Str place =
        rows_place(task->data->part->rows, (size_t)task_row_number(task, index), &check->arena);
    Str message =
        str_printf(&check->arena, "%s%s" STR_FMT ": " STR_FMT, what,
                   task->part.len > 0 ? " in part " : "", STR_ARG(task->part), STR_ARG(place));
    if (!seen_before(check, message) && check_list_one(&check->rendering, at)) {
        faults_add(check->faults, check->eval->file, at->line, at->col, false, "rows", STR_FMT,
                   STR_ARG(message));
    }
}

/** What an error of opening a part is about: few_shot, where, or the data. */
static const Value *opening_place(const Eval *eval, const EvalVariant *variant, Str message)
{
    static const char *const keys[] = {"part", "path", "use", "rows"};
    const Value *dataset = value_get_c(&eval->source, "dataset");
    if (str_find(message, STR("few_shot"), 0) != STR_NONE) {
        const Value *own = check_few_shot_place(eval, variant, NULL);
        const Value *ids = value_get_c(own, "ids");
        for (size_t i = 0; ids != NULL && ids->kind == VALUE_LIST && i < ids->as.list.n; i++) {
            Str text =
                ids->as.list.items[i].kind == VALUE_STR ? ids->as.list.items[i].as.str : STR_EMPTY;
            size_t at = text.len > 0 ? str_find(message, text, 0) : STR_NONE;
            if (at != STR_NONE && at > 0 && message.data[at - 1] == '\'') {
                return &ids->as.list.items[i];
            }
        }
        return own;
    }
    if (str_find(message, STR("where"), 0) != STR_NONE && eval->where.kind != VALUE_NULL) {
        return &eval->where;
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (value_get_c(dataset, keys[i]) != NULL) {
            return value_get_c(dataset, keys[i]);
        }
    }
    return dataset;
}

/** The value of the eval that a rendering error is about. */
static const Value *failed_field(const Task *task, Str message, bool *out_prompt)
{
    const Eval *eval = task->eval;
    const struct {
        const char *word;
        const Value *value;
        bool prompt;
    } words[] = {
        {"sample.id: ", &eval->sample_id, false},
        {"sample.input: ", &eval->sample_input, false},
        {"sample.choices: ", &eval->sample_choices, false},
        {"sample.target: ", &eval->sample_target, false},
        {"sample.metadata: ", &eval->sample_metadata, false},
        {"sample.cluster: ", &eval->sample_cluster, false},
        {"sample.files: ", &eval->sample_files, false},
        {"prompt: ", &task->variant->prompt, true},
        {"messages: ", &task->variant->messages, true},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_find(message, str_from_c(words[i].word), 0) != STR_NONE) {
            *out_prompt = words[i].prompt;
            return words[i].value;
        }
    }
    return NULL;
}

/** The name in "'NAME' is undefined" at the end of a message. */
static bool undefined_name(Str message, Str *out)
{
    Str mark = STR("' is undefined");
    size_t end = str_find(message, mark, 0);
    size_t start = end;
    while (end != STR_NONE && start > 0 && message.data[start - 1] != '\'') {
        start--;
    }
    if (end == STR_NONE || start == 0 || end + mark.len != message.len) {
        return false;
    }
    *out = str_slice(message, start, end);
    return schema_is_ident(*out);
}

/** The text of a tree whose template reads a name first; the tree itself when none is found. */
static Value place_in_tree(const Value *tree, Str name)
{
    Value found = *tree;
    size_t n = tree->kind == VALUE_LIST  ? tree->as.list.n
               : tree->kind == VALUE_MAP ? tree->as.map.n
                                         : 0;
    if (tree->kind == VALUE_STR) {
        return check_name_place(tree, name);
    }
    for (size_t i = 0; i < n; i++) {
        const Value *item =
            tree->kind == VALUE_LIST ? &tree->as.list.items[i] : &tree->as.map.pairs[i].value;
        Value at = place_in_tree(item, name);
        if (at.line != item->line || at.col != item->col) {
            return at;
        }
    }
    return found;
}

/** "; the row has a, b": what a row's columns are called, or "" when they are too many to read. */
static Str columns_text(Arena *arena, const NameSet *columns)
{
    Str text = STR_EMPTY;
    for (size_t i = 0; i < columns->n; i++) {
        text = str_printf(arena, STR_FMT "%s'" STR_FMT "'", STR_ARG(text),
                          i == 0 ? "; the row has " : ", ", STR_ARG(columns->names[i]));
        if (text.len > COLUMNS_SHOWN_BYTES) {
            return STR_EMPTY;
        }
    }
    return text;
}

/** A variable that a row lacks: counted, since most often all rows do. */
static void missing_add(RowCheck *check, const Task *task, size_t index, const Sample *sample,
                        const Value *field, bool prompt, Str name)
{
    Value at = place_in_tree(field, name);
    for (size_t i = 0; i < check->n_missing; i++) {
        MissingName *missing = &check->missing[i];
        if (str_eq(missing->name, name) && missing->place.line == at.line &&
            missing->place.col == at.col) {
            missing->n += missing->variant == task->variant;
            return;
        }
    }
    if (check->n_missing == CHECK_MISSING_MAX) {
        return;
    }
    NameSet known = {.arena = &check->kept};
    for (size_t i = 0; sample->row.kind == VALUE_MAP && i < sample->row.as.map.n; i++) {
        name_set_add(&known, sample->row.as.map.pairs[i].key);
    }
    Str columns = columns_text(&check->kept, &known);
    for (size_t i = 0; i < task->vars.as.map.n; i++) {
        name_set_add(&known, task->vars.as.map.pairs[i].key);
    }
    for (size_t i = 0; prompt && fields[i] != NULL; i++) {
        name_set_add(&known, str_from_c(fields[i]));
    }
    Str row =
        rows_place(task->data->part->rows, (size_t)task_row_number(task, index), &check->kept);
    Str hint = schema_did_you_mean(&check->kept, name, known.names, known.n);
    check->missing[check->n_missing++] = (MissingName){.name = str_copy(&check->kept, name),
                                                       .place = check_place(at.line, at.col),
                                                       .variant = task->variant,
                                                       .first_row = row,
                                                       .hint = hint.len > 0 ? hint : columns,
                                                       .n = 1};
}

static void list_missing(RowCheck *check)
{
    for (size_t i = 0; i < check->n_missing; i++) {
        const MissingName *missing = &check->missing[i];
        faults_add(check->faults, check->eval->file, missing->place.line, missing->place.col, false,
                   "unknown-variable",
                   "unknown variable '" STR_FMT "' in %zu row%s, " STR_FMT "%s" STR_FMT,
                   STR_ARG(missing->name), missing->n, missing->n == 1 ? "" : "s",
                   STR_ARG(missing->first_row), missing->n == 1 ? "" : " the first",
                   STR_ARG(missing->hint));
    }
}

/** Report an Err, once, without the eval's name, which the fault's file says already. */
static void fault_of_cause(RowCheck *check, const Value *at, const Err *cause)
{
    static const char *const ends[] = {"', ", "': "};
    Err shown = *cause;
    Str message = str_from_c(cause->message);
    for (size_t i = 0; i < 2; i++) {
        Str eval =
            str_printf(&check->arena, "eval '" STR_FMT "%s", STR_ARG(check->eval->name), ends[i]);
        size_t found = str_find(message, eval, 0);
        if (found != STR_NONE) {
            message = str_concat(&check->arena, str_slice(message, 0, found),
                                 str_slice(message, found + eval.len, message.len));
        }
    }
    if (seen_before(check, message) || !check_list_one(&check->rendering, at)) {
        return;
    }
    snprintf(shown.message, sizeof(shown.message), STR_FMT, STR_ARG(message));
    fault_of_err(check->faults, check->eval->file, at, "rows", &shown);
}

static void rendering_failed(RowCheck *check, const Task *task, size_t index, const Sample *sample,
                             const Err *err)
{
    Str message = str_from_c(err->message), name;
    bool prompt = false;
    const Value *field = failed_field(task, message, &prompt);
    if (field != NULL && undefined_name(message, &name)) {
        missing_add(check, task, index, sample, field, prompt, name);
        return;
    }
    const Value *at = field != NULL ? field : opening_place(check->eval, task->variant, STR_EMPTY);
    fault_of_cause(check, at, err);
}

void check_damaged_row(RowCheck *check, Str part, const Err *cause)
{
    Err err = *cause;
    if (part.len > 0) {
        ERR_WRAP(&err, "part " STR_FMT, STR_ARG(part));
    }
    const EvalVariant *variant = &check->eval->variants[0];
    fault_of_cause(check, opening_place(check->eval, variant, STR_EMPTY), &err);
}

static void check_sample(RowCheck *check, Task *task, size_t index)
{
    Sample sample = {.row = value_null()};
    Err err = ERR_INIT;
    if (!registry_task_sample(check->registry, task, index, &check->arena, &sample, &err)) {
        rendering_failed(check, task, index, &sample, &err);
        return;
    }
    if (prompt_is_empty(&sample) && script_program_asks(task->solver_program)) {
        const EvalVariant *variant = task->variant;
        const Value *at = variant->prompt.kind != VALUE_NULL     ? &variant->prompt
                          : variant->messages.kind != VALUE_NULL ? &variant->messages
                                                                 : &check->eval->sample_input;
        row_fault(check, task, index, at, "the prompt is empty");
    }
    if (check->needs_target && target_is_empty(&sample)) {
        row_fault(check, task, index, &check->eval->sample_target, "the target is empty");
    }
    if (check->first_variant) {
        check->n_equal_choices += equal_choices_differ(&sample);
        check_hidden(check, &sample);
    }
}

static void check_task(RowCheck *check, Task *task)
{
    size_t n = task->n_samples;
    if (check->max_rows > 0 && check->max_rows < n) {
        n = check->max_rows;
    }
    for (size_t i = 0; i < n; i++) {
        check_sample(check, task, i);
        arena_reset(&check->arena);
    }
    Err err = ERR_INIT;
    Str unknown; // is listed already, with the number of rows
    if (check->first_variant && !registry_task_check_ids(check->registry, task, &err) &&
        !undefined_name(str_from_c(err.message), &unknown)) {
        fault_of_cause(check, &check->eval->sample_id, &err);
    }
}

// ---- Data that can not be opened ---------------------------------------------------------------

/** Whether all files of the eval's dataset are here, so that what is not found is a fault. */
static bool data_is_here(Registry *registry, const Eval *eval)
{
    const Dataset *dataset = NULL;
    Err err = ERR_INIT;
    if (eval->dataset_use.len == 0 ||
        !registry_dataset(registry, eval->dataset_use, &dataset, &err)) {
        return true;
    }
    for (size_t i = 0; i < dataset->files.n_files; i++) {
        Str ignored;
        if (!registry_file_locate(registry, &dataset->files, &dataset->files.files[i], &ignored)) {
            return false;
        }
    }
    return true;
}

/** Report why a part could not be opened. *skipped: because its data is not here. fails ERR_IO. */
static bool opening_failed(RowCheck *check, const EvalVariant *variant, const Err *cause,
                           bool *skipped, Err *err)
{
    const Eval *eval = check->eval;
    Str message = str_from_c(cause->message);
    const Value *at = opening_place(eval, variant, message);
    if (cause->code == ERR_IO) {
        *err = *cause;
        return false;
    }
    if (cause->code == ERR_NOT_FOUND && !data_is_here(check->registry, eval)) {
        if (!*skipped) {
            faults_add(check->faults, eval->file, at->line, at->col, true, "not-checked",
                       "not checked: %s", cause->message);
        }
        *skipped = true;
    } else {
        fault_of_cause(check, at, cause);
    }
    return true;
}

static bool check_cells(RowCheck *check, const MatrixCell *cells, size_t n_cells, bool *whole,
                        Err *err)
{
    bool skipped = false;
    for (size_t v = 0; v < check->eval->n_variants; v++) {
        const EvalVariant *variant = &check->eval->variants[v];
        check->first_variant = v == 0;
        for (size_t i = 0; i < n_cells; i++) {
            Task *task = NULL;
            Err cause = ERR_INIT;
            if (registry_task_open(check->registry, check->eval, cells[i].name, variant, 0, &task,
                                   &cause)) {
                check_task(check, task);
                registry_task_close(check->registry, task);
                continue;
            }
            *whole = false;
            if (!opening_failed(check, variant, &cause, &skipped, err)) {
                return false;
            }
        }
    }
    return true;
}

// ---- The whole ---------------------------------------------------------------------------------

static bool needs_target(Registry *registry, const Eval *eval)
{
    for (size_t i = 0; i < eval->n_graders; i++) {
        const LuaUnit *unit = NULL;
        Err ignored = ERR_INIT; // a fault of the eval, found already
        if (!registry_unit(registry, UNIT_GRADER, eval->graders[i].use, eval->dir, &unit,
                           &ignored)) {
            continue;
        }
        for (size_t k = 0; k < unit->info.n_needs; k++) {
            if (str_eq_c(unit->info.needs[k], "target")) {
                return true;
            }
        }
    }
    return false;
}

/** The fields of the sample that templates outside of `sample` read. */
static void read_fields(RowCheck *check)
{
    const Eval *eval = check->eval;
    check->read.arena = &check->kept;
    for (size_t i = 0; i < eval->n_variants; i++) {
        check_reads(check->registry, eval, &eval->variants[i].prompt, &check->read);
        check_reads(check->registry, eval, &eval->variants[i].messages, &check->read);
    }
    for (size_t i = 0; i < eval->n_graders; i++) {
        check_reads(check->registry, eval, &eval->graders[i].when, &check->read);
        check_reads(check->registry, eval, &eval->graders[i].params, &check->read);
    }
}

static void warn_counts(RowCheck *check)
{
    const Eval *eval = check->eval;
    if (check->n_equal_choices > 0) {
        faults_add(check->faults, eval->file, eval->sample_choices.line, eval->sample_choices.col,
                   true, "equal-choices", "%zu row%s equal choices of which only some are right",
                   check->n_equal_choices, check->n_equal_choices == 1 ? " has" : "s have");
    }
    for (size_t i = 0; fields[i] != NULL; i++) {
        if (check->n_hidden[i] > 0) {
            Value at = name_set_place(&check->read, str_from_c(fields[i]), &eval->sample_input);
            faults_add(check->faults, eval->file, at.line, at.col, true, "hidden-column",
                       "'%s' is the sample's here; the column of that name differs in %zu row%s",
                       fields[i], check->n_hidden[i], check->n_hidden[i] == 1 ? "" : "s");
        }
    }
}

/** Run the examples of a unit; each one that fails is a fault where the eval names it.
 */
static void check_examples(RowCheck *check, UnitKind kind, Str name, uint32_t line, uint32_t col)
{
    Arena arena = {0};
    const LuaUnit *unit = NULL;
    size_t n_run = 0;
    Str failures = STR_EMPTY, failure;
    Err err = ERR_INIT;
    bool ok = registry_unit(check->registry, kind, name, check->eval->dir, &unit, &err) &&
              script_unit_examples(check->registry->script, kind, unit->file, unit->text, &arena,
                                   &n_run, &failures, &err);
    for (LuaUnit *one = check->registry->units; unit != NULL && one != NULL; one = one->next) {
        one->examples_run |= one == unit;
    }
    if (!ok) {
        faults_add(check->faults, check->eval->file, line, col, false, "lua", "%s", err.message);
    }
    bool more = failures.len > 0;
    while (ok && more) {
        Str rest = STR_EMPTY;
        more = str_cut(failures, STR("\n"), &failure, &rest);
        if (failure.len > 0) {
            faults_add(check->faults, check->eval->file, line, col, false, "example",
                       STR_FMT ": " STR_FMT, STR_ARG(unit->file), STR_ARG(failure));
        }
        failures = rest;
    }
    arena_finish(&arena);
}

/** A metric of our own has none. */
static void check_metric_examples(RowCheck *check)
{
    const Eval *eval = check->eval;
    for (size_t i = 0; i < eval->n_metrics; i++) {
        const EvalMetric *metric = &eval->metrics[i];
        bool seen = keys_word_in(keys_metrics_known, metric->use);
        for (size_t k = 0; k < i; k++) {
            seen = seen || str_eq(eval->metrics[k].use, metric->use);
        }
        if (!seen) {
            check_examples(check, UNIT_METRIC, metric->use, metric->line, metric->col);
        }
    }
}

static void check_all_examples(RowCheck *check)
{
    const Eval *eval = check->eval;
    for (size_t i = 0; i < eval->n_variants; i++) {
        const EvalSolver *solver = &eval->variants[i].solver;
        bool seen = i > 0 && str_eq(solver->use, eval->variants[i - 1].solver.use);
        if (!seen) {
            check_examples(check, UNIT_SOLVER, solver->use, solver->line, solver->col);
        }
    }
    for (size_t i = 0; i < eval->n_graders; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++) {
            seen = seen || str_eq(eval->graders[k].use, eval->graders[i].use);
        }
        if (!seen) {
            check_examples(check, UNIT_GRADER, eval->graders[i].use, eval->graders[i].line,
                           eval->graders[i].col);
        }
    }
}

bool registry_check_rows(Registry *registry, const Eval *eval, size_t max_rows, Faults *faults,
                         Err *err)
{
    RowCheck check = {.registry = registry, .eval = eval, .faults = faults, .max_rows = max_rows};
    MatrixCell *cells = NULL;
    size_t n_cells = 0;
    Err cause = ERR_INIT;
    bool whole = true, skipped = false, ok = true;
    check.needs_target = needs_target(registry, eval);
    read_fields(&check);
    if (matrix_cells(registry, eval, &check.kept, &cells, &n_cells, &cause)) {
        ok = check_cells(&check, cells, n_cells, &whole, err) &&
             (!whole || check_expect(&check, cells, n_cells, err));
    } else {
        ok = opening_failed(&check, &eval->variants[0], &cause, &skipped, err);
    }
    list_missing(&check);
    list_rest(&check, &check.rendering, "rows have faults like these");
    list_rest(&check, &check.expected, "values are not as expected");
    warn_counts(&check);
    if (max_rows == 0) {
        check_all_examples(&check);
        check_metric_examples(&check);
    }
    mem_free(check.seen.hashes);
    arena_finish(&check.arena);
    arena_finish(&check.kept);
    return ok;
}
