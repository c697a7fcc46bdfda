// SPDX-License-Identifier: MIT
// few_shot in every form: where shots come from, which are taken and in what order, what a template
// sees of them, what is wrong with them.
#include "task_support.h"

#define HEAD(few_shot)                                                                             \
    "schema: 1\neval: e\ndataset: {use: d, split: test}\n"                                         \
    "sample: {id: \"{{ k }}\", input: \"{{ q }}\", target: \"{{ a }}\"}\n"                         \
    "few_shot: " few_shot "\n"                                                                     \
    "prompt: \"{% for s in shots %}{{ s.input }}={{ s.target }} {% endfor %}{{ input }}\"\n" TAIL

static void write_dataset(void)
{
    test_file("registry/datasets/d.yaml",
              STR("schema: 1\ndataset: d\nlicense: MIT\nfiles: {test: d.jsonl, dev: dev.jsonl}\n"));
    test_file("registry/datasets/d.jsonl", STR("{\"k\":\"k0\",\"q\":\"q0\",\"a\":\"a0\"}\n"
                                               "{\"k\":\"k1\",\"q\":\"q1\",\"a\":\"a1\"}\n"
                                               "{\"k\":\"k2\",\"q\":\"q2\",\"a\":\"a2\"}\n"
                                               "{\"k\":\"k3\",\"q\":\"q3\",\"a\":\"a3\"}\n"));
    Str dev = STR_EMPTY;
    for (int i = 0; i < 12; i++) {
        dev = str_printf(&test_arena, STR_FMT "{\"k\":\"d%d\",\"q\":\"s%d\",\"a\":\"b%d\"}\n",
                         STR_ARG(dev), i, i, i);
    }
    test_file("registry/datasets/dev.jsonl", dev);
    test_file("few.jsonl", STR("{\"k\":\"f0\",\"q\":\"p0\",\"a\":\"c0\"}\n"
                               "{\"k\":\"f1\",\"q\":\"p1\",\"a\":\"c1\"}\n"));
}

