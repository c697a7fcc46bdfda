// SPDX-License-Identifier: MIT
// An eval file's tree to an Eval: keys and types are held against the tables of keys.c, defaults
// are filled in, and what one key demands of another at the same place is checked. What needs
// templates or Lua is eval_check.c's.
#include "registry/registry_internal.h"

#include <string.h>

/** What the parts of this file share while one eval is read. */
typedef struct EvalReader {
    Registry *registry;
    Arena *arena;
    Str file;
    Faults *faults;
} EvalReader;

static void fault(EvalReader *reader, const Value *at, const char *code, const char *message)
{
    faults_add(reader->faults, reader->file, at->line, at->col, false, code, "%s", message);
}

static Value value_of(const Value *map, const char *key)
{
    const Value *value = value_get_c(map, key);
    return value != NULL ? *value : value_null();
}

static const Str *texts_of(EvalReader *reader, const Value *list, size_t *out_n)
{
    *out_n = 0;
    if (list == NULL) {
        return NULL;
    }
    size_t n = list->kind == VALUE_LIST ? list->as.list.n : 1;
    Str *texts = ARENA_ARRAY(reader->arena, Str, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *item = list->kind == VALUE_LIST ? &list->as.list.items[i] : list;
        if (item->kind == VALUE_STR) {
            texts[(*out_n)++] = item->as.str;
        }
    }
    return texts;
}

/** Where `use` is written, for what is wrong with the unit it names; else the map's own place. */
static const Value *use_place(const Value *map)
{
    const Value *use = value_get_c(map, "use");
    return use != NULL ? use : map;
}

/** Exactly one of several keys has to stand in a map; returns how many do. */
static size_t count_keys(const Value *map, const char *const *keys)
{
    size_t n = 0;
    for (; *keys != NULL; keys++) {
        n += value_get_c(map, *keys) != NULL;
    }
    return n;
}

// ---- matrix ------------------------------------------------------------------------------------

static bool axis_value_ok(EvalReader *reader, const Value *value)
{
    Str text;
    if (!text_of_scalar(reader->arena, value, &text) || text.len == 0) {
        fault(reader, value, "wrong-type", "a matrix value has to be text, a number or a boolean");
        return false;
    }
    if (memchr(text.data, '/', text.len) != NULL) {
        fault(reader, value, "bad-value",
              "a matrix value must not hold a slash: it becomes a part's name");
        return false;
    }
    return true;
}

static void axis_of_map(EvalReader *reader, const Value *map, MatrixAxis *out)
{
    Value *values = ARENA_ARRAY(reader->arena, Value, map->as.map.n + 1);
    Value *extras = ARENA_ARRAY(reader->arena, Value, map->as.map.n + 1);
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        values[i] = value_str(pair->key);
        values[i].line = pair->line;
        values[i].col = pair->col;
        axis_value_ok(reader, &values[i]);
        extras[i] = pair->value;
        if (pair->value.kind != VALUE_MAP && pair->value.kind != VALUE_NULL) {
            fault(reader, &pair->value, "wrong-type",
                  "behind a matrix value stands a map of further variables");
            continue;
        }
        for (size_t k = 0; pair->value.kind == VALUE_MAP && k < pair->value.as.map.n; k++) {
            const ValuePair *extra = &pair->value.as.map.pairs[k];
            if (!schema_is_ident(extra->key)) {
                faults_add(reader->faults, reader->file, extra->line, extra->col, false,
                           "bad-value", "'" STR_FMT "' can not be the name of a variable",
                           STR_ARG(extra->key));
            }
        }
    }
    out->values = values;
    out->extras = extras;
    out->n = map->as.map.n;
}

static void axis_of_list(EvalReader *reader, const Value *list, MatrixAxis *out)
{
    Value *extras = ARENA_ARRAY(reader->arena, Value, list->as.list.n + 1);
    for (size_t i = 0; i < list->as.list.n; i++) {
        extras[i] = value_null();
        axis_value_ok(reader, &list->as.list.items[i]);
    }
    out->values = list->as.list.items;
    out->extras = extras;
    out->n = list->as.list.n;
}

