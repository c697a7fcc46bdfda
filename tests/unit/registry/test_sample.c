// SPDX-License-Identifier: MIT
// One row to one sample, beyond the plain cases of test_task.c: messages of every form, targets of
// every form, typed metadata, files, helpers of any type, graders that call graders.
#include "task_support.h"

static void test_sample__messages(void)
{
    static const struct {
        int line;
        const char *messages;
        const char *want;
    } cases[] = {
        {__LINE__, "[{role: user, content: plain}]", "user: plain"},
        {__LINE__, "[{role: user, content: \"{{ input }} of {{ id }}\", name: \"{{ who }}\"}]",
         "user/ann: x of 0"},
        // An expression gives a message, a list, or nothing at all.
        {__LINE__, "[\"{{ chat }}\", \"{{ chat[0] }}\", \"{{ [] }}\", {role: user, content: end}]",
         "system: be brief|user: hm|system: be brief|user: end"},
        {__LINE__, "[\"{{ chat[1:] + chat[:1] }}\"]", "user: hm|system: be brief"},
        // Loops: over a name or an expression, with a variable, one inside another.
        {__LINE__, "[{each: list, messages: [{role: user, content: \"{{ s }}\"}]}]",
         "user: a|user: b"},
        {__LINE__,
         "[{each: \"{{ list[1:] }}\", as: x, messages: [{role: user, content: \"{{ x }}{{ q }}\"}, "
         "\"{{ chat[0] }}\"]}]",
         "user: bx|system: be brief"},
        {__LINE__,
         "[{each: list, as: a, messages: [{each: list, as: b, messages: [{role: user, content: "
         "\"{{ a }}{{ b }}\"}]}]}]",
         "user: aa|user: ab|user: ba|user: bb"},
        {__LINE__, "[{role: user, content: \"{{ n }}\"}, {role: assistant, content: \"So: \"}]",
         "user: 3|assistant: So: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Str text = str_printf(&test_arena,
                              "schema: 1\neval: e\ndataset: {rows: [{q: x, who: ann, n: 3, list: "
                              "[a, b], chat: [{role: system, content: be brief}, {role: user, "
                              "content: hm}]}]}\nsample: {input: \"{{ q }}\", target: t}\n"
                              "messages: %s\n" TAIL,
                              cases[i].messages);
        Task *task = open_task(load(text.data), "", 0);
        Sample sample = sample_of(task, 0);
        if (!str_eq_c(prompt_text(&sample.prompt), cases[i].want)) {
            printf("# case of line %d\n", cases[i].line);
        }
        CHECK(sample.prompt.is_chat);
        CHECK_STR(prompt_text(&sample.prompt), str_from_c(cases[i].want));
        registry_task_close(registry, task);
    }
}

static void test_sample__bad_messages(void)
{
    static const struct {
        int line;
        const char *messages;
        const char *want;
    } cases[] = {
        {__LINE__, "[\"{{ q }}\"]", "this has to give a message or a list of messages, not text"},
        {__LINE__, "[\"{{ [q] }}\"]", "a message has to be a map with role and content, not text"},
        {__LINE__, "[\"{{ [] }}\"]", "there are no messages"},
        {__LINE__, "[{each: q, messages: [{role: user, content: x}]}]",
         "'each' has to name a list, not text"},
        {__LINE__, "[{role: user, content: \"{{ list }}\"}]",
         "the content of a message has to be text, not a list"},
        {__LINE__, "[\"{{ {'role': 'robot', 'content': 'x'} }}\"]",
         "has to be system, user, assistant or tool, not 'robot'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Str text = str_printf(&test_arena,
                              "schema: 1\neval: e\ndataset: {rows: [{q: x, list: [a]}]}\n"
                              "sample: {input: \"{{ q }}\", target: t}\nmessages: %s\n" TAIL,
                              cases[i].messages);
        Str got = failure(text.data, 0);
        if (str_find(got, str_from_c(cases[i].want), 0) == STR_NONE) {
            printf("# case of line %d: %.*s\n", cases[i].line, STR_ARG(got));
        }
        CHECK(str_find(got, str_from_c(cases[i].want), 0) != STR_NONE);
    }
}

