// SPDX-License-Identifier: MIT
// The key tables of eval, dataset, model and gate files. A row is one key of DESIGN.md 4.1, 4.5 or
// 4.6; a key whose behaviour comes later stands here too, marked KEY_LATER, so that it is refused
// as 'not supported yet' and not as a spelling mistake. Data only.
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
    {"rows", .accepts = ACCEPT_INT, .min = 0, .max = LIMIT_COUNT},
    {"not_null", .accepts = ACCEPT_LIST, .each = &each_filled_text},
    {"unique", .accepts = ACCEPT_LIST, .each = &each_filled_text},
    {"length", .accepts = ACCEPT_MAP, .each = &each_length},
    {"values", .accepts = ACCEPT_MAP, .each = &each_values},
    END,
};
const KeyTable keys_expect = {"'expect'", expect_rows, false};

static const KeyRow eval_dataset_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_NAME},
    {"path", .accepts = TEXT, .flags = KEY_FILLED},
    {"rows", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_map},
    {"part", .accepts = TEXT, .flags = KEY_TEMPLATE},
    {"split", .accepts = TEXT, .flags = KEY_FILLED},
    {"at", .accepts = TEXT, .flags = KEY_FILLED},
    {"columns", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text},
    {"where", .accepts = TEXT, .flags = KEY_TEMPLATE},
    {"expect", .accepts = ACCEPT_MAP, .map = &keys_expect},
    END,
};
static const KeyTable eval_dataset = {"'dataset'", eval_dataset_rows, false};

// ---- sample: and prompts -----------------------------------------------------------------------

static const KeyRow choice_rows[] = {
    {"context", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_TEMPLATE},
    {"text", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_TEMPLATE},
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
    {"role", .accepts = TEXT, .words = roles},
    {"content", .accepts = TEXT, .flags = KEY_TEMPLATE},
    {"name", .accepts = TEXT, .flags = KEY_TEMPLATE},
    {"each", .accepts = TEXT, .flags = KEY_FILLED},
    {"as", .accepts = TEXT, .flags = KEY_IDENT},
    {"messages", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_message},
    {"tool_calls", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_tool_call},
    {"tool_call_id", .accepts = TEXT, .flags = KEY_FILLED},
    END,
};
static const KeyTable message_table = {"a message", message_rows, false};

static const KeyRow each_file = {"a file", .accepts = TEXT, .flags = KEY_TEMPLATE};
static const KeyRow sample_rows[] = {
    {"id", .accepts = TEXT, .flags = KEY_TEMPLATE | KEY_FILLED},
    {"input", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_TEMPLATE | KEY_REQUIRED,
     .each = &each_message},
    {"choices", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_TEMPLATE | KEY_FILLED,
     .each = &each_choice},
    {"target", .accepts = SCALAR | ACCEPT_LIST, .flags = KEY_TEMPLATE, .each = &each_target},
    {"metadata", .accepts = ACCEPT_MAP, .each = &each_any, .key = &key_filled},
    {"cluster", .accepts = TEXT, .flags = KEY_TEMPLATE | KEY_FILLED},
    {"files", .accepts = ACCEPT_MAP, .each = &each_file, .key = &key_inside},
    END,
};
static const KeyTable sample_table = {"'sample'", sample_rows, false};

static const KeyRow each_id = {"an id", .accepts = TEXT | ACCEPT_INT, .flags = KEY_FILLED};
static const char *const pick_words[] = {"first", "seeded", NULL};
static const KeyRow few_shot_rows[] = {
    {"split", .accepts = TEXT, .flags = KEY_FILLED},
    {"path", .accepts = TEXT, .flags = KEY_FILLED},
    {"rows", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_map},
    {"ids", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_id},
    {"count", .accepts = ACCEPT_INT, .min = 1, .max = 1000},
    {"pick", .accepts = TEXT, .words = pick_words},
    END,
};
static const KeyTable few_shot_table = {"'few_shot'", few_shot_rows, false};

// ---- solver, graders, metrics ------------------------------------------------------------------

