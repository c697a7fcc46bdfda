// SPDX-License-Identifier: MIT
// For json_schema.py: reads JSON lines from stdin. {"remotes": {URI: schema ...}, "format": bool}
// sets what follows; {"schema": ..., "tests": [value ...]} is answered with one JSON list on
// stdout: true, false, or the text of an error for each value.
#include "text/json_schema.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>

static Value answer(JsonSchema *schema, const Value *value, Arena *arena)
{
    Err err = ERR_INIT;
    bool valid = false;
    Str why = STR_EMPTY;
    if (!json_schema_check(schema, value, arena, &valid, &why, &err)) {
        return value_str(str_copy(arena, str_from_c(err.message)));
    }
    return value_bool(valid);
}

static void run_case(const Value *line, const JsonSchemaOptions *options, Arena *arena)
{
    const Value *tests = value_get_c(line, "tests");
    Value *answers = ARENA_ARRAY(arena, Value, tests->as.list.n + 1);
    JsonSchema *schema = NULL;
    Err err = ERR_INIT;
    bool ok = json_schema_create(value_get_c(line, "schema"), options, &schema, &err);
    for (size_t i = 0; i < tests->as.list.n; i++) {
        answers[i] = ok ? answer(schema, &tests->as.list.items[i], arena)
                        : value_str(str_copy(arena, str_from_c(err.message)));
    }
    json_schema_destroy(schema);
    Value list = value_list(answers, tests->as.list.n);
    Buf buf = {0};
    json_write(&buf, &list, JSON_COMPACT);
    printf("%.*s\n", (int)buf.len, buf.data);
    buf_finish(&buf);
}

int main(void)
{
    Arena kept = {0};
    JsonSchemaOptions options = {0};
    char *line = NULL;
    size_t cap = 0;
    for (;;) {
        ssize_t n = getline(&line, &cap, stdin);
        if (n <= 0) {
            break;
        }
        Arena arena = {0};
        Err err = ERR_INIT;
        Value *value = ARENA_NEW(&kept, Value);
        JsonOptions read = {.max_depth = 1024};
        if (!json_parse(&kept, (Str){line, (size_t)n}, &read, value, NULL, &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        if (value_get_c(value, "remotes") != NULL) {
            options.remotes = value_get_c(value, "remotes");
            options.assert_format = value_get_bool(value, "format", false);
        } else {
            run_case(value, &options, &arena);
        }
        arena_finish(&arena);
    }
    free(line);
    arena_finish(&kept);
    return 0;
}
