// SPDX-License-Identifier: MIT
// The data of one part: matrix cells, which files a split of a part consists of, the rows that
// `where` keeps, and the texts that templates read. Shared by the variants of an eval.
#include "registry/registry_internal.h"

#include <string.h>

#define CELLS_MAX 100000

bool eval_file_locate(Registry *registry, const Eval *eval, Str path, Str *out)
{
    Str beside = path_join(&registry->arena, eval->dir, path);
    uint64_t bytes = 0;
    if (file_size(beside, &bytes)) {
        *out = beside;
        return true;
    }
    if (registry->mirror_dir.len == 0 || !path_is_inside(path)) {
        return false;
    }
    *out = path_join(&registry->arena, registry->mirror_dir, path);
    return file_size(*out, &bytes);
}

// ---- The matrix --------------------------------------------------------------------------------

/** One axis with its values at hand. */
typedef struct Axis {
    Str name;
    const Value *values;
    const Value *extras;
    size_t n;
} Axis;

static bool axis_open(Registry *registry, const Eval *eval, const MatrixAxis *from, Arena *arena,
                      Axis *out, Err *err)
{
    *out = (Axis){from->name, from->values, from->extras, from->n};
    if (!from->parts) {
        return true;
    }
    const Dataset *dataset = NULL;
    if (!registry_dataset(registry, eval->dataset_use, &dataset, err)) {
        return false;
    }
    Value *values = ARENA_ARRAY(arena, Value, dataset->n_parts + 1);
    Value *extras = ARENA_ARRAY(arena, Value, dataset->n_parts + 1);
    for (size_t i = 0; i < dataset->n_parts; i++) {
        values[i] = value_str(dataset->parts[i]);
        extras[i] = value_null();
    }
    *out = (Axis){from->name, values, extras, dataset->n_parts};
    return true;
}

static MatrixCell cell_of(const Axis *axes, size_t n_axes, const size_t *at, Arena *arena)
{
    MapBuilder vars;
    map_builder_init(&vars, arena);
    Str name = STR_EMPTY;
    for (size_t i = 0; i < n_axes; i++) {
        const Value *value = &axes[i].values[at[i]];
        const Value *extra = &axes[i].extras[at[i]];
        Str text = STR_EMPTY;
        text_of_scalar(arena, value, &text);
        name = i == 0 ? text : str_printf(arena, STR_FMT "/" STR_FMT, STR_ARG(name), STR_ARG(text));
        map_builder_put(&vars, axes[i].name, *value);
        for (size_t k = 0; extra->kind == VALUE_MAP && k < extra->as.map.n; k++) {
            map_builder_put(&vars, extra->as.map.pairs[k].key, extra->as.map.pairs[k].value);
        }
    }
    return (MatrixCell){.name = name, .vars = map_builder_done(&vars)};
}

bool matrix_cells(Registry *registry, const Eval *eval, Arena *arena, MatrixCell **out,
                  size_t *out_n, Err *err)
{
    size_t n = 1;
    Axis *axes = ARENA_ARRAY(arena, Axis, eval->n_matrix + 1);
    for (size_t i = 0; i < eval->n_matrix; i++) {
        if (!axis_open(registry, eval, &eval->matrix[i], arena, &axes[i], err)) {
            return false;
        }
        if (axes[i].n == 0 || n > CELLS_MAX / axes[i].n) {
            return ERR_SET(err, ERR_LIMIT,
                           "eval '" STR_FMT "': the matrix has no cells, or more than %d",
                           STR_ARG(eval->name), CELLS_MAX);
        }
        n *= axes[i].n;
    }
    MatrixCell *cells = ARENA_ARRAY(arena, MatrixCell, n);
    size_t *at = ARENA_ARRAY(arena, size_t, eval->n_matrix + 1);
    for (size_t cell = 0; cell < n; cell++) {
        cells[cell] = cell_of(axes, eval->n_matrix, at, arena);
        for (size_t i = eval->n_matrix; i-- > 0;) { // the last axis turns fastest
            if (++at[i] < axes[i].n) {
                break;
            }
            at[i] = 0;
        }
    }
    *out = cells;
    *out_n = n;
    return true;
}

