// SPDX-License-Identifier: MIT
// A log of Inspect (its JSON format, version 2): one eval, variant and model, its parts told by the
// samples' ids and metadata. Boolean scores are its C and I; unscored ones are NaN, as it writes
// them itself though JSON has no word for it.
#include "results/export_internal.h"

#include "text/text.h"

#include <math.h>
#include <string.h>

typedef struct InspectLog {
    ExportWriter writer;
    const Side *side;
    bool has_parts;
    size_t n_samples;
} InspectLog;

static void put(MapBuilder *map, const char *key, Value value)
{
    map_builder_put(map, str_from_c(key), value);
}

/** "KEY":VALUE, after a comma where something stands before. */
static void put_member(Buf *buf, const char *key, const Value *value)
{
    buf_printf(buf, ",\"%s\":", key);
    json_write(buf, value, JSON_COMPACT);
}

// ---- The head -----------------------------------------------------------------------------------

static Value dataset_value(const Side *side, int64_t n_samples, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "name", value_str(side->runs[0].eval));
    put(&map, "samples", value_int(n_samples));
    put(&map, "shuffled", value_bool(false));
    return map_builder_done(&map);
}

static int64_t planned_samples(const Side *side)
{
    int64_t n = 0;
    for (size_t i = 0; i < side->n_runs; i++) {
        int64_t epochs = side->runs[i].spec.epochs;
        n += side->runs[i].n_planned / (epochs > 0 ? epochs : 1);
    }
    return n;
}

static Value revision_value(const Value *provenance, Arena *arena)
{
    Str commit = value_get_str(provenance, "git_commit", STR_EMPTY);
    if (commit.len == 0) {
        return value_null();
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "type", value_str(STR("git")));
    put(&map, "origin", value_str(STR_EMPTY));
    put(&map, "commit", value_str(commit));
    put(&map, "dirty", value_bool(value_get_bool(provenance, "git_dirty", false)));
    return map_builder_done(&map);
}

static Value eval_value(const InspectLog *log, Arena *arena)
{
    const Side *side = log->side;
    const RunInfo *run = &side->runs[0];
    const ExperimentInfo *experiment = &side->experiment;
    MapBuilder args;
    MapBuilder config;
    MapBuilder metadata;
    MapBuilder packages;
    MapBuilder map;
    map_builder_init(&args, arena);
    map_builder_init(&config, arena);
    map_builder_init(&metadata, arena);
    map_builder_init(&packages, arena);
    map_builder_init(&map, arena);
    if (run->variant.len > 0) {
        put(&args, "variant", value_str(run->variant));
    }
    put(&config, "epochs", value_int(run->spec.epochs));
    put(&metadata, "experiment", value_str(experiment->name));
    put(&metadata, "experiment_id", value_str(experiment->short_id));
    put(&metadata, "spec", experiment->spec);
    put(&packages, "muster",
        value_str(value_get_str(&experiment->provenance, "program", STR_EMPTY)));
    Str id =
        str_printf(arena, STR_FMT "-" STR_FMT, STR_ARG(experiment->short_id), STR_ARG(run->eval));
    put(&map, "run_id", value_str(experiment->short_id));
    put(&map, "eval_id", value_str(id));
    put(&map, "created", value_str(experiment->started));
    put(&map, "task", value_str(run->eval));
    put(&map, "task_id", value_str(id));
    put(&map, "task_version", value_int(run->spec.eval_version));
    put(&map, "task_args", map_builder_done(&args));
    put(&map, "dataset", dataset_value(side, planned_samples(side), arena));
    put(&map, "model", value_str(run->model));
    put(&map, "config", map_builder_done(&config));
    put(&map, "revision", revision_value(&experiment->provenance, arena));
    put(&map, "packages", map_builder_done(&packages));
    put(&map, "metadata", map_builder_done(&metadata));
    return map_builder_done(&map);
}

// ---- Results ------------------------------------------------------------------------------------

