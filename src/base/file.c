// SPDX-License-Identifier: MIT
// Whole files: read, written atomically, mapped, hashed. Only regular files are ever opened for
// reading: a FIFO or device in the place of a file is an error, not a hang.
#include "base/file.h"

#include "base/base_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)256 * 1024)

static bool path_refused(Str path, Err *err)
{
    if (path.len == 0) {
        return ERR_SET(err, ERR_NOT_FOUND, "the path is empty");
    }
    return ERR_SET(err, ERR_IO, "'%.100s...' is not a usable path (too long, or holds a NUL)",
                   path.data);
}

static bool open_failed(Str path, Err *err)
{
    if (errno == ENOENT || errno == ENOTDIR) {
        return ERR_SET(err, ERR_NOT_FOUND, "'" STR_FMT "' does not exist", STR_ARG(path));
    }
    return ERR_SET_ERRNO(err, "cannot open '" STR_FMT "'", STR_ARG(path));
}

/** Open a regular file for reading; *out_fd is the caller's. */
static bool open_regular(Str path, int *out_fd, struct stat *out_stat, Err *err)
{
    CPath c_path;
    if (!cpath_from(&c_path, path)) {
        return path_refused(path, err);
    }
    int fd = open(c_path.text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return open_failed(path, err);
    }
    if (fstat(fd, out_stat) != 0) {
        ERR_SET_ERRNO(err, "cannot look at '" STR_FMT "'", STR_ARG(path));
        close(fd);
        return false;
    }
    if (!S_ISREG(out_stat->st_mode)) {
        close(fd);
        const char *what = S_ISDIR(out_stat->st_mode) ? "a folder" : "not a regular file";
        return ERR_SET(err, ERR_IO, "'" STR_FMT "' is %s", STR_ARG(path), what);
    }
    *out_fd = fd;
    return true;
}

/** Read up to len bytes, fewer only at the end of the file. */
static bool read_some(int fd, char *out, size_t len, size_t *out_len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = read(fd, out + done, len - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *out_len = done;
    return true;
}

/** Read a file whose size is not known before (in /proc it says 0). */
static bool read_unsized(Arena *arena, int fd, size_t limit_bytes, Str *out, bool *out_over)
{
    Buf buf;
    buf_init(&buf, limit_bytes > 0 ? limit_bytes : 1);
    bool ok = true;
    *out_over = false;
    for (;;) {
        char piece[4096];
        size_t len = 0;
        ok = read_some(fd, piece, sizeof piece, &len);
        if (!ok || len == 0) {
            break;
        }
        buf_append(&buf, piece, len);
        if (buf.overflow || buf.len > limit_bytes) {
            *out_over = true;
            break;
        }
    }
    if (ok && !*out_over) {
        *out = str_copy(arena, buf_view(&buf));
    }
    int saved_errno = errno;
    buf_finish(&buf);
    errno = saved_errno;
    return ok;
}

bool file_read(Arena *arena, Str path, size_t limit_bytes, Str *out, Err *err)
{
    int fd;
    struct stat info;
    if (!open_regular(path, &fd, &info, err)) {
        return false;
    }
    bool over = (uint64_t)info.st_size > limit_bytes;
    bool ok = true;
    Str content = STR_EMPTY;
    if (!over && info.st_size > 0) {
        size_t size = (size_t)info.st_size;
        char *data = arena_alloc_raw(arena, size + 1, 1);
        ok = read_some(fd, data, size, &size);
        data[ok ? size : 0] = '\0';
        content = (Str){data, size};
    } else if (!over) {
        ok = read_unsized(arena, fd, limit_bytes, &content, &over);
    }
    if (!ok) {
        ERR_SET_ERRNO(err, "cannot read '" STR_FMT "'", STR_ARG(path));
    } else if (over) {
        ok = ERR_SET(err, ERR_LIMIT, "'" STR_FMT "' is larger than %zu bytes", STR_ARG(path),
                     limit_bytes);
    } else {
        *out = content;
    }
    close(fd);
    return ok;
}

static bool write_all(int fd, Str content)
{
    while (content.len > 0) {
        ssize_t put = write(fd, content.data, content.len);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return false;
        }
        content = str_slice(content, (size_t)put, content.len);
    }
    return true;
}

/** Make a rename durable. Some file systems cannot sync a folder: that is no failure of ours. */
static void sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

static bool write_and_rename(int fd, const char *temporary, const char *target, Str content)
{
    struct stat old;
    if (stat(target, &old) == 0) {
        (void)!fchmod(fd, old.st_mode & 07777); // the new file keeps the old one's permissions
    }
    bool ok = write_all(fd, content) && fsync(fd) == 0;
    int saved_errno = errno;
    ok = close(fd) == 0 && ok;
    saved_errno = ok ? 0 : saved_errno != 0 ? saved_errno : errno;
    if (ok && rename(temporary, target) != 0) {
        ok = false;
        saved_errno = errno;
    }
    if (!ok) {
        unlink(temporary);
        errno = saved_errno;
    }
    return ok;
}

