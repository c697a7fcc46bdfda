// SPDX-License-Identifier: MIT
// Tasks over small data written here: what a sample looks like, which names its templates see,
// shots, matrix, where, hashes.
#include "task_support.h"

static void test_task__fields(void)
{
    const Eval *eval =
        load("schema: 1\neval: e\n"
             "dataset:\n  rows:\n"
             "    - {name: x, n: 3, f: 1.0, list: [a, b], deep: {k: v}}\n"
             "    - {name: y, n: 4, f: 2.5, list: [], deep: {k: w}}\n"
             "sample:\n"
             "  id: \"{{ name }}-{{ n }}\"\n"
             "  input: \"{{ name | upper }} {{ row.deep.k }} {{ row_number }}\"\n"
             "  target: [\"{{ n }}\", \"{{ f }}\", plain, \"3.10\"]\n"
             "  metadata: {n: \"{{ n }}\", list: \"{{ list }}\", deep: \"{{ deep }}\", text: "
             "\"n={{ n }}\", t: true}\n"
             "  cluster: \"{{ n }}\"\n"
             "prompt: |\n  {{ id }}: {{ input }} {{ metadata.n + 1 }} {{ name }}\n" TAIL);
    Task *task = open_task(eval, "", 0);
    CHECK(task != NULL && task->n_samples == 2 && !task->uses_chat);
    Sample sample = sample_of(task, 0);
    CHECK_STR(sample.id, STR("x-3"));
    CHECK_STR(sample.input.as.str, STR("X v 0"));
    CHECK_INT(sample.n_targets, 4);
    // A single expression keeps its type, so a real prints as one; text is never parsed again.
    CHECK_STR(sample.targets[0], STR("3"));
    CHECK_STR(sample.targets[1], STR("1.0"));
    CHECK_STR(sample.targets[2], STR("plain"));
    CHECK_STR(sample.targets[3], STR("3.10"));
    CHECK_STR(
        json_of(&sample.metadata),
        STR("{\"n\":3,\"list\":[\"a\",\"b\"],\"deep\":{\"k\":\"v\"},\"text\":\"n=3\",\"t\":true}"));
    CHECK(sample.has_cluster);
    CHECK_STR(sample.cluster, STR("3"));
    CHECK_STR(sample.prompt.text, STR("x-3: X v 0 4 x"));
    CHECK_STR(sample_of(task, 1).prompt.text, STR("y-4: Y w 1 5 y"));
    registry_task_close(registry, task);
}

static void test_task__choices_and_targets(void)
{
    static const char head[] = "schema: 1\neval: e\ndataset:\n  rows:\n"
                               "    - {c: [\"2\", \"0\", x], t: 1}\n"
                               "    - {c: [\"2\", \"0\", x], t: \"2\"}\n"
                               "    - {c: [a, b, c], t: [2, a]}\n"
                               "    - {c: [{context: p, text: q}, {context: r, text: q}], t: 1}\n"
                               "sample: {input: i, choices: \"{{ c }}\", target: \"{{ t }}\"}\n"
                               "prompt: \"{{ choices | length }}\"\n"
                               "solver: {use: multiple_choice}\ngraders: [{use: choice}]\n";
    Task *task = open_task(load(head), "", 0);
    Sample sample = sample_of(task, 0); // a number is a position
    CHECK(sample.n_correct == 1 && sample.correct[0] == 1);
    CHECK_STR(sample.targets[0], STR("0"));
    sample = sample_of(task, 1); // a text is a choice's text
    CHECK(sample.n_correct == 1 && sample.correct[0] == 0);
    sample = sample_of(task, 2);
    CHECK(sample.n_correct == 2 && sample.correct[0] == 0 && sample.correct[1] == 2);
    CHECK_STR(sample.targets[1], STR("c"));
    sample = sample_of(task, 3);
    CHECK(sample.choices[1].has_context);
    CHECK_STR(sample.choices[1].context, STR("r"));
    CHECK_STR(sample.prompt.text, STR("2"));
    registry_task_close(registry, task);
}

