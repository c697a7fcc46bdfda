// SPDX-License-Identifier: MIT
// src/engine/gguf.c on files built in memory: whole ones, and one for every kind of damage.
#include "engine/gguf.h"
#include "tests/unit/engine/gguf_build.h"
#include "tests/unit/tap.h"

#include <stdlib.h>
#include <unistd.h>

/** Open a built file; on failure *out is NULL and err is filled. */
static void open_built(Buf *file, Gguf **out, Err *err)
{
    *out = NULL;
    *err = (Err)ERR_INIT;
    gguf_open_memory((const uint8_t *)file->data, file->len, out, err);
}

/** Whether opening fails with this code and a message that contains the words. */
static void check_refused(int line, Buf *file, ErrCode code, const char *words)
{
    Gguf *gguf;
    Err err;
    open_built(file, &gguf, &err);
    if (gguf != NULL || err.code != code || strstr(err.message, words) == NULL) {
        tap_checks_failed++;
        printf("# line %d: wanted [%s] '%s', got [%s] '%s'\n", line, err_code_word(code), words,
               err_code_word(err.code), err.message);
    }
    gguf_close(gguf);
    buf_finish(file);
}

static void build_sample(uint32_t version, Buf *file)
{
    static const Str words[] = {{"alpha", 5}, {"", 0}, {"beta\0gamma", 10}};
    static const int32_t numbers[] = {-5, 0, 2147483647};
    static const float reals[] = {0.5F, -2.0F};
    float row[] = {1, 2, 3, 4, 5, 6};
    uint8_t blocks[2 * 18] = {7};
    GgufBuild build = {0};
    gb_str(&build, "general.name", STR("sample"));
    gb_number(&build, "a.u8", 0, 200, 1);
    gb_number(&build, "a.i8", 1, 0xff, 1);
    gb_number(&build, "a.u16", 2, 60000, 2);
    gb_number(&build, "a.i16", 3, 0x8000, 2);
    gb_u32(&build, "a.u32", 4000000000U);
    gb_number(&build, "a.i32", 5, 7, 4);
    gb_f32(&build, "a.f32", 0.25F);
    gb_bool(&build, "a.yes", true);
    gb_bool(&build, "a.no", false);
    gb_number(&build, "a.u64", 10, UINT64_MAX, 8);
    gb_number(&build, "a.i64", 11, (uint64_t)INT64_MIN, 8);
    gb_number(&build, "a.f64", 12, 0x4009000000000000, 8); // 3.125
    gb_strs(&build, "b.words", words, 3);
    gb_i32s(&build, "b.numbers", numbers, 3);
    gb_f32s(&build, "b.reals", reals, 2);
    gb_strs(&build, "b.none", NULL, 0);
    gb_tensor(&build, "z.row", GGUF_F32, 2, (uint64_t[]){3, 2}, row, sizeof(row));
    gb_tensor(&build, "m.future", 99, 1, (uint64_t[]){64}, "new", 3);
    gb_tensor(&build, "a.blocks", GGUF_Q4_0, 1, (uint64_t[]){64}, blocks, sizeof(blocks));
    gb_finish(&build, version, 32, file);
}