static void check_axis_duplicates(EvalReader *reader, const MatrixAxis *axis)
{
    for (size_t i = 0; i < axis->n; i++) {
        Str a = STR_EMPTY, b = STR_EMPTY;
        bool text = text_of_scalar(reader->arena, &axis->values[i], &a);
        for (size_t k = 0; text && k < i; k++) {
            if (text_of_scalar(reader->arena, &axis->values[k], &b) && str_eq(a, b)) {
                faults_add(reader->faults, reader->file, axis->values[i].line, axis->values[i].col,
                           false, "duplicate", "two parts would be called '" STR_FMT "'",
                           STR_ARG(a));
            }
        }
    }
}

static void read_matrix(EvalReader *reader, const Value *root, Eval *out)
{
    const Value *matrix = value_get_c(root, "matrix");
    if (matrix == NULL) {
        return;
    }
    MatrixAxis *axes = ARENA_ARRAY(reader->arena, MatrixAxis, matrix->as.map.n + 1);
    for (size_t i = 0; i < matrix->as.map.n; i++) {
        const ValuePair *pair = &matrix->as.map.pairs[i];
        axes[i].name = pair->key;
        if (pair->value.kind == VALUE_STR) {
            axes[i].parts = str_eq_c(pair->value.as.str, "parts");
            if (!axes[i].parts) {
                fault(reader, &pair->value, "bad-value",
                      "a matrix name takes a list, a map, or the word parts");
            } else if (out->dataset_use.len == 0) {
                fault(reader, &pair->value, "dangling", "'parts' needs a dataset with use: NAME");
            }
        } else if (pair->value.kind == VALUE_MAP) {
            axis_of_map(reader, &pair->value, &axes[i]);
        } else {
            axis_of_list(reader, &pair->value, &axes[i]);
        }
        check_axis_duplicates(reader, &axes[i]);
    }
    out->matrix = axes;
    out->n_matrix = matrix->as.map.n;
}

// ---- dataset, sample, few_shot -----------------------------------------------------------------

static void read_dataset(EvalReader *reader, const Value *root, Eval *out)
{
    static const char *const origins[] = {"use", "path", "rows", NULL};
    const Value *dataset = value_get_c(root, "dataset");
    if (dataset == NULL) {
        return; // a fault already
    }
    size_t n = count_keys(dataset, origins);
    if (n != 1) {
        fault(reader, dataset, n == 0 ? "missing-key" : "bad-value",
              "'dataset' needs exactly one of use, path and rows");
    }
    out->dataset_use = value_get_str(dataset, "use", STR_EMPTY);
    out->dataset_path = value_get_str(dataset, "path", STR_EMPTY);
    out->dataset_rows = value_of(dataset, "rows");
    out->dataset_part = value_of(dataset, "part");
    out->dataset_split = value_get_str(dataset, "split", STR_EMPTY);
    out->dataset_at = value_get_str(dataset, "at", STR_EMPTY);
    out->dataset_columns =
        texts_of(reader, value_get_c(dataset, "columns"), &out->n_dataset_columns);
    out->where = value_of(dataset, "where");
    out->expect = value_of(dataset, "expect");
    static const char *const of_use[] = {"part", "split"};
    static const char *const of_path[] = {"at", "columns"};
    for (size_t i = 0; i < 2; i++) {
        const Value *use_key = value_get_c(dataset, of_use[i]);
        const Value *path_key = value_get_c(dataset, of_path[i]);
        if (use_key != NULL && out->dataset_use.len == 0) {
            faults_add(reader->faults, reader->file, use_key->line, use_key->col, false,
                       "bad-value", "'%s' goes with use: NAME only", of_use[i]);
        }
        if (path_key != NULL && out->dataset_path.len == 0) {
            faults_add(reader->faults, reader->file, path_key->line, path_key->col, false,
                       "bad-value", "'%s' goes with path: FILE only", of_path[i]);
        }
    }
    const Value *lengths = value_get_c(&out->expect, "length");
    for (size_t i = 0; lengths != NULL && i < lengths->as.map.n; i++) {
        const Value *range = &lengths->as.map.pairs[i].value;
        if (range->as.list.n != 2 || range->as.list.items[0].kind != VALUE_INT ||
            range->as.list.items[0].as.integer > range->as.list.items[1].as.integer) {
            fault(reader, range, "bad-value",
                  "a length is a list of two numbers, the smaller first");
        }
    }
}

