// SPDX-License-Identifier: MIT
// The walker over key tables: each kind of fault, at its place, with its advice.
#include "support.h"

/** A dataset file, since its table has every kind of row; what the walker says of it. */
static Str faults_of(const KeyTable *table, const char *text)
{
    Faults faults;
    faults_init(&faults, &test_arena);
    Value root;
    if (!yaml_parse(&test_arena, STR("f.yaml"), str_from_c(text), &faults, &root)) {
        return STR("not YAML");
    }
    Faults found; // without what the YAML reader said already
    faults_init(&found, &test_arena);
    schema_check(table, &root, STR("f.yaml"), &found);
    return test_faults(&found);
}

typedef struct Case {
    int line;
    const KeyTable *table;
    const char *text;
    const char *want; // "" : no fault
} Case;

#define HEAD                                                                                       \
    "schema: 1\neval: e\ndataset: {use: d}\nsolver: {use: generate}\ngraders: [{use: exact}]\n"
#define SAMPLE "sample: {input: x}\n"

static void run_cases(const Case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        Str got = faults_of(cases[i].table, cases[i].text);
        if (!str_eq_c(got, cases[i].want)) {
            printf("# case of line %d\n", cases[i].line);
        }
        CHECK_STR(got, str_from_c(cases[i].want));
    }
}

