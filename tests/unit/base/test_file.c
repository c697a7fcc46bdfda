// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "tests/unit/base/scratch.h"

#include <sys/stat.h>

static Arena arena;
static Scratch scratch;

static void test_file__read(void)
{
    Err err = ERR_INIT;
    Str content;
    Str path = scratch_file(&scratch, &arena, "a", STR("one\0two"));
    CHECK_OK(file_read(&arena, path, 7, &content, &err), &err);
    CHECK_STR(content, STR("one\0two"));
    CHECK(content.data[7] == '\0');
    CHECK(!file_read(&arena, path, 6, &content, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    CHECK(!file_read(&arena, scratch_path(&scratch, &arena, "none"), 100, &content, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    CHECK(!file_read(&arena, str_from_c(scratch.dir), 100, &content, &err));
    CHECK_INT(err.code, ERR_IO);
    CHECK(str_ends_with(str_from_c(err.message), STR("is a folder")));
    CHECK(!file_read(&arena, STR(""), 100, &content, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    CHECK(!file_read(&arena, STR("a\0b"), 100, &content, &err));
    CHECK_OK(file_read(&arena, STR("/proc/self/status"), 100000, &content, &err), &err);
    CHECK(str_starts_with(content, STR("Name:")));
    CHECK(!file_read(&arena, STR("/proc/self/status"), 10, &content, &err));
    CHECK_INT(err.code, ERR_LIMIT);
    path = scratch_file(&scratch, &arena, "empty", STR(""));
    CHECK_OK(file_read(&arena, path, 0, &content, &err), &err);
    CHECK_STR(content, STR(""));
}

static void test_file__a_fifo_does_not_hang(void)
{
    Err err = ERR_INIT;
    Str content;
    Str path = scratch_path(&scratch, &arena, "fifo");
    CHECK_INT(mkfifo(path.data, 0600), 0);
    CHECK(!file_read(&arena, path, 100, &content, &err));
    CHECK_INT(err.code, ERR_IO);
    uint64_t size;
    CHECK(!file_size(path, &size));
}

static void test_file__write_atomic(void)
{
    Err err = ERR_INIT;
    Str content;
    Str path = scratch_file(&scratch, &arena, "w/target", STR("old"));
    CHECK_INT(chmod(path.data, 0640), 0);
    CHECK_OK(file_write_atomic(path, STR("new"), &err), &err);
    CHECK_OK(file_read(&arena, path, 100, &content, &err), &err);
    CHECK_STR(content, STR("new"));
    struct stat info;
    CHECK(stat(path.data, &info) == 0 && (info.st_mode & 0777) == 0640);
    // Through a link: the link stays, its target is replaced.
    Str link = scratch_path(&scratch, &arena, "w/link");
    CHECK_INT(symlink("target", link.data), 0);
    CHECK_OK(file_write_atomic(link, STR("via link"), &err), &err);
    CHECK(lstat(link.data, &info) == 0 && S_ISLNK(info.st_mode));
    CHECK_OK(file_read(&arena, path, 100, &content, &err), &err);
    CHECK_STR(content, STR("via link"));
    // A failure leaves nothing behind.
    Str *names;
    size_t n;
    CHECK(!file_write_atomic(scratch_path(&scratch, &arena, "no/dir/x"), STR("x"), &err));
    CHECK_INT(err.code, ERR_IO);
    CHECK_OK(file_make_dirs(scratch_path(&scratch, &arena, "w/sub/x"), &err), &err);
    CHECK(!file_write_atomic(scratch_path(&scratch, &arena, "w/sub"), STR("x"), &err));
    CHECK_OK(file_list(&arena, path_dir(path), &names, &n, &err), &err);
    CHECK_INT(n, 3); // link, sub, target
}

static void test_file__map_and_sizes(void)
{
    Err err = ERR_INIT;
    FileMap map = {0};
    Str path = scratch_file(&scratch, &arena, "m", STR("mapped"));
    CHECK_OK(file_map(path, &map, &err), &err);
    CHECK_STR(((Str){(const char *)map.data, map.len}), STR("mapped"));
    file_map_close(&map);
    file_map_close(&map);
    file_map_close(NULL);
    path = scratch_file(&scratch, &arena, "m0", STR(""));
    CHECK_OK(file_map(path, &map, &err), &err);
    CHECK(map.len == 0 && map.data != NULL);
    file_map_close(&map);
    CHECK(!file_map(scratch_path(&scratch, &arena, "none"), &map, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    uint64_t size = 9;
    CHECK(file_size(path, &size) && size == 0);
    CHECK(file_exists(path) && !file_is_dir(path) && file_is_dir(str_from_c(scratch.dir)));
    CHECK(!file_exists(STR("")) && !file_exists(scratch_path(&scratch, &arena, "none")));
}

static void test_file__make_dirs(void)
{
    Err err = ERR_INIT;
    Str deep = scratch_path(&scratch, &arena, "p/q//r/");
    CHECK_OK(file_make_dirs(deep, &err), &err);
    CHECK_OK(file_make_dirs(deep, &err), &err);
    CHECK(file_is_dir(scratch_path(&scratch, &arena, "p/q/r")));
    scratch_file(&scratch, &arena, "p/file", STR(""));
    CHECK(!file_make_dirs(scratch_path(&scratch, &arena, "p/file/x"), &err));
    CHECK_INT(err.code, ERR_IO);
    CHECK_OK(file_make_dirs(STR("/"), &err), &err);
    CHECK_OK(file_make_dirs(STR("."), &err), &err);
}

static void test_file__sha256(void)
{
    Err err = ERR_INIT;
    Hash hash;
    size_t len = 600000; // more than two pieces
    char *data = mem_alloc(len, 1);
    for (size_t i = 0; i < len; i++) {
        data[i] = (char)(i % 251);
    }
    Str path = scratch_file(&scratch, &arena, "big", (Str){data, len});
    CHECK_OK(file_sha256(path, &hash, &err), &err);
    Hash want = sha256_of((Str){data, len});
    CHECK(hash_eq(&hash, &want));
    CHECK(!file_sha256(scratch_path(&scratch, &arena, "none"), &hash, &err));
    mem_free(data);
}

int main(void)
{
    scratch_create(&scratch);
    tap_run("reading whole files, with their limits", test_file__read);
    tap_run("a FIFO in a file's place is an error", test_file__a_fifo_does_not_hang);
    tap_run("writing is atomic and keeps modes and links", test_file__write_atomic);
    tap_run("mapping and sizes", test_file__map_and_sizes);
    tap_run("making folders", test_file__make_dirs);
    tap_run("hashing a file", test_file__sha256);
    scratch_destroy(&scratch);
    arena_finish(&arena);
    return tap_done();
}
