// SPDX-License-Identifier: MIT
// The key tables of eval, dataset, model and gate files. A row is one key of DESIGN.md 4.1, 4.5 or
// 4.6. Data only.
#include "registry/keys.h"

#include <stddef.h>

#define TEXT   ACCEPT_TEXT
#define SCALAR (ACCEPT_TEXT | ACCEPT_NUMBER | ACCEPT_BOOL)
#define END                                                                                        \
    {                                                                                              \
        .name = NULL                                                                               \
    }
#define LIMIT_COUNT 1e15

static const KeyRow each_filled_text = {"an item", .accepts = TEXT, .flags = KEY_FILLED};
static const KeyRow each_any = {"an item", .accepts = ACCEPT_ANY};
static const KeyRow each_map = {"a row", .accepts = ACCEPT_MAP};
static const KeyRow key_ident = {"a name", .flags = KEY_IDENT};
static const KeyRow key_name = {"a name", .flags = KEY_NAME};
static const KeyRow key_inside = {"a path", .flags = KEY_INSIDE};
static const KeyRow key_filled = {"a name", .flags = KEY_FILLED};

// ---- dataset: ----------------------------------------------------------------------------------

static const KeyRow each_length = {
    "a range", .accepts = ACCEPT_LIST, .flags = KEY_FILLED,
    .each = &(const KeyRow){"a bound", .accepts = ACCEPT_INT, .min = 0, .max = LIMIT_COUNT}};
static const KeyRow each_values = {"values", .accepts = ACCEPT_LIST, .flags = KEY_FILLED,
                                   .each =
                                       &(const KeyRow){"a value", .accepts = SCALAR | ACCEPT_NULL}};

static const KeyRow expect_rows[] = {
    {"rows", .accepts = ACCEPT_INT, .min = 0, .max = LIMIT_COUNT,
     .help = "How many rows all parts together have."},
    {"not_null", .accepts = ACCEPT_LIST, .each = &each_filled_text,
     .help = "Columns that are neither missing, null nor empty in any row."},
    {"unique", .accepts = ACCEPT_LIST, .each = &each_filled_text,
     .help = "Columns whose values never repeat."},
    {"length", .accepts = ACCEPT_MAP, .each = &each_length,
     .help = "For columns the least and the most characters (of text) or items (of a list)."},
    {"values", .accepts = ACCEPT_MAP, .each = &each_values,
     .help = "For columns the only values they may have."},
    END,
};
const KeyTable keys_expect = {"'expect'", expect_rows, false};

static const KeyRow eval_dataset_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_NAME, .help = "The name of a dataset in the registry."},
    {"path", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "A file of rows, relative to this file, then to $MUSTER_MIRROR: JSONL, JSON, CSV, "
             "TSV, or gzip of them."},
    {"rows", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_map,
     .help = "The rows themselves, each a map of columns."},
    {"part", .accepts = TEXT, .flags = KEY_TEMPLATE,
     .help = "Which part of the dataset, mostly a matrix variable."},
    {"split", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "Which split is scored; the only one, or test, when left out."},
    {"at", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "The key inside a JSON file where its list of rows stands."},
    {"columns", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text,
     .help = "Names of the columns of a CSV or TSV file without a header."},
    {"where", .accepts = TEXT, .flags = KEY_TEMPLATE,
     .help = "Keeps the rows for which this expression is true."},
    {"expect", .accepts = ACCEPT_MAP, .map = &keys_expect,
     .help = "What the rows have to be like; checked before a run."},
    END,
};
static const KeyTable eval_dataset = {"'dataset'", eval_dataset_rows, false};

// ---- sample: and prompts -----------------------------------------------------------------------

static const KeyRow choice_rows[] = {
    {"context", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_TEMPLATE,
     .help = "What the choice's text follows, after the prompt."},
    {"text", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_TEMPLATE,
     .help = "The text that is scored or shown."},
    END,
};
static const KeyTable choice_table = {"a choice", choice_rows, false};
static const KeyRow each_choice = {"a choice", .accepts = TEXT | ACCEPT_MAP, .flags = KEY_TEMPLATE,
                                   .map = &choice_table};
static const KeyRow each_target = {"a target", .accepts = TEXT | ACCEPT_NUMBER | ACCEPT_BOOL,
                                   .flags = KEY_TEMPLATE};