static void test_schema__unknown_keys(void)
{
    const Case cases[] = {
        {__LINE__, &keys_eval, HEAD SAMPLE, ""},
        {__LINE__, &keys_eval, HEAD SAMPLE "promt: a\n",
         "7:1: unknown-key: unknown key 'promt' in an eval file; did you mean 'prompt'?\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "qqqq: a\n",
         "7:1: unknown-key: unknown key 'qqqq' in an eval file\n"},
        {__LINE__, &keys_eval, HEAD "sample: {input: x, ideal: y}\n",
         "6:20: unknown-key: unknown key 'ideal' in 'sample'; did you mean 'target'?\n"},
        {__LINE__, &keys_dataset,
         "schema: 1\ndataset: d\nlicence: MIT\nlicense: MIT\nfiles: {test: a.jsonl}\n",
         "3:1: unknown-key: unknown key 'licence' in a dataset file; did you mean 'license'?\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "metrics: [{use: mean, off: x}]\n",
         ""}, // open: checked later
    };
    run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_schema__types(void)
{
    const Case cases[] = {
        {__LINE__, &keys_eval, HEAD SAMPLE "version: 1.10\n",
         "7:10: wrong-type: 'version' has to be a whole number, not 1.1\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "version: \"2\"\n",
         "7:10: wrong-type: 'version' has to be a whole number, not text (write it without "
         "quotes)\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "description:\n",
         "7:13: wrong-type: 'description' has to be text, not null (nothing stands there; a value "
         "that "
         "starts with # is a comment: quote it)\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "description: 12\n",
         "7:14: wrong-type: 'description' has to be text, not an integer (quote it)\n"},
        {__LINE__, &keys_eval,
         "schema: 1\neval: e\ndataset: {use: d}\nsolver: {use: generate}\n" SAMPLE
         "graders: [{use: exact, not: yes}]\n",
         "6:29: wrong-type: 'not' has to be true or false, not text (only true and false are "
         "booleans)\n"},
        {__LINE__, &keys_eval, HEAD "sample: {input: {a: b}}\n",
         "6:17: wrong-type: 'input' has to be text or a list, not a map (a template has to be "
         "quoted: "
         "\"{{ name }}\")\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "epochs: 0\n",
         "7:9: bad-value: 'epochs' has to lie between 1 and 100000\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "metrics: []\n",
         "7:10: bad-value: 'metrics' is empty\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "messages: [5]\n",
         "7:12: wrong-type: 'messages[0]' has to be text or a map, not an integer (quote it)\n"},
    };
    run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_schema__values(void)
{
    const Case cases[] = {
        {__LINE__, &keys_eval, HEAD SAMPLE "few_shot: {split: dev, count: 2, pick: seeded}\n", ""},
        {__LINE__, &keys_eval, HEAD SAMPLE "few_shot: {split: dev, count: 2, pick: frist}\n",
         "7:40: bad-value: 'pick' has to be one of first, seeded, not 'frist'; did you mean "
         "'first'?\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "sandbox: {use: python, seconds: 10, more: 1}\n", ""},
        {__LINE__, &keys_eval, HEAD SAMPLE "sandbox: {seconds: 0}\n",
         "7:20: bad-value: 'seconds' has to be at least 0.001\n"
         "7:10: missing-key: 'sandbox' needs the key 'use'\n"},
        {__LINE__, &keys_eval, HEAD "sample: {input: x, files: {../a: b, c: 1}}\n",
         "6:28: bad-value: key '../a' of 'files' has to be a path that stays inside its folder\n"
         "6:40: wrong-type: 'c' has to be text, not an integer (quote it)\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "gate: {min: {accuracy: 0.6}, max_regression: 0.02}\n",
         ""},
        {__LINE__, &keys_eval, HEAD SAMPLE "gate: {gate: x, mode: strict}\n",
         "7:8: unknown-key: unknown key 'gate' in 'gate'\n"
         "7:23: bad-value: 'mode' has to be one of regression, noninferiority, not 'strict'\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "roles: {judge: openai/x, a b: ''}\nslices: [q, 1]\n",
         "7:26: bad-value: key 'a b' of 'roles' has to be a name of letters, digits and _\n"
         "7:31: bad-value: 'a b' is empty\n"
         "8:13: wrong-type: 'slices[1]' has to be text, not an integer (quote it)\n"},
        {__LINE__, &keys_eval,
         "schema: 1\neval: e\ndataset: {use: d}\nsolver: {use: generate}\n" SAMPLE
         "graders: [{use: exact, role: judge, target: [a, \"{{ q }}\"]}, {use: exact, target: "
         "{}}]\n"
         "metrics: [{use: pass_at, k: 0}, {use: worst, over: variant}]\n",
         "6:83: wrong-type: 'target' has to be text or a number or true or false or a list, not a "
         "map (a template has to be quoted: \"{{ name }}\")\n"
         "7:29: bad-value: 'k' has to be at least 1\n"
         "7:52: bad-value: 'over' has to be one of epochs, variants, not 'variant'; did you mean "
         "'variants'?\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "helpers: ../x.lua\n",
         "7:10: bad-value: 'helpers' has to be a path that stays inside its folder, not "
         "'../x.lua'\n"},
        {__LINE__, &keys_eval, HEAD "sample: {input: x}\nmatrix: {a b: [1]}\n",
         "7:10: bad-value: key 'a b' of 'matrix' has to be a name of letters, digits and _\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "prompt: >\n  a\n  b\n",
         "7:9: warning folded: 'prompt' is written with >, which joins its lines; | keeps them\n"},
        {__LINE__, &keys_dataset,
         "schema: 1\ndataset: d\nlicense: MIT\nfiles: {test: a.jsonl}\nsources:\n"
         "  - {path: a.jsonl, bytes: 3, sha256: abc}\n",
         "6:39: bad-value: 'sha256' has to be 64 hexadecimal digits, not 'abc'\n"},
    };
    run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_schema__missing_and_all_at_once(void)
{
    const Case cases[] = {
        {__LINE__, &keys_eval, "schema: 1\neval: e\n",
         "1:1: missing-key: an eval file needs the key 'dataset'\n"
         "1:1: missing-key: an eval file needs the key 'sample'\n"
         "1:1: missing-key: an eval file needs the key 'solver'\n"
         "1:1: missing-key: an eval file needs the key 'graders'\n"},
        {__LINE__, &keys_eval, HEAD SAMPLE "version: x\nepochs: y\nzzzz: 1\n",
         "7:10: wrong-type: 'version' has to be a whole number, not text\n"
         "8:9: wrong-type: 'epochs' has to be a whole number, not text\n"
         "9:1: unknown-key: unknown key 'zzzz' in an eval file\n"},
    };
    run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_schema__clean(void)
{
    Faults faults;
    faults_init(&faults, &test_arena);
    Value root;
    const char *text =
        HEAD "sample: {input: x, files: {a: 1}, target: [1, {a: b}]}\nversion: x\nqqq: 1\n";
    CHECK(yaml_parse(&test_arena, STR("f.yaml"), str_from_c(text), &faults, &root));
    Value clean = schema_clean(&test_arena, &keys_eval, &root);
    CHECK(value_get_c(&clean, "version") == NULL);
    CHECK(value_get_c(&clean, "qqq") == NULL);
    CHECK_STR(value_get_str(&clean, "eval", STR_EMPTY), STR("e"));
    const Value *sample = value_get_c(&clean, "sample");
    CHECK_INT(value_get_c(sample, "files")->as.map.n, 0);
    CHECK_INT(value_get_c(sample, "target")->as.list.n, 1);
    CHECK_INT(sample->line, 6);
    // What is left has no faults but what is missing.
    Faults again;
    faults_init(&again, &test_arena);
    schema_check(&keys_eval, &clean, STR("f.yaml"), &again);
    CHECK_INT(again.n, 0);
}

int main(void)
{
    test_begin();
    tap_run("schema: unknown keys with what was meant", test_schema__unknown_keys);
    tap_run("schema: wrong types with advice", test_schema__types);
    tap_run("schema: values, names, what comes later", test_schema__values);
    tap_run("schema: missing keys, all faults at once", test_schema__missing_and_all_at_once);
    tap_run("schema: the tree without its faults", test_schema__clean);
    return test_end();
}
