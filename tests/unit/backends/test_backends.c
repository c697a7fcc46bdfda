// SPDX-License-Identifier: MIT
// test_backends MODULE OTHER_MODULE NO_MODULE: what device a word means, and what is loaded for it.
// MODULE is of this build and forwards to the CPU; OTHER_MODULE says that it is of another one;
// NO_MODULE is some library.
#include "../tap.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "kernels/backends.h"

static const char *fake_path;
static const char *other_path;
static const char *library_path;

static void words(void)
{
    static const struct {
        const char *text;
        bool ok;
        DeviceKind kind;
        int index;
    } cases[] = {
        {"", true, DEVICE_AUTO, 0},          {"auto", true, DEVICE_AUTO, 0},
        {"cpu", true, DEVICE_CPU, 0},        {"cuda", true, DEVICE_CUDA, 0},
        {"cuda:0", true, DEVICE_CUDA, 0},    {"cuda:7", true, DEVICE_CUDA, 7},
        {"cuda:63", true, DEVICE_CUDA, 63},  {"cuda:64", false, DEVICE_AUTO, 0},
        {"cuda:", false, DEVICE_AUTO, 0},    {"cuda:-1", false, DEVICE_AUTO, 0},
        {"cuda:+1", false, DEVICE_AUTO, 0},  {"cuda:1x", false, DEVICE_AUTO, 0},
        {"cuda: 1", false, DEVICE_AUTO, 0},  {"cuda:99999999999999999999", false, DEVICE_AUTO, 0},
        {"cpu:0", false, DEVICE_AUTO, 0},    {"CUDA", false, DEVICE_AUTO, 0},
        {"gpu", false, DEVICE_AUTO, 0},      {"auto:1", false, DEVICE_AUTO, 0},
        {"cuda:1:2", false, DEVICE_AUTO, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        DeviceWish wish = {.kind = DEVICE_CPU, .index = -5};
        bool ok = backends_parse(str_from_c(cases[i].text), &wish);
        bool untouched = wish.kind == DEVICE_CPU && wish.index == -5;
        bool good = ok == cases[i].ok &&
                    (ok ? wish.kind == cases[i].kind && wish.index == cases[i].index : untouched);
        if (!good) {
            printf("# '%s': %d, kind %d, index %d\n", cases[i].text, ok, (int)wish.kind,
                   wish.index);
        }
        CHECK(good);
    }
}

/** Open what a word says; the device is closed again. */
static bool open_word(const char *word, DeviceOpened *out, Err *err)
{
    DeviceWish wish;
    KDeviceOptions options = {.n_threads = 1, .index = 55};
    *err = (Err)ERR_INIT;
    memset(out, 0, sizeof(*out));
    if (!backends_parse(str_from_c(word), &wish) ||
        !backends_open(&wish, &options, &k_cpu_ops, out, err)) {
        return false;
    }
    out->ops->device_close(out->device);
    return true;
}

static void opens(void)
{
    DeviceOpened opened;
    Err err = ERR_INIT;
    setenv("MUSTER_CUDA_MODULE", fake_path, 1);
    static const struct {
        const char *word, *name;
        int index;
    } cases[] = {
        {"cpu", "cpu", 0},   {"auto", "cuda", 0},   {"", "cuda", 0},
        {"cuda", "cuda", 0}, {"cuda:1", "cuda", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (CHECK_OK(open_word(cases[i].word, &opened, &err), &err)) {
            CHECK_STR(str_from_c(opened.ops->name), str_from_c(cases[i].name));
            CHECK_INT(opened.index, cases[i].index);
            CHECK_STR(str_from_c(opened.note), STR_EMPTY);
        }
    }
    DeviceWish two = {.kind = DEVICE_AUTO, .n_devices = 2};
    KDeviceOptions options = {.n_threads = 1, .path = "portable"};
    if (CHECK_OK(backends_open(&two, &options, &k_cpu_ops, &opened, &err), &err)) {
        CHECK_STR(str_from_c(opened.ops->device_describe(opened.device)),
                  STR("cuda Fake 9000, tp=2"));
        opened.ops->device_close(opened.device);
    }
    two.kind = DEVICE_CPU;
    CHECK(!backends_open(&two, &options, &k_cpu_ops, &opened, &err));
    CHECK_INT(err.code, ERR_USAGE);
    err = (Err)ERR_INIT;
    CHECK(!open_word("cuda:2", &opened, &err));
    CHECK(str_find(str_from_c(err.message), STR("there is no device 2, only 2"), 0) != STR_NONE);
    CHECK(str_find(str_from_c(err.message), STR("'cuda:2' can not be used"), 0) != STR_NONE);
}

/** What can not be used: an error under `cuda`, a note under `auto`. */
static void refused(const char *path, const char *fail, const char *says, ErrCode code)
{
    DeviceOpened opened;
    Err err = ERR_INIT;
    setenv("MUSTER_CUDA_MODULE", path, 1);
    if (fail != NULL) {
        setenv("FAKE_CUDA_FAIL", fail, 1);
    }
    CHECK(!open_word("cuda", &opened, &err));
    CHECK_INT(err.code, code);
    if (str_find(str_from_c(err.message), str_from_c(says), 0) == STR_NONE) {
        printf("# said: %s\n# want: %s\n", err.message, says);
        CHECK(false);
    }
    if (CHECK_OK(open_word("auto", &opened, &err), &err)) {
        CHECK_STR(str_from_c(opened.ops->name), STR("cpu"));
        CHECK(str_find(str_from_c(opened.note), str_from_c(says), 0) != STR_NONE);
    }
    CHECK(open_word("cpu", &opened, &err));
    CHECK_STR(str_from_c(opened.note), STR_EMPTY);
    unsetenv("FAKE_CUDA_FAIL");
}

static void no_such_file(void)
{
    refused("/nowhere/muster-cuda.so", NULL, "no module '/nowhere/muster-cuda.so'",
            ERR_ENVIRONMENT);
}

static void no_library(void)
{
    Err err = ERR_INIT;
    char path[] = "/tmp/muster-test-module-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK_OK(file_write_atomic(str_from_c(path), STR("no library at all\n"), &err), &err);
    refused(path, NULL, "the module can not be loaded: ", ERR_ENVIRONMENT);
    remove(path);
}

static void some_library(void)
{
    refused(library_path, NULL, "is not a CUDA module of muster", ERR_ENVIRONMENT);
}

static void other_build(void)
{
    refused(other_path, NULL, "is of another build (0.0.0-0, this program is ", ERR_ENVIRONMENT);
}

static bool has_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_LAZY);
    if (library != NULL) {
        dlclose(library);
    }
    return library != NULL;
}

