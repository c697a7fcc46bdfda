// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "tests/unit/base/scratch.h"

static void test_glob__match(void)
{
    static const struct {
        int line;
        Str pattern, name;
        bool want;
    } cases[] = {
        {__LINE__, STR_INIT("*"), STR_INIT(""), true},
        {__LINE__, STR_INIT("*"), STR_INIT("a/b"), true},
        {__LINE__, STR_INIT("a*c"), STR_INIT("abbbc"), true},
        {__LINE__, STR_INIT("a*c"), STR_INIT("ac"), true},
        {__LINE__, STR_INIT("a*c"), STR_INIT("acb"), false},
        {__LINE__, STR_INIT("a*b*c"), STR_INIT("aXbYbc"), true},
        {__LINE__, STR_INIT("?"), STR_INIT(""), false},
        {__LINE__, STR_INIT("??"), STR_INIT("ab"), true},
        {__LINE__, STR_INIT("?"), STR_INIT("\xC3\xA9"), true}, // one character, two bytes
        {__LINE__, STR_INIT(""), STR_INIT(""), true},
        {__LINE__, STR_INIT(""), STR_INIT("a"), false},
        {__LINE__, STR_INIT("[a]"), STR_INIT("a"), false}, // brackets are ordinary
        {__LINE__, STR_INIT("*.yaml"), STR_INIT("x.yaml"), true},
        {__LINE__, STR_INIT("**"), STR_INIT("abc"), true},
        {__LINE__, STR_INIT("a**"), STR_INIT("a"), true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool got = glob_match(cases[i].pattern, cases[i].name);
        CHECK(got == cases[i].want);
        if (got != cases[i].want) {
            printf("# case of line %d\n", cases[i].line);
        }
    }
    // Exponential in naive matchers; here at most pattern times name.
    char name[2001];
    memset(name, 'a', 2000);
    name[2000] = 'b';
    CHECK(!glob_match(STR("a*a*a*a*a*a*a*a*a*a*a*a*a*a*c"), (Str){name, 2001}));
}

static Str joined(Arena *arena, const Str *items, size_t n)
{
    Buf buf = {0};
    for (size_t i = 0; i < n; i++) {
        buf_printf(&buf, "%s" STR_FMT, i > 0 ? " " : "", STR_ARG(items[i]));
    }
    Str copy = str_copy(arena, buf_view(&buf));
    buf_finish(&buf);
    return copy;
}

static void test_glob__walks(void)
{
    Arena arena = {0};
    Scratch scratch;
    scratch_create(&scratch);
    static const char *const files[] = {"a.yaml",    "b.txt",       "sub/c.yaml",   "sub/x/d.yaml",
                                        ".h/e.yaml", "sub/.f.yaml", "sub/x/y/g.txt"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        scratch_file(&scratch, &arena, files[i], STR(""));
    }
    // A loop of links must end; a linked folder is entered by name but not by **.
    CHECK_INT(symlink("..", scratch_path(&scratch, &arena, "sub/loop").data), 0);
    static const struct {
        int line;
        Str pattern;
        const char *want;
    } cases[] = {
        {__LINE__, STR_INIT("*.yaml"), "a.yaml"},
        {__LINE__, STR_INIT("**/*.yaml"), "a.yaml sub/c.yaml sub/x/d.yaml"},
        {__LINE__, STR_INIT("sub/**/*.yaml"), "sub/c.yaml sub/x/d.yaml"},
        {__LINE__, STR_INIT("**/x/*"), "sub/x/d.yaml sub/x/y"},
        {__LINE__, STR_INIT("**/**/d.yaml"), "sub/x/d.yaml"},
        {__LINE__, STR_INIT("sub/x/**"), "sub/x/d.yaml sub/x/y sub/x/y/g.txt"},
        {__LINE__, STR_INIT("b.txt"), "b.txt"},
        {__LINE__, STR_INIT("none/*.yaml"), ""},
        {__LINE__, STR_INIT("a.yaml/*"), ""},
        {__LINE__, STR_INIT(".h/*"), ".h/e.yaml"},
        {__LINE__, STR_INIT(".*"), ".h"},
        {__LINE__, STR_INIT("sub/loop/b.???"), "sub/loop/b.txt"},
        {__LINE__, STR_INIT("?.txt"), "b.txt"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Err err = ERR_INIT;
        Str *found;
        size_t n;
        if (CHECK_OK(file_glob(&arena, str_from_c(scratch.dir), cases[i].pattern, &found, &n, &err),
                     &err)) {
            CHECK_STR(joined(&arena, found, n), str_from_c(cases[i].want));
        }
    }
    Err err = ERR_INIT;
    Str *found;
    size_t n;
    CHECK(!file_glob(&arena, scratch_path(&scratch, &arena, "none"), STR("*"), &found, &n, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    CHECK_OK(file_list(&arena, str_from_c(scratch.dir), &found, &n, &err), &err);
    CHECK_STR(joined(&arena, found, n), STR(".h a.yaml b.txt sub"));
    CHECK(!file_list(&arena, scratch_path(&scratch, &arena, "none"), &found, &n, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    scratch_destroy(&scratch);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("names match globs", test_glob__match);
    tap_run("globs walk folders, sorted, without loops", test_glob__walks);
    return tap_done();
}
