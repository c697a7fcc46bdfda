// SPDX-License-Identifier: MIT
// Files and paths. Paths are Str; results live in the arena given.
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

/** A file mapped read-only; unmap with file_map_close (zeroed is fine). */
typedef struct FileMap {
    const uint8_t *data;
    size_t len;
} FileMap;

/** Read a whole regular file; fails with ERR_NOT_FOUND, ERR_LIMIT past limit_bytes, or ERR_IO. */
bool file_read(Arena *arena, Str path, size_t limit_bytes, Str *out, Err *err);
/** Write beside, fsync, rename over: the file is the old one or the new one, never half. */
bool file_write_atomic(Str path, Str content, Err *err);
bool file_map(Str path, FileMap *out, Err *err);
void file_map_close(FileMap *map);
bool file_exists(Str path); // anything of that name
bool file_is_dir(Str path);
bool file_size(Str path, uint64_t *out); // regular files only
bool file_make_dirs(Str path, Err *err); // like mkdir -p
/** SHA-256 of a file's bytes, read in pieces. */
bool file_sha256(Str path, Hash *out, Err *err);

/** The entries of a folder without . and .., sorted bytewise. */
bool file_list(Arena *arena, Str dir, Str **out, size_t *out_n, Err *err);
/** Paths below dir that match a glob of *, ? and ** (relative results, sorted). */
bool file_glob(Arena *arena, Str dir, Str pattern, Str **out, size_t *out_n, Err *err);
/** Whether name matches pattern (*, ?, no special slash). */
bool glob_match(Str pattern, Str name);

Str path_join(Arena *arena, Str dir, Str name); // an absolute name wins
Str path_dir(Str path);                         // "." when there is none
Str path_base(Str path);
Str path_stem(Str path); // base without its last .ext
/** Whether a relative path stays inside its folder (no .., not absolute, no NUL). */
bool path_is_inside(Str path);
/** $NAME, or otherwise when unset or empty. */
Str env_get(const char *name, Str otherwise);
