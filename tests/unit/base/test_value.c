// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

/** {"a": 1, "b": [true, "x", null], "c": {"d": 2.5}} */
static Value example(Arena *arena)
{
    Value *items = ARENA_ARRAY(arena, Value, 3);
    items[0] = value_bool(true);
    items[1] = value_str(STR("x"));
    items[2] = value_null();
    MapBuilder inner;
    map_builder_init(&inner, arena);
    map_builder_put(&inner, STR("d"), value_real(2.5));
    MapBuilder map;
    map_builder_init(&map, arena);
    map_builder_put(&map, STR("a"), value_int(1));
    map_builder_put(&map, STR("b"), value_list(items, 3));
    map_builder_put(&map, STR("c"), map_builder_done(&inner));
    return map_builder_done(&map);
}

static void test_value__look_ups_have_defaults(void)
{
    Arena arena = {0};
    Value map = example(&arena);
    CHECK_INT(value_get_int(&map, "a", 9), 1);
    CHECK_INT(value_get_int(&map, "b", 9), 9); // of another kind
    CHECK_INT(value_get_int(&map, "z", 9), 9); // absent
    CHECK_NEAR(value_get_real(&map, "a", 9), 1, 0);
    CHECK_NEAR(value_get_real(value_get_c(&map, "c"), "d", 9), 2.5, 0);
    CHECK_STR(value_get_str(&map, "a", STR("no")), STR("no"));
    CHECK(value_get_bool(&map, "a", true));
    CHECK(value_get(&map, STR("b"))->as.list.n == 3);
    CHECK(value_get(NULL, STR("b")) == NULL);
    CHECK(value_get_c(value_get_c(&map, "a"), "b") == NULL); // not a map
    arena_finish(&arena);
}

static void test_value__equality_is_of_kind_and_order(void)
{
    Arena arena = {0};
    Value a = example(&arena);
    Value b = example(&arena);
    CHECK(value_equal(&a, &b));
    Value one = value_int(1);
    Value real_one = value_real(1.0);
    CHECK(!value_equal(&one, &real_one));
    ValuePair pairs[] = {value_pair(STR("x"), value_int(1)), value_pair(STR("y"), value_int(2))};
    ValuePair turned[] = {pairs[1], pairs[0]};
    Value xy = value_map(pairs, 2);
    Value yx = value_map(turned, 2);
    CHECK(!value_equal(&xy, &yx));
    Value x = value_map(pairs, 1);
    CHECK(!value_equal(&xy, &x));
    arena_finish(&arena);
}

static void test_value__copy_is_deep(void)
{
    Arena source = {0};
    Arena target = {0};
    Value value = example(&source);
    value.line = 7;
    Value copy = value_copy(&target, &value);
    Arena again = {0};
    Value fresh = example(&again);
    arena_finish(&source); // under ASan a shallow copy is caught here
    CHECK(value_equal(&copy, &fresh));
    CHECK_INT(copy.line, 7);
    arena_finish(&again);
    arena_finish(&target);
}

static void test_value__builder_keeps_order(void)
{
    Arena arena = {0};
    MapBuilder map;
    map_builder_init(&map, &arena);
    for (int i = 0; i < 100; i++) {
        map_builder_put(&map, str_printf(&arena, "k%d", i), value_int(i));
    }
    Value value = map_builder_done(&map);
    CHECK_INT(value.as.map.n, 100);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(value.as.map.pairs[i].value.as.integer, i);
    }
    CHECK_INT(value_get_int(&value, "k73", -1), 73);
    arena_finish(&arena);
}

static void test_value__kinds_have_words(void)
{
    Value list = value_list(NULL, 0);
    Value text = value_str(STR(""));
    Value whole = value_int(1);
    CHECK_STR(str_from_c(value_kind_word(&list)), STR("a list"));
    CHECK_STR(str_from_c(value_kind_word(&text)), STR("text"));
    CHECK_STR(str_from_c(value_kind_word(&whole)), STR("an integer"));
}

int main(void)
{
    tap_run("typed look-ups fall back to their default", test_value__look_ups_have_defaults);
    tap_run("equality respects kind and order", test_value__equality_is_of_kind_and_order);
    tap_run("a copy shares nothing", test_value__copy_is_deep);
    tap_run("a built map keeps its order", test_value__builder_keeps_order);
    tap_run("kinds have words", test_value__kinds_have_words);
    return tap_done();
}
