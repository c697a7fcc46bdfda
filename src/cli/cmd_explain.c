// SPDX-License-Identifier: MIT
// muster explain: exactly what a sample sends to a model, as text and as token ids, and what each
// grader would make of a given reply. Calls no model.
#include "cli/cli.h"

#include <math.h>

#include "run/run.h"
#include "text/text.h"

typedef struct ExplainOptions {
    Str model;
    Str sample;
    Str variant;
    bool tokens;
    Str reply;
    bool chat;
    int64_t seed;
} ExplainOptions;

#define O ExplainOptions
static const Option options[] = {
    {"model", 'm', OPT_STR_AT(O, model), .arg = "MODEL", .help = "provider/name (default: echo)"},
    {"sample", 's', OPT_STR_AT(O, sample), .arg = "N|ID",
     .help =
         "number of the sample in its part, from 1 (default 1), or an id that is no number; all, "
         "or an id with * or ?: one line a request",
     .flag_only = true},
    {"variant", 0, OPT_STR_AT(O, variant), .arg = "V", .help = "only this variant"},
    {"tokens", 0, OPT_FLAG_AT(O, tokens), .help = "show token ids (local models)"},
    {"reply", 0, OPT_STR_AT(O, reply), .arg = "TEXT", .help = "what the graders make of this reply",
     .may_be_empty = true},
    {"chat", 0, OPT_FLAG_AT(O, chat), .help = "as run --chat"},
    {"seed", 0, OPT_INT_AT(O, seed), .arg = "S", .help = "as run --seed"},
};
#undef O

typedef struct Explain {
    Cli *cli;
    const ExplainOptions *opts;
    Sampler *sampler;
    SamplerHost host;
    SamplerSettings settings;
    Queue queue;
} Explain;

static void heading(const Cli *cli, const char *what)
{
    printf("%s%s%s\n", cli->color_out ? "\033[1m" : "", what, cli->color_out ? "\033[0m" : "");
}

static void print_text(Str text)
{
    Buf buf = {0};
    report_text(&buf, text, true);
    cli_print(&buf);
    printf("\n");
    buf_finish(&buf);
}

