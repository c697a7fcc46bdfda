// SPDX-License-Identifier: MIT
// Listing folders and matching globs. A "**" descends into real folders only, never through
// symbolic links, so that a loop of links ends; names that start with a dot match only where the
// pattern's own part starts with one.
#include "base/base_internal.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define GLOB_DEPTH_MAX   64
#define GLOB_MATCHES_MAX 1000000

/** Strings under construction. */
typedef struct StrVec {
    Str *items; // malloc'ed
    size_t n;
    size_t cap;
} StrVec;

static void vec_push(StrVec *vec, Str s)
{
    if (vec->n == vec->cap) {
        vec->cap = vec->cap > 0 ? vec->cap * 2 : 32;
        vec->items = mem_realloc(vec->items, vec->cap, sizeof *vec->items);
    }
    vec->items[vec->n++] = s;
}

static int str_order(const void *a, const void *b)
{
    const Str *x = a;
    const Str *y = b;
    return str_cmp(*x, *y);
}

/** Sort, drop repeats and move the array into the arena. */
static void vec_give(StrVec *vec, Arena *arena, Str **out, size_t *out_n)
{
    if (vec->n > 1) {
        qsort(vec->items, vec->n, sizeof *vec->items, str_order);
    }
    size_t n = 0;
    for (size_t i = 0; i < vec->n; i++) {
        if (n == 0 || !str_eq(vec->items[n - 1], vec->items[i])) {
            vec->items[n++] = vec->items[i];
        }
    }
    Str *items = ARENA_ARRAY(arena, Str, n);
    if (n > 0) {
        memcpy(items, vec->items, n * sizeof *items);
    }
    *out = items;
    *out_n = n;
}

bool file_list(Arena *arena, Str dir, Str **out, size_t *out_n, Err *err)
{
    CPath c_path;
    errno = ENAMETOOLONG;
    DIR *handle = cpath_from(&c_path, dir) ? opendir(c_path.text) : NULL;
    if (handle == NULL) {
        if (dir.len == 0 || errno == ENOENT || errno == ENOTDIR) {
            return ERR_SET(err, ERR_NOT_FOUND, "the folder '" STR_FMT "' does not exist",
                           STR_ARG(dir));
        }
        return ERR_SET_ERRNO(err, "cannot open the folder '" STR_FMT "'", STR_ARG(dir));
    }
    StrVec vec = {0};
    errno = 0;
    for (struct dirent *entry; (entry = readdir(handle)) != NULL; errno = 0) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            vec_push(&vec, str_copy(arena, str_from_c(entry->d_name)));
        }
    }
    bool ok = errno == 0;
    if (ok) {
        vec_give(&vec, arena, out, out_n);
    } else {
        ERR_SET_ERRNO(err, "cannot read the folder '" STR_FMT "'", STR_ARG(dir));
    }
    mem_free(vec.items);
    closedir(handle);
    return ok;
}

/** Bytes of the character at s.data[at]: a lead byte takes its continuation bytes along. */
static size_t character_bytes(Str s, size_t at)
{
    size_t end = at + 1;
    if (((unsigned char)s.data[at] & 0xC0) == 0xC0) {
        while (end < s.len && end < at + 4 && ((unsigned char)s.data[end] & 0xC0) == 0x80) {
            end++;
        }
    }
    return end - at;
}

bool glob_match(Str pattern, Str name)
{
    size_t p = 0;
    size_t n = 0;
    size_t star = STR_NONE; // the last star, and where in name it stops eating
    size_t star_n = 0;
    while (n < name.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = p++;
            star_n = n;
        } else if (p < pattern.len && pattern.data[p] == '?') {
            p++;
            n += character_bytes(name, n);
        } else if (p < pattern.len && pattern.data[p] == name.data[n]) {
            p++;
            n++;
        } else if (star != STR_NONE) {
            p = star + 1;
            n = ++star_n;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.data[p] == '*') {
        p++;
    }
    return p == pattern.len;
}