static void check_numbers(const Gguf *gguf)
{
    uint64_t u = 1;
    double d = 1;
    CHECK(gguf_get_u64(gguf, "a.u8", &u) && u == 200);
    CHECK(gguf_get_u64(gguf, "a.u16", &u) && u == 60000);
    CHECK(gguf_get_u64(gguf, "a.u32", &u) && u == 4000000000U);
    CHECK(gguf_get_u64(gguf, "a.i32", &u) && u == 7);
    CHECK(gguf_get_u64(gguf, "a.u64", &u) && u == UINT64_MAX);
    CHECK(gguf_get_u64(gguf, "a.yes", &u) && u == 1);
    CHECK(!gguf_get_u64(gguf, "a.i8", &u) && !gguf_get_u64(gguf, "a.i64", &u)); // negative
    CHECK(!gguf_get_u64(gguf, "a.f32", &u) && !gguf_get_u64(gguf, "general.name", &u));
    CHECK(!gguf_get_u64(gguf, "b.numbers", &u) && !gguf_get_u64(gguf, "absent", &u));
    CHECK_INT(u, 1);
    CHECK(gguf_get_f64(gguf, "a.f32", &d) && d == 0.25);
    CHECK(gguf_get_f64(gguf, "a.f64", &d) && d == 3.125);
    CHECK(gguf_get_f64(gguf, "a.i16", &d) && d == -32768);
    CHECK(gguf_get_f64(gguf, "a.i64", &d) && d == -0x1p63);
    CHECK(!gguf_get_f64(gguf, "a.yes", &d) && !gguf_get_f64(gguf, "general.name", &d));
    bool b = false;
    CHECK(gguf_get_bool(gguf, "a.yes", &b) && b);
    CHECK(gguf_get_bool(gguf, "a.no", &b) && !b);
    CHECK(!gguf_get_bool(gguf, "a.u8", &b));
}

static void check_arrays(const Gguf *gguf)
{
    Str s = STR("untouched");
    size_t n = 0;
    int64_t i = 0;
    double d = 0;
    CHECK(gguf_get_str(gguf, "general.name", &s));
    CHECK_STR(s, STR("sample"));
    CHECK(!gguf_get_str(gguf, "b.words", &s) && !gguf_get_str(gguf, "general.nam", &s));
    CHECK(gguf_get_array(gguf, "b.words", &n) && n == 3);
    CHECK(gguf_array_str(gguf, "b.words", 0, &s));
    CHECK_STR(s, STR("alpha"));
    CHECK(gguf_array_str(gguf, "b.words", 1, &s) && s.len == 0);
    CHECK(gguf_array_str(gguf, "b.words", 2, &s));
    CHECK_STR(s, ((Str){"beta\0gamma", 10}));
    CHECK(!gguf_array_str(gguf, "b.words", 3, &s) && !gguf_array_str(gguf, "b.numbers", 0, &s));
    CHECK(gguf_array_i64(gguf, "b.numbers", 0, &i) && i == -5);
    CHECK(gguf_array_i64(gguf, "b.numbers", 2, &i) && i == 2147483647);
    CHECK(!gguf_array_i64(gguf, "b.numbers", 3, &i) && !gguf_array_i64(gguf, "b.words", 0, &i));
    CHECK(!gguf_array_i64(gguf, "b.reals", 0, &i) && !gguf_array_i64(gguf, "a.u32", 0, &i));
    CHECK(gguf_array_f64(gguf, "b.reals", 1, &d) && d == -2);
    CHECK(gguf_array_f64(gguf, "b.numbers", 0, &d) && d == -5);
    CHECK(gguf_get_array(gguf, "b.none", &n) && n == 0);
    CHECK(!gguf_array_str(gguf, "b.none", 0, &s) && !gguf_get_array(gguf, "a.u8", &n));
}

static void check_sample_tensors(const Gguf *gguf)
{
    CHECK_INT(gguf_n_tensors(gguf), 3);
    CHECK_STR(gguf_tensor_at(gguf, 0)->name, STR("z.row"));
    CHECK(gguf_tensor_at(gguf, 3) == NULL);
    const GgufTensor *row = gguf_tensor(gguf, STR("z.row"));
    CHECK(row == gguf_tensor_at(gguf, 0));
    CHECK_INT(row->n_dims, 2);
    CHECK(row->dims[0] == 3 && row->dims[1] == 2 && row->dims[2] == 1 && row->dims[3] == 1);
    CHECK_INT(row->n_bytes, 24);
    float sixth;
    memcpy(&sixth, row->data + 20, 4);
    CHECK(sixth == 6);
    const GgufTensor *blocks = gguf_tensor(gguf, STR("a.blocks"));
    CHECK(blocks != NULL && blocks->n_bytes == 36 && blocks->data[0] == 7);
    CHECK_INT(blocks->data - row->data, 64);
    const GgufTensor *future = gguf_tensor(gguf, STR("m.future"));
    CHECK(future != NULL && future->type == 99 && future->n_bytes == 0);
    CHECK(gguf_tensor(gguf, STR("z.ro")) == NULL && gguf_tensor(gguf, STR("")) == NULL);
}