/** "exact" and "accuracy" of "exact.accuracy". */
static void metric_split(const MetricRow *metric, Str *grader, Str *name)
{
    size_t dot = str_find_last(metric->name, STR("."));
    *grader = dot == STR_NONE ? STR_EMPTY : str_slice(metric->name, 0, dot);
    *name = dot == STR_NONE ? metric->name : str_slice(metric->name, dot + 1, metric->name.len);
}

static void put_metric(MapBuilder *map, Str name, double value)
{
    if (!isfinite(value)) {
        return;
    }
    MapBuilder one;
    map_builder_init(&one, map->arena);
    put(&one, "name", value_str(name));
    put(&one, "value", value_real(value));
    put(&one, "params", value_map(NULL, 0));
    map_builder_put(map, name, map_builder_done(&one));
}

/** The metrics of one grader as an EvalScore. */
static Value score_value(const MetricRow *const *metrics, size_t n, Str grader, int64_t epochs,
                         Arena *arena)
{
    MapBuilder values;
    MapBuilder map;
    map_builder_init(&values, arena);
    map_builder_init(&map, arena);
    const MetricRow *first = NULL;
    for (size_t i = 0; i < n; i++) {
        Str of;
        Str name;
        metric_split(metrics[i], &of, &name);
        if (!str_eq(of, grader)) {
            continue;
        }
        put_metric(&values, name, metrics[i]->value);
        if (first == NULL) {
            first = metrics[i];
            put_metric(&values, STR("stderr"), first->stderr_);
        }
    }
    put(&map, "name", value_str(grader));
    put(&map, "scorer", value_str(grader));
    if (epochs > 1) {
        put(&map, "reducer", value_str(STR("mean")));
    }
    put(&map, "scored_samples", value_int(first != NULL ? first->n : 0));
    put(&map, "unscored_samples", value_int(first != NULL ? first->n_unscored : 0));
    put(&map, "params", value_map(NULL, 0));
    put(&map, "metrics", map_builder_done(&values));
    return map_builder_done(&map);
}

static bool is_of_log(const Side *side, Str eval, Str variant, Str model)
{
    const RunInfo *run = &side->runs[0];
    return str_eq(eval, run->eval) && str_eq(variant, run->variant) && str_eq(model, run->model);
}

/** The log's metrics: of its only run, or those over all parts. */
static bool metrics_find(Results *results, const Side *side, Arena *arena, const MetricRow ***out,
                         size_t *out_n, Err *err)
{
    size_t n = 0;
    const MetricRow **rows = NULL;
    if (side->n_runs == 1) {
        RunInfo *runs = NULL;
        size_t n_runs = 0;
        if (!results_runs(results, arena, side->experiment.id, &runs, &n_runs, err)) {
            return false;
        }
        for (size_t r = 0; r < n_runs; r++) {
            if (runs[r].id != side->runs[0].id) {
                continue;
            }
            rows = ARENA_ARRAY(arena, const MetricRow *, runs[r].n_metrics + 1);
            for (size_t i = 0; i < runs[r].n_metrics; i++) {
                rows[n] = &runs[r].metrics[i];
                n += rows[n]->slice.len == 0;
            }
        }
    } else {
        CrossMetric *cross = NULL;
        size_t n_cross = 0;
        if (!results_cross_metrics(results, arena, side->experiment.id, &cross, &n_cross, err)) {
            return false;
        }
        rows = ARENA_ARRAY(arena, const MetricRow *, n_cross + 1);
        for (size_t i = 0; i < n_cross; i++) {
            rows[n] = &cross[i].metric;
            n += cross[i].over.len == 0 && rows[n]->slice.len == 0 &&
                 is_of_log(side, cross[i].eval, cross[i].variant, cross[i].model);
        }
    }
    *out = rows;
    *out_n = n;
    return true;
}

