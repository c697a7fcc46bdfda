// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include <stdlib.h>

static void test_path__parts(void)
{
    static const struct {
        const char *path, *dir, *base, *stem;
    } cases[] = {
        {"a/b/c.txt", "a/b", "c.txt", "c"},
        {"c.txt", ".", "c.txt", "c"},
        {"/c.txt", "/", "c.txt", "c"},
        {"/", "/", "/", "/"},
        {"a/b/", "a", "b", "b"},
        {"a//b", "a", "b", "b"},
        {"x.tar.gz", ".", "x.tar.gz", "x.tar"},
        {".profile", ".", ".profile", ".profile"},
        {"", ".", "", ""},
        {"a/.b.c", "a", ".b.c", ".b"},
        {"..", ".", "..", "."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Str path = str_from_c(cases[i].path);
        CHECK_STR(path_dir(path), str_from_c(cases[i].dir));
        CHECK_STR(path_base(path), str_from_c(cases[i].base));
        CHECK_STR(path_stem(path), str_from_c(cases[i].stem));
    }
}

static void test_path__join(void)
{
    static const struct {
        const char *dir, *name, *want;
    } cases[] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a", "/b", "/b"}, {"", "b", "b"},
        {".", "b", "b"},   {"/", "b", "/b"},   {"a", "", "a"},
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Str got = path_join(&arena, str_from_c(cases[i].dir), str_from_c(cases[i].name));
        CHECK_STR(got, str_from_c(cases[i].want));
        CHECK(got.data[got.len] == '\0');
    }
    arena_finish(&arena);
}

static void test_path__inside(void)
{
    static const struct {
        Str path;
        bool want;
    } cases[] = {
        {STR_INIT("a/b"), true},     {STR_INIT("a"), true},     {STR_INIT("./a"), true},
        {STR_INIT("a/..b/c"), true}, {STR_INIT("..."), true},   {STR_INIT(""), false},
        {STR_INIT("/a"), false},     {STR_INIT(".."), false},   {STR_INIT("a/../b"), false},
        {STR_INIT("../a"), false},   {STR_INIT("a/.."), false}, {STR_INIT("a\0b"), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(path_is_inside(cases[i].path) == cases[i].want);
    }
}

static void test_env__empty_counts_as_unset(void)
{
    setenv("MUSTER_TEST_VARIABLE", "x", 1);
    CHECK_STR(env_get("MUSTER_TEST_VARIABLE", STR("d")), STR("x"));
    setenv("MUSTER_TEST_VARIABLE", "", 1);
    CHECK_STR(env_get("MUSTER_TEST_VARIABLE", STR("d")), STR("d"));
    unsetenv("MUSTER_TEST_VARIABLE");
    CHECK_STR(env_get("MUSTER_TEST_VARIABLE", STR("d")), STR("d"));
}

int main(void)
{
    tap_run("folder, base and stem of a path", test_path__parts);
    tap_run("joining", test_path__join);
    tap_run("paths that stay inside", test_path__inside);
    tap_run("environment variables", test_env__empty_counts_as_unset);
    return tap_done();
}