static const KeyTable message_table;
static const KeyRow each_message = {"a message", .accepts = TEXT | ACCEPT_MAP,
                                    .flags = KEY_TEMPLATE, .map = &message_table};
static const KeyRow each_tool_call = {"a tool call", .accepts = ACCEPT_MAP, .flags = KEY_FILLED};
static const char *const roles[] = {"system", "user", "assistant", "tool", NULL};
static const KeyRow message_rows[] = {
    {"role", .accepts = TEXT, .words = roles, .help = "Who speaks."},
    {"content", .accepts = TEXT, .flags = KEY_TEMPLATE, .help = "What is said."},
    {"name", .accepts = TEXT, .flags = KEY_TEMPLATE, .help = "The speaker's name."},
    {"each", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "A loop: the name of a list, mostly shots, or an expression that gives one."},
    {"as", .accepts = TEXT, .flags = KEY_IDENT,
     .help = "What an item of the loop is called; s when left out."},
    {"messages", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_message,
     .help = "The messages of the loop, repeated for each item."},
    {"tool_calls", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_tool_call,
     .help = "Calls of tools that an assistant's message makes."},
    {"tool_call_id", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "Which call a tool's message answers."},
    END,
};
static const KeyTable message_table = {"a message", message_rows, false};

static const KeyRow each_file = {"a file", .accepts = TEXT, .flags = KEY_TEMPLATE};
static const KeyRow sample_rows[] = {
    {"id", .accepts = TEXT, .flags = KEY_TEMPLATE | KEY_FILLED,
     .help = "Unique within its part, it pairs the sample between experiments; the row's number "
             "when left out."},
    {"input", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_TEMPLATE | KEY_REQUIRED,
     .each = &each_message, .help = "What is asked: text, or a list of messages."},
    {"choices", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_TEMPLATE | KEY_FILLED,
     .each = &each_choice,
     .help = "A list of texts, or of {context, text} where the context differs."},
    {"target", .accepts = SCALAR | ACCEPT_LIST, .flags = KEY_TEMPLATE, .each = &each_target,
     .help =
         "The right answer or answers; with choices a position from 0 or a choice's exact text."},
    {"metadata", .accepts = ACCEPT_MAP, .each = &each_any, .key = &key_filled,
     .help = "Further values, their types kept: for slices, graders and judges."},
    {"cluster", .accepts = TEXT, .flags = KEY_TEMPLATE | KEY_FILLED,
     .help = "Samples that share it count as one cluster in every error bar."},
    {"files", .accepts = ACCEPT_MAP, .each = &each_file, .key = &key_inside,
     .help = "Files placed in the sandbox: path and text."},
    END,
};
static const KeyTable sample_table = {"'sample'", sample_rows, false};

static const KeyRow each_id = {"an id", .accepts = TEXT | ACCEPT_INT, .flags = KEY_FILLED};
static const char *const pick_words[] = {"first", "seeded", NULL};
static const KeyRow few_shot_rows[] = {
    {"split", .accepts = TEXT, .flags = KEY_FILLED, .help = "The split that shots are taken from."},
    {"path", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "A file of rows that shots are taken from."},
    {"rows", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_map,
     .help = "The rows that shots are taken from."},
    {"ids", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_id,
     .help = "Ids of the rows that become shots, in this order."},
    {"count", .accepts = ACCEPT_INT, .min = 0, .max = 1000, .help = "How many shots."},
    {"pick", .accepts = TEXT, .words = pick_words,
     .help = "first: in the order of the file; seeded: in an order that the seed decides."},
    END,
};
static const KeyTable few_shot_table = {"'few_shot'", few_shot_rows, false};

// ---- solver, graders, metrics ------------------------------------------------------------------

static const KeyRow generation_rows[] = {
    {"max_tokens", .accepts = ACCEPT_INT, .min = 1, .max = 1e9,
     .help = "The most tokens of a reply; 256 when left out."},
    {"stop", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text,
     .help = "Texts at which a reply ends; they are not part of it."},
    {"temperature", .accepts = ACCEPT_NUMBER, .min = 0, .max = 100,
     .help = "0: always the likeliest token (the default)."},
    {"top_p", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1,
     .help = "Only the likeliest tokens whose probabilities add up to this; 1 is off."},
    {"top_k", .accepts = ACCEPT_INT, .min = 0, .max = 1e9,
     .help = "Only so many of the likeliest tokens; 0 is off."},
    {"min_p", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1,
     .help = "Only tokens of at least this share of the likeliest one's probability; 0 is off."},
    {"logprobs", .accepts = ACCEPT_INT, .min = 0, .max = 100,
     .help =
         "Keep the log-probabilities of so many of the likeliest tokens at each place of a reply."},
    {"schema", .accepts = ACCEPT_MAP, .flags = KEY_FILLED,
     .help = "A JSON schema that replies have to follow."},
    END,
};
const KeyTable keys_generation = {"the generation settings", generation_rows, true};