/** Text of the data or of a grader within a line: no byte of it moves the cursor. */
static Str in_line(const Explain *ex, Str text)
{
    Buf buf = {0};
    report_text(&buf, text, false);
    Str copy = str_copy(&ex->cli->arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

static void print_ids(const PreparedSequence *sequence)
{
    printf("tokens (%zu", sequence->n_ids);
    if (sequence->n_context > 0) {
        printf(", scored from %zu", sequence->n_context);
    }
    printf("):");
    for (size_t k = 0; k < sequence->n_ids; k++) {
        printf(" %d", (int)sequence->ids[k]);
    }
    printf("\n");
}

static void print_prepared(const Explain *ex, const Prepared *prepared)
{
    for (size_t i = 0; i < prepared->n_sequences; i++) {
        const PreparedSequence *sequence = &prepared->sequences[i];
        char title[64];
        snprintf(title, sizeof(title), prepared->n_sequences > 1 ? "--- sequence %zu" : "--- sent",
                 i + 1);
        heading(ex->cli, title);
        print_text(sequence->text);
        if (ex->opts->tokens && sequence->ids != NULL) {
            print_ids(sequence);
        }
    }
    if (prepared->body.kind != VALUE_NULL) {
        heading(ex->cli, "--- request body");
        cli_print_json(&prepared->body);
    }
}

static Value ids_value(Arena *arena, const PreparedSequence *sequence)
{
    Value *ids = ARENA_ARRAY(arena, Value, sequence->n_ids + 1);
    for (size_t k = 0; k < sequence->n_ids; k++) {
        ids[k] = value_int(sequence->ids[k]);
    }
    return value_list(ids, sequence->n_ids);
}

static Value prepared_value(Arena *arena, const Prepared *prepared)
{
    Value *items = ARENA_ARRAY(arena, Value, prepared->n_sequences + 1);
    for (size_t i = 0; i < prepared->n_sequences; i++) {
        MapBuilder map;
        map_builder_init(&map, arena);
        map_builder_put(&map, STR("text"), value_str(prepared->sequences[i].text));
        map_builder_put(&map, STR("ids"), ids_value(arena, &prepared->sequences[i]));
        map_builder_put(&map, STR("n_context"),
                        value_int((int64_t)prepared->sequences[i].n_context));
        items[i] = map_builder_done(&map);
    }
    return value_list(items, prepared->n_sequences);
}

static Value score_value(Arena *arena, const Score *score)
{
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("grader"), value_str(score->grader));
    if (score->state == SCORE_VALUE) {
        map_builder_put(&map, STR("value"), value_real(score->value));
    } else {
        map_builder_put(
            &map, STR("unscored"),
            value_str(score->state == SCORE_ABSENT ? STR("does not apply") : score->reason));
    }
    if (score->has_answer) {
        map_builder_put(&map, STR("answer"), value_str(score->answer));
    }
    if (score->why.len > 0) {
        map_builder_put(&map, STR("why"), value_str(score->why));
    }
    return map_builder_done(&map);
}

// ---- What all samples share -----------------------------------------------------------------

#define SHARED_SAMPLES_MAX 500 // looked at; a prompt that differs does so early

/** The start that a sample's first sequence has in common with those of the other samples. */
typedef struct Shared {
    Str text;            // of this sample
    const int32_t *ids;  // NULL without a tokenizer
    size_t n_ids;        // of this sample
    size_t n_text_bytes; // in common
    size_t n_common_ids;
    size_t n_samples; // compared, this one included
} Shared;

static void shared_with(Shared *shared, const PreparedSequence *other)
{
    size_t n = 0;
    while (n < shared->n_text_bytes && n < other->text.len &&
           shared->text.data[n] == other->text.data[n]) {
        n++;
    }
    while (n > 0 && n < shared->text.len && ((unsigned char)shared->text.data[n] & 0xC0) == 0x80) {
        n--; // not in the middle of a character
    }
    shared->n_text_bytes = n;
    size_t k = 0;
    while (k < shared->n_common_ids && k < other->n_ids && shared->ids[k] == other->ids[k]) {
        k++;
    }
    shared->n_common_ids = k;
    shared->n_samples++;
}

/** Compare with the task's other samples; one that can not be rendered is left out. */
static void shared_find(Explain *ex, Task *task, size_t index, Shared *shared)
{
    Cli *cli = ex->cli;
    for (size_t i = 0; i < task->n_samples && i < SHARED_SAMPLES_MAX; i++) {
        ArenaMark mark = arena_mark(&cli->arena);
        Err ignored = ERR_INIT;
        Sample sample;
        Request *requests = NULL;
        size_t n = 0;
        Prepared prepared;
        if (i != index &&
            run_first_requests(cli->script, cli->registry, task, i, 1, (uint64_t)ex->opts->seed,
                               ex->sampler, ex->opts->chat, &cli->arena, &sample, &requests, &n,
                               &ignored) &&
            n > 0 &&
            ex->sampler->ops->prepare(ex->sampler, &requests[0], &cli->arena, &prepared,
                                      &ignored) &&
            prepared.n_sequences > 0) {
            shared_with(shared, &prepared.sequences[0]);
        }
        arena_rewind(&cli->arena, mark);
    }
}

static void print_shared(Explain *ex, Task *task, size_t index, const Prepared *prepared)
{
    if (prepared->n_sequences == 0 || prepared->sequences[0].text.len == 0) {
        return;
    }
    const PreparedSequence *own = &prepared->sequences[0];
    Shared shared = {.text = own->text,
                     .ids = own->ids,
                     .n_ids = own->n_ids,
                     .n_text_bytes = own->text.len,
                     .n_common_ids = own->ids == NULL ? 0 : own->n_ids,
                     .n_samples = 1};
    shared_find(ex, task, index, &shared);
    if (shared.n_samples < 2) {
        return;
    }
    heading(ex->cli, "--- shared");
    Str start = str_slice(shared.text, 0, shared.n_text_bytes);
    printf("%zu of %zu characters start the prompts of all %zu samples%s", utf8_length(start),
           utf8_length(shared.text), shared.n_samples,
           shared.n_samples < task->n_samples ? " looked at" : "");
    if (shared.ids != NULL) {
        printf(" (%zu of %zu tokens)", shared.n_common_ids, shared.n_ids);
    }
    size_t from = shared.n_text_bytes > 40 ? shared.n_text_bytes - 40 : 0;
    while (from > 0 && ((unsigned char)shared.text.data[from] & 0xC0) == 0x80) {
        from--;
    }
    Buf tail = {0};
    json_write_str(&tail, str_slice(shared.text, from, shared.n_text_bytes));
    printf("%s" STR_FMT "\n", shared.n_text_bytes == 0 ? "" : "; they part after ",
           STR_ARG(shared.n_text_bytes == 0 ? STR_EMPTY : buf_view(&tail)));
    buf_finish(&tail);
}

// ---- One sample -----------------------------------------------------------------------------

static void print_scores(const Explain *ex, const StepOutput *graded)
{
    heading(ex->cli, "--- scores of the given reply");
    for (size_t i = 0; i < graded->n_scores; i++) {
        const Score *score = &graded->scores[i];
        if (score->state == SCORE_VALUE) {
            printf(STR_FMT ": %g", STR_ARG(score->grader), score->value);
        } else {
            printf(STR_FMT ": %s", STR_ARG(score->grader),
                   score->state == SCORE_ABSENT ? "does not apply" : "unscored");
        }
        if (score->has_answer) {
            printf("  answer: " STR_FMT, STR_ARG(in_line(ex, score->answer)));
        }
        Str why = score->state == SCORE_UNSCORED ? score->reason : score->why;
        printf("%s" STR_FMT "\n", why.len > 0 ? "  " : "", STR_ARG(in_line(ex, why)));
    }
}

static void print_sample(const Explain *ex, const Task *task, const Sample *sample)
{
    printf(STR_FMT "%s" STR_FMT "%s" STR_FMT "  sample " STR_FMT "\n", STR_ARG(task->eval->name),
           task->part.len > 0 ? "/" : "", STR_ARG(task->part),
           task->variant->name.len > 0 ? "  variant " : "", STR_ARG(task->variant->name),
           STR_ARG(in_line(ex, sample->id)));
    printf("model " STR_FMT "\n", STR_ARG(ex->sampler->description));
    if (task->chat_reason.len > 0) {
        printf("%s: " STR_FMT "\n", task->uses_chat ? "chat" : "text", STR_ARG(task->chat_reason));
    }
    const FewShot *shots = &task->variant->few_shot;
    if (shots->given) {
        printf("few_shot: ");
        if (shots->count > 0) {
            printf("%lld ", (long long)shots->count);
        }
        Str from = shots->split.len > 0  ? shots->split
                   : shots->path.len > 0 ? shots->path
                                         : STR("rows of the eval");
        printf("shots from " STR_FMT "%s\n", STR_ARG(from), shots->seeded ? ", seeded" : "");
    }
    for (size_t i = 0; i < sample->n_choices; i++) {
        printf("choice %zu: " STR_FMT "\n", i, STR_ARG(in_line(ex, sample->choices[i].text)));
    }
    for (size_t i = 0; i < sample->n_targets; i++) {
        printf("target: " STR_FMT "\n", STR_ARG(in_line(ex, sample->targets[i])));
    }
}

static Value request_json(Explain *ex, Task *task, const Sample *sample, const Request *request,
                          const Prepared *prepared)
{
    Arena *arena = &ex->cli->arena;
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("eval"), value_str(task->eval->name));
    map_builder_put(&map, STR("part"), value_str(task->part));
    map_builder_put(&map, STR("variant"), value_str(task->variant->name));
    map_builder_put(&map, STR("id"), value_str(sample->id));
    map_builder_put(&map, STR("request"), request_to_value(arena, request));
    map_builder_put(&map, STR("sequences"), prepared_value(arena, prepared));
    if (prepared->body.kind != VALUE_NULL) {
        map_builder_put(&map, STR("body"), prepared->body);
    }
    return map_builder_done(&map);
}

