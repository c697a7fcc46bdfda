// SPDX-License-Identifier: MIT
#include "text_tap.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

/** Digits that Python's repr prints for the same doubles. */
static void test_text_format_real__shortest(void)
{
    static const struct {
        int line;
        double value;
        const char *want;
    } rows[] = {
        {__LINE__, 0.0, "0.0"},
        {__LINE__, -0.0, "-0.0"},
        {__LINE__, 1.0, "1.0"},
        {__LINE__, -1.5, "-1.5"},
        {__LINE__, 0.1, "0.1"},
        {__LINE__, 0.1 + 0.2, "0.30000000000000004"},
        {__LINE__, 1.0 / 3, "0.3333333333333333"},
        {__LINE__, 2.0 / 3, "0.6666666666666666"},
        {__LINE__, 100.0, "100.0"},
        {__LINE__, 1234567.891, "1234567.891"},
        {__LINE__, 0.0001, "0.0001"},
        {__LINE__, 0.00001, "1e-05"},
        {__LINE__, 1.5e-7, "1.5e-07"},
        {__LINE__, 1e15, "1000000000000000.0"},
        {__LINE__, 9999999999999998.0, "9999999999999998.0"},
        {__LINE__, 1e16, "1e+16"},
        {__LINE__, 1.2345678901234567e17, "1.2345678901234566e+17"},
        {__LINE__, 1e22, "1e+22"},
        {__LINE__, 1e23, "1e+23"},
        {__LINE__, 1e100, "1e+100"},
        {__LINE__, 1.7976931348623157e308, "1.7976931348623157e+308"},
        {__LINE__, 2.2250738585072014e-308, "2.2250738585072014e-308"},
        {__LINE__, 2.225073858507201e-308, "2.225073858507201e-308"},
        {__LINE__, 5e-324, "5e-324"},
        {__LINE__, 1.5e-323, "1.5e-323"},
        {__LINE__, 9007199254740993.0, "9007199254740992.0"},
        {__LINE__, 5.0e-310, "5e-310"},
        {__LINE__, (double)NAN, "nan"},
        {__LINE__, (double)INFINITY, "inf"},
        {__LINE__, -(double)INFINITY, "-inf"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[40];
        size_t n = text_format_real(rows[i].value, out);
        ROW_CHECK(&rows[i], n == strlen(out));
        ROW_CHECK_STR(&rows[i], str_from_c(out), str_from_c(rows[i].want));
    }
}

static void test_text_format_real__reads_back(void)
{
    Rng rng;
    rng_init(&rng, 7);
    size_t n_wrong = 0;
    size_t n_tried = 0;
    while (n_tried < 200000) {
        uint64_t bits = rng_next(&rng);
        double d;
        memcpy(&d, &bits, sizeof(d));
        if (!isfinite(d)) {
            continue;
        }
        char out[40];
        text_format_real(d, out);
        n_wrong += strtod(out, NULL) != d || strpbrk(out, ".e") == NULL;
        n_tried++;
    }
    CHECK_INT(n_wrong, 0);
}

static void test_json_write__styles(void)
{
    static const struct {
        int line;
        const char *text;
        const char *compact;
        const char *spaced;
        const char *pretty;
    } rows[] = {
        {__LINE__, "[]", "[]", "[]", "[]"},
        {__LINE__, "{}", "{}", "{}", "{}"},
        {__LINE__, "{\"a\":1,\"b\":[1,2,{}]}", "{\"a\":1,\"b\":[1,2,{}]}",
         "{\"a\": 1, \"b\": [1, 2, {}]}",
         "{\n  \"a\": 1,\n  \"b\": [\n    1,\n    2,\n    {}\n  ]\n}"},
        {__LINE__, "[[1],[]]", "[[1],[]]", "[[1], []]", "[\n  [\n    1\n  ],\n  []\n]"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Value value;
        Err err = ERR_INIT;
        ROW_CHECK(&rows[i], json_parse(&arena, str_from_c(rows[i].text), NULL, &value, NULL, &err));
        ROW_CHECK_STR(&rows[i], to_json(&arena, &value, JSON_COMPACT), str_from_c(rows[i].compact));
        ROW_CHECK_STR(&rows[i], to_json(&arena, &value, JSON_SPACED), str_from_c(rows[i].spaced));
        ROW_CHECK_STR(&rows[i], to_json(&arena, &value, JSON_PRETTY), str_from_c(rows[i].pretty));
    }
    arena_finish(&arena);
}

static void test_json_write__always_valid(void)
{
    Arena arena = {0};
    Value bytes = value_str(STR("a\xFF\0\x1F\x7F\xC3\xA9\xED\xA0\x80"));
    CHECK_STR(
        to_json(&arena, &bytes, JSON_COMPACT),
        STR("\"a\xEF\xBF\xBD\\u0000\\u001f\x7F\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""));
    Value items[] = {value_real((double)NAN), value_real(-(double)INFINITY), value_int(INT64_MIN)};
    Value list = value_list(items, 3);
    CHECK_STR(to_json(&arena, &list, JSON_COMPACT), STR("[null,null,-9223372036854775808]"));
    arena_finish(&arena);
}

// ---- random trees -------------------------------------------------------------------------------

static Str random_text(Arena *arena, Rng *rng)
{
    Buf buf = {0};
    for (uint64_t n = rng_below(rng, 12); n > 0; n--) {
        char bytes[4];
        uint64_t most[] = {0x20, 0x80, 0x80, 0x800, 0xD800, 0x110000};
        uint32_t c = (uint32_t)rng_below(rng, most[rng_below(rng, 6)]);
        buf_append(&buf, bytes, utf8_encode(c, bytes));
    }
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

static Value random_value(Arena *arena, Rng *rng, size_t depth)
{
    uint64_t n = rng_below(rng, 6);
    switch (rng_below(rng, depth > 5 ? 5 : 7)) {
    case 0:
        return value_null();
    case 1:
        return value_bool(rng_below(rng, 2) == 1);
    case 2:
        return value_int((int64_t)(rng_next(rng) >> rng_below(rng, 64)) *
                         (rng_below(rng, 2) == 1 ? -1 : 1));
    case 3:
        return value_real(ldexp(rng_real(rng) - 0.5, (int)rng_below(rng, 200) - 100));
    case 4:
        return value_str(random_text(arena, rng));
    case 5: {
        Value *items = ARENA_ARRAY(arena, Value, n + 1);
        for (uint64_t i = 0; i < n; i++) {
            items[i] = random_value(arena, rng, depth + 1);
        }
        return value_list(items, n);
    }
    default: {
        MapBuilder builder;
        map_builder_init(&builder, arena);
        for (uint64_t i = 0; i < n; i++) {
            Str tail = random_text(arena, rng);
            Str key = str_concat(arena, str_printf(arena, "%d", (int)i), tail);
            map_builder_put(&builder, key, random_value(arena, rng, depth + 1));
        }
        return map_builder_done(&builder);
    }
    }
}

static void test_json__random_trees_round_trip(void)
{
    Rng rng;
    rng_init(&rng, 42);
    Arena arena = {0};
    size_t n_wrong = 0;
    for (int i = 0; i < 5000; i++) {
        Value value = random_value(&arena, &rng, 0);
        for (int style = JSON_COMPACT; style <= JSON_PRETTY; style++) {
            Value again;
            Err err = ERR_INIT;
            Str text = to_json(&arena, &value, (JsonStyle)style);
            bool same =
                json_parse(&arena, text, NULL, &again, NULL, &err) && value_equal(&value, &again);
            if (!same && n_wrong++ < 3) {
                printf("# %s: " STR_FMT "\n", err.message, STR_ARG(text));
            }
        }
        arena_reset(&arena);
    }
    CHECK_INT(n_wrong, 0);
    arena_finish(&arena);
}

// ---- another reader's opinion -------------------------------------------------------------------

/** cJSON keeps numbers as doubles and strings as C strings: equal as far as it can tell. */
static bool same_as_cjson(const Value *value, const cJSON *other)
{
    switch ((ValueKind)value->kind) {
    case VALUE_NULL:
        return cJSON_IsNull(other);
    case VALUE_BOOL:
        return value->as.boolean ? cJSON_IsTrue(other) : cJSON_IsFalse(other);
    case VALUE_INT:
        return cJSON_IsNumber(other) && other->valuedouble == (double)value->as.integer;
    case VALUE_REAL:
        return cJSON_IsNumber(other) && other->valuedouble == value->as.real;
    case VALUE_STR:
        return cJSON_IsString(other) && str_eq_c(value->as.str, other->valuestring);
    case VALUE_LIST:
        for (size_t i = 0; i < value->as.list.n; i++) {
            if (!same_as_cjson(&value->as.list.items[i], cJSON_GetArrayItem(other, (int)i))) {
                return false;
            }
        }
        return cJSON_IsArray(other) && cJSON_GetArraySize(other) == (int)value->as.list.n;
    case VALUE_MAP:
        break;
    }
    const cJSON *child = other->child;
    for (size_t i = 0; i < value->as.map.n; i++, child = child->next) {
        const ValuePair *pair = &value->as.map.pairs[i];
        if (child == NULL || !str_eq_c(pair->key, child->string) ||
            !same_as_cjson(&pair->value, child)) {
            return false;
        }
    }
    return cJSON_IsObject(other) && child == NULL;
}

/** Texts that we accept, cJSON accepts and reads alike (NUL aside, which it can not hold). */
static void test_json__agrees_with_cjson(void)
{
    Rng rng;
    rng_init(&rng, 1234);
    Arena arena = {0};
    size_t n_accepted = 0;
    size_t n_wrong = 0;
    for (int i = 0; i < 20000; i++) {
        Value value = random_value(&arena, &rng, 0);
        Str written = to_json(&arena, &value, (JsonStyle)rng_below(&rng, 3));
        char *text = arena_copy(&arena, written.data, written.len);
        if (written.len > 0 && i % 4 != 0) { // three of four are damaged
            static const char bytes[] = "\"\\{}[]:,0123456789.eE+-truefalsn x";
            text[rng_below(&rng, written.len)] = bytes[rng_below(&rng, sizeof(bytes) - 1)];
        }
        Err err = ERR_INIT;
        if (strstr(text, "\\u0000") == NULL &&
            json_parse(&arena, (Str){text, written.len}, NULL, &value, NULL, &err)) {
            cJSON *other = cJSON_ParseWithOpts(text, NULL, 1);
            n_accepted++;
            if (other == NULL || !same_as_cjson(&value, other)) {
                n_wrong++;
                printf("# cJSON differs on %s\n", text);
            }
            cJSON_Delete(other);
        }
        arena_reset(&arena);
    }
    CHECK_INT(n_wrong, 0);
    CHECK(n_accepted > 7000);
    printf("# %zu texts compared\n", n_accepted);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("reals are shortest", test_text_format_real__shortest);
    tap_run("reals read back", test_text_format_real__reads_back);
    tap_run("styles", test_json_write__styles);
    tap_run("output is always JSON", test_json_write__always_valid);
    tap_run("random trees round trip", test_json__random_trees_round_trip);
    tap_run("agrees with cJSON", test_json__agrees_with_cjson);
    return tap_done();
}
