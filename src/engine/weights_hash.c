// SPDX-License-Identifier: MIT
// A hash once computed is remembered in the user's cache folder under the file's identity (device,
// inode, size, times of change), so only the first use of a large file costs its reading. The cache
// is a convenience: whatever goes wrong with it, the file is hashed.
#include "engine/weights_hash.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES     ((size_t)1 << 20)
#define CACHE_MIN_BYTES ((off_t)16 << 20) // smaller files hash in less time than a cache is worth

struct WeightsHash {
    Arena arena;
    Str path;
    pthread_t thread;
    _Atomic bool stop;
    pthread_mutex_t mutex; // of what follows
    bool joined;
    bool ok;
    Hash hash;
    Err err;
};

/** What a file is as long as nobody changes it; one line. */
static Str file_identity(Arena *arena, const struct stat *st)
{
    return str_printf(arena, "%ju %ju %jd %jd.%09ld %jd.%09ld\n", (uintmax_t)st->st_dev,
                      (uintmax_t)st->st_ino, (intmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec,
                      st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

/** Folder of remembered hashes; empty when there is no home. */
static Str cache_folder(Arena *arena)
{
    Str dir = env_get("MUSTER_CACHE", STR_EMPTY);
    if (dir.len == 0) {
        Str home = env_get("HOME", STR_EMPTY);
        Str base = env_get("XDG_CACHE_HOME", STR_EMPTY);
        if (base.len == 0 && home.len > 0) {
            base = path_join(arena, home, STR(".cache"));
        }
        dir = base.len > 0 ? path_join(arena, base, STR("muster")) : STR_EMPTY;
    }
    return dir.len > 0 ? path_join(arena, dir, STR("hashes")) : STR_EMPTY;
}

static bool cache_read(Arena *arena, Str cache_path, Str identity, Hash *out)
{
    Str text;
    Err err = ERR_INIT;
    return file_read(arena, cache_path, 4096, &text, &err) && str_starts_with(text, identity) &&
           hash_from_hex(str_trim(str_slice(text, identity.len, text.len)), out);
}

static void cache_write(Arena *arena, Str folder, Str cache_path, Str identity, const Hash *hash)
{
    char hex[HASH_HEX_LEN + 1];
    hash_hex(hash, hex);
    Err err = ERR_INIT;
    if (file_make_dirs(folder, &err)) {
        (void)file_write_atomic(cache_path,
                                str_printf(arena, STR_FMT "%s\n", STR_ARG(identity), hex), &err);
    }
}

static bool hash_file(WeightsHash *hash, int fd, Hash *out, Err *err)
{
    uint8_t *piece = arena_alloc_raw(&hash->arena, PIECE_BYTES, 1);
    Sha256 sha;
    sha256_init(&sha);
    for (;;) {
        if (atomic_load(&hash->stop)) {
            return ERR_SET(err, ERR_CANCELLED, "hashing was stopped");
        }
        ssize_t n = read(fd, piece, PIECE_BYTES);
        if (n < 0) {
            return ERR_SET_ERRNO(err, "reading '" STR_FMT "'", STR_ARG(hash->path));
        }
        if (n == 0) {
            sha256_final(&sha, out);
            return true;
        }
        sha256_update(&sha, piece, (size_t)n);
    }
}

static bool find_hash(WeightsHash *hash, int fd, Hash *out, Err *err)
{
    struct stat st;
    Arena *arena = &hash->arena;
    Str folder = cache_folder(arena);
    if (fstat(fd, &st) != 0 || st.st_size < CACHE_MIN_BYTES || folder.len == 0) {
        return hash_file(hash, fd, out, err);
    }
    Str identity = file_identity(arena, &st);
    uint64_t key = hash_fast(identity.data, identity.len);
    Str cache_path = path_join(arena, folder, str_printf(arena, "%016" PRIx64, key));
    if (cache_read(arena, cache_path, identity, out)) {
        return true;
    }
    if (!hash_file(hash, fd, out, err)) {
        return false;
    }
    cache_write(arena, folder, cache_path, identity, out);
    return true;
}

static void *hash_main(void *arg)
{
    WeightsHash *hash = arg;
    int fd = open(hash->path.data, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        ERR_SET_ERRNO(&hash->err, "opening '" STR_FMT "'", STR_ARG(hash->path));
        return NULL;
    }
    hash->ok = find_hash(hash, fd, &hash->hash, &hash->err);
    close(fd);
    return NULL;
}

bool weights_hash_start(Str path, WeightsHash **out, Err *err)
{
    WeightsHash *hash = mem_zalloc(1, sizeof(*hash));
    hash->path = str_copy(&hash->arena, path);
    pthread_mutex_init(&hash->mutex, NULL);
    if (pthread_create(&hash->thread, NULL, hash_main, hash) != 0) {
        arena_finish(&hash->arena);
        mem_free(hash);
        return ERR_SET(err, ERR_ENVIRONMENT, "cannot start a thread to hash the model");
    }
    *out = hash;
    return true;
}

static void join(WeightsHash *hash)
{
    pthread_mutex_lock(&hash->mutex);
    if (!hash->joined) {
        pthread_join(hash->thread, NULL);
        hash->joined = true;
    }
    pthread_mutex_unlock(&hash->mutex);
}

bool weights_hash_wait(WeightsHash *hash, Hash *out, Err *err)
{
    join(hash);
    if (!hash->ok) {
        *err = hash->err;
        return false;
    }
    *out = hash->hash;
    return true;
}

void weights_hash_finish(WeightsHash *hash)
{
    if (hash == NULL) {
        return;
    }
    atomic_store(&hash->stop, true);
    join(hash);
    pthread_mutex_destroy(&hash->mutex);
    arena_finish(&hash->arena);
    mem_free(hash);
}
