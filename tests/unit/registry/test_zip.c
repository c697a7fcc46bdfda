// SPDX-License-Identifier: MIT
// One member out of a zip archive, and archives that lie about themselves.
#include "tests/unit/tap.h"

#include "registry/zip.h"

#include <stdlib.h>

// Written by Python's zipfile: a.txt stored ("hello\n"), dir/b.txt deflated (300 times "abc").
static const uint8_t archive[] = {
#include "zip_archive.inc"
};

static bool to_buf(void *ctx, const uint8_t *data, size_t len, Err *err)
{
    (void)err;
    buf_append(ctx, data, len);
    return true;
}

static void test_zip__members(void)
{
    Err err = ERR_INIT;
    ZipMember member;
    Buf buf = {0};
    CHECK_OK(zip_find(archive, sizeof(archive), STR("a.txt"), &member, &err), &err);
    CHECK(!member.deflated && member.bytes == 6);
    CHECK_OK(zip_read(&member, to_buf, &buf, &err), &err);
    CHECK_STR(buf_view(&buf), STR("hello\n"));
    buf_clear(&buf);
    CHECK_OK(zip_find(archive, sizeof(archive), STR("dir/b.txt"), &member, &err), &err);
    CHECK(member.deflated && member.bytes == 900);
    CHECK_OK(zip_read(&member, to_buf, &buf, &err), &err);
    CHECK(buf.len == 900 && str_starts_with(buf_view(&buf), STR("abcabc")) &&
          str_ends_with(buf_view(&buf), STR("cabc")));
    CHECK(!zip_find(archive, sizeof(archive), STR("b.txt"), &member, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    buf_finish(&buf);
}

/** Every byte changed, every length: an error or the right bytes, never a crash. */
static void test_zip__damage(void)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    uint8_t *copy = malloc(sizeof(archive));
    size_t n_read = 0, n_refused = 0;
    for (size_t i = 0; i < sizeof(archive) * 3; i++) {
        memcpy(copy, archive, sizeof(archive));
        copy[i / 3] ^= flips[i % 3];
        Err err = ERR_INIT;
        ZipMember member;
        Buf buf = {0};
        if (zip_find(copy, sizeof(archive), STR("dir/b.txt"), &member, &err) &&
            zip_read(&member, to_buf, &buf, &err)) {
            CHECK_INT(buf.len, member.bytes);
            n_read++;
        } else {
            CHECK(err.code != ERR_NONE);
            n_refused++;
        }
        buf_finish(&buf);
    }
    CHECK(n_read > 0 && n_refused > 0);
    for (size_t len = 0; len < sizeof(archive); len++) {
        Err err = ERR_INIT;
        ZipMember member;
        uint8_t *cut = malloc(len + 1); // of its own size, so that a read past the end is seen
        memcpy(cut, archive, len);
        CHECK(!zip_find(cut, len, STR("a.txt"), &member, &err));
        CHECK_INT(err.code, ERR_PARSE);
        free(cut);
    }
    free(copy);
}

int main(void)
{
    tap_run("zip: stored and deflated members", test_zip__members);
    tap_run("zip: damaged archives", test_zip__damage);
    return tap_done();
}