bool registry_parts(Registry *registry, const Eval *eval, Str **out, size_t *out_n, Err *err)
{
    MatrixCell *cells = NULL;
    size_t n = 0;
    if (!matrix_cells(registry, eval, &registry->arena, &cells, &n, err)) {
        return false;
    }
    Str *names = ARENA_ARRAY(&registry->arena, Str, n);
    for (size_t i = 0; i < n; i++) {
        names[i] = cells[i].name;
    }
    *out = names;
    *out_n = n;
    return true;
}

// ---- Programs of helpers and a few templates ---------------------------------------------------

bool helpers_push(Registry *registry, const Eval *eval, TmplBuilder *builder, Err *err)
{
    if (eval->helpers.len == 0) {
        return true;
    }
    ScriptUnit unit = {
        .kind = UNIT_HELPERS,
        .name = STR("helpers"),
        .file = path_join(builder->arena, eval->dir, eval->helpers),
        .line = 1,
        .params = value_null(),
    };
    (void)registry;
    if (!file_read(builder->arena, unit.file, REGISTRY_LUA_MAX_BYTES, &unit.text, err)) {
        return false;
    }
    tmpl_builder_push(builder, &unit, NULL);
    return true;
}

void helpers_names(Registry *registry, const Eval *eval, Arena *arena, const Str **out,
                   size_t *out_n)
{
    Arena scratch = {0};
    TmplBuilder builder = {.arena = &scratch, .file = eval->file};
    Program *program = NULL;
    Err ignored = ERR_INIT; // a fault that check_helpers tells
    *out = NULL;
    *out_n = 0;
    if (helpers_push(registry, eval, &builder, &ignored) && builder.n > 0 &&
        script_program_create(registry->script, builder.units, builder.n, NULL, &program,
                              &ignored)) {
        size_t n = 0;
        const Str *names = script_program_helpers(program, &n);
        Str *copies = ARENA_ARRAY(arena, Str, n + 1);
        for (size_t i = 0; i < n; i++) {
            copies[i] = str_copy(arena, names[i]);
        }
        *out = copies;
        *out_n = n;
        script_program_destroy(registry->script, program);
    }
    arena_finish(&scratch);
}