bool file_write_atomic(Str path, Str content, Err *err)
{
    static atomic_uint counter;
    CPath target;
    if (!cpath_from(&target, path)) {
        return path_refused(path, err);
    }
    CPath resolved;
    struct stat info;
    if (lstat(target.text, &info) == 0 && S_ISLNK(info.st_mode) &&
        realpath(target.text, resolved.text) != NULL) {
        target = resolved; // replace what the link points to, not the link
    }
    Str dir = path_dir(str_from_c(target.text));
    Str base = path_base(str_from_c(target.text));
    CPath temporary;
    int len = snprintf(temporary.text, sizeof temporary.text, STR_FMT "/." STR_FMT ".%d.%u.tmp",
                       STR_ARG(dir), STR_ARG(base), (int)getpid(), atomic_fetch_add(&counter, 1u));
    if (len < 0 || (size_t)len >= sizeof temporary.text) {
        return path_refused(path, err);
    }
    int fd = open(temporary.text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 || !write_and_rename(fd, temporary.text, target.text, content)) {
        return ERR_SET_ERRNO(err, "cannot write '" STR_FMT "'", STR_ARG(path));
    }
    CPath c_dir;
    if (cpath_from(&c_dir, dir)) {
        sync_dir(c_dir.text);
    }
    return true;
}

bool file_map(Str path, FileMap *out, Err *err)
{
    static const uint8_t nothing[1] = {0};
    int fd;
    struct stat info;
    if (!open_regular(path, &fd, &info, err)) {
        return false;
    }
    size_t len = (size_t)info.st_size;
    const uint8_t *data = nothing;
    bool ok = true;
    if (len > 0) {
        void *mapped = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
        ok = mapped != MAP_FAILED;
        data = mapped;
        if (!ok) {
            ERR_SET_ERRNO(err, "cannot map '" STR_FMT "'", STR_ARG(path));
        }
    }
    close(fd);
    if (ok) {
        *out = (FileMap){.data = data, .len = len};
    }
    return ok;
}

void file_map_close(FileMap *map)
{
    if (map != NULL && map->len > 0) {
        munmap((void *)(uintptr_t)map->data, map->len);
    }
    if (map != NULL) {
        *map = (FileMap){0};
    }
}

static bool stat_path(Str path, struct stat *out)
{
    CPath c_path;
    return cpath_from(&c_path, path) && stat(c_path.text, out) == 0;
}

bool file_exists(Str path)
{
    struct stat info;
    return stat_path(path, &info);
}

bool file_is_dir(Str path)
{
    struct stat info;
    return stat_path(path, &info) && S_ISDIR(info.st_mode);
}

bool file_size(Str path, uint64_t *out)
{
    struct stat info;
    if (!stat_path(path, &info) || !S_ISREG(info.st_mode)) {
        return false;
    }
    *out = (uint64_t)info.st_size;
    return true;
}

bool file_make_dirs(Str path, Err *err)
{
    CPath c_path;
    if (!cpath_from(&c_path, path)) {
        return path_refused(path, err);
    }
    for (size_t i = 1; i <= path.len; i++) {
        char c = c_path.text[i];
        if (c != '/' && c != '\0') {
            continue;
        }
        c_path.text[i] = '\0';
        struct stat info;
        bool made = mkdir(c_path.text, 0777) == 0 ||
                    (stat(c_path.text, &info) == 0 && S_ISDIR(info.st_mode));
        if (!made) {
            return ERR_SET_ERRNO(err, "cannot make the folder '%s'", c_path.text);
        }
        c_path.text[i] = c;
    }
    return true;
}

bool file_sha256(Str path, Hash *out, Err *err)
{
    int fd;
    struct stat info;
    if (!open_regular(path, &fd, &info, err)) {
        return false;
    }
    char *piece = mem_alloc(PIECE_BYTES, 1);
    Sha256 sha;
    sha256_init(&sha);
    size_t len = 0;
    bool ok;
    do {
        ok = read_some(fd, piece, PIECE_BYTES, &len);
        sha256_update(&sha, piece, ok ? len : 0);
    } while (ok && len == PIECE_BYTES);
    if (ok) {
        sha256_final(&sha, out);
    } else {
        ERR_SET_ERRNO(err, "cannot read '" STR_FMT "'", STR_ARG(path));
    }
    mem_free(piece);
    close(fd);
    return ok;
}