static Value results_value(const Side *side, const MetricRow *const *metrics, size_t n,
                           Arena *arena)
{
    Value *scores = ARENA_ARRAY(arena, Value, n + 1);
    size_t n_scores = 0;
    for (size_t i = 0; i < n; i++) {
        Str grader;
        Str name;
        metric_split(metrics[i], &grader, &name);
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            Str other;
            metric_split(metrics[j], &other, &name);
            seen = str_eq(other, grader);
        }
        if (!seen) {
            scores[n_scores++] = score_value(metrics, n, grader, side->runs[0].spec.epochs, arena);
        }
    }
    int64_t n_done = 0;
    int64_t n_planned = 0;
    for (size_t i = 0; i < side->n_runs; i++) {
        n_done += side->runs[i].n_done;
        n_planned += side->runs[i].n_planned;
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "total_samples", value_int(n_planned));
    put(&map, "completed_samples", value_int(n_done));
    put(&map, "scores", value_list(scores, n_scores));
    return map_builder_done(&map);
}

static Value usage_value(const Usage *usage, double cost_usd, Arena *arena)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "input_tokens", value_int(usage->input));
    put(&map, "output_tokens", value_int(usage->output));
    put(&map, "total_tokens", value_int(usage->input + usage->output));
    put(&map, "input_tokens_cache_read", value_int(usage->cached));
    put(&map, "reasoning_tokens", value_int(usage->reasoning));
    if (isfinite(cost_usd) && cost_usd > 0) {
        put(&map, "total_cost", value_real(cost_usd));
    }
    return map_builder_done(&map);
}

static void usage_add(Usage *sum, const Usage *more, int sign)
{
    sum->input += sign * more->input;
    sum->output += sign * more->output;
    sum->cached += sign * more->cached;
    sum->reasoning += sign * more->reasoning;
}

/** What the models that play roles have used, beside the model under test. */
typedef struct Others {
    const Value *roles; // {role: {model, ..}} of the run that is visited
    Str model;          // under test
    Str *models;        // n of them, no two alike
    Usage *usages;
    size_t n;
} Others;

static const Value *roles_of(const RunInfo *run)
{
    const Value *roles = value_get_c(&run->spec.spec, "roles");
    return roles != NULL && roles->kind == VALUE_MAP ? roles : NULL;
}

/** The place of the model that played a role; NULL for the model under test. */
static Usage *usage_of_role(Others *others, Str role)
{
    Str model = value_get_str(value_get(others->roles, role), "model", STR_EMPTY);
    for (size_t i = 0; i < others->n; i++) {
        if (str_eq(others->models[i], model)) {
            return &others->usages[i];
        }
    }
    return NULL;
}

static bool others_attempt(void *ctx, const AttemptInfo *attempt)
{
    Others *others = ctx;
    for (size_t i = 0; attempt->calls.kind == VALUE_LIST && i < attempt->calls.as.list.n; i++) {
        const Value *call = &attempt->calls.as.list.items[i];
        Str role = value_get_str(value_get_c(call, "request"), "role", STR_EMPTY);
        Usage *sum = role.len > 0 ? usage_of_role(others, role) : NULL;
        const Value *usage = value_get_c(value_get_c(call, "reply"), "usage");
        if (sum != NULL && usage != NULL) {
            Usage more = {.input = value_get_int(usage, "input", 0),
                          .output = value_get_int(usage, "output", 0),
                          .cached = value_get_int(usage, "cached", 0),
                          .reasoning = value_get_int(usage, "reasoning", 0)};
            usage_add(sum, &more, 1);
        }
    }
    return true;
}

/** Read the calls of runs in which other models played roles; there are none of them else. */
static bool others_read(Results *results, const Side *side, Arena *arena, Others *out, Err *err)
{
    size_t most = 0;
    *out = (Others){.model = side->runs[0].model};
    for (size_t i = 0; i < side->n_runs; i++) {
        const Value *roles = roles_of(&side->runs[i]);
        most += roles != NULL ? roles->as.map.n : 0;
    }
    out->models = ARENA_ARRAY(arena, Str, most);
    out->usages = ARENA_ARRAY(arena, Usage, most);
    for (size_t i = 0; i < side->n_runs; i++) {
        out->roles = roles_of(&side->runs[i]);
        for (size_t r = 0; out->roles != NULL && r < out->roles->as.map.n; r++) {
            const ValuePair *role = &out->roles->as.map.pairs[r];
            Str model = value_get_str(&role->value, "model", STR_EMPTY);
            if (!str_eq(model, out->model) && usage_of_role(out, role->key) == NULL) {
                out->usages[out->n] = (Usage){0};
                out->models[out->n++] = model;
            }
        }
        AttemptFilter filter = {.with_calls = true};
        if (out->n > 0 && out->roles != NULL &&
            !results_run_attempts(results, &side->runs[i], &filter, others_attempt, out, err)) {
            return false;
        }
    }
    return true;
}

