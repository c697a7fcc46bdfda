// SPDX-License-Identifier: MIT
// Where the files of datasets and models lie on this disk: the cache, then the mirror, which is a
// folder searched by size and SHA-256. Hashes are remembered by a file's identity on disk, so that
// each is computed once. Fetches nothing.
#include "registry/registry_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIRROR_MAX_DEPTH 16
#define MIRROR_MAX_FILES 1000000
#define MEMO_MAX_BYTES   ((size_t)32 << 20)

// ---- The hash memo -----------------------------------------------------------------------------

/** What a file was when its hash was computed. */
typedef struct HashMemoEntry {
    Str path;
    uint64_t inode;
    uint64_t bytes;
    int64_t mtime_ns;
    Hash hash;
} HashMemoEntry;

static void memo_grow(HashMemo *memo);

static HashMemoEntry *memo_slot(HashMemo *memo, Str path)
{
    size_t at = hash_fast(path.data, path.len) & (memo->cap - 1);
    while (memo->slots[at].path.data != NULL && !str_eq(memo->slots[at].path, path)) {
        at = (at + 1) & (memo->cap - 1);
    }
    return &memo->slots[at];
}

static void memo_put(HashMemo *memo, const HashMemoEntry *entry)
{
    if (memo->cap == 0 || memo->n * 2 >= memo->cap) {
        memo_grow(memo);
    }
    HashMemoEntry *slot = memo_slot(memo, entry->path);
    if (slot->path.data == NULL) {
        memo->n++;
        slot->path = str_copy(&memo->arena, entry->path);
    }
    Str path = slot->path;
    *slot = *entry;
    slot->path = path;
}

static void memo_grow(HashMemo *memo)
{
    HashMemoEntry *old = memo->slots;
    size_t old_cap = memo->cap;
    memo->cap = old_cap == 0 ? 256 : old_cap * 2;
    memo->slots = mem_zalloc(memo->cap, sizeof(*memo->slots));
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].path.data != NULL) {
            *memo_slot(memo, old[i].path) = old[i];
        }
    }
    mem_free(old);
}

void files_memo_finish(HashMemo *memo)
{
    mem_free(memo->slots);
    arena_finish(&memo->arena);
}

/** One line of the memo: inode, bytes, mtime_ns, hash, path, separated by tabs. */
static bool memo_line_parse(Str line, HashMemoEntry *out)
{
    Str field[4];
    for (int i = 0; i < 4; i++) {
        if (!str_cut(line, STR("\t"), &field[i], &line)) {
            return false;
        }
    }
    int64_t inode = 0, bytes = 0;
    *out = (HashMemoEntry){.path = line};
    if (line.len == 0 || !str_to_i64(field[0], &inode) || !str_to_i64(field[1], &bytes) ||
        !str_to_i64(field[2], &out->mtime_ns) || !hash_from_hex(field[3], &out->hash)) {
        return false;
    }
    out->inode = (uint64_t)inode;
    out->bytes = (uint64_t)bytes;
    return true;
}

static void memo_load(Registry *registry)
{
    HashMemo *memo = &registry->memo;
    memo->loaded = true;
    memo->file = path_join(&memo->arena, registry->cache_dir, STR("hashes.tsv"));
    Arena scratch = {0};
    Str text, line;
    Err ignored = ERR_INIT; // a memo that can not be read is an empty one
    if (file_read(&scratch, memo->file, MEMO_MAX_BYTES, &text, &ignored)) {
        bool more = text.len > 0;
        while (more) {
            HashMemoEntry entry;
            Str rest = STR_EMPTY;
            more = str_cut(text, STR("\n"), &line, &rest);
            if (memo_line_parse(line, &entry)) {
                memo_put(memo, &entry);
            }
            text = rest;
        }
    }
    arena_finish(&scratch);
}

/** Append one line in one write, so that processes side by side do not mix theirs. */
static void memo_append(Registry *registry, const HashMemoEntry *entry)
{
    Err ignored = ERR_INIT; // the memo only saves time
    if (memchr(entry->path.data, '\n', entry->path.len) != NULL ||
        !file_make_dirs(registry->cache_dir, &ignored)) {
        return;
    }
    Arena scratch = {0};
    char hex[HASH_HEX_LEN + 1];
    hash_hex(&entry->hash, hex);
    Str line = str_printf(&scratch, "%llu\t%llu\t%lld\t%s\t" STR_FMT "\n",
                          (unsigned long long)entry->inode, (unsigned long long)entry->bytes,
                          (long long)entry->mtime_ns, hex, STR_ARG(entry->path));
    int fd = open(registry->memo.file.data, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd >= 0) {
        ssize_t written = write(fd, line.data, line.len);
        (void)written;
        close(fd);
    }
    arena_finish(&scratch);
}