static void test_sample__tool_calls(void)
{
    Task *task = open_task(
        load("schema: 1\neval: e\ndataset: {rows: [{q: x, city: Bonn}]}\n"
             "sample: {input: \"{{ q }}\", target: t}\nmessages:\n"
             "  - {role: user, content: \"{{ input }}\"}\n"
             "  - {role: assistant, tool_calls: [{id: c1, name: weather, arguments: {city: \"{{ "
             "city }}\", days: 2}}]}\n"
             "  - {role: tool, tool_call_id: \"c{{ 1 }}\", content: sunny}\n" TAIL),
        "", 0);
    Sample sample = sample_of(task, 0);
    CHECK_STR(prompt_text(&sample.prompt), STR("user: x|assistant: |tool: sunny"));
    CHECK_STR(json_of(&sample.prompt.messages[1].extra),
              STR("{\"tool_calls\":[{\"id\":\"c1\",\"name\":\"weather\",\"arguments\":{\"city\":"
                  "\"Bonn\",\"days\":2}}]}"));
    CHECK_STR(json_of(&sample.prompt.messages[2].extra), STR("{\"tool_call_id\":\"c1\"}"));
    registry_task_close(registry, task);
}

static void test_sample__input_messages(void)
{
    Task *task = open_task(load("schema: 1\neval: e\ndataset: {rows: [{q: x, old: [{role: user, "
                                "content: a}, {role: assistant, content: b}]}]}\n"
                                "sample: {input: [\"{{ old }}\", {role: user, content: \"{{ q }}\"}"
                                "], target: t}\n" TAIL),
                           "", 0);
    Sample sample = sample_of(task, 0);
    CHECK(sample.input.kind == VALUE_LIST && sample.input.as.list.n == 3);
    CHECK_STR(prompt_text(&sample.prompt), STR("user: a|assistant: b|user: x"));
    registry_task_close(registry, task);
}