static void read_sample(const Value *root, Eval *out)
{
    const Value *sample = value_get_c(root, "sample");
    out->sample_id = value_of(sample, "id");
    out->sample_input = value_of(sample, "input");
    out->sample_choices = value_of(sample, "choices");
    out->sample_target = value_of(sample, "target");
    out->sample_metadata = value_of(sample, "metadata");
    out->sample_cluster = value_of(sample, "cluster");
    out->sample_files = value_of(sample, "files");
}

/** An id listed twice would be one shot twice. */
static void check_ids(EvalReader *reader, const Value *ids)
{
    for (size_t i = 0; ids->kind == VALUE_LIST && i < ids->as.list.n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (value_equal(&ids->as.list.items[i], &ids->as.list.items[k])) {
                fault(reader, &ids->as.list.items[i], "duplicate", "this id is listed already");
                break;
            }
        }
    }
}

static void read_few_shot(EvalReader *reader, const Value *map, const Eval *eval, FewShot *out)
{
    static const char *const origins[] = {"split", "path", "rows", NULL};
    *out = (FewShot){.rows = value_null(), .ids = value_null()};
    if (map == NULL) {
        return;
    }
    out->given = true;
    out->split = value_get_str(map, "split", STR_EMPTY);
    out->path = value_get_str(map, "path", STR_EMPTY);
    out->rows = value_of(map, "rows");
    out->ids = value_of(map, "ids");
    out->count = value_get_int(map, "count", -1);
    out->seeded = str_eq_c(value_get_str(map, "pick", STR_EMPTY), "seeded");
    size_t n = count_keys(map, origins);
    bool by_id = out->ids.kind == VALUE_LIST; // of the scored split when it stands alone
    if (n + (by_id && out->split.len == 0) != 1) {
        fault(
            reader, map, n == 0 ? "missing-key" : "bad-value",
            "'few_shot' needs exactly one of split, path, rows and ids (ids go with a split too)");
    }
    if (out->split.len > 0 && eval->dataset_use.len == 0) {
        fault(reader, value_get_c(map, "split"), "dangling",
              "'split' needs a dataset with use: NAME");
    }
    if (out->split.len > 0 && out->count < 0 && !by_id) {
        fault(reader, map, "missing-key", "'few_shot' with a split needs the key 'count'");
    }
    const Value *listed = out->ids.kind == VALUE_LIST ? &out->ids : &out->rows;
    if (listed->kind == VALUE_LIST && out->count > (int64_t)listed->as.list.n) {
        faults_add(reader->faults, reader->file, map->line, map->col, false, "bad-value",
                   "'few_shot' takes %lld of %zu %s", (long long)out->count, listed->as.list.n,
                   listed == &out->ids ? "ids" : "rows");
    }
    check_ids(reader, &out->ids);
}

// ---- solver, graders, metrics ------------------------------------------------------------------

/** Keys that the table does not name: a solver's or grader's own params. */
static Value params_of(EvalReader *reader, const Value *map, const KeyTable *table,
                       const KeyTable *more)
{
    MapBuilder params;
    map_builder_init(&params, reader->arena);
    for (size_t i = 0; i < map->as.map.n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        if (keys_find(table, pair->key) == NULL &&
            (more == NULL || keys_find(more, pair->key) == NULL)) {
            map_builder_put(&params, pair->key, pair->value);
            params.pairs[params.n - 1].line = pair->line;
            params.pairs[params.n - 1].col = pair->col;
        }
    }
    Value value = map_builder_done(&params);
    value.line = map->line;
    value.col = map->col;
    return value;
}