static void test_gguf__reads_both_versions(void)
{
    for (uint32_t version = 2; version <= 3; version++) {
        Buf file = {0};
        Gguf *gguf;
        Err err;
        build_sample(version, &file);
        open_built(&file, &gguf, &err);
        if (CHECK_OK(gguf != NULL, &err)) {
            check_numbers(gguf);
            check_arrays(gguf);
            check_sample_tensors(gguf);
        }
        gguf_close(gguf);
        buf_finish(&file);
    }
}

static void test_gguf__maps_a_file(void)
{
    Buf file = {0};
    char path[] = "test_gguf_XXXXXX";
    int fd = mkstemp(path);
    build_sample(3, &file);
    CHECK(fd >= 0 && write(fd, file.data, file.len) == (ssize_t)file.len);
    close(fd);
    Gguf *gguf = NULL;
    Err err = ERR_INIT;
    if (CHECK_OK(gguf_open(str_from_c(path), &gguf, &err), &err)) {
        gguf_release_pages(gguf);
        check_sample_tensors(gguf); // the pages come back from the file
        CHECK_INT((uintptr_t)gguf_tensor_at(gguf, 0)->data % 32, 0);
    }
    gguf_close(gguf);
    CHECK(truncate(path, (off_t)file.len - 8) == 0);
    CHECK(!gguf_open(str_from_c(path), &gguf, &err));
    CHECK(strstr(err.message, path) != NULL && strstr(err.message, "complete?") != NULL);
    unlink(path);
    err = (Err)ERR_INIT;
    CHECK(!gguf_open(str_from_c(path), &gguf, &err));
    CHECK_INT(err.code, ERR_NOT_FOUND);
    gguf_close(NULL);
    buf_finish(&file);
}

static void test_gguf__every_truncation_is_refused(void)
{
    Buf file = {0};
    build_sample(3, &file);
    for (size_t len = 0; len < file.len; len++) {
        // A copy of the exact size, so that the sanitizer sees any read past the end.
        uint8_t *copy = mem_alloc(len + 1, 1);
        memcpy(copy, file.data, len);
        copy = mem_realloc(copy, len > 0 ? len : 1, 1);
        Gguf *gguf = NULL;
        Err err = ERR_INIT;
        if (gguf_open_memory(copy, len, &gguf, &err)) {
            printf("# %zu of %zu bytes were accepted\n", len, file.len);
            tap_checks_failed++;
        }
        CHECK(gguf != NULL || err.code == ERR_PARSE);
        gguf_close(gguf);
        mem_free(copy);
    }
    buf_finish(&file);
}

static void test_gguf__every_flipped_byte_is_survived(void)
{
    Buf file = {0};
    build_sample(2, &file);
    for (size_t at = 0; at < file.len; at++) {
        for (int value = 0; value < 256; value += 51) {
            char was = file.data[at];
            Gguf *gguf;
            Err err;
            Str name;
            file.data[at] = (char)(was ^ value);
            open_built(&file, &gguf, &err);
            if (gguf != NULL) {
                gguf_get_str(gguf, "general.name", &name);
                gguf_array_str(gguf, "b.words", 2, &name);
            } else {
                CHECK(err.code != ERR_NONE && err.message[0] != '\0');
            }
            gguf_close(gguf);
            file.data[at] = was;
        }
    }
    buf_finish(&file);
}