/** One walk of file_glob. */
typedef struct Walk {
    Arena *arena;
    Str root;
    StrVec found;
    int depth;
} Walk;

static bool is_real_dir(Str path)
{
    CPath c_path;
    struct stat info;
    return cpath_from(&c_path, path) && lstat(c_path.text, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool has_wildcard(Str part)
{
    return (part.len > 0 && memchr(part.data, '*', part.len) != NULL) ||
           (part.len > 0 && memchr(part.data, '?', part.len) != NULL);
}

static bool walk(Walk *w, Str below, Str pattern, Err *err);

/** below/name matched the pattern's first part: keep it, or go on with the rest. */
static bool walk_name(Walk *w, Str below, Str name, bool more, Str rest, Err *err)
{
    Str path = path_join(w->arena, below, name);
    if (more) {
        return walk(w, path, rest, err);
    }
    if (w->found.n >= GLOB_MATCHES_MAX) {
        return ERR_SET(err, ERR_LIMIT, "more than %d paths match", GLOB_MATCHES_MAX);
    }
    vec_push(&w->found, path);
    return true;
}

static bool walk_entries(Walk *w, Str below, Str pattern, Str part, bool more, Str rest, Err *err)
{
    Str *names;
    size_t n;
    Str dir = below.len > 0 ? path_join(w->arena, w->root, below) : w->root;
    Err list_err = ERR_INIT;
    if (!file_list(w->arena, dir, &names, &n, &list_err)) {
        if (list_err.code == ERR_NOT_FOUND && below.len > 0) {
            return true; // a file, or gone since
        }
        *err = list_err;
        return false;
    }
    bool any_depth = str_eq(part, STR("**"));
    for (size_t i = 0; i < n; i++) {
        bool hidden = names[i].data[0] == '.' && !str_starts_with(part, STR("."));
        if (hidden) {
            continue;
        }
        if (any_depth) {
            Str path = path_join(w->arena, below, names[i]);
            if (!more && !walk_name(w, below, names[i], false, rest, err)) {
                return false;
            }
            if (is_real_dir(path_join(w->arena, w->root, path)) && !walk(w, path, pattern, err)) {
                return false;
            }
        } else if (glob_match(part, names[i]) && !walk_name(w, below, names[i], more, rest, err)) {
            return false;
        }
    }
    return true;
}

static bool walk(Walk *w, Str below, Str pattern, Err *err)
{
    if (w->depth >= GLOB_DEPTH_MAX) {
        return ERR_SET(err, ERR_LIMIT, "folders lie deeper than %d below '" STR_FMT "'",
                       GLOB_DEPTH_MAX, STR_ARG(w->root));
    }
    Str part;
    Str rest;
    bool more = str_cut(pattern, STR("/"), &part, &rest);
    w->depth++;
    bool ok;
    if (has_wildcard(part)) {
        ok = !more || !str_eq(part, STR("**")) || walk(w, below, rest, err); // ** as no folder
        ok = ok && walk_entries(w, below, pattern, part, more, rest, err);
    } else if (part.len == 0) {
        ok = !more || walk(w, below, rest, err);
    } else {
        Str path = path_join(w->arena, w->root, path_join(w->arena, below, part));
        ok = !file_exists(path) || walk_name(w, below, part, more, rest, err);
    }
    w->depth--;
    return ok;
}

bool file_glob(Arena *arena, Str dir, Str pattern, Str **out, size_t *out_n, Err *err)
{
    if (!file_is_dir(dir)) {
        return ERR_SET(err, ERR_NOT_FOUND, "the folder '" STR_FMT "' does not exist", STR_ARG(dir));
    }
    Walk w = {.arena = arena, .root = dir};
    bool ok = walk(&w, STR_EMPTY, pattern, err);
    if (ok) {
        vec_give(&w.found, arena, out, out_n);
    }
    mem_free(w.found.items);
    return ok;
}