static GenSettings read_settings(EvalReader *reader, const Value *solver)
{
    GenSettings settings = gen_settings_default();
    settings.max_tokens = value_get_int(solver, "max_tokens", settings.max_tokens);
    settings.temperature = value_get_real(solver, "temperature", settings.temperature);
    settings.top_p = value_get_real(solver, "top_p", settings.top_p);
    settings.top_k = value_get_int(solver, "top_k", settings.top_k);
    settings.min_p = value_get_real(solver, "min_p", settings.min_p);
    settings.logprobs = value_get_int(solver, "logprobs", settings.logprobs);
    settings.schema = value_of(solver, "schema");
    settings.stop = texts_of(reader, value_get_c(solver, "stop"), &settings.n_stop);
    return settings;
}

static void read_solver(EvalReader *reader, const Value *map, EvalSolver *out)
{
    *out = (EvalSolver){.params = value_map(NULL, 0), .settings = gen_settings_default()};
    if (map == NULL) {
        return; // a fault already
    }
    schema_check(&keys_generation, map, reader->file, reader->faults);
    *out = (EvalSolver){
        .use = value_get_str(map, "use", STR_EMPTY),
        .params = params_of(reader, map, &keys_solver, &keys_generation),
        .settings = read_settings(reader, map),
        .line = use_place(map)->line,
        .col = use_place(map)->col,
    };
}

static void read_answer(EvalReader *reader, const Value *map, AnswerRule *out)
{
    *out = (AnswerRule){0};
    if (map == NULL) {
        return;
    }
    out->given = true;
    out->after = value_get_str(map, "after", STR_EMPTY);
    out->regex = value_get_str(map, "regex", STR_EMPTY);
    out->trim = value_get_str(map, "trim", STR_EMPTY);
    out->first = str_eq_c(value_get_str(map, "which", STR_EMPTY), "first");
    if (out->after.len > 0 && out->regex.len > 0) {
        fault(reader, map, "bad-value", "'answer' takes after or regex, not both");
    }
    if (out->regex.len > 0) {
        Regex *regex = NULL;
        Err err = ERR_INIT;
        const Value *at = value_get_c(map, "regex");
        if (!regex_create(out->regex, 0, &regex, &err)) {
            faults_add(reader->faults, reader->file, at->line, at->col, false, "bad-value",
                       "'regex' does not compile: %s", err.message);
        } else if (regex_groups(regex) > 1) {
            fault(reader, at, "bad-value", "'regex' may have one group at most: the answer");
        }
        regex_destroy(regex);
    }
}

static void read_graders(EvalReader *reader, const Value *root, Eval *out)
{
    const Value *list = value_get_c(root, "graders");
    if (list == NULL) {
        return; // a fault already
    }
    EvalGrader *graders = ARENA_ARRAY(reader->arena, EvalGrader, list->as.list.n + 1);
    for (size_t i = 0; i < list->as.list.n; i++) {
        const Value *map = &list->as.list.items[i];
        EvalGrader *grader = &graders[i];
        grader->use = value_get_str(map, "use", STR_EMPTY);
        grader->name = value_get_str(map, "name", grader->use);
        grader->params = params_of(reader, map, &keys_grader, NULL);
        grader->when = value_of(map, "when");
        grader->negate = value_get_bool(map, "not", false);
        grader->role = value_get_str(map, "role", STR_EMPTY);
        grader->target = value_of(map, "target");
        grader->line = use_place(map)->line;
        grader->col = use_place(map)->col;
        read_answer(reader, value_get_c(map, "answer"), &grader->answer);
        for (size_t k = 0; k < i; k++) {
            if (str_eq(graders[k].name, grader->name)) {
                faults_add(reader->faults, reader->file, map->line, map->col, false, "duplicate",
                           "two graders are called '" STR_FMT "': give one a name: of its own",
                           STR_ARG(grader->name));
                break;
            }
        }
    }
    out->graders = graders;
    out->n_graders = list->as.list.n;
}

