// SPDX-License-Identifier: MIT
// The checks of an eval that need its data: every row is rendered, ids are unique, `expect` holds.
// Faults are listed row by row up to a cap, then counted. Data that is not on this disk is no
// fault: a warning says that nothing was checked.
#include "registry/registry_internal.h"

#include <stdlib.h>
#include <string.h>

#define LISTED_MAX 20

/** Faults of one kind: listed up to the cap, counted beyond it. */
typedef struct Listed {
    size_t n;
} Listed;

/** What the checks of one eval's rows share. */
typedef struct RowCheck {
    Registry *registry;
    const Eval *eval;
    Faults *faults;
    size_t max_rows;
    Arena arena; // of one row
    Listed rendering;
    Listed expected;
    size_t n_equal_choices; // rows with equal choices of which only some are right
    size_t n_hidden;        // rows whose column differs from the sample's field of its name
    Str hidden;             // such a name
    bool reads_id;          // the prompt of the variant at hand does
    bool reads_input;
    bool needs_target;
} RowCheck;

static bool list_one(Listed *listed)
{
    return ++listed->n <= LISTED_MAX;
}

static void list_rest(RowCheck *check, const Listed *listed, const char *what)
{
    if (listed->n > LISTED_MAX) {
        faults_add(check->faults, check->eval->file, 0, 0, false, "rows", "%zu more rows %s",
                   listed->n - LISTED_MAX, what);
    }
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

/** A column that the prompt can not see, because a field of the sample has its name. */
static void check_hidden(RowCheck *check, const Sample *sample)
{
    const struct {
        const char *name;
        bool read;
        Value value;
    } fields[] = {{"id", check->reads_id, value_str(sample->id)},
                  {"input", check->reads_input, sample->input}};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const Value *column = value_get_c(&sample->row, fields[i].name);
        Str text;
        if (fields[i].read && column != NULL && !value_equal(column, &fields[i].value) &&
            !(tmpl_scalar_text(&check->arena, column, &text) && fields[i].value.kind == VALUE_STR &&
              str_eq(text, fields[i].value.as.str))) {
            check->n_hidden++;
            check->hidden = str_from_c(fields[i].name);
        }
    }
}

static void row_fault(RowCheck *check, const Task *task, size_t index, const Value *at,
                      const char *what)
{
    if (list_one(&check->rendering)) {
        Str place =
            rows_place(task->data->part->rows, (size_t)task_row_number(task, index), &check->arena);
        faults_add(check->faults, check->eval->file, at->line, at->col, false, "rows",
                   "%s%s" STR_FMT ": " STR_FMT, what, task->part.len > 0 ? " in part " : "",
                   STR_ARG(task->part), STR_ARG(place));
    }
}

/** The value of the eval that a rendering error is about. */
static const Value *failed_field(const Task *task, const Err *err)
{
    const Eval *eval = task->eval;
    const struct {
        const char *word;
        const Value *value;
    } fields[] = {
        {": sample.id: ", &eval->sample_id},
        {": sample.input: ", &eval->sample_input},
        {": sample.choices: ", &eval->sample_choices},
        {": sample.target: ", &eval->sample_target},
        {": sample.metadata: ", &eval->sample_metadata},
        {": sample.cluster: ", &eval->sample_cluster},
        {": prompt: ", &task->variant->prompt},
        {": messages: ", &task->variant->messages},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strstr(err->message, fields[i].word) != NULL) {
            return fields[i].value;
        }
    }
    return NULL;
}

static void check_sample(RowCheck *check, Task *task, size_t index)
{
    Sample sample;
    Err err = ERR_INIT;
    if (!registry_task_sample(check->registry, task, index, &check->arena, &sample, &err)) {
        if (list_one(&check->rendering)) {
            fault_of_err(check->faults, check->eval->file, failed_field(task, &err), "rows", &err);
        }
        return;
    }
    if (prompt_is_empty(&sample)) {
        const Value *prompt = &task->variant->prompt;
        row_fault(check, task, index, prompt, "the prompt is empty");
    }
    if (check->needs_target && target_is_empty(&sample)) {
        row_fault(check, task, index, &check->eval->sample_target, "the target is empty");
    }
    check->n_equal_choices += equal_choices_differ(&sample);
    check_hidden(check, &sample);
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
    if (!registry_task_check_ids(check->registry, task, &err)) {
        fault_of_err(check->faults, check->eval->file, &check->eval->sample_id, "rows", &err);
    }
}

// ---- expect ------------------------------------------------------------------------------------

/** Values of one column seen so far, by hash. */
typedef struct SeenColumn {
    uint64_t *hashes; // 0: free
    size_t cap;
    size_t n;
} SeenColumn;

