// SPDX-License-Identifier: MIT
#include "text_tap.h"

#include <stdlib.h>
#include <unistd.h>

static void test_faults_render__source_and_caret(void)
{
    // The caret stands under the character in column `col` (bytes) whatever stands before it.
    static const struct {
        int line;
        Str source;
        uint32_t at_line;
        uint32_t at_col;
        const char *want; // behind the first line
    } rows[] = {
        {__LINE__, S("a: b\n"), 1, 4, "    1 | a: b\n      |    ^\n"},
        {__LINE__, S("x\r\nab\r\n"), 2, 2, "    2 | ab\n      |  ^\n"},
        {__LINE__, S("\ta\tb"), 1, 4, "    1 | \ta\tb\n      | \t \t^\n"},
        {__LINE__, S("\xC3\xA9\xC3\xA9x"), 1, 5, "    1 | \xC3\xA9\xC3\xA9x\n      |   ^\n"},
        {__LINE__, S("\xE6\xBC\xA2x"), 1, 4, "    1 | \xE6\xBC\xA2x\n      |   ^\n"},
        {__LINE__, S("e\xCC\x81x"), 1, 4, "    1 | e\xCC\x81x\n      |  ^\n"},
        {__LINE__, S("a\x1B[31mb"), 1, 7, "    1 | a?[31mb\n      |       ^\n"},
        {__LINE__,
         S("a\xFF"
           "b"),
         1, 3,
         "    1 | a\xEF\xBF\xBD"
         "b\n      |   ^\n"},
        {__LINE__,
         S("\xEF\xBB\xBF"
           "ab"),
         1, 2, "    1 | ab\n      |  ^\n"},
        {__LINE__, S("ab"), 1, 3, "    1 | ab\n      |   ^\n"},
        {__LINE__, S("ab"), 1, 99, "    1 | ab\n      |   ^\n"}, // never beyond the line's end
        {__LINE__, S("ab\n"), 2, 1, "    2 | \n      | ^\n"},
        {__LINE__, S("ab\n"), 3, 1, ""},
        {__LINE__, S(""), 1, 1, ""},
    };
    char path[] = "test-faults-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    Arena arena = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Err err = ERR_INIT;
        CHECK_OK(file_write_atomic(str_from_c(path), rows[i].source, &err), &err);
        Faults faults;
        faults_init(&faults, &arena);
        faults_add(&faults, str_from_c(path), rows[i].at_line, rows[i].at_col, false, "code",
                   "bad %s", "thing");
        Buf buf = {0};
        faults_render(&buf, &faults, false);
        Str want = str_printf(&arena, "%s:%u:%u: error: bad thing [code]\n%s", path,
                              rows[i].at_line, rows[i].at_col, rows[i].want);
        ROW_CHECK_STR(&rows[i], buf_view(&buf), want);
        buf_finish(&buf);
    }
    unlink(path);
    arena_finish(&arena);
}

static void test_faults_render__many(void)
{
    Arena arena = {0};
    char path[] = "test-faults-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    Err err = ERR_INIT;
    CHECK_OK(file_write_atomic(str_from_c(path), STR("one\ntwo\nthree\n"), &err), &err);
    Faults faults;
    faults_init(&faults, &arena);
    faults_add(&faults, str_from_c(path), 3, 1, true, "w", "third");
    faults_add(&faults, str_from_c(path), 1, 2, false, "e", "first");
    faults_add(&faults, STR("gone.yaml"), 7, 1, false, "e", "elsewhere");
    faults_add(&faults, STR("whole.yaml"), 0, 0, false, "", "no place");
    faults_add(&faults, str_from_c(path), 2, 1, false, "e", "second");
    CHECK_INT(faults.n, 5);
    CHECK_INT(faults.n_errors, 4);
    Buf buf = {0};
    faults_render(&buf, &faults, false);
    CHECK_STR(buf_view(&buf), str_printf(&arena,
                                         "%s:3:1: warning: third [w]\n    3 | three\n      | ^\n"
                                         "%s:1:2: error: first [e]\n    1 | one\n      |  ^\n"
                                         "gone.yaml:7:1: error: elsewhere [e]\n"
                                         "whole.yaml: error: no place\n"
                                         "%s:2:1: error: second [e]\n    2 | two\n      | ^\n",
                                         path, path, path));
    buf_clear(&buf);
    faults_render(&buf, &faults, true);
    CHECK(str_find(buf_view(&buf), STR("\x1B[1;33mwarning:\x1B[0m third"), 0) != STR_NONE);
    CHECK(str_find(buf_view(&buf), STR("\x1B[1;31m^\x1B[0m"), 0) != STR_NONE);
    buf_finish(&buf);
    unlink(path);
    arena_finish(&arena);
}