static void read_metric(EvalReader *reader, const Value *value, EvalMetric *out)
{
    *out = (EvalMetric){
        .params = value_map(NULL, 0), .line = use_place(value)->line, .col = use_place(value)->col};
    if (value->kind == VALUE_STR) {
        out->use = value->as.str;
        return;
    }
    out->use = value_get_str(value, "use", STR_EMPTY);
    out->of = value_get_str(value, "of", STR_EMPTY);
    out->average = value_get_str(value, "average", STR_EMPTY);
    out->over = value_get_str(value, "over", STR_EMPTY);
    // Params are what is left, and k and min, which the table knows because several metrics share
    // them.
    MapBuilder params;
    map_builder_init(&params, reader->arena);
    for (size_t i = 0; i < value->as.map.n; i++) {
        const ValuePair *pair = &value->as.map.pairs[i];
        if (keys_find(&keys_metric, pair->key) == NULL || str_eq_c(pair->key, "k") ||
            str_eq_c(pair->key, "min")) {
            map_builder_put(&params, pair->key, pair->value);
            params.pairs[params.n - 1].line = pair->line;
            params.pairs[params.n - 1].col = pair->col;
        }
    }
    out->params = map_builder_done(&params);
    out->params.line = value->line;
    out->params.col = value->col;
}

/** A metric that is not the program's own comes from a Lua file. */
static void find_metric(EvalReader *reader, const Eval *eval, EvalMetric *metric)
{
    const LuaUnit *unit = NULL;
    Err ignored = ERR_INIT; // a name that dangles, a file that does not load: eval_check.c tells
    if (metric->use.len > 0 && !keys_word_in(keys_metrics_known, metric->use) &&
        registry_unit(reader->registry, UNIT_METRIC, metric->use, eval->dir, &unit, &ignored)) {
        metric->file = unit->file;
        metric->text = unit->text;
    }
}

static void read_metrics(EvalReader *reader, const Value *root, Eval *out)
{
    const Value *list = value_get_c(root, "metrics");
    size_t n = list != NULL ? list->as.list.n : 1;
    EvalMetric *metrics = ARENA_ARRAY(reader->arena, EvalMetric, n);
    for (size_t i = 0; list != NULL && i < n; i++) {
        read_metric(reader, &list->as.list.items[i], &metrics[i]);
        find_metric(reader, out, &metrics[i]);
    }
    if (list == NULL) {
        metrics[0] = (EvalMetric){.use = STR("accuracy"), .params = value_map(NULL, 0)};
    }
    out->metrics = metrics;
    out->n_metrics = n;
}

// ---- Variants ----------------------------------------------------------------------------------

static void check_messages(EvalReader *reader, const Value *list)
{
    static const char *const message_keys[] = {"role", "content", NULL};
    static const char *const message_only[] = {"role",       "content",      "name",
                                               "tool_calls", "tool_call_id", NULL};
    static const char *const loop_keys[] = {"each", "messages", NULL};
    static const char *const loop_only[] = {"each", "messages", "as", NULL};
    for (size_t i = 0; list->kind == VALUE_LIST && i < list->as.list.n; i++) {
        const Value *message = &list->as.list.items[i];
        if (message->kind != VALUE_MAP) {
            continue;
        }
        bool loop =
            value_get_c(message, "each") != NULL || value_get_c(message, "messages") != NULL;
        const char *const *needs = loop ? loop_keys : message_keys;
        const char *const *refused = loop ? message_only : loop_only;
        bool calls = value_get_c(message, "tool_calls") != NULL;
        for (; *needs != NULL; needs++) {
            if (value_get_c(message, *needs) == NULL &&
                !(calls && str_eq_c(STR("content"), *needs))) {
                faults_add(reader->faults, reader->file, message->line, message->col, false,
                           "missing-key", "%s needs the key '%s'",
                           loop ? "a loop of messages" : "a message", *needs);
            }
        }
        for (; *refused != NULL; refused++) {
            const Value *value = value_get_c(message, *refused);
            if (value != NULL) {
                faults_add(reader->faults, reader->file, value->line, value->col, false,
                           "bad-value", "'%s' has no place in %s", *refused,
                           loop ? "a loop of messages" : "a message that is not a loop");
            }
        }
        const Value *inner = value_get_c(message, "messages");
        if (inner != NULL) {
            check_messages(reader, inner);
        }
    }
}

