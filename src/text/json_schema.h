// SPDX-License-Identifier: MIT
// Checking a value against a JSON Schema of draft 2020-12: the vocabularies core, applicator,
// unevaluated, validation and, when asked, format; annotations of metadata and content mean nothing
// here. Nothing is ever fetched: schemas that others refer to are handed in. Schema and value are
// hostile: every amount of work, and every depth, has a limit.
//
// Numbers. Integers that fit i64 are exact, and compare exactly with reals; `multipleOf` works on
// decimals as they are written (0.3 is a multiple of 0.1). Numbers that fit neither i64 nor a
// double's 53 bits are the nearest double: that is what the JSON reader makes of them. Patterns are
// ECMA-262 with the flag u, matched by PCRE2: \d, \w, \s and \b are ECMA's, PCRE's own syntax is
// refused. Lookbehind has to have a bounded length, and a backreference to a group that took no
// part fails instead of matching nothing.
#pragma once

#include "base/base.h"

typedef struct JsonSchema JsonSchema;

typedef struct JsonSchemaOptions {
    const Value *remotes; // map: absolute URI -> schema that $ref and $schema may name; NULL: none
    bool assert_format;   // check `format` where its name is known; else it is an annotation
    uint64_t max_steps;   // of json_schema_create, and of each check; 0: 4 million
} JsonSchemaOptions;

/**
 * Compile a schema: all its references resolved, its patterns compiled.
 * owns   *out is destroyed by json_schema_destroy; it keeps copies of what it needs.
 * fails  ERR_PARSE with the place in the schema ("#/properties/a/type: ..."): a keyword whose value
 *        makes no sense, a reference that leads nowhere; ERR_LIMIT when it is too deep or large. */
bool json_schema_create(const Value *schema, const JsonSchemaOptions *options, JsonSchema **out,
                        Err *err);
void json_schema_destroy(JsonSchema *schema);

/**
 * Check a value. *out_why names the place of the first fault and says what is wrong with it
 * ("$.items[2].price: -1 is less than 0"); empty when the value is valid.
 * owns   *out_why in arena.
 * fails  ERR_LIMIT when it takes too many steps or the schema leads in a circle.
 * thread one JsonSchema, one thread. */
bool json_schema_check(JsonSchema *schema, const Value *value, Arena *arena, bool *out_valid,
                       Str *out_why, Err *err);

/** Steps that creating, or the last check, took: about 50 ns each. */
uint64_t json_schema_steps(const JsonSchema *schema);