static void print_line(const Explain *ex, const Task *task, const Sample *sample,
                       const Request *request, const Prepared *prepared)
{
    size_t n_ids = 0;
    for (size_t i = 0; i < prepared->n_sequences; i++) {
        n_ids += prepared->sequences[i].n_ids;
    }
    printf(STR_FMT "%s" STR_FMT "\t" STR_FMT "\t%s\t%zu sequence%s\t", STR_ARG(task->eval->name),
           task->part.len > 0 ? "/" : "", STR_ARG(task->part), STR_ARG(in_line(ex, sample->id)),
           request->kind == REQUEST_LOGLIK ? "loglik" : "generate", prepared->n_sequences,
           PLURAL(prepared->n_sequences));
    if (n_ids > 0) { // else the model's tokens are not known here
        printf("%zu tokens\n", n_ids);
    } else {
        printf("-\n");
    }
}

/** Graders that ask a model: what they would send. explain calls none, so there is no score. */
static void explain_asked(Explain *ex, const StepOutput *graded)
{
    Arena *arena = &ex->cli->arena;
    for (size_t i = 0; i < graded->n_effects; i++) {
        const Effect *effect = &graded->effects[i];
        if (ex->cli->global.json) {
            ValuePair pair = value_pair(STR("asks"), request_to_value(arena, &effect->request));
            Value value = value_map(&pair, 1);
            cli_print_json(&value);
            continue;
        }
        char title[160];
        snprintf(title, sizeof(title),
                 "--- a grader asks %.64s (call %.32s); explain calls no model",
                 effect->request.role.len > 0 ? str_to_c(arena, effect->request.role)
                                              : "the model under test",
                 str_to_c(arena, effect->path));
        heading(ex->cli, title);
        if (effect->request.prompt.is_chat) {
            for (size_t m = 0; m < effect->request.prompt.n_messages; m++) {
                print_text(effect->request.prompt.messages[m].content);
            }
        } else {
            print_text(effect->request.prompt.text);
        }
    }
}