static void test_gguf__damaged_headers_are_named(void)
{
    Buf file = {0};
    buf_str(&file, STR("GGU"));
    check_refused(__LINE__, &file, ERR_PARSE, "does not start with 'GGUF'");
    buf_str(&file, STR("{\"model\": 1}            "));
    check_refused(__LINE__, &file, ERR_PARSE, "does not start with 'GGUF'");
    GgufBuild build = {0};
    gb_finish(&build, 1, 32, &file);
    check_refused(__LINE__, &file, ERR_UNSUPPORTED, "version 1 ");
    gb_finish(&build, 4, 32, &file);
    check_refused(__LINE__, &file, ERR_UNSUPPORTED, "version 4 ");
    gb_finish(&build, 0x03000000, 32, &file);
    check_refused(__LINE__, &file, ERR_UNSUPPORTED, "big-endian");
    build.n_keys = UINT64_MAX;
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "18446744073709551615 keys, 0 bytes");
    build.n_tensors = UINT64_C(1) << 62;
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "4611686018427387904 tensors");
    for (size_t i = 0; i < 70000; i++) {
        buf_str(&build.keys, STR("\1\0\0\0\0\0\0\0k\0\0\0\0v"));
    }
    build.n_keys = 70000;
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_LIMIT, "70000 keys, at most 65536");
}

static void test_gguf__damaged_keys_are_named(void)
{
    Buf file = {0};
    GgufBuild build = {0};
    gb_number(&build, "some.key", 13, 0, 8);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'some.key': unknown value type 13");
    gb_u32(&build, "", 1);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "empty key");
    gb_number(&build, "flag", 7, 2, 1);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'flag': a boolean of value 2");
    gb_u32(&build, "twice", 1);
    gb_u32(&build, "between", 1);
    gb_bool(&build, "twice", true);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'twice' appears twice");
    gb_uint(&build.keys, 70000, 8);
    for (size_t i = 0; i < 70000; i++) {
        buf_char(&build.keys, 'k');
    }
    gb_uint(&build.keys, 0, 4 + 1);
    build.n_keys = 1;
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_LIMIT, "70000 bytes, at most 65535");
    gb_key(&build, "text", 8);
    gb_uint(&build.keys, UINT64_MAX - 7, 8);
    gb_uint(&build.keys, 0, 8);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'text': a string at byte");
    gb_str(&build, "evil\n%s\x1b[31m", STR(""));
    gb_str(&build, "evil\n%s\x1b[31m", STR(""));
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "key 'evil?%s?[31m' appears twice");
}

static void test_gguf__damaged_arrays_are_named(void)
{
    Buf file = {0};
    GgufBuild build = {0};
    gb_array(&build, "deep", 9, 1);
    gb_uint(&build.keys, 0, 12);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_UNSUPPORTED, "'deep': arrays of arrays");
    gb_array(&build, "odd", 77, 1);
    gb_uint(&build.keys, 0, 12);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'odd': unknown element type 77");
    gb_array(&build, "many", 10, UINT64_C(1) << 61); // times 8 is 2^64
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'many' claims 2305843009213693952 elements");
    gb_array(&build, "many", 8, UINT64_C(1) << 61);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'many' claims 2305843009213693952 strings");
    gb_array(&build, "words", 8, 2);
    gb_text(&build.keys, STR("whole"));
    gb_uint(&build.keys, 99, 8);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'words', element 1: a string of an array");
    gb_array(&build, "flags", 7, 3);
    gb_uint(&build.keys, 0x030100, 3);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'flags': a boolean of value 3");
}

/** One tensor with these properties must be refused; 256 bytes of data follow. */
typedef struct BadTensor {
    int line;
    const char *name;
    uint32_t type, n_dims;
    uint64_t dims[5];
    uint64_t offset;
    ErrCode code;
    const char *words;
} BadTensor;