static const KeyRow generation_rows[] = {
    {"max_tokens", .accepts = ACCEPT_INT, .min = 1, .max = 1e9},
    {"stop", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text},
    {"temperature", .accepts = ACCEPT_NUMBER, .min = 0, .max = 100},
    {"top_p", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1},
    {"top_k", .accepts = ACCEPT_INT, .min = 0, .max = 1e9},
    {"min_p", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1},
    {"logprobs", .accepts = ACCEPT_INT, .min = 0, .max = 100},
    {"schema", .accepts = ACCEPT_MAP, .flags = KEY_FILLED},
    END,
};
const KeyTable keys_generation = {"the generation settings", generation_rows, true};

static const KeyRow solver_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    END,
};
const KeyTable keys_solver = {"'solver'", solver_rows, true};

static const char *const which_words[] = {"first", "last", NULL};
static const KeyRow answer_rows[] = {
    {"after", .accepts = TEXT, .flags = KEY_FILLED},
    {"regex", .accepts = TEXT, .flags = KEY_FILLED},
    {"which", .accepts = TEXT, .words = which_words},
    {"trim", .accepts = TEXT, .flags = KEY_FILLED},
    END,
};
static const KeyTable answer_table = {"'answer'", answer_rows, false};

static const KeyRow grader_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    {"name", .accepts = TEXT, .flags = KEY_IDENT},
    {"when", .accepts = TEXT, .flags = KEY_TEMPLATE},
    {"answer", .accepts = ACCEPT_MAP, .map = &answer_table},
    {"not", .accepts = ACCEPT_BOOL},
    {"role", .accepts = TEXT, .flags = KEY_IDENT},
    {"target", .accepts = SCALAR | ACCEPT_LIST, .flags = KEY_TEMPLATE | KEY_FILLED,
     .each = &each_target},
    END,
};
const KeyTable keys_grader = {"a grader", grader_rows, true};
static const KeyRow each_grader = {"a grader", .accepts = ACCEPT_MAP, .map = &keys_grader};

static const char *const average_words[] = {"parts", NULL};
static const char *const over_words[] = {"epochs", "variants", NULL};
static const KeyRow metric_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    {"of", .accepts = TEXT, .flags = KEY_IDENT},
    {"average", .accepts = TEXT, .words = average_words},
    {"over", .accepts = TEXT, .words = over_words},
    {"k", .accepts = ACCEPT_INT, .min = 1, .max = 1e6},
    {"min", .accepts = ACCEPT_NUMBER},
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
    {"prompt", .accepts = TEXT, .flags = KEY_TEMPLATE},
    {"messages", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_message},
    {"few_shot", .accepts = ACCEPT_MAP, .map = &few_shot_table},
    {"solver", .accepts = ACCEPT_MAP, .map = &keys_solver},
    END,
};
static const KeyTable variant_table = {
    "a variant (it may replace prompt, messages, few_shot, solver)", variant_rows, false};
static const KeyRow each_variant = {"a variant", .accepts = ACCEPT_MAP, .map = &variant_table};

static const char *const then_words[] = {"error", "grade", "zero", NULL};
static const KeyRow limits_rows[] = {
    {"turns", .accepts = ACCEPT_INT, .min = 1, .max = 1e6},
    {"tokens", .accepts = ACCEPT_INT, .min = 1, .max = 1e12},
    {"seconds", .accepts = ACCEPT_NUMBER, .min = 0.001, .max = 1e6},
    {"cost_usd", .accepts = ACCEPT_NUMBER, .min = 1e-9, .max = 1e9},
    {"then", .accepts = TEXT, .words = then_words},
    END,
};
static const KeyTable limits_table = {"'limits'", limits_rows, false};