static bool is_word_byte(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

/** The next identifier of a text that does not stand behind a dot; false at the end. */
static bool next_word(Str text, size_t *at, Str *out)
{
    for (size_t i = *at; i < text.len; i++) {
        if (!is_word_byte(text.data[i], true)) {
            continue;
        }
        size_t to = i + 1;
        while (to < text.len && is_word_byte(text.data[to], false)) {
            to++;
        }
        bool member = i > 0 && (text.data[i - 1] == '.' || is_word_byte(text.data[i - 1], false));
        if (!member) {
            *out = str_slice(text, i, to);
            *at = to;
            return true;
        }
        i = to - 1;
    }
    return false;
}

void words_of_units(const TmplBuilder *builder, Arena *arena, Str **out, size_t *out_n)
{
    size_t cap = 32, n = 0;
    Str *words = ARENA_ARRAY(arena, Str, cap);
    for (size_t i = 0; i < builder->n; i++) {
        size_t at = 0;
        Str word;
        while (builder->units[i].kind == UNIT_TEMPLATE &&
               next_word(builder->units[i].text, &at, &word)) {
            size_t k = 0;
            while (k < n && !str_eq(words[k], word)) {
                k++;
            }
            if (k < n) {
                continue;
            }
            if (n == cap) {
                Str *more = ARENA_ARRAY(arena, Str, cap * 2);
                memcpy(more, words, n * sizeof(*words));
                words = more;
                cap *= 2;
            }
            words[n++] = str_copy(arena, word);
        }
    }
    *out = words;
    *out_n = n;
}

/** dataset.part for a cell. */
static bool part_name(Registry *registry, const Eval *eval, const Value *vars, Arena *arena,
                      Str *out, Err *err)
{
    *out = STR_EMPTY;
    if (eval->dataset_part.kind != VALUE_STR) {
        return true;
    }
    TmplBuilder builder = {.arena = arena, .file = eval->file};
    if (!helpers_push(registry, eval, &builder, err)) {
        return false;
    }
    Tmpl tmpl = tmpl_build(&builder, STR("dataset.part"), &eval->dataset_part);
    Program *program = NULL;
    bool simple = tmpl.kind == TMPL_CONSTANT ||
                  (tmpl.kind == TMPL_NAME && value_get(vars, tmpl.name) != NULL);
    if (!simple &&
        !script_program_create(registry->script, builder.units, builder.n, vars, &program, err)) {
        return false;
    }
    TmplSession session = {.script = registry->script,
                           .program = program,
                           .constants = vars,
                           .where = STR_EMPTY,
                           .arena = arena};
    Value value;
    bool ok = tmpl_render(&session, &tmpl, &value, err);
    if (ok && !text_of_scalar(arena, &value, out)) {
        ok = ERR_SET(err, ERR_SCRIPT, "dataset.part has to be text, not %s",
                     value_kind_word(&value));
    }
    script_program_destroy(registry->script, program);
    return ok;
}

// ---- Rows of a split ---------------------------------------------------------------------------

Str eval_split_name(const Eval *eval, const Dataset *dataset)
{
    if (eval->dataset_split.len > 0) {
        return eval->dataset_split;
    }
    return dataset->n_splits == 1 ? dataset->splits[0].name : STR("test");
}

bool split_rows_open(Registry *registry, const Dataset *dataset, Str split_name, Str part,
                     Rows **out, Err *err)
{
    const Split *split = dataset_split(dataset, split_name);
    if (split == NULL) {
        return ERR_SET(err, ERR_NOT_FOUND, "dataset '" STR_FMT "' has no split '" STR_FMT "'",
                       STR_ARG(dataset->name), STR_ARG(split_name));
    }
    bool known = dataset->n_parts == 0 && part.len == 0;
    for (size_t i = 0; i < dataset->n_parts; i++) {
        known = known || str_eq(dataset->parts[i], part);
    }
    if (!known) {
        return ERR_SET(err, ERR_NOT_FOUND, "dataset '" STR_FMT "' has no part '" STR_FMT "'",
                       STR_ARG(dataset->name), STR_ARG(part));
    }
    Arena scratch = {0};
    RowFileSpec *specs = ARENA_ARRAY(&scratch, RowFileSpec, split->n_files);
    bool ok = true;
    for (size_t i = 0; ok && i < split->n_files; i++) {
        const SplitFile *file = &split->files[i];
        Str path = dataset_path_of(&scratch, file->path, part);
        specs[i] = (RowFileSpec){.label = path,
                                 .format = file->format,
                                 .at = file->at,
                                 .columns = file->columns,
                                 .n_columns = file->n_columns};
        ok = dataset_locate(registry, dataset, path, &specs[i].path, err);
        // A file found in a mirror keeps the format of its name in the dataset.
        if (ok && specs[i].format.len == 0) {
            specs[i].format = format_of_path(path);
        }
    }
    ok = ok && rows_open_files(registry, specs, split->n_files, out, err);
    arena_finish(&scratch);
    return ok;
}

bool path_rows_open(Registry *registry, const Eval *eval, Str path, bool main_file, Rows **out,
                    Err *err)
{
    RowFileSpec spec = {.label = path, .format = STR_EMPTY, .at = STR_EMPTY};
    if (!eval_file_locate(registry, eval, path, &spec.path)) {
        return ERR_SET(err, ERR_NOT_FOUND,
                       "eval '" STR_FMT "': no file '" STR_FMT "' beside " STR_FMT
                       " or in $MUSTER_MIRROR",
                       STR_ARG(eval->name), STR_ARG(path), STR_ARG(eval->file));
    }
    if (main_file) {
        spec.at = eval->dataset_at;
        spec.columns = eval->dataset_columns;
        spec.n_columns = eval->n_dataset_columns;
    }
    return rows_open_files(registry, &spec, 1, out, err);
}

static bool texts_open(Registry *registry, const Dataset *dataset, Str part, Arena *arena,
                       Value *out, Err *err)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < dataset->n_texts; i++) {
        Str path, text;
        Str name = dataset_path_of(arena, dataset->texts[i].path, part);
        if (!dataset_locate(registry, dataset, name, &path, err) ||
            !file_read(arena, path, REGISTRY_TEXT_MAX_BYTES, &text, err)) {
            return false;
        }
        if (!utf8_is_valid(text)) {
            return ERR_SET(err, ERR_PARSE, STR_FMT " is not UTF-8", STR_ARG(path));
        }
        map_builder_put(&map, dataset->texts[i].name, value_str(text));
    }
    *out = map_builder_done(&map);
    return true;
}