static void test_shots__origins(void)
{
    static const struct {
        int line;
        const char *text;
        const char *want[4]; // prompts of the samples; NULL: not looked at
    } cases[] = {
        {__LINE__,
         HEAD("{split: dev, count: 2}"),
         {"s0=b0 s1=b1 q0", NULL, NULL, "s0=b0 s1=b1 q3"}},
        {__LINE__, HEAD("{path: few.jsonl, count: 1, pick: first}"), {"p0=c0 q0"}},
        {__LINE__, HEAD("{path: few.jsonl}"), {"p0=c0 p1=c1 q0"}},
        {__LINE__, HEAD("{rows: [{k: x, q: r, a: t}]}"), {"r=t q0", "r=t q1"}},
        {__LINE__, HEAD("{split: dev, count: 0}"), {"q0"}},
        // From the scored split: a sample's own row is left out and the next one is taken.
        {__LINE__,
         HEAD("{split: test, count: 2}"),
         {"q1=a1 q2=a2 q0", "q0=a0 q2=a2 q1", "q0=a0 q1=a1 q2", "q0=a0 q1=a1 q3"}},
        // By id, in the order written; the next one of the list takes the own one's place.
        {__LINE__,
         HEAD("{ids: [k2, k0, k3], count: 2}"),
         {"q2=a2 q3=a3 q0", "q2=a2 q0=a0 q1", "q0=a0 q3=a3 q2", "q2=a2 q0=a0 q3"}},
        {__LINE__, HEAD("{split: dev, ids: [d11, d3]}"), {"s11=b11 s3=b3 q0", "s11=b11 s3=b3 q1"}},
        {__LINE__, HEAD("{ids: [k2, k0]}"), {"q2=a2 q0", "q2=a2 q0=a0 q1", "q0=a0 q2"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Task *task = open_task(load(cases[i].text), "", 0);
        for (size_t k = 0; task != NULL && k < 4; k++) {
            if (cases[i].want[k] != NULL) {
                Str got = sample_of(task, k).prompt.text;
                if (!str_eq_c(got, cases[i].want[k])) {
                    printf("# case of line %d\n", cases[i].line);
                }
                CHECK_STR(got, str_from_c(cases[i].want[k]));
            }
        }
        registry_task_close(registry, task);
    }
    // The scored file itself, and rows without ids of their own.
    Task *task = open_task(
        load("schema: 1\neval: e\ndataset: {path: few.jsonl}\nsample: {input: \"{{ q }}\", target: "
             "\"{{ a }}\"}\nfew_shot: {path: few.jsonl, count: 1}\n"
             "prompt: \"{% for s in shots %}{{ s.id }} {{ s.a }} {% endfor %}{{ input }}\"\n" TAIL),
        "", 0);
    CHECK_STR(sample_of(task, 0).prompt.text, STR("1 c1 p0"));
    CHECK_STR(sample_of(task, 1).prompt.text, STR("0 c0 p1"));
    registry_task_close(registry, task);
    task = open_task(load("schema: 1\neval: e\ndataset: {rows: [{q: x}, {q: y}, {q: z}]}\n"
                          "sample: {input: \"{{ q }}\", target: t}\nfew_shot: {ids: [2, \"0\"], "
                          "count: 1}\nprompt: \"{{ shots[0].q }} {{ input }}\"\n" TAIL),
                     "", 0);
    CHECK_STR(sample_of(task, 0).prompt.text, STR("z x"));
    CHECK_STR(sample_of(task, 2).prompt.text, STR("x z"));
    registry_task_close(registry, task);
}

/** Whether two texts are the same prompt, and how many different ones there were for ten seeds. */
static void test_shots__seeded(void)
{
    const Eval *eval = load(HEAD("{split: dev, count: 3, pick: seeded}"));
    Str seen[10];
    size_t n_seen = 0;
    for (uint64_t seed = 0; eval != NULL && seed < 10; seed++) {
        Task *task = open_seeded(eval, "", 0, seed);
        Task *again = open_seeded(eval, "", 0, seed);
        Str first = sample_of(task, 0).prompt.text;
        Str shots = str_slice(first, 0, first.len - 2);
        CHECK_STR(sample_of(again, 0).prompt.text, first);
        // One shared prefix: the same shots for every sample.
        CHECK_STR(sample_of(task, 3).prompt.text, str_concat(&test_arena, shots, STR("q3")));
        size_t k = 0;
        while (k < n_seen && !str_eq(seen[k], shots)) {
            k++;
        }
        seen[n_seen] = shots;
        n_seen += k == n_seen;
        registry_task_close(registry, task);
        registry_task_close(registry, again);
    }
    CHECK(n_seen >= 8); // 12 * 11 * 10 orders: ten seeds hardly meet
    // An order by id: the same seed draws the same rows wherever they stand in the file.
    Task *task = open_task(eval, "", 0);
    Str before = sample_of(task, 0).prompt.text;
    registry_task_close(registry, task);
    Str dev = STR_EMPTY;
    for (int i = 11; i >= 0; i--) {
        dev = str_printf(&test_arena, STR_FMT "{\"k\":\"d%d\",\"q\":\"s%d\",\"a\":\"b%d\"}\n",
                         STR_ARG(dev), i, i, i);
    }
    test_file("registry/datasets/dev.jsonl", dev);
    task = open_task(eval, "", 0);
    CHECK_STR(sample_of(task, 0).prompt.text, before);
    registry_task_close(registry, task);
    write_dataset();
    // Seeded and left out: each sample gets two of the others.
    task = open_task(load(HEAD("{split: test, count: 2, pick: seeded}")), "", 0);
    for (size_t i = 0; task != NULL && i < 4; i++) {
        Str text = sample_of(task, i).prompt.text;
        Str own = str_printf(&test_arena, "a%zu", i);
        CHECK_INT(text.len, 14);
        CHECK(str_find(text, own, 0) == STR_NONE);
    }
    registry_task_close(registry, task);
}

static void test_shots__fields(void)
{
    // Columns of a shot, its fields, the letter; a field that can not be rendered is absent.
    const Eval *eval = load(
        "schema: 1\neval: e\ndataset: {rows: [{q: x, c: [k, l], t: 1}]}\n"
        "sample: {input: \"{{ q }}!\", choices: \"{{ c }}\", target: \"{{ t }}\", metadata: {m: "
        "\"{{ q }}\", n: [1, {o: \"{{ t }}\"}]}}\n"
        "few_shot: {rows: [{q: y, c: [m, n, o], t: 2}, {q: z}]}\n"
        "prompt: |\n"
        "  {% for s in shots %}\n"
        "  {{ s.q }} {{ s.input }} {{ s.target is defined and s.target }} "
        "{{ s.letter is defined and s.letter }} {{ s.id }} "
        "{{ s.metadata.n[1].o if s.metadata is defined }}\n"
        "  {% endfor %}\n"
        "solver: {use: multiple_choice}\ngraders: [{use: choice}]\n");
    Task *task = open_task(eval, "", 0);
    CHECK_STR(sample_of(task, 0).prompt.text, STR("y y! o C 0 2\nz z! False False 1 \n"));
    registry_task_close(registry, task);
    // Messages as input, own contexts of choices, several targets.
    task = open_task(
        load("schema: 1\neval: e\ndataset: {rows: [{q: x}]}\n"
             "sample:\n  input: [{role: user, content: \"{{ q }}\"}]\n"
             "  choices: [{context: \"{{ q }}1\", text: same}, {context: \"{{ q }}2\", text: "
             "same}]\n"
             "  target: [0, 1]\n"
             "few_shot: {rows: [{q: y}]}\n"
             "prompt: \"{{ shots[0].input[0].content }} {{ shots[0].choices[1].context }} "
             "{{ shots[0].target }} {{ shots[0].letter }}\"\n"
             "solver: {use: multiple_choice}\ngraders: [{use: choice}]\n"),
        "", 0);
    CHECK_STR(sample_of(task, 0).prompt.text, STR("y y2 ['same', 'same'] A"));
    registry_task_close(registry, task);
}

static void test_shots__faults(void)
{
    static const struct {
        int line;
        const char *text;
        const char *want; // is part of the message
    } cases[] = {
        {__LINE__, HEAD("{split: dev, count: 13}"), "takes 13 shots, but there are 12 rows"},
        {__LINE__, HEAD("{split: test, count: 4}"),
         "takes 4 shots, but there are 4 rows and a sample's own is left out"},
        {__LINE__, HEAD("{path: few.jsonl, count: 3}"), "takes 3 shots, but there are 2 rows"},
        {__LINE__, HEAD("{ids: [k0, k9], count: 1}"), "e.yaml:5: few_shot: no row has the id 'k9'"},
        // What a shot lacks, and why, is part of the message about the template that reads it.
        {__LINE__,
         "schema: 1\neval: e\ndataset: {rows: [{q: x, c: [k, l], t: 1}]}\n"
         "sample: {input: \"{{ q }}\", choices: \"{{ c }}\", target: \"{{ t }}\"}\n"
         "few_shot: {rows: [{q: y, c: [m, n], t: 7}]}\n"
         "prompt: \"{{ shots[0].letter }}\"\n"
         "solver: {use: multiple_choice}\ngraders: [{use: choice}]\n",
         "(shot 0 has no target: target 7 is no position among 2 choices (they count from 0))"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Str got = failure(cases[i].text, 0);
        if (str_find(got, str_from_c(cases[i].want), 0) == STR_NONE) {
            printf("# case of line %d: %.*s\n", cases[i].line, STR_ARG(got));
        }
        CHECK(str_find(got, str_from_c(cases[i].want), 0) != STR_NONE);
    }
}

static void test_shots__of_variants(void)
{
    Task *tasks[2];
    const Eval *eval =
        load("schema: 1\neval: e\ndataset: {use: d, split: test}\n"
             "sample: {input: \"{{ q }}\", target: \"{{ a }}\"}\nfew_shot: {split: dev, count: 2}\n"
             "prompt: \"{% for s in shots %}{{ s.q }} {% endfor %}{{ input }}\"\n"
             "variants: {two: {}, none: {few_shot: {split: dev, count: 0}}}\n" TAIL);
    for (size_t i = 0; i < 2; i++) {
        tasks[i] = open_task(eval, "", i);
    }
    Sample two = sample_of(tasks[0], 1), none = sample_of(tasks[1], 1);
    CHECK_STR(two.prompt.text, STR("s0 s1 q1"));
    CHECK_STR(none.prompt.text, STR("q1"));
    CHECK(str_eq(two.id, none.id) && hash_eq(&two.hash, &none.hash)); // they pair
    registry_task_close(registry, tasks[0]);
    registry_task_close(registry, tasks[1]);
}

int main(void)
{
    test_begin();
    registry = test_registry(STR_EMPTY);
    write_dataset();
    tap_run("shots: from a split, a file, rows, ids", test_shots__origins);
    tap_run("shots: seeded", test_shots__seeded);
    tap_run("shots: their fields", test_shots__fields);
    tap_run("shots: too few, unknown, lacking a field", test_shots__faults);
    tap_run("shots: of a variant", test_shots__of_variants);
    registry_destroy(registry);
    return test_end();
}