/** Tokens by model, as Inspect has them. What each of several models cost is not kept apart. */
static Value stats_value(const Side *side, const Others *others, Arena *arena)
{
    Usage sum = {0};
    double cost_usd = others->n > 0 ? (double)NAN : 0;
    for (size_t i = 0; i < side->n_runs; i++) {
        usage_add(&sum, &side->runs[i].usage, 1);
        cost_usd += side->runs[i].cost_usd;
    }
    for (size_t i = 0; i < others->n; i++) {
        usage_add(&sum, &others->usages[i], -1);
    }
    MapBuilder usage;
    MapBuilder map;
    map_builder_init(&usage, arena);
    map_builder_init(&map, arena);
    map_builder_put(&usage, others->model, usage_value(&sum, cost_usd, arena));
    for (size_t i = 0; i < others->n; i++) {
        map_builder_put(&usage, others->models[i],
                        usage_value(&others->usages[i], (double)NAN, arena));
    }
    put(&map, "started_at", value_str(side->experiment.started));
    put(&map, "model_usage", map_builder_done(&usage));
    return map_builder_done(&map);
}

// ---- Samples ------------------------------------------------------------------------------------

static Str role_word(Str role)
{
    static const char *const known[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (str_eq_c(role, known[i])) {
            return role;
        }
    }
    return STR("user");
}

/** Stored JSON when it is a chat, else null. */
static Value chat_parse(Arena *arena, Str text)
{
    Value value;
    Err ignored = ERR_INIT;
    bool may_be = str_starts_with(text, STR("[{"));
    if (!may_be || !json_parse(arena, text, NULL, &value, NULL, &ignored)) {
        return value_null();
    }
    for (size_t i = 0; i < value.as.list.n; i++) {
        const Value *content = value_get_c(&value.as.list.items[i], "content");
        if (value_get_c(&value.as.list.items[i], "role") == NULL || content == NULL ||
            content->kind != VALUE_STR) {
            return value_null();
        }
    }
    return value;
}

static Value message_value(Arena *arena, Str role, Str content)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "role", value_str(role_word(role)));
    put(&map, "content", value_str(content));
    return map_builder_done(&map);
}

/** Messages with the members that Inspect knows. */
static Value messages_value(Arena *arena, const Value *chat)
{
    size_t n = chat->as.list.n;
    Value *items = ARENA_ARRAY(arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *message = &chat->as.list.items[i];
        items[i] = message_value(arena, value_get_str(message, "role", STR_EMPTY),
                                 value_get_str(message, "content", STR_EMPTY));
    }
    return value_list(items, n);
}

/** What was sent, then what came back. */
static Value conversation_value(Arena *arena, const AttemptInfo *attempt)
{
    Value chat = chat_parse(arena, attempt->prompt);
    size_t n = chat.kind == VALUE_LIST ? chat.as.list.n : 1;
    Value *items = ARENA_ARRAY(arena, Value, n + 1);
    if (chat.kind == VALUE_LIST) {
        Value messages = messages_value(arena, &chat);
        for (size_t i = 0; i < n; i++) {
            items[i] = messages.as.list.items[i];
        }
    } else {
        items[0] = message_value(arena, STR("user"), attempt->prompt);
    }
    items[n] = message_value(arena, STR("assistant"), attempt->reply_text);
    return value_list(items, n + 1);
}

static Str stop_word(Str stop)
{
    static const char *const words[][2] = {
        {"stop", "stop"},
        {"length", "max_tokens"},
        {"tool_calls", "tool_calls"},
        {"filter", "content_filter"},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_eq_c(stop, words[i][0])) {
            return str_from_c(words[i][1]);
        }
    }
    return STR("unknown");
}