static void test_task__bad_rows(void)
{
    static const struct {
        int line;
        const char *row;
        const char *want;
    } cases[] = {
        {__LINE__, "{c: [a, b], t: 2}",
         "eval 'e', row 0 (line 5): sample.target: target 2 is no position among 2 choices (they "
         "count from 0)"},
        {__LINE__, "{c: [a, b], t: -1}",
         "eval 'e', row 0 (line 5): sample.target: target -1 is no position among 2 choices (they "
         "count from 0)"},
        {__LINE__, "{c: [a, b], t: 0.0}",
         "eval 'e', row 0 (line 5): sample.target: with choices a target is a position from 0 or a "
         "choice's "
         "exact text, not a number"},
        {__LINE__, "{c: [], t: 0}",
         "eval 'e', row 0 (line 5): sample.choices: there are no choices"},
        {__LINE__, "{c: [[a], b], t: 0}",
         "eval 'e', row 0 (line 5): sample.choices: choice 0 has to be text, or a map with context "
         "and text, "
         "not a list"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Str text =
            str_printf(&test_arena,
                       "schema: 1\neval: e\ndataset:\n  rows:\n    - %s\n"
                       "sample: {input: i, choices: \"{{ c }}\", target: \"{{ t }}\"}\nprompt: p\n"
                       "solver: {use: multiple_choice}\ngraders: [{use: choice}]\n",
                       cases[i].row);
        Str got = failure(text.data, 0);
        if (!str_eq_c(got, cases[i].want)) {
            printf("# case of line %d\n", cases[i].line);
        }
        CHECK_STR(got, str_from_c(cases[i].want));
    }
    Str undefined =
        failure("schema: 1\neval: e\ndataset: {rows: [{a: 1}, {b: 2}]}\n"
                "sample: {input: \"{{ a }}\", target: t}\nprompt: \"{{ input }}\"\n" TAIL,
                1);
    CHECK(str_find(undefined, STR("'a' is undefined"), 0) != STR_NONE);
    CHECK(str_find(undefined, STR("row 1 (line 3)"), 0) != STR_NONE);
}

static void test_task__messages(void)
{
    const Eval *eval = load("schema: 1\neval: e\n"
                            "dataset: {rows: [{q: one, history: [{role: system, content: be "
                            "brief}, {role: user, content: hm}]}]}\n"
                            "sample: {input: \"{{ q }}\", target: t}\n"
                            "few_shot: {rows: [{q: a, g: b}, {q: c, g: d}]}\n"
                            "variants:\n"
                            "  spliced:\n    messages:\n"
                            "      - \"{{ history }}\"\n"
                            "      - {each: shots, messages: [{role: user, content: \"{{ s.input "
                            "}}\"}, {role: assistant, content: "
                            "\"{{ s.g }}\"}]}\n"
                            "      - {role: user, content: \"{{ input }}?\"}\n"
                            "      - \"{{ history[0] }}\"\n"
                            "  named:\n    messages:\n"
                            "      - {each: \"{{ shots[:1] }}\", as: shot, messages: [{role: user, "
                            "content: \"{{ shot.q }}\"}]}\n"
                            "      - {role: assistant, content: \"So: \"}\n" TAIL);
    Task *task = open_task(eval, "", 0);
    CHECK(task != NULL && task->uses_chat);
    Sample sample = sample_of(task, 0);
    CHECK_STR(prompt_text(&sample.prompt),
              STR("system: be brief|user: hm|user: a|assistant: b|user: c|"
                  "assistant: d|user: one?|system: be brief"));
    registry_task_close(registry, task);
    task = open_task(eval, "", 1);
    sample = sample_of(task, 0);
    CHECK_STR(prompt_text(&sample.prompt), STR("user: a|assistant: So: "));
    registry_task_close(registry, task);
}

static void test_task__input_alone(void)
{
    const Eval *eval =
        load("schema: 1\neval: e\n"
             "dataset: {rows: [{i: text}, {i: [{role: user, content: a}, {role: assistant, "
             "content: b, tool_calls: [1]}]}]}\n"
             "sample: {input: \"{{ i }}\", target: t}\n" TAIL);
    Task *task = open_task(eval, "", 0);
    CHECK(task != NULL && task->uses_chat && task->chat_reason.len > 0);
    Sample sample = sample_of(task, 0);
    CHECK_STR(prompt_text(&sample.prompt), STR("user: text"));
    sample = sample_of(task, 1);
    CHECK_STR(prompt_text(&sample.prompt), STR("user: a|assistant: b"));
    CHECK_STR(json_of(&sample.prompt.messages[1].extra), STR("{\"tool_calls\":[1]}"));
    registry_task_close(registry, task);
}

static void test_task__matrix(void)
{
    const Eval *eval = load("schema: 1\neval: e\n"
                            "matrix: {lang: {fr: {hello: salut}, de: {hello: hallo}}, n: [1, 2]}\n"
                            "dataset: {rows: [{q: x}]}\n"
                            "sample: {input: \"{{ hello }} {{ q }}\", target: \"{{ n }}\"}\n"
                            "prompt: \"{{ lang }}{{ n + 1 }} {{ input }}\"\n" TAIL);
    Err err = ERR_INIT;
    Str *parts = NULL;
    size_t n = 0;
    CHECK_OK(registry_parts(registry, eval, &parts, &n, &err), &err);
    CHECK_INT(n, 4);
    CHECK_STR(parts[0], STR("fr/1"));
    CHECK_STR(parts[1], STR("fr/2"));
    CHECK_STR(parts[2], STR("de/1"));
    Task *task = open_task(eval, "de/1", 0);
    Sample sample = sample_of(task, 0);
    CHECK_STR(sample.prompt.text, STR("de2 hallo x"));
    CHECK_STR(sample.targets[0], STR("1"));
    CHECK_STR(json_of(&sample.part_vars), STR("{\"lang\":\"de\",\"hello\":\"hallo\",\"n\":1}"));
    CHECK_STR(sample.part, STR("de/1"));
    registry_task_close(registry, task);
    task = NULL;
    CHECK(!registry_task_open(registry, eval, STR("de/3"), &eval->variants[0], 1, &task, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
}

static const char shots_head[] =
    "schema: 1\ndataset: d\nlicense: MIT\nfiles: {test: d.jsonl, dev: dev.jsonl}\n";

static void write_dataset(void)
{
    test_file("registry/datasets/d.yaml", str_from_c(shots_head));
    test_file("registry/datasets/d.jsonl", STR("{\"q\":\"q0\",\"a\":\"a0\",\"keep\":true}\n"
                                               "{\"q\":\"q1\",\"a\":\"a1\",\"keep\":false}\n"
                                               "{\"q\":\"q2\",\"a\":\"a2\",\"keep\":true}\n"
                                               "{\"q\":\"q3\",\"a\":\"a3\",\"keep\":true}\n"
                                               "{\"q\":\"q4\",\"a\":\"a4\",\"keep\":true}\n"));
    test_file("registry/datasets/dev.jsonl", STR("{\"q\":\"s0\",\"a\":\"b0\",\"keep\":false}\n"
                                                 "{\"q\":\"s1\",\"a\":\"b1\",\"keep\":true}\n"
                                                 "{\"q\":\"s2\",\"a\":\"b2\",\"keep\":true}\n"));
}

#define SHOT_PROMPT                                                                                \
    "prompt: \"{% for s in shots %}{{ s.input }}={{ s.target }} {% endfor %}{{ input }}\"\n"

static void test_task__shots(void)
{
    write_dataset();
    const Eval *eval = load("schema: 1\neval: e\ndataset: {use: d, split: test}\n"
                            "sample: {input: \"{{ q }}\", target: \"{{ a }}\"}\n"
                            "few_shot: {split: test, count: 2, pick: first}\n" SHOT_PROMPT TAIL);
    Task *task = open_task(eval, "", 0);
    // From the scored split: a sample's own row is left out and the next one taken.
    CHECK_STR(sample_of(task, 0).prompt.text, STR("q1=a1 q2=a2 q0"));
    CHECK_STR(sample_of(task, 1).prompt.text, STR("q0=a0 q2=a2 q1"));
    CHECK_STR(sample_of(task, 2).prompt.text, STR("q0=a0 q1=a1 q2"));
    CHECK_STR(sample_of(task, 4).prompt.text, STR("q0=a0 q1=a1 q4"));
    registry_task_close(registry, task);
    // where keeps rows of whichever split.
    eval = load("schema: 1\neval: e\ndataset: {use: d, split: test, where: \"{{ keep }}\"}\n"
                "sample: {input: \"{{ q }}\", target: \"{{ a }}\"}\n"
                "few_shot: {split: dev, count: 2}\n" SHOT_PROMPT TAIL);
    task = open_task(eval, "", 0);
    CHECK(task != NULL && task->n_samples == 4);
    CHECK_STR(sample_of(task, 1).prompt.text, STR("s1=b1 s2=b2 q2"));
    CHECK_INT(sample_of(task, 1).row_number, 2);
    CHECK_STR(sample_of(task, 1).id, STR("2"));
    registry_task_close(registry, task);
    eval = load("schema: 1\neval: e\ndataset: {use: d, split: test}\n"
                "sample: {input: \"{{ q }}\", target: \"{{ a }}\"}\n"
                "few_shot: {split: dev, count: 4}\n" SHOT_PROMPT TAIL);
    Err err = ERR_INIT;
    task = NULL;
    CHECK(!registry_task_open(registry, eval, STR_EMPTY, &eval->variants[0], 1, &task, &err));
    CHECK(str_find(str_from_c(err.message), STR("takes 4 shots, but there are 3 rows"), 0) !=
          STR_NONE);
}

static void test_task__shot_fields(void)
{
    // Columns of a shot, its fields, the letter; a field that can not be rendered is absent.
    const Eval *eval = load(
        "schema: 1\neval: e\ndataset: {rows: [{q: x, c: [k, l], t: 1}]}\n"
        "sample: {input: \"{{ q }}!\", choices: \"{{ c }}\", target: \"{{ t }}\", metadata: {m: "
        "\"{{ q }}\"}}\n"
        "few_shot: {rows: [{q: y, c: [m, n, o], t: 2}, {q: z}]}\n"
        "prompt: |\n"
        "  {% for s in shots %}\n"
        "  {{ s.q }} {{ s.input }} {{ s.target is defined and s.target }} "
        "{{ s.letter is defined and s.letter }} {{ s.id }}\n"
        "  {% endfor %}\n"
        "solver: {use: multiple_choice}\ngraders: [{use: choice}]\n");
    Task *task = open_task(eval, "", 0);
    CHECK_STR(sample_of(task, 0).prompt.text, STR("y y! o C 0\nz z! False False 1\n"));
    registry_task_close(registry, task);
}

static void test_task__where(void)
{
    write_dataset();
    const Eval *eval = load(
        "schema: 1\neval: e\n"
        "dataset: {use: d, split: test, where: \"{{ keep and q != 'q3' and row_number > 0 }}\"}\n"
        "sample: {input: \"{{ q }}\", target: t}\nprompt: \"{{ input }}\"\n" TAIL);
    Task *task = open_task(eval, "", 0);
    CHECK(task != NULL && task->n_samples == 2);
    CHECK_STR(sample_of(task, 0).prompt.text, STR("q2"));
    CHECK_STR(sample_of(task, 1).prompt.text, STR("q4"));
    registry_task_close(registry, task);
}

static void test_task__helpers(void)
{
    test_file("help.lua", STR("return {\n  twice = function(text) return text .. text end,\n"
                              "  add = function(a, b) return a + b end,\n"
                              "  dice = function(ctx) return ctx.rng(1, 1000000) end,\n}\n"));
    const Eval *eval =
        load("schema: 1\neval: e\nhelpers: help.lua\ndataset: {rows: [{q: x}, {q: y}]}\n"
             "sample: {id: \"{{ q }}{{ add(1, 2) }}\", input: \"{{ q | twice }}\", target: t}\n"
             "prompt: \"{{ input | twice }} {{ dice() }}\"\n" TAIL);
    Task *task = open_task(eval, "", 0);
    Sample first = sample_of(task, 0), again = sample_of(task, 0), second = sample_of(task, 1);
    CHECK_STR(first.id, STR("x3"));
    CHECK(str_starts_with(first.prompt.text, STR("xxxx ")));
    CHECK_STR(first.prompt.text,
              again.prompt.text); // ctx.rng hangs on (seed, eval, part, id) alone
    CHECK(!str_eq(str_slice(first.prompt.text, 5, 20), str_slice(second.prompt.text, 5, 20)));
    registry_task_close(registry, task);
}

static void test_task__ids(void)
{
    const Eval *eval =
        load("schema: 1\neval: e\ndataset:\n  rows:\n    - {k: a}\n    - {k: b}\n    - {k: a}\n"
             "sample: {id: \"{{ k }}\", input: i, target: t}\n" TAIL);
    Task *task = open_task(eval, "", 0);
    Err err = ERR_INIT;
    CHECK(!registry_task_check_ids(registry, task, &err));
    CHECK_STR(str_from_c(err.message),
              STR("eval 'e': two samples have the id 'a': row 0 (line 5) and row 2 (line 7)"));
    registry_task_close(registry, task);
    eval = load("schema: 1\neval: e\ndataset: {rows: [{k: a}, {k: a}]}\nsample: {input: i, target: "
                "t}\n" TAIL);
    task = open_task(eval, "", 0);
    CHECK_OK(registry_task_check_ids(registry, task, &err), &err);
    CHECK_STR(sample_of(task, 1).id, STR("1"));
    registry_task_close(registry, task);
}

static Hash hash_with(const char *row, const char *prompt)
{
    Str text = str_printf(&test_arena,
                          "schema: 1\neval: e\ndataset: {rows: [%s]}\n"
                          "sample: {id: \"{{ i }}\", input: \"{{ q }}\", target: \"{{ t }}\", "
                          "metadata: {m: \"{{ m }}\"}}\n"
                          "prompt: \"%s\"\n" TAIL,
                          row, prompt);
    Task *task = open_task(load(text.data), "", 0);
    Sample sample = sample_of(task, 0);
    registry_task_close(registry, task);
    return sample.hash;
}

static void test_task__sample_hash(void)
{
    Hash base = hash_with("{i: a, q: x, t: y, m: 1}", "{{ input }}");
    Hash other_id = hash_with("{i: b, q: x, t: y, m: 1, more: 2}", "{{ input | upper }}");
    CHECK(hash_eq(&base, &other_id)); // id, prompt and unused columns are no content
    const char *const changed[] = {"{i: a, q: z, t: y, m: 1}", "{i: a, q: x, t: z, m: 1}",
                                   "{i: a, q: x, t: y, m: 2}", "{i: a, q: x, t: y, m: \"1\"}"};
    for (size_t i = 0; i < 4; i++) {
        Hash hash = hash_with(changed[i], "{{ input }}");
        CHECK(!hash_eq(&base, &hash));
    }
}

static void test_task__hashes(void)
{
    static const struct {
        const char *text;
        bool same_eval, same_data, same_program;
    } cases[] = {
        // Layout, comments, quotes and the description change nothing.
        {"schema: 1\n# a comment\neval: e\nversion: 1\ndescription: d\ndataset:\n  rows: [{q: x}]\n"
         "sample: {target: t, input: '{{ q }}!'}\nprompt: '{{ input }}?'\n" TAIL,
         true, true, true},
        {"schema: 1\neval: e\ndataset: {rows: [{q: y}]}\nsample: {input: \"{{ q }}!\", target: t}\n"
         "prompt: \"{{ input }}?\"\n" TAIL,
         false, false, true},
        {"schema: 1\neval: e\ndataset: {rows: [{q: x}]}\nsample: {input: \"{{ q }}!\", target: t}\n"
         "prompt: \"{{ input }}!\"\n" TAIL,
         false, true, false},
        {"schema: 1\neval: e\ndataset: {rows: [{q: x}]}\nsample: {input: \"{{ q }}!\", target: t}\n"
         "prompt: \"{{ input }}?\"\nsolver: {use: generate}\ngraders: [{use: exact, not: true}]\n",
         false, true, false},
    };
    const Eval *eval = load(
        "schema: 1\neval: e\ndataset: {rows: [{q: x}]}\nsample: {input: \"{{ q }}!\", target: t}\n"
        "prompt: \"{{ input }}?\"\n" TAIL);
    Task *task = open_task(eval, "", 0);
    for (size_t i = 0; task != NULL && i < sizeof(cases) / sizeof(cases[0]); i++) {
        const Eval *other = load(cases[i].text);
        Task *other_task = open_task(other, "", 0);
        CHECK_INT(hash_eq(&eval->hash, &other->hash), cases[i].same_eval);
        CHECK_INT(hash_eq(&task->data_hash, &other_task->data_hash), cases[i].same_data);
        CHECK_INT(hash_eq(&task->program_hash, &other_task->program_hash), cases[i].same_program);
        registry_task_close(registry, other_task);
    }
    registry_task_close(registry, task);
}

static void test_task__texts_and_parts(void)
{
    test_file("registry/datasets/p.yaml",
              STR("schema: 1\ndataset: p\nlicense: MIT\nparts: 'p/{part}.json'\n"
                  "files: {test: {path: 'p/{part}.json', at: examples}}\ntexts: {lead: "
                  "'lead/{part}.txt'}\n"));
    test_file("registry/datasets/p/two.json", STR("{\"examples\": [{\"q\": \"x\"}]}"));
    test_file("registry/datasets/p/one.json",
              STR("{\"a\": [], \"examples\": [{\"q\": \"y\"}, {\"q\": \"z\"}]}"));
    test_file("registry/datasets/lead/one.txt", STR("skip|lead one"));
    test_file("registry/datasets/lead/two.txt", STR("skip|lead two"));
    const Eval *eval =
        load("schema: 1\neval: e\nmatrix: {task: parts}\n"
             "dataset: {use: p, part: \"{{ task }}\", expect: {rows: 3}}\n"
             "sample: {input: \"{{ q }}\", target: t}\n"
             "prompt: \"{{ text('lead').split('|')[1] }} {{ task }} {{ input }}\"\n" TAIL);
    Err err = ERR_INIT;
    Str *parts = NULL;
    size_t n = 0;
    CHECK_OK(registry_parts(registry, eval, &parts, &n, &err), &err);
    CHECK(n == 2 && str_eq_c(parts[0], "one"));
    Task *task = open_task(eval, "two", 0);
    CHECK_STR(sample_of(task, 0).prompt.text, STR("lead two two x"));
    registry_task_close(registry, task);
    task = open_task(eval, "one", 0);
    CHECK_STR(sample_of(task, 1).prompt.text, STR("lead one one z"));
    registry_task_close(registry, task);
    Faults faults;
    faults_init(&faults, &test_arena);
    CHECK_OK(registry_check_rows(registry, eval, 0, &faults, &err), &err);
    CHECK_INT(faults.n, 0);
}

static void test_task__variants_share(void)
{
    write_dataset();
    const Eval *eval = load(
        "schema: 1\neval: e\ndataset: {use: d, split: test}\n"
        "sample: {input: \"{{ q }}\", target: \"{{ a }}\"}\n"
        "variants:\n  a: {prompt: \"a {{ input }}\"}\n  b: {prompt: \"b {{ input }}\"}\n" TAIL);
    Task *a = open_task(eval, "", 0), *b = open_task(eval, "", 1);
    CHECK(a != NULL && b != NULL && a->data->part == b->data->part);
    CHECK(a->solver_program == b->solver_program && a->grader_program == b->grader_program);
    CHECK_STR(sample_of(b, 0).prompt.text, STR("b q0"));
    registry_task_close(registry, a);
    CHECK_STR(sample_of(b, 4).prompt.text, STR("b q4"));
    registry_task_close(registry, b);
    CHECK(registry->parts == NULL && registry->rows == NULL && registry->programs == NULL);
}

static void test_task__not_pulled(void)
{
    test_file("registry/datasets/far.yaml",
              STR("schema: 1\ndataset: far\nlicense: MIT\nurl: https://example.org\nfiles: {test: "
                  "a.jsonl}\n"
                  "sources:\n  - {path: a.jsonl, bytes: 3, sha256: "
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}\n"));
    const Eval *eval =
        load("schema: 1\neval: e\ndataset: {use: far}\nsample: {input: i, target: t}\n" TAIL);
    Task *task = NULL;
    Err err = ERR_INIT;
    CHECK(!registry_task_open(registry, eval, STR_EMPTY, &eval->variants[0], 1, &task, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    Faults faults;
    faults_init(&faults, &test_arena);
    err = (Err)ERR_INIT;
    CHECK_OK(registry_check_rows(registry, eval, 0, &faults, &err), &err);
    CHECK_STR(test_faults(&faults),
              STR("3:16: warning not-checked: not checked: dataset 'far' is not pulled "
                  "('a.jsonl' is missing): muster pull far\n"));
}

/** Grade a text with a task's graders: "name=value" of each, "name:reason" of the unscored. */
static Str grades(Task *task, Str text)
{
    Sample sample = sample_of(task, 0);
    ScriptModel model = {.name = STR("m"), .chat = true};
    EvalLimits limits = {.then = STR("error")};
    StepInput in = {.sample = &sample, .epoch = 1, .model = &model, .limits = &limits};
    Reply reply = {.text = text, .stop = STOP_STOP};
    StepOutput out;
    Err err = ERR_INIT;
    Str all = STR_EMPTY;
    if (task == NULL || !CHECK_OK(script_grade(test_script, task->grader_program, &in, &reply, NULL,
                                               0, &test_arena, &out, &err),
                                  &err)) {
        return all;
    }
    CHECK(out.done);
    for (size_t i = 0; i < out.n_scores; i++) {
        const Score *score = &out.scores[i];
        Str value = score->state == SCORE_VALUE ? str_printf(&test_arena, "=%g", score->value)
                                                : str_concat(&test_arena, STR(":"), score->reason);
        all = str_printf(&test_arena, STR_FMT "%s" STR_FMT STR_FMT, STR_ARG(all), i > 0 ? " " : "",
                         STR_ARG(score->grader), STR_ARG(value));
    }
    return all;
}

static void test_task__graders_of_graders(void)
{
    // checks runs any grader in reach of the eval: compiled in, or beside it.
    test_file(
        "shouts.lua",
        STR("return {\n  name = \"shouts\", version = 1, range = {0, 1},\n"
            "  grade = function(_, reply) return {value = reply.text == reply.text:upper() and 1 "
            "or 0} end,\n}\n"));
    test_file("no_grader.lua", STR("this is not Lua"));
    const Eval *eval =
        load("schema: 1\neval: e\ndataset: {rows: [{q: x, want: BON}]}\n"
             "sample: {input: \"{{ q }}\", target: \"{{ want }}\"}\nsolver: {use: generate}\n"
             "graders:\n"
             "  - {use: combine, name: both, of: {loud: 3, hit: 1}}\n"
             "  - {use: checks, name: list, of: [{use: shouts}, {use: includes, target: \"{{ want "
             "}}\"}]}\n"
             "  - {use: shouts, name: loud}\n"
             "  - {use: includes, name: hit, target: jour}\n");
    Task *task = open_task(eval, "", 0);
    CHECK_STR(grades(task, STR("BONJOUR")), STR("both=0.75 list=1 loud=1 hit=0"));
    CHECK_STR(grades(task, STR("bonjour")), STR("both=0.25 list=0 loud=0 hit=1"));
    registry_task_close(registry, task);
}

static void test_task__given(void)
{
    const Eval *eval = load("schema: 1\neval: e\nmatrix: {lang: [fr, de]}\n"
                            "dataset: {rows: [{q: x, solution: {fr: oui, de: ja}}]}\n"
                            "sample: {input: \"{{ q }}\", target: oui}\n"
                            "variants:\n  recorded: {}\n"
                            "  fixed: {solver: {use: given, text: \"{{ input }}!\"}}\n"
                            "solver: {use: given, text: \"{{ row.solution[lang] }}\"}\n"
                            "graders: [{use: exact}]\n");
    static const char *const want[] = {"ja", "x!"};
    for (size_t v = 0; eval != NULL && v < 2; v++) {
        Task *task = open_task(eval, "de", v);
        Sample sample = sample_of(task, 0);
        ScriptModel model = {.name = STR("m")};
        EvalLimits limits = {.then = STR("error")};
        StepInput in = {.sample = &sample, .epoch = 1, .model = &model, .limits = &limits};
        StepOutput out;
        Err err = ERR_INIT;
        if (task != NULL &&
            CHECK_OK(script_solve(test_script, task->solver_program, &in, &test_arena, &out, &err),
                     &err)) {
            CHECK(out.done && out.n_effects == 0);
            CHECK_STR(out.reply.text, str_from_c(want[v]));
        }
        registry_task_close(registry, task);
    }
}

static void test_task__variants_replace(void)
{
    const Eval *eval = load(
        "schema: 1\neval: e\ndataset: {rows: [{q: x}]}\n"
        "sample: {input: \"{{ q }}\", target: t}\nprompt: \"text {{ input }}\"\n"
        "variants:\n  base: {}\n  chat: {messages: [{role: user, content: \"{{ input }}?\"}]}\n"
        "  long: {solver: {use: generate, max_tokens: 9, temperature: 0.5}}\n"
        "solver: {use: generate, max_tokens: 3}\ngraders: [{use: exact}]\n");
    static const char *const prompts[] = {"text x", "user: x?", "text x"};
    static const int tokens[] = {3, 3, 9};
    Hash first = {0};
    for (size_t v = 0; eval != NULL && v < 3; v++) {
        Task *task = open_task(eval, "", v);
        Sample sample = sample_of(task, 0);
        CHECK_STR(prompt_text(&sample.prompt), str_from_c(prompts[v]));
        CHECK_INT(task->variant->solver.settings.max_tokens, tokens[v]);
        CHECK(task->uses_chat == (v == 1));
        first = v == 0 ? sample.hash : first;
        CHECK(hash_eq(&sample.hash, &first)); // they pair whatever the prompt
        registry_task_close(registry, task);
    }
}

#define METRIC(factor)                                                                             \
    "return {\n  name = \"top\", version = 1, params = {n = 1},\n"                                 \
    "  metric = function(scores, params) return " factor " * params.n end,\n}\n"

static void test_eval__metric_files(void)
{
    static const char text[] = "schema: 1\neval: e\ndataset: {rows: [{q: x}]}\n"
                               "sample: {input: \"{{ q }}\", target: t}\n"
                               "metrics: [accuracy, {use: top, n: 2}]\n" TAIL;
    Faults faults;
    faults_init(&faults, &test_arena);
    Err err = ERR_INIT;
    const Eval *eval = NULL;
    Str file = test_file("deep/e.yaml", str_from_c(text));
    CHECK(!registry_eval(registry, file, &faults, &eval, &err));
    CHECK_STR(test_faults(&faults), STR("5:27: dangling: no metric 'top'\n"));
    // metrics/ next to a registry folder, then metrics/ beside the eval, which comes first.
    test_file("metrics/top.lua", STR(METRIC("1")));
    faults_init(&faults, &test_arena);
    const Eval *shared = NULL, *own = NULL;
    CHECK_OK(registry_eval(registry, file, &faults, &shared, &err), &err);
    test_file("deep/metrics/top.lua", STR(METRIC("2")));
    CHECK_OK(registry_eval(registry, file, &faults, &own, &err), &err);
    if (shared != NULL && own != NULL) {
        CHECK_INT(shared->metrics[0].text.len, 0);
        CHECK_STR(shared->metrics[1].text, STR(METRIC("1")));
        CHECK(str_ends_with(own->metrics[1].file, STR("deep/metrics/top.lua")));
        CHECK_STR(own->metrics[1].text, STR(METRIC("2")));
        CHECK_INT(value_get_int(&own->metrics[1].params, "n", 0), 2);
        CHECK(!hash_eq(&shared->hash, &own->hash)); // the text is part of what the eval is
    }
}

static void test_eval__own_keys(void)
{
    const Eval *eval = load(
        "schema: 1\neval: e\ndataset: {rows: [{q: x}]}\nsample: {input: \"{{ q }}\", target: t, "
        "metadata: {a: 1, b: 2}}\nsolver: {use: generate, temperature: 0.7, schema: {type: "
        "object}}\n"
        "graders:\n  - {use: exact, target: [u, v]}\n"
        "  - {use: judge, role: critic, prompt: \"{{ answer }}\", verdicts: {Y: 1, N: 0}}\n"
        "metrics: [accuracy, {use: pass_at, of: exact, k: 2}]\nepochs: 4\n"
        "slices: [b, a]\nroles: {critic: openai/gpt-4o-mini}\nsandbox: {use: python, seconds: 3}\n"
        "gate: {min: {accuracy: 0.6}, max_regression: 0.02}\n"
        "limits: {turns: 3, tokens: 100, seconds: 1.5, cost_usd: 0.1, then: grade}\n");
    if (eval == NULL) {
        return;
    }
    CHECK(eval->n_slices == 2 && str_eq_c(eval->slices[0], "b"));
    CHECK_STR(json_of(&eval->roles), STR("{\"critic\":\"openai/gpt-4o-mini\"}"));
    CHECK_STR(json_of(&eval->sandbox), STR("{\"use\":\"python\",\"seconds\":3}"));
    CHECK_STR(json_of(&eval->gate), STR("{\"min\":{\"accuracy\":0.6},\"max_regression\":0.02}"));
    CHECK_STR(json_of(&eval->graders[0].target), STR("[\"u\",\"v\"]"));
    CHECK_STR(eval->graders[1].role, STR("critic"));
    CHECK_STR(json_of(&eval->variants[0].solver.settings.schema), STR("{\"type\":\"object\"}"));
    CHECK_STR(json_of(&eval->metrics[1].params), STR("{\"k\":2}"));
    CHECK(eval->limits.turns == 3 && eval->limits.tokens == 100);
    CHECK_STR(eval->limits.then, STR("grade"));
}

static void test_list(void)
{
    Err err = ERR_INIT;
    RegistryEntry *entries = NULL;
    size_t n = 0;
    test_file("registry/evals/zz.yaml",
              STR("schema: 1\neval: zz\ndescription: The last.\ndataset: {use: d}\n"));
    test_file("registry/evals/aa.yaml", STR("schema: 1\neval: [\n"));
    CHECK_OK(registry_list(registry, REGISTRY_EVALS, &entries, &n, &err), &err);
    CHECK(n == 2 && str_eq_c(entries[0].name, "aa") && str_eq_c(entries[1].detail, "d"));
    CHECK_STR(entries[1].description, STR("The last."));
    CHECK_OK(registry_list(registry, REGISTRY_DATASETS, &entries, &n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        bool far = str_eq_c(entries[i].name, "far");
        CHECK_STR(entries[i].detail, far ? STR("not pulled (0.0 MB)") : STR("pulled"));
    }
    CHECK_OK(registry_list(registry, REGISTRY_GRADERS, &entries, &n, &err), &err);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        found = found || str_eq_c(entries[i].name, "exact");
    }
    CHECK(found);
}

int main(void)
{
    test_begin();
    registry = test_registry(STR_EMPTY);
    tap_run("task: fields and their types", test_task__fields);
    tap_run("task: choices and targets", test_task__choices_and_targets);
    tap_run("task: rows that break the rules", test_task__bad_rows);
    tap_run("task: messages, spliced and looped", test_task__messages);
    tap_run("task: input alone is a chat", test_task__input_alone);
    tap_run("task: matrix", test_task__matrix);
    tap_run("task: shots", test_task__shots);
    tap_run("task: fields of shots", test_task__shot_fields);
    tap_run("task: where", test_task__where);
    tap_run("task: helpers and ctx.rng", test_task__helpers);
    tap_run("task: ids", test_task__ids);
    tap_run("task: the sample's hash", test_task__sample_hash);
    tap_run("task: hashes of eval, data and program", test_task__hashes);
    tap_run("task: texts and parts of a dataset", test_task__texts_and_parts);
    tap_run("task: variants share rows and programs", test_task__variants_share);
    tap_run("task: data that is not pulled", test_task__not_pulled);
    tap_run("task: graders that run graders", test_task__graders_of_graders);
    tap_run("task: given answers", test_task__given);
    tap_run("task: what variants replace", test_task__variants_replace);
    tap_run("eval: metrics in Lua", test_eval__metric_files);
    tap_run("eval: roles, slices, sandbox, gate, limits", test_eval__own_keys);
    tap_run("registry: lists", test_list);
    registry_destroy(registry);
    return test_end();
}