static const KeyRow solver_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME,
     .help = "How an answer is obtained: a solver by the name of its Lua file."},
    END,
};
const KeyTable keys_solver = {"'solver'", solver_rows, true};

static const char *const which_words[] = {"first", "last", NULL};
static const KeyRow answer_rows[] = {
    {"after", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "The answer is what follows this text, up to the end."},
    {"regex", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "The answer is group 1 of this pattern, or the match."},
    {"which", .accepts = TEXT, .words = which_words,
     .help = "Which of several places; last when left out."},
    {"trim", .accepts = TEXT, .flags = KEY_FILLED,
     .help = "Characters cut off both ends of the answer."},
    END,
};
static const KeyTable answer_table = {"'answer'", answer_rows, false};

static const KeyRow grader_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME,
     .help = "How a reply is scored: a grader by the name of its Lua file."},
    {"name", .accepts = TEXT, .flags = KEY_IDENT,
     .help = "What the grader is called in metrics and tables; its use when left out."},
    {"when", .accepts = TEXT, .flags = KEY_TEMPLATE,
     .help = "The grader applies to samples for which this expression is true."},
    {"answer", .accepts = ACCEPT_MAP, .map = &answer_table,
     .help = "Where the answer stands in the reply; the whole reply when left out."},
    {"not", .accepts = ACCEPT_BOOL, .help = "Turns the score round: 1 becomes 0."},
    {"role", .accepts = TEXT, .flags = KEY_IDENT,
     .help = "Which model it asks, by the name of a role."},
    {"target", .accepts = SCALAR | ACCEPT_LIST, .flags = KEY_TEMPLATE | KEY_FILLED,
     .each = &each_target, .help = "Takes the place of the sample's target for this grader."},
    END,
};
const KeyTable keys_grader = {"a grader", grader_rows, true};
static const KeyRow each_grader = {"a grader", .accepts = ACCEPT_MAP, .map = &keys_grader};

static const char *const average_words[] = {"parts", NULL};
static const char *const over_words[] = {"epochs", "variants", NULL};
static const KeyRow metric_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME,
     .help =
         "One of the program's metrics, or the name of a Lua file in metrics/ beside the eval."},
    {"of", .accepts = TEXT, .flags = KEY_IDENT,
     .help = "The grader it is of; every grader when left out."},
    {"average", .accepts = TEXT, .words = average_words,
     .help = "parts: the unweighted mean of the parts' values."},
    {"over", .accepts = TEXT, .words = over_words,
     .help = "What it runs over: epochs, or for worst the variants."},
    {"k", .accepts = ACCEPT_INT, .min = 1, .max = 1e6,
     .help = "How many epochs at_least, pass_at and pass_all are about."},
    {"min", .accepts = ACCEPT_NUMBER,
     .help = "The score from which an epoch has passed; 1 when left out."},
    END,
};
const KeyTable keys_metric = {"a metric", metric_rows, true};
static const KeyRow each_metric = {"a metric", .accepts = TEXT | ACCEPT_MAP, .flags = KEY_NAME,
                                   .map = &keys_metric};

const char *const keys_metrics_known[] = {
    "accuracy", "mean", "sum",        "max",   "min", "median", "majority", "at_least", "pass_at",
    "pass_all", "bits", "perplexity", "brier", "ece", "mcc",    "f1_macro", "worst",    NULL};

// ---- The eval file -----------------------------------------------------------------------------