/** Prompt or messages of a map; the other one is left as it was only when neither is given. */
static void read_prompt(EvalReader *reader, const Value *map, EvalVariant *out)
{
    const Value *prompt = value_get_c(map, "prompt");
    const Value *messages = value_get_c(map, "messages");
    if (prompt != NULL && messages != NULL) {
        fault(reader, messages, "bad-value", "there is a prompt already: it is one or the other");
    }
    if (prompt != NULL || messages != NULL) {
        out->prompt = prompt != NULL ? *prompt : value_null();
        out->messages = messages != NULL ? *messages : value_null();
    }
    if (messages != NULL) {
        check_messages(reader, messages);
    }
}

static void read_variants(EvalReader *reader, const Value *root, Eval *out)
{
    EvalVariant base = {.name = STR_EMPTY, .prompt = value_null(), .messages = value_null()};
    read_prompt(reader, root, &base);
    read_few_shot(reader, value_get_c(root, "few_shot"), out, &base.few_shot);
    read_solver(reader, value_get_c(root, "solver"), &base.solver);
    const Value *map = value_get_c(root, "variants");
    size_t n = map != NULL ? map->as.map.n : 1;
    EvalVariant *variants = ARENA_ARRAY(reader->arena, EvalVariant, n);
    variants[0] = base;
    for (size_t i = 0; map != NULL && i < n; i++) {
        const ValuePair *pair = &map->as.map.pairs[i];
        variants[i] = base;
        variants[i].name = pair->key;
        read_prompt(reader, &pair->value, &variants[i]);
        const Value *few_shot = value_get_c(&pair->value, "few_shot");
        const Value *solver = value_get_c(&pair->value, "solver");
        if (few_shot != NULL) {
            read_few_shot(reader, few_shot, out, &variants[i].few_shot);
        }
        if (solver != NULL) {
            read_solver(reader, solver, &variants[i].solver);
        }
    }
    out->variants = variants;
    out->n_variants = n;
}

static void read_limits(const Value *root, Eval *out)
{
    const Value *limits = value_get_c(root, "limits");
    out->limits = (EvalLimits){
        .tokens = value_get_int(limits, "tokens", 0),
        .seconds = value_get_real(limits, "seconds", 0),
        .turns = value_get_int(limits, "turns", 0),
        .cost_usd = value_get_real(limits, "cost_usd", 0),
        .then = value_get_str(limits, "then", STR("error")),
    };
}

// ---- The whole ---------------------------------------------------------------------------------

static void put_default(MapBuilder *map, const Value *root, const char *key, Value value)
{
    if (value_get_c(root, key) == NULL) {
        map_builder_put(map, str_from_c(key), value);
    }
}