bool files_hash(Registry *registry, Str path, Hash *out, Err *err)
{
    HashMemo *memo = &registry->memo;
    if (!memo->loaded) {
        memo_load(registry);
    }
    Arena scratch = {0};
    const char *path_c = str_to_c(&scratch, path);
    char *real = realpath(path_c, NULL);
    struct stat st;
    if (real == NULL || stat(real, &st) != 0) {
        ERR_SET_ERRNO(err, "can not read " STR_FMT, STR_ARG(path));
        free(real);
        arena_finish(&scratch);
        return false;
    }
    HashMemoEntry entry = {
        .path = str_copy(&scratch, str_from_c(real)),
        .inode = (uint64_t)st.st_ino,
        .bytes = (uint64_t)st.st_size,
        .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
    };
    free(real);
    bool ok = true;
    const HashMemoEntry *known = memo->cap > 0 ? memo_slot(memo, entry.path) : NULL;
    if (known != NULL && known->path.data != NULL && known->inode == entry.inode &&
        known->bytes == entry.bytes && known->mtime_ns == entry.mtime_ns) {
        *out = known->hash;
    } else {
        ok = file_sha256(path, &entry.hash, err);
        if (ok) {
            *out = entry.hash;
            memo_put(memo, &entry);
            memo_append(registry, &entry);
        }
    }
    arena_finish(&scratch);
    return ok;
}

// ---- The mirror --------------------------------------------------------------------------------

typedef struct MirrorWalk {
    Registry *registry;
    size_t cap;
} MirrorWalk;

static void mirror_add(MirrorWalk *walk, Str path, uint64_t bytes)
{
    Mirror *mirror = &walk->registry->mirror;
    if (mirror->n == walk->cap) {
        size_t cap = walk->cap == 0 ? 512 : walk->cap * 2;
        MirrorFile *files = ARENA_ARRAY(&walk->registry->arena, MirrorFile, cap);
        if (mirror->n > 0) {
            memcpy(files, mirror->files, mirror->n * sizeof(*files));
        }
        mirror->files = files;
        walk->cap = cap;
    }
    mirror->files[mirror->n++] = (MirrorFile){.bytes = bytes, .path = path};
}

static void mirror_walk_dir(MirrorWalk *walk, Str dir, int depth)
{
    Str *names = NULL;
    size_t n = 0;
    Err ignored = ERR_INIT; // a folder that can not be read holds nothing for us
    Arena *arena = &walk->registry->arena;
    if (depth > MIRROR_MAX_DEPTH || !file_list(arena, dir, &names, &n, &ignored)) {
        return;
    }
    for (size_t i = 0; i < n && walk->registry->mirror.n < MIRROR_MAX_FILES; i++) {
        Str path = path_join(arena, dir, names[i]);
        uint64_t bytes = 0;
        if (file_size(path, &bytes)) {
            mirror_add(walk, path, bytes);
        } else if (file_is_dir(path)) {
            mirror_walk_dir(walk, path, depth + 1);
        }
    }
}

static int mirror_compare(const void *a, const void *b)
{
    const MirrorFile *x = a, *y = b;
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? -1 : 1;
    }
    return str_cmp(x->path, y->path);
}

static void mirror_walk(Registry *registry)
{
    Mirror *mirror = &registry->mirror;
    if (mirror->walked) {
        return;
    }
    mirror->walked = true;
    if (registry->mirror_dir.len == 0) {
        return;
    }
    MirrorWalk walk = {.registry = registry};
    mirror_walk_dir(&walk, registry->mirror_dir, 0);
    if (mirror->n > 0) {
        qsort(mirror->files, mirror->n, sizeof(*mirror->files), mirror_compare);
    }
}

bool files_in_mirror(Registry *registry, const RegistryFile *file, Str *out_path)
{
    mirror_walk(registry);
    const Mirror *mirror = &registry->mirror;
    size_t low = 0, high = mirror->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (mirror->files[middle].bytes < (uint64_t)file->bytes) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (size_t i = low; i < mirror->n && mirror->files[i].bytes == (uint64_t)file->bytes; i++) {
        Hash hash;
        Err ignored = ERR_INIT; // a file that can not be read is not the one sought
        if (files_hash(registry, mirror->files[i].path, &hash, &ignored) &&
            hash_eq(&hash, &file->sha256)) {
            *out_path = mirror->files[i].path;
            return true;
        }
    }
    return false;
}

// ---- The cache ---------------------------------------------------------------------------------

Str files_cache_path(Registry *registry, const RegistryFiles *files, const RegistryFile *file,
                     Arena *arena)
{
    return str_printf(arena, STR_FMT "/" STR_FMT "s/" STR_FMT "/" STR_FMT,
                      STR_ARG(registry->cache_dir), STR_ARG(files->kind), STR_ARG(files->name),
                      STR_ARG(file->name));
}

bool files_in_cache(Registry *registry, const RegistryFiles *files, const RegistryFile *file,
                    Str *out_path)
{
    Arena scratch = {0};
    Str path = files_cache_path(registry, files, file, &scratch);
    uint64_t bytes = 0;
    Hash hash;
    Err ignored = ERR_INIT; // unreadable is not there
    bool found = file_size(path, &bytes) && bytes == (uint64_t)file->bytes &&
                 files_hash(registry, path, &hash, &ignored) && hash_eq(&hash, &file->sha256);
    if (found) {
        *out_path = str_copy(&registry->arena, path);
    }
    arena_finish(&scratch);
    return found;
}

bool registry_file_locate(Registry *registry, const RegistryFiles *files, const RegistryFile *file,
                          Str *out_path)
{
    return files_in_cache(registry, files, file, out_path) ||
           files_in_mirror(registry, file, out_path);
}