static const KeyRow variant_rows[] = {
    {"prompt", .accepts = TEXT, .flags = KEY_TEMPLATE,
     .help = "The text that is sent, in place of the eval's."},
    {"messages", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_message,
     .help = "The chat that is sent, in place of the eval's."},
    {"few_shot", .accepts = ACCEPT_MAP, .map = &few_shot_table,
     .help = "The shots, in place of the eval's."},
    {"solver", .accepts = ACCEPT_MAP, .map = &keys_solver,
     .help = "The solver, in place of the eval's."},
    END,
};
static const KeyTable variant_table = {
    "a variant (it may replace prompt, messages, few_shot, solver)", variant_rows, false};
static const KeyRow each_variant = {"a variant", .accepts = ACCEPT_MAP, .map = &variant_table};

static const char *const then_words[] = {"error", "grade", "zero", NULL};
static const KeyRow limits_rows[] = {
    {"turns", .accepts = ACCEPT_INT, .min = 1, .max = 1e6,
     .help = "The most calls of one attempt."},
    {"tokens", .accepts = ACCEPT_INT, .min = 1, .max = 1e12,
     .help = "The most tokens of one attempt, read and written."},
    {"seconds", .accepts = ACCEPT_NUMBER, .min = 0.001, .max = 1e6,
     .help = "The most seconds of one attempt, as its replies took them."},
    {"cost_usd", .accepts = ACCEPT_NUMBER, .min = 1e-9, .max = 1e9,
     .help = "The most that one attempt may cost."},
    {"then", .accepts = TEXT, .words = then_words,
     .help = "What becomes of an attempt that meets a limit: graded as it is, zero, or an error."},
    END,
};
static const KeyTable limits_table = {"'limits'", limits_rows, false};

static const KeyRow sandbox_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME,
     .help = "Which sandbox programs run in."},
    {"seconds", .accepts = ACCEPT_NUMBER, .min = 0.001, .max = 1e6,
     .help = "The most seconds of one program."},
    END,
};
static const KeyTable sandbox_table = {"'sandbox'", sandbox_rows, true};

static const KeyRow each_axis = {"a matrix name", .accepts = TEXT | ACCEPT_LIST | ACCEPT_MAP,
                                 .flags = KEY_FILLED, .each = &each_any};

static const KeyRow eval_rows[] = {
    {"schema", .accepts = ACCEPT_INT, .flags = KEY_REQUIRED,
     .help = "The version of this format: 1."},
    {"eval", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME,
     .help = "The eval's name, and that of its file."},
    {"version", .accepts = ACCEPT_INT, .min = 1, .max = 1e9,
     .help = "Counts up whenever scores could change."},
    {"description", .accepts = TEXT, .help = "One sentence about what is measured."},
    {"helpers", .accepts = TEXT, .flags = KEY_FILLED | KEY_INSIDE,
     .help =
         "A Lua file of pure functions, usable as filters and functions in this file's templates."},
    {"matrix", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_axis, .key = &key_ident,
     .help = "Variables whose combinations are the eval's parts: a list, a map with further "
             "variables, or the parts of the dataset."},
    {"dataset", .accepts = ACCEPT_MAP, .flags = KEY_REQUIRED, .map = &eval_dataset,
     .help = "Where the rows come from."},
    {"sample", .accepts = ACCEPT_MAP, .flags = KEY_REQUIRED, .map = &sample_table,
     .help = "What becomes of a row."},
    {"few_shot", .accepts = ACCEPT_MAP, .map = &few_shot_table,
     .help = "Examples shown before every sample: `shots` in the prompt."},
    {"prompt", .accepts = TEXT, .flags = KEY_TEMPLATE,
     .help = "The text that is sent, untouched. It sees input, choices, id, metadata, shots and "
             "columns, never the target."},
    {"messages", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_message,
     .help = "The chat that is sent, instead of a prompt."},
    {"variants", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_variant,
     .key = &key_name, .help = "Named prompts or settings, run side by side."},
    {"solver", .accepts = ACCEPT_MAP, .flags = KEY_REQUIRED, .map = &keys_solver,
     .help = "How an answer is obtained."},
    {"graders", .accepts = ACCEPT_LIST, .flags = KEY_REQUIRED | KEY_FILLED, .each = &each_grader,
     .help = "How replies are scored; the first one is the headline."},
    {"metrics", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_metric,
     .help = "What is computed from the scores; accuracy when left out."},
    {"slices", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text,
     .help = "Keys of metadata: metrics are given for each of their values too."},
    {"epochs", .accepts = ACCEPT_INT, .min = 1, .max = 100000,
     .help = "How often each sample is tried."},
    {"roles", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_filled_text,
     .key = &key_ident,
     .help =
         "Models that solvers and graders ask by a name of a role; --role NAME=MODEL overrides."},
    {"limits", .accepts = ACCEPT_MAP, .map = &limits_table, .help = "What one attempt may use."},
    {"sandbox", .accepts = ACCEPT_MAP, .map = &sandbox_table,
     .help = "Where programs run that solvers and graders start."},
    {"gate", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .map = &keys_own_gate,
     .help = "Bounds on this eval's metrics, as in a gate file."},
    END,
};
const KeyTable keys_eval = {"an eval file", eval_rows, false};