/** Hash of the tree with its defaults filled in; how it is written and described does not count. */
static Hash eval_hash(EvalReader *reader, const Value *root, const Eval *eval)
{
    MapBuilder map;
    map_builder_init(&map, reader->arena);
    for (size_t i = 0; i < root->as.map.n; i++) {
        const ValuePair *pair = &root->as.map.pairs[i];
        if (!str_eq_c(pair->key, "description")) {
            map_builder_put(&map, pair->key, pair->value);
        }
    }
    Value *accuracy = ARENA_NEW(reader->arena, Value);
    *accuracy = value_str(STR("accuracy"));
    put_default(&map, root, "version", value_int(1));
    put_default(&map, root, "epochs", value_int(1));
    put_default(&map, root, "metrics", value_list(accuracy, 1));
    Value whole = map_builder_done(&map);
    Sha256 sha;
    hash_begin(&sha, STR("muster.eval.1"));
    hash_value(&sha, &whole);
    for (size_t i = 0; i < eval->n_metrics; i++) {
        hash_str(&sha, eval->metrics[i].text);
    }
    return hash_end(&sha);
}

bool eval_from_value(Registry *registry, Str file, const Value *root, Faults *faults, Eval *out)
{
    size_t before = faults->n_errors;
    schema_check(&keys_eval, root, file, faults);
    registry_schema_version(root, file, faults);
    EvalReader reader = {registry, &registry->arena, file, faults};
    Value clean = schema_clean(&registry->arena, &keys_eval, root);
    const Value *source = root;
    root = &clean;
    *out = (Eval){
        .name = value_get_str(root, "eval", STR_EMPTY),
        .version = value_get_int(root, "version", 1),
        .description = value_get_str(root, "description", STR_EMPTY),
        .file = file,
        .dir = path_dir(file),
        .helpers = value_get_str(root, "helpers", STR_EMPTY),
        .epochs = value_get_int(root, "epochs", 1),
        .roles = value_of(root, "roles"),
        .sandbox = value_of(root, "sandbox"),
        .gate = value_of(root, "gate"),
        .source = *source,
    };
    read_dataset(&reader, root, out);
    read_matrix(&reader, root, out);
    read_sample(root, out);
    if (out->sample_input.kind == VALUE_LIST) {
        check_messages(&reader, &out->sample_input);
    }
    read_variants(&reader, root, out);
    read_graders(&reader, root, out);
    read_metrics(&reader, root, out);
    read_limits(root, out);
    out->slices = texts_of(&reader, value_get_c(root, "slices"), &out->n_slices);
    out->hash = eval_hash(&reader, source, out);
    return faults->n_errors == before;
}

bool registry_eval(Registry *registry, Str name_or_path, Faults *faults, const Eval **out, Err *err)
{
    Str file;
    bool is_path =
        str_ends_with(name_or_path, STR(".yaml")) || str_ends_with(name_or_path, STR(".yml"));
    if (is_path) {
        file = str_copy(&registry->arena, name_or_path);
        if (!file_exists(file)) {
            return ERR_SET(err, ERR_NOT_FOUND, "no eval file '" STR_FMT "'", STR_ARG(file));
        }
    } else if (!registry_find(registry, REGISTRY_EVALS, name_or_path, &registry->arena, &file)) {
        return registry_not_found(registry, REGISTRY_EVALS, "eval", name_or_path, err);
    }
    Value root;
    size_t before = faults->n_errors, n_before = faults->n;
    Eval *eval = ARENA_NEW(&registry->arena, Eval);
    if (!registry_yaml(registry, file, faults, &root, err)) {
        return false;
    }
    bool whole = eval_from_value(registry, file, &root, faults, eval);
    eval_check(registry, eval, whole, faults);
    const Value *at = value_get_c(&root, "eval");
    if (!is_path && eval->name.len > 0 && !str_eq(eval->name, name_or_path)) {
        faults_add(faults, file, at->line, at->col, false, "bad-value",
                   "the eval is called '" STR_FMT "', but its file '" STR_FMT ".yaml'",
                   STR_ARG(eval->name), STR_ARG(name_or_path));
    }
    registry_faults_sort(faults, n_before);
    if (faults->n_errors > before) {
        return registry_faults_err(faults, err);
    }
    *out = eval;
    return true;
}