static const KeyRow sandbox_rows[] = {
    {"use", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    {"seconds", .accepts = ACCEPT_NUMBER, .min = 0.001, .max = 1e6},
    END,
};
static const KeyTable sandbox_table = {"'sandbox'", sandbox_rows, true};

static const KeyRow each_axis = {"a matrix name", .accepts = TEXT | ACCEPT_LIST | ACCEPT_MAP,
                                 .flags = KEY_FILLED, .each = &each_any};

static const KeyRow eval_rows[] = {
    {"schema", .accepts = ACCEPT_INT, .flags = KEY_REQUIRED},
    {"eval", .accepts = TEXT, .flags = KEY_REQUIRED | KEY_NAME},
    {"version", .accepts = ACCEPT_INT, .min = 1, .max = 1e9},
    {"description", .accepts = TEXT},
    {"helpers", .accepts = TEXT, .flags = KEY_FILLED | KEY_INSIDE},
    {"matrix", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_axis, .key = &key_ident},
    {"dataset", .accepts = ACCEPT_MAP, .flags = KEY_REQUIRED, .map = &eval_dataset},
    {"sample", .accepts = ACCEPT_MAP, .flags = KEY_REQUIRED, .map = &sample_table},
    {"few_shot", .accepts = ACCEPT_MAP, .map = &few_shot_table},
    {"prompt", .accepts = TEXT, .flags = KEY_TEMPLATE},
    {"messages", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_message},
    {"variants", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_variant,
     .key = &key_name},
    {"solver", .accepts = ACCEPT_MAP, .flags = KEY_REQUIRED, .map = &keys_solver},
    {"graders", .accepts = ACCEPT_LIST, .flags = KEY_REQUIRED | KEY_FILLED, .each = &each_grader},
    {"metrics", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_metric},
    {"slices", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_filled_text},
    {"epochs", .accepts = ACCEPT_INT, .min = 1, .max = 100000},
    {"roles", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_filled_text,
     .key = &key_ident},
    {"limits", .accepts = ACCEPT_MAP, .map = &limits_table},
    {"sandbox", .accepts = ACCEPT_MAP, .map = &sandbox_table},
    {"gate", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .map = &keys_own_gate},
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
    {"settings", .accepts = ACCEPT_MAP},
    {"sources", .accepts = ACCEPT_LIST, .flags = KEY_FILLED, .each = &each_source},
    END,
};
const KeyTable keys_model = {"a model file", model_rows, false};

// ---- Gates (DESIGN.md 4.5) ---------------------------------------------------------------------

static const KeyRow each_bound = {"a bound", .accepts = ACCEPT_NUMBER};
static const KeyRow each_bounds = {"bounds", .accepts = ACCEPT_NUMBER | ACCEPT_MAP,
                                   .flags = KEY_FILLED, .each = &each_bound};
static const KeyRow each_loss = {"a loss", .accepts = ACCEPT_NUMBER | ACCEPT_MAP,
                                 .flags = KEY_FILLED, .each = &each_bound};
static const KeyRow budget_rows[] = {
    {"error_rate", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1},
    {"cost_usd", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1e9},
    {"p95_latency_s", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1e9},
    END,
};
static const KeyTable budget_table = {"'budget'", budget_rows, false};
static const KeyRow must_pass_rows[] = {
    {"tag", .accepts = TEXT | ACCEPT_LIST, .flags = KEY_FILLED | KEY_REQUIRED,
     .each = &each_filled_text},
    END,
};
static const KeyTable must_pass_table = {"'must_pass'", must_pass_rows, false};
static const char *const gate_modes[] = {"regression", "noninferiority", NULL};
#define GATE_CHECKS                                                                                \
    {"min", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_bounds},                     \
        {"max", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .each = &each_bounds},                 \
        {"max_regression", .accepts = ACCEPT_MAP | ACCEPT_NUMBER, .flags = KEY_FILLED,             \
         .each = &each_loss},                                                                      \
        {"confidence", .accepts = ACCEPT_NUMBER, .min = 0.5, .max = 0.999999},                     \
        {"mode", .accepts = TEXT, .words = gate_modes},                                            \
        {"detect", .accepts = ACCEPT_NUMBER, .min = 0, .max = 1e9},                                \
        {"must_pass", .accepts = ACCEPT_MAP, .map = &must_pass_table},                             \
    {                                                                                              \
        "budget", .accepts = ACCEPT_MAP, .flags = KEY_FILLED, .map = &budget_table                 \
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