/** For editors: the hint apart from the message, and where the word at the place ends. */
static void test_faults_to_value__places_and_hints(void)
{
    Arena arena = {0};
    char path[] = "test-faults-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    Err err = ERR_INIT;
    CHECK_OK(
        file_write_atomic(str_from_c(path), STR("kez: \"a b\"\nx: 'open\n\xC3\xA4: {\n"), &err),
        &err);
    static const struct {
        int at_line;
        uint32_t line, col;
        bool warning;
        const char *message;
        const char *want; // without the file, and with the place and severity first
    } rows[] = {
        {__LINE__, 1, 1, false, "no key 'kez'; did you mean 'key'?",
         "1 1 4 error 'no key 'kez'' 'key'"},
        {__LINE__, 1, 1, true, "unknown filter 'a' (did you mean 'abs'?)",
         "1 1 4 warning 'unknown filter 'a'' 'abs'"},
        {__LINE__, 1, 1, true, "no 'a'; did you mean 'b'? (muster list shows all)",
         "1 1 4 warning 'no 'a' (muster list shows all)' 'b'"},
        {__LINE__, 1, 6, false, "quoted", "1 6 11 error 'quoted' ''"},
        {__LINE__, 2, 4, false, "an open quote", "2 4 0 error 'an open quote' ''"},
        {__LINE__, 3, 1, false, "bytes", "3 1 3 error 'bytes' ''"},
        {__LINE__, 3, 5, false, "no word", "3 5 0 error 'no word' ''"},
        {__LINE__, 1, 99, false, "past the line", "1 99 0 error 'past the line' ''"},
        {__LINE__, 9, 1, false, "past the file", "9 1 0 error 'past the file' ''"},
        {__LINE__, 0, 0, false, "nowhere", "0 0 0 error 'nowhere' ''"},
        {__LINE__, 1, 1, false, "did you mean 'x'?", "1 1 4 error 'did you mean 'x'?' ''"},
    };
    Faults faults;
    faults_init(&faults, &arena);
    size_t n = sizeof(rows) / sizeof(rows[0]);
    for (size_t i = 0; i < n; i++) {
        faults_add(&faults, str_from_c(path), rows[i].line, rows[i].col, rows[i].warning, "c", "%s",
                   rows[i].message);
    }
    Value list = faults_to_value(&arena, &faults);
    CHECK_INT(list.as.list.n, n);
    for (size_t i = 0; i < n; i++) {
        const Value *map = &list.as.list.items[i];
        Str got = str_printf(&arena, "%lld %lld %lld " STR_FMT " '" STR_FMT "' '" STR_FMT "'",
                             (long long)value_get_int(map, "line", -1),
                             (long long)value_get_int(map, "col", -1),
                             (long long)value_get_int(map, "end_col", -1),
                             STR_ARG(value_get_str(map, "severity", STR_EMPTY)),
                             STR_ARG(value_get_str(map, "message", STR_EMPTY)),
                             STR_ARG(value_get_str(map, "hint", STR_EMPTY)));
        if (!str_eq_c(got, rows[i].want)) {
            printf("# case of line %d\n", rows[i].at_line);
        }
        CHECK_STR(got, str_from_c(rows[i].want));
        CHECK_STR(value_get_str(map, "file", STR_EMPTY), str_from_c(path));
        CHECK_STR(value_get_str(map, "code", STR_EMPTY), STR("c"));
    }
    unlink(path);
    arena_finish(&arena);
}

/** A line of five megabytes is shown as the part around the caret. */
static void test_faults_render__long_line(void)
{
    Arena arena = {0};
    char path[] = "test-faults-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    size_t n = 5 * 1000 * 1000;
    char *text = arena_alloc(&arena, n, 1);
    memset(text, 'x', n);
    text[3000000] = 'Y';
    Err err = ERR_INIT;
    CHECK_OK(file_write_atomic(str_from_c(path), (Str){text, n}, &err), &err);
    Faults faults;
    faults_init(&faults, &arena);
    for (int i = 0; i < 100; i++) {
        faults_add(&faults, str_from_c(path), 1, 3000001, false, "e", "here");
    }
    Buf buf = {0};
    faults_render(&buf, &faults, false);
    Str head;
    Str rest;
    Str out = buf_view(&buf);
    CHECK(str_cut(out, STR("\n"), &head, &rest));
    Str line;
    Str caret;
    CHECK(str_cut(rest, STR("\n"), &line, &rest) && str_cut(rest, STR("\n"), &caret, &rest));
    CHECK(line.len < 130 && str_ends_with(line, STR("...")));
    CHECK_INT(str_find(line, STR("Y"), 0), str_find(caret, STR("^"), 0));
    buf_finish(&buf);
    unlink(path);
    arena_finish(&arena);
}

static void test_faults_add__messages(void)
{
    Arena arena = {0};
    Faults faults;
    faults_init(&faults, &arena);
    char *large = arena_alloc(&arena, 5001, 1);
    memset(large, 'm', 5000);
    memcpy(large + 2046, "\xC3\xA9", 2); // cut in the middle of a character
    faults_add(&faults, STR("f"), 1, 1, false, "e", "%s", large);
    CHECK(utf8_is_valid(faults.items[0].message));
    CHECK(faults.items[0].message.len > 2000 && faults.items[0].message.len < 2060);
    faults_add(&faults, STR("f"), 1, 1, false, "e", "a\x1B[2Jb");
    Buf buf = {0};
    faults_render(&buf, &faults, false);
    CHECK(str_find(buf_view(&buf), STR("\x1B"), 0) == STR_NONE); // nothing reaches the terminal raw
    buf_finish(&buf);
    arena_finish(&arena);
}

int main(void)
{
    tap_run("source line and caret", test_faults_render__source_and_caret);
    tap_run("several faults", test_faults_render__many);
    tap_run("as values for editors", test_faults_to_value__places_and_hints);
    tap_run("a very long line", test_faults_render__long_line);
    tap_run("messages", test_faults_add__messages);
    return tap_done();
}