// ---- where -------------------------------------------------------------------------------------

/** What evaluates `where` for one row after another. */
typedef struct WhereFilter {
    Tmpl tmpl;
    Program *program;
    Value constants;
    Str *needed;
    size_t n_needed;
} WhereFilter;

static bool where_keeps(Registry *registry, const WhereFilter *filter, const Rows *rows,
                        size_t index, Arena *arena, bool *out, Err *err)
{
    Value row, value;
    if (!rows_get(rows, index, arena, &row, err)) {
        return false;
    }
    TmplSession session = {
        .script = registry->script,
        .program = filter->program,
        .constants = &filter->constants,
        .needed = filter->needed,
        .n_needed = filter->n_needed,
        .row = &row,
        .row_number = (int64_t)index,
        .with_row = true,
        .where = STR_EMPTY,
        .arena = arena,
    };
    if (!tmpl_render(&session, &filter->tmpl, &value, err)) {
        return false;
    }
    if (value.kind != VALUE_BOOL) {
        return ERR_SET(err, ERR_SCRIPT,
                       "where has to be one expression that gives true or false, not %s",
                       value_kind_word(&value));
    }
    *out = value.as.boolean;
    return true;
}

bool where_apply(Registry *registry, const Eval *eval, const Value *constants, const Rows *rows,
                 size_t at_most, uint32_t **out_kept, size_t *out_n, Err *err)
{
    *out_kept = NULL;
    *out_n = rows->n;
    if (eval->where.kind != VALUE_STR) {
        return true;
    }
    Arena arena = {0}, row_arena = {0};
    TmplBuilder builder = {.arena = &arena, .file = eval->file};
    WhereFilter filter = {.constants = *constants};
    bool ok = helpers_push(registry, eval, &builder, err);
    filter.tmpl = tmpl_build(&builder, STR("where"), &eval->where);
    words_of_units(&builder, &arena, &filter.needed, &filter.n_needed);
    ok = ok && script_program_create(registry->script, builder.units, builder.n, constants,
                                     &filter.program, err);
    uint32_t *kept = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; ok && i < rows->n && n < at_most; i++) {
        bool keep = false;
        ok = where_keeps(registry, &filter, rows, i, &row_arena, &keep, err);
        if (ok && keep) {
            if (n == cap) {
                cap = cap == 0 ? 256 : cap + cap / 2;
                kept = mem_realloc(kept, cap, sizeof(*kept));
            }
            kept[n++] = (uint32_t)i;
        }
        if (!ok) {
            Str place = rows_place(rows, i, &row_arena);
            ERR_WRAP(err, "eval '" STR_FMT "', where, " STR_FMT, STR_ARG(eval->name),
                     STR_ARG(place));
        }
        arena_reset(&row_arena);
    }
    script_program_destroy(registry->script, filter.program);
    arena_finish(&row_arena);
    arena_finish(&arena);
    if (ok && n == 0) {
        ok = ERR_SET(err, ERR_CONFIG, STR_FMT ":%u: where keeps none of %zu rows",
                     STR_ARG(eval->file), eval->where.line, rows->n);
    }
    if (!ok) {
        mem_free(kept);
        return false;
    }
    *out_kept = kept == NULL ? mem_alloc(1, 1) : mem_realloc(kept, n, sizeof(*kept));
    *out_n = n;
    return true;
}