static Value output_value(Arena *arena, const AttemptInfo *attempt)
{
    MapBuilder choice;
    MapBuilder map;
    map_builder_init(&choice, arena);
    map_builder_init(&map, arena);
    put(&choice, "message", message_value(arena, STR("assistant"), attempt->reply_text));
    put(&choice, "stop_reason", value_str(stop_word(attempt->stop)));
    Value *choices = ARENA_ARRAY(arena, Value, 1);
    choices[0] = map_builder_done(&choice);
    put(&map, "model", value_str(attempt->model));
    put(&map, "choices", value_list(choices, 1));
    put(&map, "completion", value_str(attempt->reply_text));
    put(&map, "usage", usage_value(&attempt->usage, attempt->cost_usd, arena));
    put(&map, "time", value_real(isfinite(attempt->seconds) ? attempt->seconds : 0));
    return map_builder_done(&map);
}

/** A list of one is its only text, as Inspect has it. */
static Value target_value(Arena *arena, Str stored)
{
    Value list;
    Err ignored = ERR_INIT;
    if (stored.len == 0 || !json_parse(arena, stored, NULL, &list, NULL, &ignored) ||
        list.kind != VALUE_LIST || list.as.list.n == 0) {
        return value_str(STR_EMPTY);
    }
    return list.as.list.n == 1 ? list.as.list.items[0] : list;
}

static Value choice_texts(Arena *arena, const Value *choices)
{
    size_t n = choices->kind == VALUE_LIST ? choices->as.list.n : 0;
    Value *texts = ARENA_ARRAY(arena, Value, n + 1);
    for (size_t i = 0; i < n; i++) {
        const Value *text = value_get_c(&choices->as.list.items[i], "text");
        if (text == NULL || text->kind != VALUE_STR) {
            return value_null();
        }
        texts[i] = *text;
    }
    return n > 0 ? value_list(texts, n) : value_null();
}

static Value metadata_value(const InspectLog *log, Arena *arena, const AttemptInfo *attempt)
{
    Value stored;
    Err ignored = ERR_INIT;
    MapBuilder map;
    map_builder_init(&map, arena);
    if (attempt->metadata.len > 0 &&
        json_parse(arena, attempt->metadata, NULL, &stored, NULL, &ignored) &&
        stored.kind == VALUE_MAP) {
        for (size_t i = 0; i < stored.as.map.n; i++) {
            bool part = str_eq_c(stored.as.map.pairs[i].key, "part");
            if (!part || !log->has_parts) {
                map_builder_put(&map, stored.as.map.pairs[i].key, stored.as.map.pairs[i].value);
            }
        }
    }
    if (log->has_parts) {
        put(&map, "part", value_str(attempt->part));
    }
    return map_builder_done(&map);
}

/** C and I of a boolean score, else its number; NaN when there is none. */
static void put_score(Buf *buf, Arena *arena, const Score *score)
{
    json_write_str(buf, score->grader);
    buf_c(buf, ":{\"value\":");
    Value number = value_real(score->value);
    if (score->state != SCORE_VALUE) {
        buf_c(buf, "NaN");
    } else if (score->is_boolean) {
        buf_c(buf, score->value != 0 ? "\"C\"" : "\"I\"");
    } else {
        json_write(buf, &number, JSON_COMPACT);
    }
    bool scored = score->state == SCORE_VALUE;
    Value answer = score->has_answer ? value_str(score->answer) : value_null();
    Value why = value_str(scored ? score->why : score->reason);
    put_member(buf, "answer", &answer);
    put_member(buf, "explanation", &why);
    MapBuilder metadata;
    map_builder_init(&metadata, arena);
    if (score->weight != 1) {
        put(&metadata, "weight", value_real(score->weight));
    }
    if (score->detail.kind != VALUE_NULL) {
        put(&metadata, "detail", score->detail);
    }
    if (metadata.n > 0) {
        Value map = map_builder_done(&metadata);
        put_member(buf, "metadata", &map);
    }
    buf_char(buf, '}');
}