static void device_fails(void)
{
    bool driver = has_driver();
    refused(fake_path, "the card fell off", "the card fell off",
            driver ? ERR_DEVICE : ERR_ENVIRONMENT);
    if (!driver) { // then that is the cause
        refused(fake_path, "35", "no NVIDIA driver (libcuda.so.1); 35", ERR_ENVIRONMENT);
    }
}

static void nothing_asked(void)
{
    DeviceOpened opened;
    Err err = ERR_INIT;
    unsetenv("MUSTER_CUDA_MODULE");
    if (CHECK_OK(open_word("auto", &opened, &err), &err)) {
        bool cuda = strcmp(opened.ops->name, "cuda") == 0;
        CHECK(cuda == (opened.note[0] == '\0'));
        CHECK(cuda || has_driver() || strstr(opened.note, "no NVIDIA driver") == opened.note);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 1;
    }
    fake_path = argv[1];
    other_path = argv[2];
    library_path = argv[3];
    tap_run("words for devices", words);
    tap_run("a module is opened under cuda, cuda:N and auto", opens);
    tap_run("a module that is not there", no_such_file);
    tap_run("a module that is no library", no_library);
    tap_run("a library that is no module", some_library);
    tap_run("a module of another build", other_build);
    tap_run("a device that does not open", device_fails);
    tap_run("no module asked for", nothing_asked);
    return tap_done();
}
