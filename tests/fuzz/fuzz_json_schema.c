// SPDX-License-Identifier: MIT
// A schema, a NUL, a value. Whatever they are, the check ends soon, without harm, and says the same
// twice; a value that is refused is refused with a reason; a value fits its own `const` and `enum`.
#include "text/json_schema.h"
#include "text/text.h"

#include <string.h>

#define STEPS 20000 // few, so that many inputs are tried

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        __builtin_trap();
    }
}

static void check_twice(Arena *arena, JsonSchema *schema, const Value *value)
{
    bool first_ok = false;
    bool first = false;
    for (int i = 0; i < 2; i++) {
        Err err = ERR_INIT;
        bool valid = false;
        Str why = STR_EMPTY;
        bool ok = json_schema_check(schema, value, arena, &valid, &why, &err);
        check(ok ? valid == (why.len == 0) : err.code == ERR_LIMIT);
        check(i == 0 || (ok == first_ok && valid == first));
        check(utf8_is_valid(why));
        first_ok = ok;
        first = valid;
    }
}

/** {"const": value, "enum": [value]} */
static void check_own(Arena *arena, const Value *value)
{
    ValuePair pairs[] = {value_pair(STR("const"), *value),
                         value_pair(STR("enum"), value_list(value, 1))};
    Value schema_value = value_map(pairs, 2);
    JsonSchema *schema = NULL;
    Err err = ERR_INIT;
    bool valid = false;
    Str why;
    check(json_schema_create(&schema_value, NULL, &schema, &err));
    check(!json_schema_check(schema, value, arena, &valid, &why, &err) || valid);
    json_schema_destroy(schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena = {0};
    const uint8_t *cut = memchr(data, 0, size);
    size_t n = cut == NULL ? size : (size_t)(cut - data);
    Str schema_text = {(const char *)data, n};
    Str text = {(const char *)data + n + (cut != NULL), size - n - (cut != NULL)};
    JsonOptions options = {.max_depth = 300, .keep_last_duplicate = true};
    Value schema_value = value_null();
    Value value = value_null();
    Err err = ERR_INIT;
    bool has_schema = json_parse(&arena, schema_text, &options, &schema_value, NULL, &err);
    if (json_parse(&arena, text, &options, &value, NULL, &err)) {
        check_own(&arena, &value);
    }
    JsonSchema *schema = NULL;
    JsonSchemaOptions how = {.max_steps = STEPS, .assert_format = size % 2 == 0};
    if (has_schema && json_schema_create(&schema_value, &how, &schema, &err)) {
        check_twice(&arena, schema, &value);
        json_schema_destroy(schema);
    }
    arena_finish(&arena);
    return 0;
}