// ---- Parts -------------------------------------------------------------------------------------

static bool part_data_open(Registry *registry, const Eval *eval, const Value *vars, PartRows *part,
                           Err *err)
{
    part->texts = value_map(NULL, 0);
    if (eval->dataset_rows.kind == VALUE_LIST) {
        part->rows = rows_of_list(&eval->dataset_rows);
        return true;
    }
    if (eval->dataset_path.len > 0) {
        return path_rows_open(registry, eval, eval->dataset_path, true, &part->rows, err);
    }
    const Dataset *dataset = NULL;
    return registry_dataset(registry, eval->dataset_use, &dataset, err) &&
           part_name(registry, eval, vars, &part->arena, &part->dataset_part, err) &&
           texts_open(registry, dataset, part->dataset_part, &part->arena, &part->texts, err) &&
           split_rows_open(registry, dataset, eval_split_name(eval, dataset), part->dataset_part,
                           &part->rows, err);
}

static Hash part_hash(const Eval *eval, const PartRows *part)
{
    Sha256 sha;
    hash_begin(&sha, STR("muster.data.1"));
    hash_hash(&sha, &part->rows->hash);
    hash_str(&sha, eval->dataset_split);
    hash_str(&sha, part->dataset_part);
    hash_value(&sha, &part->texts);
    hash_str(&sha, eval->where.kind == VALUE_STR ? eval->where.as.str : STR_EMPTY);
    return hash_end(&sha);
}

Value part_constants(Arena *arena, const Value *vars, const Value *texts, const Value *shots)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    for (size_t i = 0; i < vars->as.map.n; i++) {
        map_builder_put(&map, vars->as.map.pairs[i].key, vars->as.map.pairs[i].value);
    }
    if (texts->as.map.n > 0) {
        map_builder_put(&map, STR("texts"), *texts);
    }
    if (shots != NULL) {
        map_builder_put(&map, STR("shots"), *shots);
    }
    return map_builder_done(&map);
}

bool part_rows_open(Registry *registry, const Eval *eval, const MatrixCell *cell, PartRows **out,
                    Err *err)
{
    for (PartRows *part = registry->parts; part != NULL; part = part->next) {
        if (part->eval == eval && str_eq(part->part, cell->name)) {
            part->refs++;
            *out = part;
            return true;
        }
    }
    PartRows *part = mem_zalloc(1, sizeof(*part));
    part->eval = eval;
    part->refs = 1;
    part->part = str_copy(&part->arena, cell->name);
    bool ok = part_data_open(registry, eval, &cell->vars, part, err);
    if (ok && part->rows->n == 0) {
        ok = ERR_SET(err, ERR_CONFIG, STR_FMT ": the dataset%s" STR_FMT " has no rows",
                     STR_ARG(eval->file), part->part.len > 0 ? " of part " : "",
                     STR_ARG(part->part));
    }
    if (ok) {
        Value constants = part_constants(&part->arena, &cell->vars, &part->texts, NULL);
        ok = where_apply(registry, eval, &constants, part->rows, SIZE_MAX, &part->kept, &part->n,
                         err);
    }
    if (!ok) {
        rows_release(registry, part->rows);
        arena_finish(&part->arena);
        mem_free(part);
        return false;
    }
    part->hash = part_hash(eval, part);
    part->next = registry->parts;
    registry->parts = part;
    *out = part;
    return true;
}

void part_rows_release(Registry *registry, PartRows *part)
{
    if (part == NULL || --part->refs > 0) {
        return;
    }
    for (PartRows **at = &registry->parts; *at != NULL; at = &(*at)->next) {
        if (*at == part) {
            *at = part->next;
            break;
        }
    }
    rows_release(registry, part->rows);
    mem_free(part->kept);
    arena_finish(&part->arena);
    mem_free(part);
}