static const BadTensor bad_tensors[] = {
    {__LINE__, "", 0, 1, {4}, 0, ERR_PARSE, "empty tensor name"},
    {__LINE__, "t", 0, 0, {0}, 0, ERR_PARSE, "'t': 0 dimensions"},
    {__LINE__, "t", 0, 5, {1, 1, 1, 1, 1}, 0, ERR_PARSE, "5 dimensions"},
    {__LINE__, "t", 0, 2, {4, 0}, 0, ERR_PARSE, "dimension 1 is 0"},
    {__LINE__, "t", 3, 1, {33}, 0, ERR_PARSE, "row of 33 elements is no whole number of Q4_1"},
    {__LINE__, "t", 14, 2, {32, 8}, 0, ERR_PARSE, "no whole number of Q6_K"},
    {__LINE__, "t", 0, 1, {65}, 0, ERR_PARSE, "needs 260 bytes at offset 0"},
    {__LINE__, "t", 0, 1, {8}, 256, ERR_PARSE, "needs 32 bytes at offset 256"},
    {__LINE__, "t", 0, 1, {8}, 32 * UINT64_C(0x07ffffffffffffff), ERR_PARSE, "needs 32 bytes"},
    {__LINE__, "t", 99, 1, {8}, 288, ERR_PARSE, "at offset 288"},
    {__LINE__, "t", 0, 1, {8}, 16, ERR_PARSE, "offset 16 is no multiple"},
    {__LINE__, "t", 0, 1, {UINT64_C(1) << 62}, 0, ERR_PARSE, "row of 4611686018427387904"},
    {__LINE__, "t", 0, 2, {1 << 30, UINT64_C(1) << 33}, 0, ERR_PARSE, "dimensions overflows"},
    {__LINE__, "t", 24, 3, {1 << 30, 1 << 30, 16}, 0, ERR_PARSE, "dimensions overflows"},
    {__LINE__, "t", 2, 4, {32, 1 << 30, 1 << 30, 1 << 30}, 0, ERR_PARSE, "dimensions overflows"},
};

static void test_gguf__damaged_tensors_are_named(void)
{
    static const char zeros[256];
    for (size_t i = 0; i < sizeof(bad_tensors) / sizeof(bad_tensors[0]); i++) {
        const BadTensor *bad = &bad_tensors[i];
        GgufBuild build = {0};
        Buf file = {0};
        gb_tensor_info(&build, bad->name, bad->type, bad->n_dims, bad->dims, bad->offset);
        buf_append(&build.data, zeros, sizeof(zeros));
        gb_finish(&build, 3, 32, &file);
        check_refused(bad->line, &file, bad->code, bad->words);
    }
}

static void test_gguf__tensors_share_no_name_and_no_byte(void)
{
    static const char zeros[256];
    static const uint64_t dims[] = {16};
    GgufBuild build = {0};
    Buf file = {0};
    gb_tensor(&build, "same", GGUF_F32, 1, dims, zeros, 64);
    gb_tensor(&build, "other", GGUF_F32, 1, dims, zeros, 64);
    gb_tensor(&build, "same", GGUF_F32, 1, dims, zeros, 64);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'same' appears twice");
    gb_tensor_info(&build, "one", GGUF_F32, 1, dims, 0);
    gb_tensor_info(&build, "two", GGUF_F32, 1, dims, 32);
    buf_append(&build.data, zeros, 256);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "'one' and 'two' overlap");
    gb_tensor_info(&build, "one", GGUF_F32, 1, dims, 64);
    gb_tensor_info(&build, "two", GGUF_F32, 1, dims, 64);
    buf_append(&build.data, zeros, 256);
    gb_finish(&build, 3, 32, &file);
    check_refused(__LINE__, &file, ERR_PARSE, "overlap");
}