static bool explain_sample(Explain *ex, Task *task, size_t index, bool one_line, Err *err)
{
    Sample sample;
    Request *requests = NULL;
    size_t n = 0;
    Cli *cli = ex->cli;
    if (!run_first_requests(cli->script, cli->registry, task, index, 1, (uint64_t)ex->opts->seed,
                            ex->sampler, ex->opts->chat, &cli->arena, &sample, &requests, &n,
                            err)) {
        return false;
    }
    if (!one_line && !cli->global.json) {
        print_sample(ex, task, &sample);
    }
    for (size_t i = 0; i < n; i++) {
        Prepared prepared;
        if (!ex->sampler->ops->prepare(ex->sampler, &requests[i], &cli->arena, &prepared, err)) {
            return false;
        }
        if (cli->global.json) {
            Value value = request_json(ex, task, &sample, &requests[i], &prepared);
            cli_print_json(&value);
        } else if (one_line) {
            print_line(ex, task, &sample, &requests[i], &prepared);
        } else {
            print_prepared(ex, &prepared);
            if (i == 0) {
                print_shared(ex, task, index, &prepared);
            }
        }
    }
    if (ex->opts->reply.data == NULL) { // --reply "" is a reply
        return true;
    }
    StepOutput graded;
    if (!run_grade_text(cli->script, task, &sample, ex->sampler, ex->opts->reply, &cli->arena,
                        &graded, err)) {
        return false;
    }
    if (!graded.done) {
        explain_asked(ex, &graded);
    } else if (cli->global.json) {
        Value *scores = ARENA_ARRAY(&cli->arena, Value, graded.n_scores + 1);
        for (size_t i = 0; i < graded.n_scores; i++) {
            scores[i] = score_value(&cli->arena, &graded.scores[i]);
        }
        Value value = value_list(scores, graded.n_scores);
        cli_print_json(&value);
    } else {
        print_scores(ex, &graded);
    }
    return true;
}

/** How --sample says which ones. */
typedef enum Pick {
    PICK_NUMBER,
    PICK_ID,   // one in each part that has it
    PICK_MANY, // all, or a glob on ids: a line each
} Pick;

static Pick pick_of(Str sample)
{
    int64_t number;
    if (sample.len == 0 || str_to_i64(sample, &number)) {
        return PICK_NUMBER;
    }
    bool glob =
        str_find(sample, STR("*"), 0) != STR_NONE || str_find(sample, STR("?"), 0) != STR_NONE;
    return glob || str_eq(sample, STR("all")) ? PICK_MANY : PICK_ID;
}

/** Those of a task with a fitting id; *n_shown grows by their number. */
static bool explain_ids(Explain *ex, Task *task, bool one_line, size_t *n_shown, Err *err)
{
    Arena *arena = &ex->cli->arena;
    Str wanted = ex->opts->sample;
    Str glob = str_eq(wanted, STR("all")) ? STR("*") : wanted;
    for (size_t i = 0; i < task->n_samples; i++) {
        Str id;
        ArenaMark mark = arena_mark(arena);
        if (!registry_task_id(ex->cli->registry, task, i, arena, &id, err)) {
            return false;
        }
        bool fits = glob_match(glob, id);
        arena_rewind(arena, mark);
        if (fits && !explain_sample(ex, task, i, one_line, err)) {
            return false;
        }
        *n_shown += fits;
    }
    return true;
}

static bool explain_task(Explain *ex, Task *task, size_t *n_shown, Err *err)
{
    Pick pick = pick_of(ex->opts->sample);
    if (pick != PICK_NUMBER) {
        return explain_ids(ex, task, pick == PICK_MANY, n_shown, err);
    }
    int64_t number = 1;
    str_to_i64(ex->opts->sample, &number);
    if (number < 1 || (size_t)number > task->n_samples) {
        return ERR_SET(err, ERR_USAGE, "--sample: %lld is outside 1 to %zu", (long long)number,
                       task->n_samples);
    }
    *n_shown += 1;
    return explain_sample(ex, task, (size_t)number - 1, false, err);
}