static void test_sample__targets(void)
{
    static const struct {
        int line;
        const char *choices; // "" : none
        const char *target;
        const char *want; // targets, then the positions
    } cases[] = {
        {__LINE__, "", "plain", "plain"},
        {__LINE__, "", "\"{{ n }}\"", "3"},
        {__LINE__, "", "\"{{ real }}\"", "1.0"},
        {__LINE__, "", "\"{{ yes }}\"", "True"},
        {__LINE__, "", "\"{{ list }}\"", "a,b"},
        {__LINE__, "", "[x, \"{{ n }}\", 7, true]", "x,3,7,True"},
        {__LINE__, "", "\"{{ list | first }}{{ n }}\"", "a3"},
        {__LINE__, "", "\"\"", ""},
        {__LINE__, "\"{{ list }}\"", "\"{{ one }}\"", "b 1"},
        {__LINE__, "\"{{ list }}\"", "0", "a 0"},
        {__LINE__, "\"{{ list }}\"", "b", "b 1"},
        {__LINE__, "\"{{ list }}\"", "[1, a]", "a,b 0,1"},
        {__LINE__, "\"{{ list }}\"", "[b, 1]", "b 1"},
        {__LINE__, "\"{{ list }}\"", "\"{{ [] }}\"", " "},
        {__LINE__, "\"{{ list | map('upper') }}\"", "A", "A 0"},
        {__LINE__, "[\"{{ q }}\", \"{{ n }}\", c]", "c", "c 2"},
        {__LINE__, "[\"{{ q }}\", \"{{ n }}\", c]", "\"{{ n }}\"", "failed"}, // a position
        {__LINE__, "[\"{{ q }}\", \"{{ n }}\", c]", "\"{{ n | string }}\"", "3 1"},
        {__LINE__, "[same, same]", "same", "failed"},
        {__LINE__, "[same, same]", "1", "same 1"},
        {__LINE__, "\"{{ [{'context': q, 'text': 'u'}, {'context': 'w', 'text': 'v'}] }}\"", "v",
         "v 1"},
        {__LINE__, "[{context: \"{{ q }}\", text: u}, {context: w, text: u}]", "\"{{ one }}\"",
         "u 1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool choices = cases[i].choices[0] != '\0';
        Str text = str_printf(
            &test_arena,
            "schema: 1\neval: e\n"
            "dataset: {rows: [{q: x, n: 3, one: 1, real: 1.0, yes: true, list: [a, b]}]}\n"
            "sample:\n  input: i\n%s%s%s  target: %s\nprompt: p\n%s",
            choices ? "  choices: " : "", cases[i].choices, choices ? "\n" : "", cases[i].target,
            choices ? "solver: {use: multiple_choice}\ngraders: [{use: choice}]\n" : TAIL);
        Task *task = open_task(load(text.data), "", 0);
        Sample sample;
        Err err = ERR_INIT;
        Str got = STR("failed");
        if (task != NULL && registry_task_sample(registry, task, 0, &test_arena, &sample, &err)) {
            got = STR_EMPTY;
            for (size_t k = 0; k < sample.n_targets; k++) {
                got = str_printf(&test_arena, STR_FMT "%s" STR_FMT, STR_ARG(got), k > 0 ? "," : "",
                                 STR_ARG(sample.targets[k]));
            }
            for (size_t k = 0; k < sample.n_correct; k++) {
                got = str_printf(&test_arena, STR_FMT "%s%lld", STR_ARG(got), k > 0 ? "," : " ",
                                 (long long)sample.correct[k]);
            }
            got = choices && sample.n_correct == 0 ? STR(" ") : got;
        }
        if (!str_eq_c(got, cases[i].want)) {
            printf("# case of line %d: %s\n", cases[i].line, err.message);
        }
        CHECK_STR(got, str_from_c(cases[i].want));
        registry_task_close(registry, task);
    }
}

static void test_sample__metadata_and_files(void)
{
    const Eval *eval = load(
        "schema: 1\neval: e\ndataset: {rows: [{q: x, n: 3, deep: {z: [1, null, {b: 2.5}], a: "
        "{}}}]}\n"
        "sample:\n  input: \"{{ q }}\"\n  target: t\n"
        "  metadata: {deep: \"{{ deep }}\", made: {n: \"{{ n }}\", list: [\"{{ q }}\", 1, true]}, "
        "text: \"{{ n }}!\"}\n"
        "  files: {a/b.txt: \"{{ q }} {{ n }}\\n\", n.txt: \"{{ n }}\",\n    two.txt: \"{{ q "
        "}}\\n\\n\", one.txt: \"{{ q }}\\n\"}\n" TAIL);
    Task *task = open_task(eval, "", 0);
    Sample sample = sample_of(task, 0);
    CHECK_STR(
        json_of(&sample.metadata),
        STR("{\"deep\":{\"z\":[1,null,{\"b\":2.5}],\"a\":{}},\"made\":{\"n\":3,\"list\":[\"x\","
            "1,true]},\"text\":\"3!\"}"));
    CHECK_STR(json_of(&sample.files),
              STR("{\"a/b.txt\":\"x "
                  "3\\n\",\"n.txt\":\"3\",\"two.txt\":\"x\\n\\n\",\"one.txt\":\"x\\n\"}"));
    registry_task_close(registry, task);
    Str got = failure("schema: 1\neval: e\ndataset: {rows: [{q: [1]}]}\n"
                      "sample: {input: i, target: t, files: {f: \"{{ q }}\"}}\n" TAIL,
                      0);
    CHECK_STR(got,
              STR("eval 'e', row 0 (line 3): sample.files: file 'f' has to be text, not a list"));
}

static void test_sample__helpers(void)
{
    test_file(
        "types.lua",
        STR("return {\n"
            "  kinds = function(...)\n"
            "    local out = {}\n"
            "    for i, v in ipairs({...}) do out[i] = type(v) == 'table' and v.rng and 'ctx' or "
            "math.type(v) or type(v) end\n"
            "    return out\n  end,\n"
            "  pairs_of = function(n) return {b = n, a = {n, n + 0.5, 'x', true}} end,\n"
            "  nothing = function() return nil end,\n"
            "  dice = function(n, ctx) local t = {} for i = 1, n do t[i] = ctx.rng(1, 1000000) "
            "end return t end,\n"
            "}\n"));
    const Eval *eval = load(
        "schema: 1\neval: e\nhelpers: types.lua\n"
        "dataset: {rows: [{q: x, l: [1], m: {k: v}}, {q: y, l: [1], m: {k: v}}]}\n"
        "sample: {id: \"{{ q }}\", input: \"{{ dice(2) }}\", target: t,\n"
        "  metadata: {kinds: \"{{ q | kinds(1, 2.0, true, l, m) }}\", map: \"{{ pairs_of(2) }}\", "
        "none: \"{{ nothing() is none }}\", dice: \"{{ dice(2) }}\"}}\n"
        "variants: {one: {prompt: \"{{ 2 | dice }}.\"}, two: {prompt: \"{{ dice(2) }}.\"}}\n" TAIL);
    if (eval == NULL) {
        return;
    }
    Task *one = open_task(eval, "", 0), *two = open_task(eval, "", 1);
    Sample a = sample_of(one, 0), b = sample_of(two, 0), c = sample_of(one, 1);
    CHECK_STR(json_of(value_get_c(&a.metadata, "kinds")),
              STR("[\"string\",\"integer\",\"float\",\"boolean\",\"table\",\"table\",\"ctx\"]"));
    CHECK_STR(json_of(value_get_c(&a.metadata, "map")), STR("{\"a\":[2,2.5,\"x\",true],\"b\":2}"));
    CHECK_STR(json_of(value_get_c(&a.metadata, "none")), STR("true"));
    // The same draws for every variant; other draws for another sample, template, or call.
    CHECK_STR(a.prompt.text, b.prompt.text);
    CHECK(!str_eq(a.prompt.text, c.prompt.text));
    CHECK(!str_eq(a.prompt.text, json_of(&a.input)));
    const Value *dice = value_get_c(&a.metadata, "dice");
    CHECK(!value_equal(&dice->as.list.items[0], &dice->as.list.items[1]));
    registry_task_close(registry, one);
    registry_task_close(registry, two);
    Task *other = open_seeded(eval, "", 0, 2); // another seed, other draws
    CHECK(!str_eq(sample_of(other, 0).prompt.text, a.prompt.text));
    registry_task_close(registry, other);
}

/** What helpers define is known to the checks of templates, and nothing else is. */
static void test_sample__helper_names(void)
{
    test_file("known.lua", STR("return {\n  twice = function(s) return s .. s end,\n"
                               "  two = function() return 2 end,\n}\n"));
    Faults faults;
    faults_init(&faults, &test_arena);
    Err err = ERR_INIT;
    const Eval *eval = NULL;
    Str file = test_file("f.yaml",
                         STR("schema: 1\neval: f\nhelpers: known.lua\ndataset: {rows: [{q: x}]}\n"
                             "sample: {input: \"{{ q | twice }}{{ two() }}\", target: t}\n"
                             "prompt: \"{{ inptu | twice }} {{ q | twise }} {{ q }}\"\n" TAIL));
    CHECK(!registry_eval(registry, file, &faults, &eval, &err));
    Str got = test_faults(&faults);
    CHECK(str_starts_with(got, STR("6:14: template: unknown filter 'twise'")) ||
          str_find(got, STR("twise"), 0) != STR_NONE);
    faults_init(&faults, &test_arena);
    file = test_file("f.yaml", STR("schema: 1\neval: f\nhelpers: known.lua\ndataset: {rows: [{q: "
                                   "x}]}\nsample: {input: \"{{ q | twice }}{{ two() }}\", target: "
                                   "t}\nprompt: \"{{ inptu | twice }} {{ two() }}\"\n" TAIL));
    CHECK(!registry_eval(registry, file, &faults, &eval, &err));
    CHECK_STR(test_faults(&faults), STR("6:13: unknown-variable: unknown variable 'inptu'; did you "
                                        "mean 'input'?\n"));
}

int main(void)
{
    test_begin();
    registry = test_registry(STR_EMPTY);
    tap_run("sample: messages", test_sample__messages);
    tap_run("sample: messages that are none", test_sample__bad_messages);
    tap_run("sample: tool calls in messages", test_sample__tool_calls);
    tap_run("sample: input as messages", test_sample__input_messages);
    tap_run("sample: targets of every form", test_sample__targets);
    tap_run("sample: metadata keeps types; files", test_sample__metadata_and_files);
    tap_run("sample: helpers and ctx.rng", test_sample__helpers);
    tap_run("sample: names of helpers", test_sample__helper_names);
    registry_destroy(registry);
    return test_end();
}