static bool seen_add(SeenColumn *seen, uint64_t hash)
{
    if (seen->n * 2 >= seen->cap) {
        SeenColumn grown = {.cap = seen->cap == 0 ? 1024 : seen->cap * 2};
        grown.hashes = mem_zalloc(grown.cap, sizeof(*grown.hashes));
        for (size_t i = 0; i < seen->cap; i++) {
            if (seen->hashes[i] != 0) {
                seen_add(&grown, seen->hashes[i]);
            }
        }
        mem_free(seen->hashes);
        *seen = grown;
    }
    hash |= 1;
    size_t at = (size_t)(hash >> 1) & (seen->cap - 1);
    while (seen->hashes[at] != 0 && seen->hashes[at] != hash) {
        at = (at + 1) & (seen->cap - 1);
    }
    if (seen->hashes[at] == hash) {
        return false;
    }
    seen->hashes[at] = hash;
    seen->n++;
    return true;
}

static uint64_t value_hash(const Value *value)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.unique.1"));
    hash_value(&sha, value);
    Hash hash = hash_end(&sha);
    return hash_u64(&hash);
}

/** Where a row stands, for one `expect` fault. */
typedef struct ExpectRow {
    RowCheck *check;
    const PartRows *part;
    size_t index;
    const Value *row;
} ExpectRow;

static void expect_fault(const ExpectRow *at, const Value *rule, Str column, const char *what)
{
    RowCheck *check = at->check;
    if (list_one(&check->expected)) {
        Str place = rows_place(at->part->rows, at->index, &check->arena);
        faults_add(check->faults, check->eval->file, rule->line, rule->col, false, "expect",
                   "column '" STR_FMT "' %s: %s" STR_FMT "%s" STR_FMT, STR_ARG(column), what,
                   at->part->part.len > 0 ? "part " : "", STR_ARG(at->part->part),
                   at->part->part.len > 0 ? ", " : "", STR_ARG(place));
    }
}

static bool is_null(const Value *value)
{
    return value == NULL || value->kind == VALUE_NULL ||
           (value->kind == VALUE_STR && value->as.str.len == 0);
}

static void expect_length(const ExpectRow *at, const Value *lengths)
{
    for (size_t i = 0; lengths != NULL && i < lengths->as.map.n; i++) {
        const ValuePair *pair = &lengths->as.map.pairs[i];
        const Value *value = value_get(at->row, pair->key);
        int64_t length = value == NULL               ? 0
                         : value->kind == VALUE_STR  ? (int64_t)utf8_length(value->as.str)
                         : value->kind == VALUE_LIST ? (int64_t)value->as.list.n
                         : value->kind == VALUE_MAP  ? (int64_t)value->as.map.n
                                                     : 0;
        const Value *range = pair->value.as.list.items;
        if (pair->value.as.list.n == 2 &&
            (length < range[0].as.integer || length > range[1].as.integer)) {
            Str what = str_printf(&at->check->arena, "has length %lld", (long long)length);
            expect_fault(at, &pair->value, pair->key, what.data);
        }
    }
}

static void expect_values(const ExpectRow *at, const Value *values)
{
    for (size_t i = 0; values != NULL && i < values->as.map.n; i++) {
        const ValuePair *pair = &values->as.map.pairs[i];
        const Value *value = value_get(at->row, pair->key);
        bool found = false;
        for (size_t k = 0; value != NULL && k < pair->value.as.list.n; k++) {
            found = found || value_equal(value, &pair->value.as.list.items[k]);
        }
        if (!found) {
            expect_fault(at, &pair->value, pair->key,
                         value == NULL ? "is missing" : "has another value");
        }
    }
}

static void expect_row(const ExpectRow *at, const Value *expect, SeenColumn *seen)
{
    const Value *not_null = value_get_c(expect, "not_null");
    for (size_t i = 0; not_null != NULL && i < not_null->as.list.n; i++) {
        const Value *name = &not_null->as.list.items[i];
        if (is_null(value_get(at->row, name->as.str))) {
            expect_fault(at, name, name->as.str, "is null, empty or missing");
        }
    }
    const Value *unique = value_get_c(expect, "unique");
    for (size_t i = 0; unique != NULL && i < unique->as.list.n; i++) {
        const Value *name = &unique->as.list.items[i];
        const Value *value = value_get(at->row, name->as.str);
        if (value != NULL && !seen_add(&seen[i], value_hash(value))) {
            expect_fault(at, name, name->as.str, "repeats an earlier row's value");
        }
    }
    expect_length(at, value_get_c(expect, "length"));
    expect_values(at, value_get_c(expect, "values"));
}

static bool expect_part(RowCheck *check, const PartRows *part, SeenColumn *seen, Err *err)
{
    const Value *expect = &check->eval->expect;
    bool by_row = value_get_c(expect, "not_null") != NULL ||
                  value_get_c(expect, "unique") != NULL || value_get_c(expect, "length") != NULL ||
                  value_get_c(expect, "values") != NULL;
    for (size_t i = 0; by_row && i < part->n; i++) {
        Value row;
        ExpectRow at = {check, part, part->kept != NULL ? part->kept[i] : i, &row};
        if (!rows_get(part->rows, at.index, &check->arena, &row, err)) {
            return false;
        }
        expect_row(&at, expect, seen);
        arena_reset(&check->arena);
    }
    return true;
}