// ---- Dataset files -----------------------------------------------------------------------------

static const char *const formats[] = {"jsonl", "json", "csv", "tsv", NULL};
static const KeyRow split_rows[] = {
    {"path", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_FILLED | KEY_INSIDE},
    {"at", .accepts = TEXT, .flags = KEY_FILLED},
    {"columns", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text},
    {"format", .accepts = TEXT, .words = formats},
    END,
};
static const KeyTable split_table = {"a file of a split", split_rows, false};
static const KeyRow each_split_file = {"a file", .accepts = TEXT | ACCEPT_MAP,
                                       .flags = KEY_FILLED | KEY_INSIDE, .map = &split_table};
static const KeyRow each_split = {"a split", .accepts = TEXT | ACCEPT_LIST | ACCEPT_MAP,
                                  .flags = KEY_FILLED | KEY_INSIDE, .map = &split_table,
                                  .each = &each_split_file};
static const KeyRow each_path = {"a path", .accepts = TEXT, .flags = KEY_FILLED | KEY_INSIDE};

static const KeyRow pip_rows[] = {
    {"package", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_FILLED},
    {"member", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_FILLED | KEY_INSIDE},
    END,
};
static const KeyTable pip_table = {"'pip'", pip_rows, false};

static const KeyRow source_rows[] = {
    {"path", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_FILLED | KEY_INSIDE},
    {"bytes", .accepts = ACCEPT_INT, .flags = KEY_REQUIRED, .min = 0, .max = 1e15},
    {"sha256", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_SHA256},
    {"url", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text},
    {"pip", .accepts = ACCEPT_MAP, .map = &pip_table},
    END,
};
static const KeyTable source_table = {"a source", source_rows, false};
static const KeyRow each_source = {"a source", .accepts = ACCEPT_MAP, .map = &source_table};

