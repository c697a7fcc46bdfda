// SPDX-License-Identifier: MIT
// Any bytes as a Jinja template: "flags template \n---\n JSON scope". What compiles renders within
// its budget, twice to the same result, and leaves the next call unharmed.
#include "script/script.h"
#include "text/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Script *script;

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static bool is_expected(const Err *err)
{
    return err->code == ERR_SCRIPT || err->code == ERR_BUDGET || err->code == ERR_PARSE ||
           err->code == ERR_LIMIT;
}

static bool render(Program *program, const Value *scope, Arena *arena, Value *out, Err *err)
{
    bool ok = script_render_begin(script, program, NULL, scope, err) &&
              script_render(script, STR("t"), arena, out, err);
    check(ok || is_expected(err));
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Err err = ERR_INIT;
    if (size == 0) {
        return 0;
    }
    if (script == NULL) {
        ScriptBudget budget = {
            .instructions = 300000, .deadline_ms = 10000, .memory_bytes = (size_t)4 << 20};
        check(script_create(&budget, &script, &err));
    }
    Arena arena = {0};
    Str text, json;
    str_cut((Str){(const char *)data + 1, size - 1}, STR("\n---\n"), &text, &json);
    Value scope;
    if (!json_parse(&arena, json, NULL, &scope, NULL, &err) || scope.kind != VALUE_MAP) {
        scope = value_map(NULL, 0);
    }
    ScriptUnit unit = {.kind = UNIT_TEMPLATE,
                       .name = STR("t"),
                       .file = STR("t.yaml"),
                       .line = 1 + (data[0] >> 4),
                       .indent = (uint16_t)(data[0] >> 2 & 3),
                       .text = text,
                       .lenient = data[0] & 1,
                       .force_text = data[0] & 2};
    Program *program;
    err = (Err)ERR_INIT;
    if (!script_program_create(script, &unit, 1, NULL, &program, &err)) {
        check(is_expected(&err));
        arena_finish(&arena);
        return 0;
    }
    Value first = value_null(), second = value_null();
    Err again = ERR_INIT;
    bool ok = render(program, &scope, &arena, &first, &err);
    check(ok == render(program, &scope, &arena, &second, &again));
    check(!ok || value_equal(&first, &second));
    check(ok || err.code == again.code);
    check(!ok || !unit.force_text || first.kind == VALUE_STR);
    script_program_destroy(script, program);
    arena_finish(&arena);
    return 0;
}