static bool check_expect(RowCheck *check, const MatrixCell *cells, size_t n_cells, Err *err)
{
    const Value *expect = &check->eval->expect;
    if (expect->kind != VALUE_MAP) {
        return true;
    }
    const Value *unique = value_get_c(expect, "unique");
    size_t n_unique = unique != NULL ? unique->as.list.n : 0;
    SeenColumn *seen = mem_zalloc(n_unique + 1, sizeof(*seen));
    size_t n_rows = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < n_cells; i++) {
        PartRows *part = NULL;
        ok = part_rows_open(check->registry, check->eval, &cells[i], &part, err) &&
             expect_part(check, part, seen, err);
        n_rows += part != NULL ? part->n : 0;
        part_rows_release(check->registry, part);
    }
    const Value *rows = value_get_c(expect, "rows");
    if (ok && rows != NULL && rows->as.integer != (int64_t)n_rows) {
        faults_add(check->faults, check->eval->file, rows->line, rows->col, false, "expect",
                   "expected %lld rows, there are %zu", (long long)rows->as.integer, n_rows);
    }
    for (size_t i = 0; i < n_unique; i++) {
        mem_free(seen[i].hashes);
    }
    mem_free(seen);
    return ok;
}

// ---- The whole ---------------------------------------------------------------------------------

static bool graders_need_target(Registry *registry, const Eval *eval)
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

/** Whether prompt or messages read a name, as far as it can be told without helpers. */
static bool prompt_reads(RowCheck *check, const EvalVariant *variant, const char *name)
{
    Arena arena = {0};
    TmplBuilder builder = {.arena = &arena, .file = check->eval->file};
    SampleTmpl tmpl;
    sample_tmpl_build(&builder, check->eval, variant, &tmpl);
    bool found = false;
    for (size_t i = 0; i < builder.n && !found; i++) {
        Str *names = NULL;
        size_t n = 0;
        Err ignored = ERR_INIT; // filters of helpers: nothing is said about that template
        if ((str_starts_with(builder.units[i].name, STR("prompt")) ||
             str_starts_with(builder.units[i].name, STR("messages"))) &&
            script_template_names(check->registry->script, &builder.units[i], &arena, &names, &n,
                                  &ignored)) {
            for (size_t k = 0; k < n; k++) {
                found = found || str_eq_c(names[k], name);
            }
        }
    }
    arena_finish(&arena);
    return found;
}

static bool check_cells(RowCheck *check, const MatrixCell *cells, size_t n_cells, Err *err)
{
    for (size_t v = 0; v < check->eval->n_variants; v++) {
        const EvalVariant *variant = &check->eval->variants[v];
        check->reads_id = prompt_reads(check, variant, "id");
        check->reads_input = prompt_reads(check, variant, "input");
        for (size_t i = 0; i < n_cells; i++) {
            Task *task = NULL;
            if (!registry_task_open(check->registry, check->eval, cells[i].name, variant, 0, &task,
                                    err)) {
                return false;
            }
            check_task(check, task);
            registry_task_close(check->registry, task);
        }
    }
    return true;
}

static void warn_counts(RowCheck *check)
{
    if (check->n_equal_choices > 0) {
        faults_add(check->faults, check->eval->file, check->eval->sample_choices.line,
                   check->eval->sample_choices.col, true, "equal-choices",
                   "%zu row%s equal choices of which only some are right", check->n_equal_choices,
                   check->n_equal_choices == 1 ? " has" : "s have");
    }
    if (check->n_hidden > 0) {
        faults_add(check->faults, check->eval->file, check->eval->sample_input.line,
                   check->eval->sample_input.col, true, "hidden-column",
                   "the prompt's '" STR_FMT
                   "' is the sample's, which differs from the column of that name "
                   "in %zu row%s",
                   STR_ARG(check->hidden), check->n_hidden, check->n_hidden == 1 ? "" : "s");
    }
}

/** Run the examples of a solver or grader; each one that fails is a fault where the eval names it.
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
    Arena arena = {0};
    MatrixCell *cells = NULL;
    size_t n_cells = 0;
    Err open_err = ERR_INIT;
    check.needs_target = graders_need_target(registry, eval);
    bool ok = matrix_cells(registry, eval, &arena, &cells, &n_cells, &open_err) &&
              check_cells(&check, cells, n_cells, &open_err) &&
              check_expect(&check, cells, n_cells, &open_err);
    list_rest(&check, &check.rendering, "have faults like these");
    list_rest(&check, &check.expected, "are not as expected");
    warn_counts(&check);
    if (max_rows == 0) {
        check_all_examples(&check);
    }
    if (!ok && open_err.code == ERR_NOT_FOUND) {
        faults_add(faults, eval->file, 0, 0, true, "not-checked", "not checked: %s",
                   open_err.message);
    } else if (!ok && open_err.code != ERR_IO) {
        fault_of_err(faults, eval->file, &eval->where, "rows", &open_err);
    }
    arena_finish(&check.arena);
    arena_finish(&arena);
    if (!ok && open_err.code == ERR_IO) {
        *err = open_err;
        return false;
    }
    return true;
}