/** The wanted part (or the first; all where --sample is no number) in each wanted variant. */
static bool explain_eval(Explain *ex, const Eval *eval, Str part, Err *err)
{
    Str *parts = NULL;
    size_t n_parts = 0;
    size_t n_tasks = 0;
    size_t n_shown = 0;
    bool all = pick_of(ex->opts->sample) != PICK_NUMBER;
    if (!registry_parts(ex->cli->registry, eval, &parts, &n_parts, err)) {
        return false;
    }
    for (size_t v = 0; v < eval->n_variants; v++) {
        if (ex->opts->variant.len > 0 && !str_eq(ex->opts->variant, eval->variants[v].name)) {
            continue;
        }
        for (size_t p = 0; p < n_parts; p++) {
            if (part.len > 0 ? !glob_match(part, parts[p]) : (!all && p > 0)) {
                continue;
            }
            Task *task = NULL;
            if (!registry_task_open(ex->cli->registry, eval, parts[p], &eval->variants[v],
                                    (uint64_t)ex->opts->seed, &task, err)) {
                return false;
            }
            bool ok = explain_task(ex, task, &n_shown, err);
            registry_task_close(ex->cli->registry, task);
            if (!ok) {
                return false;
            }
            n_tasks++;
        }
    }
    if (n_tasks == 0) {
        return ERR_SET(err, ERR_USAGE, "eval '" STR_FMT "' has no such part or variant",
                       STR_ARG(eval->name));
    }
    if (n_shown > 0 || !all || str_eq(ex->opts->sample, STR("all"))) {
        return true;
    }
    return pick_of(ex->opts->sample) == PICK_MANY
               ? ERR_SET(err, ERR_USAGE, "--sample: no sample's id matches '" STR_FMT "'",
                         STR_ARG(ex->opts->sample))
               : ERR_SET(err, ERR_USAGE,
                         "--sample: '" STR_FMT "' is neither a number, nor all, nor a sample's id",
                         STR_ARG(ex->opts->sample));
}

static Net *no_net(SamplerHost *host, Err *err)
{
    (void)host;
    ERR_SET(err, ERR_INTERNAL, "explain opens no connection");
    return NULL;
}

static bool explain_open(Explain *ex, Err *err)
{
    const Model *model = NULL;
    Str spec = ex->opts->model.len > 0 ? ex->opts->model : STR("echo");
    ex->settings = (SamplerSettings){
        .force_chat = ex->opts->chat, .threads = 1, .device = STR("cpu")}; // it only tokenises
    ex->host = (SamplerHost){.completions = &ex->queue,
                             .script = ex->cli->script,
                             .net = no_net,
                             .settings = &ex->settings};
    return cli_model(ex->cli, spec, &model, err) &&
           sampler_open(model, &ex->host, &ex->sampler, err);
}

static int cmd_explain_run(Cli *cli, void *options_struct, const Str *args, size_t n_args)
{
    (void)n_args;
    Err err = ERR_INIT;
    Explain ex = {.cli = cli, .opts = options_struct};
    Faults faults;
    faults_init(&faults, &cli->arena);
    const Eval *eval = NULL;
    Str name = args[0];
    Str part = STR_EMPTY;
    if (!str_ends_with(name, STR(".yaml")) && !str_ends_with(name, STR(".yml"))) {
        str_cut(args[0], STR("/"), &name, &part);
    }
    if (!queue_init(&ex.queue)) {
        ERR_SET(&err, ERR_IO, "no event descriptor");
        return cli_fail(cli, &err);
    }
    bool ok = cli_registry(cli, &err) && registry_eval(cli->registry, name, &faults, &eval, &err);
    if (cli_faults(cli, &faults) && !ok) {
        err = (Err)ERR_INIT;
        ERR_SET(&err, ERR_CONFIG, STR_FMT ": %zu error%s (above)", STR_ARG(name), faults.n_errors,
                PLURAL(faults.n_errors));
    }
    ok = ok && explain_open(&ex, &err) && explain_eval(&ex, eval, part, &err);
    if (ex.sampler != NULL) {
        ex.sampler->ops->close(ex.sampler);
    }
    queue_finish(&ex.queue);
    return ok ? EXIT_OK : cli_fail(cli, &err);
}

const Command cmd_explain = {
    .name = "explain",
    .args = "EVAL[/PART]",
    .summary = "show exactly what a sample sends to a model, and what a given reply would score",
    .options = options,
    .n_options = sizeof(options) / sizeof(options[0]),
    .options_size = sizeof(ExplainOptions),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_explain_run,
};