static void test_gguf__alignment_is_obeyed(void)
{
    static const uint32_t bad[] = {0, 4, 24, 33, 1 << 21};
    static const uint64_t dims[] = {2};
    GgufBuild build = {0};
    Buf file = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gb_u32(&build, "general.alignment", bad[i]);
        gb_finish(&build, 3, 32, &file);
        check_refused(__LINE__, &file, ERR_PARSE, "general.alignment is");
    }
    gb_u32(&build, "general.alignment", 256);
    gb_tensor_info(&build, "t", GGUF_F32, 1, dims, 256);
    for (size_t i = 0; i < 264; i++) {
        buf_char(&build.data, (char)i);
    }
    gb_finish(&build, 3, 256, &file);
    Gguf *gguf;
    Err err;
    open_built(&file, &gguf, &err);
    if (CHECK_OK(gguf != NULL, &err)) {
        const GgufTensor *tensor = gguf_tensor(gguf, STR("t"));
        CHECK_INT(((const char *)tensor->data - file.data) % 256, 0);
        CHECK_INT(tensor->data[7], 7); // 263 as a byte
    }
    gguf_close(gguf);
    buf_finish(&file);
}

static void test_gguf__row_bytes_follow_the_blocks(void)
{
    static const struct {
        int line;
        uint32_t type;
        const char *name;
        uint64_t n, bytes;
    } rows[] = {
        {__LINE__, GGUF_F32, "F32", 5, 20},
        {__LINE__, GGUF_F16, "F16", 5, 10},
        {__LINE__, GGUF_BF16, "BF16", 5, 10},
        {__LINE__, GGUF_Q4_0, "Q4_0", 64, 36},
        {__LINE__, GGUF_Q4_1, "Q4_1", 576, 360},
        {__LINE__, GGUF_Q8_0, "Q8_0", 32, 34},
        {__LINE__, 12, "Q4_K", 512, 288},
        {__LINE__, 14, "Q6_K", 256, 210},
        {__LINE__, 28, "F64", 3, 24},
        {__LINE__, 39, "MXFP4", 64, 34},
    };
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!gguf_row_bytes(rows[i].type, rows[i].n, &bytes) || bytes != rows[i].bytes ||
            strcmp(gguf_type_name(rows[i].type), rows[i].name) != 0) {
            printf("# line %d: %s, %llu bytes\n", rows[i].line, gguf_type_name(rows[i].type),
                   (unsigned long long)bytes);
            tap_checks_failed++;
        }
    }
    bytes = 1;
    CHECK(!gguf_row_bytes(4, 32, &bytes) && !gguf_row_bytes(99, 32, &bytes));
    CHECK(!gguf_row_bytes(GGUF_Q4_0, 31, &bytes) && !gguf_row_bytes(GGUF_F32, UINT64_MAX, &bytes));
    CHECK_INT(bytes, 1);
    CHECK_STR(str_from_c(gguf_type_name(99)), STR("type 99"));
}

int main(void)
{
    tap_run("gguf: versions 2 and 3 give back what was written", test_gguf__reads_both_versions);
    tap_run("gguf: a file is mapped and survives page release", test_gguf__maps_a_file);
    tap_run("gguf: every truncation is refused", test_gguf__every_truncation_is_refused);
    tap_run("gguf: every flipped byte is survived", test_gguf__every_flipped_byte_is_survived);
    tap_run("gguf: damaged headers are named", test_gguf__damaged_headers_are_named);
    tap_run("gguf: damaged keys are named", test_gguf__damaged_keys_are_named);
    tap_run("gguf: damaged arrays are named", test_gguf__damaged_arrays_are_named);
    tap_run("gguf: damaged tensors are named", test_gguf__damaged_tensors_are_named);
    tap_run("gguf: tensors share no name and no byte",
            test_gguf__tensors_share_no_name_and_no_byte);
    tap_run("gguf: alignment is obeyed", test_gguf__alignment_is_obeyed);
    tap_run("gguf: row bytes follow the blocks", test_gguf__row_bytes_follow_the_blocks);
    return tap_done();
}