static void put_error(Buf *buf, Arena *arena, const AttemptInfo *attempt)
{
    if (attempt->error_code.len == 0) {
        return;
    }
    MapBuilder map;
    map_builder_init(&map, arena);
    put(&map, "message",
        value_str(str_printf(arena, STR_FMT ": " STR_FMT, STR_ARG(attempt->error_code),
                             STR_ARG(attempt->error))));
    put(&map, "traceback", value_str(STR_EMPTY));
    put(&map, "traceback_ansi", value_str(STR_EMPTY));
    Value error = map_builder_done(&map);
    put_member(buf, "error", &error);
}

static bool inspect_attempt(void *ctx, const AttemptInfo *attempt)
{
    InspectLog *log = ctx;
    Buf *buf = &log->writer.buf;
    Arena arena = {0};
    Value id =
        value_str(log->has_parts ? str_printf(&arena, STR_FMT "/" STR_FMT, STR_ARG(attempt->part),
                                              STR_ARG(attempt->sample_id))
                                 : attempt->sample_id);
    Value chat = chat_parse(&arena, attempt->input);
    Value input =
        chat.kind == VALUE_LIST ? messages_value(&arena, &chat) : value_str(attempt->input);
    Value epoch = value_int(attempt->epoch);
    Value choices = choice_texts(&arena, &attempt->choices);
    Value target = target_value(&arena, attempt->target);
    Value messages = conversation_value(&arena, attempt);
    Value output = output_value(&arena, attempt);
    Value metadata = metadata_value(log, &arena, attempt);
    Value seconds = value_real(isfinite(attempt->seconds) ? attempt->seconds : 0);
    buf_c(buf, log->n_samples++ > 0 ? ",\n{\"id\":" : "\n{\"id\":");
    json_write(buf, &id, JSON_COMPACT);
    put_member(buf, "epoch", &epoch);
    put_member(buf, "input", &input);
    if (choices.kind == VALUE_LIST) {
        put_member(buf, "choices", &choices);
    }
    put_member(buf, "target", &target);
    put_member(buf, "messages", &messages);
    put_member(buf, "output", &output);
    buf_c(buf, ",\"scores\":{");
    for (size_t i = 0; i < attempt->n_scores; i++) {
        buf_c(buf, i > 0 ? "," : "");
        put_score(buf, &arena, &attempt->scores[i]);
    }
    buf_char(buf, '}');
    put_member(buf, "metadata", &metadata);
    put_member(buf, "total_time", &seconds);
    put_error(buf, &arena, attempt);
    buf_char(buf, '}');
    arena_finish(&arena);
    return export_flush(&log->writer, false);
}

// ---- The log ------------------------------------------------------------------------------------

static bool inspect_write(Results *results, const Side *side, const ExportOptions *options,
                          Err *err)
{
    InspectLog log = {.side = side, .has_parts = side->n_runs > 1 || side->runs[0].part.len > 0};
    Arena arena = {0};
    const MetricRow **metrics = NULL;
    size_t n_metrics = 0;
    Others others;
    if (!metrics_find(results, side, &arena, &metrics, &n_metrics, err) ||
        !others_read(results, side, &arena, &others, err)) {
        arena_finish(&arena);
        return false;
    }
    export_begin(&log.writer, options, err);
    Buf *buf = &log.writer.buf;
    bool finished = str_eq(side->experiment.state, STR("finished"));
    Value eval = eval_value(&log, &arena);
    Value plan = value_map(NULL, 0);
    Value outcome = results_value(side, metrics, n_metrics, &arena);
    Value stats = stats_value(side, &others, &arena);
    buf_printf(buf, "{\"version\":2,\"status\":\"%s\"", finished ? "success" : "cancelled");
    put_member(buf, "eval", &eval);
    put_member(buf, "plan", &plan);
    put_member(buf, "results", &outcome);
    put_member(buf, "stats", &stats);
    buf_c(buf, ",\"samples\":[");
    bool ok = export_visit(results, side, false, inspect_attempt, &log, &log.writer, err);
    buf_c(buf, "\n]}\n");
    arena_finish(&arena);
    return export_end(&log.writer, ok);
}

const ExportFormat export_inspect = {
    .name = "inspect",
    .help = "a log of Inspect in its JSON format: one eval, variant and model",
    .ending = "json",
    .one_log = true,
    .write = inspect_write,
};
