// SPDX-License-Identifier: MIT
// Models' chat templates: a small one of our own, and the public goldens where they are at hand
// (rendered by the Python reference; strftime_now shows 2024-07-26).
#include "script/script.h"
#include "tests/unit/tap.h"
#include "text/text.h"

#define NOW_SECONDS 1721952000

static Script *script;
static Arena arena;

static void test_chat__small(void)
{
    Err err = ERR_INIT;
    Program *program;
    Str text =
        STR("{%- for m in messages -%}\n<{{ m.role }}>{{ m['content'] | trim }}\n"
            "{%- endfor -%}\n{% if add_generation_prompt %}<assistant>{% endif %}{{ nothing }}");
    if (!CHECK_OK(script_chat_create(script, STR("small"), text, &program, &err), &err)) {
        return;
    }
    Value vars;
    Str json =
        STR("{\"messages\":[{\"role\":\"user\",\"content\":\" hi \"},{\"role\":\"assistant\","
            "\"content\":\"ho\"}],\"add_generation_prompt\":true}");
    CHECK_OK(json_parse(&arena, json, NULL, &vars, NULL, &err), &err);
    Str out;
    for (int i = 0; i < 2; i++) { // nothing is left from the first time
        if (CHECK_OK(script_chat_render(script, program, &vars, &arena, &out, &err), &err)) {
            CHECK_STR(out, STR("<user>hi<assistant>ho<assistant>"));
        }
    }
    script_program_destroy(script, program);
}

// ---- The public goldens -------------------------------------------------------------------------

/** Whether the reference parsed tool-call arguments for this template. */
static bool parses_arguments(Str template_name)
{
    return str_starts_with(template_name, STR("Qwen-Qwen2.5"));
}

static Value parsed_arguments(const Value *value)
{
    Value copy = *value;
    if (value->kind == VALUE_LIST) {
        Value *items = ARENA_ARRAY(&arena, Value, value->as.list.n);
        for (size_t i = 0; i < value->as.list.n; i++) {
            items[i] = parsed_arguments(&value->as.list.items[i]);
        }
        copy.as.list.items = items;
    } else if (value->kind == VALUE_MAP) {
        ValuePair *pairs = ARENA_ARRAY(&arena, ValuePair, value->as.map.n);
        for (size_t i = 0; i < value->as.map.n; i++) {
            pairs[i] = value->as.map.pairs[i];
            Err err = ERR_INIT;
            bool is_text =
                str_eq(pairs[i].key, STR("arguments")) && pairs[i].value.kind == VALUE_STR;
            if (!is_text ||
                !json_parse(&arena, pairs[i].value.as.str, NULL, &pairs[i].value, NULL, &err)) {
                pairs[i].value = parsed_arguments(&pairs[i].value);
            }
        }
        copy.as.map.pairs = pairs;
    }
    return copy;
}

static bool chat_vars(Str folder, Str context, bool parse, Value *out, Err *err)
{
    Str text;
    Str path =
        str_printf(&arena, STR_FMT "/contexts/" STR_FMT ".json", STR_ARG(folder), STR_ARG(context));
    Value vars;
    if (!file_read(&arena, path, 1 << 20, &text, err) ||
        !json_parse(&arena, text, NULL, &vars, NULL, err)) {
        return false;
    }
    vars = parse ? parsed_arguments(&vars) : vars;
    ValuePair *pairs = ARENA_ARRAY(&arena, ValuePair, vars.as.map.n + 1);
    memcpy(pairs, vars.as.map.pairs, vars.as.map.n * sizeof(*pairs));
    pairs[vars.as.map.n] = value_pair(STR("now"), value_int(NOW_SECONDS));
    *out = value_map(pairs, vars.as.map.n + 1);
    return true;
}

static void check_golden(Str folder, Str golden)
{
    Err err = ERR_INIT;
    Str name = path_stem(golden);
    size_t dash = str_find_last(name, STR("-"));
    Str template_name = str_slice(name, 0, dash);
    Str context = str_slice(name, dash + 1, name.len);
    Str want, source, got;
    Value vars;
    Program *program;
    Str template_path = str_printf(&arena, STR_FMT "/templates/" STR_FMT ".jinja", STR_ARG(folder),
                                   STR_ARG(template_name));
    Str golden_path =
        str_printf(&arena, STR_FMT "/goldens/" STR_FMT, STR_ARG(folder), STR_ARG(golden));
    if (!CHECK_OK(file_read(&arena, golden_path, 1 << 20, &want, &err) &&
                      file_read(&arena, template_path, 1 << 20, &source, &err) &&
                      chat_vars(folder, context, parses_arguments(template_name), &vars, &err) &&
                      script_chat_create(script, template_name, source, &program, &err),
                  &err)) {
        return;
    }
    if (CHECK_OK(script_chat_render(script, program, &vars, &arena, &got, &err), &err)) {
        if (!str_eq(got, want)) {
            printf("# golden " STR_FMT "\n", STR_ARG(golden));
        }
        CHECK_STR(got, want);
    }
    script_program_destroy(script, program);
}

static void test_chat__goldens(void)
{
    Err err = ERR_INIT;
    Str folder =
        str_printf(&arena, STR_FMT "/chat_templates", STR_ARG(env_get("MUSTER_MIRROR", STR_EMPTY)));
    Str *goldens;
    size_t n;
    Str dir = str_printf(&arena, STR_FMT "/goldens", STR_ARG(folder));
    if (CHECK_OK(file_list(&arena, dir, &goldens, &n, &err), &err)) {
        CHECK(n > 0);
        for (size_t i = 0; i < n; i++) {
            check_golden(folder, goldens[i]);
        }
        printf("# %zu goldens\n", n);
    }
}

int main(void)
{
    Err err = ERR_INIT;
    if (!script_create(NULL, &script, &err)) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    tap_run("a small chat template", test_chat__small);
    if (env_get("MUSTER_MIRROR", STR_EMPTY).len > 0) {
        tap_run("the goldens of public templates", test_chat__goldens);
    } else {
        tap_skip("the goldens of public templates", "MUSTER_MIRROR is not set");
    }
    script_destroy(script);
    arena_finish(&arena);
    return tap_done();
}