static const KeyRow dataset_rows[] = {
    {"schema", .accepts = ACCEPT_INT, .flags = KEY_REQUIRED},
    {"dataset", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    {"description", .accepts = TEXT},
    {"license", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_FILLED},
    {"homepage", .accepts = TEXT},
    {"url", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text},
    {"parts", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text},
    {"files", .accepts = ACCEPT_MAP, .flags = KEY_REQUIRED | KEY_FILLED, .each = &each_split,
     .key = &key_name},
    {"texts", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_path, .key = &key_ident},
    {"sources", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_source},
    END,
};
const KeyTable keys_dataset = {"a dataset file", dataset_rows, false};

// ---- Model files -------------------------------------------------------------------------------

static const char *const providers[] = {"local", "openai", NULL};
static const KeyRow price_rows[] = {
    {"input", .accepts = ACCEPT_NUMBER, .flags = KEY_REQUIRED, .min = 0, .max = 1e6},
    {"output", .accepts = ACCEPT_NUMBER, .flags = KEY_REQUIRED, .min = 0, .max = 1e6},
    END,
};
static const KeyTable price_table = {"'price_usd'", price_rows, false};
static const char *const endpoint_words[] = {"chat", "completions", "both", NULL};
static const KeyRow each_header = {"a header", .accepts = ACCEPT_TEXT};
/** What sampler/openai.c takes; it checks them too, of models that come from elsewhere. */
static const KeyRow settings_rows[] = {
    {"endpoint", .accepts = ACCEPT_TEXT, .words = endpoint_words},
    {"request", .accepts = ACCEPT_MAP},
    {"headers", .accepts = ACCEPT_MAP, .each = &each_header},
    {"bos", .accepts = ACCEPT_TEXT},
    {"context_tokens", .accepts = ACCEPT_INT, .min = 0, .max = 1e12},
    END,
};
static const KeyTable settings_table = {"'settings'", settings_rows, false};
static const KeyRow model_rows[] = {
    {"schema", .accepts = ACCEPT_INT, .flags = KEY_REQUIRED},
    {"model", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    {"description", .accepts = TEXT},
    {"license", .accepts = TEXT, .flags = KEY_FILLED},
    {"homepage", .accepts = TEXT},
    {"provider", .accepts = TEXT, .flags = KEY_REQUIRED, .words = providers},
    {"name", .accepts = TEXT, .flags = KEY_FILLED},
    {"base_url", .accepts = TEXT, .flags = KEY_FILLED},
    {"api_key_env", .accepts = TEXT, .flags = KEY_IDENT},
    {"price_usd", .accepts = ACCEPT_MAP, .map = &price_table},
    {"chat_template", .accepts = TEXT, .flags = KEY_FILLED},
    {"settings", .accepts = ACCEPT_MAP, .map = &settings_table},
    {"sources", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_source},
    END,
};
const KeyTable keys_model = {"a model file", model_rows, false};

// ---- Gates (DESIGN.md 4.5) ---------------------------------------------------------------------

static const KeyRow each_slice_bound = {"a bound", .accepts = ACCEPT_NUMBER};
static const KeyRow each_bound = {"a bound", .accepts = ACCEPT_NUMBER | ACCEPT_MAP,
                                  .flags = KEY_FILLED, .each = &each_slice_bound};
static const KeyRow each_bounds = {"bounds", .accepts = ACCEPT_NUMBER | ACCEPT_MAP,
                                   .flags = KEY_FILLED, .each = &each_bound};
static const KeyRow each_loss = {"a loss", .accepts = ACCEPT_NUMBER | ACCEPT_MAP,
                                 .flags = KEY_FILLED, .each = &each_bound};
static const KeyRow budget_rows[] = {
    {"error_rate", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1,
     .help = "The largest share of failed attempts."},
    {"cost_usd", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1e9,
     .help = "The most that the experiment may cost."},
    {"p95_latency_s", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1e9,
     .help = "The most seconds that 95 of 100 attempts take."},
    {"tokens", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1e15,
     .help = "The most tokens, read and written, of the experiment."},
    END,
};
static const KeyTable budget_table = {"'budget'", budget_rows, false};
static const KeyRow must_pass_rows[] = {
    {"tag", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_FILLED | KEY_REQUIRED,
     .each = &each_filled_text, .help = "Samples whose metadata has one of these tags."},
    END,
};
static const KeyTable must_pass_table = {"'must_pass'", must_pass_rows, false};
static const char *const gate_modes[] = {"regression", "noninferiority", NULL};
#define GATE_CHECKS                                                                                \
    {"min", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_bounds,                      \
     .help = "The least value of a metric."},                                                      \
        {"max", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_bounds,                  \
         .help = "The greatest value of a metric."},                                               \
        {"max_regression", .accepts = ACCEPT_MAP | ACCEPT_NUMBER, .flags = KEY_FILLED,             \
         .each = &each_loss, .help = "The largest loss against the baseline that is allowed."},    \
        {"confidence", .accepts = ACCEPT_NUMBER, .min = 0.5, .max = 0.999999,                      \
         .help = "One-sided confidence of each check; 0.95 when left out."},                       \
        {"mode", .accepts = TEXT, .words = gate_modes,                                             \
         .help = "Whether an open verdict passes (regression) or fails (noninferiority)."},        \
        {"detect", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1e9,                                 \
         .help = "The largest loss that too small a sample may hide."},                            \
        {"must_pass", .accepts = ACCEPT_MAP, .map = &must_pass_table,                              \
         .help = "Samples that have to be right, one by one."},                                    \
    {                                                                                              \
        "budget", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .map = &budget_table,                \
                  .help = "Bounds on errors, cost and time."                                       \
    }
static const KeyRow gate_rows[] = {
    {"schema", .accepts = ACCEPT_INT, .flags = KEY_REQUIRED},
    {"gate", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    {"description", .accepts = TEXT},
    GATE_CHECKS,
    END,
};
const KeyTable keys_gate = {"a gate file", gate_rows, false};
static const KeyRow own_gate_rows[] = {GATE_CHECKS, END};
const KeyTable keys_own_gate = {"'gate'", own_gate_rows, false};
